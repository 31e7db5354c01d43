//! What real programs printed of one set of sockets (iproute2 6.1, net-tools 2.10, lsof 4.95, Linux 6.18), and what is
//! made of it.

use linger_import::{Feed, Imported, Options, Survey};
use linger_model::State;
use std::path::PathBuf;

fn output(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/outputs").join(name))
        .expect("an output")
}

/// Imports texts under names, in chunks of so many bytes.
fn import_in(chunk: usize, files: &[(&str, Vec<u8>)]) -> Imported {
    let options = Options {
        sysctls: vec![
            "net.ipv4.ip_local_port_range",
            "net.ipv4.ip_local_reserved_ports",
            "net.ipv4.tcp_tw_reuse",
        ],
        idle_ms: 7_200_000,
        stuck_ms: 5000,
    };
    let mut survey = Survey::new(options);
    for (name, text) in files {
        survey.begin(name);
        text.chunks(chunk).for_each(|bytes| survey.feed(bytes));
        survey.end();
    }
    let again = |feed: &mut dyn FnMut(Feed<'_>)| -> Result<(), std::convert::Infallible> {
        for (name, text) in files {
            feed(Feed::Begin(name));
            text.chunks(chunk).for_each(|bytes| feed(Feed::Bytes(bytes)));
            feed(Feed::End);
        }
        Ok(())
    };
    match survey.finish().run("test", 0, again) {
        Ok(imported) => imported,
        Err(never) => match never {},
    }
}

fn import(files: &[(&str, Vec<u8>)]) -> Imported {
    import_in(64 << 10, files)
}

fn pasted(text: &str) -> Imported {
    import(&[("-", text.as_bytes().to_vec())])
}

/// Per state: LISTEN, ESTABLISHED, TIME_WAIT, FIN_WAIT2, CLOSE_WAIT, SYN_SENT; `None` where it is not known.
fn counts(imported: &Imported) -> [Option<u64>; 6] {
    let table = imported.snapshot.sockets.as_ref().expect("sockets");
    [State::Listen, State::Established, State::TimeWait, State::FinWait2, State::CloseWait, State::SynSent]
        .map(|state| table.states.get(state))
}

const TRUTH: [Option<u64>; 6] = [Some(3), Some(16), Some(3), Some(2), Some(2), Some(1)];

fn gap(imported: &Imported, what: &str) -> bool {
    imported.snapshot.gaps.iter().any(|gap| gap.what.contains(what))
}

#[test]
fn every_table_tells_the_same_counts() {
    for name in
        ["ss-ant", "ss-an", "ss-tanp", "ss-tanpoem", "ss-tanpoemi", "ss-Htna", "ss-O", "ss-wrap", "ss-tuna"]
    {
        let imported = import(&[(name, output(name))]);
        assert_eq!(counts(&imported), TRUTH, "{name}");
        assert!(imported.account.skipped.is_empty(), "{name}: {:?}", imported.account.skipped);
    }
    for name in ["netstat-ant", "netstat-antp", "netstat-antpe"] {
        let imported = import(&[(name, output(name))]);
        assert_eq!(counts(&imported), TRUTH, "{name}");
        assert!(imported.account.skipped.is_empty(), "{name}: {:?}", imported.account.skipped);
    }
    let both = import(&[("proc/net/tcp", output("tcp")), ("proc/net/tcp6", output("tcp6"))]);
    assert_eq!(counts(&both), TRUTH);
}

