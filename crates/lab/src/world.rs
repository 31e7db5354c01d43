use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use linger_netns::{Netns, Worker};

use crate::actor::end_with_this_thread;
use crate::rtnl::{self, Rtnl};
use crate::{Actor, ActorSpec, Error, Launcher, Program, sysctl};

/// How long nft may take to load a ruleset.
const NFT_TAKES: Duration = Duration::from_secs(20);
/// How much of what it says is kept, bytes.
const NFT_SAYS: u64 = 2048;

/// A few hosts and the links between them. Dropped, it takes everything with it, once no clone of its hosts is left.
///
/// Nothing of it has a name outside: a host is a namespace that only descriptors, threads and actors of this process
/// hold, so that the kernel takes it away with the process, even on SIGKILL. There is no route to anywhere else.
#[derive(Debug, Default)]
pub struct World {
    hosts: Mutex<Vec<Host>>,
}

/// One host of a [`World`]: a network namespace with its loopback up. Clones are the same host.
#[derive(Debug, Clone)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    netns: Netns,
    worker: Worker,
    /// The number of the next `ethN`.
    next_device: AtomicU32,
}

/// The two ends of a link, by the names of their interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The interface in the first host.
    pub a: String,
    /// The interface in the second host.
    pub b: String,
}

impl Drop for World {
    /// A closed socket that still wants an answer keeps its namespace; the kernel is not to wait minutes for it.
    fn drop(&mut self) {
        for host in self.hosts() {
            // Best effort: the kernel gives up by itself, only later.
            let _ = host.sysctl("net.ipv4.tcp_orphan_retries", "1");
        }
    }
}

impl World {
    /// An empty world.
    pub fn new() -> World {
        World::default()
    }

    /// Adds a host.
    ///
    /// # Errors
    /// Where this process may not make network namespaces ([`Error::is_denied`]), or no more of them.
    pub fn host(&self, name: &str) -> Result<Host, Error> {
        let netns = linger_netns::create()?;
        let worker = Worker::new(&netns)?;
        let host =
            Host(Arc::new(Inner { name: name.to_owned(), netns, worker, next_device: AtomicU32::new(0) }));
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).push(host.clone());
        Ok(host)
    }

    /// The hosts, in the order in which they were added.
    pub fn hosts(&self) -> Vec<Host> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Joins two hosts with a veth pair (`ethN` in each), gives its ends their addresses, and sets them up.
    ///
    /// Addresses are written as `10.77.0.1/24` or `fd00::1/64`; an IPv6 address is usable at once.
    ///
    /// # Errors
    /// When an address can't be understood or the kernel refuses.
    pub fn link(&self, a: &Host, b: &Host, a_cidr: &str, b_cidr: &str) -> Result<Link, Error> {
        // Understood before anything is made.
        cidr(a_cidr)?;
        cidr(b_cidr)?;
        let link = Link { a: a.new_device(), b: b.new_device() };
        let (name, peer, netns) = (link.a.clone(), link.b.clone(), b.0.netns.as_fd().as_raw_fd());
        a.rtnl("add", format!("the veth pair {name} – {}:{peer}", b.name()), move |rtnl| {
            rtnl.add_veth(&name, &peer, netns)
        })?;
        for (host, device, cidr) in [(a, &link.a, a_cidr), (b, &link.b, b_cidr)] {
            host.set_link(device, true)?;
            host.add_address(device, cidr)?;
        }
        Ok(link)
    }
}

impl Host {
    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The inode of its namespace, as in `net:[4026532290]`.
    pub fn inode(&self) -> u64 {
        self.0.netns.inode()
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.0.netns
    }

