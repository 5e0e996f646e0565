//! Looking whether a page is as it should be.

use scraper::ElementRef;
use serde_json::{Value, json};

use super::super::page::{self, squeeze, visible_text};
use super::super::reply::{ToolError, class};
use super::controls::{self, Kind};
use super::navigation::is_same_page;
use super::target::{self, Target, Way};
use super::validity::{first_invalid, invalid};
use super::{Action, Browser};

/// Characters of a text that a message quotes.
const QUOTED_CHARACTERS: usize = 120;

type Checked = Result<Value, ToolError>;

impl Browser {
    pub(super) async fn assert(&mut self, action: &Action) -> Checked {
        match action {
            Action::AssertText { text, target, absent } => self.assert_text(text, target.as_ref(), *absent).await,
            Action::AssertElement { target, count, absent } => self.assert_element(target, *count, *absent).await,
            Action::AssertUrl { url, contains } => self.assert_url(url.as_deref(), contains.as_deref()),
            Action::AssertValue { target, value } => self.assert_value(target, value).await,
            Action::AssertStatus { status } => self.assert_status(*status),
            Action::AssertInvalid { target } => self.assert_invalid(target.as_ref()).await,
            _ => Err(ToolError::new(class::INTERNAL, "this action asserts nothing")),
        }
    }

    async fn assert_text(&mut self, wanted: &str, target: Option<&Target>, absent: bool) -> Checked {
        let node = match target {
            Some(target) => Some(self.find(target).await?.node),
            None => None,
        };
        let view = self.open()?;
        let element = node.map_or_else(|| Ok(view.page.dom.root_element()), |node| view.element(node))?;
        let (text, wanted) = (visible_text(&element), squeeze(wanted));
        match (text.contains(&wanted), absent) {
            (false, false) => Err(failed(format!("the text {wanted:?} is not there; there is {:?}", quoted(&text)))),
            (true, true) => Err(failed(format!("the text {wanted:?} is there and should not be"))),
            _ => Ok(json!({})),
        }
    }

    async fn assert_element(&mut self, target: &Target, count: Option<usize>, absent: bool) -> Checked {
        if absent || count == Some(0) {
            return match self.look(target).await? {
                0 => Ok(json!({ "matches": 0 })),
                matches => Err(failed(format!("{} is there {matches} times and should not be", json!(target)))),
            };
        }
        let matches = self.find(target).await?.matches;
        match count {
            Some(count) if count != matches => {
                Err(failed(format!("{} is there {matches} times, not {count}", json!(target))))
            }
            _ => Ok(json!({ "matches": matches })),
        }
    }

    /// How often an element is there, without an attempt to heal what is not.
    async fn look(&mut self, target: &Target) -> Result<usize, ToolError> {
        let selectors = match target.way()? {
            Way::Element(id) => self.known(id).await?,
            way => return Ok(target::find(&self.open()?.page, &way)?.map_or(0, |found| found.matches)),
        };
        for selector in &selectors {
            if let Some(found) = target::find(&self.open()?.page, &Way::Css(selector))? {
                return Ok(found.matches);
            }
        }
        Ok(0)
    }

    fn assert_url(&self, url: Option<&str>, contains: Option<&str>) -> Checked {
        let here = &self.open()?.page.url;
        if url.is_none() && contains.is_none() {
            return Err(ToolError::bad_arguments("assert_url takes url or contains"));
        }
        if let Some(wanted) = url {
            let wanted = here.join(wanted).map_err(|error| ToolError::bad_arguments(format!("{wanted:?}: {error}")))?;
            if !is_same_page(here, &wanted) {
                return Err(failed(format!("the page is {here}, not {wanted}")));
            }
        }
        match contains.filter(|part| !here.as_str().contains(part)) {
            Some(part) => Err(failed(format!("the page is {here}, without {part:?} in it"))),
            None => Ok(json!({})),
        }
    }

    async fn assert_value(&mut self, target: &Target, wanted: &str) -> Checked {
        let found = self.find(target).await?;
        let view = self.open()?;
        let control = view.element(found.node)?;
        let values: Vec<String> = match controls::kind(&control) {
            Some(Kind::Select) => {
                let chosen = view.edits.chosen(&control);
                chosen.iter().flat_map(|option| [controls::option_value(option), visible_text(option)]).collect()
            }
            Some(Kind::Checkbox | Kind::Radio) if !view.edits.is_ticked(&control) => vec![String::new()],
            Some(_) => vec![view.edits.value(&control)],
            None => return Err(ToolError::bad_arguments(format!("this <{}> holds no value", control.value().name()))),
        };
        if values.iter().any(|value| value == wanted) {
            return Ok(json!({}));
        }
        let there = values.first().map_or("", String::as_str);
        Err(failed(format!("{} holds {:?}, not {wanted:?}", json!(target), quoted(there))))
    }

    fn assert_status(&self, wanted: Option<u16>) -> Checked {
        let view = self.open()?;
        let fits = wanted.map_or_else(|| (200..300).contains(&view.status), |wanted| wanted == view.status);
        if fits {
            return Ok(json!({ "status": view.status }));
        }
        let wanted = wanted.map_or_else(|| "success".to_owned(), |status| status.to_string());
        Err(failed(format!("{} answered {}, not {wanted}", view.page.url, view.status)))
    }

    async fn assert_invalid(&mut self, target: Option<&Target>) -> Checked {
        let node = match target {
            Some(target) => self.find(target).await?.node,
            None => self.only_form()?,
        };
        let view = self.open()?;
        let element: ElementRef<'_> = view.element(node)?;
        let refused = if element.value().name() == "form" {
            first_invalid(&view.page, &view.edits, element)?
        } else {
            invalid(&view.page, &view.edits, &element)
        };
        match refused {
            Some(refused) => Ok(json!({ "field": refused.control, "why": refused.why })),
            None => Err(failed("the browser would send the form as it stands".to_owned())),
        }
    }
}

fn failed(message: String) -> ToolError {
    ToolError::new(class::ASSERTION_FAILURE, message)
}

fn quoted(text: &str) -> String {
    page::shortened(text, QUOTED_CHARACTERS)
}
