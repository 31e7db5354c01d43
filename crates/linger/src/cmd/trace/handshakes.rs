//! `linger trace handshakes`

use super::report_netns;
use crate::cli::HandshakesArgs;
use crate::cmd::show;
use crate::cmd::states::{either, incomplete, now_us};
use crate::diagnose::timestamp;
use crate::render::style::Style;
use crate::render::trace_handshakes::text;
use crate::targets;
use anyhow::Context;
use linger_collect::{Walk, sysctls};
use linger_model::record::endpoint;
use linger_model::report::ReportNetns;
use linger_model::{SocketRecord, State};
use linger_netns::{Netns, run_in};
use linger_trace::handshakes::{Capture, Peer, Side, Waiting};
use linger_tune::Signals;
use linger_wire::handshake::{Handshake, Options};
use linger_wire::sock_diag::Extensions;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Which options connections were opened with, peer by peer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HandshakesReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The namespaces looked at.
    pub netns: Vec<ReportNetns>,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// How long it took.
    pub seconds: f64,
    /// What the namespaces' settings have this side offer and grant.
    pub settings: Vec<Settings>,
    /// Peers with most connections first.
    pub peers: Vec<PeerRow>,
    /// Peers not shown.
    pub other_peers: u64,
    /// What the peers side by side tell of an option.
    pub comparisons: Vec<Comparison>,
    /// Handshakes of more peers than are counted apart.
    pub left_out: u64,
    /// Packets that came faster than they were read.
    pub lost_packets: u64,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// What a namespace is set to offer and grant; null where that cannot be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Settings {
    /// Inode of the network namespace.
    pub netns: u64,
    /// net.ipv4.tcp_timestamps: 0 never, 1 and 2 always.
    pub tcp_timestamps: Option<u32>,
    /// net.ipv4.tcp_sack.
    pub tcp_sack: Option<u32>,
    /// net.ipv4.tcp_window_scaling.
    pub tcp_window_scaling: Option<u32>,
}

/// Connections with a peer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PeerRow {
    /// connect where this host sent the SYN, accept where it answered.
    pub role: String,
    /// Peer address and port; where this host accepts, the peer's address alone.
    pub peer: String,
    /// Where this host accepts: the port listened on.
    pub listener_port: Option<u16>,
    /// Inode of the network namespace.
    pub netns: u64,
    /// SYN packets seen: what the side that connects offers.
    pub offered: Seen,
    /// SYN-ACK packets seen: what the side that accepts grants.
    pub granted: Seen,
    /// Live connections: what both agreed on. Null where they could not be read.
    pub live: Option<Live>,
    /// Sockets in TIME_WAIT; null where they could not be read.
    pub time_wait: Option<u64>,
    /// Of those, with timestamps.
    pub time_wait_with_timestamps: Option<u64>,
    /// What that says of timestamps.
    pub timestamps: Agreement,
    /// Of window scaling.
    pub window_scale: Agreement,
    /// Of selective acknowledgements.
    pub sack: Agreement,
}

impl PeerRow {
    fn weight(&self) -> u64 {
        let live = self.live.as_ref().map_or(0, |l| l.connections);
        self.offered.packets.max(self.granted.packets) + live + self.time_wait.unwrap_or(0)
    }

    /// How the peer is named in sentences.
    fn name(&self) -> String {
        match self.listener_port {
            Some(port) => format!("{} to port {port}", self.peer),
            None => self.peer.clone(),
        }
    }
}

/// Handshake packets of one direction: each once, also where it passes several interfaces or is sent again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Seen {
    /// How many.
    pub packets: u64,
    /// With timestamps.
    pub timestamps: u64,
    /// With window scaling.
    pub window_scale: u64,
    /// With SACK.
    pub sack: u64,
    /// The least window shift; null of none.
    pub least_window_shift: Option<u8>,
    /// The greatest.
    pub most_window_shift: Option<u8>,
    /// The least MSS, bytes; null of none.
    pub least_mss: Option<u16>,
    /// The greatest.
    pub most_mss: Option<u16>,
}

