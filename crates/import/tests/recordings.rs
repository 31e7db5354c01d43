//! A recording reads as it was written, up to its last whole sample, and hides what it should.

use linger_import::recording::{About, End, RecordingError, Redaction, Samples, head, sample};
use linger_import::{Feed, Options, Redactor, Survey};
use linger_model::aggregate::TimeWaitMakers;
use linger_model::snapshot::{CgroupMemory, Container, ContainerKind, Gap, GapKind};
use linger_model::{Groups, Snapshot, State};
use proptest::prelude::*;
use std::path::PathBuf;

fn snapshot() -> Snapshot {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/outputs/ss-tanpoemi");
    imported(&std::fs::read(path).expect("an output"), "web1.example")
}

/// As a trace beside it would have it: it knows who made the connections to each destination.
fn traced(mut snapshot: Snapshot) -> Snapshot {
    let table = snapshot.sockets.as_mut().expect("sockets");
    let mut by = Groups::new(16_384);
    table.tuples.iter().for_each(|group| *by.add((group.key, 0)) = ());
    table.time_wait_makers = Some(TimeWaitMakers { by, unknown: 3, lost: 2 });
    snapshot
}

fn about(redaction: Redaction) -> About {
    About { linger: "0.1.0".to_owned(), redaction, interval_ms: 1000 }
}

fn recording(samples: usize) -> Vec<u8> {
    let mut bytes = head(&about(Redaction::None)).expect("a head");
    for i in 0..samples {
        let snapshot = Snapshot { monotonic_us: i as u64 * 1_000_000, ..snapshot() };
        bytes.extend(sample(&snapshot).expect("a sample"));
    }
    bytes
}

/// All samples, and how it ended.
fn read(bytes: &[u8]) -> Result<(Vec<Snapshot>, Option<End>), RecordingError> {
    let mut samples = Samples::open(bytes)?;
    let mut all = Vec::new();
    while let Some(snapshot) = samples.next_sample()? {
        all.push(snapshot);
    }
    Ok((all, samples.end()))
}

/// Everything of a snapshot, in words: maps keep their order, and groups are sorted by their text.
fn words(snapshot: &Snapshot) -> String {
    let table = snapshot.sockets.as_ref().expect("sockets");
    let mut tuples: Vec<String> =
        table.tuples.iter().map(|g| format!("{:?} {:?} {}", g.key, g.value, g.count())).collect();
    tuples.sort();
    let mut clients: Vec<String> =
        table.clients.iter().map(|g| format!("{:?} {:?} {}", g.key, g.value, g.count())).collect();
    clients.sort();
    format!(
        "{:?} {:?} {tuples:?} {clients:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        snapshot.host,
        table.states,
        table.listeners,
        table.holders,
        table.time_wait_made,
        snapshot.counters,
        snapshot.gaps,
        snapshot.netns
    )
}

#[test]
fn a_recording_reads_as_it_was_written() {
    let (all, end) = read(&recording(3)).expect("a recording");
    assert_eq!((all.len(), end), (3, Some(End::Whole)));
    assert_eq!(words(&all[0]), words(&snapshot()));
    assert_eq!(all[2].monotonic_us, 2_000_000);
    assert_eq!(Samples::open(recording(1).as_slice()).expect("a recording").about, about(Redaction::None));
}

#[test]
fn who_made_time_wait_is_read_as_it_was_written() {
    let mut bytes = head(&about(Redaction::None)).expect("a head");
    bytes.extend(sample(&traced(snapshot())).expect("a sample"));
    let (all, end) = read(&bytes).expect("a recording");
    assert_eq!((all.len(), end), (1, Some(End::Whole)));
    let table = all[0].sockets.as_ref().expect("sockets");
    let makers = table.time_wait_makers.as_ref().expect("a trace");
    assert_eq!((makers.by.len(), makers.unknown), (table.tuples.len(), 3));
    assert!(table.tuples.len() > 1 && table.tuples.iter().all(|g| table.maker(&g.key) == Some((0, 1))));
}

