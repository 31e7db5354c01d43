//! CLOSE_WAIT, and what comes after it: sockets that a process does not close.

/// CW001.
pub mod close_wait_leak;
/// CW002.
pub mod closed_socket_leak;
