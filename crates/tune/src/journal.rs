//! What was done, on disk before it is done.
//!
//! One JSON object a line, only ever appended; a line and the folder are on the disk before anything else happens.
//! Who holds the lock of a namespace writes of it. A line that is torn, foreign or of another version is skipped and
//! counted: it never stops a way back that other lines describe.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linger_facts::{Tunable, tunable};
use rustix::fs::{FileType, Mode, OFlags, fstat, fsync, ftruncate, mkdir, open, openat};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::settings::NetnsMark;
use crate::{Error, Kind, fault};

/// Where the journal is unless another folder is named.
pub const STATE_DIR: &str = "/var/lib/linger/tune";
const FILE: &str = "journal.jsonl";
const LOCK: &str = "lock";
/// The version of a line. Others are not read.
const VERSION: u32 = 1;
/// A longer line is foreign.
const MOST_LINE: u64 = 64 << 10;
/// How long a line waits for another's.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many steps of one run are taken from the journal.
const MOST_STEPS: usize = 64;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// The boot it happened in (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Who did it: `uid 0 (alice)`.
    pub who: String,
    /// The process that did it.
    pub pid: u32,
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

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// The new value may be there or not.
    Writing,
    /// It is there.
    Written,
    /// It was watched and stays.
    Kept,
    /// The old value may be there again or not.
    Undoing,
    /// The old value is there again.
    Undone,
    /// Somebody else changed it.
    Foreign,
    /// It could not be undone.
    Stuck,
}

impl StepState {
    /// Whether the new value may be there, by this journal.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            StepState::Writing | StepState::Written | StepState::Kept | StepState::Undoing | StepState::Stuck
        )
    }
}

/// A step, as the journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its number in the run, from 0.
    pub number: usize,
    /// The setting.
    pub key: &'static Tunable,
    /// The value before.
    pub from: String,
    /// The value to set.
    pub to: String,
    /// What the kernel made of it, once it was read back.
    pub wrote: Option<String>,
    /// How far it is.
    pub state: StepState,
    /// What was seen of its effect, or why it was undone.
    pub note: String,
    /// When its file was written last, RFC 3339 in UTC: the line before that.
    pub at: String,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Steps are made, or the process that made them is gone.
    Open,
    /// All are made; they are taken back at this time of CLOCK_BOOTTIME, seconds.
    Awaiting(f64),
    /// They stay.
    Confirmed,
    /// They are being taken back, or the process that did it is gone.
    TakingBack,
    /// It is over.
    Closed,
}

impl Phase {
    /// Whether a process is to end it, or `recover`.
    #[must_use]
    pub fn is_unsettled(self) -> bool {
        matches!(self, Phase::Open | Phase::Awaiting(_) | Phase::TakingBack)
    }
}

/// A run, as the journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// When it began.
    pub at: String,
    /// In which boot.
    pub boot: String,
    /// Who began it.
    pub who: String,
    /// Where.
    pub netns: NetnsMark,
    /// Whether that was the host's own namespace.
    pub is_host: bool,
    /// The folder to persist into.
    pub persist: Option<PathBuf>,
    /// Whether a replacement of the file that sets values at boot was begun and not ended.
    pub is_half_persisted: bool,
    /// Whether its values are in the file that sets them at boot.
    pub is_persisted: bool,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How far it is.
    pub phase: Phase,
    /// How it ended.
    pub outcome: String,
    /// When it was confirmed or taken back, and who did that; empty where nobody has.
    pub settled: (String, String),
}

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// Runs, oldest first.
    pub runs: Vec<Run>,
    /// Lines that could not be read, by number from 1.
    pub unreadable: Vec<usize>,
}

