//! `linger states`

use super::show;
use crate::cli::{Format, GroupBy, StatesArgs};
use crate::diagnose::timestamp;
use crate::filters::{self, Wanted};
use crate::group::{Counted, Grouper};
use crate::render::states::{GroupRow, counts, groups};
use crate::render::style::{Style, Tone};
use crate::targets;
use anyhow::Context;
use hashbrown::HashSet;
use linger_collect::{
    HolderTable, ScanOptions, Walk, WalkEnd, WalkError, cgroup_paths_by_id, sockstat, walk, walk_proc,
};
use linger_model::report::ReportNetns;
use linger_model::snapshot::Kernel;
use linger_model::{Groups, SocketRecord, State, StateCounts};
use linger_netns::{Netns, run_in};
use linger_rules::{counted, thousands};
use linger_wire::sock_diag::Extensions;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::Write;
use std::time::SystemTime;

/// Sockets per state, and per group.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StatesReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The namespaces counted.
    pub netns: Vec<ReportNetns>,
    /// When, RFC 3339 in UTC.
    pub taken_at: String,
    /// Sockets per state, of all namespaces together.
    pub states: StateCounts,
    /// What was grouped by, and the largest groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupsReport>,
    /// What could not be read, and how to get it.
    pub unknown: Vec<String>,
}

/// The largest groups.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GroupsReport {
    /// What was grouped by.
    pub by: String,
    /// Groups held.
    pub distinct: u64,
    /// Whether every group was held and every count is exact.
    pub exact: bool,
    /// By how many sockets a count may be too high, and what a group that is not shown can have at the most.
    pub error_bound: u64,
    /// The largest, with `count` sockets each.
    pub groups: Vec<GroupReport>,
    /// Sockets in the groups not shown.
    pub other_sockets: u64,
}

/// One group.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GroupReport {
    /// What its sockets share.
    pub group: String,
    /// Sockets.
    pub count: u64,
    /// By how much `count` may be too high.
    pub error: u64,
    /// Sockets per state.
    pub states: StateCounts,
}

/// Counts, prints, and again with `--watch`.
pub fn run(args: &StatesArgs, style: &Style) -> anyhow::Result<u8> {
    let wanted = filters::read(&args.filter)?;
    let targets = targets::open(&args.netns)?;
    let mut before = None;
    loop {
        let mut report = count(args, &wanted, &targets.namespaces)?;
        report.unknown.extend(targets.gaps.iter().cloned());
        match (args.watch, args.format) {
            // One report a line, for a program that reads as they come.
            (Some(_), Format::Json) => {
                let mut out = std::io::stdout().lock();
                serde_json::to_writer(&mut out, &report).map_err(std::io::Error::from)?;
                writeln!(out)?;
                out.flush()?;
            }
            (watch, format) => {
                if watch.is_some() && style.terminal {
                    write!(std::io::stdout(), "\x1b[H\x1b[2J")?;
                }
                show(format, &report, |r| text(r, before.as_ref(), &wanted, args, style))?;
            }
        }
        let Some(pause) = args.watch else { return Ok(0) };
        std::io::stdout().flush()?;
        before = Some(report.states);
        std::thread::sleep(pause);
    }
}

