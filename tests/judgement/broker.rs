//! The broker in process behind a wire that can be made to hang, or to fail late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ganger::broker::memory::MemoryBroker;
use ganger::broker::{
    Broker, BrokerError, BrokerIdentity, ClaimRequest, Claimed, Depth, EntryView, Held, LeaseRef, Note, Noted, Place,
    Push, Pushed, Reaped, Removed, Result, Scanned, Settle, Which,
};
use ganger::job::{JobId, NodeId, QueueName, Seq, TypeName};
use ganger::service::watch;
use tokio::sync::broadcast;

/// What the wire does to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Nothing.
    Whole,
    /// No call of this name ever comes back, which no adapter of a store may do.
    Hangs(&'static str),
    /// Every call fails after this time, as one to a store that does not answer.
    Silent(Duration),
}

/// A broker on such a wire.
#[derive(Debug, Clone)]
pub struct WiredBroker {
    broker: Arc<MemoryBroker>,
    wire: watch::Sender<Wire>,
}

impl WiredBroker {
    pub fn new(broker: MemoryBroker) -> Self {
        Self { broker: Arc::new(broker), wire: watch::Sender::new(Wire::Whole) }
    }

    /// Calls that hang go on once the wire is another.
    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    async fn pass(&self, name: &'static str) -> Result<()> {
        let hangs = |wire: &Wire| matches!(wire, Wire::Hangs(call) if *call == name);
        let wire = self.wire.subscribe().wait_for(|wire| !hangs(wire)).await;
        let Wire::Silent(patience) = wire else { return Ok(()) };
        tokio::time::sleep(patience).await;
        Err(BrokerError::Unavailable { place: "the model".to_owned(), reason: "no answer".to_owned() })
    }
}

/// Passes calls on as the wire lets them.
macro_rules! pass {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl Broker for WiredBroker {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                self.pass(stringify!($name)).await?;
                self.broker.$name($($arg),*).await
            })+

            fn adopt(&self, epoch: i64) {
                self.broker.adopt(epoch);
            }

            fn is_full(&self) -> bool {
                self.broker.is_full()
            }

            fn now_ms(&self) -> i64 {
                self.broker.now_ms()
            }

            fn wakes(&self) -> broadcast::Receiver<QueueName> {
                self.broker.wakes()
            }
        }
    };
}

pass! {
    identity() -> BrokerIdentity;
    reset(ledger_id: &str, epoch: i64, queues: &[QueueName]) -> ();
    open(queues: &[QueueName]) -> ();
    restore(queue: &QueueName, held: &[Held], lease_ms: i64, lock_ms: i64) -> Vec<bool>;
    advance(epoch: i64, queues: &[QueueName]) -> ();
    push(queue: &QueueName, entries: &[Push]) -> Vec<Pushed>;
    claim(request: &ClaimRequest) -> Claimed;
    renew(queue: &QueueName, leases: &[LeaseRef], lease_ms: i64, lock_ms: i64) -> Vec<bool>;
    settle(queue: &QueueName, settles: &[Settle]) -> Vec<bool>;
    reap(queue: &QueueName, living: &[NodeId], limit: usize) -> Reaped;
    remove(queue: &QueueName, entries: &[(JobId, Seq)], which: Which) -> Vec<Removed>;
    set_paused(queue: &QueueName, job_type: Option<&TypeName>, paused: bool) -> ();
    depth(queue: &QueueName, lanes: &[TypeName]) -> Depth;
    inspect(queue: &QueueName, ids: &[JobId]) -> Vec<Option<EntryView>>;
    place(queue: &QueueName, id: &JobId, lanes: &[TypeName]) -> Option<Place>;
    leases(queue: &QueueName, limit: usize) -> Vec<EntryView>;
    scan(queue: &QueueName, cursor: Option<String>, limit: usize) -> (Vec<Scanned>, Option<String>);
    notes() -> Vec<Note>;
    write_note(name: &str, expected: Option<u64>, text: &str) -> Noted;
}
