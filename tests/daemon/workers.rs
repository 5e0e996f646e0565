//! Workers as operators see them: lists, drains, replacements, on one node and on two.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Footing, Site, ganger, wait_for};
use crate::support::wait::{until, within};

on_both_footings! {
    a_drain_under_load_loses_interrupts_and_repeats_no_job
    a_replaced_worker_gives_its_job_back_without_an_attempt
    the_command_line_lists_and_drains
}

/// The workers of a pool, as listed.
async fn workers(daemon: &Daemon, pool: &str) -> Vec<Value> {
    let listed = daemon.get("/v1/workers").await;
    let workers = listed["workers"].as_array().expect("a list").clone();
    workers.into_iter().filter(|worker| worker["pool"] == pool).collect()
}

/// Who of a pool is to stay.
fn staying(workers: &[Value]) -> Vec<String> {
    let stays = |worker: &&Value| worker["state"] == "idle" || worker["state"] == "busy";
    workers.iter().filter(stays).map(|worker| worker["name"].as_str().unwrap().to_owned()).collect()
}

/// A shell line that notes the beginning and the end of each run in a file.
fn noted(book: &std::path::Path) -> String {
    format!("echo begin $GANGER_JOB_ID >> {0}; sleep 0.2; echo end $GANGER_JOB_ID >> {0}", book.display())
}

async fn a_drain_under_load_loses_interrupts_and_repeats_no_job(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let book = site.folder().join("book");
    let jobs = daemon.submit_many(&json!({"type": "shell", "payload": noted(&book)}), 120).await;
    for round in 0..6 {
        let busy = until("a worker is busy", || async {
            let workers = workers(&daemon, "work-workers").await;
            workers.into_iter().filter(|worker| worker["state"] == "busy").nth(round % 3)
        })
        .await;
        let name = busy["name"].as_str().unwrap();
        let (status, ordered) = daemon.post(&format!("/v1/workers/{name}/drain"), json!({"by": "ada"})).await;
        assert_eq!(status, 200, "{ordered}");
        let replacement = ordered["worker"]["replaced_by"].as_str().expect("a replacement").to_owned();
        // Its replacement is there before it has gone, and the pool is never short of one.
        assert_eq!(ordered["worker"]["state"], "draining", "{ordered}");
        let listed = workers(&daemon, "work-workers").await;
        let names = staying(&listed);
        assert!(names.contains(&replacement) && names.len() == 4, "{listed:?}");
        until("the drained one has left", || async {
            let listed = workers(&daemon, "work-workers").await;
            let there = |worker: &Value| worker["name"] == name && worker["hired_at"] == busy["hired_at"];
            assert_eq!(staying(&listed).len(), 4, "{listed:?}");
            (!listed.iter().any(there)).then_some(())
        })
        .await;
    }
    for id in &jobs {
        let job = daemon.at_rest(id).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        assert_eq!((&job["attempts"], &job["deliveries"]), (&json!(1), &json!(1)), "{job}");
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&book).unwrap().lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    for id in &jobs {
        for what in ["begin", "end"] {
            assert_eq!(counts.get(&format!("{what} {id}")), Some(&1), "{what} of {id}");
        }
    }
    let series = "ganger_worker_replacements_total{pool=\"work-workers\",reason=\"drain\"}";
    assert_eq!(daemon.metric(series).await, 6.0);
    // Names are used again: with one at a time on its way out, five names are enough.
    let names = staying(&workers(&daemon, "work-workers").await);
    let few: Vec<String> = (1..=5).map(|number| format!("work-worker-{number}")).collect();
    assert!(names.iter().all(|name| few.contains(name)), "{names:?}");
}

async fn a_replaced_worker_gives_its_job_back_without_an_attempt(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let (gate, fences) = (site.folder().join("gate"), site.folder().join("fences"));
    let line = format!("echo $GANGER_FENCE >> {}; {}", fences.display(), wait_for(&gate));
    let id = daemon.submit(json!({"type": "shell", "payload": line})).await;
    let busy = until("it runs", || async {
        let workers = workers(&daemon, "work-workers").await;
        fences.exists().then_some(())?;
        workers.into_iter().find(|worker| worker["state"] == "busy")
    })
    .await;
    assert_eq!((&busy["job"]["id"], &busy["job"]["type"]), (&json!(id), &json!("shell")), "{busy}");
    let full = busy["worker"].as_str().unwrap();
    let (status, ordered) = daemon.post(&format!("/v1/workers/{full}/replace?wait=20s"), json!({})).await;
    assert_eq!((status, &ordered["status"]), (200, &json!("left")), "{ordered}");
    std::fs::write(&gate, "").unwrap();
    let job = daemon.at_rest(&id).await;
    let told = (&job["state"], &job["attempts"], &job["crashes"], &job["deferrals"], &job["deliveries"]);
    assert_eq!(told, (&json!("succeeded"), &json!(1), &json!(0), &json!(1), &json!(2)), "{job}");
    let fences: Vec<i64> =
        std::fs::read_to_string(&fences).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert!(fences.len() == 2 && fences[0] < fences[1], "{fences:?}");
}

