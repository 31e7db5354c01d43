//! From a report to a plan.

use linger_facts::{Tunable, Version, tunable};
use linger_model::Report;
use linger_model::report::{Applicability, Finding, Remedy, RemedyKind, Severity};

use crate::effects::expected;
use crate::journal::now;
use crate::plan::{
    Advice, Change, ChangeScope, LeftAlone, MOST_CHANGES, PLAN_SCHEMA, Plan, PlanNetns, Right, Risk,
    RiskLevel,
};
use crate::role::Role;

/// Reads the present value of a setting; `None` where there is none.
pub type Present<'a> = &'a dyn Fn(&Tunable) -> Option<String>;

const REUSE: &str = "net.ipv4.tcp_tw_reuse";
const TIMESTAMPS: &str = "net.ipv4.tcp_timestamps";
/// Reuse is wanted, and connections carry no timestamps.
const NO_TIMESTAMPS: &str = "TW004";

/// Makes the plan that a report calls for; `is_host` says whether settings of the whole host may be changed there.
#[must_use]
pub fn plan(report: &Report, role: Option<Role>, present: Present<'_>, is_host: bool) -> Plan {
    let version = Version::parse(&report.kernel).unwrap_or(Version::NEWEST);
    let mut plan = Plan {
        schema: PLAN_SCHEMA,
        kernel: report.kernel.clone(),
        netns: PlanNetns { inode: report.netns.inode, name: report.netns.name.clone() },
        made_at: now(),
        role: role.map(|it| it.name().to_owned()),
        advice: Vec::new(),
        changes: Vec::new(),
        right: Vec::new(),
        left_alone: Vec::new(),
    };
    for finding in &report.findings {
        for remedy in &finding.remedies {
            match &remedy.sysctl {
                Some(sysctl) => {
                    match sysctl_change(report, finding, remedy, sysctl, version, present, is_host) {
                        Ok(change) => add(&mut plan, change),
                        Err(Not::Right(right)) => {
                            if plan.right.iter().all(|it| it.key != right.key) {
                                plan.right.push(right);
                            }
                        }
                        Err(Not::Alone(why)) => leave(&mut plan, sysctl, &finding.code, why),
                    }
                }
                None => advise(&mut plan, remedy.kind, &finding.code, &finding.subject, &remedy.text),
            }
        }
    }
    if let Some(role) = role {
        for (kind, text) in role.advice() {
            advise(&mut plan, *kind, "", role.name(), text);
        }
        for matter in role.matters() {
            let is_spoken_of = plan.changes.iter().any(|it| it.key == matter.key)
                || plan.right.iter().any(|it| it.key == matter.key);
            let Some(value) = tunable(matter.key).and_then(present).filter(|_| !is_spoken_of) else {
                continue;
            };
            if matter.good.is_met(&value) {
                plan.right.push(Right { key: matter.key.into(), value, why: matter.why.into() });
            } else {
                let why = "not what this role is usually run with, and nothing that was found calls for a change; \
                           `linger lint` says more";
                leave(&mut plan, &format!("{}={value}", matter.key), "", why.into());
            }
        }
    }
    // The application, then the architecture; the findings' before the role's.
    plan.advice.sort_by_key(|it| it.kind);
    plan
}

fn advise(plan: &mut Plan, kind: RemedyKind, code: &str, subject: &str, text: &str) {
    if plan.advice.iter().all(|it| it.text != text) {
        plan.advice.push(Advice { kind, code: code.into(), subject: subject.into(), text: text.into() });
    }
}

fn leave(plan: &mut Plan, sysctl: &str, code: &str, why: String) {
    if plan.left_alone.iter().all(|it| it.sysctl != sysctl) {
        plan.left_alone.push(LeftAlone { sysctl: sysctl.into(), code: code.into(), why });
    }
}

/// Adds a change, unless it contradicts one that a worse finding calls for.
fn add(plan: &mut Plan, change: Change) {
    let sysctl = format!("{}={}", change.key, change.to);
    match plan.changes.iter().find(|it| it.key == change.key) {
        Some(first) if first.to == change.to => {}
        Some(first) => {
            let why = format!("{} sets it to {} already", first.code, first.to);
            leave(plan, &sysctl, &change.code, why);
        }
        None if plan.changes.iter().any(|it| it.key == TIMESTAMPS) && change.key == REUSE => {
            let why =
                "nothing can be reused before connections carry timestamps: make a plan again once they do";
            leave(plan, &sysctl, &change.code, why.into());
        }
        None if plan.changes.len() == MOST_CHANGES => {
            leave(plan, &sysctl, &change.code, format!("{MOST_CHANGES} changes are the most of one plan"));
        }
        None => plan.changes.push(change),
    }
}

