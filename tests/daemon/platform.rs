//! `ganger platform-tools` as clients start it: a child on stdio, and a server on HTTP, in both generations of MCP.

use std::process::Stdio;

use rmcp::model::{CallToolRequestParams, CallToolResult, ProtocolVersion};
use rmcp::service::RunningService;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::until;

type Client = RunningService<RoleClient, ()>;

fn platform() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ganger"));
    command.arg("platform-tools").env_remove("GANGER_SERVER").kill_on_drop(true);
    command
}

/// A server on a free port, and its address.
async fn listening(arguments: &[&str]) -> (Child, String) {
    let mut child =
        platform().args(["--listen", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("it says where it listens");
    (child, line.strip_prefix("listening on ").unwrap().to_owned())
}

fn generations() -> [ClientLifecycleMode; 2] {
    let new = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    [ClientLifecycleMode::Initialize, new]
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> CallToolResult {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap()
}

/// What every client sees, however it came.
async fn look_around(client: &Client, site: &str) {
    let tools = client.list_all_tools().await.unwrap();
    let named: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    for tool in ["generate_plan", "run_action", "execute_test", "query_analytics", "render_report"] {
        assert!(named.contains(&tool), "{named:?}");
    }
    assert!(tools.iter().all(|tool| tool.input_schema["type"] == "object" && tool.annotations.is_some()));
    let steps = json!([
        { "action": "load", "url": format!("{site}/shows/hamlet") },
        { "action": "policy", "policy": "seating_selection" }
    ]);
    let good = call(client, "execute_test", json!({ "steps": steps })).await;
    assert_eq!(good.is_error, Some(false));
    let result = good.structured_content.unwrap();
    assert_eq!(result["passed"], true);
    assert_eq!(serde_json::from_str::<Value>(&good.content[0].as_text().unwrap().text).unwrap(), result);
    assert_eq!(good.meta.unwrap().0["ganger"]["observations"][0]["kind"], "policy_evaluation");
    let bad =
        call(client, "run_action", json!({ "page": site, "step": { "action": "click", "target": "#none" } })).await;
    assert_eq!(bad.is_error, Some(true));
    assert_eq!(bad.meta.unwrap().0["ganger"]["error"]["class"], "element_not_found");
    assert_eq!(bad.structured_content.unwrap()["selector"], "#none");
    let without = call(client, "query_analytics", json!({})).await;
    assert_eq!(without.meta.unwrap().0["ganger"]["error"]["class"], "bad_arguments");
    let unknown = client.call_tool(CallToolRequestParams::new("no_tool")).await;
    assert!(unknown.unwrap_err().to_string().contains("execute_test"));
}

#[tokio::test]
async fn both_generations_of_clients_are_served_on_stdio() {
    let (_site, address) = listening(&["--site", "v1"]).await;
    for generation in generations() {
        let client = ().serve_with_lifecycle(TokioChildProcess::new(platform()).unwrap(), generation).await.unwrap();
        look_around(&client, &address).await;
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn both_generations_of_clients_are_served_over_http() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let (_site, site) = listening(&["--site", "v2"]).await;
    let (_platform, address) = listening(&[]).await;
    for generation in generations() {
        let transport = StreamableHttpClientTransport::from_uri(format!("{address}/mcp"));
        let client = ().serve_with_lifecycle(transport, generation).await.unwrap();
        look_around(&client, &site).await;
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn a_child_ends_with_its_client() {
    let mut child = platform().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn figures_and_reports_come_from_the_daemon() {
    let site = Site::new(Footing::Embedded).await;
    let daemon: Daemon = site.start("").await;
    for job_type in ["noop", "noop", "echo"] {
        let id = daemon.submit(json!({ "type": job_type, "payload": {} })).await;
        daemon.at_rest(&id).await;
    }
    let mut command = platform();
    command.args(["--server", &daemon.url]);
    let client =
        ().serve_with_lifecycle(TokioChildProcess::new(command).unwrap(), ClientLifecycleMode::Initialize)
            .await
            .unwrap();
    let figures = call(&client, "query_analytics", json!({ "window_s": 3600 })).await.structured_content.unwrap();
    assert_eq!(figures["jobs"]["total"], 3, "{figures:#}");
    assert_eq!(figures["jobs"]["by_type"]["noop"]["success_rate"], 1.0);
    assert_eq!(figures["asked"]["all_seen"], true);
    assert!(!figures["queues"].as_array().unwrap().is_empty() && !figures["pools"].as_array().unwrap().is_empty());
    let one =
        call(&client, "query_analytics", json!({ "type": "noop", "jobs_max": 1 })).await.structured_content.unwrap();
    assert_eq!((&one["jobs"]["total"], &one["asked"]["all_seen"]), (&json!(1), &json!(false)));
    let report = call(&client, "render_report", json!({ "title": "Today", "figures": figures }))
        .await
        .structured_content
        .unwrap();
    assert!(report["markdown"].as_str().unwrap().contains("| noop | 2 | 100.0 % |"), "{report}");
    assert!(report["html"].as_str().unwrap().contains("<h1>Today</h1>"));
    drop(daemon);
    let gone = call(&client, "render_report", json!({})).await;
    assert_eq!(gone.meta.unwrap().0["ganger"]["error"]["class"], "connection");
    client.cancel().await.unwrap();
}

/// A page whose buttons a person can tell apart by their captions only.
const BEFORE: &str = r#"<main><button class="x1">Book now</button><button class="x2">Cancel booking</button></main>"#;
const AFTER: &str =
    r#"<main><section><button class="x2">Book</button></section><button class="x1">Something else</button></main>"#;

/// With tokens configured a child that may read gets one of its own; others get none, and one that was set stays.
#[tokio::test]
async fn the_platform_reads_figures_where_tokens_are_needed() {
    let site = Site::new(Footing::Embedded).await;
    let shown = |name: &str| site.folder().join(format!("{name}-token"));
    let server = |name: &str, rest: &str| {
        let script = r#"printf %s "$GANGER_TOKEN" > "$0"; exec "$1" platform-tools"#;
        let command = json!(["sh", "-c", script, shown(name), env!("CARGO_BIN_EXE_ganger")]);
        format!(
            "[mcp_servers.{name}]\ncommand = {command}\n{rest}\n\
             [job_types.{name}]\nqueue = \"work\"\n\
             [job_types.{name}.retry]\nmax_retries = 0\n\
             [job_types.{name}.handler]\nkind = \"mcp\"\nserver = \"{name}\"\ntool = \"query_analytics\"\n"
        )
    };
    let tokens = "[auth.tokens.ops]\nrole = \"operate\"\ntoken = \"ops-0123456789abcdef\"\n";
    let own = "api_role = \"read\"\nenv = { GANGER_TOKEN = \"ops-0123456789abcdef\" }";
    let servers = server("reads", "api_role = \"read\"") + &server("bare", "") + &server("own", own);
    let mut command = site.command(&format!("{tokens}{servers}"));
    command.env_remove("GANGER_TOKEN");
    let daemon = Daemon::spawn(command).await;
    let send = async |method: &str, path: &str, token: &str, body: Value| {
        let request = daemon.client.request(method.parse().unwrap(), format!("{}{path}", daemon.url));
        let request = if method == "GET" { request } else { request.json(&body) };
        let response = request.bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap_or_default())
    };
    let ops = "ops-0123456789abcdef";
    for (name, state) in [("reads", "succeeded"), ("bare", "failed"), ("own", "succeeded")] {
        let (status, job) = send("POST", "/v1/jobs", ops, json!({ "type": name, "payload": {} })).await;
        assert!(matches!(status, 200..=202), "{job}");
        let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
        let job = until("the job rests", || async {
            let (_, job) = send("GET", &path, ops, Value::Null).await;
            ["succeeded", "failed"].contains(&job["state"].as_str().unwrap()).then_some(job)
        })
        .await;
        assert_eq!(job["state"], state, "{name}: {job:#}");
    }
    let token = |name: &str| std::fs::read_to_string(shown(name)).unwrap();
    assert_eq!((token("bare").as_str(), token("own").as_str()), ("", ops));
    let drawn = token("reads");
    assert!(drawn.len() >= 32 && !daemon.log().contains(&drawn));
    assert_eq!(send("GET", "/v1/queues", &drawn, Value::Null).await.0, 200);
    assert_eq!(send("POST", "/v1/jobs", &drawn, json!({ "type": "noop", "payload": {} })).await.0, 403);
    assert_eq!(send("POST", "/v1/queues/work/pause", &drawn, json!({})).await.0, 403);
}

/// Pages that are down are no fault of the platform's: work on others goes on.
#[tokio::test]
async fn unreachable_pages_hold_up_no_other_work() {
    let (_pages, address) = listening(&["--site", "v1"]).await;
    let site = Site::new(Footing::Embedded).await;
    let command = json!([env!("CARGO_BIN_EXE_ganger"), "platform-tools"]);
    let job_type = |name: &str, tool: &str| {
        format!(
            "[job_types.{name}]\nqueue = \"work\"\n[job_types.{name}.retry]\nmax_retries = 0\n\
             [job_types.{name}.handler]\nkind = \"mcp\"\nserver = \"platform\"\ntool = \"{tool}\"\n"
        )
    };
    let types = job_type("tests", "execute_test") + &job_type("plans", "generate_plan");
    let daemon = site
        .start(&format!("[breakers]\nopen_ms = 600000\n[mcp_servers.platform]\ncommand = {command}\n{types}"))
        .await;
    let steps = json!([{ "action": "load", "url": "http://127.0.0.1:9/x" }]);
    for _ in 0..5 {
        let id = daemon.submit(json!({ "type": "tests", "payload": { "steps": steps } })).await;
        let job = daemon.at_rest(&id).await;
        assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!("connection")), "{job:#}");
    }
    let known = daemon.get("/v1/breakers").await.to_string();
    assert!(!known.contains("127.0.0.1:9"), "a page makes no breaker: {known}");
    let breaker = daemon.get("/v1/breakers/mcp:platform").await;
    assert_eq!((&breaker["state"], &breaker["failures"]), (&json!("closed"), &json!(0)), "{breaker:#}");
    let id = daemon.submit(json!({ "type": "plans", "payload": { "page": address } })).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
}

#[tokio::test]
async fn what_people_decide_refits_the_weights() {
    let site = Site::new(Footing::Embedded).await;
    let elements = site.folder().join("elements");
    let command = json!([env!("CARGO_BIN_EXE_ganger"), "platform-tools", "--data-dir", elements]);
    let daemon: Daemon = site
        .start(&format!(
            "[mcp_servers.platform]\ncommand = {command}\n\
             [job_types.element_healing]\nqueue = \"work\"\n\
             [job_types.element_healing.handler]\nkind = \"mcp\"\nserver = \"platform\"\ntool = \"heal_element\"\n\
             [job_types.apply_healing]\nqueue = \"work\"\n\
             [job_types.apply_healing.handler]\nkind = \"mcp\"\nserver = \"platform\"\ntool = \"apply_healing\"\n"
        ))
        .await;
    let mut platform = platform();
    platform.arg("--data-dir").arg(&elements).args(["--server", &daemon.url]);
    let transport = TokioChildProcess::new(platform).unwrap();
    let client = ().serve_with_lifecycle(transport, ClientLifecycleMode::Initialize).await.unwrap();
    let page = |html: &str| json!({ "url": "http://site.test/book", "html": html });
    let refit = async || call(&client, "refit_healing", json!({})).await.structured_content.unwrap();
    let located = call(&client, "generate_locators", json!({ "page": page(BEFORE) })).await;
    let book = located.structured_content.unwrap()["elements"][0]["element"].clone();

    assert_eq!(refit().await["why"], "0 reviews of healings are decided, and 20 are needed");
    let heal = json!({ "page": page(AFTER), "element": book, "threshold": 1.0 });
    let heal = json!({ "type": "element_healing", "payload": heal });
    let mut before = Value::Null;
    for id in daemon.submit_many(&heal, 24).await {
        before = daemon.in_state(&id, "in_review").await["result"]["confidence"].clone();
        let (status, answer) = daemon.post(&format!("/v1/reviews/{id}/reject"), json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }
    let refitted = refit().await;
    assert_eq!((&refitted["refitted"], &refitted["verdicts"]), (&json!(true), &json!(24)), "{refitted:#}");
    assert!(refitted["loss_after"].as_f64() < refitted["loss_before"].as_f64(), "{refitted:#}");
    let again = daemon.submit(heal).await;
    let after = daemon.in_state(&again, "in_review").await["result"]["confidence"].clone();
    assert!(after.as_f64() < before.as_f64(), "{after} after {before}");
    client.cancel().await.unwrap();
}
