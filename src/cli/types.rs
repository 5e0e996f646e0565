//! `ganger types`

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::{DONE, Outcome};
use super::output::{self, Format};
use super::queues::{Paused, Words, figure, paused_cell};

/// The flags of `types`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all job types.
    List,
    /// Stop claims of one job type on all nodes; its queue goes on with the others.
    Pause {
        /// The job type.
        #[arg(value_name = "TYPE")]
        job_type: String,
        #[command(flatten)]
        words: Words,
    },
    /// Allow claims again.
    Resume {
        /// The job type.
        #[arg(value_name = "TYPE")]
        job_type: String,
    },
}

#[derive(Debug, Deserialize)]
struct JobType {
    name: String,
    queue: String,
    priority: u8,
    timeout_ms: u64,
    handler: Handler,
    ready: Option<u64>,
    runnable: bool,
    paused: Option<Paused>,
}

#[derive(Debug, Deserialize)]
struct Handler {
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Types {
    types: Vec<JobType>,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Pause { job_type, words } => order(&client, &job_type, "pause", &words.json(), json).await,
            Action::Resume { job_type } => order(&client, &job_type, "resume", &json!({}), json).await,
        }
    }
}

async fn list(client: &Client, json: bool) -> Outcome {
    let reply = client.expect(&Call::get("/v1/types")).await?;
    let row = |known: JobType| {
        let handler =
            if known.runnable { known.handler.kind } else { format!("{} (not in this build)", known.handler.kind) };
        vec![
            known.name,
            known.queue,
            known.priority.to_string(),
            format!("{} ms", known.timeout_ms),
            handler,
            figure(known.ready),
            paused_cell(known.paused.as_ref()),
        ]
    };
    let headings = ["TYPE", "QUEUE", "PRIORITY", "TIMEOUT", "HANDLER", "READY", "PAUSED"];
    reply.write(json, |listed: Types| output::table(&headings, listed.types.into_iter().map(row).collect()))
}

async fn order(client: &Client, job_type: &str, action: &str, body: &Value, json: bool) -> Outcome {
    let path = format!("/v1/types/{}/{action}", segment(job_type));
    let reply = client.expect(&Call::post(path).json(body.to_string()).repeatable()).await?;
    output::data(&if json { reply.text() } else { format!("{job_type} {action}d") })?;
    Ok(DONE)
}
