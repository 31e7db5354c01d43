use super::ephemeral_port_exhaustion::{Pressed, Shortage, note_more, pressed};
use crate::ports::{Ports, ReusePolicy, by_trace, churner, made_by, percent, socket_source, tuple_label};
use crate::{Context, FindingExt, Outcome, counted, declare_rule, known};
use linger_facts::cookbook::Symptom;
use linger_model::SocketTable;
use linger_model::aggregate::Tuple;
use linger_model::record::endpoint;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::{Gap, GapKind};

declare_rule! {
    /// # What it detects
    /// `tcp_tw_reuse` is meant to help (1, or 2 on loopback) and the ports towards a destination run short all the same,
    /// because its connections carry no TCP timestamps. Without timestamps the kernel takes no TIME_WAIT port back.
    ///
    /// # Why it matters
    /// The setting looks right and does nothing. This happens when `tcp_timestamps` is 0 on either end, or when a load
    /// balancer or firewall on the path takes the option out of the handshake: after a balancer was put in between,
    /// TIME_WAIT piles up on clients whose settings nobody touched.
    ///
    /// # Evidence
    /// Only under port pressure (see TW001); without it, missing timestamps cost nothing and nothing is reported.
    /// `tcp_timestamps` here; the timestamps bit in tcp_info of the live connections towards the destination. Other peers
    /// tell where timestamps get lost: if others grant them, it is this peer or the path to it. A TIME_WAIT socket itself
    /// does not show whether it has timestamps, so without a live connection the answer is unknown.
    ///
    /// # Fix
    /// `tcp_timestamps` = 1 on both ends; let the balancer pass or offer timestamps. Until then count with 60 s for
    /// each port: keep connections alive, add destinations or source addresses. `tcp_tw_recycle` is no answer: it needs
    /// timestamps too, breaks clients behind NAT, and is gone since 4.12.
    ///
    /// # Fix safety
    /// `tcp_timestamps` = 1 is the default and safe; it holds for new connections.
    ///
    /// # Sources
    /// net/ipv4/tcp_ipv4.c tcp_twsk_unique() (tw_ts_recent_stamp must not be 0); include/uapi/linux/tcp.h
    /// TCPI_OPT_TIMESTAMPS. Measured on 6.18: reuse on, timestamps off, 2.1 s waited: connect() fails with EADDRNOTAVAIL.
    TW004, "time-wait-reuse-ineffective", Netns, Warning, []
}

/// Findings shown at most.
const SHOWN: usize = 5;

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(&cx.now().sockets);
    let ports = known!(Ports::read(cx.now()));
    let pressed = known!(pressed(cx, &ports));
    if ports.reuse_mode == 0 {
        return Outcome::Clear("reuse is not asked for: tcp_tw_reuse is 0".to_owned());
    }
    let under_pressure = |p: &&Pressed<'_>| p.shortage != Shortage::SlowHalf && p.ports.reuse.wanted();
    let wanted: Vec<&Pressed<'_>> = pressed.iter().filter(under_pressure).collect();
    if wanted.is_empty() {
        return Outcome::Clear("no destination that reuse applies to is short of ports".to_owned());
    }
    // Only TIME_WAIT can be reused: ports that live connections hold are no failure of reuse.
    let stuck: Vec<&&Pressed<'_>> = wanted
        .iter()
        .filter(|p| p.ports.reuse.stuck_share() > 0.0 && p.severity >= Severity::Warning && lost(p) > 0)
        .collect();
    if stuck.is_empty() {
        return match wanted.iter().find(|p| p.ports.reuse == ReusePolicy::Assumed) {
            Some(one) => Outcome::Unknown(Gap::new(
                format!("timestamps of the connections {}", one.direction()),
                GapKind::Partial,
                "no live connection carries a tcp_info at this moment, and TIME_WAIT sockets do not show timestamps",
                "take more samples (--samples)",
            )),
            None => Outcome::Clear(format!(
                "{} short of ports, and the live connections carry timestamps",
                counted(wanted.len() as u64, "destination")
            )),
        };
    }
    let mut findings: Vec<_> = stuck.iter().take(SHOWN).map(|p| finding(cx, table, p)).collect();
    note_more(&mut findings, stuck.len().saturating_sub(SHOWN), "tuples", socket_source(table));
    Outcome::Fired(findings)
}

/// TIME_WAIT sockets that reuse would take back if timestamps were there.
fn lost(p: &Pressed<'_>) -> u32 {
    p.stats.time_wait_aged().min(p.ports.used).saturating_sub(p.ports.reusable)
}

