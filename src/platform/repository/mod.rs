//! The element repository: what is known of elements, in the process (L1) and in a file (L2).
//!
//! Several processes may use one file. Every change of an element gets the next number of one sequence, and
//! before L1 is believed, the file is asked which elements have a number above the last one seen: one look
//! into an index. Those are dropped. An L1 answer is thus never older than the last commit before the question.

mod browser;
mod element;
mod file;
mod l1;
pub mod tool;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

pub use self::element::{ElementId, Keep, MadeBy, Names, Origin, Record, Version};
use self::file::File;
use self::l1::L1;
use super::healing::Weights;
use super::observation;
use super::reply::{ToolError, class};

/// Elements in L1; each takes about 4 KiB.
pub const L1_ENTRIES: usize = 4_096;

/// Uses that are gathered before they are written: a look-up in L1 must not cost a commit.
const USES_GATHERED: i64 = 64;

/// What a look-up found, and what is to be reported of it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The element, if it is known.
    pub record: Option<std::sync::Arc<Record>>,
    /// One observation for each level that was asked.
    pub observations: Vec<Value>,
}

/// The repository.
#[derive(Debug)]
pub struct Repository {
    file: File,
    l1: Mutex<L1>,
}

impl Repository {
    /// A repository in this folder, or without one in memory, where it ends with the process.
    /// Nothing is opened before the first use.
    pub fn new(folder: Option<&Path>) -> Self {
        Self { file: File::new(folder), l1: Mutex::new(L1::new(L1_ENTRIES)) }
    }

    /// Looks for an element by its id (`http://site/page#name`) or, if only one has it, by its name.
    pub async fn find(&self, element: &str) -> Result<Found, ToolError> {
        let changes = self.file.changes(self.seen()).await?;
        let (cached, seen) = {
            let mut l1 = self.l1();
            l1.drop_changed(&changes);
            (l1.get(element), l1.seen())
        };
        if let Some(record) = cached {
            self.write_uses(USES_GATHERED).await?;
            return Ok(Found { record: Some(record), observations: vec![observation::cache_lookup("l1", true)] });
        }
        let observations = |hit| vec![observation::cache_lookup("l1", false), observation::cache_lookup("l2", hit)];
        let Some(record) = self.read(element).await? else {
            return Ok(Found { record: None, observations: observations(false) });
        };
        let record = {
            let mut l1 = self.l1();
            l1.used(record.row);
            l1.put(element, record, seen)
        };
        self.write_uses(USES_GATHERED).await?;
        Ok(Found { record: Some(record), observations: observations(true) })
    }

    /// Writes the uses once there are that many. The last few of a process are not counted.
    async fn write_uses(&self, least: i64) -> Result<(), ToolError> {
        let gathered = self.l1().gathered(least);
        self.file.used(&gathered).await
    }

    async fn read(&self, element: &str) -> Result<Option<Record>, ToolError> {
        if let Some(id) = ElementId::written(element) {
            return self.file.by_id(&id).await;
        }
        let mut found = self.file.by_name(element).await?;
        if found.len() > 1 {
            let message = format!(
                "several elements are called {element:?}, such as {} and {}: give the whole id",
                found[0].id, found[1].id
            );
            return Err(ToolError::bad_arguments(message));
        }
        Ok(found.pop())
    }

    /// Keeps elements; what is new becomes a version. Answers how many are new or changed.
    pub async fn keep(&self, elements: &[Keep], origin: Origin) -> Result<usize, ToolError> {
        self.file.put(elements, origin).await
    }

    /// The elements of the page that this id is of.
    pub async fn of_page(&self, page: &ElementId, limit: usize) -> Result<Vec<Record>, ToolError> {
        self.file.of_page(page, limit).await
    }

    /// The versions of an element, the newest first.
    pub async fn versions(&self, record: &Record) -> Result<Vec<Version>, ToolError> {
        self.file.versions(record.row).await
    }

    /// Loads the elements that are asked for most, or those that changed last, into L1; answers how many.
    pub async fn warm(&self, most_used: bool, limit: usize) -> Result<usize, ToolError> {
        self.write_uses(1).await?;
        let changes = self.file.changes(self.seen()).await?;
        let seen = {
            let mut l1 = self.l1();
            l1.drop_changed(&changes);
            l1.seen()
        };
        let records = self.file.best(most_used, limit.min(L1_ENTRIES)).await?;
        let loaded = records.len();
        let mut l1 = self.l1();
        // The one that is needed most is put last, so that it leaves last.
        for record in records.into_iter().rev() {
            let id = record.id.to_string();
            l1.put(&id, record, seen);
        }
        Ok(loaded)
    }

    /// The weights of healing: the row of the file, or what is built in.
    pub async fn weights(&self) -> Result<Weights, ToolError> {
        let Some(text) = self.file.setting(WEIGHTS).await? else { return Ok(Weights::default()) };
        let wrong = |why: &str| {
            let message =
                format!("the row {WEIGHTS:?} of the element repository is no set of weights: {why}; delete or mend it");
            ToolError::new(class::INTERNAL, message)
        };
        let weights: Weights = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        if weights.are_sound() { Ok(weights) } else { Err(wrong("a number is negative, not finite, or all are 0")) }
    }

    /// Replaces the weights of healing for all processes that use the file.
    pub async fn set_weights(&self, weights: &Weights) -> Result<(), ToolError> {
        if !weights.are_sound() {
            return Err(ToolError::bad_arguments("weights of healing are finite, not negative and not all 0"));
        }
        let text =
            serde_json::to_string(weights).map_err(|error| ToolError::new(class::INTERNAL, error.to_string()))?;
        self.file.set_setting(WEIGHTS, &text).await
    }

    fn seen(&self) -> i64 {
        self.l1().seen()
    }

    fn l1(&self) -> std::sync::MutexGuard<'_, L1> {
        // L1 is a cache: whatever state a panic left it in, it is checked against the file before it is believed.
        self.l1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The row that replaces the weights.
const WEIGHTS: &str = "healing_weights";

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tool_tests;
