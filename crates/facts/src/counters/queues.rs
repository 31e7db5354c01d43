//! `TcpExt:` listen and SYN queues.

use crate::shorthand::{COUNTER, belief, v};
use crate::{Counter, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "TcpExt.EmbryonicRsts",
        file: "/proc/net/netstat",
        summary: "Half-open connections that were reset.",
        meaning: "A RST or a second SYN arrived in SYN_RECV, or the accept queue was full with \
                      tcp_abort_on_overflow on. Scanners that send SYN, then RST.",
        see: &["SR001", "RS001", "syn_recv", "net.ipv4.tcp_abort_on_overflow"],
        sources: &[Source("net/ipv4/tcp_minisocks.c tcp_check_req()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.ListenDrops",
        file: "/proc/net/netstat",
        summary: "SYNs and handshakes that a listener dropped, for any reason.",
        meaning: "Includes every ListenOverflows, then SYNs dropped because the request queue was full \
                      with cookies off, and children that could not be allocated. It raises sk_drops of the \
                      listener, which ss -tlnm shows as d.",
        see: &["LQ001", "SR001", "SR002", "TcpExt.ListenOverflows", "TcpExt.TCPReqQFullDrop", "listen"],
        sources: &[
            Source("include/net/tcp.h tcp_listendrop()"),
            Source(
                "measured on 6.18: 60 spoofed SYNs at backlog 4 with cookies off: 55, ListenOverflows \
                        0",
            ),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.ListenOverflows",
        file: "/proc/net/netstat",
        summary: "Connections refused because an accept queue was full.",
        meaning: "Moves for a SYN that finds the accept queue full, and for the ACK that completes a \
                      handshake when there is no room. A client that retries moves it several times. It names \
                      no listener: sk_drops of each listening socket does.",
        beliefs: &[
            belief(
                "Raising somaxconn stops it",
                "Only after the program calls listen() again with a larger backlog. If nobody accepts, no \
                     queue is large enough.",
            ),
            belief(
                "Every count is a lost client",
                "The client retries; many get through with a delay of 1, 3 or 7 s.",
            ),
        ],
        see: &[
            "LQ001",
            "listen",
            "TcpExt.ListenDrops",
            "net.core.somaxconn",
            "net.ipv4.tcp_abort_on_overflow",
        ],
        sources: &[
            Source("include/net/sock.h sk_acceptq_is_full()"),
            Source("net/ipv4/tcp_input.c tcp_conn_request()"),
            Source("net/ipv4/tcp_ipv4.c tcp_v4_syn_recv_sock()"),
            Source("measured on 6.18: listen(2) holds 3, the next SYN is dropped"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.SyncookiesFailed",
        file: "/proc/net/netstat",
        summary: "ACKs with an invalid cookie.",
        meaning: "Counted while a listener has sent cookies recently: ACKs that came too late, or an ACK \
                      flood.",
        see: &["SR001", "TcpExt.SyncookiesSent"],
        sources: &[Source("net/ipv4/syncookies.c cookie_v4_check()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.SyncookiesRecv",
        file: "/proc/net/netstat",
        summary: "Connections that came back with a valid cookie.",
        meaning: "Honest clients that met a full request queue. Divide by SyncookiesSent: near 1 the \
                      backlog is too small, near 0 it is a flood.",
        see: &["SR001", "SR002", "TcpExt.SyncookiesSent"],
        sources: &[Source("net/ipv4/syncookies.c cookie_v4_check()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.SyncookiesSent",
        file: "/proc/net/netstat",
        summary: "SYN cookies sent.",
        meaning: "A request queue was full and the SYN was answered without remembering it. Often a \
                      backlog that is too small rather than an attack: then SyncookiesRecv follows.",
        beliefs: &[belief(
            "Cookies sent mean an attack",
            "Compare with SyncookiesRecv. Honest clients send the cookie back.",
        )],
        see: &[
            "SR001",
            "SR002",
            "TcpExt.SyncookiesRecv",
            "TcpExt.SyncookiesFailed",
            "net.ipv4.tcp_syncookies",
            "syn_recv",
        ],
        sources: &[
            Source("net/ipv4/syncookies.c cookie_v4_init_sequence()"),
            Source("measured on 6.18: equals TCPReqQFullDoCookies in a flood"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPDeferAcceptDrop",
        file: "/proc/net/netstat",
        summary: "Bare ACKs ignored because the listener waits for data.",
        meaning: "TCP_DEFER_ACCEPT: the handshake counts as done only when the first data arrives. Not a \
                      loss.",
        see: &["syn_recv", "listen"],
        sources: &[Source("net/ipv4/tcp_minisocks.c tcp_check_req()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPFastOpenListenOverflow",
        file: "/proc/net/netstat",
        summary: "Fast Open connections refused because too many were pending.",
        meaning: "The limit is the argument of the TCP_FASTOPEN option. The client falls back to a normal \
                      handshake.",
        see: &["net.ipv4.tcp_fastopen", "LQ001"],
        sources: &[Source("net/ipv4/tcp_fastopen.c tcp_fastopen_queue_check()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMigrateReqFailure",
        file: "/proc/net/netstat",
        summary: "Waiting connections that could not move to another listener.",
        meaning: "They are reset. See TCPMigrateReqSuccess.",
        since: Some(v(5, 14)),
        see: &["net.ipv4.tcp_migrate_req", "RS001"],
        sources: &[
            Source("net/ipv4/inet_connection_sock.c inet_csk_listen_stop()"),
            Source("5.14 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMigrateReqSuccess",
        file: "/proc/net/netstat",
        summary: "Waiting connections that moved to another listener of the group.",
        meaning: "A SO_REUSEPORT listener closed and tcp_migrate_req was on.",
        since: Some(v(5, 14)),
        see: &["net.ipv4.tcp_migrate_req", "TcpExt.TCPMigrateReqFailure"],
        sources: &[
            Source("net/ipv4/inet_connection_sock.c inet_csk_listen_stop()"),
            Source("5.14 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPReqQFullDoCookies",
        file: "/proc/net/netstat",
        summary: "SYNs that met a full request queue and got a cookie.",
        meaning: "Nothing was dropped. Equal to SyncookiesSent unless tcp_syncookies is 2.",
        see: &["SR001", "SR002", "TcpExt.SyncookiesSent", "net.ipv4.tcp_syncookies"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_syn_flood_action()"),
            Source("measured on 6.18: 55 of 60 SYNs at backlog 4"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPReqQFullDrop",
        file: "/proc/net/netstat",
        summary: "SYNs that met a full request queue and were dropped.",
        meaning: "Only with tcp_syncookies=0.",
        see: &["SR001", "SR002", "TcpExt.ListenDrops", "net.ipv4.tcp_syncookies"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_syn_flood_action()"),
            Source("measured on 6.18: 55 of 60 SYNs at backlog 4, ListenDrops 55"),
        ],
        ..COUNTER
    },
];
