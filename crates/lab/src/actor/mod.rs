//! Actors: processes inside a host that use TCP as they are told to.
//!
//! An actor is a program started with an [`ActorSpec`] as JSON in its last argument. It says what it did in JSON lines
//! on its standard output, takes commands in JSON lines on its standard input, and ends when that input does.

mod child;
mod client;
mod hold;
mod latency;
mod parent;
mod program;
mod protocol;
mod server;
mod spec;

pub use child::actor_main;
pub use parent::{Actor, Launcher};
pub(crate) use program::end_with_this_thread;
pub(crate) use protocol::errno_name;
pub use protocol::{Latency, Outcome};
pub use spec::{ActorSpec, Behaviour, Bound, Client, Close, KeepaliveTimes, Program, Server, Sockets};
