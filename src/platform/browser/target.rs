//! Which element of a page is meant.

use ego_tree::NodeId;
use rmcp::schemars::{self, JsonSchema};
use scraper::ElementRef;
use serde::{Deserialize, Serialize};

use super::super::page::{
    Page, accessible_name, is_interactive, is_visible, label_of, role_of, selector, squeeze, visible_text,
};
use super::super::reply::ToolError;
use super::controls::kind;

/// An element: a CSS selector as plain text, or one of the ways of [`By`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Target {
    /// A CSS selector.
    Css(String),
    /// Another way.
    By(By),
}

/// An element by exactly one of `css`, `text`, `label`, `role` and `element`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct By {
    /// A CSS selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub css: Option<String>,
    /// The name of a link or button, or else the text of any element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The label of a field, or its placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A role such as `button`; usually together with `name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The accessible name that goes with `role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The id of an element in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
}

/// The one way by which an element is looked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Way<'a> {
    Css(&'a str),
    Text(&'a str),
    Label(&'a str),
    Role(&'a str, Option<&'a str>),
    Element(&'a str),
}

impl Target {
    pub(super) fn way(&self) -> Result<Way<'_>, ToolError> {
        let by = match self {
            Self::Css(css) => return Ok(Way::Css(css)),
            Self::By(by) => by,
        };
        let ways = [
            by.css.as_deref().map(Way::Css),
            by.text.as_deref().map(Way::Text),
            by.label.as_deref().map(Way::Label),
            by.role.as_deref().map(|role| Way::Role(role, by.name.as_deref())),
            by.element.as_deref().map(Way::Element),
        ];
        let mut given = ways.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(way), None) if by.name.is_none() || by.role.is_some() => Ok(way),
            _ => Err(ToolError::bad_arguments("a target is one of css, text, label, role (with name) and element")),
        }
    }
}

/// What was found on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// The element: of several that fit equally well the first.
    pub(super) node: NodeId,
    /// How many fit equally well.
    pub(super) matches: usize,
}

/// The visible elements that a way leads to, the first and how many there are.
pub(super) fn find(page: &Page, way: &Way<'_>) -> Result<Option<Found>, ToolError> {
    const LOOKING: &str = "looking for an element";
    let budget = page.budget();
    let in_time = |_: &ElementRef<'_>| budget.check(LOOKING).is_ok();
    let elements = || page.elements().take_while(in_time);
    let found = match way {
        Way::Css(css) => {
            let selector = selector(css)?;
            first(page.select(&selector).take_while(in_time).filter(is_visible))
        }
        Way::Text(text) => {
            let acting = elements().filter(is_interactive).filter(is_visible);
            let named = by_words(text, acting, |element| accessible_name(page, element));
            named.or_else(|| innermost(page, &squeeze(text), in_time))
        }
        Way::Label(text) => {
            by_words(text, elements().filter(|element| kind(element).is_some()).filter(is_visible), |field| {
                let label = label_of(page, field);
                if label.is_empty() { squeeze(field.attr("placeholder").unwrap_or("")) } else { label }
            })
        }
        Way::Role(role, name) => {
            let fitting = elements().filter(|element| role_of(element) == *role).filter(is_visible);
            match name {
                Some(name) => by_words(name, fitting, |element| accessible_name(page, element)),
                None => first(fitting),
            }
        }
        Way::Element(id) => return Err(ToolError::bad_arguments(format!("there is no repository to ask for {id:?}"))),
    };
    budget.check(LOOKING)?;
    Ok(found)
}

/// The innermost element that has a text, the first where it stands in several.
fn innermost(page: &Page, text: &str, in_time: impl Fn(&ElementRef<'_>) -> bool) -> Option<Found> {
    let mut at = page.dom.root_element();
    let matches = visible_text(&at).matches(text).count();
    while let Some(inner) = at.child_elements().take_while(&in_time).find(|child| visible_text(child).contains(text)) {
        at = inner;
    }
    (matches > 0).then_some(Found { node: at.id(), matches })
}

/// Elements whose words are these, or else contain them.
fn by_words<'a>(
    text: &str,
    elements: impl Iterator<Item = ElementRef<'a>>,
    words: impl Fn(&ElementRef<'a>) -> String,
) -> Option<Found> {
    let wanted = squeeze(text).to_lowercase();
    let (mut exact, mut holding) = (Vec::new(), Vec::new());
    for element in elements {
        let words = words(&element).to_lowercase();
        if words == wanted {
            exact.push(element);
        } else if words.contains(&wanted) {
            holding.push(element);
        }
    }
    first((if exact.is_empty() { holding } else { exact }).into_iter())
}

fn first<'a>(mut elements: impl Iterator<Item = ElementRef<'a>>) -> Option<Found> {
    let node = elements.next()?.id();
    Some(Found { node, matches: 1 + elements.count() })
}
