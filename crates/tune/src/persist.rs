//! The file that sets kept values again at boot: `/etc/sysctl.d/99-linger.conf`.
//!
//! It is always written as a whole, from the journal: the kept steps of every confirmed run that was to persist, after
//! the lines in it that linger did not write. It is replaced in one system call, so that there is the old file or the
//! new one.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linger_facts::tunable;
use rustix::fs::OFlags;

use crate::journal::{Byte, Event, Journal, Lock};
use crate::log::{Log, Phase, Run, Step, StepState};
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
/// No longer file of others is read.
const MOST_BYTES: u64 = 1 << 20;
/// Nor a longer one of linger's: what was in it becomes a line of the journal.
const MOST_OWN: u64 = 8 << 10;
/// How long it waits for another linger that writes for boot.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// What is in the file: none where it isn't there.
///
/// # Errors
/// When it is no plain file (a link would be replaced), no text, or too long to be told in the journal.
pub(crate) fn read(file: &Path) -> Result<Option<String>, Error> {
    let failed = |error: std::io::Error| Error::io("read", file.display().to_string(), error);
    let strange = |what: &str| Error::new("write", file.display().to_string(), Kind::Malformed, what);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file);
    let opened = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(strange("it is a link")),
        other => other.map_err(failed)?,
    };
    if !opened.metadata().map_err(failed)?.is_file() {
        return Err(strange("it is no plain file"));
    }
    let mut bytes = Vec::new();
    opened.take(MOST_OWN + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_OWN {
        return Err(strange(
            "it is longer than 8 KiB, and so is not linger's: move what is in it to another file",
        ));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| strange("it is no text"))
}

/// What the file must hold, by the journal and by what is in it now; `None` for no file. Lines that linger did not write
/// stay.
fn content(log: &Log, folder: &Path, now: Option<&str>) -> Option<String> {
    let line = |step: &Step| format!("{} = {}", step.key.key, step.to);
    let runs: Vec<&Run> = log.runs.iter().filter(|it| it.persist.as_deref() == Some(folder)).collect();
    let written: HashSet<String> = runs.iter().flat_map(|run| run.steps.iter().map(line)).collect();
    let foreign: String = now
        .unwrap_or_default()
        .lines()
        .filter(|it| *it != HEAD.trim_end() && !written.contains(*it))
        .map(|it| format!("{it}\n"))
        .collect();
    let mut own: Vec<&Step> = Vec::new();
    let kept = runs.iter().filter(|run| run.phase == Phase::Confirmed).flat_map(|run| &run.steps);
    for step in kept.filter(|it| it.state == StepState::Kept) {
        own.retain(|it| it.key != step.key);
        own.push(step);
    }
    let own: String = own.into_iter().map(|it| line(it) + "\n").collect();
    match (own.is_empty(), foreign.trim().is_empty()) {
        (true, true) => None,
        (true, false) => Some(foreign),
        // Of two lines with one key the last counts.
        (false, is_alone) => Some(format!("{}{HEAD}{own}", if is_alone { "" } else { &foreign })),
    }
}

/// Brings the file to what the journal says.
///
/// # Errors
/// When a key would be overridden, or a file can't be written. The old file is there then.
pub(crate) fn write(journal: &Journal, lock: &Lock, run: u64, folder: &Path) -> Result<(), Error> {
    let _held = journal.hold(Byte::Boot, PATIENCE)?;
    let log = journal.read()?;
    let file = folder.join(PERSIST_FILE);
    let before = read(&file)?;
    let wanted = content(&log, folder, before.as_deref());
    // What was there before is no worse for it.
    let is_new = |line: &&str| before.iter().flat_map(|text| text.lines()).all(|it| it != *line);
    for line in wanted.iter().flat_map(|text| text.lines()).filter(is_new) {
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| tunable(key).is_some()) else {
            continue;
        };
        if let Some(by) = overridden(folder, key)? {
            let why = format!("{key} would be overridden at boot by {}", by.display());
            return Err(Error::new("write", file.display().to_string(), Kind::Refused, why));
        }
    }
    if before != wanted {
        journal.append(lock, run, Event::Persisting { file: file.clone(), before })?;
        crate::fault::point("before-persist");
        replace(&file, wanted.as_deref())?;
        crate::fault::point("after-persist");
    }
    journal.append(lock, run, Event::Persisted)
}

