//! Outcomes: once per fence, and never in a life they do not belong to.

use bytes::Bytes;
use ganger::job::{Counters, Failure, NewJob, State};
use ganger::ledger::{Accepted, Batch, Confirm, Confirmed, Order, Ordered, Settled, Verdict};

use super::{Bench, applied, created, existing, on_every_ledger};

on_every_ledger! {
    an_outcome_brings_the_job_to_rest_with_all_it_had
    a_retry_stays_live_and_is_due_again
    the_same_fence_settles_once
    a_lower_fence_is_stale
    two_outcomes_of_one_life_in_one_batch_act_in_turn
    an_outcome_of_an_unknown_life_is_stale
    many_nodes_that_settle_the_same_lives_settle_each_once
    children_are_accepted_with_the_outcome
    children_with_known_keys_keep_the_existing_job
    a_stale_outcome_accepts_no_children
    a_nul_in_an_error_harms_nobody
    a_confirmed_claim_reads_its_row
    a_confirm_below_the_rows_fence_is_void
    a_repeated_confirm_is_live_again_until_it_is_settled
    a_confirm_keeps_the_larger_counters_and_notes_crashes
    a_confirm_of_a_job_that_is_due_later_says_so
    many_confirms_answer_in_order
    a_cancelled_job_refuses_the_late_outcome
    an_outcome_of_a_former_life_is_stale
}

async fn an_outcome_brings_the_job_to_rest_with_all_it_had(bench: &Bench) {
    let spec = NewJob { idempotency_key: Some("k".to_owned()), ..bench.given("a") };
    let seq = bench.create(spec.clone()).await;
    let mut outcome = bench.outcome(&spec, seq, 9, bench.success());
    outcome.counters = Counters { attempts: 1, deliveries: 3, crashes: 1, deferrals: 2 };
    assert_eq!(bench.settle(vec![outcome.clone()]).await, [applied()]);
    let job = bench.look(&spec.id).await.unwrap();
    assert_eq!((job.seq, job.fence, &job.spec), (seq, 9, &spec));
    assert_eq!((job.counters, &job.history, &job.error), (outcome.counters, &outcome.history, &None));
    let rest = job.rest.unwrap();
    assert_eq!((rest.state, rest.finished_at), (State::Succeeded, bench.now));
    assert_eq!(rest.result.unwrap(), Bytes::from_static(b"{\"ok\":true}"));
    assert!(bench.ledger.live_jobs(&[seq]).await.unwrap().is_empty());
}

async fn a_retry_stays_live_and_is_due_again(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    let due_at = bench.now.plus_ms(60_000);
    let outcome = bench.outcome(&spec, seq, 3, Verdict::Retry { due_at });
    assert_eq!(bench.settle(vec![outcome.clone()]).await, [applied()]);
    let job = bench.look(&spec.id).await.unwrap();
    assert_eq!((job.seq, job.fence, job.spec.due_at), (seq, 3, Some(due_at)));
    assert_eq!((job.error, job.history, job.rest), (outcome.error, outcome.history, None));
    assert_eq!(bench.ledger.live_entries(0, 9).await.unwrap()[0].due_at, Some(due_at));
    assert_eq!(bench.settle(vec![bench.outcome(&spec, seq, 4, bench.success())]).await, [applied()]);
}

async fn the_same_fence_settles_once(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    let retry = bench.outcome(&spec, seq, 3, Verdict::Retry { due_at: bench.now });
    assert_eq!(bench.settle(vec![retry.clone()]).await, [applied()]);
    assert_eq!(bench.settle(vec![retry]).await, [Settled::Repeat]);
    let rest = bench.outcome(&spec, seq, 4, bench.success());
    assert_eq!(bench.settle(vec![rest.clone()]).await, [applied()]);
    assert_eq!(bench.settle(vec![rest]).await, [Settled::Repeat]);
}

async fn a_lower_fence_is_stale(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    assert!(matches!(bench.confirm(seq, 8).await, Confirmed::Live(_)));
    assert_eq!(bench.settle(vec![bench.outcome(&spec, seq, 7, bench.success())]).await, [Settled::Stale]);
    assert_eq!(bench.look(&spec.id).await.unwrap().rest, None);
    assert_eq!(bench.settle(vec![bench.outcome(&spec, seq, 8, bench.success())]).await, [applied()]);
    assert_eq!(bench.settle(vec![bench.outcome(&spec, seq, 7, bench.success())]).await, [Settled::Stale]);
}

async fn two_outcomes_of_one_life_in_one_batch_act_in_turn(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    let retry = bench.outcome(&spec, seq, 5, Verdict::Retry { due_at: bench.now });
    let late = bench.outcome(&spec, seq, 4, bench.success());
    let rest = bench.outcome(&spec, seq, 6, bench.success());
    let answers = bench.settle(vec![retry.clone(), late, retry, rest.clone(), rest]).await;
    assert_eq!(answers, [applied(), Settled::Stale, Settled::Repeat, applied(), Settled::Repeat]);
}

