//! The writer with a time axis of the test's own and the real database.

use super::database::{FILE, Kind};
use super::reader::{Ask, Reader, parse_moment, parse_since};
use super::writer::Writer;
use super::{Config, trend};
use crate::metrics::tests::namespace;
use crate::state::{Cost, NetnsView, View};
use jiff::{Timestamp, Zoned};
use linger_model::report::Severity;
use linger_model::snapshot::{Light, Sockstat, not_asked};
use linger_model::{Report, State, StateCounts};
use rusqlite::Connection;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// When the tests' time begins, microseconds since 1970: a while ago, as dates say how fine an answer is.
/// A child's is its parent's.
static START: LazyLock<i64> = LazyLock::new(|| {
    let given = std::env::var(BEGIN).ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| (Timestamp::now().as_second() / 600 - 3) * 600_000_000)
});
const BEGIN: &str = "LINGER_TEST_BEGIN";
const SECOND: u64 = 1_000_000;
/// Where a child finds the folder.
const FOLDER: &str = "LINGER_TEST_HISTORY";

fn config(folder: &Path, max_size_mib: u64) -> Config {
    Config { enabled: true, folder: folder.join("history"), max_size_mib }
}

fn writer(config: &Config) -> Writer {
    Writer::open(config).expect("a history").0
}

/// A sample of one namespace, as busy as a small host.
struct Scene {
    ns: NetnsView,
}

impl Scene {
    fn new(rows: u32) -> Scene {
        Scene { ns: namespace(rows, "self") }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Report)) {
        let walked = self.ns.walked.as_mut().expect("a walk");
        edit(Arc::make_mut(&mut walked.report));
    }

    /// At a moment by the two clocks; `walk` makes it a new walk with so many TIME_WAIT sockets.
    fn at(&mut self, monotonic_us: u64, at_us: i64, walk: Option<u64>) -> View {
        let n = monotonic_us / SECOND;
        let counters =
            ["Tcp.ActiveOpens", "Tcp.PassiveOpens", "Tcp.InSegs", "Tcp.OutSegs", "TcpExt.ListenDrops"];
        let light = Light {
            taken_at_us: at_us,
            monotonic_us,
            sockstat: Ok(Sockstat { inuse: 100 + n % 7, tw: n % 1000, ..Sockstat::default() }),
            counters: Ok(counters.iter().map(|name| ((*name).to_owned(), n * 3)).collect()),
            conntrack: Ok(None),
        };
        self.ns.light = Arc::new(light);
        if let (Some(time_wait), Some(walked)) = (walk, self.ns.walked.as_mut()) {
            walked.at = Instant::now();
            let compact = Arc::make_mut(&mut walked.compact);
            compact.taken_at_us = at_us;
            let mut states = StateCounts::default();
            states.set(State::TimeWait, time_wait);
            compact.states = Some(states);
        }
        View {
            namespaces: vec![self.ns.clone()],
            left_out: 0,
            gaps: Vec::new(),
            files: not_asked("files"),
            page_size: 4096,
            cost: Cost::default(),
        }
    }

    /// Writes a sample so many seconds after the beginning.
    fn write(&mut self, writer: &mut Writer, second: u64, walk: Option<u64>) {
        let at_us = *START + i64::try_from(second * SECOND).expect("a time");
        writer.write(&self.at((1000 + second) * SECOND, at_us, walk)).expect("written");
    }
}

fn open(config: &Config) -> Connection {
    Connection::open(config.folder.join(FILE)).expect("the database")
}

fn count(config: &Config, what: &str) -> i64 {
    open(config).query_row(&format!("SELECT {what}"), [], |row| row.get(0)).expect(what)
}

fn ask(from_us: i64, until_us: i64) -> Ask {
    Ask { from_us, until_us, netns: Vec::new(), states: Vec::new(), points: 60 }
}

