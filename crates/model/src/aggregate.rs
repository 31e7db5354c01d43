//! Sockets in, bounded aggregates out. The sockets stream through and are not kept.

pub use crate::ports::PortRange;
use crate::record::{Addr, Family, SocketRecord, TimerKind};
use crate::{Groups, State, StateCounts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Number of a process in a [`crate::snapshot::Processes`] table.
pub type ProcessIndex = u32;

/// Who holds a socket. The collector's table of descriptors implements it; a trace, which knows the owners of
/// TIME_WAIT sockets too, joins here while the sockets stream.
pub trait Owners {
    /// The process that holds (or made) this socket, if known.
    fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex>;

    /// How many makers of minisockets a trace could not remember; `None` where none runs, and so none is known.
    fn makers_lost(&self) -> Option<u64> {
        None
    }

    /// Since when the peer of a socket in CLOSE_WAIT has closed, where a trace runs.
    fn peer_closed(&self, _: &SocketRecord) -> Option<PeerClosed> {
        None
    }
}

/// What a trace knows of a socket in CLOSE_WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerClosed {
    /// Milliseconds since the peer closed, at least.
    pub ms: u32,
    /// It had closed when the trace began.
    pub before_trace: bool,
}

/// Nobody is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOwners;

impl Owners for NoOwners {
    fn owner(&self, _: &SocketRecord) -> Option<ProcessIndex> {
        None
    }
}

/// Sockets per state in 32 bits, for the many groups.
pub type StateTally = [u32; 14];

/// What an outgoing connection competes for local ports with: all that has the same addresses and peer port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tuple {
    /// Local address.
    pub src: Addr,
    /// Peer address.
    pub dst: Addr,
    /// Peer port.
    pub dport: u16,
}

impl Tuple {
    /// Whether the kernel takes this path for loopback (`tcp_tw_reuse` = 2).
    pub fn is_loopback(&self) -> bool {
        self.src.is_loopback() || self.dst.is_loopback()
    }
}

/// What is worth knowing of live connections, per peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PathStats {
    /// Live connections that carry timestamps.
    pub timestamps: u32,
    /// Live connections without.
    pub no_timestamps: u32,
    /// Connections retransmitting now.
    pub retransmitting: u32,
    /// Segments retransmitted over their lives; stops at its end.
    pub total_retrans: u32,
    /// Segments sent over their lives; stops at its end.
    pub segs_out: u32,
    /// Connections whose peer's window is closed with data waiting (a probe timer runs).
    pub zero_window: u32,
    /// Bytes that wait in those; stops at its end.
    pub zero_window_bytes: u32,
    /// The longest time since one of those last sent data, milliseconds.
    pub zero_window_oldest_ms: u32,
    /// Of those, the ones that have sent no data for [`Aggregator::stuck_ms`]: stuck, and not only slow.
    pub zero_window_stuck: u32,
    /// Established connections idle in both directions for [`Aggregator::idle_ms`] with no timer at all.
    pub idle_unprobed: u32,
}

impl PathStats {
    fn add(&mut self, socket: &SocketRecord, shown: Shown, idle_ms: u32, stuck_ms: u32) {
        if socket.retransmits > 0 && matches!(socket.timer, Some(t) if t.kind == TimerKind::Retransmit) {
            self.retransmitting += 1;
        }
        let closed_window = waits_for_window(socket);
        if closed_window {
            self.zero_window += 1;
            self.zero_window_bytes = self.zero_window_bytes.saturating_add(socket.wqueue);
        }
        let Some(info) = &socket.info else { return };
        if closed_window {
            self.zero_window_oldest_ms = self.zero_window_oldest_ms.max(info.last_data_sent_ms);
            self.zero_window_stuck += u32::from(info.last_data_sent_ms >= stuck_ms);
        }
        if socket.state == State::SynSent {
            return;
        }
        self.timestamps += u32::from(shown.timestamps && info.timestamps());
        self.no_timestamps += u32::from(shown.timestamps && !info.timestamps());
        self.total_retrans = self.total_retrans.saturating_add(info.total_retrans);
        self.segs_out = self.segs_out.saturating_add(info.segs_out.unwrap_or(0));
        let idle = info.last_data_recv_ms.min(info.last_data_sent_ms).min(info.last_ack_recv_ms) >= idle_ms;
        if socket.state == State::Established && shown.timers && socket.timer.is_none() && idle {
            self.idle_unprobed += 1;
        }
    }
}

/// Whether data waits for the peer to open its window: the probe timer runs and Send-Q is not empty.
fn waits_for_window(socket: &SocketRecord) -> bool {
    socket.wqueue > 0 && matches!(socket.timer, Some(t) if t.kind == TimerKind::ZeroWindowProbe)
}

/// One step of a Boyer-Moore majority vote for the process that holds most of a group's live sockets: two fields
/// instead of a table for each of many groups.
fn vote(owner: &mut Option<ProcessIndex>, lead: &mut u16, candidate: Option<ProcessIndex>) {
    if candidate.is_none() {
        return;
    }
    if *owner == candidate {
        *lead = lead.saturating_add(1);
    } else if *lead == 0 {
        (*owner, *lead) = (candidate, 1);
    } else {
        *lead -= 1;
    }
}

