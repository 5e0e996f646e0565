//! A healing from the question to the repository: what is remembered, what is on the page, what follows.

use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{Candidate, Healing, Rivals, Strategy, Weights, guess, heal};
use crate::platform::locators::survey::Survey;
use crate::platform::locators::{Fingerprint, Locator, RankedLocator, generate, resolve, rounded};
use crate::platform::observation;
use crate::platform::page::{Page, excerpt};
use crate::platform::reply::{ToolError, class};
use crate::platform::repository::{ElementId, Keep, MadeBy, Names, Origin, Record, Repository};

/// Below this confidence nobody needs to look at the candidates: the element is gone.
pub const NOTHING_LIKE_IT: f64 = 0.02;

/// Other elements of the page that are remembered with the one looked for.
const OTHERS_MAX: usize = 2_000;

/// Characters of an element and of a page that a person gets to see.
const ELEMENT_CHARS: usize = 300;
const PAGE_CHARS: usize = 800;

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The element's id or name in the repository.
    pub element: Option<String>,
    /// The locator that no longer finds it.
    pub locator: Option<Locator>,
    /// What is remembered of it, if the repository is not to be asked.
    pub fingerprint: Option<Fingerprint>,
    /// From which confidence on the healing is applied.
    pub threshold: f64,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The element.
    pub id: ElementId,
    /// What happened to it.
    pub end: End,
    /// The likeliest element as it is now; nothing where the old locator works.
    pub proposal: Option<Proposal>,
    /// What is to be reported.
    pub observations: Vec<Value>,
    /// What a person needs to judge it.
    pub evidence: Value,
}

/// How a healing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The old locator selects one element: there is nothing to heal.
    Unbroken,
    /// The new locators are in the repository.
    Healed,
    /// A person has to judge.
    Unsure,
}

/// What the element could be now.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Its locators, the best first.
    pub locators: Vec<RankedLocator>,
    /// What is to be remembered of it.
    pub fingerprint: Fingerprint,
    /// What found it.
    pub strategy: Strategy,
    /// How sure that is.
    pub confidence: f64,
}

/// What is known of the element before the page is looked at.
struct Remembered {
    record: Option<std::sync::Arc<Record>>,
    fingerprint: Fingerprint,
    locator: Option<Locator>,
    others: Vec<Fingerprint>,
}

/// Heals an element on a page; keeps what is sure enough.
pub async fn run(repository: &Repository, page: Page, wanted: Wanted, deadline: Instant) -> Result<Outcome, ToolError> {
    let mut observations = Vec::new();
    let remembered = remembered(repository, &page.url.clone(), &wanted, &mut observations).await?;
    let weights = repository.weights().await?;
    let (record, threshold) = (remembered.record.clone(), wanted.threshold);
    // It takes its time, so it is done where it keeps nobody waiting.
    let judged = tokio::task::spawn_blocking(move || judged(&page, &remembered, &weights, threshold, deadline)).await;
    let judged = judged.map_err(|error| ToolError::new(class::INTERNAL, format!("the healing failed: {error}")))?;
    let mut outcome = judged.map_err(|error| error.observing(observations.clone()))?;
    outcome.observations.splice(0..0, observations);
    if let Some(record) = &record {
        outcome.id.clone_from(&record.id);
    }
    if let (End::Healed, Some(found)) = (outcome.end, &outcome.proposal) {
        let origin =
            Origin { made_by: MadeBy::Healed, strategy: Some(found.strategy), confidence: Some(found.confidence) };
        let keep =
            Keep { id: outcome.id.clone(), fingerprint: found.fingerprint.clone(), locators: found.locators.clone() };
        repository.keep(&[keep], origin).await?;
    }
    Ok(outcome)
}

async fn remembered(
    repository: &Repository,
    url: &Url,
    wanted: &Wanted,
    observations: &mut Vec<Value>,
) -> Result<Remembered, ToolError> {
    let mut record = None;
    if let Some(element) = &wanted.element {
        let found = repository.find(element).await?;
        observations.extend(found.observations);
        record = found.record;
    } else if let Some(locator) = &wanted.locator {
        record = repository.with_locator(url, locator).await?.map(std::sync::Arc::new);
    }
    let best = record.as_ref().and_then(|record| record.locators.first()).map(RankedLocator::locator);
    let locator = wanted.locator.clone().or(best);
    let known = wanted.fingerprint.clone().or_else(|| record.as_ref().map(|record| record.fingerprint.clone()));
    let fingerprint = match (known, &locator) {
        (Some(known), _) => known,
        (None, Some(locator)) => guess::from_locator(locator),
        (None, None) => {
            let what = wanted.element.as_deref().unwrap_or("an element");
            let message = format!(
                "{what:?} is not in the repository: give its fingerprint or the locator that broke, or generate locators first"
            );
            return Err(ToolError::bad_arguments(message).observing(observations.clone()));
        }
    };
    let home = record.as_ref().map_or_else(|| ElementId::on(url, ""), |record| record.id.clone());
    let others = repository.of_page(&home, OTHERS_MAX).await?;
    let is_other = |other: &Record| record.as_ref().is_none_or(|record| record.row != other.row);
    let others = others.into_iter().filter(is_other).map(|other| other.fingerprint).collect();
    Ok(Remembered { record, fingerprint, locator, others })
}