fn bytes_of(config: &Config) -> u64 {
    let files = std::fs::read_dir(&config.folder).expect("the folder");
    // The index of the log, -shm, is made anew by whoever opens it.
    let own = files.filter_map(Result::ok).filter(|file| !file.path().ends_with("history.db-shm"));
    own.map(|file| file.metadata().map_or(0, |found| found.len())).sum()
}

#[test]
fn a_week_has_its_rows_and_stays_within_its_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 512);
    let (mut writer, mut scene) = (writer(&config), Scene::new(20));
    let week = 7 * 86_400;
    let begin = Instant::now();
    // What is kept for a day only comes in the last two, and what is kept for an hour in the last two.
    let (days, hours) = (week - 2 * 86_400, week - 2 * 3600);
    let mut ticks = 0;
    for second in (0..days).step_by(60).chain((days..hours).step_by(10)).chain(hours..=week) {
        scene.write(&mut writer, second, (second % 10 == 0).then_some(second % 500));
        ticks += 1;
    }
    let took = begin.elapsed();
    // Each minute what is too old goes.
    let is_about = |what: &str, rows: i64, more: i64| {
        let n = count(&config, what);
        assert!((rows..=rows + more).contains(&n), "{what}: {n} instead of {rows}");
    };
    is_about("count(*) FROM series_1s", 3600, 61);
    is_about("count(*) FROM series_10s", 8640, 7);
    is_about("count(*) FROM series_1min", 10_079, 2);
    is_about("count(*) FROM headroom_1min", 10_079, 2);
    is_about("count(*) FROM snapshot WHERE minute", 10_079, 2);
    is_about("count(*) FROM snapshot", 8640 + 6 * 1440 - 10, 20);
    assert!(bytes_of(&config) < 200 << 20, "{}", bytes_of(&config));
    let a_tick = took / ticks;
    println!("a week: {} KiB, {a_tick:?} a sample, {ticks} samples", bytes_of(&config) >> 10);
    // What a person types.
    for view in ["last_hour", "last_day", "last_month", "findings"] {
        assert!(count(&config, &format!("count(*) FROM {view}")) > 0, "{view}");
    }
    let rates = "max(ActiveOpens_per_second) = 3 AND min(ActiveOpens_per_second) = 3 AND max(time_wait) > 0 FROM last_day";
    assert_eq!(count(&config, rates), 1);
    assert_eq!(count(&config, "count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

#[test]
fn the_oldest_goes_where_the_size_is_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), Config::LEAST_MIB);
    let (mut writer, mut scene) = (writer(&config), Scene::new(20));
    let mut most = 0;
    for second in (0..30_000).step_by(10) {
        scene.edit(|report| {
            // It hardly compresses.
            report.kernel = (0..600).map(|i| format!("{:x}", (second * 7919 + i) * 2_654_435_761)).collect();
        });
        scene.write(&mut writer, second, Some(1));
        if second % 1000 == 0 {
            most = most.max(bytes_of(&config));
        }
    }
    assert!(most <= Config::LEAST_MIB << 20, "{most}");
    assert!(most >= (Config::LEAST_MIB << 20) / 2, "{most}: the bound was never near");
    // The newest is there, the series are whole, and of the snapshots the oldest went.
    assert_eq!(count(&config, "max(watched_ms) = (SELECT watched_ms FROM clock) FROM snapshot"), 1);
    assert_eq!(count(&config, "count(*) >= 2990 FROM series_10s"), 1);
    let kept = count(&config, "count(*) FROM snapshot");
    drop(writer);
    assert!((100..2900).contains(&kept), "{kept}");
}

