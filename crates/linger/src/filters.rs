//! From the filter options to states and a filter that the kernel runs.

use crate::cli::FilterArgs;
use crate::nearest::hint;
use crate::targets;
use anyhow::{anyhow, bail};
use linger_collect::{ALL_STATES, hidepid, may_read_descriptors};
use linger_model::{Addr, State};
use linger_wire::bytecode::{Filter, Prefix};
use std::net::IpAddr;
use std::path::Path;

/// What to walk.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// States' bits.
    pub states: u32,
    /// Addresses and ports.
    pub filter: Option<Filter>,
    /// Only this process's sockets.
    pub pid: Option<u32>,
}

impl Wanted {
    /// Whether anything but states is asked for.
    pub fn is_filtered(&self) -> bool {
        self.filter.is_some() || self.pid.is_some()
    }
}

/// States by their names.
pub fn states(texts: &[String]) -> anyhow::Result<Vec<State>> {
    texts.iter().map(|text| State::parse(text.trim()).ok_or_else(|| unknown_state(text))).collect()
}

/// Reads the options.
pub fn read(args: &FilterArgs) -> anyhow::Result<Wanted> {
    let mut states = 0;
    for text in &args.state {
        states |= match text.trim() {
            "all" => ALL_STATES,
            text => State::parse(text).ok_or_else(|| unknown_state(text))?.bit(),
        };
    }
    let mut all = Vec::new();
    any(&mut all, &args.src, |t| prefix("--src", t).map(Filter::Src))?;
    any(&mut all, &args.dst, |t| prefix("--dst", t).map(Filter::Dst))?;
    any(&mut all, &args.sport, |t| ports("--sport", t).map(|(a, b)| Filter::Sport(a, b)))?;
    any(&mut all, &args.dport, |t| ports("--dport", t).map(|(a, b)| Filter::Dport(a, b)))?;
    if let Some(pid) = args.pid {
        process(pid)?;
    }
    let filter = if all.is_empty() { None } else { Some(Filter::All(all)) };
    Ok(Wanted { states: if states == 0 { ALL_STATES } else { states }, filter, pid: args.pid })
}

/// That a process is there and its descriptors can be read: else none of its sockets would be found.
fn process(pid: u32) -> anyhow::Result<()> {
    targets::need_proc()?;
    if !Path::new(&format!("/proc/{pid}")).exists() {
        let hidden = hidepid().map_or_else(String::new, |mode| {
            format!(", or it is hidden: /proc is mounted with {mode}; run as root")
        });
        bail!("--pid {pid}: there is no such process{hidden}");
    }
    may_read_descriptors(pid).map_err(|gap| {
        let hint = if gap.hint.is_empty() { String::new() } else { format!("; {}", gap.hint) };
        anyhow!("--pid {pid}: cannot read the {}: {}{hint}", gap.what, gap.detail)
    })
}

fn any(
    all: &mut Vec<Filter>,
    texts: &[String],
    read: impl Fn(&str) -> anyhow::Result<Filter>,
) -> anyhow::Result<()> {
    if !texts.is_empty() {
        all.push(Filter::Any(texts.iter().map(|t| read(t.trim())).collect::<Result<_, _>>()?));
    }
    Ok(())
}

fn unknown_state(text: &str) -> anyhow::Error {
    let spelled = text.replace('-', "_");
    let near = hint(&spelled, State::ALL.iter().map(|s| s.name()));
    let near = if near.is_empty() {
        format!("; the states are {}", State::ALL.map(State::name).join(", "))
    } else {
        near
    };
    anyhow!("--state {text}: no TCP state has this name{near}")
}

/// A network, or an address alone, that an option was given.
pub fn prefix(option: &str, text: &str) -> anyhow::Result<Prefix> {
    let bad = || anyhow!("{option} {text}: an address or a network like 10.0.0.0/8 or fd00::/64 is expected");
    let (addr, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let ip: IpAddr = addr.trim_matches(['[', ']']).parse().map_err(|_| bad())?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => most,
        Some(length) => length.parse::<u8>().ok().filter(|l| *l <= most).ok_or_else(|| {
            anyhow!("{option} {text}: the length of this network's prefix is a number from 0 to {most}")
        })?,
    };
    // The v4-mapped form means the same sockets as IPv4's.
    let addr = Addr::from(ip);
    let length = if addr.is_v4() && !ip.is_ipv4() { length.saturating_sub(96) } else { length };
    Ok(Prefix { addr, length })
}

fn ports(option: &str, text: &str) -> anyhow::Result<(u16, u16)> {
    let bad =
        || anyhow!("{option} {text}: a port or a range of ports like 8000-8999 is expected, each 0 to 65535");
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.trim().parse().map_err(|_| bad())?, to.trim().parse().map_err(|_| bad())?);
    if from > to {
        bail!("{option} {text}: the range ends before it begins");
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(change: impl FnOnce(&mut FilterArgs)) -> anyhow::Result<Wanted> {
        let mut args = FilterArgs::default();
        change(&mut args);
        read(&args)
    }

    #[test]
    fn filters_are_read() {
        let wanted = one(|a| {
            a.state = vec!["time-wait".into(), "ESTAB".into()];
            a.dst = vec!["10.0.0.0/8".into(), "fd00::1".into()];
            a.dport = vec!["443".into(), "8000-8999".into()];
        })
        .expect("filters");
        assert_eq!(wanted.states, State::TimeWait.bit() | State::Established.bit());
        assert!(wanted.is_filtered());
        assert!(one(|_| ()).expect("no filter").filter.is_none());
    }

    #[test]
    fn bad_filters_say_what_would_be_right() {
        let says = |change: fn(&mut FilterArgs)| format!("{:#}", one(change).expect_err("refused"));
        assert!(says(|a| a.state = vec!["time_wiat".into()]).contains("did you mean time_wait?"));
        assert!(says(|a| a.state = vec!["x".into()]).contains("the states are established"));
        assert!(says(|a| a.dst = vec!["10.0.0".into()]).contains("10.0.0.0/8"));
        assert!(says(|a| a.dst = vec!["10.0.0.0/33".into()]).starts_with("--dst 10.0.0.0/33: "));
        assert!(says(|a| a.sport = vec!["70000".into()]).contains("0 to 65535"));
        assert!(says(|a| a.dport = vec!["9-1".into()]).contains("ends before it begins"));
        assert!(says(|a| a.pid = Some(u32::MAX)).contains("no such process"));
    }
}
