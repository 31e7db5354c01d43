//! The file: who may write it, what is done with one that is damaged or newer, and what its errors mean.

use super::{Config, schema};
use linger_tune::state::{Held, StateDir};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database's name in the folder.
pub const FILE: &str = "history.db";
/// What a damaged one is called from then on; one is kept.
const DAMAGED: &str = "history.db.damaged";
/// The byte of the lock that the writer holds.
const WRITER: u64 = 0;
/// Bytes in a page.
const PAGE: u64 = 4096;
/// How long SQLite waits for another one's lock. Only a person with the `sqlite3` program has one for longer.
const BUSY: Duration = Duration::from_millis(250);

/// Why nothing could be written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What follows from it.
    pub kind: Kind,
    what: String,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no room, now.
    Full,
    /// The bound of its size is reached.
    Bound,
    /// What is there makes no sense.
    Damaged,
    /// Anything else.
    Other,
}

impl Failure {
    pub(super) fn new(kind: Kind, what: impl Into<String>) -> Failure {
        Failure { kind, what: what.into() }
    }

    /// Of SQLite, about this file.
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Failure {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => Kind::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Damaged,
            _ => Kind::Other,
        };
        let name = path.display();
        let what = match (kind, error.sqlite_error_code()) {
            (Kind::Full, Some(ErrorCode::DiskFull)) => {
                format!("{name}: the disk is full; it resumes when there is room")
            }
            (Kind::Full, _) => format!("{name}: the disk refused to be written ({error}); it tries again"),
            (Kind::Damaged, _) => format!("{name} is damaged ({error})"),
            _ => format!("{name}: {error}"),
        };
        Failure { kind, what }
    }
}

/// The open database of the one writer.
pub struct Database {
    pub(super) connection: Connection,
    path: PathBuf,
    /// Its inode, by which a file that somebody has taken away is noticed.
    inode: u64,
    pages: u64,
    log_bytes: u64,
    boot: String,
    _held: Held,
}

impl Database {
    /// Opens the one of this folder, or makes it. A damaged one is put aside, and a sentence says so.
    pub fn open(config: &Config) -> Result<(Database, Option<String>), Failure> {
        let other = |error: linger_tune::Error| Failure::new(Kind::Other, error.to_string());
        let dir = StateDir::open(&config.folder).map_err(other)?;
        let busy = "another linger serve writes its history there; one of the two needs another --history";
        let held = dir.lock(WRITER, Duration::ZERO, busy).map_err(other)?;
        let path = config.folder.join(FILE);
        let boot = dir.boot().to_owned();
        match Database::at(config, &path, &boot) {
            Ok((connection, inode)) => Ok((Database::new(config, connection, inode, path, boot, held), None)),
            Err(failure) if failure.kind == Kind::Damaged => {
                let aside = put_aside(&path).map_err(|error| {
                    Failure::new(Kind::Other, format!("{failure}, and cannot be put aside: {error}"))
                })?;
                let (connection, inode) = Database::at(config, &path, &boot)?;
                let told = format!("{failure}: it is put aside as {}, and a new one begun", aside.display());
                Ok((Database::new(config, connection, inode, path, boot, held), Some(told)))
            }
            Err(failure) => Err(failure),
        }
    }

    fn new(
        config: &Config,
        connection: Connection,
        inode: u64,
        path: PathBuf,
        boot: String,
        held: Held,
    ) -> Database {
        let bytes = config.max_size_mib << 20;
        let log_bytes = log_bytes(bytes);
        Database { connection, path, inode, pages: (bytes - log_bytes) / PAGE, log_bytes, boot, _held: held }
    }

