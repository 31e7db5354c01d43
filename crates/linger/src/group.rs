//! Grouping sockets by what they have in common.

use crate::cli::GroupBy;
use hashbrown::HashMap;
use linger_collect::HolderTable;
use linger_model::aggregate::{ListenIndex, Owners, StateTally};
use linger_model::record::{Addr, Family, endpoint};
use linger_model::{Groups, SocketRecord};
use linger_wire::cgroup;
use std::collections::BTreeMap;

/// What the sockets of a group share, in 24 bytes: an address and a number whose meaning depends on the grouping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    addr: Addr,
    number: u64,
}

const NONE: u64 = u64::MAX;

/// Finds each socket's group, and names groups.
pub struct Grouper<'a> {
    by: GroupBy,
    holders: &'a HolderTable,
    listening: ListenIndex,
    listeners: Vec<(Addr, u16)>,
    cgroups: BTreeMap<u64, String>,
    containers: HashMap<String, u64>,
    container_names: Vec<String>,
    container_of_process: Vec<u64>,
    container_of_cgroup: HashMap<u64, u64>,
    /// Number of the namespace being walked.
    pub netns: u64,
    netns_names: Vec<String>,
}

impl<'a> Grouper<'a> {
    /// For a grouping. The cgroups' paths are needed for groupings by cgroup and container.
    pub fn new(
        by: GroupBy,
        holders: &'a HolderTable,
        cgroups: BTreeMap<u64, String>,
        netns_names: Vec<String>,
    ) -> Grouper<'a> {
        let mut grouper = Grouper {
            by,
            holders,
            listening: ListenIndex::default(),
            listeners: Vec::new(),
            cgroups,
            containers: HashMap::new(),
            container_names: Vec::new(),
            container_of_process: Vec::new(),
            container_of_cgroup: HashMap::new(),
            netns: 0,
            netns_names,
        };
        if by == GroupBy::Container {
            for process in &holders.processes().list {
                let name = process.container.as_ref().map(ToString::to_string);
                let number = name.map_or(NONE, |n| grouper.container(n));
                grouper.container_of_process.push(number);
            }
            let known: Vec<(u64, String)> = grouper
                .cgroups
                .iter()
                .filter_map(|(id, path)| cgroup::container(path).map(|c| (*id, c.to_string())))
                .collect();
            for (id, name) in known {
                let number = grouper.container(name);
                grouper.container_of_cgroup.insert(id, number);
            }
        }
        grouper
    }

    fn container(&mut self, name: String) -> u64 {
        let names = &mut self.container_names;
        *self.containers.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            names.len() as u64 - 1
        })
    }

    /// Takes a namespace's listening sockets, before its other sockets come.
    pub fn listening(&mut self, sockets: &[SocketRecord]) {
        self.listening = ListenIndex::default();
        for socket in sockets {
            if self.listening.exact(socket.src, socket.sport).is_none() {
                self.listening.insert(socket.src, socket.sport, socket.v6only, self.listeners.len());
                self.listeners.push((socket.src, socket.sport));
            }
        }
    }

    /// The group of a socket.
    #[inline]
    pub fn key(&self, socket: &SocketRecord) -> Key {
        let none = Addr::UNSPECIFIED;
        let (addr, number) = match self.by {
            // 0.0.0.0 and :: are the same nobody.
            GroupBy::Peer | GroupBy::PeerPort if socket.dst.is_unspecified() => (none, 0),
            GroupBy::Peer => (socket.dst, 0),
            GroupBy::PeerPort => (socket.dst, u64::from(socket.dport)),
            GroupBy::LocalPort => (none, u64::from(socket.sport)),
            GroupBy::Listener => {
                (none, self.listening.find(socket.src, socket.sport).map_or(NONE, |at| at as u64))
            }
            GroupBy::Process => (none, self.holders.owner(socket).map_or(NONE, u64::from)),
            GroupBy::Cgroup => (none, socket.cgroup_id.unwrap_or(NONE)),
            GroupBy::Container => {
                let by_cgroup = socket.cgroup_id.and_then(|id| self.container_of_cgroup.get(&id).copied());
                let by_process = || {
                    let owner = self.holders.owner(socket)?;
                    self.container_of_process.get(owner as usize).copied()
                };
                (none, by_cgroup.or_else(by_process).unwrap_or(NONE))
            }
            GroupBy::Netns => (none, self.netns),
            GroupBy::Family => (none, u64::from(socket.family == Family::Ipv6)),
        };
        Key { addr, number }
    }

    /// A group's name.
    pub fn name(&self, key: &Key) -> String {
        match self.by {
            GroupBy::Peer if key.addr.is_unspecified() => "(no peer)".to_owned(),
            GroupBy::Peer => key.addr.to_string(),
            GroupBy::PeerPort if key.addr.is_unspecified() => "(no peer)".to_owned(),
            GroupBy::PeerPort => endpoint(key.addr, key.number as u16),
            GroupBy::LocalPort => key.number.to_string(),
            GroupBy::Listener => match self.listeners.get(key.number as usize) {
                Some((addr, port)) => endpoint(*addr, *port),
                None => "(outgoing)".to_owned(),
            },
            GroupBy::Process => match self.holders.processes().get(key.number as u32) {
                Some(process) if key.number != NONE => process.label(),
                _ => "(no process: TIME_WAIT, half-open, orphaned, or not visible)".to_owned(),
            },
            GroupBy::Cgroup if key.number == NONE => "(no cgroup: minisockets and half-open ones)".to_owned(),
            GroupBy::Cgroup => match self.cgroups.get(&key.number) {
                Some(path) => path.clone(),
                None => format!("cgroup id {}", key.number),
            },
            GroupBy::Container => match self.container_names.get(key.number as usize) {
                Some(name) => name.clone(),
                None => "(none, or not known: minisockets have none)".to_owned(),
            },
            GroupBy::Netns => self.netns_names.get(key.number as usize).cloned().unwrap_or_default(),
            GroupBy::Family => (if key.number == 1 { "IPv6" } else { "IPv4" }).to_owned(),
        }
    }
}

/// Sockets per group and state.
pub type Counted = Groups<Key, StateTally>;