#[test]
fn what_a_table_does_not_list_is_unknown() {
    // `ss -tan state time-wait` drops the column: without the command nothing is known, with it all.
    let text = String::from_utf8(output("ss-state")).expect("text");
    let alone = pasted(&text);
    assert!(alone.snapshot.sockets.is_err());
    let skipped = alone.account.skipped.first().expect("skipped");
    assert!(skipped.reason.contains("paste the command line") && skipped.lines == 3, "{skipped:?}");
    let with = pasted(&format!("$ ss -tan state time-wait\n{text}"));
    assert_eq!(counts(&with), [None, None, Some(3), None, None, None]);
    // `state connected`, by the timers and the states that are there.
    let connected = import(&[("-", output("ss-statec"))]);
    assert_eq!(counts(&connected), [None, Some(16), Some(3), Some(2), Some(2), Some(1)]);
    assert!(gap(&connected, "LISTEN"));
    let listening = import(&[("-", output("ss-tln"))]);
    assert_eq!(counts(&listening), [Some(3), None, None, None, None, None]);
    // lsof lists what a process holds.
    let held = import(&[("-", output("lsof"))]);
    assert_eq!(counts(&held), [Some(3), Some(16), None, Some(2), Some(2), Some(1)]);
    // Half of the addresses.
    let four = import(&[("proc/net/tcp", output("tcp"))]);
    assert!(gap(&four, "other address family"));
    // A host without IPv6 connections has an empty table of them, and that is known.
    let heading =
        String::from_utf8(output("tcp6")).expect("text").lines().next().expect("a heading").to_owned();
    let no_six = import(&[("proc/net/tcp", output("tcp")), ("proc/net/tcp6", heading.into_bytes())]);
    assert!(!gap(&no_six, "other address family") && no_six.snapshot.sockets.is_ok_and(|t| t.shown.complete));
    let summary = import(&[("-", output("ss-s"))]);
    assert_eq!(counts(&summary), [None, None, Some(3), None, None, None]);
}

#[test]
fn the_details_of_ss_are_kept() {
    let imported = import(&[("-", output("ss-tanpoemi"))]);
    let table = imported.snapshot.sockets.as_ref().expect("sockets");
    let processes = imported.snapshot.host.processes.as_ref().expect("processes");
    // Two processes share every socket; the one with the lower pid is named.
    assert_eq!(processes.list.len(), 1, "{:?}", processes.list);
    let held = table.holders.get(&Some(0)).expect("a holder");
    assert_eq!(held.states[State::CloseWait as usize], 2);
    assert_eq!(held.close_wait.unread, 2);
    assert_eq!((table.orphans, table.time_wait_made.iter().sum::<u32>()), (0, 3));
    assert!(table.shown.timers && table.shown.tcp_info && table.shown.timestamps && table.shown.inodes);
    assert!(table.clients.iter().map(|g| g.value.path.timestamps).sum::<u32>() > 0);
    let plain = import(&[("-", output("ss-ant"))]);
    let table = plain.snapshot.sockets.as_ref().expect("sockets");
    assert!(!table.shown.timers && !table.shown.tcp_info && !table.shown.inodes);
    assert!(plain.snapshot.host.processes.is_err());
    assert_eq!(table.listeners.iter().map(|l| l.unaccepted).sum::<u32>(), 0, "nothing tells who accepted");
}

#[test]
fn pieces_of_one_text_are_joined() {
    let mut text = b"[root@web1 ~]# uname -a\nLinux web1 5.10.0-8-amd64 #1 SMP x86_64 GNU/Linux\n".to_vec();
    for (command, name) in [
        ("ss -tan", "ss-ant"),
        ("ss -s", "ss-s"),
        ("nstat -az", "nstat"),
        ("netstat -antp", "netstat-antp"),
        ("lsof -i -n -P", "lsof"),
        ("conntrack -S", "conntrack-S"),
        ("conntrack -L", "conntrack-L"),
    ] {
        text.extend_from_slice(format!("[root@web1 ~]# {command}\n").as_bytes());
        text.extend_from_slice(&output(name));
        text.push(b'\n');
    }
    text.extend_from_slice(
        b"```\nnet.ipv4.ip_local_port_range = 32768\t60999\nnet.ipv4.tcp_tw_reuse = 2\n```\n",
    );
    text.extend_from_slice(b"net.netfilter.nf_conntrack_max = 1000\n");
    let imported = import(&[("-", text.clone())]);
    assert_eq!(counts(&imported), TRUTH);
    let snapshot = &imported.snapshot;
    assert_eq!(snapshot.host.kernel.version, Some((5, 10)));
    assert_eq!(snapshot.counter("Tcp.RetransSegs").ok(), Some(2));
    assert_eq!(snapshot.sysctl("net.ipv4.tcp_tw_reuse").ok(), Some("2"));
    let conntrack = snapshot.conntrack.as_ref().expect("conntrack").as_ref().expect("loaded");
    assert_eq!((conntrack.count, conntrack.max), (0, 1000));
    assert!(conntrack.stats.as_ref().is_some_and(|s| s.get("drop") == Some(&0)));
    // lsof's holders are joined to ss's sockets.
    let processes = snapshot.host.processes.as_ref().expect("processes");
    assert_eq!(processes.list.first().map(|p| p.comm.as_str()), Some("python3"));
    let unused = |what: &str| {
        let piece = imported.account.pieces.iter().find(|p| p.what == what).expect("a piece");
        piece.unused.clone()
    };
    assert!(unused("ss").is_empty() && unused("netstat").contains("joined"), "{:?}", imported.account);
    assert!(unused("lsof").contains("joined"));
    assert!(imported.account.skipped.is_empty(), "{:?}", imported.account.skipped);
    // However the bytes come, the same is read.
    for chunk in [1, 7, 4096] {
        let other = import_in(chunk, &[("-", text.clone())]);
        assert_eq!((counts(&other), other.account), (TRUTH, imported.account.clone()), "{chunk}");
    }
}

