//! `cargo xtask lab`: what `linger lab` prints, for docs/lab.md.
//!
//! The page is written by hand but for the blocks between two marks; those are replaced as a whole, and CI never runs
//! the lab for them.

use crate::sh;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use linger_lab::scenario::{self, Scenario};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Run the whole lab, one scenario after the other, and print it as docs/lab.md shows it
///
/// It takes about four minutes. What changes settings of the whole machine is taken from the last `cargo xtask vm-test`
/// instead. A run that is not as expected is a failure, and nothing is written.
#[derive(clap::Args)]
pub struct Args {
    /// Write it to docs/lab.md
    #[arg(long)]
    write: bool,
    /// Only these blocks of the page
    #[arg(value_name = "BLOCK")]
    only: Vec<String>,
}

const PAGE: &str = "docs/lab.md";
/// The series of kernels whose guest shows what cannot run on a machine that is kept.
const GUEST: &str = "6.12";
/// Above the example's first line.
const EXAMPLE: &str = "<!-- example: ";

/// The blocks of the page that are printed, and by what.
const BLOCKS: &[(&str, Block)] = &[
    ("show", Block::Command(&["lab", "show", "short-connections"])),
    ("run", Block::Command(&["lab", "run", "short-connections"])),
    ("compare", Block::Command(&["lab", "compare", "short-connections", "--a", "", "--b", "tcp_tw_reuse=1"])),
    ("example", Block::Example),
    ("myths", Block::Command(&["lab", "myths", "-v"])),
    ("list", Block::Command(&["lab", "list"])),
    ("runs", Block::Runs),
    ("guest", Block::Guest),
];

enum Block {
    /// One command.
    Command(&'static [&'static str]),
    /// The page's own example and its twin.
    Example,
    /// Every scenario of the library that runs on a machine that is kept.
    Runs,
    /// The others.
    Guest,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    for name in &args.only {
        let all: Vec<&str> = BLOCKS.iter().map(|(block, _)| *block).collect();
        ensure!(all.contains(&name.as_str()), "{name}: the blocks are {}", all.join(", "));
    }
    // What the guests reported is only read.
    if args.only != ["guest"] {
        sh::run(workspace.cargo("build").args(["--release", "--package", "linger", "--bin", "linger"]))?;
    }
    let path = workspace.root.join(PAGE);
    let mut page = read(&path)?;
    let mut lab = Lab { linger: workspace.target.join("release/linger"), wrong: Vec::new() };
    for (name, block) in BLOCKS {
        if !args.only.is_empty() && args.only.iter().all(|only| only != name) {
            continue;
        }
        let text = match block {
            Block::Command(words) => lab.printed(words, None)?,
            Block::Example => lab.example(&page)?,
            Block::Runs => lab.runs()?,
            Block::Guest => lab.guest(&workspace.target.join("vm"))?,
        };
        println!("{text}");
        page = replaced(&page, name, &text)?;
    }
    if !lab.wrong.is_empty() {
        bail!("nothing was written, since not all was as expected:\n{}", lab.wrong.join("\n"));
    }
    if args.write {
        fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(())
}

/// Fails where the page's example is no scenario any more. What else can be told without running the lab is in the
/// tests below.
pub fn check(root: &Path, linger: &Path) -> Result<()> {
    let page = read(&root.join(PAGE))?;
    let (name, text) = example(&page)?;
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let file = folder.path().join(name);
    fs::write(&file, text)?;
    for twin in ["", "overlap"] {
        let mut command = Command::new(linger);
        command.args(["lab", "show"]).arg(&file);
        if !twin.is_empty() {
            command.args(["--twin", twin]);
        }
        sh::output(&mut command).with_context(|| format!("the example of {PAGE}"))?;
    }
    Ok(())
}

/// Runs the lab.
struct Lab {
    linger: PathBuf,
    /// What was not as expected, or could not run.
    wrong: Vec<String>,
}

