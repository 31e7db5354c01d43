//! A trace beside `linger check`.

use super::{gap, owners_for, traced};
use linger_collect::Trace;
use linger_model::Snapshot;
use linger_model::aggregate::{DropReasons, ListenIndex, ListenPoint};
use linger_model::snapshot::{Gap, GapKind};
use linger_netns::Netns;
use linger_trace::drops::{Dropped, Drops};
use linger_trace::owners::{Options, Owners};
use linger_tune::Signals;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs until it is dropped.
pub struct Tracing {
    owners: Result<Arc<Owners>, Gap>,
    drops: Result<Drops, linger_trace::Error>,
    time: Duration,
    start: Instant,
}

impl Tracing {
    /// Begins. What cannot be traced is told in the samples.
    pub fn start(namespaces: &[Netns], time: Duration) -> Tracing {
        let options = Options {
            netns: Some(namespaces.iter().map(Netns::inode).collect()),
            owners: owners_for(time),
            accepted_by_peer: false,
        };
        let owners = Owners::start(&options, namespaces).map(Arc::new).map_err(|error| gap(&error));
        Tracing { owners, drops: Drops::start(), time, start: Instant::now() }
    }

    /// Waits until only `rest` of its time is left, if it runs at all. Ctrl-C ends it earlier.
    pub fn wait(&self, rest: Duration, signals: &Signals) {
        if self.owners.is_ok() || self.drops.is_ok() {
            signals.wait(self.time.saturating_sub(rest + self.start.elapsed()));
        }
    }

    /// For a sampler.
    pub fn trace(&self) -> Trace {
        let owners = self.owners.clone();
        Arc::new(move || {
            let remembered = owners.as_ref().map_err(Clone::clone)?.remembered();
            remembered.map(|it| Some(traced(it))).map_err(|error| gap(&error))
        })
    }

    /// Tells the listeners why the kernel dropped packets of handshakes with them.
    pub fn explain_drops<'a>(&self, snapshots: impl Iterator<Item = &'a mut Snapshot>) {
        let read = self.drops.as_ref().map_err(ToString::to_string);
        let read = read.and_then(|drops| drops.read().map_err(|e| e.to_string()));
        let seconds = self.start.elapsed().as_secs_f64();
        for snapshot in snapshots {
            match (&read, &mut snapshot.sockets) {
                (Ok(dropped), Ok(table)) => {
                    explain(snapshot.netns.inode, &mut table.listeners, dropped, seconds);
                }
                (Ok(_), Err(_)) => {}
                // Both need the same capabilities, and one sentence says it.
                (Err(_), _) if self.owners.is_err() => {}
                (Err(error), _) => {
                    let what = "the kernel's reasons for drops of listeners";
                    snapshot.gaps.push(Gap::new(what, GapKind::Unsupported, error, ""));
                }
            }
        }
    }
}

fn explain(netns: u64, listeners: &mut [ListenPoint], dropped: &BTreeMap<Dropped, u64>, seconds: f64) {
    let mut index = ListenIndex::default();
    for (at, point) in listeners.iter_mut().enumerate() {
        let v6only = point.sockets.first().and_then(|socket| socket.v6only);
        index.insert(point.addr, point.port, v6only, at);
        point.reasons = Some(DropReasons { seconds, packets: Vec::new() });
    }
    for (dropped, n) in dropped.iter().filter(|(it, _)| it.netns == Some(netns) && it.packet.comes_in()) {
        let point = index.find(dropped.addr, dropped.port).and_then(|at| listeners.get_mut(at));
        if let Some(reasons) = point.and_then(|point| point.reasons.as_mut()) {
            reasons.packets.push((dropped.reason.clone(), dropped.packet.name().to_owned(), *n));
        }
    }
    for reasons in listeners.iter_mut().filter_map(|point| point.reasons.as_mut()) {
        reasons.packets.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
    }
}
