//! Rules upon linger's own metrics. They know no threshold of TCP: what is a fault, the configuration says, and
//! `linger_finding` tells.

use super::{
    Alert, Annotations, Entry, Group, Own, RuleFile, duration, quoted, record, section, verbatim, yaml,
};
use crate::cli::PrometheusArgs;
use crate::config;
use linger_rules::{RULES, Rule, Severity};
use linger_serve::alerts::{Config as Alerts, alert_name};
use serde_saphyr::LitString;
use std::collections::BTreeMap;
use std::time::Duration;

const COMMENT: &str = "\
Made by `linger rules prometheus`, for Prometheus 2.42 or later.
Make it anew after an update of linger, instead of editing it.

What is a fault is decided by linger's configuration, nowhere here: thresholds stand there alone. Notes (severity info)
alert nobody; the dashboard shows them.

`for` and `keep_firing_for` are those of [serve.alerts] in the configuration, with a minute more and less: a fault that
comes and goes counts as there for a minute after each time that it was seen.
";

/// A finding that is not there at one scrape, and at the next again, was there.
const GAP: Duration = Duration::from_secs(60);

/// The rule file.
pub fn file(args: &PrometheusArgs) -> anyhow::Result<String> {
    let config = args.config.as_ref().map(|path| config::read_all(path)).transpose()?.unwrap_or_default();
    let alerts = &config.serve.alerts;
    let mut file = RuleFile {
        groups: vec![
            Group::new("linger-findings", RULES.iter().flat_map(|rule| findings(rule, alerts))),
            Group::new("linger-itself", itself(&quoted(&args.job))),
            Group::new("linger-recordings", recordings()),
        ],
    };
    for entry in file.groups.iter_mut().flat_map(|group| &mut group.rules) {
        if let Entry::Alert(alert) = entry {
            let more = alerts.labels.iter().map(|(name, value)| (name.clone(), verbatim(value)));
            alert.labels = more.chain(std::mem::take(&mut alert.labels)).collect();
        }
    }
    yaml(COMMENT, &file)
}

/// A rule's alerts: one for each severity that it can have and somebody should be told of.
fn findings(rule: &'static Rule, alerts: &Alerts) -> Vec<Entry> {
    let told = [(Severity::Warning, alerts.hold.warning.0), (Severity::Critical, alerts.hold.critical.0)];
    let can = told.into_iter().filter(|(severity, _)| *severity <= rule.worst);
    can.map(|(severity, lasting)| Entry::Alert(finding(rule, severity, lasting, alerts))).collect()
}

fn finding(rule: &'static Rule, severity: Severity, lasting: Duration, alerts: &Alerts) -> Alert {
    let (code, name) = (rule.code, rule.name);
    let what = |heading| section(rule.doc, heading);
    let description = [what("What it detects"), what("Why it matters")].join("\n");
    let runbook = format!(
        "On the host, `linger check --select {code} --netns all` says who it is and what to do, with the \
         evidence; `linger explain {code}` is the whole manual.\nFix: {}\nFix safety: {}",
        what("Fix"),
        what("Fix safety")
    );
    let url = |url: &String| verbatim(&url.replace("{code}", code).replace("{name}", name));
    let kept = alerts.resolve_after.0.saturating_sub(GAP);
    Alert {
        alert: alert_name(name),
        expr: format!(
            "max_over_time(linger_finding{{code=\"{code}\",severity=\"{}\"}}[{}])",
            severity.name(),
            duration(GAP)
        ),
        lasting: duration(lasting + GAP),
        keep_firing_for: (!kept.is_zero()).then(|| duration(kept)),
        labels: BTreeMap::from([("severity".to_owned(), severity.name().to_owned())]),
        annotations: Annotations {
            summary: format!(
                "{code} {name}: {{{{ $labels.subject }}}} on {{{{ $labels.instance }}}}, \
                 network namespace {{{{ $labels.netns }}}}"
            ),
            description: LitString(verbatim(&description)),
            runbook: LitString(verbatim(&runbook)),
            runbook_url: alerts.runbook_url.as_ref().map(url),
        },
    }
}

