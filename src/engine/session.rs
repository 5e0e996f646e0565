//! The standing with the broker: is it ours, is it whole, is it open?
//!
//! The broker is an index of the ledger. On every new acquaintance this service compares the two: the
//! ledger's id, the epoch, and which server it is. Where the epoch is missing or lower, or the server
//! is another one, data may be gone, and one node (the holder of a term in the ledger) empties the
//! queues, raises the epoch and streams all live rows in as suspect entries. Where everything agrees,
//! only the entries that failed to be pushed meanwhile are repeated. Claims are open only between a
//! completed look and the next doubt. An embedded broker is empty at every start, so a plain restart
//! takes the very same road.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, Push};
use crate::job::{QueueName, Seq};
use crate::ledger::{LedgerError, Scope};
use crate::service::{lock, watch};
use crate::telemetry::metrics;

use super::core::Core;
use super::pusher;

/// Between two looks while all is well.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// After a failed look.
const RETRY_PERIOD: Duration = Duration::from_millis(500);
/// How long a rebuild may be silent before another node takes it over.
const TERM_MS: i64 = 15_000;
/// The term's name in the ledger.
const TERM: &str = "rebuild";
/// Live rows read at once while pushing.
const PAGE: u32 = 5_000;
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
    lacks_from: AtomicI64,
    opened_at: Mutex<Option<Instant>>,
}

/// Why a look did not end with an open broker.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("another node is rebuilding the broker")]
    Elsewhere,
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            broker: watch::Sender::new(Err("not connected yet".to_owned())),
            ledger: watch::Sender::new(Ok(())),
            unfit: watch::Sender::new(None),
            doubt: Notify::new(),
            // A node that was killed between commit and push may have been the last one here.
            lacks_from: AtomicI64::new(0),
            opened_at: Mutex::default(),
        }
    }

    /// Whether claims and pushes may be made.
    pub(super) fn is_open(&self) -> bool {
        self.broker.borrow().is_ok()
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
        self.lacks_from.fetch_min(seq, Ordering::SeqCst);
        self.doubt.notify_one();
    }

    /// A step failed: look again.
    pub(super) fn broker_failed(&self, error: &BrokerError) {
        tracing::debug!("A step of the broker failed: {error}");
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
        }
    }

    fn close(&self, why: &str) {
        let news = self.broker.send_if_modified(|known| {
            let news = known.is_ok() || known.as_ref().is_err_and(|known| known != why);
            *known = Err(why.to_owned());
            news
        });
        *lock(&self.opened_at) = None;
        metrics::broker_up(false);
        if news {
            tracing::warn!("{why}; jobs are still accepted and wait in the ledger");
        }
    }

    fn open(&self) {
        let news = self.broker.send_if_modified(|known| std::mem::replace(known, Ok(())).is_err());
        if news {
            *lock(&self.opened_at) = Some(Instant::now());
            metrics::broker_up(true);
            tracing::info!("The broker is open");
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
                        core.session.unfit.send_replace(Some(trouble.to_string()));
                    }
                    Trouble::Ledger(error) if error.is_transient() => core.session.ledger_failed(error),
                    Trouble::Broker(_) | Trouble::Ledger(_) | Trouble::Elsewhere => {}
                }
                core.session.close(&trouble.to_string());
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
    let known = core.ledger.identity().await?;
    core.session.ledger_answered();
    if let Some(other) = found.ledger_id.as_ref().filter(|id| **id != known.ledger_id) {
        return Err(Trouble::Broker(BrokerError::Unfit {
            place: "its key prefix".to_owned(),
            reason: format!(
                "it belongs to ledger {other}, not to this one ({}); give this installation its own key prefix or Redis",
                known.ledger_id
            ),
        }));
    }
    let whole = found.epoch == Some(known.epoch) && found.server == known.broker_identity && found.ledger_id.is_some();
    if whole && found.open {
        core.broker.adopt(known.epoch);
        metrics::epoch(known.epoch);
        if !core.session.is_open() {
            apply_pauses(core).await?;
        }
        // Entries first, claims after: a look that fails halfway is taken again from the start.
        let from = core.session.lacks_from.swap(NOTHING, Ordering::SeqCst);
        core.broker.open(&queues(core)).await?;
        core.session.open();
        if from != NOTHING {
            let repaired = push_live(core, from.saturating_sub(1), None).await;
            match repaired {
                Ok(count) => metrics::repaired("pushed", count),
                Err(trouble) => {
                    core.session.lacks_from.fetch_min(from, Ordering::SeqCst);
                    return Err(trouble);
                }
            }
        }
        return Ok(());
    }
    if !core.ledger.take_term(TERM, &core.params.node, TERM_MS).await? {
        return Err(Trouble::Elsewhere);
    }
    rebuild(core, known.epoch.max(found.epoch.unwrap_or(0)) + 1, &known.ledger_id, &found.server).await
}

