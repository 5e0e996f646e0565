//! `ganger queues`

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::http::parse_duration;

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::{DONE, FAILED, Failure, Outcome};
use super::output::{self, Format};

/// The longest drain of one request; longer ones are asked for in turns, so that a lost connection is noticed.
pub(super) const DRAIN_TURN: Duration = Duration::from_mins(1);

/// The flags of `queues`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all queues with what they hold.
    List,
    /// Stop claims of a queue on all nodes; submits are still taken, running jobs go on.
    Pause {
        /// The queue.
        queue: String,
        #[command(flatten)]
        words: Words,
    },
    /// Allow claims again.
    Resume {
        /// The queue.
        queue: String,
    },
    /// Pause a queue and wait until none of its jobs runs.
    Drain {
        /// The queue.
        queue: String,
        #[command(flatten)]
        words: Words,
        /// Wait at most this long.
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m")]
        wait: Duration,
    },
    /// Cancel all jobs of a queue that wait.
    Purge {
        /// The queue.
        queue: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
}

/// Who and why, for the others.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Words {
    /// Who does this; the token's name or the address when left out.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why, for those who wonder later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Words {
    pub(super) fn json(&self) -> Value {
        let mut body = serde_json::Map::new();
        for (name, value) in [("by", &self.by), ("reason", &self.reason)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        Value::Object(body)
    }
}

/// Who paused something.
#[derive(Debug, Deserialize)]
pub(super) struct Paused {
    by: String,
    reason: String,
    since: String,
}

/// A pause in a table.
pub(super) fn paused_cell(paused: Option<&Paused>) -> String {
    match paused {
        None => "-".to_owned(),
        Some(Paused { by, reason, since }) if reason.is_empty() => format!("by {by} since {since}"),
        Some(Paused { by, reason, since }) => format!("by {by} since {since}: {reason}"),
    }
}

#[derive(Debug, Deserialize)]
struct Queue {
    name: String,
    sla_ms: Option<u64>,
    ordering: String,
    ready: Option<u64>,
    scheduled: Option<u64>,
    running: Option<u64>,
    paused: Option<Paused>,
}

#[derive(Debug, Deserialize)]
struct Queues {
    queues: Vec<Queue>,
}

#[derive(Debug, Deserialize)]
struct Drained {
    drained: bool,
    running: u64,
}

#[derive(Debug, Deserialize)]
struct Purged {
    cancelled: u64,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Pause { queue, words } => order(&client, &queue, "pause", &words.json(), json, "paused").await,
            Action::Resume { queue } => order(&client, &queue, "resume", &json!({}), json, "resumed").await,
            Action::Drain { queue, words, wait } => drain(&client, &queue, &words, wait, json).await,
            Action::Purge { queue, yes } => purge(&client, &queue, yes, json).await,
        }
    }
}

async fn list(client: &Client, json: bool) -> Outcome {
    let reply = client.expect(&Call::get("/v1/queues")).await?;
    let row = |queue: Queue| {
        vec![
            queue.name,
            figure(queue.ready),
            figure(queue.scheduled),
            figure(queue.running),
            queue.sla_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            queue.ordering,
            paused_cell(queue.paused.as_ref()),
        ]
    };
    let headings = ["QUEUE", "READY", "SCHEDULED", "RUNNING", "SLA", "ORDERING", "PAUSED"];
    reply.write(json, |listed: Queues| output::table(&headings, listed.queues.into_iter().map(row).collect()))
}

/// A figure, or a question mark while the broker is away.
pub(super) fn figure(figure: Option<u64>) -> String {
    figure.map_or_else(|| "?".to_owned(), |figure| figure.to_string())
}

fn path(queue: &str, action: &str) -> String {
    format!("/v1/queues/{}/{action}", segment(queue))
}

async fn order(client: &Client, queue: &str, action: &str, body: &Value, json: bool, done: &str) -> Outcome {
    let call = Call::post(path(queue, action)).json(body.to_string()).repeatable();
    let reply = client.expect(&call).await?;
    output::data(&if json { reply.text() } else { format!("{queue} {done}") })?;
    Ok(DONE)
}

async fn drain(client: &Client, queue: &str, words: &Words, wait: Duration, json: bool) -> Outcome {
    let deadline = Instant::now() + wait;
    loop {
        let turn = deadline.saturating_duration_since(Instant::now()).min(DRAIN_TURN);
        let mut body = words.json();
        body["wait_s"] = json!(turn.as_millis().div_ceil(1000));
        let call = Call::post(path(queue, "drain")).json(body.to_string()).repeatable().patience(turn + DRAIN_TURN);
        let reply = client.expect(&call).await?;
        let drained: Drained = reply.json()?;
        if !drained.drained && Instant::now() < deadline {
            output::talk(&format!("{queue} is paused; {} jobs still run", drained.running));
            continue;
        }
        let words = if drained.drained {
            format!("{queue} is paused and nothing of it runs")
        } else {
            format!("{queue} is paused; {} jobs still run after {} s", drained.running, wait.as_secs())
        };
        output::data(&if json { reply.text() } else { words })?;
        return Ok(if drained.drained { DONE } else { FAILED });
    }
}

async fn purge(client: &Client, queue: &str, yes: bool, json: bool) -> Outcome {
    if !yes {
        let known: Queue = client.expect(&Call::get(format!("/v1/queues/{}", segment(queue)))).await?.json()?;
        let waiting = known.ready.zip(known.scheduled).map(|(ready, later)| ready + later);
        let question = format!("this cancels the {} waiting jobs of {queue}", figure(waiting));
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(format!("{question}; say --yes to do it")));
        }
        if !confirmed(&question).await {
            output::talk("nothing was changed");
            return Ok(FAILED);
        }
    }
    let reply = client.expect(&Call::post(path(queue, "purge")).json("{}")).await?;
    let Purged { cancelled } = reply.json()?;
    output::data(&if json { reply.text() } else { format!("{cancelled} jobs of {queue} cancelled") })?;
    Ok(DONE)
}

/// Asks the person at the terminal.
async fn confirmed(question: &str) -> bool {
    let question = format!("{question}. Go on? [y/N] ");
    let asking = tokio::task::spawn_blocking(move || {
        let mut err = std::io::stderr().lock();
        err.write_all(question.as_bytes()).and_then(|()| err.flush()).ok();
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok();
        matches!(answer.trim(), "y" | "Y" | "yes")
    });
    asking.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_says_who_and_why() {
        let paused = Paused { by: "ada".into(), reason: "deploy".into(), since: "2026-01-01T00:00:00.000Z".into() };
        assert_eq!(paused_cell(Some(&paused)), "by ada since 2026-01-01T00:00:00.000Z: deploy");
        assert_eq!(paused_cell(None), "-");
        assert_eq!(figure(None), "?");
    }
}
