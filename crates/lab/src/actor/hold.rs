//! Actors that hold sockets without connecting them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt;

use super::child::{Failed, Shared};
use super::protocol::Event;
use super::{Bound, Sockets};
use crate::socket::{local_port, tcp_socket};

pub(crate) fn bound(shared: &Shared, spec: &Bound) -> Result<(), Failed> {
    let mut ports = Vec::new();
    let wanted = spec.ports.iter().copied().chain((0..spec.count).map(|_| 0));
    hold(shared, wanted, |port| {
        let address = SocketAddr::new(spec.address, port);
        let socket = tcp_socket(&address).map_err(|error| ("socket", error))?;
        let prepared = sockopt::set_socket_reuseaddr(&socket, spec.reuseaddr);
        prepared.map_err(|error| ("setsockopt", error.into()))?;
        rustix::net::bind(&socket, &address).map_err(|error| ("bind", error.into()))?;
        ports.push(local_port(&socket).map_err(|error| ("getsockname", error))?);
        Ok(socket)
    });
    finish(shared, ports)
}

pub(crate) fn sockets(shared: &Shared, spec: &Sockets) -> Result<(), Failed> {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    hold(shared, 0..spec.count, |_| tcp_socket(&any).map_err(|error| ("socket", error)));
    finish(shared, Vec::new())
}

fn hold<T>(
    shared: &Shared,
    wanted: impl Iterator<Item = T>,
    mut open: impl FnMut(T) -> Result<OwnedFd, (&'static str, io::Error)>,
) {
    shared.begin();
    for item in wanted {
        shared.attempt();
        match open(item) {
            Ok(socket) => {
                shared.succeed();
                shared.hold(socket);
            }
            Err((call, error)) => shared.fail(call, &error),
        }
    }
    shared.finish();
}

fn finish(shared: &Shared, ports: Vec<u16>) -> Result<(), Failed> {
    shared.tell(&Event::Ready { ports });
    shared.done();
    shared.wait_for_stop();
    shared.done();
    Ok(())
}
