//! What people and programs do at the daemon: submit, ask, decide. Over the API, like any client.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::client::{Call, Client, segment};
use crate::cli::failure::Failure;
use crate::cli::waiting::JobBody;
use crate::job::State;

/// The breaker in front of the platform.
pub(super) const BREAKER: &str = "mcp:platform";

/// The most jobs of a page.
const PAGE: &str = "1000";

/// Who signs what the demo decides.
const BY: &str = "demo";

/// A client that remembers what was refused for load.
#[derive(Debug)]
pub(super) struct Desk {
    client: Client,
    /// Submits refused for load, by job type.
    pub(super) shed: BTreeMap<String, u64>,
}

/// The breaker as the daemon shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Breaker {
    pub(super) state: String,
    pub(super) since: Option<String>,
    pub(super) held_jobs: Option<u64>,
}

impl Breaker {
    pub(super) fn is_closed(&self) -> bool {
        self.state == "closed"
    }
}

/// A review that is open.
#[derive(Debug, Deserialize)]
pub(super) struct Review {
    /// The job.
    pub(super) id: String,
    pub(super) proposal: Option<Value>,
    /// The jobs that an approval accepts.
    pub(super) on_approve: Option<Vec<Value>>,
}

/// A business measure.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Measure {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) unit: String,
    pub(super) window_s: i64,
    pub(super) value: Option<f64>,
    pub(super) samples: u64,
}

#[derive(Debug, Deserialize)]
struct Item {
    status: u16,
    id: Option<String>,
    #[serde(default)]
    problem: Value,
}

#[derive(Debug, Deserialize)]
struct Page {
    jobs: Vec<JobBody>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Queue {
    ready: Option<u64>,
    scheduled: Option<u64>,
    running: Option<u64>,
}

/// Jobs that are not at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) waiting: u64,
    pub(super) running: u64,
}

impl Live {
    pub(super) fn total(self) -> u64 {
        self.waiting + self.running
    }
}

impl Desk {
    pub(super) fn new(client: Client) -> Self {
        Self { client, shed: BTreeMap::new() }
    }

    /// Submits jobs and answers the ids of those that were accepted. Refusals for load are counted and borne: a client
    /// that offers such work comes back later, or does without.
    pub(super) async fn submit(&mut self, jobs: &[Value]) -> Result<Vec<String>, Failure> {
        let reply = self.client.expect(&Call::post("/v1/jobs/batch").json(json!(jobs).to_string())).await?;
        let items: Vec<Item> = reply.json()?;
        let mut accepted = Vec::with_capacity(items.len());
        for (item, job) in items.into_iter().zip(jobs) {
            match (item.status, item.id) {
                (201, Some(id)) => accepted.push(id),
                _ if item.problem["code"] == "shed" => {
                    let job_type = job["type"].as_str().unwrap_or("unknown").to_owned();
                    *self.shed.entry(job_type).or_default() += 1;
                }
                (status, _) => {
                    let detail = item.problem["detail"].as_str().unwrap_or("nobody said why");
                    return Err(Failure::failed(format!(
                        "the daemon refused a job with {status}: {detail}; it was {job}"
                    )));
                }
            }
        }
        Ok(accepted)
    }

    /// Tells what users think.
    pub(super) async fn feedback(&self, feedback: &[Value]) -> Result<(), Failure> {
        let call = Call::post("/v1/feedback").json(json!(feedback).to_string());
        self.client.expect(&call).await.map(|_counted| ())
    }

    /// Jobs that are not at rest, by the queues.
    pub(super) async fn live(&self) -> Result<Live, Failure> {
        let reply: Value = self.client.expect(&Call::get("/v1/queues")).await?.json()?;
        let queues: Vec<Queue> = serde_json::from_value(reply["queues"].clone())
            .map_err(|error| Failure::failed(format!("the daemon's queues cannot be read: {error}")))?;
        let mut live = Live::default();
        for queue in queues {
            live.waiting += queue.ready.unwrap_or(0) + queue.scheduled.unwrap_or(0);
            live.running += queue.running.unwrap_or(0);
        }
        Ok(live)
    }

