//! What a command costs, as a whole process.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a process cost, by the kernel's own accounting (wait4(2)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// From its start until it was reaped.
    pub wall: Duration,
    /// Processor time, its own and the kernel's for it, of its reaped children too.
    pub cpu: Duration,
    /// The most memory that was resident at a time, KiB; at least that of the process that started it.
    pub peak_kib: u64,
    /// Bytes that it printed.
    pub printed: u64,
    /// Its exit status; `None` after a signal.
    pub status: Option<i32>,
}

/// Runs a command to its end; what it prints is read and thrown away.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn measure(command: &mut Command) -> io::Result<Cost> {
    // exec() hands on the peak of the memory that it replaces, which is this process's until then: its least is what this
    // process has now. Before Linux 4.0, or without /proc, it is this process's own peak.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut printed = 0;
    if let Some(mut out) = child.stdout.take() {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match out.read(&mut buffer)? {
                0 => break,
                n => printed += n as u64,
            }
        }
    }
    let (status, usage) = reap(&child)?;
    let time =
        |t: libc::timeval| Duration::new(t.tv_sec.unsigned_abs(), t.tv_usec.unsigned_abs() as u32 * 1000);
    Ok(Cost {
        wall: start.elapsed(),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_kib: usage.ru_maxrss.unsigned_abs(),
        printed,
        status,
    })
}

/// Waits for a child as wait4(2) does. The standard library's `Child` must not be waited for again.
fn reap(child: &Child) -> io::Result<(Option<i32>, libc::rusage)> {
    let pid = child.id() as libc::pid_t;
    let mut status = 0;
    // SAFETY: an rusage of zeros is valid; the kernel fills it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the right types, and the child is ours and not yet reaped.
        let reaped = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
        if reaped == pid {
            return Ok((libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)), usage));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured() {
        let cost = measure(Command::new("sh").args(["-c", "printf hello; exit 3"])).expect("sh runs");
        assert_eq!((cost.printed, cost.status), (5, Some(3)));
        assert!(cost.peak_kib > 0 && cost.wall < Duration::from_secs(10));
    }
}
