//! How much a candidate is like the element that was, by each strategy: 0 to 1, or nothing where there is no evidence.

use std::collections::BTreeSet;

use strsim::{jaro_winkler, normalized_levenshtein};

use super::words::{meanings, purpose, words};
use crate::platform::locators::stability::generated;
use crate::platform::locators::{Fingerprint, TEST_ATTRIBUTES};

/// A fingerprint with what is compared again and again.
#[derive(Debug, Clone)]
pub(super) struct Traits {
    pub(super) print: Fingerprint,
    /// What it says, small.
    said: String,
    said_words: BTreeSet<String>,
    /// All its words' meanings.
    meanings: BTreeSet<String>,
    around: BTreeSet<String>,
    purpose: Option<&'static str>,
}

impl Traits {
    pub(super) fn of(print: Fingerprint) -> Self {
        let said = if print.text.is_empty() { &print.name } else { &print.text };
        let said = said.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let said_words = words(&said).into_iter().collect();
        let told = ["id", "name", "placeholder", "title", "alt", "aria-label", "value", "data-action"];
        let mut all = vec![print.name.as_str(), &print.label, &print.text];
        all.extend(told.iter().filter_map(|name| print.attribute(name)).filter(|value| generated(value) < 0.5));
        let meanings = all.iter().flat_map(|text| meanings(text)).collect();
        let around = print.neighbourhood.iter().flat_map(|word| words(word)).collect();
        let names = format!(
            "{} {} {}",
            print.label,
            print.attribute("name").unwrap_or(""),
            print.attribute("id").unwrap_or("")
        );
        let is_control = matches!(print.tag.as_str(), "input" | "select" | "textarea");
        let purpose = if is_control {
            purpose(print.attribute("type").unwrap_or(""), print.attribute("autocomplete").unwrap_or(""), &names)
        } else {
            None
        };
        Self { print, said, said_words, meanings, around, purpose }
    }
}

/// All five, in the order of [`super::Strategy::ALL`].
pub(super) fn scores(old: &Traits, new: &Traits) -> [Option<f64>; 5] {
    [
        id_match(old, new),
        attribute_match(old, new),
        text_match(old, new),
        semantic_match(old, new),
        Some(structure_match(old, new)),
    ]
}

// === id_match ===

fn id_match(old: &Traits, new: &Traits) -> Option<f64> {
    let mut best: Option<f64> = None;
    let names = TEST_ATTRIBUTES.iter().copied().chain(["id", "name"]);
    for name in names {
        let Some(was) = old.print.attribute(name).filter(|value| !value.is_empty()) else { continue };
        // Made names tell little even where they are equal, and nothing where they are not.
        let trust = 1.0 - 0.5 * generated(was);
        let score = match new.print.attribute(name) {
            Some(is) if is == was => trust,
            Some(is) => 0.8 * trust * names_alike(was, is),
            None => 0.0,
        };
        // An id that became a name, or the other way round.
        let crossed = ["id", "name", "data-testid"].iter().filter(|other| **other != name);
        let crossed =
            crossed.filter_map(|other| new.print.attribute(other)).map(|is| 0.7 * trust * names_alike(was, is));
        let score = crossed.fold(score, f64::max);
        best = Some(best.map_or(score, |best| best.max(score)));
    }
    best
}

/// How much two names are alike as words and as letters.
fn names_alike(one: &str, other: &str) -> f64 {
    let (ones, others) = (meanings(one), meanings(other));
    let by_words = if ones.is_empty() || others.is_empty() { 0.0 } else { overlap(&ones, &others) };
    let by_letters = jaro_winkler(&one.to_lowercase(), &other.to_lowercase());
    // Unrelated names of one language are about half alike by letters.
    by_words.max(((by_letters - 0.7) / 0.3).max(0.0) * 0.9)
}

// === attribute_match ===

/// What it counts that an attribute stayed.
fn attribute_weight(name: &str) -> f64 {
    match name {
        "href" | "aria-label" | "action" => 3.0,
        "type" | "placeholder" | "title" | "alt" | "value" | "autocomplete" | "role" | "for" => 2.0,
        _ if name.starts_with("on") || name.starts_with("style") => 0.2,
        _ if name.starts_with("data-") || name.starts_with("aria-") => 1.2,
        _ => 0.6,
    }
}

