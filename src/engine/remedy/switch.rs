//! The kill switch: whether anything is done at all, on all nodes and across restarts.

use serde::{Deserialize, Serialize};

use crate::ledger::Setting;
use crate::operations::EventKind;
use crate::policy::remediation::Switch;

use super::super::core::Core;
use super::super::{Refusal, settings};
use super::views::SwitchChange;

/// The kind of the setting by which an operator overrides the configuration, and its only name.
const SETTING: (&str, &str) = ("remediation", "switch");

/// What an operator has said, as the setting has it. `None`: the configuration holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Letter {
    pub(super) enabled: Option<bool>,
    pub(super) dry_run: Option<bool>,
    pub(super) reason: String,
}

/// What an operator has said, and the setting that says so.
pub(super) fn said(core: &Core) -> (Letter, Option<Setting>) {
    let (kind, name) = SETTING;
    let setting = core.settings.get(kind, name, core.clock.now());
    (letter(setting.as_ref()), setting)
}

fn letter(setting: Option<&Setting>) -> Letter {
    setting.and_then(|setting| serde_json::from_str(&setting.value).ok()).unwrap_or_default()
}

/// What holds, as far as this node knows.
pub(super) fn standing(core: &Core) -> Switch {
    of(core, &said(core).0)
}

/// What a letter makes of the configuration.
fn of(core: &Core, letter: &Letter) -> Switch {
    let setup = core.setup.load();
    let rules = &setup.remediation;
    Switch { enabled: letter.enabled.unwrap_or(rules.enabled), dry_run: letter.dry_run.unwrap_or(rules.dry_run) }
}

/// What holds on all nodes, as the ledger has it: a switch that was thrown elsewhere a moment ago counts.
pub(super) async fn fresh(core: &Core) -> crate::ledger::Result<Switch> {
    let all = core.ledger.settings().await?;
    let setting = all.iter().find(|setting| (setting.kind.as_str(), setting.name.as_str()) == SETTING);
    Ok(of(core, &letter(setting)))
}

/// Throws it: durable before it returns, in force everywhere from then on.
pub(in crate::engine) async fn set(core: &Core, change: SwitchChange, by: &str, reason: &str) -> Result<(), Refusal> {
    settings::read(core).await?;
    let (old, _) = said(core);
    let letter = Letter {
        enabled: change.enabled.or(old.enabled),
        dry_run: change.dry_run.or(old.dry_run),
        reason: reason.to_owned(),
    };
    let (kind, name) = SETTING;
    let setting = Setting {
        kind: kind.to_owned(),
        name: name.to_owned(),
        value: serde_json::to_string(&letter).unwrap_or_default(),
        by: by.to_owned(),
        since: core.clock.now(),
        until: None,
    };
    settings::set(core, &setting).await?;
    let Switch { enabled, dry_run } = standing(core);
    let words = match (enabled, dry_run) {
        (false, _) => format!("Remediation is switched off by {by}"),
        (true, true) => format!("Remediation only says what it would do, says {by}"),
        (true, false) => format!("Remediation is switched on by {by}"),
    };
    tracing::warn!(remediation.enabled = enabled, remediation.dry_run = dry_run, by, reason, "{words}");
    core.timeline.note(EventKind::Order, "remediation", words, None);
    Ok(())
}
