//! `linger mitigate` as an operator uses it, in namespaces made here, with real connections.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use linger_lab::{Actor, Behaviour, Client, Close, Host, Server};
use serde_json::Value;

use crate::cli::{NOBODY, Public};
use crate::support::{
    Done, LINGER, Lab, NEAR, PATIENCE, SERVICE, address, assert_valid, begin, client, finish, in_ci, lab,
    nft, run_all, schema, server, start, wait_for, wait_for_states,
};

/// Another address of the near host.
const OTHER: &str = "10.77.0.3";

/// Where the journal is.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state/mitigate")
    }

    fn command(&self, host: &Host, args: &[&str]) -> Command {
        let mut command = Command::new(LINGER);
        command.arg("mitigate").args(args).arg("--netns").arg(host.path());
        command.arg("--state-dir").arg(self.state());
        command
    }

    fn run(&self, host: &Host, args: &[&str]) -> Done {
        finish(&mut self.command(host, args))
    }

    fn json(&self, host: &Host, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["--format", "json"]);
        self.run(host, &all).json()
    }

    /// The limit of a port, by `linger mitigate status`.
    fn limit(&self, host: &Host, port: u16) -> Value {
        let report = self.json(host, &["status"]);
        report["limits"].as_array().unwrap().iter().find(|it| it["port"] == port).cloned().unwrap_or_default()
    }

    /// The events of the journal.
    fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state().join("mitigations.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        lines.map(|it| it["event"].as_str().unwrap().to_owned()).collect()
    }
}

/// A lab where nft may be used, with a server on the far host and two addresses on the near one.
fn limited() -> Option<(Lab, Actor, Desk)> {
    let lab = lab()?;
    if !nft(&lab.far, "table inet probe { };") || !nft(&lab.far, "delete table inet probe;") {
        return None;
    }
    lab.near.add_address("eth0", &format!("{OTHER}/24")).unwrap();
    let server = start(&lab.far, server());
    Some((lab, server, Desk::new()))
}

/// Connections that are begun and not waited for: SYNs of these, however they are answered.
fn syns(count: u64, from: &str) -> Client {
    Client { sources: vec![from.parse().unwrap()], nonblocking_hold: true, ..client(count) }
}

/// Connections that must go through, each within the kernel's patience.
fn users(count: u64, from: &str) -> Client {
    Client { sources: vec![from.parse().unwrap()], ..client(count) }
}

#[track_caller]
fn assert_over(desk: &Desk, host: &Host, port: u16, least: u64) -> Value {
    wait_for("SYNs are beyond the limit", || desk.limit(host, port)["over"].as_u64().unwrap() >= least);
    desk.limit(host, port)
}

#[test]
fn a_source_that_floods_leaves_the_others_alone() {
    let Some((lab, _server, desk)) = limited() else { return };
    let (validator, status) = (schema("mitigate-limit"), schema("mitigate-status"));
    let args = ["syn-limit", "--listener", ":80", "--rate", "1/min", "--burst", "20"];
    let report = desk.json(&lab.far, &args);
    assert_valid(&validator, &report);
    assert_eq!((&report["is_in_force"], &report["for_s"]), (&true.into(), &600.into()));
    assert!(report["listeners"][0].as_str().unwrap().contains("lab-server (pid "), "{report}");
    assert_eq!(desk.events(), ["limit", "limited"]);

    let _flood = begin(&lab.near, syns(200, NEAR));
    assert_over(&desk, &lab.far, 80, 100);
    run_all(&lab.near, users(5, OTHER));

    let report = desk.json(&lab.far, &["status"]);
    assert_valid(&status, &report);
    let limit = &report["limits"][0];
    assert!(limit["seen"].as_u64().unwrap() >= limit["over"].as_u64().unwrap() + 5, "{limit}");
    assert_eq!(
        (&limit["no_place"], &limit["preview"], &limit["burst"]),
        (&0.into(), &false.into(), &20.into())
    );
    assert_eq!(limit["rate"], "1/minute");
    assert!((1..=600).contains(&limit["expires_s"].as_u64().unwrap()), "{limit}");
}