fn attribute_match(old: &Traits, new: &Traits) -> Option<f64> {
    let is_identity = |name: &str| name == "id" || name == "name" || TEST_ATTRIBUTES.contains(&name);
    let tag = if old.print.tag == new.print.tag { 1.0 } else { 0.4 * f64::from(u8::from(same_kind(old, new))) };
    let (mut weight, mut score) = (1.0, tag);
    for (name, was) in old.print.attributes.iter().filter(|(name, _)| !is_identity(name)) {
        let counts = attribute_weight(name) * (1.0 - 0.6 * generated_value(name, was));
        weight += counts;
        score += counts * new.print.attribute(name).map_or(0.0, |is| values_alike(name, was, is));
    }
    let more =
        new.print.attributes.keys().filter(|name| !is_identity(name) && !old.print.attributes.contains_key(*name));
    // What is new speaks against a candidate a little: elements are given attributes, too.
    weight += more.map(|name| 0.25 * attribute_weight(name)).sum::<f64>();
    let classes = |traits: &Traits| {
        traits.print.classes.iter().filter(|class| generated(class) < 0.3).cloned().collect::<BTreeSet<_>>()
    };
    let (was, is) = (classes(old), classes(new));
    if !was.is_empty() {
        weight += 2.0;
        score += 2.0 * overlap(&was, &is);
    }
    // An element that was bare had a name and nothing else: no evidence.
    let was_bare = classes(old).is_empty() && old.print.attributes.keys().all(|name| is_identity(name));
    (!was_bare).then(|| score / weight)
}

fn generated_value(name: &str, value: &str) -> f64 {
    if name.starts_with("data-") || name.starts_with("aria-") { generated(value) } else { 0.0 }
}

fn values_alike(name: &str, was: &str, is: &str) -> f64 {
    match () {
        () if was == is => 1.0,
        () if name == "href" || name == "action" => addresses_alike(was, is),
        () if was.eq_ignore_ascii_case(is) => 0.95,
        () if matches!(name, "type" | "role") => 0.0,
        () => 0.8 * text_alike(&was.to_lowercase(), &is.to_lowercase()),
    }
}

fn addresses_alike(was: &str, is: &str) -> f64 {
    let bare = |address: &str| address.split(['?', '#']).next().unwrap_or("").trim_end_matches('/').to_owned();
    let last = |address: &str| address.rsplit(['/', '#', '?']).find(|piece| !piece.is_empty()).unwrap_or("").to_owned();
    let (was_path, is_path) = (bare(was), bare(is));
    match () {
        () if was_path == is_path && !was_path.is_empty() => {
            if was.contains('#') && is.contains('#') {
                0.4
            } else {
                0.8
            }
        }
        () if last(was) == last(is) && !last(was).is_empty() => 0.6,
        () => 0.3 * ((normalized_levenshtein(was, is) - 0.5) / 0.5).max(0.0),
    }
}

// === text_match ===

fn text_match(old: &Traits, new: &Traits) -> Option<f64> {
    let said = if old.said.is_empty() {
        None
    } else if old.said == new.said {
        Some(1.0)
    } else {
        let by_words = if old.said_words.is_empty() { 0.0 } else { overlap(&old.said_words, &new.said_words) };
        Some(0.95 * by_words.max(text_alike(&old.said, &new.said)))
    };
    let labelled = (!old.print.label.is_empty())
        .then(|| if old.print.label == new.print.label { 1.0 } else { text_alike(&old.print.label, &new.print.label) });
    match (said, labelled) {
        (Some(said), Some(labelled)) => Some(said.max(labelled)),
        (said, labelled) => said.or(labelled),
    }
}

/// How much two texts are alike by letters; unrelated ones count nothing.
fn text_alike(one: &str, other: &str) -> f64 {
    if one.is_empty() || other.is_empty() {
        return 0.0;
    }
    ((normalized_levenshtein(one, other) - 0.4) / 0.6).max(0.0)
}

// === semantic_match ===

