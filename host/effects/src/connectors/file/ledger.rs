//! The file itself. Blocking.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdpoint_graph::digest::Digest;
use serde_json::Value;

/// How much longer than the time for its lock a write may take before nobody waits for it any more: a slow disk's flush.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// How every line begins. A last line that is cut off and begins so is ours, and was never acknowledged.
const LINE_START: &[u8] = b"{\"id\":\"";

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) scope: String,
    pub(super) id: String,
    pub(super) request: Value,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Appended {
    /// It is durable, at this line, counted from 1; now or since earlier.
    At(u64),
    /// This line has its id with another request.
    OtherRequest(u64),
    /// Nothing was written.
    Not(String),
    /// It may have been written.
    Unknown(String),
}

/// The file with what is known of its lines.
pub(super) struct Ledger {
    path: PathBuf,
    /// Which file was read: another one may have taken its place.
    identity: Option<Identity>,
    /// Bytes that were read: whole lines.
    read_bytes: u64,
    lines: u64,
    known: HashMap<(String, String), (u64, Digest)>,
}

impl Ledger {
    /// A ledger that has read nothing yet; the file is made by the first append.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, identity: None, read_bytes: 0, lines: 0, known: HashMap::new() }
    }

    /// Appends a line unless its id is there. Other processes wait meanwhile; until when this one waits for them is `lock_until`.
    pub(super) fn append(&mut self, line: &Line, at_ms: u64, lock_until: Instant) -> Appended {
        let mut file = match self.open(lock_until) {
            Ok(file) => file,
            Err(error) => return Appended::Not(format!("the file cannot be opened: {}", describe(&error))),
        };
        if let Err(error) = self.catch_up(&mut file) {
            self.forget();
            return Appended::Not(format!("the file cannot be read: {}", describe(&error)));
        }
        let digest = Digest::of_json(&line.request);
        let key = (line.scope.clone(), line.id.clone());
        match self.known.get(&key) {
            Some((number, known)) if *known != digest => Appended::OtherRequest(*number),
            Some((number, _)) => {
                let number = *number;
                // Whoever wrote it may have died before it was durable.
                self.sync(&file, number)
            }
            None => self.write(&mut file, line, at_ms, key, digest),
        }
    }

    fn open(&self, lock_until: Instant) -> io::Result<File> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        lock(&file, lock_until)?;
        Ok(file)
    }

    /// Reads what was appended since the last time, and makes a torn last line harmless.
    fn catch_up(&mut self, file: &mut File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        if self.identity != Some(identity) || metadata.len() < self.read_bytes {
            self.forget();
            self.identity = Some(identity);
        }
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut reader = BufReader::new(&*file);
        let mut torn = Vec::new();
        loop {
            let mut bytes = Vec::new();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            if bytes.last() == Some(&b'\n') {
                self.learn(&bytes);
            } else {
                torn = bytes;
            }
        }
        if !torn.is_empty() {
            self.repair(file, torn)?;
        }
        Ok(())
    }

    /// A last line without its end is the trace of a crash or a power cut. A whole entry gets its end; a part of ours was never acknowledged and
    /// goes; anything else is not ours to remove and becomes a line of its own.
    fn repair(&mut self, file: &mut File, mut torn: Vec<u8>) -> io::Result<()> {
        let whole = parse(&torn).is_some();
        let ours = torn.starts_with(LINE_START) || LINE_START.starts_with(&torn) || torn.iter().all(|byte| *byte == 0);
        if !whole && ours {
            return file.set_len(self.read_bytes);
        }
        file.write_all(b"\n")?;
        torn.push(b'\n');
        self.learn(&torn);
        Ok(())
    }

    /// Takes note of one whole line.
    fn learn(&mut self, bytes: &[u8]) {
        self.read_bytes += bytes.len() as u64;
        self.lines += 1;
        if let Some((key, digest)) = parse(bytes) {
            self.known.entry(key).or_insert((self.lines, digest));
        }
    }

    fn write(&mut self, file: &mut File, line: &Line, at_ms: u64, key: (String, String), digest: Digest) -> Appended {
        let text = format!(
            "{{\"id\":{},\"scope\":{},\"at_ms\":{at_ms},\"request\":{}}}\n",
            Value::from(line.id.as_str()),
            Value::from(line.scope.as_str()),
            line.request
        );
        if let Err(error) = file.write_all(text.as_bytes()) {
            let reason = format!("the file cannot be written: {}", describe(&error));
            // Part of the line may be there, such as on a full disk.
            return match file.set_len(self.read_bytes) {
                Ok(()) => Appended::Not(reason),
                Err(_) => Appended::Unknown(reason),
            };
        }
        let number = self.lines + 1;
        let appended = self.sync(file, number);
        if appended == Appended::At(number) {
            self.lines = number;
            self.read_bytes += text.len() as u64;
            self.known.insert(key, (number, digest));
        }
        appended
    }

    /// What was acknowledged outlives a power cut: the bytes, and for a new file its name.
    fn sync(&self, file: &File, number: u64) -> Appended {
        let synced = file.sync_all().and_then(|()| if self.lines == 0 { sync_folder(&self.path) } else { Ok(()) });
        match synced {
            Ok(()) => Appended::At(number),
            Err(error) => Appended::Unknown(format!("the file cannot be flushed: {}", describe(&error))),
        }
    }

    fn forget(&mut self) {
        *self = Self::new(std::mem::take(&mut self.path));
    }
}