    /// A path by which another process of this user can open the namespace while this process holds it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.netns.as_fd().as_raw_fd()))
    }

    /// Runs `f` inside the host, on a thread of its own, and returns what it returned.
    ///
    /// # Errors
    /// When the thread can't be made.
    ///
    /// # Panics
    /// A panic of `f` goes on in the caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
        Ok(linger_netns::run_in(&self.0.netns, f)?)
    }

    /// Runs `f` on the thread that lives inside the host, which costs less than a new one, after what it runs now.
    ///
    /// # Panics
    /// A panic of `f` goes on in the caller.
    pub fn work<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        self.0.worker.run(f)
    }

    /// A command whose process starts inside the host.
    ///
    /// # Errors
    /// When this process is out of descriptors.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command, Error> {
        Ok(linger_netns::command(&self.0.netns, program)?)
    }

    /// Starts an actor inside the host.
    ///
    /// # Errors
    /// When the launcher's program can't be started.
    pub fn spawn(&self, launcher: &Launcher, spec: &ActorSpec) -> Result<Actor, Error> {
        Actor::spawn(self, launcher, spec)
    }

    /// Sets a network sysctl inside the host, such as `net.ipv4.tcp_tw_reuse`.
    ///
    /// # Errors
    /// See [`sysctl::write_sysctl`].
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), Error> {
        sysctl::write_sysctl(&self.0.netns, key, value).map_err(|error| self.named(error))
    }

    /// Reads a network sysctl inside the host.
    ///
    /// # Errors
    /// See [`sysctl::read_sysctl`].
    pub fn read_sysctl(&self, key: &str) -> Result<String, Error> {
        sysctl::read_sysctl(&self.0.netns, key).map_err(|error| self.named(error))
    }

    /// Adds an address, written as `10.77.0.9/24` or `fd00::9/64`, to an interface (`lo`, `eth0`).
    ///
    /// # Errors
    /// When it can't be understood or the kernel refuses.
    pub fn add_address(&self, device: &str, address: &str) -> Result<(), Error> {
        let (ip, prefix_len) = cidr(address)?;
        let name = device.to_owned();
        self.rtnl("add", format!("the address {address} to {device}"), move |rtnl| {
            rtnl.add_address(rtnl::index(&name)?, ip, prefix_len)
        })
    }

    /// Sends everything that has no other route to the host at `via`.
    ///
    /// # Errors
    /// When it can't be understood or the kernel refuses.
    pub fn default_route(&self, via: &str) -> Result<(), Error> {
        let gateway = address(via)?;
        self.rtnl("add", format!("a default route via {via}"), move |rtnl| rtnl.add_route(None, gateway))
    }

    /// Sends what goes to the network `to` (`10.78.0.0/24`) to the host at `via`.
    ///
    /// # Errors
    /// When it can't be understood or the kernel refuses.
    pub fn route(&self, to: &str, via: &str) -> Result<(), Error> {
        let (destination, gateway) = (cidr(to)?, address(via)?);
        self.rtnl("add", format!("a route to {to} via {via}"), move |rtnl| {
            rtnl.add_route(Some(destination), gateway)
        })
    }

    /// Lets the host forward between its links, as a middlebox does.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forward(&self) -> Result<(), Error> {
        self.sysctl("net.ipv4.ip_forward", "1")?;
        match self.sysctl("net.ipv6.conf.all.forwarding", "1") {
            // A kernel without IPv6 has nothing to forward.
            Err(Error::Host { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Sets an interface up or down; down, its peer's packets vanish without an answer.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn set_link(&self, device: &str, is_up: bool) -> Result<(), Error> {
        let name = device.to_owned();
        let operation = if is_up { "set up" } else { "set down" };
        self.rtnl(operation, format!("the interface {device}"), move |rtnl| {
            rtnl.set_link(rtnl::index(&name)?, is_up)
        })
    }

    /// Loads an nftables ruleset inside the host, with `nft -f -`.
    ///
    /// # Errors
    /// [`Error::Missing`] where nft isn't installed; else what nft says.
    pub fn nft(&self, rules: &str) -> Result<(), Error> {
        let failed =
            |message: String| Error::Program { host: self.name().to_owned(), program: "nft".into(), message };
        let missing = || Error::Missing { program: "nft", package: "nftables" };
        let nft = Program { program: "nft".into(), ..Program::default() }.find().ok_or_else(missing)?;
        let mut command = self.command(nft)?;
        command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Rules may include what never ends.
        end_with_this_thread(&mut command).map_err(|error| failed(error.to_string()))?;
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (mut stdin, mut stderr) = (child.stdin.take(), child.stderr.take());
        let said = thread::scope(|scope| {
            // A write that fails means that nft ended early, and its message says why.
            scope.spawn(move || stdin.take().map(|mut it| it.write_all(rules.as_bytes())));
            let said = scope.spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.as_mut().map(|it| it.take(NFT_SAYS).read_to_end(&mut text));
                text
            });
            let start = Instant::now();
            while child.try_wait().is_ok_and(|ended| ended.is_none()) && start.elapsed() < NFT_TAKES {
                thread::sleep(Duration::from_millis(5));
            }
            if child.try_wait().is_ok_and(|ended| ended.is_none()) {
                let _ = child.kill();
            }
            said.join().unwrap_or_default()
        });
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if status.success() {
            return Ok(());
        }
        let words: Vec<String> =
            String::from_utf8_lossy(&said).split_whitespace().map(str::to_owned).collect();
        let words = if words.is_empty() { format!("it ended with {status}") } else { words.join(" ") };
        Err(failed(words.replace("/dev/stdin:", "rules, line ")))
    }

    /// How many TCP sockets of each state `/proc/net/tcp` and `tcp6` of the host list; states without any are absent.
    ///
    /// For tests, as an oracle that shares nothing with linger's own reading. Bound sockets aren't listed there.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn tcp_states(&self) -> Result<BTreeMap<&'static str, u64>, Error> {
        Ok(self.tcp_sockets()?.into_iter().fold(BTreeMap::new(), |mut counts, socket| {
            *counts.entry(socket.state).or_default() += 1;
            counts
        }))
    }

    /// The TCP sockets that `/proc/net/tcp` and `tcp6` of the host list.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn tcp_sockets(&self) -> Result<Vec<TcpSocket>, Error> {
        let read = |file: &str| match std::fs::read_to_string(format!("/proc/thread-self/net/{file}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && file == "tcp6" => Ok(String::new()),
            other => other,
        };
        let texts = self.run(|| Ok(format!("{}{}", read("tcp")?, read("tcp6")?)))?;
        let text = texts.map_err(|source| self.failed("read", "/proc/net/tcp".into(), source))?;
        Ok(text.lines().filter_map(TcpSocket::parse).collect())
    }

    /// Runs one rtnetlink request on the host's worker.
    fn rtnl(
        &self,
        operation: &'static str,
        subject: String,
        request: impl FnOnce(&mut Rtnl) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let result = self.0.worker.run(move || request(&mut Rtnl::new()?));
        result.map_err(|source| self.failed(operation, subject, source))
    }

    fn failed(&self, operation: &'static str, subject: String, source: io::Error) -> Error {
        Error::Host { host: self.name().to_owned(), operation, subject, source }
    }

    /// Puts the host's own name in the place of its namespace's.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Host { operation, subject, source, .. } => self.failed(operation, subject, source),
            other => other,
        }
    }

    fn new_device(&self) -> String {
        format!("eth{}", self.0.next_device.fetch_add(1, Ordering::Relaxed))
    }
}

