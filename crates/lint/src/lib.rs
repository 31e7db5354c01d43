//! Says what is wrong with sysctl files and Prometheus rules before a host finds out.
//!
//! # Architecture invariant
//!
//! Pure: text in, diagnostics out. Nothing here reads a file, the clock or the kernel; what is known of the host comes in
//! as plain data, and where it does not, nothing is guessed. Depends on `model` and `facts` alone.
#![forbid(unsafe_code)]

mod diagnostic;
mod fix;
pub mod prometheus;
pub mod sysctl;

pub use diagnostic::{Diagnostic, Edit, Fix, NotApplied, Span};
pub use fix::apply;
pub use linger_model::report::Severity;
