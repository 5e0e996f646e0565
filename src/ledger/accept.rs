//! Accepting jobs: the rules, written once over five small steps that each store takes in its own way.
//!
//! A job is known by its id and by its keys (given id, idempotency key). The first to hold all of them
//! is created; whoever meets a holder is told of it. Keys are taken before anything is looked at, so
//! two callers with one key cannot both find it free; a job that gets only one of its two keys gives
//! that one back. Ids are looked at in a later step than the taking of keys, so that a row that moves
//! from live to rest meanwhile is seen in one place or the other.

use std::collections::{HashMap, HashSet};
use std::future::Future;

use super::{Accepted, id_key, keys_of, same_fingerprint};
use crate::job::{Fingerprint, JobId, NewJob, Seq};
use crate::mutant::mutant;

/// How often keys may change hands under one batch before it gives up. Each round settles every job
/// whose keys stood still, so more than two need an operator deleting jobs at that very moment.
const ROUNDS_MAX: usize = 8;

/// Who holds a key.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) id: JobId,
    pub(super) fingerprint: Fingerprint,
    pub(super) at_rest: bool,
}

/// A row that has an id.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub(super) seq: Seq,
    pub(super) fingerprint: Fingerprint,
    pub(super) at_rest: bool,
}

/// A key wanted for a job.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) key: String,
    pub(super) job: &'a NewJob,
}

