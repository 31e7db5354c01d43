//! What node_exporter exports about TCP: names, kinds, collectors, meanings.
//!
//! Read in several versions of node_exporter's sources; absent names by its commit a7dcc3a. Its `netstat` collector makes a metric of every field of
//! `/proc/net/netstat`, `snmp` and `snmp6` that a pattern lets through, so its names are the kernel's; the others have
//! fixed names. Every value is that of the network namespace in which the exporter runs, unless its summary says the whole
//! host's.

use crate::{Counter, Source, counter, state};

/// How a metric's value moves, which decides what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only grows until the next boot: means something through `rate()` or `increase()`.
    Counter,
    /// Goes up and down: means something as it is.
    Gauge,
}

/// Whether a node_exporter without options has a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exported {
    /// It has.
    ByDefault,
    /// Only with this collector switched on.
    WithCollector(&'static str),
    /// Only if `--collector.netstat.fields` names the field.
    WithNetstatFields,
}

/// A metric of node_exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its full name: `node_sockstat_TCP_tw`.
    pub name: &'static str,
    /// How it moves. (The exporter declares netstat's as untyped and conntrack's as gauges.)
    pub kind: MetricKind,
    /// The collector that exports it: `sockstat`.
    pub collector: &'static str,
    /// Whether it is there without options.
    pub exported: Exported,
    /// The labels that tell its series apart, besides Prometheus' own.
    pub labels: &'static [&'static str],
    /// One sentence: what it is.
    pub summary: &'static str,
    /// What its name suggests and it is not, where that misleads.
    pub caveat: Option<&'static str>,
    /// The full name of the counter that it shows, for [`counter`].
    pub shows: Option<&'static str>,
    /// Where all this comes from.
    pub sources: &'static [Source],
}

impl Metric {
    /// The kernel's counter that it shows.
    #[must_use]
    pub fn counter(&self) -> Option<&'static Counter> {
        self.shows.and_then(counter)
    }
}

/// A name that people write and node_exporter does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchMetric {
    /// What is there instead, as an expression; `None` where nothing is.
    pub instead: Option<&'static str>,
    /// Whether `instead` is a metric's name that can take the wrong one's place with nothing else changed.
    pub same_meaning: bool,
    /// Why it is not there, and what to know of what is.
    pub why: &'static str,
    /// Where that can be read.
    pub source: Source,
}

/// `--collector.netstat.fields`, as it is by default.
pub const NETSTAT_FIELDS_DEFAULT: &str = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|\
Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";

/// The values of `node_tcp_connection_states`' label `state`.
pub const CONNECTION_STATES: &[&str] = &[
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "rx_queued_bytes",
    "tx_queued_bytes",
];

/// The fields of `Tcp:` in `/proc/net/snmp`: fixed by RFC 4022 and one more, the same in every kernel.
pub const TCP_FIELDS: &[&str] = &[
    "RtoAlgorithm",
    "RtoMin",
    "RtoMax",
    "MaxConn",
    "ActiveOpens",
    "PassiveOpens",
    "AttemptFails",
    "EstabResets",
    "CurrEstab",
    "InSegs",
    "OutSegs",
    "RetransSegs",
    "InErrs",
    "OutRsts",
    "InCsumErrors",
];

/// The protocols that the kernel has in `/proc/net/netstat`, `snmp` and `snmp6`.
pub const GROUPS: &[&str] = &[
    "Ip", "IpExt", "Ip6", "Icmp", "Icmp6", "IcmpMsg", "Tcp", "TcpExt", "Udp", "Udp6", "UdpLite", "UdpLite6",
    "MPTcpExt",
];

const NETSTAT: &[Source] = &[Source("node_exporter collector/netstat_linux.go")];
const SOCKSTAT: &[Source] = &[Source("node_exporter collector/sockstat_linux.go")];
const CONNTRACK: &[Source] = &[Source("node_exporter collector/conntrack_linux.go")];
const SOFTNET: &[Source] = &[Source("node_exporter collector/softnet_linux.go")];
const FILEFD: &[Source] = &[Source("node_exporter collector/filefd_linux.go")];