#[test]
fn other_systems_are_refused_in_words() {
    let mac = "Active Internet connections (including servers)\n\
        Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)\n\
        tcp4       0      0  192.168.1.2.52345      17.57.146.20.5223      ESTABLISHED\n";
    let windows = "\nActive Connections\n\n  Proto  Local Address          Foreign Address        State\n  \
        TCP    0.0.0.0:135            0.0.0.0:0              LISTENING\n";
    let german = "Aktive Verbindungen\n\n  Proto  Lokale Adresse         Remoteadresse          Status\n  \
        TCP    0.0.0.0:135            0.0.0.0:0              ABHÖREN\n";
    let french = "Proto  Adresse locale         Adresse distante       État\n\
        TCP    192.168.1.5:49731      93.184.216.34:443      ESTABLISHED\n";
    let headless = "tcp4       0      0  192.168.1.2.52345      17.57.146.20.5223      ESTABLISHED\n";
    let all = [
        (mac, "macOS", 0),
        (headless, "macOS", 0),
        (windows, "Windows", 0),
        // Their titles could be anything.
        (german, "Windows", 1),
        (french, "Windows", 1),
    ];
    for (text, name, skipped) in all {
        let imported = pasted(text);
        assert!(imported.snapshot.sockets.is_err());
        assert!(imported.account.pieces.iter().all(|p| p.unused.contains(name)), "{:?}", imported.account);
        assert_eq!(imported.account.skipped.len(), skipped, "{:?}", imported.account.skipped);
    }
}

/// net-tools' own catalogues translate the heading, states, timers and what it says to who is not root.
#[test]
fn netstat_is_read_in_every_language_that_it_speaks() {
    let all = |imported: &Imported| {
        let table = imported.snapshot.sockets.as_ref().expect("sockets");
        let made = table.time_wait_made.iter().sum::<u32>();
        let holders: u32 = table.holders.get(&Some(0)).map_or(0, |h| h.states.iter().sum());
        (State::ALL.map(|state| table.states.get(state)), made, holders, table.shown)
    };
    let english = all(&import(&[("-", output("netstat-anteop-C"))]));
    let seen = english.0.iter().filter(|count| count.is_some_and(|n| n > 0)).count();
    assert_eq!(seen, 10, "every state that netstat lists: {:?}", english.0);
    assert_eq!((english.1, english.2), (1, 14));
    let nobody = all(&import(&[("-", output("netstat-antp-nobody-C"))]));
    assert_eq!(english.0, nobody.0);
    for language in ["C", "cs", "de", "et", "fr", "ja", "pt_BR"] {
        for (name, expected) in [("netstat-anteop", &english), ("netstat-antp-nobody", &nobody)] {
            let name = format!("{name}-{language}");
            let imported = import(&[("-", output(&name))]);
            assert_eq!(all(&imported), *expected, "{name}");
            assert!(imported.account.skipped.is_empty(), "{name}: {:?}", imported.account.skipped);
            // As hosts without UTF-8 write it: the letters are others, and no UTF-8.
            let text = output(&name);
            let other: Vec<u8> = text.iter().map(|b| if b.is_ascii() { *b } else { 0xc8 }).collect();
            assert_eq!(all(&import(&[("-", other)])).0, expected.0, "{name}");
        }
    }
}

