//! What was observed is summed, once for each addition, over all nodes.

use futures_util::future::join_all;
use ganger::job::NodeId;
use ganger::ledger::{Outlived, Tally};

use super::{Bench, on_every_ledger};

on_every_ledger! {
    additions_are_summed_over_nodes
    an_addition_that_is_repeated_adds_nothing
    tallies_are_read_from_a_minute_on
    what_is_outlived_goes_measure_by_measure
    nodes_that_add_at_the_same_time_lose_nothing
}

fn tally(measure: &str, label: &str, minute: i64, count: u64, total: f64) -> Tally {
    Tally { measure: measure.to_owned(), label: label.to_owned(), minute, count, total }
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// All tallies from `since` on, in one order.
async fn read(bench: &Bench, since: i64) -> Vec<Tally> {
    let mut read = bench.ledger.tallies(since).await.unwrap();
    read.sort_by(|a, b| (a.minute, &a.measure, &a.label).cmp(&(b.minute, &b.measure, &b.label)));
    read
}

async fn additions_are_summed_over_nodes(bench: &Bench) {
    let (one, two) = (node("one"), node("two"));
    let first =
        [tally("healing", "id", 100, 2, 1.0), tally("healing", "", 100, 1, 0.5), tally("mood", "id", 101, 1, -0.25)];
    bench.ledger.add_tallies(&one, 1, &first).await.unwrap();
    bench.ledger.add_tallies(&two, 1, &[tally("healing", "id", 100, 3, 2.0)]).await.unwrap();
    bench.ledger.add_tallies(&one, 2, &[tally("healing", "id", 100, 1, 1.0)]).await.unwrap();
    bench.ledger.add_tallies(&one, 3, &[]).await.unwrap();
    let summed =
        [tally("healing", "", 100, 1, 0.5), tally("healing", "id", 100, 6, 4.0), tally("mood", "id", 101, 1, -0.25)];
    assert_eq!(read(bench, 0).await, summed);
}

async fn an_addition_that_is_repeated_adds_nothing(bench: &Bench) {
    let (one, two) = (node("one"), node("two"));
    let addition = [tally("healing", "id", 100, 2, 1.0), tally("healing", "text", 101, 1, 1.0)];
    for _ in 0..3 {
        bench.ledger.add_tallies(&one, 7, &addition).await.unwrap();
    }
    // A lower number was added before the higher one, or never will be.
    bench.ledger.add_tallies(&one, 6, &addition).await.unwrap();
    assert_eq!(read(bench, 0).await, addition);
    bench.ledger.add_tallies(&two, 7, &addition[..1]).await.unwrap();
    bench.ledger.add_tallies(&one, 8, &addition[..1]).await.unwrap();
    assert_eq!(read(bench, 0).await, [tally("healing", "id", 100, 6, 3.0), addition[1].clone()]);
}

async fn tallies_are_read_from_a_minute_on(bench: &Bench) {
    let all: Vec<Tally> = (98..=102).map(|minute| tally("healing", "id", minute, 1, 1.0)).collect();
    bench.ledger.add_tallies(&node("one"), 1, &all).await.unwrap();
    assert_eq!(read(bench, 101).await, all[3..]);
    assert_eq!(read(bench, 103).await, []);
}

async fn what_is_outlived_goes_measure_by_measure(bench: &Bench) {
    let all = [
        tally("healing", "id", 99, 1, 1.0),
        tally("mood", "", 99, 1, 1.0),
        tally("healing", "id", 100, 1, 1.0),
        tally("mood", "", 100, 1, 1.0),
        tally("other", "", 1, 1, 1.0),
    ];
    bench.ledger.add_tallies(&node("one"), 1, &all).await.unwrap();
    let outlived = |measure: &str, before| Outlived { measure: measure.to_owned(), before };
    let outlived = [outlived("healing", 100), outlived("mood", 99), outlived("nobody", 1_000)];
    assert_eq!(bench.ledger.drop_tallies(&outlived).await.unwrap(), 1);
    assert_eq!(read(bench, 0).await, [all[4].clone(), all[1].clone(), all[2].clone(), all[3].clone()]);
    assert_eq!(bench.ledger.drop_tallies(&[]).await.unwrap(), 0);
    // The note of a node that adds still is not forgotten.
    bench.ledger.add_tallies(&node("one"), 1, &all).await.unwrap();
    assert_eq!(read(bench, 99).await.len(), 3);
}

async fn nodes_that_add_at_the_same_time_lose_nothing(bench: &Bench) {
    let labels = ["a", "b", "c", "d", "e"];
    let adding = (0..4_usize).map(async |at| {
        let node = node(&format!("node-{at}"));
        for number in 1..=25 {
            // Each in another order, so that locks taken in the order given would meet crosswise.
            let mut tallies: Vec<Tally> = labels.iter().map(|label| tally("m", label, 100, 1, 1.0)).collect();
            tallies.rotate_left(at);
            bench.ledger.add_tallies(&node, number, &tallies).await.unwrap();
        }
    });
    join_all(adding).await;
    assert_eq!(read(bench, 0).await, labels.map(|label| tally("m", label, 100, 100, 100.0)));
}
