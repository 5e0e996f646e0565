//! The locators of one element: each way to say which one it is, as far as it says so of no other.

use super::locator::{By, RankedLocator, Strategy};
use super::naming;
use super::paths::Anchors;
use super::quoting::{css_identifier, css_string, is_writable, xpath_string};
use super::stability::{generated, is_telling_class};
use super::survey::Survey;
use crate::platform::page::Page;

/// Attributes that exist for tests and programs, so that nobody changes them for looks.
pub const TEST_ATTRIBUTES: &[&str] =
    &["data-testid", "data-test-id", "data-test", "data-cy", "data-qa", "data-automation-id"];

/// Attributes that say what an element is for, with how long such a thing lives.
const TELLING_ATTRIBUTES: &[(&str, f64)] = &[
    ("placeholder", 0.68),
    ("autocomplete", 0.66),
    ("href", 0.7),
    ("data-action", 0.72),
    ("data-name", 0.7),
    ("data-id", 0.6),
    ("title", 0.66),
    ("alt", 0.66),
    ("for", 0.6),
    ("aria-controls", 0.6),
    ("data-target", 0.55),
    ("value", 0.55),
    ("type", 0.4),
];

/// Finds the locators of one page's elements.
pub(super) struct Candidates<'s, 'p> {
    page: &'p Page,
    survey: &'s Survey<'p>,
    anchors: Anchors<'s, 'p>,
}

impl<'s, 'p> Candidates<'s, 'p> {
    pub(super) fn of(page: &'p Page, survey: &'s Survey<'p>) -> Self {
        Self { page, survey, anchors: Anchors::of(survey) }
    }

    /// The locators of an element, the most stable first.
    pub(super) fn ranked(&self, at: usize) -> Vec<RankedLocator> {
        let mut found = Vec::new();
        self.by_attributes(at, &mut found);
        self.by_role(at, &mut found);
        self.by_words(at, &mut found);
        self.by_class(at, &mut found);
        self.by_scope(at, &mut found);
        found.extend(self.anchors.paths(at));
        found.sort_by(|a, b| b.stability.total_cmp(&a.stability));
        found.dedup_by(|a, b| a.value == b.value);
        found
    }

    fn by_attributes(&self, at: usize, found: &mut Vec<RankedLocator>) {
        let element = self.survey.at(at);
        let named = TEST_ATTRIBUTES.iter().map(|name| (*name, Strategy::TestAttribute, 0.97));
        let named = named.chain([
            ("id", Strategy::Id, 0.95),
            ("name", Strategy::Name, 0.88),
            ("aria-label", Strategy::Aria, 0.8),
        ]);
        let told = TELLING_ATTRIBUTES.iter().map(|(name, life)| (*name, Strategy::Attribute, *life));
        for (name, strategy, life) in named.chain(told) {
            let Some(value) = element.attribute(name).filter(|value| is_writable(value)) else { continue };
            let same = self.survey.with_attribute(name, value);
            let value_lives = match strategy {
                Strategy::Aria => life * words_live(value),
                Strategy::Attribute if name == "href" => life * address_lives(value),
                _ => life * name_lives(value),
            };
            if strategy == Strategy::Id && same == [at] {
                found.push(css(strategy, format!("#{}", css_identifier(value)), value_lives));
            } else if strategy == Strategy::TestAttribute && same == [at] {
                found.push(css(strategy, format!("[{name}={}]", css_string(value)), value_lives));
            } else if strategy != Strategy::Id && self.is_only(at, same) {
                found.push(css(strategy, format!("{}[{name}={}]", self.tag(at), css_string(value)), value_lives));
            } else if name == "name"
                && let Some(choice) = element.attribute("value").filter(|value| is_writable(value))
                && self.is_only_with_value(at, same, choice)
            {
                // One of a group of radio buttons or boxes.
                let value = format!("{}[name={}][value={}]", self.tag(at), css_string(value), css_string(choice));
                found.push(css(strategy, value, value_lives * 0.95));
            }
        }
    }

    fn by_role(&self, at: usize, found: &mut Vec<RankedLocator>) {
        if !naming::is_certain(self.survey, at) {
            return;
        }
        let Some((role, name)) = naming::named(self.page, self.survey, at) else { return };
        let is_plain =
            is_writable(&name) && !name.contains(['"', '\\']) && role.bytes().all(|byte| byte.is_ascii_lowercase());
        if is_plain && self.survey.with_role(role, &name) == [at] {
            let stability = 0.84 * words_live(&name);
            found.push(RankedLocator {
                strategy: Strategy::Aria,
                by: By::Role,
                value: format!("{role}[name=\"{name}\"]"),
                stability,
            });
        }
    }

    /// By its own words, or those of its label.
    fn by_words(&self, at: usize, found: &mut Vec<RankedLocator>) {
        let element = self.survey.at(at);
        if let Some(said) = self.said(at)
            && self.survey.with_caption(element.tag(), &said) == [at]
        {
            let value = format!("//{}[normalize-space()={}]", element.tag(), xpath_string(&said));
            found.push(xpath(Strategy::Text, value, 0.76 * words_live(&said)));
        }
        if !element.has_plain_name() {
            return;
        }
        for label in self.survey.labels(at) {
            let Some(said) = self.said(*label).filter(|said| self.survey.with_caption("label", said) == [*label])
            else {
                continue;
            };
            let (tag, text) = (element.tag(), xpath_string(&said));
            let value = match self.survey.at(*label).attribute("for") {
                Some(id) if self.survey.with_attribute("id", id) == [at] => {
                    format!("//{tag}[@id=//label[normalize-space()={text}]/@for]")
                }
                None if self.is_only_within(at, *label, self.survey.with_tag(tag)) => {
                    format!("//label[normalize-space()={text}]//{tag}")
                }
                _ => continue,
            };
            found.push(xpath(Strategy::Label, value, 0.82 * words_live(&said)));
        }
    }

