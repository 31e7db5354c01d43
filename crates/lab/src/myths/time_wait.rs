//! Beliefs about TIME_WAIT and FIN_WAIT2.

use std::thread;
use std::time::{Duration, Instant};

use super::kit::{
    Lab, Life, NAMESPACES, PATIENCE, be_closed, close, connect, connect_and_close, counter, exchange,
    is_out_of_ports, keep_time_wait, listen, loopback, timewaits, try_connect, wait,
};
use super::{Measured, Myth, Verdict};
use crate::{Client, Error, Host, Server};

const ON_EXHAUSTION: &str = "the article on TIME_WAIT that exhausts a server";

/// How many TIME_WAIT sockets are watched.
const WATCHED: u64 = 4;
/// Longer than the longest life that anybody claims.
const LONGEST: Duration = Duration::from_secs(130);
/// After this age tcp_tw_reuse takes a TIME_WAIT on every kernel; most need 1 s, those before 5.0 up to 2 s.
const OLD_ENOUGH: Duration = Duration::from_millis(2_500);

pub(super) const FIN_TIMEOUT: Myth = Myth {
    name: "fin-timeout-shortens-time-wait",
    claim: "Lowering tcp_fin_timeout makes TIME_WAIT end sooner.",
    source: "the articles on 200k TIME_WAIT and on TIME_WAIT that exhausts a server; almost all lore",
    why: "It limits FIN_WAIT2 of sockets that nobody holds any more (tcp_fin_time()); tcp_time_wait() always gives \
          TIME_WAIT the length TCP_TIMEWAIT_LEN, 60 s, fixed when the kernel is built (include/net/tcp.h).",
    seconds: 62,
    needs: NAMESPACES,
    measure: fin_timeout,
};

fn fin_timeout(lab: &Lab) -> Result<Measured, Error> {
    let (usual, short) = (lab.host("usual")?, lab.host("short")?);
    short.sysctl("net.ipv4.tcp_fin_timeout", "5")?;
    let half_closed = lab.host("half-closed")?;
    half_closed.sysctl("net.ipv4.tcp_fin_timeout", "5")?;
    let (usual, short, fin_wait2) = thread::scope(|scope| {
        let usual = scope.spawn(|| time_wait_life(&usual));
        let fin_wait2 = scope.spawn(|| fin_wait2_life(&half_closed, PATIENCE));
        let short = time_wait_life(&short);
        (join(usual), short, join(fin_wait2))
    });
    let (usual, short, fin_wait2) = (usual?, short?, fin_wait2?);
    let text = format!(
        "TIME_WAIT lived {short} with tcp_fin_timeout=5 and {usual} with the default; FIN_WAIT2 with 5 lived {fin_wait2}"
    );
    if fin_wait2.goes_on {
        return Ok(Measured::unsure(text, "the setting did not show its effect on FIN_WAIT2 either"));
    }
    Ok(Measured { text, verdict: judge_fin_timeout(short.seconds, usual.seconds) })
}

fn judge_fin_timeout(short: f64, usual: f64) -> Verdict {
    if short < usual * 0.5 {
        Verdict::Right
    } else if short > usual * 0.85 {
        Verdict::Wrong
    } else {
        Verdict::Partly
    }
}

pub(super) const TWO_MINUTES: Myth = Myth {
    name: "time-wait-lasts-two-minutes",
    claim: "TIME_WAIT lasts twice the maximum segment lifetime, two minutes.",
    source: "the article on TIME_WAIT that exhausts a server; textbooks, after RFC 9293",
    why: "Linux keeps it for TCP_TIMEWAIT_LEN, 60 s, whatever the segment lifetime (include/net/tcp.h, whose comment \
          says that this violates the requirement). The timer is coarse and may come a few seconds late.",
    seconds: 62,
    needs: NAMESPACES,
    measure: two_minutes,
};

fn two_minutes(lab: &Lab) -> Result<Measured, Error> {
    let life = time_wait_life(&lab.host("client")?)?;
    Ok(Measured { text: format!("TIME_WAIT lived {life}"), verdict: judge_two_minutes(life.seconds) })
}

fn judge_two_minutes(seconds: f64) -> Verdict {
    match seconds {
        0.0..95.0 => Verdict::Wrong,
        95.0..110.0 => Verdict::Partly,
        _ => Verdict::Right,
    }
}

