//! Hung workers and leaking children, on real time.

use std::sync::Arc;

use ganger::engine::WorkerState;
use ganger::handler::Ran;
use ganger::handler::command::{CommandHandler, CommandParams};
use ganger::host::Machine;
use ganger::job::State;
use ganger::policy::health::WorkerLimits;
use serde_json::json;

use crate::handlers::{Gate, Record, does};
use crate::site::{Parts, Site};

/// A handler that blocks its thread in its first run, and only there.
fn blocks_once(gate: &Gate, record: &Record) -> ganger::handler::SharedHandler {
    let (gate, record) = (gate.clone(), record.clone());
    does(move |invocation| {
        let (gate, record) = (gate.clone(), record.clone());
        async move {
            record.begin(&invocation);
            if invocation.payload.as_ref() == b"\"hang\"" && record.fences(&invocation.id).len() == 1 {
                gate.block();
            }
            record.end(&invocation);
            Ran::returned("1")
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_loses_its_job_to_a_replacement() {
    let (gate, record) = (Gate::default(), Record::default());
    let _opener = gate.opens_at_last();
    let site = Site::start(Parts::quick("hang", 3), blocks_once(&gate, &record)).await;
    let before = site.staff();
    let id = site.submit(vec![json!("hang")]).await.remove(0);
    let job = site.at_rest(&id).await;
    assert_eq!((job.state, job.counters.attempts, job.counters.crashes), (State::Succeeded, 1, 1));
    let fences = record.fences(&id);
    assert!(fences.len() == 2 && fences[0] < fences[1], "{fences:?}");
    assert_eq!(job.fence, fences[1]);

    // The name stays taken while the thread is blocked; everybody else is who they were.
    let hung = site.engine.workers().into_iter().find(|worker| worker.state == WorkerState::Hung).expect("a hung one");
    assert!(hung.replaced_by.as_deref() == Some("worker-4") && hung.why.is_some(), "{hung:?}");
    let after = site.staff();
    assert_eq!(after.len(), 3);
    let stayed: Vec<_> = before.iter().filter(|worker| after.contains(worker)).collect();
    assert_eq!(stayed.len(), 2, "{before:?} {after:?}");
    site.until("the hung one is shown", |site| site.count("ganger_pool_workers", "state=\"hung\"") == 1.0).await;
    assert_eq!((site.replacements(), site.count("ganger_worker_replacements_total", "reason=\"hung\"")), (1.0, 1.0));

    // Its late result is refused, and its name is free again.
    gate.open();
    site.until("the name is free", |site| site.worker(&hung.name).is_none()).await;
    assert_eq!(site.engine.job(&id).await.unwrap().job.history.len(), 1);
    assert_eq!((site.staff(), site.replacements()), (after, 1.0));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_ignores_the_word_to_stop_is_dropped_and_its_worker_stays() {
    let record = Record::default();
    let told = record.clone();
    let handler = does(move |invocation| {
        told.begin(&invocation);
        async move { std::future::pending().await }
    });
    let site = Site::start(Parts::quick("stubborn", 2), handler).await;
    let before = site.staff();
    let id = site.submit(vec![json!(1)]).await.remove(0);
    let job = site.at_rest(&id).await;
    assert_eq!((job.state, job.counters.attempts, job.counters.crashes), (State::Failed, 3, 0));
    assert_eq!((site.staff(), site.replacements()), (before, 0.0));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_leaks_is_killed_and_its_worker_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("leaked");
    // Its first run takes 48 MB and keeps them; the second one is content.
    let line = format!(
        "test -e {0} && exit 0; touch {0}; leak=$(head -c 48000000 /dev/zero | tr '\\0' x); while :; do sleep 0.1; done",
        flag.display()
    );
    let handler = Arc::new(CommandHandler::new(CommandParams {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), line],
        env: [].into(),
        exit_classes: [].into(),
        term_grace_ms: 100,
    }));
    let limits = WorkerLimits { memory_bytes: 32 << 20, ..WorkerLimits::default() };
    let parts = Parts { limits, timeout_ms: 600_000, host: Arc::new(Machine::new()), ..Parts::quick("leak", 3) };
    let site = Site::start(parts, handler).await;
    let before = site.staff();
    let id = site.submit(vec![json!(null)]).await.remove(0);
    let job = site.at_rest(&id).await;
    assert_eq!((job.state, job.counters.attempts, job.counters.crashes), (State::Succeeded, 1, 1));
    assert_eq!((site.replacements(), site.count("ganger_worker_replacements_total", "reason=\"memory\"")), (1.0, 1.0));
    let after = site.staff();
    assert_eq!((after.len(), before.iter().filter(|worker| after.contains(worker)).count()), (3, 2));
    site.stop().await;
}
