//! Hosts and links on the real kernel.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::common::{pair, wait_for, world};
use linger_lab::{Error, Host, World, sysctl};
use linger_netns::{Netns, Spec};

/// Sends bytes from one host to another over TCP.
fn assert_talks(from: &Host, to: &Host, address: &str) {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    let mut stream = from.run(|| TcpStream::connect(target).unwrap()).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    stream.write_all(b"hello").unwrap();
    drop(stream);
    let mut text = String::new();
    accepted.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn links_pass_traffic() {
    let Some((world, a)) = world() else { return };
    let b = world.host("two").unwrap();
    let link = world.link(&a, &b, "10.77.0.1/24", "10.77.0.2/24").unwrap();
    a.add_address(&link.a, "fd00::1/64").unwrap();
    b.add_address(&link.b, "fd00::2/64").unwrap();
    b.add_address(&link.b, "10.77.0.9/32").unwrap();
    assert_talks(&a, &b, "10.77.0.2");
    assert_talks(&b, &a, "10.77.0.1");
    assert_talks(&a, &b, "fd00::2");
    assert_talks(&a, &b, "10.77.0.9");
    assert_talks(&a, &a, "127.0.0.1");
    assert_eq!(world.hosts().len(), 2);
    let second = world.link(&a, &b, "fd01::1/64", "fd01::2/64").unwrap();
    assert_eq!((second.a.as_str(), second.b.as_str()), ("eth1", "eth1"));
    assert_talks(&a, &b, "fd01::2");
}

#[test]
fn a_middle_host_forwards() {
    let Some((world, client)) = world() else { return };
    let (middle, server) = (world.host("middle").unwrap(), world.host("server").unwrap());
    world.link(&client, &middle, "10.77.0.1/24", "10.77.0.2/24").unwrap();
    world.link(&middle, &server, "10.78.0.1/24", "10.78.0.2/24").unwrap();
    client.default_route("10.77.0.2").unwrap();
    server.route("10.77.0.0/24", "10.78.0.1").unwrap();
    middle.forward().unwrap();
    assert_talks(&client, &server, "10.78.0.2");
}

#[test]
fn there_is_no_way_out() {
    let Some((_world, client, _server)) = pair() else { return };
    // 192.0.2.0/24 is for documentation: nobody would be there.
    let error = client.run(|| TcpStream::connect("192.0.2.1:80").map(drop)).unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
}

#[test]
fn a_link_can_go_down() {
    let Some((_world, client, server)) = pair() else { return };
    server.set_link("eth0", false).unwrap();
    let carrier = || client.run(|| TcpStream::connect("10.77.0.2:9").map(drop).unwrap_err().kind()).unwrap();
    assert_eq!(carrier(), std::io::ErrorKind::HostUnreachable);
    server.set_link("eth0", true).unwrap();
    wait_for("the link comes back", || carrier() == std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn other_processes_can_enter() {
    let Some((_world, host)) = world() else { return };
    let stat = std::process::Command::new("stat").args(["-L", "-c", "%i"]).arg(host.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stat.stdout).trim(), host.inode().to_string());
    let opened = Netns::open(&Spec::parse(host.path().to_str().unwrap()).unwrap()).unwrap();
    assert_eq!(opened.inode(), host.inode());
    let inside = host.command("readlink").unwrap().arg("/proc/self/ns/net").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&inside.stdout).trim(), format!("net:[{}]", host.inode()));
}

#[test]
fn sysctls_are_the_hosts_own() {
    let Some((_world, host)) = world() else { return };
    let key = "net.ipv4.tcp_fin_timeout";
    let own = Netns::current().unwrap();
    let before = sysctl::read_sysctl(&own, key).unwrap();
    host.sysctl(key, "17").unwrap();
    assert_eq!(host.read_sysctl(key).unwrap(), "17");
    assert_eq!(sysctl::read_sysctl(&own, key).unwrap(), before);

    let refused = |error: Error| assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    // The value it has, so that a failure of this test changes nothing.
    refused(sysctl::write_sysctl(&own, key, &before).unwrap_err());
    // Not even ours by another way: only what this process made itself.
    let opened = Netns::open(&Spec::Path(host.path())).unwrap();
    refused(sysctl::write_sysctl(&opened, key, "18").unwrap_err());

    let error = host.sysctl("net.ipv4.there_is_no_such_thing", "1").unwrap_err();
    assert!(error.to_string().contains("there_is_no_such_thing"), "{error}");
    assert!(matches!(host.sysctl("kernel.panic", "1"), Err(Error::Malformed { .. })));
    assert!(matches!(host.sysctl(key, "many"), Err(Error::Host { .. })));
}

#[test]
fn nft_rules() {
    let Some((_world, client, server)) = pair() else { return };
    let rules = "table inet t { chain c { type filter hook input priority 0; tcp dport 9 drop; }; }";
    match server.nft(rules) {
        Err(error @ Error::Missing { .. }) => {
            assert!(error.to_string().contains("nftables"), "{error}");
            assert!(std::env::var_os("CI").is_none(), "{error}");
            return println!("SKIPPED: {error}");
        }
        other => other.unwrap(),
    }
    let target = "10.77.0.2:9".parse().unwrap();
    let timeout = std::time::Duration::from_millis(300);
    let error = client.run(|| TcpStream::connect_timeout(&target, timeout).map(drop)).unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    let error = server.nft("table inet { nonsense").unwrap_err();
    assert!(error.to_string().contains("nft failed"), "{error}");
}

#[test]
fn what_cannot_be_understood_is_said() {
    let Some((world, a)) = world() else { return };
    let b = world.host("two").unwrap();
    assert!(matches!(world.link(&a, &b, "10.77.0.1", "10.77.0.2/24"), Err(Error::Malformed { .. })));
    assert!(matches!(a.default_route("gateway"), Err(Error::Malformed { .. })));
    let error = a.add_address("eth7", "10.0.0.1/24").unwrap_err();
    assert!(error.to_string().starts_with("host one: cannot add the address 10.0.0.1/24 to eth7"), "{error}");
    assert!(matches!(World::new().host("x").unwrap().set_link("eth0", true), Err(Error::Host { .. })));
}
