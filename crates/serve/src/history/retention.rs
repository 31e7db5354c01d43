//! What goes: by age, and the oldest where the bound of the size is near.

use super::database::Database;
use super::schema::{DAY, LEVELS};
use rusqlite::{Connection, params};

/// How long findings are kept, milliseconds.
const FINDINGS: i64 = 30 * DAY;
/// How long snapshots are kept: all of them, and the first of each minute, milliseconds.
const SNAPSHOTS: (i64, i64) = (DAY, 7 * DAY);
/// Findings at the most: flapping ones are rows, too.
const MOST_FINDINGS: i64 = 20_000;
/// Of a full database this part is freed at a time, per cent.
const FREED: u64 = 10;

/// Deletes what is too old. Ages are by the clock that never jumps.
pub fn expire(connection: &Connection, watched_ms: i64) -> rusqlite::Result<()> {
    for level in LEVELS {
        for table in ["series", "headroom"] {
            let delete = format!("DELETE FROM {table}_{} WHERE watched_ms < ?", level.name);
            connection.prepare_cached(&delete)?.execute([watched_ms - level.kept_ms])?;
        }
    }
    let thin = "DELETE FROM snapshot WHERE watched_ms < ?1 OR (watched_ms < ?2 AND minute = 0)";
    connection.prepare_cached(thin)?.execute([watched_ms - SNAPSHOTS.1, watched_ms - SNAPSHOTS.0])?;
    let over =
        "DELETE FROM finding WHERE open = 0 AND (last_ms < ?1 OR id <= (SELECT max(id) - ?2 FROM finding))";
    connection.prepare_cached(over)?.execute([watched_ms - FINDINGS, MOST_FINDINGS])?;
    // Once an hour: names that nothing refers to any longer.
    if watched_ms / 60_000 % 60 == 0 {
        forget_names(connection)?;
    }
    Ok(())
}

fn forget_names(connection: &Connection) -> rusqlite::Result<()> {
    let used = |column: &str, tables: &[&str]| {
        let each: Vec<String> = tables.iter().map(|table| format!("SELECT {column} FROM {table}")).collect();
        each.join(" UNION ")
    };
    let series = ["series_1s", "series_10s", "series_1min", "finding", "snapshot", "trend"];
    let headroom = ["headroom_1s", "headroom_10s", "headroom_1min"];
    let netns = format!("DELETE FROM netns WHERE id NOT IN ({})", used("netns", &series));
    let resource = format!("DELETE FROM resource WHERE id NOT IN ({})", used("resource", &headroom));
    connection.execute_batch(&format!("{netns}; {resource};"))
}

/// Frees a part of a database that is nearly as large as it may become: the oldest of what takes the most.
pub fn make_room(db: &Database) -> rusqlite::Result<()> {
    let goal = db.most_pages() * (100 - FREED) / 100;
    for _ in 0..64 {
        let (used, _) = db.used_pages()?;
        if used <= goal {
            break;
        }
        let transaction = db.connection.unchecked_transaction()?;
        let (snapshots, bytes): (i64, i64) =
            transaction.query_row("SELECT count(*), total(length(packed)) FROM snapshot", [], |row| {
                Ok((row.get(0)?, row.get::<_, f64>(1)? as i64))
            })?;
        // Snapshots are nearly all of it, as a rule; series of many namespaces can be.
        let many = u64::try_from(bytes).unwrap_or(0) / 4096 * 2 > used;
        if many && snapshots > 1 {
            let oldest =
                "DELETE FROM snapshot WHERE id IN (SELECT id FROM snapshot ORDER BY watched_ms LIMIT ?)";
            transaction.execute(oldest, [(snapshots / 20).max(1)])?;
        } else if !thin_series(&transaction)? {
            transaction.commit()?;
            break;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Deletes the oldest part of the series that have most rows, with what is as old among the findings and snapshots.
fn thin_series(connection: &Connection) -> rusqlite::Result<bool> {
    let mut largest: Option<(i64, String, i64, i64)> = None;
    for level in LEVELS {
        for table in ["series", "headroom"] {
            let name = format!("{table}_{}", level.name);
            let count = format!("SELECT count(*), min(watched_ms), max(watched_ms) FROM {name}");
            let (rows, first, last): (i64, Option<i64>, Option<i64>) =
                connection.query_row(&count, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            if let (Some(first), Some(last)) = (first, last)
                && last > first
                && largest.as_ref().is_none_or(|(most, ..)| rows > *most)
            {
                largest = Some((rows, name, first, last));
            }
        }
    }
    let Some((_, name, first, last)) = largest else { return Ok(false) };
    let until = first + ((last - first) / 10).max(1);
    connection.execute(&format!("DELETE FROM {name} WHERE watched_ms < ?"), params![until])?;
    forget_names(connection)?;
    Ok(true)
}
