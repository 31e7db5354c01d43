//! `linger rules`: each alert fires and ends, and nothing asks for a metric that is not there. Judged by promtool, amtool,
//! linger's own metrics and node_exporter's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use linger_lab::Host;
use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    LINGER, PATIENCE, address, begin, config, finish, in_ci, lab, linger, load, nft, path_of, server, start,
    wait_for,
};

/// What `linger rules` writes.
fn rules(args: &[&str]) -> String {
    let done = linger(&[&["rules"], args].concat());
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    done.stdout
}

/// Whether a program is there; a word about it where it is not. In CI it must be.
fn there(program: &str, package: &str) -> bool {
    match Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !in_ci() => {
            println!("SKIPPED: {program} is missing (Debian's package {package})");
            false
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Runs a program over files that must please it.
#[track_caller]
fn pleases(program: &str, args: &[&str], file: &Path) -> String {
    let done = finish(Command::new(program).args(args).arg(file));
    assert_eq!(done.status, Some(0), "{}\n{}\n{}", file.display(), done.stdout, done.stderr);
    done.stdout
}

#[derive(Debug, Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    alert: Option<String>,
    expr: String,
    #[serde(rename = "for", default)]
    lasting: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn all_rules(text: &str) -> Vec<Rule> {
    let file: File = serde_saphyr::from_str(text).unwrap();
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// Samples in the tests of promtool are so many seconds apart.
const STEP: u32 = 15;

/// A series of promtool's tests: its name and labels, then its values.
type Series = (String, &'static str);

/// A fault and its harmless double.
struct Case {
    /// From the beginning for half an hour; then half an hour of `well`.
    fault: Vec<Series>,
    well: Vec<Series>,
}

/// Half an hour of the fault, and half an hour without it; and an hour without it.
fn of(series: &[(&str, &'static str, &'static str)]) -> Case {
    let all = |pick: fn(&(&str, &'static str, &'static str)) -> &'static str| {
        series.iter().map(|it| (it.0.to_owned(), pick(it))).collect()
    };
    Case { fault: all(|it| it.1), well: all(|it| it.2) }
}

const THERE: &str = "1x120 stale _x120";
/// A counter that stands still.
const STILL: &str = "7x240";

/// Of a finding's alert. Its double is a note of the same rule, and the same severity of another rule. All of them are tried
/// at once, each on instances of its own.
fn of_finding(rule: &Rule, (ill, well): (&str, &str)) -> Case {
    let (_, code) = rule.expr.split_once("code=\"").unwrap();
    let (code, severity) = (&code[..5], rule.labels["severity"].as_str());
    let other = if code == "TW001" { "CW001" } else { "TW001" };
    let series = |instance: &str, code: &str, severity: &str| {
        let labels = format!("job=\"linger\",instance=\"{instance}\",netns=\"self\",subject=\"s\"");
        format!("linger_finding{{{labels},code=\"{code}\",severity=\"{severity}\"}}")
    };
    Case {
        fault: vec![(series(ill, code, severity), THERE)],
        well: vec![
            (series(well, code, "info"), "1x240"),
            (series(well, other, severity), "1x240"),
            // Seen at two scrapes, and never again.
            (series(well, code, severity), "_ 1 1 stale _x237"),
        ],
    }
}

/// The alerts that are not of one of linger's rules.
fn of_name(name: &str) -> Option<Case> {
    let case = match name {
        "LingerDown" => of(&[("up{job=\"linger\",instance=\"a\"}", "0x120 1x120", "1x240")]),
        "LingerNotScraped" => of(&[
            ("up{job=\"other\",instance=\"a\"}", "1x240", "1x240"),
            ("up{job=\"linger\",instance=\"a\"}", "_x120 1x120", "1x240"),
        ]),
        "LingerSamplerSilent" => {
            of(&[("linger_sampler_silence_seconds{instance=\"a\"}", "200x120 1x120", "119x240")])
        }
        "LingerSampleOld" => of(&[
            (
                "linger_sample_age_seconds{job=\"linger\",instance=\"a\",netns=\"self\"}",
                "300x120 9x120",
                "150x240",
            ),
            ("linger_sample_interval_seconds{job=\"linger\",instance=\"a\"}", "10x240", "10x240"),
        ]),
        "LingerOverBudget" => of(&[
            ("linger_cpu_seconds_total{instance=\"a\",part=\"sampling\"}", "0+0.3x120 36x120", "0+0.15x240"),
            ("linger_cpu_seconds_total{instance=\"a\",part=\"serving\"}", "0x240", "0+9x240"),
            ("linger_cpu_budget_ratio{instance=\"a\"}", "0.01x240", "0.01x240"),
        ]),
        "LingerNamespacesUnwatched" => of(&[
            ("linger_namespaces_left_out{instance=\"a\"}", "0x240", "0x240"),
            ("linger_namespaces_unreachable{instance=\"a\"}", "2x120 0x120", "0x240"),
        ]),
        "LingerQuestionsUnanswered" => {
            of(&[("linger_unanswered_questions{instance=\"a\",netns=\"self\"}", "1x120 0x120", "0x240")])
        }
        "LingerRefusesConnections" => {
            of(&[("linger_http_refused_connections_total{instance=\"a\"}", "0+1x120 120x120", STILL)])
        }
        "LingerHistoryLost" => {
            of(&[("linger_history_lost_samples_total{instance=\"a\"}", "0+1x120 120x120", STILL)])
        }
        "LingerAlertsNotDelivered" => of(&[
            ("linger_alerts_dropped_total{instance=\"a\",target=\"webhook x\"}", STILL, STILL),
            ("linger_alerts_queue{instance=\"a\",target=\"webhook x\"}", "3x120 0x120", "0 2 0x238"),
        ]),
        "LingerOtlpFailing" => of(&[
            ("linger_otlp_failed_total{instance=\"a\"}", "0+1x120 120x120", "0+1x240"),
            ("linger_otlp_exports_total{instance=\"a\"}", "5x240", "0+1x240"),
        ]),
        "LingerConfigRefused" => {
            of(&[("linger_config_last_reload_successful{instance=\"a\"}", "0x120 1x120", "1x240")])
        }
        "NodeTcpMetricsMissing" => {
            let mut all = vec![("node_exporter_build_info{job=\"node\",instance=\"a\"}", "1x240", "1x240")];
            all.extend(
                [
                    "node_netstat_Tcp_RetransSegs{job=\"node\",instance=\"a\"}",
                    "node_netstat_TcpExt_SyncookiesSent{job=\"node\",instance=\"a\"}",
                    "node_netstat_TcpExt_TCPSynRetrans{job=\"node\",instance=\"a\"}",
                    "node_sockstat_TCP_tw{job=\"node\",instance=\"a\"}",
                    "node_filefd_allocated{job=\"node\",instance=\"a\"}",
                ]
                .map(|name| (name, "0x240", "0x240")),
            );
            all.push((
                "node_netstat_TcpExt_ListenOverflows{job=\"node\",instance=\"a\"}",
                "_x120 0x120",
                "0x240",
            ));
            of(&all)
        }
        "NodeAcceptQueueOverflow" => {
            of(&[("node_netstat_TcpExt_ListenOverflows{instance=\"a\"}", "0+1x120 120x120", STILL)])
        }
        "NodeSynDropped" => of(&[
            ("node_netstat_TcpExt_ListenDrops{instance=\"a\"}", "0+60x120 7200x120", "0+60x240"),
            ("node_netstat_TcpExt_ListenOverflows{instance=\"a\"}", "0+30x120 3600x120", "0+60x240"),
        ]),
        "NodeSynFlood" => of(&[
            ("node_netstat_TcpExt_SyncookiesSent{instance=\"a\"}", "0+300x120 36000x120", "0+300x240"),
            ("node_netstat_TcpExt_SyncookiesRecv{instance=\"a\"}", "0+15x120 1800x120", "0+290x240"),
        ]),
        "NodeSynQueueTooSmall" => of(&[
            ("node_netstat_TcpExt_SyncookiesSent{instance=\"a\"}", "0+300x120 36000x120", "0+300x240"),
            ("node_netstat_TcpExt_SyncookiesRecv{instance=\"a\"}", "0+290x120 34800x120", "0+15x240"),
        ]),
        "NodeConnectsUnanswered" => of(&[
            ("node_netstat_TcpExt_TCPSynRetrans{instance=\"a\"}", "0+30x120 3600x120", "0+30x240"),
            ("node_netstat_Tcp_ActiveOpens{instance=\"a\"}", "0+100x120 12000x120", "0+3000x240"),
        ]),
        "NodeRetransmissions" => of(&[
            ("node_netstat_Tcp_RetransSegs{instance=\"a\"}", "0+300x120 36000x120", "0+30x240"),
            ("node_netstat_Tcp_OutSegs{instance=\"a\"}", "0+3000x240", "0+3000x240"),
        ]),
        "NodeTimeWaitMany" => of(&[("node_sockstat_TCP_tw{instance=\"a\"}", "25000x120 5x120", "20000x240")]),
        "NodeConntrackNearLimit" => of(&[
            ("node_nf_conntrack_entries{instance=\"a\"}", "900x120 10x120", "700x240"),
            ("node_nf_conntrack_entries_limit{instance=\"a\"}", "1000x240", "1000x240"),
        ]),
        "NodeConntrackDrops" => of(&[
            ("node_nf_conntrack_stat_drop{instance=\"a\"}", STILL, STILL),
            ("node_nf_conntrack_stat_early_drop{instance=\"a\"}", "0+1x120 120x120", STILL),
        ]),
        "NodeDescriptorsNearLimit" => of(&[
            ("node_filefd_allocated{instance=\"a\"}", "900x120 10x120", "700x240"),
            ("node_filefd_maximum{instance=\"a\"}", "1000x240", "1000x240"),
        ]),
        "NodeInputQueueDrops" => of(&[
            ("node_softnet_dropped_total{instance=\"a\",cpu=\"0\"}", "0+10x120 1200x120", STILL),
            ("node_softnet_dropped_total{instance=\"a\",cpu=\"1\"}", "0+10x120 1200x120", "0+1x240"),
        ]),
        _ => return None,
    };
    Some(case)
}

/// Questions to promtool: at these moments, in seconds, is the alert firing?
fn asked(rule: &Rule, instance: &str, expected: &[(u32, bool)]) -> Vec<Value> {
    let (alert, severity) = (rule.alert.as_deref().unwrap(), &rule.labels["severity"]);
    let mut labels = format!("alertname=\"{alert}\",severity=\"{severity}\",alertstate=\"firing\"");
    if !instance.is_empty() {
        labels.push_str(&format!(",instance=\"{instance}\""));
    }
    let one = |(at, firing): &(u32, bool)| {
        json!({
            "expr": format!("count(ALERTS{{{labels}}})"),
            "eval_time": format!("{at}s"),
            "exp_samples": if *firing { json!([{ "labels": "{}", "value": 1 }]) } else { json!([]) },
        })
    };
    expected.iter().map(one).collect()
}

/// A test of promtool.
fn judged(series: &[Series], asked: &[Value]) -> Value {
    let series: Vec<Value> =
        series.iter().map(|(series, values)| json!({ "series": series, "values": values })).collect();
    json!({ "interval": format!("{STEP}s"), "input_series": series, "promql_expr_test": asked })
}

/// That each alert of a file fires while its fault is there, not before it has lasted, not after it is over, and not for
/// the fault's double.
#[track_caller]
fn each_fires_and_ends(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, text).unwrap();
    pleases("promtool", &["check", "rules"], &file);
    let mut tests = Vec::new();
    let (mut findings, mut of_findings) = (Vec::new(), Vec::new());
    for (i, rule) in all_rules(text).into_iter().enumerate() {
        let Some(alert) = &rule.alert else { continue };
        // 27 minutes in it fires, unless it has to last for longer; half an hour after its end it does not.
        let (there, over) = if rule.lasting == "30m" { (30 * 60, 31 * 60) } else { (27 * 60, 59 * 60) };
        let mut expected = vec![(there, true), (over, false)];
        if rule.lasting != "0s" {
            expected.push((STEP, false));
        }
        let never: Vec<(u32, bool)> = (0..30).map(|n| (n * 120, false)).collect();
        if rule.expr.contains("linger_finding{") {
            let (ill, well) = (format!("ill{i}"), format!("well{i}"));
            let case = of_finding(&rule, (&ill, &well));
            findings.extend(case.fault.into_iter().chain(case.well));
            of_findings.extend(asked(&rule, &ill, &expected));
            of_findings.extend(asked(&rule, &well, &never));
            continue;
        }
        let case = of_name(alert).unwrap_or_else(|| panic!("{alert} has no case here"));
        tests.push(judged(&case.fault, &asked(&rule, "", &expected)));
        tests.push(judged(&case.well, &asked(&rule, "", &never)));
    }
    if !findings.is_empty() {
        tests.push(judged(&findings, &of_findings));
    }
    assert!(tests.len() > 20, "{} tests", tests.len());
    let interval = format!("{STEP}s");
    let all = json!({ "rule_files": ["rules.yml"], "evaluation_interval": interval, "tests": tests });
    let test = folder.path().join("test.yml");
    // JSON is YAML.
    std::fs::write(&test, all.to_string()).unwrap();
    pleases("promtool", &["test", "rules"], &test);
}

#[test]
fn every_alert_upon_linger_fires_and_ends() {
    if !there("promtool", "prometheus") {
        return;
    }
    let text = rules(&["prometheus"]);
    each_fires_and_ends(&text);
    // Each rule that can end worse than with a note has its alert, and each says what to do.
    let alerts: Vec<Rule> = all_rules(&text).into_iter().filter(|rule| rule.alert.is_some()).collect();
    for rule in &alerts {
        for part in ["summary", "description", "runbook"] {
            assert!(!rule.annotations[part].is_empty(), "{part} of {rule:?}");
        }
    }
    let explained = linger(&["explain", "--list", "--format", "json"]).json();
    let codes = explained.as_array().unwrap().iter().filter(|it| it["kind"] == "rule");
    let codes: BTreeSet<&str> = codes.map(|it| it["name"].as_str().unwrap()).collect();
    let without: Vec<&str> = codes
        .into_iter()
        .filter(|code| !alerts.iter().any(|rule| rule.expr.contains(&format!("code=\"{code}\""))))
        .collect();
    assert_eq!(without, ["TW005", "TW007"], "notes at the most");
}

#[test]
fn every_alert_upon_node_exporter_fires_and_ends() {
    if !there("promtool", "prometheus") {
        return;
    }
    let text = rules(&["node-exporter"]);
    each_fires_and_ends(&text);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.yml");
    std::fs::write(&file, text).unwrap();
    let done = linger(&["lint", "--prometheus", file.to_str().unwrap()]);
    assert_eq!(done.status, Some(0), "{done:?}");
}

#[test]
fn a_fault_that_comes_and_goes_is_told_and_its_texts_are_filled_in() {
    if !there("promtool", "prometheus") {
        return;
    }
    let file = config(
        "[serve.alerts]\nrunbook_url = \"https://wiki/{code}/{{x}}\"\nlabels = { team = \"net {{ .Value }}\" }\n\
         for = { critical = \"10m\" }\n",
    );
    let text = rules(&["prometheus", "--config", path_of(&file), "--job", "a\"\\b"]);
    let all = all_rules(&text);
    let rule = |severity: &str| {
        let found = all.iter().find(|rule| {
            rule.alert.as_deref() == Some("LingerCloseWaitLeak") && rule.labels["severity"] == severity
        });
        found.unwrap()
    };
    assert_eq!((rule("critical").lasting.as_str(), rule("warning").lasting.as_str()), ("11m", "6m"));
    let named = all.iter().filter(|rule| rule.alert.is_some());
    assert!(named.clone().count() > 40 && named.clone().all(|rule| rule.labels.contains_key("team")));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), &text).unwrap();
    pleases("promtool", &["check", "rules"], &folder.path().join("rules.yml"));
    let series = "linger_finding{job=\"linger\",instance=\"h:1\",netns=\"web\",code=\"CW001\",\
                  severity=\"critical\",subject=\"shop {{ $value }}\"}";
    // At every third scrape.
    let values = ["1 stale _"; 80].join(" ");
    let shown = |text: &str| text.replace("{{ \"{{\" }}", "{{");
    let fill = |text: &str| {
        let filled = text
            .replace("{{ $labels.subject }}", "shop {{ $value }}")
            .replace("{{ $labels.instance }}", "h:1")
            .replace("{{ $labels.netns }}", "web");
        shown(&filled)
    };
    let annotations: BTreeMap<&str, String> =
        rule("critical").annotations.iter().map(|(name, text)| (name.as_str(), fill(text))).collect();
    assert_eq!(annotations["runbook_url"], "https://wiki/CW001/{{x}}");
    assert_eq!(
        annotations["summary"],
        "CW001 close-wait-leak: shop {{ $value }} on h:1, network namespace web"
    );
    let labels = json!({
        "job": "linger", "instance": "h:1", "netns": "web", "code": "CW001", "severity": "critical",
        "subject": "shop {{ $value }}", "team": "net {{ .Value }}",
    });
    let firing = json!([{ "exp_labels": labels, "exp_annotations": annotations }]);
    let at = |time: &str, alerts: Value| json!({ "eval_time": time, "alertname": "LingerCloseWaitLeak", "exp_alerts": alerts });
    let test = json!({
        "rule_files": ["rules.yml"], "evaluation_interval": "15s",
        "tests": [{
            "interval": "15s", "input_series": [{ "series": series, "values": values }],
            "alert_rule_test": [
                at("10m", json!([])),
                at("12m", firing.clone()),
                at("62m", firing),
                at("70m", json!([])),
            ],
        }],
    });
    std::fs::write(folder.path().join("test.yml"), test.to_string()).unwrap();
    pleases("promtool", &["test", "rules"], &folder.path().join("test.yml"));

    let wrong = config("[serve.alerts]\nrunbok_url = \"x\"\n");
    let done = linger(&["rules", "prometheus", "--config", path_of(&wrong)]);
    assert!(done.status == Some(3) && done.stdout.is_empty() && done.stderr.contains("line 2"), "{done:?}");
}

