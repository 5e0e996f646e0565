//! The breakers of this node: what each lets through, and what runs by its leave.
//!
//! Which breakers there are follows from the catalogue: the own target of every type and what it depends on.
//! `policy/breaker.rs` decides; here are its facts. A claim reserves what it may start and hands each run its
//! [`Leave`]s; they end with the run, exactly once: with what the run came to, or with nothing learnt when it
//! was dropped or given back.
//!
//! `notes.rs` keeps the nodes together, `outcome.rs` reads what a run says of its dependencies, `control.rs` is what
//! operators see and do.

mod control;
mod notes;
mod outcome;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, broadcast};

use crate::broker::Broker;
use crate::clock::Timestamp;
use crate::job::{QueueName, Seq, TypeName};
use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::policy::breaker::{self, Breaker, Call, Concluded, NEVER, Pass, Record, Rules, Standing, Transition};
use crate::policy::gate::BreakerFact;
use crate::service::lock;
use crate::telemetry::metrics;

use super::core::{Core, Setup};
use super::timeline::Timeline;

pub(super) use control::{list, mcp_servers_away, open, reset, show, trip};
pub(super) use notes::run;
pub(super) use outcome::conclude;

/// How many wake-ups a pool may fall behind before it loses the oldest; then it looks anyway.
const WAKES_MAX: usize = 256;
/// How long a probe is not tried again after it found nothing to run, in milliseconds: each try is a write that all
/// nodes see, and what is pushed meanwhile is no later than after a lost wake-up.
const UNUSED_PAUSE_MS: i64 = 1_000;

/// All breakers of this node.
#[derive(Debug)]
pub(super) struct Breakers {
    shared: Arc<Shared>,
    table: ArcSwap<Table>,
    /// Whether it was looked at once what the others know.
    is_ready: AtomicBool,
}

/// What every breaker needs beside itself.
#[derive(Debug)]
struct Shared {
    broker: Arc<dyn Broker>,
    rules: ArcSwap<Rules>,
    /// Fires when there is something to tell the others.
    due: Notify,
    /// Names queues in which something may have become claimable.
    wakes: broadcast::Sender<QueueName>,
    timeline: Arc<Timeline>,
}

/// The breakers of one catalogue.
#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<String, Arc<Entry>>,
    /// Those that gate a type; types without any are left out.
    by_type: HashMap<TypeName, Vec<Arc<Entry>>>,
}

/// One breaker.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    shared: Arc<Shared>,
    /// The queues of the types that it gates.
    queues: ArcSwap<Vec<QueueName>>,
    inner: Mutex<Inner>,
    /// One at a time writes its note.
    writing: tokio::sync::Mutex<()>,
    /// The most jobs that it held since it last closed.
    held_most: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    breaker: Breaker,
    /// The note as it was last seen.
    version: Option<u64>,
    noted: Option<Record>,
    /// Runs of this node that need the dependency.
    in_flight: u32,
    /// A claim was held back by the slow start: whoever ends tells the pools.
    is_wanted: bool,
    /// A probe found nothing to run: not before this.
    rests_until: Timestamp,
    /// What the pools were last told.
    told: Option<Standing>,
    /// The job whose probes failed last, and how many in a row.
    failing: Option<(Seq, u32)>,
}

/// The leave of one run to call one dependency. Dropped, it ends with nothing learnt.
#[derive(Debug)]
pub(super) struct Leave {
    entry: Arc<Entry>,
    pass: Pass,
    is_over: bool,
}

/// The leaves of one run.
pub(super) type Leaves = Vec<Leave>;

impl Breakers {
    pub(super) fn new(broker: Arc<dyn Broker>, setup: &Setup, timeline: Arc<Timeline>) -> Self {
        let (wakes, _) = broadcast::channel(WAKES_MAX);
        let rules = ArcSwap::from_pointee(setup.breakers.clone());
        let shared = Arc::new(Shared { broker, rules, due: Notify::new(), wakes, timeline });
        let breakers = Self { shared, table: ArcSwap::default(), is_ready: AtomicBool::new(false) };
        breakers.configure(setup);
        breakers
    }

    /// Takes over a setup: breakers that stay keep their state.
    pub(super) fn configure(&self, setup: &Setup) {
        self.shared.rules.store(Arc::new(setup.breakers.clone()));
        let old = self.table.load_full();
        let mut queues: BTreeMap<String, Vec<QueueName>> = BTreeMap::new();
        for known in setup.catalog.types.values() {
            for name in breaker::gates(known) {
                queues.entry(name).or_default().push(known.queue.clone());
            }
        }
        let entry = |(name, mut queues): (String, Vec<QueueName>)| {
            queues.dedup();
            let entry = old.by_name.get(&name).cloned().unwrap_or_else(|| Arc::new(Entry::new(&name, &self.shared)));
            entry.queues.store(Arc::new(queues));
            (name, entry)
        };
        let by_name: BTreeMap<String, Arc<Entry>> = queues.into_iter().map(entry).collect();
        for name in old.by_name.keys().filter(|name| !by_name.contains_key(*name)) {
            metrics::breaker_gone(name);
        }
        let mut by_type = HashMap::new();
        for known in setup.catalog.types.values() {
            let gates: Vec<Arc<Entry>> =
                breaker::gates(known).iter().filter_map(|name| by_name.get(name)).cloned().collect();
            if !gates.is_empty() {
                by_type.insert(known.name.clone(), gates);
            }
        }
        for (name, entry) in &by_name {
            metrics::breaker_starts_at_zero(name, entry.lock().breaker.record().state.name());
        }
        self.table.store(Arc::new(Table { by_name, by_type }));
        self.shared.due.notify_one();
    }

