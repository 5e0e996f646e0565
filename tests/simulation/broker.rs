//! The shared broker as one node reaches it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use ganger::broker::memory::MemoryBroker;
use ganger::broker::{
    Broker, BrokerError, BrokerIdentity, ClaimRequest, Claimed, Depth, EntryView, Held, LeaseRef, Note, Noted, Place,
    Push, Pushed, Reaped, Removed, Result, Scanned, Settle, Which,
};
use ganger::job::{JobId, NodeId, QueueName, Seq, TypeName};
use ganger::service::lock;
use tokio::sync::broadcast;

use crate::site::{Cut, Site};
use crate::story::Event;
use crate::world::Tasks;

/// A node's wire to the broker.
#[derive(Debug)]
pub struct SiteBroker {
    site: Arc<Site>,
    broker: Arc<MemoryBroker>,
    /// The server that was seen last, and the one that was adopted. A wire ends at one server: calls to
    /// another fail until the session has looked at it.
    seen: Arc<Mutex<String>>,
    adopted: Mutex<String>,
    epoch: AtomicI64,
    wakes: broadcast::Sender<QueueName>,
    /// Whether the server has no room for new entries.
    full: Arc<AtomicBool>,
    /// By how much this node's estimate of the broker's clock is wrong, in milliseconds.
    estimate_ms: i64,
}

impl SiteBroker {
    pub fn new(site: Arc<Site>, shared: &MemoryBroker, full: Arc<AtomicBool>, tasks: &Tasks, estimate_ms: i64) -> Self {
        let (wakes, _) = broadcast::channel(64);
        tasks.spawn(forward(site.clone(), shared.wakes(), wakes.clone()));
        let broker = Arc::new(shared.handle());
        let (seen, adopted, epoch) = (Arc::default(), Mutex::default(), AtomicI64::new(0));
        Self { site, broker, seen, adopted, epoch, wakes, full, estimate_ms }
    }

