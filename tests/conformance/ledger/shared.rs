//! What nodes share through the ledger: entries for the broker, pauses, heartbeats, terms, identity.

use ganger::clock::Timestamp;
use ganger::job::{Counters, NewJob, NodeId, QueueName, State, TypeName};
use ganger::ledger::postgres::{PostgresLedger, PostgresParams};
use ganger::ledger::{Confirmed, Ledger as _, LiveEntry, Node, Order, Ordered, Pause, Scope, Setting, Sizes};

use sqlx::{Connection, PgConnection};

use super::{Bench, on_every_ledger};
use crate::support::postgres::Postgres;
use crate::support::wait;

on_every_ledger! {
    live_entries_are_streamed_in_the_order_of_their_lives
    late_jobs_are_found_oldest_first
    a_pause_is_set_replaced_and_lifted
    a_setting_is_set_replaced_and_dropped
    a_node_is_alive_until_it_is_silent_or_leaves
    a_heartbeat_hears_of_the_epoch
    fences_are_told_of_live_rows_alone
    the_last_life_is_the_highest_ever_drawn
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

async fn a_setting_is_set_replaced_and_dropped(bench: &Bench) {
    let setting = |name: &str, value: &str, since_ms: i64| Setting {
        kind: "pool".to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
        by: "ann".to_owned(),
        since: bench.now.plus_ms(since_ms),
        until: (since_ms > 0).then(|| bench.now.plus_ms(60_000)),
    };
    let ledger = &bench.ledger;
    ledger.set_setting(&setting("mail", "{}", 0)).await.unwrap();
    ledger.set_setting(&setting("all", r#"{"min":1}"#, 0)).await.unwrap();
    ledger.set_setting(&setting("mail", r#"{"floor":7}"#, 5)).await.unwrap();
    let expected = [setting("all", r#"{"min":1}"#, 0), setting("mail", r#"{"floor":7}"#, 5)];
    assert_eq!(ledger.settings().await.unwrap(), expected);
    assert!(!ledger.drop_setting("pool", "mail", bench.now).await.unwrap(), "a later one stands there");
    assert!(!ledger.drop_setting("shedding", "mail", bench.now.plus_ms(9)).await.unwrap());
    assert!(ledger.drop_setting("pool", "mail", bench.now.plus_ms(5)).await.unwrap());
    assert_eq!(ledger.settings().await.unwrap(), [setting("all", r#"{"min":1}"#, 0)]);
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

/// A node as it tells of itself.
pub(crate) fn node(name: &str, now: Timestamp) -> Node {
    Node {
        id: NodeId::new(name).unwrap(),
        name: format!("{name}:1"),
        started_at: now,
        heartbeat_at: now,
        alive: false,
        status: "{}".to_owned(),
    }
}

async fn a_node_is_alive_until_it_is_silent_or_leaves(bench: &Bench) {
    let (ann, bob) = (node("ann", bench.now), node("bob", bench.now));
    let alone = bench.ledger.heartbeat(&ann, 60_000).await.unwrap();
    assert_eq!((alone.nodes.len(), &alone.nodes[0].id, alone.nodes[0].alive), (1, &ann.id, true));
    let busy_bob = Node { status: "{\"workers\":2}".to_owned(), ..bob.clone() };
    let both = bench.ledger.heartbeat(&busy_bob, 60_000).await.unwrap().nodes;
    assert_eq!(
        both.iter().map(|node| (node.id.as_str(), node.alive)).collect::<Vec<_>>(),
        [("ann", true), ("bob", true)]
    );
    assert_eq!(both[1].status, "{\"workers\":2}");
    assert!((both[0].heartbeat_at.millis() - bench.now.millis()).abs() < 600_000);
    let lapsed = wait::until("ann has lapsed", async || {
        let nodes = bench.ledger.heartbeat(&bob, 20).await.unwrap().nodes;
        nodes.iter().any(|node| node.id == ann.id && !node.alive).then_some(nodes)
    });
    assert_eq!(lapsed.await.len(), 2);
    bench.ledger.leave(&ann.id).await.unwrap();
    assert_eq!(bench.ledger.heartbeat(&bob, 60_000).await.unwrap().nodes.len(), 1);
}

async fn a_heartbeat_hears_of_the_epoch(bench: &Bench) {
    let ann = node("ann", bench.now);
    assert_eq!(bench.ledger.heartbeat(&ann, 60_000).await.unwrap().epoch, 0);
    bench.ledger.raise_epoch(7, "run-1").await.unwrap();
    bench.ledger.heartbeat(&node("bob", bench.now), 60_000).await.unwrap();
    let heard = bench.ledger.heartbeat(&ann, 60_000).await.unwrap();
    assert_eq!((heard.epoch, heard.nodes.len()), (7, 2));
}

async fn fences_are_told_of_live_rows_alone(bench: &Bench) {
    let first = bench.create(bench.job()).await;
    let second = bench.create(bench.job()).await;
    let at_rest = bench.finish(bench.job(), State::Succeeded, bench.now).await;
    assert!(matches!(bench.confirm(second, 9).await, Confirmed::Live(_)));
    // In the order asked, whatever it is, and as often.
    let asked = [second, at_rest, first, 1_000_000, second];
    assert_eq!(bench.ledger.fences(&asked).await.unwrap(), [Some(9), None, Some(0), None, Some(9)]);
    assert!(bench.ledger.fences(&[]).await.unwrap().is_empty());
}

async fn the_last_life_is_the_highest_ever_drawn(bench: &Bench) {
    let last = async || bench.ledger.last_seq().await.unwrap();
    assert_eq!(last().await, 0);
    let first = bench.create(bench.job()).await;
    assert_eq!(last().await, first);
    // A life that came to rest was drawn all the same.
    let second = bench.finish(bench.job(), State::Failed, bench.now).await;
    assert_eq!(last().await, second);
    let job = bench.given("a");
    bench.finish(job.clone(), State::Failed, bench.now).await;
    let revive = Order::Revive { id: job.id, score: 0, by: "ada".to_owned() };
    let revived = bench.ledger.order(&[revive], bench.now).await.unwrap();
    assert_eq!(revived, [Ordered::Done { seq: last().await }]);
}

#[tokio::test]
async fn the_last_life_counts_those_that_are_drawn_and_not_committed() {
    let database = Postgres::shared().await.migrated().await;
    let ledger = PostgresLedger::connect(&database.url, PostgresParams::default()).await.unwrap();
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let draw = "BEGIN; SELECT nextval(pg_get_serial_sequence('live', 'seq'))";
    sqlx::raw_sql(draw).execute(&mut other).await.unwrap();
    assert_eq!(ledger.last_seq().await.unwrap(), 1);
    assert!(ledger.live_entries(0, 9).await.unwrap().is_empty());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(ledger.last_seq().await.unwrap(), 1);
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