#[test]
fn oddities_are_read_or_told_of() {
    // Old: IPv6 without brackets, `users` without names; folded lines; Windows line ends; a byte order mark.
    let old = "\u{feff}State      Recv-Q Send-Q        Local Address:Port          Peer Address:Port \r\n\
        LISTEN     0      128                      :::22                      :::*      users:((\"sshd\",1021,4))\r\n\
        LISTEN     0      128                       *:22                       *:*      users:((\"sshd\",1021,3))\r\n\
        ESTAB      0      0              10.0.0.5:22           10.0.0.9:50123\r\n\
        users:((\"sshd\",2000,3))\r\n\
        ESTAB      0      0      ::ffff:10.0.0.5:22\r\n   10.0.0.9:50124\r\n\
        TIME-WAIT  0      0              10.0.0.5:40000         10.0.0.9:443\r\n";
    let imported = pasted(old);
    assert_eq!(counts(&imported), [Some(2), Some(2), Some(1), Some(0), Some(0), Some(0)]);
    assert!(imported.account.skipped.is_empty(), "{:?}", imported.account.skipped);
    let german = "Aktive Internetverbindungen (Server und stehende Verbindungen)\n\
        Proto Recv-Q Send-Q Lokale Adresse          Fremdadresse            Status      PID/Programmname\n\
        tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      1021/sshd\n\
        tcp6       0      0 :::22                   :::*                    LISTEN      1021/sshd\n\
        tcp        0      0 10.0.0.5:22             10.0.0.9:50123          VERBUNDEN   2000/sshd: anna\n\
        tcp        0      0 10.0.0.5:22             10.0.0.9:50124          GEHEIM      2000/sshd: anna\n";
    let imported = pasted(german);
    assert_eq!(counts(&imported)[..2], [Some(2), Some(1)]);
    assert_eq!(imported.account.skipped.len(), 1);
    assert_eq!(imported.account.skipped[0].line, 6);
    let japanese = "稼働中のインターネット接続 (サーバと確立)\n\
        Proto 受信-Q 送信-Q 内部アドレス            外部アドレス            状態       \n\
        tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN     \n\
        tcp        0      0 10.0.0.5:22             10.0.0.9:50123          ESTABLISHED\n";
    assert_eq!(counts(&pasted(japanese))[..2], [Some(1), Some(1)]);
    // Names instead of numbers: what is known by name is read, what is not is told of.
    let names = pasted(
        "ESTAB 0 0 10.0.0.5:44444 10.0.0.9:https\nESTAB 0 0 10.0.0.5:44445 10.0.0.9:fancy\nESTAB 0 0 web:44446 db:https\n",
    );
    assert_eq!(counts(&names)[1], Some(1));
    assert_eq!(names.account.skipped.len(), 2, "{:?}", names.account);
    // What could not be read may be of any state: nothing is called absent.
    assert_eq!(counts(&names)[4], None);
    assert!(gap(&names, "2 sockets"), "{:?}", names.snapshot.gaps);
    assert!(names.snapshot.sockets.as_ref().is_ok_and(|table| !table.shown.complete));
    let signed = pasted("ESTAB 0 0 10.0.0.5:44444 10.0.0.9:443\nLISTEN 0 1 *:80 *:*\n-- \nAnna, support\n");
    assert_eq!((counts(&signed)[4], signed.account.skipped.len()), (Some(0), 1));
    assert!(signed.snapshot.sockets.as_ref().is_ok_and(|table| table.shown.complete));
    // What was counted already says too little.
    for counts in ["  28231 TIME-WAIT\n     12 LISTEN\n", "  28231 TIME_WAIT\n    120 ESTABLISHED\n"] {
        let counted = pasted(counts);
        assert!(counted.snapshot.sockets.is_err());
        assert!(counted.account.skipped[0].reason.contains("give what was counted"), "{:?}", counted.account);
    }
    let nothing = pasted("Dear support,\nplease find attached.\n");
    assert!(nothing.snapshot.sockets.is_err() && nothing.account.pieces.is_empty());
    assert_eq!(nothing.account.skipped.iter().map(|s| s.lines).sum::<u64>(), 2);
}

