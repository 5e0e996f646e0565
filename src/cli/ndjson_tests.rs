//! Reading lines, and submitting them to a server that breaks off.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use crate::http::Params;

fn members(text: &str, job_type: Option<&str>) -> Value {
    serde_json::from_str(&prepare(text.as_bytes(), job_type).unwrap()).unwrap()
}

#[test]
fn a_line_without_a_name_is_given_an_id_and_others_are_left_alone() {
    let bare = members(r#"{"payload":1}"#, Some("noop"));
    assert_eq!(bare["type"], "noop");
    assert!(JobId::given(bare["id"].as_str().unwrap()).is_ok());
    let named = members(r#"{"type":"x","id":"mine"}"#, Some("noop"));
    assert_eq!(named, json!({ "type": "x", "id": "mine" }));
    let keyed = members(r#"{"type":"x","idempotency_key":"k","id":null}"#, None);
    assert!(keyed["id"].is_null());
}

#[test]
fn numbers_keep_their_text_and_broken_lines_their_reason() {
    let text = prepare(br#"{"id":"a","payload":{"n":1.50,"big":100000000000000000001}}"#, None).unwrap();
    assert!(text.contains(r#"{"n":1.50,"big":100000000000000000001}"#), "{text}");
    assert_eq!(prepare(b"{\"type\": oops}", None).unwrap_err()["code"], "malformed");
    assert_eq!(prepare(b"[1]", None).unwrap_err()["code"], "malformed");
    assert_eq!(prepare(b"\xff", None).unwrap_err()["code"], "malformed");
}

#[tokio::test]
async fn lines_keep_their_numbers_over_blank_ones_and_batches() {
    let text = format!("\n{}last", "{}\r\n\n".repeat(BATCH_JOBS));
    let read: Vec<_> = batches(Box::new(std::io::Cursor::new(text.into_bytes())), None).collect().await;
    let lines: Vec<Line> = read.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(lines.len(), BATCH_JOBS + 1);
    assert_eq!((lines[0].number, lines[1].number), (2, 4));
    assert_eq!(lines[BATCH_JOBS].number, 2 * BATCH_JOBS + 2);
    assert!(lines[BATCH_JOBS].submit.is_err());
}

#[test]
fn a_refused_line_is_counted_in_the_input() {
    let problem = json!({ "code": "unknown_type", "index": 0, "line": 1 });
    let item = Item { status: 422, id: None, problem };
    let expected = json!({ "code": "unknown_type", "line": 40 });
    assert_eq!(fate_of(40, item), Fate::Refused { line: 40, status: 422, problem: expected });
}

#[test]
fn the_exit_status_says_the_worst() {
    let tally =
        |refused, put_off, unanswered| Tally { accepted: 1, succeeded: 1, refused, put_off, unanswered, rested: 1 };
    assert_eq!(tally(0, 0, 0).status(true), DONE);
    assert_eq!(tally(0, 1, 0).status(true), TRY_LATER);
    assert_eq!(tally(1, 1, 0).status(true), FAILED);
    assert_eq!(tally(1, 1, 1).status(true), UNREACHABLE);
    assert_eq!(Tally { succeeded: 0, ..tally(0, 0, 0) }.status(true), FAILED);
    assert_eq!(Tally { succeeded: 0, ..tally(0, 0, 0) }.status(false), DONE);
}

/// A server that refuses the first request for load and takes half of the second.
fn moody(body: &str, calls: &AtomicUsize) -> axum::response::Response {
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    let call = calls.fetch_add(1, Ordering::SeqCst);
    if call == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, r#"{"code":"broker_full"}"#).into_response();
    }
    let item = |(at, line): (usize, &str)| {
        let id = serde_json::from_str::<Value>(line).unwrap()["id"].clone();
        if call == 1 && at % 2 == 1 {
            json!({ "status": 503, "problem": { "code": "ledger_unavailable" } })
        } else if id == "bad" {
            json!({ "status": 422, "problem": { "code": "unknown_type" } })
        } else {
            json!({ "status": 201, "id": id })
        }
    };
    json!(body.lines().enumerate().map(item).collect::<Vec<_>>()).to_string().into_response()
}

#[tokio::test]
async fn what_was_put_off_is_sent_again_and_order_is_kept() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let route = axum::routing::post(move |body: String| std::future::ready(moody(&body, &counted)));
    let router = axum::Router::new().route("/v1/jobs/batch", route);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = format!("http://127.0.0.1:1,http://{}", listener.local_addr().unwrap());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(crate::http::serve(listener, router, CancellationToken::new(), Params::default()));

    let client = Client::for_servers(&servers, None).unwrap();
    let line = |number, id: &str| Line { number, submit: Ok(json!({ "id": id }).to_string()) };
    let broken = Line { number: 4, submit: Err(json!({ "code": "malformed" })) };
    let lines = vec![line(1, "a"), line(2, "b"), line(3, "bad"), broken, line(5, "c")];
    let fates = send_batch(&client, lines, Patience::new(Duration::from_secs(30))).await.unwrap();
    let told: Vec<(usize, u16)> = fates
        .iter()
        .map(|fate| match fate {
            Fate::Accepted { line, status, .. } | Fate::Refused { line, status, .. } => (*line, *status),
            Fate::Unanswered { line, .. } => (*line, 0),
        })
        .collect();
    assert_eq!(told, [(1, 201), (2, 201), (3, 422), (4, 400), (5, 201)]);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
