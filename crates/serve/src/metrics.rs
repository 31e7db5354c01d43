//! The last sample as metrics. The number of series depends on the number of rows wanted, never on connections.

use crate::alerts::{TargetStats, lasting};
use crate::compact::{Compact, Group};
use crate::state::{NetnsView, State, View};
use linger_model::State as TcpState;
use linger_model::report::Severity;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Findings of a namespace that have a series of their own.
const FINDINGS: usize = 50;
/// Bytes of a finding's subject at the most.
const SUBJECT: usize = 200;

/// The two texts that Prometheus reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, 0.0.4.
    Prometheus,
}

impl Format {
    /// What goes into `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What an `Accept` header prefers; Prometheus's text where it does not say.
    pub fn accepted(accept: &str) -> Format {
        let weight = |wanted: &str| {
            let of_kind = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next()?;
                let version = parts.clone().filter_map(|p| p.strip_prefix("version=")).next();
                // Openmetrics of another version than this one is not what was asked for.
                let fits = kind.eq_ignore_ascii_case(wanted)
                    && (wanted == "text/plain"
                        || version.is_none_or(|v| v.trim_matches('"').starts_with('1')));
                let q = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
                fits.then_some(q?)
            });
            of_kind.fold(0.0, f32::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Format::OpenMetrics } else { Format::Prometheus }
    }
}

/// Everything, in a format.
pub fn render(state: &Arc<State>, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition { view: state.view(), state: state.clone() }));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut out, &registry);
    match format {
        Format::OpenMetrics => out,
        Format::Prometheus => prometheus_text(&out),
    }
}

/// The older text knows no units and no end, and calls a counter by its series' name.
fn prometheus_text(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take() {
                out.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}

/// One scrape.
#[derive(Debug)]
struct Exposition {
    view: Arc<View>,
    state: Arc<State>,
}

/// A series' value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number of things.
    Whole(u64),
    /// Anything else.
    Real(f64),
}

impl Value {
    fn encode(self, kind: MetricType, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match (kind, self) {
            (MetricType::Counter, Value::Whole(n)) => metric.encode_counter::<NoExemplar, _, u64>(&n, None),
            (MetricType::Counter, Value::Real(n)) => metric.encode_counter::<NoExemplar, _, u64>(&n, None),
            (_, Value::Whole(n)) => metric.encode_gauge(&n),
            (_, Value::Real(n)) => metric.encode_gauge(&n),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

/// The groups of one kind.
type Rows = fn(&Compact) -> &[Group];

/// Labels with a value.
type Series<'a> = (Vec<(&'static str, &'a str)>, Value);

struct Families<'a> {
    to: To<'a>,
}

/// Where families go.
enum To<'a> {
    Text(DescriptorEncoder<'a>),
    List(&'a mut Vec<Family>),
}

/// A family that is not text.
#[derive(Debug)]
pub struct Family {
    /// The name of its series, as Prometheus's text has it.
    pub name: String,
    /// `seconds`, `bytes`, `ratio`; empty for numbers of things.
    pub unit: String,
    /// What it is.
    pub help: String,
    /// Whether it only grows.
    pub counter: bool,
    /// Labels with values.
    pub series: Vec<(Vec<(&'static str, String)>, Value)>,
}

/// Everything, as a list.
pub fn list(state: &Arc<State>) -> Vec<Family> {
    let mut families = Vec::new();
    // Nothing of it fails.
    let _ = Exposition { view: state.view(), state: state.clone() }
        .write(&mut Families { to: To::List(&mut families) });
    families
}

impl Families<'_> {
    /// A family, unless it is empty.
    fn family<'s>(
        &mut self,
        kind: MetricType,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        series: impl IntoIterator<Item = Series<'s>>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        match &mut self.to {
            To::Text(encoder) => {
                let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
                for (labels, value) in series {
                    if labels.is_empty() {
                        value.encode(kind, &mut family)?;
                    } else {
                        value.encode(kind, &mut family.encode_family(&labels)?)?;
                    }
                }
            }
            To::List(families) => {
                let counter = matches!(kind, MetricType::Counter);
                let unit = unit.map(|unit| unit.as_str().to_owned()).unwrap_or_default();
                let parts = [name, &unit, if counter { "total" } else { "" }];
                let name: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                let owned = series.map(|(labels, value)| {
                    (labels.into_iter().map(|(name, of)| (name, of.to_owned())).collect(), value)
                });
                families.push(Family {
                    name: name.join("_"),
                    unit,
                    help: help.to_owned(),
                    counter,
                    series: owned.collect(),
                });
            }
        }
        Ok(())
    }

    fn gauge<'s>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        series: impl IntoIterator<Item = Series<'s>>,
    ) -> fmt::Result {
        self.family(MetricType::Gauge, name, unit, help, series)
    }

    fn counter<'s>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        series: impl IntoIterator<Item = Series<'s>>,
    ) -> fmt::Result {
        self.family(MetricType::Counter, name, unit, help, series)
    }
}