#[test]
fn alertmanager_takes_the_route_and_sends_each_where_it_belongs() {
    if !there("amtool", "prometheus-alertmanager") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alertmanager.yml");
    std::fs::write(&file, rules(&["alertmanager"])).unwrap();
    pleases("amtool", &["check-config"], &file);
    for (labels, receiver) in [
        (&["alertname=LingerCloseWaitLeak", "code=CW001", "severity=critical"][..], "linger-critical"),
        (&["alertname=LingerCloseWaitLeak", "code=CW001", "severity=warning"], "linger-warnings"),
        // As linger serve names them.
        (&["alertname=close-wait-leak", "code=CW001", "severity=critical"], "linger-critical"),
        (&["alertname=LingerDown", "severity=warning"], "linger-warnings"),
        (&["alertname=DiskFull", "severity=critical"], "everything-else"),
    ] {
        let config = format!("--config.file={}", file.display());
        let done = finish(Command::new("amtool").args(["config", "routes", "test", &config]).args(labels));
        assert_eq!((done.status, done.stdout.trim()), (Some(0), receiver), "{labels:?}: {done:?}");
    }
}

/// A server inside a host that ends with this value.
struct Exporter<'a> {
    host: &'a Host,
    child: Child,
    address: SocketAddr,
}

impl Drop for Exporter<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Exporter<'a> {
    /// The host has its ports for itself.
    fn new(host: &'a Host, program: &str, args: &[&str], at: &str) -> Exporter<'a> {
        let mut command = host.command(program).unwrap();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Exporter { host, child: command.spawn().unwrap(), address: address(at) }
    }

    /// The answer's body; nothing while it does not answer.
    fn metrics(&self) -> Option<String> {
        let address = self.address;
        let mut stream = self.host.run(move || TcpStream::connect(address)).unwrap().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        // 1.0, so that the end of the body is the end of the connection.
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.0 200").then_some(())?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }
}

/// Where the names of limited things stand.
const HEADROOM: &str = include_str!("../../../rules/src/headroom.rs");

/// Which series there are: names, and of each label its values.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Seen {
    fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').unwrap();
            // A series is a selector of PromQL that has all its labels.
            let Expr::VectorSelector(selector) = promql_parser::parser::parse(series).unwrap() else {
                panic!("{series}")
            };
            let labels = self.0.entry(selector.name.unwrap()).or_default();
            for matcher in selector.matchers.matchers {
                labels.entry(matcher.name).or_default().insert(matcher.value);
            }
        }
    }

    /// What a selector asks for that is not there.
    fn lacks(&self, selector: &VectorSelector) -> Option<String> {
        let name = selector.name.as_deref().unwrap();
        if name == "up" {
            return None;
        }
        let Some(labels) = self.0.get(name) else { return Some(name.to_owned()) };
        // What is found, and who has it, is different on every host.
        let free = ["instance", "job", "netns", "code", "severity", "subject"];
        selector.matchers.matchers.iter().find_map(|matcher| {
            let Some(values) = labels.get(&matcher.name) else {
                return (!["instance", "job"].contains(&matcher.name.as_str()))
                    .then(|| format!("{name}{{{}}}", matcher.name));
            };
            let wanted: Vec<String> = match matcher.op {
                MatchOp::Equal => vec![matcher.value.clone()],
                MatchOp::Re(_) => matcher.value.split('|').map(|it| it.replace('\\', "")).collect(),
                _ => Vec::new(),
            };
            let is_there = |value: &String| {
                values.contains(value)
                    || free.contains(&matcher.name.as_str())
                    // tcp_mem and tcp_max_orphans are not shown in namespaces like these.
                    || HEADROOM.contains(&format!("Headroom::new(\"{value}\", \"host\""))
            };
            let missing = wanted.iter().find(|value| !is_there(value));
            missing.map(|value| format!("{name}{{{}={value:?}}}", matcher.name))
        })
    }
}