/// How long the TIME_WAIT sockets of a few connections live, from the first close until the last one is gone.
fn time_wait_life(host: &Host) -> Result<Life, Error> {
    keep_time_wait(host)?;
    let listener = listen(host, loopback(80), 16)?;
    let since = Instant::now();
    connect_and_close(host, &listener, WATCHED)?;
    await_timewaits(host, WATCHED)?;
    Life::watch(since, LONGEST, || Ok(timewaits(host)? > 0))
}

/// Waits until so many timewait sockets are there; without them there is nothing to measure.
fn await_timewaits(host: &Host, wanted: u64) -> Result<(), Error> {
    let mut last = 0;
    let are_there = wait(PATIENCE, || {
        last = timewaits(host)?;
        Ok(last >= wanted)
    })?;
    if are_there {
        return Ok(());
    }
    Err(Error::Program {
        host: host.name().to_owned(),
        program: "the measurement".into(),
        message: format!("{wanted} TIME_WAIT sockets should be there, {last} are"),
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub(super) const LONG_FIN_TIMEOUT: Myth = Myth {
    name: "fin-timeout-65-keeps-fin-wait2-65-s",
    claim: "tcp_fin_timeout=65 keeps FIN_WAIT2 for 65 s.",
    source: "the kernel's ip-sysctl.rst, read literally",
    why: "Above 60 s the socket first waits T - 60 s itself, then hands what is left, T - 60 s again, to a timewait \
          socket: 2·(T - 60 s) in all (tcp_rcv_state_process(), __tcp_close(), tcp_keepalive_timer()). Values from \
          61 to 89 therefore shorten it.",
    seconds: 62,
    needs: NAMESPACES,
    measure: long_fin_timeout,
};

fn long_fin_timeout(lab: &Lab) -> Result<Measured, Error> {
    let (long, usual) = (lab.host("long")?, lab.host("usual")?);
    long.sysctl("net.ipv4.tcp_fin_timeout", "65")?;
    usual.sysctl("net.ipv4.tcp_fin_timeout", "60")?;
    let limit = Duration::from_secs(90);
    let (long, usual) = thread::scope(|scope| {
        let usual = scope.spawn(|| fin_wait2_life(&usual, limit));
        (fin_wait2_life(&long, limit), join(usual))
    });
    let (long, usual) = (long?, usual?);
    let text = format!(
        "FIN_WAIT2 that nobody held lived {long} with tcp_fin_timeout=65 and {usual} with tcp_fin_timeout=60"
    );
    Ok(Measured { text, verdict: judge_long_fin_timeout(long.seconds) })
}

fn judge_long_fin_timeout(seconds: f64) -> Verdict {
    match seconds {
        0.0..40.0 => Verdict::Wrong,
        40.0..60.0 => Verdict::Partly,
        _ => Verdict::Right,
    }
}

/// How long the FIN_WAIT2 of a closed socket lives whose peer does not close.
fn fin_wait2_life(host: &Host, limit: Duration) -> Result<Life, Error> {
    let listener = listen(host, loopback(80), 16)?;
    let (closing, _open) = connect(host, &listener)?;
    // A timewait socket is told cheaply; a socket that isn't one yet takes the whole table.
    let is_there =
        || Ok(timewaits(host)? > 0 || host.tcp_states()?.keys().any(|state| state.starts_with("fin_wait")));
    let since = Instant::now();
    drop(closing);
    Life::watch(since, limit, is_there)
}

pub(super) const REUSE_ON_THE_SERVER: Myth = Myth {
    name: "tw-reuse-helps-a-server",
    claim: "tcp_tw_reuse=1 frees a server from the TIME_WAIT sockets that it gets by closing first.",
    source: "the article on 200k TIME_WAIT; most tuning guides for web servers",
    why: "Only connect() asks whether a TIME_WAIT may be taken over (tcp_twsk_unique(), called by \
          __inet_check_established()); what a server accepts never does. There they cost memory, but no ports.",
    seconds: 8,
    needs: NAMESPACES,
    measure: reuse_on_the_server,
};

fn reuse_on_the_server(lab: &Lab) -> Result<Measured, Error> {
    const HALF: u16 = 20;
    const ALL: u64 = 2 * HALF as u64;
    let serve = |mode: &str| -> Result<(u64, u64, bool), Error> {
        let host = lab.host("server")?;
        keep_time_wait(&host)?;
        host.sysctl("net.ipv4.tcp_tw_reuse", mode)?;
        let listener = listen(&host, loopback(80), 16)?;
        let start = Instant::now();
        be_closed(&host, &listener, 20_000..20_000 + HALF)?;
        await_timewaits(&host, HALF.into())?;
        thread::sleep(OLD_ENOUGH);
        be_closed(&host, &listener, 30_000..30_000 + HALF)?;
        // The last one's end may be under way still.
        wait(Duration::from_secs(1), || Ok(timewaits(&host)? >= ALL))?;
        let kept = timewaits(&host)?;
        Ok((kept, counter(&host, "TWRecycled")?, start.elapsed() < Duration::from_secs(50)))
    };
    let (without, _, in_time) = serve("0")?;
    let (with, recycled, in_time_too) = serve("1")?;
    let client = reuse(lab, true)?;
    let text = format!(
        "after {} connections closed by the server: {without} TIME_WAIT with tcp_tw_reuse=0, {with} with 1, {recycled} \
         reused; where the client closed first, {} of {} were reused",
        ALL,
        client.recycled,
        Reuse::PORTS
    );
    if !in_time || !in_time_too {
        return Ok(Measured::unsure(text, "it took so long that the first may have ended by themselves"));
    }
    if client.recycled == 0 {
        return Ok(Measured::unsure(text, "the setting did not show its effect on a client either"));
    }
    if without < ALL {
        return Ok(Measured::unsure(text, "some were missing without the setting already"));
    }
    Ok(Measured { text, verdict: judge_reuse_on_the_server(without, with, recycled) })
}

fn judge_reuse_on_the_server(without: u64, with: u64, recycled: u64) -> Verdict {
    if with * 2 <= without {
        Verdict::Right
    } else if with * 10 >= without * 9 && recycled == 0 {
        Verdict::Wrong
    } else {
        Verdict::Partly
    }
}

pub(super) const REUSE_WITHOUT_TIMESTAMPS: Myth = Myth {
    name: "tw-reuse-works-without-timestamps",
    claim: "tcp_tw_reuse=1 is all that it takes to reuse TIME_WAIT; timestamps don't matter.",
    source: "the article on TIME_WAIT that exhausts a server, which names no condition; tuning guides that turn \
             tcp_timestamps off as well",
    why: "tcp_twsk_unique() takes over only a TIME_WAIT with a timestamp of its peer (tw_ts_recent_stamp), so that old \
          segments can be told. Without tcp_timestamps at both ends, or past a middlebox that strips them, there is none.",
    seconds: 7,
    needs: NAMESPACES,
    measure: reuse_without_timestamps,
};

fn reuse_without_timestamps(lab: &Lab) -> Result<Measured, Error> {
    let with = reuse(lab, true)?;
    let without = reuse(lab, false)?;
    let ports = Reuse::PORTS;
    let text = format!(
        "with tcp_tw_reuse=1 and all {ports} local ports in TIME_WAIT for {:.1} s, {} of {ports} new connections succeeded \
         with timestamps and {} without ({} EADDRNOTAVAIL)",
        OLD_ENOUGH.as_secs_f64(),
        with.succeeded,
        without.succeeded,
        without.out_of_ports
    );
    if with.succeeded == 0 {
        return Ok(Measured::unsure(text, "there was no reuse with timestamps either"));
    }
    if without.succeeded + without.out_of_ports < ports {
        return Ok(Measured::unsure(text, "some failed for another reason"));
    }
    if !with.in_time || !without.in_time {
        return Ok(Measured::unsure(text, "it took so long that TIME_WAIT may have ended by itself"));
    }
    Ok(Measured { text, verdict: judge_reuse_without_timestamps(with.succeeded, without.succeeded) })
}

fn judge_reuse_without_timestamps(with: u64, without: u64) -> Verdict {
    match without {
        0 => Verdict::Wrong,
        _ if without >= with => Verdict::Right,
        _ => Verdict::Partly,
    }
}

/// What came of connecting while every local port is in TIME_WAIT, with `tcp_tw_reuse=1`.
struct Reuse {
    succeeded: u64,
    out_of_ports: u64,
    recycled: u64,
    /// No TIME_WAIT can have ended by itself.
    in_time: bool,
}

impl Reuse {
    const PORTS: u64 = 4;
}

fn reuse(lab: &Lab, timestamps: bool) -> Result<Reuse, Error> {
    let host = lab.host("client")?;
    keep_time_wait(&host)?;
    // While the ports fill none may be taken back, however long that takes.
    host.sysctl("net.ipv4.tcp_tw_reuse", "0")?;
    host.sysctl("net.ipv4.tcp_timestamps", if timestamps { "1" } else { "0" })?;
    host.sysctl("net.ipv4.ip_local_port_range", "40000 40003")?;
    let listener = listen(&host, loopback(80), 16)?;
    let start = Instant::now();
    connect_and_close(&host, &listener, Reuse::PORTS)?;
    await_timewaits(&host, Reuse::PORTS)?;
    host.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
    thread::sleep(OLD_ENOUGH);
    let mut result = Reuse { succeeded: 0, out_of_ports: 0, recycled: 0, in_time: false };
    let mut held = Vec::new();
    for _ in 0..Reuse::PORTS {
        match try_connect(&host, loopback(80), PATIENCE)? {
            Ok(socket) => held.push(socket),
            Err(error) if is_out_of_ports(&error) => result.out_of_ports += 1,
            Err(_) => {}
        }
    }
    result.succeeded = held.len() as u64;
    result.recycled = counter(&host, "TWRecycled")?;
    result.in_time = start.elapsed() < Duration::from_secs(50);
    Ok(result)
}

pub(super) const BUCKETS: Myth = Myth {
    name: "max-tw-buckets-drops-connections",
    claim: "Connections beyond tcp_max_tw_buckets are dropped.",
    source: ON_EXHAUSTION,
    why: "The limit is met when a connection is over: inet_twsk_alloc() gives no TIME_WAIT, tcp_time_wait() counts \
          TCPTimeWaitOverflow and closes at once. Nobody is refused; what is lost is the protection from late segments.",
    seconds: 2,
    needs: NAMESPACES,
    measure: buckets,
};

fn buckets(lab: &Lab) -> Result<Measured, Error> {
    const ROOM: u64 = 20;
    const CONNECTIONS: u64 = 100;
    let host = lab.host("client")?;
    keep_time_wait(&host)?;
    host.sysctl("net.ipv4.tcp_max_tw_buckets", &ROOM.to_string())?;
    let listener = listen(&host, loopback(80), 16)?;
    let mut failed = 0;
    for _ in 0..CONNECTIONS {
        let went_through = connect(&host, &listener).is_ok_and(|(client, server)| {
            exchange(&client, &server).is_ok() && close(client, server).is_ok()
        });
        failed += u64::from(!went_through);
    }
    let overflow = counter(&host, "TCPTimeWaitOverflow")?;
    let kept = timewaits(&host)?;
    let text = format!(
        "of {CONNECTIONS} connections with tcp_max_tw_buckets={ROOM}, {} succeeded; {kept} left a TIME_WAIT and \
         TCPTimeWaitOverflow counted {overflow}",
        CONNECTIONS - failed
    );
    if failed == 0 && overflow == 0 {
        return Ok(Measured::unsure(text, "the limit was not met"));
    }
    Ok(Measured { text, verdict: judge_buckets(failed, CONNECTIONS - ROOM) })
}

fn judge_buckets(failed: u64, beyond: u64) -> Verdict {
    match failed {
        0 => Verdict::Wrong,
        _ if failed * 2 >= beyond => Verdict::Right,
        _ => Verdict::Partly,
    }
}

pub(super) const DESCRIPTORS: Myth = Myth {
    name: "time-wait-holds-descriptors",
    claim: "TIME_WAIT sockets hold file descriptors, and a higher ulimit cures their exhaustion.",
    source: ON_EXHAUSTION,
    why: "TIME_WAIT begins after close() and is a small record of the kernel's (inet_timewait_sock) that belongs to no \
          process. What runs out are local ports (EADDRNOTAVAIL), which no descriptor limit adds to.",
    seconds: 2,
    needs: NAMESPACES,
    measure: descriptors,
};

fn descriptors(lab: &Lab) -> Result<Measured, Error> {
    const PORTS: u64 = 100;
    const TRIED: u64 = 120;
    let host = lab.host("client")?;
    keep_time_wait(&host)?;
    host.sysctl("net.ipv4.tcp_tw_reuse", "0")?;
    host.sysctl("net.ipv4.ip_local_port_range", "40000 40099")?;
    let targets = vec![loopback(80)];
    let (_server, _) = lab.start(&host, Server { listen: targets.clone(), ..Server::default() })?;
    let client = |limit| Client {
        targets: targets.clone(),
        connections: TRIED,
        nofile: Some(limit),
        concurrency: 8,
        ..Client::default()
    };
    let start = Instant::now();
    let (first, outcome) = lab.run(&host, client(64))?;
    await_timewaits(&host, PORTS.min(outcome.succeeded))?;
    let held = timewaits(&host)?;
    let descriptors = descriptors_of(first.pid())?;
    let (_second, raised) = lab.run(&host, client(1_024))?;
    let errno = "EADDRNOTAVAIL";
    let refused = raised.errors.get(errno).copied().unwrap_or(0);
    let text = format!(
        "a process with {held} TIME_WAIT sockets held {descriptors} descriptors; with every port in TIME_WAIT, connect() met \
         {errno} {} times with a limit of 64 descriptors, and {refused} of {} times with 1,024",
        outcome.errors.get(errno).unwrap_or(&0),
        raised.attempted
    );
    if start.elapsed() > Duration::from_secs(50) {
        return Ok(Measured::unsure(text, "it took so long that TIME_WAIT may have ended by itself"));
    }
    if outcome.succeeded != PORTS || held != PORTS || raised.succeeded + refused < raised.attempted {
        return Ok(Measured::unsure(
            text,
            "not every port went into TIME_WAIT, or some failed for another reason",
        ));
    }
    Ok(Measured { text, verdict: judge_descriptors(held, descriptors, raised.succeeded) })
}

/// `cured`: connections that succeeded with the higher limit, while all ports are in TIME_WAIT.
fn judge_descriptors(held: u64, descriptors: u64, cured: u64) -> Verdict {
    match (descriptors >= held, cured > 0) {
        (true, true) => Verdict::Right,
        (false, false) => Verdict::Wrong,
        _ => Verdict::Partly,
    }
}

fn descriptors_of(pid: i32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/fd");
    let files = std::fs::read_dir(&path).map_err(|source| Error::Host {
        host: "client".into(),
        operation: "read",
        subject: path,
        source,
    })?;
    Ok(files.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_decide() {
        use Verdict::{Partly, Right, Wrong};
        for (short, expected) in [(60.2, Wrong), (62.0, Wrong), (5.1, Right), (29.0, Right), (45.0, Partly)] {
            assert_eq!(judge_fin_timeout(short, 60.1), expected, "{short}");
        }
        for (seconds, expected) in
            [(60.0, Wrong), (64.0, Wrong), (120.0, Right), (131.0, Right), (100.0, Partly)]
        {
            assert_eq!(judge_two_minutes(seconds), expected, "{seconds}");
        }
        for (seconds, expected) in
            [(10.3, Wrong), (14.0, Wrong), (65.1, Right), (90.0, Right), (50.0, Partly)]
        {
            assert_eq!(judge_long_fin_timeout(seconds), expected, "{seconds}");
        }
        for (with, recycled, expected) in [(40, 0, Wrong), (20, 20, Right), (0, 0, Right), (38, 2, Partly)] {
            assert_eq!(judge_reuse_on_the_server(40, with, recycled), expected, "{with} {recycled}");
        }
        for (without, expected) in [(0, Wrong), (4, Right), (2, Partly)] {
            assert_eq!(judge_reuse_without_timestamps(4, without), expected, "{without}");
        }
        for (failed, expected) in [(0, Wrong), (80, Right), (5, Partly)] {
            assert_eq!(judge_buckets(failed, 80), expected, "{failed}");
        }
        for (descriptors, cured, expected) in
            [(9, 0, Wrong), (109, 20, Right), (9, 3, Partly), (109, 0, Partly)]
        {
            assert_eq!(judge_descriptors(100, descriptors, cured), expected, "{descriptors} {cured}");
        }
    }
}
