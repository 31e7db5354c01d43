//! Recipes for proxies and web servers.

use super::{Match, Recipe, Step, Symptom};

/// The recipes of this file, specific before generic.
pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        id: "nginx",
        title: "nginx as reverse proxy or web server",
        matches: &[
            Match::Comm("nginx"),
            Match::ExeName("nginx"),
            Match::Comm("openresty"),
            Match::ExeName("openresty"),
            Match::Comm("angie"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "keepalive 64; (in upstream)",
                text: "Keeps up to this many idle connections per worker process to the servers of the \
                    block. The line stands after the balancing method. A proxy_pass that names an address \
                    instead of an upstream block has no such line to set.",
                example: Some(
                    r#"upstream api {
    server 10.0.0.11:8080;
    server 10.0.0.12:8080;
    keepalive 64;
}
server {
    location / {
        proxy_pass http://api;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
}"#,
                ),
                since: "1.1.4; upstream keep-alive is on by default from 1.29.7 (stable: 1.30)",
                source: "nginx CHANGES 1.1.4; nginx.org: ngx_http_upstream_module; nginx blog on 1.29.7",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "proxy_http_version 1.1;",
                text: "With 1.0 the upstream connection ends after each response, whatever keepalive says.",
                example: None,
                since: "1.1.4; default 1.0, from 1.29.7 on 1.1",
                source: "nginx CHANGES 1.1.4; nginx blog on 1.29.7",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "proxy_set_header Connection \"\";",
                text: "Before 1.29.7 nginx sends \"Connection: close\" upstream by default; an empty value \
                    drops the header. A block that sets any other proxy_set_header no longer inherits this \
                    one, so repeat it there; WebSocket locations need \"upgrade\" instead.",
                example: None,
                since: "needed before 1.29.7",
                source: "nginx.org: ngx_http_proxy_module; nginx blog on 1.29.7",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "keepalive_requests 10000; (in upstream)",
                text: "A cached connection is closed after this many requests, and nginx, being the closer, \
                    keeps the TIME_WAIT. Raise it where TIME_WAIT towards the backends stays high although \
                    keepalive works.",
                example: None,
                since: "in upstream from 1.15.3; default 100, from 1.19.10 on 1000",
                source: "nginx CHANGES 1.15.3, 1.19.10",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "keepalive_timeout 50s; (in upstream)",
                text: "How long an idle upstream connection stays cached. Keep it below the idle time-out of \
                    the backend, else requests meet a connection that the backend has just closed.",
                example: None,
                since: "in upstream from 1.15.3",
                source: "nginx CHANGES 1.15.3",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "keepalive_time 1h;",
                text: "Closes a keep-alive connection after the first request past this age; connections \
                    that should live for hours need a longer value.",
                example: None,
                since: "1.19.10",
                source: "nginx CHANGES 1.19.10",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "fastcgi_keep_conn on;",
                text: "Keeps connections to a FastCGI server (PHP-FPM over TCP) open; needs keepalive in the \
                    upstream block too. Each kept connection occupies one PHP-FPM worker, so keepalive times \
                    worker processes must stay below pm.max_children.",
                example: None,
                since: "1.1.4",
                source: "nginx CHANGES 1.1.4",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "keepalive_timeout 75s; (in http, server or location)",
                text: "Client side: 0 closes after each response. The side that closes first keeps \
                    TIME_WAIT; on a server these cost memory only, no ephemeral port.",
                example: None,
                since: "",
                source: "nginx.org: ngx_http_core_module",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "several server lines in upstream",
                text: "Ports are counted per (source address, destination address, destination port): a \
                    second backend address or port doubles what is available. A Unix socket (server \
                    unix:/run/app.sock;) needs no port at all.",
                example: Some(
                    r"upstream api {
    server 10.0.0.11:8080;
    server 10.0.0.11:8081;
    server 10.0.0.12:8080;
    keepalive 64;
}",
                ),
                since: "",
                source: "nginx.org: ngx_http_upstream_module; net/ipv4/inet_hashtables.c",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "proxy_bind $source;",
                text: "Several source addresses multiply the ports towards each backend. The addresses must \
                    be configured on the host. nginx sets IP_BIND_ADDRESS_NO_PORT where the kernel has it, \
                    so that the bind does not take a port away from all destinations.",
                example: Some(
                    r#"split_clients "$remote_addr$remote_port" $source {
    50%  10.0.0.2;
    *    10.0.0.3;
}
server {
    location / {
        proxy_bind $source;
        proxy_pass http://api;
    }
}"#,
                ),
                since: "variables from 1.3.12; IP_BIND_ADDRESS_NO_PORT in effect from 1.11.4 (announced in \
                    1.11.2, where it was not used)",
                source: "nginx CHANGES 1.3.12, 1.11.2, 1.11.4",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "proxy_bind $remote_addr transparent;",
                text: "Connects with the address of the client, so that ports are counted per client. The \
                    way back must lead through this host (policy routing), and workers need CAP_NET_RAW.",
                example: None,
                since: "1.11.0; CAP_NET_RAW is kept for workers from 1.13.8",
                source: "nginx CHANGES 1.11.0, 1.13.8",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "listen 443 ssl backlog=4096;",
                text: "The accept queue holds min(backlog, net.core.somaxconn) + 1. A reload calls listen() \
                    again only if this number was changed; after a change of somaxconn alone, restart or \
                    alter the number.",
                example: None,
                since: "default 511 on Linux (1.0.1)",
                source: "nginx CHANGES 1.0.1; src/core/ngx_connection.c",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "listen 443 ssl reuseport;",
                text: "One accept queue per worker process, filled by the kernel, instead of one that all \
                    share. A reload with fewer workers closes queues: connections that wait there are lost.",
                example: None,
                since: "1.9.1",
                source: "nginx CHANGES 1.9.1",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "worker_processes auto;",
                text: "A worker that blocks (disk, a slow module, one busy core) does not accept. As many \
                    workers as cores; thread pools (aio threads) for slow disks.",
                example: None,
                since: "auto from 1.3.8",
                source: "nginx CHANGES 1.3.8",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "worker_rlimit_nofile 65535;",
                text: "Raises the descriptor limit of the workers. A proxied request holds two descriptors \
                    (client and upstream), and worker_connections counts both.",
                example: Some(
                    r"worker_rlimit_nofile 65535;
events { worker_connections 30000; }",
                ),
                since: "0.2.0",
                source: "nginx CHANGES 0.2.0",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "listen 443 ssl so_keepalive=10m:30s:3;",
                text: "Probes idle client connections: idle time, interval, count.",
                example: None,
                since: "1.1.11",
                source: "nginx CHANGES 1.1.11",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "proxy_socket_keepalive on;",
                text: "Sets SO_KEEPALIVE on upstream connections; the intervals are those of \
                    net.ipv4.tcp_keepalive_*.",
                example: None,
                since: "1.15.6",
                source: "nginx CHANGES 1.15.6",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "proxy_connect_timeout 2s;",
                text: "Bounds the wait for a backend that does not answer the SYN (default 60s). Bound the \
                    retries too, else each request tries every backend.",
                example: Some(
                    r"proxy_connect_timeout 2s;
proxy_next_upstream_tries 2;
proxy_next_upstream_timeout 5s;",
                ),
                since: "proxy_next_upstream_tries from 1.7.5",
                source: "nginx.org: ngx_http_proxy_module; nginx CHANGES 1.7.5",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "proxy_ignore_client_abort off;",
                text: "With \"on\" nginx keeps the socket of a client that has gone (CLOSE_WAIT) until the \
                    backend has answered. Leave it off, and bound the wait with proxy_read_timeout.",
                example: None,
                since: "0.3.36",
                source: "nginx CHANGES 0.3.36; nginx.org: ngx_http_proxy_module",
            },
            Step {
                symptom: Symptom::SlowReader,
                setting: "send_timeout 30s;",
                text: "Time between two writes that succeed towards a client that reads slowly; after it \
                    nginx closes. With reset_timedout_connection on the unsent data is dropped with a reset \
                    instead of staying in an orphaned socket.",
                example: Some(
                    r"send_timeout 30s;
reset_timedout_connection on;",
                ),
                since: "",
                source: "nginx.org: ngx_http_core_module",
            },
        ],
        caveats: &[
            "keepalive counts per worker process: backends must bear workers x keepalive idle connections.",
            "The backend should keep idle connections longer than nginx does, so that nginx is the one to \
                close.",
        ],
    },
    Recipe {
        id: "haproxy",
        title: "HAProxy",
        matches: &[Match::Comm("haproxy"), Match::ExeName("haproxy")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "option http-keep-alive",
                text: "The default mode. Look for \"option http-server-close\" or \"option httpclose\" in \
                    defaults, backends and copied snippets: both close the server side after each response.",
                example: Some(
                    r"defaults
    mode http
    option http-keep-alive
    timeout http-keep-alive 10s",
                ),
                since: "",
                source: "HAProxy configuration manual: option http-keep-alive",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "http-reuse safe",
                text: "Lets requests of one client use idle server connections of another. \"safe\" sends \
                    the first request of a client connection over a new one; clients with one request per \
                    connection need \"aggressive\" or \"always\" to gain anything.",
                example: Some(
                    r"backend api
    http-reuse aggressive
    default-server pool-max-conn 100 pool-purge-delay 30s",
                ),
                since: "1.6; default never, from 1.9 on safe",
                source: "HAProxy changelog 1.6-dev4, 1.9-dev11",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pool-max-conn -1",
                text: "Idle connections kept per server; -1 (the default) is no limit, 0 keeps none.",
                example: None,
                since: "1.9",
                source: "HAProxy configuration manual: pool-max-conn",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pool-purge-delay 30s",
                text: "Each interval half of the idle connections that were not needed are closed, by \
                    HAProxy, which then holds their TIME_WAIT. Lengthen it for load that comes in waves.",
                example: None,
                since: "1.9; default 5s from 2.0",
                source: "HAProxy changelog 1.9-dev11, 2.0-dev6",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "tune.pool-low-fd-ratio 20",
                text: "Above this share of the descriptors no connection is kept idle any more (above \
                    tune.pool-high-fd-ratio, 25, idle ones are killed). A low global maxconn makes the limit \
                    small: raise maxconn first.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: http-reuse, tune.pool-low-fd-ratio",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "tune.idle-pool.shared on",
                text: "Idle connections are shared between threads (default). Off lowers reuse as the number \
                    of threads grows.",
                example: None,
                since: "2.2",
                source: "HAProxy changelog 2.2-dev12",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "source 10.0.0.2 (on server lines)",
                text: "Two server lines to the same backend with different source addresses double the \
                    ports. Without a port range HAProxy sets IP_BIND_ADDRESS_NO_PORT, so that the bind does \
                    not take a port away from other destinations.",
                example: Some(
                    r"backend api
    server a1 10.0.1.10:8080 source 10.0.0.2
    server a2 10.0.1.10:8080 source 10.0.0.3",
                ),
                since: "IP_BIND_ADDRESS_NO_PORT from 1.7, with Linux 4.2 and libc 2.23",
                source: "HAProxy configuration manual: source; changelog 1.7-dev5",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "source 10.0.0.2:10000-60000 (on server lines)",
                text: "HAProxy chooses the source port itself from this range, per server; the same range \
                    may serve several servers. The range must not overlap ip_local_port_range, or must be in \
                    ip_local_reserved_ports, since a bound port is lost to the connect() of every other \
                    program.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: source (server); net/ipv4/inet_hashtables.c",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "source 0.0.0.0 usesrc clientip",
                text: "Connects with the address of the client (transparent proxying), so that ports are \
                    counted per client. Needs policy routing of the way back.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: source",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "maxconn 20000 (in frontend and global)",
                text: "At maxconn HAProxy stops accepting and the kernel queue fills. Raise it first; the \
                    queue is a symptom here.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: maxconn",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "backlog 8192",
                text: "What HAProxy asks for in listen(); without it, the maxconn of the frontend. The \
                    kernel caps it at net.core.somaxconn.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: backlog",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "maxconn 50000 (in global)",
                text: "HAProxy computes ulimit-n from it; unset, it is computed from the descriptor limit, \
                    so that a low LimitNOFILE= silently lowers maxconn.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: maxconn, ulimit-n",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "option clitcpka / option srvtcpka",
                text: "Sets SO_KEEPALIVE on client and server connections; clitcpka-idle, clitcpka-intvl, \
                    clitcpka-cnt (and srvtcpka-*) set the times that otherwise come from \
                    net.ipv4.tcp_keepalive_*.",
                example: Some(
                    r"defaults
    option clitcpka
    clitcpka-idle 10m
    clitcpka-intvl 30s
    clitcpka-cnt 3",
                ),
                since: "",
                source: "HAProxy configuration manual: option clitcpka",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "tcp-ut 30s",
                text: "TCP_USER_TIMEOUT: gives up a connection whose data stays unacknowledged this long; \
                    keep-alive does not run while data is in flight.",
                example: None,
                since: "on bind lines from 1.6",
                source: "HAProxy changelog 1.6-dev1; configuration manual: tcp-ut",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "timeout connect 3s",
                text: "Bounds the wait for a server that does not answer the SYN; \"retries\" (default 3) \
                    multiplies it, \"option redispatch\" lets the retry go elsewhere.",
                example: Some(
                    r"defaults
    timeout connect 3s
    retries 2
    option redispatch",
                ),
                since: "",
                source: "HAProxy configuration manual: timeout connect, retries",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "timeout client-fin 10s / timeout server-fin 10s",
                text: "Once one side has closed, the other is kept until its time-out: with long \"timeout \
                    client\", \"timeout server\" or \"timeout tunnel\" this shows as CLOSE_WAIT and \
                    FIN_WAIT2. These two settings bound the half-closed time.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: timeout client-fin",
            },
            Step {
                symptom: Symptom::SlowReader,
                setting: "timeout client 30s",
                text: "Also ends a client that does not read: it runs while the client is expected to send \
                    or to take data.",
                example: None,
                since: "",
                source: "HAProxy configuration manual: timeout client",
            },
        ],
        caveats: &[
            "Idle server connections count against the descriptors of the process and the connection limits \
                of the servers.",
            "In mode tcp nothing is pooled: each client connection costs one server connection and one local \
                port.",
        ],
    },
    Recipe {
        id: "envoy",
        title: "Envoy (also as Istio sidecar)",
        matches: &[Match::Comm("envoy"), Match::ExeName("envoy"), Match::Comm("istio-proxy")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "common_http_protocol_options.max_requests_per_connection",
                text: "Upstream connections are kept by default. 1 turns keep-alive off, small values make \
                    short connections: look for it in cluster settings and in Istio \
                    (connectionPool.http.maxRequestsPerConnection).",
                example: None,
                since: "",
                source: "Envoy API: config.core.v3.HttpProtocolOptions",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "http2_protocol_options (in HttpProtocolOptions)",
                text: "Where the backend speaks HTTP/2, one connection carries many requests at once; \
                    HTTP/1.1 needs one connection per request in flight.",
                example: Some(
                    r#"typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: {} }"#,
                ),
                since: "",
                source: "Envoy API: extensions.upstreams.http.v3.HttpProtocolOptions",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "common_http_protocol_options.idle_timeout",
                text: "Default 1 hour. Keep it below the idle time-out of the backend, so that Envoy does \
                    not send into a connection that the backend is closing.",
                example: None,
                since: "",
                source: "Envoy FAQ: How do I configure timeouts?",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "circuit_breakers.thresholds.max_connections",
                text: "Connections to one cluster; 1024 per priority by default. Lower bounds the ports that \
                    a slow backend can eat, higher needs ports for them: pools are kept per worker thread.",
                example: None,
                since: "",
                source: "Envoy API: config.cluster.v3.CircuitBreakers",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "upstream_bind_config.source_address (per cluster)",
                text: "Clusters with different source addresses multiply the ports towards one backend. \
                    extra_source_addresses picks by address family of the target, so that alone it does not \
                    spread load; a local_address_selector can.",
                example: None,
                since: "extra_source_addresses from 1.24.0",
                source: "Envoy changelog 1.24.0; API: config.core.v3.BindConfig",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "tcp_backlog_size (in Listener)",
                text: "The backlog of listen(); the kernel caps it at net.core.somaxconn. With \
                    enable_reuse_port each worker thread has a queue of its own.",
                example: None,
                since: "",
                source: "Envoy API: config.listener.v3.Listener",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "upstream_connection_options.tcp_keepalive",
                text: "Sets SO_KEEPALIVE with keepalive_time, keepalive_interval and keepalive_probes on \
                    upstream connections. For clients, use socket_options or idle time-outs of the listener.",
                example: Some(
                    r"upstream_connection_options:
  tcp_keepalive: { keepalive_time: 300, keepalive_interval: 30, keepalive_probes: 3 }",
                ),
                since: "",
                source: "Envoy API: config.cluster.v3.UpstreamConnectionOptions",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "connect_timeout",
                text: "Bounds the wait for a host that does not answer the SYN, per cluster; bound \
                    num_retries and use a retry budget as well.",
                example: None,
                since: "",
                source: "Envoy API: config.cluster.v3.Cluster",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "LimitNOFILE= of the unit or container",
                text: "Envoy has no setting of its own: a downstream connection and its upstream one are two \
                    descriptors. Bound connections with the overload manager.",
                example: None,
                since: "",
                source: "Envoy docs: overload manager; systemd.exec(5)",
            },
        ],
        caveats: &[
            "Pools are kept per worker thread (--concurrency): many threads with little traffic each reuse \
                less.",
        ],
    },
    Recipe {
        id: "apache-httpd",
        title: "Apache httpd and mod_proxy",
        matches: &[
            Match::Comm("apache2"),
            Match::Comm("httpd"),
            Match::ExeName("apache2"),
            Match::ExeName("httpd"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "ProxyPass ... disablereuse=Off",
                text: "Backend connections are pooled by default, per child process. Look for \
                    disablereuse=On, and for SetEnv proxy-nokeepalive 1 or force-proxy-request-1.0 1: each \
                    of them closes after every response.",
                example: Some("ProxyPass \"/\" \"http://10.0.0.11:8080/\" max=50 ttl=55 connectiontimeout=2"),
                since: "2.1",
                source: "httpd manual: mod_proxy (ProxyPass); mod_proxy_http (env)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "enablereuse=On (mod_proxy_fcgi)",
                text: "FastCGI backends do not reuse connections unless this is set. Each kept connection \
                    occupies one PHP-FPM worker.",
                example: None,
                since: "",
                source: "httpd manual: mod_proxy (ProxyPass parameters)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "ttl=55",
                text: "Pooled connections that were idle this long are not used again. Keep it below the \
                    idle time-out of the backend.",
                example: None,
                since: "",
                source: "httpd manual: mod_proxy (ProxyPass parameters)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "KeepAlive On",
                text: "Client side, with KeepAliveTimeout and MaxKeepAliveRequests. With the prefork or \
                    worker MPM an idle client holds a worker; the event MPM does not have that cost.",
                example: None,
                since: "",
                source: "httpd manual: core",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "several BalancerMember lines",
                text: "Ports are counted per (source address, destination address, destination port): more \
                    backend addresses or ports multiply them. ProxySourceAddress sets a fixed source address \
                    per virtual host.",
                example: None,
                since: "",
                source: "httpd manual: mod_proxy_balancer, mod_proxy",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "MaxRequestWorkers 400",
                text: "When all workers are busy nobody accepts and the kernel queue fills. Find what the \
                    workers wait for (mod_status) before raising it.",
                example: None,
                since: "",
                source: "httpd manual: mpm_common",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "ListenBackLog 4096",
                text: "The backlog of listen(), default 511; the kernel caps it at net.core.somaxconn.",
                example: None,
                since: "",
                source: "httpd manual: mpm_common",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "keepalive=On (in ProxyPass)",
                text: "SO_KEEPALIVE on backend connections; the intervals are those of \
                    net.ipv4.tcp_keepalive_*. It is not HTTP keep-alive.",
                example: None,
                since: "",
                source: "httpd manual: mod_proxy (ProxyPass parameters)",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "connectiontimeout=2",
                text: "Bounds the wait for a backend that does not answer the SYN; by default it is the \
                    worker's timeout (ProxyTimeout).",
                example: None,
                since: "",
                source: "httpd manual: mod_proxy (ProxyPass parameters)",
            },
        ],
        caveats: &[
            "Pools are kept per child process and not coordinated: backends must bear children x max \
                connections. With prefork max is always 1.",
        ],
    },
    Recipe {
        id: "caddy",
        title: "Caddy reverse_proxy",
        matches: &[Match::Comm("caddy"), Match::ExeName("caddy")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "keepalive_idle_conns_per_host 32",
                text: "Idle connections kept per backend; raise it towards the number of concurrent requests \
                    per backend, else the surplus is closed after each burst. \"keepalive off\" switches \
                    reuse off.",
                example: Some(
                    r"reverse_proxy 10.0.0.11:8080 {
    transport http {
        keepalive 2m
        keepalive_idle_conns_per_host 256
    }
}",
                ),
                since: "",
                source: "caddy: modules/caddyhttp/reverseproxy/httptransport.go",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "keepalive 2m",
                text: "How long an idle connection is kept (default 2m); keep it below the idle time-out of \
                    the backend.",
                example: None,
                since: "",
                source: "caddy: modules/caddyhttp/reverseproxy/httptransport.go",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "max_conns_per_host",
                text: "Bounds the connections to one backend (default: no limit), so that a slow backend \
                    cannot eat all ports; requests wait instead.",
                example: None,
                since: "",
                source: "caddy: modules/caddyhttp/reverseproxy/httptransport.go",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "dial_timeout 3s",
                text: "Bounds the wait for a backend that does not answer the SYN.",
                example: None,
                since: "default 3s in current v2",
                source: "caddy: modules/caddyhttp/reverseproxy/httptransport.go",
            },
        ],
        caveats: &[
            "\"transport http\" wraps the transport of Go net/http: the go recipe explains the limits.",
        ],
    },
    Recipe {
        id: "traefik",
        title: "Traefik",
        matches: &[Match::Comm("traefik"), Match::ExeName("traefik")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "serversTransport.maxIdleConnsPerHost",
                text: "Idle connections kept per backend (default 200). Raise it towards the number of \
                    concurrent requests per backend.",
                example: Some(
                    r#"http:
  serversTransports:
    api:
      maxIdleConnsPerHost: 1000
      forwardingTimeouts: { dialTimeout: "3s", idleConnTimeout: "55s" }"#,
                ),
                since: "",
                source: "Traefik docs: ServersTransport",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "forwardingTimeouts.idleConnTimeout",
                text: "How long an idle backend connection is kept; keep it below the idle time-out of the \
                    backend.",
                example: None,
                since: "",
                source: "Traefik docs: ServersTransport",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "forwardingTimeouts.dialTimeout",
                text: "Bounds the wait for a backend that does not answer the SYN.",
                example: None,
                since: "",
                source: "Traefik docs: ServersTransport",
            },
        ],
        caveats: &["Traefik is built on Go net/http: the go recipe explains the limits."],
    },
];
