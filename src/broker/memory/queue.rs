//! One queue in memory: the moves themselves, on plain collections.
//!
//! Every entry is in exactly one place: its lane, the set of what is due later, or the leases.
//! The ordered sets hold only (number, id) pairs; the entries themselves stand in one map.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;

use crate::broker::{
    self, Claim, ClaimRequest, Claimed, Depth, EntryView, Held, LeaseRef, LeaseView, Push, Pushed, Reaped, Release,
    Removed, Scanned, Settle, Which,
};
use crate::job::{Counters, Fence, JobId, NodeId, Priority, QueueName, Seq, TypeName};
use crate::mutant::mutant;

/// How many due entries one claim moves into their lanes; the rest follows with the next claim, so
/// that a burst of due entries delays no single claim.
const PROMOTIONS_MAX: usize = 200;

/// The counter's share of a fence: the low 32 bits.
const FENCE_COUNTERS: i64 = 1 << 32;

/// One queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    /// The epoch it is in; `None` before its first reset or opening.
    pub(super) epoch: Option<i64>,
    /// Whether claims are open.
    pub(super) open: bool,
    counter: i64,
    /// The highest life that was ever pushed as suspect, or was not there when it was to be removed.
    suspect_seq: Seq,
    paused: BTreeSet<Option<TypeName>>,
    entries: HashMap<JobId, Entry>,
    lanes: BTreeMap<TypeName, BTreeSet<(i64, JobId)>>,
    later: BTreeSet<(i64, JobId)>,
    leases: BTreeSet<(i64, JobId)>,
    ready: [u64; 5],
}

#[derive(Debug, Clone)]
struct Entry {
    seq: Seq,
    job_type: TypeName,
    priority: Priority,
    score: i64,
    clean: bool,
    keyed: bool,
    counters: Counters,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    Lane,
    Later { due_at_ms: i64 },
    Leased { deadline_ms: i64, lease: LeaseView },
}

impl Entry {
    fn is_held_by(&self, lease: &LeaseRef) -> bool {
        let is_same_life = self.seq == lease.seq || mutant!(seq_ignored);
        is_same_life && matches!(&self.place, Place::Leased { lease: held, .. } if held.fence == lease.fence)
    }

    fn view(&self, id: &JobId) -> EntryView {
        let lease = match &self.place {
            Place::Leased { lease, .. } => Some(lease.clone()),
            Place::Lane | Place::Later { .. } => None,
        };
        EntryView { id: id.clone(), seq: self.seq, job_type: self.job_type.clone(), counters: self.counters, lease }
    }
}

impl Queue {
    /// Empties the queue and enters `epoch` with claims closed. A repeat within one epoch keeps the
    /// fence counter: a fence is never issued twice.
    pub(super) fn reset(&mut self, epoch: i64) {
        let counter = if self.epoch == Some(epoch) && !mutant!(fences_anew_at_reset) { self.counter } else { 0 };
        *self = Self { epoch: Some(epoch), counter, ..Self::default() };
    }

    /// Enters a later epoch and keeps everything; fences count anew above all older ones.
    pub(super) fn advance(&mut self, epoch: i64) {
        self.epoch = Some(epoch);
        self.counter = 0;
    }

    /// Leases a waiting entry under the fence that its holder had.
    pub(super) fn restore(&mut self, held: &Held, now: i64, lease_ms: i64) -> bool {
        let lease = &held.lease;
        match self.entries.get(&lease.id) {
            Some(entry) if entry.is_held_by(lease) => return true,
            Some(Entry { seq, place: Place::Lane, .. }) if *seq == lease.seq => {}
            _ => return false,
        }
        let Some(mut entry) = self.take_out(&lease.id) else { return false };
        let deadline_ms = now + lease_ms;
        let view = LeaseView { fence: lease.fence, node: held.node.clone(), claimed_at_ms: now };
        entry.counters = held.counters;
        entry.place = Place::Leased { deadline_ms, lease: view };
        self.leases.insert((deadline_ms, lease.id.clone()));
        self.entries.insert(lease.id.clone(), entry);
        true
    }

    /// Whether claims of `epoch` may be opened: it is in that epoch, or has nothing of a former one.
    pub(super) fn can_enter(&self, epoch: i64) -> bool {
        self.epoch.is_none_or(|found| found == epoch || (found < epoch && self.entries.is_empty()))
    }

