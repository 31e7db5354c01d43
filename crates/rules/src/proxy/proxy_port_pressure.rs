use crate::ports::{Ports, likely_churner, percent, socket_source, tuple_label};
use crate::time_wait::ephemeral_port_exhaustion::{Pressed, RULE as TW001, note_more, pressed};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::{HolderStats, ProcessIndex};
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{Addr, SocketTable, State};
use std::collections::{BTreeMap, BTreeSet};

static MIN_ACCEPTED: Threshold = Threshold {
    key: "min_accepted",
    default: 10.0,
    unit: "connections",
    doc: "Connections that a process must have accepted to count as a proxy, TIME_WAIT on its listeners included.",
};

declare_rule! {
    /// # What it detects
    /// A process that accepts connections and makes connections of its own (a proxy, a balancer, a gateway) runs out of
    /// local ports towards too few backends.
    ///
    /// # Why it matters
    /// All clients of the proxy share one port range per backend address: 28,232 ports by default, about 470 short
    /// connections a second. Then connect() fails with EADDRNOTAVAIL, clients get 502 or 503, and every backend looks
    /// healthy. Articles say that both the client and the server side of a proxy use up ports. That is wrong: an accepted
    /// connection has the listening port as its local port and costs none. Only the side towards the backends counts.
    ///
    /// # Evidence
    /// Destinations that are short of ports (judged as in TW001, with its thresholds) whose live connections belong to a
    /// process that also holds accepted connections; how many backends it has. TIME_WAIT has no owner, so the process
    /// is known from live connections only; where those are many, it keeps them, and something else may make the
    /// TIME_WAIT. What TW001 would say of the same destinations is left out beside this finding.
    ///
    /// # Fix
    /// Application: keep connections to the backends alive (for nginx: `keepalive` in the upstream, HTTP/1.1 and an empty
    /// Connection header). Architecture: more backend addresses or ports, more source addresses, a Unix socket for a
    /// backend on the same host. Kernel: `tcp_tw_reuse`, then the range, as in TW001.
    ///
    /// # Fix safety
    /// Keep-alive and more backends change nothing for what runs now. The kernel's settings are as safe as TW001 says.
    ///
    /// # Sources
    /// net/ipv4/inet_hashtables.c __inet_hash_connect() (a port per source, destination and destination port);
    /// net/ipv4/inet_connection_sock.c inet_csk_accept() (takes no port). Measured on 6.18: a range of 4 ports carries 4
    /// connections to each of two destinations.
    PX001, "proxy-port-pressure", Netns, Critical, [MIN_ACCEPTED]
}

