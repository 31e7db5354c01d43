//! What is answered, to how many at a time, and when it ends.

use crate::compact::Compact;
use crate::connection::Patient;
use crate::metrics::{Format, counted, render};
use crate::openapi;
use crate::state::State;
use crate::systemd::Manager;
use crate::web::{Web, is_own_name};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request, State as Shared};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use linger_model::Report;
use linger_model::report::Reports;
use linger_model::snapshot::Counters;
use schemars::JsonSchema;
use serde::Serialize;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A request's head, and a handshake, have to be there within this time, a head within these bytes and headers.
const HEAD_TIME: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// How long an answer is given again: a thousand scrapes at once are one.
const FRESH: Duration = Duration::from_millis(200);
/// How long the end waits for answers that have begun.
const END: Duration = Duration::from_millis(200);
/// From which silence on the sampling thread counts as dead.
const DEAD: Duration = Duration::from_secs(120);
/// A walk that is older than this makes it not ready, unless the CPU budget has three intervals take longer.
const OLD: Duration = Duration::from_secs(300);
/// How often the files of the web configuration are looked at: certificates are renewed without a word.
const LOOK_EVERY: Duration = Duration::from_secs(30);

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

/// Whom to let in; a reload replaces the first.
pub struct Access {
    web: RwLock<Arc<Web>>,
    /// The names that a `Host` may have; `None` where it may have any.
    names: Option<Vec<String>>,
}

impl Access {
    /// With the names of a service on loopback that asks for no password, if it is one.
    pub fn new(web: Web, names: Option<Vec<String>>) -> Access {
        Access { web: RwLock::new(Arc::new(web)), names }
    }

    /// The web configuration in force.
    pub fn web(&self) -> Arc<Web> {
        self.web.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it, for what is asked from now on.
    pub fn set(&self, web: Web) {
        *self.web.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(web);
    }
}

/// What the handlers share.
struct Service {
    state: Arc<State>,
    access: Arc<Access>,
    metrics: Kept,
    prometheus: Kept,
    snapshot: Kept,
    report: Kept,
    openapi: OnceLock<Bytes>,
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
    listeners: Vec<TcpListener>,
    state: &Arc<State>,
    access: &Arc<Access>,
    mut signals: Signals,
    mut manager: Manager,
    reload: impl Fn(),
) {
    let service = Arc::new(Service {
        state: state.clone(),
        access: access.clone(),
        metrics: Kept::default(),
        prometheus: Kept::default(),
        snapshot: Kept::default(),
        report: Kept::default(),
        openapi: OnceLock::new(),
    });
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/report", get(report))
        .route("/api/v1/history", get(history))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/openapi.json", get(openapi_json))
        .fallback(nothing_there)
        .method_not_allowed_fallback(only_get)
        .layer(from_fn_with_state(service.clone(), guard))
        .with_state(service);
    let free = Arc::new(Semaphore::new(usize::try_from(state.most_open).unwrap_or(usize::MAX)));
    let (end, ended) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut second = tokio::time::interval(manager.period());
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            accepted = accept(&listeners) => match accepted {
                Ok(stream) => match free.clone().try_acquire_owned() {
                    Ok(permit) => {
                        let serving = connection(stream, access.web(), router.clone(), ended.clone());
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
                        turn_away(&stream, access.web().tls.is_some());
                    }
                },
                // No descriptor or memory left: what is being served may give some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = second.tick() => {
                state.charge_http();
                if state.silence() < DEAD {
                    manager.alive();
                }
            }
            _ = look.tick() => if access.web().is_old() {
                reload();
            },
            _ = signals.hangup.recv() => {
                manager.reloading();
                reload();
                manager.ready("serving");
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    manager.stopping();
    drop(listeners);
    drop(end);
    let _ = timeout(END, async { while connections.join_next().await.is_some() {} }).await;
}

/// The next connection of any.
async fn accept(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        Poll::Pending
    })
    .await
}

/// Says why, as far as it can be said without waiting; to a peer that expects a handshake, nothing can.
fn turn_away(stream: &TcpStream, tls: bool) {
    const WORD: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 35\r\nRetry-After: 1\r\nConnection: close\r\n\r\nas many connections as are allowed\n";
    if tls {
        return;
    }
    // What it has sent is read first: closing over unread bytes resets the connection, and the word is lost.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(WORD);
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, web: Arc<Web>, router: Router, mut ended: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream);
    let Some(tls) = &web.tls else { return exchange(stream, router, ended).await };
    let handshake = timeout(HEAD_TIME, TlsAcceptor::from(tls.clone()).accept(stream));
    tokio::select! {
        done = handshake => if let Ok(Ok(stream)) = done {
            exchange(stream, router, ended).await;
        },
        _ = ended.changed() => {}
    }
}

/// Requests and their answers.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    mut ended: watch::Receiver<()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => {}
        _ = ended.changed() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// What comes before every answer: whether it was asked of this service, by one of its users.
async fn guard(Shared(service): Shared<Arc<Service>>, request: Request, next: Next) -> Response {
    let web = service.access.web();
    let mut answer = match foreign_name(&service.access, &web, request.headers(), request.uri()) {
        Some(name) => {
            let said = format!(
                "{name} is no name of this service: ask by an address or as localhost, or allow the name with \
                 --allow-host\n"
            );
            text(StatusCode::FORBIDDEN, said)
        }
        None if !web.admits(request.headers(), &service.state).await => {
            let said = "a user of this service and a password are expected\n".to_owned();
            let mut answer = text(StatusCode::UNAUTHORIZED, said);
            let ask = axum::http::HeaderValue::from_static("Basic realm=\"linger\", charset=\"UTF-8\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, ask);
            answer
        }
        None => next.run(request).await,
    };
    if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        service.state.denied.fetch_add(1, Ordering::Relaxed);
    }
    for (name, value) in &web.headers {
        answer.headers_mut().insert(name.clone(), value.clone());
    }
    service.answered();
    answer
}

