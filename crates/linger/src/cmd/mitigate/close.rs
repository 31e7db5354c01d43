//! `linger mitigate close`

use super::spared::{Spared, Why};
use super::{PATIENCE, mark, named, open};
use crate::cli::{CloseArgs, Format, GroupBy};
use crate::cmd::show;
use crate::cmd::states::incomplete;
use crate::filters::{self, Wanted};
use crate::group::{Counted, Grouper};
use crate::render::mitigate;
use crate::render::style::Style;
use anyhow::{Context, anyhow, bail};
use hashbrown::HashSet;
use linger_collect::{HolderTable, ScanOptions, Walk, WalkError, walk};
use linger_mitigate::{Closing, Destroyer, Error, Event, Fate, Journal, may_administer};
use linger_model::aggregate::Owners;
use linger_model::report::ReportNetns;
use linger_model::{SocketRecord, State, StateCounts};
use linger_netns::{Netns, run_in};
use linger_wire::sock_diag::Extensions;
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Read, Write};

/// Groups shown.
const TOP: usize = 5;
/// Sockets shown.
const FIRST: usize = 5;
/// So many are journalled, then destroyed, at a time.
const BATCH: usize = 1000;
/// An answer is not longer.
const MOST_ANSWER: u64 = 100;

/// What was hit, or would be.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CloseReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Where.
    pub netns: ReportNetns,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so; empty where nothing is to be said.
    pub why: String,
    /// Sockets that fit, without those that are spared.
    pub matched: u64,
    /// Those per state.
    pub states: StateCounts,
    /// What would be allowed at the most.
    pub max: u32,
    /// The processes with most of them; counts may be too high by a little where there are very many.
    pub by_process: Vec<Share>,
    /// The peers with most of them.
    pub by_peer: Vec<Share>,
    /// Some of them.
    pub first: Vec<SocketRow>,
    /// Sockets that fit and are left alone, by reason.
    pub spared: Vec<SparedRow>,
    /// Sockets destroyed.
    pub destroyed: u64,
    /// Those that were gone by then.
    pub gone: u64,
    /// Those that had another state by then, and were left alone.
    pub changed: u64,
    /// Those that the kernel did not destroy, by reason.
    pub left: Vec<LeftRow>,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was nothing to destroy.
    Nothing,
    /// It was only looked at.
    Preview,
    /// There were too many.
    Refused,
    /// The operator said no.
    Declined,
    /// They were destroyed, but for those that are told of.
    Done,
}

/// A group of the sockets.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Sockets.
    pub count: u64,
}

/// A socket.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SocketRow {
    /// Its state.
    pub state: String,
    /// Local address.
    pub src: String,
    /// Local port.
    pub sport: u16,
    /// Peer address.
    pub dst: String,
    /// Peer port.
    pub dport: u16,
    /// Who holds it; null where nobody does, or it is not known.
    pub holder: Option<String>,
}

/// Sockets left alone.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SparedRow {
    /// Why.
    pub why: Why,
    /// Sockets.
    pub count: u64,
}

/// Sockets that the kernel did not destroy.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LeftRow {
    /// Why.
    pub why: String,
    /// Sockets.
    pub count: u64,
}

/// What fits.
struct Found {
    sockets: Vec<SocketRecord>,
    matched: u64,
    states: StateCounts,
    processes: Counted,
    peers: Counted,
    spared: BTreeMap<Why, u64>,
    gaps: Vec<String>,
}

/// Looks, asks, destroys; the exit status.
pub fn run(args: &CloseArgs, style: &Style) -> anyhow::Result<u8> {
    let wanted = read(args)?;
    let ns = open(&args.place.netns)?;
    if !args.dry_run && !run_in(&ns, may_administer)?? {
        return Err(Error::Denied { operation: "destroy sockets" }.into());
    }
    if !args.dry_run && !args.yes && !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask at: look with --dry-run, then add --yes");
    }
    let options = ScanOptions { cgroups: false, limits: false, only_pid: None };
    let holders = HolderTable::scan(&options).map_err(|gap| anyhow!("{gap}"))?;
    let only = held_by(args, &wanted, &holders)?;
    let found = run_in(&ns, || find(args, &wanted, only.as_ref(), &holders))??;
    let mut report = report(args, &ns, &found, &holders);
    let is_over = found.matched > u64::from(args.max);
    report.outcome = match found.matched {
        0 => Outcome::Nothing,
        _ if is_over => Outcome::Refused,
        _ if args.dry_run => Outcome::Preview,
        _ => Outcome::Done,
    };
    if is_over {
        report.why = format!("more than --max {}: narrow the filter, or raise it", args.max);
    }
    if report.outcome == Outcome::Done {
        if !args.yes && !agreed(&report, args.place.format, style)? {
            report.outcome = Outcome::Declined;
        } else {
            destroy(args, &ns, &found.sockets, &holders, &mut report)?;
        }
    }
    // What was asked about has been shown.
    let was_shown = !args.yes && matches!(report.outcome, Outcome::Done | Outcome::Declined);
    show(args.place.format, &report, |report| mitigate::closed(report, was_shown, style))?;
    // Whose sockets are not seen, of those it is not known whether they were meant.
    let is_seen = report.spared.iter().all(|it| it.why != Why::Unseen);
    let is_whole = is_seen && report.left.is_empty() && report.why.is_empty();
    Ok(u8::from(!is_whole || matches!(report.outcome, Outcome::Refused | Outcome::Declined)))
}

