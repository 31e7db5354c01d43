//! The maps' entries as `probe.bpf.c` has them.

use super::{Peer, Side, TimeWait};
use linger_model::Addr;

/// `struct peer`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawPeer {
    addr: [u8; 16],
    netns: u32,
    port: u16,
    role: u8,
    pad: u8,
}

/// `struct held`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawHeld([u64; 2]);

/// `struct port`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawPort {
    pub netns: u32,
    pub port: u32,
}

// SAFETY: each is made of integers, without padding, so that any bytes are a value of it.
unsafe impl aya::Pod for RawPeer {}
// SAFETY: as above.
unsafe impl aya::Pod for RawHeld {}
// SAFETY: as above.
unsafe impl aya::Pod for RawPort {}

const _: () = assert!(size_of::<RawPeer>() == 24 && size_of::<RawHeld>() == 16 && size_of::<RawPort>() == 8);

impl From<RawPeer> for Peer {
    fn from(raw: RawPeer) -> Peer {
        Peer {
            netns: u64::from(raw.netns),
            side: if raw.role == 2 { Side::Accepts } else { Side::Connects },
            addr: Addr::v6(raw.addr),
            port: raw.port,
        }
    }
}

impl From<RawHeld> for TimeWait {
    fn from(RawHeld([sockets, with_timestamps]): RawHeld) -> TimeWait {
        TimeWait { sockets, with_timestamps }
    }
}
