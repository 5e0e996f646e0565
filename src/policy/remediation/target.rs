//! What an action is done to: the alert's labels and the configuration say it together.

use std::fmt;

use crate::job::{PoolName, QueueName, TypeName};
use crate::policy::catalog::Catalog;

use super::alert::FiredAlert;
use super::deed::{Deed, Selector};

/// What an action is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Pools; at least one.
    Pools(Vec<PoolName>),
    /// The ledger.
    Ledger,
    /// Jobs of a type.
    JobType(TypeName),
    /// An MCP server.
    Server(String),
    /// What handlers are told.
    Override(String),
    /// Load shedding.
    Shedding,
    /// A queue or a type.
    Lane(Lane),
    /// Something outside.
    Outside(String),
}

/// What can be paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lane {
    /// A queue.
    Queue(QueueName),
    /// A type.
    Type(TypeName),
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(name) => write!(f, "queue {name}"),
            Self::Type(name) => write!(f, "type {name}"),
        }
    }
}

impl fmt::Display for Target {
    /// As the audit names it; cool-downs are counted by this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pools(names) => {
                let names: Vec<&str> = names.iter().map(PoolName::as_str).collect();
                write!(f, "pool {}", names.join(", "))
            }
            Self::Ledger => f.write_str("ledger"),
            Self::JobType(name) => write!(f, "type {name}"),
            Self::Server(name) => write!(f, "server {name}"),
            Self::Override(name) => write!(f, "override {name}"),
            Self::Shedding => f.write_str("shedding"),
            Self::Lane(lane) => write!(f, "{lane}"),
            Self::Outside(place) => f.write_str(place),
        }
    }
}

impl Selector {
    /// What is meant, if anything is said.
    fn pick<'a>(&'a self, alert: &'a FiredAlert) -> Option<&'a str> {
        self.label.as_deref().and_then(|label| alert.label(label)).or(self.fixed.as_deref())
    }

    /// What is missing, in words.
    fn lacking(&self, what: &str) -> String {
        match &self.label {
            Some(label) => format!("the alert has no label {label:?} that names a {what}"),
            None => format!("no {what} is named"),
        }
    }
}

/// What `deed` would be done to for `alert`; else why nothing can be.
///
/// # Errors
/// In words for people: labels that are missing, or that name what is not configured.
pub fn target(deed: &Deed, alert: &FiredAlert, catalog: &Catalog, servers: &[String]) -> Result<Target, String> {
    match deed {
        Deed::ScalePool { pool, queue_label, .. } => pools(pool, queue_label.as_deref(), alert, catalog),
        Deed::ReplaceUnhealthyWorkers { pool } => match pool.pick(alert) {
            Some(name) => one_pool(name, catalog),
            None => Ok(Target::Pools(catalog.pools.keys().cloned().collect())),
        },
        Deed::RenewLedgerPool => Ok(Target::Ledger),
        Deed::EnqueueJob { job_type, .. } => known_type(job_type.as_str(), catalog).map(Target::JobType),
        Deed::RestartMcpServer { server, .. } => {
            let name = server.pick(alert).ok_or_else(|| server.lacking("server"))?;
            let known = servers.iter().find(|known| *known == name);
            known.cloned().map(Target::Server).ok_or_else(|| unknown("MCP server", name))
        }
        Deed::Override { name, .. } => Ok(Target::Override(name.clone())),
        Deed::SetShedding { .. } => Ok(Target::Shedding),
        Deed::PauseLane { queue, job_type, .. } => match (job_type.pick(alert), queue.pick(alert)) {
            (Some(name), _) => known_type(name, catalog).map(|name| Target::Lane(Lane::Type(name))),
            (None, Some(name)) => known_queue(name, catalog).map(|name| Target::Lane(Lane::Queue(name))),
            (None, None) => Err(queue.lacking("queue")),
        },
        Deed::Post(call) if call.place.is_empty() => Err("its `url` is not set".to_owned()),
        Deed::Post(call) => Ok(Target::Outside(call.place.clone())),
        Deed::Command { program, .. } => Ok(Target::Outside(program.clone())),
    }
}

fn pools(pool: &Selector, queue_label: Option<&str>, alert: &FiredAlert, catalog: &Catalog) -> Result<Target, String> {
    let by_label = pool.label.as_deref().and_then(|label| alert.label(label));
    if let Some(name) = by_label {
        return one_pool(name, catalog);
    }
    let Some(queue) = queue_label.and_then(|label| alert.label(label)) else {
        let name = pool.fixed.as_deref().ok_or_else(|| match (&pool.label, queue_label) {
            (Some(_), _) | (None, None) => pool.lacking("pool"),
            (None, Some(label)) => format!("the alert has no label {label:?} that names a queue"),
        })?;
        return one_pool(name, catalog);
    };
    let queue = known_queue(queue, catalog)?;
    let serving = catalog.pools.values().filter(|pool| pool.queue == queue).map(|pool| pool.name.clone());
    let serving: Vec<PoolName> = serving.collect();
    if serving.is_empty() { Err(format!("no pool serves queue {queue}")) } else { Ok(Target::Pools(serving)) }
}

fn one_pool(name: &str, catalog: &Catalog) -> Result<Target, String> {
    let known = catalog.pools.keys().find(|known| known.as_str() == name);
    known.map(|name| Target::Pools(vec![name.clone()])).ok_or_else(|| unknown("pool", name))
}

fn known_queue(name: &str, catalog: &Catalog) -> Result<QueueName, String> {
    catalog.queues.keys().find(|known| known.as_str() == name).cloned().ok_or_else(|| unknown("queue", name))
}

fn known_type(name: &str, catalog: &Catalog) -> Result<TypeName, String> {
    catalog.types.keys().find(|known| known.as_str() == name).cloned().ok_or_else(|| unknown("job type", name))
}

fn unknown(what: &str, name: &str) -> String {
    format!("there is no {what} {name:?} here")
}
