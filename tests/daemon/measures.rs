//! Business measures: from what is observed to the runbook's series, across restarts and on all nodes.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Footing, Site, ganger};
use crate::support::wait::until;

on_both_footings! {
    what_handlers_and_callers_observe_becomes_the_runbooks_series
    bad_observations_are_refused_whole_from_callers_and_left_out_from_handlers
    labels_beyond_the_most_are_other
    figures_outlive_a_kill
    figures_outlive_an_orderly_restart_to_the_last_sample
}

/// Types that observe, tests that pass or fail by their payload, and healing jobs that go to a person.
const TYPES: &str = r#"
[job_types.heal]
queue = "work"
[job_types.heal.handler]
kind = "command"
program = "sh"
args = ["-c", '''cat > /dev/null; echo '{"page": 1, "ganger": {"observations": [
    {"kind": "cache_lookup", "cache_level": "l1", "hit": true},
    {"kind": "cache_lookup", "cache_level": "l2", "hit": false},
    {"kind": "policy_evaluation", "policy": "seating_selection", "duration_ms": 1.2},
    {"kind": "healing", "strategy": "semantic_match", "healed": true, "confidence": 0.9}]}}' ''']

[job_types.heal_in_vain]
queue = "work"
[job_types.heal_in_vain.retry]
max_retries = 0
[job_types.heal_in_vain.handler]
kind = "command"
program = "sh"
args = ["-c", '''cat > /dev/null; echo '{"ganger": {"observations": [
    {"kind": "healing", "strategy": "semantic_match", "healed": false, "confidence": 0.3}]}}'; exit 3''']

[job_types.observe_badly]
queue = "work"
[job_types.observe_badly.handler]
kind = "command"
program = "sh"
args = ["-c", '''cat > /dev/null; echo '{"ganger": {"observations": [
    {"kind": "cache_lookup", "cache_level": "l1", "hit": true},
    {"kind": "cache_lookup", "cache_level": "l1", "hit": "yes"}, {"kind": "mood"}, 7]}}' ''']

[job_types.test_execution]
queue = "work"
[job_types.test_execution.retry]
max_retries = 0
[job_types.test_execution.handler]
kind = "command"
program = "sh"
args = ["-c", "grep -q pass"]

[job_types.element_healing]
queue = "work"
[job_types.element_healing.retry]
max_retries = 0
escalate_on_failure = "manual_review_queue"
[job_types.element_healing.handler]
kind = "command"
program = "sh"
args = ["-c", "grep -q pass"]
"#;

/// Waits until a series of `/metrics` has this value, to a millionth.
async fn shows(daemon: &Daemon, series: &str, value: f64) {
    until(&format!("{series} is {value}"), || async {
        ((daemon.metric(series).await - value).abs() < 1e-6).then_some(())
    })
    .await;
}

/// Value and samples of a measure, by name and value of its label.
async fn measure(daemon: &Daemon, name: &str, label: &str) -> (Value, Value) {
    let all = daemon.get("/v1/measures").await;
    let fits = |m: &&Value| m["name"] == name && m["labels"].as_object().unwrap().values().all(|is| is == label);
    let found = all["measures"].as_array().unwrap().iter().find(fits).unwrap_or_else(|| panic!("{name} in {all}"));
    (found["value"].clone(), found["samples"].clone())
}

async fn everything_is_kept(daemon: &Daemon) {
    until("the ledger has everything", || async { (daemon.get("/v1/measures").await["unkept"] == 0).then_some(()) })
        .await;
}

