//! Changes pages, heals, and keeps what came of it.

use ganger::platform::healing::{Strategy, Weights, compare, heal};
use ganger::platform::locators::survey::Survey;
use ganger::platform::locators::{Fingerprint, deadline_in};
use ganger::platform::page::{Limits, Page};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::fit::{Example, logistic_regression};
use crate::mutate::{Change, RECIPES, TRUTH, changed, mark, unmark};
use crate::{page, tables, targets};

/// Elements of one page that are looked for.
const ELEMENTS: usize = 12;

/// One healing.
#[derive(Debug, Clone)]
pub struct Case {
    pub recipe: &'static str,
    /// The number of the page.
    pub page: usize,
    /// Whether the element was there to be found.
    pub there: bool,
    /// Whether the best candidate was the element.
    pub right: bool,
    /// Whether it was another one that cannot be told from it: same name, attributes, text.
    pub twin: bool,
    pub strategy: Strategy,
    pub confidence: f64,
    pub facts: [f64; 3],
    pub took_ms: f64,
    /// Of the element and of the best other one, by each strategy.
    own: Option<[Option<f64>; 5]>,
    other: Option<[Option<f64>; 5]>,
}

/// The pages that numbers are fitted on; all others are what they are judged on.
fn is_for_fitting(page: usize) -> bool {
    page % 2 == 0
}

pub fn mutations(files: &[String]) -> anyhow::Result<()> {
    let first = all(files, &Weights::default())?;
    println!("## Built-in weights, judged on the pages that nothing was fitted on\n");
    let judged: Vec<Case> = first.iter().filter(|case| !is_for_fitting(case.page)).cloned().collect();
    tables::print(&judged);

    let weights = fitted_strategies(&first, Weights::default());
    let second = all(files, &weights)?;
    let weights = fitted_confidence(&second, weights);
    println!("\n## Weights fitted on the other half of the pages, judged on the same pages\n");
    println!("```json\n{}\n```\n", serde_json::to_string(&weights)?);
    let judged: Vec<Case> = second
        .iter()
        .filter(|case| !is_for_fitting(case.page))
        .map(|case| Case { confidence: weights.confidence(&case.facts), ..case.clone() })
        .collect();
    tables::print(&judged);
    Ok(())
}

fn all(files: &[String], weights: &Weights) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (number, file) in files.iter().enumerate() {
        if let Some(original) = page(file)? {
            cases.extend(of_page(number, original, weights));
        }
    }
    Ok(cases)
}

fn of_page(number: usize, mut original: Page, weights: &Weights) -> Vec<Case> {
    let mut dice = StdRng::seed_from_u64(number as u64);
    let (prints, marks) = {
        let survey = Survey::of(&original);
        let mut places = targets(&survey);
        places.shuffle(&mut dice);
        let prints: Vec<Fingerprint> =
            places.iter().take(ELEMENTS).map(|at| Fingerprint::of(&original, &survey, *at)).collect();
        let marks: Vec<_> =
            places.iter().enumerate().map(|(count, at)| (survey.at(*at).element.id(), count.to_string())).collect();
        (prints, marks)
    };
    mark(&mut original.dom, &marks);
    let mut cases = Vec::new();
    for (seed, (recipe, changes)) in RECIPES.iter().enumerate() {
        let mut dom = original.dom.clone();
        let gone: Vec<String> = (0..prints.len()).map(|count| count.to_string()).collect();
        changed(&mut dom, changes, &gone, (number * 1_000 + seed) as u64);
        let Ok(mut new) = Page::parse(original.url.clone(), dom.html(), &Limits::default()) else { continue };
        let truth = unmark(&mut new.dom);
        debug_assert!(!new.dom.html().contains(TRUTH));
        let survey = Survey::of(&new);
        for (count, print) in prints.iter().enumerate() {
            let at = truth
                .get(&count.to_string())
                .and_then(|id| (0..survey.len()).find(|at| survey.at(*at).element.id() == *id));
            if at.is_none() != changes.contains(&Change::Remove) {
                // A change of another element has swallowed this one.
                continue;
            }
            cases.extend(case(recipe, number, &new, &survey, print, at, weights));
        }
    }
    cases
}

fn case(
    recipe: &'static str,
    number: usize,
    page: &Page,
    survey: &Survey<'_>,
    print: &Fingerprint,
    at: Option<usize>,
    weights: &Weights,
) -> Option<Case> {
    let begun = tokio::time::Instant::now();
    let healing = heal(page, survey, print, weights, deadline_in(60_000)).ok()??;
    let took_ms = begun.elapsed().as_secs_f64() * 1e3;
    let best = healing.best();
    let same = |one: &Fingerprint, other: &Fingerprint| {
        one.tag == other.tag
            && one.text == other.text
            && one.attributes == other.attributes
            && one.classes == other.classes
    };
    let twin = at.is_some_and(|at| {
        at != best.at && same(&Fingerprint::of(page, survey, at), &Fingerprint::of(page, survey, best.at))
    });
    let other = healing.candidates.iter().find(|candidate| Some(candidate.at) != at).map(|candidate| candidate.scores);
    Some(Case {
        recipe,
        page: number,
        there: at.is_some(),
        right: at == Some(best.at),
        twin,
        strategy: best.strongest(),
        confidence: healing.confidence,
        facts: healing.facts,
        took_ms,
        own: at.map(|at| compare(page, survey, print, at)),
        other,
    })
}

/// The element has to win against the best other one: what tells the two apart gets weight.
fn fitted_strategies(cases: &[Case], weights: Weights) -> Weights {
    let differences = |case: &Case| -> Option<Example> {
        let (own, other) = (case.own?, case.other?);
        let facts = own.iter().zip(other).map(|(own, other)| own.unwrap_or(0.0) - other.unwrap_or(0.0)).collect();
        Some(Example { facts, right: true })
    };
    let fitting = cases.iter().filter(|case| is_for_fitting(case.page) && case.there);
    let examples: Vec<Example> = fitting.filter_map(differences).collect();
    let fitted = logistic_regression(&examples, false, 0.02);
    let sum: f64 = fitted.iter().sum();
    let mut strategies = [0.0; 5];
    for (place, weight) in strategies.iter_mut().zip(fitted) {
        *place = ganger::platform::locators::rounded(weight / sum);
    }
    Weights { strategies, ..weights }
}

fn fitted_confidence(cases: &[Case], weights: Weights) -> Weights {
    let fitting = cases.iter().filter(|case| is_for_fitting(case.page));
    let examples: Vec<Example> =
        fitting.map(|case| Example { facts: case.facts.to_vec(), right: case.right }).collect();
    let fitted = logistic_regression(&examples, true, f64::MIN);
    let [score, margin, evidence, bias] =
        fitted.try_into().unwrap_or([0.0; 4]).map(ganger::platform::locators::rounded);
    Weights { score, margin, evidence, bias, ..weights }
}
