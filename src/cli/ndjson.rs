//! `ganger submit --ndjson`: many jobs, each submitted once however often a connection breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::time::Instant;

use crate::job::JobId;

use super::client::{Call, Client};
use super::failure::{DONE, FAILED, Failure, Outcome, TRY_LATER, UNREACHABLE};
use super::output;
use super::waiting::{ErrorBody, Patience, until_rest};

/// The most jobs of one request: a good rate without a long wait for the first answer.
const BATCH_JOBS: usize = 1_000;

/// The most bytes of one request, unless one line alone is larger.
const BATCH_BYTES: usize = 8 << 20;

/// Requests under way at the same time, so that the server's next batch is there when one is done.
const BATCHES_AHEAD: usize = 4;

/// Jobs that are waited for at the same time.
const WAITS_AHEAD: usize = 16;

/// What is to be done.
pub(super) struct Plan {
    /// Stands in where a line has no type.
    pub(super) job_type: Option<String>,
    /// Whether to wait, and how long.
    #[expect(clippy::option_option, reason = "it comes as clap reads it")]
    pub(super) wait: Option<Option<Duration>>,
    /// How long failures in a row are borne.
    pub(super) retry_for: Duration,
}

/// One line that is to be submitted, or why it cannot be.
#[derive(Debug)]
struct Line {
    number: usize,
    submit: Result<String, Value>,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Accepted {
        line: usize,
        id: String,
        status: u16,
    },
    Refused {
        line: usize,
        status: u16,
        problem: Value,
    },
    /// No server answered; the line may have been taken or not.
    Unanswered {
        line: usize,
        words: String,
    },
}

/// The answer to one item of a batch.
#[derive(Debug, Deserialize)]
struct Item {
    status: u16,
    id: Option<String>,
    #[serde(default)]
    problem: Value,
}

/// A job at rest.
#[derive(Serialize)]
struct Rested {
    id: String,
    line: usize,
    state: Option<String>,
    result: Option<Box<RawValue>>,
    error: Option<ErrorBody>,
}

#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    put_off: u64,
    unanswered: u64,
    succeeded: u64,
    rested: u64,
}

impl Tally {
    fn words(&self, waiting: bool) -> String {
        let mut words = vec![format!("{} accepted", self.accepted), format!("{} refused", self.refused + self.put_off)];
        if self.unanswered > 0 {
            words.push(format!("{} without an answer", self.unanswered));
        }
        if waiting {
            words.push(format!("{} finished of which {} succeeded", self.rested, self.succeeded));
        }
        words.join(", ")
    }

    fn status(&self, waiting: bool) -> i32 {
        if self.unanswered > 0 {
            UNREACHABLE
        } else if self.refused > 0 || (waiting && self.succeeded < self.accepted) {
            FAILED
        } else if self.put_off > 0 {
            TRY_LATER
        } else {
            DONE
        }
    }
}

/// Submits a file of jobs, waits for them when asked, and tells what became of each.
pub(super) async fn submit(client: &Client, file: &str, plan: Plan) -> Outcome {
    let input: Box<dyn AsyncBufRead + Send + Unpin> = if file == "-" {
        Box::new(BufReader::new(tokio::io::stdin()))
    } else {
        let opened = tokio::fs::File::open(file).await;
        Box::new(BufReader::new(opened.map_err(|error| Failure::failed(format!("{file} cannot be read: {error}")))?))
    };
    let (waiting, started) = (plan.wait.is_some(), Instant::now());
    let bar = progress();
    let mut tally = Tally::default();
    let fates = send_all(client, input, &plan, &bar, &mut tally).await;
    let fates = match fates {
        Ok(fates) => fates,
        Err(failure) => {
            bar.finish_and_clear();
            return Err(failure);
        }
    };
    let mut outcome = Ok(());
    if let Some(limit) = plan.wait {
        let deadline = limit.map(|limit| Instant::now() + limit);
        outcome = wait_all(client, fates, deadline, plan.retry_for, &bar, &mut tally).await;
    }
    bar.finish_and_clear();
    output::talk(&format!("{} in {:.1} s", tally.words(waiting), started.elapsed().as_secs_f64()));
    outcome.map(|()| tally.status(waiting))
}

