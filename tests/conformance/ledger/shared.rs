//! What nodes share through the ledger: entries for the broker, pauses, heartbeats, terms, identity.

use ganger::job::{Counters, NewJob, NodeId, QueueName, TypeName};
use ganger::ledger::{LiveEntry, Node, Pause, Scope, Sizes};

use super::{Bench, on_every_ledger};
use crate::support::wait;

on_every_ledger! {
    live_entries_are_streamed_in_the_order_of_their_lives
    late_jobs_are_found_oldest_first
    a_pause_is_set_replaced_and_lifted
    a_node_is_alive_until_it_is_silent_or_leaves
    a_term_has_one_holder_until_it_lapses
    the_epoch_only_rises
    sizes_are_told
}

async fn live_entries_are_streamed_in_the_order_of_their_lives(bench: &Bench) {
    let keyed = NewJob { due_at: Some(bench.now), score: -5, ..bench.keyed("k") };
    let seq = bench.create(keyed.clone()).await;
    for _ in 0..4 {
        bench.create(bench.job()).await;
    }
    let all = bench.ledger.live_entries(0, 100).await.unwrap();
    assert!(all.is_sorted_by_key(|entry| entry.seq) && all.len() == 5);
    let expected = LiveEntry {
        seq,
        id: keyed.id,
        queue: keyed.queue,
        job_type: keyed.job_type,
        priority: 3,
        score: -5,
        due_at: Some(bench.now),
        counters: Counters::default(),
        keyed: true,
    };
    assert_eq!(all[0], expected);
    assert!(!all[1].keyed);
    assert_eq!(bench.ledger.live_entries(all[1].seq, 2).await.unwrap(), all[2..4]);
}

async fn late_jobs_are_found_oldest_first(bench: &Bench) {
    let job = |due: i64| NewJob { due_at: Some(bench.now.plus_ms(due)), ..bench.job() };
    let third = bench.create(job(-10)).await;
    let first = bench.create(job(-30)).await;
    bench.create(job(10)).await;
    bench.create(NewJob { job_type: TypeName::stored("sms"), ..job(-20) }).await;
    let second = bench.create(NewJob { accepted_at: bench.now.plus_ms(-20), ..bench.job() }).await;
    let late = async |limit| {
        let found = bench.ledger.late_entries(&TypeName::stored("mail"), bench.now, limit).await.unwrap();
        found.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(late(9).await, [first, second, third]);
    assert_eq!(late(2).await, [first, second]);
}

async fn a_pause_is_set_replaced_and_lifted(bench: &Bench) {
    let queue = Scope::Queue(QueueName::stored("main"));
    let lane = Scope::Type(TypeName::stored("main"));
    let pause = |scope: &Scope, by: &str| Pause {
        scope: scope.clone(),
        by: by.to_owned(),
        reason: String::new(),
        since: bench.now,
    };
    let ledger = &bench.ledger;
    assert!(ledger.set_pause(&queue, Some(&pause(&queue, "ann"))).await.unwrap());
    assert!(!ledger.set_pause(&queue, Some(&pause(&queue, "ann"))).await.unwrap());
    assert!(ledger.set_pause(&queue, Some(&pause(&queue, "bob"))).await.unwrap());
    assert!(ledger.set_pause(&lane, Some(&pause(&lane, "ann"))).await.unwrap());
    assert_eq!(ledger.pauses().await.unwrap(), [pause(&queue, "bob"), pause(&lane, "ann")]);
    assert!(ledger.set_pause(&queue, None).await.unwrap());
    assert!(!ledger.set_pause(&queue, None).await.unwrap());
    assert_eq!(ledger.pauses().await.unwrap(), [pause(&lane, "ann")]);
}

async fn a_node_is_alive_until_it_is_silent_or_leaves(bench: &Bench) {
    let node = |name: &str| Node {
        id: NodeId::new(name).unwrap(),
        name: format!("{name}:1"),
        started_at: bench.now,
        heartbeat_at: bench.now,
        alive: false,
        status: "{}".to_owned(),
    };
    let (ann, bob) = (node("ann"), node("bob"));
    bench.ledger.heartbeat(&ann, 60_000).await.unwrap();
    let busy_bob = Node { status: "{\"workers\":2}".to_owned(), ..bob.clone() };
    let both = bench.ledger.heartbeat(&busy_bob, 60_000).await.unwrap();
    assert_eq!(
        both.iter().map(|node| (node.id.as_str(), node.alive)).collect::<Vec<_>>(),
        [("ann", true), ("bob", true)]
    );
    assert_eq!(both[1].status, "{\"workers\":2}");
    assert!((both[0].heartbeat_at.millis() - bench.now.millis()).abs() < 600_000);
    let lapsed = wait::until("ann has lapsed", async || {
        let nodes = bench.ledger.heartbeat(&bob, 20).await.unwrap();
        nodes.iter().any(|node| node.id == ann.id && !node.alive).then_some(nodes)
    });
    assert_eq!(lapsed.await.len(), 2);
    bench.ledger.leave(&ann.id).await.unwrap();
    assert_eq!(bench.ledger.heartbeat(&bob, 60_000).await.unwrap().len(), 1);
}

async fn a_term_has_one_holder_until_it_lapses(bench: &Bench) {
    let (ann, bob) = (NodeId::stored("ann"), NodeId::stored("bob"));
    let ledger = &bench.ledger;
    assert!(ledger.take_term("upkeep", &ann, 60_000).await.unwrap());
    assert!(!ledger.take_term("upkeep", &bob, 60_000).await.unwrap());
    assert!(ledger.take_term("rebuild", &bob, 60_000).await.unwrap());
    assert!(ledger.take_term("upkeep", &ann, 1).await.unwrap());
    wait::until("the term has lapsed", async || ledger.take_term("upkeep", &bob, 60_000).await.unwrap().then_some(()))
        .await;
    assert!(!ledger.take_term("upkeep", &ann, 60_000).await.unwrap());
}

async fn the_epoch_only_rises(bench: &Bench) {
    let first = bench.ledger.identity().await.unwrap();
    assert_eq!((first.ledger_id.len(), first.epoch), (36, 0));
    let raised = bench.ledger.raise_epoch(3, "run-1").await.unwrap();
    assert_eq!((raised.epoch, raised.broker_identity.as_str()), (3, "run-1"));
    assert_eq!(bench.ledger.raise_epoch(3, "run-2").await.unwrap(), raised);
    assert_eq!(bench.ledger.raise_epoch(2, "run-2").await.unwrap(), raised);
    assert_eq!(bench.ledger.identity().await.unwrap().ledger_id, first.ledger_id);
}

async fn sizes_are_told(bench: &Bench) {
    bench.ledger.ping().await.unwrap();
    bench.create(bench.job()).await;
    wait::until("the server's statistics have the row", async || {
        let Sizes { live, bytes, .. } = bench.ledger.sizes().await.unwrap();
        assert!(bytes > 0);
        (live == 1).then_some(())
    })
    .await;
}