/// Outgoing connections of one [`Tuple`]. There may be 150,000 of these, and a tuple has at most one socket for each
/// port, so that 16 bits hold its counts; they stop at their end.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TupleStats {
    states: [u16; 11],
    in_range: u16,
    first_parity: u16,
    time_wait_aged: u16,
    made_60s: u16,
    made_10s: u16,
    made_2s: u16,
    fin_wait2_mini: u16,
    syn_retransmitting: u16,
    /// The vote's lead.
    pub owner_votes: u16,
    /// A process with live sockets here (majority vote).
    pub owner: Option<ProcessIndex>,
    /// Live connections' paths.
    pub path: PathStats,
}

/// Counts one more where it is one.
fn tick(count: &mut u16, one: bool) {
    *count = count.saturating_add(u16::from(one));
}

impl TupleStats {
    /// Sockets in a state.
    pub fn state(&self, state: State) -> u32 {
        self.states.get(state as usize - 1).copied().map_or(0, u32::from)
    }

    /// Sockets per kernel state number.
    pub fn states(&self) -> StateTally {
        let mut tally = StateTally::default();
        for (wide, narrow) in tally.iter_mut().skip(1).zip(self.states) {
            *wide = u32::from(narrow);
        }
        tally
    }

    /// Local ports in use that connect() could choose.
    pub fn in_range(&self) -> u32 {
        u32::from(self.in_range)
    }

    /// Of those, with the parity that connect() tries first.
    pub fn first_parity(&self) -> u32 {
        u32::from(self.first_parity)
    }

    /// TIME_WAIT sockets in the range old enough for reuse (see [`Aggregator::reuse_delay_ms`]).
    pub fn time_wait_aged(&self) -> u32 {
        u32::from(self.time_wait_aged)
    }

    /// TIME_WAIT sockets made in the last 60 s.
    pub fn made_60s(&self) -> u32 {
        u32::from(self.made_60s)
    }

    /// TIME_WAIT sockets made in the last 10 s.
    pub fn made_10s(&self) -> u32 {
        u32::from(self.made_10s)
    }

    /// TIME_WAIT sockets made in the last 2 s: whether what the last 10 s show still goes on.
    pub fn made_2s(&self) -> u32 {
        u32::from(self.made_2s)
    }

    /// Connections that are not in their minisocket's time: those that a process may still hold.
    pub fn live(&self) -> u32 {
        let all: u32 = self.states().iter().sum();
        all.saturating_sub(self.state(State::TimeWait) + self.fin_wait2_mini())
    }

    /// FIN_WAIT2 minisockets: a port in use that reuse does not take back on current kernels.
    pub fn fin_wait2_mini(&self) -> u32 {
        u32::from(self.fin_wait2_mini)
    }

    /// SYN_SENT sockets that retransmit.
    pub fn syn_retransmitting(&self) -> u32 {
        u32::from(self.syn_retransmitting)
    }
}

/// Connections that peers made to this host, per peer address.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientStats {
    /// Sockets per kernel state number.
    pub states: StateTally,
    /// Live connections' paths.
    pub path: PathStats,
    /// A process with live sockets here, and by how many it leads (majority vote).
    pub owner: Option<ProcessIndex>,
    /// The vote's lead.
    pub owner_votes: u16,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSocket {
    /// The socket's family.
    pub family: Family,
    /// The kernel's cookie.
    pub cookie: u64,
    /// Inode.
    pub inode: u32,
    /// User id.
    pub uid: u32,
    /// Connections waiting for accept().
    pub queue: u32,
    /// The accept queue's limit; it holds one more. Absent where only /proc/net/tcp could be read.
    pub limit: Option<u32>,
    /// `sk_drops`; scans move it too.
    pub drops: Option<u32>,
    /// IPV6_V6ONLY.
    pub v6only: Option<bool>,
    /// Whether it is an MPTCP listener.
    pub mptcp: bool,
    /// Who holds it.
    pub owner: Option<ProcessIndex>,
}

/// A local address and port that is listened on, by one socket or by a SO_REUSEPORT group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenPoint {
    /// Local address; unspecified for a wildcard.
    pub addr: Addr,
    /// Local port.
    pub port: u16,
    /// The sockets of the group.
    pub sockets: Vec<ListenSocket>,
    /// Half-open requests.
    pub half_open: u32,
    /// Half-open requests whose SYN-ACK was sent again.
    pub half_open_retransmitted: u32,
    /// Connections established, or already closed by the peer, that nobody accepted (inode 0).
    pub unaccepted: u32,
    /// Accepted connections per kernel state number.
    pub states: StateTally,
    /// Why the kernel dropped packets of handshakes with it, where a trace saw it.
    // Last: the first recordings have none.
    #[serde(default)]
    pub reasons: Option<DropReasons>,
}

/// The kernel's reasons for dropping packets of handshakes, while a trace looked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DropReasons {
    /// For how long it looked, seconds.
    pub seconds: f64,
    /// Reason (without `SKB_DROP_REASON_`), packet (syn or last_ack), and how many; most first.
    pub packets: Vec<(String, String, u64)>,
}

impl ListenPoint {
    /// The group's drops together.
    pub fn drops(&self) -> Option<u64> {
        self.sockets.iter().filter_map(|s| s.drops.map(u64::from)).reduce(|a, b| a + b)
    }
}

/// CLOSE_WAIT sockets of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CloseWaitStats {
    /// Recv-Q 0: the process read the end and did not close.
    pub read: u32,
    /// Recv-Q at least 1: it never read the end.
    pub unread: u32,
    /// Send-Q above 0, or data sent since the peer's end: a half-close still in use.
    pub in_use: u32,
    /// Not in use, by time since the peer last acknowledged anything (a lower bound of the age):
    /// below 1 s, 10 s, 60 s, 600 s, and above.
    pub by_age: [u32; 5],
    /// The oldest one's lower bound, milliseconds.
    pub oldest_ms: u32,
    /// Without tcp_info: no age is known.
    pub age_unknown: u32,
    /// Of all, whose peer had closed when a trace began; `None` where none runs.
    // Last: the first recordings have none.
    #[serde(default)]
    pub before_trace: Option<u32>,
}