/// A line on stderr that grows; nothing where stderr is no terminal.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

/// Sends all lines and tells of each, unless their outcomes are told later.
async fn send_all(
    client: &Client,
    input: Box<dyn AsyncBufRead + Send + Unpin>,
    plan: &Plan,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<Vec<Fate>, Failure> {
    let mut kept = Vec::new();
    let answers = batches(input, plan.job_type.clone()).map(|batch| async move {
        match batch {
            Ok(batch) => send_batch(client, batch, Patience::new(plan.retry_for)).await,
            Err(error) => Err(Failure::failed(format!("the input cannot be read: {error}"))),
        }
    });
    let mut answers = std::pin::pin!(answers.buffered(BATCHES_AHEAD));
    while let Some(fates) = answers.next().await {
        for fate in fates? {
            count(tally, &fate);
            match plan.wait {
                None => print(&fate)?,
                Some(_) => kept.push(fate),
            }
        }
        bar.set_message(tally.words(plan.wait.is_some()));
        bar.tick();
        if tally.unanswered > 0 {
            output::talk("no server answers any more: the lines after these are not sent");
            break;
        }
    }
    Ok(kept)
}

fn count(tally: &mut Tally, fate: &Fate) {
    match fate {
        Fate::Accepted { .. } => tally.accepted += 1,
        Fate::Refused { status: 429 | 503, .. } => tally.put_off += 1,
        Fate::Refused { .. } => tally.refused += 1,
        Fate::Unanswered { .. } => tally.unanswered += 1,
    }
}

fn print(fate: &Fate) -> std::io::Result<()> {
    let line = match fate {
        Fate::Accepted { line, id, status } => json!({ "id": id, "line": line, "status": status }),
        Fate::Refused { line, status, problem } => json!({ "line": line, "status": status, "problem": problem }),
        Fate::Unanswered { line, words } => {
            json!({ "line": line, "status": null, "problem": { "code": "unreachable", "detail": words } })
        }
    };
    output::data(&line.to_string())
}

/// Waits for all accepted jobs and tells of each line in order.
async fn wait_all(
    client: &Client,
    fates: Vec<Fate>,
    deadline: Option<Instant>,
    retry_for: Duration,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let waits = stream::iter(fates).map(|fate| async move {
        match fate {
            Fate::Accepted { line, id, .. } => {
                let (_, job) = until_rest(client, &id, deadline, Patience::new(retry_for)).await?;
                Ok::<_, Failure>(Err((line, id, job)))
            }
            other => Ok(Ok(other)),
        }
    });
    let mut waits = std::pin::pin!(waits.buffered(WAITS_AHEAD));
    while let Some(waited) = waits.next().await {
        match waited? {
            Ok(refused) => print(&refused)?,
            Err((line, id, job)) => {
                tally.rested += u64::from(job.as_ref().is_none_or(super::waiting::JobBody::is_at_rest));
                tally.succeeded += u64::from(job.as_ref().is_some_and(super::waiting::JobBody::has_succeeded));
                let gone = || ErrorBody { class: "gone".into(), message: "deleted, or dropped by retention".into() };
                let rested = match job {
                    Some(job) => Rested { id, line, state: Some(job.state), result: job.result, error: job.error },
                    None => Rested { id, line, state: None, result: None, error: Some(gone()) },
                };
                output::data(&serde_json::to_string(&rested).unwrap_or_default())?;
            }
        }
        bar.set_message(tally.words(true));
        bar.tick();
    }
    Ok(())
}

/// Reads the input in batches. A line that cannot be sent keeps its place among its neighbours.
fn batches(
    input: Box<dyn AsyncBufRead + Send + Unpin>,
    job_type: Option<String>,
) -> impl Stream<Item = std::io::Result<Vec<Line>>> {
    stream::unfold((input, 0_usize), move |(mut input, mut number)| {
        let job_type = job_type.clone();
        async move {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_JOBS && bytes < BATCH_BYTES {
                let mut text = Vec::new();
                match input.read_until(b'\n', &mut text).await {
                    Ok(0) => break,
                    Ok(_) => number += 1,
                    Err(error) => return Some((Err(error), (input, number))),
                }
                if !text.trim_ascii().is_empty() {
                    bytes += text.len();
                    batch.push(Line { number, submit: prepare(&text, job_type.as_deref()) });
                }
            }
            if batch.is_empty() { None } else { Some((Ok(batch), (input, number))) }
        }
    })
}

/// Fills in the type and an id where the line has none.
fn prepare(text: &[u8], job_type: Option<&str>) -> Result<String, Value> {
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text).map_err(|error| {
        let words = error.to_string();
        let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
        let detail = format!("the line is not a JSON object: {words} at column {}", error.column());
        json!({ "title": "The request cannot be read", "status": 400, "code": "malformed", "detail": detail })
    })?;
    let has = |name: &str| members.get(name).is_some_and(|value| value.get() != "null");
    let (typed, named) = (has("type"), has("id") || has("idempotency_key"));
    let filled = [("type", job_type.filter(|_| !typed).map(str::to_owned)), ("id", (!named).then(generated))];
    for (name, value) in filled {
        if let Some(Ok(value)) = value.map(|value| to_raw_value(&value)) {
            members.insert(name.to_owned(), value);
        }
    }
    serde_json::to_string(&members)
        .map_err(|error| json!({ "status": 400, "code": "malformed", "detail": error.to_string() }))
}

