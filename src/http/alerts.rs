//! `POST /v1/alerts`: Alertmanager's webhook, version 4.
//!
//! Unknown members are allowed, because later versions of Alertmanager add some; what is used is checked and bounded,
//! because it is kept.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::engine::AlertsTaken;
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

/// The members of an object.
type Members = serde_json::Map<String, Value>;

/// What the status of a webhook or an alert may be.
const STATUSES: &str = "\"firing\" or \"resolved\"";
/// Characters of a value that a reason shows.
const SHOWN_CHARS_MAX: usize = 60;

/// Why a member cannot be: what it is, and what it must be.
fn unfit(value: Option<&Value>, expected: &str) -> String {
    let is = match value {
        None => "missing".to_owned(),
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(Value::Object(_)) => "an object".to_owned(),
        Some(Value::String(text)) => format!("{:?}", text.chars().take(SHOWN_CHARS_MAX).collect::<String>()),
        Some(other) => other.to_string(),
    };
    format!("is {is}; it must be {expected}")
}

/// Whether it says that it has ended; `None` where it is neither.
fn has_ended(status: Option<&Value>) -> Option<bool> {
    match status?.as_str()? {
        "firing" => Some(false),
        "resolved" => Some(true),
        _ => None,
    }
}

/// Reads one alert and gathers all that is wrong with it.
struct Reader<'a> {
    alert: &'a Members,
    /// Where it stands in the webhook.
    place: &'a str,
    /// Members by their place, and why each cannot be.
    wrongs: &'a mut Vec<(String, String)>,
}

impl Reader<'_> {
    fn refuse(&mut self, member: &str, reason: String) {
        self.wrongs.push((format!("{}.{member}", self.place), reason));
    }

    fn refuse_unless(&mut self, member: &str, expected: &str) {
        self.refuse(member, unfit(self.alert.get(member), expected));
    }

    fn note(&mut self) -> Option<AlertNote> {
        let before = self.wrongs.len();
        let status = has_ended(self.alert.get("status"));
        if status.is_none() {
            self.refuse_unless("status", STATUSES);
        }
        let fingerprint = self.alert.get("fingerprint").and_then(Value::as_str).unwrap_or_default().to_owned();
        if fingerprint.is_empty() || fingerprint.len() > FINGERPRINT_BYTES_MAX || !is_plain(&fingerprint) {
            self.refuse_unless("fingerprint", &format!("1 to {FINGERPRINT_BYTES_MAX} letters and digits"));
        }
        let starts_at = self.time("startsAt");
        // Of one that fires it says when it would be taken for ended without news, or nothing.
        let ends_at = if status == Some(true) { self.time("endsAt") } else { None };
        let labels = self.texts("labels", LABEL_BYTES_MAX);
        let annotations = self.texts("annotations", ANNOTATION_BYTES_MAX);
        let name = labels.get("alertname").cloned().unwrap_or_default();
        match self.alert.get("labels") {
            None => self.refuse_unless("labels", "an object of texts with `alertname`"),
            // What is there and wrong has been told.
            Some(Value::Object(labels)) if !labels.get("alertname").is_some_and(|name| name != "") => {
                self.refuse("labels.alertname", "is missing or empty; it must be the alert's name".to_owned());
            }
            Some(_) => {}
        }
        let severity = labels.get("severity").cloned().unwrap_or_default();
        let is_right = self.wrongs.len() == before;
        let starts_at = starts_at.filter(|_| is_right)?;
        Some(AlertNote { fingerprint, starts_at, ends_at, name, severity, labels, annotations })
    }

    fn time(&mut self, member: &str) -> Option<Timestamp> {
        let Some(text) = self.alert.get(member).and_then(Value::as_str) else {
            self.refuse_unless(member, "a time such as \"2026-01-02T03:04:05Z\"");
            return None;
        };
        match Timestamp::parse(text) {
            // Alertmanager's zero time is the year 1.
            Ok(at) if at < Timestamp(0) => self.refuse_unless(member, "later than 1970: there were no alerts before"),
            Ok(at) => return Some(at),
            Err(error) => self.refuse_unless(member, &format!("a time such as \"2026-01-02T03:04:05Z\" ({error})")),
        }
        None
    }

    /// An object of texts; an empty one where it is missing or wrong.
    fn texts(&mut self, member: &str, bytes_max: usize) -> BTreeMap<String, String> {
        let alert = self.alert;
        let nothing = Members::new();
        let members = match alert.get(member) {
            None => &nothing,
            Some(Value::Object(members)) => members,
            Some(_) => {
                self.refuse_unless(member, "an object of texts");
                &nothing
            }
        };
        if members.len() > MEMBERS_MAX {
            self.refuse(member, format!("are {}; at most {MEMBERS_MAX} are allowed", members.len()));
            return BTreeMap::new();
        }
        let mut texts = BTreeMap::new();
        for (name, value) in members {
            let place = format!("{member}.{}", name.chars().take(SHOWN_CHARS_MAX).collect::<String>());
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                let reason = format!("has a name of {} bytes; 1 to {NAME_BYTES_MAX} are allowed", name.len());
                self.refuse(&place, reason);
                continue;
            }
            match value.as_str() {
                None => self.refuse(&place, unfit(Some(value), "a text")),
                Some(text) if text.len() > bytes_max => {
                    self.refuse(&place, format!("has {} bytes; at most {bytes_max} are allowed", text.len()));
                }
                Some(text) => _ = texts.insert(name.clone(), text.to_owned()),
            }
        }
        texts
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
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

