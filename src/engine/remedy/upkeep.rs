//! What remediation leaves to be looked after: pauses that end, actions whose node has died over them, and alerts that
//! nobody acts on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::ledger::RemediationFilter;
use crate::operations::RemediationState;
use crate::policy::remediation::Action;
use crate::service::periodic;
use crate::telemetry::metrics;

use super::super::core::Core;
use super::unanswered::Unanswered;
use super::{acts, switch};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Between two looks for actions that were left running and alerts that were left alone.
const ABANDONED_PERIOD: Duration = Duration::from_secs(5);
/// How much longer than it may take an action is given before its node counts as dead, in milliseconds: its last words
/// may still be on their way.
const ABANDONED_MS: u64 = 60_000;
/// Actions that run at a time over all nodes, and then some.
const RUNNING_MAX: u32 = 1_000;

/// Looks after it, until `stop`.
pub(in crate::engine) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let (core, nudge) = (&core, Notify::new());
    let looked_at = std::sync::Mutex::new(Instant::now());
    let unanswered = &Unanswered::default();
    periodic(PERIOD, &core.chance, &nudge, &stop, || {
        let is_due = {
            let mut looked_at = crate::service::lock(&looked_at);
            let is_due = looked_at.elapsed() >= ABANDONED_PERIOD;
            if is_due {
                *looked_at = Instant::now();
            }
            is_due
        };
        async move {
            metrics::remediation_enabled(switch::standing(core).enabled);
            if let Err(why) = acts::end_pauses(core).await {
                tracing::debug!("A pause whose time is over stays for now: {why}");
            }
            if is_due && let Err(error) = end_abandoned(core).await {
                core.session.ledger_failed(&error);
            }
            if is_due && let Err(error) = unanswered.take_up(core).await {
                core.session.ledger_failed(&error);
            }
        }
    })
    .await;
}

/// Ends what nobody carries on with.
async fn end_abandoned(core: &Core) -> crate::ledger::Result<()> {
    let Some(before) = abandoned_before(core) else { return Ok(()) };
    let running = RemediationFilter { state: Some(RemediationState::Running), ..RemediationFilter::default() };
    let left = core.ledger.remediations(&running, None, RUNNING_MAX).await?;
    let left: Vec<_> = left.into_iter().filter(|it| it.began_at < before).collect();
    if left.is_empty() {
        return Ok(());
    }
    let words = "abandoned: the node that carried it out has died over it";
    // Several nodes may see it; who ends it counts it.
    if core.ledger.abandon_remediations(before, words, core.clock.now()).await? == 0 {
        return Ok(());
    }
    for remedy in left {
        metrics::remediated(&remedy.asked.action, RemediationState::Failed.name());
        tracing::error!(remediation.action = %remedy.asked.action,
            "Remediation {} ({}) is {words}", remedy.number, remedy.asked.action);
    }
    Ok(())
}

/// Whoever began before this and has not ended is dead; `None` while that cannot be said.
fn abandoned_before(core: &Core) -> Option<Timestamp> {
    // Before the first heartbeat was answered nobody knows who else lives.
    if core.membership.others().is_empty() {
        return None;
    }
    if core.membership.living().len() <= 1 {
        return Some(core.membership.started_at());
    }
    let setup = core.setup.load();
    let longest = setup.remediation.actions.values().map(Action::longest_ms).max().unwrap_or(0);
    let ms = i64::try_from(longest.saturating_add(ABANDONED_MS)).unwrap_or(i64::MAX);
    Some(core.clock.now().plus_ms(-ms))
}
