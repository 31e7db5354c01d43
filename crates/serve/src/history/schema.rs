//! The tables, as a person finds them with `sqlite3 history.db .schema`.

use linger_model::State;
use linger_model::snapshot::Light;
use std::fmt::Write;

/// The version of the tables. A database of a newer one is left alone.
pub const SCHEMA: i64 = 1;

/// How several readings become one of a longer step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The highest.
    Highest,
    /// All together.
    Sum,
}

/// A column of the series.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name; a counter's is the kernel's.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// How readings become one.
    pub merge: Merge,
    /// What it is read from.
    pub from: From,
}

/// What a column is read from.
#[derive(Debug, Clone, Copy)]
pub enum From {
    /// The last walk.
    State(State),
    /// A light reading.
    Gauge(fn(&Light, u64) -> Option<u64>),
    /// By how much a counter of this full name moved since the reading before.
    Counter(&'static str),
    /// The same for connection tracking's.
    Conntrack(&'static str),
}

const fn gauge(name: &'static str, about: &'static str, read: fn(&Light, u64) -> Option<u64>) -> Column {
    Column { name, about, merge: Merge::Highest, from: From::Gauge(read) }
}

const GAUGES: [Column; 7] = [
    gauge("in_use", "TCP sockets in use, IPv4 and IPv6 (sockstat)", |l, _| {
        l.sockstat.as_ref().ok().map(|s| s.inuse + s.inuse6.unwrap_or(0))
    }),
    gauge("minisockets", "TIME_WAIT and FIN_WAIT2 minisockets (sockstat tw)", |l, _| {
        l.sockstat.as_ref().ok().map(|s| s.tw)
    }),
    gauge("orphans", "TCP sockets without a process, of the whole host", |l, _| {
        l.sockstat.as_ref().ok().map(|s| s.orphan)
    }),
    gauge("allocated", "TCP sockets allocated, of the whole host", |l, _| {
        l.sockstat.as_ref().ok().map(|s| s.alloc)
    }),
    gauge("tcp_memory_bytes", "memory of TCP's buffers, of the whole host", |l, page| {
        l.sockstat.as_ref().ok().map(|s| s.mem_pages.saturating_mul(page))
    }),
    gauge("conntrack_entries", "connections tracked in this namespace", |l, _| {
        l.conntrack.as_ref().ok()?.as_ref().map(|c| c.count)
    }),
    gauge("conntrack_limit", "nf_conntrack_max", |l, _| l.conntrack.as_ref().ok()?.as_ref().map(|c| c.max)),
];

/// The columns of the series after those that say of when and of what a row is.
pub fn columns() -> impl Iterator<Item = Column> {
    let states = State::ALL.into_iter().map(|state| Column {
        name: state.name(),
        about: "sockets, where they were walked",
        merge: Merge::Highest,
        from: From::State(state),
    });
    let counters = linger_facts::DECIDING.into_iter().map(|full| Column {
        name: full.rsplit('.').next().unwrap_or(full),
        about: full,
        merge: Merge::Sum,
        from: From::Counter(full),
    });
    let conntrack = [("conntrack_drop", "drop"), ("conntrack_insert_failed", "insert_failed")];
    let conntrack = conntrack.into_iter().map(|(name, of)| Column {
        name,
        about: "connections that tracking refused",
        merge: Merge::Sum,
        from: From::Conntrack(of),
    });
    states.chain(GAUGES).chain(counters).chain(conntrack)
}

/// The columns' names, separated by commas; each in what `shape` makes of it.
pub fn named(shape: impl Fn(&Column) -> String) -> String {
    columns().map(|column| shape(&column)).collect::<Vec<_>>().join(", ")
}

/// A length of step, and how long its rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The end of its tables' names.
    pub name: &'static str,
    /// Milliseconds between two rows of a namespace.
    pub step_ms: i64,
    /// How old a row becomes, milliseconds.
    pub kept_ms: i64,
    /// The view for a person.
    view: &'static str,
    /// How long, in words.
    kept: &'static str,
}

const HOUR: i64 = 3_600_000;
/// A day's milliseconds.
pub const DAY: i64 = 24 * HOUR;

/// From the finest.
pub const LEVELS: [Level; 3] = [
    Level { name: "1s", step_ms: 1000, kept_ms: HOUR, view: "last_hour", kept: "for an hour" },
    Level { name: "10s", step_ms: 10_000, kept_ms: DAY, view: "last_day", kept: "for a day" },
    Level { name: "1min", step_ms: 60_000, kept_ms: 30 * DAY, view: "last_month", kept: "for 30 days" },
];

/// Everything, as SQL.
pub fn sql() -> String {
    let mut sql = String::from(FIXED);
    for level in LEVELS {
        let (name, kept, view) = (level.name, level.kept, level.view);
        let _ = write!(
            sql,
            "CREATE TABLE series_{name} (  -- one row for each namespace and step, {kept}\n  \
               watched_ms INTEGER NOT NULL,  -- when, by a clock that never jumps (see `clock`)\n  \
               netns INTEGER NOT NULL REFERENCES netns(id),\n  \
               at_us INTEGER NOT NULL,  -- when, as microseconds since 1970 (UTC), by this host's clock of then\n  \
               covers_ms INTEGER,  -- the time that the counters' figures are of; NULL where there was none before\n"
        );
        let most = if name == "1s" { "" } else { ", the highest of the step" };
        for Column { name, about, merge, .. } in columns() {
            let how = match merge {
                Merge::Highest => most,
                Merge::Sum => ": by how much it moved in covers_ms",
            };
            let _ = writeln!(sql, "  {name} INTEGER,  -- {about}{how}");
        }
        let _ = write!(
            sql,
            "  PRIMARY KEY (watched_ms, netns)\n) WITHOUT ROWID;\n\
             CREATE TABLE headroom_{name} (  -- how full limited things were{most}, {kept}\n  \
               watched_ms INTEGER NOT NULL,\n  netns INTEGER NOT NULL REFERENCES netns(id),\n  \
               resource INTEGER NOT NULL REFERENCES resource(id),\n  at_us INTEGER NOT NULL,\n  \
               used INTEGER NOT NULL,\n  capacity INTEGER NOT NULL,  -- the limit\n  \
               PRIMARY KEY (watched_ms, netns, resource)\n) WITHOUT ROWID;\n"
        );
        let rates = named(|column| match (column.merge, column.from) {
            (Merge::Sum, _) => {
                format!("round(s.{0} * 1000.0 / s.covers_ms, 1) AS {0}_per_second", column.name)
            }
            _ => format!("s.{}", column.name),
        });
        let _ = writeln!(
            sql,
            "CREATE VIEW {view} AS  -- series_{name} with local time, names, and counters per second\n  \
               SELECT datetime(s.at_us / 1000000, 'unixepoch', 'localtime') AS time, n.label AS netns, {rates}\n  \
               FROM series_{name} s JOIN netns n ON n.id = s.netns ORDER BY s.watched_ms;"
        );
    }
    sql
}

const FIXED: &str = "\
CREATE TABLE clock (  -- one row: how far the history has come
  one INTEGER PRIMARY KEY CHECK (one = 1),
  watched_ms INTEGER NOT NULL,  -- milliseconds since the first row, by a clock that never jumps; the time between two boots is left out
  boot TEXT NOT NULL,           -- /proc/sys/kernel/random/boot_id
  monotonic_us INTEGER NOT NULL -- CLOCK_MONOTONIC in that boot
);
CREATE TABLE netns (  -- network namespaces
  id INTEGER PRIMARY KEY,
  label TEXT NOT NULL UNIQUE  -- as in the metrics: a name, self, or net:[inode]
);
CREATE TABLE resource (  -- what has a limit, and whose
  id INTEGER PRIMARY KEY,
  resource TEXT NOT NULL,
  subject TEXT NOT NULL,
  UNIQUE (resource, subject)
);
CREATE TABLE finding (  -- faults, from when to when; for 30 days
  id INTEGER PRIMARY KEY,
  netns INTEGER NOT NULL REFERENCES netns(id),
  code TEXT NOT NULL,      -- linger explain CODE
  subject TEXT NOT NULL,   -- who
  severity TEXT NOT NULL,  -- the worst of that time: info, warning or critical
  summary TEXT NOT NULL,   -- what, when it was worst
  began_us INTEGER NOT NULL,  -- microseconds since 1970 (UTC)
  last_us INTEGER NOT NULL,   -- when it was last seen
  open INTEGER NOT NULL,      -- 1: it was there at the last look
  began_ms INTEGER NOT NULL,  -- the same two by the clock that never jumps
  last_ms INTEGER NOT NULL
);
CREATE INDEX finding_open ON finding (netns, open, code);
CREATE INDEX finding_last ON finding (last_ms);
CREATE VIEW findings AS  -- with local time
  SELECT datetime(f.began_us / 1000000, 'unixepoch', 'localtime') AS began,
         CASE f.open WHEN 1 THEN NULL ELSE datetime(f.last_us / 1000000, 'unixepoch', 'localtime') END AS ended,
         f.severity, f.code, n.label AS netns, f.subject, f.summary
  FROM finding f JOIN netns n ON n.id = f.netns ORDER BY f.began_ms;
CREATE TABLE snapshot (  -- each moment's report and bounded sums over the sockets: every 10 s for a day, every minute for a week
  id INTEGER PRIMARY KEY,
  netns INTEGER NOT NULL REFERENCES netns(id),
  watched_ms INTEGER NOT NULL,
  at_us INTEGER NOT NULL,      -- when it was taken, microseconds since 1970 (UTC)
  position INTEGER NOT NULL,   -- 0: its report speaks of the whole host, too
  minute INTEGER NOT NULL,     -- 1: the first of its minute, which is kept for a week
  bytes INTEGER NOT NULL,      -- length of what is packed
  packed BLOB NOT NULL         -- JSON {report, compact} as one LZ4 block
);
CREATE INDEX snapshot_at ON snapshot (netns, at_us);
CREATE INDEX snapshot_watched ON snapshot (watched_ms);
CREATE TABLE trend (  -- the last minutes as the rules that need a past read them; MessagePack as one LZ4 block
  id INTEGER PRIMARY KEY,
  netns INTEGER NOT NULL REFERENCES netns(id),
  watched_ms INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  packed BLOB NOT NULL
);
CREATE INDEX trend_netns ON trend (netns, watched_ms);
";
