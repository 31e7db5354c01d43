//! The maps' entries as `probe.bpf.c` has them.

use super::{Flow, Group, Held, PeerClosed, Process, ProcessId, Role};
use linger_model::Addr;
use std::time::Duration;

/// `struct group`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawGroup {
    pub process: u64,
    addr: [u8; 16],
    netns: u32,
    port: u16,
    role: u8,
    pad: u8,
}

/// `struct flow`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawFlow([u64; 18]);

/// `struct line`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Line([u64; WAYS as usize]);

const WAYS: u64 = 8;
/// The fewest lines are 2 to the power of this.
pub const FEWEST_LINE_BITS: u32 = 13;

/// How many lines hold so many owners: a power of two.
pub fn lines_for(owners: u32) -> u32 {
    (u64::from(owners).div_ceil(WAYS).next_power_of_two() as u32).max(1 << FEWEST_LINE_BITS)
}

/// Which of the lines a cookie's owner is in.
pub fn line_of(cookie: u64, lines: u32) -> u32 {
    (cookie / WAYS) as u32 & (lines - 1)
}

impl Line {
    /// The index of the process that closed the connection with this cookie.
    pub fn find(&self, cookie: u64) -> Option<u32> {
        let tag = ((cookie >> (3 + FEWEST_LINE_BITS) << 3) | (cookie % WAYS)) as u32;
        let entry = self.0.iter().find(|entry| **entry != 0 && (**entry >> 32) as u32 == tag)?;
        Some((entry >> 2) as u32 & ((1 << 18) - 1))
    }
}

/// `struct held`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawHeld([u64; 3]);

/// `struct waiting`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawWaiting {
    pub since_ns: u64,
    pub seen_ns: u64,
    pub is_old: u64,
}

impl RawWaiting {
    pub fn at(&self, now_ns: u64) -> PeerClosed {
        PeerClosed {
            since: Duration::from_nanos(now_ns.saturating_sub(self.since_ns)),
            before_trace: self.is_old != 0,
        }
    }
}

/// `LOST_CLOSERS`.
pub const LOST_OWNERS: u32 = 0;
/// `LOST_WAITING`.
pub const LOST_WAITING: u32 = 5;

/// `struct process`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawProcess {
    comm: [u8; 16],
    cgroup: u64,
    pid: u32,
    pub index: u32,
    kernel: u64,
}

// SAFETY: each is made of integers, without padding, so that any bytes are a value of it.
unsafe impl aya::Pod for RawGroup {}
// SAFETY: as above.
unsafe impl aya::Pod for RawFlow {}
// SAFETY: as above.
unsafe impl aya::Pod for Line {}
// SAFETY: as above.
unsafe impl aya::Pod for RawHeld {}
// SAFETY: as above.
unsafe impl aya::Pod for RawProcess {}
// SAFETY: as above.
unsafe impl aya::Pod for RawWaiting {}

const _: () =
    assert!(size_of::<RawGroup>() == 32 && size_of::<Line>() == 64 && size_of::<RawProcess>() == 40);

impl From<RawGroup> for Group {
    fn from(raw: RawGroup) -> Group {
        Group {
            process: (raw.process != 0).then_some(ProcessId(raw.process)),
            netns: u64::from(raw.netns),
            role: match raw.role {
                1 => Role::Connect,
                2 => Role::Accept,
                _ => Role::Unknown,
            },
            addr: Addr::v6(raw.addr),
            port: raw.port,
        }
    }
}

impl From<RawFlow> for Flow {
    fn from(RawFlow(n): RawFlow) -> Flow {
        Flow {
            opened: n[0],
            opened_bound: n[1],
            accepted: n[2],
            closed_first: n[3],
            closed_after: n[4],
            aborted: n[5],
            reset: n[6],
            timed_out: n[7],
            carried_little: n[8],
            bytes: n[9],
            no_port: n[10],
            no_port_bound: n[11],
            refused: n[12],
            connect_timed_out: n[13],
            unreachable: n[14],
            failed_otherwise: n[15],
            abandoned: n[16],
        }
    }
}

impl From<RawHeld> for Held {
    fn from(RawHeld([time_wait, with_timestamps, fin_wait2]): RawHeld) -> Held {
        Held { time_wait, with_timestamps, fin_wait2 }
    }
}

impl From<RawProcess> for Process {
    fn from(raw: RawProcess) -> Process {
        let length = raw.comm.iter().position(|b| *b == 0).unwrap_or(raw.comm.len());
        Process {
            pid: (raw.pid != 0).then_some(raw.pid),
            comm: String::from_utf8_lossy(&raw.comm[..length]).into_owned(),
            cgroup: raw.cgroup,
            kernel: raw.kernel != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_apart_by_what_their_place_does_not_tell() {
        let lines = lines_for(100_000);
        assert_eq!((lines, lines_for(0), lines_for(u32::MAX)), (16_384, 8192, 1 << 29));
        let cookie = 0x0001_2345_6789;
        // As entry_of() writes it: role 1, index 77, some time.
        let tag = ((cookie >> 16) << 3) | (cookie & 7);
        let line = Line([0, (tag << 32) | (5 << 20) | (77 << 2) | 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(line.find(cookie), Some(77));
        assert_eq!(line.find(cookie ^ 1), None);
        // The next cookie of the same line, and of the smallest table's same place.
        assert_eq!(line.find(cookie + (1 << 16)), None);
        assert_eq!(line_of(cookie, lines), line_of(cookie ^ 7, lines));
        assert_ne!(line_of(cookie, lines), line_of(cookie + 8, lines));
    }
}
