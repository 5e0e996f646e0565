//! What operators do to jobs, queues and types.

use serde_json::json;

use crate::support::daemon::{Footing, Site, wait_for};
use crate::support::wait::until;

on_both_footings! {
    a_waiting_job_is_cancelled_and_never_runs
    a_running_job_is_cancelled_and_its_late_outcome_is_refused
    a_job_in_the_wrong_state_says_so
    a_retried_job_lives_again_and_a_replay_is_a_new_one
    a_paused_type_waits_while_its_neighbours_run
    a_drained_queue_runs_nothing_and_still_accepts
    a_purge_cancels_what_waits_and_leaves_what_runs
}

async fn a_waiting_job_is_cancelled_and_never_runs(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let ran = site.folder().join("ran");
    let line = format!("echo x >> {}", ran.display());
    let id = daemon.submit(json!({"type": "shell", "payload": line, "delay_ms": 700})).await;
    let (status, job) = daemon.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    assert_eq!((status, &job["state"]), (200, &json!("cancelled")));
    // A job that was due later than the cancelled one has run; so the cancelled one had its chance.
    let later = daemon.submit(json!({"type": "noop", "delay_ms": 900})).await;
    daemon.at_rest(&later).await;
    assert!(!ran.exists());
    assert_eq!(daemon.job(&id).await["state"], "cancelled");
}

async fn a_running_job_is_cancelled_and_its_late_outcome_is_refused(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let (ready, stopped) = (site.folder().join("ready"), site.folder().join("stopped"));
    let line = format!(
        "trap 'echo x >> {}; exit 0' TERM; echo x >> {}; while :; do sleep 0.05; done",
        stopped.display(),
        ready.display()
    );
    let id = daemon.submit(json!({"type": "shell", "payload": line})).await;
    daemon.in_state(&id, "running").await;
    // A job runs as soon as it is leased; its shell has to get as far as its trap.
    until("the handler listens to TERM", || async { ready.exists().then_some(()) }).await;
    let (status, job) = daemon.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    assert_eq!((status, &job["state"]), (200, &json!("cancelled")));
    until("the handler was told to stop", || async { stopped.exists().then_some(()) }).await;
    until("no lease is left", || async {
        let queue = daemon.get("/v1/queues/work").await;
        (queue["running"] == 0).then_some(())
    })
    .await;
    assert_eq!(daemon.job(&id).await["state"], "cancelled");
}

async fn a_job_in_the_wrong_state_says_so(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let id = daemon.submit(json!({"type": "noop"})).await;
    daemon.at_rest(&id).await;
    for action in ["cancel", "retry"] {
        let (status, problem) = daemon.post(&format!("/v1/jobs/{id}/{action}"), json!({})).await;
        assert_eq!((status, &problem["code"]), (409, &json!("wrong_state")), "{problem}");
    }
    let waiting = daemon.submit(json!({"type": "noop", "delay_ms": 600_000})).await;
    let (status, problem) = daemon.call("DELETE", &format!("/v1/jobs/{waiting}"), None).await;
    assert_eq!((status, &problem["code"]), (409, &json!("wrong_state")));
    for (method, path) in
        [("GET", "/v1/jobs/nobody"), ("POST", "/v1/jobs/nobody/cancel"), ("POST", "/v1/queues/nobody/pause")]
    {
        let (status, problem) = daemon.call(method, path, (method == "POST").then(|| json!({}))).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{path}: {problem}");
    }
}

async fn a_retried_job_lives_again_and_a_replay_is_a_new_one(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let gate = site.folder().join("gate");
    let line = format!("test -e {}", gate.display());
    let id = daemon.submit(json!({"type": "shell", "payload": line, "id": "phoenix"})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!("exit_1")));
    std::fs::write(&gate, "").unwrap();
    let (status, job) = daemon.post("/v1/jobs/phoenix/retry", json!({})).await;
    assert_eq!((status, &job["attempts"]), (200, &json!(0)), "{job}");
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
    let (status, replayed) = daemon.post("/v1/jobs/phoenix/replay", json!({"payload": "exit 3"})).await;
    assert!([200, 201].contains(&status), "{replayed}");
    assert_eq!(replayed["parent"], "phoenix");
    let job = daemon.at_rest(replayed["id"].as_str().unwrap()).await;
    assert_eq!(job["error"]["class"], "exit_3");
}

async fn a_paused_type_waits_while_its_neighbours_run(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    assert_eq!(daemon.post("/v1/types/noop/pause", json!({"by": "ada", "reason": "why not"})).await.0, 200);
    let held = daemon.submit(json!({"type": "noop"})).await;
    let free = daemon.submit(json!({"type": "echo", "payload": 1})).await;
    daemon.at_rest(&free).await;
    assert_eq!(daemon.job(&held).await["state"], "ready");
    let types = daemon.get("/v1/types").await;
    let noop = types["types"].as_array().unwrap().iter().find(|known| known["name"] == "noop").unwrap().clone();
    assert_eq!(noop["paused"]["by"], "ada");
    assert_eq!(daemon.post("/v1/types/noop/resume", json!({})).await.0, 200);
    assert_eq!(daemon.at_rest(&held).await["state"], "succeeded");
}

async fn a_drained_queue_runs_nothing_and_still_accepts(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let running = daemon.submit(json!({"type": "sleep", "payload": {"ms": 800}})).await;
    daemon.in_state(&running, "running").await;
    let (status, drained) = daemon.post("/v1/queues/work/drain", json!({"wait_s": 30})).await;
    assert_eq!((status, &drained["running"]), (200, &json!(0)), "{drained}");
    assert_eq!(daemon.job(&running).await["state"], "succeeded");
    let waiting = daemon.submit(json!({"type": "noop"})).await;
    assert_eq!(daemon.job(&waiting).await["state"], "ready");
    daemon.post("/v1/queues/work/resume", json!({})).await;
    daemon.at_rest(&waiting).await;
}

async fn a_purge_cancels_what_waits_and_leaves_what_runs(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[pools.work-workers]\nmin = 1\nmax = 1\n").await;
    let gate = site.folder().join("gate");
    let line = wait_for(&gate);
    let running = daemon.submit(json!({"type": "shell", "payload": line})).await;
    daemon.in_state(&running, "running").await;
    let waiting = daemon.submit_many(&json!({"type": "noop"}), 1_200).await;
    let other = daemon.submit(json!({"type": "side_sleep", "payload": {"ms": 1}, "delay_ms": 3_600_000})).await;
    let (status, purged) = daemon.post("/v1/queues/work/purge", json!({})).await;
    assert_eq!((status, &purged["cancelled"]), (200, &json!(1_200)));
    for id in [&waiting[0], &waiting[1_199]] {
        assert_eq!(daemon.job(id).await["state"], "cancelled");
    }
    assert_eq!(daemon.job(&other).await["state"], "scheduled");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(daemon.at_rest(&running).await["state"], "succeeded");
}
