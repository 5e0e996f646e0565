//! One pass over a page: every element numbered in document order, with what locators are judged by.
//!
//! Whether a locator selects exactly one element is answered from lists that this pass makes, so that a page
//! with thousands of elements costs thousands of look-ups and not thousands of searches through the page.
//! Values are compared without regard to ASCII case here: a browser does so for some attributes, and for ids
//! and classes of old documents; two elements that differ only in that are not told apart.

use std::collections::HashMap;

use ego_tree::NodeId;
use html5ever::QualName;
use scraper::ElementRef;

use super::naming;
pub use super::walk::Surveyed;
use super::walk::{Piece, numbered};
use crate::platform::page::Page;

/// The longest text that identifies an element; what is longer is content, not a caption.
pub const CAPTION_CHARS: usize = 160;

/// How many pieces of text a caption may be made of.
const CAPTION_PIECES: usize = 64;

/// Attributes by whose values elements can be found.
pub const FINDING_ATTRIBUTES: &[&str] = &[
    "data-testid",
    "data-test-id",
    "data-test",
    "data-cy",
    "data-qa",
    "data-automation-id",
    "id",
    "name",
    "aria-label",
    "placeholder",
    "title",
    "alt",
    "href",
    "value",
    "for",
    "action",
    "type",
    "autocomplete",
    "data-action",
    "data-id",
    "data-name",
    "data-target",
    "data-toggle",
    "aria-controls",
    "role",
];

