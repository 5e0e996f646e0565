//! Load shedding: who is refused, who is not, and how it ends.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::cgroup::Group;
use crate::support::daemon::{Daemon, Footing, Site, ganger, wait_for};
use crate::support::wait::until;

on_both_footings! {
    a_deep_queue_sheds_what_goes_first_and_drains
    a_known_job_is_never_shed
    an_operator_sets_the_level_of_all_nodes
    what_is_held_is_no_depth
    failures_shed_with_probes
}

/// A type that goes first in each queue, short times, and a rule of depth that a few jobs trip.
fn config(more: &str) -> String {
    let batch = |name: &str, queue: &str| {
        format!(
            "[job_types.{name}]\nqueue = \"{queue}\"\n[job_types.{name}.handler]\nkind = \"builtin\"\nname = \"noop\"\n"
        )
    };
    let side_echo =
        "[job_types.side_echo]\nqueue = \"side\"\n[job_types.side_echo.handler]\nkind = \"builtin\"\nname = \"echo\"\n";
    format!(
        "{}{}{side_echo}[shedding]\nfirst = [\"batch\", \"side_batch\"]\nqueue_depth = 5\ncpu = 1.0\nmemory = 1.0\n\
         dwell_ms = 200\nruns_dwell_ms = 200\nstep_up_ms = 100\nstep_down_ms = 300\n{more}",
        batch("batch", "work"),
        batch("side_batch", "side")
    )
}