fn semantic_match(old: &Traits, new: &Traits) -> Option<f64> {
    let purpose = match (old.purpose, new.purpose) {
        (Some(was), Some(is)) => Some(f64::from(u8::from(was == is))),
        (Some(_), None) => Some(0.3),
        _ => None,
    };
    let meant = if old.meanings.is_empty() { None } else { Some(overlap(&old.meanings, &new.meanings)) };
    let role = if old.print.role == new.print.role { 1.0 } else { 0.5 * f64::from(u8::from(same_kind(old, new))) };
    match (meant, purpose) {
        (None, None) => None,
        (Some(meant), None) => Some(0.85 * meant + 0.15 * role),
        (None, Some(purpose)) => Some(0.8 * purpose + 0.2 * role),
        (Some(meant), Some(purpose)) => Some(0.5 * meant + 0.35 * purpose + 0.15 * role),
    }
}

/// Elements that people use alike: a link that looks like a button, a button made of a `div`.
pub(super) fn same_kind(old: &Traits, new: &Traits) -> bool {
    let kind = |print: &Fingerprint| match (print.tag.as_str(), print.role.as_str()) {
        (_, "button" | "link" | "tab" | "menuitem" | "switch") | ("summary", _) => "pressed",
        (_, "textbox" | "searchbox" | "spinbutton") => "written",
        (_, "combobox" | "listbox" | "option") => "chosen",
        (_, "checkbox" | "radio") => "ticked",
        _ if print.interactive => "used",
        _ => "read",
    };
    kind(&old.print) == kind(&new.print)
}

// === structure_match ===

fn structure_match(old: &Traits, new: &Traits) -> f64 {
    let (was, is) = (&old.print, &new.print);
    let equal = |same: bool| f64::from(u8::from(same));
    let near = if old.around.is_empty() { 0.5 } else { overlap(&old.around, &new.around) };
    let sibling = |side: usize| {
        if was.siblings[side].is_empty() {
            equal(is.siblings[side].is_empty())
        } else {
            siblings_alike(&was.siblings[side], &is.siblings[side])
        }
    };
    let order = (1.0 - 5.0 * (was.position.order - is.position.order).abs()).max(0.0);
    let parts = [
        (0.3, ancestors_alike(was, is)),
        (0.25, near),
        (0.15, 0.5 * (sibling(0) + sibling(1))),
        (
            0.1,
            if was.heading.is_empty() { equal(is.heading.is_empty()) } else { text_alike(&was.heading, &is.heading) },
        ),
        (0.1, order),
        (0.1, equal(was.position.of_type == is.position.of_type)),
    ];
    parts.iter().map(|(weight, part)| weight * part).sum()
}

fn siblings_alike(was: &str, is: &str) -> f64 {
    let same_tag = was.split(':').next() == is.split(':').next();
    if was == is { 1.0 } else { (0.3 * f64::from(u8::from(same_tag))).max(0.8 * text_alike(was, is)) }
}

/// The longest common line of ancestors, those near counting more.
fn ancestors_alike(was: &Fingerprint, is: &Fingerprint) -> f64 {
    let (ones, others) = (&was.ancestors, &is.ancestors);
    if ones.is_empty() {
        return f64::from(u8::from(others.is_empty()));
    }
    let weight = |at: usize| 0.8_f64.powi(i32::try_from(at).unwrap_or(i32::MAX));
    let mut best = vec![vec![0.0_f64; others.len() + 1]; ones.len() + 1];
    for (at, one) in ones.iter().enumerate() {
        for (there, other) in others.iter().enumerate() {
            let alike = if one.tag == other.tag {
                let named = !one.id.is_empty() && one.id == other.id;
                let classes = one.classes.iter().filter(|class| other.classes.contains(class)).count();
                let styled = if one.classes.is_empty() { 0.4 } else { 0.4 * count(classes) / count(one.classes.len()) };
                if named { 1.0 } else { 0.6 + styled }
            } else {
                0.0
            };
            let taken = best[at][there] + weight(at) * alike;
            best[at + 1][there + 1] = taken.max(best[at][there + 1]).max(best[at + 1][there]);
        }
    }
    best[ones.len()][others.len()] / (0..ones.len()).map(weight).sum::<f64>()
}

/// Twice what two sets share, of all they have.
fn overlap(ones: &BTreeSet<String>, others: &BTreeSet<String>) -> f64 {
    if ones.is_empty() && others.is_empty() {
        return 0.0;
    }
    2.0 * count(ones.intersection(others).count()) / count(ones.len() + others.len())
}

/// Words and classes of one element are few.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
