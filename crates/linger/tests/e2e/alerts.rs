//! What `linger serve` sends: alerts to a real Alertmanager beside a real Prometheus, to webhooks of every kind, and
//! metrics over OTLP.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use linger_lab::{Actor, Behaviour, Host, Server};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric, number_data_point};
use prost::Message;
use rustix::process::Signal;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::serve::Served;
use crate::support::{
    LINGER, Lab, PATIENCE, address, client, in_ci, lab, linger, path_of, run_all, server, start, wait_for,
};

/// What a receiver answers.
#[derive(Clone)]
enum Reply {
    /// A status, more lines of the head, and a body.
    Say(u16, String, Vec<u8>),
    /// Nothing, for as long as the test takes.
    Hang,
    /// A body that goes on for a gigabyte.
    Flood,
}

fn say(status: u16) -> Reply {
    Reply::Say(status, String::new(), b"so it is".to_vec())
}

/// A request.
#[derive(Debug, Clone)]
struct Got {
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `firing LingerCloseWaitLeak leaky` for each alert of a webhook's body.
    fn alerts(&self) -> Vec<String> {
        let body = self.json();
        let alerts = body["alerts"].as_array().unwrap().iter();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let line = |it: &Value| {
            let labels = &it["labels"];
            [&it["status"], &labels["alertname"], &labels["subject"]].map(word).join(" ")
        };
        alerts.map(line).collect()
    }
}

/// An HTTP server inside a host; each request in its turn gets the reply that the function gives its number.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    /// Bytes of a flood that were taken.
    flooded: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

impl Receiver {
    fn new(host: &Host, reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::with(host, None, reply)
    }

    fn with(
        host: &Host,
        tls: Option<Arc<ServerConfig>>,
        reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        let listener = host.run(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (got, flooded, stop) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let serving = Serving {
            got: Arc::clone(&got),
            flooded: Arc::clone(&flooded),
            stop: stop.clone(),
            reply: Arc::new(reply),
            tls,
        };
        let thread = thread::spawn(move || serving.accept(&listener));
        Receiver { address, got, flooded, stop, thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Every alert that was told here, in order.
    fn alerts(&self) -> Vec<String> {
        self.got().iter().flat_map(Got::alerts).collect()
    }

    #[track_caller]
    fn wait_for_alerts(&self, expected: &[&str]) {
        wait_for(&format!("{expected:?} are told"), || self.alerts().len() >= expected.len());
        let mut told = self.alerts();
        told.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }
}

#[derive(Clone)]
struct Serving {
    got: Arc<Mutex<Vec<Got>>>,
    flooded: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    reply: Arc<dyn Fn(usize) -> Reply + Send + Sync>,
    tls: Option<Arc<ServerConfig>>,
}

impl Serving {
    fn accept(self, listener: &TcpListener) {
        let mut connections = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    let serving = self.clone();
                    // A kept connection must not hold the end.
                    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    stream.set_write_timeout(Some(PATIENCE)).unwrap();
                    connections.push(thread::spawn(move || match serving.tls.clone() {
                        None => serving.connection(stream),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            serving.connection(StreamOwned::new(connection, stream));
                        }
                    }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(5))
                }
                Err(error) => panic!("{error}"),
            }
        }
        connections.into_iter().for_each(|it| it.join().unwrap());
    }

    fn connection(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        while let Some(got) = self.request(&mut stream) {
            let number = {
                let mut all = self.got.lock().unwrap();
                all.push(got);
                all.len() - 1
            };
            let stream = stream.get_mut();
            match (self.reply)(number) {
                Reply::Say(status, head, body) => {
                    let head =
                        format!("HTTP/1.1 {status} Word\r\n{head}Content-Length: {}\r\n\r\n", body.len());
                    if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                        return;
                    }
                }
                Reply::Hang => {
                    while !self.stop.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(5));
                    }
                    return;
                }
                Reply::Flood => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
                    let piece = vec![b'x'; 1 << 16];
                    while !self.stop.load(Ordering::Relaxed) && stream.write_all(&piece).is_ok() {
                        self.flooded.fetch_add(piece.len(), Ordering::Relaxed);
                    }
                    return;
                }
            }
        }
    }

    /// The next request; nothing at the connection's end, or the test's.
    fn request(&self, stream: &mut BufReader<impl Read>) -> Option<Got> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match stream.read_line(&mut head) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.going_on()?,
                Err(_) => return None,
            }
        }
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1)?.split('\r').next()?.parse().ok()?;
        let mut body = vec![0; length];
        let mut at = 0;
        while at < length {
            match stream.read(&mut body[at..]) {
                Ok(0) => return None,
                Ok(n) => at += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.going_on()?,
                Err(_) => return None,
            }
        }
        Some(Got { head, body })
    }

    fn going_on(&self) -> Option<()> {
        (!self.stop.load(Ordering::Relaxed)).then_some(())
    }
}

