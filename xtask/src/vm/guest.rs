//! One machine in qemu: booted, heard, and ended in any case.

use anyhow::{Context, Result};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Lines of the console that are shown of a guest that failed.
const TAIL: usize = 40;
/// The table of established connections is as on a larger machine: the lab takes no more than a tenth of it.
const KERNEL: &str = "console=ttyS0 quiet panic=-1 thash_entries=262144";

/// What a guest did.
pub struct Run {
    /// From the start of qemu to the first step, if it came to that.
    pub boot: Option<Duration>,
    /// The steps that ended, in their order.
    pub steps: Vec<Step>,
    /// Why it did not come to its end, where it did not.
    pub failure: Option<String>,
    /// Everything that it reported, as it came.
    pub transcript: String,
}

/// A step that ended.
pub struct Step {
    pub name: String,
    pub took: Duration,
    pub outcome: Outcome,
}

/// What a step's command did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit status; 128 and the signal's number where it was killed.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Boots a guest and waits until it powers off, dies, or `limit` is over.
///
/// The kernel's own lines go to the file `console`; what the steps report comes over a second port.
pub fn boot(image: &Path, initramfs: &Path, console: &Path, limit: Duration) -> Result<Run> {
    let mut serial = std::ffi::OsString::from("file:");
    serial.push(console);
    // The guest ends with this thread, also when it is killed.
    let mut command = Command::new("setpriv");
    // Hardware acceleration is there on few machines that run tests, and a short guest does not need it. With a thread
    // for each processor qemu 7.2 goes on running code that the kernel has patched meanwhile (static keys), and the
    // guest dies of "Oops: int3".
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "2G"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-serial")
        .arg(serial)
        .args(["-serial", "stdio", "-append", KERNEL, "-kernel"])
        .arg(image)
        .arg("-initrd")
        .arg(initramfs);
    let started = Instant::now();
    let mut qemu =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(
            "setpriv, which starts qemu, could not be started: install Debian's package util-linux",
        )?;
    let stdout = qemu.stdout.take().context("a pipe")?;
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if send.send((Instant::now(), String::from_utf8_lossy(&line).into_owned())).is_err() {
                break;
            }
        }
    });
    let mut report = Report::new();
    let hung = loop {
        match lines.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok((when, line)) => report.line(when, &line),
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => {
                qemu.kill().context("a guest that hangs could not be killed")?;
                break true;
            }
        }
    };
    let status = qemu.wait().context("qemu's end")?;
    let failure = match (hung, report.done) {
        (true, _) => Some(format!("killed after {} s, {}", limit.as_secs(), report.place())),
        (false, true) => None,
        (false, false) => Some(format!("it ended {}; qemu ended with {status}", report.place())),
    };
    let failure = failure.map(|what| format!("{what}\n{}", tail(console)));
    Ok(Run {
        boot: report.first.map(|first| first - started),
        steps: report.steps,
        failure,
        transcript: report.transcript,
    })
}

fn tail(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "the console is empty".to_owned();
    }
    let last = &lines[lines.len().saturating_sub(TAIL)..];
    format!("the console's last lines:\n{}", last.join("\n"))
}

/// The guest's lines: `@@begin NAME`, `@@end NAME STATUS`, `@@done`; between them `>` and a line of standard output, or
/// `!` and one of standard error.
struct Report {
    first: Option<Instant>,
    running: Option<(String, Instant, Outcome)>,
    steps: Vec<Step>,
    done: bool,
    transcript: String,
}

impl Report {
    fn new() -> Report {
        Report { first: None, running: None, steps: Vec::new(), done: false, transcript: String::new() }
    }

    fn line(&mut self, when: Instant, line: &str) {
        self.transcript.push_str(line);
        self.transcript.push('\n');
        if let Some(name) = line.strip_prefix("@@begin ") {
            self.first.get_or_insert(when);
            self.running = Some((name.to_owned(), when, Outcome::default()));
        } else if let Some(end) = line.strip_prefix("@@end ") {
            let Some((name, begun, mut outcome)) = self.running.take() else { return };
            let status = end.strip_prefix(name.as_str()).and_then(|status| status.trim().parse().ok());
            outcome.status = status.unwrap_or(-1);
            self.steps.push(Step { name, took: when - begun, outcome });
        } else if line == "@@done" {
            self.done = true;
        } else if let Some((_, _, outcome)) = &mut self.running {
            let streams = [('>', &mut outcome.stdout), ('!', &mut outcome.stderr)];
            for (sign, text) in streams {
                if let Some(rest) = line.strip_prefix(sign) {
                    text.push_str(rest);
                    text.push('\n');
                }
            }
        }
    }

    /// How far it came.
    fn place(&self) -> String {
        match (&self.running, self.steps.last()) {
            (Some((name, ..)), _) => format!("during {name}"),
            (None, Some(step)) => format!("after {}", step.name),
            (None, None) => "before the first step".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_cut_out_of_the_report() {
        let start = Instant::now();
        let mut report = Report::new();
        let told = "@@begin a\n>{\n>}\n!@@end a 9\n>>x\n@@end a 3\n@@begin b\n>half";
        for (line, second) in told.lines().zip(1..) {
            report.line(start + Duration::from_secs(second), line);
        }
        let step = &report.steps[0];
        assert_eq!((step.name.as_str(), step.took, report.steps.len()), ("a", Duration::from_secs(5), 1));
        let expected =
            Outcome { status: 3, stdout: "{\n}\n>x\n".to_owned(), stderr: "@@end a 9\n".to_owned() };
        assert_eq!(step.outcome, expected);
        assert_eq!(report.place(), "during b");
        assert!(!report.done);
        report.line(start, "@@end b 0");
        report.line(start, "@@done");
        assert!(report.done);
        assert_eq!(report.place(), "after b");
    }
}
