//! Starts that cannot be, and starts with half of the stores.

use serde_json::json;

use crate::support::daemon::{Daemon, Footing, Site, ganger, run};
use crate::support::postgres::Postgres;
use crate::support::redis::{self, Options, Redis};
use crate::support::wait::until;

/// A port of this machine on which nobody listens.
fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn unknown_keys_and_bad_values_are_all_reported_and_end_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, "[serverr]\nlisten = \"x\"\n[pools.plan-workers]\nmin = 9\nmax = 3\n[lease]\nttl_ms = -1\n").unwrap();
    let ended = ganger(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(ended.status, Some(78), "{ended:?}");
    for place in ["serverr", "pools.plan-workers", "lease.ttl_ms", "bad.toml"] {
        assert!(ended.stderr.contains(place), "{place} is not named:\n{}", ended.stderr);
    }
    assert_eq!(ganger(&["config", "check", "--config", path.to_str().unwrap()]).status, Some(78));
    assert_eq!(ganger(&["config", "check"]).status, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_one_folder_is_told_who_has_it() {
    let site = Site::new(Footing::Embedded).await;
    let first = site.start("").await;
    let second = run(&mut site.command(""));
    assert_eq!(second.status, Some(1), "{second:?}");
    assert!(second.stderr.contains(&first.pid().to_string()), "{}", second.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_schema_says_how_to_get_it_and_migrate_makes_it() {
    let database = Postgres::shared().await.database().await;
    let redis = redis::shared_url().await;
    let arguments = ["--redis-url", &redis, "--database-url", &database.url];
    let ended = ganger(&[&["serve", "--listen", "127.0.0.1:0"], &arguments[..]].concat());
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("migrate"), "{}", ended.stderr);
    let ended = ganger(&[&["migrate", "status"], &arguments[..]].concat());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let ended = ganger(&[&["migrate", "up"], &arguments[..]].concat());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let ended = ganger(&[&["migrate", "up"], &arguments[..]].concat());
    assert_eq!(ended.status, Some(0), "twice is harmless: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_ledger_ends_the_start_with_69() {
    let redis = redis::shared_url().await;
    let database = format!("postgres://ganger:secret@127.0.0.1:{}/ganger", dead_port());
    let site = Site::on(&redis, &database);
    let ended = run(&mut site.command("[startup]\nwait_ms = 700\n"));
    assert_eq!(ended.status, Some(69), "{ended:?}");
    assert!(ended.stderr.contains("127.0.0.1") && !ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_starts_accepts_says_so_and_runs_everything_later() {
    let database = Postgres::shared().await.database().await;
    let mut redis = Redis::start().await;
    let url = redis.url();
    redis.kill();
    let site = Site::on(&url, &database.url);
    let daemon = site.start("").await;
    assert!(daemon.log().contains("wait in the ledger"), "{}", daemon.log());
    let ids = daemon.submit_many(&json!({"type": "echo", "payload": 7}), 1_200).await;
    let (status, ready) = daemon.call("GET", "/readyz", None).await;
    assert_eq!(status, 200, "it can accept: {ready}");
    let (status, problem) = daemon.post(&format!("/v1/jobs/{}/cancel", ids[0]), json!({})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("broker_unavailable")));
    redis.restart_empty().await;
    for id in &ids {
        assert_eq!(daemon.at_rest(id).await["result"], 7);
    }
    // And while it runs: the server dies, jobs are accepted, an empty one comes back.
    redis.kill();
    let id = until("a submit is accepted while Redis is gone", || async {
        let (status, job) = daemon.post("/v1/jobs", json!({"type": "echo", "payload": 8})).await;
        (status == 201).then(|| job["id"].as_str().unwrap().to_owned())
    })
    .await;
    redis.restart_empty().await;
    assert_eq!(daemon.at_rest(&id).await["result"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_may_evict_or_serves_another_ledger_is_refused_with_78() {
    let redis = Redis::start_with(Options::default().set("maxmemory", "50mb").set("maxmemory-policy", "allkeys-lru")).await;
    let database = Postgres::shared().await.database().await;
    let site = Site::on(&redis.url(), &database.url);
    let ended = run(&mut site.command(""));
    assert_eq!(ended.status, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("allkeys-lru") && ended.stderr.contains("noeviction"), "{}", ended.stderr);

    let redis = Redis::start().await;
    let site = Site::on(&redis.url(), &database.url);
    let daemon: Daemon = site.start("").await;
    daemon.submit(json!({"type": "noop", "delay_ms": 3_600_000})).await;
    drop(daemon);
    let staging = Postgres::shared().await.database().await;
    let other = Site::on(&redis.url(), &staging.url);
    let ended = run(&mut other.command(""));
    assert_eq!(ended.status, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("ledger"), "{}", ended.stderr);
}
