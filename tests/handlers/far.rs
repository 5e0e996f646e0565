//! What handlers call in the conformance suite: one far side for each kind, all of which understand the same payloads.
//!
//! | `do` | The far side |
//! |---|---|
//! | `return` | answers `reply` |
//! | `envelope` | answers `{"kept": true}` with `envelope` in the reserved member |
//! | `big` | answers a text of `bytes` characters |
//! | `work` | shows `signs` signs of life, one `every_ms`, and answers a text that ends with `done` |
//! | `wait` | notes that it has started, and answers never; notes when it hears that it need not |
//! | `die` | is gone before it has answered |
//! | `fail` | fails in the kind's own way, `with` being one of [`Kind::own_failures`] |

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use ganger::clock::SystemClock;
use ganger::handler::command::{CommandHandler, CommandParams};
use ganger::handler::http::{HttpHandler, HttpParams, client};
use ganger::handler::mcp::{
    AfterSteps, ChildEnvironment, McpHandler, Means, Protocol, Rule, ServerParams, Servers, Target,
};
use ganger::handler::{Reach, SharedHandler};
use ganger::policy::catalog::Secret;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::mcp_server::{self, HttpServer};

/// How long a server may be silent where that has a bound, in `work`.
pub(crate) const IDLE: Duration = Duration::from_millis(1_500);

/// A kind of handler with its far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Command,
    McpStdio,
    McpHttp,
}

/// A far side that runs, and a handler that calls it.
pub(crate) struct Far {
    kind: Kind,
    handler: Option<SharedHandler>,
    url: String,
    _tasks: JoinSet<()>,
    _server: Option<HttpServer>,
}

impl Kind {
    pub(crate) async fn start(self) -> Far {
        let (mut tasks, mut url, mut server) = (JoinSet::new(), String::new(), None);
        let mut handler: Option<SharedHandler> = None;
        match self {
            Self::Http => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                url = format!("http://{}/", listener.local_addr().unwrap());
                let app = axum::Router::new().fallback(over_http);
                tasks.spawn(async { axum::serve(listener, app).await.unwrap() });
                let client = client(Duration::from_secs(5)).unwrap();
                handler = Some(Arc::new(HttpHandler::new(HttpParams { url: url.clone(), secret: None, client })));
            }
            Self::Command => handler = Some(Arc::new(script())),
            Self::McpStdio => {}
            Self::McpHttp => {
                let started = HttpServer::start("old").await;
                url.clone_from(&started.url);
                server = Some(started);
            }
        }
        Far { kind: self, handler, url, _tasks: tasks, _server: server }
    }

    /// What can go wrong on the far side in this kind's own way, as `with` and class.
    pub(crate) fn own_failures(self) -> Vec<(Value, &'static str)> {
        match self {
            Self::Http => [
                (400, "http_4xx"),
                (408, "timeout"),
                (429, "rate_limit"),
                (500, "http_5xx"),
                (502, "temporary_failure"),
                (503, "temporary_failure"),
                (504, "timeout"),
            ]
            .map(|(status, class)| (json!(status), class))
            .into(),
            Self::Command => [(1, "exit_1"), (2, "assertion_failure"), (75, "temporary_failure")]
                .map(|(code, class)| (json!(code), class))
                .into(),
            Self::McpStdio | Self::McpHttp => {
                let mut failures = vec![
                    (json!("the tool says no"), "tool_error"),
                    (json!("Timeout 5000ms exceeded"), "network_timeout"),
                    (json!({"code": -32601, "message": "x"}), "method_not_found"),
                    (json!({"code": -32602, "message": "x"}), "invalid_params"),
                    (json!({"code": -32600, "message": "x"}), "protocol_error"),
                    (json!({"code": -32603, "message": "x"}), "internal_error"),
                    (json!({"code": -32000, "message": "x"}), "rpc_error"),
                    (json!({"code": -32000, "message": "click: Timeout 5000ms exceeded"}), "network_timeout"),
                ];
                if self == Self::McpHttp {
                    failures.extend(Self::Http.own_failures());
                }
                failures
            }
        }
    }
}

impl Far {
    /// A handler that does this, and the payload that it needs for it.
    pub(crate) fn that(&self, wish: &Value) -> (SharedHandler, String) {
        if let Some(handler) = &self.handler {
            return (handler.clone(), wish.to_string());
        }
        let (tool, arguments) = as_tool(wish);
        (Arc::new(self.mcp(tool)), arguments.to_string())
    }

    fn mcp(&self, tool: &str) -> McpHandler {
        let server = match self.kind {
            Kind::McpStdio => stdio("old"),
            _ => over(&self.url),
        };
        let server = ServerParams { idle: (tool == "work").then_some(IDLE), ..server };
        let rules = vec![Rule { pattern: "*Timeout 5000ms*".into(), class: "network_timeout".into() }];
        McpHandler::new(&planned(server), "fixture", Some(tool.to_owned()), rules).unwrap()
    }
}

