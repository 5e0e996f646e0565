//! Business measures: what counts, and what the ledger hears of it.

use std::sync::Arc;
use std::time::Duration;

use ganger::engine::Refusal;
use ganger::handler::{Envelope, Ran, SharedHandler};
use ganger::job::State;
use ganger::ledger::Tally;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::handlers::does;
use crate::site::{Parts, Site};

fn lookup(hit: bool) -> Value {
    json!({"kind": "cache_lookup", "cache_level": "l1", "hit": hit})
}

fn observing(observations: Vec<Value>) -> Ran {
    let envelope = Box::new(Envelope { observations, ..Envelope::default() });
    Ran::Returned { result: "null".into(), envelope }
}

async fn idle(name: &'static str) -> Site {
    Site::start(Parts::new(name, 1), does(|_| async { Ran::returned("null") })).await
}

/// Value and samples of the hit rate.
fn hit_rate(site: &Site) -> (Option<f64>, u64) {
    let measured = site.engine.measured();
    let rate = measured.iter().find(|measured| measured.series.name == "element_repository_hit_rate").unwrap();
    (rate.value, rate.samples)
}

/// Samples and their sum of the cache lookups in the ledger.
fn kept(site: &Site) -> (u64, f64) {
    let store = site.ledger.model.store();
    let lookups = store.tallies.values().filter(|tally| tally.measure == "cache_lookup");
    lookups.fold((0, 0.0), |(count, total), tally: &Tally| (count + tally.count, total + tally.total))
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_while_the_ledger_is_away_is_kept_when_it_is_back() {
    let site = idle("measures-away").await;
    site.ledger.cut(true);
    assert_eq!(site.engine.observe(&[lookup(true), lookup(false)]), Ok(2));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((site.engine.unkept_measures(), kept(&site)), (1, (0, 0.0)));
    assert_eq!(hit_rate(&site), (Some(0.5), 2));
    assert_eq!(site.engine.observe(&[lookup(true)]), Ok(1));
    site.ledger.cut(false);
    site.until("the ledger has them", |site| site.engine.unkept_measures() == 0).await;
    assert_eq!(kept(&site), (3, 2.0));
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_addition_whose_answer_was_lost_counts_once() {
    let site = idle("measures-mute").await;
    site.ledger.mute(true);
    assert_eq!(site.engine.observe(&[lookup(true)]), Ok(1));
    site.until("the ledger has heard of it", |site| kept(site).0 > 0).await;
    assert_eq!(site.engine.observe(&[lookup(false)]), Ok(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    site.ledger.mute(false);
    site.until("all answers are there", |site| site.engine.unkept_measures() == 0).await;
    assert_eq!(kept(&site), (2, 1.0));
    assert_eq!(hit_rate(&site), (Some(0.5), 2));
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn observations_beyond_what_can_be_held_are_refused_whole() {
    let mut parts = Parts::new("measures-full", 1);
    parts.measures.labels_max = 1_000;
    let site = Site::start(parts, does(|_| async { Ran::returned("null") })).await;
    site.ledger.cut(true);
    let many = |kind: usize| -> Vec<Value> {
        let observation = |at| match kind {
            0 => json!({"kind": "feedback", "feature": format!("f{at}"), "score": 4}),
            _ => json!({"kind": "healing", "strategy": format!("s{at}"), "healed": true}),
        };
        (0..1_000).map(observation).collect()
    };
    let answer = loop {
        // A new minute each time, so nothing adds up.
        match site.engine.observe(&many(0)).and_then(|_| site.engine.observe(&many(1))) {
            Ok(1_000) => tokio::time::sleep(Duration::from_secs(60)).await,
            answer => break answer,
        }
    };
    assert!(matches!(answer, Err(Refusal::LedgerUnavailable { unknown: false, .. })), "{answer:?}");
    let held = site.engine.unkept_measures();
    // As much as may wait, and what waits before it for an answer.
    assert!((10_000..=12_000).contains(&held), "{held}");
    site.ledger.cut(false);
    site.until("the ledger has them", |site| site.engine.unkept_measures() == 0).await;
    assert_eq!(site.ledger.model.store().tallies.len(), held);
    site.stop().await;
}

/// A handler that observes a hit; for payloads that say so, not before the gate lets it, and whatever it is told.
fn gated(gate: &Arc<Notify>) -> SharedHandler {
    let gate = gate.clone();
    does(move |invocation| {
        let gate = gate.clone();
        async move {
            if &invocation.payload[..] == b"\"late\"" {
                gate.notified().await;
            }
            observing(vec![lookup(true)])
        }
    })
}

async fn one_runs(site: &Site) {
    site.until("it runs", |site| site.engine.workers().iter().any(|worker| worker.job.is_some())).await;
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_refused_observes_nothing() {
    let gate = Arc::new(Notify::new());
    let site = Site::start(Parts::new("measures-stale", 1), gated(&gate)).await;
    let late = site.submit(vec![json!("late")]).await.remove(0);
    one_runs(&site).await;
    assert_eq!(site.engine.cancel(&late).await.unwrap().state, State::Cancelled);
    gate.notify_one();
    let next = site.submit(vec![json!("prompt")]).await.remove(0);
    assert_eq!(site.at_rest(&next).await.state, State::Succeeded);
    // The only worker has concluded the late run before it took the next one.
    assert_eq!(hit_rate(&site), (Some(1.0), 1));
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_whose_commit_is_repeated_observes_once() {
    let gate = Arc::new(Notify::new());
    let site = Site::start(Parts::new("measures-repeat", 1), gated(&gate)).await;
    let id = site.submit(vec![json!("late")]).await.remove(0);
    one_runs(&site).await;
    site.ledger.mute(true);
    gate.notify_one();
    site.until("the outcome is in the ledger", |site| !site.ledger.model.store().finished.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(hit_rate(&site), (None, 0), "nobody knows yet that it is recorded");
    site.ledger.mute(false);
    assert_eq!(site.at_rest(&id).await.state, State::Succeeded);
    site.until("it counts", |site| hit_rate(site).1 > 0).await;
    site.until("the ledger has it", |site| site.engine.unkept_measures() == 0).await;
    assert_eq!((hit_rate(&site), kept(&site)), ((Some(1.0), 1), (1, 1.0)));
    site.stop().await;
}
