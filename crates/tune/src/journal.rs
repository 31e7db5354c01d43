//! What was done, on disk before it is done.
//!
//! One JSON object a line, only ever appended; a line and the folder are on the disk before anything else happens.
//! Who holds the lock of a namespace writes of it. A line that is torn, foreign or of another version is skipped and
//! counted: it never stops a way back that other lines describe.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::log::Log;
use crate::settings::NetnsMark;
use crate::state::{Held, Stamp, StateDir};
use crate::{Error, Kind};

/// Where the journal is unless another folder is named.
pub const STATE_DIR: &str = "/var/lib/linger/tune";
pub(crate) const FILE: &str = "journal.jsonl";
/// The version of a line. Others are not read.
pub(crate) const VERSION: u32 = 1;
/// How long a line waits for another's.
const PATIENCE: Duration = Duration::from_secs(10);

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub(crate) v: u32,
    /// When, and whose doing.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// The run it belongs to; they count from 1.
    pub run: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened, or is about to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run begins.
    Begin {
        /// Where.
        netns: NetnsMark,
        /// Whether that is the host's own namespace.
        #[serde(default)]
        is_host: bool,
        /// The folder to persist into, where that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        persist: Option<PathBuf>,
    },
    /// A value is about to be written.
    Write {
        /// The step, from 0.
        step: usize,
        /// The full key.
        key: String,
        /// The value until now.
        from: String,
        /// The new value.
        to: String,
    },
    /// It was written, and this is what the kernel shows.
    Wrote {
        /// The step.
        step: usize,
        /// What was read back.
        value: String,
    },
    /// The step was watched and stays.
    Kept {
        /// The step.
        step: usize,
        /// What was seen of its effect.
        effect: String,
    },
    /// The old value is about to be written.
    Undo {
        /// The step.
        step: usize,
        /// Why.
        why: String,
    },
    /// The old value is there again.
    Undone {
        /// The step.
        step: usize,
    },
    /// Somebody else changed it meanwhile; it was left alone.
    Foreign {
        /// The step.
        step: usize,
        /// What was found.
        found: String,
    },
    /// The old value could not be written.
    Stuck {
        /// The step.
        step: usize,
        /// Why.
        why: String,
    },
    /// All steps are done; without a word from the operator they are taken back.
    Awaiting {
        /// At this time of CLOCK_BOOTTIME, seconds.
        until_s: f64,
    },
    /// The steps stay.
    Confirmed,
    /// Its steps are about to be taken back: from here on nobody can confirm it.
    TakingBack {
        /// Why.
        why: String,
    },
    /// The run is over, and none of its values is to be taken back any more by itself.
    Closed {
        /// How it ended.
        why: String,
    },
    /// The file that sets values at boot is about to be replaced.
    Persisting {
        /// The file.
        file: PathBuf,
        /// What was in it; none where there was no file.
        before: Option<String>,
    },
    /// It was.
    Persisted,
}

/// The folder that holds a journal.
#[derive(Debug)]
pub struct Journal(StateDir);

/// Which byte of the lock file stands for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Byte {
    /// Appending to the journal; never for longer than a line takes.
    Journal,
    /// The files that set values at boot.
    Boot,
    /// The settings of the namespace with this inode.
    Netns(u64),
}

impl Byte {
    fn offset(self) -> u64 {
        match self {
            Byte::Journal => 0,
            Byte::Boot => 1,
            Byte::Netns(inode) => inode.saturating_add(2),
        }
    }
}

/// The right to change the settings of one namespace, and to write of it in the journal. Runs in other namespaces go on
/// beside it.
#[derive(Debug)]
pub struct Lock {
    _held: Held,
}

