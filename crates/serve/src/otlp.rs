//! The metrics over OTLP/HTTP, as protobuf: the same list that a scrape renders, each interval.

use crate::alerts::host_name;
use crate::client::{Client, Http, Outcome, Url, pause};
use crate::metrics::{Family, Value, list};
use crate::span::Span;
use crate::state::{Meter, State};
use crate::worker::Worker;
use crate::{CurrentPlan, Level, Log, Plan};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often it is looked whether the configuration has changed, or it is time.
const TICK: Duration = Duration::from_millis(250);

/// `[serve.otlp]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where, the path included: `http://127.0.0.1:4318/v1/metrics`. Nothing is sent without it.
    pub url: Option<Url>,
    /// How often.
    pub interval: Span,
    /// Whether it is compressed.
    pub gzip: bool,
    /// More attributes of the resource.
    pub attributes: BTreeMap<String, String>,
    /// How.
    pub http: Http,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: None,
            interval: Span::seconds(60),
            gzip: false,
            attributes: BTreeMap::new(),
            http: Http::default(),
        }
    }
}

impl Config {
    /// What could not be said while it was read.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn check(&self) -> Result<(), String> {
        let Some(url) = &self.url else {
            return match *self == Config::default() {
                true => Ok(()),
                false => {
                    Err("serve.otlp: url is missing, such as http://127.0.0.1:4318/v1/metrics".to_owned())
                }
            };
        };
        if !url.has_path() {
            return Err(
                "serve.otlp: url: the whole address is expected, as a rule …:4318/v1/metrics".to_owned()
            );
        }
        if self.interval.0 < Duration::from_secs(1) {
            return Err("serve.otlp: interval: a time of at least 1s is expected".to_owned());
        }
        Client::new(url, &self.http).map(|_| ()).map_err(|why| format!("serve.otlp: {why}"))
    }
}

/// What the metrics say of exports.
#[derive(Debug, Default)]
pub struct Stats {
    /// Whether there are any.
    pub on: AtomicBool,
    /// Exports that were taken.
    pub exports: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Values that were not taken of exports that were.
    pub rejected: AtomicU64,
}

/// Starts the thread that exports.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(state: &Arc<State>, plan: &Arc<CurrentPlan>, log: &Log) -> io::Result<Worker> {
    let (state, plan, log) = (state.clone(), plan.clone(), log.clone());
    Worker::alone("otlp", move |stopped| {
        let mut exporter = Exporter::new(state, plan.get(), log);
        exporter.run(&stopped, &plan);
    })
}

/// A batch that may have to be sent more than once.
struct Batch {
    body: Vec<u8>,
    failures: u32,
    not_before: Option<Instant>,
}

struct Exporter {
    state: Arc<State>,
    plan: Arc<Plan>,
    log: Log,
    client: Option<Client>,
    starts: Starts,
    due: Instant,
    batch: Option<Batch>,
    /// Whether the log knows that it fails, and that values are rejected.
    said: (bool, bool),
    meter: Meter,
}

impl Exporter {
    fn new(state: Arc<State>, plan: Arc<Plan>, log: Log) -> Exporter {
        let mut exporter = Exporter {
            state,
            plan,
            log,
            client: None,
            starts: Starts::default(),
            due: Instant::now(),
            batch: None,
            said: (false, false),
            meter: Meter::default(),
        };
        exporter.connect();
        exporter
    }

