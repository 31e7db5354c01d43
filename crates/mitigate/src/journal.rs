//! What was limited and destroyed, on disk before it happens: one JSON object a line, only ever appended.
//!
//! It is another than that of settings ([`linger_tune::Journal`]), whose runs are watched for minutes with a lock held:
//! an emergency does not wait for them.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use linger_tune::NetnsMark;
use rustix::fs::{Mode, OFlags, fstat, fsync, mkdir, open, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Where the journal is unless another folder is named.
pub const STATE_DIR: &str = "/var/lib/linger/mitigate";
const FILE: &str = "mitigations.jsonl";
const VERSION: u32 = 1;
/// A longer line is foreign.
const MOST_LINE: u64 = 64 << 10;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// The boot it happened in.
    pub boot: String,
    /// Who did it: `uid 0, logged in as uid 1000`.
    pub who: String,
    /// The process that did it.
    pub pid: u32,
    /// Where.
    pub netns: NetnsMark,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened, or is about to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A limit is about to be put in force.
    Limit {
        /// The port.
        port: u16,
        /// For so long, seconds.
        for_s: u64,
        /// The ruleset as nft gets it.
        ruleset: String,
    },
    /// It is in force, or was refused.
    Limited {
        /// The port.
        port: u16,
        /// Why it is not; none where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Linger's table is about to be taken away.
    Clear,
    /// A socket is about to be destroyed.
    Close(Closing),
    /// What came of the sockets since the last such line.
    Closed {
        /// Destroyed.
        destroyed: u64,
        /// Gone already, or of another state by then.
        passed: u64,
        /// Left by the kernel.
        left: u64,
    },
}

/// A socket that is about to be destroyed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closing {
    /// Its state.
    pub state: String,
    /// Local address.
    pub src: IpAddr,
    /// Local port.
    pub sport: u16,
    /// Peer address.
    pub dst: IpAddr,
    /// Peer port.
    pub dport: u16,
    /// The kernel's cookie.
    pub cookie: u64,
    /// Who holds it: `shop (pid 4242)`; none where nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// The folder that holds a journal.
#[derive(Debug)]
pub struct Journal {
    folder: OwnedFd,
    boot: String,
    who: String,
    netns: NetnsMark,
}

/// The right to write the journal, and to do what it speaks of; it goes with the process, also on SIGKILL.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Closing it alone would not do: a process that is being started has a copy of the descriptor until it execs.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Journal {
    /// Opens the journal in this folder, which is made (mode 0700) if it isn't there.
    ///
    /// # Errors
    /// When the folder can't be made or opened, or others than its owner, who must be this user, may enter it.
    pub fn open(path: &Path, netns: NetnsMark) -> Result<Journal, Error> {
        let failed = |error: io::Error| Error::journal(path, error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let found = fstat(&folder).map_err(|error| failed(error.into()))?;
        if found.st_uid != geteuid().as_raw() || found.st_mode & 0o077 != 0 {
            let what = "it must belong to this user, and nobody else may enter it (mode 0700)";
            return Err(failed(io::Error::other(what)));
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(failed)?;
        Ok(Journal { folder, boot: boot.trim().to_owned(), who: who(), netns })
    }

    /// Takes the lock, waiting for at most this long.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process has it for so long.
    pub fn lock(&self, patience: Duration) -> Result<Lock, Error> {
        let file = self.file("lock")?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) if start.elapsed() >= patience => return Err(Error::Busy),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::Error(error)) => return Err(Error::system("lock the journal", error)),
            }
        }
    }

    fn file(&self, name: &str) -> Result<File, Error> {
        let failed = |error: io::Error| Error::system("open the journal", error);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(|error| failed(error.into()))?);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is no plain file")));
        }
        Ok(file)
    }

    /// Appends lines; they are on the disk when this returns.
    ///
    /// # Errors
    /// When they can't be written. What can't be journalled must not be done.
    pub fn append(&self, _: &Lock, events: impl IntoIterator<Item = Event>) -> Result<(), Error> {
        let failed = |error: io::Error| Error::system("write the journal", error);
        let mut file = self.file(FILE)?;
        let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut text = Vec::new();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            // A torn line stays a line of its own.
            if last != *b"\n" {
                text.push(b'\n');
            }
        }
        let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        for event in events {
            let record = Record {
                v: VERSION,
                at: at.clone(),
                boot: self.boot.clone(),
                who: self.who.clone(),
                pid: std::process::id(),
                netns: self.netns,
                event,
            };
            serde_json::to_writer(&mut text, &record).map_err(|error| failed(error.into()))?;
            text.push(b'\n');
        }
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_all()) {
            let _ = file.set_len(length);
            return Err(failed(error));
        }
        if length == 0 {
            fsync(&self.folder).map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }

    /// The records of a folder, oldest first, with `most` at the most; lines that are torn or foreign are left out.
    /// Nothing where there is no journal.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn read(path: &Path, most: usize) -> Result<Vec<Record>, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open(path.join(FILE), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(Error::system("read the journal", error)),
        };
        let mut last = std::collections::VecDeque::new();
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut lines).take(MOST_LINE).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Error::system("read the journal", error)),
            }
            let known = serde_json::from_slice::<Record>(&line).ok().filter(|it| it.v == VERSION);
            last.extend(known);
            if last.len() > most {
                last.pop_front();
            }
        }
        Ok(last.into())
    }
}

