//! `ganger jobs`

use std::fmt::Write;

use bytes::Bytes;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::{Call, Client, ClientArgs, Reply, segment};
use super::failure::{DONE, Failure, Outcome};
use super::output::{self, Format, printable};
use super::stuck;
use super::submit::{label, read_json};
use super::waiting::{DecisionBody, JobBody};

/// The flags of `jobs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List jobs, newest first.
    List(ListArgs),
    /// Show one job with its history.
    Show {
        /// The job.
        id: String,
    },
    /// Tell why a job does not run now.
    Why {
        /// The job.
        id: String,
    },
    /// List jobs past their SLA or far past their usual run time, and queues that nobody works on. Many jobs are
    /// counted by queue and reason.
    Stuck {
        /// List up to so many jobs one by one, 1 to 500.
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// Start a new life of a job that failed, expired, was cancelled or is in review.
    Retry {
        /// The job.
        id: String,
    },
    /// Submit a linked new job with the payload of an old one, or with another.
    Replay {
        /// The old job.
        id: String,
        /// Another payload: JSON, @FILE, or - for stdin.
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
    },
    /// Cancel a job; if it runs, it is told to stop.
    Cancel {
        /// The job.
        id: String,
    },
    /// Forget a job at rest with its id and key.
    Delete {
        /// The job.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "With --all and -o json, each job is one line of JSON.")]
struct ListArgs {
    /// Only jobs of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only jobs of this type.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    /// Only jobs in this state: scheduled, ready, running, retrying, succeeded, failed, `in_review`, cancelled or expired.
    #[arg(long)]
    state: Option<String>,
    /// Only jobs with this label.
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    /// Only jobs whose last failure has this class.
    #[arg(long, value_name = "CLASS")]
    error_class: Option<String>,
    /// The most jobs of a page, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Go on where another page ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// List all pages.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    jobs: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List(args) => args.run(&client, json).await,
            Action::Show { id } => {
                let reply = client.expect(&Call::get(path(&id, ""))).await?;
                show(&reply, json)
            }
            Action::Why { id } => stuck::why(&client, &id, json).await,
            Action::Stuck { limit } => stuck::stuck(&client, limit, json).await,
            Action::Retry { id } => order(&client, &path(&id, "/retry"), Bytes::from_static(b"{}"), json).await,
            Action::Cancel { id } => order(&client, &path(&id, "/cancel"), Bytes::from_static(b"{}"), json).await,
            Action::Replay { id, payload } => {
                let body = match payload {
                    Some(payload) => json!({ "payload": read_json("--payload", &payload)? }).to_string(),
                    None => "{}".to_owned(),
                };
                order(&client, &path(&id, "/replay"), body.into(), json).await
            }
            Action::Delete { id } => {
                let reply = client.expect(&Call::delete(path(&id, ""))).await?;
                output::data(&if json { reply.text() } else { format!("{id} deleted") })?;
                Ok(DONE)
            }
        }
    }
}

fn path(id: &str, action: &str) -> String {
    format!("/v1/jobs/{}{action}", segment(id))
}

async fn order(client: &Client, path: &str, body: Bytes, json: bool) -> Outcome {
    let reply = client.expect(&Call::post(path).json(body)).await?;
    reply.write(json, |job: JobBody| format!("{} {}", job.id, job.state))
}

