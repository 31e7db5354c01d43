use super::{mostly, places};
use crate::limits::{descriptor_limit, fraction, percent, read_from, worst};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::{HolderStats, ProcessIndex, SocketSource};
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};
use linger_model::{Finding, SocketTable, State};

static NORMAL: Threshold = Threshold {
    key: "normal_sockets",
    default: 500.0,
    unit: "sockets",
    doc: "FIN_WAIT2 sockets from which they are reported, and from which those held by one process can be a warning.",
};
static HELD: Threshold = Threshold {
    key: "held_sockets",
    default: 100.0,
    unit: "sockets",
    doc: "FIN_WAIT2 sockets that one process half-closed, holds, and got nothing on for 60 s, from which they are reported.",
};
static FRESH_SHARE: Threshold = Threshold {
    key: "fresh_share",
    default: 0.5,
    unit: "fraction",
    doc: "Share of a process's connections that must be in FIN_WAIT2 for younger ones to be reported.",
};
static HELD_SHARE: Threshold = Threshold {
    key: "warning_descriptor_share",
    default: 0.1,
    unit: "fraction",
    doc: "Share of its descriptor limit that a process spends on FIN_WAIT2 sockets from which this is a warning.",
};
static CRITICAL_DESCRIPTORS: Threshold = Threshold {
    key: "critical_descriptor_fraction",
    default: 0.95,
    unit: "fraction",
    doc: "Share of its descriptors in use from which FIN_WAIT2 sockets held as above are critical.",
};

declare_rule! {
    /// # What it detects
    /// Connections that this side has closed and the peer has not: our FIN is acknowledged, the peer's never comes. Two
    /// kinds are told apart. *Held*: a process called shutdown(SHUT_WR) and still has the descriptor. *Orphaned*: the
    /// process called close() or ended, and the kernel alone waits.
    ///
    /// # Why it matters
    /// Held ones have no time-out at all; each keeps a descriptor until the process closes it. Orphaned ones end by
    /// themselves after tcp_fin_timeout, so that many of them are a steady stream of peers that close late: they cost
    /// little memory, but an outgoing one keeps its local port, which tcp_tw_reuse does not take back on current
    /// kernels.
    ///
    /// # Evidence
    /// FIN_WAIT2 sockets with a holder, without one, and minisockets, and where they are. The harmless double of the held
    /// kind is a half-closed connection over which the peer still sends (a relay, an upload's answer): there data came
    /// within the last 60 s (tcp_info's last_data_recv). Younger sockets cannot be told apart yet: they count only where
    /// they are most of what the process holds, with low confidence and never as critical. The count of orphans is creation rate × tcp_fin_timeout; it stops
    /// growing by itself. `ss` shows minisockets without a process: nobody holds them.
    ///
    /// # Fix
    /// Held: call close(), not only shutdown(); read until the end with a time-out. Orphaned: find out why the peers do
    /// not close (their CLOSE_WAIT sockets name the process); lower tcp_fin_timeout if ports or memory matter.
    ///
    /// # Fix safety
    /// A lower tcp_fin_timeout is reversible and touches orphans only; a peer that still sends after it gets a RST. It
    /// does not shorten TIME_WAIT, whatever articles say. The values 61 to 119 are a trap: the kernel then waits twice
    /// (value − 60) seconds, so that 65 gives about 10 s; 60 gives 60 s.
    ///
    /// # Sources
    /// net/ipv4/tcp_input.c tcp_rcv_state_process(); net/ipv4/tcp.c __tcp_close(); net/ipv4/tcp_timer.c
    /// tcp_keepalive_timer(); include/net/tcp.h tcp_fin_time(). Measured on 6.18: with tcp_fin_timeout 5 FIN_WAIT2 is
    /// gone after 5 s and TIME_WAIT stays 60 s; 65 gives 10.4 s, 61 gives 2.2 s.
    FW001, "fin-wait2-accumulation", Netns, Critical, [NORMAL, HELD, FRESH_SHARE, HELD_SHARE, CRITICAL_DESCRIPTORS]
}

const TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(cx.sockets());
    let total = table.states.count(State::FinWait2);
    let mut holders: Vec<Held> = table
        .holders
        .iter()
        .map(|(process, held)| Held::of(table, *process, held))
        .filter(|held| held.sockets > 0)
        .collect();
    holders.sort_by_key(|held| (std::cmp::Reverse((held.idle, held.sockets)), held.process));
    let held: u64 = holders.iter().map(|held| u64::from(held.sockets)).sum();
    let orphaned = total.saturating_sub(held);

    let mut findings: Vec<Finding> = holders
        .iter()
        .filter(|held| {
            let forgotten = f64::from(held.idle) >= cx.limit(&HELD).max(1.0);
            forgotten
                || (f64::from(held.sockets) >= cx.limit(&HELD).max(1.0)
                    && f64::from(held.sockets) >= cx.limit(&FRESH_SHARE) * f64::from(held.connections))
        })
        .map(|held| held_finding(cx, table, held))
        .collect();
    let many = |n: u64| n > 0 && n as f64 >= cx.limit(&NORMAL);
    if many(orphaned) {
        findings.push(orphan_finding(cx, table, total, held));
    }
    if findings.is_empty() {
        return Outcome::Clear(format!(
            "{}: {} held by processes, {} orphaned",
            counted(total, "FIN_WAIT2 socket"),
            thousands(held),
            thousands(orphaned)
        ));
    }
    worst(findings, "processes")
}

/// The FIN_WAIT2 sockets of one process.
struct Held {
    process: Option<ProcessIndex>,
    sockets: u32,
    /// Those on which nothing came for 60 s. All of them, where that cannot be told.
    idle: u32,
    /// Whether it could be told.
    ages_known: bool,
    /// All its connections.
    connections: u32,
}

impl Held {
    fn of(table: &SocketTable, process: Option<ProcessIndex>, held: &HolderStats) -> Held {
        let sockets = held.states.get(State::FinWait2 as usize).copied().unwrap_or(0);
        let ages_known = table.source == SocketSource::SockDiag || held.fin_wait2_idle > 0;
        let idle = if ages_known { held.fin_wait2_idle } else { sockets };
        Held { process, sockets, idle, ages_known, connections: held.accepted + held.outgoing }
    }
}

fn held_finding(cx: &Context<'_>, table: &SocketTable, one: &Held) -> Finding {
    let (index, held) = (one.process, one.sockets);
    let who = cx.process_label(index);
    let process = index.and_then(|i| cx.processes().ok()?.get(i));
    let limit = process.and_then(descriptor_limit);
    let forgotten = f64::from(one.idle) >= cx.limit(&HELD).max(1.0);
    // Those younger than a minute may be a relay's.
    let counted_as = if forgotten { one.idle } else { held };
    let share = limit.map(|l| fraction(u64::from(counted_as), l));
    let large = share.is_some_and(|s| s >= cx.limit(&HELD_SHARE));
    let full =
        process.is_some_and(|p| limit.is_some_and(|l| fraction(p.fds, l) >= cx.limit(&CRITICAL_DESCRIPTORS)));
    let many = f64::from(counted_as) >= cx.limit(&NORMAL);
    let severity = match (large && full && forgotten, large && many) {
        (true, _) => Severity::Critical,
        (false, true) => Severity::Warning,
        (false, false) => Severity::Info,
    };
    let of_limit = match (share, limit) {
        (Some(share), Some(l)) => {
            format!(" ({} of its limit of {})", percent(share), counted(l, "descriptor"))
        }
        _ => String::new(),
    };
    let source = read_from(table);
    let mut evidence =
        vec![Evidence::new(format!("FIN_WAIT2 sockets of {who}"), f64::from(held), "sockets", source)];
    if one.ages_known {
        let how = format!("{source} tcp_info last_data_recv");
        let what = "of those, nothing received for 60 s";
        evidence.push(Evidence::new(what, f64::from(one.idle), "sockets", how));
    }
    let limits_file = process.map_or(String::new(), |p| format!("/proc/{}/limits, soft limit", p.pid));
    if let Some(p) = process {
        evidence.push(Evidence::new(
            "open descriptors",
            p.fds as f64,
            "descriptors",
            format!("/proc/{}/fd", p.pid),
        ));
    }
    evidence.extend(limit.map(|l| Evidence::new("descriptor limit", l as f64, "descriptors", limits_file)));
    let [tuples, listeners, clients] = places(table, &[State::FinWait2], 2);
    let own = tuples.iter().chain(&listeners).filter(|p| p.owner == index).chain(&clients);
    evidence.extend(own.map(|p| p.evidence("FIN_WAIT2", source)));
    let sockets = format!("{} (FIN_WAIT2)", counted(u64::from(counted_as), "connection"));
    let (confidence, summary, double) = match (forgotten, one.ages_known) {
        (true, true) => (
            Confidence::High,
            format!(
                "{who} half-closed {sockets}, got nothing on them for 60 s or more and still holds them{of_limit}; \
                 they have no time-out"
            ),
            "A relay over which peers still send is not counted: there data came within the last minute.",
        ),
        (true, false) => (
            Confidence::Medium,
            format!("{who} half-closed {sockets} and still holds them{of_limit}; they have no time-out"),
            "A relay over which peers still send looks the same; it does not pile up.",
        ),
        (false, _) => (
            Confidence::Low,
            format!(
                "{who} half-closed {sockets} and still holds them{of_limit}, most for less than a minute"
            ),
            "These are young: a relay over which peers still send looks the same. Look again in a minute.",
        ),
    };
    cx.finding(severity, confidence, who.clone(), summary)
    .why(format!(
        "tcp_fin_timeout is for orphans. While a process holds the descriptor after shutdown(SHUT_WR), the kernel waits \
         for the peer's end for ever. {double}"
    ))
    .evidence(evidence)
    .remedies([Remedy::application(
        "Call close() when the answer is complete or a time-out has passed; shutdown(SHUT_WR) alone keeps the socket. \
         Read until the end (read() = 0) with a time-out of its own.",
    )])
    .remedies(cx.application_remedies(index, Symptom::DeadPeers).into_iter().take(1))
    .process(index)
}

