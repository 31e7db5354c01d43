//! From a report to a plan.

use linger_facts::{Tunable, Version, tunable};
use linger_model::Report;
use linger_model::ports::PortRange;
use linger_model::report::{Applicability, Finding, Remedy, RemedyKind, Severity};

use crate::effects::{Expected, expected};
use crate::plan::{
    Advice, Change, ChangeScope, LeftAlone, MOST_CHANGES, PLAN_SCHEMA, Plan, PlanNetns, Right, Risk,
    RiskLevel, brief,
};
use crate::profile::{Profile, Wanted};
use crate::role;
use crate::state::now;

/// Reads the present value of a setting; `None` where there is none.
pub type Present<'a> = &'a dyn Fn(&Tunable) -> Option<String>;

const REUSE: &str = "net.ipv4.tcp_tw_reuse";
const TIMESTAMPS: &str = "net.ipv4.tcp_timestamps";
const RANGE: &str = "net.ipv4.ip_local_port_range";
const SYN_BACKLOG: &str = "net.ipv4.tcp_max_syn_backlog";
const COOKIES: &str = "net.ipv4.tcp_syncookies";
/// Reuse is wanted, and connections carry no timestamps.
const NO_TIMESTAMPS: &str = "TW004";

/// In the place of a finding's code, for what a profile wants.
const PROFILE: &str = "profile";
/// The most lines of advice, and of settings that are left alone.
const MOST_ADVICE: usize = 100;
/// The longest text of a report that a plan repeats, characters.
const MOST_TEXT: usize = 1000;

