//! `why` says runnable exactly when the dispatcher would take the job: on a node that is frozen between two steps,
//! every waiting job is explained; then the dispatcher moves, and what it took is compared.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ganger::broker::memory::MemoryBroker;
use ganger::chance::Chance;
use ganger::clock::Clock;
use ganger::engine::{Engine, Setup, Submit, Surroundings};
use ganger::handler::{Handler, Invocation, Ran, SharedHandler};
use ganger::host::ManualHost;
use ganger::job::{JobId, QueueName, TypeName};
use ganger::ledger::Scope;
use ganger::policy::catalog::{Catalog, JobType};
use ganger::policy::shedding::{Mode, Settings};
use ganger::service::{Phase, Supervisor, lock};
use serde_json::json;

use crate::site::{Clockwork, Parts, catalog, params};
use crate::support::model_ledger::ModelLedger;

/// Notes what starts, and goes on until it is told to stop.
#[derive(Debug, Default)]
struct Started(Mutex<BTreeSet<JobId>>);

#[async_trait]
impl Handler for Started {
    async fn run(&self, invocation: Invocation) -> Ran {
        lock(&self.0).insert(invocation.id.clone());
        invocation.stop.cancelled().await;
        Ran::Stopped
    }
}

const TYPES: [&str; 6] = ["plain", "mail", "mail_too", "store", "bulk", "foreign"];

/// Types of every kind: plain, gated by one breaker or two, shed first, and one without a handler here.
fn types(workers: usize) -> Catalog {
    let mut catalog = catalog(&Parts::new("work", workers));
    let plain = catalog.types.values().next().expect("a type").clone();
    let depends_on = |name: &str| match name {
        "mail" | "mail_too" => vec!["mail".to_owned()],
        "store" => vec!["mail".to_owned(), "store".to_owned()],
        _ => Vec::new(),
    };
    let of = |name: &str| JobType { name: TypeName::stored(name), depends_on: depends_on(name), ..plain.clone() };
    catalog.types = TYPES.into_iter().map(|name| (TypeName::stored(name), of(name))).collect();
    catalog
}

fn dice(chance: &Chance, below: u64) -> u64 {
    chance.bits() % below
}

fn happens(chance: &Chance, share: f64) -> bool {
    chance.share() < share
}

async fn one_case(seed: u64) -> (usize, usize) {
    let chance = Chance::seeded(seed);
    let workers = 1 + dice(&chance, 8) as usize;
    let started = Arc::new(Started::default());
    let handler: SharedHandler = started.clone();
    let handlers: HashMap<TypeName, SharedHandler> =
        TYPES[..5].iter().map(|name| (TypeName::stored(name), handler.clone())).collect();
    let clock: Arc<dyn Clock> = Arc::new(Clockwork::new());
    let first = [TypeName::stored("bulk")].into();
    let shedding = Settings { first, ..Settings::off() };
    let setup = Setup { shedding, ..Setup::new(types(workers), handlers) };
    let supervisor = Arc::new(Supervisor::new());
    let surroundings = Surroundings {
        ledger: Arc::new(ModelLedger::new("11111111-2222-4333-8444-555555555555", clock.clone())),
        broker: Arc::new(MemoryBroker::new(clock.clone())),
        host: Arc::new(ManualHost::default()),
        clock,
        chance: Arc::new(Chance::seeded(seed + 1)),
    };
    let engine = Engine::start(params(&Parts::new("work", workers)), setup, surroundings, supervisor.clone());
    engine.broker_open(Duration::from_secs(5)).await.expect("the broker opens");

    // Nothing is claimed before the node runs.
    let submits = (0..dice(&chance, 24)).map(|_| -> Submit {
        let name = TYPES[dice(&chance, 6) as usize];
        let delay_ms = if happens(&chance, 0.1) { 3_600_000 } else { 0 };
        let priority = 1 + dice(&chance, 5);
        serde_json::from_value(json!({ "type": name, "priority": priority, "delay_ms": delay_ms })).expect("a submit")
    });
    let ids: Vec<JobId> =
        engine.submit(submits.collect()).await.into_iter().map(|answer| answer.expect("it is accepted").id).collect();
    for breaker in ["mail", "store"] {
        match dice(&chance, 4) {
            0 => drop(engine.trip_breaker(breaker, "ann", "", None).await.expect("a breaker")),
            // What was open starts slowly.
            1 | 2 => {
                engine.trip_breaker(breaker, "ann", "", None).await.expect("a breaker");
                engine.reset_breaker(breaker, "ann", "").await.expect("a breaker");
            }
            _ => {}
        }
    }
    if happens(&chance, 0.4) {
        engine.set_shedding(Mode::Level(1 + dice(&chance, 5) as u8), "ann", "").await.expect("a level");
    }
    for name in TYPES.into_iter().filter(|_| happens(&chance, 0.1)) {
        engine.pause(&Scope::Type(TypeName::stored(name)), "ann", "").await.expect("a pause");
    }
    if happens(&chance, 0.05) {
        engine.pause(&Scope::Queue(QueueName::stored("work")), "ann", "").await.expect("a pause");
    }
    tokio::time::sleep(Duration::from_millis(1)).await;

    // From here on nothing but this test moves, until it waits: every store answers at once.
    supervisor.enter(Phase::Running);
    let mut runnable = BTreeSet::new();
    let mut reasons = HashMap::new();
    for id in &ids {
        let (_, explanation) = engine.why(id).await.expect("an explanation");
        assert_eq!(explanation.is_runnable, explanation.reasons.is_empty());
        if explanation.is_runnable {
            runnable.insert(id.clone());
        }
        reasons.insert(id.clone(), explanation.reasons);
    }
    assert!(lock(&started.0).is_empty(), "seed {seed}: the dispatcher moved meanwhile, so nothing can be compared");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let taken = lock(&started.0).clone();
    let differ: Vec<_> = runnable.symmetric_difference(&taken).map(|id| (id, &reasons[id])).collect();
    assert!(differ.is_empty(), "seed {seed}, {workers} workers, {} taken: {differ:#?}", taken.len());
    supervisor.shut_down(Duration::from_secs(1)).await;
    (ids.len(), taken.len())
}

#[tokio::test(start_paused = true)]
async fn why_says_runnable_exactly_when_the_dispatcher_takes_the_job() {
    let (mut jobs, mut taken) = (0, 0);
    for seed in 0..400 {
        let (all, some) = one_case(seed).await;
        jobs += all;
        taken += some;
    }
    println!("{jobs} jobs explained, {taken} taken");
    assert!(taken > 500 && jobs - taken > 500, "both answers are met often: {taken} of {jobs}");
}