impl Lab {
    /// A command and what it printed, as a console shows it.
    fn printed(&mut self, words: &[&str], folder: Option<&Path>) -> Result<String> {
        let mut command = Command::new(&self.linger);
        command.args(words).stdin(Stdio::null());
        command.env("COLUMNS", "100").env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8");
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        sh::announce(&command);
        let line = sh::line(&command);
        let output = command.output().with_context(|| format!("`{line}` could not be started"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            self.wrong.push(format!("`{line}` ended with {}: {}", output.status, said.trim()));
        }
        Ok(console(&line, &String::from_utf8_lossy(&output.stdout)))
    }

    fn example(&mut self, page: &str) -> Result<String> {
        let (name, text) = example(page)?;
        let folder = tempfile::tempdir().context("a temporary folder")?;
        fs::write(folder.path().join(name), text)?;
        let fault = self.printed(&["lab", "run", name], Some(folder.path()))?;
        let twin = self.printed(&["lab", "run", name, "--twin", "overlap"], Some(folder.path()))?;
        Ok(format!("{fault}\n{twin}"))
    }

    fn runs(&mut self) -> Result<String> {
        let mut text = String::new();
        for scenario in scenario::library()?.iter().filter(|it| it.machine.is_empty()) {
            let run = self.printed(&["lab", "run", &scenario.name], None)?;
            text.push_str(&section(scenario, &run));
        }
        Ok(text)
    }

    fn guest(&mut self, reports: &Path) -> Result<String> {
        let guest = Guest::last(reports)?;
        let mut text = String::new();
        for scenario in scenario::library()?.iter().filter(|it| !it.machine.is_empty()) {
            let name = &scenario.name;
            let run = match guest.as_ref().and_then(|guest| guest.run(name)) {
                Some((run, status)) => {
                    if status != "0" {
                        self.wrong.push(format!("{name} ended in the guest with exit status {status}"));
                    }
                    run
                }
                None => not_at_hand(scenario),
            };
            text.push_str(&section(scenario, &run));
        }
        Ok(text)
    }
}

/// A scenario and its run.
fn section(scenario: &Scenario, run: &str) -> String {
    let Scenario { name, title, what, look, source, .. } = scenario;
    if scenario::source(name).is_none() {
        let kind = if scenario.twin_of.is_some() { "A healthy twin" } else { "A variant" };
        return format!("#### {name}\n\n{}\n{run}\n", paragraph(&format!("*{kind}.* **{title}.** {what}")));
    }
    let paragraphs = [
        format!("**{title}.** {what}"),
        format!("*What to look at:* {look}"),
        format!("*Sources:* {}.", source.join("; ")),
    ];
    let text: Vec<String> = paragraphs.iter().map(|text| paragraph(text)).collect();
    format!("### {name}\n\n{}\n{run}\n", text.join("\n"))
}

/// Broken into lines, as the text beside it is.
fn paragraph(text: &str) -> String {
    const WIDTH: usize = 118;
    let mut lines = vec![String::new()];
    for word in text.replace('<', "&lt;").split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

fn not_at_hand(scenario: &Scenario) -> String {
    let keys: Vec<String> = scenario.machine.keys().map(|key| format!("`{key}`")).collect();
    format!(
        "No run is shown: it changes {}, which is the whole machine's, and there was no report of `cargo xtask vm-test` \
         on kernel {GUEST} when this page was printed; `cargo xtask lab --write guest` puts it here.\n",
        keys.join(", ")
    )
}

/// What a guest of `cargo xtask vm-test` reported.
struct Guest(String);

impl Guest {
    /// The last of the series.
    fn last(folder: &Path) -> Result<Option<Guest>> {
        let mut reports = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{GUEST}.")) && name.ends_with(".report") {
                reports.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        reports.sort();
        let Some((_, path)) = reports.pop() else { return Ok(None) };
        Ok(Some(Guest(String::from_utf8_lossy(&fs::read(path)?).into_owned())))
    }

    /// A scenario as it was printed there, and the exit status, if it came to its end.
    fn run(&self, name: &str) -> Option<(String, String)> {
        let (_, after) = self.0.split_once(&format!("@@begin lab-{name}\n"))?;
        let (step, after) = after.split_once(&format!("@@end lab-{name} "))?;
        let lines = step.lines().filter_map(|line| line.strip_prefix('>'));
        let printed: String = lines.map(|line| format!("{line}\n")).collect();
        let text = console(&format!("linger lab run {name} --in-disposable-vm"), &printed);
        Some((text, after.lines().next()?.to_owned()))
    }
}

fn console(line: &str, printed: &str) -> String {
    format!("```console\n$ {line}\n{}\n```\n", printed.trim_end())
}

/// The name and text of the page's example.
fn example(page: &str) -> Result<(&str, &str)> {
    let (_, after) = page.split_once(EXAMPLE).with_context(|| format!("{PAGE} has no example"))?;
    let (name, after) = after.split_once(" -->\n").context("the example's mark does not end")?;
    let text = after.trim_start().strip_prefix("```toml\n").context("the example is not a block of toml")?;
    let (text, _) = text.split_once("```").context("the example does not end")?;
    Ok((name, text))
}

fn marks(name: &str) -> [String; 2] {
    [format!("<!-- printed by cargo xtask lab: {name} -->\n"), format!("<!-- end: {name} -->\n")]
}

/// The page with other text between a block's marks.
fn replaced(page: &str, name: &str, text: &str) -> Result<String> {
    let [begin, end] = marks(name);
    let lack = || format!("{PAGE} has no block {name:?}, between the marks {begin:?} and {end:?}");
    let (before, rest) = page.split_once(&begin).with_context(lack)?;
    let (_, after) = rest.split_once(&end).with_context(lack)?;
    ensure!(!text.contains(&begin) && !text.contains(&end), "block {name:?} contains its own marks");
    Ok(format!("{before}{begin}\n{text}\n{end}{after}"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_lab::myths;
    use linger_lab::scenario::{Adjust, Check, Expect, HostSpec, Limits, Phase, from_text};
    use linger_lab::{ActorSpec, Bound, Client, KeepaliveTimes, Program, Server, Sockets};
    use serde_json::Value;

    fn page() -> String {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE)).unwrap()
    }

    /// The part of the page that is written by hand.
    fn by_hand() -> String {
        BLOCKS.iter().fold(page(), |page, (name, _)| replaced(&page, name, "").unwrap())
    }

    #[test]
    fn every_scenario_and_every_myth_is_on_the_page() {
        let page = page();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let all = words(&page);
        for scenario in scenario::library().unwrap() {
            let heading = if scenario::source(&scenario.name).is_some() { "###" } else { "####" };
            let heading = format!("\n{heading} {}\n", scenario.name);
            assert!(page.contains(&heading), "{}: cargo xtask lab --write", scenario.name);
            assert!(all.contains(&words(&scenario.title)), "{}: cargo xtask lab --write", scenario.title);
        }
        for myth in myths::all() {
            assert!(all.contains(&words(myth.claim)), "{}: cargo xtask lab --write", myth.name);
        }
    }

    /// The keys that are known, as the refusal of an unknown one lists them.
    fn keys(refusal: &str) -> Vec<String> {
        let (_, listed) = refusal.split_once("expected ").unwrap_or_else(|| panic!("{refusal}"));
        let keys = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        assert!(keys.len() > 1, "{refusal}");
        keys
    }

    #[test]
    fn every_key_is_described() {
        let unknown = r#"{"no_such_key": 1}"#;
        let mut all =
            keys(&from_text("x", "no_such_key = 1", None, &Adjust::default()).unwrap_err().to_string());
        all.extend(["params", "twin", "variant", "late"].map(str::to_owned));
        let refusals = [
            serde_json::from_str::<HostSpec>(unknown).unwrap_err().to_string(),
            serde_json::from_str::<Limits>(unknown).unwrap_err().to_string(),
            serde_json::from_str::<Phase>(unknown).unwrap_err().to_string(),
            serde_json::from_str::<Check>(unknown).unwrap_err().to_string(),
            serde_json::from_str::<Expect>(unknown).unwrap_err().to_string(),
            serde_json::from_str::<KeepaliveTimes>(unknown).unwrap_err().to_string(),
        ];
        all.extend(refusals.iter().flat_map(|refusal| keys(refusal)));
        let actors: [ActorSpec; 5] = [
            Client::default().into(),
            Server::default().into(),
            Bound::default().into(),
            Sockets::default().into(),
            Program::default().into(),
        ];
        for actor in actors {
            let Value::Object(actor) = serde_json::to_value(actor).unwrap() else { panic!("an object") };
            all.extend(actor.into_iter().flat_map(|(key, value)| match value.as_str() {
                // Kinds and the like are words to choose from.
                Some(word) if key == "kind" => vec![key, format!("\"{word}\"")],
                _ => vec![key],
            }));
        }
        let page = by_hand();
        for key in all {
            assert!(page.contains(&format!("`{key}`")), "`{key}` is not described in {PAGE}");
        }
    }

    #[test]
    fn every_choice_of_the_actors_is_described() {
        let page = by_hand();
        for (kind, key) in [("client", "close"), ("server", "behaviour")] {
            let text = format!(r#"{{"kind": "{kind}", "{key}": "no_such_word"}}"#);
            let refusal = serde_json::from_str::<ActorSpec>(&text).unwrap_err().to_string();
            for word in keys(&refusal) {
                assert!(page.contains(&word), "{key} = \"{word}\" is not described in {PAGE}");
            }
        }
    }

    #[test]
    fn the_example_is_a_scenario_with_a_twin() {
        let page = page();
        let (name, text) = example(&page).unwrap();
        assert_eq!(name, "deploy.toml");
        for twin in [None, Some("overlap")] {
            let scenario = from_text("deploy", text, twin, &Adjust::default()).unwrap();
            assert_eq!(scenario.twin_of.is_some(), twin.is_some());
        }
    }

    #[test]
    fn a_block_is_replaced_between_its_marks() {
        let [begin, end] = marks("list");
        let page = format!("before\n{begin}\nold\n\n{end}after\n");
        let new = replaced(&page, "list", "new\n").unwrap();
        assert_eq!(new, format!("before\n{begin}\nnew\n\n{end}after\n"));
        assert!(replaced(&page, "myths", "new").is_err());
    }

    #[test]
    fn a_guests_runs_are_cut_out_of_its_report() {
        let guest = Guest(
            "@@begin lab-orphans\n>orphans  More\n>  it's so\n!noise\n@@end lab-orphans 0\n\
             @@begin lab-orphans-room\n>oh\n@@end lab-orphans-room 1\n@@done\n"
                .into(),
        );
        let (run, status) = guest.run("orphans").unwrap();
        assert!(
            run.contains("$ linger lab run orphans --in-disposable-vm\norphans  More\n  it's so\n```"),
            "{run}"
        );
        assert_eq!(status, "0");
        assert_eq!(guest.run("orphans-room").unwrap().1, "1");
        assert_eq!(guest.run("memory-pressure"), None);
    }
}