    fn by_class(&self, at: usize, found: &mut Vec<RankedLocator>) {
        let classes: Vec<&str> =
            self.survey.at(at).element.value().classes().filter(|class| is_telling_class(class)).take(6).collect();
        let only = classes.iter().find(|class| self.is_only(at, self.survey.with_class(class)));
        if let Some(class) = only {
            found.push(css(
                Strategy::Class,
                format!("{}.{}", self.tag(at), css_identifier(class)),
                0.6 * name_lives(class),
            ));
        }
    }

    /// By an attribute or words that are unique within the nearest stable ancestor only.
    fn by_scope(&self, at: usize, found: &mut Vec<RankedLocator>) {
        let Some(anchor) = self.anchors.above(at) else { return };
        let element = self.survey.at(at);
        for name in ["name", "aria-label", "href", "data-action", "value", "title", "type"] {
            let Some(value) = element.attribute(name).filter(|value| is_writable(value)) else { continue };
            if self.is_only(at, self.survey.with_attribute(name, value)) {
                continue;
            }
            if self.is_only_within(at, anchor.at, self.survey.with_attribute(name, value)) {
                let value_lives = if name == "href" { address_lives(value) } else { name_lives(value) };
                let value = format!("{} {}[{name}={}]", anchor.css, self.tag(at), css_string(value));
                found.push(css(Strategy::Scoped, value, 0.66 * value_lives * anchor.life));
                break;
            }
        }
        if let Some(said) = self.said(at) {
            let same = self.survey.with_caption(element.tag(), &said);
            if same != [at] && self.is_only_within(at, anchor.at, same) {
                let value = format!("{}//{}[normalize-space()={}]", anchor.xpath, element.tag(), xpath_string(&said));
                found.push(xpath(Strategy::Scoped, value, 0.64 * words_live(&said) * anchor.life));
            }
        }
    }

    /// What an element says, if it can be looked for.
    fn said(&self, at: usize) -> Option<String> {
        self.survey.caption(at).filter(|said| self.survey.at(at).has_plain_name() && is_writable(said))
    }

    /// The name of an element for a selector; nothing if it cannot be written.
    fn tag(&self, at: usize) -> &'p str {
        let element = self.survey.at(at);
        if element.has_plain_name() { element.tag() } else { "" }
    }

    /// Whether this is the only one of these with its name.
    fn is_only(&self, at: usize, same: &[usize]) -> bool {
        let tag = self.tag(at);
        let mut found = same.iter().filter(|other| tag.is_empty() || self.survey.at(**other).tag() == tag);
        found.next() == Some(&at) && found.next().is_none()
    }

    fn is_only_with_value(&self, at: usize, same: &[usize], value: &str) -> bool {
        let also = self.survey.with_attribute("value", value);
        let both: Vec<usize> = same.iter().copied().filter(|other| also.binary_search(other).is_ok()).collect();
        self.is_only(at, &both)
    }

    /// Whether this is the only one of these with its name below that element.
    fn is_only_within(&self, at: usize, above: usize, same: &[usize]) -> bool {
        let (from, to) = (above + 1, self.survey.at(above).end);
        let first = same.partition_point(|other| *other < from);
        let last = same.partition_point(|other| *other < to);
        self.is_only(at, &same[first..last])
    }
}

pub(super) fn css(strategy: Strategy, value: String, stability: f64) -> RankedLocator {
    RankedLocator { strategy, by: By::Css, value, stability: rounded(stability) }
}

pub(super) fn xpath(strategy: Strategy, value: String, stability: f64) -> RankedLocator {
    RankedLocator { strategy, by: By::Xpath, value, stability: rounded(stability) }
}

/// Three digits behind the point: more would only look exact.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// How much of its life a name has.
pub(super) fn name_lives(name: &str) -> f64 {
    1.0 - 0.75 * generated(name)
}

/// Numbers in a caption (counts, prices, dates) change with the data; long captions with the next editor.
fn words_live(text: &str) -> f64 {
    let digits = if text.contains(|c: char| c.is_ascii_digit()) { 0.75 } else { 1.0 };
    let length = if text.chars().count() > 60 { 0.85 } else { 1.0 };
    digits * length
}

/// Queries of an address change more often than its path.
fn address_lives(address: &str) -> f64 {
    let path = address.split(['?', '#']).next().unwrap_or("");
    let query = if address.contains('?') { 0.7 } else { 1.0 };
    let number = if path.split('/').any(|piece| piece.len() > 2 && piece.bytes().all(|byte| byte.is_ascii_digit())) {
        0.7
    } else {
        1.0
    };
    let empty = if address.len() < 2 { 0.4 } else { 1.0 };
    query * number * empty
}
