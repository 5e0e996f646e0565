//! Sick workers and sick surroundings on virtual time, with the product's own periods: the right action and only it.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ganger::handler::{Ran, SharedHandler};
use ganger::job::State;
use ganger::policy::health::WorkerLimits;
use ganger::service::lock;
use serde_json::{Value, json};
use tokio::task::Id;
use tokio::time::sleep;

use crate::handlers::{Record, does};
use crate::site::{Parts, Scales, Site};

/// A handler under which one worker, the first that ever runs something, crashes.
fn one_crashes() -> SharedHandler {
    let victim: Arc<Mutex<Option<Id>>> = Arc::default();
    does(move |_| {
        let victim = victim.clone();
        async move {
            sleep(Duration::from_millis(500)).await;
            let me = tokio::task::id();
            let is_victim = *lock(&victim).get_or_insert(me) == me;
            if is_victim { Ran::Crashed { message: "as told".to_owned() } } else { Ran::returned("1") }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_runs_crash_is_replaced_and_only_it() {
    let site = Site::start(Parts::new("crashes", 5), one_crashes()).await;
    let before = site.staff();
    let jobs = site.submit(vec![json!(1); 1_500]).await;
    site.until("one is replaced", |site| site.replacements() > 0.0).await;
    for id in &jobs {
        let job = site.at_rest(id).await;
        // A job that met it three times is poison to the eyes of the policy; no job has spent an attempt on it.
        assert!(job.state == State::Succeeded || job.counters.crashes >= 3, "{job:?}");
        assert_eq!(job.counters.attempts, u32::from(job.state == State::Succeeded));
    }
    let after = site.staff();
    assert_eq!((after.len(), before.iter().filter(|worker| after.contains(worker)).count()), (5, 4));
    let why = "reason=\"success_rate\"";
    assert_eq!((site.replacements(), site.count("ganger_worker_replacements_total", why)), (1.0, 1.0));
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_every_worker_crashes_the_cause_is_shared_and_nobody_is_replaced() {
    let record = Record::default();
    let told = record.clone();
    let handler = does(move |invocation| {
        told.begin(&invocation);
        async move {
            sleep(Duration::from_millis(500)).await;
            Ran::Crashed { message: "as told".to_owned() }
        }
    });
    let site = Site::start(Parts::new("all-crash", 4), handler).await;
    let before = site.staff();
    let jobs = site.submit(vec![json!(1); 400]).await;
    for id in &jobs {
        assert_eq!(site.at_rest(id).await.state, State::InReview);
    }
    assert_eq!(record.runs(), 1_200);
    assert_eq!((site.staff(), site.replacements()), (before, 0.0));
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_fails_replaces_nobody() {
    let handler = does(|_| async {
        sleep(Duration::from_millis(200)).await;
        Ran::failed("connection", "nobody listens")
    });
    let site = Site::start(Parts::new("dependency", 4), handler).await;
    let before = site.staff();
    let jobs = site.submit(vec![json!(1); 1_000]).await;
    for id in &jobs {
        let job = site.at_rest(id).await;
        assert_eq!((job.state, job.counters.attempts), (State::Failed, 3));
    }
    assert_eq!((site.staff(), site.replacements()), (before, 0.0));
    assert!(site.engine.workers().iter().all(|worker| worker.why.is_none()));
    let health = site.engine.health(site.engine.readiness().await);
    assert!(health.checks.hold(), "{health:?}");
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_is_away_replaces_nobody() {
    let handler = does(|_| async {
        sleep(Duration::from_secs(1)).await;
        Ran::returned("1")
    });
    let site = Site::start(Parts::new("ledger-away", 4), handler).await;
    let before = site.staff();
    let jobs = site.submit(vec![json!(1); 200]).await;
    site.until("some have run", |site| site.engine.workers().iter().any(|worker| worker.jobs_done > 3)).await;
    site.ledger.cut(true);
    // Thirty checks, ten times what it takes to be found unhealthy.
    sleep(Duration::from_secs(300)).await;
    assert_eq!((site.staff(), site.replacements()), (before.clone(), 0.0));
    let health = site.engine.health(site.engine.readiness().await);
    assert!(!health.checks.database_connectivity && health.checks.execution_success_rate, "{health:?}");
    site.ledger.cut(false);
    for id in &jobs {
        let job = site.at_rest(id).await;
        assert_eq!((job.state, job.counters.attempts), (State::Succeeded, 1));
    }
    assert_eq!((site.staff(), site.replacements()), (before, 0.0));
    site.stop().await;
}

/// Jobs that weigh what their payload says, and stay until they are told to go.
fn weighed(scales: &Arc<Scales>) -> SharedHandler {
    let (scales, groups) = (scales.clone(), AtomicI32::new(1));
    does(move |invocation| {
        let group = groups.fetch_add(1, Ordering::Relaxed);
        let payload: Value = serde_json::from_slice(&invocation.payload).unwrap();
        // A job that was killed once has learned its lesson.
        let bytes = if invocation.fence & 0xffff_ffff > 10 { 0 } else { payload["bytes"].as_u64().unwrap() };
        scales.weigh(group, bytes);
        let noted = invocation.footprint.note(group);
        async move {
            let _noted = noted;
            sleep(Duration::from_secs(120)).await;
            Ran::returned("1")
        }
    })
}

fn heavy(name: &'static str, scales: &Arc<Scales>) -> Parts {
    let limits = WorkerLimits { memory_bytes: 1_000, ..WorkerLimits::default() };
    Parts { limits, host: scales.clone(), timeout_ms: 600_000, ..Parts::new(name, 10) }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_fifth_is_replaced_in_half_a_minute() {
    let scales = Arc::new(Scales::default());
    let site = Site::start(heavy("budget", &scales), weighed(&scales)).await;
    let weights = (0..10).map(|at| json!({ "bytes": if at < 4 { 900 } else { 100 } })).collect();
    let jobs = site.submit(weights).await;
    site.until("the first are replaced", |site| site.replacements() > 0.0).await;
    let began = tokio::time::Instant::now();
    let mut seen = Vec::new();
    while site.replacements() < 4.0 {
        seen.push((began.elapsed(), site.replacements()));
        sleep(Duration::from_millis(500)).await;
    }
    assert!(seen.iter().all(|(at, count)| *at >= Duration::from_secs(29) || *count <= 2.0), "{seen:?}");
    let took = began.elapsed();
    assert!((Duration::from_secs(29)..Duration::from_secs(60)).contains(&took), "{took:?}");
    let crashed: Vec<u32> = {
        let mut crashed = Vec::new();
        for id in &jobs {
            let job = site.at_rest(id).await;
            assert_eq!((job.state, job.counters.attempts), (State::Succeeded, 1));
            crashed.push(job.counters.crashes);
        }
        crashed
    };
    assert_eq!(crashed, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(site.replacements(), 4.0);
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_sick_as_a_whole_panics_and_keeps_its_workers() {
    let scales = Arc::new(Scales::default());
    let site = Site::start(heavy("panic", &scales), weighed(&scales)).await;
    let before = site.staff();
    let weights = (0..10).map(|at| json!({ "bytes": if at < 6 { 900 } else { 100 } })).collect();
    let jobs = site.submit(weights).await;
    site.until("the pool panics", |site| site.count("ganger_pool_panic", "") == 1.0).await;
    for id in &jobs {
        let job = site.at_rest(id).await;
        assert_eq!((job.state, job.counters.crashes), (State::Succeeded, 0));
    }
    assert_eq!((site.staff(), site.replacements()), (before, 0.0));
    site.until("the panic is over", |site| site.count("ganger_pool_panic", "") == 0.0).await;
    assert_eq!(site.replacements(), 0.0);
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn workers_that_have_done_enough_are_recycled_one_at_a_time() {
    let record = Record::default();
    let told = record.clone();
    let handler = does(move |invocation| {
        let record = told.clone();
        async move {
            record.begin(&invocation);
            sleep(Duration::from_millis(2_500)).await;
            record.end(&invocation);
            Ran::returned("1")
        }
    });
    let limits = WorkerLimits { recycle_after_jobs: 5, ..WorkerLimits::default() };
    let site = Site::start(Parts { limits, ..Parts::new("recycle", 3) }, handler).await;
    let before = site.staff();
    let jobs = site.submit(vec![json!(1); 60]).await;
    let (mut leaving, mut fewest) = (0, 3);
    site.until("all three were recycled", |site| {
        let staff = site.staff();
        !before.iter().any(|worker| staff.contains(worker))
    })
    .await;
    while site.count("ganger_workers_recycled_total", "reason=\"jobs\"") < 6.0 {
        let workers = site.engine.workers();
        leaving = leaving.max(workers.iter().filter(|worker| worker.replaced_by.is_some()).count());
        fewest = fewest.min(site.staff().len());
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((leaving, fewest), (1, 3));
    for id in &jobs {
        let job = site.at_rest(id).await;
        assert_eq!((job.state, job.counters.attempts, job.counters.deliveries), (State::Succeeded, 1, 1));
        assert_eq!((record.fences(id).len(), record.finished(id)), (1, 1));
    }
    assert_eq!(site.replacements(), 0.0);
    site.stop().await;
}