type NoExemplar = Vec<(String, String)>;

/// One series without labels.
fn one(value: impl Into<Value>) -> [Series<'static>; 1] {
    [(Vec::new(), value.into())]
}

fn maybe(value: Option<impl Into<Value>>) -> Option<Series<'static>> {
    value.map(|v| (Vec::new(), v.into()))
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        self.write(&mut Families { to: To::Text(encoder) })
    }
}

impl Exposition {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.sockets(families)?;
        self.queues(families)?;
        self.headroom(families)?;
        self.counters(families)?;
        self.findings(families)?;
        self.host(families)?;
        self.own(families)?;
        self.sent(families)
    }

    fn namespaces(&self) -> impl Iterator<Item = &NetnsView> + Clone {
        self.view.namespaces.iter()
    }

    fn sockets(&self, families: &mut Families<'_>) -> fmt::Result {
        let walked = || self.namespaces().filter_map(|ns| Some((ns.label.as_str(), ns.walked.as_ref()?)));
        let states =
            walked().filter_map(|(ns, w)| Some((ns, w.compact.states.as_ref()?))).flat_map(|(ns, states)| {
                // A state that this kernel cannot list has no series; one without sockets has 0.
                TcpState::ALL.into_iter().filter_map(move |state| {
                    Some((vec![("netns", ns), ("state", state.name())], states.get(state)?.into()))
                })
            });
        families.gauge(
            "linger_sockets",
            None,
            "TCP sockets by state, when the namespace was last walked.",
            states,
        )?;
        let kinds: [(&str, &'static str, &str, Rows); 4] = [
            (
                "linger_listener_sockets",
                "listener",
                "Accepted connections by listening address and state; the largest ones and the rest.",
                |c| &c.listeners,
            ),
            (
                "linger_process_sockets",
                "process",
                "Sockets by the name of the process that holds them and state; the largest ones and the rest.",
                |c| &c.processes,
            ),
            (
                "linger_container_sockets",
                "container",
                "Sockets by container or unit and state; the largest ones and the rest.",
                |c| &c.containers,
            ),
            (
                "linger_destination_sockets",
                "destination",
                "Outgoing connections by peer address and port, and state; the largest ones and the rest.",
                |c| &c.destinations,
            ),
        ];
        for (name, label, help, groups) in kinds {
            let series = walked()
                .flat_map(|(ns, w)| groups(&w.compact).iter().map(move |g| (ns, g)))
                .flat_map(|(ns, group)| {
                    TcpState::ALL
                        .into_iter()
                        .filter(|s| {
                            !matches!(s, TcpState::Listen | TcpState::BoundInactive)
                                || label == "process"
                                || label == "container"
                        })
                        .filter_map(move |state| {
                            let labels =
                                vec![("netns", ns), (label, group.name.as_str()), ("state", state.name())];
                            Some((labels, group.states.get(state)?.into()))
                        })
                });
            families.gauge(name, None, help, series)?;
        }
        Ok(())
    }

    fn queues(&self, families: &mut Families<'_>) -> fmt::Result {
        let queues = || {
            let walked = self.namespaces().filter_map(|ns| Some((ns.label.as_str(), ns.walked.as_ref()?)));
            walked.flat_map(|(ns, w)| {
                w.compact.queues.iter().map(move |q| {
                    let process = q.process.as_deref().unwrap_or_default();
                    (vec![("netns", ns), ("listener", q.listener.as_str()), ("process", process)], q)
                })
            })
        };
        let of_some = "of the listening addresses that drop or wait most.";
        families.gauge(
            "linger_listener_queue_connections",
            None,
            &format!("Connections that wait for accept(), in the fullest socket {of_some}"),
            queues().map(|(labels, q)| (labels, q.waiting.into())),
        )?;
        families.gauge(
            "linger_listener_queue_limit_connections",
            None,
            &format!("That socket's limit, {of_some}"),
            queues().filter_map(|(labels, q)| Some((labels, q.limit?.into()))),
        )?;
        families.gauge(
            "linger_listener_half_open_connections",
            None,
            &format!("Half-open requests {of_some}"),
            queues().map(|(labels, q)| (labels, q.half_open.into())),
        )?;
        families.counter(
            "linger_listener_drops",
            None,
            &format!("Connections and requests dropped (sk_drops, which scans move too) {of_some}"),
            queues().filter_map(|(labels, q)| Some((labels, q.drops?.into()))),
        )
    }

    fn headroom(&self, families: &mut Families<'_>) -> fmt::Result {
        let rows = || {
            let walked = self.namespaces().filter_map(|ns| Some((ns.label.as_str(), ns.walked.as_ref()?)));
            walked.flat_map(|(ns, w)| {
                w.report.headroom.iter().map(move |row| {
                    let labels = vec![
                        ("netns", ns),
                        ("resource", row.resource.as_str()),
                        ("subject", brief(&row.subject)),
                    ];
                    (labels, row)
                })
            })
        };
        families.gauge(
            "linger_headroom_used",
            None,
            "What is used of something limited: local ports towards the busiest destinations, descriptors, conntrack, memory, …",
            rows().map(|(labels, row)| (labels, row.used.into())),
        )?;
        families.gauge(
            "linger_headroom_limit",
            None,
            "The limit.",
            rows().map(|(labels, row)| (labels, row.limit.into())),
        )?;
        families.gauge(
            "linger_headroom_used",
            Some(Unit::Other("ratio".to_owned())),
            "Used by limit: 1 is full.",
            rows().map(|(labels, row)| (labels, row.fraction.into())),
        )?;
        families.gauge(
            "linger_headroom_exhaustion",
            Some(Unit::Seconds),
            "When it will be full at the present rate; absent where it does not grow.",
            rows().filter_map(|(labels, row)| Some((labels, row.time_to_exhaustion_s?.into()))),
        )
    }

    fn counters(&self, families: &mut Families<'_>) -> fmt::Result {
        let kernel = self.namespaces().flat_map(|ns| {
            let counters = ns.light.counters.as_ref().ok();
            counters.into_iter().flatten().filter(|(name, _)| counted(name)).map(|(name, value)| {
                (vec![("netns", ns.label.as_str()), ("counter", name.as_str())], (*value).into())
            })
        });
        families.counter("linger_kernel_events", None, "The kernel's counters of /proc/net/snmp and netstat that linger knows; `linger explain NAME` explains each.", kernel)?;
        let sockstat = |figure: fn(&linger_model::snapshot::Sockstat) -> u64| {
            self.namespaces().filter_map(move |ns| {
                let value = figure(ns.light.sockstat.as_ref().ok()?);
                Some((vec![("netns", ns.label.as_str())], value.into()))
            })
        };
        families.gauge(
            "linger_tcp_inuse_sockets",
            None,
            "TCP sockets in use, IPv4 and IPv6 (sockstat), now.",
            sockstat(|s| s.inuse + s.inuse6.unwrap_or(0)),
        )?;
        families.gauge(
            "linger_time_wait_sockets",
            None,
            "TIME_WAIT and FIN_WAIT2 minisockets (sockstat), now.",
            sockstat(|s| s.tw),
        )?;
        let conntrack = || {
            self.namespaces()
                .filter_map(|ns| Some((ns.label.as_str(), ns.light.conntrack.as_ref().ok()?.as_ref()?)))
        };
        families.gauge(
            "linger_conntrack_entries",
            None,
            "Tracked connections.",
            conntrack().map(|(ns, c)| (vec![("netns", ns)], c.count.into())),
        )?;
        families.gauge(
            "linger_conntrack_limit_entries",
            None,
            "nf_conntrack_max, with which each namespace's own number is compared.",
            conntrack().map(|(ns, c)| (vec![("netns", ns)], c.max.into())),
        )?;
        let events = conntrack().flat_map(|(ns, c)| {
            c.stats
                .iter()
                .flatten()
                .map(move |(name, n)| (vec![("netns", ns), ("event", name.as_str())], (*n).into()))
        });
        families.counter(
            "linger_conntrack_events",
            None,
            "Connection tracking's own counters: drop, early_drop, insert_failed, …",
            events,
        )
    }

    fn findings(&self, families: &mut Families<'_>) -> fmt::Result {
        let walked = || self.namespaces().filter_map(|ns| Some((ns.label.as_str(), ns.walked.as_ref()?)));
        let found =
            walked().flat_map(|(ns, w)| w.report.findings.iter().take(FINDINGS).map(move |f| (ns, f)));
        // By what lasts: a service that is started again is the same series. Those that are alike are one.
        let found: BTreeSet<(&str, &str, Severity, String)> =
            found.map(|(ns, f)| (ns, f.code.as_str(), f.severity, lasting(&f.subject))).collect();
        let found = found.iter().map(|(ns, code, severity, subject)| {
            let labels =
                vec![("netns", *ns), ("code", *code), ("severity", severity.name()), ("subject", subject)];
            (labels, 1u64.into())
        });
        families.gauge(
            "linger_finding",
            None,
            "A fault that is there now: 1. `linger explain CODE` has its manual.",
            found,
        )?;
        let counts = walked().flat_map(|(ns, w)| {
            [Severity::Info, Severity::Warning, Severity::Critical].into_iter().map(move |severity| {
                let n = w.report.findings.iter().filter(|f| f.severity == severity).count() as u64;
                (vec![("netns", ns), ("severity", severity.name())], n.into())
            })
        });
        families.gauge(
            "linger_findings",
            None,
            "Faults that are there now, by severity; all of them, also beyond those that have a series.",
            counts,
        )?;
        let unanswered = walked().map(|(ns, w)| {
            let n = w.report.unknown.len() as u64;
            (vec![("netns", ns)], n.into())
        });
        families.gauge("linger_unanswered_questions", None, "Rules that could not be answered and readings that failed: not known is not healthy. /api/v1/report has the reasons.", unanswered)
    }

    fn host(&self, families: &mut Families<'_>) -> fmt::Result {
        let sockstat = self.view.namespaces.first().and_then(|ns| ns.light.sockstat.as_ref().ok());
        let memory = sockstat.map(|s| s.mem_pages.saturating_mul(self.view.page_size));
        families.gauge(
            "linger_tcp_memory",
            Some(Unit::Bytes),
            "Memory of TCP's buffers on this host.",
            maybe(memory),
        )?;
        families.gauge(
            "linger_orphan_sockets",
            None,
            "TCP sockets that no process holds, on this host.",
            maybe(sockstat.map(|s| s.orphan)),
        )?;
        families.gauge(
            "linger_allocated_sockets",
            None,
            "TCP sockets allocated on this host, those in no table included.",
            maybe(sockstat.map(|s| s.alloc)),
        )?;
        let files = self.view.files.as_ref().ok();
        families.gauge(
            "linger_open_files",
            None,
            "Open files of this host.",
            maybe(files.map(|f| f.open)),
        )?;
        families.gauge("linger_open_files_limit", None, "fs.file-max.", maybe(files.map(|f| f.max)))
    }

    fn own(&self, families: &mut Families<'_>) -> fmt::Result {
        let (state, cost) = (&self.state, &self.view.cost);
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        families.gauge(
            "linger_build",
            Some(Unit::Other("info".to_owned())),
            "The running version.",
            [(version, 1u64.into())],
        )?;
        let ages = self.namespaces().filter_map(|ns| {
            Some((vec![("netns", ns.label.as_str())], ns.walked.as_ref()?.at.elapsed().as_secs_f64().into()))
        });
        families.gauge(
            "linger_sample_age",
            Some(Unit::Seconds),
            "Time since the namespace's sockets were walked: what the walk found is as old as this.",
            ages,
        )?;
        families.gauge(
            "linger_sampler_silence",
            Some(Unit::Seconds),
            "Time since the sampling thread's last sign of life.",
            one(state.silence().as_secs_f64()),
        )?;
        families.gauge(
            "linger_sample_interval",
            Some(Unit::Seconds),
            "Time between two walks that the CPU budget allows.",
            one(cost.interval_s),
        )?;
        let history = &state.history;
        let cpu = [
            ("sampling", cost.sampling_s),
            ("serving", state.http_s()),
            ("history", history.cpu_s()),
            ("sending", state.sending_s()),
        ];
        families.counter(
            "linger_cpu",
            Some(Unit::Seconds),
            "CPU that linger takes itself.",
            cpu.map(|(part, s)| (vec![("part", part)], s.into())),
        )?;
        families.gauge(
            "linger_history_writing",
            None,
            "Whether the last sample was written to the history; 0 also where none is kept.",
            one(u64::from(history.writing())),
        )?;
        families.gauge(
            "linger_history_size",
            Some(Unit::Bytes),
            "What the history's files take.",
            one(history.bytes()),
        )?;
        families.counter(
            "linger_history_lost_samples",
            None,
            "Samples that could not be written to the history.",
            one(history.lost()),
        )?;
        families.gauge(
            "linger_cpu_budget",
            Some(Unit::Other("ratio".to_owned())),
            "The share of one core that sampling may take.",
            one(state.budget),
        )?;
        families.gauge(
            "linger_memory_resident",
            Some(Unit::Bytes),
            "linger's own resident memory.",
            maybe(cost.resident_bytes),
        )?;
        let walks = [("due", cost.walks.saturating_sub(cost.urgent)), ("jump", cost.urgent)];
        families.counter(
            "linger_walks",
            None,
            "Walks over a namespace's sockets, and what brought them about.",
            walks.map(|(why, n)| (vec![("reason", why)], n.into())),
        )?;
        families.counter(
            "linger_readings",
            None,
            "Readings of the counters, which cost next to nothing: one each second.",
            one(cost.readings),
        )?;
        families.gauge(
            "linger_namespaces",
            None,
            "Network namespaces that are watched.",
            one(self.view.namespaces.len() as u64),
        )?;
        families.gauge(
            "linger_namespaces_left_out",
            None,
            "Network namespaces beyond the limit.",
            one(self.view.left_out),
        )?;
        families.gauge(
            "linger_namespaces_unreachable",
            None,
            "Network namespaces, or ways to them, that could not be opened.",
            one(self.view.gaps.len() as u64),
        )?;
        families.counter(
            "linger_http_requests",
            None,
            "Requests answered.",
            one(state.requests.load(Ordering::Relaxed)),
        )?;
        families.counter(
            "linger_http_denied_requests",
            None,
            "Requests of those, of whoever is no user of this service or called it by another's name.",
            one(state.denied.load(Ordering::Relaxed)),
        )?;
        families.gauge(
            "linger_http_connections",
            None,
            "Connections that linger serves now.",
            one(state.open.load(Ordering::Relaxed)),
        )?;
        families.gauge(
            "linger_http_limit_connections",
            None,
            "Connections that it serves at the most.",
            one(state.most_open),
        )?;
        families.counter(
            "linger_http_refused_connections",
            None,
            "Connections turned away because there were as many as it serves.",
            one(state.refused.load(Ordering::Relaxed)),
        )?;
        families.gauge(
            "linger_config_last_reload_successful",
            None,
            "Whether the configuration in force is the one that was last read.",
            one(u64::from(!state.reload_failed())),
        )
    }
}

