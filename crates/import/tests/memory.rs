//! What is kept does not grow with the input beyond a bound: measured with an allocator that counts.

use linger_import::recording::{About, Redaction, Samples, decode, head, sample};
use linger_import::{Feed, Imported, Options, Survey};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

struct Counting;

thread_local! {
    // Each test has a thread of its own, and an import no further ones.
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn add(n: isize) {
    let now = NOW.get() + n;
    NOW.set(now);
    MOST.set(MOST.get().max(now));
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: the caller's block and layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is done, and the most bytes that it took beyond those that were there before.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    MOST.set(before);
    let done = work();
    (done, (MOST.get() - before) as usize)
}

/// Imports what `chunks` gives, twice.
fn import(chunks: impl Fn(&mut dyn FnMut(&[u8]))) -> Imported {
    let mut survey = Survey::new(Options { sysctls: vec!["net.ipv4.tcp_tw_reuse"], idle_ms: 1, stuck_ms: 1 });
    survey.begin("-");
    chunks(&mut |bytes| survey.feed(bytes));
    survey.end();
    let imported = survey.finish().run("-", 0, |feed| {
        feed(Feed::Begin("-"));
        chunks(&mut |bytes| feed(Feed::Bytes(bytes)));
        feed(Feed::End);
        Ok::<(), std::convert::Infallible>(())
    });
    imported.expect("an import")
}

/// A text that wants everything kept: each line a listener, connection, process, setting, counter or nonsense of its own.
fn line(kind: u32, i: u32, into: &mut Vec<u8>) {
    let [_, a, b, c] = i.to_be_bytes();
    let port = 1 + i % 65_535;
    let written = match kind {
        0 => writeln!(into, "LISTEN 0 128 10.{a}.{b}.{c}:{port} 0.0.0.0:* users:((\"p{i}\",pid={i},fd=3))"),
        1 => writeln!(
            into,
            "ESTAB 0 0 10.{a}.{b}.{c}:{port} 11.{a}.{b}.{c}:443 users:((\"p{i}\",pid={i},fd=3)) cgroup:/system.slice/some-service-{i}.service"
        ),
        2 => writeln!(
            into,
            "p{i} {i} root 3u IPv4 {i} 0t0 TCP 10.{a}.{b}.{c}:{port}->11.{a}.{b}.{c}:443 (ESTABLISHED)"
        ),
        3 => writeln!(into, "net.ipv4.key{i} = {}", "x".repeat(50)),
        4 => writeln!(into, "TcpExtCounter{i} {i} 0.0"),
        5 => writeln!(into, "nonsense {i} {}", "y".repeat(50)),
        // The shortest lines of a kind.
        6 => writeln!(into, "ESTAB 0 0 1.{a}.{b}.{c}:1 1.1.1.1:1"),
        7 => writeln!(into, "LISTEN 0 0 1.{a}.{b}.{c}:1 *:*"),
        8 => writeln!(into, "tcp 0 0 1.{a}.{b}.{c}:1 1.1.1.1:1 CLOSE_WAIT {i}/a"),
        9 => writeln!(into, "CLOSE-WAIT 0 0 1.{a}.{b}.{c}:1 1.1.1.1:1 users:((\"a\",{i},1))"),
        10 => writeln!(into, "Tcp:\nsysctl: x\n$ ss\nESTAB 0"),
        _ => writeln!(into, "TcpA{i} 1"),
    };
    written.expect("a line");
}

/// Kinds of [`line`].
const KINDS: u32 = 12;

/// Bytes that the import of so long a text may take at the most, chunks apart.
fn bound(length: usize) -> usize {
    ((64 << 10) + 64 * length).min(64 << 20)
}

#[test]
fn memory_is_bounded_whatever_the_input() {
    let chunks = |take: &mut dyn FnMut(&[u8])| {
        let mut chunk = Vec::with_capacity(96 << 10);
        for kind in 0..6 {
            for i in 0..110_000 {
                line(kind, i, &mut chunk);
                if chunk.len() > 64 << 10 {
                    take(&chunk);
                    chunk.clear();
                }
            }
        }
        // And a line that does not end.
        take(&chunk);
        (0..400).for_each(|_| take(&[b'z'; 64 << 10]));
    };
    let (imported, most) = measured(|| import(chunks));
    assert!(most < bound(usize::MAX / 128), "{} MiB", most >> 20);
    let table = imported.snapshot.sockets.expect("sockets");
    assert!(table.states.total() >= 126_384, "{}", table.states.total());
    println!("{} MiB at the most", most >> 20);
}

/// Lines of every kind, more or less of each, and what stands above them.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let heading = prop::sample::select(vec![
        "",
        "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n",
        "Proto Recv-Q Send-Q Local Address Foreign Address State\n",
        "$ ss -tan state time-wait\n",
        "#kernel\n",
    ]);
    let some = (heading, 0..KINDS, prop_oneof![0u32..20, 0u32..3000], any::<u16>());
    prop::collection::vec(some, 0..4).prop_map(|parts| {
        let mut text = Vec::new();
        for (heading, kind, lines, from) in parts {
            text.extend_from_slice(heading.as_bytes());
            (0..lines).for_each(|i| line(kind, u32::from(from) + i, &mut text));
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_takes_no_more_than_a_multiple_of_its_bytes(text in text(), noise in prop::collection::vec(any::<u8>(), 0..300)) {
            for text in [&text, &noise] {
            let (_, most) = measured(|| import(|take| take(text)));
            prop_assert!(most <= bound(text.len()), "{most} bytes for {}", text.len());
        }
    }

    #[test]
    fn a_sample_takes_no_more_than_a_multiple_of_its_bytes(text in text(), cuts in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4)) {
            let snapshot = import(|take| take(&text)).snapshot;
        let mut unpacked = rmp_serde::to_vec(&snapshot).expect("bytes");
        let allowed = (8 << 20) + 16 * unpacked.len();
        let mut recording =
            head(&About { linger: "0.1.0".to_owned(), redaction: Redaction::None, interval_ms: 1 }).expect("a head");
        recording.extend(sample(&snapshot).expect("a sample"));
        let (read, most) = measured(|| Samples::open(recording.as_slice()).and_then(|mut it| it.next_sample()));
        prop_assert!(matches!(read, Ok(Some(_))));
        prop_assert!(most <= allowed, "{most} bytes for {}", unpacked.len());
        // Damaged so that its checksum would be right: lengths that are claimed and do not come.
        for (at, byte) in cuts {
            let at = usize::from(at) % unpacked.len();
            unpacked[at] = byte;
        }
        let (_, most) = measured(|| decode(&unpacked));
        prop_assert!(most <= allowed, "{most} bytes for {}", unpacked.len());
    }
}

/// A frame that claims more than its bytes can hold is none.
#[test]
fn a_frame_takes_no_more_than_its_bytes_can_hold() {
    let mut recording =
        head(&About { linger: "0.1.0".to_owned(), redaction: Redaction::None, interval_ms: 1 })
            .expect("a head");
    let packed = [0x1f, 0, 1, 0, 255, 255];
    let mut frame: Vec<u8> =
        [1, packed.len() as u32, 64 << 20].into_iter().flat_map(u32::to_le_bytes).collect();
    let mut sum = crc32fast::Hasher::new();
    sum.update(&frame);
    sum.update(&packed);
    frame.extend(sum.finalize().to_le_bytes());
    frame.extend(packed);
    recording.extend(frame);
    let (read, most) = measured(|| Samples::open(recording.as_slice()).and_then(|mut it| it.next_sample()));
    assert!(matches!(read, Ok(None)));
    assert!(most < 64 << 10, "{most}");
}
