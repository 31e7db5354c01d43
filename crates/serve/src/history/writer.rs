//! What becomes of a sample: rows, in one transaction.

use super::Config;
use super::database::{Database, Failure, Kind};
use super::retention::{expire, make_room};
use super::schema::{Column, From, LEVELS, Merge, columns, named};
use super::trend::{self, Pasts};
use crate::compact::Compact;
use crate::state::{NetnsView, View, Walked};
use linger_model::report::{Report, Unknown};
use linger_model::snapshot::Light;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Findings of a report that are kept.
const FINDINGS: usize = 50;
/// Rows of headroom that are kept of a walk, the fullest.
const HEADROOM: usize = 20;
/// Characters of a text that is kept.
const TEXT: usize = 500;
/// A finding that comes back within this time was never gone, milliseconds.
const SAME: i64 = 60_000;
/// A finding that nobody looked at for so long is over, milliseconds: its namespace is gone.
const FORGOTTEN: i64 = 600_000;

/// What a snapshot's JSON is made of.
#[derive(Serialize)]
struct Packed<'a> {
    report: &'a Report,
    compact: &'a Compact,
}

/// What was written of a namespace.
#[derive(Clone)]
struct Seen {
    id: i64,
    light: Arc<Light>,
    walk: Option<Instant>,
    /// The walk that is in a snapshot, and its steps of 10 s and a minute.
    stored: Option<(Instant, i64, i64)>,
    trend: Option<u64>,
}

/// Writes samples.
pub struct Writer {
    db: Database,
    insert: String,
    columns: Vec<Column>,
    /// How far the history has come, by the clock that never jumps.
    watched_ms: i64,
    /// That moment by CLOCK_MONOTONIC; `None` before the first sample in this boot.
    monotonic_us: Option<u64>,
    /// Up to where the longer steps are made.
    rolled: [i64; LEVELS.len()],
    /// The steps of 10 s and a minute of the last sample.
    steps: (i64, i64),
    seen: HashMap<String, Seen>,
    resources: HashMap<(String, String), i64>,
    bytes: u64,
}

/// What changes with a sample, once it is committed.
struct Next {
    watched_ms: i64,
    rolled: [i64; LEVELS.len()],
    seen: HashMap<String, Seen>,
}

impl Writer {
    /// Opens the database and goes on where it ends. With a sentence, where something had to be put aside.
    pub fn open(config: &Config) -> Result<(Writer, Option<String>), Failure> {
        let (db, told) = Database::open(config)?;
        let writer = Writer::of(db);
        writer.map(|writer| (writer, told))
    }

