//! One file per fault. A rule is a pure function of a [`Window`] and of facts: it sees no file and no clock.
//!
//! [`RULES`] is the explicit list. To add a rule, see CONTRIBUTING.md.
#![forbid(unsafe_code)]

mod config;
mod evaluate;
mod headroom;
#[cfg(test)]
mod healthy;
mod shown;
#[cfg(test)]
pub(crate) mod testing;

pub mod close_wait;
pub mod closing;
pub mod established;
pub mod limits;
pub mod listen_queue;
pub mod path;
pub mod ports;
pub mod proxy;
pub mod time_wait;

pub use config::{Config, UnknownSetting};
pub use evaluate::{Selection, evaluate};
pub use headroom::headroom;
pub use linger_model::thousands;

use linger_facts::cookbook::{self, ProcessHint, Recipe, Step, Symptom};
use linger_model::aggregate::ProcessIndex;
pub use linger_model::report::Severity;
use linger_model::report::{Confidence, Evidence, Remedy};
use linger_model::snapshot::{Gap, Processes, Snapshot};
use linger_model::window::Delta;
use linger_model::{Finding, SocketTable, Window};

/// Every rule, in the order in which `explain` lists them.
pub static RULES: &[&Rule] = &[
    &time_wait::ephemeral_port_exhaustion::RULE,
    &time_wait::time_wait_bucket_overflow::RULE,
    &time_wait::short_connection_churn::RULE,
    &time_wait::time_wait_reuse_ineffective::RULE,
    &time_wait::time_wait_high::RULE,
    &time_wait::time_wait_recycle_enabled::RULE,
    &time_wait::address_in_use_on_restart::RULE,
    &listen_queue::syn_flood::RULE,
    &listen_queue::syn_queue_overflow::RULE,
    &listen_queue::accept_queue_overflow::RULE,
    &listen_queue::backlog_capped::RULE,
    &path::syn_sent_pileup::RULE,
    &path::retransmission_surge::RULE,
    &path::reset_surge::RULE,
    &path::stuck_send_queue::RULE,
    &path::paws_rejections::RULE,
    &proxy::proxy_port_pressure::RULE,
    &close_wait::close_wait_leak::RULE,
    &close_wait::closed_socket_leak::RULE,
    &closing::fin_wait2_accumulation::RULE,
    &closing::orphan_pressure::RULE,
    &limits::file_descriptor_exhaustion::RULE,
    &limits::tcp_memory_pressure::RULE,
    &limits::conntrack_table_pressure::RULE,
    &limits::input_backlog_drops::RULE,
    &established::established_surge::RULE,
    &established::dead_peer_undetected::RULE,
];

/// The rule of a code (`TW001`, any case) or a name (`ephemeral-port-exhaustion`).
pub fn rule(code_or_name: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|r| r.code.eq_ignore_ascii_case(code_or_name) || r.name == code_or_name)
}

/// Whether a rule speaks of a namespace or of the whole host; host-wide findings appear once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Of one network namespace.
    Netns,
    /// Of the host.
    Host,
}

/// A number that a user can set in the configuration.
#[derive(Debug)]
pub struct Threshold {
    /// Its key under the rule's code.
    pub key: &'static str,
    /// What it is when nothing is set.
    pub default: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it means, one sentence.
    pub doc: &'static str,
}

/// A fault that can be looked for.
#[derive(Debug)]
pub struct Rule {
    /// `TW001`: never changes its meaning, is never used again.
    pub code: &'static str,
    /// The fault's name.
    pub name: &'static str,
    /// The manual: the declaration's doc comment.
    pub doc: &'static str,
    /// Of what it speaks.
    pub scope: Scope,
    /// How bad its findings can be.
    pub worst: Severity,
    /// What can be set.
    pub thresholds: &'static [&'static Threshold],
    /// The check.
    pub check: fn(&Context<'_>) -> Outcome,
}

