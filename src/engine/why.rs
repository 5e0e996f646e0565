//! Why a job waits: the facts that `policy::why` judges, gathered from the ledger, the broker and this node.

use std::sync::atomic::Ordering;

use crate::broker::{Depth, Place as Entry};
use crate::clock::Timestamp;
use crate::job::{Job, JobId, QueueName, TypeName};
use crate::ledger::{Pause, Scope};
use crate::policy::gate::{Hindrance, Standing, judge};
use crate::policy::why::{self, Crew, Explanation, Facts, LaneState, NodeHindrance, Paused, Place};
use crate::service::Phase;

use super::core::{Core, UNSETTLED_MAX};
use super::views::JobView;
use super::{Refusal, gate, queries};

/// What is the same for all jobs of one queue.
pub(super) struct Scene {
    queue: QueueName,
    is_known: bool,
    now: Timestamp,
    node: Option<NodeHindrance>,
    pauses: Vec<Pause>,
    lanes: Vec<LaneState>,
    crew: Crew,
    rate: Option<f64>,
}

impl Scene {
    /// How many jobs wait that nothing but their turn keeps from running.
    pub(super) fn may_run(&self) -> u64 {
        if self.node.is_some() || pause_of(&self.pauses, &Scope::Queue(self.queue.clone())).is_some() {
            return 0;
        }
        let is_open = |lane: &&LaneState| !lane.is_paused && judge(&lane.facts).0 != Standing::Closed;
        self.lanes.iter().filter(is_open).map(|lane| lane.ready).sum()
    }

    /// Whether somebody should take one of them: a worker is idle, or nobody is there at all.
    pub(super) fn can_take(&self) -> bool {
        self.crew.idle > 0 || self.crew.busy == 0
    }
}

/// Explains why a job does not run now.
pub(super) async fn why(core: &Core, id: &JobId) -> Result<(JobView, Explanation), Refusal> {
    let view = queries::job(core, id).await?;
    let scene = scene(core, &view.job.spec.queue).await?;
    let explanation = explain(core, &scene, &view.job).await?;
    Ok((view, explanation))
}

/// Looks at a queue.
pub(super) async fn scene(core: &Core, queue: &QueueName) -> Result<Scene, Refusal> {
    let pauses = core.ledger.pauses().await?;
    let depth = queries::depth(core, queue).await;
    let node = node_hindrance(core);
    let rate = core.figures.queue_rate(queue, core.clock.now());
    Ok(Scene {
        queue: queue.clone(),
        is_known: core.catalog().queues.contains_key(queue),
        now: Timestamp(core.broker.now_ms()),
        node,
        lanes: lanes(core, queue, depth.as_ref(), &pauses),
        pauses,
        crew: core.roster.crew(&core.catalog(), queue),
        rate,
    })
}

/// Why this node claims nothing, by the predicates of `Core::may_claim`.
fn node_hindrance(core: &Core) -> Option<NodeHindrance> {
    if *core.phase.borrow() != Phase::Running || !core.breakers.is_ready() {
        return Some(NodeHindrance::NotRunning);
    }
    if let Err(words) = &*core.session.broker().borrow() {
        return Some(NodeHindrance::Broker(words.clone()));
    }
    let is_held_up = core.unsettled.load(Ordering::Relaxed) >= UNSETTLED_MAX;
    is_held_up.then_some(NodeHindrance::OutcomesHeld)
}

fn lanes(core: &Core, queue: &QueueName, depth: Option<&Depth>, pauses: &[Pause]) -> Vec<LaneState> {
    let setup = core.setup.load_full();
    let ready = |name: &TypeName| {
        let lanes = depth.iter().flat_map(|depth| &depth.lanes);
        lanes.filter(|(lane, _)| lane == name).map(|(_, count)| *count).sum()
    };
    let of = |known: &crate::policy::catalog::JobType| LaneState {
        name: known.name.clone(),
        facts: gate::facts(core, &setup, known),
        is_paused: pause_of(pauses, &Scope::Type(known.name.clone())).is_some(),
        ready: ready(&known.name),
    };
    setup.catalog.types_of(queue).map(of).collect()
}

fn pause_of(pauses: &[Pause], scope: &Scope) -> Option<Paused> {
    let pause = pauses.iter().find(|pause| pause.scope == *scope)?;
    Some(Paused { by: pause.by.clone(), reason: pause.reason.clone(), since: pause.since })
}

/// Explains one job of a queue.
pub(super) async fn explain(core: &Core, scene: &Scene, job: &Job) -> Result<Explanation, Refusal> {
    let name = &job.spec.job_type;
    let turn = why::turn(&scene.lanes, name, scene.crew.idle);
    let entry = if job.rest.is_some() || scene.node.is_some() || !scene.is_known {
        None
    } else {
        core.broker.place(&scene.queue, &job.spec.id, &turn.rivals).await?.filter(|entry| entry.entry.seq == job.seq)
    };
    let lane = scene.lanes.iter().find(|lane| lane.name == *name);
    let hindrances = lane.map_or_else(|| vec![Hindrance::NoHandler], |lane| judge(&lane.facts).1);
    Ok(why::explain(&Facts {
        now: scene.now,
        due_at: entry
            .as_ref()
            .and_then(|entry| entry.due_at_ms)
            .map(Timestamp)
            .or_else(|| own_due(job, entry.as_ref())),
        foreign_lock: entry.as_ref().and_then(foreign_lock),
        ahead: entry.as_ref().and_then(|entry| entry.ahead).unwrap_or(0),
        place: place(scene, job, entry.as_ref()),
        node: scene.node.clone(),
        is_queue_known: scene.is_known,
        queue_pause: pause_of(&scene.pauses, &Scope::Queue(scene.queue.clone())),
        type_pause: pause_of(&scene.pauses, &Scope::Type(name.clone())),
        lane: hindrances,
        crew: scene.crew,
        slots: turn.slots,
        rate: scene.rate,
    }))
}

/// The row's own due time, where the broker says nothing.
fn own_due(job: &Job, entry: Option<&Entry>) -> Option<Timestamp> {
    job.spec.due_at.filter(|_| entry.is_none())
}

fn place(scene: &Scene, job: &Job, entry: Option<&Entry>) -> Place {
    if let Some(rest) = &job.rest {
        return Place::AtRest(rest.state);
    }
    match entry {
        Some(Entry { entry: view, .. }) => match &view.lease {
            Some(lease) => Place::Running { node: lease.node.to_string(), since: Timestamp(lease.claimed_at_ms) },
            None => Place::Waiting,
        },
        None if scene.node.is_some() => Place::Waiting,
        None => Place::LedgerOnly,
    }
}

/// The lock of another program, which a claim of the entry would step aside for. Ours are taken over.
fn foreign_lock(entry: &Entry) -> Option<String> {
    let value = entry.lock.as_ref().filter(|_| entry.entry.lease.is_none())?;
    let is_ours = value.split_once(':').is_some_and(|(fence, _)| fence.parse::<i64>().is_ok());
    (!is_ours).then(|| value.clone())
}