/// The name of another by which this service was called, where that matters: a page of that name, pointed at this
/// address, runs in the browser of somebody who may ask.
fn foreign_name(access: &Access, web: &Web, headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let names = access.names.as_ref().filter(|_| !web.asks())?;
    let hosts =
        headers.get_all(HOST).iter().map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let asked = uri.authority().map(|authority| authority.as_str().to_owned());
    let foreign = hosts.chain(asked).find(|host| !is_own_name(host, names))?;
    let shown: String = foreign.chars().filter(|c| !c.is_control()).take(100).collect();
    Some(if shown.is_empty() { "an empty Host".to_owned() } else { shown })
}

impl Service {
    fn answered(&self) {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.state.charge_http();
    }
}

async fn index(headers: HeaderMap) -> Response {
    // A browser names what it wants; curl takes anything.
    if !accepted(&headers).contains("text/html") {
        return text(StatusCode::OK, openapi::index_text());
    }
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, "default-src 'none'")];
    (headers, openapi::index_page()).into_response()
}

async fn nothing_there() -> Response {
    text(StatusCode::NOT_FOUND, "there is no such page: / lists those that there are\n".to_owned())
}

async fn only_get(method: Method) -> Response {
    let said = format!("{method} is not for this page: it is read, with GET\n");
    text(StatusCode::METHOD_NOT_ALLOWED, said)
}

fn accepted(headers: &HeaderMap) -> String {
    let all: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    all.join(",")
}

async fn metrics(Shared(service): Shared<Arc<Service>>, headers: HeaderMap) -> Response {
    let format = Format::accepted(&accepted(&headers));
    let kept = match format {
        Format::OpenMetrics => &service.metrics,
        Format::Prometheus => &service.prometheus,
    };
    let bytes = kept.get(|| render(&service.state, format).into_bytes());
    ([(CONTENT_TYPE, format.content_type())], Body::from(bytes)).into_response()
}

async fn healthz(Shared(service): Shared<Arc<Service>>) -> Response {
    let silence = service.state.silence();
    if silence < DEAD {
        return text(StatusCode::OK, "sampling\n".to_owned());
    }
    let said = format!("no sign of life from the sampling thread for {} s\n", silence.as_secs());
    text(StatusCode::SERVICE_UNAVAILABLE, said)
}

async fn readyz(Shared(service): Shared<Arc<Service>>) -> Response {
    let view = service.state.view();
    let bound = OLD.max(Duration::from_secs_f64((3.0 * view.cost.interval_s).clamp(0.0, 1e9)));
    let said = match view.namespaces.first().map(|ns| &ns.walked) {
        None => "no network namespace has been read yet\n".to_owned(),
        Some(None) => "the sockets have not been read yet\n".to_owned(),
        Some(Some(walked)) if walked.at.elapsed() > bound => {
            let (age, bound) = (walked.at.elapsed().as_secs(), bound.as_secs());
            format!("the sockets were read {age} s ago, and {bound} s are the most\n")
        }
        Some(Some(_)) => return text(StatusCode::OK, "ready\n".to_owned()),
    };
    text(StatusCode::SERVICE_UNAVAILABLE, said)
}

async fn history(Shared(service): Shared<Arc<Service>>, RawQuery(query): RawQuery) -> Response {
    answered(crate::history::http::history(service.state.clone(), query).await)
}

async fn findings(Shared(service): Shared<Arc<Service>>, RawQuery(query): RawQuery) -> Response {
    answered(crate::history::http::findings(service.state.clone(), query).await)
}

/// JSON, or a sentence that says why not.
fn answered(answered: Result<Vec<u8>, (StatusCode, String)>) -> Response {
    match answered {
        Ok(bytes) => json(Bytes::from(bytes)),
        Err((status, why)) => text(status, why + "\n"),
    }
}

async fn openapi_json(Shared(service): Shared<Arc<Service>>) -> Response {
    let made = || Bytes::from(serde_json::to_vec(&openapi::document()).unwrap_or_default());
    json(service.openapi.get_or_init(made).clone())
}

/// What `/api/v1/snapshot` answers.
#[derive(Serialize, JsonSchema)]
pub struct Snapshot {
    /// The format's version, 1.
    schema: u32,
    /// The first one is the service's own, or the first that was asked for.
    namespaces: Vec<NetnsSnapshot>,
}

/// One namespace of it.
#[derive(Serialize, JsonSchema)]
struct NetnsSnapshot {
    /// Its name in the metrics' labels.
    label: String,
    /// When the figures that cost nothing were read, as microseconds since 1970 (UTC).
    taken_at_us: i64,
    /// `null` where it could not be read.
    sockstat: Option<linger_model::snapshot::Sockstat>,
    /// Those that linger knows, by the kernel's names: `TcpExt.ListenOverflows`. `null` where they could not be read.
    counters: Option<Counters>,
    /// `null` where there is none, or it could not be read.
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
    json(bytes)
}

fn json(bytes: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], Body::from(bytes)).into_response()
}

fn text(status: StatusCode, words: String) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], words).into_response()
}