    /// One call to the server that was adopted; `effect` must not wait, and the memory broker never does.
    async fn call<T, F>(
        &self,
        what: &'static str,
        effect: impl FnOnce(Arc<MemoryBroker>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        // What is sent names its epoch and goes to one server, however late it comes there.
        let (broker, adopted) = (Arc::new(self.broker.handle()), lock(&self.adopted).clone());
        broker.adopt(self.epoch.load(Ordering::Relaxed));
        let step = move || {
            let server = at_once(broker.identity())?.server;
            if adopted != server {
                return Err(unavailable("the connection ends at a server that was not looked at"));
            }
            at_once(effect(broker))
        };
        self.site.call(what, &self.site.broker_weather, step, cut).await
    }
}

/// Wake-ups cross the network and may be lost.
async fn forward(site: Arc<Site>, mut from: broadcast::Receiver<QueueName>, to: broadcast::Sender<QueueName>) {
    loop {
        let woken = tokio::select! {
            biased;
            () = site.death() => return,
            woken = from.recv() => woken,
        };
        let weather = *lock(&site.broker_weather);
        let lost = weather.away || site.is_frozen() || site.dice.happens(weather.before + weather.after);
        match woken {
            Ok(queue) if !lost => drop(to.send(queue)),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn at_once<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    step.now_or_never().expect("the memory broker never waits")
}

fn unavailable(reason: &str) -> BrokerError {
    BrokerError::Unavailable { place: "simulation".to_owned(), reason: reason.to_owned() }
}

fn cut(cut: Cut) -> BrokerError {
    unavailable(if cut == Cut::Unsent { "no connection" } else { "no answer" })
}

#[async_trait]
impl Broker for SiteBroker {
    async fn identity(&self) -> Result<BrokerIdentity> {
        let (broker, seen) = (self.broker.clone(), self.seen.clone());
        let step = move || {
            let identity = at_once(broker.identity())?;
            lock(&seen).clone_from(&identity.server);
            Ok(identity)
        };
        self.site.call("broker.identity", &self.site.broker_weather, step, cut).await
    }

    fn adopt(&self, epoch: i64) {
        lock(&self.adopted).clone_from(&lock(&self.seen));
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    async fn reset(&self, ledger_id: &str, epoch: i64, queues: &[QueueName]) -> Result<()> {
        let (ledger_id, queues) = (ledger_id.to_owned(), queues.to_vec());
        self.call("broker.reset", move |broker| async move { broker.reset(&ledger_id, epoch, &queues).await }).await
    }

    async fn open(&self, queues: &[QueueName]) -> Result<()> {
        let queues = queues.to_vec();
        self.call("broker.open", move |broker| async move { broker.open(&queues).await }).await
    }

    async fn restore(&self, queue: &QueueName, held: &[Held], lease_ms: i64, lock_ms: i64) -> Result<Vec<bool>> {
        let (queue, held) = (queue.clone(), held.to_vec());
        let effect =
            move |broker: Arc<MemoryBroker>| async move { broker.restore(&queue, &held, lease_ms, lock_ms).await };
        self.call("broker.restore", effect).await
    }

    async fn advance(&self, epoch: i64, queues: &[QueueName]) -> Result<()> {
        let queues = queues.to_vec();
        self.call("broker.advance", move |broker| async move { broker.advance(epoch, &queues).await }).await
    }

    async fn push(&self, queue: &QueueName, entries: &[Push]) -> Result<Vec<Pushed>> {
        let (queue, entries) = (queue.clone(), entries.to_vec());
        let full = self.full.clone();
        let effect = move |broker: Arc<MemoryBroker>| async move {
            if full.load(Ordering::Relaxed) {
                return Err(BrokerError::Full { place: "simulation".to_owned() });
            }
            broker.push(&queue, &entries).await
        };
        self.call("broker.push", effect).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claimed> {
        let (request, story) = (request.clone(), self.site.story.clone());
        let effect = move |broker: Arc<MemoryBroker>| async move {
            let claimed = broker.claim(&request).await?;
            for claim in &claimed.claims {
                story.tell(Event::Granted {
                    queue: request.queue.clone(),
                    id: claim.id.clone(),
                    seq: claim.seq,
                    fence: claim.fence,
                    node: request.node.clone(),
                    suspect: claim.suspect,
                });
            }
            Ok(claimed)
        };
        self.call("broker.claim", effect).await
    }

    async fn renew(&self, queue: &QueueName, leases: &[LeaseRef], lease_ms: i64, lock_ms: i64) -> Result<Vec<bool>> {
        let (queue, leases) = (queue.clone(), leases.to_vec());
        let effect =
            move |broker: Arc<MemoryBroker>| async move { broker.renew(&queue, &leases, lease_ms, lock_ms).await };
        self.call("broker.renew", effect).await
    }

    async fn settle(&self, queue: &QueueName, settles: &[Settle]) -> Result<Vec<bool>> {
        let (queue, settles) = (queue.clone(), settles.to_vec());
        self.call("broker.settle", move |broker| async move { broker.settle(&queue, &settles).await }).await
    }

    async fn reap(&self, queue: &QueueName, living: &[NodeId], limit: usize) -> Result<Reaped> {
        let (queue, living) = (queue.clone(), living.to_vec());
        self.call("broker.reap", move |broker| async move { broker.reap(&queue, &living, limit).await }).await
    }

    async fn remove(&self, queue: &QueueName, entries: &[(JobId, Seq)], which: Which) -> Result<Vec<Removed>> {
        let (queue, entries) = (queue.clone(), entries.to_vec());
        self.call("broker.remove", move |broker| async move { broker.remove(&queue, &entries, which).await }).await
    }

    async fn set_paused(&self, queue: &QueueName, job_type: Option<&TypeName>, paused: bool) -> Result<()> {
        let (queue, name) = (queue.clone(), job_type.cloned());
        let effect =
            move |broker: Arc<MemoryBroker>| async move { broker.set_paused(&queue, name.as_ref(), paused).await };
        self.call("broker.set_paused", effect).await
    }

    async fn depth(&self, queue: &QueueName, lanes: &[TypeName]) -> Result<Depth> {
        let (queue, lanes) = (queue.clone(), lanes.to_vec());
        self.call("broker.depth", move |broker| async move { broker.depth(&queue, &lanes).await }).await
    }

    async fn inspect(&self, queue: &QueueName, ids: &[JobId]) -> Result<Vec<Option<EntryView>>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        self.call("broker.inspect", move |broker| async move { broker.inspect(&queue, &ids).await }).await
    }

    async fn place(&self, queue: &QueueName, id: &JobId, lanes: &[TypeName]) -> Result<Option<Place>> {
        let (queue, id, lanes) = (queue.clone(), id.clone(), lanes.to_vec());
        self.call("broker.place", move |broker| async move { broker.place(&queue, &id, &lanes).await }).await
    }

    async fn leases(&self, queue: &QueueName, limit: usize) -> Result<Vec<EntryView>> {
        let queue = queue.clone();
        self.call("broker.leases", move |broker| async move { broker.leases(&queue, limit).await }).await
    }

    async fn scan(
        &self,
        queue: &QueueName,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Scanned>, Option<String>)> {
        let queue = queue.clone();
        self.call("broker.scan", move |broker| async move { broker.scan(&queue, cursor, limit).await }).await
    }

    async fn notes(&self) -> Result<Vec<Note>> {
        self.call("broker.notes", move |broker| async move { broker.notes().await }).await
    }

    async fn write_note(&self, name: &str, expected: Option<u64>, text: &str) -> Result<Noted> {
        let (name, text) = (name.to_owned(), text.to_owned());
        let effect = move |broker: Arc<MemoryBroker>| async move { broker.write_note(&name, expected, &text).await };
        self.call("broker.write_note", effect).await
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> i64 {
        self.broker.now_ms() + self.estimate_ms
    }

    fn wakes(&self) -> broadcast::Receiver<QueueName> {
        self.wakes.subscribe()
    }
}
