//! A dashboard upon linger's own metrics. It needs no recording rules, so that it shows something at once.

use serde_json::{Value, json};

/// Columns of a dashboard.
const WIDTH: u32 = 24;
/// Height of a panel, and of a row's title.
const HEIGHT: u32 = 8;

/// The labels that the variables choose.
const CHOSEN: &str = r#"instance=~"$instance",netns=~"$netns""#;
/// The same where a metric has no namespace.
const HOST: &str = r#"instance=~"$instance""#;

/// What to ask, and how a line is called.
type Query = (String, &'static str);

/// The dashboard, as Grafana imports it.
pub fn dashboard() -> anyhow::Result<String> {
    let mut board = Board::default();
    findings(&mut board);
    states(&mut board);
    headroom(&mut board);
    listeners(&mut board);
    path(&mut board);
    itself(&mut board);
    let variable = |name: &str, of: &str| {
        let query = format!("label_values({of}, {name})");
        json!({
            "name": name, "type": "query", "datasource": source(), "definition": query,
            "query": { "query": query, "refId": "Variables" },
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
            "current": { "text": "All", "value": "$__all" },
        })
    };
    let dashboard = json!({
        "uid": "linger", "title": "linger: TCP connections", "tags": ["linger", "tcp"],
        "description": "Made by `linger rules grafana`. What is wrong, how full what is, and what TCP does.",
        "schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1, "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" }, "timezone": "browser",
        "templating": { "list": [
            { "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
                "current": {} },
            variable("instance", "linger_build_info"),
            variable("netns", r#"linger_findings{instance=~"$instance"}"#),
        ]},
        "panels": board.panels,
    });
    Ok(serde_json::to_string_pretty(&dashboard)? + "\n")
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Panels from left to right, then downwards.
#[derive(Default)]
struct Board {
    panels: Vec<Value>,
    x: u32,
    y: u32,
}

impl Board {
    fn row(&mut self, title: &str) {
        self.end_line();
        let id = self.panels.len() + 1;
        self.panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": self.y, "w": WIDTH, "h": 1 },
        }));
        self.y += 1;
    }

    fn end_line(&mut self) {
        if self.x > 0 {
            (self.x, self.y) = (0, self.y + HEIGHT);
        }
    }

    fn add(&mut self, width: u32, title: &str, description: &str, queries: &[Query], mut panel: Value) {
        if self.x + width > WIDTH {
            self.end_line();
        }
        let table = panel["type"] == "table";
        let targets: Vec<Value> = queries
            .iter()
            .zip('A'..)
            .map(|((expr, legend), id)| {
                let mut target = json!({
                    "refId": id.to_string(), "datasource": source(), "editorMode": "code", "expr": expr,
                    "legendFormat": legend, "range": !table, "instant": table,
                });
                if table {
                    target["format"] = json!("table");
                }
                target
            })
            .collect();
        let common = json!({
            "id": self.panels.len() + 1, "title": title, "description": description, "datasource": source(),
            "gridPos": { "x": self.x, "y": self.y, "w": width, "h": HEIGHT }, "targets": targets,
        });
        if let (Some(panel), Value::Object(common)) = (panel.as_object_mut(), common) {
            panel.extend(common);
        }
        self.panels.push(panel);
        self.x += width;
    }

    /// Lines over time.
    fn lines(&mut self, width: u32, title: &str, description: &str, unit: &str, queries: &[Query]) {
        let mut defaults = json!({
            "unit": unit, "min": 0,
            "custom": { "lineWidth": 1, "fillOpacity": 8, "showPoints": "never" },
        });
        if unit == "percentunit" {
            defaults["thresholds"] =
                json!({ "mode": "absolute", "steps": [{ "color": "green", "value": null }] });
        }
        let panel = json!({
            "type": "timeseries",
            "fieldConfig": { "defaults": defaults, "overrides": [] },
            "options": {
                "legend": { "displayMode": "list", "placement": "bottom" },
                "tooltip": { "mode": "multi", "sort": "desc" },
            },
        });
        self.add(width, title, description, queries, panel);
    }

    /// One number, with the colour that it has from 1 on.
    fn number(&mut self, title: &str, description: &str, colour: &str, expr: String) {
        let steps = json!([{ "color": "green", "value": null }, { "color": colour, "value": 1 }]);
        let panel = json!({
            "type": "stat",
            "fieldConfig": {
                "defaults": { "unit": "short", "thresholds": { "mode": "absolute", "steps": steps } },
                    "overrides": [],
            },
            "options": { "colorMode": "background", "reduceOptions": { "calcs": ["lastNotNull"] } },
        });
        self.add(3, title, description, &[(expr, "")], panel);
    }
}

