//! Reviews: opened with an outcome, decided once, kept with their job.

use bytes::Bytes;
use ganger::job::review::{Decision, Review, ReviewContent, ReviewReason, Verdict};
use ganger::job::{Failure, JobId, NewJob, QueueName, Seq, State, TypeName};
use ganger::ledger::{
    Accepted, Batch, Order, Ordered, ReviewFilter, ReviewOrder, ReviewStanding, Ruling, Settled, Settlement,
    Verdict as Outcome,
};

use super::{Bench, applied, created, existing, on_every_ledger};

on_every_ledger! {
    a_review_is_opened_with_its_outcome_and_holds_what_the_handler_gave
    a_stale_outcome_opens_no_review
    what_is_late_comes_to_review_by_order
    a_review_is_decided_once
    only_the_life_that_was_looked_at_is_decided
    an_approval_accepts_its_jobs_and_a_rejection_none
    the_jobs_of_an_approval_meet_what_is_known
    of_two_decisions_at_the_same_time_one_wins
    a_retry_closes_the_review_and_the_next_life_opens_its_own
    a_deleted_job_takes_its_reviews_along
    pages_of_reviews_follow_each_other_either_way
    every_filter_of_a_page_of_reviews_holds
    the_backlog_counts_by_reason
}

/// A decision on one life.
pub(super) fn ruling(bench: &Bench, id: &JobId, seq: Seq, verdict: Verdict) -> Ruling {
    let (by, note) = ("ada".to_owned(), "a note".to_owned());
    let decision = Decision { verdict, by, note, at: bench.now, proposal: None };
    Ruling { id: id.clone(), seq, decision, result: None, error: None, children: Vec::new() }
}

fn decide(ruling: Ruling) -> Order {
    Order::Decide(Box::new(ruling))
}

async fn order(bench: &Bench, order: Order) -> Ordered {
    bench.ledger.order(&[order], bench.now).await.unwrap().remove(0)
}

fn decided(seq: Seq) -> Ordered {
    Ordered::Decided { seq, children: Vec::new() }
}

fn revive(id: &JobId) -> Order {
    Order::Revive { id: id.clone(), score: 77, by: "bob".to_owned() }
}

