//! Windows for the rules' tests: sockets go through the real aggregator, only their source is made up.

use crate::{Config, Outcome, Rule};
use linger_model::aggregate::{Aggregator, Gather, Owners, PortRange, ProcessIndex, SocketSource};
use linger_model::record::{Addr, TcpInfo, Timer, TimerKind};
use linger_model::report::{Evidence, Finding, RemedyKind};
use linger_model::snapshot::{
    Conntrack, Counters, FileUse, Gap, GapKind, HostSnapshot, Kernel, NetnsId, Process, Processes, Snapshot,
    Sockstat, Softnet,
};
use linger_model::{SocketRecord, State, Window};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// An address from text.
pub fn ip(text: &str) -> Addr {
    text.parse::<IpAddr>().expect("an address").into()
}

/// Owners by inode: a socket with inode `1000 + n` belongs to process `n`.
struct ByInode;

impl Owners for ByInode {
    fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex> {
        socket.inode.checked_sub(1000)
    }
}

type HostChange = Box<dyn Fn(&mut HostSnapshot)>;

/// One moment to be; healthy and idle on 6.18 until told otherwise.
pub struct Moment {
    /// Seconds since the first moment.
    pub at_s: f64,
    pub sockets: Vec<SocketRecord>,
    pub counters: Counters,
    pub sysctls: BTreeMap<String, String>,
    pub processes: Vec<Process>,
    pub sockstat: Sockstat,
    pub conntrack: Option<Conntrack>,
    pub files: FileUse,
    pub softnet: Softnet,
    pub host: Option<HostChange>,
    pub kernel: &'static str,
    /// Set for "could not be read".
    pub no_sockets: bool,
    pub no_counters: bool,
}

/// A moment at a time, idle.
pub fn moment(at_s: f64) -> Moment {
    let sysctls = [
        ("net.core.somaxconn", "4096"),
        ("net.ipv4.ip_local_port_range", "32768\t60999"),
        ("net.ipv4.ip_local_reserved_ports", ""),
        ("net.ipv4.tcp_abort_on_overflow", "0"),
        ("net.ipv4.tcp_fin_timeout", "60"),
        ("net.ipv4.tcp_keepalive_time", "7200"),
        ("net.ipv4.tcp_max_orphans", "131072"),
        ("net.ipv4.tcp_max_syn_backlog", "2048"),
        ("net.ipv4.tcp_max_tw_buckets", "131072"),
        ("net.ipv4.tcp_mem", "281250\t375003\t562500"),
        ("net.ipv4.tcp_syncookies", "1"),
        ("net.ipv4.tcp_timestamps", "1"),
        ("net.ipv4.tcp_tw_reuse", "2"),
        ("net.ipv4.tcp_tw_reuse_delay", "1000"),
    ];
    // Every counter that the rules use exists and stands at 1000.
    let counters = linger_facts::DECIDING.iter().map(|name| ((*name).to_owned(), 1000)).collect();
    Moment {
        at_s,
        sockets: Vec::new(),
        counters,
        sysctls: sysctls.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        processes: Vec::new(),
        sockstat: Sockstat::default(),
        conntrack: None,
        files: FileUse { open: 1000, max: 1_000_000 },
        softnet: Softnet::default(),
        host: None,
        kernel: "6.18.44",
        no_sockets: false,
        no_counters: false,
    }
}

