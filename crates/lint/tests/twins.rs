//! Every kind of fault beside its healthy twin: the one is told by its code, the other has no warning at all.

use linger_facts::Role;
use linger_facts::Version;
use linger_lint::sysctl::{Context, File, Listener, Live, lint};
use linger_lint::{Diagnostic, Severity};

/// 6.18 with 64 GiB of memory.
fn host() -> Context {
    Context { kernel: Some(Version::new(6, 18)), ram_bytes: Some(64 << 30), ..Context::default() }
}

fn on(major: u16, minor: u16) -> Context {
    Context { kernel: Some(Version::new(major, minor)), ..host() }
}

fn with_ram(gib: u64) -> Context {
    Context { ram_bytes: Some(gib << 30), ..host() }
}

fn of(role: Role) -> Context {
    Context { role: Some(role), ..host() }
}

/// A running host with a listener of this limit on port 8080 that has dropped connections, or not.
fn running(limit: u32, drops: u64) -> Context {
    let listener = Listener { label: "app on *:8080".to_owned(), port: 8080, limit, drops: Some(drops) };
    let live = Live { listeners: vec![listener], listen_overflows: Some(drops), ..Live::default() };
    Context { live: Some(live), ..host() }
}

fn inside(in_container: bool, others: usize) -> Context {
    let live = Live { other_namespaces: Some(others), ..Live::default() };
    Context { in_container: Some(in_container), live: Some(live), ..host() }
}

fn said(text: &str, context: &Context) -> Vec<Diagnostic> {
    lint(&[File { name: "a.conf".to_owned(), text: text.as_bytes().to_vec(), places: Vec::new() }], context)
}

