//! Handlers under the engine: children in the parent's transaction, pushback, timeouts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};

use crate::support::daemon::{Footing, Site};
use crate::support::wait::until;

on_both_footings! {
    children_are_accepted_with_their_parents_success
    one_invalid_child_fails_the_run_and_accepts_none
    pushback_spends_no_attempt
    a_run_over_its_time_is_stopped_with_all_its_children
    a_handler_can_ask_for_a_person
}

async fn children_are_accepted_with_their_parents_success(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    daemon.submit(json!({"type": "echo", "payload": "old", "idempotency_key": "known"})).await;
    let parent = daemon
        .submit(json!({"type": "echo", "payload": {"answer": 1, "ganger": {"enqueue": [
            {"type": "echo", "payload": "one", "id": "child-1"},
            {"type": "echo", "payload": "old", "idempotency_key": "known"},
            {"type": "echo", "payload": "later", "delay_ms": 3_600_000, "id": "child-3"},
        ]}}}))
        .await;
    let job = daemon.at_rest(&parent).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &json!({"answer": 1})));
    let child = daemon.at_rest("child-1").await;
    assert_eq!((&child["result"], &child["parent"]), (&json!("one"), &json!(parent)));
    assert_eq!(daemon.job("child-3").await["state"], "scheduled");
    let all = daemon.get("/v1/jobs").await;
    assert_eq!(all["jobs"].as_array().unwrap().len(), 4, "the known key kept its job: {all}");
}

async fn one_invalid_child_fails_the_run_and_accepts_none(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[job_types.echo]\nqueue = \"work\"\n[job_types.echo.retry]\nmax_retries = 0\n").await;
    let parent = daemon
        .submit(json!({"type": "echo", "payload": {"ganger": {"enqueue": [
            {"type": "echo", "id": "good"}, {"type": "nobody", "id": "bad"}]}}}))
        .await;
    let job = daemon.at_rest(&parent).await;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!("bad_enqueue")));
    assert!(job["error"]["message"].as_str().unwrap().contains("enqueue[1]"), "{job}");
    assert_eq!(daemon.call("GET", "/v1/jobs/good", None).await.0, 404);
}

/// A service that answers 429 with `Retry-After: 1` twice, then the attempt that it is told.
async fn pushback_spends_no_attempt(footing: Footing) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let answer = move |headers: HeaderMap, body: axum::Json<Value>| {
        let count = count.clone();
        async move {
            if count.fetch_add(1, Ordering::SeqCst) < 2 {
                return Err((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]));
            }
            let fence = headers["ganger-fence"].to_str().unwrap().to_owned();
            Ok(axum::Json(
                json!({"attempt": body["job"]["attempt"], "fence": fence, "key": headers["idempotency-key"].to_str().unwrap()}),
            ))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });

    let site = Site::new(footing).await;
    let configured =
        format!("[job_types.web]\nqueue = \"work\"\n[job_types.web.handler]\nkind = \"http\"\nurl = \"{url}\"\n");
    let daemon = site.start(&configured).await;
    let id = daemon.submit(json!({"type": "web", "payload": {}})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!(
        (&job["state"], &job["attempts"], &job["deferrals"], &job["deliveries"]),
        (&json!("succeeded"), &json!(1), &json!(2), &json!(3)),
        "{job}"
    );
    assert_eq!((&job["result"]["attempt"], &job["result"]["key"]), (&json!(1), &json!(id)));
    assert_eq!(job["result"]["fence"].as_str().unwrap(), job["fence"].to_string());
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    server.abort_all();
}

async fn a_run_over_its_time_is_stopped_with_all_its_children(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[handlers]\nterm_grace_ms = 200\n").await;
    let alive = site.folder().join("alive");
    // The grandchild ignores TERM and goes on writing until it is killed.
    let line = format!("(trap : TERM; while :; do echo x >> {}; sleep 0.05; done) & wait", alive.display());
    let id = daemon.submit(json!({"type": "shell", "payload": line, "timeout_ms": 500})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!(
        (&job["state"], &job["error"]["class"], &job["attempts"]),
        (&json!("failed"), &json!("timeout"), &json!(1))
    );
    let size = || std::fs::metadata(&alive).map(|file| file.len()).unwrap_or(0);
    until("the grandchild is gone", || async {
        let before = size();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        (size() == before).then_some(())
    })
    .await;
}

async fn a_handler_can_ask_for_a_person(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let payload = json!({"candidate": "#buy", "ganger": {"review": {"reason": "confidence 0.4"}}});
    let id = daemon.submit(json!({"type": "echo", "payload": payload})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["result"]["candidate"]), (&json!("in_review"), &json!("#buy")));
    assert_eq!(job["error"]["message"], "confidence 0.4");
}
