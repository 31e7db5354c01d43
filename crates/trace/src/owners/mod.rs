//! Who opens and who closes TCP connections, and who made the sockets in TIME_WAIT.

mod histogram;
#[expect(unsafe_code, reason = "the maps' entries are plain bytes to the kernel")]
mod layout;
mod pinned;
mod remembered;

pub use histogram::{Histogram, Lifetimes};
pub use pinned::Pins;
pub use remembered::{PeerClosed, Remembered};

use crate::error::Error;
use crate::kernel::{self, absent, fdinfo, map_mut, program};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuHashMap};
use aya::programs::{BtfTracePoint, Iter};
use aya::{Ebpf, EbpfLoader};
use layout::{RawFlow, RawGroup, RawHeld, RawProcess, RawWaiting, lines_for};
use linger_model::Addr;
use linger_netns::Netns;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

static OBJECT: &[u8] = aya::include_bytes_aligned!("probe.bpf.o");

/// Bytes of both directions below which a connection carried little.
pub const LITTLE_BYTES: u64 = 16 * 1024;

/// What to trace, and how much to remember.
#[derive(Debug, Clone)]
pub struct Options {
    /// Inodes of the network namespaces; `None` for all of the host's.
    pub netns: Option<Vec<u64>>,
    /// Connections closed by this side whose owner can be remembered at a time, at least: a table that is there from the
    /// start, 8 bytes each, rounded up to a power of two.
    pub owners: u32,
    /// Group accepted connections by peer address and the port listened on, else by address and port listened on.
    pub accepted_by_peer: bool,
}

/// A process: the kernel's number of it, which is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub(crate) u64);

impl ProcessId {
    /// Thread group id in the first PID namespace.
    pub fn tgid(self) -> u32 {
        self.0 as u32
    }

    /// All of it: the thread group id and when that was started.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What was noted of a process when it first opened or closed a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id as this process sees it; `None` where it is in a PID namespace out of sight.
    pub pid: Option<u32>,
    /// Name of its first thread, 15 bytes at the most.
    pub comm: String,
    /// cgroup v2 id: the inode of its folder.
    pub cgroup: u64,
    /// A thread of the kernel, which closed on nobody's behalf or for itself.
    pub kernel: bool,
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Not known: a minisocket from before the trace.
    Unknown,
    /// It called connect().
    Connect,
    /// It came through a listener.
    Accept,
}

/// Connections that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// Whose they are; `None` for what happens in no process's context (a peer's reset, a handshake's end).
    pub process: Option<ProcessId>,
    /// Inode of the network namespace.
    pub netns: u64,
    /// Which end.
    pub role: Role,
    /// Peer address of outgoing ones; of accepted ones the local address, or the peer's ([`Options::accepted_by_peer`]).
    pub addr: Addr,
    /// Peer port of outgoing connections; the port listened on of accepted ones.
    pub port: u16,
}

/// What became of connections since the trace began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// connect() was called.
    pub opened: u64,
    /// Of those, bound to a port before.
    pub opened_bound: u64,
    /// Handshakes completed on a listener; of no process.
    pub accepted: u64,
    /// This side sent the first FIN: the active closer, which keeps TIME_WAIT.
    pub closed_first: u64,
    /// Closed after the peer's FIN.
    pub closed_after: u64,
    /// Ended with a reset by this side: unread data, or SO_LINGER 0.
    pub aborted: u64,
    /// Ended by a reset, or otherwise from outside; of no process.
    pub reset: u64,
    /// Ended because the peer did not answer any more (ETIMEDOUT); of no process.
    pub timed_out: u64,
    /// Closed after having carried less than [`LITTLE_BYTES`].
    pub carried_little: u64,
    /// Bytes of both directions of the connections closed.
    pub bytes: u64,
    /// connect() found no local port (EADDRNOTAVAIL).
    pub no_port: u64,
    /// connect() failed at once with a bound port: it is taken towards this destination (EADDRNOTAVAIL), or no route.
    pub no_port_bound: u64,
    /// ECONNREFUSED; of no process.
    pub refused: u64,
    /// ETIMEDOUT before the connection was established; of no process.
    pub connect_timed_out: u64,
    /// EHOSTUNREACH or ENETUNREACH; of no process.
    pub unreachable: u64,
    /// Another error; of no process.
    pub failed_otherwise: u64,
    /// Closed by its process while it was being established.
    pub abandoned: u64,
}

