//! `linger lab show`

use super::list::ListEntry;
use super::load::{incident, is_file, load, params};
use crate::cli::ShowArgs;
use crate::cmd::{print, show};
use crate::render::lab_show::text;
use crate::render::style::Style;
use anyhow::{Context, anyhow};
use linger_lab::scenario::{self, Adjust, HostSpec, Phase, Scenario, library};
use linger_lab::{ActorSpec, Behaviour, Client, Close, KeepaliveTimes, Server};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;

/// A scenario, as a person wants to know it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowReport {
    /// The version of this format: 1.
    pub schema: u32,
    /// As in the list.
    #[serde(flatten)]
    pub entry: ListEntry,
    /// What happens.
    pub what: String,
    /// What to look at, and what to expect.
    pub look: String,
    /// Where it is described.
    pub source: Vec<String>,
    /// Whether it keeps the processors busy, and so runs alone.
    pub busy: bool,
    /// What `--param` can set, with its value.
    pub params: Vec<ShowParam>,
    /// Settings of the whole machine that it changes.
    pub machine_settings: BTreeMap<String, String>,
    /// Hosts with what is in them.
    pub topology: Vec<ShowHost>,
    /// What happens, one after the other.
    pub phases: Vec<ShowPhase>,
    /// Findings to be expected.
    pub findings: Vec<ShowFinding>,
    /// What must hold at the end.
    pub measured: Vec<String>,
    /// The others of its file: the incident, its twins and variants.
    pub related: Vec<ShowRelated>,
}

/// A parameter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowParam {
    /// Its name.
    pub name: String,
    /// What it is when nothing is said.
    pub value: String,
}

/// A host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowHost {
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub role: Option<String>,
    /// Its ends of links.
    pub interfaces: Vec<ShowInterface>,
    /// Further addresses: interface → addresses.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// Whether it forwards between its links.
    pub forwards: bool,
    /// Routes: network → next hop.
    pub routes: BTreeMap<String, String>,
    /// Settings that differ from the kernel's.
    pub sysctls: BTreeMap<String, String>,
    /// Its nftables ruleset.
    pub nft: Option<String>,
    /// Its actors.
    pub actors: Vec<ShowActor>,
}

/// One end of a link.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowInterface {
    /// `eth0`
    pub name: String,
    /// Its address with prefix length.
    pub address: String,
    /// The host at the other end.
    pub peer: String,
    /// The interface there.
    pub peer_interface: String,
    /// The address there.
    pub peer_address: String,
}

/// An actor.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowActor {
    /// Its name.
    pub name: String,
    /// `client`, `server`, `program`, …
    pub kind: String,
    /// What it does, in words.
    pub does: String,
    /// Whether it starts in a phase, not at the beginning.
    pub is_late: bool,
}

/// A phase.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowPhase {
    /// Its name.
    pub name: String,
    /// What is done in it, in order.
    pub does: Vec<String>,
}

/// A finding to be expected.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowFinding {
    /// In this host.
    pub host: String,
    /// The rule's code.
    pub code: String,
    /// The fault's name.
    pub name: String,
}

/// Another scenario of the same file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowRelated {
    /// Its name, or of a user's own file that of the twin.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// `incident`, `twin` or `variant`.
    pub kind: String,
}

/// Shows it.
pub fn run(args: &ShowArgs, style: &Style) -> anyhow::Result<u8> {
    let scenario = load(&args.scenario, args.twin.as_deref(), &Adjust::default())?;
    if args.source {
        return print(&source(&args.scenario)?);
    }
    let report = report(&scenario, &args.scenario)?;
    show(args.format, &report, |report| text(report, style))?;
    Ok(0)
}

/// The text of its file.
fn source(name: &str) -> anyhow::Result<String> {
    if is_file(name) {
        return std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"));
    }
    let text = incident(name).and_then(scenario::source);
    text.map(str::to_owned).ok_or_else(|| anyhow!("{name} has no file"))
}

fn report(scenario: &Scenario, given: &str) -> anyhow::Result<ShowReport> {
    let mut entry = ListEntry::of(scenario);
    let related = if is_file(given) {
        entry.variant_of = None;
        of_file(&source(given)?)
    } else {
        of_library(scenario)?
    };
    let findings = scenario.expect.findings.iter().flat_map(|(host, codes)| {
        codes.iter().map(|code| ShowFinding {
            host: host.clone(),
            code: code.clone(),
            name: linger_rules::rule(code).map_or_else(String::new, |rule| rule.name.to_owned()),
        })
    });
    Ok(ShowReport {
        schema: 1,
        entry,
        what: scenario.what.clone(),
        look: scenario.look.clone(),
        source: scenario.source.clone(),
        busy: scenario.limits.busy,
        params: params(scenario).into_iter().map(|(name, value)| ShowParam { name, value }).collect(),
        machine_settings: scenario.machine.clone(),
        topology: topology(scenario),
        phases: scenario.phases.iter().map(phase).collect(),
        findings: findings.collect(),
        measured: scenario.expect.measured.iter().map(ToString::to_string).collect(),
        related,
    })
}