/// What a server of another program answers to a GET.
fn get(host: &Host, server: &str, path: &str) -> Option<Value> {
    let to = address(server);
    let Ok(mut stream) = host.run(move || TcpStream::connect(to)).unwrap() else {
        // It is not there yet; to knock at its port all the time would be a finding of its own.
        thread::sleep(Duration::from_millis(300));
        return None;
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut all = String::new();
    stream.read_to_string(&mut all).ok()?;
    serde_json::from_str(all.split_once("\r\n\r\n")?.1).ok()
}

/// A program that ends with this value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program of Debian's inside a host; nothing, and a word about it, where it is missing. In CI it must not be.
fn program(host: &Host, name: &str, package: &str, args: &[String]) -> Option<Program> {
    let mut command = host.command(name).unwrap();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => Some(Program(child)),
        Err(error) if error.kind() == ErrorKind::NotFound && !in_ci() => {
            println!("SKIPPED: {name} is missing (Debian's package {package})");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

fn has(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    match found {
        Ok(output) => output.status.success(),
        Err(_) if !in_ci() => {
            println!("SKIPPED: {program} is missing (Debian's package {package})");
            false
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// What the whole host does is none of a test's: its neighbours fill descriptors. Nor is whom its servers turn away.
const OWN: &str = "\
[FD001]
warning_fraction = 9
critical_fraction = 9
exhaustion_seconds = 0
[OR001]
warning_fraction = 9
critical_fraction = 9
[MM001]
critical_fraction = 9
cgroup_warning_fraction = 9
cgroup_critical_fraction = 9
cgroup_throttled_per_second = 1e9
[NQ001]
warning_drops_per_second = 1e9
[RS001]
resets_per_second = 1e9
[CW001]
min_age_seconds = 1
";

/// Everything of a configuration but the targets; alerts come at once.
fn settings(folder: &Path) -> String {
    let state = folder.join("alerts.json");
    format!(
        "{OWN}[serve.alerts]\nfor = \"0s\"\nresolve_after = \"0s\"\n\
         resend = \"1s\"\ninstance = \"lab\"\nstate = {state:?}\n"
    )
}

fn webhook(url: &str, more: &str) -> String {
    format!("[[serve.alerts.webhook]]\nurl = \"{url}\"\n{more}\n")
}

fn write(text: &str, folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn command(host: &Host, config: &str, listen: &str) -> Command {
    let mut command = host.command(LINGER).unwrap();
    command.args(["serve", "--netns", "self", "--cpu-budget", "50", "--config", config, "--listen", listen]);
    // Whoever is named gets it, and no proxy of somebody's environment.
    command.envs(["http_proxy", "https_proxy", "ALL_PROXY"].map(|it| (it, "http://127.0.0.1:1")));
    command
}

fn serve<'a>(host: &'a Host, config: &str) -> Served<'a> {
    Served::start(host, command(host, config, "127.0.0.1:0"))
}

/// A server on this port of the far host that keeps sockets whose peer has closed.
fn leak(lab: &Lab, comm: &str, port: u16) -> Actor {
    let at = address(&format!("10.77.0.2:{port}"));
    let spec = Server { behaviour: Behaviour::NeverClose, comm: comm.into(), listen: vec![at], ..server() };
    let leaky = start(&lab.far, spec);
    let mut clients = client(150);
    clients.targets = vec![at];
    run_all(&lab.near, clients);
    leaky.wait_until(PATIENCE, |it| it.ended == 150).unwrap();
    leaky
}

/// The whole log of a service that is ended.
fn log_of(mut served: Served<'_>) -> String {
    served.signal(Signal::TERM);
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    loop {
        let line = served.next_line();
        if line.is_empty() {
            return log;
        }
        log += &line;
    }
}

const LEAKY: &str = "LingerCloseWaitLeak leaky";

#[test]
fn an_incident_fires_in_prometheus_and_alertmanager_and_resolves_in_both() {
    let (manager, monitor) = ("prometheus-alertmanager", "prometheus");
    if !has(manager, manager) || !has(monitor, monitor) {
        return;
    }
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let file = |name: &str, text: &str| write(text, folder.path(), name);
    let (hook, notified) = (Receiver::new(&lab.far, |_| say(200)), Receiver::new(&lab.far, |_| say(200)));
    // Alertmanager is not there yet.
    let config = settings(folder.path())
        + "[[serve.alerts.alertmanager]]\nurl = \"http://127.0.0.1:9093\"\n"
        + &webhook(&hook.url(), "");
    let config = file("linger.toml", &config);
    let mut served = serve(&lab.far, &config);
    served.ready();
    let leaky = leak(&lab, "leaky", 80);
    let firing = format!("firing {LEAKY}");
    hook.wait_for_alerts(&[&firing]);
    let line = served.next_line();
    let said = "alerts: alertmanager http://127.0.0.1:9093 does not take them";
    assert!(line.contains(said) && line.contains("refused"), "{line}");
    let failed = "linger_alerts_failed_total{target=\"alertmanager http://127.0.0.1:9093\"}";
    wait_for("it is tried again", || served.value(failed) > Some(1.0));

    let receiver = format!("http://{}/", notified.address);
    let alertmanager = file(
        "alertmanager.yml",
        &format!(
            "route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
             receivers:\n- name: hook\n  webhook_configs: [{{url: '{receiver}', send_resolved: true}}]\n"
        ),
    );
    let args = [
        format!("--config.file={alertmanager}"),
        format!("--storage.path={}", path("am")),
        "--web.listen-address=127.0.0.1:9093".to_owned(),
        "--cluster.listen-address=".to_owned(),
    ];
    let Some(_alertmanager) = program(&lab.far, manager, manager, &args) else { return };
    let scraped = served.address;
    // The rules that linger makes, without the minutes in which a finding is looked for.
    let made = linger(&["rules", "prometheus", "--config", &config]);
    assert_eq!((made.status, made.stderr.as_str()), (Some(0), ""));
    let rules = file("rules.yml", &made.stdout.replace("[1m]", "[3s]").replace(" for: 1m\n", " for: 0s\n"));
    let prometheus = file(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{rules}]\nscrape_configs:\n\
             - job_name: linger\n  static_configs: [{{targets: ['{scraped}']}}]\n"
        ),
    );
    let args = [
        format!("--config.file={prometheus}"),
        format!("--storage.tsdb.path={}", path("tsdb")),
        "--web.listen-address=127.0.0.1:9090".to_owned(),
    ];
    let Some(_prometheus) = program(&lab.far, monitor, monitor, &args) else { return };

    let in_alertmanager = || match get(&lab.far, "127.0.0.1:9093", "/api/v2/alerts") {
        Some(Value::Array(alerts)) => alerts,
        other => panic!("{other:?}"),
    };
    wait_for("Alertmanager answers", || get(&lab.far, "127.0.0.1:9093", "/api/v2/alerts").is_some());
    wait_for("it fires in Alertmanager", || in_alertmanager().len() == 1);
    let alert = in_alertmanager().remove(0);
    let labels = serde_json::json!({
        "alertname": "LingerCloseWaitLeak", "code": "CW001", "severity": "warning", "subject": "leaky",
        "netns": "self", "instance": "lab",
    });
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"]["runbook"], "linger explain CW001");
    for name in ["summary", "why", "who", "remedy"] {
        assert!(!alert["annotations"][name].as_str().unwrap().is_empty(), "{alert}");
    }
    let in_prometheus = || {
        let answer = get(&lab.far, "127.0.0.1:9090", "/api/v1/alerts")?;
        let alerts = answer["data"]["alerts"].as_array()?.clone();
        let is_leak = |it: &Value| it["labels"]["alertname"] == "LingerCloseWaitLeak";
        Some(alerts.into_iter().filter(|it| is_leak(it) && it["state"] == "firing").collect::<Vec<_>>())
    };
    wait_for("it fires in Prometheus", || in_prometheus().is_some_and(|it| it.len() == 1));
    assert_eq!(in_prometheus().unwrap()[0]["labels"]["subject"], "leaky");
    notified.wait_for_alerts(&[&firing]);

    // The webhook's message is Alertmanager's own in form, and knows the alert by the same number.
    let (own, theirs) = (hook.got()[0].json(), notified.got()[0].json());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    assert_eq!(keys(&own), keys(&theirs));
    assert_eq!(keys(&own["alerts"][0]), keys(&theirs["alerts"][0]));
    for same in ["fingerprint", "labels", "status", "startsAt", "endsAt"] {
        assert_eq!(own["alerts"][0][same], theirs["alerts"][0][same], "{same}");
    }

    // A restart tells nothing anew, and takes nothing back.
    let log = log_of(served);
    assert_eq!(log, "linger: alerts: alertmanager http://127.0.0.1:9093 takes them again\n");
    let taken = "linger_alerts_sent_total{target=\"alertmanager http://127.0.0.1:9093\"}";
    let served = Served::start(&lab.far, command(&lab.far, &config, &scraped.to_string()));
    wait_for("it is told again", || served.value(taken) > Some(2.0));
    wait_for("it is seen again", || {
        served.metrics().contains("linger_finding{netns=\"self\",code=\"CW001\"")
    });
    assert_eq!((hook.alerts(), notified.alerts()), (vec![firing.clone()], vec![firing.clone()]));

    leaky.release().unwrap();
    wait_for("it resolves in Alertmanager", || in_alertmanager().is_empty());
    wait_for("it resolves in Prometheus", || in_prometheus().is_some_and(|it| it.is_empty()));
    let resolved = format!("resolved {LEAKY}");
    hook.wait_for_alerts(&[&firing, &resolved]);
    notified.wait_for_alerts(&[&firing, &resolved]);
    assert_eq!(hook.alerts(), notified.alerts(), "in this order");
    assert_eq!(served.value("linger_alerts{state=\"firing\"}"), Some(0.0));
    assert_eq!(log_of(served), "");
}

#[test]
fn webhooks_that_misbehave_hold_up_nobody_and_are_tried_again() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let good = Receiver::new(&lab.far, |_| say(200));
    let busy = Receiver::new(&lab.far, |i| match i {
        0 => say(500),
        1 => Reply::Say(429, "Retry-After: 1\r\n".to_owned(), Vec::new()),
        _ => say(202),
    });
    let stuck = Receiver::new(&lab.far, |i| if i == 0 { Reply::Hang } else { say(200) });
    let flood = Receiver::new(&lab.far, |_| Reply::Flood);
    let decoy = Receiver::new(&lab.far, |_| say(200));
    let to = format!("Location: {}/elsewhere\r\n", decoy.url());
    let moved = Receiver::new(&lab.far, move |_| Reply::Say(307, to.clone(), Vec::new()));
    let picky = Receiver::new(&lab.far, |_| say(400));
    let garbage = Receiver::new(&lab.far, |_| Reply::Say(200, "x".repeat(100_000) + "\r\n", Vec::new()));
    let all = [&good, &busy, &stuck, &flood, &moved, &picky, &garbage];
    let hook = |it: &&Receiver| {
        // Who answers at all is given the time that a busy machine takes.
        let seconds = if it.address == stuck.address { 1 } else { 60 };
        webhook(&format!("{}/S3CRET", it.url()), &format!("http = {{ timeout = \"{seconds}s\" }}"))
    };
    let hooks: Vec<String> = all.iter().map(hook).collect();
    let config = write(&(settings(folder.path()) + &hooks.concat()), folder.path(), "linger.toml");
    let served = serve(&lab.far, &config);
    served.ready();
    let _leaky = leak(&lab, "leaky", 80);
    let firing = format!("firing {LEAKY}");
    good.wait_for_alerts(&[&firing]);
    let figure = |name: &str, of: &Receiver| {
        let series = format!("linger_alerts_{name}{{target=\"webhook {}\"}}", of.url());
        served.value(&series).unwrap_or_else(|| panic!("{series} is not in {}", served.metrics()))
    };
    for of in [&busy, &stuck, &flood] {
        wait_for("it is taken in the end", || figure("sent_total", of) == 1.0);
        assert_eq!(figure("queue", of), 0.0, "{}", of.url());
    }
    assert_eq!((figure("failed_total", &busy), figure("failed_total", &flood)), (2.0, 0.0));
    assert!(figure("failed_total", &stuck) >= 1.0);
    // The one that hung may have had it; whoever answered well has it once.
    assert_eq!((busy.alerts().len(), flood.alerts().len()), (3, 1));
    wait_for("it is refused", || figure("dropped_total", &picky) == 1.0);
    assert_eq!((figure("failed_total", &picky), picky.alerts().len()), (1.0, 1));
    wait_for("they are tried again", || {
        figure("failed_total", &moved) >= 2.0 && figure("failed_total", &garbage) >= 2.0
    });
    assert_eq!((figure("queue", &moved), figure("queue", &garbage)), (1.0, 1.0));
    assert_eq!(decoy.got().len(), 0, "no redirect is followed");
    assert_eq!(good.alerts(), [firing], "it is told once");
    // What the buffers of both sides hold, and no more.
    assert!(flood.flooded.load(Ordering::Relaxed) < 64 << 20);
    assert!(served.value("linger_memory_resident_bytes").unwrap() < f64::from(200 << 20));
    let log = log_of(served);
    let lines = |of: &Receiver| log.lines().filter(|line| line.contains(&of.url())).collect::<Vec<_>>();
    for of in [&busy, &stuck] {
        let [first, second] = lines(of)[..] else { panic!("{log}") };
        assert!(first.contains("does not take them") && second.contains("takes them again"), "{log}");
    }
    assert!(lines(&stuck)[0].contains("no answer within 1 s"), "{log}");
    for (of, word) in
        [(&moved, "none is followed"), (&picky, "given up: it answers 400"), (&garbage, "does not take")]
    {
        let [line] = lines(of)[..] else { panic!("{log}") };
        assert!(line.contains(word), "{log}");
    }
    assert_eq!((lines(&good).len(), lines(&flood).len()), (0, 0), "{log}");
    assert!(!log.contains("S3CRET"), "{log}");
}

#[test]
fn a_reload_changes_the_target_and_each_incident_is_an_alert_of_its_own() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Receiver::new(&lab.far, |_| say(200)), Receiver::new(&lab.far, |_| say(200)));
    let critical = Receiver::new(&lab.far, |_| say(200));
    let least = webhook(&critical.url(), "severity = \"critical\"");
    let file = |text: &str| write(&(settings(folder.path()) + &least + text), folder.path(), "linger.toml");
    let config = file(&webhook(&first.url(), ""));
    let mut served = serve(&lab.far, &config);
    served.ready();
    let leaky = leak(&lab, "leaky", 80);
    let _holey = leak(&lab, "holey", 81);
    let firing = ["firing LingerCloseWaitLeak holey", "firing LingerCloseWaitLeak leaky"];
    first.wait_for_alerts(&firing);

    // What does not fit changes nothing.
    file(&webhook("http://me:S3CRET@127.0.0.1:1/", ""));
    served.signal(Signal::HUP);
    let line = served.next_line();
    assert!(line.contains("stays as it is") && line.contains("password_file"), "{line}");
    assert!(!line.contains("S3CRET"), "{line}");
    file(&webhook(&second.url(), "http = { bearer_token_file = \"/nonexistent/token\" }"));
    served.signal(Signal::HUP);
    let line = served.next_line();
    assert!(line.contains("stays as it is") && line.contains("/nonexistent/token"), "{line}");

    let token = write("t0ken\n", folder.path(), "token");
    let http = format!("http = {{ bearer_token_file = {token:?}, headers = {{ X-Team = \"net\" }} }}");
    file(&webhook(&format!("{}/a/path?q=1", second.url()), &http));
    served.signal(Signal::HUP);
    let line = served.next_line();
    assert!(line.contains("read anew"), "{line}");
    second.wait_for_alerts(&firing);
    let head = &second.got()[0].head;
    for word in [
        "post /a/path?q=1 http/1.1",
        "authorization: bearer t0ken",
        "x-team: net",
        "content-type: application/json",
    ] {
        assert!(head.contains(word), "{word} is not in {head}");
    }
    leaky.release().unwrap();
    second.wait_for_alerts(&[firing[0], firing[1], "resolved LingerCloseWaitLeak leaky"]);
    first.wait_for_alerts(&firing);
    assert_eq!(critical.got().len(), 0, "they are no more than warnings");
    assert_eq!(log_of(served), "");
    // Nor does the end resolve what is still there.
    assert_eq!(second.alerts().len(), 3);
}

