use super::ephemeral_port_exhaustion::pressed;
use crate::ports::{
    Ports, all_by_trace, churner, percent, present_rate_of_all, socket_source, time_wait_buckets, tuple_label,
};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::State;
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Severity};

static MANY: Threshold = Threshold {
    key: "many_sockets",
    default: 50_000.0,
    unit: "sockets",
    doc: "TIME_WAIT sockets in a namespace from which this is reported, as information.",
};
static NEAR_FRACTION: Threshold = Threshold {
    key: "near_limit_fraction",
    default: 0.8,
    unit: "fraction",
    doc: "Share of tcp_max_tw_buckets from which the finding says that the limit is near.",
};

declare_rule! {
    /// # What it detects
    /// The namespace holds many TIME_WAIT sockets, and no destination is short of ports because of them. It is
    /// information: it says why there is no hurry.
    ///
    /// # Why it matters
    /// A large number alone is no fault. A TIME_WAIT socket costs 256 bytes: 200,000 of them 50 MB. It holds no file
    /// descriptor and belongs to no process. It holds a local port only towards one destination, and only on the side
    /// that connected: 200,000 TIME_WAIT over many destinations leave the ports free, and those of a server that closes
    /// first cost no port at all. "200,000 TIME_WAIT exhaust 28,232 ports" is wrong unless they go to one destination.
    ///
    /// # Evidence
    /// The number of TIME_WAIT sockets; the busiest tuple's share of its ports; `tcp_max_tw_buckets`; what is made per
    /// second. When a destination is short of ports, this is clear and TW001 speaks. With `--trace`, how many of the
    /// outgoing ones have a known maker, and how many are from before the trace.
    ///
    /// # Fix
    /// Nothing has to be done. To have fewer, keep connections alive. Do not lower `tcp_max_tw_buckets` and do not look
    /// for `tcp_fin_timeout`: TIME_WAIT is 60 s, fixed. File descriptor limits have nothing to do with it.
    ///
    /// # Fix safety
    /// Nothing here changes the kernel.
    ///
    /// # Sources
    /// net/ipv4/inet_timewait_sock.c inet_twsk_alloc(); include/net/tcp.h TCP_TIMEWAIT_LEN. Measured on 6.18: 256 bytes a
    /// socket in its slab. The limits of 50,000 and 100,000 that articles give are habits, not limits of the kernel.
    TW005, "time-wait-high", Netns, Info, [MANY, NEAR_FRACTION]
}

