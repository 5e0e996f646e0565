//! What an MCP server is reached by.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::policy::catalog::Secret;

/// One server, as it is configured. Two that are equal are the same server, so a reload keeps its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerParams {
    /// Its name in the configuration.
    pub name: String,
    /// How it is reached.
    pub target: Target,
    /// The most sessions at a time.
    pub connections: usize,
    /// How long a session may take to begin, the child's start and the handshake together.
    pub connect_timeout: Duration,
    /// How long a call may show no sign of life; `None`: as long as its deadline allows.
    pub idle: Option<Duration>,
    /// How long a session is kept that nobody uses; `None`: for ever.
    pub keep: Option<Duration>,
    /// What becomes of a session after a run of steps that went well.
    pub after_steps: AfterSteps,
    /// Which handshake it gets.
    pub protocol: Protocol,
    /// Whether its child is given a token for the daemon's API.
    pub gets_api_token: bool,
    /// The most bytes of one message that are read.
    pub message_bytes_max: usize,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A child process that talks over its stdin and stdout.
    Command {
        /// The program, found on PATH or by its path.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables added to its environment.
        env: BTreeMap<String, String>,
        /// From SIGTERM to SIGKILL.
        term_grace: Duration,
    },
    /// Streamable HTTP.
    Url {
        /// Where it is.
        url: Secret,
        /// Headers of every request.
        headers: BTreeMap<String, Secret>,
        /// The bearer token.
        token: Option<Secret>,
    },
}

/// What becomes of a session after a run of steps that went well. After any other it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterSteps {
    /// It ends, and with it whatever the steps left in it.
    End,
    /// The next run of steps gets it as it is.
    Reuse,
}

/// Which handshake a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The new one, and the old one when the server does not know it.
    Auto,
    /// The new one only (2026-07-28: `server/discover`).
    Discover,
    /// The old one only (`initialize`).
    Initialize,
}

impl ServerParams {
    /// The server as errors name it: a name, and the program or the origin of the URL, as the rest of that may be secret.
    pub(super) fn place(&self) -> String {
        let reached_by = match &self.target {
            Target::Command { program, .. } => format!("`{program}`"),
            Target::Url { url, .. } => url::Url::parse(Target::text(url))
                .map_or_else(|_odd| "no URL".to_owned(), |url| url.origin().ascii_serialization()),
        };
        format!("MCP server {} ({reached_by})", self.name)
    }
}

impl Target {
    /// The text of a secret that the configuration has checked.
    pub(super) fn text(secret: &Secret) -> &str {
        std::str::from_utf8(&secret.0).unwrap_or_default()
    }
}
