use super::{fraction, percent, span};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::Conntrack;
use linger_model::window::Delta;

static WARNING: Threshold = Threshold {
    key: "warning_fraction",
    default: 0.8,
    unit: "fraction",
    doc: "Entries as a share of nf_conntrack_max from which this is a warning.",
};
static CRITICAL: Threshold = Threshold {
    key: "critical_fraction",
    default: 0.95,
    unit: "fraction",
    doc: "Entries as a share of nf_conntrack_max from which this is critical.",
};

static CLASHES: Threshold = Threshold {
    key: "insert_failed_per_second",
    default: 1.0,
    unit: "/s",
    doc: "Clashing insertions per second from which they are told, as information; fewer are everyday DNS and SNAT.",
};
static DROPS: Threshold = Threshold {
    key: "warning_drops_per_second",
    default: 10.0,
    unit: "/s",
    doc: "Packets dropped per second although the table has room from which this is a warning; below, it is information.",
};

declare_rule! {
    /// # What it detects
    /// The namespace's connection tracking table nears nf_conntrack_max, throws entries out early, or drops packets.
    ///
    /// # Why it matters
    /// A full table drops the first packet of every new connection, of any protocol, silently for the application:
    /// connects time out while established connections go on. The table is a budget of its own, apart from ports and
    /// sockets: an entry outlives its connection (120 s after TIME_WAIT begins by default, five days for an idle
    /// established one).
    ///
    /// # Evidence
    /// Entries of this namespace against nf_conntrack_max: one figure for the host, compared with each namespace's own
    /// count, so that a container can fill its own table while the host's is empty. Over the window `early_drop` says
    /// that unassured entries were thrown out to make room. `drop` says that a packet was dropped: because the table
    /// is full, if it is; an insertion clash moves it too. `insert_failed` is such a clash (two packets of one
    /// connection at once, or two connections that SNAT gave one port): no sign of a full table, whatever articles say.
    /// A node with many pods has a few all the time.
    ///
    /// # Fix
    /// Fewer, longer connections. Then leave out what needs no tracking (NOTRACK), or raise the limit with the buckets.
    ///
    /// # Fix safety
    /// A higher nf_conntrack_max is safe: an entry costs some 300 bytes; it can only be set in the host's first namespace.
    /// A shorter established time-out breaks idle connections through NAT.
    ///
    /// # Sources
    /// net/netfilter/nf_conntrack_core.c __nf_conntrack_alloc(), early_drop(), nf_ct_resolve_clash(),
    /// nf_conntrack_in(); nf_conntrack_standalone.c (read-only outside init_net). Measured on 6.18.
    CT001, "conntrack-table-pressure", Netns, Critical, [WARNING, CRITICAL, CLASHES, DROPS]
}

const LIMIT: &str = "net.netfilter.nf_conntrack_max";

/// What is wrong with the table.
#[derive(PartialEq, Eq)]
enum Kind {
    /// It is full, or nearly.
    Full,
    /// It has room and packets are dropped.
    DropsWithRoom,
    /// Insertions clash.
    Clash,
}

