//! Why the kernel drops packets of handshakes.

#[expect(unsafe_code, reason = "the map's entries are plain bytes to the kernel")]
mod layout;

use crate::error::{Error, Kind};
use crate::kernel::{self, absent, program};
use aya::maps::{Array, HashMap};
use aya::programs::BtfTracePoint;
use aya::{Ebpf, EbpfLoader};
use layout::RawDropped;
use linger_model::Addr;
use linger_wire::btf::enum_names;
use std::collections::BTreeMap;
use std::time::Duration;

static OBJECT: &[u8] = aya::include_bytes_aligned!("probe.bpf.o");

/// Which packet of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packet {
    /// A SYN that came here.
    Syn,
    /// An ACK that came here, the last of a handshake.
    LastAck,
    /// A SYN of this host, dropped before it left.
    OwnSyn,
}

impl Packet {
    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Packet::Syn => "syn",
            Packet::LastAck => "last_ack",
            Packet::OwnSyn => "own_syn",
        }
    }

    /// Whether it came here, and was not this host's.
    pub fn comes_in(self) -> bool {
        self != Packet::OwnSyn
    }
}

/// Packets that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// Inode of the network namespace; `None` where the packet no longer told.
    pub netns: Option<u64>,
    /// Where it was to go.
    pub addr: Addr,
    /// To which port.
    pub port: u16,
    /// Which one.
    pub packet: Packet,
    /// The kernel's name of the reason, without `SKB_DROP_REASON_` (include/net/dropreason-core.h).
    pub reason: String,
}

/// A running count.
#[derive(Debug)]
pub struct Drops {
    bpf: Ebpf,
    reasons: BTreeMap<u32, String>,
}

impl Drops {
    /// Loads the probe and attaches it. It counts from here on.
    ///
    /// # Errors
    /// As of [`crate::owners::Owners::start`]; and unsupported where the kernel gives no reasons (before Linux 5.17).
    pub fn start() -> Result<Drops, Error> {
        let loading = "load the probe of dropped packets";
        let btf = kernel::types(loading)?;
        let raw = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|e| Error::io(loading, &e))?;
        let reasons = enum_names(&raw, "skb_drop_reason")
            .map_err(|e| Error::new(loading, Kind::Unsupported, e.to_string(), ""))?;
        let Some(reasons) = reasons else {
            let detail = "this kernel has no reasons for drops (enum skb_drop_reason)";
            return Err(Error::new(loading, Kind::Unsupported, detail, "Linux 5.17 and later have them"));
        };
        let overflow = reasons.iter().find(|(_, name)| *name == "SKB_DROP_REASON_TCP_LISTEN_OVERFLOW");
        let overflow = overflow.map_or(0, |(value, _)| *value);
        let mut bpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("listen_overflow", &overflow, true)
            .load(OBJECT)
            .map_err(|e| Error::object(loading, e))?;
        let probe: &mut BtfTracePoint = program(&mut bpf, "dropped")?;
        let tracing = "trace kfree_skb (tp_btf)";
        probe.load("kfree_skb", &btf).map_err(|e| Error::program(tracing, e))?;
        probe.attach().map_err(|e| Error::program(tracing, e))?;
        Ok(Drops { bpf, reasons })
    }

    /// What was dropped so far.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn read(&self) -> Result<BTreeMap<Dropped, u64>, Error> {
        let map = self.bpf.map("drops").ok_or_else(|| absent("drops"))?;
        let map: HashMap<_, RawDropped, u64> =
            HashMap::try_from(map).map_err(|e| Error::map("read the drops", e))?;
        let mut found = BTreeMap::new();
        for (raw, n) in map.iter().filter_map(Result::ok) {
            let dropped = Dropped {
                netns: (raw.netns != 0).then_some(u64::from(raw.netns)),
                addr: Addr::v6(raw.addr),
                port: raw.port,
                packet: raw.packet(),
                reason: self.name(raw.reason),
            };
            *found.entry(dropped).or_insert(0) += n;
        }
        Ok(found)
    }

    fn name(&self, reason: u32) -> String {
        match self.reasons.get(&reason) {
            Some(name) => name.strip_prefix("SKB_DROP_REASON_").unwrap_or(name).to_owned(),
            // A subsystem's own: its number is in the upper half.
            None => format!("{reason:#x}"),
        }
    }

    /// Packets that are not counted: of too many destinations, and of drops in an interrupt while the CPU was counting
    /// another.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn lost(&self) -> Result<(u64, u64), Error> {
        let reading = "read what is left out";
        let data = self.bpf.map(".bss").ok_or_else(|| absent(".bss"))?;
        let data: Array<_, u64> = Array::try_from(data).map_err(|e| Error::map(reading, e))?;
        let left_out = data.get(&0, 0).map_err(|e| Error::map(reading, e))?;
        let probe = self.bpf.program("dropped").ok_or_else(|| absent("dropped"))?;
        let fd = probe.fd().map_err(|e| Error::program(reading, e))?;
        Ok((left_out, kernel::misses(fd)))
    }

    /// What the probe at kfree_skb took so far, as [`crate::owners::Owners::cost`].
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn cost(&self) -> Result<(u64, Duration), Error> {
        kernel::cost(&self.bpf, "dropped")
    }
}
