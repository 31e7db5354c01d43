//! Real servers, and that nothing of them stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::{PATIENCE, SERVER, assert_states, client, launcher, pair, run, start, wait_for, world};
use linger_lab::{Actor, ActorSpec, Client, Close, Error, Host, Program, Server};

/// The program, or nothing and a word about it where it isn't installed. In CI it must be.
fn installed(program: Program) -> Option<Program> {
    if program.find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "{} is not installed", program.program);
        println!("SKIPPED: {} is not installed", program.program);
        return None;
    }
    Some(program)
}

fn program(name: &str, args: &[&str], files: &[(&str, &str)], ready: &[&str]) -> Option<Program> {
    installed(Program {
        comm: "lab-web".into(),
        program: name.into(),
        package: name.into(),
        args: args.iter().map(|&arg| arg.into()).collect(),
        files: files.iter().map(|&(name, text)| (name.into(), text.into())).collect::<BTreeMap<_, _>>(),
        ready: ready.iter().map(|address| address.parse().unwrap()).collect(),
        ..Program::default()
    })
}

fn redis(timeout_s: u32) -> Option<Program> {
    let config = format!(
        "bind 10.77.0.2\nport 80\nprotected-mode no\nsave \"\"\ndir {{dir}}\ntimeout {timeout_s}\ndaemonize no\n"
    );
    program("redis-server", &["{dir}/redis.conf"], &[("redis.conf", &config)], &[SERVER])
}

fn nginx() -> Option<Program> {
    let config = "user root root;\ndaemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log stderr;\nevents {}\nhttp {\n\
        access_log off;\nclient_body_temp_path {dir}/body;\nproxy_temp_path {dir}/proxy;\n\
        fastcgi_temp_path {dir}/fastcgi;\nuwsgi_temp_path {dir}/uwsgi;\nscgi_temp_path {dir}/scgi;\n\
        server { listen 10.77.0.2:80; root {dir}/pages; }\n}\n";
    let files = [("nginx.conf", config), ("pages/index.html", "hello from {dir}\n")];
    program("nginx", &["-e", "stderr", "-p", "{dir}", "-c", "{dir}/nginx.conf"], &files, &[SERVER])
}

/// A program that starts two others and waits for them.
fn family() -> Program {
    program("sh", &["-c", "sleep 1000 & sleep 1000 & wait"], &[("x", "y")], &[]).unwrap()
}

/// Parent and state of a process.
fn stat(pid: i32) -> Option<(i32, char)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// The processes that come from this one.
fn descendants(pid: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let parents: Vec<(i32, i32)> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.0)))
        .collect();
    let mut found = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            found.remove(&pid);
            return found.into_iter().collect();
        }
        found.extend(more);
    }
}

/// Whether none of them lives; who is to reap them may take a while.
fn are_gone(pids: &[i32]) -> bool {
    pids.iter().all(|&pid| stat(pid).is_none_or(|(_, state)| matches!(state, 'Z' | 'X')))
}

/// The folder of an actor's program.
fn folder(actor: i32) -> Option<PathBuf> {
    let end = format!("-{actor}");
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    let namespace = namespace.trim_matches(|it: char| !it.is_ascii_digit()).to_owned();
    entries.into_iter().find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&format!("linger-lab-{namespace}")) && name.ends_with(&end)
    })
}

/// Starts it, and waits until it has so many processes.
fn start_family(host: &Host, spec: Program, processes: usize) -> (Actor, Vec<i32>) {
    let actor = start(host, spec);
    wait_for("all processes start", || descendants(actor.pid()).len() == processes);
    let processes = descendants(actor.pid());
    assert!(folder(actor.pid()).is_some());
    (actor, processes)
}

fn actor_error(error: Error) -> (String, String) {
    match error {
        Error::Actor { call, errno, .. } => (call, errno),
        other => panic!("{other}"),
    }
}

fn fails(host: &Host, spec: Program) -> (String, String) {
    let actor = host.spawn(&launcher(), &ActorSpec::Program(spec)).unwrap();
    let pid = actor.pid();
    let error = actor_error(actor.ready(PATIENCE).unwrap_err());
    wait_for("it ends", || are_gone(&[pid]));
    assert_eq!(folder(pid), None);
    error
}

