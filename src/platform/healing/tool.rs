//! `heal_element` and `apply_healing`.

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::flow::{self, End, Outcome, Wanted};
use super::{Strategy, THRESHOLD};
use crate::platform::Context;
use crate::platform::fetch::PageSource;
use crate::platform::locators::{Fingerprint, Locator, RankedLocator, Written, check, deadline_in};
use crate::platform::reply::{Reply, ToolError, ToolResult};
use crate::platform::repository::{ElementId, Keep, MadeBy, Origin};

/// What the daemon calls another threshold that holds for a while.
const OVERRIDE: &str = "healing_threshold";
/// The type of the job that applies an approved healing.
const APPLYING_TYPE: &str = "apply_healing";

/// What `heal_element` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealArgs {
    /// The page as it is now.
    page: PageSource,
    /// The element: `http://site/page#name`, or its name if only one has it.
    element: Option<String>,
    /// The locator that no longer finds it.
    locator: Option<Written>,
    /// What is remembered of it; without it the repository is asked.
    fingerprint: Option<Value>,
    /// From which confidence on it is applied without a person, 0 to 1; without it what the daemon overrides as
    /// `healing_threshold`, else 0.8.
    threshold: Option<f64>,
    /// Milliseconds that all of it may take; 4000 without it.
    budget_ms: Option<u64>,
}

/// Heals an element.
pub async fn heal_element(context: &Context, args: HealArgs) -> ToolResult {
    let deadline = deadline_in(args.budget_ms.unwrap_or(4_000).min(60_000));
    let threshold = threshold(args.threshold, &context.overrides)?;
    let fingerprint = args.fingerprint.map(serde_json::from_value::<Fingerprint>).transpose();
    let fingerprint = fingerprint.map_err(|error| ToolError::bad_arguments(format!("fingerprint: {error}")))?;
    let page = context.fetcher.page(&args.page).await?;
    let wanted = Wanted { element: args.element, locator: args.locator.map(Locator::from), fingerprint, threshold };
    let outcome = flow::run(&context.repository, page, wanted, deadline).await?;
    Ok(answer(outcome, threshold, deadline))
}

/// From which confidence on a healing is applied: as the call says, else as the daemon tells everybody for a while, else
/// [`THRESHOLD`].
fn threshold(said: Option<f64>, overrides: &serde_json::Map<String, Value>) -> Result<f64, ToolError> {
    let told = || overrides.get(OVERRIDE).and_then(Value::as_f64).filter(|told| (0.0..=1.0).contains(told));
    let threshold = said.or_else(told).unwrap_or(THRESHOLD);
    if (0.0..=1.0).contains(&threshold) {
        return Ok(threshold);
    }
    Err(ToolError::bad_arguments(format!("threshold is {threshold}, not between 0 and 1")))
}

fn answer(outcome: Outcome, threshold: f64, deadline: Instant) -> Reply {
    let element = outcome.id.to_string();
    let Some(found) = outcome.proposal else {
        let result = json!({ "element": element, "broken": false, "healed": false });
        return Reply::new(result).observing(outcome.observations);
    };
    let best = found.locators.first().map(|locator| locator.locator().to_string());
    let mut result = json!({
        "element": element,
        "broken": true,
        "healed": outcome.end == End::Healed,
        "strategy": found.strategy.name(),
        "confidence": found.confidence,
        "threshold": threshold,
        "locator": best,
        "locators": found.locators,
        "in_time": Instant::now() < deadline,
    });
    if outcome.end == End::Healed {
        result["old_locator"] = outcome.evidence["broken_locator"].clone();
        return Reply::new(result).observing(outcome.observations);
    }
    let proposal = json!({ "element": element, "locator": best, "strategy": found.strategy.name(), "confidence": found.confidence });
    let applying = json!({
        "type": APPLYING_TYPE,
        "payload": { "proposal": proposal, "locators": found.locators, "fingerprint": found.fingerprint },
    });
    let mut reply = Reply::new(result).observing(outcome.observations);
    reply.ganger.review = Some(json!({
        "reason": format!("confidence {} is below {threshold}: is {} the element {element}?", found.confidence, best.unwrap_or_default()),
        "proposal": proposal,
        "evidence": outcome.evidence,
        "on_approve": [applying],
    }));
    reply
}

/// What a person approved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The element: `http://site/page#name`.
    element: String,
    /// The locator that finds it.
    locator: Written,
    /// What found it.
    strategy: Option<Strategy>,
    /// How sure that was, 0 to 1.
    confidence: Option<f64>,
}

/// What `apply_healing` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyArgs {
    /// What a person approved.
    proposal: Approved,
    /// All locators of what was proposed.
    #[serde(default)]
    locators: Vec<RankedLocator>,
    /// What is to be remembered of what was proposed.
    fingerprint: Option<Value>,
}

/// Writes an approved locator into the repository.
pub async fn apply_healing(context: &Context, args: ApplyArgs) -> ToolResult {
    let proposal = args.proposal;
    let locator = Locator::from(proposal.locator);
    // Before anything is kept: what nobody can read would find nothing in every test after this.
    check(&locator).map_err(|error| ToolError::bad_arguments(format!("the proposal's locator {locator}: {error}")))?;
    let found = context.repository.find(&proposal.element).await?;
    let written = ElementId::written(&proposal.element);
    let id = found.record.as_ref().map(|record| record.id.clone()).or(written).ok_or_else(|| {
        ToolError::bad_arguments(format!("{:?} is no element: write http://site/page#name", proposal.element))
    })?;
    let fingerprint = args.fingerprint.map(serde_json::from_value::<Fingerprint>).transpose();
    let fingerprint = fingerprint.map_err(|error| ToolError::bad_arguments(format!("fingerprint: {error}")))?;
    let is_proposed = args.locators.first().is_some_and(|first| first.locator() == locator);
    // Who edited the locator meant another element: of that one nothing else is known.
    let (locators, fingerprint) = if is_proposed {
        (args.locators, fingerprint)
    } else {
        (vec![RankedLocator::approved(locator)], found.record.as_ref().map(|record| record.fingerprint.clone()))
    };
    let best = locators[0].locator().to_string();
    let origin = Origin { made_by: MadeBy::Approved, strategy: proposal.strategy, confidence: proposal.confidence };
    let keep = Keep { id: id.clone(), fingerprint: fingerprint.unwrap_or_default(), locators };
    let changed = context.repository.keep(&[keep], origin).await?;
    let result = json!({ "element": id.to_string(), "locator": best, "applied": changed > 0 });
    Ok(Reply::new(result).observing(found.observations))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(found: Result<f64, ToolError>, expected: f64) -> bool {
        found.is_ok_and(|found| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn the_call_says_the_threshold_else_the_daemon_else_nobody() {
        let told = |value: Value| serde_json::Map::from_iter([(OVERRIDE.to_owned(), value)]);
        assert!(is(threshold(None, &told(json!(0.7))), 0.7));
        assert!(is(threshold(Some(0.9), &told(json!(0.7))), 0.9));
        assert!(is(threshold(None, &serde_json::Map::new()), THRESHOLD));
        for odd in [json!(7), json!("low"), json!(null)] {
            assert!(is(threshold(None, &told(odd)), THRESHOLD));
        }
        assert!(threshold(Some(1.1), &told(json!(0.7))).is_err());
    }
}
