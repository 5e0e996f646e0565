//! Pools as operators see them, over all nodes.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::core::Core;
use crate::engine::report;
use crate::ledger::Setting;
use crate::policy::catalog::Pool;
use crate::policy::scaling::{Bounds, Decision, Proposal, bounds};
use crate::service::lock;

use super::orders::{self, Figures};

/// A pool as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolView {
    /// Its configuration.
    pub pool: Pool,
    /// Between what it moves now.
    pub bounds: Bounds,
    /// What operators have set of them.
    pub figures: Figures,
    /// The setting that says so, with who touched it last and when.
    pub setting: Option<Setting>,
    /// The pool on each node that lives: this one's as it is, the others' as they last told.
    pub nodes: Vec<PoolOnNode>,
}

/// A pool on one node. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolOnNode {
    /// The node; told once for all of a node.
    #[serde(skip)]
    pub node: String,
    /// The pool.
    pub name: String,
    /// How many workers it should have.
    pub desired: usize,
    /// Workers that wait for a job.
    pub idle: usize,
    /// Workers that run one.
    pub busy: usize,
    /// Workers that leave after the job they have.
    pub draining: usize,
    /// When the last decision was taken; 0 before the first.
    pub decided_ms: i64,
    /// `up`, `down` or `hold`.
    pub direction: String,
    /// The signal that asked for most, if one has a say.
    pub metric: Option<String>,
    /// What stood between the signals and the size.
    pub limiter: String,
    /// The decision in a sentence.
    pub reason: String,
    /// What each signal asked for.
    pub proposals: Vec<ProposalView>,
}

/// What one signal said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProposalView {
    /// The signal.
    pub metric: String,
    /// `asks`, `tolerated`, `missing` or `left_out`.
    pub standing: String,
    /// The size it asks for.
    pub wants: Option<usize>,
    /// What was seen.
    pub text: String,
}

impl ProposalView {
    fn of(proposal: &Proposal) -> Self {
        let Proposal { metric, standing, wants, text } = proposal;
        Self {
            metric: metric.name().to_owned(),
            standing: standing.name().to_owned(),
            wants: *wants,
            text: text.clone(),
        }
    }
}

impl PoolOnNode {
    fn decided(mut self, at: Timestamp, decision: &Decision) -> Self {
        self.decided_ms = at.millis();
        decision.direction.name().clone_into(&mut self.direction);
        self.metric = decision.metric.map(|metric| metric.name().to_owned());
        decision.limiter.name().clone_into(&mut self.limiter);
        self.reason.clone_from(&decision.reason);
        self.proposals = decision.proposals.iter().map(ProposalView::of).collect();
        self
    }
}

/// The pools of this node.
pub(in crate::engine) fn own(core: &Core) -> Vec<PoolOnNode> {
    let posts = core.roster.posts();
    let pools = lock(&core.scaler.pools);
    let catalog = core.catalog();
    let view = |pool: &Pool| {
        let mut view = PoolOnNode {
            node: core.params.node_name.clone(),
            name: pool.name.to_string(),
            desired: core.roster.wanted(pool),
            ..PoolOnNode::default()
        };
        for post in posts.iter().filter(|post| post.pool == pool.name) {
            let look = post.look();
            *match (look.leaving, look.run) {
                (Some(_), _) => &mut view.draining,
                (None, Some(_)) => &mut view.busy,
                (None, None) => &mut view.idle,
            } += 1;
        }
        match pools.get(&pool.name).and_then(|past| past.decided.as_ref()) {
            Some((at, decision)) => view.decided(*at, decision),
            None => view,
        }
    };
    catalog.pools.values().map(view).collect()
}

/// All pools, on all nodes that live.
pub(in crate::engine) fn everywhere(core: &Core) -> Vec<PoolView> {
    let now = core.clock.now();
    let nodes: Vec<PoolOnNode> = report::all(core)
        .into_iter()
        .flat_map(|told| told.report.pools.into_iter().map(move |pool| PoolOnNode { node: told.name.clone(), ..pool }))
        .collect();
    let view = |pool: &Pool| {
        let (figures, setting) = orders::of(core, &pool.name, now);
        let nodes = nodes.iter().filter(|on_node| on_node.name == pool.name.as_str()).cloned().collect();
        PoolView { pool: pool.clone(), bounds: bounds(pool, &figures.orders(), now), figures, setting, nodes }
    };
    core.catalog().pools.values().map(view).collect()
}
