//! Tests of the disk's model: what it keeps for certain, and that it can do what disks do.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::disk::{Counted, Cut, Disk, Image, Operation, PowerOff, Role, Syncs};

const SEEDS: u64 = 500;

fn disk(syncs: Syncs) -> Disk {
    Disk::new(Image::default(), syncs, Cut { number: u64::MAX, among: Counted::All })
}

/// Everything that the disk may hold, as far as some hundred seeds show it.
fn outcomes(disk: &Disk) -> BTreeSet<Vec<(String, Vec<u8>)>> {
    (0..SEEDS).map(|seed| disk.after_cut(&mut ChaCha8Rng::seed_from_u64(seed)).0.into_iter().collect()).collect()
}

/// The contents that the file of this name may have; `None` where it may be missing.
fn contents(disk: &Disk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let of = |outcome: Vec<(String, Vec<u8>)>| outcome.into_iter().find(|(found, _)| found == name);
    outcomes(disk).into_iter().map(|outcome| of(outcome).map(|(_, bytes)| bytes)).collect()
}

#[test]
fn what_was_synced_is_there() {
    let disk = disk(Syncs::Honest);
    let log = disk.open("a-wal", true).expect("power").expect("created");
    disk.write(log, 0, b"one").expect("power");
    disk.write(log, 2, b"xyz").expect("power");
    disk.truncate(log, 4).expect("power");
    disk.sync(log, true).expect("power");
    assert_eq!(contents(&disk, "a-wal"), [Some(b"onxy".to_vec())].into());
}

#[test]
fn what_was_not_synced_may_be_there_or_not() {
    let disk = disk(Syncs::Honest);
    let log = disk.open("a-wal", true).expect("power").expect("created");
    disk.write(log, 0, b"aaaa").expect("power");
    disk.sync(log, true).expect("power");
    disk.write(log, 0, b"bb").expect("power");
    disk.write(log, 2, b"cc").expect("power");
    let found = contents(&disk, "a-wal");
    for possible in [b"aaaa", b"bbaa", b"aacc", b"bbcc"] {
        assert!(found.contains(&Some(possible.to_vec())), "{possible:?}");
    }
    assert!(!found.contains(&None), "its name was synced");
}

#[test]
fn writes_tear_at_sectors_and_spare_what_is_beside_them() {
    let disk = disk(Syncs::Honest);
    let file = disk.open("a", true).expect("power").expect("created");
    disk.write(file, 0, &[1; 2048]).expect("power");
    let log = disk.open("a-wal", true).expect("power").expect("created");
    disk.sync(file, false).expect("power");
    disk.sync(log, true).expect("power");
    disk.write(file, 100, &[2; 1500]).expect("power");
    let mut seen = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for bytes in contents(&disk, "a").into_iter().flatten() {
        assert!(bytes.len() == 2048 && bytes[..100] == [1; 100] && bytes[1600..] == [1; 448]);
        for (seen, range) in seen.iter_mut().zip([100..512, 512..1024, 1024..1536, 1536..1600]) {
            let first = bytes[range.start];
            seen.insert(match bytes[range].iter().all(|byte| *byte == first).then_some(first) {
                Some(1) => "old",
                Some(2) => "new",
                _ => "garbage",
            });
        }
    }
    assert_eq!(seen, [(); 4].map(|()| ["garbage", "new", "old"].into()));
}

#[test]
fn sizes_may_be_lost_or_come_without_bytes() {
    let disk = disk(Syncs::Honest);
    let log = disk.open("a-wal", true).expect("power").expect("created");
    disk.write(log, 0, b"aaaa").expect("power");
    disk.sync(log, true).expect("power");
    disk.truncate(log, 2).expect("power");
    assert_eq!(contents(&disk, "a-wal"), [Some(b"aa".to_vec()), Some(b"aaaa".to_vec())].into());
    disk.sync(log, false).expect("power");
    disk.write(log, 2, b"bb").expect("power");
    let found = contents(&disk, "a-wal");
    assert!([b"aa".to_vec(), b"aabb".to_vec(), b"aa\0\0".to_vec()].map(Some).iter().all(|one| found.contains(one)));
}

#[test]
fn names_last_from_the_directorys_sync() {
    let disk = disk(Syncs::Honest);
    let file = disk.open("a", true).expect("power").expect("created");
    disk.write(file, 0, b"a").expect("power");
    disk.sync(file, false).expect("power");
    assert_eq!(contents(&disk, "a"), [None, Some(b"a".to_vec())].into(), "its content is durable, its name is not");
    let journal = disk.open("a-journal", true).expect("power").expect("created");
    disk.sync(journal, true).expect("power");
    assert_eq!(contents(&disk, "a"), [Some(b"a".to_vec())].into());
    disk.delete("a-journal", false).expect("power");
    assert_eq!(contents(&disk, "a-journal"), [None, Some(Vec::new())].into(), "what was deleted may come back");
    let again = disk.open("a-journal", true).expect("power").expect("created");
    disk.write(again, 0, b"2").expect("power");
    disk.sync(again, false).expect("power");
    assert_eq!(contents(&disk, "a-journal"), [None, Some(Vec::new()), Some(b"2".to_vec())].into());
    disk.delete("a-journal", true).expect("power");
    assert_eq!(contents(&disk, "a-journal"), [None].into());
}

#[test]
fn a_lying_disk_syncs_nothing_of_that_role() {
    let disk = disk(Syncs::IgnoredOn(Role::Log));
    for name in ["a", "a-wal"] {
        let file = disk.open(name, true).expect("power").expect("created");
        disk.write(file, 0, b"a").expect("power");
        disk.sync(file, true).expect("power");
    }
    assert_eq!(contents(&disk, "a"), [Some(b"a".to_vec())].into());
    let found = contents(&disk, "a-wal");
    assert!([None, Some(Vec::new()), Some(b"a".to_vec())].iter().all(|one| found.contains(one)), "{found:?}");
}

#[test]
fn after_the_cut_nothing_is_done() {
    for (cut, in_sync) in
        [(Cut { number: 2, among: Counted::All }, false), (Cut { number: 1, among: Counted::Syncs }, true)]
    {
        let disk = Disk::new(Image::default(), Syncs::Honest, cut);
        let log = disk.open("a-wal", true).expect("power").expect("created");
        let written = disk.write(log, 0, b"a");
        assert_eq!(written.is_ok(), in_sync);
        assert_eq!(disk.sync(log, true), Err(PowerOff));
        let during = if in_sync { Operation::Sync } else { Operation::Write };
        assert_eq!(disk.cut_during(), Some((Role::Log, during)));
        let found = contents(&disk, "a-wal");
        assert_eq!(disk.write(log, 0, b"b"), Err(PowerOff));
        assert_eq!(disk.truncate(log, 0), Err(PowerOff));
        assert_eq!(disk.delete("a-wal", true), Err(PowerOff));
        assert_eq!(disk.open("b", true), Err(PowerOff));
        assert_eq!(contents(&disk, "a-wal"), found);
        assert!(
            [None, Some(b"a".to_vec())].iter().all(|one| found.contains(one)),
            "what was cut off may have happened"
        );
    }
}
