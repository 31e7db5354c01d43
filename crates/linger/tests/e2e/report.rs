//! `linger report`: the page as a browser has it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use linger_lab::{Behaviour, Server};

use crate::browser::Page;
use crate::support::{
    Done, LINGER, PATIENCE, client, config, finish, lab, linger_in, named, path_of, run_all, server, start,
    wait_for,
};

/// A process's name that is an image of another host, for who takes it for HTML.
const HOSTILE: &str = "<img src=//a.b>";

fn report(args: &[&str], output: &Path) -> Done {
    finish(Command::new(LINGER).arg("report").args(args).arg("-o").arg(output))
}

#[test]
fn the_page_of_a_recorded_incident_asks_nobody_and_obeys_nobody() {
    let Some(lab) = lab() else { return };
    let Some(mut page) = Page::new(&lab.near) else { return };
    let leaky = Server { behaviour: Behaviour::NeverClose, comm: HOSTILE.into(), ..server() };
    let leaky = start(&lab.far, leaky);
    run_all(&lab.near, client(150));
    leaky.wait_until(PATIENCE, |it| it.ended == 150).unwrap();
    assert!(named(&leaky).starts_with(HOSTILE));
    wait_for("the sockets are old enough", || {
        let text = crate::support::ss(&lab.far, &["-Hnti", "state", "close-wait"]);
        let ages = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("lastack:"));
        ages.filter(|age| age.parse::<u64>().unwrap() >= 1_000).count() == 150
    });
    let folder = tempfile::tempdir().unwrap();
    let (recording, html) = (folder.path().join("incident"), folder.path().join("<b>&amp;.html"));
    let done = linger_in(
        &lab.far,
        &["record", "--duration", "600ms", "--interval", "200ms", "-o", recording.to_str().unwrap()],
    );
    assert_eq!(done.status, Some(0), "{done:?}");
    let soon = config("[CW001]\nmin_age_seconds = 1\n");
    let done = report(&["--from", recording.to_str().unwrap(), "--config", path_of(&soon)], &html);
    assert_eq!((done.status, done.stdout.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stderr.contains("warning, "), "{done:?}");
    assert_eq!(fs::metadata(&html).unwrap().permissions().mode() & 0o777, 0o600);
    // A path with markup in its name is a path, for the browser's address, too.
    let plain = folder.path().join("page.html");
    fs::rename(&html, &plain).unwrap();

    page.open(&plain);
    assert_eq!(page.requests, [format!("file://{}", plain.display())]);
    assert_eq!(page.said, Vec::<String>::new());
    let text = page.ask("document.body.innerText").as_str().unwrap().to_owned();
    for words in [
        "WARNING",
        "CW001 close-wait-leak",
        HOSTILE,
        "WHAT TO DO",
        "States over time",
        "Headroom",
        "Not known",
        "Ruled out",
        "recording of linger",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    // The verdict comes first, and the name is text.
    assert!(text.find("WARNING").unwrap() < text.find("CW001").unwrap(), "{text}");
    assert_eq!(
        page.ask(
            "document.images.length + document.querySelectorAll('iframe,object,link[href^=http]').length"
        ),
        0
    );
    // A panel for each state that there was, with a curve in it.
    assert!(page.ask("[...document.querySelectorAll('figure')].some((f) => f.innerText.includes('CLOSE_WAIT') && f.querySelector('path.line').getTotalLength() > 100)").as_bool().unwrap());
    // Nothing is wider than the page, however narrow.
    assert_eq!(page.ask("document.documentElement.scrollWidth <= innerWidth"), true);

    // Tables sort, by figure and by word, both ways.
    let order = |page: &mut Page, column: u32, numbers: bool| -> Vec<String> {
        let value = if numbers { "dataset.value" } else { "textContent" };
        let cells = page.ask(&format!(
            "{{ const t = document.querySelector('article table'); t.tHead.rows[0].cells[{column}].querySelector('button').click(); [...t.tBodies[0].rows].map((r) => r.cells[{column}].{value}) }}"
        ));
        cells.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
    };
    let figures = |cells: Vec<String>| -> Vec<f64> { cells.iter().map(|c| c.parse().unwrap()).collect() };
    let down = figures(order(&mut page, 1, true));
    assert!(down.len() > 3 && down.is_sorted_by(|a, b| a >= b) && down[0] > down[down.len() - 1], "{down:?}");
    let up = figures(order(&mut page, 1, true));
    assert!(up.is_sorted(), "{up:?}");
    let words = order(&mut page, 0, false);
    assert_ne!(order(&mut page, 0, false), words);

    // Light and dark are two, and both can be read; on paper it is light.
    let colours = "(() => { const c = getComputedStyle(document.body); return [c.backgroundColor, c.color].join(' ') })()";
    let mut seen = Vec::new();
    for (medium, scheme) in [("screen", "light"), ("screen", "dark"), ("print", "dark")] {
        page.show_as(medium, &BTreeMap::from([("prefers-color-scheme", scheme)]));
        seen.push(page.ask(colours).as_str().unwrap().to_owned());
    }
    assert_eq!(
        seen,
        [
            "rgb(255, 255, 255) rgb(28, 34, 39)",
            "rgb(20, 24, 28) rgb(228, 232, 236)",
            "rgb(255, 255, 255) rgb(0, 0, 0)"
        ]
    );
    assert!(page.pdf().len() > 20_000);
    assert_eq!((page.requests.len(), page.said.len()), (1, 0), "{:?}", page.said);

    // What would have been seen.
    let bad = folder.path().join("bad.html");
    fs::write(&bad, format!("{HOSTILE}<img src='http://10.77.0.2:1/'><script>console.log('here')</script>"))
        .unwrap();
    page.open(&bad);
    assert!(
        page.requests.len() >= 2 && page.said.iter().any(|it| it.contains("here")),
        "{:?}",
        page.requests
    );
    // And what the policy stops although it stands in the page.
    let injected = fs::read_to_string(&plain).unwrap().replace(
        "</main>",
        "<img src='http://10.77.0.2:1/'><img src=x onerror='document.title=1'><script>document.title = 'run'</script></main>",
    );
    fs::write(&bad, injected).unwrap();
    page.open(&bad);
    assert_eq!(page.ask("document.title.startsWith('WARNING')"), true);
    assert!(page.said.iter().any(|it| it.contains("Content Security Policy")), "{:?}", page.said);
}

#[test]
fn a_page_is_made_of_this_moment_and_of_imports_and_never_over_another_file() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.html");
    let done = linger_in(
        &lab.far,
        &["report", "--duration", "200ms", "--interval", "100ms", "-o", path.to_str().unwrap()],
    );
    assert_eq!(done.status, Some(0), "{done:?}");
    let live = fs::read_to_string(&path).unwrap();
    assert!(live.contains("States over time") && live.contains("LISTEN"), "{live}");
    let again = report(&["--from", "/proc/net/tcp"], &path);
    assert!(again.status == Some(3) && again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), live);

    // Of a paste: what is missing stands first. Nothing else is left in the folder.
    let paste = folder.path().join("paste <script>alert(1)</script>".replace('/', "\u{2215}"));
    fs::write(&paste, "State Recv-Q Send-Q Local Address:Port Peer Address:Port\nTIME-WAIT 0 0 10.0.0.1:40000 10.0.0.2:443\n").unwrap();
    let page = folder.path().join("paste.html");
    let done = report(&["--from", paste.to_str().unwrap()], &page);
    assert_eq!(done.status, Some(0), "{done:?}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(!html.contains("<script>alert") && html.contains("UNKNOWN"), "{html}");
    let place = |words: &str| html.find(words).unwrap_or_else(|| panic!("{words} in {html}"));
    assert!(place("<code>nstat -az</code>") < place("<h2>"));
    assert!(place("a chart needs a recording") > 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    let done = finish(Command::new(LINGER).args(["report", "-o", "-", "--from"]).arg(&paste));
    assert_eq!(done.stdout, html);

    for (args, word) in [
        (vec!["--from", "/nowhere"], "/nowhere"),
        (vec!["--from", paste.to_str().unwrap(), "--between", "1s,2s"], "is for a recording"),
        (vec!["--from", "x", "--duration", "1s"], "--duration"),
        (vec!["--between", "1s,2s"], "--from"),
    ] {
        let done = report(&args, &folder.path().join("none.html"));
        assert!(done.status == Some(3) && done.stderr.contains(word), "{done:?}");
    }
    let done = report(&["--from", paste.to_str().unwrap()], &folder.path().join("no/such/page.html"));
    assert!(done.status == Some(3) && done.stderr.contains("cannot write to"), "{done:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}
