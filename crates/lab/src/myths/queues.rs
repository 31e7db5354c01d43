//! Beliefs about a listener's queues.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::kit::{
    Lab, NAMESPACES, PATIENCE, VETH, count, counter, listen, loopback, set_if_there, try_connect, wait,
};
use super::{Measured, Myth, Verdict};
use crate::{Client, Error, Host, World};

/// How long a connection that finds a full queue is waited for. Its SYN has been dropped by then, or it is not counted.
const REFUSAL: Duration = Duration::from_millis(1_500);

pub(super) const ACCEPT_QUEUE: Myth = Myth {
    name: "accept-queue-holds-the-backlog",
    claim: "The accept queue holds min(backlog, somaxconn) connections.",
    source: "the article on 200k TIME_WAIT; listen(2)",
    why: "The limit is that minimum (__sys_listen()), but sk_acceptq_is_full() asks whether more than it wait: the queue \
          holds one more.",
    seconds: 5,
    needs: NAMESPACES,
    measure: accept_queue,
};

fn accept_queue(lab: &Lab) -> Result<Measured, Error> {
    const SMALL: u64 = 3;
    let host = lab.host("server")?;
    let by_backlog = listen(&host, loopback(80), 3)?;
    let (first, _held) = fill(&host, &by_backlog, 3 * SMALL)?;
    let mut text = format!("{} connections waited with backlog 3 below somaxconn", first.waiting);
    let mut is_full = first.is_full;
    let mut by_limit = first.waiting;
    if set_if_there(&host, "net.core.somaxconn", "3")? {
        let by_somaxconn = listen(&host, loopback(81), 100)?;
        let (second, _held) = fill(&host, &by_somaxconn, 3 * SMALL)?;
        text.push_str(&format!(", and {} with backlog 100 and somaxconn 3", second.waiting));
        is_full &= second.is_full;
        by_limit = second.waiting;
    } else {
        text.push_str("; there is no somaxconn to set in namespaces of this user namespace");
    }
    if !is_full {
        return Ok(Measured::unsure(text, "no connection was seen to find the queue full"));
    }
    Ok(Measured { text, verdict: judge_accept_queue(first.waiting, by_limit, SMALL) })
}

fn judge_accept_queue(by_backlog: u64, by_somaxconn: u64, limit: u64) -> Verdict {
    match (by_backlog, by_somaxconn) {
        (a, b) if a == limit && b == limit => Verdict::Right,
        // The minimum decides, but isn't what fits.
        (a, b) if a == b && a == limit + 1 => Verdict::Partly,
        _ => Verdict::Wrong,
    }
}

/// How an accept queue was found.
struct Queue {
    waiting: u64,
    /// A SYN was dropped since it was full.
    is_full: bool,
}

/// Connects to a listener that accepts nothing until one connection is not answered, or `most` were.
fn fill(host: &Host, listener: &TcpListener, most: u64) -> Result<(Queue, Vec<TcpStream>), Error> {
    let to = listener.local_addr().map_err(|source| Error::Host {
        host: host.name().to_owned(),
        operation: "read",
        subject: "a listener's address".into(),
        source,
    })?;
    let before = counter(host, "ListenOverflows")?;
    let mut held = Vec::new();
    let mut is_full = false;
    // One that isn't answered because the machine is slow, though there is room, is tried again.
    let mut slow = 0;
    while (held.len() as u64) < most && !is_full && slow < 5 {
        match try_connect(host, to, REFUSAL)? {
            Ok(socket) => held.push(socket),
            Err(_) => {
                is_full = counter(host, "ListenOverflows")? > before;
                slow += 1;
            }
        }
    }
    // Of the listener, those that wait to be accepted.
    let sockets = host.tcp_sockets()?;
    let queued = sockets.iter().find(|it| it.state == "listen" && it.local_port == to.port());
    let waiting = queued.map_or(0, |it| u64::from(it.rx_queue));
    Ok((Queue { waiting, is_full }, held))
}

pub(super) const SOMAXCONN: Myth = Myth {
    name: "somaxconn-helps-a-running-listener",
    claim: "Raising somaxconn makes the accept queue of a running server longer.",
    source: "tuning guides that end with sysctl -p; the article on 200k TIME_WAIT",
    why: "listen() caps the backlog at somaxconn when it is called (__sys_listen()), and nothing looks at the setting \
          again: a listener keeps its limit until the program calls listen() again.",
    seconds: 5,
    needs: NAMESPACES,
    measure: somaxconn,
};

