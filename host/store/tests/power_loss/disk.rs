//! What a disk holds when the power goes: the model, without SQLite.
//!
//! A file is what was synced and the list of what changed since. At the cut each of those changes is there, is not there, or is torn:
//!
//! * A write is torn at sectors of 512 bytes. A sector is the new one or the old one, or, now and then, garbage within the written range.
//! * A change of size (by a write beyond the end, or by truncating) may be lost while later changes are there; the new size may be there
//!   without the bytes, which then are zeros.
//! * That a file was created or deleted is an entry of its directory: a file that was synced under a name which was not is gone with its
//!   content, and one that was deleted may come back.
//!
//! Reordering needs no model of its own: whatever order a disk writes back in, for each sector one of the writes to it is there at the cut,
//! and dropping those after that one gives the same.
//!
//! # What is simplified
//!
//! * Bytes outside the written range never change. Disks that spoil the rest of a sector exist; SQLite assumes by default that the store is on
//!   none of them (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`), and so does the product.
//! * What was synced stays: no bit rot, and no disk whose cache forgets what it reported as flushed. Only [`Syncs::IgnoredOn`] lies, as a red
//!   proof.
//! * One flat directory. Of several changes to one name a beginning is there, as a file system's journal would have it; different names are
//!   independent of each other.
//! * The index of the log (`-shm`) is shared memory: it never reaches the disk, and SQLite makes it anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// How many of a file's changes had been written back when the power went; each file has its own luck.
const WRITTEN_BACK: [f64; 5] = [0.0, 0.1, 0.5, 0.9, 1.0];

/// Of the writes that are neither surely there nor surely lost, how many are torn.
const TORN: f64 = 0.3;

/// Of a torn write's sectors that are not the new ones, how many hold garbage instead of the old.
const GARBLED: f64 = 0.125;

/// The files of a disk, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image(pub(crate) BTreeMap<String, Vec<u8>>);

impl Image {
    /// Writes the files into a directory that it creates.
    pub(crate) fn write_to(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir(directory)?;
        self.0.iter().try_for_each(|(name, bytes)| std::fs::write(directory.join(name), bytes))
    }
}

/// The power is off: nothing more reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PowerOff;

/// When the power goes: in the middle of the operation of this number, counted from 1 among those that count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) number: u64,
    pub(crate) among: Counted,
}

/// Which operations count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    All,
    Syncs,
    /// Those on the database's file: the folding of the log into it.
    Folding,
    /// Syncs of the database's file, which end its creation and each folding.
    FoldingSyncs,
}

impl Counted {
    fn counts(self, role: Role, operation: Operation) -> bool {
        match self {
            Self::All => true,
            Self::Syncs => operation == Operation::Sync,
            Self::Folding => role == Role::Main,
            Self::FoldingSyncs => role == Role::Main && operation == Operation::Sync,
        }
    }
}

/// How the disk takes syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syncs {
    /// What was synced is there.
    Honest,
    /// Reports success for files of this role and does nothing: a disk that lies.
    IgnoredOn(Role),
}

/// What SQLite uses a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The database.
    Main,
    /// The write-ahead log.
    Log,
    /// The rollback journal, which only the creation of a database uses.
    Journal,
}

impl Role {
    fn of(name: &str) -> Self {
        if name.ends_with("-wal") {
            Self::Log
        } else if name.ends_with("-journal") {
            Self::Journal
        } else {
            Self::Main
        }
    }
}

/// What was being done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Create,
    Delete,
    Write,
    Truncate,
    Sync,
}

/// A file on the disk, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileKey(usize);

/// A disk with a running count of what is done to it. Shared by every file that is open on it.
pub(crate) struct Disk {
    /// A std mutex: held for copying a page, never across a call of SQLite's.
    state: Mutex<State>,
}

struct State {
    files: Vec<File>,
    /// The directory as programs see it.
    entries: BTreeMap<String, FileKey>,
    entries_synced: BTreeMap<String, FileKey>,
    entries_unsynced: Vec<(String, Option<FileKey>)>,
    syncs: Syncs,
    cut: Cut,
    /// Of those that count.
    operations: u64,
    cut_during: Option<(Role, Operation)>,
}

