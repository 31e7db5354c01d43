//! `linger mitigate syn-limit`

use super::{PATIENCE, mark, named, open};
use crate::cli::{Listener, SynLimitArgs};
use crate::cmd::show;
use crate::cmd::states::either;
use crate::filters;
use crate::render::mitigate;
use crate::render::style::Style;
use anyhow::{Context, bail};
use linger_collect::{HolderTable, ScanOptions, Walk};
use linger_mitigate::{Event, Journal, Nft, SynLimit};
use linger_model::aggregate::Owners;
use linger_model::record::endpoint;
use linger_model::report::ReportNetns;
use linger_model::{SocketRecord, State};
use linger_netns::{Netns, run_in};
use linger_wire::sock_diag::Extensions;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Instant;

/// A limit that was put in force, or would be.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LimitReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Where.
    pub netns: ReportNetns,
    /// The listening sockets it is for: `*:443 nginx (pid 4242)`.
    pub listeners: Vec<String>,
    /// The port.
    pub port: u16,
    /// New connections that a source may make: `20/second`.
    pub rate: String,
    /// How many at once beyond that.
    pub burst: u32,
    /// How long, seconds.
    pub for_s: u64,
    /// Networks that are not limited.
    pub allow: Vec<String>,
    /// Whether it only counts.
    pub preview: bool,
    /// Sources that are remembered, of IPv4 and IPv6 each.
    pub sources: u32,
    /// Bytes of kernel memory that so many take, about, in each family.
    pub sources_bytes: u64,
    /// Whether a limit of this port was in force, which this one replaces.
    pub replaces: bool,
    /// Whether it is in force.
    pub is_in_force: bool,
    /// The ruleset, as `nft -f` gets it.
    pub ruleset: String,
}

/// Puts the limit in force; the exit status.
pub fn run(args: &SynLimitArgs, style: &Style) -> anyhow::Result<u8> {
    let allow = args.allow.iter().map(|it| filters::prefix("--allow", it.trim()));
    let limit = SynLimit {
        port: args.listener.port,
        addr: args.listener.addr,
        rate: args.rate,
        burst: args.burst,
        lasts: args.lasts,
        allow: allow.collect::<Result<_, _>>()?,
        preview: args.preview,
        sources: args.sources,
    };
    let ns = open(&args.place.netns)?;
    let listeners = listeners(&ns, args.listener)?;
    let nft = Nft::new(&ns)?;
    let journal = if args.dry_run {
        None
    } else {
        let journal = Journal::open(&args.place.state_dir, mark(&ns)?)?;
        let lock = journal.lock(PATIENCE)?;
        Some((journal, lock))
    };
    let present = nft.own()?;
    let mut report = LimitReport {
        schema: 1,
        netns: named(&ns),
        listeners,
        port: limit.port,
        rate: limit.rate.to_string(),
        burst: limit.burst,
        for_s: limit.lasts.as_secs(),
        allow: limit.allow.iter().map(|it| format!("{}/{}", it.addr, it.length)).collect(),
        preview: limit.preview,
        sources: limit.sources,
        sources_bytes: u64::from(limit.sources) * linger_mitigate::SOURCE_BYTES,
        replaces: present.active(limit.port).is_some(),
        is_in_force: false,
        ruleset: limit.ruleset(&present),
    };
    match journal {
        None => nft.check(&limit, &present)?,
        Some((journal, lock)) => {
            let (port, for_s, ruleset) = (limit.port, report.for_s, report.ruleset.clone());
            journal.append(&lock, [Event::Limit { port, for_s, ruleset }])?;
            let begun = Instant::now();
            let done = nft.install(&limit, &present);
            let error = done.as_ref().err().map(ToString::to_string);
            let noted = journal.append(&lock, [Event::Limited { port, error }]);
            done?;
            report.is_in_force = nft.own()?.active(port).is_some();
            noted.context("the limit is in force, but not noted as such")?;
            // A short one may have ended by now.
            if !report.is_in_force && begun.elapsed() < limit.lasts {
                bail!(
                    "the kernel took the limit, and it is not there: did somebody load another ruleset meanwhile?"
                );
            }
        }
    }
    show(args.place.format, &report, |report| mitigate::limit(report, style))?;
    Ok(0)
}

/// The listening sockets that are meant, by address and holder.
fn listeners(ns: &Netns, wanted: Listener) -> anyhow::Result<Vec<String>> {
    let mut listening: Vec<SocketRecord> = Vec::new();
    let walk = Walk { states: State::Listen.bit(), extensions: Extensions::NONE, filter: None };
    run_in(ns, || either(&walk, |it| listening.push(it.clone())))??;
    let is_meant = |it: &&SocketRecord| {
        let is_addr = wanted.addr.is_none_or(|addr| it.src.is_unspecified() || it.src == addr);
        it.sport == wanted.port && is_addr
    };
    let meant: Vec<&SocketRecord> = listening.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let mut others: Vec<String> = listening.iter().map(|it| endpoint(it.src, it.sport)).collect();
        others.sort();
        others.dedup();
        let more = others.len().saturating_sub(10);
        others.truncate(10);
        let mut list = if others.is_empty() { "nothing listens here".to_owned() } else { others.join(", ") };
        if more > 0 {
            list += &format!(" and {more} more");
        }
        let what =
            wanted.addr.map_or_else(|| format!(":{}", wanted.port), |addr| endpoint(addr, wanted.port));
        bail!("--listener {what}: no socket listens there; those that listen: {list}");
    }
    if meant.iter().all(|it| it.src.is_loopback()) {
        bail!("--listener: it listens at loopback alone, which is never limited");
    }
    let options = ScanOptions { cgroups: false, limits: false, only_pid: None };
    let holders = HolderTable::scan(&options).unwrap_or_else(|_| HolderTable::empty());
    let mut names: Vec<String> = meant
        .iter()
        .map(|it| {
            let owner = holders.owner(it).and_then(|at| holders.processes().get(at));
            let holder = owner.map_or_else(String::new, |it| format!(" {}", it.label()));
            format!("{}{holder}", endpoint(it.src, it.sport))
        })
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_lab::scenario::{Adjust, find};
    use linger_mitigate::Table;
    use std::time::Duration;

    #[test]
    fn the_lab_shows_the_ruleset_that_is_installed() {
        let twin = find("syn-limit-global-per-source", &Adjust::default())
            .expect("a scenario")
            .expect("it is there");
        let shown =
            twin.hosts.iter().find(|(name, _)| name == "server").and_then(|(_, host)| host.nft.clone());
        let limit = SynLimit {
            port: 80,
            addr: None,
            rate: "10/s".parse().expect("a rate"),
            burst: 20,
            lasts: Duration::from_secs(600),
            allow: Vec::new(),
            preview: false,
            sources: linger_mitigate::SOURCES,
        };
        assert_eq!(shown.unwrap_or_default(), limit.ruleset(&Table::default()));
    }
}