#[test]
fn one_that_was_cut_short_opens_up_to_its_last_whole_sample() {
    let whole = recording(3);
    let one = recording(1).len();
    let two = recording(2).len();
    for cut in [one, one + 1, one + 15, one + 16, one + 200, two - 1, two, two + 7, whole.len() - 1] {
        let (all, end) = read(&whole[..cut]).expect("a recording");
        let expected = if cut < two { 1 } else { 2 };
        assert_eq!(all.len(), expected, "{cut}");
        assert_eq!(end, Some(if cut == one || cut == two { End::Whole } else { End::Cut }), "{cut}");
    }
    // A damaged byte is found, wherever it is.
    for at in (one..two).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        let (all, end) = read(&damaged).expect("a recording");
        assert_eq!((all.len(), end), (1, Some(End::Cut)), "{at}");
    }
}

#[test]
fn what_is_no_recording_is_told_in_a_sentence() {
    assert!(matches!(read(b"State Recv-Q"), Err(RecordingError::NotARecording)));
    assert!(matches!(read(b""), Err(RecordingError::NotARecording)));
    let mut later = recording(1);
    later[8] = 9;
    assert!(matches!(read(&later), Err(RecordingError::Version(9))));
    assert!(matches!(read(&recording(1)[..20]), Err(RecordingError::Head(_))));
}

/// Recordings of every version that was released stay readable: `tests/recordings/vN`.
#[test]
fn recordings_of_released_versions_are_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    if std::env::var_os("LINGER_WRITE_RECORDING").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("v1"), recording(2)).expect("written");
        // What a fuzzer begins with: without the checksum that no mutated file gets past.
        let seeds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/recording");
        let unpacked = rmp_serde::to_vec(&snapshot()).expect("bytes");
        std::fs::write(seeds.join("sample-v1"), unpacked).expect("written");
    }
    let bytes = std::fs::read(folder.join("v1")).expect("a recording of version 1");
    let (all, end) = read(&bytes).expect("a recording");
    assert_eq!((all.len(), end), (2, Some(End::Whole)));
    let table = all[1].sockets.as_ref().expect("sockets");
    assert_eq!(table.states.get(State::Established), Some(16));
    assert_eq!(table.holders.get(&Some(0)).map(|h| h.close_wait.unread), Some(2));
    assert!(table.time_wait_makers.is_none());
}

/// One of a host, made by `linger record --redact all`: with counters, settings, listeners and holders.
#[test]
fn a_whole_hosts_recording_of_version_1_is_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1-host");
    let bytes = std::fs::read(path).expect("a recording of version 1");
    assert_eq!(Samples::open(bytes.as_slice()).expect("a recording").about.redaction, Redaction::All);
    let (all, end) = read(&bytes).expect("a recording");
    assert_eq!((all.len(), end), (2, Some(End::Whole)));
    let last = &all[1];
    let table = last.sockets.as_ref().expect("sockets");
    let count = |state| table.states.get(state);
    assert_eq!(
        (count(State::TimeWait), count(State::CloseWait), count(State::Listen)),
        (Some(660), Some(39), Some(1))
    );
    let busiest = table.tuples.iter().max_by_key(|g| g.count()).expect("a destination");
    assert_eq!((busiest.key.dst.to_string().as_str(), busiest.key.dport), ("240.0.0.1", 8080));
    assert!((690..=720).contains(&busiest.value.in_range()));
    assert_eq!((table.listeners.len(), table.listeners[0].port), (1, 8080));
    let processes = last.host.processes.as_ref().expect("processes");
    let (holder, _) =
        table.holders.iter().max_by_key(|(_, h)| h.states.iter().sum::<u32>()).expect("a holder");
    assert_eq!(holder.and_then(|index| processes.get(index)).map(|p| p.comm.as_str()), Some("process-1"));
    assert!(last.sockstat.as_ref().is_ok_and(|s| s.tw > 600));
    assert!(last.counter("Tcp.ActiveOpens").expect("a counter") > 600);
    assert_eq!(last.counter("TcpExt.ListenOverflows"), Ok(0));
    assert_eq!(
        last.sysctl("net.ipv4.ip_local_port_range").map(|t| t.replace('\t', " ")),
        Ok("20000 21199".to_owned())
    );
    assert_eq!(last.sysctl_int("net.ipv4.tcp_tw_reuse"), Ok(0));
    assert!(last.conntrack.as_ref().is_ok_and(Option::is_some));
    assert!(last.monotonic_us > all[0].monotonic_us);
}

