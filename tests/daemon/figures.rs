//! What an alert needs and nothing else shows: promises kept, room on the disk, connections in use.

use serde_json::json;

use crate::support::daemon::{Footing, Site};
use crate::support::wait::until;

on_both_footings! {
    jobs_are_counted_by_whether_they_kept_their_sla
    the_store_shows_what_it_has_left
}

const TYPES: &str = r#"
[job_types.in_time]
queue = "work"
sla_ms = 600000
[job_types.in_time.handler]
kind = "builtin"
name = "noop"

[job_types.too_late]
queue = "work"
sla_ms = 1
[job_types.too_late.handler]
kind = "builtin"
name = "sleep"

[job_types.never_started]
queue = "side"
sla_ms = 1
on_late = "expire"
[job_types.never_started.handler]
kind = "builtin"
name = "noop"
"#;

async fn jobs_are_counted_by_whether_they_kept_their_sla(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(TYPES).await;
    let (_, paused) = daemon.post("/v1/queues/side/pause", json!({})).await;
    assert_eq!(paused["name"], "side", "{paused}");
    let late = daemon.submit(json!({ "type": "too_late", "payload": { "ms": 50 } })).await;
    let expired = daemon.submit(json!({ "type": "never_started" })).await;
    let kept = daemon.submit(json!({ "type": "in_time" })).await;
    // An operator's word says nothing of promises.
    let cancelled = daemon.submit(json!({ "type": "in_time", "delay_ms": 60_000 })).await;
    assert_eq!(daemon.post(&format!("/v1/jobs/{cancelled}/cancel"), json!({})).await.0, 200);
    let free = daemon.submit(json!({ "type": "noop" })).await;
    for id in [&late, &expired, &kept, &free] {
        daemon.at_rest(id).await;
    }
    let series = |queue: &str, name: &str, result: &str| {
        format!("ganger_sla_jobs_total{{queue=\"{queue}\",type=\"{name}\",result=\"{result}\"}}")
    };
    for (queue, name, met, missed) in
        [("work", "in_time", 1.0, 0.0), ("work", "too_late", 0.0, 1.0), ("side", "never_started", 0.0, 1.0)]
    {
        let (is_met, is_missed) = (series(queue, name, "met"), series(queue, name, "missed"));
        let counted = until("the jobs are counted", || async {
            let counted = (daemon.metric(&is_met).await, daemon.metric(&is_missed).await);
            (counted != (0.0, 0.0)).then_some(counted)
        });
        assert_eq!(counted.await, (met, missed), "{name}");
    }
    let text = daemon.get("/metrics").await;
    assert!(!text.as_str().unwrap().contains("ganger_sla_jobs_total{queue=\"work\",type=\"noop\""), "it has no SLA");
}

async fn the_store_shows_what_it_has_left(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let present = if footing == Footing::Embedded {
        "ganger_ledger_disk_free_ratio"
    } else {
        "ganger_ledger_connections{state=\"free\"}"
    };
    let left = until("the sampler has looked", || async {
        let left = daemon.metric(present).await;
        (left > 0.0).then_some(left)
    });
    let left = left.await;
    assert_eq!((daemon.metric("ganger_ledger_up").await, daemon.metric("ganger_broker_up").await), (1.0, 1.0));
    let text = daemon.get("/metrics").await;
    let has = |name: &str| text.as_str().unwrap().lines().any(|line| line.starts_with(name));
    match footing {
        Footing::Embedded => {
            assert!(left <= 1.0, "{left}");
            assert!(!has("ganger_ledger_connections") && !has("ganger_ledger_calls_waiting"));
        }
        Footing::Cluster => {
            assert!(has("ganger_ledger_connections{state=\"busy\"}") && has("ganger_ledger_calls_waiting 0"));
            assert!(!has("ganger_ledger_disk_free_ratio "));
        }
    }
}