fn check(cx: &Context<'_>) -> Outcome {
    let Some(now) = known!(&cx.now().conntrack) else {
        return Outcome::NotApplicable("nf_conntrack is not loaded".to_owned());
    };
    let used = fraction(now.count, now.max);
    let before = cx.window.first().conntrack.as_ref().ok().and_then(Option::as_ref);
    let [drop, early, failed] =
        ["drop", "early_drop", "insert_failed"].map(|name| moved(cx, now, before, name));
    let by = |delta: Option<Delta>| delta.map_or(0, |d| d.by);
    // An unresolved clash counts as drop and as insert_failed.
    let dropped = by(drop).saturating_sub(by(failed));
    let often = |n: u64, threshold| n > 0 && cx.sure_rate(n as f64) >= cx.limit(threshold);
    let severity = if used >= cx.limit(&CRITICAL) || (dropped > 0 && used >= cx.limit(&WARNING)) {
        Severity::Critical
    } else if used >= cx.limit(&WARNING) || by(early) > 0 || often(dropped, &DROPS) {
        Severity::Warning
    } else if dropped > 0 || often(by(failed), &CLASHES) {
        Severity::Info
    } else {
        let drops = match drop {
            Some(d) if by(failed) > 0 => {
                format!("{} clashed in {:.1} s", counted(by(failed), "insertion"), d.seconds)
            }
            Some(d) => format!("nothing dropped in {:.1} s", d.seconds),
            None if !cx.window.has_past() => "drops need two samples".to_owned(),
            None => "its drops could not be read".to_owned(),
        };
        let limit = if now.max == 0 {
            "no limit".to_owned()
        } else {
            format!("{} of at most {}", percent(used), thousands(now.max))
        };
        return Outcome::Clear(format!(
            "the conntrack table holds {} ({limit}); {drops}",
            entries(now.count)
        ));
    };
    let kind = if used >= cx.limit(&WARNING) || by(early) > 0 {
        Kind::Full
    } else if dropped > 0 {
        Kind::DropsWithRoom
    } else {
        Kind::Clash
    };
    let netns = format!("network namespace {}", cx.now().netns.label());
    let what = if dropped > 0 && used >= cx.limit(&WARNING) {
        format!("dropped {} for want of room", counted(dropped, "packet"))
    } else if dropped > 0 {
        format!(
            "dropped {} though it has room: no memory for an entry, or an invalid reopening",
            counted(dropped, "packet")
        )
    } else if by(early) > 0 {
        format!("made room by throwing out {} early", entries(by(early)))
    } else if severity == Severity::Info {
        format!("lost {} by clashes and has room", counted(by(failed), "insertion"))
    } else if used >= 1.0 {
        "is full".to_owned()
    } else {
        "nears its limit".to_owned()
    };
    let growth = before
        .filter(|_| cx.window.has_past())
        .map(|b| (now.count as f64 - b.count as f64) / cx.window.seconds());
    let full = match growth.filter(|g| *g > 0.0) {
        Some(g) if now.count < now.max && severity > Severity::Info => {
            format!("; full in {} at the present rate", span((now.max - now.count) as f64 / g))
        }
        _ => String::new(),
    };
    let mut evidence = vec![
        Evidence::new(
            "conntrack entries",
            now.count as f64,
            "entries",
            "nf_conntrack_count of this namespace",
        ),
        Evidence::new(LIMIT, now.max as f64, "entries", format!("sysctl {LIMIT} (one figure for the host)")),
    ];
    evidence.extend(
        [("drop", drop), ("early_drop", early), ("insert_failed", failed)].into_iter().filter_map(
            |(name, d)| {
                let d = d?;
                let source = format!("ctnetlink statistics, all CPUs, over {:.1} s", d.seconds);
                let unit = if name == "early_drop" { "entries" } else { "packets" };
                Some(Evidence::new(format!("conntrack {name}"), d.by as f64, unit, source))
            },
        ),
    );
    evidence.extend(cx.setting("net.netfilter.nf_conntrack_tcp_timeout_established"));
    evidence.extend(cx.setting("net.netfilter.nf_conntrack_tcp_timeout_time_wait"));
    let mut finding = cx
        .finding(
            severity,
            if dropped > 0 && used < cx.limit(&WARNING) { Confidence::Medium } else { Confidence::High },
            netns.clone(),
            format!(
                "the conntrack table of {netns} {what} ({} of {}, {}){full}",
                thousands(now.count),
                entries(now.max),
                percent(used)
            ),
        )
        .why(match kind {
            Kind::Clash => {
                "A packet is dropped at a clash: two packets of one connection came at once (a resolver that asks for A and \
                 AAAA), or SNAT gave two connections one port. Its sender tries again. It is no sign of a full table."
            }
            Kind::DropsWithRoom => {
                "With room in the table a packet is dropped where there is no memory for an entry, or where it would reopen \
                 a connection that its entry does not allow. A few are everyday; the sender tries again."
            }
            Kind::Full => {
                "Every tracked connection has an entry until its time-out, whatever its socket does. With the table full \
                 the first packet of a new connection is dropped, unless an entry that never saw an answer can be thrown \
                 out."
            }
        })
        .evidence(evidence);
    if kind == Kind::Full {
        let child = if cx.now().netns.is_init == Some(false) {
            " It is read-only in this namespace: set it in the host's first one."
        } else {
            ""
        };
        let application = cx.application_remedies(None, Symptom::ShortConnections).into_iter().take(2);
        finding = finding.remedies(application).remedies([
            Remedy::architecture(
                "Do not track what needs no tracking: `notrack` in the raw hook for loopback, balancer health checks and \
                 busy ports without NAT.",
            ),
            Remedy::kernel(
                Applicability::Safe,
                format!("{LIMIT}={}", now.max.saturating_mul(2)),
                format!("More entries, at some 300 bytes each; raise nf_conntrack_buckets with it.{child}"),
            ),
            Remedy::kernel(
                Applicability::Unsafe,
                "net.netfilter.nf_conntrack_tcp_timeout_established=86400",
                "Idle established connections lose their entry after a day instead of five; through NAT they then break. \
                 Per namespace.",
            ),
        ]);
    } else if kind == Kind::DropsWithRoom {
        finding = finding.remedies([Remedy::architecture(
            "See with `conntrack -S` whether one CPU has them all, and in the kernel's log whether memory ran out.",
        )]);
    } else {
        finding = finding.remedies([Remedy::architecture(
            "Where SNAT gives the ports, use --random-fully and more source addresses; DNS from many pods clashes most, \
             a node-local cache avoids it.",
        )]);
    }
    Outcome::Fired(vec![finding])
}