/// A page with its elements numbered.
#[derive(Debug)]
pub struct Survey<'p> {
    elements: Vec<Surveyed<'p>>,
    texts: Vec<Piece<'p>>,
    numbers: HashMap<NodeId, usize>,
    by_tag: HashMap<&'p str, Vec<usize>>,
    by_attribute: HashMap<(&'static str, String), Vec<usize>>,
    by_class: HashMap<String, Vec<usize>>,
    by_caption: HashMap<(&'p str, String), Vec<usize>>,
    by_role: HashMap<(&'p str, String), Vec<usize>>,
    headings: Vec<usize>,
    /// How many children of each name an element has.
    children: HashMap<(Option<usize>, &'p QualName), usize>,
    /// The labels of a control.
    labels: HashMap<usize, Vec<usize>>,
}

/// Elements that are found by what they say.
const CAPTIONED: &[&str] = &["a", "button", "summary", "label", "legend", "option", "h1", "h2", "h3", "h4", "h5", "h6"];

/// Elements that have labels.
pub const CONTROLS: &[&str] = &["input", "select", "textarea", "button", "meter", "progress", "output"];

impl<'p> Survey<'p> {
    /// Numbers the elements of a page.
    pub fn of(page: &'p Page) -> Self {
        let (elements, texts) = numbered(&page.dom);
        let numbers = elements.iter().enumerate().map(|(at, known)| (known.element.id(), at)).collect();
        let mut survey = Self {
            elements,
            texts,
            numbers,
            by_tag: HashMap::new(),
            by_attribute: HashMap::new(),
            by_class: HashMap::new(),
            by_caption: HashMap::new(),
            by_role: HashMap::new(),
            headings: Vec::new(),
            children: HashMap::new(),
            labels: HashMap::new(),
        };
        for at in 0..survey.elements.len() {
            survey.enlist(at);
        }
        survey.enlist_labels();
        survey.enlist_roles(page);
        survey
    }

    fn enlist(&mut self, at: usize) {
        let element = self.elements[at];
        let tag = element.tag();
        *self.children.entry((element.parent, &element.element.value().name)).or_insert(0) += 1;
        if element.has_plain_name() {
            self.by_tag.entry(tag).or_default().push(at);
        }
        for (name, value) in element.element.value().attrs() {
            if let Some(known) = FINDING_ATTRIBUTES.iter().find(|known| **known == name) {
                self.by_attribute.entry((known, value.to_ascii_lowercase())).or_default().push(at);
            }
        }
        for class in element.element.value().classes() {
            let list = self.by_class.entry(class.to_ascii_lowercase()).or_default();
            if list.last() != Some(&at) {
                list.push(at);
            }
        }
        if element.has_plain_name()
            && CAPTIONED.contains(&tag)
            && let Some(caption) = self.caption(at)
        {
            self.by_caption.entry((tag, caption)).or_default().push(at);
        }
        if matches!(tag, "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "legend" | "caption") {
            self.headings.push(at);
        }
    }

    fn enlist_labels(&mut self) {
        for label in self.by_tag.get("label").cloned().unwrap_or_default() {
            let control = match self.elements[label].attribute("for") {
                Some(id) => self.by_id(id),
                // Who looks for the control of a label does not look through a whole page for it.
                None => (label + 1..self.elements[label].end.min(label + 64))
                    .find(|at| CONTROLS.contains(&self.elements[*at].tag())),
            };
            if let Some(control) = control {
                self.labels.entry(control).or_default().push(label);
            }
        }
    }

    fn enlist_roles(&mut self, page: &'p Page) {
        for at in 0..self.elements.len() {
            if let Some((role, name)) = naming::named(page, self, at) {
                self.by_role.entry((role, name_key(&name))).or_default().push(at);
            }
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether the page has no element.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// An element by its number.
    pub fn at(&self, at: usize) -> &Surveyed<'p> {
        &self.elements[at]
    }

    /// All elements, in document order.
    pub fn elements(&self) -> &[Surveyed<'p>] {
        &self.elements
    }

    /// The number of an element; none has those that stand in a template.
    pub fn number_of(&self, element: ElementRef<'_>) -> Option<usize> {
        self.numbers.get(&element.id()).copied()
    }

    /// The sibling right before an element.
    pub fn sibling_before(&self, at: usize) -> Option<usize> {
        let before = self.elements[at].element.prev_siblings().find_map(ElementRef::wrap)?;
        self.number_of(before)
    }

    /// The first element with this very id.
    pub fn by_id(&self, id: &str) -> Option<usize> {
        self.with_attribute("id", id).iter().copied().find(|at| self.elements[*at].attribute("id") == Some(id))
    }

    /// Elements of HTML with this name.
    pub fn with_tag(&self, tag: &str) -> &[usize] {
        self.by_tag.get(tag).map_or(&[], Vec::as_slice)
    }

    /// Elements with this value of one of the [`FINDING_ATTRIBUTES`], in any ASCII case.
    pub fn with_attribute(&self, name: &'static str, value: &str) -> &[usize] {
        self.by_attribute.get(&(name, value.to_ascii_lowercase())).map_or(&[], Vec::as_slice)
    }

    /// Elements with this class, in any ASCII case.
    pub fn with_class(&self, class: &str) -> &[usize] {
        self.by_class.get(&class.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// Elements of this name that say exactly this.
    pub fn with_caption(&self, tag: &'p str, caption: &str) -> &[usize] {
        self.by_caption.get(&(tag, caption.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Elements of this role whose accessible name is this or nearly this.
    pub fn with_role(&self, role: &'p str, name: &str) -> &[usize] {
        self.by_role.get(&(role, name_key(name))).map_or(&[], Vec::as_slice)
    }

    /// Whether an element has no sibling of its name.
    pub fn is_only_of_type(&self, at: usize) -> bool {
        let element = self.at(at);
        self.children.get(&(element.parent, &element.element.value().name)) == Some(&1)
    }

    /// The labels of a control.
    pub fn labels(&self, at: usize) -> &[usize] {
        self.labels.get(&at).map_or(&[], Vec::as_slice)
    }

    /// The ancestors of an element, nearest first.
    pub fn ancestors(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.elements[at].parent, |at| self.elements[*at].parent)
    }

    /// The last heading before an element.
    pub fn heading(&self, at: usize) -> Option<usize> {
        let before = self.headings.partition_point(|heading| *heading < at);
        before.checked_sub(1).map(|last| self.headings[last])
    }

    /// What an element says, as `XPath`'s `normalize-space()` gives it; nothing if that is too long for a caption.
    pub fn caption(&self, at: usize) -> Option<String> {
        let (start, end) = self.elements[at].texts;
        if end - start > CAPTION_PIECES {
            return None;
        }
        let whole: String = self.texts[start..end].iter().map(|piece| piece.text).collect();
        let said = squeezed(&whole);
        (said.len() <= CAPTION_CHARS * 4 && said.chars().count() <= CAPTION_CHARS).then_some(said)
    }

    /// All text of an element.
    pub fn whole_text(&self, at: usize) -> String {
        let (start, end) = self.elements[at].texts;
        self.texts[start..end].iter().map(|piece| piece.text).collect()
    }

    /// The beginning of what a reader sees of an element.
    pub fn read(&self, at: usize) -> String {
        let (start, end) = self.elements[at].texts;
        let pieces = self.texts[start..end.min(start + CAPTION_PIECES)].iter();
        let whole: String = pieces.filter(|piece| piece.is_read).map(|piece| piece.text).collect();
        squeezed(&whole).chars().take(CAPTION_CHARS).collect()
    }

    /// Pieces of text before (nearest first) and behind an element.
    pub fn around(&self, at: usize) -> (impl Iterator<Item = &'p str> + '_, impl Iterator<Item = &'p str> + '_) {
        /// Further away is not near.
        const PIECES: usize = 12;
        let (start, end) = self.elements[at].texts;
        let read = |piece: &&Piece<'p>| piece.is_read && !piece.text.trim().is_empty();
        let before = self.texts[start.saturating_sub(PIECES)..start].iter().rev().filter(read);
        let behind = self.texts[end..self.texts.len().min(end + PIECES)].iter().filter(read);
        (before.map(|piece| piece.text), behind.map(|piece| piece.text))
    }
}

/// White space as `XPath` sees it: runs of these four become one space, none at the ends.
pub fn squeezed(text: &str) -> String {
    let words = text.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// What names are compared by when asked whether another element could have the same one.
fn name_key(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}