#[test]
fn a_preview_counts_and_drops_nothing() {
    let Some((lab, _server, desk)) = limited() else { return };
    desk.json(&lab.far, &["syn-limit", "--listener", ":80", "--rate", "1/min", "--burst", "5", "--preview"]);
    run_all(&lab.near, users(60, NEAR));
    let limit = desk.limit(&lab.far, 80);
    assert!(limit["over"].as_u64().unwrap() >= 50, "{limit}");
    assert_eq!(limit["preview"], true);
    // The same in earnest takes its place.
    let report = desk.json(&lab.far, &["syn-limit", "--listener", ":80", "--rate", "1/min", "--burst", "5"]);
    assert_eq!(report["replaces"], true);
    let limit = desk.limit(&lab.far, 80);
    assert_eq!((&limit["over"], &limit["preview"]), (&0.into(), &false.into()));
}

#[test]
fn who_is_allowed_is_not_limited() {
    let Some((lab, _server, desk)) = limited() else { return };
    let networks = format!("{NEAR}/31,fd00::/8");
    let limit = ["syn-limit", "--listener", ":80", "--rate", "1/min", "--burst", "1", "--allow", &networks];
    desk.json(&lab.far, &limit);
    run_all(&lab.near, users(60, NEAR));
    let limit = desk.limit(&lab.far, 80);
    assert!(limit["allowed"].as_u64().unwrap() >= 60, "{limit}");
    assert_eq!((&limit["over"], &limit["seen"]), (&0.into(), &0.into()));
    let _flood = begin(&lab.near, syns(60, OTHER));
    assert_over(&desk, &lab.far, 80, 30);
}

#[test]
fn an_ipv6_source_is_its_64() {
    let Some((lab, _server, desk)) = limited() else { return };
    for address in ["fd77:0:0:1::1/48", "fd77:0:0:1::2/48", "fd77:0:0:2::1/48"] {
        lab.near.add_address("eth0", address).unwrap();
    }
    lab.far.add_address("eth0", "fd77:0:0:9::9/48").unwrap();
    let target: SocketAddr = "[fd77:0:0:9::9]:81".parse().unwrap();
    let _server6 = start(&lab.far, Server { listen: vec![target], ..server() });
    desk.json(&lab.far, &["syn-limit", "--listener", ":81", "--rate", "1/min", "--burst", "20"]);
    let to = |spec: Client| Client { targets: vec![target], ..spec };
    let _flood = begin(&lab.near, to(syns(200, "fd77:0:0:1::1")));
    assert_over(&desk, &lab.far, 81, 100);
    // Its neighbour in the same /64 shares the bucket, which fills by one a minute.
    let quick = Client { connect_timeout_ms: Some(200), ..to(users(5, "fd77:0:0:1::2")) };
    let outcome = begin(&lab.near, quick).done(PATIENCE).unwrap();
    assert!(outcome.failed() >= 3, "{outcome:?}");
    run_all(&lab.near, to(users(5, "fd77:0:0:2::1")));
}

#[test]
fn a_full_set_lets_new_sources_through_and_counts_them() {
    let Some((lab, _server, desk)) = limited() else { return };
    let args = ["syn-limit", "--listener", ":80", "--rate", "1/min", "--burst", "5", "--sources", "1"];
    desk.json(&lab.far, &args);
    let _flood = begin(&lab.near, syns(60, NEAR));
    assert_over(&desk, &lab.far, 80, 30);
    run_all(&lab.near, users(60, OTHER));
    let limit = desk.limit(&lab.far, 80);
    assert!(limit["no_place"].as_u64().unwrap() >= 60, "{limit}");
    let text = desk.run(&lab.far, &["status"]);
    assert!(text.stdout.contains("found no place among 1"), "{text:?}");
}

#[test]
fn a_limit_ends_without_linger() {
    let Some((lab, _server, desk)) = limited() else { return };
    desk.json(
        &lab.far,
        &["syn-limit", "--listener", ":80", "--rate", "1/min", "--burst", "1", "--for", "2s"],
    );
    // Nothing of linger runs any more, and nothing of it is run before the limit is gone.
    let is_over = || !nft_says(&lab.far, &["list", "set", "inet", "linger", "ports"]).contains("80");
    wait_for("the port's element has gone", is_over);
    run_all(&lab.near, users(60, NEAR));
    let limit = desk.limit(&lab.far, 80);
    assert!(limit.is_object() && limit["expires_s"].is_null(), "{limit}");
    let text = desk.run(&lab.far, &["status"]).stdout;
    assert!(text.starts_with("No limit is in force.\n") && text.contains("ended"), "{text}");
    // A new one takes the remains away.
    let report = desk.json(&lab.far, &["syn-limit", "--listener", ":80"]);
    assert_eq!((&report["replaces"], &report["is_in_force"]), (&false.into(), &true.into()));
}

