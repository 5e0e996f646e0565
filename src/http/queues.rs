//! Queues and types: what they hold, and pausing them.

use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::engine::Refusal;
use crate::job::{QueueName, TypeName};
use crate::ledger::Scope;

use super::auth::Caller;
use super::params::{self, Named};
use super::problem::Problem;
use super::wire::{QueueBody, TypeBody};
use super::{Api, answer, body};

/// How long a drain waits when the caller does not say, in seconds.
const DRAIN_DEFAULT_S: u64 = 300;

/// The longest that a drain waits in one request, in seconds.
const DRAIN_MAX_S: u64 = 600;

/// The most characters of a name or reason that an operator gives.
const WORDS_CHARS_MAX: usize = 500;

type Answer = Result<Response, Problem>;

/// Who does something, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    by: Option<String>,
    reason: Option<String>,
}

/// The same, with patience.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainWords {
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
    wait_s: Option<u64>,
}

impl DrainWords {
    /// How long to wait.
    pub(super) fn patience(&self) -> Result<Duration, Problem> {
        let wait_s = self.wait_s.unwrap_or(DRAIN_DEFAULT_S);
        if wait_s > DRAIN_MAX_S {
            let detail = format!("is {wait_s}; at most {DRAIN_MAX_S} s can be waited for");
            return Err(Problem::bad_field("wait_s", &detail));
        }
        Ok(Duration::from_secs(wait_s))
    }
}

/// Only who.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    by: Option<String>,
}

/// What was said, or what is known of the caller.
pub(super) fn by(said: Option<String>, caller: Caller) -> Result<String, Problem> {
    bounded("by", said.filter(|name| !name.trim().is_empty()).unwrap_or(caller.0))
}

/// Why; empty where nothing was said.
pub(super) fn reason(said: Option<String>) -> Result<String, Problem> {
    bounded("reason", said.unwrap_or_default())
}

pub(super) fn bounded(field: &str, text: String) -> Result<String, Problem> {
    if text.chars().count() <= WORDS_CHARS_MAX && !text.contains('\0') {
        return Ok(text);
    }
    Err(Problem::bad_field(field, &format!("must have at most {WORDS_CHARS_MAX} characters, and no NUL")))
}

/// The queue named in a path, if it is configured.
fn queue_name(api: &Api, name: &str) -> Result<QueueName, Problem> {
    let catalog = api.engine.catalog();
    let known = catalog.queues.keys().find(|known| known.as_str() == name);
    known.cloned().ok_or_else(|| unknown("queue", name, catalog.queues.keys().map(QueueName::as_str)))
}

/// The type named in a path, if it is configured.
fn type_name(api: &Api, name: &str) -> Result<TypeName, Problem> {
    let catalog = api.engine.catalog();
    let known = catalog.types.keys().find(|known| known.as_str() == name);
    known.cloned().ok_or_else(|| unknown("type", name, catalog.types.keys().map(TypeName::as_str)))
}

fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let known = known.collect::<Vec<_>>().join(", ");
    Refusal::NotFound { what, name: name.to_owned(), known: Some(known) }.into()
}

#[derive(Serialize)]
struct QueuesBody<'a> {
    queues: Vec<QueueBody<'a>>,
}

/// `GET /v1/queues`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let queues = api.engine.queues().await?;
    Ok(answer::ok(&QueuesBody { queues: queues.iter().map(QueueBody::of).collect() }))
}

/// `GET /v1/queues/{q}`
pub(super) async fn show(State(api): State<Api>, Named(name): Named) -> Answer {
    queue_answer(&api, &queue_name(&api, &name)?).await
}

async fn queue_answer(api: &Api, name: &QueueName) -> Answer {
    let queues = api.engine.queues().await?;
    let view = queues.iter().find(|view| view.queue.name == *name);
    let view = view.ok_or_else(|| unknown("queue", name.as_str(), std::iter::empty()))?;
    Ok(answer::ok(&QueueBody::of(view)))
}

/// `POST /v1/queues/{q}/pause`
pub(super) async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    let queue = queue_name(&api, &name)?;
    pause_scope(&api, Scope::Queue(queue.clone()), caller, request).await?;
    queue_answer(&api, &queue).await
}

