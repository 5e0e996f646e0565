//! Redis loses everything, or forgets the last hour, or its tail: the ledger fills it again.

use ganger::history::Part;
use serde_json::json;

use super::plan::{Plan, rounds, variable};
use super::world::{World, seconds};
use crate::support::proxy::address_of;
use crate::support::redis::{Options, Redis};
use crate::support::wait::until;

/// Loses something under load, waits for the rebuild, and has it judged.
async fn lose(plan: Plan, name: &'static str, harm: impl AsyncFnOnce(&mut World)) {
    let mut world = World::start(plan).await;
    world.load().await;
    let (before, from) = (world.rebuilds().await, world.story.now_us());
    harm(&mut world).await;
    world.rebuilt(before, from).await;
    world.story.fault(name, Part::Broker, from);
    world.progress(1.0).await;
    world.finish().await;
}

async fn flush(redis: &Redis) {
    redis::cmd("FLUSHALL").exec_async(&mut redis.connection().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flushall() {
    for plan in rounds("flushall") {
        lose(plan, "flushall", async |world| flush(&world.redis).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_empty() {
    for plan in rounds("restarted-empty") {
        lose(plan, "restarted empty", async |world| world.redis.restart_empty().await).await;
    }
}

/// An hour-old dump carries the current epoch and looks whole; only the server's own identity tells.
#[tokio::test(flavor = "multi_thread")]
async fn restarted_from_an_old_dump_that_carries_the_current_epoch() {
    for plan in rounds("old-dump") {
        let mut world = World::start(plan).await;
        world.load().await;
        let dump = world.redis.dump().await;
        world.progress(1.0).await;
        let (before, from) = (world.rebuilds().await, world.story.now_us());
        world.redis.restart_from(&dump).await;
        world.rebuilt(before, from).await;
        world.story.fault("restarted from an old dump", Part::Broker, from);
        world.progress(1.0).await;
        world.finish().await;
    }
}

/// The replica stops hearing its master, and is promoted without what it has not heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_promoted_without_the_tail() {
    for plan in rounds("lost-tail") {
        let mut world = World::start(plan).await;
        let link = crate::support::proxy::Proxy::to(&world.redis.url(), world.plan.seed).await;
        let options = Options::default()
            .set("replicaof", &format!("127.0.0.1 {}", link.address().port()))
            .set("repl-diskless-sync-delay", "0");
        let replica = Redis::start_with(options).await;
        until("the replica is in step", || async {
            let info: String =
                redis::cmd("INFO").arg("replication").query_async(&mut replica.connection().await).await.unwrap();
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        world.load().await;
        link.stall();
        world.progress(0.5).await;
        let (before, from) = (world.rebuilds().await, world.story.now_us());
        world.redis.kill();
        let mut promoted = replica.connection().await;
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut promoted).await.unwrap();
        for node in &world.nodes {
            node.broker.retarget(address_of(&replica.url()));
        }
        world.rebuilt(before, from).await;
        world.story.fault("promoted without the tail", Part::Broker, from);
        world.progress(1.0).await;
        // It stays until the end.
        world.finish().await;
        drop(replica);
    }
}

/// 5,000 jobs wait, or `GANGER_CHAOS_LIVE`, while Redis is emptied.
#[tokio::test(flavor = "multi_thread")]
async fn many_live_jobs_are_rebuilt_soon() {
    let count = variable("LIVE").unwrap_or(5_000);
    for plan in rounds("many-live") {
        let mut world = World::start(plan).await;
        let daemon = || world.nodes[0].daemon.as_ref().unwrap();
        let (status, answer) = daemon().post("/v1/queues/work/pause", json!({})).await;
        assert_eq!(status, 200, "{answer}");
        daemon().submit_many(&json!({ "type": "noop", "payload": { "x": "y" } }), count).await;
        let waiting = async || daemon().get("/v1/queues/work").await["ready"].as_u64();
        until("all are in the broker", || async { (waiting().await? >= count as u64).then_some(()) }).await;
        let (before, from) = (world.rebuilds().await, world.story.now_us());
        flush(&world.redis).await;
        until("the broker is rebuilt", || async { (world.rebuilds().await > before).then_some(()) }).await;
        let took = seconds(world.story.now_us() - from);
        assert!(took < 10.0, "{count} live jobs were rebuilt in {took:.1} s");
        // A node that is not open yet does not know.
        let found = until("the queue can be read", || async { waiting().await }).await;
        assert_eq!(found, count as u64, "all are there again");
        world.note("live", count as f64);
        world.note("rebuilt after s", took);
        world.finish().await;
    }
}
