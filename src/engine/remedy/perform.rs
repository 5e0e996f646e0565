//! One action from its occasion to its row in the audit: guards, the deed, and whether it helped.

use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::mutant::mutant;
use crate::operations::{Begun, EventKind, NewRemediation, Occurrence, RemediationLimits, RemediationState, not_done};
use crate::policy::remediation::{Action, Facts, FiredAlert, Target, target};
use crate::service::Phase;
use crate::telemetry::metrics;

use super::super::core::Core;
use super::{acts, evidence, switch, verify};

/// How long a deed that is told to stop may take for it: a command's grace, and a little.
const STOP_GRACE: Duration = Duration::from_secs(7);
/// How long a node that leaves waits for the last words of its remedies: what a deed has to end, and a write.
pub(in crate::engine) const LEAVE_PATIENCE: Duration = Duration::from_secs(8);
/// How often the end of an action is written, and the pause between two tries: the ledger may be what was restarted.
const END_TRIES: u32 = 10;
/// See [`END_TRIES`].
const END_PAUSE: Duration = Duration::from_secs(1);
/// The most words of an action that are kept, in bytes.
const WORDS_BYTES_MAX: usize = 2_000;

/// Why an action is tried.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Occasion {
    /// The alert, or what stands for one where a person asked.
    pub(in crate::engine) alert: FiredAlert,
    /// Its occurrence; `None`: a person asked.
    pub(in crate::engine) cause: Option<Occurrence>,
    /// Who wants it.
    pub(in crate::engine) by: String,
    /// Whether it is only to be said what would be done.
    pub(in crate::engine) is_dry: bool,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedied {
    /// Its number in the audit; `None` where it did not begin.
    pub number: Option<i64>,
    /// The action.
    pub action: String,
    /// What kind of action that is.
    pub kind: &'static str,
    /// What it was done to; empty where that could not be told.
    pub target: String,
    /// How it ended.
    pub state: RemediationState,
    /// What held it back, in one word; empty where nothing did.
    pub reason: String,
    /// The same for people.
    pub words: String,
}

/// What stands against an action.
struct Held {
    reason: &'static str,
    words: String,
}

/// Carries out one action, whatever becomes of it.
pub(super) async fn perform(core: &Core, action: &Action, occasion: &Occasion) -> Remedied {
    let _under_way = core.remedies.token();
    let remedied = attempt(core, action, occasion).await;
    let Remedied { action, target, state, words, .. } = &remedied;
    metrics::remediated(action, state.name());
    tell(action, target, *state, words);
    let mut detail = serde_json::json!({ "state": state.name(), "target": target, "by": occasion.by });
    if let Some(number) = remedied.number {
        detail["remediation"] = number.into();
    }
    core.timeline.note(EventKind::Action, action, format!("{action} ({}): {words}", state.name()), Some(detail));
    remedied
}

fn tell(action: &str, target: &str, state: RemediationState, words: &str) {
    if state == RemediationState::Failed {
        tracing::error!(remediation.action = action, remediation.target = target, "Action {action} failed: {words}");
        return;
    }
    let state = state.name();
    tracing::warn!(remediation.action = action, remediation.target = target, "Action {action}: {state}: {words}");
}

async fn attempt(core: &Core, action: &Action, occasion: &Occasion) -> Remedied {
    let setup = core.setup.load_full();
    let servers = setup.outside.servers();
    let target = target(&action.deed, &occasion.alert, &setup.catalog, &servers);
    let place = target.as_ref().map(ToString::to_string).unwrap_or_default();
    let end = |number, state, reason: &str, words: String| Remedied {
        number,
        action: action.name.clone(),
        kind: action.deed.kind(),
        target: place.clone(),
        state,
        reason: reason.to_owned(),
        words,
    };
    let mut asked = asked(core, action, occasion, &place);
    let target = match held(core, action, target).await {
        Ok(target) => target,
        Err(held) => {
            let words = suppress(core, &mut asked, &held).await;
            return end(None, RemediationState::Suppressed, held.reason, words);
        }
    };
    asked.words = bounded(acts::intent(action, &target));
    asked.before = evidence::of(core, &target).await.as_ref().map(Value::to_string);
    // Asked last: the look around takes its time, and who switches it off is promised that nothing begins from then on.
    let standing = match switch::fresh(core).await {
        Ok(standing) => standing,
        Err(error) => return end(None, RemediationState::Failed, "", unwritten(&error)),
    };
    if !standing.enabled && !mutant!(kill_switch_ignored) {
        let held = switched_off();
        let words = suppress(core, &mut asked, &held).await;
        return end(None, RemediationState::Suppressed, held.reason, words);
    }
    asked.is_dry = (occasion.is_dry || action.dry_run || standing.dry_run) && !mutant!(dry_run_acts);
    let limits = limits(core, action);
    let number = match core.ledger.begin_remediation(&asked, &limits, core.clock.now()).await {
        Ok(Begun::Begun(number)) => number,
        Ok(Begun::Suppressed(by)) => {
            return end(None, RemediationState::Suppressed, by.name(), limits.words(by, &asked.words));
        }
        Err(error) => return end(None, RemediationState::Failed, "", unwritten(&error)),
    };
    if asked.is_dry {
        let words = format!("would have been done: {}", asked.words);
        return end(Some(number), RemediationState::DryRun, "", words);
    }
    core.timeline.note(EventKind::Action, &action.name, format!("{} begins: {}", action.name, asked.words), None);
    let facts =
        Facts { alert: &occasion.alert, action: &action.name, target: &place, node: &core.params.node_name, number };
    let (state, words) = act(core, action, &target, &facts).await;
    let words = bounded(words);
    let after = evidence::of(core, &target).await;
    conclude(core, number, state, &words, after.as_ref()).await;
    end(Some(number), state, "", words)
}