#[test]
fn a_finding_that_comes_and_goes_is_one_alert() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (hook, manager) = (Receiver::new(&lab.far, |_| say(200)), Receiver::new(&lab.far, |_| say(200)));
    let text = settings(folder.path()).replace("resolve_after = \"0s\"", "resolve_after = \"1h\"");
    let to = format!("[[serve.alerts.alertmanager]]\nurl = \"{}/prefix/\"\n", manager.url());
    let config = write(&(text + &webhook(&hook.url(), "") + &to), folder.path(), "linger.toml");
    let served = serve(&lab.far, &config);
    served.ready();
    let is_found = || served.metrics().contains("severity=\"warning\",subject=\"leaky\"");
    let walks = || served.value("linger_walks_total{reason=\"due\"}").unwrap_or(0.0);
    for _ in 0..2 {
        let leaky = leak(&lab, "leaky", 80);
        wait_for("it is found", is_found);
        leaky.release().unwrap();
        wait_for("it is gone", || !is_found());
        let from = walks();
        wait_for("it is gone for some walks", || walks() > from + 4.0);
    }
    assert_eq!(served.value("linger_alerts{state=\"firing\"}"), Some(1.0));
    hook.wait_for_alerts(&[&format!("firing {LEAKY}")]);
    // An Alertmanager is told again and again, each time with an end that lies ahead.
    wait_for("it is told again", || manager.got().len() >= 3);
    let got = manager.got();
    assert!(got.iter().all(|it| it.head.starts_with("post /prefix/api/v2/alerts ")), "{}", got[0].head);
    let all: Vec<Value> = got.iter().map(|it| it.json()[0].clone()).collect();
    assert!(all.iter().all(|it| it["labels"] == all[0]["labels"] && it["startsAt"] == all[0]["startsAt"]));
    let end = |it: &Value| it["endsAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let ends: Vec<jiff::Timestamp> = all.iter().map(end).collect();
    assert!(ends.is_sorted() && ends[0] < ends[2], "{ends:?}");
}

