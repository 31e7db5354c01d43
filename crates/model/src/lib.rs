//! linger's plain data: sockets as they stream, the bounded aggregates kept of them, snapshots, windows, findings
//! and reports. Nothing here reads a file, a clock or the kernel.
#![forbid(unsafe_code)]

pub mod aggregate;
mod figures;
pub mod groups;
pub mod ports;
pub mod record;
pub mod report;
pub mod snapshot;
mod state;
pub mod window;

pub use aggregate::{Aggregator, Shown, SocketTable};
pub use figures::thousands;
pub use groups::Groups;
pub use ports::PortRange;
pub use record::{Addr, SocketRecord};
pub use report::{Finding, Report};
pub use snapshot::Snapshot;
pub use state::{State, StateCounts};
pub use window::Window;
