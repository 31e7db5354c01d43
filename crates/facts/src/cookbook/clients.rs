//! Recipes for languages, client libraries and scripts.

use super::{Match, Recipe, Step, Symptom};

/// The recipes of this file, specific before generic.
pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        id: "java-hikari",
        title: "HikariCP (Java database pool)",
        matches: &[Match::CmdlineContains("hikari")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one HikariDataSource per database",
                text: "A pool that is built per request or per tenant is no pool. maximumPoolSize (default \
                    10) bounds it; leave minimumIdle unset so that the size is fixed and nothing is opened \
                    and closed with each wave.",
                example: Some(
                    r"HikariConfig config = new HikariConfig();
config.setMaximumPoolSize(20);
config.setMaxLifetime(25 * 60_000);
config.setKeepaliveTime(2 * 60_000);
config.setConnectionTimeout(3_000);",
                ),
                since: "",
                source: "HikariCP README (4.0.1)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "maxLifetime=1800000",
                text: "Default 30 minutes. Keep it some seconds below every limit on the way: wait_timeout \
                    of MySQL, idle time-outs of firewalls and balancers. Far too small makes churn.",
                example: None,
                since: "",
                source: "HikariCP README (4.0.1)",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "try (Connection c = dataSource.getConnection())",
                text: "close() returns the connection to the pool; one that is never closed is lost to the \
                    pool, and after the server ends it the socket stays in CLOSE_WAIT. \
                    leakDetectionThreshold logs the stack that took it.",
                example: Some(
                    r"try (Connection connection = dataSource.getConnection();
     PreparedStatement statement = connection.prepareStatement(sql)) {
    statement.executeUpdate();
}",
                ),
                since: "",
                source: "HikariCP README (4.0.1)",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "keepaliveTime=120000",
                text: "Pings idle pooled connections (0 is off, the default of 4.0.1). Also set \
                    socketTimeout and tcpKeepAlive of the JDBC driver: a pool cannot end a query that hangs \
                    on a dead peer.",
                example: None,
                since: "",
                source: "HikariCP README (4.0.1)",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "connectionTimeout=30000",
                text: "The wait for a free connection (default 30 s), not for TCP: set connectTimeout of the \
                    JDBC driver as well.",
                example: None,
                since: "",
                source: "HikariCP README (4.0.1)",
            },
        ],
        caveats: &[
            "Instances x maximumPoolSize must stay below the connection limit of the database.",
            "In a fat jar the pool does not show on the command line: a java process without this match may \
                still use it (it is the default of Spring Boot).",
        ],
    },
    Recipe {
        id: "java-jedis",
        title: "Jedis (Java Redis client)",
        matches: &[Match::CmdlineContains("jedis")],
        steps: &[
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "try (Jedis jedis = pool.getResource())",
                text: "Without close() on every path, errors included, the connection never returns to the \
                    pool. When Redis ends it the socket stays in CLOSE_WAIT until the process runs out of \
                    memory or descriptors.",
                example: Some(
                    r#"try (Jedis jedis = jedisPool.getResource()) {
    jedis.set("key", "value");
} // close() returns it to the pool, also after an exception"#,
                ),
                since: "",
                source: "Jedis README; java.lang.AutoCloseable",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one JedisPool per process",
                text: "maxTotal and maxIdle default to 8 (commons-pool2). If maxIdle is below the usual \
                    number in use, the surplus is closed and opened again all the time: set both alike.",
                example: Some(
                    r"JedisPoolConfig config = new JedisPoolConfig();
config.setMaxTotal(64);
config.setMaxIdle(64);
config.setTestWhileIdle(true);",
                ),
                since: "",
                source: "commons-pool2: GenericObjectPoolConfig",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "timeouts of the JedisPool constructor",
                text: "connectionTimeout and soTimeout in milliseconds; maxWait bounds the wait for a free \
                    connection.",
                example: None,
                since: "",
                source: "Jedis: JedisPool; commons-pool2",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "java-lettuce",
        title: "Lettuce (Java Redis client)",
        matches: &[Match::CmdlineContains("lettuce")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one RedisClient and one connection",
                text: "A Lettuce connection is thread-safe and carries the commands of all threads: share \
                    it. Do not call connect() per request; a pool is needed only for blocking commands and \
                    transactions.",
                example: None,
                since: "",
                source: "Lettuce reference: connecting, connection pooling",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "connection.close(), client.shutdown()",
                text: "Each RedisClient has threads and sockets of its own; one that is replaced without \
                    shutdown() leaks them.",
                example: None,
                since: "",
                source: "Lettuce reference",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "SocketOptions.keepAlive",
                text: "Keep-alive and TCP_USER_TIMEOUT find a dead server; without them a command may wait \
                    for the retransmission time-out of the kernel.",
                example: None,
                since: "",
                source: "Lettuce reference: client options",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "SocketOptions.connectTimeout",
                text: "Bounds the TCP connect; ClientOptions.timeoutOptions bounds commands.",
                example: None,
                since: "",
                source: "Lettuce reference: client options",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "java-okhttp",
        title: "OkHttp",
        matches: &[Match::CmdlineContains("okhttp")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one OkHttpClient for all",
                text: "Each client has a pool of its own; derive variants with client.newBuilder(), which \
                    share it. The default pool keeps 5 idle connections for 5 minutes, all hosts together.",
                example: Some(
                    r"OkHttpClient client = new OkHttpClient.Builder()
    .connectionPool(new ConnectionPool(64, 5, TimeUnit.MINUTES))
    .connectTimeout(Duration.ofSeconds(2))
    .build();",
                ),
                since: "",
                source: "OkHttp docs: OkHttpClient, ConnectionPool",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "try (Response response = call.execute())",
                text: "A response whose body is not closed keeps its connection; OkHttp logs \"A connection \
                    to ... was leaked\".",
                example: None,
                since: "",
                source: "OkHttp docs: ResponseBody",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "connectTimeout, callTimeout",
                text: "connectTimeout bounds one address, callTimeout the whole call with its retries.",
                example: None,
                since: "",
                source: "OkHttp docs: OkHttpClient.Builder",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "java-apache-httpclient",
        title: "Apache HttpClient (Java)",
        matches: &[
            Match::CmdlineContains("httpclient5"),
            Match::CmdlineContains("httpclient-4"),
            Match::CmdlineContains("httpcore"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "setMaxConnPerRoute(100)",
                text: "The pooling manager allows 2 connections per route and 20 in all in 4.x, 5 and 25 in \
                    5.x; more requests wait. Raise both, and build one client per process.",
                example: Some(
                    r"var connections = PoolingHttpClientConnectionManagerBuilder.create()
    .setMaxConnPerRoute(100)
    .setMaxConnTotal(400)
    .build();
var client = HttpClients.custom()
    .setConnectionManager(connections)
    .evictIdleConnections(TimeValue.ofSeconds(30))
    .build();",
                ),
                since: "defaults 2 and 20 in 4.x, 5 and 25 in 5.x",
                source: "Apache HttpClient: PoolingHttpClientConnectionManager",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "evictIdleConnections(30 s)",
                text: "A blocking pool does not watch idle connections: when the server closes them they sit \
                    in CLOSE_WAIT (Recv-Q 1) until they are taken out. Evict them before the server's idle \
                    time-out, or send \"Keep-Alive: timeout\" from the server.",
                example: None,
                since: "",
                source: "Apache HttpClient: HttpClientBuilder.evictIdleConnections",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "close the response",
                text: "Use the response handler form of execute(), or try-with-resources and \
                    EntityUtils.consume(): a response that is not consumed holds its connection.",
                example: None,
                since: "",
                source: "Apache HttpClient tutorial: ensuring release of resources",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "setConnectTimeout, setConnectionRequestTimeout",
                text: "The first bounds TCP, the second the wait for a connection of the pool.",
                example: None,
                since: "",
                source: "Apache HttpClient: ConnectionConfig, RequestConfig",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "java",
        title: "Java: java.net.http, HttpURLConnection, sockets",
        matches: &[Match::Comm("java"), Match::ExeName("java"), Match::Comm("jsvc"), Match::ExeName("jsvc")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one java.net.http.HttpClient",
                text: "Each HttpClient has a pool (and a selector thread) of its own; create one and share \
                    it. HTTP/2 is used where the server offers it over TLS.",
                example: Some(
                    r"static final HttpClient CLIENT = HttpClient.newBuilder()
    .connectTimeout(Duration.ofSeconds(2))
    .build();",
                ),
                since: "Java 11",
                source: "JDK API: java.net.http.HttpClient",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "-Djdk.httpclient.keepalive.timeout=55",
                text: "Seconds an idle pooled connection is kept. Below the idle time-out of the server, \
                    above the usual pause between requests.",
                example: None,
                since: "default 1200, from JDK 20 on 30",
                source: "OpenJDK CSR JDK-8297558; java.net.http module-info",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "-Djdk.httpclient.connectionPoolSize=0",
                text: "Idle connections kept in the pool; 0 (default) is no limit. A small number closes the \
                    surplus after each burst.",
                example: None,
                since: "",
                source: "java.net.http module-info",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "-Dhttp.maxConnections=50",
                text: "HttpURLConnection keeps 5 idle connections per destination by default. Read each body \
                    to its end and close the stream; disconnect() throws the connection away.",
                example: None,
                since: "http.keepAlive.time.server from JDK 19, also backported",
                source: "JDK: networking properties; JDK-8281828",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "RestTemplate / WebClient / Feign",
                text: "Spring's clients are as good as the library below: give RestTemplate a pooling \
                    request factory and inject one client instead of building one per call.",
                example: None,
                since: "",
                source: "Spring Framework reference: REST clients",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "try-with-resources",
                text: "Sockets in CLOSE_WAIT belong to objects that nobody closed: pooled connections after \
                    an exception, unread response bodies (BodyHandlers.ofInputStream), accepted sockets of a \
                    thread that died. A heap dump with open SocketChannelImpl objects shows who holds them.",
                example: Some(
                    r"try (var body = response.body()) {
    body.transferTo(OutputStream.nullOutputStream());
}",
                ),
                since: "",
                source: "JDK API: HttpResponse.BodyHandlers, AutoCloseable",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "client.close()",
                text: "A java.net.http.HttpClient that is no longer needed keeps its sockets until it is \
                    collected; from Java 21 it can be closed.",
                example: None,
                since: "Java 21",
                source: "JDK API: java.net.http.HttpClient",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "new ServerSocket(port, 1024)",
                text: "The backlog of listen() is 50 if not given; the kernel caps it at net.core.somaxconn. \
                    Netty: ChannelOption.SO_BACKLOG; Jetty: acceptQueueSize.",
                example: None,
                since: "",
                source: "JDK API: ServerSocket",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "LimitNOFILE= (hard limit)",
                text: "HotSpot raises its soft limit to the hard limit at start (MaxFDLimit), so it is the \
                    hard limit that counts.",
                example: None,
                since: "",
                source: "HotSpot: MaxFDLimit",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "setKeepAlive(true) and TCP_KEEPIDLE",
                text: "SO_KEEPALIVE is off by default; the intervals can be set per socket.",
                example: Some(
                    r"socket.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
socket.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, 300);",
                ),
                since: "ExtendedSocketOptions.TCP_KEEPIDLE from JDK 11",
                source: "JDK API: jdk.net.ExtendedSocketOptions",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "connectTimeout(Duration)",
                text: "Without it a connect waits as long as the kernel retries the SYN (about 2 minutes \
                    with tcp_syn_retries 6).",
                example: None,
                since: "",
                source: "JDK API: HttpClient.Builder",
            },
            Step {
                symptom: Symptom::ReuseAddress,
                setting: "setReuseAddress(true) before bind()",
                text: "Lets a restarted server bind while old connections are in TIME_WAIT.",
                example: None,
                since: "",
                source: "JDK API: ServerSocket.setReuseAddress",
            },
        ],
        caveats: &[
            "Which library makes the connections does not always show on the command line: fat jars hide \
                HikariCP, OkHttp, Jedis and others. The peer's port often tells.",
        ],
    },
    Recipe {
        id: "scrapy",
        title: "Scrapy and other crawlers in Python",
        matches: &[Match::Comm("scrapy"), Match::CmdlineContains("scrapy")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "CONCURRENT_REQUESTS_PER_DOMAIN = 8",
                text: "The HTTP/1.1 handler keeps a persistent pool with this many connections per host \
                    (default 8). Many sites answer with \"Connection: close\"; then the crawler cannot \
                    reuse, and the rate must be bounded.",
                example: Some(
                    r"CONCURRENT_REQUESTS = 64
CONCURRENT_REQUESTS_PER_DOMAIN = 8
DOWNLOAD_DELAY = 0.1
AUTOTHROTTLE_ENABLED = True",
                ),
                since: "",
                source: "scrapy/core/downloader/handlers/http11.py; default_settings.py",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one spider process for many sites",
                text: "Ports are counted per (source address, destination address, destination port): many \
                    sites in one crawl do not compete, many requests to one site do. A forward proxy makes \
                    all of them one destination.",
                example: None,
                since: "",
                source: "net/ipv4/inet_hashtables.c: __inet_hash_connect",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "DOWNLOAD_TIMEOUT = 30",
                text: "Default 180 s: dead sites hold connections in SYN_SENT and slots of the downloader.",
                example: None,
                since: "",
                source: "scrapy/settings/default_settings.py",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "CONCURRENT_REQUESTS",
                text: "Each request in flight and each pooled connection is a descriptor; the soft limit is \
                    often 1024.",
                example: None,
                since: "",
                source: "scrapy/settings/default_settings.py",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "python",
        title: "Python: requests, urllib3, httpx, aiohttp, databases",
        matches: &[
            Match::CommPrefix("python"),
            Match::CommPrefix("pypy"),
            Match::CommPrefix("gunicorn"),
            Match::CommPrefix("uvicorn"),
            Match::CommPrefix("hypercorn"),
            Match::CommPrefix("daphne"),
            Match::CommPrefix("celery"),
            Match::CommPrefix("uwsgi"),
            Match::CommPrefix("scrapy"),
            Match::CommPrefix("ipython"),
            Match::CommPrefix("airflow"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "requests.Session()",
                text: "requests.get() opens and closes a connection per call. A Session keeps 10 pools of 10 \
                    connections; above pool_maxsize the surplus is closed after use (\"Connection pool is \
                    full, discarding connection\").",
                example: Some(
                    r#"session = requests.Session()
adapter = HTTPAdapter(pool_connections=20, pool_maxsize=100, pool_block=True)
session.mount("https://", adapter)
session.mount("http://", adapter)"#,
                ),
                since: "",
                source: "requests/adapters.py (2.34)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "urllib3.PoolManager(num_pools=10, maxsize=64, block=True)",
                text: "maxsize is 1 by default: with threads all but one connection are closed after use. \
                    block=True makes threads wait instead.",
                example: None,
                since: "",
                source: "urllib3: poolmanager.py, connectionpool.py (2.8)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "httpx.Client(limits=httpx.Limits(...))",
                text: "httpx.get() makes a client per call. A Client allows 100 connections, keeps 20 idle, \
                    for 5 seconds: raise keepalive_expiry to just below the server's idle time-out.",
                example: Some(
                    r"client = httpx.Client(limits=httpx.Limits(
    max_connections=200, max_keepalive_connections=100, keepalive_expiry=55))",
                ),
                since: "",
                source: "httpx/_config.py (0.28)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one aiohttp.ClientSession",
                text: "A session per request is a connection per request. The connector allows 100 \
                    connections and keeps idle ones for 15 seconds; limit_per_host is 0 (none); \
                    force_close=True switches reuse off.",
                example: Some(
                    r"connector = aiohttp.TCPConnector(limit=200, limit_per_host=50, keepalive_timeout=55)
session = aiohttp.ClientSession(connector=connector)",
                ),
                since: "",
                source: "aiohttp/connector.py (3.14)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "CONN_MAX_AGE = 300 (Django)",
                text: "Default 0: Django closes the database connection at the end of each request.",
                example: None,
                since: "Django 1.6",
                source: "Django docs: databases, persistent connections",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "create_engine(pool_size=20, max_overflow=0)",
                text: "SQLAlchemy keeps 5 and opens up to 10 more that are closed after use: under steady \
                    load the overflow is churn. pool_recycle below the server's wait_timeout, \
                    pool_pre_ping=True against dead ones. One engine per process; dispose() after fork.",
                example: None,
                since: "",
                source: "sqlalchemy/pool/impl.py (2.1)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one redis.Redis (ConnectionPool) per process",
                text: "A client per request is a connection per request.",
                example: None,
                since: "max_connections default unbounded, from redis-py 8.0 on 100",
                source: "redis-py: connection.py (8.1); redis-py issue 2220",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "with session.get(url, stream=True) as response:",
                text: "A streamed response that is neither read nor closed keeps its connection. Idle pooled \
                    connections that the server has closed stay in CLOSE_WAIT (Recv-Q 1) until the pool \
                    takes them out for the next request: a bounded number, no leak.",
                example: None,
                since: "",
                source: "requests docs: body content workflow; urllib3 connectionpool.py",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "with contextlib.closing(sock):",
                text: "Reference cycles and exceptions with tracebacks keep sockets alive: close explicitly. \
                    ResourceWarning (python -X dev) names what was not closed.",
                example: None,
                since: "",
                source: "Python docs: socket, devmode",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "backlog=1024",
                text: "socketserver and http.server listen with 5 (request_queue_size), asyncio.start_server \
                    with 100. The kernel caps it at net.core.somaxconn.",
                example: None,
                since: "",
                source: "Lib/socketserver.py; asyncio/base_events.py",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "SO_KEEPALIVE in socket_options",
                text: "urllib3 sets only TCP_NODELAY. Add keep-alive to default_socket_options, or \
                    socket_keepalive=True in redis-py.",
                example: Some(
                    r"HTTPConnection.default_socket_options += [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 300),
]",
                ),
                since: "",
                source: "urllib3/connection.py (2.8)",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "timeout=(2, 10)",
                text: "requests has no time-out by default: a connect waits as long as the kernel retries \
                    the SYN. httpx has 5 s, aiohttp 30 s for the connect. Retry with urllib3.Retry(total=2, \
                    backoff_factor=0.2).",
                example: None,
                since: "",
                source: "requests docs: timeouts; httpx/_config.py; aiohttp/client.py (3.14)",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "resource.setrlimit(RLIMIT_NOFILE, ...)",
                text: "The soft limit is often 1024 and Python does not raise it. select.select() fails \
                    above descriptor 1023: use selectors.",
                example: None,
                since: "",
                source: "Python docs: resource, select",
            },
            Step {
                symptom: Symptom::ReuseAddress,
                setting: "allow_reuse_address = True",
                text: "socketserver.TCPServer does not set SO_REUSEADDR by default (http.server and asyncio \
                    do): set it on the class, or setsockopt before bind().",
                example: Some(
                    r"class Server(socketserver.TCPServer):
    allow_reuse_address = True",
                ),
                since: "",
                source: "Lib/socketserver.py",
            },
        ],
        caveats: &[
            "Pools are per process: with gunicorn or celery, workers x pool size is what the backend sees.",
            "A pool created before fork() is shared by accident: create it in each worker.",
        ],
    },
    Recipe {
        id: "node",
        title: "Node.js: http.Agent, undici, fetch",
        matches: &[
            Match::Comm("node"),
            Match::ExeName("node"),
            Match::Comm("nodejs"),
            Match::ExeName("nodejs"),
            Match::CommPrefix("node "),
            Match::CommPrefix("PM2"),
            Match::CommPrefix("next-server"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "new http.Agent({ keepAlive: true })",
                text: "An agent without keepAlive closes after each response. Share one agent per kind of \
                    destination; libraries (axios, AWS SDK v2, got) take it as an option.",
                example: Some(
                    r#"const agent = new https.Agent({
    keepAlive: true, maxSockets: 100, maxFreeSockets: 50,
});
https.get({ host: "api.example", path: "/", agent }, onResponse);"#,
                ),
                since: "http.globalAgent keeps alive from Node 19 (time-out 5 s); new Agent() still defaults \
                    to false",
                source: "Node.js docs: http.globalAgent; nodejs/node commit 655b327a4d",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "new Pool(origin, { connections: 100 })",
                text: "undici (and fetch, which is built on it) pools per origin; connections is unbounded \
                    by default, idle ones are kept 4 s unless the server announces a longer time \
                    (keepAliveTimeout).",
                example: Some(
                    r#"import { Agent, setGlobalDispatcher } from "undici";
setGlobalDispatcher(new Agent({ connections: 100, keepAliveTimeout: 30_000 }));"#,
                ),
                since: "",
                source: "undici docs: Client, Pool (7.30)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "server.keepAliveTimeout = 75_000",
                text: "The server closes idle connections after 5 s. Behind a balancer set it above the idle \
                    time-out of that (and headersTimeout above it), else requests meet closed connections.",
                example: None,
                since: "8.0.0; default 5000 ms",
                source: "Node.js docs: server.keepAliveTimeout",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pools of the database drivers",
                text: "mysql2.createPool, pg.Pool and one redis client per process, not one connection per \
                    request.",
                example: None,
                since: "",
                source: "documentation of mysql2, pg, node-redis",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "consume or destroy each response",
                text: "A response whose body is not read (response.resume(), await response.text(), \
                    body.cancel()) keeps its connection; on error call destroy(). Sockets made with \
                    allowHalfOpen: true must be ended by the program.",
                example: None,
                since: "",
                source: "Node.js docs: http.ClientRequest, net; undici docs",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "server.listen({ port, backlog: 2048 })",
                text: "Default 511; the kernel caps it at net.core.somaxconn. A queue that fills means a \
                    blocked event loop: measure it (perf_hooks.monitorEventLoopDelay), use cluster or more \
                    processes.",
                example: None,
                since: "",
                source: "Node.js docs: net.Server.listen",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "socket.setKeepAlive(true, 300_000)",
                text: "SO_KEEPALIVE with its idle time, for long-lived sockets.",
                example: None,
                since: "",
                source: "Node.js docs: net.Socket.setKeepAlive",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "request time-out",
                text: "A connect waits as long as the kernel retries the SYN. Use AbortSignal.timeout(2000) \
                    or the timeout option with destroy(); undici has connect: { timeout }.",
                example: None,
                since: "",
                source: "Node.js docs: http.request; undici docs: Client",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "LimitNOFILE=, maxSockets",
                text: "maxSockets is Infinity by default: bound it per host.",
                example: None,
                since: "",
                source: "Node.js docs: http.Agent",
            },
        ],
        caveats: &[
            "Agents and pools are per process: cluster workers x maxSockets is what the backend sees.",
        ],
    },
    Recipe {
        id: "ruby",
        title: "Ruby: Net::HTTP, net-http-persistent, Puma",
        matches: &[
            Match::Comm("ruby"),
            Match::CommPrefix("ruby"),
            Match::Comm("puma"),
            Match::CommPrefix("puma"),
            Match::CommPrefix("sidekiq"),
            Match::Comm("bundle"),
            Match::Comm("rails"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "Net::HTTP.start(host, port) { |http| ... }",
                text: "Net::HTTP.get opens and closes a connection per call; inside one start block requests \
                    share it.",
                example: None,
                since: "",
                source: "Ruby docs: Net::HTTP",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "Net::HTTP::Persistent",
                text: "Keeps connections per host and thread-safe. Idle ones are used again for 5 seconds \
                    only (idle_timeout): raise it to just below the server's idle time-out. Faraday: adapter \
                    :net_http_persistent.",
                example: Some(
                    r#"http = Net::HTTP::Persistent.new(name: "api")
http.idle_timeout = 55
http.request(URI("https://api.example/"))"#,
                ),
                since: "",
                source: "net-http-persistent 3.1: persistent.rb",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pool: in database.yml; ConnectionPool for Redis",
                text: "One pool per process with as many connections as threads.",
                example: None,
                since: "",
                source: "Rails guides: configuring a database pool; connection_pool README",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "ensure http.finish",
                text: "Close in ensure, or use the block forms.",
                example: None,
                since: "",
                source: "Ruby docs: Net::HTTP",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "open_timeout = 2",
                text: "Net::HTTP waits 60 s for the connection by default.",
                example: None,
                since: "",
                source: "Ruby docs: Net::HTTP#open_timeout",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "workers and threads of Puma",
                text: "When all threads are busy Puma stops accepting and the queue fills.",
                example: None,
                since: "",
                source: "Puma docs: deployment",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "dotnet",
        title: ".NET: HttpClient, IHttpClientFactory",
        matches: &[Match::Comm("dotnet"), Match::ExeName("dotnet")],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one static HttpClient, or IHttpClientFactory",
                text: "using (new HttpClient()) per request opens and closes a connection each time. A \
                    factory or a static client keeps them.",
                example: Some(
                    r"static readonly HttpClient Client = new(new SocketsHttpHandler {
    PooledConnectionLifetime = TimeSpan.FromMinutes(5),
    PooledConnectionIdleTimeout = TimeSpan.FromSeconds(55),
    ConnectTimeout = TimeSpan.FromSeconds(2),
});",
                ),
                since: "",
                source: "Microsoft docs: HttpClient guidelines",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "PooledConnectionIdleTimeout",
                text: "Idle connections are closed after it.",
                example: None,
                since: "default 2 minutes in .NET Core and .NET 5, from .NET 6 on 1 minute",
                source: "Microsoft docs: SocketsHttpHandler.PooledConnectionIdleTimeout",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "HandlerLifetime",
                text: "The factory replaces handlers, with their pools, after 2 minutes by default; longer \
                    keeps connections longer, but follows DNS later.",
                example: None,
                since: "default 2 minutes",
                source: "Microsoft docs: HttpClientFactoryOptions.HandlerLifetime",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "using var response = await ...",
                text: "With HttpCompletionOption.ResponseHeadersRead the connection is held until the \
                    response is disposed or read to its end.",
                example: None,
                since: "",
                source: "Microsoft docs: HttpClient",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "SocketsHttpHandler.ConnectTimeout",
                text: "No limit by default, apart from HttpClient.Timeout (100 s).",
                example: None,
                since: "",
                source: "Microsoft docs: SocketsHttpHandler.ConnectTimeout",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "SocketTransportOptions.Backlog",
                text: "Kestrel listens with 512 by default; a queue that fills often means thread-pool \
                    starvation by blocking calls.",
                example: None,
                since: "",
                source: "Microsoft docs: SocketTransportOptions",
            },
        ],
        caveats: &[
            "Self-contained programs run under their own name, so that this recipe cannot recognise them.",
        ],
    },
    Recipe {
        id: "curl-wget",
        title: "curl, wget and load generators in scripts",
        matches: &[
            Match::Comm("curl"),
            Match::ExeName("curl"),
            Match::Comm("wget"),
            Match::ExeName("wget"),
            Match::Comm("ab"),
            Match::ExeName("ab"),
        ],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "several URLs in one curl command",
                text: "curl keeps connections only within one invocation: a loop of curl calls makes a \
                    connection each. Give it all URLs at once, or a file.",
                example: Some(
                    r#"# urls.txt: one 'url = "https://..."' per line
curl --parallel --config urls.txt
wget --input-file=urls.txt"#,
                ),
                since: "",
                source: "curl(1); wget(1)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "a library with a pool instead of a loop",
                text: "In scripts with thousands of calls use a language with a connection pool, or a local \
                    proxy with keep-alive.",
                example: None,
                since: "",
                source: "libcurl: curl_easy_perform (connection reuse)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "ab -k",
                text: "ab uses a new connection per request unless -k is given: a test without it measures \
                    ports, not the server.",
                example: None,
                since: "",
                source: "ab(1)",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "--connect-timeout 2 --max-time 10",
                text: "Bounds the wait for a host that does not answer.",
                example: None,
                since: "",
                source: "curl(1)",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "go",
        title: "Go: net/http, database/sql",
        matches: &[],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "Transport.MaxIdleConnsPerHost = 100",
                text: "Only 2 idle connections per host are kept by default: with more requests at once to \
                    one host the surplus is closed after each response. Set it to the concurrency per host, \
                    MaxIdleConns (100 in DefaultTransport) to the sum.",
                example: Some(
                    r"transport := http.DefaultTransport.(*http.Transport).Clone()
transport.MaxIdleConnsPerHost = 100
transport.MaxIdleConns = 400
client := &http.Client{Transport: transport, Timeout: 10 * time.Second}",
                ),
                since: "",
                source: "Go: net/http/transport.go (DefaultMaxIdleConnsPerHost)",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "io.Copy(io.Discard, resp.Body); resp.Body.Close()",
                text: "An HTTP/1 connection goes back to the pool only if the body was read to its end and \
                    closed.",
                example: Some(
                    r"resp, err := client.Do(request)
if err != nil {
    return err
}
defer resp.Body.Close()
_, err = io.Copy(io.Discard, resp.Body)",
                ),
                since: "",
                source: "Go: net/http.Response.Body",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one http.Client, one Transport",
                text: "A Transport per request has a pool per request, and its idle connections stay open.",
                example: None,
                since: "",
                source: "Go: net/http.Transport",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "IdleConnTimeout = 90 * time.Second",
                text: "90 s in DefaultTransport; 0 in a Transport of your own, which is no limit. Below the \
                    idle time-out of the server.",
                example: None,
                since: "",
                source: "Go: net/http/transport.go",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "db.SetMaxIdleConns(n)",
                text: "database/sql keeps 2 idle connections by default: set it to the same number as \
                    SetMaxOpenConns.",
                example: Some(
                    r"db.SetMaxOpenConns(50)
db.SetMaxIdleConns(50)
db.SetConnMaxLifetime(30 * time.Minute)",
                ),
                since: "",
                source: "Go: database/sql (defaultMaxIdleConns)",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "defer resp.Body.Close(), defer rows.Close()",
                text: "A body or result that is not closed keeps its connection; on the server side a \
                    handler that never returns keeps the client's.",
                example: None,
                since: "",
                source: "Go: net/http.Response; database/sql.Rows",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "http.Server{ReadHeaderTimeout, IdleTimeout}",
                text: "Without time-outs a server keeps clients that vanished or never send.",
                example: None,
                since: "",
                source: "Go: net/http.Server",
            },
            Step {
                symptom: Symptom::SlowAccept,
                setting: "net.core.somaxconn, then restart",
                text: "Go listens with the somaxconn it reads at start: raise the sysctl and restart the \
                    program.",
                example: None,
                since: "",
                source: "Go: net/sock_linux.go (maxListenerBacklog)",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "MaxConnsPerHost",
                text: "Bounds the connections to one host, so that a slow backend cannot eat all ports; \
                    requests wait.",
                example: None,
                since: "",
                source: "Go: net/http.Transport",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "net.Dialer{KeepAlive: 15 * time.Second}",
                text: "Keep-alive is on by default with 15 s (30 s in DefaultTransport); a negative value \
                    turns it off.",
                example: None,
                since: "",
                source: "Go: net/dial.go",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "net.Dialer{Timeout: 2 * time.Second}",
                text: "DefaultTransport waits 30 s for the connect; a zero http.Client.Timeout is no limit.",
                example: None,
                since: "",
                source: "Go: net/http/transport.go",
            },
            Step {
                symptom: Symptom::DescriptorLimit,
                setting: "hard limit of RLIMIT_NOFILE",
                text: "Go raises its soft limit to the hard limit at start, so it is the hard limit \
                    (LimitNOFILE=) that counts.",
                example: None,
                since: "Go 1.19",
                source: "Go: os/rlimit.go (1.19)",
            },
        ],
        caveats: &[
            "A Go program runs under its own name: it cannot be recognised from its process, only from its \
                file (the .go.buildinfo section).",
        ],
    },
    Recipe {
        id: "mysql-clients",
        title: "Clients of MySQL and MariaDB",
        matches: &[],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "a pool in the client",
                text: "A connection per query costs a port, a handshake and a server thread. Java: HikariCP; \
                    Python: SQLAlchemy; Node: mysql2.createPool; PHP: persistent connections; Go: \
                    database/sql; or ProxySQL between.",
                example: None,
                since: "",
                source: "MySQL manual: Connectors",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "lifetime below wait_timeout",
                text: "The server closes sessions that were idle for wait_timeout (28800 s); a pool must \
                    retire them earlier, else requests fail with \"server has gone away\".",
                example: None,
                since: "",
                source: "MySQL manual: wait_timeout",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "a Unix socket on the same host",
                text: "\"localhost\" uses the socket in libmysqlclient, 127.0.0.1 uses TCP and a port.",
                example: None,
                since: "",
                source: "MySQL manual: connecting",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "connect_timeout of the driver",
                text: "Bound it; many drivers wait as long as the kernel retries the SYN.",
                example: None,
                since: "",
                source: "documentation of the driver",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "redis-clients",
        title: "Clients of Redis and Valkey",
        matches: &[],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one client or pool per process",
                text: "Jedis: JedisPool with try-with-resources; Lettuce: one shared connection; redis-py: \
                    one Redis object; node-redis and ioredis: one client; phpredis: pconnect; Go: one \
                    redis.Client.",
                example: None,
                since: "",
                source: "redis.io: clients",
            },
            Step {
                symptom: Symptom::ShortConnections,
                setting: "pipelining, MGET",
                text: "Fewer round trips need fewer connections at once.",
                example: None,
                since: "",
                source: "redis.io: pipelining",
            },
            Step {
                symptom: Symptom::CloseWaitLeak,
                setting: "return connections on every path",
                text: "A pool loses what is not given back after an exception; when the server closes \
                    (timeout, restart) the lost ones stay in CLOSE_WAIT.",
                example: None,
                since: "",
                source: "documentation of the client",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "a Unix socket on the same host",
                text: "unixsocket in redis.conf: no ports are needed.",
                example: None,
                since: "",
                source: "redis.conf 7.0",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "socket_keepalive / keepAlive options",
                text: "Finds a server that vanished behind a firewall or fail-over.",
                example: None,
                since: "",
                source: "documentation of the client",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "postgresql-clients",
        title: "Clients of PostgreSQL",
        matches: &[],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "a pool, or PgBouncer",
                text: "A connection is a server process: pool in the client (HikariCP, SQLAlchemy, pg.Pool, \
                    database/sql), or put PgBouncer in transaction mode between.",
                example: None,
                since: "",
                source: "PostgreSQL docs; pgbouncer(5)",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "host=/var/run/postgresql",
                text: "A Unix socket on the same host needs no ports.",
                example: None,
                since: "",
                source: "PostgreSQL docs: libpq connection strings",
            },
            Step {
                symptom: Symptom::DeadPeers,
                setting: "keepalives_idle, tcp_user_timeout (libpq)",
                text: "libpq sets SO_KEEPALIVE by default; the times are those of the system unless given.",
                example: None,
                since: "",
                source: "PostgreSQL docs: libpq connection strings",
            },
            Step {
                symptom: Symptom::ConnectTimeout,
                setting: "connect_timeout=3 (libpq)",
                text: "Without it libpq waits as long as the kernel retries the SYN.",
                example: None,
                since: "",
                source: "PostgreSQL docs: libpq connection strings",
            },
        ],
        caveats: &[],
    },
    Recipe {
        id: "memcached-clients",
        title: "Clients of memcached",
        matches: &[],
        steps: &[
            Step {
                symptom: Symptom::ShortConnections,
                setting: "one persistent client per process",
                text: "PHP: new Memcached(\"pool-id\") keeps its connections in the worker; Python: \
                    pymemcache PooledClient; Java: spymemcached shares one connection per server.",
                example: None,
                since: "",
                source: "PHP manual: Memcached::__construct; documentation of the client",
            },
            Step {
                symptom: Symptom::ProxyPorts,
                setting: "a Unix socket on the same host",
                text: "memcached -s: no ports are needed.",
                example: None,
                since: "",
                source: "memcached(1)",
            },
        ],
        caveats: &[],
    },
];