/// The steps, all within one transaction (or a single one by itself).
pub(super) trait AcceptSteps: Send {
    /// Takes keys that are free; answers those.
    fn take_keys(&mut self, wanted: &[Wanted<'_>]) -> impl Future<Output = sqlx::Result<HashSet<String>>> + Send;
    /// Who holds keys.
    fn find_keys(&mut self, keys: &[String]) -> impl Future<Output = sqlx::Result<HashMap<String, Holder>>> + Send;
    /// Gives keys back.
    fn return_keys(&mut self, keys: &[String]) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Which rows have these ids.
    fn find_ids(&mut self, ids: &[&JobId]) -> impl Future<Output = sqlx::Result<HashMap<JobId, Present>>> + Send;
    /// Inserts live rows unless their id is live; answers the new ones.
    fn insert(&mut self, jobs: &[&NewJob]) -> impl Future<Output = sqlx::Result<HashMap<JobId, Seq>>> + Send;
}

/// Whether jobs need more than the one step of inserting them.
pub(super) fn any_keyed(jobs: &[NewJob]) -> bool {
    jobs.iter().any(|job| job.id_given || job.idempotency_key.is_some())
}

/// Whether jobs meet a holder of their id or keys; answers in order.
pub(super) async fn known(steps: &mut impl AcceptSteps, jobs: &[NewJob]) -> sqlx::Result<Vec<bool>> {
    let keys: Vec<String> = jobs.iter().flat_map(keys_of).collect();
    if keys.is_empty() {
        return Ok(vec![false; jobs.len()]);
    }
    let holders = steps.find_keys(&keys).await?;
    let given: Vec<&JobId> = jobs.iter().filter(|job| job.id_given).map(|job| &job.id).collect();
    let present = if given.is_empty() { HashMap::new() } else { steps.find_ids(&given).await? };
    let held = |job: &NewJob| keys_of(job).iter().any(|key| holders.contains_key(key));
    Ok(jobs.iter().map(|job| held(job) || (job.id_given && present.contains_key(&job.id))).collect())
}

/// Accepts jobs; answers in order.
pub(super) async fn accept(
    steps: &mut impl AcceptSteps,
    jobs: &[NewJob],
    repeated: bool,
) -> sqlx::Result<Vec<Accepted>> {
    let mut answers: Vec<Option<Accepted>> = vec![None; jobs.len()];
    let mut open: Vec<usize> = (0..jobs.len()).collect();
    for _ in 0..ROUNDS_MAX {
        if open.is_empty() {
            break;
        }
        let (firsts, later) = fold(jobs, &open);
        let mut round = Round::default();
        round.own_keys(steps, jobs, &firsts, &later).await?;
        round.meet_holders(steps, jobs, &firsts, repeated).await?;
        round.insert(steps, jobs).await?;
        round.answer(jobs, &open, &mut answers);
        open.retain(|&at| answers[at].is_none());
    }
    let all: Option<Vec<Accepted>> = answers.into_iter().collect();
    all.ok_or_else(|| sqlx::Error::Protocol("keys of the batch kept changing hands".to_owned()))
}

/// Parts jobs into those that share no id or key with an earlier one, and the others.
fn fold(jobs: &[NewJob], open: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut seen: HashSet<String> = HashSet::new();
    let mut ids: HashSet<&JobId> = HashSet::with_capacity(open.len());
    open.iter().copied().partition(|&at| {
        let keys = keys_of(&jobs[at]);
        if ids.contains(&jobs[at].id) || keys.iter().any(|key| seen.contains(key)) {
            return false;
        }
        ids.insert(&jobs[at].id);
        seen.extend(keys);
        true
    })
}

/// What one round has found out.
#[derive(Debug, Default)]
struct Round {
    /// Keys that were taken and stay with the job that wanted them.
    owned: HashSet<String>,
    /// Holders of keys that others have.
    holders: HashMap<String, Holder>,
    /// Rows by id.
    present: HashMap<JobId, Present>,
    /// Jobs to insert, by index.
    fresh: Vec<usize>,
    /// Jobs that this round created.
    created: HashMap<JobId, (Seq, usize)>,
    /// Keys that a created job holds.
    created_keys: HashMap<String, usize>,
}

impl Round {
    /// Takes the keys of the first of each kind, and looks up who holds those that were not free.
    async fn own_keys(
        &mut self,
        steps: &mut impl AcceptSteps,
        jobs: &[NewJob],
        firsts: &[usize],
        later: &[usize],
    ) -> sqlx::Result<()> {
        let wanted = |&at: &usize| keys_of(&jobs[at]).into_iter().map(move |key| Wanted { key, job: &jobs[at] });
        let mut keys: Vec<Wanted<'_>> = firsts.iter().flat_map(wanted).collect();
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        self.owned = steps.take_keys(&keys).await?;
        let all: HashSet<String> = keys.into_iter().chain(later.iter().flat_map(wanted)).map(|want| want.key).collect();
        let others: Vec<String> = all.into_iter().filter(|key| !self.owned.contains(key)).collect();
        if !others.is_empty() {
            self.holders = steps.find_keys(&others).await?;
        }
        Ok(())
    }

    /// Decides who may be inserted, and gives back the keys of those who may not.
    async fn meet_holders(
        &mut self,
        steps: &mut impl AcceptSteps,
        jobs: &[NewJob],
        firsts: &[usize],
        repeated: bool,
    ) -> sqlx::Result<()> {
        // An id without a key of its own may be known all the same: it was generated, and its caller or
        // the committer repeats it after a commit whose answer was lost.
        let is_repeated = repeated && !mutant!(repeat_forgotten);
        let doubtful: Vec<&JobId> = firsts
            .iter()
            .map(|&at| &jobs[at])
            .filter(|j| is_repeated || !keys_of(j).is_empty())
            .map(|j| &j.id)
            .collect();
        if !doubtful.is_empty() {
            self.present = steps.find_ids(&doubtful).await?;
        }
        let mut back = Vec::new();
        for &at in firsts {
            let keys = keys_of(&jobs[at]);
            let owns_all = keys.iter().all(|key| self.owned.contains(key));
            if owns_all && !self.present.contains_key(&jobs[at].id) {
                self.fresh.push(at);
            } else {
                back.extend(keys.into_iter().filter(|key| self.owned.remove(key)));
            }
        }
        if back.is_empty() { Ok(()) } else { steps.return_keys(&back).await }
    }

    /// Inserts, and looks at the ids that turned out to be known.
    async fn insert(&mut self, steps: &mut impl AcceptSteps, jobs: &[NewJob]) -> sqlx::Result<()> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let fresh: Vec<&NewJob> = self.fresh.iter().map(|&at| &jobs[at]).collect();
        let new = steps.insert(&fresh).await?;
        let mut known = Vec::new();
        let mut back = Vec::new();
        for &at in &self.fresh {
            let (job, keys) = (&jobs[at], keys_of(&jobs[at]));
            if let Some(&seq) = new.get(&job.id) {
                self.created.insert(job.id.clone(), (seq, at));
                self.created_keys.extend(keys.into_iter().map(|key| (key, at)));
            } else {
                known.push(&job.id);
                back.extend(keys.into_iter().filter(|key| self.owned.remove(key)));
            }
        }
        if !known.is_empty() {
            self.present.extend(steps.find_ids(&known).await?);
        }
        if back.is_empty() { Ok(()) } else { steps.return_keys(&back).await }
    }

    /// Answers every job whose id or keys are known now; the others are open for another round.
    fn answer(&self, jobs: &[NewJob], open: &[usize], answers: &mut [Option<Accepted>]) {
        for &at in open {
            answers[at] = self.created_now(jobs, at).or_else(|| self.known_before(&jobs[at]));
        }
    }

    /// A job of this round, or one that meets a job of this round.
    fn created_now(&self, jobs: &[NewJob], at: usize) -> Option<Accepted> {
        let job = &jobs[at];
        if let Some(&(seq, by)) = self.created.get(&job.id).filter(|(_, by)| *by == at) {
            debug_assert_eq!(by, at);
            return Some(Accepted::Created { seq });
        }
        let by_id = self.created.get(&job.id).map(|&(_, by)| by);
        let first = by_id.or_else(|| keys_of(job).iter().find_map(|key| self.created_keys.get(key).copied()))?;
        let first = &jobs[first];
        Some(Accepted::Existing {
            id: first.id.clone(),
            same: same_fingerprint(&first.fingerprint, &job.fingerprint),
            at_rest: false,
        })
    }

    /// A job that was known before this batch.
    fn known_before(&self, job: &NewJob) -> Option<Accepted> {
        let holder = keys_of(job).iter().find_map(|key| self.holders.get(key));
        let present = self.present.get(&job.id);
        if let Some(row) = present
            && !job.id_given
            && holder.is_none_or(|holder| holder.id == job.id)
            && same_fingerprint(&row.fingerprint, &job.fingerprint)
        {
            // A generated id can only meet itself: the answer to an earlier commit was lost.
            return Some(Accepted::Created { seq: row.seq });
        }
        // The given id speaks first, be it held by a key or by a row alone.
        let by_id_key = job.id_given && self.holders.contains_key(&id_key(&job.id));
        match (holder, present) {
            (Some(holder), None) => Some(existing(&holder.id, &holder.fingerprint, holder.at_rest, job)),
            (Some(holder), Some(_)) if by_id_key || holder.id == job.id => {
                Some(existing(&holder.id, &holder.fingerprint, holder.at_rest, job))
            }
            (_, Some(row)) => Some(existing(&job.id, &row.fingerprint, row.at_rest, job)),
            (None, None) => None,
        }
    }
}

fn existing(id: &JobId, fingerprint: &Fingerprint, at_rest: bool, job: &NewJob) -> Accepted {
    Accepted::Existing { id: id.clone(), same: same_fingerprint(fingerprint, &job.fingerprint), at_rest }
}