async fn pause_scope(api: &Api, scope: Scope, caller: Caller, request: Request) -> Result<(), Problem> {
    let words: Words = body::order(&api.budget, request).await?;
    let by = by(words.by, caller)?;
    let reason = reason(words.reason)?;
    let engine = api.engine.clone();
    api.whole(async move { engine.pause(&scope, &by, &reason).await }).await?.map_err(Problem::from)
}

/// `POST /v1/queues/{q}/resume`
pub(super) async fn resume(State(api): State<Api>, Named(name): Named, request: Request) -> Answer {
    let queue = queue_name(&api, &name)?;
    body::order::<Words>(&api.budget, request).await?;
    let (engine, scope) = (api.engine.clone(), Scope::Queue(queue.clone()));
    api.whole(async move { engine.resume(&scope).await }).await??;
    queue_answer(&api, &queue).await
}

#[derive(Serialize)]
struct DrainedBody<'a> {
    queue: &'a str,
    drained: bool,
    running: u64,
}

/// `POST /v1/queues/{q}/drain`
pub(super) async fn drain(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    let queue = queue_name(&api, &name)?;
    let words: DrainWords = body::order(&api.budget, request).await?;
    let patience = words.patience()?;
    let by = by(words.by, caller)?;
    let reason = reason(words.reason)?;
    let (engine, drying) = (api.engine.clone(), queue.clone());
    let drain = async move { engine.drain_queue(&drying, &by, &reason, patience).await };
    let drained = tokio::select! {
        drained = api.whole(drain) => drained??,
        // The pause stands or is about to; another node can go on waiting.
        () = api.stop.cancelled() => return Err(Refusal::Stopping.into()),
    };
    Ok(answer::ok(&DrainedBody { queue: queue.as_str(), drained: drained.done, running: drained.running }))
}

#[derive(Serialize)]
struct PurgedBody {
    cancelled: u64,
}

/// `POST /v1/queues/{q}/purge`
pub(super) async fn purge(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    let queue = queue_name(&api, &name)?;
    let said: Name = body::order(&api.budget, request).await?;
    let (engine, by) = (api.engine.clone(), by(said.by, caller)?);
    let cancelled = api.whole(async move { engine.purge(&queue, &by).await }).await??;
    Ok(answer::ok(&PurgedBody { cancelled }))
}

#[derive(Serialize)]
struct TypesBody<'a> {
    types: Vec<TypeBody<'a>>,
}

/// `GET /v1/types`
pub(super) async fn list_types(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let types = api.engine.types().await?;
    Ok(answer::ok(&TypesBody { types: types.iter().map(TypeBody::of).collect() }))
}

/// `GET /v1/types/{t}`
pub(super) async fn show_type(State(api): State<Api>, Named(name): Named) -> Answer {
    type_answer(&api, &type_name(&api, &name)?).await
}

async fn type_answer(api: &Api, name: &TypeName) -> Answer {
    let types = api.engine.types().await?;
    let view = types.iter().find(|view| view.job_type.name == *name);
    let view = view.ok_or_else(|| unknown("type", name.as_str(), std::iter::empty()))?;
    Ok(answer::ok(&TypeBody::of(view)))
}

/// `POST /v1/types/{t}/pause`
pub(super) async fn pause_type(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    let job_type = type_name(&api, &name)?;
    pause_scope(&api, Scope::Type(job_type.clone()), caller, request).await?;
    type_answer(&api, &job_type).await
}

/// `POST /v1/types/{t}/resume`
pub(super) async fn resume_type(State(api): State<Api>, Named(name): Named, request: Request) -> Answer {
    let job_type = type_name(&api, &name)?;
    body::order::<Words>(&api.budget, request).await?;
    let (engine, scope) = (api.engine.clone(), Scope::Type(job_type.clone()));
    api.whole(async move { engine.resume(&scope).await }).await??;
    type_answer(&api, &job_type).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_stands_in_where_no_name_is_given() {
        let caller = || Caller("anonymous@10.0.0.7".to_owned());
        assert_eq!(by(Some("ada".into()), caller()).unwrap(), "ada");
        assert_eq!(by(None, caller()).unwrap(), "anonymous@10.0.0.7");
        assert_eq!(by(Some(" ".into()), caller()).unwrap(), "anonymous@10.0.0.7");
        assert_eq!(by(Some("x".repeat(501)), caller()).unwrap_err().status.as_u16(), 422);
    }
}
