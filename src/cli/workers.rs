//! `ganger workers`

use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::http::parse_duration;

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::{DONE, FAILED, Outcome};
use super::output::{self, Format};
use super::queues::Words;

/// The longest wait of one request; longer ones are asked for in turns, so that a lost connection is noticed.
const WAIT_TURN: Duration = Duration::from_mins(1);

/// How long the server may take beside the wait: another node reads its orders about once a second.
const ANSWER_TIME: Duration = Duration::from_secs(45);

/// Between two looks for a worker that leaves.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// The flags of `workers`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the workers of all nodes.
    List,
    /// Start a replacement; the worker finishes its job and leaves.
    Drain(Order),
    /// Start a replacement and do not wait: the worker's job is stopped and given back, which costs no attempt.
    Replace(Order),
}

#[derive(Debug, clap::Args)]
struct Order {
    /// The worker: NODE:NAME, or its bare name where only one node has it.
    worker: String,
    #[command(flatten)]
    words: Words,
    /// Wait at most this long until the worker has left.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(Debug, Deserialize)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug, Deserialize)]
struct Worker {
    #[serde(rename = "worker")]
    full_name: String,
    node: String,
    name: String,
    pool: String,
    state: String,
    since: String,
    hired_at: String,
    job: Option<Job>,
    jobs_done: u64,
    memory_bytes: Option<u64>,
    why: Option<String>,
    replaced_by: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    #[serde(rename = "type")]
    job_type: String,
}

#[derive(Debug, Deserialize)]
struct Ordered {
    status: String,
    node_heard_at: Option<String>,
    worker: Worker,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Drain(order) => give(&client, &order, "drain", json).await,
            Action::Replace(order) => give(&client, &order, "replace", json).await,
        }
    }
}

async fn list(client: &Client, json: bool) -> Outcome {
    let reply = client.expect(&Call::get("/v1/workers")).await?;
    let row = |worker: Worker| {
        let health = worker.why.clone().unwrap_or_else(|| "ok".to_owned());
        vec![
            worker.node,
            worker.name,
            worker.pool,
            worker.state,
            worker.since,
            worker.job.map_or_else(|| "-".to_owned(), |job| format!("{} ({})", job.id, job.job_type)),
            worker.jobs_done.to_string(),
            worker.memory_bytes.map_or_else(|| "-".to_owned(), mebibytes),
            health,
        ]
    };
    let headings = ["NODE", "WORKER", "POOL", "STATE", "SINCE", "JOB", "DONE", "MEMORY", "HEALTH"];
    reply.write(json, |listed: Workers| output::table(&headings, listed.workers.into_iter().map(row).collect()))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Gives an order and, if asked to, waits until the worker has left.
async fn give(client: &Client, order: &Order, what: &str, json: bool) -> Outcome {
    let deadline = order.wait.map(|wait| Instant::now() + wait);
    let turn = || deadline.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()).min(WAIT_TURN));
    let mut body = order.words.json();
    let first = turn();
    body["wait_s"] = json!(first.as_millis().div_ceil(1_000));
    let call = Call::post(format!("/v1/workers/{}/{what}", segment(&order.worker))).json(body.to_string());
    let reply = client.expect(&call.patience(first + ANSWER_TIME)).await?;
    let text = reply.text();
    let Ordered { status, node_heard_at, worker } = reply.json()?;
    let (name, successor) = (&worker.full_name, worker.replaced_by.as_deref());
    let mut left = status == "left";
    if !left && deadline.is_some() {
        left = wait(client, &worker, deadline).await?;
    }
    let instead = successor.map_or_else(String::new, |by| format!("; {by} is there in its place"));
    let words = match (left, status.as_str()) {
        (true, _) => format!("{name} has left{instead}"),
        (false, "ordered") => {
            let heard = node_heard_at.map_or_else(String::new, |at| format!(", last heard of at {at},"));
            format!("{name} is told to leave; its node{heard} has not said yet that it obeys")
        }
        (false, _) => format!("{name} leaves{instead}"),
    };
    output::data(&if json { text } else { words })?;
    Ok(if left || deadline.is_none() { DONE } else { FAILED })
}

/// Waits until the very worker is on no list any more.
async fn wait(client: &Client, worker: &Worker, deadline: Option<Instant>) -> Result<bool, super::failure::Failure> {
    loop {
        let listed: Workers = client.expect(&Call::get("/v1/workers")).await?.json()?;
        let there = |other: &Worker| other.full_name == worker.full_name && other.hired_at == worker.hired_at;
        if !listed.workers.iter().any(there) {
            return Ok(true);
        }
        if deadline.is_none_or(|end| Instant::now() >= end) {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_units_for_people() {
        assert_eq!(mebibytes(3 << 19), "1.5 MiB");
    }
}
