//! Far sides over HTTP that do not keep to HTTP, or to MCP: each has a clear class, and what comes without an end is not kept.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use ganger::handler::http::{HttpHandler, HttpParams, client};
use ganger::handler::mcp::{McpHandler, ServerParams};
use ganger::handler::{Handler as _, Ran};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::far::{over, planned};
use super::{PATIENCE, failure, invocation};

/// What a far side does with a connection instead of speaking HTTP.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Takes the request and says nothing.
    Silent,
    /// Says something else.
    Garbage,
    /// Sends headers without an end.
    EndlessHeaders,
    /// Announces more than it sends.
    Short,
    /// Hangs up in the middle of a chunk.
    HalfAChunk,
}

async fn behave(mut stream: TcpStream, manner: Manner) {
    let mut request = [0; 16 * 1_024];
    if stream.read(&mut request).await.is_err() {
        return;
    }
    // Who hangs up meanwhile is right.
    match manner {
        Manner::Silent => while matches!(stream.read(&mut request).await, Ok(1..)) {},
        Manner::Garbage => stream.write_all(b"\x16\x03\x01 no web server\r\n\r\n").await.unwrap_or_default(),
        Manner::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap_or_default();
            while stream.write_all(format!("x-more: {}\r\n", "y".repeat(4_096)).as_bytes()).await.is_ok() {}
        }
        Manner::Short => {
            let words = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"a\":";
            stream.write_all(words).await.unwrap_or_default();
        }
        Manner::HalfAChunk => {
            let words =
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{\"a\":";
            stream.write_all(words).await.unwrap_or_default();
        }
    }
}

/// A far side of this manner.
async fn rogue(manner: Manner) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(behave(stream, manner));
        }
    });
    (url, tasks)
}

fn plain(url: &str) -> HttpHandler {
    HttpHandler::new(HttpParams { url: url.to_owned(), secret: None, client: client(Duration::from_secs(5)).unwrap() })
}

fn mcp(url: &str) -> McpHandler {
    let server = ServerParams { connect_timeout: Duration::from_secs(2), ..over(url) };
    McpHandler::new(&planned(server), "fixture", Some("echo".to_owned()), Vec::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_breaks_the_connection_and_silence_is_waited_out() {
    for manner in [Manner::Garbage, Manner::EndlessHeaders, Manner::Short, Manner::HalfAChunk] {
        let (url, _far) = rogue(manner).await;
        let ran = tokio::time::timeout(PATIENCE, plain(&url).run(invocation("{}"))).await.expect("the run hangs");
        assert_eq!(failure(&ran).0, "connection", "{manner:?}: {ran:?}");
        let ran = tokio::time::timeout(PATIENCE, mcp(&url).run(invocation("{}"))).await.expect("the run hangs");
        assert_eq!(failure(&ran).0, "connection", "{manner:?}: {ran:?}");
    }
    let (url, _far) = rogue(Manner::Silent).await;
    let ran = tokio::time::timeout(PATIENCE, mcp(&url).run(invocation("{}"))).await.expect("the run hangs");
    assert!(failure(&ran).0 == "timeout" && failure(&ran).1.contains("connect_timeout_ms"), "{ran:?}");
    // A plain call has its deadline alone, which comes as a stop.
    let asked = invocation("{}");
    let (stop, handler) = (asked.stop.clone(), plain(&url));
    let (ran, ()) = tokio::join!(tokio::time::timeout(PATIENCE, handler.run(asked)), async { stop.cancel() });
    assert_eq!(ran.expect("the run hangs"), Ran::Stopped);
}

/// The same bytes again and again, until the other side hangs up.
fn without_end(first: &'static str, then: &'static str) -> Body {
    let first = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from_static(first.as_bytes()))]);
    let chunk = Bytes::from(then.repeat(4_096));
    Body::from_stream(futures_util::StreamExt::chain(first, stream::repeat_with(move || Ok(chunk.clone()))))
}

/// An MCP server of the old protocol that answers calls in the manner that is the tool's name.
async fn answers_oddly(body: Bytes) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap();
    let id = &message["id"];
    let json = [("content-type", "application/json")];
    let events = [("content-type", "text/event-stream")];
    match message["method"].as_str().unwrap() {
        "initialize" => axum::Json(json!({"jsonrpc": "2.0", "id": id, "result": {
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"},
        }}))
        .into_response(),
        "tools/call" => match message["params"]["name"].as_str().unwrap() {
            "endless_json" => (json, without_end(r#"{"jsonrpc":"2.0","result":""#, "x")).into_response(),
            "endless_event" => (events, without_end("data: ", "x")).into_response(),
            "big_event" => (events, format!("data: {}\n\n", "x".repeat(50_000_000))).into_response(),
            "page" => axum::response::Html("<title>Log in</title>").into_response(),
            "nothing" => StatusCode::OK.into_response(),
            "accepted" => StatusCode::ACCEPTED.into_response(),
            "no_json" => (json, "{'id': 1}").into_response(),
            "nested" => (json, "[".repeat(2_000_000)).into_response(),
            "no_rpc" => (json, r#"{"weather":"fine"}"#).into_response(),
            "no_id" => {
                let error = json!({"code": -32_603, "message": "the server could not read the id"});
                (StatusCode::BAD_REQUEST, axum::Json(json!({"jsonrpc": "2.0", "error": error}))).into_response()
            }
            "cut_off" => (events, ": that was all\n\n").into_response(),
            other => panic!("no tool {other}"),
        },
        _ if id.is_null() => StatusCode::ACCEPTED.into_response(),
        _ => {
            let error = json!({"code": -32_601, "message": "Method not found"});
            axum::Json(json!({"jsonrpc": "2.0", "id": id, "error": error})).into_response()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_of_a_tool_has_its_class() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async { axum::serve(listener, axum::Router::new().fallback(answers_oddly)).await.unwrap() });
    for (tool, class) in [
        ("endless_json", "output_too_large"),
        ("endless_event", "output_too_large"),
        ("big_event", "output_too_large"),
        ("page", "protocol_error"),
        ("nothing", "protocol_error"),
        ("no_json", "protocol_error"),
        ("nested", "protocol_error"),
        ("no_rpc", "protocol_error"),
        ("no_id", "internal_error"),
        ("cut_off", "connection"),
    ] {
        let handler = McpHandler::new(&planned(over(&url)), "fixture", Some(tool.to_owned()), Vec::new()).unwrap();
        let ran = tokio::time::timeout(PATIENCE, handler.run(invocation("{}"))).await;
        let ran = ran.unwrap_or_else(|_| panic!("{tool}: the run hangs"));
        assert_eq!(failure(&ran).0, class, "{tool}: {ran:?}");
        assert!(failure(&ran).1.len() < 4_096, "{tool}: {}", failure(&ran).1.len());
    }
    // A call that is taken and never answered lasts until it is told otherwise.
    let server = ServerParams { idle: Some(Duration::from_millis(300)), ..over(&url) };
    let handler = McpHandler::new(&planned(server), "fixture", Some("accepted".to_owned()), Vec::new()).unwrap();
    let ran = tokio::time::timeout(PATIENCE, handler.run(invocation("{}"))).await.expect("the run hangs");
    assert_eq!(failure(&ran).0, "timeout", "{ran:?}");
}