    fn of(db: Database) -> Result<Writer, Failure> {
        let read = |db: &Database| -> rusqlite::Result<(i64, Option<u64>, [i64; LEVELS.len()])> {
            let clock =
                db.connection.query_row("SELECT watched_ms, boot, monotonic_us FROM clock", [], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
                })?;
            let same = clock.1 == db.boot();
            if !same {
                // Of another boot nothing holds.
                db.connection.execute("DELETE FROM trend", [])?;
            }
            let mut rolled = [0; LEVELS.len()];
            for (level, rolled) in LEVELS.iter().zip(&mut rolled) {
                let newest = format!("SELECT max(watched_ms) FROM series_{}", level.name);
                let newest: Option<i64> = db.connection.query_row(&newest, [], |row| row.get(0))?;
                *rolled = newest.map_or(0, |newest| newest + level.step_ms);
            }
            let monotonic = u64::try_from(clock.2).ok().filter(|us| same && *us > 0);
            Ok((clock.0, monotonic, rolled))
        };
        let (watched_ms, monotonic_us, rolled) = read(&db).map_err(|error| db.failure(&error))?;
        let marks = vec!["?"; columns().count() + 4].join(", ");
        let names = named(|column| column.name.to_owned());
        Ok(Writer {
            insert: format!(
                "INSERT INTO series_1s (watched_ms, netns, at_us, covers_ms, {names}) VALUES ({marks})"
            ),
            columns: columns().collect(),
            watched_ms,
            monotonic_us,
            rolled,
            steps: (watched_ms / 10_000, watched_ms / 60_000),
            seen: HashMap::new(),
            resources: HashMap::new(),
            bytes: db.look()?,
            db,
        })
    }

    /// The namespaces' past that still holds, in this boot.
    pub fn pasts(&self) -> Pasts {
        // Without it there is no past, as at any beginning.
        trend::read(&self.db.connection).unwrap_or_default()
    }

    /// Writes what is new of a sample, and commits it. What its files take, bytes.
    pub fn write(&mut self, view: &View) -> Result<u64, Failure> {
        let Some(first) = view.namespaces.first() else { return Ok(self.bytes) };
        let monotonic_us = first.light.monotonic_us;
        let passed = self.monotonic_us.map_or(1000, |before| monotonic_us.saturating_sub(before) / 1000);
        // No two samples are of one moment.
        let watched_ms = self.watched_ms + i64::try_from(passed).unwrap_or(1).max(1);
        let next = match self.attempt(view, watched_ms, monotonic_us) {
            Err(failure) if failure.kind == Kind::Bound => {
                self.free()?;
                self.attempt(view, watched_ms, monotonic_us)?
            }
            attempted => attempted?,
        };
        (self.watched_ms, self.rolled, self.seen) = (next.watched_ms, next.rolled, next.seen);
        self.monotonic_us = Some(monotonic_us);
        let steps = (watched_ms / 10_000, watched_ms / 60_000);
        if steps.0 != self.steps.0 {
            self.keep_bound(steps.1 != self.steps.1)?;
            self.steps = steps;
        }
        Ok(self.bytes)
    }

    /// Ends what is open, as nobody looks any longer.
    pub fn close(self) {
        let _ = self.db.connection.execute("UPDATE finding SET open = 0 WHERE open = 1", []);
    }

    fn attempt(&mut self, view: &View, watched_ms: i64, monotonic_us: u64) -> Result<Next, Failure> {
        let done = self.transaction(view, watched_ms, monotonic_us);
        done.map_err(|error| {
            // What was given an id may have been taken back.
            self.resources.clear();
            self.db.failure(&error)
        })
    }

    fn transaction(&mut self, view: &View, watched_ms: i64, monotonic_us: u64) -> rusqlite::Result<Next> {
        let transaction = self.db.connection.unchecked_transaction()?;
        let mut seen = HashMap::with_capacity(view.namespaces.len());
        for (position, ns) in view.namespaces.iter().enumerate() {
            let before = self.seen.get(&ns.label);
            let written = Row {
                connection: &transaction,
                resources: &mut self.resources,
                insert: &self.insert,
                columns: &self.columns,
                page_size: view.page_size,
                watched_ms,
                position: i64::try_from(position).unwrap_or(0),
            }
            .write(ns, before)?;
            seen.insert(ns.label.clone(), written);
        }
        let mut rolled = self.rolled;
        for (i, pair) in LEVELS.windows(2).enumerate() {
            let [from, to] = pair else { continue };
            let until = watched_ms / to.step_ms * to.step_ms;
            if until > rolled[i + 1] {
                roll(&transaction, from.name, to.name, to.step_ms, (rolled[i + 1], until))?;
                rolled[i + 1] = until;
            }
        }
        let clock = "UPDATE clock SET watched_ms = ?, boot = ?, monotonic_us = ?";
        let monotonic = i64::try_from(monotonic_us).unwrap_or(i64::MAX);
        transaction.prepare_cached(clock)?.execute(params![watched_ms, self.db.boot(), monotonic])?;
        if watched_ms / 60_000 != self.steps.1 {
            expire(&transaction, watched_ms)?;
            let over = "UPDATE finding SET open = 0 WHERE open = 1 AND last_ms < ?";
            transaction.execute(over, [watched_ms - FORGOTTEN])?;
        }
        transaction.commit()?;
        Ok(Next { watched_ms, rolled, seen })
    }

    /// Looks at the size, and makes room before there is none left; each minute also forgets what nothing refers to.
    fn keep_bound(&mut self, minute: bool) -> Result<(), Failure> {
        self.bytes = self.db.look()?;
        let (used, _) = self.db.used_pages().map_err(|error| self.db.failure(&error))?;
        if used.saturating_mul(100) > self.db.most_pages().saturating_mul(95) {
            self.free()?;
        }
        if minute && self.resources.len() > 10_000 {
            self.resources.clear();
        }
        Ok(())
    }

    fn free(&mut self) -> Result<(), Failure> {
        self.resources.clear();
        make_room(&self.db).and_then(|()| self.db.shrink()).map_err(|error| self.db.failure(&error))
    }
}

