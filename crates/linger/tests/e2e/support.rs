//! What the tests share: worlds, the command, and what is expected of its reports.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use linger_lab::{Actor, ActorSpec, Client, Host, Launcher, Outcome, Server, World};
use serde_json::Value;

/// For whatever takes no time on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const LINGER: &str = env!("CARGO_BIN_EXE_linger");
pub const NEAR: &str = "10.77.0.1";
pub const SERVICE: &str = "10.77.0.2:80";
/// Every state name of the JSON.
pub const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "bound_inactive",
];

// Worlds.

/// How many worlds may run at a time: the machine is small, and a load that gets no CPU proves nothing.
const WORLDS: usize = 2;
static FREE: (Mutex<usize>, Condvar) = (Mutex::new(WORLDS), Condvar::new());

/// Room for a world.
struct Slots(usize);

impl Slots {
    fn take(wanted: usize) -> Slots {
        let mut free = FREE.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < wanted {
            free = FREE.1.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= wanted;
        Slots(wanted)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        *FREE.0.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        FREE.1.notify_all();
    }
}

/// Two hosts, 10.77.0.1 and 10.77.0.2, and the link between them.
pub struct Lab {
    /// Where clients are, as a rule.
    pub near: Host,
    /// Where servers are, as a rule.
    pub far: Host,
    // The world goes before its slots.
    world: World,
    _slots: Slots,
}

impl Lab {
    /// A third host of the same world, without a link.
    pub fn host(&self, name: &str) -> Host {
        self.world.host(name).unwrap()
    }

