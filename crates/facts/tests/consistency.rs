//! The tables are complete, unique, sorted, and refer only to things that exist.

use std::collections::HashSet;

use linger_facts::{
    Belief, DefaultValue, Range, Scope, Source, Version, counter, counters, state, states, sysctl, sysctls,
};

/// The states that linger's output names, in the kernel's order.
const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "bound_inactive",
];

fn is_rule_code(text: &str) -> bool {
    let (letters, digits) = text.split_at(text.len().min(2));
    letters.len() == 2
        && letters.bytes().all(|c| c.is_ascii_uppercase())
        && digits.len() == 3
        && digits.bytes().all(|c| c.is_ascii_digit())
}

/// A `see` entry must be spelled in full, not merely be found.
fn assert_see(owner: &str, see: &[&str]) {
    for name in see {
        let known = is_rule_code(name)
            || sysctl(name).is_some_and(|s| s.key == *name)
            || counter(name).is_some_and(|c| c.name == *name)
            || state(name).is_some_and(|s| s.name == *name);
        assert!(known, "{owner}: see {name:?} is no rule code, sysctl, counter or state");
        assert_ne!(owner, *name, "{owner} refers to itself");
    }
    let distinct: HashSet<_> = see.iter().collect();
    assert_eq!(distinct.len(), see.len(), "{owner}: see names something twice");
}

fn assert_text(owner: &str, what: &str, text: &str) {
    assert!(!text.trim().is_empty(), "{owner}: {what} is empty");
    assert_eq!(text, text.trim(), "{owner}: {what} has space at an end");
    assert!(!text.contains("  "), "{owner}: {what} has two spaces in a row");
    assert!(!text.contains('\n'), "{owner}: {what} has a line break");
    assert!(text.is_ascii(), "{owner}: {what} is not ASCII");
}

fn assert_sentence(owner: &str, what: &str, text: &str) {
    assert_text(owner, what, text);
    assert!(text.ends_with('.'), "{owner}: {what} does not end with a full stop: {text:?}");
}

fn assert_sources(owner: &str, sources: &[Source]) {
    assert!(!sources.is_empty(), "{owner}: no source");
    for source in sources {
        assert_text(owner, "a source", source.0);
    }
}

fn assert_beliefs(owner: &str, beliefs: &[Belief]) {
    for belief in beliefs {
        assert_text(owner, "a claim", belief.claim);
        assert_sentence(owner, "a truth", belief.truth);
    }
}

#[test]
fn sysctls_are_complete() {
    let mut seen = HashSet::new();
    for s in sysctls() {
        assert!(seen.insert(s.key), "{} twice", s.key);
        assert!(s.key.starts_with("net.") || s.key.starts_with("fs."), "{} is no full key", s.key);
        assert_eq!(s.key, s.key.to_ascii_lowercase());
        assert_sentence(s.key, "summary", s.summary);
        assert_sentence(s.key, "meaning", s.meaning);
        assert_text(s.key, "unit", s.unit);
        assert_sources(s.key, s.sources);
        assert_beliefs(s.key, s.beliefs);
        assert_see(s.key, s.see);
        for (value, text) in s.values {
            assert_text(s.key, "a value", value);
            assert_text(s.key, "a value's meaning", text);
        }
        if let Some(range) = s.range {
            assert_text(s.key, "range", &range.to_string());
        }
        assert!(!s.defaults.is_empty(), "{}: no default", s.key);
        assert!(
            s.defaults.windows(2).all(|w| w[0].since < w[1].since),
            "{}: defaults are not in order",
            s.key
        );
        assert_eq!(s.defaults[0].since, s.since.unwrap_or(Version::OLDEST), "{}: first default", s.key);
        for d in s.defaults {
            if let DefaultValue::Computed(formula) = d.value {
                assert_text(s.key, "formula", formula);
            }
        }
        assert!(sysctl(s.key).is_some_and(|found| found.key == s.key));
        assert!(sysctl(&s.path()).is_some_and(|found| found.key == s.key));
    }
}