/// The selectors of an expression, which must be PromQL.
#[track_caller]
fn selectors(expr: &str) -> Vec<VectorSelector> {
    struct All(Vec<VectorSelector>);
    impl ExprVisitor for All {
        type Error = std::convert::Infallible;
        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
            match expr {
                Expr::VectorSelector(selector) => self.0.push(selector.clone()),
                Expr::MatrixSelector(matrix) => self.0.push(matrix.vs.clone()),
                _ => {}
            }
            Ok(true)
        }
    }
    let parsed = promql_parser::parser::parse(expr).unwrap_or_else(|error| panic!("{expr}: {error}"));
    let mut all = All(Vec::new());
    let _ = walk_expr(&mut all, &parsed);
    all.0
}

/// The expressions of the dashboard, its variables filled in.
fn dashboard() -> Vec<String> {
    let board: Value = serde_json::from_str(&rules(&["grafana"])).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    // No two panels are at the same place.
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for place in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(place), "{panel}");
        }
    }
    let mut all: Vec<String> = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(all.len() > 30, "{all:?}");
    for variable in &board["templating"]["list"].as_array().unwrap()[1..] {
        let query = variable["query"]["query"].as_str().unwrap();
        let inner = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')')).unwrap();
        all.push(inner.rsplit_once(',').unwrap().0.to_owned());
    }
    all.into_iter()
        .map(|expr| expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$netns", ".*"))
        .collect()
}

