//! Interleavings that have a name: each is brought about by a script, not by chance.

use std::sync::Arc;
use std::time::Duration;

use ganger::engine::{Edits, Engine, Fate, Refusal, Reviewer, Submit, Submitted};
use ganger::history;
use ganger::job::review::Verdict;
use ganger::job::{Job, JobId, QueueName, State};
use ganger::service::lock;
use serde_json::json;
use serde_json::value::RawValue;

use crate::dice::Dice;
use crate::schedule;
use crate::site::Weather;
use crate::story::Event;
use crate::support::model_ledger::ModelLedger;
use crate::world::{LEASE_MS, Node, Shape, World};

/// Longer than anything here takes that works.
const PATIENCE: Duration = Duration::from_secs(300);

fn world() -> Arc<World> {
    let shape = Shape { workers: 2, committers: (2, 2), payload_cache_bytes: 1 << 20, skew_ms: 0 };
    World::new(Dice::seeded(7), shape, false)
}

/// A node that is ready to claim.
async fn node(world: &World) -> (Arc<Node>, Engine) {
    let node = world.start_node();
    let engine = node.engine().unwrap();
    engine.broker_open(PATIENCE).await.unwrap();
    // Claims begin a moment after the broker is open.
    tokio::time::sleep(Duration::from_secs(2)).await;
    (node, engine)
}

fn submit(id: Option<&str>, plan: &[&str], stubborn: bool) -> Submit {
    let payload = json!({"t": 1, "plan": plan, "stubborn": stubborn}).to_string();
    Submit {
        job_type: "plain".to_owned(),
        payload: Some(RawValue::from_string(payload).unwrap()),
        id: id.map(str::to_owned),
        queue: None,
        priority: None,
        delay_ms: None,
        run_at: None,
        timeout_ms: None,
        labels: std::collections::BTreeMap::new(),
        idempotency_key: None,
    }
}

async fn send(engine: &Engine, submit: Submit) -> Result<Submitted, Refusal> {
    engine.submit(vec![submit]).await.remove(0)
}

