//! /proc/net/stat/nf_conntrack.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::procnet::conntrack_stat;

fuzz_target!(|text: &str| {
    if let Ok(sums) = conntrack_stat(text) {
        assert!(!sums.contains_key("entries"), "a total, not a count per CPU: {sums:?}");
    }
});
