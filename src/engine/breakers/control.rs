//! What operators see of the breakers, and do with them.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::job::TypeName;
use crate::ledger::Setting;
use crate::policy::breaker::{Breaker, NEVER, Record, Standing};

use super::super::core::Core;
use super::super::views::BreakerView;
use super::super::{Refusal, Result, queries, settings};
use super::Entry;

/// The kind of a breaker's setting: its value is the record that was decided on.
pub(super) const KIND: &str = "breaker";
/// How long a reset is shown to nodes that cannot hear of it through the broker, in milliseconds.
const RESET_SHOWN_MS: i64 = 3_600_000;
/// How often an order is given anew when the breaker changed under it.
const TRIES: usize = 3;

/// All breakers, in the order of their names.
pub(in crate::engine) async fn list(core: &Core) -> Vec<BreakerView> {
    let table = core.breakers.table.load_full();
    let ready = ready(core, table.by_name.values().any(|entry| entry.lock().breaker.record().state.holds())).await;
    table.by_name.values().map(|entry| view(core, entry, ready.as_ref())).collect()
}

/// The MCP servers whose breakers are open or wait for a probe.
pub(in crate::engine) fn mcp_servers_away(core: &Core) -> Vec<String> {
    open(core).iter().filter_map(|name| Some(name.strip_prefix("mcp:")?.to_owned())).collect()
}

/// The breakers that are open or wait for a probe.
pub(in crate::engine) fn open(core: &Core) -> Vec<String> {
    let table = core.breakers.table.load();
    let open = table.by_name.iter().filter(|(_, entry)| entry.lock().breaker.record().state.holds());
    open.map(|(name, _)| name.clone()).collect()
}

/// One breaker.
pub(in crate::engine) async fn show(core: &Core, name: &str) -> Result<BreakerView> {
    let entry = find(core, name)?;
    let holds = entry.lock().breaker.record().state.holds();
    let ready = ready(core, holds).await;
    Ok(view(core, &entry, ready.as_ref()))
}

/// Opens a breaker on all nodes, whatever it sees: until it is reset, or for a time.
pub(in crate::engine) async fn trip(
    core: &Core,
    name: &str,
    by: &str,
    reason: &str,
    for_ms: Option<i64>,
) -> Result<BreakerView> {
    let why = words("tripped by", by, reason);
    order(core, name, by, for_ms, |breaker, now| {
        breaker.trip(now, for_ms.map_or(NEVER, |ms| now.plus_ms(ms)), why.clone());
    })
    .await
}

/// Closes a breaker on all nodes and forgets what it counted.
pub(in crate::engine) async fn reset(core: &Core, name: &str, by: &str, reason: &str) -> Result<BreakerView> {
    let why = words("reset by", by, reason);
    order(core, name, by, Some(RESET_SHOWN_MS), |breaker, now| drop(breaker.reset(now, why.clone()))).await
}

fn words(what: &str, by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("{what} {by}") } else { format!("{what} {by}: {reason}") }
}

/// Decides, makes it durable, and only then acts on it. What happened meanwhile is decided on again.
async fn order(
    core: &Core,
    name: &str,
    by: &str,
    lapses_ms: Option<i64>,
    decide: impl Fn(&mut Breaker, Timestamp),
) -> Result<BreakerView> {
    let entry = find(core, name)?;
    for _ in 0..TRIES {
        let mut decided = entry.lock().breaker.clone();
        decide(&mut decided, entry.shared.now());
        let record = decided.record();
        let since = core.clock.now();
        let setting = Setting {
            kind: KIND.to_owned(),
            name: name.to_owned(),
            value: record.to_text(),
            by: by.to_owned(),
            since,
            until: lapses_ms.map(|ms| since.plus_ms(ms)),
        };
        settings::set(core, &setting).await?;
        entry.merge(record);
        if entry.lock().breaker.record() == record {
            break;
        }
    }
    core.breakers.shared.due.notify_one();
    show(core, name).await
}

fn find(core: &Core, name: &str) -> Result<std::sync::Arc<Entry>> {
    let table = core.breakers.table.load();
    table.by_name.get(name).cloned().ok_or_else(|| Refusal::NotFound {
        what: "breaker",
        name: name.to_owned(),
        known: Some(table.by_name.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
    })
}

/// Jobs that are due and wait, by lane; `None` when nobody asks or the broker does not say.
async fn ready(core: &Core, is_asked: bool) -> Option<HashMap<TypeName, u64>> {
    let mut ready = HashMap::new();
    if is_asked {
        for queue in core.queues() {
            ready.extend(queries::depth(core, &queue).await?.lanes);
        }
    }
    Some(ready)
}

fn view(core: &Core, entry: &Entry, ready: Option<&HashMap<TypeName, u64>>) -> BreakerView {
    let table = core.breakers.table.load();
    let is_gated = |gates: &[std::sync::Arc<Entry>]| gates.iter().any(|gate| gate.name == entry.name);
    let gated = table.by_type.iter().filter(|(_, gates)| is_gated(gates));
    let mut types: Vec<TypeName> = gated.map(|(name, _)| name.clone()).collect();
    types.sort_unstable();
    let inner = entry.lock();
    let record: Record = inner.breaker.record().clone();
    let waiting = ready.map(|ready| types.iter().filter_map(|lane| ready.get(lane)).sum());
    let at_once = match entry.standing(&inner, core.membership.living().len()) {
        Standing::Capped(cap) => Some(cap),
        Standing::Free | Standing::Probe(_) | Standing::Held => None,
    };
    BreakerView {
        name: entry.name.clone(),
        held_jobs: if record.state.holds() || at_once.is_some() { waiting } else { Some(0) },
        at_once,
        failures: inner.breaker.failures(),
        in_flight: inner.in_flight,
        next_change: inner.breaker.next_change(&entry.shared.rules.load(), entry.shared.now()),
        types,
        record,
    }
}
