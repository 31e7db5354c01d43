//! linger's figures beside those of `ss` for the same sockets, and its JSON beside the published schemas.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use linger_lab::{Actor, Behaviour, Bound, Client, Close, Host, Server};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, ipproto, socket_with};
use serde_json::Value;

use crate::support::{
    Lab, PATIENCE, SERVICE, STATES, address, assert_states_as_ss, assert_valid, begin, check, client, lab,
    linger_in, linger_on, named, nft, run, run_all, schema, server, ss, ss_state, ss_states, start, wait_for,
};

// Sockets in every state.

/// Both ends of connections, and listeners: held by the test itself.
#[derive(Default)]
pub struct Zoo {
    streams: Vec<TcpStream>,
    mptcp: Vec<OwnedFd>,
    listeners: Vec<TcpListener>,
    actors: Vec<Actor>,
}

impl Zoo {
    /// Listens at an address of `far`, and joins so many connections of `near` to it.
    fn join(&mut self, near: &Host, far: &Host, listen: &str, to: &str, count: usize) -> Vec<[TcpStream; 2]> {
        let (listen, to) = (address(listen), address(to));
        let listener = far.run(|| TcpListener::bind(listen).unwrap()).unwrap();
        let pairs = near.run(|| {
            let pair = || [TcpStream::connect(to).unwrap(), listener.accept().unwrap().0];
            (0..count).map(|_| pair()).collect()
        });
        self.listeners.push(listener);
        pairs.unwrap()
    }

    fn keep(&mut self, pairs: Vec<[TcpStream; 2]>) {
        self.streams.extend(pairs.into_iter().flatten());
    }
}

fn shut(stream: &TcpStream) {
    stream.shutdown(std::net::Shutdown::Write).unwrap();
}

/// Sockets of every state on the two hosts; `None` without nft.
pub fn zoo(lab: &Lab) -> Option<Zoo> {
    let (near, far) = (&lab.near, &lab.far);
    // What far sends from 83 never ends, and what it answers from 85 never arrives; what goes to 84 is lost.
    let deaf = "table inet lab { chain in { type filter hook input priority 0; \
                tcp sport 83 tcp flags & fin == fin drop; tcp sport 85 drop; }; }";
    let mute = "table inet lab { chain in { type filter hook input priority 0; tcp dport 84 drop; }; }";
    if !nft(near, deaf) || !nft(far, mute) {
        return None;
    }
    near.add_address("eth0", "fd00::1/64").unwrap();
    far.add_address("eth0", "fd00::2/64").unwrap();
    let mut zoo = Zoo::default();

    let established = zoo.join(near, far, "10.77.0.2:80", "10.77.0.2:80", 3);
    zoo.keep(established);
    // v4-mapped on the accepting side, on the connecting side, and IPv6.
    let mapped = zoo.join(near, far, "[::]:81", "10.77.0.2:81", 2);
    zoo.keep(mapped);
    let connects_mapped = near.run(|| TcpStream::connect(address("[::ffff:10.77.0.2]:80")).unwrap()).unwrap();
    zoo.streams.push(connects_mapped);
    zoo.streams.push(zoo.listeners[0].accept().unwrap().0);
    let six = zoo.join(near, far, "[fd00::2]:82", "[fd00::2]:82", 2);
    zoo.keep(six);
    let local = zoo.join(near, near, "[::1]:86", "[::1]:86", 1);
    zoo.keep(local);

    // FIN_WAIT2 with a process here, CLOSE_WAIT there; read and unread.
    let halves = zoo.join(near, far, "10.77.0.2:87", "10.77.0.2:87", 4);
    halves.iter().for_each(|[client, _]| shut(client));
    zoo.keep(halves);
    // FIN_WAIT2 without.
    for [client, accepted] in zoo.join(near, far, "10.77.0.2:88", "10.77.0.2:88", 2) {
        drop(client);
        zoo.streams.push(accepted);
    }
    for [client, accepted] in zoo.join(near, far, "10.77.0.2:89", "10.77.0.2:89", 5) {
        drop(client);
        drop(accepted);
    }
    for [client, accepted] in zoo.join(near, far, "[fd00::2]:90", "[fd00::2]:90", 3) {
        drop(accepted);
        drop(client);
    }
    wait_for("the ends arrive", || {
        let states = far.tcp_states().unwrap();
        states.get("close_wait") == Some(&6) && states.get("time_wait") == Some(&3)
    });

    let mut lost = zoo.join(near, far, "10.77.0.2:83", "10.77.0.2:83", 6).into_iter();
    for [client, accepted] in lost.by_ref().take(2) {
        // FIN_WAIT1.
        drop(accepted);
        zoo.streams.push(client);
    }
    for [client, accepted] in lost.by_ref().take(2) {
        shut(&client);
        wait_for("the client's end arrives", || accepted.peek(&mut [0]).unwrap() == 0);
        // LAST_ACK.
        drop(accepted);
        zoo.streams.push(client);
    }
    for [client, accepted] in lost {
        shut(&accepted);
        // CLOSING: the ends cross.
        shut(&client);
        zoo.streams.extend([client, accepted]);
    }

    let hang = |port: u16, connections| Client {
        targets: vec![SocketAddr::from(([10, 77, 0, 2], port))],
        nonblocking_hold: true,
        ..client(connections)
    };
    zoo.actors.push(run_all(near, hang(84, 3)));
    zoo.actors.push(start(far, Server { listen: vec![address("10.77.0.2:85")], ..server() }));
    zoo.actors.push(run_all(near, hang(85, 2)));
    zoo.actors.push(start(near, Bound { count: 4, ..Bound::default() }));
    zoo.mptcp = mptcp(near).unwrap_or_default();

    let expected = [
        ("established", 3 + 2 + 1 + 2),
        ("syn_recv", 2),
        ("fin_wait1", 2),
        ("close_wait", 6),
        ("last_ack", 2),
        ("closing", 2),
        ("time_wait", 3),
    ];
    wait_for("every state is there", || {
        let states = far.tcp_states().unwrap();
        expected.iter().all(|(name, count)| states.get(name) == Some(count))
            && near.tcp_states().unwrap().get("fin_wait2") == Some(&10)
    });
    Some(zoo)
}

