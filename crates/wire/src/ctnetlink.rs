//! ctnetlink's statistics (include/uapi/linux/netfilter/nfnetlink_conntrack.h).

use crate::Malformed;
use crate::bytes;
use crate::netlink::{self, Attributes};
use linger_model::snapshot::Counters;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS_CPU`.
const GET_STATS_CPU: u16 = 1 << 8 | 4;
/// struct nfgenmsg: family, version, res_id.
const GENERIC: usize = 4;

const NAMES: [(u16, &str); 13] = [
    (2, "found"),
    (4, "invalid"),
    (5, "ignore"),
    (8, "insert"),
    (9, "insert_failed"),
    (10, "drop"),
    (11, "early_drop"),
    (12, "error"),
    (13, "search_restart"),
    (14, "clash_resolve"),
    (15, "chaintoolong"),
    (3, "new"),
    (6, "delete"),
];

/// Asks for every CPU's statistics of connection tracking.
pub fn stats_request(sequence: u32) -> Vec<u8> {
    netlink::encode(GET_STATS_CPU, netlink::REQUEST_DUMP, sequence, &[0; GENERIC], &[])
}

/// Adds one CPU's answer to the sums.
pub fn add_stats(body: &[u8], sums: &mut Counters) -> Result<(), Malformed> {
    let attributes = body.get(GENERIC..).ok_or_else(|| {
        Malformed::new("ctnetlink statistics", format!("{} bytes, at least 4 expected", body.len()))
    })?;
    for (kind, value) in Attributes::new(attributes) {
        let name = NAMES.iter().find(|(k, _)| *k == kind).map(|(_, name)| *name);
        if let (Some(name), Some(n)) = (name, bytes::be32(value, 0)) {
            *sums.entry(name.to_owned()).or_default() += u64::from(n);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cpus_are_summed() {
        let mut body = vec![0; GENERIC];
        body.extend([8, 0, 10, 0, 0, 0, 0, 5]);
        let mut sums = Counters::new();
        add_stats(&body, &mut sums).expect("statistics");
        add_stats(&body, &mut sums).expect("statistics");
        assert_eq!(sums["drop"], 10);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = add_stats(&body, &mut Counters::new());
        }
    }
}
