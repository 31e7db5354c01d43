//! What the history tells: series between two moments, findings, and the report of a moment. It changes nothing.

use super::database::FILE;
use super::schema::{Column, From, LEVELS, Level, Merge, SCHEMA, columns, named};
use jiff::civil::{Date, DateTime, Time};
use jiff::{SpanRelativeTo, Timestamp, Zoned};
use linger_model::Report;
use linger_model::State;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of the answers' JSON.
const ANSWER: u32 = 1;
/// Points of a series at the most.
pub const MOST_POINTS: usize = 400;
/// Namespaces of an answer at the most.
const MOST_NETNS: usize = 8;
/// Findings of an answer at the most.
const MOST_FINDINGS: usize = 200;
/// Limited things of a namespace in an answer, those that were fullest.
const MOST_HEADROOM: usize = 5;
/// A snapshot that is farther from a moment than this does not tell of it, microseconds: they are a minute apart at the
/// most, and a quiet namespace is walked once a minute.
const NEAR: i64 = 300_000_000;
/// For how long what a walk saw is taken for what there is, milliseconds.
const HOLD: i64 = 300_000;
/// A reading that covers more than this has a gap in it, milliseconds.
const GAP: i64 = 65_000;
/// The longest report that is unpacked.
const MOST_BYTES: usize = 16 << 20;

/// Why it tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no history in {}: `linger serve` keeps one, and --history names another folder", .0.display())]
    None(PathBuf),
    /// It may not be read.
    #[error("the history in {} may not be read by this user: run it as root, or as the user of `linger serve`", .0.display())]
    Denied(PathBuf),
    /// It is of another version, or no history.
    #[error("{} is of version {version}, and this linger reads version {SCHEMA}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// It is damaged, or SQLite has something else to say.
    #[error("{} cannot be read: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Its word.
        source: rusqlite::Error,
    },
    /// It does not have what was asked for.
    #[error("{0}")]
    Nothing(String),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// From when, microseconds since 1970.
    pub from_us: i64,
    /// Up to when.
    pub until_us: i64,
    /// Only these namespaces, by label; all where there are none.
    pub netns: Vec<String>,
    /// Only these states; all, and everything else, where there are none.
    pub states: Vec<State>,
    /// Points at the most.
    pub points: usize,
}

/// What was between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Answer {
    /// Version of this format: 1.
    pub schema: u32,
    /// When the first point begins, RFC 3339 in UTC.
    pub from: String,
    /// When the last one ends.
    pub until: String,
    /// Seconds of a point.
    pub step_s: f64,
    /// The step of the rows that it was made of, seconds: 1, 10 or 60.
    pub rows_s: f64,
    /// The namespaces.
    pub namespaces: Vec<NetnsSeries>,
    /// Namespaces that had too little room in the answer; they can be asked for by name.
    pub namespaces_left_out: u64,
    /// Faults of that time, the newest first.
    pub findings: Vec<Found>,
    /// Older ones that had no room in the answer.
    pub findings_left_out: u64,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NetnsSeries {
    /// Its label, as in the metrics.
    pub netns: String,
    /// What was not 0 all the time, and the states that were asked for.
    pub series: Vec<Series>,
}

/// A figure over time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Series {
    /// A state, a counter by the kernel's name, or how full something was.
    pub name: String,
    /// `sockets`, `bytes`, `entries`, `/s`, or `fraction`.
    pub unit: String,
    /// The highest of each point's time (of what is counted per second, the mean); `null` where nothing is known.
    pub points: Vec<Option<f64>>,
    /// The lowest of the points.
    pub lowest: Option<f64>,
    /// The highest.
    pub highest: Option<f64>,
    /// The last one that is known.
    pub last: Option<f64>,
}

/// A fault, from when to when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Found {
    /// When it was first seen, RFC 3339 in UTC.
    pub began: String,
    /// When it was last seen.
    pub last_seen: String,
    /// Whether it is still there.
    pub open: bool,
    /// The worst of that time.
    pub severity: String,
    /// The rule's code.
    pub code: String,
    /// The namespace's label.
    pub netns: String,
    /// Who.
    pub subject: String,
    /// What, when it was worst.
    pub summary: String,
}

