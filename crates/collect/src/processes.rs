//! Who holds which socket: every process's descriptors, read once and kept as inode → process.

use crate::{files, gap};
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use linger_model::SocketRecord;
use linger_model::aggregate::{Owners, ProcessIndex};
use linger_model::snapshot::{Gap, GapKind, Process, Processes, Reading};
use linger_wire::{cgroup, procfs};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, getxattr, openat, readlinkat_raw};
use rustix::io::Errno;
use std::ffi::CStr;
use std::hash::BuildHasher;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sockets remembered: 9 bytes each. Beyond it, holders are no longer found, and the report says so.
const MOST_SOCKETS: usize = 4_000_000;
/// A process's unlisted sockets are looked at one by one only from this many on: a few are always there (unix,
/// netlink), and a leak has many.
const UNLISTED_FROM: u32 = 16;
/// How many of them are looked at in one process.
const UNLISTED_MOST: usize = 20_000;

/// What to read of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanOptions {
    /// Also cgroup and container.
    pub cgroups: bool,
    /// Also limits of descriptors, and processes without sockets that come near theirs.
    pub limits: bool,
    /// Only this process.
    pub only_pid: Option<u32>,
}

struct Holder {
    inode: u32,
    process: ProcessIndex,
    seen: AtomicBool,
}

/// inode → process, and what is known of the processes.
pub struct HolderTable {
    inodes: HashTable<Holder>,
    hasher: DefaultHashBuilder,
    processes: Processes,
    left_out: u64,
}

impl Owners for HolderTable {
    fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex> {
        if socket.inode == 0 {
            return None;
        }
        let found = self.find(socket.inode)?;
        found.seen.store(true, Ordering::Relaxed);
        Some(found.process)
    }
}

impl HolderTable {
    /// Nobody.
    pub fn empty() -> HolderTable {
        HolderTable {
            inodes: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            processes: Processes::default(),
            left_out: 0,
        }
    }

