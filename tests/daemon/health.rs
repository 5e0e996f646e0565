//! The runbook's five checks, and what must not turn them.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Footing, Site, ganger};
use crate::support::wait::until;

/// Checks ten times a second.
const OFTEN: &str = "[health]\ncheck_ms = 100\n";

async fn health(daemon: &Daemon) -> (u16, Value) {
    daemon.call("GET", "/health", None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_make_a_node_unhealthy_and_failures_do_not() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start(OFTEN).await;
    let (status, well) = health(&daemon).await;
    assert_eq!((status, &well["status"]), (200, &json!("healthy")), "{well}");
    let checks = [
        "memory_usage",
        "queue_connectivity",
        "mcp_server_connectivity",
        "database_connectivity",
        "execution_success_rate",
    ];
    assert_eq!(
        well["checks"],
        json!(checks.map(|check| (check, true)).into_iter().collect::<std::collections::BTreeMap<_, _>>())
    );
    assert!(well["memory"].as_f64().is_some_and(|share| share > 0.0 && share < 1.0), "{well}");

    // What handlers report is no sample at all.
    let failing = daemon.submit_many(&json!({"type": "shell", "payload": "exit 3"}), 40).await;
    for id in &failing {
        assert_eq!(daemon.at_rest(id).await["state"], "failed");
    }
    let (status, well) = health(&daemon).await;
    assert_eq!((status, &well["samples"]), (200, &json!(0)), "{well}");

    // Ten jobs that crash three times each.
    let crashing = daemon.submit_many(&json!({"type": "shell", "payload": "kill -9 $$"}), 10).await;
    for id in &crashing {
        assert_eq!(daemon.at_rest(id).await["state"], "in_review");
    }
    let sick = until("the node is unhealthy", || async {
        let (status, sick) = health(&daemon).await;
        (status == 503).then_some(sick)
    })
    .await;
    assert_eq!(sick["checks"]["execution_success_rate"], false, "{sick}");
    assert_eq!((&sick["checks"]["database_connectivity"], &sick["samples"]), (&json!(true), &json!(30)), "{sick}");
    assert_eq!((daemon.call("GET", "/livez", None).await.0, daemon.call("GET", "/readyz", None).await.0), (200, 200));
    let asked = ganger(&["health", "--server", &daemon.url]);
    assert_eq!((asked.status, asked.stdout.trim()), (Some(1), "unhealthy: execution_success_rate"));
    assert_eq!(ganger(&["health", "--live", "--server", &daemon.url]).status, Some(0));
    // All crash alike: the cause is shared, and no worker is blamed.
    let series = "ganger_worker_replacements_total{pool=\"work-workers\",reason=\"success_rate\"}";
    assert_eq!(daemon.metric(series).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_over_its_pools_limit_is_killed_and_its_worker_replaced() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start(&format!("{OFTEN}[pools.work-workers]\nworker_memory_bytes = 33554432\n")).await;
    let flag = site.folder().join("leaked");
    let line = format!(
        "test -e {0} && exit 0; touch {0}; leak=$(head -c 48000000 /dev/zero | tr -c x x); while test -e {0}; do sleep 0.1; done",
        flag.display()
    );
    let id = daemon.submit(json!({"type": "shell", "payload": line})).await;
    let job = daemon.at_rest(&id).await;
    let told = (&job["state"], &job["attempts"], &job["crashes"]);
    assert_eq!(told, (&json!("succeeded"), &json!(1), &json!(1)), "{job}");
    let series = "ganger_worker_replacements_total{pool=\"work-workers\",reason=\"memory\"}";
    assert_eq!(daemon.metric(series).await, 1.0);
    assert!(daemon.log().contains("of 33554432 bytes of memory"), "{}", daemon.log());
}
