//! The broker in Redis: one Lua script per step, one round trip per call.
//!
//! `docs/REDIS.md` describes the keys, `lua/` holds the scripts. Redis decides nothing here and may
//! lose everything: what it holds is rebuilt from the ledger.

mod address;
mod codec;
mod connection;
mod discovery;
mod info;
mod keys;
mod layout;
mod lifecycle;
mod memory;
mod scripts;
mod server;
mod server_clock;
mod slots;
mod wakes;

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use redis::Value;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::address::Address;
use self::codec::{Call, Unreadable};
use self::connection::Connections;
use self::keys::Keys;
use self::memory::Memory;
use self::scripts::{SCRIPTS, Script};
use self::server::{Limits, Role};
use self::wakes::Wakes;
use super::{
    Broker, BrokerError, BrokerIdentity, ClaimRequest, Claimed, Depth, EntryView, Held, LeaseRef, Note, Noted, Place,
    Push, Pushed, Reaped, Release, Removed, Result, Scanned, Settle, Which,
};
use crate::job::{JobId, NodeId, QueueName, Seq, TypeName};

/// The most entries in one call of a script: keeps the server's pauses near a few milliseconds.
const BATCH_MAX: usize = 500;

/// How many due entries one claim moves into their lanes; the rest follows with the next claim.
const PROMOTIONS_MAX: usize = 200;

/// How many times `depth` goes on moving due entries before it counts what is there.
const DEPTH_ROUNDS_MAX: usize = 200;

/// Where the server is and how long to wait for it.
#[derive(Clone)]
pub struct RedisParams {
    /// Where the servers are, in one of the forms of `docs/REDIS.md`.
    pub url: String,
    /// What every key starts with.
    pub key_prefix: String,
    /// How long one answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// How long a connection may take to be made, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How many connections to hold to each server, beside the one that listens for wake-ups.
    pub pool_size: usize,
    /// The share of `maxmemory` from which on the server counts as full, 0 to 1.
    pub full_at: f64,
}

impl RedisParams {
    /// The usual parameters for the server at `url`: four connections, one for each role.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let (timeout_ms, connect_timeout_ms) = (1000, 1000);
        Self {
            url: url.into(),
            key_prefix: "ganger:".to_owned(),
            timeout_ms,
            connect_timeout_ms,
            pool_size: 4,
            full_at: 0.85,
        }
    }
}

impl std::fmt::Debug for RedisParams {
    /// Leaves out the URL, which may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisParams")
            .field(
                "place",
                &Address::parse(&self.url).map_or_else(|_| "unreadable".to_owned(), |address| address.place),
            )
            .field("key_prefix", &self.key_prefix)
            .finish_non_exhaustive()
    }
}

/// The broker in Redis.
#[derive(Debug)]
pub struct RedisBroker {
    connections: Connections,
    keys: Keys,
    adopted: AtomicI64,
    wakes: Wakes,
    memory: Memory,
}

impl RedisBroker {
    /// A broker for the servers at `params.url`. Connects with the first call only, so that a daemon can
    /// start while they are away.
    ///
    /// # Errors
    /// [`BrokerError::Unfit`] when the URL has none of the known forms.
    pub fn new(params: RedisParams) -> Result<Self> {
        let address = Address::parse(&params.url)
            .map_err(|reason| BrokerError::Unfit { place: "redis.url".to_owned(), reason })?;
        let connections = Connections::new(address, Limits::of(&params))?;
        let keys = Keys::new(params.key_prefix);
        let wakes = Wakes::new(keys.wakes());
        let memory = Memory::new(params.full_at);
        Ok(Self { connections, keys, adopted: AtomicI64::new(0), wakes, memory })
    }

    /// Listens for wake-ups until `stop`; a service of its own. Without it [`Broker::wakes`] hears only
    /// what this node does itself.
    pub async fn run_subscriber(&self, stop: CancellationToken) {
        self.wakes.run(stop, &self.connections).await;
    }

