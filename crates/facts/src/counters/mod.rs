//! The counters, by theme.

mod aborts;
mod buffers;
mod files;
mod guards;
mod loss;
mod queues;
mod snmp;
mod time_wait;

use crate::Counter;

/// The tables, each sorted by name. Where a bare name is ambiguous the earlier table wins.
pub(crate) static TABLES: [&[Counter]; 8] = [
    time_wait::TABLE,
    queues::TABLE,
    aborts::TABLE,
    loss::TABLE,
    buffers::TABLE,
    guards::TABLE,
    snmp::TABLE,
    files::TABLE,
];

/// The counters that diagnosis goes by, and that are worth keeping; add those that a new rule uses. `TcpExt.PAWSPassive` is
/// none of them any more: it left with tcp_tw_recycle, in Linux 4.12.
pub const DECIDING: [&str; 42] = [
    "Tcp.ActiveOpens",
    "Tcp.PassiveOpens",
    "Tcp.AttemptFails",
    "Tcp.EstabResets",
    "Tcp.InSegs",
    "Tcp.OutSegs",
    "Tcp.RetransSegs",
    "Tcp.OutRsts",
    "TcpExt.TW",
    "TcpExt.TWRecycled",
    "TcpExt.ListenOverflows",
    "TcpExt.ListenDrops",
    "TcpExt.SyncookiesSent",
    "TcpExt.SyncookiesRecv",
    "TcpExt.SyncookiesFailed",
    "TcpExt.TCPReqQFullDoCookies",
    "TcpExt.TCPReqQFullDrop",
    "TcpExt.TCPTimeWaitOverflow",
    "TcpExt.TCPAbortOnData",
    "TcpExt.TCPAbortOnClose",
    "TcpExt.TCPAbortOnMemory",
    "TcpExt.TCPAbortOnTimeout",
    "TcpExt.TCPAbortOnLinger",
    "TcpExt.TCPAbortFailed",
    "TcpExt.TCPMemoryPressures",
    "TcpExt.TCPTimeouts",
    "TcpExt.TCPSynRetrans",
    "TcpExt.EmbryonicRsts",
    "TcpExt.PAWSActive",
    "TcpExt.PAWSEstab",
    "TcpExt.PAWSTimewait",
    "TcpExt.PruneCalled",
    "TcpExt.RcvPruned",
    "TcpExt.OfoPruned",
    "TcpExt.TCPRcvCollapsed",
    "TcpExt.TCPBacklogDrop",
    "TcpExt.TCPRcvQDrop",
    "TcpExt.TCPZeroWindowDrop",
    "TcpExt.TCPToZeroWindowAdv",
    "TcpExt.TCPFromZeroWindowAdv",
    "TcpExt.TCPWinProbe",
    "TcpExt.TCPKeepAlive",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_decides_is_known_and_stands_once_by_its_short_name() {
        for name in DECIDING {
            assert!(crate::counters().any(|it| it.name == name), "{name}");
        }
        // A history has them as columns, whose names know no case.
        let short = DECIDING.map(|name| name.rsplit('.').next().map(str::to_lowercase));
        assert_eq!(short.iter().collect::<BTreeSet<_>>().len(), DECIDING.len());
    }
}
