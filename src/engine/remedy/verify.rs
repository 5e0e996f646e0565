//! Whether it helped: the figure that an action is judged by, looked at until it is right or the time is over.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::job::{PoolName, State};
use crate::ledger::Scope;
use crate::policy::remediation::{Action, FiredAlert, Lane, Target, Verify};

use super::super::core::Core;
use super::super::workers::{WorkerState, WorkerView};
use super::super::{queries, scaling, settings, shedding, workers};
use super::acts::{Done, Goal};

/// Between two looks.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// How long one look may take: what does not answer within it is not well.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Alerts of one incident that are looked at for one of them.
const ALERTS_MAX: u32 = 1_000;

/// What a look has shown.
enum Seen {
    /// It is right, in words.
    Right(String),
    /// It is not, in words.
    Wrong(String),
    /// It will not be right any more.
    Never(String),
}

/// Waits until the figure is right; answers it in words, or why it was not in time.
pub(super) async fn until(
    core: &Core,
    action: &Action,
    target: &Target,
    done: &Done,
    alert: &FiredAlert,
) -> Result<String, String> {
    let end = Instant::now() + Duration::from_millis(action.verify_ms);
    loop {
        let look = timeout(LOOK_MAX, look(core, action.verify, target, done, alert)).await;
        let wrong = match look {
            Ok(Seen::Right(words)) => return Ok(words),
            Ok(Seen::Never(words)) => return Err(words),
            Ok(Seen::Wrong(words)) => words,
            Err(_elapsed) => "there was no answer".to_owned(),
        };
        if Instant::now() + LOOK_PERIOD > end {
            return Err(format!("not healed within {} ms: {wrong}", action.verify_ms));
        }
        sleep(LOOK_PERIOD).await;
    }
}

async fn look(core: &Core, verify: Verify, target: &Target, done: &Done, alert: &FiredAlert) -> Seen {
    match verify {
        Verify::Nothing => Seen::Right(String::new()),
        Verify::QueueDepth { below } => depth(core, target, below).await,
        Verify::PoolSize => size(core, done),
        Verify::WorkersHealthy => health(core, target),
        Verify::LedgerAnswers => match core.ledger.ping().await {
            Ok(()) => Seen::Right("the ledger answers".to_owned()),
            Err(error) => Seen::Wrong(error.to_string()),
        },
        Verify::ServerAnswers => server(core, target).await,
        Verify::JobSucceeded => job(core, done).await,
        Verify::InForce => in_force(core, done).await,
        Verify::AlertResolved if is_resolved(core, alert).await => Seen::Right("the alert is resolved".to_owned()),
        Verify::AlertResolved => Seen::Wrong("the alert still fires".to_owned()),
    }
}

/// Whether an alert is told as over. One that belongs to no incident is not followed.
pub(super) async fn is_resolved(core: &Core, alert: &FiredAlert) -> bool {
    let Some(incident) = alert.incident else { return false };
    let alerts = core.ledger.alerts_of(incident, ALERTS_MAX).await.unwrap_or_default();
    let is_it = |note: &crate::operations::AlertNote| {
        note.fingerprint == alert.fingerprint && note.starts_at == alert.starts_at
    };
    alerts.iter().any(|known| is_it(&known.note) && known.note.ends_at.is_some())
}

/// Fewer jobs than `below` wait for a worker in each queue of the target's pools. Workers cannot help what is held.
async fn depth(core: &Core, target: &Target, below: u64) -> Seen {
    let Target::Pools(names) = target else { return Seen::Never("it has no queue".to_owned()) };
    let catalog = core.catalog();
    let mut words = Vec::new();
    for pool in names.iter().filter_map(|name| catalog.pools.get(name)) {
        let Some(waiting) = shedding::waiting(core, &pool.queue).await else {
            return Seen::Wrong(format!("nobody knows what waits in queue {}", pool.queue));
        };
        let held = match waiting.held {
            0 => String::new(),
            held => format!(" (a pause or a breaker holds {held} more)"),
        };
        words.push(format!("{} jobs wait in queue {}{held}", waiting.for_workers, pool.queue));
        if waiting.for_workers >= below {
            return Seen::Wrong(words.pop().unwrap_or_default());
        }
    }
    words.dedup();
    Seen::Right(words.join(", "))
}