#[test]
fn tls_is_trusted_by_the_file_that_says_whom() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(text, folder.path(), name);
    let certified = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (own, other) = (certified(), certified());
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let hook = Receiver::with(&lab.far, Some(Arc::new(tls)), |_| say(200));
    let (right, wrong) = (file("own.pem", &own.cert.pem()), file("other.pem", &other.cert.pem()));
    let password = file("password", "s3cret\n");
    let to = |path: &str, ca: &str| {
        let http = format!("{{ ca_file = {ca:?}, username = \"me\", password_file = {password:?} }}");
        webhook(&format!("https://{}{path}", hook.address), &format!("http = {http}"))
    };
    let config = settings(folder.path()) + &to("/right", &right) + &to("/wrong", &wrong);
    let served = serve(&lab.far, &file("linger.toml", &config));
    served.ready();
    let _leaky = leak(&lab, "leaky", 80);
    hook.wait_for_alerts(&[&format!("firing {LEAKY}")]);
    let failed = format!("linger_alerts_failed_total{{target=\"webhook https://{} #2\"}}", hook.address);
    wait_for("the other one is refused", || served.value(&failed) >= Some(2.0));
    let [got] = &hook.got()[..] else { panic!("{:?}", hook.got()) };
    assert!(
        got.head.starts_with("post /right ") && got.head.contains("authorization: basic "),
        "{}",
        got.head
    );
    let log = log_of(served);
    assert!(log.contains("certificate") && log.lines().count() == 1 && !log.contains("s3cret"), "{log}");
}

