//! `[mcp_servers.NAME]`: how MCP servers are reached.

use std::collections::BTreeMap;

use crate::job::TypeName;

use super::reader::Section;
use super::{DURATION_MS_MAX, McpAfterSteps, McpApiRole, McpProtocol, McpServer, McpTarget, SecretText, SecretUrl};

/// The most sessions that make sense with one server.
const CONNECTIONS_MAX: u64 = 1_000;
/// Headers that belong to the protocol.
const RESERVED_HEADERS: [&str; 6] =
    ["accept", "content-type", "authorization", "mcp-session-id", "mcp-protocol-version", "last-event-id"];

pub(super) fn read<'a>(root: &Section<'a>, defaults: &Section<'a>) -> BTreeMap<String, McpServer> {
    // The defaults are read as a server of their own first, so that they are checked even when no server is there.
    common(defaults, McpTarget::Command { command: Vec::new(), env: BTreeMap::new() });
    defaults.finish();
    let mut servers = BTreeMap::new();
    let outer = root.table("mcp_servers");
    for (name, section) in root.tables("mcp_servers") {
        if let Err(error) = TypeName::new(&name) {
            outer.problem(&name, format!("the name {error}"));
        }
        let section = section.with_fallback(defaults);
        let target = target(&section);
        servers.insert(name, common(&section, target));
        section.finish();
    }
    servers
}

fn common(section: &Section<'_>, target: McpTarget) -> McpServer {
    McpServer {
        target,
        connections: usize::try_from(section.integer("connections", 1, CONNECTIONS_MAX)).unwrap_or(1),
        connect_timeout_ms: section.integer("connect_timeout_ms", 1, 3_600_000),
        idle_ms: section.integer("idle_ms", 0, DURATION_MS_MAX),
        keep_ms: section.integer("keep_ms", 0, DURATION_MS_MAX),
        after_steps: section.choice("after_steps", &[("end", McpAfterSteps::End), ("reuse", McpAfterSteps::Reuse)]),
        protocol: section.choice(
            "protocol",
            &[
                ("auto", McpProtocol::Auto),
                ("discover", McpProtocol::Discover),
                ("initialize", McpProtocol::Initialize),
            ],
        ),
        api_role: section.choice("api_role", &[("none", McpApiRole::None), ("read", McpApiRole::Read)]),
    }
}

fn target(section: &Section<'_>) -> McpTarget {
    let nothing = || McpTarget::Command { command: Vec::new(), env: BTreeMap::new() };
    match (section.has("command"), section.has("url")) {
        (true, false) => {
            let command = section.texts("command");
            if command.first().is_none_or(String::is_empty) {
                section.problem("command", "expected a program and its arguments");
            }
            McpTarget::Command { command, env: section.text_table("env") }
        }
        (false, true) => McpTarget::Url {
            url: SecretUrl::new(section.http_url("url")),
            headers: headers(section),
            token: section.secret("token", "token_file"),
        },
        _ => {
            section.problem("command", "expected either `command` or `url`");
            nothing()
        }
    }
}

fn headers(section: &Section<'_>) -> BTreeMap<String, SecretText> {
    let table = section.table("headers");
    let mut headers = BTreeMap::new();
    for (name, value) in section.text_table("headers") {
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !is_name || RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            table.problem(
                &name,
                "cannot be set: it is no name of a header, or the protocol's own (a bearer token goes in `token`)",
            );
        } else if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            table.problem(&name, "expected visible ASCII characters");
        }
        headers.insert(name, SecretText::new(value));
    }
    headers
}