const fn gauge(
    name: &'static str,
    collector: &'static str,
    summary: &'static str,
    sources: &'static [Source],
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        collector,
        exported: Exported::ByDefault,
        labels: &[],
        summary,
        caveat: None,
        shows: None,
        sources,
    }
}

const fn total(
    name: &'static str,
    collector: &'static str,
    summary: &'static str,
    sources: &'static [Source],
) -> Metric {
    Metric { kind: MetricKind::Counter, ..gauge(name, collector, summary, sources) }
}

const fn netstat(name: &'static str, shows: &'static str, summary: &'static str) -> Metric {
    Metric { shows: Some(shows), ..total(name, "netstat", summary, NETSTAT) }
}

const fn netstat_field(name: &'static str, shows: &'static str, summary: &'static str) -> Metric {
    Metric { exported: Exported::WithNetstatFields, ..netstat(name, shows, summary) }
}

const fn softnet(name: &'static str, shows: Option<&'static str>, summary: &'static str) -> Metric {
    Metric { labels: &["cpu"], shows, ..total(name, "softnet", summary, SOFTNET) }
}

const fn conntrack(name: &'static str, shows: Option<&'static str>, summary: &'static str) -> Metric {
    Metric { shows, ..total(name, "conntrack", summary, CONNTRACK) }
}

