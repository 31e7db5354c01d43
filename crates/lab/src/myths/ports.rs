//! Beliefs about local ports.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use linger_model::thousands;

use super::kit::{Lab, NAMESPACES, PATIENCE, VETH, connect, is_out_of_ports, listen, loopback, try_connect};
use super::{Measured, Myth, Verdict};
use crate::socket::reset_on_close;
use crate::{Bound, Client, Close, Error, Server, World};

pub(super) const PER_HOST: Myth = Myth {
    name: "65535-connections-per-host",
    claim: "A host can have 65,535 connections at most, because there are 65,535 ports.",
    source: "the article on TIME_WAIT that exhausts a server; lore since the C10K days",
    why: "A connection is told from others by both addresses and both ports (__inet_check_established()), so each \
          (source, destination, destination port) has the whole port range to itself; accepted connections take none of it.",
    seconds: 3,
    needs: NAMESPACES,
    measure: per_host,
};

fn per_host(lab: &Lab) -> Result<Measured, Error> {
    const PORTS: u64 = 100;
    const DESTINATIONS: u16 = 10;
    let host = lab.host("client")?;
    let usual = host.read_sysctl("net.ipv4.ip_local_port_range")?;
    host.sysctl("net.ipv4.ip_local_port_range", "40000 40099")?;
    let targets: Vec<SocketAddr> = (0..DESTINATIONS).map(|at| loopback(8_000 + at)).collect();
    let (_server, _) = lab.start(&host, Server { listen: targets.clone(), ..Server::default() })?;
    let wanted = PORTS * u64::from(DESTINATIONS);
    let spec = Client {
        targets,
        connections: wanted,
        concurrency: 64,
        requests: 0,
        close: Close::Never,
        ..Client::default()
    };
    let (_first, outcome) = lab.run(&host, spec.clone())?;
    let (_second, beyond) = lab.run(&host, Client { connections: DESTINATIONS.into(), ..spec })?;
    let sockets = host.tcp_sockets()?;
    let outgoing =
        sockets.iter().filter(|it| it.state == "established" && (40_000..=40_099).contains(&it.local_port));
    let (mut established, mut ports) = (0, BTreeSet::new());
    for socket in outgoing {
        established += 1;
        ports.insert(socket.local_port);
    }
    let used = ports.len() as u64;
    let refused = beyond.errors.get("EADDRNOTAVAIL").unwrap_or(&0);
    let mut text = format!(
        "{} connections at a time from one address with {used} local ports, to {DESTINATIONS} destination ports; {refused} \
         of {DESTINATIONS} beyond them met EADDRNOTAVAIL",
        thousands(established)
    );
    if let Some(usual) = size(&usual) {
        text.push_str(&format!("; a new namespace has {} ports for each destination", thousands(usual)));
    }
    let out_of_ports = outcome.errors.get("EADDRNOTAVAIL").unwrap_or(&0);
    if outcome.succeeded + out_of_ports < wanted || established < outcome.succeeded {
        return Ok(Measured::unsure(text, "some failed for another reason"));
    }
    Ok(Measured { text, verdict: judge_per_host(established, PORTS) })
}

/// The number of ports of an `ip_local_port_range`.
fn size(range: &str) -> Option<u64> {
    let mut ends = range.split_ascii_whitespace().map(str::parse::<u64>);
    let (low, high) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some(high.checked_sub(low)? + 1)
}

fn judge_per_host(established: u64, ports: u64) -> Verdict {
    if established >= 2 * ports {
        Verdict::Wrong
    } else if established > ports {
        Verdict::Partly
    } else {
        Verdict::Right
    }
}

pub(super) const BOUND: Myth = Myth {
    name: "bound-port-is-free-for-connect",
    claim: "A port that an idle socket is bound to at another address is still free for connect().",
    source: "lore: \"connections are 4-tuples\", which leaves bind() out",
    why: "__inet_hash_connect() passes over every port whose bucket bind() has made (fastreuse >= 0), whatever the address \
          and the destination. Such a socket is in no table that ss showed before 6.8.",
    seconds: 2,
    needs: NAMESPACES,
    measure: bound,
};

fn bound(lab: &Lab) -> Result<Measured, Error> {
    const PORTS: u16 = 4;
    let host = lab.host("client")?;
    host.sysctl("net.ipv4.ip_local_port_range", "40000 40003")?;
    let listener = listen(&host, loopback(80), 16)?;
    // Each ends with a reset, so that it leaves no TIME_WAIT.
    let try_all = || -> Result<(u64, u64), Error> {
        let (mut succeeded, mut out_of_ports) = (0, 0);
        let mut held = Vec::new();
        for _ in 0..PORTS {
            match try_connect(&host, loopback(80), PATIENCE)? {
                Ok(socket) => {
                    let socket = socket.into();
                    // Without it there are TIME_WAIT sockets, and what comes after fails visibly.
                    let _ = reset_on_close(&socket);
                    held.push(socket);
                    succeeded += 1;
                }
                Err(error) => out_of_ports += u64::from(is_out_of_ports(&error)),
            }
        }
        drop(held);
        // The reset ones wait in the queue still.
        for _ in 0..succeeded {
            let _ = listener.accept();
        }
        Ok((succeeded, out_of_ports))
    };
    let (before, _) = try_all()?;
    let spec = Bound {
        address: IpAddr::from([127, 0, 0, 9]),
        ports: (40_000..40_000 + PORTS).collect(),
        ..Bound::default()
    };
    let (holder, ports) = lab.start(&host, spec)?;
    let (while_bound, out_of_ports) = try_all()?;
    holder.release()?;
    let (after, _) = try_all()?;
    let text = format!(
        "with {} of {PORTS} ports bound at 127.0.0.9, {while_bound} of {PORTS} connections from 127.0.0.1 succeeded \
         ({out_of_ports} EADDRNOTAVAIL); {before} before and {after} after",
        ports.len()
    );
    if ports.len() != usize::from(PORTS) || before != u64::from(PORTS) || after != u64::from(PORTS) {
        return Ok(Measured::unsure(
            text,
            "without the bound sockets, or after them, not all succeeded either",
        ));
    }
    if while_bound + out_of_ports < u64::from(PORTS) {
        return Ok(Measured::unsure(text, "some failed for another reason"));
    }
    Ok(Measured { text, verdict: judge_bound(while_bound, PORTS.into()) })
}

