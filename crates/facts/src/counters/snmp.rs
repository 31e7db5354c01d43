//! `Tcp:` of `/proc/net/snmp`.

use crate::shorthand::{COUNTER, belief};
use crate::{Counter, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "Tcp.ActiveOpens",
        file: "/proc/net/snmp",
        summary: "Connections that this side began: connect().",
        meaning: "Counted when the SYN is first sent. Its rate is what local ports towards few \
                      destinations must carry.",
        see: &["TW001", "TW003", "syn_sent", "net.ipv4.ip_local_port_range"],
        sources: &[Source("net/ipv4/tcp_output.c tcp_connect()")],
        ..COUNTER
    },
    Counter {
        name: "Tcp.AttemptFails",
        file: "/proc/net/snmp",
        summary: "Handshakes that failed.",
        meaning: "SYN_SENT or SYN_RECV went straight to CLOSE: refused, timed out, reset. A client that \
                      connects to a closed port counts here, and so does a request that the peer resets.",
        see: &["SS001", "RS001", "syn_sent", "TcpExt.EmbryonicRsts"],
        sources: &[
            Source("net/ipv4/tcp.c tcp_done()"),
            Source("net/ipv4/tcp_minisocks.c tcp_check_req()"),
            Source("measured on 6.18: a refused connect moves it by 1"),
        ],
        ..COUNTER
    },
    Counter {
        name: "Tcp.CurrEstab",
        file: "/proc/net/snmp",
        summary: "Connections in ESTABLISHED or CLOSE_WAIT, now.",
        meaning: "A gauge, not a counter. A CLOSE_WAIT leak raises it as live connections do.",
        beliefs: &[belief("It is the number of ESTABLISHED connections", "CLOSE_WAIT is included.")],
        see: &["ES001", "CW001", "established", "close_wait"],
        sources: &[
            Source("net/ipv4/tcp.c tcp_set_state()"),
            Source("measured on 6.18: 1 with no ESTABLISHED and one CLOSE_WAIT"),
        ],
        ..COUNTER
    },
    Counter {
        name: "Tcp.EstabResets",
        file: "/proc/net/snmp",
        summary: "Established connections that ended without a FIN exchange.",
        meaning: "ESTABLISHED or CLOSE_WAIT went straight to CLOSE: a RST arrived, or this side sent one \
                      (close with unread data, SO_LINGER 0), or a time-out. It does not say which side sent \
                      the RST.",
        beliefs: &[belief(
            "It counts the resets that peers sent",
            "It counts both directions and time-outs. TcpExt.TCPAbortOn* tells this side's causes.",
        )],
        see: &[
            "RS001",
            "Tcp.OutRsts",
            "TcpExt.TCPAbortOnClose",
            "TcpExt.TCPAbortOnData",
            "TcpExt.TCPAbortOnTimeout",
        ],
        sources: &[Source("net/ipv4/tcp.c tcp_set_state()")],
        ..COUNTER
    },
    Counter {
        name: "Tcp.InCsumErrors",
        file: "/proc/net/snmp",
        summary: "Segments with a bad checksum.",
        meaning: "Part of InErrs.",
        see: &["Tcp.InErrs"],
        sources: &[Source("net/ipv4/tcp_ipv4.c tcp_v4_rcv()"), Source("present in 3.10")],
        ..COUNTER
    },
    Counter {
        name: "Tcp.InErrs",
        file: "/proc/net/snmp",
        summary: "Segments with a bad header or checksum.",
        meaning: "Anything but zero points at hardware, offloading or a broken middlebox.",
        see: &["Tcp.InCsumErrors", "RT001"],
        sources: &[Source("net/ipv4/tcp_ipv4.c tcp_v4_rcv()")],
        ..COUNTER
    },
    Counter {
        name: "Tcp.InSegs",
        file: "/proc/net/snmp",
        summary: "Segments received.",
        meaning: "Counted as they reach TCP, bad ones included. A packet that GRO merged from several \
                      counts once (from memory).",
        see: &["Tcp.OutSegs", "Tcp.InErrs"],
        sources: &[Source("net/ipv4/tcp_ipv4.c tcp_v4_rcv()")],
        ..COUNTER
    },
    Counter {
        name: "Tcp.OutRsts",
        file: "/proc/net/snmp",
        summary: "Resets sent.",
        meaning: "For connections to ports that nobody listens on, for segments that fit no connection, \
                      and for connections that this side aborts. A port scan raises it.",
        beliefs: &[belief(
            "Many OutRsts mean that the application aborts connections",
            "Often a scan, a health check or a stopped service. Compare with TCPAbortOn* and \
                     EstabResets.",
        )],
        see: &["RS001", "Tcp.EstabResets", "TcpExt.TCPAbortOnClose", "TcpExt.TCPAbortOnData"],
        sources: &[
            Source("net/ipv4/tcp_ipv4.c tcp_v4_send_reset()"),
            Source("net/ipv4/tcp_output.c tcp_send_active_reset()"),
        ],
        ..COUNTER
    },
    Counter {
        name: "Tcp.OutSegs",
        file: "/proc/net/snmp",
        summary: "Segments sent, without retransmissions.",
        meaning: "A TSO packet counts as the segments it is cut into. The denominator of the \
                      retransmission rate. Resets and SYN-ACKs are included.",
        see: &["RT001", "Tcp.RetransSegs", "TcpExt.TCPOrigDataSent"],
        sources: &[
            Source("net/ipv4/tcp_output.c __tcp_transmit_skb(), tcp_make_synack()"),
            Source("net/ipv4/tcp_ipv4.c tcp_v4_send_reset()"),
            Source("measured on 6.18: a handshake on loopback is 3, a refused connect 2"),
        ],
        ..COUNTER
    },
    Counter {
        name: "Tcp.PassiveOpens",
        file: "/proc/net/snmp",
        summary: "Connections that this side accepted in the kernel.",
        meaning: "Counted when the handshake is complete and the child socket is made, before the program \
                      calls accept().",
        see: &["LQ001", "listen", "syn_recv"],
        sources: &[Source("net/ipv4/tcp_minisocks.c tcp_create_openreq_child()")],
        ..COUNTER
    },
    Counter {
        name: "Tcp.RetransSegs",
        file: "/proc/net/snmp",
        summary: "Segments sent again.",
        meaning: "Data, SYNs and SYN-ACKs. Divide by OutSegs over the same time. A high ratio with few \
                      segments means nothing: look at the peers.",
        beliefs: &[belief(
            "Retransmissions mean a bad network",
            "SYNs to a host that does not answer, and SYN-ACKs of a flood, count too. TCPSynRetrans \
                     tells their share.",
        )],
        see: &[
            "RT001",
            "Tcp.OutSegs",
            "TcpExt.TCPSynRetrans",
            "TcpExt.TCPTimeouts",
            "TcpExt.TCPLostRetransmit",
        ],
        sources: &[Source("net/ipv4/tcp_output.c __tcp_retransmit_skb(), tcp_rtx_synack()")],
        ..COUNTER
    },
];
