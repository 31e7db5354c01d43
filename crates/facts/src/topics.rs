//! Short articles on mechanisms and techniques: what they are, what they can and cannot do about connection
//! faults.

/// One article.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// A stable, unique name: lower case, words joined by `_`.
    pub id: &'static str,
    /// Other names by which it is found, in lower case.
    pub aliases: &'static [&'static str],
    /// The heading.
    pub title: &'static str,
    /// The text, one paragraph each.
    pub text: &'static [&'static str],
    /// What it can do, or what can be done about it.
    pub can: &'static [&'static str],
    /// What it cannot do.
    pub cannot: &'static [&'static str],
    /// Rule codes and sysctls that have more.
    pub see: &'static [&'static str],
    /// RFCs, kernel files, commits, manual pages, measurements.
    pub sources: &'static [&'static str],
}

/// All articles.
#[must_use]
pub fn topics() -> &'static [Topic] {
    TOPICS
}

/// The article of this name or alias, in any case; `-`, `_` and blanks are the same.
#[must_use]
pub fn topic(name: &str) -> Option<&'static Topic> {
    let name = name.trim();
    topics().iter().find(|topic| {
        same_name(topic.id, name)
            || same_name(topic.title, name)
            || topic.aliases.iter().any(|alias| same_name(alias, name))
    })
}

/// Whether two names are equal if case does not count and `-`, `_` and blanks are the same.
fn same_name(left: &str, right: &str) -> bool {
    fn plain(byte: u8) -> u8 {
        if matches!(byte, b'-' | b' ') { b'_' } else { byte.to_ascii_lowercase() }
    }
    left.bytes().map(plain).eq(right.bytes().map(plain))
}

