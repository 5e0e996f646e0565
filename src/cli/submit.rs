//! `ganger submit`

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::http::parse_duration;
use crate::job::JobId;

use super::client::{Call, Client, ClientArgs, Reply};
use super::failure::{DONE, FAILED, Failure, Outcome};
use super::output::{self, Format};
use super::waiting::{Patience, until_rest};
use super::{jobs, ndjson};

/// The flags of `submit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The job type. With --ndjson it stands in where a line has no "type".
    #[arg(value_name = "TYPE", required_unless_present = "ndjson")]
    job_type: Option<String>,
    /// The payload: JSON, @FILE, or - for stdin; null when left out.
    #[arg(long, value_name = "JSON", conflicts_with = "ndjson")]
    payload: Option<String>,
    /// Your own id for the job. The same id again meets the same job.
    #[arg(long, conflicts_with = "ndjson")]
    id: Option<String>,
    /// An idempotency key. The same key again meets the same job.
    #[arg(long, conflicts_with = "ndjson")]
    key: Option<String>,
    /// How urgent it is: 1 to 5, or critical, high, normal, low, background.
    #[arg(long, conflicts_with = "ndjson")]
    priority: Option<String>,
    /// Start it after this time at the earliest, such as 500ms, 30s, 5m, 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with_all = ["ndjson", "run_at"])]
    delay: Option<Duration>,
    /// Start it at this point at the earliest (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "ndjson")]
    run_at: Option<String>,
    /// The queue, which must be its type's.
    #[arg(long, conflicts_with = "ndjson")]
    queue: Option<String>,
    /// A time limit for one run, other than its type's.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "ndjson")]
    timeout: Option<Duration>,
    /// A label, for filters; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label, conflicts_with = "ndjson")]
    labels: Vec<(String, String)>,
    /// Submit a file (or - for stdin) of jobs, one JSON object a line as the batch API takes them.
    #[arg(long, value_name = "FILE")]
    ndjson: Option<String>,
    /// Wait until all is at rest, at most this long when a time is given, and fail unless all succeeded.
    #[arg(long, value_name = "TIME", num_args = 0..=1, value_parser = parse_duration)]
    #[expect(clippy::option_option, reason = "this is how clap tells a flag without a value from none")]
    wait: Option<Option<Duration>>,
    /// Go on trying this long while no server answers or all refuse for load (with --ndjson or --wait).
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "2m")]
    retry_for: Duration,
    #[command(flatten)]
    client: ClientArgs,
}

const EXAMPLES: &str = "\
Examples:
  ganger submit plan_generation --payload '{\"url\": \"https://example.com\"}'
  ganger submit plan_generation --payload @plan.json --priority high --label environment=staging
  ganger submit report_generation --key report-2026-01 --delay 30s --wait 5m
  ganger submit --ndjson jobs.ndjson --wait > outcomes.ndjson
  generate | ganger submit test_execution --ndjson -

