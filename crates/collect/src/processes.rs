//! Who holds which socket: every process's descriptors, read once and kept as inode → process.

use crate::privileges::Privileges;
use crate::{files, gap};
use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use linger_model::SocketRecord;
use linger_model::aggregate::{Owners, PeerClosed, ProcessIndex};
use linger_model::snapshot::{Gap, GapKind, Process, Processes, Reading};
use linger_wire::{cgroup, procfs};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, getxattr, openat, readlinkat_raw};
use rustix::io::Errno;
use std::ffi::CStr;
use std::hash::BuildHasher;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Inodes of closed sockets that are kept, by the namespace of the processes that keep them.
pub type Closed = HashMap<u64, HashSet<u32>>;

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
    /// Processes that could not be looked at for another reason than permissions, and the last reason.
    failed: Option<(u64, Errno)>,
    /// How /proc hides processes from this reader.
    hidepid: Option<String>,
    hint: &'static str,
    makers: Option<Makers>,
    /// Why what a trace knows cannot be read.
    no_trace: Option<Gap>,
}

/// From a connection's cookie to the number of the process that closed it first.
pub type Closer = Box<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// What a trace knows at a moment: who closed connections whose sockets nobody holds any more, and since when peers wait.
pub struct Traced {
    /// The processes that it has seen, each with the number that `closer` gives.
    pub processes: Vec<(u64, Process)>,
    /// Who closed first.
    pub closer: Closer,
    /// Sockets in CLOSE_WAIT by cookie; the peers of others have closed a moment ago.
    pub waiting: HashMap<u64, PeerClosed>,
    /// Closers that it had no room for.
    pub lost: u64,
    /// What it does not know.
    pub gaps: Vec<Gap>,
}

/// Asks for what a trace knows now; `None` where none runs.
pub type Trace = Arc<dyn Fn() -> Reading<Option<Traced>> + Send + Sync>;

/// A trace, and where the processes that it has seen stand in the table.
struct Makers {
    traced: Traced,
    places: HashMap<u64, ProcessIndex>,
}

impl Owners for HolderTable {
    fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex> {
        if let Some(makers) = self.makers.as_ref().filter(|_| socket.is_minisocket()) {
            return makers.places.get(&(makers.traced.closer)(socket.cookie)?).copied();
        }
        if socket.inode == 0 {
            return None;
        }
        let found = self.find(socket.inode)?;
        found.seen.store(true, Ordering::Relaxed);
        Some(found.process)
    }

    fn makers_lost(&self) -> Option<u64> {
        Some(self.makers.as_ref()?.traced.lost)
    }

    fn peer_closed(&self, socket: &SocketRecord) -> Option<PeerClosed> {
        let makers = self.makers.as_ref()?;
        // /proc/net/tcp tells no cookie.
        let now = PeerClosed { ms: 0, before_trace: false };
        (socket.cookie != 0).then(|| makers.traced.waiting.get(&socket.cookie).copied().unwrap_or(now))
    }
}

impl HolderTable {
    /// Finds processes that a trace has seen, or adds them: they may hold no socket, or have ended.
    fn include(&mut self, traced: Vec<(u64, Process)>) -> HashMap<u64, ProcessIndex> {
        let known: HashMap<(u32, String), ProcessIndex> =
            (0..).zip(&self.processes.list).map(|(at, p)| ((p.pid, p.comm.clone()), at)).collect();
        let list = &mut self.processes.list;
        let place = |(number, process): (u64, Process)| {
            let at = known.get(&(process.pid, process.comm.clone())).copied().unwrap_or_else(|| {
                list.push(process);
                list.len() as ProcessIndex - 1
            });
            (number, at)
        };
        traced.into_iter().map(place).collect()
    }

    /// From now on also says who made minisockets, and since when peers have closed, if a trace runs that knows it.
    pub fn remember(&mut self, trace: Reading<Option<Traced>>) {
        match trace {
            Ok(None) => {}
            Ok(Some(mut traced)) => {
                let places = self.include(std::mem::take(&mut traced.processes));
                self.makers = Some(Makers { traced, places });
            }
            Err(gap) => self.no_trace = Some(gap),
        }
    }