    /// Reads every process's descriptors. A process that vanishes meanwhile is skipped, one that may not be read is
    /// counted.
    pub fn scan(options: &ScanOptions) -> Reading<HolderTable> {
        let mut table = HolderTable::empty();
        let what = "processes and their descriptors";
        let proc = open_dir(CWD, c"/proc").map_err(|e| gap(what, &e.into()))?;
        let mut pids = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
        let mut entries = RawDir::new(&proc, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|e| gap(what, &e.into()))?;
            let pid = number(entry.file_name().to_bytes());
            pids.extend(pid.filter(|pid| options.only_pid.is_none_or(|only| only == *pid)));
        }
        // Forked workers share a listener with their master: the older process, which has the lower pid, is named.
        pids.sort_unstable();
        for pid in pids {
            table.scan_process(&proc, pid, options);
        }
        Ok(table)
    }

    fn scan_process(&mut self, proc: &OwnedFd, pid: u32, options: &ScanOptions) {
        let folder = match open_dir(proc, pid.to_string()) {
            Ok(folder) => folder,
            Err(_) => return,
        };
        self.processes.seen += 1;
        let fds = match open_dir(&folder, c"fd") {
            Ok(fds) => fds,
            Err(Errno::ACCESS | Errno::PERM) => {
                self.processes.denied += 1;
                return;
            }
            Err(_) => return,
        };
        let index = self.processes.list.len() as ProcessIndex;
        let (mut open, mut sockets) = (0u64, 0u32);
        let denied = each_fd(&fds, |_, link| {
            open += 1;
            if let Some(inode) = procfs::socket_inode(link) {
                sockets += 1;
                self.insert(inode, index);
            }
        });
        if denied {
            self.processes.denied += 1;
            return;
        }
        let fd_limit = (options.limits && open > 0)
            .then(|| files::text(format!("/proc/{pid}/limits")).ok())
            .flatten()
            .and_then(|t| procfs::open_files_limit(&t));
        let near_limit = fd_limit.is_some_and(|limit| limit != u64::MAX && open.saturating_mul(2) >= limit);
        if sockets == 0 && !near_limit {
            return;
        }
        let read = |name: &str| files::text(format!("/proc/{pid}/{name}")).ok();
        let cgroup = if options.cgroups {
            read("cgroup").and_then(|t| cgroup::path(&t).map(str::to_owned))
        } else {
            None
        };
        let mut link = [MaybeUninit::uninit(); 64];
        let netns = readlinkat_raw(&folder, c"ns/net", &mut link[..]).ok();
        self.processes.list.push(Process {
            pid,
            comm: read("comm").map_or_else(|| "?".to_owned(), |c| c.trim_end().to_owned()),
            exe: None,
            cmdline: None,
            container: cgroup.as_deref().and_then(cgroup::container),
            cgroup,
            netns: netns.and_then(|(text, _)| procfs::netns_inode(text)).map(u64::from),
            fds: open,
            fd_limit,
            sockets,
            closed_tcp: 0,
            closed_tcp_lasting: 0,
        });
    }

    fn insert(&mut self, inode: u32, process: ProcessIndex) {
        if self.inodes.len() >= MOST_SOCKETS {
            self.left_out += 1;
            return;
        }
        let hasher = &self.hasher;
        let entry =
            self.inodes.entry(hasher.hash_one(inode), |h| h.inode == inode, |h| hasher.hash_one(h.inode));
        entry.or_insert(Holder { inode, process, seen: AtomicBool::new(false) });
    }

    fn find(&self, inode: u32) -> Option<&Holder> {
        self.inodes.find(self.hasher.hash_one(inode), |h| h.inode == inode)
    }

    /// The processes.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// The inodes that a process holds, for a filter by process.
    pub fn inodes_of(&self, pid: u32) -> HashSet<u32> {
        let held = |h: &&Holder| self.processes.get(h.process).is_some_and(|p| p.pid == pid);
        self.inodes.iter().filter(held).map(|h| h.inode).collect()
    }

    /// Adds executable and command line of the processes that the report may name.
    pub fn describe(&mut self, wanted: impl IntoIterator<Item = ProcessIndex>) {
        for index in wanted {
            let Some(process) = self.processes.list.get_mut(index as usize) else { continue };
            let pid = process.pid;
            process.exe = std::fs::read_link(format!("/proc/{pid}/exe"))
                .ok()
                .and_then(|p| Some(Path::new(&p).file_name()?.to_string_lossy().into_owned()));
            process.cmdline = files::text(format!("/proc/{pid}/cmdline"))
                .ok()
                .map(|t| t.chars().take(4096).map(|c| if c == '\0' { ' ' } else { c }).collect());
        }
    }

    /// Looks for closed TCP sockets whose descriptors are kept: sockets that no table listed in the walks that asked
    /// this table for owners. Only processes of the walked namespaces count. Returns their inodes.
    pub fn find_closed(&mut self, walked_netns: &[u64], before: Option<&HashSet<u32>>) -> HashSet<u32> {
        let mut unlisted = vec![0u32; self.processes.list.len()];
        for holder in self.inodes.iter().filter(|h| !h.seen.load(Ordering::Relaxed)) {
            if let Some(n) = unlisted.get_mut(holder.process as usize) {
                *n += 1;
            }
        }
        let mut closed = HashSet::new();
        self.processes.has_past = before.is_some();
        for (index, _) in unlisted.iter().enumerate().filter(|(_, n)| **n >= UNLISTED_FROM) {
            let process = &self.processes.list[index];
            if !process.netns.is_some_and(|n| walked_netns.contains(&n)) {
                continue;
            }
            let found = self.closed_of(process.pid);
            let lasting = before.map_or(0, |before| found.iter().filter(|i| before.contains(*i)).count());
            let process = &mut self.processes.list[index];
            process.closed_tcp = found.len() as u32;
            process.closed_tcp_lasting = lasting as u32;
            closed.extend(found);
        }
        closed
    }

    fn closed_of(&self, pid: u32) -> HashSet<u32> {
        let mut closed = HashSet::new();
        let Ok(fds) = open_dir(CWD, format!("/proc/{pid}/fd")) else { return closed };
        each_fd(&fds, |name, link| {
            let unlisted = procfs::socket_inode(link)
                .filter(|inode| self.find(*inode).is_some_and(|h| !h.seen.load(Ordering::Relaxed)));
            let Some(inode) = unlisted.filter(|_| closed.len() < UNLISTED_MOST) else { return };
            // sockfs tells a socket's protocol through this attribute, and changes nothing by it.
            let path = format!("/proc/{pid}/fd/{}", name.to_string_lossy());
            let mut protocol = [0u8; 16];
            let length = getxattr(path, c"system.sockprotoname", &mut protocol[..]);
            if length.is_ok_and(|n| protocol[..n].starts_with(b"TCP")) {
                closed.insert(inode);
            }
        });
        closed
    }

    /// The table for a snapshot.
    pub fn into_processes(self) -> Processes {
        self.processes
    }

    /// What could not be read.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        if self.processes.denied > 0 {
            gaps.push(Gap::new(
                format!("descriptors of {} of {} processes", self.processes.denied, self.processes.seen),
                GapKind::Denied,
                "permission denied",
                "run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
            ));
        }
        if self.left_out > 0 {
            gaps.push(Gap::new(
                format!("holders of {} sockets", self.left_out),
                GapKind::Partial,
                format!("only the first {MOST_SOCKETS} are remembered"),
                "",
            ));
        }
        if let Some(mode) = hidepid() {
            gaps.push(Gap::new(
                "other users' processes",
                GapKind::Denied,
                format!("/proc is mounted with {mode}"),
                "run as root",
            ));
        }
        gaps
    }
}

