//! What is set for a while: what handlers are told, load shedding, pauses.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ledger::Setting;
use crate::policy::remediation::Lane;
use crate::policy::shedding::Mode;

use super::super::super::core::Core;
use super::super::super::{control, settings, shedding};
use super::super::verify::scope;
use super::{Author, Done, Goal, text};

/// The kind of setting that says when a pause ends by itself; its name is the lane.
const PAUSE_END: &str = "pause_end";

/// When a pause ends, and whose pause it is: another one stays.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PauseEnd {
    /// The queue, or the type.
    queue: Option<String>,
    job_type: Option<String>,
    until_ms: i64,
    by: String,
    reason: String,
}

/// Has every handler be told `value` for `name`.
pub(super) async fn override_one(
    core: &Core,
    name: &str,
    value: &Value,
    ttl_ms: i64,
    author: &Author,
) -> Result<Done, String> {
    let now = core.clock.now();
    let setting = Setting {
        kind: settings::OVERRIDE.to_owned(),
        name: name.to_owned(),
        value: text(value),
        by: format!("{}: {}", author.by, author.reason),
        since: now,
        until: Some(now.plus_ms(ttl_ms)),
    };
    settings::set(core, &setting).await.map_err(|refusal| refusal.to_string())?;
    let goal = Goal::Setting { kind: settings::OVERRIDE, name: name.to_owned(), value: Some(setting.value) };
    Ok(Done::of(format!("handlers are told that {name} is {value}"), goal))
}

/// Why shedding cannot be turned up, if so.
pub(super) fn sheds_already(core: &Core, level_max: u8) -> Option<String> {
    let standing = core.shedding.standing();
    if standing.mode != Mode::Auto {
        return Some(format!("load shedding is set to {} by hand or by the configuration", standing.mode));
    }
    let level = highest(core);
    (level >= level_max).then(|| format!("a queue sheds at level {level} already"))
}

/// The highest level in force on this node.
fn highest(core: &Core) -> u8 {
    let standing = core.shedding.standing();
    core.queues().iter().map(|queue| standing.level(queue)).max().unwrap_or(0)
}

/// Turns it up.
pub(super) async fn shed(core: &Core, up: u8, level_max: u8, ttl_ms: i64, author: &Author) -> Result<Done, String> {
    let level = highest(core).saturating_add(up).min(level_max);
    shedding::raise(core, level, ttl_ms, &author.by, &author.reason).await.map_err(|refusal| refusal.to_string())?;
    let (kind, name) = shedding::FLOOR;
    let goal = Goal::Setting { kind, name: name.to_owned(), value: None };
    Ok(Done::of(format!("every queue sheds at level {level} at least"), goal))
}

/// Why a lane cannot be paused, if so.
pub(super) async fn paused_already(core: &Core, lane: &Lane) -> Option<String> {
    let scope = scope(lane);
    match core.ledger.pauses().await {
        Ok(pauses) => {
            let pause = pauses.into_iter().find(|pause| pause.scope == scope)?;
            Some(format!("{lane} is paused already, by {}", pause.by))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// Pauses a lane, and notes first when that ends: a pause without an end would outlive a crash in between.
pub(super) async fn pause(core: &Core, lane: &Lane, ttl_ms: i64, author: &Author) -> Result<Done, String> {
    let now = core.clock.now();
    let until = now.plus_ms(ttl_ms);
    let reason = format!("{}, until {until}", author.reason);
    let (queue, job_type) = match lane {
        Lane::Queue(name) => (Some(name.to_string()), None),
        Lane::Type(name) => (None, Some(name.to_string())),
    };
    let end = PauseEnd { queue, job_type, until_ms: until.millis(), by: author.by.clone(), reason };
    let setting = Setting {
        kind: PAUSE_END.to_owned(),
        name: lane.to_string(),
        value: serde_json::to_string(&end).unwrap_or_default(),
        by: author.by.clone(),
        since: now,
        // It must not lapse before its pause is lifted.
        until: None,
    };
    settings::set(core, &setting).await.map_err(|refusal| refusal.to_string())?;
    let paused = control::set_pause(core, &scope(lane), Some((&end.by, &end.reason))).await;
    paused.map_err(|refusal| refusal.to_string())?;
    Ok(Done::of(format!("{lane} is paused until {until}"), Goal::Paused(lane.clone())))
}

/// Lifts the pauses whose time is over, unless somebody has put another one in their place.
pub(in crate::engine::remedy) async fn end_pauses(core: &Core) -> Result<(), String> {
    let now = core.clock.now();
    for setting in core.settings.of_kind(PAUSE_END, now) {
        let end: Option<PauseEnd> = serde_json::from_str(&setting.value).ok();
        if end.as_ref().is_some_and(|end| end.until_ms > now.millis()) {
            continue;
        }
        if let Some(end) = end {
            let pauses = core.ledger.pauses().await.map_err(|error| error.to_string())?;
            let is_it = |name: &crate::ledger::Scope| match name {
                crate::ledger::Scope::Queue(name) => end.queue.as_deref() == Some(name.as_str()),
                crate::ledger::Scope::Type(name) => end.job_type.as_deref() == Some(name.as_str()),
            };
            let own = pauses.into_iter().find(|it| is_it(&it.scope) && it.by == end.by && it.reason == end.reason);
            if let Some(pause) = own {
                control::set_pause(core, &pause.scope, None).await.map_err(|refusal| refusal.to_string())?;
                tracing::info!("The pause of {} by {} is over", pause.scope, pause.by);
            }
        }
        let dropped = settings::drop_one(core, PAUSE_END, &setting.name, setting.since).await;
        dropped.map_err(|refusal| refusal.to_string())?;
    }
    Ok(())
}
