//! Chance as a value.
//!
//! Like time, chance is given and never taken: whatever spreads a delay or draws an id is handed a
//! [`Chance`] or a roll of one. With time and chance as arguments a whole run of the engine follows
//! from one seed, and a failure that a simulation found can be played again.

use std::sync::atomic::{AtomicU64, Ordering};

/// What each draw adds to the state: the golden ratio's bits, so that every state is met once in 2^64.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A source of chance that may be shared: `SplitMix64` (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014). Good enough to spread load and to tell ids apart; never for secrets.
#[derive(Debug)]
pub struct Chance(AtomicU64);

impl Chance {
    /// A source that nobody can foresee.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::seeded(rand::random())
    }

    /// A source that always gives the same draws.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        let state = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A uniform draw from 0 (included) to 1 (excluded).
    pub fn share(&self) -> f64 {
        const STEPS: f64 = 9_007_199_254_740_992.0; // 2^53: what an f64 tells apart between 0 and 1
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds exactly")]
        let step = (self.bits() >> 11) as f64;
        step / STEPS
    }

    /// A uniform draw from `low` (included) to `high` (excluded).
    pub fn between(&self, low: f64, high: f64) -> f64 {
        low + self.share() * (high - low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_draws() {
        let chance = Chance::seeded(1_234_567);
        let draws: Vec<u64> = (0..3).map(|_| chance.bits()).collect();
        assert_eq!(draws, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn shares_fill_their_range_evenly() {
        let chance = Chance::seeded(7);
        let draws: Vec<f64> = (0..10_000).map(|_| chance.between(2.0, 4.0)).collect();
        assert!(draws.iter().all(|draw| (2.0..4.0).contains(draw)));
        let low = draws.iter().filter(|draw| **draw < 3.0).count();
        assert!((4_700..5_300).contains(&low), "{low} of 10,000 draws lie in the lower half");
    }
}
