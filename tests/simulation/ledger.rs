//! The shared ledger as one node reaches it.

use std::sync::Arc;

use async_trait::async_trait;
use ganger::clock::Timestamp;
use ganger::job::{Fence, Job, JobId, NewJob, NodeId, Review, Seq, TypeName};
use ganger::ledger::{
    Batch, BatchAnswer, Confirm, Confirmed, Dropped, Heard, Identity, JobFilter, Ledger, LedgerError, LiveEntry, Node,
    Order, Ordered, Outlived, Pause, Result, Retention, ReviewBacklog, ReviewFilter, ReviewOrder, Scope, Setting,
    Settled, Sizes, Tally, Verdict,
};

use crate::site::{Cut, Site};
use crate::story::{Event, Story};
use crate::support::model_ledger::ModelLedger;

/// A node's wire to the ledger.
#[derive(Debug)]
pub struct SiteLedger {
    site: Arc<Site>,
    model: ModelLedger,
}

impl SiteLedger {
    pub fn new(site: Arc<Site>, model: ModelLedger) -> Self {
        Self { site, model }
    }

    /// One call; `effect` must not wait, and the model's steps never do.
    pub async fn call<T, F>(
        &self,
        what: &'static str,
        effect: impl FnOnce(ModelLedger) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        let model = self.model.clone();
        let step = move || futures_util::FutureExt::now_or_never(effect(model)).expect("the model never waits");
        self.site.call(what, &self.site.ledger_weather, step, cut).await
    }
}

fn cut(cut: Cut) -> LedgerError {
    let in_commit = cut == Cut::Unanswered;
    LedgerError::Unavailable { place: "simulation".to_owned(), reason: format!("{cut:?}"), in_commit }
}

/// Tells which lives a batch has brought to rest or put back.
fn tell(story: &Story, batch: &Batch, answer: &BatchAnswer) {
    for (settle, settled) in batch.settles.iter().zip(&answer.settles) {
        if matches!(settled, Settled::Applied { .. }) {
            let (id, seq, fence) = (settle.id.clone(), settle.seq, settle.fence);
            story.tell(match &settle.verdict {
                Verdict::Rest { state, .. } => Event::Rested { id, seq, fence, state: *state },
                Verdict::Retry { .. } => Event::PutBack { id, seq, fence },
            });
        }
    }
}

/// Tells which lives orders have brought to rest.
fn tell_orders(story: &Story, orders: &[Order], answers: &[Ordered]) {
    for (order, answer) in orders.iter().zip(answers) {
        if let (Order::Rest { id, state, .. }, Ordered::Done { seq }) = (order, answer) {
            story.tell(Event::Rested { id: id.clone(), seq: *seq, fence: 0, state: *state });
        }
    }
}

fn copy(batch: &Batch) -> Batch {
    Batch { accepts: batch.accepts.clone(), settles: batch.settles.clone(), repeated: batch.repeated }
}

#[async_trait]
impl Ledger for SiteLedger {
    async fn commit(&self, batch: &Batch) -> Result<BatchAnswer> {
        let (batch, story) = (copy(batch), self.site.story.clone());
        // Lives are drawn when a transaction begins and seen when it has committed.
        let children: usize = batch.settles.iter().map(|settle| settle.children.len()).sum();
        let first = self.model.store().reserve(batch.accepts.len() + children);
        let effect = move |model: ModelLedger| async move {
            let answer = model.store().commit(&batch, Some(first));
            tell(&story, &batch, &answer);
            Ok(answer)
        };
        self.call("ledger.commit", effect).await
    }

    async fn confirm(&self, claims: &[Confirm]) -> Result<Vec<Confirmed>> {
        let claims = claims.to_vec();
        self.call("ledger.confirm", move |model| async move { model.confirm(&claims).await }).await
    }

    async fn knows(&self, jobs: &[NewJob]) -> Result<Vec<bool>> {
        let jobs = jobs.to_vec();
        self.call("ledger.knows", move |model| async move { model.knows(&jobs).await }).await
    }

