use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::{Error, Kind, Netns};

/// Moves the calling thread into `ns`; never called on a thread that isn't ours.
fn enter(ns: &Netns) -> Result<(), Error> {
    // Needs no privilege, and none may be had.
    if ns.is_current() {
        return Ok(());
    }
    move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| Error::io("enter", format!("the network namespace {}", ns.label()), error.into()))
}

/// Runs `f` inside `ns`, on a thread of its own, and returns what it returned.
///
/// # Errors
/// When the thread can't be made or `ns` can't be entered: [`Kind::Denied`] without CAP_SYS_ADMIN both in this
/// process's user namespace and in the one that owns `ns`.
///
/// # Panics
/// A panic of `f` goes on in the caller.
pub fn run_in<T: Send>(ns: &Netns, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || enter(ns).map(|()| f()))
            .map_err(|error| Error::io("start a thread for", ns.label(), error))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that lives in a namespace and runs what it is given, in order.
///
/// The thread keeps the namespace alive. It ends when this value is dropped, after what it runs at the time.
#[derive(Debug)]
pub struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread in `ns`.
    ///
    /// # Errors
    /// As [`run_in`].
    pub fn new(ns: &Netns) -> Result<Worker, Error> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (entered, answer) = mpsc::sync_channel(1);
        // The thread must own what it enters: `ns` may be gone before the thread runs.
        let label = ns.label();
        let fd = ns
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::io("start a thread for", label.as_str(), error))?;
        let is_current = ns.is_current();
        let subject = format!("the network namespace {label}");
        let thread = thread::Builder::new()
            .name("netns-worker".into())
            .spawn(move || {
                let result = if is_current {
                    Ok(())
                } else {
                    move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))
                        .map_err(|error| Error::io("enter", subject, error.into()))
                };
                drop(fd);
                let is_inside = result.is_ok();
                let _ = entered.send(result);
                if is_inside {
                    queue.into_iter().for_each(|job| job());
                }
            })
            .map_err(|error| Error::io("start a thread for", label.as_str(), error))?;
        let worker = Worker { jobs: Some(jobs), thread: Some(thread) };
        answer.recv().unwrap_or_else(|_| {
            Err(Error::new("enter", label, Kind::Unsupported, "its thread ended before it began"))
        })?;
        Ok(worker)
    }

    /// Runs `f` on the worker's thread, after everything that was given to it before, and returns what it returned.
    ///
    /// # Panics
    /// A panic of `f` goes on in the caller; the worker stays usable.
    pub fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, answer) = mpsc::sync_channel(1);
        let job = Box::new(move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(f)));
        });
        let jobs = self.jobs.as_ref().expect("the queue is closed only by drop");
        jobs.send(job).expect("the worker's thread lives as long as its queue");
        match answer.recv().expect("every job answers") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes a network namespace with its loopback up.
