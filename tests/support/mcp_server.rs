//! An MCP server of the tests' own, written by hand so that it can misbehave. As a child it is this very test binary.

#![allow(clippy::exit, clippy::print_stderr, reason = "as a child it ends and talks like one")]
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The variable that makes the test binary a server, and says of which kind.
const KIND: &str = "GANGER_TEST_MCP_SERVER";
/// The test that is the server.
const ENTRY: &str = "mcp_server::this_binary_as_a_server";
/// How often something is looked for.
const LOOK: Duration = Duration::from_millis(2);

/// The command line of a server child of this kind.
pub(crate) fn command() -> Vec<String> {
    let own = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    [own.as_str(), ENTRY, "--exact", "--nocapture", "--test-threads=1"].map(str::to_owned).into()
}

/// The environment of a server child of this kind:
///
/// - `old`, `new`: what speaks that protocol only
/// - `mute`: never answers; `flood`: writes without end; `gone`: ends at once; `liar`: lists tools without end
/// - `stubborn`: stops reading once it has a call; `deaf`: shakes hands and then answers nothing but calls
pub(crate) fn environment(kind: &str) -> [(String, String); 1] {
    [(KIND.to_owned(), kind.to_owned())]
}

/// One session's memory.
#[derive(Debug, Default)]
struct Memory {
    count: u64,
}

/// What a call can do beside answering.
struct Call {
    id: Value,
    arguments: Value,
    meta: Value,
    is_cancelled: Arc<AtomicBool>,
    say: Arc<dyn Fn(Value) -> bool + Send + Sync>,
}

/// How the server goes on after a call.
#[derive(PartialEq)]
enum Fate {
    Lives,
    Dies,
}

#[test]
fn this_binary_as_a_server() {
    if let Ok(kind) = std::env::var(KIND) {
        // The harness has begun a line.
        println!();
        serve_stdio(&kind);
        std::process::exit(0);
    }
}

fn serve_stdio(kind: &str) {
    match kind {
        "mute" => std::thread::sleep(Duration::from_secs(3_600)),
        "gone" => {
            eprintln!("no licence found");
            std::process::exit(3);
        }
        "flood" => loop {
            std::io::stdout().write_all(&[b'x'; 8_192]).unwrap();
        },
        _ => {}
    }
    let memory = Arc::new(Mutex::new(Memory::default()));
    let mut running: HashMap<String, Arc<AtomicBool>> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        if message["method"] == "notifications/cancelled" {
            if let Some(call) = running.get(&message["params"]["requestId"].to_string()) {
                call.store(true, Ordering::SeqCst);
            }
            continue;
        }
        let say = Arc::new(|message: Value| {
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{message}").and_then(|()| stdout.flush()).is_ok()
        });
        if message["method"] != "tools/call" {
            for answer in answer(&message, kind) {
                say(answer);
            }
            continue;
        }
        let is_cancelled = Arc::new(AtomicBool::new(false));
        running.insert(message["id"].to_string(), is_cancelled.clone());
        let memory = memory.clone();
        let working = std::thread::spawn(move || {
            if run_tool(&message, is_cancelled, say, &memory) == Fate::Dies {
                std::process::abort();
            }
        });
        if kind == "stubborn" {
            working.join().unwrap();
            std::thread::sleep(Duration::from_secs(3_600));
        }
    }
}

/// Answers to everything but calls.
fn answer(message: &Value, kind: &str) -> Vec<Value> {
    let id = &message["id"];
    if id.is_null() {
        return Vec::new();
    }
    let result = |result: Value| vec![json!({"jsonrpc": "2.0", "id": id, "result": result})];
    let unknown =
        || vec![json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}})];
    match (message["method"].as_str().unwrap(), kind) {
        ("ping", "deaf") => Vec::new(),
        ("initialize", "new") | ("server/discover", "old" | "example" | "liar" | "stubborn" | "deaf") => unknown(),
        ("initialize", _) => result(json!({
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"},
        })),
        ("server/discover", _) => result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "ttlMs": 0, "cacheScope": "private",
        })),
        ("ping", _) => result(json!({})),
        ("tools/list", "liar") => {
            let tools: Vec<Value> = (0..1_000).map(|n| tool(&format!("promised_{n}"))).collect();
            result(json!({"tools": tools, "nextCursor": "more"}))
        }
        ("tools/list", _) => result(json!({
            "tools": [tool("echo"), tool("count")], "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
        })),
        _ => unknown(),
    }
}

fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

fn run_tool(
    message: &Value,
    is_cancelled: Arc<AtomicBool>,
    say: Arc<dyn Fn(Value) -> bool + Send + Sync>,
    memory: &Mutex<Memory>,
) -> Fate {
    let params = &message["params"];
    let call = Call {
        id: message["id"].clone(),
        arguments: params["arguments"].clone(),
        meta: params["_meta"].clone(),
        is_cancelled,
        say,
    };
    call.note("started");
    match params["name"].as_str().unwrap() {
        "echo" => {
            call.result(&json!({"structuredContent": {"arguments": call.arguments, "meta": call.meta}, "content": []}));
        }
        "raw" => call.result(&call.arguments["result"]),
        "refuse" => {
            (call.say)(json!({"jsonrpc": "2.0", "id": call.id, "error": call.arguments["error"]}));
        }
        "count" => {
            let count = {
                let mut memory = memory.lock().unwrap();
                memory.count += 1;
                memory.count
            };
            call.text(&count.to_string());
        }
        "big" => call.text(&"x".repeat(usize::try_from(call.arguments["bytes"].as_u64().unwrap()).unwrap())),
        "work" => call.work(),
        "wait" => call.wait(),
        "die" => {
            eprintln!("{}", call.arguments["last_words"].as_str().unwrap_or("out of memory"));
            return Fate::Dies;
        }
        "flood" => while (call.say)(json!("noise")) {},
        name => {
            let error = json!({"code": -32602, "message": format!("Unknown tool: {name}")});
            (call.say)(json!({"jsonrpc": "2.0", "id": call.id, "error": error}));
        }
    }
    Fate::Lives
}

impl Call {
    fn result(&self, result: &Value) {
        let mut result = result.clone();
        result["resultType"] = json!("complete");
        (self.say)(json!({"jsonrpc": "2.0", "id": self.id, "result": result}));
    }

    fn text(&self, text: &str) {
        self.result(&json!({"content": [{"type": "text", "text": text}]}));
    }

    /// Adds a line to the file that the arguments name, if they do: the word, the fence and the process.
    fn note(&self, word: &str) {
        let Some(path) = self.arguments["notes"].as_str() else { return };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{word} {} {}", self.meta["ganger"]["fence"], std::process::id()).unwrap();
    }

    /// Sends signs of life, then answers.
    fn work(&self) {
        for number in 0..self.arguments["signs"].as_u64().unwrap() {
            std::thread::sleep(Duration::from_millis(self.arguments["every_ms"].as_u64().unwrap()));
            (self.say)(json!({
                "jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": self.meta["progressToken"], "progress": f64::from(u32::try_from(number).unwrap()) + 0.5},
            }));
        }
        self.text("done");
    }

    /// Waits for the file `gate`, or until it is cancelled; then it keeps silent.
    fn wait(&self) {
        let gate = self.arguments["gate"].as_str().map(Path::new);
        while !self.is_cancelled.load(Ordering::SeqCst) {
            if gate.is_some_and(Path::exists) {
                self.text("through");
                return;
            }
            std::thread::sleep(LOOK);
        }
        self.note("cancelled");
    }
}

