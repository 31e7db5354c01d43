//! SOCK_DESTROY, one socket at a time and by its cookie.
//!
//! `tcp_diag_destroy()` in net/ipv4/tcp_diag.c finds the socket by addresses and cookie, and `tcp_abort()` in
//! net/ipv4/tcp.c ends it: a reset to the peer where the state calls for one (CLOSE_WAIT does), and ECONNABORTED for
//! the application. A listener would be closed as well; it is refused here.

use std::os::fd::AsRawFd;
use std::time::Duration;

use linger_model::{SocketRecord, State};
use linger_wire::netlink::{Message, Messages};
use linger_wire::sock_diag::{self, One};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::Error;

/// What became of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was destroyed.
    Destroyed,
    /// It was gone already.
    Gone,
    /// It has another state by now, and was left alone.
    Changed(State),
    /// It listens, has no cookie, or never had a state from which it may be destroyed; it was left alone.
    Refused,
    /// The kernel took the request, and the socket is still there: an orphan, before Linux 6.12.
    Still,
    /// The kernel refused with this errno.
    Failed(i32),
}

/// Destroys sockets of the network namespace it was made in.
#[derive(Debug)]
pub struct Destroyer {
    socket: OwnedFd,
    sequence: u32,
}

/// Whether the calling thread has CAP_NET_ADMIN in the user namespace that owns its network namespace.
///
/// Asked of the kernel itself: TCP_REPAIR may be set with that alone (`tcp_can_repair_sock()` in net/ipv4/tcp.c), and
/// switching it off on a fresh socket changes nothing.
///
/// # Errors
/// When no socket can be made.
pub fn may_administer() -> Result<bool, Error> {
    let failed = |error: Errno| Error::system("make a socket", error);
    let make = |family| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = make(AddressFamily::INET).or_else(|_| make(AddressFamily::INET6)).map_err(failed)?;
    let off: libc::c_int = 0;
    let length = libc::socklen_t::try_from(size_of_val(&off)).unwrap_or(4);
    // SAFETY: the descriptor is open, and the option's value is an int that outlives the call.
    let status = unsafe {
        let value = (&raw const off).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, value, length)
    };
    match status {
        0 => Ok(true),
        _ => match std::io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
            error => Err(Error::system("ask for CAP_NET_ADMIN", error)),
        },
    }
}

impl Destroyer {
    /// In the calling thread's network namespace.
    ///
    /// # Errors
    /// When sock_diag can't be reached.
    pub fn new() -> Result<Destroyer, Error> {
        let failed = |error: Errno| Error::system("open sock_diag", error);
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(rustix::net::netlink::SOCK_DIAG),
        )
        .map_err(failed)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(10))).map_err(failed)?;
        Ok(Destroyer { socket, sequence: 0 })
    }

    /// Destroys a socket if it is still what the record says: the same cookie, in the same state.
    ///
    /// # Errors
    /// When the kernel can't be asked, denies it, or can't destroy sockets like this one: nothing more will come of
    /// others.
    pub fn destroy(&mut self, socket: &SocketRecord) -> Result<Fate, Error> {
        match self.look(socket)? {
            None => return Ok(Fate::Gone),
            Some(State::Listen | State::Close | State::BoundInactive) => return Ok(Fate::Refused),
            Some(state) if state != socket.state => return Ok(Fate::Changed(state)),
            Some(_) => {}
        }
        match self.ask(One::Destroy, socket)? {
            Answer::NoCookie => Ok(Fate::Refused),
            Answer::Socket(_) | Answer::Errno(0) => match self.look(socket)? {
                None => Ok(Fate::Destroyed),
                // Closed for good, and about to leave the table.
                Some(State::Close) => Ok(Fate::Destroyed),
                Some(_) => Ok(Fate::Still),
            },
            Answer::Errno(errno) => match Errno::from_raw_os_error(errno) {
                Errno::NOENT | Errno::STALE => Ok(Fate::Gone),
                Errno::PERM => Err(Error::Denied { operation: "destroy sockets" }),
                Errno::OPNOTSUPP if socket.is_minisocket() => Err(Error::NoDestroy(
                    "TIME_WAIT sockets: that came with 6.0 (commit af9784d007d8), or it was built without CONFIG_INET_DIAG_DESTROY",
                )),
                Errno::OPNOTSUPP => {
                    Err(Error::NoDestroy("sockets: it was built without CONFIG_INET_DIAG_DESTROY"))
                }
                _ => Ok(Fate::Failed(errno)),
            },
        }
    }

    /// The socket's state now; `None` when it is gone.
    fn look(&mut self, socket: &SocketRecord) -> Result<Option<State>, Error> {
        match self.ask(One::Look, socket)? {
            Answer::NoCookie => Ok(Some(State::Close)),
            Answer::Socket(found) if found.cookie == socket.cookie => Ok(Some(found.state)),
            Answer::Socket(_) => Ok(None),
            Answer::Errno(errno) => match Errno::from_raw_os_error(errno) {
                Errno::NOENT | Errno::STALE => Ok(None),
                error => Err(Error::system("look at a socket again", error)),
            },
        }
    }

    fn ask(&mut self, what: One, socket: &SocketRecord) -> Result<Answer, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let Some(request) = sock_diag::one(what, socket, self.sequence) else { return Ok(Answer::NoCookie) };
        let failed = |error: Errno| Error::system("ask sock_diag", error);
        send(&self.socket, &request, SendFlags::empty()).map_err(failed)?;
        let mut buffer = vec![0u8; 8192];
        let length = loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        };
        let malformed = |what: &str| Error::Malformed(format!("sock_diag: {what}"));
        match Messages::new(buffer.get(..length).unwrap_or_default()).next() {
            Some(Ok(Message::Error(errno))) => Ok(Answer::Errno(errno)),
            Some(Ok(Message::Payload { body, .. })) => {
                let found = sock_diag::parse(body).map_err(|error| malformed(&error.to_string()))?;
                Ok(Answer::Socket(Box::new(found)))
            }
            _ => Err(malformed("an answer that is none")),
        }
    }
}

/// What the kernel says of one socket.
enum Answer {
    /// The record had no cookie, and the kernel was not asked.
    NoCookie,
    Socket(Box<SocketRecord>),
    /// 0 is an acknowledgement.
    Errno(i32),
}
