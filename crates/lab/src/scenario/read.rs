//! From a TOML file to a [`Scenario`]: twin laid over it, parameters filled in, everything checked before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::ranges;
use super::{ActorPart, Expect, HostSpec, Limits, LinkEnd, LinkSpec, Metric, Phase, Scenario};
use crate::world::{address, cidr};
use crate::{ActorSpec, Behaviour, Bound, Client, Error, Program, Server, Sockets, sysctl};

/// The largest file that is read, bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The largest description of an actor, bytes: the kernel takes 128 KiB as one argument.
const LARGEST_ACTOR: usize = 120_000;
/// Namespaces, processes and steps that a run may have.
const MOST_HOSTS: usize = 32;
const MOST_ACTORS: usize = 64;
const MOST_PHASES: usize = 64;
/// How much of an error of the TOML library is shown, characters: it quotes the line.
const ERROR_SHOWN: usize = 300;
/// Why an address is refused.
const PRIVATE: &str = "is a public address; a lab uses loopback and private addresses (10.0.0.0/8, fd00::/8)";

/// What its user changes.
#[derive(Debug, Clone, Default)]
pub struct Adjust {
    /// Parameters: name and value as written.
    pub params: Vec<(String, String)>,
    /// Sysctls for every host, or `host:key` for one.
    pub sysctls: Vec<(String, String)>,
}

/// The file, with its parameters filled in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    #[serde(default)]
    what: String,
    #[serde(default)]
    look: String,
    #[serde(default)]
    source: Vec<String>,
    #[serde(default)]
    limits: Limits,
    #[serde(default, deserialize_with = "settings")]
    machine: BTreeMap<String, String>,
    host: Table,
    #[serde(default)]
    links: Vec<[String; 2]>,
    #[serde(default)]
    actor: Table,
    #[serde(default)]
    phase: Vec<Phase>,
    #[serde(default)]
    expect: Expect,
}

/// Settings may be written as numbers, too.
pub(super) fn settings<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(key, value)| (key, plain(&value))).collect())
}

/// The same for each host.
pub(super) fn settings_of_hosts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, D::Error> {
    let hosts = BTreeMap::<String, BTreeMap<String, Value>>::deserialize(deserializer)?;
    let texts =
        |of: BTreeMap<String, Value>| of.into_iter().map(|(key, value)| (key, plain(&value))).collect();
    Ok(hosts.into_iter().map(|(host, of)| (host, texts(of))).collect())
}

/// What lies beside the incident itself in its file.
struct Parts {
    base: Table,
    params: Table,
    twins: Table,
    variants: Table,
}

/// Reads a scenario of a user's own file; `FILE#TWIN` is one of its twins.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn from_file(path: &Path, twin: Option<&str>, adjust: &Adjust) -> Result<Scenario, Error> {
    let failed = |why: String| malformed(&path.display().to_string(), &why);
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !size.is_file() || size.len() > LARGEST_FILE {
        return Err(failed("it must be a regular file of at most 1 MiB".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let name = path.file_stem().map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy().into_owned());
    if twin.is_none() {
        // A fault in a twin is told with the file, not when that twin is run.
        for twin in twins(&name, &text)? {
            from_text(&name, &text, Some(&twin), &Adjust::default())?;
        }
    }
    from_text(&name, &text, twin, adjust)
}

/// Reads a scenario, or one of its twins or variants.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn from_text(name: &str, text: &str, twin: Option<&str>, adjust: &Adjust) -> Result<Scenario, Error> {
    let Parts { mut base, mut params, twins, variants } = parts(name, text)?;
    let mut twin_of = None;
    let mut full_name = name.to_owned();
    if let Some(twin) = twin {
        let change = twins.get(twin).or_else(|| variants.get(twin));
        let Some(Value::Table(change)) = change else {
            let known: Vec<&str> = twins.keys().chain(variants.keys()).map(String::as_str).collect();
            return Err(malformed(name, &format!("it has no twin {twin:?}; it has: {}", known.join(", "))));
        };
        let mut change = change.clone();
        if let Some(Value::Table(own)) = change.remove("params") {
            params.extend(own);
        }
        // Nothing is to be seen of a twin but what it says itself.
        base.remove("expect");
        overlay(&mut base, change);
        full_name = format!("{name}-{twin}");
        twin_of = twins.contains_key(twin).then(|| name.to_owned());
    }
    for (key, value) in &adjust.params {
        set_param(&full_name, &mut params, key, value)?;
    }
    let mut filled = Value::Table(base);
    fill(&mut filled, &params).map_err(|why| malformed(&full_name, &why))?;
    let file: File =
        filled.try_into().map_err(|error: toml::de::Error| malformed(&full_name, &one_line(&error)))?;
    let scenario = build(full_name, twin_of, params, file, adjust)?;
    check(&scenario)?;
    Ok(scenario)
}

