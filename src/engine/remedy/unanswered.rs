//! Alerts that were taken in and that nobody acts on: their node left or died before it began.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::clock::Timestamp;
use crate::ledger::{IncidentFilter, RemediationFilter};
use crate::operations::Alert;
use crate::policy::remediation::plan;
use crate::service::lock;

use super::super::alerts::Fired;
use super::super::core::Core;

/// How long the node that heard of an alert is given to begin, in milliseconds. Where it only was slow, both come to act and
/// the ledger lets one of them begin.
const BEGIN_MS: i64 = 30_000;
/// Incidents that fire at a time: alerts that overlap share one, so there are hardly ever two.
const INCIDENTS_MAX: u32 = 10;
/// Alerts and remedies of one incident that are looked at.
const ROWS_MAX: u32 = 1_000;

/// An occurrence of an alert.
type Key = (String, Timestamp);

/// What this node has taken up already.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    taken_up: Mutex<HashSet<Key>>,
}

impl Unanswered {
    /// Takes up what fires, has been known for a while, and has no row in the audit though something is configured
    /// about it.
    pub(super) async fn take_up(&self, core: &Core) -> crate::ledger::Result<()> {
        let before = core.clock.now().plus_ms(-BEGIN_MS);
        let firing = IncidentFilter { is_firing: Some(true), ..IncidentFilter::default() };
        let mut waiting = HashSet::new();
        for incident in core.ledger.incidents(firing, None, INCIDENTS_MAX).await? {
            for alert in overdue(core, incident.number, before).await? {
                let key = (alert.note.fingerprint.clone(), alert.note.starts_at);
                waiting.insert(key.clone());
                if lock(&self.taken_up).contains(&key) {
                    continue;
                }
                tracing::warn!(
                    alert.name = %alert.note.name,
                    "Nobody has begun to act on alert {}: its node is gone or slow",
                    alert.note.name
                );
                core.alerts.tell(Fired { note: alert.note, incident: incident.number });
            }
        }
        *lock(&self.taken_up) = waiting;
        Ok(())
    }
}

/// The alerts of an incident that have waited since `before` for somebody to begin.
async fn overdue(core: &Core, incident: i64, before: Timestamp) -> crate::ledger::Result<Vec<Alert>> {
    let setup = core.setup.load_full();
    let alerts = core.ledger.alerts_of(incident, ROWS_MAX).await?;
    let waits = |alert: &Alert| alert.note.ends_at.is_none() && alert.received_at < before;
    let is_answerable = |alert: &Alert| {
        let fired = super::alert(Fired { note: alert.note.clone(), incident });
        !plan(&setup.remediation, &fired).is_empty()
    };
    let mut waiting: Vec<Alert> = alerts.into_iter().filter(|alert| waits(alert) && is_answerable(alert)).collect();
    if waiting.is_empty() {
        return Ok(waiting);
    }
    let of_it = RemediationFilter { incident: Some(incident), ..RemediationFilter::default() };
    let rows = core.ledger.remediations(&of_it, None, ROWS_MAX).await?;
    let begun: HashSet<Key> =
        rows.into_iter().filter_map(|row| row.asked.cause).map(|cause| (cause.fingerprint, cause.starts_at)).collect();
    waiting.retain(|alert| !begun.contains(&(alert.note.fingerprint.clone(), alert.note.starts_at)));
    Ok(waiting)
}
