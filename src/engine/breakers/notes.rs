//! The nodes together: one note for each breaker, read by all, written by whoever knows better.
//!
//! A node decides by itself and at once; here it tells the others and hears of them. Without the broker each
//! goes by what it knows: a breaker is never shut because its note cannot be read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::{Note, Noted};
use crate::mutant::mutant;
use crate::policy::breaker::{Pass, Record, Standing};
use crate::telemetry::metrics;

use super::super::core::Core;
use super::super::settings;
use super::control::KIND;
use super::{Entry, Leaves};

/// Between two looks while some breaker is not closed or a note stands there; spread by a fifth.
const BUSY_PERIOD_MS: f64 = 500.0;
/// Between two looks otherwise.
const QUIET_PERIOD_MS: f64 = 1_000.0;
/// The shortest pause between two looks that time asks for, in milliseconds.
const PAUSE_MS_MIN: i64 = 5;
/// How often a permit is asked for anew when somebody else wrote meanwhile.
const TRIES: usize = 3;

/// Keeps this node's breakers and their notes together, until `stop`.
pub(in crate::engine) async fn run(core: Arc<Core>, stop: CancellationToken) {
    // Subscribed before the first look, so that no change falls between.
    let (mut session, mut changes) = (core.session.broker(), core.settings.changes());
    loop {
        let due = core.breakers.shared.due.notified();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = look(&core) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = due => {}
            () = session.changed() => {}
            () = changes.changed() => {}
            () = tokio::time::sleep(pause(&core)) => {}
        }
    }
}

/// Hears, ends what time has ended, tells, and wakes the pools that wait for it.
async fn look(core: &Core) {
    let table = core.breakers.table.load_full();
    if table.by_name.is_empty() {
        return;
    }
    let is_first = !core.breakers.is_ready.load(Ordering::Acquire);
    if is_first && let Err(error) = settings::read(core).await {
        tracing::debug!("Settings of breakers cannot be read: {error}");
    }
    for setting in core.settings.of_kind(KIND, core.clock.now()) {
        if let (Some(entry), Some(record)) = (table.by_name.get(&setting.name), Record::from_text(&setting.value)) {
            entry.merge(&record);
        }
    }
    let is_open = core.session.is_open();
    if is_open {
        match core.broker.notes().await {
            Ok(notes) => table.by_name.values().for_each(|entry| {
                entry.hear(notes.iter().find(|note| note.name == entry.name));
            }),
            Err(error) => tracing::debug!("Notes of breakers cannot be read, each node goes by its own: {error}"),
        }
    }
    let rules = core.breakers.shared.rules.load_full();
    for entry in table.by_name.values() {
        let lapsed = entry.lock().breaker.lapse(&rules, core.breakers.shared.now());
        if let Some(transition) = lapsed {
            if transition.to == "open" {
                metrics::breaker_probe(&entry.name, "lapsed");
            }
            if core.membership.is_speaker(&core.params.node) {
                entry.note(&transition);
            }
            entry.tell(&transition);
        }
        if is_open {
            entry.write(core).await;
        }
    }
    if is_open && is_first {
        core.breakers.is_ready.store(true, Ordering::Release);
        table.by_name.values().for_each(|entry| entry.wake());
    }
    let nodes = core.membership.living().len();
    for entry in table.by_name.values() {
        metrics::breaker_state(&entry.name, entry.lock().breaker.record().state.name());
        if entry.has_news(nodes) {
            entry.wake();
        }
    }
}

/// How long until time changes something, or the next look is due.
fn pause(core: &Core) -> Duration {
    let (table, now) = (core.breakers.table.load(), core.breakers.shared.now());
    let rules = core.breakers.shared.rules.load();
    let mut is_busy = false;
    let mut first: Option<i64> = None;
    for entry in table.by_name.values() {
        let inner = entry.lock();
        is_busy |= inner.noted.is_some() || inner.breaker.record().state.holds();
        let rests = Some(inner.rests_until).filter(|at| *at > now);
        for at in inner.breaker.next_change(&rules, now).into_iter().chain(rests) {
            let wait_ms = at.since(now).max(PAUSE_MS_MIN);
            first = Some(first.map_or(wait_ms, |first| first.min(wait_ms)));
        }
    }
    let period = if is_busy { BUSY_PERIOD_MS } else { QUIET_PERIOD_MS } * core.chance.between(0.8, 1.2);
    let period = Duration::from_secs_f64(period / 1_000.0);
    let first = first.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    first.map_or(period, |first| first.min(period))
}

