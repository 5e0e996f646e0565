//! The handler of all jobs: a server in the test's own process, which does what the payload says and
//! records what it sees.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use ganger::history::{Outcome, Run, RunEnd};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::story::{Story, digest};

/// The pause that a put-off asks for, in seconds: HTTP knows no shorter one.
const PUT_OFF_S: u64 = 1;

pub struct Handler {
    pub url: String,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Shared {
    story: Story,
    /// Jobs that were put off once.
    put_off: Arc<Mutex<HashSet<String>>>,
}

impl Handler {
    pub async fn start(story: Story) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared { story, put_off: Arc::default() };
        let app = axum::Router::new().route("/{node}", axum::routing::post(handle)).with_state(shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { url, _tasks: tasks }
    }
}

/// A run in hand. Dropped without an end, its caller has gone.
struct InHand {
    story: Story,
    run: u64,
    ended: bool,
}

impl InHand {
    fn end(mut self, outcome: Outcome, result: Option<&Value>, class: Option<&str>, children: Vec<String>) {
        self.ended = true;
        self.story.run_end(RunEnd {
            at_us: 0,
            run: self.run,
            outcome,
            result: result.map(digest),
            class: class.map(str::to_owned),
            retry_after_ms: if outcome == Outcome::Deferred { PUT_OFF_S * 1_000 } else { 0 },
            children,
        });
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if !self.ended {
            let (run, outcome) = (self.run, Outcome::Dropped);
            let (result, class, children) = (None, None, Vec::new());
            self.story.run_end(RunEnd { at_us: 0, run, outcome, result, class, retry_after_ms: 0, children });
        }
    }
}

async fn handle(State(shared): State<Shared>, Path(node): Path<String>, Json(body): Json<Value>) -> Response {
    let (job, payload) = (&body["job"], &body["payload"]);
    let text = |name: &str| job[name].as_str().unwrap().to_owned();
    let attempt = u32::try_from(job["attempt"].as_u64().unwrap()).unwrap();
    let fence = job["fence"].as_i64().unwrap();
    let run = shared.story.run(Run {
        job: text("id"),
        fence,
        attempt,
        job_type: text("type"),
        queue: Some(text("queue")),
        key: payload["key"].as_str().map(str::to_owned),
        payload: Some(digest(payload)),
        caller: Some(node),
        ..Run::default()
    });
    let in_hand = InHand { story: shared.story.clone(), run, ended: false };
    tokio::time::sleep(Duration::from_millis(payload["ms"].as_u64().unwrap_or(0))).await;
    // What is to happen at each attempt; a result once the list is over.
    let step = payload["plan"][usize::try_from(attempt - 1).unwrap()].as_str().unwrap_or("ok");
    match step {
        "put_off" if shared.put_off.lock().unwrap().insert(text("id")) => {
            in_hand.end(Outcome::Deferred, None, None, Vec::new());
            let headers = HeaderMap::from_iter([(axum::http::header::RETRY_AFTER, PUT_OFF_S.into())]);
            (StatusCode::TOO_MANY_REQUESTS, headers).into_response()
        }
        "ok" | "put_off" => {
            let children: Vec<String> =
                (0..payload["children"].as_u64().unwrap_or(0)).map(|n| format!("{}-{fence}-{n}", text("id"))).collect();
            let result = json!({ "run": run, "fence": fence });
            let enqueue = children.iter().map(|id| json!({ "type": "fast", "id": id, "payload": { "ms": 1 } }));
            let enqueue: Vec<Value> = enqueue.collect();
            in_hand.end(Outcome::Succeeded, Some(&result), None, children);
            let mut reply = result;
            if !enqueue.is_empty() {
                reply["ganger"] = json!({ "enqueue": enqueue });
            }
            Json(reply).into_response()
        }
        class => {
            in_hand.end(Outcome::Failed, None, Some(class), Vec::new());
            match class {
                "http_5xx" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                "temporary_failure" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                class => {
                    Json(json!({ "ganger": { "error": { "class": class, "message": "as asked" } } })).into_response()
                }
            }
        }
    }
}
