//! /proc/net/sockstat, and sockstat6 from the first empty line on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::procnet::sockstat;

fuzz_target!(|text: &str| {
    let (text, text6) = match text.split_once("\n\n") {
        Some((text, text6)) => (text, Some(text6)),
        None => (text, None),
    };
    if let Ok(read) = sockstat(text, text6) {
        assert!(text6.is_some() || read.inuse6.is_none());
    }
});