impl Log {
    /// The run of this number.
    #[must_use]
    pub fn run(&self, id: u64) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// Runs of this boot that are neither confirmed nor over.
    pub fn unsettled<'a>(&'a self, boot: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.boot == boot && run.phase.is_unsettled())
    }

    /// Reads lines. It never fails: what it does not know, it counts.
    pub fn read(mut lines: impl BufRead) -> Log {
        let mut log = Log::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            match (&mut lines).take(MOST_LINE).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 == MOST_LINE => {
                    log.unreadable.push(number);
                    if skip_line(&mut lines).is_err() {
                        break;
                    }
                    continue;
                }
                Ok(_) => {}
                Err(_) => {
                    log.unreadable.push(number);
                    break;
                }
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let known = serde_json::from_slice::<Record>(text).ok().filter(|record| record.v == VERSION);
            if known.and_then(|record| log.take(record)).is_none() {
                log.unreadable.push(number);
            }
        }
        log
    }

    /// Takes a line in; `None` if it fits nothing before it.
    fn take(&mut self, record: Record) -> Option<()> {
        if let Event::Begin { netns, is_host, persist } = record.event {
            let is_strange = persist.as_ref().is_some_and(|it| !it.is_absolute());
            if self.run(record.run).is_some() || is_strange {
                return None;
            }
            self.runs.push(Run {
                id: record.run,
                at: record.at,
                boot: record.boot,
                who: record.who,
                netns,
                is_host,
                persist,
                is_half_persisted: false,
                is_persisted: false,
                steps: Vec::new(),
                phase: Phase::Open,
                outcome: String::new(),
                settled: (String::new(), String::new()),
            });
            return Some(());
        }
        let run = self.runs.iter_mut().find(|run| run.id == record.run)?;
        let steps = &mut run.steps;
        match record.event {
            Event::Begin { .. } => return None,
            Event::Write { step, key, from, to } => {
                let is_new = steps.iter().all(|it| it.number != step);
                // What was never a value of the kernel's is never written to it.
                let is_plain = |text: &str| {
                    !text.is_empty()
                        && text.len() <= 256
                        && text.bytes().all(|b| b.is_ascii_digit() || b" -,".contains(&b))
                };
                if !is_new
                    || step >= MOST_STEPS
                    || steps.len() >= MOST_STEPS
                    || !is_plain(&from)
                    || !is_plain(&to)
                {
                    return None;
                }
                let (key, state) = (tunable(&key)?, StepState::Writing);
                let (note, at) = (String::new(), record.at);
                steps.push(Step { number: step, key, from, to, wrote: None, state, note, at });
            }
            Event::Wrote { step, value } => found(steps, step, StepState::Written, None)?.wrote = Some(value),
            Event::Kept { step, effect } => {
                found(steps, step, StepState::Kept, Some(effect))?;
            }
            Event::Undo { step, why } => {
                found(steps, step, StepState::Undoing, Some(why))?.at = record.at;
            }
            Event::Undone { step } => {
                found(steps, step, StepState::Undone, None)?;
            }
            Event::Foreign { step, found: value } => {
                let note = format!("{value} was found");
                found(steps, step, StepState::Foreign, Some(note))?;
            }
            Event::Stuck { step, why } => {
                found(steps, step, StepState::Stuck, Some(why))?;
            }
            Event::Awaiting { until_s } => run.phase = Phase::Awaiting(until_s),
            Event::Confirmed => (run.phase, run.settled) = (Phase::Confirmed, (record.at, record.who)),
            Event::TakingBack { why } => {
                (run.phase, run.outcome, run.settled) = (Phase::TakingBack, why, (record.at, record.who));
            }
            Event::Closed { why } => {
                // Who began to take it back did it.
                if run.phase != Phase::TakingBack {
                    run.settled = (record.at, record.who);
                }
                (run.phase, run.outcome) = (Phase::Closed, why);
            }
            Event::Persisting { .. } => run.is_half_persisted = true,
            Event::Persisted => (run.is_half_persisted, run.is_persisted) = (false, true),
        }
        Some(())
    }
}

/// The step of this number, moved on.
fn found(steps: &mut [Step], number: usize, state: StepState, note: Option<String>) -> Option<&mut Step> {
    let step = steps.iter_mut().find(|step| step.number == number)?;
    step.state = state;
    if let Some(note) = note {
        step.note = note;
    }
    Some(step)
}

