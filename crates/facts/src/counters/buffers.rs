//! `TcpExt:` memory, buffers and windows.

use crate::shorthand::{COUNTER, belief, v};
use crate::{Counter, Source};

/// Sorted by name.
pub(crate) static TABLE: &[Counter] = &[
    Counter {
        name: "TcpExt.OfoPruned",
        file: "/proc/net/netstat",
        summary: "Times that out-of-order data was thrown away to make room.",
        meaning: "The peer must send it again, though it had arrived.",
        see: &["NQ001", "MM001", "TcpExt.PruneCalled"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_prune_ofo_queue()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.PruneCalled",
        file: "/proc/net/netstat",
        summary: "Times that a receive queue was over its limit.",
        meaning: "The socket had more data than its buffer allows, counting overhead. The kernel merges \
                      and, if need be, drops.",
        see: &["NQ001", "MM001", "ZW001", "TcpExt.RcvPruned", "TcpExt.TCPRcvCollapsed"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_prune_queue()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.RcvPruned",
        file: "/proc/net/netstat",
        summary: "Times that pruning found no room and the packet was dropped.",
        meaning: "Data that had reached the socket is thrown away and must be sent again.",
        see: &["NQ001", "MM001", "TcpExt.PruneCalled"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_prune_queue()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPBacklogDrop",
        file: "/proc/net/netstat",
        summary: "Segments dropped because the socket was busy and its backlog full.",
        meaning: "The program held the socket (in a long read or write) while packets came in.",
        see: &["NQ001"],
        sources: &[Source("net/ipv4/tcp_ipv4.c tcp_add_backlog()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPFromZeroWindowAdv",
        file: "/proc/net/netstat",
        summary: "Times that this host opened its window again.",
        meaning: "The slow program read something. When it lags behind TCPToZeroWindowAdv, sockets are \
                      stuck closed.",
        since: Some(v(3, 15)),
        see: &["ZW001", "TcpExt.TCPToZeroWindowAdv"],
        sources: &[Source("net/ipv4/tcp_output.c tcp_select_window()"), Source("3.15 from memory")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMemoryPressures",
        file: "/proc/net/netstat",
        summary: "Times that TCP entered memory pressure.",
        meaning: "TCP memory passed the second number of tcp_mem. It counts entries, not duration.",
        see: &["MM001", "net.ipv4.tcp_mem", "sockstat.TCP.mem", "TcpExt.TCPMemoryPressuresChrono"],
        sources: &[Source("net/ipv4/tcp.c tcp_enter_memory_pressure()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPMemoryPressuresChrono",
        file: "/proc/net/netstat",
        summary: "Time that TCP spent under memory pressure, in ms.",
        meaning: "Counted when the pressure ends, so it is silent while pressure lasts.",
        since: Some(v(4, 13)),
        see: &["MM001", "TcpExt.TCPMemoryPressures"],
        sources: &[Source("net/ipv4/tcp.c tcp_leave_memory_pressure()"), Source("4.13 from memory")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPRcvCollapsed",
        file: "/proc/net/netstat",
        summary: "Buffers merged to save memory.",
        meaning: "Costs CPU time. Caused by many small segments and a slow reader.",
        see: &["NQ001", "ZW001", "TcpExt.PruneCalled"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_collapse()")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPRcvQDrop",
        file: "/proc/net/netstat",
        summary: "Segments dropped because the receive queue had no room.",
        meaning: "The reader is too slow, or memory is short.",
        since: Some(v(4, 19)),
        see: &["NQ001", "ZW001", "MM001"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_data_queue()"),
            Source(
                "4.19 from memory; older than TCPWqueueTooBig (mid-2019) by that patch, backported to \
                        a 4.18 vendor tree",
            ),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPToZeroWindowAdv",
        file: "/proc/net/netstat",
        summary: "Times that this host closed its own window.",
        meaning: "A program on this host reads too slowly: its buffer is full and the peer must stop. It \
                      is not about peers that do not read; those show as TCPWinProbe and as Send-Q that \
                      stays.",
        since: Some(v(3, 15)),
        beliefs: &[belief(
            "It counts zero windows that peers announce",
            "It counts the zero windows that this host announces.",
        )],
        see: &["ZW001", "TcpExt.TCPFromZeroWindowAdv", "TcpExt.TCPWinProbe", "net.ipv4.tcp_rmem"],
        sources: &[
            Source("net/ipv4/tcp_output.c tcp_select_window()"),
            Source("measured on 6.18: moves on the side that does not read, never on the sender"),
            Source("3.15 from memory; vendor 3.10 trees have it too"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPWantZeroWindowAdv",
        file: "/proc/net/netstat",
        summary: "Times that this host wanted to close its window but must not shrink it.",
        meaning: "The buffer is full, but the peer was promised more. Pressure just before \
                      TCPToZeroWindowAdv.",
        since: Some(v(3, 15)),
        see: &["ZW001", "TcpExt.TCPToZeroWindowAdv"],
        sources: &[Source("net/ipv4/tcp_output.c tcp_select_window()"), Source("3.15 from memory")],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPWinProbe",
        file: "/proc/net/netstat",
        summary: "Probes sent because a peer's window is closed.",
        meaning: "A peer does not read. The data waits in this host's Send-Q.",
        since: Some(v(4, 2)),
        see: &["ZW001", "established"],
        sources: &[
            Source("net/ipv4/tcp_output.c tcp_write_wakeup(), tcp_send_probe0()"),
            Source("measured on 6.18: moves on the sender whose peer does not read"),
            Source("present in a 4.9 tree, absent in a 3.10 tree; 4.2 from memory"),
        ],
        ..COUNTER
    },
    Counter {
        name: "TcpExt.TCPZeroWindowDrop",
        file: "/proc/net/netstat",
        summary: "Data segments that arrived although the window was closed.",
        meaning: "Usually a peer's window probe with data. Harmless in small numbers.",
        since: Some(v(4, 19)),
        see: &["ZW001"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_data_queue()"),
            Source(
                "4.19 from memory; older than TCPWqueueTooBig (mid-2019) by that patch, backported to \
                        a 4.18 vendor tree",
            ),
        ],
        ..COUNTER
    },
];
