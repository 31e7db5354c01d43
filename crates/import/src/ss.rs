//! `ss`: a socket's line, what follows its addresses, and the summary of `ss -s`.

use crate::text::{Endpoint, NoEndpoint, Words, endpoint, leading, number, number32, thousandths};
use linger_model::record::{Family, SkMem, TcpInfo, Timer, TimerKind};
use linger_model::{Addr, SocketRecord, State};

/// What a line showed beyond addresses and queues; bits, so that a piece's are those of its lines together.
pub(crate) mod shown {
    pub const TIMERS: u8 = 1;
    pub const INFO: u8 = 2;
    /// `ts` or `sack`: printed with `-o` alone.
    pub const OPTIONS: u8 = 4;
    pub const INODES: u8 = 8;
    pub const USERS: u8 = 16;
    pub const QUEUES: u8 = 32;
    /// Send-Q of a listener is its accept queue's limit.
    pub const LIMITS: u8 = 64;
}

/// A process as an output names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub pid: u32,
    name: [u8; 16],
    length: u8,
}

impl User {
    pub fn new(pid: u32, name: &[u8]) -> User {
        let length = name.len().min(16);
        let mut copy = [0; 16];
        copy[..length].copy_from_slice(&name[..length]);
        User { pid, name: copy, length: length as u8 }
    }

    pub fn name(&self) -> String {
        let name = self.name.get(..usize::from(self.length)).unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }
}

/// One socket and what came with it; used again for each.
pub(crate) struct Entry {
    pub record: SocketRecord,
    /// The holder with the lowest pid: of a server and its workers the server.
    pub user: Option<User>,
    pub cgroup: Vec<u8>,
    /// Bits of [`shown`].
    pub shown: u8,
    /// The local address was written `*`.
    pub star: bool,
}

impl Entry {
    pub fn new() -> Entry {
        Entry {
            record: SocketRecord::new(State::Close, Addr::UNSPECIFIED, 0, Addr::UNSPECIFIED, 0),
            user: None,
            cgroup: Vec::new(),
            shown: 0,
            star: false,
        }
    }

    /// Begins a new socket.
    pub fn set(&mut self, state: State, local: Endpoint, peer: Endpoint, queues: Option<(u32, u32)>) {
        let unconnected = state == State::Close && local.port != 0 && peer.port == 0;
        let state = if unconnected { State::BoundInactive } else { state };
        self.record = SocketRecord::new(state, local.addr, local.port, peer.addr, peer.port);
        self.record.family = match (local.family, peer.family) {
            (Family::Ipv4, Family::Ipv4) => Family::Ipv4,
            // netstat writes a v4-mapped address as IPv4; the other end may still be `:::*`.
            _ => Family::Ipv6,
        };
        if state == State::Listen {
            self.record.dst = Addr::UNSPECIFIED;
        }
        self.shown = if queues.is_some() { shown::QUEUES } else { 0 };
        if let Some((receive, send)) = queues {
            (self.record.rqueue, self.record.wqueue) = (receive, send);
        }
        self.user = None;
        self.star = local.star;
        self.cgroup.clear();
    }
}

/// Which words come before the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Columns {
    pub netid: bool,
    pub state: bool,
}

