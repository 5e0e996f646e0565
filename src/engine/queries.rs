//! The read side: rows of the ledger with the broker's leases laid over them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::EntryView;
use crate::job::{Job, JobId, QueueName, Seq, State, TypeName};
use crate::ledger::{JobFilter, Pause, Scope};

use super::core::Core;
use super::views::{JobPage, JobView, QueueView, Readiness, TypeView};
use super::{Refusal, breakers, control};

/// How often a job is looked at that may come to rest on another node.
const WAIT_LOOK: Duration = Duration::from_millis(500);
/// Leases of one queue that are listed at most.
const LEASES_MAX: usize = 10_000;

type Result<T> = std::result::Result<T, Refusal>;

/// One job.
pub(super) async fn job(core: &Core, id: &JobId) -> Result<JobView> {
    let row = control::row(core, id).await?;
    let views = overlay(core, vec![row]).await;
    views.into_iter().next().ok_or_else(|| Refusal::NotFound { what: "job", name: id.to_string(), known: None })
}

/// Jobs by id; unknown ones are left out.
pub(super) async fn by_ids(core: &Core, ids: &[JobId]) -> Result<Vec<JobView>> {
    Ok(overlay(core, core.ledger.jobs(ids).await?).await)
}

/// One job once it is at rest, or as it is when patience runs out or the node leaves.
pub(super) async fn wait(core: &Core, id: &JobId, patience: Duration) -> Result<JobView> {
    let waiting = core.waiters.register(id);
    let mut phase = core.phase.clone();
    let end = Instant::now() + patience;
    loop {
        let rested = waiting.rest.notified();
        tokio::pin!(rested);
        // Enabled before the look, so that a rest between look and wait is not missed.
        rested.as_mut().enable();
        let view = job(core, id).await?;
        if view.state.is_at_rest() || Instant::now() >= end || core.is_stopping() {
            return Ok(view);
        }
        tokio::select! {
            biased;
            () = rested => {}
            () = phase.changed() => {}
            () = tokio::time::sleep_until(end.min(Instant::now() + WAIT_LOOK)) => {}
        }
    }
}

/// A page of jobs, newest first.
pub(super) async fn jobs(core: &Core, filter: &JobFilter, before: Option<Seq>, limit: u32) -> Result<JobPage> {
    if filter.state == Some(State::Running) {
        return running(core, filter, before, limit).await;
    }
    let (mut found, mut cursor) = (Vec::new(), before);
    loop {
        let rows = core.ledger.page(filter, cursor, limit, core.clock.now()).await?;
        let last = rows.last().map(|row| row.seq);
        let full = rows.len() as u64 == u64::from(limit);
        let views = overlay(core, rows).await;
        // `ready` of the ledger may be `running` by now.
        found.extend(views.into_iter().filter(|view| filter.state.is_none_or(|state| state == view.state)));
        if found.len() >= limit as usize || !full {
            let cut = found.len() > limit as usize;
            found.truncate(limit as usize);
            let next = found.last().map(|view| view.job.seq).filter(|_| cut || full);
            return Ok(JobPage { jobs: found, next });
        }
        cursor = last;
    }
}

/// Jobs that run: the broker knows which.
async fn running(core: &Core, filter: &JobFilter, before: Option<Seq>, limit: u32) -> Result<JobPage> {
    let catalog = core.catalog();
    let mut ids = Vec::new();
    for queue in catalog.queues.keys().filter(|name| filter.queue.as_ref().is_none_or(|only| only == *name)) {
        let leases = core.broker.leases(queue, LEASES_MAX).await?;
        let below = |entry: &EntryView| before.is_none_or(|before| entry.seq < before);
        ids.extend(leases.into_iter().filter(below).map(|entry| (entry.seq, entry.id)));
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let (mut found, mut rest) = (Vec::new(), ids.as_slice());
    while !rest.is_empty() && found.len() < limit as usize {
        let (batch, others) = rest.split_at(rest.len().min(limit as usize));
        rest = others;
        let ids: Vec<JobId> = batch.iter().map(|(_, id)| id.clone()).collect();
        let mut rows = core.ledger.jobs(&ids).await?;
        rows.retain(|row| matches(filter, row));
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.seq));
        let views = overlay(core, rows).await;
        found.extend(views.into_iter().filter(|view| view.state == State::Running));
    }
    let more = found.len() > limit as usize || !rest.is_empty();
    found.truncate(limit as usize);
    let next = found.last().map(|view| view.job.seq).filter(|_| more);
    Ok(JobPage { jobs: found, next })
}

/// The part of a filter that the ledger would have applied.
fn matches(filter: &JobFilter, row: &Job) -> bool {
    let label = |(name, value): &(String, String)| row.spec.labels.get(name) == Some(value);
    let class = |class: &String| row.error.as_ref().is_some_and(|error| error.class == *class);
    filter.job_type.as_ref().is_none_or(|only| *only == row.spec.job_type)
        && filter.label.as_ref().is_none_or(label)
        && filter.error_class.as_ref().is_none_or(class)
}

