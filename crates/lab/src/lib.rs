//! Incidents reproduced in network namespaces that vanish.
//!
//! A [`World`] is a few hosts, each an unnamed network namespace, and the links between them. [`Actor`]s are processes
//! inside the hosts: clients and servers that behave as badly as they are told to, and real servers. [`scenario`] reads
//! incidents and their healthy twins, which are written down as data; [`run`](mod@run) plays them, looks while they
//! happen, and compares with what was expected. [`myths`] measures common beliefs. [`TimeWaitLoad`] and
//! [`CloseWaitLoad`] make sockets by the hundred thousand for the bench.
//!
//! *Architecture invariant:* the lab touches nothing outside namespaces that it made, and leaves nothing behind, also
//! when it is killed: namespaces are held by descriptors alone, and an actor ends when its standard input does, with
//! what it started. The one exception are a scenario's settings of the whole machine: they are refused unless
//! [`run::Options::is_disposable`] says that the machine is thrown away.
//!
//! ```no_run
//! use linger_lab::{ActorSpec, Client, Launcher, Server, World};
//! use std::time::Duration;
//!
//! let launcher = Launcher::new("target/debug/linger").arg("__actor");
//! let world = World::new();
//! let (client, server) = (world.host("client")?, world.host("server")?);
//! world.link(&client, &server, "10.77.0.1/24", "10.77.0.2/24")?;
//! let listener = server.spawn(&launcher, &Server { listen: vec!["10.77.0.2:80".parse()?], ..Server::default() }.into())?;
//! listener.ready(Duration::from_secs(5))?;
//! let load = Client { targets: vec!["10.77.0.2:80".parse()?], connections: 1_000, ..Client::default() };
//! let load = client.spawn(&launcher, &load.into())?;
//! load.ready(Duration::from_secs(5))?;
//! load.go()?;
//! assert_eq!(load.done(Duration::from_secs(30))?.succeeded, 1_000);
//! assert_eq!(client.tcp_states()?["time_wait"], 1_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod actor;
mod deny;
mod error;
mod load;
mod measure;
pub mod myths;
mod rtnl;
pub mod run;
pub mod scenario;
mod socket;
pub mod sysctl;
mod world;

pub use actor::{
    Actor, ActorSpec, Behaviour, Bound, Client, Close, KeepaliveTimes, Latency, Launcher, Outcome, Program,
    Server, Sockets, actor_main,
};
pub use deny::without_netlink;
pub use error::Error;
pub use load::{CloseWaitLoad, CloseWaits, Made, TimeWaitLoad};
pub use measure::{Cost, measure};
pub use world::{Host, Link, TcpSocket, World};
