//! Recordings: what is behind the checksum, as a mutated file never gets past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_import::recording::Samples;
use linger_model::Snapshot;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut samples) = Samples::open(bytes) {
        while let Ok(Some(_)) = samples.next_sample() {}
    }
    let _ = rmp_serde::from_slice::<Snapshot>(bytes);
});
