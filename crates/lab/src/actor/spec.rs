use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What an actor is and does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActorSpec {
    /// Connects, when told to go.
    Client(Client),
    /// Listens and accepts, from the start.
    Server(Server),
    /// Holds ports without connecting, from the start.
    Bound(Bound),
    /// Holds sockets without a port, from the start.
    Sockets(Sockets),
    /// Runs a real server, from the start.
    Program(Program),
}

impl ActorSpec {
    /// The process name it asks for.
    pub fn comm(&self) -> &str {
        match self {
            ActorSpec::Client(spec) => &spec.comm,
            ActorSpec::Server(spec) => &spec.comm,
            ActorSpec::Bound(spec) => &spec.comm,
            ActorSpec::Sockets(spec) => &spec.comm,
            ActorSpec::Program(spec) => &spec.comm,
        }
    }

    /// Its kind, as in a scenario's file.
    pub fn kind(&self) -> &'static str {
        match self {
            ActorSpec::Client(_) => "client",
            ActorSpec::Server(_) => "server",
            ActorSpec::Bound(_) => "bound",
            ActorSpec::Sockets(_) => "sockets",
            ActorSpec::Program(_) => "program",
        }
    }

    pub(crate) fn nofile(&self) -> Option<u64> {
        match self {
            ActorSpec::Client(spec) => spec.nofile,
            ActorSpec::Server(spec) => spec.nofile,
            ActorSpec::Bound(spec) => spec.nofile,
            ActorSpec::Sockets(spec) => spec.nofile,
            ActorSpec::Program(spec) => spec.nofile,
        }
    }
}

impl From<Client> for ActorSpec {
    fn from(spec: Client) -> Self {
        ActorSpec::Client(spec)
    }
}

impl From<Server> for ActorSpec {
    fn from(spec: Server) -> Self {
        ActorSpec::Server(spec)
    }
}

impl From<Bound> for ActorSpec {
    fn from(spec: Bound) -> Self {
        ActorSpec::Bound(spec)
    }
}

impl From<Sockets> for ActorSpec {
    fn from(spec: Sockets) -> Self {
        ActorSpec::Sockets(spec)
    }
}

impl From<Program> for ActorSpec {
    fn from(spec: Program) -> Self {
        ActorSpec::Program(spec)
    }
}

/// A client: connects, exchanges requests, and closes in one way or another.
///
/// One that waits for answers bounds itself to `concurrency` connections at a time; what it holds isn't counted there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// The process name, at most 15 bytes.
    pub comm: String,
    /// The limit of descriptors; the hard limit when absent.
    pub nofile: Option<u64>,
    /// Where to connect to, in turn.
    pub targets: Vec<SocketAddr>,
    /// Addresses to connect from, in turn, each bound with IP_BIND_ADDRESS_NO_PORT; the kernel's choice when empty.
    pub sources: Vec<IpAddr>,
    /// Bind to port 0 *before* connecting, so that the port is taken for every destination.
    pub bind_port: bool,
    /// How many connections to try, in all.
    pub connections: u64,
    /// Begin none when so many seconds have passed, however many were to be tried.
    pub seconds: Option<f64>,
    /// How many a second, evenly spread; as fast as possible when absent.
    pub rate: Option<f64>,
    /// How many threads share the work.
    pub threads: usize,
    /// How many connections may be under way at a time, in all; those that are held don't count.
    pub concurrency: usize,
    /// Who ends a connection, and how.
    pub close: Close,
    /// Requests on each connection, one after the other; 0 sends nothing.
    pub requests: u32,
    /// Length of a request of filler bytes; 0 sends nothing and waits for nothing.
    pub request_bytes: u32,
    /// The request's text, such as `"PING\r\n"`, instead of filler bytes.
    pub request: Option<String>,
    /// Length of the answer that is waited for; 0 waits for none.
    pub response_bytes: u32,
    /// An answer is complete when this text was received since the request, instead of `response_bytes`.
    pub response_until: Option<String>,
    /// An answer with this text is an error, after which the client forgets the connection: it stays open, unread,
    /// until `release`, and counts as [`Outcome::leaked`](crate::Outcome::leaked). Other clients treat such an answer
    /// as any other.
    pub leak_on: Option<String>,
    /// Pause between an answer and the next request on the same connection.
    pub pause_ms: u64,
    /// Pause between the last answer and the end of the connection.
    pub hold_ms: u64,
    /// Set SO_KEEPALIVE. A connection that waits for `hold_ms` then notices a peer that is gone, as a failure.
    pub keepalive: bool,
    /// Set SO_KEEPALIVE with these times; with `keepalive` alone, the host's sysctls say when probes are sent.
    pub keepalive_times: Option<KeepaliveTimes>,
    /// Send the request and hold the connection without ever reading.
    pub never_read: bool,
    /// After the requests, write until the send buffer stays full, and hold the connection. Needs a server that
    /// doesn't read: [`Behaviour::NeverRead`].
    pub fill: bool,
    /// The send buffer (SO_SNDBUF; the kernel caps it at `wmem_max`) where it is to be filled: so many bytes stay
    /// unsent, at least. 0 leaves it to the kernel, which goes up to `tcp_wmem`.
    pub unsent_bytes: u32,
    /// Give up on a connection that isn't answered in time, as ETIMEDOUT; the kernel's patience when absent.
    pub connect_timeout_ms: Option<u64>,
    /// Try no more after the first failure.
    pub stop_on_error: bool,
    /// Hold each socket right after a connect() that didn't wait: SYN_SENT where nobody answers.
    pub nonblocking_hold: bool,
}