    async fn live_jobs(&self, seqs: &[Seq]) -> Result<Vec<Job>> {
        let seqs = seqs.to_vec();
        self.call("ledger.live_jobs", move |model| async move { model.live_jobs(&seqs).await }).await
    }

    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        let ids = ids.to_vec();
        self.call("ledger.jobs", move |model| async move { model.jobs(&ids).await }).await
    }

    async fn page(&self, filter: &JobFilter, before: Option<Seq>, limit: u32, now: Timestamp) -> Result<Vec<Job>> {
        let filter = filter.clone();
        self.call("ledger.page", move |model| async move { model.page(&filter, before, limit, now).await }).await
    }

    async fn fences(&self, seqs: &[Seq]) -> Result<Vec<Option<Fence>>> {
        let seqs = seqs.to_vec();
        self.call("ledger.fences", move |model| async move { model.fences(&seqs).await }).await
    }

    async fn last_seq(&self) -> Result<Seq> {
        self.call("ledger.last_seq", |model| async move { model.last_seq().await }).await
    }

    async fn live_entries(&self, after: Seq, limit: u32) -> Result<Vec<LiveEntry>> {
        self.call("ledger.live_entries", move |model| async move { model.live_entries(after, limit).await }).await
    }

    async fn late_entries(&self, job_type: &TypeName, before: Timestamp, limit: u32) -> Result<Vec<LiveEntry>> {
        let name = job_type.clone();
        let effect = move |model: ModelLedger| async move { model.late_entries(&name, before, limit).await };
        self.call("ledger.late_entries", effect).await
    }

    async fn order(&self, orders: &[Order], now: Timestamp) -> Result<Vec<Ordered>> {
        let (orders, story) = (orders.to_vec(), self.site.story.clone());
        let effect = move |model: ModelLedger| async move {
            let answers = model.order(&orders, now).await?;
            tell_orders(&story, &orders, &answers);
            Ok(answers)
        };
        self.call("ledger.order", effect).await
    }

    async fn reviews(
        &self,
        filter: &ReviewFilter,
        order: ReviewOrder,
        from: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Review>> {
        let filter = filter.clone();
        let effect = move |model: ModelLedger| async move { model.reviews(&filter, order, from, limit).await };
        self.call("ledger.reviews", effect).await
    }

    async fn reviews_of(&self, job: &JobId) -> Result<Vec<Review>> {
        let job = job.clone();
        self.call("ledger.reviews_of", move |model| async move { model.reviews_of(&job).await }).await
    }

    async fn review_backlog(&self) -> Result<Vec<ReviewBacklog>> {
        self.call("ledger.review_backlog", |model| async move { model.review_backlog().await }).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        self.call("ledger.pauses", |model| async move { model.pauses().await }).await
    }

    async fn set_pause(&self, scope: &Scope, pause: Option<&Pause>) -> Result<bool> {
        let (scope, pause) = (scope.clone(), pause.cloned());
        self.call("ledger.set_pause", move |model| async move { model.set_pause(&scope, pause.as_ref()).await }).await
    }

    async fn settings(&self) -> Result<Vec<Setting>> {
        self.call("ledger.settings", |model| async move { model.settings().await }).await
    }

    async fn set_setting(&self, setting: &Setting) -> Result<()> {
        let setting = setting.clone();
        self.call("ledger.set_setting", move |model| async move { model.set_setting(&setting).await }).await
    }

    async fn drop_setting(&self, kind: &str, name: &str, since: Timestamp) -> Result<bool> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let effect = move |model: ModelLedger| async move { model.drop_setting(&kind, &name, since).await };
        self.call("ledger.drop_setting", effect).await
    }

    async fn retain(&self, retention: Retention, now: Timestamp) -> Result<Dropped> {
        self.call("ledger.retain", move |model| async move { model.retain(retention, now).await }).await
    }

    async fn add_tallies(&self, node: &NodeId, number: i64, tallies: &[Tally]) -> Result<()> {
        let (node, tallies) = (node.clone(), tallies.to_vec());
        let effect = move |model: ModelLedger| async move { model.add_tallies(&node, number, &tallies).await };
        self.call("ledger.add_tallies", effect).await
    }

    async fn tallies(&self, since: i64) -> Result<Vec<Tally>> {
        self.call("ledger.tallies", move |model| async move { model.tallies(since).await }).await
    }

    async fn drop_tallies(&self, outlived: &[Outlived]) -> Result<u64> {
        let outlived = outlived.to_vec();
        self.call("ledger.drop_tallies", move |model| async move { model.drop_tallies(&outlived).await }).await
    }

    async fn heartbeat(&self, node: &Node, lapse_ms: i64) -> Result<Heard> {
        let node = node.clone();
        self.call("ledger.heartbeat", move |model| async move { model.heartbeat(&node, lapse_ms).await }).await
    }

    async fn leave(&self, node: &NodeId) -> Result<()> {
        let node = node.clone();
        self.call("ledger.leave", move |model| async move { model.leave(&node).await }).await
    }

    async fn take_term(&self, name: &str, holder: &NodeId, ttl_ms: i64) -> Result<bool> {
        let (name, holder) = (name.to_owned(), holder.clone());
        let effect = move |model: ModelLedger| async move { model.take_term(&name, &holder, ttl_ms).await };
        self.call("ledger.take_term", effect).await
    }

    async fn identity(&self) -> Result<Identity> {
        self.call("ledger.identity", |model| async move { model.identity().await }).await
    }

    async fn raise_epoch(&self, epoch: i64, broker_identity: &str) -> Result<Identity> {
        let identity = broker_identity.to_owned();
        self.call("ledger.raise_epoch", move |model| async move { model.raise_epoch(epoch, &identity).await }).await
    }

    async fn sizes(&self) -> Result<Sizes> {
        self.call("ledger.sizes", |model| async move { model.sizes().await }).await
    }

    async fn ping(&self) -> Result<()> {
        self.call("ledger.ping", |model| async move { model.ping().await }).await
    }

    async fn close(&self) {}
}
