//! The tables held against the running kernel.
//!
//! A vendor kernel may differ from mainline; the comparison is strict all the same.

use std::fs;
use std::io::ErrorKind;

use linger_facts::metrics::{GROUPS, TCP_FIELDS, metric, no_such_metric};
use linger_facts::{DefaultValue, Scope, Version, counters, sysctls};
use rustix::thread::UnshareFlags;

fn running() -> Version {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel tells its release");
    Version::parse(&release).expect("a release starts with two numbers")
}

/// Fields separated by one space, as the tables have them.
fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A missing capability is a reported skip on a laptop and a failure in CI.
fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run in CI: {why}");
    println!("SKIPPED: {why}");
}

#[test]
fn defaults_match_a_fresh_network_namespace() {
    let version = running();
    let outcome = std::thread::spawn(move || {
        // SAFETY: only the network namespace of this thread changes, no file descriptor table and no memory
        // is unshared, and the thread ends right after.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        Ok::<_, rustix::io::Errno>(compare(version))
    })
    .join()
    .expect("the thread does not panic");
    match outcome {
        Err(errno) => skip(&format!("no privilege to make a network namespace: {errno}")),
        Ok((checked, wrong)) => {
            assert!(wrong.is_empty(), "on {version}:\n{}", wrong.join("\n"));
            println!("{checked} sysctls compared on {version}");
            assert!(checked > 35, "only {checked} sysctls were compared");
        }
    }
}

/// Compares every per-namespace sysctl with the files that this thread sees.
fn compare(version: Version) -> (usize, Vec<String>) {
    let conntrack = fs::exists("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(false);
    if !conntrack {
        println!("SKIPPED: nf_conntrack is not loaded, its sysctls are not compared");
    }
    let mut checked = 0;
    let mut wrong = Vec::new();
    for s in sysctls() {
        if s.key.contains("nf_conntrack") && !conntrack {
            continue;
        }
        let content = fs::read_to_string(s.path());
        let found = match (&content, s.exists_in(version)) {
            (Ok(text), true) => normal(text),
            (Err(e), false) if e.kind() == ErrorKind::NotFound => {
                checked += 1;
                continue;
            }
            (Err(e), true) if e.kind() == ErrorKind::NotFound && s.scope_in(version) == Scope::Host => {
                continue;
            }
            (Ok(_), false) => {
                wrong.push(format!("{}: is there, but should not exist", s.key));
                continue;
            }
            (Err(e), _) => {
                wrong.push(format!("{}: {e}", s.key));
                continue;
            }
        };
        // What is host-wide may have been tuned by the administrator.
        if s.scope_in(version) == Scope::Host {
            continue;
        }
        checked += 1;
        match s.default_for(version) {
            Some(DefaultValue::Fixed(text)) if text != found => {
                wrong.push(format!("{}: the table says {text:?}, the kernel {found:?}", s.key));
            }
            None => wrong.push(format!("{}: no default for this version", s.key)),
            _ => {}
        }
    }
    (checked, wrong)
}

#[test]
fn counters_are_in_the_files() {
    let version = running();
    for (prefix, file) in
        [("Tcp.", "/proc/thread-self/net/snmp"), ("TcpExt.", "/proc/thread-self/net/netstat")]
    {
        let text = fs::read_to_string(file).expect("every kernel has it");
        let group = prefix.replace('.', ":");
        let names: Vec<&str> =
            text.lines().find(|l| l.starts_with(&group)).expect("a header line").split_whitespace().collect();
        for c in counters().filter(|c| c.name.starts_with(prefix)) {
            assert_eq!(
                names.contains(&c.short()),
                c.exists_in(version),
                "{} on {version}: in the file or in the table, but not in both",
                c.name
            );
        }
    }
}

#[test]
fn sockstat_has_its_fields() {
    let text = fs::read_to_string("/proc/thread-self/net/sockstat").expect("every kernel has it");
    let line = text.lines().find_map(|l| l.strip_prefix("TCP:")).expect("a TCP line");
    for c in counters().filter(|c| c.name.starts_with("sockstat.TCP.")) {
        assert!(line.split_whitespace().any(|word| word == c.short()), "{} is not in {line:?}", c.name);
    }
}

/// `Tcp` and `ActiveOpens`, for every field of `/proc/net/snmp` and `netstat`. Both have a line of names before each of
/// numbers.
fn netstat_fields() -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for file in ["/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"] {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{file}: every kernel has it: {e}"));
        for line in text.lines().step_by(2) {
            let (group, names) = line.split_once(':').unwrap_or_else(|| panic!("{file}: {line:?}"));
            fields.extend(names.split_whitespace().map(|name| (group.to_owned(), name.to_owned())));
        }
    }
    fields
}

#[test]
fn node_exporter_has_every_tcp_field_that_is_named() {
    let fields = netstat_fields();
    let tcp: Vec<&str> = fields.iter().filter(|(group, _)| group == "Tcp").map(|(_, f)| f.as_str()).collect();
    assert_eq!(tcp, TCP_FIELDS);
    for (group, _) in &fields {
        assert!(GROUPS.contains(&group.as_str()), "{group}");
    }
}

#[test]
fn no_field_of_this_kernel_is_said_not_to_exist() {
    for (group, field) in netstat_fields() {
        let name = format!("node_netstat_{group}_{field}");
        assert_eq!(no_such_metric(&name), None, "{name}");
    }
    // A kernel without IPv6, or with it switched off, has no sockstat6.
    for (file, optional) in [("sockstat", false), ("sockstat6", true)] {
        let path = format!("/proc/thread-self/net/{file}");
        let text = match fs::read_to_string(&path) {
            Err(e) if optional && e.kind() == ErrorKind::NotFound => continue,
            text => text.unwrap_or_else(|e| panic!("{path}: {e}")),
        };
        for (protocol, fields) in text.lines().filter_map(|l| l.split_once(':')) {
            for field in fields.split_whitespace().step_by(2) {
                let name = format!("node_sockstat_{protocol}_{field}");
                assert_eq!(no_such_metric(&name), None, "{file}: {name}");
                assert_eq!(metric(&name).map(|m| m.name), Some(name.as_str()), "{file}");
            }
        }
    }
}
