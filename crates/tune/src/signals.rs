//! Ctrl-C and its kin, as something that can be waited for.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::Interrupt;

/// SIGINT, SIGTERM and SIGHUP of this process, held back and kept for [`Signals::wait`].
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Holds them back in this thread and in those that it starts; call it before the first.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn hold_back() -> io::Result<Signals> {
        // SAFETY: `set` is initialised, and outlives the call; the descriptor is a new one.
        unsafe {
            let set = mask(libc::SIG_BLOCK)?;
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Signals(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Lets them do from now on what they do to other programs.
    ///
    /// # Errors
    /// None on Linux.
    pub fn release(self) -> io::Result<()> {
        mask(libc::SIG_UNBLOCK).map(|_| ())
    }

    /// Waits so long, or until one comes.
    pub fn wait(&self, time: Duration) -> Option<Interrupt> {
        let timeout = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let _ = poll(&mut [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)], Some(&timeout));
        // struct signalfd_siginfo: 128 bytes, the signal's number first.
        let mut info = [0u8; 128];
        match rustix::io::read(&self.0, &mut info) {
            Ok(128) => match i32::from_ne_bytes([info[0], info[1], info[2], info[3]]) {
                libc::SIGHUP => Some(Interrupt::TerminalGone),
                _ => Some(Interrupt::Asked),
            },
            _ => None,
        }
    }
}

/// Blocks or unblocks them in this thread; which they are.
fn mask(how: libc::c_int) -> io::Result<libc::sigset_t> {
    // SAFETY: `set` is initialised by sigemptyset before anything else uses it, and outlives the calls.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        match libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) {
            0 => Ok(set),
            status => Err(io::Error::from_raw_os_error(status)),
        }
    }
}