#[test]
fn a_pool_forgets_connections_that_redis_closes() {
    let Some((_world, near, far)) = pair() else { return };
    let Some(redis) = redis(1) else { return };
    let redis = start(&far, redis);
    let ask = |request: &str, leak_on: Option<&str>| {
        let spec = Client {
            request: Some(request.into()),
            response_until: Some("\r\n".into()),
            leak_on: leak_on.map(Into::into),
            close: Close::Abort,
            ..client(10)
        };
        let (actor, outcome) = run(&near, spec);
        (actor, (outcome.succeeded, outcome.leaked, outcome.failed()))
    };
    assert_eq!(ask("PING\r\n", Some("-ERR")).1, (10, 0, 0));
    assert_eq!(ask("NONSENSE\r\n", None).1, (10, 0, 0));
    let (pool, result) = ask("NONSENSE\r\n", Some("-ERR"));
    assert_eq!(result, (0, 10, 0));
    assert_states(&near, &[("close_wait", 10)]);
    assert_eq!(pool.outcome_so_far().unwrap().held, 10);
    redis.stop(PATIENCE).unwrap();
}

#[test]
fn nginx_answers() {
    let Some((_world, near, far)) = pair() else { return };
    let Some(nginx) = nginx() else { return };
    let nginx = start(&far, nginx);
    // Nobody had to connect to know that it is ready.
    assert_states(&far, &[]);
    let folder = folder(nginx.pid()).unwrap();
    let spec = Client {
        request: Some("GET / HTTP/1.1\r\nHost: lab\r\n\r\n".into()),
        response_until: Some(format!("hello from {}\n", folder.display())),
        requests: 3,
        ..client(20)
    };
    let (_clients, outcome) = run(&near, spec);
    assert_eq!((outcome.succeeded, outcome.failed()), (20, 0), "{outcome:?}");
    let listener = far.tcp_sockets().unwrap().into_iter().find(|it| it.state == "listen").unwrap();
    assert_eq!(listener.local_port, 80);
    let processes = descendants(nginx.pid());
    nginx.stop(PATIENCE).unwrap();
    assert!(are_gone(&processes) && !folder.exists());
    assert!(!far.tcp_states().unwrap().contains_key("listen"));
}

#[test]
fn haproxy_passes_on() {
    let Some((_world, near, far)) = pair() else { return };
    let config = "defaults\nmode tcp\ntimeout connect 5s\ntimeout client 60s\ntimeout server 60s\n\
        listen web\nbind 10.77.0.2:80\nserver one 10.77.0.2:81\n";
    let args = ["-db", "-f", "{dir}/haproxy.cfg"];
    let Some(haproxy) = program("haproxy", &args, &[("haproxy.cfg", config)], &[SERVER]) else { return };
    let backend = start(&far, Server { listen: vec!["10.77.0.2:81".parse().unwrap()], ..Server::default() });
    let haproxy = start(&far, Program { nofile: Some(1000), ..haproxy });
    let (_clients, outcome) = run(&near, Client { close: Close::Never, ..client(5) });
    assert_eq!(outcome.succeeded, 5, "{outcome:?}");
    assert_eq!(backend.outcome_so_far().unwrap().held, 5);
    haproxy.stop(PATIENCE).unwrap();
    backend.wait_until(PATIENCE, |it| it.held == 0).unwrap();
}

#[test]
fn a_program_that_cannot_start_says_why() {
    let Some((_world, _near, far)) = pair() else { return };
    let missing =
        Program { program: "lab-nonesuch".into(), package: "nonesuch".into(), ..Program::default() };
    assert_eq!(fails(&far, missing).1, "program lab-nonesuch (Debian's package nonesuch) is not installed");
    let (call, why) =
        fails(&far, Program { files: BTreeMap::from([("../x".into(), "y".into())]), ..family() });
    assert!(call.contains("../x") && why.contains("folder"), "{call}: {why}");
    let Some(redis) = redis(0) else { return };
    let mut wrong = redis.clone();
    wrong.files.insert("redis.conf".into(), "nonsense yes\n".into());
    let (call, why) = fails(&far, wrong);
    assert_eq!(call, "redis-server");
    assert!(why.contains("exit status: 1") && why.contains("Bad directive"), "{why}");

    let first = start(&far, redis.clone());
    let second = fails(&far, redis.clone());
    assert_eq!((second.0.as_str(), second.1.as_str()), ("bind 10.77.0.2:80", "EADDRINUSE"));
    let (_, why) = fails(&far, Program { ready: vec!["10.77.0.2:81".parse().unwrap()], ..redis });
    assert!(why.contains("Failed listening on port 80"), "{why}");
    first.stop(PATIENCE).unwrap();
}

#[test]
fn a_program_that_ends_by_itself_says_its_last_words() {
    let Some((_world, host)) = world() else { return };
    let script = "sleep 0.3; echo one; echo two >&2; exit 7";
    let program = program("sh", &["-c", script], &[], &[]).unwrap();
    let actor = start(&host, program);
    let pid = actor.pid();
    let (call, why) = actor_error(actor.wait_until(PATIENCE, |_| false).unwrap_err());
    assert_eq!((call.as_str(), why.as_str()), ("sh", "it ended (exit status: 7): one · two"));
    wait_for("it ends", || are_gone(&[pid]));
    assert_eq!(folder(pid), None);
}

