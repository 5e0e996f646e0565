//! What is accepted, what is known already, and what both look like afterwards.

use bytes::Bytes;
use ganger::job::{Counters, Job, JobId, NewJob, State};
use ganger::ledger::{Accepted, Batch, Settled, Verdict};

use super::{Bench, applied, created, existing, on_every_ledger};

on_every_ledger! {
    an_accepted_job_is_read_back_as_it_was_given
    odd_payloads_come_back_byte_for_byte
    a_given_id_is_accepted_once
    an_idempotency_key_is_accepted_once
    an_id_and_a_key_are_different_things
    another_fingerprint_under_a_known_key_is_told
    repeats_within_a_batch_meet_the_first_of_them
    a_job_that_gets_one_of_its_two_keys_gives_it_back
    a_repeat_in_the_batch_of_a_job_that_was_known_gets_what_is_free
    two_hundred_callers_with_one_key_create_one_job
    a_generated_id_that_its_caller_repeats_is_known_while_live
    a_generated_id_that_its_caller_repeats_is_known_at_rest
    a_batch_whose_answer_was_lost_may_be_repeated
    a_repeated_batch_finds_its_jobs_at_rest
    a_generated_id_under_another_fingerprint_is_not_ours
    a_thousand_jobs_are_one_batch
    what_is_known_is_told_without_accepting
}

async fn an_accepted_job_is_read_back_as_it_was_given(bench: &Bench) {
    let parent = JobId::generate();
    let spec = NewJob {
        due_at: Some(bench.now.plus_ms(1_000)),
        timeout_ms: Some(30_000),
        idempotency_key: Some("order 7 / \"line\" ü".to_owned()),
        parent: Some(parent),
        labels: [("a".to_owned(), "b\"c\u{0}".to_owned())].into(),
        ..bench.given("order-7")
    };
    let seq = bench.create(spec.clone()).await;
    let job = bench.look(&spec.id).await.unwrap();
    let expected = Job {
        seq,
        spec: spec.clone(),
        counters: Counters::default(),
        fence: 0,
        waits_from: bench.now.plus_ms(1_000),
        crashed_at: Vec::new(),
        history: Vec::new(),
        error: None,
        rest: None,
    };
    assert_eq!(job, expected);
    assert_eq!(bench.ledger.live_jobs(&[seq, seq + 1_000]).await.unwrap(), [expected]);
    assert!(bench.ledger.jobs(&[JobId::generate()]).await.unwrap().is_empty());
}

async fn odd_payloads_come_back_byte_for_byte(bench: &Bench) {
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let odd =
        ["\"\\u0000\"", "\"\u{1f980} ü\"", "{ \"b\" : 1, \"a\":[1e400, -0.0] }", "\"'; DROP TABLE live; --\"", &large];
    let jobs: Vec<NewJob> = odd
        .iter()
        .map(|payload| NewJob { payload: Bytes::copy_from_slice(payload.as_bytes()), ..bench.job() })
        .collect();
    let seqs: Vec<_> = bench.accept(jobs.clone()).await.iter().map(created).collect();
    for (job, payload) in jobs.iter().zip(odd) {
        assert!(bench.look(&job.id).await.unwrap().spec.payload == payload.as_bytes());
    }
    let settles = jobs.iter().zip(&seqs).map(|(job, &seq)| {
        let verdict =
            Verdict::Rest { state: State::Succeeded, result: Some(job.payload.clone()), finished_at: bench.now };
        bench.outcome(job, seq, 1, verdict)
    });
    bench.settle(settles.collect()).await;
    for (job, payload) in jobs.iter().zip(odd) {
        let rest = bench.look(&job.id).await.unwrap();
        assert!(rest.spec.payload == payload.as_bytes());
        assert!(rest.rest.unwrap().result.unwrap() == payload.as_bytes());
    }
}

async fn a_given_id_is_accepted_once(bench: &Bench) {
    let job = bench.given("order-1");
    let seq = bench.create(job.clone()).await;
    assert_eq!(bench.accept(vec![job.clone()]).await, [existing(&job.id, true, false)]);
    bench.settle(vec![bench.outcome(&job, seq, 1, bench.success())]).await;
    assert_eq!(bench.accept(vec![job.clone()]).await, [existing(&job.id, true, true)]);
}

