//! One pass over the sockets of the calling thread's network namespace.

use linger_model::SocketRecord;
use linger_wire::bytecode::Filter;
use linger_wire::netlink::{Message, Messages};
use linger_wire::sock_diag::{self, Extensions};
use linger_wire::{Malformed, netlink, procnet};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc;
use std::time::Duration;

/// The kernel gives at most 32 KiB at a time (`netlink_dump()` in net/netlink/af_netlink.c).
const DATAGRAM: usize = 32 * 1024;

/// What to walk.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    /// Bits of the states wanted ([`linger_model::State::bit`]).
    pub states: u32,
    /// Further data with each socket.
    pub extensions: Extensions,
    /// Only sockets that pass; run by the kernel where its bytecode can express it, and again here.
    pub filter: Option<&'a Filter>,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalkEnd {
    /// The table changed so that the kernel calls the dump inconsistent (NLM_F_DUMP_INTR).
    pub interrupted: bool,
    /// The kernel ran out of memory for its answers (ENOBUFS): some are missing.
    pub lost: bool,
    /// Records that could not be read.
    pub malformed: u64,
}

/// Why there was no pass.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// tcp_diag is not there and could not be loaded.
    #[error("sock_diag cannot list TCP sockets here: {0}")]
    NoTcpDiag(Errno),
    /// Another refusal.
    #[error("cannot {operation} sock_diag: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// An answer that is no netlink message.
    #[error("sock_diag answered with something else: {0}")]
    Malformed(#[from] Malformed),
    /// /proc could not be read.
    #[error("cannot read {path}: {source}")]
    Proc {
        /// Which file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Gives every socket that the walk asks for to `each`, in the kernel's order. A socket can come twice or not at all
/// when the table changes meanwhile: a dump is no atomic picture.
pub fn walk(walk: &Walk<'_>, mut each: impl FnMut(&SocketRecord)) -> Result<WalkEnd, WalkError> {
    let failed = |operation| move |source| WalkError::System { operation, source };
    let socket = match open() {
        Err(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => {
            return Err(WalkError::NoTcpDiag(Errno::PROTONOSUPPORT));
        }
        other => other.map_err(failed("open"))?,
    };
    let request = sock_diag::request(walk.states, walk.extensions, walk.filter, 1);
    match send(&socket, &request, SendFlags::empty()) {
        Err(Errno::NOENT | Errno::OPNOTSUPP) => return Err(WalkError::NoTcpDiag(Errno::NOENT)),
        other => other.map_err(failed("ask"))?,
    };
    let mut taker = Taker { filter: walk.filter, each: &mut each, end: WalkEnd::default() };
    let mut buffer = vec![0u8; DATAGRAM];
    // A small table is read in a few answers; for a large one the kernel's walk and the reading go side by side.
    for _ in 0..INLINE {
        if let Some(end) = taker.take(receive(&socket, &mut buffer), &buffer)? {
            return Ok(end);
        }
    }
    if let Some(end) = side_by_side(&socket, &mut taker)? {
        return Ok(end);
    }
    loop {
        if let Some(end) = taker.take(receive(&socket, &mut buffer), &buffer)? {
            return Ok(end);
        }
    }
}

/// Answers read before a second thread is worth its start.
const INLINE: usize = 16;
/// Batches of answers that may wait between the two threads.
const WAITING: usize = 2;

struct Taker<'a, F> {
    filter: Option<&'a Filter>,
    each: &'a mut F,
    end: WalkEnd,
}

impl<F: FnMut(&SocketRecord)> Taker<'_, F> {
    /// Reads one answer; how the walk ended, if it was the last.
    fn take(&mut self, received: Result<usize, Errno>, buffer: &[u8]) -> Result<Option<WalkEnd>, WalkError> {
        let length = match received {
            Ok(length) => length,
            Err(Errno::NOBUFS) => {
                self.end.lost = true;
                return Ok(None);
            }
            Err(source) => return Err(WalkError::System { operation: "read from", source }),
        };
        for message in Messages::new(buffer.get(..length).unwrap_or_default()) {
            match message? {
                Message::Payload { interrupted, body, .. } => {
                    self.end.interrupted |= interrupted;
                    match sock_diag::parse(body) {
                        Ok(record) if self.filter.is_none_or(|f| f.passes(&record)) => (self.each)(&record),
                        Ok(_) => {}
                        Err(_) => self.end.malformed += 1,
                    }
                }
                Message::Done(None) => return Ok(Some(self.end)),
                Message::Done(Some(errno)) | Message::Error(errno) => {
                    return match Errno::from_raw_os_error(errno) {
                        errno @ (Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT) => {
                            Err(WalkError::NoTcpDiag(errno))
                        }
                        source => Err(WalkError::System { operation: "walk with", source }),
                    };
                }
            }
        }
        Ok(None)
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => return Ok(length),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Several answers that change threads together: waking the other thread costs as much as reading an answer.
struct Batch {
    bytes: Vec<u8>,
    received: Vec<Result<usize, Errno>>,
}

impl Batch {
    const ANSWERS: usize = 8;

    fn new() -> Batch {
        Batch { bytes: vec![0; DATAGRAM * Batch::ANSWERS], received: Vec::with_capacity(Batch::ANSWERS) }
    }

    /// Receives until it is full, or until what may be the walk's last answer: whether it was that.
    fn fill(&mut self, socket: &OwnedFd) -> bool {
        self.received.clear();
        for buffer in self.bytes.chunks_exact_mut(DATAGRAM) {
            let received = receive(socket, buffer);
            self.received.push(received);
            let last = match received {
                Ok(length) => buffer.get(..length).is_none_or(netlink::may_end_dump),
                Err(error) => error != Errno::NOBUFS,
            };
            if last {
                return true;
            }
        }
        false
    }
}

/// Receives on a thread of its own while this one reads. Ends with the walk, or with what may be its last answer but
/// is not: then `None`.
fn side_by_side<F: FnMut(&SocketRecord)>(
    socket: &OwnedFd,
    taker: &mut Taker<'_, F>,
) -> Result<Option<WalkEnd>, WalkError> {
    let (filled, full) = mpsc::sync_channel::<Batch>(WAITING);
    let (emptied, empty) = mpsc::channel::<Batch>();
    std::thread::scope(|scope| {
        let receiver =
            std::thread::Builder::new().name("sock_diag".to_owned()).spawn_scoped(scope, move || {
                loop {
                    let mut batch = empty.try_recv().unwrap_or_else(|_| Batch::new());
                    let last = batch.fill(socket);
                    if filled.send(batch).is_err() || last {
                        return;
                    }
                }
            });
        if receiver.is_err() {
            // No thread to be had: the caller goes on alone.
            return Ok(None);
        }
        for batch in full {
            for (buffer, received) in batch.bytes.chunks_exact(DATAGRAM).zip(&batch.received) {
                if let Some(end) = taker.take(*received, buffer)? {
                    return Ok(Some(end));
                }
            }
            // The receiver is gone when it has its last answer.
            let _ = emptied.send(batch);
        }
        Ok(None)
    })
}

fn open() -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(rustix::net::netlink::SOCK_DIAG),
    )?;
    // The kernel answers within a walk of its table; this only keeps a lost answer from hanging the reader.
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(30)))?;
    Ok(socket)
}