struct File {
    role: Role,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Disk {
    /// A disk that holds the image, durably.
    pub(crate) fn new(image: Image, syncs: Syncs, cut: Cut) -> Self {
        let mut files = Vec::new();
        let mut entries = BTreeMap::new();
        for (name, bytes) in image.0 {
            entries.insert(name.clone(), FileKey(files.len()));
            files.push(File { role: Role::of(&name), synced: bytes, unsynced: Vec::new() });
        }
        let state = State {
            files,
            entries_synced: entries.clone(),
            entries,
            entries_unsynced: Vec::new(),
            syncs,
            cut,
            operations: 0,
            cut_during: None,
        };
        Self { state: Mutex::new(state) }
    }

    /// The file of this name, created if wanted; `None` when it is not there.
    pub(crate) fn open(&self, name: &str, create: bool) -> Result<Option<FileKey>, PowerOff> {
        let mut state = self.state();
        if let Some(key) = state.entries.get(name) {
            return Ok(Some(*key));
        }
        if !create {
            return Ok(None);
        }
        let role = Role::of(name);
        let key = FileKey(state.files.len());
        state.perform(role, Operation::Create, |state| {
            state.files.push(File { role, synced: Vec::new(), unsynced: Vec::new() });
            state.entries.insert(name.to_owned(), key);
            state.entries_unsynced.push((name.to_owned(), Some(key)));
        })?;
        Ok(Some(key))
    }

    /// Removes the name; its file lives on while it is open. Nothing happens when it is not there.
    pub(crate) fn delete(&self, name: &str, sync_directory: bool) -> Result<(), PowerOff> {
        let mut state = self.state();
        if !state.entries.contains_key(name) {
            return Ok(());
        }
        state.perform(Role::of(name), Operation::Delete, |state| {
            state.entries.remove(name);
            state.entries_unsynced.push((name.to_owned(), None));
        })?;
        if sync_directory {
            state.sync_directory();
        }
        Ok(())
    }

    pub(crate) fn write(&self, file: FileKey, offset: usize, bytes: &[u8]) -> Result<(), PowerOff> {
        self.change(file, Operation::Write, || Change::Write { offset, bytes: bytes.to_vec() })
    }

    pub(crate) fn truncate(&self, file: FileKey, length: usize) -> Result<(), PowerOff> {
        self.change(file, Operation::Truncate, || Change::Truncate { length })
    }

    /// Makes the file's content durable and, if wanted, the names in its directory.
    pub(crate) fn sync(&self, file: FileKey, sync_directory: bool) -> Result<(), PowerOff> {
        let mut state = self.state();
        let role = state.files[file.0].role;
        // Cut in the middle of a sync, anything may have been written back: as if it had not begun.
        state.perform(role, Operation::Sync, |_| {})?;
        if state.syncs != Syncs::IgnoredOn(role) {
            state.files[file.0].sync();
            if sync_directory {
                state.sync_directory();
            }
        }
        Ok(())
    }

    /// Whether the power has gone.
    pub(crate) fn is_off(&self) -> bool {
        self.state().cut_during.is_some()
    }

    /// What was being done when the power went.
    pub(crate) fn cut_during(&self) -> Option<(Role, Operation)> {
        self.state().cut_during
    }

    /// What the disk holds after the cut; one of the possibilities.
    pub(crate) fn after_cut(&self, random: &mut ChaCha8Rng) -> Image {
        let state = self.state();
        let mut entries = state.entries_synced.clone();
        let mut changes: BTreeMap<&str, Vec<Option<FileKey>>> = BTreeMap::new();
        for (name, file) in &state.entries_unsynced {
            changes.entry(name).or_default().push(*file);
        }
        for (name, files) in changes {
            let happened = random.random_range(0..=files.len());
            match files[..happened].last() {
                None => {}
                Some(None) => drop(entries.remove(name)),
                Some(Some(file)) => drop(entries.insert(name.to_owned(), *file)),
            }
        }
        Image(entries.into_iter().map(|(name, file)| (name, state.files[file.0].after_cut(random))).collect())
    }

    fn change(&self, file: FileKey, operation: Operation, change: impl FnOnce() -> Change) -> Result<(), PowerOff> {
        let mut state = self.state();
        let role = state.files[file.0].role;
        state.perform(role, operation, |state| state.files[file.0].unsynced.push(change()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts, and performs unless the power is off. The operation in whose middle the power goes fails, and may have happened all
    /// the same.
    fn perform(&mut self, role: Role, operation: Operation, act: impl FnOnce(&mut Self)) -> Result<(), PowerOff> {
        if self.cut_during.is_some() {
            return Err(PowerOff);
        }
        act(self);
        self.operations += u64::from(self.cut.among.counts(role, operation));
        if self.operations == self.cut.number {
            self.cut_during = Some((role, operation));
            return Err(PowerOff);
        }
        Ok(())
    }

    fn sync_directory(&mut self) {
        self.entries_synced.clone_from(&self.entries);
        self.entries_unsynced.clear();
    }
}

impl File {
    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.synced, offset, &bytes),
                Change::Truncate { length } => self.synced.resize(length, 0),
            }
        }
    }

    fn after_cut(&self, random: &mut ChaCha8Rng) -> Vec<u8> {
        let mut image = self.synced.clone();
        let mut length_seen = image.len();
        let written_back = *WRITTEN_BACK.choose(random).expect("there are some");
        let in_between = written_back > 0.0 && written_back < 1.0;
        for change in &self.unsynced {
            match change {
                Change::Truncate { length } => {
                    length_seen = *length;
                    if random.random_bool(written_back) {
                        image.resize(*length, 0);
                    }
                }
                Change::Write { offset, bytes } => {
                    length_seen = length_seen.max(offset + bytes.len());
                    if in_between && random.random_bool(TORN) {
                        tear(&mut image, *offset, bytes, random);
                    } else if random.random_bool(written_back) {
                        put(&mut image, *offset, bytes);
                    }
                }
            }
        }
        if image.len() < length_seen && random.random_bool(0.5) {
            image.resize(length_seen, 0);
        }
        image
    }
}

fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

/// Writes some of the sectors that the range touches, as far as they are in the range.
fn tear(image: &mut Vec<u8>, offset: usize, bytes: &[u8], random: &mut ChaCha8Rng) {
    let end = offset + bytes.len();
    let mut begin = offset;
    while begin < end {
        let sector_end = (begin / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let part_end = sector_end.min(end);
        if random.random_bool(0.5) {
            put(image, begin, &bytes[begin - offset..part_end - offset]);
        } else if random.random_bool(GARBLED) {
            let mut garbage = vec![0; part_end - begin];
            random.fill_bytes(&mut garbage);
            put(image, begin, &garbage);
        }
        begin = part_end;
    }
}