/// The filters, if they are narrow enough to destroy by.
fn read(args: &CloseArgs) -> anyhow::Result<Wanted> {
    if args.filter.state.is_empty() {
        bail!("say which states, for example --state close-wait");
    }
    let wanted = filters::read(&args.filter)?;
    for (state, why) in [
        (State::Listen, "a listener is never destroyed: stop its process"),
        (State::Close, "a socket without a connection has nothing to destroy"),
        (State::BoundInactive, "a socket that is only bound has nothing to destroy: stop its process"),
    ] {
        if wanted.states & state.bit() != 0 {
            let all =
                if args.filter.state.iter().any(|it| it.trim() == "all") { " is in `all`, and" } else { ":" };
            bail!("--state {}{all} {why}", state.name().replace('_', "-"));
        }
    }
    if !wanted.is_filtered() && args.process.is_none() {
        bail!(
            "narrow it by process, address or port, for example --process NAME, --dst ADDRESS or --dport PORT: all of a host's sockets are too many to destroy"
        );
    }
    let held = wanted.states & !(State::TimeWait.bit() | State::SynRecv.bit());
    if held == 0 && (args.process.is_some() || args.filter.pid.is_some()) {
        bail!(
            "TIME_WAIT and half-open sockets belong to no process any more, or yet: name them by --src, --dst, --sport or --dport"
        );
    }
    Ok(wanted)
}

/// The inodes of the sockets that the processes asked for hold.
fn held_by(args: &CloseArgs, wanted: &Wanted, holders: &HolderTable) -> anyhow::Result<Option<HashSet<u32>>> {
    let pids: Vec<u32> = match (&args.process, wanted.pid) {
        (None, None) => return Ok(None),
        (None, Some(pid)) => vec![pid],
        (Some(name), _) => {
            let is_meant = |pid: u32, comm: &str| comm == name || pid.to_string() == *name;
            let all = holders.processes().list.iter();
            all.filter(|it| is_meant(it.pid, &it.comm)).map(|it| it.pid).collect()
        }
    };
    if pids.is_empty() {
        let gaps: Vec<String> = holders.gaps().iter().map(|gap| format!("; {gap}")).collect();
        bail!(
            "--process {}: no process of this name or number holds a socket{}",
            args.process.as_deref().unwrap_or_default(),
            gaps.concat()
        );
    }
    let mut inodes = HashSet::new();
    for pid in pids {
        // The table names one holder for each socket; this one may be another.
        let only = ScanOptions { cgroups: false, limits: false, only_pid: Some(pid) };
        inodes.extend(HolderTable::scan(&only).map_err(|gap| anyhow!("{gap}"))?.inodes_of(pid));
    }
    Ok(Some(inodes))
}

/// Walks the calling thread's namespace.
fn find(
    args: &CloseArgs,
    wanted: &Wanted,
    only: Option<&HashSet<u32>>,
    holders: &HolderTable,
) -> anyhow::Result<Found> {
    let spared = Spared::find(holders);
    let by = |by| Grouper::new(by, holders, Default::default(), Vec::new());
    let (by_process, by_peer) = (by(GroupBy::Process), by(GroupBy::Peer));
    let mut found = Found {
        sockets: Vec::new(),
        matched: 0,
        states: StateCounts::default(),
        processes: Counted::default(),
        peers: Counted::default(),
        spared: BTreeMap::new(),
        gaps: holders.gaps().iter().map(ToString::to_string).collect(),
    };
    let asked = Walk { states: wanted.states, extensions: Extensions::NONE, filter: wanted.filter.as_ref() };
    let mut seen = HashSet::new();
    let end = walk(&asked, |socket| {
        if only.is_some_and(|inodes| socket.inode == 0 || !inodes.contains(&socket.inode)) {
            return;
        }
        if let Some(why) = spared.why(socket) {
            *found.spared.entry(why).or_default() += 1;
            return;
        }
        // A walk may meet a socket twice.
        let is_room = found.sockets.len() < args.max as usize;
        if is_room && !seen.insert(socket.cookie) {
            return;
        }
        found.matched += 1;
        found.states.add(socket.state);
        found.processes.add(by_process.key(socket));
        found.peers.add(by_peer.key(socket));
        if is_room {
            found.sockets.push(socket.clone());
        }
    });
    match end {
        Ok(end) => found.gaps.extend(incomplete(&[end])),
        Err(WalkError::NoTcpDiag(_)) => {
            bail!(
                "sock_diag cannot list TCP sockets here, and by nothing else are they named: modprobe tcp_diag"
            )
        }
        Err(error) => return Err(error.into()),
    }
    Ok(found)
}

