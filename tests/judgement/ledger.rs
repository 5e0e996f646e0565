//! The model ledger behind a wire that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ganger::clock::Timestamp;
use ganger::job::{Fence, Job, JobId, NewJob, NodeId, Review, Seq, TypeName};
use ganger::ledger::{
    Batch, BatchAnswer, Confirm, Confirmed, Dropped, Heard, Identity, IncidentFilter, JobFilter, Ledger, LedgerError,
    LiveEntry, Logbook, LogbookRetention, Node, Order, Ordered, Outlived, Pause, RemediationFilter, Result, Retention,
    ReviewBacklog, ReviewFilter, ReviewOrder, Scope, Setting, Sizes, Tally,
};
use ganger::operations::{
    Alert, AlertNote, Begun, Event, FilledPart, Flaw, Impact, Incident, NewEvent, NewRemediation, Noted, Remediation,
    RemediationLimits, RemediationState,
};

use crate::support::model_ledger::ModelLedger;

/// A ledger that can be taken away.
#[derive(Debug, Clone)]
pub struct CutLedger {
    pub model: ModelLedger,
    away: Arc<AtomicBool>,
    mute: Arc<AtomicBool>,
}

impl CutLedger {
    pub fn new(model: ModelLedger) -> Self {
        Self { model, away: Arc::default(), mute: Arc::default() }
    }

    /// Cuts or mends the wire.
    pub fn cut(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Lets calls through and loses their answers, or no longer.
    pub fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::SeqCst);
    }

    /// The answer of a call, if it finds its way back.
    fn heard<T>(&self, answer: Result<T>) -> Result<T> {
        if self.mute.load(Ordering::SeqCst) {
            let (place, reason) = ("the model".to_owned(), "the answer was lost".to_owned());
            return Err(LedgerError::Unavailable { place, reason, in_commit: true });
        }
        answer
    }

    fn reach(&self) -> Result<&ModelLedger> {
        if self.away.load(Ordering::SeqCst) {
            let (place, reason) = ("the model".to_owned(), "the wire is cut".to_owned());
            return Err(LedgerError::Unavailable { place, reason, in_commit: false });
        }
        Ok(&self.model)
    }
}

/// Passes calls on while the wire is whole.
macro_rules! pass {
    ($trait:ident $($close:ident)?; $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl $trait for CutLedger {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                let answer = self.reach()?.$name($($arg),*).await;
                self.heard(answer)
            })+

            $(async fn $close(&self) {})?
        }
    };
}

pass! {
    Logbook;
    note_events(events: &[NewEvent]) -> ();
    events(from: Timestamp, until: Timestamp, limit: u32) -> Vec<Event>;
    note_alerts(notes: &[AlertNote], now: Timestamp, quiet_ms: i64) -> Vec<Noted>;
    lapse_alerts(heard_before: Timestamp) -> Vec<Alert>;
    alerts_of(incident: i64, limit: u32) -> Vec<Alert>;
    incidents(filter: IncidentFilter, before: Option<i64>, limit: u32) -> Vec<Incident>;
    fill_in(incident: i64, parts: &[FilledPart]) -> bool;
    impact(from: Timestamp, until: Timestamp, slas: &[(TypeName, u64)]) -> Vec<Impact>;
    keep_impact(incident: i64, resolved_at: Timestamp, impact: &str) -> bool;
    begin_remediation(asked: &NewRemediation, limits: &RemediationLimits, now: Timestamp) -> Begun;
    suppress_remediation(asked: &NewRemediation, reason: &str, now: Timestamp) -> ();
    end_remediation(
        number: i64, state: RemediationState, words: &str, after: Option<&str>, now: Timestamp
    ) -> bool;
    remediations(filter: &RemediationFilter, before: Option<i64>, limit: u32) -> Vec<Remediation>;
    abandon_remediations(began_before: Timestamp, words: &str, now: Timestamp) -> u64;
    flaws() -> Vec<Flaw>;
    retain_logbook(keep: LogbookRetention, now: Timestamp) -> u64;
}

pass! {
    Ledger close;
    commit(batch: &Batch) -> BatchAnswer;
    confirm(claims: &[Confirm]) -> Vec<Confirmed>;
    knows(jobs: &[NewJob]) -> Vec<bool>;
    live_jobs(seqs: &[Seq]) -> Vec<Job>;
    jobs(ids: &[JobId]) -> Vec<Job>;
    page(filter: &JobFilter, before: Option<Seq>, limit: u32, now: Timestamp) -> Vec<Job>;
    fences(seqs: &[Seq]) -> Vec<Option<Fence>>;
    last_seq() -> Seq;
    live_entries(after: Seq, limit: u32) -> Vec<LiveEntry>;
    late_entries(job_type: &TypeName, before: Timestamp, limit: u32) -> Vec<LiveEntry>;
    order(orders: &[Order], now: Timestamp) -> Vec<Ordered>;
    reviews(filter: &ReviewFilter, order: ReviewOrder, from: Option<i64>, limit: u32) -> Vec<Review>;
    reviews_of(job: &JobId) -> Vec<Review>;
    review_backlog() -> Vec<ReviewBacklog>;
    pauses() -> Vec<Pause>;
    set_pause(scope: &Scope, pause: Option<&Pause>) -> bool;
    settings() -> Vec<Setting>;
    set_setting(setting: &Setting) -> ();
    drop_setting(kind: &str, name: &str, since: Timestamp) -> bool;
    retain(retention: Retention, now: Timestamp) -> Dropped;
    add_tallies(node: &NodeId, number: i64, tallies: &[Tally]) -> ();
    tallies(since: i64) -> Vec<Tally>;
    drop_tallies(outlived: &[Outlived]) -> u64;
    heartbeat(node: &Node, lapse_ms: i64) -> Heard;
    leave(node: &NodeId) -> ();
    take_term(name: &str, holder: &NodeId, ttl_ms: i64) -> bool;
    identity() -> Identity;
    raise_epoch(epoch: i64, broker_identity: &str) -> Identity;
    sizes() -> Sizes;
    ping() -> ();
}
