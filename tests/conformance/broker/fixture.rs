//! A broker in its first epoch, with claims open, and the means to let time pass on its clock.

use std::sync::Arc;

use ganger::broker::memory::MemoryBroker;
use ganger::broker::redis::{RedisBroker, RedisParams};
use ganger::broker::{
    Broker, Claim, ClaimRequest, Claimed, Depth, EntryView, Held, LeaseRef, Push, Pushed, Release, Settle,
};
use ganger::clock::{ManualClock, Timestamp};
use ganger::job::{Counters, Fence, JobId, NodeId, Priority, QueueName, Seq, TypeName};
use redis::aio::MultiplexedConnection;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{cluster, redis as servers, wait};

pub(crate) const EPOCH: i64 = 3;
pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const LEASE: i64 = HOUR;

/// Whose clock the broker follows.
enum Time {
    Manual(Arc<ManualClock>),
    Server(MultiplexedConnection),
}

pub(crate) struct Fixture {
    pub(crate) broker: Arc<dyn Broker>,
    redis: Option<Arc<RedisBroker>>,
    time: Time,
    stop: CancellationToken,
    _stops: DropGuard,
    lanes: Vec<&'static str>,
}

impl Fixture {
    pub(crate) async fn memory() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_767_323_045_678)));
        let broker = Arc::new(MemoryBroker::new(Arc::<ManualClock>::clone(&clock)));
        Self::over(broker, None, Time::Manual(clock)).await
    }

    pub(crate) async fn redis() -> Self {
        Self::redis_at(&servers::shared_url().await, &servers::random_prefix()).await
    }

    /// On the cluster that all tests share.
    pub(crate) async fn cluster() -> Self {
        let cluster = cluster::shared().await;
        Self::redis_with(&cluster.url(), &servers::random_prefix(), &cluster.nodes[0].url()).await
    }

    pub(crate) async fn redis_at(url: &str, prefix: &str) -> Self {
        Self::redis_with(url, prefix, url).await
    }

    /// A broker for `url`, whose clock is read from the server at `clock_url`.
    pub(crate) async fn redis_with(url: &str, prefix: &str, clock_url: &str) -> Self {
        let broker = Arc::new(RedisBroker::new(patient(url, prefix)).unwrap());
        let connection = servers::connect(clock_url).await.unwrap();
        Self::over(Arc::<RedisBroker>::clone(&broker), Some(broker), Time::Server(connection)).await
    }

    async fn over(broker: Arc<dyn Broker>, redis: Option<Arc<RedisBroker>>, time: Time) -> Self {
        broker.identity().await.unwrap();
        broker.adopt(EPOCH);
        broker.reset("ledger-1", EPOCH, &[queue()]).await.unwrap();
        broker.open(&[queue()]).await.unwrap();
        let stop = CancellationToken::new();
        let stops = stop.clone().drop_guard();
        Self { broker, redis, time, stop, _stops: stops, lanes: vec!["fast", "slow"] }
    }

    /// The broker's clock itself, not the estimate.
    pub(crate) async fn now(&self) -> i64 {
        match &self.time {
            Time::Manual(_) => self.broker.now_ms(),
            Time::Server(connection) => server_ms(&mut connection.clone()).await,
        }
    }

    /// Lets `ms` milliseconds pass on the broker's clock.
    pub(crate) async fn pass(&self, ms: i64) {
        match &self.time {
            Time::Manual(clock) => clock.advance_ms(ms),
            Time::Server(_) => {
                let end = self.now().await + ms;
                wait::until("the server's clock has moved on", || async { (self.now().await >= end).then_some(()) })
                    .await;
            }
        }
    }

    /// A suspect entry of priority 3, due at once.
    #[expect(clippy::unused_self, reason = "reads like the other words of a fixture")]
    pub(crate) fn entry(&self, name: &str, lane_name: &str, score: i64) -> Push {
        Push {
            id: id(name),
            seq: 1,
            job_type: lane(lane_name),
            priority: Priority::NORMAL,
            score,
            due_at_ms: None,
            clean_until_ms: 0,
            counters: Counters::default(),
            keyed: false,
        }
    }

    pub(crate) async fn push(&self, entries: &[Push]) -> Vec<Pushed> {
        self.broker.push(&queue(), entries).await.unwrap()
    }

    #[expect(clippy::unused_self, reason = "reads like the other words of a fixture")]
    pub(crate) fn request(&self, lanes: &[&str], limit: usize) -> ClaimRequest {
        ClaimRequest {
            queue: queue(),
            lanes: lanes.iter().map(|name| lane(name)).collect(),
            limit,
            node: node("node-1"),
            lease_ms: LEASE,
            lock_ms: HOUR,
            lock_wait_ms: 10_000,
        }
    }

    pub(crate) async fn claim(&self, lanes: &[&str], limit: usize) -> Claimed {
        self.claim_for(LEASE, lanes, limit).await
    }

    pub(crate) async fn claim_for(&self, lease_ms: i64, lanes: &[&str], limit: usize) -> Claimed {
        let request = ClaimRequest { lease_ms, ..self.request(lanes, limit) };
        self.broker.claim(&request).await.unwrap()
    }

    /// Claims over both lanes as another node.
    pub(crate) async fn claim_as(&self, name: &str, lease_ms: i64, limit: usize) -> Vec<Claim> {
        let request = ClaimRequest { node: node(name), lease_ms, ..self.request(&self.lanes, limit) };
        self.broker.claim(&request).await.unwrap().claims
    }

    pub(crate) async fn claim_ids(&self, lanes: &[&str], limit: usize) -> Vec<String> {
        ids(&self.claim(lanes, limit).await)
    }

    pub(crate) async fn renew(&self, claim: &Claim, lease_ms: i64) -> Vec<bool> {
        self.broker.renew(&queue(), &[lease_of(claim)], lease_ms, HOUR).await.unwrap()
    }

    pub(crate) async fn settle(&self, claim: &Claim, release: Release) -> Vec<bool> {
        self.broker.settle(&queue(), &[settle(&lease_of(claim), release)]).await.unwrap()
    }

    pub(crate) async fn depth(&self, lanes: &[&str]) -> Depth {
        let lanes: Vec<TypeName> = lanes.iter().map(|name| lane(name)).collect();
        self.broker.depth(&queue(), &lanes).await.unwrap()
    }

    pub(crate) async fn view(&self, name: &str) -> Option<EntryView> {
        self.broker.inspect(&queue(), &[id(name)]).await.unwrap().remove(0)
    }

    /// The wake-ups; on Redis only after its subscription stands, which the first of them shows.
    #[expect(clippy::disallowed_methods, reason = "the task ends with the fixture's stop token")]
    pub(crate) async fn wakes(&self) -> broadcast::Receiver<QueueName> {
        let mut wakes = self.broker.wakes();
        if let Some(redis) = &self.redis {
            let (redis, stop) = (Arc::clone(redis), self.stop.clone());
            tokio::spawn(async move { redis.run_subscriber(stop).await });
            hear(&mut wakes, "a subscription").await;
        }
        wakes
    }
}