/// The same over HTTP.
pub(crate) struct HttpServer {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<HeaderMap>>>,
    http: Http,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Http {
    kind: &'static str,
    /// Sessions so far.
    begun: Arc<AtomicU64>,
    sessions: Arc<Mutex<HashMap<String, Arc<Mutex<Memory>>>>>,
    running: Arc<Mutex<HashMap<String, Arc<AtomicBool>>>>,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl HttpServer {
    /// Starts a server that speaks `old` or `new`; `example` is an `old` one that says of a session which it does not know what
    /// the example of the official TypeScript SDK says.
    pub(crate) async fn start(kind: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = Arc::default();
        let http = Http {
            kind,
            begun: Arc::default(),
            sessions: Arc::default(),
            running: Arc::default(),
            seen: Arc::clone(&seen),
        };
        let app = axum::Router::new().fallback(over_http).with_state(http.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, http, _tasks: tasks }
    }

    /// Forgets all sessions, as a server does that is started anew.
    pub(crate) fn forget(&self) {
        self.http.sessions.lock().unwrap().clear();
    }
}

async fn over_http(State(http): State<Http>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    http.seen.lock().unwrap().push(headers.clone());
    let session = headers.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned()).unwrap_or_default();
    if method == Method::DELETE {
        http.sessions.lock().unwrap().remove(&session);
        return StatusCode::OK.into_response();
    }
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let message: Value = serde_json::from_slice(&body).unwrap();
    let known = http.sessions.lock().unwrap().get(&session).cloned();
    let Some(memory) = known.or_else(|| session.is_empty().then(Arc::default)) else {
        return unknown_session(http.kind);
    };
    match message["method"].as_str().unwrap() {
        "notifications/cancelled" => {
            let id = message["params"]["requestId"].to_string();
            if let Some(call) = http.running.lock().unwrap().get(&id) {
                call.store(true, Ordering::SeqCst);
            }
            StatusCode::ACCEPTED.into_response()
        }
        "tools/call" => call_over_http(http, message, memory).await,
        _ if message["id"].is_null() => StatusCode::ACCEPTED.into_response(),
        asked => {
            let mut response = axum::Json(answer(&message, http.kind).remove(0)).into_response();
            if asked == "initialize" {
                let fresh = format!("session-{}", http.begun.fetch_add(1, Ordering::SeqCst));
                http.sessions.lock().unwrap().insert(fresh.clone(), memory);
                response.headers_mut().insert("mcp-session-id", fresh.parse().unwrap());
            }
            response
        }
    }
}

fn unknown_session(kind: &str) -> Response {
    if kind != "example" {
        return (StatusCode::NOT_FOUND, "Session not found").into_response();
    }
    let error = json!({"code": -32_000, "message": "Bad Request: No valid session ID provided"});
    (StatusCode::BAD_REQUEST, axum::Json(json!({"jsonrpc": "2.0", "error": error}))).into_response()
}

async fn call_over_http(http: Http, message: Value, memory: Arc<Mutex<Memory>>) -> Response {
    if message["params"]["name"] == "status" {
        let asked = &message["params"]["arguments"];
        let mut response =
            StatusCode::from_u16(u16::try_from(asked["status"].as_u64().unwrap()).unwrap()).unwrap().into_response();
        if let Some(after) = asked["retry_after"].as_str() {
            response.headers_mut().insert("retry-after", after.parse().unwrap());
        }
        return response;
    }
    let is_cancelled = Arc::new(AtomicBool::new(false));
    http.running.lock().unwrap().insert(message["id"].to_string(), is_cancelled.clone());
    let (tell, mut told) = mpsc::channel::<Value>(16);
    let closing = (tell.clone(), is_cancelled.clone());
    std::thread::spawn(move || {
        let say = Arc::new(move |message| tell.blocking_send(message).is_ok());
        // A broken channel is a broken connection.
        assert!(run_tool(&message, is_cancelled, say, &memory) == Fate::Lives, "the server dies, as it was asked to");
    });
    // Who hangs up has cancelled.
    let hung_up = OnDrop(closing.1);
    drop(closing.0);
    let Some(first) = told.recv().await else { panic!("the connection breaks off, as it was asked to") };
    if first.get("method").is_none() {
        drop(told);
        std::mem::forget(hung_up);
        return axum::Json(first).into_response();
    }
    let event = |message: Value| Ok::<_, std::convert::Infallible>(format!("data: {message}\n\n"));
    let rest = futures_util::stream::unfold((told, hung_up), move |(mut told, hung_up)| async move {
        told.recv().await.map(|message| (event(message), (told, hung_up)))
    });
    let events = futures_util::StreamExt::chain(futures_util::stream::iter([event(first)]), rest);
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
