//! A recording reads as it was written, up to its last whole sample, and hides what it should.

use linger_import::recording::{About, End, RecordingError, Redaction, Samples, head, sample};
use linger_import::{Feed, Options, Redactor, Survey};
use linger_model::{Snapshot, State};
use proptest::prelude::*;
use std::path::PathBuf;

fn snapshot() -> Snapshot {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/outputs/ss-tanpoemi");
    let text = std::fs::read(path).expect("an output");
    let mut survey = Survey::new(Options { sysctls: vec![], idle_ms: 1000, stuck_ms: 1000 });
    survey.begin("web1.example");
    survey.feed(&text);
    survey.end();
    let imported = survey.finish().run("web1.example", 1_600_000_000_000_000, |feed| {
        feed(Feed::Begin("web1.example"));
        feed(Feed::Bytes(&text));
        feed(Feed::End);
        Ok::<(), std::convert::Infallible>(())
    });
    imported.expect("an import").snapshot
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
    }
    let bytes = std::fs::read(folder.join("v1")).expect("a recording of version 1");
    let (all, end) = read(&bytes).expect("a recording");
    assert_eq!((all.len(), end), (2, Some(End::Whole)));
    let table = all[1].sockets.as_ref().expect("sockets");
    assert_eq!(table.states.get(State::Established), Some(16));
    assert_eq!(table.holders.get(&Some(0)).map(|h| h.close_wait.unread), Some(2));
}

#[test]
fn what_is_hidden_is_nowhere_in_the_file() {
    let original = snapshot();
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
        if redaction == Redaction::All {
            secrets.push(b"python3".to_vec());
            secrets.push(b"web1.example".to_vec());
        }
        let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|w| w == secret);
        for secret in &secrets {
            assert!(!holds(&bytes, secret) && !holds(&packed, secret), "{}", String::from_utf8_lossy(secret));
        }
        // The search finds what is there.
        let open = rmp_serde::to_vec(&original).expect("bytes");
        assert!(secrets.iter().filter(|secret| holds(&open, secret)).count() >= 3);
        // Nothing is lost but the names.
        let count =
            |s: &Snapshot| s.sockets.as_ref().map(|t| (t.states, t.tuples.len(), t.clients.len())).ok();
        assert_eq!(count(&hidden), count(&original));
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
}
