//! What a node shows the others of itself, so that any of them can list everything. It travels with the
//! heartbeat and is as old as that.

use serde::{Deserialize, Serialize};

use crate::job::NodeId;

use super::core::Core;
use super::membership::Status;
use super::scaling::{self, PoolOnNode};
use super::shedding::{self, NodeShedding};
use super::workers::{self, WorkerView};

/// One node's own story. Members that an older node does not send are empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// What it sheds.
    pub(super) shedding: NodeShedding,
    /// Its workers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) workers: Vec<WorkerView>,
    /// Its pools.
    pub(super) pools: Vec<PoolOnNode>,
}

/// A report with whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reported {
    pub(super) node: NodeId,
    /// For people.
    pub(super) name: String,
    pub(super) report: Report,
}

/// This node's report as of now.
pub(super) fn own(core: &Core) -> Report {
    Report { shedding: shedding::own(core), pools: scaling::own(core), workers: workers::to_tell(core) }
}

/// The reports of all living nodes, this one's first and fresh.
pub(super) fn all(core: &Core) -> Vec<Reported> {
    let own = Reported { node: core.params.node.clone(), name: core.params.node_name.clone(), report: own(core) };
    let others = core
        .membership
        .others()
        .iter()
        .filter(|node| node.alive && node.id != core.params.node)
        .map(|node| {
            // A node of another version may say more or less; what it does say is taken.
            let status: Status = serde_json::from_str(&node.status).unwrap_or_default();
            Reported { node: node.id.clone(), name: node.name.clone(), report: status.report }
        })
        .collect::<Vec<_>>();
    std::iter::once(own).chain(others).collect()
}
