//! The end of connections that this side closed: FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK.

/// FW001.
pub mod fin_wait2_accumulation;
/// OR001.
pub mod orphan_pressure;

use crate::ports::likely_churner;
use crate::thousands;
use linger_model::aggregate::ProcessIndex;
use linger_model::record::endpoint;
use linger_model::report::Evidence;
use linger_model::{SocketTable, State};

/// A place with many sockets.
pub(crate) struct Place {
    /// `connections to 10.0.0.9:6379`.
    pub(crate) name: String,
    /// How many.
    pub(crate) count: u32,
    /// Who holds most of the live connections there, or listens there.
    pub(crate) owner: Option<ProcessIndex>,
    /// The same where it is likely that it made those in TIME_WAIT, too.
    pub(crate) churner: Option<ProcessIndex>,
}

impl Place {
    /// As evidence.
    pub(crate) fn evidence(&self, states: &str, source: &str) -> Evidence {
        Evidence::new(format!("{states} on {}", self.name), f64::from(self.count), "sockets", source)
    }
}

/// Where the sockets of some states are: outgoing connections by destination, accepted ones by listener, and accepted
/// ones by peer; each list largest first, at most `n` long.
pub(crate) fn places(table: &SocketTable, states: &[State], n: usize) -> [Vec<Place>; 3] {
    let sum = |tally: &[u32; 14]| states.iter().filter_map(|s| tally.get(*s as usize)).sum::<u32>();
    let top = |mut all: Vec<Place>| {
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        all.truncate(n);
        all
    };
    let tuples =
        table.tuples.iter().map(|g| (g.key, &g.value, sum(&g.value.states()))).filter(|(.., n)| *n > 0);
    let tuples = tuples.map(|(key, stats, count)| Place {
        name: format!("connections to {} from {}", endpoint(key.dst, key.dport), key.src),
        count,
        owner: stats.owner,
        churner: likely_churner(stats),
    });
    let listeners = table.listeners.iter().map(|l| (l, sum(&l.states))).filter(|(_, n)| *n > 0);
    let listeners = listeners.map(|(l, count)| Place {
        name: format!("connections accepted on {}", endpoint(l.addr, l.port)),
        count,
        owner: l.sockets.first().and_then(|s| s.owner),
        churner: l.sockets.first().and_then(|s| s.owner),
    });
    let clients = table.clients.iter().map(|g| (g.key, sum(&g.value.states))).filter(|(_, n)| *n > 0);
    let clients = clients.map(|(key, count)| Place {
        name: format!("connections from {key}"),
        count,
        owner: None,
        churner: None,
    });
    [top(tuples.collect()), top(listeners.collect()), top(clients.collect())]
}

/// The place with the most of all, in words: `1,200 of them on connections to 10.0.0.9:6379`.
pub(crate) fn mostly(places: &[Vec<Place>; 3]) -> Option<(String, Option<ProcessIndex>)> {
    let [tuples, listeners, _] = places;
    let most = tuples.first().into_iter().chain(listeners.first()).max_by_key(|p| p.count)?;
    Some((format!("{} of them on {}", thousands(u64::from(most.count)), most.name), most.owner))
}
