//! A real Redis Cluster: what the promises of every broker do not show.

use std::sync::Arc;

use ganger::broker::redis::RedisBroker;
use ganger::broker::{Broker, BrokerError, Push, Pushed};
use ganger::job::QueueName;
use tokio_util::sync::CancellationToken;

use super::fixture::{EPOCH, Fixture, HOUR, patient, queue};
use crate::support::cluster::{self, Cluster};
use crate::support::redis::random_prefix;
use crate::support::wait;

/// All keys of the queue share the slot of this one.
const KEY: &str = "{plan}";

async fn on(cluster: &Cluster) -> Fixture {
    Fixture::redis_with(&cluster.url(), "ganger:", &cluster.nodes[0].url()).await
}

/// A queue whose keys are not where those of `plan` and the meta hash are.
async fn elsewhere(cluster: &Cluster) -> (QueueName, usize) {
    let node = cluster.master_without(&[KEY, "ganger:meta"]).await;
    for n in 0.. {
        let name = format!("q{n}");
        if cluster.master_of(&format!("{{{name}}}")).await == node {
            return (QueueName::stored(&name), node);
        }
    }
    unreachable!("some name has a slot there")
}

#[tokio::test]
async fn a_failover_ends_the_session_until_the_new_master_is_adopted() {
    let mut cluster = Cluster::quick().await;
    let f = on(&cluster).await;
    for round in 0..2 {
        let before = f.broker.identity().await.unwrap().server;
        assert_eq!(before.split(',').count(), 3, "{before}");
        f.push(&[f.entry("a", "fast", 1)]).await;
        let old = if round == 0 { cluster.failover(KEY).await } else { cluster.kill_master_of(KEY).await };
        cluster.promoted(old, KEY).await;
        wait::until("calls are refused", || async { f.broker.claim(&f.request(&["slow"], 1)).await.err() }).await;
        let after = wait::until("the promoted node is identified", || async { f.broker.identity().await.ok() }).await;
        assert_ne!(before, after.server);
        let refusal = f.broker.claim(&f.request(&["fast"], 1)).await.unwrap_err();
        assert!(refusal.to_string().contains("not ready"), "{refusal}");
        let epoch = EPOCH + 1 + round;
        f.broker.adopt(epoch);
        f.broker.reset("ledger-1", epoch, &[queue()]).await.unwrap();
        f.broker.open(&[queue()]).await.unwrap();
        f.push(&[f.entry("b", "fast", 1)]).await;
        assert_eq!(f.claim_ids(&["fast"], 10).await, ["b"]);
    }
}

#[tokio::test]
async fn a_node_that_lost_its_data_is_noticed_though_the_meta_hash_is_elsewhere() {
    let cluster = Cluster::start().await;
    let f = on(&cluster).await;
    let (other, node) = elsewhere(&cluster).await;
    f.broker.open(std::slice::from_ref(&other)).await.unwrap();
    f.broker.push(&other, &[f.entry("a", "fast", 1)]).await.unwrap();
    let before = f.broker.identity().await.unwrap();
    assert_eq!(before.epoch, Some(EPOCH));
    cluster.nodes[node].ask::<()>(&["FLUSHALL"]).await;
    let after = f.broker.identity().await.unwrap();
    assert_eq!((after.ledger_id.as_deref(), after.epoch), (Some("ledger-1"), None));
    assert_eq!(before.server, after.server, "the servers are the same");
    let refusal = f.broker.open(std::slice::from_ref(&other)).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Epoch { found: None, .. }), "it is not entered again: {refusal:?}");
    f.broker.adopt(EPOCH + 1);
    f.broker.reset("ledger-1", EPOCH + 1, &[queue()]).await.unwrap();
    assert_eq!(f.broker.identity().await.unwrap().epoch, Some(EPOCH + 1));
    f.broker.open(&[queue(), other.clone()]).await.unwrap();
    assert_eq!(f.broker.push(&other, &[f.entry("a", "fast", 1)]).await.unwrap(), [Pushed::Added]);
}

/// Moves the slot of `plan` to another master, or as far as `steps` says.
struct Move<'a> {
    cluster: &'a Cluster,
    from: usize,
    to: usize,
    slot: String,
}

impl<'a> Move<'a> {
    async fn begin(cluster: &'a Cluster) -> Self {
        let from = cluster.master_of(KEY).await;
        let to = cluster.master_without(&[KEY]).await;
        let slot: i64 = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", KEY]).await;
        let this = Self { cluster, from, to, slot: slot.to_string() };
        let (from_id, to_id) = (this.id(from).await, this.id(to).await);
        cluster.nodes[to].ask::<()>(&["CLUSTER", "SETSLOT", &this.slot, "IMPORTING", &from_id]).await;
        cluster.nodes[from].ask::<()>(&["CLUSTER", "SETSLOT", &this.slot, "MIGRATING", &to_id]).await;
        this
    }

    async fn id(&self, node: usize) -> String {
        self.cluster.nodes[node].ask(&["CLUSTER", "MYID"]).await
    }

    async fn key(&self, key: &str) {
        let port = self.cluster.nodes[self.to].port().to_string();
        let words = ["MIGRATE", "127.0.0.1", &port, key, "0", "10000"];
        self.cluster.nodes[self.from].ask::<()>(&words).await;
    }

