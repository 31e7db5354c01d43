//! A headless browser, driven through its debugging pipe.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use linger_lab::Host;
use serde_json::{Value, json};

use crate::support::in_ci;

/// A browser is large, and starts slowly on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// One page in a browser, and what it did.
pub struct Page {
    browser: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    /// What the page asked for, the document included.
    pub requests: Vec<String>,
    /// What the browser complained of, and what the page wrote to its console.
    pub said: Vec<String>,
    loaded: bool,
    _home: tempfile::TempDir,
}

impl Page {
    /// Starts a browser inside a host, from which nothing leads anywhere. `None`, and a word about it, where there is no
    /// browser; in CI there must be one.
    pub fn new(host: &Host) -> Option<Page> {
        let found = Command::new("chromium").arg("--version").stdin(Stdio::null()).output();
        if !found.is_ok_and(|it| it.status.success()) {
            assert!(!in_ci(), "chromium is missing (Debian's package chromium)");
            println!("SKIPPED: chromium is missing (Debian's package chromium)");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        // The pipe is descriptors 3 and 4.
        let mut command = host.command("sh").unwrap();
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#, "sh", "chromium"]);
        command.args(["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]);
        // Tests run as root, and in containers with a small /dev/shm.
        command.args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-breakpad"]);
        command.args(["--disable-background-networking", "--disable-component-update"]);
        command.arg(format!("--user-data-dir={}", home.path().join("profile").display()));
        command.env("HOME", home.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut browser = command.spawn().unwrap();
        let to = browser.stdin.take().unwrap();
        let out = BufReader::new(browser.stdout.take().unwrap());
        let (send, from) = channel();
        std::thread::spawn(move || {
            for message in out.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if send.send(message).is_err() {
                    break;
                }
            }
        });
        let mut page = Page {
            browser,
            to,
            from,
            last: 0,
            session: None,
            requests: Vec::new(),
            said: Vec::new(),
            loaded: false,
            _home: home,
        };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = page.call("Target.attachToTarget", attach);
        page.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Network", "Runtime", "Log"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        Some(page)
    }

    /// Opens a file, and waits until it is there with all that it asks for.
    pub fn open(&mut self, file: &Path) {
        (self.loaded, self.requests, self.said) = (false, Vec::new(), Vec::new());
        self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        while !self.loaded {
            self.next();
        }
    }

    /// What an expression is, in the page.
    pub fn ask(&mut self, expression: &str) -> Value {
        let answer =
            self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// Shows the page as a medium and with preferences: `print`, `prefers-color-scheme` `dark`.
    pub fn show_as(&mut self, medium: &str, preferences: &BTreeMap<&str, &str>) {
        let features: Vec<Value> =
            preferences.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.call("Emulation.setEmulatedMedia", json!({ "media": medium, "features": features }));
    }

    /// The page as it is printed, in base64.
    pub fn pdf(&mut self) -> String {
        self.call("Page.printToPDF", json!({}))["data"].as_str().unwrap().to_owned()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        self.to.flush().unwrap();
        loop {
            let mut message = self.next();
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message:#}");
                return message["result"].take();
            }
        }
    }

    /// The next message; what it tells of the page is kept.
    fn next(&mut self) -> Value {
        let message = self.from.recv_timeout(PATIENCE).expect("the browser answers");
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Network.requestWillBeSent") => {
                self.requests.push(params["request"]["url"].as_str().unwrap().to_owned());
            }
            Some("Network.webSocketCreated") => self.requests.push(params["url"].to_string()),
            Some("Log.entryAdded" | "Runtime.consoleAPICalled" | "Runtime.exceptionThrown") => {
                self.said.push(params.to_string());
            }
            _ => {}
        }
        message
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Asked to, it ends its own processes and leaves its folder before it goes.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.from.recv_timeout(PATIENCE).is_ok() {}
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
