//! One `struct inet_diag_msg` with its attributes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::bytecode::{Filter, Prefix};
use linger_wire::sock_diag::parse;

fuzz_target!(|body: &[u8]| {
    let Ok(socket) = parse(body) else { return };
    assert!(body.len() >= 72, "a record out of {} bytes", body.len());
    // A socket lies within its own address and port.
    let prefix = Prefix { addr: socket.src, length: if socket.src.is_v4() { 32 } else { 128 } };
    let own = Filter::All(vec![Filter::Src(prefix), Filter::Sport(socket.sport, socket.sport)]);
    assert!(own.passes(&socket));
});
