//! Pieces of configuration.

use serde_json::json;

/// A server that is a child.
pub fn child(name: &str, command: &[&str]) -> String {
    format!("[mcp_servers.{name}]\ncommand = {}\n", json!(command))
}

/// A server behind a URL.
pub fn behind(name: &str, url: &str) -> String {
    format!("[mcp_servers.{name}]\nurl = \"{url}\"\n")
}

/// A job type that calls a tool once, with no second try. Lines in `more` are the type's own.
pub fn calls(name: &str, server: &str, tool: &str, more: &str) -> String {
    job_type(name, &format!("server = \"{server}\"\ntool = \"{tool}\""), more, "max_retries = 0")
}

/// A job type whose payload lists steps, with no second try.
pub fn steps(name: &str, server: &str) -> String {
    job_type(name, &format!("server = \"{server}\"\nmode = \"steps\""), "", "max_retries = 0")
}

/// A job type that calls a tool, and again at once where the connection broke.
pub fn calls_again(name: &str, server: &str, tool: &str) -> String {
    let retry =
        "max_retries = 5\nbackoff_strategy = \"linear\"\nbase_delay_ms = 200\nretry_on_errors = [\"connection\"]";
    job_type(name, &format!("server = \"{server}\"\ntool = \"{tool}\""), "", retry)
}

fn job_type(name: &str, handler: &str, more: &str, retry: &str) -> String {
    let more = if more.is_empty() { "timeout_ms = 60000" } else { more };
    format!(
        "[job_types.{name}]\nqueue = \"work\"\n{more}\n[job_types.{name}.retry]\n{retry}\n\
         [job_types.{name}.handler]\nkind = \"mcp\"\n{handler}\n"
    )
}
