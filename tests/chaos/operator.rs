//! An operator with restless fingers.

use std::time::Duration;

use ganger::history::Action;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::clients::{Nodes, pick};
use super::plan::Plan;
use super::story::Story;

/// How long it waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The queue that it pauses and resumes.
const QUEUE: &str = "calm";

/// Acts at random until `stop`; leaves no pause behind.
pub async fn act(plan: Plan, story: Story, nodes: Nodes, http: reqwest::Client, stop: CancellationToken) {
    let mut dice = plan.dice(2);
    while !stop.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(dice.random_range(20..300))).await;
        let url = pick(&nodes, &mut dice);
        let (count, _) = story.accepted(0);
        // Mostly jobs that are still under way.
        let nth = count.saturating_sub(1 + dice.random_range(0..60));
        let action = match dice.random_range(0..20) {
            0..9 => Action::Cancel,
            9..16 => Action::Retry,
            16 => Action::Delete,
            17 | 18 => Action::Pause,
            _ => Action::Resume,
        };
        match (action, story.accepted(nth).1) {
            (Action::Pause | Action::Resume, _) => order_queue(&story, &http, &url, action).await,
            (_, Some(id)) => order_job(&story, &http, &url, action, &id).await,
            (_, None) => None,
        };
    }
}

/// Resumes the queue, until that is answered.
pub async fn leave(story: &Story, http: &reqwest::Client, url: &str) -> bool {
    order_queue(story, http, url, Action::Resume).await == Some(200)
}

/// An order about a job, and its answer, both recorded.
pub async fn order_job(story: &Story, http: &reqwest::Client, url: &str, action: Action, id: &str) -> Option<u16> {
    let call = story.order(action, Some(id), None);
    let request = match action {
        Action::Cancel => http.post(format!("{url}/v1/jobs/{id}/cancel")),
        Action::Retry => http.post(format!("{url}/v1/jobs/{id}/retry")),
        Action::Delete => http.delete(format!("{url}/v1/jobs/{id}")),
        other => panic!("no order about a job: {other:?}"),
    };
    finish(story, call, request).await
}

async fn order_queue(story: &Story, http: &reqwest::Client, url: &str, action: Action) -> Option<u16> {
    let call = story.order(action, None, Some(QUEUE));
    let word = if action == Action::Pause { "pause" } else { "resume" };
    finish(story, call, http.post(format!("{url}/v1/queues/{QUEUE}/{word}"))).await
}

async fn finish(story: &Story, call: u64, request: reqwest::RequestBuilder) -> Option<u16> {
    let answer = request.timeout(ANSWER_TIMEOUT).send().await;
    let status = answer.ok().map(|response| response.status().as_u16());
    story.order_answer(call, status);
    status
}
