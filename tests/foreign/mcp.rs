//! MCP servers of others, as children and behind a URL.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Footing, Site};
use crate::tools;

/// A job type that calls a tool once, with no second try.
fn calls(name: &str, server: &str, tool: &str) -> String {
    format!(
        "[job_types.{name}]\nqueue = \"work\"\ntimeout_ms = 60000\n[job_types.{name}.retry]\nmax_retries = 0\n\
         [job_types.{name}.handler]\nkind = \"mcp\"\nserver = \"{server}\"\ntool = \"{tool}\"\n"
    )
}

/// A server that is a child.
fn child(name: &str, command: &[&str]) -> String {
    format!("[mcp_servers.{name}]\ncommand = {}\n", json!(command))
}

/// The job of this type and payload, once it is at rest.
async fn ended(daemon: &Daemon, job_type: &str, payload: Value) -> Value {
    let id = daemon.submit(json!({"type": job_type, "payload": payload})).await;
    daemon.at_rest(&id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_generations_of_the_protocol_answer() {
    let site = Site::new(Footing::Embedded).await;
    let extra = [
        child("time", &[&tools::python("mcp-server-time")]),
        child("everything", &[&tools::npm("mcp-server-everything")]),
        calls("convert", "time", "convert_time"),
        calls("sum", "everything", "get-sum"),
    ]
    .concat();
    let daemon = site.start(&extra).await;
    let noon = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let job = ended(&daemon, "convert", noon).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["result"]["time_difference"], "+9.0h", "{job}");
    let job = ended(&daemon, "sum", json!({"a": 19, "b": 23})).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &json!("The sum of 19 and 23 is 42.")));
}
