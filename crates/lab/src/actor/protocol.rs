use std::collections::BTreeMap;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an actor did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Connections tried (client), accepts that answered something (server), sockets tried (others). Of those that are
    /// over, each has succeeded, failed or leaked.
    pub attempted: u64,
    /// Those that went through: a client's to the end of its exchange, a server's accepted ones.
    pub succeeded: u64,
    /// Failures by errno, such as `EADDRNOTAVAIL`; `EOF` for a peer that ended an exchange too early.
    pub errors: BTreeMap<String, u64>,
    /// Failures by call and errno, such as `bind EADDRINUSE`: the same errno means something else elsewhere.
    pub errors_by_call: BTreeMap<String, u64>,
    /// Successes before the first failure.
    pub first_error_after: Option<u64>,
    /// Connections that the client forgot after an answer with an error, ever ([`Client::leak_on`](crate::Client)).
    pub leaked: u64,
    /// How long connect() took where it succeeded (client).
    pub connect_ms: Option<Latency>,
    /// Answers that a client got whole, over all its connections.
    pub answered: u64,
    /// Sockets held now: connections, or what `bound` and `sockets` hold; not listeners.
    pub held: u64,
    /// Connections whose peer's end was read (server).
    pub ended: u64,
    /// From the beginning (`go`, for a client) to the end, or to now.
    pub seconds: f64,
}

impl Outcome {
    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// How long something took, in ms; the percentiles are at most 1/16 too high.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Half took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// A line that an actor writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Set up; the ports it listens at or holds.
    Ready { ports: Vec<u16> },
    /// It couldn't be set up, or a program ended by itself; the actor ends.
    Failed { call: String, errno: String },
    /// The answer to `report`.
    Progress(Outcome),
    /// Everything that was held is closed.
    Released(Outcome),
    /// All is tried; what is held stays.
    Done(Outcome),
}

/// A line that an actor reads.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    Go,
    Report,
    Release,
    Stop,
}

/// The name of an error's errno; what it says, where it isn't the kernel's.
pub(crate) fn errno_name(error: &io::Error) -> String {
    if let Some(own) = error.get_ref() {
        return own.to_string();
    }
    let Some(code) = error.raw_os_error() else {
        let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
        return if is_end { "EOF".to_owned() } else { format!("{:?}", error.kind()) };
    };
    let names = [
        (libc::EACCES, "EACCES"),
        (libc::EADDRINUSE, "EADDRINUSE"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::EBADF, "EBADF"),
        (libc::ECONNABORTED, "ECONNABORTED"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::EHOSTUNREACH, "EHOSTUNREACH"),
        (libc::EINTR, "EINTR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EIO, "EIO"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENETDOWN, "ENETDOWN"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::ENFILE, "ENFILE"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::EISDIR, "EISDIR"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::EPERM, "EPERM"),
        (libc::EPIPE, "EPIPE"),
        (libc::EPROTO, "EPROTO"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
    ];
    names
        .iter()
        .find(|(known, _)| *known == code)
        .map_or_else(|| format!("E{code}"), |(_, name)| (*name).to_owned())
}
