//! `linger ports`

use super::states::{either, incomplete, now_us};
use super::sysctl_keys;
use crate::cli::PortsArgs;
use crate::diagnose::timestamp;
use crate::filters::{self, Wanted};
use crate::render::ports::text;
use crate::render::style::Style;
use linger_collect::{HolderTable, Walk, port_range, set_times, sysctls};
use linger_model::aggregate::{Aggregator, Gather, ProcessIndex, SocketSource, Tuple, TupleStats};
use linger_model::groups::Group;
use linger_model::record::endpoint;
use linger_model::report::ReportNetns;
use linger_model::snapshot::{Gap, GapKind, Kernel};
use linger_model::{Addr, SocketRecord, SocketTable, State, StateCounts};
use linger_netns::Netns;
use linger_rules::ports::{PortUse, Ports, ReusePolicy};
use linger_wire::sock_diag::Extensions;
use schemars::JsonSchema;
use serde::Serialize;

/// Local ports in use towards each destination.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PortsReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The namespace.
    pub netns: ReportNetns,
    /// When, RFC 3339 in UTC.
    pub taken_at: String,
    /// The ports that connect() may choose.
    pub range: RangeReport,
    /// Destinations, the fullest first.
    pub ports: Vec<PortRow>,
    /// Tuples not shown.
    pub other_destinations: u64,
    /// Their sockets.
    pub other_sockets: u64,
    /// Whether every tuple was held and every count is exact.
    pub exact: bool,
    /// By how many sockets a count may be too high.
    pub error_bound: u64,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// The ports that connect() may choose in a namespace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RangeReport {
    /// First port of ip_local_port_range.
    pub low: u16,
    /// Last port.
    pub high: u16,
    /// Ports of it in ip_local_reserved_ports.
    pub reserved: u32,
    /// Ports left.
    pub usable: u32,
    /// Usable ports that listeners and bound, unconnected sockets hold: lost to connect() for every destination.
    pub bound: u32,
    /// Bound, unconnected sockets; null where this kernel cannot list them.
    pub bound_inactive_sockets: Option<u64>,
    /// Usable ports of the parity that connect() tries first.
    pub first_parity_usable: u32,
    /// tcp_tw_reuse: 0 off, 1 on, 2 on loopback.
    pub tcp_tw_reuse: i64,
    /// What that means for TIME_WAIT ports.
    pub reuse_says: String,
}

/// One (source address, destination address, destination port).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PortRow {
    /// Local address.
    #[schemars(with = "String")]
    pub src: Addr,
    /// Peer address.
    #[schemars(with = "String")]
    pub dst: Addr,
    /// Peer port.
    pub dport: u16,
    /// Local ports of the range in use, TIME_WAIT included.
    pub used: u64,
    /// By how much `used` may be too high.
    pub error: u64,
    /// Sockets per state, those outside the range included.
    pub states: StateCounts,
    /// Ports held by anything but TIME_WAIT.
    pub live: u64,
    /// TIME_WAIT ports that connect() takes back.
    pub reusable: u64,
    /// Why those can, or cannot, be taken back.
    pub reuse: String,
    /// Ports that nobody holds.
    pub free: u64,
    /// Share of the available ports that connect() cannot take.
    pub fraction: f64,
    /// TIME_WAIT sockets made per second over the last 10 s; null where remaining times are not known.
    pub new_per_s: Option<f64>,
    /// Seconds until no port is left at this rate; null when that does not happen.
    pub time_to_exhaustion_s: Option<f64>,
    /// Only ports of the parity that connect() tries last are left: each connect() walks half of the range first.
    pub second_half_only: bool,
    /// Estimate from the ports' parity: share that was bound before connect(); null where it cannot be told.
    pub bound_before_connect_estimate: Option<f64>,
    /// A process with live sockets here.
    pub process: Option<String>,
    /// The process that made most of those in TIME_WAIT; null where no trace runs as a daemon, or it has not seen it.
    pub time_wait_process: Option<String>,
}

impl PortRow {
    /// `10.0.0.2:443`.
    pub fn destination(&self) -> String {
        endpoint(self.dst, self.dport)
    }
}

/// Walks and prints.
pub fn run(args: &PortsArgs, style: &Style) -> anyhow::Result<u8> {
    let wanted = filters::read(&args.filter)?;
    super::of_each_namespace(
        &args.netns,
        args.format,
        style,
        |ns, owners| one(args, &wanted, ns, owners),
        text,
    )
}

impl super::NetnsReport for PortsReport {
    fn netns(&self) -> &ReportNetns {
        &self.netns
    }

    fn gaps(&mut self) -> &mut Vec<String> {
        &mut self.gaps
    }
}

