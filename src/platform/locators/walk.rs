//! A page from top to bottom: its elements with their places, and its pieces of text.

use std::collections::HashMap;

use ego_tree::iter::Edge;
use html5ever::QualName;
use scraper::{ElementRef, Html, Node};

/// An element and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Surveyed<'p> {
    /// The element itself.
    pub element: ElementRef<'p>,
    /// The number of its parent.
    pub parent: Option<usize>,
    /// One more than the number of its last descendant.
    pub end: usize,
    /// How many ancestors it has.
    pub depth: usize,
    /// Its place among its siblings, from 1.
    pub child: usize,
    /// Its place among its siblings of the same name, from 1.
    pub of_type: usize,
    /// Its pieces of text in the texts of the page.
    pub(super) texts: (usize, usize),
}

impl<'p> Surveyed<'p> {
    /// Its name, such as `button`.
    pub fn tag(&self) -> &'p str {
        self.element.value().name()
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&'p str> {
        self.element.value().attr(name)
    }

    /// Whether its name can be written in a path: part of HTML and of letters, digits and hyphens only.
    pub fn has_plain_name(&self) -> bool {
        let name = &self.element.value().name;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        &*name.ns == "http://www.w3.org/1999/xhtml"
            && name.local.starts_with(|c: char| c.is_ascii_lowercase())
            && name.local.chars().all(plain)
    }
}

/// A piece of text of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'p> {
    pub(super) text: &'p str,
    /// Whether a reader sees it: not part of a script, a style or the head.
    pub(super) is_read: bool,
}

/// Walks the tree without recursion: pages are nested as deeply as their authors like.
pub(super) fn numbered(page: &Html) -> (Vec<Surveyed<'_>>, Vec<Piece<'_>>) {
    let mut elements: Vec<Surveyed<'_>> = Vec::new();
    let mut texts = Vec::new();
    // The open elements, each with how many children of each name it has had so far.
    let mut open: Vec<(usize, usize, Counts<'_>)> = Vec::new();
    let mut top = Counts::new();
    let mut unread = 0_usize;
    let mut templates = 0_usize;
    for edge in page.tree.root().traverse() {
        match edge {
            Edge::Open(node) => match node.value() {
                // The content of a template is no part of the page.
                Node::Fragment => templates += 1,
                _ if templates > 0 => {}
                Node::Text(text) => texts.push(Piece { text: &text.text, is_read: unread == 0 }),
                Node::Element(_) => {
                    let Some(element) = ElementRef::wrap(node) else { continue };
                    let (name, tag) = (&element.value().name, element.value().name());
                    unread += usize::from(is_unread(tag));
                    let at = elements.len();
                    let parent = open.last().map(|(at, ..)| *at);
                    let (child, of_type) = match open.last_mut() {
                        Some((_, children, counts)) => {
                            *children += 1;
                            (*children, counted(counts, name))
                        }
                        None => (1, counted(&mut top, name)),
                    };
                    let depth = open.len();
                    elements.push(Surveyed {
                        element,
                        parent,
                        end: at + 1,
                        depth,
                        child,
                        of_type,
                        texts: (texts.len(), 0),
                    });
                    open.push((at, 0, HashMap::new()));
                }
                _ => {}
            },
            Edge::Close(node) => match node.value() {
                Node::Fragment => templates -= 1,
                Node::Element(element) if templates == 0 => {
                    unread -= usize::from(is_unread(element.name()));
                    if let Some((at, ..)) = open.pop() {
                        elements[at].end = elements.len();
                        elements[at].texts.1 = texts.len();
                    }
                }
                _ => {}
            },
        }
    }
    (elements, texts)
}

/// How many children of each name an element has had; names of SVG and of HTML are different ones.
type Counts<'p> = HashMap<&'p QualName, usize>;

fn counted<'p>(counts: &mut Counts<'p>, name: &'p QualName) -> usize {
    let count = counts.entry(name).or_insert(0);
    *count += 1;
    *count
}

fn is_unread(tag: &str) -> bool {
    matches!(tag, "script" | "style" | "head" | "title")
}