/// About linger itself: it must not be silent for another reason than that all is well.
fn itself(job: &str) -> Vec<Entry> {
    let alerts = [
        Own {
            alert: "LingerDown",
            severity: "warning",
            lasting: "2m",
            expr: format!("up{{job={job}}} == 0"),
            summary: "linger on {{ $labels.instance }} cannot be scraped",
            description: "Nothing is known of this host's connections, and no other alert of linger can \
                fire for it.",
            runbook: "`systemctl status linger` and its log say whether it runs and why it ended; `curl -s \
                http://ADDRESS/healthz` whether it answers. Port and address: --listen.",
        },
        Own {
            alert: "LingerNotScraped",
            severity: "warning",
            lasting: "10m",
            expr: format!("absent(up{{job={job}}})"),
            summary: "No linger is scraped",
            description: "Prometheus has no target of the job that these rules are made for, so that none \
                of them can fire.",
            runbook: "Name the job in prometheus.yml as --job of `linger rules prometheus` does, or make \
                the rules anew with the job's name.",
        },
        Own {
            alert: "LingerSamplerSilent",
            severity: "warning",
            lasting: "1m",
            expr: "linger_sampler_silence_seconds > 120".to_owned(),
            summary: "linger on {{ $labels.instance }} answers, but has not sampled for {{ $value | \
                humanizeDuration }}",
            description: "What it exports is old, and what it finds is of then. /healthz says the same.",
            runbook: "Its log says why. Under systemd the watchdog starts it anew; by hand: `systemctl \
                restart linger`.",
        },
        Own {
            alert: "LingerSampleOld",
            severity: "warning",
            lasting: "5m",
            expr: "linger_sample_age_seconds > on (job, instance) group_left () (120 + 4 * \
                linger_sample_interval_seconds)"
                .to_owned(),
            summary: "{{ $labels.instance }}, network namespace {{ $labels.netns }}: the sockets were last \
                looked at {{ $value | humanizeDuration }} ago",
            description: "Even where nothing moves, sockets are looked at every minute. Findings of this \
                namespace are as old as that.",
            runbook: "linger_sample_interval_seconds says what the CPU budget allows: with very many \
                sockets a larger --cpu-budget, or fewer namespaces (--netns), brings it down.",
        },
        Own {
            alert: "LingerOverBudget",
            severity: "warning",
            lasting: "15m",
            expr: "sum without (part) (rate(linger_cpu_seconds_total{part=\"sampling\"}[15m])) > 1.5 * \
                linger_cpu_budget_ratio"
                .to_owned(),
            summary: "linger on {{ $labels.instance }} takes {{ $value | humanizePercentage }} of a core to \
                sample, more than its budget",
            description: "Sampling should keep to --cpu-budget over time. Beyond one and a half times of \
                it, something is wrong with linger, or the light readings of many namespaces alone cost \
                more.",
            runbook: "Watch fewer namespaces (--netns), or give it a budget that fits the host \
                (--cpu-budget). If neither explains it, it is a fault of linger's: please report it with \
                /metrics.",
        },
        Own {
            alert: "LingerNamespacesUnwatched",
            severity: "warning",
            lasting: "15m",
            expr: "linger_namespaces_left_out + linger_namespaces_unreachable > 0".to_owned(),
            summary: "linger on {{ $labels.instance }} does not see {{ $value }} network namespaces",
            description: "There are more than it watches, or some could not be opened. What happens there \
                is not known.",
            runbook: "/api/v1/snapshot has the reasons under `gaps`. Opening the namespaces of other users' \
                processes takes root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE.",
        },
        Own {
            alert: "LingerQuestionsUnanswered",
            severity: "info",
            lasting: "30m",
            expr: "linger_unanswered_questions > 0".to_owned(),
            summary: "{{ $labels.instance }}, network namespace {{ $labels.netns }}: linger cannot answer \
                {{ $value }} questions",
            description: "A reading failed or is not permitted, so that rules end without an answer. Not \
                known is not healthy.",
            runbook: "/api/v1/report names each under `unknown`, with what it needs: mostly root, or a \
                capability.",
        },
        Own {
            alert: "LingerRefusesConnections",
            severity: "warning",
            lasting: "0s",
            expr: "increase(linger_http_refused_connections_total[10m]) > 0".to_owned(),
            summary: "linger on {{ $labels.instance }} turned {{ $value | humanize }} connections away in \
                ten minutes",
            description: "As many connections were open as it serves (--max-connections), so that scrapes \
                may be among those that were refused.",
            runbook: "`ss -tnp '( sport = :9719 )'` on the host says who holds them. One Prometheus needs \
                one connection.",
        },
        Own {
            alert: "LingerHistoryLost",
            severity: "warning",
            lasting: "5m",
            expr: "increase(linger_history_lost_samples_total[15m]) > 0".to_owned(),
            summary: "linger on {{ $labels.instance }} could not write {{ $value | humanize }} samples to \
                its history in 15 minutes",
            description: "It goes on serving and alerting. What is not written cannot be asked for later \
                (`linger history`, `linger check --at`).",
            runbook: "Its log has the reason: mostly a full disk, or a folder that it may not write to. \
                Where the history lies: [serve.history] in its configuration.",
        },
        Own {
            alert: "LingerAlertsNotDelivered",
            severity: "warning",
            lasting: "10m",
            expr: "increase(linger_alerts_dropped_total[15m]) > 0 or linger_alerts_queue > 0".to_owned(),
            summary: "linger on {{ $labels.instance }} cannot deliver alerts to {{ $labels.target }}",
            description: "Alerts that linger sends itself ([serve.alerts]) wait for their target, or were \
                given up.",
            runbook: "Its log has the target's answer. A target that refuses is named with its status; one \
                that cannot be reached is tried again, with a growing pause.",
        },
        Own {
            alert: "LingerOtlpFailing",
            severity: "warning",
            lasting: "15m",
            expr: "increase(linger_otlp_failed_total[15m]) > 0 unless \
                increase(linger_otlp_exports_total[15m]) > 0"
                .to_owned(),
            summary: "linger on {{ $labels.instance }} exports nothing over OTLP",
            description: "Every export of the last 15 minutes failed ([serve.otlp]).",
            runbook: "Its log has the receiver's answer.",
        },
        Own {
            alert: "LingerConfigRefused",
            severity: "warning",
            lasting: "1m",
            expr: "linger_config_last_reload_successful == 0".to_owned(),
            summary: "linger on {{ $labels.instance }} goes on with its old configuration: the new one is \
                wrong",
            description: "At the last SIGHUP the file was refused as a whole. The thresholds in force are \
                not those of the file, and the next start will fail.",
            runbook: "Its log says line and reason; `linger check --config FILE` says the same. Then SIGHUP \
                once more.",
        },
    ];
    alerts.into_iter().map(Entry::from).collect()
}

