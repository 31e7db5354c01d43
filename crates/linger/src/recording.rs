//! From a recording's file to a window.

use crate::import::Place;
use crate::kept::Kept;
use crate::trend::Trend;
use anyhow::{Context, anyhow, bail};
use linger_import::recording::{End, Redaction, Samples};
use linger_model::Window;
use linger_model::report::{Hidden, ImportSkipped, Imported, ImportedPiece};
use linger_rules::counted;
use std::io::{BufReader, Read};
use std::time::Duration;

/// Its samples from one moment to another (from its beginning), or all; those in between keep what a trend needs. What
/// charts show of each is added to `trend`.
pub fn window(
    name: &str,
    place: &mut Place,
    between: Option<(Duration, Duration)>,
    mut trend: Option<&mut Trend>,
) -> anyhow::Result<(Window, Imported)> {
    let range = match between {
        None => (0, usize::MAX),
        Some((from, to)) => moments(samples(name, place)?, from, to).with_context(|| name.to_owned())?,
    };
    let mut samples = samples(name, place)?;
    let (mut kept, mut at) = (Kept::new(), 0);
    while let Some(snapshot) = samples.next_sample().with_context(|| format!("cannot read {name}"))? {
        if at >= range.0 && at <= range.1 {
            kept.push(match trend.as_deref_mut() {
                Some(trend) => trend.add(snapshot),
                None => snapshot,
            });
        }
        at += 1;
    }
    let (first, count) = (range.0.min(at) + 1, kept.count());
    let Some(window) = kept.into_window() else {
        bail!("{name}: the recording ends before its first whole sample")
    };
    let hidden = match samples.about.redaction {
        Redaction::None => None,
        Redaction::Addresses => Some(Hidden::Addresses),
        Redaction::All => Some(Hidden::All),
    };
    let without = match hidden {
        None => "",
        Some(Hidden::Addresses) => ", addresses hidden",
        Some(Hidden::All) => ", addresses and names hidden",
    };
    let which = if count == at {
        counted(at as u64, "sample")
    } else {
        format!("samples {first} to {} of {at}", first + count - 1)
    };
    let what = format!("recording of linger {}, {which}{without}", samples.about.linger);
    let sockets = window.last().sockets.as_ref().map_or(0, |table| table.states.total());
    let piece = ImportedPiece {
        file: name.to_owned(),
        what,
        first_line: 0,
        last_line: 0,
        sockets,
        unused: String::new(),
    };
    let mut skipped = Vec::new();
    if samples.end() == Some(End::Cut) {
        skipped.push(ImportSkipped {
            file: name.to_owned(),
            line: 0,
            text: String::new(),
            reason: "it breaks off within a sample, or is damaged there: what came before is whole"
                .to_owned(),
            lines: 0,
        });
    }
    Ok((
        window,
        Imported { from: name.to_owned(), pieces: vec![piece], skipped, missing: Vec::new(), hidden },
    ))
}

fn samples<'a>(name: &str, place: &'a mut Place) -> anyhow::Result<Samples<impl Read + 'a>> {
    let bytes = place.reader().with_context(|| format!("cannot read {name}"))?;
    Samples::open(BufReader::with_capacity(256 << 10, bytes)).map_err(|error| anyhow!("{name}: {error}"))
}

/// The numbers of the samples nearest to two moments.
fn moments(mut samples: Samples<impl Read>, from: Duration, to: Duration) -> anyhow::Result<(usize, usize)> {
    let mut times: Vec<Duration> = Vec::new();
    while let Some(snapshot) = samples.next_sample()? {
        times.push(Duration::from_micros(snapshot.monotonic_us));
    }
    let (Some(start), Some(end)) = (times.first().copied(), times.last().copied()) else {
        bail!("the recording ends before its first whole sample");
    };
    let length = end.saturating_sub(start);
    // Half an interval beyond the end is still its last sample.
    if from > length + Duration::from_secs(1) {
        bail!(
            "--between begins at {:.1} s, and the recording is {:.1} s long",
            from.as_secs_f64(),
            length.as_secs_f64()
        );
    }
    let nearest = |wanted: Duration| {
        let distance = |(_, t): &(usize, &Duration)| t.saturating_sub(start).abs_diff(wanted);
        times.iter().enumerate().min_by_key(distance).map_or(0, |(i, _)| i)
    };
    Ok((nearest(from), nearest(to)))
}
