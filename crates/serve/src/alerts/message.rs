//! Alerts as Alertmanager's API takes them, and as its webhooks look.

use super::lifecycle::Alert;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Labels and annotations by name.
pub type Map = BTreeMap<String, String>;

/// What the configuration adds to each alert.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Additions {
    /// Which linger, as the label `instance`.
    pub instance: String,
    /// More labels.
    pub labels: Map,
    /// Where runbooks are; `{code}` and `{name}` stand for the rule's.
    pub runbook_url: Option<String>,
    /// How long an Alertmanager believes that an alert is on without another word.
    pub valid: Duration,
}

/// An alert's name, of its rule's: `LingerCloseWaitLeak` of `close-wait-leak`.
pub fn alert_name(rule: &str) -> String {
    let words = rule.split('-').map(|word| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    });
    format!("Linger{}", words.collect::<String>())
}

/// The labels, by which Alertmanager knows it.
pub fn labels(alert: &Alert, additions: &Additions) -> Map {
    let name = alert_name(&alert.words.name);
    let own = [
        ("alertname", name.as_str()),
        ("code", &alert.key.code),
        ("severity", alert.severity.name()),
        ("subject", &alert.key.subject),
        ("netns", &alert.key.netns),
        ("instance", &additions.instance),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    additions.labels.clone().into_iter().chain(own).filter(|(_, value)| !value.is_empty()).collect()
}

fn annotations(alert: &Alert, additions: &Additions) -> Map {
    let (code, words) = (&alert.key.code, &alert.words);
    let mut all = vec![
        ("summary", words.summary.clone()),
        ("why", words.why.clone()),
        ("who", words.who.clone()),
        ("remedy", words.remedy.clone()),
        ("runbook", format!("linger explain {code}")),
    ];
    if let Some(url) = &additions.runbook_url {
        all.push(("runbook_url", url.replace("{code}", code).replace("{name}", &words.name)));
    }
    let all = all.into_iter().filter(|(_, value)| !value.is_empty());
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Alertmanager's number of these labels: FNV-1a over names and values, in their order.
pub fn fingerprint(labels: &Map) -> u64 {
    let bytes =
        labels.iter().flat_map(|(name, value)| name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: Map,
    annotations: Map,
    starts_at: Timestamp,
    ends_at: Timestamp,
}

/// The body of `POST /api/v2/alerts`. What is not over gets an end that lies ahead.
pub fn for_alertmanager(alerts: &[&Alert], additions: &Additions, now: Timestamp) -> Vec<u8> {
    let until = now.checked_add(additions.valid).unwrap_or(Timestamp::MAX);
    let posted = alerts.iter().map(|alert| Posted {
        labels: labels(alert, additions),
        annotations: annotations(alert, additions),
        starts_at: alert.starts_at,
        // The clock may have been set back: an end before the beginning is refused.
        ends_at: alert.ends_at.unwrap_or(until).max(alert.starts_at),
    });
    serde_json::to_vec(&posted.collect::<Vec<_>>()).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hook {
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
    status: &'static str,
    receiver: &'static str,
    group_labels: Map,
    common_labels: Map,
    common_annotations: Map,
    #[serde(rename = "externalURL")]
    external_url: &'static str,
    alerts: Vec<Hooked>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hooked {
    status: &'static str,
    labels: Map,
    annotations: Map,
    starts_at: Timestamp,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'static str,
    fingerprint: String,
}

/// What Alertmanager's webhooks look like, version 4.
pub fn for_webhook(alerts: &[&Alert], additions: &Additions) -> Vec<u8> {
    let status = |over: bool| if over { "resolved" } else { "firing" };
    let alerts = alerts.iter().map(|alert| {
        let labels = labels(alert, additions);
        Hooked {
            status: status(alert.ends_at.is_some()),
            fingerprint: format!("{:016x}", fingerprint(&labels)),
            labels,
            annotations: annotations(alert, additions),
            starts_at: alert.starts_at,
            // Go's zero time, which stands for none there.
            ends_at: alert.ends_at.map_or("0001-01-01T00:00:00Z".to_owned(), |at| at.to_string()),
            generator_url: "",
        }
    });
    let alerts: Vec<Hooked> = alerts.collect();
    let common = |of: fn(&Hooked) -> &Map| {
        let mut all = alerts.iter().map(of);
        let mut common = all.next().cloned().unwrap_or_default();
        all.for_each(|map| common.retain(|name, value| map.get(name) == Some(value)));
        common
    };
    let group_labels = Map::from([("instance".to_owned(), additions.instance.clone())]);
    let hook = Hook {
        version: "4",
        group_key: format!("{{}}:{{instance={:?}}}", additions.instance),
        truncated_alerts: 0,
        status: status(alerts.iter().all(|it| it.status == "resolved")),
        receiver: "linger",
        group_labels,
        common_labels: common(|it| &it.labels),
        common_annotations: common(|it| &it.annotations),
        external_url: "",
        alerts,
    };
    serde_json::to_vec(&hook).unwrap_or_default()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::alerts::lifecycle::{Key, Words};
    use linger_model::report::Severity;
    use serde_json::{Value, json};

    pub fn alert(code: &str, ends_at: Option<i64>) -> Alert {
        let second = |second| Timestamp::from_second(second).expect("a time");
        Alert {
            key: Key { netns: "self".into(), code: code.into(), subject: "nginx".into() },
            severity: Severity::Warning,
            words: Words { name: "a-fault".into(), summary: "It is so.".into(), ..Words::default() },
            starts_at: second(1000),
            ends_at: ends_at.map(second),
        }
    }

    fn additions() -> Additions {
        let labels = [("team", "net"), ("code", "not mine"), ("empty", "")];
        Additions {
            instance: "web-1".into(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            runbook_url: Some("https://wiki/{code}#{name}".into()),
            valid: Duration::from_secs(300),
        }
    }

    #[test]
    fn what_is_posted_has_its_labels_and_an_end() {
        let now = Timestamp::from_second(2000).expect("a time");
        let alerts = [&alert("TW001", None), &alert("CW001", Some(900))];
        let body = for_alertmanager(&alerts, &additions(), now);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let labels = json!({"alertname": "LingerAFault", "code": "TW001", "severity": "warning", "subject": "nginx", "netns": "self", "instance": "web-1", "team": "net"});
        assert_eq!(body[0]["labels"], labels);
        let annotations = json!({"summary": "It is so.", "runbook": "linger explain TW001", "runbook_url": "https://wiki/TW001#a-fault"});
        assert_eq!(body[0]["annotations"], annotations);
        assert_eq!(
            (&body[0]["startsAt"], &body[0]["endsAt"]),
            (&json!("1970-01-01T00:16:40Z"), &json!("1970-01-01T00:38:20Z"))
        );
        assert_eq!(body[1]["endsAt"], body[1]["startsAt"], "no end before the beginning");
    }

    #[test]
    fn a_webhook_looks_as_alertmanagers_do() {
        let alerts = [&alert("TW001", None), &alert("CW001", Some(3000))];
        let body: Value = serde_json::from_slice(&for_webhook(&alerts, &additions())).expect("JSON");
        assert_eq!((&body["version"], &body["status"]), (&json!("4"), &json!("firing")));
        assert_eq!(body["commonLabels"]["severity"], "warning");
        assert!(body["commonLabels"].get("code").is_none());
        assert_eq!(
            (&body["alerts"][0]["status"], &body["alerts"][0]["endsAt"]),
            (&json!("firing"), &json!("0001-01-01T00:00:00Z"))
        );
        assert_eq!(
            (&body["alerts"][1]["status"], &body["alerts"][1]["endsAt"]),
            (&json!("resolved"), &json!("1970-01-01T00:50:00Z"))
        );
        let over: Value = serde_json::from_slice(&for_webhook(&alerts[1..], &additions())).expect("JSON");
        assert_eq!(over["status"], "resolved");
    }

    #[test]
    fn the_number_of_labels_is_fnv_1a() {
        // Of prometheus/common's own tests: no labels, and FNV's offset.
        assert_eq!(fingerprint(&Map::new()), 14_695_981_039_346_656_037);
        assert_ne!(
            fingerprint(&Map::from([("a".into(), "bc".into())])),
            fingerprint(&Map::from([("ab".into(), "c".into())]))
        );
    }
}
