//! Changes of a page as a redesign would make them, by the roll of a seeded die.
//!
//! Nothing here knows how elements are healed: new names and words come from lists and rules of its own.

use std::collections::HashMap;

use ego_tree::NodeId;
use html5ever::{LocalName, QualName, ns};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use scraper::{ElementRef, Html, Node, StrTendril};

/// One kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// All classes get other names.
    Classes,
    /// All ids get other names, and what refers to them follows.
    Ids,
    /// Names of controls and addresses of links change in part.
    Names,
    /// Half of the blocks get a box around them; some boxes go.
    Wrap,
    /// Children of a third of the boxes change places.
    Reorder,
    /// Half of the captions and labels are said otherwise.
    Retext,
    /// Links become buttons, buttons links, boxes sections; attributes come and go.
    Retag,
    /// The element itself goes.
    Remove,
}

/// The recipes, by name.
pub(crate) const RECIPES: &[(&str, &[Change])] = &[
    ("classes", &[Change::Classes]),
    ("ids", &[Change::Ids]),
    ("names", &[Change::Names]),
    ("wrap", &[Change::Wrap]),
    ("reorder", &[Change::Reorder]),
    ("retext", &[Change::Retext]),
    ("retag", &[Change::Retag]),
    ("classes+ids", &[Change::Classes, Change::Ids]),
    ("ids+retext", &[Change::Ids, Change::Retext]),
    ("wrap+reorder", &[Change::Wrap, Change::Reorder]),
    ("classes+ids+wrap+reorder", &[Change::Classes, Change::Ids, Change::Wrap, Change::Reorder]),
    ("ids+names+retext", &[Change::Ids, Change::Names, Change::Retext]),
    (
        "everything",
        &[Change::Classes, Change::Ids, Change::Names, Change::Wrap, Change::Reorder, Change::Retext, Change::Retag],
    ),
    ("removed", &[Change::Remove]),
    ("removed+classes+ids", &[Change::Remove, Change::Classes, Change::Ids]),
    ("removed+retext+reorder", &[Change::Remove, Change::Retext, Change::Reorder]),
];

/// The attribute that says which element is which through all changes. It is taken off before anything is judged.
pub(crate) const TRUTH: &str = "data-truth";

/// Changes a page in which elements carry their [`TRUTH`]; `gone` are those that a removal removes.
pub(crate) fn changed(dom: &mut Html, changes: &[Change], gone: &[String], seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    for change in changes {
        match change {
            Change::Classes => rename(dom, &mut dice, "class"),
            Change::Ids => rename(dom, &mut dice, "id"),
            Change::Names => names(dom, &mut dice),
            Change::Wrap => wrap(dom, &mut dice),
            Change::Reorder => reorder(dom, &mut dice),
            Change::Retext => retext(dom, &mut dice),
            Change::Retag => retag(dom, &mut dice),
            Change::Remove => remove(dom, gone),
        }
    }
}

/// All elements of the body, in order.
fn elements(dom: &Html) -> Vec<NodeId> {
    let inside = |element: &ElementRef<'_>| {
        !matches!(element.value().name(), "html" | "head" | "body" | "script" | "style" | "title" | "meta" | "link")
    };
    dom.root_element().descendent_elements().filter(inside).map(|element| element.id()).collect()
}

/// Does something with each attribute of each element; what answers nothing stays.
fn each_attribute(dom: &mut Html, mut change: impl FnMut(&str, &str, &str) -> Option<String>) {
    for id in elements(dom) {
        let mut node = dom.tree.get_mut(id).unwrap();
        let Node::Element(element) = node.value() else { continue };
        let tag = element.name().to_owned();
        for (name, value) in &mut element.attrs {
            if let Some(new) = change(&tag, &name.local, value) {
                *value = new.as_str().into();
            }
        }
    }
}

/// A name as another framework or another team would give it. One page keeps to one style.
fn renamed(dice: &mut StdRng, style: u32, old: &str) -> String {
    match style {
        0 => format!("css-{:07x}", dice.random_range(0..0x0fff_ffff_u32)),
        1 => format!("app-{old}"),
        2 => format!("{old}__{:05x}", dice.random_range(0..0x000f_ffff_u32)),
        3 => old.split(['-', '_']).collect::<Vec<_>>().concat(),
        4 => format!("x{}", dice.random_range(10..999)),
        _ => {
            let mut parts: Vec<&str> = old.split(['-', '_']).collect();
            parts.rotate_left(1);
            format!("{}-el", parts.join("-"))
        }
    }
}

fn rename(dom: &mut Html, dice: &mut StdRng, what: &str) {
    let style = dice.random_range(0..6);
    let mut known: HashMap<String, String> = HashMap::new();
    let mut other = |name: &str| known.entry(name.to_owned()).or_insert_with(|| renamed(dice, style, name)).clone();
    let is_id = what == "id";
    // References to ids that are nowhere in the page must not become ids of their own, but may be renamed.
    each_attribute(dom, |_, name, value| match name {
        "class" if !is_id => Some(value.split_whitespace().map(&mut other).collect::<Vec<_>>().join(" ")),
        "id" | "for" | "aria-labelledby" | "aria-controls" | "aria-describedby" if is_id => {
            Some(value.split_whitespace().map(&mut other).collect::<Vec<_>>().join(" "))
        }
        "href" if is_id && value.len() > 1 => value.strip_prefix('#').map(|id| format!("#{}", other(id))),
        _ => None,
    });
}

