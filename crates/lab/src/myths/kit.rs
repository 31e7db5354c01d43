//! What the measurements share: sockets that are made inside a host and used from here, and waiting.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use linger_model::snapshot::Counters;
use linger_wire::procnet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::{Measured, Verdict};
use crate::{Actor, ActorSpec, Client, Error, Host, Launcher, Outcome, World};

/// How long what should happen at once may take, on a slow machine that has more to do.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether sockets are gone.
const EVERY: Duration = Duration::from_millis(100);

pub(super) const NAMESPACES: &[&str] = &["network namespaces"];
pub(super) const VETH: &[&str] = &["network namespaces", "veth"];

/// Where myths are measured: it makes hosts, and starts actors in them.
#[derive(Debug)]
pub struct Lab {
    launcher: Launcher,
}

impl Lab {
    /// A lab whose actors are started by `launcher`.
    pub fn new(launcher: Launcher) -> Lab {
        Lab { launcher }
    }

    /// A host that is linked to nothing.
    pub(super) fn host(&self, name: &str) -> Result<Host, Error> {
        World::new().host(name)
    }

    pub(super) fn start(&self, host: &Host, spec: impl Into<ActorSpec>) -> Result<(Actor, Vec<u16>), Error> {
        let actor = host.spawn(&self.launcher, &spec.into())?;
        let ports = actor.ready(PATIENCE)?;
        Ok((actor, ports))
    }

    /// Runs a client until it has tried everything; what it holds is held as long as the actor lives.
    pub(super) fn run(&self, host: &Host, spec: Client) -> Result<(Actor, Outcome), Error> {
        let (actor, _) = self.start(host, spec)?;
        actor.go()?;
        let outcome = actor.done(PATIENCE)?;
        Ok((actor, outcome))
    }
}

impl Measured {
    /// Figures that say nothing about the claim, and why.
    pub(super) fn unsure(figures: impl Into<String>, why: &str) -> Measured {
        Measured { text: format!("{}: {why}", figures.into()), verdict: Verdict::Unsure }
    }
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn failed(host: &Host, operation: &'static str, subject: impl ToString) -> impl FnOnce(io::Error) -> Error {
    let (host, subject) = (host.name().to_owned(), subject.to_string());
    move |source| Error::Host { host, operation, subject, source }
}

/// A listener in `host`; accepting from it gives up after [`PATIENCE`].
pub(super) fn listen(host: &Host, address: SocketAddr, backlog: i32) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, backlog)?;
        Ok(TcpListener::from(socket))
    };
    host.run(listen)?.map_err(failed(host, "listen at", address))
}

/// Connects from `host`, and says how connect() failed.
pub(super) fn try_connect(
    host: &Host,
    to: SocketAddr,
    patience: Duration,
) -> Result<io::Result<TcpStream>, Error> {
    host.run(|| TcpStream::connect_timeout(&to, patience))
}

