//! The texts of /proc/net, read by name and never by place: kernels add fields in the middle.

use crate::Malformed;
use linger_model::State;
use linger_model::record::{Addr, SocketRecord, Timer, TimerKind};
use linger_model::snapshot::{Counters, Sockstat, Softnet};

/// /proc/net/snmp and /proc/net/netstat: a line of names and a line of figures per group. Adds `Group.Name` to the
/// counters. Negative figures (`Tcp: MaxConn -1`) are left out: they are settings, not counts.
pub fn counter_pairs(text: &str, counters: &mut Counters) -> Result<(), Malformed> {
    let bad = |detail: String| Malformed::new("counter file", detail);
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    while let Some(names) = lines.next() {
        let Some((group, names)) = names.split_once(':') else {
            return Err(bad(format!("no group in {:?}", clip(names))));
        };
        let figures = lines.next().and_then(|l| l.split_once(':')).filter(|(g, _)| *g == group);
        let Some((_, figures)) = figures else {
            return Err(bad(format!("group {:?} has names but no figures", clip(group))));
        };
        let mut figures = figures.split_whitespace();
        for name in names.split_whitespace() {
            let Some(figure) = figures.next() else {
                return Err(bad(format!("{}.{} has no figure", clip(group), clip(name))));
            };
            if let Ok(figure) = figure.parse::<u64>() {
                counters.insert(format!("{group}.{name}"), figure);
            }
        }
    }
    Ok(())
}

/// /proc/net/sockstat, and sockstat6 where there is one.
pub fn sockstat(text: &str, text6: Option<&str>) -> Result<Sockstat, Malformed> {
    let tcp = line_of(text, "TCP").ok_or_else(|| Malformed::new("sockstat", "no line begins with TCP:"))?;
    let need = |name: &str| {
        field(tcp, name)
            .ok_or_else(|| Malformed::new("sockstat", format!("the TCP line has no figure for {name}")))
    };
    Ok(Sockstat {
        inuse: need("inuse")?,
        orphan: need("orphan")?,
        tw: need("tw")?,
        alloc: need("alloc")?,
        mem_pages: need("mem")?,
        inuse6: text6.and_then(|t| line_of(t, "TCP6")).and_then(|l| field(l, "inuse")),
    })
}

fn line_of<'a>(text: &'a str, protocol: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.split_once(':').filter(|(name, _)| *name == protocol)).map(|(_, rest)| rest)
}

fn field(line: &str, name: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    words.find(|w| *w == name)?;
    words.next()?.parse().ok()
}

/// /proc/net/softnet_stat: a line of hexadecimal figures per CPU; processed, dropped and time_squeeze come first.
pub fn softnet(text: &str) -> Result<Softnet, Malformed> {
    let mut sums = Softnet::default();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let mut figures = line.split_whitespace().map(|w| u64::from_str_radix(w, 16));
        let mut next = || match figures.next() {
            Some(Ok(figure)) => Ok(figure),
            _ => Err(Malformed::new(
                "softnet_stat",
                format!("three hexadecimal figures expected in {:?}", clip(line)),
            )),
        };
        let (processed, dropped, squeezed) = (next()?, next()?, next()?);
        sums.processed = sums.processed.saturating_add(processed);
        sums.dropped = sums.dropped.saturating_add(dropped);
        sums.time_squeeze = sums.time_squeeze.saturating_add(squeezed);
    }
    Ok(sums)
}

/// /proc/net/stat/nf_conntrack: a line of names, a line of hexadecimal figures per CPU. `entries` is the same total
/// on every line and is left out.
pub fn conntrack_stat(text: &str) -> Result<Counters, Malformed> {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let names = lines.next().ok_or_else(|| Malformed::new("conntrack statistics", "empty"))?;
    let names: Vec<&str> = names.split_whitespace().collect();
    let mut sums = Counters::new();
    for line in lines {
        for (name, figure) in names.iter().zip(line.split_whitespace()) {
            if *name == "entries" {
                continue;
            }
            let figure = u64::from_str_radix(figure, 16).map_err(|_| {
                Malformed::new("conntrack statistics", format!("{:?} is not hexadecimal", clip(figure)))
            })?;
            let sum = sums.entry((*name).to_owned()).or_default();
            *sum = sum.saturating_add(figure);
        }
    }
    Ok(sums)
}

