//! The smaller formats: lsof, nstat, conntrack, sysctl, uname.

use crate::ss::{Entry, Taken, User, shown};
use crate::text::{NoEndpoint, Words, clip, endpoint, number, number32, trim};
use linger_model::State;
use linger_model::record::Family;

/// `python3 29265 root 3u IPv4 94986773 0t0 TCP 127.0.0.1:9090 (LISTEN)`; a thread's id, or none, between.
pub(crate) fn lsof(line: &[u8], entry: &mut Entry) -> Taken {
    let mut words = Words(line);
    let command = words.word();
    let Some(pid) = number32(words.word()) else { return Taken::No("not a line as lsof writes it") };
    // PID, perhaps TID and TASKCMD, USER, FD: IPv4 or IPv6 comes after them.
    let family = loop {
        match words.word() {
            b"IPv4" => break Family::Ipv4,
            b"IPv6" => break Family::Ipv6,
            b"" => return Taken::OtherProtocol,
            _ => {}
        }
    };
    let device = words.word();
    let mut protocol = words.word();
    if !matches!(protocol, b"TCP" | b"UDP" | b"ICMP" | b"ICMPV6" | b"SCTP") {
        protocol = words.word();
    }
    if protocol != b"TCP" {
        return Taken::OtherProtocol;
    }
    let name = words.word();
    let state = words.word();
    let Some(state) = state.strip_prefix(b"(").and_then(|s| s.strip_suffix(b")")) else {
        return Taken::Lost("a socket without its state: run lsof with -T s");
    };
    let state = match state {
        b"LISTEN" => State::Listen,
        b"CLOSED" => State::Close,
        other => match std::str::from_utf8(other).ok().and_then(State::parse) {
            Some(state) => state,
            None => return Taken::Lost("a state that is not known"),
        },
    };
    let arrow = memchr::memmem::find(name, b"->");
    let (local, peer) = match arrow {
        Some(at) => (&name[..at], &name[at + 2..]),
        None => (name, b"*:*".as_slice()),
    };
    let (local, peer) = match (endpoint(local), endpoint(peer)) {
        (Ok(local), Ok(peer)) => (local, peer),
        (Err(NoEndpoint::HostName), _) | (_, Err(NoEndpoint::HostName)) => {
            return Taken::Lost("host names instead of addresses: run lsof with -n");
        }
        (Err(NoEndpoint::PortName), _) | (_, Err(NoEndpoint::PortName)) => {
            return Taken::Lost("a port by a name that is not known: run lsof with -P");
        }
        _ => return Taken::Lost("no addresses and ports where lsof has them"),
    };
    entry.set(state, local, peer, None);
    entry.record.family = family;
    // A wildcard is `*` in both families.
    if family == Family::Ipv4 && local.star {
        entry.record.src = linger_model::Addr::v4([0; 4]);
    }
    entry.shown |= shown::USERS | shown::INODES;
    entry.record.inode = number32(device).unwrap_or(u32::MAX);
    entry.user = Some(User::new(pid, &unescape(command)));
    Taken::Socket
}

/// lsof writes what is not printable, and spaces, as `\x20`.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        let hex = tail.strip_prefix(b"x").and_then(|t| t.get(..2)).filter(|_| *first == b'\\');
        let byte = hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Groups of nstat's names, longest first where one begins another.
const GROUPS: [&str; 14] = [
    "MPTcpExt", "TcpExt", "IpExt", "UdpLite6", "UdpLite", "IcmpMsg", "Icmp6", "Icmp", "Ip6", "Udp6", "Sctp",
    "Tcp", "Udp", "Ip",
];

/// `TcpExtListenOverflows` as `TcpExt.ListenOverflows`.
fn nstat_name(name: &str) -> Option<String> {
    let group = GROUPS.iter().find(|g| name.len() > g.len() && name.starts_with(**g))?;
    Some(format!("{group}.{}", &name[group.len()..]))
}

