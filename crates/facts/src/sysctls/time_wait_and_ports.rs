//! TIME_WAIT, local ports and the connection table.

use crate::shorthand::{SYSCTL, absent, belief, computed, fixed, ints, v};
use crate::{Range, Scope, Source, Sysctl};

/// Sorted by key.
pub(crate) static TABLE: &[Sysctl] = &[
    Sysctl {
        key: "net.ipv4.ip_autobind_reuse",
        summary: "Lets bind(port 0) share a port among sockets that set SO_REUSEADDR.",
        meaning: "Off, bind(address, port 0) wants a port that nobody else holds on that address and \
                      fails with EADDRINUSE when there is none. On, sockets with SO_REUSEADDR may share, and \
                      connect() may then collide on the 4-tuple. IP_BIND_ADDRESS_NO_PORT in the application \
                      is the better cure: it puts the choice off until connect().",
        unit: "bool",
        range: ints(0, 1),
        values: &[("0", "never share"), ("1", "share when every port is taken")],
        since: Some(v(5, 7)),
        defaults: &[fixed(v(5, 7), "0")],
        see: &["TW001", "bound_inactive", "net.ipv4.ip_local_port_range"],
        sources: &[
            Source("net/ipv4/inet_connection_sock.c inet_csk_find_open_port()"),
            Source("present in the 5.15 tree, absent in the 4.18 tree; 5.7 from memory"),
            Source("measured on 6.18: SO_REUSEADDR on bind(0) alone does not share ports"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.ip_local_port_range",
        summary: "The ports that connect() and bind(port 0) choose from.",
        meaning: "Both ends belong to the range: 28232 ports by default. A connection is unique by its \
                      4-tuple, so the ceiling is per (source address, destination address, destination port): \
                      28232 at once, or about 470 new ones a second when each leaves a TIME_WAIT of 60 s. \
                      Accepted connections take nothing from it. connect() tries the ports of the parity of \
                      the lower end first, bind(port 0) those of the other; past half of the range per \
                      destination each connect() walks the whole first half in vain and gets slow before it \
                      fails with EADDRNOTAVAIL. The two ends should differ in parity; the kernel logs \
                      \"prefer different parity for start/end values\" otherwise. A port that a bind() owns \
                      (a listener, a bound idle socket, bind before connect) is skipped by connect() for \
                      every destination.",
        unit: "port port",
        range: Some(Range::Text(
            "two ports, 1 to 65535, the first not above the second and, on current \
                                     kernels, not below ip_unprivileged_port_start",
        )),
        scope: Scope::NetnsSince(v(4, 4)),
        defaults: &[fixed(v(3, 10), "32768 61000"), fixed(v(4, 2), "32768 60999")],
        beliefs: &[
            belief(
                "A host can have at most 65,535 connections",
                "The limit holds per (source address, destination address, destination port). A server \
                     can accept millions on one port.",
            ),
            belief(
                "1024 65535 is always better",
                "It collides with services that bind fixed ports above 1024 after start. Protect them \
                     with ip_local_reserved_ports.",
            ),
            belief(
                "Any TIME_WAIT takes a port from the range",
                "Only those of connections this host opened do. TIME_WAIT on the accepting side holds the \
                     service port.",
            ),
        ],
        see: &[
            "TW001",
            "PX001",
            "time_wait",
            "bound_inactive",
            "net.ipv4.ip_local_reserved_ports",
            "net.ipv4.ip_unprivileged_port_start",
            "net.ipv4.tcp_tw_reuse",
            "net.ipv4.ip_autobind_reuse",
        ],
        sources: &[
            Source("net/ipv4/inet_hashtables.c __inet_hash_connect()"),
            Source("commit 07f4c90062f8 (2015-05), so 4.2; the 3.10 tree has 61000"),
            Source("two-pass parity in the 4.15 tree at the latest"),
            Source("global in the 3.10 tree, per namespace in the 4.4 tree"),
            Source("net/ipv4/sysctl_net_ipv4.c ipv4_local_port_range()"),
            Source(
                "measured on 6.18: a lower end of 1000 is refused while ip_unprivileged_port_start is \
                        1024",
            ),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.ip_local_reserved_ports",
        summary: "Ports that the kernel never chooses by itself.",
        meaning: "They are left out when connect() or bind(port 0) picks a port; an explicit bind() may \
                      still use them. Usable ports = range less (reserved and in range). Use it to keep fixed \
                      service ports out of a widened ip_local_port_range.",
        unit: "port list",
        range: Some(Range::Text("a list such as 8080,9000-9100; empty by default")),
        scope: Scope::NetnsSince(v(4, 4)),
        defaults: &[fixed(v(3, 10), "")],
        beliefs: &[belief(
            "Reserved ports cannot be bound",
            "They can, explicitly. Only the automatic choice avoids them.",
        )],
        see: &["TW001", "net.ipv4.ip_local_port_range"],
        sources: &[
            Source("net/ipv4/inet_hashtables.c __inet_hash_connect() (inet_is_local_reserved_port)"),
            Source("global in the 3.10 tree, per namespace in the 4.4 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.ip_unprivileged_port_start",
        summary: "The first port that a process without CAP_NET_BIND_SERVICE may bind.",
        meaning: "Ports below it need the capability. It must not lie above the lower end of \
                      ip_local_port_range; the kernel refuses either write that would make it so.",
        unit: "port",
        range: Some(Range::Text("0 to 65535, not above the lower end of ip_local_port_range")),
        since: Some(v(4, 11)),
        defaults: &[fixed(v(4, 11), "1024")],
        see: &["net.ipv4.ip_local_port_range"],
        sources: &[
            Source("net/ipv4/sysctl_net_ipv4.c ipv4_privileged_ports()"),
            Source("version from memory (commit of 2017-01); absent in the 4.9 tree"),
            Source("measured on 6.18: 1025 is refused while the range starts at 1024"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.route.gc_timeout",
        summary: "A relic of the routing cache. It has nothing to do with connections.",
        meaning: "The IPv4 routing cache was removed in 3.6. In 3.10 nothing but the sysctl itself refers \
                      to the variable; in 6.18 it is only the expiry of next-hop exceptions that ICMP \
                      redirects made. As tuning for TIME_WAIT or for connections it is useless.",
        unit: "s",
        range: Some(Range::Text("any integer")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "300")],
        beliefs: &[belief(
            "route.gc_timeout=100 helps with many connections",
            "It does nothing for TCP connections in any version since 3.6. Delete the line.",
        )],
        see: &["TW005"],
        sources: &[
            Source("net/ipv4/route.c, trees 3.10 and 6.18"),
            Source("Documentation/networking/ip-sysctl.rst"),
            Source("measured on 6.18: 300 on the host; absent in a child namespace"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_child_ehash_entries",
        summary: "Size of the connection table that the next child namespaces get for themselves.",
        meaning: "0: child namespaces share the host's table. Any other value is rounded up to a power of \
                      two, and a namespace that is created afterwards gets a table of its own: its sockets \
                      are then dumped without walking everybody else's, and its tcp_max_tw_buckets default \
                      becomes half of that size.",
        unit: "buckets",
        range: ints(0, 16777216),
        values: &[("0", "share the host table")],
        since: Some(v(6, 1)),
        defaults: &[fixed(v(6, 1), "0")],
        see: &["net.ipv4.tcp_ehash_entries", "net.ipv4.tcp_max_tw_buckets"],
        sources: &[
            Source("net/ipv4/tcp_ipv4.c tcp_set_hashinfo(), 6.1 tree"),
            Source("measured on 6.18: 16777217 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_ehash_entries",
        summary: "Size of the hash table that this namespace's connections live in.",
        meaning: "Read only. A negative number means that the namespace shares the host's table; its \
                      absolute value is the size. A dump of the sockets of one namespace walks the whole \
                      table that the namespace uses, host-wide or its own.",
        unit: "buckets",
        since: Some(v(6, 1)),
        defaults: &[computed(
            v(6, 1),
            "the host table: thash_entries= on the kernel command line, else one \
                                     bucket per 128 KiB of RAM rounded to a power of two, at most 512 Ki; \
                                     negative where the table is shared",
        )],
        see: &["net.ipv4.tcp_child_ehash_entries", "net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_max_orphans"],
        sources: &[
            Source("net/ipv4/sysctl_net_ipv4.c proc_tcp_ehash_entries(), 6.1 tree"),
            Source("measured on 6.18 with 24 GB: -262144 in a child namespace"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_fin_timeout",
        summary: "How long an orphaned FIN_WAIT2 socket waits for the peer's FIN.",
        meaning: "It bounds FIN_WAIT2 only, and only once the application has closed the socket; \
                      TCP_LINGER2 overrides it for one socket. A socket that was only shut down for writing \
                      (shutdown(SHUT_WR)) waits without limit. It does not touch TIME_WAIT in any version. Up \
                      to 60 the whole wait is a minisocket, counted in sockstat tw. Values above 60 are a \
                      trap: the socket waits value - 60 s twice, so 65 gives about 10 s, 120 gives 120 s, and \
                      only more than that waits longer than it says. It is never shorter than 3.5 \
                      retransmission time-outs.",
        unit: "s",
        range: Some(Range::Text("seconds; no bounds are checked, 0 and negative values are accepted")),
        scope: Scope::NetnsSince(v(4, 6)),
        defaults: &[fixed(v(3, 10), "60")],
        beliefs: &[
            belief(
                "It shortens TIME_WAIT",
                "It never did. TIME_WAIT is 60 s (TCP_TIMEWAIT_LEN). With fin_timeout=5 FIN_WAIT2 is gone \
                     after 5 s and TIME_WAIT still takes 60.",
            ),
            belief(
                "Lower is always better",
                "A low value cuts off peers that half-close and are slow to finish: their late data gets \
                     a RST.",
            ),
            belief(
                "61 to 119 wait a little longer than 60",
                "They wait about 2 x (value - 60) s in all: 61 waits 2 s.",
            ),
        ],
        see: &["FW001", "fin_wait2", "time_wait", "TW005", "TcpExt.TWKilled", "TcpExt.TCPAbortOnLinger"],
        sources: &[
            Source("include/net/tcp.h tcp_fin_time()"),
            Source(
                "net/ipv4/tcp.c __tcp_close(), net/ipv4/tcp_input.c tcp_rcv_state_process(), \
                        net/ipv4/tcp_timer.c tcp_keepalive_timer()",
            ),
            Source("commits of 2016-02: per namespace, so 4.6 (global in the 4.4 tree)"),
            Source(
                "measured on 6.18: 5 gives 5 s; 65 gives 10.4 s; 61 gives 2.2 s; 120 and more are \
                        computed",
            ),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_max_tw_buckets",
        summary: "Most TIME_WAIT sockets (and FIN_WAIT2 minisockets) that may exist at once.",
        meaning: "When the limit is reached a closing connection skips TIME_WAIT (or its orphaned \
                      FIN_WAIT2): it is freed at once and TcpExt.TCPTimeWaitOverflow moves. The connection \
                      was over already, so nothing is dropped or refused. The risk is in the protocol: a late \
                      FIN gets a RST, an old duplicate could hit a new connection. The default is half of the \
                      established hash table: about 16384 with 4 GB of RAM, 65536 with 16 GB, at most 262144. \
                      A TIME_WAIT costs 256 bytes, so memory is almost never a reason to lower it. A negative \
                      value is compared as unsigned from about 5.18 on, and no limit; before, it is compared \
                      with sign, and no connection gets TIME_WAIT, as with 0.",
        unit: "sockets",
        range: Some(Range::Text(
            "any integer; 0 means no TIME_WAIT at all; a negative value means no limit from about 5.18 on, \
                 and no TIME_WAIT at all before",
        )),
        scope: Scope::NetnsSince(v(4, 11)),
        defaults: &[computed(
            v(3, 10),
            "half of the entries of the established hash table (one bucket per 128 \
                                     KiB of RAM, a power of two, at most 512 Ki): 65536 with 16 GB, at most \
                                     262144",
        )],
        beliefs: &[
            belief(
                "The default is 18,000 to 30,000",
                "It is half of the established hash table, a power of two: 16384, 65536, 131072 or 262144 \
                     on usual machines.",
            ),
            belief(
                "Connections beyond the limit are dropped",
                "Only TIME_WAIT is skipped. No connection is refused.",
            ),
            belief(
                "The kernel logs \"time wait bucket table overflow\"",
                "No tree from 3.10 on contains that message, though the documentation still mentions it. \
                     Look at TCPTimeWaitOverflow.",
            ),
            belief(
                "0 or a negative value switches the limit off",
                "0 switches TIME_WAIT off: every close counts as an overflow. A negative value does the same \
                     before about 5.18, and is no limit only from there on.",
            ),
            belief(
                "Lowering it frees ports",
                "It does, by breaking the protection that TIME_WAIT gives. Use reuse, more destinations \
                     or keep-alive instead.",
            ),
        ],
        see: &[
            "TW002",
            "TW005",
            "time_wait",
            "TcpExt.TCPTimeWaitOverflow",
            "sockstat.TCP.tw",
            "net.ipv4.tcp_ehash_entries",
        ],
        sources: &[
            Source("net/ipv4/inet_timewait_sock.c inet_twsk_alloc()"),
            Source("net/ipv4/tcp_minisocks.c tcp_time_wait()"),
            Source("net/ipv4/tcp.c tcp_init(), net/ipv4/tcp_ipv4.c tcp_sk_init(): default"),
            Source("commit log 2016-12-29: per namespace, so 4.11 (global in the 4.4 and 4.9 trees)"),
            Source(
                "measured on 6.18: 24 GB of RAM gives 131072; with 0 every close moves \
                        TCPTimeWaitOverflow, with -5 none does",
            ),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_rfc1337",
        summary: "Whether TIME_WAIT ignores a RST.",
        meaning: "0: a RST that fits kills the TIME_WAIT socket at once, which RFC 1337 calls TIME-WAIT \
                      assassination. 1: such a RST is dropped and TIME_WAIT stays for its 60 s. On costs \
                      nothing but TIME_WAIT sockets that live to the end.",
        unit: "bool",
        range: Some(Range::Text("0 to 255; every other value than 0 means on")),
        values: &[("0", "a RST ends TIME_WAIT"), ("1", "a RST is ignored in TIME_WAIT")],
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[fixed(v(3, 10), "0")],
        beliefs: &[belief(
            "1 makes a RST kill TIME_WAIT",
            "The other way round: 1 makes TIME_WAIT ignore it.",
        )],
        see: &["time_wait"],
        sources: &[
            Source("net/ipv4/tcp_minisocks.c tcp_timewait_state_process()"),
            Source("global in a 4.14 tree, per namespace in the 4.15 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_timestamps",
        summary: "Whether TCP carries timestamps (RFC 7323).",
        meaning: "They give PAWS (old duplicates are told from new data), better round-trip times, and \
                      they are the condition for TIME_WAIT reuse. Both ends must agree. With 0, tcp_tw_reuse \
                      does nothing. The option costs 12 bytes a segment.",
        unit: "mode",
        range: Some(Range::Text("0 to 255; other values than those named behave as 1")),
        values: &[
            ("0", "off: TIME_WAIT reuse is impossible"),
            ("1", "on; each connection starts at a random offset (4.10 and later)"),
            ("2", "on, without the random offset (4.10 and later)"),
        ],
        scope: Scope::NetnsSince(v(4, 13)),
        defaults: &[fixed(v(3, 10), "1")],
        beliefs: &[
            belief(
                "Timestamps leak the uptime, so switch them off",
                "Since 4.10 each connection has its own random offset. Off, TIME_WAIT reuse and PAWS are \
                     gone.",
            ),
            belief(
                "If the host has it on, all its connections carry timestamps",
                "The peer must offer them too, and a balancer on the path may strip the option.",
            ),
        ],
        see: &["TW004", "PW001", "net.ipv4.tcp_tw_reuse", "TcpExt.PAWSEstab"],
        sources: &[
            Source("net/ipv4/tcp_ipv4.c tcp_twsk_unique()"),
            Source("commit 95a22caee396 (2016-12), so 4.10"),
            Source("global in the 4.9 tree, per namespace in a 4.14 tree; 4.13 from memory"),
            Source("measured on 6.18: with timestamps off tcp_tw_reuse=1 reuses nothing"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_tw_recycle",
        summary: "Removed. It cut TIME_WAIT short and broke clients behind NAT.",
        meaning: "Up to 4.11 a value of 1 ended TIME_WAIT after 3.5 retransmission time-outs (700 ms on a \
                      LAN) when the connection carried timestamps. In exchange the accepting side silently \
                      dropped every SYN whose timestamp was older than the last one seen from that address \
                      within 60 s: clients behind one NAT address lose connections at random. From 4.10, \
                      where timestamps start at a random offset for each connection, it broke all clients. \
                      The file is gone since 4.12; a line for it in sysctl.conf is dead.",
        unit: "bool",
        values: &[("0", "off"), ("1", "on: harmful")],
        scope: Scope::NetnsSince(v(4, 11)),
        until: Some(v(4, 12)),
        defaults: &[fixed(v(3, 10), "0")],
        beliefs: &[
            belief(
                "tcp_tw_recycle is deprecated",
                "It is removed, since 4.12. Setting it there fails with \"No such file or directory\".",
            ),
            belief(
                "It is a client-side setting, so it is safe on clients",
                "The damage is on the accepting side, but any host that accepts even one service behind \
                     NAT is hit.",
            ),
            belief(
                "A modern client cannot be hurt by it",
                "It can, by an old server that still has it on: its SYNs go unanswered.",
            ),
        ],
        see: &["TW006", "TcpExt.PAWSPassive", "net.ipv4.tcp_tw_reuse", "time_wait"],
        sources: &[
            Source(
                "3.10 tree net/ipv4/tcp_minisocks.c tcp_time_wait(), net/ipv4/tcp_ipv4.c \
                        tcp_v4_conn_request()",
            ),
            Source("commit 4396e46187ca (2017-03-15), so 4.12"),
            Source("commit 95a22caee396 (2016-12), so 4.10"),
            Source("commit log 2016-12-29: per namespace together with tcp_max_tw_buckets, so 4.11"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_tw_reuse",
        summary: "Lets connect() take over a local port whose old connection is still in TIME_WAIT.",
        meaning: "Only connect() looks at it. While it searches for a local port, connect() may take one \
                      whose 4-tuple is still in TIME_WAIT, provided the old connection carried TCP timestamps \
                      and is old enough: one second. It never helps accepted connections, bind() or the side \
                      that accepts. It does not shorten TIME_WAIT: a socket goes early only when a connect() \
                      to the same destination takes over its port, so the count may stay high while ports \
                      stop being lost. With 1 the ceiling per destination rises from ports/60 s to about \
                      ports/1 s. Mode 2 does the same for loopback only: the socket is bound to lo, or an \
                      address is in 127.0.0.0/8, ::1 or ::ffff:127.0.0.0/104. A connection to the host's own \
                      eth0 address is not loopback for it. A socket with an explicitly bound port takes over \
                      a TIME_WAIT at once, whatever this says, if timestamps were on.",
        unit: "mode",
        range: ints(0, 2),
        values: &[
            ("0", "no reuse"),
            ("1", "reuse for every destination"),
            ("2", "reuse on loopback only (4.18 and later)"),
        ],
        scope: Scope::NetnsSince(v(4, 11)),
        defaults: &[fixed(v(3, 10), "0"), fixed(v(4, 18), "2")],
        beliefs: &[
            belief(
                "tcp_tw_reuse=1 clears TIME_WAIT sockets",
                "It clears none. Each lives its 60 s unless a connect() to the same destination takes \
                     over its port. TIME_WAIT on the accepting side is untouched.",
            ),
            belief(
                "It works whatever the other settings",
                "The old connection must have carried timestamps. With net.ipv4.tcp_timestamps=0 on \
                     either end, or a balancer that strips the option, nothing is reused.",
            ),
            belief(
                "Servers that accept many connections need it",
                "Accepted connections use no local ports of the ephemeral range; the setting does nothing \
                     for them.",
            ),
            belief(
                "It is off by default",
                "Since 4.18 the default is 2: on for loopback. A load test on 127.0.0.1 behaves unlike a \
                     real network.",
            ),
            belief(
                "Setting it on the host helps the containers",
                "It is per network namespace, and a new namespace starts from the default.",
            ),
        ],
        see: &[
            "TW001",
            "TW004",
            "time_wait",
            "net.ipv4.tcp_timestamps",
            "net.ipv4.tcp_tw_reuse_delay",
            "net.ipv4.ip_local_port_range",
            "TcpExt.TWRecycled",
        ],
        sources: &[
            Source("net/ipv4/tcp_ipv4.c tcp_twsk_unique(), trees 3.10 to 6.18"),
            Source("commit 79e9fed46038 (2018-06-04): mode 2, so 4.18"),
            Source("commits of 2016-12: per namespace, so 4.11 (global in the 4.9 tree)"),
            Source("net/ipv4/inet_hashtables.c __inet_check_established()"),
            Source(
                "measured on 6.18: values above 2 are refused; with timestamps off nothing is reused; \
                        with mode 2 on loopback 514,631 of 1,000,000 TIME_WAITs were left",
            ),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_tw_reuse_delay",
        summary: "How old a TIME_WAIT must be before connect() may reuse its port.",
        meaning: "Counted in milliseconds from the entry into TIME_WAIT. It matters only where \
                      tcp_tw_reuse allows reuse. Before this knob the rule was \"the next tick of the second \
                      counter\" (5.0 to 6.12 trees) or \"more than one second since the last timestamp\" (up \
                      to 4.18). Lower it only when connections per second and destination pass the number of \
                      ports.",
        unit: "ms",
        range: ints(1, 60000),
        since: Some(v(6, 14)),
        defaults: &[fixed(v(6, 14), "1000")],
        beliefs: &[belief(
            "It changes how long TIME_WAIT lasts",
            "TIME_WAIT lasts 60 s. This is the minimum age for reuse by connect().",
        )],
        see: &["net.ipv4.tcp_tw_reuse", "TW001"],
        sources: &[
            Source("net/ipv4/tcp_ipv4.c tcp_twsk_unique() in the 6.18 tree; absent in the 6.12 tree"),
            Source("base commit dated 2024-12-11, so 6.14"),
            Source("measured on 6.18: 0 and 60001 are refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_tw_timeout",
        summary: "Vendor knob (Alibaba Cloud Linux): how long TIME_WAIT lasts.",
        meaning: "No mainline kernel has it. Alibaba Cloud Linux 2 (from 4.19.43-13.al7) and 3 do; \
                      version 4 deprecates it. Everywhere else TIME_WAIT is 60 s, compiled in. Probe the \
                      file; do not go by the version.",
        unit: "s",
        range: ints(1, 600),
        defaults: &[absent(v(3, 10))],
        beliefs: &[belief(
            "Linux has a sysctl for the length of TIME_WAIT",
            "Only this vendor kernel has. Mainline has TCP_TIMEWAIT_LEN, 60 s, fixed at compile time.",
        )],
        see: &["time_wait", "net.ipv4.tcp_fin_timeout"],
        sources: &[
            Source("Alibaba Cloud Linux documentation"),
            Source("include/net/tcp.h TCP_TIMEWAIT_LEN in every mainline tree from 3.10 to 6.18"),
        ],
        ..SYSCTL
    },
];
