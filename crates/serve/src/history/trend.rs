//! The last minutes of each namespace, as the rules that need a past read them: in memory, and across a restart.

use linger_model::Snapshot;
use linger_model::snapshot::{HostSnapshot, Process, Processes};
use rusqlite::{Connection, params};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Microseconds between two points.
const STEP: u64 = 60_000_000;
/// Points at the most.
const MOST: usize = 10;
/// What is older than this says nothing of now, microseconds.
const OLDEST: u64 = 15 * 60_000_000;
/// A point that takes more, unpacked, is not kept across a restart.
const MOST_BYTES: usize = 16 << 20;

/// By inode of the namespace.
pub type Pasts = HashMap<u64, Past>;

/// Points a minute apart, oldest first: what a trend is read from, without the rest.
#[derive(Debug, Clone, Default)]
pub struct Past {
    points: VecDeque<Arc<Snapshot>>,
    /// Whether they are this process's own; else it has to be seen whether they are of the same namespace.
    own: bool,
}

impl Past {
    /// What comes before this snapshot. One that was just taken is no step of a trend.
    pub fn before(&mut self, now: &Snapshot) -> Vec<Arc<Snapshot>> {
        let age = |point: &Snapshot| now.monotonic_us.checked_sub(point.monotonic_us);
        self.points.retain(|point| age(point).is_some_and(|age| age <= OLDEST));
        if !self.own && !self.points.back().is_none_or(|last| continues(last, now)) {
            self.points.clear();
        }
        self.own = true;
        self.points.iter().filter(|point| age(point).is_some_and(|age| age >= STEP / 2)).cloned().collect()
    }

    /// Keeps a point of this snapshot, where one is due; gives it.
    pub fn add(&mut self, now: &Snapshot, host: impl FnOnce() -> Arc<HostSnapshot>) -> Option<Arc<Snapshot>> {
        let due = self.points.back().is_none_or(|last| now.monotonic_us >= last.monotonic_us + STEP);
        if !due || now.sockets.is_err() {
            return None;
        }
        let point = Arc::new(point(now, host()));
        self.points.push_back(point.clone());
        while self.points.len() > MOST {
            self.points.pop_front();
        }
        Some(point)
    }
}

/// Whether both can be of one namespace: numbers of namespaces are given again, and then counters begin anew.
fn continues(last: &Snapshot, now: &Snapshot) -> bool {
    let (Ok(before), Ok(counters)) = (&last.counters, &now.counters) else { return false };
    last.netns.inode == now.netns.inode
        && last.host.kernel == now.host.kernel
        && before.iter().all(|(name, n)| counters.get(name).is_some_and(|now| now >= n))
}

/// What of the host a trend is read from: which processes there were, and their descriptors.
pub fn host(host: &HostSnapshot) -> Arc<HostSnapshot> {
    let short = |p: &Process| Process {
        comm: p.comm.clone(),
        exe: None,
        cmdline: None,
        cgroup: None,
        container: None,
        ..*p
    };
    let processes = host
        .processes
        .as_ref()
        .map_err(Clone::clone)
        .map(|all| Processes { list: all.list.iter().map(short).collect(), ..*all });
    Arc::new(HostSnapshot {
        kernel: host.kernel.clone(),
        processes,
        files: host.files.clone(),
        softnet: host.softnet.clone(),
        cgroup_memory: linger_model::snapshot::not_asked("socket memory of cgroups"),
        sysctls: BTreeMap::new(),
        page_size: host.page_size,
    })
}

fn point(now: &Snapshot, host: Arc<HostSnapshot>) -> Snapshot {
    let sums = ["Tcp.ActiveOpens", "Tcp.PassiveOpens", "Tcp.InSegs", "Tcp.OutSegs"];
    let counters = now
        .counters
        .as_ref()
        .map_err(Clone::clone)
        .map(|all| sums.iter().filter_map(|name| Some(((*name).to_owned(), *all.get(*name)?))).collect());
    Snapshot {
        taken_at_us: now.taken_at_us,
        monotonic_us: now.monotonic_us,
        netns: now.netns.clone(),
        host,
        sockets: now
            .sockets
            .as_ref()
            .map_err(Clone::clone)
            .map(linger_model::aggregate::SocketTable::slimmed),
        sockstat: now.sockstat.clone(),
        counters,
        sysctls: BTreeMap::new(),
        conntrack: now.conntrack.clone(),
        gaps: Vec::new(),
    }
}

/// Writes a point, and deletes those that are too many.
pub fn write(connection: &Connection, netns: i64, watched_ms: i64, point: &Snapshot) -> rusqlite::Result<()> {
    let Ok(bytes) = rmp_serde::to_vec(point) else { return Ok(()) };
    if bytes.len() > MOST_BYTES {
        return Ok(());
    }
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let add = "INSERT INTO trend (netns, watched_ms, bytes, packed) VALUES (?, ?, ?, ?)";
    let packed = lz4_flex::block::compress(&bytes);
    connection.prepare_cached(add)?.execute(params![netns, watched_ms, length, packed])?;
    let least = watched_ms - i64::try_from(OLDEST / 1000).unwrap_or(0);
    connection.prepare_cached("DELETE FROM trend WHERE watched_ms < ?")?.execute([least])?;
    Ok(())
}

/// The points of this boot that are not too old; what cannot be read is left out.
pub fn read(connection: &Connection) -> rusqlite::Result<Pasts> {
    let clock = clock_gettime(ClockId::Monotonic);
    let now_us = u64::try_from(clock.tv_sec).unwrap_or(0).saturating_mul(1_000_000);
    let mut pasts = Pasts::new();
    let mut rows = connection.prepare("SELECT bytes, packed FROM trend ORDER BY watched_ms")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (bytes, packed): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let Some(length) = usize::try_from(bytes).ok().filter(|n| *n <= MOST_BYTES) else { continue };
        let Ok(point) = lz4_flex::block::decompress(&packed, length) else { continue };
        let Ok(point) = rmp_serde::from_slice::<Snapshot>(&point) else { continue };
        if now_us.saturating_sub(point.monotonic_us) <= OLDEST {
            let past = pasts.entry(point.netns.inode).or_default();
            past.points.push_back(Arc::new(point));
            if past.points.len() > MOST {
                past.points.pop_front();
            }
        }
    }
    Ok(pasts)
}
