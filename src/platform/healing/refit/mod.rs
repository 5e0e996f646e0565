//! `refit_healing`: people's decisions on unsure healings become weights.
//!
//! The built-in weights are the prior of a logistic model and the decided reviews its data. Weights are replaced only
//! if they would have foreseen decisions that they were not fitted on better than the built-in ones did.

mod fit;
pub mod regression;
mod verdict;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::fit::{LEAST_WEIGHT, shares};
use self::verdict::Verdict;
use super::Weights;
use crate::platform::Context;
use crate::platform::daemon::Daemon;
use crate::platform::locators::rounded;
use crate::platform::reply::{Reply, ToolError, ToolResult, class};

/// The type of the jobs whose reviews count.
const HEALING_TYPE: &str = "element_healing";

/// Reviews that one page of the API has at most; their evidence comes with them.
const PAGE_REVIEWS: usize = 200;

/// Verdicts that count at most, and without which nothing is fitted.
const VERDICTS_MAX: usize = 5_000;
const VERDICTS: usize = 1_000;
const VERDICTS_LEAST: usize = 20;

/// What `refit_healing` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Args {
    /// The latest so many verdicts count; 1,000 without it, 5,000 at most.
    verdicts_max: Option<usize>,
    /// Fewer verdicts change nothing; 20 without it.
    verdicts_min: Option<usize>,
    /// Only tell what would be changed.
    dry_run: bool,
}

/// Fits the weights of healing to what people have decided.
pub async fn refit_healing(context: &Context, args: Args) -> ToolResult {
    let most = args.verdicts_max.unwrap_or(VERDICTS).clamp(1, VERDICTS_MAX);
    let least = args.verdicts_min.unwrap_or(VERDICTS_LEAST).max(1);
    let verdicts = verdicts(&Daemon::of(&context.settings)?, most).await?;
    let found = verdicts.len();
    if found < least {
        let why = format!("{found} reviews of healings are decided, and {least} are needed");
        return Ok(Reply::new(json!({ "refitted": false, "verdicts": found, "why": why })));
    }
    let built_in = Weights::default();
    let fitting = tokio::task::spawn_blocking(move || fit::refitted(&verdicts, &built_in)).await;
    let refit = fitting.map_err(|error| ToolError::new(class::INTERNAL, format!("the refit failed: {error}")))?;
    let is_better = refit.loss_after < refit.loss_before;
    let before = context.repository.weights().await?;
    let refitted = is_better && !args.dry_run;
    if refitted {
        context.repository.set_weights(&refit.weights).await?;
    }
    let why = match (is_better, args.dry_run) {
        (false, _) => "the built-in weights foresee the verdicts as well",
        (true, true) => "a dry run changes nothing",
        (true, false) => "they foresee the verdicts that they were not fitted on better than the built-in ones",
    };
    Ok(Reply::new(json!({
        "refitted": refitted,
        "verdicts": found,
        "why": why,
        "loss_before": rounded(refit.loss_before),
        "loss_after": rounded(refit.loss_after),
        "weights_before": before,
        "weights": refit.weights,
    })))
}

/// The latest verdicts on healings.
async fn verdicts(daemon: &Daemon, most: usize) -> Result<Vec<Verdict>, ToolError> {
    let (mut verdicts, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut asked =
            vec![("type", HEALING_TYPE.to_owned()), ("decided", "any".to_owned()), ("limit", PAGE_REVIEWS.to_string())];
        asked.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let (page, _) = daemon.json("/v1/reviews", &asked).await?;
        let Value::Array(found) = &page["reviews"] else {
            return Err(ToolError::new(class::INTERNAL, "/v1/reviews has no reviews in it"));
        };
        verdicts.extend(found.iter().filter_map(Verdict::of));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || verdicts.len() >= most {
            verdicts.truncate(most);
            return Ok(verdicts);
        }
    }
}

#[cfg(test)]
mod tests;
