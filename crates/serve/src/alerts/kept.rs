//! The alerts that are on, in a file: a later run neither tells them again nor believes them over.

use super::lifecycle::Alert;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A link that somebody put there is not followed, and a pipe is not waited for.
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// The longest file that is read: more than [`super::lifecycle::MOST`] alerts and what waits for several targets take.
const MOST_BYTES: u64 = 64 << 20;

/// What is kept.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Of this format: 1.
    pub version: u32,
    /// The alerts that are on.
    pub alerts: Vec<Alert>,
    /// What waits, by target; a target that is not here has been told nothing yet.
    pub waiting: BTreeMap<String, Vec<Alert>>,
}

/// The file, which is this process's alone.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes it; its folder is made where there is none.
    ///
    /// # Errors
    /// When another one has it, or it may not be had.
    pub fn open(path: &Path) -> io::Result<Store> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600).custom_flags(NO_FOLLOW);
        let lock = options.open(beside(path, ".lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(io::Error::other("another linger has it")),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(Store { path: path.to_owned(), _lock: lock }),
        }
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier run kept; nothing where there was none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what this writes.
    pub fn read(&self) -> io::Result<Option<Kept>> {
        let mut options = OpenOptions::new();
        let file = match options.read(true).custom_flags(NO_FOLLOW).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        if !file.metadata()?.is_file() {
            return Err(invalid("it is no regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(invalid("it is too large".to_owned()));
        }
        let kept: Kept = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(format!("it is not what linger writes ({error})")))?;
        match kept.version {
            1 => Ok(Some(kept)),
            other => Err(invalid(format!("it has the format {other}, and this version of linger knows 1"))),
        }
    }

    /// Puts it there, at once or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, kept: &Kept) -> io::Result<()> {
        let bytes = serde_json::to_vec(kept).map_err(io::Error::other)?;
        let new = beside(&self.path, ".new");
        // It is made anew, so that nothing is followed that lies there.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::message::tests::alert;

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/alerts.json");
        let store = Store::open(&path).expect("taken");
        assert_eq!(store.read().expect("read"), None);
        let alerts = vec![alert("TW001", None), alert("CW001", None)];
        let waiting = BTreeMap::from([("webhook x".to_owned(), vec![alert("CW001", Some(5))])]);
        let kept = Kept { version: 1, alerts, waiting };
        store.write(&kept).expect("written");
        store.write(&kept).expect("written again");
        assert_eq!(store.read().expect("read"), Some(kept));
        let second = Store::open(&path).expect_err("it is taken");
        assert!(second.to_string().contains("another linger"), "{second}");
        for broken in ["", "[]", "{\"version\":2,\"alerts\":[],\"waiting\":{}}", "{\"version\":1"] {
            fs::write(&path, broken).expect("written");
            assert!(store.read().is_err(), "{broken}");
        }
        drop(store);
        let store = Store::open(&path).expect("free again");
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/etc/passwd", &path).expect("a link");
        assert!(store.read().is_err(), "a link is not followed");
    }
}
