//! Opening connections: listen and SYN queues, handshakes.

use crate::shorthand::{SYSCTL, belief, computed, fixed, ints, v};
use crate::{Range, Scope, Source, Sysctl};

/// Sorted by key.
pub(crate) static TABLE: &[Sysctl] = &[
    Sysctl {
        key: "net.core.somaxconn",
        summary: "The most that listen() may ask for: the upper bound of accept queues.",
        meaning: "listen(fd, backlog) stores min(backlog, somaxconn) at that moment. Changing it does \
                      nothing for sockets that already listen; the program must call listen() again (in \
                      practice: restart). The queue then holds one more than the limit. A program that asks \
                      for 128 or 511 gets no more however high this is.",
        unit: "connections",
        range: Some(Range::Text("0 to 2147483647 on current kernels; 0 to 65535 on old ones")),
        defaults: &[fixed(v(3, 10), "128"), fixed(v(5, 4), "4096")],
        beliefs: &[
            belief(
                "Raising it fixes a full accept queue at once",
                "Only sockets that call listen() afterwards see it, and only if their own backlog was the \
                     larger number.",
            ),
            belief("The accept queue holds min(backlog, somaxconn)", "It holds one more."),
            belief(
                "The host's value applies in containers",
                "It has been per network namespace since before 3.10; a container starts from the \
                     default.",
            ),
        ],
        see: &["LQ001", "LQ002", "listen", "TcpExt.ListenOverflows", "net.ipv4.tcp_max_syn_backlog"],
        sources: &[
            Source("net/socket.c __sys_listen()"),
            Source("include/net/sock.h sk_acceptq_is_full()"),
            Source("include/linux/socket.h SOMAXCONN: 128 in the 5.3 tree, 4096 in the 5.4 tree"),
            Source("per namespace already in the 3.10 tree"),
            Source(
                "absent in namespaces of an unprivileged user namespace before 6.3 (patch read, version by its date; \
                        measured: absent on 6.1, there on 6.12)",
            ),
            Source("measured on 6.18: listen(2) holds 3; 2147483647 is accepted"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_abort_on_overflow",
        summary: "Whether a full accept queue answers with a RST.",
        meaning: "0: the last ACK of the handshake is dropped and the client believes it is connected; \
                      its data is retransmitted until there is room. 1: the client gets a RST and an error at \
                      once. 0 rides out short bursts; 1 hides them from nobody and breaks clients that do not \
                      retry. SYNs that meet a full queue are dropped either way: only handshakes that \
                      were under way before it filled are reset.",
        unit: "bool",
        range: Some(Range::Text("0 to 255; every other value than 0 means on")),
        values: &[("0", "drop the ACK, the client retries"), ("1", "send a RST")],
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[fixed(v(3, 10), "0")],
        beliefs: &[belief(
            "1 cures an overflowing accept queue",
            "It turns a delay into an error. The cure is a program that accepts faster or a larger \
                     backlog.",
        )],
        see: &["LQ001", "RS001", "TcpExt.ListenOverflows", "TcpExt.EmbryonicRsts"],
        sources: &[
            Source("net/ipv4/tcp_minisocks.c tcp_check_req(); net/ipv4/tcp_input.c tcp_conn_request()"),
            Source(
                "measured on 6.18: 45 of 60 handshakes that met a full queue were reset (linger lab run slow-accept-abort)",
            ),
            Source("global in a 4.14 tree, per namespace in the 4.15 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_challenge_ack_limit",
        summary: "Challenge ACKs per second that one namespace may send.",
        meaning: "A SYN or a RST inside an established connection's window is answered with a challenge \
                      ACK (RFC 5961). Up to 6.0 a global bucket limited them, which leaked information to \
                      attackers (CVE-2016-5696); from 6.1 on there is no limit in practice and each socket is \
                      rate-limited by tcp_invalid_ratelimit.",
        unit: "ACKs/s",
        range: Some(Range::Text("0 to 2147483647")),
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[fixed(v(3, 10), "100"), fixed(v(4, 7), "1000"), fixed(v(6, 1), "2147483647")],
        see: &["TcpExt.TCPChallengeACK", "TcpExt.TCPACKSkippedChallenge", "net.ipv4.tcp_invalid_ratelimit"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_send_challenge_ack()"),
            Source(
                "net/ipv4/tcp_ipv4.c tcp_sk_init(): 1000, later INT_MAX; 4.7 and 6.1 from memory, \
                        stable trees backported 1000",
            ),
            Source("global in a 4.14 tree, per namespace in the 4.15 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_fastopen",
        summary: "TCP Fast Open: data in the SYN.",
        meaning: "A bit mask. 1 lets clients ask for it, 2 lets listeners that set TCP_FASTOPEN grant it. \
                      It needs a cookie from an earlier connection unless further bits waive that.",
        unit: "bit mask",
        range: Some(Range::Text("a bit mask; no bounds are checked")),
        values: &[
            ("1", "client side"),
            ("2", "server side"),
            ("4", "client sends data without a cookie"),
            ("512", "server accepts data without a cookie"),
            ("1024", "server side for every listener, without the socket option"),
        ],
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[fixed(v(3, 10), "0"), fixed(v(3, 13), "1")],
        see: &["net.ipv4.tcp_syncookies"],
        sources: &[
            Source("net/ipv4/tcp_fastopen.c: 0 in a 3.10 tree, TFO_CLIENT_ENABLE later; 3.13 from memory"),
            Source("include/net/tcp.h TFO_*"),
            Source("global in a 4.14 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_invalid_ratelimit",
        summary: "Least time between two duplicate ACKs that answer invalid segments of one connection.",
        meaning: "Segments with a bad sequence number, a bad acknowledgement or a failed PAWS test are \
                      answered with an ACK at most this often, so that two confused ends cannot storm. \
                      Skipped ACKs are counted in TcpExt.TCPACKSkipped*.",
        unit: "ms",
        range: Some(Range::Text("0 or more; 0 switches the limit off")),
        scope: Scope::NetnsSince(v(4, 15)),
        since: Some(v(4, 0)),
        defaults: &[fixed(v(4, 0), "500")],
        see: &[
            "TcpExt.TCPACKSkippedSeq",
            "TcpExt.TCPACKSkippedPAWS",
            "TcpExt.TCPACKSkippedTimeWait",
            "PW001",
        ],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_oow_rate_limited()"),
            Source("Documentation/networking/ip-sysctl.rst; 4.0 from memory, present in the 4.9 tree"),
            Source("global in a 4.14 tree, per namespace in the 4.15 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_max_syn_backlog",
        summary: "Half-open connections per listener, but only while SYN cookies are off.",
        meaning: "From the 4.4 tree on the request queue is bounded by the accept backlog of the \
                      listener. This knob matters only when tcp_syncookies is 0: then the last quarter of it \
                      is kept for peers known to be alive. With the default tcp_syncookies=1 it is inert. In \
                      3.10 the queue was min(backlog, this), rounded up to a power of two.",
        unit: "requests",
        range: Some(Range::Text("any integer")),
        scope: Scope::NetnsSince(v(4, 11)),
        defaults: &[
            computed(v(3, 10), "max(128, established hash entries / 256)"),
            computed(v(5, 4), "max(128, established hash entries / 128) (in the 5.4 tree at the latest)"),
        ],
        beliefs: &[
            belief(
                "Raising it makes the SYN queue larger",
                "Not since the 4.4 tree, unless SYN cookies are off. The bound is the listen backlog.",
            ),
            belief(
                "It is the cure for a SYN flood",
                "SYN cookies are. With them on this number is not consulted.",
            ),
        ],
        see: &[
            "SR001",
            "SR002",
            "syn_recv",
            "net.ipv4.tcp_syncookies",
            "net.core.somaxconn",
            "TcpExt.TCPReqQFullDoCookies",
            "TcpExt.TCPReqQFullDrop",
        ],
        sources: &[
            Source(
                "net/ipv4/tcp_input.c tcp_conn_request(), include/net/inet_connection_sock.h \
                        inet_csk_reqsk_queue_is_full(), trees 4.4 to 6.18",
            ),
            Source("3.10 tree net/core/request_sock.c reqsk_queue_alloc()"),
            Source("global in the 4.9 tree, per namespace in the 4.15 tree; 4.11 from memory"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_migrate_req",
        summary: "Whether a closing SO_REUSEPORT listener hands its waiting connections to another one.",
        meaning: "0: when a listener of a SO_REUSEPORT group closes, connections in its queues are reset. \
                      1: they move to another listener of the group, unless a BPF program decides. Useful \
                      with graceful restarts.",
        unit: "bool",
        range: ints(0, 1),
        since: Some(v(5, 14)),
        defaults: &[fixed(v(5, 14), "0")],
        see: &["RS001", "LQ001", "TcpExt.TCPMigrateReqSuccess", "TcpExt.TCPMigrateReqFailure"],
        sources: &[
            Source("net/ipv4/inet_connection_sock.c inet_csk_listen_stop()"),
            Source("Documentation/networking/ip-sysctl.rst; 5.14 from memory"),
            Source("measured on 6.18: 2 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_syn_linear_timeouts",
        summary: "How many SYN retries come one second apart before the interval doubles.",
        meaning: "With 4 the SYN is repeated after 1, 1, 1, 1, 1, 2, 4, 8 s and so on. The time after \
                      which connect() gives up is still that of plain doubling, rounded up to the next retry: \
                      it adds SYNs, it does not shorten the wait. Only the connecting side; SYN-ACKs are not \
                      affected.",
        unit: "retries",
        range: ints(0, 127),
        since: Some(v(6, 5)),
        defaults: &[fixed(v(6, 5), "4")],
        see: &["net.ipv4.tcp_syn_retries", "SS001", "syn_sent"],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_retransmit_timer()"),
            Source("Documentation/networking/ip-sysctl.rst; 6.5 as dated by public notes on it"),
            Source("measured on 6.18: 128 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_syn_retries",
        summary: "How often connect() repeats its SYN before ETIMEDOUT.",
        meaning: "6 retries with doubling from 1 s give up after 127 s. From 6.5 on \
                      tcp_syn_linear_timeouts adds SYNs at the start: with the defaults 10 retries go out, \
                      the last after 67 s, and connect() fails after 131 s. 2 gives up after 7 s, 1 after 3 \
                      s. TCP_SYNCNT overrides it for one socket; an application's own connect time-out is the \
                      better tool.",
        unit: "retries",
        range: ints(1, 127),
        scope: Scope::NetnsSince(v(4, 6)),
        defaults: &[fixed(v(3, 10), "6")],
        beliefs: &[belief(
            "Lowering it to 2 is harmless",
            "connect() then gives up after 7 s: a brief loss or a failover becomes an error for every \
                     program on the host.",
        )],
        see: &[
            "SS001",
            "syn_sent",
            "net.ipv4.tcp_syn_linear_timeouts",
            "TcpExt.TCPSynRetrans",
            "TcpExt.TCPTimeouts",
        ],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_write_timeout(), retransmits_timed_out()"),
            Source("include/net/tcp.h TCP_SYN_RETRIES"),
            Source(
                "global in the 4.4 tree; in the per-namespace table of a 4.14 tree and out of the \
                        global one of the 4.9 tree; 4.6 from memory",
            ),
            Source(
                "measured on 6.18: 1 gives up after 3 s, 2 after 7 s, 6 after 131 s; 0 and 128 are \
                        refused",
            ),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_synack_retries",
        summary: "How often a SYN-ACK is repeated before a half-open connection is given up.",
        meaning: "5 retries with doubling from 1 s keep an unanswered request for about 63 s. When the \
                      request queue is more than half full the kernel drops old requests after fewer retries \
                      by itself, to keep room for young ones. Fewer retries free the queue sooner in a flood, \
                      and cost clients on lossy paths their connection.",
        unit: "retries",
        range: ints(0, 255),
        scope: Scope::NetnsSince(v(4, 6)),
        defaults: &[fixed(v(3, 10), "5")],
        see: &["SR001", "SR002", "syn_recv", "TcpExt.TCPTimeouts", "net.ipv4.tcp_syncookies"],
        sources: &[
            Source("net/ipv4/inet_connection_sock.c reqsk_timer_handler()"),
            Source("include/net/tcp.h TCP_SYNACK_RETRIES"),
            Source("in the per-namespace table of a 4.14 tree; 4.6 from memory"),
            Source("measured on 6.18: 256 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_syncookies",
        summary: "What happens when a listener's request queue is full.",
        meaning: "1: the SYN is answered with a cookie in the sequence number and nothing is remembered, \
                      so no request socket appears in SYN_RECV. 0: the SYN is dropped. 2: cookies always, for \
                      tests. Cookies do not get around a full accept queue: such SYNs are dropped all the \
                      same. A connection made from a cookie has window scaling and SACK only if the client \
                      sent timestamps.",
        unit: "mode",
        range: Some(Range::Text("0 to 255; other values than those named behave as 1")),
        values: &[
            ("0", "drop the SYN when the queue is full"),
            ("1", "send cookies when the queue is full"),
            ("2", "always send cookies (3.12 and later)"),
        ],
        scope: Scope::NetnsSince(v(4, 6)),
        defaults: &[fixed(v(3, 10), "1")],
        beliefs: &[
            belief(
                "A flood shows as a large number of SYN_RECV",
                "With cookies on SYN_RECV stays at backlog + 1 for each listener. Watch SyncookiesSent, \
                     TCPReqQFull* and ListenDrops.",
            ),
            belief(
                "SyncookiesSent means an attack",
                "Often the backlog is just too small for honest load: then SyncookiesRecv follows \
                     SyncookiesSent.",
            ),
        ],
        see: &[
            "SR001",
            "SR002",
            "syn_recv",
            "TcpExt.SyncookiesSent",
            "TcpExt.SyncookiesRecv",
            "TcpExt.SyncookiesFailed",
            "TcpExt.TCPReqQFullDoCookies",
        ],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_syn_flood_action(), tcp_conn_request()"),
            Source("commits of 2016-02: per namespace, so 4.6 (global in the 4.4 tree)"),
            Source("tcp(7), commit 5ad37d5deee1: mode 2 since 3.12"),
            Source("measured on 6.18: 60 spoofed SYNs at backlog 4 gave 5 SYN_RECV and 55 cookies"),
            Source("absent without CONFIG_SYN_COOKIES"),
        ],
        ..SYSCTL
    },
];
