//! Settings as a person writes them.

use crate::cli::RunOptions;
use crate::nearest::hint;
use crate::render::clean;
use anyhow::{anyhow, bail};
use linger_facts::{Scope, Version};
use linger_lab::scenario::{Adjust, Scenario};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// What the options change.
pub fn adjust(options: &RunOptions) -> anyhow::Result<Adjust> {
    let mut adjust = Adjust::default();
    for text in &options.set {
        let (key, value) = split(text).ok_or_else(|| {
            anyhow!("--set {}: write it as tcp_tw_reuse=1, or client:tcp_tw_reuse=1", clean(text))
        })?;
        let key = sysctl(key).map_err(|why| {
            let bare = key.rsplit(':').next().unwrap_or(key);
            let near = if matches!(why, Unusable::Unknown) { hint(bare, names()) } else { String::new() };
            anyhow!("--set {}: {why}{near}", clean(text))
        })?;
        adjust.sysctls.push((key, value.to_owned()));
    }
    for text in &options.param {
        let (key, value) =
            split(text).ok_or_else(|| anyhow!("--param {}: write it as rate=200", clean(text)))?;
        adjust.params.push((key.to_owned(), value.to_owned()));
    }
    if let Some(duration) = options.duration {
        adjust.params.push(("seconds".to_owned(), duration.as_secs_f64().to_string()));
    }
    Ok(adjust)
}

/// Settings of one side: sysctls and the scenario's parameters, separated by spaces or commas.
pub fn side(option: &str, text: &str, scenario: &Scenario, adjust: &Adjust) -> anyhow::Result<Adjust> {
    let mut adjust = adjust.clone();
    for (key, value) in each(text).map_err(|why| anyhow!("{option}: {why}"))? {
        if scenario.params.iter().any(|(name, _)| *name == key) {
            adjust.params.push((key, value));
            continue;
        }
        let key = match sysctl(&key) {
            Ok(full) => full,
            Err(Unusable::Unknown) => {
                let params = scenario.params.iter().map(|(name, _)| name.as_str());
                let near = hint(&key, params.chain(names()));
                bail!(
                    "{option} {}: neither a parameter of the scenario nor a network sysctl of this kernel{near}",
                    clean(&key)
                )
            }
            Err(why) => bail!("{option} {}: {why}", clean(&key)),
        };
        adjust.sysctls.push((key, value));
    }
    Ok(adjust)
}

/// `key=value`, both without blanks around them.
fn split(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    (!key.is_empty()).then_some((key, value))
}

/// Every `key=value` of a text. A new one begins at a word with `=`; words without belong to the value before.
fn each(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings: Vec<(String, String)> = Vec::new();
    for word in text.split_whitespace() {
        for (nth, piece) in word.split(',').enumerate() {
            if let Some((key, value)) = split(piece) {
                settings.push((key.to_owned(), value.to_owned()));
            } else if let Some((_, value)) = settings.last_mut() {
                value.push(if nth == 0 { ' ' } else { ',' });
                value.push_str(piece);
            } else if !piece.is_empty() {
                return Err(format!(
                    "{:?}: settings are written as tcp_tw_reuse=1, or rate=200",
                    clean(piece)
                ));
            }
        }
    }
    for (_, value) in &mut settings {
        value.truncate(value.trim_end_matches([',', ' ']).len());
    }
    Ok(settings)
}

/// Why a sysctl cannot be set in a lab.
#[derive(Debug)]
enum Unusable {
    /// There is none of this name.
    Unknown,
    /// This one is the whole machine's.
    OfMachine(&'static str),
}

impl Display for Unusable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Unknown => f.write_str("this kernel has no such network sysctl"),
            Unusable::OfMachine(key) => write!(
                f,
                "{key} is the whole machine's; a lab sets only what every network namespace has for itself"
            ),
        }
    }
}

/// `HOST:key`, with the key in full.
fn sysctl(written: &str) -> Result<String, Unusable> {
    Ok(match written.split_once(':') {
        Some((host, key)) => format!("{host}:{}", full(key.trim())?),
        None => full(written)?,
    })
}

