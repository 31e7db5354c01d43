//! Gauges and counters of other files: sockstat, softnet_stat, conntrack.

use crate::shorthand::{COUNTER, belief, v};
use crate::{Counter, Scope, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "conntrack.chaintoolong",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Entries refused because their hash chain was too long.",
        meaning: "Counted in insert_failed too when a packet made it. Too few buckets, or an attack on \
                      the hash.",
        since: Some(v(5, 15)),
        see: &["CT001", "conntrack.insert_failed", "net.netfilter.nf_conntrack_buckets"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
            Source("5.15 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.clash_resolve",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Clashes that were resolved without dropping a packet.",
        meaning: "The other side of insert_failed. /proc calls it clashres.",
        since: Some(v(5, 10)),
        see: &["CT001", "conntrack.insert_failed"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
            Source("5.10 is a bracket from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.drop",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Packets dropped because no entry could be made.",
        meaning: "The table of this namespace is full and nothing could be evicted, or memory was short. \
                      The log says \"nf_conntrack: table full, dropping packet\".",
        see: &["CT001", "net.netfilter.nf_conntrack_max", "conntrack.early_drop"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.early_drop",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Entries evicted to make room for new ones.",
        meaning: "The table was full, and an entry that was not assured gave way. The stage before drop.",
        see: &["CT001", "conntrack.drop", "net.netfilter.nf_conntrack_max"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.error",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Packets that failed conntrack's own checks.",
        meaning: "Mostly broken ICMP. The column of /proc is called icmp_error.",
        see: &["CT001"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.found",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Tuples that were already taken when NAT looked for a free one.",
        meaning: "On older kernels every successful lookup. Today only the search for a free tuple moves \
                      it: a rise means busy source NAT.",
        see: &["CT001"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.insert",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Entries inserted by a program.",
        meaning: "Through ctnetlink, for example by conntrackd. On older kernels every new entry.",
        see: &["CT001"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.insert_failed",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Packets dropped because their entry clashed with another.",
        meaning: "Two packets of one flow raced (DNS over UDP with A and AAAA is the classic), two flows \
                      were given the same NAT port, or a chain was too long. It is not a full table.",
        beliefs: &[belief(
            "insert_failed means that the table is full",
            "A full table counts in drop. This is a clash.",
        )],
        see: &["CT001", "conntrack.drop", "conntrack.clash_resolve", "conntrack.chaintoolong"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.invalid",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Packets that conntrack could not assign.",
        meaning: "Out of window, wrong flags, no entry with nf_conntrack_tcp_loose off, bad checksums. \
                      Firewalls that drop INVALID lose them.",
        see: &["CT001", "net.netfilter.nf_conntrack_tcp_be_liberal", "net.netfilter.nf_conntrack_tcp_loose"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "conntrack.search_restart",
        file: "ctnetlink per-CPU statistics (conntrack -S); /proc/net/stat/nf_conntrack",
        summary: "Lookups that had to start again.",
        meaning: "The table changed under the reader. Many mean heavy churn or a resize.",
        see: &["CT001"],
        sources: &[
            Source("net/netfilter/nf_conntrack_core.c"),
            Source("net/netfilter/nf_conntrack_netlink.c ctnetlink_ct_stat_cpu_fill_info()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "sockstat.TCP.alloc",
        file: "/proc/net/sockstat",
        summary: "TCP sockets that have memory, host-wide.",
        meaning: "Every full socket, the closed ones that a descriptor still holds included. alloc that \
                      grows while inuse does not is a leak of closed sockets. The same number in every \
                      namespace.",
        scope: Scope::Host,
        see: &["CW002", "close", "sockstat.TCP.inuse"],
        sources: &[Source("net/ipv4/proc.c sockstat_seq_show()")],
        ..COUNTER
    },
    Counter {
        name: "sockstat.TCP.inuse",
        file: "/proc/net/sockstat",
        summary: "TCP sockets in use, IPv4.",
        meaning: "Sockets in the hash tables: listening and connected. Not TIME_WAIT, not half-open \
                      requests, not bound-only sockets. A gauge.",
        see: &["established", "listen"],
        sources: &[Source("net/ipv4/proc.c sockstat_seq_show()")],
        ..COUNTER
    },
    Counter {
        name: "sockstat.TCP.mem",
        file: "/proc/net/sockstat",
        summary: "Memory that TCP uses, in pages, host-wide.",
        meaning: "Compare it with tcp_mem, which is in pages too. Updated in batches per CPU, so small \
                      values are rough.",
        scope: Scope::Host,
        see: &["MM001", "net.ipv4.tcp_mem"],
        sources: &[Source("net/ipv4/proc.c sockstat_seq_show()")],
        ..COUNTER
    },
    Counter {
        name: "sockstat.TCP.orphan",
        file: "/proc/net/sockstat",
        summary: "Connections that no process holds, host-wide.",
        meaning: "FIN_WAIT1, LAST_ACK, CLOSING and long FIN_WAIT2 after close(). The same number in every \
                      namespace. TIME_WAIT is not in it.",
        scope: Scope::Host,
        see: &["OR001", "net.ipv4.tcp_max_orphans", "fin_wait1", "last_ack", "closing"],
        sources: &[
            Source("net/ipv4/proc.c sockstat_seq_show()"),
            Source("net/ipv4/tcp.c tcp_orphan_count_sum()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "sockstat.TCP.tw",
        file: "/proc/net/sockstat",
        summary: "TIME_WAIT sockets and FIN_WAIT2 minisockets, IPv4 and IPv6.",
        meaning: "A gauge that costs nothing to read. Subtract the FIN_WAIT2 minisockets to get \
                      TIME_WAIT. It is what tcp_max_tw_buckets is compared with.",
        scope: Scope::NetnsSince(v(4, 11)),
        beliefs: &[belief("tw is the number of TIME_WAIT sockets", "FIN_WAIT2 minisockets are in it.")],
        see: &["TW002", "TW005", "time_wait", "fin_wait2", "net.ipv4.tcp_max_tw_buckets"],
        sources: &[
            Source("net/ipv4/proc.c sockstat_seq_show()"),
            Source("global in the 4.4 tree, per namespace in the 4.15 tree; the commit log says 4.11"),
        ],
        ..COUNTER
    },
    Counter {
        name: "sockstat6.TCP6.inuse",
        file: "/proc/net/sockstat6",
        summary: "TCP sockets in use, IPv6.",
        meaning: "As sockstat.TCP.inuse, for IPv6 sockets, those that carry v4-mapped addresses included. \
                      There is no tw here: sockstat's covers both.",
        see: &["sockstat.TCP.inuse"],
        sources: &[Source("net/ipv6/proc.c sockstat6_seq_show()")],
        ..COUNTER
    },
    Counter {
        name: "softnet.dropped",
        file: "/proc/net/softnet_stat",
        summary: "Packets dropped because a CPU's input queue was full.",
        meaning: "Second column. The queue is bounded by netdev_max_backlog; RPS flow limits drop here \
                      too (last columns).",
        scope: Scope::Host,
        see: &["NQ001", "net.core.netdev_max_backlog"],
        sources: &[
            Source("net/core/net-procfs.c softnet_seq_show()"),
            Source("net/core/dev.c enqueue_to_backlog()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "softnet.processed",
        file: "/proc/net/softnet_stat",
        summary: "Packets that this CPU took from drivers and queues.",
        meaning: "First column, hexadecimal, one line per CPU. 32 bits: it wraps.",
        scope: Scope::Host,
        see: &["NQ001", "softnet.dropped"],
        sources: &[Source("net/core/net-procfs.c softnet_seq_show()")],
        ..COUNTER
    },
    Counter {
        name: "softnet.time_squeeze",
        file: "/proc/net/softnet_stat",
        summary: "Receive rounds that ended with work left.",
        meaning: "Third column. netdev_budget or netdev_budget_usecs ran out. Packets wait, none is lost. \
                      Normal on a busy host; a matter only with drops or latency.",
        scope: Scope::Host,
        beliefs: &[belief("time_squeeze means lost packets", "It means that work was put off.")],
        see: &["NQ001", "net.core.netdev_budget", "net.core.netdev_budget_usecs"],
        sources: &[
            Source("net/core/net-procfs.c softnet_seq_show()"),
            Source("net/core/dev.c net_rx_action()"),
        ],
        ..COUNTER
    },
];
