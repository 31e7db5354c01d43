//! nft, run as a program inside a namespace.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use linger_netns::{Netns, run_in};
use serde_json::Value;

use crate::destroy::may_administer;
use crate::limit::{PORTS, TABLE};
use crate::table::{self, Present, Table};
use crate::{Error, SynLimit};

/// Where it may be. PATH is not asked: it runs as root.
const FOLDERS: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/run/current-system/sw/bin"];
/// How long it may take.
const TAKES: Duration = Duration::from_secs(30);
/// More than this is not read of what it prints.
const MOST_BYTES: u64 = 16 << 20;

/// nft, and the namespace it works in.
#[derive(Debug)]
pub struct Nft<'a> {
    program: PathBuf,
    ns: &'a Netns,
}

/// What a run printed.
struct Said {
    is_ok: bool,
    stdout: Vec<u8>,
    stderr: String,
}

impl<'a> Nft<'a> {
    /// Makes sure, before anything is done, that it is there, that it may be used, and that the kernel has what it
    /// speaks to.
    ///
    /// # Errors
    /// [`Error::NoNft`], [`Error::Denied`], [`Error::NoNfTables`].
    pub fn new(ns: &'a Netns) -> Result<Nft<'a>, Error> {
        // A program that others may write is not one to run as root.
        let is_fit = |path: &PathBuf| {
            path.metadata().is_ok_and(|it| {
                let mode = it.permissions().mode();
                it.is_file() && mode & 0o111 != 0 && mode & 0o022 == 0
            })
        };
        let program = FOLDERS.iter().map(|it| PathBuf::from(it).join("nft")).find(is_fit);
        let nft = Nft { program: program.ok_or(Error::NoNft)?, ns };
        if !run_in(ns, may_administer)?? {
            return Err(Error::Denied { operation: "use nftables here" });
        }
        Ok(nft)
    }

    /// What is in force.
    ///
    /// # Errors
    /// When nft fails, or prints something else than it should.
    pub fn present(&self) -> Result<Present, Error> {
        let said = self.run(&["-j", "list", "tables"], "")?;
        if !said.is_ok {
            return Err(refused(&said.stderr));
        }
        if !table::is_listed(&json(&said)?) {
            return Ok(Present::Own(Table::default()));
        }
        // Without the elements: there may be 65,536 sources.
        let listing = self.run(&["-j", "-t", "list", "table", "inet", TABLE], "")?;
        if !listing.is_ok {
            return Err(Error::Nft(words(&listing.stderr)));
        }
        let ports = self.run(&["-j", "list", "set", "inet", TABLE, PORTS], "")?;
        let ports = if ports.is_ok { Some(json(&ports)?) } else { None };
        table::read(&json(&listing)?, ports.as_ref())
    }

    /// Linger's own table.
    ///
    /// # Errors
    /// As [`Nft::present`], and [`Error::Foreign`].
    pub fn own(&self) -> Result<Table, Error> {
        match self.present()? {
            Present::Own(table) => Ok(table),
            Present::Foreign(why) => Err(Error::Foreign(why)),
        }
    }

    /// Has the kernel look at a limit without taking it.
    ///
    /// # Errors
    /// What it would refuse.
    pub fn check(&self, limit: &SynLimit, present: &Table) -> Result<(), Error> {
        self.load(&["-c", "-f", "-"], &limit.ruleset(present))
    }

    /// Puts a limit in force, in one transaction.
    ///
    /// # Errors
    /// When the kernel refuses it; then nothing has changed.
    pub fn install(&self, limit: &SynLimit, present: &Table) -> Result<(), Error> {
        self.load(&["-f", "-"], &limit.ruleset(present))
    }

    /// Takes everything of linger's away.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clear(&self) -> Result<(), Error> {
        self.load(&["-f", "-"], &format!("delete table inet {TABLE}\n"))
    }

    fn load(&self, args: &[&str], rules: &str) -> Result<(), Error> {
        let said = self.run(args, rules)?;
        if said.is_ok { Ok(()) } else { Err(refused(&said.stderr)) }
    }

    fn run(&self, args: &[&str], input: &str) -> Result<Said, Error> {
        let failed = |error: std::io::Error| Error::system("run nft", error);
        let mut command = linger_netns::command(self.ns, &self.program)?;
        command.args(args).env_clear().env("LC_ALL", "C").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = thread::scope(|scope| {
            // A write that fails means that nft ended early, and its message says why.
            scope.spawn(move || stdin.take().map(|mut it| it.write_all(input.as_bytes())));
            let (stdout, stderr) = (scope.spawn(|| all_of(stdout)), scope.spawn(|| all_of(stderr)));
            wait(&mut child);
            (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default())
        });
        let status = child.wait().map_err(failed)?;
        let mut stderr = String::from_utf8_lossy(&stderr).into_owned();
        if !status.success() && stderr.trim().is_empty() {
            stderr = format!("it ended with {status}");
        }
        Ok(Said { is_ok: status.success(), stdout, stderr })
    }
}

/// Until it has ended, or has taken too long and was killed.
fn wait(child: &mut Child) {
    let start = Instant::now();
    while child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if start.elapsed() >= TAKES {
            let _ = child.kill();
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn all_of(from: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.map(|it| it.take(MOST_BYTES).read_to_end(&mut bytes));
    bytes
}

fn json(said: &Said) -> Result<Value, Error> {
    serde_json::from_slice(&said.stdout).map_err(|error| Error::Malformed(format!("nft -j: {error}")))
}

/// What nft complains of, as one line, without the rules that it repeats.
fn words(stderr: &str) -> String {
    let complaints: Vec<&str> = stderr.lines().filter(|line| line.contains("rror")).collect();
    let text = if complaints.is_empty() { stderr.to_owned() } else { complaints.join("; ") };
    let words: Vec<&str> = text.split_whitespace().take(60).collect();
    words.join(" ").replace("/dev/stdin:", "rules, line ")
}

/// What nft says where the kernel lacks nfnetlink, nf_tables, the family inet, or a part of a rule.
const NO_KERNEL: [&str; 5] = [
    "Protocol not supported",
    "Operation not supported",
    "Address family not supported",
    "initialize Netlink",
    "cache initialization failed",
];

fn refused(stderr: &str) -> Error {
    let has = |text: &str| stderr.contains(text);
    if has("Operation not permitted") || has("must be root") {
        Error::Denied { operation: "use nftables here" }
    } else if has("JSON support not compiled-in") {
        Error::Nft("it was built without JSON; install your distribution's own nftables".into())
    } else if NO_KERNEL.iter().any(|it| has(it)) {
        Error::NoNfTables(words(stderr))
    } else {
        Error::Nft(words(stderr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_apart() {
        assert!(matches!(refused("Operation not permitted (you must be root)"), Error::Denied { .. }));
        let none = "netlink: Error: cache initialization failed: Protocol not supported";
        assert!(matches!(refused(none), Error::NoNfTables(_)));
        let other = "/dev/stdin:3:1-5: Error: syntax error\nadd bogus\n    ^^^";
        let Error::Nft(text) = refused(other) else { panic!() };
        assert_eq!(text, "rules, line 3:1-5: Error: syntax error");
    }
}
