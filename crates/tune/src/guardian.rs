//! The process that takes a run back when nobody else does.
//!
//! It is started before the first write, in a session of its own and inside the namespace, which it holds open. It does
//! nothing while the applier lives and does its work. When the applier is gone in the middle (its pipe ends), when it
//! hangs, or when the operator does not confirm in time, it takes the lock, reads the journal, and takes back what is
//! there. It ends when the run is confirmed or over.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setsid};

use crate::engine::{Interrupt, UndoReport, roll_back};
use crate::follow::{Follower, Told};
use crate::journal::{Journal, boottime_s};
use crate::log::Phase;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::{Error, Kind};

/// How often it looks at the journal.
const TICK: Duration = Duration::from_millis(100);
/// How long a journal that can't be read holds it up.
const BLIND: Duration = Duration::from_secs(30);
const READY: u8 = b'!';
/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// The applier's end of a guardian.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    /// Its end tells the guardian that this process is gone.
    _alive: Option<ChildStdin>,
}

impl Guard {
    /// Starts `command` as the guardian and waits until it stands. It gets a session of its own, a pipe from this
    /// process as its standard input and one to it as its standard output.
    ///
    /// # Errors
    /// When it can't be started, or ends or says nothing within 20 s; it is ended then.
    pub fn start(mut command: Command) -> Result<Guard, Error> {
        let failed = |error: io::Error| Error::io("start", "the guardian", error);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(|| setsid().map(drop).map_err(Into::into));
        }
        let mut child = command.spawn().map_err(failed)?;
        let alive = child.stdin.take();
        let mut word = [0u8];
        let said = match child.stdout.take() {
            Some(mut out) => {
                let time = Timespec { tv_sec: START.as_secs().cast_signed(), tv_nsec: 0 };
                let _ = poll(&mut [PollFd::from_borrowed_fd(out.as_fd(), PollFlags::IN)], Some(&time));
                let flags = fcntl_getfl(&out).and_then(|it| fcntl_setfl(&out, it | OFlags::NONBLOCK));
                flags.is_ok() && out.read(&mut word).is_ok_and(|length| length == 1) && word[0] == READY
            }
            None => false,
        };
        if !said {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::new("start", "the guardian", Kind::Failed, "it did not come up"));
        }
        Ok(Guard { child, _alive: alive })
    }

    /// Whether it lives.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it, as nothing is left for it to take back. One that can't see this, because the journal was taken away, would
    /// else take back what the next run writes.
    pub fn dismiss(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a guardian is to guard.
#[derive(Debug, Clone, Copy)]
pub struct Guardian {
    /// The run.
    pub run: u64,
    /// The applier's process.
    pub applier: i32,
    /// After so long an applier that has not come to its end hangs, and is killed.
    pub at_most: Duration,
}

/// Stands guard until the run is confirmed or over; what was taken back. Told to end (SIGTERM), as at the end of a login
/// session, it takes back what awaits confirmation while it still can.
///
/// It never gives up before that: a journal that can't be read is read again, one that was taken away is done without,
/// and whoever has the lock takes steps back itself or lets it go.
///
/// # Errors
/// When the journal does not know the run at the start, or can't be written at the end; values are back by then.
pub fn stand_guard(
    guardian: Guardian,
    journal: &Journal,
    settings: &dyn Settings,
    signals: &Signals,
) -> Result<Vec<UndoReport>, Error> {
    let failed = |error: rustix::io::Errno| Error::io("watch", "the applier", error.into());
    // While the applier waits for the word, its number can't be another's.
    let applier = Pid::from_raw(guardian.applier).ok_or_else(|| failed(rustix::io::Errno::SRCH))?;
    let applier = pidfd_open(applier, PidfdFlags::empty()).ok();
    let mut follower = Follower::new(journal, guardian.run)?;
    rustix::io::write(io::stdout(), &[READY]).map_err(failed)?;
    let start = Instant::now();
    let (mut is_alone, mut is_dismissed) = (false, false);
    let mut read_at = Instant::now();
    loop {
        let told = follower.look(journal);
        if told != Told::Unreadable {
            read_at = Instant::now();
        }
        let phase = follower.run().phase;
        let why = match phase {
            Phase::Confirmed | Phase::Closed => return Ok(Vec::new()),
            _ if told == Told::Lost => Some("the journal was taken away"),
            Phase::Awaiting(_) if is_dismissed => Some("the guardian was told to end"),
            Phase::Awaiting(until) if boottime_s() < until => None,
            Phase::Awaiting(_) => Some("not confirmed in time"),
            Phase::Open if is_alone => Some("the applying process is gone"),
            // The applier sees it, and takes back.
            Phase::Open if is_dismissed => return Ok(Vec::new()),
            Phase::Open => {
                if start.elapsed() > guardian.at_most
                    && let Some(applier) = &applier
                {
                    let _ = pidfd_send_signal(applier, Signal::KILL);
                }
                None
            }
            // Whoever does it has the lock.
            Phase::TakingBack => Some("who took it back is gone"),
        };
        // A word that can't be read may be the operator's.
        let is_blind = told == Told::Unreadable && read_at.elapsed() < BLIND;
        if let Some(why) = why.filter(|_| !is_blind)
            && let Ok(lock) = journal.lock(follower.run().netns, Duration::ZERO)
        {
            // Meanwhile somebody may have confirmed it, or taken it back.
            let again = follower.look(journal);
            if again == told && follower.run().phase == phase {
                return roll_back(journal, &lock, settings, follower.run(), why);
            }
        }
        is_dismissed = is_dismissed || signals.wait(Duration::ZERO) == Some(Interrupt::Asked);
        is_alone = is_alone || is_over(TICK);
        if is_alone {
            std::thread::sleep(TICK);
        }
    }
}

/// Waits so long for the end of the standard input.
fn is_over(time: Duration) -> bool {
    let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let input = io::stdin();
    match poll(&mut [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)], Some(&time)) {
        Ok(0) | Err(_) => false,
        Ok(_) => rustix::io::read(&input, &mut [0u8; 64]).is_ok_and(|length| length == 0),
    }
}