#[test]
fn the_metrics_asked_for_are_those_that_linger_has() {
    let Some(lab) = lab() else { return };
    // The ports towards the server run out while it is watched, so that there is a finding, and a time until then.
    for (key, value) in [("net.ipv4.ip_local_port_range", "40000 40999"), ("net.ipv4.tcp_tw_reuse", "0")] {
        lab.near.sysctl(key, value).unwrap();
    }
    let tracked = "table inet t { chain c { type filter hook input priority 0; ct state invalid drop; }; }";
    if !nft(&lab.near, tracked) {
        return;
    }
    let _server = start(&lab.far, server());
    let _client = begin(&lab.near, load(20.0));
    // Nobody listens there.
    let file = config(
        "[serve.history]\nenabled = false\n[serve.otlp]\nurl = \"http://127.0.0.1:1/v1/metrics\"\n\
         [serve.alerts]\nstate = \"\"\n[[serve.alerts.webhook]]\nurl = \"http://127.0.0.1:1/\"\n",
    );
    let listen = ["serve", "--listen", "127.0.0.1:9719", "--netns", "self", "--cpu-budget", "50"];
    let args = [&listen[..], &["--config", path_of(&file)]].concat();
    let watched = [&lab.near, &lab.far].map(|host| Exporter::new(host, LINGER, &args, "127.0.0.1:9719"));

    let recorded: Vec<String> =
        all_rules(&rules(&["prometheus"])).into_iter().map(|rule| rule.expr).collect();
    let shown = dashboard();
    let asked: Vec<VectorSelector> = recorded.iter().chain(&shown).flat_map(|expr| selectors(expr)).collect();
    let mut seen = Seen::default();
    let mut lacking = BTreeSet::new();
    wait_for("every metric that is asked for has been there", || {
        watched.iter().filter_map(Exporter::metrics).for_each(|text| seen.add(&text));
        let lacks: BTreeSet<String> = asked.iter().filter_map(|selector| seen.lacks(selector)).collect();
        if lacks != lacking {
            println!("not yet: {lacks:?}");
            lacking = lacks;
        }
        lacking.is_empty()
    });

    // promtool's parser is Prometheus's own.
    if !there("promtool", "prometheus") {
        return;
    }
    let as_rules: Vec<Value> = shown
        .iter()
        .enumerate()
        .map(|(i, expr)| json!({ "record": format!("a:b{i}"), "expr": expr }))
        .collect();
    let file = config(&json!({ "groups": [{ "name": "g", "rules": as_rules }] }).to_string());
    pleases("promtool", &["check", "rules"], file.path());
}

