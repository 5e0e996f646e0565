//! A dependency over HTTP whose health the test decides, and that notes every call.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// At once, with success.
    Works,
    /// With success after so many milliseconds.
    Takes(u64),
    /// 503.
    Fails,
    /// 404: it lives.
    Refuses,
    /// 429 with `Retry-After` in seconds.
    Asks(u64),
    /// Not before it is released.
    Hangs,
}

/// One call that came in.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// What the payload says.
    pub(super) payload: Value,
    /// The fence: claims are numbered in their order.
    pub(super) fence: u64,
    /// When, in milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// How many were under way then, itself included.
    pub(super) at_once: usize,
    /// Whether it was answered with success.
    pub(super) worked: bool,
}

#[derive(Debug)]
struct Shared {
    mood: Mutex<Mood>,
    calls: Mutex<Vec<Call>>,
    under_way: Mutex<usize>,
    released: Notify,
}

/// The dependency.
pub(super) struct Target {
    pub(super) url: String,
    /// The name of its breaker.
    pub(super) breaker: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl Target {
    pub(super) async fn start(mood: Mood) -> Self {
        let shared = Arc::new(Shared {
            mood: Mutex::new(mood),
            calls: Mutex::default(),
            under_way: Mutex::default(),
            released: Notify::new(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = Router::new().route("/", post(answer)).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            url: format!("http://127.0.0.1:{port}/"),
            breaker: format!("http:127.0.0.1:{port}"),
            shared,
            _server: server,
        }
    }

    /// From now on it answers like this.
    pub(super) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// The same, also for those that hang.
    pub(super) fn release(&self, mood: Mood) {
        self.set(mood);
        self.shared.released.notify_waiters();
    }

    /// All calls so far, in the order in which they came.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }
}

/// Counts a call as under way while it lives: a caller that hangs up takes its handler with it.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.under_way.lock().unwrap() -= 1;
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: axum::Json<Value>) -> Response {
    let (at, _under_way) = note(&shared, &headers, &body);
    loop {
        let released = shared.released.notified();
        let mood = *shared.mood.lock().unwrap();
        match mood {
            Mood::Hangs => released.await,
            Mood::Takes(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                return works(&shared, at);
            }
            Mood::Works => return works(&shared, at),
            Mood::Fails => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Mood::Refuses => return StatusCode::NOT_FOUND.into_response(),
            Mood::Asks(seconds) => {
                return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response();
            }
        }
    }
}

fn works(shared: &Shared, at: usize) -> Response {
    shared.calls.lock().unwrap()[at].worked = true;
    axum::Json(json!({"ok": true})).into_response()
}

fn note(shared: &Arc<Shared>, headers: &HeaderMap, body: &Value) -> (usize, UnderWay) {
    let mut under_way = shared.under_way.lock().unwrap();
    *under_way += 1;
    let mut calls = shared.calls.lock().unwrap();
    calls.push(Call {
        payload: body["payload"].clone(),
        fence: headers["ganger-fence"].to_str().unwrap().parse().unwrap(),
        at_ms: now_ms(),
        at_once: *under_way,
        worked: false,
    });
    (calls.len() - 1, UnderWay(shared.clone()))
}

/// The wall clock, which the daemons on this machine share.
#[allow(clippy::disallowed_methods, reason = "a test compares it with what daemons say")]
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
