//! A real server, run inside the host and ended with its actor.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};
use rustix::thread::UnshareFlags;

use super::Program;
use super::child::{Failed, Shared, TICK, lock};
use super::protocol::Event;

/// How much of the end of its output is kept.
const LAST_BYTES: usize = 4096;
/// How many of its last lines are told.
const LAST_LINES: usize = 3;

/// Must run on the process's main thread: the program is killed when the thread that started it ends.
pub(crate) fn run(shared: &Shared, spec: &Program) -> Result<(), Failed> {
    {
        // Held until it is there, so that the parent's end can't come in between.
        let mut slot = lock(&shared.program);
        *slot = Some(Running::start(spec)?);
        shared.begin();
    }
    let mut is_ready = false;
    while !shared.is_stopping() {
        {
            let mut slot = lock(&shared.program);
            // Nothing is there when the parent has gone; then this process is about to end.
            if let Err(failed) = slot.as_mut().map_or(Ok(()), Running::check) {
                *slot = None;
                return Err(failed);
            }
        }
        if !is_ready && spec.ready.iter().all(|&address| is_listening(address)) {
            is_ready = true;
            shared.tell(&Event::Ready { ports: spec.ready.iter().map(SocketAddr::port).collect() });
        }
        shared.sleep(TICK);
    }
    drop(lock(&shared.program).take());
    shared.finish();
    shared.done();
    Ok(())
}

/// The program and its folder; dropped, both are gone.
pub(crate) struct Running {
    child: Child,
    /// The program's name.
    name: String,
    /// Keeps the end of its output.
    listener: Option<JoinHandle<VecDeque<u8>>>,
    _folder: Folder,
}

impl Running {
    fn start(spec: &Program) -> Result<Running, Failed> {
        let name = &spec.program;
        let program = spec.find().ok_or_else(|| {
            let package = if spec.package.is_empty() { name } else { &spec.package };
            let what = format!("program {name} (Debian's package {package}) is not installed");
            Failed::new(format!("start {name}"), io::Error::other(what))
        })?;
        if let Some(taken) = spec.ready.iter().find(|&&address| is_listening(address)) {
            // Another's listener would look like the program's own.
            return Err(Failed::new(format!("bind {taken}"), Errno::ADDRINUSE));
        }
        let folder = Folder::new(&spec.files)?;
        let failed = |error: io::Error| Failed::new(format!("start {name}"), error);
        let (mut output, writer) = io::pipe().map_err(failed)?;
        // While this thread may still start others: not after unshare().
        let listener = thread::Builder::new().spawn(move || last_of(&mut output)).map_err(failed)?;
        let mut command = Command::new(&program);
        command.args(spec.args.iter().map(|text| folder.fill_in(text))).current_dir(&folder.0);
        command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        end_with_this_thread(&mut command).map_err(failed)?;
        // SAFETY: no table of descriptors is unshared, and a PID namespace concerns later children alone.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }
            .map_err(|error| Failed::new("make a PID namespace", error))?;
        let child = command.spawn().map_err(failed)?;
        Ok(Running { child, name: name.clone(), listener: Some(listener), _folder: folder })
    }

