//! The kernel's types.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::btf::enum_names;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(names)) = enum_names(bytes, "reason") else { return };
    assert!(names.len() * 8 <= bytes.len());
});
