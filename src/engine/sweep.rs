//! The endless comparison of broker and ledger, at two speeds.
//!
//! One node at a time, the holder of a term, walks over both sides: young rows every few seconds, all
//! rows and all entries at a low rate. A row without its entry is pushed, an entry without its row is removed, an
//! entry that stands in no place is made anew, a pause that only one side has follows the ledger. Nothing is touched on first sight: commits and pushes of the living
//! are under way all the time. In steady state nothing is ever found; each repair is counted, because it is a
//! bug of ours or somebody's hand in Redis.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, Pushed, Scanned, Which};
use crate::job::{JobId, QueueName, Seq, TypeName};
use crate::ledger::{LedgerError, LiveEntry, Scope};
use crate::mutant::mutant;
use crate::service::periodic;
use crate::telemetry::metrics;

use super::core::Core;
use super::{integrity, pusher};

/// The term's name in the ledger.
const TERM: &str = "sweep";
/// The shortest time that a sweep may be silent before another node takes it over.
const TERM_MS_MIN: i64 = 5_000;
/// Between two steps.
const TICK: Duration = Duration::from_secs(1);
/// Between two walks over the young rows.
const YOUNG_PERIOD: Duration = Duration::from_secs(5);
/// Rows up to this age are young.
const YOUNG_AGE: Duration = Duration::from_secs(60);
/// Younger rows than this may still be on their way from commit to push. Longer than a push may stay clean
/// ([`pusher::CLEAN_MS`]), so that what is repaired was not just about to arrive.
const SETTLED_AGE: Duration = Duration::from_secs(10);
/// Between the first sight of a difference and its repair.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// Young rows looked at in one walk, and other rows in one step: a few milliseconds of either store.
const YOUNG_MAX: usize = 10_000;
/// See [`YOUNG_MAX`].
const ROWS_MAX: usize = 2_000;
/// Entries looked at in one step, and rows or entries in one round trip.
const BATCH: usize = 500;
/// Differences kept in mind; the rest is met again later.
const DOUBTS_MAX: usize = 10_000;

/// What the rest of the engine sees of the sweep.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    due: Notify,
}

impl Sweep {
    /// Looks at the young rows at once.
    pub(super) fn nudge(&self) {
        self.due.notify_one();
    }
}

/// Why a step ended early; the next one goes on.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Sweeps until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let sweeper = tokio::sync::Mutex::new(Sweeper::default());
    let (core, sweeper) = (&core, &sweeper);
    periodic(TICK, &core.chance, &core.sweep.due, &stop, || async move {
        let mut sweeper = sweeper.lock().await;
        match sweeper.step(core).await {
            Ok(()) => {}
            Err(Trouble::Broker(error)) => core.session.broker_failed(&error),
            Err(Trouble::Ledger(error)) if error.is_transient() => core.session.ledger_failed(&error),
            Err(Trouble::Ledger(error)) => tracing::error!("The sweep cannot read the ledger: {error}"),
        }
    })
    .await;
}

/// A queue or one of its types, and whether it should be paused.
type Pausing = (QueueName, Option<TypeName>, bool);

/// An entry that should not be there, or not like this.
type Oddity = (QueueName, JobId, Seq);

#[derive(Debug, Default)]
struct Sweeper {
    /// The highest life at points in time: tells how old a row is, since lives are drawn in order.
    marks: VecDeque<(Instant, Seq)>,
    young_at: Option<Instant>,
    young_after: Seq,
    rows_after: Seq,
    /// The queue that is being scanned, and how far.
    scanning: (usize, Option<String>),
    /// Rows without an entry, since when.
    missing: BTreeMap<Seq, (LiveEntry, Instant)>,
    /// Entries without a row or without a place, since when.
    odd: BTreeMap<Oddity, Instant>,
    /// Pauses that only one side had at the last look.
    pauses: BTreeSet<Pausing>,
}

impl Sweeper {
    async fn step(&mut self, core: &Core) -> Result<(), Trouble> {
        if mutant!(sweep_off) {
            return Ok(());
        }
        self.mark(core.ledger.last_seq().await?);
        let ttl_ms = core.heartbeat_lapse_ms().max(TERM_MS_MIN);
        // What is known to be lacking is pushed by the session; it is no find.
        let is_quiet = core.session.is_open() && !core.session.is_lacking() && !core.is_stopping();
        if !is_quiet || core.broker.is_full() || !core.ledger.take_term(TERM, &core.params.node, ttl_ms).await? {
            self.missing.clear();
            self.odd.clear();
            self.pauses.clear();
            return Ok(());
        }
        self.walk_young(core).await?;
        self.rows_after = self.walk(core, self.rows_after, ROWS_MAX).await?.unwrap_or(0);
        self.scan(core).await?;
        self.push_missing(core).await
    }