/// Sockets of a host with addresses and names of its own.
fn host_text() -> impl Strategy<Value = (String, Vec<std::net::IpAddr>, Vec<String>)> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    // What a mask or an address of no host may be is no secret.
    let v4 = (1u8..=223, 1u8..=254, 1u8..=254, 1u8..=254)
        .prop_filter("loopback", |(a, ..)| *a != 127)
        .prop_map(|(a, b, c, d)| IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
    let v6 = (0x2003u16..0x3000, any::<[u16; 3]>(), any::<u64>()).prop_map(|(a, [b, c, d], low)| {
        let [e, f, g, h] = [48, 32, 16, 0].map(|shift| (low >> shift) as u16 | 0x0101);
        IpAddr::V6(Ipv6Addr::new(a, b | 0x0101, c, d, e, f, g, h))
    });
    let pair =
        prop_oneof![(v4.clone(), v4).prop_map(|p| (p.0, p.1)), (v6.clone(), v6).prop_map(|p| (p.0, p.1))];
    let state =
        prop::sample::select(vec!["ESTAB", "LISTEN", "CLOSE-WAIT", "SYN-RECV", "TIME-WAIT", "FIN-WAIT-2"]);
    // Half of them came in, by a listener of every address.
    let port = prop_oneof![Just(443u16), 1024u16..60_000];
    let line = (state, pair, port, "[a-z]{9,15}", "[a-z]{9,20}", 2u32..100_000);
    prop::collection::vec(line, 1..40).prop_map(|lines| {
        let mut text = "LISTEN 0 128 0.0.0.0:443 0.0.0.0:*\nLISTEN 0 128 [::]:443 [::]:*\n".to_owned();
        let (mut addresses, mut names) = (Vec::new(), Vec::new());
        for (state, (near, far), port, comm, unit, pid) in lines {
            let host = |a: IpAddr| if a.is_ipv6() { format!("[{a}]") } else { a.to_string() };
            let peer = if state == "LISTEN" {
                "*:*".to_owned()
            } else {
                format!("{}:{}", host(far), port / 2 + 2000)
            };
            text.push_str(&format!("{state} 1 0 {}:{port} {peer}", host(near)));
            if !["TIME-WAIT", "SYN-RECV"].contains(&state) {
                text.push_str(&format!(
                    " users:((\"{comm}\",pid={pid},fd=3)) ino:{} cgroup:/system.slice/{unit}.service",
                    u32::from(port) + pid
                ));
                names.extend([comm, unit]);
            }
            text.push('\n');
            addresses.extend([near, far]);
        }
        (text, addresses, names)
    })
}

/// Imports a text as `name`.
fn imported(text: &[u8], name: &str) -> Snapshot {
    let mut survey = Survey::new(Options { sysctls: vec![], idle_ms: 1000, stuck_ms: 1000 });
    survey.begin(name);
    survey.feed(text);
    survey.end();
    let imported = survey.finish().run(name, 1_600_000_000_000_000, |feed| {
        feed(Feed::Begin(name));
        feed(Feed::Bytes(text));
        feed(Feed::End);
        Ok::<(), std::convert::Infallible>(())
    });
    imported.expect("an import").snapshot
}

/// With addresses where names stand: systemd's units for connections, a cloud's host names, a worker's title.
fn with_addresses_in_names(mut snapshot: Snapshot) -> Snapshot {
    let mut host = (*snapshot.host).clone();
    let unit = "sshd@3-10.9.0.1:22-10.9.0.77:5555.service";
    for process in &mut host.processes.as_mut().expect("processes").list {
        process.comm = "php 10.9.0.77".to_owned();
        process.exe = Some("/srv/10.9.0.1/php".to_owned());
        process.cmdline = Some("php --token hunter2 fe80::5".to_owned());
        process.cgroup = Some(format!("/system.slice/{unit}"));
        let (kind, pod) = (ContainerKind::SystemdUnit, Some("ip-10-9-0-77".to_owned()));
        process.container = Some(Container { kind, id: unit.to_owned(), pod });
    }
    let (path, bytes) = (format!("/system.slice/{unit}"), 1);
    host.cgroup_memory = Ok(vec![CgroupMemory {
        path,
        sock_bytes: bytes,
        current_bytes: bytes,
        max_bytes: None,
        sock_throttled: None,
    }]);
    snapshot.host = std::sync::Arc::new(host);
    snapshot.netns.name = Some("web1.example [fe80::5%eth7]".to_owned());
    snapshot.gaps.push(Gap::new("sockets", GapKind::Partial, "10.9.0.1 hunter2", ""));
    snapshot
}