impl Seen {
    fn add(&mut self, options: &Options) {
        self.packets += 1;
        self.timestamps += u64::from(options.timestamps);
        self.window_scale += u64::from(options.window_scale.is_some());
        self.sack += u64::from(options.sack);
        (self.least_window_shift, self.most_window_shift) =
            spread(self.least_window_shift, self.most_window_shift, options.window_scale);
        (self.least_mss, self.most_mss) = spread(self.least_mss, self.most_mss, options.mss);
    }
}

fn spread<T: Ord + Copy>(least: Option<T>, most: Option<T>, one: Option<T>) -> (Option<T>, Option<T>) {
    (least.into_iter().chain(one).min(), most.into_iter().chain(one).max())
}

/// Live connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Live {
    /// How many.
    pub connections: u64,
    /// With timestamps.
    pub timestamps: u64,
    /// With window scaling.
    pub window_scale: u64,
    /// With SACK.
    pub sack: u64,
    /// The least bytes of data that a segment may carry; null of none.
    pub least_mss: Option<u32>,
    /// The greatest.
    pub most_mss: Option<u32>,
}

/// What became of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// Offered and granted.
    Agreed,
    /// Offered, and not granted.
    NotGranted,
    /// Not offered.
    NotOffered,
    /// Some connections have it, others do not.
    Mixed,
    /// Connections do not have it; whose doing that is was not seen.
    Absent,
    /// Nothing was seen.
    Unknown,
}

/// What the peers tell of an option when they are put side by side.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Comparison {
    /// timestamps, window_scale or sack.
    pub option: String,
    /// connect or accept.
    pub role: String,
    /// Inode of the network namespace.
    pub netns: u64,
    /// Peers that have it.
    pub with: Vec<String>,
    /// Those that do not, although this side offers it (or, accepting, would grant it).
    pub without: Vec<String>,
    /// What follows.
    pub conclusion: String,
}

/// How often what waits is read.
const EVERY: Duration = Duration::from_millis(20);
/// Addresses may be added meanwhile.
const REFRESH: Duration = Duration::from_secs(2);
/// Peers that are counted apart: a flood has no end of them.
const MOST_PEERS: usize = 16_384;

#[derive(Debug, Default)]
struct Figures {
    offered: Seen,
    granted: Seen,
    live: Live,
    time_wait: u64,
    with_timestamps: u64,
}

/// What is gathered, by peer.
#[derive(Debug, Default)]
struct Gathered {
    peers: BTreeMap<Peer, Figures>,
    left_out: u64,
}

impl Gathered {
    fn of(&mut self, peer: Peer) -> Option<&mut Figures> {
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(&peer) {
            self.left_out += 1;
            return None;
        }
        Some(self.peers.entry(peer).or_default())
    }

    fn packet(&mut self, netns: u64, leaves: bool, seen: &Handshake) {
        // A SYN that leaves and a SYN-ACK that comes are of a connect() here.
        let connects = leaves != seen.is_answer;
        let (addr, far, near) = match leaves {
            true => (seen.dst, seen.dport, seen.sport),
            false => (seen.src, seen.sport, seen.dport),
        };
        let (side, port) = if connects { (Side::Connects, far) } else { (Side::Accepts, near) };
        if let Some(figures) = self.of(Peer { netns, side, addr, port }) {
            let seen_there = if seen.is_answer { &mut figures.granted } else { &mut figures.offered };
            seen_there.add(&seen.options);
        }
    }

    fn live(&mut self, peer: Peer, socket: &SocketRecord) {
        let Some(info) = &socket.info else { return };
        let Some(Figures { live, .. }) = self.of(peer) else { return };
        live.connections += 1;
        live.timestamps += u64::from(info.timestamps());
        live.window_scale += u64::from(info.window_scale());
        live.sack += u64::from(info.sack());
        (live.least_mss, live.most_mss) = spread(live.least_mss, live.most_mss, info.snd_mss);
    }
}

