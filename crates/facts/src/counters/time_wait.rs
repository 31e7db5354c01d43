//! `TcpExt:` TIME_WAIT and timestamps.

use crate::shorthand::{COUNTER, belief, v};
use crate::{Counter, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "TcpExt.BeyondWindow",
        file: "/proc/net/netstat",
        summary: "Segments refused because they lie beyond the receive window.",
        meaning: "A sender that ignores the window, or a middlebox that rewrites sequence numbers.",
        since: Some(v(6, 18)),
        see: &["TcpExt.TCPACKSkippedSeq"],
        sources: &[Source(
            "net/ipv4/tcp_input.c tcp_validate_incoming(), 6.18 tree; absent in the 6.12 tree",
        )],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.PAWSActive",
        file: "/proc/net/netstat",
        summary: "SYN-ACKs refused for a wrong timestamp echo.",
        meaning: "The answer to this side's SYN echoes a timestamp that was never sent: an old duplicate, \
                      or a middlebox that rewrites timestamps.",
        see: &["PW001", "SS001", "syn_sent", "net.ipv4.tcp_timestamps"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_rcv_synsent_state_process()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.PAWSEstab",
        file: "/proc/net/netstat",
        summary: "Segments refused for a timestamp that went backwards.",
        meaning: "Old duplicates, or several machines behind one address whose timestamps differ. A \
                      handful is normal. Up to the 6.12 tree refusals in TIME_WAIT count here too.",
        changes: &[(
            v(6, 18),
            "Refusals in TIME_WAIT moved to PAWSTimewait, pure old ACKs to PAWSOldAck, bad \
                           echoes in the handshake to TSEcrRejected (between the 6.12 and the 6.18 tree).",
        )],
        see: &[
            "PW001",
            "TcpExt.PAWSTimewait",
            "TcpExt.PAWSOldAck",
            "TcpExt.TSEcrRejected",
            "net.ipv4.tcp_timestamps",
        ],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_validate_incoming()"),
            Source("net/ipv4/tcp_minisocks.c tcp_check_req(), tcp_timewait_state_process()"),
            Source("6.12 and 6.18 trees"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.PAWSOldAck",
        file: "/proc/net/netstat",
        summary: "Pure ACKs refused for an old timestamp, harmlessly.",
        meaning: "Reordered ACKs. Split from PAWSEstab so that the latter means something.",
        since: Some(v(6, 18)),
        see: &["PW001", "TcpExt.PAWSEstab"],
        sources: &[Source(
            "net/ipv4/tcp_input.c tcp_disordered_ack() callers, 6.18 tree; absent in the 6.12 tree",
        )],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.PAWSPassive",
        file: "/proc/net/netstat",
        summary: "SYNs that tcp_tw_recycle dropped.",
        meaning: "A SYN from an address whose last timestamp was newer. Clients behind NAT see connection \
                      time-outs at random.",
        until: Some(v(4, 12)),
        see: &["TW006", "net.ipv4.tcp_tw_recycle"],
        sources: &[
            Source("3.10 tree net/ipv4/tcp_ipv4.c tcp_v4_conn_request()"),
            Source("commit 4396e46187ca, so gone in 4.12; absent in the 4.15 tree"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.PAWSTimewait",
        file: "/proc/net/netstat",
        summary: "Segments refused in TIME_WAIT for a timestamp that went backwards.",
        meaning: "The usual cause is a SYN from another machine behind the same NAT or balancer address, \
                      on the same port, with an older timestamp clock: the client's connection hangs. Each \
                      refusal also starts the 60 s again. Absent in the 6.12 tree, present in the 6.18 tree: \
                      before, these refusals are in PAWSEstab.",
        since: Some(v(6, 18)),
        beliefs: &[belief("The name is TimewaitPAWS", "/proc/net/netstat calls it PAWSTimewait.")],
        see: &["PW001", "time_wait", "TcpExt.PAWSEstab"],
        sources: &[Source(
            "net/ipv4/tcp_minisocks.c tcp_timewait_state_process(), 6.18 tree; absent in the 6.12 \
                        tree",
        )],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPTimeWaitOverflow",
        file: "/proc/net/netstat",
        summary: "Connections that skipped TIME_WAIT.",
        meaning: "tcp_max_tw_buckets was reached, or there was no memory for the minisocket. The \
                      connection was over already; nothing was refused. Orphaned FIN_WAIT2 sockets are hit as \
                      well. The only trace: the kernel logs nothing.",
        beliefs: &[
            belief("Connections were dropped", "They had ended. TIME_WAIT was left out."),
            belief("dmesg shows it", "No kernel from 3.10 on logs it."),
        ],
        see: &["TW002", "net.ipv4.tcp_max_tw_buckets", "time_wait"],
        sources: &[
            Source("net/ipv4/tcp_minisocks.c tcp_time_wait()"),
            Source(
                "measured on 6.18: limit = tw + 2, 5 closes: +2 TW, overflow +3, every connect \
                        succeeded",
            ),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TSEcrRejected",
        file: "/proc/net/netstat",
        summary: "Handshake ACKs refused for a timestamp echo that was never sent.",
        meaning: "In tcp_check_req, for half-open connections.",
        since: Some(v(6, 18)),
        see: &["PW001", "syn_recv", "TcpExt.PAWSEstab"],
        sources: &[Source("net/ipv4/tcp_minisocks.c tcp_check_req(), 6.18 tree; absent in the 6.12 tree")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TW",
        file: "/proc/net/netstat",
        summary: "TIME_WAIT sockets (and FIN_WAIT2 minisockets) made.",
        meaning: "From 5.18 on it moves when a connection enters TIME_WAIT, so its rate is the creation \
                      rate. Before, it moved when the 60 s were over: the rate of a minute ago, without those \
                      that were reused or killed.",
        changes: &[(v(5, 18), "Counted at entry; before, at expiry. FIN_WAIT2 minisockets count as well.")],
        see: &["TW003", "time_wait", "TcpExt.TWRecycled", "TcpExt.TWKilled", "sockstat.TCP.tw"],
        sources: &[
            Source("net/ipv4/inet_timewait_sock.c __inet_twsk_schedule(), tw_timer_handler()"),
            Source("commit 27dd35e02235 (2022-01-24), so 5.18"),
            Source("measured on 6.18: 3 at once with 3 live TIME_WAITs"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TWKilled",
        file: "/proc/net/netstat",
        summary: "TIME_WAIT-like sockets with a first time-out of 4 s or less.",
        meaning: "FIN_WAIT2 minisockets with tcp_fin_timeout of 4 s or less, and the short TIME_WAITs of \
                      tcp_tw_recycle. It is not what ss -K or an administrator killed.",
        beliefs: &[belief(
            "It counts TIME_WAIT sockets that somebody killed",
            "It only tells that the first time-out was short.",
        )],
        see: &["net.ipv4.tcp_fin_timeout", "fin_wait2", "net.ipv4.tcp_tw_recycle"],
        sources: &[
            Source("net/ipv4/inet_timewait_sock.c __inet_twsk_schedule()"),
            Source("measured on 6.18: ss -K does not move it"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TWRecycled",
        file: "/proc/net/netstat",
        summary: "TIME_WAIT ports that connect() took over.",
        meaning: "Through tcp_tw_reuse, or by a socket with an explicitly bound port (which needs no \
                      sysctl, only timestamps). An incoming SYN that reopens a TIME_WAIT is counted nowhere.",
        beliefs: &[belief(
            "It counts tcp_tw_recycle",
            "It counts reuse by connect(). tcp_tw_recycle never moved it.",
        )],
        see: &["TW001", "TW004", "net.ipv4.tcp_tw_reuse", "time_wait"],
        sources: &[
            Source("net/ipv4/inet_hashtables.c __inet_check_established()"),
            Source("measured on 6.18"),
        ],
        ..COUNTER
    },
];