fn names(dom: &mut Html, dice: &mut StdRng) {
    let style = dice.random_range(1..6);
    let folder = ["v2", "en", "app", "site"][dice.random_range(0..4)];
    each_attribute(dom, |tag, name, value| match (tag, name) {
        ("input" | "select" | "textarea" | "button", "name") if dice.random_bool(0.7) => {
            Some(renamed(dice, style, value))
        }
        ("a", "href") if !value.starts_with('#') && !value.contains("://") && dice.random_bool(0.6) => {
            Some(if dice.random_bool(0.5) {
                format!("/{folder}/{}", value.trim_start_matches("../"))
            } else {
                format!("{value}?from=menu")
            })
        }
        _ => None,
    });
}

fn new_element(dom: &mut Html, tag: &str, class: &str) -> NodeId {
    let name = QualName::new(None, ns!(html), LocalName::from(tag));
    let attribute =
        html5ever::Attribute { name: QualName::new(None, ns!(), LocalName::from("class")), value: class.into() };
    dom.tree.orphan(Node::Element(scraper::node::Element::new(name, vec![attribute]))).id()
}

fn wrap(dom: &mut Html, dice: &mut StdRng) {
    for id in elements(dom) {
        let node = dom.tree.get(id).unwrap();
        let Some(tag) = node.value().as_element().map(|element| element.name().to_owned()) else { continue };
        let in_box = node.parent().and_then(|above| above.value().as_element().map(|above| above.name().to_owned()));
        let may_be_boxed = in_box.is_some_and(|above| {
            matches!(
                above.as_str(),
                "div" | "body" | "main" | "section" | "form" | "td" | "li" | "nav" | "header" | "footer"
            )
        });
        if may_be_boxed && !matches!(tag.as_str(), "li" | "tr" | "td" | "option") && dice.random_bool(0.25) {
            let outer = new_element(dom, "div", ["wrap", "box", "inner", "holder"][dice.random_range(0..4)]);
            dom.tree.get_mut(id).unwrap().insert_id_before(outer);
            dom.tree.get_mut(outer).unwrap().append_id(id);
        } else if tag == "div" && dice.random_bool(0.15) && dom.tree.get(id).unwrap().parent().is_some() {
            let children: Vec<NodeId> = dom.tree.get(id).unwrap().children().map(|child| child.id()).collect();
            for child in children {
                dom.tree.get_mut(id).unwrap().insert_id_before(child);
            }
            dom.tree.get_mut(id).unwrap().detach();
        }
    }
}

fn reorder(dom: &mut Html, dice: &mut StdRng) {
    let mut boxes = elements(dom);
    boxes.retain(|_| dice.random_bool(0.35));
    for id in boxes {
        let node = dom.tree.get(id).unwrap();
        let mut children: Vec<NodeId> =
            node.children().filter(|child| child.value().is_element()).map(|child| child.id()).collect();
        // Words around inline elements make sentences, and those are not shuffled.
        let has_words =
            node.children().any(|child| child.value().as_text().is_some_and(|text| !text.trim().is_empty()));
        if children.len() < 2 || has_words {
            continue;
        }
        children.shuffle(dice);
        for child in children {
            dom.tree.get_mut(id).unwrap().append_id(child);
        }
    }
}

/// Texts that are captions: of links, buttons, labels, headings and options.
fn retext(dom: &mut Html, dice: &mut StdRng) {
    let words: Vec<String> = dom
        .root_element()
        .text()
        .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| word.len() > 3)
        .take(2_000)
        .collect();
    for id in elements(dom) {
        let tag =
            dom.tree.get(id).unwrap().value().as_element().map(|element| element.name().to_owned()).unwrap_or_default();
        if !matches!(
            tag.as_str(),
            "a" | "button" | "label" | "summary" | "option" | "h1" | "h2" | "h3" | "h4" | "input"
        ) || !dice.random_bool(0.5)
        {
            continue;
        }
        let texts: Vec<NodeId> = dom
            .tree
            .get(id)
            .unwrap()
            .descendants()
            .filter(|node| node.value().is_text())
            .map(|node| node.id())
            .collect();
        for text in texts {
            let mut node = dom.tree.get_mut(text).unwrap();
            if let Node::Text(text) = node.value() {
                let new = said_otherwise(&text.text, &words, dice);
                text.text = StrTendril::from(new.as_str());
            }
        }
        let mut node = dom.tree.get_mut(id).unwrap();
        let Node::Element(element) = node.value() else { continue };
        for (name, value) in &mut element.attrs {
            if matches!(&*name.local, "placeholder" | "title" | "aria-label" | "alt")
                || (tag == "input" && &*name.local == "value")
            {
                *value = said_otherwise(value, &words, dice).as_str().into();
            }
        }
    }
}