fn one(args: &PortsArgs, wanted: &Wanted, ns: &Netns, owners: &HolderTable) -> anyhow::Result<PortsReport> {
    let kernel = Kernel::new(rustix::system::uname().release().to_string_lossy());
    let settings = sysctls(&sysctl_keys(), false);
    let range = port_range(&settings).map_err(|gap| anyhow::anyhow!("{gap}"))?;
    let mut listening: Vec<SocketRecord> = Vec::new();
    let listen = Walk { states: State::Listen.bit(), extensions: Extensions::NONE, filter: None };
    let (listen_end, _) = either(&listen, |s| listening.push(s.clone()))?;
    let gather = Gather { tuples: linger_model::groups::DEFAULT_CAPACITY, clients: 0, holders: true };
    let mut sums = Aggregator::new(SocketSource::SockDiag, gather, &range, &listening, owners);
    set_times(&mut sums, &settings);
    let number = |key: &str| settings.get(key)?.as_ref().ok()?.parse::<i64>().ok();
    // Options tell timestamps, and only live connections have them.
    let only = wanted.pid.map(|pid| owners.inodes_of(pid));
    let states = wanted.states & !State::Listen.bit() | State::BoundInactive.bit();
    let walk = Walk {
        states,
        extensions: Extensions { info: true, skmeminfo: false },
        filter: wanted.filter.as_ref(),
    };
    let (end, by_proc) = either(&walk, |socket| {
        if only.as_ref().is_none_or(|inodes| socket.inode != 0 && inodes.contains(&socket.inode)) {
            sums.add(socket);
        }
    })?;
    let mut table = sums.finish();
    if by_proc {
        table.source = SocketSource::ProcNetTcp;
    }
    if table.states.count(State::BoundInactive) == 0 && (by_proc || !kernel.at_least(6, 8)) {
        table.states.set_unlisted(State::BoundInactive);
    }
    let setting = |key: &str| number(key).ok_or_else(|| Gap::new(key, GapKind::Unsupported, "not there", ""));
    let ports = Ports::of(range, &table, &kernel, setting).map_err(|gap| anyhow::anyhow!("{gap}"))?;
    let mut gaps = incomplete(&[listen_end, end]);
    if by_proc {
        gaps.push(
            "sock_diag cannot list TCP sockets here: /proc/net/tcp was read (modprobe tcp_diag)".to_owned(),
        );
    }
    Ok(report(args, ns, &kernel, &ports, &table, owners, gaps))
}

fn report(
    args: &PortsArgs,
    ns: &Netns,
    kernel: &Kernel,
    ports: &Ports,
    table: &SocketTable,
    owners: &HolderTable,
    gaps: Vec<String>,
) -> PortsReport {
    // Without a port of the range it is no outgoing connection of connect(): what a closed listener had accepted, or what
    // chose its port itself.
    let in_range = |group: &Group<Tuple, TupleStats>| group.value.in_range() > 0;
    let shown = table.tuples.largest_of(args.top as usize, in_range);
    let destinations = table.tuples.iter().filter(|g| in_range(g)).count();
    let other_sockets: u64 = table.tuples.iter().filter(|g| !in_range(g)).map(Group::at_least).sum();
    let mut rows: Vec<PortRow> = shown
        .iter()
        .map(|group| {
            let (tuple, stats) = (group.key, &group.value);
            let usage: PortUse = ports.usage(&tuple, stats);
            let mut states = StateCounts::default();
            for state in State::ALL {
                states.add_n(state, u64::from(stats.states()[state as usize]));
            }
            let label = |process: Option<ProcessIndex>| {
                process.and_then(|at| owners.processes().get(at)).map(|p| p.label())
            };
            PortRow {
                src: tuple.src,
                dst: tuple.dst,
                dport: tuple.dport,
                used: u64::from(usage.used),
                error: group.error(),
                states,
                live: u64::from(usage.used).saturating_sub(u64::from(stats.state(State::TimeWait))),
                reusable: u64::from(usage.reusable),
                reuse: usage.reuse.why(),
                free: u64::from(usage.free),
                fraction: usage.hard_fraction(),
                new_per_s: usage.rate_per_s,
                time_to_exhaustion_s: usage.time_to_exhaustion_s,
                second_half_only: usage.second_half_only,
                bound_before_connect_estimate: usage.prebound_share,
                process: label(stats.owner),
                time_wait_process: label(table.maker(&tuple).map(|(process, _)| process)),
            }
        })
        .collect();
    rows.sort_by(|a, b| b.fraction.total_cmp(&a.fraction).then(b.used.cmp(&a.used)));
    let shown_sockets: u64 = shown.iter().map(|g| g.at_least()).sum();
    let reserved: u32 =
        ports.range.reserved.iter().map(|(from, to)| u32::from(*to) - u32::from(*from) + 1).sum();
    PortsReport {
        schema: 1,
        kernel: kernel.release.clone(),
        netns: ReportNetns { inode: ns.inode(), name: ns.name().map(str::to_owned), is_init: ns.is_init() },
        taken_at: timestamp(now_us()),
        range: RangeReport {
            low: ports.range.low,
            high: ports.range.high,
            reserved,
            usable: ports.usable,
            bound: ports.bound,
            bound_inactive_sockets: table.states.get(State::BoundInactive),
            first_parity_usable: ports.first_parity_usable,
            tcp_tw_reuse: ports.reuse_mode,
            reuse_says: says(ports),
        },
        other_destinations: destinations.saturating_sub(shown.len()) as u64,
        other_sockets: table.tuples.total().saturating_sub(shown_sockets + other_sockets),
        exact: table.tuples.is_exact(),
        error_bound: table.tuples.error_bound(),
        ports: rows,
        gaps,
    }
}

/// The setting in words.
fn says(ports: &Ports) -> String {
    match (ports.reuse_mode, ports.timestamps) {
        (0, _) => "connect() takes no TIME_WAIT port back; each is held for 60 s.".to_owned(),
        (_, false) => ReusePolicy::NoTimestampsHere.why() + ": no TIME_WAIT port is taken back.",
        (2, _) => format!(
            "on loopback, connect() takes TIME_WAIT ports back after {} s; elsewhere each is held for 60 s.",
            ports.reuse_delay_s
        ),
        _ => format!(
            "connect() takes TIME_WAIT ports back after {} s, if the connection carried timestamps.",
            ports.reuse_delay_s
        ),
    }
}
