//! The machine that lab and real work share: what a run may take of it, and settings that are the whole machine's.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use linger_model::snapshot::Sockstat;

use crate::Error;
use crate::scenario::{Limits, Scenario};

/// Kernel memory of a socket, bytes, twice over: on 6.18 /proc/slabinfo grew by 3,640 for each of 18,000 connected and
/// idle ones (TCP 2,368, sock_inode_cache 832, dentry and filp 192 each, 56 of security modules), and epoll adds 128. A
/// TIME_WAIT takes 256.
const SOCKET_BYTES: u64 = 8 * 1024;
/// The part of what is shared with the host that a run may take.
const PART: u64 = 10;
/// Processes that want to run for each processor, above which the machine is busy with other things.
const BUSY_LOAD: f64 = 6.0;
/// Memory that must be left, as a part of all.
const MEMORY_LEFT: f64 = 0.05;
/// How full the established-hash table may be before anything starts.
const TABLE_USED: f64 = 0.5;

/// What the machine has. What could not be read is `None`, and is not counted on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine {
    /// Processors.
    pub processors: usize,
    /// Runnable processes now, beside this one.
    pub runnable: Option<f64>,
    /// Memory in all, bytes.
    pub memory: Option<u64>,
    /// Memory that may be had without swapping, bytes.
    pub memory_available: Option<u64>,
    /// Buckets of the one established-hash table.
    pub table: Option<u64>,
    /// TCP sockets of this namespace, TIME_WAIT included.
    pub sockets: Option<u64>,
    /// Open files that are left, of all processes.
    pub files_left: Option<u64>,
}

impl Machine {
    /// Reads it; takes a fifth of a second, in which it counts who wants to run.
    pub fn read() -> Machine {
        let number =
            |path: &str| fs::read_to_string(path).ok()?.trim().parse::<i64>().ok().map(i64::unsigned_abs);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = |key: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        let files = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
        let files: Vec<u64> = files.split_ascii_whitespace().filter_map(|it| it.parse().ok()).collect();
        Machine {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            runnable: runnable(),
            memory: kib("MemTotal:"),
            memory_available: kib("MemAvailable:"),
            // Negative where a namespace shares the host's.
            table: number("/proc/sys/net/ipv4/tcp_ehash_entries"),
            sockets: sockstat().map(|it| it.inuse + it.inuse6.unwrap_or(0) + it.tw),
            files_left: match files[..] {
                [used, _, most] => Some(most.saturating_sub(used)),
                _ => None,
            },
        }
    }
}

/// The sockets of this namespace.
fn sockstat() -> Option<Sockstat> {
    let text = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).ok();
    linger_wire::procnet::sockstat(&text("sockstat")?, text("sockstat6").as_deref()).ok()
}

/// Processes that want to run, the mean of a few looks, less this one.
fn runnable() -> Option<f64> {
    const LOOKS: u32 = 8;
    let mut sum = 0.0;
    for _ in 0..LOOKS {
        let text = fs::read_to_string("/proc/loadavg").ok()?;
        let (running, _) = text.split_ascii_whitespace().nth(3)?.split_once('/')?;
        sum += running.parse::<f64>().ok()? - 1.0;
        std::thread::sleep(Duration::from_millis(25));
    }
    Some((sum / f64::from(LOOKS)).max(0.0))
}

/// Whether scenarios of these limits may run side by side here.
///
/// # Errors
/// [`Error::Refused`] with the reason: they would take more than a tenth of something that is shared, or the machine is
/// busy.
pub fn admit(machine: &Machine, wanted: &[Limits]) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::Refused { reason });
    let sockets: u64 = wanted.iter().map(|it| it.sockets).sum();
    let shared = [
        (machine.table, sockets, "buckets of the established-hash table, which all namespaces share"),
        (
            machine.memory_available.map(|it| it / SOCKET_BYTES),
            sockets,
            "sockets that the free memory has room for",
        ),
        (machine.files_left, sockets, "files that may still be opened (fs.file-max)"),
    ];
    for (has, wants, what) in shared {
        if let Some(has) = has.filter(|has| wants > has / PART) {
            return refuse(format!(
                "it may have {wants} sockets, and that is more than a tenth of the {has} {what}"
            ));
        }
    }
    if let Some(runnable) = machine.runnable.filter(|it| *it > BUSY_LOAD * machine.processors as f64) {
        return refuse(format!(
            "this machine is busy: {runnable:.0} processes want to run on {} processors; the figures would be wrong, \
             and the load would be felt (`linger lab` runs it nevertheless with --force)",
            machine.processors
        ));
    }
    if let (Some(all), Some(left)) = (machine.memory, machine.memory_available)
        && (left as f64) < all as f64 * MEMORY_LEFT
    {
        return refuse(format!(
            "this machine is short of memory: {} MiB of {} MiB are left",
            left >> 20,
            all >> 20
        ));
    }
    if let (Some(table), Some(used)) = (machine.table, machine.sockets)
        && used as f64 > table as f64 * TABLE_USED
    {
        return refuse(format!(
            "this host has {used} TCP sockets in an established-hash table of {table} buckets, which the lab would share"
        ));
    }
    Ok(())
}

/// What all TCP sockets of the machine share and a scenario cannot declare beforehand, as it was when a run began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    /// The highest value of tcp_mem; `None` inside a container, which does not have it.
    most_pages: Option<u64>,
    most_orphans: Option<u64>,
    before: Sockstat,
}

