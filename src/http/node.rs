//! This node as a whole.

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use serde::Serialize;

use super::auth::Caller;
use super::problem::Problem;
use super::queues::{DrainWords, by, reason};
use super::{Api, answer, body};

#[derive(Serialize)]
struct DrainedBody {
    node: String,
    drained: bool,
    running: usize,
}

/// `POST /v1/node/drain`: what SIGTERM begins with, for whoever wants to wait longer than a stop may take.
pub(super) async fn drain(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let words: DrainWords = body::order(&api.budget, request).await?;
    let patience = words.patience()?;
    let (by, reason) = (by(words.by, caller)?, reason(words.reason)?);
    let running = tokio::select! {
        running = api.engine.retire(patience, &by, &reason) => running,
        // The stop has begun, and waits by itself.
        () = api.stop.cancelled() => api.engine.summary().running,
    };
    let node = api.engine.node().to_owned();
    Ok(answer::ok(&DrainedBody { node, drained: running == 0, running }))
}