/// Findings shown at most.
const SHOWN: usize = 5;

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(&cx.now().sockets);
    let ports = known!(Ports::read(cx.now()));
    let pressed = known!(pressed(cx, &ports));
    let short: Vec<&Pressed<'_>> = pressed.iter().filter(|p| p.severity >= Severity::Warning).collect();
    let proxies: BTreeMap<ProcessIndex, (&HolderStats, u64)> = table
        .holders
        .iter()
        .filter_map(|(process, held)| Some(((*process)?, (held, accepted_by(table, *process, held)))))
        .filter(|(_, (held, accepted))| held.outgoing > 0 && *accepted as f64 >= cx.limit(&MIN_ACCEPTED))
        .collect();
    if short.is_empty() {
        return Outcome::Clear(match proxies.len() as u64 {
            0 => "no process both accepts and connects, and no destination is short of ports".to_owned(),
            1 => "one process accepts and connects, and no destination is short of ports".to_owned(),
            n => format!("{n} processes accept and connect, and no destination is short of ports"),
        });
    }
    known!(cx.processes());
    let mut of: BTreeMap<ProcessIndex, Vec<&Pressed<'_>>> = BTreeMap::new();
    for one in &short {
        if let Some(owner) = one.stats.owner.filter(|owner| proxies.contains_key(owner)) {
            of.entry(owner).or_default().push(one);
        }
    }
    if of.is_empty() {
        return match short.iter().find(|p| p.stats.owner.is_none()) {
            Some(one) => Outcome::Unknown(Gap::new(
                format!("the process that connects {}", one.direction()),
                GapKind::Partial,
                "no live connection with a known process, and TIME_WAIT sockets have no owner",
                if known!(cx.processes()).denied > 0 {
                    "run as root, or look again while a connection is live"
                } else {
                    "look again while a connection is live"
                },
            )),
            None => Outcome::Clear(
                "ports are short, but of a process that accepts hardly any connections (TW001)".to_owned(),
            ),
        };
    }
    // `short` is worst first, so each process's list is too.
    let mut order: Vec<(ProcessIndex, Vec<&Pressed<'_>>)> = of.into_iter().collect();
    order.sort_by(|a, b| {
        let key = |list: &[&Pressed<'_>]| list.first().map(|p| (p.severity, p.ports.used));
        key(&b.1).cmp(&key(&a.1)).then(a.0.cmp(&b.0))
    });
    let source = socket_source(table);
    let mut findings = Vec::new();
    for (process, list) in order.iter().take(SHOWN) {
        let (Some(worst), Some((held, accepted))) = (list.first(), proxies.get(process)) else { continue };
        let backends: BTreeSet<(Addr, u16)> = table
            .tuples
            .iter()
            .filter(|g| g.value.owner == Some(*process) && g.value.in_range() > 0)
            .map(|g| (g.key.dst, g.key.dport))
            .collect();
        let label = cx.process_label(Some(*process));
        let further = match list.len() - 1 {
            0 => String::new(),
            n => format!(" (and {} more likewise)", counted(n as u64, "destination")),
        };
        findings.push(
            cx.finding(
                worst.severity,
                // That the live connections are its own does not say that those in TIME_WAIT were.
                if worst.mostly_live() || likely_churner(worst.stats).is_some() {
                    worst.confidence
                } else {
                    worst.confidence.min(Confidence::Medium)
                },
                label.clone(),
                format!(
                    "{label} accepts and connects, and the local ports towards its {} run out{further}: {}",
                    match backends.len() {
                        1 => "backend".to_owned(),
                        n => counted(n as u64, "backend"),
                    },
                    worst.clause()
                ),
            )
            .why(
                "Each connection towards a backend needs a local port of its own per backend address and port. The accepted \
                 connections cost none: their local port is the listening one.",
            )
            .evidence([
                Evidence::new(format!("connections accepted by {label}"), *accepted as f64, "connections", source),
                Evidence::new("live connections made by it", f64::from(held.outgoing), "connections", source),
                Evidence::new("its backends", backends.len() as f64, "destinations", source),
            ])
            .evidence(worst.evidence(cx))
            .evidence(list.iter().skip(1).take(3).map(|p| {
                Evidence::new(
                    format!("local ports in use towards {} ({})", endpoint(p.tuple.dst, p.tuple.dport), percent(p.ports.used_fraction())),
                    f64::from(p.ports.used),
                    "ports",
                    source,
                )
            }))
            .remedies(worst.remedies(&ports, application(cx, *process, worst)))
            .covers(TW001.code, list.iter().map(|p| tuple_label(&p.tuple)))
            .process(Some(*process)),
        );
    }
    note_more(&mut findings, order.len().saturating_sub(SHOWN), "processes", source);
    Outcome::Fired(findings)
}

/// Keep-alive towards the backends first, then what else gives a proxy ports.
fn application(cx: &Context<'_>, process: ProcessIndex, worst: &Pressed<'_>) -> Vec<Remedy> {
    let keep_alive = cx.application_remedies(likely_churner(worst.stats), Symptom::ShortConnections);
    let keep_alive = worst.application(Some(cx.process_label(Some(process))), keep_alive);
    let ports = cx.application_remedies(Some(process), Symptom::ProxyPorts);
    keep_alive.into_iter().take(2).chain(ports.into_iter().take(1)).collect()
}

/// What a process accepted: live connections, and what its listeners have in TIME_WAIT.
fn accepted_by(table: &SocketTable, process: Option<ProcessIndex>, held: &HolderStats) -> u64 {
    let listeners = table.listeners.iter().filter(|l| l.sockets.iter().any(|s| s.owner == process));
    let ended: u64 = listeners.map(|l| u64::from(l.states[State::TimeWait as usize])).sum();
    u64::from(held.accepted) + ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::SocketRecord;

    /// haproxy with a listener and `n` accepted connections.
    fn proxy(n: u16) -> Moment {
        let accepted: Vec<_> = (0..n)
            .map(|i| SocketRecord::new(State::Established, ip("10.0.0.1"), 443, ip("192.0.2.7"), 20_000 + i))
            .collect();
        moment(1.0)
            .process(900, "haproxy")
            .socket(listener("0.0.0.0", 443, 0, 4096, 0))
            .sockets(held_by(accepted, 0))
    }

    fn to_backend(time_wait: u16, live: u16) -> Vec<SocketRecord> {
        let mut sockets =
            expiring(many(time_wait, State::TimeWait, "10.0.0.1", 32_768, "10.0.1.5", 8080), 0, 60_000);
        let live = many(live, State::Established, "10.0.0.1", 60_800, "10.0.1.5", 8080);
        sockets.extend(held_by(with_info(live, |_| ()), 0));
        sockets
    }

    #[test]
    fn fires_when_a_proxy_runs_out_of_ports_towards_its_backend() {
        golden!([proxy(300).sockets(to_backend(27_800, 150))]);
    }

    #[test]
    fn is_clear_with_keep_alive_towards_the_backend() {
        golden!([proxy(300).sockets(to_backend(0, 150))]);
    }

    #[test]
    fn is_unknown_when_nothing_live_names_the_process() {
        golden!([proxy(300).sockets(to_backend(28_000, 0))]);
    }

    #[test]
    fn is_clear_for_a_client_that_accepts_nothing() {
        let client = moment(1.0).process(7, "crawler").sockets(to_backend(27_800, 150));
        assert!(matches!(run(&RULE, [client]), Outcome::Clear(_)));
        // A metrics port does not make a proxy.
        assert!(matches!(run(&RULE, [proxy(1).sockets(to_backend(27_800, 150))]), Outcome::Clear(_)));
    }

    #[test]
    fn is_clear_when_reuse_takes_the_ports_back() {
        let reused = proxy(300).sockets(to_backend(27_800, 150)).sysctl("net.ipv4.tcp_tw_reuse", "1");
        assert!(matches!(run(&RULE, [reused]), Outcome::Clear(_)));
    }

    #[test]
    fn severity_follows_the_ports() {
        let severity = |n| match run(&RULE, [proxy(300).sockets(to_backend(n, 150))]) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            _ => None,
        };
        assert_eq!(severity(27_800), Some(Severity::Critical));
        assert_eq!(severity(23_000), Some(Severity::Warning));
        assert_eq!(severity(5_000), None);
    }

    #[test]
    fn is_unknown_without_processes() {
        let blind = proxy(300).sockets(to_backend(27_800, 150)).change_host(|host| {
            host.processes = Err(Gap::new("processes", GapKind::Denied, "hidepid", "run as root"));
        });
        assert!(matches!(run(&RULE, [blind]), Outcome::Unknown(_)));
    }
}
