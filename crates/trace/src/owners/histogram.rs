//! Lifetimes in octaves of eight steps: a figure is right to an eighth.

const STEP_BITS: u32 = 3;
const STEPS: usize = 1 << STEP_BITS;

/// How long connections were established, in microseconds, by who sent the first FIN.
///
/// Of each CPU's first 256 connections in about a second every one is measured, then one in sixteen, which counts
/// sixteenfold: the shares are estimates under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    /// This side sent the first FIN.
    pub closed_here: Histogram,
    /// The peer did, or there was none (a reset).
    pub closed_by_peer: Histogram,
}

impl Lifetimes {
    pub(super) fn new(mut buckets: Vec<u64>) -> Lifetimes {
        let by_peer = buckets.split_off(buckets.len() / 2);
        Lifetimes { closed_here: Histogram(buckets), closed_by_peer: Histogram(by_peer) }
    }
}

/// Counts per bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The value below which this share lies, between 0 and 1: the upper end of its bucket; `None` of nothing.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let total = self.total();
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut sum = 0;
        let at = self.0.iter().position(|n| {
            sum += n;
            sum >= wanted
        });
        at.filter(|_| total > 0).map(|i| start_us(i + 1))
    }

    /// Bucket by bucket: from, until (exclusive), count. Those without any are left out.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.0.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| (start_us(i), start_us(i + 1), *n))
    }

    /// Counts between powers of two: from, count; from the first to the last that has any.
    pub fn octaves(&self) -> Vec<(u64, u64)> {
        let mut octaves: Vec<(u64, u64)> = self
            .0
            .chunks(STEPS)
            .enumerate()
            .map(|(i, chunk)| (start_us(i * STEPS), chunk.iter().sum()))
            .skip_while(|(_, n)| *n == 0)
            .collect();
        while octaves.last().is_some_and(|(_, n)| *n == 0) {
            octaves.pop();
        }
        octaves
    }
}

/// Where a bucket begins.
fn start_us(bucket: usize) -> u64 {
    let (octave, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    match octave {
        0 => step,
        _ => (STEPS as u64 + step) << (octave - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!((start_us(0), start_us(7), start_us(8), start_us(15), start_us(16)), (0, 7, 8, 15, 16));
        assert_eq!((start_us(17), start_us(24)), (18, 32));
        assert!((0..319).all(|i| start_us(i) < start_us(i + 1)));
    }

    #[test]
    fn quantiles_are_the_upper_ends() {
        let mut counts = vec![0; 40];
        assert_eq!(Histogram(counts.clone()).quantile_us(0.5), None);
        (counts[3], counts[20]) = (90, 10);
        let histogram = Histogram(counts);
        assert_eq!((histogram.quantile_us(0.5), histogram.quantile_us(0.99)), (Some(4), Some(26)));
        assert_eq!(histogram.octaves(), [(0, 90), (8, 0), (16, 10)]);
    }
}
