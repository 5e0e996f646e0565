//! The standing with the broker: is it ours, is it whole, is it open?
//!
//! The broker is an index of the ledger. On every new acquaintance this service compares the two: the
//! ledger's id, the epoch, and which server it is. Where the epoch is missing or lower, or the server
//! is another one, data may be gone, and one node rebuilds it (`rebuild.rs`). Where everything agrees,
//! only the entries that failed to be pushed meanwhile are repeated. Claims are open only between a
//! completed look and the next doubt. An embedded broker is empty at every start, so a plain restart
//! takes the very same road.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, BrokerIdentity};
use crate::job::Seq;
use crate::ledger::LedgerError;
use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::service::{lock, watch};
use crate::telemetry::metrics;

use super::core::Core;
use super::integrity;
use super::rebuild::{self, push_live};
use super::timeline::Timeline;

/// Between two looks while all is well.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// After a failed look.
const RETRY_PERIOD: Duration = Duration::from_millis(500);
/// "Nothing is lacking."
const NOTHING: i64 = i64::MAX;

/// What is known of the two stores.
#[derive(Debug)]
pub(super) struct Session {
    broker: watch::Sender<Result<(), String>>,
    ledger: watch::Sender<Result<(), String>>,
    /// Set when the broker can never be used as it is.
    unfit: watch::Sender<Option<String>>,
    doubt: Notify,
    /// The epoch in which it is open, or was last.
    epoch: AtomicI64,
    /// The server on which it is open, or was last.
    server: Mutex<String>,
    /// Whether the counter of fences has run so far that a new epoch is due.
    fences_run_out: AtomicBool,
    lacks_from: AtomicI64,
    opened_at: Mutex<Option<Instant>>,
    timeline: Arc<Timeline>,
}

/// Why a look did not end with an open broker.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("another node is rebuilding the broker")]
    Elsewhere,
}

impl Session {
    pub(super) fn new(timeline: Arc<Timeline>) -> Self {
        Self {
            timeline,
            broker: watch::Sender::new(Err("not connected yet".to_owned())),
            ledger: watch::Sender::new(Ok(())),
            unfit: watch::Sender::new(None),
            doubt: Notify::new(),
            epoch: AtomicI64::new(0),
            server: Mutex::default(),
            fences_run_out: AtomicBool::new(false),
            // A node that was killed between commit and push may have been the last one here.
            lacks_from: AtomicI64::new(0),
            opened_at: Mutex::default(),
        }
    }

    /// Whether claims and pushes may be made.
    pub(super) fn is_open(&self) -> bool {
        self.broker.borrow().is_ok()
    }

    /// Whether it is open, and the broker is where it was then.
    fn is_unchanged(&self, found: &BrokerIdentity) -> bool {
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.is_open() && found.open && found.epoch == Some(epoch) && found.server == *lock(&self.server)
    }

    /// Whether it is open, and in this epoch.
    pub(super) fn is_open_in(&self, epoch: i64) -> bool {
        self.is_open() && self.epoch.load(Ordering::SeqCst) == epoch
    }

    /// Whether it is open, or why not; to watch.
    pub(super) fn broker(&self) -> watch::Receiver<Result<(), String>> {
        self.broker.subscribe()
    }

    /// Whether the ledger answered last, or its words.
    pub(super) fn ledger(&self) -> Result<(), String> {
        self.ledger.borrow().clone()
    }

    /// Waits until the broker turns out to be unusable; answers why.
    pub(super) async fn unfit(&self) -> String {
        let mut unfit = self.unfit.subscribe();
        unfit.wait_for(Option::is_some).await.unwrap_or_default()
    }