    /// Fails when the program has ended.
    fn check(&mut self) -> Result<(), Failed> {
        let failed = |error| Failed::new(format!("wait for {}", self.name), error);
        let Some(status) = self.child.try_wait().map_err(failed)? else { return Ok(()) };
        let words = self.listener.take().and_then(|it| it.join().ok()).unwrap_or_default();
        let what = format!("it ended ({status}): {}", last_lines(&Vec::from(words)));
        Err(Failed::new(&self.name, io::Error::other(what)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is the first process of its PID namespace: what it started ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has the kernel kill the command's process when the calling thread ends, in whatever way.
pub(crate) fn end_with_this_thread(command: &mut Command) -> io::Result<()> {
    let parent = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended before.
        let mut ends = [PollFd::new(&parent, PollFlags::IN)];
        match rustix::event::poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
            0 => Ok(()),
            _ => Err(Errno::SRCH.into()),
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing; the descriptor it uses
    // is owned by it, and so open in the child until exec closes it.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

/// Reads to the end, and keeps the last bytes.
fn last_of(output: &mut impl Read) -> VecDeque<u8> {
    let mut last = VecDeque::new();
    let mut buffer = [0; LAST_BYTES];
    while let Ok(read @ 1..) = output.read(&mut buffer) {
        last.extend(&buffer[..read]);
        last.drain(..last.len().saturating_sub(LAST_BYTES));
    }
    last
}

/// The last lines that say something, as one.
fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<&str> =
        text.lines().rev().map(str::trim).filter(|line| !line.is_empty()).take(LAST_LINES).collect();
    lines.reverse();
    if lines.is_empty() { "it said nothing".into() } else { lines.join(" · ") }
}

/// A fresh folder of this process; dropped, it is gone.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &BTreeMap<String, String>) -> Result<Folder, Failed> {
        let path = folder_of(rustix::process::getpid().as_raw_nonzero().get());
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| Failed::new(format!("write {path}"), error)
        };
        // What has the name is of a process that has ended: no two that live share a number and a namespace.
        remove_folder(&path);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        let folder = Folder(path);
        for (name, content) in files {
            let inside = Path::new(name);
            let path = folder.0.join(inside);
            let is_inside = inside.components().all(|part| matches!(part, Component::Normal(_)));
            if !is_inside || name.is_empty() {
                return Err(failed(inside)(io::Error::other("a file's path must lead into the folder")));
            }
            let parent = path.parent().expect("it is in a folder");
            fs::create_dir_all(parent).map_err(failed(parent))?;
            fs::write(&path, folder.fill_in(content)).map_err(failed(&path))?;
        }
        Ok(folder)
    }

    fn fill_in(&self, text: &str) -> String {
        text.replace("{dir}", &self.0.to_string_lossy())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove_folder(&self.0);
    }
}

/// The folder of the actor that has this process id, whether it is there or not.
pub(crate) fn folder_of(pid: i32) -> PathBuf {
    // Containers may share the folder of temporary files, and have the same ids.
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |it| it.ino());
    std::env::temp_dir().join(format!("linger-lab-{namespace}-{pid}"))
}

/// Removes a folder, if it is there.
pub(crate) fn remove_folder(path: &Path) {
    for _ in 0..50 {
        match fs::remove_dir_all(path) {
            // A killed program may have written something just now.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                thread::sleep(Duration::from_millis(10));
            }
            _ => return,
        }
    }
}

/// Whether a socket of this host listens at the address, or at its port of every address.
///
/// Read from /proc: connecting would leave a trace in what is to be observed.
fn is_listening(address: SocketAddr) -> bool {
    let text = ["tcp", "tcp6"].map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")));
    text.into_iter().flatten().any(|text| {
        text.lines()
            .filter_map(listener)
            .any(|at| at.port() == address.port() && (at.ip() == address.ip() || at.ip().is_unspecified()))
    })
}

/// The address of a line of /proc/net/tcp or tcp6 that is a listener's.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (ip, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    // Words of 32 bits, each as this machine's number.
    let word = |at: usize| Some(u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = if ip.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)?))
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let bytes: [u8; 16] = words.concat().try_into().ok()?;
        IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_in_proc() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert!(is_listening(address));
        assert!(!is_listening(SocketAddr::new(IpAddr::from([127, 0, 0, 2]), address.port())));
        let Ok(six) = std::net::TcpListener::bind("[::1]:0") else { return };
        assert!(is_listening(six.local_addr().unwrap()));
        drop(six);
        let every = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(is_listening(SocketAddr::from(([127, 0, 0, 1], every.local_addr().unwrap().port()))));
    }

    #[test]
    fn the_end_of_the_output_is_kept() {
        let text = format!("{}\nfirst\n\nsecond \nthird\n", "x".repeat(20_000));
        let last = Vec::from(last_of(&mut text.as_bytes()));
        assert_eq!(last.len(), LAST_BYTES);
        assert_eq!(last_lines(&last), "first · second · third");
        assert_eq!(last_lines(b"\n"), "it said nothing");
    }

    #[test]
    fn files_stay_in_their_folder() {
        let files = |name: &str| BTreeMap::from([(name.to_owned(), "in {dir}".to_owned())]);
        for bad in ["../x", "/x", "a/../../x", ""] {
            assert!(Folder::new(&files(bad)).is_err(), "{bad:?}");
        }
        let folder = Folder::new(&files("conf/x")).unwrap();
        let path = folder.0.clone();
        assert_eq!(fs::read_to_string(path.join("conf/x")).unwrap(), format!("in {}", path.display()));
        drop(folder);
        assert!(!path.exists());
    }
}
