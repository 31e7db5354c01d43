//! Bytes to types and back: sock_diag, tcp_info, ctnetlink, the packets of a handshake the kernel's types (BTF) and the texts of /proc. No IO; never panics on any input.
#![forbid(unsafe_code)]

pub mod btf;
pub mod bytecode;
pub mod cgroup;
pub mod ctnetlink;
pub mod handshake;
pub mod netlink;
pub mod procfs;
pub mod procnet;
pub mod sock_diag;

/// Input that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, detail: impl Into<String>) -> Malformed {
        Malformed { what, detail: detail.into() }
    }
}

/// Native-endian integers from fixed places; `None` past the end.
pub(crate) mod bytes {
    pub fn u16(b: &[u8], at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
    }
    pub fn u32(b: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
    }
    pub fn be32(b: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
    }
    pub fn u64(b: &[u8], at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(b.get(at..at + 8)?.try_into().ok()?))
    }
}
