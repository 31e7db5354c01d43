//! What the running host says of its settings.

use crate::cmd::states::either;
use linger_collect::{HolderTable, ScanOptions, Walk, counters, sysctls};
use linger_lint::sysctl::parse::{Document, Kind};
use linger_lint::sysctl::{File, Key, Listener, Live, Loader};
use linger_model::State;
use linger_model::aggregate::{Aggregator, Gather, PortRange, SocketSource};
use linger_model::record::{SocketRecord, endpoint};
use linger_model::snapshot::GapKind;
use linger_netns::{Netns, Spec, reachable};
use linger_wire::sock_diag::Extensions;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What was found.
pub struct Found {
    /// What is running.
    pub live: Live,
    /// Whether this is another network namespace than the host's first.
    pub in_container: Option<bool>,
}

/// Keys whose values are secret, or that do something when they are read.
const NOT_READ: [&str; 3] = ["tcp_fastopen_key", "stable_secret", "stat_refresh"];

/// Who applies the settings at boot.
pub fn boot() -> Loader {
    if Path::new("/run/systemd/system").exists() { Loader::Systemd } else { Loader::Procps }
}

/// The memory, as MemTotal has it.
pub fn ram_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Reads the running values of every key in the files and of those that checks ask for, the listeners and the namespaces.
pub fn look(files: &[&File], gaps: &mut Vec<String>) -> anyhow::Result<Found> {
    crate::targets::need_proc()?;
    let mut keys: BTreeSet<Key> = linger_facts::sysctls().map(|sysctl| Key::new(sysctl.key)).collect();
    for file in files {
        for line in Document::parse(&file.text).lines {
            if let Kind::Setting(setting) = line.kind {
                let key = setting.key;
                let may_be_read = !key.escapes() && !key.path().contains('\0');
                if key.is_glob() && may_be_read {
                    expand(&key, &mut keys);
                } else if may_be_read {
                    keys.insert(key);
                }
            }
        }
    }
    keys.retain(|key| !NOT_READ.iter().any(|name| key.path().rsplit('/').next() == Some(name)));
    let mut live = Live::default();
    let names: Vec<String> = keys.iter().map(Key::dotted).collect();
    let mut read = sysctls(&names.iter().map(String::as_str).collect::<Vec<_>>(), true);
    for (key, name) in keys.into_iter().zip(&names) {
        match read.remove(name) {
            Some(Ok(value)) => {
                live.values.insert(key, value);
            }
            Some(Err(gap)) if gap.kind == GapKind::Unsupported => {
                live.absent.insert(key);
            }
            // Written only, or for others' eyes: nothing is known of it.
            Some(Err(_)) | None => {}
        }
    }
    live.listen_overflows =
        counters().ok().and_then(|counters| counters.get("TcpExt.ListenOverflows").copied());
    match listeners() {
        Ok(found) => live.listeners = found,
        Err(error) => gaps.push(format!("listening sockets: {error:#}")),
    }
    let own = Netns::open(&Spec::parse("self")?).ok();
    let others = reachable().namespaces;
    live.other_namespaces =
        own.as_ref().map(|own| others.iter().filter(|other| other.inode() != own.inode()).count());
    Ok(Found { live, in_container: own.and_then(|own| own.is_init()).map(|is_init| !is_init) })
}

/// The keys that a pattern fits.
fn expand(pattern: &Key, keys: &mut BTreeSet<Key>) {
    /// A pattern that fits more is not worth comparing.
    const MOST: usize = 10_000;
    let mut paths = vec![String::new()];
    for part in pattern.path().split('/') {
        let mut next = Vec::new();
        for path in &paths {
            let Ok(entries) = fs::read_dir(format!("/proc/sys{path}")) else { continue };
            for name in entries.flatten().map(|entry| entry.file_name()) {
                let Some(name) = name.to_str() else { continue };
                if linger_lint::sysctl::key::glob_matches(part, name) && next.len() < MOST {
                    next.push(format!("{path}/{name}"));
                }
            }
        }
        paths = next;
    }
    let files =
        paths.into_iter().filter(|path| fs::metadata(format!("/proc/sys{path}")).is_ok_and(|m| m.is_file()));
    keys.extend(files.map(|path| Key::new(&format!("/proc/sys{path}"))));
}

fn listeners() -> anyhow::Result<Vec<Listener>> {
    let mut listening: Vec<SocketRecord> = Vec::new();
    let listen = Walk { states: State::Listen.bit(), extensions: Extensions::ALL, filter: None };
    let (_, by_proc) = either(&listen, |s| listening.push(s.clone()))?;
    let source = if by_proc { SocketSource::ProcNetTcp } else { SocketSource::SockDiag };
    let owners = HolderTable::scan(&ScanOptions { cgroups: false, limits: false, only_pid: None })
        .unwrap_or_else(|_| HolderTable::empty());
    let range = PortRange::default();
    let table = Aggregator::new(source, Gather::STATES, &range, &listening, &owners).finish();
    let mut found = Vec::new();
    for point in &table.listeners {
        for socket in &point.sockets {
            let process = socket.owner.and_then(|owner| owners.processes().get(owner));
            let address = endpoint(point.addr, point.port);
            found.push(Listener {
                label: process.map_or_else(|| address.clone(), |p| format!("{} on {address}", p.label())),
                port: point.port,
                limit: socket.limit.unwrap_or(0),
                drops: socket.drops.map(u64::from),
            });
        }
    }
    Ok(found)
}
