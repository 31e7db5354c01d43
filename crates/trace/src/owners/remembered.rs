//! What is known of a socket by its cookie: who closed it first, and since when its peer has closed.

use super::layout::{LOST_OWNERS, LOST_WAITING, Line, RawProcess, RawWaiting, line_of};
use super::{Pins, Process, ProcessId};
use crate::error::Error;
use crate::kernel::monotonic_ns;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use std::collections::BTreeMap;
use std::time::Duration;

/// The maps that it takes.
pub(super) const MAPS: [&str; 4] = ["closers", "processes", "waiting", "lost"];

/// A socket in CLOSE_WAIT that a walk came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerClosed {
    /// How long ago the peer closed, at least.
    pub since: Duration,
    /// It had closed when the trace began.
    pub before_trace: bool,
}

/// What a trace, this process's or a daemon's, remembers.
pub struct Remembered {
    closers: Array<MapData, Line>,
    lines: u32,
    processes: BTreeMap<ProcessId, Process>,
    by_index: BTreeMap<u32, ProcessId>,
    waiting: Vec<(u64, PeerClosed)>,
    lost: [u64; 2],
}

impl Remembered {
    /// Opens what is pinned there.
    ///
    /// # Errors
    /// Denied without CAP_BPF; unsupported where the maps are of another version of linger.
    pub fn open(pins: &Pins) -> Result<Remembered, Error> {
        let opening = format!("read the trace daemon's maps in {}", pins.folder().display());
        Remembered::new(&opening, |name| {
            MapData::from_pin(pins.folder().join(name)).map_err(|e| Error::map(&opening, e))
        })
    }

    pub(super) fn new(
        opening: &str,
        map: impl Fn(&'static str) -> Result<MapData, Error>,
    ) -> Result<Remembered, Error> {
        let wrong = |e| Error::map(opening, e);
        let [closers, processes, waiting, lost] = MAPS.map(map);
        let closers = closers?;
        let lines = closers.info().map_err(wrong)?.max_entries();
        let closers = Array::try_from(Map::Array(closers)).map_err(wrong)?;
        let processes: HashMap<_, u64, RawProcess> =
            HashMap::try_from(Map::HashMap(processes?)).map_err(wrong)?;
        let raw: Vec<(ProcessId, RawProcess)> =
            processes.iter().filter_map(Result::ok).map(|(id, raw)| (ProcessId(id), raw)).collect();
        let waiting: HashMap<_, u64, RawWaiting> =
            HashMap::try_from(Map::HashMap(waiting?)).map_err(wrong)?;
        let now = monotonic_ns();
        let lost: PerCpuArray<_, u64> = PerCpuArray::try_from(Map::PerCpuArray(lost?)).map_err(wrong)?;
        let lost = |kind| -> Result<u64, Error> { Ok(lost.get(&kind, 0).map_err(wrong)?.iter().sum()) };
        Ok(Remembered {
            closers,
            lines,
            by_index: raw.iter().map(|(id, raw)| (raw.index, *id)).collect(),
            processes: raw.into_iter().map(|(id, raw)| (id, raw.into())).collect(),
            waiting: waiting
                .iter()
                .filter_map(Result::ok)
                .map(|(cookie, raw)| (cookie, raw.at(now)))
                .collect(),
            lost: [lost(LOST_OWNERS)?, lost(LOST_WAITING)?],
        })
    }

    /// The processes seen until it was opened.
    pub fn processes(&self) -> &BTreeMap<ProcessId, Process> {
        &self.processes
    }

    /// Who closed the connection with this cookie first; `None` where it is not known, as of what was closed before the
    /// trace began.
    pub fn closer(&self, cookie: u64) -> Option<ProcessId> {
        let line = self.closers.get(&line_of(cookie, self.lines), 0).ok()?;
        self.by_index.get(&line.find(cookie)?).copied()
    }

    /// Sockets in CLOSE_WAIT, by cookie, that a walk had come upon when it was opened.
    pub fn waiting(&self) -> &[(u64, PeerClosed)] {
        &self.waiting
    }

    /// Connections closed by this side whose owner could not be remembered.
    pub fn owners_lost(&self) -> u64 {
        self.lost[0]
    }

    /// Times that a walk came upon a socket in CLOSE_WAIT and had no room to remember since when.
    pub fn waiting_lost(&self) -> u64 {
        self.lost[1]
    }

    /// How many owners can be remembered at a time.
    pub fn capacity(&self) -> u64 {
        u64::from(self.lines) * 8
    }
}
