//! `linger mitigate status` and `clear`

use super::{PATIENCE, mark, named, open};
use crate::cli::{MitigateClearArgs, PlaceArgs};
use crate::cmd::show;
use crate::render::mitigate;
use crate::render::style::Style;
use anyhow::bail;
use linger_mitigate::{Active, Event, Journal, Nft, Record};
use linger_model::report::ReportNetns;
use schemars::JsonSchema;
use serde::Serialize;

/// How many times sockets were destroyed are told of.
const LAST: usize = 5;
/// Lines of the journal that are looked at for that.
const LINES: usize = 10_000;

/// What is in force, and what was destroyed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StatusReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Where.
    pub netns: ReportNetns,
    /// The limits, by port.
    pub limits: Vec<LimitRow>,
    /// The last times that sockets were destroyed here, oldest first.
    pub closings: Vec<ClosingRow>,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// A limit.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LimitRow {
    /// The port.
    pub port: u16,
    /// Only connections to this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// Seconds until it ends, rounded down; null when it has ended.
    pub expires_s: Option<u64>,
    /// New connections that a source may make: `20/second`; null where that can't be read.
    pub rate: Option<String>,
    /// How many at once beyond that.
    pub burst: u32,
    /// Whether it only counts.
    pub preview: bool,
    /// Sources that are remembered at most, of IPv4 and IPv6 each.
    pub sources: u32,
    /// SYNs that were looked at; those of allowed sources are none of them.
    pub seen: u64,
    /// SYNs beyond the limit: dropped, or only counted in a preview.
    pub over: u64,
    /// SYNs of allowed sources.
    pub allowed: u64,
    /// SYNs that were let through because their source found no place in the set.
    pub no_place: u64,
}

/// Sockets that were destroyed with one command.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ClosingRow {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Who did it.
    pub who: String,
    /// How many.
    pub destroyed: u64,
    /// How many were gone, or had another state by then.
    pub passed: u64,
    /// How many the kernel left.
    pub left: u64,
}

/// What was taken away.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ClearReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Where.
    pub netns: ReportNetns,
    /// The limits as they were, by port.
    pub limits: Vec<LimitRow>,
    /// Whether they are gone.
    pub is_cleared: bool,
}

fn row(it: &Active) -> LimitRow {
    LimitRow {
        port: it.port,
        addr: it.addr.clone(),
        expires_s: it.expires_s,
        rate: it.rate.map(|rate| rate.to_string()),
        burst: it.burst,
        preview: it.preview,
        sources: it.sources,
        seen: it.seen,
        over: it.over,
        allowed: it.allowed,
        no_place: it.no_place,
    }
}

/// Says what is in force.
pub fn run(args: &PlaceArgs, style: &Style) -> anyhow::Result<u8> {
    let ns = open(&args.netns)?;
    let table = Nft::new(&ns)?.own()?;
    let mut report = StatusReport {
        schema: 1,
        netns: named(&ns),
        limits: table.limits.iter().map(row).collect(),
        closings: Vec::new(),
        gaps: Vec::new(),
    };
    let here = mark(&ns)?;
    match Journal::read(&args.state_dir, LINES) {
        Ok(records) => {
            report.closings = records.into_iter().filter(|it| it.netns == here).filter_map(closing).collect();
            let first = report.closings.len().saturating_sub(LAST);
            report.closings.drain(..first);
        }
        Err(error) => report.gaps.push(format!("what was destroyed: {error}")),
    }
    show(args.format, &report, |report| mitigate::status(report, style))?;
    Ok(0)
}

fn closing(record: Record) -> Option<ClosingRow> {
    match record.event {
        Event::Closed { destroyed, passed, left } => {
            Some(ClosingRow { at: record.stamp.at, who: record.stamp.who, destroyed, passed, left })
        }
        _ => None,
    }
}

/// Takes every limit away.
pub fn clear(args: &MitigateClearArgs, style: &Style) -> anyhow::Result<u8> {
    let ns = open(&args.place.netns)?;
    let nft = Nft::new(&ns)?;
    let mut table = nft.own()?;
    let mut is_cleared = false;
    if table.is_there && !args.dry_run {
        let journal = Journal::open(&args.place.state_dir, mark(&ns)?)?;
        let lock = journal.lock(PATIENCE)?;
        // Another may have been at it while this one waited.
        table = nft.own()?;
        if table.is_there {
            journal.append(&lock, [Event::Clear])?;
            nft.clear()?;
        }
        if nft.own()?.is_there {
            bail!("the table `inet linger` is there again: somebody has made a limit anew");
        }
        is_cleared = true;
    }
    let report = ClearReport {
        schema: 1,
        netns: named(&ns),
        limits: table.limits.iter().map(row).collect(),
        is_cleared,
    };
    show(args.place.format, &report, |report| mitigate::cleared(report, style))?;
    Ok(0)
}
