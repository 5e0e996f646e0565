//! Rough figures, printed and not judged: run with `--nocapture`, best in a release build.

#![allow(clippy::print_stdout, reason = "its figures are for the person who runs it")]

use ganger::job::NewJob;
use tokio::time::Instant;

use super::{Bench, applied, created, on_every_ledger};

on_every_ledger! {
    batches_of_a_thousand_are_accepted_and_settled
}

async fn batches_of_a_thousand_are_accepted_and_settled(bench: &Bench) {
    let batches: usize = std::env::var("GANGER_TEST_BATCHES").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut waiting = Vec::new();
    let start = Instant::now();
    for _ in 0..batches {
        let jobs: Vec<NewJob> = (0..1_000).map(|_| bench.job()).collect();
        let answers = bench.accept(jobs.clone()).await;
        waiting.push((jobs, answers));
    }
    let accepted = start.elapsed();
    let start = Instant::now();
    for (jobs, answers) in waiting {
        let settles = jobs.iter().zip(&answers);
        let settles = settles.map(|(job, answer)| bench.outcome(job, created(answer), 1, bench.success())).collect();
        assert!(bench.settle(settles).await.iter().all(|settled| *settled == applied()));
    }
    let settled = start.elapsed();
    let rate = |took: std::time::Duration| (batches as u128) * 1_000_000_000 / took.as_micros().max(1);
    println!("{batches} batches: {} accepts/s, {} settles/s", rate(accepted), rate(settled));
}