/// Parameters with deadlines that a slow test machine keeps.
pub(crate) fn patient(url: &str, prefix: &str) -> RedisParams {
    let key_prefix = prefix.to_owned();
    RedisParams { key_prefix, timeout_ms: 20_000, connect_timeout_ms: 20_000, ..RedisParams::new(url) }
}

/// Waits for one wake-up and takes all that came with it.
pub(crate) async fn hear(wakes: &mut broadcast::Receiver<QueueName>, what: &str) {
    let heard = tokio::time::timeout(wait::PATIENCE, wakes.recv()).await;
    assert_eq!(heard.unwrap_or_else(|_| panic!("no wake-up after {what}")).unwrap(), queue());
    while wakes.try_recv().is_ok() {}
}

pub(crate) async fn server_ms(connection: &mut MultiplexedConnection) -> i64 {
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(connection).await.unwrap();
    seconds * 1000 + micros / 1000
}

pub(crate) fn queue() -> QueueName {
    QueueName::stored("plan")
}

pub(crate) fn lane(name: &str) -> TypeName {
    TypeName::stored(name)
}

pub(crate) fn id(name: &str) -> JobId {
    JobId::stored(name)
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::stored(name)
}

pub(crate) fn priority(number: u64) -> Priority {
    Priority::from_number(number).unwrap()
}

pub(crate) fn ids(claimed: &Claimed) -> Vec<String> {
    claimed.claims.iter().map(|claim| claim.id.to_string()).collect()
}

pub(crate) fn lease_ref(name: &str, seq: Seq, fence: Fence) -> LeaseRef {
    LeaseRef { id: id(name), seq, fence }
}

pub(crate) fn lease_of(claim: &Claim) -> LeaseRef {
    LeaseRef { id: claim.id.clone(), seq: claim.seq, fence: claim.fence }
}

pub(crate) fn settle(lease: &LeaseRef, release: Release) -> Settle {
    Settle { lease: lease.clone(), release }
}

/// A claim as its holder tells of it.
pub(crate) fn held(claim: &Claim) -> Held {
    Held { lease: lease_of(claim), node: node("node-1"), counters: claim.counters }
}