    fn at(config: &Config, path: &Path, boot: &str) -> Result<(Connection, u64), Failure> {
        let failed = |error: rusqlite::Error| Failure::of(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let bytes = config.max_size_mib << 20;
        let log = log_bytes(bytes);
        // A commit is safe from the death of the process; from that of the machine all but the last few are.
        let settings = format!(
            "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
             PRAGMA journal_size_limit = {}; PRAGMA wal_autocheckpoint = {}; PRAGMA max_page_count = {}; \
             PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; \
             PRAGMA cell_size_check = ON;",
            log / 2,
            (log / 4 / PAGE).min(1000),
            (bytes - log) / PAGE,
        );
        connection.execute_batch(&settings).map_err(failed)?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        match version {
            schema::SCHEMA => {}
            0 => {
                let tables: i64 = connection
                    .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
                    .map_err(failed)?;
                if tables > 0 {
                    let what = format!(
                        "{} is no history of linger's: it has tables of another program; move it away, or name \
                         another folder with --history",
                        path.display()
                    );
                    return Err(Failure::new(Kind::Other, what));
                }
                let make = format!(
                    "BEGIN IMMEDIATE; {} INSERT INTO clock VALUES (1, 0, '{boot}', 0); \
                     PRAGMA user_version = {}; COMMIT;",
                    schema::sql(),
                    schema::SCHEMA
                );
                if let Err(error) = connection.execute_batch(&make) {
                    let _ = connection.execute_batch("ROLLBACK");
                    return Err(failed(error));
                }
            }
            newer => {
                let what = format!(
                    "{} has tables of version {newer}, and this linger knows version {}: it was written by a newer \
                     one; name another folder with --history, or move it away",
                    path.display(),
                    schema::SCHEMA
                );
                return Err(Failure::new(Kind::Other, what));
            }
        }
        // Reads a row of each table: one that is damaged at its root shows here, not a minute later.
        for level in schema::LEVELS {
            let probe = format!("SELECT max(watched_ms) FROM series_{}", level.name);
            let _: Option<i64> = connection.query_row(&probe, [], |row| row.get(0)).map_err(failed)?;
        }
        let inode = fs::metadata(path).map(|found| found.ino()).unwrap_or(0);
        Ok((connection, inode))
    }

    /// This boot's id.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// What an error of its means.
    pub fn failure(&self, error: &rusqlite::Error) -> Failure {
        let failure = Failure::of(&self.path, error);
        match self.used_pages() {
            Ok((_, all)) if failure.kind == Kind::Full && all >= self.pages.saturating_sub(16) => {
                Failure::new(Kind::Bound, failure.what)
            }
            _ => failure,
        }
    }

    /// Pages that hold something, and all pages.
    pub fn used_pages(&self) -> rusqlite::Result<(u64, u64)> {
        let number = |pragma: &str| -> rusqlite::Result<u64> {
            let mut statement = self.connection.prepare_cached(pragma)?;
            statement.query_row([], |row| row.get::<_, i64>(0)).map(|n| u64::try_from(n).unwrap_or(0))
        };
        let all = number("PRAGMA page_count")?;
        Ok((all.saturating_sub(number("PRAGMA freelist_count")?), all))
    }

    /// Gives back what is free of the pages that it has beyond its bound: the bound may have been higher before.
    pub fn shrink(&self) -> rusqlite::Result<()> {
        let (_, all) = self.used_pages()?;
        if all > self.pages {
            let mut vacuum =
                self.connection.prepare(&format!("PRAGMA incremental_vacuum({})", all - self.pages))?;
            // Each step gives back a page.
            let mut steps = vacuum.query([])?;
            while steps.next()?.is_some() {}
        }
        Ok(())
    }

    /// How many pages it may have.
    pub fn most_pages(&self) -> u64 {
        self.pages
    }

    /// What its files take, bytes. An error where they are no longer there, or the log cannot be emptied.
    pub fn look(&self) -> Result<u64, Failure> {
        let found = fs::metadata(&self.path).map(|found| (found.len(), found.ino()));
        let (bytes, inode) = found.unwrap_or((0, 0));
        if inode != self.inode {
            let what = format!("{} was taken away", self.path.display());
            return Err(Failure::new(Kind::Other, what));
        }
        let log = || fs::metadata(self.path.with_extension("db-wal")).map_or(0, |found| found.len());
        if log() > self.log_bytes {
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
            if log() > self.log_bytes {
                let what = format!(
                    "{}: somebody has been reading it for so long that its log cannot be emptied; it resumes when \
                     they are done",
                    self.path.display()
                );
                return Err(Failure::new(Kind::Full, what));
            }
        }
        Ok(bytes + log())
    }
}

/// The part of the size that the log may take.
fn log_bytes(bytes: u64) -> u64 {
    (bytes / 4).min(16 << 20)
}

/// Renames a damaged database and its log, over the one that was put aside before.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = path.with_file_name(DAMAGED);
    for end in ["", "-wal", "-shm"] {
        let with = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        match fs::rename(with(path), with(&aside)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let _ = fs::remove_file(with(&aside));
            }
            done => done?,
        }
    }
    Ok(aside)
}
