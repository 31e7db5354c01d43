//! What was read at one moment: of the host once, of each network namespace once.

use crate::aggregate::{ProcessIndex, SocketTable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why something is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// The reader has no permission.
    Denied,
    /// This kernel, or this namespace, does not have it.
    Unsupported,
    /// It was there and is gone.
    Vanished,
    /// It could not be understood.
    Malformed,
    /// It was read in part.
    Partial,
    /// Nobody asked for it.
    NotAsked,
}

/// Something that could not be read, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What is missing, in the field's terms: `owners of 12 sockets`.
    pub what: String,
    /// Why.
    pub kind: GapKind,
    /// The system's own words.
    pub detail: String,
    /// What to do to get it; empty where nothing helps.
    pub hint: String,
}

impl Gap {
    /// A gap with a hint.
    pub fn new(
        what: impl Into<String>,
        kind: GapKind,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Gap {
        Gap { what: what.into(), kind, detail: detail.into(), hint: hint.into() }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.detail)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// A reading, or why there is none. An absent value is never 0.
pub type Reading<T> = Result<T, Gap>;

/// A reading that nobody asked for.
pub fn not_asked<T>(what: &str) -> Reading<T> {
    Err(Gap::new(what, GapKind::NotAsked, "not read", ""))
}

/// The running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Major and minor version, where the release begins with them.
    pub version: Option<(u16, u16)>,
}

impl Kernel {
    /// From `uname -r`.
    pub fn new(release: impl Into<String>) -> Kernel {
        let release = release.into();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
        let version = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Some((major, minor)),
            _ => None,
        };
        Kernel { release, version }
    }

    /// Whether the version is known and at least this. Distributions backport: use it to explain, and to decide only
    /// where nothing can be probed.
    pub fn at_least(&self, major: u16, minor: u16) -> bool {
        self.version.is_some_and(|v| v >= (major, minor))
    }
}

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsId {
    /// Inode of the namespace: its identity while it lives.
    pub inode: u64,
    /// A name, where it has one (`/run/netns/NAME`), or what it was asked for by.
    pub name: Option<String>,
    /// Whether it is the host's first one (pid 1's). Unknown where pid 1 may not be looked at.
    pub is_init: Option<bool>,
}

impl NetnsId {
    /// The name, or the inode as `ip netns` and lsns print it.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("net:[{}]", self.inode))
    }
}

/// Counters by full name: `TcpExt.ListenOverflows`, `Tcp.RetransSegs`. Read by name, never by place.
pub type Counters = BTreeMap<String, u64>;

/// TCP's part of /proc/net/sockstat. `orphan`, `alloc` and `mem` are the host's even inside a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sockstat {
    /// TCP sockets in use, IPv4.
    pub inuse: u64,
    /// Orphaned sockets, host-wide.
    pub orphan: u64,
    /// Minisockets, IPv4 and IPv6 together, FIN_WAIT2's included.
    pub tw: u64,
    /// TCP sockets allocated, host-wide; those in no table included.
    pub alloc: u64,
    /// TCP buffer memory in pages, host-wide.
    pub mem_pages: u64,
    /// TCP sockets in use, IPv6 (/proc/net/sockstat6).
    pub inuse6: Option<u64>,
}

/// Connection tracking of one namespace; the limit is the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conntrack {
    /// Entries of this namespace.
    pub count: u64,
    /// `nf_conntrack_max`: one number for the host, compared with each namespace's own count.
    pub max: u64,
    /// Sums over the CPUs of `drop`, `early_drop`, `insert_failed`, …; absent where they could not be read.
    pub stats: Option<Counters>,
}

/// Sums over the CPUs of /proc/net/softnet_stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Softnet {
    /// Packets processed.
    pub processed: u64,
    /// Packets dropped because a CPU's input backlog was full.
    pub dropped: u64,
    /// Times that a CPU ran out of its budget.
    pub time_squeeze: u64,
}