impl Flow {
    /// Adds another group's.
    pub fn add(&mut self, other: &Flow) {
        let Flow {
            opened,
            opened_bound,
            accepted,
            closed_first,
            closed_after,
            aborted,
            reset,
            timed_out,
            carried_little,
            bytes,
            no_port,
            no_port_bound,
            refused,
            connect_timed_out,
            unreachable,
            failed_otherwise,
            abandoned,
        } = *other;
        self.opened += opened;
        self.opened_bound += opened_bound;
        self.accepted += accepted;
        self.closed_first += closed_first;
        self.closed_after += closed_after;
        self.aborted += aborted;
        self.reset += reset;
        self.timed_out += timed_out;
        self.carried_little += carried_little;
        self.bytes += bytes;
        self.no_port += no_port;
        self.no_port_bound += no_port_bound;
        self.refused += refused;
        self.connect_timed_out += connect_timed_out;
        self.unreachable += unreachable;
        self.failed_otherwise += failed_otherwise;
        self.abandoned += abandoned;
    }

    /// Connections closed by this side's processes.
    pub fn closed(&self) -> u64 {
        self.closed_first + self.closed_after
    }
}

/// Minisockets of a group at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// In TIME_WAIT.
    pub time_wait: u64,
    /// Of those, with timestamps (`tw_ts_recent_stamp`), without which connect() never takes the port back.
    pub with_timestamps: u64,
    /// In FIN_WAIT2, as minisocket.
    pub fin_wait2: u64,
}

/// What did not fit into the maps, and so is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Connections closed by this side whose owner could not be remembered.
    pub owners: u64,
    /// Events of groups beyond those that can be counted apart.
    pub events: u64,
    /// Processes that stay without a name.
    pub processes: u64,
    /// Connections left out of the lifetimes.
    pub lifetimes: u64,
    /// Minisockets left out of the groups.
    pub minisockets: u64,
    /// Times that a walk came upon a socket in CLOSE_WAIT and had no room to remember since when.
    pub waiting: u64,
    /// Events that came while the CPU was at the probe already, in an interrupt: of those outside of a process's context,
    /// so that no owner is missed.
    pub missed: u64,
}

/// A running trace.
#[derive(Debug)]
pub struct Owners {
    bpf: Ebpf,
    lines: u32,
}