impl Default for Client {
    fn default() -> Self {
        Client {
            comm: "lab-client".into(),
            nofile: None,
            targets: Vec::new(),
            sources: Vec::new(),
            bind_port: false,
            connections: 1,
            seconds: None,
            rate: None,
            threads: 1,
            concurrency: 256,
            close: Close::ClientFirst,
            requests: 1,
            request_bytes: 64,
            request: None,
            response_bytes: 64,
            response_until: None,
            leak_on: None,
            pause_ms: 0,
            hold_ms: 0,
            keepalive: false,
            keepalive_times: None,
            never_read: false,
            fill: false,
            unsent_bytes: 65_536,
            connect_timeout_ms: None,
            stop_on_error: false,
            nonblocking_hold: false,
        }
    }
}

/// When keep-alive probes are sent, on one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepaliveTimes {
    /// Seconds without traffic before the first probe (TCP_KEEPIDLE).
    pub idle_s: u32,
    /// Seconds between probes (TCP_KEEPINTVL).
    pub interval_s: u32,
    /// Probes without an answer after which the peer counts as dead (TCP_KEEPCNT).
    pub probes: u32,
}

/// Who ends a client's connection, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Close {
    /// The client: TIME_WAIT is here.
    #[default]
    ClientFirst,
    /// The client waits for the server's end: TIME_WAIT is there. Needs [`Behaviour::CloseFirst`].
    ServerFirst,
    /// Nobody: it is held until `release`.
    Never,
    /// The client, with a reset (SO_LINGER 0): no TIME_WAIT anywhere.
    Abort,
    /// The client shuts down its sending half and holds the rest: FIN_WAIT2 without a time-out while the server
    /// doesn't close.
    HalfClose,
    /// The client, when its send buffer stays full (see [`Client::unsent_bytes`]): an orphan in FIN_WAIT1. Needs
    /// [`Behaviour::NeverRead`].
    WithUnsent,
}

/// A server: listens, and treats what it accepts in one way or another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The process name, at most 15 bytes.
    pub comm: String,
    /// The limit of descriptors; the hard limit when absent.
    pub nofile: Option<u64>,
    /// Where to listen. A port of 0 is chosen by the kernel; `ready` tells which.
    pub listen: Vec<SocketAddr>,
    /// The backlog asked for; the kernel caps it at `somaxconn`.
    pub backlog: i32,
    /// Set SO_REUSEADDR, as almost every server does.
    pub reuseaddr: bool,
    /// With more than 1: so many SO_REUSEPORT sockets for each address.
    pub reuseport: usize,
    /// Try again every 200 ms while it can't listen, counting the failures, instead of giving up.
    pub retry_bind: bool,
    /// Set SO_KEEPALIVE on what it accepts.
    pub keepalive: bool,
    /// Set SO_KEEPALIVE with these times; with `keepalive` alone, the host's sysctls say when probes are sent.
    pub keepalive_times: Option<KeepaliveTimes>,
    /// What it does with connections.
    pub behaviour: Behaviour,
    /// Answer once for so many bytes received; 0 answers nothing (and closes at once, where it closes first).
    pub request_bytes: u32,
    /// Length of an answer.
    pub response_bytes: u32,
    /// Answer so much later.
    pub delay_ms: u64,
    /// How many threads share the work.
    pub threads: usize,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            comm: "lab-server".into(),
            nofile: None,
            listen: Vec::new(),
            backlog: 4096,
            reuseaddr: true,
            reuseport: 1,
            retry_bind: false,
            keepalive: false,
            keepalive_times: None,
            behaviour: Behaviour::Echo,
            request_bytes: 64,
            response_bytes: 64,
            delay_ms: 0,
            threads: 1,
        }
    }
}

/// What a server does with connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Answers every request and closes when the peer does.
    #[default]
    Echo,
    /// Answers one request and closes: TIME_WAIT is here.
    CloseFirst,
    /// Answers; reads the peer's end and keeps the socket: CLOSE_WAIT with an empty Recv-Q.
    NeverClose,
    /// Keeps the socket and never reads: CLOSE_WAIT with at least 1 in Recv-Q.
    NeverRead,
    /// Never accepts.
    NeverAccept,
    /// Accepts so slowly, and then as [`Behaviour::Echo`].
    SlowAccept {
        /// Connections accepted a second, by the whole server.
        per_second: f64,
    },
    /// As [`Behaviour::Echo`], but keeps the descriptor when the peer resets: sockets that no table lists.
    KeepAfterReset,
}

