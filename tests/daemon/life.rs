//! A job from submit to rest, as its client sees it.

use serde_json::{Value, json};

use crate::support::daemon::{Footing, Site, wait_for};
use crate::support::wait::until;

on_both_footings! {
    a_job_runs_and_shows_what_the_contract_says
    urgent_jobs_run_first_and_nobody_starves
    a_scheduled_job_waits_for_its_time
    pages_list_every_job_once_newest_first
    a_late_job_expires_or_escalates_and_never_runs
    metrics_count_what_happened_and_start_at_zero
    jobs_survive_a_restart
}

async fn a_job_runs_and_shows_what_the_contract_says(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let submit = json!({"type": "echo", "payload": {"a": [1, 2.5, "ü"]}, "priority": "high",
        "labels": {"environment": "staging"}});
    let response = daemon.client.post(format!("{}/v1/jobs", daemon.url)).json(&submit).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let accepted: Value = response.json().await.unwrap();
    assert_eq!(location, format!("/v1/jobs/{}", accepted["id"].as_str().unwrap()));
    let job = daemon.at_rest(accepted["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded");
    assert_eq!(job["result"], json!({"a": [1, 2.5, "ü"]}));
    assert_eq!(job["priority"], 2);
    assert_eq!(job["labels"], json!({"environment": "staging"}));
    assert_eq!(
        (&job["attempts"], &job["deliveries"], &job["crashes"], &job["deferrals"]),
        (&json!(1), &json!(1), &json!(0), &json!(0))
    );
    assert!(job["fence"].as_i64().unwrap() > 1 << 32);
    assert!(job["wait_ms"].is_u64() && job["run_ms"].is_u64());
    let run = &job["history"][0];
    assert_eq!((&run["attempt"], &run["outcome"], &run["error"]), (&json!(1), &json!("succeeded"), &Value::Null));
    assert!(run["worker"].as_str().unwrap().starts_with("work-worker-"), "{run}");
}

/// One worker, held up while jobs of every priority gather behind it.
async fn urgent_jobs_run_first_and_nobody_starves(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[pools.work-workers]\nmin = 1\nmax = 1\n").await;
    let order = site.folder().join("order");
    let gate = site.folder().join("gate");
    let hold = wait_for(&gate);
    let held = daemon.submit(json!({"type": "shell", "payload": hold})).await;
    daemon.in_state(&held, "running").await;
    let mut ids = Vec::new();
    for priority in [5, 4, 3, 2, 1, 3] {
        let line = format!("echo {priority} >> {}", order.display());
        ids.push(daemon.submit(json!({"type": "shell", "payload": line, "priority": priority})).await);
    }
    std::fs::write(&gate, "").unwrap();
    for id in &ids {
        assert_eq!(daemon.at_rest(id).await["state"], "succeeded");
    }
    let ran = std::fs::read_to_string(&order).unwrap();
    assert_eq!(ran.split_whitespace().collect::<Vec<_>>(), ["1", "2", "3", "3", "4", "5"]);
}

async fn a_scheduled_job_waits_for_its_time(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let id = daemon.submit(json!({"type": "noop", "delay_ms": 1500})).await;
    let job = daemon.job(&id).await;
    assert_eq!(job["state"], "scheduled");
    let due = chrono::DateTime::parse_from_rfc3339(job["run_at"].as_str().unwrap()).unwrap();
    let job = daemon.at_rest(&id).await;
    let started = chrono::DateTime::parse_from_rfc3339(job["started_at"].as_str().unwrap()).unwrap();
    // The broker's clock decides what is due; on one machine it is the same clock.
    assert!((started - due).num_milliseconds() >= -5, "started {started}, due {due}");
    let past = daemon.submit(json!({"type": "noop", "run_at": "2001-01-01T00:00:00Z"})).await;
    assert_eq!(daemon.at_rest(&past).await["state"], "succeeded");
}

async fn pages_list_every_job_once_newest_first(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let mut ids = daemon.submit_many(&json!({"type": "noop", "labels": {"suite": "pages"}}), 250).await;
    for id in &ids {
        daemon.at_rest(id).await;
    }
    ids.push(daemon.submit(json!({"type": "noop", "delay_ms": 3_600_000, "labels": {"suite": "pages"}})).await);
    let mut seen = Vec::new();
    let mut path = "/v1/jobs?label.suite=pages&limit=100".to_owned();
    loop {
        let page = daemon.get(&path).await;
        seen.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/jobs?label.suite=pages&limit=100&cursor={cursor}"),
            None => break,
        }
    }
    ids.reverse();
    assert_eq!(seen, ids);
    let scheduled = daemon.get("/v1/jobs?state=scheduled").await;
    assert_eq!(scheduled["jobs"].as_array().unwrap().len(), 1);
    let none = daemon.get("/v1/jobs?type=sleep").await;
    assert_eq!(none["jobs"], json!([]));
}

