//! What --fix promises: it can be done twice, keeps comments and order, and changes no value that it did not speak of.

use linger_facts::Version;
use linger_lint::sysctl::effective::{Effective, order};
use linger_lint::sysctl::parse::{Document, Kind};
use linger_lint::sysctl::value::{Shape, ints};
use linger_lint::sysctl::{Context, File, Key, Loader, Role, fix, lint};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: &[&str] = &[
    "net.ipv4.tcp_tw_recycle",
    "net.ipv4.tcp_tw_reuse",
    "net/ipv4/tcp_fin_timeout",
    "net.ipv4.tcp_rmem",
    "net.ipv4.route.gc_timeout",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_fack",
    "net.core.somaxconn",
    "net.ipv4.netfilter.ip_conntrack_max",
    "net.ipv4.conf.*.rp_filter",
    "net.ipv4.conf.eth0/100.rp_filter",
    "vm.swappiness",
    "kernel.core_pattern",
];
const VALUES: &[&str] = &[
    "0",
    "1",
    "60",
    "65",
    "119",
    "050",
    "0x41",
    "65 # why",
    "7 ; no",
    "8#9",
    "4096 87380 16777216",
    "010 020 030",
    "1 2 3 4",
    "bbr # fast",
    "",
    "1024 65535",
    "x",
    "300",
    "40# c",
];

/// What the kernel makes of a value, as far as it can be told.
fn meaning(key: &Key, value: &str) -> String {
    let known = linger_facts::sysctls().find(|s| s.key == key.dotted());
    match known.map(Shape::of) {
        Some(Shape::Ints(count)) => match ints(value, count) {
            Ok(ints) => format!("{ints:?}"),
            Err(_) => "refused".to_owned(),
        },
        _ => value.to_owned(),
    }
}

/// What each key has in the end.
fn effective(files: &[File]) -> BTreeMap<Key, String> {
    let documents: Vec<Document> = files.iter().map(|f| Document::parse(&f.text)).collect();
    let effective = Effective::of(&order(files, Loader::Systemd).0, &documents);
    let mut all = BTreeMap::new();
    for at in effective.keys.values().chain(&effective.globs) {
        if let Kind::Setting(s) = &documents[at.file].lines[at.line].kind {
            all.insert(s.key.clone(), meaning(&s.key, &s.value));
        }
    }
    all
}

fn check(texts: &[Vec<u8>], context: &Context) -> Result<(), TestCaseError> {
    let files: Vec<File> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| File { name: format!("{index}.conf"), text: text.clone(), places: Vec::new() })
        .collect();
    let fixed = fix(&files, context);
    let mut after = files.clone();
    for f in &fixed {
        after[f.file].text.clone_from(&f.text);
        prop_assert!(!f.mended.is_empty() && f.text != files[f.file].text);
    }
    prop_assert_eq!(fix(&after, context), [], "a second time changes more");
    // Values that change were spoken of.
    let mended: BTreeSet<Key> =
        fixed.iter().flat_map(|f| &f.mended).filter_map(|d| d.key.as_deref()).map(Key::new).collect();
    let (before, now) = (effective(&files), effective(&after));
    for key in before.keys().chain(now.keys()) {
        prop_assert!(before.get(key) == now.get(key) || mended.contains(key), "{key} changes in silence");
    }
    // Every line that was there is there, in its order, perhaps as a comment.
    for f in &fixed {
        let old = String::from_utf8_lossy(&files[f.file].text).into_owned();
        let new = String::from_utf8_lossy(&f.text).into_owned();
        for comment in ["# why", "; no", "# c", "# fast", "# TIME_WAIT is shortened", "; c"] {
            let kept = old.matches(comment).count() <= new.matches(comment).count();
            prop_assert!(kept, "{comment:?} is lost: {new}");
        }
        let mut rest = new.as_str();
        for key in
            old.lines().filter(|l| !l.trim_start().starts_with(['#', ';'])).filter_map(|l| l.split_once('='))
        {
            let at = rest.find(key.0.trim());
            prop_assert!(at.is_some(), "{:?} is lost: {new}", key.0);
            rest = &rest[at.unwrap_or(0) + key.0.trim().len()..];
        }
    }
    Ok(())
}

fn contexts() -> impl Strategy<Value = Context> {
    let kernels = prop_oneof![
        Just(None),
        Just(Some((3, 10))),
        Just(Some((4, 18))),
        Just(Some((6, 1))),
        Just(Some((6, 18)))
    ];
    let ram = prop_oneof![Just(None), Just(Some(2_u64 << 30)), Just(Some(64_u64 << 30))];
    let role = prop_oneof![Just(None), Just(Some(Role::Gateway)), Just(Some(Role::MeshNode))];
    (kernels, ram, role).prop_map(|(kernel, ram_bytes, role)| Context {
        kernel: kernel.map(|(major, minor)| Version::new(major, minor)),
        ram_bytes,
        role,
        ..Context::default()
    })
}

fn line() -> impl Strategy<Value = String> {
    let setting = (0..KEYS.len(), 0..VALUES.len(), any::<bool>(), prop_oneof![Just(""), Just("  ")])
        .prop_map(|(key, value, dash, indent)| {
            format!("{indent}{}{} = {}", if dash { "-" } else { "" }, KEYS[key], VALUES[value])
        });
    let ending = prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")];
    let other = prop_oneof![
        Just("# TIME_WAIT is shortened".to_owned()),
        Just("; c".to_owned()),
        Just("junk".to_owned())
    ];
    (prop_oneof![4 => setting, 1 => other], ending).prop_map(|(line, ending)| line + ending)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_fix_can_be_done_twice_and_changes_nothing_in_silence(
        files in proptest::collection::vec(proptest::collection::vec(line(), 0..10), 1..3),
        context in contexts(),
    ) {
        let texts: Vec<Vec<u8>> = files.iter().map(|lines| lines.concat().into_bytes()).collect();
        check(&texts, &context)?;
    }

    #[test]
    fn any_bytes_can_be_linted_and_mended(
        text in proptest::collection::vec(any::<u8>(), 0..200),
        context in contexts(),
    ) {
        let files = [File { name: "f".to_owned(), text, places: Vec::new() }];
        let found = lint(&files, &context);
        prop_assert!(found.iter().all(|d| d.line > 0 && d.column > 0 && d.end_column >= d.column));
        let _ = fix(&files, &context);
    }
}
