//! What is set at run time for all nodes: sizes of pools, shedding by hand, tripped breakers, orders to workers.
//!
//! The ledger holds it, so it outlives restarts and losses of the broker. A node applies what it sets itself
//! at once; the others read it within a second or so.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::handler::Overrides;
use crate::ledger::Setting;
use crate::mutant::mutant;
use crate::service::{periodic, watch};

use super::Refusal;
use super::core::Core;

/// The kind of setting by which handlers are told another value of something; its value is that value.
pub(super) const OVERRIDE: &str = "override";
/// Between two looks at what others have set.
const PERIOD: Duration = Duration::from_secs(1);

/// The settings as this node last read them.
#[derive(Debug)]
pub(super) struct Settings {
    all: ArcSwap<Vec<Setting>>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
    due: Notify,
}

impl Default for Settings {
    fn default() -> Self {
        Self { all: ArcSwap::default(), changes: watch::Sender::new(0), due: Notify::new() }
    }
}

impl Settings {
    /// Those of one kind that have not lapsed.
    pub(super) fn of_kind(&self, kind: &str, now: Timestamp) -> Vec<Setting> {
        let all = self.all.load();
        let fits = |setting: &&Setting| setting.kind == kind && setting.until.is_none_or(|until| until > now);
        all.iter().filter(fits).cloned().collect()
    }

    /// The one of this kind and name, unless it has lapsed.
    pub(super) fn get(&self, kind: &str, name: &str, now: Timestamp) -> Option<Setting> {
        self.of_kind(kind, now).into_iter().find(|setting| setting.name == name)
    }

    /// What handlers are told otherwise. Every run asks, so without any this makes nothing.
    pub(super) fn overrides(&self, now: Timestamp) -> Overrides {
        let all = self.all.load();
        if mutant!(override_not_told) || !all.iter().any(|setting| setting.kind == OVERRIDE) {
            return Overrides::default();
        }
        let told = self.of_kind(OVERRIDE, now).into_iter();
        Overrides::new(told.filter_map(|it| Some((it.name, serde_json::from_str(&it.value).ok()?))).collect())
    }

    /// Fires when something was set, dropped or read anew.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn store(&self, all: Vec<Setting>) {
        if **self.all.load() != all {
            self.all.store(Arc::new(all));
            self.changes.send_if_modified(|count| {
                *count += 1;
                true
            });
        }
    }

    fn change(&self, kind: &str, name: &str, setting: Option<&Setting>) {
        let others = self.all.load().iter().filter(|old| old.kind != kind || old.name != name).cloned().collect();
        let mut all: Vec<Setting> = others;
        all.extend(setting.cloned());
        all.sort_by(|one, other| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)));
        self.store(all);
    }
}

/// Reads what others have set, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let core = &core;
    periodic(PERIOD, &core.chance, &core.settings.due, &stop, || async move {
        if let Err(error) = read(core).await {
            core.session.ledger_failed(&error);
        }
    })
    .await;
}

/// Reads what others have set, and drops what has lapsed.
pub(super) async fn read(core: &Core) -> crate::ledger::Result<()> {
    let all = core.ledger.settings().await?;
    let now = core.clock.now();
    for lapsed in all.iter().filter(|setting| setting.until.is_some_and(|until| until <= now)) {
        core.ledger.drop_setting(&lapsed.kind, &lapsed.name, lapsed.since).await?;
    }
    core.settings.store(all);
    Ok(())
}

/// Sets a setting: durable before it returns, in force here at once and on other nodes soon.
pub(super) async fn set(core: &Core, setting: &Setting) -> Result<(), Refusal> {
    core.ledger.set_setting(setting).await?;
    core.settings.change(&setting.kind, &setting.name, Some(setting));
    Ok(())
}

/// Drops a setting as it was read at `since` or before; true if it was there.
pub(super) async fn drop_one(core: &Core, kind: &str, name: &str, since: Timestamp) -> Result<bool, Refusal> {
    let was_there = core.ledger.drop_setting(kind, name, since).await?;
    core.settings.change(kind, name, None);
    Ok(was_there)
}
