//! The input path below TCP.

use crate::shorthand::{SYSCTL, belief, computed, fixed, v};
use crate::{Range, Scope, Source, Sysctl};

/// Sorted by key.
pub(crate) static TABLE: &[Sysctl] = &[
    Sysctl {
        key: "net.core.netdev_budget",
        summary: "Packets that one round of the receive softirq may handle.",
        meaning: "When a round ends with work left because of this or of netdev_budget_usecs, the third \
                      column of softnet_stat moves. The packets wait; they are not lost.",
        unit: "packets",
        range: Some(Range::Text("any integer")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "300")],
        see: &["NQ001", "softnet.time_squeeze", "net.core.netdev_budget_usecs"],
        sources: &[Source("net/core/dev.c net_rx_action()"), Source("measured on 6.18: 300")],
        ..SYSCTL
    },
    Sysctl {
        key: "net.core.netdev_budget_usecs",
        summary: "Time that one round of the receive softirq may take.",
        meaning: "The round ends when this or netdev_budget is used up. Two jiffies by default, so it \
                      depends on the kernel's HZ.",
        unit: "us",
        range: Some(Range::Text("any integer")),
        scope: Scope::Host,
        since: Some(v(4, 12)),
        defaults: &[
            fixed(v(4, 12), "2000"),
            computed(
                v(5, 10),
                "2,000,000 / HZ: 8000 with HZ=250, 2000 with HZ=1000 (which version \
                                     changed it is from memory)",
            ),
        ],
        see: &["NQ001", "softnet.time_squeeze", "net.core.netdev_budget"],
        sources: &[
            Source("net/core/dev.c net_rx_action(); 4.12 from memory"),
            Source("measured on 6.18: 8000 with HZ=250"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.core.netdev_max_backlog",
        summary: "Packets that may wait for one CPU before the network stack takes them.",
        meaning: "It bounds the per-CPU input queue that RPS, loopback, veth and drivers without NAPI \
                      use. Beyond it packets are dropped and counted in the second column of \
                      /proc/net/softnet_stat. Most physical NICs poll through NAPI and never touch it. It has \
                      nothing to do with connection backlogs.",
        unit: "packets",
        range: Some(Range::Text("any integer")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "1000")],
        beliefs: &[
            belief(
                "It enlarges the accept or SYN queue",
                "It counts packets per CPU, before TCP has seen them.",
            ),
            belief(
                "Raising it always helps",
                "Only where softnet_stat shows drops. Otherwise it adds latency at most.",
            ),
        ],
        see: &["NQ001", "softnet.dropped", "softnet.time_squeeze", "net.core.netdev_budget"],
        sources: &[
            Source("net/core/dev.c enqueue_to_backlog()"),
            Source("measured on 6.18: 1000; absent in a child namespace"),
        ],
        ..SYSCTL
    },
];
