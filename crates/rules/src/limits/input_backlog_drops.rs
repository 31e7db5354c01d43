use super::{fraction, percent, read_from, size, unread, worst};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};

use linger_model::Finding;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::Softnet;
use linger_model::window::Delta;

static SUSTAINED: Threshold = Threshold {
    key: "warning_drops_per_second",
    default: 10.0,
    unit: "/s",
    doc: "Packets dropped per second, in every part of the window, from which this is a warning; below, it is information.",
};
static SHARE: Threshold = Threshold {
    key: "warning_drop_share",
    default: 0.0001,
    unit: "fraction",
    doc: "Share of the packets processed that is dropped below which drops of the input queue stay information.",
};

declare_rule! {
    /// # What it detects
    /// Packets dropped on this host before or at the socket: a CPU's input queue was full (netdev_max_backlog), or a
    /// socket had no room for what came (receive queue pruned, socket backlog full).
    ///
    /// # Why it matters
    /// TCP takes the loss for a congested path: it retransmits and slows down, so that the network is blamed for what a
    /// busy CPU or a slow reader does.
    ///
    /// # Evidence
    /// `dropped` of /proc/net/softnet_stat, summed over the CPUs, over the window. Only what passes this queue counts:
    /// loopback, veth, packets that RPS moved; a driver with NAPI has its own ring, whose drops ethtool -S shows. Of
    /// the counters of the first namespace in the report, RcvPruned, OfoPruned, TCPBacklogDrop and TCPRcvQDrop are
    /// loss. Harmless doubles: TCPRcvCollapsed and PruneCalled copy data to save memory and lose nothing;
    /// TCPZeroWindowDrop is mostly the probe of a peer that waits for a window; time_squeeze is work put off. A single
    /// drop is information. Who does not read is told by the receive queues: the processes with the most unread bytes.
    ///
    /// # Fix
    /// Input queue: spread the load over CPUs (RPS, more receive queues), then make the queue longer. Sockets: read faster,
    /// leave SO_RCVBUF alone so that the kernel tunes it.
    ///
    /// # Fix safety
    /// A longer netdev_max_backlog is safe; it costs latency under load. It is host-wide and not visible in containers.
    ///
    /// # Sources
    /// net/core/dev.c enqueue_to_backlog(); net/core/net-procfs.c softnet_seq_show(); net/ipv4/tcp_input.c
    /// tcp_prune_queue(), tcp_prune_ofo_queue(), tcp_collapse(), tcp_data_queue(); net/ipv4/tcp_ipv4.c
    /// tcp_add_backlog().
    NQ001, "input-backlog-drops", Host, Warning, [SUSTAINED, SHARE]
}

const BACKLOG: &str = "net.core.netdev_max_backlog";
/// Counters of lost segments.
const LOST: [&str; 4] =
    ["TcpExt.RcvPruned", "TcpExt.OfoPruned", "TcpExt.TCPBacklogDrop", "TcpExt.TCPRcvQDrop"];
/// Counters that move beside them and are no loss.
const NO_LOSS: [&str; 3] = ["TcpExt.PruneCalled", "TcpExt.TCPRcvCollapsed", "TcpExt.TCPZeroWindowDrop"];

fn check(cx: &Context<'_>) -> Outcome {
    if !cx.window.has_past() {
        return Outcome::NotApplicable("needs two samples".to_owned());
    }
    let softnet = softnet(cx);
    let counters = cx.now().counters.as_ref().and(cx.window.first().counters.as_ref());
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(
        softnet.as_ref().ok().and_then(|(dropped, now, then)| queue_finding(cx, *dropped, now, then)),
    );
    findings.extend(counters.ok().and_then(|_| socket_finding(cx)));
    if !findings.is_empty() {
        return worst(findings, "places");
    }
    let (dropped, ..) = known!(&softnet);
    known!(counters);
    let collapsed = cx.window.delta_or_zero("TcpExt.TCPRcvCollapsed");
    let note = if collapsed > 0.0 {
        format!("; {} collapsed to save memory, which loses nothing", counted(collapsed as u64, "segment"))
    } else {
        String::new()
    };
    Outcome::Clear(format!(
        "no packet dropped by an input queue or a socket in {:.1} s{note}",
        dropped.seconds
    ))
}

type Drops<'a> = (Delta, &'a Softnet, &'a Softnet);

fn softnet<'a>(cx: &Context<'a>) -> Result<Drops<'a>, linger_model::snapshot::Gap> {
    let now = cx.now().host.softnet.as_ref().map_err(Clone::clone)?;
    let then = cx.window.first().host.softnet.as_ref().map_err(Clone::clone)?;
    Ok((cx.window.difference("/proc/net/softnet_stat dropped", then.dropped, now.dropped)?, now, then))
}