async fn what_handlers_and_callers_observe_becomes_the_runbooks_series(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(TYPES).await;
    let text = daemon.get("/metrics").await;
    assert!(!text.as_str().unwrap().contains("heal_success_rate"), "a ratio of nothing is absent");
    assert_eq!(measure(&daemon, "healing_success_rate_24h", "").await, (Value::Null, json!(0)));

    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(daemon.submit(json!({"type": "heal"})).await);
    }
    ids.push(daemon.submit(json!({"type": "heal_in_vain"})).await);
    for (outcome, environment) in [("pass", "ci"), ("pass", "ci"), ("fail", "ci"), ("pass", "production")] {
        let labels = json!({"environment": environment});
        ids.push(daemon.submit(json!({"type": "test_execution", "payload": outcome, "labels": labels})).await);
    }
    ids.push(daemon.submit(json!({"type": "test_execution", "payload": "pass"})).await);
    for outcome in ["pass", "pass", "pass", "fail"] {
        ids.push(daemon.submit(json!({"type": "element_healing", "payload": outcome})).await);
    }
    for id in &ids {
        daemon.at_rest(id).await;
    }
    let observed = json!({"kind": "healing", "strategy": "id_match", "healed": true});
    assert_eq!(daemon.post("/v1/observations", observed).await, (202, json!({"counted": 1})));
    let observed = json!({"observations": [{"kind": "cache_lookup", "cache_level": "l1", "hit": false}]});
    assert_eq!(daemon.post("/v1/observations", observed).await, (202, json!({"counted": 1})));
    let feedback = json!([{"feature": "plan_generation", "score": 5}, {"feature": "plan_generation", "score": 4}]);
    assert_eq!(daemon.post("/v1/feedback", feedback).await, (202, json!({"counted": 2})));

    for (series, value) in [
        ("element_healing_success_rate{strategy=\"semantic_match\"}", 0.75),
        ("element_healing_success_rate{strategy=\"id_match\"}", 1.0),
        ("heal_success_rate", 0.8),
        ("healing_success_rate_24h", 0.8),
        ("heal_confidence", 0.75),
        ("element_repository_hit_rate{cache_level=\"l1\"}", 0.75),
        ("user_satisfaction_score{feature=\"plan_generation\"}", 4.5),
        ("policy_evaluation_duration_ms_count{policy=\"seating_selection\"}", 3.0),
        ("policy_evaluation_duration_ms_bucket{policy=\"seating_selection\",le=\"2.5\"}", 3.0),
        ("test_execution_success_rate{environment=\"ci\"}", 2.0 / 3.0),
        ("test_execution_success_rate{environment=\"production\"}", 1.0),
        ("test_execution_success_rate{environment=\"unspecified\"}", 1.0),
        ("manual_review_rate", 0.25),
        ("ganger_observations_total{kind=\"healing\"}", 5.0),
        ("ganger_observations_total{kind=\"feedback\"}", 2.0),
    ] {
        shows(&daemon, series, value).await;
    }
    // A share of 0 is there, beside the others.
    let text = daemon.get("/metrics").await;
    assert!(text.as_str().unwrap().contains("\nelement_repository_hit_rate{cache_level=\"l2\"} 0\n"), "{text}");
    assert_eq!(measure(&daemon, "policy_evaluation_duration_ms", "seating_selection").await.1, 3);
    assert_eq!(daemon.job(&ids[0]).await["result"], json!({"page": 1}), "the envelope is taken out");

    let listed = ganger(&["measures", "--server", &daemon.url]);
    assert_eq!(listed.status, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("strategy=semantic_match") && listed.stdout.contains("24 h"), "{}", listed.stdout);
    let listed = ganger(&["measures", "--server", &daemon.url, "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert!(listed["measures"].as_array().unwrap().len() >= 9, "{listed}");
}

async fn bad_observations_are_refused_whole_from_callers_and_left_out_from_handlers(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(TYPES).await;
    let hit = json!({"kind": "cache_lookup", "cache_level": "l1", "hit": true});
    let many = vec![hit.clone(); 1_001];
    for (path, body, status, field, index) in [
        ("observations", json!([hit, {"kind": "cache_lookup", "cache_level": "l1"}]), 422, "hit", json!(1)),
        ("observations", json!({"kind": "mood"}), 422, "kind", json!(0)),
        ("observations", json!([hit, 7]), 422, "kind", json!(1)),
        (
            "observations",
            json!({"kind": "cache_lookup", "cache_level": "a b", "hit": true}),
            422,
            "cache_level",
            json!(0),
        ),
        ("observations", json!(many), 422, "observations", Value::Null),
        ("observations", json!({"observations": [hit], "extra": 1}), 422, "extra", Value::Null),
        ("feedback", json!({"feature": "f", "score": 6}), 422, "score", json!(0)),
        ("feedback", json!({"feature": "f"}), 422, "score", json!(0)),
        ("feedback", json!({"feature": "f", "score": 5, "mood": "good"}), 422, "mood", json!(0)),
        ("feedback", json!([{"feature": "f", "score": 5}, hit]), 422, "kind", json!(1)),
    ] {
        let (said, problem) = daemon.post(&format!("/v1/{path}"), body.clone()).await;
        assert_eq!((said, &problem["code"]), (status, &json!("bad_field")), "{body}: {problem}");
        assert_eq!((&problem["field"], &problem["index"]), (&json!(field), &index), "{problem}");
    }
    let request = daemon.client.post(format!("{}/v1/observations", daemon.url)).body("{");
    assert_eq!(request.send().await.unwrap().status(), 400);
    let request = daemon.client.post(format!("{}/v1/observations", daemon.url)).body(" ".repeat((1 << 20) + 1));
    assert_eq!(request.send().await.unwrap().status(), 413);
    for name in ["element_repository_hit_rate", "user_satisfaction_score"] {
        assert_eq!(measure(&daemon, name, "").await, (Value::Null, json!(0)), "nothing of a refused request counts");
    }
    let id = daemon.submit(json!({"type": "observe_badly"})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
    for reason in ["bad_member", "unknown_kind", "not_an_object"] {
        shows(&daemon, &format!("ganger_observations_refused_total{{reason=\"{reason}\"}}"), 1.0).await;
    }
    shows(&daemon, "ganger_observations_total{kind=\"cache_lookup\"}", 1.0).await;
    assert!(daemon.log().contains("3 of 4 observations of job"), "{}", daemon.log());
}

async fn labels_beyond_the_most_are_other(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[measures]\nlabels_max = 2\n").await;
    for (label, healed) in [("a", true), ("b", true), ("c", true), ("d", false), ("a", false)] {
        let observed = json!({"kind": "healing", "strategy": label, "healed": healed});
        assert_eq!(daemon.post("/v1/observations", observed).await.0, 202);
        let observed = json!({"kind": "policy_evaluation", "policy": label, "duration_ms": 1});
        assert_eq!(daemon.post("/v1/observations", observed).await.0, 202);
    }
    for (series, value) in [
        ("element_healing_success_rate{strategy=\"a\"}", 0.5),
        ("element_healing_success_rate{strategy=\"b\"}", 1.0),
        ("element_healing_success_rate{strategy=\"other\"}", 0.5),
        ("policy_evaluation_duration_ms_count{policy=\"a\"}", 2.0),
        ("policy_evaluation_duration_ms_count{policy=\"other\"}", 2.0),
        ("heal_success_rate", 0.6),
    ] {
        shows(&daemon, series, value).await;
    }
    let text = daemon.get("/metrics").await;
    assert!(!text.as_str().unwrap().contains("=\"c\""), "{text}");
}

async fn figures_outlive_a_kill(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start(TYPES).await;
    let id = daemon.submit(json!({"type": "heal"})).await;
    daemon.at_rest(&id).await;
    let feedback = json!({"feature": "plan_generation", "score": 3.5});
    assert_eq!(daemon.post("/v1/feedback", feedback).await.0, 202);
    shows(&daemon, "healing_success_rate_24h", 1.0).await;
    everything_is_kept(&daemon).await;
    daemon.kill();
    let daemon = site.start(TYPES).await;
    shows(&daemon, "user_satisfaction_score{feature=\"plan_generation\"}", 3.5).await;
    shows(&daemon, "healing_success_rate_24h", 1.0).await;
    let failed = json!({"kind": "healing", "strategy": "id_match", "healed": false});
    assert_eq!(daemon.post("/v1/observations", failed).await.0, 202);
    shows(&daemon, "healing_success_rate_24h", 0.5).await;
}

async fn figures_outlive_an_orderly_restart_to_the_last_sample(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start("").await;
    for _ in 0..2 {
        let feedback = json!({"feature": "plan_generation", "score": 2});
        assert_eq!(daemon.post("/v1/feedback", feedback).await.0, 202);
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(0));
    let daemon = site.start("").await;
    until("both are there", || async {
        (measure(&daemon, "user_satisfaction_score", "plan_generation").await == (json!(2.0), json!(2))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_show_the_same_figures() {
    let site = Site::new(Footing::Cluster).await;
    let (one, two) = (site.start(TYPES).await, site.start(TYPES).await);
    let healing = |healed: bool, confidence: f64| json!({"kind": "healing", "strategy": "text_match", "healed": healed, "confidence": confidence});
    assert_eq!(one.post("/v1/observations", json!([healing(true, 0.1), healing(true, 0.2)])).await.0, 202);
    assert_eq!(two.post("/v1/observations", json!([healing(false, 0.3), healing(true, 0.7)])).await.0, 202);
    for name in ["element_healing_success_rate", "heal_success_rate", "healing_success_rate_24h"] {
        for daemon in [&one, &two] {
            until(&format!("{name} is that of both nodes"), || async {
                (measure(daemon, name, "text_match").await == (json!(0.75), json!(4))).then_some(())
            })
            .await;
        }
    }
    let confidences = (measure(&one, "heal_confidence", "").await, measure(&two, "heal_confidence", "").await);
    assert_eq!(confidences.0, confidences.1);
}