/// The same from /proc/net/tcp and tcp6, for kernels without tcp_diag. Slower, and with less in each record.
pub fn walk_proc(walk: &Walk<'_>, mut each: impl FnMut(&SocketRecord)) -> Result<WalkEnd, WalkError> {
    let mut end = WalkEnd::default();
    for (name, required) in [("tcp", true), ("tcp6", false)] {
        let path = format!("/proc/thread-self/net/{name}");
        let file = match File::open(&path) {
            Ok(file) => file,
            // No tcp6 means that IPv6 is off.
            Err(_) if !required => continue,
            Err(source) => return Err(WalkError::Proc { path, source }),
        };
        let mut reader = BufReader::with_capacity(DATAGRAM, file);
        let mut line = Vec::with_capacity(256);
        loop {
            line.clear();
            // A line has 150 bytes; a longer one is not the kernel's.
            let read = reader.by_ref().take(4096).read_until(b'\n', &mut line);
            if read.map_err(|source| WalkError::Proc { path: path.clone(), source })? == 0 {
                break;
            }
            match procnet::tcp_line(&String::from_utf8_lossy(&line)) {
                Ok(Some(record)) => {
                    if walk.states & record.state.bit() != 0 && walk.filter.is_none_or(|f| f.passes(&record))
                    {
                        each(&record);
                    }
                }
                Ok(None) => {}
                Err(_) => end.malformed += 1,
            }
        }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::State;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    /// A listener and a connection on loopback in the test's own namespace, seen through both sources.
    #[test]
    fn both_sources_see_the_same_listener_and_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        let own = client.local_addr().expect("its address").port();
        let all = Walk {
            states: State::Listen.bit() | State::Established.bit(),
            extensions: Extensions::ALL,
            filter: None,
        };
        let mut seen = [Vec::new(), Vec::new()];
        walk(&all, |s| seen[0].push(s.clone())).expect("sock_diag");
        walk_proc(&all, |s| seen[1].push(s.clone())).expect("/proc/net/tcp");
        for seen in &seen {
            assert!(seen.iter().any(|s| s.state == State::Listen && s.sport == port && s.inode != 0));
            assert!(seen.iter().any(|s| s.state == State::Established && s.sport == own && s.dport == port));
        }
        let by_diag = seen[0].iter().find(|s| s.sport == own).expect("the connection");
        let info = by_diag.info.expect("tcp_info");
        assert!(info.segs_out.is_some() && info.snd_wnd.is_some() && by_diag.skmem.is_some());
    }

    #[test]
    fn the_kernel_takes_the_bytecode_of_every_kind_of_filter() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let prefix = linger_wire::bytecode::Prefix { addr: Ipv4Addr::new(127, 0, 0, 0).into(), length: 8 };
        let filter = Filter::All(vec![
            Filter::Any(vec![Filter::Sport(port, port), Filter::Sport(1, 1)]),
            Filter::Any(vec![Filter::Dst(prefix), Filter::Src(prefix)]),
            Filter::Dport(0, 65535),
        ]);
        let asked = Walk { states: State::Listen.bit(), extensions: Extensions::NONE, filter: Some(&filter) };
        let mut ports = Vec::new();
        walk(&asked, |s| ports.push(s.sport)).expect("sock_diag");
        assert_eq!(ports, [port]);
    }
}