/// Whether a figure rises between all samples, and fast enough: else it was one burst.
fn sustained(
    cx: &Context<'_>,
    per_second: f64,
    figure: impl Fn(&linger_model::snapshot::Snapshot) -> Option<u64>,
) -> bool {
    let series = cx.window.series(figure);
    per_second >= cx.limit(&SUSTAINED)
        && series.windows(2).all(|pair| matches!(pair, [(_, a), (_, b)] if a < b))
}

fn queue_finding(cx: &Context<'_>, dropped: Delta, now: &Softnet, then: &Softnet) -> Option<Finding> {
    if dropped.by == 0 {
        return None;
    }
    let processed = now.processed.saturating_sub(then.processed);
    let share = fraction(dropped.by, processed + dropped.by);
    let lasting =
        sustained(cx, cx.sure_rate(dropped.by as f64), |s| Some(s.host.softnet.as_ref().ok()?.dropped));
    let severity = if lasting && share >= cx.limit(&SHARE) { Severity::Warning } else { Severity::Info };
    let source = format!("/proc/net/softnet_stat, all CPUs, over {:.1} s", dropped.seconds);
    let mut evidence = vec![
        Evidence::new("packets dropped", dropped.by as f64, "packets", source.clone()),
        Evidence::new("packets processed", processed as f64, "packets", source.clone()),
        Evidence::new(
            "time_squeeze",
            now.time_squeeze.saturating_sub(then.time_squeeze) as f64,
            "times",
            source,
        ),
    ];
    let limit = super::host_sysctl(cx, BACKLOG).ok().and_then(|n| n.first().copied());
    evidence.extend(
        limit.map(|l| Evidence::new(BACKLOG, l as f64, "packets", format!("sysctl {BACKLOG} (host-wide)"))),
    );
    let longer = limit.map_or(4096, |l| (l.max(0) as u64).saturating_mul(2).max(4096));
    let finding = cx
        .finding(
            severity,
            Confidence::High,
            "host",
            format!(
                "the CPUs' input queues dropped {} in {:.1} s, {} of what they were given",
                counted(dropped.by, "packet"),
                dropped.seconds,
                if share < 0.001 { "less than 0.1 %".to_owned() } else { percent(share) }
            ),
        )
        .why(
            "A packet that is not taken in NAPI (loopback, veth, RPS) waits in its CPU's queue, at most \
             netdev_max_backlog of them; when that is full it is dropped and no socket ever sees it.",
        )
        .evidence(evidence)
        .remedies([
            Remedy::architecture(
                "See whether one CPU does the work (the lines of /proc/net/softnet_stat are CPUs): spread it with more \
                 receive queues or RPS over more CPUs, and keep busy processes off the CPUs that take interrupts.",
            ),
            Remedy::kernel(
                Applicability::Safe,
                format!("{BACKLOG}={longer}"),
                "A longer queue rides out bursts; against a CPU that is too slow it only adds latency.",
            ),
        ]);
    Some(finding)
}

fn socket_finding(cx: &Context<'_>) -> Option<Finding> {
    let moved: Vec<(&str, Delta)> = LOST
        .into_iter()
        .filter_map(|name| Some((name, cx.window.delta(name).ok()?)))
        .filter(|(_, delta)| delta.by > 0)
        .collect();
    let most = moved.iter().max_by_key(|(_, delta)| delta.by)?;
    let lost: u64 = moved.iter().map(|(_, delta)| delta.by).sum();
    let lasting = sustained(cx, lost as f64 / most.1.seconds, |s| {
        s.counters.as_ref().ok().map(|all| LOST.iter().filter_map(|name| all.get(*name)).sum())
    });
    let severity = if lasting { Severity::Warning } else { Severity::Info };
    let netns = format!("network namespace {}", cx.now().netns.label());
    let beside = NO_LOSS.into_iter().filter_map(|name| Some((name, cx.window.delta(name).ok()?)));
    let mut evidence: Vec<Evidence> = moved
        .iter()
        .copied()
        .chain(beside.filter(|(_, d)| d.by > 0))
        .map(|(name, d)| cx.moved(name, d))
        .collect();
    let unread = unread(cx);
    evidence.extend(unread.iter().map(|(process, bytes)| {
        let source = cx.sockets().map_or("sock_diag", read_from);
        let what = format!("unread bytes in the sockets of {}", cx.process_label(*process));
        Evidence::new(what, *bytes as f64, "bytes", format!("{source} Recv-Q"))
    }));
    let reader = unread.first().copied();
    let who = reader.map_or(String::new(), |(process, bytes)| {
        format!("; {} has the most unread data ({})", cx.process_label(process), size(bytes))
    });
    let process = reader.and_then(|(process, _)| process);
    let cause = match most.0 {
        "TcpExt.TCPBacklogDrop" => "the process held the socket's lock while more came than its buffers take",
        "TcpExt.OfoPruned" => "data beyond a gap was thrown away to make room",
        "TcpExt.TCPRcvQDrop" => "there was no memory for the receive queue",
        _ => "receive buffers were full of data that nobody reads",
    };
    let finding = cx
        .finding(
            severity,
            Confidence::High,
            process.map_or_else(|| netns.clone(), |p| cx.process_label(Some(p))),
            format!(
                "sockets of {netns} threw away data that had arrived, {} times in {:.1} s, mostly because {cause}{who}",
                thousands(lost),
                most.1.seconds
            ),
        )
        .why(
            "What arrives counts against the socket's receive buffer with its overhead. When that is full the kernel first \
             collapses, then throws away what lies beyond a gap, and at last what comes; the peer sends it again.",
        )
        .evidence(evidence)
        .remedies([Remedy::application(
            "Read the sockets with a large Recv-Q (ss -tnpm) faster: slow work belongs into another thread than the reading. \
             Do not set SO_RCVBUF: it switches the kernel's own tuning of the buffer off.",
        )])
        .remedies(buffer_remedy(cx))
        .process(process);
    Some(finding)
}