impl CloseWaitStats {
    /// Sockets not in use whose peer closed at least this long ago; the limit is rounded up to 1, 10, 60 or 600 s.
    pub fn older_than_s(&self, seconds: u32) -> u32 {
        let from = [0, 1, 10, 60, 600].iter().position(|edge| *edge >= seconds).unwrap_or(4);
        self.by_age[from..].iter().sum()
    }

    fn add(&mut self, socket: &SocketRecord, traced: Option<PeerClosed>) {
        if socket.rqueue == 0 {
            self.read += 1;
        } else {
            self.unread += 1;
        }
        if let Some(traced) = traced {
            *self.before_trace.get_or_insert(0) += u32::from(traced.before_trace);
        }
        let Some(info) = &socket.info else {
            self.age_unknown += 1;
            return;
        };
        // Data sent well after the peer's last word (which its FIN was, or followed) means that the half-close is used.
        let sends = info.last_data_sent_ms.saturating_add(1000) < info.last_ack_recv_ms;
        if socket.wqueue > 0 || sends {
            self.in_use += 1;
            return;
        }
        // An answered keep-alive probe is a sign of life, too; a trace knows better. What sent data since is not forgotten.
        let traced = traced.map_or(0, |it| it.ms.min(info.last_data_sent_ms));
        let age = info.last_ack_recv_ms.max(traced);
        self.oldest_ms = self.oldest_ms.max(age);
        let class = [1_000, 10_000, 60_000, 600_000].iter().position(|edge| age < *edge).unwrap_or(4);
        self.by_age[class] += 1;
    }
}

/// Sockets of one process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HolderStats {
    /// Sockets per kernel state number.
    pub states: StateTally,
    /// Connections that it accepted (their local port is listened on).
    pub accepted: u32,
    /// Connections that it made.
    pub outgoing: u32,
    /// Its CLOSE_WAIT sockets.
    pub close_wait: CloseWaitStats,
    /// Connections whose peer does not read.
    pub zero_window: u32,
    /// FIN_WAIT2 sockets that it holds and that received nothing for [`FIN_WAIT2_IDLE_MS`]: forgotten, and not a
    /// half-close over which the peer still sends. Always 0 where there is no tcp_info.
    pub fin_wait2_idle: u32,
    /// Bytes in the receive queues of its connections (a FIN counts one): what it has not read.
    pub unread_bytes: u64,
}

/// From when a FIN_WAIT2 socket that a process holds counts as forgotten, milliseconds since it last received data.
pub const FIN_WAIT2_IDLE_MS: u32 = 60_000;

/// Peers that closed and whom a process keeps waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CloseWaitPeer {
    /// The holder.
    pub process: Option<ProcessIndex>,
    /// For a connection that the process made: the peer's address. For an accepted one: the local address.
    pub addr: Addr,
    /// The service's port, on the side of `addr`.
    pub port: u16,
    /// Whether the process accepted the connection.
    pub accepted: bool,
}

/// How the sockets were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SocketSource {
    /// sock_diag, over netlink.
    SockDiag,
    /// /proc/net/tcp and tcp6: no limits, no tcp_info, no drops, no bound-inactive sockets.
    ProcNetTcp,
    /// An import or a recording.
    Import,
}

/// What the source of the sockets shows of them. The kernel shows all; an imported text often leaves something out,
/// and then its absence says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Every socket of the states that are listed; not so with an address filter, or of one family.
    pub complete: bool,
    /// Timers, with retransmissions.
    pub timers: bool,
    /// tcp_info.
    pub tcp_info: bool,
    /// The options in tcp_info.
    pub timestamps: bool,
    /// Inodes, and with them whether anybody holds a socket.
    pub inodes: bool,
    /// Queues.
    pub queues: bool,
    /// The limits of the accept queues.
    pub limits: bool,
    /// Descriptors of the processes, and their limits.
    pub descriptors: bool,
}

impl Shown {
    /// As the kernel shows sockets over sock_diag.
    pub const ALL: Shown = Shown {
        complete: true,
        timers: true,
        tcp_info: true,
        timestamps: true,
        inodes: true,
        queues: true,
        limits: true,
        descriptors: true,
    };
}

impl Default for Shown {
    fn default() -> Shown {
        Shown::ALL
    }
}

