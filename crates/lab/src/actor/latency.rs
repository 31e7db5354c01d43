//! Counting how long things take, in constant memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Latency;

/// Each power of two of microseconds has so many buckets.
const FINE: u64 = 16;
/// Enough for every 64-bit number.
const BUCKETS: usize = 62 * FINE as usize;

/// Counts durations by their microseconds, exact below 32, else to 1/16.
pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    longest: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [const { AtomicU64::new(0) }; BUCKETS], longest: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(crate) fn count(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(micros, Ordering::Relaxed);
    }

    /// Nothing when nothing was counted.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let longest = self.longest.load(Ordering::Relaxed);
        let total: u64 = counts.iter().sum();
        let ms = |micros: u64| micros as f64 / 1e3;
        let percentile = |percent: u64| {
            let rank = (total * percent).div_ceil(100);
            let mut seen = 0;
            let at = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            ms(at.map_or(longest, last_of).min(longest))
        };
        (total > 0).then(|| Latency { p50: percentile(50), p99: percentile(99), max: ms(longest) })
    }
}

fn bucket(micros: u64) -> usize {
    let shift = (micros / FINE).checked_ilog2().unwrap_or(0);
    usize::try_from(u64::from(shift) * FINE + (micros >> shift)).expect("there are few buckets")
}

/// The largest number of a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / FINE).saturating_sub(1);
    let next = u128::from(bucket - shift * FINE + 1) << shift;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_number() {
        for micros in (0..5000).chain([65_535, 65_536, 1 << 40, u64::MAX - 1, u64::MAX]) {
            let at = bucket(micros);
            assert!(at < BUCKETS, "{micros}");
            let last = last_of(at);
            assert!(micros <= last && last - micros <= micros / FINE, "{micros} is in {at}, up to {last}");
            assert_eq!(bucket(last), at, "{micros}");
        }
    }

    #[test]
    fn percentiles() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency(), None);
        for _ in 0..98 {
            histogram.count(Duration::from_micros(20));
        }
        histogram.count(Duration::from_millis(300));
        histogram.count(Duration::from_millis(1000));
        let latency = histogram.latency().unwrap();
        assert_eq!((latency.p50, latency.max), (0.02, 1000.0));
        assert!((300.0..320.0).contains(&latency.p99), "{latency:?}");
    }
}
