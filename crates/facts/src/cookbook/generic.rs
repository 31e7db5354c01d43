//! Advice that holds in every language.

use super::{Step, Symptom};

/// The steps for one symptom; never empty.
pub(super) const fn steps(symptom: Symptom) -> &'static [Step] {
    match symptom {
        Symptom::ShortConnections => SHORT_CONNECTIONS,
        Symptom::CloseWaitLeak => CLOSE_WAIT_LEAK,
        Symptom::SlowAccept => SLOW_ACCEPT,
        Symptom::ProxyPorts => PROXY_PORTS,
        Symptom::DescriptorLimit => DESCRIPTOR_LIMIT,
        Symptom::DeadPeers => DEAD_PEERS,
        Symptom::ReuseAddress => REUSE_ADDRESS,
        Symptom::ConnectTimeout => CONNECT_TIMEOUT,
        Symptom::SlowReader => SLOW_READER,
    }
}

const SHORT_CONNECTIONS: &[Step] = &[
    Step {
        symptom: Symptom::ShortConnections,
        setting: "persistent connections (HTTP/1.1 keep-alive, HTTP/2)",
        text: "Send many requests over one connection: in HTTP/1.1 this is the default unless either side \
            sends \"Connection: close\". Look for a client that builds a client object per request, does not \
            read responses to their end, or speaks HTTP/1.0.",
        example: None,
        since: "",
        source: "RFC 9112 section 9.3",
    },
    Step {
        symptom: Symptom::ShortConnections,
        setting: "a connection pool",
        text: "Keep as many idle connections as there are concurrent requests to one destination. A pool \
            that keeps fewer closes the surplus after every burst and looks like no pool at all.",
        example: None,
        since: "",
        source: "RFC 9112 section 9.4",
    },
    Step {
        symptom: Symptom::ShortConnections,
        setting: "idle time-outs in the right order",
        text: "The side that opens the connections should have the shorter idle time-out, so that it never \
            sends into a connection that the other side is closing; both longer than the usual pause between \
            requests.",
        example: None,
        since: "",
        source: "RFC 9112 section 9.5",
    },
    Step {
        symptom: Symptom::ShortConnections,
        setting: "who closes first",
        text: "TIME_WAIT stays on the side that closes first. On the connecting side it holds an ephemeral \
            port for 60 s, on the accepting side only memory.",
        example: None,
        since: "",
        source: "RFC 9293 section 3.6; include/net/tcp.h: TCP_TIMEWAIT_LEN",
    },
];

const CLOSE_WAIT_LEAK: &[Step] = &[
    Step {
        symptom: Symptom::CloseWaitLeak,
        setting: "close() on every path",
        text: "The peer has closed; only this process can end the socket. Close in finally, defer, with, \
            using or try-with-resources, errors and time-outs included. No sysctl shortens CLOSE_WAIT.",
        example: None,
        since: "",
        source: "RFC 9293 section 3.6; net/ipv4/tcp.c",
    },
    Step {
        symptom: Symptom::CloseWaitLeak,
        setting: "read the end (Recv-Q 1 or more)",
        text: "Unread bytes (the FIN counts one) mean that the program does not read this socket: a blocked \
            thread, a forgotten one, or an idle pooled connection. A pool of blocking sockets that keeps a \
            bounded number of them is no leak; evict idle connections before the peer's idle time-out.",
        example: None,
        since: "",
        source: "net/ipv4/tcp_input.c: tcp_fin",
    },
    Step {
        symptom: Symptom::CloseWaitLeak,
        setting: "act on the end (Recv-Q 0)",
        text: "The program has read the end and did not close: treat read() = 0 (EOF) as the end of the \
            connection, or answer and then close if the half-close was meant.",
        example: None,
        since: "",
        source: "read(2), recv(2)",
    },
    Step {
        symptom: Symptom::CloseWaitLeak,
        setting: "time-outs on outgoing calls",
        text: "A handler that waits for a dead backend holds the connection of the client who has gone. \
            Bound every outgoing call.",
        example: None,
        since: "",
        source: "linger explain CW001",
    },
];