async fn an_outcome_of_an_unknown_life_is_stale(bench: &Bench) {
    let spec = bench.job();
    assert_eq!(bench.settle(vec![bench.outcome(&spec, 4_711, 1, bench.success())]).await, [Settled::Stale]);
}

async fn many_nodes_that_settle_the_same_lives_settle_each_once(bench: &Bench) {
    let jobs: Vec<NewJob> = (0..50).map(|_| bench.job()).collect();
    let seqs: Vec<_> = bench.accept(jobs.clone()).await.iter().map(created).collect();
    let nodes = (1..=20_i64).map(|fence| {
        // Every other node names them the other way round: the ledger locks them in one order.
        let mut settles: Vec<_> =
            jobs.iter().zip(&seqs).map(|(job, &seq)| bench.outcome(job, seq, fence, bench.success())).collect();
        if fence % 2 == 0 {
            settles.reverse();
        }
        let ledger = bench.ledger.clone();
        async move { ledger.commit(&Batch { settles, ..Batch::default() }).await.unwrap().settles }
    });
    let answers: Vec<Settled> = futures_util::future::join_all(nodes).await.into_iter().flatten().collect();
    assert_eq!(answers.iter().filter(|answer| **answer == applied()).count(), jobs.len());
    assert_eq!(answers.iter().filter(|answer| **answer == Settled::Stale).count(), 19 * jobs.len());
}

async fn children_are_accepted_with_the_outcome(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    let child = NewJob { parent: Some(spec.id.clone()), ..bench.job() };
    let mut outcome = bench.outcome(&spec, seq, 1, bench.success());
    outcome.children = vec![child.clone(), bench.given("child")];
    let answer = bench.settle(vec![outcome.clone()]).await.remove(0);
    let Settled::Applied { children } = answer else { panic!("{answer:?}") };
    assert_eq!(created(&children[0]), bench.look(&child.id).await.unwrap().seq);
    assert_eq!(bench.look(&child.id).await.unwrap().spec, child);
    assert_eq!(bench.settle(vec![outcome]).await, [Settled::Repeat]);
    assert_eq!(bench.ledger.live_entries(0, 9).await.unwrap().len(), 2);
}

async fn children_with_known_keys_keep_the_existing_job(bench: &Bench) {
    let known = bench.keyed("k");
    bench.create(known.clone()).await;
    let (one, two) = (bench.job(), bench.job());
    let (first, second) = (bench.create(one.clone()).await, bench.create(two.clone()).await);
    let mut outcomes =
        vec![bench.outcome(&one, first, 1, bench.success()), bench.outcome(&two, second, 1, bench.success())];
    outcomes[0].children = vec![bench.keyed("k"), bench.keyed("new")];
    outcomes[1].children = vec![bench.keyed("new")];
    let answers = bench.settle(outcomes).await;
    let [Settled::Applied { children: first }, Settled::Applied { children: second }] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(first[0], existing(&known.id, true, false));
    created(&first[1]);
    assert!(matches!(&second[0], Accepted::Existing { same: true, .. }));
}

async fn a_stale_outcome_accepts_no_children(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    bench.confirm(seq, 8).await;
    let mut outcome = bench.outcome(&spec, seq, 7, bench.success());
    outcome.children = vec![bench.given("child")];
    assert_eq!(bench.settle(vec![outcome]).await, [Settled::Stale]);
    bench.create(bench.given("child")).await;
}

async fn a_nul_in_an_error_harms_nobody(bench: &Bench) {
    let (odd, neighbour) = (bench.job(), bench.job());
    let seqs: Vec<_> = bench.accept(vec![odd.clone(), neighbour.clone()]).await.iter().map(created).collect();
    let verdict = Verdict::Rest { state: State::Failed, result: None, finished_at: bench.now };
    let mut outcome = bench.outcome(&odd, seqs[0], 1, verdict);
    outcome.error = Some(Failure::new("exit_1", "core\0dumped"));
    outcome.history[0].error.clone_from(&outcome.error);
    let answers = bench.settle(vec![outcome.clone(), bench.outcome(&neighbour, seqs[1], 1, bench.success())]).await;
    assert_eq!(answers, [applied(), applied()]);
    let job = bench.look(&odd.id).await.unwrap();
    assert_eq!(job.error.unwrap().message, "core\u{fffd}dumped");
    assert_eq!(job.history, outcome.history);
}

async fn a_confirmed_claim_reads_its_row(bench: &Bench) {
    let spec = bench.keyed("k");
    let seq = bench.create(spec.clone()).await;
    let Confirmed::Live(job) = bench.confirm(seq, 5).await else { panic!("live") };
    assert_eq!((job.seq, job.fence, job.spec, job.counters.deliveries), (seq, 5, spec, 2));
}

async fn a_confirm_below_the_rows_fence_is_void(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    bench.confirm(seq, 5).await;
    assert_eq!(bench.confirm(seq, 4).await, Confirmed::Void);
    assert_eq!(bench.confirm(seq + 1_000, 6).await, Confirmed::Void);
    bench.settle(vec![bench.outcome(&spec, seq, 5, bench.success())]).await;
    assert_eq!(bench.confirm(seq, 6).await, Confirmed::Void);
}