    /// Names each queue in which a breaker has let something through; messages may be lost.
    pub(super) fn wakes(&self) -> broadcast::Receiver<QueueName> {
        self.shared.wakes.subscribe()
    }

    /// Whether claims may be made: it was looked at once what the other nodes know.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire) || self.table.load().by_name.is_empty()
    }

    /// The breakers that gate a type, own target first.
    pub(super) fn gates(&self, job_type: &TypeName) -> Vec<Arc<Entry>> {
        self.table.load().by_type.get(job_type).cloned().unwrap_or_default()
    }

    /// Whether a breaker lets nothing of a lane through but probes: workers cannot help its jobs.
    pub(super) fn hold(&self, lane: &TypeName, nodes: usize) -> bool {
        self.gates(lane).iter().any(|entry| entry.holds(nodes))
    }

    /// Shows how many jobs of all queues each breaker holds.
    pub(super) fn publish_held(&self, lanes: &[(TypeName, u64)], nodes: usize) {
        let table = self.table.load();
        for (name, entry) in &table.by_name {
            let is_gated = |lane: &TypeName| {
                table.by_type.get(lane).is_some_and(|gates| gates.iter().any(|gate| Arc::ptr_eq(gate, entry)))
            };
            let waiting = lanes.iter().filter(|(lane, _)| is_gated(lane)).map(|(_, count)| count).sum();
            let held = if entry.holds(nodes) { waiting } else { 0 };
            entry.held_most.fetch_max(held, Ordering::Relaxed);
            metrics::breaker_held_jobs(name, held);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// The time that all nodes share.
    fn now(&self) -> Timestamp {
        Timestamp(self.broker.now_ms())
    }
}

// === impl Entry ===

impl Entry {
    fn new(name: &str, shared: &Arc<Shared>) -> Self {
        Self {
            name: name.to_owned(),
            shared: shared.clone(),
            queues: ArcSwap::default(),
            inner: Mutex::default(),
            writing: tokio::sync::Mutex::new(()),
            held_most: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    fn standing(&self, inner: &Inner, nodes: usize) -> Standing {
        inner.breaker.standing(&self.shared.rules.load(), self.shared.now(), nodes)
    }

    /// Whether it lets nothing through but probes.
    fn holds(&self, nodes: usize) -> bool {
        matches!(self.standing(&self.lock(), nodes), Standing::Held | Standing::Probe(_))
    }

    /// What it says to a lane; `None` while it lets everything through.
    pub(super) fn fact(&self, nodes: usize) -> Option<BreakerFact> {
        let mut inner = self.lock();
        let now = self.shared.now();
        let standing = self.standing(&inner, nodes);
        let is_open = !matches!(standing, Standing::Capped(_));
        let allowance = match standing {
            Standing::Free => return None,
            Standing::Capped(cap) => cap.saturating_sub(inner.in_flight),
            Standing::Probe(free) if now >= inner.rests_until => free,
            Standing::Probe(_) | Standing::Held => 0,
        };
        inner.is_wanted |= allowance == 0;
        let until = inner.breaker.next_change(&self.shared.rules.load(), now);
        let allowance = usize::try_from(allowance).unwrap_or(usize::MAX);
        Some(BreakerFact { name: self.name.clone(), allowance, is_open, until })
    }

    /// The pass of a call that is let through as of now.
    pub(super) fn pass(&self) -> Pass {
        self.lock().breaker.pass()
    }

    /// A run starts that was let through with `pass`.
    pub(super) fn enter(self: &Arc<Self>, pass: Pass) -> Leave {
        self.lock().in_flight += 1;
        self.leave(pass)
    }

    fn leave(self: &Arc<Self>, pass: Pass) -> Leave {
        Leave { entry: self.clone(), pass, is_over: false }
    }

    /// Reserves up to `want` calls; a probe is agreed on with the other nodes first, and may take `timeout_ms`.
    pub(super) async fn reserve(self: &Arc<Self>, core: &Core, want: usize, timeout_ms: u64) -> Leaves {
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        let nodes = core.membership.living().len();
        // Looked at by itself: the lock must not be held while others are asked.
        let standing = self.standing(&self.lock(), nodes);
        if let Standing::Probe(free) = standing {
            return notes::take_permits(self, core, free.min(want), timeout_ms).await;
        }
        let (count, pass) = {
            let mut inner = self.lock();
            let count = match self.standing(&inner, nodes) {
                Standing::Free => want,
                Standing::Capped(cap) => cap.saturating_sub(inner.in_flight).min(want),
                Standing::Held | Standing::Probe(_) => 0,
            };
            inner.is_wanted |= count < want;
            inner.in_flight += count;
            (count, inner.breaker.pass())
        };
        (0..count).map(|_| self.leave(pass)).collect()
    }

    /// Takes back a leave that nobody used. It wakes nobody: who was refused meanwhile was refused for the call that
    /// was not made, and a dispatcher that wakes itself by finding nothing would never rest.
    fn take_back(&self, pass: Pass) {
        let mut inner = self.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if pass.permit.is_some() {
            let now = self.shared.now();
            inner.breaker.conclude(pass, Call::Unknown, &self.shared.rules.load(), now);
            inner.rests_until = now.plus_ms(UNUSED_PAUSE_MS);
            drop(inner);
            metrics::breaker_probe(&self.name, outcome_of(Call::Unknown));
            self.shared.due.notify_one();
        }
    }

    /// Ends a leave with what the call came to.
    fn finish(&self, pass: Pass, call: Call<'_>) -> Concluded {
        let now = self.shared.now();
        let (concluded, was_wanted) = {
            let mut inner = self.lock();
            inner.in_flight = inner.in_flight.saturating_sub(1);
            let pass = if mutant!(stale_results_count) {
                Pass { generation: inner.breaker.record().generation, ..pass }
            } else {
                pass
            };
            let concluded = inner.breaker.conclude(pass, call, &self.shared.rules.load(), now);
            (concluded, std::mem::take(&mut inner.is_wanted))
        };
        if concluded.is_stale {
            metrics::breaker_stale_result(&self.name);
        }
        if pass.permit.is_some() && !concluded.is_stale {
            metrics::breaker_probe(&self.name, outcome_of(call));
            self.shared.due.notify_one();
        }
        if let Some(transition) = &concluded.transition {
            self.note(transition);
            self.tell(transition);
            self.shared.due.notify_one();
        }
        if was_wanted || concluded.transition.is_some() {
            self.wake();
        }
        concluded
    }

    /// Takes over what is known elsewhere.
    fn merge(&self, record: &Record) {
        let transition = self.lock().breaker.merge(record);
        if let Some(transition) = transition {
            self.tell(&transition);
            self.wake();
        }
    }

    /// Wakes the pools of all queues that wait for it.
    fn wake(&self) {
        for queue in self.queues.load().iter() {
            // Without pools there is nobody to tell.
            drop(self.shared.wakes.send(queue.clone()));
        }
    }

    /// Notes a change that came of a call of this node.
    fn note(&self, Transition { from, to, why }: &Transition) {
        let held = self.held_most.load(Ordering::Relaxed);
        let words = format!("Breaker {} is {to}: {why}", self.name);
        let detail = serde_json::json!({ "from": from, "to": to, "held": held });
        self.shared.timeline.note(EventKind::Breaker, &self.name, words, Some(detail));
    }

    /// Logs and counts a change of state; once closed, what it held is counted anew.
    fn tell(&self, transition: &Transition) {
        let Transition { from, to, why } = transition;
        let name = self.name.as_str();
        if *to == "closed" {
            self.held_most.store(0, Ordering::Relaxed);
        }
        metrics::breaker_transition(name, to);
        metrics::breaker_state(name, to);
        let until = self.lock().breaker.next_change(&self.shared.rules.load(), self.shared.now());
        let until = until.filter(|at| *at != NEVER).map(|at| format!(", until {at}")).unwrap_or_default();
        if *to == "open" || *to == "forced_open" {
            tracing::warn!(
                breaker.name = name,
                breaker.from = from,
                breaker.to = to,
                "Breaker {name} is {to}{until}: {why}"
            );
        } else {
            tracing::info!(breaker.name = name, breaker.from = from, breaker.to = to, "Breaker {name} is {to}: {why}");
        }
    }
}

// === impl Leave ===

impl Leave {
    /// It was reserved and there was nothing to run; a probe is not tried again for a while.
    pub(super) fn rest(mut self) {
        self.is_over = true;
        self.entry.take_back(self.pass);
    }

    /// Whether the call may still be made: its breaker has not changed since.
    pub(super) fn is_current(&self) -> bool {
        self.entry.lock().breaker.is_current(self.pass)
    }

    /// Whether it is that of a probe.
    fn is_probe(&self) -> bool {
        self.pass.permit.is_some()
    }

    fn conclude(mut self, call: Call<'_>) -> Concluded {
        self.is_over = true;
        self.entry.finish(self.pass, call)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if !self.is_over {
            self.entry.finish(self.pass, Call::Unknown);
        }
    }
}

fn outcome_of(call: Call<'_>) -> &'static str {
    match call {
        Call::Answered(_) => "succeeded",
        Call::Failed(_) | Call::Pushback(_) => "failed",
        Call::Unknown => "returned",
    }
}
