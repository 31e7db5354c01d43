//! kill -9 between any two system calls of a step.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use linger_netns::Netns;
use linger_tune::fault::POINTS;
use linger_tune::{Journal, Namespace, Settings, Undo, recover};

use crate::support::{OPTIONS, RANGE, REUSE, Scripted, change, go, key, namespace, plan};

const OLD: [(&str, &str); 2] = [(REUSE, "2"), (RANGE, "32768 60999")];
const NEW: [&str; 2] = ["1", "15000 64999"];
/// At every place.
const KILLS: u32 = 200;

/// Not a test: what the next one runs and has killed. It applies two changes in the namespace that it was started in,
/// and takes them back.
#[test]
#[ignore = "run by another test"]
fn victim() {
    let settings = Namespace::new(&Netns::current().unwrap()).unwrap();
    assert!(!settings.is_host(), "only in a namespace made by the test");
    let dir = std::env::var("LINGER_TEST_DIR").unwrap();
    let plan = plan(OLD.iter().zip(NEW).map(|((key, from), to)| change(key, from, to)).collect());
    // The second step is interrupted, so that both are taken back.
    let mut attendant = Scripted { interrupted_at: Some(2), ..Scripted::calm() };
    let options = linger_tune::Options { observe: Duration::from_millis(2), ..OPTIONS };
    go(&plan, Path::new(&dir), &settings, &options, &mut attendant).unwrap();
}

/// Runs a victim that is killed at this place, recovers, and looks; how many new values were there, and whether it was
/// killed.
fn kill(ns: &Netns, settings: &Namespace, point: &str, time: u32) -> (u32, bool) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("tune");
    let mut victim = linger_netns::command(ns, std::env::current_exe().unwrap()).unwrap();
    victim.args(["--ignored", "--exact", "kills::victim", "--test-threads=1"]);
    victim.env("LINGER_TEST_DIR", &dir).env("LINGER_FAULT", format!("{point}:{time}"));
    let status = victim.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let is_killed = status.signal() == Some(9);
    assert!(is_killed || status.success() && time > 1, "{point}:{time}: {status}");
    let mut with_new = 0;
    for ((name, old), new) in OLD.iter().zip(NEW) {
        let now = settings.read(key(name)).unwrap();
        assert!(now == *old || now == new, "{point}:{time}: {name} is {now}");
        with_new += u32::from(now == new);
    }
    let journal = Journal::open(&dir).unwrap();
    let lock = journal.lock(settings.netns(), Duration::from_secs(5)).unwrap();
    for run in &journal.read().unwrap().runs {
        if let Some((steps, _)) = recover(&journal, &lock, Some(settings), run).unwrap() {
            let is_old = |it: &linger_tune::UndoReport| matches!(it.outcome, Undo::Undone | Undo::AlreadyOld);
            assert!(steps.iter().all(is_old), "{point}:{time}: {steps:?}");
        }
    }
    for (name, old) in OLD {
        assert_eq!(settings.read(key(name)).unwrap(), old, "{point}:{time}: {name}");
    }
    // And nothing is left to be done.
    let log = journal.read().unwrap();
    assert_eq!(log.unsettled(journal.boot()).count(), 0, "{point}:{time}");
    // A kill tears a line, never two.
    assert!(log.unreadable.len() <= 1, "{point}:{time}: {:?}", log.unreadable);
    (with_new, is_killed)
}

#[test]
fn killed_anywhere_there_is_the_old_value_or_the_new_and_recover_brings_the_old() {
    if namespace().is_none() {
        return;
    }
    std::thread::scope(|scope| {
        for point in POINTS {
            scope.spawn(move || {
                let ns = namespace().unwrap();
                let settings = Namespace::new(&ns).unwrap();
                let (mut kills, mut with_new) = (0, 0);
                // Each time that a run passes the place, in turn; after the last it goes to its end.
                let mut times = 1;
                let mut time = 1;
                while kills < KILLS {
                    let (new, is_killed) = kill(&ns, &settings, point, time);
                    with_new += new;
                    kills += u32::from(is_killed);
                    times = if is_killed { times.max(time) } else { time - 1 };
                    time = if is_killed && time <= times { time + 1 } else { 1 };
                }
                println!("{point}: passed {times} times in a run; {with_new} new values after {kills} kills");
                // The second step is never kept.
                assert!(times >= if *point == "after-kept" { 1 } else { 2 }, "{point}: only {times}");
                let leaves =
                    ["after-write", "after-read-back", "after-wrote", "after-kept", "after-undo-journal"];
                assert!(!leaves.contains(point) || with_new > 0, "{point} never left a new value");
            });
        }
    });
}

/// The same by chance: a kill from outside, at any moment.
#[test]
fn killed_at_any_moment_recover_brings_the_old_values() {
    let Some(ns) = namespace() else { return };
    let settings = Namespace::new(&ns).unwrap();
    let program = std::env::current_exe().unwrap();
    for kill in 0..60u64 {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("tune");
        let mut victim: Command = linger_netns::command(&ns, &program).unwrap();
        victim.args(["--ignored", "--exact", "kills::victim", "--test-threads=1"]);
        victim.env("LINGER_TEST_DIR", &dir).stdout(Stdio::null()).stderr(Stdio::null());
        let mut victim = victim.spawn().unwrap();
        while !dir.join("journal.jsonl").exists() && victim.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(kill * 1500));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let journal = Journal::open(&dir).unwrap();
        let lock = journal.lock(settings.netns(), Duration::from_secs(5)).unwrap();
        for run in &journal.read().unwrap().runs {
            recover(&journal, &lock, Some(&settings), run).unwrap();
        }
        for (name, old) in OLD {
            assert_eq!(settings.read(key(name)).unwrap(), old, "after {} µs: {name}", kill * 1500);
        }
    }
}
