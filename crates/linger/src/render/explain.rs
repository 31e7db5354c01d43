//! `linger explain` for a person: a page for each thing, as text or as Markdown.

use super::style::{Style, Tone};
use super::{clean, figure};
use crate::cmd::explain::{
    BeliefEntry, CounterEntry, Entry, ErrnoEntry, Existence, Explained, Kind, Other, RecipeEntry, RuleEntry,
    ScopeEntry, StateEntry, SysctlEntry, TopicEntry,
};
use std::borrow::Cow;
use std::fmt::Write;

/// A part of a page. Texts may have `code` in backticks.
#[derive(Debug, Clone)]
enum Block {
    Heading(Cow<'static, str>),
    Para(String),
    /// Something to know before the rest is read.
    Notice(String),
    List {
        numbered: bool,
        items: Vec<String>,
    },
    /// Labels and short texts.
    Fields(Vec<(&'static str, String)>),
    /// Several numbered things of the same make: a heading, a text, an example, labelled texts.
    Case {
        head: String,
        text: String,
        example: Option<String>,
        fields: Vec<(&'static str, String)>,
    },
    Code(String),
    /// The last column is wrapped.
    Table {
        columns: Vec<&'static str>,
        rows: Vec<Vec<String>>,
    },
}

/// What is shown of one thing.
#[derive(Debug, Clone)]
struct Page {
    title: String,
    kind: &'static str,
    blocks: Vec<Block>,
    /// Whether the texts are Markdown already.
    is_markdown: bool,
}

/// Pages, one after the other, for a terminal.
pub fn text(explained: &[Explained], style: &Style) -> String {
    let pages: Vec<String> = explained.iter().map(|e| page(e).text(style)).collect();
    let line = style.paint(Tone::Faint, &"─".repeat(style.prose()));
    pages.join(&format!("\n{line}\n\n"))
}

/// Pages, one after the other, as Markdown.
pub fn markdown(explained: &[Explained]) -> String {
    let pages: Vec<String> = explained.iter().map(|e| page(e).markdown(1)).collect();
    pages.join("\n")
}

/// The rules' manuals as one Markdown document.
pub fn book(explained: &[Explained]) -> String {
    let rules: Vec<&RuleEntry> = explained
        .iter()
        .filter_map(|e| if let Entry::Rule(rule) = &e.entry { Some(rule) } else { None })
        .collect();
    let mut out = String::from(
        "<!-- Made by `linger explain --all --format markdown`. Do not edit. -->\n\n# The rules\n\n\
         The faults that `linger check` looks for. A code never changes its meaning. Each threshold can be set in the\n\
         configuration file; `linger config` prints one with every default.\n\n\
         | code | name | what it detects |\n| --- | --- | --- |\n",
    );
    for rule in &rules {
        let anchor = format!("{}-{}", rule.code.to_lowercase(), rule.name);
        let _ = writeln!(out, "| [{}](#{anchor}) | {} | {} |", rule.code, rule.name, cell(&rule.summary));
    }
    for explained in explained {
        out.push('\n');
        out.push_str(&page(explained).markdown(2));
    }
    out
}

/// Everything that can be explained, in columns.
pub fn list_text(list: &[Other], style: &Style) -> String {
    let mut out = String::new();
    for (kind, others) in by_kind(list) {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", style.paint(Tone::Strong, kind.plural()));
        let names: Vec<String> = others.iter().map(listed).collect();
        columns(&mut out, &names, style.width);
    }
    let hint = "\nlinger explain NAME explains one.\n";
    out.push_str(&style.paint(Tone::Faint, hint));
    out
}

/// Everything that can be explained, as Markdown.
pub fn list_markdown(list: &[Other]) -> String {
    let mut out = String::from("# What `linger explain` explains\n");
    for (kind, others) in by_kind(list) {
        let _ = writeln!(out, "\n## {}\n", kind.plural());
        for other in others {
            let rule = linger_rules::rule(&other.name).filter(|_| kind == Kind::Rule);
            let name = rule.map_or_else(String::new, |rule| format!(" {}", rule.name));
            let _ = writeln!(out, "- `{}`{name}: {}", other.name, escape(&other.summary));
        }
    }
    out
}

fn by_kind(list: &[Other]) -> impl Iterator<Item = (Kind, &[Other])> {
    list.chunk_by(|a, b| a.kind == b.kind).filter_map(|chunk| Some((chunk.first()?.kind, chunk)))
}

/// A name in the list; a code says nothing without its rule's name.
fn listed(other: &Other) -> String {
    let lint = || linger_lint::sysctl::check(&other.name).map(|check| check.name);
    let name = match other.kind {
        Kind::Rule => linger_rules::rule(&other.name).map(|rule| rule.name),
        Kind::Lint => lint().or_else(|| linger_lint::prometheus::find(&other.name).map(|lint| lint.name)),
        _ => None,
    };
    match name {
        Some(name) => format!("{} {name}", other.name),
        None => other.name.clone(),
    }
}

/// Names in as many columns as fit, read downwards.
fn columns(out: &mut String, names: &[String], width: usize) {
    const GAP: usize = 2;
    let length = |name: &String| name.chars().count();
    let usable = width.saturating_sub(2);
    let fits = |rows: usize| {
        let widths: usize = names.chunks(rows).map(|c| c.iter().map(length).max().unwrap_or(0) + GAP).sum();
        widths.saturating_sub(GAP) <= usable
    };
    let rows = (1..names.len()).find(|rows| fits(*rows)).unwrap_or(names.len()).max(1);
    let chunks: Vec<&[String]> = names.chunks(rows).collect();
    for row in 0..rows {
        let mut line = String::from("  ");
        for chunk in &chunks {
            let width = chunk.iter().map(length).max().unwrap_or(0) + GAP;
            let name = chunk.get(row).map_or("", String::as_str);
            let _ = write!(line, "{name:<width$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

// What a page says.

fn page(explained: &Explained) -> Page {
    let mut page = match &explained.entry {
        Entry::Rule(rule) => rule_page(rule),
        Entry::State(state) => state_page(state),
        Entry::Sysctl(sysctl) => sysctl_page(sysctl),
        Entry::Counter(counter) => counter_page(counter),
        Entry::Errno(errno) => errno_page(errno),
        Entry::Topic(topic) => topic_page(topic),
        Entry::Recipe(recipe) => recipe_page(recipe),
        Entry::Lint(lint) => {
            let mut page = Page::new(format!("{} {}", lint.code, lint.name), Kind::Lint);
            page.is_markdown = true;
            page.blocks.extend(manual(&lint.manual));
            page
        }
    };
    if !explained.also.is_empty() {
        page.heading("The same name also means");
        page.list(explained.also.iter().map(|o| format!("`{}` ({}): {}", o.name, o.kind.word(), o.summary)));
    }
    page
}

impl Page {
    fn new(title: impl Into<String>, kind: Kind) -> Page {
        Page { title: title.into(), kind: kind.word(), blocks: Vec::new(), is_markdown: false }
    }

    fn heading(&mut self, text: &'static str) {
        self.blocks.push(Block::Heading(text.into()));
    }

    fn para(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Para(text.into()));
    }

    fn list(&mut self, items: impl IntoIterator<Item = String>) {
        self.blocks.push(Block::List { numbered: false, items: items.into_iter().collect() });
    }

    fn section(&mut self, heading: &'static str, items: &[&'static str]) {
        if !items.is_empty() {
            self.heading(heading);
            self.list(items.iter().map(|i| (*i).to_owned()));
        }
    }

    fn beliefs(&mut self, beliefs: &[BeliefEntry]) {
        if beliefs.is_empty() {
            return;
        }
        self.heading("Wrong beliefs");
        for belief in beliefs {
            self.blocks.push(Block::Case {
                head: format!("“{}”", belief.claim),
                text: belief.truth.to_owned(),
                example: None,
                fields: Vec::new(),
            });
        }
    }

    /// Rules with their names, the rest in a line.
    fn see(&mut self, see: &[&'static str]) {
        let rules: Vec<String> = see
            .iter()
            .filter_map(|s| linger_rules::rule(s))
            .map(|rule| format!("{}{NBSP}{}", rule.code, rule.name))
            .collect();
        let others: Vec<&str> = see.iter().copied().filter(|s| linger_rules::rule(s).is_none()).collect();
        if see.is_empty() {
            return;
        }
        self.heading("See also");
        let mut fields = Vec::new();
        if !rules.is_empty() {
            fields.push(("rules", rules.join(", ")));
        }
        if !others.is_empty() {
            fields.push(("terms", others.join(", ")));
        }
        self.blocks.push(Block::Fields(fields));
    }
}

fn rule_page(rule: &RuleEntry) -> Page {
    let mut page = Page::new(format!("{} {}", rule.code, rule.name), Kind::Rule);
    page.is_markdown = true;
    let whose = match rule.scope {
        "host" => "the whole host",
        _ => "each network namespace",
    };
    page.blocks.push(Block::Fields(vec![("scope", whose.to_owned())]));
    page.blocks.extend(manual(&rule.manual));
    if !rule.thresholds.is_empty() {
        page.heading("Thresholds");
        page.blocks.push(Block::Table {
            columns: vec!["KEY", "DEFAULT", "UNIT", "MEANING"],
            rows: rule
                .thresholds
                .iter()
                .map(|t| {
                    vec![t.key.to_owned(), t.default.to_string(), t.unit.to_owned(), t.meaning.to_owned()]
                })
                .collect(),
        });
    }
    page
}

fn state_page(state: &StateEntry) -> Page {
    let mut page = Page::new(state.display, Kind::State);
    page.para(state.meaning);
    page.blocks.push(Block::Fields(vec![
        ("who", state.who.to_owned()),
        ("normal", state.normal.to_owned()),
        ("ends", state.ends.to_owned()),
        ("costs", state.cost.to_owned()),
    ]));
    page.beliefs(&state.beliefs);
    page.see(state.see);
    page.section("Sources", &state.sources);
    page
}

/// Units that are no quantities: a value says nothing more with them.
const WORDLESS: &[&str] = &["", "bool", "mode", "name", "bit mask", "port", "port port", "port list"];

fn sysctl_page(sysctl: &SysctlEntry) -> Page {
    let mut page = Page::new(sysctl.name, Kind::Sysctl);
    let here = &sysctl.existence;
    if let Some(notice) = absence(here, sysctl.now.value.is_some()) {
        page.blocks.push(Block::Notice(notice));
    }
    page.para(sysctl.summary);

    let mut fields = vec![("now", sysctl_now(sysctl))];
    if sysctl.defaults.len() == 1 && sysctl.is_default != Some(true) {
        fields
            .extend(sysctl.defaults.iter().filter(|d| d.is != "absent").map(|d| ("default", d.text.clone())));
    }
    if !WORDLESS.contains(&sysctl.unit) {
        fields.push(("unit", sysctl.unit.to_owned()));
    }
    fields.extend(sysctl.range.clone().map(|range| ("range", range)));
    fields.push(("scope", scope(&sysctl.scope)));
    fields.extend(life(here).map(|life| ("exists", life)));
    fields.push(("file", sysctl.path.clone()));
    fields.retain(|(_, text)| !text.is_empty());
    page.blocks.push(Block::Fields(fields));

    if !sysctl.values.is_empty() {
        let rows = sysctl.values.iter().map(|v| {
            let now = if sysctl.now.value.as_deref() == Some(v.value) { "now" } else { "" };
            vec![v.value.to_owned(), now.to_owned(), v.meaning.to_owned()]
        });
        page.blocks.push(Block::Table { columns: vec!["VALUE", "", "MEANING"], rows: rows.collect() });
    }
    page.heading("What it really does");
    page.para(sysctl.meaning);
    if sysctl.defaults.len() > 1 {
        page.heading("Defaults");
        let rows = sysctl
            .defaults
            .iter()
            .map(|d| vec![d.since.clone(), if d.here { "here" } else { "" }.to_owned(), d.text.clone()]);
        page.blocks.push(Block::Table { columns: vec!["SINCE", "", "DEFAULT"], rows: rows.collect() });
    }
    page.beliefs(&sysctl.beliefs);
    page.see(sysctl.see);
    page.section("Sources", &sysctl.sources);
    page
}

/// `now 2 (the default)`, `now 1, default 2 since 4.18`.
fn sysctl_now(sysctl: &SysctlEntry) -> String {
    let Some(value) = &sysctl.now.value else {
        if sysctl.now.missing && !sysctl.existence.in_mainline {
            return "not there".to_owned();
        }
        let why = sysctl.now.unreadable.as_deref().unwrap_or("it was not read");
        let child = sysctl.now.missing && sysctl.scope.scope == "host";
        let child = if child { " (host-wide settings are often not shown in other namespaces)" } else { "" };
        let what = if sysctl.now.missing { "not here" } else { "not known" };
        return clean(&format!("{what}: {why}{child}"));
    };
    let value = if value.is_empty() { "empty".to_owned() } else { clean(value) };
    let unit = if WORDLESS.contains(&sysctl.unit) { "" } else { sysctl.unit };
    let value = format!("{value} {unit}").trim_end().to_owned();
    let since = |d: &crate::cmd::explain::DefaultEntry| {
        // A default that never changed has no date.
        if sysctl.defaults.first().is_some_and(|first| first.since == d.since) {
            String::new()
        } else {
            format!(" since {}", d.since)
        }
    };
    match (&sysctl.default, sysctl.is_default) {
        (Some(d), Some(true)) => format!("{value} (the default{})", since(d)),
        (Some(d), Some(false)) => format!("{value}, default {}{}", d.text, since(d)),
        (Some(_), None) if sysctl.defaults.len() > 1 => {
            format!("{value} (the default is computed, see below)")
        }
        _ => value,
    }
}

fn counter_page(counter: &CounterEntry) -> Page {
    let mut page = Page::new(counter.name, Kind::Counter);
    let here = &counter.existence;
    let present = counter.now.as_ref().map(|now| now.value.is_some());
    if let Some(notice) = absence(here, present.unwrap_or(here.in_mainline)) {
        page.blocks.push(Block::Notice(notice));
    }
    page.para(counter.summary);
    let mut fields = Vec::new();
    if let Some(now) = &counter.now {
        let text = match (now.value, &now.unreadable) {
            (Some(value), _) => figure(value as f64, ""),
            (None, _) if now.missing && !here.in_mainline => "not there".to_owned(),
            (None, why) => format!("not known: {}", clean(why.as_deref().unwrap_or("it was not read"))),
        };
        fields.push(("now", text));
    }
    fields.push(("file", counter.file.to_owned()));
    fields.push(("scope", scope(&counter.scope)));
    fields.extend(life(here).map(|life| ("exists", life)));
    page.blocks.push(Block::Fields(fields));
    page.heading("When it moves, and what that tells");
    page.para(counter.meaning);
    if !counter.changes.is_empty() {
        page.heading("Changes");
        let rows = counter.changes.iter().map(|c| {
            vec![c.since.clone(), if c.here { "here" } else { "" }.to_owned(), c.meaning.to_owned()]
        });
        page.blocks.push(Block::Table { columns: vec!["SINCE", "", "CHANGE"], rows: rows.collect() });
    }
    page.beliefs(&counter.beliefs);
    page.see(counter.see);
    page.section("Sources", &counter.sources);
    page
}

fn errno_page(errno: &ErrnoEntry) -> Page {
    let mut page = Page::new(errno.name, Kind::Errno);
    page.para(format!("“{}”, number {} on x86-64 and arm64.", errno.message, errno.number));
    page.heading("Causes, the most frequent first");
    for (i, cause) in errno.causes.iter().enumerate() {
        page.blocks.push(Block::Case {
            head: format!("{}. {}", i + 1, cause.call),
            text: cause.cause.to_owned(),
            example: None,
            fields: vec![("tell by", cause.how_to_tell.to_owned()), ("remedy", cause.remedy.to_owned())],
        });
    }
    page.heading("How to tell them apart");
    page.para(errno.tell_apart);
    page.see(errno.see);
    page.section("Sources", errno.sources);
    page
}

fn topic_page(topic: &TopicEntry) -> Page {
    let mut page = Page::new(topic.title, Kind::Topic);
    page.blocks.extend(topic.text.iter().map(|text| Block::Para((*text).to_owned())));
    page.section("Can", topic.can);
    page.section("Cannot", topic.cannot);
    page.see(topic.see);
    page.section("Sources", topic.sources);
    page
}

fn recipe_page(recipe: &RecipeEntry) -> Page {
    let mut page = Page::new(recipe.title, Kind::Recipe);
    if !recipe.recognised_by.is_empty() {
        page.blocks.push(Block::Fields(vec![("known by", recipe.recognised_by.join(", "))]));
    }
    for remedy in &recipe.remedies {
        page.heading(remedy.title);
        for step in &remedy.steps {
            let mut fields = Vec::new();
            fields.extend(step.since.map(|since| ("since", since.to_owned())));
            fields.push(("source", step.source.to_owned()));
            page.blocks.push(Block::Case {
                head: step.setting.to_owned(),
                text: step.text.to_owned(),
                example: step.example.map(str::to_owned),
                fields,
            });
        }
    }
    page.section("Keep in mind", recipe.caveats);
    page
}

/// What to say first of something that this kernel should not have, or has although it should not.
fn absence(here: &Existence, present: bool) -> Option<String> {
    let kernel = clean(&here.kernel);
    match (here.in_mainline, present) {
        (true, _) if here.newer => Some(format!(
            "This kernel ({kernel}) is newer than what linger was checked against ({}).",
            linger_facts::Version::NEWEST
        )),
        (true, _) => None,
        (false, true) => Some(format!(
            "It is there although mainline kernels of this version ({kernel}) do not have it: a distribution's own."
        )),
        (false, false) => Some(match (&here.since, &here.until) {
            (Some(since), _) if here.too_old => {
                format!("Not on this kernel ({kernel}): it came with Linux {since}.")
            }
            (_, Some(until)) => format!(
                "Linux {until} removed it, and this kernel ({kernel}) does not have it. What follows is how it was."
            ),
            _ => format!("This kernel ({kernel}) does not have it."),
        }),
    }
}

/// Since and until when something exists, where that is not always.
fn life(here: &Existence) -> Option<String> {
    match (&here.since, &here.until) {
        (Some(since), Some(until)) => Some(format!("since {since}, removed in {until}")),
        (Some(since), None) => Some(format!("since {since}")),
        (None, Some(until)) => Some(format!("removed in {until}")),
        (None, None) => None,
    }
}

fn scope(scope: &ScopeEntry) -> String {
    match (scope.scope, &scope.netns_since) {
        ("host", None) => "one for the whole host".to_owned(),
        ("host", Some(since)) => format!("one for the whole host (per network namespace from {since} on)"),
        (_, None) => "per network namespace".to_owned(),
        (_, Some(since)) => format!("per network namespace since {since}; before, one for the whole host"),
    }
}

/// The blocks of a rule's manual.
fn manual(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = markdown.lines();
    // Whether the line before belongs to the paragraph or item that comes last.
    let mut open = false;
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|l| !l.trim_start().starts_with("```")).collect();
            blocks.push(Block::Code(code.join("\n")));
            open = false;
        } else if let Some(heading) = trimmed.strip_prefix('#') {
            blocks.push(Block::Heading(heading.trim_start_matches('#').trim().to_owned().into()));
            open = false;
        } else if trimmed.is_empty() {
            open = false;
        } else if let Some((numbered, item)) = list_item(trimmed) {
            match blocks.last_mut() {
                Some(Block::List { numbered: n, items }) if *n == numbered => items.push(item.to_owned()),
                _ => blocks.push(Block::List { numbered, items: vec![item.to_owned()] }),
            }
            open = true;
        } else {
            let last = match blocks.last_mut() {
                Some(Block::Para(text)) if open => Some(text),
                Some(Block::List { items, .. }) if open => items.last_mut(),
                _ => None,
            };
            match last {
                Some(text) => {
                    // Kept for Markdown; in a terminal it is a blank.
                    text.push('\n');
                    text.push_str(trimmed);
                }
                None => blocks.push(Block::Para(trimmed.to_owned())),
            }
            open = true;
        }
    }
    blocks
}

/// `- text` or `1. text`: whether it is numbered, and the text. A line of prose that begins with a figure is no item.
fn list_item(line: &str) -> Option<(bool, &str)> {
    if let Some(item) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")) {
        return Some((false, item.trim_start()));
    }
    let (number, item) = line.split_once(". ")?;
    let short = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    short.then(|| (true, item.trim_start()))
}

// For a terminal.

const LABEL: usize = 9;

impl Page {
    fn text(&self, style: &Style) -> String {
        let width = style.prose();
        let mut out = String::new();
        let kind = style.paint(Tone::Faint, self.kind);
        flow(
            &mut out,
            &self.title,
            &Flow { width: width.saturating_sub(self.kind.len() + 2), ..Flow::toned(Tone::Strong) },
            style,
        );
        let _ = writeln!(out, "  {kind}");
        let mut last: Option<&Block> = None;
        for block in &self.blocks {
            let tight = match (last, block) {
                (Some(Block::Heading(_)), _) => true,
                (Some(Block::Case { fields, .. }), Block::Case { .. }) => fields.is_empty(),
                _ => false,
            };
            if !tight {
                out.push('\n');
            }
            block.text(&mut out, width, style);
            last = Some(block);
        }
        out
    }
}

impl Block {
    fn text(&self, out: &mut String, width: usize, style: &Style) {
        let at = |indent| Flow { width, indent, used: indent, tone: None };
        match self {
            Block::Heading(text) => flow(out, text, &Flow { width, ..Flow::toned(Tone::Strong) }, style),
            Block::Para(text) => {
                out.push_str("  ");
                flow(out, text, &at(2), style);
            }
            Block::Notice(text) => {
                out.push_str("  ");
                flow(out, text, &Flow { tone: Some(Tone::Warn), ..at(2) }, style);
            }
            Block::List { numbered, items } => {
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push('\n');
                    }
                    let mark = if *numbered { format!("{}.", i + 1) } else { "-".to_owned() };
                    let indent = 2 + mark.len() + 1;
                    let _ = write!(out, "  {mark} ");
                    flow(out, item, &at(indent), style);
                }
            }
            Block::Fields(fields) => {
                for (i, (label, text)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push('\n');
                    }
                    let _ = write!(out, "  {}", style.paint(Tone::Faint, &format!("{label:<LABEL$}")));
                    flow(out, text, &at(2 + LABEL), style);
                }
            }
            Block::Case { head, text, example, fields } => {
                out.push_str("  ");
                flow(out, head, &Flow { width, indent: 2, used: 2, tone: Some(Tone::Note) }, style);
                out.push_str("\n    ");
                flow(out, text, &at(4), style);
                if let Some(example) = example {
                    out.push('\n');
                    code(out, example, 8);
                }
                for (label, text) in fields {
                    let _ = write!(out, "\n    {}", style.paint(Tone::Faint, &format!("{label:<LABEL$}")));
                    flow(out, text, &at(4 + LABEL), style);
                }
            }
            Block::Code(text) => code(out, text, 4),
            Block::Table { columns, rows } => table(out, columns, rows, width, style),
        }
        out.push('\n');
    }
}