impl Exposition {
    /// What is sent to others.
    fn sent(&self, families: &mut Families<'_>) -> fmt::Result {
        let (alerts, otlp) = (&self.state.alerts, &self.state.otlp);
        let targets = alerts.targets();
        if !targets.is_empty() {
            let states = [("pending", &alerts.pending), ("firing", &alerts.firing)];
            families.gauge(
                "linger_alerts",
                None,
                "Findings that do not hold for long enough yet, and alerts that are on.",
                states.map(|(state, n)| (vec![("state", state)], n.load(Ordering::Relaxed).into())),
            )?;
            families.counter(
                "linger_alerts_left_out",
                None,
                "Findings that could not become an alert, because there are as many as are kept.",
                one(alerts.left_out.load(Ordering::Relaxed)),
            )?;
        }
        let by_target = |figure: fn(&TargetStats) -> &AtomicU64| {
            targets.iter().map(move |it| {
                (vec![("target", it.name.as_str())], figure(it).load(Ordering::Relaxed).into())
            })
        };
        families.counter(
            "linger_alerts_sent",
            None,
            "Alerts that the target took; those told again are counted again.",
            by_target(|it| &it.sent),
        )?;
        families.counter(
            "linger_alerts_failed",
            None,
            "Attempts to send alerts that failed; they are made again.",
            by_target(|it| &it.failed),
        )?;
        families.counter(
            "linger_alerts_dropped",
            None,
            "Alerts given up: refused by the target, or beyond what may wait.",
            by_target(|it| &it.dropped),
        )?;
        families.gauge(
            "linger_alerts_queue",
            None,
            "Alerts that wait for the target.",
            by_target(|it| &it.queue),
        )?;
        if !otlp.on.load(Ordering::Relaxed) {
            return Ok(());
        }
        families.counter(
            "linger_otlp_exports",
            None,
            "Exports over OTLP that were taken.",
            one(otlp.exports.load(Ordering::Relaxed)),
        )?;
        families.counter(
            "linger_otlp_failed",
            None,
            "Attempts to export over OTLP that failed.",
            one(otlp.failed.load(Ordering::Relaxed)),
        )?;
        families.counter(
            "linger_otlp_rejected_points",
            None,
            "Values that the receiver did not take of an export that it took.",
            one(otlp.rejected.load(Ordering::Relaxed)),
        )
    }
}

