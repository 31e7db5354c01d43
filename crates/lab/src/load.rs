//! Sockets by the hundred thousand, for the bench.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::actor::errno_name;
use crate::socket::{defer_accept, tcp_socket};
use crate::{Actor, Client, Error, Host, Launcher, Server};

/// Ephemeral ports of the host that makes the load: 1024 to 65000.
const PORT_RANGE: (u16, u16) = (1024, 65_000);
/// connect() slows tenfold once half of the ports towards one destination are taken.
const MOST_PER_GROUP: u64 = (PORT_RANGE.1 - PORT_RANGE.0) as u64 / 2;
/// Where the load's servers listen: above the ephemeral ports.
const FIRST_LISTENER: u16 = 65_001;
const LISTENERS: u16 = 16;
/// Connections made and closed before the other side of them is. Small enough for the cache, large enough that
/// looking at the listeners costs nothing.
const BATCH: u64 = 128;

/// TIME_WAIT sockets in one host, over its loopback: made as fast as possible, since each lives 60 s.
///
/// Each thread plays both sides, so that nobody waits for anybody: it connects and closes a batch, then accepts and
/// closes it. TCP_DEFER_ACCEPT lets a connection be accepted with its end, never before, so that the client is always
/// the one that closes first and the server needn't read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeWaitLoad {
    /// How many.
    pub total: u64,
    /// How many distinct (source, destination, destination port) they are spread over, evenly.
    pub groups: u64,
    /// How many threads make them.
    pub threads: u64,
}

impl Default for TimeWaitLoad {
    fn default() -> Self {
        TimeWaitLoad { total: 1_000_000, groups: 40, threads: 2 }
    }
}

/// What a load made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Made {
    /// How many sockets.
    pub made: u64,
    /// Over how many (source, destination, destination port).
    pub groups: u64,
    /// How long it took; the first of them is as old now.
    pub seconds: f64,
    /// What failed, by errno.
    pub errors: BTreeMap<String, u64>,
}

impl Made {
    /// How many in a second.
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.made as f64 / self.seconds } else { 0.0 }
    }
}

impl TimeWaitLoad {
    /// Makes them in `host`, and sets there what it takes: reuse off, room for the sockets, more ports.
    ///
    /// # Errors
    /// When a group would need more than half of the ports, or the host's sysctls or listeners can't be set.
    pub fn make(&self, host: &Host) -> Result<Made, Error> {
        let groups = self.groups.clamp(1, self.total.clamp(1, 10_000_000));
        // Each has a group at least.
        let threads = self.threads.clamp(1, groups.min(u64::from(LISTENERS)));
        if self.total.div_ceil(groups) > MOST_PER_GROUP {
            return Err(Error::Malformed {
                what: "load of",
                text: format!("{} in {groups} groups", self.total),
                why: format!("at most {MOST_PER_GROUP} fit into a group before connect() becomes slow"),
            });
        }
        for (key, value) in [
            ("net.ipv4.tcp_tw_reuse", "0".to_owned()),
            ("net.ipv4.tcp_max_tw_buckets", (self.total + 100_000).to_string()),
            ("net.ipv4.ip_local_port_range", format!("{} {}", PORT_RANGE.0, PORT_RANGE.1)),
            ("net.core.somaxconn", "65535".to_owned()),
            ("net.ipv4.tcp_no_metrics_save", "1".to_owned()),
            // A segment that comes late would make the other side's reset end a TIME_WAIT.
            ("net.ipv4.tcp_rfc1337", "1".to_owned()),
        ] {
            host.sysctl(key, &value)?;
        }
        let made = host.run(|| self.make_here(groups, threads))?;
        made.map_err(|source| Error::Host {
            host: host.name().to_owned(),
            operation: "make",
            subject: "the load".into(),
            source,
        })
    }

    fn make_here(&self, groups: u64, threads: u64) -> io::Result<Made> {
        let listeners = (0..LISTENERS).map(listen).collect::<io::Result<Vec<OwnedFd>>>()?;
        let start = Instant::now();
        let parts = thread::scope(|scope| {
            // A thread has every so-many-th group and every so-many-th listener.
            let parts: Vec<_> = (0..threads)
                .map(|part| {
                    let own: Vec<(u16, &OwnedFd)> = (0..LISTENERS)
                        .zip(&listeners)
                        .filter(|(at, _)| u64::from(*at) % threads == part)
                        .collect();
                    let groups = share(groups, threads, part);
                    let total = share(self.total, threads, part);
                    scope.spawn(move || make_part(&own, groups, total))
                })
                .collect();
            parts.into_iter().map(|part| part.join().expect("a part doesn't panic")).collect::<Vec<_>>()
        });
        let mut made = Made { groups, seconds: start.elapsed().as_secs_f64(), ..Made::default() };
        for (count, errors) in parts {
            made.made += count;
            for (errno, count) in errors {
                *made.errors.entry(errno).or_default() += count;
            }
        }
        Ok(made)
    }
}

/// The size of one of `parts` nearly equal parts.
fn share(total: u64, parts: u64, part: u64) -> u64 {
    total / parts + u64::from(part < total % parts)
}

fn listen(at: u16) -> io::Result<OwnedFd> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, FIRST_LISTENER + at));
    let socket = tcp_socket(&address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    defer_accept(&socket, 10)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 65_535)?;
    Ok(socket)
}

