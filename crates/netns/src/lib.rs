//! Entering and finding network namespaces.
//!
//! *Architecture invariant:* this is the one place with `setns` and `unshare`, and both happen on threads
//! of their own: no thread that called us ever changes its namespace ([`enter_user_namespace`] is for the whole
//! process, before it has threads). For the same reason everything here
//! reads `/proc/thread-self`, since `/proc/self` and `/proc/net` are the main thread's.
//!
//! ```no_run
//! use linger_netns::{Netns, Spec, run_in};
//!
//! let ns = Netns::open(&Spec::parse("pid:4242")?)?;
//! let text = run_in(&ns, || std::fs::read_to_string("/proc/thread-self/net/sockstat"))?;
//! # Ok::<(), linger_netns::Error>(())
//! ```

mod enter;
mod error;
mod find;
mod ns;
mod user;

pub use enter::{Worker, command, create, run_in};
pub use error::{Error, Kind};
pub use find::{Reachable, names, reachable};
pub use ns::{Member, Netns, Origin, Spec};
pub use user::{enter_user_namespace, has_sys_admin};
