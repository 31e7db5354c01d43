//! The processes that this one descends from.

use crate::files;
use std::fs::File;
use std::io::Read;

/// No chain is longer; a pid that was given again meanwhile could make a circle.
const MOST: usize = 64;
/// So much of a process's environment is read, bytes.
const MOST_ENVIRONMENT: u64 = 1 << 20;

/// This process, its parent, and so on, as far as they can be seen.
pub fn ancestors() -> Vec<u32> {
    let mut chain = vec![std::process::id()];
    while let Some(parent) = chain.last().and_then(|pid| parent(*pid)) {
        if parent == 0 || chain.contains(&parent) || chain.len() >= MOST {
            break;
        }
        chain.push(parent);
    }
    chain
}

/// A variable of the environment that a process was started with; `None` also where it may not be read.
pub fn environment_of(pid: u32, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(MOST_ENVIRONMENT).read_to_end(&mut bytes).ok()?;
    let mut values = bytes.split(|b| *b == 0).filter_map(|it| {
        it.strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")
            .map(|it| String::from_utf8_lossy(it).into_owned())
    });
    values.next()
}

fn parent(pid: u32) -> Option<u32> {
    parent_in(&files::text(format!("/proc/{pid}/stat")).ok()?)
}

/// The name is in parentheses and may hold anything; state and parent follow.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_begins_here_and_goes_up() {
        let chain = ancestors();
        assert_eq!(chain.first(), Some(&std::process::id()));
        assert_eq!(chain.get(1).copied(), rustix::process::getppid().map(|it| it.as_raw_pid() as u32));
        assert_eq!(parent_in("9 (a) b) S 4 9 9"), Some(4));
        assert!(parent_in("").is_none() && parent_in("9 (a").is_none() && parent_in("9 (a) S x").is_none());
    }

    #[test]
    fn a_process_shows_what_it_was_started_with() {
        // The tests' own environment is as cargo made it.
        let path = std::env::var("PATH").ok();
        assert_eq!(environment_of(std::process::id(), "PATH"), path);
        assert_eq!(environment_of(std::process::id(), "NO_SUCH_VARIABLE_OF_LINGER"), None);
    }
}
