//! Names and roles of elements, as people with and without eyes know them.
//!
//! A part of the W3C's "Accessible Name and Description Computation" that needs no style sheets.

use scraper::ElementRef;

use super::text::visible_text_within;
use super::{Page, squeeze};

/// What is named by more nodes than these has no name, but content.
const NODES_MAX: usize = 200;

/// Elements that name one other.
const PARTS_MAX: usize = 16;

/// The label of a control: `<label for>`, a `<label>` around it, or `aria-label`. Empty without any.
pub fn label_of(page: &Page, control: &ElementRef<'_>) -> String {
    let words = |label: ElementRef<'_>| visible_text_within(&label, NODES_MAX);
    let named = control.attr("id").into_iter().flat_map(|id| page.labels_for(id)).take(PARTS_MAX).map(words);
    let around = control.ancestors().filter_map(ElementRef::wrap).find(|above| above.value().name() == "label");
    let text = named.chain(around.into_iter().map(words)).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
    if text.is_empty() { by_aria(page, control).unwrap_or_default() } else { text }
}

/// The name that a screen reader would read out. Empty without any.
pub fn accessible_name(page: &Page, element: &ElementRef<'_>) -> String {
    if let Some(name) = by_aria(page, element) {
        return name;
    }
    let tag = element.value().name();
    let kind = element.attr("type").unwrap_or("").to_ascii_lowercase();
    let native = match (tag, kind.as_str()) {
        ("input", "submit" | "reset" | "button") => attribute(element, "value").or(match kind.as_str() {
            "submit" => Some("Submit".to_owned()),
            "reset" => Some("Reset".to_owned()),
            _ => None,
        }),
        ("input", "image") | ("img" | "area", _) => attribute(element, "alt"),
        ("input" | "select" | "textarea", _) => Some(label_of(page, element)).filter(|label| !label.is_empty()),
        _ => by_content(element),
    };
    native.or_else(|| attribute(element, "title")).or_else(|| attribute(element, "placeholder")).unwrap_or_default()
}

/// `aria-labelledby`, then `aria-label`.
fn by_aria(page: &Page, element: &ElementRef<'_>) -> Option<String> {
    let ids = element.attr("aria-labelledby").unwrap_or("").split_whitespace().take(PARTS_MAX);
    let words = |label: ElementRef<'_>| visible_text_within(&label, NODES_MAX);
    let named = ids.filter_map(|id| page.by_id(id)).map(words).collect::<Vec<_>>().join(" ");
    Some(squeeze(&named)).filter(|name| !name.is_empty()).or_else(|| attribute(element, "aria-label"))
}

/// Text, and the alternatives of pictures where there is none.
fn by_content(element: &ElementRef<'_>) -> Option<String> {
    let text = visible_text_within(element, NODES_MAX);
    if !text.is_empty() {
        return Some(text);
    }
    let pictures = element.descendent_elements().take(NODES_MAX).filter(|inner| inner.value().name() == "img");
    let names: Vec<String> = pictures.filter_map(|picture| attribute(&picture, "alt")).collect();
    Some(names.join(" ")).filter(|name| !name.is_empty())
}

fn attribute(element: &ElementRef<'_>, name: &str) -> Option<String> {
    element.attr(name).map(squeeze).filter(|value| !value.is_empty())
}

/// The role of an element: its own, or the one that its kind implies. Empty without any.
pub fn role_of<'a>(element: &ElementRef<'a>) -> &'a str {
    if let Some(role) = element.attr("role").and_then(|roles| roles.split_whitespace().next()) {
        return role;
    }
    let kind = element.attr("type").unwrap_or("").to_ascii_lowercase();
    match (element.value().name(), kind.as_str()) {
        ("a" | "area", _) if element.attr("href").is_some() => "link",
        ("button" | "summary", _) | ("input", "submit" | "reset" | "button" | "image") => "button",
        ("input", "checkbox") => "checkbox",
        ("input", "radio") => "radio",
        ("input", "range") => "slider",
        ("input", "number") => "spinbutton",
        ("input", "search") => "searchbox",
        ("input", "hidden") => "",
        ("input" | "textarea", _) => "textbox",
        ("select", _) if element.attr("multiple").is_some() => "listbox",
        ("select", _) => "combobox",
        ("option", _) => "option",
        ("h1" | "h2" | "h3" | "h4" | "h5" | "h6", _) => "heading",
        ("img", _) => "img",
        ("form", _) => "form",
        ("nav", _) => "navigation",
        ("main", _) => "main",
        ("table", _) => "table",
        ("ul" | "ol", _) => "list",
        ("li", _) => "listitem",
        ("fieldset", _) => "group",
        ("output", _) => "status",
        _ => "",
    }
}
