//! `POST /v1/alerts`: Alertmanager's webhook, version 4.
//!
//! Unknown members are allowed, because later versions of Alertmanager add some; what is used is checked and bounded,
//! because it is kept.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::engine::{AlertsTaken, BadItem};
use crate::operations::AlertNote;

use super::body::{self, Limit};
use super::problem::Problem;
use super::{Api, answer, submit};

/// A webhook of a thousand alerts with a kilobyte each.
const LIMIT: Limit = Limit { bytes_max: 1 << 20, code: "payload_too_large" };
/// The only version there is.
const VERSION: &str = "4";
/// More alerts than this in one webhook are a storm: Alertmanager's `max_alerts` bounds them.
const ALERTS_MAX: usize = 1_000;
/// The most labels, and the most annotations, of one alert.
const MEMBERS_MAX: usize = 64;
/// The longest name of a label, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// The longest value of a label, in bytes.
const LABEL_BYTES_MAX: usize = 2_048;
/// The longest annotation, in bytes.
const ANNOTATION_BYTES_MAX: usize = 8_192;
/// The longest fingerprint, in bytes; Alertmanager's has 16.
const FINGERPRINT_BYTES_MAX: usize = 64;
/// Problems that an answer names; the rest is met again later.
const NAMED_MAX: usize = 20;

