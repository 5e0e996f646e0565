use serde_json::json;

use super::fit::refitted;
use super::*;

/// A review of two candidates: the first one fits by its attributes, the second one by its text.
fn review(verdict: &str, chosen: &str, shift: f64) -> Value {
    let candidate = |locator: &str, attributes: f64, text: f64| json!({ "locator": locator, "score": 0.6, "claimed": 0.0, "scores": { "attribute_match": attributes, "text_match": text } });
    json!({
        "evidence": {
            "candidates": [candidate("#a", 0.9, 0.3 + shift), candidate("#b", 0.65, 0.95 - shift)],
            "facts": { "score": 0.7, "margin": 0.1, "evidence": 0.3, "lead": null },
        },
        "decision": { "verdict": verdict, "proposal": { "locator": chosen } },
    })
}

fn reviews(verdict: &str, chosen: &str) -> Vec<Verdict> {
    (0..60).filter_map(|count| Verdict::of(&review(verdict, chosen, f64::from(count % 7) / 100.0))).collect()
}

#[test]
fn people_who_go_by_the_text_make_it_count() {
    let built_in = Weights::default();
    let verdicts = reviews("edited", "#b");
    let refit = refitted(&verdicts, &built_in);
    assert!(refit.weights.are_sound());
    assert!(refit.weights.strategies[2] > 1.5 * built_in.strategies[2], "{:?}", refit.weights);
    let finds_it = |weights: &Weights| verdicts[0].seen_with(weights).unwrap().1;
    assert!(!finds_it(&built_in) && finds_it(&refit.weights), "{:?}", refit.weights);
    assert!(refit.loss_after < refit.loss_before, "{refit:?}");
}

#[test]
fn rejections_make_it_less_sure() {
    let built_in = Weights::default();
    let verdicts = reviews("rejected", "#a");
    let refit = refitted(&verdicts, &built_in);
    let (facts, right) = verdicts[0].seen_with(&built_in).unwrap();
    assert!(!right);
    assert!(refit.weights.confidence(&facts) < built_in.confidence(&facts) / 2.0, "{refit:?}");
    assert!(refit.loss_after < refit.loss_before);
    // Nothing was said about strategies, nor about pages whose other elements are remembered.
    let plain = shares(&built_in.strategies);
    assert!(refit.weights.strategies.iter().zip(plain).all(|(fitted, before)| (fitted - before).abs() < 1e-9));
    assert_eq!(refit.weights.among, built_in.among);
}

#[test]
fn no_verdict_changes_nothing() {
    let refit = refitted(&[], &Weights::default());
    assert_eq!(refit.weights.alone, Weights::default().alone);
    assert!(refit.loss_after >= refit.loss_before);
}