/// `TcpExtListenOverflows           7                  0.0`
pub(crate) fn nstat(line: &[u8]) -> Option<(String, u64)> {
    let mut words = Words(line);
    let name = std::str::from_utf8(words.word()).ok()?;
    let figure = number(words.word())?;
    let rate = words.word();
    let is_rate = rate.iter().all(|b| b.is_ascii_digit() || *b == b'.') && rate.contains(&b'.');
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain || !(is_rate || rate.is_empty()) {
        return None;
    }
    Some((nstat_name(name)?, figure))
}

/// `{"kernel":{"IpInReceives":43,…}}` of `nstat -j`.
pub(crate) fn nstat_json(line: &[u8], mut each: impl FnMut(String, u64)) -> usize {
    let mut found = 0;
    for pair in line.split(|b| matches!(b, b',' | b'{' | b'}')) {
        let Some(at) = memchr::memmem::find(pair, b"\":") else { continue };
        let name = trim(&pair[..at]).strip_prefix(b"\"").and_then(|n| std::str::from_utf8(n).ok());
        if let (Some(name), Some(figure)) = (name.and_then(nstat_name), number(trim(&pair[at + 2..]))) {
            each(name, figure);
            found += 1;
        }
    }
    found
}

/// `cpu=0 found=0 invalid=3 …` of `conntrack -S`; `entries` is the same on each line in old versions and is left out.
pub(crate) fn conntrack_cpu(line: &[u8], mut each: impl FnMut(&str, u64)) -> bool {
    let mut words = Words(line);
    if !words.word().starts_with(b"cpu=") {
        return false;
    }
    let mut found = false;
    for word in words {
        let Some(at) = memchr::memchr(b'=', word) else { continue };
        let name = std::str::from_utf8(&word[..at]).ok().filter(|n| *n != "entries" && n.len() <= 40);
        if let (Some(name), Some(figure)) = (name, number(&word[at + 1..])) {
            each(name, figure);
            found = true;
        }
    }
    found
}

/// A flow of `conntrack -L`: `tcp 6 431999 ESTABLISHED src=10.0.0.1 dst=…`.
pub(crate) fn conntrack_flow(line: &[u8]) -> bool {
    let mut words = Words(line);
    let protocol = words.word();
    let known = !protocol.is_empty() && protocol.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    // `conntrack -o extended` puts `ipv4 2` before.
    let mut next = words.word();
    if matches!(protocol, b"ipv4" | b"ipv6") {
        words.word();
        next = words.word();
    }
    known && number(next).is_some() && memchr::memmem::find(line, b"src=").is_some()
}

/// `conntrack v1.4.7 (conntrack-tools): 12 flow entries have been shown.`
pub(crate) fn conntrack_total(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"conntrack v")?;
    let at = memchr::memmem::find(rest, b"): ")?;
    let mut words = Words(&rest[at + 3..]);
    let total = number(words.word())?;
    (words.word() == b"flow").then_some(total)
}

/// What a line of `sysctl -a` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Setting<'a> {
    Value(&'a str, &'a str),
    /// `sysctl: permission denied on key 'net.ipv4.tcp_fastopen_key'`.
    Denied(&'a str),
}

/// `net.ipv4.tcp_tw_reuse = 2`
pub(crate) fn sysctl(line: &[u8]) -> Option<Setting<'_>> {
    let line = std::str::from_utf8(line).ok()?;
    if let Some(rest) = line.strip_prefix("sysctl: ") {
        let key = rest.split(['\'', '"']).nth(1).or_else(|| rest.split(' ').next_back())?;
        return rest.contains("denied").then_some(Setting::Denied(key));
    }
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let first = key.split('.').next()?;
    let known = matches!(
        first,
        "net" | "fs" | "kernel" | "vm" | "user" | "dev" | "abi" | "crypto" | "debug" | "sunrpc"
    );
    let plain = key.contains('.') && key.bytes().all(|b| b.is_ascii_graphic());
    (known && plain).then_some(Setting::Value(key, value.trim()))
}