#[test]
fn a_bound_that_is_lowered_is_kept_soon() {
    let folder = tempfile::tempdir().expect("a folder");
    let (high, low) = (config(folder.path(), 64), config(folder.path(), Config::LEAST_MIB));
    let (mut writer, mut scene) = (writer(&high), Scene::new(20));
    let mut write = |writer: &mut Writer, second: u64| {
        scene.edit(|report| {
            report.kernel = (0..6000).map(|i| format!("{:x}", (second * 7919 + i) * 2_654_435_761)).collect();
        });
        scene.write(writer, second, Some(1));
    };
    (0..600).for_each(|i| write(&mut writer, i * 10));
    drop(writer);
    let least = Config::LEAST_MIB << 20;
    assert!(bytes_of(&high) > least, "{}", bytes_of(&high));
    let mut writer = self::writer(&low);
    (600..640).for_each(|i| write(&mut writer, i * 10));
    drop(writer);
    assert!(bytes_of(&low) <= least, "{}", bytes_of(&low));
    assert_eq!(count(&low, "count(*) FROM series_10s"), 639);
}

#[test]
fn a_clock_that_jumps_turns_nothing_around_and_deletes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(3));
    let year = 365 * 86_400 * SECOND as i64;
    for second in 0..600u64 {
        // A year ahead, back again, and an hour before the beginning.
        let jump = match second {
            200..300 => year,
            400.. => -3600 * SECOND as i64,
            _ => 0,
        };
        let at_us = *START + i64::try_from(second * SECOND).expect("a time") + jump;
        let view = scene.at((1000 + second) * SECOND, at_us, (second % 10 == 0).then_some(second));
        writer.write(&view).expect("written");
    }
    assert_eq!(count(&config, "count(*) FROM series_1s"), 600);
    assert_eq!(count(&config, "count(*) FROM snapshot"), 60);
    assert_eq!(count(&config, "count(DISTINCT watched_ms) FROM series_1s"), 600);
    assert_eq!(count(&config, "count(*) FROM series_1s WHERE covers_ms <> 1000 OR ActiveOpens <> 3"), 0);
    // The figures are found under the date that the clock had.
    let reader = Reader::open(&config.folder).expect("a reader");
    let answer = reader.answer(&ask(*START + year, *START + year + 600 * SECOND as i64)).expect("an answer");
    let known = |name: &str| {
        let series = answer.namespaces[0].series.iter().find(|s| s.name == name).expect(name);
        series.points.iter().flatten().count()
    };
    // They are far away by the date, and so minutes.
    assert_eq!((known("time_wait"), known("ActiveOpens")), (2, 2), "{answer:?}");
    // Another start of the machine: the time between is nobody's.
    drop(writer);
    open(&config).execute("UPDATE clock SET boot = 'another'", []).expect("changed");
    let mut writer = self::writer(&config);
    scene.write(&mut writer, 20_000_000, Some(1));
    assert_eq!(count(&config, "count(*) FROM series_1s"), 601);
    assert_eq!(count(&config, "max(watched_ms) - min(watched_ms) FROM series_1s"), 600_000);
}

#[test]
fn a_counter_that_goes_back_and_a_first_reading_are_gaps() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(0));
    for (second, back) in [(0, false), (1, false), (2, true), (3, false)] {
        let mut view = scene.at((1000 + second) * SECOND, *START, None);
        if back {
            let light = Arc::make_mut(&mut view.namespaces[0].light);
            light.counters.as_mut().expect("counters").insert("Tcp.ActiveOpens".to_owned(), 1);
        }
        writer.write(&view).expect("written");
    }
    assert_eq!(count(&config, "count(*) FROM series_1s WHERE ActiveOpens IS NULL"), 2);
    assert_eq!(count(&config, "count(*) FROM series_1s WHERE ActiveOpens < 0"), 0);
    assert_eq!(count(&config, "count(*) FROM series_1s WHERE PassiveOpens IS NULL"), 1);
    assert_eq!(count(&config, "count(*) FROM series_1s WHERE conntrack_entries IS NOT NULL"), 0);
}

