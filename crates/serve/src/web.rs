//! TLS, users and headers, by the web configuration of Prometheus's exporters (exporter-toolkit's web-config).

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use ring::hmac;
use ring::rand::SystemRandom;
use rustix::time::ClockId;
use rustls::crypto::{CryptoProvider, ring as crypto};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::state::{State, nanoseconds};

/// From this cost on, one check of a password takes seconds.
const MOST_COST: u32 = 15;

/// Reads a small text file whole; the error is a sentence for a person.
pub type ReadFile = fn(&Path) -> Result<String, String>;
/// `; did you mean …?` about a word and those that would be right, or nothing.
pub type Nearest = fn(&str, &[&str]) -> String;

/// What the file says.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tls_server_config: Option<Tls>,
    http_server_config: Option<Http>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    cert_file: Option<PathBuf>,
    cert: Option<String>,
    key_file: Option<PathBuf>,
    key: Option<String>,
    client_ca_file: Option<PathBuf>,
    client_ca: Option<String>,
    client_auth_type: Option<String>,
    client_allowed_sans: Option<IgnoredAny>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<String>>,
    curve_preferences: Option<Vec<String>>,
    /// Without effect in exporters, too.
    prefer_server_cipher_suites: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Http {
    /// HTTP/2 is an offer; it is never made here.
    http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

/// A user's hash, and the password that last fitted it, as its tag: a scrape does not pay for bcrypt.
#[derive(Debug)]
struct User {
    hash: String,
    fits: Mutex<Option<hmac::Tag>>,
}

/// What is in force.
#[derive(Debug, Clone)]
pub struct Web {
    /// For new connections; without, they are plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// In every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    users: Arc<BTreeMap<String, User>>,
    /// Keys the tags; it never leaves this process.
    key: Arc<hmac::Key>,
    verified_clients: bool,
    /// The files it was made of, as they were then.
    sources: Vec<(PathBuf, Stamp)>,
}

/// What tells one state of a file from another: device, inode, size, time.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

impl Web {
    /// Of a web configuration file, or of none: plain and open to whoever connects.
    ///
    /// # Errors
    /// A sentence about what is wrong, with the file's name.
    pub fn read(path: Option<&Path>, read: ReadFile, nearest: Nearest) -> Result<Web, String> {
        let mut reader = Reader { read, nearest, folder: Path::new("."), sources: Vec::new() };
        let Some(path) = path else { return reader.make(File::default()) };
        reader.folder = path.parent().unwrap_or(Path::new("."));
        reader.sources.push((path.to_owned(), stamp(path)));
        read(path)
            .and_then(|text| reader.parse(&text))
            .and_then(|file| reader.make(file))
            .map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Whether whoever connects has to prove who it is.
    pub fn asks(&self) -> bool {
        !self.users.is_empty() || self.verified_clients
    }

    /// Whether a password goes over the wire as it is.
    pub fn is_clear_text(&self) -> bool {
        self.tls.is_none() && !self.users.is_empty()
    }

    /// Whether one of the files is no longer what it was: a renewed certificate.
    pub fn is_old(&self) -> bool {
        self.sources.iter().any(|(path, then)| stamp(path) != *then)
    }

    /// The same, of the files as they are now.
    pub fn seen(&self) -> Web {
        let sources = self.sources.iter().map(|(path, _)| (path.clone(), stamp(path))).collect();
        Web { sources, ..self.clone() }
    }

    /// Whether a request with these headers comes from a user. Takes as long for a user that there is not.
    pub async fn admits(&self, headers: &HeaderMap, state: &Arc<State>) -> bool {
        if self.users.is_empty() {
            return true;
        }
        let Some((name, password)) = credentials(headers) else { return false };
        let known = self.users.contains_key(&name);
        if let Some(user) = self.users.get(&name) {
            let fits = *user.fits.lock().unwrap_or_else(PoisonError::into_inner);
            if fits.is_some_and(|tag| hmac::verify(&self.key, &password, tag.as_ref()).is_ok()) {
                return true;
            }
        }
        // The runtime has one thread for this: whoever guesses takes turns.
        let (users, key, state) = (self.users.clone(), self.key.clone(), state.clone());
        let check = move || {
            let before = nanoseconds(ClockId::ThreadCPUTime);
            let user = users.get(&name).or_else(|| users.values().next());
            let fits =
                user.is_some_and(|user| bcrypt::verify(&password, &user.hash).unwrap_or(false)) && known;
            if let (true, Some(user)) = (fits, user) {
                *user.fits.lock().unwrap_or_else(PoisonError::into_inner) = Some(hmac::sign(&key, &password));
            }
            let took = nanoseconds(ClockId::ThreadCPUTime).saturating_sub(before);
            state.checking_ns.fetch_add(took, Ordering::Relaxed);
            fits
        };
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }
}

/// User and password of a Basic authorization (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = STANDARD.decode(encoded.trim()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some((String::from_utf8(pair[..colon].to_vec()).ok()?, pair[colon + 1..].to_vec()))
}

struct Reader<'a> {
    read: ReadFile,
    nearest: Nearest,
    folder: &'a Path,
    sources: Vec<(PathBuf, Stamp)>,
}

