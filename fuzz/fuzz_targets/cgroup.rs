//! /proc/PID/cgroup, and the container that a path names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::cgroup::{container, path};

fuzz_target!(|text: &str| {
    let found = path(text);
    assert!(found.is_none_or(|found| text.contains(found)));
    for path in [Some(text), found].into_iter().flatten() {
        if let Some(container) = container(path) {
            assert!(!container.id.is_empty() && path.contains(&container.id), "{container:?} from {path:?}");
        }
    }
});
