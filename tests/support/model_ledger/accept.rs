//! Accepting jobs: who holds an id or a key, and who gets them.

use std::collections::{BTreeMap, BTreeSet};

use ganger::job::{Counters, Fingerprint, Job, JobId, NewJob, Seq};
use ganger::ledger::{Accepted, id_key, keys_of};

use super::{KeyRow, Row, Store};

/// Who is known under an id or a key.
#[derive(Debug, Clone)]
struct Known {
    id: JobId,
    seq: Seq,
    fingerprint: Fingerprint,
    at_rest: bool,
}

impl Known {
    fn existing(&self, job: &NewJob) -> Accepted {
        Accepted::Existing { id: self.id.clone(), same: self.fingerprint == job.fingerprint, at_rest: self.at_rest }
    }
}

impl Store {
    /// Accepts jobs; answers in order. `lives` gives the new lives.
    pub(super) fn accept(&mut self, jobs: &[NewJob], lives: &mut impl FnMut(&mut Self) -> Seq) -> Vec<Accepted> {
        let mut answers: Vec<Option<Accepted>> = vec![None; jobs.len()];
        // In rounds, as in the real ledgers: those that share an id or a key with an earlier job of the
        // batch wait until it is known what became of that one.
        while answers.iter().any(Option::is_none) {
            let open: Vec<usize> = (0..jobs.len()).filter(|&at| answers[at].is_none()).collect();
            let known: BTreeMap<usize, Option<Accepted>> =
                open.iter().map(|&at| (at, self.known_before(&jobs[at]))).collect();
            let mut created: Vec<(usize, Seq)> = Vec::new();
            for at in firsts(jobs, &open) {
                if known[&at].is_none() {
                    let seq = lives(self);
                    self.insert(seq, &jobs[at]);
                    created.push((at, seq));
                }
            }
            for at in open {
                answers[at] = created_now(jobs, &created, at).or_else(|| known[&at].clone());
            }
        }
        answers.into_iter().flatten().collect()
    }

    fn insert(&mut self, seq: Seq, job: &NewJob) {
        for key in keys_of(job) {
            self.keys.insert(key, KeyRow { id: job.id.clone(), fingerprint: job.fingerprint, rest_at: None });
        }
        let fresh = Job {
            seq,
            waits_from: job.due_at.unwrap_or(job.accepted_at),
            spec: job.clone(),
            counters: Counters::default(),
            fence: 0,
            crashed_at: Vec::new(),
            history: Vec::new(),
            error: None,
            rest: None,
        };
        self.live.insert(seq, Row { job: fresh, settled: 0 });
    }

    /// Whether a job's given id or key is known.
    pub(super) fn knows(&self, job: &NewJob) -> bool {
        let mut rows = self.live.values().chain(self.finished.values());
        keys_of(job).iter().any(|key| self.keys.contains_key(key))
            || (job.id_given && rows.any(|row| row.job.spec.id == job.id))
    }

    /// The answer to a job whose id or keys were known before.
    fn known_before(&self, job: &NewJob) -> Option<Accepted> {
        let holder = keys_of(job).iter().find_map(|key| self.keys.get(key)).map(|key| Known {
            id: key.id.clone(),
            seq: 0,
            fingerprint: key.fingerprint,
            at_rest: key.rest_at.is_some(),
        });
        let rows = self.live.values().chain(self.finished.values());
        let row = rows.map(|row| &row.job).find(|row| row.spec.id == job.id).map(|row| Known {
            id: job.id.clone(),
            seq: row.seq,
            fingerprint: row.spec.fingerprint,
            at_rest: row.rest.is_some(),
        });
        match (holder, row) {
            // A generated id can only meet itself: the answer to an earlier commit was lost.
            (holder, Some(row))
                if !job.id_given
                    && holder.as_ref().is_none_or(|holder| holder.id == job.id)
                    && row.fingerprint == job.fingerprint =>
            {
                Some(Accepted::Created { seq: row.seq })
            }
            (Some(holder), Some(_)) if self.holds_id(job) || holder.id == job.id => Some(holder.existing(job)),
            (_, Some(row)) => Some(row.existing(job)),
            (Some(holder), None) => Some(holder.existing(job)),
            (None, None) => None,
        }
    }

    /// Whether the given id of a job is held by a key.
    fn holds_id(&self, job: &NewJob) -> bool {
        job.id_given && self.keys.contains_key(&id_key(&job.id))
    }
}

/// Those that share no id or key with an earlier one.
fn firsts(jobs: &[NewJob], open: &[usize]) -> Vec<usize> {
    let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut is_first = |at: &usize| {
        let job = &jobs[*at];
        let wanted = keys_of(job);
        if ids.contains(&job.id) || wanted.iter().any(|key| keys.contains(key)) {
            return false;
        }
        ids.insert(job.id.clone());
        keys.extend(wanted);
        true
    };
    open.iter().copied().filter(|at| is_first(at)).collect()
}

/// The answer to a job that was created now, or that meets one of the same batch that was.
fn created_now(jobs: &[NewJob], created: &[(usize, Seq)], at: usize) -> Option<Accepted> {
    if let Some(&(_, seq)) = created.iter().find(|(by, _)| *by == at) {
        return Some(Accepted::Created { seq });
    }
    let job = &jobs[at];
    let by_id = created.iter().find(|(by, _)| jobs[*by].id == job.id);
    let by_key =
        || keys_of(job).iter().find_map(|key| created.iter().find(|(by, _)| keys_of(&jobs[*by]).contains(key)));
    let first = &jobs[by_id.or_else(by_key)?.0];
    Some(Accepted::Existing { id: first.id.clone(), same: first.fingerprint == job.fingerprint, at_rest: false })
}
