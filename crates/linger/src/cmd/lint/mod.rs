//! `linger lint`

pub(super) mod files;
mod here;
mod rewrite;
pub mod sarif;

use super::lint_prometheus;
use crate::cli::{LintArgs, LintFormat};
use crate::render;
use crate::render::style::Style;
use linger_facts::Version;
use linger_lint::sysctl::effective::order;
use linger_lint::sysctl::{self, Context, File, Loader};
use linger_lint::{Diagnostic, Severity, apply, prometheus};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, Write};

/// What is wrong with files.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LintReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel that the files are judged for, `6.18`; null for Prometheus rules.
    pub kernel: Option<String>,
    /// The memory that they are judged for, in bytes; null where it is not known, and what depends on it was left out.
    pub ram_bytes: Option<u64>,
    /// The role that they are judged for.
    pub role: Option<String>,
    /// Whether running values were compared.
    pub live: bool,
    /// The files.
    pub files: Vec<LintedFile>,
    /// What is wrong, file by file in the order in which they are read.
    pub diagnostics: Vec<Diagnostic>,
    /// What --fix changed, or --diff would change; absent without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// What could not be read: files of folders, things of the running host.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// A file that was looked at.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LintedFile {
    /// The file, as it is named in the diagnostics.
    pub file: String,
    /// Another file of the same name that is read instead of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_by: Option<String>,
}

/// What fixes change in a file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Change {
    /// The file.
    pub file: String,
    /// Where the old content is kept; null where nothing was written.
    pub backup: Option<String>,
    /// Why nothing was written, where it should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The change, as `diff -u` shows it; bytes that are no UTF-8 are replaced.
    pub diff: String,
    /// The codes that were mended, each with its line before the change.
    pub mended: Vec<Mended>,
    /// The new text.
    #[serde(skip)]
    #[schemars(skip)]
    pub text: Vec<u8>,
}

/// A fault that a fix mends.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Mended {
    /// The code.
    pub code: String,
    /// The line, from 1; in a text that earlier fixes may have changed.
    pub line: u32,
    /// What the fix does.
    pub fix: String,
}

/// Something to look at, and how its name was given.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name in diagnostics.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
    /// Where to write; `None` for standard input.
    pub target: Option<std::path::PathBuf>,
    /// Why it must not be rewritten, if so.
    pub refused: Option<String>,
}

impl Source {
    /// Why it is not rewritten, if it is not.
    fn why_not(&self) -> Option<String> {
        let stdin = || "standard input cannot be rewritten".to_owned();
        self.refused.clone().or_else(|| self.target.is_none().then(stdin))
    }
}

/// A text's lines, found once.
pub struct Lines<'a> {
    text: &'a [u8],
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Of a text.
    pub fn of(text: &'a [u8]) -> Lines<'a> {
        let newlines = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    /// Of every source, by its name.
    pub fn of_all(sources: &'a [Source]) -> HashMap<&'a str, Lines<'a>> {
        sources.iter().map(|source| (source.name.as_str(), Lines::of(&source.text))).collect()
    }

    /// A line, from 1, without its newline.
    pub fn line(&self, number: u32) -> &'a [u8] {
        let index = number.saturating_sub(1) as usize;
        let Some(start) = self.starts.get(index) else { return &[] };
        let end = self.starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
        &self.text[*start..end]
    }

    /// The line of an offset, from 1, and what stands before the offset in it.
    pub fn before(&self, offset: usize) -> (usize, &'a [u8]) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        (line, &self.text[self.starts[line - 1]..offset])
    }
}

/// What was found, with the texts that it is about.
struct Outcome {
    report: LintReport,
    sources: Vec<Source>,
    /// Whether a file could not be read, or not be rewritten.
    incomplete: bool,
}