/// Every node has the workers that it should.
fn size(core: &Core, done: &Done) -> Seen {
    let Goal::Floors(floors) = &done.goal else { return Seen::Never("no floor was set".to_owned()) };
    let pools = scaling::everywhere(core);
    let mut words = Vec::new();
    for (name, floor) in floors {
        let nodes = pools.iter().filter(|view| view.pool.name == *name).flat_map(|view| &view.nodes);
        let short: Vec<String> = nodes
            .filter(|node| node.idle + node.busy < *floor)
            .map(|node| format!("pool {name} has {} workers of {floor} on {}", node.idle + node.busy, node.node))
            .collect();
        if let Some(short) = short.into_iter().next() {
            return Seen::Wrong(short);
        }
        words.push(format!("pool {name} has its {floor} workers"));
    }
    Seen::Right(words.join(", "))
}

/// The workers of pools that are found to be sick and stay, on all nodes.
pub(super) fn sick(core: &Core, pools: &[PoolName]) -> Vec<WorkerView> {
    let is_sick = |worker: &WorkerView| {
        worker.why.is_some() && worker.replaced_by.is_none() && worker.state != WorkerState::Draining
    };
    let is_there = |worker: &WorkerView| pools.iter().any(|name| name.as_str() == worker.pool);
    workers::everywhere(core).into_iter().filter(|worker| is_there(worker) && is_sick(worker)).collect()
}

fn health(core: &Core, target: &Target) -> Seen {
    let Target::Pools(names) = target else { return Seen::Never("it has no workers".to_owned()) };
    let sick = sick(core, names);
    match sick.first() {
        None => Seen::Right("all workers are healthy".to_owned()),
        Some(worker) => {
            let why = worker.why.as_deref().unwrap_or_default();
            Seen::Wrong(format!("{} workers are unhealthy, {} among them: {why}", sick.len(), worker.full_name()))
        }
    }
}

async fn server(core: &Core, target: &Target) -> Seen {
    let Target::Server(name) = target else { return Seen::Never("it has no server".to_owned()) };
    let outside = core.setup.load().outside.clone();
    match outside.server_answers(name).await {
        Some(true) => Seen::Right(format!("MCP server {name} answers")),
        _ => Seen::Wrong(format!("MCP server {name} does not answer")),
    }
}

async fn job(core: &Core, done: &Done) -> Seen {
    let Goal::Job(id) = &done.goal else { return Seen::Never("no job was submitted".to_owned()) };
    match queries::job(core, id).await {
        Ok(job) if job.state == State::Succeeded => Seen::Right(format!("job {id} has succeeded")),
        Ok(job) if job.state.is_at_rest() => {
            let error = job.job.error.map(|error| format!(": {}: {}", error.class, error.message));
            Seen::Never(format!("job {id} is {}{}", job.state, error.unwrap_or_default()))
        }
        Ok(job) => Seen::Wrong(format!("job {id} is {}", job.state)),
        Err(refusal) => Seen::Wrong(refusal.to_string()),
    }
}

/// What was set is what the ledger has.
async fn in_force(core: &Core, done: &Done) -> Seen {
    if let Goal::Paused(lane) = &done.goal {
        let scope = scope(lane);
        return match core.ledger.pauses().await {
            Ok(pauses) if pauses.iter().any(|pause| pause.scope == scope) => Seen::Right(format!("{lane} is paused")),
            Ok(_) => Seen::Wrong(format!("{lane} is not paused")),
            Err(error) => Seen::Wrong(error.to_string()),
        };
    }
    let Goal::Setting { kind, name, value } = &done.goal else { return Seen::Never("nothing was set".to_owned()) };
    if let Err(error) = settings::read(core).await {
        return Seen::Wrong(error.to_string());
    }
    let setting = core.settings.get(kind, name, core.clock.now());
    match setting.filter(|setting| value.as_ref().is_none_or(|value| setting.value == *value)) {
        Some(setting) => Seen::Right(match setting.until {
            Some(until) => format!("it holds until {until}"),
            None => "it holds".to_owned(),
        }),
        None => Seen::Wrong("it does not hold".to_owned()),
    }
}

/// A lane in the ledger's words.
pub(super) fn scope(lane: &Lane) -> Scope {
    match lane {
        Lane::Queue(name) => Scope::Queue(name.clone()),
        Lane::Type(name) => Scope::Type(name.clone()),
    }
}
