//! Real sockets, in namespaces made here.

use std::net::{SocketAddr, TcpListener, TcpStream};

use linger_mitigate::{Destroyer, Error, Fate, may_administer};
use linger_model::{Addr, SocketRecord, State};
use linger_netns::{Kind, create, run_in};
use rustix::net::sockopt::socket_cookie;

/// Runs in a new namespace, or says why not; in CI it must be possible.
fn inside(f: impl FnOnce() + Send) {
    let ns = match create() {
        Ok(ns) => ns,
        Err(error) if error.kind == Kind::Denied && std::env::var_os("CI").is_none() => {
            println!("SKIPPED: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    run_in(&ns, f).unwrap();
}

fn record(socket: impl std::os::fd::AsFd, local: SocketAddr, peer: SocketAddr, state: State) -> SocketRecord {
    let new =
        SocketRecord::new(state, Addr::from(local.ip()), local.port(), Addr::from(peer.ip()), peer.port());
    SocketRecord { cookie: socket_cookie(socket).unwrap(), ..new }
}

fn pair() -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

fn of(stream: &TcpStream, state: State) -> SocketRecord {
    record(stream, stream.local_addr().unwrap(), stream.peer_addr().unwrap(), state)
}

#[test]
fn a_socket_is_destroyed_by_its_cookie_alone() {
    inside(|| {
        assert!(may_administer().unwrap());
        let (_listener, client, server) = pair();
        let mut destroyer = Destroyer::new().unwrap();
        let right = of(&client, State::Established);
        // Another cookie: the same addresses, and not the same socket.
        let stranger = SocketRecord { cookie: right.cookie + 1_000_000, ..right.clone() };
        assert_eq!(destroyer.destroy(&stranger).unwrap(), Fate::Gone);
        for cookie in [0, u64::MAX] {
            assert_eq!(destroyer.destroy(&SocketRecord { cookie, ..right.clone() }).unwrap(), Fate::Refused);
        }
        // Another state than it was seen in.
        let seen = SocketRecord { state: State::CloseWait, ..right.clone() };
        assert_eq!(destroyer.destroy(&seen).unwrap(), Fate::Changed(State::Established));
        assert!(client.peer_addr().is_ok() && server.peer_addr().is_ok());
        match destroyer.destroy(&right) {
            Ok(fate) => assert_eq!(fate, Fate::Destroyed),
            Err(Error::NoDestroy(_)) if std::env::var_os("CI").is_none() => {
                return println!("SKIPPED: this kernel destroys no sockets");
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(destroyer.destroy(&right).unwrap(), Fate::Gone);
        // The peer was reset, and the application hears of it.
        let error = std::io::Read::read(&mut &server, &mut [0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        let error = std::io::Write::write(&mut &client, b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNABORTED));
    });
}

#[test]
fn a_listener_is_never_destroyed() {
    inside(|| {
        let (listener, client, _server) = pair();
        let local = listener.local_addr().unwrap();
        let nobody = "0.0.0.0:0".parse().unwrap();
        let mut destroyer = Destroyer::new().unwrap();
        for state in [State::Listen, State::Established, State::CloseWait] {
            let listening = record(&listener, local, nobody, state);
            assert_eq!(destroyer.destroy(&listening).unwrap(), Fate::Refused);
        }
        // The kernel's lookup finds the listener where the connection's addresses lead to nothing else.
        let gone = SocketRecord { sport: local.port(), dport: 1, ..of(&client, State::Established) };
        assert_eq!(destroyer.destroy(&gone).unwrap(), Fate::Gone);
        TcpStream::connect(local).unwrap();
    });
}