/// Words that editors put in each other's place.
const OTHERWISE: &[(&str, &str)] = &[
    ("next", "continue"),
    ("previous", "back"),
    ("search", "find"),
    ("show", "view"),
    ("sign in", "log in"),
    ("submit", "send"),
    ("delete", "remove"),
    ("settings", "preferences"),
    ("index", "overview"),
    ("modules", "libraries"),
    ("home", "start"),
    ("more", "further"),
    ("email", "e-mail"),
    ("password", "passphrase"),
    ("save", "store"),
    ("cancel", "abort"),
    ("help", "support"),
    ("introduction", "overview"),
    ("using", "working with"),
    ("changes", "news"),
    ("functions", "routines"),
    ("register", "sign up"),
    ("users", "people"),
    ("messages", "inbox"),
    ("download", "get"),
    ("report", "tell us about"),
    ("about", "who we are"),
];

fn said_otherwise(text: &str, words: &[String], dice: &mut StdRng) -> String {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return text.to_owned();
    }
    let lower = trimmed.to_lowercase();
    let swapped = OTHERWISE.iter().find(|(old, _)| lower.contains(old)).map(|(old, new)| lower.replace(old, new));
    let parts: Vec<&str> = trimmed.split_whitespace().collect();
    let any = |dice: &mut StdRng| words.get(dice.random_range(0..words.len().max(1))).cloned().unwrap_or_default();
    match dice.random_range(0..7) {
        0 => trimmed.to_uppercase(),
        1 => format!("{trimmed} {}", ["now", "here", "(new)", "»", "…"][dice.random_range(0..5)]),
        2 if parts.len() > 1 => parts[..parts.len() - 1].join(" "),
        3 if parts.len() > 1 => parts[1..].join(" "),
        4 => format!("{} {trimmed}", any(dice)),
        5 => swapped.unwrap_or_else(|| lower.clone()),
        6 if dice.random_bool(0.5) => (0..parts.len()).map(|_| any(dice)).collect::<Vec<_>>().join(" "),
        _ => swapped.unwrap_or_else(|| format!("{trimmed}s")),
    }
}

fn retag(dom: &mut Html, dice: &mut StdRng) {
    let (drop_data, add_data) = (dice.random_bool(0.5), dice.random_bool(0.5));
    for id in elements(dom) {
        let changes = dice.random_bool(0.4);
        let mark = format!("{:08x}", dice.random_range(0..u32::MAX));
        let drop_one = dice.random_bool(0.3);
        let mut node = dom.tree.get_mut(id).unwrap();
        let Node::Element(element) = node.value() else { continue };
        let new = match element.name() {
            "button" if changes => Some("a"),
            "div" if changes => Some("section"),
            "section" if changes => Some("div"),
            "ul" if changes => Some("ol"),
            "b" => Some("strong"),
            "h2" if changes => Some("h3"),
            _ => None,
        };
        if let Some(new) = new {
            let was_button = element.name() == "button";
            element.name.local = LocalName::from(new);
            if was_button {
                set(element, "role", "button");
                set(element, "href", "#");
            }
        }
        element.attrs.retain(|(name, _)| {
            let name = &*name.local;
            name == TRUTH
                || !((drop_data && name.starts_with("data-"))
                    || (drop_one && matches!(name, "title" | "rel" | "style" | "target" | "accesskey")))
        });
        if add_data {
            set(element, "data-v", &mark);
        }
    }
}

/// Attributes are kept sorted: scraper looks them up by halving.
fn set(element: &mut scraper::node::Element, name: &str, value: &str) {
    element.attrs.retain(|(known, _)| &*known.local != name);
    element.attrs.push((QualName::new(None, ns!(), LocalName::from(name)), value.into()));
    element.attrs.sort_unstable_by(|one, other| one.0.cmp(&other.0));
}

fn remove(dom: &mut Html, gone: &[String]) {
    for id in elements(dom) {
        let mut node = dom.tree.get_mut(id).unwrap();
        let Node::Element(element) = node.value() else { continue };
        if element.attr(TRUTH).is_some_and(|truth| gone.iter().any(|gone| gone == truth)) {
            node.detach();
        }
    }
}

/// Writes the truth into elements.
pub(crate) fn mark(dom: &mut Html, marks: &[(NodeId, String)]) {
    for (id, truth) in marks {
        let mut node = dom.tree.get_mut(*id).unwrap();
        if let Node::Element(element) = node.value() {
            set(element, TRUTH, truth);
        }
    }
}

/// Takes the truth off again; answers which element carried which.
pub(crate) fn unmark(dom: &mut Html) -> HashMap<String, NodeId> {
    let marked: Vec<NodeId> = dom
        .root_element()
        .descendent_elements()
        .filter(|element| element.attr(TRUTH).is_some())
        .map(|element| element.id())
        .collect();
    let mut found = HashMap::new();
    for id in marked {
        let mut node = dom.tree.get_mut(id).unwrap();
        let Node::Element(element) = node.value() else { continue };
        let truth = element.attr(TRUTH).unwrap_or("").to_owned();
        element.attrs.retain(|(name, _)| &*name.local != TRUTH);
        found.insert(truth, id);
    }
    found
}
