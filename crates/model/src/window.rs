//! Several snapshots of one namespace in the order of time, and what changed between them.

use crate::snapshot::{Gap, GapKind, Reading, Snapshot};
use std::sync::Arc;

/// Snapshots of one namespace, oldest first; never empty.
#[derive(Debug, Clone)]
pub struct Window {
    snapshots: Vec<Snapshot>,
    earlier: Vec<Arc<Snapshot>>,
}

/// How far a counter moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delta {
    /// By how much, over the window.
    pub by: u64,
    /// In how many seconds.
    pub seconds: f64,
}

impl Delta {
    /// Per second.
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.by as f64 / self.seconds } else { 0.0 }
    }
}

impl Window {
    /// Of the same namespace's snapshots, oldest first. `None` without any.
    pub fn new(snapshots: Vec<Snapshot>) -> Option<Window> {
        (!snapshots.is_empty()).then_some(Window { snapshots, earlier: Vec::new() })
    }

    /// Of one moment.
    pub fn of_one(snapshot: Snapshot) -> Window {
        Window { snapshots: vec![snapshot], earlier: Vec::new() }
    }

    /// With moments before the window, oldest first, of which little is kept: for trends. Rates stay those of the window.
    #[must_use]
    pub fn with_earlier(self, earlier: Vec<Arc<Snapshot>>) -> Window {
        Window { earlier, ..self }
    }

    /// What a trend is read from, oldest first: the moments before the window and the newest snapshot, or, where there are
    /// none before it, the window's own snapshots.
    pub fn trend(&self) -> impl Iterator<Item = &Snapshot> + Clone {
        let own =
            if self.earlier.is_empty() { &self.snapshots[..] } else { std::slice::from_ref(self.last()) };
        self.earlier.iter().map(Arc::as_ref).chain(own)
    }

    /// Seconds from the oldest moment of the trend to the newest.
    pub fn trend_seconds(&self) -> f64 {
        let first = self.trend().next().unwrap_or(self.last());
        self.last().monotonic_us.saturating_sub(first.monotonic_us) as f64 / 1e6
    }

    /// How far a counter moved over the trend; `None` where it is not known, or went back.
    pub fn trend_delta(&self, counter: &str) -> Option<u64> {
        self.last().counter(counter).ok()?.checked_sub(self.trend().next()?.counter(counter).ok()?)
    }

    /// A figure of every snapshot of the trend that has it, with its time in seconds since the first.
    pub fn trend_series<T>(&self, figure: impl Fn(&Snapshot) -> Option<T>) -> Vec<(f64, T)> {
        let start = self.trend().next().map_or(0, |first| first.monotonic_us);
        let seconds = |s: &Snapshot| s.monotonic_us.saturating_sub(start) as f64 / 1e6;
        self.trend().filter_map(|s| figure(s).map(|v| (seconds(s), v))).collect()
    }

    /// All of them.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// The newest.
    pub fn last(&self) -> &Snapshot {
        &self.snapshots[self.snapshots.len() - 1]
    }

    /// The newest alone; the past is given back.
    pub fn into_last(mut self) -> Snapshot {
        self.snapshots.swap_remove(self.snapshots.len() - 1)
    }

    /// The oldest.
    pub fn first(&self) -> &Snapshot {
        &self.snapshots[0]
    }

    /// Whether there is a past to compare with.
    pub fn has_past(&self) -> bool {
        self.snapshots.len() > 1 && self.seconds() > 0.0
    }

    /// Seconds from the oldest to the newest.
    pub fn seconds(&self) -> f64 {
        self.last().monotonic_us.saturating_sub(self.first().monotonic_us) as f64 / 1e6
    }

    /// How far a counter moved over the window. A counter that went back (a namespace that was made anew, a host that
    /// was started again) is a gap, not a negative number.
    pub fn delta(&self, counter: &str) -> Reading<Delta> {
        let last = self.last().counter(counter)?;
        let first = self.first().counter(counter)?;
        self.difference(counter, first, last)
    }

    /// The same for any figure that only grows.
    pub fn difference(&self, what: &str, first: u64, last: u64) -> Reading<Delta> {
        if !self.has_past() {
            return Err(Gap::new(
                what,
                GapKind::NotAsked,
                "a rate needs two samples",
                "use --samples 2 or more",
            ));
        }
        let by = last.checked_sub(first).ok_or_else(|| {
            Gap::new(what, GapKind::Malformed, "the counter went back between the samples", "")
        })?;
        Ok(Delta { by, seconds: self.seconds() })
    }

    /// How far a counter moved, 0 where this kernel does not have it. For counters that only add to others.
    pub fn delta_or_zero(&self, counter: &str) -> f64 {
        self.delta(counter).map_or(0.0, |d| d.by as f64)
    }

    /// A figure of every snapshot that has it, with its time in seconds since the first.
    pub fn series<T>(&self, figure: impl Fn(&Snapshot) -> Option<T>) -> Vec<(f64, T)> {
        let start = self.first().monotonic_us;
        self.snapshots
            .iter()
            .filter_map(|s| figure(s).map(|v| (s.monotonic_us.saturating_sub(start) as f64 / 1e6, v)))
            .collect()
    }
}
