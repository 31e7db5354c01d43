//! Faults of listening sockets: their accept queue, and their queue of half-open requests.

/// LQ001.
pub mod accept_queue_overflow;
/// LQ002.
pub mod backlog_capped;
/// SR001, and what it reads of half-open requests for SR002.
pub mod syn_flood;
/// SR002.
pub mod syn_queue_overflow;

use linger_model::aggregate::{ListenPoint, ListenSocket, ProcessIndex, SocketSource};
use linger_model::record::{Addr, endpoint};
use linger_model::{SocketTable, Window};
use std::collections::BTreeMap;

/// Where a table's figures were read, as evidence names it.
pub(crate) fn origin(table: &SocketTable) -> &'static str {
    match table.source {
        SocketSource::SockDiag => "sock_diag",
        SocketSource::ProcNetTcp => "/proc/net/tcp",
        SocketSource::Import => "import",
    }
}

/// A listening socket over the window.
pub(crate) struct Listening<'a> {
    /// Now.
    pub(crate) socket: &'a ListenSocket,
    /// The same socket in the oldest snapshot, where it was there.
    pub(crate) before: Option<&'a ListenSocket>,
    /// Requests that it dropped over the window, for whatever reason.
    pub(crate) dropped: Option<u64>,
}

impl Listening<'_> {
    /// Whether its accept queue can take no more: it holds one more than its limit.
    pub(crate) fn is_full(&self) -> bool {
        full(self.socket)
    }

    /// Whether it was full at the beginning, too.
    pub(crate) fn stays_full(&self) -> bool {
        self.is_full() && self.before.is_some_and(full)
    }
}

fn full(socket: &ListenSocket) -> bool {
    socket.limit.is_some_and(|limit| socket.queue > limit)
}

/// An address and port with its sockets, over the window.
pub(crate) struct Point<'a> {
    /// Now.
    pub(crate) point: &'a ListenPoint,
    /// Its sockets.
    pub(crate) sockets: Vec<Listening<'a>>,
}

impl<'a> Point<'a> {
    /// `10.0.0.1:80`.
    pub(crate) fn label(&self) -> String {
        endpoint(self.point.addr, self.point.port)
    }

    /// The group's drops over the window.
    pub(crate) fn dropped(&self) -> Option<u64> {
        self.sockets.iter().filter_map(|s| s.dropped).reduce(|a, b| a + b)
    }

    /// The socket with the fullest queue.
    pub(crate) fn fullest(&self) -> Option<&Listening<'a>> {
        self.sockets.iter().max_by(|a, b| fill(a.socket).total_cmp(&fill(b.socket)))
    }

    /// Whether a queue of the group is full, or at its limit.
    pub(crate) fn at_limit(&self) -> bool {
        self.sockets
            .iter()
            .any(|s| s.socket.limit.is_some_and(|limit| limit > 0 && s.socket.queue >= limit) || s.is_full())
    }

    /// How many requests the group's queues hold, each one more than its limit. Absent where a limit is not known.
    pub(crate) fn capacity(&self) -> Option<u64> {
        self.sockets.iter().map(|s| s.socket.limit.map(|limit| u64::from(limit) + 1)).sum()
    }

    /// The holder of the fullest socket.
    pub(crate) fn owner(&self) -> Option<ProcessIndex> {
        self.fullest().and_then(|s| s.socket.owner)
    }
}

fn fill(socket: &ListenSocket) -> f64 {
    match socket.limit {
        Some(limit) => f64::from(socket.queue) / (f64::from(limit) + 1.0),
        None => f64::from(socket.queue),
    }
}

/// Every listening address and port of the newest table, each socket with its past.
pub(crate) fn points<'a>(window: &'a Window, table: &'a SocketTable) -> Vec<Point<'a>> {
    type Key = (Addr, u16, u64, u32);
    let mut before: BTreeMap<Key, &ListenSocket> = BTreeMap::new();
    let past = if window.has_past() { window.first().sockets.as_ref().ok() } else { None };
    for point in past.iter().flat_map(|t| &t.listeners) {
        for socket in &point.sockets {
            before.insert((point.addr, point.port, socket.cookie, socket.inode), socket);
        }
    }
    let seen = |point: &ListenPoint, socket: &'a ListenSocket| {
        let before = before.get(&(point.addr, point.port, socket.cookie, socket.inode)).copied();
        // A socket that the oldest snapshot lacks began to listen since, so that all its drops are new. The kernel
        // counts in 32 bits.
        let dropped = past.and(socket.drops).map(|now| {
            let then = before.and_then(|b| b.drops).unwrap_or(0);
            u64::from(now.wrapping_sub(then))
        });
        Listening { socket, before, dropped }
    };
    table
        .listeners
        .iter()
        .map(|point| Point { point, sockets: point.sockets.iter().map(|s| seen(point, s)).collect() })
        .collect()
}
