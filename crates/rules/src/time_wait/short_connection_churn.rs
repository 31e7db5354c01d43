use super::ephemeral_port_exhaustion::{note_more, pressed, projection_fraction};
use crate::ports::{
    Ports, TIME_WAIT_S, by_trace, churner, made_by, percent, present_rate, present_rate_of_all,
    socket_source, time_wait_buckets, tuple_label,
};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::{Tuple, TupleStats};
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{SocketTable, State};

static MIN_RATE: Threshold = Threshold {
    key: "min_rate_per_second",
    default: 50.0,
    unit: "/s",
    doc: "Connections closed first by this side per second, towards one destination, from which this is reported.",
};
static THREAT_FRACTION: Threshold = Threshold {
    key: "threat_fraction",
    default: 0.8,
    unit: "fraction",
    doc: "Share of the ports, or of tcp_max_tw_buckets, that rate × 60 s must reach for a warning; below, it is information.",
};

declare_rule! {
    /// # What it detects
    /// This side opens connections towards one destination and closes them first, many times a second. Each close leaves
    /// a TIME_WAIT socket, here and not at the peer, for 60 s.
    ///
    /// # Why it matters
    /// Each connection costs a handshake, often a TLS handshake, and a local port for a minute. As long as rate × 60 s
    /// stays below the ports towards that destination, nothing fails: then this is information, and the place to save
    /// latency and CPU time. When it comes near the ports or near `tcp_max_tw_buckets`, it is the cause of what TW001 or
    /// TW002 will report.
    ///
    /// # Evidence
    /// A TIME_WAIT socket's remaining time says when it was made, so one dump holds the rate of the last minute. Only
    /// outgoing connections count. A server that closes first has its TIME_WAIT on its listening port: that costs memory
    /// (256 bytes a socket), no port, and is not reported here. Ports that reuse takes back vanish from the table
    /// early, so with reuse the true rate is higher than shown. A burst that is over is no rate. TIME_WAIT has no
    /// owner, unless `linger check --trace` has seen who made it: without, the finding names the process that holds most of the live connections there, which need not be the one
    /// that opens and closes. A process with many live connections, as a pool has, keeps them: its own recipe is only
    /// given when the live connections are few.
    ///
    /// # Fix
    /// Application: persistent connections, a pool that is large enough to keep its idle connections, one client object
    /// instead of one per request. If the protocol allows it, let the server close. Architecture: more destinations. No
    /// sysctl makes short connections cheap; `tcp_fin_timeout` does not shorten TIME_WAIT.
    ///
    /// # Fix safety
    /// Nothing here changes the kernel.
    ///
    /// # Sources
    /// net/ipv4/tcp_minisocks.c tcp_time_wait(); include/net/tcp.h TCP_TIMEWAIT_LEN; net/ipv4/tcp_diag.c (a TIME_WAIT
    /// socket's `expires` is its remaining time); RFC 9293 section 3.6.
    TW003, "short-connection-churn", Netns, Warning, [MIN_RATE, THREAT_FRACTION]
}

