//! From a claim to work that may start: the row is looked at where it has to be, and jobs that must
//! not run are brought to rest instead.

use std::collections::HashMap;

use crate::broker::{BrokerError, Claim, ClaimRequest, Claimed, Release};
use crate::clock::Timestamp;
use crate::job::{Counters, Failure, Job, QueueName, ReviewReason, Seq, State, TypeName, counter_of, epoch_of};
use crate::ledger::{Confirm, Confirmed};
use crate::mutant::mutant;
use crate::policy::breaker::Pass;
use crate::policy::budget::postpone_ms;
use crate::policy::catalog::{JobType, OnLate};
use crate::policy::verdict::poison;
use crate::telemetry::metrics;

use std::sync::Arc;

use tokio::time::Instant;

use super::breakers::{Entry, Leave, Leaves};
use super::core::Core;
use super::gate::{self, Rank};
use super::leases;
use super::running::Run;
use super::settlement::Unrun;
use super::worker::Assignment;

/// From this counter on a new epoch is due, long before the counter's 32 bits are used up.
const FENCES_MAX: i64 = 1 << 31;

/// By how much two estimates of the broker's clock may differ, in milliseconds.
const DUE_TOLERANCE_MS: i64 = 100;

/// Jobs that were claimed, each with the leaves that it runs by.
#[derive(Debug, Default)]
pub(super) struct Granted {
    pub(super) claims: Vec<(Claim, Leaves)>,
    /// When the next entry becomes due, as a wait from now in milliseconds.
    pub(super) next_due_in_ms: Option<i64>,
    /// Whether open lanes hold more.
    pub(super) more: bool,
}

/// Claims up to `limit` jobs of the lanes that are open here, rank by rank.
pub(super) async fn claim(core: &Core, queue: &QueueName, limit: usize) -> Result<Granted, BrokerError> {
    let setup = core.setup.load_full();
    let mut granted = Granted::default();
    for rank in gate::ranks(core, &setup, queue) {
        let room = limit - granted.claims.len();
        let part = if rank.by.is_empty() {
            claim_lanes(core, queue, rank.lanes, &[], room).await?
        } else {
            claim_narrow(core, queue, rank, room).await?
        };
        granted.join(part);
    }
    if !granted.claims.is_empty() {
        core.stillness.end(queue);
    }
    let last = granted.claims.last();
    if last.is_some_and(|(claim, _)| counter_of(claim.fence) > FENCES_MAX && !mutant!(fences_never_anew)) {
        core.session.fences_run_out();
    }
    Ok(granted)
}