/// The kernel's release from `uname -a` or /proc/version.
pub(crate) fn uname(line: &[u8]) -> Option<String> {
    let mut words = Words(line);
    if words.word() != b"Linux" {
        return None;
    }
    let host = words.word();
    if host == b"version" {
        return Some(clip(words.word())).filter(|r| is_release(r));
    }
    Some(clip(words.word())).filter(|r| is_release(r))
}

/// `6.1.0-18-amd64`
pub(crate) fn is_release(text: &str) -> bool {
    let mut parts = text.split('.');
    let number =
        |part: Option<&str>| part.is_some_and(|p| p.bytes().next().is_some_and(|b| b.is_ascii_digit()));
    number(parts.next()) && number(parts.next()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsof_lines_are_read() {
        let mut entry = Entry::new();
        let line = b"my\\x20app 29265 1234 root   22u  IPv6 94986796      0t0  TCP [::1]:45170->[::1]:8080 (CLOSE_WAIT)";
        assert_eq!(lsof(line, &mut entry), Taken::Socket);
        assert_eq!((entry.record.state, entry.record.inode), (State::CloseWait, 94_986_796));
        assert_eq!(entry.user.map(|u| (u.pid, u.name())), Some((29265, "my app".to_owned())));
        let line = b"sshd 7 root 3u IPv4 94986773 0t0 TCP *:22 (LISTEN)";
        assert_eq!(lsof(line, &mut entry), Taken::Socket);
        assert_eq!(entry.record.src.to_string(), "0.0.0.0");
        assert_eq!(lsof(b"chronyd 7 root 3u IPv4 1 0t0 UDP 127.0.0.1:323", &mut entry), Taken::OtherProtocol);
        assert!(matches!(lsof(b"sshd 7 root 3u IPv4 1 0t0 TCP web:22 (LISTEN)", &mut entry), Taken::Lost(_)));
    }

    #[test]
    fn the_other_lines_are_read() {
        assert_eq!(
            nstat(b"TcpExtListenOverflows           7                  0.0"),
            Some(("TcpExt.ListenOverflows".to_owned(), 7))
        );
        assert_eq!(
            nstat(b"MPTcpExtMPCapableSYNRX 0 0.0").map(|n| n.0),
            Some("MPTcpExt.MPCapableSYNRX".into())
        );
        assert_eq!(nstat(b"hello 7 0.0"), None);
        let mut all = Vec::new();
        nstat_json(br#"{"kernel":{"TcpInSegs":54,"TcpOutSegs":55}}"#, |name, n| all.push((name, n)));
        assert_eq!(all, [("Tcp.InSegs".to_owned(), 54), ("Tcp.OutSegs".to_owned(), 55)]);
        let mut sums = Vec::new();
        let line = b"cpu=0   \tfound=0 invalid=3 insert_failed=2 drop=1 ";
        assert!(conntrack_cpu(line, |name, n| sums.push((name.to_owned(), n))));
        assert_eq!(sums.last(), Some(&("drop".to_owned(), 1)));
        assert!(conntrack_flow(b"tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2"));
        assert_eq!(
            conntrack_total(b"conntrack v1.4.7 (conntrack-tools): 12 flow entries have been shown."),
            Some(12)
        );
        assert_eq!(
            sysctl(b"net.ipv4.tcp_mem = 1\t2\t3"),
            Some(Setting::Value("net.ipv4.tcp_mem", "1\t2\t3"))
        );
        let denied = b"sysctl: permission denied on key 'net.ipv4.tcp_fastopen_key'";
        assert_eq!(sysctl(denied), Some(Setting::Denied("net.ipv4.tcp_fastopen_key")));
        assert_eq!((sysctl(b"hello = 1"), sysctl(b"what.ever = 1")), (None, None));
        assert_eq!(
            uname(b"Linux web1 6.1.0-18-amd64 #1 SMP x86_64 GNU/Linux").as_deref(),
            Some("6.1.0-18-amd64")
        );
        assert_eq!(uname(b"Linux version 5.10.0-8 (gcc)").as_deref(), Some("5.10.0-8"));
        assert_eq!(uname(b"Linux is great"), None);
    }
}
