//! What is tried on each kernel.

use super::guest::Outcome;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One command in the guest, and what must come of it.
pub struct Check {
    /// A name without spaces.
    pub name: &'static str,
    /// Seconds after which it is killed.
    pub seconds: u32,
    /// For the guest's shell.
    pub command: &'static str,
    /// Programs of this machine that it needs, beyond busybox and linger.
    pub programs: &'static [&'static str],
    /// Says what is wrong; the kernel's release is told.
    pub expect: fn(&Outcome, &str) -> Result<()>,
}

/// Modules that a guest has at hand, and what they need. Nothing loads them but the steps.
pub const MODULES: &[&str] = &[
    "tcp_diag",
    "veth",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_ct",
    "nft_limit",
    "nft_reject_inet",
    "nft_compat",
    "xt_TCPOPTSTRIP",
];

/// Programs that the lab's scenarios use where they are installed; a guest has them if this machine does.
pub const SERVERS: &[&str] = &["nginx", "haproxy", "redis-server"];

/// The connections that the guest holds: listeners, and sockets of both sides.
const LISTENING: u64 = 1;
const ESTABLISHED: u64 = 6;

/// What most have in common.
const PLAIN: Check = Check { name: "", seconds: 60, command: "", programs: &[], expect: succeeds };

/// A scenario, with the programs that it needs, when the steps before it have left no orphans: the kernel counts those of
/// the whole machine.
macro_rules! alone {
    ($name:literal $(, $program:literal)*) => {
        Check {
            name: concat!("lab-", $name),
            command: concat!(
                "until grep -q ' orphan 0 ' /proc/net/sockstat; do sleep 0.5; done
                linger lab run ",
                $name,
                " --in-disposable-vm"
            ),
            programs: &[$($program),*],
            ..PLAIN
        }
    };
}