#[test]
fn findings_have_a_beginning_and_an_end_and_their_worst_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(1));
    let found = scene.ns.walked.as_ref().expect("a walk").report.findings[0].clone();
    let severities = [
        (0, None),
        (10, Some(Severity::Info)),
        (20, Some(Severity::Critical)),
        (30, Some(Severity::Warning)),
        // It was never gone.
        (40, None),
        (50, Some(Severity::Warning)),
        (60, None),
        // And now it was.
        (180, Some(Severity::Warning)),
    ];
    for (second, severity) in severities {
        scene.edit(|report| {
            let with = |severity: Severity| {
                let summary = format!("{severity} at {second}");
                linger_model::Finding { severity, summary, ..found.clone() }
            };
            report.findings = severity.map(with).into_iter().collect();
        });
        scene.write(&mut writer, second, Some(0));
    }
    let reader = Reader::open(&config.folder).expect("a reader");
    let ask = ask(*START, *START + 300 * SECOND as i64);
    let all = reader.findings(&ask).expect("findings").findings;
    let second = |text: &str| {
        let moment: Timestamp = text.parse().expect("a time");
        (moment.as_microsecond() - *START) / SECOND as i64
    };
    let words: Vec<(&str, &str, i64, i64)> = all
        .iter()
        .map(|f| (f.severity.as_str(), f.summary.as_str(), second(&f.began), second(&f.last_seen)))
        .collect();
    assert_eq!(words, [("warning", "warning at 180", 180, 180), ("critical", "critical at 20", 10, 50)]);
    assert_eq!(count(&config, "group_concat(open) = '0,1' FROM finding"), 1);
    writer.close();
    assert_eq!(count(&config, "sum(open) FROM finding"), 0);
    // An old date is no reason to call it open.
    assert!(all.iter().all(|found| !found.open));
}

#[test]
fn the_report_of_a_moment_is_the_one_that_was_made_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(80));
    for second in (0..60).step_by(10) {
        scene.edit(|report| report.interval_s = second as f64 + 1.0);
        scene.write(&mut writer, second, Some(0));
    }
    let reader = Reader::open(&config.folder).expect("a reader");
    let moments = reader.moments(*START + 24 * SECOND as i64, &[]).expect("a moment");
    let [moment] = moments.as_slice() else { panic!("{moments:?}") };
    assert_eq!((moment.at_us, moment.report.interval_s), (*START + 20 * SECOND as i64, 21.0));
    // What had no room is not healthy: it is unknown.
    assert_eq!(moment.report.findings.len(), 50);
    assert!(moment.report.unknown.iter().any(|u| u.gap.contains("30 more")), "{:?}", moment.report.unknown);
    // Too far away tells nothing.
    let far = reader.moments(*START + 3600 * SECOND as i64, &[]).expect_err("too far").to_string();
    let nearest = Timestamp::from_microsecond(*START + 50 * SECOND as i64).expect("a time");
    let nearest = nearest.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    assert!(far.contains("the nearest is of") && far.contains(&nearest), "{far}");
    let other = reader.moments(*START, &["web".to_owned()]).expect_err("unknown").to_string();
    assert!(other.contains("\"web\"") && other.contains("self"), "{other}");
}

#[test]
fn gaps_are_gaps_and_a_walk_holds_until_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(0));
    // Sampled for a minute, for a minute not, and then again; walked each 20 s.
    for second in (0..60).chain(120..180) {
        scene.write(&mut writer, second, (second % 20 == 0).then_some(1 + second));
    }
    let reader = Reader::open(&config.folder).expect("a reader");
    let mut ask = ask(*START, *START + 180 * SECOND as i64);
    ask.states = vec![State::TimeWait, State::CloseWait];
    ask.points = 18;
    let answer = reader.answer(&ask).expect("an answer");
    let [time_wait, close_wait] = &answer.namespaces[0].series[..] else { panic!("{answer:?}") };
    let known: Vec<bool> = time_wait.points.iter().map(Option::is_some).collect();
    let step = usize::try_from(180 / time_wait.points.len() as u64).expect("a step");
    let missing = known.iter().filter(|known| !**known).count() * step;
    assert!((50..=65).contains(&missing), "{missing} s: {known:?}");
    assert_eq!((time_wait.lowest, time_wait.highest), (Some(1.0), Some(161.0)));
    assert_eq!((close_wait.lowest, close_wait.highest), (Some(0.0), Some(0.0)), "0 is known");
}

