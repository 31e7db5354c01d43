//! When to walk the sockets: within a share of one core, and at once when something jumps.

use linger_model::snapshot::Light;

/// Sampling's account, in seconds of CPU: time pays in, readings take out.
///
/// Over any stretch of time, what is taken out is at most what was paid in, [`Budget::CREDIT`] and one walk.
#[derive(Debug, Clone)]
pub struct Budget {
    share: f64,
    balance: f64,
    walk: f64,
}

impl Budget {
    /// What there is at the beginning, and the most that is saved up where walks are cheap: seconds.
    pub const CREDIT: f64 = 1.0;

    /// With a share of one core, 0.01 for 1 %.
    pub fn new(share: f64) -> Budget {
        Budget { share, balance: Budget::CREDIT, walk: 0.0 }
    }

    /// Time has passed: seconds.
    pub fn earn(&mut self, seconds: f64) {
        // Three dear walks have to fit: one that is due leaves enough for an urgent one.
        let most = Budget::CREDIT.max(3.0 * self.walk);
        self.balance = (self.balance + seconds.max(0.0) * self.share).min(most);
    }

    /// A light reading took this much CPU: seconds.
    pub fn spend(&mut self, cpu_s: f64) {
        self.balance -= cpu_s.max(0.0);
    }

    /// A walk took this much.
    pub fn spend_walk(&mut self, cpu_s: f64) {
        self.spend(cpu_s);
        self.walk = cpu_s.max(0.0);
    }

    /// Whether a walk can be paid. One that is not urgent leaves as much as an urgent one will cost.
    pub fn allows(&self, urgent: bool) -> bool {
        self.balance > if urgent { 0.0 } else { 2.0 * self.walk }
    }

    /// Seconds between two walks that the budget allows in the long run.
    pub fn interval_s(&self) -> f64 {
        self.walk / self.share
    }

    /// Seconds to the next light reading: one, and more where these alone would take half of the budget.
    pub fn tick_s(&self, light_cpu_s: f64) -> f64 {
        (light_cpu_s / (self.share / 2.0)).clamp(1.0, 60.0)
    }
}

/// Counters whose jump is worth a look at the sockets.
const TELLING: [&str; 14] = [
    "Tcp.ActiveOpens",
    "Tcp.AttemptFails",
    "Tcp.EstabResets",
    "Tcp.OutRsts",
    "Tcp.PassiveOpens",
    "Tcp.RetransSegs",
    "TcpExt.ListenDrops",
    "TcpExt.ListenOverflows",
    "TcpExt.PAWSEstab",
    "TcpExt.SyncookiesSent",
    "TcpExt.TCPAbortOnMemory",
    "TcpExt.TCPReqQFullDrop",
    "TcpExt.TCPTimeWaitOverflow",
    "TcpExt.TCPToZeroWindowAdv",
];

/// A rate is a jump from this many a second beyond [`TIMES`] the usual.
const FROM: f64 = 20.0;
const TIMES: f64 = 4.0;
/// How much of the usual the newest reading makes.
const WEIGHT: f64 = 0.1;

/// What one namespace's counters did, second by second.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    last: Option<Light>,
    usual: [Option<f64>; TELLING.len() + 2],
}

/// What the newest reading says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Something of TCP moved since the last reading, or could not be read.
    pub moved: bool,
    /// Something moved much faster than it used to.
    pub jumped: bool,
}