/// All alerts of a webhook, or all that is wrong with it: it is taken whole or not at all.
fn read(body: &[u8]) -> Result<(Vec<AlertNote>, u64), Problem> {
    // Each alert is taken apart by itself, so that no more than one at a time is in memory in pieces.
    let webhook: BTreeMap<String, Box<RawValue>> = submit::object(body)?;
    let member = |name: &str| webhook.get(name).and_then(|text| serde_json::from_str::<Value>(text.get()).ok());
    let version = member("version");
    // Another version may be made otherwise, so nothing else is said of it.
    if version.as_ref().and_then(Value::as_str) != Some(VERSION) {
        return Err(Problem::bad_field("version", &unfit(version.as_ref(), &format!("{VERSION:?}"))));
    }
    let mut wrongs = Vec::new();
    let status = member("status");
    if has_ended(status.as_ref()).is_none() {
        wrongs.push(("status".to_owned(), unfit(status.as_ref(), STATUSES)));
    }
    let alerts = webhook.get("alerts").and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text.get()).ok());
    if alerts.is_none() {
        wrongs.push(("alerts".to_owned(), unfit(member("alerts").as_ref(), "a list of alerts")));
    }
    let alerts = alerts.unwrap_or_default();
    if alerts.len() > ALERTS_MAX {
        let reason = format!("are {}; at most {ALERTS_MAX} are allowed: set `max_alerts`", alerts.len());
        return Err(Problem::bad_field("alerts", &reason));
    }
    let mut notes = Vec::with_capacity(alerts.len());
    for (index, text) in alerts.iter().enumerate() {
        let place = format!("alerts[{index}]");
        match serde_json::from_str(text.get()) {
            Ok(Value::Object(alert)) => {
                notes.extend(Reader { alert: &alert, place: &place, wrongs: &mut wrongs }.note());
            }
            other => wrongs.push((place, unfit(other.ok().as_ref(), "an object"))),
        }
    }
    if wrongs.is_empty() {
        return Ok((notes, member("truncatedAlerts").and_then(|count| count.as_u64()).unwrap_or_default()));
    }
    wrongs.truncate(NAMED_MAX);
    Err(Problem::bad_fields(&wrongs))
}

#[cfg(test)]
mod tests {
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
        let table: [(Change, u16, &str); 15] = [
            (|w| w["version"] = "3".into(), 422, "version"),
            (|w| w["status"] = "burning".into(), 422, "status"),
            (|w| w["alerts"] = vec![w["alerts"][0].clone(); 1_001].into(), 422, "alerts"),
            (|w| w["alerts"][1] = 7.into(), 422, "alerts[1]"),
            (|w| w["alerts"] = json!({}), 422, "alerts"),
            (|w| w["alerts"][0]["status"] = "burning".into(), 422, "alerts[0].status"),
            (|w| _ = w["alerts"][1].as_object_mut().unwrap().remove("fingerprint"), 422, "alerts[1].fingerprint"),
            (|w| w["alerts"][1]["fingerprint"] = "".into(), 422, "alerts[1].fingerprint"),
            (|w| w["alerts"][1]["fingerprint"] = "../x".into(), 422, "alerts[1].fingerprint"),
            (|w| w["alerts"][0]["labels"] = json!({ "a": "b" }), 422, "alerts[0].labels.alertname"),
            (|w| w["alerts"][0]["labels"]["x"] = "y".repeat(2_049).into(), 422, "alerts[0].labels.x"),
            (|w| w["alerts"][0]["annotations"]["x"] = "y".repeat(8_193).into(), 422, "alerts[0].annotations.x"),
            (|w| w["alerts"][0]["startsAt"] = "0001-01-01T00:00:00Z".into(), 422, "alerts[0].startsAt"),
            (|w| w["alerts"][0]["startsAt"] = "soon".into(), 422, "alerts[0].startsAt"),
            (|w| _ = w["alerts"][1].as_object_mut().unwrap().remove("endsAt"), 422, "alerts[1].endsAt"),
        ];
        for (change, status, field) in table {
            assert_eq!(refused(change), (status, field.into()));
        }
        for body in ["", "{", "[]", "7"] {
            assert_eq!(read(body.as_bytes()).unwrap_err().status.as_u16(), 400, "{body}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_with_its_place() {
        let errors = |body: &Value| {
            let problem = serde_json::to_value(read(body.to_string().as_bytes()).unwrap_err()).unwrap();
            problem["errors"].as_array().unwrap().clone()
        };
        assert_eq!(
            errors(&json!({ "version": "3", "alerts": [] })),
            [json!({ "field": "version", "detail": "is \"3\"; it must be \"4\"" })]
        );
        let body = json!({ "version": "4", "status": "firing", "alerts": [{ "status": "burning" }, 7] });
        let found = errors(&body);
        let places: Vec<_> = found.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(
            places,
            ["alerts[0].status", "alerts[0].fingerprint", "alerts[0].startsAt", "alerts[0].labels", "alerts[1]"]
        );
        assert_eq!(found[0]["detail"], "is \"burning\"; it must be \"firing\" or \"resolved\"");
        let many = json!({ "version": "4", "status": "firing", "alerts": vec![7; 30] });
        assert_eq!(errors(&many).len(), NAMED_MAX);
    }
}
