//! What is wrong with one selector of an expression.

use super::promql::{Op, Selector, StateMatch};
use super::rules::Place;
use super::{Options, lints};
use crate::{Diagnostic, Edit, Fix, Severity, Span};
use linger_facts::metrics::{self, Exported, Metric, MetricKind};
use std::time::Duration;

/// tcp_max_tw_buckets by default on the largest hosts: half of the 512 Ki slots that the table of connections may have.
const MOST_TIME_WAIT: f64 = 262_144.0;
/// net.core.somaxconn since 5.4: the most that a listener keeps of requests where nobody raised it.
const SOMAXCONN: f64 = 4096.0;
/// Prometheus' `scrape_interval` where none is set.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// A range that is too short at any usual interval.
const SHORT: Duration = Duration::from_secs(30);

/// Looks at a selector of the expression `expr`.
pub(super) fn check(
    selector: &Selector,
    expr: &str,
    place: &Place<'_>,
    options: &Options,
    found: &mut Vec<Diagnostic>,
) {
    let check = Check { selector, expr, place };
    if let Some(diagnostic) = check.existence() {
        found.push(diagnostic);
        // Nothing else can be said of what is not there.
        return;
    }
    let metric = metrics::metric(&selector.name);
    found.extend(check.exported());
    found.extend(metric.and_then(|m| check.caveat(m)));
    match metrics::kind(&selector.name) {
        Some(MetricKind::Gauge) => found.extend(check.rate_of_gauge()),
        Some(MetricKind::Counter) => found.extend(check.counter_without_rate()),
        None => {}
    }
    found.extend(check.limit());
    found.extend(check.state());
    if selector.name.starts_with("node_") {
        found.extend(check.range(options));
    }
}

struct Check<'a> {
    selector: &'a Selector,
    expr: &'a str,
    place: &'a Place<'a>,
}

