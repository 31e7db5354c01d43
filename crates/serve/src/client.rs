//! The HTTP client of what is sent to others: bounded in time and in what it takes from an answer.
//!
//! It follows no redirects and knows no proxies: what the configuration names is who gets it.

use crate::span::Span;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// Bytes of an answer's body and head that are read; the rest is left unread.
const MOST_BODY: u64 = 64 << 10;
const MOST_HEAD: usize = 16 << 10;
/// The longest file with a secret, and the longest with certificates.
const MOST_SECRET: u64 = 4 << 10;
const MOST_CERTIFICATES: u64 = 4 << 20;
/// The longest timeout.
const MOST_TIME: Duration = Duration::from_secs(60);
/// The first and the longest wait after a failure, and the longest that a server may ask for.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
const MOST_ASKED: Duration = Duration::from_secs(300);

/// Where something is sent. What is printed of it is its origin alone: a path may be a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Url {
    text: String,
    origin: String,
    tls: bool,
    path: bool,
}

impl Url {
    /// `http://host:port`, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The whole address, which may be a secret.
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// Whether it has a path beyond `/`.
    pub fn has_path(&self) -> bool {
        self.path
    }

    /// The address of something below it.
    pub fn join(&self, path: &str) -> Url {
        let text = format!("{}{path}", self.text.trim_end_matches('/'));
        Url { text, path: true, ..self.clone() }
    }
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Url, String> {
        // The address itself is not repeated: it may hold a secret.
        let wrong = || "an address such as http://127.0.0.1:9093 is expected".to_owned();
        if text.contains('#') || text.len() > 2000 {
            return Err(wrong());
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        if authority.as_str().contains('@') {
            return Err(
                "no password belongs into an address; http = { … } has username and password_file, or \
                        bearer_token_file"
                    .to_owned(),
            );
        }
        // A port that is none is part of neither.
        let port = authority.port_u16().map_or(String::new(), |port| format!(":{port}"));
        if authority.host().is_empty() || authority.as_str() != format!("{}{port}", authority.host()) {
            return Err(wrong());
        }
        let origin = format!("{scheme}://{authority}");
        let path = !matches!(uri.path_and_query().map_or("/", |it| it.as_str()), "" | "/");
        Ok(Url { tls: scheme == "https", origin, path, text })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// How to reach an address: who one is there, whom to trust, how long to wait.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// For basic authentication.
    pub username: Option<String>,
    /// Its password, in a file; read anew each time.
    pub password_file: Option<PathBuf>,
    /// A bearer token, in a file; read anew each time.
    pub bearer_token_file: Option<PathBuf>,
    /// Certificates (PEM) of who is trusted; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// More headers.
    pub headers: BTreeMap<String, String>,
    /// Until the answer is there.
    pub timeout: Span,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            username: None,
            password_file: None,
            bearer_token_file: None,
            ca_file: None,
            headers: BTreeMap::new(),
            timeout: Span::seconds(10),
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may be secrets.
        f.debug_struct("Http").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What became of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken; the beginning of the answer's body.
    Accepted(Vec<u8>),
    /// It may be taken another time.
    Later {
        /// Why it was not.
        why: String,
        /// The server's wish.
        after: Option<Duration>,
        /// The status, where there was an answer.
        status: Option<u16>,
    },
    /// It will never be taken.
    Refused(String),
}

/// Sends to one address.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: Url,
    http: Http,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Client {
    /// # Errors
    /// A sentence about what of the configuration is wrong, or cannot be read.
    pub fn new(url: &Url, http: &Http) -> Result<Client, String> {
        let of = |why: &str| format!("{}: {why}", url.origin());
        if http.username.is_some() != http.password_file.is_some() {
            return Err(of("username and password_file belong together"));
        }
        if http.username.is_some() && http.bearer_token_file.is_some() {
            return Err(of("there is either a username or a bearer_token_file"));
        }
        if http.username.as_ref().is_some_and(|name| name.contains(':')) {
            return Err(of("a username for basic authentication has no colon"));
        }
        if http.timeout.0.is_zero() || http.timeout.0 > MOST_TIME {
            return Err(of("timeout: a time of up to 60s is expected"));
        }
        let headers = http.headers.iter().map(|(name, value)| {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| of("headers: one of the names is no header's name"))?;
            let mut value = HeaderValue::try_from(value.as_str())
                .map_err(|_| of(&format!("headers: the value of {name} is no header's value")))?;
            value.set_sensitive(true);
            Ok((name, value))
        });
        let headers = headers.collect::<Result<Vec<_>, String>>()?;
        if http.ca_file.is_some() && !url.tls {
            return Err(of("ca_file is for https"));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_response_header_size(MOST_HEAD)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .timeout_global(Some(http.timeout.0))
            .user_agent(concat!("linger/", env!("CARGO_PKG_VERSION")));
        if url.tls {
            let tls = TlsConfig::builder()
                .root_certs(roots(http.ca_file.as_deref()).map_err(|why| of(&why))?)
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
            config = config.tls_config(tls.build());
        }
        let client =
            Client { agent: config.build().new_agent(), url: url.clone(), http: http.clone(), headers };
        client.authorization().map_err(|why| of(&why))?;
        Ok(client)
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let (text, path) = match (&self.http.bearer_token_file, &self.http.username, &self.http.password_file)
        {
            (Some(path), ..) => (format!("Bearer {}", secret(path)?), path),
            (None, Some(name), Some(path)) => {
                (format!("Basic {}", BASE64.encode(format!("{name}:{}", secret(path)?))), path)
            }
            _ => return Ok(None),
        };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| format!("{}: no header can hold what is in it", path.display()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Sends it and takes the answer, within the timeout.
    pub fn post(&self, kind: &str, encoding: Option<&str>, body: &[u8]) -> Outcome {
        let later = |why: String| Outcome::Later { why, after: None, status: None };
        let authorization = match self.authorization() {
            Ok(authorization) => authorization,
            Err(why) => return later(why),
        };
        let mut request = self.agent.post(self.url.secret()).header("Content-Type", kind);
        if let Some(encoding) = encoding {
            request = request.header("Content-Encoding", encoding);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(ureq::Error::Timeout(_)) => {
                return later(format!("no answer within {} s", self.http.timeout.0.as_secs_f64()));
            }
            Err(ureq::Error::Io(error)) => return later(error.to_string()),
            Err(error) => return later(error.to_string()),
        };
        let (status, headers) = (response.status(), response.headers());
        let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
        let after = header("retry-after").and_then(|it| it.trim().parse().ok()).map(Duration::from_secs);
        let location = header("location").and_then(|it| Url::try_from(it.to_owned()).ok());
        let mut answer = Vec::new();
        // What is beyond is left: the connection is not used again.
        let read = response.body_mut().as_reader().take(MOST_BODY).read_to_end(&mut answer);
        let word = String::from_utf8_lossy(&answer[..answer.len().min(200)]).trim().to_owned();
        let word = if word.is_empty() { word } else { format!(": {word}") };
        let later = |why| Outcome::Later { why, after, status: Some(status.as_u16()) };
        match status {
            // Who has said yes has it, whatever became of the rest of the answer.
            it if it.is_success() => match read {
                Ok(_) => Outcome::Accepted(answer),
                Err(_) => Outcome::Accepted(Vec::new()),
            },
            // It is this message that they do not take.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Outcome::Refused(format!("it answers {status}{word}"))
            }
            it if it.is_redirection() => {
                let to = location.map_or(String::new(), |url| format!(" to {}", url.origin()));
                later(format!("it answers {status}, a redirect{to}, and none is followed"))
            }
            _ => later(format!("it answers {status}{word}")),
        }
    }
}

fn secret(path: &Path) -> Result<String, String> {
    let bytes = read(path, MOST_SECRET)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: it is not UTF-8", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(format!("{}: it is empty", path.display())) } else { Ok(text.to_owned()) }
}

/// A regular file: a device never ends, and a pipe may never begin.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let of = |why: String| format!("cannot read {}: {why}", path.display());
    if !path.metadata().map_err(|error| of(error.to_string()))?.is_file() {
        return Err(of("it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| of(error.to_string()))?;
    if bytes.len() as u64 > most { Err(of(format!("it has more than {most} bytes"))) } else { Ok(bytes) }
}

fn roots(file: Option<&Path>) -> Result<RootCerts, String> {
    let certificates: Vec<Certificate<'static>> = match file {
        Some(path) => {
            let pem = read(path, MOST_CERTIFICATES)?;
            let items = ureq::tls::parse_pem(&pem).collect::<Result<Vec<_>, _>>();
            let items = items.map_err(|error| format!("{}: {error}", path.display()))?;
            let certificates = items.into_iter().filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            });
            certificates.collect()
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
        }
    };
    if certificates.is_empty() {
        return Err(match file {
            Some(path) => format!("{}: there is no certificate in it (PEM is expected)", path.display()),
            None => "this system has no certificates to trust (Debian's package ca-certificates); ca_file \
                     names some"
                .to_owned(),
        });
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// How long to wait after so many failures in a row: twice as long each time, and less by chance, so that many that
/// failed together do not come back together.
pub fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST);
    let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    doubled.mul_f64(0.5 + chance / 2.0).max(asked.unwrap_or_default().min(MOST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn url(text: &str) -> Result<Url, String> {
        Url::try_from(text.to_owned())
    }

    #[test]
    fn addresses_are_read_and_secrets_in_them_are_not_repeated() {
        let slack = url("https://hooks.example:8443/services/T0/S3CRET").expect("an address");
        assert_eq!((slack.origin(), slack.has_path()), ("https://hooks.example:8443", true));
        assert!(!format!("{slack:?}").contains("S3CRET"));
        let plain = url("http://[::1]:9093/").expect("an address");
        assert_eq!(plain.join("/api").secret(), "http://[::1]:9093/api");
        assert!(!plain.has_path());
        for wrong in [
            "",
            "x",
            "ftp://a/",
            "http://",
            "http:///x",
            "/x",
            "a:80",
            "http://a b/",
            "http://a/#f",
            "http://u:S3CRET@a/",
            "https://S3CRET@a/",
            "http://a:S3CRET/",
        ] {
            let why = url(wrong).expect_err(wrong);
            assert!(!why.contains("S3CRET"), "{why}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_when_the_configuration_is_read() {
        let (http, https) = (url("http://a:1").expect("one"), url("https://a:1").expect("one"));
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let path = Some(file.path().to_owned());
        let name = Some("n".to_owned());
        let headers = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let refused = |url: &Url, http: Http| Client::new(url, &http).expect_err("refused");
        assert!(
            refused(&http, Http { username: name.clone(), ..Http::default() }).contains("belong together")
        );
        let empty = Http { username: name.clone(), password_file: path.clone(), ..Http::default() };
        assert!(refused(&http, empty.clone()).contains("it is empty"));
        assert!(refused(&http, Http { ca_file: path.clone(), ..Http::default() }).contains("for https"));
        assert!(
            refused(&https, Http { ca_file: path.clone(), ..Http::default() }).contains("no certificate")
        );
        let gone = Some(PathBuf::from("/nonexistent/token"));
        assert!(
            refused(&http, Http { bearer_token_file: gone, ..Http::default() })
                .contains("/nonexistent/token")
        );
        let device = Some(PathBuf::from("/dev/zero"));
        assert!(
            refused(&http, Http { bearer_token_file: device, ..Http::default() }).contains("regular file")
        );
        for headers in [headers("a b", "c"), headers("a", "b\r\nc: d")] {
            assert!(refused(&http, Http { headers, ..Http::default() }).contains("headers"));
        }
        let long = Http { timeout: Span::seconds(61), ..Http::default() };
        assert!(refused(&http, long).contains("timeout"));
        file.write_all(b"secret\n").expect("written");
        let client = Client::new(&http, &empty).expect("one that fits");
        let value = client.authorization().expect("read").expect("some");
        assert_eq!(value.to_str().expect("text"), format!("Basic {}", BASE64.encode("n:secret")));
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_are_not_all_alike() {
        for failures in [1, 2, 5, 7, 100, u32::MAX] {
            let most = FIRST.as_secs_f64() * 2f64.powi(i32::try_from(failures.min(20)).unwrap_or(0) - 1);
            let most = most.min(LONGEST.as_secs_f64());
            for _ in 0..50 {
                let pause = pause(failures, None).as_secs_f64();
                assert!((most * 0.49..=most * 1.01).contains(&pause), "{failures}: {pause} of {most}");
            }
        }
        assert_ne!(pause(9, None), pause(9, None));
        assert_eq!(pause(1, Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(pause(1, Some(Duration::from_secs(90_000))), MOST_ASKED);
    }
}
