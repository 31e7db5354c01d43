//! What the tests of the lab share.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use linger_lab::{Actor, ActorSpec, Client, Host, Launcher, Outcome, Server, World};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_linger-actor"))
}

/// A world with one host, or nothing and a word about it where namespaces may not be made. In CI they must be.
pub fn world() -> Option<(World, Host)> {
    let world = World::new();
    match world.host("one") {
        Ok(host) => Some((world, host)),
        Err(error) if error.is_denied() && std::env::var_os("CI").is_none() => {
            println!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A client and a server host, 10.77.0.1 and 10.77.0.2.
pub fn pair() -> Option<(World, Host, Host)> {
    let (world, client) = world()?;
    let server = world.host("server").unwrap();
    world.link(&client, &server, "10.77.0.1/24", "10.77.0.2/24").unwrap();
    Some((world, client, server))
}

pub fn start(host: &Host, spec: impl Into<ActorSpec>) -> Actor {
    let actor = host.spawn(&launcher(), &spec.into()).unwrap();
    actor.ready(PATIENCE).unwrap();
    actor
}

/// Where the server of most tests is, in a [`pair`].
pub const SERVER: &str = "10.77.0.2:80";

pub fn server() -> Server {
    Server { listen: vec![SERVER.parse().unwrap()], ..Server::default() }
}

pub fn client(connections: u64) -> Client {
    Client { targets: vec![SERVER.parse().unwrap()], connections, ..Client::default() }
}

/// Runs a client to the end of its work.
pub fn run(host: &Host, spec: Client) -> (Actor, Outcome) {
    let actor = start(host, spec);
    actor.go().unwrap();
    let outcome = actor.done(PATIENCE).unwrap();
    (actor, outcome)
}

/// Waits until the host's TCP states, without listeners, are these.
pub fn assert_states(host: &Host, expected: &[(&'static str, u64)]) {
    let expected: BTreeMap<&str, u64> = expected.iter().copied().collect();
    let start = Instant::now();
    loop {
        let mut states = host.tcp_states().unwrap();
        states.remove("listen");
        if states == expected {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{}: {states:?} instead of {expected:?}", host.name());
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The descriptors of a process that are sockets.
pub fn sockets_of(pid: i32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    files
        .flatten()
        .filter(|file| {
            std::fs::read_link(file.path()).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
        })
        .count()
}
