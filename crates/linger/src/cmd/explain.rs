//! `linger explain`: what a term means, and what it is on this kernel.
//!
//! A term is looked up in the rules and the knowledge base ([`find`]), what the kernel says now is added ([`entry`]),
//! and the result is shown as JSON or, by `render::explain`, to a person.

use crate::cli::{ExplainArgs, TextFormat};
use crate::nearest;
use crate::render::explain as render;
use crate::render::style::Style;
use anyhow::bail;
use linger_facts::cookbook::{self, Match, Recipe, Symptom};
use linger_facts::errnos::{self, Errno};
use linger_facts::topics::{self, Topic};
use linger_facts::{self as facts, Belief, Counter, DefaultValue, Range, Scope, State, Sysctl, Version};
use linger_model::snapshot::{Counters, Gap, GapKind, Reading, Sockstat, not_asked};
use linger_rules::{RULES, Rule};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Prints what is known of each term.
pub fn run(args: &ExplainArgs, style: &Style) -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    if args.list {
        let list = list();
        match args.format {
            TextFormat::Text => out.write_all(render::list_text(&list, style).as_bytes())?,
            TextFormat::Markdown => out.write_all(render::list_markdown(&list).as_bytes())?,
            TextFormat::Json => json(&mut out, &list)?,
        }
        return Ok(0);
    }
    let meanings = if args.all {
        RULES.iter().map(|rule| Meaning { item: Item::Rule(rule), also: Vec::new() }).collect()
    } else {
        resolve(&args.term)?
    };
    let here = Here::read(meanings.iter().map(|m| m.item));
    let explained: Vec<Explained> = meanings.iter().map(|m| m.explain(&here)).collect();
    match args.format {
        TextFormat::Text => out.write_all(render::text(&explained, style).as_bytes())?,
        TextFormat::Markdown if args.all => out.write_all(render::book(&explained).as_bytes())?,
        TextFormat::Markdown => out.write_all(render::markdown(&explained).as_bytes())?,
        TextFormat::Json => json(&mut out, &explained)?,
    }
    Ok(0)
}

fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)
}

/// What a thing is. The order decides between two things of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A fault that linger looks for.
    Rule,
    /// A state of a connection.
    State,
    /// A kernel setting.
    Sysctl,
    /// A kernel counter or gauge.
    Counter,
    /// An error number of a call.
    Errno,
    /// An article.
    Topic,
    /// What to do in one program or library.
    Recipe,
    /// A fault that `linger lint` looks for in files.
    Lint,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Rule,
        Kind::State,
        Kind::Sysctl,
        Kind::Counter,
        Kind::Errno,
        Kind::Topic,
        Kind::Recipe,
        Kind::Lint,
    ];

    /// The word for one.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Rule => "rule",
            Kind::State => "state",
            Kind::Sysctl => "sysctl",
            Kind::Counter => "counter",
            Kind::Errno => "errno",
            Kind::Topic => "topic",
            Kind::Recipe => "recipe",
            Kind::Lint => "lint",
        }
    }

    /// The heading over many.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Rule => "Rules",
            Kind::State => "States",
            Kind::Sysctl => "Sysctls",
            Kind::Counter => "Counters",
            Kind::Errno => "Errnos",
            Kind::Topic => "Topics",
            Kind::Recipe => "Recipes for programs and libraries",
            Kind::Lint => "What linger lint looks for",
        }
    }
}

