//! The plan: single changes in order, each with why, what must come of it, and how it is undone.
//!
//! A plan is a file that anybody may have written. [`Plan::read`] takes it as a whole or refuses it as a whole, and
//! what it lets through can name nothing but the settings of [`linger_facts::tunables`] and values in their ranges.

use std::collections::HashSet;

use linger_facts::{Version, counter, state, tunable};
use linger_model::report::RemedyKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rehearsed::Rehearsed;

/// The version of the plan's JSON. It changes whenever the format does: a field that is not known refuses the plan.
pub const PLAN_SCHEMA: u32 = 1;
/// The longest plan that is read, bytes.
pub const MOST_BYTES: usize = 1 << 20;
/// The most changes in one plan.
pub const MOST_CHANGES: usize = 32;
/// The longest present value, bytes: the kernel's files of these settings are shorter.
const MOST_VALUE: usize = 256;
/// The resources whose use a step may be watched by, as `linger check` names them.
const RESOURCES: &[&str] =
    &["local ports", "time_wait buckets", "orphans", "tcp memory pages", "conntrack entries", "descriptors"];

/// What to change, and what a person should do first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release that it was made on.
    pub kernel: String,
    /// The network namespace that it was made for.
    pub netns: PlanNetns,
    /// When it was made, RFC 3339 in UTC.
    pub made_at: String,
    /// What the host is, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What a person should do, in the order to try; it comes before every change.
    #[serde(default)]
    pub advice: Vec<Advice>,
    /// Changes of kernel settings, one at a time, in this order.
    pub changes: Vec<Change>,
    /// Settings that were looked at and are right.
    #[serde(default)]
    pub right: Vec<Right>,
    /// Settings that were thought of and are not changed.
    #[serde(default)]
    pub left_alone: Vec<LeftAlone>,
}

/// The namespace of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanNetns {
    /// Its inode.
    pub inode: u64,
    /// Its name, where it has one.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a person should do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Advice {
    /// Where.
    pub kind: RemedyKind,
    /// The finding's code that calls for it; empty for what the role calls for.
    pub code: String,
    /// Who it is about.
    pub subject: String,
    /// What.
    pub text: String,
}

/// One change of one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The full dotted key.
    pub key: String,
    /// The value now, fields separated by one space. It is not changed if it has another by then.
    pub from: String,
    /// The value to set.
    pub to: String,
    /// The finding's code that calls for it.
    pub code: String,
    /// Why: the finding.
    pub why: String,
    /// What it does.
    pub effect: String,
    /// What must move.
    pub metric: Metric,
    /// What it may cost.
    pub risk: Risk,
    /// Who else is affected.
    pub scope: ChangeScope,
    /// How it is undone.
    pub undo: String,
    /// What it did in the lab; `linger tune rehearse` adds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<Rehearsed>,
}

/// A figure that must move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What sort of figure.
    pub kind: MetricKind,
    /// Its name: `TcpExt.TWRecycled`, `local ports`, `fin_wait2`.
    pub name: String,
    /// Where to.
    pub direction: Direction,
    /// By when, in seconds after the change.
    pub within_s: f64,
}

/// What sort of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// How fast a counter of the kernel rises, per second.
    Counter,
    /// How full the fullest of a resource is, as a fraction.
    Headroom,
    /// How many sockets are in a state.
    State,
}

/// Where a figure must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Up.
    Rises,
    /// Down.
    Falls,
}

/// What a change may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// Whether it must be accepted knowingly.
    pub level: RiskLevel,
    /// The price.
    pub text: String,
}

/// Whether a change must be accepted knowingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Reversible, and touches new connections only.
    Safe,
    /// Has a price.
    Unsafe,
}

/// Who is affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeScope {
    /// The network namespace alone.
    Namespace,
    /// The whole host, every container included.
    Host,
}

impl ChangeScope {
    /// `namespace` or `host`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ChangeScope::Namespace => "namespace",
            ChangeScope::Host => "host",
        }
    }
}

/// A setting that is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Right {
    /// The full dotted key.
    pub key: String,
    /// Its value now.
    pub value: String,
    /// Why that is right.
    pub why: String,
}

/// A change that is not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftAlone {
    /// The setting, as `key=value`.
    pub sysctl: String,
    /// The finding's code that speaks of it; empty for what the role speaks of.
    pub code: String,
    /// Why it is not changed.
    pub why: String,
}

/// Why a plan is refused: one sentence. Nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan is refused: {0}")]
pub struct PlanError(pub(crate) String);