pub(super) fn is_out_of_ports(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Connects from `host` to `listener`, and accepts; the connecting side is the first.
pub(super) fn connect(host: &Host, listener: &TcpListener) -> Result<(TcpStream, TcpStream), Error> {
    let to = listener.local_addr().map_err(failed(host, "read", "a listener's address"))?;
    accept(host, listener, try_connect(host, to, PATIENCE)?.map_err(failed(host, "connect to", to))?)
}

fn accept(
    host: &Host,
    listener: &TcpListener,
    connected: TcpStream,
) -> Result<(TcpStream, TcpStream), Error> {
    let (accepted, to) = listener.accept().map_err(failed(host, "accept at", "a listener"))?;
    for side in [&connected, &accepted] {
        side.set_read_timeout(Some(PATIENCE)).map_err(failed(host, "set a time-out for", to))?;
    }
    Ok((connected, accepted))
}

/// Sends a byte there and one back.
pub(super) fn exchange(mut a: &TcpStream, mut b: &TcpStream) -> io::Result<()> {
    let mut byte = [0];
    a.write_all(b"?")?;
    b.read_exact(&mut byte)?;
    b.write_all(b"!")?;
    a.read_exact(&mut byte)
}

/// Sets a sysctl, or says that there is none: before 6.3 a namespace of another user namespace had no net.core.
pub(super) fn set_if_there(host: &Host, key: &str, value: &str) -> Result<bool, Error> {
    match host.sysctl(key, value) {
        Ok(()) => Ok(true),
        Err(Error::Host { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Closes a connection from the side of `first`, which keeps the TIME_WAIT; `last` closes when it has read the end.
pub(super) fn close(first: TcpStream, mut last: TcpStream) -> io::Result<()> {
    drop(first);
    match last.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Makes the host's TIME_WAIT sockets stay when a late segment is answered with a reset (RFC 1337).
pub(super) fn keep_time_wait(host: &Host) -> Result<(), Error> {
    host.sysctl("net.ipv4.tcp_rfc1337", "1")
}

/// Makes so many connections to a listener of the same host; the client closes first.
pub(super) fn connect_and_close(host: &Host, listener: &TcpListener, count: u64) -> Result<(), Error> {
    for _ in 0..count {
        let (client, server) = connect(host, listener)?;
        close(client, server).map_err(failed(host, "close", "a connection"))?;
    }
    Ok(())
}

/// The same from each of these ports, and the server closes first. Left to choose, connect() may take a port twice, and its
/// SYN takes over the TIME_WAIT that the server has of the first.
pub(super) fn be_closed(host: &Host, listener: &TcpListener, ports: Range<u16>) -> Result<(), Error> {
    let to = listener.local_addr().map_err(failed(host, "read", "a listener's address"))?;
    for port in ports {
        let connect = || -> io::Result<TcpStream> {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            rustix::net::bind(&socket, &loopback(port))?;
            rustix::net::connect(&socket, &to)?;
            Ok(TcpStream::from(socket))
        };
        let connected = host.run(connect)?.map_err(failed(host, "connect to", to))?;
        let (client, server) = accept(host, listener, connected)?;
        close(server, client).map_err(failed(host, "close", "a connection"))?;
    }
    Ok(())
}

fn read(host: &Host, file: &str) -> Result<String, Error> {
    let path = format!("/proc/thread-self/net/{file}");
    host.run(|| std::fs::read_to_string(&path))?.map_err(failed(host, "read", format!("/proc/net/{file}")))
}

fn malformed(what: &'static str) -> impl FnOnce(linger_wire::Malformed) -> Error {
    move |error| Error::Malformed { what, text: format!("/proc/net/{what}"), why: error.to_string() }
}

/// How many timewait sockets the host has, FIN_WAIT2's among them: `tw` of sockstat.
pub(super) fn timewaits(host: &Host) -> Result<u64, Error> {
    Ok(procnet::sockstat(&read(host, "sockstat")?, None).map_err(malformed("sockstat"))?.tw)
}

/// A counter of TcpExt in the host's `/proc/net/netstat`; 0 on a kernel that has none of this name.
pub(super) fn counter(host: &Host, name: &str) -> Result<u64, Error> {
    let mut counters = Counters::new();
    procnet::counter_pairs(&read(host, "netstat")?, &mut counters).map_err(malformed("netstat"))?;
    Ok(counters.get(&format!("TcpExt.{name}")).copied().unwrap_or(0))
}

/// The host's sockets in a state with this local port.
pub(super) fn count(host: &Host, state: &str, local_port: u16) -> Result<u64, Error> {
    let sockets = host.tcp_sockets()?;
    Ok(sockets.iter().filter(|it| it.state == state && it.local_port == local_port).count() as u64)
}

/// Waits until something is so; false past `patience`.
pub(super) fn wait(
    patience: Duration,
    mut is_so: impl FnMut() -> Result<bool, Error>,
) -> Result<bool, Error> {
    let start = Instant::now();
    loop {
        if is_so()? {
            return Ok(true);
        }
        if start.elapsed() > patience {
            return Ok(false);
        }
        thread::sleep(EVERY);
    }
}

/// How long something lived.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Life {
    pub(super) seconds: f64,
    /// It was there still when it was looked at last.
    pub(super) goes_on: bool,
}

impl Life {
    /// Watches until it is gone, `limit` from `since` at most.
    pub(super) fn watch(
        since: Instant,
        limit: Duration,
        mut is_there: impl FnMut() -> Result<bool, Error>,
    ) -> Result<Life, Error> {
        loop {
            // Before the look, so that one that takes long can't make it seem that it lived longer.
            let seconds = since.elapsed().as_secs_f64();
            if !is_there()? {
                return Ok(Life { seconds, goes_on: false });
            }
            if since.elapsed() > limit {
                return Ok(Life { seconds, goes_on: true });
            }
            thread::sleep(EVERY);
        }
    }
}

impl std::fmt::Display for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let more = if self.goes_on { "more than " } else { "" };
        write!(f, "{more}{:.1} s", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_written() {
        assert_eq!(Life { seconds: 60.04, goes_on: false }.to_string(), "60.0 s");
        assert_eq!(Life { seconds: 130.0, goes_on: true }.to_string(), "more than 130.0 s");
    }

    #[test]
    fn a_life_ends() {
        let mut looks = 0;
        let life = Life::watch(Instant::now(), PATIENCE, || {
            looks += 1;
            Ok(looks < 3)
        });
        assert!(!life.unwrap().goes_on);
        let endless = Life::watch(Instant::now(), Duration::from_millis(1), || Ok(true)).unwrap();
        assert!(endless.goes_on);
    }
}
