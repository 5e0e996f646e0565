//! Loops that no longer turn are found, each by its name; lulls and stores that are away are no wedge.

use std::time::Duration;

use ganger::handler::Ran;
use serde_json::json;

use crate::broker::Wire;
use crate::handlers::does;
use crate::site::{Parts, Site};

/// As long as the daemon lets a service stand still, in looks of a second.
const LOOKS: u32 = 25;

/// A node that is watched, with one job that runs and goes on running.
async fn watched(name: &'static str) -> Site {
    let handler = does(|invocation| async move {
        if invocation.payload.as_ref() == b"\"long\"" {
            invocation.stop.cancelled().await;
        }
        Ran::returned("1")
    });
    let site = Site::start(Parts { timeout_ms: 86_400_000, ..Parts::new(name, 3) }, handler).await;
    site.watch(LOOKS);
    site.submit(vec![json!("long")]).await;
    let ids = site.submit(vec![json!("short"); 10]).await;
    for id in &ids {
        site.at_rest(id).await;
    }
    site
}

/// Waits virtual seconds; answers who was found stuck meanwhile.
async fn stuck_within(site: &Site, seconds: u32) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        found.extend(site.engine.stuck_services());
    }
    found.sort();
    found.dedup();
    found
}

/// A job that is not waited for: the wire may keep it for ever.
async fn submit_for_a_while(site: &Site) {
    tokio::time::timeout(Duration::from_secs(1), site.submit(vec![json!("short")])).await.ok();
}

#[tokio::test(start_paused = true)]
async fn each_loop_that_does_not_come_back_is_named() {
    let loops = [
        ("claim", "pool wedge-claim"),
        ("renew", "lease-renewer"),
        ("reap", "reaper"),
        ("leases", "lease-keeper"),
        ("push", "pusher"),
        ("settle", "settler"),
        ("identity", "session"),
    ];
    for (call, service) in loops {
        let site = watched(Box::leak(format!("wedge-{call}").into_boxed_str())).await;
        assert_eq!(stuck_within(&site, 2 * LOOKS).await, [""; 0], "{call}: nothing is wrong yet");
        site.broker.set(Wire::Hangs(call));
        submit_for_a_while(&site).await;
        site.until(service, |site| site.engine.stuck_services() == [service]).await;
        site.broker.set(Wire::Whole);
        site.until("it moves again", |site| site.engine.stuck_services().is_empty()).await;
        site.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_committer_and_a_heartbeat_that_do_not_come_back_are_named() {
    for (call, service) in [("commit", "committer-1"), ("heartbeat", "heartbeat")] {
        let site = watched(Box::leak(format!("wedge-{call}").into_boxed_str())).await;
        assert_eq!(stuck_within(&site, 2 * LOOKS).await, [""; 0], "{call}: nothing is wrong yet");
        site.ledger.hang(Some(call));
        submit_for_a_while(&site).await;
        site.until(service, |site| site.engine.stuck_services() == [service]).await;
        site.ledger.hang(None);
        site.until("it moves again", |site| site.engine.stuck_services().is_empty()).await;
        site.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn stores_that_are_away_are_no_wedge() {
    let site = watched("outage").await;
    // Half an hour of a broker that takes a call and does not answer it, then of a ledger that is away as well.
    site.broker.set(Wire::Silent(Duration::from_secs(6)));
    submit_for_a_while(&site).await;
    assert_eq!(stuck_within(&site, 1_800).await, [""; 0]);
    site.ledger.cut(true);
    assert_eq!(stuck_within(&site, 1_800).await, [""; 0]);
    site.broker.set(Wire::Whole);
    assert_eq!(stuck_within(&site, 1_800).await, [""; 0]);
    site.ledger.cut(false);
    let ids = site.submit(vec![json!("short"); 10]).await;
    for id in &ids {
        site.at_rest(id).await;
    }
    assert_eq!(stuck_within(&site, 60).await, [""; 0]);
    site.stop().await;
}