impl Shared {
    /// Nothing where it cannot be read, as it is then not counted on.
    pub(super) fn read() -> Option<Shared> {
        let limit = |file: &str| -> Option<u64> {
            let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).ok()?;
            text.split_ascii_whitespace().next_back()?.parse().ok()
        };
        Some(Shared {
            most_pages: limit("tcp_mem"),
            most_orphans: limit("tcp_max_orphans"),
            before: sockstat()?,
        })
    }

    /// Why a run has to end now: since it began, more than a tenth of something was taken, by whomever.
    pub(super) fn used_up(&self) -> Option<String> {
        self.used_up_at(&sockstat()?)
    }

    fn used_up_at(&self, now: &Sockstat) -> Option<String> {
        let Shared { most_pages, most_orphans, before } = self;
        let shares = [
            (most_pages, now.mem_pages.saturating_sub(before.mem_pages), "pages of TCP buffers", "tcp_mem"),
            (most_orphans, now.orphan.saturating_sub(before.orphan), "orphans", "tcp_max_orphans"),
        ];
        let (most, grown, what, key) =
            shares.into_iter().find(|(most, grown, ..)| most.is_some_and(|most| *grown > most / PART))?;
        Some(format!(
            "this machine has {grown} {what} more than when it began, and that is more than a tenth of \
             net.ipv4.{key} ({})",
            most.unwrap_or_default()
        ))
    }
}

/// Settings of the whole machine, taken back when dropped.
#[derive(Debug, Default)]
pub(super) struct Settings {
    before: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn apply(scenario: &Scenario, is_disposable: bool) -> Result<Settings, Error> {
        if !is_disposable && let Some(key) = scenario.machine.keys().next() {
            return Err(Error::Refused {
                reason: format!(
                    "it sets {key}, which is the whole machine's: it runs only on one that is thrown away \
                     afterwards, such as a virtual machine, with --in-disposable-vm"
                ),
            });
        }
        let mut settings = Settings::default();
        for (key, value) in &scenario.machine {
            let path = path(key)?;
            let failed = |operation: &'static str| {
                let subject = format!("{key}={value}");
                move |source| Error::Host { host: "(the machine)".into(), operation, subject, source }
            };
            let old = fs::read_to_string(&path).map_err(failed("read"))?;
            fs::write(&path, value).map_err(failed("set"))?;
            settings.before.insert(path, old);
        }
        Ok(settings)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (path, value) in &self.before {
            let _ = fs::write(path, value.trim());
        }
    }
}

fn path(key: &str) -> Result<String, Error> {
    let is_plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    if key.split('.').all(is_plain) {
        return Ok(format!("/proc/sys/{}", key.replace('.', "/")));
    }
    Err(Error::Malformed {
        what: "sysctl",
        text: key.to_owned(),
        why: "it is written as net.ipv4.tcp_mem".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        processors: 2,
        runnable: Some(1.0),
        memory: Some(8 << 30),
        memory_available: Some(6 << 30),
        table: Some(262_144),
        sockets: Some(100),
        files_left: Some(1_000_000),
    };

    fn limits(sockets: u64) -> Limits {
        Limits { sockets, ..Limits::default() }
    }

    #[test]
    fn a_tenth_is_allowed() {
        admit(&MACHINE, &[limits(26_000)]).unwrap();
        admit(&MACHINE, &[limits(13_000), limits(13_000)]).unwrap();
        let error = admit(&MACHINE, &[limits(20_000), limits(10_000)]).unwrap_err().to_string();
        assert!(error.contains("30000 sockets") && error.contains("262144 buckets"), "{error}");
    }

    #[test]
    fn a_busy_machine_is_left_alone() {
        for (machine, word) in [
            (Machine { runnable: Some(13.0), ..MACHINE }, "busy"),
            (Machine { memory_available: Some(200 << 20), ..MACHINE }, "memory"),
            (Machine { sockets: Some(200_000), ..MACHINE }, "200000 TCP sockets"),
            (Machine { files_left: Some(100), ..MACHINE }, "fs.file-max"),
        ] {
            let error = admit(&machine, &[limits(100)]).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        // What could not be read is no reason.
        admit(&Machine { processors: 2, ..Machine::default() }, &[limits(100)]).unwrap();
    }

    #[test]
    fn a_tenth_of_buffers_and_orphans_ends_a_run() {
        let before = Sockstat { mem_pages: 500, orphan: 7, ..Sockstat::default() };
        let shared = Shared { most_pages: Some(1000), most_orphans: Some(100), before };
        let at = |mem_pages, orphan| shared.used_up_at(&Sockstat { mem_pages, orphan, ..before });
        assert_eq!((at(600, 17), at(0, 0)), (None, None));
        assert!(at(601, 0).is_some_and(|why| why.contains("101 pages") && why.contains("tcp_mem (1000)")));
        assert!(
            at(0, 18).is_some_and(|why| why.contains("11 orphans") && why.contains("tcp_max_orphans (100)"))
        );
        let unknown = Shared { most_pages: None, most_orphans: None, before };
        assert_eq!(unknown.used_up_at(&Sockstat { mem_pages: 1 << 40, ..before }), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(Shared::read().is_some_and(|it| it.used_up().is_none()));
        let machine = Machine::read();
        assert!(machine.processors > 0 && machine.memory_available.is_some() && machine.files_left.is_some());
    }
}