/// Everything kept of one pass over the sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SocketTable {
    /// How they were read.
    pub source: SocketSource,
    /// What the source shows of each. For what was read live, all: what /proc/net/tcp lacks the rules know by its name.
    pub shown: Shown,
    /// Sockets per state.
    pub states: StateCounts,
    /// Whether TIME_WAIT sockets were walked, or only counted from sockstat.
    pub walked_time_wait: bool,
    /// FIN_WAIT2 sockets that are minisockets.
    pub fin_wait2_mini: u64,
    /// TIME_WAIT sockets made in each of the last 60 seconds, newest first (from their remaining times).
    #[serde(with = "sixty")]
    pub time_wait_made: [u32; 60],
    /// Outgoing connections by tuple.
    pub tuples: Groups<Tuple, TupleStats>,
    /// Incoming connections by peer address.
    pub clients: Groups<Addr, ClientStats>,
    /// Listening sockets by address and port; at most [`MAX_LISTEN_POINTS`].
    pub listeners: Vec<ListenPoint>,
    /// Listening sockets beyond the limit.
    pub listeners_left_out: u64,
    /// By holder; `None` is "no process found".
    pub holders: BTreeMap<Option<ProcessIndex>, HolderStats>,
    /// Where the CLOSE_WAIT sockets come from.
    pub close_wait_peers: Groups<CloseWaitPeer, ()>,
    /// Sources of half-open requests: a biased sample, as a listener keeps at most its backlog plus one.
    pub syn_recv_sources: Groups<Addr, ()>,
    /// TIME_WAIT sockets of ports that nobody listens on and that connect() would not have chosen, by local address and
    /// port: what a server left behind. With the longest remaining time, milliseconds.
    pub left_behind: Groups<(Addr, u16), u32>,
    /// FIN_WAIT1, FIN_WAIT2 (full sockets), LAST_ACK and CLOSING sockets that no process holds.
    pub orphans: u64,
    /// Local ports that a bind() holds and connect() therefore skips, within the range: listeners' and
    /// bound-inactive sockets'.
    pub bound_ports_in_range: u32,
    /// Usable local ports of live outgoing connections, each once, whose parity is not that of the range's first port.
    /// connect() comes to those last and bind() to port 0 takes them first: an estimate of the ports that were bound
    /// before connect().
    pub other_parity_ports_in_range: u32,
    /// From when an established connection was counted as idle, milliseconds ([`Aggregator::idle_ms`]).
    pub idle_ms: u32,
    /// From when a closed window was counted as stuck, milliseconds ([`Aggregator::stuck_ms`]).
    pub stuck_ms: u32,
    /// Records that could not be read, and were skipped.
    pub malformed: u64,
    /// Whether the kernel said that the dump was interrupted by changes (NLM_F_DUMP_INTR).
    pub interrupted: bool,
    /// Who made the outgoing connections in TIME_WAIT, where a trace knows it.
    // Last: the first recordings have none.
    #[serde(default)]
    pub time_wait_makers: Option<TimeWaitMakers>,
}

/// serde has no arrays of this length.
mod sixty {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(made: &[u32; 60], serializer: S) -> Result<S::Ok, S::Error> {
        made.as_slice().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u32; 60], D::Error> {
        let made = Vec::<u32>::deserialize(deserializer)?;
        made.try_into().map_err(|_| serde::de::Error::custom("not sixty seconds"))
    }
}

impl SocketTable {
    /// Keeps what a trend is read from, states and holders, and gives the rest back: a long run has many samples
    /// between its first and its last.
    pub fn slim(&mut self) {
        self.tuples = Groups::new(0);
        self.clients = Groups::new(0);
        self.listeners = Vec::new();
        self.close_wait_peers = Groups::new(0);
        self.syn_recv_sources = Groups::new(0);
        self.left_behind = Groups::new(0);
        self.time_wait_makers = None;
    }

    /// A copy of what [`SocketTable::slim`] leaves, without one of the rest.
    #[must_use]
    pub fn slimmed(&self) -> SocketTable {
        SocketTable {
            tuples: Groups::new(0),
            clients: Groups::new(0),
            listeners: Vec::new(),
            holders: self.holders.clone(),
            close_wait_peers: Groups::new(0),
            syn_recv_sources: Groups::new(0),
            left_behind: Groups::new(0),
            time_wait_makers: None,
            ..*self
        }
    }

    /// The process that made most of a tuple's TIME_WAIT sockets whose maker a trace knows, with how many it made.
    pub fn maker(&self, tuple: &Tuple) -> Option<(ProcessIndex, u64)> {
        let makers = self.time_wait_makers.as_ref()?;
        let of_it = makers.by.iter().filter(|group| group.key.0 == *tuple);
        let most = of_it.max_by_key(|group| (group.at_least(), std::cmp::Reverse(group.key.1)))?;
        Some((most.key.1, most.at_least()))
    }
}

/// Who made the outgoing connections in TIME_WAIT.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimeWaitMakers {
    /// Sockets by tuple and process.
    pub by: Groups<(Tuple, ProcessIndex), ()>,
    /// Sockets of no known maker: from before the trace, or lost.
    pub unknown: u64,
    /// Makers that the trace had no room for, also of sockets that are gone.
    // Last: the first recordings have none.
    #[serde(default)]
    pub lost: u64,
}

/// Listening addresses kept.
pub const MAX_LISTEN_POINTS: usize = 8192;

/// Which aggregates to gather; each costs time per socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    /// Outgoing connections by tuple: how many groups exactly, 0 for none.
    pub tuples: usize,
    /// Incoming connections by peer: how many groups exactly, 0 for none.
    pub clients: usize,
    /// Holders and what belongs to them.
    pub holders: bool,
}

impl Gather {
    /// All that the rules need.
    pub const CHECK: Gather = Gather { tuples: 100_000, clients: 30_000, holders: true };
    /// States and listeners only.
    pub const STATES: Gather = Gather { tuples: 0, clients: 0, holders: false };
}

/// Gathers a [`SocketTable`] from a stream of sockets.
pub struct Aggregator<'a> {
    table: SocketTable,
    gather: Gather,
    owners: &'a dyn Owners,
    range: PortRange,
    usable: PortSet,
    bound: PortSet,
    other_parity: PortSet,
    listening: ListenIndex,
    /// The age from which a TIME_WAIT can be reused, milliseconds: 1000, or `tcp_tw_reuse_delay`.
    pub reuse_delay_ms: u32,
    /// How long TIME_WAIT lasts, milliseconds: 60,000 but for vendors' kernels with `tcp_tw_timeout`.
    pub time_wait_ms: u32,
    /// From when an established connection counts as idle, milliseconds.
    pub idle_ms: u32,
    /// From when a connection whose peer's window is closed counts as stuck, milliseconds since it sent data.
    pub stuck_ms: u32,
}

