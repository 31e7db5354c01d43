//! `TcpExt:` connections that ended early, and keep-alive.

use crate::shorthand::{COUNTER, v};
use crate::{Counter, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "TcpExt.TCPAbortFailed",
        file: "/proc/net/netstat",
        summary: "Resets that could not be sent.",
        meaning: "No memory for the segment. The peer learns nothing.",
        see: &["MM001", "RS001"],
        sources: &[Source("net/ipv4/tcp_output.c tcp_send_active_reset()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPAbortOnClose",
        file: "/proc/net/netstat",
        summary: "Connections reset because they were closed with unread data.",
        meaning: "The program called close() before it had read everything, so the kernel sends a RST \
                      instead of a FIN and the peer may lose what it has not read. Typical of HTTP servers \
                      that answer early.",
        see: &["RS001", "Tcp.OutRsts", "Tcp.EstabResets"],
        sources: &[
            Source("net/ipv4/tcp.c __tcp_close()"),
            Source("measured on 6.18: close() with one unread byte"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPAbortOnData",
        file: "/proc/net/netstat",
        summary: "Connections reset because data was thrown away.",
        meaning: "The program closed with SO_LINGER 0; or it had closed and data still arrived before the \
                      FIN was acknowledged, or TCP_LINGER2 was negative. Leaves no TIME_WAIT. Data that \
                      arrives later, for a minisocket, is answered with a RST that only OutRsts counts.",
        see: &["RS001", "Tcp.OutRsts", "Tcp.EstabResets", "TcpExt.TCPAbortOnClose"],
        sources: &[
            Source("net/ipv4/tcp.c __tcp_close()"),
            Source("net/ipv4/tcp_input.c tcp_rcv_state_process()"),
            Source("measured on 6.18: SO_LINGER 0 moves it, data for a FIN_WAIT2 minisocket does not"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPAbortOnLinger",
        file: "/proc/net/netstat",
        summary: "Orphaned FIN_WAIT2 sockets reset at once.",
        meaning: "The program set TCP_LINGER2 to a negative value.",
        see: &["fin_wait2", "net.ipv4.tcp_fin_timeout", "RS001"],
        sources: &[
            Source("net/ipv4/tcp.c __tcp_close()"),
            Source("net/ipv4/tcp_timer.c tcp_keepalive_timer()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPAbortOnMemory",
        file: "/proc/net/netstat",
        summary: "Connections reset because there were too many orphans or too little TCP memory.",
        meaning: "The log has \"too many orphaned sockets\" or \"out of memory -- consider tuning \
                      tcp_mem\" with it.",
        see: &["OR001", "MM001", "net.ipv4.tcp_max_orphans", "net.ipv4.tcp_mem"],
        sources: &[
            Source("net/ipv4/tcp.c tcp_check_oom()"),
            Source("net/ipv4/tcp_timer.c tcp_out_of_resources()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPAbortOnTimeout",
        file: "/proc/net/netstat",
        summary: "Connections given up because the peer stopped answering.",
        meaning: "Retransmissions, keep-alive probes, window probes, SYNs or the user time-out ran out. \
                      The program gets ETIMEDOUT.",
        see: &["RT001", "KA001", "SS001", "ZW001", "net.ipv4.tcp_retries2", "net.ipv4.tcp_keepalive_time"],
        sources: &[Source("net/ipv4/tcp_timer.c tcp_write_err(), tcp_keepalive_timer()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPKeepAlive",
        file: "/proc/net/netstat",
        summary: "Keep-alive probes sent.",
        meaning: "Zero on a busy host means that no program sets SO_KEEPALIVE, or that nothing was idle \
                      long enough.",
        since: Some(v(4, 2)),
        see: &["KA001", "net.ipv4.tcp_keepalive_time"],
        sources: &[
            Source("net/ipv4/tcp_output.c tcp_write_wakeup()"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.2 from memory"),
        ],
        ..COUNTER
    },
];