/// A code, the faulty text and its host, the healthy text and its host.
type Twins = (&'static str, &'static str, Context, &'static str, Context);

#[track_caller]
fn check(twins: &[Twins]) {
    for (code, faulty, here, healthy, there) in twins {
        let found = said(faulty, here);
        assert!(found.iter().any(|d| d.code == *code), "{code} is not said of {faulty:?}: {found:#?}");
        let found = said(healthy, there);
        let alarms: Vec<&Diagnostic> =
            found.iter().filter(|d| d.code == *code || d.severity > Severity::Info).collect();
        assert!(alarms.is_empty(), "of {healthy:?}, the twin of {faulty:?}: {alarms:#?}");
    }
}

#[test]
fn what_is_gone_and_what_has_no_effect() {
    let recycle = "net.ipv4.tcp_tw_recycle = 0\n";
    let backlog = "net.ipv4.tcp_max_syn_backlog = 8192\n";
    check(&[
        ("SC001", recycle, on(4, 12), recycle, on(4, 11)),
        (
            "SC001",
            "net.ipv4.tcp_tw_reuse_delay = 500\n",
            on(6, 12),
            "net.ipv4.tcp_tw_reuse_delay = 500\n",
            on(6, 14),
        ),
        ("SC003", "net.ipv4.route.gc_timeout = 100\n", host(), "net.ipv4.route.mtu_expires = 600\n", host()),
        ("SC003", "net.core.rmem_default = 262144\n", host(), "net.core.rmem_max = 8388608\n", host()),
        ("SC003", "net.core.wmem_default = 262144\n", host(), "net.core.wmem_max = 8388608\n", host()),
        ("SC003", backlog, host(), backlog, on(3, 10)),
    ]);
}

#[test]
fn traps_and_what_is_refused() {
    check(&[
        ("SC004", "net.ipv4.tcp_fin_timeout = 61\n", host(), "net.ipv4.tcp_fin_timeout = 60\n", host()),
        ("SC004", "net.ipv4.tcp_fin_timeout = 119\n", host(), "net.ipv4.tcp_fin_timeout = 120\n", host()),
        (
            "SC004",
            "net.ipv4.tcp_rmem = 4096 131072 16777216\n",
            host(),
            "net.ipv4.tcp_rmem = 4096 131072 16777216\n",
            on(6, 12),
        ),
        ("SC005", "net.ipv4.tcp_retries2 = 300\n", host(), "net.ipv4.tcp_retries2 = 12\n", host()),
        (
            "SC005",
            "net.ipv4.tcp_rmem = 4096 131072\n",
            host(),
            "net.ipv4.tcp_rmem = 4096 131072 67108864\n",
            host(),
        ),
        ("SC005", "net.core.somaxconn = 65536\n", on(3, 16), "net.core.somaxconn = 65536\n", on(5, 4)),
        (
            "SC005",
            "net.ipv4.ip_local_port_range = 60999 32768\n",
            host(),
            "net.ipv4.ip_local_port_range = 20000 60999\n",
            host(),
        ),
    ]);
}

#[test]
fn units_proportions_and_defaults() {
    let fixed = "net.ipv4.tcp_mem = 786432 1048576 1572864\n";
    check(&[
        (
            "SC008",
            "net.ipv4.tcp_keepalive_time = 7200000\n",
            host(),
            "net.ipv4.tcp_keepalive_time = 720\n",
            host(),
        ),
        (
            "SC008",
            "net.ipv4.tcp_wmem = 4096 4194304 67108864\n",
            host(),
            "net.ipv4.tcp_wmem = 4096 16384 67108864\n",
            host(),
        ),
        (
            "SC008",
            "net.netfilter.nf_conntrack_max = 2000000\n",
            with_ram(4),
            "net.netfilter.nf_conntrack_max = 300000\n",
            with_ram(4),
        ),
        ("SC009", "net.core.somaxconn = 1024\n", host(), "net.core.somaxconn = 1024\n", on(5, 3)),
        ("SC009", "fs.file-max = 2000000\n", host(), "fs.file-max = 2000000\n", with_ram(16)),
        ("SC009", "net.ipv4.tcp_sack = 0\n", host(), "net.ipv4.tcp_sack = 1\n", host()),
    ]);
    // A fixed tcp_mem is never right for all hosts: a warning where it is out of proportion, a note where it fits.
    for (gib, severity) in [(8, Severity::Warning), (64, Severity::Info), (512, Severity::Warning)] {
        let found = said(fixed, &with_ram(gib));
        assert_eq!(
            found.iter().map(|d| (d.code.as_str(), d.severity)).collect::<Vec<_>>(),
            [("SC008", severity)]
        );
    }
}

#[test]
fn contradictions() {
    let wide = "net.ipv4.ip_local_port_range = 1024 65535\n";
    let somaxconn = "net.core.somaxconn = 8192\n";
    check(&[
        (
            "SC010",
            "net.ipv4.tcp_tw_reuse = 1\nnet.ipv4.tcp_timestamps = 0\n",
            host(),
            "net.ipv4.tcp_tw_reuse = 1\nnet.ipv4.tcp_timestamps = 1\n",
            host(),
        ),
        (
            "SC010",
            "net.ipv4.tcp_rmem = 4096 131072 67108864\nnet.core.rmem_max = 16777216\n",
            host(),
            "net.ipv4.tcp_rmem = 4096 131072 67108864\nnet.core.rmem_max = 67108864\n",
            host(),
        ),
        ("SC010", somaxconn, running(8192, 7), somaxconn, running(8192, 0)),
        ("SC010", somaxconn, running(8192, 7), somaxconn, running(511, 7)),
        (
            "SC010",
            wide,
            running(511, 0),
            "net.ipv4.ip_local_port_range = 1024 65535\nnet.ipv4.ip_local_reserved_ports = 8080\n",
            running(511, 0),
        ),
        (
            "SC010",
            "net.netfilter.nf_conntrack_tcp_timeout_established = 7200\n",
            host(),
            "net.netfilter.nf_conntrack_tcp_timeout_established = 7200\nnet.ipv4.tcp_keepalive_time = 600\n",
            host(),
        ),
    ]);
}

#[test]
fn what_harms_in_a_role() {
    let retries = "net.ipv4.tcp_syn_retries = 2\n";
    let few = "net.ipv4.tcp_max_tw_buckets = 5000\n";
    let idle =
        "net.netfilter.nf_conntrack_tcp_timeout_established = 1200\nnet.ipv4.tcp_keepalive_time = 600\n";
    check(&[
        ("SC011", retries, of(Role::Client), retries, of(Role::Server)),
        (
            "SC011",
            "net.ipv4.tcp_abort_on_overflow = 1\n",
            of(Role::Server),
            "net.ipv4.tcp_abort_on_overflow = 0\n",
            of(Role::Server),
        ),
        // Without the memory the default is not known, and what is lowered for sure is told to those who connect.
        (
            "SC011",
            few,
            Context { ram_bytes: None, ..of(Role::Gateway) },
            few,
            Context { ram_bytes: None, ..of(Role::Server) },
        ),
        (
            "SC011",
            "net.ipv4.tcp_timestamps = 0\n",
            of(Role::Proxy),
            "net.ipv4.tcp_timestamps = 1\n",
            of(Role::Proxy),
        ),
        ("SC011", idle, of(Role::MeshNode), idle, of(Role::Server)),
        (
            "SC011",
            "net.ipv4.tcp_synack_retries = 2\n",
            of(Role::Gateway),
            "net.ipv4.tcp_synack_retries = 4\n",
            of(Role::Gateway),
        ),
    ]);
}

#[test]
fn namespaces_and_comments() {
    let host_wide = "net.core.netdev_max_backlog = 5000\n";
    let own = "net.ipv4.tcp_tw_reuse = 1\n";
    check(&[
        ("SC013", host_wide, inside(true, 0), host_wide, inside(false, 0)),
        ("SC013", host_wide, inside(true, 0), own, inside(true, 0)),
        ("SC014", own, inside(false, 3), own, inside(false, 0)),
        ("SC014", own, of(Role::MeshNode), "net.ipv4.tcp_rmem = 4096 131072 67108864\n", of(Role::MeshNode)),
        (
            "SC015",
            "# affects FIN_WAIT2 and TIME_WAIT\nnet.ipv4.tcp_fin_timeout = 15\n",
            host(),
            "# affects orphaned FIN_WAIT2, not TIME_WAIT\nnet.ipv4.tcp_fin_timeout = 15\n",
            host(),
        ),
    ]);
}
