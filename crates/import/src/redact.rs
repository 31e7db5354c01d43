//! Hides addresses and names in a snapshot, the same one always behind the same mask.

use crate::recording::Redaction;
use hashbrown::HashMap;
use linger_model::Addr;
use linger_model::aggregate::{CloseWaitPeer, TimeWaitMakers, Tuple};
use linger_model::snapshot::{Gap, Snapshot};
use std::net::{Ipv4Addr, Ipv6Addr};
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
        let all = self.redaction == Redaction::All;
        let mut host = (*snapshot.host).clone();
        if let Ok(processes) = &mut host.processes {
            for process in &mut processes.list {
                process.cmdline = None;
                if all {
                    process.comm = self.name("process", &process.comm);
                    process.exe = None;
                    process.cgroup = process.cgroup.as_deref().map(|path| self.name("/cgroup", path));
                    if let Some(container) = &mut process.container {
                        container.id = self.name("container", &container.id);
                        container.pod = container.pod.as_deref().map(|pod| self.name("pod", pod));
                    }
                }
            }
        }
        if all {
            if let Ok(groups) = &mut host.cgroup_memory {
                for group in groups {
                    group.path = self.name("/cgroup", &group.path);
                }
            }
            snapshot.netns.name = snapshot.netns.name.as_deref().map(|name| self.name("namespace", name));
        }
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