/// Why a remedy makes no change.
enum Not {
    Right(Right),
    Alone(String),
}

fn sysctl_change(
    report: &Report,
    finding: &Finding,
    remedy: &Remedy,
    sysctl: &str,
    version: Version,
    present: Present<'_>,
    is_host: bool,
) -> Result<Change, Not> {
    let alone = |why: &str| Not::Alone(why.to_owned());
    let level = match remedy.applicability {
        Applicability::Safe => RiskLevel::Safe,
        Applicability::Unsafe => RiskLevel::Unsafe,
        Applicability::Advice => return Err(alone("a person must decide it")),
    };
    let (key, value) = sysctl.split_once('=').ok_or_else(|| alone("it is no key=value"))?;
    let key =
        tunable(key).ok_or_else(|| alone("linger does not change this setting; a person must decide it"))?;
    let to =
        key.accepts.normal(value).map_err(|expected| Not::Alone(format!("{value} is not {expected}")))?;
    let from = present(key).ok_or_else(|| alone("this namespace has no such setting"))?;
    if from == to {
        let why = format!("already what {} asks for", finding.code);
        return Err(Not::Right(Right { key: key.key.into(), value: from, why }));
    }
    if finding.severity == Severity::Info {
        return Err(alone("nothing fails: the finding is information"));
    }
    if key.key == REUSE {
        let is_off = tunable(TIMESTAMPS).and_then(present).is_some_and(|it| it == "0");
        if is_off {
            return Err(alone("timestamps are off here, and without them nothing can be reused"));
        }
        if report.findings.iter().any(|it| it.code == NO_TIMESTAMPS) {
            return Err(alone(
                "the connections carry no timestamps (TW004), and without them nothing can be reused",
            ));
        }
    }
    let is_host_wide = key.is_host_wide(version);
    if is_host_wide && !is_host {
        return Err(alone("it is the whole host's: make a plan in the host's network namespace"));
    }
    let Some(expected) = expected(key.key) else {
        return Err(alone("no figure tells whether it helps; a person must decide it"));
    };
    Ok(Change {
        key: key.key.to_owned(),
        code: finding.code.clone(),
        why: finding.summary.clone(),
        effect: expected.effect.to_owned(),
        metric: expected.metric(),
        risk: Risk { level, text: remedy.text.clone() },
        scope: if is_host_wide { ChangeScope::Host } else { ChangeScope::Namespace },
        undo: format!("`linger tune rollback`; by hand: sysctl -w '{}={from}'", key.key),
        from,
        to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::report::{Confidence, ReportNetns, Verdict};

    fn finding(code: &str, severity: Severity, remedies: Vec<Remedy>) -> Finding {
        Finding {
            code: code.into(),
            name: String::new(),
            severity,
            confidence: Confidence::High,
            summary: format!("{code} happens"),
            subject: "nginx".into(),
            why: String::new(),
            evidence: vec![],
            remedies,
            process: None,
            covers: vec![],
        }
    }

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            schema: 1,
            kernel: "6.18.44".into(),
            netns: ReportNetns { inode: 1, name: None, is_init: Some(true) },
            taken_at: String::new(),
            interval_s: 1.0,
            verdict: Verdict::Ok,
            states: None,
            source: None,
            findings,
            ruled_out: vec![],
            unknown: vec![],
            headroom: vec![],
        }
    }

    fn defaults(key: &Tunable) -> Option<String> {
        match key.sysctl().default_for(Version::NEWEST)? {
            linger_facts::DefaultValue::Fixed(text) => Some(text.to_owned()),
            _ => Some("131072".to_owned()),
        }
    }

    fn reuse() -> Remedy {
        Remedy::kernel(Applicability::Safe, "net.ipv4.tcp_tw_reuse=1", "Reuse.")
    }

    fn made(plan: &Plan) -> Vec<String> {
        plan.changes.iter().map(|it| format!("{}: {} -> {}", it.key, it.from, it.to)).collect()
    }

    #[test]
    fn a_healthy_host_gets_no_change() {
        for role in Role::ALL {
            let plan = plan(&report(vec![]), Some(role), &defaults, true);
            assert_eq!((made(&plan), plan.left_alone.as_slice()), (vec![], &[][..]), "{role}");
            assert!(plan.right.len() >= 5 && plan.advice.len() >= 2, "{role}: {plan:?}");
            assert_eq!(plan.check(Version::NEWEST), Ok(()));
        }
    }

    #[test]
    fn changes_come_in_order_and_advice_before_them() {
        let wide =
            Remedy::kernel(Applicability::Unsafe, "net.ipv4.ip_local_port_range=15000 64999", "Wider.");
        let pool = Remedy::application("Pool.");
        let more = Remedy::architecture("More backends.");
        let plan = plan(
            &report(vec![finding("TW001", Severity::Critical, vec![more, pool, reuse(), wide])]),
            None,
            &defaults,
            true,
        );
        assert_eq!(
            made(&plan),
            ["net.ipv4.tcp_tw_reuse: 2 -> 1", "net.ipv4.ip_local_port_range: 32768 60999 -> 15000 64999"]
        );
        assert_eq!(
            plan.advice.iter().map(|it| it.text.as_str()).collect::<Vec<_>>(),
            ["Pool.", "More backends."]
        );
        assert_eq!(plan.changes[1].risk.level, RiskLevel::Unsafe);
        assert_eq!(plan.check(Version::NEWEST), Ok(()));
    }

    #[test]
    fn no_reuse_without_timestamps() {
        let critical = || finding("TW001", Severity::Critical, vec![reuse()]);
        let stripped = finding("TW004", Severity::Warning, vec![Remedy::architecture("Let them pass.")]);
        let with = plan(&report(vec![critical(), stripped]), None, &defaults, true);
        assert_eq!(made(&with), Vec::<String>::new());
        assert!(with.left_alone[0].why.contains("TW004"));

        let off = |key: &Tunable| if key.key == TIMESTAMPS { Some("0".into()) } else { defaults(key) };
        let on = Remedy::kernel(Applicability::Safe, "net.ipv4.tcp_timestamps=1", "On.");
        let both = finding("TW001", Severity::Critical, vec![on, reuse()]);
        let with = plan(&report(vec![both]), None, &off, true);
        assert_eq!(made(&with), ["net.ipv4.tcp_timestamps: 0 -> 1"]);
        assert!(with.left_alone[0].why.contains("timestamps"));
    }

    #[test]
    fn what_is_not_called_for_is_left_alone_with_a_reason() {
        let of = |severity, applicability, sysctl: &str| {
            let remedy = Remedy::kernel(applicability, sysctl, "Text.");
            let plan = plan(&report(vec![finding("XX001", severity, vec![remedy])]), None, &defaults, false);
            assert_eq!(made(&plan), Vec::<String>::new(), "{sysctl}");
            plan.left_alone.first().map(|it| it.why.clone()).unwrap_or_default()
        };
        let (warning, safe) = (Severity::Warning, Applicability::Safe);
        assert!(of(Severity::Info, safe, "net.ipv4.tcp_fin_timeout=30").contains("information"));
        assert!(of(warning, Applicability::Advice, "net.ipv4.tcp_fin_timeout=30").contains("a person"));
        assert!(of(warning, safe, "net.ipv4.tcp_mem=1 2 3").contains("a person"));
        assert!(of(warning, safe, "kernel.panic=1").contains("a person"));
        assert!(of(warning, safe, "net.ipv4.tcp_fin_timeout=65").contains("an integer from 5 to 60"));
        assert!(of(warning, safe, "net.core.netdev_max_backlog=4000").contains("whole host"));
        // Already right.
        assert_eq!(of(warning, safe, "net.ipv4.tcp_syncookies=1"), "");
    }

    #[test]
    fn the_worse_finding_decides_a_value() {
        let timeout = |value: &str| {
            Remedy::kernel(Applicability::Safe, format!("net.ipv4.tcp_fin_timeout={value}"), "T.")
        };
        let plan = plan(
            &report(vec![
                finding("TW001", Severity::Critical, vec![timeout("15")]),
                finding("FW001", Severity::Warning, vec![timeout("30")]),
            ]),
            None,
            &defaults,
            true,
        );
        assert_eq!(made(&plan), ["net.ipv4.tcp_fin_timeout: 60 -> 15"]);
        assert!(plan.left_alone[0].why.contains("TW001 sets it to 15"));
    }
}