fn generated() -> String {
    JobId::generate().to_string()
}

/// Sends a batch until each of its lines has an answer that is not "later", or patience ends.
async fn send_batch(client: &Client, lines: Vec<Line>, mut patience: Patience) -> Result<Vec<Fate>, Failure> {
    let mut fates: Vec<Option<Fate>> = lines.iter().map(refused_here).collect();
    loop {
        let open: Vec<usize> = (0..lines.len()).filter(|&at| is_open(fates[at].as_ref())).collect();
        if open.is_empty() {
            break;
        }
        let body: Vec<&str> = open.iter().filter_map(|&at| lines[at].submit.as_deref().ok()).collect();
        let call = Call::post("/v1/jobs/batch").body("application/x-ndjson", body.join("\n")).repeatable();
        match client.send(&call).await {
            Ok(reply) if reply.is_for_later() => {
                let problem = reply.problem();
                for at in open {
                    let line = lines[at].number;
                    fates[at] = Some(Fate::Refused { line, status: reply.status, problem: problem.clone() });
                }
            }
            Ok(reply) => {
                let items: Vec<Item> = reply.accepted()?.json()?;
                if items.len() != open.len() {
                    return Err(Failure::failed("the server answered another number of lines than it was sent"));
                }
                let progress = items.iter().any(|item| item.status < 300);
                for (at, item) in open.into_iter().zip(items) {
                    fates[at] = Some(fate_of(lines[at].number, item));
                }
                if progress {
                    patience.restore();
                }
            }
            Err(failure) if failure.status() == UNREACHABLE => {
                for at in open {
                    let words = failure.message().unwrap_or_default().to_owned();
                    fates[at] = Some(Fate::Unanswered { line: lines[at].number, words });
                }
            }
            Err(failure) => return Err(failure),
        }
        if fates.iter().any(|fate| is_open(fate.as_ref())) && !patience.bear().await {
            break;
        }
    }
    Ok(fates.into_iter().flatten().collect())
}

fn refused_here(line: &Line) -> Option<Fate> {
    let problem = line.submit.as_ref().err()?;
    Some(Fate::Refused { line: line.number, status: 400, problem: problem.clone() })
}

/// Whether another try may change what is known of a line.
fn is_open(fate: Option<&Fate>) -> bool {
    matches!(fate, None | Some(Fate::Unanswered { .. } | Fate::Refused { status: 429 | 503, .. }))
}

fn fate_of(line: usize, item: Item) -> Fate {
    match item.id {
        Some(id) if item.status < 300 => Fate::Accepted { line, id, status: item.status },
        _ => Fate::Refused { line, status: item.status, problem: at_line(item.problem, line) },
    }
}

/// The server counts within its batch; the caller counts lines of the input.
fn at_line(mut problem: Value, line: usize) -> Value {
    if let Some(members) = problem.as_object_mut() {
        members.remove("index");
        members.insert("line".to_owned(), line.into());
    }
    problem
}

#[cfg(test)]
#[path = "ndjson_tests.rs"]
mod tests;
