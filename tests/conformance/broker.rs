//! What every broker promises, run on every broker.
//!
//! A promise is an async function over a [`Fixture`]; the macro at the end makes it a test on the
//! in-process broker, one on a real Redis and one on a real Redis Cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

#[path = "broker/cluster.rs"]
mod cluster;
#[path = "broker/fixture.rs"]
pub(crate) mod fixture;
#[path = "broker/notes.rs"]
mod notes;
#[path = "broker/order.rs"]
mod order;
#[path = "broker/real_redis.rs"]
mod real_redis;
#[path = "broker/scripts.rs"]
mod scripts;
#[path = "broker/sentinel.rs"]
mod sentinel;
#[path = "broker/walk.rs"]
mod walk;

use bytes::Bytes;
use ganger::broker::{BrokerError, Held, Push, Pushed, Reaped, Release, Removed, Which};
use ganger::job::{Counters, JobId};

use self::notes::{
    a_note_is_written_only_over_what_its_writer_saw, notes_belong_to_no_epoch, of_two_writers_one_comes_first,
};

use self::fixture::{EPOCH, Fixture, HOUR, LEASE, id, lane, node, queue};

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

async fn only_a_first_delivery_before_its_stamp_is_clean(f: Fixture) {
    let now = f.now().await;
    let stamp = |name, clean_until_ms| Push { clean_until_ms, ..f.entry(name, "fast", 1) };
    let counters = Counters { deliveries: 1, ..Counters::default() };
    f.push(&[stamp("a", now + HOUR), stamp("b", now - 1), stamp("c", 0)]).await;
    f.push(&[Push { counters, ..stamp("d", now + HOUR) }]).await;
    let claims = f.claim(&["fast"], 10).await.claims;
    let suspects: Vec<bool> = claims.iter().map(|claim| claim.suspect).collect();
    assert_eq!(suspects, [false, true, true, true]);
}

async fn a_push_that_comes_after_a_suspect_one_of_its_life_is_suspect_too(f: Fixture) {
    let clean = f.now().await + HOUR;
    let push = |name, seq, clean_until_ms| Push { seq, clean_until_ms, ..f.entry(name, "fast", 1) };
    // A repeat overtook the first push of life 7, and it ran and went.
    f.push(&[push("a", 7, 0)]).await;
    let claim = f.claim(&["fast"], 1).await.claims.remove(0);
    f.settle(&claim, Release::Done { result: None }).await;
    f.push(&[push("a", 7, clean), push("b", 6, clean), push("c", 8, clean)]).await;
    let claims = f.claim(&["fast"], 3).await.claims;
    let suspects: Vec<(i64, bool)> = claims.iter().map(|claim| (claim.seq, claim.suspect)).collect();
    assert_eq!(suspects, [(7, true), (6, true), (8, false)]);
}

async fn a_push_that_comes_after_its_removal_is_suspect(f: Fixture) {
    let clean = f.now().await + HOUR;
    assert_eq!(f.broker.remove(&queue(), &[(JobId::stored("a"), 7)], Which::Any).await.unwrap(), [Removed::Absent]);
    let push = |name, seq| Push { seq, clean_until_ms: clean, ..f.entry(name, "fast", 1) };
    f.push(&[push("a", 7), push("b", 8)]).await;
    let claims = f.claim(&["fast"], 2).await.claims;
    let suspects: Vec<(i64, bool)> = claims.iter().map(|claim| (claim.seq, claim.suspect)).collect();
    assert_eq!(suspects, [(7, true), (8, false)]);
}

async fn every_way_back_makes_an_entry_suspect(f: Fixture) {
    let clean = f.now().await + HOUR;
    let releases = [Release::Retry { due_at_ms: 1 }, Release::Defer { due_at_ms: None }, Release::Crash];
    for (n, release) in releases.into_iter().enumerate() {
        let name = format!("j{n}");
        f.push(&[Push { clean_until_ms: clean, ..f.entry(&name, "fast", 1) }]).await;
        let claim = f.claim(&["fast"], 1).await.claims.remove(0);
        assert!(!claim.suspect);
        assert_eq!(f.settle(&claim, release).await, [true]);
        let again = f.claim(&["fast"], 1).await.claims.remove(0);
        assert!(again.suspect && again.counters.deliveries == 2);
        f.settle(&again, Release::Done { result: None }).await;
    }
}

