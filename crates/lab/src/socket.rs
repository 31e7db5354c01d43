//! The few socket calls that actors and loads share.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::KeepaliveTimes;

/// A non-blocking TCP socket of the family of `address`.
pub(crate) fn tcp_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    Ok(socket_with(family(address), SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }
}

pub(crate) fn local_port(socket: &OwnedFd) -> io::Result<u16> {
    let address = SocketAddr::try_from(rustix::net::getsockname(socket)?)?;
    Ok(address.port())
}

/// Closes with a reset: SO_LINGER on, 0 seconds. (rustix rounds up to a second at least.)
pub(crate) fn reset_on_close(socket: &OwnedFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// Leaves the choice of the port to connect(), so that one port serves many destinations (4.2).
pub(crate) fn bind_address_no_port(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1i32)
}

/// Completes connections only with their first data or their end.
pub(crate) fn defer_accept(socket: &OwnedFd, seconds: i32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds)
}

/// Sends probes to a silent peer: after the sysctls' times, or these.
pub(crate) fn keepalive(socket: &OwnedFd, times: Option<KeepaliveTimes>) -> io::Result<()> {
    if let Some(times) = times {
        sockopt::set_tcp_keepidle(socket, Duration::from_secs(times.idle_s.into()))?;
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(times.interval_s.into()))?;
        sockopt::set_tcp_keepcnt(socket, times.probes)?;
    }
    Ok(sockopt::set_socket_keepalive(socket, true)?)
}

fn set_option<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    // SAFETY: the descriptor is open, and the kernel reads `length` bytes, the size of what `value` points to.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits for events until `until`, at most; `events` must be empty.
pub(crate) fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    match epoll::wait(epoll, spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