async fn the_command_line_lists_and_drains(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[server]\nnode = \"a\"\n").await;
    let listed = ganger(&["workers", "list", "--server", &daemon.url]);
    assert_eq!(listed.status, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("work-worker-4") && listed.stdout.contains("idle"), "{}", listed.stdout);
    let mut drain = vec!["workers", "drain", "work-worker-3", "--wait", "30s", "--by", "ada", "--reason", "it leaks"];
    drain.extend(["--server", daemon.url.as_str()]);
    let drained = ganger(&drain);
    assert_eq!(
        (drained.status, drained.stdout.trim()),
        (Some(0), "a:work-worker-3 has left; work-worker-5 is there in its place")
    );
    until("the log says why", || async { daemon.log().contains("it leaks").then_some(()) }).await;
    let replaced = ganger(&["workers", "replace", "a:work-worker-1", "-o", "json", "--server", &daemon.url]);
    let told: Value = serde_json::from_str(&replaced.stdout).unwrap();
    assert_eq!((replaced.status, &told["worker"]["name"]), (Some(0), &json!("work-worker-1")), "{told}");
    let unknown = ganger(&["workers", "drain", "nobody", "--server", &daemon.url]);
    assert!(unknown.status == Some(1) && unknown.stderr.contains("a:work-worker-2"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_workers_and_bad_orders_are_refused_with_what_would_be_right() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start("[server]\nnode = \"a\"\n").await;
    for path in ["/v1/workers/nobody/drain", "/v1/workers/b:work-worker-1/replace"] {
        let (status, problem) = daemon.post(path, json!({})).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("a:work-worker-1"), "{problem}");
    }
    let (status, problem) = daemon.post("/v1/workers/work-worker-1/drain", json!({"wait_s": 601})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("bad_field")), "{problem}");
    let (status, problem) = daemon.post("/v1/workers/work-worker-1/drain?wait=soon", json!({})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("bad_field")), "{problem}");
    assert_eq!(daemon.call("GET", "/v1/workers/work-worker-1/drain", None).await.0, 405);
    let worker = daemon.get("/v1/workers/a:work-worker-1").await;
    assert_eq!(
        (&worker["state"], &worker["health"], &worker["job"]),
        (&json!("idle"), &json!("healthy"), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_list_each_other_and_take_each_others_orders() {
    let site = Site::new(Footing::Cluster).await;
    let one = site.start("[server]\nnode = \"one\"\n").await;
    let two = site.start("[server]\nnode = \"two\"\n").await;
    let both = within(Duration::from_secs(60), "each lists both", || async {
        let (here, there) = (workers(&one, "side-workers").await, workers(&two, "side-workers").await);
        (here.len() == 4 && there.len() == 4).then_some(here)
    })
    .await;
    let nodes: Vec<&str> = both.iter().map(|worker| worker["node"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["one", "one", "two", "two"]);

    let (status, problem) = one.post("/v1/workers/side-worker-1/drain", json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("ambiguous_name")), "{problem}");
    assert_eq!(problem["choices"], json!(["one:side-worker-1", "two:side-worker-1"]));

    // A job on the other node is not interrupted by an order that comes from here.
    let gate = site.folder().join("gate");
    let jobs = one.submit_many(&json!({"type": "shell", "payload": wait_for(&gate)}), 8).await;
    let busy = within(Duration::from_secs(60), "a worker of the other node is busy", || async {
        let workers = workers(&one, "work-workers").await;
        workers.into_iter().find(|worker| worker["node"] == "two" && worker["state"] == "busy")
    })
    .await;
    let full = busy["worker"].as_str().unwrap();
    let (status, ordered) = one.post(&format!("/v1/workers/{full}/drain"), json!({"by": "ada"})).await;
    assert_eq!((status, &ordered["status"]), (200, &json!("leaving")), "{ordered}");
    let there = |listed: &[Value]| {
        listed.iter().find(|worker| worker["worker"] == full && worker["hired_at"] == busy["hired_at"]).cloned()
    };
    let draining = there(&workers(&two, "work-workers").await).expect("it is still there");
    assert_eq!((&draining["state"], &draining["job"]), (&json!("draining"), &busy["job"]), "{draining}");
    assert_eq!(staying(&workers(&two, "work-workers").await).len(), 8);
    std::fs::write(&gate, "").unwrap();
    for id in &jobs {
        let job = one.at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"], &job["deliveries"]), (&json!("succeeded"), &json!(1), &json!(1)));
    }
    let (status, ordered) = one.post("/v1/workers/two:side-worker-1/drain?wait=30s", json!({})).await;
    assert_eq!((status, &ordered["status"]), (200, &json!("left")), "{ordered}");
    assert!(workers(&two, "side-workers").await.iter().all(|worker| worker["worker"] != "two:side-worker-1"));
}

/// Until its heartbeat lapses a node that died looks as if it lived; nobody waits longer for it than asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_a_node_that_has_died_is_answered_within_the_wait() {
    let site = Site::new(Footing::Cluster).await;
    let one = site.start("[server]\nnode = \"one\"\n").await;
    let mut two = site.start("[server]\nnode = \"two\"\n").await;
    within(Duration::from_secs(60), "one lists both", || async {
        (workers(&one, "side-workers").await.len() == 4).then_some(())
    })
    .await;
    two.kill();
    let (status, ordered) = one.post("/v1/workers/two:side-worker-1/drain?wait=1s", json!({})).await;
    assert_eq!((status, &ordered["status"]), (202, &json!("ordered")), "{ordered}");
    assert!(ordered["node_heard_at"].is_string() && ordered["worker"]["state"] == "idle", "{ordered}");
    let (status, ordered) = one.post("/v1/workers/two:side-worker-2/drain?wait=60s", json!({})).await;
    assert_eq!((status, &ordered["status"]), (200, &json!("left")), "gone with its node: {ordered}");
}
