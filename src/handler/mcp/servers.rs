//! All MCP servers of a configuration: kept over reloads as long as they do not change, looked after, left in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::params::ServerParams;
use super::pool::Pool;
use super::session::Means;
use crate::chance::Chance;
use crate::handler::Reach;
use crate::service::lock;
use crate::telemetry::metrics;

/// Checks in a row that a server must fail to count as away: one slow answer on a busy machine is no outage.
const FAILURES_TO_BE_AWAY: u32 = 2;

/// The servers.
#[derive(Debug)]
pub struct Servers {
    means: Arc<Means>,
    reach: Reach,
    present: Mutex<Planned>,
}

impl Servers {
    /// No servers yet.
    #[must_use]
    pub fn new(means: Means, reach: Reach) -> Self {
        Self { means: Arc::new(means), reach, present: Mutex::default() }
    }

    /// Which servers do not answer.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// What a configuration asks for, each server to be checked once in a `period`. A server that did not change
    /// keeps its sessions. Nothing changes until the plan is carried out by [`Servers::adopt`].
    #[must_use]
    pub fn plan(&self, wanted: Vec<ServerParams>, period: Duration) -> Planned {
        let known = lock(&self.present);
        let pool = |params: ServerParams| {
            let same = known.pools.get(&params.name).filter(|pool| *pool.params == params).cloned();
            let pool = same.unwrap_or_else(|| Arc::new(Pool::new(Arc::new(params), self.means.clone())));
            (pool.params.name.clone(), pool)
        };
        Planned { pools: wanted.into_iter().map(pool).collect(), period }
    }

    /// Makes a plan the present. Servers that are no longer there, or changed, end with the calls that they have.
    pub fn adopt(&self, planned: &Planned) {
        let before = std::mem::replace(&mut *lock(&self.present), planned.clone());
        for (name, pool) in before.pools {
            if planned.pools.get(&name).is_none_or(|now| !Arc::ptr_eq(now, &pool)) {
                pool.close();
                self.reach.note(&name, true);
            }
        }
    }

    /// Looks after all servers until `stop`. One that takes long holds up no other.
    pub async fn run(&self, chance: &Chance, stop: CancellationToken) {
        let mut failures: BTreeMap<String, u32> = BTreeMap::new();
        let (mut checks, mut asked) = (FuturesUnordered::new(), BTreeSet::new());
        loop {
            // Read anew each time: a reload may change it.
            let period = lock(&self.present).period.mul_f64(chance.between(0.8, 1.2));
            let mut pause = std::pin::pin!(tokio::time::sleep(period));
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = pause.as_mut() => break,
                    Some(checked) = checks.next() => {
                        let (name, answers): (String, Option<bool>) = checked;
                        asked.remove(&name);
                        self.note(&mut failures, &name, answers);
                    }
                }
            }
            let pools = lock(&self.present).pools.clone();
            failures.retain(|name, _| pools.contains_key(name));
            for (name, pool) in pools {
                if asked.insert(name.clone()) {
                    checks.push(async move { (name, pool.check().await) });
                }
            }
        }
    }

    /// Notes what a check found, unless the server is no longer there.
    fn note(&self, failures: &mut BTreeMap<String, u32>, name: &str, answers: Option<bool>) {
        let (Some(answers), true) = (answers, lock(&self.present).pools.contains_key(name)) else { return };
        metrics::mcp_server_checked(name, answers);
        let failed = failures.entry(name.to_owned()).or_default();
        *failed = if answers { 0 } else { failed.saturating_add(1) };
        self.reach.note(name, *failed < FAILURES_TO_BE_AWAY);
    }

    /// The names of all servers.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.present).pools.keys().cloned().collect()
    }

    /// Ends all sessions with a server and its children here, so that new ones begin. `None`: there is no such server.
    pub fn restart(&self, name: &str) -> Option<usize> {
        let pool = lock(&self.present).get(name)?;
        Some(pool.restart())
    }

    /// Asks a server whether it answers; `None` while that cannot be said, or there is no such server.
    pub async fn answers(&self, name: &str) -> Option<bool> {
        let pool = lock(&self.present).get(name)?;
        let answers = pool.check().await?;
        metrics::mcp_server_checked(name, answers);
        if answers {
            self.reach.note(name, true);
        }
        Some(answers)
    }

    /// Ends all sessions and waits until the children are gone, at most `patience`. True if all were.
    pub async fn shut_down(&self, patience: Duration) -> bool {
        self.adopt(&Planned::default());
        self.means.tasks.close();
        tokio::time::timeout(patience, self.means.tasks.wait()).await.is_ok()
    }
}

/// Servers that a configuration asks for.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    pools: BTreeMap<String, Arc<Pool>>,
    period: Duration,
}

impl Planned {
    pub(super) fn get(&self, server: &str) -> Option<Arc<Pool>> {
        self.pools.get(server).cloned()
    }
}
