//! The rest of the model: retention, tallies, nodes, terms, identity.

use ganger::clock::Timestamp;
use ganger::job::{NodeId, Seq, State};
use ganger::ledger::{Dropped, Heard, Identity, Node, Outlived, Retention, Tally};

use super::{Row, Store};

/// The most rows that one pass of retention drops.
const PASS_MAX: usize = 2_000;
/// After how long a silent node is no longer spoken of.
const SILENT_MS: i64 = 3_600_000;

impl Store {
    pub(super) fn retain(&mut self, retention: Retention, now: Timestamp) -> Dropped {
        let weight = |row: &Row| {
            let result = row.job.rest.as_ref().and_then(|rest| rest.result.as_ref());
            (row.job.spec.payload.len() + result.map_or(0, bytes::Bytes::len)) as u64
        };
        let finished_at = |row: &Row| row.job.rest.as_ref().map_or(Timestamp(0), |rest| rest.finished_at);
        let reviewed = |row: &Row| row.job.rest.as_ref().is_some_and(|rest| rest.state == State::InReview);
        let mut oldest: Vec<(Timestamp, Seq, u64)> = self
            .finished
            .iter()
            .filter(|(_, row)| !reviewed(row))
            .map(|(seq, row)| (finished_at(row), *seq, weight(row)))
            .collect();
        oldest.sort_unstable();
        let (mut jobs, mut bytes) = (oldest.len() as u64, oldest.iter().map(|(_, _, bytes)| bytes).sum::<u64>());
        let mut dropped = Dropped::default();
        let mut kept = None;
        for (at, seq, weight) in oldest {
            let old = at < now.plus_ms(-retention.max_age_ms);
            if !old && jobs <= retention.max_jobs && bytes <= retention.max_bytes {
                kept = Some(at);
                break;
            }
            if dropped.jobs == PASS_MAX as u64 {
                kept = Some(at);
                dropped.more = true;
                break;
            }
            if let Some(row) = self.finished.remove(&seq) {
                self.drop_reviews(&row.job.spec.id);
            }
            (jobs, bytes, dropped.jobs) = (jobs - 1, bytes - weight, dropped.jobs + 1);
        }
        // Only keys that rested before the oldest job that is still there can be without one.
        let before = now.plus_ms(-retention.key_age_ms).min(kept.unwrap_or(Timestamp(i64::MAX)));
        let count = self.keys.len();
        let finished = &self.finished;
        self.keys.retain(|_, key| {
            key.rest_at.is_none_or(|at| at >= before) || finished.values().any(|row| row.job.spec.id == key.id)
        });
        dropped.keys = (count - self.keys.len()) as u64;
        dropped
    }

    pub(super) fn add_tallies(&mut self, node: &NodeId, number: i64, tallies: &[Tally]) {
        if tallies.is_empty() || self.additions.get(node).is_some_and(|last| *last >= number) {
            return;
        }
        self.additions.insert(node.clone(), number);
        for tally in tallies {
            let key = (tally.minute, tally.measure.clone(), tally.label.clone());
            let sum = self.tallies.entry(key).or_insert_with(|| Tally { count: 0, total: 0.0, ..tally.clone() });
            sum.count += tally.count;
            sum.total += tally.total;
        }
    }

    pub(super) fn drop_tallies(&mut self, outlived: &[Outlived]) -> u64 {
        let count = self.tallies.len();
        let goes = |tally: &Tally| outlived.iter().any(|o| o.measure == tally.measure && tally.minute < o.before);
        self.tallies.retain(|_, tally| !goes(tally));
        (count - self.tallies.len()) as u64
    }

    pub(super) fn heartbeat(&mut self, node: &Node, lapse_ms: i64, now: i64) -> Heard {
        self.nodes.insert(node.id.clone(), Node { heartbeat_at: Timestamp(now), ..node.clone() });
        let mut nodes: Vec<Node> =
            self.nodes.values().filter(|node| node.heartbeat_at.millis() > now - SILENT_MS).cloned().collect();
        nodes.sort_by(|one, other| (one.started_at, &one.id).cmp(&(other.started_at, &other.id)));
        for node in &mut nodes {
            node.alive = node.heartbeat_at.millis() > now - lapse_ms;
        }
        Heard { nodes, epoch: self.epoch }
    }

    pub(super) fn take_term(&mut self, name: &str, holder: &NodeId, ttl_ms: i64, now: i64) -> bool {
        let free = self.terms.get(name).is_none_or(|(held_by, until)| held_by == holder || *until <= now);
        if free {
            self.terms.insert(name.to_owned(), (holder.clone(), now + ttl_ms));
        }
        free
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { ledger_id: self.ledger_id.clone(), epoch: self.epoch, broker_identity: self.broker_identity.clone() }
    }
}