/// Takes the lock that other processes respect. It is released when the file is closed.
fn lock(file: &File, until: Instant) -> io::Result<()> {
    // There is no waiting for a lock with an end, so it is tried again and again; it is held for a flush at most.
    const PAUSE: Duration = Duration::from_millis(2);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another program holds its lock"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Scope and id of an entry, and the digest of its request.
fn parse(bytes: &[u8]) -> Option<((String, String), Digest)> {
    let entry: Value = serde_json::from_slice(bytes).ok()?;
    let text = |name: &str| entry.get(name)?.as_str().map(str::to_owned);
    Some(((text("scope")?, text("id")?), Digest::of_json(entry.get("request")?)))
}

/// Says what happened without the path, which may be nobody's business.
fn describe(error: &io::Error) -> String {
    if error.raw_os_error().is_some() { error.kind().to_string() } else { error.to_string() }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Tells files apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(metadata.dev(), metadata.ino())
    }

    /// Elsewhere a file that took another's place is found by being shorter.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> Self {
        Self(0, 0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(id: &str) -> Line {
        Line { scope: "thread:t".into(), id: id.into(), request: json!({ "amount": 1 }) }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    const A: &str = "{\"id\":\"a\",\"scope\":\"thread:t\",\"at_ms\":7,\"request\":{\"amount\":1}}\n";
    const B: &str = "{\"id\":\"b\",\"scope\":\"thread:t\",\"at_ms\":7,\"request\":{\"amount\":1}}\n";

    /// Appends `b` to a file; gives what became of it and the file.
    fn check(before: &[u8]) -> (Appended, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.jsonl");
        std::fs::write(&path, before).expect("written");
        let appended = Ledger::new(path.clone()).append(&line("b"), 7, soon());
        let after = std::fs::read(&path).expect("readable");
        assert_eq!(Ledger::new(path.clone()).append(&line("b"), 8, soon()), appended, "the same again");
        assert_eq!(std::fs::read(&path).expect("readable"), after, "nothing more is written");
        (appended, String::from_utf8_lossy(&after).into_owned())
    }

    #[test]
    fn every_beginning_of_a_torn_line_is_repaired() {
        for cut in 0..=B.len() {
            let before = format!("{A}{}", &B[..cut]);
            assert_eq!(check(before.as_bytes()), (Appended::At(2), format!("{A}{B}")), "cut at {cut}");
        }
        assert_eq!(
            check(format!("{A}\0\0\0").as_bytes()),
            (Appended::At(2), format!("{A}{B}")),
            "zeros after a power cut"
        );
    }

    #[test]
    fn what_others_wrote_stays() {
        assert_eq!(check(b"# notes"), (Appended::At(2), format!("# notes\n{B}")));
        assert_eq!(check(b"# notes\n\n"), (Appended::At(3), format!("# notes\n\n{B}")));
        assert_eq!(check(b""), (Appended::At(1), B.into()));
    }

    #[test]
    fn an_id_is_unique_in_its_scope_and_stands_for_one_request() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut ledger = Ledger::new(folder.path().join("ledger.jsonl"));
        assert_eq!(ledger.append(&line("a"), 7, soon()), Appended::At(1));
        let other_request = Line { request: json!(2), ..line("a") };
        assert_eq!(ledger.append(&other_request, 7, soon()), Appended::OtherRequest(1));
        let other_scope = Line { scope: "thread:u".into(), ..line("a") };
        assert_eq!(ledger.append(&other_scope, 7, soon()), Appended::At(2));
        assert_eq!(ledger.append(&line("a"), 9, soon()), Appended::At(1));
    }

    #[test]
    fn other_writers_and_other_files_are_seen() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.jsonl");
        let (mut one, mut two) = (Ledger::new(path.clone()), Ledger::new(path.clone()));
        assert_eq!(one.append(&line("a"), 7, soon()), Appended::At(1));
        assert_eq!(two.append(&line("a"), 8, soon()), Appended::At(1));
        assert_eq!(two.append(&line("b"), 7, soon()), Appended::At(2));
        assert_eq!(one.append(&line("b"), 8, soon()), Appended::At(2));
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), format!("{A}{B}"));

        let held = File::open(&path).expect("it is there");
        held.lock().expect("locked");
        let Appended::Not(reason) = one.append(&line("c"), 7, soon()) else { panic!("it is locked") };
        assert_eq!(reason, "the file cannot be opened: another program holds its lock");
        drop(held);

        std::fs::remove_file(&path).expect("removed");
        assert_eq!(one.append(&line("a"), 7, soon()), Appended::At(1), "a new file has no ids");
        std::fs::remove_dir_all(folder.path()).expect("removed");
        assert_eq!(
            one.append(&line("b"), 7, soon()),
            Appended::Not("the file cannot be opened: entity not found".into())
        );
    }
}