With --ndjson, stdout has one JSON line for each line that is not blank, in the same order:
  {\"id\": ..., \"line\": 1, \"status\": 201}                                accepted
  {\"id\": ..., \"line\": 1, \"state\": ..., \"result\": ..., \"error\": ...}  at rest (with --wait)
  {\"line\": 1, \"status\": 422, \"problem\": {...}}                         refused
Lines without \"id\" and \"idempotency_key\" are given an id first, so that nothing is submitted twice
however often a connection breaks.";

/// A submit as the API takes it.
#[derive(Serialize)]
struct Body {
    #[serde(rename = "type")]
    job_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    labels: BTreeMap<String, String>,
}

/// Reads `name=value`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

/// Reads JSON from the argument of a flag, a file or stdin.
pub(super) fn read_json(flag: &str, argument: &str) -> Result<Box<RawValue>, Failure> {
    let (place, text) = if argument == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text).map(|_| text);
        ("stdin".to_owned(), read.map_err(|error| Failure::failed(format!("stdin cannot be read: {error}")))?)
    } else if let Some(file) = argument.strip_prefix('@') {
        let read = std::fs::read_to_string(file);
        (file.to_owned(), read.map_err(|error| Failure::failed(format!("{file} cannot be read: {error}")))?)
    } else {
        (flag.to_owned(), argument.to_owned())
    };
    RawValue::from_string(text).map_err(|error| Failure::usage(format!("what {place} gives is not JSON: {error}")))
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Args {
    pub(super) async fn run(mut self) -> Outcome {
        let client = Client::new(&self.client)?;
        if let Some(file) = self.ndjson.take() {
            let plan = ndjson::Plan { job_type: self.job_type, wait: self.wait, retry_for: self.retry_for };
            return ndjson::submit(&client, &file, plan).await;
        }
        self.single(&client).await
    }

    async fn single(mut self, client: &Client) -> Outcome {
        let wait = self.wait;
        let patience = Patience::new(self.retry_for);
        let json = self.client.output == Format::Json;
        let body = self.body()?;
        // With an id or a key of its own, the submit may be repeated on another server.
        let text = serde_json::to_vec(&body).map_err(|error| Failure::failed(error.to_string()))?;
        let reply = client.expect(&Call::post("/v1/jobs").json(text).repeatable()).await?;
        if let Some(known) = &reply.known {
            output::talk(&format!("this job is known already ({known})"));
        }
        let Some(limit) = wait else { return accepted(&reply, json) };
        let accepted: Value = reply.json()?;
        let id = accepted["id"].as_str().ok_or_else(|| Failure::failed("the server's answer has no id"))?;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let (reply, job) = until_rest(client, id, deadline, patience).await?;
        let job = job.ok_or_else(|| Failure::failed(format!("job {id} is gone: deleted, or dropped by retention")))?;
        jobs::show(&reply, json)?;
        if !job.is_at_rest() {
            output::talk(&format!("job {id} is still {} after the time given", job.state));
        }
        Ok(if job.has_succeeded() { DONE } else { FAILED })
    }

    fn body(&mut self) -> Result<Body, Failure> {
        let generated = || JobId::generate().to_string();
        let id = self.id.take().or_else(|| self.key.is_none().then(generated));
        let priority = self.priority.take();
        Ok(Body {
            job_type: self.job_type.take().unwrap_or_default(),
            payload: self.payload.as_deref().map(|text| read_json("--payload", text)).transpose()?,
            id,
            idempotency_key: self.key.take(),
            queue: self.queue.take(),
            priority: priority.map(|text| text.parse::<u64>().map_or(Value::String(text), Value::from)),
            delay_ms: self.delay.map(whole_ms),
            run_at: self.run_at.take(),
            timeout_ms: self.timeout.map(whole_ms),
            labels: std::mem::take(&mut self.labels).into_iter().collect(),
        })
    }
}

fn accepted(reply: &Reply, json: bool) -> Outcome {
    if json {
        output::data(&reply.text())?;
    } else {
        let job: Value = reply.json()?;
        let word = |name: &str| job[name].as_str().unwrap_or("").to_owned();
        let state = if job["purged"] == Value::Bool(true) { "purged".to_owned() } else { word("state") };
        output::data(&format!("{} {state}", word("id")))?;
    }
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_name_and_a_value() {
        assert_eq!(label("env=a=b"), Ok(("env".into(), "a=b".into())));
        assert!(label("env").is_err());
        assert!(label("=x").is_err());
    }

    #[test]
    fn a_payload_is_json_or_wrong_usage() {
        assert_eq!(read_json("--payload", "{\"a\": 1.0}").unwrap().get(), "{\"a\": 1.0}");
        assert_eq!(read_json("--payload", "{a}").unwrap_err().status(), 2);
        assert_eq!(read_json("--payload", "@/nowhere/to/be/found").unwrap_err().status(), 1);
    }
}
