//! Bytes to types and back: sock_diag, tcp_info, ctnetlink and /proc/net text. No IO, never panics.