///
/// It has no name and is mounted nowhere: it lives while the returned value or a thread or process inside it
/// does, and so vanishes with this process even on SIGKILL.
///
/// # Errors
/// [`Kind::Denied`] without CAP_SYS_ADMIN in this process's user namespace; exhausted past
/// `user.max_net_namespaces`.
pub fn create() -> Result<Netns, Error> {
    let failed = |error: rustix::io::Errno| Error::io("create", "a network namespace", error.into());
    let thread = thread::Builder::new().name("netns-create".into()).spawn(move || {
        // SAFETY: NEWNET alone is unshared, so every descriptor stays valid in every thread.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(failed)?;
        let ns = Netns::created()?;
        loopback_up()
            .map_err(|error| Error::io("set the loopback up in", "a new network namespace", error.into()))?;
        Ok(ns)
    });
    let thread = thread.map_err(|error| Error::io("start a thread for", "a new network namespace", error))?;
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// A command whose process starts inside `ns`; this process stays where it is.
///
/// `spawn` fails with EPERM where [`run_in`] would be denied.
///
/// # Errors
/// When this process has no descriptor left to hold `ns` with.
pub fn command(ns: &Netns, program: impl AsRef<OsStr>) -> Result<Command, Error> {
    let fd = ns
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Error::io("hold", format!("the network namespace {}", ns.label()), error))?;
    let is_current = ns.is_current();
    let mut command = Command::new(program);
    let enter = move || {
        if !is_current {
            move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing; the descriptor it
    // uses is owned by it, and so open in the child until exec closes it.
    unsafe { command.pre_exec(enter) };
    Ok(command)
}

/// Sets interface 1, which is `lo` in every namespace, up: one RTM_NEWLINK of a header and an `ifinfomsg`.
fn loopback_up() -> rustix::io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: u16 = 2;
    const IFF_UP: u32 = 1;

    let mut request = Vec::with_capacity(32);
    request.extend(32u32.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend([0; 8]); // sequence, port
    request.extend([0; 4]); // family, padding, type
    request.extend(1u32.to_ne_bytes()); // index
    request.extend(IFF_UP.to_ne_bytes()); // flags
    request.extend(IFF_UP.to_ne_bytes()); // which of them change

    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // NETLINK_ROUTE is 0
    )?;
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0u8; 256];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let answer = &answer[..length];
    let kind = answer.get(4..6).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    let code = answer.get(16..20).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(rustix::io::Errno::from_raw_os_error(-code)),
        _ => Err(rustix::io::Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::reachable;

    /// Makes a namespace, or says that it may not and skips; in CI it must be able to.
    fn created() -> Option<Netns> {
        match create() {
            Ok(ns) => Some(ns),
            Err(error) if error.kind == Kind::Denied && std::env::var_os("CI").is_none() => {
                println!("SKIPPED: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_created_namespace_is_another_one_with_loopback() {
        let Some(ns) = created() else { return };
        let before = Netns::current().unwrap().inode();
        assert_ne!(ns.inode(), before);
        assert!(!ns.is_current());
        let inside = run_in(&ns, || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            Netns::current().unwrap().inode()
        });
        assert_eq!(inside.unwrap(), ns.inode());
        assert_eq!(Netns::current().unwrap().inode(), before);
    }

    #[test]
    fn running_in_the_current_one_needs_no_privilege() {
        let ns = Netns::current().unwrap();
        let caller = thread::current().id();
        assert_ne!(run_in(&ns, || thread::current().id()).unwrap(), caller);
    }

    #[test]
    fn a_command_starts_inside() {
        let Some(ns) = created() else { return };
        let output = command(&ns, "readlink").unwrap().arg("/proc/self/ns/net").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("net:[{}]", ns.inode()));
    }

    /// Not a test: what the next one runs as root of a user namespace that doesn't own its network namespace.
    #[test]
    #[ignore = "run by another test"]
    fn cannot_go_back() {
        let outer = Netns::current().unwrap();
        let inner = create().unwrap();
        let (denied, worker) =
            run_in(&inner, || (run_in(&outer, || ()), Worker::new(&outer).map(drop))).unwrap();
        for error in [denied.unwrap_err(), worker.unwrap_err()] {
            assert_eq!(error.kind, Kind::Denied);
            let text = error.to_string();
            let expected = "cannot enter the network namespace self: Operation not permitted (os error 1); run as root or \
                 with CAP_SYS_ADMIN in the user namespace that owns it";
            assert_eq!(text, expected);
        }
        // Here it is the own one.
        assert_eq!(run_in(&outer, || 5).unwrap(), 5);
    }

    #[test]
    fn a_namespace_of_another_user_namespace_is_denied() {
        let is_able =
            Command::new("unshare").args(["-Ur", "true"]).status().is_ok_and(|status| status.success());
        if !is_able {
            return println!("SKIPPED: `unshare -Ur` isn't here or may not be used");
        }
        let output = Command::new("unshare")
            .arg("-Ur")
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "enter::tests::cannot_go_back"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }

    #[test]
    fn a_panic_inside_reaches_the_caller() {
        let ns = Netns::current().unwrap();
        let panic = catch_unwind(|| run_in(&ns, || panic!("inside"))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"));
    }

    #[test]
    fn a_worker_runs_in_order_and_survives_a_panic() {
        let Some(ns) = created() else { return };
        let worker = Worker::new(&ns).unwrap();
        let inode = ns.inode();
        drop(ns);
        let count = Arc::new(AtomicU32::new(0));
        for expected in 0..10 {
            let count = Arc::clone(&count);
            assert_eq!(worker.run(move || count.fetch_add(1, Ordering::Relaxed)), expected);
        }
        assert!(catch_unwind(AssertUnwindSafe(|| worker.run(|| panic!("inside")))).is_err());
        assert_eq!(worker.run(|| Netns::current().unwrap().inode()), inode);
        // Only the worker's thread holds it now, and it is found by that.
        let found = reachable();
        let found = found.namespaces.iter().find(|ns| ns.inode() == inode).expect("found by its thread");
        assert_eq!(found.member().unwrap().pid, std::process::id() as i32);
    }
}
