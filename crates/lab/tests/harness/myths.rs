//! The beliefs, measured: on every kernel that linger supports they come out the same.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Instant;

use crate::common::{launcher, world};
use linger_lab::myths::{self, Verdict};

/// What each comes out as.
const EXPECTED: [(&str, Verdict); 16] = [
    ("fin-timeout-shortens-time-wait", Verdict::Wrong),
    ("time-wait-lasts-two-minutes", Verdict::Wrong),
    ("tw-reuse-helps-a-server", Verdict::Wrong),
    ("tw-reuse-works-without-timestamps", Verdict::Wrong),
    ("max-tw-buckets-drops-connections", Verdict::Wrong),
    ("time-wait-holds-descriptors", Verdict::Wrong),
    ("fin-timeout-65-keeps-fin-wait2-65-s", Verdict::Wrong),
    ("65535-connections-per-host", Verdict::Wrong),
    ("bound-port-is-free-for-connect", Verdict::Wrong),
    ("proxy-spends-ports-on-both-sides", Verdict::Wrong),
    // The minimum decides, and one more fits.
    ("accept-queue-holds-the-backlog", Verdict::Partly),
    ("somaxconn-helps-a-running-listener", Verdict::Wrong),
    ("flood-shows-in-syn-recv", Verdict::Wrong),
    // Only without syncookies.
    ("max-syn-backlog-sets-the-request-queue", Verdict::Partly),
    ("containers-inherit-sysctls", Verdict::Wrong),
    ("rmem-default-sizes-tcp-buffers", Verdict::Wrong),
];

#[test]
fn every_belief_is_measured() {
    let Some(_) = world() else { return };
    let start = Instant::now();
    let told = Mutex::new(BTreeSet::new());
    let results = myths::measure_all(&launcher(), &[], |name, result| {
        assert_eq!(name, result.name);
        told.lock().unwrap().insert(name);
    });
    let taken = start.elapsed();
    let results = results.unwrap();
    for result in &results {
        let measured = result.measured.as_ref().or(result.error.as_ref());
        println!(
            "{:5.1} s  {:?}  {}\n         {}",
            result.seconds_taken,
            result.verdict,
            result.name,
            measured.unwrap()
        );
    }
    println!("{taken:.1?} in all");
    let verdicts: Vec<(&str, Verdict)> = results.iter().map(|result| (result.name, result.verdict)).collect();
    assert_eq!(verdicts, EXPECTED);
    assert_eq!(told.into_inner().unwrap().len(), EXPECTED.len());
    // Side by side, however slow this machine is: several wait for a minute.
    let one_by_one: f64 = results.iter().map(|result| result.seconds_taken).sum();
    assert!(taken.as_secs_f64() < one_by_one / 2.0, "{taken:?} for what takes {one_by_one:.1} s one by one");
}

#[test]
fn one_is_measured_by_its_name() {
    let Some(_) = world() else { return };
    let name = "rmem-default-sizes-tcp-buffers";
    let results = myths::measure_all(&launcher(), &[name.into()], |_, _| ()).unwrap();
    assert_eq!(results.len(), 1);
    let json = serde_json::to_value(&results[0]).unwrap();
    assert_eq!((json["name"].as_str(), json["verdict"].as_str()), (Some(name), Some("wrong")), "{json}");
    assert!(myths::measure_all(&launcher(), &["none".into()], |_, _| ()).is_err());
}

#[test]
fn without_actors_there_is_an_error_and_no_verdict() {
    let Some(_) = world() else { return };
    let launcher = linger_lab::Launcher::new("/there/is/no/such/program");
    let results = myths::measure_all(&launcher, &["65535-connections-per-host".into()], |_, _| ()).unwrap();
    assert_eq!((results[0].verdict, results[0].measured.as_ref()), (Verdict::Unsure, None));
    assert!(results[0].error.as_ref().unwrap().contains("/there/is/no/such/program"));
}
