//! Tar archives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_import::tar::Members;
use std::io::Read;

fuzz_target!(|bytes: &[u8]| {
    let mut members = Members::new(bytes);
    while let Ok(Some(member)) = members.next_member() {
        let mut content = Vec::new();
        if members.read_to_end(&mut content).is_ok() {
            assert_eq!(content.len() as u64, member.size);
        }
    }
});
