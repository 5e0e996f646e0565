//! Changes pages, heals, and keeps what came of it.

use ganger::platform::healing::refit::regression::{Example, Prior, logistic_regression};
use ganger::platform::healing::refit::shares;
use ganger::platform::healing::{Confidence, Facts, Rivals, Strategy, Weights, compare, heal};
use ganger::platform::locators::survey::Survey;
use ganger::platform::locators::{Fingerprint, deadline_in};
use ganger::platform::page::{Limits, Page};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::mutate::{Change, RECIPES, changed, mark, unmark};
use crate::{page, tables, targets};

/// Elements of one page that are looked for.
const ELEMENTS: usize = 8;

/// The least that score, margin, evidence and lead count. The rules double no element, so that the pages do not show
/// what an equal runner-up means.
const CONFIDENCE_FLOORS: [f64; 5] = [0.0, 2.0, 0.0, 0.0, f64::NEG_INFINITY];

/// How much each weight is pulled to 0, as a share of what the examples pull.
const PULL: f64 = 1e-4;

/// One healing.
#[allow(clippy::struct_excessive_bools, reason = "what came of it, in several respects")]
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a case, each of its own")]
pub(crate) struct Case {
    pub recipe: &'static str,
    /// The number of the page.
    pub page: usize,
    /// Whether it is of a site that nothing is fitted on.
    pub is_of_last_site: bool,
    /// Whether the element was there to be found.
    pub there: bool,
    /// Whether the best candidate was the element.
    pub right: bool,
    /// Whether it was another one that cannot be told from it: same name, attributes, text.
    pub twin: bool,
    pub strategy: Strategy,
    pub confidence: f64,
    /// What the confidence comes from where the other elements of the page are remembered.
    pub among: Facts,
    /// The same where they are not.
    pub alone: Facts,
    /// Whether the best candidate was the element then.
    pub right_alone: bool,
    pub took_ms: f64,
    /// Of the element and of the best other one, by each strategy.
    own: Option<[Option<f64>; 5]>,
    other: Option<[Option<f64>; 5]>,
}

/// The pages that numbers are fitted on: every second one, but none of the last site. All others are what the
/// numbers are judged on.
fn is_for_fitting(case: &Case) -> bool {
    case.page.is_multiple_of(2) && !case.is_of_last_site
}

/// Judges the built-in weights.
pub(crate) fn mutations(files: &[String]) -> anyhow::Result<()> {
    report(&all(files, &Weights::default())?, &Weights::default());
    Ok(())
}

/// Prints weights for `src/platform/healing/weights.rs`.
pub(crate) fn fit(files: &[String]) -> anyhow::Result<()> {
    let weights = fitted_strategies(&all(files, &Weights::default())?, Weights::default());
    println!("{}", serde_json::to_string_pretty(&fitted_confidence(&all(files, &weights)?, weights))?);
    Ok(())
}

/// The tables of the pages that nothing was fitted on.
fn report(cases: &[Case], weights: &Weights) {
    let judged: Vec<Case> = cases.iter().filter(|case| !is_for_fitting(case)).cloned().collect();
    let with = |facts: fn(&Case) -> Facts| -> Vec<Case> {
        judged.iter().map(|case| Case { confidence: weights.confidence(&facts(case)), ..case.clone() }).collect()
    };
    println!("## The other elements of the page remembered\n");
    let among = with(|case| case.among);
    tables::print(&among);
    println!("### Of these, the site that nothing was fitted on\n");
    tables::reliability(&among.iter().filter(|case| case.is_of_last_site).cloned().collect::<Vec<_>>());
    println!("## Only the element itself remembered\n");
    let alone: Vec<Case> =
        with(|case| case.alone).into_iter().map(|case| Case { right: case.right_alone, ..case }).collect();
    tables::print(&alone);
}

fn all(files: &[String], weights: &Weights) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let site = |file: &String| file.split('/').find(|part| *part == "gentelella").map(str::to_owned);
    let last = files.last().and_then(site);
    for (number, file) in files.iter().enumerate() {
        if let Some(original) = page(file)? {
            let found = of_page(number, original, weights);
            let is_of_last_site = last.is_some() && site(file) == last;
            cases.extend(found.into_iter().map(|case| Case { is_of_last_site, ..case }));
        }
    }
    Ok(cases)
}