fn somaxconn(lab: &Lab) -> Result<Measured, Error> {
    const MORE: u64 = 20;
    let host = lab.host("server")?;
    if !set_if_there(&host, "net.core.somaxconn", "4")? {
        let none = "there is no somaxconn to set in namespaces of this user namespace";
        return Ok(Measured::unsure(none, "before 6.3 only root of the initial one has it"));
    }
    let listener = listen(&host, loopback(80), 1_000)?;
    let (before, _held) = fill(&host, &listener, MORE)?;
    host.sysctl("net.core.somaxconn", "100")?;
    let (raised, _held_too) = fill(&host, &listener, MORE)?;
    rustix::net::listen(&listener, 1_000).map_err(|error| Error::Host {
        host: host.name().to_owned(),
        operation: "listen at",
        subject: loopback(80).to_string(),
        source: error.into(),
    })?;
    let (again, _held_then) = fill(&host, &listener, MORE)?;
    let text = format!(
        "{} connections waited with somaxconn=4, {} after it was raised to 100, {} after the program called listen() again",
        before.waiting, raised.waiting, again.waiting
    );
    if !before.is_full {
        return Ok(Measured::unsure(text, "no connection was seen to find the queue full"));
    }
    if !raised.is_full && raised.waiting < before.waiting + MORE {
        return Ok(Measured::unsure(
            text,
            "after it was raised, no connection was seen to find the queue full",
        ));
    }
    if again.waiting < before.waiting + MORE {
        return Ok(Measured::unsure(text, "the setting did not show its effect after listen() either"));
    }
    Ok(Measured { text, verdict: judge_somaxconn(before.waiting, raised.waiting, before.waiting + MORE) })
}

fn judge_somaxconn(before: u64, raised: u64, room: u64) -> Verdict {
    if raised <= before {
        Verdict::Wrong
    } else if raised >= room {
        Verdict::Right
    } else {
        Verdict::Partly
    }
}

pub(super) const FLOOD: Myth = Myth {
    name: "flood-shows-in-syn-recv",
    claim: "A SYN flood shows as a large number of SYN_RECV.",
    source: "the article on 200k TIME_WAIT, which alerts on it",
    why: "A listener keeps no more half-open connections than its backlog and one more (inet_csk_reqsk_queue_is_full()); \
          with tcp_syncookies the rest get a cookie and leave no socket. The flood is in TcpExt's SyncookiesSent, \
          TCPReqQFullDoCookies and ListenDrops.",
    seconds: 3,
    needs: VETH,
    measure: flood,
};

fn flood(lab: &Lab) -> Result<Measured, Error> {
    const SYNS: u64 = 300;
    const BACKLOG: i32 = 16;
    let net = HalfOpen::new()?;
    net.server.sysctl("net.ipv4.tcp_syncookies", "1")?;
    let half_open = net.try_at(lab, 80, BACKLOG, SYNS)?;
    let text = format!(
        "{SYNS} half-open connections to a listener with backlog {BACKLOG}: {} in SYN_RECV, {} answered with a cookie, {} \
         dropped",
        half_open.syn_recv, half_open.cookies, half_open.drops
    );
    if !half_open.all_arrived {
        return Ok(Measured::unsure(text, "not all of them arrived"));
    }
    Ok(Measured { text, verdict: judge_flood(half_open.syn_recv, SYNS) })
}

fn judge_flood(syn_recv: u64, syns: u64) -> Verdict {
    if syn_recv * 10 >= syns * 9 {
        Verdict::Right
    } else if syn_recv * 5 <= syns {
        Verdict::Wrong
    } else {
        Verdict::Partly
    }
}

pub(super) const SYN_BACKLOG: Myth = Myth {
    name: "max-syn-backlog-sets-the-request-queue",
    claim: "tcp_max_syn_backlog sets how many half-open connections a listener keeps.",
    source: "the article on 200k TIME_WAIT, which raises it against a flood",
    why: "Since 4.4 the listener's own backlog does (inet_csk_reqsk_queue_is_full()). tcp_conn_request() looks at \
          tcp_max_syn_backlog only where tcp_syncookies is 0, and keeps its last quarter for peers that are known.",
    seconds: 5,
    needs: VETH,
    measure: syn_backlog,
};

fn syn_backlog(lab: &Lab) -> Result<Measured, Error> {
    const SYNS: u64 = 100;
    let net = HalfOpen::new()?;
    let mut all_arrived = true;
    let mut measured = [0; 5];
    let tried = [("1", "16", 64), ("1", "512", 64), ("1", "512", 16), ("0", "16", 64), ("0", "512", 64)];
    for ((port, (cookies, limit, backlog)), result) in (80..).zip(tried).zip(&mut measured) {
        net.server.sysctl("net.ipv4.tcp_syncookies", cookies)?;
        net.server.sysctl("net.ipv4.tcp_max_syn_backlog", limit)?;
        let half_open = net.try_at(lab, port, backlog, SYNS)?;
        all_arrived &= half_open.all_arrived;
        *result = half_open.syn_recv;
    }
    let [low, high, short, low_without, high_without] = measured;
    let text = format!(
        "of {SYNS} half-open connections a listener with backlog 64 kept {low} with tcp_max_syn_backlog=16 and {high} with \
         512, one with backlog 16 and 512 kept {short}; without syncookies {low_without} and {high_without} with backlog 64"
    );
    if !all_arrived {
        return Ok(Measured::unsure(text, "not all of them arrived"));
    }
    Ok(Measured { text, verdict: judge_syn_backlog((low, high), (low_without, high_without)) })
}