/// Replaces the file, or removes it, in one system call; it is on the disk when this returns.
fn replace(file: &Path, content: Option<&str>) -> Result<(), Error> {
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
    fn what_others_wrote_stays() {
        let folder = Path::new("/etc/sysctl.d");
        let step = |name: &str, to: &str, state| Step {
            number: 0,
            key: tunable(name).unwrap(),
            from: "2".into(),
            to: to.into(),
            wrote: None,
            state,
            note: String::new(),
            at: String::new(),
        };
        let run = |id, phase, steps| Run {
            id,
            at: String::new(),
            boot: String::new(),
            who: String::new(),
            netns: crate::NetnsMark { inode: 1, cookie: 1 },
            is_host: true,
            persist: Some(folder.into()),
            is_half_persisted: false,
            is_persisted: true,
            steps,
            phase,
            outcome: String::new(),
            settled: (String::new(), String::new()),
        };
        let log = |phase| Log {
            runs: vec![
                run(1, Phase::Confirmed, vec![step(KEY, "0", StepState::Kept)]),
                run(
                    2,
                    phase,
                    vec![
                        step(KEY, "1", StepState::Kept),
                        step("net.core.somaxconn", "5000", StepState::Undone),
                    ],
                ),
            ],
            unreadable: vec![],
        };
        let foreign = "# ours\nnet.ipv4.tcp_tw_reuse = 2\n\nvm.swappiness = 1\n";
        let (both, one) = (log(Phase::Confirmed), log(Phase::Closed));
        let with = content(&both, folder, Some(foreign)).unwrap();
        assert_eq!(with, format!("{foreign}{HEAD}{KEY} = 1\n"));
        assert_eq!(content(&both, folder, Some(&with)).as_ref(), Some(&with));
        assert_eq!(content(&one, folder, Some(&with)).unwrap(), format!("{foreign}{HEAD}{KEY} = 0\n"));
        // Nothing of linger's is left, and all that is not.
        let none = Log {
            runs: vec![run(1, Phase::Closed, vec![step(KEY, "1", StepState::Undone)])],
            unreadable: vec![],
        };
        assert_eq!(content(&none, folder, Some(&with)).unwrap(), foreign);
        assert_eq!(content(&none, folder, Some(&format!("{HEAD}{KEY} = 1\n"))), None);
        assert_eq!(content(&none, folder, None), None);
        // A value that somebody changed by hand is theirs.
        let edited = format!("{HEAD}{KEY} = 2\n");
        assert_eq!(content(&none, folder, Some(&edited)).unwrap(), format!("{KEY} = 2\n"));
    }

    #[test]
    fn what_is_no_plain_short_text_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PERSIST_FILE);
        assert_eq!(read(&file).unwrap(), None);
        std::os::unix::fs::symlink("/dev/null", &file).unwrap();
        assert!(read(&file).unwrap_err().to_string().ends_with("it is a link"));
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        assert!(read(&file).unwrap_err().to_string().ends_with("it is no plain file"));
        fs::remove_file(&file).unwrap();
        fs::write(&file, [b'#'; 9000]).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("8 KiB"));
        fs::write(&file, b"\xff").unwrap();
        assert!(read(&file).unwrap_err().to_string().ends_with("it is no text"));
    }

    #[test]
    fn a_file_is_replaced_or_removed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PERSIST_FILE);
        replace(&file, Some("a\n")).unwrap();
        replace(&file, Some("b\n")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "b\n");
        replace(&file, None).unwrap();
        replace(&file, None).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(replace(&folder.path().join("none").join(PERSIST_FILE), Some("a")).is_err());
    }
}