/// What one thread does: how many it made, and what failed.
fn make_part(listeners: &[(u16, &OwnedFd)], groups: u64, total: u64) -> (u64, BTreeMap<String, u64>) {
    let mut errors = BTreeMap::new();
    let (mut begun, mut closed, mut made) = (0, 0, 0);
    while begun < total {
        let batch = BATCH.min(total - begun);
        for index in begun..begun + batch {
            match connect_and_close(&destination(listeners, index % groups)) {
                Ok(()) => closed += 1,
                Err(error) => *errors.entry(errno_name(&error.into())).or_default() += 1,
            }
        }
        begun += batch;
        made += accept_and_close(listeners);
    }
    // An end may be under way still, when the kernel put its work off.
    let start = Instant::now();
    while made < closed && start.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(1));
        made += accept_and_close(listeners);
    }
    (made, errors)
}

fn connect_and_close(destination: &SocketAddrV4) -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, destination)
}

fn accept_and_close(listeners: &[(u16, &OwnedFd)]) -> u64 {
    let mut count = 0;
    for (_, listener) in listeners {
        while rustix::net::accept_with(listener, SocketFlags::CLOEXEC).is_ok() {
            count += 1;
        }
    }
    count
}

/// The destination of a thread's group: its listeners in turn, then the next address from 127.1.0.0 on.
fn destination(listeners: &[(u16, &OwnedFd)], group: u64) -> SocketAddrV4 {
    let length = listeners.len() as u64;
    let at = usize::try_from(group % length).expect("an index of a few listeners");
    let address = 0x7f01_0000 + u32::try_from(group / length).expect("fewer groups than addresses");
    SocketAddrV4::new(Ipv4Addr::from(address), FIRST_LISTENER + listeners[at].0)
}

/// CLOSE_WAIT sockets in one host, held by several processes since each may have only so many descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseWaitLoad {
    /// How many.
    pub total: u64,
    /// How many processes hold them, evenly.
    pub processes: u64,
    /// The name of those processes.
    pub comm: String,
}

impl Default for CloseWaitLoad {
    fn default() -> Self {
        CloseWaitLoad { total: 60_000, processes: 4, comm: "lab-leaker".into() }
    }
}

/// The processes that hold a [`CloseWaitLoad`]; they and their sockets end when this is dropped.
#[derive(Debug)]
pub struct CloseWaits {
    /// The processes.
    pub holders: Vec<Actor>,
    /// What was made.
    pub made: Made,
}

/// Each holder listens at so many ports.
const PORTS_PER_HOLDER: u16 = 4;

impl CloseWaitLoad {
    /// Makes them in `host`: servers that never close, and clients that did.
    ///
    /// The clients' sides are FIN_WAIT2 for `tcp_fin_timeout` (60 s) and then gone; the CLOSE_WAIT sockets stay.
    ///
    /// # Errors
    /// When a process would need more descriptors than it may have, or the actors can't be started or fail.
    pub fn make(&self, host: &Host, launcher: &Launcher) -> Result<CloseWaits, Error> {
        let processes = self.processes.clamp(1, 64);
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
        // A few for its own use.
        if self.total.div_ceil(processes) + 64 > most {
            return Err(Error::Malformed {
                what: "load of",
                text: format!("{} in {processes} processes", self.total),
                why: format!("a process may have {most} descriptors here; use more processes"),
            });
        }
        let room = (2 * self.total + 100_000).to_string();
        host.sysctl("net.ipv4.tcp_max_tw_buckets", &room)?;
        host.sysctl("net.core.somaxconn", "65535")?;
        let start = Instant::now();
        let patience = Duration::from_secs(60 + self.total / 500);
        let mut pairs = Vec::new();
        for process in 0..processes {
            let address = Ipv4Addr::new(127, 2, 0, u8::try_from(process + 1).expect("64 at most"));
            let listen = (0..PORTS_PER_HOLDER).map(|_| SocketAddr::from((address, 0))).collect();
            let spec = Server {
                comm: self.comm.clone(),
                listen,
                backlog: 65_535,
                behaviour: crate::Behaviour::NeverClose,
                ..Server::default()
            };
            let holder = host.spawn(launcher, &spec.into())?;
            let targets =
                holder.ready(patience)?.into_iter().map(|port| SocketAddr::from((address, port))).collect();
            let connections = share(self.total, processes, process);
            let client = host
                .spawn(launcher, &Client { targets, connections, requests: 0, ..Client::default() }.into())?;
            client.ready(patience)?;
            pairs.push((holder, client, connections));
        }
        pairs.iter().try_for_each(|(_, client, _)| client.go())?;
        let mut made = Made { groups: processes * u64::from(PORTS_PER_HOLDER), ..Made::default() };
        let mut holders = Vec::new();
        for (holder, client, connections) in pairs {
            for (errno, count) in client.done(patience)?.errors {
                *made.errors.entry(errno).or_default() += count;
            }
            let failed: u64 = made.errors.values().sum();
            made.made += holder.wait_until(patience, |it| it.ended + failed >= connections)?.ended;
            holders.push(holder);
        }
        made.seconds = start.elapsed().as_secs_f64();
        Ok(CloseWaits { holders, made })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (total, parts) in [(0, 1), (1, 2), (10, 3), (1_000_000, 7)] {
            assert_eq!((0..parts).map(|part| share(total, parts, part)).sum::<u64>(), total);
        }
    }

    #[test]
    fn a_group_has_room_for_half_of_the_ports() {
        let own = TimeWaitLoad { total: 1_000_000, groups: 10, threads: 2 };
        assert!(own.total.div_ceil(own.groups) > MOST_PER_GROUP);
        let default = TimeWaitLoad::default();
        assert!(default.total.div_ceil(default.groups) <= MOST_PER_GROUP);
    }
}
