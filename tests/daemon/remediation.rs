//! Remediation: alerts that lead to actions, what holds those back, and what the audit says of them.

mod acts;
mod guards;

use std::sync::atomic::{AtomicU64, Ordering};

use ganger::clock::Clock as _;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::wait::until;

/// One alert, as Alertmanager tells of it. Each call is another occurrence.
fn alert(name: &str, labels: &Value) -> Value {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut labels = labels.clone();
    labels["alertname"] = name.into();
    labels["severity"] = "warning".into();
    json!({
        "status": "firing",
        "labels": labels,
        "annotations": { "summary": format!("{name} fires") },
        "startsAt": now(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": format!("{number:016x}"),
    })
}

/// The present in RFC 3339.
fn now() -> String {
    ganger::clock::SystemClock.now().to_string()
}

/// The same alert as over.
fn resolved(alert: &Value) -> Value {
    let mut over = alert.clone();
    over["status"] = "resolved".into();
    over["endsAt"] = now().into();
    over
}

/// A webhook of Alertmanager's.
fn webhook(alerts: &[Value]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ganger",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1",
        "alerts": alerts,
    })
}

/// Tells a daemon of an alert.
async fn tell(daemon: &Daemon, alert: &Value) {
    let (status, answer) = daemon.post("/v1/alerts", webhook(std::slice::from_ref(alert))).await;
    assert_eq!(status, 200, "{answer}");
}

/// The audit of an action, newest first.
async fn audit(daemon: &Daemon, action: &str) -> Vec<Value> {
    let listed = daemon.get(&format!("/v1/remediations?action={action}")).await;
    listed["remediations"].as_array().expect("a list").clone()
}

/// The newest row of an action once it has ended.
async fn ended(daemon: &Daemon, action: &str) -> Value {
    until(&format!("action {action} has ended"), || async {
        let row = audit(daemon, action).await.into_iter().next()?;
        (row["state"] != "running").then_some(row)
    })
    .await
}

/// Carries out an action by hand; answers how it ended.
async fn by_hand(daemon: &Daemon, action: &str, labels: Value) -> Value {
    let (status, answer) = daemon.post(&format!("/v1/remediations/{action}"), json!({ "labels": labels })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn count(daemon: &Daemon, action: &str, result: &str) -> f64 {
    daemon.metric(&format!("ganger_remediations_total{{action=\"{action}\",result=\"{result}\"}}")).await
}