#[test]
fn fixed_defaults_lie_in_their_range() {
    for s in sysctls() {
        for d in s.defaults {
            if let (DefaultValue::Fixed(text), Some(Range::Ints { min, max })) = (d.value, s.range) {
                let value: i64 = text.parse().expect("an integer range has integer defaults");
                assert!((min..=max).contains(&value), "{}: default {value} out of {min}..={max}", s.key);
            }
        }
    }
}

#[test]
fn counters_are_complete() {
    let mut seen = HashSet::new();
    for c in counters() {
        assert!(seen.insert(c.name), "{} twice", c.name);
        assert_text(c.name, "file", c.file);
        assert_sentence(c.name, "summary", c.summary);
        assert_sentence(c.name, "meaning", c.meaning);
        assert_sources(c.name, c.sources);
        assert_beliefs(c.name, c.beliefs);
        assert_see(c.name, c.see);
        for (_, text) in c.changes {
            assert_sentence(c.name, "a change", text);
        }
        assert!(c.changes.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(counter(c.name).is_some_and(|found| found.name == c.name));
        let as_nstat = c.name.replace('.', "");
        assert!(counter(&as_nstat).is_some_and(|found| found.name == c.name), "{as_nstat}");
        assert!(counter(c.short()).is_some_and(|found| found.short() == c.short()), "{}", c.short());
    }
}

#[test]
fn states_are_complete() {
    let names: Vec<_> = states().iter().map(|s| s.name).collect();
    assert_eq!(names, STATES);
    assert!(states().windows(2).all(|w| w[0].number < w[1].number));
    for s in states() {
        assert_eq!(s.display.to_ascii_lowercase(), s.name);
        for (what, text) in
            [("meaning", s.meaning), ("who", s.who), ("normal", s.normal), ("ends", s.ends), ("cost", s.cost)]
        {
            assert_sentence(s.name, what, text);
        }
        assert!(s.normal_below.is_none_or(|low| s.alert_above.is_some_and(|high| low <= high)));
        assert_sources(s.name, s.sources);
        assert_beliefs(s.name, s.beliefs);
        assert_see(s.name, s.see);
    }
}

#[test]
fn names_do_not_collide_between_kinds() {
    for s in states() {
        assert!(sysctl(s.name).is_none(), "{}", s.name);
        assert!(counter(s.name).is_none(), "{}", s.name);
    }
    for s in sysctls() {
        assert!(counter(s.short()).is_none(), "{}", s.key);
    }
}

#[test]
fn every_spelling_finds_its_sysctl() {
    for spelling in [
        "net.ipv4.tcp_tw_reuse",
        "net/ipv4/tcp_tw_reuse",
        "/proc/sys/net/ipv4/tcp_tw_reuse",
        "tcp_tw_reuse",
        "TCP_TW_REUSE",
        " net.ipv4.tcp_tw_reuse ",
    ] {
        assert_eq!(sysctl(spelling).map(|s| s.key), Some("net.ipv4.tcp_tw_reuse"), "{spelling:?}");
    }
    assert_eq!(sysctl("route.gc_timeout").map(|s| s.key), Some("net.ipv4.route.gc_timeout"));
    assert_eq!(sysctl("net.nf_conntrack_max").map(|s| s.key), Some("net.netfilter.nf_conntrack_max"));
    for wrong in ["", ".", "/", "tw_reuse", "net.core.tcp_tw_reuse", "tcp_tw_reus", "ipv4", "\u{e9}"] {
        assert!(sysctl(wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn every_spelling_finds_its_counter() {
    for spelling in [
        "ListenOverflows",
        "TcpExt.ListenOverflows",
        "TcpExtListenOverflows",
        "listenoverflows",
        "tcpext.listenoverflows",
        "node_netstat_TcpExt_ListenOverflows",
    ] {
        assert_eq!(counter(spelling).map(|c| c.name), Some("TcpExt.ListenOverflows"), "{spelling:?}");
    }
    assert_eq!(counter("TcpRetransSegs").map(|c| c.name), Some("Tcp.RetransSegs"));
    assert_eq!(counter("TW").map(|c| c.name), Some("TcpExt.TW"));
    assert_eq!(counter("Tw").map(|c| c.name), Some("TcpExt.TW"));
    assert_eq!(counter("tw").map(|c| c.name), Some("sockstat.TCP.tw"));
    for wrong in ["", ".", "Overflows", "TcpExt", "TcpExt.", "Tcp.ListenOverflows", "\u{e9}"] {
        assert!(counter(wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn every_spelling_finds_its_state() {
    for (spelling, name) in [
        ("time_wait", "time_wait"),
        ("TIME_WAIT", "time_wait"),
        ("TIME-WAIT", "time_wait"),
        ("TimeWait", "time_wait"),
        ("TCP_TIME_WAIT", "time_wait"),
        ("ESTAB", "established"),
        ("SYN-RECV", "syn_recv"),
        ("SYN_RCVD", "syn_recv"),
        ("FIN-WAIT-1", "fin_wait1"),
        ("FIN_WAIT_2", "fin_wait2"),
        ("UNCONN", "close"),
        ("CLOSED", "close"),
        ("LISTEN", "listen"),
        ("bound-inactive", "bound_inactive"),
    ] {
        assert_eq!(state(spelling).map(|s| s.name), Some(name), "{spelling:?}");
    }
    for wrong in ["", "tcp", "wait", "time", "\u{e9}stab"] {
        assert!(state(wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn versions_are_read_from_release_strings() {
    for (text, expected) in [
        ("6.18.44-fc", Some((6, 18))),
        ("5.4.0-150-generic", Some((5, 4))),
        ("3.10.0-1160.el7.x86_64", Some((3, 10))),
        ("6.19-rc1", Some((6, 19))),
        ("4.19", Some((4, 19))),
        ("6", None),
        ("6.", None),
        (".1", None),
        ("", None),
        ("six.one", None),
        ("99999.1", None),
    ] {
        assert_eq!(Version::parse(text), expected.map(|(a, b)| Version::new(a, b)), "{text:?}");
        assert_eq!(text.parse().ok(), Version::parse(text));
    }
    assert!(Version::new(4, 9) < Version::new(4, 11));
    assert_eq!(Version::new(6, 18).to_string(), "6.18");
}

#[test]
fn defaults_follow_the_version() {
    let fixed =
        |key: &str, major, minor| match sysctl(key).and_then(|s| s.default_for(Version::new(major, minor))) {
            Some(DefaultValue::Fixed(text)) => text,
            other => panic!("{key} on {major}.{minor}: {other:?}"),
        };
    assert_eq!(fixed("tcp_tw_reuse", 4, 17), "0");
    assert_eq!(fixed("tcp_tw_reuse", 4, 18), "2");
    assert_eq!(fixed("tcp_tw_reuse", 7, 2), "2");
    assert_eq!(fixed("ip_local_port_range", 3, 10), "32768 61000");
    assert_eq!(fixed("ip_local_port_range", 4, 2), "32768 60999");
    assert_eq!(fixed("somaxconn", 5, 3), "128");
    assert_eq!(fixed("somaxconn", 5, 4), "4096");
    let recycle = sysctl("tcp_tw_recycle").expect("known");
    assert!(recycle.exists_in(Version::new(4, 11)));
    assert!(!recycle.exists_in(Version::new(4, 12)));
    assert_eq!(recycle.default_for(Version::new(4, 12)), None);
    let delay = sysctl("tcp_tw_reuse_delay").expect("known");
    assert!(!delay.exists_in(Version::new(6, 12)));
    assert_eq!(delay.default_for(Version::new(6, 12)), None);
    let vendor = sysctl("tcp_tw_timeout").expect("known");
    assert!(!vendor.exists_in(Version::NEWEST));
    assert_eq!(vendor.default_for(Version::NEWEST), None);
}

#[test]
fn scopes_follow_the_version() {
    let reuse = sysctl("tcp_tw_reuse").expect("known");
    assert_eq!(reuse.scope_in(Version::new(4, 4)), Scope::Host);
    assert_eq!(reuse.scope_in(Version::new(4, 15)), Scope::Netns);
    assert_eq!(sysctl("tcp_mem").map(|s| s.scope_in(Version::NEWEST)), Some(Scope::Host));
    assert_eq!(counter("sockstat.TCP.tw").map(|c| c.scope_in(Version::new(4, 4))), Some(Scope::Host));
}