fn finding(cx: &Context<'_>, table: &SocketTable, p: &Pressed<'_>) -> linger_model::Finding {
    let here = p.ports.reuse == ReusePolicy::NoTimestampsHere;
    let owner = p.stats.owner;
    let others = Others::of(table, &p.tuple);
    let target = endpoint(p.tuple.dst, p.tuple.dport);
    let cause = if here {
        "tcp_timestamps is 0 in this namespace".to_owned()
    } else {
        format!(
            "connections to {target} carry no timestamps though this end offers them; {}",
            others.verdict(&p.tuple)
        )
    };
    let who = made_by(cx, table, &p.tuple, p.stats);
    let live = p.stats.path.timestamps + p.stats.path.no_timestamps;
    let source = socket_source(table);
    let mut evidence = vec![
        Evidence::new("TIME_WAIT ports that reuse does not take back", f64::from(lost(p)), "ports", source),
        Evidence::new(
            format!("local ports in use towards {target}"),
            f64::from(p.ports.used),
            "ports",
            source,
        ),
        Evidence::new("share of the ports available", p.ports.used_fraction(), "fraction", source),
    ];
    if live > 0 {
        let without = f64::from(p.stats.path.no_timestamps);
        evidence.push(Evidence::new(
            "live connections without timestamps",
            without,
            "connections",
            "tcp_info",
        ));
        evidence.push(Evidence::new("live connections in all", f64::from(live), "connections", "tcp_info"));
    }
    if !here {
        evidence.push(Evidence::new(
            "other peers that grant timestamps",
            f64::from(others.granting),
            "peers",
            "tcp_info",
        ));
        evidence.push(Evidence::new(
            "other peers that do not",
            f64::from(others.refusing),
            "peers",
            "tcp_info",
        ));
    }
    let remedies = if here {
        vec![Remedy::kernel(
            Applicability::Safe,
            "net.ipv4.tcp_timestamps=1",
            "Turn timestamps on again (the default); new connections then leave TIME_WAIT sockets that can be reused.",
        )]
    } else {
        vec![Remedy::architecture(format!(
            "Turn timestamps on at {target} (tcp_timestamps = 1), or let the load balancer or firewall on the way pass the \
             TCP timestamps option. A capture of the handshake shows it: the SYN has the option, the SYN-ACK has not."
        ))]
    };
    cx.finding(
        // The cause of what TW001 reports; what fails is said there.
        p.severity.min(Severity::Warning),
        if here { Confidence::High } else { Confidence::Medium },
        tuple_label(&p.tuple),
        format!(
            "tcp_tw_reuse cannot take back {} in TIME_WAIT {} ({} in use): {cause}{who}",
            counted(lost(p).into(), "local port"),
            p.direction(),
            percent(p.ports.used_fraction())
        ),
    )
    .why(
        "connect() takes over a TIME_WAIT socket only if that connection carried timestamps: they tell old segments from new \
         ones. tcp_tw_reuse without them has no effect, and every port waits its 60 s.",
    )
    .evidence(evidence)
    .evidence(by_trace(table, &p.tuple, p.stats))
    .evidence(cx.setting("net.ipv4.tcp_tw_reuse"))
    .evidence(cx.setting("net.ipv4.tcp_timestamps"))
    .remedies(cx.client_remedies(churner(table, &p.tuple, p.stats), Symptom::ShortConnections, p.tuple.dport, 1, |_| true))
    .remedies(remedies)
    .process(owner)
}

/// What the connections of other peers show.
#[derive(Debug, Clone, Copy, Default)]
struct Others {
    /// Peers whose connections carry timestamps.
    granting: u32,
    /// Peers whose connections do not.
    refusing: u32,
    /// Whether another port of the same address grants them.
    same_address: bool,
    /// Whether another address with the same port grants them.
    same_port: bool,
}

impl Others {
    fn of(table: &SocketTable, tuple: &Tuple) -> Others {
        let mut others = Others::default();
        let outgoing = table.tuples.iter().filter(|g| (g.key.dst, g.key.dport) != (tuple.dst, tuple.dport));
        for group in outgoing {
            let (path, key) = (&group.value.path, &group.key);
            others.granting += u32::from(path.timestamps > 0);
            others.refusing += u32::from(path.timestamps == 0 && path.no_timestamps > 0);
            others.same_address |= path.timestamps > 0 && key.dst == tuple.dst;
            others.same_port |= path.timestamps > 0 && key.dport == tuple.dport && key.dst != tuple.dst;
        }
        for client in table.clients.iter().filter(|c| c.key != tuple.dst) {
            let path = &client.value.path;
            others.granting += u32::from(path.timestamps > 0);
            others.refusing += u32::from(path.timestamps == 0 && path.no_timestamps > 0);
        }
        others
    }

