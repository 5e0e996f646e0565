//! Pools that size themselves, and operators who set their bounds.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Footing, Site, ganger, wait_for};
use crate::support::wait::until;

on_both_footings! {
    a_flood_makes_a_pool_grow_to_its_most
    a_floor_is_grown_to_at_once_and_outlives_a_restart
    fewer_workers_interrupt_nobody
}

/// A pool of 2 to 6 that looks often. A machine that is busy with other tests must not hold it back.
const ELASTIC: &str = "[pools.work-workers]\nmin = 2\nmax = 6\nscale_on = ['queue_depth']\n\
                       [scaling]\ntick_ms = 200\nup_period_ms = 1000\ncpu_headroom = 1.0\nmemory_headroom = 1.0\n";

/// Shrinks soon and all at once.
const HASTY: &str = "down_window_ms = 1000\ndown_share = 1.0\ndown_period_ms = 1000\n";

async fn pool(daemon: &Daemon) -> Value {
    daemon.get("/v1/pools/work-workers").await
}

async fn put(daemon: &Daemon, body: Value) -> (u16, Value) {
    daemon.call("PUT", "/v1/pools/work-workers", Some(body)).await
}

/// Waits until the pool wants `size` workers and has them.
async fn sized(daemon: &Daemon, size: u64) -> Value {
    until(&format!("the pool has {size} workers"), || async {
        let pool = pool(daemon).await;
        let there = pool["idle"].as_u64().unwrap() + pool["busy"].as_u64().unwrap();
        (pool["desired"] == size && there == size && pool["draining"] == 0).then_some(pool)
    })
    .await
}

async fn all_succeeded(daemon: &Daemon, ids: &[String]) {
    for id in ids {
        let job = daemon.at_rest(id).await;
        let counts = (&job["attempts"], &job["deliveries"], &job["crashes"], &job["deferrals"]);
        assert_eq!(
            (&job["state"], counts),
            (&json!("succeeded"), (&json!(1), &json!(1), &json!(0), &json!(0))),
            "{job}"
        );
    }
}

async fn a_flood_makes_a_pool_grow_to_its_most(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(ELASTIC).await;
    assert_eq!(sized(&daemon, 2).await["nodes"].as_array().unwrap().len(), 1);
    let gate = site.folder().join("gate");
    let ids = daemon.submit_many(&json!({"type": "shell", "payload": wait_for(&gate)}), 60).await;
    let pool = sized(&daemon, 6).await;
    assert_eq!((&pool["min"], &pool["max"], &pool["override"]), (&json!(2), &json!(6), &Value::Null));
    until("the log says why", || async { daemon.log().contains("jobs wait, 5 a worker aimed at").then_some(()) }).await;
    let decision = until("more is asked for than allowed", || async {
        let decision = self::pool(&daemon).await["nodes"][0]["decision"].take();
        (decision["direction"] == "hold" && decision["limiter"] == "max").then_some(decision)
    })
    .await;
    assert_eq!(decision["metric"], "queue_depth", "{decision}");
    assert!(decision["reason"].as_str().unwrap().ends_with("6 is the most"), "{decision}");
    assert_eq!(decision["proposals"][0]["wants"], 11, "{decision}");
    let node = pool["nodes"][0]["node"].as_str().unwrap();
    let desired = format!("ganger_pool_desired_workers{{pool=\"work-workers\",node=\"{node}\"}}");
    assert_eq!(daemon.metric(&desired).await, 6.0);
    let changes = "ganger_scale_changes_total{pool=\"work-workers\",direction=\"up\",metric=\"queue_depth\"}";
    assert!(daemon.metric(changes).await >= 1.0);
    let held = "ganger_scale_decisions_total{pool=\"work-workers\",direction=\"hold\",limiter=\"max\"}";
    assert!(daemon.metric(held).await >= 1.0);
    std::fs::write(&gate, "").unwrap();
    all_succeeded(&daemon, &ids).await;
}

