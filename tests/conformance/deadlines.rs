//! No call hangs: a network that goes silent and leaves connections open costs one deadline, and when it
//! is back the same ledger and the same broker work again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests fail by panicking")]

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use ganger::broker::redis::{RedisBroker, RedisParams};
use ganger::broker::{Broker, Held, Release, Which};
use ganger::job::{Counters, NodeId};
use ganger::ledger::postgres::{PostgresLedger, PostgresParams};
use ganger::ledger::{Batch, Confirm, JobFilter, Ledger, Order, Pause, Retention, Scope};
use tokio::time::{Instant, timeout};

use crate::broker::fixture::{self, EPOCH, Fixture, HOUR, LEASE, queue};
use crate::ledger::Bench;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Gate, Proxy};
use crate::support::redis::Redis;
use crate::support::wait::{PATIENCE, until};

/// How long one call may take here, in milliseconds.
const TIMEOUT_MS: u64 = 500;
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);
/// Ways of being silent: in both directions or in one, bytes lost or late.
const SILENCES: [(&str, Gate, Gate); 4] = [
    ("both directions lose bytes", Gate::Swallowed, Gate::Swallowed),
    ("requests are lost", Gate::Swallowed, Gate::Open),
    ("answers are lost", Gate::Open, Gate::Swallowed),
    ("everything is held back", Gate::Held, Gate::Held),
];

/// Something to call, and its name.
type Call<'a> = (&'static str, BoxFuture<'a, bool>);

/// A call as a question whether it failed.
macro_rules! calls {
    ($($of:ident . $name:ident ( $($argument:expr),* ))+) => {
        vec![$((stringify!($name), $of.$name($($argument),*).map(|answer| answer.is_err()).boxed())),+]
    };
}

/// Makes all calls at once, so that they also wait for each other; every one has to fail within `deadline`.
async fn all_fail(calls: Vec<Call<'_>>, deadline: Duration, when: &str) {
    let timed = calls.into_iter().map(async |(name, call)| {
        let started = Instant::now();
        let failed = timeout(PATIENCE, call).await.unwrap_or_else(|_| panic!("{name} hangs when {when}"));
        (name, failed, started.elapsed())
    });
    let mut slowest = ("", Duration::ZERO);
    for (name, failed, took) in join_all(timed).await {
        assert!(failed, "{name} cannot succeed when {when}");
        assert!(took <= deadline + SLACK, "{name} took {took:?} when {when}");
        if took > slowest.1 {
            slowest = (name, took);
        }
    }
    println!("{when}: all had failed within {:?} ({})", slowest.1, slowest.0);
}

fn silence(proxy: &Proxy, up: Gate, down: Gate) {
    proxy.set(Direction::Up, |now| now.gate = up);
    proxy.set(Direction::Down, |now| now.gate = down);
}

#[tokio::test]
async fn no_call_of_the_ledger_hangs_on_a_silent_network() {
    let database = Postgres::shared().await.migrated().await;
    let proxy = Proxy::to(&database.url, 1).await;
    let params = PostgresParams { pool_size: 4, timeout_ms: TIMEOUT_MS };
    let ledger = PostgresLedger::connect(&proxy.url(&database.url), params).await.unwrap();
    let bench = Bench::sqlite().await;
    let now = bench.now;

    let batch = Batch { accepts: vec![bench.job(), bench.keyed("k")], ..Batch::default() };
    let confirm = [Confirm { seq: 1, fence: 1, deliveries: 2, crashes: 0, deferrals: 0, now }];
    let (ids, orders) = ([batch.accepts[0].id.clone()], [Order::Delete { id: batch.accepts[0].id.clone() }]);
    let node = crate::ledger::shared::node("ann", now);
    let scope = Scope::Queue(batch.accepts[0].queue.clone());
    let pause = Pause { scope: scope.clone(), by: "ann".to_owned(), reason: String::new(), since: now };
    let keep = Retention { max_age_ms: 1 << 40, max_jobs: 1 << 40, max_bytes: 1 << 40, key_age_ms: 1 << 40 };
    let (filter, job_type) = (JobFilter::default(), &batch.accepts[0].job_type);
    for (when, up, down) in SILENCES {
        // Connections that are in use when the silence begins, and those that are made in it.
        let warm = join_all((0..4).map(|_| ledger.ping())).await;
        assert!(warm.iter().all(Result::is_ok), "{warm:?}");
        silence(&proxy, up, down);
        for round in ["old", "new"] {
            let calls = calls! {
                ledger.commit(&batch)
                ledger.confirm(&confirm)
                ledger.live_jobs(&[1])
                ledger.jobs(&ids)
                ledger.page(&filter, None, 10, now)
                ledger.fences(&[1])
                ledger.last_seq()
                ledger.live_entries(0, 10)
                ledger.late_entries(job_type, now, 10)
                ledger.order(&orders, now)
                ledger.pauses()
                ledger.set_pause(&scope, Some(&pause))
                ledger.retain(keep, now)
                ledger.heartbeat(&node, 1_000)
                ledger.leave(&node.id)
                ledger.take_term("upkeep", &node.id, 1_000)
                ledger.identity()
                ledger.raise_epoch(1, "run-1")
                ledger.sizes()
                ledger.ping()
            };
            let deadline = Duration::from_millis(TIMEOUT_MS);
            all_fail(calls, deadline, &format!("{when} ({round} connections)")).await;
        }
        // No connection is cut: what it lost stays lost.
        let back = Instant::now();
        proxy.calm();
        until(&format!("the ledger answers again after {when}"), async || ledger.ping().await.ok()).await;
        println!("{when}: it answers again after {:?}", back.elapsed());
        // All of the pool is there again, not one connection alone.
        until("every connection is of use", async || {
            let all = join_all((0..8).map(|_| ledger.commit(&batch))).await;
            all.iter().all(Result::is_ok).then_some(())
        })
        .await;
    }
    proxy.swallow();
    let started = Instant::now();
    timeout(PATIENCE, Ledger::close(&ledger)).await.expect("it closes");
    println!("closed on a silent network after {:?}", started.elapsed());
}