/// Series of an export as `/metrics` writes them.
fn exported(got: &Got) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let text = |it: &KeyValue| match &it.value.as_ref().unwrap().value {
        Some(any_value::Value::StringValue(text)) => format!("{}={text:?}", it.key),
        other => panic!("{other:?}"),
    };
    for metric in &decoded(got).resource_metrics[0].scope_metrics[0].metrics {
        for point in points(metric.data.as_ref().unwrap()) {
            let labels: Vec<String> = point.attributes.iter().map(text).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let value = match point.value.unwrap() {
                number_data_point::Value::AsInt(n) => n as f64,
                number_data_point::Value::AsDouble(n) => n,
            };
            assert!(
                all.insert(format!("{}{labels}", metric.name), value).is_none(),
                "twice: {}{labels}",
                metric.name
            );
        }
    }
    all
}

fn decoded(got: &Got) -> ExportMetricsServiceRequest {
    assert!(got.head.contains("content-type: application/x-protobuf"), "{}", got.head);
    let mut bytes = got.body.clone();
    if got.head.contains("content-encoding: gzip") {
        bytes.clear();
        flate2::read::GzDecoder::new(&got.body[..]).read_to_end(&mut bytes).unwrap();
    }
    ExportMetricsServiceRequest::decode(&bytes[..]).unwrap()
}