#[test]
fn what_is_damaged_newer_or_anothers_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let refused = || match Writer::open(&config) {
        Ok(_) => panic!("opened"),
        Err(failure) => failure.to_string(),
    };
    let mut scene = Scene::new(1);
    let mut first = writer(&config);
    scene.write(&mut first, 0, Some(1));
    let two = refused();
    assert!(two.contains("another linger serve writes") && two.contains("--history"), "{two}");
    drop(first);

    open(&config).execute_batch("PRAGMA user_version = 7").expect("changed");
    let newer = refused();
    assert!(newer.contains("version 7") && newer.contains("newer"), "{newer}");
    let why = Reader::open(&config.folder).err().expect("refused").to_string();
    assert!(why.contains("version 7"), "{why}");

    let path = config.folder.join(FILE);
    std::fs::remove_file(&path).expect("removed");
    Connection::open(&path).expect("a database").execute_batch("CREATE TABLE theirs (x)").expect("made");
    assert!(refused().contains("another program"));

    for garbage in [vec![0x55; 100_000], b"SQLite format 3\0 and then nothing that makes sense".repeat(400)] {
        std::fs::write(&path, &garbage).expect("written");
        let (mut new, told) = Writer::open(&config).expect("a new one");
        let told = told.expect("a sentence");
        assert!(told.contains("damaged") && told.contains("put aside"), "{told}");
        scene.write(&mut new, 0, Some(1));
        let aside = config.folder.join("history.db.damaged");
        assert_eq!(std::fs::read(&aside).expect("it is there"), garbage);
        new.close();
    }
}

#[test]
fn damage_in_the_middle_is_found_by_the_writer_and_ends_no_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut first, mut scene) = (writer(&config), Scene::new(20));
    for second in 0..300 {
        scene.write(&mut first, second, Some(1));
    }
    drop(first);
    open(&config).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("all in one file");
    let path = config.folder.join(FILE);
    let mut bytes = std::fs::read(&path).expect("read");
    // Everything but the header and the schema.
    let from = bytes.len() / 4;
    bytes[from..].fill(0xaa);
    std::fs::write(&path, bytes).expect("written");
    let failed = match Writer::open(&config) {
        Ok((mut writer, None)) => {
            let attempts = (300..2000u64).map(|second| {
                let view = scene.at((1000 + second) * SECOND, *START, Some(1));
                writer.write(&view)
            });
            let failure = attempts.filter_map(Result::err).next().expect("it is noticed");
            failure.kind == Kind::Damaged
        }
        Ok((_, Some(_))) => true,
        Err(failure) => panic!("{failure}"),
    };
    assert!(failed);
    // The next one puts it aside.
    assert!(Writer::open(&config).is_ok());
}

#[test]
fn the_trend_goes_on_after_a_restart_where_it_is_the_same_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut first, mut scene) = (writer(&config), Scene::new(3));
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_us = u64::try_from(clock.tv_sec).expect("a time") * SECOND;
    let snapshot = |monotonic_us: u64, opens: u64| crate::metrics::tests::snapshot(5, monotonic_us, opens);
    let mut past = trend::Past::default();
    for minute in 0..3u64 {
        let monotonic_us = now_us.saturating_sub((3 - minute) * 60 * SECOND);
        let taken = snapshot(monotonic_us, 10 + minute);
        let point = past.add(&taken, || trend::host(&taken.host));
        scene.ns.walked.as_mut().expect("a walk").trend = point;
        first.write(&scene.at(monotonic_us, *START, Some(1))).expect("written");
    }
    drop(first);
    let again = writer(&config);
    let kept = again.pasts().remove(&1).expect("the namespace's");
    assert_eq!(kept.clone().before(&snapshot(now_us, 20)).len(), 3);
    assert_eq!(kept.clone().before(&snapshot(now_us, 5)).len(), 0, "its counters began anew");
    assert_eq!(kept.clone().before(&snapshot(now_us + 3600 * SECOND, 20)).len(), 0, "that is long ago");
    let recent = kept.clone().before(&snapshot(now_us - 50 * SECOND, 20));
    assert_eq!(recent.len(), 2, "a moment ago is no step");
    drop(again);
    open(&config).execute("UPDATE clock SET boot = 'another'", []).expect("changed");
    assert!(writer(&config).pasts().is_empty());
}

