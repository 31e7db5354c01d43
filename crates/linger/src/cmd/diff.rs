//! `linger diff`: what changed between two moments, or two hosts.

use super::check::{elsewhere, sample};
use super::{show, sysctl_keys};
use crate::cli::{DiffArgs, NetnsArgs};
use crate::render::diff::text;
use crate::render::style::Style;
use crate::{diagnose, targets};
use anyhow::{Context, bail};
use linger_model::aggregate::Tuple;
use linger_model::record::endpoint;
use linger_model::report::{Finding, Hidden};
use linger_model::{Snapshot, State, Window};
use linger_rules::{Config, Selection, thousands};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Rows of each list.
const SHOWN: usize = 10;
/// A rate below this, on both sides, is noise.
const LEAST_RATE: f64 = 1.0;
/// Files of /proc/sys that hold figures, and no settings.
const FIGURES: [&str; 2] = ["net.netfilter.nf_conntrack_count", "fs.file-nr"];
/// Live connections on each side from which a peer's timestamps are told.
const LEAST_LIVE: u32 = 3;

/// A figure on both sides; `null` where it is not known.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Of what.
    pub what: String,
    /// On the first side.
    pub before: Option<f64>,
    /// On the second.
    pub after: Option<f64>,
}

/// A setting on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// On the first side.
    pub before: String,
    /// On the second.
    pub after: String,
}

/// A conclusion with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Conclusion {
    /// A sentence or two.
    pub text: String,
    /// The figures behind it.
    pub evidence: Vec<String>,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DiffReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// What is compared, as it was named.
    pub sides: [String; 2],
    /// The most likely story, the strongest first.
    pub story: Vec<Conclusion>,
    /// Sockets per state, where they differ.
    pub states: Vec<Change>,
    /// Sockets towards each destination, the largest changes; by port alone (`*:443`) where a side hides addresses.
    pub destinations: Vec<Change>,
    /// Sockets of each process by its name, the largest changes; none where a side hides names.
    pub processes: Vec<Change>,
    /// Events a second, where they differ by a factor of two or more.
    pub rates: Vec<Change>,
    /// Live connections of each peer that carry timestamps, as a fraction, where that changed; by the port of outgoing
    /// ones where a side hides addresses.
    pub timestamps: Vec<Change>,
    /// Settings that differ.
    pub settings: Vec<Setting>,
    /// Settings that were known on both sides.
    pub settings_compared: u64,
    /// Findings of the second side alone, as code and subject; as code alone where a side hides what subjects name.
    pub findings_new: Vec<String>,
    /// Findings of the first side alone.
    pub findings_gone: Vec<String>,
    /// Findings of both.
    pub findings_stayed: Vec<String>,
    /// What could not be compared, and why.
    pub unknown: Vec<String>,
}

struct Side {
    name: String,
    window: Window,
    hidden: Option<Hidden>,
    findings: Vec<Finding>,
}

/// Reads both sides, compares, prints. The status is 0 whatever changed.
pub fn run(args: &DiffArgs, style: &Style) -> anyhow::Result<u8> {
    if args.before == args.after {
        bail!("both sides are {}: name two moments or two hosts", args.before.display());
    }
    let (before, after) = (side(&args.before)?, side(&args.after)?);
    show(args.format, &compare(&before, &after), |report| text(report, style))?;
    Ok(0)
}

fn side(from: &Path) -> anyhow::Result<Side> {
    let config = Config::default();
    let (window, hidden) = if from == Path::new("now") {
        let netns = NetnsArgs { netns: vec!["self".to_owned()] };
        let targets = targets::open(&netns)?;
        let taken = sample(&targets.namespaces, 2, Duration::from_secs(1), &config);
        (taken.into_iter().find_map(Window::new).context("nothing could be read here")?, None)
    } else {
        let (window, account) = elsewhere(from, None, &config, None)?;
        if !account.is_used() {
            bail!("nothing in {} can be used: `linger check --from` says what it is", from.display());
        }
        (window, account.hidden)
    };
    let findings = diagnose::report(&window, &config, &Selection::default()).findings;
    Ok(Side { name: from.display().to_string(), window, hidden, findings })
}

