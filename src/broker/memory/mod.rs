//! The broker inside the process: the reference for what every broker does, and the broker of the
//! embedded footing.
//!
//! It has no locks of other programs to respect and keeps no `job_result`: both are the runbook's
//! keys in Redis, and here the ledger in the same process answers for them. A restart is a rebuild.

mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;

use self::queue::{Queue, Queues};
use super::{
    Broker, BrokerError, BrokerIdentity, ClaimRequest, Claimed, Depth, EntryView, Held, LeaseRef, Note, Noted, Place,
    Push, Pushed, Reaped, Removed, Result, Scanned, Settle, Which,
};
use crate::clock::Clock;
use crate::job::{JobId, NodeId, QueueName, Seq, TypeName};
use crate::mutant::mutant;

/// How many wake-ups a slow listener may fall behind before it loses the oldest. A dispatcher that
/// lost some looks at its queue anyway.
const WAKES_MAX: usize = 1024;

/// How this broker is called in errors.
const PLACE: &str = "memory";

/// The in-process broker.
pub struct MemoryBroker {
    clock: Arc<dyn Clock>,
    adopted: AtomicI64,
    state: Arc<Mutex<State>>,
    wakes: broadcast::Sender<QueueName>,
}

/// What a broker held at some moment.
#[derive(Debug, Clone)]
pub struct Snapshot(State);

#[derive(Debug, Clone, Default)]
struct State {
    server: String,
    ledger_id: Option<String>,
    epoch: Option<i64>,
    open: bool,
    queues: Queues,
    /// Version and text by name.
    notes: BTreeMap<String, (u64, String)>,
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("server", &self.state().server).finish_non_exhaustive()
    }
}

impl MemoryBroker {
    /// An empty broker whose time is `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State { server: format!("memory-{}", JobId::generate()), ..State::default() };
        let (wakes, _) = broadcast::channel(WAKES_MAX);
        Self { clock, adopted: AtomicI64::new(0), state: Arc::new(Mutex::new(state)), wakes }
    }

    /// Another view of the same queues, which adopts its own epoch: what a second node is to a shared server.
    #[must_use]
    pub fn handle(&self) -> Self {
        let (clock, state, wakes) = (self.clock.clone(), self.state.clone(), self.wakes.clone());
        Self { clock, adopted: AtomicI64::new(0), state, wakes }
    }

    /// What it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state().clone())
    }

    /// Goes on from what it held at an earlier moment (from nothing, without one), as the server `server`: what
    /// a restart from an old file or the promotion of a replica without the tail does to a real one.
    pub fn roll_back(&self, to: Option<&Snapshot>, server: &str) {
        let held = to.map(|snapshot| snapshot.0.clone()).unwrap_or_default();
        *self.state() = State { server: server.to_owned(), ..held };
    }

    /// A step never panics half-way, so a poisoned lock still guards a sound state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `step` on a queue that is in the adopted epoch.
    fn in_epoch<T>(&self, queue: &QueueName, step: impl FnOnce(&mut Queue, i64) -> T) -> Result<T> {
        let expected = self.adopted.load(Ordering::Acquire);
        let mut state = self.state();
        match state.queues.get_mut(queue) {
            Some(found) if found.epoch == Some(expected) || mutant!(no_epoch_check) => {
                Ok(step(found, self.clock.now().millis()))
            }
            found => Err(epoch_error(expected, found.and_then(|queue| queue.epoch))),
        }
    }

    /// Tells whoever listens; without listeners there is nobody to tell.
    fn wake(&self, queue: &QueueName) {
        drop(self.wakes.send(queue.clone()));
    }
}

fn note(name: &str, version: u64, text: &str) -> Note {
    Note { name: name.to_owned(), version, text: text.to_owned() }
}

