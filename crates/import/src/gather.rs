//! The second pass: the sockets of the pieces that are used, into the aggregates.

use crate::Kind;
use crate::command::{ALL, Command};
use crate::others::Setting;
use crate::reader::{Reader, Sink};
use crate::ss::{Entry, User};
use crate::survey::{Found, Piece};
use hashbrown::{HashMap, HashSet};
use linger_model::aggregate::{Gather, Owners, ProcessIndex, SocketSource};
use linger_model::report::ImportedPiece;
use linger_model::snapshot::{
    Conntrack, FileUse, Gap, GapKind, HostSnapshot, Kernel, NetnsId, Process, Processes, Reading, Snapshot,
    not_asked,
};
use linger_model::{Addr, Aggregator, PortRange, SocketRecord, SocketTable, State, report};
use linger_wire::cgroup;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Processes that are named.
const MOST_PROCESSES: usize = 32_768;
/// Inodes by which lsof's lines of one socket are known to be one.
const MOST_INODES: usize = 262_144;

/// What came of it.
#[derive(Debug)]
pub struct Imported {
    /// One moment, as far as it could be told; what is missing is a gap.
    pub snapshot: Snapshot,
    /// What was understood, and what was not.
    pub account: report::Imported,
}

/// Who holds the socket that is being added.
#[derive(Default)]
struct Holder {
    now: Cell<Option<ProcessIndex>>,
    /// Of listening sockets, in the order in which they are given.
    listening: Vec<Option<ProcessIndex>>,
    next: Cell<usize>,
}

impl Owners for Holder {
    fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex> {
        if socket.state != State::Listen {
            return self.now.get();
        }
        let at = self.next.replace(self.next.get() + 1);
        self.listening.get(at).copied().flatten()
    }
}

/// Processes by pid.
#[derive(Default)]
struct Names {
    list: Vec<Process>,
    by_pid: HashMap<u32, ProcessIndex>,
    left_out: u64,
}

impl Names {
    fn index(&mut self, user: User, cgroup_path: &[u8]) -> Option<ProcessIndex> {
        if let Some(index) = self.by_pid.get(&user.pid) {
            return Some(*index);
        }
        if self.list.len() >= MOST_PROCESSES {
            self.left_out += 1;
            return None;
        }
        let path = std::str::from_utf8(cgroup_path).ok().filter(|path| path.len() > 1);
        let index = self.list.len() as ProcessIndex;
        self.list.push(Process {
            pid: user.pid,
            comm: user.name(),
            exe: None,
            cmdline: None,
            cgroup: path.map(str::to_owned),
            container: path.and_then(cgroup::container),
            netns: None,
            fds: 0,
            fd_limit: None,
            sockets: 0,
            closed_tcp: 0,
            closed_tcp_lasting: 0,
        });
        self.by_pid.insert(user.pid, index);
        Some(index)
    }
}

/// The second pass. Feed it the same files in the same order.
pub struct Gathering {
    reader: Reader,
    found: Found,
    range: Reading<PortRange>,
    holder: Holder,
    listening: Vec<SocketRecord>,
    names: Names,
    pass: Pass,
}

/// Sockets wait here until they are added: the aggregator borrows what surrounds it, and adding many at a time costs
/// less than adding each.
#[derive(Default)]
struct Pass {
    piece: usize,
    /// Whether each piece is used, and whether it is lsof's.
    used: Vec<(bool, bool)>,
    counted: HashSet<u32>,
}