async fn a_floor_is_grown_to_at_once_and_outlives_a_restart(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start(ELASTIC).await;
    sized(&daemon, 2).await;
    let (status, answer) = put(&daemon, json!({"floor": 5, "max": 8, "ttl_s": 3600, "by": "ada"})).await;
    assert_eq!((status, &answer["max"], &answer["floor"]), (200, &json!(8), &json!(5)), "{answer}");
    assert_eq!(answer["configured"], json!({"min": 2, "max": 6}));
    assert_eq!((&answer["override"]["by"], &answer["override"]["max"]["workers"]), (&json!("ada"), &json!(8)));
    let pool = sized(&daemon, 5).await;
    let reason = pool["nodes"][0]["decision"]["reason"].as_str().unwrap();
    assert!(reason.contains("a floor of 5 holds until"), "{reason}");
    daemon.kill();
    let mut daemon = site.start(ELASTIC).await;
    let pool = sized(&daemon, 5).await;
    assert_eq!((&pool["max"], &pool["floor"]), (&json!(8), &json!(5)));
    // The bounds are lifted; the size that it had is only given up after its window, after one more restart too.
    let (status, answer) = daemon.call("DELETE", "/v1/pools/work-workers", None).await;
    assert_eq!((status, &answer["override"], &answer["floor"]), (200, &Value::Null, &Value::Null), "{answer}");
    daemon.kill();
    let daemon = site.start(ELASTIC).await;
    // A node lists itself first; one that was killed is among the others until it is known to be gone.
    let own = until("a decision is taken on what the broker says", || async {
        let own = self::pool(&daemon).await["nodes"][0].take();
        (own["decision"]["metric"] == "queue_depth").then_some(own)
    })
    .await;
    assert_eq!((&own["desired"], &own["decision"]["limiter"]), (&json!(5), &json!("stabilised")), "{own}");
}

