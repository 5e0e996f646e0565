//! Error classes as values of a label.

use std::collections::BTreeSet;

use crate::policy::catalog::Catalog;

/// Folds error classes into a bounded set of label values.
#[derive(Debug, Clone, Default)]
pub struct ErrorClasses(BTreeSet<String>);

/// Classes that Ganger's own handlers give.
const OWN_CLASSES: &[&str] = &[
    "timeout",
    "rate_limit",
    "temporary_failure",
    "http_3xx",
    "http_4xx",
    "http_5xx",
    "connection",
    "crash",
    "poison",
    "late",
    "bad_enqueue",
    "bad_envelope",
    "output_too_large",
    "spawn_failed",
    "unavailable",
    "review",
    "result_refused",
];

impl ErrorClasses {
    /// The classes that handlers give and those that the catalogue's policies name.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let policies = catalog.types.values().map(|known| &known.retry);
        let named = policies.flat_map(|retry| retry.retry_on_errors.iter().chain(&retry.no_retry_errors)).cloned();
        Self(named.chain(OWN_CLASSES.iter().map(|&class| class.to_owned())).collect())
    }

    /// `class` itself where it is known, else `other`.
    #[must_use]
    pub fn fold<'a>(&'a self, class: &str) -> &'a str {
        self.0.get(class).map_or("other", String::as_str)
    }
}

// === Admission ===

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_error_classes_share_one_label_value() {
        let classes = ErrorClasses(["timeout".to_owned()].into());
        assert_eq!(classes.fold("timeout"), "timeout");
        assert_eq!(classes.fold("user 17 not found"), "other");
    }
}