fn judged(
    page: &Page,
    remembered: &Remembered,
    weights: &Weights,
    threshold: f64,
    deadline: Instant,
) -> Result<Outcome, ToolError> {
    let survey = Survey::of(page);
    let name = |print: &Fingerprint| ElementId::on(&page.url, &Names::default().give(print));
    if let Some(locator) = &remembered.locator
        && let Ok(found) = resolve(page, &survey, locator)
        && let [_] = found[..]
    {
        let id = name(&remembered.fingerprint);
        return Ok(Outcome { id, end: End::Unbroken, proposal: None, observations: Vec::new(), evidence: Value::Null });
    }
    let old = &remembered.fingerprint;
    let rivals = Rivals::of(remembered.others.iter().filter(|other| *other != old).cloned());
    let Some(healing) = heal(page, &survey, old, &rivals, weights, deadline)? else {
        return Err(not_found(page, remembered, None, Value::Null));
    };
    let evidence = evidence(page, &survey, remembered, &healing, deadline);
    if healing.confidence < NOTHING_LIKE_IT {
        return Err(not_found(page, remembered, Some(&healing), evidence));
    }
    let best = healing.best();
    let (strategy, confidence) = (best.strongest(), rounded(healing.confidence));
    // One element is done in any time that is left: the deadline is for the search.
    let later = Instant::now() + tokio::time::Duration::from_secs(1);
    let located = generate(page, &survey, &[best.at], later).done.pop();
    let located =
        located.ok_or_else(|| ToolError::new(class::DOM_ANALYSIS_TIMEOUT, "no time was left for the locators"))?;
    let end = if healing.confidence >= threshold { End::Healed } else { End::Unsure };
    Ok(Outcome {
        id: name(&located.fingerprint),
        end,
        observations: vec![observation::healing(strategy.name(), end == End::Healed, confidence)],
        proposal: Some(Proposal { locators: located.locators, fingerprint: located.fingerprint, strategy, confidence }),
        evidence,
    })
}

fn not_found(page: &Page, remembered: &Remembered, healing: Option<&Healing>, evidence: Value) -> ToolError {
    let what = remembered.record.as_ref().map(|record| record.id.to_string());
    let what = what.or_else(|| remembered.locator.as_ref().map(ToString::to_string)).unwrap_or_default();
    let message = match healing {
        Some(healing) => format!("{}: none of {} elements is anything like {what}", page.url, healing.looked_at),
        None => format!("{}: there is no element of the kind of {what}", page.url),
    };
    // A failure counts against the strategy that came nearest.
    let strategy = healing.map_or(Strategy::SemanticMatch, |healing| healing.best().strongest());
    let confidence = healing.map_or(0.0, |healing| rounded(healing.confidence));
    let error = ToolError::new(class::ELEMENT_NOT_FOUND, message).observing([observation::healing(
        strategy.name(),
        false,
        confidence,
    )]);
    if evidence.is_null() { error } else { error.with_evidence(evidence) }
}

fn evidence(page: &Page, survey: &Survey<'_>, remembered: &Remembered, healing: &Healing, deadline: Instant) -> Value {
    let places: Vec<usize> = healing.candidates.iter().map(|candidate| candidate.at).collect();
    let located = generate(page, survey, &places, deadline).done;
    let shown = |(count, candidate): (usize, &Candidate)| {
        let scores = Strategy::ALL.iter().zip(candidate.scores);
        let scores: serde_json::Map<String, Value> =
            scores.filter_map(|(strategy, score)| Some((strategy.name().to_owned(), json!(rounded(score?))))).collect();
        let html: String = survey.at(candidate.at).element.html().chars().take(ELEMENT_CHARS).collect();
        let locator = located
            .get(count)
            .and_then(|located| located.locators.first())
            .map(|locator| locator.locator().to_string());
        json!({ "locator": locator, "score": candidate.score, "claimed": rounded(candidate.claimed), "scores": scores, "html": html, "text": survey.read(candidate.at) })
    };
    json!({
        "url": page.url.as_str(),
        "broken_locator": remembered.locator.as_ref().map(ToString::to_string),
        "candidates": healing.candidates.iter().enumerate().map(shown).collect::<Vec<_>>(),
        "facts": healing.facts,
        "looked_at": healing.looked_at,
        "page_excerpt": excerpt(page, PAGE_CHARS),
        "old_fingerprint": remembered.fingerprint,
    })
}
