//! Texts of /proc/PID, and names of descriptors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::procfs::{named_value, netns_inode, open_files_limit, socket_inode};

fuzz_target!(|bytes: &[u8]| {
    let sockets = socket_inode(bytes).is_some();
    assert!(!(sockets && netns_inode(bytes).is_some()), "one link, two kinds");
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = open_files_limit(text);
        // The first line's first word as the name, so that there is something to be found.
        let name = text.split_whitespace().next().unwrap_or("sock");
        let _ = (named_value(text, name), named_value(text, "sock"));
    }
});
