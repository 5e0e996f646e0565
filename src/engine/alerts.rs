//! Alerts come in: noted in the ledger, put into incidents, offered to whoever acts on them.
//!
//! Webhooks that come while one transaction is under way share the next one, so a storm of them costs few commits. What
//! is answered is durable. Who sends webhooks repeats them until they are answered, and the ledger knows an
//! occurrence of an alert by its fingerprint and beginning, so nothing is lost and nothing counts twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::mutant::mutant;
use crate::operations::{AlertNote, EventKind, Noted, NotedAs};
use crate::policy::incidents::Rules;
use crate::service::{lock, periodic};
use crate::telemetry::metrics;

use super::Refusal;
use super::core::Core;

/// Webhooks that may wait, each with its alerts in memory. More are told to come again.
const WAITING_MAX: usize = 64;
/// Alerts of one transaction, unless a single webhook has more.
const BATCH_ALERTS_MAX: usize = 500;
/// Occurrences of which it is not known whether their note was written: enough for a webhook of the largest size.
const DOUBTFUL_MAX: usize = 5_000;
/// Alerts that may wait for whoever acts on them.
const FIRED_MAX: usize = 256;
/// Between two looks for alerts that nobody tells of any more.
const LAPSE_PERIOD: Duration = Duration::from_secs(60);

/// An occurrence of an alert that fires and was not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// What was told.
    pub note: AlertNote,
    /// The incident that it belongs to.
    pub incident: i64,
}

/// What became of the alerts of one webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertsTaken {
    /// Fire, and were not known.
    pub new: usize,
    /// Were known.
    pub known: usize,
    /// Have ended.
    pub resolved: usize,
    /// Say what is no longer true.
    pub stale: usize,
    /// Open no incident by configuration.
    pub ignored: usize,
    /// The latest incident that they belong to.
    pub incident: Option<i64>,
}

/// One webhook and who waits for it.
#[derive(Debug)]
struct Ticket {
    notes: Vec<AlertNote>,
    answer: oneshot::Sender<Result<Vec<Noted>, Refusal>>,
}

/// The way of alerts into the ledger.
#[derive(Debug)]
pub(super) struct Alerts {
    inbox: mpsc::Sender<Ticket>,
    tickets: tokio::sync::Mutex<mpsc::Receiver<Ticket>>,
    fired: broadcast::Sender<Fired>,
    /// Occurrences whose note may have been written although the answer was lost.
    doubtful: Mutex<BTreeSet<(String, Timestamp)>>,
}

impl Default for Alerts {
    fn default() -> Self {
        let (inbox, tickets) = mpsc::channel(WAITING_MAX);
        let (tickets, fired, doubtful) = (tickets.into(), broadcast::channel(FIRED_MAX).0, Mutex::default());
        Self { inbox, tickets, fired, doubtful }
    }
}

impl Alerts {
    /// Tells each occurrence that fires once, on the node that heard of it first.
    pub(super) fn fired(&self) -> broadcast::Receiver<Fired> {
        self.fired.subscribe()
    }

    /// Tells those who act that an alert fires.
    pub(super) fn tell(&self, fired: Fired) {
        // Nobody acts while the node starts or leaves; another look finds what nobody has heard.
        drop(self.fired.send(fired));
    }

    /// Whether an occurrence is to be acted on: it is new, or may be and nobody has acted on it.
    fn is_to_be_acted_on(&self, note: &AlertNote, noted: Noted) -> bool {
        let was_doubtful = lock(&self.doubtful).remove(&(note.fingerprint.clone(), note.starts_at));
        noted.what == NotedAs::New || (was_doubtful && noted.what == NotedAs::Known && note.ends_at.is_none())
    }

    fn doubt(&self, notes: &[AlertNote]) {
        let mut doubtful = lock(&self.doubtful);
        doubtful.extend(notes.iter().map(|note| (note.fingerprint.clone(), note.starts_at)));
        while doubtful.len() > DOUBTFUL_MAX {
            doubtful.pop_first();
        }
    }
}

/// Takes the alerts of one webhook; they are durable when this returns.
pub(super) async fn take(core: &Core, notes: Vec<AlertNote>) -> Result<AlertsTaken, Refusal> {
    let rules = core.setup.load().incidents.clone();
    let (ignored, notes): (Vec<_>, Vec<_>) = notes.into_iter().partition(|note| rules.ignores(note));
    let mut taken = AlertsTaken { ignored: ignored.len(), ..AlertsTaken::default() };
    if !notes.is_empty() {
        let statuses: Vec<_> = notes.iter().map(|note| status(note)).collect();
        let (answer, answered) = oneshot::channel();
        core.alerts.inbox.try_send(Ticket { notes, answer }).map_err(|_full| Refusal::TooManyAlerts)?;
        // Without an answer the service has died in the middle; whoever sent this sends it again.
        let gone = |_| Refusal::LedgerUnavailable { reason: "the note broke off".to_owned(), unknown: false, id: None };
        let answers = answered.await.map_err(gone)??;
        for status in statuses {
            metrics::alerts_received(status, 1);
        }
        for Noted { incident, what } in answers {
            *match what {
                NotedAs::New => &mut taken.new,
                NotedAs::Known => &mut taken.known,
                NotedAs::Resolved => &mut taken.resolved,
                NotedAs::Stale => &mut taken.stale,
            } += 1;
            taken.incident = taken.incident.max(Some(incident));
        }
    }
    metrics::alerts_received("ignored", ignored.len() as u64);
    Ok(taken)
}

