//! Connection tracking of the calling thread's namespace. ctnetlink is asked only where nf_conntrack is there already:
//! asking would load it, and with it change how packets are treated.

use crate::{files, gap, malformed};
use linger_model::snapshot::{Conntrack, Counters, Gap, GapKind, Reading};
use linger_wire::netlink::{Message, Messages};
use linger_wire::{ctnetlink, procnet};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::io::ErrorKind;
use std::time::Duration;

/// The table's count and limit, and its statistics where they may be read; `None` where nf_conntrack is not loaded.
pub fn read(gaps: &mut Vec<Gap>) -> Reading<Option<Conntrack>> {
    let figure = |name: &str| files::text(format!("/proc/sys/net/netfilter/{name}"));
    let max = match figure("nf_conntrack_max") {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return files::need_sysctls("connection tracking").map(|()| None);
        }
        other => other.map_err(|e| gap("nf_conntrack_max", &e))?,
    };
    let count = figure("nf_conntrack_count").map_err(|e| gap("nf_conntrack_count", &e))?;
    let number = |what: &str, text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|_| Gap::new(what, GapKind::Malformed, format!("a number expected, found {text:?}"), ""))
    };
    let (max, count) = (number("nf_conntrack_max", &max)?, number("nf_conntrack_count", &count)?);
    let stats = match over_netlink() {
        Ok(stats) => Some(stats),
        Err(netlink_gap) => match files::text("/proc/thread-self/net/stat/nf_conntrack") {
            Ok(text) => match procnet::conntrack_stat(&text) {
                Ok(stats) => Some(stats),
                Err(e) => {
                    gaps.push(malformed("/proc/net/stat/nf_conntrack", &e));
                    None
                }
            },
            Err(_) => {
                gaps.push(netlink_gap);
                None
            }
        },
    };
    Ok(Some(Conntrack { count, max, stats }))
}

fn over_netlink() -> Reading<Counters> {
    let failed = |e: Errno| {
        let hint =
            if matches!(e, Errno::PERM | Errno::ACCESS) { "run as root, or with CAP_NET_ADMIN" } else { "" };
        let kind = if hint.is_empty() { GapKind::Unsupported } else { GapKind::Denied };
        Gap::new("connection tracking statistics", kind, std::io::Error::from(e).to_string(), hint)
    };
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::NETFILTER))
            .map_err(failed)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(5))).map_err(failed)?;
    send(&socket, &ctnetlink::stats_request(1), SendFlags::empty()).map_err(failed)?;
    let mut sums = Counters::new();
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        let length = match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(failed(e)),
        };
        for message in Messages::new(&buffer[..length]) {
            match message.map_err(|e| malformed("connection tracking statistics", &e))? {
                Message::Payload { body, .. } => ctnetlink::add_stats(body, &mut sums)
                    .map_err(|e| malformed("connection tracking statistics", &e))?,
                Message::Done(None) => return Ok(sums),
                Message::Done(Some(errno)) | Message::Error(errno) => {
                    return Err(failed(Errno::from_raw_os_error(errno)));
                }
            }
        }
    }
}
