use crate::listen_queue::origin;
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::{ProcessIndex, TupleStats};
use linger_model::record::{Addr, endpoint};
use linger_model::report::{Applicability, Confidence, Evidence, Finding, Remedy, Severity};
use linger_model::{SocketTable, State};
use std::collections::BTreeMap;

static MIN_RETRANSMITTING: Threshold = Threshold {
    key: "min_retransmitting",
    default: 10.0,
    unit: "sockets",
    doc: "Connects to one destination whose SYN had to be sent again from which this is a warning.",
};

static SHARE: Threshold = Threshold {
    key: "retransmitting_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Share of the SYN_SENT sockets that must have sent their SYN again; the rest are connects just begun.",
};

static CRITICAL: Threshold = Threshold {
    key: "critical_retransmitting",
    default: 100.0,
    unit: "sockets",
    doc: "Hanging connects to one destination from which this is critical.",
};

static SPREAD: Threshold = Threshold {
    key: "min_retransmitting_spread",
    default: 100.0,
    unit: "sockets",
    doc: "Hanging connects to many destinations, few to each, from which they are told together.",
};

declare_rule! {
    /// # What it detects
    /// connect() calls that hang: SYN_SENT sockets whose SYN had to be sent again, by destination.
    ///
    /// # Why it matters
    /// Each hanging connect holds a caller (a thread, a request, a pool slot) and a local port until the application
    /// gives up, or the kernel does: after 131 s with the defaults since 6.5 (`tcp_syn_retries` = 6 and
    /// `tcp_syn_linear_timeouts` = 4: ten retries), after 127 s before, after 7 s with `tcp_syn_retries` = 2. Callers
    /// pile up behind them: a dead backend so takes its healthy clients down.
    ///
    /// # Evidence
    /// SYN_SENT sockets for each destination address and port, and how many of them retransmit. A connect that is a few
    /// milliseconds old is in SYN_SENT, too: a burst of fresh ones is no fault, and a refused connect leaves no socket
    /// (that is RS001). Established connections to the same destination tell a peer that answers nobody (down, or a
    /// firewall that drops) from one that answers some (its accept queue is full, or the path loses). Where the
    /// destination is a listener of this same namespace, its queue is looked at.
    ///
    /// # Fix
    /// A connect timeout in the application (1 to 3 s), few retries with backoff, a circuit breaker. At the same time
    /// find out why the peer is silent: is it up, does a firewall or security group drop, does *its* accept queue
    /// overflow (LQ001 there).
    ///
    /// # Fix safety
    /// A connect timeout in the application is safe. Lower `tcp_syn_retries`, which the articles advise for
    /// everybody, shortens the wait of every connect in the namespace, also on paths that are just slow or lossy.
    ///
    /// # Sources
    /// net/ipv4/tcp_timer.c tcp_write_timeout(), retransmits_timed_out(); Documentation/networking/ip-sysctl.rst
    /// tcp_syn_retries. RFC 6298 section 2: the first retransmission after 1 s. Measured on 6.18: `tcp_syn_retries` 1
    /// gives up after 3 s, 2 after 7 s, 6 after 131 s.
    SS001, "syn-sent-pileup", Netns, Critical, [MIN_RETRANSMITTING, SHARE, CRITICAL, SPREAD]
}

const MAX_FINDINGS: usize = 5;

/// All connects to one address and port, from whatever source address.
#[derive(Default)]
struct Destination {
    syn_sent: u64,
    again: u64,
    answered: u64,
    owner: Option<ProcessIndex>,
    votes: u16,
}

