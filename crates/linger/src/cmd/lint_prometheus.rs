//! `linger lint --prometheus`: reads rule files and has them looked at.

use super::lint::files::open;
use anyhow::Context;
use linger_lint::Diagnostic;
use linger_lint::prometheus::{Options, lint};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// No rule file that is looked at is larger; one byte more tells that a file is.
const MOST_BYTES: u64 = (4 << 20) + 1;

/// A rule file and what is wrong with it.
pub struct RuleFile {
    /// The file, as it is named in the diagnostics.
    pub path: PathBuf,
    /// What is in it; of one that is too large only its beginning.
    pub content: Vec<u8>,
    /// In the order of its lines.
    pub diagnostics: Vec<Diagnostic>,
}

/// Looks at rule files, and at every `.yml` and `.yaml` of directories; `-` is standard input.
///
/// Fails if one of them cannot be read: half an answer reads as a healthy rest.
pub fn rule_files(paths: &[PathBuf], options: &Options) -> anyhow::Result<Vec<RuleFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let inside = in_directory(path)?;
            anyhow::ensure!(!inside.is_empty(), "{}: no .yml or .yaml file in it", path.display());
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    files.into_iter().map(|path| rule_file(path, options)).collect()
}

fn rule_file(path: PathBuf, options: &Options) -> anyhow::Result<RuleFile> {
    let name =
        if path == Path::new("-") { "(standard input)".to_owned() } else { path.display().to_string() };
    let mut content = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MOST_BYTES).read_to_end(&mut content)
    } else {
        open(&path)?.take(MOST_BYTES).read_to_end(&mut content)
    };
    read.with_context(|| format!("cannot read {name}"))?;
    let diagnostics = lint(&name, &content, options);
    Ok(RuleFile { path, content, diagnostics })
}

/// The rule files of a directory itself, by name.
fn in_directory(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let rules = path.extension().is_some_and(|e| e == "yml" || e == "yaml");
        if rules && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: node_netstat_Tcp_TimeWait > 1\n";
        for (name, text) in [("b.yaml", rules), ("a.yml", "groups: []\n"), ("c.txt", "- [")] {
            fs::write(directory.path().join(name), text).expect("written");
        }
        let files = rule_files(&[directory.path().to_owned()], &Options::default()).expect("readable");
        let codes: Vec<Vec<&str>> =
            files.iter().map(|f| f.diagnostics.iter().map(|d| d.code.as_str()).collect()).collect();
        assert_eq!(codes, [vec![], vec!["PR004"]]);
        assert!(files.iter().all(|f| f.path.starts_with(directory.path())));
        assert!(rule_files(&[directory.path().join("none")], &Options::default()).is_err());
        let empty = directory.path().join("empty");
        fs::create_dir(&empty).expect("made");
        assert!(rule_files(&[empty], &Options::default()).is_err());
    }
}