fn of_library(shown: &Scenario) -> anyhow::Result<Vec<ShowRelated>> {
    let all = library()?;
    let same = all.iter().filter(|it| it.name != shown.name && incident(&it.name) == incident(&shown.name));
    Ok(same
        .map(|it| {
            let kind = match (&it.twin_of, scenario::source(&it.name)) {
                (Some(_), _) => "twin",
                (None, Some(_)) => "incident",
                (None, None) => "variant",
            };
            ShowRelated { name: it.name.clone(), title: it.title.clone(), kind: kind.to_owned() }
        })
        .collect())
}

/// The twins and variants that a file has; it was read before without an error.
fn of_file(text: &str) -> Vec<ShowRelated> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let mut related = Vec::new();
    for kind in ["twin", "variant"] {
        let group = table.get(kind).and_then(toml::Value::as_table);
        for (name, value) in group.into_iter().flatten() {
            let title = value.get("title").or_else(|| table.get("title")).and_then(toml::Value::as_str);
            related.push(ShowRelated {
                name: name.clone(),
                title: title.unwrap_or_default().to_owned(),
                kind: kind.to_owned(),
            });
        }
    }
    related
}

fn topology(scenario: &Scenario) -> Vec<ShowHost> {
    // Interfaces are numbered in the order of the links, in each host.
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    let mut interfaces: BTreeMap<&str, Vec<ShowInterface>> = BTreeMap::new();
    for link in &scenario.links {
        let mut number = |host| {
            let next = next.entry(host).or_default();
            *next += 1;
            format!("eth{}", *next - 1)
        };
        let (a, b) = (number(link.a.host.as_str()), number(link.b.host.as_str()));
        for (this, name, that, peer) in [(&link.a, &a, &link.b, &b), (&link.b, &b, &link.a, &a)] {
            interfaces.entry(&this.host).or_default().push(ShowInterface {
                name: name.clone(),
                address: this.address.clone(),
                peer: that.host.clone(),
                peer_interface: peer.clone(),
                peer_address: that.address.clone(),
            });
        }
    }
    let host = |(name, spec): &(String, HostSpec)| ShowHost {
        name: name.clone(),
        role: spec.role.clone(),
        interfaces: interfaces.get(name.as_str()).cloned().unwrap_or_default(),
        addresses: spec.address.clone(),
        forwards: spec.forward,
        routes: spec.route.clone(),
        sysctls: spec.sysctl.clone(),
        nft: spec.nft.as_deref().map(|text| text.trim_end().to_owned()),
        actors: scenario
            .actors
            .iter()
            .filter(|(_, part)| part.host == *name)
            .map(|(actor, part)| ShowActor {
                name: actor.clone(),
                kind: part.spec.kind().to_owned(),
                does: does(&part.spec),
                is_late: part.is_late,
            })
            .collect(),
    };
    scenario.hosts.iter().map(host).collect()
}

/// What an actor does, in words.
fn does(spec: &ActorSpec) -> String {
    match spec {
        ActorSpec::Client(client) => client_does(client),
        ActorSpec::Server(server) => server_does(server),
        ActorSpec::Bound(bound) => {
            let count = bound.count + bound.ports.len() as u64;
            format!("binds {count} sockets at {} and does not connect them", bound.address)
        }
        ActorSpec::Sockets(sockets) => format!("holds {} sockets without a port", sockets.count),
        ActorSpec::Program(program) => {
            let mut words = format!("runs {} {}", program.program, program.args.join(" "));
            if !program.ready.is_empty() {
                words = format!("{}, which listens at {}", words.trim_end(), few(&program.ready));
            }
            words.trim_end().to_owned()
        }
        _ => "acts".to_owned(),
    }
}