/// Something that can be explained.
#[derive(Debug, Clone, Copy)]
enum Item {
    Rule(&'static Rule),
    State(&'static State),
    Sysctl(&'static Sysctl),
    Counter(&'static Counter),
    Errno(&'static Errno),
    Topic(&'static Topic),
    Recipe(&'static Recipe),
    Lint(Lint),
}

/// Something that `linger lint` looks for: its code, its name and its manual.
#[derive(Debug, Clone, Copy)]
struct Lint {
    code: &'static str,
    name: &'static str,
    doc: &'static str,
}

/// What is looked for in sysctl files and in Prometheus rules.
fn lints() -> impl Iterator<Item = Lint> {
    let sysctl = linger_lint::sysctl::CHECKS.iter().map(|c| Lint { code: c.code, name: c.name, doc: c.doc });
    let rules =
        linger_lint::prometheus::LINTS.iter().map(|l| Lint { code: l.code, name: l.name, doc: l.doc });
    sysctl.chain(rules)
}

/// Everything that can be explained, by kind.
fn items() -> impl Iterator<Item = Item> {
    RULES
        .iter()
        .map(|r| Item::Rule(r))
        .chain(facts::states().iter().map(Item::State))
        .chain(facts::sysctls().map(Item::Sysctl))
        .chain(facts::counters().map(Item::Counter))
        .chain(errnos::errnos().iter().map(Item::Errno))
        .chain(topics::topics().iter().map(Item::Topic))
        .chain(cookbook::recipes().iter().map(Item::Recipe))
        .chain(lints().map(Item::Lint))
}

impl Item {
    fn kind(self) -> Kind {
        match self {
            Item::Rule(_) => Kind::Rule,
            Item::State(_) => Kind::State,
            Item::Sysctl(_) => Kind::Sysctl,
            Item::Counter(_) => Kind::Counter,
            Item::Errno(_) => Kind::Errno,
            Item::Topic(_) => Kind::Topic,
            Item::Recipe(_) => Kind::Recipe,
            Item::Lint(_) => Kind::Lint,
        }
    }

    /// The full name, unique within its kind.
    fn name(self) -> &'static str {
        match self {
            Item::Rule(rule) => rule.code,
            Item::State(state) => state.display,
            Item::Sysctl(sysctl) => sysctl.key,
            Item::Counter(counter) => counter.name,
            Item::Errno(errno) => errno.name,
            Item::Topic(topic) => topic.id,
            Item::Recipe(recipe) => recipe.id,
            Item::Lint(lint) => lint.code,
        }
    }

    /// The name that people use.
    fn short(self) -> &'static str {
        match self {
            Item::Sysctl(sysctl) => sysctl.short(),
            // `drop` alone says nothing; `ListenDrops` does.
            Item::Counter(counter) if counter.name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                counter.short()
            }
            item => item.name(),
        }
    }

    /// What to type to get exactly this.
    fn address(self) -> String {
        for name in [self.short(), self.name()] {
            if find(name).first().is_some_and(|best| best.is(self)) {
                return name.to_owned();
            }
        }
        format!("{}:{}", self.kind().word(), self.name())
    }

    /// One line: what it is.
    fn summary(self) -> String {
        match self {
            Item::Rule(rule) => first_sentence(rule.doc),
            Item::State(state) => first_sentence(state.meaning),
            Item::Sysctl(sysctl) => sysctl.summary.to_owned(),
            Item::Counter(counter) => counter.summary.to_owned(),
            Item::Errno(errno) => errno.message.to_owned(),
            Item::Topic(topic) => topic.title.to_owned(),
            Item::Recipe(recipe) => recipe.title.to_owned(),
            Item::Lint(lint) => first_sentence(lint.doc),
        }
    }

    /// Every name that may have been meant.
    fn names(self) -> Vec<&'static str> {
        let mut names = vec![self.name()];
        match self {
            Item::Rule(rule) => names.push(rule.name),
            Item::State(state) => names.push(state.name),
            Item::Sysctl(sysctl) => names.push(sysctl.short()),
            Item::Counter(counter) => names.push(counter.short()),
            Item::Errno(errno) => names.push(errno.message),
            Item::Topic(topic) => names.extend(topic.aliases),
            Item::Recipe(_) => {}
            Item::Lint(lint) => names.push(lint.name),
        }
        names
    }

    fn is(self, other: Item) -> bool {
        self.kind() == other.kind() && self.name() == other.name()
    }
}

/// The first sentence of the first paragraph of a text, headings left out.
fn first_sentence(text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|l| l.is_empty() || l.starts_with('#'));
    let paragraph: Vec<&str> = lines.take_while(|l| !l.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let mut depth = 0_usize;
    let end = paragraph.char_indices().find(|(at, c)| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let rest = &paragraph[at + c.len_utf8()..];
        depth == 0 && matches!(c, '.' | ':') && (rest.is_empty() || rest.starts_with(' '))
    });
    match end {
        Some((at, _)) => format!("{}.", &paragraph[..at]),
        None => paragraph,
    }
}

/// How a term names a thing; less is better.
const EXACT: u8 = 0;
const SPELLED: u8 = 1;
const ALIAS: u8 = 2;
const PART: u8 = 3;
const WORD: u8 = 4;

/// What a term can mean, best first. `topic:close_wait` asks for one kind.
fn find(term: &str) -> Vec<Item> {
    let (only, term) = of_kind(term);
    let mut found: Vec<(u8, Item)> = Vec::new();
    let mut add = |rank: u8, item: Item| {
        if only.is_none_or(|kind| kind == item.kind()) {
            found.push((rank, item));
        }
    };
    let same = |name: &str| name.eq_ignore_ascii_case(term);
    let rank = |exact: bool| if exact { EXACT } else { SPELLED };
    if term.is_empty() {
        return Vec::new();
    }

    let dashed = term.to_ascii_lowercase().replace(['_', ' '], "-");
    if let Some(rule) = linger_rules::rule(term).or_else(|| linger_rules::rule(&dashed)) {
        add(EXACT, Item::Rule(rule));
    }
    if let Some(lint) = lints().find(|l| same(l.code) || l.name == dashed) {
        add(EXACT, Item::Lint(lint));
    }
    if let Some(state) = facts::state(term) {
        add(rank(state.name == term || state.display == term), Item::State(state));
    }
    // As sysctl(8) and sysctl.conf write it: `net.ipv4.tcp_tw_reuse = 1`.
    let key = term.split_once('=').map_or(term, |(key, _)| key.trim_end());
    for sysctl in facts::sysctls().filter(|s| s.short().eq_ignore_ascii_case(key)).chain(facts::sysctl(key)) {
        add(rank(sysctl.short() == key || sysctl.key == key || key.contains('/')), Item::Sysctl(sysctl));
    }
    let exported = term.strip_prefix("node_").unwrap_or(term);
    for counter in facts::counters()
        .filter(|c| same(c.short()))
        .chain(facts::counter(term))
        .chain(facts::counter(exported))
    {
        add(rank(counter.short() == term || counter.name == term), Item::Counter(counter));
    }
    if let Some(errno) = errnos::errno(term) {
        add(if same(errno.name) { rank(errno.name == term) } else { ALIAS }, Item::Errno(errno));
    }
    if let Some(topic) = topics::topic(term) {
        add(if same(topic.id) { rank(topic.id == term) } else { ALIAS }, Item::Topic(topic));
    }
    for recipe in cookbook::recipes() {
        let named = |sign: &Match| matches!(sign, Match::Comm(s) | Match::ExeName(s) if same(s));
        let pieces = recipe.title.split_whitespace().map(|w| w.trim_matches([',', ':', '(', ')']));
        let mut words = recipe.title.split(|c: char| !c.is_alphanumeric() && c != '-').chain(pieces);
        if same(recipe.id) {
            add(rank(recipe.id == term), Item::Recipe(recipe));
        } else if same(recipe.title) || recipe.matches.iter().any(named) {
            add(ALIAS, Item::Recipe(recipe));
        } else if recipe.id.split('-').any(same) && !COMMON.iter().any(|word| same(word)) {
            add(PART, Item::Recipe(recipe));
        } else if words.any(same) && !COMMON.iter().any(|word| same(word)) {
            add(WORD, Item::Recipe(recipe));
        }
    }

    // A part of a title counts only where nothing has the name.
    let best = found.iter().map(|(rank, _)| *rank).min().unwrap_or(WORD);
    found.retain(|(rank, _)| *rank <= ALIAS || best > ALIAS);
    found.sort_by_key(|(rank, item)| (*rank, item.kind()));
    let mut items: Vec<Item> = Vec::new();
    for (_, item) in found {
        if !items.iter().any(|known| known.is(item)) {
            items.push(item);
        }
    }
    items
}

/// Words of titles that name nothing.
const COMMON: &[&str] = &[
    "a",
    "also",
    "and",
    "as",
    "client",
    "clients",
    "close",
    "closes",
    "database",
    "databases",
    "first",
    "in",
    "it",
    "net",
    "of",
    "or",
    "other",
    "pool",
    "server",
    "servers",
    "scripts",
    "sockets",
    "that",
    "trades",
    "web",
    "what",
];

/// Splits `topic:close_wait`.
fn of_kind(term: &str) -> (Option<Kind>, &str) {
    let term = term.trim();
    let split = term.split_once(':').and_then(|(word, rest)| {
        let kind = Kind::ALL.into_iter().find(|k| k.word().eq_ignore_ascii_case(word))?;
        Some((Some(kind), rest.trim()))
    });
    split.unwrap_or((None, term))
}

/// A term's best meaning, and the others.
#[derive(Debug, Clone)]
struct Meaning {
    item: Item,
    also: Vec<Item>,
}

impl Meaning {
    fn of(term: &str) -> Option<Meaning> {
        let mut items = find(term).into_iter();
        Some(Meaning { item: items.next()?, also: items.collect() })
    }

    fn explain(&self, here: &Here) -> Explained {
        let other = |item: &Item| Other { kind: item.kind(), name: item.address(), summary: item.summary() };
        Explained { entry: entry(self.item, here), also: self.also.iter().map(other).collect() }
    }
}

/// The meanings of all terms; or, when one of them means nothing, that of all words together: error messages and
/// titles are often written without quotes.
fn resolve(terms: &[String]) -> anyhow::Result<Vec<Meaning>> {
    let meanings: Vec<Option<Meaning>> = terms.iter().map(|t| Meaning::of(t)).collect();
    if let Some(unknown) = meanings.iter().position(Option::is_none) {
        if let Some(meaning) = Meaning::of(&terms.join(" ")) {
            return Ok(vec![meaning]);
        }
        bail!("{}", not_known(&terms[unknown]));
    }
    Ok(meanings.into_iter().flatten().collect())
}

/// What to say of a term that means nothing.
fn not_known(term: &str) -> String {
    const LONGEST: usize = 80;
    let (only, name) = of_kind(term);
    let name: String = name.chars().take(LONGEST).collect();
    let mut names: Vec<&str> =
        items().filter(|i| only.is_none_or(|kind| kind == i.kind())).flat_map(Item::names).collect();
    // Of two that are equally near the last is taken, so the names that come first have to be there.
    names.reverse();
    let hint = nearest::hint(&name, names);
    let hint = if hint.is_empty() { "; `linger explain --list` lists what is".to_owned() } else { hint };
    let what = only.map_or_else(String::new, |kind| format!(" as a {}", kind.word()));
    let name = if name.len() < term.len() && only.is_none() && term.chars().count() > LONGEST {
        format!("{name}…")
    } else {
        name
    };
    format!("nothing is known of {name:?}{what}{hint}")
}

/// The running kernel, and what it says of the things asked for.
#[derive(Debug, Clone)]
struct Here {
    release: String,
    version: Option<Version>,
    sysctls: BTreeMap<String, Reading<String>>,
    counters: Reading<Counters>,
    sockstat: Reading<Sockstat>,
}

impl Here {
    fn read(items: impl Iterator<Item = Item> + Clone) -> Here {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let keys: Vec<&str> = items
            .clone()
            .filter_map(|i| if let Item::Sysctl(sysctl) = i { Some(sysctl.key) } else { None })
            .collect();
        let files: Vec<&str> = items
            .filter_map(|i| if let Item::Counter(counter) = i { Some(counter.file) } else { None })
            .collect();
        let any = |wanted: &[&str]| files.iter().any(|file| wanted.contains(file));
        Here {
            version: Version::parse(&release),
            release,
            sysctls: linger_collect::sysctls(&keys, true),
            counters: if any(&COUNTER_FILES) { linger_collect::counters() } else { not_asked("counters") },
            sockstat: if any(&SOCKSTAT_FILES) { linger_collect::sockstat() } else { not_asked("sockstat") },
        }
    }

    /// The version to explain for; the newest known where the release is none.
    fn version(&self) -> Version {
        self.version.unwrap_or(Version::NEWEST)
    }

    /// A counter's value; `None` where it is in a file that is not read here.
    fn counter(&self, counter: &Counter) -> Option<Reading<u64>> {
        let missing =
            || Gap::new(counter.name, GapKind::Unsupported, format!("{} does not have it", counter.file), "");
        if COUNTER_FILES.contains(&counter.file) {
            let counters = self.counters.as_ref().map_err(Gap::clone);
            return Some(counters.and_then(|c| c.get(counter.name).copied().ok_or_else(missing)));
        }
        if !SOCKSTAT_FILES.contains(&counter.file) {
            return None;
        }
        let sockstat = match &self.sockstat {
            Ok(sockstat) => sockstat,
            Err(gap) => return Some(Err(gap.clone())),
        };
        let value = match counter.name {
            "sockstat.TCP.inuse" => Some(sockstat.inuse),
            "sockstat.TCP.orphan" => Some(sockstat.orphan),
            "sockstat.TCP.tw" => Some(sockstat.tw),
            "sockstat.TCP.alloc" => Some(sockstat.alloc),
            "sockstat.TCP.mem" => Some(sockstat.mem_pages),
            "sockstat6.TCP6.inuse" => sockstat.inuse6,
            _ => return None,
        };
        Some(value.ok_or_else(missing))
    }
}

const COUNTER_FILES: [&str; 2] = ["/proc/net/snmp", "/proc/net/netstat"];
const SOCKSTAT_FILES: [&str; 2] = ["/proc/net/sockstat", "/proc/net/sockstat6"];

/// A thing explained, and what else its name means.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    #[serde(flatten)]
    pub entry: Entry,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Other>,
}

/// Something that can be explained: its name as one types it, and one line.
#[derive(Debug, Clone, Serialize)]
pub struct Other {
    pub kind: Kind,
    pub name: String,
    pub summary: String,
}

/// What is known of one thing.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    Rule(RuleEntry),
    State(StateEntry),
    Sysctl(SysctlEntry),
    Counter(CounterEntry),
    Errno(ErrnoEntry),
    Topic(TopicEntry),
    Recipe(RecipeEntry),
    Lint(LintEntry),
}