/// How a check ends. Missing data never reads as healthy.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The fault is there: a finding for each subject, never empty.
    Fired(Vec<Finding>),
    /// It is not there, by this evidence.
    Clear(String),
    /// It cannot occur here, or there is no past to tell it by.
    NotApplicable(String),
    /// It could not be told.
    Unknown(Gap),
}

/// What a check sees.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The rule that is checked.
    pub rule: &'static Rule,
    /// The snapshots, oldest first.
    pub window: &'a Window,
    /// The user's thresholds.
    pub config: &'a Config,
}

/// Ends a check with `Unknown` when a reading is missing.
#[macro_export]
macro_rules! known {
    ($reading:expr) => {
        match $reading {
            Ok(value) => value,
            Err(gap) => return $crate::Outcome::Unknown(gap.clone()),
        }
    };
}

/// Declares a rule; its doc comment is the manual that `linger explain CODE` prints.
#[macro_export]
macro_rules! declare_rule {
    ($(#[doc = $doc:literal])+ $code:ident, $name:literal, $scope:ident, $worst:ident, [$($threshold:ident),* $(,)?]) => {
        $(#[doc = $doc])+
        pub static RULE: $crate::Rule = $crate::Rule {
            code: stringify!($code),
            name: $name,
            doc: concat!($($doc, "\n"),+),
            scope: $crate::Scope::$scope,
            worst: $crate::Severity::$worst,
            thresholds: &[$(&$threshold),*],
            check,
        };
    };
}

impl<'a> Context<'a> {
    /// A threshold's value: the user's, or the default.
    pub fn limit(&self, threshold: &'static Threshold) -> f64 {
        self.config.get(self.rule.code, threshold)
    }

    /// The newest snapshot.
    pub fn now(&self) -> &'a Snapshot {
        self.window.last()
    }

    /// The newest snapshot's sockets.
    pub fn sockets(&self) -> Result<&'a SocketTable, Gap> {
        self.now().sockets.as_ref().map_err(Gap::clone)
    }

    /// The newest snapshot's processes.
    pub fn processes(&self) -> Result<&'a Processes, Gap> {
        self.now().host.processes.as_ref().map_err(Gap::clone)
    }

    /// `nginx (pid 12)`, or a word for nobody.
    pub fn process_label(&self, process: Option<ProcessIndex>) -> String {
        match self.processes() {
            Ok(processes) => processes.label(process),
            Err(_) => "a process not visible to this user".to_owned(),
        }
    }

    /// A finding of this rule with nothing but its sentence yet.
    pub fn finding(
        &self,
        severity: Severity,
        confidence: Confidence,
        subject: impl Into<String>,
        summary: impl Into<String>,
    ) -> Finding {
        Finding {
            code: self.rule.code.to_owned(),
            name: self.rule.name.to_owned(),
            severity,
            confidence,
            summary: summary.into(),
            subject: subject.into(),
            why: String::new(),
            evidence: Vec::new(),
            remedies: Vec::new(),
            process: None,
            covers: Vec::new(),
        }
    }

    /// Evidence from a counter that moved over the window.
    pub fn moved(&self, counter: &str, delta: Delta) -> Evidence {
        let file = if counter.starts_with("TcpExt.") || counter.starts_with("MPTcpExt.") {
            "netstat"
        } else {
            "snmp"
        };
        let source = format!("/proc/net/{file} over {:.1} s", delta.seconds);
        Evidence::new(counter, delta.by as f64, counter_unit(counter), source)
    }

    /// Evidence from a sysctl of the newest snapshot, where it is a number.
    pub fn setting(&self, key: &str) -> Option<Evidence> {
        let value = self.now().sysctl_int(key).ok()?;
        Some(Evidence::new(key, value as f64, "", format!("sysctl {key}")))
    }

    /// Events per second over the window, for judging; 0 where the window is shorter than a second and holds fewer than
    /// twenty, and one that is shorter counts as a second. Three events in 50 ms are no sixty a second.
    pub fn sure_rate(&self, events: f64) -> f64 {
        let seconds = self.window.seconds();
        // A window of a second may be measured a little shorter.
        let short = seconds < 0.9;
        if !self.window.has_past() || (short && events < SURE_EVENTS) {
            0.0
        } else if short {
            events
        } else {
            events / seconds
        }
    }

    /// What the application can do about a symptom: the recipes of the process where it is recognised, else the
    /// advice that holds for any. At most three steps.
    pub fn application_remedies(&self, process: Option<ProcessIndex>, symptom: Symptom) -> Vec<Remedy> {
        self.application_remedies_if(process, symptom, |_| true)
    }

    /// The same, without the steps that do not fit what was found.
    pub fn application_remedies_if(
        &self,
        process: Option<ProcessIndex>,
        symptom: Symptom,
        fits: impl Fn(&Step) -> bool,
    ) -> Vec<Remedy> {
        let known = process.and_then(|p| self.processes().ok()?.get(p));
        let specific = known.map(|p| {
            let hint = ProcessHint { comm: &p.comm, exe: p.exe.as_deref(), cmdline: p.cmdline.as_deref() };
            cookbook::steps_for(&hint, symptom)
        });
        let specific = specific.unwrap_or_default().into_iter().filter(|(_, step)| fits(step));
        let mut remedies: Vec<Remedy> =
            specific.take(MOST_STEPS).map(|(recipe, step)| recipe_remedy(recipe, step)).collect();
        if remedies.is_empty() {
            let generic = cookbook::generic(symptom).iter().filter(|step| fits(step));
            remedies = generic.take(MOST_STEPS).map(generic_remedy).collect();
        }
        remedies
    }

    /// What a client can do about a symptom. The server's port often tells which library it uses, where the
    /// process's own name says nothing or too much: that comes first. At most `most` steps.
    pub fn client_remedies(
        &self,
        process: Option<ProcessIndex>,
        symptom: Symptom,
        port: u16,
        most: usize,
        fits: impl Fn(&Step) -> bool,
    ) -> Vec<Remedy> {
        let own = self.application_remedies_if(process, symptom, &fits);
        let server = cookbook::for_peer_port(port);
        let step = server.and_then(|recipe| recipe.steps.iter().find(|s| s.symptom == symptom && fits(s)));
        let (Some(recipe), Some(step)) = (server, step) else { return own.into_iter().take(most).collect() };
        let by_port = step_text(&format!("{} (by the port, {port})", recipe.title), step);
        // `redis-clients`: of the program's own steps those that speak of this server fit best.
        let name = recipe.id.split('-').next().unwrap_or_default();
        let (named, rest): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|remedy| remedy.text.to_lowercase().contains(name));
        let own = named.into_iter().chain(rest.into_iter().take(1));
        std::iter::once(Remedy::application(by_port)).chain(own).take(most).collect()
    }
}

