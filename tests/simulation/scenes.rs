//! Plays that are written, not drawn: one fault each, and what exactly it may cost.
//!
//! The drawn plays find what nobody thought of; these pin down promises that are too quiet to be missed there,
//! since the sweep and the fences heal nearly everything in the end.

use std::sync::Arc;
use std::time::Duration;

use ganger::engine::Submit;
use ganger::history;
use ganger::job::{Counters, Fence, JobId, QueueName, State};
use ganger::ledger::{Ledger as _, Scope};
use ganger::service::lock;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::site::Weather;
use crate::story::Event;
use crate::world::{Node, Shape, World};

/// Longer than any job here takes that comes to its end.
const PATIENCE: Duration = Duration::from_secs(400);

/// The stage of one scene.
struct Scene {
    world: Arc<World>,
}

/// A lease that the broker gave.
struct Grant {
    fence: Fence,
    suspect: bool,
}

impl Scene {
    /// Plays a scene on virtual time. Nothing in it is left to the seed but how long calm wires take.
    fn play(scene: impl AsyncFnOnce(Scene)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let shape = Shape { workers: 4, committers: (2, 2), payload_cache_bytes: 1 << 24, skew_ms: 0 };
            scene(Self { world: World::new(Dice::seeded(1), shape, false) }).await;
        });
    }

    /// Starts a node and lets it open.
    async fn node(&self) -> Arc<Node> {
        let node = self.world.start_node();
        seconds(8).await;
        node
    }

    async fn submit(&self, node: &Node, plan: &[&str]) -> JobId {
        self.submit_later(node, plan, 0).await
    }

    async fn submit_later(&self, node: &Node, plan: &[&str], delay_ms: u64) -> JobId {
        node.engine().unwrap().submit(vec![job(plan, delay_ms)]).await.remove(0).unwrap().id
    }

    /// Leases given for a job so far.
    fn grants(&self, of: &JobId) -> Vec<Grant> {
        let told = self.world.story.entries().into_iter();
        let grants = told.filter_map(|entry| match entry.event {
            Event::Granted { id, fence, suspect, .. } if id == *of => Some(Grant { fence, suspect }),
            _ => None,
        });
        grants.collect()
    }

    /// How often a job's handler was started.
    fn runs(&self, of: &JobId) -> usize {
        let told = self.world.story.entries();
        let run = |event: &Event| matches!(event, Event::Seen(history::Event::Run(run)) if run.job == of.as_str());
        told.iter().filter(|entry| run(&entry.event)).count()
    }

    /// Waits for a job's success; answers its counters and the fence of its outcome.
    async fn succeeds(&self, node: &Node, id: &JobId) -> (Counters, Fence) {
        let view = node.engine().unwrap().wait(id, PATIENCE).await.unwrap();
        assert_eq!(view.state, State::Succeeded, "{view:?}");
        (view.job.counters, view.job.fence)
    }
}

/// A job that does what `plan` says, a step for each run.
fn job(plan: &[&str], delay_ms: u64) -> Submit {
    let payload = json!({"t": 1, "stubborn": false, "plan": plan});
    Submit {
        job_type: "plain".to_owned(),
        payload: Some(RawValue::from_string(payload.to_string()).unwrap()),
        id: None,
        queue: None,
        priority: None,
        delay_ms: Some(json!(delay_ms)),
        run_at: None,
        timeout_ms: Some(json!(3_600_000)),
        labels: std::collections::BTreeMap::new(),
        idempotency_key: None,
    }
}

/// One delivery, one attempt.
const AT_ONCE: Counters = Counters { attempts: 1, deliveries: 1, crashes: 0, deferrals: 0 };

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

fn broker_weather(node: &Node, weather: Weather) {
    *lock(&node.site.broker_weather) = weather;
}

fn ledger_weather(node: &Node, weather: Weather) {
    *lock(&node.site.ledger_weather) = weather;
}

#[test]
fn a_run_that_outlasts_its_lease_is_delivered_once() {
    Scene::play(async |scene| {
        let (one, _other) = (scene.node().await, scene.node().await);
        let id = scene.submit(&one, &["ok:100000"]).await;
        assert_eq!(scene.succeeds(&one, &id).await.0, AT_ONCE);
    });
}

#[test]
fn a_clock_that_is_an_hour_wrong_costs_no_lease() {
    Scene::play(async |scene| {
        let (one, other) = (scene.node().await, scene.node().await);
        one.site.clock.skew(-3_600_000);
        other.site.clock.skew(3_600_000);
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(scene.submit(&one, &["ok:100000"]).await);
        }
        for id in &ids {
            assert_eq!(scene.succeeds(&one, id).await.0, AT_ONCE);
        }
    });
}

