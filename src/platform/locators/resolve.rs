//! A locator and a page to the elements that it selects.

use super::locator::{By, Locator};
use super::survey::Survey;
use super::{naming, xpath};
use crate::platform::page::{Page, selector};
use crate::platform::reply::ToolError;

/// Longer ones are no locators; what is short cannot cost much.
const LOCATOR_BYTES_MAX: usize = 4_096;

/// The elements that a locator selects, in document order. An error says what is wrong with the locator.
pub fn resolve<'p>(page: &'p Page, survey: &Survey<'p>, locator: &Locator) -> Result<Vec<usize>, ToolError> {
    let text = locator.value.trim();
    if text.is_empty() || text.len() > LOCATOR_BYTES_MAX {
        return Err(ToolError::bad_arguments(format!(
            "a locator has 1 to {LOCATOR_BYTES_MAX} bytes, not {}",
            text.len()
        )));
    }
    match locator.by {
        By::Css => {
            let selector = selector(text)?;
            Ok(page.dom.select(&selector).filter_map(|element| survey.number_of(element)).collect())
        }
        By::Xpath => {
            let expression = xpath::parse(text).map_err(ToolError::bad_arguments)?;
            xpath::select(survey, &expression).map_err(ToolError::bad_arguments)
        }
        By::Role => by_role(page, survey, text),
    }
}

fn by_role<'p>(page: &'p Page, survey: &Survey<'p>, text: &str) -> Result<Vec<usize>, ToolError> {
    let wrong = || ToolError::bad_arguments(format!("{text:?} is no role locator such as button[name=\"Book now\"]"));
    let (role, rest) = text.split_once('[').ok_or_else(wrong)?;
    let name = rest.strip_prefix("name=\"").and_then(|rest| rest.strip_suffix("\"]")).ok_or_else(wrong)?;
    let same = survey.with_role(role, name).iter().copied();
    let is_named = |at: &usize| naming::named(page, survey, *at).is_some_and(|(_, own)| own == name);
    Ok(same.filter(is_named).collect())
}