fn status(note: &AlertNote) -> &'static str {
    if note.ends_at.is_some() { "resolved" } else { "firing" }
}

/// Notes what comes in, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut tickets = core.alerts.tickets.lock().await;
    loop {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            first = tickets.recv() => first,
        };
        let Some(first) = first else { return };
        let (mut count, mut batch) = (first.notes.len(), vec![first]);
        while count < BATCH_ALERTS_MAX
            && let Ok(next) = tickets.try_recv()
        {
            count += next.notes.len();
            batch.push(next);
        }
        note(&core, batch).await;
    }
}

/// Notes some webhooks in one transaction and answers them.
async fn note(core: &Core, batch: Vec<Ticket>) {
    let notes: Vec<AlertNote> = batch.iter().flat_map(|ticket| ticket.notes.iter().cloned()).collect();
    let quiet_ms = core.setup.load().incidents.quiet_ms;
    let answers = core.ledger.note_alerts(&notes, core.clock.now(), quiet_ms).await;
    let answers = match answers {
        Ok(answers) => answers,
        Err(_) if mutant!(alerts_answered_before_commit) => {
            vec![Noted { incident: 0, what: NotedAs::New }; notes.len()]
        }
        Err(error) => return refuse(core, batch, &notes, &error),
    };
    core.session.ledger_answered();
    for (note, noted) in notes.iter().zip(&answers) {
        tell(core, note, *noted);
    }
    let mut answers = answers.into_iter();
    for Ticket { notes, answer } in batch {
        // Whoever has gone away sends it again and hears that it is known.
        drop(answer.send(Ok(answers.by_ref().take(notes.len()).collect())));
    }
}

fn refuse(core: &Core, batch: Vec<Ticket>, notes: &[AlertNote], error: &LedgerError) {
    if error.is_unknown() {
        core.alerts.doubt(notes);
    }
    if error.is_transient() {
        core.session.ledger_failed(error);
    } else {
        tracing::error!("Alerts cannot be noted: {error}");
    }
    for ticket in batch {
        let unknown = error.is_unknown();
        let refusal = Refusal::LedgerUnavailable { reason: error.to_string(), unknown, id: None };
        drop(ticket.answer.send(Err(refusal)));
    }
}

/// Tells of an alert what was not known.
fn tell(core: &Core, note: &AlertNote, noted: Noted) {
    let AlertNote { name, severity, starts_at, .. } = note;
    let incident = noted.incident;
    let detail = json!({ "incident": incident, "fingerprint": note.fingerprint, "labels": note.labels });
    let acts = core.alerts.is_to_be_acted_on(note, noted) || mutant!(known_alerts_are_acted_on);
    if acts {
        let words = format!("Alert {name} fires since {starts_at} (severity {severity:?}, incident {incident})");
        tracing::warn!(alert.name = name, incident, "{words}");
        core.timeline.note(EventKind::Alert, name, words, Some(detail));
        core.alerts.tell(Fired { note: note.clone(), incident });
    } else if noted.what == NotedAs::Resolved {
        let end = note.ends_at.map(|end| format!(" at {end}")).unwrap_or_default();
        let words = format!("Alert {name} has ended{end} (incident {incident})");
        tracing::info!(alert.name = name, incident, "{words}");
        core.timeline.note(EventKind::Alert, name, words, Some(detail));
    }
}

/// Takes alerts for ended that nobody tells of any more, until `stop`.
pub(super) async fn lapse(core: Arc<Core>, stop: CancellationToken) {
    let never = tokio::sync::Notify::new();
    periodic(LAPSE_PERIOD, &core.chance, &never, &stop, || lapse_once(&core)).await;
}

async fn lapse_once(core: &Core) {
    let Rules { lapse_ms, .. } = core.setup.load().incidents.clone();
    match core.ledger.lapse_alerts(core.clock.now().plus_ms(-lapse_ms)).await {
        Ok(lapsed) => {
            for alert in lapsed {
                let (name, heard_at) = (&alert.note.name, alert.heard_at);
                let words = format!("Alert {name} is taken for ended: nobody has told of it since {heard_at}");
                tracing::warn!(alert.name = name, incident = alert.incident, "{words}");
                core.timeline.note(EventKind::Alert, name, words, Some(json!({ "incident": alert.incident })));
            }
        }
        Err(error) if error.is_transient() => core.session.ledger_failed(&error),
        Err(error) => tracing::error!("Alerts that nobody tells of cannot be looked for: {error}"),
    }
}
