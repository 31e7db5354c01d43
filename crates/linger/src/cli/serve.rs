//! `linger serve`

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

pub const SERVE_EXAMPLES: &str = "\
Examples:
  linger serve                                    every network namespace that can be reached, on 127.0.0.1:9719
  linger serve --config linger.toml               with own thresholds; SIGHUP reads them anew
  linger serve --netns self --cpu-budget 0.5      only this namespace, with half a per cent of one core
  curl -s http://127.0.0.1:9719/metrics           for Prometheus: OpenMetrics or its own text, by Accept
  curl -s http://127.0.0.1:9719/api/v1/report     what `linger check` says, as JSON

Paths: /metrics, /healthz (it samples), /readyz (its figures are fresh), /api/v1/…; / lists all. Whoever is to reach it from
elsewhere is asked for a password or a certificate: --web-config.

Counters are read every second. The sockets are walked where something moved, as often as the CPU budget allows, and at
once when a counter jumps; each sample's age is a metric. A scrape reads nothing: it gets the last sample.

SIGTERM ends it; SIGHUP reads --config and --web-config anew, and what is wrong there changes nothing.";

/// What `linger serve` takes.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Listen here; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:9719", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// TLS, users and headers from this file, in the format of Prometheus's exporters (exporter-toolkit).
    #[arg(long, visible_alias = "web.config.file", value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// Allow an address that others reach without asking anybody for a password.
    #[arg(long)]
    pub open_to_others: bool,
    /// A name besides localhost by which it may be asked; without a password, others are refused on loopback.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// CPU that sampling may take, per cent of one core.
    #[arg(long, default_value_t = 1.0, value_parser = budget, value_name = "PERCENT")]
    pub cpu_budget: f64,
    /// Rows of listeners, processes, containers and destinations in each namespace; the rest is one row, `other`.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    pub top: u16,
    /// Connections served at a time; more are turned away.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096), value_name = "N")]
    pub max_connections: u16,
    /// How long a second is, for tests that have hours to go through.
    #[arg(long, hide = true, default_value_t = 1000)]
    pub second_ms: u64,
    /// Thresholds from this file; `linger config` prints one with every default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep the history in this folder; `linger history` draws it, `linger check --at` asks it.
    #[arg(long, value_name = "DIR", conflicts_with = "no_history")]
    pub history: Option<PathBuf>,
    /// Keep no history.
    #[arg(long)]
    pub no_history: bool,
    /// Network namespaces: all that can be reached, self, a NAME of `ip netns`, a /PATH, or pid:N. May be given several
    /// times, or as a list.
    #[arg(long, value_name = "NETNS", default_value = "all", value_delimiter = ',')]
    pub netns: Vec<String>,
}

fn budget(text: &str) -> Result<f64, String> {
    let percent: Option<f64> = text.trim_end_matches('%').trim().parse().ok();
    percent
        .filter(|p| (0.01..=100.0).contains(p))
        .ok_or_else(|| "per cent of one core are expected, from 0.01 to 100".to_owned())
}