    /// The same by the ledger, with all that is known of them.
    pub(super) async fn live_jobs(&self) -> Result<Vec<JobBody>, Failure> {
        let mut jobs = Vec::new();
        for state in [State::Scheduled, State::Ready, State::Running, State::Retrying] {
            jobs.extend(self.list(Some(("state", state.name()))).await?);
        }
        Ok(jobs)
    }

    /// All jobs of a type.
    pub(super) async fn jobs_of(&self, job_type: &str) -> Result<Vec<JobBody>, Failure> {
        self.list(Some(("type", job_type))).await
    }

    /// All jobs that there ever were here.
    pub(super) async fn jobs(&self) -> Result<Vec<JobBody>, Failure> {
        self.list(None).await
    }

    async fn list(&self, filter: Option<(&str, &str)>) -> Result<Vec<JobBody>, Failure> {
        let (mut jobs, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut call = Call::get("/v1/jobs").query("limit", PAGE);
            for (name, value) in filter.into_iter().chain(cursor.as_deref().map(|cursor| ("cursor", cursor))) {
                call = call.query(name, value);
            }
            let page: Page = self.client.expect(&call).await?.json()?;
            jobs.extend(page.jobs);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(jobs);
            }
        }
    }

    /// Why a job does not run now, in one sentence.
    pub(super) async fn why(&self, id: &str) -> Result<String, Failure> {
        let why: Value = self.client.expect(&Call::get(format!("/v1/jobs/{}/why", segment(id)))).await?.json()?;
        Ok(why["reasons"][0]["message"].as_str().unwrap_or("nobody says why").to_owned())
    }

    /// The breaker in front of the platform.
    pub(super) async fn breaker(&self) -> Result<Breaker, Failure> {
        self.client.expect(&Call::get(format!("/v1/breakers/{}", segment(BREAKER)))).await?.json()
    }

    /// Refuses what is least important, as an operator does; `None` leaves it to the rules again.
    pub(super) async fn set_shedding(&self, level: Option<u8>) -> Result<(), Failure> {
        let order =
            level.map_or_else(|| json!({ "mode": "auto", "by": BY }), |level| json!({ "level": level, "by": BY }));
        self.client.expect(&Call::put("/v1/shedding").json(order.to_string())).await.map(|_set| ())
    }

    /// Reviews that wait for a person, the oldest first.
    pub(super) async fn reviews(&self) -> Result<Vec<Review>, Failure> {
        let call = Call::get("/v1/reviews").query("limit", PAGE).query("order", "oldest");
        let mut reply: Value = self.client.expect(&call).await?.json()?;
        serde_json::from_value(reply["reviews"].take())
            .map_err(|error| Failure::failed(format!("the daemon's reviews cannot be read: {error}")))
    }

    /// Takes a proposal.
    pub(super) async fn approve(&self, id: &str, note: &str) -> Result<(), Failure> {
        let call = Call::post(format!("/v1/reviews/{}/approve", segment(id)));
        let call = call.json(json!({ "by": BY, "note": note }).to_string());
        self.client.expect(&call).await.map(|_job| ())
    }

    /// The business measures.
    pub(super) async fn measures(&self) -> Result<Vec<Measure>, Failure> {
        let mut reply: Value = self.client.expect(&Call::get("/v1/measures")).await?.json()?;
        serde_json::from_value(reply["measures"].take())
            .map_err(|error| Failure::failed(format!("the daemon's measures cannot be read: {error}")))
    }

    /// All metrics.
    pub(super) async fn metrics(&self) -> Result<super::metrics::Metrics, Failure> {
        Ok(super::metrics::Metrics::read(&self.client.expect(&Call::get("/metrics")).await?.text()))
    }
}
