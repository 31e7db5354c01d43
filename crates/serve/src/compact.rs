//! A snapshot with a size that depends on nothing but how many rows are wanted.

use linger_model::aggregate::{ListenPoint, ProcessIndex, SocketSource, StateTally};
use linger_model::record::endpoint;
use linger_model::report::ReportNetns;
use linger_model::snapshot::ContainerKind;
use linger_model::{Snapshot, State, StateCounts};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The row of all that have none of their own.
pub const OTHER: &str = "other";
/// Sockets that no visible process holds; TIME_WAIT has none.
pub const NOBODY: &str = "none";
/// Characters of a name at the most.
const NAME: usize = 128;

/// One namespace's sockets.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Compact {
    /// When, as microseconds since 1970 (UTC).
    pub taken_at_us: i64,
    /// Which namespace.
    pub netns: ReportNetns,
    /// How the sockets were read; `null` where they were not.
    pub source: Option<SocketSource>,
    /// Sockets per state; `null` where they could not be read.
    pub states: Option<StateCounts>,
    /// Accepted connections by listening address.
    pub listeners: Vec<Group>,
    /// By name of the process that holds them.
    pub processes: Vec<Group>,
    /// By the container or unit of the process that holds them.
    pub containers: Vec<Group>,
    /// Outgoing connections by peer address and port.
    pub destinations: Vec<Group>,
    /// Listening sockets' queues, those that drop first. No row for the rest: these are no sums.
    pub queues: Vec<Queue>,
}

/// Sockets with something in common.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Group {
    /// What they have in common, [`OTHER`] or [`NOBODY`]; no two groups have the same.
    pub name: String,
    /// How many in each state.
    pub states: StateCounts,
}

/// A listening address's queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Queue {
    /// The address.
    pub listener: String,
    /// The process's name, where it is visible.
    pub process: Option<String>,
    /// Connections that wait for accept(), in the fullest of its sockets.
    pub waiting: u64,
    /// That socket's limit, where it is known.
    pub limit: Option<u64>,
    /// Half-open requests.
    pub half_open: u64,
    /// Drops of all its sockets, where they are known.
    pub drops: Option<u64>,
}

impl Compact {
    /// Of a snapshot, with at most `top` rows of a kind and one for the rest.
    pub fn new(snapshot: &Snapshot, top: usize) -> Compact {
        let netns = &snapshot.netns;
        let mut compact = Compact {
            taken_at_us: snapshot.taken_at_us,
            netns: ReportNetns { inode: netns.inode, name: netns.name.clone(), is_init: netns.is_init },
            source: None,
            states: None,
            listeners: Vec::new(),
            processes: Vec::new(),
            containers: Vec::new(),
            destinations: Vec::new(),
            queues: Vec::new(),
        };
        let Ok(table) = &snapshot.sockets else { return compact };
        let processes = snapshot.host.processes.as_ref().ok();
        let process = |index: Option<ProcessIndex>| processes?.get(index?);
        let comm = |index| process(index).map(|p| name(&p.comm));
        compact.source = Some(table.source);
        compact.states = Some(table.states);
        compact.listeners = groups(
            top,
            || table.listeners.iter().map(|l| ((l.addr, l.port), l.states)),
            |(addr, port)| endpoint(*addr, *port),
        );
        compact.processes = groups(
            top,
            || table.holders.iter().map(|(who, held)| (comm(*who), held.states)),
            |who| who.clone().unwrap_or_else(|| NOBODY.to_owned()),
        );
        let container = |index| {
            let container = process(index)?.container.as_ref()?;
            // The short id that tools print; units have their name.
            let of_unit = container.kind == ContainerKind::SystemdUnit;
            Some(name(&if of_unit { container.id.clone() } else { container.to_string() }))
        };
        compact.containers = groups(
            top,
            || table.holders.iter().map(|(who, held)| (container(*who), held.states)),
            |what| what.clone().unwrap_or_else(|| NOBODY.to_owned()),
        );
        compact.destinations = groups(
            top,
            || table.tuples.iter().map(|g| ((g.key.dst, g.key.dport), g.value.states())),
            |(addr, port)| endpoint(*addr, *port),
        );
        let mut points: Vec<&ListenPoint> = table.listeners.iter().collect();
        let queue = |l: &ListenPoint| l.sockets.iter().map(|s| s.queue).max().unwrap_or(0);
        points.sort_by_key(|l| (std::cmp::Reverse((l.drops(), queue(l), l.half_open)), l.addr, l.port));
        compact.queues = points
            .into_iter()
            .take(top)
            .map(|l| {
                let fullest = l.sockets.iter().max_by_key(|s| s.queue);
                Queue {
                    listener: endpoint(l.addr, l.port),
                    process: comm(fullest.and_then(|s| s.owner)),
                    waiting: u64::from(queue(l)),
                    limit: fullest.and_then(|s| s.limit).map(u64::from),
                    half_open: u64::from(l.half_open),
                    drops: l.drops(),
                }
            })
            .collect();
        compact
    }
}

