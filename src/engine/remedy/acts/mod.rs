//! The deeds: what each kind of action does, what stands against it, and how it is announced.

mod jobs;
mod lanes;
mod outside;
mod pools;
mod stores;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::job::{JobId, PoolName};
use crate::policy::remediation::{Action, Deed, Facts, Lane, Target, Verify};

use super::super::core::Core;

pub(super) use lanes::end_pauses;

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    /// In words.
    pub(super) words: String,
    /// By what it is seen whether it helped.
    pub(super) goal: Goal,
}

/// What an action has set out to reach.
#[derive(Debug, PartialEq)]
pub(super) enum Goal {
    /// Nothing that this daemon could see.
    Nothing,
    /// Pools of so many workers on each node.
    Floors(Vec<(PoolName, usize)>),
    /// A job that succeeds.
    Job(JobId),
    /// A setting that holds, with this value.
    Setting { kind: &'static str, name: String, value: Option<String> },
    /// A lane that stands still.
    Paused(Lane),
}

impl Done {
    fn of(words: impl Into<String>, goal: Goal) -> Self {
        Self { words: words.into(), goal }
    }
}

/// Why an action can do nothing now, if so.
pub(super) async fn hindrance(core: &Core, action: &Action, target: &Target) -> Option<String> {
    match (&action.deed, target) {
        (Deed::ScalePool { .. }, Target::Pools(names)) => match pools::at_most(core, names) {
            None if matches!(action.verify, Verify::QueueDepth { .. }) => pools::all_is_held(core, names).await,
            full => full,
        },
        (Deed::ReplaceUnhealthyWorkers { .. }, Target::Pools(names)) => pools::nobody_to_replace(core, names),
        (Deed::RenewLedgerPool, _) => stores::no_pool(core),
        (Deed::SetShedding { level_max, .. }, _) => lanes::sheds_already(core, *level_max),
        (Deed::PauseLane { .. }, Target::Lane(lane)) => lanes::paused_already(core, lane).await,
        _ => None,
    }
}

/// What an action is about to do, in words.
pub(super) fn intent(action: &Action, target: &Target) -> String {
    let s = |ms: &i64| ms / 1_000;
    match &action.deed {
        Deed::ScalePool { add: 1, ttl_ms, .. } => format!("{target} grows by one worker for {} s", s(ttl_ms)),
        Deed::ScalePool { add, ttl_ms, .. } => format!("{target} grows by {add} workers for {} s", s(ttl_ms)),
        Deed::ReplaceUnhealthyWorkers { .. } => format!("the unhealthy workers of {target} are replaced"),
        Deed::RenewLedgerPool => "the connections to the ledger are renewed".to_owned(),
        Deed::EnqueueJob { .. } => format!("a job of {target} is submitted"),
        Deed::RestartMcpServer { .. } => format!("the sessions with MCP {target} begin anew"),
        Deed::Override { name, value, ttl_ms } => {
            format!("handlers are told that {name} is {value} for {} s", s(ttl_ms))
        }
        Deed::SetShedding { up, level_max, ttl_ms } => {
            let levels = if *up == 1 { "one level".to_owned() } else { format!("{up} levels") };
            format!("every queue sheds {levels} more for {} s, up to level {level_max}", s(ttl_ms))
        }
        Deed::PauseLane { ttl_ms, .. } => format!("{target} is paused for {} s", s(ttl_ms)),
        Deed::Post(_) => format!("{target} is told"),
        Deed::Command { .. } => format!("`{target}` is run"),
    }
}

/// Does it.
pub(super) async fn carry_out(
    core: &Core,
    action: &Action,
    target: &Target,
    facts: &Facts<'_>,
    stop: CancellationToken,
) -> Result<Done, String> {
    let by = author(action, facts);
    match (&action.deed, target) {
        (Deed::ScalePool { add, ttl_ms, .. }, Target::Pools(names)) => {
            pools::scale(core, names, *add, *ttl_ms, &by).await
        }
        (Deed::ReplaceUnhealthyWorkers { .. }, Target::Pools(names)) => pools::replace(core, names).await,
        (Deed::RenewLedgerPool, _) => stores::renew(core).await,
        (Deed::EnqueueJob { payload, .. }, Target::JobType(name)) => jobs::enqueue(core, name, payload, facts).await,
        (Deed::RestartMcpServer { command, .. }, Target::Server(name)) => {
            outside::restart(core, name, command, facts, stop).await
        }
        (Deed::Override { name, value, ttl_ms }, _) => lanes::override_one(core, name, value, *ttl_ms, &by).await,
        (Deed::SetShedding { up, level_max, ttl_ms }, _) => lanes::shed(core, *up, *level_max, *ttl_ms, &by).await,
        (Deed::PauseLane { ttl_ms, .. }, Target::Lane(lane)) => lanes::pause(core, lane, *ttl_ms, &by).await,
        (Deed::Post(call), _) => outside::post(core, call, facts, stop).await,
        (Deed::Command { program, args, env }, _) => outside::command(core, program, args, env, facts, stop).await,
        (deed, target) => Err(format!("{} cannot be done to {target}", deed.kind())),
    }
}

/// Who is named as the author of what an action sets.
fn author(action: &Action, facts: &Facts<'_>) -> Author {
    let why = if facts.alert.name.is_empty() { "asked for".to_owned() } else { format!("alert {}", facts.alert.name) };
    Author { by: format!("remediation {}", action.name), reason: format!("{why} (remediation {})", facts.number) }
}

/// Who sets something, and why.
#[derive(Debug)]
struct Author {
    by: String,
    reason: String,
}

/// JSON that came from facts or the configuration, as text.
fn text(value: &Value) -> String {
    value.to_string()
}