fn compare(before: &Side, after: &Side) -> DiffReport {
    let (old, new) = (before.window.last(), after.window.last());
    let mut unknown = Vec::new();
    for (side, snapshot) in [(before, old), (after, new)] {
        let gaps = [snapshot.sockets.as_ref().err(), snapshot.counters.as_ref().err()];
        unknown.extend(gaps.into_iter().flatten().map(|gap| format!("{}: {gap}", side.name)));
        if !side.window.has_past() {
            unknown.push(format!("{}: rates need two samples: a recording, or now", side.name));
        }
    }
    // Masks are given in the order in which addresses come: what one recording calls 240.0.0.1 is no other's.
    let hides: Vec<&Side> = [before, after].into_iter().filter(|side| side.hidden.is_some()).collect();
    let (addresses, names) = (hides.is_empty(), hides.iter().all(|s| s.hidden != Some(Hidden::All)));
    for side in hides {
        let what = match side.hidden {
            Some(Hidden::All) => {
                "addresses and names are hidden: destinations are compared by port, findings by rule, processes not at all"
            }
            _ => "addresses are hidden: destinations are compared by port, findings by rule",
        };
        unknown.push(format!("{}: {what}", side.name));
    }
    let (settings, settings_compared) = settings(old, new);
    let named = |findings: &[Finding]| -> Vec<String> {
        let mut named: Vec<String> = Vec::new();
        for f in findings {
            let name = match addresses {
                true => format!("{} {}: {}", f.code, f.name, f.subject),
                false => format!("{} {}", f.code, f.name),
            };
            if !named.contains(&name) {
                named.push(name);
            }
        }
        named
    };
    let (was, is) = (named(&before.findings), named(&after.findings));
    let only =
        |of: &[String], without: &[String]| of.iter().filter(|f| !without.contains(f)).cloned().collect();
    let mut report = DiffReport {
        schema: 1,
        sides: [before.name.clone(), after.name.clone()],
        story: Vec::new(),
        states: states(old, new),
        destinations: changes(old, new, |snapshot| destinations(snapshot, addresses)),
        processes: if names { changes(old, new, processes) } else { Vec::new() },
        rates: rates(before, after),
        timestamps: timestamps(old, new, addresses),
        settings,
        settings_compared,
        findings_new: only(&is, &was),
        findings_gone: only(&was, &is),
        findings_stayed: is.iter().filter(|f| was.contains(f)).cloned().collect(),
        unknown,
    };
    report.story = story(&report, old, new);
    report
}

fn states(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let (Ok(was), Ok(is)) = (&old.sockets, &new.sockets) else { return Vec::new() };
    let figure = |n: Option<u64>| n.map(|n| n as f64);
    let all = State::ALL.into_iter().map(|state| Change {
        what: state.display().to_owned(),
        before: figure(was.states.get(state)),
        after: figure(is.states.get(state)),
    });
    let mut all: Vec<Change> = all.filter(|c| c.before != c.after).collect();
    all.sort_by(|a, b| gain(b).abs().total_cmp(&gain(a).abs()));
    all
}

/// By how much it rose, where both sides are known.
fn gain(change: &Change) -> f64 {
    change.before.zip(change.after).map_or(0.0, |(before, after)| after - before)
}

/// `10.0.0.2:443`, or `*:443` where addresses say nothing.
fn destination(tuple: &Tuple, addresses: bool) -> String {
    if addresses { endpoint(tuple.dst, tuple.dport) } else { format!("*:{}", tuple.dport) }
}

/// Sockets by peer address and port, outgoing ones.
fn destinations(snapshot: &Snapshot, addresses: bool) -> Option<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for group in snapshot.sockets.as_ref().ok()?.tuples.iter() {
        *all.entry(destination(&group.key, addresses)).or_default() += group.at_least() as f64;
    }
    Some(all)
}