/// For dashboards over many hosts and long ranges. A share without traffic has no value.
fn recordings() -> Vec<Entry> {
    let rate = |counter: &str| {
        format!("sum without (counter) (rate(linger_kernel_events_total{{counter=\"{counter}\"}}[5m]))")
    };
    let again = format!("{} / ({} > 0)", rate("Tcp.RetransSegs"), rate("Tcp.OutSegs"));
    let drops = "sum without (event) (rate(linger_conntrack_events_total{event=~\"drop|early_drop\"}[5m]))";
    let nearest = "min without (subject) (linger_headroom_exhaustion_seconds)";
    vec![
        // Since Linux 5.18 counted when they are made, before that when they end.
        record("netns:linger_time_wait_made:rate5m", &rate("TcpExt.TW")),
        record("netns:linger_connects:rate5m", &rate("Tcp.ActiveOpens")),
        record("netns:linger_accepts:rate5m", &rate("Tcp.PassiveOpens")),
        record("netns:linger_listen_overflows:rate5m", &rate("TcpExt.ListenOverflows")),
        record("netns:linger_listen_drops:rate5m", &rate("TcpExt.ListenDrops")),
        record("netns:linger_conntrack_drops:rate5m", drops),
        record("netns:linger_retransmitted_segments:ratio_rate5m", &again),
        record(
            "resource:linger_headroom_used_ratio:max",
            "max without (subject) \
            (linger_headroom_used_ratio)",
        ),
        record("resource:linger_headroom_exhaustion_seconds:min", nearest),
        record("severity:linger_findings:sum", "sum without (netns) (linger_findings)"),
        record(
            "instance:linger_cpu_seconds:rate5m",
            "sum without (part) \
            (rate(linger_cpu_seconds_total[5m]))",
        ),
    ]
}