/// Holds sockets bound to ports, unconnected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bound {
    /// The process name, at most 15 bytes.
    pub comm: String,
    /// The limit of descriptors; the hard limit when absent.
    pub nofile: Option<u64>,
    /// The address to bind to.
    pub address: IpAddr,
    /// How many sockets, at ports that the kernel chooses.
    pub count: u64,
    /// Ports to bind to besides, one socket each.
    pub ports: Vec<u16>,
    /// Set SO_REUSEADDR.
    pub reuseaddr: bool,
}

impl Default for Bound {
    fn default() -> Self {
        Bound {
            comm: "lab-bound".into(),
            nofile: None,
            address: IpAddr::from([127, 0, 0, 1]),
            count: 0,
            ports: Vec::new(),
            reuseaddr: false,
        }
    }
}

/// Holds plain TCP sockets, neither bound nor connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sockets {
    /// The process name, at most 15 bytes.
    pub comm: String,
    /// The limit of descriptors; the hard limit when absent.
    pub nofile: Option<u64>,
    /// How many.
    pub count: u64,
}

impl Default for Sockets {
    fn default() -> Self {
        Sockets { comm: "lab-sockets".into(), nofile: None, count: 1 }
    }
}

/// A real server, such as nginx, run in the foreground.
///
/// It gets a fresh private folder as its working directory, `/dev/null` to read from, and a PID namespace of its own,
/// so that it ends with everything that it started. It must not change its user: the kernel would then no longer end
/// it with its actor. `release` does nothing here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Program {
    /// The actor's name; the program keeps its own.
    pub comm: String,
    /// The limit of descriptors; the hard limit when absent.
    pub nofile: Option<u64>,
    /// The program: a name that is looked up ([`Program::find`]), or a path.
    pub program: String,
    /// Debian's package of it; the program's name when empty.
    pub package: String,
    /// Its arguments. `{dir}` stands for its folder.
    pub args: Vec<String>,
    /// Files to write into the folder: path inside it → content. `{dir}` stands for the folder there, too.
    pub files: BTreeMap<String, String>,
    /// It is ready when these addresses listen; at once when there are none.
    pub ready: Vec<SocketAddr>,
}

impl Default for Program {
    fn default() -> Self {
        Program {
            comm: "lab-program".into(),
            nofile: None,
            program: String::new(),
            package: String::new(),
            args: Vec::new(),
            files: BTreeMap::new(),
            ready: Vec::new(),
        }
    }
}

impl Program {
    /// Where the program is installed: looked up in PATH, and in the `sbin` folders that a user's PATH may lack.
    pub fn find(&self) -> Option<PathBuf> {
        if self.program.contains('/') {
            return Some(PathBuf::from(&self.program)).filter(|path| path.is_file());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::split_paths(&path)
            .chain(sbin)
            .map(|dir| dir.join(&self.program))
            .find(|path| path.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_needs_only_what_differs() {
        let spec: ActorSpec =
            serde_json::from_str(r#"{"kind":"client","targets":["10.0.0.1:80"],"close":"abort"}"#).unwrap();
        let ActorSpec::Client(client) = &spec else { panic!("{spec:?}") };
        assert_eq!(client.close, Close::Abort);
        assert_eq!(client.request_bytes, 64);
        let again: ActorSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        let spec: ActorSpec =
            serde_json::from_str(r#"{"kind":"server","behaviour":{"slow_accept":{"per_second":2.5}}}"#)
                .unwrap();
        assert_eq!(spec.comm(), "lab-server");
        assert!(serde_json::from_str::<ActorSpec>(r#"{"kind":"client","clsoe":"abort"}"#).is_err());
        let spec: ActorSpec = serde_json::from_str(
            r#"{"kind":"server","keepalive":true,"keepalive_times":{"idle_s":6,"interval_s":1,"probes":3}}"#,
        )
        .unwrap();
        let ActorSpec::Server(server) = &spec else { panic!("{spec:?}") };
        assert_eq!(server.keepalive_times, Some(KeepaliveTimes { idle_s: 6, interval_s: 1, probes: 3 }));
        let spec: ActorSpec =
            serde_json::from_str(r#"{"kind":"program","comm":"web","files":{"a":"b"}}"#).unwrap();
        assert_eq!(spec.comm(), "web");
    }

    #[test]
    fn programs_are_looked_up() {
        let program = |program: &str| Program { program: program.into(), ..Program::default() };
        assert!(program("sh").find().is_some_and(|path| path.ends_with("sh")));
        assert_eq!(program("/bin/sh").find(), Some("/bin/sh".into()));
        assert_eq!(program("there-is-no-such-program").find(), None);
        assert_eq!(program("/bin").find(), None);
    }
}