impl Gathering {
    pub(crate) fn new(mut found: Found) -> Gathering {
        let range = port_range(&found.sysctls);
        let mut names = Names::default();
        let (mut listening, mut owners) = (Vec::new(), Vec::new());
        let mut inodes: HashSet<u32> = HashSet::new();
        for one in std::mem::take(&mut found.listeners) {
            let Some(piece) = found.pieces.get(one.piece).filter(|p| p.unused.is_none()) else { continue };
            // lsof has a line for each process that shares a listener.
            if piece.kind == Kind::Lsof && !inodes.insert(one.record.inode) {
                continue;
            }
            let user = one.user.or_else(|| holder_of(&found, &one.record));
            owners.push(user.and_then(|user| names.index(user, b"")));
            listening.push(one.record);
        }
        let used = found.pieces.iter().map(|p| (is_used(p), p.kind == Kind::Lsof)).collect();
        Gathering {
            reader: Reader::new(),
            range,
            holder: Holder { listening: owners, ..Holder::default() },
            listening,
            names,
            pass: Pass { piece: 0, used, counted: HashSet::new() },
            found,
        }
    }

    /// Whether there are sockets to stream: else the second pass can be left out.
    pub fn wants_sockets(&self) -> bool {
        self.found.used().next().is_some()
    }

