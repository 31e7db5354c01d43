//! Golden tests: rule files, and the verdict on each of their lines.

use super::*;
use crate::apply;
use proptest::prelude::*;
use std::fmt::Write;

/// The diagnostics as a compiler would print them, with the piece of the line that they are about.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for d in lint("rules.yml", text.as_bytes(), &Options::default()) {
        let line = text.lines().nth(d.line as usize - 1).unwrap_or_default();
        let piece = &line.as_bytes()[d.column as usize - 1..d.end_column as usize - 1];
        let piece = String::from_utf8_lossy(piece);
        writeln!(out, "{}:{} {} {}: {} `{piece}`", d.line, d.column, d.code, d.severity, d.message)
            .expect("a String takes everything");
        for edit in d.fix.iter().flat_map(|fix| &fix.edits) {
            writeln!(out, "    fix: `{}` -> `{}`", &text[edit.start..edit.end], edit.replacement)
                .expect("a String takes everything");
        }
    }
    out
}

const ARTICLE: &str = include_str!("testdata/article.yml");
const MISTAKES: &str = include_str!("testdata/mistakes.yml");
const HEALTHY: &str = include_str!("testdata/healthy.yml");

#[test]
fn the_articles_alerts() {
    insta::assert_snapshot!(shown(ARTICLE));
}

#[test]
fn mistakes() {
    insta::assert_snapshot!(shown(MISTAKES));
}

#[test]
fn healthy_rules_have_nothing() {
    assert_eq!(shown(HEALTHY), "");
}

#[test]
fn every_lint_is_in_a_golden_file_and_has_a_manual() {
    let mut seen: Vec<String> = [ARTICLE, MISTAKES]
        .iter()
        .flat_map(|text| lint("rules.yml", text.as_bytes(), &Options::default()))
        .map(|d| {
            assert!(!d.source.is_empty() && !d.why.is_empty() && !d.why.contains("  "), "{d:?}");
            d.code
        })
        .collect();
    // These two end the reading of a file.
    seen.extend(["PR001".to_owned(), "PR002".to_owned()]);
    for (at, l) in LINTS.iter().enumerate() {
        assert_eq!(l.code, format!("PR{:03}", at + 1));
        assert!(seen.iter().any(|code| code == l.code), "{} is in no golden file", l.code);
        assert!(find(l.name).is_some_and(|found| found.code == l.code));
        let headings: Vec<&str> = l.doc.lines().filter_map(|line| line.trim().strip_prefix("# ")).collect();
        assert_eq!(headings, ["What it detects", "Why it matters", "Fix", "Sources"], "{}", l.code);
    }
}

#[test]
fn broken_files_say_where() {
    let cases: &[(&[u8], &str, u32, u32)] = &[
        (b"groups:\n- name: a\n  rules:\n   - alert: A\n  expr: [", "PR001", 5, 10),
        (b"groups: \"\n", "PR001", 1, 9),
        (b"a: \xff", "PR001", 1, 4),
        (b"a: *b\n", "PR001", 1, 4),
        (b"- up\n", "PR002", 1, 1),
        (b"groups: 5\n", "PR002", 1, 9),
        (b"groups:\n- rules: []\n", "PR002", 2, 3),
        (b"groups:\n- name: a\n  rules:\n  - alert: A\n", "PR002", 4, 5),
        (b"groups:\n- name: a\n  rules:\n  - expr: up\n", "PR002", 4, 5),
        (b"groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    expr: up\n", "PR002", 6, 5),
        (b"groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    for: 5 min\n", "PR002", 6, 10),
        (b"groups:\n- name: a\n  rules:\n  - alert: A\n    record: A\n    expr: up\n", "PR002", 5, 13),
        (b"groups:\n- name: a\nrules:\n- alert: A\n  expr: up\n", "PR002", 3, 1),
        (b"groups:\n- name: a\n  rules: 5\n", "PR002", 3, 10),
        (b"groups:\n- name: a\n- name: a\n", "PR002", 3, 9),
        // As a page without indentation gives it: the second rule stands among the keys of the first.
        (
            b"groups:\n- name: a\nrules:\n- alert: A\nexpr: up > 1\nfor: 5m\n- alert: B\nexpr: up\n",
            "PR001",
            7,
            3,
        ),
        (b"groups:\n- name: a\n  rules:\n  - alert: A\n    expr: ''\n", "PR002", 4, 5),
        (b"groups:\n- name: a\n  rules:\n  - alert:\n    expr: up\n", "PR002", 4, 5),
        (b"groups:\n- name: a\n  rules:\n  - alert: A\n    expr: |\n      up >\n", "PR003", 6, 7),
        (
            b"groups:\n- name: a\n  rules:\n  - alert: A\n    expr: |\n      up ==\n        rat(up)\n",
            "PR003",
            7,
            9,
        ),
    ];
    for (text, code, line, column) in cases {
        let found = lint("rules.yml", text, &Options::default());
        let places: Vec<_> = found.iter().map(|d| (d.code.as_str(), d.line, d.column)).collect();
        assert_eq!(places, [(*code, *line, *column)], "{}", String::from_utf8_lossy(text));
    }
    for nothing in ["", "---\n", "# nothing\n", "groups:\n", "groups: []\n", "groups:\n- name: a\n  rules:\n"]
    {
        assert_eq!(shown(nothing), "", "{nothing}");
    }
}

