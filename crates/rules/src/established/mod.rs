//! ESTABLISHED: connections that grow, and connections whose peer is gone.

/// KA001.
pub mod dead_peer_undetected;
/// ES001.
pub mod established_surge;
