//! `ganger jobs why` and `ganger jobs stuck`

use serde::Deserialize;

use super::client::{Call, Client, segment};
use super::failure::{DONE, Outcome};
use super::output;

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
    if json {
        output::data(&reply.text())?;
    } else {
        let why: Why = reply.json()?;
        output::data(&output::printable_lines(&told(&why)))?;
    }
    Ok(DONE)
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

/// Lists what is stuck.
pub(super) async fn stuck(client: &Client, limit: Option<u32>, json: bool) -> Outcome {
    let mut call = Call::get("/v1/jobs/stuck");
    if let Some(limit) = limit {
        call = call.query("limit", limit.to_string());
    }
    let reply = client.expect(&call).await?;
    if json {
        output::data(&reply.text())?;
        return Ok(DONE);
    }
    let stuck: Stuck = reply.json()?;
    for queue in &stuck.queues {
        output::talk(&output::printable(&format!(
            "queue {} has {} jobs that may run, and nobody takes them since {}",
            queue.name, queue.ready, queue.since
        )));
    }
    let row = |job: &StuckJob| {
        let why = job.why.reasons.first().map_or("its turn has come", |reason| &reason.message);
        let cells = [&job.id, &job.job_type, &job.queue, &job.state, &job.stuck, &job.since, why];
        cells.map(str::to_owned).to_vec()
    };
    let rows = stuck.jobs.iter().map(row).collect();
    output::data(&output::table(&["ID", "TYPE", "QUEUE", "STATE", "STUCK", "SINCE", "WHY"], rows))?;
    if stuck.more {
        output::talk("there are more: --limit N shows up to 500");
    }
    Ok(DONE)
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
}