fn epoch_error(expected: i64, found: Option<i64>) -> BrokerError {
    BrokerError::Epoch { place: PLACE.to_owned(), expected, found }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn identity(&self) -> Result<BrokerIdentity> {
        let state = self.state();
        let ledger_id = state.ledger_id.clone();
        Ok(BrokerIdentity { ledger_id, epoch: state.epoch, open: state.open, server: state.server.clone() })
    }

    fn adopt(&self, epoch: i64) {
        self.adopted.store(epoch, Ordering::Release);
    }

    async fn reset(&self, ledger_id: &str, epoch: i64, queues: &[QueueName]) -> Result<()> {
        let mut state = self.state();
        if let Some(found) = state.ledger_id.as_deref().filter(|&found| found != ledger_id) {
            let reason = format!("it belongs to the ledger {found}, not to {ledger_id}");
            return Err(BrokerError::Unfit { place: PLACE.to_owned(), reason });
        }
        let found = state.queues.values().filter_map(|queue| queue.epoch).chain(state.epoch).max();
        if found.is_some_and(|found| found > epoch) {
            return Err(epoch_error(epoch, found));
        }
        state.ledger_id = Some(ledger_id.to_owned());
        state.epoch = Some(epoch);
        state.open = false;
        let known: BTreeSet<QueueName> = state.queues.keys().chain(queues).cloned().collect();
        for queue in known {
            state.queues.entry(queue).or_default().reset(epoch);
        }
        Ok(())
    }

    async fn open(&self, queues: &[QueueName]) -> Result<()> {
        let epoch = self.adopted.load(Ordering::Acquire);
        {
            let mut state = self.state();
            if state.epoch != Some(epoch) {
                return Err(epoch_error(epoch, state.epoch));
            }
            for name in queues {
                let queue = state.queues.entry(name.clone()).or_default();
                if !queue.can_enter(epoch) {
                    return Err(epoch_error(epoch, queue.epoch));
                }
                queue.open(epoch);
            }
            state.open = true;
        }
        for queue in queues {
            self.wake(queue);
        }
        Ok(())
    }

    async fn restore(&self, queue: &QueueName, held: &[Held], lease_ms: i64, _lock_ms: i64) -> Result<Vec<bool>> {
        self.in_epoch(queue, |found, now| held.iter().map(|held| found.restore(held, now, lease_ms)).collect())
    }

    async fn advance(&self, epoch: i64, _queues: &[QueueName]) -> Result<()> {
        let from = self.adopted.load(Ordering::Acquire);
        let mut state = self.state();
        if state.epoch != Some(from) && state.epoch != Some(epoch) {
            return Err(epoch_error(from, state.epoch));
        }
        state.epoch = Some(epoch);
        for queue in state.queues.values_mut().filter(|queue| queue.epoch == Some(from)) {
            queue.advance(epoch);
        }
        Ok(())
    }

    async fn push(&self, queue: &QueueName, entries: &[Push]) -> Result<Vec<Pushed>> {
        let pushed: Vec<Pushed> =
            self.in_epoch(queue, |found, now| entries.iter().map(|entry| found.push(entry, now)).collect())?;
        if pushed.iter().any(|answer| matches!(answer, Pushed::Added | Pushed::Replaced)) {
            self.wake(queue);
        }
        Ok(pushed)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claimed> {
        self.in_epoch(&request.queue, |queue, now| queue.claim(request, now))
    }

    async fn renew(&self, queue: &QueueName, leases: &[LeaseRef], lease_ms: i64, _lock_ms: i64) -> Result<Vec<bool>> {
        self.in_epoch(queue, |found, now| leases.iter().map(|lease| found.renew(lease, now + lease_ms)).collect())
    }

    async fn settle(&self, queue: &QueueName, settles: &[Settle]) -> Result<Vec<bool>> {
        let held: Vec<bool> =
            self.in_epoch(queue, |found, now| settles.iter().map(|settle| found.settle(settle, now)).collect())?;
        let is_return = |settle: &Settle| !matches!(settle.release, super::Release::Done { .. });
        if settles.iter().zip(&held).any(|(settle, &held)| held && is_return(settle)) {
            self.wake(queue);
        }
        Ok(held)
    }

    async fn reap(&self, queue: &QueueName, living: &[NodeId], limit: usize) -> Result<Reaped> {
        let reaped = self.in_epoch(queue, |found, now| found.reap(living, limit, now))?;
        if reaped != Reaped::default() {
            self.wake(queue);
        }
        Ok(reaped)
    }

    async fn remove(&self, queue: &QueueName, entries: &[(JobId, Seq)], which: Which) -> Result<Vec<Removed>> {
        self.in_epoch(queue, |found, _| entries.iter().map(|(id, seq)| found.remove(id, *seq, which)).collect())
    }

    async fn set_paused(&self, queue: &QueueName, job_type: Option<&TypeName>, paused: bool) -> Result<()> {
        self.state().queues.entry(queue.clone()).or_default().set_paused(job_type, paused);
        if !paused {
            self.wake(queue);
        }
        Ok(())
    }

    async fn depth(&self, queue: &QueueName, lanes: &[TypeName]) -> Result<Depth> {
        self.in_epoch(queue, |found, now| found.depth(lanes, now))
    }

    async fn inspect(&self, queue: &QueueName, ids: &[JobId]) -> Result<Vec<Option<EntryView>>> {
        self.in_epoch(queue, |found, _| ids.iter().map(|id| found.inspect(id)).collect())
    }

    async fn place(&self, queue: &QueueName, id: &JobId, lanes: &[TypeName]) -> Result<Option<Place>> {
        self.in_epoch(queue, |found, _| found.place_of(id, lanes))
    }

    async fn leases(&self, queue: &QueueName, limit: usize) -> Result<Vec<EntryView>> {
        self.in_epoch(queue, |found, _| found.leases(limit))
    }

    async fn scan(
        &self,
        queue: &QueueName,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Scanned>, Option<String>)> {
        self.in_epoch(queue, |found, _| found.scan(cursor.as_deref(), limit))
    }

    async fn notes(&self) -> Result<Vec<Note>> {
        let state = self.state();
        let note = |(name, (version, text)): (&String, &(u64, String))| note(name, *version, text);
        Ok(state.notes.iter().map(note).collect())
    }

    async fn write_note(&self, name: &str, expected: Option<u64>, text: &str) -> Result<Noted> {
        let mut state = self.state();
        let found = state.notes.get(name);
        let version = found.map(|(version, _)| *version);
        if version != expected {
            return Ok(Noted::Differs(found.map(|(version, text)| note(name, *version, text))));
        }
        let now = u64::try_from(self.clock.now().millis()).unwrap_or_default();
        let version = now.max(version.map_or(1, |version| version + 1));
        state.notes.insert(name.to_owned(), (version, text.to_owned()));
        Ok(Noted::Written(version))
    }

    /// What it holds is bounded by the ledger's live rows and the process's memory, which shedding watches.
    fn is_full(&self) -> bool {
        false
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().millis()
    }

    fn wakes(&self) -> broadcast::Receiver<QueueName> {
        self.wakes.subscribe()
    }
}
