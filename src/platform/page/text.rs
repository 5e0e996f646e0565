//! What of a page can be read.

use ego_tree::iter::Edge;
use scraper::{ElementRef, Node};

use super::Page;

/// Text with each run of white space as one blank, and none at the ends.
pub fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Elements whose text nobody sees.
fn is_silent(name: &str) -> bool {
    matches!(name, "script" | "style" | "template" | "head" | "title" | "noembed" | "noframes" | "datalist")
}

/// Elements that stand apart from the text beside them.
fn breaks_line(name: &str) -> bool {
    !matches!(
        name,
        "a" | "abbr"
            | "b"
            | "bdi"
            | "bdo"
            | "cite"
            | "code"
            | "data"
            | "dfn"
            | "em"
            | "font"
            | "i"
            | "kbd"
            | "label"
            | "mark"
            | "q"
            | "s"
            | "samp"
            | "small"
            | "span"
            | "strong"
            | "sub"
            | "sup"
            | "time"
            | "u"
            | "var"
    )
}

/// Whether an element hides itself and all below it.
fn hides(element: &ElementRef<'_>) -> bool {
    let style = element.attr("style").unwrap_or("");
    is_silent(element.value().name())
        || element.attr("hidden").is_some()
        || (element.value().name() == "input"
            && element.attr("type").is_some_and(|kind| kind.eq_ignore_ascii_case("hidden")))
        || (!style.is_empty() && hidden_by(style))
}

fn hidden_by(style: &str) -> bool {
    style.split(';').filter_map(|rule| rule.split_once(':')).any(|(name, value)| {
        let (name, value) = (name.trim(), value.trim().trim_end_matches("!important").trim());
        (name.eq_ignore_ascii_case("display") && value.eq_ignore_ascii_case("none"))
            || (name.eq_ignore_ascii_case("visibility") && value.eq_ignore_ascii_case("hidden"))
    })
}

/// Whether an element can be seen, as far as HTML alone tells: style sheets are not read.
pub fn is_visible(element: &ElementRef<'_>) -> bool {
    !hides(element) && !element.ancestors().filter_map(ElementRef::wrap).any(|above| hides(&above))
}

/// The text of an element that can be seen, squeezed.
pub fn visible_text(element: &ElementRef<'_>) -> String {
    visible_text_within(element, usize::MAX)
}

/// The same, but of so many nodes at most: a page may hang thousands of controls into one label, and ask for its words
/// for each of them.
pub(super) fn visible_text_within(element: &ElementRef<'_>, nodes: usize) -> String {
    let mut text = String::new();
    let mut hidden_in = None;
    for edge in element.traverse().take(nodes.saturating_mul(2)) {
        match edge {
            Edge::Open(node) if hidden_in.is_none() => match node.value() {
                Node::Text(words) => text.push_str(words),
                Node::Element(inner) => {
                    if ElementRef::wrap(node).is_some_and(|inner| hides(&inner)) {
                        hidden_in = Some(node.id());
                    } else if breaks_line(inner.name()) {
                        text.push(' ');
                    }
                }
                _ => {}
            },
            Edge::Close(node) => {
                if hidden_in == Some(node.id()) {
                    hidden_in = None;
                } else if hidden_in.is_none()
                    && node.value().as_element().is_some_and(|inner| breaks_line(inner.name()))
                {
                    text.push(' ');
                }
            }
            Edge::Open(_) => {}
        }
    }
    squeeze(&text)
}

/// The first words of a page, for people who look into a failure.
pub fn excerpt(page: &Page, characters: usize) -> String {
    shortened(&visible_text(&page.dom.root_element()), characters)
}

/// The first characters of a text, with a sign that there are more.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
