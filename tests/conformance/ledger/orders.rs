//! Operators' orders, and the pages operators look at.

use ganger::job::{Counters, Failure, JobId, NewJob, QueueName, State, TypeName};
use ganger::ledger::{Accepted, JobFilter, Order, Ordered, Verdict};

use super::{Bench, applied, existing, on_every_ledger};

on_every_ledger! {
    a_revived_job_starts_anew_and_remembers
    only_jobs_that_did_not_succeed_are_revived
    a_deleted_job_frees_its_id_and_keys
    a_live_job_is_not_deleted
    rest_can_mean_one_life_only
    orders_act_one_after_the_other
    pages_follow_each_other_newest_first
    every_filter_of_a_page_holds
}

fn done(seq: i64) -> Ordered {
    Ordered::Done { seq }
}

async fn order(bench: &Bench, order: Order) -> Ordered {
    bench.ledger.order(&[order], bench.now).await.unwrap().remove(0)
}

fn revive(id: &JobId) -> Order {
    Order::Revive { id: id.clone(), score: 77, by: "ada".to_owned() }
}

fn cancel(id: &JobId) -> Order {
    Order::Rest { id: id.clone(), seq: None, state: State::Cancelled, error: None }
}

async fn a_revived_job_starts_anew_and_remembers(bench: &Bench) {
    let spec = NewJob { due_at: Some(bench.now), idempotency_key: Some("k".to_owned()), ..bench.given("a") };
    bench.finish(spec.clone(), State::Failed, bench.now).await;
    let before = bench.look(&spec.id).await.unwrap();
    let Ordered::Done { seq } = order(bench, revive(&spec.id)).await else { panic!("revived") };
    let after = bench.look(&spec.id).await.unwrap();
    assert!(seq > before.seq);
    assert_eq!((after.seq, after.counters, after.fence), (seq, Counters::default(), before.fence));
    assert_eq!((after.history, after.error, after.rest), (before.history, before.error, None));
    assert_eq!(after.spec, NewJob { due_at: None, score: 77, ..spec.clone() });
    assert_eq!(bench.accept(vec![spec.clone()]).await, [existing(&spec.id, true, false)]);
    // It waits since now, not since it was first accepted.
    let later = bench.now.plus_ms(1_000);
    assert_eq!(bench.ledger.order(&[cancel(&spec.id), revive(&spec.id)], later).await.unwrap().len(), 2);
    assert!(bench.ledger.late_entries(&spec.job_type, later, 9).await.unwrap().is_empty());
}

async fn only_jobs_that_did_not_succeed_are_revived(bench: &Bench) {
    for (state, answer) in [
        (State::Succeeded, Some(Ordered::WrongState(State::Succeeded))),
        (State::Failed, None),
        (State::InReview, None),
        (State::Cancelled, None),
        (State::Expired, None),
    ] {
        let job = bench.job();
        bench.finish(job.clone(), state, bench.now).await;
        let got = order(bench, revive(&job.id)).await;
        assert!(answer.map_or(matches!(got, Ordered::Done { .. }), |answer| answer == got), "{state}: {got:?}");
    }
    let live = bench.job();
    bench.create(live.clone()).await;
    assert_eq!(order(bench, revive(&live.id)).await, Ordered::WrongState(State::Ready));
    assert_eq!(order(bench, revive(&JobId::generate())).await, Ordered::Unknown);
}

async fn a_deleted_job_frees_its_id_and_keys(bench: &Bench) {
    let job = NewJob { idempotency_key: Some("k".to_owned()), ..bench.given("a") };
    let seq = bench.finish(job.clone(), State::Succeeded, bench.now).await;
    assert_eq!(order(bench, Order::Delete { id: job.id.clone() }).await, done(seq));
    assert_eq!(bench.look(&job.id).await, None);
    let again = bench.create(job.clone()).await;
    assert!(again > seq);
    let late = bench.outcome(&job, seq, 9, bench.success());
    assert_eq!(bench.settle(vec![late]).await, [ganger::ledger::Settled::Stale]);
}

async fn a_live_job_is_not_deleted(bench: &Bench) {
    let job = bench.job();
    bench.create(job.clone()).await;
    assert_eq!(order(bench, Order::Delete { id: job.id.clone() }).await, Ordered::WrongState(State::Ready));
    assert_eq!(order(bench, Order::Delete { id: JobId::generate() }).await, Ordered::Unknown);
    assert!(bench.look(&job.id).await.is_some());
}

async fn rest_can_mean_one_life_only(bench: &Bench) {
    let job = bench.job();
    let seq = bench.create(job.clone()).await;
    let expire = |seq| Order::Rest {
        id: job.id.clone(),
        seq: Some(seq),
        state: State::Expired,
        error: Some(Failure::new("expired", "too late")),
    };
    assert_eq!(order(bench, expire(seq + 1)).await, Ordered::Unknown);
    assert_eq!(bench.look(&job.id).await.unwrap().rest, None);
    assert_eq!(order(bench, expire(seq)).await, done(seq));
    assert_eq!(order(bench, expire(seq)).await, Ordered::WrongState(State::Expired));
}