fn moved(cx: &Context<'_>, now: &Conntrack, before: Option<&Conntrack>, name: &str) -> Option<Delta> {
    let (last, first) = (now.stats.as_ref()?.get(name)?, before?.stats.as_ref()?.get(name)?);
    cx.window.difference(name, *first, *last).ok()
}

fn entries(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{} entries", thousands(n)) }
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::Severity;
    use linger_model::snapshot::{Conntrack, Gap, GapKind};

    fn with(at_s: f64, count: u64, drop: u64, early_drop: u64, insert_failed: u64) -> Moment {
        let mut moment = moment(at_s);
        let stats = [("drop", drop), ("early_drop", early_drop), ("insert_failed", insert_failed)];
        moment.conntrack = Some(Conntrack {
            count,
            max: 65_536,
            stats: Some(stats.into_iter().map(|(k, v)| (k.to_owned(), 100 + v)).collect()),
        });
        moment
    }

    fn severity(count: u64, drop: u64, early_drop: u64, insert_failed: u64) -> Option<Severity> {
        match run(
            &super::RULE,
            [with(0.0, count, 0, 0, 0), with(1.0, count, drop, early_drop, insert_failed)],
        ) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            Outcome::Clear(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_when_the_table_is_full_and_drops() {
        golden!([with(0.0, 65_000, 0, 0, 0), with(1.0, 65_536, 1200, 300, 2)]);
    }

    #[test]
    fn fires_as_information_on_a_clash() {
        golden!([with(0.0, 900, 0, 0, 0), with(1.0, 900, 3, 0, 3)]);
    }

    #[test]
    fn is_clear_with_room() {
        golden!([with(0.0, 900, 0, 0, 0), with(1.0, 901, 0, 0, 0)]);
    }

    #[test]
    fn is_unknown_when_it_could_not_be_read() {
        let outcome = run_changed(&super::RULE, [moment(1.0)], |s| {
            s.conntrack =
                Err(Gap::new("conntrack", GapKind::Denied, "Operation not permitted", "run as root"));
        });
        insta::assert_snapshot!(show(&outcome));
    }

    #[test]
    fn does_not_apply_without_the_module() {
        let outcome = run(&super::RULE, [moment(1.0)]);
        assert_eq!(outcome, Outcome::NotApplicable("nf_conntrack is not loaded".into()));
    }

    #[test]
    fn severity_follows_headroom_and_drops() {
        assert_eq!(severity(52_000, 0, 0, 0), None);
        assert_eq!(severity(52_429, 0, 0, 0), Some(Severity::Warning));
        assert_eq!(severity(62_300, 0, 0, 0), Some(Severity::Critical));
        assert_eq!(severity(60_000, 5, 0, 0), Some(Severity::Critical));
        assert_eq!(severity(60_000, 0, 5, 0), Some(Severity::Warning));
        assert_eq!(severity(100, 5, 0, 0), Some(Severity::Info), "dropped, but not for a full table");
        assert_eq!(severity(100, 10, 0, 0), Some(Severity::Warning));
        let clashes = |seconds| run(&super::RULE, [with(0.0, 900, 0, 0, 0), with(seconds, 900, 3, 0, 3)]);
        assert!(matches!(clashes(10.0), Outcome::Clear(_)), "everyday DNS on a node");
        assert_eq!(severity(100, 5, 0, 5), Some(Severity::Info), "a clash counts as both");
        assert_eq!(severity(60_000, 0, 0, 4), Some(Severity::Warning));
    }

    #[test]
    fn one_sample_answers_by_the_fraction() {
        assert!(matches!(run(&super::RULE, [with(1.0, 64_000, 9, 9, 9)]), Outcome::Fired(_)));
        let Outcome::Clear(why) = run(&super::RULE, [with(1.0, 100, 9, 9, 9)]) else { panic!() };
        assert!(why.ends_with("drops need two samples"), "{why}");
        let mut none = with(1.0, 10_000_000, 0, 0, 0);
        if let Some(c) = &mut none.conntrack {
            c.max = 0;
        }
        assert!(matches!(run(&super::RULE, [none]), Outcome::Clear(_)), "0 means no limit");
    }
}
