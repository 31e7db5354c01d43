//! `linger serve` towards those who may ask and those who may not, and towards systemd.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use linger_lab::Host;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::serve::{Answer, Served};
use crate::support::{LINGER, PATIENCE, assert_valid, config, finish, in_ci, lab, path_of, wait_for};

/// A folder with certificates of an authority of its own.
struct Certified {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certified {
    fn new() -> Certified {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certified = Certified { folder: tempfile::tempdir().unwrap(), authority };
        certified.write("ca.pem", &certified.authority.pem());
        certified.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
        certified.issue("client", ExtendedKeyUsagePurpose::ClientAuth);
        certified
    }

    /// NAME.pem and NAME.key.
    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A client that trusts the authority, with its certificate if it has one.
    fn client(&self, certificate: bool) -> Arc<ClientConfig> {
        let file = |name: &str| self.folder.path().join(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let client = if certificate {
            let chain = vec![CertificateDer::from_pem_file(file("client.pem")).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(file("client.key")).unwrap())
        } else {
            Ok(builder.with_no_client_auth())
        };
        Arc::new(client.unwrap())
    }
}

fn request(path: &str, user: Option<&str>) -> String {
    let user = user.map(|pair| format!("Authorization: Basic {}\r\n", STANDARD.encode(pair)));
    let user = user.unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{user}Connection: close\r\n\r\n")
}

/// What is answered over TLS; status 0 where there is no answer.
fn over_tls(served: &Served<'_>, client: &Arc<ClientConfig>, request: &str) -> Answer {
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream: StreamOwned<ClientConnection, TcpStream> =
        StreamOwned::new(ClientConnection::new(client.clone(), name).unwrap(), served.connect());
    let _ = stream.write_all(request.as_bytes());
    Answer::from(&mut stream)
}

/// A hash that is cheap enough for a build without optimisation.
fn hash(password: &str, cost: u32) -> String {
    bcrypt::hash(password, cost).unwrap()
}

#[test]
fn users_are_asked_for_their_password_over_tls_and_pay_for_it_once() {
    let Some(lab) = lab() else { return };
    let certified = Certified::new();
    let web = |users: &str| {
        format!(
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  min_version: TLS13\n\
             http_server_config:\n  headers:\n    X-Frame-Options: deny\nbasic_auth_users:\n{users}"
        )
    };
    let path = certified.write("web.yml", &web(&format!("  prometheus: {}\n", hash("open sesame", 10))));
    // Others may reach it: they are asked.
    let mut served = {
        let mut command = lab.far.command(LINGER).unwrap();
        command.args(["serve", "--listen", "0.0.0.0:0", "--netns", "self", "--web.config.file", &path]);
        Served::start(&lab.far, command)
    };
    served.address.set_ip([10, 77, 0, 2].into());
    let client = certified.client(false);
    let get = |served: &Served<'_>, path: &str, user| over_tls(served, &client, &request(path, user));

    let nobody = get(&served, "/metrics", None);
    assert_eq!(nobody.status, 401, "{nobody:?}");
    assert!(nobody.head.contains("www-authenticate: basic realm=\"linger\""), "{nobody:?}");
    assert!(nobody.body.contains("password") && !nobody.body.contains("linger_"), "{nobody:?}");
    for wrong in ["prometheus:open sesam", "prometheus:", ":", "grafana:open sesame"] {
        assert_eq!(get(&served, "/metrics", Some(wrong)).status, 401, "{wrong}");
    }
    assert_eq!(get(&served, "/nothing", None).status, 401, "not even what there is");
    // Without TLS there is no answer at all.
    assert_eq!(served.raw(request("/metrics", Some("prometheus:open sesame")).as_bytes()).status, 0);

    let cpu = |served: &Served<'_>| -> f64 {
        let answer = get(served, "/metrics", Some("prometheus:open sesame"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.head.contains("x-frame-options: deny"), "{answer:?}");
        let serving = "linger_cpu_seconds_total{part=\"serving\"} ";
        answer.body.lines().find_map(|line| line.strip_prefix(serving)?.parse().ok()).unwrap()
    };
    // What a check costs is seen where it fails; what was right once is not checked again.
    let first = cpu(&served);
    for _ in 0..8 {
        get(&served, "/healthz", Some("prometheus:open sesame"));
    }
    let cached = cpu(&served) - first;
    let before = cpu(&served);
    for _ in 0..8 {
        get(&served, "/healthz", Some("prometheus:wrong"));
    }
    let checked = cpu(&served) - before;
    assert!(cached * 2.0 < checked, "{cached} s of CPU for right passwords, {checked} s for wrong ones");

    // What is wrong changes nothing.
    for (wrong, word) in [
        ("basic_auth_usrs: {}\n".to_owned(), "did you mean basic_auth_users?"),
        (web("  prometheus: open sesame\n"), "the hash of prometheus is none of bcrypt"),
        ("{}\n".to_owned(), "refusing to listen on 0.0.0.0"),
    ] {
        certified.write("web.yml", &wrong);
        served.signal(Signal::HUP);
        let line = served.next_line();
        assert!(line.contains("stays as it is") && line.contains(word), "{line}");
        assert_eq!(get(&served, "/healthz", Some("prometheus:open sesame")).status, 200);
    }
    // A new password, and a new certificate.
    certified.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    certified.write("web.yml", &web(&format!("  prometheus: {}\n", hash("close sesame", 4))));
    served.signal(Signal::HUP);
    assert!(served.next_line().contains("read anew"));
    assert_eq!(get(&served, "/healthz", Some("prometheus:open sesame")).status, 401);
    assert_eq!(get(&served, "/healthz", Some("prometheus:close sesame")).status, 200);
}

#[test]
fn clients_show_a_certificate_where_they_must() {
    let Some(lab) = lab() else { return };
    let certified = Certified::new();
    let path = certified.write(
        "web.yml",
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n\
         \x20 client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n",
    );
    let served = Served::new(&lab.far, &["--web-config", &path]);
    let ask = request("/healthz", None);
    assert_eq!(over_tls(&served, &certified.client(true), &ask).body, "sampling\n");
    assert_eq!(over_tls(&served, &certified.client(false), &ask).status, 0);
    // An authority of the same name is another one.
    let stranger = Certified::new();
    std::fs::copy(certified.folder.path().join("ca.pem"), stranger.folder.path().join("ca.pem")).unwrap();
    assert_eq!(over_tls(&served, &stranger.client(true), &ask).status, 0);
    // A handshake that never comes holds nobody up.
    let _silent = served.connect();
    assert_eq!(over_tls(&served, &certified.client(true), &ask).status, 200);
}

#[test]
fn a_page_that_has_pointed_its_name_here_reads_nothing() {
    let Some(lab) = lab() else { return };
    let served = Served::new(&lab.far, &["--allow-host", "watch.example"]);
    let by = |host: &str| {
        served.raw(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
    };
    for own in ["localhost", "127.0.0.1:9719", "[::1]:9719", "watch.example"] {
        assert_eq!(by(own).status, 200, "{own}");
    }
    let foreign = by("evil.example:9719");
    assert_eq!(foreign.status, 403, "{foreign:?}");
    assert!(foreign.body.contains("evil.example") && foreign.body.contains("--allow-host"), "{foreign:?}");
    let whole = served
        .raw(b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(whole.status, 403, "{whole:?}");
    assert_eq!(served.value("linger_http_denied_requests_total"), Some(2.0));
}

#[test]
fn every_answer_is_as_the_description_says() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history");
    let served = Served::new(&lab.far, &["--cpu-budget", "50", "--history", history.to_str().unwrap()]);
    served.ready();
    let description = served.get("/api/v1/openapi.json", "*/*");
    assert_eq!(description.status, 200, "{description:?}");
    let description: Value = serde_json::from_str(&description.body).unwrap();
    let index = served.get("/", "*/*");
    let page = served.get("/", "text/html,*/*;q=0.1");
    assert!(page.head.contains("text/html") && page.body.starts_with("<!DOCTYPE html>"), "{page:?}");
    for (path, methods) in description["paths"].as_object().unwrap() {
        let answer = served.get(path, "*/*");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let content = methods["get"]["responses"]["200"]["content"].as_object().unwrap();
        let (media, kind) = content.iter().next().unwrap();
        assert!(answer.head.contains(&format!("content-type: {media}")), "{path}: {answer:?}");
        if media == "application/json" {
            let schema = json!({"allOf": [kind["schema"]], "components": description["components"]});
            let body = serde_json::from_str(&answer.body).unwrap();
            assert_valid(&jsonschema::validator_for(&schema).unwrap(), &body);
        }
        assert!(index.body.contains(&format!("\n{path} ")), "{path} is not in\n{}", index.body);
        assert!(page.body.contains(&format!("<a href=\"{path}\">")), "{path} is not in\n{}", page.body);
        let wrong = served.raw(
            format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        assert_eq!((wrong.status, wrong.body.lines().count()), (405, 1), "{path}: {wrong:?}");
        assert!(wrong.head.contains("allow: get") && wrong.body.contains("GET"), "{path}: {wrong:?}");
    }
    let nothing = served.get("/metric", "*/*");
    assert_eq!((nothing.status, nothing.body.lines().count()), (404, 1), "{nothing:?}");
}

/// A service's line of /proc/PID/status for each of its threads.
fn threads(served: &Served<'_>, name: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", served.child.id())).unwrap();
    let line = |path: &Path| {
        // A thread may have ended meanwhile.
        let text = std::fs::read_to_string(path.join("status")).ok()?;
        Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim_start_matches(':').trim().to_owned())
    };
    tasks.filter_map(|task| line(&task.ok()?.path())).collect()
}

#[test]
fn it_keeps_no_capability_that_it_does_not_need() {
    let Some(lab) = lab() else { return };
    let served = Served::new(&lab.far, &[]);
    served.ready();
    // DAC_READ_SEARCH, SYS_PTRACE, SYS_ADMIN.
    let kept = 1u64 << 2 | 1 << 19 | 1 << 21;
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    let expected = kept & u64::from_str_radix(own, 16).unwrap();
    for (set, expected) in [("CapEff", expected), ("CapPrm", expected), ("CapInh", 0), ("CapAmb", 0)] {
        let found = threads(&served, set);
        let expected = format!("{expected:016x}");
        assert!(found.len() >= 2 && found.iter().all(|set| *set == expected), "{set}: {found:?}");
    }
    for bounding in threads(&served, "CapBnd") {
        assert_eq!(u64::from_str_radix(&bounding, 16).unwrap() & !kept, 0, "{bounding}");
    }
    assert!(threads(&served, "NoNewPrivs").iter().all(|it| it == "1"));
}

/// A service manager's end.
struct Notified {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Notified {
    fn new() -> Notified {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Notified { socket, folder }
    }

    fn tell(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
    }

    /// The next message of which a line begins so; others may come before.
    fn wait(&self, beginning: &str) -> String {
        let mut buffer = [0; 1024];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{beginning}: {error}"));
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|line| line.starts_with(beginning)) {
                return message;
            }
        }
    }
}

#[test]
fn systemd_is_told_and_its_words_are_understood() {
    let Some(lab) = lab() else { return };
    let notified = Notified::new();
    let mut command = lab.far.command(LINGER).unwrap();
    command.args(["serve", "--listen", "127.0.0.1:0", "--netns", "self"]);
    command.env("WATCHDOG_USEC", "2000000");
    notified.tell(&mut command);
    let mut served = Served::start(&lab.far, command);
    notified.wait("READY=1");
    for _ in 0..3 {
        notified.wait("WATCHDOG=1");
    }
    served.signal(Signal::HUP);
    let reloading = notified.wait("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    notified.wait("READY=1");
    served.signal(Signal::TERM);
    notified.wait("STOPPING=1");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}

/// linger with a descriptor of its own as the first that systemd hands over.
fn activated(host: &Host, first: OwnedFd, more: &str) -> Command {
    let mut command = host.command("sh").unwrap();
    let script = format!("exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec '{LINGER}' serve {more}");
    command.args(["-c", &script]).stdin(Stdio::from(first));
    command
}

#[test]
fn sockets_that_systemd_opens_are_served_on_the_same_terms() {
    let Some(lab) = lab() else { return };
    let listen =
        |address: &'static str| lab.far.run(move || std::net::TcpListener::bind(address)).unwrap().unwrap();
    let socket = listen("127.0.0.1:0");
    let address = socket.local_addr().unwrap();
    let mut command = activated(&lab.far, socket.into(), "--netns self --no-history");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command);
    let answered = lab.far.run(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request("/healthz", None).as_bytes()).unwrap();
        Answer::from(&mut stream)
    });
    let answered = answered.unwrap();
    let _ = child.kill();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(answered.body, "sampling\n", "{answered:?} {said}");
    assert!(said.contains(&format!("serving http://{address}/metrics")), "{said}");

