//! `sysctl -a`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| linger_fuzz::import_below("net.ipv4.tcp_tw_reuse = 2\n", bytes));