/// Bytes of a TIME_WAIT socket (measured on 6.18).
const TIME_WAIT_BYTES: f64 = 256.0;

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(&cx.now().sockets);
    let time_wait = table.states.count(State::TimeWait);
    if (time_wait as f64) < cx.limit(&MANY) {
        return Outcome::Clear(counted(time_wait, "TIME_WAIT socket"));
    }
    let ports = known!(Ports::read(cx.now()));
    let limit = known!(time_wait_buckets(cx.now()));
    // 0, or below it on older kernels, means no TIME_WAIT from now on: what is there was made before.
    let none_made = limit == Some(0);
    let pressed = known!(pressed(cx, &ports));
    if let Some(worst) = pressed.first().filter(|p| p.severity >= Severity::Warning) {
        return Outcome::Clear(format!(
            "{}, but not harmless: ports {} are short (TW001)",
            counted(time_wait, "TIME_WAIT socket"),
            worst.direction()
        ));
    }
    let minisockets = time_wait + table.fin_wait2_mini;
    let share = limit.filter(|_| !none_made).map(|limit| minisockets as f64 / (limit as f64).max(1.0));
    let accepted: u64 = table.listeners.iter().map(|l| u64::from(l.states[State::TimeWait as usize])).sum();
    let busiest = table
        .tuples
        .iter()
        .filter(|group| group.value.in_range() > 0)
        .map(|group| (group.key, &group.value, ports.usage(&group.key, &group.value)))
        .max_by(|a, b| a.2.used.cmp(&b.2.used).then(b.0.cmp(&a.0)));
    let busiest_text = match &busiest {
        Some((tuple, _, used)) => format!(
            "the busiest destination, {}, uses {} of its {} ports",
            endpoint(tuple.dst, tuple.dport),
            thousands(used.used.into()),
            thousands(used.available().into())
        ),
        None => "none of them holds a port that connect() needs".to_owned(),
    };
    let buckets = match (limit, share) {
        (Some(limit), Some(share)) if share >= cx.limit(&NEAR_FRACTION) => format!(
            "tcp_max_tw_buckets ({}) is near ({}): beyond it connections skip TIME_WAIT, none is refused",
            thousands(limit),
            percent(share.min(1.0))
        ),
        (_, Some(share)) => format!("{} of tcp_max_tw_buckets are in use", percent(share)),
        (_, None) if none_made => "tcp_max_tw_buckets allows no new ones".to_owned(),
        (_, None) => "tcp_max_tw_buckets is negative, which is no limit".to_owned(),
    };
    let source = socket_source(table);
    let mut evidence = vec![
        Evidence::new("TIME_WAIT sockets", time_wait as f64, "sockets", source),
        Evidence::new(
            "of those, on listening ports (no local port spent)",
            accepted as f64,
            "sockets",
            source,
        ),
        Evidence::new(
            "kernel memory for them",
            time_wait as f64 * TIME_WAIT_BYTES / 1e6,
            "MB",
            "256 bytes a socket, measured on 6.18",
        ),
    ];
    if table.time_wait_made.iter().any(|n| *n > 0) {
        let how = format!("remaining times of the TIME_WAIT sockets ({source}), last 10 s");
        evidence.push(Evidence::new("TIME_WAIT made", present_rate_of_all(table), "/s", how));
    }
    if let Some((tuple, _, used)) = &busiest {
        let what = format!("share of the ports in use, {}", tuple_label(tuple));
        evidence.push(Evidence::new(
            what,
            (used.used_fraction() * 1000.0).round() / 1000.0,
            "fraction",
            source,
        ));
    }
    let busiest_listener = table.listeners.iter().max_by_key(|l| l.states[State::TimeWait as usize]);
    if let Some(listener) = busiest_listener.filter(|_| accepted > 0) {
        evidence.push(Evidence::new(
            format!("TIME_WAIT sockets of the busiest listener, {}", endpoint(listener.addr, listener.port)),
            f64::from(listener.states[State::TimeWait as usize]),
            "sockets",
            source,
        ));
    }
    let owner = busiest.as_ref().and_then(|(tuple, stats, _)| churner(table, tuple, stats));
    let finding = cx
        .finding(
            Severity::Info,
            Confidence::High,
            format!("network namespace {}", cx.now().netns.label()),
            format!("{} and no hurry: {busiest_text}, and {buckets}", counted(time_wait, "TIME_WAIT socket")),
        )
        .why(
            "TIME_WAIT follows every connection that this side closed first, for 60 s, and holds a port only towards its own \
             destination. It costs 256 bytes, no descriptor and no process.",
        )
        .evidence(evidence)
        .evidence(all_by_trace(table))
        .evidence(cx.setting("net.ipv4.tcp_max_tw_buckets"))
        .remedies(cx.application_remedies(owner, Symptom::ShortConnections).into_iter().take(1))
        .process(owner);
    Outcome::Fired(vec![finding])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::SocketRecord;

    /// 200,000 TIME_WAIT over a hundred destinations.
    fn spread() -> Moment {
        let sockets = (0..100).flat_map(|n| {
            expiring(many(2_000, State::TimeWait, "10.0.0.1", 32_768, &format!("10.1.0.{n}"), 443), 0, 60_000)
        });
        moment(1.0)
            .sockets(sockets)
            .sysctl("net.ipv4.tcp_max_tw_buckets", "400000")
            .sysctl("net.ipv4.tcp_tw_reuse", "0")
    }

    #[test]
    fn fires_as_information_when_spread_over_many_destinations() {
        golden!([spread()]);
    }

    #[test]
    fn nothing_warns_of_what_is_spread() {
        for rule in [
            &super::super::ephemeral_port_exhaustion::RULE,
            &super::super::short_connection_churn::RULE,
            &super::super::time_wait_reuse_ineffective::RULE,
            &super::super::address_in_use_on_restart::RULE,
            &crate::proxy::proxy_port_pressure::RULE,
        ] {
            let outcome = run(rule, [spread()]);
            assert!(matches!(outcome, Outcome::Clear(_)), "{} {outcome:?}", rule.code);
        }
    }

    #[test]
    fn is_clear_below_the_limit() {
        golden!([moment(1.0).sockets(many(49_999, State::TimeWait, "10.0.0.1", 1, "10.0.0.2", 443))]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = moment(1.0);
        last.no_sockets = true;
        golden!([last]);
    }

    #[test]
    fn leaves_it_to_tw001_when_ports_are_short() {
        let short = expiring(many(28_000, State::TimeWait, "10.0.0.1", 32_768, "10.9.9.9", 443), 0, 60_000);
        golden!([spread().sockets(short)]);
    }

    #[test]
    fn says_when_the_buckets_are_near_and_counts_a_server_apart() {
        let accepted: Vec<_> = (0..60_000u16)
            .map(|i| SocketRecord::new(State::TimeWait, ip("10.0.0.1"), 80, ip("10.0.0.9"), 1024 + i))
            .collect();
        golden!([moment(1.0)
            .socket(listener("0.0.0.0", 80, 0, 511, 0))
            .sockets(expiring(accepted, 0, 60_000))
            .sysctl("net.ipv4.tcp_max_tw_buckets", "65536")]);
    }
}