/// In the order in which they run; each finds what those before it have left.
pub const PLAN: &[Check] = &[
    Check {
        name: "connections",
        seconds: 20,
        command: "nc -ll -p 8080 -e cat >/dev/null 2>&1 &
            until grep -q ' 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done
            for i in 1 2 3; do
                (sleep 100000 | nc 127.0.0.1 8080) >/dev/null 2>&1 &
            done
            until [ $(cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 01 0') = 6 ]; do sleep 0.1; done",
        ..PLAIN
    },
    // No module is there, and none can be had.
    Check {
        name: "check-proc-net-tcp",
        command: "linger check --format json",
        expect: |outcome, release| {
            let report = healthy(outcome, release, "proc_net_tcp")?;
            let unknown = report["unknown"].to_string();
            for words in ["/proc/net/tcp was read instead", "modprobe tcp_diag"] {
                ensure!(unknown.contains(words), "no word about {words:?} in what is unknown: {unknown}");
            }
            Ok(())
        },
        ..PLAIN
    },
    Check {
        name: "states-proc-net-tcp",
        command: "linger states --format json",
        expect: |outcome, _| {
            let told = json(outcome)?;
            ensure!(
                told["states"]["bound_inactive"].is_null(),
                "/proc/net/tcp cannot tell bound_inactive: {told}"
            );
            counted(&told["states"])
        },
        ..PLAIN
    },
    Check {
        name: "listeners-proc-net-tcp",
        command: "linger listeners --format json",
        expect: |outcome, _| {
            let told = listener(outcome)?;
            ensure!(told["limit"].is_null(), "/proc/net/tcp has no limit of an accept queue: {told}");
            Ok(())
        },
        ..PLAIN
    },
    Check {
        name: "modprobe-tcp_diag",
        seconds: 20,
        command: "modprobe tcp_diag",
        ..PLAIN
    },
    Check {
        name: "check-sock_diag",
        command: "linger check --format json",
        expect: |outcome, release| {
            let report = healthy(outcome, release, "sock_diag")?;
            ensure!(
                code(&report["ruled_out"], "CT001").is_some_and(|it| it["checked"] == false),
                "CT001 was judged otherwise: {}", report["ruled_out"]
            );
            Ok(())
        },
        ..PLAIN
    },
    Check {
        name: "states-sock_diag",
        command: "linger states --format json",
        expect: |outcome, _| counted(&json(outcome)?["states"]),
        ..PLAIN
    },
    Check {
        name: "ports-sock_diag",
        command: "linger ports --format json",
        expect: |outcome, _| {
            let told = json(outcome)?;
            let port = &told["ports"][0];
            ensure!(port["used"] == 3 && port["dport"] == 8080, "not 3 ports towards 8080: {told}");
            Ok(())
        },
        ..PLAIN
    },
    Check {
        name: "listeners-sock_diag",
        command: "linger listeners --format json",
        expect: |outcome, _| {
            let told = listener(outcome)?;
            ensure!(told["limit"].is_u64(), "no limit of its accept queue: {told}");
            Ok(())
        },
        ..PLAIN
    },
    Check {
        name: "modprobe-conntrack",
        seconds: 20,
        command: "modprobe nf_conntrack_netlink",
        ..PLAIN
    },
    Check {
        name: "check-conntrack",
        command: "linger check --format json",
        expect: |outcome, release| {
            let report = healthy(outcome, release, "sock_diag")?;
            ensure!(
                code(&report["ruled_out"], "CT001").is_some_and(|it| it["checked"] == true),
                "CT001 was judged otherwise: {}", report["ruled_out"]
            );
            Ok(())
        },
        ..PLAIN
    },
    Check {
        name: "facts",
        command: "running_kernel --test-threads=1 --show-output",
        expect: |outcome, _| {
            succeeds(outcome, "")?;
            ensure!(outcome.stdout.contains("sysctls compared on"), "nothing was compared");
            ensure!(!outcome.stdout.contains("SKIPPED"), "something was skipped");
            Ok(())
        },
        ..PLAIN
    },
    // What the lab's scenarios build on.
    Check {
        name: "modprobe-nft",
        seconds: 30,
        command: "for module in veth nft_ct nft_limit nft_reject_inet nft_compat xt_TCPOPTSTRIP; do
                modprobe $module || exit
            done
            nft -f - <<END
            table inet lab {
                chain in {
                    type filter hook input priority 0
                    tcp dport 9 tcp flags & (syn | ack) == syn counter drop
                    tcp dport 10 ct state established limit rate 10/second counter reject with tcp reset
                    tcp dport 11 reset tcp option timestamp
                }
            }
END
            nft list ruleset && nft flush ruleset",
        programs: &["nft"],
        ..PLAIN
    },
    // A rule that asks for the state of connections has the kernel track them.
    Check {
        name: "check-tracked",
        command:
            "nft 'table inet track { chain in { type filter hook input priority 0; ct state new counter; }; }' || exit
            echo | nc 127.0.0.1 8080 >/dev/null
            linger check --format json",
        programs: &["nft"],
        expect: |outcome, _| {
            let report = json(outcome)?;
            let headroom = report["headroom"].as_array().context("no headroom")?;
            let entries = headroom.iter().find(|it| it["resource"] == "conntrack entries");
            let used = entries.and_then(|it| it["used"].as_u64());
            ensure!(used.is_some_and(|used| used > 0), "no entry in the conntrack table: {entries:?}");
            ensure!(
                report["verdict"] == "ok",
                "the verdict is {}: {}",
                report["verdict"],
                report["findings"]
            );
            Ok(())
        },
        ..PLAIN
    },
    // Who made TIME_WAIT, which options were granted, why handshakes fail: against what the processes know themselves.
    Check {
        name: "trace",
        seconds: 600,
        command: "mkdir -p /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit
            e2e --test-threads=1 --show-output trace::",
        programs: &["bash", "nft", "setpriv"],
        expect: |outcome, _| {
            succeeds(outcome, "")?;
            ensure!(outcome.stdout.contains("test trace::each_time_wait_socket_goes_to"), "not tried");
            ensure!(!outcome.stdout.contains("SKIPPED"), "something was skipped");
            Ok(())
        },
    },
    Check {
        name: "lab-myths",
        seconds: 120,
        command: "linger lab myths --format json",
        expect: |outcome, release| {
            let report = serde_json::from_str::<Value>(&outcome.stdout).context("no JSON")?;
            ensure!(report["kernel"] == release, "the report is about kernel {}", report["kernel"]);
            let myths = report["myths"].as_array().context("no myths")?;
            for myth in myths {
                let verdict = myth["verdict"].as_str();
                let what = &myth["claim"];
                let why = if myth["error"].is_null() { &myth["measured"] } else { &myth["error"] };
                ensure!(verdict.is_some_and(|it| it == "wrong" || it == "partly"), "{verdict:?}: {what}: {why}");
            }
            ensure!(myths.len() >= 16, "only {} myths", myths.len());
            succeeds(outcome, "")
        },
        ..PLAIN
    },
    // Those that the emulated machine is fast enough for, one after the other: it has the speed of one slow processor.
    Check {
        name: "lab-run",
        seconds: 300,
        command: "status=0
            for name in bucket-overflow bucket-overflow-room syn-flood syn-flood-no-cookies slow-accept \
                slow-accept-capped silent-peer silent-peer-orphaned descriptor-exhaustion descriptor-exhaustion-enough \
                deaf-receiver restart restart-reuseaddr unanswered unanswered-answered unanswered-refused \
                unanswered-reset vanished-peer-keepalive close-wait-leak close-wait-leak-returned held-backends \
                gateway-keepalive
            do
                linger lab run --in-disposable-vm $name || status=1
            done
            exit $status",
        programs: &["nft", "nginx", "haproxy", "redis-server"],
        ..PLAIN
    },
    // Those that change what is the whole machine's, one at a time.
    alone!("conntrack-full", "nft"),
    alone!("conntrack-full-room", "nft"),
    alone!("memory-pressure"),
    alone!("memory-pressure-sized"),
    alone!("orphans"),
    alone!("orphans-room"),
];

fn succeeds(outcome: &Outcome, _: &str) -> Result<()> {
    ensure!(outcome.status == 0, "exit status {}", outcome.status);
    Ok(())
}

fn json(outcome: &Outcome) -> Result<Value> {
    let value = serde_json::from_str(&outcome.stdout);
    let value = value.with_context(|| format!("exit status {}, and no JSON", outcome.status))?;
    succeeds(outcome, "")?;
    Ok(value)
}

/// A report of `check` that finds nothing and has read everything from this source.
fn healthy(outcome: &Outcome, release: &str, source: &str) -> Result<Value> {
    let report = json(outcome)?;
    ensure!(report["kernel"] == release, "the report is about kernel {}", report["kernel"]);
    ensure!(report["source"] == source, "the sockets were read from {}", report["source"]);
    ensure!(report["findings"] == Value::Array(vec![]), "a false alarm: {}", report["findings"]);
    ensure!(report["verdict"] == "ok", "the verdict is {}", report["verdict"]);
    counted(&report["states"])?;
    Ok(report)
}

/// The guest has its own few connections and no others.
fn counted(states: &Value) -> Result<()> {
    let states = states.as_object().context("no states")?;
    for (state, count) in states {
        let expected = match state.as_str() {
            "established" => ESTABLISHED,
            "listen" => LISTENING,
            _ => 0,
        };
        // A reading that this source cannot give is null.
        ensure!(count.is_null() && expected == 0 || *count == expected, "{state} is {count}, not {expected}");
    }
    Ok(())
}

/// The one listener, with the name of its process.
fn listener(outcome: &Outcome) -> Result<Value> {
    let told = json(outcome)?;
    let listeners = told["listeners"].as_array().context("no listeners")?;
    ensure!(listeners.len() == 1, "not one listener: {told}");
    ensure!(listeners[0]["port"] == 8080, "not on port 8080: {told}");
    ensure!(listeners[0]["process"].as_str().is_some_and(|it| it.contains("nc")), "not that of nc: {told}");
    Ok(listeners[0].clone())
}

fn code<'a>(entries: &'a Value, code: &str) -> Option<&'a Value> {
    entries.as_array()?.iter().find(|entry| entry["code"] == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_report() {
        let mut names: Vec<&str> = PLAN.iter().map(|check| check.name).collect();
        assert!(names.iter().all(|name| !name.contains(char::is_whitespace) && !name.contains('/')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PLAN.len());
    }

    #[test]
    fn other_connections_than_the_guests_are_noticed() {
        let states =
            |established: u64| serde_json::json!({"established": established, "listen": 1, "close": null});
        assert!(counted(&states(6)).is_ok());
        assert!(counted(&states(5)).is_err());
    }
}
