//! The raw cost of a superstep on this disk: what `holdpoint bench` compares the engine with.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::params;

use super::failure::{Failure, Result};
use super::{SqliteOptions, open, statements};
use crate::store::Error;

/// Writes the rows of `count` supersteps (thread, checkpoint, one appended value, one task) in a plain loop, one transaction each, with the store's
/// own schema, pragmas and statements and nothing else. Gives the time that the loop took.
///
/// # Errors
/// Those of opening and writing a store.
pub fn supersteps(path: &Path, count: usize) -> std::result::Result<Duration, Error> {
    let session = open::writer(path, &SqliteOptions::default())?;
    write(&session, count).map_err(|failure: Failure| failure.0)
}

fn write(session: &super::session::Session, count: usize) -> Result<Duration> {
    let id = |number: usize| format!("018bcfe5-6800-8000-8000-{number:012x}");
    let graph = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    session.execute(
        statements::THREAD_INSERT,
        params![
            "raw",
            "raw",
            graph,
            "bench",
            "running",
            "owner",
            1_700_000_030_000_i64,
            id(0),
            0,
            None::<String>,
            1,
            1_700_000_000_000_i64,
            1,
            "default",
            None::<String>
        ],
    )?;
    let begun = Instant::now();
    for number in 1..=count {
        session.execute(statements::BEGIN_WRITE, [])?;
        let (thread, version) = session
            .first(
                statements::THREAD_UPDATE,
                params![
                    "raw",
                    1,
                    None::<String>,
                    0,
                    false,
                    1_700_000_030_000_i64,
                    id(number),
                    "running",
                    None::<String>,
                    1,
                    1,
                    1_700_000_000_000_i64,
                    None::<String>,
                    None::<String>
                ],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )?
            .ok_or_else(|| Error::Invalid("the thread of the measurement is gone".into()))?;
        session.execute(
            statements::CHECKPOINT_INSERT,
            params![
                thread,
                id(number),
                id(number - 1),
                i64::try_from(number).unwrap_or(i64::MAX),
                "loop",
                1_700_000_000_000_i64,
                1_700_000_000_000_i64,
                1,
                r#"[{"pull":"a"}]"#,
                None::<String>,
                format!("{{\"log\":{version}}}"),
                "",
                graph,
                id(number),
                "live",
                r#"{"writers":["a"]}"#
            ],
        )?;
        let checkpoint = session.key_inserted();
        session.execute(
            statements::VALUE_INSERT,
            params![thread, version, "log", "append", (version > 1).then_some(version - 1), 2, 3, "[1]"],
        )?;
        session.execute(
            statements::TASK_UPSERT,
            params![
                checkpoint,
                id(number),
                "a",
                "pull:a",
                "done",
                1,
                1_700_000_000_000_i64,
                1,
                None::<String>,
                r#"{"update":{"log":[1]},"goto":[]}"#,
                None::<String>,
                None::<u32>
            ],
        )?;
        session.execute(statements::COMMIT, [])?;
    }
    Ok(begun.elapsed())
}
