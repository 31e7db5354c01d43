//! Scenarios: incidents written down as data.
//!
//! A scenario is a TOML file: hosts, links, actors, phases, and what is to be expected. Its twins are the same with a
//! few things changed, so that the fault does not occur. `docs/lab.md` describes the format for those who write their
//! own.

mod condition;
mod library;
mod ranges;
mod read;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use condition::{Comparison, Condition, Metric};
pub use library::{find, library, source};
pub use read::{Adjust, from_file, from_text, plain};

use crate::ActorSpec;

/// The most sockets that a scenario may have at a time if it says nothing.
const SOCKETS: u64 = 10_000;
/// The longest that it may take if it says nothing, seconds.
const SECONDS: f64 = 60.0;

/// An incident, or its healthy twin, ready to run: every parameter is filled in.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `short-connections`, or `short-connections-pool` for a twin.
    pub name: String,
    /// The incident that this is the harmless double of.
    pub twin_of: Option<String>,
    /// What it shows, in one line.
    pub title: String,
    /// What happens, in a few sentences.
    pub what: String,
    /// What to look at, and what to expect, in a few sentences.
    pub look: String,
    /// Where it is described: the articles, the kernel's functions or documentation.
    pub source: Vec<String>,
    /// Parameters with their values, in the file's order.
    pub params: Vec<(String, toml::Value)>,
    /// Sysctls that its user set ([`Adjust::sysctls`]); `hosts` has them, too.
    pub set: Vec<(String, String)>,
    /// What it may use at most.
    pub limits: Limits,
    /// It changes settings that belong to the whole machine: only for one that is thrown away afterwards.
    pub machine: BTreeMap<String, String>,
    /// Hosts, in the file's order.
    pub hosts: Vec<(String, HostSpec)>,
    /// Links, in the file's order.
    pub links: Vec<LinkSpec>,
    /// Actors, in the file's order.
    pub actors: Vec<(String, ActorPart)>,
    /// What happens, one after the other.
    pub phases: Vec<Phase>,
    /// What is to be seen.
    pub expect: Expect,
}

/// What a scenario may use at most. It is compared with what the host has before anything starts, and kept to while it
/// runs.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sockets at a time, TIME_WAIT included, over all hosts.
    pub sockets: u64,
    /// From the first actor to the last check, seconds.
    pub seconds: f64,
    /// It keeps the processors busy; scenarios that mostly wait may run beside others.
    pub busy: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { sockets: SOCKETS, seconds: SECONDS, busy: false }
    }
}

/// One host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSpec {
    /// Network sysctls, set before anything starts.
    #[serde(deserialize_with = "read::settings")]
    pub sysctl: BTreeMap<String, String>,
    /// Further addresses of its loopback or links: interface → addresses with prefix length.
    pub address: BTreeMap<String, Vec<String>>,
    /// It forwards between its links.
    pub forward: bool,
    /// Routes: network → next hop; `default` is a network too.
    pub route: BTreeMap<String, String>,
    /// An nftables ruleset, loaded before anything starts.
    pub nft: Option<String>,
    /// What it stands for, for the drawing: `nginx as a gateway`.
    pub role: Option<String>,
}

/// One link: `a = "client 10.77.0.1/24"`, `b = "server 10.77.0.2/24"`.
#[derive(Debug, Clone)]
pub struct LinkSpec {
    /// One end.
    pub a: LinkEnd,
    /// The other.
    pub b: LinkEnd,
}

/// One end of a link; its interface is the host's next `ethN`, in the order of the links.
#[derive(Debug, Clone)]
pub struct LinkEnd {
    /// The host's name.
    pub host: String,
    /// Its address with prefix length.
    pub address: String,
}

/// An actor and where it is.
#[derive(Debug, Clone)]
pub struct ActorPart {
    /// The host's name.
    pub host: String,
    /// It starts in a phase's `spawn`, not before the first phase.
    pub is_late: bool,
    /// What it does.
    pub spec: ActorSpec,
}

/// One phase. What it names is done in the order of these fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phase {
    /// Its name, for those who watch: `the link goes`.
    pub name: String,
    /// Settings to change: host → key → value.
    #[serde(deserialize_with = "read::settings_of_hosts")]
    pub sysctl: BTreeMap<String, BTreeMap<String, String>>,
    /// Rulesets to load: host → nftables ruleset.
    pub nft: BTreeMap<String, String>,
    /// Interfaces to set down, as `host:eth0`.
    pub link_down: Vec<String>,
    /// Interfaces to set up.
    pub link_up: Vec<String>,
    /// Actors that close everything they hold.
    pub release: Vec<String>,
    /// Actors that end.
    pub stop: Vec<String>,
    /// Late actors that start.
    pub spawn: Vec<String>,
    /// Clients that begin.
    pub begin: Vec<String>,
    /// Clients that must have tried all they should.
    pub done: Vec<String>,
    /// Conditions that must hold before the phase goes on; the scenario's time limit bounds the wait.
    pub until: Vec<Condition>,
    /// Instead of for the conditions it waits until this run is as far as another was, so that both have had the same
    /// load and the same time. A file cannot say it.
    #[serde(skip)]
    pub as_far_as: Option<Reached>,
    /// Then wait so long, seconds.
    pub seconds: f64,
    /// Then run `linger check` in every host.
    pub check: Option<Check>,
}

/// How far a run was when the waits of a phase were over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Reached {
    /// The phase's name.
    pub phase: String,
    /// Since the beginning.
    pub seconds: f64,
    /// What each client had tried: connections, or requests over kept ones, whichever are more.
    pub tried: BTreeMap<String, u64>,
}

/// How `linger check` is run.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// As `--samples`.
    pub samples: u32,
    /// As `--interval`, seconds.
    pub interval: f64,
    /// Thresholds that differ from the defaults because times are scaled down, as in a configuration file.
    pub thresholds: toml::Table,
}

impl Default for Check {
    fn default() -> Self {
        Check { samples: 2, interval: 1.0, thresholds: toml::Table::new() }
    }
}

/// What is to be seen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// The codes of the findings of each host. All of them must be there, and none else of warning or worse; of a host
    /// that isn't named, none.
    pub findings: BTreeMap<String, Vec<String>>,
    /// What must hold at the end.
    pub measured: Vec<Condition>,
}

impl Scenario {
    /// Whether a host's name is one of its own.
    pub fn has_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|(host, _)| host == name)
    }

    /// An actor by its name.
    pub fn actor(&self, name: &str) -> Option<&ActorPart> {
        self.actors.iter().find(|(actor, _)| actor == name).map(|(_, part)| part)
    }

    /// Whether it must not run beside others: it keeps the processors busy, or changes what they share.
    pub fn runs_alone(&self) -> bool {
        self.limits.busy || !self.machine.is_empty()
    }

    /// Whether it loads nftables rules.
    pub fn needs_nft(&self) -> bool {
        self.hosts.iter().any(|(_, host)| host.nft.is_some())
            || self.phases.iter().any(|phase| !phase.nft.is_empty())
    }
}
