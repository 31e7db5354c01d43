//! Commands that may not do something, as in a sandbox.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets a command open no netlink socket: socket(AF_NETLINK, …) fails with EAFNOSUPPORT, as under systemd's
/// `RestrictAddressFamilies=`. So what a kernel without tcp_diag makes a program do can be tested on one that has it.
pub fn without_netlink(command: &mut Command) -> &mut Command {
    // struct sock_filter { code, jt, jf, k }; the data is struct seccomp_data: the number at 0, the first argument's
    // lower half at 16 (upper on a big-endian machine: +4).
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let first_argument = if cfg!(target_endian = "big") { 20 } else { 16 };
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let filter = [
        op(LOAD, 0, 0, 0),
        op(IF_EQUAL, 0, 3, libc::SYS_socket as u32),
        op(LOAD, 0, 0, first_argument),
        op(IF_EQUAL, 0, 1, libc::AF_NETLINK as u32),
        op(RETURN, 0, 0, ERRNO | libc::EAFNOSUPPORT as u32),
        op(RETURN, 0, 0, ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: prctl(2) with integers, and with a pointer to a filter that lives through the call; the kernel copies
        // it and does not write through the pointer.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) }
}
