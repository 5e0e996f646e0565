//! MCP: both transports and both protocols, sessions shared and held, and servers that misbehave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ganger::chance::Chance;
use ganger::handler::mcp::{AfterSteps, McpHandler, Protocol, ServerParams, Servers, Target};
use ganger::handler::{Handler as _, Invocation, Ran};
use ganger::policy::catalog::Secret;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::command::{eventually, gone, has_ended};
use super::far::{over, params, planned, servers, stdio};
use super::mcp_server::HttpServer;
use super::{PATIENCE, failure, invocation, result};

/// A handler of one tool; without a tool, of the payload's steps.
fn handler(server: ServerParams, tool: Option<&str>) -> McpHandler {
    McpHandler::new(&planned(server), "fixture", tool.map(str::to_owned), Vec::new()).unwrap()
}

async fn run(handler: &McpHandler, payload: &Value) -> Ran {
    finish(handler, invocation(&payload.to_string())).await
}

async fn finish(handler: &McpHandler, asked: Invocation) -> Ran {
    tokio::time::timeout(PATIENCE, handler.run(asked)).await.expect("the run hangs")
}

fn notes() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    (folder, notes)
}

/// Waits for a note of the server; answers the process that wrote it.
async fn noted(notes: &Path, word: &str) -> Pid {
    let find = || {
        let text = std::fs::read_to_string(notes).ok()?;
        let line = text.strip_suffix('\n')?.lines().find(|line| line.starts_with(word))?.to_owned();
        line.split_whitespace().last()?.parse().ok()
    };
    Pid::from_raw(eventually(word, find).await)
}

