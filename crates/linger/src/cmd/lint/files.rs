//! Finding and reading what is to be looked at.

use super::Source;
use anyhow::{Context, bail, ensure};
use linger_lint::sysctl::File;
use linger_lint::sysctl::effective::{FOLDERS, SYSCTL_CONF};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No file of settings is larger; a larger one is something else.
const MOST: u64 = 1 << 20;

/// The files named, those of the folders named, or what this host reads.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<(File, Source)>> {
    let mut files = Vec::new();
    if paths.is_empty() {
        system(Path::new("/"), &mut files)?;
        return Ok(files);
    }
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = Vec::new();
            io::stdin().lock().take(MOST + 1).read_to_end(&mut text).context("cannot read standard input")?;
            ensure!(text.len() as u64 <= MOST, "standard input has more than {MOST} bytes");
            let name = "(standard input)".to_owned();
            let file = File { name: name.clone(), text: text.clone(), places: Vec::new() };
            files.push((file, Source { name, text, target: None, refused: None }));
        } else if path.is_dir() {
            let found = files.len();
            if is_system(path) {
                system(path, &mut files)?;
            } else {
                for name in conf_files(path)? {
                    files.push(named(path.join(name))?);
                }
            }
            ensure!(
                files.len() > found,
                "{}: no .conf file in it, and no sysctl.d below etc",
                path.display()
            );
        } else {
            files.push(named(path.clone())?);
        }
    }
    let mut names: Vec<&str> = files.iter().map(|(file, _)| file.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} is given twice", twice[0]);
    }
    Ok(files)
}

fn named(path: PathBuf) -> anyhow::Result<(File, Source)> {
    let text = content(&path)?;
    let name = path.display().to_string();
    let file = File { name: name.clone(), text: text.clone(), places: Vec::new() };
    Ok((file, Source { name, text, target: Some(path), refused: None }))
}

fn content(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let file = fs::File::open(path).with_context(cannot)?;
    let kind = file.metadata().with_context(cannot)?;
    ensure!(kind.is_file(), "{} is no regular file", path.display());
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text).with_context(cannot)?;
    ensure!(text.len() as u64 <= MOST, "{} has more than {MOST} bytes", path.display());
    Ok(text)
}

/// A folder's names that end in `.conf`, in order.
fn conf_files(folder: &Path) -> anyhow::Result<Vec<String>> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".conf") && !name.starts_with('.') {
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
fn system(root: &Path, files: &mut Vec<(File, Source)>) -> anyhow::Result<()> {
    let first = files.len();
    let mut places = Vec::new();
    for folder in FOLDERS {
        let at = below(root, folder);
        // Where /lib is a link to /usr/lib it is the same folder, and said once.
        let is_link = below(root, "/lib").is_symlink() && folder.starts_with("/lib/");
        if at.is_dir() && !is_link {
            places.extend(conf_files(&at)?.into_iter().map(|name| format!("{folder}/{name}")));
        }
    }
    // The file itself before the links to it, so that it is named so.
    let links = |place: &String| below(root, place).is_symlink();
    places.push(SYSCTL_CONF.to_owned());
    places.sort_by_key(links);
    let mut targets: Vec<PathBuf> = Vec::new();
    for place in places {
        let path = below(root, &place);
        let Some(target) = resolve(root, &path) else { continue };
        if let Some(known) = targets.iter().position(|known| *known == target) {
            files[first + known].0.places.push(place);
            continue;
        }
        // A link to /dev/null masks the files of its name.
        let is_device = target == Path::new("/dev/null");
        if !is_device && place == SYSCTL_CONF && !target.exists() {
            continue;
        }
        let text = if is_device { Vec::new() } else { content(&target)? };
        let name = path.display().to_string();
        let shipped = FOLDERS[2..].iter().any(|folder| place.starts_with(folder));
        let refused = shipped
            .then(|| "it belongs to a package: set the key in a file of /etc/sysctl.d instead".to_owned());
        targets.push(target.clone());
        let file = File { name: name.clone(), text: text.clone(), places: vec![place] };
        files.push((file, Source { name, text, target: Some(target), refused }));
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