    /// Streams the sockets: `files` is given a function that takes a file's name and, after it, its bytes, and calls it
    /// for the same files in the same order as in the survey; [`Feed::End`] ends each.
    ///
    /// `from` names all of it, `taken_at_us` is when it was written (microseconds since 1970).
    ///
    /// # Errors
    /// What `files` gives.
    pub fn run<E>(
        self,
        from: &str,
        taken_at_us: i64,
        files: impl FnOnce(&mut dyn FnMut(Feed<'_>)) -> Result<(), E>,
    ) -> Result<Imported, E> {
        let Gathering { mut reader, found, range, holder, listening, mut names, mut pass } = self;
        let wanted = found.used().next().is_some();
        let shown = found.shown();
        let default = PortRange::default();
        let known = range.as_ref().unwrap_or(&default);
        let mut sums =
            Aggregator::of_shown(SocketSource::Import, shown, Gather::CHECK, known, &listening, &holder);
        (sums.idle_ms, sums.stuck_ms) = (found.options.idle_ms, found.options.stuck_ms);
        let number = |key: &str| found.sysctls.get(key)?.as_ref().ok()?.trim().parse::<u32>().ok();
        if let Some(milliseconds) = number("net.ipv4.tcp_tw_reuse_delay") {
            sums.reuse_delay_ms = milliseconds;
        }
        if let Some(seconds) = number("net.ipv4.tcp_tw_timeout") {
            sums.time_wait_ms = seconds.saturating_mul(1000);
        }
        {
            let mut taker =
                Taker { pass: &mut pass, names: &mut names, holder: &holder, sums: &mut sums, found: &found };
            if wanted {
                let mut file = 0;
                files(&mut |feed| match feed {
                    Feed::Begin(name) => {
                        reader.begin(name);
                        // Also where a file reads otherwise than before: the next one's pieces stay its own.
                        taker.pass.piece = taker.found.pieces.partition_point(|p| p.file < file);
                        file += 1;
                    }
                    Feed::Bytes(bytes) => reader.feed(bytes, &mut taker),
                    Feed::End => reader.end(&mut taker),
                })?;
            }
        }
        let mut table = sums.finish();
        table.walked_time_wait = true;
        Ok(put_together(found, table, names, range, from, taken_at_us))
    }
}

/// One step of [`Gathering::run`].
pub enum Feed<'a> {
    /// A file begins.
    Begin(&'a str),
    /// Some of its bytes.
    Bytes(&'a [u8]),
    /// It ends.
    End,
}

fn is_used(piece: &Piece) -> bool {
    piece.is_table() && piece.unused.is_none()
}

fn holder_of(found: &Found, r: &SocketRecord) -> Option<User> {
    if found.holders.is_empty() {
        return None;
    }
    let get = |src: Addr| found.holders.get(&(src, r.sport, r.dst, r.dport)).copied();
    // lsof writes `*` for every wildcard.
    let other = if r.src == Addr::UNSPECIFIED { Addr::v4([0; 4]) } else { Addr::UNSPECIFIED };
    get(r.src).or_else(|| if r.src.is_unspecified() { get(other) } else { None })
}

struct Taker<'a, 'b> {
    pass: &'a mut Pass,
    names: &'a mut Names,
    holder: &'a Holder,
    sums: &'a mut Aggregator<'b>,
    found: &'a Found,
}

impl Sink for Taker<'_, '_> {
    fn piece(&mut self, _: Kind, _: u64, _: Option<Command>) {
        self.pass.piece += 1;
    }

    #[inline]
    fn socket(&mut self, entry: &Entry) {
        let number = self.pass.piece.wrapping_sub(1);
        let Some((true, lsof)) = self.pass.used.get(number).copied() else { return };
        let record = &entry.record;
        if lsof {
            let full = self.pass.counted.len() >= MOST_INODES;
            if full || !self.pass.counted.insert(record.inode) {
                return;
            }
        }
        let user = entry.user.or_else(|| holder_of(self.found, record));
        let process = user.and_then(|user| self.names.index(user, &entry.cgroup));
        self.holder.now.set(process);
        self.sums.add(record);
    }

    fn other(&mut self) {}
    fn counter(&mut self, _: &str, _: u64) {}
    fn setting(&mut self, _: Setting<'_>) {}
    fn conntrack_sum(&mut self, _: &str, _: u64) {}
    fn conntrack_flow(&mut self) {}
    fn conntrack_total(&mut self, _: u64) {}
    fn kernel(&mut self, _: String) {}
    fn summary(&mut self, _: u64, _: Option<u64>) {}
    fn sockstat(&mut self, _: &str) {}
    fn lost(&mut self) {}
    fn up_to(&mut self, _: u64) {}
    fn skip(&mut self, _: u64, _: &[u8], _: &'static str) {}
}

fn port_range(sysctls: &BTreeMap<String, Reading<String>>) -> Reading<PortRange> {
    const RANGE: &str = "net.ipv4.ip_local_port_range";
    let text = match sysctls.get(RANGE) {
        Some(Ok(text)) => text,
        Some(Err(gap)) => return Err(gap.clone()),
        None => return not_asked(RANGE),
    };
    let reserved = sysctls.get("net.ipv4.ip_local_reserved_ports").and_then(|r| r.as_ref().ok());
    PortRange::parse(text, reserved.map_or("", String::as_str))
        .map_err(|e| Gap::new("local port range", GapKind::Malformed, e, ""))
}

fn missing(what: &str, hint: &str) -> Gap {
    Gap::new(what, GapKind::NotAsked, "it is not in what was imported", hint)
}

fn put_together(
    found: Found,
    mut table: SocketTable,
    names: Names,
    range: Reading<PortRange>,
    from: &str,
    taken_at_us: i64,
) -> Imported {
    let mut gaps = Vec::new();
    let listed = found.used().fold(0, |sum, p| sum | p.states());
    let any = found.used().next().is_some();
    // A table whose heading is there lists no sockets; without any table nothing is known.
    let empty =
        found.pieces.iter().any(|p| p.kind.lists_sockets() && p.sockets == 0 && p.kind.refusal().is_none());
    let lost = found.lost() > 0;
    for state in State::ALL {
        // Of a state that none was read of, all may be among those that could not be.
        if (lost || listed & state.bit() == 0) && table.states.count(state) == 0 {
            table.states.set_unlisted(state);
        }
    }
    table.listeners_left_out = table.listeners_left_out.saturating_add(found.listeners_left_out);
    let sockets = match (any, found.summary) {
        (true, _) => {
            gaps.extend(not_shown(&found, listed));
            Ok(table)
        }
        (false, Some((_, Some(time_wait)))) => {
            table.states.set(State::TimeWait, time_wait);
            table.walked_time_wait = false;
            table.shown.complete = false;
            gaps.push(Gap::new(
                "sockets in TIME_WAIT",
                GapKind::Partial,
                "`ss -s` counts among them those in FIN_WAIT2 that no process holds",
                "import `ss -tan`",
            ));
            Ok(table)
        }
        (false, _) => {
            let what = if empty { "the tables in it are empty" } else { "no table of sockets is in it" };
            Err(Gap::new(
                "sockets",
                GapKind::NotAsked,
                what,
                "import `ss -tanpoemi`, or /proc/net/tcp and tcp6",
            ))
        }
    };
    if any && let Err(gap) = range {
        gaps.push(Gap { hint: "import `sysctl -a`, too".to_owned(), ..gap });
    }
    if names.left_out > 0 {
        let detail = format!("more than {MOST_PROCESSES} are named");
        gaps.push(Gap::new("some processes", GapKind::Partial, detail, ""));
    }
    let users = found.used().any(|p| p.shown().users) || !found.holders.is_empty();
    let seen = names.list.len() as u64;
    let processes = if users {
        // Whether what ss ran as could see every process is not known.
        Ok(Processes { list: names.list, seen, denied: 0, hidden: false, has_past: false })
    } else {
        Err(missing("the sockets' processes", "run ss with -p, as root"))
    };
    let number = |key: &str| found.sysctls.get(key)?.as_ref().ok()?.trim().parse::<u64>().ok();
    let count = number("net.netfilter.nf_conntrack_count").or(found.conntrack_flows);
    let max = number("net.netfilter.nf_conntrack_max").or_else(|| number("net.nf_conntrack_max"));
    let sums = Some(found.conntrack_sums).filter(|sums| !sums.is_empty());
    let conntrack = match (count, max) {
        (Some(count), Some(max)) => Ok(Some(Conntrack { count, max, stats: sums })),
        (None, _) => Err(missing("connection tracking's count", "import `sysctl -a` or `conntrack -L`")),
        (_, None) => Err(missing("connection tracking's limit", "import `sysctl -a`")),
    };
    let mut counters = found.counters;
    if let (Some((established, _)), true) = (found.summary, counters.is_empty()) {
        // It is all that `ss -s` tells of them, and no reading of the counters.
        gaps.push(Gap::new(
            "the kernel's counters",
            GapKind::Partial,
            format!("of them `ss -s` has one: {established} connections established"),
            "import `nstat -az`",
        ));
    }
    let counters = if counters.is_empty() {
        Err(missing("the kernel's counters", "import `nstat -az`, or /proc/net/snmp and netstat"))
    } else {
        counters.retain(|_, _| true);
        Ok(counters)
    };
    let sysctls =
        found.sysctls.into_iter().filter(|(key, _)| found.options.sysctls.contains(&key.as_str())).collect();
    let host = HostSnapshot {
        kernel: Kernel::new(found.kernel.unwrap_or_else(|| "unknown".to_owned())),
        processes,
        files: found
            .files_open
            .map(|(open, max)| FileUse { open, max })
            .ok_or_else(|| missing("descriptors of the host", "import /proc/sys/fs/file-nr")),
        softnet: found.softnet.ok_or_else(|| missing("/proc/net/softnet_stat", "import it")),
        cgroup_memory: Err(missing("socket memory of cgroups", "")),
        sysctls: BTreeMap::new(),
        page_size: 4096,
    };
    let snapshot = Snapshot {
        taken_at_us,
        monotonic_us: 0,
        netns: NetnsId { inode: 0, name: Some(from.to_owned()), is_init: None },
        host: Arc::new(host),
        sockets,
        sockstat: found.sockstat.ok_or_else(|| missing("/proc/net/sockstat", "import it")),
        counters,
        sysctls,
        conntrack,
        gaps,
    };
    let file = |at: usize| found.files.get(at).cloned().unwrap_or_default();
    let small = (found.small_files > 0).then(|| ImportedPiece {
        file: "proc".to_owned(),
        what: match found.small_files {
            1 => "one small file of /proc".to_owned(),
            n => format!("{n} small files of /proc"),
        },
        first_line: 0,
        last_line: 0,
        sockets: 0,
        unused: String::new(),
    });
    let pieces = found
        .pieces
        .iter()
        .map(|p| ImportedPiece {
            file: file(p.file),
            what: p.kind.name().to_owned(),
            first_line: p.first,
            last_line: p.last,
            sockets: p.sockets,
            unused: p.unused.clone().unwrap_or_default(),
        })
        .chain(small)
        .collect();
    let mut skipped = found.skipped;
    if found.skipped_more > 0 {
        skipped.push(report::ImportSkipped {
            file: String::new(),
            line: 0,
            text: String::new(),
            reason: "further lines that are not told of one by one".to_owned(),
            lines: found.skipped_more,
        });
    }
    let missing = to_add(&snapshot);
    Imported {
        snapshot,
        account: report::Imported { from: from.to_owned(), pieces, skipped, missing, hidden: None },
    }
}

/// Commands whose output answers what is open; each only where it tells something new.
fn to_add(snapshot: &Snapshot) -> Vec<String> {
    let table = snapshot.sockets.as_ref().ok();
    let shown = table.map(|t| t.shown);
    let all_shown = shown.is_some_and(|s| s.complete && s.timers && s.tcp_info && s.inodes && s.queues);
    let range = snapshot.sysctl("net.ipv4.ip_local_port_range");
    let open = [
        (!all_shown || snapshot.host.processes.is_err(), "sudo ss -tanpoemi"),
        (snapshot.counters.is_err(), "nstat -az"),
        (range.is_err(), "sysctl net"),
        (snapshot.sockstat.is_err(), "cat /proc/net/sockstat"),
        (snapshot.host.kernel.release == "unknown", "uname -a"),
    ];
    open.into_iter().filter(|(is_open, _)| *is_open).map(|(_, command)| command.to_owned()).collect()
}

/// What the sockets' pieces leave out, as gaps.
fn not_shown(found: &Found, listed: u32) -> Vec<Gap> {
    let shown = found.shown();
    let gap = |what: &str, hint: &str| missing(what, hint);
    let mut gaps = Vec::new();
    let absent: Vec<&str> = State::ALL
        .into_iter()
        .filter(|s| s.bit() & ALL & !listed & !State::BoundInactive.bit() != 0)
        .map(State::display)
        .collect();
    if !absent.is_empty() {
        gaps.push(gap(&format!("sockets in {}", absent.join(", ")), "run ss with -a"));
    }
    if found.used().any(Piece::filtered) {
        gaps.push(gap("sockets beyond the filter of the command", "run ss -tan without a filter"));
    }
    if !found.both_families() {
        gaps.push(gap("the sockets of the other address family", "import both /proc/net/tcp and tcp6"));
    }
    let lost = found.lost();
    if lost > 0 {
        let what = if lost == 1 { "a socket".to_owned() } else { format!("{lost} sockets") };
        let hint = "what was skipped says why";
        gaps.push(Gap::new(
            what,
            GapKind::Partial,
            "what was imported has lines of them that cannot be read",
            hint,
        ));
    }
    if !shown.timers {
        gaps.push(gap("timers and retransmissions", "run ss with -o"));
    }
    if !shown.tcp_info {
        gaps.push(gap("tcp_info: times, round trips, retransmitted segments", "run ss with -i"));
    } else if !shown.timestamps {
        gaps.push(gap("whether connections carry timestamps", "run ss with -o beside -i"));
    }
    if !shown.inodes {
        gaps.push(gap("whether a process holds a socket (its inode)", "run ss with -e"));
    }
    if !shown.queues {
        gaps.push(gap("queues", "import `ss -tan`"));
    }
    if !shown.limits {
        gaps.push(gap("the limits of accept queues", "import `ss -tln`"));
    }
    gaps
}
