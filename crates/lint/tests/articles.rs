//! Two blocks that are pasted onto many hosts, line by line: what linger says of each, and why it is right.
//!
//! Judged for Linux 6.18 with 64 GiB of memory. Each line stands with the codes of what is said of it; "nothing" is a verdict,
//! too.

use linger_facts::Role;
use linger_facts::Version;
use linger_lint::sysctl::{Context, File, lint};
use linger_lint::{Diagnostic, Severity};
use std::fmt::Write;

/// A line and the codes that it must have, no more and no less.
type Verdict = (&'static str, &'static [&'static str]);

/// The tuning of single topics, with comments.
const TOPICS: &[Verdict] = &[
    ("# Enable reuse of TIME_WAIT sockets (important)", &[]),
    // Right for who connects: tcp_twsk_unique() is called by connect() alone, and timestamps are on by default.
    ("net.ipv4.tcp_tw_reuse = 1", &[]),
    ("# Increase bucket limit (how many TIME_WAIT can be kept)", &[]),
    // The default is half of the established hash: 64 GiB / 128 KiB = 524288 buckets, so 262144. 200000 is less
    // (inet_twsk_alloc(), tcp_init()).
    ("net.ipv4.tcp_max_tw_buckets = 200000", &["SC009"]),
    // TIME_WAIT is TCP_TIMEWAIT_LEN, 60 s, in every tree; measured: with 5 it still lasts 60 s.
    ("# Reduce FIN timeout (affects FIN_WAIT2 and TIME_WAIT)", &["SC015"]),
    // Below 60 it does what it says, to orphaned FIN_WAIT2 (tcp_fin_time()).
    ("net.ipv4.tcp_fin_timeout = 15", &[]),
    ("# Expand local port range", &[]),
    // Taken: 1024 is not below ip_unprivileged_port_start, the ends differ in parity. connect() now takes ports that services
    // between 1024 and 32767 bind, and none is reserved (__inet_hash_connect()).
    ("net.ipv4.ip_local_port_range = 1024 65535", &["SC010"]),
    // From 4.4 on the listener's backlog bounds the request queue; with cookies on this is not looked at
    // (tcp_conn_request()).
    ("# Increase SYN backlog (half‑open queue)", &["SC015"]),
    ("net.ipv4.tcp_max_syn_backlog = 65535", &["SC003"]),
    ("# Increase accept queue size", &[]),
    // Above the 4096 of 5.4 and later. It caps what listen() asks for.
    ("net.core.somaxconn = 65535", &[]),
    ("# Reduce SYN retry counts", &[]),
    // 1 + 2 + 4 s: measured, connect() gives up after 7 s.
    ("net.ipv4.tcp_syn_retries = 2", &["SC012"]),
    ("net.ipv4.tcp_synack_retries = 2", &["SC012"]),
    ("# Enable SYN cookies to mitigate SYN‑Flood", &[]),
    // The default since before 3.10.
    ("net.ipv4.tcp_syncookies = 1", &["SC021"]),
    ("# TCP keepalive settings (effective only if SO_KEEPALIVE is set)", &[]),
    // True, and harmless: 600 + 3 x 15 s for those that ask for it (tcp_keepalive_timer()).
    ("net.ipv4.tcp_keepalive_time = 600", &[]),
    ("net.ipv4.tcp_keepalive_intvl = 15", &[]),
    ("net.ipv4.tcp_keepalive_probes = 3", &[]),
    ("# Memory limits (values are in pages, usually 4 KB each)", &[]),
    // True of the unit. 524288 pages are 2 GiB, 3.1 % of 64 GiB; by default 6.25 % (tcp_init_mem()).
    ("net.ipv4.tcp_mem = 262144 524288 1048576", &["SC008"]),
    ("# Per‑socket receive buffer", &[]),
    // 6.18 goes up to 32 MiB by itself, and starts at 131072 (tcp_init()).
    ("net.ipv4.tcp_rmem = 4096 87380 16777216", &["SC004"]),
    ("# Per‑socket send buffer", &[]),
    // The maximum is a raise of the default of 4 MiB; the start is four times the default of 16384.
    ("net.ipv4.tcp_wmem = 4096 65536 16777216", &["SC009"]),
    // They cap SO_RCVBUF and SO_SNDBUF of one socket (sock_setsockopt()).
    ("# System‑wide limits", &["SC015"]),
    // Not below tcp_rmem's maximum, and above the default of 4 MiB.
    ("net.core.rmem_max = 16777216", &[]),
    ("net.core.wmem_max = 16777216", &[]),
    // TCP does not read them (tcp_init_sock()).
    ("net.core.rmem_default = 262144", &["SC003"]),
    ("net.core.wmem_default = 262144", &["SC003"]),
];

/// The complete example.
const COMPLETE: &[Verdict] = &[
    // The default is a tenth of memory in KiB, 6.7 million with 64 GiB (files_maxfiles_init()).
    ("fs.file-max = 2000000", &["SC009"]),
    // Above 1048576. It is a ceiling and gives no process more (do_prlimit()).
    ("fs.nr_open = 2000000", &[]),
    // 262144 buckets by default from 5.15 on: chains of 7 when full. And the module must be there first (sysctl.d(5)).
    ("net.netfilter.nf_conntrack_max = 2000000", &["SC010", "SC022"]),
    // Shortens what conntrack remembers, not the socket's 60 s; it says nothing else.
    ("net.netfilter.nf_conntrack_tcp_timeout_time_wait = 30", &[]),
    // Idle connections through NAT are forgotten after 20 minutes. Keep-alive probes at 600 s, further down, hold those that
    // have them, so it contradicts nothing.
    ("net.netfilter.nf_conntrack_tcp_timeout_established = 1200", &["SC012"]),
    ("net.core.somaxconn = 65535", &[]),
    // Above 1000. It matters only where softnet_stat shows drops (enqueue_to_backlog()); harmless.
    ("net.core.netdev_max_backlog = 65535", &[]),
    ("net.ipv4.tcp_max_syn_backlog = 65535", &["SC003"]),
    ("net.ipv4.tcp_tw_reuse = 1", &[]),
    ("net.ipv4.tcp_max_tw_buckets = 200000", &["SC009"]),
    ("net.ipv4.tcp_fin_timeout = 15", &[]),
    ("net.ipv4.ip_local_port_range = 1024 65535", &["SC010"]),
    ("net.core.rmem_max = 16777216", &[]),
    ("net.core.wmem_max = 16777216", &[]),
    ("net.core.rmem_default = 262144", &["SC003"]),
    ("net.core.wmem_default = 262144", &["SC003"]),
    ("net.ipv4.tcp_rmem = 4096 87380 16777216", &["SC004"]),
    ("net.ipv4.tcp_wmem = 4096 65536 16777216", &["SC009"]),
    // 1048576 pages are 4 GiB, 6.25 %: just what the kernel takes with 64 GiB, and wrong elsewhere.
    ("net.ipv4.tcp_mem = 786432 1048576 1572864", &["SC008"]),
    ("net.ipv4.tcp_syncookies = 1", &["SC021"]),
    ("net.ipv4.tcp_syn_retries = 2", &["SC012"]),
    ("net.ipv4.tcp_synack_retries = 2", &["SC012"]),
    ("net.ipv4.tcp_keepalive_time = 600", &[]),
    ("net.ipv4.tcp_keepalive_intvl = 15", &[]),
    ("net.ipv4.tcp_keepalive_probes = 3", &[]),
    // The routing cache went in 3.6; in 6.18 it is the expiry of exceptions made by ICMP redirects (route.c).
    ("net.ipv4.route.gc_timeout = 100", &["SC003"]),
    // Defaults for two decades.
    ("net.ipv4.tcp_window_scaling = 1", &["SC021"]),
    ("net.ipv4.tcp_sack = 1", &["SC021"]),
    ("net.ipv4.tcp_timestamps = 1", &["SC021"]),
];

fn found(lines: &[Verdict], context: &Context) -> Vec<Diagnostic> {
    let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    lint(
        &[File { name: "99-tcp-tuning.conf".to_owned(), text: text.into_bytes(), places: Vec::new() }],
        context,
    )
}

fn context() -> Context {
    Context { kernel: Some(Version::new(6, 18)), ram_bytes: Some(64 << 30), ..Context::default() }
}

#[track_caller]
fn check(lines: &[Verdict]) {
    let found = found(lines, &context());
    let mut wrong = String::new();
    for (index, (line, wanted)) in lines.iter().enumerate() {
        let of_line = found.iter().filter(|d| d.line as usize == index + 1);
        let mut codes: Vec<&str> = of_line.map(|d| d.code.as_str()).collect();
        codes.sort_unstable();
        if codes != *wanted {
            let _ = writeln!(wrong, "{line}: {codes:?} instead of {wanted:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(
        found.iter().all(|d| !d.source.is_empty() && !d.why.is_empty() && d.severity < Severity::Critical)
    );
}

#[test]
fn single_topics() {
    check(TOPICS);
}

#[test]
fn the_complete_example() {
    check(COMPLETE);
}

#[test]
fn what_is_said_is_what_was_reviewed() {
    let said = |lines| {
        let mut said = String::new();
        for d in found(lines, &context()) {
            let _ = writeln!(said, "{:2} {} {:8} {}", d.line, d.code, d.severity.name(), d.message);
        }
        said
    };
    insta::assert_snapshot!(said(COMPLETE));
    insta::assert_snapshot!("single_topics", said(TOPICS));
}

/// On kernels and in roles that the example is pasted into.
#[test]
fn the_same_lines_elsewhere() {
    let codes = |context: &Context, key: &str| -> Vec<String> {
        let found = found(COMPLETE, context);
        found.iter().filter(|d| d.key.as_deref() == Some(key)).map(|d| d.code.clone()).collect()
    };
    let old = Context { kernel: Some(Version::new(3, 10)), ..context() };
    // min(backlog, tcp_max_syn_backlog) bounds the queue in 3.10, and 16 MiB is above its 6 MiB.
    assert!(codes(&old, "net.ipv4.tcp_max_syn_backlog").is_empty());
    assert!(codes(&old, "net.ipv4.tcp_rmem").is_empty());
    let small = Context { ram_bytes: Some(4 << 30), ..context() };
    assert_eq!(codes(&small, "net.ipv4.tcp_mem"), ["SC008"]);
    assert_eq!(codes(&small, "fs.file-max"), Vec::<String>::new());
    for (role, key) in [
        (Role::Proxy, "net.ipv4.tcp_syn_retries"),
        (Role::Proxy, "net.ipv4.tcp_max_tw_buckets"),
        (Role::Gateway, "net.ipv4.tcp_synack_retries"),
        (Role::MeshNode, "net.netfilter.nf_conntrack_tcp_timeout_established"),
    ] {
        let context = Context { role: Some(role), ..context() };
        assert!(codes(&context, key).contains(&"SC011".to_owned()), "{role}: {key}");
    }
}