/// Reads, looks, mends, prints.
pub fn run(args: &LintArgs, style: &Style) -> anyhow::Result<u8> {
    let Outcome { report, sources, incomplete } =
        if args.prometheus { rules(args)? } else { settings(args)? };
    let mut out = io::stdout().lock();
    match args.format {
        LintFormat::Text => out.write_all(render::lint::text(&report, &sources, args, style).as_bytes())?,
        LintFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        LintFormat::Sarif => {
            serde_json::to_writer_pretty(&mut out, &sarif::log(&report, &sources, incomplete))
                .map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(if incomplete { NOT_KNOWN } else { status(&report) })
}

/// The exit status where a file could not be read: unknown is not healthy.
const NOT_KNOWN: u8 = 3;

fn status(report: &LintReport) -> u8 {
    match report.diagnostics.iter().map(|d| d.severity).max() {
        Some(Severity::Critical) => 2,
        Some(Severity::Warning) => 1,
        Some(Severity::Info) | None => 0,
    }
}

/// Puts a change in its file's place. Whether that failed; a file that is not to be rewritten did not fail.
fn write(change: &mut Change, source: &mut Source) -> bool {
    change.refused = source.why_not();
    let (None, Some(target)) = (&change.refused, &source.target) else { return false };
    match rewrite::replace(target, &source.text, &change.text) {
        Ok(backup) => {
            change.backup = Some(backup.display().to_string());
            // What is left to say is said of the new text.
            source.text.clone_from(&change.text);
            false
        }
        Err(error) => {
            change.refused = Some(format!("{error:#}"));
            true
        }
    }
}

/// `linger lint --prometheus`
fn rules(args: &LintArgs) -> anyhow::Result<Outcome> {
    let options = prometheus::Options { scrape_interval: args.scrape_interval };
    let files = lint_prometheus::rule_files(&args.paths, &options)?;
    let mut report = LintReport {
        schema: 1,
        kernel: None,
        ram_bytes: None,
        role: None,
        live: false,
        files: Vec::new(),
        diagnostics: Vec::new(),
        changes: (args.fix || args.diff).then(Vec::new),
        gaps: Vec::new(),
    };
    let mut sources = Vec::new();
    let mut incomplete = false;
    for file in files {
        let stdin = file.path.as_os_str() == "-";
        let name = if stdin { "(standard input)".to_owned() } else { file.path.display().to_string() };
        let mut source = Source {
            name: name.clone(),
            text: file.content,
            target: (!stdin).then_some(file.path),
            refused: None,
        };
        let mut left = file.diagnostics;
        if let Some(changes) = &mut report.changes {
            let (text, before) = fixed_rules(args, &source);
            if text != source.text {
                let mut change = change(&source, &text, &before);
                if args.fix {
                    incomplete |= write(&mut change, &mut source);
                    // What --fix mends is no longer wrong.
                    left = prometheus::lint(&name, &source.text, &options);
                }
                changes.push(change);
            }
        }
        report.diagnostics.extend(left);
        report.files.push(LintedFile { file: name, masked_by: None });
        sources.push(source);
    }
    Ok(Outcome { report, sources, incomplete })
}

/// A rule file as its fixes leave it, and what they mend.
fn fixed_rules(args: &LintArgs, source: &Source) -> (Vec<u8>, Vec<Diagnostic>) {
    const ROUNDS: usize = 32;
    let options = prometheus::Options { scrape_interval: args.scrape_interval };
    let mut text = source.text.clone();
    let mut mended = Vec::new();
    for _ in 0..ROUNDS {
        let found = prometheus::lint(&source.name, &text, &options);
        let with_fix: Vec<&Diagnostic> = found.iter().filter(|d| d.fix.is_some()).collect();
        let (next, left_out) = apply(&text, &with_fix);
        if next == text {
            break;
        }
        let done = with_fix.iter().filter(|d| !left_out.iter().any(|l| l.code == d.code && l.line == d.line));
        mended.extend(done.map(|d| (*d).clone()));
        text = next;
    }
    (text, mended)
}

fn change(source: &Source, text: &[u8], mended: &[Diagnostic]) -> Change {
    Change {
        file: source.name.clone(),
        backup: None,
        refused: None,
        diff: rewrite::diff(&source.name, &source.text, text),
        text: text.to_vec(),
        mended: mended
            .iter()
            .map(|d| Mended {
                code: d.code.clone(),
                line: d.line,
                fix: d.fix.as_ref().map_or_else(String::new, |fix| fix.description.clone()),
            })
            .collect(),
    }
}

/// The files with where to write them, what is known of the host, and what could not be read of it.
type Settings = (files::Found, Context, Vec<String>);

fn read_settings(args: &LintArgs) -> anyhow::Result<Settings> {
    let here = args.paths.is_empty();
    let files = files::read(&args.paths)?;
    let live = args.live || here;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut context = Context {
        kernel: args.kernel.or_else(|| Version::parse(&release)),
        ram_bytes: args.ram,
        role: args.role,
        in_container: None,
        boot: None,
        live: None,
    };
    let mut gaps = Vec::new();
    if here {
        context.boot = Some(here::boot());
    }
    if live {
        context.ram_bytes = context.ram_bytes.or_else(|| Some(here::ram_bytes()));
        let plain: Vec<&File> = files.files.iter().map(|(file, _)| file).collect();
        let found = here::look(&plain, &mut gaps)?;
        context.in_container = found.in_container;
        context.live = Some(found.live);
    }
    Ok((files, context, gaps))
}

fn settings(args: &LintArgs) -> anyhow::Result<Outcome> {
    let (read, context, mut gaps) = read_settings(args)?;
    let mut incomplete = !read.unread.is_empty();
    gaps.extend(read.unread.into_iter().chain(read.passed_over));
    let (mut files, mut sources): (Vec<File>, Vec<Source>) = read.files.into_iter().unzip();
    let mut diagnostics = sysctl::lint(&files, &context);
    let mut changes = None;
    if args.fix || args.diff {
        let fixed = sysctl::fix(&files, &context);
        let mut made: Vec<Change> =
            fixed.iter().map(|f| change(&sources[f.file], &f.text, &f.mended)).collect();
        if args.fix {
            for (change, of) in made.iter_mut().zip(&fixed) {
                incomplete |= write(change, &mut sources[of.file]);
                files[of.file].text.clone_from(&sources[of.file].text);
            }
            diagnostics = sysctl::lint(&files, &context);
        }
        changes = Some(made);
    }
    let (_, masked) = order(&files, context.boot.unwrap_or(Loader::Systemd));
    let report = LintReport {
        schema: 1,
        kernel: context.kernel.map(|kernel| kernel.to_string()),
        ram_bytes: context.ram_bytes,
        role: context.role.map(|role| role.to_string()),
        live: context.live.is_some(),
        files: files
            .iter()
            .enumerate()
            .map(|(index, file)| LintedFile {
                file: file.name.clone(),
                masked_by: masked
                    .iter()
                    .find(|it| it.file == index && file.places.len() == 1)
                    .map(|it| it.by.clone()),
            })
            .collect(),
        diagnostics,
        changes,
        gaps,
    };
    Ok(Outcome { report, sources, incomplete })
}
