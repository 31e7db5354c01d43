//! `linger history`, and what `linger check --at` takes from it.

use super::show;
use crate::cli::HistoryArgs;
use crate::filters;
use crate::render::history::{self, columns};
use crate::render::style::Style;
use anyhow::bail;
use jiff::Timestamp;
use linger_model::State;
use linger_model::report::{Imported, ImportedPiece, Report};
use linger_netns::Netns;
use linger_serve::history::{Answer, Ask, FILE, Reader};
use std::path::Path;

/// How far around a moment its series are drawn, microseconds.
const AROUND: i64 = 15 * 60 * 1_000_000;

/// Draws it.
pub fn run(args: &HistoryArgs, style: &Style) -> anyhow::Result<u8> {
    let states = filters::states(&args.state)?;
    let until = args.until.unwrap_or_else(Timestamp::now);
    if args.since >= until {
        bail!("--since has to be before --until");
    }
    let ask = Ask {
        from_us: args.since.as_microsecond(),
        until_us: until.as_microsecond(),
        netns: args.netns.iter().map(|name| label(name)).collect(),
        states,
        points: columns(style),
    };
    let answer = Reader::open(&args.history)?.answer(&ask)?;
    show(args.format, &answer, |answer| history::text(answer, &ask.states, style))?;
    Ok(0)
}

/// The history's word for a namespace: the one that this process is in may have a name there.
fn label(name: &str) -> String {
    match Netns::current() {
        Ok(own) if name == "self" => linger_serve::label(&own),
        _ => name.to_owned(),
    }
}

/// The reports of a moment, each of which says from when it is, and the series around it.
pub fn moment(
    at: Timestamp,
    folder: &Path,
    netns: &[String],
    style: &Style,
) -> anyhow::Result<(Vec<Report>, Answer)> {
    let reader = Reader::open(folder)?;
    let at_us = at.as_microsecond();
    let all = netns.iter().any(|name| name == "all");
    let wanted: Vec<String> = netns.iter().filter(|_| !all).map(|name| label(name)).collect();
    let moments = reader.moments(at_us, &wanted)?;
    let file = folder.join(FILE).display().to_string();
    let ask = Ask {
        from_us: at_us.saturating_sub(AROUND),
        until_us: at_us.saturating_add(AROUND).min(Timestamp::now().as_microsecond()),
        netns: moments.iter().map(|moment| moment.netns.clone()).take(8).collect(),
        states: State::ALL.to_vec(),
        points: columns(style),
    };
    let around = reader.answer(&ask)?;
    let reports = moments.into_iter().map(|moment| {
        let distance = match moment.at_us - at_us {
            0 => "the very moment asked for".to_owned(),
            us => format!(
                "{} {} the moment asked for",
                crate::render::duration_exact(us.unsigned_abs() as f64 / 1e6),
                if us < 0 { "before" } else { "after" }
            ),
        };
        let what = format!("{}'s report of {}, {distance}", moment.netns, history::local(moment.at_us));
        let sockets = moment.report.states.map_or(0, |states| states.total());
        let piece = ImportedPiece {
            file: file.clone(),
            what,
            first_line: 0,
            last_line: 0,
            sockets,
            unused: String::new(),
        };
        let imported = Imported { from: file.clone(), pieces: vec![piece], ..Imported::default() };
        Report { imported: Some(imported), ..moment.report }
    });
    Ok((reports.collect(), around))
}
