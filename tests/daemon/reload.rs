//! A changed configuration, taken over while running.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::until;

on_both_footings! {
    sighup_takes_new_types_over_and_keeps_the_old_ones_when_the_file_is_bad
    jobs_of_a_queue_that_is_configured_no_more_say_so
}

/// A queue with a type and nobody who works on it.
const FRESH: &str = "[queues.fresh]\n[job_types.fresh]\nqueue = \"fresh\"\n\
                     [job_types.fresh.handler]\nkind = \"builtin\"\nname = \"echo\"\n";

async fn sighup_takes_new_types_over_and_keeps_the_old_ones_when_the_file_is_bad(footing: Footing) {
    let site = Site::new(footing).await;
    let path = site.folder().join("live.toml");
    std::fs::write(&path, "").unwrap();
    let mut command = site.command("");
    command.arg("--config").arg(&path);
    let daemon = Daemon::spawn(command).await;
    assert_eq!(daemon.post("/v1/jobs", json!({"type": "fresh"})).await.0, 422);
    let fresh = format!("{FRESH}[pools.fresh-workers]\nqueue = \"fresh\"\n");
    std::fs::write(&path, &fresh).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the new type is known", || async {
        (daemon.call("GET", "/v1/types/fresh", None).await.0 == 200).then_some(())
    })
    .await;
    let id = daemon.submit(json!({"type": "fresh", "payload": 5})).await;
    assert_eq!(daemon.at_rest(&id).await["result"], 5);
    until("the reload is told", || async { daemon.log().contains("nothing else differs").then_some(()) }).await;
    std::fs::write(&path, format!("{fresh}[retention]\nmax_jobs = 7\n")).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the log names what waits for a restart", || async {
        daemon.log().contains("only a restart applies what else has changed: retention.max_jobs").then_some(())
    })
    .await;
    let outcome = |outcome: &str| format!("ganger_config_reloads_total{{outcome=\"{outcome}\"}}");
    assert_eq!((daemon.metric(&outcome("applied")).await, daemon.metric(&outcome("refused")).await), (2.0, 0.0));
    let taken_over = daemon.metric("ganger_config_last_success_timestamp_seconds").await;
    std::fs::write(&path, "[queues.fresh]\nprioritys = 3\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the log names the key", || async { daemon.log().contains("prioritys").then_some(()) }).await;
    assert_eq!((daemon.metric(&outcome("applied")).await, daemon.metric(&outcome("refused")).await), (2.0, 1.0));
    assert_eq!(daemon.metric("ganger_config_last_success_timestamp_seconds").await, taken_over);
    let id = daemon.submit(json!({"type": "fresh", "payload": 6})).await;
    assert_eq!(daemon.at_rest(&id).await["result"], 6);
}

async fn jobs_of_a_queue_that_is_configured_no_more_say_so(footing: Footing) {
    let site = Site::new(footing).await;
    let path = site.folder().join("live.toml");
    std::fs::write(&path, FRESH).unwrap();
    let mut command = site.command("");
    command.arg("--config").arg(&path);
    let mut daemon = Daemon::spawn(command).await;
    let ids = daemon.submit_many(&json!({"type": "fresh", "payload": 5}), 2).await;
    std::fs::write(&path, "").unwrap();
    daemon.signal(Signal::SIGHUP);
    until("it counts what it leaves behind", || async {
        daemon.log().contains("Queue fresh is no longer configured: its 2 live jobs").then_some(())
    })
    .await;
    until("it is taken over", || async { daemon.log().contains("Reloaded").then_some(()) }).await;
    let why = daemon.get(&format!("/v1/jobs/{}/why", ids[0])).await;
    assert_eq!((&why["state"], &why["reasons"][0]["code"]), (&json!("ready"), &json!("unknown_queue")), "{why}");
    daemon.kill();
    let daemon = site.start("").await;
    if footing == Footing::Embedded {
        // Redis is not rebuilt at a start that finds it whole, so nobody counts there.
        until("it counts what waits", || async {
            daemon.log().contains("Queue fresh is not configured: 2 live jobs").then_some(())
        })
        .await;
    }
    until("why says so", || async {
        let why = daemon.get(&format!("/v1/jobs/{}/why", ids[1])).await;
        (why["reasons"][0]["code"] == "unknown_queue" && why["starts_at"].is_null()).then_some(())
    })
    .await;
    let ready = daemon.get("/readyz").await;
    assert_eq!(ready["broker"], "ok", "asking for such a job does not close the broker: {ready}");
}