#[test]
fn names_that_nothing_refers_to_are_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(1));
    scene.write(&mut writer, 0, Some(1));
    let more = "INSERT INTO resource (resource, subject) VALUES ('ports', 'gone'); INSERT INTO netns (label) VALUES ('gone')";
    open(&config).execute_batch(more).expect("added");
    let names =
        || count(&config, "count(*) FROM (SELECT subject FROM resource UNION ALL SELECT label FROM netns)");
    assert_eq!(names(), 4);
    for second in (60..=3660).step_by(60) {
        scene.write(&mut writer, second, Some(1));
    }
    assert_eq!(names(), 2);
}

#[test]
fn moments_are_read_as_people_write_them() {
    let now: Zoned = "2026-11-20T12:00:00+01:00[+01:00]".parse().expect("a time");
    let at = |text: &str| parse_moment(text, &now).map(|moment| moment.to_string());
    for (text, moment) in [
        ("03:12", "2026-11-20T02:12:00Z"),
        ("12:00", "2026-11-20T11:00:00Z"),
        ("23:59:30", "2026-11-19T22:59:30Z"),
        ("2026-11-20 03:12", "2026-11-20T02:12:00Z"),
        ("2026-11-19T03:12:08", "2026-11-19T02:12:08Z"),
        ("2026-11-19", "2026-11-18T23:00:00Z"),
        ("-2h", "2026-11-20T09:00:00Z"),
        ("-7d", "2026-11-13T11:00:00Z"),
        ("2026-11-20T03:12:00Z", "2026-11-20T03:12:00Z"),
        ("2026-11-20T03:12:00+02:00", "2026-11-20T01:12:00Z"),
    ] {
        assert_eq!(at(text).as_deref(), Ok(moment), "{text}");
    }
    for text in ["", "noon", "25:00", "--2h", "-", "2h", "2026-13-01", "99999999999999", "-9999999999y"] {
        assert!(at(text).expect_err(text).contains("03:12"), "{text}");
    }
    assert_eq!(parse_since("90min", &now).map(|m| m.to_string()).as_deref(), Ok("2026-11-20T09:30:00Z"));
}

#[test]
fn the_configuration_is_read_or_refused() {
    let read = |text: &str| toml_of(text);
    assert_eq!(read(""), Ok(Config::default()));
    assert_eq!(read("max_size_mib = 64").map(|c| c.max_size_mib), Ok(64));
    assert!(read("max_size_mib = 1").expect_err("refused").contains("16 to 1048576"));
    assert!(read("max_size = 1").is_err() && read("folder = 3").is_err());
}

fn toml_of(text: &str) -> Result<Config, String> {
    // As JSON: this crate reads no TOML itself.
    let pairs: Vec<String> =
        text.lines().filter_map(|l| l.split_once(" = ")).map(|(k, v)| format!("\"{k}\": {v}")).collect();
    serde_json::from_str(&format!("{{{}}}", pairs.join(", "))).map_err(|error| error.to_string())
}

