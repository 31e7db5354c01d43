//! `ss` with every option.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| linger_fuzz::import_below(
    "State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n",
    bytes
));