/// Findings shown at most.
const SHOWN: usize = 5;

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(&cx.now().sockets);
    let min_rate = cx.limit(&MIN_RATE);
    let time_wait = table.states.count(State::TimeWait);
    // Fewer than ten seconds at the least rate leave cannot be a churn.
    if (time_wait as f64) < min_rate * 10.0 {
        return Outcome::Clear(match time_wait {
            0 => "there are no TIME_WAIT sockets".to_owned(),
            n => format!("only {}", counted(n, "TIME_WAIT socket")),
        });
    }
    if !table.walked_time_wait || table.time_wait_made.iter().all(|n| *n == 0) {
        return Outcome::Unknown(Gap::new(
            "the age of TIME_WAIT sockets",
            GapKind::Unsupported,
            format!("no remaining times in what {} gave", socket_source(table)),
            "read the sockets live, or with ss -o (timers)",
        ));
    }
    let rate = |stats: &TupleStats| present_rate(stats.made_10s(), stats.made_2s());
    let mut busy: Vec<(Tuple, &TupleStats)> = table
        .tuples
        .iter()
        .filter(|group| group.value.made_10s() > 0 && rate(&group.value) >= min_rate)
        .map(|group| (group.key, &group.value))
        .collect();
    busy.sort_by(|a, b| b.1.made_10s().cmp(&a.1.made_10s()).then(a.0.cmp(&b.0)));
    if busy.is_empty() {
        return Outcome::Clear(clear(table));
    }
    let ports = known!(Ports::read(cx.now()));
    // Where the limit is not known, nothing is said of it.
    let buckets = time_wait_buckets(cx.now()).ok().flatten().map(|n| n as f64);
    let pressed = known!(pressed(cx, &ports));
    let all_rate = present_rate_of_all(table);
    let threat_fraction = cx.limit(&THREAT_FRACTION);
    // The ports of a tuple are judged in one place; here the rate alone warns a little earlier.
    let severity_of = |tuple: &Tuple, stats: &TupleStats| {
        let used = ports.usage(tuple, stats);
        let ports_threatened = pressed.iter().any(|p| p.tuple == *tuple && p.severity >= Severity::Warning)
            || (used.hard_fraction() >= projection_fraction(cx)
                && used.rate_per_s.unwrap_or(0.0) * used.reuse.stuck_share() * TIME_WAIT_S
                    >= threat_fraction * f64::from(used.available()));
        let buckets_threatened = rate(stats) * 2.0 >= all_rate
            && buckets.is_some_and(|buckets| {
                time_wait as f64 >= projection_fraction(cx) * buckets
                    && all_rate * TIME_WAIT_S >= threat_fraction * buckets
            });
        (ports_threatened, buckets_threatened)
    };
    let mut findings: Vec<_> = busy
        .iter()
        .take(SHOWN)
        .map(|(tuple, stats)| {
            let used = ports.usage(tuple, stats);
            let (ports_threatened, buckets_threatened) = severity_of(tuple, stats);
            let in_a_minute = thousands((rate(stats) * TIME_WAIT_S) as u64);
            let available = thousands(used.available().into());
            let consequence = if ports_threatened {
                format!("their 60 s of TIME_WAIT would need {in_a_minute} local ports, and there are {available}")
            } else if let Some(buckets) = buckets.filter(|_| buckets_threatened) {
                format!("that comes near tcp_max_tw_buckets ({})", thousands(buckets as u64))
            } else {
                format!(
                    "the {available} local ports there carry that ({} in use)",
                    percent(used.used_fraction())
                )
            };
            let source = socket_source(table);
            let from = format!("remaining times of the TIME_WAIT sockets ({source})");
            let target = endpoint(tuple.dst, tuple.dport);
            // Without a trace TIME_WAIT has no owner, and who holds the live connections need not be who opens and closes.
            let who = made_by(cx, table, tuple, stats);
            let churner = churner(table, tuple, stats);
            cx.finding(
                if ports_threatened || buckets_threatened { Severity::Warning } else { Severity::Info },
                if stats.owner.is_some() && table.maker(tuple).is_none() { Confidence::Medium } else { Confidence::High },
                tuple_label(tuple),
                format!(
                    "{:.0} connections a second (mean of 10 s) from {} towards {target} are closed by this side first: {consequence}{who}",
                    rate(stats),
                    tuple.src
                ),
            )
            .why(
                "The side that closes first keeps TIME_WAIT: 60 s, fixed in the kernel. Each short connection therefore holds \
                 a local port towards this destination for a minute after its end, unless reuse takes it back.",
            )
            .evidence([
                Evidence::new(format!("TIME_WAIT made towards {target}"), rate(stats), "/s", format!("{from}, last 10 s")),
                Evidence::new("the same over a minute", (f64::from(stats.made_60s()) / 6.0).round() / 10.0, "/s", format!("{from}, last 60 s")),
                Evidence::new("TIME_WAIT made in all", all_rate, "/s", format!("{from}, last 10 s")),
                Evidence::new(format!("live connections towards {target}"), f64::from(stats.live()), "connections", source),
                Evidence::new(format!("local ports in use towards {target}"), f64::from(used.used), "ports", source),
                Evidence::new("of those, that connect() can take back", f64::from(used.reusable), "ports", source),
                Evidence::new("local ports available", f64::from(used.available()), "ports", "sysctl net.ipv4.ip_local_port_range less ip_local_reserved_ports and bound ports"),
            ])
            .evidence(by_trace(table, tuple, stats))
            .evidence(cx.setting("net.ipv4.tcp_max_tw_buckets"))
            .remedies(cx.client_remedies(churner, Symptom::ShortConnections, tuple.dport, 3, |_| true))
            .remedies(ports_threatened.then(|| {
                Remedy::architecture(
                    "Until connections are kept: more destination addresses or ports, or more source addresses, each with \
                     a full port range of its own.",
                )
            }))
            .process(churner)
        })
        .collect();
    note_more(&mut findings, busy.len().saturating_sub(SHOWN), "destinations", socket_source(table));
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Outcome::Fired(findings)
}

