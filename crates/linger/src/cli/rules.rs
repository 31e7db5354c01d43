//! `linger rules`

use clap::{Args, Subcommand};
use std::path::PathBuf;

pub const RULES_EXAMPLES: &str = "\
Examples:
  linger rules prometheus > linger.rules.yml       what linger serve finds, as alerts
  linger rules prometheus --config linger.toml     with the times and labels of its [serve.alerts]
  linger rules alertmanager > alertmanager.yml     an example of a route
  linger rules grafana > linger.json               a dashboard, for Dashboards > New > Import
  linger rules node-exporter > node.rules.yml      what can be told without linger serve

Thresholds stand in linger's configuration alone: the rules ask what linger
found, not for numbers of their own. To change one: `linger config`, and SIGHUP
to linger serve. Those for node-exporter have no linger behind them, so theirs
stand in the file.

Scrape it with a job of the same name as --job:

  scrape_configs:
  - job_name: linger
    scrape_interval: 15s
    static_configs:
    - targets: [127.0.0.1:9719]";

/// `linger rules`
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// For what.
    #[command(subcommand)]
    pub what: RulesCommand,
}

/// What can be written.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Alerting and recording rules for Prometheus, upon the metrics of linger serve
    #[command(
        after_help = "Examples:\n  linger rules prometheus > linger.rules.yml\n  linger rules prometheus --config linger.toml --job tcp > linger.rules.yml\n\nPrometheus 2.42 or later."
    )]
    Prometheus(PrometheusArgs),
    /// A route, receivers and inhibition for Alertmanager, to be taken over into its configuration
    #[command(
        after_help = "Examples:\n  linger rules alertmanager > alertmanager.yml\n  amtool check-config alertmanager.yml\n\nAlertmanager 0.22 or later. The receivers' addresses are yours to put in."
    )]
    Alertmanager,
    /// A dashboard for Grafana, upon the metrics of linger serve
    #[command(after_help = "Examples:\n  linger rules grafana > linger.json\n\nGrafana 10 or later.")]
    Grafana,
    /// Alerting rules for Prometheus upon node_exporter alone, where linger serve does not run
    #[command(
        after_help = "Examples:\n  linger rules node-exporter > node.rules.yml\n  promtool check rules node.rules.yml\n\nThey need no option of node_exporter, 1.5 or later. The head of the file says what it cannot tell."
    )]
    NodeExporter,
}

/// `linger rules prometheus`
#[derive(Debug, Args)]
pub struct PrometheusArgs {
    /// The configuration of linger serve, for its [serve.alerts]: `for`, `resolve_after`, `labels` and `runbook_url`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The job_name under which Prometheus scrapes linger serve.
    #[arg(long, default_value = "linger", value_parser = job, value_name = "NAME")]
    pub job: String,
}

fn job(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("the job_name of prometheus.yml is expected".to_owned());
    }
    Ok(text.to_owned())
}
