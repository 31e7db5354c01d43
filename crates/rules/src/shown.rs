//! What a rule must be shown before it may call a fault absent. The kernel shows all; an imported text may not.

use crate::Outcome;
use crate::ports::socket_source;
use linger_model::aggregate::SocketSource;
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{SocketTable, State, Window};

/// Something that a source may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// All sockets of a state.
    Listed(State),
    Timers,
    TcpInfo,
    Timestamps,
    Inodes,
    Queues,
    Limits,
    Descriptors,
}

use Need::{Descriptors, Inodes, Limits, Listed, Queues, TcpInfo, Timers, Timestamps};

/// Without these a rule cannot say anything, not even that the fault is there.
fn at_all(code: &str) -> &'static [Need] {
    match code {
        // Without the listening sockets a server's port looks left behind.
        "TW007" => &[Listed(State::Listen), Listed(State::TimeWait)],
        "CW001" => &[Listed(State::CloseWait)],
        // Whether a process holds a socket is what tells the two kinds apart.
        "FW001" => &[Listed(State::FinWait2), Inodes],
        "KA001" => &[Listed(State::Established), Timers, TcpInfo],
        _ => &[],
    }
}

/// Without these it cannot say that the fault is absent.
fn to_clear(code: &str) -> &'static [Need] {
    match code {
        "TW001" | "PX001" => &[Listed(State::Established), Listed(State::TimeWait), Listed(State::Listen)],
        "TW003" | "TW005" => &[Listed(State::TimeWait)],
        "TW004" => &[Listed(State::Established), Listed(State::TimeWait), Timestamps],
        "SR001" | "SR002" => &[Listed(State::SynRecv), Listed(State::Listen)],
        "LQ001" => &[Listed(State::Listen), Queues, Limits],
        "LQ002" => &[Listed(State::Listen), Queues, Limits],
        "SS001" => &[Listed(State::SynSent), Timers],
        "RT001" => &[Listed(State::Established), Timers, TcpInfo],
        "ZW001" => &[Listed(State::Established), Timers, TcpInfo, Queues],
        "CW001" => &[TcpInfo],
        "FD001" => &[Descriptors],
        "ES001" => &[Listed(State::Established)],
        _ => &[],
    }
}

impl Need {
    fn is_met(self, table: &SocketTable) -> bool {
        let shown = &table.shown;
        match self {
            Listed(state) => table.states.get(state).is_some(),
            Timers => shown.timers,
            TcpInfo => shown.tcp_info,
            Timestamps => shown.timestamps,
            Inodes => shown.inodes,
            Queues => shown.queues,
            Limits => shown.limits,
            Descriptors => shown.descriptors,
        }
    }

    fn gap(self) -> Gap {
        let (what, hint) = match self {
            Listed(state) => (format!("{state} sockets"), "run ss with -a"),
            Timers => ("timers and retransmissions".to_owned(), "run ss with -o"),
            TcpInfo => ("tcp_info".to_owned(), "run ss with -i"),
            Timestamps => ("whether connections carry timestamps".to_owned(), "run ss with -o beside -i"),
            Inodes => ("whether a process holds a socket".to_owned(), "run ss with -e"),
            Queues => ("queues".to_owned(), "run ss -tan"),
            Limits => ("the limits of accept queues".to_owned(), "run ss -tln"),
            Descriptors => ("descriptors of the processes".to_owned(), "look at the host itself"),
        };
        Gap::new(what, GapKind::NotAsked, "what was imported does not show it", hint)
    }
}

/// Turns an answer into "unknown" where it rests on something that was not shown.
pub(crate) fn only_what_is_shown(code: &str, window: &Window, outcome: &mut Outcome) {
    // Every snapshot of a window has the same source.
    let Ok(table) = &window.last().sockets else { return };
    let missing = |needs: &[Need]| needs.iter().find(|need| !need.is_met(table)).map(|need| need.gap());
    let clear = matches!(outcome, Outcome::Clear(_) | Outcome::NotApplicable(_));
    let gap = missing(at_all(code)).or_else(|| if clear { missing(to_clear(code)) } else { None });
    let gap = gap.or_else(|| {
        let counts = !to_clear(code).is_empty() || !at_all(code).is_empty();
        (clear && counts && !table.shown.complete).then(|| {
            let detail = "what was imported lists a part of them";
            Gap::new("all sockets", GapKind::NotAsked, detail, "run ss -tan without a filter")
        })
    });
    match (gap, outcome) {
        (Some(_), Outcome::Unknown(_)) => {}
        (Some(gap), outcome) => *outcome = Outcome::Unknown(gap),
        (None, Outcome::Fired(findings)) if table.source == SocketSource::Import => {
            for it in findings.iter_mut().flat_map(|finding| &mut finding.evidence) {
                it.source = it.source.replace("sock_diag", socket_source(table));
            }
            if !table.shown.descriptors {
                for finding in findings {
                    // They would read 0.
                    finding
                        .evidence
                        .retain(|it| !(it.unit == "descriptors" && it.source.starts_with("/proc/")));
                }
            }
        }
        (None, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use crate::{Config, RULES, Selection, evaluate};
    use linger_model::Shown;

    fn outcomes(change: impl Fn(&mut SocketTable)) -> Vec<(&'static str, Outcome)> {
        let mut now = window([moment(0.0)]).last().clone();
        if let Ok(table) = &mut now.sockets {
            change(table);
        }
        let window = Window::new(vec![now]).expect("a window");
        let all = evaluate(&window, &Config::default(), &Selection::default());
        all.into_iter().map(|(rule, outcome)| (rule.code, outcome)).collect()
    }

    fn unknown(all: &[(&'static str, Outcome)], code: &str) -> bool {
        all.iter().any(|(known, outcome)| *known == code && matches!(outcome, Outcome::Unknown(_)))
    }

    #[test]
    fn nothing_is_called_healthy_by_what_is_not_shown() {
        let nothing = Shown {
            complete: false,
            timers: false,
            tcp_info: false,
            timestamps: false,
            inodes: false,
            queues: false,
            limits: false,
            descriptors: false,
        };
        let blind = outcomes(|table| table.shown = nothing);
        for (code, outcome) in &blind {
            // The rest reads no sockets.
            let reads_none =
                ["TW002", "TW006", "PW001", "RS001", "CW002", "OR001", "MM001", "CT001", "NQ001"];
            if !reads_none.contains(code) {
                assert!(matches!(outcome, Outcome::Unknown(_)), "{code}: {outcome:?}");
            }
        }
        let all = outcomes(|_| {});
        assert!(!unknown(&all, "ZW001") && !unknown(&all, "SS001"), "{all:?}");
        let no_timers = outcomes(|table| table.shown.timers = false);
        assert!(unknown(&no_timers, "ZW001") && !unknown(&no_timers, "TW005"));
        let unlisted = outcomes(|table| table.states.set_unlisted(State::TimeWait));
        assert!(unknown(&unlisted, "TW005") && !unknown(&unlisted, "ZW001"));
    }

    #[test]
    fn every_code_named_here_is_a_rule() {
        for code in ["TW007", "CW001", "FW001", "KA001"] {
            assert!(RULES.iter().any(|r| r.code == code) && !at_all(code).is_empty());
        }
        let named = RULES.iter().filter(|r| !to_clear(r.code).is_empty()).count();
        assert_eq!(named, 15);
    }
}
