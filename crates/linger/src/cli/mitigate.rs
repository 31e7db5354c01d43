//! `linger mitigate`: what can be asked of it.

use super::{FilterArgs, Format, time};
use clap::{Args, Subcommand};
use linger_mitigate::{MOST_LASTING, Rate, SOURCES, STATE_DIR};
use linger_model::Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `linger mitigate`
#[derive(Debug, Args)]
pub struct MitigateArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: MitigateCommand,
}

/// The commands of `linger mitigate`.
#[derive(Debug, Subcommand)]
pub enum MitigateCommand {
    /// Limit the new connections to a listener, for each source by itself
    #[command(
        after_help = "Examples:\n  linger mitigate syn-limit --listener :443 --for 10m --preview\n  linger mitigate syn-limit --listener :443 --rate 20/s --burst 50 --allow 10.0.0.0/8\n\nMore with --help.",
        after_long_help = SYN_LIMIT_EXAMPLES
    )]
    SynLimit(SynLimitArgs),
    /// Destroy sockets that a process or peer leaves behind
    #[command(
        after_help = "Examples:\n  linger mitigate close --state close-wait --process shop --dry-run\n  linger mitigate close --state time-wait --dst 10.0.0.5 --dport 6379\n\nMore with --help.",
        after_long_help = CLOSE_EXAMPLES
    )]
    Close(CloseArgs),
    /// Show the limits in force, what they dropped, and what was destroyed
    #[command(
        after_help = "Examples:\n  linger mitigate status\n  linger mitigate status --netns pid:4242 --format json"
    )]
    Status(PlaceArgs),
    /// Take every limit away at once
    #[command(after_help = "Examples:\n  linger mitigate clear\n  linger mitigate clear --dry-run")]
    Clear(MitigateClearArgs),
}

pub(super) const MITIGATE_EXAMPLES: &str = "\
Examples:
  linger mitigate syn-limit --listener :443 --for 10m --preview
                                               whom would a limit hit? Drops nothing
  linger mitigate syn-limit --listener :443 --for 10m
                                               limit new connections per source
  linger mitigate close --state close-wait --process shop
                                               destroy what an application leaks
  linger mitigate status                       what is in force, and what it did
  linger mitigate clear                        take every limit away

These win time, and cure nothing: `linger check` says what to mend. A limit ends
by itself, also when linger is gone. What is done is first written to a journal
(/var/lib/linger/mitigate).";

const SYN_LIMIT_EXAMPLES: &str = "\
Examples:
  linger mitigate syn-limit --listener :443 --for 10m --preview
  linger mitigate syn-limit --listener :443 --for 10m
  linger mitigate syn-limit --listener 10.0.0.2:443 --rate 100/min --burst 200
  linger mitigate syn-limit --listener :443 --allow 10.0.0.0/8,fd00::/8
  linger mitigate syn-limit --listener :80 --netns pid:4242    a container's
  linger mitigate syn-limit --listener :443 --dry-run          the ruleset alone

Every source (an IPv4 address, an IPv6 /64) has a bucket of its own, so that one
that floods does not cut the others off, as one limit for all does. Whoever is
behind one address shares its bucket: put proxies, balancers and NAT gateways
into --allow. Loopback is never limited. Connections that are there go on.

It is useless against forged source addresses, which are a new source each; the
SYN cookies of the kernel are the answer to those. A bounded number of sources
is remembered; when there is no place, a new source is let through, and counted.

It is a table of linger's own, `inet linger`; nobody else's rules are touched.
The port is an element that times out: the limit ends with or without linger.

Exit status: 0 it is in force, 3 it is not.";

const CLOSE_EXAMPLES: &str = "\
Examples:
  linger mitigate close --state close-wait --process shop --dry-run
  linger mitigate close --state close-wait --process shop
  linger mitigate close --state time-wait --dst 10.0.0.5 --dport 6379 --yes
  linger mitigate close --state fin-wait2 --src 10.0.0.0/8 --max 20000

It shows what it would hit and asks first; without a terminal it needs --yes.
Each socket is named by its cookie and looked at again just before: one that has
another state by then is left alone. Never a listener, nor what this command's
own ancestors hold, nor the caller's SSH connection, nor sshd's.

The application keeps its descriptors: it gets ECONNABORTED or EPIPE at the next
use of each, and has to close it. The peer gets a reset. Destroying a TIME_WAIT
socket frees its port at once, and gives up the protection from segments of the
old connection that are still on their way.

Exit status: 0 done, or there was nothing to do; 1 something was refused or is
left; 3 it could not be done.";

