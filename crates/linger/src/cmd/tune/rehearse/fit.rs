//! Which scenario of the lab shows what a step of a plan is for, and which values stand there for the plan's.

use crate::cmd::lab::load::needs;
use linger_facts::tunable;
use linger_lab::scenario::Scenario;
use linger_rules::counted;
use linger_tune::Plan;
use linger_tune::plan::{Change, ChangeScope};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A host of a scenario in which a step can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The scenario's name.
    pub scenario: String,
    /// The host.
    pub host: String,
    /// Whether the scenario expects the step's finding there.
    pub shows_finding: bool,
}

/// A setting's values in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// What stands for the value before the step.
    pub from: String,
    /// What stands for the value after it.
    pub to: String,
    /// How they are scaled, for a person; empty where they are the plan's own.
    pub scaled: String,
}

/// The place that fits a step best; else why there is none.
pub fn fitting(plan: &Plan, change: &Change, library: &[Scenario]) -> Result<Place, String> {
    if change.scope == ChangeScope::Host {
        let of_lab = "a lab sets only what every network namespace has for itself";
        return Err(format!("It is the whole host's; {of_lab}."));
    }
    let healthy = |it: &&Scenario| it.twin_of.is_none();
    let by_code: Vec<(&Scenario, &str)> = library
        .iter()
        .filter(healthy)
        .flat_map(|it| it.expect.findings.iter().map(move |(host, codes)| (it, host, codes)))
        .filter(|(_, _, codes)| codes.contains(&change.code))
        .map(|(it, host, _)| (it, host.as_str()))
        .collect();
    let shows_finding = !by_code.is_empty();
    let places: Vec<(&Scenario, &str)> = if shows_finding {
        by_code
    } else {
        let hosts = library.iter().filter(healthy).flat_map(|it| it.hosts.iter().map(move |host| (it, host)));
        let sets = hosts.filter(|(_, (_, spec))| spec.sysctl.contains_key(&change.key));
        sets.map(|(it, (host, _))| (it, host.as_str())).collect()
    };
    // What a phase sets itself cannot be planned.
    let is_free = |(it, host): &(&Scenario, &str)| {
        it.phases.iter().all(|phase| phase.sysctl.get(*host).is_none_or(|of| !of.contains_key(&change.key)))
    };
    let (usable, of_machine): (Vec<_>, Vec<_>) =
        places.into_iter().filter(is_free).partition(|(it, _)| it.machine.is_empty());
    if let ([], Some((it, _))) = (usable.as_slice(), of_machine.first()) {
        return Err(format!(
            "Only {} shows it, and that changes settings of the whole machine: `linger lab run {} --in-disposable-vm` \
             in a virtual machine that is thrown away.",
            it.name, it.name
        ));
    }
    let missing = |it: &Scenario| needs(it).into_iter().find(|it| !it.is_installed);
    let (usable, lacking): (Vec<_>, Vec<_>) = usable.into_iter().partition(|(it, _)| missing(it).is_none());
    let lacks = lacking.first().and_then(|(it, _)| missing(it).map(|need| (it, need)));
    let best = usable.into_iter().min_by_key(|(it, host)| Reverse(score(plan, change, it, host)));
    match (best, lacks) {
        (Some((it, host)), _) => {
            Ok(Place { scenario: it.name.clone(), host: host.to_owned(), shows_finding })
        }
        (None, Some((it, need))) => Err(format!(
            "{} would show it, and needs {}, which is not installed; on Debian, install the package {}.",
            it.name, need.program, need.package
        )),
        (None, None) => {
            let code = crate::render::clean(&change.code.chars().take(20).collect::<String>());
            Err(format!("No scenario of the lab shows {code} or sets {}.", change.key))
        }
    }
}

/// How well a scenario fits; of equal ones, the library's first is taken.
fn score(plan: &Plan, change: &Change, scenario: &Scenario, host: &str) -> (i64, i64) {
    let of = |change: &Change| match own(scenario, host, &change.key) {
        Some(value) if value == change.from => 2,
        Some(_) if is_quantity(&change.key) => 1,
        // It shows the fault although the step is made there already.
        Some(value) if value == change.to => -1,
        _ => 0,
    };
    // The steps of one finding belong together.
    let together = |it: &&Change| it.key == change.key || !change.code.is_empty() && it.code == change.code;
    let sets = plan.changes.iter().filter(together).map(of).sum();
    // What else was found there, and what else the scenario shows.
    let found: BTreeSet<&str> = plan
        .advice
        .iter()
        .map(|it| &it.code)
        .chain(plan.left_alone.iter().map(|it| &it.code))
        .chain(plan.changes.iter().map(|it| &it.code))
        .map(String::as_str)
        .collect();
    let shown: BTreeSet<&str> = scenario.expect.findings.values().flatten().map(String::as_str).collect();
    let alike = shown.iter().map(|code| if found.contains(code) { 1 } else { -1 }).sum();
    (sets, alike)
}