#[test]
fn a_node_that_is_cut_off_from_the_broker_loses_its_lease_and_ends_its_run_and_nothing_crashed() {
    Scene::play(async |scene| {
        let one = scene.node().await;
        let id = scene.submit(&one, &["ok:200000"]).await;
        seconds(1).await;
        let other = scene.node().await;
        broker_weather(&one, Weather::AWAY);
        seconds(60).await;
        assert_eq!(scene.grants(&id).len(), 2);
        // It has heard from the ledger that somebody else has the job: nothing is left that it would wait for.
        let told = Instant::now();
        one.leave(Duration::from_secs(300)).await;
        assert!(told.elapsed() < Duration::from_secs(10), "it still ran: {:?}", told.elapsed());
        let (counters, fence) = scene.succeeds(&other, &id).await;
        assert_eq!(counters, Counters { attempts: 1, deliveries: 2, crashes: 0, deferrals: 1 });
        assert_eq!(fence, scene.grants(&id)[1].fence);
    });
}

#[test]
fn the_death_of_a_node_is_one_crash_of_its_jobs() {
    Scene::play(async |scene| {
        let one = scene.node().await;
        let id = scene.submit(&one, &["ok:100000"]).await;
        let other = scene.node().await;
        one.crash();
        let (counters, _) = scene.succeeds(&other, &id).await;
        assert_eq!(counters, Counters { attempts: 1, deliveries: 2, crashes: 1, deferrals: 0 });
    });
}

#[test]
fn a_loss_is_rebuilt_by_one_node_once() {
    Scene::play(async |scene| {
        let nodes = [scene.node().await, scene.node().await, scene.node().await];
        let mut ids = Vec::new();
        for node in &nodes {
            ids.push(scene.submit(node, &["ok:60000"]).await);
        }
        seconds(1).await;
        let before = scene.world.ledger.identity().await.unwrap().epoch;
        scene.world.flush_broker();
        seconds(30).await;
        assert_eq!(scene.world.ledger.identity().await.unwrap().epoch, before + 1);
        for id in &ids {
            assert_eq!(scene.succeeds(&nodes[0], id).await.0, AT_ONCE);
        }
    });
}

#[test]
fn an_outage_of_the_broker_that_outlasts_all_leases_costs_no_run() {
    Scene::play(async |scene| {
        let nodes = [scene.node().await, scene.node().await];
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(scene.submit(&nodes[0], &["ok:200000"]).await);
        }
        seconds(1).await;
        nodes.iter().for_each(|node| broker_weather(node, Weather::AWAY));
        seconds(70).await;
        nodes.iter().for_each(|node| broker_weather(node, Weather::CALM));
        for id in &ids {
            assert_eq!(scene.succeeds(&nodes[0], id).await.0, AT_ONCE);
        }
    });
}

#[test]
fn a_pause_stands_from_the_first_moment_after_a_loss() {
    Scene::play(async |scene| {
        let node = scene.node().await;
        let main = Scope::Queue(QueueName::stored("main"));
        node.engine().unwrap().pause(&main, "ann", "to look").await.unwrap();
        let id = scene.submit(&node, &["ok:10"]).await;
        seconds(1).await;
        scene.world.flush_broker();
        seconds(60).await;
        assert_eq!(scene.grants(&id).len(), 0);
        node.engine().unwrap().resume(&main).await.unwrap();
        scene.succeeds(&node, &id).await;
    });
}

#[test]
fn what_is_accepted_during_an_outage_runs_as_soon_as_it_is_over() {
    Scene::play(async |scene| {
        let node = scene.node().await;
        broker_weather(&node, Weather::AWAY);
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(scene.submit(&node, &["ok:10"]).await);
            seconds(1).await;
        }
        broker_weather(&node, Weather::CALM);
        // Sooner than the sweep looks at a row.
        seconds(4).await;
        for id in &ids {
            assert_eq!(scene.grants(id).len(), 1);
        }
    });
}

#[test]
fn a_push_that_takes_its_time_is_left_alone() {
    Scene::play(async |scene| {
        let (_sweeps, far) = (scene.node().await, scene.node().await);
        broker_weather(&far, Weather { way_ms: 3_000, ..Weather::CALM });
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(scene.submit(&far, &["ok:10"]).await);
            seconds(1).await;
        }
        for id in &ids {
            let grants = scene.grants(id);
            assert!(grants.len() == 1 && !grants[0].suspect, "it came by another way than its own push");
        }
    });
}

