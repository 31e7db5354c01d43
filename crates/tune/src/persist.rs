//! The file that sets kept values again at boot: `/etc/sysctl.d/99-linger.conf`.
//!
//! It is always written as a whole, from the journal: the kept steps of every confirmed run that was to persist. It is
//! replaced in one system call, so that there is the old file or the new one.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::journal::{Event, Journal, Lock, Log, Phase, StepState};
use crate::{Error, Kind};

/// Where it is unless another folder is named.
pub const SYSCTL_DIR: &str = "/etc/sysctl.d";
/// Its name.
pub const PERSIST_FILE: &str = "99-linger.conf";
const HEAD: &str =
    "# Written by linger tune from its journal; `linger tune rollback` takes lines out again.\n";
/// The folders of sysctl.d(5). A file of the same name in an earlier one hides that in a later one; the order of
/// reading is that of the names.
const FOLDERS: &[&str] =
    &[SYSCTL_DIR, "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
/// procps reads it after all of them.
const LAST: &str = "/etc/sysctl.conf";
/// No longer file is read.
const MOST_BYTES: u64 = 1 << 20;

/// The file that would set this key again after linger's, at boot; its pattern may match more than the key.
///
/// # Errors
/// When a folder or file is there and can't be read.
pub fn overridden(folder: &Path, key: &str) -> Result<Option<PathBuf>, Error> {
    let is_system = folder == Path::new(SYSCTL_DIR);
    let folders: Vec<&Path> = if is_system { FOLDERS.iter().map(Path::new).collect() } else { vec![folder] };
    let mut seen: Vec<OsString> = Vec::new();
    for folder in folders {
        let failed = |error| Error::io("read", folder.display().to_string(), error);
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let is_later =
                name.to_string_lossy().ends_with(".conf") && name.as_os_str() > OsStr::new(PERSIST_FILE);
            if !is_later || seen.contains(&name) {
                continue;
            }
            let path = folder.join(&name);
            seen.push(name);
            if sets(&path, key)? {
                return Ok(Some(path));
            }
        }
    }
    let last = Path::new(LAST);
    if is_system && sets(last, key)? { Ok(Some(last.to_owned())) } else { Ok(None) }
}

fn sets(path: &Path, key: &str) -> Result<bool, Error> {
    match fs::metadata(path) {
        // A link to nowhere, and /dev/null, which hides a file of that name.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Ok(found) if !found.is_file() => return Ok(false),
        Ok(found) if found.len() > MOST_BYTES => {
            return Err(Error::new("read", path.display().to_string(), Kind::Malformed, "it is too long"));
        }
        _ => {}
    }
    let text = fs::read(path).map_err(|error| Error::io("read", path.display().to_string(), error))?;
    Ok(String::from_utf8_lossy(&text).lines().any(|line| matches(line, key)))
}

/// Whether a line of sysctl.d(5) sets this key, or may: where only a pattern can tell, it does.
fn matches(line: &str, key: &str) -> bool {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return false;
    }
    let line = line.strip_prefix('-').unwrap_or(line);
    // A line with `-` and no value takes a key out of what patterns set.
    let Some((name, _)) = line.split_once('=') else { return false };
    let name = name.trim().replace('/', ".");
    match name.find(['*', '?', '[']) {
        Some(at) => key.starts_with(&name[..at]),
        None => name == key,
    }
}

/// What the file must hold, by the journal; `None` for no file.
fn content(log: &Log, folder: &Path) -> Option<String> {
    let mut lines: Vec<(&str, &str)> = Vec::new();
    let runs =
        log.runs.iter().filter(|it| it.phase == Phase::Confirmed && it.persist.as_deref() == Some(folder));
    for step in runs.flat_map(|run| &run.steps).filter(|it| it.state == StepState::Kept) {
        lines.retain(|(key, _)| *key != step.key.key);
        lines.push((step.key.key, &step.to));
    }
    let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    (!lines.is_empty()).then(|| format!("{HEAD}{lines}"))
}

