//! Tallies: what was observed of the work, summed by minute, so that figures outlive a restart and are the same on
//! every node. What the measures mean is the policy's; the ledger adds.

/// What was observed of one measure under one label within one minute, over all nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// Of what.
    pub measure: String,
    /// Under which value of its label; may be empty.
    pub label: String,
    /// When, in minutes since the Unix epoch.
    pub minute: i64,
    /// How many samples.
    pub count: u64,
    /// What they add up to; finite.
    pub total: f64,
}

/// From which minute on the tallies of a measure are still of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlived {
    /// The measure.
    pub measure: String,
    /// Those before this minute go.
    pub before: i64,
}