async fn a_late_job_expires_or_escalates_and_never_runs(footing: Footing) {
    let site = Site::new(footing).await;
    let late = |name: &str, on_late: &str| {
        format!(
            "[job_types.{name}]\nqueue = \"side\"\nsla_ms = 300\non_late = \"{on_late}\"\n[job_types.{name}.handler]\nkind = \"builtin\"\nname = \"noop\"\n"
        )
    };
    let daemon = site.start(&(late("expiring", "expire") + &late("escalating", "escalate"))).await;
    let (status, _) = daemon.post("/v1/queues/side/pause", json!({"reason": "to be late"})).await;
    assert_eq!(status, 200);
    let expiring = daemon.submit(json!({"type": "expiring"})).await;
    let escalating = daemon.submit(json!({"type": "escalating"})).await;
    let expired = daemon.at_rest(&expiring).await;
    assert_eq!((&expired["state"], &expired["attempts"]), (&json!("expired"), &json!(0)));
    let escalated = daemon.at_rest(&escalating).await;
    assert_eq!((&escalated["state"], &escalated["error"]["class"]), (&json!("in_review"), &json!("late")));
    daemon.post("/v1/queues/side/resume", json!({})).await;
    let later = daemon.submit(json!({"type": "expiring"})).await;
    assert_eq!(daemon.at_rest(&later).await["state"], "succeeded");
    assert_eq!(daemon.job(&expiring).await["attempts"], 0);
}

async fn metrics_count_what_happened_and_start_at_zero(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let text = daemon.client.get(format!("{}/metrics", daemon.url)).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("ganger_stale_results_total{queue=\"work\"} 0"), "{text}");
    for id in daemon.submit_many(&json!({"type": "noop"}), 20).await {
        daemon.at_rest(&id).await;
    }
    let finished = "ganger_jobs_finished_total{queue=\"work\",type=\"noop\",outcome=\"succeeded\"}";
    until("the metric says 20", || async { (daemon.metric(finished).await == 20.0).then_some(()) }).await;
    let held = daemon.submit(json!({"type": "noop", "delay_ms": 600_000, "priority": "low"})).await;
    daemon.post("/v1/queues/work/pause", json!({})).await;
    daemon.submit(json!({"type": "noop", "priority": "low"})).await;
    until("the depth is shown", || async {
        let depth = daemon.metric("queue_depth{queue=\"work\",priority=\"low\"}").await;
        let later = daemon.metric("ganger_queue_jobs{queue=\"work\",state=\"later\"}").await;
        let p95 = daemon.metric("wait_time_p95{queue=\"work\"}").await;
        (depth == 1.0 && later == 1.0 && p95 > 0.0).then_some(())
    })
    .await;
    let text = daemon.client.get(format!("{}/metrics", daemon.url)).send().await.unwrap().text().await.unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let known = ganger::telemetry::metrics::CATALOG.iter().any(|known| known.name == name || known.name == base);
        assert!(known, "{name} is not in the catalogue");
        assert!(!line.contains(&held), "a label names a job: {line}");
    }
}

async fn jobs_survive_a_restart(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start("").await;
    daemon.post("/v1/queues/work/pause", json!({"by": "ada", "reason": "upgrade"})).await;
    let ids = daemon.submit_many(&json!({"type": "echo", "payload": "x"}), 50).await;
    daemon.kill();
    let daemon = site.start("").await;
    let queue = daemon.get("/v1/queues/work").await;
    assert_eq!((&queue["paused"]["by"], &queue["paused"]["reason"]), (&json!("ada"), &json!("upgrade")));
    let job = daemon.job(&ids[0]).await;
    assert_eq!(job["state"], "ready");
    let (status, _) = daemon.post("/v1/queues/work/resume", json!({})).await;
    assert_eq!(status, 200);
    for id in &ids {
        assert_eq!(daemon.at_rest(id).await["result"], "x");
    }
}
