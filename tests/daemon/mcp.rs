//! MCP servers under the daemon: servers that misbehave, health, reload.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::mcp_server::{self, HttpServer};
use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::until;

/// How much the daemon's memory may have been more than before, in bytes, whatever a server sends: a few messages of three
/// times `limits.result_bytes_max`, as text, as values and as what is sent on.
const MEMORY_MAX: u64 = 100 << 20;

/// The configuration of a server child of this kind, called NAME.
pub(crate) fn server(name: &str, kind: &str, more: &str) -> String {
    let command = json!(mcp_server::command());
    let [(variable, value)] = mcp_server::environment(kind);
    format!("[mcp_servers.{name}]\ncommand = {command}\n{more}\n[mcp_servers.{name}.env]\n{variable} = \"{value}\"\n")
}

/// A type of this name, whose handler has these lines.
pub(crate) fn job_type(name: &str, handler: &str) -> String {
    format!(
        "[job_types.{name}]\nqueue = \"work\"\ntimeout_ms = 60000\n[job_types.{name}.retry]\nmax_retries = 0\n\
         [job_types.{name}.handler]\n{handler}\n"
    )
}

/// A type of this name that calls a tool.
pub(crate) fn calls(name: &str, server: &str, tool: &str) -> String {
    job_type(name, &format!("kind = \"mcp\"\nserver = \"{server}\"\ntool = \"{tool}\""))
}

/// The fences that were noted as started.
fn starts(notes: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(notes).unwrap_or_default();
    let fences = text.lines().filter_map(|line| line.strip_prefix("started ")?.split_whitespace().next()?.parse().ok());
    fences.collect()
}