impl Granted {
    fn join(&mut self, part: Self) {
        self.claims.extend(part.claims);
        self.more |= part.more;
        self.next_due_in_ms = match (self.next_due_in_ms, part.next_due_in_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// Claims as many jobs of lanes that breakers narrow as those let through: first the seats, then the jobs for them.
async fn claim_narrow(core: &Core, queue: &QueueName, narrow: Rank, room: usize) -> Result<Granted, BrokerError> {
    let mut seats: Vec<Leaves> = (0..room).map(|_| Leaves::new()).collect();
    for entry in &narrow.by {
        if !seats.is_empty() {
            let leaves = entry.reserve(core, seats.len(), narrow.timeout_ms).await;
            let kept = leaves.len().min(seats.len());
            seats.drain(kept..).flatten().for_each(Leave::rest);
            seats.iter_mut().zip(leaves).for_each(|(seat, leave)| seat.push(leave));
        }
    }
    let part = match claim_lanes(core, queue, narrow.lanes, &narrow.by, seats.len()).await {
        Ok(part) => part,
        Err(error) => {
            seats.into_iter().flatten().for_each(Leave::rest);
            return Err(error);
        }
    };
    let mut seats = seats.into_iter();
    let seated = part.claims.into_iter().zip(&mut seats).map(|((claim, mut others), seat)| {
        others.extend(seat);
        (claim, others)
    });
    let claims = seated.collect();
    seats.flatten().for_each(Leave::rest);
    // What is left in a narrow lane cannot be claimed now; whoever ends there speaks up.
    Ok(Granted { claims, more: false, ..part })
}

/// Claims up to `limit` jobs of these lanes. They run by leave of all their breakers but the `reserved` ones, as
/// those are before the claim: what changes meanwhile ends the leave.
async fn claim_lanes(
    core: &Core,
    queue: &QueueName,
    lanes: Vec<TypeName>,
    reserved: &[Arc<Entry>],
    limit: usize,
) -> Result<Granted, BrokerError> {
    if lanes.is_empty() || limit == 0 {
        return Ok(Granted::default());
    }
    let mut passes: HashMap<TypeName, Vec<(Arc<Entry>, Pass)>> = HashMap::new();
    for lane in &lanes {
        let mut gates = core.breakers.gates(lane);
        gates.retain(|entry| !reserved.iter().any(|other| Arc::ptr_eq(other, entry)));
        if !gates.is_empty() {
            let pass = |entry: Arc<Entry>| (entry.clone(), entry.pass());
            passes.insert(lane.clone(), gates.into_iter().map(pass).collect());
        }
    }
    let request = ClaimRequest {
        queue: queue.clone(),
        lanes,
        limit,
        node: core.params.node.clone(),
        lease_ms: core.lease_ms(),
        lock_ms: core.params.lock_ms,
        lock_wait_ms: core.params.lock_wait_ms,
    };
    let Claimed { claims, next_due_in_ms, more } = core.broker.claim(&request).await?;
    let enter = |claim: Claim| {
        let passes = passes.get(&claim.job_type).map(Vec::as_slice).unwrap_or_default();
        (claim, passes.iter().map(|(entry, pass)| entry.enter(*pass)).collect())
    };
    Ok(Granted { claims: claims.into_iter().map(enter).collect(), next_due_in_ms, more })
}

/// A claim with its row.
struct Claimant {
    run: Arc<Run>,
    claim: Claim,
    job: Option<Arc<Job>>,
}

/// Turns claims that were asked for at `asked` into assignments. Those that need no run are ended here. The flag says that the ledger
/// did not answer, so that some went back.
pub(super) async fn prepare(
    core: &Core,
    queue: &QueueName,
    asked: Instant,
    claims: Vec<(Claim, Leaves)>,
) -> (Vec<Assignment>, bool) {
    let clean = |(claim, _): &(Claim, Leaves)| if claim.suspect { 0 } else { claim.seq };
    let cached = core.payloads.take(claims.iter().map(clean));
    let trusted = leases::trusted_until(core, asked);
    let claimants: Vec<Claimant> = claims
        .into_iter()
        .zip(cached)
        .map(|((claim, leaves), job)| Claimant { run: core.running.add(queue, &claim, leaves, trusted), claim, job })
        .collect();
    // Others were told what runs here. What came too late for that is not started, or it might run twice.
    let epoch = core.membership.epoch();
    let (overtaken, claimants): (Vec<_>, Vec<_>) = claimants
        .into_iter()
        .partition(|claimant| epoch_of(claimant.claim.fence) < epoch && !mutant!(starts_after_telling));
    put_back(core, overtaken).await;
    let (ready, others): (Vec<_>, Vec<_>) = claimants.into_iter().partition(|claimant| claimant.job.is_some());
    let (suspects, cold): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|claimant| claimant.claim.suspect && !mutant!(no_confirm));

    let mut found = ready;
    let mut troubled = read_rows(core, cold, &mut found).await;
    troubled |= confirm(core, suspects, &mut found).await;

    let mut assignments = Vec::with_capacity(found.len());
    for claimant in found {
        assignments.extend(judge(core, claimant).await);
    }
    (assignments, troubled)
}

/// Reads the rows of clean claims that no cache holds.
async fn read_rows(core: &Core, cold: Vec<Claimant>, found: &mut Vec<Claimant>) -> bool {
    if cold.is_empty() {
        return false;
    }
    let seqs: Vec<Seq> = cold.iter().map(|claimant| claimant.claim.seq).collect();
    let rows = match core.ledger.live_jobs(&seqs).await {
        Ok(rows) => rows,
        Err(error) => {
            core.session.ledger_failed(&error);
            put_back(core, cold).await;
            return true;
        }
    };
    let mut rows: HashMap<Seq, Arc<Job>> = rows.into_iter().map(|job| (job.seq, Arc::new(job))).collect();
    for mut claimant in cold {
        claimant.job = rows.remove(&claimant.claim.seq);
        match claimant.job {
            Some(_) => found.push(claimant),
            None => drop_claim(core, &claimant.run).await,
        }
    }
    false
}

/// Writes the fences of claims that are not clean first deliveries and reads their rows.
async fn confirm(core: &Core, suspects: Vec<Claimant>, found: &mut Vec<Claimant>) -> bool {
    if suspects.is_empty() {
        return false;
    }
    let now = core.clock.now();
    let ask = |Claimant { claim, .. }: &Claimant| Confirm {
        seq: claim.seq,
        fence: claim.fence,
        deliveries: claim.counters.deliveries,
        crashes: claim.counters.crashes,
        deferrals: claim.counters.deferrals,
        now,
    };
    let asked: Vec<Confirm> = suspects.iter().map(ask).collect();
    match core.ledger.confirm(&asked).await {
        Ok(answers) => {
            for (mut claimant, answer) in suspects.into_iter().zip(answers) {
                match answer {
                    Confirmed::Live(job) => {
                        claimant.job = Some(Arc::new(*job));
                        found.push(claimant);
                    }
                    Confirmed::Void => drop_claim(core, &claimant.run).await,
                }
            }
            false
        }
        Err(error) => {
            core.session.ledger_failed(&error);
            put_back(core, suspects).await;
            true
        }
    }
}

/// The ledger knows the outcome, or a later fence: nothing is left to do here.
async fn drop_claim(core: &Core, run: &Arc<Run>) {
    metrics::idempotent_hit(run.queue.as_str());
    core.give_back(run, Release::Done { result: None }).await;
}

async fn put_back(core: &Core, claimants: Vec<Claimant>) {
    for Claimant { run, .. } in claimants {
        metrics::deferred(run.queue.as_str(), "lease", 1);
        core.give_back(&run, Release::Defer { due_at_ms: None }).await;
    }
}

/// Lets a job start, unless it is due later, poisonous, or too late.
async fn judge(core: &Core, claimant: Claimant) -> Option<Assignment> {
    let Claimant { run, claim, job } = claimant;
    let job = job?;
    let now = core.clock.now();
    let counters = if claim.suspect {
        Counters { attempts: job.counters.attempts, ..larger(claim.counters, job.counters) }
    } else {
        claim.counters
    };
    // The broker decides what is due, by its own clock; the row knows better only where the broker lost its due
    // time. By this node's clock, if it is slow, the same entry would come back at once, again and again.
    let broker_now = if mutant!(due_by_node_clock) { now } else { Timestamp(core.broker.now_ms()) };
    if let Some(due) = job.spec.due_at.filter(|due| claim.suspect && *due > broker_now.plus_ms(DUE_TOLERANCE_MS)) {
        metrics::deferred(run.queue.as_str(), "due_later", 1);
        core.give_back(&run, Release::Defer { due_at_ms: Some(due.millis()) }).await;
        return None;
    }
    if let Some(why) = claim.suspect.then(|| poison(&counters, &job.crashed_at, job.spec.max_attempts, now)).flatten() {
        tracing::warn!(job.id = %run.id, "Job {} goes to review: {why}", run.id);
        let unrun = Unrun { state: State::InReview, reason: ReviewReason::Poison, why: Failure::new("poison", why) };
        core.rest_unrun(&run, &job, counters, unrun).await;
        return None;
    }
    let catalog = core.catalog();
    if let Some((state, why)) = catalog.types.get(&run.job_type).and_then(|known| too_late(known, &job, now)) {
        core.rest_unrun(&run, &job, counters, Unrun { state, reason: ReviewReason::Late, why }).await;
        return None;
    }
    if !fits_budget(core, &run, &counters, now) {
        metrics::deferred(run.queue.as_str(), "budget", 1);
        core.put_off(&run, &job, counters, postpone_ms(core.chance.share())).await;
        return None;
    }
    Some(Assignment { run, job, counters, redelivered: claim.suspect })
}

/// Whether a job may make this attempt as far as the retry budgets of what it depends on go.
fn fits_budget(core: &Core, run: &Run, counters: &Counters, now: Timestamp) -> bool {
    let gates = core.breakers.gates(&run.job_type);
    let names: Vec<&str> = gates.iter().map(|entry| entry.name()).collect();
    match counters.attempts {
        0 if counters.deliveries <= 1 => core.budgets.first(&run.queue, names.into_iter(), now),
        0 => {}
        _ => return core.budgets.may_retry(&run.queue, &names, &core.setup.load().retry_budget, now),
    }
    true
}

fn larger(one: Counters, other: Counters) -> Counters {
    Counters {
        attempts: one.attempts.max(other.attempts),
        deliveries: one.deliveries.max(other.deliveries),
        crashes: one.crashes.max(other.crashes),
        deferrals: one.deferrals.max(other.deferrals),
    }
}

/// Where a job goes that is past its SLA before its first run, if its type says so.
pub(super) fn too_late(known: &JobType, job: &Job, now: Timestamp) -> Option<(State, Failure)> {
    let sla_ms = known.sla_ms.filter(|_| known.on_late != OnLate::Run && job.counters.attempts == 0)?;
    if now.since(job.waits_from).unsigned_abs() <= sla_ms {
        return None;
    }
    let why = Failure::new("late", format!("not started within its SLA of {sla_ms} ms"));
    Some((if known.on_late == OnLate::Expire { State::Expired } else { State::InReview }, why))
}