/// The part of `GET /v1/shedding` about one queue of the node that answers.
async fn queue(daemon: &Daemon, name: &str) -> Value {
    let told = daemon.get("/v1/shedding").await;
    let found = told["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == name);
    found.cloned().unwrap_or(Value::Null)
}

async fn in_level(daemon: &Daemon, name: &str, level: u8) {
    until(&format!("queue {name} is in level {level}"), || async move {
        (queue(daemon, name).await["level"] == level).then_some(())
    })
    .await;
}

/// A refusal as it stands on the wire: its body and `Retry-After`.
async fn refused(daemon: &Daemon, submit: &Value) -> (Value, u64) {
    let response = daemon.client.post(format!("{}/v1/jobs", daemon.url)).json(submit).send().await.unwrap();
    assert_eq!(response.status(), 503, "{submit}");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let after = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    (response.json().await.unwrap(), after)
}

/// Fills the queue `work`: its four workers wait for a gate, and so do ten jobs that go first.
async fn fill(site: &Site, daemon: &Daemon) -> (std::path::PathBuf, Vec<String>) {
    let gate = site.folder().join("gate");
    for _ in 0..4 {
        let id = daemon.submit(json!({"type": "shell", "payload": wait_for(&gate)})).await;
        daemon.in_state(&id, "running").await;
    }
    let mut waiting = vec![daemon.submit(json!({"type": "batch", "idempotency_key": "known", "payload": 7})).await];
    waiting.extend(daemon.submit_many(&json!({"type": "batch"}), 9).await);
    in_level(daemon, "work", 1).await;
    (gate, waiting)
}

async fn a_deep_queue_sheds_what_goes_first_and_drains(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(&config("")).await;
    let (gate, waiting) = fill(&site, &daemon).await;

    let (problem, after) = refused(&daemon, &json!({"type": "batch"})).await;
    assert_eq!((&problem["code"], &problem["status"]), (&json!("shed"), &json!(503)));
    assert_eq!((&problem["rule"], &problem["queue"]), (&json!("queue_depth"), &json!("work")), "{problem}");
    assert!((1..=72).contains(&after), "{after}");
    assert_eq!(problem["retry_after_s"], after);
    // Other types, other queues and the first priority are none of its business.
    daemon.submit(json!({"type": "noop"})).await;
    daemon.submit(json!({"type": "noop", "priority": "background"})).await;
    daemon.submit(json!({"type": "side_batch"})).await;
    daemon.submit(json!({"type": "batch", "priority": "critical"})).await;
    let (status, items) =
        daemon.post("/v1/jobs/batch", json!([{"type": "batch"}, {"type": "noop"}, {"type": "x"}])).await;
    assert_eq!(status, 200);
    let statuses: Vec<&Value> = items.as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [503, 201, 422]);
    assert_eq!(items[0]["problem"]["rule"], "queue_depth");
    let output = ganger(&["submit", "batch", "--server", &daemon.url]);
    assert_eq!(output.status, Some(75), "{output:?}");
    assert_eq!(daemon.metric(r#"ganger_shed_total{queue="work",rule="queue_depth"}"#).await, 3.0);
    assert_eq!(daemon.metric(r#"ganger_shed_level{queue="work"}"#).await, 1.0);
    assert_eq!(daemon.metric(r#"ganger_shed_level{queue="side"}"#).await, 0.0);
    assert_eq!(daemon.metric(r#"ganger_shed_rule_active{rule="queue_depth"}"#).await, 1.0);
    let queues = daemon.get("/v1/queues/work").await;
    assert_eq!(queues["shed_level"], 1);

    // Nothing that was accepted is lost by it, and idle workers take what is shed.
    std::fs::write(&gate, "").unwrap();
    for id in &waiting {
        assert_eq!(daemon.at_rest(id).await["state"], "succeeded");
    }
    in_level(&daemon, "work", 0).await;
    daemon.submit(json!({"type": "batch"})).await;
    let log = daemon.log();
    assert!(log.contains("Queue work sheds at level 1 (was 0): queue_depth at 1"), "{log}");
    assert!(log.contains("Queue work sheds at level 0 (was 1)"), "{log}");
}

async fn a_known_job_is_never_shed(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(&config("")).await;
    let given = json!({"type": "batch", "id": "given"});
    daemon.submit(given.clone()).await;
    assert_eq!(daemon.at_rest("given").await["state"], "succeeded");
    let (gate, waiting) = fill(&site, &daemon).await;

    refused(&daemon, &json!({"type": "batch", "idempotency_key": "new"})).await;
    refused(&daemon, &json!({"type": "batch", "id": "new"})).await;
    let known = json!({"type": "batch", "idempotency_key": "known", "payload": 7});
    let (status, job) = daemon.post("/v1/jobs", known.clone()).await;
    assert_eq!((status, &job["id"]), (200, &json!(waiting[0])), "{job}");
    let (status, job) = daemon.post("/v1/jobs", given.clone()).await;
    assert_eq!((status, &job["state"]), (200, &json!("succeeded")), "{job}");
    let other = json!({"type": "batch", "idempotency_key": "known", "payload": 8});
    assert_eq!(daemon.post("/v1/jobs", other).await.1["code"], "idempotency_conflict");
    let (_, items) = daemon.post("/v1/jobs/batch", json!([given, {"type": "batch"}, known])).await;
    let statuses: Vec<&Value> = items.as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [200, 503, 200]);

    // Neither are children of a run and what an operator replays; nothing refused was recorded.
    let child = json!({"ganger": {"enqueue": [{"type": "batch", "id": "child"}]}});
    let parent = daemon.submit(json!({"type": "side_echo", "payload": child})).await;
    assert_eq!(daemon.at_rest(&parent).await["state"], "succeeded");
    assert_eq!(daemon.job("child").await["state"], "ready");
    let (status, replayed) = daemon.post("/v1/jobs/given/replay", json!({})).await;
    assert!([200, 201].contains(&status), "{replayed}");
    assert_eq!(daemon.call("GET", "/v1/jobs/new", None).await.0, 404);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(daemon.at_rest("child").await["state"], "succeeded");
    in_level(&daemon, "work", 0).await;
    assert_eq!(daemon.post("/v1/jobs", json!({"type": "batch", "id": "new"})).await.0, 201, "a fresh attempt");
}

async fn an_operator_sets_the_level_of_all_nodes(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(&config("")).await;
    let accepts = |priority: u8| {
        let daemon = &daemon;
        async move { daemon.post("/v1/jobs", json!({"type": "noop", "priority": priority})).await.0 == 201 }
    };
    let (status, told) = daemon
        .call("PUT", "/v1/shedding", Some(json!({"mode": "level", "level": 4, "by": "ada", "reason": "flood"})))
        .await;
    assert_eq!(
        (status, &told["mode"], &told["level"], &told["set_by"], &told["reason"]),
        (200, &json!("level"), &json!(4), &json!("ada"), &json!("flood"))
    );
    assert_eq!(
        (accepts(2).await, accepts(3).await, accepts(5).await),
        (true, false, false),
        "in force with the answer"
    );
    let (problem, after) = refused(&daemon, &json!({"type": "noop"})).await;
    assert_eq!((&problem["rule"], &problem["level"]), (&json!("manual"), &json!(4)));
    assert!((1..=72).contains(&after));
    if footing == Footing::Cluster {
        let other = site.start(&config("")).await;
        in_level(&other, "work", 4).await;
        until("both nodes tell of both", || async {
            let told = daemon.get("/v1/shedding").await;
            let levels = |node: &Value| node["queues"].as_array().map(|queues| queues.len()).unwrap_or(0);
            let nodes = told["nodes"].as_array().unwrap();
            (nodes.len() == 2 && nodes.iter().all(|node| levels(node) == 2)).then_some(())
        })
        .await;
    }
    let output = ganger(&["shedding", "set", "5", "--server", &daemon.url]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert_eq!((accepts(1).await, accepts(2).await), (true, false));
    let output = ganger(&["shedding", "show", "--server", &daemon.url]);
    assert!(output.stdout.contains("mode: level 5") && output.stdout.contains("queue_depth"), "{output:?}");
    let output = ganger(&["shedding", "set", "auto", "--by", "bob", "--server", &daemon.url]);
    assert!(output.stdout.starts_with("mode: auto (set by bob at ") && !output.stdout.contains("manual"), "{output:?}");
    assert!(!output.stdout.contains("\n\n\n"), "{output:?}");
    until("the log says why", || async { daemon.log().contains("shedding is set to auto").then_some(()) }).await;
    let (status, _) = daemon.call("PUT", "/v1/shedding", Some(json!({"mode": "off"}))).await;
    assert_eq!((status, accepts(5).await), (200, true));
    for bad in [json!({"mode": "level", "level": 6}), json!({"mode": "on"}), json!({}), json!({"mode": "auto", "x": 1})]
    {
        let (status, problem) = daemon.call("PUT", "/v1/shedding", Some(bad)).await;
        assert_eq!((status, &problem["code"]), (422, &json!("bad_field")), "{problem}");
    }
    assert_eq!(daemon.get("/v1/shedding").await["mode"], "off", "a bad order changes nothing");
    let (_, told) = daemon.call("PUT", "/v1/shedding", Some(json!({"mode": "auto"}))).await;
    let rules: Vec<&Value> = told["rules"].as_array().unwrap().iter().map(|rule| &rule["rule"]).collect();
    let expected = ["cpu", "memory", "error_rate", "response_time_p95", "queue_depth", "queue_depth"];
    assert_eq!(rules, expected, "{told}");
}

async fn what_is_held_is_no_depth(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(&config("")).await;
    daemon.post("/v1/queues/side/pause", json!({})).await;
    daemon.post("/v1/types/batch/pause", json!({})).await;
    daemon.submit_many(&json!({"type": "side_batch"}), 10).await;
    daemon.submit_many(&json!({"type": "batch"}), 10).await;
    until("both queues are counted, and what is held is not", || async {
        let ready = |queues: &Value, at: usize| queues["queues"][at]["ready"] == 10;
        let queues = daemon.get("/v1/queues").await;
        let (work, side) = (queue(&daemon, "work").await, queue(&daemon, "side").await);
        let is_counted = work["depth"] == 0 && side["depth"] == 0 && work["delay_ms"] == 0 && side["delay_ms"] == 0;
        (ready(&queues, 0) && ready(&queues, 1) && is_counted).then_some(())
    })
    .await;
    daemon.submit(json!({"type": "batch"})).await;
    assert_eq!(daemon.metric(r#"ganger_shed_total{queue="work",rule="queue_depth"}"#).await, 0.0);
    let log = daemon.log();
    assert!(!log.contains("is active"), "{log}");
}

async fn failures_shed_with_probes(footing: Footing) {
    let site = Site::new(footing).await;
    let fail = "[job_types.fail]\nqueue = \"side\"\n[job_types.fail.retry]\nmax_retries = 0\nno_retry_errors = [\"not_found\"]\n\
                [job_types.fail.handler]\nkind = \"builtin\"\nname = \"fail\"\n";
    let daemon =
        site.start(&format!("{fail}{}", config("queue_depth = 100000\n").replace("queue_depth = 5\n", ""))).await;
    let run = async |class: &str, count: usize| {
        for id in daemon.submit_many(&json!({"type": "fail", "payload": {"class": class}}), count).await {
            assert_eq!(daemon.at_rest(&id).await["state"], "failed");
        }
    };
    // What is the fault of the input says nothing of load.
    run("not_found", 30).await;
    run("temporary_failure", 19).await;
    assert_eq!(queue(&daemon, "work").await["level"], 0, "19 runs are no sample");
    run("temporary_failure", 6).await;
    in_level(&daemon, "work", 2).await;
    let (_, items) = daemon.post("/v1/jobs/batch", json!(vec![json!({"type": "batch"}); 300])).await;
    let admitted = items.as_array().unwrap().iter().filter(|item| item["status"] == 201).count();
    assert!((15..=120).contains(&admitted), "a fifth is let through: {admitted} of 300");
    let rules = items.as_array().unwrap().iter().filter(|item| item["status"] == 503);
    assert!(rules.into_iter().all(|item| item["problem"]["rule"] == "error_rate"));
    daemon.submit(json!({"type": "noop", "priority": "low"})).await;
    assert_eq!(queue(&daemon, "work").await["level"], 2, "failures alone go no further");
}

/// A reload takes over thresholds; a bad one changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn thresholds_can_be_changed_while_running() {
    let site = Site::new(Footing::Embedded).await;
    let mut command = site.command("");
    let file = site.folder().join("thresholds.toml");
    std::fs::write(&file, config("queue_depth = 100000\n").replace("queue_depth = 5\n", "")).unwrap();
    command.arg("--config").arg(&file);
    let daemon = Daemon::spawn(command).await;
    daemon.post("/v1/queues/side/pause", json!({})).await;
    std::fs::write(&file, config("cpu_exit = 1.0\n")).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the bad file is told of", || async { daemon.log().contains("shedding.cpu_exit").then_some(()) }).await;
    let depth_enters = async || {
        let told = daemon.get("/v1/shedding").await;
        let rules = told["rules"].as_array().unwrap().clone();
        rules.into_iter().find(|rule| rule["rule"] == "queue_depth").map(|rule| rule["enter"].clone())
    };
    assert_eq!(depth_enters().await, Some(json!(100_000.0)));
    std::fs::write(&file, config("")).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the new threshold holds", || async { (depth_enters().await == Some(json!(5.0))).then_some(()) }).await;
}

/// The figures follow the daemon's own control group, far below the machine's, and so does what is shed.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_in_a_small_control_group_goes_by_that() {
    const MEMORY: u64 = 512 << 20;
    let site = Site::new(Footing::Embedded).await;
    // Dropped after the daemon: a group goes when it is empty.
    let mut _group = None;
    let daemon = site.start(&config("").replace("memory = 1.0", "memory = 0.5")).await;
    match Group::around(daemon.pid(), 20, MEMORY) {
        Ok(group) => _group = Some(group),
        Err(why) => {
            println!("No real control group was tried, because {why}; the fixture trees of src/host were.");
            return;
        }
    }
    let outside = daemon.metric("memory_usage").await;
    until("memory is a share of the group's", || async {
        let inside = daemon.metric("memory_usage").await;
        (inside > 0.0 && inside < 0.5 && inside != outside).then_some(())
    })
    .await;
    // A child takes 300 of the 512 MiB; the machine outside would not notice.
    let gate = site.folder().join("gate");
    let hold =
        format!("head -c {} /dev/zero | tail -c {} | ({}; cat > /dev/null)", 300 << 20, 300 << 20, wait_for(&gate));
    let holder = daemon.submit(json!({"type": "shell", "payload": hold})).await;
    in_level(&daemon, "work", 1).await;
    let (problem, _) = refused(&daemon, &json!({"type": "batch"})).await;
    assert_eq!(problem["rule"], "memory", "{problem}");
    let told = daemon.get("/v1/shedding").await;
    let memory = told["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "memory").unwrap().clone();
    println!("memory in the group: {memory}");
    assert!(memory["value"].as_f64().unwrap() > 0.5 && memory["active"] == true, "{memory}");
    std::fs::write(&gate, "").unwrap();
    daemon.at_rest(&holder).await;
    in_level(&daemon, "work", 0).await;
    // A fifth of a core is all that the group may use: a busy child fills it, whatever else the machine does.
    let gate = site.folder().join("second");
    let burn = format!("while test -d {} && ! test -e {}; do :; done", site.folder().display(), gate.display());
    let burner = daemon.submit(json!({"type": "shell", "payload": burn})).await;
    until("the CPU of the group is full", || async { (daemon.metric("cpu_usage").await > 0.6).then_some(()) }).await;
    std::fs::write(&gate, "").unwrap();
    daemon.at_rest(&burner).await;
}
