//! What --fix promises: it can be done twice, keeps comments and order, and changes no value that it did not speak of.

use linger_facts::Role;
use linger_facts::Version;
use linger_lint::sysctl::effective::order;
use linger_lint::sysctl::parse::{Document, Kind};
use linger_lint::sysctl::value::{Shape, ints};
use linger_lint::sysctl::{Context, File, Key, Loader, fix, lint};
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
    "60000 50001",
    "4096 0 9000",
    "4096 87380",
    "9\u{a0}",
    "x",
    "300",
    "40# c",
];

/// Where files are that are read at boot; the last one by procps alone.
const PLACES: &[&str] = &[
    "/etc/sysctl.d/10-a.conf",
    "/usr/lib/sysctl.d/50-b.conf",
    "/run/sysctl.d/10-a.conf",
    "/etc/sysctl.conf",
];

/// The keys that a pattern of `KEYS` finds on the host.
const PRESENT: &[&str] = &["net.ipv4.conf.eth0/100.rp_filter", "net.ipv4.conf.lo.rp_filter"];

/// What a write leaves of a value, as the kernel has it: nothing of what it refuses, and the numbers that are not given stay.
/// Written down once more, so that the linter is not held against itself.
fn written(key: &Key, old: Option<&String>, text: &str) -> Option<String> {
    let Some(known) = linger_facts::sysctls().find(|s| s.key == key.dotted()) else {
        return Some(text.to_owned());
    };
    let Shape::Ints(count) = Shape::of(known) else { return (!text.is_empty()).then(|| text.to_owned()) };
    let new = ints(text, count).ok()?;
    let refused = match known.key {
        "net.ipv4.ip_local_port_range" => matches!(new[..], [low, high] if low > high || high > 65_535),
        "net.ipv4.tcp_rmem" => new.contains(&0),
        "net.ipv4.tcp_tw_reuse" => new[0] > 2,
        "net.core.somaxconn" => new[0] < 0,
        _ => false,
    };
    if refused {
        return None;
    }
    let old: Vec<String> = old.map(|old| old.split(' ').map(str::to_owned).collect()).unwrap_or_default();
    let words = (0..count).filter_map(|i| new.get(i).map(i64::to_string).or(old.get(i).cloned()));
    Some(words.collect::<Vec<_>>().join(" "))
}

/// What a host has after its boot: systemd-sysctl writes the last assignment of each key, procps every one.
fn booted(files: &[File], loader: Loader, kernel: Option<Version>) -> BTreeMap<Key, String> {
    let documents: Vec<Document> = files.iter().map(|f| Document::parse(&f.text)).collect();
    let mut settings: Vec<(Key, String)> = Vec::new();
    let mut spared: BTreeSet<Key> = BTreeSet::new();
    for reading in order(files, loader).0 {
        for line in &documents[reading.file].lines {
            match &line.kind {
                Kind::Setting(s) => settings.push((s.key.clone(), s.value.clone())),
                Kind::Exclusion { key, .. } => drop(spared.insert(key.clone())),
                _ => {}
            }
        }
    }
    spared.extend(settings.iter().map(|(key, _)| key.clone()));
    let exists = |key: &Key| match linger_facts::sysctls().find(|s| s.key == key.dotted()) {
        Some(known) => kernel.is_none_or(|version| known.exists_in(version)),
        None => !key.path().contains("ip_conntrack") && !key.path().starts_with('\u{feff}'),
    };
    let mut host: BTreeMap<Key, String> = BTreeMap::new();
    for (index, (key, value)) in settings.iter().enumerate() {
        let again = settings[index + 1..].iter().any(|(later, _)| later == key);
        if loader == Loader::Systemd && again {
            continue;
        }
        let present = PRESENT.iter().map(|name| Key::new(name));
        let targets: Vec<Key> = match key.is_glob() {
            true => present.filter(|it| key.matches(it) && !spared.contains(it)).collect(),
            false => vec![key.clone()],
        };
        for target in targets.into_iter().filter(|target| exists(target)) {
            if let Some(value) = written(&target, host.get(&target), value) {
                host.insert(target, value);
            }
        }
    }
    host
}

