//! What remediation reaches beyond the engine: commands, calls, and the MCP servers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::handler::command::errand;
use crate::handler::http;
use crate::handler::mcp::Servers;
use crate::handler::outside::{Errand, Notice, Outside};

/// The real ones.
#[derive(Debug)]
pub(super) struct Beyond {
    client: reqwest::Client,
    servers: Arc<Servers>,
    term_grace: Duration,
}

impl Beyond {
    /// Posts with this client, and leaves commands so long to end after SIGTERM.
    pub(super) fn new(client: reqwest::Client, servers: Arc<Servers>, term_grace: Duration) -> Self {
        Self { client, servers, term_grace }
    }
}

#[async_trait]
impl Outside for Beyond {
    async fn run(&self, errand: Errand, stop: CancellationToken) -> Result<String, String> {
        errand::run(&errand, self.term_grace, &stop).await
    }

    async fn post(&self, notice: Notice) -> Result<String, String> {
        http::post(&self.client, &notice, SystemClock.now()).await
    }

    async fn restart_server(&self, server: &str) -> Result<String, String> {
        let ended = self.servers.restart(server).ok_or_else(|| format!("there is no MCP server {server:?} here"))?;
        Ok(format!("the sessions with MCP server {server} were ended, {ended} of them open to everybody"))
    }

    fn servers(&self) -> Vec<String> {
        self.servers.names()
    }

    async fn server_answers(&self, server: &str) -> Option<bool> {
        self.servers.answers(server).await
    }
}
