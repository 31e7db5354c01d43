//! How full the limited things are.

use crate::ports::{Ports, time_wait_buckets, tuple_label};
use linger_model::Window;
use linger_model::aggregate::{Tuple, TupleStats};
use linger_model::report::Headroom;

/// Port tuples that are shown at the most.
const TUPLES: usize = 5;
/// Processes that are shown at the most.
const PROCESSES: usize = 3;

/// Used against limit for the busiest port tuples, TIME_WAIT buckets, descriptors, conntrack, TCP memory and orphans;
/// fullest first. What could not be read has no row: the rules say why. `host` adds what belongs to the host.
pub fn headroom(window: &Window, host: bool) -> Vec<Headroom> {
    let now = window.last();
    let mut rows = Vec::new();
    if let (Ok(ports), Ok(table)) = (Ports::read(now), &now.sockets) {
        let mut tuples: Vec<(&Tuple, &TupleStats)> =
            table.tuples.iter().map(|g| (&g.key, &g.value)).collect();
        tuples.sort_by_key(|(tuple, stats)| (std::cmp::Reverse(stats.in_range()), **tuple));
        for (tuple, stats) in tuples.into_iter().take(TUPLES).filter(|(_, stats)| stats.in_range() > 0) {
            let usage = ports.usage(tuple, stats);
            let (used, limit) = (u64::from(usage.hard_used), u64::from(usage.available()));
            let mut row = Headroom::new("local ports", tuple_label(tuple), used, limit, None);
            row.time_to_exhaustion_s = usage.time_to_exhaustion_s.map(|s| (s * 10.0).round() / 10.0);
            rows.push(row);
        }
    }
    let setting = |key: &str| now.sysctl_int(key).ok().and_then(|n| u64::try_from(n).ok());
    let namespace = || now.netns.label();
    if let Ok(sockstat) = &now.sockstat {
        // Below 0 there is no limit, and with 0 there is no TIME_WAIT.
        if let Some(limit) = time_wait_buckets(now).ok().flatten().filter(|limit| *limit > 0) {
            let growth = growth(window, limit, |s| s.sockstat.as_ref().ok().map(|s| s.tw));
            rows.push(Headroom::new("time_wait buckets", namespace(), sockstat.tw, limit, growth));
        }
        if host {
            if let Some(limit) = setting("net.ipv4.tcp_max_orphans") {
                let growth = growth(window, limit, |s| s.sockstat.as_ref().ok().map(|s| s.orphan));
                rows.push(Headroom::new("orphans", "host", sockstat.orphan, limit, growth));
            }
            let limit = now.sysctl_ints("net.ipv4.tcp_mem").ok().and_then(|m| u64::try_from(*m.get(2)?).ok());
            if let Some(limit) = limit {
                let growth = growth(window, limit, |s| s.sockstat.as_ref().ok().map(|s| s.mem_pages));
                rows.push(Headroom::new("tcp memory pages", "host", sockstat.mem_pages, limit, growth));
            }
        }
    }
    if let Some(conntrack) = now.conntrack.as_ref().ok().and_then(Option::as_ref).filter(|c| c.max > 0) {
        let growth = growth(window, conntrack.max, |s| s.conntrack.as_ref().ok()?.as_ref().map(|c| c.count));
        rows.push(Headroom::new("conntrack entries", namespace(), conntrack.count, conntrack.max, growth));
    }
    if host {
        // systemd sets fs.file-max to the largest number there is.
        if let Some(files) = now.host.files.as_ref().ok().filter(|files| files.max < i64::MAX as u64) {
            let growth = growth(window, files.max, |s| s.host.files.as_ref().ok().map(|f| f.open));
            rows.push(Headroom::new("descriptors", "host", files.open, files.max, growth));
        }
        if let Ok(processes) = &now.host.processes {
            let limited =
                processes.list.iter().filter_map(|p| Some((p, p.fd_limit.filter(|l| *l != u64::MAX)?)));
            let mut rows_of: Vec<Headroom> = limited
                .map(|(p, limit)| {
                    let before = |s: &linger_model::Snapshot| {
                        let list = &s.host.processes.as_ref().ok()?.list;
                        list.iter().find(|q| q.pid == p.pid).map(|q| q.fds)
                    };
                    Headroom::new("descriptors", p.label(), p.fds, limit, growth(window, limit, before))
                })
                .collect();
            rows_of.sort_by(|a, b| b.fraction.total_cmp(&a.fraction).then(b.used.cmp(&a.used)));
            rows.extend(rows_of.into_iter().take(PROCESSES));
        }
    }
    rows.sort_by(|a, b| b.fraction.total_cmp(&a.fraction));
    rows
}

/// By how much a figure grew per second over the window; `None` without a past, or when it did not grow enough to say
/// when the limit will be reached.
fn growth(
    window: &Window,
    limit: u64,
    figure: impl Fn(&linger_model::Snapshot) -> Option<u64>,
) -> Option<f64> {
    if !window.has_past() {
        return None;
    }
    let (first, last) = (figure(window.first())?, figure(window.last())?);
    let grown = last.checked_sub(first)?;
    // One second's noise is no trend: it has to be a hundredth of the limit, or the limit has to be near.
    let trend = last.saturating_mul(4) >= limit || grown.saturating_mul(100) >= limit;
    (grown > 0 && trend).then(|| grown as f64 / window.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::snapshot::{Conntrack, FileUse};

    fn resources(moment: Moment) -> Vec<String> {
        headroom(&window([moment]), true).into_iter().map(|row| row.resource).collect()
    }

    #[test]
    fn a_second_of_noise_says_nothing_of_the_end() {
        let left = |from: u64, to: u64| {
            let at = |at_s: f64, n| {
                let mut moment = moment(at_s);
                moment.conntrack = Some(Conntrack { count: n, max: 10_000, stats: None });
                moment
            };
            let rows = headroom(&window([at(0.0, from), at(1.0, to)]), true);
            rows.iter().find(|r| r.resource == "conntrack entries").expect("a row").time_to_exhaustion_s
        };
        assert_eq!((left(100, 199), left(100, 200)), (None, Some(98.0)));
        assert_eq!((left(2490, 2500), left(2500, 2500)), (Some(750.0), None));
    }

    #[test]
    fn what_has_no_limit_has_no_row() {
        let with = |buckets: &str, max, files| {
            let mut moment = moment(1.0).sysctl("net.ipv4.tcp_max_tw_buckets", buckets);
            moment.conntrack = Some(Conntrack { count: 5, max, stats: None });
            moment.files = FileUse { open: 5, max: files };
            resources(moment)
        };
        let all = with("131072", 65_536, 100_000);
        for resource in ["time_wait buckets", "conntrack entries", "descriptors"] {
            assert!(all.iter().any(|r| r == resource), "{resource}: {all:?}");
            for buckets in ["-1", "0"] {
                let none = with(buckets, 0, i64::MAX as u64);
                assert!(none.iter().all(|r| r != resource), "{resource}: {none:?}");
            }
        }
    }
}