#[test]
fn the_metrics_asked_for_are_those_that_node_exporter_has() {
    let Some(lab) = lab() else { return };
    if !there("prometheus-node-exporter", "prometheus-node-exporter") {
        return;
    }
    let tracked = "table inet t { chain c { type filter hook input priority 0; ct state invalid drop; }; }";
    if !nft(&lab.near, tracked) {
        return;
    }
    let args = ["--web.listen-address=127.0.0.1:9100"];
    let exporter = Exporter::new(&lab.near, "prometheus-node-exporter", &args, "127.0.0.1:9100");
    let mut text = None;
    wait_for("node_exporter answers", || {
        text = exporter.metrics();
        text.is_some()
    });
    let mut seen = Seen::default();
    seen.add(&text.unwrap());
    let all = all_rules(&rules(&["node-exporter"]));
    let lacking: BTreeSet<String> = all
        .iter()
        .flat_map(|rule| selectors(&rule.expr))
        .filter_map(|selector| seen.lacks(&selector))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    let wrong = ["node_netstat_Tcp_TimeWait", "node_netstat_Tcp_CloseWait", "node_netstat_Tcp_SynRecv"];
    assert!(all.iter().all(|rule| wrong.iter().all(|name| !rule.expr.contains(name))));
    assert!(wrong.iter().all(|name| !seen.0.contains_key(*name)));
}