/// How often a second a counter of the kernel moves, by instance and namespace.
fn rate(counter: &str) -> String {
    format!(
        "sum without (counter) \
            (rate(linger_kernel_events_total{{{CHOSEN},counter=\"{counter}\"}}[$__rate_interval]))"
    )
}

/// Several of them, each as a line; the names are the kernel's.
fn rates(counters: &[&str]) -> Vec<Query> {
    let names = counters.join("|").replace('.', "\\\\.");
    let expr = format!("rate(linger_kernel_events_total{{{CHOSEN},counter=~\"{names}\"}}[$__rate_interval])");
    vec![(expr, "{{counter}} {{instance}} {{netns}}")]
}

fn findings(board: &mut Board) {
    board.row("What is wrong");
    for (title, severity, colour) in
        [("Critical", "critical", "red"), ("Warnings", "warning", "orange"), ("Notes", "info", "blue")]
    {
        let expr = format!("sum(linger_findings{{{CHOSEN},severity=\"{severity}\"}})");
        board.number(
            title,
            "Faults that are there now. `linger explain CODE` has the manual of each.",
            colour,
            expr,
        );
    }
    let unanswered = format!("sum(linger_unanswered_questions{{{CHOSEN}}})");
    board.number(
        "Not known",
        "Rules without an answer: not known is not healthy. /api/v1/report says why.",
        "purple",
        unanswered,
    );
    let columns = json!({
        "type": "table",
        "fieldConfig": { "defaults": {}, "overrides": [] },
        "options": { "showHeader": true },
        "transformations": [{ "id": "organize", "options": {
            "excludeByName": { "Time": true, "Value": true, "__name__": true, "job": true },
            "indexByName": { "severity": 0, "code": 1, "subject": 2, "netns": 3, "instance": 4 },
        }}],
    });
    board.add(
        12,
        "Findings",
        "What it is and whom it concerns.",
        &[(format!("linger_finding{{{CHOSEN}}}"), "")],
        columns,
    );
}

fn states(board: &mut Board) {
    board.row("Connections");
    let by = |metric: &str, label: &str, state: &str| {
        format!("topk(10, {metric}{{{CHOSEN},state=\"{state}\",{label}!=\"other\"}} > 0)")
    };
    board.lines(
        12,
        "Sockets by state",
        "When the sockets were last walked.",
        "short",
        &[(format!("sum by (state) (linger_sockets{{{CHOSEN}}})"), "{{state}}")],
    );
    board.lines(
        12,
        "TIME_WAIT",
        "Now. FIN_WAIT2 sockets without a process are in it. Many are no fault: what counts are the ports \
            towards one destination.",
        "short",
        &[(format!("linger_time_wait_sockets{{{CHOSEN}}}"), "{{instance}} {{netns}}")],
    );
    board.lines(
        12,
        "TIME_WAIT made, taken back, cut short per second",
        "TcpExt.TW counts when they are made since Linux 5.18, before that when they end. TWRecycled: \
            connect() took the port back. TCPTimeWaitOverflow: skipped at tcp_max_tw_buckets.",
        "ops",
        &rates(&["TcpExt.TW", "TcpExt.TWRecycled", "TcpExt.TCPTimeWaitOverflow"]),
    );
    board.lines(
        12,
        "Connections made, accepted, failed per second",
        "ActiveOpens are this host's connects, PassiveOpens what it accepted, AttemptFails what came to \
            nothing.",
        "ops",
        &rates(&["Tcp.ActiveOpens", "Tcp.PassiveOpens", "Tcp.AttemptFails"]),
    );
    board.lines(
        8,
        "CLOSE_WAIT by process",
        "The peer has closed, the process has not. No kernel setting ends them.",
        "short",
        &[(by("linger_process_sockets", "process", "close_wait"), "{{process}} {{instance}} {{netns}}")],
    );
    board.lines(
        8,
        "TIME_WAIT by destination",
        "Each holds a local port towards it for a minute.",
        "short",
        &[(
            by("linger_destination_sockets", "destination", "time_wait"),
            "{{destination}} {{instance}} {{netns}}",
        )],
    );
    board.lines(
        8,
        "Established by listener",
        "Accepted connections.",
        "short",
        &[(by("linger_listener_sockets", "listener", "established"), "{{listener}} {{instance}} {{netns}}")],
    );
}

