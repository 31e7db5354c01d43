use std::net::{IpAddr, SocketAddr};

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
}

impl ActorSpec {
    /// The process name it asks for.
    pub fn comm(&self) -> &str {
        match self {
            ActorSpec::Client(spec) => &spec.comm,
            ActorSpec::Server(spec) => &spec.comm,
            ActorSpec::Bound(spec) => &spec.comm,
            ActorSpec::Sockets(spec) => &spec.comm,
        }
    }

    pub(crate) fn nofile(&self) -> Option<u64> {
        match self {
            ActorSpec::Client(spec) => spec.nofile,
            ActorSpec::Server(spec) => spec.nofile,
            ActorSpec::Bound(spec) => spec.nofile,
            ActorSpec::Sockets(spec) => spec.nofile,
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
    /// Length of a request; 0 sends nothing and waits for nothing.
    pub request_bytes: u32,
    /// Length of the answer that is waited for; 0 waits for none.
    pub response_bytes: u32,
    /// Pause between an answer and the next request on the same connection.
    pub pause_ms: u64,
    /// Pause between the last answer and the end of the connection.
    pub hold_ms: u64,
    /// Set SO_KEEPALIVE; when probes are sent is the host's sysctls' business.
    pub keepalive: bool,
    /// Send the request and hold the connection without ever reading.
    pub never_read: bool,
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
            rate: None,
            threads: 1,
            concurrency: 256,
            close: Close::ClientFirst,
            requests: 1,
            request_bytes: 64,
            response_bytes: 64,
            pause_ms: 0,
            hold_ms: 0,
            keepalive: false,
            never_read: false,
            connect_timeout_ms: None,
            stop_on_error: false,
            nonblocking_hold: false,
        }
    }
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
    }
}
