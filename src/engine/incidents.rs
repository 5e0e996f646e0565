//! Incidents: shown, reviewed, counted and kept.
//!
//! What an incident is follows from its alerts, in the ledger. Here its figures are gathered: once it is over, what it
//! cost is counted a last time and kept, because the rows that say so go with retention.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{QueueName, TypeName};
use crate::ledger::{IncidentFilter, LedgerError, LogbookRetention, RemediationFilter};
use crate::operations::{Event, EventKind, FilledPart, Impact, Incident};
use crate::policy::incidents::{Facts, Figures, Standing};
use crate::service::{lock, periodic};
use crate::telemetry::metrics;

use super::Refusal;
use super::core::Core;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(10);
/// The term that lets one node at a time count and drop.
const TERM: &str = "incidents";
/// What is read of one incident for its review.
const ALERTS_MAX: u32 = 200;
/// See [`ALERTS_MAX`].
const EVENTS_MAX: u32 = 1_000;
/// See [`ALERTS_MAX`].
const REMEDIATIONS_MAX: u32 = 200;
/// How long before its detection the timeline of an incident begins, in milliseconds: causes come first.
const LEAD_MS: i64 = 300_000;
/// How long after its end it goes on: what was counted last is told a little later.
const TAIL_MS: i64 = 30_000;
/// Incidents whose figures are shown as metrics, and that are looked at for what is to be counted.
const RECENT_MAX: u32 = 50;

/// Refused jobs that are not told of yet, by queue.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeMap<QueueName, u64>>);

impl Refused {
    /// Counts a job that was refused for load.
    pub(super) fn count(&self, queue: &QueueName) {
        *lock(&self.0).entry(queue.clone()).or_default() += 1;
    }
}

/// A page of incidents.
#[derive(Debug)]
pub struct IncidentPage {
    /// The incidents, newest first, with how each stands.
    pub incidents: Vec<(Incident, Standing)>,
    /// Where the next page goes on.
    pub next: Option<i64>,
}

/// What an incident cost a queue, as the ledger keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Cost {
    queue: String,
    accepted: u64,
    finished: BTreeMap<String, u64>,
    late: u64,
    put_off: u64,
    open: u64,
}

impl From<Impact> for Cost {
    fn from(Impact { queue, accepted, finished, late, put_off, open }: Impact) -> Self {
        Self { queue, accepted, finished, late, put_off, open }
    }
}

impl From<Cost> for Impact {
    fn from(Cost { queue, accepted, finished, late, put_off, open }: Cost) -> Self {
        Self { queue, accepted, finished, late, put_off, open }
    }
}

// === for the API ===

fn unknown(number: i64) -> Refusal {
    Refusal::NotFound { what: "incident", name: number.to_string(), known: None }
}

async fn find(core: &Core, number: i64) -> Result<Incident, Refusal> {
    let filter = IncidentFilter { number: Some(number), ..IncidentFilter::default() };
    core.ledger.incidents(filter, None, 1).await?.pop().ok_or_else(|| unknown(number))
}

/// A page of incidents below `before`.
pub(super) async fn list(
    core: &Core,
    is_firing: Option<bool>,
    before: Option<i64>,
    limit: u32,
) -> Result<IncidentPage, Refusal> {
    let filter = IncidentFilter { number: None, is_firing };
    let found = core.ledger.incidents(filter, before, limit).await?;
    let is_full = u32::try_from(found.len()).is_ok_and(|found| found == limit);
    let next = found.last().filter(|_| is_full).map(|last| last.number);
    let (quiet_ms, now) = (core.setup.load().incidents.quiet_ms, core.clock.now());
    let with = |incident| (Standing::of(&incident, quiet_ms, now), incident);
    let incidents = found.into_iter().map(with).map(|(standing, incident)| (incident, standing)).collect();
    Ok(IncidentPage { incidents, next })
}

/// Everything about one incident.
pub(super) async fn show(core: &Core, number: i64) -> Result<Facts, Refusal> {
    let incident = find(core, number).await?;
    let (now, quiet_ms) = (core.clock.now(), core.setup.load().incidents.quiet_ms);
    let until = incident.resolved_at.map_or(now, |end| end.plus_ms(TAIL_MS)).plus_ms(1);
    let from = counted_from(core, &incident).plus_ms(-LEAD_MS);
    let mut events = core.ledger.events(from, until, EVENTS_MAX + 1).await?;
    let most = usize::try_from(EVENTS_MAX).unwrap_or(usize::MAX);
    let is_cut = events.len() > most;
    events.truncate(most);
    let filter = RemediationFilter { incident: Some(number), ..RemediationFilter::default() };
    let mut remediations = core.ledger.remediations(&filter, None, REMEDIATIONS_MAX).await?;
    remediations.reverse();
    let alerts = core.ledger.alerts_of(number, ALERTS_MAX).await?;
    let kept = incident.impact.as_deref().and_then(|text| serde_json::from_str::<Vec<Cost>>(text).ok());
    let impact = match kept {
        Some(costs) => Ok(costs.into_iter().map(Impact::from).collect()),
        None => count(core, &incident).await.map_err(|error| error.to_string()),
    };
    Ok(Facts { incident, alerts, events, is_cut, remediations, impact, quiet_ms, now })
}