impl Check<'_> {
    fn diagnostic(
        &self,
        lint: &lints::Lint,
        severity: Severity,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        self.place
            .diagnostic(lint, severity, self.selector.name_span, message, why)
            .key(self.selector.name.clone())
    }

    /// Puts `replacement` where `span` of the expression stands, if that is one place in the file.
    fn replace(&self, span: Option<Span>, description: String, replacement: &str) -> Option<Fix> {
        let Span { start, end } = self.place.exact(self.expr, span?)?;
        let edits = vec![Edit { start, end, replacement: replacement.to_owned() }];
        Some(Fix { description, edits })
    }

    fn existence(&self) -> Option<Diagnostic> {
        let name = &self.selector.name;
        if let Some(missing) = metrics::no_such_metric(name) {
            let similar = match missing.instead {
                Some(_) => None,
                None => similar(name),
            };
            let instead = missing.instead.or(similar.map(|m| m.name));
            let mut message = format!("node_exporter has no metric {name}");
            if let Some(instead) = instead {
                let how = if missing.same_meaning { "use" } else { "perhaps you mean" };
                message = format!("{message}; {how} {instead}");
            }
            let mut diagnostic = self
                .diagnostic(&lints::PR004, Severity::Warning, message, missing.why)
                .source(missing.source.to_string());
            let same = missing.instead.filter(|_| missing.same_meaning);
            let case = similar.map(|m| m.name).filter(|m| m.eq_ignore_ascii_case(name));
            // rate() of a number of sockets that is no counter would be wrong in another way.
            let usable = |with: &&str| {
                self.selector.function.is_none() || metrics::kind(with) == Some(MetricKind::Counter)
            };
            if let Some(with) = same.or(case).filter(usable) {
                diagnostic.fix = self.replace(self.selector.name_span, format!("name {with} instead"), with);
            }
            return Some(diagnostic);
        }
        // TcpExt's fields differ by kernel, so a name is wrong only if it is all but one that exists.
        let field = name.strip_prefix("node_netstat_TcpExt_")?;
        let near = linger_facts::counters().filter_map(|c| c.name.strip_prefix("TcpExt."));
        let near = near.map(|known| (known, distance(known, field))).min_by_key(|(_, distance)| *distance);
        let (known, _) = near.filter(|(_, distance)| *distance == 1)?;
        let same_letters = known.eq_ignore_ascii_case(field);
        let right = format!("node_netstat_TcpExt_{known}");
        let mut diagnostic = self
            .diagnostic(
                &lints::PR004,
                Severity::Warning,
                format!("no kernel that linger knows counts {field}; perhaps you mean {right}"),
                "The names are the kernel's, letter by letter. An expression about a series that is not there is \
                 empty, and its alert never fires.",
            )
            .source("/proc/net/netstat; net/ipv4/proc.c");
        if same_letters {
            diagnostic.fix = self.replace(self.selector.name_span, format!("name {right} instead"), &right);
        }
        Some(diagnostic)
    }

    fn exported(&self) -> Option<Diagnostic> {
        let name = &self.selector.name;
        let (option, source) = match metrics::exported(name)? {
            Exported::ByDefault => return None,
            Exported::WithCollector(collector) => (
                format!("--collector.{collector}"),
                "node_exporter collector/tcpstat_linux.go: defaultDisabled",
            ),
            Exported::WithNetstatFields => (
                "a --collector.netstat.fields that names it and the default's fields".to_owned(),
                "node_exporter collector/netstat_linux.go: netStatFields",
            ),
        };
        let why = if option.ends_with("tcpstat") {
            "The collector is off by default, because it dumps every socket at each scrape. Where it is off, the \
             expression is empty and never fires."
        } else {
            "The default pattern leaves the field out. Where it is left out, the expression is empty and never fires."
        };
        Some(
            self.diagnostic(
                &lints::PR005,
                Severity::Info,
                format!("node_exporter has {name} only with {option}"),
                why,
            )
            .source(source),
        )
    }

    fn caveat(&self, metric: &Metric) -> Option<Diagnostic> {
        let sources: Vec<&str> = metric.sources.iter().map(|s| s.0).collect();
        Some(
            self.diagnostic(
                &lints::PR009,
                Severity::Info,
                format!("{} is not what its name says", metric.name),
                metric.caveat?,
            )
            .source(sources.join("; ")),
        )
    }

    fn rate_of_gauge(&self) -> Option<Diagnostic> {
        let function = self.selector.function.filter(|f| matches!(*f, "rate" | "irate" | "increase"))?;
        Some(
            self.diagnostic(
                &lints::PR006,
                Severity::Warning,
                format!("{function}() of {}, which goes up and down", self.selector.name),
                "It takes every fall for a counter that began again at zero and adds the whole value after it. Compare \
                 the value itself; for its trend use deriv() or delta().",
            )
            .source("Prometheus docs/querying/functions.md rate(); promql/functions.go extrapolatedRate()"),
        )
    }

    fn counter_without_rate(&self) -> Option<Diagnostic> {
        let compared = self.selector.compared.filter(|c| c.op != Op::Other)?;
        let name = &self.selector.name;
        let mut diagnostic = self
            .diagnostic(
                &lints::PR007,
                Severity::Warning,
                format!("{name} counts since boot: once it is above the limit, this fires until the next boot"),
                "A counter only grows. What is meant is how much it grew lately: increase(…[5m]), or rate(…[5m]) for \
                 events a second.",
            )
            .source("node_exporter collector/netstat_linux.go; Documentation/networking/snmp_counter.rst");
        let zero = compared.with == Some(0.0) && matches!(compared.op, Op::Above | Op::NotEqual);
        if zero && self.selector.function.is_none() && !self.selector.shifted {
            diagnostic.fix = self.selector.whole_span.and_then(|span| {
                let selector = self.expr.get(span.start..span.end)?;
                let with = format!("increase({selector}[5m])");
                self.replace(Some(span), "ask for its increase over 5 minutes".to_owned(), &with)
            });
        }
        Some(diagnostic)
    }

    fn limit(&self) -> Option<Diagnostic> {
        let compared = self.selector.compared.filter(|c| matches!(c.op, Op::Above | Op::AtLeast))?;
        let limit = compared.with?;
        if self.selector.name == "node_sockstat_TCP_tw" && limit >= MOST_TIME_WAIT {
            return Some(
                self.diagnostic(
                    &lints::PR008,
                    Severity::Info,
                    format!("TIME_WAIT does not get to {limit} unless net.ipv4.tcp_max_tw_buckets was raised"),
                    "The kernel keeps no more than tcp_max_tw_buckets in TIME_WAIT: by default half of the slots of the \
                     table of connections, 262144 on the largest hosts and 65536 with 16 GB. Further connections end \
                     without it, and TCPTimeWaitOverflow counts them.",
                )
                .source("net/ipv4/inet_timewait_sock.c inet_twsk_alloc(); net/ipv4/tcp_ipv4.c tcp_sk_init()"),
            );
        }
        let state = self.selector.state.as_ref()?;
        let syn_recv = self.selector.name == "node_tcp_connection_states"
            && state.value == "syn_recv"
            && matches!(state.matches, StateMatch::Equal);
        if !syn_recv || limit < 128.0 {
            return None;
        }
        let (severity, message) = if limit >= SOMAXCONN {
            (Severity::Warning, format!("SYN_RECV does not get above {limit}, whatever the flood"))
        } else {
            (Severity::Info, format!("SYN_RECV gets above {limit} only where a listener's backlog is larger"))
        };
        Some(
            self.diagnostic(
                &lints::PR008,
                severity,
                message,
                "A listener keeps no more than backlog + 1 requests (backlogs are 128 to 4096 where nobody raised them) \
                 and answers further SYNs with cookies, which leave no socket. Rates of SyncookiesSent and ListenDrops \
                 show a flood.",
            )
            .source("net/ipv4/tcp_input.c tcp_conn_request(); measured on 6.18: 60 spoofed SYNs at backlog 4 leave 5"),
        )
    }

    fn state(&self) -> Option<Diagnostic> {
        if self.selector.name != "node_tcp_connection_states" {
            return None;
        }
        let state = self.selector.state.as_ref()?;
        match &state.matches {
            StateMatch::Equal if !metrics::CONNECTION_STATES.contains(&state.value.as_str()) => {}
            StateMatch::Pattern(states) if states.is_empty() => {}
            _ => return None,
        }
        let right = linger_facts::state(&state.value).map(|s| s.name).filter(|name| {
            metrics::CONNECTION_STATES.contains(name) && matches!(state.matches, StateMatch::Equal)
        });
        let mut message = format!("no series has the state {:?}", state.value);
        if let Some(right) = right {
            message = format!("{message}; use {right:?}");
        }
        let why = "node_exporter writes states in lower case with underscores. The selector is empty, and its alert never \
                   fires.";
        let mut diagnostic = self
            .place
            .diagnostic(
                &lints::PR011,
                Severity::Warning,
                state.span.or(self.selector.name_span),
                message,
                why,
            )
            .key(self.selector.name.clone())
            .source("node_exporter collector/tcpstat_linux.go tcpConnectionState.String()");
        if let Some(right) = right {
            diagnostic.fix = self.replace(state.span, format!("write {right}"), right);
        }
        Some(diagnostic)
    }

    fn range(&self, options: &Options) -> Option<Diagnostic> {
        let needs_two =
            ["rate", "irate", "increase", "delta", "idelta", "deriv", "changes", "resets", "predict_linear"];
        let function = self.selector.function.filter(|f| needs_two.contains(f))?;
        let range = self.selector.range?;
        let seconds = range.as_secs_f64();
        let (severity, message) = match options.scrape_interval {
            Some(interval) if range < interval * 4 => {
                let severity = if range < interval * 2 { Severity::Warning } else { Severity::Info };
                (
                    severity,
                    format!("{function}() over {seconds} s, scraped every {} s", interval.as_secs_f64()),
                )
            }
            Some(_) => return None,
            None if range < SHORT => (
                Severity::Warning,
                format!("{function}() over {seconds} s holds fewer than two samples of most scrapes"),
            ),
            None if range < DEFAULT_INTERVAL * 2 => (
                Severity::Info,
                format!(
                    "{function}() over {seconds} s is empty at the default scrape interval of one minute"
                ),
            ),
            None => return None,
        };
        Some(
            self.diagnostic(
                &lints::PR010,
                severity,
                message,
                "It needs two samples in the range and gives nothing with fewer; one lost scrape is enough for that. Take \
                 at least four times the scrape interval.",
            )
            .source("Prometheus promql/functions.go extrapolatedRate(); configuration.md scrape_interval"),
        )
    }
}

/// The metric of the same family whose name is nearest, if that is near.
fn similar(name: &str) -> Option<&'static Metric> {
    let likeness = |m: &&Metric| {
        strsim::normalized_levenshtein(&m.name.to_ascii_lowercase(), &name.to_ascii_lowercase())
    };
    metrics::metrics()
        .map(|m| (m, likeness(&m)))
        .filter(|(_, likeness)| *likeness >= 0.9)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(m, _)| m)
}

/// How many letters differ; names that differ in case alone differ in one.
fn distance(known: &str, written: &str) -> usize {
    if known.eq_ignore_ascii_case(written) {
        return usize::from(known != written);
    }
    strsim::levenshtein(known, written)
}
