//! `warm_cache`.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ElementId, Keep, L1_ENTRIES, MadeBy, Origin, Record};
use crate::platform::Context;
use crate::platform::fetch::PageSource;
use crate::platform::locators::survey::Survey;
use crate::platform::locators::{RankedLocator, deadline_in, generate, resolve};
use crate::platform::page::Page;
use crate::platform::reply::{Reply, ToolError, ToolResult, class};

/// Pages of one call, and elements of one page.
const PAGES_MAX: usize = 50;
const ELEMENTS_OF_PAGE: usize = 2_000;

/// Time for one page.
const PAGE_MS: u64 = 4_000;

/// The type of the jobs that heal.
const HEALING_TYPE: &str = "element_healing";

/// Which elements are loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Those that are asked for most.
    #[default]
    High,
    /// Those that changed last.
    Normal,
}

/// What `warm_cache` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Args {
    /// `high`, the elements that are asked for most (so without it), or `normal`, those that changed last.
    priority: Priority,
    /// How many; all that fit without it.
    limit: Option<usize>,
    /// Pages whose elements are looked up again: what still is where it was gets a new fingerprint, what is not is reported.
    pages: Vec<PageSource>,
    /// Whether a healing job is submitted for each element that is not found any more.
    heal: bool,
}

/// Loads elements into L1, after looking at pages again.
pub async fn warm_cache(context: &Context, args: Args) -> ToolResult {
    if args.pages.len() > PAGES_MAX {
        return Err(ToolError::bad_arguments(format!("{} pages are more than {PAGES_MAX}", args.pages.len())));
    }
    let (mut checked, mut refreshed) = (0, 0);
    let (mut broken, mut enqueue) = (Vec::new(), Vec::new());
    for (done, source) in args.pages.iter().enumerate() {
        let page = context.fetcher.page(source).await?;
        let url = page.url.clone();
        let records = context.repository.of_page(&ElementId::on(&url, ""), ELEMENTS_OF_PAGE).await?;
        checked += records.len();
        let looked = tokio::task::spawn_blocking(move || looked_again(&page, records)).await;
        let (keeps, lost) =
            looked.map_err(|error| ToolError::new(class::INTERNAL, format!("the analysis failed: {error}")))?;
        refreshed += context.repository.keep(&keeps, Origin::plain(MadeBy::Warmed)).await?;
        for record in lost {
            let element = record.id.to_string();
            if args.heal {
                enqueue.push(json!({ "type": HEALING_TYPE, "payload": { "page": url.as_str(), "element": element } }));
            }
            broken.push(Value::from(element));
        }
        context.progress.tell(done + 1, args.pages.len(), url.as_str()).await;
    }
    let loaded = context.repository.warm(args.priority == Priority::High, args.limit.unwrap_or(L1_ENTRIES)).await?;
    let result = json!({ "loaded": loaded, "priority": args.priority, "checked": checked, "refreshed": refreshed, "broken": broken });
    let mut reply = Reply::new(result);
    reply.ganger.enqueue = enqueue;
    Ok(reply)
}

/// What still is where it was, as it is now, and what is not.
fn looked_again(page: &Page, records: Vec<Record>) -> (Vec<Keep>, Vec<Record>) {
    let survey = Survey::of(page);
    let deadline = deadline_in(PAGE_MS);
    let (mut keeps, mut lost) = (Vec::new(), Vec::new());
    for record in records {
        let found = record
            .locators
            .first()
            .map(RankedLocator::locator)
            .and_then(|locator| resolve(page, &survey, &locator).ok());
        let located = match found.as_deref() {
            Some([at]) => generate(page, &survey, &[*at], deadline).done.pop(),
            _ => None,
        };
        match located {
            Some(located) => {
                keeps.push(Keep { id: record.id, fingerprint: located.fingerprint, locators: located.locators });
            }
            None => lost.push(record),
        }
    }
    (keeps, lost)
}