fn count(args: &StatesArgs, wanted: &Wanted, namespaces: &[Netns]) -> anyhow::Result<StatesReport> {
    let kernel = Kernel::new(rustix::system::uname().release().to_string_lossy());
    let mut unknown = Vec::new();
    let by_holder = matches!(args.by, Some(GroupBy::Process | GroupBy::Container));
    let holders = if by_holder || wanted.pid.is_some() {
        let options = ScanOptions {
            cgroups: args.by == Some(GroupBy::Container),
            limits: false,
            only_pid: if by_holder { None } else { wanted.pid },
        };
        let mut holders = HolderTable::scan(&options).map_err(|gap| anyhow::anyhow!("{gap}"))?;
        if by_holder {
            holders.remember(super::trace::daemon::running());
        }
        // Owners are shown in groupings by them alone; of one process, the filter has made sure.
        if by_holder {
            unknown.extend(holders.gaps().iter().map(ToString::to_string));
        }
        holders
    } else {
        HolderTable::empty()
    };
    let only = wanted.pid.map(|pid| holders.inodes_of(pid));
    let cgroups = if matches!(args.by, Some(GroupBy::Cgroup | GroupBy::Container)) {
        cgroup_paths_by_id()
    } else {
        Default::default()
    };
    let mut grouper =
        args.by.map(|by| Grouper::new(by, &holders, cgroups, namespaces.iter().map(Netns::label).collect()));
    let mut pass = Pass {
        kernel: &kernel,
        wanted,
        only: only.as_ref(),
        groups: Groups::default(),
        states: StateCounts::default(),
        unknown: Vec::new(),
    };
    for (number, ns) in namespaces.iter().enumerate() {
        if let Some(grouper) = &mut grouper {
            grouper.netns = number as u64;
        }
        let grouper = grouper.as_mut();
        run_in(ns, || pass.namespace(args.by, grouper))
            .map_err(anyhow::Error::from)
            .flatten()
            .with_context(|| format!("network namespace {}", ns.label()))?;
    }
    unknown.append(&mut pass.unknown);
    Ok(StatesReport {
        schema: 1,
        kernel: kernel.release.clone(),
        netns: namespaces
            .iter()
            .map(|ns| ReportNetns {
                inode: ns.inode(),
                name: ns.name().map(str::to_owned),
                is_init: ns.is_init(),
            })
            .collect(),
        taken_at: timestamp(now_us()),
        states: pass.states,
        groups: grouper.map(|g| groups_report(args, &g, &pass.groups)),
        unknown,
    })
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

struct Pass<'a> {
    kernel: &'a Kernel,
    wanted: &'a Wanted,
    only: Option<&'a HashSet<u32>>,
    groups: Counted,
    states: StateCounts,
    unknown: Vec<String>,
}

impl Pass<'_> {
    /// Counts the calling thread's namespace.
    fn namespace(&mut self, by: Option<GroupBy>, grouper: Option<&mut Grouper<'_>>) -> anyhow::Result<()> {
        let mut grouper = grouper;
        if let (Some(GroupBy::Listener), Some(grouper)) = (by, grouper.as_deref_mut()) {
            let mut listening: Vec<SocketRecord> = Vec::new();
            let walk = Walk { states: State::Listen.bit(), extensions: Extensions::NONE, filter: None };
            either(&walk, |s| listening.push(s.clone()))?;
            grouper.listening(&listening);
        }
        let filtered = self.wanted.is_filtered();
        // sockstat has the number of TIME_WAIT sockets already (the host's before 4.15); walking them costs most.
        let from_sockstat = !filtered
            && by.is_none()
            && self.wanted.states & State::TimeWait.bit() != 0
            && self.kernel.at_least(4, 15);
        let mut states = self.wanted.states;
        if from_sockstat {
            // FIN_WAIT2's minisockets are in sockstat's number, so they have to be walked to be taken off.
            states = states & !State::TimeWait.bit() | State::FinWait2.bit();
        }
        let walk = Walk { states, extensions: Extensions::NONE, filter: self.wanted.filter.as_ref() };
        let mut counts = StateCounts::default();
        let mut fin_wait2_mini = 0u64;
        let only = self.only;
        let groups = &mut self.groups;
        let grouping = grouper.as_deref();
        let (end, by_proc) = either(&walk, |socket| {
            if only.is_some_and(|inodes| socket.inode == 0 || !inodes.contains(&socket.inode)) {
                return;
            }
            if socket.state == State::FinWait2 {
                fin_wait2_mini += u64::from(socket.is_minisocket());
            }
            counts.add(socket.state);
            if let Some(grouper) = grouping {
                groups.add(grouper.key(socket))[socket.state as usize] += 1;
            }
        })?;
        if from_sockstat {
            let time_wait = sockstat()
                .map(|s| s.tw.saturating_sub(fin_wait2_mini))
                .map_err(|gap| anyhow::anyhow!("the number of TIME_WAIT sockets: {gap}"))?;
            counts.set(State::TimeWait, time_wait);
            if self.wanted.states & State::FinWait2.bit() == 0 {
                counts.set(State::FinWait2, 0);
            }
        }
        let listed = !by_proc && (counts.count(State::BoundInactive) > 0 || self.kernel.at_least(6, 8));
        if !listed {
            counts.set_unlisted(State::BoundInactive);
        }
        self.say(end, by_proc);
        self.states.merge(&counts);
        Ok(())
    }

    fn say(&mut self, end: WalkEnd, by_proc: bool) {
        if by_proc {
            self.unknown.push(
                "sock_diag cannot list TCP sockets here: /proc/net/tcp was read, which lacks bound sockets (modprobe tcp_diag)"
                    .to_owned(),
            );
        }
        self.unknown.extend(incomplete(&[end]));
    }
}