/// The manual of something that `linger lint` looks for.
#[derive(Debug, Clone, Serialize)]
pub struct LintEntry {
    pub name: &'static str,
    pub code: &'static str,
    pub summary: String,
    /// Markdown.
    pub manual: String,
}

/// A rule's manual. It does not depend on the running kernel.
#[derive(Debug, Clone, Serialize)]
pub struct RuleEntry {
    pub name: &'static str,
    pub code: &'static str,
    pub summary: String,
    pub scope: &'static str,
    /// Markdown.
    pub manual: String,
    pub thresholds: Vec<ThresholdEntry>,
}

/// A number that can be set in the configuration.
#[derive(Debug, Clone, Serialize)]
pub struct ThresholdEntry {
    pub key: &'static str,
    pub default: f64,
    pub unit: &'static str,
    pub meaning: &'static str,
}

/// A wrong belief.
#[derive(Debug, Clone, Serialize)]
pub struct BeliefEntry {
    pub claim: &'static str,
    pub truth: &'static str,
}

/// A state.
#[derive(Debug, Clone, Serialize)]
pub struct StateEntry {
    pub name: &'static str,
    pub display: &'static str,
    pub number: u8,
    pub meaning: &'static str,
    pub who: &'static str,
    pub normal: &'static str,
    pub normal_below: Option<u64>,
    pub alert_above: Option<u64>,
    pub ends: &'static str,
    pub cost: &'static str,
    pub beliefs: Vec<BeliefEntry>,
    pub see: &'static [&'static str],
    pub sources: Vec<&'static str>,
}