/// Events in a window shorter than a second from which they are a rate.
const SURE_EVENTS: f64 = 20.0;

/// Steps for the application at the most: more are not read at 3 a.m.
const MOST_STEPS: usize = 3;

/// One step of a recipe.
fn recipe_remedy(recipe: &Recipe, step: &Step) -> Remedy {
    // `nginx as reverse proxy or web server`, `Java: java.net.http, sockets`: the first words say enough.
    let title = recipe.title.split([':', '(']).next().unwrap_or(recipe.title);
    let title = title.split(" as ").next().unwrap_or(title).trim_end();
    Remedy::application(step_text(title, step))
}

/// ``HAProxy: `http-reuse safe`. Lets requests of one client … Since 1.6.``
fn step_text(title: &str, step: &Step) -> String {
    let setting = step.setting;
    let (code, place) = match setting.split_once(" (") {
        Some((code, place)) if place.ends_with(')') && !place.contains('=') => (code, Some(place)),
        _ => (setting, None),
    };
    let words = code.chars().all(|c| c.is_ascii_alphabetic() || " ,/-".contains(c));
    let code = if words { code.to_owned() } else { format!("`{code}`") };
    let place = place.map_or(String::new(), |place| format!(" ({place}"));
    format!("{title}: {code}{place}. {}{}", step.text, versions(step.since))
}

