//! What is answered, to how many at a time, and when it ends.

use crate::Settings;
use crate::compact::Compact;
use crate::connection::Patient;
use crate::metrics::{Format, counted, render};
use crate::state::State;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use linger_model::Report;
use linger_model::report::Reports;
use linger_model::snapshot::Counters;
use serde::Serialize;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// A request's head has to be there within this time, and within these bytes and headers.
const HEAD_TIME: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// How long an answer is given again: a thousand scrapes at once are one.
const FRESH: Duration = Duration::from_millis(200);
/// How long the end waits for answers that have begun.
const END: Duration = Duration::from_millis(300);
/// From which silence on the sampling thread counts as dead.
const DEAD: Duration = Duration::from_secs(120);

/// The signals that are obeyed.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// What the handlers share.
struct Service {
    state: Arc<State>,
    metrics: Kept,
    prometheus: Kept,
    snapshot: Kept,
    report: Kept,
}

/// An answer that is given again while it is fresh: its memory is one for all who read it slowly.
#[derive(Default)]
struct Kept(Mutex<Option<(Instant, Bytes)>>);

impl Kept {
    fn get(&self, make: impl FnOnce() -> Vec<u8>) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((at, bytes)) if at.elapsed() < FRESH => bytes.clone(),
            _ => {
                let bytes = Bytes::from(make());
                *kept = Some((Instant::now(), bytes.clone()));
                bytes
            }
        }
    }
}

/// Serves until a signal ends it.
pub async fn serve(
    settings: &Settings,
    listener: TcpListener,
    state: &Arc<State>,
    mut signals: Signals,
    reload: impl Fn(),
) {
    let service = Arc::new(Service {
        state: state.clone(),
        metrics: Kept::default(),
        prometheus: Kept::default(),
        snapshot: Kept::default(),
        report: Kept::default(),
    });
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/report", get(report))
        .with_state(service);
    let free = Arc::new(Semaphore::new(settings.connections));
    let (end, ended) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match free.clone().try_acquire_owned() {
                    Ok(permit) => {
                        let serving = connection(stream, router.clone(), ended.clone());
                        let state = state.clone();
                        state.open.fetch_add(1, Ordering::Relaxed);
                        connections.spawn(async move {
                            serving.await;
                            state.open.fetch_sub(1, Ordering::Relaxed);
                            drop(permit);
                        });
                    }
                    Err(_) => {
                        state.refused.fetch_add(1, Ordering::Relaxed);
                        turn_away(&stream);
                    }
                },
                // No descriptor or memory left: what is being served may give some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = second.tick() => state.charge_http(),
            _ = signals.hangup.recv() => reload(),
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    drop(listener);
    drop(end);
    let _ = tokio::time::timeout(END, async { while connections.join_next().await.is_some() {} }).await;
}

/// Says why, as far as it can be said without waiting.
fn turn_away(stream: &TcpStream) {
    const WORD: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 35\r\nRetry-After: 1\r\nConnection: close\r\n\r\nas many connections as are allowed\n";
    // What it has sent is read first: closing over unread bytes resets the connection, and the word is lost.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(WORD);
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, router: Router, mut ended: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let io = TokioIo::new(Patient::new(stream));
    let serving = http.serve_connection(io, TowerToHyperService::new(router));
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => {}
        _ = ended.changed() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

impl Service {
    fn answered(&self) {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.state.charge_http();
    }
}

async fn index(Shared(service): Shared<Arc<Service>>) -> Response {
    service.answered();
    text(
        StatusCode::OK,
        "linger\n\n/metrics\n/healthz\n/readyz\n/api/v1/snapshot\n/api/v1/report\n".to_owned(),
    )
}

async fn metrics(Shared(service): Shared<Arc<Service>>, headers: HeaderMap) -> Response {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let kept = match format {
        Format::OpenMetrics => &service.metrics,
        Format::Prometheus => &service.prometheus,
    };
    let bytes = kept.get(|| render(&service.state, format).into_bytes());
    service.answered();
    ([(CONTENT_TYPE, format.content_type())], Body::from(bytes)).into_response()
}

async fn healthz(Shared(service): Shared<Arc<Service>>) -> Response {
    service.answered();
    let silence = service.state.silence();
    if silence < DEAD {
        text(StatusCode::OK, "sampling\n".to_owned())
    } else {
        let seconds = silence.as_secs();
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no sign of life from the sampling thread for {seconds} s\n"),
        )
    }
}

async fn readyz(Shared(service): Shared<Arc<Service>>) -> Response {
    service.answered();
    match service.state.view().namespaces.first() {
        Some(ns) if ns.walked.is_some() => text(StatusCode::OK, "ready\n".to_owned()),
        Some(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the sockets have not been read yet\n".to_owned()),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "no network namespace has been read yet\n".to_owned()),
    }
}

/// What `/api/v1/snapshot` answers.
#[derive(Serialize)]
struct Snapshot {
    schema: u32,
    namespaces: Vec<NetnsSnapshot>,
}

/// One namespace of it.
#[derive(Serialize)]
struct NetnsSnapshot {
    /// Its name in the metrics' labels.
    label: String,
    /// When the figures that cost nothing were read, as microseconds since 1970 (UTC).
    taken_at_us: i64,
    sockstat: Option<linger_model::snapshot::Sockstat>,
    counters: Option<Counters>,
    conntrack: Option<linger_model::snapshot::Conntrack>,
    /// The last walk; `null` before the first.
    sockets: Option<Compact>,
}

async fn snapshot(Shared(service): Shared<Arc<Service>>) -> Response {
    let bytes = service.snapshot.get(|| {
        let view = service.state.view();
        let namespaces = view.namespaces.iter().map(|ns| NetnsSnapshot {
            label: ns.label.clone(),
            taken_at_us: ns.light.taken_at_us,
            sockstat: ns.light.sockstat.as_ref().ok().copied(),
            counters: ns.light.counters.as_ref().ok().map(known),
            conntrack: ns.light.conntrack.as_ref().ok().cloned().flatten(),
            sockets: ns.walked.as_ref().map(|w| Compact::clone(&w.compact)),
        });
        serde_json::to_vec(&Snapshot { schema: 1, namespaces: namespaces.collect() }).unwrap_or_default()
    });
    service.answered();
    json(bytes)
}

/// The counters that the metrics have.
fn known(counters: &Counters) -> Counters {
    counters.iter().filter(|(name, _)| counted(name)).map(|(name, n)| (name.clone(), *n)).collect()
}

async fn report(Shared(service): Shared<Arc<Service>>) -> Response {
    let bytes = service.report.get(|| {
        let view = service.state.view();
        let reports: Vec<Report> = view
            .namespaces
            .iter()
            .filter_map(|ns| Some(Report::clone(&ns.walked.as_ref()?.report)))
            .collect();
        serde_json::to_vec(&Reports::new(reports)).unwrap_or_default()
    });
    service.answered();
    json(bytes)
}

fn json(bytes: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], Body::from(bytes)).into_response()
}

fn text(status: StatusCode, words: String) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], words).into_response()
}