impl Watch {
    /// Takes the newest reading.
    pub fn look(&mut self, light: &Light) -> Change {
        let Some(last) = self.last.replace(light.clone()) else {
            return Change { moved: true, jumped: false };
        };
        let (Ok(counters), Ok(sockstat), Ok(before), Ok(sockstat_before)) =
            (&light.counters, &light.sockstat, &last.counters, &last.sockstat)
        else {
            return Change { moved: true, jumped: false };
        };
        let seconds = light.monotonic_us.saturating_sub(last.monotonic_us) as f64 / 1e6;
        let of_tcp = |name: &str| name.starts_with("Tcp.") || name.starts_with("TcpExt.");
        let here = |s: &linger_model::snapshot::Sockstat| (s.inuse, s.inuse6, s.tw);
        let moved = here(sockstat) != here(sockstat_before)
            || counters.iter().any(|(name, value)| of_tcp(name) && before.get(name) != Some(value));
        if seconds <= 0.0 {
            return Change { moved, jumped: false };
        }
        let by_counters = TELLING.iter().map(|name| {
            let (now, then) = (counters.get(*name)?, before.get(*name)?);
            Some(now.checked_sub(*then)? as f64)
        });
        let in_use = |s: &linger_model::snapshot::Sockstat| s.inuse + s.inuse6.unwrap_or(0);
        let by_sockets = [
            Some(sockstat.tw.abs_diff(sockstat_before.tw) as f64),
            Some(in_use(sockstat).abs_diff(in_use(sockstat_before)) as f64),
        ];
        let mut jumped = false;
        for (usual, by) in self.usual.iter_mut().zip(by_counters.chain(by_sockets)) {
            let Some(rate) = by.map(|by| by / seconds) else { continue };
            // The first second has nothing to be compared with.
            jumped |= usual.is_some_and(|usual| rate > FROM + TIMES * usual);
            *usual = Some(usual.map_or(rate, |usual| usual + WEIGHT * (rate - usual)));
        }
        Change { moved, jumped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::snapshot::{Counters, Sockstat, not_asked};

    #[test]
    fn the_budget_is_kept_whatever_walks_cost_and_however_often_it_is_urgent() {
        for (share, cost) in [(0.01, 0.002), (0.01, 0.4), (0.05, 3.0), (0.001, 0.05)] {
            for urgent_every in [1, 7, u32::MAX] {
                let mut budget = Budget::new(share);
                let (mut spent, mut walks) = (0.0, 0);
                let seconds = 36_000;
                for second in 0..seconds {
                    budget.earn(1.0);
                    budget.spend(0.0001);
                    spent += 0.0001;
                    if budget.allows(second % urgent_every == 0) {
                        budget.spend_walk(cost);
                        (spent, walks) = (spent + cost, walks + 1);
                    }
                }
                let most = share * f64::from(seconds) + Budget::CREDIT + cost;
                assert!(spent <= most, "{share} {cost} {urgent_every}: {spent} of {most}");
                // And it is used: where a walk a second costs less, there is one each second.
                let wanted = (most * 0.8).min(f64::from(seconds) * cost);
                assert!(spent >= wanted && walks > 0, "{share} {cost} {urgent_every}: {spent} of {wanted}");
            }
        }
    }

    #[test]
    fn a_walk_that_is_due_leaves_enough_for_one_that_is_urgent() {
        let mut budget = Budget::new(0.01);
        budget.spend_walk(0.5);
        assert!(budget.allows(true) && !budget.allows(false));
        for _ in 0..10_000 {
            budget.earn(1.0);
        }
        assert!(budget.allows(false));
        budget.spend_walk(0.5);
        assert!(budget.allows(true), "the next one may be urgent");
        assert_eq!((budget.tick_s(0.0001), budget.tick_s(0.02)), (1.0, 4.0));
    }

    fn light(second: u64, failed: u64, tw: u64) -> Light {
        Light {
            taken_at_us: 0,
            monotonic_us: second * 1_000_000,
            sockstat: Ok(Sockstat { tw, ..Sockstat::default() }),
            counters: Ok(Counters::from([
                ("Tcp.AttemptFails".to_owned(), failed),
                ("Ip.InReceives".to_owned(), second),
            ])),
            conntrack: Ok(None),
        }
    }

    #[test]
    fn what_moves_and_what_jumps_are_two() {
        let mut watch = Watch::default();
        let mut look = |second, failed, tw| {
            let change = watch.look(&light(second, failed, tw));
            (change.moved, change.jumped)
        };
        assert_eq!(look(0, 0, 0), (true, false), "nothing is known of it yet");
        assert_eq!(look(1, 0, 0), (false, false), "other protocols are no concern");
        assert_eq!(look(2, 10, 0), (true, false));
        assert_eq!(look(3, 60, 0), (true, true));
        assert_eq!(look(4, 60, 500), (true, true), "TIME_WAIT, by the hundred");
        // A load that goes on is usual before long.
        let last = (0..60).map(|i| look(5 + i, 60 + 50 * (i + 1), 500)).last();
        assert_eq!(last, Some((true, false)));
        assert_eq!(look(65, 3, 500), (true, false), "a counter that goes back is no jump");
    }

    #[test]
    fn what_cannot_be_read_counts_as_moved() {
        let mut watch = Watch::default();
        let mut blind = light(0, 0, 0);
        blind.counters = not_asked("counters");
        watch.look(&blind);
        assert_eq!(watch.look(&blind), Change { moved: true, jumped: false });
    }
}
