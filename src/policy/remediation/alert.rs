//! An alert that fires.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

/// One occurrence of an alert: the same fingerprint and start are the same occurrence, however often they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiredAlert {
    /// Its name.
    pub name: String,
    /// Its labels, the name among them.
    pub labels: BTreeMap<String, String>,
    /// What is said for people.
    pub annotations: BTreeMap<String, String>,
    /// What its labels come to.
    pub fingerprint: String,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// Its severity; empty where it has none.
    pub severity: String,
    /// The incident that it belongs to, if one was opened.
    pub incident: Option<i64>,
}

impl FiredAlert {
    /// What names this occurrence wherever one text has to.
    #[must_use]
    pub fn occurrence(&self) -> String {
        format!("{}@{}", self.fingerprint, self.starts_at.millis())
    }

    /// A label, unless it is missing or empty, which is the same to Prometheus.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
