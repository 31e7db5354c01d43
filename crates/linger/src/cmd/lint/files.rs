//! Finding and reading what is to be looked at.

use super::Source;
use anyhow::{Context, anyhow, bail, ensure};
use linger_lint::sysctl::File;
use linger_lint::sysctl::effective::{FOLDERS, SYSCTL_CONF};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No file of settings is larger; a larger one is something else.
const MOST: u64 = 1 << 20;

/// What was read, and what was not.
#[derive(Default)]
pub struct Found {
    /// The files, each with where it came from.
    pub files: Vec<(File, Source)>,
    /// Files of folders that could not be read, and why.
    pub unread: Vec<String>,
    /// What is called like a file of settings and is none.
    pub passed_over: Vec<String>,
}

/// The files named, those of the folders named, or what this host reads.
///
/// # Errors
/// If something that was named by itself cannot be read. What cannot be read of a folder is in the answer: the rest can be
/// judged all the same.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Found> {
    let mut found = Found::default();
    if paths.is_empty() {
        system(Path::new("/"), &mut found)?;
        return Ok(found);
    }
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = Vec::new();
            io::stdin().lock().take(MOST + 1).read_to_end(&mut text).context("cannot read standard input")?;
            ensure!(text.len() as u64 <= MOST, "standard input: {TOO_LARGE}");
            let name = "(standard input)".to_owned();
            let file = File { name: name.clone(), text: text.clone(), places: Vec::new() };
            found.files.push((file, Source { name, text, target: None, refused: None }));
        } else if path.is_dir() {
            let before = found.files.len() + found.unread.len();
            if is_system(path) {
                system(path, &mut found)?;
            } else {
                for name in conf_files(path)? {
                    let path = path.join(name);
                    if found.is_file(&path) {
                        match named(path) {
                            Ok(file) => found.files.push(file),
                            Err(error) => found.unread.push(format!("{error:#}")),
                        }
                    }
                }
            }
            ensure!(
                found.files.len() + found.unread.len() > before,
                "{}: no .conf file in it, and no sysctl.d below etc",
                path.display()
            );
        } else {
            found.files.push(named(path.clone())?);
        }
    }
    let mut names: Vec<&str> = found.files.iter().map(|(file, _)| file.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} is given twice", twice[0]);
    }
    Ok(found)
}

impl Found {
    /// Whether an entry of a folder is to be read: a folder, a pipe or a device that is called `x.conf` is not.
    fn is_file(&mut self, path: &Path) -> bool {
        let other = fs::metadata(path).is_ok_and(|kind| !kind.is_file());
        if other {
            self.passed_over.push(format!("{} is no regular file, and is passed over", path.display()));
        }
        !other
    }
}

fn named(path: PathBuf) -> anyhow::Result<(File, Source)> {
    let text = content(&path)?;
    let name = path.display().to_string();
    let file = File { name: name.clone(), text: text.clone(), places: Vec::new() };
    Ok((file, Source { name, text, target: Some(path), refused: None }))
}

const TOO_LARGE: &str = "larger than 1 MiB, which no file of settings is; it is not read";

fn content(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = open(path)?;
    file.take(MOST + 1).read_to_end(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.len() as u64 <= MOST, "{}: {TOO_LARGE}", path.display());
    Ok(text)
}

/// Opens a regular file. A pipe would wait for somebody who writes, and a device may do something when it is opened.
pub fn open(path: &Path) -> anyhow::Result<fs::File> {
    let cannot = || format!("cannot read {}", path.display());
    let regular = |kind: fs::Metadata| {
        ensure!(kind.is_file(), "{} is no regular file; `-` reads standard input", path.display());
        Ok(())
    };
    regular(fs::metadata(path).with_context(cannot)?)?;
    // It may be another one by now.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty()).with_context(cannot)?);
    regular(file.metadata().with_context(cannot)?)?;
    Ok(file)
}

/// A folder's names that end in `.conf`, in order.
fn conf_files(folder: &Path) -> anyhow::Result<Vec<OsString>> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".conf") && !bytes.starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A path of the system below `root`.
fn below(root: &Path, place: &str) -> PathBuf {
    root.join(place.trim_start_matches('/'))
}

/// Whether a folder holds a system's files.
fn is_system(root: &Path) -> bool {
    FOLDERS.iter().chain([&SYSCTL_CONF]).any(|place| below(root, place).exists())
}

/// What a system reads. A file that is found under several names is one file with several places.
fn system(root: &Path, found: &mut Found) -> anyhow::Result<()> {
    let first = found.files.len();
    let mut places: Vec<(String, PathBuf)> = Vec::new();
    for folder in FOLDERS {
        let at = below(root, folder);
        // Where /lib is a link to /usr/lib it is the same folder, and said once.
        let is_link = below(root, "/lib").is_symlink() && folder.starts_with("/lib/");
        if at.is_dir() && !is_link {
            let names = conf_files(&at)?.into_iter();
            places.extend(names.map(|name| (format!("{folder}/{}", name.to_string_lossy()), at.join(name))));
        }
    }
    // The file itself before the links to it, so that it is named so.
    places.push((SYSCTL_CONF.to_owned(), below(root, SYSCTL_CONF)));
    places.sort_by_key(|(_, path)| path.is_symlink());
    // A link of a tree that was laid out elsewhere must not lead to this host's files.
    let inside = fs::canonicalize(root).with_context(|| format!("cannot read {}", root.display()))?;
    let mut targets: Vec<PathBuf> = Vec::new();
    for (place, path) in places {
        let Some(target) = resolve(root, &path) else { continue };
        if let Some(known) = targets.iter().position(|known| *known == target) {
            found.files[first + known].0.places.push(place);
            continue;
        }
        // A link to /dev/null masks the files of its name.
        let is_device = target == Path::new("/dev/null");
        let absent = place == SYSCTL_CONF && !target.exists();
        if !is_device && (absent || !found.is_file(&target)) {
            continue;
        }
        let read = if is_device {
            Ok(Vec::new())
        } else if target.starts_with(&inside) {
            content(&target)
        } else {
            Err(anyhow!("{} leads out of {}", path.display(), root.display()))
        };
        // One that cannot be read masks those of its name all the same.
        let (text, unread) = match read {
            Ok(text) => (text, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let name = path.display().to_string();
        let shipped = FOLDERS[2..].iter().any(|folder| place.starts_with(folder));
        let refused = shipped
            .then(|| "it belongs to a package: set the key in a file of /etc/sysctl.d instead".to_owned())
            .or(unread.clone());
        found.unread.extend(unread);
        targets.push(target.clone());
        let file = File { name: name.clone(), text: text.clone(), places: vec![place] };
        found.files.push((file, Source { name, text, target: Some(target), refused }));
    }
    Ok(())
}

/// Where a path leads; `None` for a link into nowhere. An absolute link of a tree leads into that tree.
fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    const LINKS: usize = 16;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(link) if link == Path::new("/dev/null") => return Some(link),
            Ok(link) if link.is_absolute() => path = root.join(link.strip_prefix("/").ok()?),
            Ok(link) => path = path.parent()?.join(link),
            // No link: its folders may be.
            Err(_) => return fs::canonicalize(&path).ok(),
        }
    }
    None
}
