use std::io;
use std::time::Duration;

/// What went wrong in the lab: the operation, what it was done to, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making or entering a namespace failed.
    #[error(transparent)]
    Netns(#[from] linger_netns::Error),
    /// The kernel refused an operation inside a host.
    #[error("host {host}: cannot {operation} {subject}: {source}")]
    Host {
        /// The host's name.
        host: String,
        /// What was tried, as it follows "cannot".
        operation: &'static str,
        /// What it was tried on.
        subject: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A sysctl was to be written where the lab may not write.
    #[error(
        "refused to write {key}: the namespace is not one that the lab made; the lab changes settings only inside its own"
    )]
    NotOurs {
        /// The sysctl.
        key: String,
    },
    /// A program that the lab uses isn't installed.
    #[error("{program} is not installed; on Debian, install the package {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where Debian has it.
        package: &'static str,
    },
    /// Something given to the lab can't be understood.
    #[error("{what} {text:?}: {why}")]
    Malformed {
        /// What sort of thing it is.
        what: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A program run in a host failed.
    #[error("host {host}: {program} failed: {message}")]
    Program {
        /// The host's name.
        host: String,
        /// The program.
        program: String,
        /// What it said.
        message: String,
    },
    /// An actor couldn't do what it is for.
    #[error("actor {actor}: {call} failed: {errno}")]
    Actor {
        /// The actor's comm.
        actor: String,
        /// The call that failed, with its argument.
        call: String,
        /// The errno's name, such as `EADDRINUSE`.
        errno: String,
    },
    /// An actor ended, or its answer did not come in time.
    #[error("actor {actor}: {what} within {}", humane(.timeout))]
    Silent {
        /// The actor's comm.
        actor: String,
        /// What was waited for.
        what: String,
        /// How long.
        timeout: Duration,
    },
    /// Something of a host could not be read.
    #[error("host {host}: {what}")]
    Unreadable {
        /// The host's name.
        host: String,
        /// What, and why.
        what: String,
    },
    /// A run would harm this machine, or be disturbed by it.
    #[error("refused to run: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// A run was ended because it did not keep to its limits.
    #[error("stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

fn humane(timeout: &Duration) -> String {
    format!("{:.1} s", timeout.as_secs_f64())
}

impl Error {
    /// Whether more privilege would help.
    pub fn is_denied(&self) -> bool {
        match self {
            Error::Netns(error) => error.kind == linger_netns::Kind::Denied,
            Error::Host { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}
