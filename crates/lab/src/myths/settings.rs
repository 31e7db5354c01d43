//! Beliefs about where settings apply.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::kit::{Lab, NAMESPACES, set_if_there};
use super::{Measured, Myth, Verdict};
use crate::{Error, Host, sysctl};

pub(super) const CONTAINERS: Myth = Myth {
    name: "containers-inherit-sysctls",
    claim: "A container has the TCP settings of its host, so that tuning the host's sysctl.conf is enough.",
    source: "lore: images and pods that are tuned on the node alone",
    why: "A new network namespace begins with the kernel's defaults (tcp_sk_init(), inet_init_net()); only tcp_rmem, \
          tcp_wmem, the congestion control and IPv4's interface settings are copied, from the initial namespace.",
    seconds: 1,
    needs: NAMESPACES,
    measure: containers,
};

fn containers(lab: &Lab) -> Result<Measured, Error> {
    let host = lab.host("host")?;
    let mut tuned = Vec::new();
    for (key, value, other) in [
        ("net.core.somaxconn", "99", "98"),
        ("net.ipv4.tcp_fin_timeout", "17", "18"),
        ("net.ipv4.tcp_tw_reuse", "1", "0"),
        ("net.ipv4.tcp_max_syn_backlog", "77", "78"),
        ("net.ipv4.ip_local_port_range", "20000\t29999", "20001\t30000"),
    ] {
        // Other than what a new namespace has.
        let value = if host.read_sysctl(key).is_ok_and(|has| has == value) { other } else { value };
        if set_if_there(&host, key, value)? {
            tuned.push((key, value));
        }
    }
    // A namespace is made by a thread that lives in the host, as a container's is.
    let container = host.run(linger_netns::create)??;
    let (mut inherited, mut differing) = (0, Vec::new());
    for &(key, value) in &tuned {
        let has = sysctl::read_sysctl(&container, key)?;
        if has == value {
            inherited += 1;
        } else {
            let name = key.rsplit('.').next().unwrap_or(key);
            differing.push(format!("{name} {} → {}", value.replace('\t', " "), has.replace('\t', " ")));
        }
    }
    let mut text =
        format!("{inherited} of {} settings of the host are in a namespace made inside it", tuned.len());
    if !differing.is_empty() {
        text.push_str(&format!(" ({})", differing.join(", ")));
    }
    Ok(Measured { text, verdict: judge_containers(inherited, tuned.len()) })
}

fn judge_containers(inherited: usize, tuned: usize) -> Verdict {
    match inherited {
        0 => Verdict::Wrong,
        _ if inherited == tuned => Verdict::Right,
        _ => Verdict::Partly,
    }
}

pub(super) const RMEM_DEFAULT: Myth = Myth {
    name: "rmem-default-sizes-tcp-buffers",
    claim: "net.core.rmem_default sets the size of TCP receive buffers.",
    source: "the article on 200k TIME_WAIT, which sets it beside tcp_rmem",
    why: "tcp_init_sock() gives a TCP socket the second value of tcp_rmem (its send buffer that of tcp_wmem) and so \
          overrides rmem_default, which other protocols keep.",
    seconds: 1,
    needs: NAMESPACES,
    measure: rmem_default,
};

fn rmem_default(lab: &Lab) -> Result<Measured, Error> {
    let host = lab.host("host")?;
    // A namespace can't set rmem_default, and may not see it: a UDP socket shows it.
    let default = receive_buffer(&host, SocketType::DGRAM)?;
    let before = receive_buffer(&host, SocketType::STREAM)?;
    let set = [98_304, 49_152, 147_456].into_iter().find(|size| ![default, before].contains(size));
    let set = set.expect("two values rule out two of three at most");
    host.sysctl("net.ipv4.tcp_rmem", &format!("4096 {set} 6291456"))?;
    let after = receive_buffer(&host, SocketType::STREAM)?;
    let text = format!(
        "a TCP socket has {before} bytes, and {after} after tcp_rmem[1] is set to {set}, while rmem_default is {default} (as a \
         UDP socket has)"
    );
    Ok(Measured { text, verdict: judge_rmem_default(before, after, set, default) })
}

fn judge_rmem_default(before: usize, after: usize, set: usize, default: usize) -> Verdict {
    if after == set {
        Verdict::Wrong
    } else if before == default && after == default {
        Verdict::Right
    } else {
        Verdict::Partly
    }
}

/// The receive buffer of a new socket in `host`.
fn receive_buffer(host: &Host, kind: SocketType) -> Result<usize, Error> {
    let size = host.run(|| {
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
        sockopt::socket_recv_buffer_size(&socket)
    })?;
    size.map_err(|error| Error::Host {
        host: host.name().to_owned(),
        operation: "read",
        subject: "a socket's SO_RCVBUF".into(),
        source: error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_decide() {
        use Verdict::{Partly, Right, Wrong};
        for (inherited, expected) in [(0, Wrong), (5, Right), (2, Partly)] {
            assert_eq!(judge_containers(inherited, 5), expected, "{inherited}");
        }
        for (before, after, expected) in
            [(131_072, 98_304, Wrong), (212_992, 212_992, Right), (131_072, 131_072, Partly)]
        {
            assert_eq!(judge_rmem_default(before, after, 98_304, 212_992), expected, "{before} {after}");
        }
    }
}