/// The target, unless something stands against the action before it is even written down as begun.
async fn held(core: &Core, action: &Action, target: Result<Target, String>) -> Result<Target, Held> {
    let target = target.map_err(|words| Held { reason: "no_target", words })?;
    match acts::hindrance(core, action, &target).await {
        Some(words) => Err(Held { reason: "not_possible", words }),
        None => Ok(target),
    }
}

fn switched_off() -> Held {
    let words = "remediation is switched off; `ganger remediation enable` switches it on".to_owned();
    Held { reason: "disabled", words }
}

/// Notes that an action was held back, and answers how that is told.
async fn suppress(core: &Core, asked: &mut NewRemediation, held: &Held) -> String {
    let words = bounded(not_done(&held.words));
    asked.words.clone_from(&words);
    // What is not noted was not done either.
    if let Err(error) = core.ledger.suppress_remediation(asked, held.reason, core.clock.now()).await {
        tracing::warn!("That {} was held back could not be noted: {error}", asked.action);
    }
    words
}

fn asked(core: &Core, action: &Action, occasion: &Occasion, target: &str) -> NewRemediation {
    NewRemediation {
        ticket: core.fresh_id(core.clock.now()).to_string(),
        incident: occasion.alert.incident,
        cause: occasion.cause.clone(),
        action: action.name.clone(),
        kind: action.deed.kind().to_owned(),
        target: target.to_owned(),
        node: core.params.node.clone(),
        node_name: core.params.node_name.clone(),
        by: occasion.by.clone(),
        words: String::new(),
        before: None,
        is_dry: false,
    }
}

/// How often it may begin.
fn limits(core: &Core, action: &Action) -> RemediationLimits {
    RemediationLimits {
        cool_down_ms: action.cool_down_ms,
        per_hour_max: action.per_hour_max,
        all_per_hour_max: core.setup.load().remediation.per_hour_max,
    }
}

/// Does it, and waits for the figure that says whether it helped.
async fn act(core: &Core, action: &Action, target: &Target, facts: &Facts<'_>) -> (RemediationState, String) {
    let done = match within(core, action, |stop| acts::carry_out(core, action, target, facts, stop)).await {
        Ok(done) => done,
        Err(words) => return (RemediationState::Failed, words),
    };
    let verified = tokio::select! {
        biased;
        () = leaving(core) => Err("the node left before that could be seen".to_owned()),
        seen = verify::until(core, action, target, &done, facts.alert) => seen,
    };
    match verified {
        Ok(seen) if seen.is_empty() => (RemediationState::Healed, done.words),
        Ok(seen) => (RemediationState::Healed, format!("{}; {seen}", done.words)),
        Err(why) if mutant!(unverified_is_healed) => (RemediationState::Healed, why),
        Err(why) => (RemediationState::Failed, format!("{}; but {why}", done.words)),
    }
}

/// Gives a deed its time and not more; `doing` is told to stop by the token that it was made with.
async fn within<T, F: Future<Output = Result<T, String>>>(
    core: &Core,
    action: &Action,
    doing: impl FnOnce(CancellationToken) -> F,
) -> Result<T, String> {
    let stop = CancellationToken::new();
    let mut doing = std::pin::pin!(doing(stop.clone()));
    let why = tokio::select! {
        biased;
        done = doing.as_mut() => return done,
        () = sleep(Duration::from_millis(action.timeout_ms)), if !mutant!(deed_without_end) => {
            format!("it took longer than {} ms", action.timeout_ms)
        }
        () = leaving(core) => "the node left in the middle of it".to_owned(),
    };
    stop.cancel();
    // What it says of its end is worth telling; without it nobody waits.
    match timeout(STOP_GRACE, doing).await {
        Ok(Err(said)) => Err(format!("{why}: {said}")),
        Ok(Ok(_)) | Err(_) => Err(why),
    }
}

/// Returns when the node leaves.
async fn leaving(core: &Core) {
    let mut phase = core.phase.clone();
    phase.wait_for(|phase| *phase >= Phase::Stopping).await;
}

/// Writes down how it ended. What cannot be written is ended as abandoned later.
async fn conclude(core: &Core, number: i64, state: RemediationState, words: &str, after: Option<&Value>) {
    let after = after.map(Value::to_string);
    for turn in 1..=END_TRIES {
        let now = core.clock.now();
        match core.ledger.end_remediation(number, state, words, after.as_deref(), now).await {
            Ok(true) => return,
            Ok(false) => {
                tracing::warn!("The end of remediation {number} comes too late: it was taken for abandoned");
                return;
            }
            Err(error) if turn == END_TRIES || core.is_stopping() => {
                tracing::error!("The end of remediation {number} could not be noted: {error}");
                return;
            }
            Err(_retried) => sleep(END_PAUSE).await,
        }
    }
}

fn unwritten(error: &impl Display) -> String {
    format!("nothing was done, because it could not be written down: {error}")
}

/// Words that a row can hold.
fn bounded(mut words: String) -> String {
    words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
    words.replace('\0', "\u{fffd}")
}
