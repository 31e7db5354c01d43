//! `linger history`

use super::Format;
use clap::Args;
use jiff::{Timestamp, Zoned};
use linger_serve::history::{FOLDER, parse_moment, parse_since};
use std::path::PathBuf;

pub const HISTORY_EXAMPLES: &str = "\
Examples:
  linger history                                  the last hour
  linger history --since 2h --state time_wait     one state, as a graph
  linger history --since '2026-11-20 03:00' --until '2026-11-20 04:00'
  linger history --since 7d --netns web --format json
  linger check --at 03:12                         the report of a moment

`linger serve` keeps it: each second for an hour, every 10 s for a day, every
minute for 30 days. Times are this host's local ones. Where nothing was sampled
the line has a gap; 0 is its lowest bar. It reads while the service writes; the
tables are described in docs/serve.md, for `sqlite3 /var/lib/linger/history/history.db`.

The exit status is 0 whatever was found, 3 where there is no history to read.";

/// What `linger history` takes.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// From when: 2h, 7d, 03:12, '2026-11-20 03:12', or RFC 3339.
    #[arg(long, default_value = "1h", value_parser = since, allow_hyphen_values = true, value_name = "TIME")]
    pub since: Timestamp,
    /// Up to when; now if it is left out.
    #[arg(long, value_parser = since, allow_hyphen_values = true, value_name = "TIME")]
    pub until: Option<Timestamp>,
    /// Only these states, for example time-wait,close-wait.
    #[arg(long, value_delimiter = ',', value_name = "STATES")]
    pub state: Vec<String>,
    /// Only these network namespaces, by their names in the metrics; self for this one. May be given several times.
    #[arg(long, value_delimiter = ',', value_name = "NETNS")]
    pub netns: Vec<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
    /// The history's folder.
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    pub history: PathBuf,
}

/// `03:12`, `-2h`, …
pub fn moment(text: &str) -> Result<Timestamp, String> {
    parse_moment(text, &Zoned::now())
}

fn since(text: &str) -> Result<Timestamp, String> {
    parse_since(text, &Zoned::now())
}