fn orphan_finding(cx: &Context<'_>, table: &SocketTable, total: u64, held: u64) -> Finding {
    let source = read_from(table);
    let mini = table.fin_wait2_mini.min(total);
    let orphaned = total.saturating_sub(held);
    let found = places(table, &[State::FinWait2], 3);
    let most = mostly(&found);
    let timeout = cx.now().sysctl_int(TIMEOUT).ok().filter(|t| *t > 0);
    let lasts = match timeout.filter(|_| orphaned > 0) {
        Some(t @ 61..=119) => {
            format!("; with {TIMEOUT} = {t} the orphans end after about {} s, not {t} s", 2 * (t - 60))
        }
        Some(t) => format!("; the orphans end by themselves within {t} s"),
        None => String::new(),
    };
    let at = most.as_ref().map_or(String::new(), |(text, _)| format!(", {text}"));
    let mut evidence = vec![
        Evidence::new("FIN_WAIT2 sockets", total as f64, "sockets", source),
        Evidence::new("minisockets among them", mini as f64, "sockets", source),
        Evidence::new("held by processes", held as f64, "sockets", format!("{source}, /proc/*/fd")),
    ];
    evidence.extend(cx.setting(TIMEOUT));
    evidence.extend(found.iter().flatten().map(|p| p.evidence("FIN_WAIT2", source)));
    let mut remedies = vec![
        Remedy::application(
            "Look at the peers: where they run Linux, they hold these connections in CLOSE_WAIT, and `linger check` there \
             names the process that does not close.",
        ),
        Remedy::architecture(
            "Let the side that opens the connections close them first, after the last answer; then the server has no \
             FIN_WAIT2 to keep.",
        ),
    ];
    match timeout {
        Some(t @ 61..=119) => remedies.push(Remedy::kernel(
            Applicability::Safe,
            format!("{TIMEOUT}=60"),
            format!("{t} does not mean {t} s: values from 61 to 119 shorten the wait. 60 gives 60 s, 120 gives 120 s."),
        )),
        Some(t) if t > 30 => remedies.push(Remedy::kernel(
            Applicability::Safe,
            format!("{TIMEOUT}=30"),
            "Orphans then end sooner; a peer that still sends after that gets a RST. TIME_WAIT is not shortened by it.",
        )),
        _ => {}
    }
    cx.finding(
        Severity::Info,
        Confidence::High,
        format!("network namespace {}", cx.now().netns.label()),
        format!(
            "{} ({} orphaned) wait for a FIN that peers do not send{at}{lasts}",
            counted(total, "FIN_WAIT2 socket"),
            thousands(orphaned)
        ),
    )
    .why(
        "After close() the kernel alone waits for the peer's FIN, as a minisocket of 256 bytes where tcp_fin_timeout is \
         60 s or less. Their number is how many arise in a second times that time; nothing fails by it. The local port of \
         an outgoing one stays in use: TW001 tells whether ports run out.",
    )
    .evidence(evidence)
    .remedies(remedies)
    .process(most.and_then(|(_, owner)| owner))
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::{Confidence, RemedyKind, Severity};
    use linger_model::{Finding, SocketRecord, State};

    fn orphans(n: u16) -> Vec<SocketRecord> {
        expiring(many(n, State::FinWait2, "10.0.0.1", 33_000, "10.0.0.9", 443), 100, 59_000)
    }

    fn held(n: u16) -> Vec<SocketRecord> {
        quiet_for(n, 90_000)
    }

    /// Held ones that received nothing for so long.
    fn quiet_for(n: u16, ms: u32) -> Vec<SocketRecord> {
        let sockets = held_by(many(n, State::FinWait2, "10.0.0.1", 50_000, "10.0.0.7", 25), 0);
        with_info(sockets, |info| info.last_data_recv_ms = ms)
    }

    fn mailer(fds: u64, limit: u64) -> Moment {
        moment(1.0).process_with(5, "mailer", move |p| (p.fds, p.fd_limit) = (fds, Some(limit)))
    }

    fn fired(moment: Moment) -> Vec<Finding> {
        match run(&super::RULE, [moment]) {
            Outcome::Fired(findings) => findings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_on_sockets_that_a_process_holds() {
        golden!([mailer(900, 1024).sockets(held(600))]);
    }

    #[test]
    fn fires_on_orphans_as_information() {
        golden!([mailer(100, 1024).sockets(orphans(3000)).sockets(held(4))]);
    }

    #[test]
    fn is_clear_below_the_normal_range() {
        golden!([mailer(100, 1024).sockets(orphans(470)).sockets(held(20))]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = moment(1.0);
        last.no_sockets = true;
        golden!([last]);
    }

    #[test]
    fn severity_of_held_sockets_follows_the_descriptors() {
        assert_eq!(fired(mailer(300, 1024).sockets(held(150)))[0].severity, Severity::Info);
        assert_eq!(fired(mailer(900, 1024).sockets(held(600)))[0].severity, Severity::Warning);
        assert_eq!(fired(mailer(1000, 1024).sockets(held(600)))[0].severity, Severity::Critical);
        assert_eq!(fired(mailer(60_000, 500_000).sockets(held(2000)))[0].severity, Severity::Info);
    }

    #[test]
    fn a_relay_over_which_peers_still_send_is_no_leak() {
        let working = || many(600, State::Established, "10.0.0.1", 40_000, "10.0.0.7", 25);
        let relay = mailer(1000, 1024).sockets(quiet_for(400, 200)).sockets(held_by(working(), 0));
        assert!(matches!(run(&super::RULE, [relay]), Outcome::Clear(_)));
        // Where most of a process is like that it is told, with little confidence and never as critical.
        let young = |n| {
            let finding = fired(mailer(1000, 1024).sockets(quiet_for(n, 200))).remove(0);
            (finding.severity, finding.confidence)
        };
        assert_eq!(young(400), (Severity::Info, Confidence::Low));
        assert_eq!(young(600), (Severity::Warning, Confidence::Low));
        let leak = fired(mailer(1000, 1024).sockets(quiet_for(400, 60_000)).sockets(held_by(working(), 0)));
        assert_eq!((leak[0].severity, leak[0].confidence), (Severity::Critical, Confidence::High));
    }

    #[test]
    fn values_above_60_are_named_as_the_trap_that_they_are() {
        let full = many(600, State::FinWait2, "10.0.0.1", 33_000, "10.0.0.9", 443);
        let finding = &fired(mailer(10, 1024).sysctl("net.ipv4.tcp_fin_timeout", "65").sockets(full))[0];
        assert!(finding.summary.contains("after about 10 s, not 65 s"), "{}", finding.summary);
        let kernel = finding.remedies.iter().find(|r| r.kind == RemedyKind::Kernel).expect("a remedy");
        assert_eq!(kernel.sysctl.as_deref(), Some("net.ipv4.tcp_fin_timeout=60"));
    }
}
