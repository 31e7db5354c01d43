//! Reads files given as arguments twice and throws the result away: for measuring.

use linger_import::{Feed, Options, Survey};
use std::fs::File;
use std::io::Read;
use std::time::Instant;

fn each(path: &str, mut take: impl FnMut(&[u8])) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    let mut sum = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(sum);
        }
        sum += n as u64;
        take(&buffer[..n]);
    }
}

fn main() -> std::io::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let start = Instant::now();
    let mut survey = Survey::new(Options { sysctls: Vec::new(), idle_ms: 7_200_000, stuck_ms: 5000 });
    let mut bytes = 0;
    for file in &files {
        survey.begin(file);
        bytes += each(file, |chunk| survey.feed(chunk))?;
        survey.end();
    }
    let surveyed = start.elapsed();
    let imported = survey.finish().run("-", 0, |feed| {
        for file in &files {
            feed(Feed::Begin(file));
            each(file, |chunk| feed(Feed::Bytes(chunk)))?;
            feed(Feed::End);
        }
        Ok::<(), std::io::Error>(())
    })?;
    let all = start.elapsed().as_secs_f64();
    let sockets: u64 = imported.account.pieces.iter().map(|p| p.sockets).sum();
    println!(
        "{bytes} bytes, {sockets} sockets: survey {:.2} s, all {all:.2} s, {:.0} MB/s",
        surveyed.as_secs_f64(),
        bytes as f64 / 1e6 / all
    );
    Ok(())
}