/// The names of a file's twins and variants.
pub(super) fn twins(name: &str, text: &str) -> Result<Vec<String>, Error> {
    let parts = parts(name, text)?;
    Ok(parts.twins.keys().chain(parts.variants.keys()).cloned().collect())
}

fn parts(name: &str, text: &str) -> Result<Parts, Error> {
    let mut base: Table =
        text.parse().map_err(|error: toml::de::Error| malformed(name, &one_line(&error)))?;
    let mut take = |key: &str| match base.remove(key) {
        None => Ok(Table::new()),
        Some(Value::Table(table)) => Ok(table),
        Some(_) => Err(malformed(name, &format!("`{key}` must be a table"))),
    };
    let (params, twins, variants) = (take("params")?, take("twin")?, take("variant")?);
    for (group, of) in [("twin", &twins), ("variant", &variants)] {
        if let Some((key, _)) = of.iter().find(|(_, value)| !value.is_table()) {
            return Err(malformed(name, &format!("`{group}.{key}` must be a table")));
        }
    }
    if let Some((key, _)) = params.iter().find(|(_, it)| it.is_table() || it.is_array()) {
        return Err(malformed(name, &format!("`params.{key}` must be a number, a text or true or false")));
    }
    Ok(Parts { base, params, twins, variants })
}

/// Lays a change over a table: tables are merged, everything else is replaced.
fn overlay(base: &mut Table, change: Table) {
    for (key, value) in change {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn set_param(name: &str, params: &mut Table, key: &str, text: &str) -> Result<(), Error> {
    let known: Vec<String> = params.keys().cloned().collect();
    let Some(slot) = params.get_mut(key) else {
        let has =
            if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) };
        return Err(malformed(name, &format!("no parameter {key:?}; {has}")));
    };
    let value = match slot {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().filter(|it: &f64| it.is_finite()).map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        _ => Some(Value::String(text.to_owned())),
    };
    match value {
        Some(value) => {
            *slot = value;
            Ok(())
        }
        None => Err(malformed(name, &format!("parameter {key}={text}: a value like {slot} is expected"))),
    }
}

/// Puts parameters in their places: `"$rate"` becomes the value itself, `${rate}` inside a text its text.
fn fill(value: &mut Value, params: &Table) -> Result<(), String> {
    match value {
        Value::String(text) => {
            let whole = text.strip_prefix('$').filter(|name| is_name(name));
            if let Some(name) = whole {
                *value = params.get(name).cloned().ok_or_else(|| format!("no parameter {name:?}"))?;
            } else if text.contains("${") {
                *text = filled(text, params)?;
            }
            Ok(())
        }
        Value::Array(values) => values.iter_mut().try_for_each(|it| fill(it, params)),
        Value::Table(table) => table.iter_mut().try_for_each(|(_, it)| fill(it, params)),
        _ => Ok(()),
    }
}

