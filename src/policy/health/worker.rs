//! One worker: what is known of it, and what that amounts to.

use std::fmt;

use crate::clock::Timestamp;

use super::{Debounce, HealthRules, Tallied};

/// How much oftener than its fellows a worker must fail before that is put down to the worker.
const WORSE_BY: f64 = 2.0;

/// What a pool allows each of its workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerLimits {
    /// The memory that its work may hold, in bytes; 0: no limit.
    pub memory_bytes: u64,
    /// The jobs after which it is replaced; 0: never.
    pub recycle_after_jobs: u64,
    /// The memory of one job after which it is replaced, in bytes; 0: never.
    pub recycle_memory_bytes: u64,
}

/// What is known of a worker. Whether Redis, the ledger or a server can be reached is deliberately not among it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// By when its handler must have answered, the grace included; `None` while no handler runs.
    pub answer_by: Option<Timestamp>,
    /// What its work holds in memory, in bytes; `None` where nothing of its own runs.
    pub memory_bytes: Option<u64>,
    /// The most that its work has held since it was hired, in bytes.
    pub memory_peak_bytes: u64,
    /// How its runs of the last ten minutes ended.
    pub tallied: Tallied,
    /// Jobs that it has finished.
    pub jobs_done: u64,
}

/// Why a worker is not just healthy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// Its handler did not answer in time, nor to the word to stop.
    Hung,
    /// Its work holds too much memory.
    Memory {
        /// What it holds, in bytes.
        bytes: u64,
        /// What it may hold, in bytes.
        limit: u64,
    },
    /// Its runs crash, hang or are killed, and those of its fellows do not.
    SuccessRate {
        /// The share of good runs, 0 to 1.
        rate: f64,
        /// The median of its fellows.
        median: f64,
    },
    /// It has done its share of jobs.
    Jobs(u64),
    /// A job of it held more memory than one should, in bytes.
    Growth(u64),
}

/// What a worker is found to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Nothing to do.
    Healthy,
    /// Sick for as long as it takes to be sure.
    Unhealthy(Why),
    /// It does not answer; this is certain.
    Hung,
    /// Well, and due to be replaced when it suits.
    Recycle(Why),
}

/// What the checks so far say of one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Condition {
    debounce: Debounce,
    why: Option<Why>,
}

impl Why {
    /// The label of metrics: `hung`, `memory`, `success_rate`, `jobs`, `growth`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Hung => "hung",
            Self::Memory { .. } => "memory",
            Self::SuccessRate { .. } => "success_rate",
            Self::Jobs(_) => "jobs",
            Self::Growth(_) => "growth",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hung => f.write_str("its handler does not answer"),
            Self::Memory { bytes, limit } => write!(f, "its work holds {bytes} of {limit} bytes of memory"),
            Self::SuccessRate { rate, median } => {
                write!(f, "{:.0} % of its runs end well, {:.0} % of its fellows'", rate * 100.0, median * 100.0)
            }
            Self::Jobs(done) => write!(f, "it has done {done} jobs"),
            Self::Growth(bytes) => write!(f, "a job of it held {bytes} bytes of memory"),
        }
    }
}

impl Condition {
    /// Notes one check.
    pub fn note(&mut self, finding: Option<Why>, rules: &HealthRules) {
        self.why = finding.or(self.why);
        if !self.debounce.note(finding.is_some(), rules) && finding.is_none() {
            self.why = None;
        }
    }

    /// What makes it unhealthy, if it is.
    #[must_use]
    pub fn sick(&self) -> Option<Why> {
        self.why.filter(|_| self.debounce.is_bad())
    }
}

impl Facts {
    /// Whether its handler is silent past all patience.
    #[must_use]
    pub fn is_hung(&self, now: Timestamp) -> bool {
        self.answer_by.is_some_and(|answer_by| now > answer_by)
    }

    /// What one check finds wrong. `median` is that of its fellows, where there is one.
    #[must_use]
    pub fn examine(&self, limits: &WorkerLimits, median: Option<f64>, rules: &HealthRules) -> Option<Why> {
        let limit = limits.memory_bytes;
        let over = self.memory_bytes.filter(|bytes| limit > 0 && share(*bytes, limit) >= rules.memory);
        if let Some(bytes) = over {
            return Some(Why::Memory { bytes, limit });
        }
        let (rate, median) = (self.tallied.rate(rules.samples_min)?, median?);
        let is_worse = 1.0 - rate >= WORSE_BY * (1.0 - median) && rate < median;
        (rate <= rules.success_rate && is_worse).then_some(Why::SuccessRate { rate, median })
    }

    /// Why it is due to be replaced although it is well.
    fn is_due(&self, limits: &WorkerLimits) -> Option<Why> {
        let jobs = limits.recycle_after_jobs;
        if jobs > 0 && self.jobs_done >= jobs {
            return Some(Why::Jobs(self.jobs_done));
        }
        let most = limits.recycle_memory_bytes;
        (most > 0 && self.memory_peak_bytes > most).then_some(Why::Growth(self.memory_peak_bytes))
    }

    /// What it is found to be, its condition considered.
    #[must_use]
    pub fn verdict(&self, condition: &Condition, limits: &WorkerLimits, now: Timestamp) -> Verdict {
        if self.is_hung(now) {
            return Verdict::Hung;
        }
        match (condition.sick(), self.is_due(limits)) {
            (Some(why), _) => Verdict::Unhealthy(why),
            (None, Some(why)) => Verdict::Recycle(why),
            (None, None) => Verdict::Healthy,
        }
    }
}