/// Since and until when something exists, and whether it does here.
#[derive(Debug, Clone, Serialize)]
pub struct Existence {
    /// The first version that has it; absent if it is older than what linger knows.
    pub since: Option<String>,
    /// The first version that no longer has it.
    pub until: Option<String>,
    /// The running kernel.
    pub kernel: String,
    /// Whether the mainline kernel of this version has it.
    pub in_mainline: bool,
    /// Whether it is older than `since`, not gone yet.
    #[serde(skip)]
    pub too_old: bool,
    /// Whether the running kernel is newer than what linger knows.
    #[serde(skip)]
    pub newer: bool,
}

/// Whose a value is.
#[derive(Debug, Clone, Serialize)]
pub struct ScopeEntry {
    /// `netns` or `host`, on this kernel.
    pub scope: &'static str,
    /// The version since which it is per network namespace, if it was not always.
    pub netns_since: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, Serialize)]
pub struct Value<T> {
    /// The value in this network namespace; absent if it could not be read.
    pub value: Option<T>,
    /// Why it could not be read.
    pub unreadable: Option<String>,
    /// Whether that is because there is no such file or name.
    #[serde(skip)]
    pub missing: bool,
}

impl<T> From<Reading<T>> for Value<T> {
    fn from(reading: Reading<T>) -> Value<T> {
        match reading {
            Ok(value) => Value { value: Some(value), unreadable: None, missing: false },
            Err(gap) => {
                let hint = if gap.hint.is_empty() { String::new() } else { format!("; {}", gap.hint) };
                let missing = gap.kind == GapKind::Unsupported;
                Value { value: None, unreadable: Some(format!("{}{hint}", gap.detail)), missing }
            }
        }
    }
}

/// A sysctl, here and elsewhere.
#[derive(Debug, Clone, Serialize)]
pub struct SysctlEntry {
    pub name: &'static str,
    pub path: String,
    pub summary: &'static str,
    pub meaning: &'static str,
    #[serde(flatten)]
    pub now: Value<String>,
    /// The default on this kernel: a constant, or a formula in words.
    pub default: Option<DefaultEntry>,
    pub is_default: Option<bool>,
    pub unit: &'static str,
    pub range: Option<String>,
    pub values: Vec<ValueEntry>,
    #[serde(flatten)]
    pub scope: ScopeEntry,
    #[serde(flatten)]
    pub existence: Existence,
    pub defaults: Vec<DefaultEntry>,
    pub beliefs: Vec<BeliefEntry>,
    pub see: &'static [&'static str],
    pub sources: Vec<&'static str>,
}

/// A value with a meaning of its own.
#[derive(Debug, Clone, Serialize)]
pub struct ValueEntry {
    pub value: &'static str,
    pub meaning: &'static str,
}

/// A default from some version on.
#[derive(Debug, Clone, Serialize)]
pub struct DefaultEntry {
    pub since: String,
    /// The value as the file shows it, a formula, or nothing.
    pub text: String,
    /// `fixed`, `computed` or `absent`.
    pub is: &'static str,
    /// Whether this kernel's.
    pub here: bool,
}

/// A counter, here and elsewhere.
#[derive(Debug, Clone, Serialize)]
pub struct CounterEntry {
    pub name: &'static str,
    pub file: &'static str,
    pub summary: &'static str,
    pub meaning: &'static str,
    /// What was read, where linger reads the file for this.
    #[serde(flatten)]
    pub now: Option<Value<u64>>,
    #[serde(flatten)]
    pub scope: ScopeEntry,
    #[serde(flatten)]
    pub existence: Existence,
    pub changes: Vec<ChangeEntry>,
    pub beliefs: Vec<BeliefEntry>,
    pub see: &'static [&'static str],
    pub sources: Vec<&'static str>,
}

/// A change of meaning.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeEntry {
    pub since: String,
    pub meaning: &'static str,
    /// Whether it is in force on this kernel.
    pub here: bool,
}

