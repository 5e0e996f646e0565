//! Leases: kept, ended, given back, taken away.

use ganger::broker::{Push, Reaped, Release, Removed, Which};
use ganger::job::Counters;

use super::fixture::{self, Fixture, HOUR, id, node, queue};
use super::on_every_broker;

on_every_broker! {
    a_renewal_revives_a_lease_that_nobody_took
    a_renewal_says_when_a_lease_is_lost
    only_the_holder_settles_and_only_once
    each_way_back_counts_in_its_own_counter_and_keeps_the_score
    a_return_with_a_due_time_waits_for_it
    reaping_tells_a_living_node_from_one_that_is_gone
    reaping_stops_at_its_limit
    removal_finds_entries_wherever_they_are
    removal_leaves_a_later_life_alone
}

async fn a_renewal_revives_a_lease_that_nobody_took(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1)]).await;
    let claim = f.claim_for(50, &["fast"], 1).await.claims.remove(0);
    f.pass(51).await;
    assert_eq!(f.renew(&claim, HOUR).await, [true]);
    assert_eq!(f.broker.reap(&queue(), &[], 10).await.unwrap(), Reaped::default());
    assert_eq!(f.settle(&claim, Release::Done { result: None }).await, [true]);
}

async fn a_renewal_says_when_a_lease_is_lost(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1)]).await;
    let claim = f.claim_for(0, &["fast"], 1).await.claims.remove(0);
    assert_eq!(f.broker.reap(&queue(), &[], 10).await.unwrap().crashed, [id("a")]);
    assert_eq!(f.renew(&claim, HOUR).await, [false]);
    let next = f.claim(&["fast"], 1).await.claims.remove(0);
    assert!(next.fence > claim.fence);
    assert_eq!(f.renew(&claim, HOUR).await, [false]);
    assert_eq!(f.renew(&next, HOUR).await, [true]);
}

async fn only_the_holder_settles_and_only_once(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1)]).await;
    let claim = f.claim(&["fast"], 1).await.claims.remove(0);
    let held = fixture::lease_of(&claim);
    let done = Release::Done { result: None };
    let stale = fixture::settle(&fixture::lease_ref("a", 1, held.fence - 1), done.clone());
    let other_life = fixture::settle(&fixture::lease_ref("a", 2, held.fence), done.clone());
    let right = fixture::settle(&held, done);
    let answers = f.broker.settle(&queue(), &[stale, other_life, right.clone(), right]).await.unwrap();
    assert_eq!(answers, [false, false, true, false]);
    assert_eq!(f.broker.inspect(&queue(), &[id("a")]).await.unwrap(), [None]);
}

/// What a way back does to the counters.
type Count = fn(&mut Counters);

async fn each_way_back_counts_in_its_own_counter_and_keeps_the_score(f: Fixture) {
    f.push(&[f.entry("a", "fast", 42)]).await;
    let mut expected = Counters::default();
    for _ in 0..2 {
        let later = f.now().await + HOUR;
        let releases: [(Release, Count); 3] = [
            (Release::Defer { due_at_ms: None }, |c| c.deferrals += 1),
            (Release::Crash, |c| c.crashes += 1),
            (Release::Retry { due_at_ms: later - 2 * HOUR }, |c| c.attempts += 1),
        ];
        for (release, count) in releases {
            let claim = f.claim(&["fast"], 1).await.claims.remove(0);
            expected.deliveries += 1;
            assert_eq!((claim.score, claim.counters), (42, expected));
            assert_eq!(f.settle(&claim, release).await, [true]);
            count(&mut expected);
            assert_eq!(f.view("a").await.unwrap().counters, expected);
            assert_eq!(f.depth(&[]).await.head_score, Some(42));
        }
    }
}

async fn a_return_with_a_due_time_waits_for_it(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "fast", 2)]).await;
    let claims = f.claim(&["fast"], 2).await.claims;
    let due = f.now().await + 200;
    f.settle(&claims[0], Release::Retry { due_at_ms: due }).await;
    f.settle(&claims[1], Release::Defer { due_at_ms: Some(due) }).await;
    assert!(f.claim(&["fast"], 2).await.claims.is_empty());
    assert_eq!(f.depth(&[]).await.later, 2);
    f.pass(201).await;
    assert_eq!(f.claim_ids(&["fast"], 2).await, ["a", "b"]);
}

async fn reaping_tells_a_living_node_from_one_that_is_gone(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "fast", 2), f.entry("c", "fast", 3)]).await;
    f.claim_as("node-1", 50, 1).await;
    f.claim_as("node-2", 50, 1).await;
    f.claim_as("node-2", HOUR, 1).await;
    f.pass(51).await;
    let reaped = f.broker.reap(&queue(), &[node("node-2")], 10).await.unwrap();
    assert_eq!(reaped, Reaped { crashed: vec![id("a")], deferred: vec![id("b")] });
    assert_eq!(f.view("a").await.unwrap().counters.crashes, 1);
    assert_eq!(f.view("b").await.unwrap().counters.deferrals, 1);
    assert!(f.view("c").await.unwrap().lease.is_some());
    let again = f.claim(&["fast"], 10).await.claims;
    assert!(again.len() == 2 && again.iter().all(|claim| claim.suspect));
}

async fn reaping_stops_at_its_limit(f: Fixture) {
    f.push(&(0..5).map(|n| f.entry(&format!("j{n}"), "fast", n)).collect::<Vec<_>>()).await;
    f.claim_for(0, &["fast"], 5).await;
    assert_eq!(f.broker.reap(&queue(), &[], 3).await.unwrap().crashed.len(), 3);
    assert_eq!(f.broker.reap(&queue(), &[], 3).await.unwrap().crashed.len(), 2);
}

async fn removal_finds_entries_wherever_they_are(f: Fixture) {
    let later = Some(f.now().await + HOUR);
    f.push(&[f.entry("held", "fast", 1), f.entry("waits", "fast", 2)]).await;
    f.push(&[Push { due_at_ms: later, ..f.entry("later", "fast", 3) }]).await;
    let claim = f.claim(&["fast"], 1).await.claims.remove(0);
    let asked = ["held", "waits", "later", "none", "held"].map(|name| (id(name), 1));
    let left = f.broker.remove(&queue(), &[(id("held"), 1)], Which::Waiting).await.unwrap();
    assert_eq!((left, f.depth(&["fast"]).await.leased), (vec![Removed::Leased(node("node-1"))], 1));
    let removed = f.broker.remove(&queue(), &asked, Which::Any).await.unwrap();
    let leased = Removed::Leased(node("node-1"));
    assert_eq!(removed, [leased, Removed::Waiting, Removed::Waiting, Removed::Absent, Removed::Absent]);
    assert_eq!(f.settle(&claim, Release::Crash).await, [false]);
    let depth = f.depth(&["fast"]).await;
    assert_eq!((depth.ready, depth.later, depth.leased), ([0; 5], 0, 0));
}

async fn removal_leaves_a_later_life_alone(f: Fixture) {
    f.push(&[Push { seq: 9, ..f.entry("a", "fast", 1) }]).await;
    assert_eq!(f.broker.remove(&queue(), &[(id("a"), 8)], Which::Any).await.unwrap(), [Removed::Absent]);
    assert_eq!(f.broker.remove(&queue(), &[(id("a"), 10)], Which::Any).await.unwrap(), [Removed::Waiting]);
}