/// Connections that a peer did answer: all but SYN_SENT.
fn answered(stats: &TupleStats) -> u64 {
    stats.states().iter().map(|n| u64::from(*n)).sum::<u64>() - u64::from(stats.state(State::SynSent))
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(cx.sockets());
    let mut destinations: BTreeMap<(Addr, u16), Destination> = BTreeMap::new();
    for group in table.tuples.iter().filter(|g| g.value.state(State::SynSent) > 0) {
        let entry = destinations.entry((group.key.dst, group.key.dport)).or_default();
        entry.syn_sent += u64::from(group.value.state(State::SynSent));
        entry.again += u64::from(group.value.syn_retransmitting());
        if group.value.owner_votes >= entry.votes && group.value.owner.is_some() {
            (entry.owner, entry.votes) = (group.value.owner, group.value.owner_votes);
        }
    }
    let mut connected_elsewhere = 0;
    for group in table.tuples.iter() {
        match destinations.get_mut(&(group.key.dst, group.key.dport)) {
            Some(entry) => entry.answered += answered(&group.value),
            None if group.key.is_loopback() => {}
            None => connected_elsewhere += answered(&group.value),
        }
    }
    let syn_sent: u64 = destinations.values().map(|d| d.syn_sent).sum();
    let again: u64 = destinations.values().map(|d| d.again).sum();
    let hangs = |d: &Destination| {
        d.again as f64 >= cx.limit(&MIN_RETRANSMITTING)
            && d.again as f64 >= cx.limit(&SHARE) * d.syn_sent as f64
    };
    let mut hanging: Vec<(&(Addr, u16), &Destination)> =
        destinations.iter().filter(|(_, d)| hangs(d)).collect();
    hanging.sort_by_key(|(to, d)| (std::cmp::Reverse(d.again), **to));
    let more = hanging.len().saturating_sub(MAX_FINDINGS);
    let mut findings: Vec<Finding> =
        hanging.iter().take(MAX_FINDINGS).map(|(to, d)| finding(cx, table, **to, d)).collect();
    let rest: Vec<(&(Addr, u16), &Destination)> =
        destinations.iter().filter(|(_, d)| !hangs(d) && d.again > 0).collect();
    let rest_again: u64 = rest.iter().map(|(_, d)| d.again).sum();
    let rest_sent: u64 = destinations.values().filter(|d| !hangs(d)).map(|d| d.syn_sent).sum();
    let spread =
        rest_again as f64 >= cx.limit(&SPREAD) && rest_again as f64 >= cx.limit(&SHARE) * rest_sent as f64;
    if spread && findings.len() < MAX_FINDINGS {
        findings.push(spread_finding(cx, table, &rest, rest_again, connected_elsewhere));
        findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    }
    if let (Some(last), true) = (findings.last_mut(), more > 0) {
        let what = "further destinations with hanging connects";
        last.evidence.push(Evidence::new(what, more as f64, "destinations", origin(table)));
    }
    if !findings.is_empty() {
        return Outcome::Fired(findings);
    }
    Outcome::Clear(match syn_sent {
        0 => "no connect is under way".to_owned(),
        n => format!("{} SYN_SENT, {} of them sent their SYN again", counted(n, "socket"), thousands(again)),
    })
}

fn finding(cx: &Context<'_>, table: &SocketTable, to: (Addr, u16), d: &Destination) -> Finding {
    let name = endpoint(to.0, to.1);
    let who = cx.process_label(d.owner);
    let severity = if d.again as f64 >= cx.limit(&CRITICAL) { Severity::Critical } else { Severity::Warning };
    let local = table
        .listeners
        .iter()
        .find(|l| l.port == to.1 && (l.addr == to.0 || (l.addr.is_unspecified() && to.0.is_loopback())));
    let full = local.is_some_and(|l| l.sockets.iter().any(|s| s.limit.is_some_and(|limit| s.queue > limit)));
    let cause = if full {
        "It is a listener of this same namespace, and its accept queue is full: see LQ001.".to_owned()
    } else if d.answered > 0 {
        format!(
            "{} to it exist, so it answers some: its accept queue or request queue may be full (LQ001 and SR002 on \
             that host), or the path loses segments (RT001).",
            counted(d.answered, "other connection")
        )
    } else {
        "No connection to it exists, so it answers nobody: it is down, the address is wrong, or a firewall drops \
         without a word. A host that is up and does not listen would refuse at once."
            .to_owned()
    };
    let (retries, linear) = syn_retries(cx);
    cx.finding(
        severity,
        Confidence::High,
        format!("{name}, {who}"),
        format!(
            "connect() to {name} hangs: {} of {} of {who} had to send the SYN again",
            thousands(d.again),
            counted(d.syn_sent, "SYN_SENT socket")
        ),
    )
    .why(format!(
        "The kernel sends an unanswered SYN again after 1 s and gives up after about {:.0} s (tcp_syn_retries = {retries}); \
         the caller waits as long, unless the application has a connect timeout. {cause}",
        gives_up_after(retries, linear)
    ))
    .evidence([
        Evidence::new(format!("SYN_SENT sockets towards {name}"), d.syn_sent as f64, "sockets", origin(table)),
        Evidence::new("of those, SYN sent again", d.again as f64, "sockets", origin(table)),
        Evidence::new(format!("other connections to {name}, TIME_WAIT included"), d.answered as f64, "sockets", origin(table)),
    ])
    .evidence(cx.window.delta("TcpExt.TCPSynRetrans").ok().map(|moved| cx.moved("TcpExt.TCPSynRetrans", moved)))
    .evidence(cx.setting("net.ipv4.tcp_syn_retries"))
    .process(d.owner)
    .remedies(cx.application_remedies(d.owner, Symptom::ConnectTimeout))
    .remedies(remedies(retries, linear))
}

