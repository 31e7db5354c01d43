//! One file per code. A check is a pure function of the files and of what is known of the host.

mod comment_untrue;
mod containers_not_reached;
mod contradiction;
mod default_made_worse;
mod default_restated;
mod harmful;
mod harmful_in_role;
mod host_wide_in_container;
mod inline_comment;
mod loaders_differ;
mod module_too_late;
mod no_effect;
mod not_an_assignment;
mod not_in_force;
mod not_read_at_boot;
mod out_of_proportion;
mod refused_value;
mod removed_sysctl;
mod repeated;
#[cfg(test)]
mod testing;
mod trap_value;
mod undone_later;
mod unknown_sysctl;

use super::context::Context;
use super::defaults;
use super::effective::{At, Effective, File, Loader, order};
use super::key::Key;
use super::parse::{Document, Kind, Setting};
use super::value::{self, Shape};
use crate::{Diagnostic, Edit, Fix, Severity, Span};
use linger_facts::{Source, Sysctl, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Something that can be wrong with a file.
#[derive(Debug)]
pub struct Check {
    /// `SC001`: never changes its meaning, is never used again.
    pub code: &'static str,
    /// The fault's name.
    pub name: &'static str,
    /// The manual: the declaration's doc comment.
    pub doc: &'static str,
    /// The check.
    pub check: fn(&Cx<'_>, &mut Vec<Diagnostic>),
}

/// Every check, in the order of the codes.
pub static CHECKS: &[&Check] = &[
    &removed_sysctl::CHECK,
    &unknown_sysctl::CHECK,
    &no_effect::CHECK,
    &trap_value::CHECK,
    &refused_value::CHECK,
    &inline_comment::CHECK,
    &not_an_assignment::CHECK,
    &out_of_proportion::CHECK,
    &default_made_worse::CHECK,
    &contradiction::CHECK,
    &harmful_in_role::CHECK,
    &harmful::CHECK,
    &host_wide_in_container::CHECK,
    &containers_not_reached::CHECK,
    &comment_untrue::CHECK,
    &repeated::CHECK,
    &undone_later::CHECK,
    &not_read_at_boot::CHECK,
    &loaders_differ::CHECK,
    &not_in_force::CHECK,
    &default_restated::CHECK,
    &module_too_late::CHECK,
];

/// The check of a code (`SC001`, any case) or a name (`removed-sysctl`).
#[must_use]
pub fn check(code_or_name: &str) -> Option<&'static Check> {
    CHECKS.iter().copied().find(|c| c.code.eq_ignore_ascii_case(code_or_name) || c.name == code_or_name)
}

/// Declares a check; its doc comment is the manual.
macro_rules! declare_check {
    ($(#[doc = $doc:literal])+ $code:ident, $name:literal) => {
        $(#[doc = $doc])+
        pub(super) static CHECK: $crate::sysctl::Check = $crate::sysctl::Check {
            code: stringify!($code),
            name: $name,
            doc: concat!($($doc, "\n"),+),
            check,
        };
    };
}
use declare_check;

/// Runs every check.
pub(super) fn run(files: &[File], context: &Context) -> Vec<Diagnostic> {
    let cx = Cx::new(files, context);
    let mut found = Vec::new();
    for check in CHECKS {
        (check.check)(&cx, &mut found);
    }
    let rank: BTreeMap<&str, usize> =
        cx.files.iter().enumerate().map(|(index, file)| (file.name.as_str(), cx.rank(index))).collect();
    found.sort_by(|a, b| {
        let place =
            |d: &Diagnostic| (rank.get(d.file.as_str()).copied().unwrap_or(usize::MAX), d.line, d.column);
        place(a).cmp(&place(b)).then(b.severity.cmp(&a.severity)).then(a.code.cmp(&b.code))
    });
    found
}

/// What a check sees.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The files.
    pub files: &'a [File],
    /// The files, read.
    pub documents: Vec<Document>,
    /// The host.
    pub context: &'a Context,
    /// Files that are read, in order, by index; each once.
    pub read: Vec<usize>,
    /// Files that systemd-sysctl leaves out and procps reads.
    pub procps_only: Vec<usize>,
    /// What is left in the end. At boot systemd-sysctl decides, unless the host is known to do without.
    pub effective: Effective,
    undone: BTreeSet<At>,
    undoing: BTreeSet<At>,
}

/// A setting in its file.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Where.
    pub at: At,
    /// Its file.
    pub file: &'a File,
    /// What it says.
    pub setting: &'a Setting,
    /// What is known of the key.
    pub known: Option<&'static Sysctl>,
}

/// What a sysctl will be, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its numbers.
    pub ints: Vec<i64>,
    /// The line that sets it; `None` for what is running, or the default.
    pub line: Option<At>,
    /// In words: `set here`, `running`, `the default`.
    pub how: &'static str,
}