    /// Reads the server's memory until `stop`; a service of its own. Without it [`Broker::is_full`] knows nothing.
    pub async fn run_memory_watch(&self, stop: CancellationToken) {
        let watching = async {
            loop {
                self.read_memory().await;
                sleep(memory::PERIOD).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = stop.cancelled() => {}
        }
    }

    async fn read_memory(&self) {
        let asked_at = Instant::now();
        if let Ok(infos) = self.connections.memory(&self.held_keys()).await {
            self.memory.note(&infos, asked_at);
        }
    }

    /// A key in each slot that this node uses.
    fn held_keys(&self) -> Vec<String> {
        let queues = self.wakes.opened();
        queues.iter().map(|queue| self.keys.control(queue)).chain([self.keys.meta()]).collect()
    }

    fn epoch(&self) -> i64 {
        self.adopted.load(Ordering::Acquire)
    }

    /// Runs a script of the adopted epoch. The server does not know what the caller believed, so the
    /// epoch that was expected goes into the error here.
    async fn run(&self, role: Role, call: Call, expected: i64) -> Result<Vec<Value>> {
        self.connections.run(role, call).await.map_err(|error| match error {
            BrokerError::Epoch { place, found, .. } => BrokerError::Epoch { place, expected, found },
            other => other,
        })
    }

    /// When the caller of a step that starts now stops to wait for it, on the clock of the queue's server.
    fn gives_up_at_ms(&self, queue: &QueueName) -> i64 {
        let timeout_ms = i64::try_from(self.connections.timeout().as_millis()).unwrap_or(i64::MAX);
        self.connections.now_ms_at(&self.keys.control(queue)).saturating_add(timeout_ms)
    }

    fn call(script: &Script, keys: &[String], epoch: i64) -> Call {
        Call::new(script, keys).arg(epoch)
    }

    fn read<T>(&self, read: std::result::Result<T, Unreadable>) -> Result<T> {
        read.map_err(|error| self.connections.unreadable(&error))
    }

    fn read_each<T>(
        &self,
        reply: &[Value],
        read: impl Fn(&Value) -> std::result::Result<T, Unreadable>,
    ) -> Result<Vec<T>> {
        self.read(reply[1..].iter().map(read).collect())
    }

    /// The keys that most scripts declare, in their order.
    fn queue_keys(&self, queue: &QueueName) -> Vec<String> {
        vec![self.keys.control(queue), self.keys.later(queue), self.keys.leases(queue), self.keys.jobs(queue)]
    }

    async fn settle_batch(&self, queue: &QueueName, settles: &[Settle], epoch: i64) -> Result<Vec<bool>> {
        let call = Self::call(&SCRIPTS.settle, &self.queue_keys(queue), epoch).arg(self.keys.queue(queue));
        let call = call.arg(self.wakes.channel()).arg(queue.as_str()).arg(u8::from(self.memory.keeps_results()));
        let call = settles.iter().fold(call, Call::settle);
        let reply = self.run(Role::Settle, call, epoch).await?;
        self.read_each(&reply, codec::read_flag)
    }
}

/// Whether `url` has one of the known forms; else what is wrong with it, without its secrets.
///
/// # Errors
/// What is wrong.
pub fn check_url(url: &str) -> std::result::Result<(), String> {
    Address::parse(url).map(drop)
}

#[async_trait]
impl Broker for RedisBroker {
    async fn identity(&self) -> Result<BrokerIdentity> {
        self.identify().await
    }

    fn adopt(&self, epoch: i64) {
        self.adopted.store(epoch, Ordering::Release);
        self.connections.commit();
    }

    async fn reset(&self, ledger_id: &str, epoch: i64, queues: &[QueueName]) -> Result<()> {
        self.reset_queues(ledger_id, epoch, queues).await
    }

    async fn open(&self, queues: &[QueueName]) -> Result<()> {
        self.open_queues(queues).await
    }

    async fn restore(&self, queue: &QueueName, held: &[Held], lease_ms: i64, lock_ms: i64) -> Result<Vec<bool>> {
        let epoch = self.epoch();
        let mut restored = Vec::with_capacity(held.len());
        for batch in held.chunks(BATCH_MAX) {
            let call = Self::call(&SCRIPTS.restore, &self.queue_keys(queue), epoch).arg(self.keys.queue(queue));
            let call = batch.iter().fold(call.arg(lease_ms).arg(lock_ms), Call::held);
            let reply = self.run(Role::Upkeep, call, epoch).await?;
            restored.extend(self.read_each(&reply, codec::read_flag)?);
        }
        Ok(restored)
    }

    async fn advance(&self, epoch: i64, queues: &[QueueName]) -> Result<()> {
        self.advance_queues(epoch, queues).await
    }

