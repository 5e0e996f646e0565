//! Jobs: submit, show, list, and what an operator does to one.

use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::{Fate, JobPage, JobView, Refusal, Submitted};
use crate::job::JobId;

use super::auth::Caller;
use super::params::{self, Named};
use super::problem::Problem;
use super::wire::JobBody;
use super::{Api, answer, body, submit};

/// A page ends early when its payloads and results reach this size, so that no answer is a gigabyte.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Tells whether a known job is still active.
const STATUS_HEADER: &str = "idempotency-status";

type Answer = Result<Response, Problem>;

/// `POST /v1/jobs`
pub(super) async fn submit(State(api): State<Api>, request: Request) -> Answer {
    let headers = request.headers().clone();
    let kind = body::json_only(&headers);
    let limit = body::Limit {
        bytes_max: api.engine.limits().payload_bytes_max + body::SUBMIT_ROOM_BYTES,
        code: "payload_too_large",
    };
    let received = body::read(&api.budget, request, &limit).await?;
    kind?;
    let submit = submit::single(&headers, &received.bytes)?;
    let engine = api.engine.clone();
    let mut submitted = api.whole(async move { engine.submit(vec![submit]).await }).await?;
    let submitted = submitted.pop().unwrap_or(Err(Refusal::Stopping))?;
    submitted_answer(&api, submitted).await
}

async fn submitted_answer(api: &Api, submitted: Submitted) -> Answer {
    let status = match submitted.fate {
        Fate::Created => None,
        Fate::Active => Some("active"),
        Fate::Cached => Some("cached"),
    };
    let mut response = match (status, submitted.job) {
        (None, Some(job)) => answer::json(StatusCode::CREATED, &JobBody::accepted(&job)),
        (None, None) => {
            let view = api.engine.job(&submitted.id).await?;
            answer::json(StatusCode::CREATED, &JobBody::of(&view))
        }
        (Some(_), _) => match api.engine.job(&submitted.id).await {
            Ok(view) => answer::ok(&JobBody::of(&view)),
            // Its key outlives its row.
            Err(Refusal::NotFound { .. }) => answer::ok(&Purged { id: submitted.id.as_str(), purged: true }),
            Err(refusal) => return Err(refusal.into()),
        },
    };
    if let Some(status) = status {
        response.headers_mut().insert(STATUS_HEADER, HeaderValue::from_static(status));
    }
    Ok(with_location(response, &submitted.id))
}

#[derive(Serialize)]
struct Purged<'a> {
    id: &'a str,
    purged: bool,
}

fn with_location(mut response: Response, id: &JobId) -> Response {
    // The alphabet of ids needs no escapes in a path or a header.
    if let Ok(value) = HeaderValue::from_str(&format!("/v1/jobs/{id}")) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// `GET /v1/jobs/{id}`
pub(super) async fn show(State(api): State<Api>, Named(id): Named, uri: Uri) -> Answer {
    let id = params::job_id(&id)?;
    let patience = params::wait(uri.query())?;
    let view = if patience == Duration::ZERO {
        api.engine.job(&id).await?
    } else {
        tokio::select! {
            view = api.engine.wait(&id, patience) => view?,
            () = api.stop.cancelled() => api.engine.job(&id).await?,
        }
    };
    let reviews = api.engine.reviews_of(&id).await?;
    Ok(answer::ok(&JobBody::of(&view).with_reviews(&reviews)))
}

#[derive(Serialize)]
struct PageBody<'a> {
    jobs: Vec<JobBody<'a>>,
    next_cursor: Option<String>,
}

/// `GET /v1/jobs`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    let query = params::page(uri.query())?;
    let page = api.engine.jobs(&query.filter, query.before, query.limit).await?;
    Ok(answer::ok(&page_body(&page)))
}

fn page_body(page: &JobPage) -> PageBody<'_> {
    let mut bytes = 0;
    let fits = page
        .jobs
        .iter()
        .take_while(|view| {
            let room = bytes < PAGE_BYTES_MAX;
            bytes += size(view);
            room
        })
        .count();
    let next = if fits < page.jobs.len() { page.jobs.get(fits - 1).map(|view| view.job.seq) } else { page.next };
    PageBody { jobs: page.jobs[..fits].iter().map(JobBody::of).collect(), next_cursor: next.map(params::cursor_text) }
}

fn size(view: &JobView) -> usize {
    let result = view.job.rest.as_ref().and_then(|rest| rest.result.as_ref());
    view.job.spec.payload.len() + result.map_or(0, Bytes::len)
}

/// An operator's call that needs no more than the job's name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `POST /v1/jobs/{id}/cancel`
pub(super) async fn cancel(State(api): State<Api>, Named(id): Named, request: Request) -> Answer {
    let id = params::job_id(&id)?;
    body::order::<Nothing>(&api.budget, request).await?;
    let engine = api.engine.clone();
    let view = api.whole(async move { engine.cancel(&id).await }).await??;
    Ok(answer::ok(&JobBody::of(&view)))
}

/// `POST /v1/jobs/{id}/retry`
pub(super) async fn retry(
    State(api): State<Api>,
    Extension(Caller(by)): Extension<Caller>,
    Named(id): Named,
    request: Request,
) -> Answer {
    let id = params::job_id(&id)?;
    body::order::<Nothing>(&api.budget, request).await?;
    let engine = api.engine.clone();
    let view = api.whole(async move { engine.retry(&id, &by).await }).await??;
    Ok(answer::ok(&JobBody::of(&view)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    /// Another payload; `null` is one too.
    #[serde(default, deserialize_with = "present")]
    payload: Option<Box<RawValue>>,
}

/// Tells `"payload": null` from no payload.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// `POST /v1/jobs/{id}/replay`
pub(super) async fn replay(State(api): State<Api>, Named(id): Named, request: Request) -> Answer {
    let id = params::job_id(&id)?;
    let replay = replay_body(&api, request).await?;
    replayed(&api, id, replay).await
}

/// Reads what is to be replayed.
pub(super) async fn replay_body(api: &Api, request: Request) -> Result<Replay, Problem> {
    let limit = body::Limit {
        bytes_max: api.engine.limits().payload_bytes_max + body::SUBMIT_ROOM_BYTES,
        code: "payload_too_large",
    };
    body::optional_json(&api.budget, request, &limit).await
}

/// Replays a job.
pub(super) async fn replayed(api: &Api, id: JobId, replay: Replay) -> Answer {
    let payload = replay.payload.map(|payload| Bytes::from(Box::<str>::from(payload).into_string()));
    let engine = api.engine.clone();
    let view = api.whole(async move { engine.replay(&id, payload).await }).await??;
    Ok(with_location(answer::ok(&JobBody::of(&view)), &view.job.spec.id))
}

#[derive(Serialize)]
struct Deleted<'a> {
    id: &'a str,
    deleted: bool,
}

/// `DELETE /v1/jobs/{id}`
pub(super) async fn delete(State(api): State<Api>, Named(id): Named) -> Answer {
    let id = params::job_id(&id)?;
    let (engine, doomed) = (api.engine.clone(), id.clone());
    api.whole(async move { engine.delete(&doomed).await }).await??;
    Ok(answer::ok(&Deleted { id: id.as_str(), deleted: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_tells_null_from_nothing() {
        let read = |body: &str| submit::object::<Replay>(body.as_bytes()).unwrap().payload;
        assert!(read("{}").is_none());
        assert_eq!(read(r#"{"payload":null}"#).unwrap().get(), "null");
        assert_eq!(read(r#"{"payload":{"a": 1}}"#).unwrap().get(), r#"{"a": 1}"#);
    }
}