    let open = listen("0.0.0.0:0");
    let output = activated(&lab.far, open.into(), "--no-history").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && said.contains("refusing to listen on 0.0.0.0"), "{said}");
    let file = tempfile::tempfile().unwrap();
    let output = activated(&lab.far, file.into(), "--no-history").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && said.contains("ListenStream="), "{said}");
}

#[test]
fn the_journal_gets_priorities() {
    let Some(lab) = lab() else { return };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stat = rustix::fs::fstat(&writer).unwrap();
    let wrong = config("[TW0]\n");
    let file = config("");
    let mut command = lab.far.command(LINGER).unwrap();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--netns",
        "self",
        "--no-history",
        "--config",
        path_of(&file),
    ]);
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut said = String::new();
    let mut until = |word: &str, said: &mut String| {
        let mut byte = [0];
        while !said.contains(word) || !said.ends_with('\n') {
            reader.read_exact(&mut byte).unwrap_or_else(|error| panic!("{word}: {error} after {said}"));
            said.push(char::from(byte[0]));
        }
    };
    until("serving", &mut said);
    std::fs::copy(wrong.path(), file.path()).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    until("stays as it is", &mut said);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    child.wait().unwrap();
    assert!(said.lines().next().unwrap().starts_with("<6>serving http://"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("<3>the configuration in force"), "{said}");
}

