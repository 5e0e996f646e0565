//! Which lanes of a queue are open on this node, and how far.

use std::sync::Arc;

use crate::job::{QueueName, TypeName};
use crate::policy::catalog::JobType;
use crate::policy::gate::{self, LaneFacts, Standing};

use super::breakers::Entry;
use super::core::{Core, Setup};

/// The lanes of one queue, by how they stand.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Claimed in order.
    pub(super) open: Vec<TypeName>,
    /// Claimed before the others, but only so many.
    pub(super) narrow: Vec<Narrow>,
    /// Claimed when workers are idle after all others.
    pub(super) last: Vec<TypeName>,
}

/// Lanes that the same breakers let through a few jobs of; those are claimed together, in their order.
#[derive(Debug)]
pub(super) struct Narrow {
    pub(super) lanes: Vec<TypeName>,
    pub(super) by: Vec<Arc<Entry>>,
    /// Whether they come after the others all the same.
    pub(super) is_last: bool,
    /// The longest run of one of their types, in milliseconds.
    pub(super) timeout_ms: u64,
}

/// Sorts the lanes of a queue.
pub(super) fn lanes(core: &Core, setup: &Setup, queue: &QueueName) -> Lanes {
    let mut lanes = Lanes::default();
    for known in setup.catalog.types_of(queue) {
        let facts = facts(core, setup, known);
        let standing = gate::judge(&facts).0;
        match standing {
            Standing::Closed => {}
            Standing::Limited(_) | Standing::Last if !facts.breakers.is_empty() => {
                let mut by = core.breakers.gates(&known.name);
                by.retain(|entry| facts.breakers.iter().any(|fact| fact.name == entry.name()));
                lanes.narrow(known, by, standing == Standing::Last);
            }
            Standing::Open | Standing::Limited(_) => lanes.open.push(known.name.clone()),
            Standing::Last => lanes.last.push(known.name.clone()),
        }
    }
    lanes
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

impl Lanes {
    fn narrow(&mut self, known: &JobType, by: Vec<Arc<Entry>>, is_last: bool) {
        let is_same =
            |one: &Narrow| one.is_last == is_last && one.by.iter().map(Arc::as_ptr).eq(by.iter().map(Arc::as_ptr));
        if let Some(found) = self.narrow.iter_mut().find(|one| is_same(one)) {
            found.lanes.push(known.name.clone());
            found.timeout_ms = found.timeout_ms.max(known.timeout_ms);
        } else {
            self.narrow.push(Narrow { lanes: vec![known.name.clone()], by, is_last, timeout_ms: known.timeout_ms });
        }
    }
}
