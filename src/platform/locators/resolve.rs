//! A locator and a page to the elements that it selects.

use scraper::Selector;

use super::locator::{By, Locator};
use super::survey::Survey;
use super::{naming, xpath};
use crate::platform::page::{Page, selector};
use crate::platform::reply::ToolError;

/// Longer ones are no locators; what is short cannot cost much.
const LOCATOR_BYTES_MAX: usize = 4_096;

/// A locator taken apart.
enum Parsed<'t> {
    Css(Selector),
    Xpath(xpath::Expression),
    Role { role: &'t str, name: &'t str },
}

/// Whether a locator can be used at all. An error says what is wrong with it.
pub fn check(locator: &Locator) -> Result<(), ToolError> {
    parse(locator).map(|_parsed| ())
}

/// The elements that a locator selects, in document order. An error says what is wrong with the locator.
pub fn resolve<'p>(page: &'p Page, survey: &Survey<'p>, locator: &Locator) -> Result<Vec<usize>, ToolError> {
    match parse(locator)? {
        Parsed::Css(selector) => {
            Ok(page.dom.select(&selector).filter_map(|element| survey.number_of(element)).collect())
        }
        Parsed::Xpath(expression) => xpath::select(survey, &expression).map_err(ToolError::bad_arguments),
        Parsed::Role { role, name } => {
            let same = survey.with_role(role, name).iter().copied();
            let is_named = |at: &usize| naming::named(page, survey, *at).is_some_and(|(_, own)| own == name);
            Ok(same.filter(is_named).collect())
        }
    }
}

fn parse(locator: &Locator) -> Result<Parsed<'_>, ToolError> {
    let text = locator.value.trim();
    if text.is_empty() || text.len() > LOCATOR_BYTES_MAX {
        return Err(ToolError::bad_arguments(format!(
            "a locator has 1 to {LOCATOR_BYTES_MAX} bytes, not {}",
            text.len()
        )));
    }
    match locator.by {
        By::Css => selector(text).map(Parsed::Css),
        By::Xpath => {
            let expression = xpath::parse(text).map_err(ToolError::bad_arguments)?;
            if selects_elements(&expression) {
                Ok(Parsed::Xpath(expression))
            } else {
                Err(ToolError::bad_arguments("the XPath selects no elements: it is a value"))
            }
        }
        By::Role => {
            let wrong =
                || ToolError::bad_arguments(format!("{text:?} is no role locator such as button[name=\"Book now\"]"));
            let (role, rest) = text.split_once('[').ok_or_else(wrong)?;
            let name = rest.strip_prefix("name=\"").and_then(|rest| rest.strip_suffix("\"]")).ok_or_else(wrong)?;
            Ok(Parsed::Role { role, name })
        }
    }
}

fn selects_elements(expression: &xpath::Expression) -> bool {
    match expression {
        xpath::Expression::Path(path) => path.attribute.is_none() && !path.ends_in_text,
        xpath::Expression::Filtered(inner, _) => selects_elements(inner),
        _ => false,
    }
}