/// Every metric with something to say, sorted by name.
static TABLE: &[Metric] = &[
    gauge("node_filefd_allocated", "filefd", "Open files of the whole host.", FILEFD),
    gauge(
        "node_filefd_maximum",
        "filefd",
        "fs.file-max: open files that the host allows. A process runs into its own RLIMIT_NOFILE long before.",
        FILEFD,
    ),
    netstat_field(
        "node_netstat_TcpExt_EmbryonicRsts",
        "TcpExt.EmbryonicRsts",
        "Half-open connections that were reset.",
    ),
    netstat(
        "node_netstat_TcpExt_ListenDrops",
        "TcpExt.ListenDrops",
        "SYNs and handshakes that listeners dropped, for any reason.",
    ),
    netstat(
        "node_netstat_TcpExt_ListenOverflows",
        "TcpExt.ListenOverflows",
        "SYNs and handshakes dropped because an accept queue was full.",
    ),
    netstat(
        "node_netstat_TcpExt_SyncookiesFailed",
        "TcpExt.SyncookiesFailed",
        "ACKs whose SYN cookie was not valid.",
    ),
    netstat(
        "node_netstat_TcpExt_SyncookiesRecv",
        "TcpExt.SyncookiesRecv",
        "Connections made from a SYN cookie.",
    ),
    netstat(
        "node_netstat_TcpExt_SyncookiesSent",
        "TcpExt.SyncookiesSent",
        "SYNs answered with a cookie because a SYN queue was full.",
    ),
    netstat_field(
        "node_netstat_TcpExt_TCPAbortOnData",
        "TcpExt.TCPAbortOnData",
        "Connections reset because data was thrown away.",
    ),
    netstat_field(
        "node_netstat_TcpExt_TCPAbortOnMemory",
        "TcpExt.TCPAbortOnMemory",
        "Connections reset because there were too many orphans or too little TCP memory.",
    ),
    netstat_field(
        "node_netstat_TcpExt_TCPAbortOnTimeout",
        "TcpExt.TCPAbortOnTimeout",
        "Connections given up because the peer stopped answering.",
    ),
    netstat(
        "node_netstat_TcpExt_TCPOFOQueue",
        "TcpExt.TCPOFOQueue",
        "Segments that arrived out of order and were queued.",
    ),
    netstat(
        "node_netstat_TcpExt_TCPRcvQDrop",
        "TcpExt.TCPRcvQDrop",
        "Segments dropped because a receive queue was full.",
    ),
    netstat_field(
        "node_netstat_TcpExt_TCPReqQFullDoCookies",
        "TcpExt.TCPReqQFullDoCookies",
        "Times a full SYN queue was answered with cookies.",
    ),
    netstat_field(
        "node_netstat_TcpExt_TCPReqQFullDrop",
        "TcpExt.TCPReqQFullDrop",
        "SYNs dropped because a SYN queue was full and cookies were off.",
    ),
    netstat("node_netstat_TcpExt_TCPSynRetrans", "TcpExt.TCPSynRetrans", "SYNs and SYN-ACKs sent again."),
    netstat_field(
        "node_netstat_TcpExt_TCPTimeWaitOverflow",
        "TcpExt.TCPTimeWaitOverflow",
        "Connections that skipped TIME_WAIT because tcp_max_tw_buckets was reached.",
    ),
    netstat("node_netstat_TcpExt_TCPTimeouts", "TcpExt.TCPTimeouts", "Retransmission timers that ran out."),
    Metric {
        caveat: Some(
            "It is no number of TIME_WAIT sockets (that is node_sockstat_TCP_tw) but counts them, and since 5.18 when \
             they begin, before that when they expire: rates of hosts with different kernels do not compare.",
        ),
        sources: &[
            Source("node_exporter collector/netstat_linux.go"),
            Source("net/ipv4/inet_timewait_sock.c __inet_twsk_schedule(); commit 27dd35e02235"),
        ],
        ..netstat_field(
            "node_netstat_TcpExt_TW",
            "TcpExt.TW",
            "TIME_WAIT sockets, counted as they come or go.",
        )
    },
    Metric {
        caveat: Some(
            "Nobody killed them: it counts TIME_WAIT sockets that began with at most 4 s to live, which \
             FIN_WAIT2 ones do where tcp_fin_timeout is that short.",
        ),
        sources: &[
            Source("node_exporter collector/netstat_linux.go"),
            Source("net/ipv4/inet_timewait_sock.c __inet_twsk_schedule()"),
        ],
        ..netstat_field(
            "node_netstat_TcpExt_TWKilled",
            "TcpExt.TWKilled",
            "TIME_WAIT sockets with a very short life.",
        )
    },
    Metric {
        caveat: Some(
            "It has nothing to do with tcp_tw_recycle: it counts outgoing connections that took over the address and \
             port of a TIME_WAIT socket, as tcp_tw_reuse lets them.",
        ),
        sources: &[
            Source("node_exporter collector/netstat_linux.go"),
            Source("net/ipv4/inet_hashtables.c __inet_check_established()"),
        ],
        ..netstat_field(
            "node_netstat_TcpExt_TWRecycled",
            "TcpExt.TWRecycled",
            "TIME_WAIT sockets that an outgoing connection took over.",
        )
    },
    netstat("node_netstat_Tcp_ActiveOpens", "Tcp.ActiveOpens", "Connections that this side began."),
    netstat_field(
        "node_netstat_Tcp_AttemptFails",
        "Tcp.AttemptFails",
        "Connections that did not come about.",
    ),
    Metric {
        kind: MetricKind::Gauge,
        caveat: Some(
            "CLOSE_WAIT sockets are counted, too: a leak of them looks like load. node_tcp_connection_states tells \
             them apart.",
        ),
        sources: &[
            Source("node_exporter collector/netstat_linux.go"),
            Source("net/ipv4/tcp.c tcp_set_state(): TCP_MIB_CURRESTAB"),
            Source("measured on 6.18: 1 with one CLOSE_WAIT and no ESTABLISHED socket"),
        ],
        ..netstat("node_netstat_Tcp_CurrEstab", "Tcp.CurrEstab", "Sockets in ESTABLISHED or CLOSE_WAIT.")
    },
    netstat_field(
        "node_netstat_Tcp_EstabResets",
        "Tcp.EstabResets",
        "Established connections that were reset.",
    ),
    netstat_field("node_netstat_Tcp_InCsumErrors", "Tcp.InCsumErrors", "Segments with a wrong checksum."),
    netstat("node_netstat_Tcp_InErrs", "Tcp.InErrs", "Segments received in error."),
    netstat("node_netstat_Tcp_InSegs", "Tcp.InSegs", "Segments received."),
    netstat("node_netstat_Tcp_OutRsts", "Tcp.OutRsts", "Resets sent."),
    netstat("node_netstat_Tcp_OutSegs", "Tcp.OutSegs", "Segments sent, retransmissions apart."),
    netstat("node_netstat_Tcp_PassiveOpens", "Tcp.PassiveOpens", "Connections that a peer began."),
    netstat("node_netstat_Tcp_RetransSegs", "Tcp.RetransSegs", "Segments sent again."),
    gauge(
        "node_nf_conntrack_entries",
        "conntrack",
        "Connections that conntrack follows in the exporter's own namespace: a container's full table does not show.",
        CONNTRACK,
    ),
    gauge(
        "node_nf_conntrack_entries_limit",
        "conntrack",
        "net.netfilter.nf_conntrack_max: connections that each namespace's table may hold.",
        CONNTRACK,
    ),
    conntrack(
        "node_nf_conntrack_stat_drop",
        Some("conntrack.drop"),
        "Packets dropped because no entry could be made: the table was full.",
    ),
    conntrack(
        "node_nf_conntrack_stat_early_drop",
        Some("conntrack.early_drop"),
        "Entries thrown out to make room in a full table.",
    ),
    conntrack(
        "node_nf_conntrack_stat_found",
        Some("conntrack.found"),
        "Searches that found an entry that already existed.",
    ),
    conntrack("node_nf_conntrack_stat_ignore", None, "Packets of connections that already had an entry."),
    conntrack(
        "node_nf_conntrack_stat_insert",
        Some("conntrack.insert"),
        "Entries inserted by programs through ctnetlink; on older kernels every new entry.",
    ),
    Metric {
        caveat: Some(
            "It counts entries that lost a race when they were confirmed, mostly two flows that SNAT gave the same \
             port, or a hash chain that grew too long; a full table is counted in node_nf_conntrack_stat_drop and \
             _early_drop.",
        ),
        sources: &[
            Source("node_exporter collector/conntrack_linux.go"),
            Source("net/netfilter/nf_conntrack_core.c __nf_conntrack_confirm(), early_drop()"),
        ],
        ..conntrack(
            "node_nf_conntrack_stat_insert_failed",
            Some("conntrack.insert_failed"),
            "Entries that could not be confirmed because another one was there first.",
        )
    },
    conntrack("node_nf_conntrack_stat_invalid", Some("conntrack.invalid"), "Packets that fit no connection."),
    conntrack(
        "node_nf_conntrack_stat_search_restart",
        Some("conntrack.search_restart"),
        "Searches begun again because the table was being resized.",
    ),
    gauge("node_sockstat_FRAG6_inuse", "sockstat", "IPv6 packets being reassembled.", SOCKSTAT),
    gauge(
        "node_sockstat_FRAG6_memory",
        "sockstat",
        "Bytes held by IPv6 packets being reassembled.",
        SOCKSTAT,
    ),
    gauge("node_sockstat_FRAG_inuse", "sockstat", "IPv4 packets being reassembled.", SOCKSTAT),
    gauge("node_sockstat_FRAG_memory", "sockstat", "Bytes held by IPv4 packets being reassembled.", SOCKSTAT),
    gauge("node_sockstat_RAW6_inuse", "sockstat", "IPv6 raw sockets.", SOCKSTAT),
    gauge("node_sockstat_RAW_inuse", "sockstat", "IPv4 raw sockets.", SOCKSTAT),
    gauge("node_sockstat_TCP6_inuse", "sockstat", "IPv6 TCP sockets in use, TIME_WAIT apart.", SOCKSTAT),
    Metric {
        shows: Some("sockstat.TCP.alloc"),
        ..gauge(
            "node_sockstat_TCP_alloc",
            "sockstat",
            "TCP sockets of the whole host that have memory.",
            SOCKSTAT,
        )
    },
    Metric {
        shows: Some("sockstat.TCP.inuse"),
        ..gauge("node_sockstat_TCP_inuse", "sockstat", "IPv4 TCP sockets in use, TIME_WAIT apart.", SOCKSTAT)
    },
    Metric {
        shows: Some("sockstat.TCP.mem"),
        ..gauge("node_sockstat_TCP_mem", "sockstat", "TCP memory of the whole host, in pages.", SOCKSTAT)
    },
    gauge("node_sockstat_TCP_mem_bytes", "sockstat", "TCP memory of the whole host, in bytes.", SOCKSTAT),
    Metric {
        shows: Some("sockstat.TCP.orphan"),
        ..gauge(
            "node_sockstat_TCP_orphan",
            "sockstat",
            "Connections of the whole host that no process holds any more.",
            SOCKSTAT,
        )
    },
    Metric {
        shows: Some("sockstat.TCP.tw"),
        ..gauge(
            "node_sockstat_TCP_tw",
            "sockstat",
            "TIME_WAIT sockets of both families, and FIN_WAIT2 ones without a process.",
            SOCKSTAT,
        )
    },
    gauge("node_sockstat_UDP6_inuse", "sockstat", "IPv6 UDP sockets.", SOCKSTAT),
    gauge("node_sockstat_UDPLITE6_inuse", "sockstat", "IPv6 UDP-Lite sockets.", SOCKSTAT),
    gauge("node_sockstat_UDPLITE_inuse", "sockstat", "IPv4 UDP-Lite sockets.", SOCKSTAT),
    gauge("node_sockstat_UDP_inuse", "sockstat", "IPv4 UDP sockets.", SOCKSTAT),
    gauge("node_sockstat_UDP_mem", "sockstat", "UDP memory of the whole host, in pages.", SOCKSTAT),
    gauge("node_sockstat_UDP_mem_bytes", "sockstat", "UDP memory of the whole host, in bytes.", SOCKSTAT),
    gauge("node_sockstat_sockets_used", "sockstat", "Sockets of every kind.", SOCKSTAT),
    Metric {
        kind: MetricKind::Gauge,
        ..softnet("node_softnet_backlog_len", None, "Packets that wait in a CPU's input queue.")
    },
    softnet("node_softnet_cpu_collision_total", None, "Collisions while a device lock was taken."),
    softnet(
        "node_softnet_dropped_total",
        Some("softnet.dropped"),
        "Packets dropped because a CPU's input queue was full.",
    ),
    softnet("node_softnet_flow_limit_count_total", None, "Packets dropped by the flow limit."),
    softnet("node_softnet_processed_total", Some("softnet.processed"), "Packets processed."),
    softnet("node_softnet_received_rps_total", None, "Times another CPU was woken to receive."),
    softnet(
        "node_softnet_times_squeezed_total",
        Some("softnet.time_squeeze"),
        "Times receiving stopped with packets left, because its budget was used up.",
    ),
    Metric {
        exported: Exported::WithCollector("tcpstat"),
        labels: &["state"],
        ..gauge(
            "node_tcp_connection_states",
            "tcpstat",
            "Sockets by state; a state without sockets has no series.",
            &[Source("node_exporter collector/tcpstat_linux.go")],
        )
    },
];