const TOPICS: &[Topic] = &[
    Topic {
        id: "time_wait",
        aliases: &["timewait", "tw"],
        title: "TIME_WAIT: what it is for, and when it hurts",
        text: &[
            "The side that closes first keeps the connection in TIME_WAIT for 60 s, so that late segments of \
                it are not taken for a new connection with the same addresses and ports, and so that the \
                last ACK can be sent again. On Linux the time is fixed (TCP_TIMEWAIT_LEN); no sysctl of a \
                mainline kernel changes it, tcp_fin_timeout neither.",
            "A TIME_WAIT socket is a small object without owner, descriptor or buffers: 256 bytes on 6.18, \
                so that 200,000 are some 50 MB. On the accepting side that is all it costs. On the \
                connecting side each also holds a local port towards one (source address, destination \
                address, destination port).",
            "So the number alone says little. 28,000 towards one destination is the end of the default port \
                range; 200,000 spread over many destinations, or on the server side, is a busy host. What \
                counts is the rate of new connections per destination times 60 s against the free ports.",
            "The set is bounded by tcp_max_tw_buckets per namespace. Past it a closing connection skips \
                TIME_WAIT (TCPTimeWaitOverflow): nothing is refused and nothing appears in the kernel log.",
        ],
        can: &[
            "Tell which destination gets short connections, and how many a second: the remaining times of \
                the sockets hold the last minute.",
        ],
        cannot: &[
            "Exhaust descriptors or memory in realistic numbers.",
            "Be shortened by tcp_fin_timeout.",
            "Name its process: without a trace a TIME_WAIT socket has no owner.",
        ],
        see: &[
            "TW001",
            "TW002",
            "TW003",
            "TW005",
            "net.ipv4.tcp_max_tw_buckets",
            "net.ipv4.tcp_tw_reuse",
            "net.ipv4.tcp_fin_timeout",
        ],
        sources: &[
            "RFC 9293 section 3.6",
            "include/net/tcp.h: TCP_TIMEWAIT_LEN",
            "net/ipv4/inet_timewait_sock.c",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "tw_reuse",
        aliases: &["tcp_tw_reuse", "time-wait reuse", "tw-recycle", "tcp_tw_recycle"],
        title: "Reuse of TIME_WAIT, and recycling",
        text: &[
            "With tcp_tw_reuse = 1 connect() may take over a TIME_WAIT of its own side if that connection \
                had timestamps and is old enough: about one second. 2, the default since 4.18, allows it on \
                loopback only, and a connection to the host's own eth0 address is not loopback for it. It \
                never concerns accepted connections or bind().",
            "It raises the ceiling from (ports / 60 s) to about (ports / 1 s) per destination. From 6.14 the \
                age is tcp_tw_reuse_delay (1000 ms), counted from the entry into TIME_WAIT; before, it was \
                the second after the last timestamp of the peer.",
            "A socket that is bound to a fixed port takes over a TIME_WAIT with timestamps at once, whatever \
                tcp_tw_reuse says.",
            "tcp_tw_recycle was another thing: it shortened TIME_WAIT and made servers drop SYNs of clients \
                behind NAT. It was removed in 4.12; a line for it in sysctl.conf is dead, or, on 4.11 and \
                before, dangerous.",
        ],
        can: &["Take the pressure of TIME_WAIT off a connecting host with timestamps on both sides."],
        cannot: &[
            "Help where either side has tcp_timestamps = 0 or the path strips timestamps.",
            "Help the accepting side, or ports in ESTABLISHED.",
            "Make short connections cheap: each still costs a handshake.",
        ],
        see: &[
            "TW001",
            "TW004",
            "TW006",
            "net.ipv4.tcp_tw_reuse",
            "net.ipv4.tcp_tw_reuse_delay",
            "net.ipv4.tcp_timestamps",
        ],
        sources: &[
            "net/ipv4/tcp_ipv4.c: tcp_twsk_unique",
            "commit 79e9fed46038",
            "commit 4396e46187ca",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "ephemeral_ports",
        aliases: &["local ports", "ports", "ip_local_port_range", "port exhaustion"],
        title: "Ephemeral ports: what is counted, and why connect() slows down first",
        text: &[
            "A connection needs a local port that is unique only together with the other three: source \
                address, destination address, destination port. The default range 32768-60999 gives 28,232 \
                ports for each such tuple, or about 470 new connections a second if each ends in TIME_WAIT \
                here. The same ports serve every other destination again. Accepted connections cost none.",
            "Parity: connect() tries the ports with the parity of the lower end first, bind(address, 0) the \
                others. Past half of the range per destination each connect() walks the whole first half in \
                vain before it looks at the second: it gets slow and takes CPU before it fails with \
                EADDRNOTAVAIL. Give the range ends of different parity.",
            "Poisoned ports: connect() skips every port that has an owner by bind(): a listener, a socket \
                bound and idle, one bound before connect(); for all destinations and all local addresses. \
                Bound sockets that never connect are in state CLOSE and in no table before about 6.8. Before \
                6.18 the port stays poisoned until its last connection has gone, the owner by bind() or not.",
            "Bind before connect: a program that binds its source address with port 0 gets a port that is \
                taken from all destinations, and runs out with EADDRINUSE in bind(). IP_BIND_ADDRESS_NO_PORT \
                (4.2) postpones the choice to connect(), where it is per destination. IP_LOCAL_PORT_RANGE \
                gives a socket a range of its own; probe for it with setsockopt().",
            "ip_local_reserved_ports takes ports out of the range for both automatic choices; put the ports \
                of servers there that lie in the range. No kernel counter counts a connect() that found no \
                port.",
        ],
        can: &[
            "Be multiplied by more destination addresses or ports, and by more source addresses.",
            "Be widened to some 64,000 per tuple with ip_local_port_range.",
        ],
        cannot: &[
            "Be multiplied by a second process, a user or a container in the same network namespace.",
            "Run out on a server because of the connections it accepts.",
        ],
        see: &["TW001", "PX001", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"],
        sources: &[
            "net/ipv4/inet_hashtables.c: __inet_hash_connect",
            "commit 07f4c90062f8",
            "commit 90c337da1524",
            "commit 91d0b78c5177",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "keep_alive",
        aliases: &["keepalive", "http keep-alive", "tcp keepalive", "so_keepalive"],
        title: "Two things called keep-alive",
        text: &[
            "HTTP keep-alive (persistent connections) sends several requests over one connection. It is the \
                remedy for short connections: no handshake, no port and no TIME_WAIT per request. In \
                HTTP/1.1 it is the default; in HTTP/2 one connection carries many requests at once.",
            "TCP keep-alive (SO_KEEPALIVE) probes an idle connection to find out whether the peer is still \
                there: after tcp_keepalive_time (7200 s), every tcp_keepalive_intvl (75 s), \
                tcp_keepalive_probes (9) times. It acts only on sockets that asked for it, and it does not \
                run while sent data is unacknowledged: then TCP_USER_TIMEOUT or tcp_retries2 decides.",
            "A middle box that forgets idle connections after some minutes is answered by either: probes \
                more often than its time-out, or pools that retire connections before.",
        ],
        can: &[
            "HTTP: end short-connection churn.",
            "TCP: find dead peers and keep NAT and firewall entries alive.",
        ],
        cannot: &[
            "TCP: prevent CLOSE_WAIT, where the peer has closed properly.",
            "TCP: find a peer whose kernel answers while its program hangs.",
            "sysctl: switch probing on for a program that did not ask.",
        ],
        see: &[
            "KA001",
            "TW003",
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
        ],
        sources: &[
            "RFC 9112 section 9.3",
            "RFC 9293 section 3.8.4",
            "net/ipv4/tcp_timer.c: tcp_keepalive_timer",
            "tcp(7)",
        ],
    },
    Topic {
        id: "accept_queue",
        aliases: &["backlog", "somaxconn", "listen backlog"],
        title: "The accept queue",
        text: &[
            "Connections whose handshake is complete wait in the queue of their listener until the program \
                calls accept(). It holds min(backlog, net.core.somaxconn) + 1. Both are read when listen() \
                is called: a change of somaxconn acts only after the program listens again, which mostly \
                means a restart. somaxconn is 4096 since 5.4, before it was 128.",
            "When it is full, new SYNs are dropped, and the last ACK of a handshake is ignored: the client \
                believes it is connected and waits. Both count as ListenOverflows and ListenDrops. With \
                tcp_abort_on_overflow = 1 the client gets a reset instead. SYN cookies do not get around a \
                full accept queue.",
            "ss -ltn shows the queue of each listener: Recv-Q waiting, Send-Q the limit. Connections that \
                nobody has accepted have no inode and no process. Each socket of an SO_REUSEPORT group has a \
                queue of its own: one may overflow while the others are empty.",
        ],
        can: &["Absorb a burst that is shorter than queue length / accept rate."],
        cannot: &[
            "Help a program that is too slow on average: then every client waits longer, and many give up \
                while they wait.",
            "Be lengthened from outside while the program runs.",
        ],
        see: &["LQ001", "LQ002", "net.core.somaxconn", "net.ipv4.tcp_abort_on_overflow"],
        sources: &[
            "net/socket.c: __sys_listen",
            "include/net/sock.h: sk_acceptq_is_full",
            "net/ipv4/tcp_ipv4.c: tcp_v4_syn_recv_sock",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "syn_queue",
        aliases: &["syn cookies", "syncookies", "syn flood", "half-open"],
        title: "The SYN queue and SYN cookies",
        text: &[
            "A SYN makes a small request (SYN_RECV) until the handshake is complete. Since 4.4 the number \
                per listener is bounded by the backlog of listen(), the same as of the accept queue; \
                tcp_max_syn_backlog acts only with tcp_syncookies = 0.",
            "With tcp_syncookies = 1 (the default) a full queue drops nothing: the answer carries a cookie, \
                and no request is kept (TCPReqQFullDoCookies, SyncookiesSent). A valid ACK counts \
                SyncookiesRecv, an invalid one SyncookiesFailed. With 0 the SYN is dropped \
                (TCPReqQFullDrop).",
            "So the number of SYN_RECV cannot pass backlog + 1 per listener, however strong the flood: an \
                alert on a large number never fires. The rates of SyncookiesSent, TCPReqQFull* and \
                ListenDrops tell. Cookies that mostly come back valid mean a backlog too small for honest \
                load; cookies that do not, a flood.",
        ],
        can: &["Cookies: keep a listener reachable during a flood, without memory."],
        cannot: &[
            "Cookies: carry all TCP options (without timestamps, window scaling and SACK are lost for that \
                connection).",
            "tcp_max_syn_backlog: change anything while cookies are on.",
        ],
        see: &["SR001", "SR002", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog"],
        sources: &[
            "RFC 4987",
            "net/ipv4/tcp_input.c: tcp_conn_request",
            "net/ipv4/syncookies.c",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "timestamps",
        aliases: &["tcp timestamps", "paws"],
        title: "TCP timestamps",
        text: &[
            "A TCP option with a clock in each segment, negotiated in the handshake. It serves to measure \
                round trips, to refuse old segments (PAWS), and to allow the reuse of TIME_WAIT. It is on by \
                default; one side without it, or a box on the way that strips it, switches it off for the \
                connection.",
            "Since 4.10 each connection starts from a random offset, so that the clock tells nothing about \
                the uptime of the host.",
            "Segments refused by PAWS count PAWSEstab, those in TIME_WAIT a counter of their own, PAWSTimewait, \
                where there is one (absent in the 6.12 tree, present in 6.18). A few are normal; many point to hosts that share an address behind NAT, or to a balancer that mixes clocks.",
        ],
        can: &[
            "Make reuse of TIME_WAIT possible.",
            "Be seen per connection: option \"ts\" in ss -i, tcpi_options in sock_diag.",
        ],
        cannot: &[
            "Be seen on a TIME_WAIT socket from outside: sock_diag does not report it.",
            "Be saved by switching them off: 12 bytes a segment is what they cost.",
        ],
        see: &["TW004", "PW001", "net.ipv4.tcp_timestamps"],
        sources: &["RFC 7323", "commit 95a22caee396", "net/ipv4/tcp_minisocks.c: tcp_timewait_state_process"],
    },
    Topic {
        id: "timestamp_stripping",
        aliases: &["load balancer", "load balancers", "slb", "strip timestamps", "timestamps stripped"],
        title: "Load balancers that strip timestamps",
        text: &[
            "A balancer or proxy that ends TCP, or that rewrites options, may answer without timestamps even \
                though client and server both have them. The client then cannot reuse its TIME_WAIT sockets, \
                and they pile up on the client for 60 s each: often seen right after a balancer was put in \
                between, with nothing else changed.",
            "Compare paths: a connection to the backend itself has the option, one through the balancer \
                lacks it. If no path to that peer ever has it, the peer does not speak it.",
            "On kernels before 4.12 with tcp_tw_recycle the effect was larger, since recycling depended on \
                timestamps too.",
        ],
        can: &["Be recognised from live connections: tcp_info with and without timestamps by destination."],
        cannot: &["Be corrected on the client by a sysctl: use keep-alive, or more destination or source \
                addresses."],
        see: &["TW004", "TW001", "net.ipv4.tcp_timestamps", "net.ipv4.tcp_tw_reuse"],
        sources: &["net/ipv4/tcp_ipv4.c: tcp_twsk_unique", "RFC 7323 section 3.2"],
    },
    Topic {
        id: "conntrack",
        aliases: &["nf_conntrack", "connection tracking"],
        title: "Connection tracking",
        text: &[
            "Netfilter keeps an entry per flow for stateful rules and NAT. It has times of its own, \
                independent of the sockets: 120 s for time_wait, 432,000 s (5 days) for established, 60 s \
                for close_wait. A host can have few sockets and a full table.",
            "The limit nf_conntrack_max is one number for the host, but it is compared with the count of \
                each network namespace for itself. When the table is full, entries that are not assured are \
                evicted (early_drop), and else the packet is dropped (drop) with a line in the kernel log. \
                insert_failed is something else: two flows clashed.",
            "A new SYN on a tracked TIME_WAIT reopens it: the 120 s do not block a client's reuse of the \
                same ports. They do block SNAT ports.",
        ],
        can: &["Be left out for flows that need no state: notrack rules for busy local services."],
        cannot: &[
            "Be read or enlarged from inside a container: the limit is the host's, read-only there.",
            "Be cured by shorter TIME_WAIT sockets.",
        ],
        see: &[
            "CT001",
            "net.netfilter.nf_conntrack_max",
            "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
            "net.netfilter.nf_conntrack_tcp_timeout_established",
        ],
        sources: &[
            "net/netfilter/nf_conntrack_core.c: early_drop",
            "net/netfilter/nf_conntrack_proto_tcp.c",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "nat",
        aliases: &["snat", "nat ports", "masquerade", "nat gateway"],
        title: "NAT and its ports",
        text: &[
            "A source NAT gives each connection a port of its public address, unique per (public address, \
                destination address, destination port): at most some 64,000 per public address and \
                destination, for all hosts behind it together. It is a budget apart from \
                ip_local_port_range, and it is spent where the NAT is, so that the clients see only SYNs \
                without answer.",
            "An entry is kept for its conntrack time, also after the sockets are gone; from about 6.5 the \
                kernel may evict a SNAT entry in TIME_WAIT on its last attempts. A clash on insertion counts \
                insert_failed and drops the SYN, which then takes a second longer.",
            "Hosts behind one NAT share an address but not their TCP timestamps: servers with tcp_tw_recycle \
                (before 4.12) dropped their SYNs.",
        ],
        can: &["Be multiplied by more public addresses, and relieved by keep-alive."],
        cannot: &["Be seen in the sockets of the host that connects."],
        see: &["CT001", "SS001", "PW001"],
        sources: &["net/netfilter/nf_nat_core.c: nf_nat_used_tuple_harder", "RFC 4787"],
    },
    Topic {
        id: "tcp_memory",
        aliases: &["tcp_mem", "buffers", "tcp_rmem", "tcp_wmem"],
        title: "TCP memory",
        text: &[
            "tcp_mem has three thresholds in pages, for the whole host: below the first all is well, past \
                the second TCP shrinks windows (memory pressure), past the third allocation fails and \
                orphans are reset. The defaults come from the size of memory: about 4.7, 6.25 and 9.4 %. Use \
                is \"mem\" in /proc/net/sockstat, also in pages.",
            "tcp_rmem and tcp_wmem are bytes per socket: least, initial, and the largest that autotuning \
                reaches. rmem_default and wmem_default do not concern TCP; rmem_max and wmem_max bound only \
                what a program asks for with SO_RCVBUF and SO_SNDBUF, and asking switches autotuning off.",
            "The socket memory of a cgroup counts against memory.max of it: a container can be under \
                pressure while the host is not.",
            "Values copied from old articles harm both ways: a fixed tcp_mem may be far too low or high for \
                this host, and \"tcp_rmem max 16 MB\" lowers the 32 MB that 6.18 has by default.",
        ],
        can: &["Be seen: sockstat mem against tcp_mem, TCPMemoryPressures, the sock line of memory.stat."],
        cannot: &[
            "Be used up by TIME_WAIT in realistic numbers.",
            "Be set per namespace: tcp_mem is for the host.",
        ],
        see: &["MM001", "OR001", "net.ipv4.tcp_mem", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"],
        sources: &[
            "net/ipv4/tcp.c: tcp_init_mem",
            "net/core/sock.c: __sk_mem_raise_allocated",
            "Documentation/networking/ip-sysctl.rst",
        ],
    },
    Topic {
        id: "2msl",
        aliases: &["msl", "2 msl", "maximum segment lifetime"],
        title: "2 MSL",
        text: &[
            "RFC 9293 takes a maximum segment lifetime of 2 minutes and wants TIME_WAIT to last twice that: \
                4 minutes. Linux takes 60 s in all, fixed in the source, which says itself that this \
                deviates from the requirement. \"2 MSL is about 2 minutes\" is neither.",
            "An acknowledgement or an old segment that arrives in TIME_WAIT starts the 60 s again. A reset \
                ends it at once, unless tcp_rfc1337 = 1. 3.10 counted in steps of 7.5 s, so that it lasted \
                52.5 to 60 s.",
            "Some vendor kernels (Alibaba Cloud Linux) have a sysctl for the time, tcp_tw_timeout: look \
                whether the file is there.",
        ],
        can: &["Be relied on as 60 s on every mainline kernel from 3.10 on."],
        cannot: &["Be changed by tcp_fin_timeout or any other mainline sysctl."],
        see: &["TW005", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_rfc1337"],
        sources: &[
            "RFC 9293 section 3.4.2",
            "include/net/tcp.h: TCP_TIMEWAIT_LEN",
            "net/ipv4/tcp_minisocks.c",
        ],
    },
    Topic {
        id: "so_reuseport",
        aliases: &["reuseport", "so_reuseaddr", "reuseaddr"],
        title: "SO_REUSEADDR and SO_REUSEPORT",
        text: &[
            "SO_REUSEADDR lets bind() succeed while connections of that port exist but nobody listens. Every \
                server should set it before bind(). The sockets that are left must have had it too (accepted \
                ones inherit it), so that the first restart after adding it may still fail. Two listeners it \
                does not allow on Linux.",
            "SO_REUSEPORT lets several sockets of one user listen on one port, if all set it. The kernel \
                spreads new connections by a hash of the addresses (or a BPF program) over their queues. It \
                serves to give each worker a queue, and to start a new process before the old one stops.",
            "The price: a worker that hangs keeps its share of connections, and when a listener closes, \
                connections in its queue are lost; where the kernel has tcp_migrate_req, 1 moves them to \
                another one.",
        ],
        can: &[
            "SO_REUSEADDR: cure EADDRINUSE after a restart.",
            "SO_REUSEPORT: spread accept load over workers.",
        ],
        cannot: &[
            "SO_REUSEADDR: give connect() more ports, or share ports in bind(address, 0).",
            "SO_REUSEPORT: balance by load; the hash does not know which worker is busy.",
        ],
        see: &["TW007", "LQ001"],
        sources: &[
            "net/ipv4/inet_connection_sock.c: inet_csk_bind_conflict",
            "socket(7)",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "so_linger",
        aliases: &["linger", "so_linger 0", "rst close"],
        title: "SO_LINGER 0: why not",
        text: &[
            "With a linger time of 0, close() sends a reset: no FIN, no TIME_WAIT, and unsent data is \
                dropped. It does avoid TIME_WAIT, and for that it is recommended in places.",
            "The price: the peer sees ECONNRESET instead of an end, and may lose data that it had received \
                but not read; TIME_WAIT no longer protects the next connection on the same ports from late \
                segments of this one. TCPAbortOnData counts it.",
            "Use it to get rid of a connection on purpose (a peer that misbehaves, a test), not as tuning. \
                Keep-alive and pools remove the cause.",
        ],
        can: &["End a connection at once where loss is wanted."],
        cannot: &["Replace keep-alive.", "Be used on connections whose last data matters."],
        see: &["RS001", "TW003"],
        sources: &["net/ipv4/tcp.c: __tcp_close", "socket(7)", "RFC 1337"],
    },
    Topic {
        id: "containers",
        aliases: &["namespaces", "netns", "network namespace", "docker", "kubernetes", "pods"],
        title: "Containers and network namespaces",
        text: &[
            "Each network namespace has its own sockets, ports, TIME_WAIT limit and most net.ipv4 sysctls. A \
                new one starts from the defaults of the kernel, not from the values of the host: the host's \
                sysctl.conf says nothing about its containers. Exceptions are tcp_rmem, tcp_wmem and the \
                congestion control, which are copied from the first namespace when it is made.",
            "For the whole host there is one tcp_mem, one tcp_max_orphans, one netdev_max_backlog (their \
                files are absent inside), one nf_conntrack_max, one fs.file-max. Of /proc/net/sockstat, \
                orphan, alloc and mem are the host's, inuse and tw the namespace's.",
            "Containers of a pod share one namespace, and so their ports. Traffic between pods and to the \
                outside often passes conntrack and SNAT, with budgets of their own.",
            "Set sysctls of a container at its start (docker --sysctl, securityContext.sysctls of a pod); \
                read them after entering its namespace.",
        ],
        can: &["Have ports and limits of their own per namespace."],
        cannot: &["Inherit the tuning of the host.", "Change host-wide limits from inside."],
        see: &["CT001", "TW001"],
        sources: &["net/ipv4/tcp_ipv4.c: tcp_sk_init", "ip-netns(8)", "measured on 6.18"],
    },
    Topic {
        id: "sysctl_conf",
        aliases: &["sysctl.conf", "sysctl", "sysctl.d", "running values"],
        title: "sysctl.conf and the running values",
        text: &[
            "Files under /etc/sysctl.d are applied at boot, in order of their names over all directories, \
                and the last one wins; /etc/sysctl.conf is often last. What counts is the file under \
                /proc/sys now: a value can have been changed since, by hand, by a daemon, by a tuning tool \
                or by a module that was loaded later.",
            "A line for a sysctl that this kernel lacks (tcp_tw_recycle from 4.12 on) gives an error message \
                at boot and nothing else. A line for one that belongs to a module (nf_conntrack_*) has no \
                effect if the module is loaded later.",
            "Some values are taken only when a program asks: somaxconn at listen(), rmem_max at \
                setsockopt(), buffers at the creation of a socket. Others hold for the first network \
                namespace only: containers have their own.",
        ],
        can: &["Be compared with what runs: systemd-analyze cat-config sysctl.d prints the files in their \
                order, sysctl KEY the running value."],
        cannot: &["Show what a container or a running program uses."],
        see: &["LQ002", "TW006", "net.core.somaxconn"],
        sources: &["sysctl.d(5)", "sysctl.conf(5)", "Documentation/networking/ip-sysctl.rst"],
    },
    Topic {
        id: "dpdk",
        aliases: &["user-space stack", "userspace tcp", "kernel bypass", "f-stack"],
        title: "DPDK and user-space TCP stacks",
        text: &[
            "DPDK takes a network card away from the kernel and polls it from a program. It has no TCP: that \
                comes from a stack on top (F-Stack, mTCP, VPP, Seastar). Its gain is packets a second per \
                core, where interrupts and copies are the limit.",
            "The incidents that linger diagnoses are limits of protocol and application: ports per \
                destination, a queue that nobody empties, sockets that nobody closes. They are the same in \
                another stack, which has to implement TIME_WAIT, queues and ports as well.",
            "Its connections are invisible to the kernel: no ss, no /proc/net, no sock_diag, no netfilter, \
                no linger. A program with such a stack shows as one that polls at 100 % CPU.",
        ],
        can: &[
            "Raise packets a second and lower latency where the kernel's packet path is the measured limit \
                (softnet drops, CPU in softirq).",
            "Let a stack choose its own TIME_WAIT time, with the risks of that.",
        ],
        cannot: &[
            "Give more ports per (source, destination, destination port): 16 bits stay 16 bits.",
            "Cure CLOSE_WAIT leaks, short connections or slow accept().",
            "Be examined with the kernel's tools.",
        ],
        see: &["NQ001", "TW001", "CW001"],
        sources: &["DPDK documentation: overview", "RFC 9293 section 3.6"],
    },
    Topic {
        id: "bbr",
        aliases: &["tcp_bbr", "bottleneck bandwidth"],
        title: "BBR",
        text: &[
            "A congestion control (in mainline since 4.9) that estimates bandwidth and round-trip time of \
                the path and paces what it sends, instead of waiting for loss. It is set by \
                net.ipv4.tcp_congestion_control or per socket (TCP_CONGESTION), for sending only. Pacing is \
                done by the fq qdisc or, on later kernels, by TCP itself.",
            "It acts inside a connection that transfers. How connections begin and end, how many there are \
                and who closes them is no matter of congestion control.",
            "With much other traffic of CUBIC on the same bottleneck its first version may take more than \
                its share, and cause more retransmissions in shallow buffers: compare RetransSegs before and \
                after.",
        ],
        can: &[
            "Raise throughput and lower queueing delay on long paths with random loss or large buffers.",
            "Make long transfers end sooner, so that fewer connections exist at once.",
        ],
        cannot: &[
            "Reduce TIME_WAIT, CLOSE_WAIT or SYN_RECV.",
            "Help against port exhaustion, full accept queues or descriptor limits.",
            "Help short requests inside a data centre much.",
        ],
        see: &["RT001", "net.ipv4.tcp_congestion_control"],
        sources: &["net/ipv4/tcp_bbr.c", "tcp(7)"],
    },
    Topic {
        id: "cubic",
        aliases: &["tcp_cubic"],
        title: "CUBIC",
        text: &[
            "The default congestion control of Linux: the window grows as a cubic function of the time since \
                the last loss, so that it recovers fast on long fat paths and falls back at loss.",
            "As with BBR, it decides how fast an established connection sends, not how many connections \
                there are or how they end. A change of it is no remedy for the incidents that linger \
                diagnoses, apart from retransmissions.",
            "Loss that does not come from congestion (radio, faulty links) makes it slow: see whether \
                retransmissions concentrate on one peer or interface before changing anything.",
        ],
        can: &["Serve as a sound default for all kinds of traffic."],
        cannot: &[
            "Reduce TIME_WAIT, CLOSE_WAIT or SYN_RECV.",
            "Help against port exhaustion, full accept queues or descriptor limits.",
            "Tell loss by congestion from loss by faults.",
        ],
        see: &["RT001", "net.ipv4.tcp_congestion_control"],
        sources: &["RFC 9438", "net/ipv4/tcp_cubic.c"],
    },
    Topic {
        id: "ebpf",
        aliases: &["bpf", "bpftrace", "bcc", "tracing"],
        title: "eBPF",
        text: &[
            "Small verified programs in the kernel that can watch connections begin, change state and end, \
                and aggregate there. They answer what dumps cannot: who made a connection that is in \
                TIME_WAIT now, which process connects and closes a thousand times a second, which connect() \
                found no port.",
            "The tracepoint sock:inet_sock_set_state (in the 4.18 tree, not in 4.15) never shows TIME_WAIT: \
                it reports 5 to 7 (FIN_WAIT2 to CLOSE) when the small socket takes over. Its process is \
                right only in process context (at connect and at close), and wrong in interrupts: key by \
                socket cookie. A BPF iterator over TCP sockets reads the timestamp bit of TIME_WAIT sockets.",
            "It observes; with few exceptions (sockops, cgroup hooks, SO_REUSEPORT programs) it changes \
                nothing. It needs root or CAP_BPF with CAP_PERFMON, and kernels with BTF for portable \
                programs; lockdown and LSM policies may refuse some kinds.",
        ],
        can: &[
            "Name the owner of TIME_WAIT sockets and of failed connects.",
            "Count events without dumping sockets.",
            "Read what sock_diag does not report.",
        ],
        cannot: &[
            "Cure a fault by being loaded.",
            "Tell what happened before it was attached.",
            "Be used without privileges on most hosts.",
        ],
        see: &["TW003", "TW004"],
        sources: &[
            "include/trace/events/sock.h",
            "net/ipv4/tcp_ipv4.c: bpf_iter",
            "Documentation/bpf/",
            "measured on 6.18",
        ],
    },
    Topic {
        id: "close_wait",
        aliases: &["closewait"],
        title: "CLOSE_WAIT",
        text: &[
            "The peer has closed, this side has not. The socket stays until the program closes it: there is \
                no timer, and no sysctl that shortens it. Only keep-alive or a reset can end it otherwise.",
            "Recv-Q tells how the program failed. 0: it read the end and did not close. 1 or more (the FIN \
                counts one): it never read. No process and inode 0: nobody has accepted the connection, \
                which is a matter of the accept queue.",
            "A socket in CLOSE_WAIT is no leak by itself: after a half-close this side may still send, and \
                pools of blocking sockets keep some idle ones until their next use. Growth and age decide.",
        ],
        can: &["Name the program, the peer and the listener that it concerns."],
        cannot: &["Be reduced by kernel settings."],
        see: &["CW001", "CW002", "LQ001"],
        sources: &["RFC 9293 section 3.6", "net/ipv4/tcp_input.c: tcp_fin", "measured on 6.18"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn articles_are_complete() {
        for topic in topics() {
            assert!(topic.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            assert!(
                !topic.title.is_empty() && !topic.text.is_empty() && !topic.sources.is_empty(),
                "{}",
                topic.id
            );
            assert!(!topic.can.is_empty() && !topic.cannot.is_empty(), "{}", topic.id);
            for text in topic.text.iter().chain(topic.can).chain(topic.cannot) {
                assert!(
                    text.len() > 15 && text.ends_with('.') && !text.contains("  "),
                    "{}: {text}",
                    topic.id
                );
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for topic in topics() {
            for name in std::iter::once(&topic.id).chain(topic.aliases) {
                let plain = name.to_ascii_lowercase().replace(['-', ' '], "_");
                assert_eq!(*name, name.to_ascii_lowercase());
                if let Some(other) = seen.insert(plain, topic.id) {
                    panic!("{name} is a name of {other} and of {}", topic.id);
                }
            }
        }
    }

    #[test]
    fn references_have_the_form_of_codes_or_sysctls() {
        for topic in topics() {
            assert!(!topic.see.is_empty(), "{}", topic.id);
            for see in topic.see {
                let bytes = see.as_bytes();
                let code = bytes.len() == 5
                    && bytes[..2].iter().all(u8::is_ascii_uppercase)
                    && bytes[2..].iter().all(u8::is_ascii_digit);
                assert!(code || see.starts_with("net.") || see.starts_with("fs."), "{}: {see}", topic.id);
            }
        }
    }

    #[test]
    fn articles_are_found_by_every_spelling() {
        for (name, id) in [
            ("DPDK", "dpdk"),
            ("bbr", "bbr"),
            ("CUBIC", "cubic"),
            ("eBPF", "ebpf"),
            ("TIME_WAIT", "time_wait"),
            ("time-wait", "time_wait"),
            ("keepalive", "keep_alive"),
            ("keep-alive", "keep_alive"),
            ("ephemeral ports", "ephemeral_ports"),
            ("accept-queue", "accept_queue"),
            ("SYN cookies", "syn_queue"),
            ("timestamps", "timestamps"),
            ("conntrack", "conntrack"),
            ("SNAT", "nat"),
            ("tcp_mem", "tcp_memory"),
            ("2MSL", "2msl"),
            ("SO_REUSEPORT", "so_reuseport"),
            ("so_linger", "so_linger"),
            ("containers", "containers"),
            ("namespaces", "containers"),
            ("load balancer", "timestamp_stripping"),
            ("sysctl.conf", "sysctl_conf"),
        ] {
            assert_eq!(topic(name).map(|t| t.id), Some(id), "{name}");
        }
        for name in ["", "tim", "nothing"] {
            assert!(topic(name).is_none(), "{name}");
        }
    }
}