/// The median success rate of the others, by position; `None` for one whose fellows have too few samples.
#[must_use]
pub fn medians(workers: &[Tallied], rules: &HealthRules) -> Vec<Option<f64>> {
    let rates: Vec<Option<f64>> = workers.iter().map(|tallied| tallied.rate(rules.samples_min)).collect();
    let fellows = |at: usize| {
        let mut others: Vec<f64> =
            rates.iter().enumerate().filter(|(other, _)| *other != at).filter_map(|(_, rate)| *rate).collect();
        others.sort_unstable_by(f64::total_cmp);
        others
    };
    (0..workers.len()).map(|at| median(&fellows(at))).collect()
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
fn share(bytes: u64, limit: u64) -> f64 {
    bytes as f64 / limit as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn tallied(good: u64, bad: u64) -> Tallied {
        Tallied { good, bad }
    }

    #[test]
    fn what_a_check_finds() {
        let rules = HealthRules::default();
        let limits = WorkerLimits { memory_bytes: 1_000, ..WorkerLimits::default() };
        let unlimited = WorkerLimits::default();
        let memory = |bytes| Facts { memory_bytes: Some(bytes), ..Facts::default() };
        let runs = |good, bad| Facts { tallied: tallied(good, bad), ..Facts::default() };
        let all_well = Some(1.0);
        #[expect(clippy::type_complexity, reason = "a table: case, facts, limits, median, finding")]
        let table: [(&str, Facts, WorkerLimits, Option<f64>, Option<&str>); 12] = [
            ("nothing is known", Facts::default(), limits, all_well, None),
            ("just below 0.85", memory(849), limits, None, None),
            ("at 0.85", memory(850), limits, None, Some("memory")),
            ("no limit", memory(1 << 40), unlimited, None, None),
            ("4 of 5 is too few to tell", runs(4, 1), limits, all_well, None),
            ("19 of 20", runs(19, 1), limits, all_well, None),
            ("exactly 0.90 is not above it", runs(18, 2), limits, all_well, Some("success_rate")),
            ("half of 40", runs(20, 20), limits, all_well, Some("success_rate")),
            ("nobody to compare with", runs(20, 20), limits, None, None),
            ("the others are as bad: shared cause", runs(20, 20), limits, Some(0.5), None),
            ("the others are nearly as bad", runs(20, 20), limits, Some(0.6), None),
            ("the others fail half as often", runs(20, 20), limits, Some(0.75), Some("success_rate")),
        ];
        for (what, facts, limits, median, expected) in table {
            assert_eq!(facts.examine(&limits, median, &rules).map(|why| why.label()), expected, "{what}");
        }
    }

    #[test]
    fn a_verdict_takes_three_checks_but_a_hang_none() {
        let rules = HealthRules::default();
        let limits = WorkerLimits { memory_bytes: 1_000, recycle_after_jobs: 5, recycle_memory_bytes: 700 };
        let facts = Facts { memory_bytes: Some(900), jobs_done: 9, ..Facts::default() };
        let mut condition = Condition::default();
        let sick = Why::Memory { bytes: 900, limit: 1_000 };
        for _ in 0..2 {
            condition.note(facts.examine(&limits, None, &rules), &rules);
            assert_eq!(facts.verdict(&condition, &limits, NOW), Verdict::Recycle(Why::Jobs(9)));
        }
        condition.note(facts.examine(&limits, None, &rules), &rules);
        assert_eq!(facts.verdict(&condition, &limits, NOW), Verdict::Unhealthy(sick));
        condition.note(None, &rules);
        assert_eq!(facts.verdict(&condition, &limits, NOW), Verdict::Unhealthy(sick), "one good check is not enough");
        condition.note(None, &rules);
        assert_eq!(facts.verdict(&condition, &limits, NOW), Verdict::Recycle(Why::Jobs(9)));

        let hung = Facts { answer_by: Some(Timestamp(999_999)), ..facts };
        assert_eq!(hung.verdict(&Condition::default(), &limits, NOW), Verdict::Hung);
        let in_time = Facts { answer_by: Some(NOW), jobs_done: 4, ..facts };
        assert_eq!(in_time.verdict(&Condition::default(), &limits, NOW), Verdict::Healthy);
        let grown = Facts { memory_peak_bytes: 701, ..Facts::default() };
        assert_eq!(grown.verdict(&Condition::default(), &limits, NOW), Verdict::Recycle(Why::Growth(701)));
        let never = WorkerLimits::default();
        let old = Facts { jobs_done: u64::MAX, memory_peak_bytes: u64::MAX, ..Facts::default() };
        assert_eq!(old.verdict(&Condition::default(), &never, NOW), Verdict::Healthy);
    }

    #[test]
    fn a_worker_is_compared_with_its_fellows_only() {
        let rules = HealthRules::default();
        let pool = [tallied(0, 40), tallied(40, 0), tallied(20, 20), tallied(3, 0)];
        assert_eq!(medians(&pool, &rules), [Some(0.75), Some(0.25), Some(0.5), Some(0.5)]);
        assert_eq!(medians(&pool[..1], &rules), [None]);
    }
}