/// Writes parts of a review.
pub(super) async fn fill_in(core: &Core, number: i64, parts: &[FilledPart]) -> Result<(), Refusal> {
    if core.ledger.fill_in(number, parts).await? { Ok(()) } else { Err(unknown(number)) }
}

/// Events of a span of time, oldest first.
pub(super) async fn timeline(
    core: &Core,
    from: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<Event>, Refusal> {
    Ok(core.ledger.events(from, until, limit).await?)
}

/// Since when the record may know of an incident: a sender may tell of a beginning long before anything is kept.
fn counted_from(core: &Core, incident: &Incident) -> Timestamp {
    let retention_ms = core.setup.load().incidents.retention_ms;
    incident.detected_at.max(incident.received_at.plus_ms(-retention_ms))
}

async fn count(core: &Core, incident: &Incident) -> crate::ledger::Result<Vec<Impact>> {
    let catalog = core.catalog();
    let sla = |known: &crate::policy::catalog::JobType| Some((known.name.clone(), known.sla_ms?));
    let slas: Vec<(TypeName, u64)> = catalog.types.values().filter_map(sla).collect();
    let until = incident.resolved_at.unwrap_or_else(|| core.clock.now()).plus_ms(1);
    core.ledger.impact(counted_from(core, incident), until, &slas).await
}

// === upkeep ===

/// Counts, keeps, drops and shows, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    periodic(PERIOD, &core.chance, &never, &stop, || look(&core)).await;
}

async fn look(core: &Core) {
    tell_refused(core);
    if let Err(error) = keep(core).await {
        if error.is_transient() {
            core.session.ledger_failed(&error);
        } else {
            tracing::error!("Incidents cannot be looked after: {error}");
        }
    }
}

/// Notes how many jobs were refused for load since the last look.
pub(super) fn tell_refused(core: &Core) {
    for (queue, refused) in std::mem::take(&mut *lock(&core.refused.0)) {
        let jobs = if refused == 1 { "1 job".to_owned() } else { format!("{refused} jobs") };
        let words = format!("Refused for load: {jobs} of queue {queue}");
        core.timeline.note(EventKind::Shedding, queue.as_str(), words, Some(json!({ "refused": refused })));
    }
}

async fn keep(core: &Core) -> Result<(), LedgerError> {
    let rules = core.setup.load().incidents.clone();
    let now = core.clock.now();
    let recent = core.ledger.incidents(IncidentFilter::default(), None, RECENT_MAX).await?;
    let open = recent.iter().filter(|incident| Standing::of(incident, rules.quiet_ms, now) != Standing::Resolved);
    metrics::incidents(open.count(), recent.first().map_or(0, |newest| newest.number));
    show_times(&recent);
    let period_ms = i64::try_from(PERIOD.as_millis()).unwrap_or(i64::MAX);
    if !core.ledger.take_term(TERM, &core.params.node, 3 * period_ms).await? {
        return Ok(());
    }
    let is_due = |incident: &&Incident| {
        incident.impact.is_none() && Standing::of(incident, rules.quiet_ms, now) == Standing::Resolved
    };
    // One at a time: each reads many rows.
    if let Some(incident) = recent.iter().rev().find(is_due)
        && let Some(resolved_at) = incident.resolved_at
    {
        let costs: Vec<Cost> = count(core, incident).await?.into_iter().map(Cost::from).collect();
        let text = serde_json::to_string(&costs).unwrap_or_else(|_| "[]".to_owned());
        core.ledger.keep_impact(incident.number, resolved_at, &text).await?;
    }
    let keep = LogbookRetention { max_age_ms: rules.retention_ms, events_max: rules.events_max };
    core.ledger.retain_logbook(keep, now).await.map(drop)
}

/// Shows the mean times of recent incidents.
fn show_times(recent: &[Incident]) {
    let figures: Vec<Figures> = recent.iter().map(Figures::of).collect();
    let notice = figures.iter().map(|figures| figures.notice_ms).collect::<Vec<_>>();
    metrics::incident_times("notice", &notice);
    metrics::incident_times("response", &figures.iter().filter_map(|one| one.response_ms).collect::<Vec<_>>());
    metrics::incident_times("resolution", &figures.iter().filter_map(|one| one.resolution_ms).collect::<Vec<_>>());
}
