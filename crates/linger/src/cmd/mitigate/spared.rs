//! Whose sockets are never destroyed: the operator's own way in.

use hashbrown::HashSet;
use linger_collect::{HolderTable, ScanOptions, ancestors, environment_of};
use linger_model::aggregate::Owners;
use linger_model::{Addr, SocketRecord, State};
use schemars::JsonSchema;
use serde::Serialize;
use std::net::IpAddr;

/// Why a socket is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// This command, or a process that it descends from, holds it.
    Ancestor,
    /// It is the connection that SSH_CONNECTION of this command, or of a process that it descends from, tells of.
    SshConnection,
    /// A process of sshd or dropbear holds it: the operator may have come through it, over tmux or another host.
    Sshd,
    /// It is not known who holds it: not every process can be seen.
    Unseen,
    /// It has an owner that is no process: the kernel (NFS, iSCSI), io_uring; or it is newer than the look at processes.
    NoProcess,
}

/// What is known of the caller.
pub struct Spared<'a> {
    holders: &'a HolderTable,
    own: HashSet<u32>,
    ssh: Vec<Connection>,
    sees_all: bool,
}

/// Local and peer end, seen from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    src: Addr,
    sport: u16,
    dst: Addr,
    dport: u16,
}

impl Spared<'_> {
    /// Of this command; `holders` are the holders of all sockets.
    pub fn find(holders: &HolderTable) -> Spared<'_> {
        let mut own = HashSet::new();
        let mut ssh = Vec::new();
        for pid in ancestors() {
            // The table names one holder for each socket, who need not be the one that counts here.
            let only = ScanOptions { cgroups: false, limits: false, only_pid: Some(pid) };
            if let Ok(held) = HolderTable::scan(&only) {
                own.extend(held.inodes_of(pid));
            }
            ssh.extend(environment_of(pid, "SSH_CONNECTION").and_then(|text| connection(&text)));
        }
        ssh.extend(std::env::var("SSH_CONNECTION").ok().and_then(|text| connection(&text)));
        Spared { holders, own, ssh, sees_all: holders.gaps().is_empty() }
    }

    /// Why this socket is to be left alone; none where it may be destroyed.
    pub fn why(&self, socket: &SocketRecord) -> Option<Why> {
        if self.own.contains(&socket.inode) && socket.inode != 0 {
            return Some(Why::Ancestor);
        }
        let ends = Connection { src: socket.src, sport: socket.sport, dst: socket.dst, dport: socket.dport };
        if socket.state != State::TimeWait && self.ssh.contains(&ends) {
            return Some(Why::SshConnection);
        }
        if socket.inode == 0 {
            return None;
        }
        match self.holders.owner(socket).and_then(|at| self.holders.processes().get(at)) {
            Some(holder) if is_sshd(&holder.comm) => Some(Why::Sshd),
            Some(_) => None,
            None if self.sees_all => Some(Why::NoProcess),
            None => Some(Why::Unseen),
        }
    }
}

/// `sshd`, and the `sshd-session` of OpenSSH 9.8.
fn is_sshd(comm: &str) -> bool {
    comm == "sshd" || comm.starts_with("sshd-") || comm == "dropbear"
}

/// Client address and port, server address and port.
fn connection(text: &str) -> Option<Connection> {
    let mut words = text.split_ascii_whitespace();
    let mut end = || -> Option<(Addr, u16)> {
        let addr = words.next()?;
        // A link-local address comes with its interface.
        let addr: IpAddr = addr.split('%').next()?.parse().ok()?;
        Some((Addr::from(addr), words.next()?.parse().ok()?))
    };
    let ((dst, dport), (src, sport)) = (end()?, end()?);
    Some(Connection { src, sport, dst, dport })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Addr {
        Addr::from(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn the_connection_is_read_from_the_servers_side() {
        let found = connection("10.0.0.9 51000 10.0.0.1 22").expect("a connection");
        assert_eq!((found.src, found.sport), (addr("10.0.0.1"), 22));
        assert_eq!((found.dst, found.dport), (addr("10.0.0.9"), 51000));
        let found = connection("fe80::9%eth0 1 fe80::1%eth0 22").expect("a connection");
        assert_eq!((found.src, found.dst), (addr("fe80::1"), addr("fe80::9")));
        for bad in ["", "10.0.0.9 51000 10.0.0.1", "x 1 y 2", "10.0.0.9 70000 10.0.0.1 22"] {
            assert_eq!(connection(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_nobody_is_seen_to_hold_is_spared_where_not_all_can_be_seen() {
        let holders = HolderTable::empty();
        let ssh = connection("10.0.0.9 51000 10.0.0.1 22").expect("a connection");
        let mut spared =
            Spared { holders: &holders, own: HashSet::from([7]), ssh: vec![ssh], sees_all: true };
        let new = |state, inode| {
            let (src, dst) = (addr("10.0.0.1"), addr("10.0.0.9"));
            SocketRecord { inode, ..SocketRecord::new(state, src, 22, dst, 51000) }
        };
        assert_eq!(spared.why(&new(State::Established, 7)), Some(Why::Ancestor));
        assert_eq!(spared.why(&new(State::Established, 8)), Some(Why::SshConnection));
        // What is left of an earlier connection is not the caller's.
        assert_eq!(spared.why(&new(State::TimeWait, 0)), None);
        spared.ssh.clear();
        assert_eq!(spared.why(&new(State::CloseWait, 8)), Some(Why::NoProcess));
        spared.sees_all = false;
        assert_eq!(spared.why(&new(State::CloseWait, 8)), Some(Why::Unseen));
        assert_eq!(spared.why(&new(State::CloseWait, 0)), None);
    }

    #[test]
    fn sshd_is_known_by_its_names() {
        assert!(is_sshd("sshd") && is_sshd("sshd-session") && is_sshd("dropbear"));
        assert!(!is_sshd("sshdx") && !is_sshd("ssh") && !is_sshd(""));
    }
}
