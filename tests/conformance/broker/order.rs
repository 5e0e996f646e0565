//! A claim is the strict k-way minimum: whatever stands in the lanes, a naive sort agrees with it.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::fixture::{self, Fixture};

const LANES: [&str; 4] = ["fast", "slow", "odd", "even"];

#[derive(Debug, Clone)]
struct Case {
    /// Lane and score of each entry; its place is its id.
    entries: Vec<(usize, i64)>,
    /// Which lanes are open.
    open: Vec<bool>,
    limit: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let entry = (0..LANES.len(), prop_oneof![0..8_i64, -1_000_000_000_000..4_000_000_000_000_i64]);
    let open = prop::collection::vec(any::<bool>(), LANES.len());
    (prop::collection::vec(entry, 0..120), open, 1..60_usize).prop_map(|(entries, open, limit)| Case {
        entries,
        open,
        limit,
    })
}

async fn check(fixture: &Fixture, case: &Case) -> Result<(), TestCaseError> {
    fixture.broker.reset("ledger-1", fixture::EPOCH, &[fixture::queue()]).await.unwrap();
    fixture.broker.open(&[fixture::queue()]).await.unwrap();
    let name = |at: usize| format!("j{at}");
    let pushes: Vec<_> = case
        .entries
        .iter()
        .enumerate()
        .map(|(at, &(lane, score))| fixture.entry(&name(at), LANES[lane], score))
        .collect();
    fixture.push(&pushes).await;
    let open: Vec<&str> =
        LANES.iter().zip(&case.open).filter(|(_, is_open)| **is_open).map(|(lane, _)| *lane).collect();
    let mut expected: Vec<(i64, String)> = case
        .entries
        .iter()
        .enumerate()
        .filter(|(_, (lane, _))| case.open[*lane])
        .map(|(at, &(_, score))| (score, name(at)))
        .collect();
    expected.sort();
    while !expected.is_empty() {
        let claimed = fixture.claim(&open, case.limit).await;
        let taken: Vec<(i64, String)> = expected.drain(..case.limit.min(expected.len())).collect();
        let got: Vec<(i64, String)> = claimed.claims.iter().map(|claim| (claim.score, claim.id.to_string())).collect();
        prop_assert_eq!(got, taken);
        prop_assert_eq!(claimed.more, !expected.is_empty());
    }
    prop_assert!(fixture.claim(&open, case.limit).await.claims.is_empty());
    Ok(())
}

fn run(runtime: &tokio::runtime::Runtime, fixture: &Fixture, cases_max: u32) {
    let config = Config { cases: cases_max, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&cases(), |case| runtime.block_on(check(fixture, &case)));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn a_claim_in_memory_is_the_strict_minimum_over_the_open_lanes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::memory());
    run(&runtime, &fixture, 128);
}

#[test]
fn a_claim_in_redis_is_the_strict_minimum_over_the_open_lanes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::redis());
    run(&runtime, &fixture, 48);
}
