//! Remediation at work: alerts that fire come in, actions are carried out, and every one of them is in the audit.
//!
//! The node that hears of an occurrence first acts on it, and the ledger makes sure that no other does: an action begins
//! once for an occurrence, within its cool-down and budgets, over all nodes. Nothing here waits for anything without an
//! end, and nothing is done that could not be written down first.

mod acts;
mod calls;
mod evidence;
mod perform;
mod switch;
mod unanswered;
mod upkeep;
mod verify;
mod views;

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::operations::{EventKind, Occurrence, RemediationState};
use crate::policy::remediation::{Chain, FiredAlert, escalates, plan};
use crate::telemetry::metrics;

use super::alerts::Fired;
use super::core::Core;

pub(super) use perform::LEAVE_PATIENCE;
pub use perform::Remedied;
pub use views::{OverrideView, RemediationView, SwitchChange};

pub(super) use calls::run as obey;
pub(super) use switch::set as set_switch;
pub(super) use upkeep::run as look_after;
pub(super) use views::{by_hand, view};

use perform::Occasion;

/// Alerts that are acted on at a time; more wait where they are told. The budget of an hour bounds what they can begin.
const AT_ONCE_MAX: usize = 16;

/// Acts on alerts, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut fired = core.alerts.fired();
    let mut acting = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = acting.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(error = %error, "What was done about an alert broke off");
                }
            }
            heard = fired.recv(), if acting.len() < AT_ONCE_MAX => match heard {
                Ok(fired) => {
                    let core = core.clone();
                    acting.spawn(async move { respond(&core, &alert(fired)).await });
                }
                Err(RecvError::Lagged(lost)) => tell_of_lost(&core, lost),
                Err(RecvError::Closed) => break,
            }
        }
    }
    // They hear that the node leaves and write down how far they were.
    while acting.join_next().await.is_some() {}
}

/// An alert as the policy has it.
fn alert(Fired { note, incident }: Fired) -> FiredAlert {
    FiredAlert {
        name: note.name,
        labels: note.labels,
        annotations: note.annotations,
        fingerprint: note.fingerprint,
        starts_at: note.starts_at,
        severity: note.severity,
        incident: Some(incident),
    }
}

/// Notes that alerts found no place among those that wait.
fn tell_of_lost(core: &Core, lost: u64) {
    metrics::remediation_overflowed(lost);
    let words = format!("{lost} alerts are not acted on: too many fired at once");
    tracing::error!("{words}");
    core.timeline.note(EventKind::Action, "remediation", words, None);
}

/// Does what the rules have about an alert.
async fn respond(core: &Core, alert: &FiredAlert) {
    let chains = plan(&core.setup.load().remediation, alert);
    if chains.is_empty() {
        tracing::debug!(alert = %alert.name, "Alert {} fires; nothing is configured about it", alert.name);
    }
    // One response does not wait for another.
    join_all(chains.iter().map(|chain| follow(core, alert, chain))).await;
}

/// Carries out one response.
async fn follow(core: &Core, alert: &FiredAlert, chain: &Chain) {
    let occasion = Occasion {
        cause: Some(Occurrence {
            alert: alert.name.clone(),
            fingerprint: alert.fingerprint.clone(),
            starts_at: alert.starts_at,
        }),
        alert: alert.clone(),
        by: format!("alert {}", alert.name),
        is_dry: false,
    };
    let mut outcomes = Vec::new();
    for action in &chain.actions {
        outcomes.push(perform::perform(core, action, &occasion).await.state);
    }
    if !escalates(&outcomes) || verify::is_resolved(core, alert).await {
        return;
    }
    for action in &chain.if_not_healed {
        if perform::perform(core, action, &occasion).await.state == RemediationState::Healed {
            return;
        }
    }
}