fn shares(counted: &Counted, grouper: &Grouper<'_>) -> Vec<Share> {
    let row =
        |it: &&linger_model::groups::Group<_, _>| Share { name: grouper.name(&it.key), count: it.count() };
    counted.largest(TOP).iter().map(row).collect()
}

fn report(args: &CloseArgs, ns: &Netns, found: &Found, holders: &HolderTable) -> CloseReport {
    let by = |by| Grouper::new(by, holders, Default::default(), Vec::new());
    let row = |it: &SocketRecord| SocketRow {
        state: it.state.name().to_owned(),
        src: it.src.to_string(),
        sport: it.sport,
        dst: it.dst.to_string(),
        dport: it.dport,
        holder: holder(it, holders),
    };
    CloseReport {
        schema: 1,
        netns: named(ns),
        outcome: Outcome::Nothing,
        why: String::new(),
        matched: found.matched,
        states: found.states,
        max: args.max,
        by_process: shares(&found.processes, &by(GroupBy::Process)),
        by_peer: shares(&found.peers, &by(GroupBy::Peer)),
        first: found.sockets.iter().take(FIRST).map(row).collect(),
        spared: found.spared.iter().map(|(why, count)| SparedRow { why: *why, count: *count }).collect(),
        destroyed: 0,
        gone: 0,
        changed: 0,
        left: Vec::new(),
        gaps: found.gaps.clone(),
    }
}

fn holder(socket: &SocketRecord, holders: &HolderTable) -> Option<String> {
    holders.owner(socket).and_then(|at| holders.processes().get(at)).map(|it| it.label())
}

/// Shows what would be hit, and asks.
fn agreed(report: &CloseReport, format: Format, style: &Style) -> anyhow::Result<bool> {
    let text = mitigate::preview(report, style);
    match format {
        Format::Text => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        // Standard output is a program's.
        Format::Json => eprint!("{text}"),
    }
    eprint!("{}", mitigate::question(report));
    let _ = std::io::stderr().flush();
    let mut answer = Vec::new();
    std::io::stdin().lock().take(MOST_ANSWER).read_until(b'\n', &mut answer)?;
    let answer = String::from_utf8_lossy(&answer).trim().to_lowercase();
    Ok(answer == "y" || answer == "yes")
}

/// Journals and destroys them, a batch at a time.
fn destroy(
    args: &CloseArgs,
    ns: &Netns,
    sockets: &[SocketRecord],
    holders: &HolderTable,
    report: &mut CloseReport,
) -> anyhow::Result<()> {
    let journal = Journal::open(&args.place.state_dir, mark(ns)?)?;
    let lock = journal.lock(PATIENCE)?;
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    let mut rest = sockets.len() as u64;
    let mut stopped: Option<anyhow::Error> = None;
    for batch in sockets.chunks(BATCH) {
        let closing = |it: &SocketRecord| {
            Event::Close(Closing {
                state: it.state.name().to_owned(),
                src: it.src.ip(),
                sport: it.sport,
                dst: it.dst.ip(),
                dport: it.dport,
                cookie: it.cookie,
                holder: holder(it, holders),
            })
        };
        if let Err(error) = journal.append(&lock, batch.iter().map(closing)) {
            stopped = Some(error.into());
            break;
        }
        let fates = run_in(ns, || -> Result<(Vec<Fate>, Option<Error>), Error> {
            let mut destroyer = Destroyer::new()?;
            let mut fates = Vec::new();
            for socket in batch {
                match destroyer.destroy(socket) {
                    Ok(fate) => fates.push(fate),
                    Err(error) => return Ok((fates, Some(error))),
                }
            }
            Ok((fates, None))
        });
        let (fates, error) = match fates.map_err(Error::from).flatten() {
            Ok(done) => done,
            Err(error) => (Vec::new(), Some(error)),
        };
        rest -= fates.len() as u64;
        for fate in fates {
            let why = match fate {
                Fate::Destroyed => {
                    report.destroyed += 1;
                    continue;
                }
                Fate::Gone => {
                    report.gone += 1;
                    continue;
                }
                Fate::Changed(_) | Fate::Refused => {
                    report.changed += 1;
                    continue;
                }
                Fate::Still => {
                    "the kernel took the request and left it: an orphan, which it destroys from about 6.12 on"
                        .to_owned()
                }
                Fate::Failed(errno) => std::io::Error::from(Errno::from_raw_os_error(errno)).to_string(),
            };
            *left.entry(why).or_default() += 1;
        }
        if let Some(error) = error {
            stopped = Some(error.into());
            break;
        }
    }
    if let Some(error) = &stopped {
        left.insert(format!("not reached: {error:#}"), rest);
    }
    report.left = left.into_iter().map(|(why, count)| LeftRow { why, count }).collect();
    let (destroyed, passed) = (report.destroyed, report.gone + report.changed);
    let left = report.left.iter().map(|it| it.count).sum();
    let noted = journal.append(&lock, [Event::Closed { destroyed, passed, left }]);
    // Where nothing was done, that is all there is to say.
    match stopped {
        Some(error) if destroyed == 0 => return Err(error),
        _ => {}
    }
    noted.context("sockets were destroyed, but their number could not be noted")?;
    Ok(())
}
