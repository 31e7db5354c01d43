//! linger that keeps watching: it samples within a CPU budget, keeps the last sample, and answers over HTTP.
//!
//! One direction, as everywhere: a thread reads the kernel (`sampler`), what it read becomes bounded ([`compact`]) and
//! goes into the [`state`]; a scrape renders that and never reads the kernel. What diagnoses is handed in with a
//! [`Plan`]: this crate knows no thresholds and no configuration file.
#![forbid(unsafe_code)]

pub mod alerts;
mod client;
pub mod compact;
pub mod config;
mod confine;
mod connection;
pub mod history;
mod http;
mod metrics;
mod openapi;
pub mod otlp;
pub mod pace;
mod sampler;
pub mod span;
pub mod state;
mod systemd;
mod web;
mod worker;

pub use sampler::label;
pub use systemd::{Level, logs_to_journal};
pub use web::{Nearest, ReadFile};

use linger_collect::SamplerOptions;
use linger_model::{Report, Window};
use linger_netns::Netns;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections that wait for accept() at the most.
const BACKLOG: i32 = 1024;
/// How long the end waits for what is done with the last samples.
const END: Duration = Duration::from_millis(400);

/// What does not change while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 for any free one. Sockets that systemd hands over come instead.
    pub listen: SocketAddr,
    /// Whether to listen where others than this host's own processes reach it, without asking who they are.
    pub open_to_others: bool,
    /// Names, beside localhost, by which it may be asked where it listens on loopback and asks for no password.
    pub names: Vec<String>,
    /// TLS, users and headers, as Prometheus's exporters are told; SIGHUP reads it anew.
    pub web: Option<PathBuf>,
    /// The share of one core that sampling may take: 0.01 is 1 %.
    pub cpu_budget: f64,
    /// Rows of listeners, processes, containers and destinations in each namespace; the rest is one row, `other`.
    pub top: usize,
    /// Connections served at a time.
    pub connections: usize,
    /// How long a second of sampling is: shorter in tests that have hours to go through.
    pub second: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 9719)),
            open_to_others: false,
            names: Vec::new(),
            web: None,
            cpu_budget: 0.01,
            top: 20,
            connections: 64,
            second: Duration::from_secs(1),
        }
    }
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

/// Takes a line for whoever reads the log, from any thread.
pub type Log = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// What is asked of whoever starts the service.
pub struct Hooks {
    /// Lists the namespaces; called from the sampling thread, now and then.
    pub namespaces: Box<dyn FnMut() -> Found + Send>,
    /// Reads the configuration; at the beginning and on SIGHUP. The error is a sentence for a person.
    pub plan: Box<dyn Fn() -> Result<Plan, String>>,
    /// Takes a line for whoever reads the log.
    pub log: Log,
    /// Reads the files of the web configuration.
    pub read: ReadFile,
    /// Finds the word that was meant in it.
    pub nearest: Nearest,
}