/// Names of which node_exporter has none, and the ones that say the same; sorted by name.
static ALIASES: &[(&str, &str)] = &[
    ("node_filefd_max", "node_filefd_maximum"),
    ("node_nf_conntrack_count", "node_nf_conntrack_entries"),
    ("node_nf_conntrack_limit", "node_nf_conntrack_entries_limit"),
    ("node_nf_conntrack_max", "node_nf_conntrack_entries_limit"),
    ("node_sockstat_TCP_orphaned", "node_sockstat_TCP_orphan"),
    ("node_sockstat_TCP_orphans", "node_sockstat_TCP_orphan"),
    ("node_sockstat_sockets_inuse", "node_sockstat_sockets_used"),
    ("node_softnet_dropped", "node_softnet_dropped_total"),
    ("node_softnet_processed", "node_softnet_processed_total"),
    ("node_softnet_time_squeeze", "node_softnet_times_squeezed_total"),
    ("node_softnet_time_squeezed_total", "node_softnet_times_squeezed_total"),
    ("node_softnet_times_squeezed", "node_softnet_times_squeezed_total"),
];

/// Every metric with something to say, sorted by name.
pub fn metrics() -> impl Iterator<Item = &'static Metric> + Clone {
    TABLE.iter()
}

/// The metric of exactly this name: Prometheus tells upper from lower case.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    TABLE.binary_search_by(|m| m.name.cmp(name)).ok().and_then(|at| TABLE.get(at))
}

