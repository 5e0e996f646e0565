//! Epochs: what a reset empties, what it refuses from then on, and what comes back after it.

use ganger::broker::{BrokerError, Held, Push, Pushed, Release, Which};
use ganger::job::Counters;

use super::fixture::{self, EPOCH, Fixture, HOUR, LEASE, id, lane, node, queue};
use super::on_every_broker;

on_every_broker! {
    every_step_of_another_epoch_is_refused
    a_queue_that_nobody_opened_is_in_no_epoch
    a_reset_empties_every_queue_and_refuses_older_epochs_and_other_ledgers
    fences_grow_strictly_across_claims_resets_and_repeated_resets
    a_lease_is_restored_to_its_holder_after_a_reset
    only_what_waits_and_is_of_the_same_life_is_restored
    an_advance_keeps_entries_and_leases_and_starts_fences_anew_above_all_others
}

async fn every_step_of_another_epoch_is_refused(f: Fixture) {
    f.broker.adopt(EPOCH - 1);
    let lease = fixture::lease_ref("a", 1, 1);
    let settle = fixture::settle(&lease, Release::Crash);
    let held = Held { lease: lease.clone(), node: node("node-1"), counters: Counters::default() };
    let b = &f.broker;
    let refusals = [
        b.push(&queue(), &[f.entry("a", "fast", 1)]).await.err(),
        b.claim(&f.request(&["fast"], 1)).await.err(),
        b.renew(&queue(), &[lease], LEASE, LEASE).await.err(),
        b.settle(&queue(), &[settle]).await.err(),
        b.reap(&queue(), &[], 10).await.err(),
        b.remove(&queue(), &[(id("a"), 1)], Which::Any).await.err(),
        b.depth(&queue(), &[]).await.err(),
        b.inspect(&queue(), &[id("a")]).await.err(),
        b.place(&queue(), &id("a"), &[]).await.err(),
        b.leases(&queue(), 10).await.err(),
        b.scan(&queue(), None, 10).await.err(),
        b.restore(&queue(), &[held], LEASE, LEASE).await.err(),
        b.advance(EPOCH - 2, &[queue()]).await.err(),
        b.open(&[queue()]).await.err(),
    ];
    for (at, refusal) in refusals.into_iter().enumerate() {
        let is_epoch =
            matches!(refusal, Some(BrokerError::Epoch { expected, found: Some(EPOCH), .. }) if expected == EPOCH - 1);
        assert!(is_epoch, "step {at}: {refusal:?}");
    }
}

async fn a_queue_that_nobody_opened_is_in_no_epoch(f: Fixture) {
    let other = ganger::job::QueueName::stored("other");
    let refusal = f.broker.push(&other, &[f.entry("a", "fast", 1)]).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Epoch { found: None, .. }), "{refusal:?}");
    f.broker.open(std::slice::from_ref(&other)).await.unwrap();
    assert_eq!(f.broker.push(&other, &[f.entry("a", "fast", 1)]).await.unwrap(), [Pushed::Added]);
}

async fn a_reset_empties_every_queue_and_refuses_older_epochs_and_other_ledgers(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "fast", 2)]).await;
    f.claim(&["fast"], 1).await;
    let other = ganger::job::QueueName::stored("other");
    f.broker.open(std::slice::from_ref(&other)).await.unwrap();
    f.broker.push(&other, &[f.entry("c", "slow", 3)]).await.unwrap();
    let refusal = f.broker.reset("ledger-1", EPOCH - 1, &[queue()]).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Epoch { found: Some(EPOCH), .. }), "{refusal:?}");
    let refusal = f.broker.reset("ledger-2", EPOCH + 1, &[queue()]).await.unwrap_err();
    let said = refusal.to_string();
    assert!(!refusal.is_transient() && said.contains("ledger-1") && said.contains("ledger-2"), "{said}");
    assert_eq!(f.depth(&[]).await.ready[2], 1);

    f.broker.reset("ledger-1", EPOCH + 5, &[queue()]).await.unwrap();
    f.broker.adopt(EPOCH + 5);
    for name in [queue(), other] {
        let depth = f.broker.depth(&name, &[lane("fast"), lane("slow")]).await.unwrap();
        assert_eq!(depth.ready, [0; 5]);
        assert!(depth.lanes.iter().all(|(_, length)| *length == 0));
        assert_eq!((depth.later, depth.leased, depth.head_score), (0, 0, None));
    }
    let identity = f.broker.identity().await.unwrap();
    assert_eq!(
        (identity.ledger_id.as_deref(), identity.epoch, identity.open),
        (Some("ledger-1"), Some(EPOCH + 5), false)
    );
}