    /// How long it has been open without a break.
    pub(super) fn open_for(&self) -> Duration {
        lock(&self.opened_at).map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// The broker may lack the entries of lives from `seq` on.
    pub(super) fn lacks_from(&self, seq: Seq) {
        mutant!(watermark_outbox => { self.lacks_from.store(seq, Ordering::SeqCst); });
        self.lacks_from.fetch_min(seq, Ordering::SeqCst);
        self.doubt.notify_one();
    }

    /// The broker is about to get every entry anew.
    pub(super) fn lacks_nothing(&self) {
        self.lacks_from.store(NOTHING, Ordering::SeqCst);
    }

    /// Whether entries wait to be pushed again.
    pub(super) fn is_lacking(&self) -> bool {
        self.lacks_from.load(Ordering::SeqCst) != NOTHING
    }

    /// The ledger is in `epoch`: a node that is behind stops claiming and looks.
    pub(super) fn compare(&self, epoch: i64) {
        if self.is_open() && self.epoch.load(Ordering::SeqCst) < epoch {
            self.close("the broker is being rebuilt from the ledger by another node");
            self.doubt.notify_one();
        }
    }

    /// The counter of fences has run far: a new epoch is due.
    pub(super) fn fences_run_out(&self) {
        if !self.fences_run_out.swap(true, Ordering::SeqCst) {
            self.doubt.notify_one();
        }
    }

    /// A step failed: look again.
    pub(super) fn broker_failed(&self, error: &BrokerError) {
        tracing::debug!("A step of the broker failed: {error}");
        if matches!(error, BrokerError::Full { .. }) {
            // Full is not away: what is there goes on, and makes room.
            return;
        }
        if matches!(error, BrokerError::Epoch { .. } | BrokerError::Unfit { .. }) {
            self.close(&error.to_string());
        }
        self.doubt.notify_one();
    }

    /// The ledger answered.
    pub(super) fn ledger_answered(&self) {
        let was_away = self.ledger.send_if_modified(|known| {
            let away = known.is_err();
            *known = Ok(());
            away
        });
        if was_away {
            metrics::ledger_up(true);
            tracing::info!("The ledger answers again");
            self.note("ledger", "The ledger answers again".to_owned(), true);
        }
    }

    /// The ledger did not answer.
    pub(super) fn ledger_failed(&self, error: &LedgerError) {
        let news = self.ledger.send_if_modified(|known| {
            let news = known.is_ok();
            *known = Err(error.to_string());
            news
        });
        if news {
            metrics::ledger_up(false);
            tracing::error!("{error}; new jobs are refused and outcomes are held until it answers");
            self.note("ledger", format!("The ledger is lost: {error}"), false);
        }
    }

    fn note(&self, store: &str, words: String, is_up: bool) {
        self.timeline.note(EventKind::Store, store, words, Some(serde_json::json!({ "is_up": is_up })));
    }

    /// Neither claims nor pushes are made until it is open again.
    pub(super) fn close(&self, why: &str) {
        let mut was_open = false;
        let news = self.broker.send_if_modified(|known| {
            was_open = known.is_ok();
            let news = known.is_ok() || known.as_ref().is_err_and(|known| known != why);
            *known = Err(why.to_owned());
            news
        });
        if was_open {
            self.note("broker", format!("The broker is lost: {why}"), false);
        }
        *lock(&self.opened_at) = None;
        metrics::broker_up(false);
        if news {
            tracing::warn!("{why}; jobs are still accepted and wait in the ledger");
        }
    }

    /// Claims and pushes may be made on `server`.
    pub(super) fn open(&self, epoch: i64, server: &str) {
        server.clone_into(&mut lock(&self.server));
        self.epoch.store(epoch, Ordering::SeqCst);
        metrics::epoch(epoch);
        let news = self.broker.send_if_modified(|known| std::mem::replace(known, Ok(())).is_err());
        if news {
            *lock(&self.opened_at) = Some(Instant::now());
            metrics::broker_up(true);
            tracing::info!("The broker is open");
            self.note("broker", "The broker is open".to_owned(), true);
        }
    }
}

/// Keeps the session until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        let doubted = core.session.doubt.notified();
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            looked = look(&core) => looked,
        };
        let pause = match looked {
            Ok(()) => LOOK_PERIOD,
            Err(trouble) => {
                match &trouble {
                    Trouble::Broker(BrokerError::Unfit { .. }) => {
                        // Met at the start it is a wrong address; met later, somebody has put another ledger's mark there.
                        let was_ours = core.session.epoch.load(Ordering::SeqCst) > 0;
                        if was_ours && core.session.unfit.borrow().is_none() {
                            integrity::violated(&core, "foreign_broker", &trouble.to_string());
                        }
                        core.session.unfit.send_replace(Some(trouble.to_string()));
                    }
                    Trouble::Ledger(error) if error.is_transient() => core.session.ledger_failed(error),
                    Trouble::Broker(_) | Trouble::Ledger(_) | Trouble::Elsewhere => {}
                }
                core.session.close(&trouble.to_string());
                // Whoever rebuilds wants to hear what runs here.
                core.membership.speak();
                RETRY_PERIOD
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = doubted => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Compares broker and ledger, puts right what differs, and opens.
async fn look(core: &Core) -> Result<(), Trouble> {
    let found = core.broker.identity().await?;
    let known = match core.ledger.identity().await {
        Ok(known) => known,
        // The broker is as it was: what it holds can go on without the ledger, for as long as outcomes find room.
        Err(error) if error.is_transient() && core.session.is_unchanged(&found) => {
            core.session.ledger_failed(&error);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    core.session.ledger_answered();
    core.membership.hear_of(known.epoch);
    if let Some(other) = found.ledger_id.as_ref().filter(|id| **id != known.ledger_id && !mutant!(foreign_ledger_taken))
    {
        return Err(Trouble::Broker(BrokerError::Unfit {
            place: "its key prefix".to_owned(),
            reason: format!(
                "it belongs to ledger {other}, not to this one ({}); give this installation its own key prefix or Redis",
                known.ledger_id
            ),
        }));
    }
    let whole = found.epoch == Some(known.epoch)
        && (found.server == known.broker_identity || mutant!(no_rebuild))
        && found.ledger_id.is_some();
    if !(whole && found.open) {
        let epoch = known.epoch.max(found.epoch.unwrap_or(0)) + 1;
        return rebuild::rebuild(core, epoch, &known.ledger_id, &found.server).await;
    }
    core.broker.adopt(known.epoch);
    if !core.session.is_open_in(known.epoch) {
        rebuild::apply_pauses(core).await?;
        core.leases.look_for_unknown();
    }
    // Claims first: where the broker is full, only they make room.
    core.broker.open(&core.queues()).await?;
    core.session.open(known.epoch, &found.server);
    if core.session.fences_run_out.swap(false, Ordering::SeqCst) {
        rebuild::advance(core, known.epoch + 1, &found.server).await?;
    }
    push_lacking(core).await
}

/// Pushes what failed to be pushed before.
async fn push_lacking(core: &Core) -> Result<(), Trouble> {
    if core.broker.is_full() {
        return Ok(());
    }
    let from = core.session.lacks_from.swap(NOTHING, Ordering::SeqCst);
    if from == NOTHING {
        return Ok(());
    }
    match push_live(core, from.saturating_sub(1), false).await {
        Ok(live) => {
            metrics::repaired("outage", live.added);
            if let Some(seq) = live.left_from {
                core.session.lacks_from.fetch_min(seq, Ordering::SeqCst);
            }
            Ok(())
        }
        Err(trouble) => {
            core.session.lacks_from.fetch_min(from, Ordering::SeqCst);
            Err(trouble)
        }
    }
}
