//! bpf(2) where aya has no call, and the permission to use it.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;

/// `union bpf_attr`, its part for batches (include/uapi/linux/bpf.h, since Linux 5.6).
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn bpf(command: libc::c_long, batch: &mut Batch) -> io::Result<()> {
    // SAFETY: the attribute is of the size given, and its pointers are the callers', who give arrays of `count` entries.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *batch, size_of::<Batch>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Entries that one call copies.
const AT_ONCE: usize = 8192;

/// Gives every entry of a hash map with keys of 64 bits, and deletes those for which `each` says so.
///
/// # Errors
/// Those of bpf(2).
pub fn sweep<V: aya::Pod>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(u64, &V) -> bool,
) -> io::Result<(u64, u64)> {
    let mut keys = vec![0u64; AT_ONCE];
    let mut values = Vec::<V>::with_capacity(AT_ONCE);
    // A hash map's position is the number of a bucket.
    let (mut from, mut to) = (0u32, 0u32);
    let mut first = true;
    let (mut kept, mut deleted) = (0u64, 0u64);
    loop {
        let mut batch = Batch {
            in_batch: if first { 0 } else { &raw const from as u64 },
            out_batch: &raw mut to as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: AT_ONCE as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        let end = match bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            Err(error) => return Err(error),
        };
        let count = (batch.count as usize).min(AT_ONCE);
        // SAFETY: the kernel has filled `count` values, and any bytes are a value.
        unsafe { values.set_len(count) };
        let mut gone: Vec<u64> =
            keys.iter().zip(&values).filter(|(key, value)| each(**key, value)).map(|(key, _)| *key).collect();
        deleted += gone.len() as u64;
        kept += (count - gone.len()) as u64;
        delete(map, &mut gone)?;
        values.clear();
        if end {
            return Ok((kept, deleted));
        }
        (from, first) = (to, false);
    }
}

fn delete(map: BorrowedFd<'_>, keys: &mut [u64]) -> io::Result<()> {
    let mut rest = keys;
    while !rest.is_empty() {
        let mut batch = Batch {
            keys: rest.as_mut_ptr() as u64,
            count: rest.len() as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        let result = bpf(BPF_MAP_DELETE_BATCH, &mut batch);
        let done = (batch.count as usize).min(rest.len());
        match result {
            Ok(()) => return Ok(()),
            // That one is gone already.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let past = (done + 1).min(rest.len());
                rest = &mut rest[past..];
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The capabilities that are missing to load tracing programs, by name; empty if none is.
pub fn missing_capabilities() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective =
        status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    let has = |capability: u32| effective.is_some_and(|set| set & (1 << capability) != 0);
    if has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| name)
        .collect()
}