/// Whether it is a counter that linger knows; snmp has a few figures that are none.
pub fn counted(name: &str) -> bool {
    const NONE: [&str; 5] = ["CurrEstab", "MaxConn", "RtoAlgorithm", "RtoMax", "RtoMin"];
    let is_none = name.strip_prefix("Tcp.").is_some_and(|short| NONE.contains(&short));
    !is_none && linger_facts::counter(name).is_some()
}

/// A subject no longer than a label should be.
pub fn brief(text: &str) -> &str {
    let end = text.char_indices().map(|(i, _)| i).take_while(|i| *i <= SUBJECT).last().unwrap_or(0);
    if text.len() <= SUBJECT { text } else { &text[..end] }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Settings;
    use crate::state::{Cost, Walked};
    use linger_model::aggregate::{Aggregator, Gather, Owners, ProcessIndex, SocketSource};
    use linger_model::report::{Confidence, Headroom, ReportNetns, Verdict};
    use linger_model::snapshot::{
        Container, ContainerKind, Counters, HostSnapshot, Kernel, Light, NetnsId, Process, Processes,
        Snapshot, Sockstat, not_asked,
    };
    use linger_model::{Addr, Finding, PortRange, Report, SocketRecord};
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Instant;

    const TOP: usize = 20;

    struct ByInode;

    impl Owners for ByInode {
        fn owner(&self, socket: &SocketRecord) -> Option<ProcessIndex> {
            Some(socket.inode)
        }
    }

    fn process(pid: u32) -> Process {
        let container = Container { kind: ContainerKind::Docker, id: format!("{pid:064}"), pod: None };
        Process {
            pid,
            comm: format!("a\"\n\\{{}} {pid}"),
            exe: None,
            cmdline: None,
            cgroup: None,
            container: Some(container),
            netns: None,
            fds: 1,
            fd_limit: None,
            sockets: 1,
            closed_tcp: 0,
            closed_tcp_lasting: 0,
        }
    }

    /// A walk's snapshot with as many as `n` of everything.
    fn taken(n: u32, light: &Light) -> Snapshot {
        let addr = |net: u8, i: u32| Addr::v4([net, (i >> 16) as u8, (i >> 8) as u8, i as u8]);
        let listeners: Vec<SocketRecord> = (0..n)
            .map(|i| SocketRecord::new(TcpState::Listen, addr(127, i), 80, Addr::UNSPECIFIED, 0))
            .collect();
        let mut sums = Aggregator::new(
            SocketSource::SockDiag,
            Gather::CHECK,
            &PortRange::default(),
            &listeners,
            &ByInode,
        );
        for i in 0..n {
            let mut made = SocketRecord::new(TcpState::Established, addr(10, 1), 40_000, addr(11, i), 443);
            let mut accepted = SocketRecord::new(TcpState::CloseWait, addr(127, i), 80, addr(12, i), 5000);
            (made.inode, accepted.inode) = (i, i);
            sums.add(&made);
            sums.add(&accepted);
        }
        let processes = Processes { list: (0..n).map(process).collect(), ..Processes::default() };
        Snapshot {
            taken_at_us: light.taken_at_us,
            monotonic_us: light.monotonic_us,
            netns: NetnsId { inode: 1, name: None, is_init: None },
            host: Arc::new(HostSnapshot {
                kernel: Kernel::new("6.1"),
                processes: Ok(processes),
                files: not_asked("files"),
                softnet: not_asked("softnet"),
                cgroup_memory: not_asked("cgroups"),
                sysctls: BTreeMap::new(),
                page_size: 4096,
            }),
            sockets: Ok(sums.finish()),
            sockstat: light.sockstat.clone(),
            counters: light.counters.clone(),
            sysctls: BTreeMap::new(),
            conntrack: Ok(None),
            gaps: Vec::new(),
        }
    }

    /// The same with a moment, and a counter.
    pub(crate) fn snapshot(n: u32, monotonic_us: u64, opens: u64) -> Snapshot {
        let counters = Counters::from([("Tcp.ActiveOpens".to_owned(), opens)]);
        taken(n, &Light { monotonic_us, counters: Ok(counters), ..light(0) })
    }

    fn light(n: u32) -> Light {
        Light {
            taken_at_us: 0,
            monotonic_us: 0,
            sockstat: Ok(Sockstat::default()),
            counters: Ok((0..n).map(|i| (format!("TcpExt.New{i}"), 1)).collect::<Counters>()),
            conntrack: Ok(None),
        }
    }

    /// As many as `n` of everything that a label is made of.
    pub(crate) fn namespace(n: u32, label: &str) -> NetnsView {
        let light = light(n);
        let snapshot = taken(n, &light);
        let finding = |i: u32| Finding {
            code: "TW001".to_owned(),
            name: String::new(),
            severity: Severity::Critical,
            confidence: Confidence::High,
            summary: String::new(),
            subject: format!("{}{i}", "\u{e9}".repeat(95)),
            why: String::new(),
            evidence: Vec::new(),
            remedies: Vec::new(),
            process: None,
            covers: Vec::new(),
        };
        let report = Report {
            schema: 1,
            kernel: String::new(),
            netns: ReportNetns { inode: 1, name: None, is_init: None },
            taken_at: String::new(),
            interval_s: 1.0,
            verdict: Verdict::Critical,
            states: None,
            source: None,
            imported: None,
            findings: (0..n).map(finding).collect(),
            ruled_out: Vec::new(),
            unknown: Vec::new(),
            headroom: vec![Headroom::new("local ports", "\u{e9}".repeat(500), 1, 2, Some(1.0))],
        };
        let walked = Walked::new(Instant::now(), &snapshot, report, TOP);
        NetnsView { label: label.to_owned(), light: Arc::new(light), walked: Some(walked) }
    }

    fn state(namespaces: Vec<NetnsView>) -> Arc<State> {
        let settings = Settings { cpu_budget: 0.01, top: TOP, connections: 4, ..Settings::default() };
        let state = State::new(&settings);
        let cost = Cost { resident_bytes: Some(1), ..Cost::default() };
        state.publish(View { namespaces, cost, ..View::clone(&state.view()) });
        Arc::new(state)
    }

    fn series(text: &str) -> Vec<&str> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').expect("a series and its value").0).collect()
    }

    #[test]
    fn the_number_of_series_is_bounded_whatever_there_is() {
        let count = |n| series(&render(&state(vec![namespace(n, "a")]), Format::Prometheus)).len();
        assert_eq!(count(200), count(9000));
        // By state: those of the namespace, of listeners and destinations, and of processes and containers.
        let (states, rows) = (12, TOP + 1);
        let most = states + 2 * 10 * rows + 2 * states * rows + 4 * TOP + FINDINGS + 60;
        assert!(count(9000) <= most, "{} of {most}", count(9000));
    }

    #[test]
    fn no_series_stands_twice_and_no_name_breaks_a_line() {
        let state = state(vec![namespace(300, "a"), namespace(300, "b\"\n"), namespace(0, "c")]);
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let text = render(&state, format);
            let all = series(&text);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            assert!(all.iter().all(|series| series.starts_with("linger_")), "{all:?}");
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
            assert!(text.contains("linger_sockets{netns=\"c\",state=\"time_wait\"} 0\n"), "zero is a value");
        }
    }

    #[test]
    fn a_counter_has_its_series_name_in_the_older_text() {
        let open = render(&state(Vec::new()), Format::OpenMetrics);
        assert!(
            open.contains("# TYPE linger_http_requests counter\nlinger_http_requests_total 0\n"),
            "{open}"
        );
        let old = render(&state(Vec::new()), Format::Prometheus);
        assert!(old.contains("# HELP linger_http_requests_total Requests answered.\n# TYPE linger_http_requests_total counter\nlinger_http_requests_total 0\n"), "{old}");
        assert!(!old.contains("# UNIT") && !old.contains("# EOF"));
    }

    #[test]
    fn what_is_accepted_decides_the_format() {
        use Format::{OpenMetrics, Prometheus};
        let usual = "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (usual, OpenMetrics),
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/plain", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;version=2.0.0", Prometheus),
            ("application/openmetrics-text;q=0.1, text/plain;q=0.9", Prometheus),
            (";;q=,=,\u{7f}", Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