/// What was kept with a low and a high limit, with and without syncookies.
fn judge_syn_backlog(with: (u64, u64), without: (u64, u64)) -> Verdict {
    let follows = |(low, high): (u64, u64)| high > low + 8;
    match (follows(with), follows(without)) {
        (true, true) => Verdict::Right,
        (false, false) => Verdict::Wrong,
        _ => Verdict::Partly,
    }
}

/// A server whose answers to some clients are lost: their SYN comes straight, the answer goes to a host that throws it
/// away. No packet is forged, and no filter is needed.
struct HalfOpen {
    client: Host,
    server: Host,
    _sink: Host,
    sources: Vec<IpAddr>,
}

/// What a listener did with connections that were never completed.
struct Kept {
    syn_recv: u64,
    cookies: u64,
    drops: u64,
    /// Each SYN is one of these.
    all_arrived: bool,
}

impl HalfOpen {
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    fn new() -> Result<HalfOpen, Error> {
        let world = World::new();
        let (client, server, sink) = (world.host("client")?, world.host("server")?, world.host("sink")?);
        let link = world.link(&client, &server, "10.77.0.1/24", "10.77.0.2/24")?;
        world.link(&server, &sink, "10.79.0.1/24", "10.79.0.2/24")?;
        // New namespaces have IPv4's interface settings from the initial one.
        for device in ["all", &link.b] {
            server.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
        }
        // It must not say that it has no route.
        sink.sysctl("net.ipv4.ip_forward", "0")?;
        server.route("10.88.0.0/24", "10.79.0.2")?;
        let sources: Vec<IpAddr> = (1..=20).map(|at| IpAddr::from([10, 88, 0, at])).collect();
        for source in &sources {
            client.add_address(&link.a, &format!("{source}/32"))?;
        }
        Ok(HalfOpen { client, server, _sink: sink, sources })
    }

    /// Begins so many connections to a new listener.
    fn try_at(&self, lab: &Lab, port: u16, backlog: i32, syns: u64) -> Result<Kept, Error> {
        let address = SocketAddr::from((HalfOpen::SERVER, port));
        let _listener = listen(&self.server, address, backlog)?;
        let read = || -> Result<(u64, u64), Error> {
            Ok((counter(&self.server, "TCPReqQFullDoCookies")?, counter(&self.server, "ListenDrops")?))
        };
        let before = read()?;
        let spec = Client {
            targets: vec![address],
            sources: self.sources.clone(),
            connections: syns,
            nonblocking_hold: true,
            ..Client::default()
        };
        let (_client, _) = lab.run(&self.client, spec)?;
        let mut kept = Kept { syn_recv: 0, cookies: 0, drops: 0, all_arrived: false };
        kept.all_arrived = wait(PATIENCE, || {
            let now = read()?;
            kept.syn_recv = kept.syn_recv.max(count(&self.server, "syn_recv", port)?);
            (kept.cookies, kept.drops) = (now.0 - before.0, now.1 - before.1);
            Ok(kept.syn_recv + kept.cookies + kept.drops >= syns)
        })?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_decide() {
        use Verdict::{Partly, Right, Wrong};
        for (a, b, expected) in [(4, 4, Partly), (3, 3, Right), (4, 9, Wrong), (9, 4, Wrong), (5, 5, Wrong)] {
            assert_eq!(judge_accept_queue(a, b, 3), expected, "{a} {b}");
        }
        for (raised, expected) in [(5, Wrong), (25, Right), (9, Partly)] {
            assert_eq!(judge_somaxconn(5, raised, 25), expected, "{raised}");
        }
        for (syn_recv, expected) in [(17, Wrong), (300, Right), (150, Partly)] {
            assert_eq!(judge_flood(syn_recv, 300), expected, "{syn_recv}");
        }
        for (with, without, expected) in [
            ((65, 65), (13, 65), Partly),
            ((65, 65), (65, 65), Wrong),
            ((16, 64), (13, 65), Right),
            ((16, 64), (64, 64), Partly),
        ] {
            assert_eq!(judge_syn_backlog(with, without), expected, "{with:?} {without:?}");
        }
    }
}