/// Packets seen a moment ago: one passes several interfaces (a bond and its ports, a VLAN), or is sent again.
struct Recent {
    seen: Vec<u64>,
    hasher: RandomState,
}

impl Recent {
    fn new() -> Recent {
        Recent { seen: vec![0; 1 << 16], hasher: RandomState::new() }
    }

    fn is_new(&mut self, netns: u64, leaves: bool, it: &Handshake) -> bool {
        let key = (netns, leaves, it.is_answer, it.src.bytes(), it.sport, it.dst.bytes(), it.dport);
        // 0 is an empty place.
        let hash = self.hasher.hash_one(key) | 1;
        let place = (hash >> 32) as usize % self.seen.len();
        match self.seen.get_mut(place) {
            Some(there) if *there == hash => false,
            Some(there) => {
                *there = hash;
                true
            }
            None => true,
        }
    }
}

/// Watches and prints.
pub fn run(args: &HandshakesArgs, style: &Style) -> anyhow::Result<u8> {
    let signals = Signals::hold_back().context("cannot hold signals back")?;
    let targets = targets::open(&args.netns)?;
    let namespaces = targets.namespaces;
    let mut gaps = targets.gaps;
    let started_at = timestamp(now_us());
    let start = Instant::now();
    let mut captures = Vec::new();
    for ns in &namespaces {
        match Capture::start(ns) {
            Ok(capture) => captures.push((ns, capture)),
            Err(error) => gaps.push(format!("new connections of {}: {error}", ns.label())),
        }
    }
    let mut waiting = match Waiting::load() {
        Ok(waiting) => Some(waiting),
        Err(error) => {
            gaps.push(format!("timestamps of sockets in TIME_WAIT: {error}"));
            None
        }
    };
    let mut gathered = Gathered::default();
    let mut recent = Recent::new();
    let mut refreshed = start;
    loop {
        let left = args.duration.saturating_sub(start.elapsed());
        let stop = left.is_zero() || signals.wait(left.min(EVERY)).is_some();
        let again = refreshed.elapsed() >= REFRESH;
        for (ns, capture) in &mut captures {
            if again {
                capture.refresh(ns)?;
            }
            capture.take(|leaves, seen| {
                if recent.is_new(ns.inode(), leaves, seen) {
                    gathered.packet(ns.inode(), leaves, seen);
                }
            })?;
        }
        if again {
            refreshed = Instant::now();
        }
        if stop {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut lost_packets = 0;
    for (_, capture) in &mut captures {
        lost_packets += capture.lost()?;
    }
    let (mut listening, mut settings, mut by_proc) = (Vec::new(), Vec::new(), false);
    for ns in &namespaces {
        let walked = run_in(ns, || sockets(ns, &mut gathered, &mut listening));
        let (set, proc, more) = walked.map_err(anyhow::Error::from).flatten().with_context(|| ns.label())?;
        by_proc |= proc;
        settings.push(set);
        gaps.extend(more);
    }
    if by_proc {
        gaps.push("live connections: sock_diag cannot list TCP sockets here, and /proc/net/tcp does not tell options (modprobe tcp_diag)".to_owned());
    }
    if let Some(waiting) = &mut waiting {
        let (held, left_out) = waiting.read(&namespaces, &listening)?;
        for (peer, held) in held {
            if let Some(figures) = gathered.of(peer) {
                (figures.time_wait, figures.with_timestamps) = (held.sockets, held.with_timestamps);
            }
        }
        gathered.left_out += left_out;
    }
    let knows = Knows { live: !by_proc, time_wait: waiting.is_some() };
    let mut peers: Vec<PeerRow> =
        gathered.peers.iter().map(|(peer, figures)| row(peer, figures, knows, &settings)).collect();
    peers.sort_by_key(|row| std::cmp::Reverse(row.weight()));
    let comparisons = compare(&peers);
    let top = args.top as usize;
    let report = HandshakesReport {
        schema: 1,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        netns: namespaces.iter().map(report_netns).collect(),
        started_at,
        seconds,
        settings,
        other_peers: peers.len().saturating_sub(top) as u64,
        peers: peers.into_iter().take(top).collect(),
        comparisons,
        left_out: gathered.left_out,
        lost_packets,
        gaps,
    };
    show(args.format, &report, |r| text(r, style))?;
    Ok(0)
}

/// Live sockets and settings, from within a namespace; whether /proc/net/tcp had to do.
fn sockets(
    ns: &Netns,
    gathered: &mut Gathered,
    listening: &mut Vec<(u64, u16)>,
) -> anyhow::Result<(Settings, bool, Vec<String>)> {
    let netns = ns.inode();
    let mut ports = BTreeSet::new();
    let listen = Walk { states: State::Listen.bit(), extensions: Extensions::NONE, filter: None };
    let (first, _) = either(&listen, |s| {
        ports.insert(s.sport);
    })?;
    let states = [
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::LastAck,
        State::Closing,
    ];
    let live = Walk {
        states: states.iter().fold(0, |bits, state| bits | state.bit()),
        extensions: Extensions::ALL,
        filter: None,
    };
    let (second, by_proc) = either(&live, |s| {
        let (side, port) =
            if ports.contains(&s.sport) { (Side::Accepts, s.sport) } else { (Side::Connects, s.dport) };
        gathered.live(Peer { netns, side, addr: s.dst, port }, s);
    })?;
    listening.extend(ports.iter().map(|port| (netns, *port)));
    let keys = ["net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack", "net.ipv4.tcp_window_scaling"];
    let read = sysctls(&keys, false);
    let value = |key: &str| read.get(key)?.as_ref().ok()?.trim().parse().ok();
    let [timestamps, sack, window_scaling] = keys.map(value);
    let settings =
        Settings { netns, tcp_timestamps: timestamps, tcp_sack: sack, tcp_window_scaling: window_scaling };
    Ok((settings, by_proc, incomplete(&[first, second])))
}

#[derive(Debug, Clone, Copy)]
struct Knows {
    live: bool,
    time_wait: bool,
}

/// What was seen of one option with a peer.
#[derive(Debug, Clone, Copy, Default)]
struct Evidence {
    offers: u64,
    offered: u64,
    answers: u64,
    granted: u64,
    held: u64,
    agreed: u64,
    /// Whether this side is set to.
    set: Option<bool>,
}

impl Evidence {
    fn agreement(&self, side: Side) -> Agreement {
        let (all, with) = (self.answers + self.held, self.granted + self.agreed);
        if all == 0 {
            return match self.offers {
                0 => Agreement::Unknown,
                // Only offers: whether they are granted was not seen.
                _ if self.offered == 0 => Agreement::NotOffered,
                _ => Agreement::Unknown,
            };
        }
        if with == all {
            return Agreement::Agreed;
        }
        if with > 0 {
            return Agreement::Mixed;
        }
        match (self.offers, self.offered, side, self.set) {
            (1.., 0, _, _) => Agreement::NotOffered,
            (1.., _, _, _) => Agreement::NotGranted,
            // Nothing of this on the wire: the setting tells what this side does.
            (0, _, Side::Connects, Some(true)) => Agreement::NotGranted,
            (0, _, Side::Connects, Some(false)) => Agreement::NotOffered,
            (0, _, Side::Accepts, Some(true)) => Agreement::NotOffered,
            (0, _, Side::Accepts, Some(false)) => Agreement::NotGranted,
            (0, _, _, None) => Agreement::Absent,
        }
    }
}

fn row(peer: &Peer, figures: &Figures, knows: Knows, settings: &[Settings]) -> PeerRow {
    let Figures { offered, granted, live, time_wait, with_timestamps } = figures;
    let set = settings.iter().find(|s| s.netns == peer.netns);
    let is_set = |value: Option<u32>| value.map(|v| v != 0);
    let evidence = |pick: fn(&Seen) -> u64, agreed: u64, set: Option<bool>| Evidence {
        offers: offered.packets,
        offered: pick(offered),
        answers: granted.packets,
        granted: pick(granted),
        held: live.connections,
        agreed,
        set,
    };
    let mut timestamps =
        evidence(|s| s.timestamps, live.timestamps, is_set(set.and_then(|s| s.tcp_timestamps)));
    timestamps.held += time_wait;
    timestamps.agreed += with_timestamps;
    let window_scale =
        evidence(|s| s.window_scale, live.window_scale, is_set(set.and_then(|s| s.tcp_window_scaling)));
    let sack = evidence(|s| s.sack, live.sack, is_set(set.and_then(|s| s.tcp_sack)));
    PeerRow {
        role: match peer.side {
            Side::Connects => "connect",
            Side::Accepts => "accept",
        }
        .to_owned(),
        peer: match peer.side {
            Side::Connects => endpoint(peer.addr, peer.port),
            Side::Accepts => peer.addr.to_string(),
        },
        listener_port: (peer.side == Side::Accepts).then_some(peer.port),
        netns: peer.netns,
        offered: *offered,
        granted: *granted,
        live: knows.live.then_some(*live),
        time_wait: knows.time_wait.then_some(*time_wait),
        time_wait_with_timestamps: knows.time_wait.then_some(*with_timestamps),
        timestamps: timestamps.agreement(peer.side),
        window_scale: window_scale.agreement(peer.side),
        sack: sack.agreement(peer.side),
    }
}

/// Names in a comparison.
const NAMED: usize = 5;

type Pick = fn(&PeerRow) -> Agreement;

/// An option, its name in sentences, and its column.
const OPTIONS: [(&str, &str, Pick); 3] = [
    ("timestamps", "timestamps", |r| r.timestamps),
    ("window_scale", "window scaling", |r| r.window_scale),
    ("sack", "SACK", |r| r.sack),
];

/// Puts the peers side by side, as a person would: those with an option, and those without although this side does its
/// part.
fn compare(rows: &[PeerRow]) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    let spaces: BTreeSet<u64> = rows.iter().map(|r| r.netns).collect();
    for netns in spaces {
        for role in ["connect", "accept"] {
            for (option, name, pick) in OPTIONS {
                let of = |wanted: &dyn Fn(Agreement) -> bool| -> Vec<String> {
                    let here = rows.iter().filter(|r| r.netns == netns && r.role == role && wanted(pick(r)));
                    here.map(PeerRow::name).collect()
                };
                let lacking = if role == "connect" { Agreement::NotGranted } else { Agreement::NotOffered };
                let (with, without) = (of(&|a| a == Agreement::Agreed), of(&|a| a == lacking));
                if without.is_empty() {
                    continue;
                }
                comparisons.push(Comparison {
                    option: option.to_owned(),
                    role: role.to_owned(),
                    netns,
                    conclusion: conclusion(role, name, &with, &without),
                    with,
                    without,
                });
            }
        }
    }
    comparisons
}

fn conclusion(role: &str, option: &str, with: &[String], without: &[String]) -> String {
    let list = |names: &[String]| -> String {
        let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        match names.len() {
            0..=NAMED => shown,
            more => format!("{shown} and {} more", more - NAMED),
        }
    };
    let s = |names: &[String], one: &str, many: &str| {
        if names.len() == 1 { one.to_owned() } else { many.to_owned() }
    };
    match (role, with.is_empty()) {
        ("connect", false) => format!(
            "{} {} {option}, {} {} not, although this side offered: the setting here is right. The option is lost at {} or on the way there (a load balancer, a firewall).",
            list(with),
            s(with, "grants", "grant"),
            list(without),
            s(without, "does", "do"),
            s(without, "that peer", "those peers"),
        ),
        ("connect", true) => format!(
            "{} {} not grant {option}, although this side offered, and no other peer is there to compare with: the option is lost at the peer, or on the way from here.",
            list(without),
            s(without, "does", "do"),
        ),
        (_, false) => format!(
            "{} {} {option}, {} {} not: {} to, or something on the way takes the option out.",
            list(with),
            s(with, "offers", "offer"),
            list(without),
            s(without, "does", "do"),
            s(without, "that peer is not set", "those peers are not set"),
        ),
        (_, true) => format!(
            "{} {} not offer {option}, and no other peer is there to compare with: the peer is not set to, or something on the way takes the option out.",
            list(without),
            s(without, "does", "do"),
        ),
    }
}

/// Whether a peer's address has a place in a list; for the text.
pub fn side_arrow(row: &PeerRow) -> String {
    match row.listener_port {
        Some(port) => format!("<- {} to :{port}", row.peer),
        None => format!("-> {}", row.peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::Addr;

    fn seen(answer: bool, leaves: bool, timestamps: bool, port: u16) -> (bool, Handshake) {
        let (here, there) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        let options = Options { timestamps, sack: true, window_scale: Some(7), mss: Some(1460) };
        let (src, sport, dst, dport) =
            if leaves { (here, 40000, there, port) } else { (there, port, here, 40000) };
        (leaves, Handshake { src, sport, dst, dport, is_answer: answer, options })
    }

    const KNOWS: Knows = Knows { live: true, time_wait: true };

    #[test]
    fn what_is_offered_and_not_granted_is_told_from_what_is_not_offered() {
        let mut gathered = Gathered::default();
        for (granted, offered, port) in [(true, true, 80), (false, true, 81), (false, false, 82)] {
            for (leaves, it) in [seen(false, true, offered, port), seen(true, false, granted, port)] {
                gathered.packet(1, leaves, &it);
            }
        }
        let rows: Vec<PeerRow> = gathered.peers.iter().map(|(p, f)| row(p, f, KNOWS, &[])).collect();
        let found: Vec<Agreement> = rows.iter().map(|r| r.timestamps).collect();
        assert_eq!(found, [Agreement::Agreed, Agreement::NotGranted, Agreement::NotOffered]);
        assert!(rows.iter().all(|r| r.role == "connect" && r.sack == Agreement::Agreed));
        let [comparison] = &compare(&rows)[..] else { panic!("{rows:#?}") };
        assert_eq!(
            (comparison.with.as_slice(), comparison.without.as_slice()),
            (["10.0.0.2:80".to_owned()].as_slice(), ["10.0.0.2:81".to_owned()].as_slice())
        );
        assert!(comparison.conclusion.contains("the setting here is right"), "{}", comparison.conclusion);
    }

    #[test]
    fn without_the_wire_the_setting_tells() {
        let peer = Peer { netns: 1, side: Side::Connects, addr: Addr::v4([10, 0, 0, 2]), port: 80 };
        let figures = Figures { time_wait: 5, ..Figures::default() };
        let settings =
            |tcp_timestamps| Settings { netns: 1, tcp_timestamps, tcp_sack: None, tcp_window_scaling: None };
        let told = |set| row(&peer, &figures, KNOWS, &[settings(set)]);
        assert_eq!(told(Some(1)).timestamps, Agreement::NotGranted);
        assert_eq!(told(Some(0)).timestamps, Agreement::NotOffered);
        assert_eq!(told(None).timestamps, Agreement::Absent);
        // TIME_WAIT tells of nothing else.
        assert_eq!(told(Some(1)).sack, Agreement::Unknown);
    }

    #[test]
    fn a_packet_on_several_interfaces_is_counted_once() {
        let mut recent = Recent::new();
        let (leaves, it) = seen(false, true, true, 80);
        assert!(recent.is_new(1, leaves, &it) && !recent.is_new(1, leaves, &it));
        assert!(recent.is_new(2, leaves, &it) && recent.is_new(1, !leaves, &it));
    }

    #[test]
    fn a_flood_of_peers_is_bounded() {
        let mut gathered = Gathered::default();
        for n in 0..MOST_PEERS as u32 + 10 {
            let (_, it) = seen(false, false, true, 5);
            gathered.packet(1, false, &Handshake { src: Addr::v4(n.to_be_bytes()), ..it });
        }
        assert_eq!((gathered.peers.len(), gathered.left_out), (MOST_PEERS, 10));
    }
}
