use std::io;

use rustix::io::Errno;

/// What went wrong: the operation, on what, the kind, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {subject}: {detail}{}", hint(.kind, .subject))]
pub struct Error {
    /// What was tried, as it follows "cannot": `read`, `write`, `lock`.
    pub operation: &'static str,
    /// The setting or path it was tried on.
    pub subject: String,
    /// What sort of failure it is.
    pub kind: Kind,
    // The system call's error is told here; a source beside it would be printed twice.
    detail: String,
}

/// The sort of a failure, for callers that treat them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel forbids it to this process.
    Denied,
    /// It is mounted read-only.
    ReadOnly,
    /// It isn't there (any more).
    Vanished,
    /// The kernel does not take this value.
    Refused,
    /// What was read is not what was expected there.
    Malformed,
    /// No space is left, or a limit on a file's size was hit.
    Full,
    /// Another process is at it.
    Busy,
    /// Anything else.
    Failed,
}

fn hint(kind: &Kind, subject: &str) -> &'static str {
    match kind {
        Kind::Denied if subject.starts_with('/') => "; it is for root, or another folder can be named",
        Kind::Denied => {
            "; run as root, or with CAP_NET_ADMIN in the user namespace that owns the network namespace"
        }
        // A setting, no file: in most containers.
        Kind::ReadOnly if !subject.contains('/') => {
            "; a container's settings are changed from the host, with --netns pid:N"
        }
        Kind::Busy => "; wait for it, or see `linger tune status`",
        _ => "",
    }
}

impl Error {
    pub(crate) fn io(operation: &'static str, subject: impl Into<String>, source: io::Error) -> Self {
        let kind = match Errno::from_io_error(&source) {
            Some(Errno::PERM | Errno::ACCESS) => Kind::Denied,
            Some(Errno::ROFS) => Kind::ReadOnly,
            Some(Errno::NOENT | Errno::NOTDIR) => Kind::Vanished,
            Some(Errno::INVAL | Errno::RANGE) => Kind::Refused,
            Some(Errno::LOOP) => Kind::Malformed,
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Kind::Full,
            Some(Errno::WOULDBLOCK) => Kind::Busy,
            _ => Kind::Failed,
        };
        Error { operation, subject: subject.into(), kind, detail: source.to_string() }
    }

    pub(crate) fn new(
        operation: &'static str,
        subject: impl Into<String>,
        kind: Kind,
        detail: impl Into<String>,
    ) -> Self {
        Error { operation, subject: subject.into(), kind, detail: detail.into() }
    }
}

impl From<linger_netns::Error> for Error {
    fn from(error: linger_netns::Error) -> Self {
        let kind = match error.kind {
            linger_netns::Kind::Denied => Kind::Denied,
            linger_netns::Kind::Vanished => Kind::Vanished,
            _ => Kind::Failed,
        };
        Error::new(error.operation, error.subject.clone(), kind, error.detail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_each_thing_once() {
        let vanished = linger_netns::Netns::open(&linger_netns::Spec::parse("/none").unwrap()).unwrap_err();
        let text = Error::from(vanished).to_string();
        assert_eq!(text.matches("cannot").count(), 1, "{text}");
        let denied = Error::io("write", "net.ipv4.tcp_tw_reuse", Errno::PERM.into());
        assert!(std::error::Error::source(&denied).is_none());
        let denied = Error::io("write", "net.ipv4.tcp_tw_reuse", Errno::PERM.into()).to_string();
        assert!(denied.ends_with("(os error 1); run as root, or with CAP_NET_ADMIN in the user namespace that owns the network namespace"), "{denied}");
        let container = Error::io("write", "net.ipv4.tcp_tw_reuse", Errno::ROFS.into()).to_string();
        assert!(container.ends_with("changed from the host, with --netns pid:N"), "{container}");
        let disk = Error::io("open", "/var/lib/linger", Errno::ROFS.into()).to_string();
        assert!(disk.ends_with("(os error 30)"), "{disk}");
        let folder = Error::io("open", "/var/lib/linger", Errno::ACCESS.into()).to_string();
        assert!(folder.ends_with("it is for root, or another folder can be named"), "{folder}");
    }
}
