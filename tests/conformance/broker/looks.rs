//! Looks at what is there, and wake-ups.

use bytes::Bytes;
use ganger::broker::{Push, Pushed, Release};
use ganger::job::JobId;

use super::fixture::{self, Fixture, HOUR, id, lane, node, queue};
use super::on_every_broker;

on_every_broker! {
    entries_and_leases_can_be_looked_at
    an_entry_tells_its_place
    depth_counts_ready_entries_by_priority
    what_may_be_claimable_wakes_the_listeners
    batches_larger_than_a_script_takes_are_answered_in_order
    a_scan_meets_every_entry_wherever_it_is
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
