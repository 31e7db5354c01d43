//! Putting a mended text in a file's place.

use anyhow::{Context, bail};
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;
use similar::TextDiff;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The change as `diff -u` shows it.
pub fn diff(name: &str, before: &[u8], after: &[u8]) -> String {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    // Of a large text of which every line changes the shortest diff is not worth the wait: another one is as right.
    const PATIENCE: Duration = Duration::from_secs(3);
    TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(before.as_ref(), after.as_ref())
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
    let old = super::files::open(&path)?;
    let metadata = old.metadata().with_context(cannot)?;
    if metadata.nlink() > 1 {
        bail!(
            "{} has {} names (hard links), and the others would keep the old text; it is left as it is",
            path.display(),
            metadata.nlink()
        );
    }
    let mut now = Vec::new();
    (&old).take(before.len() as u64 + 1).read_to_end(&mut now).with_context(cannot)?;
    if now != before {
        bail!("{} was changed by somebody else meanwhile; it is left as it is", path.display());
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} has no folder", path.display());
    };
    let backup = keep(&path, before, &old).with_context(cannot)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".linger-{}", std::process::id()));
    let beside = folder.join(hidden);
    let written = write_new(&beside, after, &old).and_then(|()| fs::rename(&beside, &path));
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
fn keep(path: &Path, text: &[u8], like: &File) -> io::Result<PathBuf> {
    const MOST: u32 = 10_000;
    for number in 0..MOST {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ".bak".to_owned() } else { format!(".bak.{number}") });
        match write_new(Path::new(&name), text, like) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(PathBuf::from(name)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("there are {MOST} copies beside it already")))
}

/// Writes a file that must not exist yet, with another one's mode, owner and attributes, to the disk.
fn write_new(path: &Path, text: &[u8], original: &File) -> io::Result<()> {
    let like = original.metadata()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = (|| {
        file.write_all(text)?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
        copy_attributes(original, &file)?;
        file.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Access lists and other extended attributes. Labels of a security module are its own to set: where it does not let them be
/// copied, it has labelled the new file.
fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    /// XATTR_LIST_MAX and XATTR_SIZE_MAX.
    const MOST: usize = 64 << 10;
    let mut names = vec![0; MOST];
    let length = match flistxattr(from, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    let mut value = vec![0; MOST];
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let copied = fgetxattr(from, name, &mut value[..])
            .and_then(|length| fsetxattr(to, name, &value[..length], XattrFlags::empty()));
        if !name.starts_with(b"security.") {
            copied?;
        }
    }
    Ok(())
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
    fn a_file_with_two_names_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("a.conf"), folder.path().join("b.conf"));
        fs::write(&path, "one").expect("written");
        fs::hard_link(&path, &other).expect("linked");
        let error = replace(&path, b"one", b"two").expect_err("refused").to_string();
        assert!(error.contains("2 names"), "{error}");
        assert_eq!(names(folder.path()), ["a.conf", "b.conf"]);
        assert_eq!(fs::read(&path).expect("there"), b"one");
    }

    #[test]
    fn extended_attributes_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.conf");
        fs::write(&path, "one").expect("written");
        let file = File::open(&path).expect("there");
        let set = fsetxattr(&file, "user.origin", b"ansible", XattrFlags::empty());
        if set == Err(Errno::NOTSUP) {
            assert!(
                std::env::var_os("CI").is_none(),
                "{} has no extended attributes",
                folder.path().display()
            );
            println!("SKIPPED: {} has no extended attributes", folder.path().display());
            return;
        }
        set.expect("set");
        let backup = replace(&path, b"one", b"two").expect("replaced");
        for path in [path, backup] {
            let mut value = [0; 16];
            let length = fgetxattr(File::open(path).expect("there"), "user.origin", &mut value[..]);
            assert_eq!(&value[..length.expect("kept")], b"ansible");
        }
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