/// A process that holds sockets, or is near its limit of descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id, as seen by the reader.
    pub pid: u32,
    /// Name (15 bytes at the most).
    pub comm: String,
    /// File name of the executable, where it could be read.
    pub exe: Option<String>,
    /// Command line, where it was asked for and could be read.
    pub cmdline: Option<String>,
    /// Path in the cgroup hierarchy.
    pub cgroup: Option<String>,
    /// Container or unit that the cgroup belongs to.
    pub container: Option<Container>,
    /// Inode of its network namespace.
    pub netns: Option<u64>,
    /// Open descriptors.
    pub fds: u64,
    /// Soft limit of open descriptors; `None` where it could not be read, `Some(u64::MAX)` for none.
    pub fd_limit: Option<u64>,
    /// Descriptors that are sockets.
    pub sockets: u32,
    /// TCP sockets that it holds and no table lists, in this sample.
    pub closed_tcp: u32,
    /// Of those, the ones that the sample before had too.
    pub closed_tcp_lasting: u32,
}

impl Process {
    /// `nginx (pid 123)`, with the container where there is one.
    pub fn label(&self) -> String {
        match &self.container {
            Some(c) if c.kind != ContainerKind::SystemdUnit => {
                format!("{} (pid {}, {c})", self.comm, self.pid)
            }
            _ => format!("{} (pid {})", self.comm, self.pid),
        }
    }
}

/// What runs a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    /// Docker.
    Docker,
    /// containerd (through CRI or nerdctl).
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// A systemd service, scope or slice.
    SystemdUnit,
}

/// A container, or a systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Container {
    /// What runs it.
    pub kind: ContainerKind,
    /// Its id, or the unit's name.
    pub id: String,
    /// Kubernetes pod uid, where the path names one.
    pub pod: Option<String>,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ContainerKind::Docker => "docker",
            ContainerKind::Containerd => "containerd",
            ContainerKind::Crio => "cri-o",
            ContainerKind::Podman => "podman",
            ContainerKind::SystemdUnit => return f.write_str(&self.id),
        };
        let short = self.id.get(..12).unwrap_or(&self.id);
        write!(f, "{kind} {short}")
    }
}

/// Processes that hold sockets or come near a limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Processes {
    /// By [`ProcessIndex`].
    pub list: Vec<Process>,
    /// Processes that have descriptors, those included that could not be read. Kernel threads have none.
    pub seen: u64,
    /// Processes whose descriptors could not be read.
    pub denied: u64,
    /// Whether there are, or may be, processes that this reader is not shown at all (`hidepid` of /proc).
    #[serde(default)]
    pub hidden: bool,
    /// Whether CLOSE-d sockets could be told (the same table was read before).
    pub has_past: bool,
}

impl Processes {
    /// A process by its number.
    pub fn get(&self, index: ProcessIndex) -> Option<&Process> {
        self.list.get(index as usize)
    }

    /// A process's label, or a word for nobody.
    pub fn label(&self, index: Option<ProcessIndex>) -> String {
        match index.and_then(|i| self.get(i)) {
            Some(process) => process.label(),
            None => "a process not visible to this user".to_owned(),
        }
    }
}

/// Descriptors of the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileUse {
    /// Open files (fs.file-nr, first figure).
    pub open: u64,
    /// fs.file-max.
    pub max: u64,
}

/// Socket memory of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupMemory {
    /// Path in the cgroup hierarchy.
    pub path: String,
    /// Bytes of socket buffers charged to it (memory.stat `sock`).
    pub sock_bytes: u64,
    /// Bytes charged to it.
    pub current_bytes: u64,
    /// Its limit, absent when there is none.
    pub max_bytes: Option<u64>,
    /// `sock_throttled` of memory.events, where the kernel has it; counts times its sockets were throttled.
    pub sock_throttled: Option<u64>,
}