async fn an_idempotency_key_is_accepted_once(bench: &Bench) {
    let job = bench.keyed("k");
    let seq = bench.create(job.clone()).await;
    assert_eq!(bench.accept(vec![bench.keyed("k")]).await, [existing(&job.id, true, false)]);
    bench.settle(vec![bench.outcome(&job, seq, 1, bench.success())]).await;
    assert_eq!(bench.accept(vec![bench.keyed("k")]).await, [existing(&job.id, true, true)]);
}

async fn an_id_and_a_key_are_different_things(bench: &Bench) {
    let answers = bench.accept(vec![bench.given("same"), bench.keyed("same"), bench.keyed("id:same")]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Accepted::Created { .. })));
}

async fn another_fingerprint_under_a_known_key_is_told(bench: &Bench) {
    let job = bench.keyed("k");
    bench.create(job.clone()).await;
    let other = NewJob { fingerprint: [8; 32], ..bench.keyed("k") };
    assert_eq!(bench.accept(vec![other]).await, [existing(&job.id, false, false)]);
}

async fn repeats_within_a_batch_meet_the_first_of_them(bench: &Bench) {
    let (by_id, by_key, generated) = (bench.given("a"), bench.keyed("k"), bench.job());
    let other = NewJob { fingerprint: [8; 32], ..bench.keyed("k") };
    let batch = vec![by_id.clone(), by_key.clone(), generated.clone(), by_id.clone(), other, generated.clone()];
    let answers = bench.accept(batch).await;
    assert!(answers[..3].iter().all(|answer| matches!(answer, Accepted::Created { .. })));
    let expected =
        [existing(&by_id.id, true, false), existing(&by_key.id, false, false), existing(&generated.id, true, false)];
    assert_eq!(answers[3..], expected);
    assert_eq!(bench.ledger.live_entries(0, 100).await.unwrap().len(), 3);
}

async fn a_job_that_gets_one_of_its_two_keys_gives_it_back(bench: &Bench) {
    let holder = bench.keyed("k");
    bench.create(holder.clone()).await;
    let half = NewJob { idempotency_key: Some("k".to_owned()), ..bench.given("free") };
    assert_eq!(bench.accept(vec![half]).await, [existing(&holder.id, true, false)]);
    // The id is free still.
    bench.create(bench.given("free")).await;
    let other_half = NewJob { idempotency_key: Some("fresh".to_owned()), ..bench.given("free") };
    assert_eq!(bench.accept(vec![other_half.clone()]).await, [existing(&other_half.id, true, false)]);
    bench.create(bench.keyed("fresh")).await;
}

async fn a_repeat_in_the_batch_of_a_job_that_was_known_gets_what_is_free(bench: &Bench) {
    let holder = bench.keyed("k");
    bench.create(holder.clone()).await;
    let half = NewJob { idempotency_key: Some("k".to_owned()), ..bench.given("free") };
    let whole = bench.given("free");
    let answers = bench.accept(vec![half, whole.clone(), bench.keyed("k")]).await;
    assert_eq!(answers[0], existing(&holder.id, true, false));
    created(&answers[1]);
    assert_eq!(answers[2], existing(&holder.id, true, false));
}

async fn two_hundred_callers_with_one_key_create_one_job(bench: &Bench) {
    let callers = (0..200).map(|n| {
        let job = NewJob { idempotency_key: Some("one".to_owned()), ..bench.given(&format!("id-{n}")) };
        let ledger = bench.ledger.clone();
        async move { ledger.commit(&Batch { accepts: vec![job], ..Batch::default() }).await.unwrap() }
    });
    let answers = futures_util::future::join_all(callers).await;
    let created = answers.iter().filter(|answer| matches!(answer.accepts[0], Accepted::Created { .. })).count();
    assert_eq!(created, 1);
    assert_eq!(bench.ledger.live_entries(0, 1_000).await.unwrap().len(), 1);
    // Nobody else kept its own id.
    let all = (0..200).map(|n| bench.given(&format!("id-{n}"))).collect();
    let free = bench.accept(all).await.iter().filter(|answer| matches!(answer, Accepted::Created { .. })).count();
    assert_eq!(free, 199);
}

async fn a_generated_id_that_its_caller_repeats_is_known_while_live(bench: &Bench) {
    let job = bench.job();
    bench.create(job.clone()).await;
    let repeat = NewJob { id_given: true, ..job.clone() };
    assert_eq!(bench.accept(vec![repeat.clone()]).await, [existing(&job.id, true, false)]);
    let other = NewJob { fingerprint: [8; 32], ..repeat };
    assert_eq!(bench.accept(vec![other]).await, [existing(&job.id, false, false)]);
}

