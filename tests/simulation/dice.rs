//! Throws of the seed.

use std::time::Duration;

use ganger::chance::Chance;

/// Where everything that is not decided by the engine is decided.
#[derive(Debug)]
pub struct Dice(Chance);

impl Dice {
    pub fn seeded(seed: u64) -> Self {
        Self(Chance::seeded(seed))
    }

    /// Dice of their own for a part of the world, so that what it throws moves nobody else's.
    pub fn part(&self) -> Self {
        Self(Chance::seeded(self.0.bits()))
    }

    pub fn bits(&self) -> u64 {
        self.0.bits()
    }

    /// True with this probability.
    pub fn happens(&self, probability: f64) -> bool {
        self.0.share() < probability
    }

    /// A whole number from `low` to `high`, both included.
    pub fn range(&self, low: u64, high: u64) -> u64 {
        low + self.0.bits() % (high - low + 1)
    }

    /// Milliseconds from `low` to `high`, both included, small ones more often.
    pub fn ms(&self, low: u64, high: u64) -> Duration {
        let share = self.0.share();
        let span = u32::try_from(high - low).unwrap();
        Duration::from_millis(low) + (Duration::from_millis(1) * span).mul_f64(share * share)
    }

    pub fn signed(&self, reach: i64) -> i64 {
        i64::try_from(self.0.bits() % (2 * reach.unsigned_abs() + 1)).unwrap() - reach
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(usize::try_from(self.range(0, from.len() as u64 - 1)).unwrap()) }
    }
}