/// What belongs to the host and not to a namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostSnapshot {
    /// The kernel.
    pub kernel: Kernel,
    /// Who holds which sockets.
    pub processes: Reading<Processes>,
    /// Descriptors.
    pub files: Reading<FileUse>,
    /// Packets dropped before TCP.
    pub softnet: Reading<Softnet>,
    /// cgroups with much socket memory.
    pub cgroup_memory: Reading<Vec<CgroupMemory>>,
    /// Host-wide sysctls, read in the reader's own namespace: `net.ipv4.tcp_mem`.
    pub sysctls: BTreeMap<String, Reading<String>>,
    /// Bytes in a page.
    pub page_size: u64,
}

/// One moment of one network namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// When, as microseconds since 1970 (UTC).
    pub taken_at_us: i64,
    /// The same moment by a clock that never jumps, microseconds.
    pub monotonic_us: u64,
    /// Which namespace.
    pub netns: NetnsId,
    /// The host, shared by the namespaces' snapshots of one moment.
    #[serde(with = "shared")]
    pub host: Arc<HostSnapshot>,
    /// The sockets.
    pub sockets: Reading<SocketTable>,
    /// /proc/net/sockstat and sockstat6.
    pub sockstat: Reading<Sockstat>,
    /// /proc/net/snmp and netstat.
    pub counters: Reading<Counters>,
    /// The namespace's sysctls by name: `net.ipv4.tcp_tw_reuse`.
    pub sysctls: BTreeMap<String, Reading<String>>,
    /// Connection tracking; `Ok(None)` where it is not loaded.
    pub conntrack: Reading<Option<Conntrack>>,
    /// What was read in part, or through a fallback.
    pub gaps: Vec<Gap>,
}

/// What several share is written with each.
mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(value, serializer)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

/// One moment of one network namespace without its sockets: what costs nothing to read every second.
#[derive(Debug, Clone)]
pub struct Light {
    /// When, as microseconds since 1970 (UTC).
    pub taken_at_us: i64,
    /// The same moment by a clock that never jumps, microseconds.
    pub monotonic_us: u64,
    /// /proc/net/sockstat and sockstat6.
    pub sockstat: Reading<Sockstat>,
    /// /proc/net/snmp and netstat.
    pub counters: Reading<Counters>,
    /// Connection tracking; `Ok(None)` where it is not loaded.
    pub conntrack: Reading<Option<Conntrack>>,
}

impl Snapshot {
    /// A sysctl's text, from the namespace or else from the host.
    pub fn sysctl(&self, key: &str) -> Reading<&str> {
        match self.sysctls.get(key).or_else(|| self.host.sysctls.get(key)) {
            Some(Ok(text)) => Ok(text.trim()),
            Some(Err(gap)) => Err(gap.clone()),
            None => not_asked(key),
        }
    }

    /// A sysctl as a number; the first one where it holds several.
    pub fn sysctl_int(&self, key: &str) -> Reading<i64> {
        self.sysctl_ints(key)?.first().copied().ok_or_else(|| malformed(key, "is empty"))
    }

    /// A sysctl's numbers.
    pub fn sysctl_ints(&self, key: &str) -> Reading<Vec<i64>> {
        let text = self.sysctl(key)?;
        let numbers: Result<Vec<i64>, _> = text.split_whitespace().map(str::parse).collect();
        numbers.map_err(|_| malformed(key, &format!("is {text:?}, not numbers")))
    }

    /// A counter, 0 only where the kernel says 0.
    pub fn counter(&self, name: &str) -> Reading<u64> {
        let counters = self.counters.as_ref().map_err(Gap::clone)?;
        counters
            .get(name)
            .copied()
            .ok_or_else(|| Gap::new(name, GapKind::Unsupported, "this kernel does not have this counter", ""))
    }
}

fn malformed(what: &str, detail: &str) -> Gap {
    Gap::new(what, GapKind::Malformed, detail, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read_from_any_release_string() {
        assert_eq!(Kernel::new("6.18.44-fc").version, Some((6, 18)));
        assert_eq!(Kernel::new("3.10.0-1160.el7.x86_64").version, Some((3, 10)));
        assert_eq!(Kernel::new("rawhide").version, None);
        assert!(Kernel::new("6.1.0").at_least(5, 18) && !Kernel::new("5.10").at_least(5, 18));
    }
}
