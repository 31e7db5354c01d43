//! What `linger trace` costs whoever opens and closes connections.

use super::Demand;
use anyhow::ensure;
use linger_lab::{TimeWaitLoad, World};
use linger_trace::owners::{Options, Owners};
use std::fmt::Write as _;

/// Pairs of runs, without and with the trace, now the one first and now the other.
const PAIRS: usize = 9;
const CONNECTIONS: u64 = 200_000;

pub fn measure(text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    let mut lost = Vec::new();
    let (mut ns_per_connection, mut ns_per_event) = (Vec::new(), Vec::new());
    let (mut memory, mut capacity) = (0, 0);
    for pair in 0..PAIRS {
        let (mut off, mut on) = (0.0, 0.0);
        for turn in 0..2 {
            if (pair + turn) % 2 == 0 {
                off = run(None)?.per_second;
            } else {
                on = run(Some(false))?.per_second;
            }
        }
        eprintln!("{off:.0} connections a second without, {on:.0} with the trace");
        rates.push((off, on));
        lost.push((1.0 - on / off) * 100.0);
        // Counting costs, too, so it has runs of its own.
        let counted = run(Some(true))?;
        ns_per_connection.push(counted.ns as f64 / CONNECTIONS as f64);
        ns_per_event.push(counted.ns as f64 / counted.events.max(1) as f64);
        (memory, capacity) = (counted.memory, counted.capacity);
    }
    let _ = writeln!(
        text,
        "## `linger trace`\n\n\
         {CONNECTIONS} short connections over loopback, both ends on this host: {PAIRS} pairs of runs without and with the\n\
         trace, in turns. Its time is the kernel's own count (BPF_ENABLE_STATS) in runs of their own; it includes the\n\
         counting. Its tables take {:.1} MiB, for {} owners.\n\n\
         | | median | least | most |\n|---|---|---|---|",
        memory as f64 / 1024.0 / 1024.0,
        capacity,
    );
    let mut row = |what: &str, mut values: Vec<f64>| -> f64 {
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        let _ =
            writeln!(text, "| {what} | {median:.1} | {:.1} | {:.1} |", values[0], values[values.len() - 1]);
        median
    };
    row("connections a second without", rates.iter().map(|r| r.0).collect());
    row("connections a second with the trace", rates.iter().map(|r| r.1).collect());
    row("ns per event", ns_per_event);
    let cost = row("ns per connection", ns_per_connection);
    let lost = row("% of the connections a second lost", lost);
    let _ = writeln!(text);
    let demand = |what: &str, value, limit, unit| Demand { what: what.to_owned(), value, limit, unit };
    demands.push(demand("`linger trace`: CPU per connection, both ends", cost / 1000.0, 1.5, " µs"));
    demands.push(demand("`linger trace`: load lost", lost, 5.0, " %"));
    Ok(())
}

const OWNERS: u32 = 600_000;

/// What a run took.
#[derive(Default)]
struct Run {
    per_second: f64,
    /// Runs of the probe, where they were counted.
    events: u64,
    ns: u64,
    memory: u64,
    capacity: u64,
}

/// Without the trace, with it, or with it and its time counted.
fn run(counted: Option<bool>) -> anyhow::Result<Run> {
    let world = World::new();
    let host = world.host("load")?;
    let _counting = if counted == Some(true) { Some(linger_trace::count_cost()?) } else { None };
    let options = Options { netns: Some(vec![host.inode()]), owners: OWNERS, accepted_by_peer: false };
    let owners = counted.map(|_| Owners::start(&options, &[])).transpose()?;
    let made = TimeWaitLoad { total: CONNECTIONS, ..TimeWaitLoad::default() }.make(&host)?;
    ensure!(made.made == CONNECTIONS, "the load made {} connections: {:?}", made.made, made.errors);
    let mut run = Run { per_second: made.per_second(), ..Run::default() };
    if let Some(owners) = &owners {
        let (events, time) = owners.cost()?;
        (run.events, run.ns) = (events, u64::try_from(time.as_nanos())?);
        (run.memory, run.capacity) = (owners.memory_bytes(), owners.capacity());
        let closed: u64 = owners.flows()?.values().map(|f| f.closed_first).sum();
        ensure!(closed == CONNECTIONS, "the trace counted {closed} connections");
    }
    Ok(run)
}
