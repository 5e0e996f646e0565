//! The runbook's retry policies, and what happens when they are spent.

use serde_json::{Value, json};

use crate::support::daemon::{Footing, Site};

on_both_footings! {
    the_runbooks_policies_retry_as_written
    a_failure_that_heals_succeeds_and_keeps_its_history
    three_crashes_are_poison_and_cost_no_attempt
}

/// The runbook's three policies over a handler that fails with the class it is given.
fn runbook_types() -> String {
    let base = |name: &str, retry: &str| {
        format!(
            "[job_types.{name}]\nqueue = \"work\"\n[job_types.{name}.handler]\nkind = \"builtin\"\nname = \"fail\"\n[job_types.{name}.retry]\njitter = \"none\"\n{retry}\n"
        )
    };
    base(
        "test_execution",
        "max_retries = 2\nbackoff_strategy = \"linear\"\nbase_delay_ms = 5000\nretry_on_errors = [\"browser_crash\", \"network_timeout\"]\nno_retry_errors = [\"element_not_found\", \"assertion_failure\"]",
    ) + &base(
        "element_healing",
        "max_retries = 1\nbackoff_strategy = \"immediate\"\nretry_on_errors = [\"dom_analysis_timeout\"]\nescalate_on_failure = \"manual_review_queue\"",
    )
}

/// Milliseconds between the end of each run and the start of the next.
fn gaps(job: &Value) -> Vec<i64> {
    let at = |run: &Value, field: &str| chrono::DateTime::parse_from_rfc3339(run[field].as_str().unwrap()).unwrap();
    let runs = job["history"].as_array().unwrap();
    runs.windows(2).map(|pair| (at(&pair[1], "started_at") - at(&pair[0], "finished_at")).num_milliseconds()).collect()
}

async fn the_runbooks_policies_retry_as_written(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(&runbook_types()).await;
    let submit = |job_type: &str, class: &str| json!({"type": job_type, "payload": {"class": class}});
    let missing = daemon.submit(submit("test_execution", "element_not_found")).await;
    let crash = daemon.submit(submit("test_execution", "browser_crash")).await;
    let healing = daemon.submit(submit("element_healing", "dom_analysis_timeout")).await;

    let job = daemon.at_rest(&missing).await;
    assert_eq!((&job["state"], &job["attempts"], &job["max_attempts"]), (&json!("failed"), &json!(1), &json!(3)));
    assert_eq!(job["error"]["class"], "element_not_found");

    let job = daemon.at_rest(&healing).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("in_review"), &json!(2)));
    assert!(gaps(&job)[0] < 5_000, "at once: {:?}", gaps(&job));

    let job = daemon.at_rest(&crash).await;
    assert_eq!((&job["state"], &job["attempts"], &job["crashes"]), (&json!("failed"), &json!(3), &json!(0)));
    let gaps = gaps(&job);
    assert!(gaps[0] >= 5_000 && gaps[1] >= 10_000, "{gaps:?}");
    let outcomes: Vec<&Value> = job["history"].as_array().unwrap().iter().map(|run| &run["outcome"]).collect();
    assert_eq!(outcomes, ["retrying", "retrying", "failed"]);
}

async fn a_failure_that_heals_succeeds_and_keeps_its_history(footing: Footing) {
    let site = Site::new(footing).await;
    let retry = "[job_types.flaky]\nqueue = \"work\"\n[job_types.flaky.handler]\nkind = \"builtin\"\nname = \"fail\"\n[job_types.flaky.retry]\nbase_delay_ms = 50\n";
    let daemon = site.start(retry).await;
    let id = daemon.submit(json!({"type": "flaky", "payload": {"class": "temporary_failure", "times": 2}})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["attempts"], &job["error"]), (&json!("succeeded"), &json!(3), &Value::Null));
    assert_eq!(job["history"][1]["error"]["class"], "temporary_failure");
    assert_eq!(job["history"].as_array().unwrap().len(), 3);
}

async fn three_crashes_are_poison_and_cost_no_attempt(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let id = daemon.submit(json!({"type": "shell", "payload": "kill -9 $$"})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("in_review"), &json!("poison")));
    assert_eq!((&job["crashes"], &job["attempts"]), (&json!(3), &json!(0)));
    // A person may give it another life.
    let (status, job) = daemon.post(&format!("/v1/jobs/{id}/retry"), json!({})).await;
    assert_eq!(status, 200, "{job}");
    assert_eq!(daemon.at_rest(&id).await["crashes"], 3);
}