/// `hidepid=…` of /proc when it hides processes from this user.
fn hidepid() -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let mounts = files::text("/proc/self/mounts").ok()?;
    let options = mounts.lines().find_map(|l| {
        let mut words = l.split(' ');
        (words.nth(1)? == "/proc").then(|| words.nth(1))?
    })?;
    let mode = options.split(',').find(|o| o.starts_with("hidepid="))?;
    (!matches!(mode, "hidepid=0" | "hidepid=off")).then(|| mode.to_owned())
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Gives each descriptor's name and link. Whether reading was denied.
fn each_fd(fds: &OwnedFd, mut each: impl FnMut(&CStr, &[u8])) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    let mut link = [MaybeUninit::uninit(); 64];
    let mut entries = RawDir::new(fds, &mut buffer);
    while let Some(entry) = entries.next() {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        if !name.to_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        match readlinkat_raw(fds, name, &mut link[..]) {
            Ok((text, _)) => each(name, text),
            Err(Errno::ACCESS | Errno::PERM) => return true,
            // Closed meanwhile.
            Err(_) => {}
        }
    }
    false
}

fn number(name: &[u8]) -> Option<u32> {
    std::str::from_utf8(name).ok().filter(|n| n.starts_with(|c: char| c.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    #[test]
    fn this_process_is_found_as_the_holder_of_its_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).expect("its link");
        let inode = procfs::socket_inode(link.to_string_lossy().as_bytes()).expect("its inode");
        let mut table =
            HolderTable::scan(&ScanOptions { limits: true, ..ScanOptions::default() }).expect("processes");
        let index = table.find(inode).expect("the listener is found").process;
        table.describe([index]);
        let process = table.processes().get(index).expect("its process");
        assert_eq!(process.pid, std::process::id());
        assert!(process.fd_limit.is_some() && process.netns.is_some() && process.exe.is_some());
        assert!(table.inodes_of(std::process::id()).contains(&inode));
    }

    #[test]
    fn closed_sockets_that_are_kept_are_found_and_told_from_fresh_ones() {
        let sockets = || -> Vec<socket2::Socket> {
            (0..UNLISTED_FROM + 4)
                .map(|_| {
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                        .expect("a socket")
                })
                .collect()
        };
        let own = std::fs::read_link("/proc/self/ns/net").expect("own namespace");
        let own = u64::from(procfs::netns_inode(own.to_string_lossy().as_bytes()).expect("its inode"));
        let mine = |table: &HolderTable| {
            let found = table.processes().list.iter().find(|p| p.pid == std::process::id());
            found.map(|p| (p.closed_tcp, p.closed_tcp_lasting)).expect("this process")
        };
        let only = ScanOptions { only_pid: Some(std::process::id()), ..ScanOptions::default() };
        let _kept = sockets();
        let mut first = HolderTable::scan(&only).expect("processes");
        let before = first.find_closed(&[own], None);
        assert!(mine(&first).0 >= UNLISTED_FROM + 4 && mine(&first).1 == 0);
        let _fresh = sockets();
        let mut second = HolderTable::scan(&only).expect("processes");
        second.find_closed(&[own], Some(&before));
        let (closed, lasting) = mine(&second);
        assert!(closed >= 2 * (UNLISTED_FROM + 4) && lasting < closed && lasting >= UNLISTED_FROM + 4);
    }
}
