//! How a lab's hosts are looked at: their sockets, their counters, and `linger check`.

use crate::cmd::check::sample;
use crate::cmd::states::either;
use crate::{config, diagnose};
use linger_collect::{ALL_STATES, Walk, counters};
use linger_lab::run::Observer;
use linger_lab::scenario::Check;
use linger_lab::{Error, Host};
use linger_model::snapshot::{Counters, not_asked};
use linger_model::{Report, Snapshot, StateCounts, Window};
use linger_netns::{Netns, Spec};
use linger_rules::{RULES, Scope, Selection};
use linger_wire::sock_diag::Extensions;
use std::sync::Arc;
use std::time::Duration;

/// Descriptors are a process's, and the lab's processes are the lab's own; the other rules about the whole host speak of
/// what is shared.
const OF_PROCESSES: &str = "FD001";

/// Looks by the code behind the commands.
#[derive(Debug, Clone, Copy)]
pub struct Collected;

impl Observer for Collected {
    fn states(&self) -> Result<StateCounts, String> {
        let wanted = Walk { states: ALL_STATES, extensions: Extensions::NONE, filter: None };
        let mut counts = StateCounts::default();
        either(&wanted, |socket| counts.add(socket.state)).map_err(|error| error.to_string())?;
        Ok(counts)
    }

    fn counters(&self) -> Result<Counters, String> {
        counters().map_err(|gap| gap.to_string())
    }

    /// Samples as `linger check --netns` does.
    fn check(&self, hosts: &[Host], check: &Check, whole_machine: bool) -> Result<Vec<Report>, Error> {
        let mut namespaces = Vec::with_capacity(hosts.len());
        for host in hosts {
            namespaces.push(Netns::open(&Spec::Path(host.path()))?);
        }
        let config = config::of_table(&check.thresholds).map_err(|error| Error::Malformed {
            what: "thresholds",
            text: "check.thresholds".into(),
            why: format!("{error:#}"),
        })?;
        let without = RULES.iter().filter(|it| it.scope == Scope::Host && it.code != OF_PROCESSES);
        let selection = Selection {
            without: if whole_machine { Vec::new() } else { without.map(|it| it.code).collect() },
            ..Selection::default()
        };
        let taken = sample(&namespaces, check.samples, Duration::from_secs_f64(check.interval), &config);
        let mut reports = Vec::with_capacity(hosts.len());
        for (host, mut snapshots) in hosts.iter().zip(taken) {
            only_of_host(&mut snapshots, host.inode(), whole_machine);
            let window = Window::new(snapshots).ok_or_else(|| Error::Unreadable {
                host: host.name().to_owned(),
                what: "no sample was taken".into(),
            })?;
            let mut report = diagnose::report(&window, &config, &selection);
            report.netns.name = Some(host.name().to_owned());
            reports.push(report);
        }
        Ok(reports)
    }
}

/// Leaves out the descriptor limits of processes elsewhere: of other labs, and of this machine's real work.
fn only_of_host(snapshots: &mut [Snapshot], inode: u64, whole_machine: bool) {
    for snapshot in snapshots {
        let host = Arc::make_mut(&mut snapshot.host);
        let elsewhere =
            host.processes.iter_mut().flat_map(|it| &mut it.list).filter(|it| it.netns != Some(inode));
        for process in elsewhere {
            process.fd_limit = None;
        }
        if !whole_machine {
            host.files = not_asked("open files of the whole machine");
        }
    }
}