/// `A connection pool: Keep as many idle connections …`
fn generic_remedy(step: &Step) -> Remedy {
    let first = step.setting.split(' ').next().unwrap_or_default();
    // Words begin a sentence with a capital; names of calls and settings stay as they are written.
    let words = first.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let setting = match step.setting.chars().next() {
        Some(letter) if words => {
            format!("{}{}", letter.to_ascii_uppercase(), step.setting.get(1..).unwrap_or(""))
        }
        _ => step.setting.to_owned(),
    };
    Remedy::application(format!("{setting}: {}{}", step.text, versions(step.since)))
}

/// From which version on: ` Since 1.9.1.`, ` Since Java 21.`, or what the cookbook says of versions in other words.
fn versions(since: &str) -> String {
    let digit = |word: Option<&str>| word.is_some_and(|w| w.starts_with(|c: char| c.is_ascii_digit()));
    let mut words = since.split(' ');
    let (first, second) = (words.next(), words.next());
    match since {
        "" => String::new(),
        _ if digit(first) || (digit(second) && since.starts_with(|c: char| c.is_ascii_uppercase())) => {
            format!(" Since {since}.")
        }
        _ => format!(" Versions: {since}."),
    }
}

/// What a counter counts, so that its figure reads well.
fn counter_unit(counter: &str) -> &'static str {
    match counter.split_once('.').map_or(counter, |(_, name)| name) {
        "ActiveOpens" | "AttemptFails" => "connects",
        "PassiveOpens" | "EstabResets" | "TCPTimeWaitOverflow" | "TWRecycled" => "connections",
        "TCPAbortOnData" | "TCPAbortOnClose" | "TCPAbortOnMemory" | "TCPAbortOnTimeout"
        | "TCPAbortOnLinger" => "connections",
        "InSegs" | "OutSegs" | "RetransSegs" | "PAWSEstab" | "PAWSTimewait" | "PAWSActive" => "segments",
        "RcvPruned" | "TCPRcvCollapsed" | "TCPBacklogDrop" | "TCPRcvQDrop" | "TCPZeroWindowDrop" => {
            "segments"
        }
        "OutRsts" => "resets",
        "SyncookiesSent" | "SyncookiesRecv" | "SyncookiesFailed" | "TCPReqQFullDoCookies" => "cookies",
        "TCPReqQFullDrop" | "PAWSPassive" => "SYNs",
        "ListenOverflows" | "ListenDrops" => "drops",
        "TCPSynRetrans" => "retransmissions",
        "TCPTimeouts" => "time-outs",
        "TCPWinProbe" | "TCPKeepAlive" => "probes",
        _ => "times",
    }
}

/// Adds to a finding in the order in which it reads.
pub trait FindingExt: Sized {
    /// Why this kernel behaves so.
    fn why(self, why: impl Into<String>) -> Self;
    /// A figure, where there is one.
    fn evidence(self, evidence: impl IntoIterator<Item = Evidence>) -> Self;
    /// What to do.
    fn remedies(self, remedies: impl IntoIterator<Item = Remedy>) -> Self;
    /// Whose doing it is.
    fn process(self, process: Option<ProcessIndex>) -> Self;
    /// What the rule of this code says of these subjects is said by this finding, and more.
    fn covers(self, code: &'static str, subjects: impl IntoIterator<Item = String>) -> Self;
}

impl FindingExt for Finding {
    fn why(mut self, why: impl Into<String>) -> Finding {
        self.why = why.into();
        self
    }

