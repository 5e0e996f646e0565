//! The real binary behind Sentinels and on a Redis Cluster, with another master in the middle of the work.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::daemon::{Daemon, Site, run};
use crate::support::postgres::Postgres;
use crate::support::sentinel::Sentinels;
use crate::support::wait::until;

const JOBS: usize = 200;
/// So many have run when the master goes.
const BEFORE: usize = 20;
/// A shorter timeout, so that a dead master is noticed soon.
const QUICK: &str = "[redis]\ntimeout_ms = 500\n";

/// Submits jobs that each note their run, brings another master to power when some have run, submits more
/// meanwhile and after the rebuild, and judges: every job has one outcome, and only what was in flight at the
/// change ran twice.
async fn all_jobs_end_once(site: &Site, change: impl Future<Output = ()>) {
    let nodes = [site.start(QUICK).await, site.start(QUICK).await];
    let runs = site.folder().join("runs");
    let submit = async |daemon: &Daemon, first: usize, last: usize| {
        let mut ids = Vec::new();
        for n in first..last {
            let line = format!("echo {n} >> {}; sleep 0.05", runs.display());
            ids.push(daemon.submit(json!({"type": "shell", "payload": line})).await);
        }
        ids
    };
    let counts = || -> BTreeMap<usize, usize> {
        let text = std::fs::read_to_string(&runs).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).fold(BTreeMap::new(), |mut counts, n: usize| {
            *counts.entry(n).or_default() += 1;
            counts
        })
    };
    let mut ids = submit(&nodes[0], 0, 100).await;
    until("some jobs have run", || async { (counts().len() >= BEFORE).then_some(()) }).await;
    let ((), meanwhile) = tokio::join!(change, submit(&nodes[1], 100, 160));
    ids.extend(meanwhile);
    let series = "ganger_broker_rebuilds_total";
    until("the queues are rebuilt on the new master, after once at the start", || async {
        (nodes[0].metric(series).await + nodes[1].metric(series).await >= 2.0).then_some(())
    })
    .await;
    ids.extend(submit(&nodes[0], 160, JOBS).await);
    for id in &ids {
        let job = nodes[0].at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
    }
    let counts = counts();
    assert_eq!(counts.len(), JOBS, "every job ran");
    let again = counts.values().filter(|count| **count > 1).count();
    // Four workers a node had a job in hand when the master went.
    println!("{again} of {JOBS} jobs ran more than once");
    assert!(again <= 8 && counts.values().all(|count| *count <= 2), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinels_every_job_ends_once_through_the_death_of_the_master() {
    let mut setup = Sentinels::start().await;
    let database = Postgres::shared().await.database().await;
    let site = Site::on(&setup.url(), &database.url);
    all_jobs_end_once(&site, async {
        let old = setup.kill_master().await;
        setup.promoted(old).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinels_every_job_ends_once_through_an_ordered_promotion() {
    let setup = Sentinels::start().await;
    let database = Postgres::shared().await.database().await;
    let site = Site::on(&setup.url(), &database.url);
    all_jobs_end_once(&site, async {
        let old = setup.promote().await;
        setup.promoted(old).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_every_job_ends_once_through_the_death_of_a_master() {
    let mut cluster = Cluster::quick().await;
    let database = Postgres::shared().await.database().await;
    let site = Site::on(&cluster.url(), &database.url);
    all_jobs_end_once(&site, async {
        let old = cluster.kill_master_of("{work}").await;
        cluster.promoted(old, "{work}").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_every_job_ends_once_through_an_ordered_failover() {
    let cluster = Cluster::start().await;
    let database = Postgres::shared().await.database().await;
    let site = Site::on(&cluster.url(), &database.url);
    all_jobs_end_once(&site, async {
        let old = cluster.failover("{work}").await;
        cluster.promoted(old, "{work}").await;
    })
    .await;
}

#[test]
fn urls_that_cannot_be_end_with_78_and_are_named() {
    for (url, word) in [
        ("redis+sentinel://:hunter2@127.0.0.1:1,127.0.0.1:2", "SERVICE"),
        ("redis+sentinel://:hunter2@127.0.0.1:1/jobs?password=hunter2", "sentinel_password"),
        ("redis+cluster://:hunter2@127.0.0.1:1/3", "one database"),
        ("redis+cluster://:hunter2@127.0.0.1:x", "127.0.0.1:x"),
        ("redis+other://:hunter2@127.0.0.1:1", "redis+cluster://"),
    ] {
        let site = Site::on(url, "postgres://127.0.0.1:1/nothing");
        let ended = run(&mut site.command(""));
        assert_eq!(ended.status, Some(78), "{url}: {ended:?}");
        let said = &ended.stderr;
        assert!(said.contains("redis.url") && said.contains("environment"), "{url}: {said}");
        assert!(said.contains(word) && !said.contains("hunter2"), "{url}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_another_kind_than_the_url_says_end_with_78() {
    let setup = Sentinels::start().await;
    let database = Postgres::shared().await.database().await;
    let port = setup.servers[0].port();
    for url in [format!("redis+sentinel://127.0.0.1:{port}/jobs"), format!("redis+cluster://127.0.0.1:{port}")] {
        let ended = run(&mut Site::on(&url, &database.url).command(""));
        assert_eq!(ended.status, Some(78), "{url}: {ended:?}");
        assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ended.stderr);
    }
}