/// What nft prints in a host.
fn nft_says(host: &Host, args: &[&str]) -> String {
    let done = finish(host.command("/usr/sbin/nft").unwrap().args(args));
    assert_eq!(done.status, Some(0), "nft {args:?}: {done:?}");
    done.stdout
}

#[test]
fn limits_of_several_ports_stand_side_by_side() {
    let Some((lab, _server, desk)) = limited() else { return };
    let _more = start(&lab.far, Server { listen: vec![address("10.77.0.2:81")], ..server() });
    desk.json(
        &lab.far,
        &["syn-limit", "--listener", ":80", "--rate", "1/min", "--burst", "5", "--for", "1h"],
    );
    let _flood = begin(&lab.near, syns(60, NEAR));
    let before = assert_over(&desk, &lab.far, 80, 30);
    let of = "10.77.0.2:81";
    desk.json(&lab.far, &["syn-limit", "--listener", of, "--rate", "3/s", "--for", "2h"]);
    desk.json(&lab.far, &["syn-limit", "--listener", of, "--rate", "4/s", "--for", "2h"]);
    let (first, second) = (desk.limit(&lab.far, 80), desk.limit(&lab.far, 81));
    // The first one's counts and time go on.
    assert!(first["over"].as_u64() >= before["over"].as_u64(), "{first}");
    assert!((3000..=3600).contains(&first["expires_s"].as_u64().unwrap()), "{first}");
    assert_eq!((&second["rate"], &second["addr"]), (&"4/second".into(), &"10.77.0.2".into()));
    assert!((6600..=7200).contains(&second["expires_s"].as_u64().unwrap()), "{second}");

    let cleared = desk.json(&lab.far, &["clear", "--dry-run"]);
    assert_valid(&schema("mitigate-clear"), &cleared);
    assert_eq!(cleared["is_cleared"], false);
    assert_eq!(desk.json(&lab.far, &["clear"])["limits"].as_array().unwrap().len(), 2);
    assert_eq!(desk.json(&lab.far, &["status"])["limits"].as_array().unwrap().len(), 0);
    assert_eq!(nft_says(&lab.far, &["list", "ruleset"]), "");
    run_all(&lab.near, users(60, NEAR));
    assert_eq!(desk.json(&lab.far, &["clear"])["is_cleared"], false);
    assert_eq!(desk.events().last().unwrap(), "clear");
}

#[test]
fn nobody_elses_rules_are_touched() {
    let Some((lab, _server, desk)) = limited() else { return };
    assert!(nft(
        &lab.far,
        "table inet other { chain in { type filter hook input priority 0; tcp dport 9 drop; }; };"
    ));
    let before = nft_says(&lab.far, &["list", "ruleset"]);
    desk.json(&lab.far, &["syn-limit", "--listener", ":80"]);
    desk.json(&lab.far, &["clear"]);
    assert_eq!(nft_says(&lab.far, &["list", "ruleset"]), before);

    // A table of linger's name that is another's.
    assert!(nft(&lab.far, "table inet linger { chain mine { tcp dport 9 drop; }; };"));
    let before = nft_says(&lab.far, &["list", "ruleset"]);
    for args in [
        &["syn-limit", "--listener", ":80"][..],
        &["syn-limit", "--listener", ":80", "--dry-run"],
        &["status"],
        &["clear"],
    ] {
        let done = desk.run(&lab.far, args);
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
        assert!(done.stderr.contains("not linger's own: it has a chain \"mine\""), "{done:?}");
    }
    assert_eq!(nft_says(&lab.far, &["list", "ruleset"]), before);
}