/// How a line was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Socket,
    /// A socket that is not TCP's.
    OtherProtocol,
    /// The line ends before the peer's address: the rest may be on the next one.
    Incomplete,
    /// A socket, but without its state.
    NoState,
    /// A socket, but not all of it can be read.
    Lost(&'static str),
    /// Not understood.
    No(&'static str),
}

/// ss's words for protocols (the first column without `-t` alone).
fn netid(word: &[u8]) -> Option<bool> {
    match word {
        b"tcp" => Some(true),
        b"udp" | b"raw" | b"icmp6" | b"nl" | b"p_raw" | b"p_dgr" | b"u_str" | b"u_dgr" | b"u_seq"
        | b"ti_st" | b"ti_dg" | b"ti_rd" | b"ti_sq" | b"v_str" | b"v_dgr" | b"xdp" | b"mptcp" | b"dccp"
        | b"sctp" | b"unknown" | b"???" => Some(false),
        _ => None,
    }
}

/// ss's names of states; only upper case, as ss writes them.
#[inline]
pub(crate) fn state(word: &[u8]) -> Option<State> {
    Some(match word {
        b"ESTAB" => State::Established,
        b"TIME-WAIT" => State::TimeWait,
        b"CLOSE-WAIT" => State::CloseWait,
        b"LISTEN" => State::Listen,
        b"SYN-SENT" => State::SynSent,
        b"SYN-RECV" | b"NEW-SYN-RECV" => State::SynRecv,
        b"FIN-WAIT-1" => State::FinWait1,
        b"FIN-WAIT-2" => State::FinWait2,
        b"LAST-ACK" => State::LastAck,
        b"CLOSING" => State::Closing,
        b"UNCONN" | b"CLOSED" => State::Close,
        b"BOUND-INACTIVE" => State::BoundInactive,
        _ => return None,
    })
}

/// Whether a line may be a socket's that no heading announced (`ss -H`).
pub(crate) fn begins_socket(line: &[u8]) -> bool {
    let mut words = Words(line);
    let first = words.word();
    let known = if netid(first).is_some() { words.word() } else { first };
    if known == b"CLOSED" || state(known).is_none() {
        return false;
    }
    number(words.word()).is_some() && number(words.word()).is_some()
}

/// One line of sockets. Columns are told by their content: old versions and narrow terminals let them run together
/// differently, but never without a space.
#[inline]
pub(crate) fn socket(line: &[u8], implied: Option<State>, entry: &mut Entry) -> Taken {
    let mut words = Words(line);
    let mut word = words.word();
    let mut told = state(word);
    if told.is_none()
        && let Some(tcp) = netid(word)
    {
        if !tcp {
            return Taken::OtherProtocol;
        }
        word = words.word();
        told = state(word);
    }
    let first = if told.is_some() { words.word() } else { word };
    let Some(receive) = number32(first) else {
        return if first.is_empty() && told.is_some() {
            Taken::Incomplete
        } else {
            Taken::No("no state and queues where ss has them")
        };
    };
    let send = words.word();
    let Some(send) = number32(send) else {
        return if send.is_empty() { Taken::Incomplete } else { Taken::No("no Send-Q where ss has it") };
    };
    let local = match address(&mut words) {
        Ok(found) => found,
        Err(taken) => return taken,
    };
    let peer = match address(&mut words) {
        Ok(found) => found,
        Err(taken) => return taken,
    };
    // A timer of TIME_WAIT's tells the state where `state time-wait` dropped the column.
    let Some(state) = told.or(implied) else {
        let rest = words.rest();
        return if memchr::memmem::find(rest, b"timer:(timewait,").is_some() {
            entry.set(State::TimeWait, local, peer, Some((receive, send)));
            extras(rest, entry);
            Taken::Socket
        } else {
            Taken::NoState
        };
    };
    entry.set(state, local, peer, Some((receive, send)));
    entry.shown |= shown::LIMITS;
    if local.star && state == State::Listen {
        entry.record.v6only = Some(false);
    }
    let rest = words.rest();
    if !rest.is_empty() {
        extras(rest, entry);
    }
    Taken::Socket
}

/// An address with its port; old versions put a space between address and port where the address is long.
#[inline]
fn address(words: &mut Words<'_>) -> Result<Endpoint, Taken> {
    let word = words.word();
    match endpoint(word) {
        Ok(found) => Ok(found),
        Err(_) if word.is_empty() => Err(Taken::Incomplete),
        Err(NoEndpoint::HostName) => Err(Taken::Lost("host names instead of addresses: run ss with -n")),
        Err(NoEndpoint::PortName) => Err(Taken::Lost("a port by a name that is not known: run ss with -n")),
        Err(NoEndpoint::Cut) => Err(Taken::Lost("an address that is cut")),
        Err(NoEndpoint::Other) => {
            // `10.0.0.1: 80` does not occur, `[::ffff:10.0.0.1]:` in a broken line does.
            if word.last() == Some(&b':') && words.rest().is_empty() {
                Err(Taken::Incomplete)
            } else {
                Err(Taken::No("no address and port where ss has them"))
            }
        }
    }
}

/// Whether a line continues the socket above it: ss indents such lines, and what folds text breaks it anywhere.
pub(crate) fn continues(line: &[u8]) -> bool {
    let mut words = Words(line);
    let word = words.rest();
    const BEGIN: [&[u8]; 12] = [
        b"users:((",
        b"timer:(",
        b"uid:",
        b"ino:",
        b"sk:",
        b"cgroup:/",
        b"skmem:(",
        b"mem:(",
        b"v6only:",
        b"ts sack",
        b"inet-sockopt:",
        b"tcp-ulp-",
    ];
    BEGIN.iter().any(|begin| word.starts_with(begin))
}

/// What follows the addresses, on the same line or on the next.
pub(crate) fn extras(mut rest: &[u8], entry: &mut Entry) {
    loop {
        let mut words = Words(rest);
        rest = words.rest();
        let Some(first) = rest.first() else { return };
        if *first == b'u' && rest.starts_with(b"users:(") {
            rest = users(&rest[7..], entry);
            continue;
        }
        let word = words.word();
        rest = words.0;
        let info = |entry: &mut Entry| -> bool {
            entry.shown |= shown::INFO;
            true
        };
        let value = |name: &str| word.strip_prefix(name.as_bytes());
        // Only what the record keeps; by first byte, as most words are of no interest.
        match first {
            b't' => {
                if word == b"ts" {
                    entry.shown |= shown::OPTIONS;
                    with_info(entry).options |= 1;
                } else if let Some(timer) = value("timer:(") {
                    entry.shown |= shown::TIMERS;
                    read_timer(timer, &mut entry.record);
                } else if word == b"tcp-ulp-mptcp" {
                    entry.record.mptcp = true;
                }
            }
            b's' => {
                if word == b"sack" {
                    entry.shown |= shown::OPTIONS;
                    with_info(entry).options |= 2;
                } else if let Some(cookie) = value("sk:") {
                    entry.shown |= shown::INODES;
                    if let Ok(cookie) = u64::from_str_radix(std::str::from_utf8(cookie).unwrap_or(""), 16) {
                        entry.record.cookie = cookie;
                    }
                } else if let Some(memory) = value("skmem:(") {
                    entry.record.skmem = Some(skmem(memory));
                } else if let Some(n) = value("segs_out:").and_then(number32) {
                    with_info(entry).segs_out = Some(n);
                } else if let Some(n) = value("segs_in:").and_then(number32) {
                    with_info(entry).segs_in = Some(n);
                } else if let Some(n) = value("snd_wnd:").and_then(number32) {
                    with_info(entry).snd_wnd = Some(n);
                }
            }
            b'u' => {
                if let Some(n) = value("uid:").and_then(number32) {
                    entry.record.uid = n;
                } else if let Some(n) = value("unacked:").and_then(number32) {
                    with_info(entry).unacked = n;
                }
            }
            b'i' => {
                if let Some(n) = value("ino:").and_then(number32) {
                    entry.shown |= shown::INODES;
                    entry.record.inode = n;
                }
            }
            b'c' => {
                if let Some(path) = value("cgroup:") {
                    entry.cgroup.clear();
                    entry.cgroup.extend_from_slice(&path[..path.len().min(1024)]);
                } else if value("cwnd:").is_some() && info(entry) {
                    with_info(entry);
                }
            }
            b'v' => {
                if let Some(flag) = value("v6only:") {
                    entry.record.v6only = Some(flag == b"1");
                }
            }
            b'w' if value("wscale:").is_some() => with_info(entry).options |= 4,
            b'e' if word == b"ecn" => with_info(entry).options |= 8,
            b'r' => {
                if let Some(us) = value("rto:").and_then(thousandths) {
                    info(entry);
                    with_info(entry).rto_us = clamp(us);
                } else if let Some(us) = value("rtt:").and_then(thousandths) {
                    info(entry);
                    with_info(entry).rtt_us = clamp(us);
                } else if let Some(both) = value("retrans:") {
                    let total = both.split(|b| *b == b'/').nth(1).and_then(number32);
                    with_info(entry).total_retrans = total.unwrap_or(0);
                }
            }
            b'l' => {
                if let Some(n) = value("lastsnd:").and_then(number32) {
                    with_info(entry).last_data_sent_ms = n;
                } else if let Some(n) = value("lastrcv:").and_then(number32) {
                    with_info(entry).last_data_recv_ms = n;
                } else if let Some(n) = value("lastack:").and_then(number32) {
                    with_info(entry).last_ack_recv_ms = n;
                }
            }
            b'b' => {
                if let Some(n) = value("bytes_acked:").and_then(number) {
                    with_info(entry).bytes_acked = Some(n);
                } else if let Some(n) = value("bytes_received:").and_then(number) {
                    with_info(entry).bytes_received = Some(n);
                }
            }
            b'n' => {
                if let Some(n) = value("notsent:").and_then(number32) {
                    with_info(entry).notsent_bytes = Some(n);
                }
            }
            b'f' => {
                if let Some(mark) = value("fwmark:0x") {
                    entry.record.mark =
                        std::str::from_utf8(mark).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
                }
            }
            _ => {}
        }
    }
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn with_info(entry: &mut Entry) -> &mut TcpInfo {
    entry.record.info.get_or_insert_default()
}

/// `timewait,59sec,0)`; `on,788ms,1)`; `keepalive,119min,0)`. Whole seconds and minutes are cut off, so that half a
/// second, or half a minute, is the best guess.
fn read_timer(text: &[u8], record: &mut SocketRecord) {
    let text = text.strip_suffix(b")").unwrap_or(text);
    let mut parts = text.split(|b| *b == b',');
    let kind = match parts.next().unwrap_or_default() {
        b"on" => TimerKind::Retransmit,
        b"keepalive" => TimerKind::KeepAlive,
        b"timewait" => TimerKind::TimeWait,
        b"persist" => TimerKind::ZeroWindowProbe,
        _ => return,
    };
    let left = parts.next().unwrap_or_default();
    record.timer = Some(Timer { kind, expires_ms: clamp(duration_ms(left)) });
    let retransmits = parts.next().and_then(number).unwrap_or(0);
    record.retransmits = u8::try_from(retransmits).unwrap_or(u8::MAX);
}

/// `59sec`, `7.888ms` (seven seconds and 888 ms), `788ms`, `1min5sec`, `119min`, or nothing.
fn duration_ms(mut text: &[u8]) -> u64 {
    let mut sum = 0u64;
    while let Some((n, rest)) = leading(text) {
        if let Some(rest) = rest.strip_prefix(b"min") {
            sum = sum.saturating_add(n.saturating_mul(60_000));
            // From ten minutes on, the seconds are not written.
            if rest.is_empty() && n > 9 {
                sum = sum.saturating_add(30_000);
            }
            text = rest;
        } else if let Some(rest) = rest.strip_prefix(b"sec") {
            sum = sum.saturating_add(n.saturating_mul(1000));
            if n > 9 {
                sum = sum.saturating_add(500);
            }
            text = rest;
        } else if let Some(rest) = rest.strip_prefix(b".") {
            sum = sum.saturating_add(n.saturating_mul(1000));
            text = rest;
        } else {
            return sum.saturating_add(n);
        }
    }
    sum
}

/// `r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d0)`
fn skmem(text: &[u8]) -> SkMem {
    let mut memory = SkMem::default();
    for part in text.strip_suffix(b")").unwrap_or(text).split(|b| *b == b',') {
        let end = part.iter().position(u8::is_ascii_digit).unwrap_or(part.len());
        let (name, figure) = part.split_at(end);
        let Some(figure) = number32(figure) else { continue };
        match name {
            b"r" => memory.rmem_alloc = figure,
            b"rb" => memory.rcvbuf = figure,
            b"w" => memory.wmem_queued = figure,
            b"tb" => memory.sndbuf = figure,
            b"d" => memory.drops = Some(figure),
            _ => {}
        }
    }
    memory
}

/// `("nginx",pid=12,fd=3),("nginx",pid=13,fd=3))` and, until iproute2 3.x, `("nginx",12,3))`. Names are the process's
/// own and may hold anything, quotes and brackets too. Gives what follows.
fn users<'a>(mut rest: &'a [u8], entry: &mut Entry) -> &'a [u8] {
    entry.shown |= shown::USERS;
    while let Some(named) = rest.strip_prefix(b"(\"") {
        // The name ends at the first quote behind which a pid stands. The kernel keeps 15 bytes of it.
        let mut from = 0;
        let (name, after) = loop {
            let Some(at) = memchr::memmem::find(&named[from..named.len().min(from + 64)], b"\",") else {
                return rest;
            };
            let (name, after) = (&named[..from + at], &named[from + at + 2..]);
            let digits = after.strip_prefix(b"pid=").unwrap_or(after);
            if digits.first().is_some_and(u8::is_ascii_digit) {
                break (name, digits);
            }
            from += at + 2;
        };
        let Some((pid, after)) = leading(after) else { return after };
        if let Ok(pid) = u32::try_from(pid)
            && entry.user.is_none_or(|known| pid < known.pid)
        {
            entry.user = Some(User::new(pid, name));
        }
        let end = after.iter().position(|b| matches!(b, b')' | b' ')).unwrap_or(after.len());
        rest = after.get(end + 1..).unwrap_or_default();
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
    rest.strip_prefix(b")").unwrap_or(rest)
}

/// `TCP:   1714 (estab 18, closed 1690, orphaned 0, timewait 3)` of `ss -s`: established (and CLOSE_WAIT, as the kernel's
/// CurrEstab counts), TIME_WAIT.
pub(crate) fn summary(line: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut words = Words(line.strip_prefix(b"TCP:")?);
    number(words.word())?;
    let rest = words.rest().strip_prefix(b"(")?;
    let figure = |name: &[u8]| {
        rest.split(|b| matches!(b, b',' | b')'))
            .find_map(|part| leading(Words(Words(part).rest().strip_prefix(name)?).rest()))
            .map(|(n, _)| n)
    };
    Some((figure(b"estab ")?, figure(b"timewait ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Entry {
        let mut entry = Entry::new();
        assert_eq!(socket(line.as_bytes(), None, &mut entry), Taken::Socket, "{line}");
        entry
    }

    #[test]
    fn a_line_with_everything_is_read() {
        let mut entry = read(
            "ESTAB      0      17              10.0.0.1:55490          10.0.0.2:9090  users:((\"a \"),(b\",pid=29438,fd=26),\
             (\"server\",pid=265,fd=26)) timer:(persist,1min5sec,3) uid:1000 ino:94987056 sk:1a10596 cgroup:/system.slice/x.service <->",
        );
        extras(
            b"\t skmem:(r0,rb131072,t0,tb3939840,f0,w7,o0,bl0,d4) ts sack bbr wscale:10,10 rto:204 rtt:0.02/0.01 mss:32741 \
              cwnd:10 bytes_acked:1 segs_out:2 segs_in:1 bbr:(bw:0bps,mrtt:0.02) send 130964000000bps lastsnd:1092 \
              lastrcv:1093 lastack:1094 unacked:5 retrans:1/9 notsent:3 snd_wnd:65483",
            &mut entry,
        );
        let r = &entry.record;
        assert_eq!((r.state, r.sport, r.dport, r.rqueue, r.wqueue), (State::Established, 55490, 9090, 0, 17));
        assert_eq!(entry.user.map(|u| (u.pid, u.name())), Some((265, "server".to_owned())));
        assert_eq!(r.timer, Some(Timer { kind: TimerKind::ZeroWindowProbe, expires_ms: 65_000 }));
        assert_eq!((r.retransmits, r.uid, r.inode, r.cookie), (3, 1000, 94_987_056, 0x1a1_0596));
        assert_eq!(entry.cgroup, b"/system.slice/x.service");
        let info = r.info.expect("tcp_info");
        assert!(info.timestamps());
        assert_eq!((info.rto_us, info.rtt_us, info.total_retrans, info.unacked), (204_000, 20, 9, 5));
        assert_eq!(
            (info.last_data_sent_ms, info.last_data_recv_ms, info.last_ack_recv_ms),
            (1092, 1093, 1094)
        );
        assert_eq!((info.segs_out, info.snd_wnd, info.notsent_bytes), (Some(2), Some(65_483), Some(3)));
        assert_eq!(r.skmem.map(|m| (m.rcvbuf, m.wmem_queued, m.drops)), Some((131_072, 7, Some(4))));
    }

    #[test]
    fn old_and_new_spellings_mean_the_same() {
        let old = read("tcp LISTEN 0 128 :::22 :::* users:((\"sshd\",1021,4))");
        assert_eq!(old.user.map(|u| (u.pid, u.name())), Some((1021, "sshd".to_owned())));
        assert_eq!((old.record.src, old.record.sport, old.record.v6only), (Addr::UNSPECIFIED, 22, None));
        let new = read("LISTEN 0 128 *:22 *:*");
        assert_eq!((new.record.src, new.record.v6only), (Addr::UNSPECIFIED, Some(false)));
        assert_eq!(read("UNCONN 0 0 127.0.0.1:7777 0.0.0.0:*").record.state, State::BoundInactive);
        for (text, ms) in [
            ("59sec", 59_500),
            ("7.888ms", 7888),
            ("788ms", 788),
            ("119min", 7_170_000),
            ("9min5sec", 545_000),
            ("1min", 60_000),
            ("3sec", 3000),
            ("", 0),
        ] {
            assert_eq!(duration_ms(text.as_bytes()), ms, "{text}");
        }
    }

    #[test]
    fn what_is_no_tcp_socket_is_told_apart() {
        let mut entry = Entry::new();
        let mut take = |line: &str| socket(line.as_bytes(), None, &mut entry);
        assert_eq!(take("udp UNCONN 0 0 127.0.0.1:323 0.0.0.0:*"), Taken::OtherProtocol);
        assert_eq!(
            take("nl    UNCONN     0      0                       0:0                       *"),
            Taken::OtherProtocol
        );
        assert_eq!(take("ESTAB 0 0 10.0.0.1:80"), Taken::Incomplete);
        assert_eq!(take("0 0 10.0.0.1:80 10.0.0.2:5555"), Taken::NoState);
        assert_eq!(take("0 0 10.0.0.1:80 10.0.0.2:5555 timer:(timewait,12sec,0)"), Taken::Socket);
        assert!(matches!(take("ESTAB 0 0 web:80 10.0.0.2:5555"), Taken::Lost(why) if why.contains("-n")));
        assert!(matches!(take("hello world"), Taken::No(_)));
        assert!(begins_socket(b"ESTAB 0 0 10.0.0.1:80") && begins_socket(b"tcp LISTEN 0 1 *:80"));
        assert!(
            !begins_socket(b"ESTABLISHED 0 0") && !begins_socket(b"CLOSED 1 2") && !begins_socket(b"LISTEN")
        );
    }

    #[test]
    fn the_summary_is_read() {
        let new = b"TCP:   1714 (estab 18, closed 1690, orphaned 0, timewait 3)";
        let old = b"TCP:   9 (estab 3, closed 1, orphaned 0, synrecv 2, timewait 7/0), ports 0";
        assert_eq!((summary(new), summary(old)), (Some((18, Some(3))), Some((3, Some(7)))));
        assert_eq!(summary(b"TCP: inuse 1 orphan 0 tw 8 alloc 3 mem 130"), None);
    }
}
