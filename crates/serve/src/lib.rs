//! linger that keeps watching: it samples within a CPU budget, keeps the last sample, and answers over HTTP.
//!
//! One direction, as everywhere: a thread reads the kernel (`sampler`), what it read becomes bounded ([`compact`]) and
//! goes into the [`state`]; a scrape renders that and never reads the kernel. What diagnoses is handed in with a
//! [`Plan`]: this crate knows no thresholds and no configuration file.
#![forbid(unsafe_code)]

pub mod compact;
pub mod config;
mod connection;
mod http;
mod metrics;
pub mod pace;
mod sampler;
pub mod state;
mod worker;

use linger_collect::SamplerOptions;
use linger_model::{Report, Window};
use linger_netns::Netns;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the end waits for what is done with the last samples.
const END: Duration = Duration::from_millis(400);

/// What does not change while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 for any free one.
    pub listen: SocketAddr,
    /// Whether to listen where others than this host's own processes reach it.
    pub open_to_others: bool,
    /// The share of one core that sampling may take: 0.01 is 1 %.
    pub cpu_budget: f64,
    /// Rows of listeners, processes, containers and destinations in each namespace; the rest is one row, `other`.
    pub top: usize,
    /// Connections served at a time.
    pub connections: usize,
}

/// The namespaces that are there now.
#[derive(Debug, Default)]
pub struct Found {
    /// Open namespaces; the first one's report speaks of the host.
    pub namespaces: Vec<Netns>,
    /// What could not be opened, and why.
    pub gaps: Vec<String>,
}

/// From a window to a report; the second argument is whether it speaks of the host, too.
pub type Diagnose = Box<dyn Fn(&Window, bool) -> Report + Send + Sync>;

/// What the configuration decides; a reload makes it anew.
pub struct Plan {
    /// What to read.
    pub sampler: SamplerOptions,
    /// How to judge it.
    pub diagnose: Diagnose,
    /// What else the service does with it.
    pub serve: config::ServeConfig,
}

/// What is asked of whoever starts the service.
pub struct Hooks {
    /// Lists the namespaces; called from the sampling thread, now and then.
    pub namespaces: Box<dyn FnMut() -> Found + Send>,
    /// Reads the configuration; at the beginning and on SIGHUP. The error is a sentence for a person.
    pub plan: Box<dyn Fn() -> Result<Plan, String>>,
    /// Takes a line for whoever reads the log.
    pub log: Box<dyn Fn(&str)>,
}

/// Why it could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could read it, and nobody would ask them who they are.
    #[error(
        "refusing to listen on {0}: whoever reaches it could read this host's connections, and nothing asks for a \
         password; listen on a loopback address such as 127.0.0.1:9719, or allow it with --open-to-others"
    )]
    Open(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Plan(String),
    /// A thread, a signal's handler or the event loop could not be had.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; `ss -ltnp` says who has it, --listen takes another",
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has this address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 are root's",
        _ => "",
    }
}

/// The plan in force, which a reload replaces.
pub(crate) struct CurrentPlan(Mutex<Arc<Plan>>);

impl CurrentPlan {
    fn get(&self) -> Arc<Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, plan: Plan) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }
}

/// Samples and serves until SIGTERM or SIGINT; SIGHUP reads the configuration anew.
///
/// # Errors
/// When the address cannot be listened on, or may not be; when the configuration is wrong at the beginning.
pub fn run(settings: &Settings, hooks: Hooks) -> Result<(), Error> {
    if !settings.listen.ip().to_canonical().is_loopback() && !settings.open_to_others {
        return Err(Error::Open(settings.listen));
    }
    let plan = Arc::new(CurrentPlan(Mutex::new(Arc::new((hooks.plan)().map_err(Error::Plan)?))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { operation: "start the event loop", source })?;
    let state = Arc::new(state::State::new(settings));
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(settings.listen)
            .await
            .map_err(|source| Error::Listen { address: settings.listen, source })?;
        let signals =
            http::Signals::new().map_err(|source| Error::System { operation: "take signals", source })?;
        let sampler = sampler::start(settings, state.clone(), plan.clone(), hooks.namespaces)
            .map_err(|source| Error::System { operation: "start the sampling thread", source })?;
        // Each takes every sample.
        let workers: [worker::Worker; 0] = [];
        let address = listener.local_addr().unwrap_or(settings.listen);
        (hooks.log)(&format!("serving http://{address}/metrics"));
        let reload = || match (hooks.plan)() {
            Ok(new) => {
                plan.set(new);
                state.reloaded(true);
                (hooks.log)("the configuration was read anew");
            }
            Err(why) => {
                state.reloaded(false);
                (hooks.log)(&format!("the configuration in force stays as it is: {why}"));
            }
        };
        http::serve(settings, listener, &state, signals, reload).await;
        // It only reads: where it is in the middle of a walk, nothing is lost by leaving it there.
        sampler.stop();
        state.close();
        let until = Instant::now() + END;
        workers.into_iter().for_each(|worker| worker.finish(until));
        Ok(())
    })
}