/// The tool of the fixture that does this.
fn as_tool(wish: &Value) -> (&'static str, Value) {
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    match wish["do"].as_str().unwrap() {
        "return" => ("raw", json!({"result": {"content": [], "structuredContent": wish["reply"]}})),
        "envelope" => {
            let structured = json!({"kept": true});
            let result = json!({"content": [], "structuredContent": structured, "_meta": {"ganger": wish["envelope"]}});
            ("raw", json!({"result": result}))
        }
        "big" => ("big", wish.clone()),
        "work" => ("work", wish.clone()),
        "wait" => ("wait", wish.clone()),
        "die" => ("die", wish.clone()),
        "fail" => match &wish["with"] {
            Value::String(words) => ("raw", json!({"result": {"content": text(words), "isError": true}})),
            Value::Number(status) => ("status", json!({"status": status})),
            error => ("refuse", json!({"error": error})),
        },
        other => panic!("no tool does {other}"),
    }
}

async fn over_http(body: Bytes) -> axum::response::Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let wish = &body["payload"];
    match wish["do"].as_str().unwrap() {
        "return" => wish["reply"].to_string().into_response(),
        "envelope" => json!({"kept": true, "ganger": wish["envelope"]}).to_string().into_response(),
        "big" => "x".repeat(usize::try_from(wish["bytes"].as_u64().unwrap()).unwrap()).into_response(),
        "work" => {
            let (signs, every_ms) = (wish["signs"].as_u64().unwrap(), wish["every_ms"].as_u64().unwrap());
            let pieces = futures_util::stream::unfold(signs, move |left| async move {
                tokio::time::sleep(Duration::from_millis(every_ms)).await;
                let piece = if left == 0 { "done" } else { "." };
                (left != u64::MAX).then(|| (Ok::<_, std::convert::Infallible>(piece), left.wrapping_sub(1)))
            });
            axum::body::Body::from_stream(pieces).into_response()
        }
        "wait" => {
            let notes = wish["notes"].as_str().unwrap().to_owned();
            note(Path::new(&notes), "started");
            let _told = OnDrop(notes);
            std::future::pending().await
        }
        "fail" => StatusCode::from_u16(u16::try_from(wish["with"].as_u64().unwrap()).unwrap()).unwrap().into_response(),
        _ => panic!("the connection breaks off, as it was asked to"),
    }
}

/// Notes that the caller has hung up.
struct OnDrop(String);

impl Drop for OnDrop {
    fn drop(&mut self) {
        note(Path::new(&self.0), "cancelled");
    }
}

fn note(path: &Path, word: &str) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{word}").unwrap();
}

/// The far side as a shell script, which finds its payload's members by their places.
fn script() -> CommandHandler {
    let script = r#"
        payload=$(cat)
        member() { printf '%s' "$payload" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
        case "$payload" in
            *'"do":"return"'*) printf '%s' "$payload" | sed 's/.*"reply"://; s/}$//' ;;
            *'"do":"envelope"'*) printf '%s' "$payload" | sed 's/.*"envelope":/{"kept":true,"ganger":/' ;;
            *'"do":"big"'*) head -c "$(member bytes)" /dev/zero | tr '\0' x ;;
            *'"do":"work"'*)
                for sign in $(seq "$(member signs)"); do
                    printf .
                    sleep "0.0$(member every_ms)"
                done
                printf done ;;
            *'"do":"wait"'*)
                notes=$(member notes)
                trap 'echo cancelled >> "$notes"; exit 0' TERM
                echo started >> "$notes"
                while :; do sleep 0.01; done ;;
            *'"do":"die"'*) kill -KILL $$ ;;
            *'"do":"fail"'*) exit "$(member with)" ;;
        esac"#;
    CommandHandler::new(CommandParams {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::new(),
        exit_classes: BTreeMap::from([(2, "assertion_failure".to_owned())]),
        term_grace_ms: 5_000,
    })
}

/// Settings of a server that tests change.
pub(crate) fn params(target: Target) -> ServerParams {
    ServerParams {
        name: "fixture".into(),
        target,
        connections: 2,
        connect_timeout: Duration::from_secs(15),
        idle: None,
        keep: None,
        after_steps: AfterSteps::End,
        protocol: Protocol::Auto,
        gets_api_token: false,
        message_bytes_max: 3 * 1_048_576 + 65_536,
    }
}

/// A child of the fixture of this kind.
pub(crate) fn stdio(kind: &str) -> ServerParams {
    let (program, args) = mcp_server::command().split_first().map(|(p, a)| (p.clone(), a.to_vec())).unwrap();
    let env = mcp_server::environment(kind).into();
    params(Target::Command { program, args, env, term_grace: Duration::from_secs(5) })
}

/// A server behind this URL.
pub(crate) fn over(url: &str) -> ServerParams {
    params(Target::Url { url: Secret(url.as_bytes().to_vec()), headers: BTreeMap::new(), token: None })
}

/// Servers with nothing planned.
pub(crate) fn servers() -> Servers {
    let environment = ChildEnvironment::new("/nowhere/ganger".into(), BTreeMap::new(), None);
    let means = Means::new(client(Duration::from_secs(5)).unwrap(), environment, Arc::new(SystemClock));
    Servers::new(means, Reach::default())
}

/// One server, planned.
pub(crate) fn planned(server: ServerParams) -> ganger::handler::mcp::Planned {
    servers().plan(vec![server], Duration::from_millis(50))
}
