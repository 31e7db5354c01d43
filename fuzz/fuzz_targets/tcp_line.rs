//! Lines of /proc/net/tcp and tcp6.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::procnet::tcp_line;

fuzz_target!(|text: &str| {
    for line in text.lines() {
        let _ = tcp_line(line);
    }
});
