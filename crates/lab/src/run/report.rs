//! What a run gives.

use std::collections::BTreeMap;

use linger_model::State;
use linger_model::report::{Report, Severity};
use schemars::JsonSchema;
use serde::Serialize;

use crate::scenario::{ActorPart, Reached};
use crate::{Latency, Outcome};

/// The version of the JSON of a run. It changes when a field changes its meaning or goes; fields may be added.
pub const RUN_SCHEMA: u32 = 1;

/// A run of a scenario.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunReport {
    /// The version of this format.
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What it shows.
    pub title: String,
    /// The kernel it ran on.
    pub kernel: String,
    /// Whether everything expected was seen, and nothing else of warning or worse.
    pub as_expected: bool,
    /// From the beginning to the end.
    pub seconds: f64,
    /// Parameters with their values.
    pub params: BTreeMap<String, String>,
    /// Sysctls that were set for this run, in every host or as `HOST:sysctl`; not those of the scenario itself.
    pub set: BTreeMap<String, String>,
    /// Hosts, in the scenario's order.
    pub hosts: Vec<HostReport>,
    /// Actors, in the scenario's order.
    pub actors: Vec<ActorReport>,
    /// Phases, in the scenario's order.
    pub phases: Vec<Reached>,
    /// What was to be measured.
    pub expectations: Vec<Expectation>,
}

/// One host of a run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HostReport {
    /// Its name.
    pub name: String,
    /// States over time; those that never had a socket are left out.
    pub states: Vec<StateSeries>,
    /// By how much TCP's counters rose; those that did not are left out.
    pub counters: BTreeMap<String, u64>,
    /// What `linger check` found.
    pub findings: Vec<Found>,
    /// Codes that were expected.
    pub expected: Vec<String>,
    /// Those of them that were not found.
    pub missing: Vec<String>,
    /// The whole report of `linger check`.
    pub report: Report,
}

/// How many sockets were in a state, over time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StateSeries {
    /// The state.
    #[schemars(with = "String")]
    pub state: State,
    /// Counts, evenly spread over the run, at most 60; each is the most of its part.
    pub counts: Vec<u64>,
    /// The most at a time.
    pub peak: u64,
    /// At the end.
    pub last: u64,
}

/// A finding of a run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Found {
    /// The rule's code.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub summary: String,
    /// Whether it was expected; notes always are.
    pub is_expected: bool,
}

/// What an actor did.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ActorReport {
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// `client`, `server`, `program`, …
    pub kind: String,
    /// Connections tried (client), accepted (server).
    pub attempted: u64,
    /// Those that went through.
    pub succeeded: u64,
    /// Answers that a client got, over all its connections.
    pub answered: u64,
    /// Failures by errno.
    pub errors: BTreeMap<String, u64>,
    /// How long connect() took where it succeeded; `null` where none did, and of those that do not connect.
    pub connect_ms: Option<Latency>,
    /// Sockets held at the end.
    pub held: u64,
    /// Connections that were never given back.
    pub leaked: u64,
    /// How long it was at it.
    pub seconds: f64,
}

/// Something that was to be measured.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Expectation {
    /// `load: EADDRNOTAVAIL >= 1000`
    pub what: String,
    /// What was measured; absent where this kernel has no such counter.
    pub seen: Option<f64>,
    /// Whether it holds.
    pub is_met: bool,
}

impl ActorReport {
    pub(super) fn new(name: &str, part: &ActorPart, outcome: &Outcome) -> ActorReport {
        ActorReport {
            name: name.to_owned(),
            host: part.host.clone(),
            kind: part.spec.kind().to_owned(),
            attempted: outcome.attempted,
            succeeded: outcome.succeeded,
            answered: outcome.answered,
            errors: outcome.errors.clone(),
            connect_ms: outcome.connect_ms,
            held: outcome.held,
            leaked: outcome.leaked,
            seconds: (outcome.seconds * 10.0).round() / 10.0,
        }
    }
}