#[test]
fn an_old_copy_of_the_broker_issues_no_fence_again() {
    Scene::play(async |scene| {
        let node = scene.node().await;
        let old = scene.world.broker.snapshot();
        let before = scene.submit(&node, &["ok:10"]).await;
        let (_, before) = scene.succeeds(&node, &before).await;
        let lost = scene.submit_later(&node, &["ok:10"], 1_000).await;
        scene.world.restart_broker(Some(&old));
        let begun = Instant::now();
        let (counters, after) = scene.succeeds(&node, &lost).await;
        assert!(after > before, "{after} after {before}");
        assert_eq!(counters, AT_ONCE);
        assert!(begun.elapsed() < Duration::from_secs(9), "it waited for the sweep: {:?}", begun.elapsed());
    });
}

#[test]
fn a_run_that_was_given_away_after_a_loss_does_not_write_the_outcome() {
    Scene::play(async |scene| {
        let one = scene.node().await;
        let id = scene.submit(&one, &["ok:20000", "ok:120000"]).await;
        seconds(5).await;
        one.site.freeze(true);
        scene.world.flush_broker();
        let other = scene.node().await;
        // The other rebuilds, waits for the one that is silent, and gives its job away.
        seconds(60).await;
        let grants = scene.grants(&id);
        assert_eq!(grants.len(), 2);
        one.site.freeze(false);
        let (_, fence) = scene.succeeds(&other, &id).await;
        assert_eq!(fence, grants[1].fence, "the outcome is that of the first run");
    });
}

#[test]
fn outcomes_that_wait_for_the_ledger_are_bounded() {
    const JOBS: usize = 1_500;
    // As the engine has it, and what its workers and the committers' batches hold beside.
    const BOUND: usize = 1_000 + 100;
    Scene::play(async |scene| {
        let node = scene.node().await;
        let mut ids = Vec::new();
        for _ in 0..JOBS {
            ids.push(scene.submit_later(&node, &["ok:0"], 60_000).await);
        }
        seconds(30).await;
        ledger_weather(&node, Weather::AWAY);
        seconds(60).await;
        let ran = ids.iter().filter(|id| !scene.grants(id).is_empty()).count();
        assert!((500..BOUND).contains(&ran), "{ran} ran while nothing could be recorded");
        ledger_weather(&node, Weather::CALM);
        for id in &ids {
            assert_eq!(scene.succeeds(&node, id).await.0, AT_ONCE);
        }
        assert_eq!(scene.world.ledger.identity().await.unwrap().epoch, 1, "no rebuild was needed");
    });
}

#[test]
fn a_job_that_is_cancelled_before_its_commit_is_repeated_does_not_run() {
    Scene::play(async |scene| {
        let (one, other) = (scene.node().await, scene.node().await);
        one.site.lose_answer("ledger.commit");
        let cancelling = async {
            let id = loop {
                let row = scene.world.ledger.store().live.values().next().map(|row| row.job.spec.id.clone());
                match row {
                    Some(id) => break id,
                    None => sleep(Duration::from_millis(1)).await,
                }
            };
            other.engine().unwrap().cancel(&id).await.unwrap();
        };
        let (id, ()) = tokio::join!(scene.submit(&one, &["ok:10"]), cancelling);
        seconds(30).await;
        assert_eq!((scene.grants(&id).len(), scene.runs(&id)), (1, 0), "the repeat has pushed it, and it is not run");
    });
}

#[test]
fn a_job_that_a_purge_has_cancelled_does_not_run_when_the_answer_to_its_commit_comes() {
    Scene::play(async |scene| {
        let one = scene.node().await;
        let held = one.site.hold_after("ledger.commit");
        let purging = async {
            held.reached().await;
            let count = one.engine().unwrap().purge(&QueueName::stored("main"), "ann").await.unwrap();
            assert_eq!(count, 1);
            held.release();
        };
        let (id, ()) = tokio::join!(scene.submit(&one, &["ok:10"]), purging);
        seconds(30).await;
        assert_eq!((scene.grants(&id).len(), scene.runs(&id)), (1, 0), "it was pushed, and it is not run");
    });
}

#[test]
fn a_claim_whose_answer_comes_after_a_rebuild_starts_nothing() {
    Scene::play(async |scene| {
        let one = scene.node().await;
        let (held, id) = loop {
            // The first claim that is met may be one of the other queue.
            let held = one.site.hold_after("broker.claim");
            let id = scene.submit(&one, &["ok:60000"]).await;
            held.reached().await;
            if scene.runs(&id) == 0 && scene.grants(&id).len() == 1 {
                break (held, id);
            }
            held.release();
            scene.succeeds(&one, &id).await;
        };
        let other = scene.node().await;
        scene.world.flush_broker();
        seconds(40).await;
        assert_eq!(scene.runs(&id), 1, "the other node was given it");
        held.release();
        scene.succeeds(&other, &id).await;
        assert_eq!((scene.grants(&id).len(), scene.runs(&id)), (2, 1));
    });
}
