//! Leaving in order.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::support::daemon::{Footing, Site, wait_for};
use crate::support::wait::until;

on_both_footings! {
    sigterm_lets_short_jobs_finish_and_gives_long_ones_back_unspent
    a_stopping_node_accepts_nothing_and_still_answers
    a_second_signal_leaves_at_once
}

async fn sigterm_lets_short_jobs_finish_and_gives_long_ones_back_unspent(footing: Footing) {
    let site = Site::new(footing).await;
    let soft = "[shutdown]\nsoft_ms = 2000\n[job_types.shell]\nqueue = \"side\"\n";
    let mut daemon = site.start(soft).await;
    let ran = site.folder().join("ran");
    let gate = site.folder().join("gate");
    let line = |n: usize| format!("echo {n} >> {}; {}", ran.display(), wait_for(&gate));
    let mut long = Vec::new();
    for n in 0..2 {
        long.push(daemon.submit(json!({"type": "shell", "payload": line(n)})).await);
    }
    for id in &long {
        daemon.in_state(id, "running").await;
    }
    let short = daemon.submit_many(&json!({"type": "sleep", "payload": {"ms": 20}}), 400).await;
    daemon.at_rest(&short[0]).await;
    let told = Instant::now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(0), "{}", daemon.log());
    let took = told.elapsed();
    println!("left after {took:?}, soft limit 2 s");
    assert!(took >= Duration::from_millis(1_000), "running jobs were given time to finish: {took:?}");

    std::fs::write(&gate, "").unwrap();
    let daemon = site.start("[job_types.shell]\nqueue = \"side\"\n").await;
    for id in &short {
        let job = daemon.at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
        assert_eq!(job["history"].as_array().unwrap().len(), 1, "{job}");
    }
    for id in &long {
        let job = daemon.at_rest(id).await;
        assert_eq!(
            (&job["state"], &job["attempts"], &job["crashes"]),
            (&json!("succeeded"), &json!(1), &json!(0)),
            "{job}"
        );
    }
}

async fn a_stopping_node_accepts_nothing_and_still_answers(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start("[shutdown]\nsoft_ms = 30000\n").await;
    let gate = site.folder().join("gate");
    let line = wait_for(&gate);
    let id = daemon.submit(json!({"type": "shell", "payload": line})).await;
    daemon.in_state(&id, "running").await;
    daemon.signal(Signal::SIGTERM);
    until("it says that it is stopping", || async {
        (daemon.call("GET", "/readyz", None).await.0 == 503).then_some(())
    })
    .await;
    let (status, problem) = daemon.post("/v1/jobs", json!({"type": "noop"})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("stopping")));
    assert_eq!(daemon.call("GET", "/livez", None).await.0, 200);
    assert_eq!(daemon.job(&id).await["state"], "running");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(daemon.ended().await, Some(0));
}

async fn a_second_signal_leaves_at_once(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start("[shutdown]\nsoft_ms = 600000\n").await;
    let id = daemon.submit(json!({"type": "sleep", "payload": {"ms": 600_000}, "timeout_ms": 600_000})).await;
    daemon.in_state(&id, "running").await;
    daemon.signal(Signal::SIGTERM);
    until("it drains", || async { (daemon.call("GET", "/readyz", None).await.0 == 503).then_some(()) }).await;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(1));
}