fn clear(table: &SocketTable) -> String {
    let busiest = table
        .tuples
        .iter()
        .max_by(|a, b| a.value.made_10s().cmp(&b.value.made_10s()).then(b.key.cmp(&a.key)));
    let accepted: u64 = table.listeners.iter().map(|l| u64::from(l.states[State::TimeWait as usize])).sum();
    let outgoing = match busiest {
        Some(group) => format!(
            "no destination gets many short connections: the busiest, {}, {:.1} a second",
            tuple_label(&group.key),
            present_rate(group.value.made_10s(), group.value.made_2s())
        ),
        None => "no outgoing connection was closed by this side first".to_owned(),
    };
    if accepted == 0 {
        return outgoing;
    }
    format!(
        "{outgoing}; {} on listening ports: a server that closes first pays in memory, not in ports",
        counted(accepted, "TIME_WAIT socket")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::SocketRecord;

    /// `n` TIME_WAIT towards one destination, made evenly over the last minute; its client lives.
    fn churn(n: u16, dst: &str) -> Vec<SocketRecord> {
        let mut sockets = expiring(many(n, State::TimeWait, "10.0.0.1", 32_768, dst, 6379), 0, 60_000);
        sockets.extend(held_by(many(1, State::Established, "10.0.0.1", 60_990, dst, 6379), 0));
        sockets
    }

    fn host() -> Moment {
        moment(1.0).process(31, "php-fpm8.2").sysctl("net.ipv4.tcp_tw_reuse", "0")
    }

    fn severity(outcome: Outcome) -> Severity {
        match outcome {
            Outcome::Fired(findings) => findings[0].severity,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_as_a_warning_when_the_rate_threatens_the_ports() {
        golden!([host().sockets(churn(24_000, "10.0.0.2"))]);
    }

    #[test]
    fn is_information_when_the_ports_carry_it() {
        golden!([host().sockets(churn(6_000, "10.0.0.2"))]);
    }

    #[test]
    fn is_clear_for_a_server_that_closes_first() {
        let accepted: Vec<_> = (0..20_000u16)
            .map(|i| SocketRecord::new(State::TimeWait, ip("10.0.0.1"), 80, ip("10.0.0.9"), 10_000 + i))
            .collect();
        golden!([host().socket(listener("0.0.0.0", 80, 0, 511, 0)).sockets(expiring(accepted, 0, 60_000))]);
    }

    #[test]
    fn is_unknown_without_remaining_times() {
        golden!([host().sockets(many(6_000, State::TimeWait, "10.0.0.1", 32_768, "10.0.0.2", 6379))]);
    }

    #[test]
    fn is_clear_when_idle_or_spread() {
        assert!(matches!(run(&RULE, [host()]), Outcome::Clear(_)));
        let spread = (0..100).flat_map(|n| churn(1_000, &format!("10.1.0.{n}")));
        assert!(matches!(run(&RULE, [host().sockets(spread)]), Outcome::Clear(_)));
    }

    #[test]
    fn starts_at_fifty_a_second() {
        assert_eq!(severity(run(&RULE, [host().sockets(churn(3_060, "10.0.0.2"))])), Severity::Info);
        assert!(matches!(run(&RULE, [host().sockets(churn(2_940, "10.0.0.2"))]), Outcome::Clear(_)));
    }

    #[test]
    fn reuse_takes_the_threat_away_from_the_ports() {
        let reused = host().sysctl("net.ipv4.tcp_tw_reuse", "1").sockets(churn(24_000, "10.0.0.2"));
        assert_eq!(severity(run(&RULE, [reused])), Severity::Info);
    }

    #[test]
    fn warns_when_the_rate_comes_near_the_buckets() {
        let few_buckets =
            host().sysctl("net.ipv4.tcp_max_tw_buckets", "7000").sockets(churn(6_000, "10.0.0.2"));
        assert_eq!(severity(run(&RULE, [few_buckets])), Severity::Warning);
        let no_limit = host().sysctl("net.ipv4.tcp_max_tw_buckets", "-1").sockets(churn(6_000, "10.0.0.2"));
        assert_eq!(severity(run(&RULE, [no_limit])), Severity::Info, "below 0 there is no limit");
        let mut unknown =
            host().sysctl("net.ipv4.tcp_max_tw_buckets", "-1").sockets(churn(6_000, "10.0.0.2"));
        unknown.kernel = "custom";
        assert_eq!(severity(run(&RULE, [unknown])), Severity::Info, "an unknown limit is no threat");
    }

    #[test]
    fn a_pool_of_kept_connections_is_not_accused() {
        // PHP keeps 200 connections; a cron job's curl, gone by now, opened and closed 100 a second.
        let pool = held_by(many(200, State::Established, "10.0.0.1", 60_700, "10.0.0.2", 6379), 0);
        let Outcome::Fired(findings) = run(&RULE, [host().sockets(churn(6_000, "10.0.0.2")).sockets(pool)])
        else {
            panic!("fires")
        };
        let finding = &findings[0];
        assert!(
            !finding.summary.starts_with("php") && finding.summary.contains("are mostly of"),
            "{}",
            finding.summary
        );
        assert_eq!((finding.confidence, finding.process), (Confidence::Medium, None));
        assert!(finding.remedies.iter().all(|r| !r.text.starts_with("PHP")), "{:#?}", finding.remedies);
    }

    #[test]
    fn a_burst_that_is_over_is_no_churn() {
        let mut sockets = churn(6_000, "10.0.0.2");
        sockets.retain(|s| s.timer.is_none_or(|t| t.expires_ms < 57_900));
        assert!(matches!(run(&RULE, [host().sockets(sockets)]), Outcome::Clear(_)));
    }
}