async fn fewer_workers_interrupt_nobody(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(&format!("{ELASTIC}{HASTY}")).await;
    assert_eq!(put(&daemon, json!({"floor": 6})).await.0, 200);
    sized(&daemon, 6).await;
    let gate = site.folder().join("gate");
    let ids = daemon.submit_many(&json!({"type": "shell", "payload": wait_for(&gate)}), 6).await;
    until("all six are busy", || async { (pool(&daemon).await["busy"] == 6).then_some(()) }).await;
    let (status, answer) = put(&daemon, json!({"floor": null, "max": 3})).await;
    assert_eq!((status, &answer["floor"]), (200, &Value::Null), "{answer}");
    until("three are on their way out", || async {
        let pool = self::pool(&daemon).await;
        (pool["draining"] == 3 && pool["busy"] == 3).then_some(())
    })
    .await;
    std::fs::write(&gate, "").unwrap();
    all_succeeded(&daemon, &ids).await;
    // Nothing is left to do, and its window has passed: the fewest remain.
    sized(&daemon, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_burn_makes_a_pool_grow() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site
        .start(
            "[pools.work-workers]\nmin = 1\nmax = 3\nscale_on = ['cpu']\ncpu_request = 0.01\n\
             [scaling]\ntick_ms = 200\ncpu_window_ms = 1000\nwarmup_ms = 0\ncpu_headroom = 1.0\n",
        )
        .await;
    let gate = site.folder().join("gate");
    let line = format!("while test -d {} && ! test -e {}; do :; done", site.folder().display(), gate.display());
    let ids = daemon.submit_many(&json!({"type": "shell", "payload": line}), 3).await;
    let pool = sized(&daemon, 3).await;
    let decision = &pool["nodes"][0]["decision"];
    assert_eq!(decision["metric"], "cpu", "{decision}");
    assert!(daemon.log().contains("cpu is at"));
    std::fs::write(&gate, "").unwrap();
    all_succeeded(&daemon, &ids).await;
}

/// What is set at run time holds, also outside of what is configured.
#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_the_moment_may_lie_outside_of_the_configured_ones() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start(&format!("{ELASTIC}{HASTY}")).await;
    sized(&daemon, 2).await;
    assert_eq!(put(&daemon, json!({"min": 8, "max": 9})).await.0, 200);
    sized(&daemon, 8).await;
    assert_eq!(put(&daemon, json!({"min": 1, "max": 1})).await.0, 200);
    sized(&daemon, 1).await;
    // More workers than are hired in one go.
    assert_eq!(put(&daemon, json!({"min": 250, "max": 250})).await.0, 200);
    sized(&daemon, 250).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_bounds_and_targets() {
    let site = Site::new(Footing::Embedded).await;
    let mut command = site.command(ELASTIC);
    let file = site.folder().join("reloaded.toml");
    std::fs::write(&file, "").unwrap();
    command.arg("--config").arg(&file);
    let daemon = Daemon::spawn(command).await;
    let gate = site.folder().join("gate");
    let ids = daemon.submit_many(&json!({"type": "shell", "payload": wait_for(&gate)}), 30).await;
    // 2 run, 28 wait: at 5 a worker that asks for the most.
    sized(&daemon, 6).await;
    std::fs::write(&file, "[pools.work-workers]\nmax = 9\ntarget_queue_depth = 1\n").unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    let pool = sized(&daemon, 9).await;
    assert_eq!(pool["configured"], json!({"min": 2, "max": 9}));
    until("the new target is in the reason", || async {
        daemon.log().contains("jobs wait, 1 a worker aimed at").then_some(())
    })
    .await;
    std::fs::write(&gate, "").unwrap();
    all_succeeded(&daemon, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_bounds_are_refused_and_unknown_pools_named() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start(ELASTIC).await;
    for (body, field) in [
        (json!({}), "min"),
        (json!({"min": 7}), "min"),
        (json!({"max": 1}), "max"),
        (json!({"min": 5, "max": 4}), "min"),
        (json!({"floor": 7}), "floor"),
        (json!({"floor": 0}), "floor"),
        (json!({"min": -1}), "min"),
        (json!({"max": 10_001}), "max"),
        (json!({"floor": 4, "ttl_s": 0}), "ttl_s"),
        (json!({"floor": 4, "until": "tomorrow"}), "until"),
    ] {
        let (status, problem) = put(&daemon, body.clone()).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 422 && detail.contains(&format!("`{field}`")), "{body}: {status} {problem}");
    }
    assert_eq!(pool(&daemon).await["override"], Value::Null);
    for (method, body) in [("GET", None), ("PUT", Some(json!({"min": 1}))), ("DELETE", None)] {
        let (status, problem) = daemon.call(method, "/v1/pools/nobody", body).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 404 && detail.contains("side-workers, work-workers"), "{method}: {status} {problem}");
    }
    let at = |line: &str| {
        let words: Vec<&str> = line.split(' ').chain(["--server", &daemon.url]).collect();
        ganger(&words)
    };
    let scaled = at("pools scale work-workers --floor 4 --ttl 10m --by ada --reason flood");
    let told = "work-workers has 2 to 6, at least 4 now workers on each node; set at run time: floor 4 until ";
    assert!(scaled.status == Some(0) && scaled.stdout.starts_with(told), "{scaled:?}");
    assert!(scaled.stdout.trim().ends_with(" (by ada: flood)"), "{scaled:?}");
    // What another operator sets beside it leaves hers as it was.
    assert_eq!(at("pools scale work-workers --max 5 --by bob").status, Some(0));
    sized(&daemon, 4).await;
    let listed = at("pools list");
    assert!(listed.status == Some(0) && listed.stdout.contains("a floor of 4 holds until"), "{listed:?}");
    assert!(listed.stdout.contains("max 5 (by bob), floor 4 until "), "{listed:?}");
    assert!(listed.stdout.contains(" (by ada: flood)"), "{listed:?}");
    let reset = at("pools reset work-workers");
    assert_eq!((reset.status, reset.stdout.trim()), (Some(0), "work-workers has 2 to 6 workers on each node"));
    let refused = at("pools scale work-workers --min 7");
    assert!(refused.status == Some(1) && refused.stderr.contains("at most the pool's `max`, 6"), "{refused:?}");
    let unknown = at("pools scale nobody --min 7");
    assert!(unknown.status == Some(1) && unknown.stderr.contains("side-workers, work-workers"), "{unknown:?}");
}
