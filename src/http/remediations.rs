//! Remediation: the switch, what is configured, the audit, and actions by hand.

use std::collections::BTreeMap;

use axum::extract::{Extension, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::{RemediationView, Remedied, SwitchChange};
use crate::operations::Remediation;
use crate::policy::remediation::{Action, Response as Answered};

use super::auth::Caller;
use super::params::{self, Named, RemediationQuery};
use super::problem::Problem;
use super::queues::{bounded, by, reason};
use super::wire::{Raw, Time};
use super::{Api, answer, body};

/// The most labels that an action by hand is given, and the most characters of each: as many as an alert has.
const LABELS_MAX: usize = 64;

type Answer = Result<Response, Problem>;

/// What is to change. A missing member stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchBody {
    enabled: Option<bool>,
    dry_run: Option<bool>,
    by: Option<String>,
    reason: Option<String>,
}

/// An action by hand.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    dry_run: bool,
    by: Option<String>,
}

#[derive(Serialize)]
struct StandingBody<'a> {
    enabled: bool,
    dry_run: bool,
    configured: Value,
    /// Who has set it at run time; null: the configuration.
    set_by: Option<&'a str>,
    set_at: Option<Time>,
    reason: Option<&'a str>,
    actions_per_hour: u32,
    actions: Vec<ActionBody<'a>>,
    alerts: Vec<ResponseBody<'a>>,
    overrides: Vec<OverrideBody<'a>>,
}

#[derive(Serialize)]
struct ActionBody<'a> {
    name: &'a str,
    kind: &'static str,
    dry_run: bool,
    cool_down_ms: i64,
    per_hour: u32,
    timeout_ms: u64,
    verify: &'static str,
    verify_ms: u64,
}

#[derive(Serialize)]
struct ResponseBody<'a> {
    name: &'a str,
    alert: &'a str,
    when: &'a BTreeMap<String, String>,
    actions: &'a [String],
    if_not_healed: &'a [String],
}

#[derive(Serialize)]
struct OverrideBody<'a> {
    name: &'a str,
    value: &'a Value,
    by: &'a str,
    until: Option<Time>,
}

impl<'a> ActionBody<'a> {
    fn of(action: &'a Action) -> Self {
        Self {
            name: &action.name,
            kind: action.deed.kind(),
            dry_run: action.dry_run,
            cool_down_ms: action.cool_down_ms,
            per_hour: action.per_hour_max,
            timeout_ms: action.timeout_ms,
            verify: action.verify.name(),
            verify_ms: action.verify_ms,
        }
    }
}

impl<'a> ResponseBody<'a> {
    fn of(response: &'a Answered) -> Self {
        let Answered { name, alert, when, actions, if_not_healed } = response;
        Self { name, alert, when, actions, if_not_healed }
    }
}

fn standing(view: &RemediationView) -> Response {
    let rules = view.rules();
    answer::ok(&StandingBody {
        enabled: view.switch.enabled,
        dry_run: view.switch.dry_run,
        configured: json!({ "enabled": rules.enabled, "dry_run": rules.dry_run }),
        set_by: view.set.as_ref().map(|set| set.by.as_str()),
        set_at: view.set.as_ref().map(|set| Time(set.at)),
        reason: view.set.as_ref().map(|set| set.reason.as_str()).filter(|reason| !reason.is_empty()),
        actions_per_hour: rules.per_hour_max,
        actions: rules.actions.values().map(ActionBody::of).collect(),
        alerts: rules.responses.values().map(ResponseBody::of).collect(),
        overrides: view
            .overrides
            .iter()
            .map(|it| OverrideBody { name: &it.name, value: &it.value, by: &it.by, until: it.until.map(Time) })
            .collect(),
    })
}

/// `GET /v1/remediation`
pub(super) async fn show(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    Ok(standing(&api.engine.remediation()))
}

/// `PUT /v1/remediation`
pub(super) async fn set(State(api): State<Api>, Extension(caller): Extension<Caller>, request: Request) -> Answer {
    let said: SwitchBody = body::order(&api.budget, request).await?;
    if said.enabled.is_none() && said.dry_run.is_none() {
        return Err(Problem::bad_field("enabled", "is missing; expected `enabled`, `dry_run` or both"));
    }
    let change = SwitchChange { enabled: said.enabled, dry_run: said.dry_run };
    let (by, reason) = (by(said.by, caller)?, reason(said.reason)?);
    let engine = api.engine.clone();
    let view = api.whole(async move { engine.set_remediation(change, &by, &reason).await }).await??;
    Ok(standing(&view))
}

/// One row of the audit.
#[derive(Serialize)]
struct RemediationBody<'a> {
    number: i64,
    action: &'a str,
    kind: &'a str,
    target: &'a str,
    state: &'static str,
    /// What held it back, in one word; null where nothing did.
    reason: Option<&'a str>,
    words: &'a str,
    by: &'a str,
    dry_run: bool,
    incident: Option<i64>,
    alert: Option<Value>,
    node: &'a str,
    node_name: &'a str,
    began_at: Time,
    ended_at: Option<Time>,
    before: Option<Raw<'a>>,
    after: Option<Raw<'a>>,
}

impl<'a> RemediationBody<'a> {
    fn of(row: &'a Remediation) -> Self {
        let asked = &row.asked;
        let alert = asked.cause.as_ref().map(|cause| {
            json!({
                "name": cause.alert,
                "fingerprint": cause.fingerprint,
                "starts_at": cause.starts_at.to_string(),
            })
        });
        Self {
            number: row.number,
            action: &asked.action,
            kind: &asked.kind,
            target: &asked.target,
            state: row.state.name(),
            reason: Some(row.reason.as_str()).filter(|reason| !reason.is_empty()),
            words: &asked.words,
            by: &asked.by,
            dry_run: asked.is_dry,
            incident: asked.incident,
            alert,
            node: asked.node.as_str(),
            node_name: &asked.node_name,
            began_at: Time(row.began_at),
            ended_at: row.ended_at.map(Time),
            before: asked.before.as_deref().map(|text| Raw(text.as_bytes())),
            after: row.after.as_deref().map(|text| Raw(text.as_bytes())),
        }
    }
}

/// `GET /v1/remediations`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    let RemediationQuery { filter, before, limit } = params::remediations(uri.query())?;
    let rows = api.engine.remediations(&filter, before, limit).await?;
    let is_full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| is_full).map(|row| params::cursor_text(row.number));
    let bodies: Vec<RemediationBody<'_>> = rows.iter().map(RemediationBody::of).collect();
    Ok(answer::ok(&json!({ "remediations": bodies, "next_cursor": next })))
}

/// `POST /v1/remediations/{action}`: answers once the action has ended.
pub(super) async fn run(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    let said: RunBody = body::order(&api.budget, request).await?;
    if said.labels.len() > LABELS_MAX {
        return Err(Problem::bad_field(
            "labels",
            &format!("has {}; at most {LABELS_MAX} are taken", said.labels.len()),
        ));
    }
    for (name, value) in &said.labels {
        bounded("labels", name.clone())?;
        bounded("labels", value.clone())?;
    }
    let (by, dry_run, labels) = (by(said.by, caller)?, said.dry_run, said.labels);
    let engine = api.engine.clone();
    let remedied = api.whole(async move { engine.remediate(&name, labels, dry_run, &by).await }).await??;
    let Remedied { number, action, kind, target, state, reason, words } = remedied;
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    let state = state.name();
    Ok(answer::ok(&json!({
        "number": number, "action": action, "kind": kind, "target": target, "state": state, "reason": reason,
        "words": words,
    })))
}