impl<'a> Aggregator<'a> {
    /// For a namespace whose listening sockets are known already: accepted connections are told from outgoing ones
    /// by them.
    pub fn new(
        source: SocketSource,
        gather: Gather,
        range: &PortRange,
        listening: &[SocketRecord],
        owners: &'a dyn Owners,
    ) -> Aggregator<'a> {
        Aggregator::of_shown(source, Shown::ALL, gather, range, listening, owners)
    }

    /// The same for a source that shows less: what it does not show is not counted as absent.
    pub fn of_shown(
        source: SocketSource,
        shown: Shown,
        gather: Gather,
        range: &PortRange,
        listening: &[SocketRecord],
        owners: &'a dyn Owners,
    ) -> Aggregator<'a> {
        let mut aggregator = Aggregator {
            table: SocketTable {
                source,
                shown,
                states: StateCounts::default(),
                walked_time_wait: true,
                fin_wait2_mini: 0,
                time_wait_made: [0; 60],
                tuples: Groups::new(gather.tuples),
                clients: Groups::new(gather.clients),
                listeners: Vec::new(),
                listeners_left_out: 0,
                holders: BTreeMap::new(),
                close_wait_peers: Groups::new(4096),
                syn_recv_sources: Groups::new(4096),
                left_behind: Groups::new(4096),
                time_wait_makers: owners.makers_lost().map(|lost| TimeWaitMakers {
                    by: Groups::new(16_384),
                    unknown: 0,
                    lost,
                }),
                orphans: 0,
                bound_ports_in_range: 0,
                other_parity_ports_in_range: 0,
                idle_ms: 0,
                stuck_ms: 0,
                malformed: 0,
                interrupted: false,
            },
            gather,
            owners,
            range: range.clone(),
            usable: PortSet::default(),
            bound: PortSet::default(),
            other_parity: PortSet::default(),
            listening: ListenIndex::default(),
            reuse_delay_ms: 1000,
            time_wait_ms: 60_000,
            idle_ms: 2 * 3600 * 1000,
            stuck_ms: 5000,
        };
        for port in range.low..=range.high {
            if range.usable(port) {
                aggregator.usable.insert(port);
            }
        }
        for socket in listening {
            aggregator.listen(socket);
        }
        aggregator
    }

    fn listen(&mut self, socket: &SocketRecord) {
        self.bound.insert(socket.sport);
        let owner = self.owners.owner(socket);
        let has_limit = self.table.source != SocketSource::ProcNetTcp && self.table.shown.limits;
        let entry = ListenSocket {
            family: socket.family,
            cookie: socket.cookie,
            inode: socket.inode,
            uid: socket.uid,
            queue: socket.rqueue,
            limit: has_limit.then_some(socket.wqueue),
            drops: socket.skmem.and_then(|m| m.drops),
            v6only: socket.v6only,
            mptcp: socket.mptcp,
            owner,
        };
        if let Some(at) = self.listening.exact(socket.src, socket.sport) {
            self.table.listeners[at].sockets.push(entry);
        } else if self.table.listeners.len() < MAX_LISTEN_POINTS {
            self.listening.insert(socket.src, socket.sport, socket.v6only, self.table.listeners.len());
            self.table.listeners.push(ListenPoint {
                addr: socket.src,
                port: socket.sport,
                sockets: vec![entry],
                half_open: 0,
                half_open_retransmitted: 0,
                unaccepted: 0,
                states: StateTally::default(),
                reasons: None,
            });
        } else {
            self.table.listeners_left_out += 1;
        }
        self.table.states.add(State::Listen);
        if self.gather.holders {
            self.table.holders.entry(owner).or_default().states[State::Listen as usize] += 1;
        }
    }

    /// Takes one socket that is not listening (listening ones are skipped: they came first).
    pub fn add(&mut self, socket: &SocketRecord) {
        let state = socket.state;
        if state == State::Listen {
            return;
        }
        // Where timers are not shown, a TIME_WAIT socket still is a minisocket, of unknown age.
        let timed = socket.is_minisocket();
        let mini = timed || state == State::TimeWait;
        let table = &mut self.table;
        table.states.add(state);
        let age_ms = (timed && state == State::TimeWait)
            .then(|| self.time_wait_ms.saturating_sub(socket.timer.map_or(0, |t| t.expires_ms)));
        if let Some(slot) = age_ms.and_then(|age| table.time_wait_made.get_mut(age as usize / 1000)) {
            *slot += 1;
        }
        if mini && state == State::FinWait2 {
            table.fin_wait2_mini += 1;
        }
        if state == State::BoundInactive {
            self.bound.insert(socket.sport);
        }
        let shown = table.shown;
        let held = socket.inode != 0 || !shown.inodes;
        let ends = matches!(state, State::FinWait1 | State::FinWait2 | State::LastAck | State::Closing);
        if ends && !held && !mini {
            table.orphans += 1;
        }
        let connected = !matches!(state, State::BoundInactive | State::Close);
        let listener = if connected { self.listening.find(socket.src, socket.sport) } else { None };
        let owner = if self.gather.holders { self.owners.owner(socket) } else { None };

        if let Some(at) = listener {
            let point = &mut table.listeners[at];
            point.states[state as usize] += 1;
            match state {
                State::SynRecv => {
                    point.half_open += 1;
                    point.half_open_retransmitted += u32::from(socket.retransmits > 0);
                    if self.gather.clients > 0 {
                        table.syn_recv_sources.add(socket.dst);
                    }
                }
                State::Established | State::CloseWait if !held => point.unaccepted += 1,
                _ => {}
            }
            if self.gather.clients > 0 {
                let client = table.clients.add(socket.dst);
                client.states[state as usize] += 1;
                if !mini && state != State::SynRecv {
                    client.path.add(socket, shown, self.idle_ms, self.stuck_ms);
                    vote(&mut client.owner, &mut client.owner_votes, owner.filter(|_| held));
                }
            }
        } else if connected && self.gather.tuples > 0 {
            let tuple = Tuple { src: socket.src, dst: socket.dst, dport: socket.dport };
            let stats = table.tuples.add(tuple);
            if let Some(count) = stats.states.get_mut(state as usize - 1) {
                tick(count, true);
            }
            let usable = self.usable.contains(socket.sport);
            if usable {
                let first = socket.sport % 2 == self.range.low % 2;
                tick(&mut stats.in_range, true);
                tick(&mut stats.first_parity, first);
                if !first && !mini {
                    self.other_parity.insert(socket.sport);
                }
            }
            // A peer port below 1024 is a service: then this end was a client that chose its port itself (NFS does).
            if state == State::TimeWait && !usable && socket.dport >= 1024 {
                let longest = table.left_behind.add((socket.src, socket.sport));
                *longest = (*longest).max(socket.timer.map_or(0, |t| t.expires_ms));
            }
            if let (Some(makers), State::TimeWait) = (&mut table.time_wait_makers, state) {
                match owner {
                    Some(process) => *makers.by.add((tuple, process)) = (),
                    None => makers.unknown += 1,
                }
            }
            if let Some(age) = age_ms {
                tick(&mut stats.made_60s, age < 60_000);
                tick(&mut stats.made_10s, age < 10_000);
                tick(&mut stats.made_2s, age < 2_000);
                tick(&mut stats.time_wait_aged, usable && age >= self.reuse_delay_ms);
            }
            if mini {
                tick(&mut stats.fin_wait2_mini, state == State::FinWait2);
            } else {
                stats.path.add(socket, shown, self.idle_ms, self.stuck_ms);
                tick(&mut stats.syn_retransmitting, state == State::SynSent && socket.retransmits > 0);
                vote(&mut stats.owner, &mut stats.owner_votes, owner);
            }
        }

        // A socket that nobody accepted is its listener's, one without holder nobody's.
        if self.gather.holders && !mini && (held || state == State::CloseWait) && state != State::SynRecv {
            let holder = table.holders.entry(owner).or_default();
            holder.states[state as usize] += 1;
            if connected {
                holder.accepted += u32::from(listener.is_some());
                holder.outgoing += u32::from(listener.is_none());
            }
            holder.zero_window += u32::from(waits_for_window(socket));
            holder.unread_bytes += u64::from(socket.rqueue);
            let quiet = socket.info.is_some_and(|i| i.last_data_recv_ms >= FIN_WAIT2_IDLE_MS);
            holder.fin_wait2_idle += u32::from(state == State::FinWait2 && held && quiet);
            if state == State::CloseWait && held {
                holder.close_wait.add(socket, self.owners.peer_closed(socket));
                let accepted = listener.is_some();
                let (addr, port) =
                    if accepted { (socket.src, socket.sport) } else { (socket.dst, socket.dport) };
                table.close_wait_peers.add(CloseWaitPeer { process: owner, addr, port, accepted });
            }
        }
    }

    /// Counts a record that could not be read.
    pub fn skip_malformed(&mut self) {
        self.table.malformed += 1;
    }

    /// Ends the pass.
    pub fn finish(mut self) -> SocketTable {
        let usable = || (self.range.low..=self.range.high).filter(|p| self.usable.contains(*p));
        self.table.bound_ports_in_range = usable().filter(|p| self.bound.contains(*p)).count() as u32;
        self.table.other_parity_ports_in_range =
            usable().filter(|p| self.other_parity.contains(*p)).count() as u32;
        (self.table.idle_ms, self.table.stuck_ms) = (self.idle_ms, self.stuck_ms);
        self.table
    }
}