impl Journal {
    /// Opens the journal in this folder, which is made (mode 0700) if it isn't there.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn open(path: &Path) -> Result<Journal, Error> {
        StateDir::open(path).map(Journal)
    }

    /// The journal in this folder; `None` where there is no such folder, which is not made.
    ///
    /// # Errors
    /// As [`StateDir::find`].
    pub fn find(path: &Path) -> Result<Option<Journal>, Error> {
        Ok(StateDir::find(path)?.map(Journal))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The id of this boot.
    pub fn boot(&self) -> &str {
        self.0.boot()
    }

    /// Takes the lock on a namespace's settings, waiting for at most this long.
    ///
    /// # Errors
    /// [`Kind::Busy`] when another process has it for so long.
    pub fn lock(&self, netns: NetnsMark, patience: Duration) -> Result<Lock, Error> {
        self.hold(Byte::Netns(netns.inode), patience).map(|held| Lock { _held: held })
    }

    pub(crate) fn hold(&self, byte: Byte, patience: Duration) -> Result<Held, Error> {
        let busy = match byte {
            Byte::Netns(_) => "another linger changes settings of this namespace at the moment",
            Byte::Journal | Byte::Boot => "another linger is at it, and does not come to an end",
        };
        self.0.lock(byte.offset(), patience, busy)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When its file is there and can't be opened.
    pub fn read(&self) -> Result<Log, Error> {
        Ok(self.file()?.map(Log::read).unwrap_or_default())
    }

    /// Its file, to be read from the beginning; `None` where there is none.
    pub(crate) fn file(&self) -> Result<Option<BufReader<File>>, Error> {
        self.0.read(FILE)
    }

    /// Whether its file is this one.
    pub(crate) fn is_file(&self, file: &File) -> Result<bool, Error> {
        self.0.is_file(FILE, file)
    }

    /// Begins a run; its number.
    ///
    /// # Errors
    /// When the journal can't be read or written, or has no number left.
    pub(crate) fn begin(&self, _: &Lock, event: Event) -> Result<u64, Error> {
        let held = self.hold(Byte::Journal, PATIENCE)?;
        let log = self.read()?;
        let last = log.runs.iter().map(|run| run.id).max().unwrap_or(0);
        // What can't be read may have had the next numbers.
        let run = last.checked_add(1 + log.unreadable.len() as u64).ok_or_else(|| {
            let what = "the journal has a run of the highest number that there is";
            Error::new("number", "a run", Kind::Malformed, what)
        })?;
        self.write(&held, run, event)?;
        Ok(run)
    }

    /// Appends a line; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`Kind::Full`] and others. Nothing of the line is left then, as far as the file system lets it be taken back.
    pub fn append(&self, _: &Lock, run: u64, event: Event) -> Result<(), Error> {
        self.write(&self.hold(Byte::Journal, PATIENCE)?, run, event)
    }

    fn write(&self, held: &Held, run: u64, event: Event) -> Result<(), Error> {
        // Lines without their beginning would tell nobody of the run.
        let begins = matches!(event, Event::Begin { .. });
        self.0.append(held, FILE, begins, [Record { v: VERSION, stamp: self.0.stamp(), run, event }])
    }
}

/// Seconds since boot, sleep included.
#[must_use]
pub fn boottime_s() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Phase, StepState};

    pub(crate) const MARK: NetnsMark = NetnsMark { inode: 7, cookie: 9 };

    pub(crate) fn journal() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("a/tune")).unwrap();
        (folder, journal)
    }

    pub(crate) fn begin() -> Event {
        Event::Begin { netns: MARK, is_host: false, persist: None }
    }

    pub(crate) fn write(step: usize) -> Event {
        Event::Write { step, key: "net.ipv4.tcp_tw_reuse".into(), from: "2".into(), to: "1".into() }
    }

    #[test]
    fn lines_come_back() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        for event in [
            begin(),
            write(0),
            Event::Wrote { step: 0, value: "1".into() },
            Event::Kept { step: 0, effect: "shown".into() },
            Event::Awaiting { until_s: 12.5 },
        ] {
            journal.append(&lock, 1, event).unwrap();
        }
        let log = journal.read().unwrap();
        assert_eq!(log.unreadable, Vec::<usize>::new());
        let run = log.run(1).unwrap();
        assert_eq!((run.phase, run.netns, run.boot.as_str()), (Phase::Awaiting(12.5), MARK, journal.boot()));
        assert_eq!((run.steps[0].state, run.steps[0].note.as_str()), (StepState::Kept, "shown"));
        assert_eq!(log.unsettled(journal.boot()).count(), 1);
        assert_eq!(log.unsettled("another boot").count(), 0);
    }

    #[test]
    fn one_process_at_a_time() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        assert_eq!(journal.lock(MARK, Duration::from_millis(30)).unwrap_err().kind, Kind::Busy);
        // Another namespace's settings are another's to change.
        let other = journal.lock(NetnsMark { inode: 8, cookie: 1 }, Duration::ZERO).unwrap();
        journal.append(&other, 1, begin()).unwrap();
        drop(lock);
        journal.lock(MARK, Duration::ZERO).unwrap();
    }

    #[test]
    fn torn_and_foreign_lines_are_skipped_and_counted() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        journal.append(&lock, 1, begin()).unwrap();
        journal.append(&lock, 1, write(0)).unwrap();
        let file = journal.path().join(FILE);
        let mut text = std::fs::read_to_string(&file).unwrap();
        text += "\n{\"v\":2}\nnot json\n\u{0}\n";
        text += &"x".repeat(200_000);
        text += "\n{\"v\":1,\"run\":1,\"event\":\"wro";
        std::fs::write(&file, &text).unwrap();
        journal.append(&lock, 1, Event::Wrote { step: 0, value: "1".into() }).unwrap();
        let log = journal.read().unwrap();
        assert_eq!(log.unreadable, [4, 5, 6, 7, 8]);
        assert_eq!(log.run(1).unwrap().steps[0].state, StepState::Written);
    }

    #[test]
    fn a_number_that_no_other_can_follow_is_the_last() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        assert_eq!(journal.begin(&lock, begin()).unwrap(), 1);
        let file = journal.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"run\":1", "\"run\":18446744073709551615")).unwrap();
        let full = journal.begin(&lock, begin()).unwrap_err();
        assert!(full.to_string().contains("the highest number"), "{full}");
    }
}