    fn evidence(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Finding {
        self.evidence.extend(evidence);
        self
    }

    fn remedies(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Finding {
        self.remedies.extend(remedies);
        self.order_remedies();
        self
    }

    fn process(mut self, process: Option<ProcessIndex>) -> Finding {
        self.process = process;
        self
    }

    fn covers(mut self, code: &'static str, subjects: impl IntoIterator<Item = String>) -> Finding {
        self.covers.extend(subjects.into_iter().map(|subject| (code, subject)));
        self
    }
}

/// `1 socket`, `2,000 sockets`, `4 listening addresses`, `3 entries`.
pub fn counted(n: u64, one: &str) -> String {
    if n == 1 {
        return format!("1 {one}");
    }
    let n = thousands(n);
    match one.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{n} {stem}ies"),
        _ if one.ends_with(['s', 'x']) || one.ends_with("ch") || one.ends_with("sh") => {
            format!("{n} {one}es")
        }
        _ => format!("{n} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manual_is_complete_and_every_code_is_its_own() {
        let mut codes = std::collections::BTreeSet::new();
        for rule in RULES {
            assert!(codes.insert(rule.code) && codes.insert(rule.name), "{} twice", rule.code);
            let mut at = 0;
            for heading in ["What it detects", "Why it matters", "Evidence", "Fix", "Fix safety", "Sources"] {
                let found = rule.doc[at..].find(&format!("# {heading}\n"));
                let found = found.unwrap_or_else(|| {
                    panic!("{} lacks the heading {heading}, or has it out of order", rule.code)
                });
                at += found + heading.len();
            }
            for threshold in rule.thresholds {
                assert!(
                    !threshold.doc.is_empty() && threshold.default.is_finite(),
                    "{}.{}",
                    rule.code,
                    threshold.key
                );
            }
        }
    }

    #[test]
    fn steps_of_the_cookbook_read_as_sentences() {
        for step in cookbook::recipes().iter().flat_map(|r| r.steps.iter().map(move |s| recipe_remedy(r, s)))
        {
            let text = step.text;
            assert!(!text.contains(['\n', '\u{2026}']) && !text.contains("  "), "{text}");
            assert!(text.ends_with(['.', ')']), "{text}");
        }
        let text = |id: &str, at: usize| {
            let recipe = cookbook::recipe(id).expect("a recipe");
            recipe_remedy(recipe, &recipe.steps[at]).text
        };
        assert!(
            text("nginx", 0).starts_with("nginx: `keepalive 64;` (in upstream). "),
            "{}",
            text("nginx", 0)
        );
        let hikari = text("java-hikari", 2);
        assert!(
            hikari.contains("): `try (Connection c = ") || hikari.contains(": `try (Connection c = "),
            "{hikari}"
        );
        assert_eq!(versions("1.9; default 5s from 2.0"), " Since 1.9; default 5s from 2.0.");
        assert_eq!(versions("Java 21"), " Since Java 21.");
        assert_eq!(versions("auto from 1.3.8"), " Versions: auto from 1.3.8.");
        let generic = |symptom: Symptom| generic_remedy(&cookbook::generic(symptom)[0]).text;
        assert!(generic(Symptom::ShortConnections).starts_with("Persistent connections"));
        assert!(generic(Symptom::CloseWaitLeak).starts_with("close() on every path: "));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (counted(1, "socket"), counted(2000, "socket")),
            ("1 socket".into(), "2,000 sockets".into())
        );
        let several = ["listening address", "process", "entry", "retry", "delay", "class", "SYN"];
        assert_eq!(
            several.map(|one| counted(3, one)).join(", "),
            "3 listening addresses, 3 processes, 3 entries, 3 retries, 3 delays, 3 classes, 3 SYNs"
        );
        assert_eq!(
            (counted(0, "process"), counted(1, "address")),
            ("0 processes".into(), "1 address".into())
        );
    }
}