fn check(texts: &[Vec<u8>], context: &Context, named: bool) -> Result<(), TestCaseError> {
    let files: Vec<File> = texts
        .iter()
        .zip(PLACES)
        .enumerate()
        .map(|(index, (text, place))| File {
            name: if named { format!("{index}.conf") } else { (*place).to_owned() },
            text: text.clone(),
            places: if named { Vec::new() } else { vec![(*place).to_owned()] },
        })
        .collect();
    let fixed = fix(&files, context);
    let mut after = files.clone();
    for f in &fixed {
        after[f.file].text.clone_from(&f.text);
        prop_assert!(!f.mended.is_empty() && f.text != files[f.file].text);
    }
    prop_assert_eq!(fix(&after, context), [], "a second time changes more");
    // Values that change were spoken of, and by a fix that means to change them: of a line that is gone on this kernel, or that
    // is set again below, nothing changes.
    let mended =
        fixed.iter().flat_map(|f| &f.mended).filter(|d| !matches!(d.code.as_str(), "SC001" | "SC016"));
    let mended: BTreeSet<Key> = mended.filter_map(|d| d.key.as_deref()).map(Key::new).collect();
    for loader in [Loader::Systemd, Loader::Procps] {
        let (before, now) = (booted(&files, loader, context.kernel), booted(&after, loader, context.kernel));
        for key in before.keys().chain(now.keys()) {
            let same = before.get(key) == now.get(key);
            prop_assert!(
                same || mended.contains(key) || mended.iter().any(|pattern| pattern.matches(key)),
                "{key} changes in silence, {loader:?}: {:?} to {:?}",
                before.get(key),
                now.get(key)
            );
        }
    }
    for f in &fixed {
        let (old, new) = (&files[f.file].text, &f.text);
        kept(old, new)?;
        let ends = |text: &[u8], with: &[u8]| text.ends_with(with);
        prop_assert_eq!(ends(old, b"\n"), ends(new, b"\n"), "the end of the last line");
    }
    Ok(())
}

/// Every line that was there is there, in its order and with its end: as it was, behind the mark of a comment, with another
/// value, or without the comment that stands before it now.
fn kept(old: &[u8], new: &[u8]) -> Result<(), TestCaseError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = |bytes: &[u8]| bytes.split_inclusive(|b| *b == b'\n').map(text).collect::<Vec<_>>();
    let mut rest = lines(new).into_iter();
    for line in lines(old) {
        let line = line.trim_start_matches('\u{feff}').to_owned();
        if line.is_empty() {
            continue;
        }
        let key = match line.trim_start().starts_with(['#', ';']) {
            true => None,
            false => line.split_once('=').map(|(key, _)| key.trim().to_owned()),
        };
        let ending = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
        let at = rest.find(|new| match &key {
            Some(key) => new.contains(key.as_str()) && (!new.ends_with('\n') || new.ends_with(ending)),
            None => *new == line,
        });
        prop_assert!(at.is_some(), "{line:?} is lost: {}", text(new));
    }
    for comment in ["# why", "; no", "# c", "# fast"] {
        let count = |bytes: &[u8]| text(bytes).matches(comment).count();
        prop_assert!(count(old) <= count(new), "{comment:?} is lost: {}", text(new));
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
        files in proptest::collection::vec(proptest::collection::vec(line(), 0..10), 1..5),
        context in contexts(),
        marked in any::<bool>(),
        named in any::<bool>(),
        open_end in any::<bool>(),
    ) {
        let text = |lines: &Vec<String>| {
            let mut text = if marked { "\u{feff}".to_owned() } else { String::new() };
            text.push_str(&lines.concat());
            if open_end {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            text.into_bytes()
        };
        let texts: Vec<Vec<u8>> = files.iter().map(text).collect();
        check(&texts, &context, named)?;
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
