//! Remediation as the API shows it, and actions that a person asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::ledger::IncidentFilter;
use crate::policy::remediation::{FiredAlert, Rules, Switch};

use super::super::core::{Core, Setup};
use super::super::shedding::SetByHand;
use super::super::{Refusal, settings};
use super::perform::{Occasion, Remedied, perform};
use super::switch;

/// Everything that `GET /v1/remediation` tells.
#[derive(Debug, Clone)]
pub struct RemediationView {
    /// What holds.
    pub switch: Switch,
    /// Who said so at run time; `None`: the configuration.
    pub set: Option<SetByHand>,
    /// What is told to handlers.
    pub overrides: Vec<OverrideView>,
    setup: Arc<Setup>,
}

impl RemediationView {
    /// What is configured.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.setup.remediation
    }
}

/// What is told to handlers for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct OverrideView {
    /// What.
    pub name: String,
    /// A number, a text or a flag.
    pub value: Value,
    /// Who set it, and why.
    pub by: String,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// A change of the switch: `None` leaves a side as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwitchChange {
    /// Whether anything is done at all.
    pub enabled: Option<bool>,
    /// Whether actions only say what they would do.
    pub dry_run: Option<bool>,
}

/// Everything.
pub(in crate::engine) fn view(core: &Core) -> RemediationView {
    let (letter, setting) = switch::said(core);
    let told = core.settings.of_kind(settings::OVERRIDE, core.clock.now()).into_iter();
    RemediationView {
        switch: switch::standing(core),
        set: setting.map(|setting| SetByHand { by: setting.by, reason: letter.reason, at: setting.since }),
        overrides: told
            .map(|it| OverrideView {
                value: serde_json::from_str(&it.value).unwrap_or_default(),
                name: it.name,
                by: it.by,
                until: it.until,
            })
            .collect(),
        setup: core.setup.load_full(),
    }
}

/// The incident that a person acts on: the newest in which an alert fires. Without an answer it belongs to none, because
/// what is asked for may be what brings the ledger back.
async fn incident_at_hand(core: &Core) -> Option<i64> {
    let filter = IncidentFilter { is_firing: Some(true), ..IncidentFilter::default() };
    match core.ledger.incidents(filter, None, 1).await {
        Ok(firing) => firing.first().map(|incident| incident.number),
        Err(error) => {
            tracing::warn!("It is not known which incident an action by hand belongs to: {error}");
            None
        }
    }
}

/// Carries out an action because a person asks for it, behind the same guards. `labels` stand for those of an alert.
pub(in crate::engine) async fn by_hand(
    core: &Core,
    name: &str,
    labels: BTreeMap<String, String>,
    is_dry: bool,
    by: &str,
) -> Result<Remedied, Refusal> {
    let action = {
        let setup = core.setup.load();
        let actions = &setup.remediation.actions;
        actions.get(name).cloned().ok_or_else(|| {
            let known = actions.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Refusal::NotFound { what: "action", name: name.to_owned(), known: Some(known) }
        })?
    };
    let alert = FiredAlert {
        name: String::new(),
        labels,
        annotations: BTreeMap::new(),
        fingerprint: String::new(),
        starts_at: core.clock.now(),
        severity: String::new(),
        incident: incident_at_hand(core).await,
    };
    Ok(perform(core, &action, &Occasion { alert, cause: None, by: by.to_owned(), is_dry }).await)
}