impl Plan {
    /// Reads a plan, for a kernel of this version.
    ///
    /// # Errors
    /// For anything that is no plan, and for a plan with any change that is not allowed.
    pub fn read(bytes: &[u8], version: Version) -> Result<Plan, PlanError> {
        if bytes.len() > MOST_BYTES {
            return Err(PlanError(format!("it has more than {} KiB", MOST_BYTES >> 10)));
        }
        let plan: Plan = serde_json::from_slice(bytes).map_err(|error| {
            let text: String = error.to_string().chars().take(200).collect();
            PlanError(format!("it is not of the plan's format: {}", text.escape_debug()))
        })?;
        plan.check(version)?;
        Ok(plan)
    }

    /// Whether every change is allowed on a kernel of this version.
    ///
    /// # Errors
    /// Names the first change that is not.
    pub fn check(&self, version: Version) -> Result<(), PlanError> {
        let refuse = |text: String| Err(PlanError(text));
        if self.schema != PLAN_SCHEMA {
            return refuse(format!(
                "its format is version {}, and this linger reads version {PLAN_SCHEMA}",
                self.schema
            ));
        }
        if self.changes.len() > MOST_CHANGES {
            return refuse(format!("it has {} changes, and {MOST_CHANGES} are the most", self.changes.len()));
        }
        let mut seen = HashSet::new();
        for (at, change) in self.changes.iter().enumerate() {
            let key = brief(&change.key);
            change.check(version).map_err(|why| PlanError(format!("change {} ({key}): {why}", at + 1)))?;
            if !seen.insert(change.key.as_str()) {
                return refuse(format!("change {} ({key}): the setting is changed twice", at + 1));
            }
        }
        Ok(())
    }
}

impl Change {
    fn check(&self, version: Version) -> Result<(), String> {
        let Some(tunable) = tunable(&self.key) else {
            return Err("this is none of the settings that linger changes".to_owned());
        };
        if !tunable.sysctl().exists_in(version) {
            return Err(format!("Linux {version} has no such setting"));
        }
        match tunable.accepts.normal(&self.to) {
            Ok(normal) if normal == self.to => {}
            Ok(normal) => return Err(format!("the value must be written {normal:?}")),
            Err(expected) => return Err(format!("{} is not {expected}", brief(&self.to))),
        }
        let is_plain = self.from.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if self.from.is_empty() || self.from.len() > MOST_VALUE || !is_plain {
            return Err("the present value is no value that the kernel shows".to_owned());
        }
        if self.from == self.to {
            return Err("it changes nothing".to_owned());
        }
        let scope = if tunable.is_host_wide(version) { ChangeScope::Host } else { ChangeScope::Namespace };
        if self.scope != scope {
            return Err(format!(
                "it says that its scope is the {}, and on Linux {version} it is the {}",
                self.scope.name(),
                scope.name()
            ));
        }
        self.metric.check()?;
        self.rehearsed.as_ref().map_or(Ok(()), Rehearsed::check)
    }
}

impl Metric {
    fn check(&self) -> Result<(), String> {
        let is_known = match self.kind {
            MetricKind::Counter => counter(&self.name).is_some_and(|it| it.name == self.name),
            MetricKind::Headroom => RESOURCES.contains(&self.name.as_str()),
            MetricKind::State => state(&self.name).is_some_and(|it| it.name == self.name),
        };
        if !is_known {
            return Err(format!("{} is no figure that linger reads", brief(&self.name)));
        }
        if !(self.within_s > 0.0 && self.within_s <= 86_400.0) {
            return Err("its figure must move within a time between 0 and 86400 s".to_owned());
        }
        Ok(())
    }
}