    async fn all_keys(&self) {
        let words = ["CLUSTER", "GETKEYSINSLOT", &self.slot, "1000"];
        for key in self.cluster.nodes[self.from].ask::<Vec<String>>(&words).await {
            self.key(&key).await;
        }
    }

    async fn end(&self) {
        let to = self.id(self.to).await;
        for node in [self.to, self.from] {
            self.cluster.nodes[node].ask::<()>(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &to]).await;
        }
    }
}

#[tokio::test]
async fn a_slot_that_moves_is_followed_without_a_new_session() {
    let cluster = Cluster::start().await;
    let f = on(&cluster).await;
    let before = f.broker.identity().await.unwrap().server;
    f.push(&[f.entry("a", "fast", 1)]).await;
    let moving = Move::begin(&cluster).await;
    moving.all_keys().await;
    // Under way: one key is asked for where it went; steps over several may have to be tried again.
    f.broker.set_paused(&queue(), None, true).await.unwrap();
    f.broker.set_paused(&queue(), None, false).await.unwrap();
    let refusal = f.broker.push(&queue(), &[f.entry("b", "fast", 2)]).await.unwrap_err();
    assert!(refusal.is_transient(), "{refusal:?}");
    moving.end().await;
    f.push(&[f.entry("b", "fast", 2)]).await;
    assert_eq!(f.claim_ids(&["fast"], 10).await, ["a", "b"]);
    // A node that has not yet heard of the move names the old master, which refuses.
    let after = wait::until("the cluster is identified", || async { f.broker.identity().await.ok() }).await;
    assert_eq!((after.server, after.epoch), (before, Some(EPOCH)));
    assert!(f.claim_ids(&["fast"], 10).await.is_empty());
}

#[tokio::test]
async fn a_step_that_a_moving_slot_cut_in_two_asks_for_a_rebuild() {
    let cluster = Cluster::start().await;
    let f = on(&cluster).await;
    let later = Push { due_at_ms: Some(f.now().await + HOUR), ..f.entry("later", "fast", 3) };
    f.push(&[f.entry("leased", "slow", 0), f.entry("a", "fast", 1), later]).await;
    assert_eq!(f.claim_ids(&["slow"], 1).await, ["leased"]);
    // Every key that a push declares is here still, a lane is not any more.
    let moving = Move::begin(&cluster).await;
    moving.key("ganger:{plan}:lane:fast").await;
    let refusal = f.broker.push(&queue(), &[f.entry("b", "fast", 2)]).await.unwrap_err();
    assert!(refusal.to_string().contains("non local key"), "{refusal}");
    moving.all_keys().await;
    moving.end().await;
    let torn = wait::until("the cluster is identified", || async { f.broker.identity().await.ok() }).await;
    assert_eq!(torn.epoch, None);
    f.broker.adopt(EPOCH + 1);
    f.broker.reset("ledger-1", EPOCH + 1, &[queue()]).await.unwrap();
    assert_eq!(f.broker.identity().await.unwrap().epoch, Some(EPOCH + 1));
}

#[tokio::test]
async fn every_master_forgets_and_gets_its_scripts_by_itself() {
    let cluster = Cluster::start().await;
    let f = on(&cluster).await;
    let node = cluster.master_of(KEY).await;
    cluster.nodes[node].ask::<()>(&["SCRIPT", "FLUSH"]).await;
    for _ in 0..2 {
        assert!(f.broker.push(&queue(), &[f.entry("a", "fast", 1)]).await.is_err(), "nothing is loaded unasked");
    }
    assert_eq!(f.broker.identity().await.unwrap().epoch, Some(EPOCH));
    f.broker.adopt(EPOCH);
    f.push(&[f.entry("a", "fast", 1)]).await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the task ends with its stop token")]
async fn it_is_full_when_a_node_that_holds_our_keys_is() {
    let cluster = Cluster::start().await;
    let f = on(&cluster).await;
    let (_, bystander) = elsewhere(&cluster).await;
    let broker = Arc::new(RedisBroker::new(patient(&cluster.url(), "ganger:")).unwrap());
    broker.identity().await.unwrap();
    broker.adopt(EPOCH);
    broker.open(&[queue()]).await.unwrap();
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let watching = Arc::clone(&broker);
    tokio::spawn(async move { watching.run_memory_watch(stop).await });
    let fill = async |node: usize| {
        cluster.nodes[node].ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    };
    fill(bystander).await;
    // Two readings later nothing has changed: the bystander does not count.
    f.pass(1_100).await;
    assert!(!broker.is_full());
    fill(cluster.master_of(KEY).await).await;
    wait::until("the broker is full", || async { broker.is_full().then_some(()) }).await;
}

#[tokio::test]
async fn urls_for_one_server_and_for_a_cluster_are_told_apart() {
    let node = cluster::shared().await.nodes[0].url();
    let refusal = RedisBroker::new(patient(&node, &random_prefix())).unwrap().identity().await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Unfit { .. }) && refusal.to_string().contains("redis+cluster"), "{refusal}");
    let url = crate::support::redis::shared_url().await.replace("redis://", "redis+cluster://");
    let refusal = RedisBroker::new(patient(&url, &random_prefix())).unwrap().identity().await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Unfit { .. }) && refusal.to_string().contains("no node"), "{refusal}");
}
