//! `ganger health`

use std::time::Duration;

use serde_json::Value;

use super::client::{Call, Client, ClientArgs};
use super::failure::{DONE, FAILED, Outcome};
use super::output::{self, Format};

/// A node that takes longer is not healthy; container checks give up soon after.
const PATIENCE: Duration = Duration::from_secs(5);

/// The flags of `health`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 healthy (or alive), 1 not, 69 no answer.")]
pub(super) struct Args {
    /// Ask only whether the process is alive, whatever its stores do: the right check for a container.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    client: ClientArgs,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let path = if self.live { "/livez" } else { "/health" };
        let reply = client.send(&Call::get(path).patience(PATIENCE)).await?;
        if self.client.output == Format::Json {
            output::data(&reply.text())?;
        } else {
            output::data(&words(&reply.problem()))?;
        }
        Ok(if reply.is_success() { DONE } else { FAILED })
    }
}

/// The status and, where there are any, the checks that do not hold and the MCP servers that are away.
fn words(body: &Value) -> String {
    let status = body["status"].as_str().unwrap_or("unknown").to_owned();
    let checks = body["checks"].as_object().into_iter().flatten();
    let bad: Vec<&str> =
        checks.filter(|(_, holds)| **holds == Value::Bool(false)).map(|(name, _)| name.as_str()).collect();
    let status = if bad.is_empty() { status } else { format!("{status}: {}", bad.join(", ")) };
    let away: Vec<&str> = body["mcp_servers_away"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if away.is_empty() { status } else { format!("{status} (MCP servers away: {})", away.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_hold_is_named() {
        assert_eq!(words(&json!({ "status": "alive" })), "alive");
        let checks = json!({ "memory_usage": true, "queue_connectivity": false });
        assert_eq!(words(&json!({ "status": "unhealthy", "checks": checks })), "unhealthy: queue_connectivity");
        let away = json!({ "status": "unhealthy", "checks": { "mcp_server_connectivity": false }, "mcp_servers_away": ["platform"] });
        assert_eq!(words(&away), "unhealthy: mcp_server_connectivity (MCP servers away: platform)");
    }
}