    fn run(&mut self, stopped: &Receiver<()>, current: &CurrentPlan) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
            self.follow(current.get());
            self.export();
            self.meter.charge(&self.state.sending_ns);
        }
    }

    fn connect(&mut self) {
        let config = &self.plan.serve.otlp;
        let client = config.url.as_ref().map(|url| Client::new(url, &config.http)).transpose();
        self.client = client.unwrap_or_else(|why| {
            (self.log)(Level::Error, &format!("otlp: {why}"));
            None
        });
        self.state.otlp.on.store(config.url.is_some(), Ordering::Relaxed);
        (self.batch, self.said, self.due) = (None, (false, false), Instant::now());
    }

    fn follow(&mut self, plan: Arc<Plan>) {
        if !Arc::ptr_eq(&plan, &self.plan) {
            let before = std::mem::replace(&mut self.plan, plan);
            if before.serve.otlp != self.plan.serve.otlp {
                self.connect();
            }
        }
    }

    /// Sends what is due, or what could not be sent before. A newer batch takes its place: values are totals, and the
    /// newest say what the older ones would have.
    fn export(&mut self) {
        let plan = self.plan.clone();
        let config = &plan.serve.otlp;
        let Some(client) = &self.client else { return };
        let now = Instant::now();
        if now >= self.due {
            // What has been read is said, and nothing before: zeros would be made up.
            if !self.state.view().namespaces.iter().any(|ns| ns.walked.is_some()) {
                return;
            }
            let request = request(list(&self.state), config, &mut self.starts, Timestamp::now());
            let bytes = request.encode_to_vec();
            let body = if config.gzip { gzip(&bytes) } else { bytes };
            // What the server asked for holds for the newer one, too.
            let (failures, not_before) =
                self.batch.take().map_or((0, None), |batch| (batch.failures, batch.not_before));
            self.batch = Some(Batch { body, failures, not_before });
            // Times that were missed are not made up for.
            self.due = (self.due + config.interval.0).max(now);
        }
        let Some(batch) = &mut self.batch else { return };
        if batch.not_before.is_some_and(|at| now < at) {
            return;
        }
        let encoding = config.gzip.then_some("gzip");
        let outcome = client.post("application/x-protobuf", encoding, &batch.body);
        let stats = &self.state.otlp;
        let gave_up = match outcome {
            Outcome::Accepted(answer) => {
                stats.exports.fetch_add(1, Ordering::Relaxed);
                self.batch = None;
                if std::mem::take(&mut self.said.0) {
                    (self.log)(Level::Info, "otlp: metrics are taken again");
                }
                return self.partial(&answer);
            }
            // What the specification has sent again; without an answer it is unknown what became of it.
            Outcome::Later { why, after, status: None | Some(429 | 502 | 503 | 504) } => {
                batch.failures = batch.failures.saturating_add(1);
                batch.not_before = Some(Instant::now() + pause(batch.failures, after));
                why
            }
            Outcome::Later { why, .. } | Outcome::Refused(why) => {
                self.batch = None;
                why
            }
        };
        stats.failed.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.said.0, true) {
            (self.log)(Level::Warning, &format!("otlp: metrics are not taken: {gave_up}"));
        }
    }

    /// What was rejected of a batch that was taken.
    fn partial(&mut self, answer: &[u8]) {
        let answer = ExportMetricsServiceResponse::decode(answer).unwrap_or_default();
        let Some(partial) = answer.partial_success else { return };
        let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
        self.state.otlp.rejected.fetch_add(rejected, Ordering::Relaxed);
        let word: String = partial.error_message.chars().take(200).collect();
        if (rejected > 0 || !word.is_empty()) && !std::mem::replace(&mut self.said.1, true) {
            (self.log)(
                Level::Warning,
                &format!("otlp: the receiver did not take {rejected} of the values: {word}"),
            );
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// When each sum was first seen, and what it was last: one that goes back has begun anew.
#[derive(Debug, Default)]
struct Starts {
    by_series: HashMap<String, (u64, f64)>,
    seen: HashMap<String, (u64, f64)>,
}

impl Starts {
    /// Since when a sum counts: since it was first seen, as when the kernel began is not known.
    fn of(&mut self, family: &str, labels: &[(&'static str, String)], value: f64, now: u64) -> u64 {
        let mut key = family.to_owned();
        for (name, of) in labels {
            key.extend(["\u{0}", name, "\u{1}", of]);
        }
        let start = match self.by_series.get(&key) {
            Some((start, last)) if value >= *last => *start,
            _ => now,
        };
        self.seen.insert(key, (start, value));
        start
    }

    /// Forgets what is no longer there.
    fn turn(&mut self) {
        self.by_series = std::mem::take(&mut self.seen);
    }
}

fn text(name: &str, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.into())) };
    KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// UCUM's name of a unit.
fn ucum(unit: &str) -> &str {
    match unit {
        "seconds" => "s",
        "bytes" => "By",
        "ratio" => "1",
        _ => "",
    }
}

fn request(
    families: Vec<Family>,
    config: &Config,
    starts: &mut Starts,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let now = u64::try_from(now.as_nanosecond()).unwrap_or(0);
    let metrics = families.into_iter().map(|family| {
        let points = family.series.into_iter().map(|(labels, value)| {
            let real = match value {
                Value::Whole(n) => n as f64,
                Value::Real(n) => n,
            };
            let start_time_unix_nano =
                if family.counter { starts.of(&family.name, &labels, real, now) } else { 0 };
            NumberDataPoint {
                attributes: labels.into_iter().map(|(name, value)| text(name, value)).collect(),
                start_time_unix_nano,
                time_unix_nano: now,
                value: Some(match value {
                    Value::Whole(n) => number_data_point::Value::AsInt(i64::try_from(n).unwrap_or(i64::MAX)),
                    Value::Real(n) => number_data_point::Value::AsDouble(n),
                }),
                ..NumberDataPoint::default()
            }
        });
        let data_points = points.collect();
        let data = match family.counter {
            true => metric::Data::Sum(Sum {
                data_points,
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic: true,
            }),
            false => metric::Data::Gauge(Gauge { data_points }),
        };
        Metric {
            unit: ucum(&family.unit).to_owned(),
            name: family.name,
            description: family.help,
            data: Some(data),
            ..Metric::default()
        }
    });
    let metrics = metrics.collect();
    starts.turn();
    let host = host_name();
    let own = [
        ("service.name", "linger"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &host),
        ("host.name", &host),
        ("os.type", "linux"),
    ];
    let mut attributes: BTreeMap<String, String> =
        own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    attributes.extend(config.attributes.clone());
    let resource = Resource {
        attributes: attributes.into_iter().map(|(name, value)| text(&name, value)).collect(),
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "linger".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_metrics = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
    let resource_metrics = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope_metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families(events: u64) -> Vec<Family> {
        let family = |name: &str, unit: &str, counter, value| Family {
            name: name.to_owned(),
            unit: unit.to_owned(),
            help: "What it is.".to_owned(),
            counter,
            series: vec![(vec![("netns", "self".to_owned())], value)],
        };
        vec![
            family("linger_kernel_events_total", "", true, Value::Whole(events)),
            family("linger_memory_resident_bytes", "bytes", false, Value::Whole(u64::MAX)),
            family("linger_cpu_budget_ratio", "ratio", false, Value::Real(0.5)),
        ]
    }

    #[test]
    fn sums_begin_when_they_are_first_seen_and_anew_when_they_go_back() {
        let (config, mut starts) = (Config::default(), Starts::default());
        let mut sent = |second: i64, events| {
            let now = Timestamp::from_second(second).expect("a time");
            let mut request = request(families(events), &config, &mut starts, now);
            let metrics = request.resource_metrics.remove(0).scope_metrics.remove(0).metrics;
            let Some(metric::Data::Sum(sum)) = &metrics[0].data else { panic!("no sum: {metrics:?}") };
            assert!(sum.is_monotonic && sum.aggregation_temporality() == AggregationTemporality::Cumulative);
            let point = &sum.data_points[0];
            let seconds = |ns| ns / 1_000_000_000;
            assert_eq!(point.value, Some(number_data_point::Value::AsInt(events as i64)));
            (seconds(point.start_time_unix_nano), seconds(point.time_unix_nano))
        };
        assert_eq!([sent(10, 5), sent(20, 5), sent(30, 9)], [(10, 10), (10, 20), (10, 30)]);
        assert_eq!([sent(40, 3), sent(50, 4)], [(40, 40), (40, 50)]);
    }

    #[test]
    fn units_are_ucums_and_numbers_stay_numbers() {
        let mut starts = Starts::default();
        let config =
            Config { attributes: BTreeMap::from([("host.name".into(), "mine".into())]), ..Config::default() };
        let request = request(families(1), &config, &mut starts, Timestamp::UNIX_EPOCH);
        let resource = &request.resource_metrics[0].resource.as_ref().expect("one").attributes;
        let named = |key: &str| resource.iter().find(|it| it.key == key).cloned();
        assert_eq!(named("service.name"), Some(text("service.name", "linger")));
        assert_eq!(named("host.name"), Some(text("host.name", "mine")));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let units: Vec<&str> = metrics.iter().map(|it| it.unit.as_str()).collect();
        assert_eq!(units, ["", "By", "1"]);
        let Some(metric::Data::Gauge(gauge)) = &metrics[1].data else { panic!("no gauge") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsInt(i64::MAX)));
    }
}
