//! Recipes for application and database servers.

use super::{Match, Recipe, Step, Symptom};

/// The recipes of this file, specific before generic.
pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        id: "gunicorn",
        title: "gunicorn",
        matches: &[
            Match::Comm("gunicorn"),
            Match::CommPrefix("gunicorn"),
            Match::CmdlineContains("gunicorn"),
        ],
        steps: &[
            Step {
                symptom: Symptom::SlowAccept,
                setting: "--workers / --threads",
                text: "When all workers are busy nobody accepts. A sync worker serves one request at a time: \
                    add workers, or use gthread or an asynchronous worker for requests that wait.",
                example: Some(
                    "gunicorn app:app --workers 9 --worker-class gthread --threads 8 --backlog 2048",
                ),
                since: "",
                source: "gunicorn settings: workers, threads, worker_class",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "--backlog 2048",
                text: "The backlog of listen() (default 2048); the kernel caps it at net.core.somaxconn, \
                    which was 128 up to Linux 5.3.",
                example: None,
                since: "",
                source: "gunicorn settings: backlog",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "--reuse-port",
                text: "SO_REUSEPORT on the listening socket, for several independent gunicorn masters on one \
                    port.",
                example: None,
                since: "19.8",
                source: "gunicorn settings: reuse_port",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "--worker-class gthread",
                text: "The sync worker has no keep-alive: it closes after each response, whatever the proxy \
                    in front asks for. gthread, gevent and eventlet keep connections.",
                example: None,
                since: "",
                source: "gunicorn settings: keepalive",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "--keep-alive 75",
                text: "Seconds an idle connection is kept (default 2). Behind a proxy or balancer set it \
                    above the idle time-out of that, else gunicorn closes connections that are about to be \
                    used.",
                example: None,
                since: "",
                source: "gunicorn settings: keepalive",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "--timeout and worker class",
                text: "A worker that hangs in a request holds the connections whose clients have gone. Bound \
                    outgoing calls (requests has no default time-out); --timeout kills a sync worker that \
                    hangs.",
                example: None,
                since: "",
                source: "gunicorn settings: timeout",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "--worker-connections 1000",
                text: "Clients per gthread or gevent worker. Descriptors come from LimitNOFILE= of the unit.",
                example: None,
                since: "",
                source: "gunicorn settings: worker_connections",
            },
        ],
        caveats: &["Outgoing connections of the application follow the python recipe."],
    },
    Recipe {
        id: "uvicorn",
        title: "uvicorn and other ASGI servers",
        matches: &[
            Match::Comm("uvicorn"),
            Match::CmdlineContains("uvicorn"),
            Match::Comm("hypercorn"),
            Match::CmdlineContains("hypercorn"),
            Match::Comm("daphne"),
        ],
        steps: &[
            Step {
                symptom: Symptom::SlowAccept,
                setting: "--backlog 2048",
                text: "The backlog of listen() (default 2048); the kernel caps it at net.core.somaxconn. A \
                    queue that fills means that the event loop is blocked: move blocking calls to threads.",
                example: None,
                since: "",
                source: "uvicorn/config.py",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "--workers",
                text: "Processes that accept; one event loop uses one core.",
                example: None,
                since: "",
                source: "uvicorn docs: settings",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "--timeout-keep-alive 75",
                text: "Seconds an idle connection is kept (default 5). Behind a balancer set it above the \
                    idle time-out of that.",
                example: None,
                since: "",
                source: "uvicorn/config.py",
            },
        ],
        caveats: &["Outgoing connections of the application follow the python recipe."],
    },
    Recipe {
        id: "uwsgi",
        title: "uWSGI",
        matches: &[
            Match::Comm("uwsgi"),
            Match::CommPrefix("uwsgi"),
            Match::ExeName("uwsgi"),
            Match::ExeName("uwsgi-core"),
        ],
        steps: &[
            Step {
                symptom: Symptom::SlowAccept,
                setting: "listen = 1024",
                text: "The backlog of listen(), default 100. uWSGI refuses to start if it exceeds \
                    net.core.somaxconn, so raise that first. Its log line \"listen queue of socket ... \
                    full\" is this fault.",
                example: Some(
                    r"[uwsgi]
listen = 1024
processes = 16
threads = 4",
                ),
                since: "",
                source: "uWSGI docs: options (listen); core/socket.c",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "processes = 16",
                text: "When all processes are busy nobody accepts.",
                example: None,
                since: "",
                source: "uWSGI docs: options",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "so-keepalive = true",
                text: "SO_KEEPALIVE on client connections.",
                example: None,
                since: "",
                source: "uWSGI docs: options",
            },
        ],
        caveats: &[
            "The HTTP connection between proxy and uWSGI is short unless the protocol and the proxy keep it: \
                use a Unix socket on one host, which needs no port.",
        ],
    },
    Recipe {
        id: "php-fpm",
        title: "PHP-FPM and PHP scripts",
        matches: &[Match::CommPrefix("php-fpm"), Match::CommPrefix("php"), Match::CmdlineContains("php-fpm")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "PDO::ATTR_PERSISTENT",
                text: "A persistent connection outlives the request in its PHP-FPM worker. The database then \
                    sees up to pm.max_children connections per pool and user: size both together.",
                example: Some("$db = new PDO($dsn, $user, $password, [PDO::ATTR_PERSISTENT => true]);"),
                since: "",
                source: "PHP manual: PDO, Connections",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "new mysqli(\"p:host\", ...)",
                text: "The prefix \"p:\" makes a mysqli connection persistent; on reuse mysqli resets its \
                    state (change_user).",
                example: None,
                since: "",
                source: "PHP manual: mysqli, persistent connections",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "$redis->pconnect()",
                text: "phpredis keeps the connection in the worker instead of opening one per request.",
                example: Some("$redis->pconnect('10.0.0.20', 6379, 1.0);"),
                since: "",
                source: "phpredis README: pconnect",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "curl_share_init_persistent()",
                text: "A curl handle keeps connections only within one request. A persistent share handle \
                    lets later requests in the same worker use them.",
                example: Some(
                    r"$share = curl_share_init_persistent(
    [CURL_LOCK_DATA_CONNECT, CURL_LOCK_DATA_SSL_SESSION]);
$ch = curl_init($url);
curl_setopt($ch, CURLOPT_SHARE, $share);",
                ),
                since: "PHP 8.5",
                source: "PHP manual: curl_share_init_persistent",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "a local proxy with keep-alive",
                text: "Before PHP 8.5, send HTTP calls to a local nginx, HAProxy or Envoy over a Unix socket \
                    (CURLOPT_UNIX_SOCKET_PATH) and let it keep the connections.",
                example: None,
                since: "",
                source: "PHP manual: curl_setopt",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "pm.max_children",
                text: "When all children are busy the queue fills (\"listen queue\" in the status page). \
                    First look at what they wait for; memory bounds the number.",
                example: None,
                since: "",
                source: "php-fpm pool configuration",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "listen.backlog = 1024",
                text: "The backlog of listen(); the kernel caps it at net.core.somaxconn. The shipped pool \
                    file says: 511, and -1 (the largest) on Linux.",
                example: None,
                since: "",
                source: "php-fpm 8.2 www.conf",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "rlimit_files = 65535",
                text: "Descriptor limit of the pool's workers.",
                example: None,
                since: "",
                source: "php-fpm pool configuration",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "CURLOPT_CONNECTTIMEOUT_MS / PDO::ATTR_TIMEOUT",
                text: "Bound connects: a worker that waits for a dead backend accepts nobody.",
                example: None,
                since: "",
                source: "PHP manual: curl_setopt, PDO",
            },
        ],
        caveats: &[
            "Persistent connections are per worker process: children x pools x hosts must fit the server's \
                connection limit.",
            "Put pm.max_requests high enough: each recycled worker drops its persistent connections.",
        ],
    },
    Recipe {
        id: "mysql-server",
        title: "MySQL and MariaDB server",
        matches: &[
            Match::Comm("mysqld"),
            Match::Comm("mariadbd"),
            Match::ExeName("mysqld"),
            Match::ExeName("mariadbd"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pools in the clients",
                text: "Many short connections from an application show here as TIME_WAIT or as thread \
                    creation (Threads_created). The remedy is a pool in the client, or a proxy such as \
                    ProxySQL.",
                example: None,
                since: "",
                source: "MySQL manual: Connection Handling",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "wait_timeout",
                text: "Closes sessions that were idle this long (default 28800 s). The lifetime of pooled \
                    connections must be shorter, else clients meet closed ones.",
                example: None,
                since: "",
                source: "MariaDB 10.11 mariadbd --help: wait-timeout",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "back_log",
                text: "The backlog of listen() (computed from max_connections if unset: 80 with the default \
                    151 in MariaDB 10.11); the kernel caps it at net.core.somaxconn.",
                example: None,
                since: "",
                source: "MariaDB 10.11 mariadbd --help: back-log",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "open_files_limit, max_connections",
                text: "Each connection is a descriptor; tables take more. The limit comes from LimitNOFILE= \
                    of the unit.",
                example: None,
                since: "",
                source: "MySQL manual: open_files_limit",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "tcp_keepalive_time (MariaDB)",
                text: "MariaDB sets SO_KEEPALIVE; tcp_keepalive_time, _interval and _probes override the \
                    system values (0 = system).",
                example: None,
                since: "",
                source: "MariaDB 10.11 mariadbd --help: tcp-keepalive-*",
            },
            Step {
                symptom: Symptom::SlowReader,
                setting: "net_write_timeout",
                text: "Ends a session whose client does not read its result.",
                example: None,
                since: "",
                source: "MySQL manual: net_write_timeout",
            },
        ],
        caveats: &["max_connections must cover the sum of all pools: processes x pool size."],
    },
    Recipe {
        id: "redis-server",
        title: "Redis and Valkey server",
        matches: &[
            Match::CommPrefix("redis-server"),
            Match::CommPrefix("valkey-server"),
            Match::ExeName("redis-server"),
            Match::ExeName("redis-check-rdb"),
            Match::ExeName("valkey-server"),
        ],
        steps: &[
            Step {
                symptom: Symptom::SlowAccept,
                setting: "tcp-backlog 511",
                text: "The backlog of listen() (default 511); the kernel caps it at net.core.somaxconn, and \
                    Redis warns at start if that is lower. A queue that fills means a slow command blocks \
                    the one thread: see SLOWLOG.",
                example: None,
                since: "",
                source: "redis.conf 7.0",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pools in the clients",
                text: "Short connections are made by clients: see the redis-clients recipe. INFO stats shows \
                    total_connections_received.",
                example: None,
                since: "",
                source: "redis.io: client handling",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "tcp-keepalive 300",
                text: "Seconds of idleness before probes; finds clients that have vanished.",
                example: None,
                since: "default 300 from 3.2.1",
                source: "redis.conf 7.0",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "timeout 0",
                text: "Seconds after which an idle client is closed; 0 (default) never. A value makes \
                    leaking clients visible as reconnects; pooled clients must have a shorter idle limit.",
                example: None,
                since: "",
                source: "redis.conf 7.0",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "maxclients 10000",
                text: "Redis raises its descriptor limit to maxclients + 32 or lowers maxclients to what the \
                    limit allows (it says so at start).",
                example: None,
                since: "",
                source: "redis.conf 7.0",
            },
            Step {
                symptom: Symptom::SlowReader,
                setting: "client-output-buffer-limit",
                text: "Closes clients (subscribers, replicas) that do not read what was sent.",
                example: None,
                since: "",
                source: "redis.conf 7.0",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "memcached",
        title: "memcached server",
        matches: &[Match::Comm("memcached"), Match::ExeName("memcached")],
        steps: &[
            Step {
                symptom: Symptom::SlowAccept,
                setting: "-b 1024 (--listen-backlog)",
                text: "The backlog of listen() (default 1024); the kernel caps it at net.core.somaxconn.",
                example: None,
                since: "",
                source: "memcached(1) 1.6.18",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "-c 1024 (--conn-limit)",
                text: "Connections at once (default 1024); above it memcached stops accepting and the queue \
                    fills.",
                example: None,
                since: "",
                source: "memcached(1) 1.6.18",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "persistent connections in the clients",
                text: "Keep one client per process; a client per request is a connection per request.",
                example: None,
                since: "",
                source: "memcached wiki: configuring clients",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "pgbouncer",
        title: "PgBouncer",
        matches: &[Match::Comm("pgbouncer"), Match::ExeName("pgbouncer")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pool_mode = transaction",
                text: "A server connection is shared between client transactions; \"session\" (default) \
                    holds it as long as the client does. Session state (SET, advisory locks, LISTEN) does \
                    not survive in transaction mode.",
                example: Some(
                    r"[pgbouncer]
pool_mode = transaction
default_pool_size = 20
max_client_conn = 2000",
                ),
                since: "",
                source: "pgbouncer.ini 1.18",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "server_idle_timeout = 600",
                text: "Idle server connections are closed after this many seconds; server_lifetime (3600) \
                    replaces them in any case. Low values make churn.",
                example: None,
                since: "",
                source: "pgbouncer.ini 1.18",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "listen_backlog = 128",
                text: "The backlog of listen() (default 128). One PgBouncer uses one core: so_reuseport = 1 \
                    runs several on one port.",
                example: None,
                since: "",
                source: "pgbouncer(5) 1.18",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "max_client_conn = 100",
                text: "Client connections at once (default 100); more are refused.",
                example: None,
                since: "",
                source: "pgbouncer.ini 1.18",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "server connections over a Unix socket",
                text: "On the host of the database use host=/var/run/postgresql: no ports are needed.",
                example: None,
                since: "",
                source: "pgbouncer(5)",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "tcp_keepalive = 1, tcp_keepidle, tcp_user_timeout",
                text: "Keep-alive is on; the intervals are those of the system unless set here. \
                    tcp_user_timeout bounds unacknowledged data.",
                example: None,
                since: "",
                source: "pgbouncer(5) 1.18",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "max_client_conn + pools",
                text: "Descriptors needed: max_client_conn plus pool sizes x databases x users. Set \
                    LimitNOFILE= to match.",
                example: None,
                since: "",
                source: "pgbouncer(5)",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "postgresql-server",
        title: "PostgreSQL server",
        matches: &[Match::Comm("postgres"), Match::ExeName("postgres"), Match::CommPrefix("postgres:")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "a pool in the client, or PgBouncer",
                text: "Each connection is a process here: short connections cost far more than their \
                    TIME_WAIT.",
                example: None,
                since: "",
                source: "PostgreSQL docs: connection settings",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "tcp_keepalives_idle = 300",
                text: "Finds clients that have vanished; with tcp_keepalives_interval and \
                    tcp_keepalives_count. 0 is the system's value.",
                example: Some(
                    r"tcp_keepalives_idle = 300
tcp_keepalives_interval = 30
tcp_keepalives_count = 3",
                ),
                since: "",
                source: "postgresql.conf 15",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "tcp_user_timeout = 30000",
                text: "Milliseconds that sent data may stay unacknowledged.",
                example: None,
                since: "",
                source: "postgresql.conf 15",
            },
            Step {
                symptom: Symptom::SlowReader,
                setting: "idle_in_transaction_session_timeout",
                text: "Ends sessions whose client stopped in the middle; with tcp_user_timeout also those \
                    that do not read.",
                example: None,
                since: "",
                source: "PostgreSQL docs: client connection defaults",
            },
        ],
        caveats: &["max_connections (100 by default) must cover the sum of all pools."],
    },
    Recipe {
        id: "tomcat",
        title: "Tomcat and Spring Boot (embedded Tomcat)",
        matches: &[
            Match::CmdlineContains("org.apache.catalina"),
            Match::CmdlineContains("catalina.base"),
            Match::CmdlineContains("spring-boot"),
            Match::CmdlineContains("tomcat"),
        ],
        steps: &[
            Step {
                symptom: Symptom::SlowAccept,
                setting: "acceptCount=\"1024\"",
                text: "The backlog of listen(), default 100; the kernel caps it at net.core.somaxconn. \
                    Spring Boot: server.tomcat.accept-count.",
                example: Some(
                    r#"<Connector port="8080" acceptCount="1024" maxConnections="8192"
           maxThreads="200" keepAliveTimeout="75000"/>"#,
                ),
                since: "",
                source: "Tomcat docs: HTTP Connector",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "maxThreads=\"200\"",
                text: "Requests handled at once. Past maxConnections (8192) Tomcat stops accepting and the \
                    queue fills: look for threads that wait for a pool or a backend before raising it.",
                example: None,
                since: "",
                source: "Tomcat docs: HTTP Connector",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "maxKeepAliveRequests / keepAliveTimeout",
                text: "Tomcat closes a connection after 100 requests by default (maxKeepAliveRequests; -1 is \
                    no limit) and after keepAliveTimeout of idleness, which defaults to connectionTimeout. \
                    Keep it above the idle time-out of the proxy in front.",
                example: None,
                since: "",
                source: "Tomcat docs: HTTP Connector",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "asynchronous requests and streams",
                text: "A request that was started asynchronously and never completed keeps its socket in \
                    CLOSE_WAIT after the client left: set asyncTimeout and complete() in all paths.",
                example: None,
                since: "",
                source: "Tomcat docs: HTTP Connector (asyncTimeout)",
            },
        ],
        caveats: &["Outgoing connections of the application follow the java recipes."],
    },
    Recipe {
        id: "server-closes-first",
        title: "A server that closes first: what it trades",
        matches: &[],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "a shorter idle time-out on the server",
                text: "The side that closes first keeps TIME_WAIT. Where clients run short of ports and \
                    cannot be changed, a server that ends idle connections first takes TIME_WAIT over; there \
                    it costs memory only (256 bytes each on 6.18).",
                example: None,
                since: "",
                source: "RFC 9293 section 3.6; include/net/inet_timewait_sock.h",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "\"Connection: close\" in the last response",
                text: "A server that announces the end lets the client stop using the connection: no request \
                    is lost to the race.",
                example: None,
                since: "",
                source: "RFC 9112 section 9.6",
            },
        ],
        caveats: &[
            "A server that closes an idle connection just as the client sends makes a failed request: \
                clients must retry idempotent requests, and proxies must have the shorter idle time-out.",
            "It does not reduce the number of connections, and it does not help ports held by ESTABLISHED \
                connections.",
            "SO_LINGER 0 is no substitute: it resets, drops unsent data and skips the protection of \
                TIME_WAIT.",
        ],
    },
];
