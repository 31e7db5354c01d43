//! The lab leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::{PATIENCE, start, wait_for, world};
use linger_lab::{Server, World};

/// Whether a thread of any process lives in the namespace, or a descriptor of this process holds it.
fn is_alive(inode: u64) -> bool {
    let link = format!("net:[{inode}]");
    let is_it =
        |path: &std::path::Path| std::fs::read_link(path).is_ok_and(|text| text.to_string_lossy() == link);
    let entries =
        |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries("/proc/self/fd").any(|fd| is_it(&fd))
        || entries("/proc").any(|process| {
            let tasks = process.join("task");
            entries(&tasks.to_string_lossy()).any(|task| is_it(&task.join("ns/net")))
        })
}

#[test]
fn a_dropped_world_is_gone() {
    let Some((lasting, witness)) = world() else { return };
    let world = World::new();
    let host = world.host("passing").unwrap();
    // One end stays where it can be seen.
    let link = lasting.link(&witness, &host, "10.77.0.1/24", "10.77.0.2/24").unwrap();
    let actor = start(&host, Server { listen: vec!["10.77.0.2:80".parse().unwrap()], ..Server::default() });
    let (inode, pid) = (host.inode(), actor.pid());
    assert!(is_alive(inode));
    drop(actor);
    assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
    drop(host);
    drop(world);
    // Its number may be another's for a moment, as other tests make namespaces too.
    wait_for("the namespace goes", || !is_alive(inode));
    wait_for("the veth goes with its peer", || witness.set_link(&link.a, true).is_err());
}

/// What a process prints that builds a world and waits for its end.
const BUILT: &str = "BUILT";

/// Not a test: the process that is killed in the next one.
#[test]
#[ignore = "run by another test"]
fn builds_a_world_and_waits() {
    let Some((world, host)) = world() else { return };
    let other = world.host("two").unwrap();
    world.link(&host, &other, "10.77.0.1/24", "10.77.0.2/24").unwrap();
    let server = start(&host, Server { listen: vec!["10.77.0.1:80".parse().unwrap()], ..Server::default() });
    println!("\n{BUILT} {} {} {}", host.inode(), other.inode(), server.pid());
    std::thread::sleep(PATIENCE);
}

#[test]
fn nothing_outlives_a_killed_process() {
    if world().is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "vanish::builds_a_world_and_waits", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with(BUILT))
        .expect("it builds a world");
    let numbers: Vec<u64> = line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
    let [first, second, actor] = numbers[..] else { panic!("{line}") };
    assert!(is_alive(first) && is_alive(second));
    child.kill().unwrap();
    child.wait().unwrap();
    // Its number isn't another's so soon, but its parent may take a while to reap it.
    wait_for("the actor ends with its parent", || {
        std::fs::read_to_string(format!("/proc/{actor}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    wait_for("the namespaces go", || !is_alive(first) && !is_alive(second));
}