/// How a metric moves, also for fields of netstat without an entry; `None` if that is not known.
#[must_use]
pub fn kind(name: &str) -> Option<MetricKind> {
    if let Some(metric) = metric(name) {
        return Some(metric.kind);
    }
    let (group, field) = name.strip_prefix("node_netstat_")?.split_once('_')?;
    match group {
        "Tcp" if matches!(field, "RtoAlgorithm" | "RtoMin" | "RtoMax" | "MaxConn") => Some(MetricKind::Gauge),
        "MPTcpExt" if field == "MPCurrEstab" => Some(MetricKind::Gauge),
        "TcpExt" | "MPTcpExt" => Some(MetricKind::Counter),
        _ => None,
    }
}

/// What a metric needs to be there; `None` if it is none of the families that this table knows.
#[must_use]
pub fn exported(name: &str) -> Option<Exported> {
    if let Some(metric) = metric(name) {
        return Some(metric.exported);
    }
    let field = name.strip_prefix("node_netstat_")?;
    let (group, _) = field.split_once('_')?;
    GROUPS.contains(&group).then(|| {
        if netstat_field_by_default(field) { Exported::ByDefault } else { Exported::WithNetstatFields }
    })
}

/// Whether `--collector.netstat.fields` lets a field (`TcpExt_ListenDrops`) through when it is not given:
/// [`NETSTAT_FIELDS_DEFAULT`], spelled out.
#[must_use]
pub fn netstat_field_by_default(field: &str) -> bool {
    let Some((group, name)) = field.split_once('_') else { return false };
    match name {
        "InErrors" | "InErrs" => return true,
        _ if name.ends_with("_InErrors") || name.ends_with("_InErrs") => return true,
        _ => {}
    }
    match group {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

/// Why no node_exporter has a metric of this name, or `None` if one may have.
///
/// Sure for the collectors whose names are fixed (sockstat, conntrack, softnet, filefd) and for `node_netstat_Tcp_`,
/// whose fields are; `TcpExt` differs by kernel, so there only a socket's state is known to be no field.
#[must_use]
pub fn no_such_metric(name: &str) -> Option<NoSuchMetric> {
    // A colon is what recording rules put into the names that they make.
    if metric(name).is_some() || name.contains(':') {
        return None;
    }
    if let Ok(at) = ALIASES.binary_search_by(|(wrong, _)| (*wrong).cmp(name)) {
        return ALIASES.get(at).map(|(_, right)| NoSuchMetric {
            instead: Some(right),
            same_meaning: true,
            why: "node_exporter gives it another name.",
            source: source_of(right),
        });
    }
    if let Some(field) = name.strip_prefix("node_netstat_") {
        return no_such_field(field);
    }
    if let Some(field) = name.strip_prefix("node_sockstat_") {
        if let Some(found) = field.split_once('_').and_then(|(_, word)| state_of(word)) {
            return Some(found);
        }
        return Some(NoSuchMetric {
            instead: None,
            same_meaning: false,
            why: "/proc/net/sockstat and sockstat6 have no such field.",
            source: Source("node_exporter collector/sockstat_linux.go; net/ipv4/proc.c sockstat_seq_show()"),
        });
    }
    let fixed = [
        (
            "node_nf_conntrack_",
            "The conntrack collector exports a fixed list of names, and this is none of them.",
        ),
        ("node_softnet_", "The softnet collector exports a fixed list of names, and this is none of them."),
        ("node_filefd_", "The filefd collector exports node_filefd_allocated and node_filefd_maximum alone."),
    ];
    fixed.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(prefix, why)| NoSuchMetric {
        instead: None,
        same_meaning: false,
        why,
        source: source_of(prefix),
    })
}

/// The collector's file, by the beginning of a name.
fn source_of(name: &str) -> Source {
    let family = [
        ("node_nf_conntrack", CONNTRACK),
        ("node_softnet", SOFTNET),
        ("node_filefd", FILEFD),
        ("node_sockstat", SOCKSTAT),
    ];
    family
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .and_then(|(_, sources)| sources.first().copied())
        .unwrap_or(Source("node_exporter collector/netstat_linux.go"))
}

/// The same for a field of netstat: `Tcp_TimeWait`.
fn no_such_field(field: &str) -> Option<NoSuchMetric> {
    let nothing = |why| NoSuchMetric {
        instead: None,
        same_meaning: false,
        why,
        source: Source("node_exporter collector/netstat_linux.go; net/ipv4/proc.c snmp_seq_show()"),
    };
    let (group, name) = field.split_once('_')?;
    if !GROUPS.contains(&group) {
        return Some(nothing(
            "The second part of a netstat metric is a protocol as /proc/net/netstat, snmp and snmp6 spell it, \
             and none is spelled so.",
        ));
    }
    match group {
        "Tcp" if TCP_FIELDS.contains(&name) => None,
        "Tcp" => Some(state_of(name).unwrap_or_else(|| nothing("/proc/net/snmp has no such field of Tcp."))),
        "TcpExt" if counter_exists(field) => None,
        "TcpExt" => state_of(name),
        _ => None,
    }
}

/// Whether the counters know a field: `TcpExt_TW`.
fn counter_exists(field: &str) -> bool {
    let dotted = field.replacen('_', ".", 1);
    crate::counters().any(|c| c.name == dotted)
}

/// What to ask for instead of a netstat field that is named like a state.
fn state_of(word: &str) -> Option<NoSuchMetric> {
    let named = match word.to_ascii_lowercase().as_str() {
        "tw" | "twcount" | "timewaits" => "time_wait",
        _ => state(word)?.name,
    };
    let (instead, same_meaning, why) = match named {
        "time_wait" => (
            "node_sockstat_TCP_tw",
            true,
            "/proc/net/snmp and netstat count events, they have no numbers of sockets by state, so the expression is \
             always empty. TIME_WAIT sockets are in sockstat: both families, this namespace, FIN_WAIT2 ones without a \
             process among them.",
        ),
        "close_wait" => (
            "node_tcp_connection_states{state=\"close_wait\"}",
            false,
            "/proc/net/snmp and netstat count events, they have no numbers of sockets by state, so the expression is \
             always empty. The tcpstat collector has them; it is off by default, because it dumps every socket at \
             each scrape.",
        ),
        "syn_recv" => (
            "rate(node_netstat_TcpExt_SyncookiesSent[5m])",
            false,
            "/proc/net/snmp and netstat count events, they have no numbers of sockets by state, so the expression is \
             always empty. A number of SYN_RECV sockets would not show a flood either: with SYN cookies no request is \
             kept once a listener's queue is full. Cookies sent and ListenDrops show it, and with \
             --collector.netstat.fields TCPReqQFullDoCookies and TCPReqQFullDrop.",
        ),
        "established" => (
            "node_tcp_connection_states{state=\"established\"}",
            false,
            "/proc/net/snmp has CurrEstab, which counts ESTABLISHED and CLOSE_WAIT sockets together \
             (node_netstat_Tcp_CurrEstab, there by default). The tcpstat collector tells them apart; it is off by \
             default, because it dumps every socket at each scrape.",
        ),
        "syn_sent" => ("node_tcp_connection_states{state=\"syn_sent\"}", false, BY_STATE),
        "fin_wait1" => ("node_tcp_connection_states{state=\"fin_wait1\"}", false, BY_STATE),
        "fin_wait2" => ("node_tcp_connection_states{state=\"fin_wait2\"}", false, BY_STATE),
        "close" => ("node_tcp_connection_states{state=\"close\"}", false, BY_STATE),
        "last_ack" => ("node_tcp_connection_states{state=\"last_ack\"}", false, BY_STATE),
        "listen" => ("node_tcp_connection_states{state=\"listen\"}", false, BY_STATE),
        "closing" => ("node_tcp_connection_states{state=\"closing\"}", false, BY_STATE),
        _ => return None,
    };
    Some(NoSuchMetric {
        instead: Some(instead),
        same_meaning,
        why,
        source: Source("node_exporter collector/netstat_linux.go; net/ipv4/proc.c snmp_seq_show()"),
    })
}

/// Of the states that nothing but a dump of the sockets tells.
const BY_STATE: &str = "/proc/net/snmp and netstat count events, they have no numbers of sockets by state, so the \
                        expression is always empty. The tcpstat collector has them; it is off by default, because it \
                        dumps every socket at each scrape.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_sourced_and_the_same_as_the_counters() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name), "TABLE");
        assert!(ALIASES.is_sorted_by(|a, b| a.0 < b.0), "ALIASES");
        for m in metrics() {
            assert!(!m.sources.is_empty(), "{}", m.name);
            for text in [Some(m.summary), m.caveat].into_iter().flatten() {
                assert!(
                    text.ends_with(['.', ')']) && text.is_ascii() && !text.contains("  "),
                    "{}: {text}",
                    m.name
                );
            }
            if let Some(shown) = m.shows {
                assert_eq!(m.counter().map(|c| c.name), Some(shown), "{}", m.name);
            }
            if let Some(field) = m.name.strip_prefix("node_netstat_") {
                let default = netstat_field_by_default(field);
                assert_eq!(m.exported == Exported::ByDefault, default, "{}", m.name);
                assert_eq!(no_such_field(field), None, "{}", m.name);
                assert_eq!(m.shows.map(|s| s.replacen('.', "_", 1)).as_deref(), Some(field));
            }
        }
        for (wrong, right) in ALIASES {
            assert!(metric(wrong).is_none() && metric(right).is_some(), "{wrong}");
        }
    }

    #[test]
    fn states_are_no_fields() {
        for (name, instead, same) in [
            ("node_netstat_Tcp_TimeWait", "node_sockstat_TCP_tw", true),
            ("node_netstat_TcpExt_TIME_WAIT", "node_sockstat_TCP_tw", true),
            ("node_sockstat_TCP_timewait", "node_sockstat_TCP_tw", true),
            ("node_netstat_Tcp_CloseWait", "node_tcp_connection_states{state=\"close_wait\"}", false),
            ("node_netstat_Tcp_SynRecv", "rate(node_netstat_TcpExt_SyncookiesSent[5m])", false),
            ("node_netstat_Tcp_Established", "node_tcp_connection_states{state=\"established\"}", false),
            ("node_netstat_Tcp_FinWait2", "node_tcp_connection_states{state=\"fin_wait2\"}", false),
            ("node_nf_conntrack_count", "node_nf_conntrack_entries", true),
        ] {
            let found = no_such_metric(name).expect(name);
            assert_eq!((found.instead, found.same_meaning), (Some(instead), same), "{name}");
        }
        assert!(no_such_metric("node_netstat_tcp_CurrEstab").is_some(), "case counts");
        assert!(no_such_metric("node_nf_conntrack_stat_dropped").is_some());
        for fine in [
            "node_netstat_TcpExt_TW",
            "node_netstat_TcpExt_TCPHPHits",
            "node_netstat_Tcp_MaxConn",
            "node_sockstat_TCP_tw:max",
            "up",
        ] {
            assert_eq!(no_such_metric(fine), None, "{fine}");
        }
    }

    #[test]
    fn the_default_pattern() {
        for field in
            ["TcpExt_ListenDrops", "Tcp_InErrs", "Udp_InErrors", "Ip_Forwarding", "TcpExt_SyncookiesSent"]
        {
            assert!(netstat_field_by_default(field), "{field}");
        }
        for field in
            ["TcpExt_TW", "TcpExt_TCPReqQFullDrop", "Tcp_EstabResets", "Tcp_InCsumErrors", "Ip_InReceives"]
        {
            assert!(!netstat_field_by_default(field), "{field}");
        }
        assert_eq!(exported("node_netstat_TcpExt_TCPHPHits"), Some(Exported::WithNetstatFields));
        assert_eq!(exported("node_tcp_connection_states"), Some(Exported::WithCollector("tcpstat")));
        assert_eq!(kind("node_netstat_TcpExt_TCPHPHits"), Some(MetricKind::Counter));
        assert_eq!(kind("node_netstat_Tcp_CurrEstab"), Some(MetricKind::Gauge));
        assert_eq!(kind("up"), None);
    }
}
