//! Which lanes of a queue are open on this node, and how far.

use crate::job::{QueueName, TypeName};
use crate::policy::catalog::JobType;
use crate::policy::gate::{self, LaneFacts, Standing};

use super::core::{Core, Setup};

/// The lanes of one queue, by how they stand.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Claimed in order.
    pub(super) open: Vec<TypeName>,
    /// Claimed before the others, but only so many.
    pub(super) limited: Vec<(TypeName, usize)>,
    /// Claimed when workers are idle after all others.
    pub(super) last: Vec<TypeName>,
}

/// Sorts the lanes of a queue.
pub(super) fn lanes(core: &Core, setup: &Setup, queue: &QueueName) -> Lanes {
    let mut lanes = Lanes::default();
    for known in setup.catalog.types_of(queue) {
        match gate::judge(&facts(core, setup, known)).0 {
            Standing::Open => lanes.open.push(known.name.clone()),
            Standing::Limited(allowance) => lanes.limited.push((known.name.clone(), allowance)),
            Standing::Last => lanes.last.push(known.name.clone()),
            Standing::Closed => {}
        }
    }
    lanes
}

/// What is known of a lane now.
pub(super) fn facts(core: &Core, setup: &Setup, known: &JobType) -> LaneFacts {
    LaneFacts {
        can_run: setup.handlers.contains_key(&known.name),
        breakers: Vec::new(),
        shed: core.shedding.lane(known),
    }
}