    fn mark(&mut self, seq: Seq) {
        let now = Instant::now();
        self.marks.push_back((now, seq));
        // One mark older than a minute is kept: it is where the young rows begin.
        let is_old = |mark: Option<&(Instant, Seq)>| mark.is_some_and(|(at, _)| at.elapsed() >= YOUNG_AGE);
        while is_old(self.marks.get(1)) {
            self.marks.pop_front();
        }
    }

    /// The highest life that was drawn at least `age` ago.
    fn drawn_before(&self, age: Duration) -> Option<Seq> {
        if mutant!(sweep_at_once) {
            return Some(Seq::MAX);
        }
        self.marks.iter().rev().find(|(at, _)| at.elapsed() >= age).map(|(_, seq)| *seq)
    }

    /// Looks at young rows; where there are too many for one walk, the next one goes on from there.
    async fn walk_young(&mut self, core: &Core) -> Result<(), Trouble> {
        if self.young_at.is_some_and(|at| at.elapsed() < YOUNG_PERIOD) {
            return Ok(());
        }
        self.compare_pauses(core).await?;
        let oldest = self.marks.front().map_or(0, |(_, seq)| *seq);
        let reached = self.walk(core, self.young_after.max(oldest), YOUNG_MAX).await?;
        self.young_after = reached.unwrap_or(0);
        self.young_at = Some(Instant::now());
        Ok(())
    }

    /// Sets and lifts pauses that only one side has, and had at the last look.
    async fn compare_pauses(&mut self, core: &Core) -> Result<(), Trouble> {
        let (pauses, catalog) = (core.ledger.pauses().await?, core.catalog());
        let wanted = |scope: Scope| pauses.iter().any(|pause| pause.scope == scope);
        let mut differ = BTreeSet::new();
        for queue in catalog.queues.keys() {
            let in_force = core.broker.depth(queue, &[]).await?.paused;
            let types = catalog.types_of(queue).map(|known| Some(known.name.clone()));
            for job_type in types.chain([None]) {
                let scope = job_type.clone().map_or_else(|| Scope::Queue(queue.clone()), Scope::Type);
                let wanted = wanted(scope);
                if wanted != in_force.contains(&job_type) {
                    differ.insert((queue.clone(), job_type, wanted));
                }
            }
        }
        for (queue, job_type, wanted) in self.pauses.intersection(&differ) {
            core.broker.set_paused(queue, job_type.as_ref(), *wanted).await?;
            found(core, "pause", queue, 1);
        }
        self.pauses = differ;
        Ok(())
    }

    /// Looks at up to `most` rows after `after`; answers how far it came, `None` at the end.
    async fn walk(&mut self, core: &Core, mut after: Seq, most: usize) -> Result<Option<Seq>, Trouble> {
        let Some(settled) = self.drawn_before(SETTLED_AGE) else { return Ok(None) };
        let page = most.min(ROWS_MAX);
        for _ in 0..most.div_ceil(page) {
            let rows = core.ledger.live_entries(after, u32::try_from(page).unwrap_or(u32::MAX)).await?;
            let is_last = rows.len() < page;
            let old = rows.into_iter().take_while(|row| row.seq <= settled);
            let old: Vec<LiveEntry> = old.collect();
            let Some(last) = old.last() else { return Ok(None) };
            after = last.seq;
            let came_to_the_young = old.len() < page;
            for row in without_entry(core, old).await? {
                if self.missing.len() < DOUBTS_MAX {
                    self.missing.entry(row.seq).or_insert_with(|| (row, Instant::now()));
                }
            }
            if is_last || came_to_the_young {
                return Ok(None);
            }
        }
        Ok(Some(after))
    }