fn of_page(number: usize, mut original: Page, weights: &Weights) -> Vec<Case> {
    let mut dice = StdRng::seed_from_u64(number as u64);
    let (prints, rivals, marks) = {
        let survey = Survey::of(&original);
        let mut places = targets(&survey);
        places.shuffle(&mut dice);
        let all: Vec<Fingerprint> =
            places.iter().take(2_000).map(|at| Fingerprint::of(&original, &survey, *at)).collect();
        let prints: Vec<Fingerprint> = all.iter().take(ELEMENTS).cloned().collect();
        let others =
            |own: usize| all.iter().enumerate().filter(move |(at, _)| *at != own).map(|(_, other)| other.clone());
        let rivals: Vec<Rivals> = (0..prints.len()).map(|own| Rivals::of(others(own))).collect();
        let marks: Vec<_> =
            places.iter().enumerate().map(|(count, at)| (survey.at(*at).element.id(), count.to_string())).collect();
        (prints, rivals, marks)
    };
    mark(&mut original.dom, &marks);
    let mut cases = Vec::new();
    for (seed, (recipe, changes)) in RECIPES.iter().enumerate() {
        let mut dom = original.dom.clone();
        let gone: Vec<String> = (0..prints.len()).map(|count| count.to_string()).collect();
        changed(&mut dom, changes, &gone, (number * 1_000 + seed) as u64);
        let Ok(mut new) = Page::parse(original.url.clone(), dom.html(), &Limits::default()) else { continue };
        let truth = unmark(&mut new.dom);
        let survey = Survey::of(&new);
        for (count, print) in prints.iter().enumerate() {
            let at = truth
                .get(&count.to_string())
                .and_then(|id| (0..survey.len()).find(|at| survey.at(*at).element.id() == *id));
            if at.is_none() != changes.contains(&Change::Remove) {
                // A change of another element has swallowed this one.
                continue;
            }
            cases.extend(case(recipe, number, &new, &survey, print, &rivals[count], at, weights));
        }
    }
    cases
}

#[allow(clippy::too_many_arguments, reason = "all that one healing takes")]
fn case(
    recipe: &'static str,
    number: usize,
    page: &Page,
    survey: &Survey<'_>,
    print: &Fingerprint,
    rivals: &Rivals,
    at: Option<usize>,
    weights: &Weights,
) -> Option<Case> {
    let begun = tokio::time::Instant::now();
    let healing = heal(page, survey, print, rivals, weights, deadline_in(60_000)).ok()??;
    let took_ms = begun.elapsed().as_secs_f64() * 1e3;
    let alone = heal(page, survey, print, &Rivals::default(), weights, deadline_in(60_000)).ok()??;
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
    let other = alone.candidates.iter().find(|candidate| Some(candidate.at) != at).map(|candidate| candidate.scores);
    Some(Case {
        recipe,
        page: number,
        is_of_last_site: false,
        there: at.is_some(),
        right: at == Some(best.at),
        twin,
        strategy: best.strongest(),
        confidence: healing.confidence,
        among: healing.facts,
        alone: alone.facts,
        right_alone: at == Some(alone.best().at),
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
    let fitting = cases.iter().filter(|case| is_for_fitting(case) && case.there);
    let examples: Vec<Example> = fitting.filter_map(differences).collect();
    let prior = Prior { weights: &[0.0; 5], strength: PULL * examples.len() as f64, floors: &[0.0; 5] };
    // Changes that a die makes leave more of the structure than people do, so that the rest would count next to
    // nothing: each has at least its share.
    let strategies = shares(&logistic_regression(&examples, &prior));
    Weights { strategies, ..weights }
}

fn fitted_confidence(cases: &[Case], weights: Weights) -> Weights {
    let fit = |facts: fn(&Case) -> (Facts, bool)| {
        let fitting = cases.iter().filter(|case| is_for_fitting(case)).map(facts);
        let seen = |(facts, right): (Facts, bool)| Example { facts: facts.listed().to_vec(), right };
        let examples: Vec<Example> = fitting.map(seen).collect();
        let strength = PULL * examples.len() as f64;
        let prior = Prior { weights: &[0.0; 5], strength, floors: &CONFIDENCE_FLOORS };
        Confidence::from_list(&logistic_regression(&examples, &prior))
    };
    Weights {
        alone: fit(|case| (case.alone, case.right_alone)),
        among: fit(|case| (case.among, case.right)),
        ..weights
    }
}
