//! Retransmission, keep-alive, orphans.

use crate::shorthand::{SYSCTL, belief, computed, fixed, ints, v};
use crate::{Range, Scope, Source, Sysctl};

/// Sorted by key.
pub(crate) static TABLE: &[Sysctl] = &[
    Sysctl {
        key: "net.ipv4.tcp_keepalive_intvl",
        summary: "Time between two unanswered keep-alive probes.",
        meaning: "Only for sockets that set SO_KEEPALIVE; TCP_KEEPINTVL overrides it for one socket.",
        unit: "s",
        range: Some(Range::Text("seconds; the sysctl checks no bounds")),
        scope: Scope::NetnsSince(v(4, 5)),
        defaults: &[fixed(v(3, 10), "75")],
        see: &["net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_probes", "KA001"],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_keepalive_timer()"),
            Source("global in the 4.4 tree, per namespace in the 4.9 tree; 4.5 from memory"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_keepalive_probes",
        summary: "Unanswered keep-alive probes after which the connection is dropped.",
        meaning: "Only for sockets that set SO_KEEPALIVE; TCP_KEEPCNT overrides it for one socket. The \
                      program then gets ETIMEDOUT and TcpExt.TCPAbortOnTimeout moves.",
        unit: "probes",
        range: ints(0, 255),
        scope: Scope::NetnsSince(v(4, 5)),
        defaults: &[fixed(v(3, 10), "9")],
        see: &[
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.tcp_keepalive_intvl",
            "KA001",
            "TcpExt.TCPAbortOnTimeout",
        ],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_keepalive_timer()"),
            Source("global in the 4.4 tree, per namespace in the 4.9 tree; 4.5 from memory"),
            Source("measured on 6.18: 256 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_keepalive_time",
        summary: "Idle time before the first keep-alive probe.",
        meaning: "Only for sockets that set SO_KEEPALIVE; TCP_KEEPIDLE overrides it for one socket. A \
                      connection whose peer vanished silently is found dead after time + intvl x probes: 7875 \
                      s, more than two hours, by default.",
        unit: "s",
        range: Some(Range::Text("seconds, 1 to 32767 for the socket option; the sysctl checks no bounds")),
        scope: Scope::NetnsSince(v(4, 5)),
        defaults: &[fixed(v(3, 10), "7200")],
        beliefs: &[
            belief(
                "Lowering it makes the kernel probe every idle connection",
                "Only sockets with SO_KEEPALIVE are probed. Most programs do not set it by themselves.",
            ),
            belief(
                "It is HTTP keep-alive",
                "It is not. HTTP keep-alive reuses connections; this detects dead peers.",
            ),
        ],
        see: &[
            "KA001",
            "ES001",
            "established",
            "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
            "TcpExt.TCPKeepAlive",
        ],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_keepalive_timer()"),
            Source("global in the 4.4 tree, per namespace in the 4.9 tree; 4.5 from memory"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_max_orphans",
        summary: "Most connections that no process holds, host-wide.",
        meaning: "FIN_WAIT1, LAST_ACK and CLOSING after close() count; TIME_WAIT and FIN_WAIT2 \
                      minisockets do not. Beyond the limit an orphan is reset: TcpExt.TCPAbortOnMemory moves \
                      and the log says \"too many orphaned sockets\". A socket that retransmits in vain \
                      counts double or fourfold in the test, so the resets start earlier. Each orphan may \
                      hold up to 64 KB that cannot be swapped.",
        unit: "sockets",
        range: Some(Range::Text("any integer")),
        scope: Scope::Host,
        defaults: &[computed(
            v(3, 10),
            "half of the entries of the established hash table: 131072 with 24 GB of \
                                     RAM",
        )],
        beliefs: &[belief(
            "It limits TIME_WAIT",
            "TIME_WAIT sockets are not orphans. Their limit is tcp_max_tw_buckets.",
        )],
        see: &[
            "OR001",
            "sockstat.TCP.orphan",
            "TcpExt.TCPAbortOnMemory",
            "net.ipv4.tcp_orphan_retries",
            "net.ipv4.tcp_mem",
            "fin_wait1",
            "last_ack",
        ],
        sources: &[
            Source("net/ipv4/tcp.c tcp_check_oom(), tcp_init()"),
            Source("net/ipv4/tcp_timer.c tcp_out_of_resources()"),
            Source("measured on 6.18: 131072 with 24 GB; the file is absent in a child namespace"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_orphan_retries",
        summary: "Retransmissions for a connection that no process holds any more.",
        meaning: "After close() a socket in FIN_WAIT1, LAST_ACK or CLOSING is an orphan. 0 in the file \
                      means 8 retransmissions, or none more if the peer is already known to be unreachable.",
        unit: "retransmissions",
        range: ints(0, 255),
        values: &[("0", "8 retransmissions while the path looks alive")],
        scope: Scope::NetnsSince(v(4, 6)),
        defaults: &[fixed(v(3, 10), "0")],
        beliefs: &[
            belief("The default is 8", "The file shows 0; the code reads 0 as 8."),
            belief(
                "Lowering it removes CLOSE_WAIT sockets",
                "CLOSE_WAIT is held by a process and is no orphan.",
            ),
        ],
        see: &[
            "OR001",
            "fin_wait1",
            "last_ack",
            "closing",
            "net.ipv4.tcp_max_orphans",
            "sockstat.TCP.orphan",
        ],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_orphan_retries()"),
            Source("global in the 4.4 tree, out of the global table in the 4.9 tree; 4.6 from memory"),
            Source("measured on 6.18: 300 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_retries1",
        summary: "Retransmissions after which the route is checked.",
        meaning: "After so many retransmissions of one segment the kernel suspects the path, forgets the \
                      cached route and asks the next layer to confirm it. The connection lives on.",
        unit: "retransmissions",
        range: ints(0, 255),
        scope: Scope::NetnsSince(v(4, 6)),
        defaults: &[fixed(v(3, 10), "3")],
        see: &["net.ipv4.tcp_retries2", "RT001"],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_write_timeout()"),
            Source("commits of 2016-02, so 4.6 (global in the 4.4 tree)"),
            Source("measured on 6.18: 256 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_retries2",
        summary: "Retransmissions after which an established connection is given up.",
        meaning: "It is turned into a time: how long so many retransmissions with doubling from 200 ms \
                      would take. 15 gives 924.6 s at least; with a slow path more. The program then gets \
                      ETIMEDOUT. TCP_USER_TIMEOUT sets the time for one socket and is the better tool. It \
                      bounds zero-window probes without an answer too, but not those that the peer keeps \
                      answering.",
        unit: "retransmissions",
        range: ints(0, 255),
        scope: Scope::NetnsSince(v(4, 6)),
        defaults: &[fixed(v(3, 10), "15")],
        beliefs: &[belief(
            "The connection dies after exactly 15 retransmissions",
            "After the time that 15 would take from the minimum time-out of 200 ms: about 15 minutes.",
        )],
        see: &["RT001", "ZW001", "KA001", "TcpExt.TCPAbortOnTimeout", "TcpExt.TCPTimeouts"],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_write_timeout(), retransmits_timed_out()"),
            Source("Documentation/networking/ip-sysctl.rst: 924.6 s"),
            Source("commits of 2016-02, so 4.6 (global in the 4.4 tree)"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_rto_max_ms",
        summary: "The largest retransmission time-out.",
        meaning: "Doubling stops here. Lower values find out sooner that a path works again after an \
                      outage, at the price of more probes.",
        unit: "ms",
        range: ints(1000, 120000),
        since: Some(v(6, 15)),
        defaults: &[fixed(v(6, 15), "120000")],
        see: &["RT001", "net.ipv4.tcp_retries2"],
        sources: &[
            Source("net/ipv4/tcp_ipv4.c tcp_sk_init(); 6.15 from memory"),
            Source("measured on 6.18: 999 and 120001 are refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_rto_min_us",
        summary: "The smallest retransmission time-out.",
        meaning: "A route's rto_min overrides it, and a BPF program may too. Below the peer's delayed-ACK \
                      time it makes spurious retransmissions.",
        unit: "us",
        range: Some(Range::Text("1 to 200000")),
        since: Some(v(6, 11)),
        defaults: &[fixed(v(6, 11), "200000")],
        see: &["RT001", "TcpExt.TCPSpuriousRTOs"],
        sources: &[
            Source("net/ipv4/tcp_ipv4.c tcp_sk_init(); 6.11 from memory"),
            Source("measured on 6.18: default 200000, 0 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_slow_start_after_idle",
        summary: "Whether the congestion window starts small again after an idle time.",
        meaning: "1: after one retransmission time-out without sending, the window falls back towards its \
                      initial 10 segments, so pooled connections start slowly after each pause. 0 keeps it, \
                      which suits long-lived connections with bursts.",
        unit: "bool",
        range: Some(Range::Text("0 to 255; every other value than 0 means on")),
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[fixed(v(3, 10), "1")],
        see: &["RT001"],
        sources: &[
            Source(
                "net/ipv4/tcp_output.c tcp_cwnd_validate(), include/net/tcp.h \
                        tcp_slow_start_after_idle_check()",
            ),
            Source("global in a 4.14 tree, per namespace in the 4.15 tree"),
        ],
        ..SYSCTL
    },
];
