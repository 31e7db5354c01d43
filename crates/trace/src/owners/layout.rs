//! The maps' entries as `probe.bpf.c` has them.

use super::{Flow, Group, Held, Process, ProcessId, Role};
use linger_model::Addr;

/// `struct group`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawGroup {
    process: u64,
    addr: [u8; 16],
    netns: u32,
    port: u16,
    role: u8,
    pad: u8,
}

/// `struct flow`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawFlow([u64; 17]);

/// `struct closer`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Closer {
    pub process: u64,
    pub pass: u32,
    pub role: u32,
}

/// `struct held`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawHeld([u64; 3]);

/// `struct process`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawProcess {
    comm: [u8; 16],
    cgroup: u64,
    pid: u32,
    kernel: u32,
}

// SAFETY: each is made of integers, without padding, so that any bytes are a value of it.
unsafe impl aya::Pod for RawGroup {}
// SAFETY: as above.
unsafe impl aya::Pod for RawFlow {}
// SAFETY: as above.
unsafe impl aya::Pod for Closer {}
// SAFETY: as above.
unsafe impl aya::Pod for RawHeld {}
// SAFETY: as above.
unsafe impl aya::Pod for RawProcess {}

const _: () =
    assert!(size_of::<RawGroup>() == 32 && size_of::<Closer>() == 16 && size_of::<RawProcess>() == 32);

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