/// Makes the broker anew from the ledger.
async fn rebuild(core: &Core, epoch: i64, ledger_id: &str, server: &str) -> Result<(), Trouble> {
    let started = Instant::now();
    if core.session.is_open() {
        core.session.close("the broker is being rebuilt from the ledger");
    }
    let queues = queues(core);
    // The ledger first: from here on no node may adopt an older epoch.
    core.ledger.raise_epoch(epoch, server).await?;
    core.broker.adopt(epoch);
    core.broker.reset(ledger_id, epoch, &queues).await?;
    core.session.lacks_from.store(NOTHING, Ordering::SeqCst);
    let entries = push_live(core, 0, Some(TERM)).await?;
    apply_pauses(core).await?;
    core.broker.open(&queues).await?;
    // Given back, so that a next rebuild on another node need not wait for it to lapse.
    core.ledger.take_term(TERM, &core.params.node, 0).await?;
    let took = started.elapsed();
    metrics::rebuilt(took.as_secs_f64());
    metrics::epoch(epoch);
    tracing::info!(
        epoch,
        entries,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "Rebuilt the broker from the ledger: {entries} live jobs"
    );
    core.session.open();
    Ok(())
}

/// Every queue that is configured.
fn queues(core: &Core) -> Vec<QueueName> {
    core.catalog().queues.keys().cloned().collect()
}

/// Streams live rows after `after` into the broker as suspect entries; answers how many were added.
async fn push_live(core: &Core, mut after: Seq, term: Option<&str>) -> Result<u64, Trouble> {
    let (mut added, catalog) = (0, core.catalog());
    loop {
        let rows = core.ledger.live_entries(after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(added) };
        after = last.seq;
        let mut queues: BTreeMap<QueueName, Vec<Push>> = BTreeMap::new();
        // Jobs of queues that are not configured here wait in the ledger.
        for row in rows.iter().filter(|row| catalog.queues.contains_key(&row.queue)) {
            queues.entry(row.queue.clone()).or_default().push(pusher::suspect(row));
        }
        for (queue, entries) in queues {
            for batch in entries.chunks(pusher::BATCH_MAX) {
                let pushed = core.broker.push(&queue, batch).await?;
                added += pushed.iter().filter(|pushed| **pushed == crate::broker::Pushed::Added).count() as u64;
            }
        }
        if let Some(term) = term
            && !core.ledger.take_term(term, &core.params.node, TERM_MS).await?
        {
            return Err(Trouble::Elsewhere);
        }
    }
}

/// Sets every pause of the ledger in the broker, and lifts those that are not there any more.
async fn apply_pauses(core: &Core) -> Result<(), Trouble> {
    let pauses = core.ledger.pauses().await?;
    let catalog = core.catalog();
    for queue in catalog.queues.keys() {
        let stopped = pauses.iter().any(|pause| pause.scope == Scope::Queue(queue.clone()));
        core.broker.set_paused(queue, None, stopped).await?;
        for known in catalog.types_of(queue) {
            let stopped = pauses.iter().any(|pause| pause.scope == Scope::Type(known.name.clone()));
            core.broker.set_paused(queue, Some(&known.name), stopped).await?;
        }
    }
    Ok(())
}