    /// Joins two of its hosts, with the address that each gets.
    pub fn link(&self, a: (&Host, &str), b: (&Host, &str)) {
        self.world.link(a.0, b.0, a.1, b.1).unwrap();
    }
}

/// A world, or nothing and a word about it where namespaces may not be made. In CI they must be.
pub fn lab() -> Option<Lab> {
    lab_with(1)
}

/// A world that needs the machine for itself.
pub fn heavy_lab() -> Option<Lab> {
    lab_with(WORLDS)
}

fn lab_with(slots: usize) -> Option<Lab> {
    let slots = Slots::take(slots);
    let world = World::new();
    let near = match world.host("near") {
        Ok(host) => host,
        Err(error) if error.is_denied() && !in_ci() => {
            println!("SKIPPED: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let far = world.host("far").unwrap();
    world.link(&near, &far, "10.77.0.1/24", "10.77.0.2/24").unwrap();
    for host in [&near, &far] {
        // Segments that a loaded machine reorders would end TIME_WAIT sockets (RFC 1337), and counts be one off.
        host.sysctl("net.ipv4.tcp_rfc1337", "1").unwrap();
    }
    Some(Lab { near, far, world, _slots: slots })
}

pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|it| !it.is_empty() && it != "false")
}

/// Loads nftables rules; false, and a word about it, where nft is missing. In CI it must not be.
#[must_use]
pub fn nft(host: &Host, rules: &str) -> bool {
    match host.nft(rules) {
        Ok(()) => true,
        Err(error @ linger_lab::Error::Missing { .. }) if !in_ci() => {
            println!("SKIPPED: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

// Actors.

pub fn launcher() -> Launcher {
    Launcher::new(LINGER).arg("__actor")
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An echo server at [`SERVICE`].
pub fn server() -> Server {
    Server { listen: vec![address(SERVICE)], ..Server::default() }
}

/// A client of [`SERVICE`] that makes so many connections.
pub fn client(connections: u64) -> Client {
    Client { targets: vec![address(SERVICE)], connections, ..Client::default() }
}

/// A client that goes on for longer than any test takes, so many times a second.
pub fn load(per_second: f64) -> Client {
    Client { rate: Some(per_second), concurrency: 4096, ..client(1_000_000) }
}

pub fn start(host: &Host, spec: impl Into<ActorSpec>) -> Actor {
    let actor = host.spawn(&launcher(), &spec.into()).unwrap();
    actor.ready(PATIENCE).unwrap();
    actor
}

/// Starts a client and lets it begin.
pub fn begin(host: &Host, spec: Client) -> Actor {
    let actor = start(host, spec);
    actor.go().unwrap();
    actor
}

/// Runs a client to the end of its work; it still holds what it holds.
pub fn run(host: &Host, spec: Client) -> (Actor, Outcome) {
    let actor = begin(host, spec);
    let outcome = actor.done(PATIENCE).unwrap();
    (actor, outcome)
}

/// As [`run`], with every connection going through.
#[track_caller]
pub fn run_all(host: &Host, spec: Client) -> Actor {
    let count = spec.connections;
    let (actor, outcome) = run(host, spec);
    assert_eq!((outcome.attempted, outcome.succeeded), (count, count), "{outcome:?}");
    actor
}

/// Waits until a client has tried so many more connections than it had.
pub fn attempts(actor: &Actor, more: u64) {
    let from = actor.outcome_so_far().unwrap().attempted;
    actor.wait_until(PATIENCE, |it| it.attempted >= from + more).unwrap();
}

/// `name (pid N`, as linger names a process (its container may follow).
pub fn named(actor: &Actor) -> String {
    format!("{} (pid {}", actor.comm(), actor.pid())
}

#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the host's sockets, without listeners, are in these states and no others.
#[track_caller]
pub fn wait_for_states(host: &Host, expected: &[(&'static str, u64)]) {
    let expected: BTreeMap<&str, u64> = expected.iter().copied().collect();
    let start = Instant::now();
    loop {
        let mut states = host.tcp_states().unwrap();
        states.remove("listen");
        if states == expected {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{}: {states:?} instead of {expected:?}", host.name());
        std::thread::sleep(Duration::from_millis(20));
    }
}

// The command.

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// The standard output as JSON of a command that succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!((self.status, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Done {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// linger in the tests' own namespace.
pub fn linger(args: &[&str]) -> Done {
    finish(Command::new(LINGER).args(args))
}

/// linger with `--netns` of a host.
pub fn linger_on(host: &Host, args: &[&str]) -> Done {
    finish(Command::new(LINGER).args(args).arg("--netns").arg(host.path()))
}

/// linger inside a host.
pub fn linger_in(host: &Host, args: &[&str]) -> Done {
    finish(host.command(LINGER).unwrap().args(args))
}

/// A configuration file for `--config`.
pub fn config(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

pub fn path_of(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// The published schema of a format, as the command prints it.
pub fn schema(format: &str) -> jsonschema::Validator {
    let schema = linger(&["__schema", format]).json();
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
pub fn assert_valid(validator: &jsonschema::Validator, value: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// What `linger check --format json` said of a host.
///
/// Descriptors are judged for the whole host, and a neighbour's process may be near its limit: what is said of processes
/// in other namespaces doesn't count here.
pub struct Checked {
    /// The exit status, as it is without what is said of others.
    pub status: i32,
    pub report: Value,
    foreign: Vec<bool>,
}

/// `linger check` of a host, from outside it.
#[track_caller]
pub fn check(host: &Host, args: &[&str]) -> Checked {
    let mut all = vec!["check", "--format", "json"];
    all.extend(args);
    Checked::new(&linger_on(host, &all))
}

/// `linger check` in the background of a host, while something else happens.
pub fn check_meanwhile(host: &Host, args: &[&str], meanwhile: impl FnOnce()) -> Checked {
    let mut command = Command::new(LINGER);
    command.args(["check", "--format", "json"]).args(args).arg("--netns").arg(host.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    meanwhile();
    let output = child.wait_with_output().unwrap();
    Checked::new(&Done {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    })
}

impl Checked {
    #[track_caller]
    pub fn new(done: &Done) -> Checked {
        assert_eq!(done.stderr, "", "{done:?}");
        let report = serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        let mut checked = Checked { status: done.status.unwrap(), report, foreign: Vec::new() };
        checked.assert_well_formed();
        let own = checked.report["netns"]["inode"].as_u64().unwrap();
        checked.foreign = checked.findings().iter().map(|it| is_foreign(it, own)).collect();
        if checked.foreign.contains(&true) {
            checked.status = checked.own().map(severity).max().unwrap_or(0);
        }
        checked
    }

    /// What holds of every report.
    #[track_caller]
    fn assert_well_formed(&self) {
        static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
        assert_valid(SCHEMA.get_or_init(|| schema("report")), &self.report);
        let rank = |name: &Value| {
            ["application", "architecture", "kernel"].iter().position(|kind| name == kind).unwrap()
        };
        for finding in self.findings() {
            let evidence = finding["evidence"].as_array().unwrap();
            assert!(!evidence.is_empty(), "{finding:#}");
            assert!(evidence.iter().all(|it| it["source"] != "" && it["what"] != ""), "{finding:#}");
            assert!(finding["subject"] != "" && finding["summary"] != "", "{finding:#}");
            let kinds: Vec<usize> =
                finding["remedies"].as_array().unwrap().iter().map(|it| rank(&it["kind"])).collect();
            assert!(kinds.is_sorted(), "{finding:#}");
        }
        // The exit status is that of the worst finding, as long as nothing is missing.
        let worst = self.findings().iter().map(severity).max();
        let (status, verdict) = match worst {
            Some(2) => (2, "critical"),
            Some(1) => (1, "warning"),
            _ => (0, "ok"),
        };
        assert_eq!((self.status, &self.report["verdict"]), (status, &Value::from(verdict)), "{self:?}");
    }

    pub fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    /// The findings with this code.
    /// The findings without those about others.
    fn own(&self) -> impl Iterator<Item = &Value> {
        self.findings().iter().zip(&self.foreign).filter(|(_, foreign)| !**foreign).map(|(it, _)| it)
    }

    /// The findings with this code.
    pub fn of(&self, code: &str) -> Vec<&Value> {
        self.own().filter(|it| it["code"] == code).collect()
    }

    /// That there is one finding of this code, of this severity, whose subject names all of these; and nothing that is
    /// worse.
    #[track_caller]
    pub fn assert_finding(&self, code: &str, severity: &str, subject: &[&str]) -> &Value {
        let found = self.of(code);
        let [finding] = found.as_slice() else { panic!("{} findings {code} in {self:?}", found.len()) };
        assert_eq!(finding["severity"], severity, "{code} in {self:?}");
        for part in subject {
            let text = finding["subject"].as_str().unwrap();
            assert!(text.contains(part), "{part:?} is not in the subject {text:?} of {self:?}");
        }
        finding
    }

    /// That nothing of this code was found, and nothing else of which somebody would be woken.
    #[track_caller]
    pub fn assert_healthy(&self, code: &str) {
        assert_eq!(self.of(code).len(), 0, "{code} in {self:?}");
        self.assert_calm();
    }

    /// That there are notes at the most.
    #[track_caller]
    pub fn assert_calm(&self) {
        assert!(self.own().all(|it| severity(it) == 0), "{self:?}");
        assert_eq!(self.status, 0, "{self:?}");
    }

    /// That there isn't even a note.
    #[track_caller]
    pub fn assert_nothing(&self) {
        assert_eq!((self.own().count(), self.status), (0, 0), "{self:?}");
    }

    /// A figure of a finding, by the beginning of its name.
    #[track_caller]
    pub fn figure(&self, code: &str, what: &str) -> f64 {
        let figures = self.of(code).into_iter().flat_map(|it| it["evidence"].as_array().unwrap());
        let mut named = figures.filter(|it| it["what"].as_str().unwrap().starts_with(what));
        match named.next() {
            Some(figure) => figure["value"].as_f64().unwrap(),
            None => panic!("{code} has no evidence {what:?} in {self:?}"),
        }
    }

    /// Sockets in a state.
    #[track_caller]
    pub fn state(&self, name: &str) -> u64 {
        self.report["states"][name].as_u64().unwrap_or_else(|| panic!("{name} in {self:?}"))
    }

    /// That the states are those that `ss` counts on the host now.
    #[track_caller]
    pub fn assert_as_ss(&self, host: &Host) {
        assert_states_as_ss(&self.report["states"], &ss_states(host, &[]));
    }
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("status {}, {}\n", self.status, self.report["states"]);
        for finding in self.findings() {
            let _ = writeln!(
                text,
                "{} {} [{}]: {}",
                finding["severity"], finding["code"], finding["subject"], finding["summary"]
            );
            for figure in finding["evidence"].as_array().into_iter().flatten() {
                let _ = writeln!(text, "    {} = {} [{}]", figure["what"], figure["value"], figure["source"]);
            }
        }
        for item in self.report["ruled_out"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "ruled out {}: {}", item["code"], item["why"]);
        }
        for item in self.report["unknown"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "unknown {}: {}", item["code"], item["gap"]);
        }
        f.write_str(&text)
    }
}

fn severity(finding: &Value) -> i32 {
    let at = ["info", "warning", "critical"].iter().position(|name| finding["severity"] == *name);
    i32::try_from(at.unwrap()).unwrap()
}

/// Whether a finding speaks of a process of another namespace.
fn is_foreign(finding: &Value, own: u64) -> bool {
    if finding["code"] != "FD001" {
        return false;
    }
    let Some((_, rest)) = finding["subject"].as_str().unwrap().split_once("(pid ") else { return false };
    let pid = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
    // One that has ended is none of the test's, which still run.
    std::fs::metadata(format!("/proc/{pid}/ns/net")).map_or(true, |netns| netns.ino() != own)
}

// The oracle.

/// `ss` inside a host.
#[track_caller]
pub fn ss(host: &Host, args: &[&str]) -> String {
    let done = finish(host.command("ss").unwrap().args(args));
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "ss {args:?}");
    done.stdout
}

/// How many TCP sockets of each state `ss` lists, with a filter of its own; zeros included, bound sockets left out.
#[track_caller]
pub fn ss_states(host: &Host, filter: &[&str]) -> BTreeMap<&'static str, u64> {
    let mut args = vec!["-Hant"];
    args.extend(filter);
    let mut counts: BTreeMap<&str, u64> =
        STATES.into_iter().filter(|it| *it != "bound_inactive").map(|it| (it, 0)).collect();
    for line in ss(host, &args).lines() {
        let name = ss_state(line.split_ascii_whitespace().next().unwrap());
        *counts.get_mut(name).unwrap() += 1;
    }
    counts
}

pub fn ss_state(name: &str) -> &'static str {
    match name {
        "ESTAB" => "established",
        "SYN-SENT" => "syn_sent",
        "SYN-RECV" => "syn_recv",
        "FIN-WAIT-1" => "fin_wait1",
        "FIN-WAIT-2" => "fin_wait2",
        "TIME-WAIT" => "time_wait",
        "UNCONN" => "close",
        "CLOSE-WAIT" => "close_wait",
        "LAST-ACK" => "last_ack",
        "LISTEN" => "listen",
        "CLOSING" => "closing",
        other => panic!("a state of ss: {other:?}"),
    }
}

#[track_caller]
pub fn assert_states_as_ss(states: &Value, ss: &BTreeMap<&'static str, u64>) {
    let mine: BTreeMap<&str, u64> =
        ss.keys().map(|name| (*name, states[*name].as_u64().unwrap_or(u64::MAX))).collect();
    assert_eq!(mine, *ss, "linger's states (left) and those of ss");
}
