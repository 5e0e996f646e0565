//! The same submit again: one job, one run, one answer.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::daemon::{Footing, Site};

on_both_footings! {
    two_hundred_concurrent_submits_of_one_key_are_one_job
    a_submit_after_success_returns_the_result_and_runs_nothing
    a_key_can_be_used_again_after_its_job_was_deleted
}

async fn two_hundred_concurrent_submits_of_one_key_are_one_job(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let submit = json!({"type": "echo", "payload": {"b": 1, "a": 2}, "idempotency_key": "order 7"});
    let answers = join_all((0..200).map(|_| daemon.post("/v1/jobs", submit.clone()))).await;
    let created = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(created, 1);
    let id = &answers[0].1["id"];
    assert!(answers.iter().all(|(status, job)| [200, 201].contains(status) && job["id"] == *id), "{answers:?}");
    // Members in another order are the same payload; another value is not.
    let shuffled = json!({"type": "echo", "payload": {"a": 2, "b": 1}, "idempotency_key": "order 7"});
    assert_eq!(daemon.post("/v1/jobs", shuffled).await.0, 200);
    let other = json!({"type": "echo", "payload": {"a": 3}, "idempotency_key": "order 7"});
    let (status, problem) = daemon.post("/v1/jobs", other).await;
    assert_eq!((status, &problem["code"]), (409, &json!("idempotency_conflict")));
    let listed = daemon.get("/v1/jobs").await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
}

async fn a_submit_after_success_returns_the_result_and_runs_nothing(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[result_cache]\nttl_ms = 1000\n").await;
    let ran = site.folder().join("ran");
    let line = format!("echo x >> {}; echo 42", ran.display());
    let submit = json!({"type": "shell", "payload": line, "id": "job:7"});
    let (status, _) = daemon.post("/v1/jobs", submit.clone()).await;
    assert_eq!(status, 201);
    assert_eq!(daemon.at_rest("job:7").await["result"], 42);
    let again = || async {
        let url = format!("{}/v1/jobs", daemon.url);
        let response = daemon.client.post(url).json(&submit).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["idempotency-status"], "cached");
        let job: serde_json::Value = response.json().await.unwrap();
        assert_eq!((&job["id"], &job["result"], &job["state"]), (&json!("job:7"), &json!(42), &json!("succeeded")));
    };
    again().await;
    if footing == Footing::Cluster {
        // The runbook's cached result, until it expires; then the ledger alone answers.
        let key = format!("{}{{work}}:job_result:job:7", site.prefix());
        let mut redis = crate::support::redis::connect(&crate::support::redis::shared_url().await).await.unwrap();
        crate::support::wait::until("the cached result has expired", || {
            let (mut redis, key) = (redis.clone(), key.clone());
            async move {
                let there: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut redis).await.unwrap();
                (!there).then_some(())
            }
        })
        .await;
        let _: () = redis::cmd("PING").exec_async(&mut redis).await.unwrap();
    }
    again().await;
    // What a submit had pushed by mistake would start before a later job, and a drained queue runs nothing any more.
    daemon.submit(json!({"type": "shell", "payload": "true", "id": "job:8"})).await;
    daemon.at_rest("job:8").await;
    assert_eq!(daemon.post("/v1/queues/work/drain", json!({})).await.0, 200);
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\n", "it ran once");
}

async fn a_key_can_be_used_again_after_its_job_was_deleted(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let submit = |payload| json!({"type": "echo", "payload": payload, "id": "again", "idempotency_key": "k"});
    daemon.submit(submit(1)).await;
    assert_eq!(daemon.at_rest("again").await["result"], 1);
    let (status, _) = daemon.call("DELETE", "/v1/jobs/again", None).await;
    assert_eq!(status, 200);
    assert_eq!(daemon.call("GET", "/v1/jobs/again", None).await.0, 404);
    daemon.submit(submit(2)).await;
    assert_eq!(daemon.at_rest("again").await["result"], 2);
}