    async fn push(&self, queue: &QueueName, entries: &[Push]) -> Result<Vec<Pushed>> {
        let epoch = self.epoch();
        let mut keys = self.queue_keys(queue);
        keys.push(self.keys.lanes(queue));
        let mut pushed = Vec::with_capacity(entries.len());
        for batch in entries.chunks(BATCH_MAX) {
            let call = Self::call(&SCRIPTS.push, &keys, epoch).arg(self.keys.queue(queue));
            let call = call.arg(self.wakes.channel()).arg(queue.as_str());
            let call = batch.iter().fold(call, Call::push);
            let reply = self.run(Role::Push, call, epoch).await?;
            pushed.extend(self.read_each(&reply, codec::read_pushed)?);
        }
        if pushed.iter().any(|answer| matches!(answer, Pushed::Added | Pushed::Replaced)) {
            self.wakes.wake_unheard(queue);
        }
        Ok(pushed)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claimed> {
        let epoch = self.epoch();
        let queue = &request.queue;
        let mut keys = self.queue_keys(queue);
        keys.extend(request.lanes.iter().map(|lane| self.keys.lane(queue, lane)));
        let call = Self::call(&SCRIPTS.claim, &keys, epoch).arg(self.keys.queue(queue));
        let call = call.arg(request.limit.min(BATCH_MAX)).arg(request.node.as_str()).arg(request.lease_ms);
        let call = call.arg(request.lock_ms).arg(request.lock_wait_ms).arg(PROMOTIONS_MAX);
        let call = call.arg(self.gives_up_at_ms(queue));
        let call = request.lanes.iter().fold(call, |call, lane| call.arg(lane.as_str()));
        let reply = self.run(Role::Claim, call, epoch).await?;
        self.read(codec::read_claimed(&reply))
    }

    async fn renew(&self, queue: &QueueName, leases: &[LeaseRef], lease_ms: i64, lock_ms: i64) -> Result<Vec<bool>> {
        let epoch = self.epoch();
        let keys = [self.keys.control(queue), self.keys.leases(queue), self.keys.jobs(queue)];
        let mut held = Vec::with_capacity(leases.len());
        for batch in leases.chunks(BATCH_MAX) {
            let call = Self::call(&SCRIPTS.renew, &keys, epoch).arg(self.keys.queue(queue));
            let call = batch.iter().fold(call.arg(lease_ms).arg(lock_ms), Call::lease);
            let reply = self.run(Role::Upkeep, call, epoch).await?;
            held.extend(self.read_each(&reply, codec::read_flag)?);
        }
        Ok(held)
    }

    async fn settle(&self, queue: &QueueName, settles: &[Settle]) -> Result<Vec<bool>> {
        let epoch = self.epoch();
        let mut held = Vec::with_capacity(settles.len());
        for batch in settles.chunks(BATCH_MAX) {
            held.extend(self.settle_batch(queue, batch, epoch).await?);
        }
        let is_return = |settle: &Settle| !matches!(settle.release, Release::Done { .. });
        if settles.iter().zip(&held).any(|(settle, &held)| held && is_return(settle)) {
            self.wakes.wake_unheard(queue);
        }
        Ok(held)
    }

    async fn reap(&self, queue: &QueueName, living: &[NodeId], limit: usize) -> Result<Reaped> {
        let epoch = self.epoch();
        let call = Self::call(&SCRIPTS.reap, &self.queue_keys(queue), epoch).arg(self.keys.queue(queue));
        let call = call.arg(self.wakes.channel()).arg(queue.as_str()).arg(limit.min(BATCH_MAX));
        let call = call.arg(self.gives_up_at_ms(queue));
        let call = living.iter().fold(call, |call, node| call.arg(node.as_str()));
        let reply = self.run(Role::Upkeep, call, epoch).await?;
        let reaped = self.read(codec::read_reaped(&reply[1..]))?;
        if reaped != Reaped::default() {
            self.wakes.wake_unheard(queue);
        }
        Ok(reaped)
    }

    async fn remove(&self, queue: &QueueName, entries: &[(JobId, Seq)], which: Which) -> Result<Vec<Removed>> {
        let epoch = self.epoch();
        let mut removed = Vec::with_capacity(entries.len());
        for batch in entries.chunks(BATCH_MAX) {
            let call = Self::call(&SCRIPTS.remove, &self.queue_keys(queue), epoch).arg(self.keys.queue(queue));
            let call = call.arg(u8::from(which == Which::Any));
            let call = batch.iter().fold(call, |call, (id, seq)| call.arg(id.as_str()).arg(*seq));
            let reply = self.run(Role::Upkeep, call, epoch).await?;
            removed.extend(self.read_each(&reply, codec::read_removed)?);
        }
        Ok(removed)
    }

    async fn set_paused(&self, queue: &QueueName, job_type: Option<&TypeName>, paused: bool) -> Result<()> {
        let call = Call::new(&SCRIPTS.pause, &[self.keys.control(queue)]);
        let call = call.arg(job_type.map_or("", TypeName::as_str)).arg(u8::from(paused));
        self.connections.run(Role::Upkeep, call.arg(self.wakes.channel()).arg(queue.as_str())).await?;
        if !paused {
            self.wakes.wake_unheard(queue);
        }
        Ok(())
    }

    async fn depth(&self, queue: &QueueName, lanes: &[TypeName]) -> Result<Depth> {
        let epoch = self.epoch();
        let mut keys = self.queue_keys(queue);
        keys.push(self.keys.lanes(queue));
        keys.extend(lanes.iter().map(|lane| self.keys.lane(queue, lane)));
        let mut depth = Depth::default();
        for _ in 0..DEPTH_ROUNDS_MAX {
            let call = Self::call(&SCRIPTS.depth, &keys, epoch).arg(self.keys.queue(queue)).arg(BATCH_MAX);
            let reply = self.run(Role::Upkeep, call, epoch).await?;
            let more;
            (depth, more) = self.read(codec::read_depth(&reply, lanes))?;
            if !more {
                break;
            }
        }
        Ok(depth)
    }

    async fn inspect(&self, queue: &QueueName, ids: &[JobId]) -> Result<Vec<Option<EntryView>>> {
        let epoch = self.epoch();
        let keys = [self.keys.control(queue), self.keys.jobs(queue)];
        let mut views = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH_MAX) {
            let call = Self::call(&SCRIPTS.inspect, &keys, epoch);
            let call = batch.iter().fold(call, |call, id| call.arg(id.as_str()));
            let reply = self.run(Role::Upkeep, call, epoch).await?;
            for (id, value) in batch.iter().zip(&reply[1..]) {
                views.push(self.read(codec::read_inspected(id, value))?);
            }
        }
        Ok(views)
    }