#[test]
fn what_cannot_be_limited_is_said_before_anything_is_done() {
    let Some((lab, _server, desk)) = limited() else { return };
    let says = |args: &[&str], words: &str| {
        let done = desk.run(&lab.far, args);
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
        assert!(
            done.stderr.contains(words) && done.stderr.trim_end().lines().count() < 8,
            "{words}: {done:?}"
        );
    };
    says(&["syn-limit", "--listener", ":81"], "no socket listens there; those that listen: 10.77.0.2:80");
    says(&["syn-limit", "--listener", "10.77.0.9:80"], "no socket listens there");
    says(&["syn-limit", "--listener", ":80", "--rate", "0"], "20/s or 100/min");
    says(&["syn-limit", "--listener", ":80", "--for", "48h"], "between 1s and 24h");
    says(&["syn-limit", "--listener", ":80", "--allow", "10.0.0"], "--allow 10.0.0: an address or a network");
    says(&["syn-limit", "--listener", "443;flush ruleset"], "a port like :443");
    let _local = start(&lab.far, Server { listen: vec![address("127.0.0.1:82")], ..server() });
    says(&["syn-limit", "--listener", ":82"], "loopback alone, which is never limited");
    let dry = desk.run(&lab.far, &["syn-limit", "--listener", ":80", "--dry-run"]);
    assert_eq!(dry.status, Some(0), "{dry:?}");
    assert!(
        dry.stdout.contains("nothing was changed") && dry.stdout.contains("add table inet linger"),
        "{dry:?}"
    );
    assert_eq!(nft_says(&lab.far, &["list", "ruleset"]), "");
    assert!(!desk.state().exists());
    // What can't be journalled is not done.
    fs::create_dir_all(desk.state().join("mitigations.jsonl")).unwrap();
    let done = desk.run(&lab.far, &["syn-limit", "--listener", ":80"]);
    assert_eq!(done.status, Some(3), "{done:?}");
    assert_eq!(nft_says(&lab.far, &["list", "ruleset"]), "");
}

#[test]
fn without_privileges_nothing_is_done_and_that_is_said() {
    let Some((lab, _server, desk)) = limited() else { return };
    if !rustix::process::geteuid().is_root() {
        assert!(!in_ci(), "only root can become nobody");
        println!("SKIPPED: only root can become nobody");
        return;
    }
    let public = Public::new();
    let state = desk.state().display().to_string();
    let _held = run_all(&lab.near, Client { close: Close::Never, ..client(3) });
    wait_for_states(&lab.far, &[("established", 3)]);
    // Who may not see whose they are is not told that there is nothing.
    let args = ["mitigate", "close", "--state", "established", "--sport", "80", "--dry-run"];
    let seen = finish(lab.far.command("setpriv").unwrap().args(NOBODY).arg(public.program()).args(args));
    assert_eq!((seen.status, seen.stderr.as_str()), (Some(1), ""), "{seen:?}");
    assert!(seen.stdout.contains("is left alone") && seen.stdout.contains("run as root"), "{seen:?}");
    for args in [
        &["syn-limit", "--listener", ":80", "--state-dir", &state][..],
        &["status", "--state-dir", &state],
        &["clear", "--state-dir", &state],
        &["close", "--state", "close-wait", "--dport", "1", "--yes", "--state-dir", &state],
    ] {
        let mut command = lab.far.command("setpriv").unwrap();
        let done = finish(command.args(NOBODY).arg(public.program()).arg("mitigate").args(args));
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
        assert!(done.stderr.contains("CAP_NET_ADMIN"), "{done:?}");
    }
    assert!(!desk.state().exists());
}

// Sockets.

/// A server that never closes, with so many sockets in CLOSE_WAIT.
fn leaky(lab: &Lab, count: u64) -> Actor {
    let spec = Server { behaviour: Behaviour::NeverClose, comm: "leaky".into(), ..server() };
    let actor = start(&lab.far, spec);
    run_all(&lab.near, client(count));
    actor.wait_until(PATIENCE, |it| it.ended == count).unwrap();
    wait_for_states(&lab.far, &[("close_wait", count)]);
    actor
}

fn is_listening(host: &Host, port: u16) -> bool {
    host.tcp_sockets().unwrap().iter().any(|it| it.state == "listen" && it.local_port == port)
}