impl Known {
    /// The first number.
    pub fn int(&self) -> Option<i64> {
        self.ints.first().copied()
    }
}

impl<'a> Cx<'a> {
    fn new(files: &'a [File], context: &'a Context) -> Cx<'a> {
        let documents: Vec<Document> = files.iter().map(|file| Document::parse(&file.text)).collect();
        let boot = context.boot.unwrap_or(Loader::Systemd);
        let (readings, _) = order(files, boot);
        let effective = Effective::of(&readings, &documents);
        let indices = |loader| {
            let mut seen = BTreeSet::new();
            let (readings, _) = order(files, loader);
            readings.into_iter().map(|r| r.file).filter(|f| seen.insert(*f)).collect::<Vec<usize>>()
        };
        let (systemd, mut read) = (indices(Loader::Systemd), indices(Loader::Procps));
        let procps_only = read.iter().copied().filter(|file| !systemd.contains(file)).collect();
        if boot == Loader::Systemd {
            // What is read at boot comes first, in its order.
            let rest: Vec<usize> = read.iter().copied().filter(|file| !systemd.contains(file)).collect();
            read = systemd.into_iter().chain(rest).collect();
        }
        let (undone, undoing) = effective.undone.iter().copied().unzip();
        Cx { files, documents, context, read, procps_only, effective, undone, undoing }
    }

    fn rank(&self, file: usize) -> usize {
        self.read.iter().position(|read| *read == file).unwrap_or(usize::MAX)
    }

    /// Every setting of the files that are read, in order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.read.iter().flat_map(move |file| {
            self.documents[*file]
                .settings()
                .map(move |(line, setting)| self.line_of(At { file: *file, line }, setting))
        })
    }

    fn line_of<'b>(&'b self, at: At, setting: &'b Setting) -> Line<'b> {
        Line { at, file: &self.files[at.file], setting, known: known(&setting.key) }
    }

    /// Those of them that decide: no later line undoes them.
    pub fn deciding(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines().filter(|line| !self.is_undone(line.at))
    }

    /// Those that decide, are known and exist on this kernel, with the numbers that the kernel takes from them.
    pub fn numbers(&self) -> impl Iterator<Item = (Line<'_>, &'static Sysctl, Vec<i64>)> {
        self.deciding().filter_map(|line| {
            let known = line.known.filter(|known| self.may_exist(known, &line.setting.key))?;
            let Shape::Ints(count) = Shape::of(known) else { return None };
            Some((line, known, value::ints(&line.setting.value, count).ok()?))
        })
    }

    /// Whether a later line undoes this one.
    pub fn is_undone(&self, at: At) -> bool {
        self.undone.contains(&at)
    }

    /// Whether this line undoes an earlier one.
    pub fn undoes(&self, at: At) -> bool {
        self.undoing.contains(&at)
    }

    /// The setting at a place.
    pub fn setting(&self, at: At) -> Option<Line<'_>> {
        match &self.documents.get(at.file)?.lines.get(at.line)?.kind {
            Kind::Setting(setting) => Some(self.line_of(at, setting)),
            _ => None,
        }
    }

    /// Whether the kernel may have the setting: the host says so, or its version does, or nothing is known.
    pub fn may_exist(&self, sysctl: &Sysctl, key: &Key) -> bool {
        match (&self.context.live, self.context.kernel) {
            (Some(live), _) if live.values.contains_key(key) => true,
            (Some(live), _) if live.absent.contains(key) => false,
            (_, Some(version)) => sysctl.exists_in(version),
            (_, None) => true,
        }
    }

    /// What a sysctl will be: as the files have it, else as it is running, else its default.
    pub fn value(&self, key: &str) -> Option<Known> {
        let sysctl = linger_facts::sysctls().find(|s| s.key == key)?;
        let Shape::Ints(count) = Shape::of(sysctl) else { return None };
        let path = Key::new(key);
        if let Some(at) = self.effective.line_of(&path, &self.documents)
            && let Some(line) = self.setting(at)
            && let Ok(ints) = value::ints(&line.setting.value, count)
        {
            return Some(Known { ints, line: Some(at), how: "as set here" });
        }
        let running = self.context.live.as_ref().and_then(|live| live.values.get(&path));
        if let Some(ints) = running.and_then(|text| value::ints(text, count).ok()) {
            return Some(Known { ints, line: None, how: "as it is running" });
        }
        let ints = defaults::ints(sysctl, self.context.kernel?, self.context.ram_bytes)?;
        Some(Known { ints, line: None, how: "by default" })
    }

    /// The default's numbers on this kernel.
    pub fn default(&self, sysctl: &Sysctl) -> Option<Vec<i64>> {
        defaults::ints(sysctl, self.context.kernel?, self.context.ram_bytes)
    }

    /// Whether the kernel is of this version or a later one; not so where it is not known.
    pub fn at_least(&self, major: u16, minor: u16) -> bool {
        self.context.kernel.is_some_and(|version| version >= Version::new(major, minor))
    }

    /// The comment above a line, without a blank line between, and its place: of its last line.
    pub fn comment_above(&self, at: At) -> Option<(String, Span)> {
        let document = &self.documents[at.file];
        let text = &self.files[at.file].text;
        let mut lines = Vec::new();
        let mut last = None;
        for line in document.lines[..at.line].iter().rev() {
            let Kind::Comment(span) = line.kind else { break };
            last = last.or(Some(span));
            let comment = String::from_utf8_lossy(&text[span.start..span.end]).into_owned();
            lines.push(comment.trim_start_matches(['#', ';', ' ', '\t']).to_owned());
        }
        lines.reverse();
        Some((lines.join(" "), last?))
    }

    /// `FILE:LINE`.
    pub fn place(&self, at: At) -> String {
        format!("{}:{}", self.files[at.file].name, at.line + 1)
    }
}

