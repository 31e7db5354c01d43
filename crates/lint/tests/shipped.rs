//! Nothing is said of what distributions ship.

use linger_facts::Role;
use linger_facts::Version;
use linger_lint::sysctl::{Context, File, Loader, lint};

/// systemd's 50-default.conf, 50-pid-max.conf and 50-coredump.conf: their settings.
const SYSTEMD: &[(&str, &str)] = &[
    (
        "/usr/lib/sysctl.d/50-default.conf",
        "# See sysctl.d(5) and core(5) for documentation.\n\nkernel.sysrq = 16\nkernel.core_uses_pid = 1\n\
         net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n\
         net.ipv4.conf.default.accept_source_route = 0\nnet.ipv4.conf.*.accept_source_route = 0\n\
         -net.ipv4.conf.all.accept_source_route\nnet.ipv4.conf.default.promote_secondaries = 1\n\
         net.ipv4.conf.*.promote_secondaries = 1\n-net.ipv4.conf.all.promote_secondaries\n\
         -net.ipv4.ping_group_range = 0 2147483647\n-net.core.default_qdisc = fq_codel\n\
         fs.protected_hardlinks = 1\nfs.protected_symlinks = 1\nfs.protected_regular = 1\nfs.protected_fifos = 1\n",
    ),
    ("/usr/lib/sysctl.d/50-pid-max.conf", "kernel.pid_max = 4194304\n"),
    (
        "/usr/lib/sysctl.d/50-coredump.conf",
        "kernel.core_pattern=|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h\nkernel.core_pipe_limit=16\n\
         fs.suid_dumpable=2\n",
    ),
];

/// Debian's procps and others.
const DEBIAN: &[(&str, &str)] = &[
    (
        "/usr/lib/sysctl.d/99-protect-links.conf",
        "# Protected links\n#\n# Protects against creating or following links under certain conditions\n\
         fs.protected_fifos = 1\nfs.protected_hardlinks = 1\nfs.protected_regular = 2\nfs.protected_symlinks = 1\n",
    ),
    (
        "/etc/sysctl.conf",
        "#\n# /etc/sysctl.conf - Configuration file for setting system variables\n#\n\n#kernel.domainname = example.com\n\n\
         # Uncomment the next two lines to enable Spoof protection (reverse-path filter)\n\
         #net.ipv4.conf.default.rp_filter=1\n#net.ipv4.conf.all.rp_filter=1\n\n\
         # Uncomment the next line to enable TCP/IP SYN cookies\n# See http://lwn.net/Articles/277146/\n\
         # Note: This may impact IPv6 TCP sessions too\n#net.ipv4.tcp_syncookies=1\n\n\
         # Uncomment the next line to enable packet forwarding for IPv4\n#net.ipv4.ip_forward=1\n\n\
         ## Note: some of these settings\n# Log Martian Packets\n#net.ipv4.conf.all.log_martians = 1\n#\n\n\
         # Magic system request Key\n#kernel.sysrq=438\n",
    ),
    ("/usr/lib/sysctl.d/30-tracker.conf", "fs.inotify.max_user_watches = 65536\n"),
    ("/usr/lib/sysctl.d/50-bubblewrap.conf", "-kernel.unprivileged_userns_clone=1\n"),
    ("/etc/sysctl.d/10-kernel-hardening.conf", "kernel.kptr_restrict = 1\nkernel.printk = 4 4 1 7\n"),
    (
        "/etc/sysctl.d/10-network-security.conf",
        "# Turn on Source Address Verification in all interfaces to\n# prevent some spoofing attacks.\n\
         net.ipv4.conf.default.rp_filter=2\nnet.ipv4.conf.all.rp_filter=2\n",
    ),
    (
        "/etc/sysctl.d/10-ipv6-privacy.conf",
        "net.ipv6.conf.all.use_tempaddr = 2\nnet.ipv6.conf.default.use_tempaddr = 2\n",
    ),
    ("/etc/sysctl.d/10-zeropage.conf", "vm.mmap_min_addr = 65536\n"),
    ("/usr/lib/sysctl.d/10-map-count.conf", "vm.max_map_count=1048576\n"),
    (
        "/usr/lib/sysctl.d/50-libkcapi-optmem_max.conf",
        "# increase the limit for AF_ALG users\nnet.core.optmem_max = 81920\n",
    ),
];

fn files(of: &[(&str, &str)]) -> Vec<File> {
    let file = |(place, text): &(&str, &str)| File {
        name: (*place).to_owned(),
        text: text.as_bytes().to_vec(),
        places: if *place == "/etc/sysctl.conf" {
            vec![(*place).to_owned(), "/etc/sysctl.d/99-sysctl.conf".to_owned()]
        } else {
            vec![(*place).to_owned()]
        },
    };
    of.iter().map(file).collect()
}

#[test]
fn what_distributions_ship_is_fine() {
    let all: Vec<(&str, &str)> = SYSTEMD.iter().chain(DEBIAN).copied().collect();
    for kernel in [
        Version::new(3, 10),
        Version::new(5, 10),
        Version::new(6, 1),
        Version::new(6, 12),
        Version::new(6, 18),
    ] {
        for (boot, role) in [(Loader::Systemd, None), (Loader::Procps, Some(Role::Proxy))] {
            let context = Context {
                kernel: Some(kernel),
                ram_bytes: Some(16 << 30),
                boot: Some(boot),
                role,
                ..Context::default()
            };
            let found: Vec<String> = lint(&files(&all), &context)
                .into_iter()
                .map(|d| format!("{}:{}: {} {}", d.file, d.line, d.code, d.message))
                .collect();
            // Debian's own 99-protect-links.conf sets again what systemd's 50-default.conf sets: one package overrides another,
            // and both say what is in force. It is a note, not a warning.
            let alarms: Vec<&String> = found.iter().filter(|d| !d.contains("SC017")).collect();
            assert_eq!(alarms, Vec::<&String>::new(), "on {kernel}");
        }
    }
}

/// The files of the machine that this runs on, as they are.
#[test]
fn what_this_machine_ships_is_fine() {
    let mut found = Vec::new();
    for folder in ["/usr/lib/sysctl.d", "/lib/sysctl.d"] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "conf")
                && let Ok(text) = std::fs::read(&path)
            {
                let place = path.display().to_string();
                found.push(File { name: place.clone(), text, places: vec![place] });
            }
        }
    }
    let context = Context {
        kernel: Some(Version::new(6, 18)),
        ram_bytes: Some(16 << 30),
        boot: Some(Loader::Systemd),
        ..Context::default()
    };
    let alarms: Vec<_> =
        lint(&found, &context).into_iter().filter(|d| d.severity > linger_lint::Severity::Info).collect();
    assert_eq!(alarms, [], "{} files", found.len());
}
