//! Fits weights: plain logistic regression, small enough to be read.

/// One decision: what was seen, and whether it was right.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    pub facts: Vec<f64>,
    pub right: bool,
}

fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// Weights (the last one is the bias if there is one) that make the examples likeliest, by steepest ascent with a
/// little pull to zero. `floors` hold the weights of the facts up from below.
pub(crate) fn logistic_regression(examples: &[Example], with_bias: bool, floors: &[f64]) -> Vec<f64> {
    let width = examples.first().map_or(0, |example| example.facts.len());
    let mut weights = vec![0.0; width + usize::from(with_bias)];
    let (mut speed, pull) = (4.0, 1e-4);
    for round in 0..4_000 {
        let mut slope = vec![0.0; weights.len()];
        for example in examples {
            let odds: f64 = example.facts.iter().zip(&weights).map(|(fact, weight)| fact * weight).sum::<f64>()
                + if with_bias { weights[width] } else { 0.0 };
            let error = f64::from(u8::from(example.right)) - logistic(odds);
            for (at, fact) in example.facts.iter().enumerate() {
                slope[at] += error * fact;
            }
            if with_bias {
                slope[width] += error;
            }
        }
        for (at, weight) in weights.iter_mut().enumerate() {
            *weight += speed * (slope[at] / examples.len() as f64 - pull * *weight);
            if at < width {
                *weight = weight.max(floors[at]);
            }
        }
        if round % 1_000 == 999 {
            speed *= 0.7;
        }
    }
    weights
}