/// Foreign text in a message: nothing that a terminal would obey, and not too much of it.
pub(crate) fn brief(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", short.escape_debug())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const V: Version = Version::new(6, 18);

    pub(crate) fn change(key: &str, from: &str, to: &str) -> Change {
        Change {
            key: key.into(),
            from: from.into(),
            to: to.into(),
            code: "TW001".into(),
            why: "ports run out".into(),
            effect: "more ports".into(),
            metric: Metric {
                kind: MetricKind::Counter,
                name: "TcpExt.TWRecycled".into(),
                direction: Direction::Rises,
                within_s: 10.0,
            },
            risk: Risk { level: RiskLevel::Safe, text: String::new() },
            scope: ChangeScope::Namespace,
            undo: String::new(),
            rehearsed: None,
        }
    }

    pub(crate) fn plan(changes: Vec<Change>) -> Plan {
        Plan {
            schema: 1,
            kernel: "6.18.0".into(),
            netns: PlanNetns { inode: 1, name: None },
            made_at: "2020-01-01T00:00:00.000Z".into(),
            role: None,
            advice: vec![],
            changes,
            right: vec![],
            left_alone: vec![],
        }
    }

    fn refused(plan: &Plan) -> String {
        let bytes = serde_json::to_vec(plan).unwrap();
        Plan::read(&bytes, V).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let plan = plan(vec![
            change("net.ipv4.tcp_tw_reuse", "2", "1"),
            change("net.ipv4.ip_local_port_range", "32768 60999", "15000 64999"),
        ]);
        assert_eq!(Plan::read(&serde_json::to_vec(&plan).unwrap(), V), Ok(plan));
    }

    #[test]
    fn one_bad_change_refuses_the_whole_plan_with_a_sentence() {
        let good = || change("net.ipv4.tcp_tw_reuse", "2", "1");
        let with = |edit: fn(&mut Change)| {
            let mut bad = change("net.ipv4.tcp_fin_timeout", "60", "30");
            edit(&mut bad);
            refused(&plan(vec![good(), bad]))
        };
        let start = "the plan is refused: change 2 (\"";
        let none = "this is none of the settings that linger changes";
        for key in [
            "kernel.core_pattern",
            "net.ipv4.../../kernel/core_pattern",
            "net/ipv4/tcp_fin_timeout",
            "../tcp_fin_timeout",
            "net.ipv4.tcp_fin_timeout\0",
            "",
            "\u{1b}[31m",
        ] {
            let mut bad = good();
            bad.key = key.into();
            let text = refused(&plan(vec![good(), bad]));
            assert!(text.starts_with(start) && text.ends_with(none), "{text}");
            assert!(!text.contains(['\0', '\u{1b}']), "{text}");
        }
        assert_eq!(
            with(|it| it.to = "65".into()),
            "the plan is refused: change 2 (\"net.ipv4.tcp_fin_timeout\"): \"65\" is not an integer from 5 to 60"
        );
        assert!(with(|it| it.to = " 30".into()).ends_with("the value must be written \"30\""));
        assert!(with(|it| it.to = "60".into()).ends_with("it changes nothing"));
        assert!(with(|it| it.from = "6\n0".into()).ends_with("no value that the kernel shows"));
        assert!(with(|it| it.scope = ChangeScope::Host).ends_with("on Linux 6.18 it is the namespace"));
        assert!(with(|it| it.metric.name = "TWRecycled".into()).ends_with("is no figure that linger reads"));
        assert!(with(|it| it.metric.within_s = -1.0).contains("between 0 and 86400 s"));
        assert!(refused(&plan(vec![good(), good()])).ends_with("the setting is changed twice"));
        let recycle = change("net.ipv4.tcp_tw_recycle", "1", "0");
        assert!(refused(&plan(vec![recycle])).ends_with("Linux 6.18 has no such setting"));
        let mut other = plan(vec![good()]);
        other.schema = 2;
        assert!(refused(&other).contains("version 2"));
        assert!(refused(&plan(vec![good(); 33])).contains("33 changes"));
    }

    #[test]
    fn what_is_no_plan_is_said_to_be_none() {
        for bytes in [&b""[..], b"{}", b"[1]", b"\xff", b"{\"schema\":1,\"\\u001b\":2}"] {
            let text = Plan::read(bytes, V).unwrap_err().to_string();
            assert!(text.contains("not of the plan's format") && !text.contains('\u{1b}'), "{text}");
        }
        assert!(Plan::read(&vec![b' '; MOST_BYTES + 1], V).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = Plan::read(&bytes, V);
        }

        /// Whatever is written into the fields, what is let through is a tunable setting and a value in its range.
        #[test]
        fn what_is_let_through_is_allowed(key in "[a-z._/ ]{0,40}|net\\.ipv4\\.tcp_(tw_reuse|fin_timeout|rmem)", to in "[0-9 .\\-x]{0,20}", from in any::<String>()) {
            let bytes = serde_json::to_vec(&plan(vec![change(&key, &from, &to)])).unwrap();
            if let Ok(read) = Plan::read(&bytes, V) {
                let change = &read.changes[0];
                let allowed = tunable(&change.key).expect("tunable");
                prop_assert_eq!(allowed.accepts.normal(&change.to), Ok(change.to.clone()));
                prop_assert!(change.from.is_ascii());
            }
        }

        /// A plan in which any byte is another is read or refused.
        #[test]
        fn a_damaged_plan_does_no_harm(at in 0usize..700, byte in any::<u8>()) {
            let mut bytes = serde_json::to_vec(&plan(vec![change("net.ipv4.tcp_tw_reuse", "2", "1")])).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(read) = Plan::read(&bytes, V) {
                prop_assert!(read.changes.iter().all(|it| tunable(&it.key).is_some()));
            }
        }
    }
}
