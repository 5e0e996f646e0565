//! What one worker uses, over more than one look: a short job fills a worker for one look and says nothing about
//! the load.

use std::collections::VecDeque;

use crate::clock::Timestamp;

use super::Rules;

/// CPU of one worker's work over the last while.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    hired_at: Timestamp,
    /// From when, until when, and how many seconds of CPU.
    spans: VecDeque<(Timestamp, Timestamp, f64)>,
}

impl Usage {
    /// A worker that starts at `now`.
    #[must_use]
    pub fn of_new(now: Timestamp) -> Self {
        Self { hired_at: now, spans: VecDeque::new() }
    }

    /// Notes that it has used `cpu_s` seconds of CPU since the last note.
    pub fn note(&mut self, rules: &Rules, cpu_s: f64, now: Timestamp) {
        let from = self.spans.back().map_or(self.hired_at, |(_, until, _)| *until);
        while self.spans.front().is_some_and(|(from, ..)| now.since(*from).unsigned_abs() > rules.cpu_window_ms) {
            self.spans.pop_front();
        }
        self.spans.push_back((from, now, cpu_s));
    }

    /// Cores in use on average; `None` while it is too new to tell.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
    pub fn cores(&self, rules: &Rules, now: Timestamp) -> Option<f64> {
        let is_new = now.since(self.hired_at).unsigned_abs() < rules.warmup_ms;
        let (from, _, _) = self.spans.front().filter(|_| !is_new)?;
        let ms = self.spans.back().map_or(0, |(_, until, _)| until.since(*from));
        let used: f64 = self.spans.iter().map(|(_, _, cpu_s)| cpu_s).sum();
        (ms > 0).then(|| used * 1_000.0 / ms as f64)
    }
}
