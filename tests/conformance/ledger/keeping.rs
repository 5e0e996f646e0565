//! How long the past is kept.

use ganger::clock::Timestamp;
use ganger::job::review::Verdict;
use ganger::job::{NewJob, State};
use ganger::ledger::{Dropped, Order, Retention};

use super::reviews::ruling;
use super::{Bench, existing, on_every_ledger};

on_every_ledger! {
    old_jobs_go_and_young_ones_stay
    a_short_age_is_kept_to_the_job
    the_oldest_go_when_there_are_too_many
    the_oldest_go_when_they_weigh_too_much
    jobs_in_review_are_never_dropped
    a_decided_review_ages_from_its_decision
    keys_outlive_their_jobs
    a_bounded_part_goes_at_a_time
    strays_of_a_wrong_clock_go_too
}

const HOUR: i64 = 3_600_000;
const KEEP: Retention =
    Retention { max_age_ms: 240 * HOUR, max_jobs: 1_000_000, max_bytes: 1 << 40, key_age_ms: 24 * HOUR };

async fn retain(bench: &Bench, retention: Retention, now: Timestamp) -> Dropped {
    let mut all = Dropped::default();
    for _ in 0..100 {
        let dropped = bench.ledger.retain(retention, now).await.unwrap();
        all.jobs += dropped.jobs;
        all.keys += dropped.keys;
        if !dropped.more {
            return all;
        }
    }
    panic!("retention finds no end");
}

async fn old_jobs_go_and_young_ones_stay(bench: &Bench) {
    retain(bench, KEEP, bench.now).await;
    let (old, young) = (bench.job(), bench.job());
    bench.finish(old.clone(), State::Succeeded, bench.now).await;
    bench.finish(young.clone(), State::Failed, bench.now.plus_ms(24 * HOUR)).await;
    bench.create(bench.job()).await;
    let later = bench.now.plus_ms(240 * HOUR + 7 * HOUR);
    assert_eq!(retain(bench, KEEP, bench.now.plus_ms(200 * HOUR)).await.jobs, 0);
    assert_eq!(retain(bench, KEEP, later).await.jobs, 1);
    assert_eq!(bench.look(&old.id).await, None);
    assert!(bench.look(&young.id).await.is_some());
    assert_eq!(bench.ledger.live_entries(0, 9).await.unwrap().len(), 1);
}

async fn a_short_age_is_kept_to_the_job(bench: &Bench) {
    let (old, young) = (bench.job(), bench.job());
    bench.finish(old.clone(), State::Succeeded, bench.now).await;
    bench.finish(young.clone(), State::Succeeded, bench.now.plus_ms(60_000)).await;
    let short = Retention { max_age_ms: 30_000, ..KEEP };
    assert_eq!(retain(bench, short, bench.now.plus_ms(60_000)).await.jobs, 1);
    assert_eq!(bench.look(&old.id).await, None);
    assert!(bench.look(&young.id).await.is_some());
}

async fn the_oldest_go_when_there_are_too_many(bench: &Bench) {
    let jobs: Vec<NewJob> = (0..10).map(|_| bench.job()).collect();
    for (job, n) in jobs.iter().zip(0..) {
        // Four hours apart: some share a partition and some do not.
        bench.finish(job.clone(), State::Succeeded, bench.now.plus_ms((n - 9) * 4 * HOUR)).await;
    }
    assert_eq!(retain(bench, Retention { max_jobs: 3, ..KEEP }, bench.now).await.jobs, 7);
    let ids: Vec<_> = jobs.iter().map(|job| job.id.clone()).collect();
    let mut left: Vec<_> = bench.ledger.jobs(&ids).await.unwrap().into_iter().map(|job| job.spec.id).collect();
    left.sort();
    assert_eq!(left, ids[7..]);
}

async fn the_oldest_go_when_they_weigh_too_much(bench: &Bench) {
    let heavy: Vec<NewJob> = (0..10).map(|_| NewJob { payload: "1".repeat(999).into(), ..bench.job() }).collect();
    for (job, n) in heavy.iter().zip(0..) {
        bench.finish(job.clone(), State::Succeeded, bench.now.plus_ms(n)).await;
    }
    // Each is 999 bytes of payload and one of result.
    let limited = Retention { max_bytes: 4_500, ..KEEP };
    assert_eq!(retain(bench, limited, bench.now).await.jobs, 6);
    assert!(bench.look(&heavy[6].id).await.is_some());
    assert!(bench.look(&heavy[5].id).await.is_none());
}