fn steps(tools: &[&str]) -> Value {
    json!({"steps": tools.iter().map(|tool| json!({"tool": tool})).collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_carry_the_facts_on_both_transports() {
    for kind in ["old", "new"] {
        let http = HttpServer::start(kind).await;
        for server in [stdio(kind), over(&http.url)] {
            let ran = run(&handler(server, Some("echo")), &json!({"n": 1})).await;
            let said = result(&ran);
            assert_eq!(said["arguments"], json!({"n": 1}), "{kind}");
            let meta = &said["meta"];
            assert_eq!(
                meta["ganger"],
                json!({
                    "id": "order-7", "type": "letter", "queue": "mail", "priority": 2, "attempt": 2,
                    "fence": 4_294_967_297_u64, "labels": {"environment": "staging"},
                    "deadline": "2026-01-02T03:04:05.678Z",
                })
            );
            let lengths: Vec<usize> = meta["traceparent"].as_str().unwrap().split('-').map(str::len).collect();
            assert_eq!(lengths, [2, 32, 16, 2]);
            assert!(!meta["progressToken"].is_null());
            assert_eq!(meta["io.modelcontextprotocol/protocolVersion"].is_string(), kind == "new", "{meta}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_new_protocol_cancels_is_heard_on_both_transports() {
    let http = HttpServer::start("new").await;
    for server in [stdio("new"), over(&http.url)] {
        let (_folder, notes) = notes();
        let handler = handler(server, Some("wait"));
        let asked = invocation(&json!({"notes": notes}).to_string());
        let stop = asked.stop.clone();
        let (ran, ()) = tokio::join!(finish(&handler, asked), async {
            noted(&notes, "started").await;
            stop.cancel();
        });
        assert_eq!(ran, Ran::Stopped);
        noted(&notes, "cancelled").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_share_a_session_and_steps_have_their_own() {
    let http = HttpServer::start("old").await;
    for server in [stdio("old"), over(&http.url)] {
        let planned = planned(ServerParams { connections: 4, ..server });
        let on =
            |tool: Option<&str>| McpHandler::new(&planned, "fixture", tool.map(str::to_owned), Vec::new()).unwrap();
        for count in 1..=3 {
            assert_eq!(result(&run(&on(Some("count")), &json!({})).await), json!(count));
        }
        for _ in 0..2 {
            assert_eq!(result(&run(&on(None), &steps(&["count", "count"])).await), json!([1, 2]));
        }
        assert_eq!(result(&run(&on(Some("count")), &json!({})).await), json!(4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_can_be_kept_for_the_next_steps() {
    let reused = ServerParams { after_steps: AfterSteps::Reuse, ..stdio("old") };
    let handler = handler(reused, None);
    assert_eq!(result(&run(&handler, &steps(&["count"])).await), json!([1]));
    assert_eq!(result(&run(&handler, &steps(&["count"])).await), json!([2]));
    // What failed may have left anything.
    assert_eq!(failure(&run(&handler, &steps(&["count", "unheard_of"])).await).0, "invalid_params");
    assert_eq!(result(&run(&handler, &steps(&["count"])).await), json!([1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_that_fails_is_named() {
    let refusal = json!({"result": {"content": [{"type": "text", "text": "Ref e9 not found"}], "isError": true}});
    let payload = json!({"steps": [{"tool": "count"}, {"tool": "raw", "arguments": refusal}, {"tool": "count"}]});
    let ran = run(&handler(stdio("old"), None), &payload).await;
    assert_eq!(failure(&ran), ("tool_error", "steps[1] (raw): Ref e9 not found", None));
    let ran = run(&handler(stdio("old"), None), &json!({"steps": [{"tool": "die"}]})).await;
    assert!(failure(&ran).0 == "connection" && failure(&ran).1.starts_with("steps[0] (die): "), "{ran:?}");
    assert_eq!(failure(&run(&handler(stdio("old"), None), &json!({})).await).0, "bad_payload");
    assert_eq!(failure(&run(&handler(stdio("old"), Some("echo")), &json!([1])).await).0, "bad_payload");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_place_serves_everybody_in_turn() {
    let planned = planned(ServerParams { connections: 1, ..stdio("old") });
    let on = |tool: Option<&str>| McpHandler::new(&planned, "fixture", tool.map(str::to_owned), Vec::new()).unwrap();
    let (steps_handler, tool_handler) = (on(None), on(Some("echo")));
    let (payload, empty) = (steps(&["count", "count"]), json!({}));
    let runs = (0..6).map(|number| {
        let (handler, payload) = if number % 2 == 0 { (&steps_handler, &payload) } else { (&tool_handler, &empty) };
        run(handler, payload)
    });
    for (number, ran) in futures_util::future::join_all(runs).await.into_iter().enumerate() {
        let said = result(&ran);
        assert!(if number % 2 == 0 { said == json!([1, 2]) } else { said["arguments"] == json!({}) }, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_child_of_steps_is_the_runs_own() {
    let (_folder, notes) = notes();
    let asked = invocation(&json!({"steps": [{"tool": "wait", "arguments": {"notes": notes}}]}).to_string());
    let (stop, footprint) = (asked.stop.clone(), asked.footprint.clone());
    let handler = handler(stdio("old"), None);
    let (ran, child) = tokio::join!(finish(&handler, asked), async {
        let child = noted(&notes, "started").await;
        assert_eq!(footprint.group(), Some(child.as_raw()));
        stop.cancel();
        child
    });
    assert_eq!((ran, footprint.group()), (Ran::Stopped, None));
    gone(child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_keep_a_call_alive_and_silence_ends_it() {
    let http = HttpServer::start("old").await;
    for server in [stdio("old"), over(&http.url), stdio("new")] {
        let server = ServerParams { idle: Some(Duration::from_millis(1_000)), ..server };
        let ran = run(&handler(server.clone(), Some("work")), &json!({"signs": 30, "every_ms": 50})).await;
        assert_eq!(result(&ran), json!("done"));
        let silent = ServerParams { idle: Some(Duration::from_millis(50)), ..server };
        let (_folder, notes) = notes();
        let handler = handler(silent, Some("wait"));
        let ran = run(&handler, &json!({"notes": notes})).await;
        assert!(failure(&ran).0 == "timeout" && failure(&ran).1.contains("50 ms"), "{ran:?}");
        noted(&notes, "cancelled").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_cannot_be_had_say_why() {
    let soon = Duration::from_millis(300);
    let nowhere =
        Target::Command { program: "/nowhere/server".into(), args: Vec::new(), env: BTreeMap::new(), term_grace: soon };
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let greets = r"read -r question; printf 'Listening on \033[1m:3000\n'; exit 3";
    let greets = Target::Command {
        program: "sh".into(),
        args: vec!["-c".into(), greets.into()],
        env: BTreeMap::new(),
        term_grace: soon,
    };
    for (server, class, words) in [
        (
            params(greets),
            "connection",
            r#"exit code 3; its first line on stdout is no JSON-RPC: "Listening on \u{1b}[1m:3000""#,
        ),
        (
            over(&format!("http://u:hunter2@{closed}/mcp?key=hunter2")),
            "connection",
            &format!("MCP server fixture (http://{closed})"),
        ),
        (ServerParams { connect_timeout: soon, ..stdio("mute") }, "timeout", "MCP server fixture (`"),
        (params(nowhere), "spawn_failed", "/nowhere/server"),
        (ServerParams { connect_timeout: soon, ..stdio("mute") }, "timeout", "connect_timeout_ms"),
        (stdio("gone"), "connection", "exit code 3: no licence found"),
        (stdio("flood"), "connection", ""),
        (over(&format!("http://u:hunter2@{closed}/mcp?key=hunter2")), "connection", "refused"),
        (ServerParams { protocol: Protocol::Discover, ..stdio("old") }, "protocol_error", "Method not found"),
    ] {
        for mode in [Some("echo"), None] {
            let ran = run(&handler(server.clone(), mode), &steps(&["echo"])).await;
            let (said, message, _) = failure(&ran);
            assert!(said == class && message.contains(words) && !message.contains("hunter2"), "{class}: {ran:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_read_is_not_waited_for() {
    let (_folder, notes) = notes();
    let handler = handler(stdio("stubborn"), Some("wait"));
    let asked = invocation(&json!({"notes": notes}).to_string());
    let stop = asked.stop.clone();
    let (ran, child) = tokio::join!(finish(&handler, asked), async {
        let child = noted(&notes, "started").await;
        stop.cancel();
        child
    });
    assert_eq!(ran, Ran::Stopped);
    // A few more that are given up, and the session counts as hung: the next run gets another child.
    let is_gone = async || {
        let asked = invocation("{}");
        let stop = asked.stop.clone();
        tokio::join!(finish(&handler, asked), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stop.cancel();
        });
        has_ended(child)
    };
    while !is_gone().await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_without_end_ends_with_the_run() {
    let handler = handler(stdio("old"), Some("flood"));
    let (_folder, notes) = notes();
    let asked = invocation(&json!({"notes": notes}).to_string());
    let stop = asked.stop.clone();
    let (ran, ()) = tokio::join!(finish(&handler, asked), async {
        noted(&notes, "started").await;
        stop.cancel();
    });
    assert_eq!(ran, Ran::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_about_its_tools_is_found_out() {
    let ran = run(&handler(stdio("liar"), None), &steps(&["promised_7"])).await;
    assert_eq!(failure(&ran).0, "invalid_params");
    assert!(failure(&ran).1.contains("Unknown tool: promised_7"), "{ran:?}");
    let answer = |result: Value| json!({"result": result});
    let lies = handler(stdio("old"), Some("raw"));
    for lie in [json!({"weather": "fine"}), json!({"content": "text"}), json!({"content": [{"type": "hologram"}]})] {
        let ran = run(&lies, &answer(lie.clone())).await;
        // A content of a kind that is not known yet is passed on as it is.
        if let Ran::Failed { failure, .. } = &ran {
            assert_eq!(failure.class, "protocol_error", "{lie}");
        } else {
            assert!(lie["content"].is_string() || lie["content"].is_array(), "{ran:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_url_gets_headers_and_may_ask_for_later() {
    let http = HttpServer::start("old").await;
    let secret = |text: &str| Secret(text.as_bytes().to_vec());
    let target = Target::Url {
        url: secret(&http.url),
        headers: BTreeMap::from([("x-team".to_owned(), secret("blue"))]),
        token: Some(secret("hunter2")),
    };
    let handler = handler(params(target), Some("status"));
    let deferred = run(&handler, &json!({"status": 429, "retry_after": "3"})).await;
    assert!(matches!(deferred, Ran::Deferred { retry_after_ms: 3_000, .. }), "{deferred:?}");
    let ran = run(&handler, &json!({"status": 503, "retry_after": "3"})).await;
    assert_eq!((failure(&ran).0, failure(&ran).2), ("temporary_failure", Some(3_000)));
    for headers in http.seen.lock().unwrap().iter() {
        assert_eq!(headers["x-team"], "blue");
        assert_eq!(headers["authorization"], "Bearer hunter2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_what_did_not_change_and_lets_calls_finish() {
    let servers = servers();
    let adopt = |server: ServerParams| {
        let planned = servers.plan(vec![server], Duration::from_millis(50));
        servers.adopt(&planned);
        move |tool: &str| McpHandler::new(&planned, "fixture", Some(tool.to_owned()), Vec::new()).unwrap()
    };
    let on = adopt(stdio("old"));
    assert_eq!(result(&run(&on("count"), &json!({})).await), json!(1));
    let on = adopt(stdio("old"));
    assert_eq!(result(&run(&on("count"), &json!({})).await), json!(2));
    let (folder, notes) = notes();
    let gate = folder.path().join("gate");
    let waiting = on("wait");
    let payload = json!({"notes": notes, "gate": gate});
    let (ran, child) = tokio::join!(run(&waiting, &payload), async {
        let child = noted(&notes, "started").await;
        let changed = adopt(ServerParams { connections: 3, ..stdio("old") });
        assert_eq!(result(&run(&changed("count"), &json!({})).await), json!(1));
        std::fs::write(&gate, "").unwrap();
        child
    });
    assert_eq!(result(&ran), json!("through"));
    gone(child).await;
    assert!(servers.shut_down(PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_has_forgotten_is_begun_anew() {
    for kind in ["old", "example"] {
        let http = HttpServer::start(kind).await;
        let planned = planned(ServerParams { connections: 4, after_steps: AfterSteps::Reuse, ..over(&http.url) });
        let on =
            |tool: Option<&str>| McpHandler::new(&planned, "fixture", tool.map(str::to_owned), Vec::new()).unwrap();
        let (shared, own) = (on(Some("count")), on(None));
        for count in 1..=2 {
            assert_eq!(result(&run(&shared, &json!({})).await), json!(count), "{kind}");
            assert_eq!(result(&run(&own, &steps(&["count"])).await), json!([count]), "{kind}");
        }
        http.forget();
        assert_eq!(result(&run(&shared, &json!({})).await), json!(1), "{kind}");
        assert_eq!(result(&run(&own, &steps(&["count"])).await), json!([1]), "{kind}");

        // In the middle of steps it is no longer the session that they began in.
        let (folder, notes) = notes();
        let gate = folder.path().join("gate");
        let wait = json!({"tool": "wait", "arguments": {"notes": notes, "gate": gate}});
        let payload = json!({"steps": [wait, {"tool": "count"}]});
        let (ran, ()) = tokio::join!(run(&own, &payload), async {
            noted(&notes, "started").await;
            http.forget();
            std::fs::write(&gate, "").unwrap();
        });
        assert!(
            failure(&ran).0 == "connection" && failure(&ran).1.starts_with("steps[1] (count): "),
            "{kind}: {ran:?}"
        );
    }
}

/// Looks after servers until the looks found what they were to find.
async fn looked_after(servers: &Servers, looks: impl AsyncFnOnce()) {
    let stop = CancellationToken::new();
    let chance = Chance::from_entropy();
    tokio::join!(servers.run(&chance, stop.clone()), async {
        looks().await;
        stop.cancel();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_away_until_it_does() {
    let servers = servers();
    let away = |expected: bool| {
        let reach = servers.reach();
        async move { eventually("the servers' reach", || (reach.away().is_empty() != expected).then_some(())).await }
    };
    let http = HttpServer::start("new").await;
    servers.adopt(&servers.plan(vec![over(&http.url)], Duration::from_millis(5)));
    looked_after(&servers, async || {
        eventually("a first ping", || (!http.seen.lock().unwrap().is_empty()).then_some(())).await;
        away(false).await;
        drop(http);
        away(true).await;
        // A server that is no longer there is nobody's concern.
        servers.adopt(&servers.plan(Vec::new(), Duration::from_millis(5)));
        away(false).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_died_is_replaced_before_the_next_call() {
    let servers = servers();
    let planned = servers.plan(vec![stdio("old")], Duration::from_millis(5));
    servers.adopt(&planned);
    let on = |tool: &str| McpHandler::new(&planned, "fixture", Some(tool.to_owned()), Vec::new()).unwrap();
    assert_eq!(result(&run(&on("count"), &json!({})).await), json!(1));
    let (_folder, first) = notes();
    assert_eq!(failure(&run(&on("die"), &json!({"notes": first})).await).0, "connection");
    let (_folder, second) = notes();
    looked_after(&servers, async || {
        assert_eq!(result(&run(&on("echo"), &json!({"notes": second})).await)["arguments"]["notes"], json!(second));
    })
    .await;
    assert_ne!(noted(&first, "started").await, noted(&second, "started").await);
    assert!(servers.shut_down(PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_answer_its_ping_is_replaced() {
    let servers = servers();
    let planned = servers.plan(vec![stdio("deaf")], Duration::from_millis(5));
    servers.adopt(&planned);
    let on = |tool: &str| McpHandler::new(&planned, "fixture", Some(tool.to_owned()), Vec::new()).unwrap();
    let (_folder, notes) = notes();
    run(&on("echo"), &json!({"notes": notes})).await;
    let child = noted(&notes, "started").await;
    looked_after(&servers, async || gone(child).await).await;
    assert!(servers.shut_down(PATIENCE).await);
}
