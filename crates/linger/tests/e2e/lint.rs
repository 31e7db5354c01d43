//! `linger lint`, as a user runs it: files, folders, a system's tree, the running namespace; and what --fix writes.

use crate::support::*;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The report, valid by its published schema, and the exit status.
#[track_caller]
fn lint(args: &[&str]) -> (Value, i32) {
    let mut all = vec!["lint", "--format", "json"];
    all.extend(args);
    let done = linger(&all);
    assert_eq!(done.stderr, "", "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"));
    assert_valid(&schema("lint"), &report);
    (report, done.status.unwrap())
}

/// `CODE line` of every diagnostic.
fn codes(report: &Value) -> Vec<String> {
    let of = |d: &Value| format!("{} {}", d["code"].as_str().unwrap(), d["line"]);
    report["diagnostics"].as_array().unwrap().iter().map(of).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_exit_status_is_that_of_the_worst() {
    let files = folder(&[
        ("note.conf", "net.ipv4.tcp_sack = 1\n"),
        ("warning.conf", "net.ipv4.tcp_tw_recycle = 1\n"),
        ("fine.conf", "# nothing\nnet.ipv4.tcp_tw_reuse = 1\n"),
    ]);
    let status = |name: &str, kernel: &str| lint(&[text_of(&files.path().join(name)), "--kernel", kernel]).1;
    assert_eq!(
        [
            status("fine.conf", "6.18"),
            status("note.conf", "6.18"),
            status("warning.conf", "6.18"),
            status("warning.conf", "4.4.0-31-generic")
        ],
        [0, 0, 1, 2]
    );
    let missing = linger(&["lint", "/nowhere/a.conf"]);
    assert!(missing.status == Some(3) && missing.stderr.contains("/nowhere/a.conf"), "{missing:?}");
    assert_eq!(linger(&["lint", "--ram", "64", text_of(files.path())]).status, Some(3));
    assert_eq!(linger(&["lint", "--fix", "--diff", text_of(files.path())]).status, Some(3));
}

#[test]
fn the_line_is_shown_with_its_place() {
    let files = folder(&[("a.conf", "# c\nnet.ipv4.tcp_fin_timeout =\t65\n\x1b[31mkey\n")]);
    let path = files.path().join("a.conf");
    let done = linger(&["lint", text_of(&path), "--kernel", "6.18"]);
    assert_eq!((done.status, done.stderr.as_str()), (Some(1), ""));
    let place = format!("{}:2:28", text_of(&path));
    for wanted in ["warning[SC004]: tcp_fin_timeout = 65 waits about 10 s", &place, "set it to 60 (--fix)"] {
        assert!(done.stdout.contains(wanted), "{wanted}: {}", done.stdout);
    }
    let lines: Vec<&str> = done.stdout.lines().collect();
    let at = lines.iter().position(|l| l.contains("tcp_fin_timeout = 65") && l.contains('|')).unwrap();
    assert_eq!(lines[at].find("65"), lines[at + 1].find("^^"), "{}", done.stdout);
    assert!(!done.stdout.contains('\x1b'), "{:?}", done.stdout);
    assert!(linger(&["lint", text_of(&path), "--color", "always"]).stdout.contains("\x1b["));
    assert!(lines.iter().all(|l| l.chars().count() <= 140), "{}", done.stdout);
}

#[test]
fn memory_and_role_are_judged_only_when_given() {
    let files = folder(&[("a.conf", "net.ipv4.tcp_max_tw_buckets = 50000\nnet.ipv4.tcp_syn_retries = 2\n")]);
    let path = files.path().join("a.conf");
    let path = text_of(&path);
    let of = |args: &[&str]| codes(&lint(&[&[path, "--kernel", "6.18"], args].concat()).0);
    assert_eq!(of(&[]), ["SC012 2"]);
    assert_eq!(of(&["--ram", "64G"]), ["SC009 1", "SC012 2"]);
    assert_eq!(of(&["--ram", "64GiB", "--role", "client"]), ["SC009 1", "SC011 1", "SC011 2"]);
}

#[test]
fn standard_input_and_folders_are_read() {
    let mut child = Command::new(LINGER)
        .args(["lint", "-", "--format", "json", "--kernel", "6.18"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"net.ipv4.tcp_tw_recycle = 1").unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((codes(&report), output.status.code()), (vec!["SC001 1".to_owned()], Some(1)));

    let files = folder(&[
        ("b.conf", "net.ipv4.tcp_retries2 = 12\n"),
        ("a.conf", "net.ipv4.tcp_retries2 = 10\n"),
        ("README", "net.ipv4.tcp_tw_recycle = 1\n"),
    ]);
    let (report, status) = lint(&[text_of(files.path()), "--kernel", "6.18"]);
    assert_eq!((codes(&report), status), (vec!["SC017 1".to_owned()], 0));
    assert!(report["diagnostics"][0]["file"].as_str().unwrap().ends_with("/a.conf"));
    let empty = folder(&[]);
    assert_eq!(linger(&["lint", text_of(empty.path())]).status, Some(3));
}

#[test]
fn a_systems_tree_is_read_as_that_system_would() {
    let tree = folder(&[
        ("etc/sysctl.conf", "net.ipv4.tcp_retries2 = 9\n"),
        ("etc/sysctl.d/10-mine.conf", "net.ipv4.tcp_keepalive_time = 600\nnet.ipv4.tcp_orphan_retries = 3\n"),
        ("run/sysctl.d/50-same.conf", "net.ipv4.tcp_tw_recycle = 1\n"),
        ("etc/sysctl.d/50-same.conf", "# masks\n"),
        ("usr/lib/sysctl.d/40-masked.conf", "net.ipv4.tcp_tw_recycle = 1\n"),
        ("usr/lib/sysctl.d/99-vendor.conf", "net.ipv4.tcp_keepalive_time = 7000\n"),
    ]);
    symlink("/dev/null", tree.path().join("etc/sysctl.d/40-masked.conf")).unwrap();
    let (report, status) = lint(&[text_of(tree.path()), "--kernel", "6.18"]);
    // The vendor's file undoes the administrator's; sysctl.conf is not read at boot.
    assert_eq!((codes(&report), status), (vec!["SC017 1".to_owned(), "SC018 1".to_owned()], 1));
    let masked = report["files"].as_array().unwrap().iter().filter(|f| f.get("masked_by").is_some()).count();
    assert_eq!(masked, 2);
    // Debian's link has it read.
    symlink("../sysctl.conf", tree.path().join("etc/sysctl.d/99-sysctl.conf")).unwrap();
    assert_eq!(codes(&lint(&[text_of(tree.path()), "--kernel", "6.18"]).0), ["SC017 1"]);
    // What belongs to a package is not rewritten.
    fs::write(tree.path().join("usr/lib/sysctl.d/20-old.conf"), "net.ipv4.tcp_tw_recycle = 1\n").unwrap();
    let (report, _) = lint(&[text_of(tree.path()), "--kernel", "6.18", "--fix"]);
    assert!(report["changes"][0]["refused"].as_str().unwrap().contains("package"), "{report:#}");
    let kept = fs::read_to_string(tree.path().join("usr/lib/sysctl.d/20-old.conf")).unwrap();
    assert_eq!(kept, "net.ipv4.tcp_tw_recycle = 1\n");
}

const BROKEN: &str = "# my tuning\nnet.ipv4.tcp_tw_recycle = 1\r\n\n; keep\nnet.ipv4.tcp_fin_timeout = 65 # short\n\
                      net.ipv4.tcp_retries2 = 10\nnet.ipv4.tcp_retries2 = 12";
const MENDED: &str = "# my tuning\n# SC001 removed in Linux 4.12: net.ipv4.tcp_tw_recycle = 1\r\n\n; keep\n\
                      # short\r\nnet.ipv4.tcp_fin_timeout = 60\n\
                      # SC016 set again below: net.ipv4.tcp_retries2 = 10\nnet.ipv4.tcp_retries2 = 12";

#[test]
fn a_fix_is_shown_before_it_is_made_and_keeps_the_old_file() {
    let files = folder(&[("a.conf", BROKEN)]);
    let path = files.path().join("a.conf");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let path = text_of(&path);
    let args = [path, "--kernel", "6.18"];

    let shown = linger(&["lint", path, "--kernel", "6.18", "--diff"]);
    assert_eq!(shown.status, Some(1), "{shown:?}");
    assert!(
        shown.stdout.contains("-net.ipv4.tcp_fin_timeout = 65 # short\n")
            && shown.stdout.contains("+net.ipv4.tcp_fin_timeout = 60\n")
    );
    assert_eq!(
        (fs::read_to_string(path).unwrap().as_str(), names(files.path())),
        (BROKEN, vec!["a.conf".to_owned()])
    );

    let (report, status) = lint(&[&args[..], &["--fix"]].concat());
    assert_eq!(fs::read_to_string(path).unwrap(), MENDED);
    // What is left has no sure fix: 60 is the default.
    assert_eq!((codes(&report), status), (vec!["SC021 6".to_owned()], 0), "{report:#}");
    let backup = report["changes"][0]["backup"].as_str().unwrap();
    assert_eq!(fs::read_to_string(backup).unwrap(), BROKEN);
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o640);

    // A second time there is nothing to do, and nothing is written.
    let (report, _) = lint(&[&args[..], &["--fix"]].concat());
    assert_eq!(report["changes"], json!([]));
    assert_eq!(names(files.path()), ["a.conf", "a.conf.bak"]);
    let text = linger(&["lint", path, "--kernel", "6.18", "--diff"]);
    assert_eq!((text.status, text.stdout.as_str()), (Some(0), "Nothing to mend.\n"));

    // An older copy is not overwritten.
    fs::write(path, "net.ipv4.tcp_tw_recycle = 0\n").unwrap();
    assert_eq!(linger(&["lint", path, "--kernel", "6.18", "--fix"]).status, Some(0));
    assert_eq!(names(files.path()), ["a.conf", "a.conf.bak", "a.conf.bak.1"]);
    assert_eq!(fs::read_to_string(backup).unwrap(), BROKEN);
}

#[test]
fn without_fix_nothing_is_written() {
    let files = folder(&[("a.conf", BROKEN)]);
    let before = fs::metadata(files.path().join("a.conf")).unwrap();
    for format in ["text", "json", "sarif"] {
        linger(&["lint", text_of(files.path()), "--format", format, "--kernel", "6.18"]);
    }
    let after = fs::metadata(files.path().join("a.conf")).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert_eq!(names(files.path()), ["a.conf"]);
}

/// What stands in a folder under a name of settings and is none, or cannot be read, does not hide the rest; and it is not
/// taken for healthy.
#[test]
fn what_cannot_be_read_is_said_and_hides_nothing() {
    let files = folder(&[("a.conf", "net.ipv4.tcp_tw_recycle = 1\n"), ("sub.conf/x", "")]);
    let at = |name: &str| files.path().join(name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe.conf"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let (report, status) = lint(&[text_of(files.path()), "--kernel", "6.18"]);
    assert_eq!((codes(&report), status), (vec!["SC001 1".to_owned()], 1));
    let unknown = |report: &Value| -> Vec<String> {
        let said = report["unknown"].as_array().unwrap().iter();
        said.map(|gap| gap.as_str().unwrap().replace(text_of(files.path()), "")).collect()
    };
    assert_eq!(
        unknown(&report),
        [
            "/pipe.conf is no regular file, and is passed over",
            "/sub.conf is no regular file, and is passed over"
        ]
    );

    symlink("loop.conf", at("loop.conf")).unwrap();
    fs::write(at("large.conf"), vec![b'#'; (1 << 20) + 1]).unwrap();
    let (report, status) = lint(&[text_of(files.path()), "--kernel", "6.18"]);
    assert_eq!((codes(&report), status), (vec!["SC001 1".to_owned()], 3));
    let said = unknown(&report);
    assert!(said.iter().any(|gap| gap.starts_with("cannot read /loop.conf: Too many levels")), "{said:?}");
    assert!(said.iter().any(|gap| gap.starts_with("/large.conf: larger than 1 MiB")), "{said:?}");
    let log = sarif(&[text_of(files.path()), "--kernel", "6.18"]);
    assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], json!(false));
    // Nothing that could be read is wrong: that is not "Nothing wrong".
    fs::write(at("a.conf"), "# fine\n").unwrap();
    let text = linger(&["lint", text_of(files.path()), "--kernel", "6.18"]);
    assert!(text.stdout.contains("Nothing wrong in what could be read"), "{text:?}");
    assert_eq!(text.status, Some(3));

    // By itself each is refused in one sentence, and nothing waits for a writer.
    for (name, wanted) in [
        ("pipe.conf", "is no regular file; `-` reads standard input"),
        ("loop.conf", "Too many levels of symbolic links"),
        ("large.conf", "larger than 1 MiB"),
        ("sub.conf", "no .conf file in it"),
    ] {
        let done = linger(&["lint", text_of(&at(name))]);
        assert!(done.status == Some(3) && done.stderr.contains(wanted), "{name}: {done:?}");
        assert_eq!((done.stdout.as_str(), done.stderr.lines().count()), ("", 1), "{name}: {done:?}");
    }
    let done = linger(&["lint", "--prometheus", text_of(&at("pipe.conf"))]);
    assert!(done.status == Some(3) && done.stderr.contains("is no regular file"), "{done:?}");
}

