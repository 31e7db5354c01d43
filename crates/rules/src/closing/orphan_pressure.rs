use super::{mostly, places};
use crate::limits::{fraction, host_sysctl, percent, read_from, span};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_model::State;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};

static WARNING: Threshold = Threshold {
    key: "warning_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Orphans as a share of tcp_max_orphans from which this is a warning: half is where the kernel begins to reset.",
};
static CRITICAL: Threshold = Threshold {
    key: "critical_fraction",
    default: 0.9,
    unit: "fraction",
    doc: "Orphans as a share of tcp_max_orphans from which this is critical.",
};

declare_rule! {
    /// # What it detects
    /// The host has so many orphans (sockets that their process has closed and whose peer does not finish: FIN_WAIT1,
    /// LAST_ACK, CLOSING, and FIN_WAIT2 before it becomes a minisocket) that tcp_max_orphans is near.
    ///
    /// # Why it matters
    /// Beyond the limit the kernel resets a connection the moment its process closes it: what was still to be sent is
    /// lost. Orphans that time out go earlier: for one that has long not got through their number counts double, after
    /// an ICMP error double again, so that the first are reset at half or a quarter of the limit.
    ///
    /// # Evidence
    /// sockstat's `orphan`, which is host-wide even inside a namespace, against tcp_max_orphans, which is host-wide too;
    /// TcpExt.TCPAbortOnMemory of this namespace, which moves when the kernel resets for want of orphans or of memory.
    /// TIME_WAIT and FIN_WAIT2 minisockets are no orphans and do not count.
    ///
    /// # Fix
    /// Find the peers: orphans in FIN_WAIT1 or LAST_ACK mean that they do not acknowledge (gone, filtered, or not
    /// reading). Fewer retries let orphans of dead peers go sooner.
    ///
    /// # Fix safety
    /// tcp_orphan_retries acts on existing orphans at once and cuts off slow peers, so it is not free. A higher
    /// tcp_max_orphans can cost up to 64 KiB of kernel memory for each orphan.
    ///
    /// # Sources
    /// net/ipv4/tcp.c tcp_check_oom(), __tcp_close(); net/ipv4/tcp_timer.c tcp_out_of_resources(),
    /// tcp_orphan_retries() (the file shows 0, which means 8 while the peer may be alive); include/net/tcp.h;
    /// Documentation/networking/ip-sysctl.rst (64 KiB).
    OR001, "orphan-pressure", Host, Critical, [WARNING, CRITICAL]
}

const LIMIT: &str = "net.ipv4.tcp_max_orphans";
const ABORTS: &str = "TcpExt.TCPAbortOnMemory";
/// Of FIN_WAIT2 the most are minisockets, which are no orphans.
const STATES: [State; 3] = [State::FinWait1, State::LastAck, State::Closing];

/// The share of the limit from which orphans explain resets: they count four times at the worst.
pub(crate) const RESETS_FROM: f64 = 0.25;

