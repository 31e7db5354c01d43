//! Faults of paths and peers: those that do not answer, lose segments, reset, or do not read.

/// PW001.
pub mod paws_rejections;
/// RS001.
pub mod reset_surge;
/// RT001.
pub mod retransmission_surge;
/// ZW001.
pub mod stuck_send_queue;
/// SS001.
pub mod syn_sent_pileup;