#[test]
fn texts_of_any_kind_are_read() {
    let files = folder(&[
        ("empty.conf", ""),
        ("marked.conf", "\u{feff}net.ipv4.tcp_retries2 = 5\n"),
        ("wide.conf", "net.ipv4.tcp_fin_timeout = 65   # 日本語\n"),
        ("pasted.conf", "net.ipv4.tcp_retries2\u{a0}= 9\nnet.ipv4.tcp_retries1 = 4\u{a0}\n"),
    ]);
    let at = |name: &str| files.path().join(name);
    fs::write(at("bytes.conf"), (0..=255).chain([b'=', 0xff, b'\n', 0]).collect::<Vec<u8>>()).unwrap();
    let of = |name: &str| {
        let (report, status) = lint(&[text_of(&at(name)), "--kernel", "6.18"]);
        (codes(&report), status)
    };
    let codes = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    assert_eq!(of("empty.conf"), (vec![], 0));
    assert_eq!(of("marked.conf"), (codes(&["SC002 1"]), 1));
    assert_eq!(of("pasted.conf"), (codes(&["SC002 1", "SC005 2"]), 1));
    assert_eq!(of("bytes.conf").1, 1);
    // The mark goes, and what it hid is said.
    let (report, _) = lint(&[text_of(&at("marked.conf")), "--kernel", "6.18", "--fix"]);
    assert_eq!(self::codes(&report), ["SC012 1"]);
    assert_eq!(fs::read_to_string(at("marked.conf")).unwrap(), "net.ipv4.tcp_retries2 = 5\n");
    // The place is underlined as wide as it is seen: `# 日本語` takes 8 columns.
    let text = linger(&["lint", text_of(&at("wide.conf")), "--kernel", "6.18"]).stdout;
    assert!(
        text.lines().any(|line| line.ends_with(&format!("{}{}", " ".repeat(32), "^".repeat(8)))),
        "{text}"
    );
    // A hundred megabytes are not taken in.
    fs::File::create(at("huge.conf")).unwrap().set_len(100 << 20).unwrap();
    assert_eq!(linger(&["lint", text_of(&at("huge.conf"))]).status, Some(3));
    for wrong in [["--kernel", "abc"], ["--ram", "0"], ["--role", "king"]] {
        assert_eq!(
            linger(&["lint", wrong[0], wrong[1], text_of(&at("empty.conf"))]).status,
            Some(3),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_tree_does_not_lead_to_this_hosts_files() {
    let outside = folder(&[("mine.conf", "net.ipv4.tcp_tw_recycle = 1\n")]);
    let tree = folder(&[("etc/sysctl.d/10-a.conf", "net.ipv4.tcp_retries2 = 12\n")]);
    let up = "../".repeat(outside.path().components().count() + 8);
    let target = format!("{up}{}/mine.conf", text_of(outside.path()).trim_start_matches('/'));
    symlink(target, tree.path().join("etc/sysctl.d/20-b.conf")).unwrap();
    let (report, status) = lint(&[text_of(tree.path()), "--kernel", "6.18", "--fix"]);
    assert_eq!((codes(&report), status), (vec![], 3), "{report:#}");
    assert!(report["unknown"][0].as_str().unwrap().contains("20-b.conf leads out of"), "{report:#}");
    assert_eq!(names(outside.path()), ["mine.conf"]);
}

#[test]
fn a_file_that_cannot_be_rewritten_does_not_stop_the_others() {
    const DEAD: &str = "net.ipv4.tcp_tw_recycle = 1\n";
    let files = folder(&[("a.conf", DEAD), ("b.conf", DEAD), ("other/b", "")]);
    fs::remove_file(files.path().join("other/b")).unwrap();
    fs::hard_link(files.path().join("a.conf"), files.path().join("other/b")).unwrap();
    let (report, status) = lint(&[text_of(files.path()), "--kernel", "6.18", "--fix"]);
    // What was not mended is still said.
    assert_eq!((codes(&report), status), (vec!["SC001 1".to_owned()], 3), "{report:#}");
    assert!(report["changes"][0]["refused"].as_str().unwrap().contains("hard links"), "{report:#}");
    assert!(report["changes"][1]["backup"].is_string(), "{report:#}");
    assert_eq!(fs::read_to_string(files.path().join("a.conf")).unwrap(), DEAD);
    assert_eq!(names(files.path()), ["a.conf", "b.conf", "b.conf.bak", "other"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let files = folder(&[("a.conf", "net.ipv4.tcp_tw_recycle = 1\n")]);
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let path = files.path().join("a.conf");
    let args = ["lint", "--fix", "--kernel", "6.18", text_of(&path)];
    // Root may write everywhere.
    let done = if rustix::process::geteuid().is_root() {
        let public = crate::cli::Public::new();
        let mut nobody = Command::new("setpriv");
        finish(nobody.args(crate::cli::NOBODY).arg(public.program()).args(args))
    } else {
        linger(&args)
    };
    assert!(done.status == Some(3) && done.stdout.contains("not mended: cannot rewrite"), "{done:?}");
    assert!(done.stdout.contains("Permission denied"), "{done:?}");
    assert_eq!(names(files.path()), ["a.conf"]);
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

/// What SARIF 2.1.0 demands of the parts that linger writes (OASIS sarif-schema-2.1.0.json).
fn sarif_schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(include_str!("sarif-2.1.0-subset.json")).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// The log, valid by what SARIF demands.
#[track_caller]
fn sarif(args: &[&str]) -> Value {
    let done = linger(&[&["lint", "--format", "sarif"], args].concat());
    assert_eq!(done.stderr, "", "{done:?}");
    let log: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"));
    assert_valid(&sarif_schema(), &log);
    log
}

#[test]
fn sarif_is_as_code_review_tools_read_it() {
    let files =
        folder(&[("ä b.conf", "# ü TIME_WAIT\nnet.ipv4.tcp_fin_timeout = 65\nnet.ipv4.tcp_sack = 1\n")]);
    let log = sarif(&[text_of(files.path()), "--kernel", "4.4"]);
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 3, "{log:#}");
    for result in results {
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
    }
    // Columns are characters, not bytes: `# ü TIME_WAIT` has 13.
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["region"], json!({ "startLine": 1, "startColumn": 1, "endColumn": 14 }));
    let uri = place["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with("/%C3%A4%20b.conf"), "{uri}");
    assert_eq!(results[2]["level"], "note");
    // What --fix would do is in it: the second line is a trap, and what it should be is sure.
    assert_eq!(results[0].get("fixes"), None);
    let change = &results[1]["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["artifactLocation"], place["artifactLocation"]);
    let region = json!({ "startLine": 2, "startColumn": 28, "endLine": 2, "endColumn": 30 });
    assert_eq!(
        change["replacements"],
        json!([{ "deletedRegion": region, "insertedContent": { "text": "60" } }])
    );
    assert_eq!(run["invocations"][0]["executionSuccessful"], json!(true));
}

/// The text with what a SARIF log would change in it.
fn by_sarif(text: &str, log: &Value) -> String {
    let mut edits: Vec<(usize, usize, &str)> = Vec::new();
    let at = |line: &Value, column: &Value| {
        let before = text.split_inclusive('\n').take(line.as_u64().unwrap() as usize - 1);
        let start: usize = before.map(str::len).sum();
        let column = column.as_u64().unwrap() as usize - 1;
        start + text[start..].chars().take(column).map(char::len_utf8).sum::<usize>()
    };
    for result in log["runs"][0]["results"].as_array().unwrap() {
        for fix in result["fixes"].as_array().into_iter().flatten() {
            for edit in fix["artifactChanges"][0]["replacements"].as_array().unwrap() {
                let region = &edit["deletedRegion"];
                let start = at(&region["startLine"], &region["startColumn"]);
                let end = at(&region["endLine"], &region["endColumn"]);
                edits.push((start, end, edit["insertedContent"]["text"].as_str().unwrap()));
            }
        }
    }
    edits.sort_unstable();
    let mut text = text.to_owned();
    for (start, end, new) in edits.into_iter().rev() {
        text.replace_range(start..end, new);
    }
    text
}

#[test]
fn what_sarif_says_to_change_is_what_a_fix_changes() {
    // Each line has one fault, so that nothing has to wait for a second round.
    let text = "# ü\nnet.ipv4.tcp_tw_recycle = 1\r\n\nnet.ipv4.tcp_fin_timeout = 65\n\
                \tnet.ipv4.tcp_retries2 = 12 # größer\nnet.ipv4.route.gc_timeout = 100";
    let files = folder(&[("a.conf", text)]);
    let path = files.path().join("a.conf");
    let log = sarif(&[text_of(&path), "--kernel", "6.18"]);
    lint(&[text_of(&path), "--kernel", "6.18", "--fix"]);
    let mended = fs::read_to_string(&path).unwrap();
    assert_eq!(by_sarif(text, &log), mended);
    assert_ne!(mended, text);
}

#[test]
fn running_values_and_services_are_compared() {
    let Some(lab) = lab() else { return };
    lab.far.sysctl("net.ipv4.tcp_fin_timeout", "33").unwrap();
    let _server = start(&lab.far, linger_lab::Server { listen: vec![address("10.77.0.2:8080")], ..server() });
    let files = folder(&[(
        "a.conf",
        "net.ipv4.tcp_fin_timeout = 30\nnet.ipv4.tcp_retries2 = 15\nnet.ipv4.ip_local_port_range = 1024 65535\n\
         net.ipv4.conf.*.rp_filter = 7\nnet.core.netdev_max_backlog = 5000\n",
    )]);
    let path = files.path().join("a.conf");
    let done = linger_in(&lab.far, &["lint", "--live", "--format", "json", text_of(&path)]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"));
    assert_valid(&schema("lint"), &report);
    let of = |code: &str, line: u64| {
        let all = report["diagnostics"].as_array().unwrap();
        let mut its = all.iter().filter(|d| d["code"] == code && d["line"] == line);
        its.next().map(|d| d["message"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    assert_eq!(of("SC020", 1), "the running value is 33", "{report:#}");
    assert_eq!(of("SC020", 2), "", "15 is 15");
    assert!(of("SC010", 3).contains("8080"), "{report:#}");
    assert!(of("SC020", 4).starts_with("net.ipv4.conf."), "{report:#}");
    assert!(of("SC013", 5).contains("whole host"), "{report:#}");
}

/// A system of its own: mounts over the places where settings are, in a mount namespace, and a network namespace.
fn in_a_system(tree: &Path, script: &str) -> Option<Done> {
    let mut mounts = String::from("set -e\n");
    for place in ["/etc/sysctl.d", "/etc/sysctl.conf"] {
        mounts.push_str(&format!("mount --bind {0}{place} {place}\n", text_of(tree)));
    }
    // What the machine ships is left out.
    mounts.push_str(&format!("mount --bind {0}/empty /usr/lib/sysctl.d\n", text_of(tree)));
    let done = finish(Command::new("unshare").args(["-m", "-n", "sh", "-c", &format!("{mounts}{script}")]));
    let places = ["/etc/sysctl.d", "/etc/sysctl.conf", "/usr/lib/sysctl.d"];
    let missing = places.iter().find(|place| !Path::new(place).exists());
    let denied = done.stderr.contains("Operation not permitted") || done.stderr.contains("permission denied");
    if missing.is_some() || denied {
        assert!(!in_ci(), "this machine has no {missing:?}, or mounts are denied: {done:?}");
        println!("SKIPPED: a mount namespace over {places:?}: {}", done.stderr.trim());
        return None;
    }
    Some(done)
}

#[test]
fn this_hosts_files_are_read_as_systemd_and_procps_read_them() {
    let tree = folder(&[
        ("etc/sysctl.conf", "net.ipv4.tcp_retries2 = 9\nnet.ipv4.tcp_fin_timeout = 41\n"),
        (
            "etc/sysctl.d/10-a.conf",
            "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.lo.rp_filter\nnet/ipv4/conf/default/rp_filter = 1\n\
             net.ipv4.tcp_fin_timeout = 20\nnet.ipv4.tcp_fin_timeout = 30 ; with words\nnet.ipv4.tcp_sack 0\n\
             -net.ipv4.nothing = 1\nnet.ipv4.tcp_keepalive_time = 010\nnet.ipv4.tcp_syn_retries = 300\n",
        ),
        ("etc/sysctl.d/20-b.conf", "net.ipv4.tcp_rmem = 4096\t131072 7000000 \r\nnet.ipv4.tcp_retries1=4"),
        ("empty/.keep", ""),
    ]);
    let programs = [
        ("/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl 2>/dev/null || true"),
        ("/sbin/sysctl", "/sbin/sysctl --system >/dev/null 2>&1 || true"),
    ];
    for (program, command) in programs {
        if !Path::new(program).exists() {
            assert!(!in_ci(), "{program} is missing");
            println!("SKIPPED: {program} is missing");
            continue;
        }
        let script = format!("{command}\n{LINGER} lint --format json || true\n");
        let Some(done) = in_a_system(tree.path(), &script) else { return };
        let report: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"));
        assert_valid(&schema("lint"), &report);
        let differs: Vec<(u64, &str, &str)> = report["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["code"] == "SC020")
            .map(|d| {
                (d["line"].as_u64().unwrap(), d["key"].as_str().unwrap(), d["message"].as_str().unwrap())
            })
            .collect();
        // The kernel refuses 300; all else is in force as linger reads the files. sysctl.conf comes last for procps alone.
        let booted_by_systemd = Path::new("/run/systemd/system").exists();
        let mut wanted = vec![(9, "net.ipv4.tcp_syn_retries", "the running value is 6")];
        if booted_by_systemd && program.ends_with("/sysctl") {
            wanted.insert(0, (5, "net.ipv4.tcp_fin_timeout", "the running value is 41"));
        }
        if !booted_by_systemd && program.ends_with("systemd-sysctl") {
            wanted.push((1, "net.ipv4.tcp_retries2", "the running value is 15"));
            wanted.push((2, "net.ipv4.tcp_fin_timeout", "the running value is 30"));
        }
        assert_eq!(differs, wanted, "{program}: {report:#}");
    }
}

#[test]
fn prometheus_rules_are_linted_too() {
    let rules = "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: node_netstat_Tcp_TimeWait > 1\n";
    let files = folder(&[("rules.yml", rules)]);
    let path = files.path().join("rules.yml");
    let (report, status) = lint(&["--prometheus", text_of(&path)]);
    assert_eq!((codes(&report), report["kernel"].clone()), (vec!["PR004 5".to_owned()], Value::Null));
    assert!(status > 0);
    let text = linger(&["lint", "--prometheus", text_of(&path)]);
    assert!(text.stdout.contains("rules.yml:5:11"), "{}", text.stdout);
    assert_eq!(linger(&["lint", "--prometheus", "--live", text_of(&path)]).status, Some(3));
}

#[test]
fn every_code_is_in_the_documentation() {
    let page = include_str!("../../../../docs/lint.md");
    let list = linger(&["explain", "--list", "--format", "json"]).json();
    let lints: Vec<&Value> = list.as_array().unwrap().iter().filter(|it| it["kind"] == "lint").collect();
    assert!(lints.len() > 20);
    for lint in lints {
        let code = lint["name"].as_str().unwrap();
        assert!(page.contains(&format!("| {code} | ")), "{code} is not in docs/lint.md");
    }
}

#[test]
fn every_code_is_explained() {
    for code in ["SC001", "trap-value", "PR004"] {
        let done = linger(&["explain", code]);
        assert!(done.status == Some(0) && done.stdout.contains("What it detects"), "{done:?}");
    }
}