/// Makes the rows of a longer step of those of a shorter one.
fn roll(
    connection: &Connection,
    from: &str,
    to: &str,
    step_ms: i64,
    (since, until): (i64, i64),
) -> rusqlite::Result<()> {
    let names = named(|column| column.name.to_owned());
    let merged = named(|column| match column.merge {
        Merge::Highest => format!("max({})", column.name),
        Merge::Sum => format!("sum({})", column.name),
    });
    let series = format!(
        "INSERT OR IGNORE INTO series_{to} (watched_ms, netns, at_us, covers_ms, {names}) \
         SELECT watched_ms / {step_ms} * {step_ms} AS step, netns, min(at_us), sum(covers_ms), {merged} \
         FROM series_{from} WHERE watched_ms >= ?1 AND watched_ms < ?2 GROUP BY step, netns"
    );
    connection.prepare_cached(&series)?.execute([since, until])?;
    // A bare column is that of the row which has the max().
    let headroom = format!(
        "INSERT OR IGNORE INTO headroom_{to} (watched_ms, netns, resource, at_us, used, capacity) \
         SELECT step, netns, resource, at_us, used, capacity FROM ( \
         SELECT watched_ms / {step_ms} * {step_ms} AS step, netns, resource, at_us, used, capacity, \
         max(1.0 * used / max(capacity, 1)) FROM headroom_{from} \
         WHERE watched_ms >= ?1 AND watched_ms < ?2 GROUP BY step, netns, resource)"
    );
    connection.prepare_cached(&headroom)?.execute([since, until])?;
    Ok(())
}

/// One namespace's part of a transaction.
struct Row<'a> {
    connection: &'a Connection,
    resources: &'a mut HashMap<(String, String), i64>,
    insert: &'a str,
    columns: &'a [Column],
    page_size: u64,
    watched_ms: i64,
    position: i64,
}