/// Faults of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Findings {
    /// Version of this format: 1.
    pub schema: u32,
    /// The faults, the newest first.
    pub findings: Vec<Found>,
    /// Older ones that had no room in the answer.
    pub findings_left_out: u64,
}

/// A namespace's report of a moment.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The namespace's label.
    pub netns: String,
    /// When it was made, microseconds since 1970.
    pub at_us: i64,
    /// It, as it was made then.
    pub report: Report,
}

/// An open history.
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the one of this folder.
    ///
    /// # Errors
    /// Where there is none, or it may not or cannot be read.
    pub fn open(folder: &Path) -> Result<Reader, ReadError> {
        let path = folder.join(FILE);
        match std::fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ReadError::Denied(folder.to_owned()));
            }
            Err(_) => return Err(ReadError::None(folder.to_owned())),
            Ok(_) => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(Duration::from_secs(2))?;
            connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
            let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            Ok((connection, version))
        };
        match open() {
            Ok((connection, SCHEMA)) => Ok(Reader { connection, path }),
            Ok((_, version)) => Err(ReadError::Version { path, version }),
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen)
                ) =>
            {
                Err(ReadError::Denied(folder.to_owned()))
            }
            Err(source) => Err(ReadError::Sqlite { path, source }),
        }
    }

    fn failed(&self, source: rusqlite::Error) -> ReadError {
        ReadError::Sqlite { path: self.path.clone(), source }
    }

    /// The labels of the namespaces, and their numbers.
    fn netns(&self, wanted: &[String]) -> Result<Vec<(i64, String)>, ReadError> {
        let all = || -> rusqlite::Result<Vec<(i64, String)>> {
            let mut labels = self.connection.prepare("SELECT id, label FROM netns ORDER BY id")?;
            labels.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let all = all().map_err(|error| self.failed(error))?;
        if let Some(missing) = wanted.iter().find(|label| !all.iter().any(|(_, known)| known == *label)) {
            let known: Vec<&str> = all.iter().map(|(_, label)| label.as_str()).take(20).collect();
            let what = format!(
                "the history knows no network namespace {missing:?}; it knows {}",
                if known.is_empty() { "none yet".to_owned() } else { known.join(", ") }
            );
            return Err(ReadError::Nothing(what));
        }
        Ok(all.into_iter().filter(|(_, label)| wanted.is_empty() || wanted.contains(label)).collect())
    }

    /// Series and findings between two moments.
    ///
    /// # Errors
    /// Where it cannot be read, or knows no such namespace.
    pub fn answer(&self, ask: &Ask) -> Result<Answer, ReadError> {
        let mut netns = self.netns(&ask.netns)?;
        let left_out = netns.len().saturating_sub(MOST_NETNS) as u64;
        netns.truncate(MOST_NETNS);
        let scale = Scale::of(ask);
        let read = || -> rusqlite::Result<Vec<NetnsSeries>> {
            let mut sums: BTreeMap<i64, Sums> =
                netns.iter().map(|(id, _)| (*id, Sums::new(scale.points))).collect();
            let headroom =
                if ask.states.is_empty() { self.headroom(&scale, &sums)? } else { BTreeMap::new() };
            self.series(&scale, &mut sums)?;
            let named = netns.iter().filter_map(|(id, label)| {
                let mut series = sums.remove(id)?.finish(ask);
                series.extend(headroom.get(id).into_iter().flatten().cloned());
                (!series.is_empty()).then(|| NetnsSeries { netns: label.clone(), series })
            });
            Ok(named.collect())
        };
        let namespaces = read().map_err(|error| self.failed(error))?;
        let Findings { findings, findings_left_out, .. } = self.findings(ask)?;
        Ok(Answer {
            schema: ANSWER,
            from: rfc3339(scale.from_us),
            until: rfc3339(scale.until_us),
            step_s: scale.step_us as f64 / 1e6,
            rows_s: scale.level().step_ms as f64 / 1000.0,
            namespaces,
            namespaces_left_out: left_out,
            findings,
            findings_left_out,
        })
    }

    /// Runs through the rows of the levels: those of the longest steps first, and what is not in them yet of the shorter.
    fn rows(
        &self,
        scale: &Scale,
        sql: impl Fn(Level) -> String,
        table: &str,
        mut each: impl FnMut(Level, &Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut since = 0;
        for level in LEVELS[..=scale.level].iter().rev() {
            let mut statement = self.connection.prepare(&sql(*level))?;
            let mut rows = statement.query(params![since, scale.from_us, scale.until_us])?;
            while let Some(row) = rows.next()? {
                each(*level, row)?;
            }
            let newest = format!("SELECT max(watched_ms) FROM {table}_{}", level.name);
            let newest: Option<i64> = self.connection.query_row(&newest, [], |row| row.get(0))?;
            since = since.max(newest.map_or(0, |newest| newest + level.step_ms));
        }
        Ok(())
    }

    fn series(&self, scale: &Scale, sums: &mut BTreeMap<i64, Sums>) -> rusqlite::Result<()> {
        let names = named(|column| column.name.to_owned());
        let sql = |level: Level| {
            format!(
                "SELECT netns, watched_ms, at_us, covers_ms, {names} FROM series_{} \
                 WHERE watched_ms >= ?1 AND at_us >= ?2 AND at_us < ?3 ORDER BY watched_ms",
                level.name
            )
        };
        self.rows(scale, sql, "series", |level, row| {
            let Some(sums) = sums.get_mut(&row.get(0)?) else { return Ok(()) };
            let (watched_ms, at_us, covers): (i64, i64, Option<i64>) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            // A short step's row tells of the time before it, a longer one's of that from it on.
            let before = covers.filter(|ms| (1..=GAP).contains(ms)).unwrap_or(level.step_ms);
            let (begin, end) = if level.step_ms == LEVELS[0].step_ms {
                (at_us.saturating_sub(before * 1000), at_us)
            } else {
                (at_us, at_us.saturating_add(level.step_ms * 1000))
            };
            let places = scale.places(begin, end);
            let walked = sums.columns.iter().enumerate().any(|(i, c)| {
                matches!(c.from, From::State(_)) && row.get::<_, Option<i64>>(i + 4).ok().flatten().is_some()
            });
            let hold = !walked && sums.walked_ms.is_some_and(|at| watched_ms - at <= HOLD);
            for i in 0..sums.columns.len() {
                let column = sums.columns[i];
                let mut figure = row.get::<_, Option<i64>>(i + 4)?.map(|n| n as f64);
                if matches!(column.from, From::State(_)) {
                    match walked {
                        true => sums.last[i] = figure,
                        false if hold => figure = sums.last[i],
                        false => {}
                    }
                }
                let Some(figure) = figure else { continue };
                let value = match (column.merge, covers) {
                    (Merge::Highest, _) => figure,
                    (Merge::Sum, Some(ms)) if ms > 0 => figure * 1000.0 / ms as f64,
                    (Merge::Sum, _) => continue,
                };
                for place in places.clone() {
                    sums.add(i, place, value);
                }
            }
            if walked {
                sums.walked_ms = Some(watched_ms);
            }
            Ok(())
        })
    }

    /// The things that were fullest, by namespace.
    fn headroom(
        &self,
        scale: &Scale,
        sums: &BTreeMap<i64, Sums>,
    ) -> rusqlite::Result<BTreeMap<i64, Vec<Series>>> {
        // First which, then their points: there may be many names.
        let mut fullest: BTreeMap<(i64, i64), f64> = BTreeMap::new();
        let sql = |level: Level| {
            format!(
                "SELECT netns, resource, max(1.0 * used / max(capacity, 1)) FROM headroom_{} \
                 WHERE watched_ms >= ?1 AND at_us >= ?2 AND at_us < ?3 GROUP BY netns, resource",
                level.name
            )
        };
        self.rows(scale, sql, "headroom", |_, row| {
            let most: f64 = row.get(2)?;
            let known = fullest.entry((row.get(0)?, row.get(1)?)).or_default();
            *known = known.max(most);
            Ok(())
        })?;
        let mut found: BTreeMap<i64, Vec<Series>> = BTreeMap::new();
        for netns in sums.keys() {
            let mut own: Vec<(i64, f64)> = fullest
                .iter()
                .filter(|((of, _), _)| of == netns)
                .map(|((_, what), most)| (*what, *most))
                .collect();
            own.sort_by(|a, b| b.1.total_cmp(&a.1));
            for (resource, _) in own.into_iter().take(MOST_HEADROOM).filter(|(_, most)| *most > 0.0) {
                let name = "SELECT resource, subject FROM resource WHERE id = ?";
                let name = self.connection.query_row(name, [resource], |row| {
                    Ok(format!("{} of {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })?;
                let mut points = vec![None; scale.points];
                let sql = |level: Level| {
                    format!(
                        "SELECT at_us, used, capacity FROM headroom_{} WHERE watched_ms >= ?1 AND at_us >= ?2 \
                         AND at_us < ?3 AND netns = {netns} AND resource = {resource}",
                        level.name
                    )
                };
                self.rows(scale, sql, "headroom", |level, row| {
                    let (at_us, used, capacity): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                    let fraction = used as f64 / capacity.max(1) as f64;
                    for place in scale.places(at_us, at_us.saturating_add(level.step_ms * 1000)) {
                        highest(&mut points[place], fraction);
                    }
                    Ok(())
                })?;
                found.entry(*netns).or_default().push(Series::new(name, "fraction", points));
            }
        }
        Ok(found)
    }

    /// The faults of a time.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn findings(&self, ask: &Ask) -> Result<Findings, ReadError> {
        let now_us = Timestamp::now().as_microsecond();
        let read = || -> rusqlite::Result<(Vec<Found>, u64)> {
            let mut rows = self.connection.prepare(
                "SELECT f.began_us, f.last_us, f.open, f.severity, f.code, n.label, f.subject, f.summary \
                 FROM finding f JOIN netns n ON n.id = f.netns \
                 WHERE f.began_us < ?2 AND f.last_us >= ?1 ORDER BY f.began_ms DESC",
            )?;
            let mut rows = rows.query([ask.from_us, ask.until_us])?;
            let (mut found, mut left_out) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let netns: String = row.get(5)?;
                if !ask.netns.is_empty() && !ask.netns.contains(&netns) {
                    continue;
                }
                if found.len() == MOST_FINDINGS {
                    left_out += 1;
                    continue;
                }
                let last_us: i64 = row.get(1)?;
                found.push(Found {
                    began: rfc3339(row.get(0)?),
                    last_seen: rfc3339(last_us),
                    // A service that was killed has ended nothing.
                    open: row.get::<_, bool>(2)? && now_us.saturating_sub(last_us) < NEAR,
                    severity: row.get(3)?,
                    code: row.get(4)?,
                    netns,
                    subject: row.get(6)?,
                    summary: row.get(7)?,
                });
            }
            Ok((found, left_out))
        };
        let (findings, findings_left_out) = read().map_err(|error| self.failed(error))?;
        Ok(Findings { schema: ANSWER, findings, findings_left_out })
    }

    /// The reports that are nearest to a moment, each namespace's; the host's first. With no names, those of all.
    ///
    /// # Errors
    /// Where there is none that tells of it, which names the nearest.
    pub fn moments(&self, at_us: i64, wanted: &[String]) -> Result<Vec<Moment>, ReadError> {
        let mut found = Vec::new();
        let mut nearest: Option<i64> = None;
        for (id, label) in self.netns(wanted)? {
            let Some((snapshot, taken_us, position)) = self.nearest(id, at_us).map_err(|e| self.failed(e))?
            else {
                continue;
            };
            if nearest.is_none_or(|known| known.abs_diff(at_us) > taken_us.abs_diff(at_us)) {
                nearest = Some(taken_us);
            }
            if taken_us.abs_diff(at_us) <= NEAR.unsigned_abs() {
                found.push((position, snapshot, taken_us, label));
            }
        }
        if found.is_empty() {
            let what = match nearest {
                Some(us) => format!(
                    "the history has no report of {}: the nearest is of {} (--at {})",
                    local(at_us),
                    local(us),
                    rfc3339(us)
                ),
                None => "the history has no reports yet".to_owned(),
            };
            return Err(ReadError::Nothing(what));
        }
        found.sort_by_key(|(position, ..)| *position);
        found
            .into_iter()
            .map(|(_, snapshot, at_us, netns)| {
                let report = self.unpack(snapshot)?;
                Ok(Moment { netns, at_us, report })
            })
            .collect()
    }

    fn nearest(&self, netns: i64, at_us: i64) -> rusqlite::Result<Option<(i64, i64, i64)>> {
        let mut both = Vec::new();
        for (than, order) in [("<=", "DESC"), (">", "ASC")] {
            let sql = format!(
                "SELECT id, at_us, position FROM snapshot WHERE netns = ? AND at_us {than} ? ORDER BY at_us {order} LIMIT 1"
            );
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query([netns, at_us])?;
            if let Some(row) = rows.next()? {
                both.push((row.get(0)?, row.get(1)?, row.get(2)?));
            }
        }
        Ok(both.into_iter().min_by_key(|(_, taken, _): &(i64, i64, i64)| taken.abs_diff(at_us)))
    }

    fn unpack(&self, snapshot: i64) -> Result<Report, ReadError> {
        #[derive(Deserialize)]
        struct Unpacked {
            report: Report,
        }
        let damaged = |what: String| {
            ReadError::Nothing(format!("{}: a snapshot cannot be read: {what}", self.path.display()))
        };
        let sql = "SELECT bytes, packed FROM snapshot WHERE id = ?";
        let (bytes, packed): (i64, Vec<u8>) = self
            .connection
            .query_row(sql, [snapshot], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(|error| self.failed(error))?;
        let length = usize::try_from(bytes).ok().filter(|n| *n <= MOST_BYTES);
        let length = length.ok_or_else(|| damaged(format!("it is {bytes} bytes long")))?;
        let json =
            lz4_flex::block::decompress(&packed, length).map_err(|error| damaged(error.to_string()))?;
        let unpacked: Unpacked = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        Ok(unpacked.report)
    }
}

/// Where the points are.
#[derive(Debug, Clone)]
struct Scale {
    from_us: i64,
    until_us: i64,
    step_us: i64,
    points: usize,
    /// The longest step that is read.
    level: usize,
}

impl Scale {
    fn of(ask: &Ask) -> Scale {
        let span = ask.until_us.saturating_sub(ask.from_us).max(1_000_000);
        let points = i64::try_from(ask.points.clamp(1, MOST_POINTS)).unwrap_or(1);
        let wanted_us = (span + points - 1) / points;
        let age_ms = Timestamp::now().as_microsecond().saturating_sub(ask.from_us).saturating_abs() / 1000;
        let old = LEVELS.iter().position(|level| age_ms <= level.kept_ms).unwrap_or(LEVELS.len() - 1);
        let wide = LEVELS.iter().rposition(|level| level.step_ms * 1000 <= wanted_us).unwrap_or(0);
        let level = old.max(wide);
        // Whole seconds, so that a point has as many rows as its neighbour.
        let step_us = wanted_us.max(LEVELS[level].step_ms * 1000);
        let step_us = (step_us + 999_999) / 1_000_000 * 1_000_000;
        let points = usize::try_from((span + step_us - 1) / step_us).unwrap_or(1).clamp(1, MOST_POINTS);
        // It ends where it was asked to end, and may begin a little before.
        let from_us = ask.until_us.saturating_sub(step_us.saturating_mul(points as i64));
        Scale { from_us, until_us: ask.until_us, step_us, points, level }
    }

    fn level(&self) -> Level {
        LEVELS[self.level]
    }

    /// The points between two moments; the one of the later moment, where both are within one.
    fn places(&self, begin_us: i64, end_us: i64) -> std::ops::Range<usize> {
        let place = |us: i64| {
            let place = us.saturating_sub(self.from_us).max(0) / self.step_us;
            usize::try_from(place).unwrap_or(usize::MAX).min(self.points)
        };
        let begin = place(begin_us);
        let end = place(end_us.saturating_sub(1)).saturating_add(1).min(self.points);
        begin.min(end)..end
    }
}

/// A column's points.
type Points = Vec<Option<(f64, u32)>>;

/// One namespace's points, while the rows come.
struct Sums {
    columns: Vec<Column>,
    /// By column and point; of what is counted per second, the sum and how many.
    points: Vec<Option<Points>>,
    last: Vec<Option<f64>>,
    walked_ms: Option<i64>,
    count: usize,
}

impl Sums {
    fn new(count: usize) -> Sums {
        let columns: Vec<Column> = columns().collect();
        let (points, last) = (vec![None; columns.len()], vec![None; columns.len()]);
        Sums { columns, points, last, walked_ms: None, count }
    }

    fn add(&mut self, column: usize, place: usize, value: f64) {
        let mean = self.columns[column].merge == Merge::Sum;
        let points = self.points[column].get_or_insert_with(|| vec![None; self.count]);
        match &mut points[place] {
            Some((sum, n)) if mean => (*sum, *n) = (*sum + value, *n + 1),
            Some((most, _)) => *most = most.max(value),
            empty => *empty = Some((value, 1)),
        }
    }

    /// What was not 0 all the time, and the states that were asked for.
    fn finish(self, ask: &Ask) -> Vec<Series> {
        let series = self.columns.iter().zip(self.points).filter_map(|(column, points)| {
            let asked = match column.from {
                From::State(state) => ask.states.contains(&state),
                _ => false,
            };
            if !asked && !ask.states.is_empty() {
                return None;
            }
            let mean = column.merge == Merge::Sum;
            let value = |(sum, n): (f64, u32)| if mean { sum / f64::from(n) } else { sum };
            let points: Vec<Option<f64>> = match points {
                Some(points) => points.into_iter().map(|point| point.map(value)).collect(),
                None if asked => vec![None; self.count],
                None => return None,
            };
            let moves = points.iter().flatten().any(|value| *value != 0.0);
            (asked || moves).then(|| Series::new(column.name.to_owned(), unit(column), points))
        });
        series.collect()
    }
}

impl Series {
    fn new(name: String, unit: &str, points: Vec<Option<f64>>) -> Series {
        let known = || points.iter().flatten().copied();
        Series {
            name,
            unit: unit.to_owned(),
            lowest: known().reduce(f64::min),
            highest: known().reduce(f64::max),
            last: known().last(),
            points,
        }
    }
}

fn unit(column: &Column) -> &'static str {
    match (column.merge, column.name) {
        (Merge::Sum, _) => "/s",
        (_, name) if name.ends_with("_bytes") => "bytes",
        (_, name) if name.starts_with("conntrack") => "entries",
        _ => "sockets",
    }
}

fn highest(point: &mut Option<f64>, value: f64) {
    *point = Some(point.map_or(value, |known| known.max(value)));
}

fn rfc3339(us: i64) -> String {
    let moment = Timestamp::from_microsecond(us).unwrap_or_default();
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// As a clock on the wall has it.
fn local(us: i64) -> String {
    let moment = Timestamp::from_microsecond(us).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// What a moment looks like, for who wrote another thing.
const A_MOMENT: &str = "a moment like 03:12, '2026-11-20 03:12', -2h or 2026-11-20T03:12:00Z is expected";

/// `03:12` (the last time it was that), `2026-11-20 03:12` in local time, `-2h`, or RFC 3339.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_moment(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(ago) = text.strip_prefix('-') {
        return before(ago, now).ok_or_else(|| A_MOMENT.to_owned());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let zoned = |moment: DateTime| moment.to_zoned(now.time_zone().clone()).ok();
    let last = |time: Time| {
        let today = zoned(now.date().to_datetime(time))?;
        if today <= *now { Some(today) } else { zoned(now.date().yesterday().ok()?.to_datetime(time)) }
    };
    let moment = if text.contains('-') {
        let whole = || text.parse::<DateTime>().ok();
        let date = || text.parse::<Date>().ok().map(|date| date.to_datetime(Time::midnight()));
        whole().or_else(date).and_then(zoned)
    } else if text.contains(':') {
        text.parse::<Time>().ok().and_then(last)
    } else {
        None
    };
    moment.map(|moment| moment.timestamp()).ok_or_else(|| A_MOMENT.to_owned())
}

/// As [`parse_moment`], and `2h` for two hours ago.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_since(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    match before(text.trim(), now) {
        Some(moment) => Ok(moment),
        None => parse_moment(text, now).map_err(|_| format!("a time like 2h or 7d, or {A_MOMENT}")),
    }
}

fn before(text: &str, now: &Zoned) -> Option<Timestamp> {
    let span: jiff::Span = text.parse().ok()?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    if time.is_negative() {
        return None;
    }
    now.timestamp().checked_sub(time).ok()
}
