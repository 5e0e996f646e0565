//! `generate_locators`.

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::survey::Survey;
use super::{Located, Locator, Written, deadline_in, generate, resolve};
use crate::platform::Context;
use crate::platform::fetch::PageSource;
use crate::platform::page::{Page, is_interactive, is_visible};
use crate::platform::reply::{Reply, ToolError, ToolResult, class};
use crate::platform::repository::{ElementId, Keep, MadeBy, Names, Origin};

/// A batch has to be done within the 4 s of its queue's SLA; half a second is for the way and for keeping what was found.
const BUDGET_MS: u64 = 3_500;

/// Elements that a result lists unless asked for more: results are kept by the daemon.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1_000;

/// Elements of one batch: each takes some 5 KiB until it is kept. What is beyond is told as missing.
const ELEMENTS_MAX: usize = 10_000;

/// Locators of one element: more than anybody tries.
const LOCATORS: usize = 6;

/// An element that the caller knows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A locator that selects it and nothing else.
    locator: Written,
    /// The name that it is to have in the repository.
    name: Option<String>,
}

/// What `generate_locators` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The page.
    page: PageSource,
    /// The elements; without them all visible ones that a person can act on.
    elements: Option<Vec<Target>>,
    /// Milliseconds for the page and its locators; 3500 without it.
    budget_ms: Option<u64>,
    /// How many elements the result lists; 100 without it, 1000 at most. All are kept in the repository.
    limit: Option<usize>,
    /// Whether the repository keeps them; it does unless this is false.
    keep: Option<bool>,
}

/// Finds locators for the elements of a page.
pub async fn generate_locators(context: &Context, args: Args) -> ToolResult {
    let begun = Instant::now();
    let budget_ms = args.budget_ms.unwrap_or(BUDGET_MS).clamp(1, 60_000);
    let deadline = deadline_in(budget_ms);
    let page = context.fetcher.page(&args.page).await?;
    let url = page.url.clone();
    let targets = args.elements;
    // It takes its time, so it is done where it keeps nobody waiting.
    let work = move || batch(&page, targets.as_deref(), deadline);
    let worked = tokio::task::spawn_blocking(work).await;
    let (found, missing) =
        worked.map_err(|error| ToolError::new(class::INTERNAL, format!("the analysis failed: {error}")))??;
    if found.is_empty() && missing > 0 {
        let message = format!("{url}: {missing} elements, and none was done within {budget_ms} ms");
        return Err(ToolError::new(class::DOM_ANALYSIS_TIMEOUT, message));
    }
    let limit = args.limit.unwrap_or(LISTED).min(LISTED_MAX);
    let listed: Vec<Value> =
        found.iter().take(limit).map(|(name, located)| shown(&ElementId::on(&url, name), located)).collect();
    let all = found.len();
    if args.keep.unwrap_or(true) {
        let keep = |(name, located): (String, Located)| Keep {
            id: ElementId::on(&url, &name),
            fingerprint: located.fingerprint,
            locators: located.locators,
        };
        let keeps: Vec<Keep> = found.into_iter().map(keep).collect();
        context.repository.keep(&keeps, Origin::plain(MadeBy::Generated)).await?;
    }
    Ok(Reply::new(json!({
        "url": url.as_str(),
        "complete": missing == 0,
        "found": all,
        "missing": missing,
        "listed": listed.len(),
        "elements": listed,
        "took_ms": crate::platform::observation::milliseconds(begun.elapsed()),
    })))
}

fn shown(id: &ElementId, located: &Located) -> Value {
    json!({
        "element": id.to_string(),
        "tag": located.fingerprint.tag,
        "name": located.fingerprint.name,
        "locators": located.locators.iter().take(LOCATORS).collect::<Vec<_>>(),
    })
}

/// The elements that were done, each with its name, and how many were not.
fn batch(
    page: &Page,
    targets: Option<&[Target]>,
    deadline: Instant,
) -> Result<(Vec<(String, Located)>, usize), ToolError> {
    let survey = Survey::of(page);
    let mut names = Names::default();
    let mut places = Vec::new();
    match targets {
        None => {
            let acts = |at: &usize| is_interactive(&survey.at(*at).element) && is_visible(&survey.at(*at).element);
            places.extend((0..survey.len()).filter(acts).map(|at| (at, None)));
        }
        Some(targets) => {
            for target in targets {
                let at = only(page, &survey, &Locator::from(target.locator.clone()))?;
                if let Some(name) = &target.name {
                    names.take(name)?;
                }
                places.push((at, target.name.clone()));
            }
        }
    }
    let ats: Vec<usize> = places.iter().map(|(at, _)| *at).collect();
    let (now, later) = ats.split_at(ats.len().min(ELEMENTS_MAX));
    let batch = generate(page, &survey, now, deadline);
    let found = batch.done.into_iter().zip(places).map(|(located, (_, name))| {
        let name = name.unwrap_or_else(|| names.give(&located.fingerprint));
        (name, located)
    });
    Ok((found.collect(), batch.missing.len() + later.len()))
}

fn only(page: &Page, survey: &Survey<'_>, locator: &Locator) -> Result<usize, ToolError> {
    let found = resolve(page, survey, locator)?;
    match found[..] {
        [at] => Ok(at),
        [] => Err(ToolError::new(class::ELEMENT_NOT_FOUND, format!("{}: {locator} selects nothing", page.url))),
        _ => {
            Err(ToolError::bad_arguments(format!("{}: {locator} selects {} elements, not one", page.url, found.len())))
        }
    }
}
