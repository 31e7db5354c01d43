//! eBPF probes of TCP connections: `src/<probe>/` has the program for the kernel (`probe.bpf.c`), the object that it
//! was compiled to (`probe.bpf.o`, by `cargo xtask bpf`), and its loader (`mod.rs`).
//!
//! *Architecture invariant:* a probe aggregates in the kernel, in maps whose size is fixed when it is loaded; it never
//! sends one event per socket (only [`handshakes::Capture`] is given packets, two for a connection). What does not fit
//! is counted. Programs and maps are held by descriptors alone, so that nothing is left when the process ends, also by
//! SIGKILL; only who asks for it by [`owners::Owners::pin`] leaves maps, never a program.
#![deny(unsafe_code)]

pub mod drops;
mod error;
pub mod handshakes;
mod kernel;
pub mod owners;
mod sys;

pub use error::{Error, Kind};

/// Makes the kernel count what BPF programs cost, as long as the descriptor is open (`BPF_ENABLE_STATS`, since Linux
/// 5.8). It costs some itself.
///
/// # Errors
/// Denied without CAP_SYS_ADMIN.
pub fn count_cost() -> Result<std::os::fd::OwnedFd, Error> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime)
        .map_err(|error| Error::io("count the cost of BPF programs (BPF_ENABLE_STATS)", &error.io_error))
}