/// The same output as mail, tickets, chats, terminals and PowerShell hand it on.
#[test]
fn what_a_text_suffers_on_its_way_is_undone() {
    let text = String::from_utf8(output("ss-tanpoem")).expect("text");
    let each =
        |change: &dyn Fn(&str) -> String| text.lines().map(|line| change(line) + "\n").collect::<String>();
    let utf16 = |units: Vec<u16>| -> Vec<u8> { units.into_iter().flat_map(u16::to_le_bytes).collect() };
    let all: [(&str, Vec<u8>); 9] = [
        ("quoted", each(&|line| format!("> {line}")).into()),
        (
            "quoted twice, from below the heading on",
            each(&|line| {
                if line.starts_with("State") { format!("> {line}") } else { format!(">> {line}") }
            })
            .into(),
        ),
        ("indented", each(&|line| format!("    {line}")).into()),
        ("with tabs before", each(&|line| format!("\t{line}")).into()),
        ("with hard spaces", text.replace(' ', "\u{a0}").into()),
        ("indented with hard spaces", each(&|line| format!("    {line}").replace(' ', "\u{a0}")).into()),
        ("with other dashes", text.replace('-', "\u{2011}").into()),
        ("coloured", each(&|line| format!("\x1b[32m{}\x1b[0m", line.replacen(' ', "\x1b[0m ", 1))).into()),
        ("UTF-16", utf16([0xfeff].into_iter().chain(text.encode_utf16()).collect())),
    ];
    for (how, bytes) in all {
        for chunk in [7, 64 << 10] {
            let imported = import_in(chunk, &[("-", bytes.clone())]);
            assert_eq!(counts(&imported), TRUTH, "{how}");
            assert!(imported.account.skipped.is_empty(), "{how}: {:?}", imported.account.skipped);
            let processes = imported.snapshot.host.processes.as_ref().expect("processes");
            assert!(processes.list.iter().any(|p| p.comm == "python3"), "{how}: {processes:?}");
        }
    }
    // A quote ends: what comes below it keeps the indentation that it has of its own.
    let mut joined = each(&|line| format!("    {line}"));
    joined.push_str(&String::from_utf8(output("netstat-s")).expect("text"));
    let imported = pasted(&joined);
    assert_eq!(counts(&imported), TRUTH);
    let alone = import(&[("-", output("netstat-s"))]);
    assert_eq!(imported.snapshot.counters, alone.snapshot.counters);
    assert_eq!(imported.account.skipped.len(), alone.account.skipped.len(), "{:?}", imported.account.skipped);
}

#[test]
fn another_namespace_is_left_out() {
    let files =
        [("ss_-peaonmi", output("ss-tanpoemi")), ("ip_netns_exec_blue_ss_-peaonmi", output("ss-tanpoemi"))];
    let imported = import(&files);
    assert_eq!(counts(&imported), TRUTH);
    assert!(imported.account.pieces[1].unused.contains("another network namespace"));
}

#[test]
fn what_to_add_is_told_until_it_is_there() {
    let text = |name: &str| String::from_utf8(output(name)).expect("text");
    let mut paste = text("ss-ant");
    let sysctls = "net.ipv4.ip_local_port_range = 32768\t60999\n";
    let sockstat = "sockets: used 5\nTCP: inuse 5 orphan 0 tw 3 alloc 9 mem 2\n";
    let version = "Linux web1 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 x86_64 GNU/Linux\n";
    for (command, answer) in [
        ("sudo ss -tanpoemi", ""),
        ("nstat -az", &text("nstat")),
        ("sysctl net", sysctls),
        ("cat /proc/net/sockstat", sockstat),
        ("uname -a", version),
    ] {
        let missing = pasted(&paste).account.missing;
        assert!(missing.iter().any(|it| it == command), "{command}: {missing:?}");
        if command.contains("ss") {
            paste = text("ss-tanpoemi");
        }
        paste.push_str(answer);
        let missing = pasted(&paste).account.missing;
        assert!(!missing.iter().any(|it| it == command), "{command}: {missing:?}");
    }
    assert_eq!(pasted(&paste).account.missing, Vec::<String>::new());
    assert_eq!(pasted("").account.missing.len(), 5);
}