#[test]
fn what_is_hidden_is_nowhere_in_the_file() {
    let original = with_addresses_in_names(traced(snapshot()));
    for redaction in [Redaction::Addresses, Redaction::All] {
        let mut redactor = Redactor::new(redaction);
        let hidden = redactor.redact(original.clone());
        let again = redactor.redact(original.clone());
        assert_eq!(words(&hidden), words(&again), "the same mask for the same address");
        let bytes = rmp_serde::to_vec(&hidden).expect("bytes");
        let packed = sample(&hidden).expect("a sample");
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        for address in ["10.9.0.1", "10.9.0.77", "fe80::5"] {
            let parsed: std::net::IpAddr = address.parse().expect("an address");
            let addr = linger_model::Addr::from(parsed);
            secrets.push(addr.bytes().to_vec());
            secrets.push(address.as_bytes().to_vec());
        }
        secrets.extend([&b"hunter2"[..], b"10-9-0-77"].map(<[u8]>::to_vec));
        if redaction == Redaction::All {
            let names = ["php", "/srv", "sshd", "system.slice", "web1.example", "eth7", "ip-"];
            secrets.extend(names.map(|name| name.as_bytes().to_vec()));
        }
        let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|w| w == secret);
        for secret in &secrets {
            assert!(!holds(&bytes, secret) && !holds(&packed, secret), "{}", String::from_utf8_lossy(secret));
        }
        // The search finds what is there.
        let open = rmp_serde::to_vec(&original).expect("bytes");
        assert!(secrets.iter().filter(|secret| holds(&open, secret)).count() >= secrets.len() - 1);
        // Nothing is lost but the names.
        let count =
            |s: &Snapshot| s.sockets.as_ref().map(|t| (t.states, t.tuples.len(), t.clients.len())).ok();
        assert_eq!(count(&hidden), count(&original));
        let table = hidden.sockets.as_ref().expect("sockets");
        assert!(table.tuples.iter().all(|g| table.maker(&g.key) == Some((0, 1))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), with_head in any::<bool>()) {
        let mut all = if with_head { head(&about(Redaction::None)).expect("a head") } else { Vec::new() };
        all.extend(bytes);
        let _ = read(&all);
    }
    #[test]
    fn no_address_and_no_name_is_left((text, addresses, names) in host_text()) {
        let original = traced(imported(text.as_bytes(), "customer.example"));
        let states = original.sockets.as_ref().expect("sockets").states;
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        for address in addresses {
            secrets.push(address.to_string().into_bytes());
            let addr = linger_model::Addr::from(address);
            let bytes = addr.bytes();
            // The four bytes alone could stand there by chance.
            secrets.push(if address.is_ipv4() { bytes[10..].to_vec() } else { bytes.to_vec() });
        }
        secrets.extend(names.into_iter().map(String::into_bytes));
        secrets.push(b"customer.example".to_vec());
        let holds = |bytes: &[u8], secret: &[u8]| memchr::memmem::find(bytes, secret).is_some();
        // The search finds what is there.
        let open = rmp_serde::to_vec(&original).expect("bytes");
        prop_assert!(secrets.iter().any(|secret| holds(&open, secret)));
        let hidden = Redactor::new(Redaction::All).redact(original);
        let packed = sample(&hidden).expect("a sample");
        let unpacked = rmp_serde::to_vec(&hidden).expect("bytes");
        let debug = format!("{hidden:?}").into_bytes();
        for secret in &secrets {
            for bytes in [&packed, &unpacked, &debug] {
                prop_assert!(!holds(bytes, secret), "{} of {text}", String::from_utf8_lossy(secret));
            }
        }
        prop_assert_eq!(hidden.sockets.expect("sockets").states, states);
    }
}