#[test]
fn a_program_has_the_limit_it_is_given() {
    let Some((_world, host)) = world() else { return };
    let script = "ulimit -n; read line; echo \"<$line>\"; pwd; exit 1";
    let limited = Program { nofile: Some(77), ..program("sh", &["-c", script], &[], &[]).unwrap() };
    let actor = host.spawn(&launcher(), &limited.into()).unwrap();
    let (_, why) = actor_error(actor.wait_until(PATIENCE, |_| false).unwrap_err());
    let words: Vec<&str> = why.split_once("): ").unwrap().1.split(" · ").collect();
    assert_eq!(words[..2], ["77", "<>"]);
    assert!(words[2].ends_with(&format!("-{}", actor.pid())), "{why}");
}

#[test]
fn nothing_stays_of_a_stopped_program() {
    let Some((_world, host)) = world() else { return };
    let (actor, processes) = start_family(&host, family(), 3);
    let pid = actor.pid();
    actor.stop(PATIENCE).unwrap();
    assert!(are_gone(&processes));
    assert_eq!(folder(pid), None);
}

#[test]
fn nothing_stays_of_a_dropped_program() {
    let Some((_world, host)) = world() else { return };
    let (actor, processes) = start_family(&host, family(), 3);
    let pid = actor.pid();
    drop(actor);
    assert_eq!(folder(pid), None);
    wait_for("its processes end", || are_gone(&processes));
}

#[test]
fn no_process_outlives_a_killed_actor() {
    let Some((_world, host)) = world() else { return };
    let (actor, processes) = start_family(&host, family(), 3);
    kill(actor.pid());
    wait_for("its processes end", || are_gone(&processes));
    let pid = actor.pid();
    assert!(actor.outcome_so_far().is_err());
    drop(actor);
    assert_eq!(folder(pid), None);
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// What a process prints that runs programs and waits for its end.
const RUNS: &str = "RUNS";

/// Not a test: the process that is killed in the next one.
#[test]
#[ignore = "run by another test"]
fn runs_programs_and_waits() {
    let Some((_world, _near, far)) = pair() else { return };
    let (shell, mut processes) = start_family(&far, family(), 3);
    let redis = redis(0).map(|redis| start_family(&far, redis, 1));
    let mut actors = vec![shell.pid()];
    if let Some((redis, of_redis)) = &redis {
        actors.push(redis.pid());
        processes.extend(of_redis);
    }
    println!("\n{RUNS} {} {:?} {:?}", actors.len(), actors, processes);
    std::thread::sleep(PATIENCE);
}

#[test]
fn nothing_of_a_program_outlives_a_killed_lab() {
    if world().is_none() {
        return;
    }
    assert_nothing_stays(kill);
}

#[test]
fn nothing_of_a_program_outlives_ctrl_c() {
    if world().is_none() {
        return;
    }
    // A terminal sends it to the whole process group.
    assert_nothing_stays(|pid| {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process_group(pid, rustix::process::Signal::INT).unwrap();
    });
}

fn assert_nothing_stays(end: impl Fn(i32)) {
    let mut child = this_test("programs::runs_programs_and_waits");
    let mut child = child.arg("--ignored").process_group(0).spawn().unwrap();
    let line = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with(RUNS))
        .expect("it runs programs");
    let mut numbers = line
        .split(|it: char| !it.is_ascii_digit())
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<i32>().unwrap());
    let count = usize::try_from(numbers.next().unwrap()).unwrap();
    let numbers: Vec<i32> = numbers.collect();
    let (actors, processes) = numbers.split_at(count);
    assert!(processes.len() >= 3 && !are_gone(&processes[..1]), "{line}");
    assert!(actors.iter().all(|&pid| folder(pid).is_some()), "{line}");
    end(child.id().cast_signed());
    child.wait().unwrap();
    wait_for("actors and programs end", || are_gone(&numbers));
    assert!(actors.iter().all(|&pid| folder(pid).is_none()), "{line}");
}

#[test]
fn programs_run_where_there_is_one_user() {
    if world().is_none() {
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user"]);
    if !unshare.arg("true").status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "no user namespace may be made");
        return println!("SKIPPED: no user namespace may be made");
    }
    for test in [
        "nginx_answers",
        "haproxy_passes_on",
        "no_process_outlives_a_killed_actor",
        "nothing_stays_of_a_stopped_program",
    ] {
        let inner = this_test(&format!("programs::{test}"));
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).arg(inner.get_program()).args(inner.get_args());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{test}: {said}");
    }
}

/// This program with one test.
fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).stdout(Stdio::piped());
    command
}
