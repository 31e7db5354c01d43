//! The states of TCP connections.

use crate::shorthand::belief;
use crate::{Source, State};

/// In the order of the kernel's numbers, bound_inactive last.
pub(crate) static TABLE: &[State] = &[
    State {
        name: "established",
        display: "ESTABLISHED",
        number: 1,
        meaning: "The handshake is complete and both sides may send. The normal state of a live connection, and \
                  also of one whose peer vanished without a word: nothing is noticed until somebody sends. \
                  Connections that the kernel has completed but no program has accepted yet are in this state \
                  too, with inode 0 and no process.",
        who: "Both sides. A count that only grows is a program that opens connections and does not close them, \
              or peers that vanished and that no keep-alive probes.",
        normal: "As many as the load explains. A sudden surge, or growth that never falls, is the signal; there \
                 is no absolute limit.",
        normal_below: None,
        alert_above: None,
        ends: "close() or shutdown() here, a FIN or RST from the peer, or a time-out: retransmission about 15 \
               minutes with the defaults, keep-alive only with SO_KEEPALIVE. An idle connection without \
               keep-alive has no time limit.",
        cost: "A file descriptor, about 2.4 KB of kernel memory (measured on 6.18) and its buffers. A local \
               port only if this side connected.",
        beliefs: &[
            belief(
                "A dead peer is noticed after a while",
                "Only if data is sent, or if the program set SO_KEEPALIVE; then after 2 hours and 11 minutes by \
                 default.",
            ),
            belief("Tcp.CurrEstab is the number of ESTABLISHED connections", "It includes CLOSE_WAIT."),
            belief(
                "A server runs out of ports at 65,535 connections",
                "Accepted connections share the service port. Only connections that this host opens take local \
                 ports.",
            ),
        ],
        see: &["ES001", "KA001", "ZW001", "LQ001", "Tcp.CurrEstab", "net.ipv4.tcp_keepalive_time"],
        sources: &[
            Source("include/net/tcp_states.h"),
            Source("net/ipv4/tcp_timer.c tcp_keepalive_timer()"),
            Source("measured on 6.18: un-accepted children have inode 0 and uid 0"),
            Source("normal range: the article on 200k TIME_WAIT"),
        ],
    },
    State {
        name: "syn_sent",
        display: "SYN_SENT",
        number: 2,
        meaning: "This side has called connect(), sent its SYN and waits for the answer.",
        who: "This side connects; the peer or the path does not answer. A firewall that drops, a host that is \
              down, or an accept queue over there that is full. A closed port answers with a RST and never \
              lingers here.",
        normal: "A few at any time, as many as connects per second times the round-trip time. Tens towards one \
                 destination that stay for seconds are the signal.",
        normal_below: None,
        alert_above: None,
        ends: "The SYN-ACK (then ESTABLISHED), a RST (ECONNREFUSED), or ETIMEDOUT after the retries: 127 s \
               before 6.5, 131 s from 6.5 on with the defaults. Most programs give up earlier by themselves.",
        cost: "A file descriptor, a local port and a full socket.",
        beliefs: &[belief(
            "SYN_SENT that stays means that this host drops packets",
            "Usually the peer or a firewall on the way does not answer. TCPSynRetrans moves, and the \
             destination tells whom to ask.",
        )],
        see: &[
            "SS001",
            "TcpExt.TCPSynRetrans",
            "Tcp.AttemptFails",
            "net.ipv4.tcp_syn_retries",
            "net.ipv4.tcp_syn_linear_timeouts",
        ],
        sources: &[
            Source("net/ipv4/tcp_timer.c tcp_write_timeout()"),
            Source("measured on 6.18: tcp_syn_retries 6 gives up after 131 s"),
        ],
    },
    State {
        name: "syn_recv",
        display: "SYN_RECV",
        number: 3,
        meaning: "A listener got a SYN, answered with a SYN-ACK and waits for the last ACK: half-open. It is a \
                  small request socket without a process. When the accept queue is full the last ACK is \
                  dropped and the request stays here although the client believes that it is connected.",
        who: "The clients, or whoever forges their addresses; or this side's program, which does not accept.",
        normal: "Below 1,000 in the articles. The kernel caps it at backlog + 1 for each listener, so with SYN \
                 cookies on a flood does not raise it: watch SyncookiesSent, TCPReqQFull* and ListenDrops.",
        normal_below: Some(1_000),
        alert_above: Some(1_000),
        ends: "The last ACK (then ESTABLISHED), a RST, or about 63 s with five SYN-ACK retries. The kernel \
               drops old requests earlier when the queue is more than half full.",
        cost: "A request socket of a few hundred bytes. No descriptor, not in sockstat.",
        beliefs: &[
            belief(
                "A SYN flood shows as very many SYN_RECV",
                "Each listener holds at most backlog + 1. Of 60 forged SYNs at backlog 4 five were seen. Alerts \
                 on large SYN_RECV counts never fire.",
            ),
            belief(
                "tcp_max_syn_backlog bounds it",
                "From the 4.4 tree on the listen backlog does. tcp_max_syn_backlog counts only while cookies \
                 are off.",
            ),
            belief(
                "Few source addresses mean few attackers",
                "The sources that are visible are a biased sample, and forged ones cost nothing.",
            ),
        ],
        see: &[
            "SR001",
            "SR002",
            "LQ001",
            "TcpExt.SyncookiesSent",
            "TcpExt.TCPReqQFullDoCookies",
            "TcpExt.TCPReqQFullDrop",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.tcp_synack_retries",
        ],
        sources: &[
            Source("include/net/inet_connection_sock.h inet_csk_reqsk_queue_is_full()"),
            Source("net/ipv4/inet_diag.c: TCP_NEW_SYN_RECV is reported as SYN_RECV, inode and uid 0"),
            Source("measured on 6.18"),
            Source("normal range: the article on 200k TIME_WAIT"),
        ],
    },
    State {
        name: "fin_wait1",
        display: "FIN_WAIT1",
        number: 4,
        meaning: "This side has closed and sent its FIN, or has data left to send before it, and waits for the \
                  acknowledgement.",
        who: "This side closed first. If they pile up, the peer or the path does not acknowledge, or the peer \
              keeps its window closed so that the rest of the data cannot go out.",
        normal: "Near zero: it lasts one round trip.",
        normal_below: None,
        alert_above: None,
        ends: "The ACK (then FIN_WAIT2), a RST, or the end of the orphan retries: 8 retransmissions with the \
               default tcp_orphan_retries of 0. A peer that keeps answering window probes can hold it longer.",
        cost: "A full socket with its unsent data. After close() it has no descriptor and counts as an orphan; \
               after shutdown(SHUT_WR) the process still holds it, and it does not.",
        beliefs: &[belief(
            "tcp_fin_timeout limits it",
            "That is FIN_WAIT2. Here tcp_orphan_retries and the peer's ACKs decide.",
        )],
        see: &[
            "OR001",
            "ZW001",
            "net.ipv4.tcp_orphan_retries",
            "net.ipv4.tcp_max_orphans",
            "sockstat.TCP.orphan",
        ],
        sources: &[
            Source("net/ipv4/tcp.c __tcp_close()"),
            Source("net/ipv4/tcp_timer.c tcp_orphan_retries()"),
        ],
    },
    State {
        name: "fin_wait2",
        display: "FIN_WAIT2",
        number: 5,
        meaning: "This side has closed, the peer has acknowledged, but has not closed its own direction yet. \
                  After close() it is a minisocket without process, counted with TIME_WAIT; after \
                  shutdown(SHUT_WR) it is a full socket that the program still reads from.",
        who: "The peer, which does not close: on the other side it is CLOSE_WAIT. If a process of this host \
              holds it, the program waits for the peer to finish.",
        normal: "Below 500. Growth means peers that never send their FIN.",
        normal_below: Some(500),
        alert_above: Some(500),
        ends: "The peer's FIN (then TIME_WAIT), or tcp_fin_timeout (60 s) once no process holds it. Held by a \
               process it has no limit.",
        cost: "A minisocket of 256 bytes, or a full socket if a process holds it. The port stays taken.",
        beliefs: &[
            belief(
                "tcp_fin_timeout ends every FIN_WAIT2",
                "Only those that no process holds. A half-closed socket that the program keeps waits for ever.",
            ),
            belief(
                "FIN_WAIT2 sockets are orphans in sockstat",
                "The minisockets count in tw, and towards tcp_max_tw_buckets.",
            ),
            belief(
                "tcp_fin_timeout of 90 gives 90 s",
                "Values from 61 to 119 wait twice (value - 60) s: 60 s for 90, 10 s for 65.",
            ),
        ],
        see: &["FW001", "close_wait", "time_wait", "net.ipv4.tcp_fin_timeout", "sockstat.TCP.tw"],
        sources: &[
            Source("include/net/tcp.h tcp_fin_time()"),
            Source("net/ipv4/tcp_minisocks.c tcp_time_wait()"),
            Source("measured on 6.18: orphan 0, tw 1"),
            Source("normal range: the article on 200k TIME_WAIT"),
        ],
    },
    State {
        name: "time_wait",
        display: "TIME_WAIT",
        number: 6,
        meaning: "The connection is over. The side that closed first remembers it for 60 s, so that a lost last \
                  ACK can be repeated and late segments do not hit a new connection with the same addresses \
                  and ports.",
        who: "This side closed first. On a client or proxy that is a choice of the program: one connection per \
              request instead of keep-alive or a pool. On a server it is normal when the server closes.",
        normal: "Below 50,000 nobody needs to look; above 100,000 is a signal of short connections. The count \
                 itself is harmless: what matters is the ports used towards one destination, and \
                 tcp_max_tw_buckets.",
        normal_below: Some(50_000),
        alert_above: Some(100_000),
        ends: "60 s, compiled into the kernel (52.5 to 60 s in 3.10, whose timer is coarse). A late FIN or an \
               out-of-window segment starts the 60 s again; a RST ends it at once unless tcp_rfc1337 is 1; a \
               new SYN or connect() may take it over.",
        cost: "256 bytes (6.18; a full socket takes 2368), so 28,000 cost 7 MB. No descriptor, no process. A \
               local port towards that destination if this side had connected; nothing but memory if it had \
               accepted.",
        beliefs: &[
            belief(
                "It lasts 2 MSL, about 2 minutes",
                "60 s on Linux, fixed. Only Alibaba's kernels have a sysctl for it.",
            ),
            belief("tcp_fin_timeout shortens it", "It never did. That setting is about FIN_WAIT2."),
            belief("TIME_WAIT sockets eat file descriptors", "They have none."),
            belief(
                "A port in TIME_WAIT cannot be used",
                "Towards another destination it can, at once. Towards the same one connect() may reuse it after \
                 1 s if tcp_tw_reuse allows it and both sides use timestamps.",
            ),
            belief(
                "Many TIME_WAIT on a server exhaust its ports",
                "Accepted connections share the service port. Only connections that this host opened take local \
                 ports.",
            ),
            belief(
                "Each TIME_WAIT has an owner that ss -p shows",
                "The process has let go; the kernel does not remember who it was.",
            ),
        ],
        see: &[
            "TW001",
            "TW002",
            "TW003",
            "TW004",
            "TW005",
            "TW006",
            "TW007",
            "net.ipv4.tcp_tw_reuse",
            "net.ipv4.tcp_max_tw_buckets",
            "net.ipv4.ip_local_port_range",
            "TcpExt.TW",
            "sockstat.TCP.tw",
        ],
        sources: &[
            Source("include/net/tcp.h TCP_TIMEWAIT_LEN, every tree from 3.10 to 6.18"),
            Source("net/ipv4/tcp_minisocks.c tcp_time_wait(), tcp_timewait_state_process()"),
            Source("measured on 6.18: 60 s with tcp_fin_timeout=5; 256 bytes in the slab"),
            Source("normal range: the article on 200k TIME_WAIT"),
        ],
    },
    State {
        name: "close",
        display: "CLOSE",
        number: 7,
        meaning: "Not connected: never was, or not any more. The kernel lists no such sockets, except bound ones \
                  on request. A closed socket whose descriptor the program keeps is in no table at all.",
        who: "The program that holds the descriptor.",
        normal: "None are visible. Closed sockets that descriptors still hold show as socket inodes that no \
                 table lists, and as sockstat alloc above the rest.",
        normal_below: None,
        alert_above: None,
        ends: "close() of the descriptor. The kernel never ends it.",
        cost: "A descriptor and a full socket.",
        beliefs: &[belief(
            "A connection that was reset is gone",
            "The program keeps descriptor and socket until it calls close().",
        )],
        see: &["CW002", "bound_inactive", "sockstat.TCP.alloc"],
        sources: &[Source("net/ipv4/tcp.c tcp_done(), tcp_set_state()"), Source("net/ipv4/inet_diag.c")],
    },
    State {
        name: "close_wait",
        display: "CLOSE_WAIT",
        number: 8,
        meaning: "The peer has closed; the program here has not. It may still send: half-close is legal. Recv-Q \
                  tells what it did: 0 means that it read the end and did not close, 1 or more that it did not \
                  even read (the FIN counts 1).",
        who: "The program on this host that holds the socket. Always.",
        normal: "Below 100, and none for long. Growth is a bug of the program; above 1,000 alert.",
        normal_below: Some(100),
        alert_above: Some(1_000),
        ends: "close() by the program (then LAST_ACK), a RST from the peer, or keep-alive. No timer of the \
               kernel ends it and no sysctl shortens it.",
        cost: "A descriptor and a full socket, until the program's limit is reached (EMFILE) or its memory ends.",
        beliefs: &[
            belief(
                "A sysctl reduces CLOSE_WAIT",
                "None does. The program must call close(); until it is repaired, restarting it is the remedy.",
            ),
            belief(
                "The peer is to blame",
                "The peer has done its part. On its side the connection is FIN_WAIT2, then gone.",
            ),
            belief(
                "nf_conntrack_tcp_timeout_close_wait ends it",
                "That is the memory of the connection tracker, not the socket.",
            ),
            belief(
                "Any CLOSE_WAIT is a leak",
                "A program may still be answering on a half-closed connection, or about to close. Age and growth \
                 decide.",
            ),
        ],
        see: &["CW001", "FD001", "fin_wait2", "last_ack", "Tcp.CurrEstab", "fs.file-nr"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_fin()"),
            Source("measured on 6.18: Recv-Q 1 unread, 0 after the end was read; CurrEstab counts it"),
            Source("normal range: the article on 200k TIME_WAIT"),
        ],
    },
    State {
        name: "last_ack",
        display: "LAST_ACK",
        number: 9,
        meaning: "The peer closed first, then this side closed and sent its FIN, or has data left to send before \
                  it. It waits for the last acknowledgement.",
        who: "The peer or the path, which does not acknowledge.",
        normal: "Near zero: it lasts one round trip.",
        normal_below: None,
        alert_above: None,
        ends: "The ACK: the socket is gone, without TIME_WAIT. Else a RST, or the end of the orphan retries (8 \
               by default).",
        cost: "A full socket with its unsent data. After close() it has no descriptor and counts as an orphan; \
               after shutdown(SHUT_WR) in CLOSE_WAIT the process still holds it, and it does not.",
        beliefs: &[belief(
            "It becomes TIME_WAIT",
            "It becomes nothing. Only the side that closes first keeps TIME_WAIT.",
        )],
        see: &["OR001", "net.ipv4.tcp_orphan_retries", "net.ipv4.tcp_max_orphans", "close_wait"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_rcv_state_process()"),
            Source("net/ipv4/tcp_timer.c tcp_orphan_retries()"),
        ],
    },
    State {
        name: "listen",
        display: "LISTEN",
        number: 10,
        meaning: "A socket that accepts connections. Recv-Q is the number that wait for accept(), Send-Q the \
                  limit: min(backlog, somaxconn) at the time of listen(). It holds one more than the limit.",
        who: "The program that listens. If Recv-Q stays near Send-Q it does not accept fast enough.",
        normal: "One for each service and address, or one for each worker with SO_REUSEPORT. Recv-Q near 0.",
        normal_below: None,
        alert_above: None,
        ends: "close(). Connections that wait are then reset, unless tcp_migrate_req hands them on.",
        cost: "A descriptor, and the connections that wait in its queues.",
        beliefs: &[
            belief(
                "Raising somaxconn enlarges the queue of a running server",
                "listen() must be called again: restart it, and raise its own backlog too.",
            ),
            belief(
                "ListenOverflows tells which listener",
                "It is one number. sk_drops of each listener (ss -tlnm, d) tells which, though scans move it \
                 too.",
            ),
        ],
        see: &[
            "LQ001",
            "LQ002",
            "SR002",
            "TcpExt.ListenOverflows",
            "TcpExt.ListenDrops",
            "net.core.somaxconn",
        ],
        sources: &[
            Source("net/ipv4/tcp_diag.c tcp_diag_get_info()"),
            Source("net/socket.c __sys_listen()"),
            Source("measured on 6.18: listen(2) shows Recv-Q 3, Send-Q 2"),
        ],
    },
    State {
        name: "closing",
        display: "CLOSING",
        number: 11,
        meaning: "Both sides closed at the same moment: each sent a FIN before it saw the other's. It waits for \
                  the acknowledgement of its own.",
        who: "Nobody, if few. If they stay, the peer or the path does not acknowledge.",
        normal: "Near zero.",
        normal_below: None,
        alert_above: None,
        ends: "The ACK (then TIME_WAIT), or the end of the orphan retries.",
        cost: "A full socket. After close() it has no descriptor and counts as an orphan; after \
               shutdown(SHUT_WR) the process still holds it, and it does not.",
        beliefs: &[],
        see: &["OR001", "time_wait", "net.ipv4.tcp_orphan_retries"],
        sources: &[Source("net/ipv4/tcp_input.c tcp_fin(), tcp_rcv_state_process()")],
    },
    State {
        name: "bound_inactive",
        display: "BOUND_INACTIVE",
        number: 13,
        meaning: "Bound to a port, neither listening nor connected. The kernel's state is CLOSE; sock_diag lists \
                  such sockets only when asked with a bit of their own (number 13), from the 6.8 tree on, and \
                  reports them as CLOSE. /proc/net/tcp never shows them.",
        who: "The program that called bind() and then neither connect() nor listen().",
        normal: "Near zero. Not visible before the 6.8 tree (absent in the 6.5 tree).",
        normal_below: None,
        alert_above: None,
        ends: "connect(), listen() or close().",
        cost: "A descriptor and a port: connect() skips that port for every destination and every local address.",
        beliefs: &[
            belief(
                "A bound, idle socket blocks its port on its own address only",
                "connect() skips the port altogether. Four sockets bound to 127.0.0.9 exhausted a range of four \
                 ports for all addresses.",
            ),
            belief(
                "When ss shows nothing on a port, it is free",
                "Bound sockets are invisible to /proc/net/tcp and to ss without --bound-inactive.",
            ),
        ],
        see: &["TW001", "close", "net.ipv4.ip_local_port_range", "net.ipv4.ip_autobind_reuse"],
        sources: &[
            Source(
                "net/ipv4/inet_diag.c TCPF_BOUND_INACTIVE: absent in the 6.5 tree, present in the 6.8 tree",
            ),
            Source("net/ipv4/inet_hashtables.c __inet_hash_connect()"),
            Source("measured on 6.18"),
        ],
    },
];
