//! What is remembered of an element, so that it can be known again when its locators break.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::candidates::rounded;
use super::survey::Survey;
use crate::platform::page::{Page, accessible_name, is_interactive, label_of, role_of};

/// Ancestors further up are those of everything.
const ANCESTORS_MAX: usize = 8;

/// Attributes of one element that are kept, and bytes of each.
const ATTRIBUTES_MAX: usize = 24;
const VALUE_CHARS: usize = 200;

/// Words before and behind an element.
const WORDS_MAX: usize = 12;

/// An ancestor of an element.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its name.
    pub tag: String,
    /// Its id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

/// Where an element stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// From 0, the top of the page, to 1, its end.
    pub order: f64,
    /// Its place among its siblings of the same name, from 1.
    pub of_type: usize,
    /// How many ancestors it has.
    pub depth: usize,
}

/// An element as it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    /// Its name.
    pub tag: String,
    /// Its role, given or implied.
    pub role: String,
    /// Whether a person could do something with it.
    pub interactive: bool,
    /// Its accessible name.
    pub name: String,
    /// The label of a control.
    pub label: String,
    /// What it said.
    pub text: String,
    /// All attributes but the classes.
    pub attributes: BTreeMap<String, String>,
    /// Its classes.
    pub classes: Vec<String>,
    /// What it stood in, nearest first.
    pub ancestors: Vec<Ancestor>,
    /// The siblings before and behind it, as `tag: text`.
    pub siblings: [String; 2],
    /// The last heading before it.
    pub heading: String,
    /// Words before and behind it.
    pub neighbourhood: Vec<String>,
    /// Where it stood.
    pub position: Position,
}

impl Fingerprint {
    /// The fingerprint of an element.
    pub fn of(page: &Page, survey: &Survey<'_>, at: usize) -> Self {
        let surveyed = survey.at(at);
        let element = &surveyed.element;
        let attributes =
            element.value().attrs().filter(|(name, value)| *name != "class" && *name != "style" && value.len() < 2_000);
        let (before, behind) = survey.around(at);
        let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
        let mut neighbourhood: Vec<String> =
            before.flat_map(|text| words(text).into_iter().rev()).take(WORDS_MAX).collect();
        neighbourhood.reverse();
        neighbourhood.extend(behind.flat_map(words).take(WORDS_MAX));
        Self {
            tag: surveyed.tag().to_owned(),
            role: role_of(element).to_owned(),
            interactive: is_interactive(element),
            name: short(&accessible_name(page, element)),
            label: if is_control(surveyed.tag()) { short(&label_of(page, element)) } else { String::new() },
            text: survey.read(at),
            attributes: attributes.take(ATTRIBUTES_MAX).map(|(name, value)| (name.to_owned(), short(value))).collect(),
            classes: element.value().classes().map(str::to_owned).take(ATTRIBUTES_MAX).collect(),
            ancestors: survey.ancestors(at).take(ANCESTORS_MAX).map(|above| ancestor(survey, above)).collect(),
            siblings: siblings(survey, at),
            heading: survey.heading(at).map(|heading| survey.read(heading)).unwrap_or_default(),
            neighbourhood,
            position: Position { order: share(at, survey.len()), of_type: surveyed.of_type, depth: surveyed.depth },
        }
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

fn is_control(tag: &str) -> bool {
    matches!(tag, "input" | "select" | "textarea")
}

fn short(text: &str) -> String {
    text.chars().take(VALUE_CHARS).collect()
}

fn ancestor(survey: &Survey<'_>, at: usize) -> Ancestor {
    let element = survey.at(at);
    Ancestor {
        tag: element.tag().to_owned(),
        id: element.attribute("id").map(short).unwrap_or_default(),
        classes: element.element.value().classes().take(8).map(str::to_owned).collect(),
    }
}

/// The siblings right before and right behind, as `tag: text`.
fn siblings(survey: &Survey<'_>, at: usize) -> [String; 2] {
    let written = |at: usize| {
        let text: String = survey.read(at).chars().take(60).collect();
        format!("{}: {text}", survey.at(at).tag())
    };
    let parent = survey.at(at).parent;
    let end = parent.map_or(survey.len(), |parent| survey.at(parent).end);
    let behind = Some(survey.at(at).end).filter(|next| *next < end);
    [survey.sibling_before(at).map(written).unwrap_or_default(), behind.map(written).unwrap_or_default()]
}

/// How far down the page an element stands.
fn share(at: usize, all: usize) -> f64 {
    let of = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    rounded(of(at) / of(all.max(1)))
}