/// An error number.
#[derive(Debug, Clone, Serialize)]
pub struct ErrnoEntry {
    pub name: &'static str,
    pub number: i32,
    pub message: &'static str,
    pub causes: Vec<CauseEntry>,
    pub tell_apart: &'static str,
    pub see: &'static [&'static str],
    pub sources: &'static [&'static str],
}

/// One cause of an error.
#[derive(Debug, Clone, Serialize)]
pub struct CauseEntry {
    pub call: &'static str,
    pub cause: &'static str,
    pub how_to_tell: &'static str,
    pub remedy: &'static str,
}

/// An article.
#[derive(Debug, Clone, Serialize)]
pub struct TopicEntry {
    pub name: &'static str,
    pub title: &'static str,
    pub aliases: &'static [&'static str],
    pub text: &'static [&'static str],
    pub can: &'static [&'static str],
    pub cannot: &'static [&'static str],
    pub see: &'static [&'static str],
    pub sources: &'static [&'static str],
}

/// What to do in one program.
#[derive(Debug, Clone, Serialize)]
pub struct RecipeEntry {
    pub name: &'static str,
    pub title: &'static str,
    /// Names of processes and files, and parts of command lines, by which it is recognised.
    pub recognised_by: Vec<&'static str>,
    pub remedies: Vec<RemedyEntry>,
    pub caveats: &'static [&'static str],
}

/// The steps against one symptom.
#[derive(Debug, Clone, Serialize)]
pub struct RemedyEntry {
    pub symptom: &'static str,
    #[serde(skip)]
    pub title: &'static str,
    pub steps: Vec<StepEntry>,
}

/// One thing to do.
#[derive(Debug, Clone, Serialize)]
pub struct StepEntry {
    pub setting: &'static str,
    pub text: &'static str,
    pub example: Option<&'static str>,
    pub since: Option<&'static str>,
    pub source: &'static str,
}

/// Everything that can be explained.
pub fn list() -> Vec<Other> {
    let mut list: Vec<Other> =
        items().map(|i| Other { kind: i.kind(), name: i.address(), summary: i.summary() }).collect();
    // Rules and states stand in an order of their own; the others are looked up by name.
    list.sort_by(|a, b| {
        let key = |o: &Other| if o.kind <= Kind::State { String::new() } else { o.name.to_lowercase() };
        a.kind.cmp(&b.kind).then_with(|| key(a).cmp(&key(b)))
    });
    list
}

/// What is known of one thing, with what this kernel says of it.
fn entry(item: Item, here: &Here) -> Entry {
    match item {
        Item::Rule(rule) => Entry::Rule(rule_entry(rule)),
        Item::Lint(lint) => Entry::Lint(LintEntry {
            name: lint.name,
            code: lint.code,
            summary: first_sentence(lint.doc),
            manual: manual(lint.doc),
        }),
        Item::State(state) => Entry::State(StateEntry {
            name: state.name,
            display: state.display,
            number: state.number,
            meaning: state.meaning,
            who: state.who,
            normal: state.normal,
            normal_below: state.normal_below,
            alert_above: state.alert_above,
            ends: state.ends,
            cost: state.cost,
            beliefs: beliefs(state.beliefs),
            see: state.see,
            sources: sources(state.sources),
        }),
        Item::Sysctl(sysctl) => Entry::Sysctl(sysctl_entry(sysctl, here)),
        Item::Counter(counter) => Entry::Counter(counter_entry(counter, here)),
        Item::Errno(errno) => Entry::Errno(ErrnoEntry {
            name: errno.name,
            number: errno.number,
            message: errno.message,
            causes: errno
                .causes
                .iter()
                .map(|c| CauseEntry {
                    call: c.call,
                    cause: c.cause,
                    how_to_tell: c.how_to_tell,
                    remedy: c.remedy,
                })
                .collect(),
            tell_apart: errno.tell_apart,
            see: errno.see,
            sources: errno.sources,
        }),
        Item::Topic(topic) => Entry::Topic(TopicEntry {
            name: topic.id,
            title: topic.title,
            aliases: topic.aliases,
            text: topic.text,
            can: topic.can,
            cannot: topic.cannot,
            see: topic.see,
            sources: topic.sources,
        }),
        Item::Recipe(recipe) => Entry::Recipe(recipe_entry(recipe)),
    }
}

