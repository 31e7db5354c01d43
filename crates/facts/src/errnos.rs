//! Error numbers of socket calls: which call, which cause, how to tell them apart, and what to do.
//!
//! Numbers and messages are those of Linux on x86-64 and arm64 with glibc. "Measured on 6.18" means that the
//! call was made in a private network namespace and gave this error.

/// One error number, and what it means when a socket call returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno {
    /// The symbol, such as `EADDRNOTAVAIL`.
    pub name: &'static str,
    /// What `strerror()` says in the C locale.
    pub message: &'static str,
    /// The number on x86-64 and arm64 (other architectures differ).
    pub number: i32,
    /// Its causes, the most frequent first.
    pub causes: &'static [Cause],
    /// How to tell the causes, and similar errors, apart.
    pub tell_apart: &'static str,
    /// Rule codes and sysctls that have more.
    pub see: &'static [&'static str],
    /// Kernel files, manual pages, measurements.
    pub sources: &'static [&'static str],
}

/// One cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// The call that returns the error, such as `connect()`.
    pub call: &'static str,
    /// What is the matter.
    pub cause: &'static str,
    /// By what it is recognised.
    pub how_to_tell: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Other names of the same numbers on Linux.
const ALIASES: &[(&str, &str)] = &[("EWOULDBLOCK", "EAGAIN"), ("operation would block", "EAGAIN")];

/// All errors in this table.
#[must_use]
pub fn errnos() -> &'static [Errno] {
    ERRNOS
}

/// The error of this name, `strerror()` text or number, ASCII letters in any case: `EPIPE`, `broken pipe`,
/// `32`, `EWOULDBLOCK`.
#[must_use]
pub fn errno(name: &str) -> Option<&'static Errno> {
    let wanted = name.trim();
    let wanted =
        ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(wanted)).map_or(wanted, |(_, n)| n);
    let number = wanted.parse::<i32>().ok();
    errnos().iter().find(|errno| {
        errno.name.eq_ignore_ascii_case(wanted)
            || errno.message.eq_ignore_ascii_case(wanted)
            || Some(errno.number) == number
    })
}

