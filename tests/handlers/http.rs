//! HTTP: each answer, and what a request carries.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use ganger::clock::{ManualClock, Timestamp};
use ganger::handler::http::{HttpHandler, HttpParams, client};
use ganger::handler::{Handler as _, Ran};
use ganger::policy::catalog::Secret;
use hmac::Mac as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{PATIENCE, failure, invocation, result, run};

/// What the server answers next, and what it was asked.
#[derive(Debug, Default)]
struct Script {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    seen: Vec<(HeaderMap, Bytes)>,
}

type Shared = Arc<Mutex<Script>>;

struct Server {
    url: String,
    script: Shared,
    _tasks: JoinSet<()>,
}

async fn answer(State(script): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap, String) {
    let mut script = script.lock().unwrap();
    script.seen.push((headers, body));
    let headers = script.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    (StatusCode::from_u16(script.status).unwrap(), headers, script.body.clone())
}

async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Server {
    async fn start() -> Self {
        let (listener, address) = listener().await;
        let script = Shared::default();
        let app = axum::Router::new().fallback(answer).with_state(script.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { url: format!("http://{address}/hook"), script, _tasks: tasks }
    }

    /// One run against this answer.
    async fn run(&self, status: u16, headers: &[(&'static str, &str)], body: &str) -> Ran {
        {
            let mut script = self.script.lock().unwrap();
            script.status = status;
            script.headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            body.clone_into(&mut script.body);
        }
        run(&http(&self.url, None), r#"{"n": 1.0}"#).await
    }
}

fn http(url: &str, secret: Option<&[u8]>) -> HttpHandler {
    let client = client(Duration::from_secs(5)).unwrap();
    let clock = ManualClock::at(Timestamp::parse("1994-11-06T08:49:30Z").unwrap());
    let secret = secret.map(|bytes| Secret(bytes.to_vec()));
    HttpHandler::new(HttpParams { url: url.to_owned(), secret, client }).with_clock(Arc::new(clock))
}

#[tokio::test]
async fn each_status_has_its_class() {
    let server = Server::start().await;
    assert_eq!(result(&server.run(200, &[], r#"{"a":1}"#).await), json!({"a": 1}));
    assert_eq!(result(&server.run(204, &[], "").await), Value::Null);
    assert_eq!(result(&server.run(201, &[], "text").await), json!("text"));
    for (status, class) in [
        (301, "http_3xx"),
        (400, "http_4xx"),
        (422, "http_4xx"),
        (408, "timeout"),
        (504, "timeout"),
        (429, "rate_limit"),
        (502, "temporary_failure"),
        (503, "temporary_failure"),
        (500, "http_5xx"),
        (507, "http_5xx"),
    ] {
        let ran = server.run(status, &[("location", "/elsewhere")], "the reason").await;
        let (said, message, retry_after_ms) = failure(&ran);
        assert_eq!((said, retry_after_ms), (class, None), "{status}");
        assert!(message.contains(&status.to_string()) && message.contains("the reason"), "{message}");
    }
    assert_eq!(server.script.lock().unwrap().seen.len(), 13, "no redirect was followed");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let server = Server::start().await;
    let deferred = |ran: &Ran| match ran {
        Ran::Deferred { retry_after_ms, .. } => *retry_after_ms,
        other => panic!("not deferred: {other:?}"),
    };
    assert_eq!(deferred(&server.run(429, &[("retry-after", "3")], "").await), 3_000);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(deferred(&server.run(429, &[("retry-after", date)], "{}").await), 7_000);
    assert_eq!(failure(&server.run(429, &[("retry-after", "soon")], "").await).0, "rate_limit");
    let ran = server.run(503, &[("retry-after", "3")], "").await;
    assert_eq!((failure(&ran).0, failure(&ran).2), ("temporary_failure", Some(3_000)));
}

#[tokio::test]
async fn an_envelope_beats_the_status() {
    let server = Server::start().await;
    let reply = r#"{"ganger":{"error":{"class":"rude","message":"go away"}}}"#;
    for status in [200, 400, 429, 503] {
        let ran = server.run(status, &[("retry-after", "3")], reply).await;
        assert_eq!(failure(&ran), ("rude", "go away", Some(3_000)), "{status}");
    }
}

#[tokio::test]
async fn a_request_carries_facts_payload_and_a_signature() {
    let server = Server::start().await;
    server.run(200, &[], "").await;
    run(&http(&server.url, Some(b"key")), r#"{"n": 1.0}"#).await;
    let script = server.script.lock().unwrap();
    let [(plain, _), (headers, body)] = script.seen.as_slice() else { panic!("{:?}", script.seen) };
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    assert!(!plain.contains_key("webhook-signature"));
    let text = std::str::from_utf8(body).unwrap();
    assert!(text.ends_with(r#","payload":{"n": 1.0}}"#), "the payload is as it came: {text}");
    let facts: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        facts["job"],
        json!({
            "id": "order-7", "type": "letter", "queue": "mail", "priority": 2, "attempt": 2, "fence": 4_294_967_297_u64,
            "labels": {"environment": "staging"}, "deadline": "2026-01-02T03:04:05.678Z",
        })
    );
    assert_eq!(header("content-type"), "application/json");
    assert!(header("user-agent").starts_with("ganger/"));
    assert_eq!((header("ganger-job-id"), header("ganger-attempt")), ("order-7", "2"));
    assert_eq!((header("ganger-fence"), header("idempotency-key")), ("4294967297", "order-7"));
    let lengths: Vec<usize> = header("traceparent").split('-').map(str::len).collect();
    assert_eq!(lengths, [2, 32, 16, 2]);
    assert_ne!(plain["traceparent"], headers["traceparent"]);
    assert_eq!((header("webhook-id"), header("webhook-timestamp")), ("order-7", "784111770"));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"key").unwrap();
    mac.update(b"order-7.784111770.");
    mac.update(body);
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
}

#[tokio::test]
async fn a_reply_beyond_the_limit_is_a_failure() {
    let server = Server::start().await;
    let body = "1".repeat(1_048_577);
    assert_eq!(failure(&server.run(200, &[], &body).await).0, "output_too_large");
    assert_eq!(result(&server.run(200, &[], &"x".repeat(1_048_576)).await).as_str().unwrap().len(), 1_048_576);
    assert_eq!(failure(&server.run(500, &[], &body).await).0, "http_5xx");
}

#[tokio::test]
async fn a_broken_connection_is_told_from_a_slow_one() {
    let (listener, address) = listener().await;
    let url = format!("http://user:hunter2@{address}/");
    let reset = async {
        // Accepted and dropped at once.
        drop(listener.accept().await.unwrap());
        drop(listener);
    };
    let handler = http(&url, None);
    let (ran, ()) = tokio::join!(run(&handler, "{}"), reset);
    assert_eq!(failure(&ran).0, "connection");
    let ran = run(&handler, "{}").await;
    assert_eq!(failure(&ran).0, "connection", "refused");
    assert!(!failure(&ran).1.contains("hunter2"), "{}", failure(&ran).1);
}

#[tokio::test]
async fn a_stop_drops_the_request() {
    let (listener, address) = listener().await;
    let asked = invocation("{}");
    let stop = asked.stop.clone();
    let handler = http(&format!("http://{address}/"), None);
    let (ran, ()) = tokio::join!(handler.run(asked), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stop.cancel();
        // The server sees the end of it.
        tokio::time::timeout(PATIENCE, tokio::io::copy(&mut stream, &mut tokio::io::sink()))
            .await
            .unwrap()
            .unwrap_or(0);
    });
    assert_eq!(ran, Ran::Stopped);
}