/// Makes the plan that a report and a profile call for; `is_host` says whether settings of the whole host may be changed
/// there.
#[must_use]
pub fn plan(report: &Report, profile: &Profile, present: Present<'_>, is_host: bool) -> Plan {
    let version = Version::parse(&report.kernel).unwrap_or(Version::NEWEST);
    let place = Place { report, version, present, is_host };
    let role = profile.role;
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
                    let made = place.called_for(finding, remedy, sysctl);
                    let made = made.and_then(|change| allowed(change, profile));
                    take(&mut plan, made, sysctl, &finding.code);
                }
                None => advise(&mut plan, remedy.kind, &finding.code, &finding.subject, &remedy.text),
            }
        }
    }
    for wanted in profile.all_wanted() {
        let sysctl = format!("{}={}", wanted.key.key, wanted.value);
        take(&mut plan, place.wanted(wanted), &sysctl, PROFILE);
    }
    if let Some(role) = role {
        let ports = tunable(RANGE).and_then(present).and_then(|range| PortRange::parse(&range, "").ok());
        let ports = ports.map(|range| range.usable_count());
        for (kind, text) in role::advice(role, ports) {
            advise(&mut plan, kind, "", role.name(), &text);
        }
        for matter in role::matters(role) {
            let is_spoken_of = plan.changes.iter().any(|it| it.key == matter.key)
                || plan.right.iter().any(|it| it.key == matter.key)
                || plan
                    .left_alone
                    .iter()
                    .any(|it| it.code == PROFILE && it.sysctl.split('=').next() == Some(matter.key));
            let Some(value) = tunable(matter.key).and_then(present).filter(|_| !is_spoken_of) else {
                continue;
            };
            if let Some(why) = profile.never(matter.key) {
                leave(&mut plan, &format!("{}={value}", matter.key), PROFILE, left(why));
            } else if matter.good.is_met(&value) {
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
    let (code, subject, text) = (shorten(code), shorten(subject), shorten(text));
    if plan.advice.len() < MOST_ADVICE && plan.advice.iter().all(|it| it.text != text) {
        plan.advice.push(Advice { kind, code, subject, text });
    }
}

fn leave(plan: &mut Plan, sysctl: &str, code: &str, why: String) {
    let (sysctl, code, why) = (shorten(sysctl), shorten(code), shorten(&why));
    if plan.left_alone.len() < MOST_ADVICE && plan.left_alone.iter().all(|it| it.sysctl != sysctl) {
        plan.left_alone.push(LeftAlone { sysctl, code, why });
    }
}

/// A report is a file that anybody may have written, and a plan must be short enough to be read again.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(MOST_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn take(plan: &mut Plan, made: Result<Change, Not>, sysctl: &str, code: &str) {
    match made {
        Ok(change) => add(plan, change),
        Err(Not::Right(right)) => {
            if plan.right.iter().all(|it| it.key != right.key) {
                plan.right.push(right);
            }
        }
        Err(Not::Alone(why)) => leave(plan, sysctl, code, why),
    }
}

fn left(why: &str) -> String {
    let dash = if why.is_empty() { "" } else { ": " };
    format!("the profile wants it left as it is{dash}{why}")
}

/// What a finding calls for gives way to what the owner of the host wants.
fn allowed(change: Change, profile: &Profile) -> Result<Change, Not> {
    if let Some(why) = profile.never(&change.key) {
        return Err(Not::Alone(left(why)));
    }
    match profile.wanted(&change.key) {
        Some(wanted) if wanted.value != change.to => {
            Err(Not::Alone(format!("the profile wants it to be {}", wanted.value)))
        }
        _ => Ok(change),
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

/// What is known where a change would be made.
struct Place<'a> {
    report: &'a Report,
    version: Version,
    present: Present<'a>,
    is_host: bool,
}

fn alone(why: &str) -> Not {
    Not::Alone(why.to_owned())
}

impl Place<'_> {
    /// The change that a finding calls for.
    fn called_for(&self, finding: &Finding, remedy: &Remedy, sysctl: &str) -> Result<Change, Not> {
        let level = match remedy.applicability {
            Applicability::Safe => RiskLevel::Safe,
            Applicability::Unsafe => RiskLevel::Unsafe,
            Applicability::Advice => return Err(alone("a person must decide it")),
        };
        let (key, value) = sysctl.split_once('=').ok_or_else(|| alone("it is no key=value"))?;
        let key = tunable(key)
            .ok_or_else(|| alone("linger does not change this setting; a person must decide it"))?;
        let to = key
            .accepts
            .normal(value)
            .map_err(|expected| Not::Alone(format!("{} is not {expected}", brief(value))))?;
        let right = format!("already what {} asks for", finding.code);
        let (change, _) = self.change(key, to, &finding.code, &finding.summary, right)?;
        if finding.severity == Severity::Info {
            return Err(alone("nothing fails: the finding is information"));
        }
        Ok(Change { risk: Risk { level, text: shorten(&remedy.text) }, ..change })
    }

    /// The change that a profile wants.
    fn wanted(&self, wanted: &Wanted) -> Result<Change, Not> {
        let why = if wanted.why.is_empty() { "this value is wanted" } else { &wanted.why };
        let right = format!("what the profile wants: {why}");
        let (change, expected) = self.change(wanted.key, wanted.value.clone(), PROFILE, why, right)?;
        if !expected.comes_of(&change.from, &change.to) {
            return Err(Not::Alone(format!(
                "it is {}, and no figure gets better by this value, so that nobody could see whether it helps; \
                 a person must decide it",
                change.from
            )));
        }
        Ok(change)
    }

    /// A change for this reason, or why there is none; `right` says why the value is right where it is there.
    fn change(
        &self,
        key: &Tunable,
        to: String,
        code: &str,
        why: &str,
        right: String,
    ) -> Result<(Change, Expected), Not> {
        let value_of = |name: &str| tunable(name).and_then(self.present);
        let from = (self.present)(key).ok_or_else(|| alone("this namespace has no such setting"))?;
        if from == to {
            return Err(Not::Right(Right { key: key.key.into(), value: from, why: shorten(&right) }));
        }
        if key.key == REUSE && to != "0" {
            if value_of(TIMESTAMPS).is_some_and(|it| it == "0") {
                return Err(alone("timestamps are off here, and without them nothing can be reused"));
            }
            if self.report.findings.iter().any(|it| it.code == NO_TIMESTAMPS) {
                return Err(alone(
                    "the connections carry no timestamps (TW004), and without them nothing can be reused",
                ));
            }
        }
        if key.key == SYN_BACKLOG && value_of(COOKIES).is_some_and(|it| it != "0") {
            return Err(alone("it does nothing while net.ipv4.tcp_syncookies is on"));
        }
        let is_host_wide = key.is_host_wide(self.version);
        if is_host_wide && !self.is_host {
            return Err(alone("it is the whole host's: make a plan in the host's network namespace"));
        }
        let Some(expected) = expected(key.key) else {
            return Err(alone("no figure tells whether it helps; a person must decide it"));
        };
        let change = Change {
            key: key.key.to_owned(),
            code: shorten(code),
            why: shorten(why),
            effect: expected.effect.to_owned(),
            metric: expected.metric(),
            risk: expected.risk(),
            scope: if is_host_wide { ChangeScope::Host } else { ChangeScope::Namespace },
            undo: format!("`linger tune rollback`; by hand: sysctl -w '{}={from}'", key.key),
            from,
            to,
            rehearsed: None,
        };
        Ok((change, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_facts::Role;
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
            imported: None,
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
            let plan = plan(&report(vec![]), &Profile::of(Some(role)), &defaults, true);
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
            &Profile::default(),
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
        let with = plan(&report(vec![critical(), stripped]), &Profile::default(), &defaults, true);
        assert_eq!(made(&with), Vec::<String>::new());
        assert!(with.left_alone[0].why.contains("TW004"));

        let off = |key: &Tunable| if key.key == TIMESTAMPS { Some("0".into()) } else { defaults(key) };
        let on = Remedy::kernel(Applicability::Safe, "net.ipv4.tcp_timestamps=1", "On.");
        let both = finding("TW001", Severity::Critical, vec![on, reuse()]);
        let with = plan(&report(vec![both]), &Profile::default(), &off, true);
        assert_eq!(made(&with), ["net.ipv4.tcp_timestamps: 0 -> 1"]);
        assert!(with.left_alone[0].why.contains("timestamps"));
    }

    #[test]
    fn what_is_not_called_for_is_left_alone_with_a_reason() {
        let of = |severity, applicability, sysctl: &str| {
            let remedy = Remedy::kernel(applicability, sysctl, "Text.");
            let plan = plan(
                &report(vec![finding("XX001", severity, vec![remedy])]),
                &Profile::default(),
                &defaults,
                false,
            );
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
            &Profile::default(),
            &defaults,
            true,
        );
        assert_eq!(made(&plan), ["net.ipv4.tcp_fin_timeout: 60 -> 15"]);
        assert!(plan.left_alone[0].why.contains("TW001 sets it to 15"));
    }

    fn profile(wanted: &[(&str, &str)], never: &[&str]) -> Profile {
        let mut profile = Profile::default();
        wanted.iter().for_each(|(key, value)| profile.want(key, value, "capacity review").unwrap());
        never.iter().for_each(|key| profile.leave(key, "the firewall").unwrap());
        profile
    }

    #[test]
    fn what_a_profile_wants_is_planned_where_it_does_something() {
        let wants = profile(
            &[
                ("net.ipv4.tcp_tw_reuse", "1"),
                ("net.ipv4.tcp_syncookies", "1"),
                ("net.core.somaxconn", "1024"),
                ("net.ipv4.tcp_max_syn_backlog", "8192"),
                ("net.ipv4.tcp_sack", "1"),
                ("net.ipv4.tcp_mtu_probing", "1"),
                ("net.core.netdev_max_backlog", "5000"),
            ],
            &[],
        );
        let made_of = |plan: &Plan| -> Vec<(String, String)> {
            plan.changes.iter().map(|it| (it.key.clone(), format!("{}: {}", it.code, it.why))).collect()
        };
        let here = plan(&report(vec![]), &wants, &defaults, false);
        assert_eq!(
            made_of(&here),
            [("net.ipv4.tcp_tw_reuse".to_owned(), "profile: capacity review".to_owned())]
        );
        assert_eq!(here.check(Version::NEWEST), Ok(()));
        let right: Vec<&str> = here.right.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(right, ["net.ipv4.tcp_syncookies", "net.ipv4.tcp_sack"]);
        let whys: Vec<&str> = here.left_alone.iter().map(|it| it.why.as_str()).collect();
        assert!(whys[0].starts_with("it is 4096, and no figure gets better"), "{whys:?}");
        assert!(whys[1].contains("tcp_syncookies is on") && whys[2].contains("no figure tells"), "{whys:?}");
        assert!(whys[3].contains("whole host's"), "{whys:?}");
        // As for a finding: without timestamps reuse does nothing.
        let off = |key: &Tunable| if key.key == TIMESTAMPS { Some("0".into()) } else { defaults(key) };
        assert_eq!(made(&plan(&report(vec![]), &wants, &off, false)), Vec::<String>::new());
        let stripped = finding("TW004", Severity::Warning, vec![]);
        assert_eq!(made(&plan(&report(vec![stripped]), &wants, &defaults, false)), Vec::<String>::new());
    }

    #[test]
    fn a_finding_gives_way_to_the_profile() {
        let wide =
            || Remedy::kernel(Applicability::Safe, "net.ipv4.ip_local_port_range=15000 64999", "Wider.");
        let sick = report(vec![finding("TW001", Severity::Critical, vec![wide(), reuse()])]);
        let mut other =
            profile(&[("net.ipv4.ip_local_port_range", "20000 60999")], &["net.ipv4.tcp_tw_reuse"]);
        other.role = Some(Role::Proxy);
        let it = plan(&sick, &other, &defaults, true);
        assert_eq!(made(&it), ["net.ipv4.ip_local_port_range: 32768 60999 -> 20000 60999"]);
        assert_eq!((it.changes[0].code.as_str(), it.changes[0].risk.level), ("profile", RiskLevel::Unsafe));
        let whys: Vec<&str> = it.left_alone.iter().map(|it| it.why.as_str()).collect();
        assert_eq!(
            whys[..2],
            ["the profile wants it to be 20000 60999", "the profile wants it left as it is: the firewall"]
        );
        // The same value is the finding's: it has the better reason.
        let same = profile(&[("net.ipv4.tcp_tw_reuse", "1")], &[]);
        assert_eq!(plan(&sick, &same, &defaults, true).changes[1].code, "TW001");
    }

    #[test]
    fn a_report_from_anywhere_makes_a_plan_that_can_be_read_again() {
        let long = "x\u{1b}[31m\n".repeat(100_000);
        let advice = |at: usize| Remedy::application(format!("{at} {long}"));
        let left =
            |at: usize| Remedy::kernel(Applicability::Safe, format!("kernel.{at}={long}"), long.clone());
        let mut remedies: Vec<Remedy> = (0..120).map(advice).collect();
        remedies.extend((0..120).map(left));
        remedies.push(Remedy::kernel(Applicability::Safe, "net.ipv4.tcp_tw_reuse=1", long.clone()));
        let mut one = finding("TW001", Severity::Critical, remedies);
        (one.code, one.summary, one.subject) = (long.clone(), long.clone(), long);
        let it = plan(&report(vec![one]), &Profile::default(), &defaults, true);
        assert_eq!((it.advice.len(), it.left_alone.len(), it.changes.len()), (MOST_ADVICE, MOST_ADVICE, 1));
        let bytes = serde_json::to_vec_pretty(&it).unwrap();
        assert_eq!(Plan::read(&bytes, Version::NEWEST), Ok(it));
    }
}
