//! `ip_local_port_range` in the first line, `ip_local_reserved_ports` in the rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_model::ports::{PortRange, port_list};

fuzz_target!(|text: &str| {
    let (range, reserved) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(spans) = port_list(reserved) else { return };
    assert!(spans.iter().all(|(from, to)| from <= to), "{spans:?}");
    for pair in spans.windows(2) {
        assert!(u32::from(pair[0].1) + 1 < u32::from(pair[1].0), "out of order, or touching: {spans:?}");
    }
    if let Ok(range) = PortRange::parse(range, reserved) {
        let counted = if range.reserved.len() < 4 && range.high - range.low < 2000 {
            (range.low..=range.high).filter(|port| range.usable(*port)).count() as u32
        } else {
            range.usable_count()
        };
        assert_eq!(counted, range.usable_count(), "{range:?}");
        assert!(counted <= u32::from(range.high - range.low) + 1, "{range:?}");
    }
});
