//! Pools: more workers for a while, and other workers for those that are unhealthy.

use std::collections::BTreeSet;

use crate::job::PoolName;
use crate::policy::scaling::bounds;

use super::super::super::core::Core;
use super::super::super::scaling::{self, PoolView};
use super::super::super::shedding;
use super::super::{calls, verify};
use super::{Author, Done, Goal};

/// The pools that are meant, as they are on all nodes.
fn meant(core: &Core, names: &[PoolName]) -> Vec<PoolView> {
    scaling::everywhere(core).into_iter().filter(|view| names.contains(&view.pool.name)).collect()
}

/// What each node has to have, so that a pool of these sizes has `add` workers more over all nodes; at most `max`.
fn floor(sizes: &[usize], add: usize, max: usize) -> usize {
    (sizes.iter().sum::<usize>() + add).div_ceil(sizes.len().max(1)).min(max)
}

/// Whether all of them are at their most.
pub(super) fn at_most(core: &Core, names: &[PoolName]) -> Option<String> {
    let pools = meant(core, names);
    let is_full = |view: &PoolView| view.nodes.iter().all(|node| node.desired >= view.bounds.max);
    if !pools.iter().all(is_full) {
        return None;
    }
    let told: Vec<String> =
        pools.iter().map(|view| format!("pool {} is at its most, {}", view.pool.name, view.bounds.max)).collect();
    Some(told.join(", "))
}

/// Whether jobs wait in their queues, but none of them for a worker.
pub(super) async fn all_is_held(core: &Core, names: &[PoolName]) -> Option<String> {
    let catalog = core.catalog();
    let queues: BTreeSet<_> = names.iter().filter_map(|name| catalog.pools.get(name)).map(|pool| &pool.queue).collect();
    let mut told = Vec::new();
    for queue in queues {
        match shedding::waiting(core, queue).await? {
            waiting if waiting.for_workers > 0 => return None,
            waiting if waiting.held > 0 => {
                told.push(format!(
                    "all {} jobs that wait in queue {queue} are held by a pause or a breaker",
                    waiting.held
                ));
            }
            _none_waits => {}
        }
    }
    (!told.is_empty()).then(|| format!("{}: more workers cannot help", told.join(", ")))
}

/// Raises the floor of each: the same clamps as for everybody hold.
pub(super) async fn scale(
    core: &Core,
    names: &[PoolName],
    add: usize,
    ttl_ms: i64,
    author: &Author,
) -> Result<Done, String> {
    let mut floors = Vec::new();
    for view in meant(core, names) {
        let sizes: Vec<usize> = view.nodes.iter().map(|node| node.desired).collect();
        let workers = floor(&sizes, add, view.bounds.max);
        let raised = scaling::raise(core, &view.pool, workers, ttl_ms, &author.by, &author.reason).await;
        raised.map_err(|refusal| refusal.to_string())?;
        floors.push((view.pool.name, workers));
    }
    let told: Vec<String> =
        floors.iter().map(|(name, workers)| format!("pool {name} has {workers} workers a node at least")).collect();
    let words = format!("{} for {} s", told.join(", "), ttl_ms / 1_000);
    // What holds now is what is waited for; a floor that an operator has set higher is met on the way.
    let now = core.clock.now();
    let catalog = core.catalog();
    let bounded = floors.into_iter().filter_map(|(name, workers)| {
        let pool = catalog.pools.get(&name)?;
        let max = bounds(pool, &scaling::in_force(core, &name, now), now).max;
        Some((name, workers.min(max)))
    });
    Ok(Done::of(words, Goal::Floors(bounded.collect())))
}

/// Whether there is nobody to be replaced.
pub(super) fn nobody_to_replace(core: &Core, names: &[PoolName]) -> Option<String> {
    let sick = verify::sick(core, names);
    if sick.is_empty() {
        return Some("no worker is unhealthy".to_owned());
    }
    // A pool that panics has another trouble than its workers: only those that hang are replaced.
    let rules = &core.setup.load().health;
    let all = crate::engine::workers::everywhere(core);
    let is_kept = |worker: &crate::engine::WorkerView| {
        let is_beside = |other: &&crate::engine::WorkerView| other.node == worker.node && other.pool == worker.pool;
        let members = all.iter().filter(is_beside).filter(|it| it.replaced_by.is_none()).count();
        let ill = sick.iter().filter(is_beside).count();
        worker.state != crate::engine::WorkerState::Hung && crate::policy::health::panics(members, ill, rules)
    };
    sick.iter()
        .all(is_kept)
        .then(|| format!("{} workers are unhealthy, so many that the cause is shared; nobody is replaced", sick.len()))
}

/// Has the crews on all nodes replace those that they find to be unhealthy.
pub(super) async fn replace(core: &Core, names: &[PoolName]) -> Result<Done, String> {
    let sick: Vec<String> = verify::sick(core, names).iter().map(crate::engine::WorkerView::full_name).collect();
    for name in names {
        calls::everywhere(core, &calls::Order::ReplaceUnhealthy(name.clone())).await?;
    }
    let who = if sick.is_empty() { "nobody any more".to_owned() } else { sick.join(", ") };
    Ok(Done::of(format!("replaced were to be {who}"), Goal::Nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_grows_by_so_many_over_all_its_nodes_and_not_on_each() {
        for (sizes, add, max, expected) in
            [(&[5][..], 5, 20, 10), (&[5, 5], 5, 20, 8), (&[20, 2], 5, 20, 14), (&[18], 5, 20, 20), (&[], 5, 20, 5)]
        {
            let each = floor(sizes, add, max);
            assert_eq!(each, expected, "{sizes:?}");
            let total: usize = sizes.iter().map(|size| each.max(*size)).sum();
            let least = (sizes.iter().sum::<usize>() + add).min(max * sizes.len());
            assert!(total >= least, "{sizes:?}: {total}");
        }
    }
}
