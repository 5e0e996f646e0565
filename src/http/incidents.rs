//! Incidents: lists, one with everything about it, its review, and the timeline.

use std::collections::BTreeMap;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::operations::{Alert, Event, FilledPart, Impact, Incident, Remediation, ReviewPart};
use crate::policy::incidents::{Facts, Figures, Standing, Thresholds, review};

use super::auth::Caller;
use super::body::{self, Limit};
use super::params::{self, Named};
use super::problem::Problem;
use super::queues::by;
use super::wire::{Raw, Time};
use super::{Api, answer};

type Answer = Result<Response, Problem>;

/// Three parts of the longest kind.
const LIMIT: Limit = Limit { bytes_max: 256 << 10, code: "payload_too_large" };
/// The longest part of a review, in characters.
const PART_CHARS_MAX: usize = 20_000;
/// What a timeline without bounds shows, in milliseconds: the last hour.
const TIMELINE_MS: i64 = 3_600_000;

#[derive(Serialize)]
struct IncidentBody<'a> {
    id: i64,
    name: &'a str,
    severity: &'a str,
    state: &'static str,
    detected_at: Time,
    received_at: Time,
    responded_at: Option<Time>,
    resolved_at: Option<Time>,
    notice_ms: i64,
    response_ms: Option<i64>,
    resolution_ms: Option<i64>,
    alerts: u32,
    firing: u32,
}

impl<'a> IncidentBody<'a> {
    fn of(incident: &'a Incident, standing: Standing) -> Self {
        let figures = Figures::of(incident);
        Self {
            id: incident.number,
            name: &incident.name,
            severity: &incident.severity,
            state: standing.name(),
            detected_at: Time(incident.detected_at),
            received_at: Time(incident.received_at),
            responded_at: incident.responded_at.map(Time),
            resolved_at: incident.resolved_at.map(Time),
            notice_ms: figures.notice_ms,
            response_ms: figures.response_ms,
            resolution_ms: figures.resolution_ms,
            alerts: incident.alerts,
            firing: incident.firing,
        }
    }
}

#[derive(Serialize)]
struct AlertBody<'a> {
    name: &'a str,
    severity: &'a str,
    fingerprint: &'a str,
    starts_at: Time,
    ends_at: Option<Time>,
    received_at: Time,
    heard_at: Time,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Alert> for AlertBody<'a> {
    fn from(Alert { note, received_at, heard_at, .. }: &'a Alert) -> Self {
        Self {
            name: &note.name,
            severity: &note.severity,
            fingerprint: &note.fingerprint,
            starts_at: Time(note.starts_at),
            ends_at: note.ends_at.map(Time),
            received_at: Time(*received_at),
            heard_at: Time(*heard_at),
            labels: &note.labels,
            annotations: &note.annotations,
        }
    }
}

#[derive(Serialize)]
struct EventBody<'a> {
    at: Time,
    node: &'a str,
    kind: &'static str,
    subject: &'a str,
    words: &'a str,
    detail: Option<Raw<'a>>,
}

impl<'a> From<&'a Event> for EventBody<'a> {
    fn from(Event { event, .. }: &'a Event) -> Self {
        Self {
            at: Time(event.at),
            node: &event.node_name,
            kind: event.kind.name(),
            subject: &event.subject,
            words: &event.words,
            detail: event.detail.as_deref().map(|text| Raw(text.as_bytes())),
        }
    }
}

#[derive(Serialize)]
struct RemedyBody<'a> {
    id: i64,
    action: &'a str,
    target: &'a str,
    state: &'static str,
    reason: &'a str,
    by: &'a str,
    began_at: Time,
    ended_at: Option<Time>,
    words: &'a str,
}

impl<'a> From<&'a Remediation> for RemedyBody<'a> {
    fn from(one: &'a Remediation) -> Self {
        Self {
            id: one.number,
            action: &one.asked.action,
            target: &one.asked.target,
            state: one.state.name(),
            reason: &one.reason,
            by: &one.asked.by,
            began_at: Time(one.began_at),
            ended_at: one.ended_at.map(Time),
            words: &one.asked.words,
        }
    }
}

#[derive(Serialize)]
struct PartBody<'a> {
    text: &'a str,
    by: &'a str,
    at: Time,
}

#[derive(Serialize)]
struct CostBody<'a> {
    queue: &'a str,
    accepted: u64,
    finished: &'a BTreeMap<String, u64>,
    refused: u64,
    put_off: u64,
    sla_missed: u64,
    open: u64,
}

/// What an incident cost, by queue.
fn costs<'a>(facts: &'a Facts, found: &'a Thresholds) -> Vec<CostBody<'a>> {
    let queues: &[Impact] = facts.impact.as_deref().unwrap_or_default();
    let cost = |one: &'a Impact| CostBody {
        queue: &one.queue,
        accepted: one.accepted,
        finished: &one.finished,
        refused: found.refused.get(&one.queue).copied().unwrap_or_default(),
        put_off: one.put_off,
        sla_missed: one.late,
        open: one.open,
    };
    queues.iter().map(cost).collect()
}

