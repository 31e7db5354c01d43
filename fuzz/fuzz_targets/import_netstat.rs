//! `netstat -antpe`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| linger_fuzz::import_below(
    "Proto Recv-Q Send-Q Local Address Foreign Address State User Inode PID/Program name\n",
    bytes
));
