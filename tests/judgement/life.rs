//! Orders to workers, on virtual time.

use std::time::Duration;

use ganger::engine::{Refusal, WorkerOrder, WorkerState};
use ganger::handler::{Ran, SharedHandler};
use ganger::job::State;
use serde_json::json;
use tokio::time::sleep;

use crate::handlers::{Record, does};
use crate::site::{Parts, Site};

/// Jobs of a second that end when they are told to stop. A little more, so that none ends in the very moment of a look.
fn seconds(record: &Record) -> SharedHandler {
    let record = record.clone();
    does(move |invocation| {
        let record = record.clone();
        async move {
            record.begin(&invocation);
            tokio::select! {
                () = sleep(Duration::from_millis(1_013)) => {}
                () = invocation.stop.cancelled() => return Ran::Stopped,
            }
            record.end(&invocation);
            Ran::returned("1")
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_drained_worker_finishes_its_job_while_its_replacement_is_there() {
    let record = Record::default();
    let site = Site::start(Parts::new("drain", 3), seconds(&record)).await;
    let jobs = site.submit(vec![json!(1); 120]).await;
    for round in 0..5 {
        let name = site.staff()[round % 3].0.clone();
        site.until("it is busy", |site| site.worker(&name).is_none_or(|it| it.state == WorkerState::Busy)).await;
        let ordered = site.engine.order_worker(&name, WorkerOrder::Drain, "ada", "", Duration::ZERO).await.unwrap();
        assert!(ordered.obeyed && !ordered.left, "{ordered:?}");
        assert_eq!(ordered.worker.state, WorkerState::Draining);
        let replacement = ordered.worker.replaced_by.clone().expect("a replacement");
        assert!(site.worker(&replacement).is_some() && site.worker(&name).is_some());
        assert_eq!(site.staff().len(), 3);
        let there = |site: &Site| site.worker(&name).is_some_and(|it| it.hired_ms == ordered.worker.hired_ms);
        site.until("it has left", |site| !there(site)).await;
        assert!(site.worker(&replacement).is_some(), "{:?}", site.engine.workers());
    }
    for id in &jobs {
        let job = site.at_rest(id).await;
        assert_eq!((job.state, job.counters.attempts, job.counters.deliveries), (State::Succeeded, 1, 1));
        assert_eq!((record.fences(id).len(), record.finished(id)), (1, 1));
    }
    assert_eq!(site.count("ganger_worker_replacements_total", "reason=\"drain\""), 5.0);
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_worker_is_stopped_and_its_job_spends_no_attempt() {
    let record = Record::default();
    let site = Site::start(Parts::new("replace", 2), seconds(&record)).await;
    let id = site.submit(vec![json!(1)]).await.remove(0);
    let busy = |site: &Site| site.engine.workers().into_iter().find(|worker| worker.state == WorkerState::Busy);
    site.until("it runs", |site| busy(site).is_some()).await;
    let name = busy(&site).unwrap().name;
    let ordered =
        site.engine.order_worker(&name, WorkerOrder::Replace, "ada", "", Duration::from_secs(5)).await.unwrap();
    assert!(ordered.obeyed && ordered.left, "{ordered:?}");
    let job = site.at_rest(&id).await;
    assert_eq!((job.state, job.counters.attempts, job.counters.crashes), (State::Succeeded, 1, 0));
    assert_eq!((job.counters.deliveries, job.counters.deferrals), (2, 1));
    let fences = record.fences(&id);
    assert!(fences.len() == 2 && fences[0] < fences[1] && record.finished(&id) == 1, "{fences:?}");
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn names_are_used_again_and_an_unknown_one_is_told_with_those_there_are() {
    let site = Site::start(Parts::new("names", 2), seconds(&Record::default())).await;
    for _ in 0..20 {
        let name = site.staff()[0].0.clone();
        let ordered =
            site.engine.order_worker(&name, WorkerOrder::Drain, "ada", "", Duration::from_secs(9)).await.unwrap();
        assert!(ordered.obeyed && ordered.left);
    }
    let names: Vec<String> = site.staff().into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| ["worker-1", "worker-2", "worker-3"].contains(&name.as_str())), "{names:?}");
    let unknown = site.engine.order_worker("nobody", WorkerOrder::Drain, "ada", "", Duration::ZERO).await.unwrap_err();
    let Refusal::NotFound { what: "worker", known: Some(known), .. } = unknown else { panic!("{unknown:?}") };
    assert!(known.contains(&format!("node of names:{}", names[0])), "{known}");
    site.stop().await;
}