async fn fences_grow_strictly_across_claims_resets_and_repeated_resets(f: Fixture) {
    let mut last = 0;
    for (round, epoch) in [EPOCH, EPOCH, EPOCH + 1, EPOCH + 1, EPOCH + 7].into_iter().enumerate() {
        f.broker.reset("ledger-1", epoch, &[queue()]).await.unwrap();
        f.broker.adopt(epoch);
        f.broker.open(&[queue()]).await.unwrap();
        f.push(&(0..4).map(|n| f.entry(&format!("j{round}-{n}"), "fast", n)).collect::<Vec<_>>()).await;
        for claim in f.claim(&["fast"], 4).await.claims {
            assert!(claim.fence > last, "{} after {last}", claim.fence);
            assert_eq!(claim.fence >> 32, epoch);
            last = claim.fence;
        }
    }
}

async fn a_lease_is_restored_to_its_holder_after_a_reset(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "slow", 2)]).await;
    let claims = f.claim(&["fast", "slow"], 2).await.claims;
    let held: Vec<Held> = claims.iter().map(fixture::held).collect();
    f.broker.reset("ledger-1", EPOCH + 1, &[queue()]).await.unwrap();
    f.broker.adopt(EPOCH + 1);
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "slow", 2)]).await;
    for _ in 0..2 {
        assert_eq!(f.broker.restore(&queue(), &held, LEASE, HOUR).await.unwrap(), [true, true], "may be repeated");
    }
    f.broker.open(&[queue()]).await.unwrap();
    assert_eq!((f.depth(&[]).await.leased, f.depth(&[]).await.ready), (2, [0; 5]));
    assert!(f.claim(&["fast", "slow"], 2).await.claims.is_empty());
    let view = f.view("a").await.unwrap();
    assert_eq!((view.counters, view.lease.unwrap().fence), (claims[0].counters, claims[0].fence));
    assert_eq!(f.renew(&claims[0], LEASE).await, [true]);
    assert_eq!(f.settle(&claims[0], Release::Retry { due_at_ms: 1 }).await, [true]);
    let again = f.claim(&["fast"], 1).await.claims.remove(0);
    assert_eq!((again.score, again.suspect, again.fence > claims[0].fence), (1, true, true));
    assert_eq!(f.settle(&claims[1], Release::Done { result: None }).await, [true]);
}

async fn only_what_waits_and_is_of_the_same_life_is_restored(f: Fixture) {
    let later = Some(f.now().await + HOUR);
    let entries = [
        Push { seq: 2, ..f.entry("newer", "fast", 1) },
        Push { due_at_ms: later, ..f.entry("later", "fast", 2) },
        f.entry("taken", "fast", 3),
    ];
    f.push(&entries).await;
    f.push(&[Push { seq: 3, ..f.entry("other", "slow", 0) }]).await;
    let taken = f.claim(&["fast"], 2).await.claims;
    f.settle(&taken[0], Release::Defer { due_at_ms: None }).await;
    let held: Vec<Held> = ["newer", "later", "taken", "absent"]
        .map(|name| Held { lease: fixture::lease_ref(name, 1, 7), node: node("node-9"), counters: Counters::default() })
        .into();
    assert_eq!(f.broker.restore(&queue(), &held, LEASE, HOUR).await.unwrap(), [false; 4]);
    assert_eq!(f.view("taken").await.unwrap().lease.unwrap().fence, taken[1].fence);
}

async fn an_advance_keeps_entries_and_leases_and_starts_fences_anew_above_all_others(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "fast", 2)]).await;
    let first = f.claim(&["fast"], 1).await.claims.remove(0);
    for _ in 0..2 {
        f.broker.advance(EPOCH + 1, &[queue()]).await.unwrap();
    }
    let refusal = f.broker.claim(&f.request(&["fast"], 1)).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Epoch { .. }), "{refusal:?}");
    f.broker.adopt(EPOCH + 1);
    let identity = f.broker.identity().await.unwrap();
    assert_eq!((identity.epoch, identity.open), (Some(EPOCH + 1), true));
    let second = f.claim(&["fast"], 1).await.claims.remove(0);
    assert_eq!((second.id.as_str(), second.fence), ("b", ((EPOCH + 1) << 32) + 1));
    assert_eq!(f.renew(&first, LEASE).await, [true]);
    assert_eq!(f.settle(&first, Release::Done { result: None }).await, [true]);
}
