use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};
use std::io;

/// Why a probe does not run: the operation, the sort of failure, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: {detail}{}", if .hint.is_empty() { String::new() } else { format!(" ({hint})") })]
pub struct Error {
    /// What was tried, as it follows "cannot".
    pub operation: String,
    /// What sort of failure it is.
    pub kind: Kind,
    /// The system's own words.
    pub detail: String,
    /// What to do about it; empty where nothing helps.
    pub hint: String,
}

/// The sort of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel refuses it to this process.
    Denied,
    /// This kernel has no such thing.
    Unsupported,
    /// A limit was hit: memory, descriptors.
    Exhausted,
}

impl Error {
    pub(crate) fn new(
        operation: impl Into<String>,
        kind: Kind,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Error {
        Error { operation: operation.into(), kind, detail: detail.into(), hint: hint.into() }
    }

    pub(crate) fn io(operation: impl Into<String>, error: &io::Error) -> Error {
        let (kind, hint) = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => (Kind::Denied, denied_hint()),
            Some(libc::ENOMEM | libc::E2BIG | libc::EMFILE | libc::ENFILE | libc::ENOSPC) => {
                (Kind::Exhausted, "ask for fewer owners, or free memory")
            }
            _ => (Kind::Unsupported, ""),
        };
        Error::new(operation, kind, error.to_string(), hint)
    }

    pub(crate) fn object(operation: &str, error: EbpfError) -> Error {
        match error {
            EbpfError::MapError(error) => Error::map(operation, error),
            EbpfError::ProgramError(error) => Error::program(operation, error),
            error => Error::new(operation, Kind::Unsupported, chain(&error), ""),
        }
    }

    pub(crate) fn map(operation: &str, error: MapError) -> Error {
        match error {
            MapError::CreateError { name, io_error, .. } => {
                Error::io(format!("{operation}: create the BPF map `{name}`"), &io_error)
            }
            MapError::SyscallError(error) => {
                Error::io(format!("{operation}: {}", error.call), &error.io_error)
            }
            error => Error::new(operation, Kind::Unsupported, chain(&error), ""),
        }
    }

    pub(crate) fn program(operation: &str, error: ProgramError) -> Error {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let mut error = Error::io(operation, &io_error);
                // The verifier's last words but one say what it did not like.
                let log = verifier_log.to_string();
                let said =
                    log.lines().rev().find(|l| !l.is_empty() && !STATISTICS.iter().any(|s| l.starts_with(s)));
                if let Some(said) = said {
                    error.detail = format!("{}; the kernel's verifier: {said}", error.detail);
                    // What passed for allowed and is refused by name is not there.
                    error.kind = Kind::Unsupported;
                    error.hint = "tracing needs Linux 5.12 or newer".to_owned();
                }
                error
            }
            ProgramError::SyscallError(error) => {
                Error::io(format!("{operation}: {}", error.call), &error.io_error)
            }
            ProgramError::Btf(error) => Error::btf(operation, &error),
            error => Error::new(operation, Kind::Unsupported, chain(&error), ""),
        }
    }

    pub(crate) fn btf(operation: &str, error: &BtfError) -> Error {
        Error::new(operation, Kind::Unsupported, chain(error), "tracing needs Linux 5.12 or newer")
    }
}

/// What to do where the capabilities are there and the kernel refuses nevertheless.
fn denied_hint() -> &'static str {
    /// The first user namespace's link never changes (PROC_USER_INIT_INO).
    const FIRST: &str = "user:[4026531837]";
    match std::fs::read_link("/proc/self/ns/user") {
        Ok(link) if link.as_os_str() != FIRST => {
            "this is a user namespace, whose capabilities do not count: run as root outside of it"
        }
        _ => "run as root, or with CAP_BPF and CAP_PERFMON; a security module or a container may forbid it",
    }
}

/// How the lines of a verifier's log begin that come after its verdict.
const STATISTICS: [&str; 4] = ["processed ", "verification time ", "stack depth ", "mark_precise"];

/// An error with what is behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
