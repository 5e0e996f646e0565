//! A ledger in memory, as plain as the promises of its seam can be written down.
//!
//! The simulation runs whole clusters on it; the conformance suite of the real ledgers keeps it honest.
//! Every step is one function over plain maps, so a test may look into it or act on it between any two.

mod accept;
mod keep;
mod reviews;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ganger::clock::{Clock, Timestamp};
use ganger::job::{Fence, Fingerprint, Job, JobId, NewJob, NodeId, Review, Seq, TypeName};
use ganger::ledger::{
    Batch, BatchAnswer, Confirm, Confirmed, Dropped, Heard, Identity, JobFilter, Ledger, LiveEntry, Node, Order,
    Ordered, Outlived, Pause, Result, Retention, ReviewBacklog, ReviewFilter, ReviewOrder, Scope, Setting, Sizes,
    Tally,
};

/// One row, live or at rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub job: Job,
    /// The highest fence whose settlement was applied; 0 is none.
    pub settled: Fence,
}

/// One key.
#[derive(Debug, Clone)]
pub struct KeyRow {
    pub id: JobId,
    pub fingerprint: Fingerprint,
    pub rest_at: Option<Timestamp>,
}

/// All tables.
#[derive(Debug, Clone, Default)]
pub struct Store {
    pub live: BTreeMap<Seq, Row>,
    pub finished: BTreeMap<Seq, Row>,
    pub keys: BTreeMap<String, KeyRow>,
    /// In the order in which they were opened.
    pub reviews: Vec<Review>,
    pub last_review: i64,
    pub pauses: BTreeMap<Scope, Pause>,
    /// By kind and name.
    pub settings: BTreeMap<(String, String), Setting>,
    /// By minute, measure and label.
    pub tallies: BTreeMap<(i64, String, String), Tally>,
    /// The last number under which each node added to them.
    pub additions: BTreeMap<NodeId, i64>,
    pub nodes: BTreeMap<NodeId, Node>,
    pub terms: BTreeMap<String, (NodeId, i64)>,
    pub last_seq: Seq,
    pub ledger_id: String,
    pub epoch: i64,
    pub broker_identity: String,
    /// Writes that no correct engine asks for: a counter or a fence that falls.
    pub violations: Vec<String>,
}

/// The ledger; clones share one store.
#[derive(Debug, Clone)]
pub struct ModelLedger {
    store: Arc<Mutex<Store>>,
    clock: Arc<dyn Clock>,
}

impl ModelLedger {
    /// An empty ledger whose own time is `clock`.
    pub fn new(ledger_id: &str, clock: Arc<dyn Clock>) -> Self {
        let store = Store { ledger_id: ledger_id.to_owned(), ..Store::default() };
        Self { store: Arc::new(Mutex::new(store)), clock }
    }

    /// The tables, to look at or to act on.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        self.clock.now().millis()
    }
}

#[async_trait]
impl Ledger for ModelLedger {
    async fn commit(&self, batch: &Batch) -> Result<BatchAnswer> {
        Ok(self.store().commit(batch, None))
    }

    async fn confirm(&self, claims: &[Confirm]) -> Result<Vec<Confirmed>> {
        Ok(self.store().confirm(claims))
    }

    async fn knows(&self, jobs: &[NewJob]) -> Result<Vec<bool>> {
        let store = self.store();
        Ok(jobs.iter().map(|job| store.knows(job)).collect())
    }

