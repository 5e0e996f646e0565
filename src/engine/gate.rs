//! Which lanes of a queue are open on this node, and how far.

use std::sync::Arc;

use crate::job::{QueueName, TypeName};
use crate::policy::catalog::JobType;
use crate::policy::gate::{self, LaneFacts};

use super::breakers::Entry;
use super::core::{Core, Setup};

/// Lanes that one claim takes together.
#[derive(Debug)]
pub(super) struct Rank {
    pub(super) lanes: Vec<TypeName>,
    /// The breakers that let only some of their jobs through; none for lanes that are not narrowed.
    pub(super) by: Vec<Arc<Entry>>,
    /// The longest run of one of their types, in milliseconds.
    pub(super) timeout_ms: u64,
}

/// The ranks of a queue's lanes, in the order in which they are claimed.
pub(super) fn ranks(core: &Core, setup: &Setup, queue: &QueueName) -> Vec<Rank> {
    let known: Vec<(&TypeName, LaneFacts)> =
        setup.catalog.types_of(queue).map(|known| (&known.name, facts(core, setup, known))).collect();
    let ranks = gate::ranks(known.iter().map(|(name, facts)| (*name, facts)));
    let rank = |rank: gate::Rank| {
        let mut by = rank.lanes.first().map(|lane| core.breakers.gates(lane)).unwrap_or_default();
        by.retain(|entry| rank.breakers.iter().any(|name| name == entry.name()));
        let timeouts = rank.lanes.iter().filter_map(|lane| setup.catalog.types.get(lane)).map(|known| known.timeout_ms);
        Rank { timeout_ms: timeouts.max().unwrap_or_default(), lanes: rank.lanes, by }
    };
    ranks.into_iter().map(rank).collect()
}

/// What is known of a lane now.
pub(super) fn facts(core: &Core, setup: &Setup, known: &JobType) -> LaneFacts {
    let nodes = core.membership.living().len();
    let gates = core.breakers.gates(&known.name);
    LaneFacts {
        can_run: setup.handlers.contains_key(&known.name),
        breakers: gates.iter().filter_map(|entry| entry.fact(nodes)).collect(),
        shed: core.shedding.lane(known),
    }
}