/// Lays leases over rows. Without the broker the ledger's view stands alone.
async fn overlay(core: &Core, rows: Vec<Job>) -> Vec<JobView> {
    let mut queues: BTreeMap<&QueueName, Vec<JobId>> = BTreeMap::new();
    // A queue that is not configured here is not in the broker's epoch, and asking for it would close the session.
    let catalog = core.catalog();
    let is_known = |row: &&Job| row.rest.is_none() && catalog.queues.contains_key(&row.spec.queue);
    for row in rows.iter().filter(is_known) {
        queues.entry(&row.spec.queue).or_default().push(row.spec.id.clone());
    }
    let mut entries: HashMap<JobId, EntryView> = HashMap::new();
    for (queue, ids) in queues {
        if !core.session.is_open() {
            break;
        }
        match core.broker.inspect(queue, &ids).await {
            Ok(found) => entries.extend(found.into_iter().flatten().map(|entry| (entry.id.clone(), entry))),
            Err(error) => core.session.broker_failed(&error),
        }
    }
    let now = core.clock.now();
    let view = |job: Job| {
        let entry = entries.remove(&job.spec.id).filter(|entry| entry.seq == job.seq && job.rest.is_none());
        let state = job.ledger_state(now);
        let Some(entry) = entry else {
            return JobView { state, counters: job.counters, fence: job.fence, lease: None, job };
        };
        let mut counters = job.counters;
        counters.deliveries = counters.deliveries.max(entry.counters.deliveries);
        counters.crashes = counters.crashes.max(entry.counters.crashes);
        counters.deferrals = counters.deferrals.max(entry.counters.deferrals);
        let fence = entry.lease.as_ref().map_or(job.fence, |lease| lease.fence.max(job.fence));
        let state = if entry.lease.is_some() { State::Running } else { state };
        JobView { state, counters, fence, lease: entry.lease, job }
    };
    rows.into_iter().map(view).collect()
}

/// The pause of a scope.
fn pause_of(pauses: &[Pause], scope: &Scope) -> Option<Pause> {
    pauses.iter().find(|pause| pause.scope == *scope).cloned()
}

/// All queues.
pub(super) async fn queues(core: &Core) -> Result<Vec<QueueView>> {
    let pauses = core.ledger.pauses().await?;
    let mut views = Vec::new();
    for queue in core.catalog().queues.values() {
        let depth = depth(core, &queue.name).await;
        let pause = pause_of(&pauses, &Scope::Queue(queue.name.clone()));
        let shed_level = core.shedding.standing().level(&queue.name);
        views.push(QueueView { queue: queue.clone(), depth, pause, shed_level });
    }
    Ok(views)
}

/// What a queue holds, if the broker says so.
pub(super) async fn depth(core: &Core, queue: &QueueName) -> Option<crate::broker::Depth> {
    let catalog = core.catalog();
    if !core.session.is_open() || !catalog.queues.contains_key(queue) {
        return None;
    }
    let lanes: Vec<TypeName> = catalog.types_of(queue).map(|known| known.name.clone()).collect();
    match core.broker.depth(queue, &lanes).await {
        Ok(depth) => Some(depth),
        Err(error) => {
            core.session.broker_failed(&error);
            None
        }
    }
}

/// All job types.
pub(super) async fn types(core: &Core) -> Result<Vec<TypeView>> {
    let pauses = core.ledger.pauses().await?;
    let setup = core.setup.load_full();
    let mut ready: HashMap<TypeName, u64> = HashMap::new();
    for queue in setup.catalog.queues.keys() {
        ready.extend(depth(core, queue).await.into_iter().flat_map(|depth| depth.lanes));
    }
    let view = |job_type: &crate::policy::catalog::JobType| TypeView {
        pause: pause_of(&pauses, &Scope::Type(job_type.name.clone())),
        ready: ready.get(&job_type.name).copied(),
        runnable: setup.handlers.contains_key(&job_type.name),
        job_type: job_type.clone(),
    };
    Ok(setup.catalog.types.values().map(view).collect())
}

/// How ready this node is.
pub(super) async fn readiness(core: &Core) -> Readiness {
    let ledger = match core.ledger.ping().await {
        Ok(()) => core.session.ledger().or_else(|held_up| {
            core.session.ledger_answered();
            tracing::debug!("The ledger answers a ping after: {held_up}");
            Ok(())
        }),
        Err(error) => {
            core.session.ledger_failed(&error);
            Err(error.to_string())
        }
    };
    let broker = core.session.broker().borrow().clone();
    Readiness { ledger, broker, mcp_away: mcp_away(core), stopping: core.is_stopping() }
}

/// The MCP servers that jobs do not reach: their breaker holds, or they do not answer their ping.
fn mcp_away(core: &Core) -> Vec<String> {
    let mut away = breakers::mcp_servers_away(core);
    away.extend(core.setup.load().reach.away());
    away.sort_unstable();
    away.dedup();
    away
}
