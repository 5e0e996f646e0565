//! A static browser: what a browser does without scripts and style sheets.
//!
//! It loads pages, follows links, fills in and sends forms as the HTML standard has it, keeps cookies, and
//! looks whether pages are as they should be.

mod assertions;
mod controls;
mod cookies;
mod form;
mod navigation;
mod policy;
mod sessions;
mod step;
mod target;
mod validity;

use std::sync::Arc;

use ego_tree::NodeId;
use scraper::ElementRef;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::Context;
use super::elements::{Broken, Elements};
use super::fetch::Fetcher;
use super::observation::milliseconds;
use super::page::{Limits, Page, excerpt, is_visible};
use super::reply::{ToolError, class};

use self::controls::Edits;
use self::cookies::Jar;
use self::target::{Found, Way, find};

pub(super) use self::controls::{Kind, controls_of, is_disabled, kind, option_value, options};
pub use self::sessions::Browsers;
pub use self::step::{Action, OneOrMany, Policy, Step};
pub use self::target::{By, Target};

/// Characters of a page that go into the evidence of a failure.
const EXCERPT_CHARACTERS: usize = 600;

/// A browser with one page open.
#[derive(Debug)]
pub struct Browser {
    fetcher: Fetcher,
    elements: Arc<dyn Elements>,
    limits: Limits,
    jar: Jar,
    view: Option<View>,
    /// Where relative addresses start before there is a page.
    base: Option<Url>,
    /// Whether elements that are not found are looked for by their likeness.
    heal: bool,
    observations: Vec<Value>,
    healed: Vec<Value>,
}

/// The open page and what was done on it.
#[derive(Debug)]
struct View {
    page: Page,
    status: u16,
    edits: Edits,
    /// The form that was worked on last.
    form: Option<NodeId>,
}

impl Browser {
    /// A browser without a page.
    pub fn new(context: &Context) -> Self {
        Self {
            fetcher: context.fetcher.clone(),
            elements: Arc::clone(&context.elements),
            limits: context.settings.limits,
            jar: Jar::default(),
            view: None,
            base: None,
            heal: false,
            observations: Vec::new(),
            healed: Vec::new(),
        }
    }

    /// Sets where relative addresses start before there is a page.
    pub fn set_base(&mut self, address: &str) -> Result<(), ToolError> {
        self.base = Some(self.fetcher.address(address)?);
        Ok(())
    }

    /// Sets whether elements that are not found are looked for by their likeness.
    pub fn set_healing(&mut self, heal: bool) {
        self.heal = heal;
    }

    /// What was measured and healed since the last time.
    pub fn take_notes(&mut self) -> (Vec<Value>, Vec<Value>) {
        (std::mem::take(&mut self.observations), std::mem::take(&mut self.healed))
    }

    /// The open page.
    pub fn page(&self) -> Option<&Page> {
        self.view.as_ref().map(|view| &view.page)
    }

    /// Where the browser is, for results and evidence.
    pub fn whereabouts(&self) -> Value {
        match &self.view {
            Some(view) => json!({ "url": view.page.url.as_str(), "title": view.page.title(), "status": view.status }),
            None => json!({ "url": null }),
        }
    }

    /// Does one step and tells what came of it. Errors carry evidence.
    pub async fn perform(&mut self, step: &Step) -> Result<Value, ToolError> {
        let begun = Instant::now();
        let done = self.act(&step.action).await;
        let mut report = json!({ "action": step.verb(), "took_ms": milliseconds(begun.elapsed()) });
        if let Some(name) = &step.name {
            report["name"] = json!(name);
        }
        match done {
            Ok(details) => {
                if let (Some(report), Value::Object(details)) = (report.as_object_mut(), details) {
                    report.extend(details);
                }
                Ok(report)
            }
            Err(error) => Err(self.with_evidence(error, step)),
        }
    }

    async fn act(&mut self, action: &Action) -> Result<Value, ToolError> {
        match action {
            Action::Load { url } => self.load(url).await,
            Action::Follow { target } => self.follow(target).await,
            Action::Click { target } => self.click(target).await,
            Action::Submit { target } => self.submit(target.as_ref()).await,
            Action::Fill { target, value } => self.fill(target, value).await,
            Action::Select { target, option } => self.select(target, option.all()).await,
            Action::Check { target } => self.tick(target, true).await,
            Action::Uncheck { target } => self.tick(target, false).await,
            Action::Policy { policy: Policy::SeatingSelection, rules, seats } => {
                self.choose_seats(rules, seats.as_deref())
            }
            _ => self.assert(action).await,
        }
    }