/// One line of /proc/net/tcp or tcp6; `None` for the heading.
///
/// What this file lacks: a listener's limit, drops, tcp_info, cookies, bound-inactive sockets. Times are in clock
/// ticks of 1/100 s (USER_HZ).
pub fn tcp_line(line: &str) -> Result<Option<SocketRecord>, Malformed> {
    let bad = |what: &str| Malformed::new("/proc/net/tcp", format!("{what} in {:?}", clip(line)));
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return Ok(None) };
    if first == "sl" {
        return Ok(None);
    }
    let (src, sport) = words.next().and_then(hex_endpoint).ok_or_else(|| bad("no local address"))?;
    let (dst, dport) = words.next().and_then(hex_endpoint).ok_or_else(|| bad("no peer address"))?;
    let state = words.next().and_then(|w| u8::from_str_radix(w, 16).ok()).and_then(State::from_kernel);
    let state = state.ok_or_else(|| bad("no state"))?;
    let pair = |word: Option<&str>| {
        let (a, b) = word?.split_once(':')?;
        Some((u64::from_str_radix(a, 16).ok()?, u64::from_str_radix(b, 16).ok()?))
    };
    let (wqueue, rqueue) = pair(words.next()).ok_or_else(|| bad("no queues"))?;
    let (timer, ticks) = pair(words.next()).ok_or_else(|| bad("no timer"))?;
    let retransmits =
        words.next().and_then(|w| u64::from_str_radix(w, 16).ok()).ok_or_else(|| bad("no retransmits"))?;
    let uid = words.next().and_then(|w| w.parse().ok()).ok_or_else(|| bad("no uid"))?;
    let inode = words.nth(1).and_then(|w| w.parse().ok()).ok_or_else(|| bad("no inode"))?;
    let kind = match timer {
        1 => Some(TimerKind::Retransmit),
        2 => Some(TimerKind::KeepAlive),
        3 => Some(TimerKind::TimeWait),
        4 => Some(TimerKind::ZeroWindowProbe),
        _ => None,
    };
    let mut socket = SocketRecord::new(state, src, sport, dst, dport);
    // A v4-mapped socket stands in tcp6: its family shows in the length of the address.
    if line.split_whitespace().nth(1).is_some_and(|w| w.len() > 13) {
        socket.family = linger_model::record::Family::Ipv6;
    }
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    socket.timer = kind.map(|kind| Timer { kind, expires_ms: small(ticks.saturating_mul(10)) });
    socket.retransmits = u8::try_from(retransmits).unwrap_or(u8::MAX);
    (socket.wqueue, socket.rqueue) = (small(wqueue), small(rqueue));
    (socket.uid, socket.inode) = (uid, inode);
    Ok(Some(socket))
}

/// `0100007F:1F90`: the address as 32-bit words in the host's byte order.
fn hex_endpoint(word: &str) -> Option<(Addr, u16)> {
    let (addr, port) = word.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word32 = |at: usize| Some(u32::from_str_radix(addr.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match addr.len() {
        8 => Some((Addr::v4(word32(0)?), port)),
        32 => {
            let mut bytes = [0; 16];
            for i in 0..4 {
                bytes[i * 4..i * 4 + 4].copy_from_slice(&word32(i * 8)?);
            }
            Some((Addr::v6(bytes), port))
        }
        _ => None,
    }
}

/// At most 60 characters of foreign text, for an error message.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counters_are_read_by_name() {
        let mut counters = Counters::new();
        let text = "Tcp: RtoMin MaxConn ActiveOpens\nTcp: 200 -1 42\nUdp: InDatagrams\nUdp: 7\n";
        counter_pairs(text, &mut counters).expect("counters");
        assert_eq!(counters.get("Tcp.ActiveOpens"), Some(&42));
        assert_eq!((counters.get("Tcp.MaxConn"), counters.get("Udp.InDatagrams")), (None, Some(&7)));
        assert!(counter_pairs("Tcp: A B\nTcp: 1\n", &mut counters).is_err());
    }

    #[test]
    fn sockstat_is_read_by_name() {
        let text = "sockets: used 9\nTCP: inuse 1 orphan 0 tw 8 alloc 3 mem 130\nUDP: inuse 0 mem 0\n";
        let read = sockstat(text, Some("TCP6: inuse 2\n")).expect("sockstat");
        assert_eq!((read.inuse, read.tw, read.alloc, read.mem_pages, read.inuse6), (1, 8, 3, 130, Some(2)));
        assert!(sockstat("UDP: inuse 0", None).is_err());
    }

    #[test]
    fn softnet_and_conntrack_are_summed_over_cpus() {
        let sums = softnet("0000000a 00000001 00000002 0\n00000001 00000001 00000000 0\n").expect("softnet");
        assert_eq!((sums.processed, sums.dropped, sums.time_squeeze), (11, 2, 2));
        let stats = conntrack_stat("entries  drop insert_failed\n00000005 00000001 0000000a\n00000005 2 0\n");
        let stats = stats.expect("conntrack");
        assert_eq!((stats["drop"], stats["insert_failed"], stats.get("entries")), (3, 10, None));
    }

    #[test]
    fn lines_of_proc_net_tcp_are_read() {
        assert_eq!(tcp_line("  sl  local_address rem_address   st").expect("heading"), None);
        let line = "   0: 0100007F:1F90 0200000A:01BB 06 00000000:00000000 03:0000176F 00000000     0        0 0 3 0000";
        let socket = tcp_line(line).expect("a line").expect("a socket");
        assert_eq!((socket.src.to_string().as_str(), socket.sport), ("127.0.0.1", 8080));
        assert_eq!((socket.dst.to_string().as_str(), socket.dport), ("10.0.0.2", 443));
        assert_eq!(socket.timer.map(|t| t.expires_ms), Some(59_990));
        let line6 = "   1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A \
                    00000000:00000005 00:00000000 00000000  1000        0 4242 1 0000";
        let socket = tcp_line(line6).expect("a line").expect("a socket");
        assert_eq!((socket.src.to_string().as_str(), socket.state), ("::1", State::Listen));
        assert_eq!((socket.rqueue, socket.uid, socket.inode), (5, 1000, 4242));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,300}") {
            let _ = counter_pairs(&text, &mut Counters::new());
            let _ = (sockstat(&text, Some(&text)), softnet(&text), conntrack_stat(&text), tcp_line(&text));
        }

        #[test]
        fn likely_text_is_read_or_refused(text in "(TCP: |Tcp: |sl |[0-9A-F]{8}:[0-9A-F]{4} |0A |[0-9]{1,22} |\n){0,20}") {
            let _ = counter_pairs(&text, &mut Counters::new());
            let _ = (sockstat(&text, Some(&text)), softnet(&text), conntrack_stat(&text), tcp_line(&text));
        }
    }
}
