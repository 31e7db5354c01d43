//! What systemd and a service tell each other. Without systemd each of these does nothing.

use sd_notify::{NotifyState, notify, watchdog_enabled};
use std::fmt::{self, Display};
use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// How much a line of the log matters; the journal's priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// For the record.
    Info = 6,
}

impl Display for Level {
    /// As the journal takes it at the beginning of a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", *self as u8)
    }
}

/// Whether standard error is the journal, which takes priorities: JOURNAL_STREAM has its device and inode.
pub fn logs_to_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The listening sockets that systemd has opened for this process (LISTEN_FDS); none where it has not.
///
/// # Errors
/// When what it hands over is no TCP socket.
pub fn listeners() -> io::Result<Vec<TcpListener>> {
    // The library takes them without LISTEN_PID, too: descriptors that are something else.
    if std::env::var_os("LISTEN_PID").is_none() {
        return Ok(Vec::new());
    }
    let mut handed = listenfd::ListenFd::from_env();
    (0..handed.len()).filter_map(|i| handed.take_tcp_listener(i).transpose()).collect()
}

/// The service manager, as long as there is one.
#[derive(Debug)]
pub struct Manager {
    watchdog: Option<Duration>,
    told: Option<Instant>,
}

impl Manager {
    /// As this process's environment describes it.
    pub fn new() -> Manager {
        Manager { watchdog: watchdog_enabled(), told: None }
    }

    /// It serves.
    pub fn ready(&self, doing: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(doing)]);
    }

    /// It reads its configuration anew; [`Manager::ready`] comes after that.
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// It ends.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// It lives: to be called at least every [`Manager::period`].
    pub fn alive(&mut self) {
        let Some(watchdog) = self.watchdog else { return };
        if self.told.is_none_or(|at| at.elapsed() >= watchdog / 4) {
            tell(&[NotifyState::Watchdog]);
            self.told = Some(Instant::now());
        }
    }

    /// How often it wants to hear that this process lives, a second at the most.
    pub fn period(&self) -> Duration {
        let least = Duration::from_millis(10);
        self.watchdog
            .map_or(Duration::from_secs(1), |watchdog| (watchdog / 4).clamp(least, Duration::from_secs(1)))
    }
}

/// A manager that does not listen is no reason not to serve.
fn tell(words: &[NotifyState<'_>]) {
    let _ = notify(words);
}