async fn a_generated_id_that_its_caller_repeats_is_known_at_rest(bench: &Bench) {
    let job = bench.job();
    bench.finish(job.clone(), State::Failed, bench.now).await;
    let repeat = NewJob { id_given: true, idempotency_key: Some("k".to_owned()), ..job.clone() };
    assert_eq!(bench.accept(vec![repeat]).await, [existing(&job.id, true, true)]);
    // The key that came with it was given back.
    bench.create(bench.keyed("k")).await;
}

async fn a_batch_whose_answer_was_lost_may_be_repeated(bench: &Bench) {
    let running = bench.job();
    let seq = bench.create(running.clone()).await;
    let batch = Batch {
        accepts: vec![bench.job(), bench.keyed("k"), bench.given("g")],
        settles: vec![bench.outcome(&running, seq, 1, bench.success())],
        repeated: false,
    };
    let first = bench.ledger.commit(&batch).await.unwrap();
    let batch = Batch { repeated: true, ..batch };
    let second = bench.ledger.commit(&batch).await.unwrap();
    assert_eq!(first.settles, [applied()]);
    assert_eq!(second.settles, [Settled::Repeat]);
    assert_eq!(second.accepts[..2], first.accepts[..2]);
    // An id of the caller's cannot tell a repeat from a second submit.
    assert_eq!(second.accepts[2], existing(&batch.accepts[2].id, true, false));
    assert_eq!(bench.ledger.live_entries(0, 100).await.unwrap().len(), 3);
}

async fn a_repeated_batch_finds_its_jobs_at_rest(bench: &Bench) {
    let (plain, keyed) = (bench.job(), bench.keyed("k"));
    let first = bench.finish(plain.clone(), State::Succeeded, bench.now).await;
    let second = bench.finish(keyed.clone(), State::Succeeded, bench.now).await;
    let answers = bench.accept_again(vec![plain.clone(), keyed.clone()]).await;
    assert_eq!(answers, [Accepted::Created { seq: first }, Accepted::Created { seq: second }]);
    assert!(bench.ledger.live_entries(0, 10).await.unwrap().is_empty());
}

async fn a_generated_id_under_another_fingerprint_is_not_ours(bench: &Bench) {
    let job = bench.job();
    bench.create(job.clone()).await;
    let other = NewJob { fingerprint: [8; 32], ..job.clone() };
    assert_eq!(bench.accept(vec![other]).await, [existing(&job.id, false, false)]);
}

async fn a_thousand_jobs_are_one_batch(bench: &Bench) {
    let jobs: Vec<NewJob> = (0..1_000).map(|_| bench.job()).collect();
    let seqs: Vec<_> = bench.accept(jobs.clone()).await.iter().map(created).collect();
    let entries = bench.ledger.live_entries(0, 2_000).await.unwrap();
    assert_eq!(entries.len(), 1_000);
    for (job, seq) in jobs.iter().zip(&seqs) {
        assert!(entries.iter().any(|entry| entry.seq == *seq && entry.id == job.id));
    }
    let settles = jobs.iter().zip(&seqs).map(|(job, &seq)| bench.outcome(job, seq, 1, bench.success()));
    assert!(bench.settle(settles.collect()).await.iter().all(|settled| *settled == applied()));
    assert!(bench.ledger.live_entries(0, 1).await.unwrap().is_empty());
}

async fn what_is_known_is_told_without_accepting(bench: &Bench) {
    let (given, keyed, generated) = (bench.given("order-1"), bench.keyed("k"), bench.job());
    bench.finish(given.clone(), State::Succeeded, bench.now).await;
    bench.create(keyed.clone()).await;
    bench.create(generated.clone()).await;
    let named = NewJob { id_given: true, ..generated.clone() };
    let asked =
        [bench.given("order-1"), bench.keyed("k"), bench.given("order-2"), bench.keyed("l"), bench.job(), named];
    let known = bench.ledger.knows(&asked).await.unwrap();
    assert_eq!(known, [true, true, false, false, false, true]);
    assert_eq!(bench.look(&asked[2].id).await, None, "a question accepts nothing");
    assert!(bench.ledger.knows(&[]).await.unwrap().is_empty());
}