/// The job once it is at rest.
async fn at_rest(world: &World, id: &JobId) -> Job {
    let rest = || world.ledger.store().finished.values().find(|row| row.job.spec.id == *id).map(|row| row.job.clone());
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(job) = rest() {
            return job;
        }
        assert!(tokio::time::Instant::now() < end, "job {id} does not come to rest");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fences and callers of all runs.
fn runs(world: &World) -> Vec<(i64, String)> {
    let run = |event| match event {
        Event::Seen(history::Event::Run(run)) => Some((run.fence, run.caller.unwrap_or_default())),
        _ => None,
    };
    world.story.entries().into_iter().filter_map(|entry| run(entry.event)).collect()
}

/// Waits until `count` runs have started.
async fn started(world: &World, count: usize) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while runs(world).len() < count {
        assert!(tokio::time::Instant::now() < end, "{} of {count} runs have started", runs(world).len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets a minute pass in which nothing may happen any more, and looks whether all is as it should be.
async fn nothing_is_left(world: &World) {
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.ledger.store().live.is_empty(), "jobs are live: {:?}", world.ledger.store().live);
    assert_eq!(schedule::entries(world).await, 0, "entries are left in the broker");
}

fn result(job: &Job) -> String {
    let result = job.rest.as_ref().and_then(|rest| rest.result.clone()).unwrap_or_default();
    String::from_utf8(result.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lost_commit_answer_of_an_accept_makes_one_job() {
    let world = world();
    let (node, engine) = node(&world).await;
    node.site.lose_answer("ledger.commit");
    let submitted = send(&engine, submit(None, &["ok:10"], false)).await.unwrap();
    assert_eq!(submitted.fate, Fate::Created);
    assert_eq!(at_rest(&world, &submitted.id).await.rest.unwrap().state, State::Succeeded);
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 1);
    assert_eq!(world.ledger.store().finished.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_accept_whose_answers_all_were_lost_is_repeated_by_its_client_under_the_id_it_was_told() {
    let world = world();
    let (node, engine) = node(&world).await;
    (0..4).for_each(|_| node.site.lose_answer("ledger.commit"));
    let first = send(&engine, submit(None, &["ok:10"], false)).await;
    let Err(Refusal::LedgerUnavailable { unknown: true, id: Some(id), .. }) = first else { panic!("{first:?}") };
    let second = send(&engine, submit(Some(id.as_str()), &["ok:10"], false)).await.unwrap();
    assert_eq!((second.id, second.fate), (id.clone(), Fate::Active));
    // Nobody pushed it, because nobody knew that it was there.
    assert_eq!(at_rest(&world, &id).await.rest.unwrap().state, State::Succeeded);
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 1);
    assert_eq!(world.ledger.store().finished.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_commit_answer_of_a_settle_is_one_outcome() {
    let world = world();
    let (node, engine) = node(&world).await;
    let submitted = send(&engine, submit(None, &["ok:500"], false)).await.unwrap();
    started(&world, 1).await;
    (0..2).for_each(|_| node.site.lose_answer("ledger.commit"));
    let job = at_rest(&world, &submitted.id).await;
    assert_eq!((job.counters.attempts, job.history.len()), (1, 1));
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 1);
    let rested = world.story.entries().iter().filter(|entry| matches!(entry.event, Event::Rested { .. })).count();
    assert_eq!(rested, 1);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_was_held_without_the_ledger_needs_no_other_one_to_be_recorded() {
    let world = world();
    let (node, engine) = node(&world).await;
    let submitted = send(&engine, submit(None, &["ok:500"], false)).await.unwrap();
    started(&world, 1).await;
    *lock(&node.site.ledger_weather) = Weather::AWAY;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(world.ledger.store().finished.is_empty(), "the ledger is away");
    *lock(&node.site.ledger_weather) = Weather::CALM;
    // Nothing else ends on this node, so nothing else wakes its committers.
    assert_eq!(at_rest(&world, &submitted.id).await.counters.attempts, 1);
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 1);
}

/// The job of a node that is stopped at `what` is pushed by the sweep and finished by another node; then the
/// first one goes on and pushes.
async fn stopped_at(what: &'static str, after: bool) {
    let world = world();
    let (first, engine) = node(&world).await;
    let (_second, _) = node(&world).await;
    let hold = if after { first.site.hold_after(what) } else { first.site.hold_before(what) };
    let accepting = tokio::task::JoinSet::from_iter([async move {
        send(&engine, submit(Some("a"), &["ok:10"], false)).await.map(drop).unwrap_or_default();
    }]);
    hold.reached().await;
    first.site.freeze(true);
    let id = JobId::stored("a");
    let job = at_rest(&world, &id).await;
    assert_eq!(runs(&world).len(), 1);
    assert_eq!(runs(&world)[0].1, "node-2");
    first.site.freeze(false);
    hold.release();
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 1, "the late push ran it again");
    assert_eq!(at_rest(&world, &id).await, job);
    drop(accepting);
}

#[tokio::test(start_paused = true)]
async fn a_node_stopped_before_its_push_does_not_run_again_what_another_has_finished() {
    stopped_at("broker.push", false).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_stopped_before_the_answer_to_its_commit_does_not_run_again_what_another_has_finished() {
    stopped_at("ledger.commit", true).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_does_not_run_what_was_cancelled_meanwhile() {
    let world = world();
    let (first, engine) = node(&world).await;
    let (second, other) = node(&world).await;
    let hold = first.site.hold_after("ledger.commit");
    let accepting = tokio::task::JoinSet::from_iter([async move {
        send(&engine, submit(Some("a"), &["ok:10"], false)).await.map(drop).unwrap_or_default();
    }]);
    hold.reached().await;
    // Whoever has given the id need not wait for the answer. The broker that heard of the cancel is lost, and what
    // is at rest is not in its rebuild: nothing but the age of the commit tells the late push from a fresh one.
    let id = JobId::stored("a");
    assert_eq!(other.cancel(&id).await.unwrap().state, State::Cancelled);
    world.restart_broker(None);
    tokio::time::sleep(Duration::from_secs(20)).await;
    // Only the node that has the payload at hand would not look at the row.
    second.crash();
    hold.release();
    nothing_is_left(&world).await;
    assert_eq!(runs(&world), [], "the late push ran it");
    drop(accepting);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_under_way_does_not_run_what_was_cancelled() {
    let world = world();
    let (first, engine) = node(&world).await;
    let hold = first.site.hold_before("broker.push");
    let cancelling = engine.clone();
    let accepting = tokio::task::JoinSet::from_iter([async move {
        send(&engine, submit(Some("a"), &["ok:10"], false)).await.map(drop).unwrap_or_default();
    }]);
    hold.reached().await;
    assert_eq!(cancelling.cancel(&JobId::stored("a")).await.unwrap().state, State::Cancelled);
    hold.release();
    nothing_is_left(&world).await;
    assert_eq!(runs(&world), [], "the push ran it");
    drop(accepting);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_repeated_does_not_run_what_was_cancelled_meanwhile() {
    let world = world();
    let (first, engine) = node(&world).await;
    let (second, other) = node(&world).await;
    let keyed = || Submit { idempotency_key: Some("k".to_owned()), ..submit(None, &["ok:10"], false) };
    first.site.lose_answer("ledger.commit");
    let repeat = first.site.hold_before("ledger.commit");
    let accepting = tokio::task::JoinSet::from_iter([async move {
        send(&engine, keyed()).await.map(drop).unwrap_or_default();
    }]);
    repeat.reached().await;
    // The caller asks another node under its key, and hears of the job.
    let known = send(&other, keyed()).await.unwrap();
    assert_eq!(known.fate, Fate::Active);
    assert_eq!(other.cancel(&known.id).await.unwrap().state, State::Cancelled);
    // What the broker heard of the cancel is lost.
    world.restart_broker(None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    second.crash();
    repeat.release();
    nothing_is_left(&world).await;
    assert_eq!(runs(&world), [], "the repeat ran it");
    drop(accepting);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_while_another_is_about_to_push_does_not_make_a_job_run_twice() {
    let world = world();
    let (first, engine) = node(&world).await;
    let hold = first.site.hold_before("broker.push");
    let accepting = tokio::task::JoinSet::from_iter([async move {
        send(&engine, submit(Some("a"), &["ok:10"], false)).await.map(drop).unwrap_or_default();
    }]);
    hold.reached().await;
    // It looks for entries that a node which was killed may not have pushed.
    let (_second, _) = node(&world).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    hold.release();
    at_rest(&world, &JobId::stored("a")).await;
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 1, "the late push ran it again");
    drop(accepting);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_comes_late_does_not_run_again_what_its_repeat_has_finished() {
    let world = world();
    let (node, engine) = node(&world).await;
    node.site.come_late("broker.push", Duration::from_secs(3));
    let id = send(&engine, submit(None, &["ok:10"], false)).await.unwrap().id;
    at_rest(&world, &id).await;
    assert!(world.clock.elapsed_ms() < 5_000, "the first push is still on its way");
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 1, "the late push ran it again");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_slow_does_not_make_poison_of_what_is_due() {
    let world = world();
    let (first, engine) = node(&world).await;
    let id = send(&engine, submit(None, &["defer:10:8000", "ok:10"], false)).await.unwrap().id;
    started(&world, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.leave(Duration::from_secs(1)).await;
    let (second, _) = node(&world).await;
    second.site.clock.skew(-5_000);
    let job = at_rest(&world, &id).await;
    assert_eq!(job.rest.as_ref().unwrap().state, State::Succeeded, "{:?}", job.error);
    assert!(job.counters.deliveries < 10, "it was claimed {} times", job.counters.deliveries);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_a_cancel_is_not_touched_by_the_slow_first_run() {
    let world = world();
    let (_node, engine) = node(&world).await;
    let id = send(&engine, submit(None, &["ok:20000", "ok:100"], true)).await.unwrap().id;
    started(&world, 1).await;
    assert_eq!(engine.cancel(&id).await.unwrap().state, State::Cancelled);
    engine.retry(&id, "an operator").await.unwrap();
    let job = at_rest_as(&world, &id, State::Succeeded).await;
    let runs_so_far = runs(&world);
    assert_eq!(runs_so_far.len(), 2);
    assert_eq!(result(&job), runs_so_far[1].0.to_string(), "the outcome is that of the second run");
    // The first handler does not hear; it is dropped after its grace, or returns into the void.
    nothing_is_left(&world).await;
    assert_eq!(at_rest(&world, &id).await, job);
    assert_eq!(runs(&world).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_deleted_and_submitted_anew_is_not_touched_by_the_slow_first_run() {
    let world = world();
    let (_node, engine) = node(&world).await;
    let id = send(&engine, submit(Some("order-7"), &["ok:20000"], true)).await.unwrap().id;
    started(&world, 1).await;
    engine.cancel(&id).await.unwrap();
    engine.delete(&id).await.unwrap();
    // A plan of its own, so that nobody can take the one for the other.
    let again = send(&engine, submit(Some("order-7"), &["final:1", "final:100"], false)).await.unwrap();
    assert_eq!((&again.id, again.fate), (&id, Fate::Created));
    let job = at_rest_as(&world, &id, State::Failed).await;
    nothing_is_left(&world).await;
    assert_eq!(at_rest(&world, &id).await, job, "the outcome of the former life came through");
    assert_eq!(runs(&world).len(), 2);
}

/// The job once it rests in this state; an earlier life may have rested in another.
async fn at_rest_as(world: &World, id: &JobId, state: State) -> Job {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let job = at_rest(world, id).await;
        if job.rest.as_ref().is_some_and(|rest| rest.state == state) {
            return job;
        }
        assert!(tokio::time::Instant::now() < end, "job {id} rests as {:?}, not {state}", job.rest);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_an_approval_is_one_decision_and_what_follows_runs_once() {
    let world = world();
    let (node, engine) = node(&world).await;
    let id = send(&engine, submit(None, &["review:10:1"], false)).await.unwrap().id;
    assert_eq!(at_rest(&world, &id).await.rest.unwrap().state, State::InReview);
    let reviewer = |by: &str| Reviewer { by: by.to_owned(), note: String::new() };
    node.site.lose_answer("ledger.order");
    let first = engine.approve(&id, Edits::default(), reviewer("ada")).await;
    assert!(matches!(first, Err(Refusal::LedgerUnavailable { unknown: true, .. })), "{first:?}");
    let second = engine.reject(&id, reviewer("bob")).await;
    let Err(Refusal::Decided { decision, .. }) = second else { panic!("{second:?}") };
    assert_eq!((decision.verdict, decision.by.as_str()), (Verdict::Approved, "ada"));
    // Nobody pushed what the approval had accepted; the sweep finds it.
    started(&world, 2).await;
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), 2);
    let kids = world.ledger.store().finished.values().filter(|row| row.job.spec.parent == Some(id.clone())).count();
    assert_eq!(kids, 1);
}

#[tokio::test(start_paused = true)]
async fn a_staging_ledger_at_productions_broker_is_unfit_and_touches_nothing() {
    let world = world();
    let (_production, engine) = node(&world).await;
    let queue = ganger::ledger::Scope::Queue(QueueName::stored("main"));
    engine.pause(&queue, "test", "jobs are to wait").await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(send(&engine, submit(None, &["ok:10"], false)).await.unwrap().id);
    }
    let before = schedule::entries(&world).await;

    let staging = ModelLedger::new("22222222-2222-4333-8444-555555555555", world.clock.clone());
    let stray = world.start_node_on(&staging);
    let strays = stray.engine().unwrap();
    let why = tokio::time::timeout(PATIENCE, strays.broker_unfit()).await.unwrap();
    assert!(why.contains("11111111") && why.contains("22222222"), "{why}");
    // It accepts, because that needs the ledger alone; it neither pushes nor claims nor empties.
    let accepted = send(&strays, submit(None, &["ok:10"], false)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3 * LEASE_MS.unsigned_abs())).await;
    assert!(strays.readiness().await.broker.is_err());
    assert_eq!(schedule::entries(&world).await, before);
    assert_eq!(runs(&world), []);

    engine.resume(&queue).await.unwrap();
    for id in &ids {
        assert_eq!(at_rest(&world, id).await.rest.unwrap().state, State::Succeeded);
    }
    nothing_is_left(&world).await;
    assert_eq!(runs(&world).len(), ids.len());
    let waits = staging.store().live.values().next().map(|row| row.job.spec.id.clone());
    assert_eq!(waits, Some(accepted.id), "the stray's own job waits in its ledger");
}