impl Moment {
    pub fn sysctl(mut self, key: &str, value: &str) -> Moment {
        self.sysctls.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn without_sysctl(mut self, key: &str) -> Moment {
        self.sysctls.remove(key);
        self
    }

    /// Moves a counter above its start.
    pub fn counter(mut self, name: &str, by: u64) -> Moment {
        *self.counters.entry(name.to_owned()).or_insert(1000) += by;
        self
    }

    pub fn socket(mut self, socket: SocketRecord) -> Moment {
        self.sockets.push(socket);
        self
    }

    pub fn sockets(mut self, sockets: impl IntoIterator<Item = SocketRecord>) -> Moment {
        self.sockets.extend(sockets);
        self
    }

    /// Adds a process; its sockets are those with inode `1000 + n`, n counting from 0 in order of calls.
    pub fn process(self, pid: u32, comm: &str) -> Moment {
        self.process_with(pid, comm, |_| ())
    }

    pub fn process_with(mut self, pid: u32, comm: &str, change: impl FnOnce(&mut Process)) -> Moment {
        let mut process = Process {
            pid,
            comm: comm.to_owned(),
            exe: Some(comm.to_owned()),
            cmdline: None,
            cgroup: None,
            container: None,
            netns: Some(1),
            fds: 10,
            fd_limit: Some(1024),
            sockets: 0,
            closed_tcp: 0,
            closed_tcp_lasting: 0,
        };
        change(&mut process);
        self.processes.push(process);
        self
    }

    pub fn change_host(mut self, change: impl Fn(&mut HostSnapshot) + 'static) -> Moment {
        self.host = Some(Box::new(change));
        self
    }

    /// As it would be read.
    pub fn snapshot(self) -> Snapshot {
        let range = match self.sysctls.get("net.ipv4.ip_local_port_range") {
            Some(text) => {
                let ports: Vec<u16> = text.split_whitespace().map(|p| p.parse().expect("a port")).collect();
                PortRange { low: ports[0], high: ports[1], reserved: Vec::new() }
            }
            None => PortRange::default(),
        };
        let (listening, rest): (Vec<_>, Vec<_>) =
            self.sockets.into_iter().partition(|s| s.state == State::Listen);
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &listening, &ByInode);
        rest.iter().for_each(|s| sums.add(s));
        let gone =
            |what: &str| Gap::new(what, GapKind::Denied, "Permission denied (os error 13)", "run as root");
        let mut host = HostSnapshot {
            kernel: Kernel::new(self.kernel),
            processes: Ok(Processes {
                seen: self.processes.len() as u64,
                list: self.processes,
                has_past: true,
                ..Processes::default()
            }),
            files: Ok(self.files),
            softnet: Ok(self.softnet),
            cgroup_memory: Ok(Vec::new()),
            sysctls: BTreeMap::new(),
            page_size: 4096,
        };
        if let Some(change) = self.host {
            change(&mut host);
        }
        Snapshot {
            taken_at_us: 1_700_000_000_000_000 + (self.at_s * 1e6) as i64,
            monotonic_us: (self.at_s * 1e6) as u64,
            netns: NetnsId { inode: 1, name: None, is_init: Some(true) },
            host: Arc::new(host),
            sockets: if self.no_sockets { Err(gone("sockets")) } else { Ok(sums.finish()) },
            sockstat: Ok(self.sockstat),
            counters: if self.no_counters { Err(gone("counters")) } else { Ok(self.counters) },
            sysctls: self.sysctls.into_iter().map(|(k, v)| (k, Ok(v))).collect(),
            conntrack: Ok(self.conntrack),
            gaps: Vec::new(),
        }
    }
}

/// The moments as a window.
pub fn window(moments: impl IntoIterator<Item = Moment>) -> Window {
    Window::new(moments.into_iter().map(Moment::snapshot).collect()).expect("a moment")
}

/// Runs one rule over a window, with every threshold at its default.
pub fn run_in(rule: &'static Rule, window: &Window) -> Outcome {
    crate::evaluate::judge(rule, window, &Config::default())
}

/// Runs one rule over the moments, with every threshold at its default.
pub fn run(rule: &'static Rule, moments: impl IntoIterator<Item = Moment>) -> Outcome {
    run_changed(rule, moments, |_| ())
}

/// The same after a change to the newest snapshot, for readings that a [`Moment`] cannot make.
pub fn run_changed(
    rule: &'static Rule,
    moments: impl IntoIterator<Item = Moment>,
    change: impl FnOnce(&mut Snapshot),
) -> Outcome {
    let mut snapshots: Vec<Snapshot> = moments.into_iter().map(Moment::snapshot).collect();
    change(snapshots.last_mut().expect("a moment"));
    let window = Window::new(snapshots).expect("a moment");
    let outcome = crate::evaluate::judge(rule, &window, &Config::default());
    if let Outcome::Fired(findings) = &outcome {
        assert!((1..=5).contains(&findings.len()), "{} findings", findings.len());
        findings.iter().for_each(reads_well);
    }
    outcome
}

/// What holds of every finding of every rule: it can be read and acted on at 3 a.m.
fn reads_well(finding: &Finding) {
    let remedies = |kind| finding.remedies.iter().filter(|r| r.kind == kind).count();
    assert!(remedies(RemedyKind::Application) <= 3, "more than three steps: {finding:#?}");
    assert!(finding.remedies.len() <= 6, "more than six remedies: {finding:#?}");
    assert!(finding.remedies.is_sorted_by_key(|r| r.kind), "out of order: {finding:#?}");
    assert!(finding.summary.contains(|c: char| c.is_ascii_digit()), "no figure: {}", finding.summary);
    assert!(!finding.summary.ends_with('.'), "a summary ends without a stop: {}", finding.summary);
    assert!(!finding.subject.is_empty() && finding.why.ends_with('.'), "{finding:#?}");
    assert!(!finding.evidence.is_empty(), "{finding:#?}");
    for evidence in &finding.evidence {
        let bare = evidence.unit.is_empty() && !evidence.source.starts_with("sysctl ");
        assert!(!bare && !evidence.source.is_empty(), "only settings have no unit: {evidence:?}");
        assert!(!evidence.what.is_empty() && evidence.value.is_finite(), "{evidence:?}");
    }
    let json = serde_json::to_string(finding).expect("a finding serializes");
    let back: Finding = serde_json::from_str(&json).expect("a finding loads");
    assert_eq!(Finding { process: finding.process, covers: finding.covers.clone(), ..back }, *finding);
    let mut texts: Vec<&str> = finding.remedies.iter().map(|r| r.text.as_str()).collect();
    for text in texts.iter().chain([&finding.summary.as_str(), &finding.why.as_str()]) {
        assert!(!text.contains("  ") && !text.contains('\n'), "{text:?}");
    }
    texts.iter().for_each(|text| assert!(text.ends_with(['.', ')']), "{text:?}"));
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), finding.remedies.len(), "the same remedy twice: {finding:#?}");
}

