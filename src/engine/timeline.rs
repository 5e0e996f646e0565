//! The timeline: what happens to the system itself, in the ledger for whoever asks later.
//!
//! Whoever notes something goes on at once: events wait in a bounded buffer, and one service writes them down. While
//! the ledger is away they wait there with the times at which they happened; of too many the oldest go, which is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::job::NodeId;
use crate::operations::{EventKind, NewEvent};
use crate::service::lock;
use crate::telemetry::metrics;

use super::core::Core;

/// Events that may wait: with a hundred bytes of words each, a megabyte at most.
const WAITING_MAX: usize = 2_000;
/// Events written in one transaction.
const BATCH_MAX: usize = 200;
/// Between two tries while the ledger is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The smallest count that is news by itself.
const STEP_MIN: u64 = 16;
/// The longest sentence, in characters: reasons come from outside.
const WORDS_MAX: usize = 1_000;

/// What this node notes.
#[derive(Debug)]
pub(super) struct Timeline {
    clock: Arc<dyn Clock>,
    node: NodeId,
    node_name: String,
    mark: AtomicI64,
    waiting: Mutex<VecDeque<NewEvent>>,
    due: Notify,
    /// Counts as they were last told.
    steps: Mutex<BTreeMap<String, u64>>,
    /// One at a time writes, so that events keep their order.
    writing: tokio::sync::Mutex<()>,
}

impl Timeline {
    /// An empty timeline of one run of the daemon.
    pub(super) fn new(clock: Arc<dyn Clock>, node: NodeId, node_name: String) -> Self {
        let (due, steps) = Default::default();
        Self {
            clock,
            node,
            node_name,
            mark: AtomicI64::new(0),
            waiting: Mutex::default(),
            due,
            steps,
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Notes that something happened just now; waits for nothing and cannot fail.
    pub(super) fn note(&self, kind: EventKind, subject: &str, words: impl Into<String>, detail: Option<Value>) {
        let words: String = words.into();
        let event = NewEvent {
            at: self.clock.now(),
            node: self.node.clone(),
            mark: self.mark.fetch_add(1, Ordering::Relaxed) + 1,
            node_name: self.node_name.clone(),
            kind,
            subject: subject.to_owned(),
            words: words.chars().take(WORDS_MAX).collect(),
            detail: detail.map(|detail| detail.to_string()),
        };
        metrics::timeline_noted(kind.name());
        let mut waiting = lock(&self.waiting);
        waiting.push_back(event);
        if waiting.len() > WAITING_MAX {
            waiting.pop_front();
            metrics::timeline_dropped(1);
        }
        drop(waiting);
        self.due.notify_one();
    }

    /// Notes a count when it has doubled or fallen to half since it was last told, beginning with [`STEP_MIN`].
    pub(super) fn note_step(&self, kind: EventKind, subject: &str, count: u64, words: &str) {
        let mut steps = lock(&self.steps);
        let told = steps.get(subject).copied().unwrap_or(0);
        if count >= (2 * told).max(STEP_MIN) || (told > 0 && count <= told / 2) {
            steps.insert(subject.to_owned(), if count < STEP_MIN { 0 } else { count });
            drop(steps);
            self.note(kind, subject, words, Some(serde_json::json!({ "count": count, "before": told })));
        }
    }

    /// The oldest events that wait.
    fn batch(&self) -> Vec<NewEvent> {
        lock(&self.waiting).iter().take(BATCH_MAX).cloned().collect()
    }

    /// Takes events that are written out of the buffer; the oldest of them may have gone meanwhile.
    fn written(&self, batch: &[NewEvent]) {
        let Some(last) = batch.last() else { return };
        let mut waiting = lock(&self.waiting);
        while waiting.front().is_some_and(|event| event.mark <= last.mark) {
            waiting.pop_front();
        }
    }
}

/// Writes events down, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        let due = core.timeline.due.notified();
        let written = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            written = write(&core) => written,
        };
        let pause = async {
            match written {
                Ok(()) => due.await,
                Err(()) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = pause => {}
        }
    }
}

/// Writes all that waits; an error says that the ledger does not answer.
pub(super) async fn write(core: &Core) -> std::result::Result<(), ()> {
    let timeline = &core.timeline;
    let _turn = timeline.writing.lock().await;
    loop {
        let batch = timeline.batch();
        if batch.is_empty() {
            return Ok(());
        }
        match core.ledger.note_events(&batch).await {
            Ok(()) => timeline.written(&batch),
            Err(error) if error.is_transient() => {
                core.session.ledger_failed(&error);
                return Err(());
            }
            Err(error) => {
                // It would be refused again, and would keep all others out.
                tracing::error!("Events of the timeline cannot be written: {error}");
                metrics::timeline_dropped(batch.len() as u64);
                timeline.written(&batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[test]
    fn a_count_is_told_when_it_has_doubled_or_halved() {
        let clock = Arc::new(ManualClock::at(Timestamp(7)));
        let timeline = Timeline::new(clock, NodeId::stored("run"), "ann".to_owned());
        for count in [0, 15, 16, 20, 31, 32, 17, 16, 9, 8, 3, 15, 16] {
            timeline.note_step(EventKind::Review, "backlog", count, &count.to_string());
        }
        let told: Vec<String> = timeline.batch().into_iter().map(|event| event.words).collect();
        assert_eq!(told, ["16", "32", "16", "8", "16"]);
    }

    #[test]
    fn the_buffer_is_bounded_and_keeps_the_newest() {
        let clock = Arc::new(ManualClock::at(Timestamp(7)));
        let timeline = Timeline::new(clock, NodeId::stored("run"), "ann".to_owned());
        for at in 0..=WAITING_MAX {
            timeline.note(EventKind::Worker, "w", format!("{at}"), None);
        }
        let first = timeline.batch();
        assert_eq!((first.len(), first[0].words.as_str(), first[0].at), (BATCH_MAX, "1", Timestamp(7)));
        // Whatever was pushed out while a batch was written stays out.
        timeline.note(EventKind::Worker, "w", "x".repeat(2 * WORDS_MAX), None);
        timeline.written(&first);
        assert_eq!(timeline.batch()[0].mark, first.last().unwrap().mark + 1);
        assert_eq!(lock(&timeline.waiting).back().unwrap().words.len(), WORDS_MAX);
    }
}