fn judge_bound(succeeded: u64, tried: u64) -> Verdict {
    match succeeded {
        0 => Verdict::Wrong,
        _ if succeeded >= tried => Verdict::Right,
        _ => Verdict::Partly,
    }
}

pub(super) const PROXY: Myth = Myth {
    name: "proxy-spends-ports-on-both-sides",
    claim: "A proxy spends local ports on both sides: one for each client and one for each backend connection.",
    source: "the article on 200k TIME_WAIT",
    why: "An accepted connection shares the port of its listener (__inet_inherit_port()); only connect() takes one of \
          ip_local_port_range. A proxy can run out of ports towards a backend, never towards its clients.",
    seconds: 2,
    needs: VETH,
    measure: proxy,
};

fn proxy(_: &Lab) -> Result<Measured, Error> {
    const PORTS: u64 = 40;
    const MORE: u64 = 10;
    let world = World::new();
    let (outside, proxy) = (world.host("outside")?, world.host("proxy")?);
    world.link(&outside, &proxy, "10.77.0.1/24", "10.77.0.2/24")?;
    proxy.sysctl("net.ipv4.ip_local_port_range", "40000 40039")?;
    let front = listen(&proxy, SocketAddr::from((Ipv4Addr::new(10, 77, 0, 2), 80)), 128)?;
    let back_address = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 1), 8_080));
    let back = listen(&outside, back_address, 128)?;
    let mut held = Vec::new();
    for _ in 0..PORTS {
        held.push(connect(&outside, &front)?);
        held.push(connect(&proxy, &back)?);
    }
    let is_used_up = try_connect(&proxy, back_address, PATIENCE)?.is_err_and(|error| is_out_of_ports(&error));
    let mut more = 0;
    for _ in 0..MORE {
        if let Ok(pair) = connect(&outside, &front) {
            held.push(pair);
            more += 1;
        }
    }
    let sockets = proxy.tcp_sockets()?;
    let ports = |is_backend: bool| {
        let taken = sockets.iter().filter(|it| {
            it.state == "established"
                && (40_000..=40_039).contains(&it.local_port)
                && (it.remote_port == 8_080) == is_backend
        });
        taken.map(|it| it.local_port).collect::<BTreeSet<u16>>().len() as u64
    };
    let (for_clients, for_backends) = (ports(false), ports(true));
    let text = format!(
        "{PORTS} clients and {PORTS} backend connections took {for_clients} and {for_backends} of {PORTS} local ports; \
         then the next backend connection met {}, and {more} of {MORE} more clients were accepted",
        if is_used_up { "EADDRNOTAVAIL" } else { "no lack of ports" }
    );
    if for_backends == 0 {
        return Ok(Measured::unsure(text, "the backend's ports were not seen"));
    }
    Ok(Measured { text, verdict: judge_proxy(for_clients, for_backends, more == MORE) })
}

fn judge_proxy(for_clients: u64, for_backends: u64, more_are_accepted: bool) -> Verdict {
    if for_clients * 2 >= for_backends {
        Verdict::Right
    } else if for_clients == 0 && more_are_accepted {
        Verdict::Wrong
    } else {
        Verdict::Partly
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_decide() {
        use Verdict::{Partly, Right, Wrong};
        for (established, expected) in [(1_000, Wrong), (100, Right), (40, Right), (150, Partly)] {
            assert_eq!(judge_per_host(established, 100), expected, "{established}");
        }
        for (succeeded, expected) in [(0, Wrong), (4, Right), (1, Partly)] {
            assert_eq!(judge_bound(succeeded, 4), expected, "{succeeded}");
        }
        for (clients, accepted, expected) in
            [(0, true, Wrong), (40, false, Right), (3, true, Partly), (0, false, Partly)]
        {
            assert_eq!(judge_proxy(clients, 40, accepted), expected, "{clients} {accepted}");
        }
    }

    #[test]
    fn ranges_are_counted() {
        assert_eq!(size("32768\t60999"), Some(28_232));
        assert_eq!(size("5 5"), Some(1));
        assert_eq!(size("9 5"), None);
        assert_eq!(size("x"), None);
    }
}
