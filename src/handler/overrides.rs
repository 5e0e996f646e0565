//! What handlers are told otherwise for a while: a threshold, a mode, whatever an operator and a handler agree on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

/// Values by name; cheap to clone, and nothing at all as long as nothing is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides(Option<Arc<BTreeMap<String, Value>>>);

impl Overrides {
    /// These values.
    #[must_use]
    pub fn new(values: BTreeMap<String, Value>) -> Self {
        Self((!values.is_empty()).then(|| Arc::new(values)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for Overrides {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.as_deref().into_iter().flatten())
    }
}

impl fmt::Display for Overrides {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_an_object() {
        let some = Overrides::new([("healing_threshold".to_owned(), 0.7.into())].into());
        assert_eq!(some.to_string(), r#"{"healing_threshold":0.7}"#);
        assert!(!some.is_empty() && Overrides::new(BTreeMap::new()).is_empty());
        assert_eq!(Overrides::default().to_string(), "{}");
    }
}
