//! Compiled code between processes: sealed files in a private directory.
//!
//! A file is `magic | HMAC-SHA256 over (magic, file name, code) | code`. The key lies in the same directory and is readable by its user alone, so
//! the seal tells code that this user's hosts compiled from everything else: cut files, files of another machine, files under another name.
//! Nothing here ever fails a call: what cannot be read is compiled, what cannot be written is compiled again next time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::Rng as _;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::trusted::{self, SealedCode};

const MAGIC: &[u8; 16] = b"holdpoint-code-1";
const SEAL_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const KEY_FILE: &str = "key";
const EXTENSION: &str = "code";

/// Compiled code on disk.
pub(crate) struct DiskCache {
    directory: PathBuf,
    key: [u8; KEY_BYTES],
    bytes_max: u64,
}

impl DiskCache {
    /// Opens the directory, making it and its key if they are absent.
    pub(crate) fn open(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        make_private_directory(directory)?;
        let key = read_or_make_key(directory)?;
        Ok(Self { directory: directory.to_owned(), key, bytes_max })
    }

    /// Loads what was compiled before; `None` when there is nothing that can be trusted.
    pub(crate) fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let path = self.path(name);
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code could not be read");
                return None;
            }
        };
        let Some(code) = self.unseal(name, &file) else {
            tracing::warn!(path = %path.display(), "compiled code was not sealed by this host; it is ignored and replaced");
            return None;
        };
        match trusted::load(engine, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), error = format!("{error:#}"), "compiled code does not fit this host");
                None
            }
        }
    }

    /// Keeps what was compiled. The file appears whole or not at all, also after power loss.
    pub(crate) fn store(&self, name: &str, code: &[u8]) {
        if let Err(error) = self.write(name, code) {
            tracing::warn!(directory = %self.directory.display(), %error, "compiled code could not be kept");
        }
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        self.prune(code.len() as u64)?;
        let temporary = self.directory.join(temporary_name());
        let written = (|| {
            let mut file = create_private(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(&self.seal(name, code).finalize().into_bytes())?;
            file.write_all(code)?;
            file.sync_all()?;
            fs::rename(&temporary, self.path(name))?;
            File::open(&self.directory)?.sync_all()
        })();
        if written.is_err() {
            // Best effort; a left-over counts as the oldest file of the next pruning.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes the oldest files until `room` more bytes fit.
    fn prune(&self, room: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            // Another process may have removed it meanwhile.
            if let (Some(EXTENSION | "temporary"), Ok(metadata)) =
                (path.extension().and_then(|text| text.to_str()), entry.metadata())
            {
                files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), path));
            }
        }
        files.sort();
        let mut total = files.iter().map(|(_, length, _)| length).sum::<u64>().saturating_add(room);
        for (_, length, path) in files {
            if total <= self.bytes_max {
                break;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total = total.saturating_sub(length),
            }
        }
        Ok(())
    }

    fn unseal<'a>(&self, name: &str, file: &'a [u8]) -> Option<SealedCode<'a>> {
        let (seal, code) = file.strip_prefix(MAGIC)?.split_at_checked(SEAL_BYTES)?;
        // Compares in constant time.
        self.seal(name, code).verify_slice(seal).ok()?;
        Some(SealedCode(code))
    }

    fn seal(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes keys of any length");
        seal.update(MAGIC);
        seal.update(&(name.len() as u64).to_be_bytes());
        seal.update(name.as_bytes());
        seal.update(code);
        seal
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{EXTENSION}"))
    }
}

fn temporary_name() -> String {
    format!("{:016x}.temporary", rand::rng().next_u64())
}

fn read_or_make_key(directory: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = directory.join(KEY_FILE);
    if let Some(key) = read_key(&path)? {
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    let temporary = directory.join(temporary_name());
    let mut file = create_private(&temporary)?;
    file.write_all(&key)?;
    file.sync_all()?;
    // Replaces a key that is no secret any more or cut short; whatever it sealed is compiled again. Where two processes start at once, the
    // second key stays and the first one's files are replaced by and by.
    fs::rename(&temporary, &path)?;
    read_key(&path)?.ok_or_else(|| io::Error::other("the key of the compiled code is not private"))
}

/// The key; `None` when there is none that can be trusted.
fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !is_private(&file.metadata()?) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}

#[cfg(unix)]
fn make_private_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    if !is_private(&fs::metadata(directory)?) {
        // Fails when it is someone else's.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(unix)]
fn is_private(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o077 == 0
}

// Elsewhere the directories of a user are private by default.
#[cfg(not(unix))]
fn make_private_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(not(unix))]
fn is_private(_: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123-4567";

    fn cache(directory: &Path) -> DiskCache {
        DiskCache::open(directory, 1 << 20).expect("a cache")
    }

    #[test]
    fn only_what_was_sealed_here_under_this_name_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let here = cache(directory.path());
        here.store(NAME, b"machine code");
        let file = fs::read(here.path(NAME)).expect("written");
        assert_eq!(cache(directory.path()).unseal(NAME, &file).expect("sealed").0, b"machine code");
        assert!(here.unseal("0123-4568", &file).is_none(), "another name");
        for index in 0..file.len() {
            let mut changed = file.clone();
            changed[index] ^= 1;
            assert!(here.unseal(NAME, &changed).is_none(), "byte {index} changed");
            assert!(here.unseal(NAME, &file[..index]).is_none(), "cut to {index}");
        }
        let elsewhere = tempfile::tempdir().expect("a directory");
        assert!(cache(elsewhere.path()).unseal(NAME, &file).is_none(), "another key");
    }

    #[cfg(unix)]
    #[test]
    fn directory_and_files_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("code");
        fs::create_dir(&directory).expect("made");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("opened");
        let here = cache(&directory);
        here.store(NAME, b"machine code");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join(KEY_FILE)), mode(&here.path(NAME))), (0o700, 0o600, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_could_read_is_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let before = cache(directory.path()).key;
        let path = directory.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened");
        let after = cache(directory.path()).key;
        assert_ne!(before, after);
        fs::write(&path, b"short").expect("written");
        assert_ne!(cache(directory.path()).key, after);
    }

    #[test]
    fn the_oldest_files_make_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let here = DiskCache::open(directory.path(), 1000).expect("a cache");
        for index in 0..10 {
            here.store(&format!("{index}"), &[index; 300]);
        }
        let kept = (0..10).filter(|index| here.path(&format!("{index}")).exists()).collect::<Vec<_>>();
        assert!(kept.contains(&9) && kept.len() <= 3, "{kept:?}");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_no_failure() {
        let directory = tempfile::tempdir().expect("a directory");
        let here = cache(directory.path());
        fs::remove_dir_all(directory.path()).expect("removed");
        here.store(NAME, b"machine code");
        assert!(DiskCache::open(Path::new("/dev/null/code"), 1).is_err());
    }
}