/// One incident with everything about it.
#[derive(Serialize)]
struct FactsBody<'a> {
    #[serde(flatten)]
    incident: IncidentBody<'a>,
    alerts_shown: Vec<AlertBody<'a>>,
    timeline: Vec<EventBody<'a>>,
    timeline_is_cut: bool,
    remediations: Vec<RemedyBody<'a>>,
    impact: Vec<CostBody<'a>>,
    /// Why it is not known.
    impact_error: Option<&'a str>,
    review: BTreeMap<&'static str, PartBody<'a>>,
}

fn facts_body(facts: &Facts) -> Response {
    let found = Thresholds::of(facts);
    let standing = Standing::of(&facts.incident, facts.quiet_ms, facts.now);
    let mut parts = BTreeMap::new();
    for filled in &facts.incident.parts {
        let FilledPart { part, text, by, at } = filled;
        parts.insert(part.name(), PartBody { text, by, at: Time(*at) });
    }
    answer::ok(&FactsBody {
        incident: IncidentBody::of(&facts.incident, standing),
        alerts_shown: facts.alerts.iter().map(AlertBody::from).collect(),
        timeline: facts.events.iter().map(EventBody::from).collect(),
        timeline_is_cut: facts.is_cut,
        remediations: facts.remediations.iter().map(RemedyBody::from).collect(),
        impact: costs(facts, &found),
        impact_error: facts.impact.as_ref().err().map(String::as_str),
        review: parts,
    })
}

/// The incident named in a path; a text that is no number names none.
fn number(text: &str) -> Result<i64, Problem> {
    let number = text.parse().ok().filter(|number: &i64| *number > 0);
    number.ok_or_else(|| Problem::not_found(format!("there is no incident {text:?}")))
}

/// `GET /v1/incidents`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    let query = params::incidents(uri.query())?;
    let page = api.engine.incidents(query.is_firing, query.before, query.limit).await?;
    let bodies: Vec<_> =
        page.incidents.iter().map(|(incident, standing)| IncidentBody::of(incident, *standing)).collect();
    Ok(answer::ok(&json!({ "incidents": bodies, "next_cursor": page.next.map(params::cursor_text) })))
}

/// `GET /v1/incidents/{id}`: JSON, or the review where Markdown is asked for.
pub(super) async fn show(State(api): State<Api>, Named(id): Named, uri: Uri, headers: HeaderMap) -> Answer {
    params::none(uri.query())?;
    let facts = api.engine.incident(number(&id)?).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/markdown")) {
        let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
        return Ok(([(header::CONTENT_TYPE, kind)], review(&facts)).into_response());
    }
    Ok(facts_body(&facts))
}

/// Parts of a review; those left out stay as they are, and an empty text takes one back.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    root_cause: Option<String>,
    action_items: Option<String>,
    notes: Option<String>,
    by: Option<String>,
}

/// `PUT /v1/incidents/{id}`
pub(super) async fn fill_in(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
    request: Request,
) -> Answer {
    let number = number(&id)?;
    let asked: Parts = body::optional_json(&api.budget, request, &LIMIT).await?;
    let (by, at) = (by(asked.by, caller)?, api.engine.now());
    let texts = [
        (ReviewPart::RootCause, asked.root_cause),
        (ReviewPart::ActionItems, asked.action_items),
        (ReviewPart::Notes, asked.notes),
    ];
    let mut parts = Vec::new();
    for (part, text) in texts {
        let Some(text) = text else { continue };
        if text.chars().count() > PART_CHARS_MAX {
            return Err(Problem::bad_field(part.name(), &format!("must have at most {PART_CHARS_MAX} characters")));
        }
        parts.push(FilledPart { part, text, by: by.clone(), at });
    }
    if parts.is_empty() {
        return Err(Problem::bad_field("root_cause", "is missing, and so are `action_items` and `notes`; give one"));
    }
    let engine = api.engine.clone();
    api.whole(async move { engine.fill_in(number, &parts).await }).await??;
    Ok(facts_body(&api.engine.incident(number).await?))
}

/// `GET /v1/timeline`
pub(super) async fn timeline(State(api): State<Api>, uri: Uri) -> Answer {
    let query = params::timeline(uri.query())?;
    let until = query.until.unwrap_or_else(|| api.engine.now().plus_ms(1));
    let since = query.since.unwrap_or_else(|| until.plus_ms(-TIMELINE_MS));
    let events = api.engine.timeline(since, until, query.limit).await?;
    let bodies: Vec<EventBody<'_>> = events.iter().map(EventBody::from).collect();
    let is_cut = u32::try_from(bodies.len()).is_ok_and(|shown| shown == query.limit);
    Ok(answer::ok(&json!({ "events": bodies, "is_cut": is_cut })))
}
