//! `ganger breakers`

use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::parse_duration;

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::Outcome;
use super::output::{self, Format};
use super::queues::{Words, figure};

/// The flags of `breakers`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all breakers.
    List,
    /// Open a breaker on all nodes: nothing that needs the dependency starts until it is reset.
    Trip {
        /// The breaker, such as `mcp:platform` or `http:HOST:80`.
        #[arg(value_name = "NAME")]
        name: String,
        /// Only for so long, such as 90s or 5m; then a probe finds out.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        time: Option<Duration>,
        #[command(flatten)]
        words: Words,
    },
    /// Close a breaker on all nodes; what was held starts a few at a time.
    Reset {
        /// The breaker.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        words: Words,
    },
}

#[derive(Debug, Deserialize)]
struct Breaker {
    name: String,
    state: String,
    since: Option<String>,
    until: Option<String>,
    why: String,
    failures: u32,
    at_once: Option<u32>,
    held_jobs: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Breakers {
    breakers: Vec<Breaker>,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Trip { name, time, words } => {
                let mut body = words.json();
                if let (Some(time), Some(members)) = (time, body.as_object_mut()) {
                    members.insert("for_s".to_owned(), json!(time.as_secs().max(1)));
                }
                order(&client, &name, "trip", &body, json).await
            }
            Action::Reset { name, words } => order(&client, &name, "reset", &words.json(), json).await,
        }
    }
}

async fn list(client: &Client, json: bool) -> Outcome {
    let reply = client.expect(&Call::get("/v1/breakers")).await?;
    let row = |breaker: Breaker| {
        vec![
            breaker.name,
            match breaker.at_once {
                Some(count) => format!("{}, {count} at once", breaker.state),
                None => breaker.state,
            },
            breaker.failures.to_string(),
            figure(breaker.held_jobs),
            breaker.since.unwrap_or_default(),
            breaker.until.unwrap_or_default(),
            breaker.why,
        ]
    };
    let headings = ["BREAKER", "STATE", "FAILURES", "HELD", "SINCE", "UNTIL", "WHY"];
    reply.write(json, |listed: Breakers| output::table(&headings, listed.breakers.into_iter().map(row).collect()))
}

async fn order(client: &Client, name: &str, action: &str, body: &Value, json: bool) -> Outcome {
    let path = format!("/v1/breakers/{}/{action}", segment(name));
    let reply = client.expect(&Call::post(path).json(body.to_string()).repeatable()).await?;
    reply.write(json, |breaker: Breaker| format!("{name} is {}", breaker.state))
}
