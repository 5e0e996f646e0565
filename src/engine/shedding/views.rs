//! Load shedding as the API shows it, and the operator's word.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::job::{QueueName, TypeName};
use crate::ledger::Setting;
use crate::policy::shedding::{Mode, RuleView};

use super::super::core::Core;
use super::super::{Refusal, report, settings};
use super::{FLOOR, SETTING, apply, floor};

/// Everything that `GET /v1/shedding` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct SheddingView {
    /// Who decides.
    pub mode: Mode,
    /// Who said so at run time; `None`: the configuration.
    pub set: Option<SetByHand>,
    /// The level that a remedy holds at least while the rules decide.
    pub floor: Option<SheddingFloor>,
    /// The types that are refused first.
    pub first: Vec<TypeName>,
    /// All living nodes, the one that answers first.
    pub nodes: Vec<(String, String, NodeShedding)>,
}

/// What an operator said of who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetByHand {
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A level that is held at least, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheddingFloor {
    /// The level, 1 to 5.
    pub level: u8,
    /// Who set it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// The same as its setting has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    /// As [`Mode::parse`] reads it.
    pub(super) mode: String,
    reason: String,
}

/// One node's part. Others' is as old as their last heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeShedding {
    /// The level in force and its reasons, by queue.
    pub queues: Vec<QueueShedding>,
    /// Every rule, that of depth once for each queue.
    pub rules: Vec<RuleShedding>,
}

/// One queue on one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueShedding {
    /// The queue.
    pub queue: String,
    /// The level in force, 0 to 5.
    pub level: u8,
    /// The rules behind it.
    pub rules: Vec<String>,
    /// Jobs that wait, without those that a pause or a breaker holds; null while the broker is away.
    pub depth: Option<u64>,
    /// How long the job that is next has waited, in milliseconds.
    pub delay_ms: Option<i64>,
    /// Whether even that is longer than half the queue's SLA, and has been so for a while.
    pub late: bool,
}

/// One rule on one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleShedding {
    /// Its name.
    pub rule: String,
    /// Its queue, for the rule of depth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What was measured last; null when unknown.
    pub value: Option<f64>,
    /// It enters above this value.
    pub enter: f64,
    /// It exits at this value or below.
    pub exit: f64,
    /// Whether it is active.
    pub active: bool,
    /// Since when.
    pub active_since: Option<String>,
}

/// This node's part as of now.
pub(in crate::engine) fn own(core: &Core) -> NodeShedding {
    let standing = core.shedding.standing();
    // Decisions are timed by a clock of their own.
    let (present, decided) = (core.clock.now(), core.shedding.now());
    let rule = |view: &RuleView, queue: Option<&QueueName>| RuleShedding {
        rule: view.rule.name().to_owned(),
        queue: queue.map(QueueName::to_string),
        value: view.value,
        enter: view.threshold.enter,
        exit: view.threshold.exit,
        active: view.active_since.is_some(),
        active_since: view.active_since.map(|since| present.plus_ms(-decided.since(since)).to_string()),
    };
    let queues = standing.queues.iter().map(|(name, queue)| QueueShedding {
        queue: name.to_string(),
        level: standing.level(name),
        rules: standing.rules(name).names(),
        depth: queue.facts.depth,
        delay_ms: queue.facts.delay_ms,
        late: queue.reach.is_late,
    });
    let of_depth = standing.queues.iter().map(|(name, queue)| rule(&queue.depth, Some(name)));
    NodeShedding {
        queues: queues.collect(),
        rules: standing.rules.iter().map(|view| rule(view, None)).chain(of_depth).collect(),
    }
}

/// Everything, of all nodes.
pub(in crate::engine) fn view(core: &Core) -> SheddingView {
    let (kind, name) = SETTING;
    let setting = core.settings.get(kind, name, core.clock.now());
    let told = report::all(core).into_iter();
    let reason_of = |setting: &Setting| serde_json::from_str(&setting.value).map(|it: Letter| it.reason);
    SheddingView {
        mode: core.shedding.standing().mode,
        set: setting.map(|setting| {
            let reason = reason_of(&setting).unwrap_or_default();
            SetByHand { by: setting.by, reason, at: setting.since }
        }),
        floor: floor(core).map(|(setting, level)| {
            let reason = reason_of(&setting).unwrap_or_default();
            SheddingFloor { level, by: setting.by, reason, until: setting.until }
        }),
        first: core.setup.load().shedding.first.iter().cloned().collect(),
        nodes: told.map(|told| (told.node.to_string(), told.name, told.report.shedding)).collect(),
    }
}

/// Overrides who decides, on all nodes until it is set again; durable before it returns.
pub(in crate::engine) async fn set(core: &Core, mode: Mode, by: &str, reason: &str) -> Result<SheddingView, Refusal> {
    let (kind, name) = SETTING;
    let letter = Letter { mode: mode.to_string(), reason: reason.to_owned() };
    let setting = Setting {
        kind: kind.to_owned(),
        name: name.to_owned(),
        value: serde_json::to_string(&letter).unwrap_or_default(),
        by: by.to_owned(),
        since: core.clock.now(),
        until: None,
    };
    settings::set(core, &setting).await?;
    tracing::warn!(shed.mode = %mode, by, reason, "Load shedding is set to {mode} by {by}");
    apply(core);
    Ok(view(core))
}

/// Has every queue shed at a level at least while the rules decide, for a while: a remedy's word, durable before it
/// returns.
pub(in crate::engine) async fn raise(
    core: &Core,
    level: u8,
    ttl_ms: i64,
    by: &str,
    reason: &str,
) -> Result<(), Refusal> {
    let (kind, name) = FLOOR;
    let letter = Letter { mode: level.to_string(), reason: reason.to_owned() };
    let now = core.clock.now();
    let setting = Setting {
        kind: kind.to_owned(),
        name: name.to_owned(),
        value: serde_json::to_string(&letter).unwrap_or_default(),
        by: by.to_owned(),
        since: now,
        until: Some(now.plus_ms(ttl_ms)),
    };
    settings::set(core, &setting).await?;
    tracing::warn!(
        shed.level = level,
        by,
        reason,
        "Every queue sheds at level {level} at least for a while, says {by}"
    );
    apply(core);
    Ok(())
}