/// Takes up to `count` permits of `entry`, agreed on with all nodes.
pub(super) async fn take_permits(entry: &Arc<Entry>, core: &Core, count: u32, timeout_ms: u64) -> Leaves {
    let _turn = entry.writing.lock().await;
    let ids: Vec<u64> = (0..count).map(|_| core.chance.bits()).collect();
    for _ in 0..TRIES {
        let (rules, now) = (entry.shared.rules.load_full(), entry.shared.now());
        let (record, version) = {
            let inner = entry.lock();
            let Standing::Probe(free) = inner.breaker.standing(&rules, now, 1) else { return Leaves::new() };
            let ids = &ids[..ids.len().min(usize::try_from(free).unwrap_or(usize::MAX))];
            let deadline = rules.probe_deadline(now, timeout_ms);
            let asked = inner.breaker.with_permits(&rules, now, &core.params.node_name, ids, deadline);
            let Some(record) = asked else { return Leaves::new() };
            (record, inner.version)
        };
        if mutant!(probe_without_asking) {
            entry.merge(&record);
            return entry.permitted(&record, &ids);
        }
        match core.broker.write_note(&entry.name, version, &record.to_text()).await {
            Ok(Noted::Written(version)) => {
                entry.hear(Some(&Note { name: entry.name.clone(), version, text: record.to_text() }));
                return entry.permitted(&record, &ids);
            }
            Ok(Noted::Differs(found)) => entry.hear(found.as_ref()),
            Err(error) => {
                tracing::debug!("The probe of breaker {} is not agreed on: {error}", entry.name);
                entry.merge(&record);
                return entry.permitted(&record, &ids);
            }
        }
    }
    Leaves::new()
}

impl Entry {
    /// Takes over the note, or that there is none.
    fn hear(&self, note: Option<&Note>) {
        // A text of another version of this program says nothing here and is written over.
        let record = note.and_then(|note| Record::from_text(&note.text));
        if let Some(record) = &record {
            self.merge(record);
        }
        let mut inner = self.lock();
        inner.version = note.map(|note| note.version);
        inner.noted = record;
    }

    /// Writes the note if something better is known here.
    async fn write(&self, core: &Core) {
        let _turn = self.writing.lock().await;
        for _ in 0..TRIES {
            let (record, version) = {
                let inner = self.lock();
                let record = inner.breaker.record();
                if record.generation == 0 || inner.noted.as_ref() == Some(record) {
                    return;
                }
                (record.clone(), inner.version)
            };
            match core.broker.write_note(&self.name, version, &record.to_text()).await {
                Ok(Noted::Written(version)) => {
                    let mut inner = self.lock();
                    (inner.version, inner.noted) = (Some(version), Some(record));
                }
                Ok(Noted::Differs(found)) => self.hear(found.as_ref()),
                Err(error) => {
                    tracing::debug!("The note of breaker {} is not written: {error}", self.name);
                    return;
                }
            }
        }
    }

    /// The leaves of those permits that are held now.
    fn permitted(self: &Arc<Self>, record: &Record, ids: &[u64]) -> Leaves {
        let pass = |id: &u64| Pass { generation: record.generation, permit: Some(*id) };
        let mut inner = self.lock();
        let held: Vec<Pass> = ids.iter().map(pass).filter(|pass| inner.breaker.is_current(*pass)).collect();
        inner.in_flight += u32::try_from(held.len()).unwrap_or(u32::MAX);
        held.into_iter().map(|pass| self.leave(pass)).collect()
    }

    /// Whether it lets more through than the pools know of.
    fn has_news(&self, nodes: usize) -> bool {
        let mut inner = self.lock();
        let standing = self.standing(&inner, nodes);
        let is_resting = matches!(standing, Standing::Probe(_)) && self.shared.now() < inner.rests_until;
        let told = if is_resting { Standing::Held } else { standing };
        inner.told.replace(told) != Some(told) && told != Standing::Held
    }
}