    async fn live_jobs(&self, seqs: &[Seq]) -> Result<Vec<Job>> {
        let store = self.store();
        Ok(seqs.iter().filter_map(|seq| store.live.get(seq)).map(|row| row.job.clone()).collect())
    }

    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        let store = self.store();
        let rows = store.live.values().chain(store.finished.values());
        Ok(rows.filter(|row| ids.contains(&row.job.spec.id)).map(|row| row.job.clone()).collect())
    }

    async fn page(&self, filter: &JobFilter, before: Option<Seq>, limit: u32, now: Timestamp) -> Result<Vec<Job>> {
        Ok(self.store().page(filter, before, limit as usize, now))
    }

    async fn fences(&self, seqs: &[Seq]) -> Result<Vec<Option<Fence>>> {
        let store = self.store();
        Ok(seqs.iter().map(|seq| store.live.get(seq).map(|row| row.job.fence)).collect())
    }

    async fn last_seq(&self) -> Result<Seq> {
        Ok(self.store().last_seq)
    }

    async fn live_entries(&self, after: Seq, limit: u32) -> Result<Vec<LiveEntry>> {
        let store = self.store();
        Ok(store.live.range(after + 1..).take(limit as usize).map(|(_, row)| store::entry(&row.job)).collect())
    }

    async fn late_entries(&self, job_type: &TypeName, before: Timestamp, limit: u32) -> Result<Vec<LiveEntry>> {
        let store = self.store();
        let late = |job: &&Job| job.spec.job_type == *job_type && job.waits_from < before;
        let mut late: Vec<&Job> = store.live.values().map(|row| &row.job).filter(late).collect();
        late.sort_by_key(|job| (job.waits_from, job.seq));
        Ok(late.into_iter().take(limit as usize).map(store::entry).collect())
    }

    async fn order(&self, orders: &[Order], now: Timestamp) -> Result<Vec<Ordered>> {
        let mut store = self.store();
        Ok(orders.iter().map(|order| store.order(order, now)).collect())
    }

    async fn reviews(
        &self,
        filter: &ReviewFilter,
        order: ReviewOrder,
        from: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Review>> {
        Ok(self.store().review_page(filter, order, from, limit as usize))
    }

    async fn reviews_of(&self, job: &JobId) -> Result<Vec<Review>> {
        Ok(self.store().reviews.iter().rev().filter(|review| review.job == *job).take(10).cloned().collect())
    }

    async fn review_backlog(&self) -> Result<Vec<ReviewBacklog>> {
        Ok(self.store().review_backlog())
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        Ok(self.store().pauses.values().cloned().collect())
    }

    async fn set_pause(&self, scope: &Scope, pause: Option<&Pause>) -> Result<bool> {
        let mut store = self.store();
        Ok(match pause {
            None => store.pauses.remove(scope).is_some(),
            Some(pause) => store.pauses.insert(scope.clone(), pause.clone()).as_ref() != Some(pause),
        })
    }

    async fn settings(&self) -> Result<Vec<Setting>> {
        Ok(self.store().settings.values().cloned().collect())
    }

    async fn set_setting(&self, setting: &Setting) -> Result<()> {
        let key = (setting.kind.clone(), setting.name.clone());
        self.store().settings.insert(key, setting.clone());
        Ok(())
    }

    async fn drop_setting(&self, kind: &str, name: &str, since: Timestamp) -> Result<bool> {
        let mut store = self.store();
        let key = (kind.to_owned(), name.to_owned());
        let is_due = store.settings.get(&key).is_some_and(|setting| setting.since <= since);
        Ok(is_due && store.settings.remove(&key).is_some())
    }

    async fn retain(&self, retention: Retention, now: Timestamp) -> Result<Dropped> {
        Ok(self.store().retain(retention, now))
    }

    async fn add_tallies(&self, node: &NodeId, number: i64, tallies: &[Tally]) -> Result<()> {
        self.store().add_tallies(node, number, tallies);
        Ok(())
    }

    async fn tallies(&self, since: i64) -> Result<Vec<Tally>> {
        Ok(self.store().tallies.values().filter(|tally| tally.minute >= since).cloned().collect())
    }

    async fn drop_tallies(&self, outlived: &[Outlived]) -> Result<u64> {
        Ok(self.store().drop_tallies(outlived))
    }

    async fn heartbeat(&self, node: &Node, lapse_ms: i64) -> Result<Heard> {
        let now = self.now();
        Ok(self.store().heartbeat(node, lapse_ms, now))
    }

    async fn leave(&self, node: &NodeId) -> Result<()> {
        self.store().nodes.remove(node);
        Ok(())
    }

    async fn take_term(&self, name: &str, holder: &NodeId, ttl_ms: i64) -> Result<bool> {
        let now = self.now();
        Ok(self.store().take_term(name, holder, ttl_ms, now))
    }

    async fn identity(&self) -> Result<Identity> {
        Ok(self.store().identity())
    }

    async fn raise_epoch(&self, epoch: i64, broker_identity: &str) -> Result<Identity> {
        let mut store = self.store();
        if epoch > store.epoch {
            store.epoch = epoch;
            store.broker_identity = broker_identity.to_owned();
        }
        Ok(store.identity())
    }

    async fn sizes(&self) -> Result<Sizes> {
        let store = self.store();
        let (live, finished) = (store.live.len() as u64, store.finished.len() as u64);
        // A row takes some bytes; nobody asks how many.
        Ok(Sizes { live, finished, bytes: (live + finished) * 512, disk_free: None })
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}