/// A listener, a connection and its other end over MPTCP's loopback, where this kernel has it.
fn mptcp(host: &Host) -> Option<Vec<OwnedFd>> {
    let make = || -> rustix::io::Result<Vec<OwnedFd>> {
        // Else every process that a test starts, `ss` and linger too, would hold them as well.
        let flags = SocketFlags::CLOEXEC;
        let socket = || socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::MPTCP));
        let at = address("127.0.0.1:91");
        let listener = socket()?;
        rustix::net::sockopt::set_socket_reuseaddr(&listener, true)?;
        rustix::net::bind(&listener, &at)?;
        rustix::net::listen(&listener, 8)?;
        let client = socket()?;
        rustix::net::connect(&client, &at)?;
        let accepted = accept_with(&listener, flags)?;
        Ok(vec![listener, client, accepted])
    };
    match host.run(make).unwrap() {
        Ok(sockets) => Some(sockets),
        Err(error) => {
            println!("without MPTCP: {error}");
            None
        }
    }
}

/// What `linger` (with these arguments, as JSON) and `ss` (with its own filter) say at a time when nothing changes.
#[track_caller]
fn at_rest(host: &Host, args: &[&str], filter: &[&str]) -> (Value, BTreeMap<&'static str, u64>) {
    let mut all = args.to_vec();
    all.extend(["--format", "json"]);
    for _ in 0..20 {
        let before = ss_states(host, filter);
        let said = linger_on(host, &all).json();
        let after = ss_states(host, filter);
        if before == after {
            return (said, after);
        }
    }
    panic!("{} doesn't come to rest: {:?}", host.name(), ss_states(host, filter));
}

#[test]
fn states_are_those_of_ss() {
    let Some(lab) = lab() else { return };
    let Some(zoo) = zoo(&lab) else { return };
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for host in [&lab.near, &lab.far] {
        let bound = if host.inode() == lab.near.inode() { 4 } else { 0 };
        let (default, ss) = at_rest(host, &["states"], &[]);
        assert_states_as_ss(&default["states"], &ss);
        // The number of TIME_WAIT sockets that the kernel keeps, and a walk over all of them.
        for full in [vec!["--sport", "0-65535"], vec!["--state", "all"], vec!["--by", "family"]] {
            let mut args = vec!["states"];
            args.extend(&full);
            let (walked, ss) = at_rest(host, &args, &[]);
            assert_states_as_ss(&walked["states"], &ss);
            assert_eq!(walked["states"], default["states"], "{full:?}");
        }
        let checked = check(host, &[]);
        assert_eq!(checked.report["states"], default["states"]);
        // From the inside it looks the same.
        let inside = linger_in(host, &["states", "--format", "json"]).json();
        assert_eq!(inside["states"], default["states"]);
        // Every name, with zeros.
        let names: Vec<&String> = default["states"].as_object().unwrap().keys().collect();
        assert_eq!(names.len(), STATES.len());
        for name in STATES {
            *seen.entry(name).or_default() += default["states"][name].as_u64().unwrap();
        }
        assert_eq!(default["states"]["bound_inactive"], bound);
    }
    for name in STATES.into_iter().filter(|it| *it != "close") {
        assert!(seen[name] > 0, "{name}: none in {seen:?}");
    }
    assert!(zoo.actors.len() == 4);
}

