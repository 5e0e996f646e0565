//! What a claim takes, and what it leaves.

use ganger::broker::Push;
use ganger::job::Counters;

use super::fixture::{self, EPOCH, Fixture, id, lane, queue};
use super::on_every_broker;

on_every_broker! {
    entries_are_claimed_by_score_across_lanes
    equal_scores_are_claimed_by_id
    closed_lanes_are_passed_over_and_nothing_leaves_them
    a_claim_takes_no_more_than_its_limit_and_says_whether_there_is_more
    a_claim_says_everything_about_its_lease
    what_is_due_later_becomes_due_inside_the_claim
    an_entry_due_in_the_past_is_ready_at_once
    a_paused_queue_gives_nothing_until_it_is_resumed
    a_paused_type_is_passed_over_until_it_is_resumed
    a_pause_may_be_set_before_claims_open
    nothing_is_claimed_before_claims_open
}

async fn entries_are_claimed_by_score_across_lanes(f: Fixture) {
    f.push(&[f.entry("c", "slow", 30), f.entry("a", "fast", 10), f.entry("b", "slow", 20)]).await;
    assert_eq!(f.claim_ids(&["fast", "slow"], 10).await, ["a", "b", "c"]);
}

async fn equal_scores_are_claimed_by_id(f: Fixture) {
    f.push(&[f.entry("b", "slow", 5), f.entry("B", "fast", 5), f.entry("a-1", "fast", 5), f.entry("a", "slow", 5)])
        .await;
    assert_eq!(f.claim_ids(&["slow", "fast"], 10).await, ["B", "a", "a-1", "b"]);
}

async fn closed_lanes_are_passed_over_and_nothing_leaves_them(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "slow", 2)]).await;
    let claimed = f.claim(&["slow"], 10).await;
    assert_eq!(fixture::ids(&claimed), ["b"]);
    assert!(!claimed.more);
    let depth = f.depth(&["fast", "slow"]).await;
    assert_eq!(depth.lanes, [(lane("fast"), 1), (lane("slow"), 0)]);
    assert_eq!(f.claim_ids(&["fast"], 10).await, ["a"]);
}

async fn a_claim_takes_no_more_than_its_limit_and_says_whether_there_is_more(f: Fixture) {
    f.push(&(0..5).map(|n| f.entry(&format!("j{n}"), "fast", n)).collect::<Vec<_>>()).await;
    let first = f.claim(&["fast"], 3).await;
    assert_eq!(fixture::ids(&first), ["j0", "j1", "j2"]);
    assert!(first.more);
    let rest = f.claim(&["fast"], 2).await;
    assert_eq!(fixture::ids(&rest), ["j3", "j4"]);
    assert!(!rest.more);
    assert!(f.claim(&["fast"], 0).await.claims.is_empty());
}

async fn a_claim_says_everything_about_its_lease(f: Fixture) {
    let counters = Counters { attempts: 2, deliveries: 4, crashes: 1, deferrals: 1 };
    f.push(&[Push { counters, keyed: true, ..f.entry("a", "fast", -7) }]).await;
    let claim = f.claim(&["fast"], 1).await.claims.remove(0);
    assert_eq!((claim.id, claim.seq, claim.job_type, claim.score), (id("a"), 1, lane("fast"), -7));
    assert_eq!(claim.counters, Counters { deliveries: 5, ..counters });
    assert_eq!(claim.fence, (EPOCH << 32) + 1);
    assert!(claim.keyed && claim.suspect);
}

async fn what_is_due_later_becomes_due_inside_the_claim(f: Fixture) {
    let due = Some(f.now().await + 200);
    f.push(&[Push { due_at_ms: due, ..f.entry("a", "fast", 1) }, f.entry("b", "fast", 2)]).await;
    assert_eq!(f.depth(&[]).await.later, 1);
    let early = f.claim(&["fast"], 10).await;
    assert_eq!(fixture::ids(&early), ["b"]);
    let wait = early.next_due_in_ms.expect("a next due time");
    assert!((1..=200).contains(&wait), "{wait}");
    f.pass(201).await;
    let late = f.claim(&["fast"], 10).await;
    assert_eq!(fixture::ids(&late), ["a"]);
    assert_eq!(late.next_due_in_ms, None);
}

async fn an_entry_due_in_the_past_is_ready_at_once(f: Fixture) {
    f.push(&[Push { due_at_ms: Some(1), ..f.entry("a", "fast", 1) }]).await;
    assert_eq!(f.depth(&[]).await.ready, [0, 0, 1, 0, 0]);
}

async fn a_paused_queue_gives_nothing_until_it_is_resumed(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1)]).await;
    f.broker.set_paused(&queue(), None, true).await.unwrap();
    assert!(f.claim(&["fast"], 1).await.claims.is_empty());
    assert_eq!(f.depth(&[]).await.paused, [None]);
    f.broker.set_paused(&queue(), None, false).await.unwrap();
    assert_eq!(f.claim_ids(&["fast"], 1).await, ["a"]);
    assert!(f.depth(&[]).await.paused.is_empty());
}

async fn a_paused_type_is_passed_over_until_it_is_resumed(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "slow", 2)]).await;
    f.broker.set_paused(&queue(), Some(&lane("fast")), true).await.unwrap();
    let claimed = f.claim(&["fast", "slow"], 10).await;
    assert_eq!(fixture::ids(&claimed), ["b"]);
    assert!(!claimed.more);
    assert_eq!(f.depth(&[]).await.paused, [Some(lane("fast"))]);
    f.broker.set_paused(&queue(), Some(&lane("fast")), false).await.unwrap();
    assert_eq!(f.claim_ids(&["fast", "slow"], 10).await, ["a"]);
}

async fn a_pause_may_be_set_before_claims_open(f: Fixture) {
    f.broker.reset("ledger-1", EPOCH + 1, &[queue()]).await.unwrap();
    f.broker.adopt(EPOCH + 1);
    f.broker.set_paused(&queue(), None, true).await.unwrap();
    f.broker.open(&[queue()]).await.unwrap();
    f.push(&[f.entry("a", "fast", 1)]).await;
    assert!(f.claim(&["fast"], 1).await.claims.is_empty());
}

async fn nothing_is_claimed_before_claims_open(f: Fixture) {
    f.broker.reset("ledger-1", EPOCH + 1, &[queue()]).await.unwrap();
    f.broker.adopt(EPOCH + 1);
    f.push(&[f.entry("a", "fast", 1)]).await;
    assert!(f.claim(&["fast"], 1).await.claims.is_empty());
    assert!(!f.broker.identity().await.unwrap().open);
    f.broker.open(&[queue()]).await.unwrap();
    assert!(f.broker.identity().await.unwrap().open);
    assert_eq!(f.claim_ids(&["fast"], 1).await, ["a"]);
}
