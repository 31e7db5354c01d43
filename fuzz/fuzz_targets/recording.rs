//! Recordings: their frames, and what is behind the checksum, as a mutated file never gets past it. What is read goes the
//! whole way: through the rules, behind masks, and into a frame again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_import::Redactor;
use linger_import::recording::{Redaction, Samples, decode, sample};
use linger_model::{Snapshot, Window};
use linger_rules::{Config, Selection, evaluate, headroom};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut samples) = Samples::open(bytes) {
        while let Ok(Some(_)) = samples.next_sample() {}
    }
    let Some(snapshot) = decode(bytes) else { return };
    let later =
        Snapshot { monotonic_us: snapshot.monotonic_us.saturating_add(1_000_000), ..snapshot.clone() };
    let hidden = Redactor::new(Redaction::All).redact(snapshot.clone());
    let packed = sample(&hidden).expect("what was read can be written");
    assert!(packed.len() > 16);
    let Some(window) = Window::new(vec![snapshot, later]) else { return };
    let _ = evaluate(&window, &Config::default(), &Selection::default());
    let _ = headroom(&window, true);
});
