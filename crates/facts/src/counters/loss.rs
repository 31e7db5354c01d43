//! `TcpExt:` loss and retransmission.

use crate::shorthand::{COUNTER, v};
use crate::{Counter, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "TcpExt.TCPDSACKRecv",
        file: "/proc/net/netstat",
        summary: "Duplicate-data reports received from peers.",
        meaning: "The peer got something twice: the retransmission was not needed, or the network \
                      duplicated.",
        see: &["RT001", "TcpExt.TCPSpuriousRTOs"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_check_dsack()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPFastRetrans",
        file: "/proc/net/netstat",
        summary: "Segments sent again in fast recovery.",
        meaning: "The cheap kind of loss: found by duplicate ACKs, no time-out.",
        see: &["RT001", "TcpExt.TCPSlowStartRetrans"],
        sources: &[Source("net/ipv4/tcp_output.c tcp_xmit_retransmit_queue()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPLossProbes",
        file: "/proc/net/netstat",
        summary: "Tail loss probes sent.",
        meaning: "The last segment of a burst was not acknowledged in time and was sent again before the \
                      time-out.",
        see: &["RT001"],
        sources: &[Source("net/ipv4/tcp_output.c tcp_send_loss_probe()"), Source("3.10 from memory")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPLostRetransmit",
        file: "/proc/net/netstat",
        summary: "Retransmitted segments that were lost again.",
        meaning: "A path that is really bad, or a policer.",
        see: &["RT001"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_mark_skb_lost()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPOFODrop",
        file: "/proc/net/netstat",
        summary: "Out-of-order segments dropped for lack of buffer.",
        meaning: "See OfoPruned for those that were dropped later.",
        see: &["MM001", "RT001"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_data_queue_ofo()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPOFOQueue",
        file: "/proc/net/netstat",
        summary: "Segments that arrived out of order and were kept.",
        meaning: "Loss or reordering on the way to this host.",
        see: &["RT001"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_data_queue_ofo()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPOrigDataSent",
        file: "/proc/net/netstat",
        summary: "Data segments sent for the first time.",
        meaning: "Without ACKs, SYNs and retransmissions: a better denominator than OutSegs for the loss \
                      of data.",
        since: Some(v(3, 15)),
        see: &["RT001", "Tcp.OutSegs"],
        sources: &[
            Source("net/ipv4/tcp_output.c tcp_event_new_data_sent()"),
            Source("3.15 from memory; vendor 3.10 trees have it too"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPRetransFail",
        file: "/proc/net/netstat",
        summary: "Retransmissions that this host could not send.",
        meaning: "The device queue was full or memory was short. The fault is here, not on the path.",
        see: &["RT001", "NQ001", "MM001"],
        sources: &[Source("net/ipv4/tcp_output.c __tcp_retransmit_skb()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPSlowStartRetrans",
        file: "/proc/net/netstat",
        summary: "Segments sent again after a time-out.",
        meaning: "In the loss state, starting with a window of one.",
        see: &["RT001", "TcpExt.TCPTimeouts"],
        sources: &[Source("net/ipv4/tcp_output.c tcp_xmit_retransmit_queue()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPSpuriousRTOs",
        file: "/proc/net/netstat",
        summary: "Retransmission time-outs that turned out to be unnecessary.",
        meaning: "The data was late, not lost: delay spikes, paused virtual machines, wireless links.",
        see: &["RT001", "TcpExt.TCPTimeouts"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_process_loss()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPSynRetrans",
        file: "/proc/net/netstat",
        summary: "SYNs and SYN-ACKs sent again.",
        meaning: "Peers that do not answer, on either side. Take it off RetransSegs before blaming the \
                      network for lost data.",
        since: Some(v(3, 15)),
        see: &["SS001", "SR001", "Tcp.RetransSegs", "syn_sent", "syn_recv"],
        sources: &[
            Source("net/ipv4/tcp_output.c __tcp_retransmit_skb(), tcp_rtx_synack()"),
            Source("3.15 from memory; vendor 3.10 trees have it too"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPTimeouts",
        file: "/proc/net/netstat",
        summary: "Times that a retransmission timer fired.",
        meaning: "The expensive kind of loss: at least 200 ms of silence. SYNs without an answer count.",
        see: &["RT001", "SS001", "Tcp.RetransSegs", "TcpExt.TCPSynRetrans"],
        sources: &[Source("net/ipv4/tcp_timer.c tcp_retransmit_timer()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPWqueueTooBig",
        file: "/proc/net/netstat",
        summary: "Times that a send queue was too fragmented to split a segment.",
        meaning: "The guard against the SACK denial of service of 2019 (CVE-2019-11478). Programs with \
                      tiny send buffers can trip it, and then stall.",
        since: Some(v(5, 2)),
        see: &["net.ipv4.tcp_sack", "RT001"],
        sources: &[
            Source("net/ipv4/tcp_output.c tcp_fragment()"),
            Source("mid-2019, so 5.2; stable trees from 3.10 on have it by backport"),
        ],
        ..COUNTER
    },
];