/// Brings the file to what the journal says.
///
/// # Errors
/// When a key would be overridden, or a file can't be written. The old file is there then.
pub(crate) fn write(journal: &Journal, lock: &Lock, run: u64, folder: &Path) -> Result<(), Error> {
    let log = journal.read()?;
    let file = folder.join(PERSIST_FILE);
    let wanted = content(&log, folder);
    for line in wanted.iter().flat_map(|text| text.lines()) {
        let Some((key, _)) = line.split_once(" = ") else { continue };
        if let Some(by) = overridden(folder, key)? {
            let why = format!("{key} would be overridden at boot by {}", by.display());
            return Err(Error::new("write", file.display().to_string(), Kind::Refused, why));
        }
    }
    let before = match fs::read(&file) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("read", file.display().to_string(), error)),
    };
    if before != wanted {
        journal.append(lock, run, Event::Persisting { file: file.clone(), before })?;
        crate::fault::point("before-persist");
        put_back(&file, wanted.as_deref())?;
        crate::fault::point("after-persist");
    }
    journal.append(lock, run, Event::Persisted)
}

/// Replaces the file, or removes it, in one system call; it is on the disk when this returns.
pub(crate) fn put_back(file: &Path, content: Option<&str>) -> Result<(), Error> {
    let failed = |error| Error::io("write", file.display().to_string(), error);
    let folder = file.parent().unwrap_or(Path::new("/"));
    match content {
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        },
        Some(text) => {
            // Not *.conf, so that nobody reads it.
            let fresh = folder.join(format!(".{PERSIST_FILE}.{}.new", std::process::id()));
            let _ = fs::remove_file(&fresh);
            let written = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&fresh)
                .and_then(|mut it| it.write_all(text.as_bytes()).and_then(|()| it.sync_all()))
                .and_then(|()| fs::rename(&fresh, file));
            if let Err(error) = written {
                let _ = fs::remove_file(&fresh);
                return Err(failed(error));
            }
        }
    }
    fs::File::open(folder).and_then(|it| it.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "net.ipv4.tcp_tw_reuse";

    #[test]
    fn lines_that_set_a_key() {
        for line in [
            "net.ipv4.tcp_tw_reuse=1",
            " net.ipv4.tcp_tw_reuse = 1 ",
            "-net/ipv4/tcp_tw_reuse = 1",
            "net.ipv4.tcp_* = 1",
            "net.*.tcp_tw_reuse = 1",
        ] {
            assert!(matches(line, KEY), "{line}");
        }
        for line in [
            "",
            "# net.ipv4.tcp_tw_reuse=1",
            ";net.ipv4.tcp_tw_reuse=1",
            "net.ipv4.tcp_tw_reuse_delay=1",
            "-net.ipv4.tcp_tw_reuse",
            "net.ipv6.* = 1",
        ] {
            assert!(!matches(line, KEY), "{line}");
        }
    }

    #[test]
    fn only_later_files_override() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("10-first.conf"), "net.ipv4.tcp_tw_reuse = 2\n").unwrap();
        fs::write(path("99-zz.txt"), "net.ipv4.tcp_tw_reuse = 2\n").unwrap();
        assert_eq!(overridden(folder.path(), KEY).unwrap(), None);
        std::os::unix::fs::symlink("/dev/null", path("99-null.conf")).unwrap();
        assert_eq!(overridden(folder.path(), KEY).unwrap(), None);
        fs::write(path("99-sysctl.conf"), "net.ipv4.tcp_tw_reuse = 2\n").unwrap();
        assert_eq!(overridden(folder.path(), KEY).unwrap(), Some(path("99-sysctl.conf")));
        assert_eq!(overridden(folder.path(), "net.core.somaxconn").unwrap(), None);
        assert_eq!(overridden(&path("none"), KEY).unwrap(), None);
    }

    #[test]
    fn a_file_is_replaced_or_removed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PERSIST_FILE);
        put_back(&file, Some("a\n")).unwrap();
        put_back(&file, Some("b\n")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "b\n");
        put_back(&file, None).unwrap();
        put_back(&file, None).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(put_back(&folder.path().join("none").join(PERSIST_FILE), Some("a")).is_err());
    }
}
