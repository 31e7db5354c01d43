//! What the process keeps of its privileges once it listens.

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What sampling cannot do without, where it is there: the descriptors and namespaces of other users' processes
/// (`SYS_PTRACE`, and `DAC_READ_SEARCH` for their folders), and entering network namespaces (`SYS_ADMIN`). Connection
/// tracking's counters are in a file, too, where ctnetlink wants `NET_ADMIN`.
pub const KEPT: CapabilitySet =
    CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::SYS_ADMIN).union(CapabilitySet::SYS_PTRACE);

/// Gives up every capability but [`KEPT`], and that a program could give any back. They are the calling thread's, and
/// those that it starts inherit them: it must be the only one.
///
/// # Errors
/// The system's, where it does not let go of them.
pub fn drop_capabilities() -> io::Result<()> {
    for one in CapabilitySet::all().difference(KEPT).iter() {
        // Asked first: this kernel may know fewer. Without SETPCAP the set stays, and there is nothing it could give.
        if capability_is_in_bounding_set(one) == Ok(true) {
            match remove_capability_from_bounding_set(one) {
                Err(io::Errno::PERM) => break,
                done => done?,
            }
        }
    }
    clear_ambient_capability_set()?;
    let CapabilitySets { effective, permitted, .. } = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: effective.intersection(KEPT),
            permitted: permitted.intersection(KEPT),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)
}
