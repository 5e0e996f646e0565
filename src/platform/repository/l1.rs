//! The level in the process: the elements that were asked for last, with the names they were asked for by.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::element::Record;

#[derive(Debug)]
pub(super) struct L1 {
    records: LruCache<i64, Arc<Record>>,
    /// What was asked for, and which row that is. Bounded like the records.
    asked: LruCache<String, i64>,
    /// The last change of the file that is taken into account.
    seen: i64,
    uses: HashMap<i64, i64>,
}

impl L1 {
    pub(super) fn new(entries: usize) -> Self {
        let entries = NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
        Self { records: LruCache::new(entries), asked: LruCache::new(entries), seen: 0, uses: HashMap::new() }
    }

    pub(super) fn seen(&self) -> i64 {
        self.seen
    }

    /// Forgets the rows that changed. Names are forgotten with them: a new element may bear an old one's.
    pub(super) fn drop_changed(&mut self, changes: &[(i64, i64)]) {
        for (row, changed) in changes {
            self.records.pop(row);
            // Two look-ups may overtake each other: what the later one saw stays seen.
            self.seen = self.seen.max(*changed);
        }
        if !changes.is_empty() {
            self.asked.clear();
        }
    }

    pub(super) fn get(&mut self, asked: &str) -> Option<Arc<Record>> {
        let row = *self.asked.get(asked)?;
        let record = self.records.get(&row)?.clone();
        *self.uses.entry(row).or_insert(0) += 1;
        Some(record)
    }

    /// Keeps what was read from the file as it was at change `seen`, unless later changes have come to light meanwhile.
    pub(super) fn put(&mut self, asked: &str, record: Record, seen: i64) -> Arc<Record> {
        let record = Arc::new(record);
        if self.seen == seen {
            self.asked.put(asked.to_owned(), record.row);
            self.records.put(record.row, record.clone());
        }
        record
    }

    /// Counts a use that L1 did not serve.
    pub(super) fn used(&mut self, row: i64) {
        *self.uses.entry(row).or_insert(0) += 1;
    }

    /// Takes the uses once there are that many of them.
    pub(super) fn gathered(&mut self, least: i64) -> Vec<(i64, i64)> {
        let all: i64 = self.uses.values().sum();
        if all < least { Vec::new() } else { self.uses.drain().collect() }
    }
}
