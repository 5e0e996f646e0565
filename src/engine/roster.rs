//! What the pools of this node are told, and what they show: the one place where those who decide about
//! workers and those who have them meet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::job::PoolName;
use crate::policy::catalog;
use crate::service::lock;

/// One entry for each pool.
#[derive(Debug, Default)]
pub(super) struct Roster {
    pools: Mutex<BTreeMap<PoolName, Desk>>,
}

#[derive(Debug, Default)]
struct Desk {
    /// How many workers it should have; `None` until somebody has decided.
    wanted: Option<usize>,
    told: Arc<Notify>,
}

impl Roster {
    /// How many workers a pool should have now, within what is configured.
    pub(super) fn wanted(&self, pool: &catalog::Pool) -> usize {
        let wanted = lock(&self.pools).get(&pool.name).and_then(|desk| desk.wanted);
        wanted.unwrap_or(pool.min).clamp(pool.min, pool.max.max(pool.min))
    }

    /// Fires when a pool was told something.
    pub(super) fn told(&self, pool: &PoolName) -> Arc<Notify> {
        lock(&self.pools).entry(pool.clone()).or_default().told.clone()
    }

    /// Tells a pool how many workers it should have.
    pub(super) fn want(&self, pool: &PoolName, wanted: usize) {
        let mut pools = lock(&self.pools);
        let desk = pools.entry(pool.clone()).or_default();
        if desk.wanted.replace(wanted) != Some(wanted) {
            desk.told.notify_one();
        }
    }
}
