//! Which servers do not answer, as their handlers see it, for whoever judges the node's health.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The names of servers that did not answer lately, shared by those who ask them and those who want to know.
#[derive(Debug, Clone, Default)]
pub struct Reach(Arc<Mutex<BTreeSet<String>>>);

impl Reach {
    /// Notes whether a server answers.
    pub fn note(&self, server: &str, answers: bool) {
        let mut away = self.names();
        if answers {
            away.remove(server);
        } else {
            away.insert(server.to_owned());
        }
    }

    /// A set of names is sound even if a holder panicked.
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers that do not answer.
    #[must_use]
    pub fn away(&self) -> Vec<String> {
        self.names().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_away_until_it_answers() {
        let reach = Reach::default();
        reach.note("a", false);
        reach.clone().note("b", true);
        assert_eq!(reach.away(), ["a"]);
        reach.note("a", true);
        assert!(reach.away().is_empty());
    }
}
