//! What the browser asks of the repository: where an element is, and where it went.

use async_trait::async_trait;
use tokio::time::Instant;
use url::Url;

use super::{ElementId, Record, Repository};
use crate::platform::elements::{Broken, Elements, Healed, Known};
use crate::platform::healing::THRESHOLD;
use crate::platform::healing::flow::{self, End, Wanted};
use crate::platform::locators::{By, Locator, RankedLocator};
use crate::platform::page::{Limits, Page};
use crate::platform::reply::{ToolError, class};

/// Elements of one page that are asked whether a locator is theirs.
const ELEMENTS_OF_PAGE: usize = 2_000;

impl Repository {
    /// The element of this page that a locator was made for.
    pub async fn with_locator(&self, url: &Url, locator: &Locator) -> Result<Option<Record>, ToolError> {
        let records = self.of_page(&ElementId::on(url, ""), ELEMENTS_OF_PAGE).await?;
        let has =
            |record: &Record| record.locators.iter().any(|own| own.by == locator.by && own.value == locator.value);
        Ok(records.into_iter().find(has))
    }
}

/// The CSS selectors among locators, the best first.
fn selectors(locators: &[RankedLocator]) -> Vec<String> {
    locators.iter().filter(|locator| locator.by == By::Css).map(|locator| locator.value.clone()).collect()
}

#[async_trait]
impl Elements for Repository {
    async fn locate(&self, element: &str) -> Result<Option<Known>, ToolError> {
        let found = self.find(element).await?;
        let known = |record: std::sync::Arc<Record>| Known {
            selectors: selectors(&record.locators),
            observations: found.observations,
        };
        Ok(found.record.map(known))
    }

    async fn heal(&self, broken: Broken) -> Result<Healed, ToolError> {
        let limits = Limits::default();
        let deadline = Instant::now() + limits.analysis;
        let page = Page::parse_aside(broken.url, broken.html, limits).await?;
        let wanted = Wanted {
            element: broken.element,
            locator: Some(Locator::written(&broken.selector)),
            fingerprint: None,
            threshold: THRESHOLD,
        };
        let outcome = match flow::run(self, page, wanted, deadline).await {
            Ok(outcome) => outcome,
            Err(error) if error.class == class::ELEMENT_NOT_FOUND => {
                return Ok(Healed { observations: error.ganger.observations, ..Healed::default() });
            }
            Err(error) => return Err(error),
        };
        let found = outcome.proposal;
        let sure = found.as_ref().filter(|_| outcome.end == End::Healed);
        Ok(Healed {
            selector: sure.and_then(|found| selectors(&found.locators).into_iter().next()),
            confidence: found.as_ref().map_or(0.0, |found| found.confidence),
            strategy: found.as_ref().map_or_else(String::new, |found| found.strategy.name().to_owned()),
            observations: outcome.observations,
        })
    }
}