fn wish() -> ReviewContent {
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    ReviewContent {
        reason: ReviewReason::Requested,
        proposal: text(r##"{"selector":"#buy"}"##),
        evidence: text(r#"{"confidence":0.4}"#),
        on_approve: text(r#"[{"type":"warm_cache"}]"#),
    }
}

fn to_review(bench: &Bench, job: &NewJob, seq: Seq, content: ReviewContent) -> Settlement {
    let result = Some(Bytes::from_static(b"{}"));
    let verdict = Outcome::Rest { state: State::InReview, result, finished_at: bench.now };
    Settlement { review: Some(Box::new(content)), ..bench.outcome(job, seq, 1, verdict) }
}

/// A job that has come to review.
async fn reviewed(bench: &Bench, job: NewJob, content: ReviewContent) -> Seq {
    let seq = bench.create(job.clone()).await;
    assert_eq!(bench.settle(vec![to_review(bench, &job, seq, content)]).await, [applied()]);
    seq
}

async fn latest(bench: &Bench, id: &JobId) -> Review {
    bench.ledger.reviews_of(id).await.unwrap().remove(0)
}

async fn a_review_is_opened_with_its_outcome_and_holds_what_the_handler_gave(bench: &Bench) {
    let (asked, plain) = (bench.job(), bench.job());
    let (first, second) = (bench.create(asked.clone()).await, bench.create(plain.clone()).await);
    let failed = Outcome::Rest { state: State::InReview, result: None, finished_at: bench.now.plus_ms(3) };
    let settles = vec![to_review(bench, &asked, first, wish()), bench.outcome(&plain, second, 1, failed)];
    assert_eq!(bench.settle(settles.clone()).await, [applied(), applied()]);
    // A commit whose answer was lost is repeated and opens nothing more.
    assert_eq!(bench.settle(settles).await, [Settled::Repeat, Settled::Repeat]);
    let reviews = bench.ledger.reviews_of(&asked.id).await.unwrap();
    assert_eq!(reviews.len(), 1);
    let review = &reviews[0];
    assert_eq!((review.seq, &review.content, &review.decision), (first, &wish(), &None));
    assert_eq!((&review.queue, &review.job_type), (&asked.queue, &asked.job_type));
    assert_eq!(review.error.as_ref().unwrap().class, "timeout");
    let review = latest(bench, &plain.id).await;
    assert_eq!(review.content, ReviewContent::of(ReviewReason::Failed));
    assert_eq!(review.opened_at, bench.now.plus_ms(3));
}

async fn a_stale_outcome_opens_no_review(bench: &Bench) {
    let job = bench.job();
    let seq = bench.create(job.clone()).await;
    bench.confirm(seq, 5).await;
    assert_eq!(bench.settle(vec![to_review(bench, &job, seq, wish())]).await, [Settled::Stale]);
    assert!(bench.ledger.reviews_of(&job.id).await.unwrap().is_empty());
}

async fn what_is_late_comes_to_review_by_order(bench: &Bench) {
    let job = bench.job();
    let seq = bench.create(job.clone()).await;
    let error = Some(Failure::new("late", "not started in time"));
    let rest = Order::Rest { id: job.id.clone(), seq: Some(seq), state: State::InReview, error };
    assert_eq!(order(bench, rest).await, Ordered::Done { seq });
    let review = latest(bench, &job.id).await;
    assert_eq!((review.content.reason, review.error.unwrap().class), (ReviewReason::Late, "late".to_owned()));
}

async fn a_review_is_decided_once(bench: &Bench) {
    let job = bench.keyed("k");
    let seq = reviewed(bench, job.clone(), wish()).await;
    let mut approve = ruling(bench, &job.id, seq, Verdict::Edited);
    approve.result = Some(Bytes::from_static(b"[2]"));
    approve.decision.proposal = Some(Bytes::from_static(b"7"));
    "a\0b".clone_into(&mut approve.decision.note);
    assert_eq!(order(bench, decide(approve.clone())).await, decided(seq));
    let row = bench.look(&job.id).await.unwrap();
    let rest = row.rest.unwrap();
    assert_eq!((rest.state, rest.result.unwrap()), (State::Succeeded, Bytes::from_static(b"[2]")));
    assert_eq!(row.error, None);
    for verdict in [Verdict::Approved, Verdict::Rejected] {
        let second = decide(ruling(bench, &job.id, seq, verdict));
        assert_eq!(order(bench, second).await, Ordered::WrongState(State::Succeeded));
    }
    let told = latest(bench, &job.id).await.decision.unwrap();
    assert_eq!(told, Decision { note: "a\u{fffd}b".to_owned(), ..approve.decision });

    let job = bench.job();
    let seq = reviewed(bench, job.clone(), wish()).await;
    let error = Some(Failure::new("rejected", "by ada"));
    let reject = Ruling { error: error.clone(), ..ruling(bench, &job.id, seq, Verdict::Rejected) };
    assert_eq!(order(bench, decide(reject)).await, decided(seq));
    let row = bench.look(&job.id).await.unwrap();
    assert_eq!((row.rest.as_ref().unwrap().state, &row.error), (State::Failed, &error));
    assert_eq!(row.rest.unwrap().result.unwrap(), Bytes::from_static(b"{}"), "what the handler gave is kept");
    assert_eq!(order(bench, decide(ruling(bench, &JobId::generate(), seq, Verdict::Approved))).await, Ordered::Unknown);
    let live = bench.job();
    let seq = bench.create(live.clone()).await;
    let early = decide(ruling(bench, &live.id, seq, Verdict::Approved));
    assert_eq!(order(bench, early).await, Ordered::WrongState(State::Ready));
}

async fn only_the_life_that_was_looked_at_is_decided(bench: &Bench) {
    let job = bench.job();
    let before = reviewed(bench, job.clone(), wish()).await;
    let Ordered::Done { seq } = order(bench, revive(&job.id)).await else { panic!("revived") };
    let again = Settlement { fence: 2, ..to_review(bench, &job, seq, wish()) };
    assert_eq!(bench.settle(vec![again]).await, [applied()]);
    assert_eq!(order(bench, decide(ruling(bench, &job.id, before, Verdict::Approved))).await, Ordered::Unknown);
    assert_eq!(bench.look(&job.id).await.unwrap().rest.unwrap().state, State::InReview);
    assert_eq!(order(bench, decide(ruling(bench, &job.id, seq, Verdict::Approved))).await, decided(seq));
}

async fn an_approval_accepts_its_jobs_and_a_rejection_none(bench: &Bench) {
    for (verdict, count) in [(Verdict::Approved, 2), (Verdict::Edited, 2), (Verdict::Rejected, 0)] {
        let job = bench.job();
        let seq = reviewed(bench, job.clone(), wish()).await;
        let child = || NewJob { parent: Some(job.id.clone()), ..bench.job() };
        let children = vec![child(), child()];
        let ruling = Ruling { children: children.clone(), ..ruling(bench, &job.id, seq, verdict) };
        let Ordered::Decided { children: accepted, .. } = order(bench, decide(ruling.clone())).await else {
            panic!("decided")
        };
        assert_eq!(accepted.len(), count, "{verdict:?}");
        for (child, accepted) in children.iter().zip(&accepted) {
            assert_eq!(bench.look(&child.id).await.unwrap().seq, created(accepted));
        }
        assert_eq!(bench.look(&children[0].id).await.is_some(), count > 0);
        // The second decision accepts nothing either.
        let fresh = vec![child()];
        let again = Ruling { children: fresh.clone(), ..ruling };
        assert!(matches!(order(bench, decide(again)).await, Ordered::WrongState(_)));
        assert_eq!(bench.look(&fresh[0].id).await, None);
    }
}

async fn the_jobs_of_an_approval_meet_what_is_known(bench: &Bench) {
    let (job, known) = (bench.job(), bench.keyed("k"));
    bench.create(known.clone()).await;
    let seq = reviewed(bench, job.clone(), wish()).await;
    let children = vec![bench.keyed("k"), bench.keyed("new")];
    let approve = Ruling { children: children.clone(), ..ruling(bench, &job.id, seq, Verdict::Approved) };
    let Ordered::Decided { children: accepted, .. } = order(bench, decide(approve)).await else { panic!("decided") };
    assert_eq!(accepted[0], existing(&known.id, true, false));
    assert!(matches!(accepted[1], Accepted::Created { .. }));
    assert_eq!(bench.accept(vec![bench.keyed("new")]).await, [existing(&children[1].id, true, false)]);
}

async fn of_two_decisions_at_the_same_time_one_wins(bench: &Bench) {
    for round in 0..20 {
        let job = bench.job();
        let seq = reviewed(bench, job.clone(), wish()).await;
        let child = NewJob { parent: Some(job.id.clone()), ..bench.job() };
        let children = vec![child.clone()];
        let approve = decide(Ruling { children, ..ruling(bench, &job.id, seq, Verdict::Approved) });
        let other =
            if round % 2 == 0 { decide(ruling(bench, &job.id, seq, Verdict::Rejected)) } else { revive(&job.id) };
        let (approve, other) = ([approve], [other]);
        let (one, two) = tokio::join!(bench.ledger.order(&approve, bench.now), bench.ledger.order(&other, bench.now));
        let (one, two) = (one.unwrap().remove(0), two.unwrap().remove(0));
        let approved = matches!(one, Ordered::Decided { .. });
        let won = |answer: &Ordered| matches!(answer, Ordered::Decided { .. } | Ordered::Done { .. });
        assert!(won(&one) != won(&two), "round {round}: {one:?} and {two:?}");
        assert!(!matches!(one, Ordered::Unknown) && !matches!(two, Ordered::Unknown), "{one:?} and {two:?}");
        assert_eq!(bench.look(&child.id).await.is_some(), approved);
        let verdict = latest(bench, &job.id).await.decision.unwrap().verdict;
        assert_eq!(verdict == Verdict::Approved, approved, "round {round}");
    }
}

async fn a_retry_closes_the_review_and_the_next_life_opens_its_own(bench: &Bench) {
    let job = bench.job();
    let before = reviewed(bench, job.clone(), wish()).await;
    let Ordered::Done { seq } = order(bench, revive(&job.id)).await else { panic!("revived") };
    let told = latest(bench, &job.id).await.decision.unwrap();
    assert_eq!((told.verdict, told.by, told.at), (Verdict::Retried, "bob".to_owned(), bench.now));
    let again = Settlement { fence: 2, ..to_review(bench, &job, seq, ReviewContent::of(ReviewReason::Poison)) };
    bench.settle(vec![again]).await;
    let reviews = bench.ledger.reviews_of(&job.id).await.unwrap();
    assert_eq!(reviews.iter().map(|review| review.seq).collect::<Vec<_>>(), [seq, before]);
    assert_eq!(reviews[0].decision, None);
    // A failed job is revived without a review to close.
    let failed = bench.job();
    bench.finish(failed.clone(), State::Failed, bench.now).await;
    order(bench, revive(&failed.id)).await;
    assert!(bench.ledger.reviews_of(&failed.id).await.unwrap().is_empty());
}

async fn a_deleted_job_takes_its_reviews_along(bench: &Bench) {
    let job = bench.given("a");
    let before = reviewed(bench, job.clone(), wish()).await;
    order(bench, revive(&job.id)).await;
    let cancel = Order::Rest { id: job.id.clone(), seq: None, state: State::Cancelled, error: None };
    order(bench, cancel).await;
    assert_eq!(bench.ledger.reviews_of(&job.id).await.unwrap().len(), 1);
    order(bench, Order::Delete { id: job.id.clone() }).await;
    assert!(bench.ledger.reviews_of(&job.id).await.unwrap().is_empty());
    // The next job of that id is another one.
    let seq = reviewed(bench, job.clone(), wish()).await;
    assert!(seq > before);
    assert_eq!(bench.ledger.reviews_of(&job.id).await.unwrap().len(), 1);
}

async fn pages_of_reviews_follow_each_other_either_way(bench: &Bench) {
    let mut opened = Vec::new();
    for _ in 0..7 {
        opened.push(reviewed(bench, bench.job(), wish()).await);
    }
    for order in [ReviewOrder::OldestFirst, ReviewOrder::NewestFirst] {
        let (mut seen, mut from) = (Vec::new(), None);
        loop {
            let page = bench.ledger.reviews(&ReviewFilter::default(), order, from, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            from = Some(last.number);
            seen.extend(page.iter().map(|review| review.seq));
        }
        assert_eq!(seen, opened, "{order:?}");
        opened.reverse();
    }
}

async fn every_filter_of_a_page_of_reviews_holds(bench: &Bench) {
    let (other, sms) = (QueueName::stored("other"), TypeName::stored("sms"));
    let elsewhere = reviewed(bench, NewJob { queue: other.clone(), ..bench.job() }, wish()).await;
    let retyped = reviewed(bench, NewJob { job_type: sms.clone(), ..bench.job() }, wish()).await;
    let poison = reviewed(bench, bench.job(), ReviewContent::of(ReviewReason::Poison)).await;
    let mut closed = Vec::new();
    for verdict in [Verdict::Approved, Verdict::Edited, Verdict::Rejected] {
        let job = bench.job();
        let seq = reviewed(bench, job.clone(), wish()).await;
        order(bench, decide(ruling(bench, &job.id, seq, verdict))).await;
        closed.push((verdict, seq));
    }
    let page = async |filter: ReviewFilter| {
        let found = bench.ledger.reviews(&filter, ReviewOrder::OldestFirst, None, 100).await.unwrap();
        found.into_iter().map(|review| review.seq).collect::<Vec<_>>()
    };
    let all = ReviewFilter::default;
    assert_eq!(page(all()).await, [elsewhere, retyped, poison]);
    assert_eq!(page(ReviewFilter { queue: Some(other), ..all() }).await, [elsewhere]);
    assert_eq!(page(ReviewFilter { job_type: Some(sms), ..all() }).await, [retyped]);
    assert_eq!(page(ReviewFilter { reason: Some(ReviewReason::Poison), ..all() }).await, [poison]);
    let decided = |verdict| ReviewFilter { standing: ReviewStanding::Decided(verdict), ..ReviewFilter::default() };
    assert_eq!(page(decided(None)).await, closed.iter().map(|(_, seq)| *seq).collect::<Vec<_>>());
    for (verdict, seq) in closed {
        assert_eq!(page(decided(Some(verdict))).await, [seq]);
    }
    assert!(page(decided(Some(Verdict::Retried))).await.is_empty());
}

async fn the_backlog_counts_by_reason(bench: &Bench) {
    assert!(bench.ledger.review_backlog().await.unwrap().is_empty());
    let first = bench.job();
    let seq = reviewed(bench, first.clone(), wish()).await;
    let later = bench.job();
    let later_seq = bench.create(later.clone()).await;
    let verdict = Outcome::Rest { state: State::InReview, result: None, finished_at: bench.now.plus_ms(9) };
    let settle = Settlement { review: Some(Box::new(wish())), ..bench.outcome(&later, later_seq, 1, verdict) };
    bench.ledger.commit(&Batch { settles: vec![settle], ..Batch::default() }).await.unwrap();
    reviewed(bench, bench.job(), ReviewContent::of(ReviewReason::Late)).await;
    let backlog = async || {
        let mut all: Vec<_> = bench.ledger.review_backlog().await.unwrap();
        all.sort_by_key(|open| open.reason);
        all.into_iter().map(|open| (open.reason, open.count, open.oldest.since(bench.now))).collect::<Vec<_>>()
    };
    assert_eq!(backlog().await, [(ReviewReason::Requested, 2, 0), (ReviewReason::Late, 1, 0)]);
    order(bench, decide(ruling(bench, &first.id, seq, Verdict::Approved))).await;
    assert_eq!(backlog().await, [(ReviewReason::Requested, 1, 9), (ReviewReason::Late, 1, 0)]);
}
