//! The command line above an output, or in its file's name: it tells what the output itself leaves out.

use crate::text::{Words, is_space};
use linger_model::State;

/// Bits of [`State::bit`].
pub(crate) type States = u32;

/// Those that a plain `ss -t` lists: all but listening, TIME_WAIT, half-open and unconnected ones.
pub(crate) const CONNECTED: States = State::Established.bit()
    | State::SynSent.bit()
    | State::FinWait1.bit()
    | State::FinWait2.bit()
    | State::CloseWait.bit()
    | State::LastAck.bit()
    | State::Closing.bit();
/// What has no connection.
const UNCONNECTED: States = State::Close.bit() | State::BoundInactive.bit();
/// What `ss -a` lists.
pub(crate) const ALL: States =
    CONNECTED | UNCONNECTED | State::Listen.bit() | State::TimeWait.bit() | State::SynRecv.bit();

/// Programs whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Ss,
    Netstat,
    Other,
}

/// A command line, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command {
    pub program: Program,
    /// The states asked for.
    pub states: States,
    /// `-o`, `-e`, `-i`, `-p`.
    pub timers: bool,
    pub extended: bool,
    pub info: bool,
    pub processes: bool,
    /// An address filter (`dst 10.0.0.1`), or a family (`-4`): the rest is not shown.
    pub filtered: bool,
    /// Asked about another network namespace.
    pub elsewhere: bool,
}

const PROGRAMS: [&[u8]; 10] =
    [b"ss", b"netstat", b"nstat", b"lsof", b"conntrack", b"sysctl", b"cat", b"uname", b"sudo", b"ip"];

/// From a line with a prompt: `$ ss -tan`, `[root@host ~]# netstat -s`, `+ ss -s`, `ss -ant`.
pub(crate) fn of_line(line: &[u8]) -> Option<Command> {
    if line.len() > 512 {
        return None;
    }
    let bare = is_program(Words(line).word());
    let at = if bare {
        0
    } else {
        let prompt = line.iter().position(|b| matches!(b, b'$' | b'#' | b'+' | b'%' | b'>'))?;
        let rest = &line[prompt + 1..];
        if !rest.first().is_none_or(|b| is_space(*b)) || !is_program(Words(rest).word()) {
            return None;
        }
        prompt + 1
    };
    let mut words = Words(line.get(at..)?);
    let first = words.word();
    // `ss` alone on a line is a command; so is `sysctl -a`, but `ip 1` may be anything.
    let next = Words(words.0).word();
    if bare && !next.is_empty() && !next.starts_with(b"-") && !matches!(first, b"cat" | b"sudo") {
        return None;
    }
    of_words(&line[at..])
}

/// From a file's name, as sos and must-gather make it: `ss_-peaonmi`, `ip_netns_exec_blue_ss_-peaonmi`.
pub(crate) fn of_file_name(name: &str) -> Option<Command> {
    let name = name.rsplit('/').next()?;
    let name = name.strip_suffix(".txt").or_else(|| name.strip_suffix(".log")).unwrap_or(name);
    of_words(name.replace('_', " ").as_bytes())
}

fn is_program(word: &[u8]) -> bool {
    let name = word.rsplit(|b| *b == b'/').next().unwrap_or(word);
    PROGRAMS.contains(&name)
}

