//! `linger lint`: what can be asked of it.

use super::{interval, role};
use clap::{Args, ValueEnum};
use linger_facts::{Role, Version};
use std::path::PathBuf;
use std::time::Duration;

/// `linger lint`
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Files of sysctl.conf(5), or folders of them; `-` is standard input. A folder that holds a system (etc/sysctl.d, …) is
    /// read as that system would. Without any: what this host reads at boot.
    #[arg(value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Also compare with what is running here: values, listeners, namespaces. On where no FILE is given.
    #[arg(long, conflicts_with = "prometheus")]
    pub live: bool,
    /// Kernel that the files are for, for example 6.1; this host's if not given.
    #[arg(long, value_name = "VERSION", conflicts_with = "prometheus")]
    pub kernel: Option<Version>,
    /// Memory of the hosts that the files are for, for example 64G; this host's with --live.
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "prometheus")]
    pub ram: Option<u64>,
    /// What the hosts do.
    #[arg(long, value_parser = role(), value_name = "ROLE", conflicts_with = "prometheus")]
    pub role: Option<Role>,
    /// The files are Prometheus rules: look for metrics that do not exist or mean something else.
    #[arg(long, requires = "paths")]
    pub prometheus: bool,
    /// How often Prometheus scrapes, for example 30s.
    #[arg(long, value_name = "TIME", value_parser = interval, requires = "prometheus")]
    pub scrape_interval: Option<Duration>,
    /// Mend what is sure, and keep a copy of each file beside it. Lines are made comments, never deleted.
    #[arg(long, conflicts_with = "diff")]
    pub fix: bool,
    /// Show what --fix would change, and change nothing.
    #[arg(long)]
    pub diff: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = LintFormat::Text, value_name = "FORMAT")]
    pub format: LintFormat,
}

/// How `lint` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LintFormat {
    /// For a person.
    Text,
    /// For a program; the schema is docs/schema/lint.json.
    Json,
    /// For code review: SARIF 2.1.0.
    Sarif,
}

pub const LINT_EXAMPLES: &str = "\
Examples:
  linger lint                                    what this host reads at boot, and where the running values differ
  linger lint 99-tuning.conf --kernel 6.1 --ram 64G --role proxy
  linger lint files/sysctl.d --format sarif      for code review
  linger lint 99-tuning.conf --diff              what --fix would change
  linger lint 99-tuning.conf --fix               mend what is sure; 99-tuning.conf.bak is the old one
  linger lint /mnt/image                         a system's tree: its folders, in their order
  linger lint --prometheus alerts/*.yml          rules that cannot fire, or fire for something else
  linger explain SC004                           what a code means

Exit status: 0 nothing, or notes only; 1 warnings; 2 something critical; 3 a file
could not be read (those above 1 MiB, rules above 4 MiB, are not), or --fix could
not rewrite one; or usage.

Nothing is written without --fix. What depends on the memory is judged with --ram
or --live only, what depends on the host's task with --role only.";

/// `64G`, `512MiB`, `16384k`, bytes without a unit.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| "a size like 64G is expected".to_owned())?;
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err("a size like 512M, 64G or 1.5T is expected".to_owned()),
    };
    let bytes = number * f64::from(1_u32 << 10).powi(shift / 10);
    // Less than 16 MiB boots no current kernel: a unit was forgotten.
    let least = (16_u64 << 20) as f64;
    let most = (1_u64 << 50) as f64;
    if (least..=most).contains(&bytes) { Ok(bytes as u64) } else { Err("between 16M and 1024T".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_every_usual_unit() {
        assert_eq!(size("64G"), Ok(64 << 30));
        assert_eq!(size("64GiB"), Ok(64 << 30));
        assert_eq!(size("1.5t"), Ok(3 << 39));
        assert_eq!(size("25276510208"), Ok(25_276_510_208));
        for wrong in ["", "64", "G", "64X", "-1G", "1e9", "NaN", "9999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
