//! The figures before and after: what a person would have looked at.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::job::{PoolName, QueueName};
use crate::policy::remediation::{Lane, Target};

use super::super::core::Core;
use super::super::{queries, scaling, settings, shedding};
use super::verify;

/// How long looking may take: what does not answer by then is null, which says enough.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The figures of a target; `None` where this daemon has none.
pub(super) async fn of(core: &Core, target: &Target) -> Option<Value> {
    let look = async {
        Some(match target {
            Target::Pools(names) => pools(core, names).await,
            Target::Ledger => ledger(core).await,
            Target::JobType(name) => {
                let queue = core.catalog().types.get(name).map(|known| known.queue.clone())?;
                json!({ "queue": self::queue(core, &queue).await })
            }
            Target::Server(name) => {
                let outside = core.setup.load().outside.clone();
                json!({ "server": name, "answers": outside.server_answers(name).await })
            }
            Target::Override(name) => json!({ "override": name, "value": overridden(core, name) }),
            Target::Shedding => levels(core),
            Target::Lane(lane) => self::lane(core, lane).await,
            Target::Outside(_) => return None,
        })
    };
    timeout(LOOK_MAX, look).await.unwrap_or(Some(Value::Null))
}

async fn pools(core: &Core, names: &[PoolName]) -> Value {
    let mut told = Vec::new();
    for view in scaling::everywhere(core).into_iter().filter(|view| names.contains(&view.pool.name)) {
        let nodes: Vec<Value> = view
            .nodes
            .iter()
            .map(|it| json!({ "node": it.node, "desired": it.desired, "idle": it.idle, "busy": it.busy }))
            .collect();
        told.push(json!({
            "pool": view.pool.name.as_str(),
            "min": view.bounds.min,
            "max": view.bounds.max,
            "floor": view.bounds.floor.map(|_| view.bounds.low),
            "nodes": nodes,
            "unhealthy": verify::sick(core, std::slice::from_ref(&view.pool.name)).len(),
            "queue": queue(core, &view.pool.queue).await,
        }));
    }
    json!({ "pools": told })
}

async fn queue(core: &Core, name: &QueueName) -> Value {
    let waiting = shedding::waiting(core, name).await;
    let running = queries::depth(core, name).await.map(|depth| depth.leased);
    json!({
        "name": name.as_str(),
        "waiting": waiting.map(|waiting| waiting.for_workers),
        "held": waiting.map(|waiting| waiting.held),
        "running": running,
    })
}

async fn ledger(core: &Core) -> Value {
    let asked = Instant::now();
    let answers = core.ledger.ping().await.is_ok();
    let ping_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
    let pool = core.ledger.connections();
    let pool = pool.map(|it| json!({ "busy": it.busy, "idle": it.idle, "most": it.most, "waiting": it.waiting }));
    json!({ "answers": answers, "ping_ms": ping_ms, "connections": pool })
}

/// What handlers are told of something now.
fn overridden(core: &Core, name: &str) -> Option<Value> {
    let setting = core.settings.get(settings::OVERRIDE, name, core.clock.now())?;
    serde_json::from_str(&setting.value).ok()
}

fn levels(core: &Core) -> Value {
    let standing = core.shedding.standing();
    let levels: serde_json::Map<String, Value> =
        core.queues().iter().map(|queue| (queue.to_string(), standing.level(queue).into())).collect();
    json!({ "mode": standing.mode.to_string(), "floor": standing.floor, "levels": levels })
}

async fn lane(core: &Core, lane: &Lane) -> Value {
    let scope = verify::scope(lane);
    let known = core.ledger.pauses().await.ok();
    let paused = known.map(|known| known.iter().any(|pause| pause.scope == scope));
    let queue = match lane {
        Lane::Queue(name) => Some(name.clone()),
        Lane::Type(name) => core.catalog().types.get(name).map(|known| known.queue.clone()),
    };
    let depth = match queue {
        Some(name) => self::queue(core, &name).await,
        None => Value::Null,
    };
    json!({ "lane": lane.to_string(), "paused": paused, "queue": depth })
}