/// `tcp_syn_retries`, and `tcp_syn_linear_timeouts` where the kernel has it.
fn syn_retries(cx: &Context<'_>) -> (u32, u32) {
    let setting = |key: &str| u32::try_from(cx.now().sysctl_int(key).ok()?).ok();
    let linear = setting("net.ipv4.tcp_syn_linear_timeouts");
    let default = if cx.now().host.kernel.at_least(6, 5) { 4 } else { 0 };
    (setting("net.ipv4.tcp_syn_retries").unwrap_or(6), linear.unwrap_or(default))
}

/// Seconds after which connect() fails with ETIMEDOUT: what plain doubling from 1 s would take, rounded up to the next
/// retry. `linear` more retries come a second apart at first.
fn gives_up_after(retries: u32, linear: u32) -> f64 {
    const LONGEST_S: f64 = 120.0;
    let doubling = (0..=retries.min(127)).map(|n| f64::from(n.min(30)).exp2().min(LONGEST_S)).sum::<f64>();
    let (mut at, mut pause, mut sent) = (0.0, 1.0f64, 0);
    while at < doubling {
        at += pause;
        sent += 1;
        if sent > linear {
            pause = (pause * 2.0).min(LONGEST_S);
        }
    }
    at
}

fn remedies(retries: u32, linear: u32) -> Vec<Remedy> {
    let lower = (retries > 3).then(|| {
        Remedy::kernel(
            Applicability::Unsafe,
            "net.ipv4.tcp_syn_retries=3",
            format!(
                "Ends each hanging connect after about {:.0} s instead of {:.0} s, for the whole namespace, slow and lossy \
                 paths included. It hides the fault; prefer the application's timeout (or TCP_SYNCNT on its sockets).",
                gives_up_after(3, linear),
                gives_up_after(retries, linear)
            ),
        )
    });
    [
        Remedy::architecture(
            "Check the peer and the path: `linger check` there (LQ001), then firewalls and routes between. Take a dead \
             destination out of the pool; let a circuit breaker answer for it.",
        ),
    ]
    .into_iter()
    .chain(lower)
    .collect()
}

fn spread_finding(
    cx: &Context<'_>,
    table: &SocketTable,
    rest: &[(&(Addr, u16), &Destination)],
    again: u64,
    connected: u64,
) -> Finding {
    let owner = rest.iter().max_by_key(|(_, d)| d.again).and_then(|(_, d)| d.owner);
    let connected = connected + rest.iter().map(|(_, d)| d.answered).sum::<u64>();
    // A crawler or a scanner always meets dead hosts; a host without a way out meets nothing else.
    let cut_off = again > connected;
    let who = cx.process_label(owner);
    cx.finding(
        if cut_off { Severity::Warning } else { Severity::Info },
        if cut_off { Confidence::Medium } else { Confidence::Low },
        format!("{}, {who}", counted(rest.len() as u64, "destination")),
        format!(
            "connect() hangs towards {}, few sockets each: {} had to send the SYN again (among them {who}'s)",
            counted(rest.len() as u64, "destination"),
            counted(again, "socket")
        ),
    )
    .why(if cut_off {
        "More connects hang than connections exist: the way out is gone (a route, a NAT gateway, a firewall), not one \
         peer."
    } else {
        "Other connections work, so the way out is there. A crawler, a scanner or a monitor of dead hosts looks like \
         this."
    })
    .evidence([
        Evidence::new("SYN_SENT sockets, SYN sent again", again as f64, "sockets", origin(table)),
        Evidence::new("connections to other hosts", connected as f64, "sockets", origin(table)),
    ])
    .evidence(cx.window.delta("TcpExt.TCPSynRetrans").ok().map(|moved| cx.moved("TcpExt.TCPSynRetrans", moved)))
    .process(owner)
    .remedies(cx.application_remedies(owner, Symptom::ConnectTimeout))
    .remedies([Remedy::architecture("Check default route, NAT gateway and egress firewall of this namespace.")])
}

