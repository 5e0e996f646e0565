//! Redis at its maxmemory.

use std::time::Duration;

use ganger::history::Part;

use super::plan::{Plan, rounds};
use super::world::World;
use crate::support::wait::until;

/// What another client fills Redis up to, in bytes.
const MAXMEMORY: usize = 24 * 1024 * 1024;

/// Another client takes all of Redis: what runs settles, what waits drains, what comes is refused.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_filled_by_another_client() {
    for plan in rounds("broker-full") {
        let redis = vec![("maxmemory", MAXMEMORY.to_string())];
        let mut world = World::start(Plan { redis, ..plan }).await;
        world.load().await;
        let from = world.story.now_us();
        let mut other = world.redis.connection().await;
        let mut number = 0;
        // Ever smaller pieces, until not even a small one goes in.
        for size in [256 * 1024, 4 * 1024, 64] {
            loop {
                number += 1;
                let set = redis::cmd("SET").arg(format!("other:{number}")).arg(vec![b'x'; size]).to_owned();
                if set.exec_async(&mut other).await.is_err() {
                    break;
                }
            }
        }
        // The figure by which submits are refused is a second old at most.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let full = world.story.now_us();
        until("everything accepted has run", || async {
            let ready = world.metric("ganger_queue_jobs{queue=\"flow\",state=\"ready\"}").await;
            let running = world.metric("ganger_queue_jobs{queue=\"flow\",state=\"running\"}").await;
            (ready + running == 0.0 && world.story.now_us() > full + 2_000_000).then_some(())
        })
        .await;
        let answers = world.story.answers(full, world.story.now_us());
        assert!(!answers.is_empty());
        // A node that got no processor for a second has no figure to refuse by, and accepts; that job waits.
        let odd: Vec<_> = answers.iter().filter(|status| !matches!(status, Some(503 | 200 | 409))).collect();
        assert!(odd.len() * 50 <= answers.len(), "of {} submits, too few were refused: {odd:?}", answers.len());
        assert!(answers.contains(&Some(503)));
        world.note("refused meanwhile", answers.len() as f64);
        redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).exec_async(&mut other).await.unwrap();
        redis::cmd("EVAL")
            .arg("for n = 1, ARGV[1] do redis.call('UNLINK', 'other:' .. n) end")
            .arg(0)
            .arg(number)
            .exec_async(&mut other)
            .await
            .unwrap();
        world.all_open().await;
        world.progress(1.0).await;
        world.story.fault("Redis full", Part::Broker, from);
        world.finish().await;
    }
}