fn headroom(board: &mut Board) {
    board.row("How full what is");
    let rows = [
        (
            "Local ports",
            "local ports",
            "Towards the busiest destinations. What tcp_tw_reuse can take back is not counted.",
        ),
        (
            "Descriptors",
            "descriptors",
            "Of the host, and of the processes that are nearest to their own limit.",
        ),
        ("Connection tracking", "conntrack entries", "Each namespace against nf_conntrack_max."),
        ("TCP memory", "tcp memory pages", "Against the third figure of tcp_mem, for the host."),
        ("TIME_WAIT buckets", "time_wait buckets", "At the limit TIME_WAIT is skipped; nothing is refused."),
        ("Orphans", "orphans", "Against tcp_max_orphans, for the host."),
    ];
    for (title, resource, description) in rows {
        let expr = format!("topk(10, linger_headroom_used_ratio{{{CHOSEN},resource=\"{resource}\"}})");
        board.lines(8, title, description, "percentunit", &[(expr, "{{subject}} {{instance}} {{netns}}")]);
    }
    board.lines(
        WIDTH,
        "Time until full",
        "At the present rate; nothing where nothing grows.",
        "s",
        &[(
            format!("bottomk(10, linger_headroom_exhaustion_seconds{{{CHOSEN}}})"),
            "{{resource}} {{subject}} {{instance}} {{netns}}",
        )],
    );
}

fn listeners(board: &mut Board) {
    board.row("Listeners");
    let name = "{{listener}} {{process}} {{instance}} {{netns}}";
    board.lines(
        8,
        "Accept queues",
        "Connections that wait for accept(), as a share of the queue's limit.",
        "percentunit",
        &[(
            format!(
                "topk(10, linger_listener_queue_connections{{{CHOSEN}}} / \
                (linger_listener_queue_limit_connections{{{CHOSEN}}} > 0))"
            ),
            name,
        )],
    );
    board.lines(
        8,
        "Half-open requests",
        "Handshakes under way.",
        "short",
        &[(format!("topk(10, linger_listener_half_open_connections{{{CHOSEN}}})"), name)],
    );
    board.lines(
        8,
        "Drops by listener per second",
        "sk_drops: says which listener, and moves by scans, too.",
        "ops",
        &[(format!("topk(10, rate(linger_listener_drops_total{{{CHOSEN}}}[$__rate_interval]))"), name)],
    );
    board.lines(
        12,
        "Overflows and drops per second",
        "ListenOverflows: an accept queue was full. ListenDrops has these in it, and requests dropped for \
            other reasons.",
        "ops",
        &rates(&["TcpExt.ListenOverflows", "TcpExt.ListenDrops", "TcpExt.TCPReqQFullDrop"]),
    );
    board.lines(
        12,
        "SYN cookies per second",
        "Sent and not received back: a flood. Most received back: a request queue that is too small.",
        "ops",
        &rates(&["TcpExt.SyncookiesSent", "TcpExt.SyncookiesRecv", "TcpExt.SyncookiesFailed"]),
    );
}