/// A larger receive buffer, where the maximum was lowered below what any kernel sets.
fn buffer_remedy(cx: &Context<'_>) -> Option<Remedy> {
    let key = "net.ipv4.tcp_rmem";
    let [min, default, max] = cx.now().sysctl_ints(key).ok()?.try_into().ok()?;
    let usual = 6 << 20;
    (max < usual).then(|| {
        Remedy::kernel(
            Applicability::Safe,
            format!("{key}={min} {default} {usual}"),
            "The maximum to which the kernel tunes receive buffers is below 6 MiB, the default up to 6.12 on all but small \
             hosts; 6.18 has 32 MiB.",
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::State;
    use linger_model::report::Severity;
    use linger_model::snapshot::{Gap, GapKind, Softnet};

    fn with(at_s: f64, processed: u64, dropped: u64) -> Moment {
        let mut moment = moment(at_s);
        moment.softnet = Softnet { processed, dropped, time_squeeze: 0 };
        moment
    }

    fn severity(moments: impl IntoIterator<Item = Moment>) -> Option<Severity> {
        match run(&super::RULE, moments) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            Outcome::Clear(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_on_a_full_input_queue() {
        let last = with(1.0, 200_000, 5400).sysctl("net.core.netdev_max_backlog", "1000");
        golden!([with(0.0, 100_000, 400), last]);
    }

    #[test]
    fn fires_on_pruned_receive_queues() {
        let mut waiting = held_by(many(4, State::Established, "10.0.0.1", 40_000, "10.0.0.9", 5432), 0);
        waiting.iter_mut().for_each(|s| s.rqueue = 3_000_000);
        let last = moment(1.0)
            .process(88, "reporter")
            .sockets(waiting)
            .counter("TcpExt.RcvPruned", 80)
            .counter("TcpExt.PruneCalled", 300)
            .counter("TcpExt.TCPRcvCollapsed", 900)
            .sysctl("net.ipv4.tcp_rmem", "4096 87380 1048576");
        golden!([moment(0.0), last]);
    }

    #[test]
    fn is_clear_when_data_is_only_collapsed() {
        let last = moment(1.0)
            .counter("TcpExt.TCPRcvCollapsed", 900)
            .counter("TcpExt.PruneCalled", 30)
            .counter("TcpExt.TCPZeroWindowDrop", 50);
        golden!([moment(0.0), last]);
    }

    #[test]
    fn is_unknown_without_softnet_or_counters() {
        let blind = || {
            moment(1.0).change_host(|h| {
                h.softnet =
                    Err(Gap::new("softnet_stat", GapKind::Denied, "Permission denied", "run as root"));
            })
        };
        golden!([moment(0.0), blind()]);
        let mut last = moment(1.0);
        last.no_counters = true;
        assert!(matches!(run(&super::RULE, [moment(0.0), last]), Outcome::Unknown(_)));
        assert_eq!(
            severity([moment(0.0), blind().counter("TcpExt.RcvPruned", 100)]),
            Some(Severity::Warning)
        );
    }

    #[test]
    fn one_sample_is_not_enough() {
        assert!(matches!(run(&super::RULE, [with(0.0, 10, 9)]), Outcome::NotApplicable(_)));
    }

    #[test]
    fn a_single_drop_or_one_burst_is_information() {
        assert_eq!(severity([with(0.0, 0, 0), with(1.0, 1000, 1)]), Some(Severity::Info));
        assert_eq!(severity([with(0.0, 0, 0), with(1.0, 1000, 500)]), Some(Severity::Warning));
        assert_eq!(
            severity([with(0.0, 0, 0), with(1.0, 1000, 500), with(2.0, 2000, 500)]),
            Some(Severity::Info),
            "it is over"
        );
        assert_eq!(
            severity([with(0.0, 0, 0), with(1.0, 10_000_000, 20)]),
            Some(Severity::Info),
            "two in a million"
        );
        assert_eq!(severity([moment(0.0), moment(1.0).counter("TcpExt.OfoPruned", 1)]), Some(Severity::Info));
    }
}
