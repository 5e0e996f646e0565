//! What operators set about a pool at run time: bounds and floors, for all nodes and across restarts.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::core::Core;
use crate::engine::{Refusal, settings};
use crate::job::PoolName;
use crate::ledger::Setting;
use crate::policy::catalog::Pool;
use crate::policy::scaling::{Order, Override};

/// The kind of setting that an override is.
pub(super) const OVERRIDE: &str = "pool";
/// More workers than this in one pool of one node are a slip of the pen; the configuration has the same bound.
const WORKERS_MAX: usize = 10_000;

/// A change of a pool's bounds: `None` leaves a figure as it is, `Some(None)` lifts what was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scale {
    /// Instead of the configured `min`.
    pub min: Option<Option<usize>>,
    /// Instead of the configured `max`.
    pub max: Option<Option<usize>>,
    /// A size to grow to at once.
    pub floor: Option<Option<usize>>,
    /// How long what is set now holds, in milliseconds; `None`: until it is lifted.
    pub ttl_ms: Option<i64>,
}

/// An override as its setting has it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Letter {
    min: Option<Figure>,
    max: Option<Figure>,
    floor: Option<Figure>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Figure {
    workers: usize,
    until_ms: Option<i64>,
}

impl Figure {
    fn order(self) -> Order {
        Order { workers: self.workers, until: self.until_ms.map(Timestamp) }
    }

    fn of(order: Order) -> Self {
        Self { workers: order.workers, until_ms: order.until.map(Timestamp::millis) }
    }
}

/// The override of a pool, and who set it last.
pub(super) fn of(core: &Core, pool: &PoolName, now: Timestamp) -> (Override, Option<Setting>) {
    let setting = core.settings.get(OVERRIDE, pool.as_str(), now);
    let letter = setting.as_ref().and_then(|setting| serde_json::from_str::<Letter>(&setting.value).ok());
    let letter = letter.unwrap_or_default();
    let order =
        |figure: Option<Figure>| figure.map(Figure::order).filter(|it| it.until.is_none_or(|until| now < until));
    let overrides = Override { min: order(letter.min), max: order(letter.max), floor: order(letter.floor) };
    (overrides, setting)
}

/// The override of a pool.
pub(super) fn in_force(core: &Core, pool: &PoolName, now: Timestamp) -> Override {
    of(core, pool, now).0
}

fn known(core: &Core, name: &str) -> Result<Pool, Refusal> {
    let catalog = core.catalog();
    let pool = catalog.pools.values().find(|pool| pool.name.as_str() == name);
    pool.cloned().ok_or_else(|| {
        let known = catalog.pools.keys().map(PoolName::as_str).collect::<Vec<_>>().join(", ");
        Refusal::NotFound { what: "pool", name: name.to_owned(), known: Some(known) }
    })
}

/// Changes the bounds of a pool: durable before it returns, in force here at once and on other nodes soon.
pub(in crate::engine) async fn scale(core: &Core, name: &str, change: Scale, by: &str) -> Result<(), Refusal> {
    let pool = known(core, name)?;
    let now = core.clock.now();
    let (old, _) = of(core, &pool.name, now);
    let until = change.ttl_ms.map(|ms| now.plus_ms(ms));
    let merged = |old: Option<Order>, said: Option<Option<usize>>| match said {
        None => old,
        Some(workers) => workers.map(|workers| Order { workers, until }),
    };
    let overrides = Override {
        min: merged(old.min, change.min),
        max: merged(old.max, change.max),
        floor: merged(old.floor, change.floor),
    };
    overrides.check(&pool, WORKERS_MAX, now).map_err(|error| {
        let (field, value, expected) = (error.field, error.value, &error.expected);
        Refusal::BadField { field, reason: format!("is {value}; {expected}") }
    })?;
    let orders = [overrides.min, overrides.max, overrides.floor];
    if orders.iter().all(Option::is_none) {
        return drop_all(core, &pool).await;
    }
    let letter = Letter {
        min: overrides.min.map(Figure::of),
        max: overrides.max.map(Figure::of),
        floor: overrides.floor.map(Figure::of),
    };
    // The setting lapses with the last of its figures, if each of them does.
    let ends: Option<Vec<Timestamp>> = orders.iter().flatten().map(|order| order.until).collect();
    let setting = Setting {
        kind: OVERRIDE.to_owned(),
        name: pool.name.to_string(),
        value: serde_json::to_string(&letter).unwrap_or_default(),
        by: by.to_owned(),
        since: now,
        until: ends.and_then(|ends| ends.into_iter().max()),
    };
    settings::set(core, &setting).await?;
    tracing::info!(pool.name = %pool.name, bounds = %setting.value, by, "Pool {} has other bounds, says {by}", pool.name);
    core.scaler.nudge();
    Ok(())
}

/// Lifts everything that was set of a pool.
pub(in crate::engine) async fn lift(core: &Core, name: &str, by: &str) -> Result<(), Refusal> {
    let pool = known(core, name)?;
    drop_all(core, &pool).await?;
    tracing::info!(pool.name = %pool.name, by, "Pool {} has its configured bounds again, says {by}", pool.name);
    Ok(())
}

async fn drop_all(core: &Core, pool: &Pool) -> Result<(), Refusal> {
    settings::drop_one(core, OVERRIDE, pool.name.as_str(), core.clock.now()).await?;
    core.scaler.nudge();
    Ok(())
}