/// The most memory that the daemon ever held, in bytes.
fn peak(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_misbehave_have_clear_classes_and_bounded_memory() {
    let site = Site::new(Footing::Embedded).await;
    let http = HttpServer::start("new").await;
    let soon = "connect_timeout_ms = 500";
    let mut extra = [server("good", "old", ""), server("mute", "mute", soon), server("flood", "flood", "")].concat();
    extra += "[breakers]\nfailures = 1000\n";
    extra += "[mcp_servers.missing]\ncommand = [\"/nowhere/server\"]\n";
    extra += &format!("[mcp_servers.url]\nurl = \"{}\"\n", http.url);
    for tool in ["big", "die", "unheard_of", "echo"] {
        extra += &calls(&format!("{tool}_tool"), "good", tool);
    }
    extra += &calls("big_http", "url", "big");
    for server in ["mute", "flood", "missing"] {
        extra += &calls(server, server, "echo");
    }
    let daemon = site.start(&extra).await;
    let ended = async |job_type: &str, payload: Value| {
        let id = daemon.submit(json!({"type": job_type, "payload": payload})).await;
        daemon.at_rest(&id).await
    };
    assert_eq!(ended("echo_tool", json!({"n": 1})).await["result"]["arguments"], json!({"n": 1}));
    let before = peak(&daemon);
    for (job_type, class) in [
        ("mute", "timeout"),
        ("flood", "connection"),
        ("missing", "spawn_failed"),
        ("big_tool", "output_too_large"),
        ("big_http", "output_too_large"),
        ("die_tool", "connection"),
        ("unheard_of_tool", "invalid_params"),
    ] {
        let job = ended(job_type, json!({"bytes": 50_000_000})).await;
        assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!(class)), "{job_type}: {job}");
    }
    let more = peak(&daemon) - before;
    println!("the daemon held {before} bytes before and {more} more at most");
    assert!(more < MEMORY_MAX, "{more}");
    assert_eq!(ended("echo_tool", json!({})).await["state"], "succeeded");
    for (tool, outcome, count) in [("echo", "success", 2.0), ("big", "error", 2.0), ("die", "error", 1.0)] {
        let series = format!("mcp_tool_call_duration_seconds_count{{tool=\"{tool}\",outcome=\"{outcome}\"}}");
        let seen = daemon.metric(&series).await;
        assert!((seen - count).abs() < 0.5, "{series}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_opens_its_breaker_and_shows_in_the_nodes_health() {
    let site = Site::new(Footing::Embedded).await;
    let http = HttpServer::start("old").await;
    let extra =
        format!("[health]\ncheck_ms = 100\n[mcp_servers.url]\nurl = \"{}\"\n{}", http.url, calls("ask", "url", "echo"));
    let daemon = site.start(&extra).await;
    let id = daemon.submit(json!({"type": "ask", "payload": {}})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
    until("the ping is seen", || async {
        (daemon.metric("mcp_server_health_check{server=\"url\"}").await > 0.5).then_some(())
    })
    .await;
    drop(http);
    until("the node is unhealthy", || async {
        let (status, health) = daemon.call("GET", "/health", None).await;
        let is_away =
            health["mcp_servers_away"] == json!(["url"]) && health["checks"]["mcp_server_connectivity"] == false;
        (status == 503 && is_away).then_some(())
    })
    .await;
    assert!(daemon.metric("mcp_server_health_check{server=\"url\"}").await < 0.5);
    let mut classes = Vec::new();
    for _ in 0..5 {
        let id = daemon.submit(json!({"type": "ask", "payload": {}})).await;
        classes.push(daemon.at_rest(&id).await["error"]["class"].clone());
    }
    assert_eq!(
        classes,
        [json!("connection"), json!("connection"), json!("connection"), json!("connection"), json!("connection")]
    );
    let breaker = daemon.get("/v1/breakers").await;
    let is_open = |breaker: &Value| breaker["name"] == "mcp:url" && breaker["state"] == "open";
    assert!(breaker["breakers"].as_array().unwrap().iter().any(is_open), "{breaker}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_get_the_daemons_address_and_leave_with_it() {
    let site = Site::new(Footing::Embedded).await;
    let seen = site.folder().join("seen");
    let script = format!("env > {}; exec cat > /dev/null", seen.display());
    let extra = format!(
        "[mcp_servers.odd]\ncommand = {}\nconnect_timeout_ms = 600000\n[mcp_servers.odd.env]\nOWN = \"yes\"\n{}",
        json!(["sh", "-c", script]),
        calls("ask", "odd", "echo")
    );
    let mut command = site.command(&extra);
    command.env("GANGER__LEASE__RENEW_MS", "500");
    let mut daemon = Daemon::spawn(command).await;
    daemon.submit(json!({"type": "ask", "payload": {}})).await;
    let variables = until("the child has started", || async {
        std::fs::read_to_string(&seen).ok().filter(|text| text.contains("OWN=yes") && text.contains("GANGER_DATA_DIR"))
    })
    .await;
    let line = |name: &str| variables.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(line("GANGER_SERVER"), Some(daemon.url.as_str()));
    assert_eq!(line("GANGER_DATA_DIR"), site.folder().join("data").to_str());
    assert!(!variables.contains("GANGER__"), "{variables}");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_replaces_a_server_and_calls_under_way_finish_on_the_old_one() {
    let site = Site::new(Footing::Embedded).await;
    let (gate, notes) = (site.folder().join("gate"), site.folder().join("notes"));
    let file = site.folder().join("reloaded.toml");
    let types = [calls("wait", "child", "wait"), calls("count", "child", "count")].concat();
    std::fs::write(&file, server("child", "old", "") + &types).unwrap();
    let mut command = site.command("");
    command.arg("--config").arg(&file);
    let daemon = Daemon::spawn(command).await;
    let counted = async || {
        let id = daemon.submit(json!({"type": "count", "payload": {}})).await;
        daemon.at_rest(&id).await["result"].clone()
    };
    assert_eq!((counted().await, counted().await), (json!(1), json!(2)));
    let waiting = daemon.submit(json!({"type": "wait", "payload": {"notes": notes, "gate": gate}})).await;
    until("the call is under way", || async { (starts(&notes).len() == 1).then_some(()) }).await;
    std::fs::write(&file, server("child", "old", "connections = 2") + &types).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the reload is done", || async { daemon.log().contains("Reloaded").then_some(()) }).await;
    assert_eq!(counted().await, json!(1), "a new child");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(daemon.at_rest(&waiting).await["result"], json!("through"));
}
