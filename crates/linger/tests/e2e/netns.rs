//! Network namespaces, and what is said of the host once.

use std::process::Command;

use linger_lab::{Client, Close, Host, Server};
use serde_json::Value;

use crate::support::{
    LINGER, assert_valid, client, finish, in_ci, lab, linger, linger_in, linger_on, named, run_all, schema,
    server, start, wait_for,
};

/// The report of a host among several.
#[track_caller]
fn of<'a>(all: &'a Value, host: &Host) -> &'a Value {
    let mut found = reports(all).iter().filter(|it| it["netns"]["inode"] == host.inode());
    let report = found.next().unwrap_or_else(|| panic!("{} is missing in {all:#}", host.name()));
    assert_eq!(found.count(), 0, "{} is there twice", host.name());
    report
}

fn reports(all: &Value) -> &[Value] {
    all["reports"].as_array().unwrap()
}

fn established(report: &Value) -> u64 {
    report["states"]["established"].as_u64().unwrap()
}

#[test]
fn all_namespaces_are_found_and_the_host_is_judged_once() {
    let Some(lab) = lab() else { return };
    let _idle = lab.host("idle");
    let server = start(&lab.far, Server { nofile: Some(100), comm: "crowded".into(), ..server() });
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let more = 97 - open() as u64;
    let _clients = run_all(&lab.near, Client { close: Close::Never, ..client(more) });
    wait_for("the server has accepted them", || open() == 97);

    // Processes live in these two, by which they are found. The idle one is held by a descriptor alone: by nobody.
    let done = linger(&["check", "--netns", "all", "--format", "json"]);
    assert_eq!(done.stderr, "");
    let all: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_valid(&schema("reports"), &all);
    assert_eq!((established(of(&all, &lab.near)), established(of(&all, &lab.far))), (more, more));
    let inodes: Vec<&Value> = reports(&all).iter().map(|it| &it["netns"]["inode"]).collect();
    let mut once = inodes.clone();
    once.dedup();
    assert_eq!(once, inodes);

    // What belongs to the host stands in the first report, and only there.
    let mine = |report: &Value| {
        let findings = report["findings"].as_array().unwrap();
        findings
            .iter()
            .filter(|it| it["code"] == "FD001" && it["subject"].as_str().unwrap().contains(&named(&server)))
            .count()
    };
    assert_eq!(mine(&reports(&all)[0]), 1, "{all:#}");
    for report in &reports(&all)[1..] {
        for key in ["findings", "ruled_out", "unknown"] {
            let host_wide =
                report[key].as_array().unwrap().iter().filter(|it| {
                    ["FD001", "OR001", "MM001", "NQ001"].contains(&it["code"].as_str().unwrap())
                });
            assert_eq!(host_wide.count(), 0, "{report:#}");
        }
    }
    // The worst of them is the verdict, and the exit status.
    assert_eq!((&all["verdict"], done.status), (&"critical".into(), Some(2)));
}

#[test]
fn several_namespaces_in_the_order_asked() {
    let Some(lab) = lab() else { return };
    let server = start(&lab.far, server());
    let _clients = run_all(&lab.near, Client { close: Close::Never, ..client(3) });
    let (near, far) = (lab.near.path(), lab.far.path());
    let (near, far) = (near.to_str().unwrap(), far.to_str().unwrap());
    let pid = format!("pid:{}", server.pid());
    // The same by a process that lives there: once.
    let args = ["--netns", far, "--netns", near, "--netns", &pid, "--format", "json"];
    for command in ["check", "ports", "listeners"] {
        let mut all = vec![command];
        all.extend(args);
        let said = linger(&all);
        assert_eq!(said.stderr, "");
        let said: Value = serde_json::from_str(&said.stdout).unwrap();
        let inodes: Vec<&Value> = reports(&said).iter().map(|it| &it["netns"]["inode"]).collect();
        assert_eq!(inodes, [lab.far.inode(), lab.near.inode()], "{command}");
    }
    // Counts are sums.
    let mut all = vec!["states", "--by", "netns"];
    all.extend(args);
    let states = linger(&all).json();
    assert_eq!((established(&states), &states["states"]["listen"]), (6, &1.into()));
    assert_eq!(states["netns"].as_array().unwrap().len(), 2);
    let counts: Vec<&Value> =
        states["groups"]["groups"].as_array().unwrap().iter().map(|it| &it["count"]).collect();
    assert_eq!(counts, [4, 3]);

    // One by its process is a single report.
    let one = linger(&["states", "--netns", &pid, "--format", "json"]).json();
    assert_eq!((established(&one), &one["netns"][0]["inode"]), (3, &lab.far.inode().into()));
    // From inside, without a word about it, too.
    let inside = linger_in(&lab.far, &["states", "--format", "json"]).json();
    assert_eq!(inside["states"], one["states"]);
    let outside = linger_on(&lab.far, &["states", "--format", "json"]).json();
    assert_eq!(outside["states"], one["states"]);
}

#[test]
fn a_namespace_by_its_name() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    // In a mount namespace of its own, which ends with the shell: /run of the host isn't touched.
    let script = format!(
        "mount -t tmpfs none /run && mkdir /run/netns && : > /run/netns/shop && mount --bind {} /run/netns/shop && \
         exec \"$@\"",
        lab.far.path().display()
    );
    let named = |args: &[&str]| {
        finish(Command::new("unshare").args(["-m", "sh", "-c", &script, "sh", LINGER]).args(args))
    };
    let shop = named(&["listeners", "--netns", "shop", "--format", "json"]);
    if shop.stderr.starts_with("unshare:") || shop.stderr.starts_with("mount:") {
        assert!(!in_ci(), "{shop:?}");
        println!("SKIPPED: {}", shop.stderr);
        return;
    }
    let shop = shop.json();
    assert_eq!((&shop["netns"]["name"], &shop["netns"]["inode"]), (&"shop".into(), &lab.far.inode().into()));
    assert_eq!(shop["listeners"][0]["port"], 80);
    let wrong = named(&["check", "--netns", "shpo"]);
    assert_eq!((wrong.status, wrong.stdout.as_str()), (Some(3), ""));
    assert!(wrong.stderr.contains("did you mean shop?"), "{wrong:?}");
    let all = named(&["check", "--netns", "all", "--format", "json", "--interval", "200ms"]);
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(of(&all, &lab.far)["netns"]["name"], "shop");
}