    /// The element that is meant; an error with a proposal where it can be healed but should not be.
    async fn find(&mut self, target: &Target) -> Result<Found, ToolError> {
        let way = target.way()?;
        let (selectors, element) = match way {
            Way::Element(id) => (self.known(id).await?, Some(id.to_owned())),
            Way::Css(css) => (vec![css.to_owned()], None),
            _ => {
                let found = find(&self.open()?.page, &way)?;
                return found.ok_or_else(|| self.not_found(target, None));
            }
        };
        for selector in &selectors {
            if let Some(found) = find(&self.open()?.page, &Way::Css(selector))? {
                return Ok(found);
            }
        }
        let selector = selectors.into_iter().next().unwrap_or_default();
        if self.heal
            && let Some(found) = self.healed(&selector, element).await?
        {
            return Ok(found);
        }
        Err(self.not_found(target, Some(&selector)))
    }

    /// The selectors by which the repository knows an element.
    async fn known(&mut self, id: &str) -> Result<Vec<String>, ToolError> {
        let known = self.elements.locate(id).await?;
        let Some(known) = known else {
            let message = format!("the repository has no element {id:?}");
            return Err(ToolError::new(class::ELEMENT_NOT_FOUND, message));
        };
        self.observations.extend(known.observations);
        Ok(known.selectors)
    }

    /// Looks for an element by its likeness.
    async fn healed(&mut self, selector: &str, element: Option<String>) -> Result<Option<Found>, ToolError> {
        let (url, html) = self.page().map(|page| (page.url.clone(), Arc::clone(&page.html))).ok_or_else(no_page)?;
        let broken = Broken { url, html, selector: selector.to_owned(), element };
        let elements = Arc::clone(&self.elements);
        let healed = elements.heal(broken).await?;
        self.observations.extend(healed.observations);
        let Some(better) = healed.selector else { return Ok(None) };
        let found = find(&self.open()?.page, &Way::Css(&better))?;
        if found.is_some() {
            self.healed.push(json!({
                "from": selector, "to": better, "strategy": healed.strategy, "confidence": healed.confidence,
            }));
        }
        Ok(found)
    }

    fn not_found(&self, target: &Target, selector: Option<&str>) -> ToolError {
        let wanted = json!(target);
        let place = self.page().map_or_else(String::new, |page| format!(" on {}", page.url));
        let hidden = selector.filter(|css| self.is_hidden(css)).map_or("", |_| "; it is there, but hidden");
        ToolError::new(class::ELEMENT_NOT_FOUND, format!("no element fits {wanted}{place}{hidden}"))
            .with_evidence(json!({ "selector": selector, "target": wanted }))
    }

    fn is_hidden(&self, css: &str) -> bool {
        let (Some(page), Ok(selector)) = (self.page(), super::page::selector(css)) else { return false };
        page.select(&selector).any(|element| !is_visible(&element))
    }

    fn open(&self) -> Result<&View, ToolError> {
        self.view.as_ref().ok_or_else(no_page)
    }

    fn open_mut(&mut self) -> Result<&mut View, ToolError> {
        self.view.as_mut().ok_or_else(no_page)
    }

    fn with_evidence(&self, mut error: ToolError, step: &Step) -> ToolError {
        let mut evidence = error.evidence.take().map_or_else(|| json!({}), |evidence| *evidence);
        evidence["step"] = json!(step);
        evidence["page"] = self.whereabouts();
        if let Some(page) = self.page() {
            evidence["excerpt"] = json!(excerpt(page, EXCERPT_CHARACTERS));
        }
        error.with_evidence(evidence)
    }
}

fn no_page() -> ToolError {
    ToolError::bad_arguments("no page is open; load one first")
}

impl View {
    /// The element with this node id; it is there as long as its page is.
    fn element(&self, node: NodeId) -> Result<ElementRef<'_>, ToolError> {
        self.page.element(node).ok_or_else(|| ToolError::new(class::INTERNAL, "an element left its page"))
    }
}

#[cfg(test)]
mod tests;
