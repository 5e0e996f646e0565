//! Nodes that die and nodes that stand still.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::support::daemon::{Footing, Site, wait_for};
use crate::support::wait::until;

/// The lease of the tests' configuration, in seconds.
const LEASE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_killed_node_run_again_on_another() {
    let site = Site::new(Footing::Cluster).await;
    let mut first = site.start("").await;
    let started = site.folder().join("started");
    let gate = site.folder().join("gate");
    let line = format!("echo x >> {}; {}", started.display(), wait_for(&gate));
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(first.submit(json!({"type": "shell", "payload": line})).await);
    }
    for id in &ids {
        first.in_state(id, "running").await;
    }
    let starts = || std::fs::read_to_string(&started).unwrap_or_default().lines().count();
    until("all four have started", || async { (starts() == 4).then_some(()) }).await;
    let second = site.start("").await;
    let killed = Instant::now();
    first.kill();
    until("all four run again", || async { (starts() == 8).then_some(()) }).await;
    println!("running again {:?} after the kill, lease {LEASE:?}", killed.elapsed());
    std::fs::write(&gate, "").unwrap();
    for id in &ids {
        let job = second.at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
        assert_eq!(job["deliveries"], 2, "{job}");
        assert_eq!(job["crashes"].as_i64().unwrap() + job["deferrals"].as_i64().unwrap(), 1, "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_results_of_a_node_that_stood_still_are_refused_and_counted() {
    let site = Site::new(Footing::Cluster).await;
    let first = site.start("").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(first.submit(json!({"type": "sleep", "payload": {"ms": 1500}})).await);
    }
    for id in &ids {
        first.in_state(id, "running").await;
    }
    let second = site.start("").await;
    first.signal(Signal::SIGSTOP);
    for id in &ids {
        let job = second.at_rest(id).await;
        assert_eq!((&job["state"], &job["deliveries"]), (&json!("succeeded"), &json!(2)), "{job}");
    }
    let before: Vec<_> = futures_util::future::join_all(ids.iter().map(|id| second.job(id))).await;
    first.signal(Signal::SIGCONT);
    // The first node's own view of each run ends: by a refused result, or by a lease it finds lost.
    until("the late results are refused", || async {
        let stale = first.metric("ganger_stale_results_total{queue=\"work\"}").await;
        let lost = first.metric("ganger_leases_lost_total{queue=\"work\"}").await;
        (stale + lost >= 4.0).then_some(())
    })
    .await;
    for (id, before) in ids.iter().zip(before) {
        assert_eq!(second.job(id).await, before, "one outcome, and it does not change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_daemon_takes_up_its_jobs_after_a_kill() {
    let site = Site::new(Footing::Embedded).await;
    let mut daemon = site.start("").await;
    let running = daemon.submit(json!({"type": "sleep", "payload": {"ms": 600_000}, "timeout_ms": 600_000})).await;
    daemon.in_state(&running, "running").await;
    let ids = daemon.submit_many(&json!({"type": "sleep", "payload": {"ms": 5}}), 300).await;
    daemon.kill();
    let daemon = site.start("").await;
    for id in &ids {
        let job = daemon.at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)));
    }
    daemon.in_state(&running, "running").await;
}