/// Who runs this: the user, and who they logged in as.
fn who() -> String {
    let uid = geteuid().as_raw();
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login = login.and_then(|text| text.trim().parse::<u32>().ok());
    match login.filter(|it| *it != u32::MAX && *it != uid) {
        Some(login) => format!("uid {uid}, logged in as uid {login}"),
        None => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const MARK: NetnsMark = NetnsMark { inode: 7, cookie: 9 };

    fn event(cookie: u64) -> Event {
        let (src, dst) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let (state, holder) = ("close_wait".into(), Some("shop (pid 1)".into()));
        Event::Close(Closing { state, src, sport: 1, dst, dport: 2, cookie, holder })
    }

    fn opened(path: &Path) -> Result<Journal, Error> {
        Journal::open(path, MARK)
    }

    fn append(journal: &Journal, events: &[Event]) -> Result<(), Error> {
        journal.append(&journal.lock(Duration::ZERO).unwrap(), events.iter().cloned())
    }

    #[test]
    fn lines_come_back_and_torn_ones_stay_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/mitigate");
        assert_eq!(Journal::read(&path, 10).unwrap(), []);
        let journal = opened(&path).unwrap();
        append(&journal, &[event(1), Event::Clear]).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(path.join(FILE)).unwrap();
        file.write_all(b"{\"v\":1,\"torn").unwrap();
        append(&journal, &[event(2)]).unwrap();
        let events: Vec<Event> = Journal::read(&path, 10).unwrap().into_iter().map(|it| it.event).collect();
        assert_eq!(events, [event(1), Event::Clear, event(2)]);
        assert_eq!(Journal::read(&path, 1).unwrap().pop().unwrap().event, event(2));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_or_file_of_others_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mitigate");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(opened(&path).unwrap_err().to_string().contains("0700"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        let journal = opened(&path).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "").unwrap();
        symlink(&elsewhere, path.join(FILE)).unwrap();
        assert!(append(&journal, &[Event::Clear]).is_err());
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"");
        assert!(Journal::read(&path, 1).is_err());
    }

    #[test]
    fn two_do_not_write_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) =
            (opened(folder.path().join("m").as_path()).unwrap(), opened(&folder.path().join("m")).unwrap());
        let lock = one.lock(Duration::ZERO).unwrap();
        assert!(matches!(other.lock(Duration::ZERO), Err(Error::Busy)));
        drop(lock);
        other.lock(Duration::ZERO).unwrap();
    }
}
