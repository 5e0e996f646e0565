//! Pushes: which entries are clean, and which push wins.

use ganger::broker::{Push, Pushed, Release, Removed, Which};
use ganger::job::{Counters, JobId};

use super::fixture::{Fixture, HOUR, lane, queue};
use super::on_every_broker;

on_every_broker! {
    only_a_first_delivery_before_its_stamp_is_clean
    a_push_that_comes_after_a_suspect_one_of_its_life_is_suspect_too
    a_push_that_comes_after_its_removal_is_suspect
    every_way_back_makes_an_entry_suspect
    a_repeated_push_changes_nothing_and_a_newer_life_replaces
    one_push_may_name_an_id_several_times
    a_waiting_entry_is_replaced_wherever_it_waits
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
