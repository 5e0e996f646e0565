//! Roles and accessible names as locators: only those that every reader of a page comes to.
//!
//! Styles, hidden parts and nested controls make an accessible name a guess, and a locator is no place for one.

use super::survey::{CONTROLS, Survey};
use crate::platform::page::{Page, accessible_name, role_of, squeeze};

/// The role and the name of an element; the role is empty where assistive technology may see another one.
pub(super) fn named<'p>(page: &'p Page, survey: &Survey<'p>, at: usize) -> Option<(&'p str, String)> {
    let element = survey.at(at);
    let role = match role_of(&element.element) {
        // Roles of books (`doc-backlink`) are links to engines that do not know them.
        own if own.contains('-') => {
            if element.tag() == "a" {
                "link"
            } else {
                ""
            }
        }
        own => own,
    };
    let is_sure =
        element.tag() != "summary" && element.attribute("list").is_none() && element.attribute("type") != Some("file");
    if role.is_empty() || !is_sure || is_structure(role) {
        return None;
    }
    Some((role, accessible_name(page, &element.element))).filter(|(_, name)| !name.is_empty())
}

/// Roles of parts of a page, which hold much and are nobody's target.
fn is_structure(role: &str) -> bool {
    matches!(
        role,
        "navigation"
            | "main"
            | "table"
            | "list"
            | "listitem"
            | "group"
            | "form"
            | "status"
            | "img"
            | "presentation"
            | "none"
    )
}

/// Whether the name of an element is the same with and without style sheets.
pub(super) fn is_certain(survey: &Survey<'_>, at: usize) -> bool {
    let element = survey.at(at);
    let has = |name| element.attribute(name).is_some_and(|value| !squeeze(value).is_empty());
    let is_of_a_book = element.attribute("role").is_some_and(|role| role.contains('-'));
    if is_of_a_book || element.attribute("aria-labelledby").is_some() {
        return false;
    }
    if has("aria-label") {
        return true;
    }
    let labels = survey.labels(at);
    match element.tag() {
        "input" if matches!(element.attribute("type"), Some("submit" | "button" | "reset")) => {
            has("value") && labels.is_empty()
        }
        "area" => has("alt"),
        "input" | "select" | "textarea" => {
            matches!(labels, [only] if is_plain_text(survey, *only) && !holds_control(survey, *only))
        }
        _ => {
            labels.is_empty()
                && is_plain_text(survey, at)
                && survey.caption(at).is_some_and(|caption| !caption.is_empty())
        }
    }
}

fn holds_control(survey: &Survey<'_>, at: usize) -> bool {
    (at + 1..survey.at(at).end.min(at + 64)).any(|inner| CONTROLS.contains(&survey.at(inner).tag()))
}

/// Whether all there is in an element is text with nothing but its look marked up.
fn is_plain_text(survey: &Survey<'_>, at: usize) -> bool {
    let end = survey.at(at).end;
    end - at < 32
        && (at + 1..end).all(|inner| {
            let inner = survey.at(inner);
            let is_look = matches!(
                inner.tag(),
                "span"
                    | "b"
                    | "i"
                    | "em"
                    | "strong"
                    | "code"
                    | "small"
                    | "u"
                    | "s"
                    | "sub"
                    | "sup"
                    | "mark"
                    | "kbd"
                    | "var"
                    | "font"
                    | "cite"
                    | "abbr"
            );
            let renames = |(name, _): (&str, &str)| {
                name.starts_with("aria-") || matches!(name, "hidden" | "style" | "role" | "title")
            };
            is_look && !inner.element.value().attrs().any(renames)
        })
}