/// A set of ports.
#[derive(Debug, Clone)]
pub struct PortSet(Box<[u64; 1024]>);

impl Default for PortSet {
    fn default() -> PortSet {
        PortSet(Box::new([0; 1024]))
    }
}

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        self.0[port as usize / 64] |= 1 << (port % 64);
    }

    /// Whether it is there.
    pub fn contains(&self, port: u16) -> bool {
        self.0[port as usize / 64] & (1 << (port % 64)) != 0
    }
}

/// Finds the listener that a local address and port belong to: an exact one before a wildcard.
#[derive(Debug, Clone, Default)]
pub struct ListenIndex {
    ports: PortSet,
    // Ports whose IPv6 wildcard listener takes no IPv4.
    v6only: PortSet,
    points: hashbrown::HashMap<(Addr, u16), usize>,
}

impl ListenIndex {
    /// Adds a listening address; `v6only` as the socket has it.
    pub fn insert(&mut self, addr: Addr, port: u16, v6only: Option<bool>, at: usize) {
        self.ports.insert(port);
        if addr == Addr::UNSPECIFIED && v6only == Some(true) {
            self.v6only.insert(port);
        }
        self.points.insert((addr, port), at);
    }

    /// The entry of just this address.
    pub fn exact(&self, addr: Addr, port: u16) -> Option<usize> {
        if !self.ports.contains(port) {
            return None;
        }
        self.points.get(&(addr, port)).copied()
    }