const ERRNOS: &[Errno] = &[
    Errno {
        name: "EADDRNOTAVAIL",
        message: "Cannot assign requested address",
        number: 99,
        causes: &[
            Cause {
                call: "connect()",
                cause: "No local port is free towards this (source address, destination address, destination \
                    port): all of ip_local_port_range is in use, in TIME_WAIT that cannot be reused, or \
                    owned by a bind().",
                how_to_tell: "The same program still reaches other destinations. linger ports shows the \
                    tuple and its free ports. No kernel counter counts this failure.",
                remedy: "Keep connections (pools, keep-alive); then more destination or source addresses; \
                    then tcp_tw_reuse with timestamps, or a wider ip_local_port_range.",
            },
            Cause {
                call: "connect()",
                cause: "The socket was bound to a port first, and exactly this connection (both addresses, \
                    both ports) exists already, perhaps in TIME_WAIT without timestamps.",
                how_to_tell: "The program calls bind() with a port, or a client library has a fixed local \
                    port.",
                remedy: "Do not bind the port; to choose only the address, set IP_BIND_ADDRESS_NO_PORT and \
                    bind port 0.",
            },
            Cause {
                call: "connect()",
                cause: "Ports are poisoned: each port of the range has an owner that used bind(), and \
                    connect() skips such ports for every destination.",
                how_to_tell: "Few connections, yet no port: look for bound sockets that never connected \
                    (state CLOSE; listed from about Linux 6.8 as bound-inactive) and for bind() before \
                    connect().",
                remedy: "IP_BIND_ADDRESS_NO_PORT in those programs; close idle bound sockets.",
            },
            Cause {
                call: "connect()",
                cause: "An IPv6 destination and no usable IPv6 source address: IPv6 is disabled \
                    (disable_ipv6) or not configured.",
                how_to_tell: "Only IPv6 destinations fail, at once, ::1 too.",
                remedy: "Use IPv4 for \"localhost\", or configure IPv6.",
            },
            Cause {
                call: "bind()",
                cause: "The address does not belong to this host or namespace.",
                how_to_tell: "It comes from bind(), not connect(): ip address shows whether the address is \
                    there. A fail-over address may be on the other node.",
                remedy: "Configure the address; bind the wildcard; or IP_FREEBIND / ip_nonlocal_bind for \
                    addresses that come later.",
            },
        ],
        tell_apart: "Ask which call failed. From bind() it never means that ports ran out (that is \
            EADDRINUSE there); from connect() it nearly always does, unless the destination is IPv6.",
        see: &["TW001", "PX001", "TW004", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse"],
        sources: &[
            "net/ipv4/inet_hashtables.c: __inet_hash_connect, __inet_check_established",
            "net/ipv4/af_inet.c: __inet_bind",
            "connect(2), bind(2)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "EADDRINUSE",
        message: "Address already in use",
        number: 98,
        causes: &[
            Cause {
                call: "bind()",
                cause: "Another socket listens on this address and port, or on the wildcard. A child process \
                    may have inherited it.",
                how_to_tell: "ss -ltnp names the holder.",
                remedy: "Stop it, or use SO_REUSEPORT on both sockets; open listening sockets with \
                    close-on-exec.",
            },
            Cause {
                call: "bind()",
                cause: "Only connections of the old process are left (TIME_WAIT, FIN_WAIT2, CLOSE_WAIT), and \
                    the new socket lacks SO_REUSEADDR.",
                how_to_tell: "Nobody listens; ss -tan \"sport = :PORT\" shows the rest. Typical at a \
                    restart.",
                remedy: "SO_REUSEADDR before bind(). Both processes need it: the sockets that an old process \
                    without it left behind still block the first restart, for 60 s.",
            },
            Cause {
                call: "bind()",
                cause: "bind(address, 0) found no free port: the range is used up for this local address, \
                    whatever the destinations.",
                how_to_tell: "Port 0 is asked for, and TIME_WAIT or bound sockets fill the range.",
                remedy: "IP_BIND_ADDRESS_NO_PORT (Linux 4.2), so that the port is chosen in connect(), per \
                    destination.",
            },
            Cause {
                call: "bind()",
                cause: "SO_REUSEPORT is set, but the first socket lacks it or belongs to another user.",
                how_to_tell: "The holder runs under another uid.",
                remedy: "Set it on all, before bind(), and run them under one user.",
            },
            Cause {
                call: "listen()",
                cause: "Two sockets bound one port with SO_REUSEADDR, and the other one already listens.",
                how_to_tell: "bind() succeeded, listen() fails.",
                remedy: "Only one may listen, unless both have SO_REUSEPORT.",
            },
        ],
        tell_apart: "From connect() running out of ports is EADDRNOTAVAIL, from bind() with port 0 it is \
            EADDRINUSE. With a fixed port it is a listener (somebody listens) or a missing SO_REUSEADDR \
            (nobody does).",
        see: &["TW007", "TW001", "LQ001"],
        sources: &[
            "net/ipv4/inet_connection_sock.c: inet_csk_get_port, inet_csk_listen_start",
            "bind(2), socket(7)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "ETIMEDOUT",
        message: "Connection timed out",
        number: 110,
        causes: &[
            Cause {
                call: "connect()",
                cause: "No answer to the SYN: packets dropped on the way, host down behind a router, accept \
                    queue full on the peer, or a firewall that drops.",
                how_to_tell: "After tcp_syn_retries (6: about two minutes), or sooner with TCP_USER_TIMEOUT. \
                    SYN_SENT sockets towards it show retransmissions.",
                remedy: "Bound connects in the application; find who drops. An output rule that drops on \
                    this very host looks the same.",
            },
            Cause {
                call: "read(), write(), poll()",
                cause: "Sent data stayed unacknowledged until tcp_retries2 (about 15 minutes) or \
                    TCP_USER_TIMEOUT.",
                how_to_tell: "It comes long after the peer vanished; retransmissions were counted for the \
                    connection.",
                remedy: "TCP_USER_TIMEOUT, time-outs in the protocol.",
            },
            Cause {
                call: "read(), write(), poll()",
                cause: "Keep-alive probes got no answer.",
                how_to_tell: "The connection was idle; SO_KEEPALIVE is set.",
                remedy: "Nothing is wrong here: the peer is gone. Reconnect.",
            },
        ],
        tell_apart: "Many libraries have time-outs of their own and report them with other words (\"i/o \
            timeout\", \"timed out\"): those are set in the program, this one comes from the kernel. At \
            connect() it is about reachability, later about a peer that vanished.",
        see: &["SS001", "KA001", "RT001", "net.ipv4.tcp_syn_retries", "net.ipv4.tcp_retries2"],
        sources: &[
            "net/ipv4/tcp_timer.c: tcp_write_timeout, tcp_keepalive_timer",
            "connect(2), tcp(7)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "ECONNREFUSED",
        message: "Connection refused",
        number: 111,
        causes: &[
            Cause {
                call: "connect()",
                cause: "The host answers with a reset: nobody listens on that address and port (stopped, \
                    another address, another namespace).",
                how_to_tell: "Fails within one round trip. ss -ltn on the peer shows which addresses are \
                    listened on: 127.0.0.1 is not reachable from outside.",
                remedy: "Start it, or bind the right address.",
            },
            Cause {
                call: "connect()",
                cause: "A firewall rejects, with a reset or an ICMP port-unreachable; an output rule on this \
                    host does the same.",
                how_to_tell: "The service listens, yet the connect is refused.",
                remedy: "Change the rule.",
            },
            Cause {
                call: "read(), send()",
                cause: "A connected UDP socket got an ICMP port-unreachable for an earlier packet.",
                how_to_tell: "The socket is UDP.",
                remedy: "As above.",
            },
        ],
        tell_apart: "Refused is an answer: the host is up. No answer is ETIMEDOUT, no way is EHOSTUNREACH or \
            ENETUNREACH. A full accept queue does not refuse: its SYNs are dropped.",
        see: &["RS001", "LQ001"],
        sources: &[
            "net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process, tcp_reset",
            "net/ipv4/tcp_ipv4.c: tcp_v4_err",
            "connect(2)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "ECONNRESET",
        message: "Connection reset by peer",
        number: 104,
        causes: &[
            Cause {
                call: "read()",
                cause: "The peer closed with unread data in its queue: its kernel sends a reset instead of a \
                    FIN.",
                how_to_tell: "On the peer TCPAbortOnClose moves. Typical for servers that answer without \
                    reading the whole request.",
                remedy: "Read the request to its end before closing.",
            },
            Cause {
                call: "read()",
                cause: "The peer set SO_LINGER 0, or crashed, or was killed with unread data.",
                how_to_tell: "TCPAbortOnData on the peer; process end in its log.",
                remedy: "Do not use SO_LINGER 0 to avoid TIME_WAIT.",
            },
            Cause {
                call: "read()",
                cause: "An idle pooled connection: the server had closed it, the request met a closed socket \
                    and got a reset.",
                how_to_tell: "It hits the first request after a pause; retries succeed.",
                remedy: "The idle time-out of the client shorter than that of the server; retry idempotent \
                    requests.",
            },
            Cause {
                call: "read(), write()",
                cause: "A firewall, NAT or balancer forgot the connection and answers with a reset, or \
                    resets it on purpose.",
                how_to_tell: "Connections older than its idle time-out fail; TTL or capture shows who sends.",
                remedy: "Keep-alive more often than its time-out, or a longer time-out there.",
            },
            Cause {
                call: "read(), write()",
                cause: "The accept queue of the peer was full at the last ACK of the handshake, and it has \
                    tcp_abort_on_overflow = 1: connect() has succeeded, the first use fails.",
                how_to_tell: "Only under load; ListenOverflows moves on the peer.",
                remedy: "Accept faster; set tcp_abort_on_overflow back to 0.",
            },
            Cause {
                call: "read()",
                cause: "The peer restarted and does not know the connection.",
                how_to_tell: "All connections to it at once.",
                remedy: "Reconnect.",
            },
        ],
        tell_apart: "The reset came from outside (this host's own abort is ECONNABORTED or EPIPE later). It \
            is reported once; after it read() returns 0 and write() EPIPE. Tcp.OutRsts counts the resets \
            that this host sent, Tcp.EstabResets the connections that ended so in either direction.",
        see: &["RS001", "KA001", "CT001", "LQ001", "net.ipv4.tcp_abort_on_overflow"],
        sources: &[
            "net/ipv4/tcp_input.c: tcp_reset",
            "net/ipv4/tcp.c: __tcp_close",
            "RFC 9293 section 3.10.7",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "ECONNABORTED",
        message: "Software caused connection abort",
        number: 103,
        causes: &[
            Cause {
                call: "read(), write(), poll()",
                cause: "The socket was destroyed on this host: ss -K, SOCK_DESTROY by a network manager or \
                    orchestrator.",
                how_to_tell: "Many connections at once, no reset from the peer in a capture.",
                remedy: "Find who kills sockets.",
            },
            Cause {
                call: "accept()",
                cause: "POSIX lets accept() report a connection that was reset while it waited. Linux \
                    usually returns the socket, and its first read() fails with ECONNRESET.",
                how_to_tell: "Rare on Linux.",
                remedy: "Treat it as \"try the next one\" in accept loops.",
            },
        ],
        tell_apart: "ECONNRESET means that the peer (or something between) sent a reset; ECONNABORTED that \
            this host ended the connection.",
        see: &["RS001"],
        sources: &["net/ipv4/tcp.c: tcp_abort", "accept(2)", "measured on 6.18"],
    },
    Errno {
        name: "EPIPE",
        message: "Broken pipe",
        number: 32,
        causes: &[
            Cause {
                call: "write(), send()",
                cause: "The peer has closed and answered earlier data with a reset: the first write after \
                    its close still succeeds, the second fails.",
                how_to_tell: "With SIGPIPE, unless MSG_NOSIGNAL or the signal is ignored.",
                remedy: "Handle it as the end of the connection; watch for EOF (EPOLLRDHUP) before writing.",
            },
            Cause {
                call: "write(), send()",
                cause: "This side called shutdown(SHUT_WR), or the socket was never connected.",
                how_to_tell: "An order of calls in the program.",
                remedy: "Fix the order.",
            },
            Cause {
                call: "write(), send()",
                cause: "An earlier error (reset, time-out) was already reported and taken.",
                how_to_tell: "A preceding ECONNRESET or ETIMEDOUT in the log.",
                remedy: "Close after the first error.",
            },
        ],
        tell_apart: "Of ECONNRESET and EPIPE the program gets that which its next call meets: read() says \
            reset, write() says pipe. A log of EPIPE in a web server mostly means that clients left early.",
        see: &["RS001", "CW001"],
        sources: &[
            "net/ipv4/tcp.c: tcp_sendmsg_locked",
            "net/core/stream.c: sk_stream_error",
            "send(2)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "EMFILE",
        message: "Too many open files",
        number: 24,
        causes: &[
            Cause {
                call: "socket(), accept(), open()",
                cause: "The process has RLIMIT_NOFILE descriptors (soft limit).",
                how_to_tell: "/proc/PID/limits against the number in /proc/PID/fd; grows with time: leak, \
                    with load: limit too low.",
                remedy: "Find the leak (CLOSE_WAIT, closed sockets, files); then raise LimitNOFILE=.",
            },
            Cause {
                call: "accept()",
                cause: "As above; the connection stays in the accept queue and is taken once a descriptor is \
                    free.",
                how_to_tell: "The queue of the listener fills, a level-triggered loop spins at 100 % CPU.",
                remedy: "Pause accepting, or keep a spare descriptor.",
            },
        ],
        tell_apart: "EMFILE is the limit of one process, ENFILE that of the host. TIME_WAIT holds no \
            descriptors: it is never the cause.",
        see: &["FD001", "CW001", "CW002", "fs.nr_open"],
        sources: &["fs/file.c: alloc_fd", "getrlimit(2), accept(2)", "measured on 6.18"],
    },
    Errno {
        name: "ENFILE",
        message: "Too many open files in system",
        number: 23,
        causes: &[Cause {
            call: "socket(), accept(), open()",
            cause: "All processes together have fs.file-max open files (CAP_SYS_ADMIN is exempt).",
            how_to_tell: "/proc/sys/fs/file-nr; the log line \"VFS: file-max limit ... reached\".",
            remedy: "Find the process that holds most; raise fs.file-max.",
        }],
        tell_apart: "Rare: the default is about a tenth of memory, in KiB. Nearly every \"too many open \
            files\" is EMFILE.",
        see: &["FD001", "fs.file-max"],
        sources: &["fs/file_table.c: alloc_empty_file, files_maxfiles_init", "proc(5)"],
    },
    Errno {
        name: "ENOBUFS",
        message: "No buffer space available",
        number: 105,
        causes: &[
            Cause {
                call: "send(), sendto()",
                cause: "The queue of the device is full and IP_RECVERR is set, mostly UDP or raw sockets.",
                how_to_tell: "Drops of the interface and its qdisc move.",
                remedy: "Send slower; a longer queue.",
            },
            Cause {
                call: "sendto()",
                cause: "The neighbour table is full.",
                how_to_tell: "The log line \"neighbour: arp_cache: neighbor table overflow!\".",
                remedy: "Raise net.ipv4.neigh.default.gc_thresh3.",
            },
            Cause {
                call: "recv() on netlink",
                cause: "A netlink socket (as of sock_diag or conntrack readers) was too slow and lost \
                    messages.",
                how_to_tell: "Only monitoring tools.",
                remedy: "A larger SO_RCVBUF, and read the dump again.",
            },
        ],
        tell_apart: "TCP itself blocks or returns EAGAIN when its buffers are full; ENOBUFS points below TCP \
            or to another protocol.",
        see: &["NQ001", "MM001"],
        sources: &["net/netlink/af_netlink.c", "net/core/neighbour.c", "send(2), netlink(7)"],
    },
    Errno {
        name: "ENOMEM",
        message: "Cannot allocate memory",
        number: 12,
        causes: &[
            Cause {
                call: "socket(), accept(), send()",
                cause: "The kernel could not allocate: memory, or the memory limit of the cgroup (socket \
                    memory counts there).",
                how_to_tell: "memory.events and memory.stat (sock) of the cgroup; the kernel log.",
                remedy: "Raise the limit, or bound buffers and connections.",
            },
            Cause {
                call: "mmap(), fork()",
                cause: "Not a matter of sockets: address space, overcommit, limits.",
                how_to_tell: "The call.",
                remedy: "See mmap(2).",
            },
        ],
        tell_apart: "TCP under its own limit (tcp_mem) does not return ENOMEM at once: it shrinks windows, \
            waits, and resets orphans. See TCPMemoryPressures and MM001.",
        see: &["MM001", "OR001", "net.ipv4.tcp_mem"],
        sources: &["net/core/sock.c: __sk_mem_raise_allocated", "socket(2)"],
    },
    Errno {
        name: "EHOSTUNREACH",
        message: "No route to host",
        number: 113,
        causes: &[
            Cause {
                call: "connect()",
                cause: "The neighbour does not answer ARP or neighbour discovery: host down or wrong subnet. \
                    Takes about 3 seconds.",
                how_to_tell: "ip neigh shows FAILED or INCOMPLETE.",
                remedy: "Bring the host up; correct the mask or the route.",
            },
            Cause {
                call: "connect()",
                cause: "A router or firewall answers with ICMP host-unreachable or \
                    administratively-prohibited; an output rule on this host does the same.",
                how_to_tell: "Fails at once although a route exists.",
                remedy: "Change the rule, ask the owner of the router.",
            },
            Cause {
                call: "connect()",
                cause: "The route is of type unreachable.",
                how_to_tell: "ip route get DESTINATION.",
                remedy: "Correct the route.",
            },
        ],
        tell_apart: "Local: at once means a route or a rule, after 3 seconds a neighbour that does not \
            answer. No route at all is ENETUNREACH; a route of type prohibit gives EACCES, blackhole EINVAL.",
        see: &["SS001"],
        sources: &[
            "net/ipv4/arp.c: arp_error_report",
            "net/ipv4/icmp.c: icmp_err_convert",
            "connect(2)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "ENETUNREACH",
        message: "Network is unreachable",
        number: 101,
        causes: &[
            Cause {
                call: "connect()",
                cause: "No route to the destination in this namespace, often no default route, or an IPv6 \
                    address on a host without IPv6 routes.",
                how_to_tell: "ip route get DESTINATION in the same namespace.",
                remedy: "Add the route; let the resolver prefer the family that works.",
            },
            Cause {
                call: "connect()",
                cause: "An ICMP network-unreachable came back.",
                how_to_tell: "A route exists here.",
                remedy: "Ask the owner of the router.",
            },
        ],
        tell_apart: "It is decided before any packet leaves, hence immediate. IPv6 that is disabled gives \
            EADDRNOTAVAIL instead.",
        see: &["SS001"],
        sources: &[
            "net/ipv4/route.c: ip_route_output_key_hash_rcu",
            "net/ipv4/icmp.c: icmp_err_convert",
            "connect(2)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "EAGAIN",
        message: "Resource temporarily unavailable",
        number: 11,
        causes: &[
            Cause {
                call: "read(), recv(), accept()",
                cause: "Non-blocking, and nothing is there. Normal.",
                how_to_tell: "Only in non-blocking code.",
                remedy: "Wait with poll() or epoll.",
            },
            Cause {
                call: "read(), recv()",
                cause: "SO_RCVTIMEO elapsed.",
                how_to_tell: "The program set a receive time-out.",
                remedy: "Treat as a time-out, not as an end.",
            },
            Cause {
                call: "write(), send()",
                cause: "The send buffer is full: the peer or the path is slower, or the peer does not read.",
                how_to_tell: "Send-Q stays high; a zero window of the peer.",
                remedy: "Wait for EPOLLOUT; bound the time.",
            },
            Cause {
                call: "connect() on a Unix socket",
                cause: "The accept queue of the listener is full (TCP would wait).",
                how_to_tell: "A Unix path; ss -lx shows Recv-Q at Send-Q.",
                remedy: "Accept faster, raise the backlog.",
            },
        ],
        tell_apart: "EWOULDBLOCK is the same number on Linux. It is a state, not a fault; it becomes one \
            when Send-Q stays full.",
        see: &["ZW001", "LQ001"],
        sources: &[
            "net/ipv4/tcp.c: tcp_recvmsg_locked",
            "net/unix/af_unix.c: unix_stream_connect",
            "recv(2), send(2)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "EINPROGRESS",
        message: "Operation now in progress",
        number: 115,
        causes: &[
            Cause {
                call: "connect()",
                cause: "Non-blocking: the handshake has begun. Normal.",
                how_to_tell: "The result comes as writability; then getsockopt(SO_ERROR).",
                remedy: "Poll for writing, with a time-out.",
            },
            Cause {
                call: "connect()",
                cause: "Blocking with SO_SNDTIMEO, and the time elapsed.",
                how_to_tell: "The program or library set a send time-out.",
                remedy: "Treat as a connect time-out and close the socket.",
            },
        ],
        tell_apart: "A second connect() on the same socket gives EALREADY while it runs and EISCONN once it \
            is done.",
        see: &["SS001"],
        sources: &["net/ipv4/af_inet.c: __inet_stream_connect", "connect(2)", "measured on 6.18"],
    },
    Errno {
        name: "ENOTCONN",
        message: "Transport endpoint is not connected",
        number: 107,
        causes: &[
            Cause {
                call: "read(), getpeername(), shutdown()",
                cause: "The socket was never connected, or its connection has already ended (a reset before \
                    the call).",
                how_to_tell: "After accept(): the client was gone before the program looked.",
                remedy: "Treat as an ended connection.",
            },
            Cause {
                call: "shutdown()",
                cause: "The peer has reset the connection meanwhile.",
                how_to_tell: "Harmless at closing.",
                remedy: "Ignore it there.",
            },
        ],
        tell_apart: "write() on such a socket gives EPIPE.",
        see: &["RS001", "LQ001"],
        sources: &[
            "net/ipv4/af_inet.c: inet_shutdown, inet_getname",
            "net/ipv4/tcp.c: tcp_recvmsg_locked",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "EINTR",
        message: "Interrupted system call",
        number: 4,
        causes: &[
            Cause {
                call: "accept(), read(), write(), poll()",
                cause: "A signal arrived and its handler lacks SA_RESTART; poll() and calls with time-outs \
                    are never restarted.",
                how_to_tell: "Rare and random; profilers and timers send signals.",
                remedy: "Call again.",
            },
            Cause {
                call: "connect()",
                cause: "A signal arrived; the handshake goes on in the kernel.",
                how_to_tell: "A second connect() gives EALREADY.",
                remedy: "Do not call connect() again: poll for writing.",
            },
            Cause {
                call: "close()",
                cause: "On Linux the descriptor is freed all the same.",
                how_to_tell: "close() reports EINTR.",
                remedy: "Never repeat close(): the number may belong to another file by then.",
            },
        ],
        tell_apart: "It says nothing about the connection.",
        see: &[],
        sources: &["signal(7), connect(2), close(2)"],
    },
    Errno {
        name: "EACCES",
        message: "Permission denied",
        number: 13,
        causes: &[
            Cause {
                call: "bind()",
                cause: "A port below net.ipv4.ip_unprivileged_port_start (1024) without \
                    CAP_NET_BIND_SERVICE.",
                how_to_tell: "The port number and the user.",
                remedy: "AmbientCapabilities=CAP_NET_BIND_SERVICE, socket activation, or a lower \
                    ip_unprivileged_port_start.",
            },
            Cause {
                call: "connect()",
                cause: "A route of type prohibit.",
                how_to_tell: "ip route get DESTINATION.",
                remedy: "Correct the route.",
            },
            Cause {
                call: "connect(), bind()",
                cause: "SELinux, AppArmor or Landlock refuse.",
                how_to_tell: "The audit log (AVC).",
                remedy: "Allow the port or the program.",
            },
            Cause {
                call: "connect(), sendto()",
                cause: "The destination is a broadcast address and SO_BROADCAST is not set.",
                how_to_tell: "The address ends the subnet.",
                remedy: "Correct the address.",
            },
        ],
        tell_apart: "EACCES is policy of this host; EPERM is a filter in the packet path or a missing right \
            to an operation.",
        see: &["net.ipv4.ip_unprivileged_port_start"],
        sources: &[
            "net/ipv4/af_inet.c: __inet_bind",
            "net/ipv4/route.c",
            "bind(2), ip(7)",
            "measured on 6.18",
        ],
    },
    Errno {
        name: "EPERM",
        message: "Operation not permitted",
        number: 1,
        causes: &[
            Cause {
                call: "sendto(), sendmsg()",
                cause: "An output rule of nftables or iptables dropped or rejected the packet: UDP, ICMP and \
                    raw sockets.",
                how_to_tell: "DNS from this host fails with it. The counters of the output chain move.",
                remedy: "Change the rule.",
            },
            Cause {
                call: "sendto(), sendmsg()",
                cause: "conntrack could not take the flow (table full): the packet is dropped on output.",
                how_to_tell: "nf_conntrack: table full in the log; drop in its statistics.",
                remedy: "See CT001.",
            },
            Cause {
                call: "connect()",
                cause: "A BPF program at the cgroup's connect hook refuses (network policy, systemd).",
                how_to_tell: "bpftool cgroup tree; only processes of that cgroup.",
                remedy: "Change the policy.",
            },
        ],
        tell_apart: "TCP hides output drops: measured on 6.18, connect() towards a port that an output rule \
            drops hangs until ETIMEDOUT, and one that is rejected gives ECONNREFUSED (or EHOSTUNREACH for \
            administratively-prohibited), not EPERM.",
        see: &["CT001", "SS001"],
        sources: &[
            "net/netfilter/core.c: nf_hook_slow",
            "kernel/bpf/cgroup.c",
            "send(2)",
            "measured on 6.18",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn ends_well(text: &str) -> bool {
        text.len() > 3 && text.ends_with(['.', ')']) && !text.contains("  ")
    }

    /// Whether `text` is meant as a rule code: capitals, then digits, nothing else.
    fn looks_like_code(text: &str) -> bool {
        text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            && text.bytes().any(|b| b.is_ascii_digit())
    }

    #[test]
    fn entries_are_complete_and_unique() {
        let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
        for errno in errnos() {
            assert!(
                names.insert(errno.name) && numbers.insert(errno.number),
                "{} is there twice",
                errno.name
            );
            assert!(errno.name.starts_with('E') && !errno.message.is_empty());
            assert!(!errno.causes.is_empty() && !errno.sources.is_empty(), "{} is empty", errno.name);
            assert!(ends_well(errno.tell_apart), "{}", errno.name);
            for cause in errno.causes {
                assert!(cause.call.contains("()"), "{}: {}", errno.name, cause.call);
                for text in [cause.cause, cause.how_to_tell, cause.remedy] {
                    assert!(ends_well(text), "{}: {text}", errno.name);
                }
            }
        }
    }

    #[test]
    fn references_have_the_form_of_codes_or_sysctls() {
        for errno in errnos() {
            for see in errno.see {
                let bytes = see.as_bytes();
                let code = bytes.len() == 5
                    && bytes[..2].iter().all(u8::is_ascii_uppercase)
                    && bytes[2..].iter().all(u8::is_ascii_digit);
                assert!(code || (see.contains('.') && !looks_like_code(see)), "{}: {see}", errno.name);
            }
        }
    }

    #[test]
    fn the_numbers_are_those_of_this_host() {
        if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
            for errno in errnos() {
                let said = std::io::Error::from_raw_os_error(errno.number).to_string();
                assert_eq!(said, format!("{} (os error {})", errno.message, errno.number), "{}", errno.name);
            }
        }
    }

    #[test]
    fn every_spelling_finds_it() {
        for name in ["EADDRNOTAVAIL", "eaddrnotavail", " Cannot assign requested address ", "99"] {
            assert_eq!(errno(name).map(|e| e.name), Some("EADDRNOTAVAIL"), "{name}");
        }
        assert_eq!(errno("EWOULDBLOCK").map(|e| e.name), Some("EAGAIN"));
        for name in ["", "E", "EWHATEVER", "-1", "connection"] {
            assert!(errno(name).is_none(), "{name}");
        }
    }

    #[test]
    fn all_that_were_promised_are_there() {
        for name in [
            "EADDRNOTAVAIL",
            "EADDRINUSE",
            "ETIMEDOUT",
            "ECONNREFUSED",
            "ECONNRESET",
            "ECONNABORTED",
            "EPIPE",
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "EAGAIN",
            "EWOULDBLOCK",
            "EINPROGRESS",
            "ENOTCONN",
            "EINTR",
            "EACCES",
            "EPERM",
        ] {
            assert!(errno(name).is_some(), "{name}");
        }
    }
}