/// This function of the test binary, in a process of its own.
fn child(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test itself"));
    command.args([
        "--ignored",
        "--exact",
        &format!("history::tests::{name}"),
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    command.env(FOLDER, folder).env(BEGIN, START.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

#[test]
#[ignore = "the child of `no_committed_row_is_lost_when_it_is_killed`"]
fn writes_on() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let config = config(Path::new(&folder), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(20));
    let begun = open(&config).query_row("SELECT watched_ms FROM clock", [], |row| row.get(0)).unwrap_or(0i64);
    for second in 1.. {
        let second = u64::try_from(begun).unwrap_or(0) / 1000 + second;
        scene.write(&mut writer, second, (second % 3 == 0).then_some(second));
        println!("committed {second}");
    }
}

#[test]
fn no_committed_row_is_lost_when_it_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), 64);
    let mut rows = 0;
    for round in 0..200u64 {
        let mut child = child("writes_on", folder.path()).spawn().expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut committed = None;
        // After another number of rows each time, and at another moment between two.
        let mut wanted = 1 + round * 7 % 40;
        for line in lines.by_ref() {
            let line = line.expect("a line");
            if let Some(second) = line.strip_prefix("committed ").and_then(|n| n.parse::<i64>().ok()) {
                committed = Some(second);
                wanted -= 1;
                if wanted == 0 {
                    break;
                }
            }
        }
        std::thread::sleep(Duration::from_micros(round * 131 % 2000));
        child.kill().expect("killed");
        child.wait().expect("it ended");
        // What it said before it died.
        for line in lines.map_while(Result::ok) {
            committed = line.strip_prefix("committed ").and_then(|n| n.parse().ok()).or(committed);
        }
        let committed = committed.expect("it wrote");
        let database = open(&config);
        let ok: String =
            database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be read");
        assert_eq!(ok, "ok");
        let at_us = *START + committed * SECOND as i64;
        let there: i64 = database
            .query_row("SELECT count(*) FROM series_1s WHERE at_us = ?", [at_us], |row| row.get(0))
            .expect("read");
        assert_eq!(there, 1, "round {round}: row {committed}");
        let now: i64 =
            database.query_row("SELECT count(*) FROM series_1s", [], |row| row.get(0)).expect("read");
        assert!(now > rows, "round {round}: {now} rows after {rows}");
        // Of an hour the oldest go.
        rows = if now > 3500 { 0 } else { now };
    }
}

#[test]
#[ignore = "the child of `ten_hours_cost_no_memory_and_no_descriptors`"]
fn writes_for_ten_hours() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let config = config(Path::new(&folder), 64);
    let (mut writer, mut scene) = (writer(&config), Scene::new(20));
    let looks = || {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
        let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages");
        let open = std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
        (pages * 4, open)
    };
    let mut cpu = 0;
    for second in 0..36_000 {
        // Names come and go.
        if second % 60 == 0 {
            scene.edit(|report| {
                report.headroom[0].subject = format!("10.0.{}.{}:443", second / 256 % 256, second % 256)
            });
        }
        let before = crate::state::thread_ns();
        scene.write(&mut writer, second, (second % 10 == 0).then_some(second));
        cpu += crate::state::thread_ns() - before;
        if [7200, 35_999].contains(&second) {
            let (kib, open) = looks();
            println!("looked {kib} {open}");
        }
    }
    println!("{} us of CPU a sample", cpu / 36_000 / 1000);
}

#[test]
fn ten_hours_cost_no_memory_and_no_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = child("writes_for_ten_hours", folder.path()).spawn().expect("a child");
    let mut said = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut said).expect("read");
    assert!(child.wait().expect("it ended").success(), "{said}");
    print!("{said}");
    let looks: Vec<(i64, i64)> = said
        .lines()
        .filter_map(|line| line.split_once("looked ")?.1.split_once(' '))
        .map(|(kib, open)| (kib.parse().expect("a number"), open.parse().expect("a number")))
        .collect();
    let [(kib, open), (later_kib, later_open)] = looks.as_slice() else { panic!("{said}") };
    assert_eq!(open, later_open);
    assert!(later_kib - kib < 4096, "from {kib} to {later_kib} KiB");
    let config = config(folder.path(), 64);
    // One each minute: a day's are still referred to.
    let names = count(&config, "count(*) FROM resource");
    assert!((590..=610).contains(&names), "{names}");
}
