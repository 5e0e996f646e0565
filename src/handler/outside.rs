//! What remediation does beyond jobs: commands, calls, and the MCP servers themselves.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::policy::catalog::Secret;

/// A command to be run.
#[derive(Debug, Clone)]
pub struct Errand {
    /// The program, found on PATH or by its path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to its environment.
    pub env: BTreeMap<String, String>,
    /// What it reads.
    pub input: Bytes,
}

/// Something to be posted.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Names it: the same one posted again is the same notice.
    pub id: String,
    /// Where to.
    pub url: Secret,
    /// The Standard-Webhooks secret, when it is to be signed.
    pub secret: Option<Secret>,
    /// The bearer token, when one is to be shown.
    pub token: Option<Secret>,
    /// JSON text.
    pub body: Bytes,
}

/// Does such things. Errors are words for people.
#[async_trait]
pub trait Outside: Send + Sync + std::fmt::Debug {
    /// Runs a command to its end, or until `stop`.
    async fn run(&self, errand: Errand, stop: CancellationToken) -> Result<String, String>;

    /// Posts something; done once it was answered well.
    async fn post(&self, notice: Notice) -> Result<String, String>;

    /// Ends this node's sessions with an MCP server, and its child processes, so that new ones begin.
    async fn restart_server(&self, server: &str) -> Result<String, String>;

    /// The names of the MCP servers.
    fn servers(&self) -> Vec<String>;

    /// Whether an MCP server answers this node; `None` while that cannot be said.
    async fn server_answers(&self, server: &str) -> Option<bool>;
}

/// Nothing is outside: for an engine that was given none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

#[async_trait]
impl Outside for Nothing {
    async fn run(&self, errand: Errand, _stop: CancellationToken) -> Result<String, String> {
        Err(format!("`{}` cannot be run here", errand.program))
    }

    async fn post(&self, _notice: Notice) -> Result<String, String> {
        Err("nothing can be posted here".to_owned())
    }

    async fn restart_server(&self, server: &str) -> Result<String, String> {
        Err(format!("there is no MCP server {server:?} here"))
    }

    fn servers(&self) -> Vec<String> {
        Vec::new()
    }

    async fn server_answers(&self, _server: &str) -> Option<bool> {
        None
    }
}
