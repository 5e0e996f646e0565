//! What operators set about a pool at run time: bounds and floors, for all nodes and across restarts.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::core::Core;
use crate::engine::{Refusal, settings};
use crate::job::PoolName;
use crate::ledger::Setting;
use crate::mutant::mutant;
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

/// What operators have set of a pool, as its setting has it. Each figure has its own author and end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Instead of the configured `min`.
    pub min: Option<Figure>,
    /// Instead of the configured `max`.
    pub max: Option<Figure>,
    /// A size to grow to at once.
    pub floor: Option<Figure>,
    /// The same, set by a remedy. The larger of the two holds; neither takes the other's place.
    pub remedy: Option<Figure>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// How many workers.
    pub workers: usize,
    /// Until when, in milliseconds since the Unix epoch; `None`: until it is lifted.
    pub until_ms: Option<i64>,
    /// Who set it.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

impl Figures {
    /// What the policy makes of them.
    pub(super) fn orders(&self) -> Override {
        let order = |figure: &Option<Figure>| {
            let figure = figure.as_ref()?;
            Some(Order { workers: figure.workers, until: figure.until_ms.map(Timestamp) })
        };
        let floors = [order(&self.floor).filter(|_| !mutant!(remedy_takes_the_operators_floor)), order(&self.remedy)];
        let floor = floors.into_iter().flatten().max_by_key(|floor| floor.workers);
        Override { min: order(&self.min), max: order(&self.max), floor }
    }
}

/// What is set of a pool and holds at `now`, and the setting that says so.
pub(super) fn of(core: &Core, pool: &PoolName, now: Timestamp) -> (Figures, Option<Setting>) {
    let setting = core.settings.get(OVERRIDE, pool.as_str(), now);
    let figures = setting.as_ref().and_then(|setting| serde_json::from_str::<Figures>(&setting.value).ok());
    let mut figures = figures.unwrap_or_default();
    for figure in [&mut figures.min, &mut figures.max, &mut figures.floor, &mut figures.remedy] {
        figure.take_if(|figure| figure.until_ms.is_some_and(|until| until <= now.millis()));
    }
    (figures, setting)
}

/// The override of a pool.
pub(in crate::engine) fn in_force(core: &Core, pool: &PoolName, now: Timestamp) -> Override {
    of(core, pool, now).0.orders()
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
pub(in crate::engine) async fn scale(
    core: &Core,
    name: &str,
    change: Scale,
    by: &str,
    reason: &str,
) -> Result<(), Refusal> {
    let pool = known(core, name)?;
    let now = core.clock.now();
    let (old, _) = of(core, &pool.name, now);
    let until_ms = change.ttl_ms.map(|ms| now.plus_ms(ms).millis());
    let set = |workers| Figure { workers, until_ms, by: by.to_owned(), reason: reason.to_owned() };
    let merged = |old: Option<Figure>, said: Option<Option<usize>>| match said {
        None => old,
        Some(workers) => workers.map(set),
    };
    let figures = Figures {
        min: merged(old.min, change.min),
        max: merged(old.max, change.max),
        floor: merged(old.floor, change.floor),
        remedy: old.remedy,
    };
    keep(core, &pool, &figures, by, reason).await
}

/// Has a pool be of a size at least, for a while, beside what operators have set: a remedy's word.
pub(in crate::engine) async fn raise(
    core: &Core,
    pool: &Pool,
    workers: usize,
    ttl_ms: i64,
    by: &str,
    reason: &str,
) -> Result<(), Refusal> {
    let now = core.clock.now();
    let until_ms = Some(now.plus_ms(ttl_ms).millis());
    let remedy = Figure { workers, until_ms, by: by.to_owned(), reason: reason.to_owned() };
    let figures = Figures { remedy: Some(remedy), ..of(core, &pool.name, now).0 };
    keep(core, pool, &figures, by, reason).await
}

/// Makes figures durable, if they make sense together.
async fn keep(core: &Core, pool: &Pool, figures: &Figures, by: &str, reason: &str) -> Result<(), Refusal> {
    let now = core.clock.now();
    let overrides = figures.orders();
    overrides.check(pool, WORKERS_MAX, now).map_err(|error| {
        let (field, value, expected) = (error.field, error.value, &error.expected);
        Refusal::BadField { field, reason: format!("is {value}; {expected}") }
    })?;
    let all = [&figures.min, &figures.max, &figures.floor, &figures.remedy];
    if all.iter().all(|figure| figure.is_none()) {
        return drop_all(core, pool).await;
    }
    // The setting lapses with the last of its figures, if each of them does.
    let until = |figure: &Figure| figure.until_ms.map(Timestamp);
    let ends: Option<Vec<Timestamp>> = all.into_iter().flatten().map(until).collect();
    let setting = Setting {
        kind: OVERRIDE.to_owned(),
        name: pool.name.to_string(),
        value: serde_json::to_string(figures).unwrap_or_default(),
        by: by.to_owned(),
        since: now,
        until: ends.and_then(|ends| ends.into_iter().max()),
    };
    settings::set(core, &setting).await?;
    tracing::info!(pool.name = %pool.name, bounds = %setting.value, by, reason,
        "Pool {} has other bounds, says {by}", pool.name);
    core.scaler.nudge();
    Ok(())
}

/// Lifts everything that was set of a pool.
pub(in crate::engine) async fn lift(core: &Core, name: &str, by: &str, reason: &str) -> Result<(), Refusal> {
    let pool = known(core, name)?;
    drop_all(core, &pool).await?;
    tracing::info!(pool.name = %pool.name, by, reason,
        "Pool {} has its configured bounds again, says {by}", pool.name);
    Ok(())
}

async fn drop_all(core: &Core, pool: &Pool) -> Result<(), Refusal> {
    settings::drop_one(core, OVERRIDE, pool.name.as_str(), core.clock.now()).await?;
    core.scaler.nudge();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(workers: usize) -> Figure {
        Figure { workers, until_ms: Some(1_000), by: String::new(), reason: String::new() }
    }

    #[test]
    fn a_remedys_floor_stands_beside_the_operators() {
        let floor = |floor, remedy| Figures { floor, remedy, ..Figures::default() }.orders().floor.map(|it| it.workers);
        assert_eq!(floor(None, None), None);
        assert_eq!(floor(Some(figure(8)), Some(figure(5))), Some(8));
        assert_eq!(floor(Some(figure(8)), Some(figure(13))), Some(13));
        assert_eq!(floor(Some(figure(8)), None), Some(8));
        assert_eq!(floor(None, Some(figure(5))), Some(5));
    }

    #[test]
    fn what_an_older_version_wrote_is_read() {
        let old = r#"{"min":null,"max":{"workers":8,"until_ms":null,"by":"ada","reason":""},"floor":null}"#;
        let figures: Figures = serde_json::from_str(old).unwrap();
        assert_eq!((figures.max.unwrap().workers, figures.remedy), (8, None));
    }
}