/// The outcome as a golden text: everything that a user would be shown.
pub fn show(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Fired(findings) => findings.iter().map(show_finding).collect::<Vec<_>>().join("\n"),
        Outcome::Clear(why) => format!("clear: {why}"),
        Outcome::NotApplicable(why) => format!("not applicable: {why}"),
        Outcome::Unknown(gap) => format!("unknown: {gap}"),
    }
}

fn show_finding(f: &Finding) -> String {
    let mut out = format!("{} {} ({}, confidence {:?})\n", f.code, f.name, f.severity, f.confidence);
    out += &format!("what: {}\nwho: {}\nwhy: {}\nevidence:\n", f.summary, f.subject, f.why);
    for Evidence { what, value, unit, source } in &f.evidence {
        out += &format!("  {what}: {value}{}{unit}  [{source}]\n", if unit.is_empty() { "" } else { " " });
    }
    for (kind, remedies) in [
        ("application", RemedyKind::Application),
        ("architecture", RemedyKind::Architecture),
        ("kernel", RemedyKind::Kernel),
    ] {
        for remedy in f.remedies.iter().filter(|r| r.kind == remedies) {
            let sysctl = remedy.sysctl.as_ref().map_or(String::new(), |s| format!("{s}: "));
            out += &format!("{kind} ({:?}): {sysctl}{}\n", remedy.applicability, remedy.text);
        }
    }
    out
}

/// Runs the file's rule and compares with the golden text under `snapshots/`. `INSTA_UPDATE=always` writes it anew:
/// read the difference before you commit it.
macro_rules! golden {
    ($moments:expr) => {
        insta::assert_snapshot!($crate::testing::show(&$crate::testing::run(&super::RULE, $moments)))
    };
}
pub(crate) use golden;

/// `n` sockets of one kind towards one peer, with ports counted up from `first_port`.
pub fn many(n: u16, state: State, src: &str, first_port: u16, dst: &str, dport: u16) -> Vec<SocketRecord> {
    (0..n).map(|i| SocketRecord::new(state, ip(src), first_port + i, ip(dst), dport)).collect()
}

/// Gives TIME_WAIT (or FIN_WAIT2 minisocket) records their remaining times, spread evenly over `from..to` ms.
pub fn expiring(mut sockets: Vec<SocketRecord>, from_ms: u32, to_ms: u32) -> Vec<SocketRecord> {
    let n = sockets.len().max(1) as u64;
    for (i, socket) in sockets.iter_mut().enumerate() {
        let expires_ms = from_ms + (u64::from(to_ms - from_ms) * i as u64 / n) as u32;
        socket.timer = Some(Timer { kind: TimerKind::TimeWait, expires_ms });
    }
    sockets
}

/// Says that process `n` holds these sockets.
pub fn held_by(mut sockets: Vec<SocketRecord>, process: u32) -> Vec<SocketRecord> {
    sockets.iter_mut().for_each(|s| s.inode = 1000 + process);
    sockets
}

/// Gives sockets a tcp_info.
pub fn with_info(mut sockets: Vec<SocketRecord>, change: impl Fn(&mut TcpInfo)) -> Vec<SocketRecord> {
    for socket in &mut sockets {
        let mut info = TcpInfo { options: 1, segs_out: Some(100), ..TcpInfo::default() };
        change(&mut info);
        socket.info = Some(info);
    }
    sockets
}

/// A listening socket with its queue and limit, held by process 0.
pub fn listener(addr: &str, port: u16, queue: u32, limit: u32, drops: u32) -> SocketRecord {
    let mut socket = SocketRecord::new(State::Listen, ip(addr), port, Addr::UNSPECIFIED, 0);
    (socket.inode, socket.cookie, socket.rqueue, socket.wqueue) = (1000, u64::from(port), queue, limit);
    socket.skmem = Some(linger_model::record::SkMem { drops: Some(drops), ..Default::default() });
    socket
}