/// An address to listen at, or any with this port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The address; none for any.
    pub addr: Option<Addr>,
    /// The port.
    pub port: u16,
}

/// `:443`, `443`, `10.0.0.2:443`, `[fd00::2]:443`.
fn listener(text: &str) -> Result<Listener, String> {
    let bad = || "a port like :443, or an address and a port like 10.0.0.2:443 or [fd00::2]:443, is expected";
    let text = text.trim();
    let port =
        |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(|| bad().to_owned());
    if let Some(rest) = text.strip_prefix("*:").or_else(|| text.strip_prefix(':')) {
        return Ok(Listener { addr: None, port: port(rest)? });
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Listener { addr: None, port: port(text)? });
    }
    let address: SocketAddr = text.parse().map_err(|_| bad().to_owned())?;
    let addr = Some(Addr::from(address.ip())).filter(|it| !it.is_unspecified());
    match address.port() {
        0 => Err(bad().to_owned()),
        port => Ok(Listener { addr, port }),
    }
}

/// From a second to a day, in whole seconds.
fn lasting(text: &str) -> Result<Duration, String> {
    let time = time(text).ok_or("a time like 90s, 10m or 2h is expected")?;
    if (Duration::from_secs(1)..=MOST_LASTING).contains(&time) {
        Ok(Duration::from_secs(time.as_secs()))
    } else {
        Err("between 1s and 24h: what lasts longer belongs into the firewall".to_owned())
    }
}

/// `linger mitigate syn-limit`
#[derive(Debug, Args)]
pub struct SynLimitArgs {
    /// The listener: a port like :443, or an address and a port.
    #[arg(long, value_parser = listener, value_name = "ADDRESS:PORT")]
    pub listener: Listener,
    /// New connections that a source may make, such as 20/s or 100/min.
    #[arg(long, default_value = "20/s", value_name = "RATE")]
    pub rate: Rate,
    /// How many at once beyond that.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    pub burst: u32,
    /// How long; it ends by itself.
    #[arg(long = "for", default_value = "10m", value_parser = lasting, value_name = "TIME")]
    pub lasts: Duration,
    /// Sources that are not limited: proxies, balancers, NAT gateways, yourself.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub allow: Vec<String>,
    /// Count what would be dropped, and drop nothing.
    #[arg(long)]
    pub preview: bool,
    /// Only show the ruleset; nothing is changed.
    #[arg(long)]
    pub dry_run: bool,
    /// Sources to remember, of IPv4 and IPv6 each.
    #[arg(long, default_value_t = SOURCES, value_parser = clap::value_parser!(u32).range(1..=4_194_304), value_name = "N", hide = true)]
    pub sources: u32,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where, and how all of these print.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N.
    #[arg(long, value_name = "NETNS", default_value = "self")]
    pub netns: String,
    /// The folder of the journal.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger mitigate close`
#[derive(Debug, Args)]
pub struct CloseArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only sockets that processes of this name hold, or the process with this PID.
    #[arg(long, value_name = "NAME|PID", conflicts_with = "pid")]
    pub process: Option<String>,
    /// Refuse if more sockets than this would be hit.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    pub max: u32,
    /// Don't ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would be hit.
    #[arg(long, visible_alias = "preview")]
    pub dry_run: bool,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `linger mitigate clear`
#[derive(Debug, Args)]
pub struct MitigateClearArgs {
    /// Only say what would be taken away.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub place: PlaceArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read() {
        let any = Ok(Listener { addr: None, port: 443 });
        for text in [":443", "443", "*:443", "0.0.0.0:443", "[::]:443"] {
            assert_eq!(listener(text), any, "{text}");
        }
        assert_eq!(listener("10.0.0.2:80").unwrap().addr.unwrap().to_string(), "10.0.0.2");
        assert_eq!(listener("[fd00::2]:80").unwrap().addr.unwrap().to_string(), "fd00::2");
        for bad in ["", ":", ":0", "0", "65536", "x:1", "10.0.0.2", "10.0.0.2:0", "fd00::2", "443;drop"] {
            assert!(listener(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_limit_is_of_whole_seconds_and_a_day_at_the_most() {
        assert_eq!(lasting("1.9"), Ok(Duration::from_secs(1)));
        assert_eq!(lasting("24h"), Ok(MOST_LASTING));
        assert!(
            lasting("0.5").is_err()
                && lasting("25h").is_err()
                && lasting("-1").is_err()
                && lasting("x").is_err()
        );
    }
}