/// What is used of a webhook.
#[derive(Debug, Deserialize)]
struct Webhook {
    version: String,
    #[serde(rename = "groupKey")]
    _group_key: String,
    status: String,
    alerts: Vec<Box<RawValue>>,
    /// How many were left out by `max_alerts`.
    #[serde(rename = "truncatedAlerts", default)]
    truncated: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertBody {
    status: Status,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: String,
    #[serde(default)]
    ends_at: Option<String>,
    fingerprint: String,
}

/// What is wrong with one alert: a member and why.
type Wrong = (String, String);

fn wrong<T>(member: &str, reason: impl Into<String>) -> Result<T, Wrong> {
    Err((member.to_owned(), reason.into()))
}

/// Reads one alert; an error names the member if it can.
fn read_alert(text: &RawValue) -> Result<AlertNote, Wrong> {
    match serde_json::from_str::<AlertBody>(text.get()) {
        Ok(alert) => alert.note(),
        Err(error) => {
            let words = error.to_string();
            let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
            wrong(words.split('`').nth(1).filter(|_| words.starts_with("missing")).unwrap_or("alerts"), words)
        }
    }
}

impl AlertBody {
    fn note(self) -> Result<AlertNote, Wrong> {
        let Self { status, labels, annotations, starts_at, ends_at, fingerprint } = self;
        if fingerprint.is_empty() || fingerprint.len() > FINGERPRINT_BYTES_MAX || !is_plain(&fingerprint) {
            let reason = format!("must have 1 to {FINGERPRINT_BYTES_MAX} letters and digits");
            return wrong("fingerprint", reason);
        }
        bounded("labels", &labels, LABEL_BYTES_MAX)?;
        bounded("annotations", &annotations, ANNOTATION_BYTES_MAX)?;
        let name = labels.get("alertname").filter(|name| !name.is_empty());
        let Some(name) = name.cloned() else { return wrong("labels", "must have `alertname`") };
        let severity = labels.get("severity").cloned().unwrap_or_default();
        let starts_at = time("startsAt", &starts_at)?;
        // Of one that fires it says when it would be taken for ended without news, or nothing.
        let ends_at = match (status, ends_at) {
            (Status::Firing, _) => None,
            (Status::Resolved, Some(end)) => Some(time("endsAt", &end)?),
            (Status::Resolved, None) => return wrong("endsAt", "is missing although the alert is resolved"),
        };
        Ok(AlertNote { fingerprint, starts_at, ends_at, name, severity, labels, annotations })
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn time(member: &str, text: &str) -> Result<Timestamp, Wrong> {
    match Timestamp::parse(text) {
        // Alertmanager's zero time is the year 1.
        Ok(at) if at < Timestamp(0) => wrong(member, format!("is {text:?}, before there were alerts")),
        Ok(at) => Ok(at),
        Err(error) => wrong(member, format!("is {text:?}, which is no time: {error}")),
    }
}

fn bounded(member: &str, texts: &BTreeMap<String, String>, bytes_max: usize) -> Result<(), Wrong> {
    if texts.len() > MEMBERS_MAX {
        return wrong(member, format!("are {}; at most {MEMBERS_MAX} are allowed", texts.len()));
    }
    for (name, value) in texts {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return wrong(member, format!("have a name of {} bytes; 1 to {NAME_BYTES_MAX} are allowed", name.len()));
        }
        if value.len() > bytes_max {
            return wrong(member, format!("have a value of {} bytes; at most {bytes_max} are allowed", value.len()));
        }
    }
    Ok(())
}

/// `POST /v1/alerts`
pub(super) async fn receive(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let kind = body::json_only(request.headers());
    let received = body::read(&api.budget, request, &LIMIT).await?;
    kind?;
    let (notes, truncated) = read(&received.bytes)?;
    if truncated > 0 {
        tracing::warn!(truncated, "A webhook has left out {truncated} alerts: its `max_alerts` is low");
    }
    drop(received);
    let engine = api.engine.clone();
    let taken = api.whole(async move { engine.note_alerts(notes).await }).await??;
    let AlertsTaken { new, known, resolved, stale, ignored, incident } = taken;
    Ok(answer::ok(&json!({
        "new": new, "known": known, "resolved": resolved, "stale": stale, "ignored": ignored, "incident": incident,
    })))
}

/// All alerts of a webhook, or what is wrong with it: it is taken whole or not at all.
fn read(body: &[u8]) -> Result<(Vec<AlertNote>, u64), Problem> {
    let webhook: Webhook = submit::object(body)?;
    if webhook.version != VERSION {
        return Err(Problem::bad_field("version", &format!("is {:?}; known is {VERSION:?}", webhook.version)));
    }
    if !matches!(webhook.status.as_str(), "firing" | "resolved") {
        return Err(Problem::bad_field("status", &format!("is {:?}; known are firing and resolved", webhook.status)));
    }
    if webhook.alerts.len() > ALERTS_MAX {
        let reason = format!("are {}; at most {ALERTS_MAX} are allowed: set `max_alerts`", webhook.alerts.len());
        return Err(Problem::bad_field("alerts", &reason));
    }
    let (mut notes, mut bad) = (Vec::with_capacity(webhook.alerts.len()), Vec::new());
    for (index, alert) in webhook.alerts.iter().enumerate() {
        match read_alert(alert) {
            Ok(note) => notes.push(note),
            Err((field, reason)) => bad.push(BadItem { index, field, reason }),
        }
    }
    if bad.is_empty() {
        return Ok((notes, webhook.truncated));
    }
    bad.truncate(NAMED_MAX);
    let detail = bad.first().map(ToString::to_string).unwrap_or_default();
    Err(Problem::bad_items(&bad, detail))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// As Alertmanager 0.27 sends it.
    fn webhook() -> Value {
        json!({
            "receiver": "ganger", "status": "firing", "version": "4", "groupKey": "{}:{alertname=\"Deep\"}",
            "truncatedAlerts": 0, "groupLabels": { "alertname": "Deep" }, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://am:9093",
            "alerts": [
                { "status": "firing", "labels": { "alertname": "Deep", "severity": "critical", "queue": "exec" },
                  "annotations": { "summary": "exec is deep" }, "startsAt": "2026-01-02T03:04:05.678Z",
                  "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p/graph", "fingerprint": "0a1b2c3d4e5f6071" },
                { "status": "resolved", "labels": { "alertname": "Slow" }, "annotations": {},
                  "startsAt": "2026-01-02T03:00:00Z", "endsAt": "2026-01-02T05:04:00+02:00", "generatorURL": "",
                  "fingerprint": "1a1b2c3d4e5f6071" },
            ],
        })
    }

    fn refused(change: impl Fn(&mut Value)) -> (u16, Value) {
        let mut body = webhook();
        change(&mut body);
        let problem = read(body.to_string().as_bytes()).unwrap_err();
        (problem.status.as_u16(), serde_json::to_value(&problem).unwrap()["field"].clone())
    }

    #[test]
    fn a_webhook_is_read_as_alertmanager_writes_it() {
        let (notes, truncated) = read(webhook().to_string().as_bytes()).unwrap();
        assert_eq!((notes.len(), truncated), (2, 0));
        assert_eq!((notes[0].name.as_str(), notes[0].severity.as_str()), ("Deep", "critical"));
        assert_eq!((notes[0].starts_at, notes[0].ends_at), (Timestamp(1_767_323_045_678), None));
        assert_eq!((notes[1].severity.as_str(), notes[1].ends_at), ("", Some(Timestamp(1_767_323_040_000))));
    }

    #[test]
    fn what_is_kept_is_checked_and_bounded() {
        type Change = fn(&mut Value);
        let table: [(Change, u16, &str); 13] = [
            (|w| w["version"] = "3".into(), 422, "version"),
            (|w| w["status"] = "burning".into(), 422, "status"),
            (|w| w["alerts"] = vec![w["alerts"][0].clone(); 1_001].into(), 422, "alerts"),
            (|w| w["alerts"][1] = 7.into(), 422, "alerts"),
            (|w| _ = w["alerts"][1].as_object_mut().unwrap().remove("fingerprint"), 422, "fingerprint"),
            (|w| w["alerts"][1]["fingerprint"] = "".into(), 422, "fingerprint"),
            (|w| w["alerts"][1]["fingerprint"] = "../x".into(), 422, "fingerprint"),
            (|w| w["alerts"][0]["labels"] = json!({ "a": "b" }), 422, "labels"),
            (|w| w["alerts"][0]["labels"]["x"] = "y".repeat(2_049).into(), 422, "labels"),
            (|w| w["alerts"][0]["annotations"]["x"] = "y".repeat(8_193).into(), 422, "annotations"),
            (|w| w["alerts"][0]["startsAt"] = "0001-01-01T00:00:00Z".into(), 422, "startsAt"),
            (|w| w["alerts"][0]["startsAt"] = "soon".into(), 422, "startsAt"),
            (|w| _ = w["alerts"][1].as_object_mut().unwrap().remove("endsAt"), 422, "endsAt"),
        ];
        for (change, status, field) in table {
            assert_eq!(refused(change), (status, field.into()));
        }
        for body in ["", "{", "[]", "7", r#"{"version":"4","groupKey":"","status":"firing","alerts":{}}"#] {
            assert_eq!(read(body.as_bytes()).unwrap_err().status.as_u16(), 400, "{body}");
        }
    }
}
