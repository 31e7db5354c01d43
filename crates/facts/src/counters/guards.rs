//! `TcpExt:` segments refused on purpose.

use crate::shorthand::{COUNTER, v};
use crate::{Counter, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "TcpExt.IPReversePathFilter",
        file: "/proc/net/netstat",
        summary: "Packets dropped by rp_filter.",
        meaning: "The source address would not be reached through the interface the packet came from. \
                      Connections hang in SYN_SENT or SYN_RECV on hosts with several interfaces.",
        see: &["SS001", "syn_recv"],
        sources: &[Source("net/ipv4/fib_frontend.c fib_validate_source()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.LockDroppedIcmps",
        file: "/proc/net/netstat",
        summary: "ICMP errors ignored because the program held the socket.",
        meaning: "Soft errors only; TCP retries.",
        see: &["SS001"],
        sources: &[Source("net/ipv4/tcp_ipv4.c tcp_v4_err()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.OutOfWindowIcmps",
        file: "/proc/net/netstat",
        summary: "ICMP errors ignored because they fit no data in flight.",
        meaning: "Forged or late.",
        see: &["SS001"],
        sources: &[Source("net/ipv4/tcp_ipv4.c tcp_v4_err()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPACKSkippedChallenge",
        file: "/proc/net/netstat",
        summary: "Duplicate ACKs not sent that would have been challenge ACKs.",
        meaning: "Rate-limited by tcp_invalid_ratelimit. A storm between two ends that disagree about the \
                      connection shows here.",
        since: Some(v(4, 0)),
        see: &["net.ipv4.tcp_invalid_ratelimit", "TcpExt.TCPChallengeACK"],
        sources: &[
            Source("net/ipv4/tcp_input.c __tcp_oow_rate_limited()"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.0 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPACKSkippedFinWait2",
        file: "/proc/net/netstat",
        summary: "Duplicate ACKs not sent for FIN_WAIT2 minisockets.",
        meaning: "Rate-limited by tcp_invalid_ratelimit. A storm between two ends that disagree about the \
                      connection shows here.",
        since: Some(v(4, 0)),
        see: &["net.ipv4.tcp_invalid_ratelimit", "fin_wait2"],
        sources: &[
            Source("net/ipv4/tcp_input.c __tcp_oow_rate_limited()"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.0 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPACKSkippedPAWS",
        file: "/proc/net/netstat",
        summary: "Duplicate ACKs not sent for segments that failed the timestamp test.",
        meaning: "Rate-limited by tcp_invalid_ratelimit. A storm between two ends that disagree about the \
                      connection shows here.",
        since: Some(v(4, 0)),
        see: &["net.ipv4.tcp_invalid_ratelimit", "PW001"],
        sources: &[
            Source("net/ipv4/tcp_input.c __tcp_oow_rate_limited()"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.0 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPACKSkippedSeq",
        file: "/proc/net/netstat",
        summary: "Duplicate ACKs not sent for segments with a bad sequence number.",
        meaning: "Rate-limited by tcp_invalid_ratelimit. A storm between two ends that disagree about the \
                      connection shows here.",
        since: Some(v(4, 0)),
        see: &["net.ipv4.tcp_invalid_ratelimit", "TcpExt.BeyondWindow"],
        sources: &[
            Source("net/ipv4/tcp_input.c __tcp_oow_rate_limited()"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.0 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPACKSkippedSynRecv",
        file: "/proc/net/netstat",
        summary: "Duplicate ACKs not sent in SYN_RECV.",
        meaning: "Rate-limited by tcp_invalid_ratelimit. A storm between two ends that disagree about the \
                      connection shows here.",
        since: Some(v(4, 0)),
        see: &["net.ipv4.tcp_invalid_ratelimit", "syn_recv"],
        sources: &[
            Source("net/ipv4/tcp_input.c __tcp_oow_rate_limited()"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.0 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPACKSkippedTimeWait",
        file: "/proc/net/netstat",
        summary: "Duplicate ACKs not sent for TIME_WAIT sockets.",
        meaning: "Rate-limited by tcp_invalid_ratelimit. A storm between two ends that disagree about the \
                      connection shows here.",
        since: Some(v(4, 0)),
        see: &["net.ipv4.tcp_invalid_ratelimit", "time_wait", "PW001"],
        sources: &[
            Source("net/ipv4/tcp_input.c __tcp_oow_rate_limited()"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.0 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPChallengeACK",
        file: "/proc/net/netstat",
        summary: "Challenge ACKs sent.",
        meaning: "A RST, a SYN or an ACK that does not fit exactly was answered with an ACK, as RFC 5961 \
                      asks. A few are normal after restarts; many mean blind attacks or a middlebox that \
                      resets.",
        see: &["RS001", "net.ipv4.tcp_challenge_ack_limit", "TcpExt.TCPSYNChallenge"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_send_challenge_ack()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMD5Failure",
        file: "/proc/net/netstat",
        summary: "Segments with a wrong MD5 signature.",
        meaning: "The passwords differ.",
        since: Some(v(4, 9)),
        see: &["TcpExt.TCPMD5NotFound"],
        sources: &[
            Source("net/ipv4/tcp.c tcp_inbound_md5_hash()"),
            Source("4.9 from memory; present in a 4.9 tree"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMD5NotFound",
        file: "/proc/net/netstat",
        summary: "Segments without the MD5 signature that was expected.",
        meaning: "BGP sessions with a password on this side only.",
        see: &["TcpExt.TCPMD5Failure"],
        sources: &[Source("net/ipv4/tcp.c tcp_inbound_md5_hash()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMD5Unexpected",
        file: "/proc/net/netstat",
        summary: "Segments with an MD5 signature that nobody asked for.",
        meaning: "A password on the peer's side only.",
        see: &["TcpExt.TCPMD5Failure"],
        sources: &[Source("net/ipv4/tcp.c tcp_inbound_md5_hash()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMinTTLDrop",
        file: "/proc/net/netstat",
        summary: "Segments dropped for a TTL below the socket's IP_MINTTL.",
        meaning: "Set by BGP daemons (GTSM).",
        sources: &[Source("net/ipv4/tcp_ipv4.c tcp_v4_rcv()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPSYNChallenge",
        file: "/proc/net/netstat",
        summary: "SYNs received inside established connections.",
        meaning: "Answered with a challenge ACK. A peer that rebooted and uses the same port, or a load \
                      balancer that lost its state.",
        see: &["RS001", "TcpExt.TCPChallengeACK"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_validate_incoming()")],
        ..COUNTER
    },
];
