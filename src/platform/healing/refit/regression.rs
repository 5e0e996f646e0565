//! Logistic regression, small enough to be read.

/// One decision: what was seen, and whether it was right.
#[derive(Debug, Clone)]
pub struct Example {
    /// What was seen, each about 0 to 1; for a bias, one of them is always 1.
    pub facts: Vec<f64>,
    /// Whether it was right.
    pub right: bool,
}

/// Where a regression begins, and what holds it there.
#[derive(Debug, Clone, Copy)]
pub struct Prior<'a> {
    /// The weights before anything was seen.
    pub weights: &'a [f64],
    /// How many examples it takes to be believed against: a weight that moves by `d` costs `strength * d² / 2` in
    /// log-likelihood.
    pub strength: f64,
    /// No weight falls below its own; `NEG_INFINITY` lets it go anywhere.
    pub floors: &'a [f64],
}

/// Rounds at most; a few hundred do, except where two facts say nearly the same.
const ROUNDS_MAX: usize = 20_000;

/// A round that moves no weight further than this one is the last.
const MOVES_LEAST: f64 = 1e-7;

/// The likeliest weights, given the examples and the prior: the maximum a posteriori of a logistic model with a normal
/// prior, by steepest ascent. The step is the inverse of the steepest slope's bound (Böhning and Lindsay 1988), so that
/// it cannot overshoot. Without examples these are the prior's.
#[allow(clippy::cast_precision_loss, reason = "examples are thousands, not quadrillions")]
pub fn logistic_regression(examples: &[Example], prior: &Prior<'_>) -> Vec<f64> {
    let mut weights = prior.weights.to_vec();
    let count = examples.len().max(1) as f64;
    let pull = prior.strength / count;
    let square = |example: &Example| example.facts.iter().map(|fact| fact * fact).sum::<f64>();
    let steepest = examples.iter().map(square).sum::<f64>() / count / 4.0 + pull;
    if steepest <= 0.0 {
        return weights;
    }
    for _ in 0..ROUNDS_MAX {
        let mut slope: Vec<f64> =
            weights.iter().zip(prior.weights).map(|(weight, before)| pull * (before - weight)).collect();
        for example in examples {
            let error = f64::from(u8::from(example.right)) - probability(&example.facts, &weights);
            for (slope, fact) in slope.iter_mut().zip(&example.facts) {
                *slope += error * fact / count;
            }
        }
        let mut moved = 0.0_f64;
        for ((weight, slope), floor) in weights.iter_mut().zip(slope).zip(prior.floors) {
            let next = (*weight + slope / steepest).max(*floor);
            moved = moved.max((next - *weight).abs());
            *weight = next;
        }
        if moved < MOVES_LEAST {
            break;
        }
    }
    weights
}

/// How likely the model says it is that an example is right.
pub fn probability(facts: &[f64], weights: &[f64]) -> f64 {
    let odds: f64 = facts.iter().zip(weights).map(|(fact, weight)| fact * weight).sum();
    1.0 / (1.0 + (-odds).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: [f64; 2] = [f64::NEG_INFINITY; 2];

    fn examples() -> Vec<Example> {
        // Right three times of four above a half, once of four below.
        let of = |fact: f64, right: bool| Example { facts: vec![fact, 1.0], right };
        let high = [true, true, true, false].map(|right| of(0.9, right));
        let low = [true, false, false, false].map(|right| of(0.1, right));
        high.into_iter().chain(low).cycle().take(800).collect()
    }

    #[test]
    fn shares_are_met() {
        let prior = Prior { weights: &[0.0, 0.0], strength: 1e-6, floors: &FREE };
        let weights = logistic_regression(&examples(), &prior);
        assert!((probability(&[0.9, 1.0], &weights) - 0.75).abs() < 1e-3, "{weights:?}");
        assert!((probability(&[0.1, 1.0], &weights) - 0.25).abs() < 1e-3, "{weights:?}");
    }

    #[test]
    fn a_strong_prior_stands() {
        let prior = Prior { weights: &[1.0, -0.5], strength: 1e9, floors: &FREE };
        let weights = logistic_regression(&examples(), &prior);
        assert!((weights[0] - 1.0).abs() < 1e-3 && (weights[1] + 0.5).abs() < 1e-3, "{weights:?}");
        assert_eq!(logistic_regression(&[], &Prior { strength: 5.0, ..prior }), [1.0, -0.5]);
    }

    #[test]
    fn floors_hold() {
        let prior = Prior { weights: &[9.0, 0.0], strength: 1e-6, floors: &[8.0, f64::NEG_INFINITY] };
        let weights = logistic_regression(&examples(), &prior);
        assert!((weights[0] - 8.0).abs() < 1e-9, "{weights:?}");
    }
}
