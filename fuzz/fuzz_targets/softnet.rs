//! /proc/net/softnet_stat.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::procnet::softnet;

fuzz_target!(|text: &str| {
    let _ = softnet(text);
});
