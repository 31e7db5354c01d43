//! The bench's loads, small.

use crate::common::{assert_states, launcher, world};
use linger_lab::{CloseWaitLoad, Error, TimeWaitLoad};

#[test]
fn time_wait_in_few_groups_and_in_many() {
    let Some((world, host)) = world() else { return };
    let made = TimeWaitLoad { total: 4_000, groups: 8, threads: 2 }.make(&host).unwrap();
    assert_eq!((made.made, made.errors.len()), (4_000, 0), "{made:?}");
    assert_states(&host, &[("time_wait", 4_000)]);
    let many = world.host("many").unwrap();
    let made = TimeWaitLoad { total: 3_001, groups: 3_001, threads: 2 }.make(&many).unwrap();
    assert_eq!(made.made, 3_001, "{made:?}");
    assert_states(&many, &[("time_wait", 3_001)]);
    // /proc/net/tcp names the remote end: address and port.
    let text = many.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap()).unwrap();
    let mut ends: Vec<&str> =
        text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(2)).collect();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!(ends.len(), 3_001);
}

#[test]
fn too_many_for_a_group_are_refused() {
    let Some((_world, host)) = world() else { return };
    let error = TimeWaitLoad { total: 100_000, groups: 2, threads: 2 }.make(&host).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn close_wait_over_processes() {
    let Some((_world, host)) = world() else { return };
    let load = CloseWaitLoad { total: 1_001, processes: 2, comm: "leaker".into() };
    let held = load.make(&host, &launcher()).unwrap();
    assert_eq!((held.made.made, held.holders.len()), (1_001, 2), "{:?}", held.made);
    assert_eq!(host.tcp_states().unwrap()["close_wait"], 1_001);
    drop(held);
    wait_for_none(&host);
}

fn wait_for_none(host: &linger_lab::Host) {
    crate::common::wait_for("the sockets go with their holders", || {
        !host.tcp_states().unwrap().contains_key("close_wait")
    });
}