fn points(data: &metric::Data) -> &[NumberDataPoint] {
    match data {
        metric::Data::Gauge(gauge) => &gauge.data_points,
        metric::Data::Sum(sum) => &sum.data_points,
        other => panic!("{other:?}"),
    }
}

/// Series of `/metrics`.
fn scraped(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.map(|line| line.rsplit_once(' ').unwrap());
    series.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

#[test]
fn what_goes_over_otlp_is_what_a_scrape_gets() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let folder = tempfile::tempdir().unwrap();
    let partial = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 3,
            error_message: "three are \u{1b}[31mtoo many".to_owned(),
        }),
    };
    let partial = partial.encode_to_vec();
    // First it cannot, and the same is sent again; then it takes a part; then it does not want it at all.
    let collector = Receiver::new(&lab.far, move |i| match i {
        0 => Reply::Say(503, "Retry-After: 1\r\n".to_owned(), Vec::new()),
        1 => Reply::Say(200, String::new(), partial.clone()),
        2 => say(400),
        _ => Reply::Say(200, String::new(), Vec::new()),
    });
    let config = format!(
        "[serve.otlp]\nurl = \"{}/v1/metrics\"\ninterval = \"2s\"\ngzip = true\nattributes = {{ \"deployment.environment.name\" = \"lab\" }}\n",
        collector.url()
    );
    let config = write(&config, folder.path(), "linger.toml");
    let served = serve(&lab.far, &config);
    served.ready();
    wait_for("exports come", || collector.got().len() >= 5);
    wait_for("they are counted", || served.value("linger_otlp_exports_total") >= Some(2.0));
    assert_eq!(served.value("linger_otlp_failed_total"), Some(2.0));
    assert_eq!(served.value("linger_otlp_rejected_points_total"), Some(3.0));
    let got = collector.got();
    assert!(
        got[0].head.contains("post /v1/metrics") && got[0].head.contains("content-encoding: gzip"),
        "{}",
        got[0].head
    );

    let request = decoded(&got[0]);
    let resource = &request.resource_metrics[0].resource.as_ref().unwrap().attributes;
    let names: Vec<&str> = resource.iter().map(|it| it.key.as_str()).collect();
    for name in ["service.name", "service.version", "host.name", "deployment.environment.name"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let (earlier, later) = (decoded(&got[3]), decoded(&got[4]));
    let sums = |request: &ExportMetricsServiceRequest| {
        let mut sums = BTreeMap::new();
        for metric in &request.resource_metrics[0].scope_metrics[0].metrics {
            let Some(metric::Data::Sum(sum)) = &metric.data else {
                assert!(!metric.name.ends_with("_total"), "{}", metric.name);
                continue;
            };
            assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{}", metric.name);
            assert!(metric.name.ends_with("_total"), "{}", metric.name);
            for point in &sum.data_points {
                assert!((1..=point.time_unix_nano).contains(&point.start_time_unix_nano), "{point:?}");
                sums.insert(format!("{} {:?}", metric.name, point.attributes), point.start_time_unix_nano);
            }
        }
        sums
    };
    let (earlier, later) = (sums(&earlier), sums(&later));
    assert!(earlier.len() > 50);
    assert!(earlier.iter().all(|(series, start)| later.get(series) == Some(start)), "a sum begins once");

    // What stands still while an export is made is the same in it.
    let mut compared = 0;
    wait_for("an export says what /metrics says", || {
        let before = scraped(&served.metrics());
        let count = collector.got().len();
        wait_for("another one comes", || collector.got().len() > count);
        let export = exported(&collector.got()[count]);
        let after = scraped(&served.metrics());
        let still = before.iter().filter(|(series, value)| after.get(*series) == Some(*value));
        // Its own connections come and go in between.
        let still = still.filter(|(series, _)| !series.starts_with("linger_http_"));
        let still: Vec<_> = still.collect();
        compared = still.len();
        let differing: Vec<_> =
            still.into_iter().filter(|(series, value)| export.get(*series) != Some(*value)).collect();
        let invented: Vec<_> =
            export.keys().filter(|it| !before.contains_key(*it) && !after.contains_key(*it)).collect();
        if !differing.is_empty() || !invented.is_empty() {
            println!("again: {differing:?} {invented:?}");
        }
        differing.is_empty() && invented.is_empty()
    });
    assert!(compared > 100, "{compared}");
    let log = log_of(served);
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].contains("otlp: metrics are not taken: it answers 503"), "{log}");
    assert!(
        lines.iter().filter(|it| it.contains("did not take 3 of the values: three are")).count() == 1,
        "{log}"
    );
    assert!(lines.iter().any(|it| it.contains("it answers 400")) && !log.contains('\u{1b}'), "{log}");
    assert!(lines.last().unwrap().contains("taken again"), "{log}");
}