const SLOW_ACCEPT: &[Step] = &[
    Step {
        symptom: Symptom::SlowAccept,
        setting: "accept faster",
        text: "The queue fills because accept() is not called: all workers busy, an event loop blocked, the \
            process out of descriptors or of CPU. Find what it waits for first; a longer queue only makes \
            clients wait longer.",
        example: None,
        since: "",
        source: "net/ipv4/inet_connection_sock.c",
    },
    Step {
        symptom: Symptom::SlowAccept,
        setting: "listen(fd, backlog)",
        text: "The queue holds min(backlog, net.core.somaxconn) + 1. Raise both; the limit is fixed when \
            listen() is called, so the program must call it again (usually: restart).",
        example: None,
        since: "somaxconn 128 up to Linux 5.3, 4096 from 5.4",
        source: "net/socket.c: __sys_listen; include/net/sock.h: sk_acceptq_is_full",
    },
    Step {
        symptom: Symptom::SlowAccept,
        setting: "SO_REUSEPORT",
        text: "One listening socket per worker, each with a queue of its own; the kernel spreads by a hash \
            of the addresses. A worker that hangs then loses its share: check each queue for itself.",
        example: None,
        since: "Linux 3.9",
        source: "socket(7)",
    },
    Step {
        symptom: Symptom::SlowAccept,
        setting: "accept until EAGAIN",
        text: "With edge-triggered epoll take all waiting connections at each wake-up, not one.",
        example: None,
        since: "",
        source: "epoll(7)",
    },
];

const PROXY_PORTS: &[Step] = &[
    Step {
        symptom: Symptom::ProxyPorts,
        setting: "keep-alive towards the backends",
        text: "The fewest ports are used by connections that stay. A port is needed per connection to one \
            (source address, destination address, destination port), and after a close for 60 s more.",
        example: None,
        since: "",
        source: "net/ipv4/inet_hashtables.c: __inet_hash_connect",
    },
    Step {
        symptom: Symptom::ProxyPorts,
        setting: "more destinations",
        text: "More backend addresses or ports: each has all local ports anew.",
        example: None,
        since: "",
        source: "net/ipv4/inet_hashtables.c: __inet_check_established",
    },
    Step {
        symptom: Symptom::ProxyPorts,
        setting: "more source addresses, with IP_BIND_ADDRESS_NO_PORT",
        text: "Each source address has all local ports anew. Set IP_BIND_ADDRESS_NO_PORT before \
            bind(address, 0): without it the bind takes the port away from every destination.",
        example: Some("setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);"),
        since: "Linux 4.2",
        source: "ip(7); commit 90c337da1524",
    },
    Step {
        symptom: Symptom::ProxyPorts,
        setting: "Unix sockets on the same host",
        text: "A proxy and a backend on one host need no ports at all.",
        example: None,
        since: "",
        source: "unix(7)",
    },
    Step {
        symptom: Symptom::ProxyPorts,
        setting: "net.ipv4.ip_local_port_range",
        text: "Last: a wider range gives at most about 2.3 times the default. Keep its ends of different \
            parity, and the ports of servers in ip_local_reserved_ports.",
        example: None,
        since: "",
        source: "Documentation/networking/ip-sysctl.rst",
    },
];

const DESCRIPTOR_LIMIT: &[Step] = &[
    Step {
        symptom: Symptom::DescriptorLimit,
        setting: "RLIMIT_NOFILE",
        text: "EMFILE is the limit of the process. systemd: LimitNOFILE=; containers: --ulimit nofile; \
            shells: ulimit -n. A running process: prlimit --pid PID --nofile=SOFT:HARD. The ceiling is \
            fs.nr_open.",
        example: Some(
            r"[Service]
LimitNOFILE=65536",
        ),
        since: "",
        source: "getrlimit(2); systemd.exec(5)",
    },
    Step {
        symptom: Symptom::DescriptorLimit,
        setting: "find the leak first",
        text: "If the number grows with time and not with load, a higher limit only postpones the end: group \
            the descriptors of the process by kind and peer.",
        example: None,
        since: "",
        source: "proc(5): /proc/PID/fd",
    },
    Step {
        symptom: Symptom::DescriptorLimit,
        setting: "a reserve in accept loops",
        text: "accept() that fails with EMFILE leaves the connection in the queue, and a level-triggered \
            loop spins. Stop polling the listener for a moment, or keep a spare descriptor to accept and \
            close with.",
        example: None,
        since: "",
        source: "accept(2); measured on 6.18",
    },
];