/// Lines as they are; the last is not ended.
fn code(out: &mut String, text: &str, indent: usize) {
    for (i, line) in text.lines().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let _ = write!(out, "{:indent$}{}", "", line.trim_end());
    }
}

/// Columns side by side, the last one wrapped; where too little room is left for it, under the others.
fn table(out: &mut String, columns: &[&str], rows: &[Vec<String>], width: usize, style: &Style) {
    const ENOUGH: usize = 30;
    let last = columns.len().saturating_sub(1);
    // A column in which nobody has anything is noise.
    let shown: Vec<usize> =
        (0..last).filter(|c| rows.iter().any(|r| r.get(*c).is_some_and(|cell| !cell.is_empty()))).collect();
    let cell = |row: &Vec<String>, c: usize| row.get(c).cloned().unwrap_or_default();
    let widths: Vec<usize> = shown
        .iter()
        .map(|c| {
            let cells = rows.iter().map(|r| cell(r, *c).chars().count());
            cells.chain([columns.get(*c).map_or(0, |name| name.len())]).max().unwrap_or(0)
        })
        .collect();
    let before = 2 + widths.iter().map(|w| w + 2).sum::<usize>();
    let beside =
        before + ENOUGH <= width || rows.iter().all(|row| before + cell(row, last).chars().count() <= width);

    let mut head = String::from("  ");
    for (c, w) in shown.iter().zip(&widths) {
        let _ = write!(head, "{:<w$}  ", columns.get(*c).unwrap_or(&""));
    }
    if beside {
        head.push_str(columns.get(last).unwrap_or(&""));
    }
    out.push_str(&style.paint(Tone::Faint, head.trim_end()));
    for row in rows {
        out.push_str("\n  ");
        let mut line = String::new();
        for (c, w) in shown.iter().zip(&widths) {
            let _ = write!(line, "{:<w$}  ", cell(row, *c));
        }
        if beside {
            out.push_str(&line);
            flow(out, &cell(row, last), &Flow { width, indent: before, used: before, tone: None }, style);
        } else {
            let _ = write!(out, "{}\n      ", line.trim_end());
            flow(out, &cell(row, last), &Flow { width, indent: 6, used: 6, tone: None }, style);
        }
    }
}