async fn a_repeated_push_changes_nothing_and_a_newer_life_replaces(f: Fixture) {
    let life = |seq, score| Push { seq, ..f.entry("a", "fast", score) };
    assert_eq!(f.push(&[life(5, 1)]).await, [Pushed::Added]);
    assert_eq!(f.push(&[life(5, 99)]).await, [Pushed::Present]);
    assert_eq!(f.push(&[life(4, 99)]).await, [Pushed::Outlived]);
    assert_eq!(f.depth(&[]).await.head_score, Some(1));
    assert_eq!(f.push(&[life(6, 7)]).await, [Pushed::Replaced]);
    assert_eq!(f.depth(&[]).await.head_score, Some(7));
    let claim = f.claim(&["fast"], 1).await.claims.remove(0);
    assert_eq!(claim.seq, 6);
    assert_eq!(f.push(&[life(6, 1), life(7, 3)]).await, [Pushed::Present, Pushed::Replaced]);
    assert_eq!(f.settle(&claim, Release::Done { result: None }).await, [false]);
    let depth = f.depth(&[]).await;
    assert_eq!((depth.leased, depth.ready[2]), (0, 1));
}

async fn one_push_may_name_an_id_several_times(f: Fixture) {
    let life = |seq, score| Push { seq, ..f.entry("a", "fast", score) };
    let answers = f.push(&[life(1, 1), life(1, 2), life(3, 3), life(2, 4), f.entry("b", "slow", 9)]).await;
    assert_eq!(answers, [Pushed::Added, Pushed::Present, Pushed::Replaced, Pushed::Outlived, Pushed::Added]);
    let depth = f.depth(&["fast", "slow"]).await;
    assert_eq!((depth.ready[2], depth.head_score), (2, Some(3)));
    assert_eq!(depth.lanes, [(lane("fast"), 1), (lane("slow"), 1)]);
    assert_eq!(depth.heads.len(), 2, "{:?}", depth.heads);
    assert_eq!(depth.heads.iter().map(|(_, head)| *head).min(), Some(3));
    assert_eq!(f.depth(&["slow", "other"]).await.heads.len(), 1, "only lanes asked for that hold something");
}

