//! One file per fault: pure functions of a window of snapshots.
