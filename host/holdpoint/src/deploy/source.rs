//! Where the files of a graph come from: this machine, or whoever sent them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Reads the files that graphs are made of.
pub trait Source: fmt::Debug + Send + Sync {
    /// A file's content.
    ///
    /// # Errors
    /// As of [`std::fs::read`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether a file is there.
    fn exists(&self, path: &Path) -> bool;

    /// What names a file that was read, whichever way leads to it.
    fn identity(&self, path: &Path) -> PathBuf;

    /// A file's content as text.
    ///
    /// # Errors
    /// As of [`std::fs::read_to_string`].
    fn read_text(&self, path: &Path) -> io::Result<String> {
        String::from_utf8(self.read(path)?)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
    }
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Source for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn identity(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// Files that somebody sent, under the paths by which they name each other. No file of this machine is ever looked at.
#[derive(Default)]
pub struct Sent(BTreeMap<PathBuf, Vec<u8>>);

impl Sent {
    /// These files.
    pub fn new(files: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        Self(files)
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Source for Sent {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        /// What the system says of a file that is not there: whoever sent the others has none either.
        const NO_SUCH_FILE: i32 = 2;
        self.0.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(NO_SUCH_FILE))
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Without detours. Links of the machine that sent it are not known: what they hide costs a second look at the same file.
    fn identity(&self, path: &Path) -> PathBuf {
        let mut identity = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir if matches!(identity.components().next_back(), Some(Component::Normal(_))) => {
                    identity.pop();
                }
                part => identity.push(part),
            }
        }
        identity
    }
}

/// The files of this machine, and which of them were read: those are what somebody else needs to read the same.
#[derive(Debug, Default)]
pub struct Noted(Mutex<BTreeMap<PathBuf, Vec<u8>>>);

impl Noted {
    /// What was read until now, under the paths by which it was asked for.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source for Noted {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = Disk.read(path)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        Disk.identity(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_is_not_there() {
        let sent = Sent::new(BTreeMap::from([(PathBuf::from("g.toml"), b"text".to_vec())]));
        assert_eq!(sent.read_text(Path::new("g.toml")).expect("sent"), "text");
        assert!(sent.exists(Path::new("g.toml")));
        for path in ["/etc/passwd", "Cargo.toml", "./Cargo.toml", "../g.toml", "/proc/self/environ", "-", ""] {
            assert!(!sent.exists(Path::new(path)), "{path}");
            let error = sent.read(Path::new(path)).expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
            let of_disk = std::fs::read("there is no such file").expect_err("not there");
            assert_eq!(error.to_string(), of_disk.to_string(), "told as a missing file is");
        }
    }

    #[test]
    fn one_file_has_one_identity() {
        let identity = |path: &str| Sent::default().identity(Path::new(path)).display().to_string();
        assert_eq!(identity("a/../b/./c.toml"), "b/c.toml");
        assert_eq!(identity("../../x/c.toml"), "../../x/c.toml");
        assert_eq!(identity("/a/b/../c.toml"), "/a/c.toml");
    }
}
