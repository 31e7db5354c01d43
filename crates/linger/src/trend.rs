//! States and headroom over the time of many samples, in bounded memory: for charts.

use linger_model::{Snapshot, StateCounts, Window};
use linger_rules::headroom;

/// Points that are kept: as many as a chart can show. With more samples, several share one.
const MOST: usize = 480;

/// How full something was.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// What, and of whom.
    pub of: (String, String),
    /// Used ÷ limit.
    pub fraction: f64,
}

/// What the samples of a point have together: the highest of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// When the first of them was taken, seconds since the first of all.
    pub seconds: f64,
    /// Sockets per state; `None` where they could not be read.
    pub states: Option<StateCounts>,
    /// How full the limited things were.
    pub levels: Vec<Level>,
    samples: u32,
}

/// Points in the order of time.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    moments: Vec<Moment>,
    /// Samples in each point but the last.
    per_point: u32,
    /// Of the first sample.
    start: Option<u64>,
}

impl Trend {
    /// Adds a sample, whose groups must be whole still; gives it back.
    pub fn add(&mut self, snapshot: Snapshot) -> Snapshot {
        let start = *self.start.get_or_insert(snapshot.monotonic_us);
        let seconds = snapshot.monotonic_us.saturating_sub(start) as f64 / 1e6;
        let states = snapshot.sockets.as_ref().ok().map(|table| table.states);
        let window = Window::of_one(snapshot);
        let levels = headroom(&window, true)
            .into_iter()
            .map(|row| Level { of: (row.resource, row.subject), fraction: row.fraction })
            .collect();
        self.push(Moment { seconds, states, levels, samples: 1 });
        window.into_last()
    }

    fn push(&mut self, moment: Moment) {
        self.per_point = self.per_point.max(1);
        match self.moments.last_mut() {
            Some(last) if last.samples < self.per_point => last.join(moment),
            _ => self.moments.push(moment),
        }
        if self.moments.len() > MOST {
            self.per_point *= 2;
            let mut joined: Vec<Moment> = Vec::with_capacity(MOST);
            for moment in self.moments.drain(..) {
                match joined.last_mut() {
                    Some(last) if last.samples < self.per_point => last.join(moment),
                    _ => joined.push(moment),
                }
            }
            self.moments = joined;
        }
    }

    /// All points.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// How many samples share a point.
    pub fn per_point(&self) -> u32 {
        self.per_point
    }
}

impl Moment {
    fn join(&mut self, other: Moment) {
        self.samples = self.samples.saturating_add(other.samples);
        match (&mut self.states, other.states) {
            (Some(mine), Some(theirs)) => {
                for state in linger_model::State::ALL {
                    if let Some(count) = theirs.get(state)
                        && mine.get(state).is_none_or(|own| own < count)
                    {
                        mine.set(state, count);
                    }
                }
            }
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
        for level in other.levels {
            match self.levels.iter_mut().find(|own| own.of == level.of) {
                Some(own) => own.fraction = own.fraction.max(level.fraction),
                None => self.levels.push(level),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::State;

    fn moment(at: u32, established: u64) -> Moment {
        let mut states = StateCounts::default();
        states.set(State::Established, established);
        let of = ("local ports".to_owned(), "a".to_owned());
        let fraction = f64::from(at) / 1e6;
        Moment {
            seconds: f64::from(at),
            states: Some(states),
            levels: vec![Level { of, fraction }],
            samples: 1,
        }
    }

    #[test]
    fn many_samples_share_points_and_no_peak_is_lost() {
        let mut trend = Trend::default();
        const SAMPLES: u32 = 10_000;
        for at in 0..SAMPLES {
            trend.push(moment(at, if at == 7_777 { 1_000_000 } else { 5 }));
        }
        let all = trend.moments();
        assert!(all.len() <= MOST && all.len() * 4 >= MOST, "{}", all.len());
        assert_eq!(all.iter().map(|m| m.samples).sum::<u32>(), SAMPLES);
        assert!(all.iter().rev().skip(1).all(|m| m.samples == trend.per_point()));
        assert!(all.windows(2).all(|pair| pair[0].seconds < pair[1].seconds));
        let peak = |m: &Moment| m.states.and_then(|s| s.get(State::Established));
        assert_eq!(all.iter().filter_map(peak).max(), Some(1_000_000));
        let last = all.last().expect("a point");
        assert_eq!(last.levels[0].fraction, f64::from(SAMPLES - 1) / 1e6);
    }

    #[test]
    fn what_was_not_read_is_no_zero() {
        let mut gap = moment(0, 0);
        gap.states = None;
        gap.join(Moment { states: None, ..moment(1, 0) });
        assert_eq!(gap.states, None);
        gap.join(moment(2, 7));
        assert_eq!(gap.states.and_then(|s| s.get(State::Established)), Some(7));
    }
}
