//! Places between two system calls where a test may have the process killed.
//!
//! Compiled in with debug assertions only; a release has no such places.

/// Kills this process by SIGKILL if `LINGER_FAULT` names this place: `after-journal`, or `after-journal:2` for the
/// second time that it is passed.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    at(name, || ());
}

/// As the one with debug assertions: nothing.
#[cfg(not(debug_assertions))]
pub fn point(_: &str) {}

/// Runs `last` and kills this process if `LINGER_FAULT` names this place.
#[cfg(debug_assertions)]
pub(crate) fn at(name: &str, last: impl FnOnce()) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);

    let Ok(wanted) = std::env::var("LINGER_FAULT") else { return };
    let (place, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if place == name && Ok(PASSED.fetch_add(1, Ordering::SeqCst) + 1) == time.parse() {
        last();
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn at(_: &str, _: impl FnOnce()) {}

/// Every place, in the order in which a change and its undoing pass them.
pub const POINTS: &[&str] = &[
    "after-compare",
    "before-journal",
    "torn-journal",
    "after-journal-write",
    "after-journal",
    "before-write",
    "after-write",
    "after-read-back",
    "after-wrote",
    "after-kept",
    "after-undo-journal",
    "after-undo-write",
    "after-undone",
];
