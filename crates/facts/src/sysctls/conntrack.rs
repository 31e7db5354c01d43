//! Connection tracking.

use crate::shorthand::{SYSCTL, belief, computed, fixed, ints, v};
use crate::{Range, Scope, Source, Sysctl};

/// Sorted by key.
pub(crate) static TABLE: &[Sysctl] = &[
    Sysctl {
        key: "net.netfilter.nf_conntrack_buckets",
        summary: "Buckets of the conntrack hash table.",
        meaning: "One table for the host. Long chains cost time on every packet. Writable in the initial \
                      namespace only (read-only everywhere before the 4.9 era; then use the module parameter \
                      hashsize).",
        unit: "buckets",
        range: Some(Range::Text("any positive integer")),
        scope: Scope::Host,
        defaults: &[
            computed(v(3, 10), "from RAM, at most 16384"),
            computed(v(4, 4), "from RAM: 65536 from 4 GB on"),
            computed(v(5, 15), "from RAM: 262144 from 4 GB on, 65536 from 1 GB on"),
        ],
        see: &["CT001", "net.netfilter.nf_conntrack_max", "conntrack.chaintoolong"],
        sources: &[
            Source(
                "net/netfilter/nf_conntrack_core.c nf_conntrack_init_start(), \
                        nf_conntrack_hash_sysctl()",
            ),
            Source("measured on 6.18: 262144 with 24 GB; a write from a child namespace is denied"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_count",
        summary: "Connections that conntrack remembers in this namespace.",
        meaning: "Read only. Compare it with nf_conntrack_max, namespace by namespace. Closed connections \
                      stay for a while: 120 s in TIME_WAIT, five days when one end vanished while \
                      established.",
        unit: "entries",
        range: Some(Range::Text("read only")),
        defaults: &[computed(v(3, 10), "a live count")],
        see: &["CT001", "net.netfilter.nf_conntrack_max"],
        sources: &[Source("net/netfilter/nf_conntrack_standalone.c")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_max",
        summary: "Most connections that conntrack remembers.",
        meaning: "One number for the host, but each network namespace is compared with it by its own \
                      count: a container can fill its own share while the host is far away, and all together \
                      may hold more. When a namespace is full, conntrack first evicts an entry that is not \
                      assured (early_drop); if it finds none the packet is dropped, counted in \"drop\", and \
                      the log says \"nf_conntrack: table full, dropping packet\". Read-only in a child \
                      namespace. net.nf_conntrack_max is the same number.",
        unit: "entries",
        range: Some(Range::Text("any integer")),
        scope: Scope::Host,
        defaults: &[
            computed(v(3, 10), "4 x buckets: 65536 on machines of 1 GB and more"),
            computed(v(4, 4), "4 x buckets: 262144 from 4 GB on"),
            computed(
                v(5, 15),
                "buckets x 1: 262144 from 4 GB on, 65536 from 1 GB on (between the 5.10 \
                                     and the 5.15 tree)",
            ),
        ],
        beliefs: &[
            belief(
                "A full table is seen as insert_failed",
                "insert_failed is a clash of two packets of one flow. A full table counts in drop and \
                     early_drop.",
            ),
            belief("The value is per container", "It is one number; only the count is per namespace."),
        ],
        see: &[
            "CT001",
            "net.netfilter.nf_conntrack_count",
            "net.netfilter.nf_conntrack_buckets",
            "conntrack.drop",
            "conntrack.early_drop",
            "conntrack.insert_failed",
        ],
        sources: &[
            Source(
                "net/netfilter/nf_conntrack_core.c __nf_conntrack_alloc(), early_drop(), \
                        nf_conntrack_init_start()",
            ),
            Source("trees 3.10, 4.4 to 5.10, 5.15 and later"),
            Source("measured on 6.18: 262144; a write from a child namespace is denied"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_be_liberal",
        summary: "Whether conntrack accepts segments outside the window it expects.",
        meaning: "0: they are INVALID; with a rule that drops INVALID, or with NAT, the connection hangs \
                      or is reset. 1: only a RST outside the window is INVALID. Wanted where packets take \
                      asymmetric or offloaded paths.",
        unit: "bool",
        range: ints(0, 1),
        defaults: &[fixed(v(3, 10), "0")],
        see: &["CT001", "RS001", "conntrack.invalid"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_in_window()")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_ignore_invalid_rst",
        summary: "Whether conntrack lets a RST outside the window pass without closing the entry.",
        meaning: "0: such a RST is INVALID. 1: it is let through and the entry lives on. For NAT gateways \
                      whose peers answer with odd resets.",
        unit: "bool",
        range: ints(0, 1),
        since: Some(v(5, 14)),
        defaults: &[fixed(v(5, 14), "0")],
        see: &["RS001", "conntrack.invalid"],
        sources: &[
            Source("net/netfilter/nf_conntrack_proto_tcp.c nf_conntrack_tcp_packet(); 5.14 from memory"),
            Source("measured on 6.18: 0"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_loose",
        summary: "Whether conntrack picks up connections it did not see begin.",
        meaning: "1: a packet in the middle of a connection makes an entry, so that connections survive a \
                      restart of the firewall. 0: only a SYN does; other packets are INVALID, and rules that \
                      drop INVALID cut them off.",
        unit: "bool",
        range: ints(0, 1),
        defaults: &[fixed(v(3, 10), "1")],
        see: &["CT001", "conntrack.invalid"],
        sources: &[
            Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_new()"),
            Source("measured on 6.18: 2 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_max_retrans",
        summary: "Retransmissions after which conntrack shortens its memory.",
        meaning: "Then nf_conntrack_tcp_timeout_max_retrans applies.",
        unit: "retransmissions",
        range: ints(0, 255),
        defaults: &[fixed(v(3, 10), "3")],
        see: &["CT001", "net.netfilter.nf_conntrack_tcp_timeout_max_retrans"],
        sources: &[
            Source("net/netfilter/nf_conntrack_proto_tcp.c nf_conntrack_tcp_packet()"),
            Source("measured on 6.18: 256 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_close",
        summary: "How long conntrack remembers a connection that was reset.",
        meaning: "After a RST.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "10")],
        see: &["CT001", "close"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
        summary: "How long conntrack remembers a half-closed connection after the FIN was acknowledged.",
        meaning: "The tracker's CLOSE_WAIT lasts 60 s; the socket's CLOSE_WAIT has no limit. Half-closed \
                      connections that are still in use can be forgotten here.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "60")],
        beliefs: &[belief(
            "It limits the CLOSE_WAIT sockets of the host",
            "It is about entries of the tracker. Nothing in the kernel ends a CLOSE_WAIT socket.",
        )],
        see: &["CT001", "CW001", "close_wait"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_established",
        summary: "How long conntrack remembers an idle established connection.",
        meaning: "Five days. Connections whose ends vanished without a FIN stay that long and fill the \
                      table. Below the keep-alive interval of the programs (two hours by default) idle live \
                      connections are forgotten, and with NAT they break.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "432000")],
        beliefs: &[belief(
            "1200 s is a safe value",
            "An idle connection through NAT then dies after 20 minutes, silently. Keep it above the \
                     programs' keep-alive interval.",
        )],
        see: &["CT001", "established", "net.ipv4.tcp_keepalive_time", "net.netfilter.nf_conntrack_tcp_loose"],
        sources: &[
            Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]"),
            Source("5 days in every tree from 3.10 to 6.18; measured on 6.18"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_fin_wait",
        summary: "How long conntrack remembers a connection after the first FIN.",
        meaning: "The tracker's FIN_WAIT. It does not see sockets, only packets.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "120")],
        see: &["CT001", "fin_wait1", "fin_wait2"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_last_ack",
        summary: "How long conntrack remembers a connection that waits for its last ACK.",
        meaning: "The tracker's LAST_ACK.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "30")],
        see: &["CT001", "last_ack"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_max_retrans",
        summary: "How long conntrack remembers a connection after too many retransmissions.",
        meaning: "Used once nf_conntrack_tcp_max_retrans segments went unacknowledged.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "300")],
        see: &["CT001", "net.netfilter.nf_conntrack_tcp_max_retrans"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_syn_recv",
        summary: "How long conntrack remembers a SYN that was answered, without the last ACK.",
        meaning: "Half-open connections through this host.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "60")],
        see: &["CT001", "SR001", "syn_recv"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_syn_sent",
        summary: "How long conntrack remembers an unanswered SYN.",
        meaning: "A flood of SYNs that nobody answers fills the table for this long.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "120")],
        see: &["CT001", "SR001", "syn_sent"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
        summary: "How long conntrack remembers a closed connection.",
        meaning: "Independent of the socket's 60 s. A new SYN on the same 4-tuple reopens or replaces the \
                      entry, so it does not block reuse by the same addresses. With source NAT the port stays \
                      taken; from the 6.5 tree on the last attempts may evict such an entry.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "120")],
        beliefs: &[belief(
            "30 shortens TIME_WAIT",
            "It shortens the tracker's memory. The sockets stay 60 s.",
        )],
        see: &["CT001", "TW001", "time_wait"],
        sources: &[
            Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]"),
            Source("net/netfilter/nf_nat_core.c nf_nat_used_tuple_harder(), 6.5 tree and later"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.netfilter.nf_conntrack_tcp_timeout_unacknowledged",
        summary: "How long conntrack remembers an established connection with unacknowledged data.",
        meaning: "It shortens the five days for connections whose peer has stopped answering.",
        unit: "s",
        range: Some(Range::Text("seconds, at most 2147483647 / HZ; no lower bound is checked")),
        defaults: &[fixed(v(3, 10), "300")],
        see: &["CT001", "net.netfilter.nf_conntrack_tcp_timeout_established"],
        sources: &[Source("net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]")],
        ..SYSCTL
    },
];