fn path(board: &mut Board) {
    board.row("On the way");
    board.lines(
        8,
        "Segments sent again",
        "Of those sent.",
        "percentunit",
        &[(format!("{} / ({} > 0)", rate("Tcp.RetransSegs"), rate("Tcp.OutSegs")), "{{instance}} {{netns}}")],
    );
    board.lines(
        8,
        "Time-outs per second",
        "TCPSynRetrans: connects that nobody answered at once.",
        "ops",
        &rates(&["TcpExt.TCPTimeouts", "TcpExt.TCPSynRetrans", "TcpExt.TCPAbortOnTimeout"]),
    );
    board.lines(
        8,
        "Resets per second",
        "Sent; and established connections that ended by one.",
        "ops",
        &rates(&["Tcp.OutRsts", "Tcp.EstabResets", "TcpExt.TCPAbortOnData", "TcpExt.TCPAbortOnClose"]),
    );
    board.lines(
        8,
        "Peers that do not read, per second",
        "Receive windows that this side closed; probes of windows that peers closed.",
        "ops",
        &rates(&["TcpExt.TCPToZeroWindowAdv", "TcpExt.TCPWinProbe"]),
    );
    board.lines(
        8,
        "Old timestamps per second",
        "Segments refused by PAWS: peers behind one address whose clocks differ.",
        "ops",
        &rates(&["TcpExt.PAWSEstab", "TcpExt.PAWSActive"]),
    );
    let events = r#"event=~"drop|early_drop|insert_failed""#;
    board.lines(
        8,
        "Connection tracking's drops per second",
        "drop and early_drop: the table is full. insert_failed: two packets of one connection at once.",
        "ops",
        &[(
            format!("rate(linger_conntrack_events_total{{{CHOSEN},{events}}}[$__rate_interval])"),
            "{{event}} {{instance}} {{netns}}",
        )],
    );
    board.lines(
        12,
        "Memory of TCP's buffers",
        "Of the host.",
        "bytes",
        &[(format!("linger_tcp_memory_bytes{{{HOST}}}"), "{{instance}}")],
    );
    board.lines(
        12,
        "Sockets without a process, and in no table",
        "Orphans; and all that are allocated, closed ones that a process keeps among them.",
        "short",
        &[
            (format!("linger_orphan_sockets{{{HOST}}}"), "orphans {{instance}}"),
            (format!("linger_allocated_sockets{{{HOST}}}"), "allocated {{instance}}"),
        ],
    );
}

fn itself(board: &mut Board) {
    board.row("linger itself");
    board.lines(
        8,
        "CPU",
        "Of one core; the budget is sampling's.",
        "percentunit",
        &[
            (format!("rate(linger_cpu_seconds_total{{{HOST}}}[$__rate_interval])"), "{{part}} {{instance}}"),
            (format!("linger_cpu_budget_ratio{{{HOST}}}"), "budget {{instance}}"),
        ],
    );
    board.lines(
        8,
        "Resident memory",
        "",
        "bytes",
        &[(format!("linger_memory_resident_bytes{{{HOST}}}"), "{{instance}}")],
    );
    board.lines(
        8,
        "Age of the samples",
        "Sockets of a namespace where nothing moves are looked at every minute.",
        "s",
        &[
            (format!("max by (instance) (linger_sample_age_seconds{{{CHOSEN}}})"), "oldest {{instance}}"),
            (format!("linger_sample_interval_seconds{{{HOST}}}"), "allowed interval {{instance}}"),
            (format!("linger_sampler_silence_seconds{{{HOST}}}"), "silence {{instance}}"),
        ],
    );
    board.lines(
        8,
        "Walks per second",
        "What brought them about.",
        "ops",
        &[(format!("rate(linger_walks_total{{{HOST}}}[$__rate_interval])"), "{{reason}} {{instance}}")],
    );
    board.lines(
        8,
        "Network namespaces",
        "Watched, beyond the limit, and out of reach.",
        "short",
        &[
            (format!("linger_namespaces{{{HOST}}}"), "watched {{instance}}"),
            (format!("linger_namespaces_left_out{{{HOST}}}"), "left out {{instance}}"),
            (format!("linger_namespaces_unreachable{{{HOST}}}"), "unreachable {{instance}}"),
        ],
    );
    board.lines(
        8,
        "History",
        "What its files take.",
        "bytes",
        &[(format!("linger_history_size_bytes{{{HOST}}}"), "{{instance}}")],
    );
    board.lines(
        8,
        "Samples lost, alerts that wait",
        "Samples that could not be written to the history, per second. Alerts that linger sends itself and \
            that nobody took yet.",
        "short",
        &[
            (
                format!("rate(linger_history_lost_samples_total{{{HOST}}}[$__rate_interval])"),
                "lost \
                {{instance}}",
            ),
            (format!("linger_alerts_queue{{{HOST}}}"), "waiting for {{target}} {{instance}}"),
        ],
    );
    board.lines(
        8,
        "Its own connections",
        "Open, and turned away per second.",
        "short",
        &[
            (format!("linger_http_connections{{{HOST}}}"), "open {{instance}}"),
            (
                format!("rate(linger_http_refused_connections_total{{{HOST}}}[$__rate_interval])"),
                "refused {{instance}}",
            ),
        ],
    );
}
