//! A folder that its owner alone may enter: files of lines that are on the disk before anything else happens, and locks.
//!
//! One JSON object a line, only ever appended. A line that is torn, foreign or too long costs no other one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, fsync, mkdir, open, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Kind, fault};

const LOCK: &str = "lock";
/// A longer line is foreign.
const MOST_LINE: u64 = 64 << 10;

/// When something happened, and whose doing it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// The boot it happened in (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Who did it: `uid 0 (alice), logged in as uid 1000`.
    pub who: String,
    /// The process that did it.
    pub pid: u32,
}

/// The folder.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    folder: OwnedFd,
    /// The file whose bytes are locked; open from the start, so that who holds the folder can lock even where its path
    /// is gone.
    locks: Result<File, Errno>,
    boot: String,
    who: String,
}

/// A byte of the lock file that this process alone holds; it goes with the process, also on SIGKILL.
#[derive(Debug)]
pub struct Held {
    file: File,
    byte: u64,
}

impl Drop for Held {
    /// Closing it alone would not do: a process that is being started has a copy of the descriptor until it execs.
    fn drop(&mut self) {
        let _ = set_lock(&self.file, libc::F_UNLCK, self.byte);
    }
}

/// A file of the folder; no link, and no waiting for a pipe's other end.
fn file_in(folder: &OwnedFd, name: &str, access: OFlags) -> Result<File, Errno> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Locks or unlocks a byte for an open file description, without waiting.
fn set_lock(file: &File, kind: libc::c_int, byte: u64) -> io::Result<()> {
    // SAFETY: all of `flock` is integers, for which zero is a value; F_OFD_SETLK wants `l_pid` to be 0.
    let mut lock = unsafe { std::mem::zeroed::<libc::flock>() };
    (lock.l_type, lock.l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    (lock.l_start, lock.l_len) = (libc::off_t::try_from(byte).unwrap_or(libc::off_t::MAX), 1);
    // SAFETY: the descriptor is open, and the kernel reads one `flock`, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

impl StateDir {
    /// Opens this folder, which is made (mode 0700) if it isn't there.
    ///
    /// # Errors
    /// When it can't be made or opened, or others than its owner, who must be this user, may enter it.
    pub fn open(path: &Path) -> Result<StateDir, Error> {
        let failed = |error: io::Error| Error::io("open", path.display().to_string(), error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
        StateDir::find(path)?.ok_or_else(|| failed(Errno::NOENT.into()))
    }

    /// As [`StateDir::open`]; `None` where there is no such folder, which is not made.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn find(path: &Path) -> Result<Option<StateDir>, Error> {
        let failed = |error: Errno| Error::io("open", path.display().to_string(), error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            folder => folder.map_err(failed)?,
        };
        let found = fstat(&folder).map_err(failed)?;
        if found.st_uid != geteuid().as_raw() || found.st_mode & 0o077 != 0 {
            let what = "it must belong to this user, and nobody else may enter it (mode 0700)";
            return Err(Error::new("trust", path.display().to_string(), Kind::Malformed, what));
        }
        let locks = file_in(&folder, LOCK, OFlags::RDWR | OFlags::CREATE);
        Ok(Some(StateDir { path: path.to_owned(), folder, locks, boot: boot_id()?, who: who() }))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of this boot.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Of this moment and this process.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { at: now(), boot: self.boot.clone(), who: self.who.clone(), pid: std::process::id() }
    }

    fn name(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }

    /// Locks a byte of the lock file, waiting for at most this long; `busy` says what another is at.
    ///
    /// # Errors
    /// [`Kind::Busy`] when another process has it for so long.
    pub fn lock(&self, byte: u64, patience: Duration, busy: &str) -> Result<Held, Error> {
        let failed = |error| Error::io("lock", self.path.display().to_string(), error);
        let start = Instant::now();
        let file = self.locks.as_ref().map_err(|error| failed((*error).into()))?;
        // Opened anew: a lock belongs to an open file description, and this one is nobody else's.
        let file = File::options().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let file = file.map_err(failed)?;
        while let Err(error) = set_lock(&file, libc::F_WRLCK, byte) {
            match error.kind() {
                io::ErrorKind::WouldBlock if start.elapsed() >= patience => {
                    return Err(Error::new("lock", self.path.display().to_string(), Kind::Busy, busy));
                }
                io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(10)),
                io::ErrorKind::Interrupted => {}
                _ => return Err(failed(error)),
            }
        }
        Ok(Held { file, byte })
    }

    /// Appends lines to a file; they are on the disk when this returns. With `begins` the file is made where there is
    /// none; without, a file that is gone or empty is an error.
    ///
    /// # Errors
    /// [`Kind::Full`], [`Kind::Vanished`] and others. Nothing of the lines is left then, as far as the file system lets
    /// it be taken back.
    pub fn append(
        &self,
        _: &Held,
        file: &str,
        begins: bool,
        lines: impl IntoIterator<Item = impl Serialize>,
    ) -> Result<(), Error> {
        let failed = |error: io::Error| Error::io("append to", self.name(file), error);
        let wrong = |kind, what| Err(Error::new("append to", self.name(file), kind, what));
        fault::point("before-journal");
        let create = if begins { OFlags::CREATE } else { OFlags::empty() };
        let opened = file_in(&self.folder, file, OFlags::RDWR | create);
        let mut opened = opened.map_err(|error| failed(error.into()))?;
        if !opened.metadata().map_err(failed)?.is_file() {
            return wrong(Kind::Malformed, "it is no plain file");
        }
        let length = opened.seek(SeekFrom::End(0)).map_err(failed)?;
        if length == 0 && !begins {
            return wrong(Kind::Vanished, "somebody has emptied it");
        }
        let mut text = Vec::new();
        if length > 0 {
            let mut last = [0];
            opened.seek(SeekFrom::Start(length - 1)).map_err(failed)?;
            opened.read_exact(&mut last).map_err(failed)?;
            // A torn line stays a line of its own.
            if last != *b"\n" {
                text.push(b'\n');
            }
        }
        for line in lines {
            serde_json::to_writer(&mut text, &line).map_err(|error| failed(error.into()))?;
            text.push(b'\n');
        }
        fault::at("torn-journal", || {
            let _ = opened.write_all(&text[..text.len() / 2]);
        });
        let written = opened.write_all(&text).and_then(|()| {
            fault::point("after-journal-write");
            opened.sync_all()
        });
        if let Err(error) = written {
            let _ = opened.set_len(length);
            return Err(failed(error));
        }
        if length == 0 {
            fsync(&self.folder).map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }

    /// A file, to be read from its beginning; `None` where there is none.
    ///
    /// # Errors
    /// When it is there and can't be opened.
    pub fn read(&self, file: &str) -> Result<Option<BufReader<File>>, Error> {
        match file_in(&self.folder, file, OFlags::RDONLY) {
            Ok(file) => Ok(Some(BufReader::new(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("read", self.name(file), error.into())),
        }
    }

    /// Whether a file of the folder is this open one.
    ///
    /// # Errors
    /// When it is there and can't be looked at.
    pub(crate) fn is_file(&self, file: &str, open: &File) -> Result<bool, Error> {
        let failed = |error: Errno| Error::io("look at", self.name(file), error.into());
        match statat(&self.folder, file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => {
                let held = fstat(open).map_err(failed)?;
                Ok((found.st_dev, found.st_ino) == (held.st_dev, held.st_ino))
            }
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The lines by number from 1; `None` for one that is torn, foreign or too long. Empty ones are left out. An error is the
/// last.
pub fn lines<T: DeserializeOwned>(
    mut from: impl BufRead,
) -> impl Iterator<Item = (usize, io::Result<Option<T>>)> {
    let (mut line, mut number, mut is_over) = (Vec::new(), 0, false);
    std::iter::from_fn(move || {
        while !is_over {
            line.clear();
            number += 1;
            let read = match (&mut from).take(MOST_LINE).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 == MOST_LINE => {
                    from.skip_until(b'\n').map(|_| None)
                }
                Ok(_) if line.trim_ascii().is_empty() => continue,
                Ok(_) => Ok(serde_json::from_slice(&line).ok()),
                Err(error) => Err(error),
            };
            is_over = read.is_err();
            return Some((number, read));
        }
        None
    })
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    Ok(text.trim().to_owned())
}

/// Who runs this: the user, and who they were before sudo.
fn who() -> String {
    let uid = geteuid().as_raw();
    let plain =
        |name: &String| !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic());
    let name = ["SUDO_USER", "LOGNAME", "USER"].iter().filter_map(|it| std::env::var(it).ok()).find(plain);
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login =
        login.and_then(|text| text.trim().parse::<u32>().ok()).filter(|it| *it != u32::MAX && *it != uid);
    let mut who = format!("uid {uid}");
    if let Some(name) = name {
        who += &format!(" ({name})");
    }
    if let Some(login) = login {
        who += &format!(", logged in as uid {login}");
    }
    who
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_folder_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/tune");
        assert!(StateDir::find(&path).unwrap().is_none() && !folder.path().join("a").exists());
        StateDir::open(&path).unwrap();
        assert!(StateDir::find(&path).unwrap().is_some());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o750)).unwrap();
        for refused in [StateDir::open(&path).map(Some), StateDir::find(&path)] {
            assert!(refused.unwrap_err().to_string().contains("mode 0700"));
        }
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(StateDir::open(&link).is_err() && StateDir::find(&link).is_err());
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| StateDir::open(&folder.path().join("m")).unwrap());
        let held = one.lock(7, Duration::ZERO, "at work").unwrap();
        let refused = other.lock(7, Duration::from_millis(30), "at work").unwrap_err();
        assert!(refused.kind == Kind::Busy && refused.to_string().contains("at work"), "{refused}");
        other.lock(8, Duration::ZERO, "").unwrap();
        // As a process that is being started has it.
        let copy = held.file.try_clone().unwrap();
        drop(held);
        other.lock(7, Duration::ZERO, "").unwrap();
        drop(copy);
    }

    #[test]
    fn a_file_of_others_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        let state = StateDir::open(&path).unwrap();
        let held = state.lock(0, Duration::ZERO, "").unwrap();
        state.append(&held, "mine", true, [1]).unwrap();
        assert_eq!(std::fs::metadata(path.join("mine")).unwrap().permissions().mode() & 0o777, 0o600);
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "").unwrap();
        symlink(&elsewhere, path.join("link")).unwrap();
        assert!(state.append(&held, "link", true, [1]).is_err() && state.read("link").is_err());
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"");
        // Lines that begin nothing are not put where nothing was begun.
        assert_eq!(state.append(&held, "none", false, [1]).unwrap_err().kind, Kind::Vanished);
        std::fs::write(path.join("mine"), "").unwrap();
        assert_eq!(state.append(&held, "mine", false, [1]).unwrap_err().kind, Kind::Vanished);
    }

    #[test]
    fn torn_foreign_and_long_lines_cost_no_other() {
        let text = format!("1\n\nx\n{}5\n6\n2 2\n8", " ".repeat(MOST_LINE as usize));
        let read: Vec<_> = lines::<u32>(text.as_bytes()).map(|(at, it)| (at, it.unwrap())).collect();
        assert_eq!(read, [(1, Some(1)), (3, None), (4, None), (5, Some(6)), (6, None), (7, Some(8))]);
    }
}