    /// The entry that a connection with this local address and port came through.
    pub fn find(&self, addr: Addr, port: u16) -> Option<usize> {
        if !self.ports.contains(port) {
            return None;
        }
        let get = |addr| self.points.get(&(addr, port)).copied();
        let v4 = addr.is_v4();
        get(addr)
            .or_else(|| if v4 { get(Addr::v4([0; 4])) } else { None })
            .or_else(|| if v4 && self.v6only.contains(port) { None } else { get(Addr::UNSPECIFIED) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{TcpInfo, Timer};
    use std::net::IpAddr;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn listener(at: &str, port: u16) -> SocketRecord {
        let mut socket = SocketRecord::new(State::Listen, addr(at), port, Addr::UNSPECIFIED, 0);
        (socket.inode, socket.wqueue) = (1, 128);
        socket
    }

    #[test]
    fn accepted_connections_are_told_from_outgoing_ones() {
        let range = PortRange::default();
        let listeners = [listener("0.0.0.0", 80), listener("::", 443), listener("10.0.0.1", 22)];
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &listeners, &NoOwners);
        let peer = addr("10.9.9.9");
        let mut add = |src: &str, sport, dport| {
            sums.add(&SocketRecord::new(State::Established, addr(src), sport, peer, dport));
        };
        add("10.0.0.1", 80, 5000); // through 0.0.0.0:80
        add("10.0.0.1", 443, 5000); // IPv4 through [::]:443
        add("10.0.0.1", 22, 5000); // exact
        add("10.0.0.2", 22, 5000); // another address: not this listener's
        add("10.0.0.1", 40000, 443); // outgoing
        let table = sums.finish();
        let by_port = |p| table.listeners.iter().find(|l| l.port == p).expect("listener").states[1];
        assert_eq!([by_port(80), by_port(443), by_port(22)], [1, 1, 1]);
        assert_eq!(table.tuples.total(), 2);
        assert_eq!(table.clients.get(&peer).expect("client").value.states[1], 3);
        assert_eq!(table.states.count(State::Listen), 3);
    }

    #[test]
    fn a_v6only_listener_takes_no_ipv4() {
        let mut index = ListenIndex::default();
        index.insert(Addr::UNSPECIFIED, 80, Some(true), 0);
        index.insert(Addr::UNSPECIFIED, 443, Some(false), 1);
        assert_eq!((index.find(addr("10.0.0.1"), 80), index.find(addr("fd00::1"), 80)), (None, Some(0)));
        assert_eq!((index.find(addr("10.0.0.1"), 443), index.find(addr("fd00::1"), 443)), (Some(1), Some(1)));
    }

    #[test]
    fn a_tuple_counts_ports_in_range_parity_and_ages() {
        let range = PortRange { low: 1000, high: 1009, reserved: vec![(1004, 1005)] };
        assert_eq!((range.usable_count(), range.first_parity_count()), (8, 4));
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &[], &NoOwners);
        for (port, left_ms) in [(1000, 59_500), (1002, 30_000), (1003, 55_000), (1004, 1), (2000, 60_000)] {
            let mut socket = SocketRecord::new(State::TimeWait, addr("10.0.0.1"), port, addr("10.0.0.2"), 80);
            socket.timer = Some(Timer { kind: TimerKind::TimeWait, expires_ms: left_ms });
            sums.add(&socket);
        }
        let table = sums.finish();
        let tuple = Tuple { src: addr("10.0.0.1"), dst: addr("10.0.0.2"), dport: 80 };
        let stats = table.tuples.get(&tuple).expect("tuple").value;
        assert_eq!(
            (stats.in_range(), stats.first_parity(), stats.made_10s(), stats.made_60s()),
            (3, 2, 3, 5)
        );
        assert_eq!((stats.time_wait_aged(), stats.made_2s(), stats.live()), (2, 2, 0));
        assert!(std::mem::size_of::<TupleStats>() <= 88, "there may be 150,000 of them");
        assert_eq!(table.time_wait_made.iter().sum::<u32>(), 5);
    }

    #[test]
    fn close_wait_is_split_by_use_and_age() {
        struct Everyone;
        impl Owners for Everyone {
            fn owner(&self, _: &SocketRecord) -> Option<ProcessIndex> {
                Some(7)
            }
        }
        let range = PortRange::default();
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &[], &Everyone);
        for (ack_ms, sent_ms, send_q, recv_q) in
            [(500, 500, 0, 0), (90_000, 90_000, 0, 1), (90_000, 100, 0, 0), (90_000, 90_000, 10, 0)]
        {
            let mut socket =
                SocketRecord::new(State::CloseWait, addr("10.0.0.1"), 40000, addr("10.0.0.2"), 6379);
            (socket.inode, socket.wqueue, socket.rqueue) = (9, send_q, recv_q);
            socket.info =
                Some(TcpInfo { last_ack_recv_ms: ack_ms, last_data_sent_ms: sent_ms, ..TcpInfo::default() });
            sums.add(&socket);
        }
        let table = sums.finish();
        let stats = table.holders[&Some(7)].close_wait;
        assert_eq!((stats.in_use, stats.read, stats.unread), (2, 3, 1));
        assert_eq!(stats.by_age, [1, 0, 0, 1, 0]);
        assert_eq!((stats.older_than_s(60), stats.older_than_s(0), stats.oldest_ms), (1, 2, 90_000));
    }