async fn a_waiting_entry_is_replaced_wherever_it_waits(f: Fixture) {
    let later = Some(f.now().await + HOUR);
    f.push(&[Push { due_at_ms: later, ..f.entry("a", "fast", 1) }]).await;
    assert_eq!(f.push(&[Push { seq: 2, ..f.entry("a", "slow", 1) }]).await, [Pushed::Replaced]);
    let depth = f.depth(&["fast", "slow"]).await;
    assert_eq!((depth.later, depth.ready[2]), (0, 1));
    assert_eq!(depth.lanes, [(lane("fast"), 0), (lane("slow"), 1)]);
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

async fn entries_and_leases_can_be_looked_at(f: Fixture) {
    f.push(&[f.entry("a", "fast", 1), f.entry("b", "slow", 2), f.entry("c", "fast", 3)]).await;
    let before = f.now().await;
    let first = f.claim_as("node-1", HOUR, 1).await.remove(0);
    f.claim_as("node-2", HOUR / 2, 1).await;
    let views = f.broker.inspect(&queue(), &[id("a"), id("x"), id("c")]).await.unwrap();
    let lease = views[0].as_ref().unwrap().lease.clone().unwrap();
    assert_eq!((lease.fence, lease.node), (first.fence, node("node-1")));
    assert!((before..before + 60_000).contains(&lease.claimed_at_ms));
    assert_eq!(views[1], None);
    assert_eq!(views[2].as_ref().unwrap().lease, None);
    let names = |views: Vec<ganger::broker::EntryView>| -> Vec<JobId> { views.into_iter().map(|v| v.id).collect() };
    assert_eq!(names(f.broker.leases(&queue(), 10).await.unwrap()), [id("b"), id("a")]);
    assert_eq!(names(f.broker.leases(&queue(), 1).await.unwrap()), [id("b")]);
}

async fn an_entry_tells_its_place(f: Fixture) {
    let lanes = [lane("fast"), lane("slow")];
    let now = f.now().await;
    let later = Push { due_at_ms: Some(now + HOUR), ..f.entry("e", "fast", 1) };
    f.push(&[
        f.entry("a", "fast", 1),
        f.entry("b", "slow", 2),
        f.entry("c", "fast", 3),
        f.entry("d", "fast", 3),
        f.entry("cc", "slow", 3),
        f.entry("f", "slow", 3),
        later,
    ])
    .await;
    let place =
        async |name: &str, lanes: &[ganger::job::TypeName]| f.broker.place(&queue(), &id(name), lanes).await.unwrap();
    let ahead = async |name: &str, lanes: &[ganger::job::TypeName]| place(name, lanes).await.unwrap().ahead;
    assert_eq!(ahead("a", &lanes).await, Some(0));
    assert_eq!(ahead("c", &lanes).await, Some(2));
    assert_eq!(ahead("d", &lanes).await, Some(4), "equal scores are told apart by id, in other lanes too");
    assert_eq!(ahead("d", &lanes[..1]).await, Some(2), "closed lanes do not count");
    assert_eq!(ahead("f", &lanes[..1]).await, Some(3), "its own lane may be closed");
    let waiting = place("e", &lanes).await.unwrap();
    assert_eq!((waiting.due_at_ms, waiting.ahead), (Some(now + HOUR), None));
    let claim = f.claim(&["fast", "slow"], 1).await.claims.remove(0);
    let running = place("a", &lanes).await.unwrap();
    assert_eq!(running.entry.lease.map(|lease| lease.fence), Some(claim.fence));
    assert_eq!((running.due_at_ms, running.ahead), (None, None));
    assert_eq!(place("x", &lanes).await, None);
}

async fn depth_counts_ready_entries_by_priority(f: Fixture) {
    let with = |name, number| Push { priority: fixture::priority(number), ..f.entry(name, "fast", 10) };
    f.push(&[with("a", 1), with("b", 3), with("c", 3), with("d", 5)]).await;
    assert_eq!(f.depth(&[]).await.ready, [1, 0, 2, 0, 1]);
    f.claim(&["fast"], 2).await;
    let depth = f.depth(&[]).await;
    assert_eq!((depth.ready, depth.leased), ([0, 0, 1, 0, 1], 2));
}

async fn what_may_be_claimable_wakes_the_listeners(f: Fixture) {
    let mut wakes = f.wakes().await;
    f.push(&[f.entry("a", "fast", 1)]).await;
    fixture::hear(&mut wakes, "a push").await;
    let claim = f.claim(&["fast"], 1).await.claims.remove(0);
    f.settle(&claim, Release::Defer { due_at_ms: None }).await;
    fixture::hear(&mut wakes, "a return").await;
    f.claim_for(0, &["fast"], 1).await;
    f.broker.reap(&queue(), &[], 10).await.unwrap();
    fixture::hear(&mut wakes, "a reaping").await;
    f.broker.set_paused(&queue(), None, true).await.unwrap();
    f.broker.set_paused(&queue(), None, false).await.unwrap();
    fixture::hear(&mut wakes, "a resumption").await;
    f.broker.open(&[queue()]).await.unwrap();
    fixture::hear(&mut wakes, "an opening").await;
    let claim = f.claim(&["fast"], 1).await.claims.remove(0);
    let done = Release::Done { result: Some((Bytes::from_static(b"1"), 1000)) };
    assert_eq!(f.settle(&claim, done).await, [true]);
}

async fn batches_larger_than_a_script_takes_are_answered_in_order(f: Fixture) {
    let entries: Vec<Push> = (0..1203).map(|n| f.entry(&format!("j{n:04}"), "fast", n)).collect();
    assert_eq!(f.push(&entries).await, vec![Pushed::Added; 1203]);
    assert_eq!(f.push(&entries).await, vec![Pushed::Present; 1203]);
    let mut leases = Vec::new();
    while leases.len() < 1203 {
        let claimed = f.claim(&["fast"], 500).await;
        assert!(claimed.claims.len() == 500 || !claimed.more);
        leases.extend(claimed.claims.iter().map(fixture::lease_of));
    }
    assert!(leases.is_sorted_by_key(|lease| lease.fence));
    assert_eq!(f.broker.renew(&queue(), &leases, HOUR, HOUR).await.unwrap(), vec![true; 1203]);
    assert_eq!(f.broker.leases(&queue(), 2000).await.unwrap().len(), 1203);
    let settles: Vec<_> = leases.iter().map(|l| fixture::settle(l, Release::Done { result: None })).collect();
    assert_eq!(f.broker.settle(&queue(), &settles).await.unwrap(), vec![true; 1203]);
}

/// Makes each promise a test on each broker.
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

async fn a_scan_meets_every_entry_wherever_it_is(f: Fixture) {
    let later = Some(f.now().await + HOUR);
    let mut entries: Vec<Push> = (0..40).map(|n| f.entry(&format!("w{n:02}"), "slow", n % 5)).collect();
    entries.extend((0..30).map(|n| Push { due_at_ms: later, seq: 7, ..f.entry(&format!("x{n:02}"), "slow", n) }));
    entries.extend((0..20).map(|n| f.entry(&format!("y{n:02}"), "fast", n)));
    f.push(&entries).await;
    f.claim(&["fast"], 10).await;
    let (mut met, mut cursor) = (std::collections::BTreeMap::new(), None);
    loop {
        let (page, next) = f.broker.scan(&queue(), cursor, 7).await.unwrap();
        met.extend(page.into_iter().map(|found| (found.id.to_string(), (found.seq, found.leased, found.misplaced))));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(met.len(), 90);
    assert_eq!(met.values().filter(|(_, leased, _)| *leased).count(), 10);
    assert_eq!((met["x03"], met["w39"]), ((7, false, false), (1, false, false)));
    assert!(met.values().all(|(_, _, misplaced)| !misplaced));
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

macro_rules! on_every_broker {
    ($($promise:ident)+) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Fixture::memory().await).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Fixture::redis().await).await;
            })+
        }
        mod redis_cluster {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Fixture::cluster().await).await;
            })+
        }
    };
}

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
    every_step_of_another_epoch_is_refused
    a_queue_that_nobody_opened_is_in_no_epoch
    a_reset_empties_every_queue_and_refuses_older_epochs_and_other_ledgers
    fences_grow_strictly_across_claims_resets_and_repeated_resets
    only_a_first_delivery_before_its_stamp_is_clean
    a_push_that_comes_after_a_suspect_one_of_its_life_is_suspect_too
    a_push_that_comes_after_its_removal_is_suspect
    every_way_back_makes_an_entry_suspect
    a_repeated_push_changes_nothing_and_a_newer_life_replaces
    one_push_may_name_an_id_several_times
    a_waiting_entry_is_replaced_wherever_it_waits
    a_renewal_revives_a_lease_that_nobody_took
    a_renewal_says_when_a_lease_is_lost
    only_the_holder_settles_and_only_once
    each_way_back_counts_in_its_own_counter_and_keeps_the_score
    a_return_with_a_due_time_waits_for_it
    reaping_tells_a_living_node_from_one_that_is_gone
    reaping_stops_at_its_limit
    removal_finds_entries_wherever_they_are
    removal_leaves_a_later_life_alone
    entries_and_leases_can_be_looked_at
    an_entry_tells_its_place
    depth_counts_ready_entries_by_priority
    what_may_be_claimable_wakes_the_listeners
    batches_larger_than_a_script_takes_are_answered_in_order
    a_lease_is_restored_to_its_holder_after_a_reset
    only_what_waits_and_is_of_the_same_life_is_restored
    a_scan_meets_every_entry_wherever_it_is
    an_advance_keeps_entries_and_leases_and_starts_fences_anew_above_all_others
    a_note_is_written_only_over_what_its_writer_saw
    notes_belong_to_no_epoch
    of_two_writers_one_comes_first
}
