//! `linger listeners`

use super::states::{either, incomplete, now_us};
use crate::cli::{FilterArgs, ListenersArgs};
use crate::diagnose::timestamp;
use crate::filters::{self, Wanted};
use crate::render::listeners::text;
use crate::render::style::Style;
use linger_collect::{ALL_STATES, HolderTable, Walk, sysctls};
use linger_model::aggregate::{Aggregator, Gather, PortRange, SocketSource};
use linger_model::record::endpoint;
use linger_model::report::ReportNetns;
use linger_model::snapshot::Kernel;
use linger_model::{Addr, SocketRecord, State};
use linger_netns::Netns;
use linger_wire::sock_diag::Extensions;
use schemars::JsonSchema;
use serde::Serialize;

/// Listening sockets.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListenersReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The namespace.
    pub netns: ReportNetns,
    /// When, RFC 3339 in UTC.
    pub taken_at: String,
    /// net.core.somaxconn, which caps what listen() asks for.
    pub somaxconn: Option<u32>,
    /// Listening sockets, the fullest queue first; sockets of a SO_REUSEPORT group stand together.
    pub listeners: Vec<ListenerRow>,
    /// Sockets not shown.
    pub left_out: u64,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// One listening socket.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListenerRow {
    /// Local address; unspecified for a wildcard.
    #[schemars(with = "String")]
    pub addr: Addr,
    /// Local port.
    pub port: u16,
    /// Which socket of its SO_REUSEPORT group this is, from 0.
    pub group_index: u32,
    /// Sockets that share this address and port.
    pub group_size: u32,
    /// Connections waiting for accept().
    pub queue: u32,
    /// The queue's limit, fixed when listen() was called; it holds one more. Null where only /proc/net/tcp could be read.
    pub limit: Option<u32>,
    /// Whether the limit is just net.core.somaxconn: the application may have asked for more.
    pub limit_equals_somaxconn: bool,
    /// Connection requests dropped since the socket was opened (sk_drops); scans move it too. Null where not known.
    pub drops: Option<u32>,
    /// Half-open requests of the group.
    pub half_open: u32,
    /// Half-open requests of the group whose SYN-ACK was sent again.
    pub half_open_retransmitted: u32,
    /// Connections of the group that nobody accepted yet (inode 0).
    pub unaccepted: u32,
    /// Connections of the group in any state but TIME_WAIT.
    pub connected: u32,
    /// User id of the socket.
    pub uid: u32,
    /// Inode of the socket.
    pub inode: u32,
    /// Whether it is an MPTCP listener.
    pub mptcp: bool,
    /// Process id of the holder (the lowest, where several hold it); null where not visible.
    pub pid: Option<u32>,
    /// The holder.
    pub process: Option<String>,
}

impl ListenerRow {
    /// `*:443`.
    pub fn address(&self) -> String {
        endpoint(self.addr, self.port)
    }
}

/// Walks and prints.
pub fn run(args: &ListenersArgs, style: &Style) -> anyhow::Result<u8> {
    let filter = FilterArgs { src: args.src.clone(), sport: args.sport.clone(), ..FilterArgs::default() };
    let wanted = filters::read(&filter)?;
    super::of_each_namespace(
        &args.netns,
        args.format,
        style,
        |ns, owners| one(args, &wanted, ns, owners),
        text,
    )
}

impl super::NetnsReport for ListenersReport {
    fn netns(&self) -> &ReportNetns {
        &self.netns
    }

    fn gaps(&mut self) -> &mut Vec<String> {
        &mut self.gaps
    }
}

fn one(
    args: &ListenersArgs,
    wanted: &Wanted,
    ns: &Netns,
    owners: &HolderTable,
) -> anyhow::Result<ListenersReport> {
    let kernel = Kernel::new(rustix::system::uname().release().to_string_lossy());
    let mut listening: Vec<SocketRecord> = Vec::new();
    let listen =
        Walk { states: State::Listen.bit(), extensions: Extensions::ALL, filter: wanted.filter.as_ref() };
    let (listen_end, by_proc) = either(&listen, |s| listening.push(s.clone()))?;
    let source = if by_proc { SocketSource::ProcNetTcp } else { SocketSource::SockDiag };
    let range = PortRange::default();
    let mut sums = Aggregator::new(source, Gather::STATES, &range, &listening, owners);
    // TIME_WAIT sockets say nothing of a listener's present, and cost most.
    let states = ALL_STATES & !(State::Listen.bit() | State::TimeWait.bit() | State::BoundInactive.bit());
    let rest = Walk { states, extensions: Extensions::NONE, filter: wanted.filter.as_ref() };
    let (end, _) = either(&rest, |s| sums.add(s))?;
    let table = sums.finish();
    let somaxconn = sysctls(&["net.core.somaxconn"], false)
        .remove("net.core.somaxconn")
        .and_then(Result::ok)
        .and_then(|t| t.trim().parse().ok());
    let mut points: Vec<_> = table.listeners.iter().collect();
    let fullness = |queue: u32, limit: Option<u32>| match limit {
        Some(limit) => f64::from(queue) / (f64::from(limit) + 1.0),
        None => f64::from(queue),
    };
    let fullest = |point: &&linger_model::aggregate::ListenPoint| {
        point.sockets.iter().map(|s| fullness(s.queue, s.limit)).fold(0.0, f64::max)
    };
    points.sort_by(|a, b| {
        fullest(b).total_cmp(&fullest(a)).then(a.port.cmp(&b.port)).then(a.addr.cmp(&b.addr))
    });
    let mut rows = Vec::new();
    for point in points {
        let connected: u32 = point.states.iter().sum::<u32>().saturating_sub(point.half_open);
        for (i, socket) in point.sockets.iter().enumerate() {
            let process = socket.owner.and_then(|o| owners.processes().get(o));
            rows.push(ListenerRow {
                addr: point.addr,
                port: point.port,
                group_index: i as u32,
                group_size: point.sockets.len() as u32,
                queue: socket.queue,
                limit: socket.limit,
                limit_equals_somaxconn: socket.limit.is_some() && socket.limit == somaxconn,
                drops: socket.drops,
                half_open: point.half_open,
                half_open_retransmitted: point.half_open_retransmitted,
                unaccepted: point.unaccepted,
                connected,
                uid: socket.uid,
                inode: socket.inode,
                mptcp: socket.mptcp,
                pid: process.map(|p| p.pid),
                process: process.map(|p| p.label()),
            });
        }
    }
    let left_out = table.listeners_left_out + rows.len().saturating_sub(args.top as usize) as u64;
    rows.truncate(args.top as usize);
    let mut gaps = incomplete(&[listen_end, end]);
    if by_proc {
        gaps.push(
            "sock_diag cannot list TCP sockets here: /proc/net/tcp was read, which has no limits and drops (modprobe tcp_diag)"
                .to_owned(),
        );
    }
    Ok(ListenersReport {
        schema: 1,
        kernel: kernel.release,
        netns: ReportNetns { inode: ns.inode(), name: ns.name().map(str::to_owned), is_init: ns.is_init() },
        taken_at: timestamp(now_us()),
        somaxconn,
        listeners: rows,
        left_out,
        gaps,
    })
}
