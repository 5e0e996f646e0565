//! `ganger drain`

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::http::parse_duration;

use super::client::{Call, Client, ClientArgs};
use super::failure::{DONE, FAILED, Outcome};
use super::output::{self, Format};
use super::queues::{DRAIN_TURN, Words};

/// The flags of `drain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 nothing runs any more, 1 something still does. The node stays up and answers \
until it is stopped; only a new start takes jobs again.")]
pub(super) struct Args {
    #[command(flatten)]
    words: Words,
    /// Wait at most this long for the jobs that run there.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m")]
    wait: Duration,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Deserialize)]
struct Answer {
    node: String,
    drained: bool,
    running: u64,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let deadline = Instant::now() + self.wait;
        loop {
            let turn = deadline.saturating_duration_since(Instant::now()).min(DRAIN_TURN);
            let mut body = self.words.json();
            body["wait_s"] = json!(turn.as_millis().div_ceil(1000));
            let call = Call::post("/v1/node/drain").json(body.to_string()).repeatable().patience(turn + DRAIN_TURN);
            let reply = client.expect(&call).await?;
            let Answer { node, drained, running } = reply.json()?;
            if !drained && Instant::now() < deadline {
                output::talk(&format!("{node} takes no more jobs; {running} still run"));
                continue;
            }
            let words = if drained {
                format!("{node} takes no more jobs and nothing runs there")
            } else {
                format!("{node} takes no more jobs; {running} still run after {} s", self.wait.as_secs())
            };
            output::data(&if self.client.output == Format::Json { reply.text() } else { words })?;
            return Ok(if drained { DONE } else { FAILED });
        }
    }
}