/// A blank at which no line ends.
const NBSP: char = '\u{a0}';

/// How a text is set.
#[derive(Debug, Clone, Copy)]
struct Flow {
    width: usize,
    /// Where further lines begin.
    indent: usize,
    /// Where the first one does.
    used: usize,
    tone: Option<Tone>,
}

impl Flow {
    fn toned(tone: Tone) -> Flow {
        Flow { width: usize::MAX, indent: 0, used: 0, tone: Some(tone) }
    }
}

/// Words in lines; the last line is not ended. With colour, code is painted instead of quoted in backticks.
fn flow(out: &mut String, text: &str, how: &Flow, style: &Style) {
    let text = text.replace(|c: char| c.is_whitespace() && c != NBSP, " ");
    // A lone backtick quotes nothing.
    let quotes = style.color && how.tone.is_none() && text.matches('`').count().is_multiple_of(2);
    let length = |word: &str| word.chars().filter(|c| !quotes || *c != '`').count();
    let mut lines = vec![String::new()];
    let mut column = how.used;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let started = lines.last().is_some_and(|line| !line.is_empty());
        if started && column + 1 + length(word) > how.width {
            lines.push(String::new());
            column = how.indent;
        } else if started {
            column += 1;
            lines.last_mut().into_iter().for_each(|line| line.push(' '));
        }
        lines.last_mut().into_iter().for_each(|line| line.push_str(word));
        column += length(word);
    }
    let mut in_code = false;
    for (i, line) in lines.iter().enumerate() {
        let line = &line.replace(NBSP, " ");
        if i > 0 {
            let _ = write!(out, "\n{:1$}", "", how.indent);
        }
        if let Some(tone) = how.tone {
            out.push_str(&style.paint(tone, line));
        } else if quotes {
            for (j, part) in line.split('`').enumerate() {
                in_code ^= j > 0;
                out.push_str(&if in_code { style.paint(Tone::Note, part) } else { part.to_owned() });
            }
        } else {
            out.push_str(line);
        }
    }
}

