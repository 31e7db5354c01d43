//! Hides addresses and names in a snapshot, the same one always behind the same mask.

use crate::recording::Redaction;
use hashbrown::HashMap;
use linger_model::Addr;
use linger_model::aggregate::{CloseWaitPeer, TimeWaitMakers, Tuple};
use linger_model::snapshot::{Gap, Snapshot};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Addresses and names that are told apart; further ones share a mask.
const MOST: usize = 1 << 20;

/// Remembers which mask stands for what, over the samples of a recording.
pub struct Redactor {
    redaction: Redaction,
    addresses: HashMap<Addr, Addr>,
    names: HashMap<String, u32>,
}

impl Redactor {
    /// With nothing hidden yet.
    pub fn new(redaction: Redaction) -> Redactor {
        Redactor { redaction, addresses: HashMap::new(), names: HashMap::new() }
    }

    /// A mask: IPv4 from 240.0.0.0/4 and IPv6 from 2001:db8::/32, which no host has. Loopback and wildcards stay, as
    /// rules read them.
    fn address(&mut self, addr: Addr) -> Addr {
        if addr.is_loopback() || addr.is_unspecified() {
            return addr;
        }
        if let Some(mask) = self.addresses.get(&addr) {
            return *mask;
        }
        let number = self.addresses.len().min(MOST) as u32 + 1;
        let mask = if addr.is_v4() {
            Ipv4Addr::from(0xf000_0000 | number).into()
        } else {
            let [a, b, c, d] = number.to_be_bytes();
            let low = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            std::net::IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, low[0], low[1])).into()
        };
        if self.addresses.len() < MOST {
            self.addresses.insert(addr, mask);
        }
        mask
    }

    /// A name without the addresses that are written in it: `sshd@1-10.0.0.5:22-10.0.0.9:5555.service` is a unit of
    /// systemd's, `ip-10-0-0-5` a host of a cloud's. What only looks like one is hidden, too.
    fn without_addresses(&mut self, name: &str) -> String {
        let mut out = String::with_capacity(name.len());
        let mut rest = name;
        let mut before = None;
        while let Some(first) = rest.chars().next() {
            let length = match address_at_start(rest, before) {
                Some((address, length)) => {
                    out.push_str(&self.address(address).to_string());
                    length
                }
                None => {
                    out.push(first);
                    first.len_utf8()
                }
            };
            before = rest.get(..length).and_then(|taken| taken.chars().next_back());
            rest = rest.get(length..).unwrap_or_default();
        }
        out
    }

    fn name(&mut self, kind: &str, name: &str) -> String {
        let next = self.names.len().min(MOST) as u32 + 1;
        let number = match self.names.get(name) {
            Some(known) => *known,
            None => {
                if self.names.len() < MOST {
                    self.names.insert(name.to_owned(), next);
                }
                next
            }
        };
        format!("{kind}-{number}")
    }

    /// Puts in place of a name what may be told of it.
    fn hide(&mut self, kind: &str, name: &mut String) {
        *name = match self.redaction {
            Redaction::All => self.name(kind, name),
            _ => self.without_addresses(name),
        };
    }

    /// Hides what is to be hidden.
    pub fn redact(&mut self, mut snapshot: Snapshot) -> Snapshot {
        if self.redaction == Redaction::None {
            return snapshot;
        }
        if let Ok(table) = snapshot.sockets.take_or_gap() {
            let mut table = table;
            table.tuples =
                table.tuples.map_keys(|k| Tuple { src: self.address(k.src), dst: self.address(k.dst), ..k });
            table.clients = table.clients.map_keys(|k| self.address(k));
            table.close_wait_peers =
                table.close_wait_peers.map_keys(|k| CloseWaitPeer { addr: self.address(k.addr), ..k });
            table.syn_recv_sources = table.syn_recv_sources.map_keys(|k| self.address(k));
            table.left_behind = table.left_behind.map_keys(|(addr, port)| (self.address(addr), port));
            if let Some(makers) = table.time_wait_makers.take() {
                let by = makers.by.map_keys(|(k, process)| {
                    (Tuple { src: self.address(k.src), dst: self.address(k.dst), ..k }, process)
                });
                table.time_wait_makers = Some(TimeWaitMakers { by, ..makers });
            }
            for listener in &mut table.listeners {
                listener.addr = self.address(listener.addr);
            }
            snapshot.sockets = Ok(table);
        }
        let mut host = (*snapshot.host).clone();
        if let Ok(processes) = &mut host.processes {
            for process in &mut processes.list {
                process.cmdline = None;
                self.hide("process", &mut process.comm);
                if self.redaction == Redaction::All {
                    process.exe = None;
                }
                process.exe.iter_mut().for_each(|path| self.hide("program", path));
                process.cgroup.iter_mut().for_each(|path| self.hide("/cgroup", path));
                if let Some(container) = &mut process.container {
                    self.hide("container", &mut container.id);
                    container.pod.iter_mut().for_each(|pod| self.hide("pod", pod));
                }
            }
        }
        if let Ok(groups) = &mut host.cgroup_memory {
            groups.iter_mut().for_each(|group| self.hide("/cgroup", &mut group.path));
        }
        snapshot.netns.name.iter_mut().for_each(|name| self.hide("namespace", name));
        // The system's own words may name a path, a host or an address.
        let hide = |gap: &mut Gap| {
            gap.detail = "not told".to_owned();
        };
        snapshot.gaps.iter_mut().for_each(hide);
        for gap in [
            snapshot.sockets.as_mut().err(),
            snapshot.sockstat.as_mut().err(),
            snapshot.counters.as_mut().err(),
            snapshot.conntrack.as_mut().err(),
            host.processes.as_mut().err(),
            host.files.as_mut().err(),
            host.softnet.as_mut().err(),
            host.cgroup_memory.as_mut().err(),
        ]
        .into_iter()
        .flatten()
        {
            hide(gap);
        }
        for sysctls in [&mut snapshot.sysctls, &mut host.sysctls] {
            sysctls.values_mut().filter_map(|value| value.as_mut().err()).for_each(hide);
        }
        snapshot.host = Arc::new(host);
        snapshot
    }
}

