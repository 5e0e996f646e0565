//! A real Redis Cluster: three masters with a replica each, each node with its own watchdog.

use std::time::Duration;

use redis::Value;
use tokio::sync::OnceCell;

use super::redis::{Options, Redis};
use super::wait;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// The nodes, whichever of them are masters.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

/// How long a node may be silent: no other is promoted on a slow machine unless the test says so.
const CALM_MS: u32 = 30_000;
/// The same where the test kills nodes.
const QUICK_MS: u32 = 2_000;

impl Cluster {
    /// A cluster whose masters are replaced by order only.
    pub async fn start() -> Self {
        Self::start_with(CALM_MS).await
    }

    /// A cluster that soon replaces a master that died.
    pub async fn quick() -> Self {
        Self::start_with(QUICK_MS).await
    }

    /// Returns when every node sees the cluster whole and every replica follows.
    async fn start_with(node_timeout_ms: u32) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..2 * MASTERS {
            let options = Options { cluster: true, ..Options::default() };
            let options =
                options.set("cluster-node-timeout", &node_timeout_ms.to_string()).set("repl-diskless-sync-delay", "0");
            nodes.push(Redis::start_with(options.set("cluster-replica-validity-factor", "0")).await);
        }
        let cluster = Self { nodes };
        let mut ids: Vec<String> = Vec::new();
        for (at, node) in cluster.nodes.iter().enumerate() {
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]).await;
            if at < MASTERS {
                let first = (SLOTS * at / MASTERS).to_string();
                let last = (SLOTS * (at + 1) / MASTERS - 1).to_string();
                node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            }
            ids.push(node.ask(&["CLUSTER", "MYID"]).await);
        }
        for node in &cluster.nodes[1..] {
            let (port, bus_port) = (node.port().to_string(), node.bus_port().to_string());
            cluster.nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]).await;
        }
        for (replica, id) in cluster.nodes[MASTERS..].iter().zip(&ids) {
            // A node refuses as long as it has not heard of its master.
            wait::until("the replica knows its master", || async {
                replica.try_ask::<()>(&["CLUSTER", "REPLICATE", id]).await.ok()
            })
            .await;
        }
        for replica in &cluster.nodes[MASTERS..] {
            let linked = || async { (replica.info("master_link_status").await == "up").then_some(()) };
            wait::until("the replica follows", linked).await;
        }
        cluster.is_whole().await;
        cluster
    }

    /// The URL that names every node.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Waits until every running node says that all slots are served and knows a replica for each master.
    pub async fn is_whole(&self) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            wait::within(Duration::from_secs(90), "a node sees the cluster whole", || async {
                let info: String = node.try_ask(&["CLUSTER", "INFO"]).await.ok()?;
                let ranges: Vec<Vec<Value>> = node.try_ask(&["CLUSTER", "SLOTS"]).await.ok()?;
                let running = self.nodes.iter().filter(|node| node.is_running()).count();
                let named: usize = ranges.iter().map(|range| range.len() - 2).sum();
                // With moved slots a node is named once for each of its ranges.
                (info.contains("cluster_state:ok") && named >= running).then_some(())
            })
            .await;
        }
    }

    /// Which node is the master of `key`.
    pub async fn master_of(&self, key: &str) -> usize {
        wait::within(Duration::from_secs(90), "the key has a master", || async {
            for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.is_running()) {
                if node.info("role").await == "master" && node.try_ask::<Value>(&["EXISTS", key]).await.is_ok() {
                    return Some(at);
                }
            }
            None
        })
        .await
    }

    /// A master that holds none of `keys`.
    pub async fn master_without(&self, keys: &[&str]) -> usize {
        let mut holders = Vec::new();
        for key in keys {
            holders.push(self.master_of(key).await);
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if !holders.contains(&at) && node.is_running() && node.info("role").await == "master" {
                return at;
            }
        }
        panic!("every master holds one of {keys:?}");
    }

    /// Kills the master of `key`; answers which node it was. See [`Self::promoted`].
    pub async fn kill_master_of(&mut self, key: &str) -> usize {
        let master = self.master_of(key).await;
        self.nodes[master].kill();
        master
    }

    /// Has the replica of `key`'s master take over while the master lives; answers which node was the master.
    pub async fn failover(&self, key: &str) -> usize {
        let master = self.master_of(key).await;
        let port = self.nodes[master].port().to_string();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            if node.info("master_port").await != port {
                continue;
            }
            // The nodes give an order up after five seconds; a slow machine may need several.
            for _ in 0..10 {
                node.ask::<()>(&["CLUSTER", "FAILOVER"]).await;
                let took_over = async {
                    while node.info("role").await != "master" {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                if tokio::time::timeout(Duration::from_secs(6), took_over).await.is_ok() {
                    return master;
                }
            }
        }
        panic!("no replica took over from the master of {key}");
    }

    /// Waits until another node than `old` is the master of `key`, and the cluster is whole.
    pub async fn promoted(&self, old: usize, key: &str) -> usize {
        let master = wait::within(Duration::from_secs(90), "another node has the key", || async {
            Some(self.master_of(key).await).filter(|master| *master != old)
        })
        .await;
        self.is_whole().await;
        master
    }
}

/// The cluster that the tests of one binary share. Each test takes a key prefix of its own.
pub async fn shared() -> &'static Cluster {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED.get_or_init(Cluster::start).await
}