/// Sockets by the name of the process that holds them: pids differ between two hosts.
fn processes(snapshot: &Snapshot) -> Option<BTreeMap<String, f64>> {
    let known = snapshot.host.processes.as_ref().ok()?;
    let mut all = BTreeMap::new();
    for (holder, held) in &snapshot.sockets.as_ref().ok()?.holders {
        if let Some(process) = holder.and_then(|index| known.get(index)) {
            let sockets: u32 = held.states.iter().sum();
            *all.entry(process.comm.clone()).or_default() += f64::from(sockets);
        }
    }
    Some(all)
}

fn changes(
    old: &Snapshot,
    new: &Snapshot,
    of: impl Fn(&Snapshot) -> Option<BTreeMap<String, f64>>,
) -> Vec<Change> {
    let (Some(was), Some(is)) = (of(old), of(new)) else { return Vec::new() };
    let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
    let get = |side: &BTreeMap<String, f64>, name: &String| Some(side.get(name).copied().unwrap_or(0.0));
    let mut all: Vec<Change> = names
        .map(|name| Change { what: name.clone(), before: get(&was, name), after: get(&is, name) })
        .filter(|c| c.before != c.after)
        .collect();
    all.sort_by(|a, b| gain(b).abs().total_cmp(&gain(a).abs()).then_with(|| a.what.cmp(&b.what)));
    all.truncate(SHOWN);
    all
}

fn rates(before: &Side, after: &Side) -> Vec<Change> {
    let (Ok(was), Ok(is)) = (&before.window.last().counters, &after.window.last().counters) else {
        return Vec::new();
    };
    let rate = |side: &Side, name: &str| side.window.delta(name).ok().map(|d| d.per_second());
    let mut all: Vec<Change> = was
        .keys()
        .filter(|name| is.contains_key(*name) && name.starts_with("Tcp") && *name != "Tcp.CurrEstab")
        .filter_map(|name| {
            let (old, new) = (rate(before, name)?, rate(after, name)?);
            let (low, high) = (old.min(new), old.max(new));
            let differ = high >= LEAST_RATE && high >= 2.0 * low;
            let round = |r: f64| Some((r * 10.0).round() / 10.0);
            differ.then(|| Change { what: name.clone(), before: round(old), after: round(new) })
        })
        .collect();
    all.sort_by(|a, b| gain(b).abs().total_cmp(&gain(a).abs()));
    all.truncate(SHOWN);
    all
}

/// Live connections with and without timestamps, by peer address; or of outgoing ones by port.
fn paths(snapshot: &Snapshot, addresses: bool) -> BTreeMap<String, (u32, u32)> {
    let mut all: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let Ok(table) = &snapshot.sockets else { return all };
    let peer = |tuple: &Tuple| match addresses {
        true => tuple.dst.to_string(),
        false => destination(tuple, addresses),
    };
    let tuples = table.tuples.iter().map(|g| (peer(&g.key), &g.value.path));
    let clients = table.clients.iter().filter(|_| addresses).map(|g| (g.key.to_string(), &g.value.path));
    for (peer, path) in tuples.chain(clients) {
        let sums = all.entry(peer).or_default();
        sums.0 = sums.0.saturating_add(path.timestamps);
        sums.1 = sums.1.saturating_add(path.no_timestamps);
    }
    all
}

fn timestamps(old: &Snapshot, new: &Snapshot, addresses: bool) -> Vec<Change> {
    let (was, is) = (paths(old, addresses), paths(new, addresses));
    let share = |(with, without): (u32, u32)| {
        let live = with.saturating_add(without);
        (live >= LEAST_LIVE).then(|| f64::from(with) / f64::from(live))
    };
    was.iter()
        .filter_map(|(peer, before)| {
            let (before, after) = (share(*before)?, share(*is.get(peer)?)?);
            let changed = (before - after).abs() >= 0.5;
            changed.then(|| Change { what: peer.clone(), before: Some(before), after: Some(after) })
        })
        .take(SHOWN)
        .collect()
}