fn filled(text: &str, params: &Table) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("{text:?}: ${{ is never closed"))?;
        out.push_str(before);
        match params.get(name) {
            Some(value) => out.push_str(&plain(value)),
            None => return Err(format!("{text:?}: no parameter {name:?}")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A value without TOML's quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn build(
    name: String,
    twin_of: Option<String>,
    params: Table,
    file: File,
    adjust: &Adjust,
) -> Result<Scenario, Error> {
    let wrong = |why: String| malformed(&name, &why);
    let mut hosts = Vec::new();
    for (host, value) in file.host {
        let mut value = value;
        if let Some(Value::Table(addresses)) = value.get_mut("address") {
            for (_, of_device) in addresses.iter_mut() {
                if let Value::Array(values) = of_device {
                    *values = ranges::expanded(values);
                }
            }
        }
        let spec: HostSpec =
            value.try_into().map_err(|e: toml::de::Error| wrong(format!("host.{host}: {}", one_line(&e))))?;
        hosts.push((host, spec));
    }
    for (key, value) in &adjust.sysctls {
        let (only, key) = key.split_once(':').map_or((None, key.as_str()), |(host, key)| (Some(host), key));
        if let Some(only) = only.filter(|only| hosts.iter().all(|(host, _)| host != only)) {
            return Err(wrong(format!("it has no host {only:?}; it has: {}", names(&hosts))));
        }
        for (host, spec) in &mut hosts {
            if only.is_none_or(|only| only == host) {
                spec.sysctl.insert(key.to_owned(), value.clone());
            }
        }
    }
    let mut actors = Vec::new();
    for (actor, value) in file.actor {
        let wrong = |why: &str| wrong(format!("actor.{actor}: {why}"));
        let Value::Table(mut table) = value else { return Err(wrong("must be a table")) };
        let Some(Value::String(host)) = table.remove("host") else {
            return Err(wrong("`host` is missing: where it is"));
        };
        let is_late = match table.remove("late") {
            None => false,
            Some(Value::Boolean(late)) => late,
            Some(_) => return Err(wrong("`late` must be true or false")),
        };
        if !table.contains_key("comm") {
            table.insert("comm".into(), Value::String(actor.chars().take(15).collect()));
        }
        for key in ["targets", "listen", "sources", "ready", "ports"] {
            if let Some(Value::Array(values)) = table.get_mut(key) {
                *values = ranges::expanded(values);
            }
        }
        let spec = actor_spec(table).map_err(|why| wrong(&why))?;
        actors.push((actor, ActorPart { host, is_late, spec }));
    }
    let mut links = Vec::new();
    for ends in file.links {
        let [a, b] = ends.map(|end| match end.split_once(' ') {
            Some((host, address)) => Ok(LinkEnd { host: host.into(), address: address.trim().into() }),
            None => Err(wrong(format!("links: {end:?}: an end is written as \"client 10.77.0.1/24\""))),
        });
        links.push(LinkSpec { a: a?, b: b? });
    }
    Ok(Scenario {
        twin_of,
        title: file.title,
        what: file.what.trim().to_owned(),
        look: file.look.trim().to_owned(),
        source: file.source,
        params: params.into_iter().collect(),
        set: adjust.sysctls.clone(),
        limits: file.limits,
        machine: file.machine,
        hosts,
        links,
        actors,
        phases: file.phase,
        expect: file.expect,
        name,
    })
}

/// What an actor does. It is read as its kind alone, so that an error names the key.
fn actor_spec(mut table: Table) -> Result<ActorSpec, String> {
    fn of<T: DeserializeOwned + Into<ActorSpec>>(table: Table) -> Result<ActorSpec, String> {
        Value::Table(table).try_into::<T>().map(Into::into).map_err(|error| one_line(&error))
    }
    let is_endpoint: fn(&str) -> bool = |text| text.parse::<SocketAddr>().is_ok();
    let is_ip: fn(&str) -> bool = |text| text.parse::<IpAddr>().is_ok();
    let endpoint = "an address with a port, such as \"10.77.0.2:80\"";
    let lists = [
        ("targets", is_endpoint, endpoint),
        ("listen", is_endpoint, endpoint),
        ("ready", is_endpoint, endpoint),
        ("sources", is_ip, "an address, such as \"10.77.0.2\""),
    ];
    for (key, is_right, right) in lists {
        let values = table.get(key).and_then(Value::as_array);
        if let Some(wrong) = values.into_iter().flatten().find(|it| !it.as_str().is_some_and(is_right)) {
            return Err(format!("{key}: {wrong} must be {right}"));
        }
    }
    let kinds = "\"client\", \"server\", \"bound\", \"sockets\" or \"program\"";
    let Some(kind) = table.remove("kind") else { return Err(format!("`kind` is missing: {kinds}")) };
    match kind.as_str() {
        Some("client") => of::<Client>(table),
        Some("server") => of::<Server>(table),
        Some("bound") => of::<Bound>(table),
        Some("sockets") => of::<Sockets>(table),
        Some("program") => of::<Program>(table),
        _ => Err(format!("kind: {kind} must be {kinds}")),
    }
}

/// What can be told of a host without making it.
fn check_host(scenario: &Scenario, name: &str, spec: &HostSpec) -> Result<(), Error> {
    spec.sysctl.keys().try_for_each(|key| sysctl::path(key).map(drop))?;
    for (device, addresses) in &spec.address {
        check_device(scenario, name, device)?;
        addresses.iter().try_for_each(|text| cidr(text).map(drop))?;
    }
    for (network, via) in &spec.route {
        if network != "default" {
            cidr(network)?;
        }
        address(via)?;
    }
    Ok(())
}

/// Whether a host has an interface.
fn check_device(scenario: &Scenario, host: &str, device: &str) -> Result<(), Error> {
    let ends = scenario.links.iter().flat_map(|link| [&link.a, &link.b]);
    let links = ends.filter(|end| end.host == host).count();
    let mut known = (0..links).map(|nth| format!("eth{nth}")).chain(["lo".to_owned()]);
    if known.clone().any(|it| it == device) {
        return Ok(());
    }
    let why = format!("{host} has {}", known.by_ref().collect::<Vec<_>>().join(", "));
    Err(Error::Malformed { what: "interface", text: device.to_owned(), why })
}

/// What can be told without running it.
fn check(scenario: &Scenario) -> Result<(), Error> {
    let wrong = |why: String| Err(malformed(&scenario.name, &why));
    let host = |name: &str| match scenario.has_host(name) {
        true => Ok(()),
        false => wrong(format!("no host {name:?}; there are: {}", names(&scenario.hosts))),
    };
    let actor = |name: &str, late: Option<bool>| match scenario.actor(name) {
        Some(part) if late.is_none_or(|late| late == part.is_late) => Ok(()),
        Some(_) => wrong(format!("actor {name:?} must have `late = true`, to be spawned in a phase")),
        None => wrong(format!("no actor {name:?}; there are: {}", names(&scenario.actors))),
    };
    if scenario.hosts.is_empty() {
        return wrong("there is no host".into());
    }
    if scenario.hosts.iter().any(|(name, _)| name.trim().is_empty()) {
        return wrong("a host has no name".into());
    }
    let mut taken = BTreeSet::new();
    for link in &scenario.links {
        host(&link.a.host)?;
        host(&link.b.host)?;
        if link.a.host == link.b.host {
            return wrong(format!("links: {} is linked with itself", link.a.host));
        }
        for end in [&link.a, &link.b] {
            let (ip, _) = match cidr(&end.address) {
                Ok(cidr) => cidr,
                Err(error) => return wrong(format!("links: {error}")),
            };
            if !is_private(ip) {
                return wrong(format!("links: {} {PRIVATE}", end.address));
            }
            if !taken.insert(ip) {
                return wrong(format!("links: {} is given twice", end.address));
            }
        }
    }
    for (_, part) in &scenario.actors {
        host(&part.host)?;
    }
    for (name, spec) in &scenario.hosts {
        if let Err(error) = check_host(scenario, name, spec) {
            return wrong(format!("host.{name}: {error}"));
        }
    }
    for phase in &scenario.phases {
        let in_phase = |error: Error| malformed(&scenario.name, &format!("phase {:?}: {error}", phase.name));
        phase.sysctl.keys().chain(phase.nft.keys()).try_for_each(|name| host(name))?;
        let mut keys = phase.sysctl.values().flat_map(BTreeMap::keys);
        keys.try_for_each(|key| sysctl::path(key).map(drop)).map_err(in_phase)?;
        for device in phase.link_down.iter().chain(&phase.link_up) {
            let Some((name, device)) = device.split_once(':') else {
                return wrong(format!("{device:?}: an interface is written as \"client:eth0\""));
            };
            host(name)?;
            check_device(scenario, name, device).map_err(in_phase)?;
        }
        for name in phase.release.iter().chain(&phase.stop) {
            actor(name, None)?;
        }
        for name in phase.begin.iter().chain(&phase.done) {
            actor(name, None)?;
            if !matches!(scenario.actor(name).map(|it| &it.spec), Some(ActorSpec::Client(_))) {
                return wrong(format!(
                    "phase {:?}: {name} is no client: only clients begin and are done",
                    phase.name
                ));
            }
        }
        phase.spawn.iter().try_for_each(|name| actor(name, Some(true)))?;
        if !(0.0..=3600.0).contains(&phase.seconds) {
            return wrong(format!("phase {:?}: seconds must be 0 to 3600", phase.name));
        }
        if let Some(check) = &phase.check
            && !((0.05..=3600.0).contains(&check.interval)
                && check.samples >= 1
                && f64::from(check.samples - 1) * check.interval <= scenario.limits.seconds)
        {
            return wrong(format!(
                "phase {:?}: check needs an interval of 0.05 s at least, and samples that fit into limits.seconds",
                phase.name
            ));
        }
    }
    if scenario.phases.iter().filter(|phase| phase.check.is_some()).count() != 1 {
        return wrong("exactly one phase must have `check`: it says what is to be found when".into());
    }
    scenario.expect.findings.keys().try_for_each(|name| host(name))?;
    let conditions = scenario.phases.iter().flat_map(|phase| &phase.until).chain(&scenario.expect.measured);
    for condition in conditions {
        if condition.metric.is_of_host() {
            host(&condition.subject)?;
        } else {
            actor(&condition.subject, None)?;
        }
        // Whether this kernel has it is seen when it runs.
        if let Metric::Counter(name) = &condition.metric
            && !["Tcp.", "TcpExt.", "Ip.", "IpExt."].iter().any(|group| name.starts_with(group))
        {
            return wrong(format!("{name:?} is no counter; they are written as TcpExt.ListenOverflows"));
        }
    }
    let limits = &scenario.limits;
    if !(limits.seconds >= 1.0 && limits.seconds <= 3600.0) || limits.sockets == 0 {
        return wrong("limits: seconds must be 1 to 3600, and sockets at least 1".into());
    }
    for (what, has, most) in [
        ("hosts", scenario.hosts.len(), MOST_HOSTS),
        ("links", scenario.links.len(), MOST_HOSTS * 2),
        ("actors", scenario.actors.len(), MOST_ACTORS),
        ("phases", scenario.phases.len(), MOST_PHASES),
    ] {
        if has > most {
            return wrong(format!("it has {has} {what}; at most {most} are run"));
        }
    }
    for (name, part) in &scenario.actors {
        if let Err(why) = check_actor(&part.spec, limits) {
            return wrong(format!("actor.{name}: {why}"));
        }
    }
    for (_, part) in &scenario.actors {
        let outside = addresses(&part.spec).into_iter().find(|ip| !is_private(*ip));
        if let Some(outside) = outside {
            return wrong(format!("{outside} {PRIVATE}"));
        }
    }
    Ok(())
}

/// Whether an actor can do what it is told, within the scenario's limits.
fn check_actor(spec: &ActorSpec, limits: &Limits) -> Result<(), String> {
    let within = |what: &str, number: f64, low: f64, high: f64| match (low..=high).contains(&number) {
        true => Ok(()),
        false => Err(format!("{what} must be {low} to {high}, and is {number}")),
    };
    let threads = |threads: usize| within("threads", threads as f64, 1.0, 64.0);
    match spec {
        ActorSpec::Client(client) => {
            threads(client.threads)?;
            if let Some(rate) = client.rate {
                within("rate", rate, 0.01, 1e7)?;
            }
            if let Some(seconds) = client.seconds {
                within("seconds", seconds, 0.0, 3600.0)?;
            }
            if client.targets.is_empty() {
                return Err("targets is missing: where it connects to".into());
            }
        }
        ActorSpec::Server(server) => {
            threads(server.threads)?;
            within("backlog", f64::from(server.backlog), 0.0, f64::from(i32::MAX))?;
            if let Behaviour::SlowAccept { per_second } = server.behaviour {
                within("per_second", per_second, 0.01, 1e7)?;
            }
            if server.listen.is_empty() {
                return Err("listen is missing: where it listens".into());
            }
        }
        ActorSpec::Bound(bound) => {
            let count = bound.count.saturating_add(bound.ports.len() as u64);
            within("count (with ports)", count as f64, 0.0, limits.sockets as f64)?;
        }
        ActorSpec::Sockets(sockets) => within("count", sockets.count as f64, 0.0, limits.sockets as f64)?,
        ActorSpec::Program(program) if program.program.is_empty() => {
            return Err("program is missing: what it runs".into());
        }
        ActorSpec::Program(program) if program.program.contains('/') && program.find().is_none() => {
            return Err(format!("program {:?} is no file", program.program));
        }
        ActorSpec::Program(_) => {}
    }
    let size = serde_json::to_string(spec).map_or(0, |json| json.len());
    if size > LARGEST_ACTOR {
        return Err(format!(
            "its description takes {size} bytes, and {LARGEST_ACTOR} fit: use fewer addresses"
        ));
    }
    Ok(())
}

/// The addresses that an actor goes to.
fn addresses(spec: &ActorSpec) -> Vec<IpAddr> {
    match spec {
        ActorSpec::Client(client) => client.targets.iter().map(|it| it.ip()).collect(),
        _ => Vec::new(),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_loopback() || (ip.octets()[0] == 198 && ip.octets()[1] & 0xfe == 18)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_private(ip.into()),
            None => ip.is_loopback() || ip.is_unique_local(),
        },
    }
}

fn names<T>(of: &[(String, T)]) -> String {
    of.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The error in one line: where it is, and what is wrong; not the picture of the line.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let is_picture = |line: &str| {
        line.contains('|') && line.trim_start().starts_with(|c: char| c == '|' || c.is_ascii_digit())
    };
    let words: Vec<&str> =
        text.lines().filter(|line| !is_picture(line)).flat_map(str::split_whitespace).collect();
    words.join(" ").chars().take(ERROR_SHOWN).collect()
}

fn malformed(name: &str, why: &str) -> Error {
    Error::Malformed { what: "scenario", text: name.to_owned(), why: why.to_owned() }
}
