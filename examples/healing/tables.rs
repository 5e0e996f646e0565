//! What came of many healings, as Markdown tables.

use ganger::platform::healing::{Strategy, THRESHOLD};

use crate::measure::Case;
use crate::mutate::RECIPES;

fn share(part: usize, all: usize) -> String {
    if all == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / all as f64) }
}

pub(crate) fn print(cases: &[Case]) {
    by_change(cases);
    by_strategy(cases);
    reliability(cases);
    thresholds(cases);
    let mut times: Vec<f64> = cases.iter().map(|case| case.took_ms).collect();
    times.sort_by(f64::total_cmp);
    if let (Some(middle), Some(last)) = (times.get(times.len() / 2), times.last()) {
        println!("One healing took {middle:.1} ms in the middle and {last:.0} ms at most.\n");
    }
}

fn healed(case: &Case) -> bool {
    case.confidence >= THRESHOLD
}

fn by_change(cases: &[Case]) {
    println!(
        "| Change | Cases | Best candidate right | Healed (confidence {THRESHOLD} or more) | of these wrong | of these twins | To a person |\n|---|---|---|---|---|---|---|"
    );
    let line = |name: &str, cases: &[&Case]| {
        let count = |holds: &dyn Fn(&Case) -> bool| cases.iter().filter(|case| holds(case)).count();
        let (all, sure) = (cases.len(), count(&healed));
        let best = if cases.iter().any(|case| case.there) {
            share(count(&|case| case.right), count(&|case| case.there))
        } else {
            "-".to_owned()
        };
        println!(
            "| {name} | {all} | {best} | {} | {} | {} | {} |",
            share(sure, all),
            count(&|case| healed(case) && !case.right),
            count(&|case| healed(case) && case.twin),
            share(all - sure, all)
        );
    };
    for (name, _) in RECIPES {
        line(name, &cases.iter().filter(|case| case.recipe == *name).collect::<Vec<_>>());
    }
    line("**all, element there**", &cases.iter().filter(|case| case.there).collect::<Vec<_>>());
    line("**all, element removed**", &cases.iter().filter(|case| !case.there).collect::<Vec<_>>());
    println!();
}

fn by_strategy(cases: &[Case]) {
    println!(
        "| Strongest strategy | Healings | Right | Wrong | Not sure enough | of these right |\n|---|---|---|---|---|---|"
    );
    for strategy in Strategy::ALL {
        let own: Vec<&Case> = cases.iter().filter(|case| case.strategy == strategy).collect();
        let sure = own.iter().filter(|case| healed(case)).count();
        let right = own.iter().filter(|case| healed(case) && case.right).count();
        let unsure_right = own.iter().filter(|case| !healed(case) && case.right).count();
        println!(
            "| `{}` | {} | {} | {} | {} | {} |",
            strategy.name(),
            sure,
            share(right, sure),
            sure - right,
            own.len() - sure,
            share(unsure_right, own.len() - sure)
        );
    }
    println!();
}

pub(crate) fn reliability(cases: &[Case]) {
    println!("| Confidence | Cases | Mean confidence | Right |\n|---|---|---|---|");
    let edges = [0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.000_001];
    let (mut error, mut squares) = (0.0, 0.0);
    for pair in edges.windows(2) {
        let bin: Vec<&Case> = cases.iter().filter(|case| (pair[0]..pair[1]).contains(&case.confidence)).collect();
        if bin.is_empty() {
            continue;
        }
        let mean = bin.iter().map(|case| case.confidence).sum::<f64>() / bin.len() as f64;
        let right = bin.iter().filter(|case| case.right).count();
        error += (mean - right as f64 / bin.len() as f64).abs() * bin.len() as f64;
        println!(
            "| {:.2} to {:.2} | {} | {:.1} % | {} |",
            pair[0],
            pair[1].min(1.0),
            bin.len(),
            100.0 * mean,
            share(right, bin.len())
        );
    }
    for case in cases {
        squares += (case.confidence - f64::from(u8::from(case.right))).powi(2);
    }
    let all = cases.len().max(1) as f64;
    println!(
        "\nExpected calibration error {:.3}, Brier score {:.3}, {} cases.\n",
        error / all,
        squares / all,
        cases.len()
    );
}

fn thresholds(cases: &[Case]) {
    println!("| Threshold | Healed, element there | Wrong of all healed | Healed though removed |\n|---|---|---|---|");
    for threshold in [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98] {
        let sure: Vec<&Case> = cases.iter().filter(|case| case.confidence >= threshold).collect();
        let there = cases.iter().filter(|case| case.there).count();
        let removed = cases.len() - there;
        println!(
            "| {threshold} | {} | {} | {} |",
            share(sure.iter().filter(|case| case.there).count(), there),
            share(sure.iter().filter(|case| !case.right).count(), sure.len()),
            share(sure.iter().filter(|case| !case.there).count(), removed)
        );
    }
    println!();
}
