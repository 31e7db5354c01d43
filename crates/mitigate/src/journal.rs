//! What was limited and destroyed, on disk before it happens: one JSON object a line, only ever appended.
//!
//! It is another than that of settings ([`linger_tune::Journal`]), whose runs are watched for minutes with a lock held:
//! an emergency does not wait for them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use linger_tune::state::{Held, Stamp, StateDir, lines};
use linger_tune::{Kind, NetnsMark};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Where the journal is unless another folder is named.
pub const STATE_DIR: &str = "/var/lib/linger/mitigate";
const FILE: &str = "mitigations.jsonl";
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    /// When, and whose doing.
    #[serde(flatten)]
    pub stamp: Stamp,
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
    state: StateDir,
    netns: NetnsMark,
}

impl Journal {
    /// Opens the journal in this folder, which is made (mode 0700) if it isn't there.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn open(path: &Path, netns: NetnsMark) -> Result<Journal, Error> {
        Ok(Journal { state: StateDir::open(path)?, netns })
    }

    /// Takes the right to write it, and to do what it speaks of, waiting for at most this long.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process has it for so long.
    pub fn lock(&self, patience: Duration) -> Result<Held, Error> {
        self.state.lock(0, patience, "").map_err(|error| match error.kind {
            Kind::Busy => Error::Busy,
            _ => error.into(),
        })
    }

    /// Appends lines; they are on the disk when this returns.
    ///
    /// # Errors
    /// When they can't be written. What can't be journalled must not be done.
    pub fn append(&self, held: &Held, events: impl IntoIterator<Item = Event>) -> Result<(), Error> {
        let (stamp, netns) = (self.state.stamp(), self.netns);
        let record = |event| Record { v: VERSION, stamp: stamp.clone(), netns, event };
        Ok(self.state.append(held, FILE, true, events.into_iter().map(record))?)
    }

    /// The records of a folder, oldest first, with `most` at the most; lines that are torn or foreign are left out.
    /// Nothing where there is no journal.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn read(path: &Path, most: usize) -> Result<Vec<Record>, Error> {
        let Some(state) = StateDir::find(path)? else { return Ok(Vec::new()) };
        let mut last = VecDeque::new();
        for (_, line) in state.read(FILE)?.into_iter().flat_map(lines::<Record>) {
            let line = line.map_err(|error| Error::system("read the journal", error))?;
            last.extend(line.filter(|it| it.v == VERSION));
            if last.len() > most {
                last.pop_front();
            }
        }
        Ok(last.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

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
    fn a_folder_of_others_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mitigate");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(opened(&path).unwrap_err().to_string().contains("0700"));
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