    /// Where timestamps get lost, as far as other peers tell.
    fn verdict(&self, tuple: &Tuple) -> &'static str {
        if tuple.is_loopback() {
            "both ends are on this host, so tcp_timestamps was probably off when they were made"
        } else if self.same_address {
            "another port of that address grants them, so something in front of this port takes them out"
        } else if self.same_port {
            "other servers with the same port grant them, so it is this peer or the path to it"
        } else if self.granting > 0 {
            "other peers grant them, so it is this peer or the path to it"
        } else if self.refusing > 0 {
            "no other peer grants them either, so it may be a device that all paths share"
        } else {
            "there is no other peer to compare with, so the peer and the path cannot be told apart"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::{SocketRecord, State};

    fn to_peer(n: u16, state: State, first_port: u16) -> Vec<SocketRecord> {
        many(n, state, "10.0.0.1", first_port, "10.0.0.2", 443)
    }

    fn small() -> Moment {
        moment(1.0)
            .sysctl("net.ipv4.ip_local_port_range", "40000 40999")
            .sysctl("net.ipv4.tcp_tw_reuse", "1")
            .process(77, "gateway")
    }

    /// 960 of 1,000 ports in TIME_WAIT and ten live connections.
    fn loaded(options: u8) -> Moment {
        small()
            .sockets(expiring(to_peer(960, State::TimeWait, 40_000), 0, 59_000))
            .sockets(held_by(with_info(to_peer(10, State::Established, 40_980), |i| i.options = options), 0))
    }

    fn other_peer(dst: &str, port: u16) -> Vec<SocketRecord> {
        with_info(many(1, State::Established, "10.0.0.1", 40_001, dst, port), |_| ())
    }

    fn first(outcome: Outcome) -> linger_model::Finding {
        match outcome {
            Outcome::Fired(mut findings) => findings.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_when_the_path_grants_no_timestamps() {
        golden!([loaded(0).sockets(other_peer("10.0.0.3", 443))]);
    }

    #[test]
    fn fires_when_timestamps_are_off_here() {
        golden!([loaded(0).sysctl("net.ipv4.tcp_timestamps", "0")]);
    }

    #[test]
    fn is_clear_when_reuse_works() {
        golden!([loaded(1)]);
    }

    #[test]
    fn is_unknown_without_a_live_connection() {
        golden!([small().sockets(expiring(to_peer(960, State::TimeWait, 40_000), 0, 59_000))]);
    }

    #[test]
    fn never_fires_without_pressure() {
        let idle = small()
            .sockets(expiring(to_peer(100, State::TimeWait, 40_000), 0, 59_000))
            .sockets(with_info(to_peer(10, State::Established, 40_980), |i| i.options = 0));
        assert!(matches!(run(&RULE, [idle]), Outcome::Clear(_)));
        // Pressure, but from live connections: reuse would not help.
        let held = small().sockets(with_info(to_peer(990, State::Established, 40_000), |i| i.options = 0));
        assert!(matches!(run(&RULE, [held]), Outcome::Clear(_)));
    }

    #[test]
    fn does_not_fire_where_reuse_is_not_asked_for() {
        for mode in ["0", "2"] {
            assert!(
                matches!(run(&RULE, [loaded(0).sysctl("net.ipv4.tcp_tw_reuse", mode)]), Outcome::Clear(_)),
                "{mode}"
            );
        }
    }

    #[test]
    fn other_peers_tell_where_timestamps_are_lost() {
        let says = |others: Vec<SocketRecord>, what: &str| {
            let summary = first(run(&RULE, [loaded(0).sockets(others)])).summary;
            assert!(summary.contains(what), "{summary}");
        };
        says(other_peer("10.0.0.2", 8443), "another port of that address");
        says(other_peer("10.0.0.9", 22), "other peers grant them");
        says(Vec::new(), "no other peer to compare with");
        says(with_info(other_peer("10.0.0.9", 22), |i| i.options = 0), "all paths share");
    }

    #[test]
    fn is_a_warning_at_most() {
        assert_eq!(first(run(&RULE, [loaded(0)])).severity, Severity::Warning);
    }
}