impl Owners {
    /// Loads the probe, walks the sockets of these namespaces for those that wait in CLOSE_WAIT already, and attaches it.
    /// It counts from here on.
    ///
    /// # Errors
    /// Denied without CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN) in the first user namespace; unsupported without BTF
    /// (`CONFIG_DEBUG_INFO_BTF`) or before Linux 5.12; exhausted without the memory.
    pub fn start(options: &Options, namespaces: &[Netns]) -> Result<Owners, Error> {
        let loading = "load the probe of owners";
        let btf = kernel::types(loading)?;
        let (only, some) = match options.netns.as_deref() {
            None => (0u32, 0u32),
            Some([only]) => (*only as u32, 0),
            Some(_) => (0, 1),
        };
        let by_peer = u32::from(options.accepted_by_peer);
        let pidns = pid_namespace();
        let lines = lines_for(options.owners);
        let line_mask = lines - 1;
        let groups = groups_for(possible_cpus());
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&btf))
            .override_global("only_netns", &only, true)
            .override_global("some_netns", &some, true)
            .override_global("accepted_by_peer", &by_peer, true)
            .override_global("short_bytes", &LITTLE_BYTES, true)
            .override_global("reader_pidns", &pidns, true)
            .override_global("line_mask", &line_mask, true)
            .map_max_entries("closers", lines)
            .map_max_entries("flows", groups);
        let mut bpf = loader.load(OBJECT).map_err(|e| Error::object(loading, e))?;
        if let (1, Some(wanted)) = (some, &options.netns) {
            let mut map: HashMap<_, u32, u32> = map_mut(&mut bpf, "wanted_netns")?;
            for inode in wanted {
                map.insert(*inode as u32, 1, 0).map_err(|e| Error::map(loading, e))?;
            }
        }
        let iter: &mut Iter = program(&mut bpf, "time_wait")?;
        iter.load("tcp", &btf)
            .map_err(|e| Error::program("load the iterator over TCP sockets (iter/tcp)", e))?;
        let probe: &mut BtfTracePoint = program(&mut bpf, "set_state")?;
        let tracing = "trace inet_sock_set_state (tp_btf)";
        probe.load("inet_sock_set_state", &btf).map_err(|e| Error::program(tracing, e))?;
        let mut owners = Owners { bpf, lines };
        owners.time_wait(namespaces)?;
        let probe: &mut BtfTracePoint = program(&mut owners.bpf, "set_state")?;
        probe.attach().map_err(|e| Error::program(tracing, e))?;
        Ok(owners)
    }

    /// Bytes of the kernel's memory that the maps take, as the kernel tells.
    pub fn memory_bytes(&self) -> u64 {
        let of = |map: &aya::maps::Map| -> Option<u64> { fdinfo(map_data(map)?.fd().as_fd(), "memlock:") };
        self.bpf.maps().filter_map(|(_, map)| of(map)).sum()
    }

    /// Walks the minisockets of these namespaces, and joins them with their owners by cookie, inside the kernel. The
    /// group without process and role has those of no known owner, as those from before the trace.
    ///
    /// An owner is remembered for 66 s from the connection's end here, and for as long from each walk that finds its
    /// socket: a trace that lasts longer walks now and then, for those that wait long for the peer's FIN.
    ///
    /// # Errors
    /// When a namespace cannot be entered, or the iterator not be run.
    pub fn time_wait(&mut self, namespaces: &[Netns]) -> Result<BTreeMap<Group, Held>, Error> {
        let began = kernel::monotonic_ns();
        kernel::walk(program(&mut self.bpf, "time_wait")?, namespaces)?;
        self.forget_closed(began)?;
        let mut held: HashMap<_, RawGroup, RawHeld> = map_mut(&mut self.bpf, "held")?;
        let found: Vec<(RawGroup, RawHeld)> = held.iter().filter_map(Result::ok).collect();
        for (key, _) in &found {
            let _ = held.remove(key);
        }
        let processes = self.by_index()?;
        let named = |(mut group, held): (RawGroup, RawHeld)| {
            group.process = processes.get(&(group.process as u32)).map_or(0, |id| id.0);
            (group.into(), held.into())
        };
        Ok(found.into_iter().map(named).collect())
    }

    /// Takes the sockets out that no longer wait in CLOSE_WAIT: those that a walk did not come upon.
    fn forget_closed(&mut self, walk_began_ns: u64) -> Result<(), Error> {
        let mut waiting: HashMap<_, u64, RawWaiting> = map_mut(&mut self.bpf, "waiting")?;
        let gone: Vec<u64> = waiting
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, it)| it.seen_ns < walk_began_ns)
            .map(|(cookie, _)| cookie)
            .collect();
        for cookie in gone {
            let _ = waiting.remove(&cookie);
        }
        let mut walks: Array<_, u64> = map_mut(&mut self.bpf, "walks")?;
        walks.set(0, 1, 0).map_err(|e| Error::map("count the walks", e))
    }

    /// Indexes of the processes, as the owners have them.
    fn by_index(&self) -> Result<BTreeMap<u32, ProcessId>, Error> {
        Ok(self.raw_processes()?.into_iter().map(|(id, raw)| (raw.index, id)).collect())
    }

    /// What is known by a socket's cookie, from here on without this trace's hand.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn remembered(&self) -> Result<Remembered, Error> {
        Remembered::new("read the owners", |name| {
            let map = self.bpf.map(name).and_then(map_data).ok_or_else(|| absent(name))?;
            let fd = map.fd().as_fd().try_clone_to_owned();
            let fd = fd.map_err(|e| Error::io("read the owners", &e))?;
            MapData::from_fd(fd).map_err(|e| Error::map("read the owners", e))
        })
    }

    /// How many owners can be remembered at a time.
    pub fn capacity(&self) -> u64 {
        u64::from(self.lines) * 8
    }

    /// What became of connections so far, by group.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn flows(&self) -> Result<BTreeMap<Group, Flow>, Error> {
        let map = self.bpf.map("flows").ok_or_else(|| absent("flows"))?;
        let map: PerCpuHashMap<_, RawGroup, RawFlow> =
            PerCpuHashMap::try_from(map).map_err(|e| Error::map("read the counts", e))?;
        let mut flows = BTreeMap::new();
        for (group, per_cpu) in map.iter().filter_map(Result::ok) {
            let mut sum = Flow::default();
            for flow in per_cpu.iter() {
                sum.add(&(*flow).into());
            }
            flows.insert(group.into(), sum);
        }
        Ok(flows)
    }

    /// The processes seen.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn processes(&self) -> Result<BTreeMap<ProcessId, Process>, Error> {
        Ok(self.raw_processes()?.into_iter().map(|(id, raw)| (id, raw.into())).collect())
    }

    fn raw_processes(&self) -> Result<Vec<(ProcessId, RawProcess)>, Error> {
        let map = self.bpf.map("processes").ok_or_else(|| absent("processes"))?;
        let map: HashMap<_, u64, RawProcess> =
            HashMap::try_from(map).map_err(|e| Error::map("read the processes", e))?;
        Ok(map.iter().filter_map(Result::ok).map(|(id, raw)| (ProcessId(id), raw)).collect())
    }

    /// How long connections lasted.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn lifetimes(&self) -> Result<Lifetimes, Error> {
        Ok(Lifetimes::new(self.per_cpu_sums("lifetimes")?))
    }

    /// What did not fit.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn lost(&self) -> Result<Lost, Error> {
        let sums = self.per_cpu_sums("lost")?;
        let probe = self.bpf.program("set_state").ok_or_else(|| absent("set_state"))?;
        let fd = probe.fd().map_err(|e| Error::program("read the misses", e))?;
        let missed = kernel::misses(fd);
        let at = |i: usize| sums.get(i).copied().unwrap_or(0);
        Ok(Lost {
            owners: at(0),
            events: at(1),
            processes: at(2),
            lifetimes: at(3),
            minisockets: at(4),
            waiting: at(5),
            missed,
        })
    }

    /// What the probe at inet_sock_set_state took so far, all CPUs together: runs and time. Counted only while the
    /// kernel is told to (`BPF_ENABLE_STATS`: [`crate::count_cost`]).
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn cost(&self) -> Result<(u64, Duration), Error> {
        kernel::cost(&self.bpf, "set_state")
    }

    fn per_cpu_sums(&self, name: &'static str) -> Result<Vec<u64>, Error> {
        let reading = "read the counts";
        let map = self.bpf.map(name).ok_or_else(|| absent(name))?;
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map).map_err(|e| Error::map(reading, e))?;
        map.iter().map(|value| Ok(value.map_err(|e| Error::map(reading, e))?.iter().sum())).collect()
    }
}

fn map_data(map: &aya::maps::Map) -> Option<&MapData> {
    use aya::maps::Map;
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::PerCpuHashMap(data) => {
            Some(data)
        }
        _ => None,
    }
}

/// Inode of this process's PID namespace, 0 for the first one (PROC_PID_INIT_INO) or where it is not known.
fn pid_namespace() -> u32 {
    const FIRST: u32 = 4_026_531_836;
    let link = std::fs::read_link("/proc/self/ns/pid").ok();
    let inode = link.and_then(|l| l.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok());
    inode.filter(|inode| *inode != FIRST).unwrap_or(0)
}

fn possible_cpus() -> usize {
    aya::util::nr_cpus().unwrap_or(1)
}

/// How many groups are counted apart: as many as 32 MiB hold, since each has its counts on every CPU.
fn groups_for(cpus: usize) -> u32 {
    const BYTES: usize = 32 * 1024 * 1024;
    (BYTES / (cpus.max(1) * size_of::<RawFlow>())).clamp(1024, 8192) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_machine_does_not_get_large_maps() {
        assert_eq!((groups_for(1), groups_for(64), groups_for(4096)), (8192, 3640, 1024));
    }
}