impl ListArgs {
    fn call(&self, cursor: Option<&str>) -> Call {
        let mut call = Call::get("/v1/jobs").query("limit", self.limit.to_string());
        let filters = [
            ("queue", self.queue.as_deref()),
            ("type", self.job_type.as_deref()),
            ("state", self.state.as_deref()),
            ("error_class", self.error_class.as_deref()),
            ("cursor", cursor),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        if let Some((name, value)) = &self.label {
            call = call.query(format!("label.{name}"), value.clone());
        }
        call
    }

    async fn run(&self, client: &Client, json: bool) -> Outcome {
        let mut cursor = self.cursor.clone();
        loop {
            let reply = client.expect(&self.call(cursor.as_deref())).await?;
            if json && !self.all {
                output::data(&reply.text())?;
                return Ok(DONE);
            }
            let page: Page<'_> = reply.json_borrowed()?;
            if json {
                for job in &page.jobs {
                    output::data(job.get())?;
                }
            } else if !page.jobs.is_empty() || !self.all {
                output::data(&rows(&page.jobs)?)?;
            }
            match page.next_cursor {
                Some(next) if self.all => cursor = Some(next),
                Some(next) => {
                    output::talk(&format!("there are more: --cursor {next}, or --all"));
                    return Ok(DONE);
                }
                None => return Ok(DONE),
            }
        }
    }
}

fn parse(job: &RawValue) -> Result<JobBody, Failure> {
    serde_json::from_str(job.get()).map_err(|error| Failure::failed(format!("a job cannot be read: {error}")))
}

fn rows(jobs: &[&RawValue]) -> Result<String, Failure> {
    let rows = jobs
        .iter()
        .map(|job| {
            let job = parse(job)?;
            let error = job.error.map_or_else(|| "-".to_owned(), |error| error.class);
            let attempts = format!("{}/{}", job.attempts, job.max_attempts);
            Ok(vec![
                job.id,
                job.job_type,
                job.queue,
                job.priority.to_string(),
                job.state,
                attempts,
                job.accepted_at,
                error,
            ])
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(output::table(&["ID", "TYPE", "QUEUE", "PRIORITY", "STATE", "ATTEMPTS", "ACCEPTED", "ERROR"], rows))
}

/// One job, as JSON or for people.
pub(super) fn show(reply: &Reply, json: bool) -> Outcome {
    reply.write(json, |job: JobBody| description(&job))
}

/// A job as lines of name and value.
fn description(job: &JobBody) -> String {
    let labels: Vec<String> = job.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let ms = |ms: Option<u64>| ms.map(|ms| format!("{ms} ms"));
    let raw = |json: Option<&RawValue>| json.map(|json| json.get().to_owned());
    let lines = [
        ("id", Some(job.id.clone())),
        ("type", Some(job.job_type.clone())),
        ("queue", Some(job.queue.clone())),
        ("priority", Some(job.priority.to_string())),
        ("state", Some(job.state.clone())),
        ("error", job.error.as_ref().map(|error| format!("{}: {}", error.class, error.message))),
        ("labels", Some(labels.join(", ")).filter(|labels| !labels.is_empty())),
        ("key", job.idempotency_key.clone()),
        ("parent", job.parent.clone()),
        ("attempts", Some(format!("{} of {}", job.attempts, job.max_attempts))),
        ("deliveries", Some(format!("{}, {} crashes, {} deferrals", job.deliveries, job.crashes, job.deferrals))),
        ("accepted", Some(job.accepted_at.clone())),
        ("run at", job.run_at.clone()),
        ("started", job.started_at.clone()),
        ("finished", job.finished_at.clone()),
        ("waited", ms(job.wait_ms)),
        ("ran", ms(job.run_ms)),
        ("payload", raw(job.payload.as_deref())),
        ("result", raw(job.result.as_deref())),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            writeln!(text, "{name:<11} {}", printable(&value)).ok();
        }
    }
    for run in &job.history {
        let error = run.error.as_ref().map(|error| format!(", {}: {}", error.class, error.message)).unwrap_or_default();
        let line = format!(
            "attempt {}   {} to {} on {}: {}{error}",
            run.attempt, run.started_at, run.finished_at, run.worker, run.outcome
        );
        text.push_str(&printable(&line));
        text.push('\n');
    }
    for review in &job.reviews {
        let decided = review.decision.as_ref().map_or_else(|| "open".to_owned(), DecisionBody::words);
        let line = format!("review      {} since {}: {decided}", review.reason, review.opened_at);
        text.push_str(&printable(&line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"{"id":"a","type":"t","queue":"q","priority":3,"state":"failed","payload":{"n": 1.0},
        "result":null,"error":{"class":"timeout","message":"too\u001b slow"},"labels":{"env":"x"},
        "attempts":1,"max_attempts":1,"deliveries":1,"crashes":0,"deferrals":0,"fence":4294967297,
        "accepted_at":"T0","run_at":null,"started_at":"T1","finished_at":"T2","wait_ms":3,"run_ms":210,
        "history":[{"attempt":1,"worker":"n:w-1","fence":1,"started_at":"T1","finished_at":"T2",
        "outcome":"failed","error":{"class":"timeout","message":"too slow"}}],
        "reviews":[{"reason":"failed","error":null,"opened_at":"T2",
        "decision":{"verdict":"rejected","by":"ada","at":"T3","note":"no"}}]}"#;

    #[test]
    fn a_job_is_readable_and_its_payload_untouched() {
        let text = description(&serde_json::from_str(JOB).unwrap());
        assert!(text.contains("payload     {\"n\": 1.0}\n"), "{text}");
        assert!(text.contains("error       timeout: too\u{fffd} slow\n"), "{text}");
        assert!(text.contains("attempt 1   T1 to T2 on n:w-1: failed, timeout: too slow\n"), "{text}");
        assert!(text.contains("review      failed since T2: rejected by ada at T3: no\n"), "{text}");
        assert!(!text.contains("result"), "{text}");
    }

    #[test]
    fn a_list_has_one_row_a_job() {
        let raw: &RawValue = serde_json::from_str(JOB).unwrap();
        let text = rows(&[raw, raw]).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().contains("timeout"));
    }
}