/// The largest groups under their names, and the rest. Names that are alike, by chance or by design, are one group.
fn groups<K: Ord, I: Iterator<Item = (K, StateTally)>>(
    top: usize,
    each: impl Fn() -> I,
    name: impl Fn(&K) -> String,
) -> Vec<Group> {
    let mut totals: BTreeMap<K, u64> = BTreeMap::new();
    for (key, tally) in each() {
        *totals.entry(key).or_default() += tally.iter().map(|n| u64::from(*n)).sum::<u64>();
    }
    if totals.is_empty() {
        return Vec::new();
    }
    let mut largest: Vec<(K, u64)> = totals.into_iter().collect();
    // The sort is stable: among equals the order of the keys stays.
    largest.sort_by_key(|(_, total)| std::cmp::Reverse(*total));
    largest.truncate(top);
    let named: BTreeMap<K, String> =
        largest.into_iter().map(|(key, _)| (name(&key), key)).map(|(n, k)| (k, n)).collect();
    let mut groups: BTreeMap<&str, StateCounts> =
        named.values().map(|n| (n.as_str(), StateCounts::default())).collect();
    groups.insert(OTHER, StateCounts::default());
    for (key, tally) in each() {
        let states = groups.entry(named.get(&key).map_or(OTHER, String::as_str)).or_default();
        for state in State::ALL {
            states.add_n(state, u64::from(tally[state as usize]));
        }
    }
    groups.into_iter().map(|(name, states)| Group { name: name.to_owned(), states }).collect()
}

/// A name that a process or a runtime chose, no longer than it has to be.
fn name(text: &str) -> String {
    text.chars().take(NAME).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(established: u32, close_wait: u32) -> StateTally {
        let mut tally = StateTally::default();
        tally[State::Established as usize] = established;
        tally[State::CloseWait as usize] = close_wait;
        tally
    }

    #[test]
    fn the_rows_are_bounded_and_lose_no_socket() {
        for (many, rows) in [(0, 0), (3, 4), (20, 21), (100_000, 21)] {
            let each = || (0..many).map(|i| (i, tally(i % 7, 1)));
            let found = groups(20, each, u32::to_string);
            assert_eq!(found.len(), rows);
            let sum = |state| found.iter().map(|g| g.states.count(state)).sum::<u64>();
            let all: u64 = (0..many).map(|i| u64::from(i % 7)).sum();
            assert_eq!((sum(State::Established), sum(State::CloseWait)), (all, u64::from(many)));
        }
    }

    #[test]
    fn a_name_stands_once_whoever_chose_it() {
        let all = ["other", "none", "a", "A"];
        let each = || all.iter().cycle().take(400).enumerate().map(|(i, name)| ((*name, i % 8), tally(1, 0)));
        let found = groups(100, each, |(name, _)| name.to_lowercase());
        let names: Vec<_> =
            found.iter().map(|g| (g.name.as_str(), g.states.count(State::Established))).collect();
        assert_eq!(names, [("a", 200), ("none", 100), ("other", 100)]);
    }
}