#[test]
fn an_alias_is_followed_and_told_once() {
    let text = "x: &e node_netstat_Tcp_TimeWait > 1\ny: &r {alert: A, expr: *e}\nspec:\n  groups:\n  - {name: a, rules: [*r, \
                *r, {<<: *r, alert: B}]}\n";
    let found = lint("rules.yml", text.as_bytes(), &Options::default());
    assert_eq!(found.iter().map(|d| (d.line, d.column)).collect::<Vec<_>>(), [(1, 7)]);
}

#[test]
fn a_known_scrape_interval_decides() {
    let text =
        "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: rate(node_netstat_Tcp_InErrs[1m]) > 0\n";
    let codes = |seconds| {
        let options = Options { scrape_interval: Some(Duration::from_secs(seconds)) };
        lint("rules.yml", text.as_bytes(), &options).into_iter().map(|d| d.severity).collect::<Vec<_>>()
    };
    assert_eq!(codes(15), []);
    assert_eq!(codes(20), [Severity::Info]);
    assert_eq!(codes(60), [Severity::Warning]);
}

#[test]
fn fixes_mend() {
    for text in [ARTICLE, MISTAKES] {
        let found = lint("rules.yml", text.as_bytes(), &Options::default());
        let fixed_codes: Vec<_> =
            found.iter().filter(|d| d.fix.is_some()).map(|d| (d.code.clone(), d.message.clone())).collect();
        assert!(!fixed_codes.is_empty());
        let (mended, left) = apply(text.as_bytes(), &found.iter().collect::<Vec<_>>());
        assert!(left.is_empty(), "{left:?}");
        let again = lint("rules.yml", &mended, &Options::default());
        assert!(again.iter().all(|d| d.fix.is_none()), "{again:#?}");
        assert_eq!(again.len(), found.len() - fixed_codes.len(), "{again:#?}");
    }
}

/// Every place lies in the file, and edits are of whole characters.
fn hold(text: &str) -> Result<(), TestCaseError> {
    let lines: Vec<&str> = text.split('\n').collect();
    for d in lint("rules.yml", text.as_bytes(), &Options::default()) {
        let line = lines.get(d.line as usize - 1);
        prop_assert!(line.is_some_and(|l| d.end_column as usize <= l.len() + 1), "{d:?}");
        prop_assert!(d.column >= 1 && d.column <= d.end_column, "{d:?}");
        for edit in d.fix.iter().flat_map(|fix| &fix.edits) {
            prop_assert!(text.get(edit.start..edit.end).is_some(), "{d:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read(text in "[ -~\\né\t]{0,200}") {
        hold(&text)?;
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = lint("rules.yml", &bytes, &Options::default());
    }

    #[test]
    fn any_expression_is_read(expr in "[a-z_{}\\[\\]()=~\"'`0-9 .,@:+*/<>!^%#-]{0,60}") {
        hold(&format!("groups:\n- name: a\n  rules:\n  - alert: A\n    expr: |\n      {expr}\n"))?;
        hold(&format!("groups:\n- name: a\n  rules:\n  - alert: A\n    expr: {expr}\n"))?;
    }

    #[test]
    fn a_damaged_file_is_read(at in 0..4000_usize, drop in 0..40_usize, put in "[ -~\n]{0,5}") {
        let start = MISTAKES.floor_char_boundary(at.min(MISTAKES.len()));
        let end = MISTAKES.floor_char_boundary((start + drop).min(MISTAKES.len()));
        hold(&format!("{}{put}{}", &MISTAKES[..start], &MISTAKES[end..]))?;
    }
}