async fn orders_act_one_after_the_other(bench: &Bench) {
    let (one, two) = (bench.given("one"), bench.job());
    let (first, second) = (bench.create(one.clone()).await, bench.create(two.clone()).await);
    let orders = [
        cancel(&two.id),
        cancel(&one.id),
        revive(&one.id),
        cancel(&one.id),
        Order::Delete { id: one.id.clone() },
        revive(&one.id),
    ];
    let answers = bench.ledger.order(&orders, bench.now).await.unwrap();
    assert_eq!(answers[..2], [done(second), done(first)]);
    assert_eq!(answers[2], answers[3]);
    assert_eq!(answers[3], answers[4]);
    assert_eq!(answers[5], Ordered::Unknown);
    assert!(matches!(bench.accept(vec![one]).await[0], Accepted::Created { .. }));
}

async fn pages_follow_each_other_newest_first(bench: &Bench) {
    let mut expected = Vec::new();
    for n in 0..10 {
        let state = [State::Succeeded, State::Failed, State::InReview][n % 3];
        let seq = match n % 2 {
            0 => bench.create(bench.job()).await,
            _ => bench.finish(bench.job(), state, bench.now).await,
        };
        expected.insert(0, seq);
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = bench.ledger.page(&JobFilter::default(), before, 3, bench.now).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        seen.extend(page.iter().map(|job| job.seq));
    }
    assert_eq!(seen, expected);
}

async fn every_filter_of_a_page_holds(bench: &Bench) {
    let (main, other) = (QueueName::stored("main"), QueueName::stored("other"));
    let ready = bench.create(bench.job()).await;
    let elsewhere = bench.create(NewJob { queue: other.clone(), ..bench.job() }).await;
    let retyped = bench.create(NewJob { job_type: TypeName::stored("sms"), ..bench.job() }).await;
    let later = Some(bench.now.plus_ms(60_000));
    let scheduled = bench.create(NewJob { due_at: later, ..bench.job() }).await;
    let overdue = bench.create(NewJob { due_at: Some(bench.now), ..bench.job() }).await;
    let tries = bench.job();
    let retrying = bench.create(tries.clone()).await;
    let retry = bench.outcome(&tries, retrying, 1, Verdict::Retry { due_at: bench.now.plus_ms(9_000) });
    assert_eq!(bench.settle(vec![retry]).await, [applied()]);
    let labels = [("team".to_owned(), "re\"d".to_owned()), ("zone".to_owned(), "1".to_owned())];
    let labelled = bench.create(NewJob { labels: labels.into(), ..bench.job() }).await;
    let mut rested = Vec::new();
    for state in [State::Succeeded, State::Failed, State::InReview, State::Cancelled, State::Expired] {
        rested.push((state, bench.finish(bench.job(), state, bench.now).await));
    }
    let page = async |filter: JobFilter| {
        let mut seqs: Vec<_> =
            bench.ledger.page(&filter, None, 100, bench.now).await.unwrap().iter().map(|job| job.seq).collect();
        assert!(seqs.is_sorted_by(|a, b| a > b));
        seqs.reverse();
        seqs
    };
    let state = |state| JobFilter { state: Some(state), ..JobFilter::default() };
    for (at, seq) in &rested {
        assert_eq!(page(state(*at)).await, [*seq]);
    }
    let waiting = [ready, elsewhere, retyped, overdue, labelled];
    assert_eq!(page(state(State::Ready)).await, waiting);
    assert_eq!(page(state(State::Running)).await, waiting);
    assert_eq!(page(state(State::Scheduled)).await, [scheduled]);
    assert_eq!(page(state(State::Retrying)).await, [retrying]);
    assert_eq!(page(JobFilter { queue: Some(other), ..JobFilter::default() }).await, [elsewhere]);
    assert_eq!(page(JobFilter { queue: Some(main), ..state(State::Failed) }).await, [rested[1].1]);
    let sms = Some(TypeName::stored("sms"));
    assert_eq!(page(JobFilter { job_type: sms, ..JobFilter::default() }).await, [retyped]);
    let label = |name: &str, value: &str| JobFilter {
        label: Some((name.to_owned(), value.to_owned())),
        ..JobFilter::default()
    };
    assert_eq!(page(label("team", "re\"d")).await, [labelled]);
    assert_eq!(page(label("zone", "1")).await, [labelled]);
    assert!(page(label("eam", "blue")).await.is_empty());
    assert!(page(label("team", "blu")).await.is_empty());
    assert_eq!(page(label("team", "blue")).await.len(), 11);
    let class = |class: &str| JobFilter { error_class: Some(class.to_owned()), ..JobFilter::default() };
    let failed: Vec<_> = std::iter::once(retrying).chain(rested[1..].iter().map(|(_, seq)| *seq)).collect();
    assert_eq!(page(class("timeout")).await, failed);
    assert!(page(class("other")).await.is_empty());
}
