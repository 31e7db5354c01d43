//! Which options connections were opened with: on the wire, and in sockets that are in TIME_WAIT already.

#[expect(unsafe_code, reason = "a packet socket is made of plain system calls")]
mod capture;
#[expect(unsafe_code, reason = "the maps' entries are plain bytes to the kernel")]
mod layout;

pub use capture::Capture;

use crate::error::Error;
use crate::kernel::{self, absent, map_mut, program};
use aya::maps::{Array, HashMap};
use aya::programs::Iter;
use aya::{Ebpf, EbpfLoader};
use layout::{RawHeld, RawPeer, RawPort};
use linger_model::Addr;
use linger_netns::Netns;
use std::collections::BTreeMap;

static OBJECT: &[u8] = aya::include_bytes_aligned!("probe.bpf.o");

/// Which end of a connection this host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// It sent the SYN.
    Connects,
    /// It answered it.
    Accepts,
}

/// Connections that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Inode of the network namespace.
    pub netns: u64,
    /// Which end this host is.
    pub side: Side,
    /// The peer's address.
    pub addr: Addr,
    /// The peer's port where this host connects; else the port listened on.
    pub port: u16,
}

/// Sockets in TIME_WAIT towards a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeWait {
    /// All.
    pub sockets: u64,
    /// Those whose connection had timestamps (`tw_ts_recent_stamp` is not 0).
    pub with_timestamps: u64,
}

/// The walk over sockets in TIME_WAIT.
#[derive(Debug)]
pub struct Waiting {
    bpf: Ebpf,
}

impl Waiting {
    /// Loads the program; it runs only in [`Waiting::read`].
    ///
    /// # Errors
    /// As of [`crate::owners::Owners::start`].
    pub fn load() -> Result<Waiting, Error> {
        let loading = "load the probe of TIME_WAIT sockets";
        let btf = kernel::types(loading)?;
        let mut bpf =
            EbpfLoader::new().btf(Some(&btf)).load(OBJECT).map_err(|e| Error::object(loading, e))?;
        let iter: &mut Iter = program(&mut bpf, "time_wait")?;
        iter.load("tcp", &btf)
            .map_err(|e| Error::program("load the iterator over TCP sockets (iter/tcp)", e))?;
        Ok(Waiting { bpf })
    }

    /// The sockets in TIME_WAIT of these namespaces by peer, and how many are left out since there are too many peers.
    /// `listening` has the ports listened on, with their namespace: a socket with one of these accepted.
    ///
    /// # Errors
    /// When a namespace cannot be entered, or the iterator not be run.
    pub fn read(
        &mut self,
        namespaces: &[Netns],
        listening: &[(u64, u16)],
    ) -> Result<(BTreeMap<Peer, TimeWait>, u64), Error> {
        let asking = "tell the probe which ports are listened on";
        let mut ports: HashMap<_, RawPort, u32> = map_mut(&mut self.bpf, "listening")?;
        for (netns, port) in listening {
            let port = RawPort { netns: *netns as u32, port: u32::from(*port) };
            ports.insert(port, 1, 0).map_err(|e| Error::map(asking, e))?;
        }
        kernel::walk(program(&mut self.bpf, "time_wait")?, namespaces)?;
        let map: HashMap<_, RawPeer, RawHeld> = map_mut(&mut self.bpf, "peers")?;
        let found =
            map.iter().filter_map(Result::ok).map(|(peer, held)| (peer.into(), held.into())).collect();
        let data = self.bpf.map(".bss").ok_or_else(|| absent(".bss"))?;
        let data: Array<_, u64> =
            Array::try_from(data).map_err(|e| Error::map("read what is left out", e))?;
        let left_out = data.get(&0, 0).map_err(|e| Error::map("read what is left out", e))?;
        Ok((found, left_out))
    }
}