#[test]
fn filters_are_those_of_ss() {
    let Some(lab) = lab() else { return };
    let Some(zoo) = zoo(&lab) else { return };
    let filters: &[(&[&str], &str)] = &[
        (&["--src", "10.77.0.1"], "src 10.77.0.1"),
        (&["--src", "10.77.0.2"], "src 10.77.0.2"),
        (&["--dst", "10.77.0.0/24"], "dst 10.77.0.0/24"),
        (&["--dst", "10.77.0.0/31"], "dst 10.77.0.0/31"),
        (&["--src", "::1"], "src [::1]"),
        (&["--dst", "fd00::/64"], "dst [fd00::/64]"),
        (&["--dst", "fd00::2"], "dst [fd00::2]"),
        (&["--dst", "10.77.0.2,fd00::2"], "( dst 10.77.0.2 or dst [fd00::2] )"),
        (&["--sport", "80"], "sport = :80"),
        (&["--sport", "81-87"], "sport >= :81 and sport <= :87"),
        (&["--dport", "80,83"], "( dport = :80 or dport = :83 )"),
        (&["--dport", "84-91"], "dport >= :84 and dport <= :91"),
        (&["--sport", "80", "--dst", "10.77.0.0/24"], "sport = :80 and dst 10.77.0.0/24"),
        (&["--src", "10.77.0.0/24", "--dport", "32768-65535"], "src 10.77.0.0/24 and dport >= :32768"),
        (&["--dst", "192.0.2.0/24"], "dst 192.0.2.0/24"),
    ];
    let mut matched = 0;
    for host in [&lab.near, &lab.far] {
        for (mine, theirs) in filters {
            let mut args = vec!["states"];
            args.extend(*mine);
            let theirs: Vec<&str> = theirs.split(' ').collect();
            let (said, ss) = at_rest(host, &args, &theirs);
            println!("{} {mine:?}: {ss:?}", host.name());
            assert_states_as_ss(&said["states"], &ss);
            matched += ss.values().sum::<u64>();

            // The same with states besides.
            args.extend(["--state", "established,time-wait,fin-wait2,listen"]);
            let (said, mut ss) = at_rest(host, &args, &theirs);
            ss.iter_mut().for_each(|(name, count)| {
                if !["established", "time_wait", "fin_wait2", "listen"].contains(name) {
                    *count = 0;
                }
            });
            assert_states_as_ss(&said["states"], &ss);
        }
        // States alone, each by itself.
        let (_, all) = at_rest(host, &["states"], &[]);
        for (name, count) in &all {
            let (said, _) = at_rest(host, &["states", "--state", name], &[]);
            let only = said["states"].as_object().unwrap();
            let others = only.iter().filter(|(other, _)| other != name).all(|(_, count)| *count == 0);
            assert!(only[*name] == *count && others, "--state {name}: {said:#}, {all:?}");
        }
    }
    assert!(matched > 100, "{matched}");

    // Processes: an actor's sockets, and the test's own.
    for pid in [zoo.actors[0].pid().unsigned_abs(), std::process::id()] {
        let users = ss(&lab.near, &["-Hantp"]);
        let mark = format!("pid={pid},");
        let mut expected: BTreeMap<&str, u64> =
            STATES.into_iter().filter(|it| *it != "bound_inactive").map(|it| (it, 0)).collect();
        for line in users.lines().filter(|line| line.contains(&mark)) {
            *expected.get_mut(ss_state(line.split_ascii_whitespace().next().unwrap())).unwrap() += 1;
        }
        let (said, _) = at_rest(&lab.near, &["states", "--pid", &pid.to_string()], &[]);
        assert_states_as_ss(&said["states"], &expected);
        assert!(expected.values().sum::<u64>() >= 3, "{expected:?}");
    }
}

/// The states that `ss` lists.
const LISTED: &str =
    "established,syn-sent,syn-recv,fin-wait1,fin-wait2,time-wait,close-wait,last-ack,listen,closing";

