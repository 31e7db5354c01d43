//! One packet from its network header on, as a packet socket gives it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::handshake::parse;

fuzz_target!(|packet: &[u8]| {
    let Some(seen) = parse(packet) else { return };
    assert!(packet.len() >= 40, "a handshake out of {} bytes", packet.len());
    assert_eq!(seen.src.is_v4(), seen.dst.is_v4());
});