fn settings(old: &Snapshot, new: &Snapshot) -> (Vec<Setting>, u64) {
    let (mut differ, mut compared) = (Vec::new(), 0);
    for key in sysctl_keys().into_iter().filter(|key| !FIGURES.contains(key)) {
        let (Ok(before), Ok(after)) = (old.sysctl(key), new.sysctl(key)) else { continue };
        compared += 1;
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (before, after) = (plain(before), plain(after));
        if before != after {
            differ.push(Setting { key: key.to_owned(), before, after });
        }
    }
    (differ, compared)
}

/// What the changes say together.
fn story(report: &DiffReport, old: &Snapshot, new: &Snapshot) -> Vec<Conclusion> {
    let mut all = Vec::new();
    let figure = |change: &Change| {
        let of = |n: Option<f64>| n.map_or("?".to_owned(), |n| thousands(n as u64));
        format!("{}: {} -> {}", change.what, of(change.before), of(change.after))
    };
    let time_wait = report.states.iter().find(|c| c.what == "TIME_WAIT" && gain(c) > 0.0);
    let same =
        |key: &str| old.sysctl(key).ok().zip(new.sysctl(key).ok()).is_some_and(|(a, b)| a.trim() == b.trim());
    let unchanged = same("net.ipv4.tcp_timestamps") && same("net.ipv4.tcp_tw_reuse");
    let lost: Vec<&Change> = report.timestamps.iter().filter(|c| gain(c) < 0.0).collect();
    if let (false, true) = (lost.is_empty(), unchanged) {
        let peers: Vec<&str> = lost.iter().map(|c| c.what.as_str()).collect();
        let rise = if time_wait.is_some() {
            "; without them connect() cannot take back ports in TIME_WAIT, and those rose"
        } else {
            ""
        };
        let mut evidence: Vec<String> = lost
            .iter()
            .map(|c| {
                let share = |n: Option<f64>| linger_rules::ports::percent(n.unwrap_or(0.0));
                format!(
                    "live connections of {} with timestamps: {} -> {}",
                    c.what,
                    share(c.before),
                    share(c.after)
                )
            })
            .collect();
        evidence.extend(time_wait.map(figure));
        for key in ["net.ipv4.tcp_timestamps", "net.ipv4.tcp_tw_reuse"] {
            evidence.push(format!("{key}: {} on both sides", new.sysctl(key).unwrap_or("?")));
        }
        all.push(Conclusion {
            text: format!(
                "Connections of {} lost their timestamps, and no setting here changed: the other end, or a balancer or \
                 proxy that now answers for it, does not grant them{rise}. Look at what changed there.",
                peers.join(", ")
            ),
            evidence,
        });
    } else if let Some(change) = time_wait.filter(|c| gain(c) >= 1000.0) {
        let most = report.destinations.iter().find(|c| gain(c) * 2.0 >= gain(change));
        let whither = most.map_or(String::new(), |c| format!(", most of it towards {}", c.what));
        let mut evidence = vec![figure(change)];
        evidence.extend(most.map(figure));
        all.push(Conclusion {
            text: format!("TIME_WAIT rose{whither}: this side closes more connections first."),
            evidence,
        });
    }
    if let Some(change) = report.states.iter().find(|c| c.what == "CLOSE_WAIT" && gain(c) >= 100.0) {
        let holder = report.processes.iter().find(|c| gain(c) * 2.0 >= gain(change));
        let who = holder.map_or(String::new(), |c| format!(", as the sockets of {} did", c.what));
        let mut evidence = vec![figure(change)];
        evidence.extend(holder.map(figure));
        all.push(Conclusion {
            text: format!("CLOSE_WAIT rose{who}: peers closed, and a process here did not."),
            evidence,
        });
    }
    if !report.settings.is_empty() {
        let evidence = report.settings.iter().map(|s| format!("{}: {} -> {}", s.key, s.before, s.after));
        all.push(Conclusion {
            text: "Settings differ: what else changed may be their work.".to_owned(),
            evidence: evidence.collect(),
        });
    }
    all
}
