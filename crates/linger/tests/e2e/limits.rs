//! Limits of processes: FD001.

use linger_lab::{Actor, Client, Close, Server};

use crate::support::{check, client, lab, named, run_all, server, start, wait_for};

/// How many descriptors a process has open, and which number is the first that it could not have.
fn descriptors(actor: &Actor) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", actor.pid())).unwrap().count()
}

#[test]
fn fd001_a_server_near_its_limit() {
    let Some(lab) = lab() else { return };
    let server = start(&lab.far, Server { nofile: Some(400), comm: "crowded".into(), ..server() });
    let own = descriptors(&server);
    let hold = |count: usize| {
        let more = u64::try_from(count - descriptors(&server)).unwrap();
        let clients = run_all(&lab.near, Client { close: Close::Never, ..client(more) });
        wait_for("the server has accepted them", || descriptors(&server) == count);
        clients
    };
    let _half = hold(200);
    let well = check(&lab.far, &[]);
    well.assert_healthy("FD001");
    assert_eq!((well.status, well.state("established")), (0, 200 - own as u64));

    let _most = hold(340);
    let near = check(&lab.far, &[]);
    let fired = |checked: &crate::support::Checked, severity: &str, used: f64| {
        let mine: Vec<_> = checked
            .of("FD001")
            .into_iter()
            .filter(|it| it["subject"].as_str().unwrap().contains(&named(&server)))
            .collect();
        assert_eq!(mine.len(), 1, "{checked:?}");
        assert_eq!(mine[0]["severity"], severity, "{checked:?}");
        let figure = |what: &str| {
            let evidence = mine[0]["evidence"].as_array().unwrap();
            evidence.iter().find(|it| it["what"].as_str().unwrap().starts_with(what)).unwrap()["value"]
                .as_f64()
                .unwrap()
        };
        assert_eq!((figure("open descriptors"), figure("soft limit")), (used, 400.0));
        assert_eq!(figure("ESTABLISHED sockets of"), used - own as f64);
    };
    fired(&near, "warning", 340.0);
    assert!(near.status >= 1);

    let _all = hold(390);
    let full = check(&lab.far, &[]);
    fired(&full, "critical", 390.0);
    assert_eq!(full.status, 2);
    full.assert_as_ss(&lab.far);
}
