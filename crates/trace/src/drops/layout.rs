//! The map's entries as `probe.bpf.c` has them.

use super::Packet;

/// `struct dropped`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawDropped {
    pub addr: [u8; 16],
    pub netns: u32,
    pub reason: u32,
    pub port: u16,
    kind: u8,
    pad: u8,
}

// SAFETY: it is made of integers, without padding, so that any bytes are a value of it.
unsafe impl aya::Pod for RawDropped {}

const _: () = assert!(size_of::<RawDropped>() == 28);

impl RawDropped {
    pub fn packet(&self) -> Packet {
        match self.kind {
            2 => Packet::LastAck,
            3 => Packet::OwnSyn,
            _ => Packet::Syn,
        }
    }
}
