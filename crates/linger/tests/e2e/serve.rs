//! `linger serve`: what Prometheus gets, what a hostile peer cannot do, and signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use linger_lab::{Client, Close, Host};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{
    LINGER, PATIENCE, assert_valid, begin, client, config, in_ci, lab, linger, load, path_of, run_all,
    schema, server, start, wait_for,
};

/// A service inside a host; it ends with this value.
pub struct Served<'a> {
    host: &'a Host,
    pub child: Child,
    log: BufReader<ChildStderr>,
    pub address: SocketAddr,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// 0 where there was none.
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Reads one, up to the end of the connection.
    pub fn from(stream: &mut impl Read) -> Answer {
        let mut all = Vec::new();
        // A connection that is reset ends it, too.
        let _ = stream.read_to_end(&mut all);
        let all = String::from_utf8(all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }
}

impl<'a> Served<'a> {
    pub fn new(host: &'a Host, args: &[&str]) -> Served<'a> {
        let mut command = host.command(LINGER).unwrap();
        command.args(["serve", "--listen", "127.0.0.1:0", "--netns", "self"]).args(args);
        Served::start(host, command)
    }

    /// Starts it by a command of its own.
    pub fn start(host: &'a Host, mut command: Command) -> Served<'a> {
        // The host's own history is none of a test's.
        if !command.get_args().any(|arg| arg == "--history") {
            command.arg("--no-history");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        // Warnings may come before it.
        while !said.contains("serving http") {
            assert_ne!(log.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        let address = said.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("no address: {said}")).parse().unwrap();
        Served { host, child, log, address }
    }

    pub fn connect(&self) -> TcpStream {
        let address = self.address;
        let stream = self.host.run(move || TcpStream::connect(address)).unwrap().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What is answered to these bytes, up to the end of the connection.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // Whoever is turned away may find the connection reset before all is sent.
        let _ = stream.write_all(bytes);
        Answer::from(&mut stream)
    }

    pub fn get(&self, path: &str, accept: &str) -> Answer {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        self.raw(head.as_bytes())
    }

    pub fn metrics(&self) -> String {
        let answer = self.get("/metrics", "text/plain");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// The value of a series.
    pub fn value(&self, series: &str) -> Option<f64> {
        let line = format!("{series} ");
        self.metrics().lines().find_map(|it| it.strip_prefix(&line)?.parse().ok())
    }

    pub fn ready(&self) {
        wait_for("it is ready", || self.get("/readyz", "*/*").status == 200);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line
    }
}

/// What promtool says of metrics; nothing, and a word about it, where it is missing. In CI it must not be.
fn promtool(metrics: &str) {
    let command = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match command {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !in_ci() => {
            println!("SKIPPED: promtool is missing (Debian's package prometheus)");
            return;
        }
        Err(error) => panic!("promtool: {error}"),
    };
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty() && output.stdout.is_empty(), "{said}\n{metrics}");
}

#[test]
fn the_metrics_say_what_is_there_and_promtool_accepts_them() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let _clients = run_all(&lab.near, Client { close: Close::Never, ..client(30) });
    let served = Served::new(&lab.far, &["--cpu-budget", "50"]);
    served.ready();
    // Its own connections are on loopback and not accepted by the server.
    let accepted = "linger_listener_sockets{netns=\"self\",listener=\"10.77.0.2:80\",state=\"established\"}";
    wait_for("all connections are seen", || served.value(accepted) == Some(30.0));
    let metrics = served.metrics();
    promtool(&metrics);
    for series in [
        "linger_sockets{netns=\"self\",state=\"close_wait\"} 0\n",
        "linger_findings{netns=\"self\",severity=\"critical\"} 0\n",
        "linger_kernel_events_total{netns=\"self\",counter=\"TcpExt.ListenOverflows\"} 0\n",
        "linger_config_last_reload_successful 1\n",
        "linger_cpu_budget_ratio 0.5\n",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    assert!(served.value("linger_cpu_seconds_total{part=\"sampling\"}").unwrap() > 0.0);
    assert!(served.value("linger_memory_resident_bytes").unwrap() > 0.0);

    let open = served.get("/metrics", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{open:?}");
    assert!(open.body.ends_with("# EOF\n"));

    let json = |path: &str| -> Value {
        let answer = served.get(path, "*/*");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    };
    let report = json("/api/v1/report");
    assert_valid(&schema("reports"), &report);
    assert_eq!(report["reports"].as_array().unwrap().len(), 1);
    let snapshot = json("/api/v1/snapshot");
    assert!(
        snapshot["namespaces"][0]["sockets"]["states"]["established"].as_u64().unwrap() >= 30,
        "{snapshot}"
    );
    assert!(snapshot["namespaces"][0]["counters"]["Tcp.PassiveOpens"].as_u64().unwrap() >= 30, "{snapshot}");
    assert_eq!(served.get("/healthz", "*/*").body, "sampling\n");
}

#[test]
fn hostile_peers_get_their_answer_and_metrics_are_still_served() {
    let Some(lab) = lab() else { return };
    let served = Served::new(&lab.far, &["--max-connections", "4"]);
    served.ready();
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    for (bytes, status) in [
        (&b"\x00\xff\x16\x03\x01 nonsense\r\n\r\n"[..], 400),
        (long.as_bytes(), 431),
        (many.as_bytes(), 431),
        (b"GET /metrics HTTP/9.9\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n", 200),
        (b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nx", 405),
    ] {
        let answer = served.raw(bytes);
        // Closing over what is still unread may reset the connection before the answer is read.
        assert!([status, 0].contains(&answer.status), "{status}: {answer:?}");
    }
    assert_eq!(served.get("/readyz", "*/*").status, 200);

    // Half-open requests take every place; each is given up in time, without a word from its peer.
    let half_open = || {
        let mut stream = served.connect();
        stream.write_all(b"GET /metrics HTT").unwrap();
        stream
    };
    let _half: Vec<TcpStream> = (0..4).map(|_| half_open()).collect();
    wait_for("they are given up", || served.get("/readyz", "*/*").status == 200);
    assert_eq!(served.value("linger_http_limit_connections"), Some(4.0));

    // Readers that do not read.
    let ask = "GET /metrics HTTP/1.1\r\n\r\n".repeat(200);
    let slow = || {
        let mut stream = served.connect();
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let _ = stream.write_all(ask.as_bytes());
        stream
    };
    let _slow: Vec<TcpStream> = (0..4).map(|_| slow()).collect();
    wait_for("they are given up, too", || served.get("/readyz", "*/*").status == 200);
}

/// Resident bytes, and open descriptors.
fn size(served: &Served<'_>) -> (u64, usize) {
    let of = format!("/proc/{}", served.child.id());
    let status = std::fs::read_to_string(format!("{of}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (kib << 10, std::fs::read_dir(format!("{of}/fd")).unwrap().count())
}

#[test]
fn a_thousand_scrapes_at_once_are_bounded_in_memory_and_lose_nobody_for_long() {
    let Some(lab) = lab() else { return };
    let served = Served::new(&lab.far, &["--cpu-budget", "1"]);
    served.ready();
    served.metrics();
    let (before, descriptors) = size(&served);
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answered = 0;
    let mut most = (before, descriptors);
    for _ in 0..3 {
        let mut all: Vec<TcpStream> = (0..1000).map(|_| served.connect()).collect();
        for stream in &mut all {
            // It may have been turned away before.
            let _ = stream.write_all(ask);
        }
        let now = size(&served);
        most = (most.0.max(now.0), most.1.max(now.1));
        for stream in &mut all {
            let answer = Answer::from(stream);
            assert!([0, 200, 503].contains(&answer.status), "{answer:?}");
            answered += u32::from(answer.status == 200 && answer.body.contains("linger_sockets{"));
        }
    }
    // At least as many as it serves at a time, once.
    assert!(answered >= 64, "{answered} of 3000");
    assert!(most.1 <= descriptors + 64 + 8, "{} descriptors, and {descriptors} before", most.1);
    let limit = before + (32 << 20);
    assert!(most.0 <= limit, "{} bytes resident, and {before} before", most.0);
    wait_for("it serves as before", || served.value("linger_http_connections") == Some(1.0));
    assert!(served.value("linger_http_refused_connections_total").is_some());
    wait_for("its descriptors are as before", || size(&served).1 <= descriptors);
}

#[test]
fn ten_hours_of_sampling_leave_it_as_large_as_it_was() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let _load = begin(&lab.near, load(50.0));
    // A second takes a millisecond; walks are bounded by the budget, which is of real time.
    let served = Served::new(&lab.far, &["--second-ms", "1", "--cpu-budget", "30"]);
    let readings = || served.value("linger_readings_total").unwrap_or(0.0);
    // It takes as long as it takes, as long as it goes on.
    let wait = |count: f64| {
        let mut so_far = readings();
        while so_far < count {
            wait_for("more readings", || readings() > so_far);
            std::thread::sleep(Duration::from_millis(300));
            so_far = readings();
        }
    };
    wait(3600.0);
    let (before, descriptors) = size(&served);
    wait(36_000.0);
    assert!(served.value("linger_walks_total{reason=\"due\"}").unwrap() > 10.0);
    let (after, now) = size(&served);
    assert!(after < before + (4 << 20), "{after} bytes resident, {before} after an hour");
    assert!(now <= descriptors + 2, "{now} descriptors, {descriptors} after an hour");
}

#[test]
fn signals_reload_and_end_it() {
    let Some(lab) = lab() else { return };
    let file = config("[TW005]\nmany_sockets = 7\n");
    let mut served = Served::new(&lab.far, &["--config", path_of(&file)]);
    served.ready();
    let reload = "linger_config_last_reload_successful";
    std::fs::write(file.path(), "[TW005]\nmany_socks = 7\n").unwrap();
    served.signal(Signal::HUP);
    let line = served.next_line();
    assert!(
        line.contains("stays as it is") && line.contains("line 2") && line.contains("many_sockets?"),
        "{line}"
    );
    wait_for("the failure is a metric", || served.value(reload) == Some(0.0));
    std::fs::write(file.path(), "[TW005]\nmany_sockets = 8\n").unwrap();
    served.signal(Signal::HUP);
    let line = served.next_line();
    assert!(line.contains("read anew"), "{line}");
    wait_for("the success is a metric", || served.value(reload) == Some(1.0));

    // Neither an idle connection nor half a request holds it.
    let _idle = served.connect();
    let mut half = served.connect();
    half.write_all(b"GET /metr").unwrap();
    served.signal(Signal::TERM);
    let status = served.child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(served.next_line(), "", "it has nothing to complain of");
}

#[test]
fn it_is_refused_where_others_could_read_it() {
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:10.0.0.1]:0"] {
        let done = linger(&["serve", "--listen", address]);
        assert_eq!(done.status, Some(3), "{done:?}");
        assert!(
            done.stderr.contains("refusing to listen") && done.stderr.contains("--open-to-others"),
            "{done:?}"
        );
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = linger(&["serve", "--listen", &address]);
    assert!(
        done.status == Some(3) && done.stderr.contains("in use") && done.stderr.contains("--listen"),
        "{done:?}"
    );
    let wrong = config("[TW0]\n");
    let done = linger(&["serve", "--listen", "127.0.0.1:0", "--config", path_of(&wrong)]);
    assert!(done.status == Some(3) && done.stderr.contains("TW0"), "{done:?}");
}
