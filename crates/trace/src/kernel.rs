//! What the probes share: whether they may be loaded, and the walk over the sockets.

use crate::error::{Error, Kind};
use crate::sys;
use aya::programs::{BtfTracePoint, Iter, ProgramFd};
use aya::{Btf, Ebpf};
use linger_netns::{Netns, run_in};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

/// The running kernel's types, by which programs are fitted to it; refused where programs cannot be loaded.
pub fn types(loading: &str) -> Result<Btf, Error> {
    let missing = sys::missing_capabilities();
    if !missing.is_empty() {
        let detail = format!("{} missing", missing.join(" and "));
        return Err(Error::new(loading, Kind::Denied, detail, "run as root"));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(Error::new(
            loading,
            Kind::Unsupported,
            "/sys/kernel/btf/vmlinux is not there",
            "the kernel needs CONFIG_DEBUG_INFO_BTF, and /sys to be mounted",
        ));
    }
    Btf::from_sys_fs().map_err(|e| Error::btf(loading, &e))
}

/// Runs a program once for each TCP socket of these namespaces.
pub fn walk(iter: &mut Iter, namespaces: &[Netns]) -> Result<(), Error> {
    let walking = "walk the sockets (iter/tcp)";
    for ns in namespaces {
        let link = iter.attach().map_err(|e| Error::program(walking, e))?;
        let link = iter.take_link(link).map_err(|e| Error::program(walking, e))?;
        let walked = run_in(ns, || -> Result<(), Error> {
            // The namespace is that of who makes the iterator (bpf_iter_init_seq_net()).
            let mut file =
                link.into_file().map_err(|e| Error::new(walking, Kind::Unsupported, e.to_string(), ""))?;
            let mut nothing = [0u8; 64];
            loop {
                match file.read(&mut nothing) {
                    Ok(0) => return Ok(()),
                    // After a million of sockets the kernel asks to be called again.
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    Ok(_) => {}
                    Err(e) => return Err(Error::io(walking, &e)),
                }
            }
        });
        walked.map_err(|e| Error::new(walking, Kind::Denied, e.to_string(), "")).flatten()?;
    }
    Ok(())
}

/// Now, by the clock that programs read (bpf_ktime_get_ns()).
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub fn absent(name: &str) -> Error {
    Error::new(format!("find `{name}` in the probe"), Kind::Unsupported, "it is not there", "")
}

pub fn map_mut<'a, T>(bpf: &'a mut Ebpf, name: &'static str) -> Result<T, Error>
where
    T: TryFrom<&'a mut aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = bpf.map_mut(name).ok_or_else(|| absent(name))?;
    T::try_from(map).map_err(|e| Error::map("use the probe's maps", e))
}

pub fn program<'a, T>(bpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, Error>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = bpf.program_mut(name).ok_or_else(|| absent(name))?;
    program.try_into().map_err(|e| Error::program("use the probe's programs", e))
}

/// A figure that the kernel tells of a map or a program.
pub fn fdinfo(fd: BorrowedFd<'_>, key: &str) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    info.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok())
}

/// How often a program did not run, since its CPU was at it already.
pub fn misses(program: &ProgramFd) -> u64 {
    fdinfo(program.as_fd(), "recursion_misses:").unwrap_or(0)
}

/// Runs and time of a program, all CPUs together, as long as the kernel counts them.
pub fn cost(bpf: &Ebpf, name: &'static str) -> Result<(u64, Duration), Error> {
    let reading = "read the cost";
    let probe = bpf.program(name).ok_or_else(|| absent(name))?;
    let probe: &BtfTracePoint = probe.try_into().map_err(|e| Error::program(reading, e))?;
    let info = probe.info().map_err(|e| Error::program(reading, e))?;
    Ok((info.run_count(), info.run_time()))
}