#[test]
fn leaked_sockets_of_a_process_are_destroyed_and_it_lives_on() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new();
    let leaky = leaky(&lab, 20);
    let validator = schema("mitigate-close");

    // Nobody else's, and not by way of another filter.
    for args in [["--process", "another"], ["--pid", "1"]] {
        let done = desk.run(&lab.far, &[&["close", "--state", "close-wait", "--yes"][..], &args].concat());
        assert!(matches!(done.status, Some(0 | 3)), "{done:?}");
    }
    let other = desk.json(&lab.far, &["close", "--state", "established", "--process", "leaky", "--yes"]);
    assert_eq!((&other["outcome"], &other["matched"]), (&"nothing".into(), &0.into()), "{other}");
    let preview = desk.json(&lab.far, &["close", "--state", "close-wait", "--process", "leaky", "--dry-run"]);
    assert_valid(&validator, &preview);
    assert_eq!((&preview["outcome"], &preview["matched"]), (&"preview".into(), &20.into()), "{preview}");
    assert!(preview["by_process"][0]["name"].as_str().unwrap().starts_with("leaky (pid "), "{preview}");
    assert_eq!((&preview["by_peer"][0]["name"], &preview["by_peer"][0]["count"]), (&NEAR.into(), &20.into()));
    // More than may be hit: none is.
    let refused =
        desk.run(&lab.far, &["close", "--state", "close-wait", "--process", "leaky", "--max", "19", "--yes"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("20 sockets would be destroyed") && refused.stdout.contains("--max 19"));
    // Nobody is there to be asked.
    let asked = desk.run(&lab.far, &["close", "--state", "close-wait", "--process", "leaky"]);
    assert_eq!((asked.status, asked.stdout.as_str()), (Some(3), ""), "{asked:?}");
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    wait_for_states(&lab.far, &[("close_wait", 20)]);
    assert_eq!(desk.events(), [""; 0]);

    let done = desk.json(&lab.far, &["close", "--state", "close-wait", "--process", "leaky", "--yes"]);
    assert_valid(&validator, &done);
    assert_eq!((&done["outcome"], &done["destroyed"]), (&"done".into(), &20.into()), "{done}");
    assert_eq!(
        (&done["gone"], &done["changed"], done["left"].as_array().unwrap().len()),
        (&0.into(), &0.into(), 0)
    );
    wait_for_states(&lab.far, &[]);
    assert!(is_listening(&lab.far, 80));
    // It serves on, and holds its descriptors still.
    assert_eq!(leaky.outcome_so_far().unwrap().held, 20);
    run_all(&lab.near, client(1));
    let mut events = vec!["close"; 20];
    events.push("closed");
    assert_eq!(desk.events(), events);
    let row = &desk.json(&lab.far, &["status"])["closings"][0];
    assert_eq!((&row["destroyed"], &row["left"]), (&20.into(), &0.into()), "{row}");
}

#[test]
fn the_application_hears_of_it_at_the_next_use() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new();
    let _server = start(&lab.far, server());
    // They wait for longer than any test takes, and are woken by what happens to their sockets.
    let spec = Client { comm: "waiting".into(), keepalive: true, hold_ms: 3_600_000, ..client(5) };
    let waiting = begin(&lab.near, Client { concurrency: 5, ..spec });
    wait_for_states(&lab.near, &[("established", 5)]);
    let answered = || waiting.outcome_so_far().unwrap().answered == 5;
    wait_for("all have been answered", answered);
    let pid = waiting.pid().to_string();
    let done = desk.json(&lab.near, &["close", "--state", "established", "--process", &pid, "--yes"]);
    assert_eq!(done["destroyed"], 5, "{done}");
    let outcome = waiting.done(PATIENCE).unwrap();
    assert_eq!((outcome.failed(), outcome.errors.get("ECONNABORTED")), (5, Some(&5)), "{outcome:?}");
    // The peer got a reset for each.
    wait_for_states(&lab.far, &[]);
}

#[test]
fn time_wait_is_destroyed_by_its_destination() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new();
    let _server = start(&lab.far, server());
    let _client = run_all(&lab.near, client(30));
    wait_for_states(&lab.near, &[("time_wait", 30)]);
    let args = |dst: &'static str| ["close", "--state", "time-wait", "--dst", dst, "--dport", "80", "--yes"];
    let other = desk.json(&lab.near, &args("10.77.0.9"));
    assert_eq!(other["outcome"], "nothing", "{other}");
    // They belong to nobody any more.
    let held = desk.run(
        &lab.near,
        &["close", "--state", "time-wait", "--pid", &std::process::id().to_string(), "--yes"],
    );
    assert!(held.status == Some(3) && held.stderr.contains("belong to no process"), "{held:?}");
    let done = desk.run(&lab.near, &args("10.77.0.2"));
    if done.stderr.contains("that came with 6.0") {
        assert_eq!(done.status, Some(3), "{done:?}");
        return;
    }
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.starts_with("30 sockets destroyed.\n"), "{done:?}");
    wait_for_states(&lab.near, &[]);
}