/// A sysctl's full name.
fn full(written: &str) -> Result<String, Unusable> {
    if let Some(known) = linger_facts::sysctl(written) {
        if known.scope_in(version()) == Scope::Host || !known.key.starts_with("net.") {
            return Err(Unusable::OfMachine(known.key));
        }
        return Ok(known.key.to_owned());
    }
    let plain = written.strip_prefix("/proc/sys/").unwrap_or(written);
    let is_slashed = plain.find(['/', '.']).is_some_and(|at| plain.as_bytes()[at] == b'/');
    let path = if is_slashed { plain.to_owned() } else { plain.replace('.', "/") };
    // Those of interfaces are there when the lab is built.
    let is_of_device = ["/conf/", "/neigh/"].iter().any(|it| path.contains(it));
    let is_there = path.starts_with("net/")
        && !path.split('/').any(|part| matches!(part, "" | "." | ".."))
        && (is_of_device || Path::new("/proc/sys").join(&path).is_file());
    if is_there { Ok(plain.to_owned()) } else { Err(Unusable::Unknown) }
}

fn version() -> Version {
    Version::parse(&rustix::system::uname().release().to_string_lossy()).unwrap_or(Version::NEWEST)
}

/// Names of the sysctls that a lab can set, short and in full.
fn names<'a>() -> impl Iterator<Item = &'a str> {
    linger_facts::sysctls()
        .filter(|it| it.scope_in(version()) == Scope::Netns && it.key.starts_with("net."))
        .flat_map(|it| [it.short(), it.key])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_may_have_spaces_and_commas_in_their_values() {
        let pairs = |text: &str| -> Vec<(String, String)> { each(text).unwrap() };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("a=1 b=2,c=3"), [pair("a", "1"), pair("b", "2"), pair("c", "3")]);
        assert_eq!(pairs("a=1, b=2"), [pair("a", "1"), pair("b", "2")]);
        assert_eq!(
            pairs("net.ipv4.tcp_rmem=4096 131072 6291456 tcp_tw_reuse=1"),
            [pair("net.ipv4.tcp_rmem", "4096 131072 6291456"), pair("tcp_tw_reuse", "1")]
        );
        assert_eq!(pairs("p=80,90-99 q=1"), [pair("p", "80,90-99"), pair("q", "1")]);
        assert_eq!(pairs("empty= q=1"), [pair("empty", ""), pair("q", "1")]);
        assert!(each("tcp_tw_reuse").is_err() && each("=1").is_err());
    }

    #[test]
    fn short_names_are_found_and_wrong_ones_hinted_at() {
        assert_eq!(sysctl("tcp_tw_reuse").unwrap(), "net.ipv4.tcp_tw_reuse");
        assert_eq!(sysctl("client:tcp_tw_reuse").unwrap(), "client:net.ipv4.tcp_tw_reuse");
        assert_eq!(sysctl("net.ipv4.conf.eth0.rp_filter").unwrap(), "net.ipv4.conf.eth0.rp_filter");
        assert_eq!(sysctl("net.ipv4.ip_forward").unwrap(), "net.ipv4.ip_forward");
        assert_eq!(hint("tcp_tw_reuze", names()), "; did you mean tcp_tw_reuse?");
        assert_eq!(hint("net.ipv4.tcp_tw_reuze", names()), "; did you mean net.ipv4.tcp_tw_reuse?");
        assert!(matches!(sysctl("tcp_tw_reuze"), Err(Unusable::Unknown)));
        assert!(matches!(sysctl("tcp_mem"), Err(Unusable::OfMachine("net.ipv4.tcp_mem"))));
        assert!(matches!(sysctl("fs.file-max"), Err(Unusable::OfMachine(_))));
        assert!(sysctl("net.ipv4/../../kernel/panic").is_err());
        assert!(sysctl("kernel.panic").is_err());
    }
}
