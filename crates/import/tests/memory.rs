//! What is kept does not grow with the input: measured with an allocator that counts.

use linger_import::{Feed, Options, Survey};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(n: usize) {
    let now = NOW.fetch_add(n, Ordering::Relaxed) + n;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's block and layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that an import may take at the most, whatever its input, chunks apart.
const MOST_BYTES: usize = 64 << 20;

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
        _ => writeln!(into, "nonsense {i} {}", "y".repeat(50)),
    };
    written.expect("a line");
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
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let mut survey = Survey::new(Options { sysctls: vec![], idle_ms: 1, stuck_ms: 1 });
    survey.begin("-");
    chunks(&mut |bytes| survey.feed(bytes));
    survey.end();
    let imported = survey.finish().run("-", 0, |feed| {
        feed(Feed::Begin("-"));
        chunks(&mut |bytes| feed(Feed::Bytes(bytes)));
        feed(Feed::End);
        Ok::<(), std::convert::Infallible>(())
    });
    let most = MOST.load(Ordering::Relaxed) - before;
    assert!(most < MOST_BYTES, "{} MiB", most >> 20);
    let table = imported.expect("an import").snapshot.sockets.expect("sockets");
    assert!(table.states.total() >= 126_384, "{}", table.states.total());
    println!("{} MiB at the most", most >> 20);
}