    struct Everyone;
    impl Owners for Everyone {
        fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex> {
            Some(socket.inode)
        }
    }

    /// Knows who made the minisockets with these cookies.
    struct Traced;
    impl Owners for Traced {
        fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex> {
            [None, Some(4), Some(6)][socket.cookie as usize % 3]
        }

        fn makers_lost(&self) -> Option<u64> {
            Some(0)
        }

        fn peer_closed(&self, socket: &SocketRecord) -> Option<PeerClosed> {
            let before_trace = socket.cookie == 1;
            Some(PeerClosed { ms: if before_trace { 90_000 } else { 0 }, before_trace })
        }
    }

    #[test]
    fn a_trace_tells_since_when_close_wait_is_there() {
        let range = PortRange::default();
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &[], &Traced);
        // The peer answered a keep-alive probe a moment ago. To the second, data was sent meanwhile: it is in use.
        for (cookie, last_data_sent_ms) in [(1, 100_000), (1, 2_000), (4, 100_000)] {
            let mut socket =
                SocketRecord::new(State::CloseWait, addr("10.0.0.1"), 40_000, addr("10.0.0.2"), 6379);
            (socket.cookie, socket.inode) = (cookie, 7);
            socket.info = Some(TcpInfo { last_ack_recv_ms: 1_500, last_data_sent_ms, ..TcpInfo::default() });
            sums.add(&socket);
        }
        let table = sums.finish();
        let stats: Vec<&CloseWaitStats> = table.holders.values().map(|held| &held.close_wait).collect();
        assert_eq!(stats.iter().filter_map(|it| it.before_trace).sum::<u32>(), 2);
        assert_eq!(stats.iter().map(|it| it.older_than_s(60)).sum::<u32>(), 1);
        assert_eq!(stats.iter().map(|it| it.oldest_ms).max(), Some(90_000));
    }

    #[test]
    fn a_trace_tells_who_made_time_wait() {
        let range = PortRange::default();
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &[], &Traced);
        for cookie in [1, 2, 0, 1, 3, 4] {
            let mut socket =
                SocketRecord::new(State::TimeWait, addr("10.0.0.1"), 40_000, addr("10.0.0.2"), 6379);
            socket.cookie = cookie;
            socket.timer = Some(Timer { kind: TimerKind::TimeWait, expires_ms: 30_000 });
            sums.add(&socket);
        }
        let table = sums.finish();
        let tuple = Tuple { src: addr("10.0.0.1"), dst: addr("10.0.0.2"), dport: 6379 };
        assert_eq!(table.maker(&tuple), Some((4, 3)));
        assert_eq!(table.maker(&Tuple { dport: 1, ..tuple }), None);
        assert_eq!(table.time_wait_makers.expect("a trace").unknown, 2);
        // It holds none of them.
        assert!(table.holders.is_empty() && table.tuples.iter().all(|group| group.value.owner.is_none()));
    }

    #[test]
    fn who_holds_most_is_told_of_tuples_and_of_clients() {
        let range = PortRange::default();
        let listeners = [listener("0.0.0.0", 80)];
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &listeners, &Everyone);
        for (i, inode) in [5, 9, 9, 9, 5, 0].into_iter().enumerate() {
            for sport in [80, 40_000 + i as u16] {
                let mut socket = SocketRecord::new(
                    State::Established,
                    addr("10.0.0.1"),
                    sport,
                    addr("10.0.0.2"),
                    if sport == 80 { 5000 + i as u16 } else { 443 },
                );
                socket.inode = inode;
                sums.add(&socket);
            }
        }
        let table = sums.finish();
        // Nobody has accepted the one with inode 0.
        let client = table.clients.get(&addr("10.0.0.2")).expect("client").value;
        assert_eq!((client.owner, client.owner_votes), (Some(9), 1));
        assert_eq!(table.tuples.iter().next().expect("tuple").value.owner, Some(9));
        assert_eq!((table.idle_ms, table.stuck_ms), (7_200_000, 5000));
    }

    #[test]
    fn what_waits_is_told_from_what_is_only_slow() {
        let range = PortRange { low: 40_000, high: 40_009, reserved: vec![(40_009, 40_009)] };
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &[], &Everyone);
        for (state, port, ms) in [
            (State::Established, 40_001, 5000),
            (State::Established, 40_002, 4999),
            (State::FinWait2, 40_003, 60_000),
            (State::FinWait2, 40_009, 59_999),
        ] {
            let mut socket = SocketRecord::new(state, addr("10.0.0.1"), port, addr("10.0.0.2"), 443);
            (socket.inode, socket.wqueue, socket.rqueue) = (3, 10, 7);
            socket.timer = Some(Timer { kind: TimerKind::ZeroWindowProbe, expires_ms: 1 });
            socket.info =
                Some(TcpInfo { last_data_sent_ms: ms, last_data_recv_ms: ms, ..TcpInfo::default() });
            if state == State::FinWait2 {
                socket.timer = None;
            }
            sums.add(&socket);
        }
        let table = sums.finish();
        let path = table.tuples.iter().next().expect("tuple").value.path;
        assert_eq!((path.zero_window, path.zero_window_stuck, path.zero_window_oldest_ms), (2, 1, 5000));
        let held = &table.holders[&Some(3)];
        assert_eq!((held.fin_wait2_idle, held.unread_bytes), (1, 28));
        assert_eq!(table.other_parity_ports_in_range, 2, "40009 is reserved");
    }
}