#[test]
fn what_is_never_destroyed() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new();
    let refuses = |args: &[&str], words: &str| {
        let done = desk.run(&lab.far, &[&["close", "--yes"], args].concat());
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
        assert!(done.stderr.contains(words), "{done:?}");
    };
    refuses(&["--state", "listen", "--sport", "80"], "a listener is never destroyed");
    refuses(&["--state", "all", "--sport", "80"], "a listener is never destroyed");
    refuses(&["--state", "bound-inactive", "--sport", "80"], "only bound");
    refuses(&["--state", "close-wait"], "narrow it");
    refuses(&["--sport", "80"], "which states");
    refuses(
        &["--state", "close-wait", "--process", "no-such-process"],
        "no-such-process: no process of this name",
    );

    // This test is an ancestor of linger: what it holds stays.
    let _server = start(&lab.far, server());
    let mine = lab.near.run(|| TcpStream::connect(SERVICE).unwrap()).unwrap();
    let listener = lab.near.run(|| TcpListener::bind("10.77.0.1:90").unwrap()).unwrap();
    // So does the connection of SSH, whoever holds it; and what sshd holds.
    let ssh = Client { comm: "sshd".into(), close: Close::Never, ..client(1) };
    let _sshd = run_all(&lab.near, ssh);
    let shop = Client { comm: "shop".into(), close: Close::Never, ..client(1) };
    let _shop = run_all(&lab.near, shop);
    let _till = run_all(&lab.near, Client { comm: "till".into(), close: Close::Never, ..client(1) });
    wait_for_states(&lab.near, &[("established", 4)]);
    let shops = lab.near.run(|| ports_of(&lab.near, "shop")).unwrap();
    let [shops_port] = shops.as_slice() else { panic!("{shops:?}") };
    let mut command = desk.command(
        &lab.near,
        &["close", "--state", "established", "--dst", "10.77.0.2", "--yes", "--format", "json"],
    );
    command.env("SSH_CONNECTION", format!("10.77.0.2 80 10.77.0.1 {shops_port}"));
    let done = finish(&mut command).json();
    assert_eq!((&done["destroyed"], &done["matched"]), (&1.into(), &1.into()), "{done}");
    let spared: Vec<(&str, u64)> = done["spared"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["why"].as_str().unwrap(), it["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(spared, [("ancestor", 1), ("ssh_connection", 1), ("sshd", 1)]);
    wait_for_states(&lab.near, &[("established", 3)]);
    assert!(mine.peer_addr().is_ok() && is_listening(&lab.near, listener.local_addr().unwrap().port()));
}

/// Local ports of the connections that processes of this name hold, by `ss`.
fn ports_of(host: &Host, comm: &str) -> Vec<u16> {
    let text = crate::support::ss(host, &["-Hntp", "state", "established"]);
    let lines = text.lines().filter(|line| line.contains(&format!("(\"{comm}\"")));
    lines
        .map(|line| {
            let local: SocketAddr = line.split_ascii_whitespace().nth(2).unwrap().parse().unwrap();
            assert_eq!(local.ip(), NEAR.parse::<IpAddr>().unwrap());
            local.port()
        })
        .collect()
}

#[test]
fn the_question_can_be_answered_with_no() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new();
    let _leaky = leaky(&lab, 3);
    if finish(Command::new("script").arg("--version")).status != Some(0) {
        assert!(!in_ci(), "script is not installed");
        println!("SKIPPED: script is not installed");
        return;
    }
    for (answer, status, left) in [("n", 1, 3), ("", 1, 3), ("yes", 0, 0)] {
        let line = format!(
            "stty cols 80; {LINGER} mitigate close --state close-wait --process leaky --netns {} --state-dir {}",
            lab.far.path().display(),
            desk.state().display()
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).stdout(std::process::Stdio::piped());
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        use std::io::Write;
        writeln!(child.stdin.as_mut().unwrap(), "{answer}").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(status), "{answer}: {text}");
        assert!(
            text.contains("3 sockets would be destroyed") && text.contains("Destroy 3 sockets? [y/N]"),
            "{text}"
        );
        assert!(text.lines().all(|line| plain(line).chars().count() <= 80), "{text}");
        match left {
            0 => wait_for_states(&lab.far, &[]),
            left => wait_for_states(&lab.far, &[("close_wait", left)]),
        }
    }
}

/// A line without colours.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut is_code = false;
    for c in line.trim_end().chars() {
        match c {
            '\x1b' => is_code = true,
            'm' if is_code => is_code = false,
            _ if is_code => {}
            c => out.push(c),
        }
    }
    out
}