/// What a scenario sets in a host by itself.
fn own<'a>(scenario: &'a Scenario, host: &str, key: &str) -> Option<&'a str> {
    let spec = &scenario.hosts.iter().find(|(name, _)| name == host)?.1;
    spec.sysctl.get(key).map(String::as_str)
}

/// Whether a setting's value is a number of something, not a switch or a choice.
fn is_quantity(key: &str) -> bool {
    tunable(key).is_some_and(|it| !matches!(it.sysctl().unit, "bool" | "mode"))
}

/// The values that stand for a step's: scenarios are scaled down, so that a quantity that one sets itself is changed by
/// as many times as the plan changes the host's. A mode is set as it is.
pub fn values(scenario: &Scenario, host: &str, change: &Change) -> Result<Values, String> {
    let plain = || Values { from: change.from.clone(), to: change.to.clone(), scaled: String::new() };
    let Some(own) = own(scenario, host, &change.key).filter(|_| is_quantity(&change.key)) else {
        return Ok(plain());
    };
    if own == change.from {
        return Ok(plain());
    }
    let is_ports = change.key == "net.ipv4.ip_local_port_range";
    let to = if is_ports { ports(own, change) } else { numbers(own, change) };
    let to = to.ok_or_else(|| {
        format!(
            "{} has {own} where the host has {}: {} cannot be scaled to that.",
            scenario.name, change.from, change.to
        )
    })?;
    if to == own {
        return Err(format!(
            "The difference is lost in {}, which has {own} for {}.",
            scenario.name, change.from
        ));
    }
    let many = |range: &str| counted(count(range).unwrap_or(0), "port");
    let scaled = if is_ports {
        format!(
            "scaled: {} for the {} here, {} for the {} planned",
            many(own),
            many(&change.from),
            many(&to),
            many(&change.to)
        )
    } else {
        format!("scaled: {own} for the {} here, {to} for the {} planned", change.from, change.to)
    };
    Ok(Values { from: own.to_owned(), to, scaled })
}

/// How many ports a range has.
fn count(range: &str) -> Option<u64> {
    let numbers: Vec<u64> = range.split_whitespace().map(|it| it.parse().ok()).collect::<Option<_>>()?;
    let [low, high] = numbers[..] else { return None };
    (high.checked_sub(low)? + 1).into()
}

/// As many times more ports, from the same lowest one on where that leaves room.
fn ports(own: &str, change: &Change) -> Option<String> {
    const LAST: u64 = 65_535;
    let (here, before, after) = (count(own)?, count(&change.from)?, count(&change.to)?);
    let wanted = ((here as f64 * after as f64 / before as f64).round() as u64).max(1);
    let low: u64 = own.split_whitespace().next()?.parse().ok()?;
    let low = low.min((LAST + 1).checked_sub(wanted)?);
    (low >= 1024).then(|| format!("{low} {}", low + wanted - 1))
}

