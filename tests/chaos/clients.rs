//! Clients: a steady offer of jobs, each repeated under its name until it is answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ganger::history::Submit;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::story::{SLACK_MS, Story, digest, queue_of};

/// How long a client waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client repeats a submit before it gives up.
const REPEAT_FOR: Duration = Duration::from_secs(90);
/// Between a refusal and the next try. Without growing pauses the repeats of an outage alone keep two cores busy.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Submits under way at most; beyond it the offer waits, because a client that cannot keep up offers nothing.
const UNDER_WAY_MAX: usize = 2_000;

/// Where the nodes are.
pub type Nodes = Arc<Mutex<Vec<String>>>;

/// A submit, and how its client behaves.
struct Wish {
    sent: Submit,
    body: Value,
    /// Gives up after the first call without an answer.
    impatient: bool,
    /// Sends it again after it was accepted.
    forgetful: bool,
    /// Sends something else under the same name after it was accepted.
    careless: bool,
}

/// Offers `plan.rate` jobs a second until `stop`, then waits until each has its answer.
pub async fn offer(plan: Plan, story: Story, nodes: Nodes, http: reqwest::Client, stop: CancellationToken) {
    let mut dice = plan.dice(1);
    let mut clients = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / plan.rate.max(1));
    let mut number = 0;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick(), if clients.len() < UNDER_WAY_MAX => {
                number += 1;
                let wish = wish(&mut dice, &format!("{}-{number}", plan.seed));
                clients.spawn(client(wish, plan.dice(1_000 + number), story.clone(), nodes.clone(), http.clone()));
            }
            Some(done) = clients.join_next() => done.expect("a client does not panic"),
        }
    }
    while let Some(done) = clients.join_next().await {
        done.expect("a client does not panic");
    }
}

/// Draws a job.
fn wish(dice: &mut StdRng, name: &str) -> Wish {
    let failures = ["http_5xx", "temporary_failure", "rude"];
    let (job_type, mut payload) = match dice.random_range(0..100) {
        0..60 => ("fast", json!({ "ms": dice.random_range(0..10) })),
        60..75 => {
            let count = dice.random_range(1..=5);
            let plan: Vec<&str> = (0..count).map(|_| failures[dice.random_range(0..failures.len())]).collect();
            ("flaky", json!({ "plan": plan }))
        }
        75..78 => ("flaky", json!({ "plan": ["put_off"] })),
        78..86 => ("slow", json!({ "ms": dice.random_range(200..1_500) })),
        86..92 => ("parent", json!({ "children": dice.random_range(1..=3) })),
        _ => ("calm", json!({ "ms": 1 })),
    };
    payload["key"] = json!(name);
    let priority = dice.random_range(1..=SLACK_MS.len());
    let mut body = json!({ "type": job_type, "payload": payload, "priority": priority });
    // A client may name its job by a key or by an id of its own.
    let by_id = dice.random_ratio(1, 5);
    body[if by_id { "id" } else { "idempotency_key" }] = json!(name);
    let key = (!by_id).then(|| name.to_owned());
    let id = by_id.then(|| name.to_owned());
    let sent = Submit {
        job_type: job_type.to_owned(),
        key,
        id,
        fingerprint: fingerprint(&body),
        payload: digest(&body["payload"]),
        queue: Some(queue_of(job_type).to_owned()),
        priority: Some(u8::try_from(priority).unwrap()),
        ..Submit::default()
    };
    let (impatient, forgetful, careless) =
        (dice.random_ratio(1, 20), dice.random_ratio(1, 25), dice.random_ratio(1, 50));
    Wish { sent, body, impatient, forgetful, careless }
}

fn fingerprint(body: &Value) -> String {
    digest(&json!([body["type"], body["priority"], body["payload"]]))
}

async fn client(mut wish: Wish, mut dice: StdRng, story: Story, nodes: Nodes, http: reqwest::Client) {
    let end = tokio::time::Instant::now() + REPEAT_FOR;
    let mut pause = PAUSE_MIN;
    loop {
        let url = pick(&nodes, &mut dice);
        let (status, _) = call(&story, &http, &url, &wish.sent, &wish.body).await;
        match status {
            Some(200 | 201) if wish.forgetful => wish.forgetful = false,
            Some(200 | 201) if wish.careless => {
                wish.careless = false;
                wish.body["payload"] = json!("something else");
                wish.sent.payload = digest(&wish.body["payload"]);
                wish.sent.fingerprint = fingerprint(&wish.body);
            }
            Some(200..=299 | 400..=499) => return,
            Some(_) | None if wish.impatient || tokio::time::Instant::now() > end => return,
            Some(_) | None => {
                tokio::time::sleep(pause.mul_f64(dice.random_range(0.5..1.5))).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// One submit and its answer, both recorded.
pub async fn call(
    story: &Story,
    http: &reqwest::Client,
    url: &str,
    sent: &Submit,
    body: &Value,
) -> (Option<u16>, Value) {
    let call = story.submit(sent);
    let request = http.post(format!("{url}/v1/jobs")).json(body).timeout(ANSWER_TIMEOUT);
    let (status, body) = match request.send().await {
        Ok(response) => (Some(response.status().as_u16()), response.bytes().await.ok()),
        Err(_) => (None, None),
    };
    let body = body.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // A head without its body is no answer.
    let (status, body) = (status.filter(|_| body.is_some()), body.unwrap_or(Value::Null));
    story.submit_answer(call, status, &body);
    (status, body)
}

pub fn pick(nodes: &Nodes, dice: &mut StdRng) -> String {
    let nodes = nodes.lock().unwrap();
    nodes[dice.random_range(0..nodes.len())].clone()
}
