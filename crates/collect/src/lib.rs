//! The reader of the live kernel. It changes nothing, and loads no module that changes how packets are treated.
//!
//! [`Sampler`] makes the snapshots that the rules see; [`walk()`] streams sockets for the commands that only group them.
#![deny(unsafe_code)]

mod ancestors;
mod cgroups;
mod conntrack;
mod files;
mod privileges;
mod processes;
mod sampler;
mod walk;

pub use ancestors::{ancestors, environment_of};
pub use cgroups::paths_by_id as cgroup_paths_by_id;
pub use files::{counters, file_use, sockstat, sysctls};
pub use processes::{Closer, HolderTable, ScanOptions, Trace, Traced, hidepid, may_read_descriptors};
pub use sampler::{ALL_STATES, Depth, Sampler, SamplerOptions, port_range, set_times};
pub use walk::{Walk, WalkEnd, WalkError, walk, walk_proc};

use linger_model::snapshot::{Gap, GapKind};
use linger_wire::Malformed;
use std::io;

/// A gap from an error of the system, with what to do about it.
pub(crate) fn gap(what: impl Into<String>, error: &io::Error) -> Gap {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => (GapKind::Denied, privileges::Privileges::own().hint()),
        io::ErrorKind::NotFound => (GapKind::Unsupported, ""),
        _ if error.raw_os_error() == Some(3) => (GapKind::Vanished, ""),
        _ => (GapKind::Unsupported, ""),
    };
    Gap::new(what, kind, error.to_string(), hint)
}

/// A gap from a text that was not understood.
pub(crate) fn malformed(what: impl Into<String>, error: &Malformed) -> Gap {
    Gap::new(what, GapKind::Malformed, error.to_string(), "")
}
