//! What the nodes share of a breaker: a small text in the broker, and the rule by which two of them become one.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The end of what has no end.
pub const NEVER: Timestamp = Timestamp(i64::MAX);

/// The longest reason that is kept, in bytes: it travels with every note.
const WHY_BYTES_MAX: usize = 256;

/// The shared part of a breaker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Record {
    /// Which state this is, counted in milliseconds: at least one above the state before it, and never below the
    /// time at which it began. So the latest decision wins, also over what was decided before a record was lost.
    pub generation: i64,
    /// The state.
    pub state: State,
    /// Since when.
    #[serde(with = "millis")]
    pub since: Timestamp,
    /// How many times in a row it opened; 0 when it never did or was reset.
    pub openings: u32,
    /// Why it is in this state.
    pub why: String,
}

/// The states, the one that wins a tie last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Calls pass.
    Closed {
        /// Whether they come back a few at a time.
        slow_start: bool,
    },
    /// Probes find out.
    HalfOpen {
        /// Those of this generation, by id.
        permits: Vec<Permit>,
    },
    /// No calls until then.
    Open {
        /// When the first probe may go.
        #[serde(with = "millis")]
        until: Timestamp,
    },
    /// An operator opened it.
    Forced {
        /// Until when; [`NEVER`]: until it is reset.
        #[serde(with = "millis")]
        until: Timestamp,
    },
}

/// The right to make one probe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permit {
    /// Drawn by chance, so that two nodes never draw the same.
    pub id: u64,
    /// Whose it is.
    pub node: String,
    /// When the probe counts as failed.
    #[serde(with = "millis")]
    pub deadline: Timestamp,
    /// What has become of it.
    pub phase: Phase,
}

/// What has become of a permit; a later phase is never taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Somebody makes the probe.
    Out,
    /// Nobody made it: there was nothing to run, or the run was stopped.
    Returned,
    /// It succeeded.
    Passed,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { slow_start: false }
    }
}

impl State {
    /// All names, for the metrics.
    pub const NAMES: [&'static str; 4] = ["closed", "half_open", "open", "forced_open"];

    /// The name in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::HalfOpen { .. } => "half_open",
            Self::Open { .. } => "open",
            Self::Forced { .. } => "forced_open",
        }
    }

    /// Whether no call passes without a permit.
    #[must_use]
    pub fn holds(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }
}

impl Record {
    /// Begins the next generation at `now`; the caller sets the state.
    pub(super) fn begin(&mut self, now: Timestamp, mut why: String) {
        self.generation = self.generation.saturating_add(1).max(now.millis());
        self.since = now;
        if why.len() > WHY_BYTES_MAX {
            let end = (0..=WHY_BYTES_MAX).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
            why.truncate(end);
        }
        self.why = why;
    }

    /// What is known when both are: the higher generation; in the same one the permits of both. Whoever merges
    /// what, and in which order, all come to the same.
    #[must_use]
    pub fn merge(self, other: &Self) -> Self {
        if self.generation != other.generation {
            return if self.generation > other.generation { self } else { other.clone() };
        }
        match (&self.state, &other.state) {
            (State::HalfOpen { permits }, State::HalfOpen { permits: others }) => {
                let state = State::HalfOpen { permits: union(permits, others) };
                let (since, openings) = (self.since.max(other.since), self.openings.max(other.openings));
                Self { generation: self.generation, state, since, openings, why: self.why.max(other.why.clone()) }
            }
            // Two nodes decided in the same millisecond.
            _ => self.max(other.clone()),
        }
    }

    /// As text for the broker and the ledger.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same back; `None` for a text that is none.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The permits of both, by id.
pub(super) fn union(one: &[Permit], other: &[Permit]) -> Vec<Permit> {
    let mut all: Vec<Permit> = one.iter().chain(other).cloned().collect();
    // By id, and of one id the latest phase first, which is the one that stays.
    all.sort_unstable_by(|a, b| (a.id, b.phase, &a.node, a.deadline).cmp(&(b.id, a.phase, &b.node, b.deadline)));
    all.dedup_by_key(|permit| permit.id);
    all
}

/// Times as whole milliseconds.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp)
    }
}