#[cfg(test)]
mod tests {
    use super::gives_up_after;
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::Severity;
    use linger_model::{SocketRecord, State};

    fn connects(n: u16, again: u16, dst: &str) -> Vec<SocketRecord> {
        let mut sockets = held_by(many(n, State::SynSent, "10.0.0.1", 33000, dst, 5432), 0);
        sockets.iter_mut().take(again.into()).for_each(|s| s.retransmits = 2);
        sockets
    }

    fn client(sockets: Vec<SocketRecord>) -> Moment {
        moment(1.0).process(77, "api").sockets(sockets)
    }

    fn first(moment: Moment) -> Option<linger_model::Finding> {
        match run(&super::RULE, [moment]) {
            Outcome::Fired(mut findings) => Some(findings.remove(0)),
            _ => None,
        }
    }

    #[test]
    fn fires_by_destination() {
        let last = client(connects(45, 40, "10.0.0.9")).counter("TcpExt.TCPSynRetrans", 38);
        golden!([moment(0.0), last]);
    }

    #[test]
    fn is_clear_on_a_burst_of_fresh_connects() {
        golden!([client(connects(500, 3, "10.0.0.9"))]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = client(Vec::new());
        last.no_sockets = true;
        golden!([last]);
    }

    #[test]
    fn the_time_until_the_kernel_gives_up_is_what_was_measured() {
        assert_eq!([gives_up_after(1, 4), gives_up_after(2, 4), gives_up_after(6, 4)], [3.0, 7.0, 131.0]);
        assert_eq!([gives_up_after(6, 0), gives_up_after(3, 0), gives_up_after(3, 4)], [127.0, 15.0, 19.0]);
        assert!(gives_up_after(127, 127) < 20_000.0);
        let quick = client(connects(20, 20, "10.0.0.9")).sysctl("net.ipv4.tcp_syn_retries", "2");
        let finding = first(quick).expect("fires");
        assert!(finding.why.contains("gives up after about 7 s"), "{}", finding.why);
        assert!(finding.remedies.iter().all(|r| r.sysctl.is_none()), "it is lower already");
    }

    #[test]
    fn number_and_share_decide() {
        let severity = |n, again| first(client(connects(n, again, "10.0.0.9"))).map(|f| f.severity);
        assert_eq!(severity(9, 9), None);
        assert_eq!(severity(10, 10), Some(Severity::Warning));
        assert_eq!(severity(21, 10), None);
        assert_eq!(severity(100, 100), Some(Severity::Critical));
    }

    #[test]
    fn a_peer_that_answers_some_is_told_from_one_that_answers_nobody() {
        let dead = first(client(connects(20, 20, "10.0.0.9"))).expect("fires");
        assert!(dead.why.contains("it answers nobody"), "{}", dead.why);
        let mut sockets = connects(20, 20, "10.0.0.9");
        sockets.extend(held_by(many(5, State::Established, "10.0.0.1", 40000, "10.0.0.9", 5432), 0));
        let busy = first(client(sockets)).expect("fires");
        assert!(busy.why.contains("5 other connections to it exist"), "{}", busy.why);
        let mut sockets = many(20, State::SynSent, "127.0.0.1", 33000, "127.0.0.1", 5432);
        sockets.iter_mut().for_each(|s| s.retransmits = 1);
        let own = first(client(sockets).socket(listener("0.0.0.0", 5432, 129, 128, 0))).expect("fires");
        assert!(own.why.contains("see LQ001"), "{}", own.why);
    }

    #[test]
    fn hanging_connects_all_over_are_a_crawler_or_a_lost_way_out() {
        let spread = || (0..120u16).flat_map(|i| connects(1, 1, &format!("198.51.100.{i}")));
        let cut_off = first(client(spread().collect())).expect("fires");
        assert_eq!(cut_off.severity, Severity::Warning);
        let working = many(500, State::Established, "10.0.0.1", 40000, "203.0.113.1", 443);
        let crawler = first(client(spread().chain(working).collect())).expect("fires");
        assert_eq!(crawler.severity, Severity::Info);
        let few = (0..20u16).flat_map(|i| connects(1, 1, &format!("198.51.100.{i}")));
        assert!(first(client(few.collect())).is_none(), "a monitor of dead hosts");
    }
}
