//! /proc/net/snmp and /proc/net/netstat.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_model::snapshot::Counters;
use linger_wire::procnet::counter_pairs;

fuzz_target!(|text: &str| {
    let mut counters = Counters::new();
    let _ = counter_pairs(text, &mut counters);
    assert!(counters.len() <= text.split_whitespace().count());
    assert!(counters.keys().all(|name| name.contains('.')), "{counters:?}");
});