/// Each number as many times larger.
fn numbers(own: &str, change: &Change) -> Option<String> {
    let parse = |text: &str| -> Option<Vec<f64>> {
        text.split_whitespace().map(|it| it.parse().ok().filter(|it: &f64| it.is_finite())).collect()
    };
    let (own, from, to) = (parse(own)?, parse(&change.from)?, parse(&change.to)?);
    if own.len() != from.len() || own.len() != to.len() || from.contains(&0.0) {
        return None;
    }
    let scaled = own.iter().zip(&from).zip(&to).map(|((own, from), to)| (own * to / from).round().max(1.0));
    Some(scaled.map(|it| format!("{it:.0}")).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::tune::rehearse::tests::{change, plan};
    use linger_lab::scenario::library;
    use linger_tune::plan::Advice;

    const REUSE: &str = "net.ipv4.tcp_tw_reuse";
    const RANGE: &str = "net.ipv4.ip_local_port_range";

    fn fit(code: &str, key: &str, from: &str, to: &str, also: &[&str]) -> String {
        let mut plan = plan(vec![change(code, key, from, to)]);
        let advice = |code: &&str| Advice {
            kind: linger_model::report::RemedyKind::Application,
            code: (*code).into(),
            subject: String::new(),
            text: String::new(),
        };
        plan.advice = also.iter().map(advice).collect();
        match fitting(&plan, &plan.changes[0], &library().unwrap()) {
            Ok(place) => format!("{} {}", place.scenario, place.host),
            Err(why) => why,
        }
    }

    #[test]
    fn each_finding_has_the_scenario_that_expects_it() {
        assert_eq!(fit("TW001", REUSE, "2", "1", &["TW003"]), "short-connections client");
        assert_eq!(
            fit("TW001", RANGE, "40000 40999", "32768 60999", &["TW003", "TW004"]),
            "stripped-timestamps client"
        );
        assert_eq!(
            fit("TW002", "net.ipv4.tcp_max_tw_buckets", "100", "262144", &[]),
            "bucket-overflow client"
        );
        assert_eq!(
            fit("SR001", "net.ipv4.tcp_syncookies", "0", "1", &["SS001"]),
            "syn-flood-no-cookies server"
        );
        assert_eq!(
            fit("SR002", "net.ipv4.tcp_syncookies", "0", "1", &[]),
            "request-queue-full-no-cookies server"
        );
        assert_eq!(fit("LQ001", "net.core.somaxconn", "8", "4096", &[]), "slow-accept-capped server");
        assert_eq!(fit("SS001", "net.ipv4.tcp_syn_retries", "6", "3", &[]), "unanswered client");
        assert_eq!(fit("FW001", "net.ipv4.tcp_fin_timeout", "60", "30", &[]), "silent-peer client");
        assert_eq!(fit("KA001", "net.ipv4.tcp_keepalive_time", "7200", "600", &[]), "vanished-peer server");
        // By the setting, where no scenario shows the finding.
        assert_eq!(fit("", "net.ipv4.tcp_keepalive_time", "7200", "600", &[]), "vanished-peer server");
    }

    #[test]
    fn the_steps_of_a_finding_are_tried_in_one_place() {
        let plan = plan(vec![
            change("SR001", "net.ipv4.tcp_syncookies", "0", "1"),
            change("SR001", "net.ipv4.tcp_synack_retries", "5", "2"),
        ]);
        for step in &plan.changes {
            let place = fitting(&plan, step, &library().unwrap()).unwrap();
            assert_eq!(place.scenario, "syn-flood-no-cookies");
        }
    }

    #[test]
    fn what_has_no_place_says_why() {
        let timeout = "net.netfilter.nf_conntrack_tcp_timeout_established";
        assert!(fit("CT001", timeout, "432000", "86400", &[]).contains("conntrack-full --in-disposable-vm"));
        let backlog = fit("NQ001", "net.core.netdev_max_backlog", "1000", "4000", &[]);
        assert!(backlog.contains("the whole host's"), "{backlog}");
        let none = fit("XX\u{1b}[31m", "net.ipv4.tcp_wmem", "1 2 3", "4096 16384 4194304", &[]);
        assert!(none.contains("No scenario") && !none.contains('\u{1b}'), "{none}");
    }

    #[test]
    fn quantities_are_scaled_and_modes_are_not() {
        let all = library().unwrap();
        let of = |name: &str, host: &str, key: &str, from: &str, to: &str| {
            let scenario = all.iter().find(|it| it.name == name).unwrap();
            values(scenario, host, &change("TW001", key, from, to)).map(|it| (it.from, it.to, it.scaled))
        };
        let same = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned(), String::new()));
        assert_eq!(of("short-connections", "client", REUSE, "2", "1"), same("2", "1"));
        assert_eq!(of("gateway", "gateway", REUSE, "2", "1"), same("2", "1"));
        let own = ("40000 40999", "32768 60999");
        assert_eq!(of("short-connections", "client", RANGE, own.0, own.1), same(own.0, own.1));
        let (from, to, scaled) =
            of("short-connections", "client", RANGE, "32768 60999", "15000 64999").unwrap();
        assert_eq!((from.as_str(), to.as_str()), ("40000 40999", "40000 41770"));
        assert_eq!(
            scaled,
            "scaled: 1,000 ports for the 28,232 ports here, 1,771 ports for the 50,000 ports planned"
        );
        let buckets = "net.ipv4.tcp_max_tw_buckets";
        let (from, to, _) = of("bucket-overflow", "client", buckets, "131072", "262144").unwrap();
        assert_eq!((from.as_str(), to.as_str()), ("100", "200"));
        let timeout = "net.ipv4.tcp_fin_timeout";
        assert!(of("silent-peer", "client", timeout, "60", "50").unwrap_err().contains("lost"));
        assert!(of("silent-peer", "client", timeout, "0", "50").unwrap_err().contains("cannot be scaled"));
        assert!(of("short-connections", "client", RANGE, "9 8", "1024 65535").is_err());
        // Nothing of its own there.
        assert_eq!(of("unanswered", "client", "net.ipv4.tcp_syn_retries", "6", "3"), same("6", "3"));
    }
}