async fn jobs_in_review_are_never_dropped(bench: &Bench) {
    let (reviewed, other) = (bench.keyed("k"), bench.job());
    bench.finish(reviewed.clone(), State::InReview, bench.now).await;
    bench.finish(other.clone(), State::Succeeded, bench.now).await;
    let open = bench.ledger.reviews_of(&reviewed.id).await.unwrap();
    let nothing = Retention { max_age_ms: 0, max_jobs: 0, max_bytes: 0, key_age_ms: 0 };
    assert_eq!(
        retain(bench, nothing, bench.now.plus_ms(1_000 * HOUR)).await,
        Dropped { jobs: 1, keys: 0, more: false }
    );
    assert_eq!(bench.look(&reviewed.id).await.unwrap().rest.unwrap().state, State::InReview);
    assert_eq!(bench.ledger.reviews_of(&reviewed.id).await.unwrap(), open);
    assert_eq!(bench.accept(vec![bench.keyed("k")]).await, [existing(&reviewed.id, true, true)]);
}

async fn a_decided_review_ages_from_its_decision(bench: &Bench) {
    let job = bench.job();
    bench.finish(job.clone(), State::InReview, bench.now).await;
    let decided = bench.now.plus_ms(300 * HOUR);
    let seq = bench.look(&job.id).await.unwrap().seq;
    let reject = Order::Decide(Box::new(ruling(bench, &job.id, seq, Verdict::Rejected)));
    bench.ledger.order(&[reject], decided).await.unwrap();
    assert_eq!(retain(bench, KEEP, decided.plus_ms(HOUR)).await.jobs, 0);
    assert_eq!(bench.ledger.reviews_of(&job.id).await.unwrap().len(), 1);
    // The decision is kept with the job and goes with it.
    assert_eq!(retain(bench, KEEP, decided.plus_ms(500 * HOUR)).await.jobs, 1);
    assert!(bench.ledger.reviews_of(&job.id).await.unwrap().is_empty());
}

async fn keys_outlive_their_jobs(bench: &Bench) {
    let job = NewJob { idempotency_key: Some("k".to_owned()), ..bench.given("a") };
    bench.finish(job.clone(), State::Succeeded, bench.now).await;
    let short = Retention { max_age_ms: HOUR, ..KEEP };
    assert_eq!(retain(bench, short, bench.now.plus_ms(23 * HOUR)).await, Dropped { jobs: 1, keys: 0, more: false });
    assert_eq!(bench.look(&job.id).await, None);
    assert_eq!(bench.accept(vec![bench.keyed("k")]).await, [existing(&job.id, true, true)]);
    assert_eq!(retain(bench, short, bench.now.plus_ms(25 * HOUR)).await, Dropped { jobs: 0, keys: 2, more: false });
    bench.create(job).await;
}

async fn a_bounded_part_goes_at_a_time(bench: &Bench) {
    let jobs: Vec<NewJob> = (0..2_500).map(|_| bench.job()).collect();
    let answers = bench.accept(jobs.clone()).await;
    let settles = jobs.iter().zip(&answers);
    let settles = settles.map(|(job, answer)| bench.outcome(job, super::created(answer), 1, bench.success()));
    bench.settle(settles.collect()).await;
    let few = Retention { max_jobs: 100, ..KEEP };
    assert!(bench.ledger.retain(few, bench.now).await.unwrap().jobs <= 10_000);
    retain(bench, few, bench.now).await;
    let page = bench.ledger.page(&ganger::ledger::JobFilter::default(), None, 1_000, bench.now).await.unwrap();
    assert_eq!(page.len(), 100);
}

async fn strays_of_a_wrong_clock_go_too(bench: &Bench) {
    let job = bench.job();
    bench.finish(job.clone(), State::Succeeded, Timestamp(5)).await;
    assert!(bench.look(&job.id).await.is_some());
    assert_eq!(retain(bench, Retention { max_age_ms: HOUR, ..KEEP }, bench.now).await.jobs, 1);
    assert_eq!(bench.look(&job.id).await, None);
}