/// A doc comment as Markdown: its lines begin with the blank after `///`.
fn manual(doc: &str) -> String {
    let lines: Vec<&str> = doc.lines().map(|l| l.strip_prefix(' ').unwrap_or(l).trim_end()).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

fn rule_entry(rule: &'static Rule) -> RuleEntry {
    RuleEntry {
        name: rule.name,
        code: rule.code,
        summary: first_sentence(rule.doc),
        scope: match rule.scope {
            linger_rules::Scope::Netns => "netns",
            linger_rules::Scope::Host => "host",
        },
        manual: manual(rule.doc),
        thresholds: rule
            .thresholds
            .iter()
            .map(|t| ThresholdEntry { key: t.key, default: t.default, unit: t.unit, meaning: t.doc })
            .collect(),
    }
}

fn sysctl_entry(sysctl: &'static Sysctl, here: &Here) -> SysctlEntry {
    let version = here.version();
    let reading = here.sysctls.get(sysctl.key).cloned().unwrap_or_else(|| not_asked(sysctl.key));
    // Fields of a file are separated by tabs, those of the tables by one blank.
    let reading = reading.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let in_force = sysctl.defaults.iter().rposition(|d| d.since <= version);
    let defaults: Vec<DefaultEntry> = sysctl
        .defaults
        .iter()
        .enumerate()
        .map(|(i, d)| DefaultEntry {
            since: d.since.to_string(),
            text: d.value.to_string(),
            is: match d.value {
                DefaultValue::Fixed(_) => "fixed",
                DefaultValue::Computed(_) => "computed",
                DefaultValue::Absent => "absent",
            },
            here: Some(i) == in_force && sysctl.exists_in(version),
        })
        .collect();
    let is_default = match (sysctl.default_for(version), &reading) {
        (Some(DefaultValue::Fixed(default)), Ok(value)) => Some(default == value),
        _ => None,
    };
    SysctlEntry {
        name: sysctl.key,
        path: sysctl.path(),
        summary: sysctl.summary,
        meaning: sysctl.meaning,
        now: reading.into(),
        default: defaults.iter().find(|d| d.here).cloned(),
        is_default,
        unit: sysctl.unit,
        range: sysctl.range.as_ref().map(Range::to_string),
        values: sysctl.values.iter().map(|(value, meaning)| ValueEntry { value, meaning }).collect(),
        scope: scope(sysctl.scope, version),
        existence: existence(sysctl.since, sysctl.until, sysctl.exists_in(version), here),
        defaults,
        beliefs: beliefs(sysctl.beliefs),
        see: sysctl.see,
        sources: sources(sysctl.sources),
    }
}

fn counter_entry(counter: &'static Counter, here: &Here) -> CounterEntry {
    let version = here.version();
    let in_force = counter.changes.iter().rposition(|(since, _)| *since <= version);
    CounterEntry {
        name: counter.name,
        file: counter.file,
        summary: counter.summary,
        meaning: counter.meaning,
        now: here.counter(counter).map(Value::from),
        scope: scope(counter.scope, version),
        existence: existence(counter.since, counter.until, counter.exists_in(version), here),
        changes: counter
            .changes
            .iter()
            .enumerate()
            .map(|(i, (since, meaning))| ChangeEntry {
                since: since.to_string(),
                meaning,
                here: Some(i) == in_force && counter.exists_in(version),
            })
            .collect(),
        beliefs: beliefs(counter.beliefs),
        see: counter.see,
        sources: sources(counter.sources),
    }
}

fn recipe_entry(recipe: &'static Recipe) -> RecipeEntry {
    let remedies = Symptom::ALL.iter().filter_map(|symptom| {
        let steps: Vec<StepEntry> = recipe
            .steps
            .iter()
            .filter(|s| s.symptom == *symptom)
            .map(|s| StepEntry {
                setting: s.setting,
                text: s.text,
                example: s.example,
                since: Some(s.since).filter(|s| !s.is_empty()),
                source: s.source,
            })
            .collect();
        let (name, title) = symptom_names(*symptom);
        (!steps.is_empty()).then_some(RemedyEntry { symptom: name, title, steps })
    });
    RecipeEntry {
        name: recipe.id,
        title: recipe.title,
        recognised_by: recipe
            .matches
            .iter()
            .map(|sign| match *sign {
                Match::Comm(s) | Match::CommPrefix(s) | Match::ExeName(s) | Match::CmdlineContains(s) => s,
            })
            .fold(Vec::new(), |mut signs, sign| {
                if !signs.contains(&sign) {
                    signs.push(sign);
                }
                signs
            }),
        remedies: remedies.collect(),
        caveats: recipe.caveats,
    }
}

/// The name for a program, the heading for a person.
fn symptom_names(symptom: Symptom) -> (&'static str, &'static str) {
    match symptom {
        Symptom::ShortConnections => ("short_connections", "Connections opened and closed too often"),
        Symptom::CloseWaitLeak => ("close_wait_leak", "Sockets left in CLOSE_WAIT"),
        Symptom::SlowAccept => ("slow_accept", "A full accept queue"),
        Symptom::ProxyPorts => ("proxy_ports", "A proxy that runs out of local ports"),
        Symptom::DescriptorLimit => ("descriptor_limit", "Descriptors that run out"),
        Symptom::DeadPeers => ("dead_peers", "Peers that vanish unnoticed"),
        Symptom::ReuseAddress => ("reuse_address", "bind() that fails after a restart"),
        Symptom::ConnectTimeout => ("connect_timeout", "Connects that hang"),
        Symptom::SlowReader => ("slow_reader", "Data that nobody reads"),
    }
}

fn beliefs(beliefs: &'static [Belief]) -> Vec<BeliefEntry> {
    beliefs.iter().map(|b| BeliefEntry { claim: b.claim, truth: b.truth }).collect()
}

fn sources(sources: &'static [facts::Source]) -> Vec<&'static str> {
    sources.iter().map(|s| s.0).collect()
}

fn scope(scope: Scope, version: Version) -> ScopeEntry {
    ScopeEntry {
        scope: match scope.on(version) {
            Scope::Host => "host",
            Scope::Netns | Scope::NetnsSince(_) => "netns",
        },
        netns_since: match scope {
            Scope::NetnsSince(since) => Some(since.to_string()),
            Scope::Netns | Scope::Host => None,
        },
    }
}

fn existence(since: Option<Version>, until: Option<Version>, in_mainline: bool, here: &Here) -> Existence {
    Existence {
        since: since.map(|v| v.to_string()),
        until: until.map(|v| v.to_string()),
        kernel: here.release.clone(),
        in_mainline,
        too_old: since.is_some_and(|since| here.version() < since),
        newer: here.version() > Version::NEWEST,
    }
}

/// Everything explained on a kernel that says nothing more than its release.
#[cfg(test)]
pub fn everything(release: &str) -> Vec<Explained> {
    let here = tests::kernel(release);
    items()
        .map(|item| Meaning { item, also: find(item.name()).into_iter().skip(1).collect() }.explain(&here))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Json;

    pub(super) fn kernel(release: &str) -> Here {
        Here {
            release: release.to_owned(),
            version: Version::parse(release),
            sysctls: BTreeMap::new(),
            counters: not_asked("counters"),
            sockstat: not_asked("sockstat"),
        }
    }

    fn best(term: &str) -> Option<(Kind, &'static str)> {
        find(term).first().map(|item| (item.kind(), item.name()))
    }

    #[test]
    fn the_best_meaning_comes_first() {
        for (term, kind, name) in [
            ("TW001", Kind::Rule, "TW001"),
            ("tw001", Kind::Rule, "TW001"),
            ("ephemeral-port-exhaustion", Kind::Rule, "TW001"),
            ("Ephemeral_Port_Exhaustion", Kind::Rule, "TW001"),
            ("TIME_WAIT", Kind::State, "TIME_WAIT"),
            ("time-wait", Kind::State, "TIME_WAIT"),
            ("fin-wait-2", Kind::State, "FIN_WAIT2"),
            ("estab", Kind::State, "ESTABLISHED"),
            ("close_wait", Kind::State, "CLOSE_WAIT"),
            ("topic:close_wait", Kind::Topic, "close_wait"),
            ("tcp_tw_reuse", Kind::Sysctl, "net.ipv4.tcp_tw_reuse"),
            ("net/ipv4/tcp_tw_reuse", Kind::Sysctl, "net.ipv4.tcp_tw_reuse"),
            ("/proc/sys/net/ipv4/tcp_tw_reuse", Kind::Sysctl, "net.ipv4.tcp_tw_reuse"),
            ("net.ipv4.tcp_tw_reuse = 1", Kind::Sysctl, "net.ipv4.tcp_tw_reuse"),
            ("TCP_TW_REUSE", Kind::Sysctl, "net.ipv4.tcp_tw_reuse"),
            ("ListenOverflows", Kind::Counter, "TcpExt.ListenOverflows"),
            ("TcpExt.ListenOverflows", Kind::Counter, "TcpExt.ListenOverflows"),
            ("TcpExtListenOverflows", Kind::Counter, "TcpExt.ListenOverflows"),
            ("node_netstat_TcpExt_ListenOverflows", Kind::Counter, "TcpExt.ListenOverflows"),
            ("node_sockstat_TCP_tw", Kind::Counter, "sockstat.TCP.tw"),
            ("TW", Kind::Counter, "TcpExt.TW"),
            ("tw", Kind::Counter, "sockstat.TCP.tw"),
            ("EADDRNOTAVAIL", Kind::Errno, "EADDRNOTAVAIL"),
            ("cannot assign requested address", Kind::Errno, "EADDRNOTAVAIL"),
            ("99", Kind::Errno, "EADDRNOTAVAIL"),
            ("bbr", Kind::Topic, "bbr"),
            ("Cubic", Kind::Topic, "cubic"),
            ("dpdk", Kind::Topic, "dpdk"),
            ("nginx", Kind::Recipe, "nginx"),
            ("HAProxy", Kind::Recipe, "haproxy"),
            ("openresty", Kind::Recipe, "nginx"),
            ("go", Kind::Recipe, "go"),
            ("java", Kind::Recipe, "java"),
            (".NET", Kind::Recipe, "dotnet"),
            ("redis", Kind::Recipe, "redis-clients"),
            ("urllib3", Kind::Recipe, "python"),
            ("SC001", Kind::Lint, "SC001"),
            ("trap_value", Kind::Lint, "SC004"),
        ] {
            assert_eq!(best(term), Some((kind, name)), "{term}");
        }
    }

    #[test]
    fn other_meanings_are_named() {
        let names = |term: &str| find(term).into_iter().map(Item::address).collect::<Vec<_>>();
        assert_eq!(names("TW"), ["TW", "sockstat.TCP.tw", "topic:time_wait"]);
        assert_eq!(names("close_wait"), ["CLOSE_WAIT", "topic:close_wait"]);
        assert_eq!(names("tcp_tw_reuse"), ["tcp_tw_reuse", "tw_reuse"]);
        // Words of titles count only where nothing has the name.
        assert_eq!(names("java"), ["java"]);
        assert!(names("redis").len() > 2);
    }

    #[test]
    fn everything_is_found_by_what_the_list_says() {
        for item in items() {
            for name in [item.address(), format!("{}:{}", item.kind().word(), item.name())] {
                assert!(find(&name).first().is_some_and(|found| found.is(item)), "{name}");
            }
        }
        assert_eq!(list().len(), items().count());
    }

    #[test]
    fn an_unknown_term_gets_the_nearest() {
        let said = |term: &str| resolve(&[term.to_owned()]).map(|_| ()).map_err(|e| e.to_string());
        let meant = |term: &str, name: &str| {
            assert_eq!(said(term), Err(format!("nothing is known of {term:?}; did you mean {name}?")));
        };
        meant("tcp_tw_resue", "tcp_tw_reuse");
        meant("TW01", "TW001");
        meant("ListenOverflow", "ListenOverflows");
        meant("EADDRNOTAVIL", "EADDRNOTAVAIL");
        meant("CLOSE_WIAT", "CLOSE_WAIT");
        let nothing = said("zzzzz").expect_err("no such thing");
        assert_eq!(nothing, "nothing is known of \"zzzzz\"; `linger explain --list` lists what is");
        assert_eq!(
            said("topic:clos_wait"),
            Err("nothing is known of \"clos_wait\" as a topic; did you mean close_wait?".to_owned())
        );
    }

    #[test]
    fn odd_terms_are_refused_or_understood() {
        let long = "x".repeat(100_000);
        let terms = [
            "",
            " ",
            ":",
            "topic:",
            "::",
            "rule:rule:TW001",
            "=",
            ".",
            "-",
            "tcp",
            "\u{1b}[31m",
            "état",
            "\0",
            "node_",
            &long,
        ];
        for term in terms {
            let error = resolve(&[term.to_owned()]).expect_err(term).to_string();
            assert!(error.len() < 400 && !error.contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn words_without_quotes_are_one_term() {
        let resolved = |terms: &[&str]| {
            let terms: Vec<String> = terms.iter().map(|t| (*t).to_owned()).collect();
            resolve(&terms)
                .map(|all| all.iter().map(|m| m.item.name()).collect::<Vec<_>>())
                .map_err(|e| e.to_string())
        };
        assert_eq!(resolved(&["cannot", "assign", "requested", "address"]), Ok(vec!["EADDRNOTAVAIL"]));
        assert_eq!(resolved(&["time", "wait"]), Ok(vec!["TIME_WAIT"]));
        assert_eq!(resolved(&["TW001", "bbr"]), Ok(vec!["TW001", "bbr"]));
        assert!(resolved(&["TW001", "nonsense"]).is_err());
    }

    #[test]
    fn everything_is_an_object_of_its_kind_in_json() {
        for (explained, item) in everything("6.18.44").iter().zip(items()) {
            let json = serde_json::to_value(explained).expect("it serializes");
            assert_eq!(json["kind"], item.kind().word());
            assert!(json["name"].as_str().is_some_and(|name| !name.is_empty()), "{json}");
            assert!(json.as_object().is_some_and(|fields| fields.len() > 3), "{json}");
        }
    }

    fn sysctl_on(release: &str, key: &str, reading: Reading<&str>) -> (Json, String) {
        let mut here = kernel(release);
        let sysctl = facts::sysctl(key).expect("a known key");
        here.sysctls.insert(sysctl.key.to_owned(), reading.map(str::to_owned));
        let explained = Meaning { item: Item::Sysctl(sysctl), also: Vec::new() }.explain(&here);
        let style = Style { color: false, width: 400, terminal: false };
        (serde_json::to_value(&explained).expect("it serializes"), render::text(&[explained], &style))
    }

    #[test]
    fn a_value_stands_beside_its_default() {
        let (json, text) = sysctl_on("6.18.44", "tcp_tw_reuse", Ok("2"));
        assert!(text.contains("now      2 (the default since 4.18)\n"), "{text}");
        assert_eq!((&json["value"], &json["is_default"]), (&Json::from("2"), &Json::from(true)));
        let (_, text) = sysctl_on("6.18.44", "tcp_tw_reuse", Ok("1"));
        assert!(text.contains("now      1, default 2 since 4.18\n"), "{text}");
        assert!(text.contains("  1      now  reuse for every destination"), "{text}");
        let (json, text) = sysctl_on("4.15.0", "tcp_tw_reuse", Ok("0"));
        assert!(text.contains("now      0 (the default)\n") && text.contains("3.10   here  0\n"), "{text}");
        assert_eq!(json["default"]["text"], "0");
        let (json, text) = sysctl_on("6.18.44", "ip_local_port_range", Ok("32768\t60999"));
        assert!(text.contains("now      32768 60999 (the default since 4.2)\n"), "{text}");
        assert_eq!(json["value"], "32768 60999");
        let (_, text) = sysctl_on("6.18.44", "tcp_fin_timeout", Ok("30"));
        assert!(text.contains("now      30 s, default 60\n"), "{text}");
        let (_, text) = sysctl_on("6.18.44", "tcp_fin_timeout", Ok("\x1b[2J"));
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn what_this_kernel_lacks_is_said_first() {
        let none =
            || Err(Gap::new("x", GapKind::Unsupported, "this kernel or namespace does not have it", ""));
        let third = |text: &str| text.lines().nth(2).map(|l| l.trim().to_owned()).unwrap_or_default();
        let (json, text) = sysctl_on("6.18.44", "tcp_tw_recycle", none());
        assert!(third(&text).starts_with("Linux 4.12 removed it, and this kernel (6.18.44)"), "{text}");
        assert!(
            text.contains("now      not there\n") && text.contains("exists   removed in 4.12\n"),
            "{text}"
        );
        assert_eq!((&json["value"], &json["until"]), (&Json::Null, &Json::from("4.12")));
        let (_, text) = sysctl_on("3.10.0", "tcp_tw_recycle", Ok("0"));
        assert!(third(&text).starts_with("Removed."), "{text}");
        let (_, text) = sysctl_on("4.4.0", "ip_autobind_reuse", none());
        assert_eq!(third(&text), "Not on this kernel (4.4.0): it came with Linux 5.7.");
        let (_, text) = sysctl_on("4.4.0", "ip_autobind_reuse", Ok("0"));
        assert!(third(&text).starts_with("It is there although mainline kernels"), "{text}");
        let (_, text) = sysctl_on("6.18.44", "tcp_tw_timeout", none());
        assert_eq!(third(&text), "This kernel (6.18.44) does not have it.");
        let denied = Err(Gap::new("x", GapKind::Denied, "Permission denied", "run as root"));
        let (_, text) = sysctl_on("6.18.44", "tcp_fin_timeout", denied);
        assert!(text.contains("now      not known: Permission denied; run as root\n"), "{text}");
        let (_, text) = sysctl_on("99.1", "tcp_fin_timeout", Ok("60"));
        assert!(third(&text).contains("newer than what linger was checked against"), "{text}");
        let (_, text) = sysctl_on("no version", "tcp_fin_timeout", Ok("60"));
        assert!(text.contains("60 s (the default)"), "{text}");
    }

    #[test]
    fn a_counter_shows_its_value_and_the_meaning_in_force() {
        let tw = facts::counter("TcpExt.TW").expect("a known counter");
        let show = |release: &str, counters: Reading<Counters>| {
            let here = Here { counters, ..kernel(release) };
            let explained = Meaning { item: Item::Counter(tw), also: Vec::new() }.explain(&here);
            render::text(&[explained], &Style { color: false, width: 400, terminal: false })
        };
        let text = show("6.18.44", Ok(Counters::from([("TcpExt.TW".to_owned(), 1234)])));
        assert!(text.contains("now      1,234\n") && text.contains("5.18   here"), "{text}");
        let text = show("5.4.0", Ok(Counters::new()));
        assert!(text.contains("now      not known: /proc/net/netstat does not have it\n"), "{text}");
        assert!(!text.contains("here"), "{text}");
    }

    #[test]
    fn the_running_kernel_is_read() {
        let terms = ["tcp_tw_reuse", "TcpExt.TW", "sockstat.TCP.tw", "TW001"].map(str::to_owned);
        let meanings = resolve(&terms).expect("known terms");
        let here = Here::read(meanings.iter().map(|m| m.item));
        assert!(here.version.is_some() && here.sysctls.len() == 1);
        assert!(here.counters.is_ok() && here.sockstat.is_ok());
    }

    #[test]
    fn a_first_sentence_ends_where_it_ends() {
        assert_eq!(first_sentence(" # Head\n A (b. c: d) and 4.18 e.\n More."), "A (b. c: d) and 4.18 e.");
        assert_eq!(first_sentence("é: x"), "é.");
        assert_eq!(first_sentence("no end"), "no end");
    }
}