    /// Looks a second time at rows without an entry, and pushes those that still are.
    async fn push_missing(&mut self, core: &Core) -> Result<(), Trouble> {
        let due = |since: &Instant| since.elapsed() >= SECOND_LOOK || mutant!(sweep_at_once);
        let again = self.missing.extract_if(.., |_, (_, since)| due(since));
        let again: Vec<LiveEntry> = again.map(|(_, (row, _))| row).collect();
        for row_batch in without_entry(core, again).await?.chunks(BATCH) {
            let seqs: Vec<Seq> = row_batch.iter().map(|row| row.seq).collect();
            let fences = core.ledger.fences(&seqs).await?;
            let mut queues: BTreeMap<&QueueName, Vec<crate::broker::Push>> = BTreeMap::new();
            for (row, _) in row_batch.iter().zip(fences).filter(|(_, fence)| fence.is_some()) {
                queues.entry(&row.queue).or_default().push(pusher::suspect(row));
            }
            for (queue, entries) in queues {
                let pushed = core.broker.push(queue, &entries).await?;
                let count = pushed.iter().filter(|pushed| **pushed == Pushed::Added).count();
                found(core, "missing", queue, count);
            }
        }
        Ok(())
    }

    /// Looks at some entries, and puts those right that are odd for a second time.
    async fn scan(&mut self, core: &Core) -> Result<(), Trouble> {
        let queues = core.queues();
        let mut left = BATCH;
        for _ in 0..queues.len() {
            let (at, cursor) = std::mem::take(&mut self.scanning);
            let Some(queue) = queues.get(at).or(queues.first()) else { return Ok(()) };
            let (met, next) = core.broker.scan(queue, cursor, BATCH).await?;
            left = left.saturating_sub(met.len());
            self.judge(core, queue, met).await?;
            self.scanning = if next.is_some() { (at, next) } else { ((at + 1) % queues.len(), None) };
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn judge(&mut self, core: &Core, queue: &QueueName, met: Vec<Scanned>) -> Result<(), Trouble> {
        let seqs: Vec<Seq> = met.iter().map(|entry| entry.seq).collect();
        let fences = if seqs.is_empty() { Vec::new() } else { core.ledger.fences(&seqs).await? };
        let lease = Duration::from_millis(core.params.lease_ms.unsigned_abs());
        for (entry, fence) in met.into_iter().zip(fences) {
            let oddity = (queue.clone(), entry.id.clone(), entry.seq);
            // A leased entry is its holder's to end; only if it can never be reaped it is ours.
            let is_odd = entry.misplaced || (fence.is_none() && !entry.leased);
            if !is_odd {
                self.odd.remove(&oddity);
                continue;
            }
            let patience = if entry.leased { lease } else { SECOND_LOOK };
            if self.odd.get(&oddity).is_some_and(|since| since.elapsed() >= patience) {
                self.odd.remove(&oddity);
                put_right(core, queue, &entry, fence.is_some()).await?;
            } else if self.odd.len() < DOUBTS_MAX {
                self.odd.entry(oddity).or_insert_with(Instant::now);
            }
        }
        Ok(())
    }
}

/// Those rows of configured queues that have no entry, or one of an older life.
async fn without_entry(core: &Core, rows: Vec<LiveEntry>) -> Result<Vec<LiveEntry>, Trouble> {
    let catalog = core.catalog();
    let mut queues: BTreeMap<QueueName, Vec<LiveEntry>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| catalog.queues.contains_key(&row.queue)) {
        queues.entry(row.queue.clone()).or_default().push(row);
    }
    let mut without = Vec::new();
    for (queue, rows) in queues {
        let ids: Vec<JobId> = rows.iter().map(|row| row.id.clone()).collect();
        let views = core.broker.inspect(&queue, &ids).await?;
        let lacks = |view: Option<crate::broker::EntryView>, seq| view.is_none_or(|view| view.seq < seq);
        without.extend(rows.into_iter().zip(views).filter_map(|(row, view)| lacks(view, row.seq).then_some(row)));
    }
    Ok(without)
}

/// Removes an entry, and makes it anew if the job is live.
async fn put_right(core: &Core, queue: &QueueName, entry: &Scanned, is_live: bool) -> Result<(), Trouble> {
    let which = if entry.misplaced { Which::Any } else { Which::Waiting };
    core.broker.remove(queue, &[(entry.id.clone(), entry.seq)], which).await?;
    if is_live {
        pusher::push_again(core, entry.seq).await;
    }
    found(core, if entry.misplaced { "misplaced" } else { "ghost" }, queue, 1);
    Ok(())
}

fn found(core: &Core, kind: &'static str, queue: &QueueName, count: usize) {
    if count > 0 {
        metrics::repaired(kind, count as u64);
        integrity::repaired(core, kind, queue.as_str(), count);
        tracing::warn!(queue.name = %queue, "Put right {count} entries of queue {queue} that were out of step ({kind})");
    }
}
