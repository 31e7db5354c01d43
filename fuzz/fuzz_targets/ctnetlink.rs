//! Statistics of connection tracking, one CPU's answer after the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_model::snapshot::Counters;
use linger_wire::ctnetlink::add_stats;

fuzz_target!(|body: &[u8]| {
    let mut sums = Counters::new();
    if add_stats(body, &mut sums).is_ok() {
        let once = sums.clone();
        add_stats(body, &mut sums).expect("the same bytes are read again");
        assert!(once.iter().all(|(name, n)| sums[name] == n * 2), "{once:?} {sums:?}");
    }
});