    async fn place(&self, queue: &QueueName, id: &JobId, lanes: &[TypeName]) -> Result<Option<Place>> {
        let epoch = self.epoch();
        let mut keys = vec![self.keys.control(queue), self.keys.later(queue), self.keys.jobs(queue)];
        keys.extend(lanes.iter().map(|lane| self.keys.lane(queue, lane)));
        let call = Self::call(&SCRIPTS.place, &keys, epoch).arg(self.keys.queue(queue)).arg(id.as_str());
        let reply = self.run(Role::Upkeep, call, epoch).await?;
        self.read(codec::read_place(id, &reply))
    }

    async fn leases(&self, queue: &QueueName, limit: usize) -> Result<Vec<EntryView>> {
        let epoch = self.epoch();
        let keys = [self.keys.control(queue), self.keys.leases(queue), self.keys.jobs(queue)];
        let mut views = Vec::new();
        while views.len() < limit {
            let wanted = (limit - views.len()).min(BATCH_MAX);
            let call = Self::call(&SCRIPTS.leases, &keys, epoch).arg(views.len()).arg(wanted);
            let reply = self.run(Role::Upkeep, call, epoch).await?;
            let found = self.read(codec::read_leases(&reply[1..]))?;
            let is_last = found.len() < wanted;
            views.extend(found);
            if is_last {
                break;
            }
        }
        Ok(views)
    }

    async fn scan(
        &self,
        queue: &QueueName,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Scanned>, Option<String>)> {
        let epoch = self.epoch();
        let call = Self::call(&SCRIPTS.scan, &self.queue_keys(queue), epoch).arg(self.keys.queue(queue));
        let call = call.arg(cursor.as_deref().unwrap_or("0")).arg(limit.clamp(1, BATCH_MAX));
        let reply = self.run(Role::Upkeep, call, epoch).await?;
        self.read(codec::read_scanned(&reply))
    }

    async fn notes(&self) -> Result<Vec<Note>> {
        let key = self.keys.notes();
        let mut command = redis::cmd("HGETALL");
        command.arg(&key);
        self.read(codec::read_notes(&self.connections.command(Role::Upkeep, &key, &command).await?))
    }

    async fn write_note(&self, name: &str, expected: Option<u64>, text: &str) -> Result<Noted> {
        let call = Call::new(&SCRIPTS.note, &[self.keys.notes()]).arg(name);
        let call = call.arg(expected.map(|version| version.to_string()).unwrap_or_default()).arg(text);
        let reply = self.connections.run(Role::Upkeep, call).await?;
        self.read(codec::read_noted(name, &reply))
    }

    fn is_full(&self) -> bool {
        self.memory.is_full()
    }

    fn now_ms(&self) -> i64 {
        self.connections.now_ms()
    }

    fn wakes(&self) -> broadcast::Receiver<QueueName> {
        self.wakes.subscribe()
    }
}