impl Reader<'_> {
    fn parse(&self, text: &str) -> Result<File, String> {
        use serde_saphyr::Error;
        // Nothing but comments is no mapping to the parser, and a right configuration.
        if text.lines().all(|line| matches!(line.trim_start().bytes().next(), None | Some(b'#'))) {
            return Ok(File::default());
        }
        serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let place = error
                .location()
                .map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
            let said = match error {
                Error::SerdeUnknownField { field, expected, .. } => {
                    let near = (self.nearest)(field, expected);
                    let known =
                        if near.is_empty() { format!("; known are {}", expected.join(", ")) } else { near };
                    format!("{field} is no key of a web configuration{known}")
                }
                Error::DuplicateMappingKey { key, .. } => {
                    format!("{} is there twice", key.as_deref().unwrap_or("a key"))
                }
                other => {
                    let text = other.to_string();
                    let end = text.find(" at line ").or_else(|| text.find('\n')).unwrap_or(text.len());
                    format!("not a web configuration: {}", &text[..end])
                }
            };
            place + &said
        })
    }

    fn make(mut self, file: File) -> Result<Web, String> {
        if file.rate_limit.is_some() {
            return Err(
                "rate_limit is not there: --max-connections bounds what is served at a time".to_owned()
            );
        }
        let users = file.basic_auth_users.unwrap_or_default();
        for (name, hash) in &users {
            check_hash(hash).map_err(|why| format!("basic_auth_users: the hash of {name} {why}"))?;
        }
        let users =
            users.into_iter().map(|(name, hash)| (name, User { hash, fits: Mutex::new(None) })).collect();
        let headers = file.http_server_config.and_then(|http| http.headers).unwrap_or_default();
        let headers = self.headers(headers).map_err(|why| format!("http_server_config.headers: {why}"))?;
        let (tls, verified_clients) = match file.tls_server_config {
            Some(tls) => {
                let (tls, verified) = self.tls(tls).map_err(|why| format!("tls_server_config: {why}"))?;
                (Some(tls), verified)
            }
            None => (None, false),
        };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system has no random numbers".to_owned())?;
        let sources = self.sources;
        Ok(Web { tls, headers, users: Arc::new(users), key: Arc::new(key), verified_clients, sources })
    }

    /// Those that exporters allow; two of them have few values.
    fn headers(&self, headers: BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        const KNOWN: [(&str, &[&str]); 5] = [
            ("Content-Security-Policy", &[]),
            ("Strict-Transport-Security", &[]),
            ("X-Content-Type-Options", &["nosniff"]),
            ("X-Frame-Options", &["deny", "sameorigin"]),
            ("X-XSS-Protection", &[]),
        ];
        let one = |(name, value): (String, String)| {
            let Some((_, values)) = KNOWN.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) else {
                let names = KNOWN.map(|(known, _)| known);
                let near = (self.nearest)(&name, &names);
                return Err(format!("{name} is none of {}{near}", names.join(", ")));
            };
            if !values.is_empty() && !values.iter().any(|known| value.eq_ignore_ascii_case(known)) {
                return Err(format!("{name}: {value} is none of {}", values.join(", ")));
            }
            let bad = || format!("{name}: its value is no header's");
            let value = HeaderValue::from_str(&value).map_err(|_| bad())?;
            Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value))
        };
        headers.into_iter().map(one).collect()
    }

    fn tls(&mut self, tls: Tls) -> Result<(Arc<ServerConfig>, bool), String> {
        let (cert, cert_name) = self
            .one_of(("cert", tls.cert), ("cert_file", tls.cert_file))?
            .ok_or("a certificate is missing: cert_file")?;
        let (key, key_name) =
            self.one_of(("key", tls.key), ("key_file", tls.key_file))?.ok_or("a key is missing: key_file")?;
        let ca = self.one_of(("client_ca", tls.client_ca), ("client_ca_file", tls.client_ca_file))?;
        if tls.client_allowed_sans.is_some() {
            return Err("client_allowed_sans is not there: let client_ca_file sign those alone that may ask"
                .to_owned());
        }
        let provider = self.provider(tls.cipher_suites, tls.curve_preferences)?;
        let versions = self.versions(tls.min_version.as_deref(), tls.max_version.as_deref())?;
        let certificates = certificates(&cert, &cert_name)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| format!("{key_name} holds no private key in PEM"))?;
        let (verifier, verified) = self.clients(tls.client_auth_type.as_deref(), ca, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| format!("cipher_suites and versions do not go together: {error}"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(|error| format!("{cert_name} and {key_name}: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((Arc::new(config), verified))
    }

    /// A text that stands there or in a file, with what to call it.
    fn one_of(
        &mut self,
        (name, text): (&'static str, Option<String>),
        (file, path): (&'static str, Option<PathBuf>),
    ) -> Result<Option<(String, String)>, String> {
        match (text, path) {
            (Some(_), Some(_)) => Err(format!("{name} and {file} are two for one: leave one of them out")),
            (Some(text), None) => Ok(Some((text, name.to_owned()))),
            (None, Some(path)) => {
                let path = self.folder.join(path);
                let label = format!("{file} {}", path.display());
                // As it is before it is read: what comes between is a change.
                self.sources.push((path.clone(), stamp(&path)));
                let text = (self.read)(&path).map_err(|why| format!("{label}: {why}"))?;
                Ok(Some((text, label)))
            }
            (None, None) => Ok(None),
        }
    }

    /// What a word stands for among those that exporters know.
    fn choose<T: Copy>(&self, key: &str, word: &str, known: &[(&str, T)]) -> Result<T, String> {
        let found = known.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let near = (self.nearest)(word, &names);
            format!("{key}: {word} is none of {}{near}", names.join(", "))
        })
    }

    fn versions(
        &self,
        min: Option<&str>,
        max: Option<&str>,
    ) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
        const KNOWN: [(&str, u8); 4] = [("TLS10", 0), ("TLS11", 1), ("TLS12", 2), ("TLS13", 3)];
        let min = min.map_or(Ok(2), |word| self.choose("min_version", word, &KNOWN))?;
        let max = max.map_or(Ok(3), |word| self.choose("max_version", word, &KNOWN))?;
        if min < 2 || max < 2 {
            return Err("TLS 1.0 and 1.1 are not offered: TLS12 is the least".to_owned());
        }
        if min > max {
            return Err("min_version is above max_version".to_owned());
        }
        let all = [(2, &version::TLS12), (3, &version::TLS13)];
        Ok(all.into_iter().filter(|(n, _)| (min..=max).contains(n)).map(|(_, version)| version).collect())
    }

    /// The names are Go's; those of TLS 1.3 cannot be chosen there, and stay.
    fn provider(
        &self,
        suites: Option<Vec<String>>,
        curves: Option<Vec<String>>,
    ) -> Result<Arc<CryptoProvider>, String> {
        let mut provider = crypto::default_provider();
        if let Some(wanted) = suites {
            let known: Vec<String> =
                provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
            let known: Vec<(&str, ())> = known
                .iter()
                .filter(|name| !name.starts_with("TLS13_"))
                .map(|name| (name.as_str(), ()))
                .collect();
            for word in &wanted {
                self.choose("cipher_suites", word, &known)?;
            }
            provider.cipher_suites.retain(|suite| {
                let name = format!("{:?}", suite.suite());
                name.starts_with("TLS13_") || wanted.contains(&name)
            });
        }
        if let Some(wanted) = curves {
            let known = [
                ("X25519", crypto::kx_group::X25519),
                ("CurveP256", crypto::kx_group::SECP256R1),
                ("CurveP384", crypto::kx_group::SECP384R1),
            ];
            let chosen: Result<Vec<_>, String> =
                wanted.iter().map(|word| self.choose("curve_preferences", word, &known)).collect();
            provider.kx_groups = chosen?;
        }
        Ok(Arc::new(provider))
    }

    /// Who checks clients' certificates, and whether each must have a right one.
    fn clients(
        &self,
        kind: Option<&str>,
        ca: Option<(String, String)>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(Arc<dyn ClientCertVerifier>, bool), String> {
        const KNOWN: [(&str, Option<bool>); 6] = [
            ("NoClientCert", None),
            ("VerifyClientCertIfGiven", Some(false)),
            ("RequireAndVerifyClientCert", Some(true)),
            ("RequestClientCert", None),
            ("RequireAnyClientCert", None),
            ("RequireClientCert", None),
        ];
        let word = kind.filter(|word| !word.is_empty()).unwrap_or("NoClientCert");
        let must = self.choose("client_auth_type", word, &KNOWN)?;
        if word.starts_with("Re") && must.is_none() {
            return Err(format!(
                "client_auth_type: {word} takes anybody's certificate, which proves nothing: \
                 RequireAndVerifyClientCert checks it"
            ));
        }
        let (must, (ca, name)) = match (must, ca) {
            (None, None) => return Ok((Arc::new(NoClientAuth), false)),
            (None, Some((_, name))) => {
                return Err(format!("{name} is used only with client_auth_type: RequireAndVerifyClientCert"));
            }
            (Some(_), None) => return Err(format!("client_auth_type: {word} needs client_ca_file")),
            (Some(must), Some(ca)) => (must, ca),
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&ca, &name)? {
            roots.add(certificate).map_err(|error| format!("{name}: {error}"))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = if must { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build().map_err(|error| format!("{name}: {error}"))?;
        Ok((verifier, must))
    }
}

fn certificates(pem: &str, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(format!("{name} holds no certificate in PEM")),
    }
}

fn check_hash(hash: &str) -> Result<(), String> {
    match hash.parse::<HashParts>().map(|parts| parts.get_cost()) {
        Ok(4..=MOST_COST) => Ok(()),
        Ok(cost) => Err(format!("has a cost of {cost}: 4 to {MOST_COST} are taken, and 10 is usual")),
        Err(_) => Err("is none of bcrypt, as `htpasswd -nBC 10 NAME` makes it ($2y$10$…)".to_owned()),
    }
}

/// Whether a `Host` names this service on a loopback address: another name may be a page's that has pointed it here.
pub fn is_own_name(host: &str, names: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok()
        || names.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$gLBvTiLLuHrMWMBQEa3aXuKVBGNCHpnDAVSYMn3OQWjDuGeoPoL3a";

    fn read(path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    }

    fn nearest(_: &str, known: &[&str]) -> String {
        format!("; perhaps {}", known.first().copied().unwrap_or_default())
    }

    fn web(text: &str) -> Result<Web, String> {
        let reader = Reader { read, nearest, folder: Path::new("/nowhere"), sources: Vec::new() };
        reader.parse(text).and_then(|file| reader.make(file))
    }

    #[test]
    fn what_is_wrong_is_said_in_a_sentence() {
        for (text, word) in [
            ("tls_server_config:\n  cert_fil: x\n", "line 2, column 3: cert_fil is no key"),
            ("basic_auth_user: {}\n", "line 1, column 1: basic_auth_user is no key"),
            ("basic_auth_users: [a]\n", "not a web configuration: "),
            ("{a", "not a web configuration: "),
            ("basic_auth_users:\n  a: secret\n", "the hash of a is none of bcrypt"),
            (
                "basic_auth_users:\n  a: $2y$31$gLBvTiLLuHrMWMBQEa3aXuKVBGNCHpnDAVSYMn3OQWjDuGeoPoL3a\n",
                "cost of 31",
            ),
            ("basic_auth_users:\n  a: x\n  a: y\n", "line 3, column 3: a is there twice"),
            ("tls_server_config: {}", "a certificate is missing: cert_file"),
            ("tls_server_config: {cert_file: a}", "cert_file /nowhere/a: No such file"),
            ("tls_server_config: {cert: a, cert_file: a}", "leave one of them out"),
            ("tls_server_config: {cert: a}", "a key is missing"),
            ("tls_server_config: {cert: a, key: b}", "cert holds no certificate in PEM"),
            ("tls_server_config: {cert: a, key: b, min_version: TLS10}", "TLS12 is the least"),
            ("tls_server_config: {cert: a, key: b, min_version: TLS1.2}", "is none of TLS10, TLS11, TLS12"),
            ("tls_server_config: {cert: a, key: b, min_version: TLS13, max_version: TLS12}", "above"),
            (
                "tls_server_config: {cert: a, key: b, cipher_suites: [RC4]}",
                "cipher_suites: RC4 is none of TLS_",
            ),
            (
                "tls_server_config: {cert: a, key: b, curve_preferences: [P1]}",
                "curve_preferences: P1 is none of",
            ),
            (
                "tls_server_config: {cert: a, key: b, client_allowed_sans: [a]}",
                "client_allowed_sans is not there",
            ),
            ("rate_limit: {burst: 3}", "--max-connections"),
            ("http_server_config: {headers: {X-Powered-By: x}}", "X-Powered-By is none of"),
            ("http_server_config: {headers: {X-Frame-Options: never}}", "never is none of deny, sameorigin"),
            ("http_server_config: {headers: {Content-Security-Policy: \"a\\nb\"}}", "is no header's"),
        ] {
            let said = web(text).expect_err(text);
            assert!(said.contains(word) && !said.contains('\n'), "{text}: {said}");
        }
    }

    #[test]
    fn what_exporters_take_is_taken() {
        for text in ["", "# nothing\n", "{}", "basic_auth_users:\n", "http_server_config:\n  http2: false\n"]
        {
            let web = web(text).expect(text);
            assert!(!web.asks() && web.tls.is_none(), "{text}");
        }
        let web = web(&format!(
            "basic_auth_users:\n  a: {HASH}\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        ))
        .expect("it is right");
        assert!(web.asks() && web.is_clear_text() && web.headers.len() == 1);
    }

    #[test]
    fn credentials_are_those_of_rfc_7617() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).expect("a header");
            credentials(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
        };
        assert_eq!(
            of("Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ=="),
            Some(("Aladdin".into(), b"open:sesame".to_vec()))
        );
        assert_eq!(of("basic QTo="), Some(("A".into(), Vec::new())));
        for wrong in ["Basic", "Basic QQ==", "Basic ???", "Bearer QTo=", ""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_that_may_be_pointed_here_is_not_taken_for_own() {
        let names = ["host.example".to_owned()];
        for own in [
            "localhost",
            "LOCALHOST:9719",
            "a.localhost",
            "127.0.0.1:9719",
            "[::1]:9719",
            "[::1]",
            "10.0.0.1",
            "host.example:9719",
            "HOST.example.",
        ] {
            assert!(is_own_name(own, &names), "{own}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example:9719",
            "",
            ":",
            "127.0.0.1.evil.example",
            "1.2.3.4:5:6",
            "[evil]",
            "notlocalhost",
        ] {
            assert!(!is_own_name(other, &names), "{other}");
        }
    }
}