/// Why it could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could read it, and nobody would ask them who they are.
    #[error(
        "refusing to listen on {0}: whoever reaches it could read this host's connections, and nothing asks for a \
         password; listen on a loopback address such as 127.0.0.1:9719, name users in a --web-config, or allow it \
         with --open-to-others"
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
    /// The configuration, or that of the web, is wrong.
    #[error("{0}")]
    Plan(String),
    /// What systemd hands over is no listening socket.
    #[error(
        "systemd has handed over what cannot be listened on: {0}; a .socket unit's ListenStream=ADDRESS:PORT can"
    )]
    Handed(io::Error),
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
    let read_web = || web::Web::read(settings.web.as_deref(), hooks.read, hooks.nearest);
    let web = read_web().map_err(Error::Plan)?;
    let plan = Arc::new(CurrentPlan(Mutex::new(Arc::new((hooks.plan)().map_err(Error::Plan)?))));
    let listeners = listen(settings, &web)?;
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|it| it.local_addr().ok()).collect();
    if web.is_clear_text() && !addresses.iter().all(is_own) {
        (hooks.log)(Level::Warning, "passwords come over the network in clear text: no tls_server_config");
    }
    // Before there is another thread: they are a thread's.
    confine::drop_capabilities()
        .map_err(|errno| Error::System { operation: "give up capabilities", source: errno.into() })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(|source| Error::System { operation: "start the event loop", source })?;
    let state = Arc::new(state::State::new(settings));
    let served = runtime.block_on(async {
        let listeners = listeners
            .into_iter()
            .map(|listener| {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener)
            })
            .collect::<io::Result<Vec<_>>>()
            .map_err(|source| Error::System { operation: "wait for connections", source })?;
        let signals =
            http::Signals::new().map_err(|source| Error::System { operation: "take signals", source })?;
        let (history, pasts) = history::start(&state, &plan, &hooks.log)
            .map_err(|source| Error::System { operation: "start the history's thread", source })?;
        let sampler = sampler::start(settings, state.clone(), plan.clone(), hooks.namespaces, pasts)
            .map_err(|source| Error::System { operation: "start the sampling thread", source })?;
        // Each takes every sample.
        let workers = vec![
            history,
            alerts::start(&state, &plan, &hooks.log)
                .map_err(|source| Error::System { operation: "start the alerts' thread", source })?,
            otlp::start(&state, &plan, &hooks.log)
                .map_err(|source| Error::System { operation: "start the export's thread", source })?,
        ];
        let scheme = if web.tls.is_some() { "https" } else { "http" };
        for address in &addresses {
            (hooks.log)(Level::Info, &format!("serving {scheme}://{address}/metrics"));
        }
        let names = addresses.iter().all(is_own).then(|| settings.names.clone());
        let access = Arc::new(http::Access::new(web, names));
        let reload = || {
            let seen = access.web().seen();
            let new = read_web().and_then(|web| {
                may_listen(settings, &addresses, &web).map_err(|error| error.to_string())?;
                Ok((web, (hooks.plan)()?))
            });
            state.reloaded(new.is_ok());
            match new {
                Ok((web, new)) => {
                    access.set(web);
                    plan.set(new);
                    (hooks.log)(Level::Info, "the configuration was read anew");
                }
                Err(why) => {
                    // They are looked at again once they have changed again.
                    access.set(seen);
                    (hooks.log)(Level::Error, &format!("the configuration in force stays as it is: {why}"));
                }
            }
        };
        let manager = systemd::Manager::new();
        manager.ready("serving");
        http::serve(listeners, &state, &access, signals, manager, reload).await;
        // It only reads: where it is in the middle of a walk, nothing is lost by leaving it there.
        sampler.stop();
        state.close();
        let until = Instant::now() + END;
        workers.into_iter().for_each(|worker| worker.finish(until));
        Ok(())
    });
    // A password that is being checked is nobody's any more.
    runtime.shutdown_background();
    served
}

/// The sockets that systemd hands over, or one at the address asked for.
fn listen(settings: &Settings, web: &web::Web) -> Result<Vec<TcpListener>, Error> {
    let handed = systemd::listeners().map_err(Error::Handed)?;
    if !handed.is_empty() {
        let addresses: io::Result<Vec<SocketAddr>> = handed.iter().map(TcpListener::local_addr).collect();
        may_listen(settings, &addresses.map_err(Error::Handed)?, web)?;
        return Ok(handed);
    }
    let address = settings.listen;
    may_listen(settings, &[address], web)?;
    let listener = TcpListener::bind(address)
        // The library's queue is short: a thousand scrapes at once would overflow it, and linger report itself.
        .and_then(|it| rustix::net::listen(&it, BACKLOG).map(|()| it).map_err(io::Error::from))
        .map_err(|source| Error::Listen { address, source })?;
    Ok(vec![listener])
}

/// Whether none but this host's own processes reach an address.
fn is_own(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whoever could reach it is asked who it is, or that was wanted.
fn may_listen(settings: &Settings, addresses: &[SocketAddr], web: &web::Web) -> Result<(), Error> {
    match addresses.iter().find(|address| !is_own(address)) {
        Some(address) if !settings.open_to_others && !web.asks() => Err(Error::Open(*address)),
        _ => Ok(()),
    }
}
