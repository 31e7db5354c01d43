//! Foreign text of any kind, through both passes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| linger_fuzz::import("ss_-tan", "", bytes));