async fn a_repeated_confirm_is_live_again_until_it_is_settled(bench: &Bench) {
    let spec = bench.job();
    let seq = bench.create(spec.clone()).await;
    let first = bench.confirm(seq, 5).await;
    assert_eq!(bench.confirm(seq, 5).await, first);
    let retry = bench.outcome(&spec, seq, 5, Verdict::Retry { due_at: bench.now });
    assert_eq!(bench.settle(vec![retry]).await, [applied()]);
    assert_eq!(bench.confirm(seq, 5).await, Confirmed::Void);
    assert!(matches!(bench.confirm(seq, 6).await, Confirmed::Live(_)));
}

async fn a_confirm_keeps_the_larger_counters_and_notes_crashes(bench: &Bench) {
    let seq = bench.create(bench.job()).await;
    let mut claim = Confirm { seq, fence: 1, deliveries: 2, crashes: 0, deferrals: 4, now: bench.now };
    for (fence, crashes, at) in [(1, 1, 10), (2, 1, 20), (3, 2, 30), (4, 3, 40), (5, 5, 50)] {
        claim = Confirm { fence, crashes, now: bench.now.plus_ms(at), ..claim };
        assert!(matches!(bench.ledger.confirm(&[claim.clone()]).await.unwrap()[0], Confirmed::Live(_)));
    }
    claim = Confirm { fence: 6, deliveries: 1, crashes: 0, deferrals: 9, ..claim };
    let Confirmed::Live(job) = bench.ledger.confirm(&[claim]).await.unwrap().remove(0) else { panic!("live") };
    assert_eq!(job.counters, Counters { attempts: 0, deliveries: 2, crashes: 5, deferrals: 9 });
    assert_eq!(job.crashed_at, [50, 40, 30].map(|at| bench.now.plus_ms(at)));
}

async fn a_confirm_of_a_job_that_is_due_later_says_so(bench: &Bench) {
    let due_at = Some(bench.now.plus_ms(60_000));
    let seq = bench.create(NewJob { due_at, ..bench.job() }).await;
    let Confirmed::Live(job) = bench.confirm(seq, 5).await else { panic!("live") };
    assert_eq!(job.spec.due_at, due_at);
}

async fn many_confirms_answer_in_order(bench: &Bench) {
    let seqs: Vec<_> = bench.accept(vec![bench.job(), bench.job()]).await.iter().map(created).collect();
    let claim = |seq, fence| Confirm { seq, fence, deliveries: 2, crashes: 0, deferrals: 0, now: bench.now };
    let claims = [claim(seqs[1], 5), claim(9_999, 1), claim(seqs[0], 3), claim(seqs[1], 4), claim(seqs[1], 6)];
    let answers = bench.ledger.confirm(&claims).await.unwrap();
    let seen: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Confirmed::Live(job) => Some((job.seq, job.fence)),
            Confirmed::Void => None,
        })
        .collect();
    assert_eq!(seen, [Some((seqs[1], 5)), None, Some((seqs[0], 3)), None, Some((seqs[1], 6))]);
}

async fn a_cancelled_job_refuses_the_late_outcome(bench: &Bench) {
    let spec = bench.keyed("k");
    let seq = bench.create(spec.clone()).await;
    bench.confirm(seq, 5).await;
    let cancel = Order::Rest {
        id: spec.id.clone(),
        seq: None,
        state: State::Cancelled,
        error: Some(Failure::new("cancelled", "by ann")),
    };
    assert_eq!(bench.ledger.order(&[cancel], bench.now).await.unwrap(), [Ordered::Done { seq }]);
    assert_eq!(bench.settle(vec![bench.outcome(&spec, seq, 5, bench.success())]).await, [Settled::Stale]);
    let job = bench.look(&spec.id).await.unwrap();
    assert_eq!(job.rest.unwrap().state, State::Cancelled);
    assert_eq!(job.error.unwrap().message, "by ann");
    assert_eq!(bench.accept(vec![bench.keyed("k")]).await, [existing(&spec.id, true, true)]);
}

async fn an_outcome_of_a_former_life_is_stale(bench: &Bench) {
    let spec = bench.given("a");
    let former = bench.finish(spec.clone(), State::Failed, bench.now).await;
    let revive = Order::Revive { id: spec.id.clone(), score: 77, by: "ada".to_owned() };
    let answer = bench.ledger.order(&[revive], bench.now).await.unwrap().remove(0);
    let Ordered::Done { seq } = answer else { panic!("{answer:?}") };
    assert!(seq > former);
    let late = bench.outcome(&spec, former, 2, bench.success());
    assert_eq!(bench.settle(vec![late]).await, [Settled::Stale]);
    assert_eq!(bench.settle(vec![bench.outcome(&spec, seq, 2, bench.success())]).await, [applied()]);
}
