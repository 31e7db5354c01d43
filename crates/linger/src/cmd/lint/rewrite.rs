//! Putting a mended text in a file's place.

use anyhow::{Context, bail};
use similar::TextDiff;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The change as `diff -u` shows it.
pub fn diff(name: &str, before: &[u8], after: &[u8]) -> String {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    TextDiff::from_lines(before.as_ref(), after.as_ref())
        .unified_diff()
        .header(name, &format!("{name} (mended)"))
        .to_string()
}

/// Puts a new text in the place of the old one, at once or not at all, and keeps the old one beside it; where.
///
/// # Errors
/// If the file is not as it was read, or something cannot be written: then it is as it was.
pub fn replace(path: &Path, before: &[u8], after: &[u8]) -> anyhow::Result<PathBuf> {
    let cannot = || format!("cannot rewrite {}", path.display());
    // What a link leads to is rewritten, not the link.
    let path = fs::canonicalize(path).with_context(cannot)?;
    let metadata = fs::metadata(&path).with_context(cannot)?;
    if fs::read(&path).with_context(cannot)? != before {
        bail!("{} was changed by somebody else meanwhile; it is left as it is", path.display());
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} has no folder", path.display());
    };
    let backup = keep(&path, before, &metadata).with_context(cannot)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".linger-{}", std::process::id()));
    let beside = folder.join(hidden);
    let written = write_new(&beside, after, &metadata).and_then(|()| fs::rename(&beside, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&beside);
        let _ = fs::remove_file(&backup);
        return Err(error).with_context(cannot);
    }
    // So that a crash finds the new name, or the old one.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(backup)
}

/// A copy at a name that nothing has yet: `FILE.bak`, `FILE.bak.1`, …. None of them ends in `.conf`, so that none is read.
fn keep(path: &Path, text: &[u8], metadata: &fs::Metadata) -> io::Result<PathBuf> {
    const MOST: u32 = 10_000;
    for number in 0..MOST {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ".bak".to_owned() } else { format!(".bak.{number}") });
        match write_new(Path::new(&name), text, metadata) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(PathBuf::from(name)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("there are {MOST} copies beside it already")))
}

/// Writes a file that must not exist yet, with another one's mode and owner, to the disk.
fn write_new(path: &Path, text: &[u8], like: &fs::Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = (|| {
        file.write_all(text)?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
        file.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("readable").flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_old_text_is_kept_and_no_copy_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.conf");
        fs::write(&path, "one").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        let first = replace(&path, b"one", b"two").expect("replaced");
        let second = replace(&path, b"two", b"three").expect("replaced");
        assert_eq!(names(folder.path()), ["a.conf", "a.conf.bak", "a.conf.bak.1"]);
        assert_eq!((fs::read(first).unwrap(), fs::read(second).unwrap()), (b"one".to_vec(), b"two".to_vec()));
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o640);
    }

    #[test]
    fn a_file_that_somebody_changed_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.conf");
        fs::write(&path, "theirs").expect("written");
        assert!(replace(&path, b"one", b"two").is_err());
        assert_eq!(names(folder.path()), ["a.conf"]);
        assert_eq!(fs::read(&path).expect("there"), b"theirs");
    }

    #[test]
    fn links_stay_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("sysctl.conf"), folder.path().join("99-sysctl.conf"));
        fs::write(&path, "one").expect("written");
        std::os::unix::fs::symlink("sysctl.conf", &link).expect("linked");
        replace(&link, b"one", b"two").expect("replaced");
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).expect("there"), b"two");
    }

    #[test]
    fn a_change_is_shown_as_diff_does() {
        let shown = diff("f", b"a\nb\n", b"a\nc\n");
        assert_eq!(shown, "--- f\n+++ f (mended)\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
    }
}