impl Row<'_> {
    fn write(&mut self, ns: &NetnsView, before: Option<&Seen>) -> rusqlite::Result<Seen> {
        let id = match before {
            Some(seen) => seen.id,
            None => self.netns(&ns.label)?,
        };
        let walk = ns.walked.as_ref();
        let fresh = walk.filter(|w| before.is_none_or(|seen| seen.walk != Some(w.at)));
        self.series(id, ns, before, fresh)?;
        let mut seen = Seen {
            id,
            light: ns.light.clone(),
            walk: walk.map(|w| w.at),
            stored: before.and_then(|seen| seen.stored),
            trend: before.and_then(|seen| seen.trend),
        };
        let Some(walked) = walk else { return Ok(seen) };
        if fresh.is_some() {
            self.headroom(id, walked)?;
            self.findings(id, walked)?;
        }
        let steps = (self.watched_ms / 10_000, self.watched_ms / 60_000);
        // A first look without a past says little, and the next one follows at once.
        let complete = walked.report.interval_s > 0.0;
        if complete && seen.stored.is_none_or(|(at, step, _)| at != walked.at && step != steps.0) {
            let minute = seen.stored.is_none_or(|(_, _, minute)| minute != steps.1);
            self.snapshot(id, walked, minute)?;
            seen.stored = Some((walked.at, steps.0, steps.1));
        }
        if let Some(past) = &walked.trend
            && seen.trend != Some(past.monotonic_us)
        {
            trend::write(self.connection, id, self.watched_ms, past)?;
            seen.trend = Some(past.monotonic_us);
        }
        Ok(seen)
    }

    fn netns(&self, label: &str) -> rusqlite::Result<i64> {
        self.connection.prepare_cached("INSERT OR IGNORE INTO netns (label) VALUES (?)")?.execute([label])?;
        let mut find = self.connection.prepare_cached("SELECT id FROM netns WHERE label = ?")?;
        find.query_row([label], |row| row.get(0))
    }

    fn series(
        &self,
        id: i64,
        ns: &NetnsView,
        before: Option<&Seen>,
        walked: Option<&Walked>,
    ) -> rusqlite::Result<()> {
        let light = &ns.light;
        let passed = before.and_then(|seen| light.monotonic_us.checked_sub(seen.light.monotonic_us));
        let covers_ms = passed.map(|us| us / 1000).filter(|ms| *ms > 0);
        let states = walked.and_then(|w| w.compact.states.as_ref());
        // A counter that went back is another namespace's, or began anew: how far it moved nobody knows.
        let moved = |of: fn(&Light, &str) -> Option<u64>, name: &str| {
            covers_ms?;
            of(light, name)?.checked_sub(of(&before?.light, name)?)
        };
        let figures = self.columns.iter().map(|column| match column.from {
            From::State(state) => states?.get(state),
            From::Gauge(read) => read(light, self.page_size),
            From::Counter(name) => moved(|l, name| l.counters.as_ref().ok()?.get(name).copied(), name),
            From::Conntrack(name) => {
                moved(|l, name| l.conntrack.as_ref().ok()?.as_ref()?.stats.as_ref()?.get(name).copied(), name)
            }
        });
        let figures = figures.map(|figure| figure.map(|n| i64::try_from(n).unwrap_or(i64::MAX)));
        let covers = covers_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let head = [Some(self.watched_ms), Some(id), Some(light.taken_at_us), covers];
        let mut insert = self.connection.prepare_cached(self.insert)?;
        insert.execute(params_from_iter(head.into_iter().chain(figures)))?;
        Ok(())
    }

    fn headroom(&mut self, id: i64, walked: &Walked) -> rusqlite::Result<()> {
        let insert = "INSERT OR IGNORE INTO headroom_1s (watched_ms, netns, resource, at_us, used, capacity) \
                      VALUES (?, ?, ?, ?, ?, ?)";
        for row in walked.report.headroom.iter().take(HEADROOM) {
            let key = (brief(&row.resource), brief(&row.subject));
            let resource = match self.resources.get(&key) {
                Some(id) => *id,
                None => {
                    let (add, find) = (
                        "INSERT OR IGNORE INTO resource (resource, subject) VALUES (?, ?)",
                        "SELECT id FROM resource WHERE resource = ? AND subject = ?",
                    );
                    self.connection.prepare_cached(add)?.execute([&key.0, &key.1])?;
                    let mut find = self.connection.prepare_cached(find)?;
                    let id = find.query_row([&key.0, &key.1], |row| row.get(0))?;
                    self.resources.insert(key, id);
                    id
                }
            };
            let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let (used, limit) = (whole(row.used), whole(row.limit));
            let at_us = walked.compact.taken_at_us;
            let mut insert = self.connection.prepare_cached(insert)?;
            insert.execute(params![self.watched_ms, id, resource, at_us, used, limit])?;
        }
        Ok(())
    }

    fn findings(&self, id: i64, walked: &Walked) -> rusqlite::Result<()> {
        let (now, at_us) = (self.watched_ms, walked.compact.taken_at_us);
        let last = "SELECT id, severity FROM finding WHERE netns = ? AND code = ? AND subject = ? \
                    AND (open = 1 OR last_ms >= ?) ORDER BY id DESC LIMIT 1";
        for finding in walked.report.findings.iter().take(FINDINGS) {
            let (subject, severity) = (brief(&finding.subject), finding.severity);
            let mut last = self.connection.prepare_cached(last)?;
            let known: Option<(i64, String)> = last
                .query_row(params![id, finding.code, subject, now - SAME], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            match known {
                Some((row, worst)) => {
                    // Its words are those of the worst moment.
                    let worse = rank(severity.name()) >= rank(&worst);
                    let update = if worse {
                        "UPDATE finding SET open = 1, last_ms = ?, last_us = ?, severity = ?, summary = ? WHERE id = ?"
                    } else {
                        "UPDATE finding SET open = 1, last_ms = ?1, last_us = ?2 WHERE id = ?5"
                    };
                    let mut update = self.connection.prepare_cached(update)?;
                    let words = brief(&finding.summary);
                    update.execute(params![now, at_us, severity.name(), words, row])?;
                }
                None => {
                    let add = "INSERT INTO finding (netns, code, subject, severity, summary, began_us, last_us, \
                               open, began_ms, last_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1, ?7, ?7)";
                    let mut add = self.connection.prepare_cached(add)?;
                    let words = brief(&finding.summary);
                    add.execute(params![id, finding.code, subject, severity.name(), words, at_us, now])?;
                }
            }
        }
        let over = "UPDATE finding SET open = 0 WHERE netns = ? AND open = 1 AND last_ms < ?";
        self.connection.prepare_cached(over)?.execute([id, now])?;
        Ok(())
    }

    fn snapshot(&self, id: i64, walked: &Walked, minute: bool) -> rusqlite::Result<()> {
        let more = walked.report.findings.len().saturating_sub(FINDINGS);
        let short = (more > 0).then(|| {
            let mut report = Report::clone(&walked.report);
            report.findings.truncate(FINDINGS);
            let gap =
                format!("findings: the history keeps {FINDINGS} of a moment, and there were {more} more");
            report.unknown.push(Unknown { code: String::new(), gap });
            report
        });
        let packed = Packed { report: short.as_ref().unwrap_or(&walked.report), compact: &walked.compact };
        let json = serde_json::to_vec(&packed).unwrap_or_default();
        let bytes = i64::try_from(json.len()).unwrap_or(i64::MAX);
        let packed = lz4_flex::block::compress(&json);
        let add = "INSERT INTO snapshot (netns, watched_ms, at_us, position, minute, bytes, packed) \
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let at_us = walked.compact.taken_at_us;
        let mut add = self.connection.prepare_cached(add)?;
        add.execute(params![id, self.watched_ms, at_us, self.position, minute, bytes, packed])?;
        Ok(())
    }
}

/// By how bad it is.
fn rank(severity: &str) -> usize {
    ["info", "warning", "critical"].iter().position(|name| *name == severity).unwrap_or(0)
}

/// A text no longer than it has to be.
fn brief(text: &str) -> String {
    text.chars().take(TEXT).collect()
}
