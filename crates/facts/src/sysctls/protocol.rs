//! Protocol options.

use crate::shorthand::{SYSCTL, belief, computed, fixed, ints, v};
use crate::{Range, Scope, Source, Sysctl};

/// Sorted by key.
pub(crate) static TABLE: &[Sysctl] = &[
    Sysctl {
        key: "net.ipv4.tcp_congestion_control",
        summary: "The congestion control of new connections.",
        meaning: "A program may choose another with TCP_CONGESTION, within tcp_allowed_congestion_control \
                      for the unprivileged. A new namespace copies it from the initial namespace. It decides \
                      how fast a connection sends; it changes nothing about TIME_WAIT, CLOSE_WAIT or queues \
                      of connections.",
        unit: "name",
        range: Some(Range::Text("one of net.ipv4.tcp_available_congestion_control")),
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[computed(
            v(3, 10),
            "chosen when the kernel was built (CONFIG_DEFAULT_TCP_CONG), usually \
                                     cubic; a child namespace copies the initial namespace",
        )],
        beliefs: &[belief(
            "BBR reduces TIME_WAIT or connection time-outs",
            "It only shapes sending. Connection counts do not change.",
        )],
        see: &["RT001"],
        sources: &[
            Source("net/ipv4/tcp_cong.c tcp_set_default_congestion_control()"),
            Source("net/ipv4/tcp_ipv4.c tcp_sk_init(): copied from init_net"),
            Source("global in a 4.14 tree, per namespace in the 4.15 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_ecn",
        summary: "Explicit congestion notification.",
        meaning: "2: answer with ECN when the peer asks, do not ask. 1: ask too. Some old middleboxes \
                      drop SYNs that ask; the kernel then falls back after a lost SYN.",
        unit: "mode",
        range: ints(0, 2),
        values: &[("0", "off"), ("1", "ask for it and accept it"), ("2", "accept it when the peer asks")],
        defaults: &[fixed(v(3, 10), "2")],
        see: &["SS001"],
        sources: &[
            Source(
                "net/ipv4/tcp_output.c tcp_ecn_send_syn(), net/ipv4/tcp_input.c \
                        tcp_ecn_create_request()",
            ),
            Source("in the per-namespace table of a 3.10 tree"),
            Source("measured on 6.18: 3 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_mtu_probing",
        summary: "Packetization-layer path MTU discovery (RFC 4821).",
        meaning: "For paths that swallow ICMP \"fragmentation needed\" (black holes): large segments \
                      vanish, small ones pass, the connection hangs after the handshake. 1 starts probing \
                      when a connection is stuck, 2 always.",
        unit: "mode",
        range: Some(Range::Text("0 to 255; other values than those named behave as 2")),
        values: &[("0", "off"), ("1", "when a black hole is suspected"), ("2", "always")],
        scope: Scope::NetnsSince(v(4, 9)),
        defaults: &[fixed(v(3, 10), "0")],
        see: &["RT001"],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_mtu_probing()"),
            Source("per namespace in the 4.9 tree at the latest; global in the 3.10 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_sack",
        summary: "Selective acknowledgements (RFC 2018).",
        meaning: "Off, several losses in one window cost a round trip each, and fast recovery often ends \
                      in a time-out. It was switched off in 2019 against a denial of service \
                      (CVE-2019-11477); patched kernels do not need that.",
        unit: "bool",
        range: Some(Range::Text("0 to 255; every other value than 0 means on")),
        scope: Scope::NetnsSince(v(4, 13)),
        defaults: &[fixed(v(3, 10), "1")],
        beliefs: &[belief("Setting it to 1 is tuning", "It is the default. A 0 is worth finding.")],
        see: &["RT001", "TcpExt.TCPWqueueTooBig"],
        sources: &[
            Source("net/ipv4/tcp_output.c tcp_syn_options()"),
            Source("global in the 4.9 tree, per namespace in a 4.14 tree; 4.13 from memory"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_window_scaling",
        summary: "Whether windows may be larger than 64 KiB (RFC 7323).",
        meaning: "Both ends must agree, in the SYN. Off, throughput is capped at 64 KiB per round trip.",
        unit: "bool",
        range: Some(Range::Text("0 to 255; every other value than 0 means on")),
        scope: Scope::NetnsSince(v(4, 13)),
        defaults: &[fixed(v(3, 10), "1")],
        beliefs: &[belief("Setting it to 1 is tuning", "It has been the default for two decades.")],
        see: &["net.ipv4.tcp_rmem"],
        sources: &[
            Source("net/ipv4/tcp_output.c tcp_syn_options()"),
            Source("global in the 4.9 tree, per namespace in a 4.14 tree; 4.13 from memory"),
        ],
        ..SYSCTL
    },
];