#[tokio::test]
async fn no_connection_to_a_silent_ledger_is_waited_for() {
    let database = Postgres::shared().await.migrated().await;
    let proxy = Proxy::to(&database.url, 2).await;
    proxy.swallow();
    let params = PostgresParams { pool_size: 4, timeout_ms: TIMEOUT_MS };
    let url = proxy.url(&database.url);
    let started = Instant::now();
    let refused = timeout(PATIENCE, PostgresLedger::connect(&url, params)).await.expect("it returns").unwrap_err();
    assert!(refused.is_transient() && started.elapsed() <= Duration::from_millis(TIMEOUT_MS) + SLACK, "{refused}");
}

#[tokio::test]
async fn no_call_of_the_broker_hangs_on_a_silent_network() {
    let redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    let proxy = Proxy::to(&redis.url(), 3).await;
    let params = RedisParams {
        timeout_ms: TIMEOUT_MS,
        connect_timeout_ms: TIMEOUT_MS,
        ..RedisParams::new(proxy.url(&redis.url()))
    };
    let broker = RedisBroker::new(params).unwrap();
    let ready = async || {
        broker.identity().await.ok()?;
        broker.adopt(EPOCH);
        broker.push(&queue(), &[f.entry("a", "fast", 1)]).await.ok()
    };
    ready().await.expect("a broker in good weather");

    let lease = fixture::lease_ref("a", 1, 1);
    let (leases, settles) = ([lease.clone()], [fixture::settle(&lease, Release::Crash)]);
    let (entries, request, name) = ([f.entry("b", "fast", 1)], f.request(&["fast"], 1), queue());
    let (gone, living) = ([(lease.id.clone(), 1)], [NodeId::stored("ann")]);
    let queues = [name.clone()];
    let held = [Held { lease: lease.clone(), node: living[0].clone(), counters: Counters::default() }];
    for (when, up, down) in SILENCES {
        silence(&proxy, up, down);
        for round in ["old", "new"] {
            let calls = calls! {
                broker.push(&name, &entries)
                broker.claim(&request)
                broker.renew(&name, &leases, LEASE, HOUR)
                broker.settle(&name, &settles)
                broker.reap(&name, &living, 10)
                broker.remove(&name, &gone, Which::Any)
                broker.set_paused(&name, None, false)
                broker.depth(&name, &[])
                broker.inspect(&name, std::slice::from_ref(&lease.id))
                broker.place(&name, &lease.id, &[])
                broker.leases(&name, 10)
                broker.scan(&name, None, 10)
                broker.restore(&name, &held, LEASE, HOUR)
                broker.open(&queues)
                broker.reset("ledger-1", EPOCH, &queues)
                broker.advance(EPOCH, &queues)
                broker.identity()
            };
            // Waiting for a connection, making one, and the answer have a deadline each.
            let deadline = Duration::from_millis(3 * TIMEOUT_MS);
            all_fail(calls, deadline, &format!("{when} ({round} connections)")).await;
        }
        let back = Instant::now();
        proxy.calm();
        until(&format!("the broker works again after {when}"), ready).await;
        println!("{when}: it works again after {:?}", back.elapsed());
        until("claims work again", async || broker.claim(&request).await.ok()).await;
    }
}