#[test]
fn what_does_not_fit_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (text, word) in [
        ("[serve.alerts]\nfor = 5\n", "a time such as"),
        ("[serve.alerts]\nfor = { bad = \"1s\" }\n", "critical"),
        ("[serve.alerts]\nresolve_after = \"soon\"\n", "a time such as"),
        ("[serve.alerts]\nresend = 5\n", "a time such as"),
        ("[serve.alerts]\nsilence = true\n", "unknown field"),
        ("[[serve.alerts.webhook]]\nurl = \"ftp://x\"\n", "an address such as"),
        ("[[serve.alerts.webhook]]\nurl = \"http://x\"\nseverity = \"bad\"\n", "critical"),
        (
            "[[serve.alerts.webhook]]\nurl = \"http://x\"\n[[serve.alerts.webhook]]\nurl = \"http://x\"\n",
            "named twice",
        ),
        ("[serve.alerts.labels]\ncode = \"x\"\n", "linger's own"),
        ("[serve.alerts.labels]\n\"a-b\" = \"x\"\n", "no name of a label"),
        ("[serve.otlp]\nurl = \"http://x:4318\"\n", "v1/metrics"),
        ("[serve.otlp]\ngzip = true\n", "url is missing"),
        ("[serve.otlp]\nurl = \"http://x/y\"\ninterval = \"1ms\"\n", "at least 1s"),
        ("[serve.otlp]\nurl = \"http://x/y\"\nhttp = { username = \"a\" }\n", "belong together"),
    ] {
        let file = crate::support::config(text);
        let history = folder.path().to_str().unwrap();
        let args = ["serve", "--listen", "127.0.0.1:0", "--history", history, "--config", path_of(&file)];
        let done = linger(&args);
        assert!(done.status == Some(3) && done.stderr.contains(word), "{text}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    }
}
