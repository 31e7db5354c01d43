use std::io;

use rustix::io::Errno;

/// What went wrong with a namespace: the operation, which namespace, the kind, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {subject}: {detail}{}", hint(.kind))]
pub struct Error {
    /// What was tried, as it follows "cannot": `enter`, `open`, `create`.
    pub operation: &'static str,
    /// The namespace or path it was tried on.
    pub subject: String,
    /// What sort of failure it is.
    pub kind: Kind,
    detail: String,
    #[source]
    source: Option<io::Error>,
}

/// The sort of a failure, for callers that treat them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel refuses it to this process.
    Denied,
    /// This kernel or environment has no such thing.
    Unsupported,
    /// It isn't there (any more).
    Vanished,
    /// What was given is no network namespace, or no name of one.
    Malformed,
    /// A limit was hit (descriptors, threads, memory, namespaces).
    Exhausted,
}

fn hint(kind: &Kind) -> &'static str {
    match kind {
        Kind::Denied => "; run as root or with CAP_SYS_ADMIN in the user namespace that owns it",
        Kind::Exhausted => {
            "; raise the limit (ulimit -n, ulimit -u, user.max_net_namespaces) or ask for less"
        }
        Kind::Unsupported | Kind::Vanished | Kind::Malformed => "",
    }
}

impl Error {
    pub(crate) fn io(operation: &'static str, subject: impl Into<String>, source: io::Error) -> Self {
        let errno = Errno::from_io_error(&source);
        let kind = match errno {
            Some(Errno::PERM | Errno::ACCESS) => Kind::Denied,
            Some(Errno::NOENT | Errno::SRCH | Errno::NOTDIR) => Kind::Vanished,
            Some(Errno::INVAL | Errno::ISDIR | Errno::NAMETOOLONG | Errno::LOOP) => Kind::Malformed,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC | Errno::AGAIN | Errno::USERS) => {
                Kind::Exhausted
            }
            _ => Kind::Unsupported,
        };
        Error { operation, subject: subject.into(), kind, detail: source.to_string(), source: Some(source) }
    }

    pub(crate) fn new(
        operation: &'static str,
        subject: impl Into<String>,
        kind: Kind,
        detail: impl Into<String>,
    ) -> Self {
        Error { operation, subject: subject.into(), kind, detail: detail.into(), source: None }
    }

    /// What went wrong, alone: without the operation before it and the hint after it.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The error of the system call behind it, where there was one.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_ref()
    }
}
