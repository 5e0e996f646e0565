//! What the pools of this node are told, and what they show: the one place where those who decide about
//! workers and those who have them meet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::job::{PoolName, QueueName};
use crate::policy::catalog::{self, Catalog};
use crate::policy::why::Crew;
use crate::service::{lock, watch};

use super::post::{Look, Post};
use super::workers::Order;

/// Orders that may wait for one pool; a crew takes them within moments.
const ORDERS_MAX: usize = 1_000;

/// One entry for each pool.
#[derive(Debug)]
pub(super) struct Roster {
    pools: Mutex<BTreeMap<PoolName, Desk>>,
    /// Counts comings and goings.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Desk {
    /// How many workers it should have; `None` until somebody has decided.
    wanted: Option<usize>,
    told: Arc<Notify>,
    posts: Vec<Arc<Post>>,
    orders: Vec<Order>,
    /// Whether its workers are to be examined at once.
    is_to_care: bool,
}

impl Default for Roster {
    fn default() -> Self {
        Self { pools: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Roster {
    /// How many workers a pool should have now: as it was told, or the fewest that are configured.
    pub(super) fn wanted(&self, pool: &catalog::Pool) -> usize {
        // Bounds that were set at run time may lie outside of the configured ones; whoever tells a size has minded both.
        self.told_size(&pool.name).unwrap_or(pool.min)
    }

    /// How many workers a pool was told to have, if it was told.
    pub(super) fn told_size(&self, pool: &PoolName) -> Option<usize> {
        lock(&self.pools).get(pool).and_then(|desk| desk.wanted)
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

    /// Tells a pool what to do with one of its workers. False when too much waits already.
    pub(super) fn order(&self, pool: &PoolName, order: Order) -> bool {
        let mut pools = lock(&self.pools);
        let desk = pools.entry(pool.clone()).or_default();
        let fits = desk.orders.len() < ORDERS_MAX;
        if fits {
            desk.orders.push(order);
            desk.told.notify_one();
        }
        fits
    }

    /// What a pool was told and has not taken yet.
    pub(super) fn take_orders(&self, pool: &PoolName) -> Vec<Order> {
        lock(&self.pools).get_mut(pool).map(|desk| std::mem::take(&mut desk.orders)).unwrap_or_default()
    }

    /// Has a crew examine its workers at once, and replace all that are found to be sick.
    pub(super) fn care_for(&self, pool: &PoolName) {
        let mut pools = lock(&self.pools);
        let desk = pools.entry(pool.clone()).or_default();
        desk.is_to_care = true;
        desk.told.notify_one();
    }

    /// Whether a crew was told so, and has not done it yet.
    pub(super) fn take_care_order(&self, pool: &PoolName) -> bool {
        lock(&self.pools).get_mut(pool).is_some_and(|desk| std::mem::take(&mut desk.is_to_care))
    }

    /// A pool begins with nobody; those of a former crew are gone with it.
    pub(super) fn open(&self, pool: &PoolName) {
        lock(&self.pools).entry(pool.clone()).or_default().posts.clear();
        self.changed();
    }

    /// Notes a worker.
    pub(super) fn add(&self, post: &Arc<Post>) {
        lock(&self.pools).entry(post.pool.clone()).or_default().posts.push(post.clone());
        self.changed();
    }

    /// Forgets a worker.
    pub(super) fn remove(&self, post: &Arc<Post>) {
        if let Some(desk) = lock(&self.pools).get_mut(&post.pool) {
            desk.posts.retain(|other| !Arc::ptr_eq(other, post));
        }
        self.changed();
    }

    /// Every worker of this node, by pool.
    pub(super) fn posts(&self) -> Vec<Arc<Post>> {
        lock(&self.pools).values().flat_map(|desk| desk.posts.iter().cloned()).collect()
    }

    /// Those who serve a queue, by what they do.
    pub(super) fn crew(&self, catalog: &Catalog, queue: &QueueName) -> Crew {
        let pools = lock(&self.pools);
        let serves = |name: &PoolName| catalog.pools.get(name).is_some_and(|pool| pool.queue == *queue);
        let mut crew = Crew::default();
        for post in pools.iter().filter(|(name, _)| serves(name)).flat_map(|(_, desk)| &desk.posts) {
            match post.look() {
                Look { leaving: Some(_), .. } => crew.leaving += 1,
                Look { run: Some(_), .. } => crew.busy += 1,
                _ => crew.idle += 1,
            }
        }
        crew
    }

    /// Tells those who wait for somebody to come or go.
    pub(super) fn changed(&self) {
        self.changes.send_if_modified(|count| {
            *count += 1;
            true
        });
    }

    /// Fires when somebody came, left, or is about to.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