fn of_words(line: &[u8]) -> Option<Command> {
    let mut command = Command {
        program: Program::Other,
        states: CONNECTED,
        timers: false,
        extended: false,
        info: false,
        processes: false,
        filtered: false,
        elsewhere: false,
    };
    let mut words = Words(line);
    loop {
        let word = words.word();
        let name = word.rsplit(|b| *b == b'/').next().unwrap_or(word);
        match name {
            b"sudo" => {}
            b"ip" => {
                let mut rest = Words(words.0);
                if (rest.word(), rest.word()) == (b"netns".as_slice(), b"exec".as_slice()) {
                    command.elsewhere = true;
                    rest.word();
                    words = rest;
                } else {
                    return Some(command);
                }
            }
            b"ss" => {
                command.program = Program::Ss;
                break;
            }
            b"netstat" => {
                command.program = Program::Netstat;
                break;
            }
            _ if PROGRAMS.contains(&name) => return Some(command),
            _ => return None,
        }
    }
    let (mut all, mut listening) = (false, false);
    let mut named: Option<States> = None;
    let mut excluded: States = 0;
    while let Some(word) = words.next() {
        match word {
            b"|" | b">" | b">>" => {
                // What follows may drop lines: `| head`, `| grep`.
                command.filtered |= word == b"|";
                break;
            }
            b"state" | b"exclude" | b"excl" => {
                let set = states(words.word());
                if word == b"state" {
                    named = Some(named.unwrap_or(0) | set);
                } else {
                    excluded |= set;
                }
            }
            b"--all" => all = true,
            b"--listening" => listening = true,
            b"--options" | b"--timers" => command.timers = true,
            b"--extended" => command.extended = true,
            b"--info" => command.info = true,
            b"--processes" | b"--programs" => command.processes = true,
            [b'-', b'-', ..] => {}
            [b'-', flags @ ..] => {
                for flag in flags {
                    match flag {
                        b'a' => all = true,
                        b'l' => listening = true,
                        b'o' => command.timers = true,
                        b'e' => command.extended = true,
                        b'i' => command.info = true,
                        b'p' => command.processes = true,
                        b'4' | b'6' => command.filtered = true,
                        b'N' if command.program == Program::Ss => command.elsewhere = true,
                        _ => {}
                    }
                }
            }
            _ => command.filtered = true,
        }
    }
    // netstat lists TIME_WAIT and half-open connections without being asked.
    let plain = match command.program {
        Program::Netstat => CONNECTED | State::TimeWait.bit() | State::SynRecv.bit(),
        _ => CONNECTED,
    };
    command.states = match named {
        Some(named) => named,
        None if all || excluded != 0 => ALL,
        None if listening => State::Listen.bit(),
        None => plain,
    } & !excluded;
    Some(command)
}

/// ss's names of states and of groups of them.
fn states(word: &[u8]) -> States {
    match word {
        b"all" => ALL,
        b"connected" => ALL & !(State::Listen.bit() | UNCONNECTED),
        b"synchronized" => ALL & !(State::Listen.bit() | UNCONNECTED | State::SynSent.bit()),
        b"bucket" => State::TimeWait.bit() | State::SynRecv.bit(),
        b"big" => ALL & !(State::TimeWait.bit() | State::SynRecv.bit()),
        b"listening" => State::Listen.bit(),
        _ => std::str::from_utf8(word).ok().and_then(State::parse).map_or(0, State::bit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_behind_prompts_and_in_file_names() {
        let found = |line: &str| of_line(line.as_bytes());
        let time_wait = found("$ ss -tan state time-wait").expect("a command");
        assert_eq!((time_wait.program, time_wait.states), (Program::Ss, State::TimeWait.bit()));
        assert_eq!(found("[root@web1 ~]# ss -tanp").expect("a command").states, ALL);
        assert_eq!(found("ss -tn").expect("a command").states, CONNECTED);
        assert_eq!(found("+ /usr/sbin/ss -Htlnp").expect("a command").states, State::Listen.bit());
        assert_eq!(
            found("# sudo ss -tan exclude listening exclude time-wait").expect("a command").states,
            ALL & !(State::Listen.bit() | State::TimeWait.bit())
        );
        assert!(found("$ ss -tan dst 10.0.0.1").expect("a command").filtered);
        assert!(found("$ ss -tan | head").expect("a command").filtered);
        assert!(found("ip netns exec blue ss -tan").is_none(), "no prompt: may be anything");
        assert!(found("# ip netns exec blue ss -tan").expect("a command").elsewhere);
        for no in ["ESTAB 0 0 10.0.0.1:80 10.0.0.2:443", "ss is a tool", "", "tcp 0 0 *:80"] {
            assert_eq!(found(no), None, "{no}");
        }
        let sos = of_file_name("sos_commands/networking/ss_-peaonmi").expect("a command");
        assert!(sos.processes && sos.timers && sos.info && sos.extended && sos.states == ALL);
        assert!(of_file_name("ip_netns_exec_blue_ss_-peaonmi").is_some_and(|c| c.elsewhere));
        assert_eq!(of_file_name("customer.txt"), None);
    }
}