    /// Nobody.
    pub fn empty() -> HolderTable {
        HolderTable {
            inodes: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            processes: Processes::default(),
            left_out: 0,
            failed: None,
            hidepid: None,
            hint: "",
            makers: None,
            no_trace: None,
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
        let privileges = Privileges::own();
        table.hint = privileges.hint();
        table.hidepid = privileges.hidepid();
        table.processes.hidden = table.hidepid.is_some();
        Ok(table)
    }

    fn scan_process(&mut self, proc: &OwnedFd, pid: u32, options: &ScanOptions) {
        let opened = open_dir(proc, pid.to_string()).and_then(|f| Ok((open_dir(&f, c"fd")?, f)));
        let (fds, folder) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.not_read(pid, error),
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
        // Its descriptor may be the last one that the limit leaves.
        drop(fds);
        match denied {
            Some(error) => return self.not_read(pid, error),
            // Kernel threads, and what is ending.
            None if open == 0 => return,
            None => self.processes.seen += 1,
        }
        let fd_limit = options
            .limits
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

    /// Counts a process whose descriptors could not be read; not one that is gone or that has none anyway.
    fn not_read(&mut self, pid: u32, error: Errno) {
        match error {
            Errno::NOENT | Errno::SRCH => return,
            // Who may not look at a process may still see what it is, but for /proc with hidepid=1.
            Errno::ACCESS | Errno::PERM
                if files::text(format!("/proc/{pid}/stat")).is_ok_and(|s| is_bare(&s)) =>
            {
                return;
            }
            Errno::ACCESS | Errno::PERM => {}
            error => self.failed = Some((self.failed.map_or(0, |(n, _)| n) + 1, error)),
        }
        self.processes.seen += 1;
        self.processes.denied += 1;
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
    /// this table for owners. Only processes of the walked namespaces count. `before` has what each namespace's last
    /// walk found; returns what this one did, with an entry for every namespace walked.
    pub fn find_closed(&mut self, walked_netns: &[u64], before: &Closed) -> Closed {
        let mut unlisted = vec![0u32; self.processes.list.len()];
        for holder in self.inodes.iter().filter(|h| !h.seen.load(Ordering::Relaxed)) {
            if let Some(n) = unlisted.get_mut(holder.process as usize) {
                *n += 1;
            }
        }
        let mut closed: Closed = walked_netns.iter().map(|n| (*n, HashSet::new())).collect();
        self.processes.has_past = walked_netns.iter().all(|n| before.contains_key(n));
        for (index, _) in unlisted.iter().enumerate().filter(|(_, n)| **n >= UNLISTED_FROM) {
            let process = &self.processes.list[index];
            let Some((netns, of_netns)) = process.netns.and_then(|n| Some((n, closed.get_mut(&n)?))) else {
                continue;
            };
            let found = self.closed_of(process.pid);
            let lasting =
                before.get(&netns).map_or(0, |before| found.iter().filter(|i| before.contains(*i)).count());
            let process = &mut self.processes.list[index];
            process.closed_tcp = found.len() as u32;
            process.closed_tcp_lasting = lasting as u32;
            of_netns.extend(found);
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

    /// The table for a snapshot; slim without what no trend is read from.
    pub fn into_processes(mut self, slim: bool) -> Processes {
        if slim {
            for process in &mut self.processes.list {
                (process.cgroup, process.container) = (None, None);
            }
            self.processes.list.shrink_to_fit();
        }
        self.processes
    }

    /// What could not be read.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let (failed, error) = self.failed.unwrap_or((0, Errno::MFILE));
        let refused = self.processes.denied.saturating_sub(failed);
        let (seen, denied) = (self.processes.seen, GapKind::Denied);
        if refused > 0 {
            let what = format!("descriptors of {refused} of {seen} processes");
            gaps.push(Gap::new(what, denied, "permission denied", self.hint));
        }
        if failed > 0 {
            let what = format!("descriptors of {failed} of {seen} processes");
            gaps.push(match error {
                Errno::MFILE => Gap::new(what, GapKind::Partial, "too many open files", "raise ulimit -n"),
                Errno::NFILE => Gap::new(what, GapKind::Partial, "too many open files", "raise fs.file-max"),
                error => Gap::new(what, GapKind::Partial, std::io::Error::from(error).to_string(), ""),
            });
        }
        if self.left_out > 0 {
            gaps.push(Gap::new(
                format!("holders of {} sockets", self.left_out),
                GapKind::Partial,
                format!("only the first {MOST_SOCKETS} are remembered"),
                "",
            ));
        }
        if let Some(mode) = &self.hidepid {
            let detail = format!("hidden, /proc is mounted with {mode}");
            gaps.push(Gap::new("other users' processes", denied, detail, self.hint));
        }
        gaps.extend(self.no_trace.iter().chain(self.makers.iter().flat_map(|it| &it.traced.gaps)).cloned());
        gaps
    }
}

/// Whether this process's descriptors may be read; for one that is not there they may.
pub fn may_read_descriptors(pid: u32) -> Reading<()> {
    let refused = match open_dir(CWD, format!("/proc/{pid}/fd")) {
        Ok(fds) => each_fd(&fds, |_, _| {}),
        Err(Errno::NOENT | Errno::SRCH) => None,
        Err(error) => Some(error),
    };
    let what = format!("descriptors of process {pid}");
    match refused {
        None => Ok(()),
        Some(Errno::ACCESS | Errno::PERM) => {
            Err(Gap::new(what, GapKind::Denied, "permission denied", Privileges::own().hint()))
        }
        Some(error) => Err(gap(what, &error.into())),
    }
}

/// How /proc hides other users' processes from this reader, if it does: its mount option.
pub fn hidepid() -> Option<String> {
    Privileges::own().hidepid()
}

/// Whether /proc/PID/stat is that of a kernel thread or of a process that has ended: they have no descriptors.
fn is_bare(stat: &str) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    // The name is in parentheses and may hold anything; the state follows as third field, the flags as ninth.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next(), Some("Z" | "X"));
    ended || fields.nth(5).and_then(|f| f.parse::<u32>().ok()).is_some_and(|flags| flags & PF_KTHREAD != 0)
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Gives each descriptor's name and link. The error, if reading was denied.
fn each_fd(fds: &OwnedFd, mut each: impl FnMut(&CStr, &[u8])) -> Option<Errno> {
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    let mut link = [MaybeUninit::uninit(); 64];
    let mut entries = RawDir::new(fds, &mut buffer);
    while let Some(entry) = entries.next() {
        let Ok(entry) = entry else { return None };
        let name = entry.file_name();
        if !name.to_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        match readlinkat_raw(fds, name, &mut link[..]) {
            Ok((text, _)) => each(name, text),
            Err(error @ (Errno::ACCESS | Errno::PERM)) => return Some(error),
            // Closed meanwhile.
            Err(_) => {}
        }
    }
    None
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
    fn kernel_threads_and_the_dead_have_no_descriptors() {
        assert!(is_bare("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(is_bare("9 (a) b) Z 0 0 0 0 -1 4194560 0 0"));
        assert!(!is_bare("1 (S) (x) S 0 0 0 0 -1 4194560 0 0") && !is_bare("") && !is_bare("1 (x) S"));
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
        let before = first.find_closed(&[own], &Closed::default());
        assert!(mine(&first).0 >= UNLISTED_FROM + 4 && mine(&first).1 == 0);
        let _fresh = sockets();
        let mut second = HolderTable::scan(&only).expect("processes");
        second.find_closed(&[own], &before);
        let (closed, lasting) = mine(&second);
        assert!(closed >= 2 * (UNLISTED_FROM + 4) && lasting < closed && lasting >= UNLISTED_FROM + 4);
    }
}