/// What `systemd-analyze security` says of the unit of systemd 252; later ones may look at more.
const EXPOSURE: &str = "2.5";

#[test]
fn the_unit_is_as_hard_as_its_page_says() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/linger.service");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/serve.md")).unwrap();
    assert!(page.contains(&format!("exposure level {EXPOSURE}")), "docs/serve.md says something else");
    let mut command = Command::new("systemd-analyze");
    if let Err(error) = command.arg("--version").output() {
        assert!(!in_ci(), "systemd-analyze: {error}");
        println!("SKIPPED: systemd-analyze: {error}");
        return;
    }
    let version = finish(&mut command).stdout;
    let done = finish(Command::new("systemd-analyze").args([
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=30",
        unit,
    ]));
    assert_eq!(done.status, Some(0), "{done:?}");
    if version.starts_with("systemd 252 ") {
        let overall = format!("Overall exposure level for linger.service: {EXPOSURE} OK");
        assert!(done.stdout.contains(&overall), "{}", done.stdout.lines().last().unwrap_or_default());
    }
}

#[test]
fn a_certificate_that_was_renewed_is_taken_without_a_word() {
    let Some(lab) = lab() else { return };
    let certified = Certified::new();
    let path =
        certified.write("web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\n");
    let mut served = Served::new(&lab.far, &["--web-config", &path]);
    let (client, ask) = (certified.client(false), request("/healthz", None));
    assert_eq!(over_tls(&served, &client, &ask).status, 200);
    // One of another authority: who trusts the old one alone no longer connects.
    let stranger = Certified::new();
    for name in ["server.pem", "server.key"] {
        std::fs::copy(stranger.folder.path().join(name), certified.folder.path().join(name)).unwrap();
    }
    let line = served.next_line();
    assert!(line.contains("anew") || line.contains("stays as it is"), "{line}");
    let stranger = stranger.client(false);
    wait_for("the new one is shown", || over_tls(&served, &stranger, &ask).status == 200);
    assert_eq!(over_tls(&served, &client, &ask).status, 0);
}