    /// Opens claims, entering `epoch` first if the queue is new to it.
    pub(super) fn open(&mut self, epoch: i64) {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.counter = 0;
        }
        self.open = true;
    }

    pub(super) fn set_paused(&mut self, job_type: Option<&TypeName>, paused: bool) {
        if paused {
            self.paused.insert(job_type.cloned());
        } else {
            self.paused.remove(&job_type.cloned());
        }
    }

    pub(super) fn push(&mut self, push: &Push, now: i64) -> Pushed {
        if push.clean_until_ms == 0 && !mutant!(suspects_forgotten) {
            self.suspect_seq = self.suspect_seq.max(push.seq);
        }
        let mut answer = Pushed::Added;
        if let Some(found) = self.entries.get(&push.id) {
            if found.seq == push.seq {
                return Pushed::Present;
            }
            if found.seq > push.seq {
                return Pushed::Outlived;
            }
            answer = Pushed::Replaced;
            self.take_out(&push.id);
        }
        let is_young = push.clean_until_ms >= now || (mutant!(clean_for_ever) && push.clean_until_ms > 0);
        let entry = Entry {
            seq: push.seq,
            job_type: push.job_type.clone(),
            priority: push.priority,
            score: push.score,
            clean: is_young && push.seq > self.suspect_seq,
            keyed: push.keyed,
            counters: push.counters,
            place: Place::Lane,
        };
        self.put(push.id.clone(), entry, push.due_at_ms.unwrap_or(now), now);
        answer
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest, now: i64) -> Claimed {
        if !self.open || self.paused.contains(&None) {
            return Claimed::default();
        }
        self.promote(now, PROMOTIONS_MAX);
        let lanes: Vec<&TypeName> =
            request.lanes.iter().filter(|&lane| !self.paused.contains(&Some(lane.clone()))).collect();
        let heads = lanes.iter().enumerate().filter_map(|(at, &lane)| self.head(lane, at));
        let mut heads: BinaryHeap<Reverse<(i64, JobId, usize)>> = heads.collect();
        let mut claims = Vec::new();
        while claims.len() < request.limit {
            let Some(Reverse((score, id, at))) = heads.pop() else { break };
            self.leave_lane(lanes[at], score, &id);
            heads.extend(self.head(lanes[at], at));
            claims.extend(self.lease(id, request, now));
        }
        let next_due_in_ms = self.later.first().map(|&(due, _)| (due - now).max(0));
        Claimed { claims, next_due_in_ms, more: !heads.is_empty() || next_due_in_ms == Some(0) }
    }

    pub(super) fn renew(&mut self, lease: &LeaseRef, deadline_ms: i64) -> bool {
        let Some(entry) = self.entries.get_mut(&lease.id).filter(|entry| entry.is_held_by(lease)) else {
            return mutant!(renewal_always_held);
        };
        if let Place::Leased { deadline_ms: held, .. } = &mut entry.place {
            self.leases.remove(&(*held, lease.id.clone()));
            *held = deadline_ms;
            self.leases.insert((deadline_ms, lease.id.clone()));
        }
        true
    }

    pub(super) fn settle(&mut self, settle: &Settle, now: i64) -> bool {
        let lease = &settle.lease;
        if !self.entries.get(&lease.id).is_some_and(|entry| entry.is_held_by(lease)) {
            return false;
        }
        let Some(mut entry) = self.take_out(&lease.id) else { return false };
        let due_at_ms = match &settle.release {
            Release::Done { .. } => return true,
            Release::Retry { due_at_ms } => {
                entry.counters.attempts += 1;
                *due_at_ms
            }
            Release::Defer { due_at_ms } => {
                entry.counters.deferrals += 1;
                due_at_ms.unwrap_or(now)
            }
            Release::Crash => {
                entry.counters.crashes += 1;
                entry.counters.attempts += u32::from(mutant!(crash_spends_attempt));
                now
            }
        };
        entry.clean &= mutant!(return_stays_clean);
        self.put(lease.id.clone(), entry, due_at_ms, now);
        true
    }

    pub(super) fn reap(&mut self, living: &[NodeId], limit: usize, now: i64) -> Reaped {
        let mut reaped = Reaped::default();
        for _ in 0..limit {
            let Some((_, id)) = self.leases.first().filter(|&&(deadline, _)| deadline <= now).cloned() else { break };
            let Some(mut entry) = self.take_out(&id) else { break };
            let lives = matches!(&entry.place, Place::Leased { lease, .. } if living.contains(&lease.node));
            if lives {
                entry.counters.deferrals += 1;
                reaped.deferred.push(id.clone());
            } else {
                entry.counters.crashes += 1;
                reaped.crashed.push(id.clone());
            }
            entry.clean = false;
            self.put(id, entry, now, now);
        }
        reaped
    }

    pub(super) fn remove(&mut self, id: &JobId, seq: Seq, which: Which) -> Removed {
        match self.entries.get(id) {
            Some(Entry { place: Place::Leased { lease, .. }, seq: found, .. })
                if which == Which::Waiting && *found <= seq =>
            {
                return Removed::Leased(lease.node.clone());
            }
            Some(entry) if entry.seq <= seq || mutant!(removal_of_any_life) => {}
            Some(_later_life) => return Removed::Absent,
            None => {
                self.suspect_seq = self.suspect_seq.max(if mutant!(suspects_forgotten) { 0 } else { seq });
                return Removed::Absent;
            }
        }
        match self.take_out(id).map(|entry| entry.place) {
            Some(Place::Leased { lease, .. }) => Removed::Leased(lease.node),
            Some(Place::Lane | Place::Later { .. }) => Removed::Waiting,
            None => Removed::Absent,
        }
    }

    pub(super) fn depth(&mut self, lanes: &[TypeName], now: i64) -> Depth {
        self.promote(now, usize::MAX);
        let count = |lane: &TypeName| self.lanes.get(lane).map_or(0, |waiting| waiting.len() as u64);
        let head = |lane: &TypeName| Some((lane.clone(), self.lanes.get(lane)?.first()?.0));
        Depth {
            ready: self.ready,
            lanes: lanes.iter().map(|lane| (lane.clone(), count(lane))).collect(),
            heads: lanes.iter().filter_map(head).collect(),
            later: self.later.len() as u64,
            leased: self.leases.len() as u64,
            head_score: self.lanes.values().filter_map(|lane| lane.first().map(|&(score, _)| score)).min(),
            paused: self.paused.iter().cloned().collect(),
        }
    }

    pub(super) fn inspect(&self, id: &JobId) -> Option<EntryView> {
        self.entries.get(id).map(|entry| entry.view(id))
    }

    pub(super) fn place_of(&self, id: &JobId, lanes: &[TypeName]) -> Option<broker::Place> {
        let entry = self.entries.get(id)?;
        let at = (entry.score, id.clone());
        let before = |lane: &TypeName| Some(self.lanes.get(lane)?.range(..at.clone()).count() as u64);
        Some(broker::Place {
            entry: entry.view(id),
            due_at_ms: if let Place::Later { due_at_ms } = entry.place { Some(due_at_ms) } else { None },
            ahead: (entry.place == Place::Lane).then(|| lanes.iter().filter_map(before).sum()),
            lock: None,
        })
    }

    pub(super) fn leases(&self, limit: usize) -> Vec<EntryView> {
        self.leases.iter().take(limit).filter_map(|(_, id)| self.inspect(id)).collect()
    }

    /// A part of all entries, place by place; the cursor names the last one met.
    pub(super) fn scan(&self, cursor: Option<&str>, limit: usize) -> (Vec<Scanned>, Option<String>) {
        let lanes = self.lanes.iter().map(|(lane, waiting)| (format!("lane {lane}"), waiting));
        let places = lanes.chain([("later".to_owned(), &self.later), ("leases".to_owned(), &self.leases)]);
        let from = cursor.and_then(read_cursor);
        let mut met = Vec::new();
        for (place, ids) in places {
            let after = match &from {
                Some((reached, _, _)) if place < *reached => continue,
                Some((reached, number, id)) if place == *reached => Bound::Excluded((*number, id.clone())),
                _ => Bound::Unbounded,
            };
            for (number, id) in ids.range((after, Bound::Unbounded)) {
                let seq = self.entries.get(id).map_or(0, |entry| entry.seq);
                met.push(Scanned { id: id.clone(), seq, leased: place == "leases", misplaced: false });
                if met.len() >= limit.max(1) {
                    return (met, Some(format!("{place};{number};{id}")));
                }
            }
        }
        (met, None)
    }

    // --- the moves that the steps above are made of ---

    /// Moves up to `limit` due entries into their lanes.
    fn promote(&mut self, now: i64, limit: usize) {
        for _ in 0..limit {
            let Some((due, id)) = self.later.first().filter(|&&(due, _)| due <= now).cloned() else { break };
            self.later.remove(&(due, id.clone()));
            if let Some(entry) = self.entries.remove(&id) {
                self.put(id, entry, due, now);
            }
        }
    }

    /// The smallest entry of a lane, marked with the lane's place in the request.
    fn head(&self, lane: &TypeName, at: usize) -> Option<Reverse<(i64, JobId, usize)>> {
        let waiting = self.lanes.get(lane)?;
        let (score, id) = if mutant!(order_lost) { waiting.last()? } else { waiting.first()? };
        Some(Reverse((*score, id.clone(), at)))
    }

    /// Puts an entry that is nowhere into its lane, or among what is due later.
    fn put(&mut self, id: JobId, mut entry: Entry, due_at_ms: i64, now: i64) {
        if due_at_ms > now {
            entry.place = Place::Later { due_at_ms };
            self.later.insert((due_at_ms, id.clone()));
        } else {
            entry.place = Place::Lane;
            self.ready[slot(entry.priority)] += 1;
            // Looked up first, so that the common path copies no name.
            if let Some(lane) = self.lanes.get_mut(&entry.job_type) {
                lane.insert((entry.score, id.clone()));
            } else {
                self.lanes.insert(entry.job_type.clone(), BTreeSet::from([(entry.score, id.clone())]));
            }
        }
        self.entries.insert(id, entry);
    }

    /// Takes an entry out of wherever it is.
    fn take_out(&mut self, id: &JobId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        match &entry.place {
            Place::Lane => {
                self.leave_lane(&entry.job_type, entry.score, id);
                self.ready[slot(entry.priority)] -= 1;
            }
            Place::Later { due_at_ms } => {
                self.later.remove(&(*due_at_ms, id.clone()));
            }
            Place::Leased { deadline_ms, .. } => {
                self.leases.remove(&(*deadline_ms, id.clone()));
            }
        }
        Some(entry)
    }

    fn leave_lane(&mut self, lane: &TypeName, score: i64, id: &JobId) {
        if let Some(waiting) = self.lanes.get_mut(lane) {
            waiting.remove(&(score, id.clone()));
        }
    }

    /// Leases an entry that has left its lane, under a fresh fence.
    fn lease(&mut self, id: JobId, request: &ClaimRequest, now: i64) -> Option<Claim> {
        let epoch = if mutant!(fence_without_epoch) { 1 } else { self.epoch? };
        let fence: Fence = epoch * FENCE_COUNTERS + self.counter + 1;
        let entry = self.entries.get_mut(&id)?;
        self.counter += 1;
        self.ready[slot(entry.priority)] -= 1;
        entry.counters.deliveries += 1;
        let deadline_ms = now + request.lease_ms;
        let lease = LeaseView { fence, node: request.node.clone(), claimed_at_ms: now };
        entry.place = Place::Leased { deadline_ms, lease };
        self.leases.insert((deadline_ms, id.clone()));
        Some(Claim {
            id,
            seq: entry.seq,
            job_type: entry.job_type.clone(),
            score: entry.score,
            fence,
            counters: entry.counters,
            suspect: !entry.clean || (entry.counters.deliveries > 1 && !mutant!(return_stays_clean)),
            keyed: entry.keyed,
        })
    }
}

/// Place, number and id of the last entry that a scan met.
fn read_cursor(cursor: &str) -> Option<(String, i64, JobId)> {
    let mut parts = cursor.split(';');
    Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, JobId::stored(parts.next()?)))
}

fn slot(priority: Priority) -> usize {
    usize::from(priority.number()) - 1
}

/// The queues by name.
pub(super) type Queues = HashMap<QueueName, Queue>;
