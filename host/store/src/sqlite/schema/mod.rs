//! The schema as a list of migrations. A released migration is never changed; a new one is added at the end.

/// `Hold` in ASCII: marks the file as ours, so that a foreign database is never written.
pub(super) const APPLICATION_ID: i64 = 0x486f_6c64;

/// All migrations; the first makes version 1.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("0001_initial.sql"),
    include_str!("0002_operations.sql"),
    include_str!("0003_time_travel.sql"),
    include_str!("0004_serving.sql"),
    include_str!("0005_ends.sql"),
];

/// The version that the last migration makes.
pub(super) fn version_known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("invariant: there are few migrations")
}