fn check(cx: &Context<'_>) -> Outcome {
    let orphans = known!(&cx.now().sockstat).orphan;
    let limit = known!(host_sysctl(cx, LIMIT)).first().map_or(0, |n| (*n).max(0)) as u64;
    let used = fraction(orphans, limit);
    let aborts = cx.window.delta(ABORTS).ok();
    let aborted = aborts.filter(|d| d.by > 0 && used >= RESETS_FROM);
    let severity = if used >= cx.limit(&CRITICAL) || (aborted.is_some() && used >= cx.limit(&WARNING)) {
        Severity::Critical
    } else if used >= cx.limit(&WARNING) || aborted.is_some() {
        Severity::Warning
    } else {
        return Outcome::Clear(format!(
            "{} of at most {} on the host ({})",
            counted(orphans, "orphan"),
            thousands(limit),
            percent(used)
        ));
    };
    let table = cx.sockets().ok();
    let found = table.map(|t| places(t, &STATES, 2));
    let most = found.as_ref().and_then(mostly);
    let growth = cx.window.first().sockstat.as_ref().ok().filter(|_| cx.window.has_past());
    let growth =
        growth.map(|s| (orphans as f64 - s.orphan as f64) / cx.window.seconds()).filter(|g| *g > 0.0);
    let resets = aborted.map_or(String::new(), |d| {
        format!("; the kernel reset {} for that in {:.1} s", counted(d.by, "connection"), d.seconds)
    });
    let full = match growth {
        Some(g) if orphans < limit => format!("; full in {}", span((limit - orphans) as f64 / g)),
        _ => String::new(),
    };
    let at = most.as_ref().map_or(String::new(), |(text, _)| format!(", {text}"));
    let mut evidence = vec![
        Evidence::new("orphans", orphans as f64, "sockets", "/proc/net/sockstat TCP orphan (host-wide)"),
        Evidence::new(LIMIT, limit as f64, "sockets", format!("sysctl {LIMIT} (host-wide)")),
    ];
    evidence.extend(aborts.map(|d| cx.moved(ABORTS, d)));
    if let (Some(table), Some(found)) = (table, &found) {
        let source = read_from(table);
        evidence.push(Evidence::new("orphans of this namespace", table.orphans as f64, "sockets", source));
        evidence.extend(found.iter().flatten().map(|p| p.evidence("FIN_WAIT1, LAST_ACK, CLOSING", source)));
    }
    evidence.extend(cx.setting("net.ipv4.tcp_orphan_retries"));
    let finding = cx
        .finding(
            severity,
            Confidence::High,
            "host",
            format!("{} of at most {} ({}){at}{resets}{full}", counted(orphans, "orphan"), thousands(limit), percent(used)),
        )
        .why(
            "After close() the kernel alone sends the rest and waits for the peer. When one times out that has \
             long not got through, their number counts double, after an ICMP error double again: resets begin before the \
             limit is reached. Minisockets do not count.",
        )
        .evidence(evidence)
        .remedies([
            Remedy::application(
                "Find why the peers do not acknowledge: gone, behind a filter that drops, or not reading. Set \
                 TCP_USER_TIMEOUT on the connections, so that those of dead peers end before close().",
            ),
            Remedy::architecture(
                "Let a filter or balancer refuse peers that open connections and vanish; give idle connections a time-out \
                 there.",
            ),
            Remedy::kernel(
                Applicability::Unsafe,
                "net.ipv4.tcp_orphan_retries=3",
                "Orphans of dead peers go after three retries (0 means 8). It acts on existing orphans too, per \
                 namespace, and cuts off slow peers: what they had not yet taken is lost.",
            ),
            Remedy::kernel(
                Applicability::Unsafe,
                format!("{LIMIT}={}", limit.saturating_mul(2)),
                "More orphans are allowed, at up to 64 KiB of kernel memory each; watch MM001.",
            ),
        ])
        .process(most.and_then(|(_, owner)| owner));
    Outcome::Fired(vec![finding])
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::State;
    use linger_model::report::Severity;
    use linger_model::snapshot::{Gap, GapKind};

    fn with(at_s: f64, orphans: u64) -> Moment {
        let mut moment = moment(at_s).sysctl("net.ipv4.tcp_max_orphans", "4096");
        moment.sockstat.orphan = orphans;
        moment
    }

    fn severity(orphans: u64, aborts: u64) -> Option<Severity> {
        let last = with(1.0, orphans).counter("TcpExt.TCPAbortOnMemory", aborts);
        match run(&super::RULE, [with(0.0, orphans), last]) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            Outcome::Clear(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_near_the_limit_with_the_peers_that_do_not_finish() {
        let gone = many(3000, State::FinWait1, "10.0.0.1", 30_000, "198.51.100.7", 443);
        golden!([with(0.0, 3000), with(1.0, 3900).sockets(gone).counter("TcpExt.TCPAbortOnMemory", 40)]);
    }

    #[test]
    fn is_clear_with_few() {
        golden!([with(0.0, 10), with(1.0, 12)]);
    }

    #[test]
    fn is_unknown_without_the_limit() {
        golden!([moment(0.0), moment(1.0).without_sysctl("net.ipv4.tcp_max_orphans")]);
    }

    #[test]
    fn the_limit_is_the_hosts_where_the_namespace_lacks_the_file() {
        let mut last = moment(1.0).without_sysctl("net.ipv4.tcp_max_orphans").change_host(|h| {
            h.sysctls.insert("net.ipv4.tcp_max_orphans".into(), Ok("4096".into()));
            h.sysctls.insert("net.ipv4.tcp_mem".into(), Err(Gap::new("x", GapKind::Denied, "y", "")));
        });
        last.sockstat.orphan = 4000;
        assert!(matches!(run(&super::RULE, [last]), Outcome::Fired(_)));
    }

    #[test]
    fn severity_follows_headroom_and_resets() {
        assert_eq!(severity(2047, 0), None);
        assert_eq!(severity(2048, 0), Some(Severity::Warning));
        assert_eq!(severity(3700, 0), Some(Severity::Critical));
        assert_eq!(
            severity(1100, 5),
            Some(Severity::Warning),
            "for those that time out they count up to four times"
        );
        assert_eq!(severity(2100, 5), Some(Severity::Critical));
        assert_eq!(severity(100, 5), None, "aborts with few orphans are memory's, that is MM001");
    }
}