/// A line of `/proc/net/tcp`, as far as tests want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSocket {
    /// `established`, `time_wait`, …
    pub state: &'static str,
    /// The port on this side.
    pub local_port: u16,
    /// The port on the other side; 0 for a listener.
    pub remote_port: u16,
    /// Bytes sent and not acknowledged (`Send-Q`).
    pub tx_queue: u32,
    /// Bytes received and not read (`Recv-Q`); of a listener, connections that wait to be accepted.
    pub rx_queue: u32,
    /// Its inode; 0 where no process holds it.
    pub inode: u64,
}

impl TcpSocket {
    fn parse(line: &str) -> Option<TcpSocket> {
        let mut fields = line.split_ascii_whitespace();
        let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
        let local_port = port(fields.nth(1)?)?;
        let remote_port = port(fields.next()?)?;
        let state = match fields.next()? {
            "01" => "established",
            "02" => "syn_sent",
            "03" | "0C" => "syn_recv",
            "04" => "fin_wait1",
            "05" => "fin_wait2",
            "06" => "time_wait",
            "07" => "close",
            "08" => "close_wait",
            "09" => "last_ack",
            "0A" => "listen",
            "0B" => "closing",
            _ => return None,
        };
        let (tx, rx) = fields.next()?.split_once(':')?;
        let queue = |text| u32::from_str_radix(text, 16).ok();
        let inode = fields.nth(4)?.parse().ok()?;
        Some(TcpSocket { state, local_port, remote_port, tx_queue: queue(tx)?, rx_queue: queue(rx)?, inode })
    }
}

pub(crate) fn address(text: &str) -> Result<IpAddr, Error> {
    IpAddr::from_str(text).map_err(|error| Error::Malformed {
        what: "address",
        text: text.to_owned(),
        why: error.to_string(),
    })
}

pub(crate) fn cidr(text: &str) -> Result<(IpAddr, u8), Error> {
    let malformed = |why: &str| Error::Malformed {
        what: "address with prefix length",
        text: text.to_owned(),
        why: why.to_owned(),
    };
    let (ip, prefix_len) = text.split_once('/').ok_or_else(|| malformed("write it as 10.77.0.1/24"))?;
    let ip = address(ip)?;
    let longest = if ip.is_ipv6() { 128 } else { 32 };
    match prefix_len.parse::<u8>() {
        Ok(length) if length <= longest => Ok((ip, length)),
        _ => Err(malformed("the prefix length must be 0 to 32, or to 128 for IPv6")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(cidr("10.77.0.1/24").unwrap(), ("10.77.0.1".parse().unwrap(), 24));
        assert_eq!(cidr("fd00::1/64").unwrap(), ("fd00::1".parse().unwrap(), 64));
        for bad in ["10.77.0.1", "10.77.0.1/33", "10.77.0/24", "fd00::1/129", "", "/", "::/x"] {
            assert!(cidr(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lines_of_proc_net_tcp() {
        let line = "   0: 0100007F:0016 0200007F:CB2A 08 00000005:00000001 00:00000000 00000000     0        0 12345 1 \
            0000000000000000 20 4 30 10 -1";
        let expected = TcpSocket {
            state: "close_wait",
            local_port: 22,
            remote_port: 0xcb2a,
            tx_queue: 5,
            rx_queue: 1,
            inode: 12345,
        };
        assert_eq!(TcpSocket::parse(line), Some(expected));
        assert_eq!(
            TcpSocket::parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"),
            None
        );
        assert_eq!(TcpSocket::parse(""), None);
    }
}