/// What is wrong with passes over the sockets.
pub fn incomplete(ends: &[WalkEnd]) -> Vec<String> {
    let mut gaps = Vec::new();
    if ends.iter().any(|end| end.interrupted) {
        gaps.push(
            "the table changed while it was read: a few sockets may be missing or counted twice".to_owned(),
        );
    }
    if ends.iter().any(|end| end.lost) {
        gaps.push("the kernel ran out of memory for its answers: some sockets are missing".to_owned());
    }
    let malformed = ends.iter().map(|end| end.malformed).sum();
    if malformed > 0 {
        gaps.push(format!("{} could not be read", counted(malformed, "record")));
    }
    gaps
}

/// Walks with sock_diag, or with /proc/net/tcp where that cannot be had; whether it was the latter.
pub fn either(what: &Walk<'_>, mut each: impl FnMut(&SocketRecord)) -> Result<(WalkEnd, bool), WalkError> {
    match walk(what, &mut each) {
        Err(WalkError::NoTcpDiag(_)) => walk_proc(what, each).map(|end| (end, true)),
        other => other.map(|end| (end, false)),
    }
}

fn counts_of(tally: &linger_model::aggregate::StateTally) -> StateCounts {
    let mut counts = StateCounts::default();
    for state in State::ALL {
        counts.add_n(state, u64::from(tally[state as usize]));
    }
    counts
}

fn groups_report(args: &StatesArgs, grouper: &Grouper<'_>, groups: &Counted) -> GroupsReport {
    let shown = groups.largest(args.top as usize);
    let shown_sockets: u64 = shown.iter().map(|g| g.at_least()).sum();
    GroupsReport {
        by: clap::ValueEnum::to_possible_value(&args.by.unwrap_or(GroupBy::Peer))
            .map_or_else(String::new, |v| v.get_name().replace('-', "_")),
        distinct: groups.len() as u64,
        exact: groups.is_exact(),
        error_bound: groups.error_bound(),
        groups: shown
            .iter()
            .map(|g| GroupReport {
                group: grouper.name(&g.key),
                count: g.count(),
                error: g.error(),
                states: counts_of(&g.value),
            })
            .collect(),
        other_sockets: groups.total().saturating_sub(shown_sockets),
    }
}

fn text(
    report: &StatesReport,
    before: Option<&StateCounts>,
    wanted: &Wanted,
    args: &StatesArgs,
    style: &Style,
) -> String {
    let mut out = match &report.groups {
        None => counts(&report.states, before, wanted.states, style),
        Some(found) => {
            let rows: Vec<GroupRow> = found
                .groups
                .iter()
                .map(|g| GroupRow { name: g.group.clone(), count: g.count, error: g.error, states: g.states })
                .collect();
            let mut text = groups(heading(args.by), &rows, None, style);
            let mut faint = |line: String| text.push_str(&format!("  {}\n", style.paint(Tone::Faint, &line)));
            let hidden = found.distinct.saturating_sub(rows.len() as u64);
            if hidden > 0 {
                let at_least = if found.exact { "" } else { "at least " };
                faint(format!(
                    "and {at_least}{} with {} (--top shows more)",
                    counted(hidden, "more group"),
                    counted(found.other_sockets, "socket")
                ));
            }
            if !found.exact {
                faint(format!(
                    "more than {} groups: counts may be too high by up to {}",
                    thousands(found.distinct),
                    thousands(found.error_bound)
                ));
            }
            text
        }
    };
    for gap in &report.unknown {
        out.push_str(&format!(
            "  {}\n",
            style.paint(Tone::Faint, &crate::render::wrap(gap, style.prose(), 2, 2))
        ));
    }
    out
}

fn heading(by: Option<GroupBy>) -> &'static str {
    match by {
        Some(GroupBy::Peer) | None => "PEER",
        Some(GroupBy::PeerPort) => "PEER PORT",
        Some(GroupBy::LocalPort) => "LOCAL PORT",
        Some(GroupBy::Listener) => "LISTENER",
        Some(GroupBy::Process) => "PROCESS",
        Some(GroupBy::Cgroup) => "CGROUP",
        Some(GroupBy::Container) => "CONTAINER",
        Some(GroupBy::Netns) => "NETNS",
        Some(GroupBy::Family) => "FAMILY",
    }
}
