//! `ganger jobs why` and `ganger jobs stuck`

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::{Call, Client, segment};
use super::failure::{DONE, Outcome};
use super::output;

/// The most jobs that the server tells of in one answer.
const LIMIT_MAX: u32 = 500;
/// With more than so many jobs and no limit asked for, they are counted by what keeps them.
const SINGLY_MAX: usize = 20;

#[derive(Debug, Deserialize)]
struct Why {
    id: String,
    state: String,
    #[serde(flatten)]
    explanation: Explanation,
}

#[derive(Debug, Deserialize)]
struct Explanation {
    runnable: bool,
    starts_at: Option<String>,
    reasons: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    code: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Stuck {
    jobs: Vec<StuckJob>,
    queues: Vec<StuckQueue>,
    more: bool,
}

#[derive(Debug, Deserialize)]
struct StuckJob {
    id: String,
    #[serde(rename = "type")]
    job_type: String,
    queue: String,
    state: String,
    stuck: String,
    since: String,
    why: Explanation,
}

#[derive(Debug, Deserialize)]
struct StuckQueue {
    name: String,
    ready: u64,
    since: String,
}

/// Shows why a job does not run.
pub(super) async fn why(client: &Client, id: &str, json: bool) -> Outcome {
    let reply = client.expect(&Call::get(format!("/v1/jobs/{}/why", segment(id)))).await?;
    reply.write(json, |why: Why| output::printable_lines(&told(&why)))
}

fn told(why: &Why) -> String {
    let mut text = format!("{} is {}\n", why.id, why.state);
    if why.explanation.runnable {
        text.push_str("nothing keeps it: the next claim takes it\n");
    }
    for reason in &why.explanation.reasons {
        text.push_str("- ");
        text.push_str(&reason.message);
        text.push('\n');
    }
    if let Some(at) = why.explanation.starts_at.as_ref().filter(|_| !why.explanation.runnable) {
        text.extend(["it may start about ", at, "\n"]);
    }
    text
}

/// Lists what is stuck; many jobs are counted by what keeps them, unless a limit is asked for.
pub(super) async fn stuck(client: &Client, limit: Option<u32>, json: bool) -> Outcome {
    let mut call = Call::get("/v1/jobs/stuck");
    if let Some(limit) = limit.or((!json).then_some(LIMIT_MAX)) {
        call = call.query("limit", limit.to_string());
    }
    let reply = client.expect(&call).await?;
    if json {
        output::data(&reply.text())?;
        return Ok(DONE);
    }
    let stuck: Stuck = reply.json()?;
    if stuck.jobs.is_empty() && stuck.queues.is_empty() {
        output::talk("nothing is stuck");
        return Ok(DONE);
    }
    for queue in &stuck.queues {
        output::talk(&output::printable(&format!(
            "queue {} has {} jobs that may run, and nobody takes them since {}",
            queue.name, queue.ready, queue.since
        )));
    }
    if limit.is_none() && stuck.jobs.len() > SINGLY_MAX {
        output::data(&counted(&stuck.jobs))?;
        output::talk(&format!("counted by what keeps them first; --limit N lists up to {LIMIT_MAX} jobs one by one"));
    } else if !stuck.jobs.is_empty() {
        output::data(&listed(&stuck.jobs))?;
    }
    if stuck.more {
        output::talk(&format!("there are more than these {}", stuck.jobs.len()));
    }
    Ok(DONE)
}

/// Each job for itself.
fn listed(jobs: &[StuckJob]) -> String {
    let row = |job: &StuckJob| {
        let cells = [&job.id, &job.job_type, &job.queue, &job.state, &job.stuck, &job.since, job.reason().1];
        cells.map(str::to_owned).to_vec()
    };
    let headings = ["ID", "TYPE", "QUEUE", "STATE", "STUCK", "SINCE", "WHY"];
    output::table(&headings, jobs.iter().map(row).collect())
}

/// How many of each queue wait for the same, with the one that is stuck longest.
fn counted(jobs: &[StuckJob]) -> String {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&StuckJob>> = BTreeMap::new();
    for job in jobs {
        groups.entry((&job.queue, &job.stuck, job.reason().0)).or_default().push(job);
    }
    let row = |((queue, stuck, code), group): ((&str, &str, &str), Vec<&StuckJob>)| {
        let first = group.iter().min_by_key(|job| &job.since)?;
        let cells = [&group.len().to_string(), queue, stuck, code, &first.since, &first.id, first.reason().1];
        Some(cells.map(str::to_owned).to_vec())
    };
    let headings = ["JOBS", "QUEUE", "STUCK", "REASON", "FIRST SINCE", "FIRST", "WHY"];
    output::table(&headings, groups.into_iter().filter_map(row).collect())
}

impl StuckJob {
    /// The hardest thing that keeps it: its code and its words.
    fn reason(&self) -> (&str, &str) {
        self.why.reasons.first().map_or(("runnable", "its turn has come"), |reason| (&reason.code, &reason.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_a_line() {
        let why: Why = serde_json::from_str(
            r#"{"id":"a","state":"ready","runnable":false,"starts_at":"T1",
                "reasons":[{"code":"breaker","message":"breaker x is open"},{"code":"ahead","message":"3 jobs"}]}"#,
        )
        .unwrap();
        assert_eq!(told(&why), "a is ready\n- breaker x is open\n- 3 jobs\nit may start about T1\n");
    }

    #[test]
    fn many_are_counted_by_queue_and_reason() {
        let job = |id: &str, queue: &str, code: &str, since: &str| -> StuckJob {
            let reason = serde_json::json!({ "code": code, "message": format!("{code} of {id}") });
            serde_json::from_value(serde_json::json!({
                "id": id, "type": "t", "queue": queue, "state": "ready", "stuck": "past_sla", "since": since,
                "why": { "runnable": false, "starts_at": null, "reasons": [reason] },
            }))
            .unwrap()
        };
        let jobs = [job("1", "q", "ahead", "T2"), job("2", "q", "ahead", "T1"), job("3", "q", "breaker", "T3")];
        let text = counted(&jobs);
        let lines: Vec<String> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["2 q past_sla ahead T1 2 ahead of 2", "1 q past_sla breaker T3 3 breaker of 3"]);
    }
}