/// linger's groups and how many sockets each has.
#[track_caller]
fn groups(host: &Host, by: &str) -> BTreeMap<String, u64> {
    let (said, ss) = at_rest(host, &["states", "--by", by, "--top", "1000", "--state", LISTED], &[]);
    assert_states_as_ss(&said["states"], &ss);
    let found = &said["groups"];
    assert_eq!(found["by"], by.replace('-', "_"));
    assert_eq!((&found["exact"], &found["other_sockets"]), (&Value::Bool(true), &Value::from(0)));
    let groups = found["groups"].as_array().unwrap();
    assert_eq!(found["distinct"], groups.len());
    for group in groups {
        let states: u64 =
            group["states"].as_object().unwrap().values().map(|it| it.as_u64().unwrap_or(0)).sum();
        assert_eq!(group["count"], states, "{group:#}");
    }
    let groups: BTreeMap<String, u64> = groups
        .iter()
        .map(|it| (it["group"].as_str().unwrap().to_owned(), it["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(groups.values().sum::<u64>(), ss.values().sum::<u64>(), "{groups:?}");
    groups
}

/// The host's sockets by something that `ss` prints.
fn by_ss(host: &Host, key: impl Fn(&[&str]) -> String) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in ss(host, &["-Hantp"]).lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        *counts.entry(key(&fields)).or_default() += 1;
    }
    counts
}

/// The address of `10.0.0.1:80` or `[::ffff:10.0.0.1]:80`, and its port.
fn split(end: &str) -> (String, &str) {
    let (address, port) = end.rsplit_once(':').unwrap();
    let address = address.trim_matches(['[', ']']);
    (address.strip_prefix("::ffff:").unwrap_or(address).to_owned(), port)
}

#[test]
fn groups_are_those_of_ss() {
    let Some(lab) = lab() else { return };
    let Some(zoo) = zoo(&lab) else { return };
    let nobody = |address: &str| ["0.0.0.0", "::", "*"].contains(&address);
    for host in [&lab.near, &lab.far] {
        let peers = by_ss(host, |it| match split(it[4]).0 {
            address if nobody(&address) => "(no peer)".to_owned(),
            address => address,
        });
        assert_eq!(groups(host, "peer"), peers);
        let ports = by_ss(host, |it| split(it[3]).1.to_owned());
        assert_eq!(groups(host, "local-port"), ports);
        let families = by_ss(host, |it| {
            let is_six = it[3].starts_with('[') || it[3].starts_with('*');
            (if is_six { "IPv6" } else { "IPv4" }).to_owned()
        });
        assert_eq!(groups(host, "family"), families);

        let peer_ports = by_ss(host, |it| match split(it[4]) {
            (address, _) if nobody(&address) => "(no peer)".to_owned(),
            (address, port) if address.contains(':') => format!("[{address}]:{port}"),
            (address, port) => format!("{address}:{port}"),
        });
        assert_eq!(groups(host, "peer-port"), peer_ports);

        // The lowest of those that hold it. A child that another test just forked still has its parent's for a moment, and
        // may have a lower number: so it is asked again.
        let pid = |fields: &[&str]| {
            let users = fields.iter().flat_map(|field| field.split("pid=").skip(1));
            let pids = users.map(|it| it.split(',').next().unwrap().parse::<u32>().unwrap());
            pids.min().map(|pid| pid.to_string()).unwrap_or_default()
        };
        let mut both = (BTreeMap::new(), BTreeMap::new());
        let are_alike = (0..20).any(|_| {
            let mine = groups(host, "process").into_iter().map(|(label, count)| {
                let pid = label.split_once("(pid ").map_or("", |(_, it)| it.trim_end_matches(')'));
                (pid.split(',').next().unwrap().to_owned(), count)
            });
            both = (mine.collect(), by_ss(host, pid));
            both.0 == both.1
        });
        assert!(are_alike, "{both:?}");

        let listeners = groups(host, "listener");
        let ports = by_ss(host, |it| split(it[3]).1.to_owned());
        let listening = ss(host, &["-Hltn"]);
        let ends: Vec<&str> =
            listening.lines().map(|line| line.split_ascii_whitespace().nth(3).unwrap()).collect();
        assert_eq!(listeners.len(), ends.len() + usize::from(listeners.contains_key("(outgoing)")));
        for end in ends {
            let (address, port) = split(end);
            let name =
                if nobody(&address) && address != "0.0.0.0" { format!("*:{port}") } else { end.to_owned() };
            assert_eq!(listeners[&name], ports[port], "{name} in {listeners:?}");
        }
    }
    drop(zoo);
}

#[test]
fn ports_are_those_of_ss() {
    let Some(lab) = lab() else { return };
    lab.near.sysctl("net.ipv4.ip_local_port_range", "40000 40199").unwrap();
    lab.near.sysctl("net.ipv4.ip_local_reserved_ports", "40190-40199").unwrap();
    lab.near.sysctl("net.ipv4.tcp_tw_reuse", "0").unwrap();
    let other = address("10.77.0.2:81");
    let _server = start(&lab.far, Server { listen: vec![address(SERVICE), other], ..server() });
    let bound =
        start(&lab.near, Bound { ports: (40_100..40_110).chain([5_000]).collect(), ..Bound::default() });
    assert_eq!(bound.done(PATIENCE).unwrap().held, 11);
    let pool = run_all(&lab.near, Client { close: Close::Never, comm: "shop-api".into(), ..client(5) });
    run_all(&lab.near, client(30));
    run_all(&lab.near, Client { targets: vec![other], ..client(10) });

    let toward = |port: &str| ["dst", "10.77.0.2", "and", "dport", "=", port].map(str::to_owned);
    // How many were made in the last 10 s, by the remaining times of 60 s.
    let young = || {
        let mut args = vec!["-Hanto".to_owned()];
        args.extend(toward(":80"));
        let text = ss(&lab.near, &args.iter().map(String::as_str).collect::<Vec<_>>());
        let left = text.split_ascii_whitespace().filter_map(|it| it.strip_prefix("timer:(timewait,"));
        left.filter(|it| {
            it.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u32>().unwrap() >= 50
        })
        .count()
    };
    let (said, made) = loop {
        let before = young();
        let said = linger_on(&lab.near, &["ports", "--format", "json"]).json();
        if young() == before {
            break (said, before);
        }
    };
    let range = &said["range"];
    assert_eq!(
        (&range["low"], &range["high"], &range["reserved"]),
        (&40_000.into(), &40_199.into(), &10.into())
    );
    assert_eq!((&range["usable"], &range["bound"]), (&190.into(), &10.into()));
    assert_eq!(range["bound_inactive_sockets"], 11);
    let rows = said["ports"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{said:#}");
    for (port, live) in [(80, 5), (81, 0)] {
        let row = rows.iter().find(|row| row["dport"] == port).unwrap();
        let filter = toward(&format!(":{port}"));
        let ss = ss_states(&lab.near, &filter.iter().map(String::as_str).collect::<Vec<_>>());
        assert_states_as_ss(&row["states"], &ss);
        let used: u64 = ss.values().sum();
        assert_eq!((&row["src"], &row["dst"]), (&"10.77.0.1".into(), &"10.77.0.2".into()));
        assert_eq!(
            (&row["used"], &row["live"], &row["free"]),
            (&used.into(), &live.into(), &(180 - used).into())
        );
        assert_eq!((&row["reusable"], &row["second_half_only"]), (&0.into(), &false.into()), "{row:#}");
        assert_eq!(row["fraction"].as_f64().unwrap(), used as f64 / 180.0);
    }
    let busiest = &rows[0];
    assert_eq!(busiest["new_per_s"].as_f64().unwrap(), made as f64 / 10.0);
    assert!(busiest["process"].as_str().unwrap().starts_with(&named(&pool)), "{busiest:#}");
    assert_valid(&schema("ports"), &said);

    // Filters hold here, too; and the accepting side spends none.
    let only = linger_on(&lab.near, &["ports", "--dport", "81", "--format", "json"]).json();
    assert_eq!((only["ports"].as_array().unwrap().len(), &only["ports"][0]["dport"]), (1, &81.into()));
    let far = linger_on(&lab.far, &["ports", "--format", "json"]).json();
    assert_eq!(far["ports"].as_array().unwrap().len(), 0, "{far:#}");
    assert_valid(&schema("ports"), &far);
}

/// A listening socket by its inode: port, queue, limit and drops.
type Listening = BTreeMap<u64, (u64, u64, u64, u64)>;

fn listening_by_ss(host: &Host) -> Listening {
    let text = ss(host, &["-Hltnme", "-O"]);
    let mut found = Listening::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let inode = fields.iter().find_map(|it| it.strip_prefix("ino:")).unwrap().parse().unwrap();
        let skmem = fields.iter().find_map(|it| it.strip_prefix("skmem:(")).unwrap();
        let drops = skmem.trim_end_matches(')').rsplit_once(",d").unwrap().1.parse().unwrap();
        let port = split(fields[3]).1.parse().unwrap();
        found.insert(inode, (port, fields[1].parse().unwrap(), fields[2].parse().unwrap(), drops));
    }
    found
}

#[test]
fn listeners_are_those_of_ss() {
    let Some(lab) = lab() else { return };
    lab.far.sysctl("net.core.somaxconn", "64").unwrap();
    let group = Server {
        reuseport: 3,
        backlog: 4,
        behaviour: Behaviour::NeverAccept,
        comm: "group".into(),
        ..server()
    };
    let group = start(&lab.far, group);
    let six = Server { listen: vec![address("[::]:81")], comm: "six".into(), ..server() };
    let six = start(&lab.far, six);
    // More than its queues hold: 3 of 5 each.
    let knocks = Client { requests: 0, close: Close::Never, connect_timeout_ms: Some(300), ..client(60) };
    let (_knocks, _) = run(&lab.near, knocks);
    let sockets = |host: &Host| loop {
        let before = listening_by_ss(host);
        let said = linger_on(host, &["listeners", "--format", "json"]).json();
        if listening_by_ss(host) == before {
            break (said, before);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let (said, expected) = sockets(&lab.far);
    let rows = said["listeners"].as_array().unwrap();
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
    let mine: Listening = rows
        .iter()
        .map(|row| {
            let figures = ["port", "queue", "limit", "drops"].map(|key| number(row, key));
            (number(row, "inode"), figures.into())
        })
        .collect();
    assert_eq!(mine, expected);
    assert_eq!((rows.len(), &said["somaxconn"]), (4, &64.into()));
    assert!(expected.values().map(|it| it.3).sum::<u64>() > 0, "{expected:?}");
    let (of_group, of_six): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["port"] == 80);
    let waiting: u64 = of_group.iter().map(|row| number(row, "queue")).sum();
    for row in &of_group {
        assert_eq!((&row["group_size"], &row["limit_equals_somaxconn"]), (&3.into(), &false.into()));
        assert!(row["process"].as_str().unwrap().starts_with(&named(&group)), "{row:#}");
        assert_eq!(number(row, "unaccepted"), waiting, "{row:#}");
        assert_eq!(number(row, "pid"), u64::from(group.pid().unsigned_abs()));
    }
    let [row] = of_six.as_slice() else { panic!("{of_six:?}") };
    // 4,096 were asked for.
    assert_eq!((&row["limit"], &row["limit_equals_somaxconn"]), (&64.into(), &true.into()));
    assert!(row["process"].as_str().unwrap().starts_with(&named(&six)), "{row:#}");
    assert_valid(&schema("listeners"), &said);

    let only = linger_on(&lab.far, &["listeners", "--sport", "81", "--format", "json"]).json();
    assert_eq!(only["listeners"].as_array().unwrap().len(), 1);
    let none = linger_on(&lab.near, &["listeners", "--format", "json"]).json();
    assert_eq!(none["listeners"].as_array().unwrap().len(), 0);
    assert_valid(&schema("listeners"), &none);
}

#[test]
fn json_is_as_published() {
    let Some(lab) = lab() else { return };
    lab.near.sysctl("net.ipv4.ip_local_port_range", "40000 40099").unwrap();
    lab.near.sysctl("net.ipv4.tcp_tw_reuse", "0").unwrap();
    let _server = start(&lab.far, server());
    let states = schema("states");
    // A healthy host and a sick one: `check` itself is held against its schema wherever the tests run it.
    for sick in [false, true] {
        if sick {
            let work = begin(&lab.near, client(110));
            work.done(PATIENCE).unwrap();
        }
        let checked = check(&lab.near, &[]);
        assert_eq!(checked.status, if sick { 2 } else { 0 }, "{checked:?}");
        for by in ["peer", "process", "cgroup", "container", "netns"] {
            assert_valid(&states, &linger_on(&lab.near, &["states", "--by", by, "--format", "json"]).json());
        }
        assert_valid(&states, &linger_on(&lab.near, &["states", "--format", "json"]).json());
        let report = schema("report");
        let mut wrong = checked.report.clone();
        wrong["verdict"] = "fine".into();
        assert!(!report.is_valid(&wrong), "the schema takes anything");
        wrong = checked.report;
        wrong["states"].as_object_mut().unwrap().remove("closing");
        assert!(!report.is_valid(&wrong), "the schema needs no states");
    }
}
