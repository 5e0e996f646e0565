//! Remedies: what was tried for which alert, and whether it helped.

use crate::clock::Timestamp;
use crate::job::NodeId;

/// One occurrence of an alert, as the cause of a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The alert's name.
    pub alert: String,
    /// Which alert.
    pub fingerprint: String,
    /// When it began to fire.
    pub starts_at: Timestamp,
}

/// A remedy that is about to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRemediation {
    /// Drawn by the caller: asking again with the same one is harmless and answers the same.
    pub ticket: String,
    /// The incident that it belongs to, if it does.
    pub incident: Option<i64>,
    /// What it is tried for; `None`: somebody asked for it.
    pub cause: Option<Occurrence>,
    /// The configured name of the action.
    pub action: String,
    /// What kind of action that is.
    pub kind: String,
    /// What it acts on.
    pub target: String,
    /// The run of the daemon that carries it out.
    pub node: NodeId,
    /// That node's name, for people.
    pub node_name: String,
    /// Who wants it: a person's token, or the rule.
    pub by: String,
    /// What is about to be done, one sentence.
    pub words: String,
    /// The evidence before, JSON text.
    pub before: Option<String>,
    /// Whether it is only said what would be done. Dry runs have limits of their own and count for no others.
    pub is_dry: bool,
}

/// How often remedies may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemediationLimits {
    /// Between two of the same action on the same target, in milliseconds.
    pub cool_down_ms: i64,
    /// The most of this action within an hour.
    pub per_hour_max: u32,
    /// The most of all actions within an hour.
    pub all_per_hour_max: u32,
}

/// Whether a remedy may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is written down as running (a dry run: as done) under this number.
    Begun(i64),
    /// It may not, and that is written down.
    Suppressed(SuppressedBy),
}

/// Which limit a remedy has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SuppressedBy {
    /// This action has begun for this occurrence of the alert before.
    Repeated,
    /// The same action on the same target began too short a while ago.
    CoolDown,
    /// The action has begun as often within the hour as it may.
    ActionBudget,
    /// All actions together have.
    Budget,
}

impl RemediationLimits {
    /// What a remedy's row says where a limit held it back, for people: that first, then what it was about to do.
    #[must_use]
    pub fn words(&self, by: SuppressedBy, intent: &str) -> String {
        let why = match by {
            SuppressedBy::Repeated => "it was done for this occurrence of the alert before".to_owned(),
            SuppressedBy::CoolDown => {
                format!("it was done on the same target less than {} s ago", self.cool_down_ms / 1_000)
            }
            SuppressedBy::ActionBudget => match self.per_hour_max {
                1 => "it was done once within the hour".to_owned(),
                times => format!("it was done {times} times within the hour"),
            },
            SuppressedBy::Budget => "all that may be done within an hour was done".to_owned(),
        };
        format!("{}; what was asked for: {intent}", not_done(&why))
    }
}

/// How the words of a remedy begin that something held back.
#[must_use]
pub fn not_done(why: &str) -> String {
    format!("not done: {why}")
}

impl SuppressedBy {
    /// The word in the API, the ledger and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::CoolDown => "cool_down",
            Self::ActionBudget => "action_budget",
            Self::Budget => "budget",
        }
    }
}

/// How far a remedy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RemediationState {
    /// It has begun; whether it helps is not known yet.
    Running,
    /// What it was tried for is well.
    Healed,
    /// It failed or did not help.
    Failed,
    /// It did not begin.
    Suppressed,
    /// It was only said what would have been done.
    DryRun,
}

impl RemediationState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Running, Self::Healed, Self::Failed, Self::Suppressed, Self::DryRun];

    /// The word in the API, the ledger and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Healed => "healed",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
            Self::DryRun => "dry_run",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A remedy as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remediation {
    /// Grows with every remedy, suppressed ones among them.
    pub number: i64,
    /// What was to be done.
    pub asked: NewRemediation,
    /// When it began or was suppressed.
    pub began_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    pub state: RemediationState,
    /// Why it was suppressed; empty where it was not.
    pub reason: String,
    /// The evidence after, JSON text.
    pub after: Option<String>,
}
