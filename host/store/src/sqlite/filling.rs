//! A store that is full before anything is measured: what `holdpoint bench` needs a million of takes a minute, not a day.

use std::path::Path;
use std::sync::mpsc::sync_channel;

use super::commit_rows::CommitRows;
use super::failure::Result;
use super::session::Session;
use super::{SqliteOptions, apply, open, statements};
use crate::check;
use crate::store::{Commit, Error};

/// Commits of one transaction.
const BATCH: usize = 5_000;

/// Commits that are handed over at once, and how many such portions wait to be written.
const PORTION: usize = 256;
const PORTIONS_MAX: usize = 8;

/// Applies commits, each as the writer applies it, but thousands to a transaction and without waiting for the disk: a power loss may take all of
/// them. For measuring. Commits are taken from the iterator on a thread of its own. Gives their number.
///
/// # Errors
/// Those of opening a store, and of [`Store::commit`](crate::Store::commit): then what came before it may be there or not.
pub fn fill(path: &Path, commits: impl Iterator<Item = Commit> + Send) -> std::result::Result<u64, Error> {
    let session = open::writer(path, &SqliteOptions { synchronous_full: false, ..SqliteOptions::default() })?;
    let filled = std::thread::scope(|scope| {
        let (sender, rows) = sync_channel::<Vec<CommitRows>>(PORTIONS_MAX);
        let prepared = scope.spawn(move || {
            let mut portion = Vec::with_capacity(PORTION);
            for commit in commits {
                check::commit(&commit)?;
                portion.push(CommitRows::new(commit));
                if portion.len() == PORTION && sender.send(std::mem::take(&mut portion)).is_err() {
                    // Writing has failed and says why.
                    break;
                }
            }
            let _ = sender.send(portion);
            Ok(())
        });
        let written = write(&session, rows.into_iter().flatten()).map_err(|failure| failure.0);
        let prepared = prepared.join().unwrap_or_else(|_| Err(Error::Invalid("preparing commits panicked".into())));
        prepared.and(written)
    });
    session.close();
    filled
}

fn write(session: &Session, rows: impl Iterator<Item = CommitRows>) -> Result<u64> {
    // Large enough that pages of indexes are written once and not once for each row.
    for pragma in ["pragma cache_size = -400000", "pragma wal_autocheckpoint = 50000"] {
        session.first(pragma, [], |_| Ok(()))?;
    }
    let mut rows = rows.peekable();
    let mut count = 0;
    while rows.peek().is_some() {
        session.execute(statements::BEGIN_WRITE, [])?;
        for commit in rows.by_ref().take(BATCH) {
            apply::commit(session, &commit)?;
            count += 1;
        }
        session.execute(statements::COMMIT, [])?;
    }
    Ok(count)
}
