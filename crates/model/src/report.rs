//! What a person, a script or Prometheus gets.

use crate::StateCounts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the report's JSON. It changes when a field changes its meaning or goes; fields may be added.
pub const REPORT_SCHEMA: u32 = 1;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing has to be done now.
    Info,
    /// Something fails a little, or soon.
    Warning,
    /// Connections fail now, or within minutes.
    Critical,
}

impl Severity {
    /// `info`, `warning` or `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// An estimate, or one of several explanations.
    Low,
    /// The evidence fits, and something else could look alike.
    Medium,
    /// The kernel says so.
    High,
}

/// The whole report's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing of warning or worse.
    Ok,
    /// Sockets or counters could not be read at all, or a rule that was asked for could not be answered.
    Unknown,
    /// The worst finding is a warning.
    Warning,
    /// The worst finding is critical.
    Critical,
}

impl Verdict {
    /// `ok`, `unknown`, `warning` or `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Critical => "critical",
        }
    }
}

/// One figure behind a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What was measured: `TcpExt.ListenOverflows`, `TIME_WAIT sockets towards 10.0.0.2:443`.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit: `sockets`, `/s`, `ms`, `bytes`, `fraction`, …; empty for a setting's value.
    pub unit: String,
    /// Where it was read: `sock_diag`, `/proc/net/netstat over 1.0 s`, `sysctl net.ipv4.tcp_tw_reuse`.
    pub source: String,
}

impl Evidence {
    /// A figure with its unit and source.
    pub fn new(
        what: impl Into<String>,
        value: f64,
        unit: impl Into<String>,
        source: impl Into<String>,
    ) -> Evidence {
        Evidence { what: what.into(), value, unit: unit.into(), source: source.into() }
    }
}

/// What kind of remedy, in the order in which they should be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemedyKind {
    /// In the application or its configuration.
    Application,
    /// In how the parts are put together: more destinations, more source addresses.
    Architecture,
    /// In the kernel's settings.
    Kernel,
}

/// How freely a remedy can be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Applicability {
    /// Reversible, and touches new connections only.
    Safe,
    /// Has a price; opt in knowingly.
    Unsafe,
    /// A person must do it.
    Advice,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remedy {
    /// Where.
    pub kind: RemedyKind,
    /// How freely.
    pub applicability: Applicability,
    /// What, in a sentence or two.
    pub text: String,
    /// For a kernel remedy: the setting, as `key=value`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sysctl: Option<String>,
}

impl Remedy {
    /// Advice for the application.
    pub fn application(text: impl Into<String>) -> Remedy {
        Remedy {
            kind: RemedyKind::Application,
            applicability: Applicability::Advice,
            text: text.into(),
            sysctl: None,
        }
    }

    /// Advice for the architecture.
    pub fn architecture(text: impl Into<String>) -> Remedy {
        Remedy { kind: RemedyKind::Architecture, ..Remedy::application(text) }
    }

    /// A kernel setting.
    pub fn kernel(
        applicability: Applicability,
        sysctl: impl Into<String>,
        text: impl Into<String>,
    ) -> Remedy {
        Remedy { kind: RemedyKind::Kernel, applicability, text: text.into(), sysctl: Some(sysctl.into()) }
    }
}

/// A fault, found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule's code: `TW001`. Never changes its meaning.
    pub code: String,
    /// The rule's name: `ephemeral-port-exhaustion`.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// What is wrong, in one sentence with its figures.
    pub summary: String,
    /// Who: process, listener, peer or tuple.
    pub subject: String,
    /// Why this kernel behaves so.
    pub why: String,
    /// The figures, each with its source.
    pub evidence: Vec<Evidence>,
    /// What to do, in the order to try.
    pub remedies: Vec<Remedy>,
    /// The process to blame, where one is known; remedies are matched to it. Not part of the report.
    #[serde(skip)]
    #[schemars(skip)]
    pub process: Option<crate::aggregate::ProcessIndex>,
    /// Findings that say less about the same, by code and subject; they are left out beside this one. Not part of the
    /// report.
    #[serde(skip)]
    #[schemars(skip)]
    pub covers: Vec<(&'static str, String)>,
}

impl Finding {
    /// Sorts the remedies into the order in which they should be tried.
    pub fn order_remedies(&mut self) {
        self.remedies.sort_by_key(|r| r.kind);
    }
}

/// A fault that was looked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuledOut {
    /// The rule's code.
    pub code: String,
    /// By what it was ruled out, or why it was not looked for.
    pub why: String,
    /// Whether it was looked for; false where it cannot occur here, or needs a longer window (`--samples`).
    pub checked: bool,
}