/// What facts says of a key that is written in full.
fn known(key: &Key) -> Option<&'static Sysctl> {
    let dotted = match key.dotted() {
        // The kernel shows this one under two names.
        alias if alias == "net.nf_conntrack_max" => "net.netfilter.nf_conntrack_max".to_owned(),
        dotted => dotted,
    };
    linger_facts::sysctls().find(|sysctl| sysctl.key == dotted)
}

impl Line<'_> {
    /// A diagnostic about the value; about the key where there is no value.
    pub fn value(
        &self,
        check: &Check,
        severity: Severity,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        let span = self.setting.value_span;
        let span = if span.start == span.end { self.setting.key_span } else { span };
        self.spanned(check, severity, span, message, why)
    }

    /// A diagnostic about the key.
    pub fn key(
        &self,
        check: &Check,
        severity: Severity,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        self.spanned(check, severity, self.setting.key_span, message, why)
    }

    fn spanned(
        &self,
        check: &Check,
        severity: Severity,
        span: Span,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        let place = (self.at.line, span);
        Diagnostic::in_line(check.code, severity, &self.file.name, &self.file.text, place, message, why)
            .key(self.setting.key.dotted())
            .source(self.known.map_or_else(String::new, |sysctl| sources(sysctl.sources)))
    }

    /// A fix that makes the line a comment which says why.
    pub fn comment_out(&self, check: &Check, why: &str) -> Fix {
        let start = self.setting.dash.map_or(self.setting.key_span.start, |dash| dash.start);
        let replacement = format!("# {} {why}: ", check.code);
        Fix {
            description: format!("make the line a comment: {why}"),
            edits: vec![Edit { start, end: start, replacement }],
        }
    }

    /// A fix that puts other numbers in the place of the first ones; what follows them may be a comment, and stays.
    pub fn set(&self, value: &str) -> Fix {
        let mut span = self.setting.value_span;
        let written = &self.file.text[span.start..span.end];
        let mut words = value.split_ascii_whitespace().count();
        let end = written.iter().enumerate().position(|(at, byte)| {
            let ends = byte.is_ascii_whitespace() && !written[at - 1].is_ascii_whitespace();
            words -= usize::from(ends);
            words == 0
        });
        span.end = end.map_or(span.end, |end| span.start + end);
        Fix {
            description: format!("set it to {value}"),
            edits: vec![Edit { start: span.start, end: span.end, replacement: value.to_owned() }],
        }
    }

    /// The key's last part.
    pub fn short(&self) -> String {
        self.setting.key.path().rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// The places where something can be read, in one text.
fn sources(sources: &[Source]) -> String {
    sources.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The mark that some editors put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A fix that takes the byte-order mark from the beginning of a file.
fn without_mark() -> Fix {
    Fix {
        description: "take the byte-order mark out".to_owned(),
        edits: vec![Edit { start: 0, end: BYTE_ORDER_MARK.len_utf8(), replacement: String::new() }],
    }
}

/// A character that nobody sees, as they come with text that was copied from a page: `U+00A0`.
fn unseen(text: &str) -> Option<String> {
    let hidden = |c: &char| {
        !c.is_ascii() && c.is_whitespace()
            || c.is_control() && !c.is_ascii_whitespace() && *c != '\x0b'
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || *c == BYTE_ORDER_MARK
    };
    text.chars().find(hidden).map(|c| format!("U+{:04X}", u32::from(c)))
}

/// `16777216` as `16 MiB`, where it is a round number of units or large.
fn bytes(number: u64) -> String {
    let units = [("GiB", 30_u32), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        let size = 1_u64 << shift;
        if number >= size && number.is_multiple_of(size) {
            return format!("{} {unit}", number >> shift);
        }
        if number >= size * 10 || (number >= size && shift == 30) {
            return format!("{:.1} {unit}", number as f64 / size as f64);
        }
    }
    format!("{number} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_code_a_name_and_a_complete_manual() {
        for (index, check) in CHECKS.iter().enumerate() {
            assert_eq!(check.code, format!("SC{:03}", index + 1));
            for part in ["# What it detects", "# Why it matters", "# Fix", "# Fix safety", "# Sources"] {
                let heading = format!(" {part}\n");
                let (_, text) =
                    check.doc.split_once(&heading).unwrap_or_else(|| panic!("{}: {part}", check.code));
                let text = text.split("\n #").next().unwrap_or_default();
                assert!(text.trim().len() > 20, "{}: {part} says nothing", check.code);
            }
        }
        assert_eq!(check("sc001").map(|c| c.name), Some("removed-sysctl"));
        assert_eq!(check("repeated").map(|c| c.code), Some("SC016"));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            (bytes(16 << 20), bytes(87_380), bytes(3 << 30), bytes(5)),
            ("16 MiB".into(), "85.3 KiB".into(), "3 GiB".into(), "5 bytes".into())
        );
    }
}
