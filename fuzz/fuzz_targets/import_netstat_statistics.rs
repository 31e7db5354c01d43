//! `netstat -s`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| linger_fuzz::import_below("TcpExt:\n", bytes));
