//! Who the masters are, by those who ought to know.
//!
//! All are asked at once and the first sound answer counts, so that a look takes no longer than one that is
//! down would make it wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::{ConnectionInfo, Value};

use super::address::{Address, Footing};
use super::layout::{Found, Layout, read_ranges};
use super::server::{Limits, Server};
use crate::broker::{BrokerError, Result};

/// The servers that are known, and the way to the masters among them.
#[derive(Debug)]
pub(super) struct Discovery {
    address: Address,
    limits: Limits,
    servers: Mutex<BTreeMap<String, Arc<Server>>>,
}

impl Discovery {
    pub(super) fn new(address: Address, limits: Limits) -> Result<Self> {
        let discovery = Self { address, limits, servers: Mutex::default() };
        // A URL that no server can have is told at the start.
        match &discovery.address.footing {
            Footing::One => drop(discovery.server(discovery.address.data())?),
            Footing::Sentinel { sentinels: known, .. } | Footing::Cluster { seeds: known } => {
                for info in known {
                    drop(discovery.server(info.clone())?);
                }
            }
        }
        Ok(discovery)
    }

    /// The URL without its secrets.
    pub(super) fn place(&self) -> &str {
        &self.address.place
    }

    /// Whether the cluster's own redirections are to be followed.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.address.footing, Footing::Cluster { .. })
    }

    /// The masters, by what is known now. `seen` is what was known before.
    pub(super) async fn masters(&self, seen: Option<&Layout>) -> Result<Vec<Found>> {
        match &self.address.footing {
            Footing::One => Ok(vec![(self.server(self.address.data())?, Vec::new())]),
            Footing::Sentinel { service, sentinels } => {
                let asks = sentinels.iter().map(|info| self.ask_sentinel(info, service));
                let master = match (first(asks).await, seen.and_then(|seen| seen.masters().first())) {
                    (Ok((host, port)), _) => self.server(self.address.data_at(&host, port))?,
                    // Without any Sentinel nobody is promoted, so the last master is still the one.
                    (Err(BrokerError::Unavailable { .. }), Some(master)) => Arc::clone(&master.server),
                    (Err(error), _) => return Err(error),
                };
                Ok(vec![(master, Vec::new())])
            }
            Footing::Cluster { seeds } => {
                let mut nodes: BTreeMap<String, Arc<Server>> = BTreeMap::new();
                for master in seen.map_or(&[][..], Layout::masters) {
                    nodes.insert(master.server.name().to_owned(), Arc::clone(&master.server));
                }
                for seed in seeds {
                    let server = self.server(seed.clone())?;
                    nodes.entry(server.name().to_owned()).or_insert(server);
                }
                first(nodes.values().map(|node| self.ask_node(node))).await
            }
        }
    }

    /// Lets go of servers that neither the URL nor one of these layouts names.
    pub(super) fn retain(&self, layouts: &[&Layout]) {
        let named: BTreeSet<String> = match &self.address.footing {
            Footing::One => BTreeSet::from([self.address.data().addr().to_string()]),
            Footing::Sentinel { sentinels: known, .. } | Footing::Cluster { seeds: known } => {
                known.iter().map(|info| info.addr().to_string()).collect()
            }
        };
        let is_known = |name: &String| named.contains(name) || layouts.iter().any(|l| l.master_at(name).is_some());
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_known(name));
    }

    fn server(&self, info: ConnectionInfo) -> Result<Arc<Server>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = info.addr().to_string();
        if let Some(known) = servers.get(&name) {
            return Ok(Arc::clone(known));
        }
        let place = match self.address.footing {
            Footing::One => self.address.place.clone(),
            Footing::Sentinel { .. } | Footing::Cluster { .. } => format!("{name} ({})", self.address.place),
        };
        let server = Arc::new(Server::new(info, place, self.limits)?);
        servers.insert(name, Arc::clone(&server));
        Ok(server)
    }

    /// Where the master of `service` is.
    async fn ask_sentinel(&self, info: &ConnectionInfo, service: &str) -> Result<(String, u16)> {
        let sentinel = self.server(info.clone())?;
        let mut question = redis::pipe();
        question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let (answer,): (Option<(String, u16)>,) =
            sentinel.ask(&question).await.map_err(|error| unlike(error, "unknown command", "it is no Sentinel"))?;
        answer.ok_or_else(|| sentinel.unavailable(format!("this Sentinel knows no service {service:?}")))
    }

    /// The masters by one node's knowledge, if that node sees the cluster whole: one that was cut off does not.
    async fn ask_node(&self, node: &Server) -> Result<Vec<Found>> {
        let mut question = redis::pipe();
        question.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
        let (info, slots): (String, Value) = node.ask(&question).await.map_err(|error| {
            unlike(error, "cluster support disabled", "it is no node of a Redis Cluster: write redis:// for one server")
        })?;
        if !info.lines().any(|line| line == "cluster_state:ok") {
            return Err(node.unavailable("the cluster is down, or this node was cut off from it".to_owned()));
        }
        let ranges = read_ranges(&slots, node.name());
        let ranges =
            ranges.ok_or_else(|| node.unavailable("an answer of CLUSTER SLOTS could not be read".to_owned()))?;
        let mut masters: BTreeMap<String, Found> = BTreeMap::new();
        for (range, (host, port)) in ranges {
            let server = self.server(self.address.data_at(&host, port))?;
            masters.entry(server.name().to_owned()).or_insert((server, Vec::new())).1.push(range);
        }
        Ok(masters.into_values().collect())
    }
}

/// A server of another kind than the URL says is a configuration error.
fn unlike(error: BrokerError, words: &str, reason: &str) -> BrokerError {
    match error {
        BrokerError::Unavailable { place, reason: said } if said.contains(words) => {
            BrokerError::Unfit { place, reason: reason.to_owned() }
        }
        other => other,
    }
}

/// The first answer that is one; else why there is none, rather for ever than for now.
async fn first<T>(asks: impl Iterator<Item = impl Future<Output = Result<T>>>) -> Result<T> {
    let mut asks: FuturesUnordered<_> = asks.collect();
    let mut failure: Option<BrokerError> = None;
    while let Some(answer) = asks.next().await {
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) if failure.as_ref().is_none_or(BrokerError::is_transient) => failure = Some(error),
            Err(_) => {}
        }
    }
    Err(failure.unwrap_or_else(|| BrokerError::Unavailable {
        place: "redis".to_owned(),
        reason: "nobody was there to be asked".to_owned(),
    }))
}