// As Markdown.

impl Page {
    /// With the title at this level of headings.
    fn markdown(&self, level: usize) -> String {
        let (title, heading) = ("#".repeat(level), "#".repeat(level + 1));
        let prose = |text: &str| if self.is_markdown { text.to_owned() } else { escape(text) };
        let mut out = String::new();
        let _ = writeln!(out, "{title} {}", prose(&self.title));
        let mut in_case = false;
        for block in &self.blocks {
            // Cases are items of one list.
            let case = matches!(block, Block::Case { .. });
            if !(in_case && case) {
                out.push('\n');
            }
            in_case = case;
            match block {
                Block::Heading(text) => {
                    let _ = writeln!(out, "{heading} {}", prose(text));
                }
                Block::Para(text) => {
                    let _ = writeln!(out, "{}", prose(text));
                }
                Block::Notice(text) => {
                    let _ = writeln!(out, "> {}", prose(text));
                }
                Block::List { numbered, items } => {
                    for (i, item) in items.iter().enumerate() {
                        let mark = if *numbered { format!("{}.", i + 1) } else { "-".to_owned() };
                        let _ = writeln!(out, "{mark} {}", prose(item).replace('\n', "\n   "));
                    }
                }
                Block::Fields(fields) => {
                    for (label, text) in fields {
                        let _ = writeln!(out, "- {label}: {}", prose(text));
                    }
                }
                Block::Case { head, text, example, fields } => {
                    let _ = writeln!(out, "- **{}**  ", prose(head));
                    let _ = writeln!(out, "  {}", prose(text));
                    if let Some(example) = example {
                        let lines: Vec<String> =
                            example.lines().map(|l| format!("  {l}").trim_end().to_owned()).collect();
                        let _ = writeln!(out, "\n  ```\n{}\n  ```\n", lines.join("\n"));
                    }
                    for (label, text) in fields {
                        let _ = writeln!(out, "  - {label}: {}", prose(text));
                    }
                }
                Block::Code(text) => {
                    let _ = writeln!(out, "```\n{text}\n```");
                }
                Block::Table { columns, rows } => {
                    let lower: Vec<String> = columns.iter().map(|c| c.to_lowercase()).collect();
                    let _ = writeln!(out, "| {} |\n|{}", lower.join(" | "), " --- |".repeat(columns.len()));
                    for row in rows {
                        let cells: Vec<String> = row.iter().map(|text| cell(&prose(text))).collect();
                        let _ = writeln!(out, "| {} |", cells.join(" | "));
                    }
                }
            }
        }
        out
    }
}

