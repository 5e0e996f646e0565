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
mod upkeep;
mod verify;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::operations::{EventKind, Occurrence, RemediationState};
use crate::policy::remediation::{Chain, FiredAlert, escalates, plan};
use crate::telemetry::metrics;

use super::core::Core;

pub use perform::Remedied;
pub use views::{OverrideView, RemediationView, SwitchChange};

pub(super) use calls::run as obey;
pub(super) use perform::Occasion;
pub(super) use switch::set as set_switch;
pub(super) use upkeep::run as look_after;
pub(super) use views::{by_hand, view};

/// Alerts that may wait. More than a day of a bad week; a storm of them is one incident, and has one remedy.
const WAITING_MAX: usize = 256;
/// Alerts that are acted on at a time. The budget of an hour bounds what they can begin.
const AT_ONCE_MAX: usize = 16;

/// The mailbox of alerts, and what this node has heard of the others' deeds.
#[derive(Debug)]
pub(super) struct Remedy {
    inbox: mpsc::Sender<FiredAlert>,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<FiredAlert>>,
    /// Alerts that found no place since this was last told.
    lost: AtomicU64,
}

impl Default for Remedy {
    fn default() -> Self {
        let (inbox, arrivals) = mpsc::channel(WAITING_MAX);
        Self { inbox, arrivals: tokio::sync::Mutex::new(arrivals), lost: AtomicU64::new(0) }
    }
}

impl Remedy {
    /// Takes an alert that fires, and waits for nothing. One that finds no place is not acted on, which is counted and
    /// noted.
    pub(super) fn offer(&self, alert: FiredAlert) {
        if let Err(error) = self.inbox.try_send(alert) {
            metrics::remediation_overflowed();
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("An alert is not acted on: {error}");
        }
    }
}

/// Acts on alerts, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut arrivals = core.remedy.arrivals.lock().await;
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
            Some(alert) = arrivals.recv(), if acting.len() < AT_ONCE_MAX => {
                tell_of_lost(&core);
                let core = core.clone();
                acting.spawn(async move { respond(&core, &alert).await });
            }
        }
    }
    // They hear that the node leaves and write down how far they were.
    while acting.join_next().await.is_some() {}
}

/// Notes that alerts found no place.
fn tell_of_lost(core: &Core) {
    let lost = core.remedy.lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let words = format!("{lost} alerts are not acted on: more than {WAITING_MAX} were waiting");
        core.timeline.note(EventKind::Action, "remediation", words, None);
    }
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
