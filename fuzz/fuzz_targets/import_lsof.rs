//! `lsof -i`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| linger_fuzz::import_below(
    "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n",
    bytes
));