/// A text in a cell of a table.
fn cell(markdown: &str) -> String {
    markdown.replace('|', "\\|").replace('\n', " ")
}

/// Plain text as Markdown: what would be taken for markup is escaped, `code` in backticks stays.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let quotes = text.matches('`').count().is_multiple_of(2);
    let mut in_code = false;
    let chars: Vec<char> = text.chars().collect();
    for (i, c) in chars.iter().enumerate() {
        let within = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric());
        let markup = match c {
            &NBSP => {
                out.push(' ');
                continue;
            }
            '`' => {
                in_code ^= quotes;
                !quotes
            }
            _ if in_code => false,
            '*' | '<' | '[' | ']' | '\\' => true,
            // `tcp_tw_reuse` is a word, `_this_` is not.
            '_' => !(within(i.checked_sub(1)) && within(Some(i + 1))),
            _ => false,
        };
        if markup {
            out.push('\\');
        }
        out.push(*c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::explain::everything;

    const PLAIN: Style = Style { color: false, width: 80, terminal: false };

    /// Without colours.
    fn stripped(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\x1b') {
            out.push_str(before);
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        }
        out + rest
    }

    #[test]
    fn everything_fits_the_width_in_text() {
        for explained in everything("6.18.44") {
            let examples: Vec<&str> = match &explained.entry {
                Entry::Recipe(r) => {
                    r.remedies.iter().flat_map(|r| &r.steps).filter_map(|s| s.example).collect()
                }
                _ => Vec::new(),
            };
            for (width, color) in [(80, false), (80, true), (160, false), (160, true), (60, false)] {
                let style = Style { color, width, terminal: false };
                let shown = text(std::slice::from_ref(&explained), &style);
                assert!(shown.lines().count() > 5, "{shown}");
                let plain = stripped(&shown);
                assert!(color || plain == shown);
                for line in plain.lines() {
                    let short = line.chars().count() <= style.prose();
                    // A word longer than a line, with a label before it.
                    let token = line.split_whitespace().nth(2).is_none();
                    let example = examples.iter().any(|e| e.contains(line.trim()));
                    assert!(short || token || example, "{width}: {line}");
                    assert_eq!(line, line.trim_end(), "blanks at the end");
                }
                assert!(!plain.contains("\n\n\n") && plain.ends_with('\n'), "{plain}");
                assert!(!plain.contains(NBSP) && !plain.contains('\u{fffd}'), "{plain}");
            }
        }
    }

    #[test]
    fn everything_is_shown_as_markdown() {
        for explained in everything("6.18.44") {
            let shown = markdown(std::slice::from_ref(&explained));
            assert!(shown.starts_with("# ") && shown.contains("\n## "), "{shown}");
            assert_eq!(shown.matches("```").count() % 2, 0, "{shown}");
            assert!(!shown.contains('\x1b') && !shown.contains(NBSP), "{shown}");
        }
    }

    #[test]
    fn the_book_is_the_same_on_every_kernel() {
        let here: Vec<Explained> = everything("6.18.44");
        let old: Vec<Explained> = everything("3.10.0-1160");
        let rules = |all: &[Explained]| {
            let rules: Vec<Explained> =
                all.iter().filter(|e| matches!(e.entry, Entry::Rule(_))).cloned().collect();
            book(&rules)
        };
        let book = rules(&here);
        assert_eq!(book, rules(&old));
        for rule in linger_rules::RULES {
            let anchor = format!("(#{}-{})", rule.code.to_lowercase(), rule.name);
            assert!(book.contains(&anchor), "{anchor}");
            assert!(book.contains(&format!("\n## {} {}\n", rule.code, rule.name)));
            assert!(rule.thresholds.iter().all(|t| book.contains(&format!("| {} |", t.key))));
        }
        assert_eq!(book.matches("\n### What it detects\n").count(), linger_rules::RULES.len());
    }

    #[test]
    fn a_manual_keeps_its_lists_and_code() {
        let blocks = manual(
            "# A\ntext\nmore\n\nlast\n- one\n  more\n- two\n\n1. first\n\n```\n# no heading\n```\n4.4 on",
        );
        let Some(Block::List { numbered: false, items }) = blocks.get(3) else { panic!("{blocks:?}") };
        assert_eq!(items, &["one\nmore", "two"]);
        assert!(matches!(&blocks[0], Block::Heading(text) if text == "A"));
        assert!(matches!(&blocks[1], Block::Para(text) if text == "text\nmore"));
        assert!(matches!(&blocks[4], Block::List { numbered: true, .. }));
        assert!(matches!(&blocks[5], Block::Code(text) if text == "# no heading"));
        assert!(matches!(&blocks[6], Block::Para(text) if text == "4.4 on"));
        assert!(manual("```\nnever ended").len() == 1 && manual("").is_empty());
    }

    #[test]
    fn markup_in_plain_text_is_escaped() {
        assert_eq!(
            escape("tcp_tw_reuse __init TCPReq* <a> `x*y`"),
            r"tcp_tw_reuse \_\_init TCPReq\* \<a> `x*y`"
        );
        assert_eq!(escape("a lone ` and *"), r"a lone \` and \*");
        assert_eq!(cell("a|b\nc"), r"a\|b c");
    }

    #[test]
    fn code_is_painted_across_lines() {
        let style = Style { color: true, ..PLAIN };
        let mut out = String::new();
        flow(&mut out, "aa `bb cc` dd", &Flow { width: 5, indent: 0, used: 0, tone: None }, &style);
        assert_eq!(out, "aa \x1b[36mbb\x1b[0m\n\x1b[36mcc\x1b[0m dd");
        let mut out = String::new();
        flow(&mut out, "aa `bb", &Flow { width: 80, indent: 0, used: 0, tone: None }, &style);
        assert_eq!(out, "aa `bb");
    }

    #[test]
    fn the_list_fits_and_holds_everything() {
        let list = crate::cmd::explain::list();
        for width in [40, 80, 160] {
            let text = list_text(&list, &Style { width, ..PLAIN });
            assert!(text.lines().all(|l| l.chars().count() <= width.max(43)), "{text}");
            assert!(list.iter().all(|o| text.contains(&o.name)));
        }
        let text = list_markdown(&list);
        assert!(list.iter().all(|o| text.contains(&format!("- `{}`", o.name))));
    }
}