fn client_does(client: &Client) -> String {
    let mut parts = vec![format!("connects to {}", few(&client.targets))];
    if !client.sources.is_empty() {
        parts.push(format!("from {}", few(&client.sources)));
    }
    if client.bind_port {
        parts.push("bound to a port before connect()".to_owned());
    }
    match client.rate {
        Some(rate) => parts.push(format!("{rate} a second")),
        None if client.connections > 1 => parts.push("as fast as it can".to_owned()),
        None => {}
    }
    match client.seconds {
        Some(seconds) => parts.push(format!("for {seconds} s, {} at the most", client.connections)),
        None => parts.push(format!("{} in all", client.connections)),
    }
    if client.requests != 1 {
        parts.push(format!("{} requests on each", client.requests));
    }
    if client.nonblocking_hold {
        parts.push("without waiting for an answer".to_owned());
    }
    if client.hold_ms > 0 {
        parts.push(format!("kept for {} s", client.hold_ms as f64 / 1000.0));
    }
    if client.never_read {
        parts.push("never reads".to_owned());
    }
    if client.fill {
        parts.push("writes until the send buffer stays full".to_owned());
    }
    if client.leak_on.is_some() {
        parts.push("forgets a connection after an error".to_owned());
    }
    parts.extend(keepalive(client.keepalive, client.keepalive_times.as_ref()));
    parts.push(
        match client.close {
            Close::ClientFirst => "closes first",
            Close::ServerFirst => "lets the server close first",
            Close::Never => "never closes",
            Close::Abort => "ends with a reset",
            Close::HalfClose => "shuts down its sending half and keeps the rest",
            Close::WithUnsent => "closes with unsent data",
        }
        .to_owned(),
    );
    parts.join(", ")
}

fn server_does(server: &Server) -> String {
    let mut parts = vec![format!("listens at {}", few(&server.listen))];
    let usual = Server::default();
    if server.backlog != usual.backlog {
        parts.push(format!("backlog {}", server.backlog));
    }
    if !server.reuseaddr {
        parts.push("without SO_REUSEADDR".to_owned());
    }
    if server.reuseport > 1 {
        parts.push(format!("{} SO_REUSEPORT sockets each", server.reuseport));
    }
    if server.retry_bind {
        parts.push("tries again while bind() fails".to_owned());
    }
    if let Some(limit) = server.nofile {
        parts.push(format!("with {limit} descriptors at the most"));
    }
    parts.extend(keepalive(server.keepalive, server.keepalive_times.as_ref()));
    parts.push(match server.behaviour {
        Behaviour::Echo => "answers, and closes when its client does".to_owned(),
        Behaviour::CloseFirst => "answers and closes first".to_owned(),
        Behaviour::NeverClose => "answers and never closes".to_owned(),
        Behaviour::NeverRead => "never reads".to_owned(),
        Behaviour::NeverAccept => "never accepts".to_owned(),
        Behaviour::SlowAccept { per_second } => format!("accepts {per_second} a second"),
        Behaviour::KeepAfterReset => "keeps descriptors of connections that were reset".to_owned(),
    });
    if server.delay_ms > 0 {
        parts.push(format!("after {} ms", server.delay_ms));
    }
    parts.join(", ")
}

fn keepalive(is_on: bool, times: Option<&KeepaliveTimes>) -> Option<String> {
    match times {
        Some(times) => Some(format!(
            "keep-alive after {} s, then {} probes {} s apart",
            times.idle_s, times.probes, times.interval_s
        )),
        None => is_on.then(|| "with keep-alive".to_owned()),
    }
}

/// The first two, and how many more.
fn few<T: Display>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(2).map(ToString::to_string).collect();
    match items.len() {
        0 => "nowhere".to_owned(),
        1 | 2 => shown.join(" and "),
        more => format!("{} and {} more", shown.join(", "), more - 2),
    }
}

fn phase(phase: &Phase) -> ShowPhase {
    let mut does = Vec::new();
    for (host, settings) in &phase.sysctl {
        does.extend(settings.iter().map(|(key, value)| format!("set {key} = {value} in {host}")));
    }
    does.extend(phase.nft.keys().map(|host| format!("load nftables rules in {host}")));
    for (devices, what) in [(&phase.link_down, "down"), (&phase.link_up, "up")] {
        does.extend(devices.iter().map(|device| format!("link {device} goes {what}")));
    }
    for (names, what) in [
        (&phase.release, "closes what it holds"),
        (&phase.stop, "ends"),
        (&phase.spawn, "starts"),
        (&phase.begin, "begins"),
        (&phase.done, "has tried all it should"),
    ] {
        does.extend(names.iter().map(|name| format!("{name} {what}")));
    }
    does.extend(phase.until.iter().map(|condition| format!("until {condition}")));
    if phase.seconds > 0.0 {
        does.push(format!("{} s", phase.seconds));
    }
    if let Some(check) = &phase.check {
        let mut text = format!("check in every host: {} samples, {} s apart", check.samples, check.interval);
        let mut thresholds = Vec::new();
        for (code, values) in &check.thresholds {
            for (key, value) in values.as_table().into_iter().flatten() {
                thresholds.push(format!("{code}.{key} = {value}"));
            }
        }
        if !thresholds.is_empty() {
            text.push_str(&format!(" ({})", thresholds.join(", ")));
        }
        does.push(text);
    }
    ShowPhase { name: phase.name.clone(), does }
}