const DEAD_PEERS: &[Step] = &[
    Step {
        symptom: Symptom::DeadPeers,
        setting: "SO_KEEPALIVE",
        text: "Off by default. Probes start after TCP_KEEPIDLE (7200 s), every TCP_KEEPINTVL (75 s), \
            TCP_KEEPCNT (9) times: more than two hours. Set them per socket.",
        example: Some(
            r"setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){300}, sizeof(int));
setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){30}, sizeof(int));
setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));",
        ),
        since: "",
        source: "tcp(7)",
    },
    Step {
        symptom: Symptom::DeadPeers,
        setting: "TCP_USER_TIMEOUT",
        text: "Keep-alive does not run while sent data is unacknowledged; this option bounds that time, \
            which is otherwise about 15 minutes (tcp_retries2).",
        example: None,
        since: "Linux 2.6.37",
        source: "tcp(7); RFC 5482",
    },
    Step {
        symptom: Symptom::DeadPeers,
        setting: "a heartbeat in the protocol",
        text: "WebSocket ping, HTTP/2 PING, database validation: finds also a peer whose kernel answers \
            while the program hangs.",
        example: None,
        since: "",
        source: "RFC 9113 section 6.7; RFC 6455 section 5.5.2",
    },
];

const REUSE_ADDRESS: &[Step] = &[
    Step {
        symptom: Symptom::ReuseAddress,
        setting: "SO_REUSEADDR before bind()",
        text: "Lets a server bind while old connections of its port are in TIME_WAIT. The old process must \
            have set it too, so that the first restart after adding it may still fail for 60 s. On Linux it \
            does not let two servers listen on one port.",
        example: Some("setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);"),
        since: "",
        source: "socket(7); net/ipv4/inet_connection_sock.c: inet_csk_bind_conflict; measured on 6.18",
    },
    Step {
        symptom: Symptom::ReuseAddress,
        setting: "wait for the old process",
        text: "EADDRINUSE with SO_REUSEADDR means that somebody still listens (or a child inherited the \
            socket): see who with ss -ltnp. SO_REUSEPORT on both lets old and new listen together, for the \
            same user.",
        example: None,
        since: "",
        source: "socket(7); measured on 6.18",
    },
    Step {
        symptom: Symptom::ReuseAddress,
        setting: "socket activation",
        text: "systemd keeps the listening socket across restarts: no bind, no lost connection.",
        example: None,
        since: "",
        source: "systemd.socket(5)",
    },
];

const CONNECT_TIMEOUT: &[Step] = &[
    Step {
        symptom: Symptom::ConnectTimeout,
        setting: "a time-out for connect()",
        text: "Unbounded, connect() waits while the kernel sends the SYN again (tcp_syn_retries 6: about two \
            minutes). Use the connect time-out of the library, a non-blocking connect with poll(), or \
            TCP_USER_TIMEOUT.",
        example: None,
        since: "",
        source: "connect(2), tcp(7)",
    },
    Step {
        symptom: Symptom::ConnectTimeout,
        setting: "few retries, with growing pauses and jitter",
        text: "Retries multiply the load when a backend is slow: bound their number and their share of all \
            requests, and let pauses grow.",
        example: None,
        since: "",
        source: "RFC 6298 (the same idea in TCP)",
    },
    Step {
        symptom: Symptom::ConnectTimeout,
        setting: "a circuit breaker",
        text: "After some failures stop asking a destination for a while: hanging connects hold ports, \
            threads and descriptors.",
        example: None,
        since: "",
        source: "linger explain SS001",
    },
];

const SLOW_READER: &[Step] = &[
    Step {
        symptom: Symptom::SlowReader,
        setting: "a time-out for writes",
        text: "A peer that does not read closes its window; the connection then lives as long as the peer \
            answers probes. Bound the time without progress, or set TCP_USER_TIMEOUT.",
        example: None,
        since: "",
        source: "RFC 9293 section 3.8.6.1; tcp(7)",
    },
    Step {
        symptom: Symptom::SlowReader,
        setting: "bounded queues per connection",
        text: "Stop producing for a peer that is behind (back-pressure), and close it past a limit, else \
            memory grows with the slowest.",
        example: None,
        since: "",
        source: "linger explain ZW001",
    },
    Step {
        symptom: Symptom::SlowReader,
        setting: "read while computing",
        text: "If it is this program that does not read (Recv-Q stays high), move slow work out of the \
            reading thread. Larger buffers only delay the stop.",
        example: None,
        since: "",
        source: "tcp(7)",
    },
];
