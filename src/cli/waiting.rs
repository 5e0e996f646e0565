//! Waiting for jobs to come to rest, through lost connections and servers that restart.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::job::State;

use super::client::{Call, Client, Reply, segment};
use super::failure::{Failure, UNREACHABLE};

/// One long poll; servers and what lies between us cut off longer silences.
const TURN: Duration = Duration::from_secs(30);

/// How long a long poll may exceed its turn before the server counts as away.
const TURN_ROOM: Duration = Duration::from_secs(15);

/// The first pause after a lost answer.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// The members of a job that the command line uses.
#[derive(Debug, Deserialize)]
pub(super) struct JobBody {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) job_type: String,
    pub(super) queue: String,
    pub(super) priority: u8,
    pub(super) state: String,
    pub(super) payload: Option<Box<RawValue>>,
    pub(super) result: Option<Box<RawValue>>,
    pub(super) error: Option<ErrorBody>,
    #[serde(default)]
    pub(super) labels: std::collections::BTreeMap<String, String>,
    pub(super) attempts: u32,
    pub(super) max_attempts: u32,
    pub(super) deliveries: u32,
    pub(super) crashes: u32,
    pub(super) deferrals: u32,
    pub(super) accepted_at: String,
    pub(super) run_at: Option<String>,
    pub(super) started_at: Option<String>,
    pub(super) finished_at: Option<String>,
    pub(super) wait_ms: Option<u64>,
    pub(super) run_ms: Option<u64>,
    #[serde(default)]
    pub(super) history: Vec<AttemptBody>,
    pub(super) idempotency_key: Option<String>,
    pub(super) parent: Option<String>,
    #[serde(default)]
    pub(super) reviews: Vec<ReviewBody>,
}

impl JobBody {
    pub(super) fn is_at_rest(&self) -> bool {
        State::from_name(&self.state).is_some_and(State::is_at_rest)
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.state == State::Succeeded.name()
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(super) struct ErrorBody {
    pub(super) class: String,
    pub(super) message: String,
}

/// One finished run.
#[derive(Debug, Deserialize)]
pub(super) struct AttemptBody {
    pub(super) attempt: u32,
    pub(super) worker: String,
    pub(super) started_at: String,
    pub(super) finished_at: String,
    pub(super) outcome: String,
    pub(super) error: Option<ErrorBody>,
}

/// A review of it.
#[derive(Debug, Deserialize)]
pub(super) struct ReviewBody {
    pub(super) reason: String,
    pub(super) opened_at: String,
    pub(super) decision: Option<DecisionBody>,
}

/// How a review was decided.
#[derive(Debug, Deserialize)]
pub(super) struct DecisionBody {
    pub(super) verdict: String,
    pub(super) by: String,
    pub(super) at: String,
    pub(super) note: String,
}

impl DecisionBody {
    /// Who decided what, when and why, on one line.
    pub(super) fn words(&self) -> String {
        let note = if self.note.is_empty() { String::new() } else { format!(": {}", self.note) };
        format!("{} by {} at {}{note}", self.verdict, self.by, self.at)
    }
}

/// How long failures in a row are borne.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    limit: Duration,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, failing_since: None, pause: PAUSE_MIN }
    }

    /// Something worked.
    pub(super) fn restore(&mut self) {
        self.failing_since = None;
        self.pause = PAUSE_MIN;
    }

    /// Pauses before another try; false when there has been enough.
    pub(super) async fn bear(&mut self) -> bool {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() + self.pause > self.limit {
            return false;
        }
        // Clients that lost the same server should not all come back at the same moment.
        sleep(self.pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

/// The job once it is at rest, or as it is at `deadline`. A 404 is an answer too.
pub(super) async fn until_rest(
    client: &Client,
    id: &str,
    deadline: Option<Instant>,
    mut patience: Patience,
) -> Result<(Reply, Option<JobBody>), Failure> {
    loop {
        let left = deadline.map_or(TURN, |deadline| deadline.saturating_duration_since(Instant::now())).min(TURN);
        let call = Call::get(format!("/v1/jobs/{}", segment(id)))
            .query("wait", format!("{}ms", left.as_millis()))
            .patience(left + TURN_ROOM);
        match client.send(&call).await {
            Ok(reply) if reply.status == 404 => return Ok((reply, None)),
            Ok(reply) if reply.is_for_later() => {
                if !patience.bear().await {
                    return Err(reply.accepted().err().unwrap_or_else(|| Failure::failed("no answer")));
                }
            }
            Ok(reply) => {
                patience.restore();
                let reply = reply.accepted()?;
                let job: JobBody = reply.json()?;
                if job.is_at_rest() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Ok((reply, Some(job)));
                }
                // A server on its way out answers at once; its successor is worth a moment.
                if left == TURN {
                    sleep(PAUSE_MIN).await;
                }
            }
            Err(failure) if failure.status() == UNREACHABLE => {
                if !patience.bear().await {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_ends_and_is_restored_by_success() {
        let mut patience = Patience::new(Duration::from_millis(120));
        assert!(patience.bear().await);
        assert!(!patience.bear().await);
        patience.restore();
        assert!(patience.bear().await);
    }
}