/// A question that could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// The rule's code, or empty for something that several rules miss.
    pub code: String,
    /// What is missing, and how to get it.
    pub gap: String,
}

/// How full something is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Headroom {
    /// What: `local ports`, `time_wait buckets`, `descriptors`, `conntrack entries`, `tcp memory`, `orphans`, ….
    pub resource: String,
    /// Of whom.
    pub subject: String,
    /// In use.
    pub used: u64,
    /// The limit.
    pub limit: u64,
    /// `used / limit`; 0 for a limit of 0.
    pub fraction: f64,
    /// Seconds until it is full at the present rate; `null` when it does not grow, or no rate is known.
    pub time_to_exhaustion_s: Option<f64>,
}

impl Headroom {
    /// From what is used and the limit; `growth` is per second.
    pub fn new(
        resource: &str,
        subject: impl Into<String>,
        used: u64,
        limit: u64,
        growth: Option<f64>,
    ) -> Headroom {
        let free = limit.saturating_sub(used) as f64;
        Headroom {
            resource: resource.to_owned(),
            subject: subject.into(),
            used,
            limit,
            fraction: if limit == 0 { 0.0 } else { used as f64 / limit as f64 },
            time_to_exhaustion_s: growth.filter(|g| *g > 0.0).map(|g| (free / g * 10.0).round() / 10.0),
        }
    }
}

/// The namespace a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportNetns {
    /// Inode of the namespace.
    pub inode: u64,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Whether it is the host's first one; `null` where that could not be told.
    pub is_init: Option<bool>,
}

/// A piece of imported text that was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedPiece {
    /// The file, or `-` for standard input.
    pub file: String,
    /// What it is: `ss`, `netstat -s`, `/proc/net/tcp`, ….
    pub what: String,
    /// Its first line; 0 for a recording.
    pub first_line: u64,
    /// Its last line; 0 for a recording.
    pub last_line: u64,
    /// TCP sockets in it; of a recording those of its last sample.
    pub sockets: u64,
    /// Why nothing of it is in the report; empty where it is used.
    pub unused: String,
}

/// Lines of imported text that were not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportSkipped {
    /// The file.
    pub file: String,
    /// The first of the lines; 0 for the whole file.
    pub line: u64,
    /// How that one begins.
    pub text: String,
    /// Why.
    pub reason: String,
    /// How many lines were skipped for this reason.
    pub lines: u64,
}

/// What a recording does not tell, as it was made so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// Addresses: each is behind a mask, which says nothing beside another recording's.
    Addresses,
    /// Addresses and names.
    All,
}

/// From where a report was imported, and what of it was understood.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// The file or folder, as it was named.
    pub from: String,
    /// What was understood, in the order of the text.
    pub pieces: Vec<ImportedPiece>,
    /// What was not.
    pub skipped: Vec<ImportSkipped>,
    /// Commands whose output would answer what is open, the most telling first.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What is hidden in it; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hidden: Option<Hidden>,
}

impl Imported {
    /// Whether any of it is used.
    pub fn is_used(&self) -> bool {
        self.pieces.iter().any(|piece| piece.unused.is_empty())
    }
}

/// One namespace's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// Which namespace.
    pub netns: ReportNetns,
    /// When the last sample was taken, RFC 3339 in UTC.
    pub taken_at: String,
    /// Seconds between the first sample and the last.
    pub interval_s: f64,
    /// The whole report's word.
    pub verdict: Verdict,
    /// Sockets per state; `null` where the sockets could not be read at all.
    pub states: Option<StateCounts>,
    /// How the sockets were read: `sock_diag` or `proc_net_tcp`; `null` where they were not.
    pub source: Option<crate::aggregate::SocketSource>,
    /// From which file or folder, where the sockets are not this host's own of this moment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub imported: Option<Imported>,
    /// Faults, worst first.
    pub findings: Vec<Finding>,
    /// Faults that were looked for and are not there.
    pub ruled_out: Vec<RuledOut>,
    /// Questions without an answer.
    pub unknown: Vec<Unknown>,
    /// How full the limited things are, fullest first.
    pub headroom: Vec<Headroom>,
}

/// Several namespaces' reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reports {
    /// Version of this format: 1.
    pub schema: u32,
    /// The worst verdict of all.
    pub verdict: Verdict,
    /// One for each namespace; host-wide findings stand in the first only.
    pub reports: Vec<Report>,
}

impl Reports {
    /// Several reports under the worst verdict; unknown without any.
    pub fn new(reports: Vec<Report>) -> Reports {
        let verdict = reports.iter().map(|r| r.verdict).max().unwrap_or(Verdict::Unknown);
        Reports { schema: REPORT_SCHEMA, verdict, reports }
    }
}