/// The longest address that a text begins with, and its length; `before` is the character before the text.
fn address_at_start(text: &str, before: Option<char>) -> Option<(Addr, usize)> {
    // An IPv6 address that ends as IPv4.
    const LONGEST: usize = 45;
    if before.is_some_and(|c| c.is_ascii_digit()) {
        return None;
    }
    let run = |part: fn(char) -> bool, most: usize| text.find(|c| !part(c)).unwrap_or(text.len()).min(most);
    let longest = |end: usize, read: &dyn Fn(&str) -> Option<IpAddr>| {
        (3..=end).rev().find_map(|n| Some((read(text.get(..n)?)?, n)))
    };
    let v6 = || {
        // Within a word it is none: `std::fs`.
        let word = before.is_some_and(char::is_alphanumeric);
        let end = run(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'), LONGEST);
        (!word).then(|| longest(end, &|text| text.parse().ok().filter(IpAddr::is_ipv6))).flatten()
    };
    let v4 = || {
        let end = run(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'), 15);
        longest(end, &|text| {
            let dash = text.chars().find(|c| !c.is_ascii_digit())?;
            let one_kind = text.chars().all(|c| c.is_ascii_digit() || c == dash);
            one_kind.then(|| text.replace(dash, ".").parse().ok().map(IpAddr::V4)).flatten()
        })
    };
    v6().or_else(v4).map(|(address, length)| (Addr::from(address), length))
}

/// Takes the table out, and leaves a gap in its place until it is put back.
trait Take<T> {
    fn take_or_gap(&mut self) -> Result<T, ()>;
}

impl<T> Take<T> for Result<T, Gap> {
    fn take_or_gap(&mut self) -> Result<T, ()> {
        if self.is_err() {
            return Err(());
        }
        std::mem::replace(self, linger_model::snapshot::not_asked("sockets")).map_err(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_within_names_are_hidden() {
        let mut redactor = Redactor::new(Redaction::Addresses);
        let mut hide = |name: &str| redactor.without_addresses(name);
        for (name, expected) in [
            ("nginx", "nginx"),
            ("php 10.9.0.77", "php 240.0.0.1"),
            (
                "/system.slice/sshd@3-10.9.0.1:22-10.9.0.77:5555.service",
                "/system.slice/sshd@3-240.0.0.2:22-240.0.0.1:5555.service",
            ),
            ("sshd@0-fe80::5:22-fe80::9:33.service", "sshd@0-2001:db8::3-2001:db8::4.service"),
            ("tun [2a01:4f8::5%eth0]:443", "tun [2001:db8::5%eth0]:443"),
            ("node-2a01:4f8:1:2:3:4:5:6:443", "node-2001:db8::6:443"),
            ("ip-10-9-0-77.ec2", "ip-240.0.0.1.ec2"),
            ("10_9_0_1", "240.0.0.2"),
            ("tap10.9.0.1", "tap240.0.0.2"),
            ("ko\u{f6}10.9.0.1", "ko\u{f6}240.0.0.2"),
            ("lo 127.0.0.1 [::1] std::fs a:b", "lo 127.0.0.1 [::1] std::fs a:b"),
            ("1234-56-78-90 300.1.1.1 12:30:45 6.1.0", "1234-56-78-90 300.1.1.1 12:30:45 6.1.0"),
            ("", ""),
        ] {
            assert_eq!(hide(name), expected, "{name}");
        }
    }
}