fn skip_line(lines: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let chunk = lines.fill_buf()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let (length, is_end) = match chunk.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (chunk.len(), false),
        };
        lines.consume(length);
        if is_end {
            return Ok(());
        }
    }
}

/// The folder that holds a journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    folder: OwnedFd,
    /// The file whose bytes are locked; open from the start, so that who holds the journal can lock even where its
    /// folder is gone.
    locks: Result<OwnedFd, rustix::io::Errno>,
    boot: String,
    who: String,
}

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
    fn offset(self) -> libc::off_t {
        match self {
            Byte::Journal => 0,
            Byte::Boot => 1,
            Byte::Netns(inode) => {
                libc::off_t::try_from(inode).map_or(libc::off_t::MAX, |it| it.saturating_add(2))
            }
        }
    }
}

/// A byte that this process alone holds; it goes with the process, also on SIGKILL.
#[derive(Debug)]
pub(crate) struct Held(OwnedFd, Byte);

impl Drop for Held {
    /// Closing it alone would not do: a process that is being started has a copy of the descriptor until it execs.
    fn drop(&mut self) {
        let _ = set_lock(&self.0, libc::F_UNLCK, self.1);
    }
}

/// Locks or unlocks a byte for an open file description, without waiting.
fn set_lock(file: &OwnedFd, kind: libc::c_int, byte: Byte) -> std::io::Result<()> {
    // SAFETY: all of `flock` is integers, for which zero is a value; F_OFD_SETLK wants `l_pid` to be 0.
    let mut lock = unsafe { std::mem::zeroed::<libc::flock>() };
    (lock.l_type, lock.l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    (lock.l_start, lock.l_len) = (byte.offset(), 1);
    // SAFETY: the descriptor is open, and the kernel reads one `flock`, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The right to change the settings of one namespace, and to write of it in the journal. Runs in other namespaces go on
/// beside it.
#[derive(Debug)]
pub struct Lock {
    _held: Held,
}

/// A run, as the journal tells it again and again, by a process whose duty it is to end it: it outlasts the journal.
#[derive(Debug)]
pub struct Follower {
    length: u64,
    run: Run,
}

/// What a journal tells of a run that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// How far it is.
    Known,
    /// Nothing at the moment: it can't be read.
    Unreadable,
    /// It knows no such run any more: somebody has taken the journal away.
    Lost,
}

impl Follower {
    /// Of a run that the journal knows.
    ///
    /// # Errors
    /// When it does not, or can't be read.
    pub fn new(journal: &Journal, run: u64) -> Result<Follower, Error> {
        let length = journal.length()?;
        let lost =
            || Error::new("follow", format!("run {run}"), Kind::Vanished, "the journal has no such run");
        let run = journal.read()?.runs.into_iter().find(|it| it.id == run).ok_or_else(lost)?;
        Ok(Follower { length, run })
    }

    /// The run, as it was told last.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Looks again.
    pub fn look(&mut self, journal: &Journal) -> Told {
        // Read anew only where a line was added.
        match journal.length() {
            Ok(length) if length == self.length => Told::Known,
            Ok(length) => match journal.read() {
                Ok(log) => match log.runs.into_iter().find(|it| it.id == self.run.id && it.at == self.run.at)
                {
                    Some(run) => {
                        (self.length, self.run) = (length, run);
                        Told::Known
                    }
                    None => Told::Lost,
                },
                Err(_) => Told::Unreadable,
            },
            Err(_) => Told::Unreadable,
        }
    }
}

impl Journal {
    /// Opens the journal in this folder, which is made (mode 0700) if it isn't there.
    ///
    /// # Errors
    /// When the folder can't be made or opened, or others than its owner, who must be this user, may enter it.
    pub fn open(path: &Path) -> Result<Journal, Error> {
        let failed = |error: std::io::Error| Error::io("open", path.display().to_string(), error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let found = fstat(&folder).map_err(|error| failed(error.into()))?;
        if found.st_uid != geteuid().as_raw() || found.st_mode & 0o077 != 0 {
            let what = "it must belong to this user, and nobody else may enter it (mode 0700)";
            return Err(Error::new("trust", path.display().to_string(), Kind::Malformed, what));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let locks = openat(&folder, LOCK, flags, Mode::RUSR | Mode::WUSR);
        Ok(Journal { path: path.to_owned(), folder, locks, boot: boot_id()?, who: who() })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of this boot.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Takes the lock on a namespace's settings, waiting for at most this long.
    ///
    /// # Errors
    /// [`Kind::Busy`] when another process has it for so long.
    pub fn lock(&self, netns: NetnsMark, patience: Duration) -> Result<Lock, Error> {
        self.hold(Byte::Netns(netns.inode), patience).map(|held| Lock { _held: held })
    }

    /// Takes the lock on all that is in the folder, for who keeps another file there and has it for a moment only.
    ///
    /// # Errors
    /// As [`Journal::lock`].
    pub fn lock_all(&self, patience: Duration) -> Result<Lock, Error> {
        self.hold(Byte::Journal, patience).map(|held| Lock { _held: held })
    }

    pub(crate) fn hold(&self, byte: Byte, patience: Duration) -> Result<Held, Error> {
        let failed = |error: std::io::Error| Error::io("lock", self.path.display().to_string(), error);
        let locks = self.locks.as_ref().map_err(|error| failed((*error).into()))?;
        // Opened anew: a lock belongs to an open file description, and this one is nobody else's.
        let path = format!("/proc/self/fd/{}", locks.as_raw_fd());
        let file = open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let start = Instant::now();
        loop {
            match set_lock(&file, libc::F_WRLCK, byte) {
                Ok(()) => return Ok(Held(file, byte)),
                Err(error) if is_taken(&error) && start.elapsed() >= patience => {
                    let detail = match byte {
                        Byte::Netns(_) => "another linger changes settings of this namespace at the moment",
                        Byte::Journal | Byte::Boot => "another linger is at it, and does not come to an end",
                    };
                    return Err(Error::new("lock", self.path.display().to_string(), Kind::Busy, detail));
                }
                Err(error) if is_taken(&error) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When its file is there and can't be opened.
    pub fn read(&self) -> Result<Log, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.folder, FILE, flags, Mode::empty()) {
            Ok(file) => Ok(Log::read(BufReader::new(File::from(file)))),
            Err(rustix::io::Errno::NOENT) => Ok(Log::default()),
            Err(error) => Err(Error::io("read", self.file_name(), error.into())),
        }
    }

    /// Its length in bytes: it grows with every line.
    ///
    /// # Errors
    /// When its file is there and can't be looked at.
    pub fn length(&self) -> Result<u64, Error> {
        match rustix::fs::statat(&self.folder, FILE, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(u64::try_from(found.st_size).unwrap_or(0)),
            Err(rustix::io::Errno::NOENT) => Ok(0),
            Err(error) => Err(Error::io("look at", self.file_name(), error.into())),
        }
    }

    fn file_name(&self) -> String {
        self.path.join(FILE).display().to_string()
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
            Error::new(
                "number",
                "a run",
                Kind::Malformed,
                "the journal has a run of the highest number that there is",
            )
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

    fn write(&self, _: &Held, run: u64, event: Event) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::io("append to", self.file_name(), error);
        let errno = |error: rustix::io::Errno| failed(error.into());
        fault::point("before-journal");
        // Lines without their beginning would tell nobody of the run.
        let is_first = matches!(event, Event::Begin { .. });
        let create = if is_first { OFlags::CREATE } else { OFlags::empty() };
        let flags = OFlags::RDWR | create | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.folder, FILE, flags, Mode::RUSR | Mode::WUSR).map_err(errno)?;
        if FileType::from_raw_mode(fstat(&file).map_err(errno)?.st_mode) != FileType::RegularFile {
            return Err(Error::new("append to", self.file_name(), Kind::Malformed, "it is no plain file"));
        }
        let mut file = File::from(file);
        let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if length == 0 && !is_first {
            return Err(Error::new("append to", self.file_name(), Kind::Vanished, "somebody has emptied it"));
        }
        let mut line = Vec::new();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            // A torn line stays a line of its own.
            if last != *b"\n" {
                line.push(b'\n');
            }
        }
        let record = Record {
            v: VERSION,
            at: now(),
            boot: self.boot.clone(),
            who: self.who.clone(),
            pid: std::process::id(),
            run,
            event,
        };
        serde_json::to_writer(&mut line, &record).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        fault::at("torn-journal", || {
            let _ = file.write_all(&line[..line.len() / 2]);
        });
        let written = file.write_all(&line).and_then(|()| {
            fault::point("after-journal-write");
            file.sync_all()
        });
        if let Err(error) = written {
            let _ = ftruncate(&file, length);
            return Err(failed(error));
        }
        if length == 0 {
            fsync(&self.folder).map_err(errno)?;
        }
        Ok(())
    }
}

fn is_taken(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Seconds since boot, sleep included.
#[must_use]
pub fn boottime_s() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    Ok(text.trim().to_owned())
}

/// Who runs this: the user, and who they were before sudo.
fn who() -> String {
    let uid = geteuid().as_raw();
    let plain =
        |name: &String| !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic());
    let name = ["SUDO_USER", "LOGNAME", "USER"].iter().filter_map(|it| std::env::var(it).ok()).find(plain);
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login =
        login.and_then(|text| text.trim().parse::<u32>().ok()).filter(|it| *it != u32::MAX && *it != uid);
    let mut who = format!("uid {uid}");
    if let Some(name) = name {
        who += &format!(" ({name})");
    }
    if let Some(login) = login {
        who += &format!(", logged in as uid {login}");
    }
    who
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    const MARK: NetnsMark = NetnsMark { inode: 7, cookie: 9 };

    fn journal() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("a/tune")).unwrap();
        (folder, journal)
    }

    fn write(step: usize) -> Event {
        Event::Write { step, key: "net.ipv4.tcp_tw_reuse".into(), from: "2".into(), to: "1".into() }
    }

    #[test]
    fn lines_come_back() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        for event in [
            Event::Begin { netns: MARK, is_host: false, persist: None },
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
    fn the_folder_is_for_its_owner_alone() {
        let (folder, journal) = journal();
        let path = folder.path().join("a/tune");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(journal);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("mode 0700"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Journal::open(&link).is_err());
    }

    #[test]
    fn one_process_at_a_time() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        assert_eq!(journal.lock(MARK, Duration::from_millis(30)).unwrap_err().kind, Kind::Busy);
        // Another namespace's settings are another's to change.
        let other = journal.lock(NetnsMark { inode: 8, cookie: 1 }, Duration::ZERO).unwrap();
        journal.append(&other, 1, Event::Begin { netns: MARK, is_host: false, persist: None }).unwrap();
        // As a process that is being started has it.
        let copy = lock._held.0.try_clone().unwrap();
        drop(lock);
        journal.lock(MARK, Duration::ZERO).unwrap();
        drop(copy);
    }

    #[test]
    fn what_follows_a_run_outlasts_the_journal() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        assert_eq!(Follower::new(&journal, 1).unwrap_err().kind, Kind::Vanished);
        let begin = || Event::Begin { netns: MARK, is_host: false, persist: None };
        journal.append(&lock, 1, begin()).unwrap();
        let mut follower = Follower::new(&journal, 1).unwrap();
        journal.append(&lock, 1, write(0)).unwrap();
        assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Known, 1));
        std::fs::remove_file(journal.path().join(FILE)).unwrap();
        assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Lost, 1));
        // No lines without their beginning; another run of this number is not the one that is followed.
        assert_eq!(journal.append(&lock, 1, Event::Confirmed).unwrap_err().kind, Kind::Vanished);
        std::thread::sleep(Duration::from_millis(2));
        journal.append(&lock, 1, begin()).unwrap();
        assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Lost, 1));
    }

    #[test]
    fn torn_and_foreign_lines_are_skipped_and_counted() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        journal.append(&lock, 1, Event::Begin { netns: MARK, is_host: false, persist: None }).unwrap();
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
    fn lines_that_name_what_is_not_tunable_are_foreign() {
        let line = |event: Event| {
            let record = Record {
                v: 1,
                at: String::new(),
                boot: String::new(),
                who: String::new(),
                pid: 1,
                run: 1,
                event,
            };
            serde_json::to_string(&record).unwrap() + "\n"
        };
        let begin = line(Event::Begin { netns: MARK, is_host: false, persist: None });
        let of = |key: &str, from: &str| {
            line(Event::Write { step: 0, key: key.into(), from: from.into(), to: "1".into() })
        };
        for bad in [of("kernel.core_pattern", "1"), of("../x", "1"), of("net.ipv4.tcp_tw_reuse", "|sh")] {
            let log = Log::read((begin.clone() + &bad).as_bytes());
            assert_eq!((log.unreadable.as_slice(), log.runs[0].steps.len()), (&[2][..], 0), "{bad}");
        }
        // A folder that hangs on where it is read, a number that no other can follow, a step that no plan has.
        let relative = Event::Begin { netns: MARK, is_host: true, persist: Some("../etc".into()) };
        assert_eq!(Log::read(line(relative).as_bytes()).unreadable, [1]);
        let last = begin.replace("\"run\":1", "\"run\":18446744073709551615");
        let (_folder, journal) = journal();
        std::fs::write(journal.path().join(FILE), last).unwrap();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        let full = journal.begin(&lock, Event::Begin { netns: MARK, is_host: false, persist: None });
        assert!(full.unwrap_err().to_string().contains("the highest number"));
        let far = of("net.ipv4.tcp_tw_reuse", "2").replace("\"step\":0", "\"step\":18446744073709551615");
        assert_eq!(Log::read((begin.clone() + &far).as_bytes()).unreadable, [2]);
        // A step of a run that never began, and a second beginning.
        assert_eq!(Log::read(of("net.ipv4.tcp_tw_reuse", "2").as_bytes()).unreadable, [1]);
        assert_eq!(Log::read((begin.clone() + &begin).as_bytes()).unreadable, [2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let _ = Log::read(bytes.as_slice());
        }

        /// Lines in any order, some of them damaged.
        #[test]
        fn any_lines_are_read_without_a_panic(lines in proptest::collection::vec((0u64..3, 0usize..3, 0usize..12, any::<u8>(), 0usize..400), 0..40)) {
            let mut bytes = Vec::new();
            for (run, step, kind, damage, at) in lines {
                let event = match kind {
                    0 | 1 => Event::Begin { netns: MARK, is_host: false, persist: None },
                    2 | 3 => write(step),
                    4 => Event::Wrote { step, value: "1".into() },
                    5 => Event::Kept { step, effect: String::new() },
                    6 => Event::Undo { step, why: String::new() },
                    7 => Event::Undone { step },
                    8 => Event::Foreign { step, found: "5".into() },
                    9 => Event::Awaiting { until_s: 1.0 },
                    10 => Event::Confirmed,
                    _ => Event::Closed { why: String::new() },
                };
                let record = Record { v: 1, at: String::new(), boot: String::new(), who: String::new(), pid: 1, run, event };
                let mut line = serde_json::to_vec(&record).unwrap();
                if let Some(byte) = line.get_mut(at) {
                    *byte = damage;
                }
                bytes.extend(line);
                bytes.push(b'\n');
            }
            let log = Log::read(bytes.as_slice());
            for run in &log.runs {
                prop_assert!(run.steps.len() <= MOST_STEPS);
            }
        }
    }
}
