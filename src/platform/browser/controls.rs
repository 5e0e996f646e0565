//! What stands in the controls of a page: what its HTML says, under what was typed and ticked since.

use std::collections::HashMap;

use ego_tree::NodeId;
use scraper::ElementRef;

use super::super::page::{Page, squeeze};

/// What was typed, ticked and chosen on a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Edits {
    values: HashMap<NodeId, String>,
    ticked: HashMap<NodeId, bool>,
    /// The options of a `<select>`, once somebody chose.
    chosen: HashMap<NodeId, Vec<NodeId>>,
}

/// The kinds of controls, as far as they differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// Something to type into.
    Text,
    Checkbox,
    Radio,
    Select,
    /// A button that submits its form.
    Submit,
    /// A button that submits nothing.
    Button,
    /// A file chooser: nothing is ever chosen here.
    File,
    Hidden,
}

/// The kind of a control; nothing if it is none.
pub(in super::super) fn kind(element: &ElementRef<'_>) -> Option<Kind> {
    let kind = input_type(element);
    Some(match (element.value().name(), kind.as_str()) {
        ("select", _) => Kind::Select,
        ("button" | "input", "button" | "reset") => Kind::Button,
        ("button", _) | ("input", "submit" | "image") => Kind::Submit,
        ("input", "checkbox") => Kind::Checkbox,
        ("input", "radio") => Kind::Radio,
        ("input", "file") => Kind::File,
        ("input", "hidden") => Kind::Hidden,
        ("textarea" | "input", _) => Kind::Text,
        _ => return None,
    })
}

/// The `type` of an element in small letters.
pub(super) fn input_type(element: &ElementRef<'_>) -> String {
    element.attr("type").unwrap_or("").trim().to_ascii_lowercase()
}

/// Whether a control takes no part: `disabled`, or inside a disabled `<fieldset>` and not in its legend.
pub(in super::super) fn is_disabled(element: &ElementRef<'_>) -> bool {
    if element.attr("disabled").is_some() {
        return true;
    }
    let mut below = *element;
    for above in element.ancestors().filter_map(ElementRef::wrap) {
        if above.value().name() == "fieldset" && above.attr("disabled").is_some() {
            let legend = above.child_elements().find(|child| child.value().name() == "legend");
            if legend.is_none_or(|legend| legend.id() != below.id()) {
                return true;
            }
        }
        below = above;
    }
    false
}

/// The form that a control belongs to.
pub(super) fn form_of<'a>(page: &'a Page, control: &ElementRef<'a>) -> Option<ElementRef<'a>> {
    match control.attr("form") {
        Some(id) => page.by_id(id).filter(|form| form.value().name() == "form"),
        None => control.ancestors().filter_map(ElementRef::wrap).find(|above| above.value().name() == "form"),
    }
}

/// The controls of a form, in the order of the page.
pub(in super::super) fn controls_of<'a>(
    page: &'a Page,
    form: ElementRef<'a>,
) -> impl Iterator<Item = (ElementRef<'a>, Kind)> {
    page.elements()
        .filter_map(|element| kind(&element).map(|kind| (element, kind)))
        .filter(move |(element, _)| form_of(page, element).is_some_and(|owner| owner.id() == form.id()))
}

/// The options of a `<select>`.
pub(in super::super) fn options<'a>(select: &ElementRef<'a>) -> impl Iterator<Item = ElementRef<'a>> + use<'a> {
    select.descendent_elements().filter(|inner| inner.value().name() == "option")
}

/// What an option stands for in a form: its value, else its text.
pub(in super::super) fn option_value(option: &ElementRef<'_>) -> String {
    option.attr("value").map_or_else(|| squeeze(&option.text().collect::<String>()), str::to_owned)
}

impl Edits {
    /// Types into a control.
    pub(super) fn fill(&mut self, control: &ElementRef<'_>, text: &str) {
        self.values.insert(control.id(), text.to_owned());
    }

    /// Ticks a box or a radio button, or takes a tick away. The others of a radio group lose theirs.
    pub(super) fn tick(&mut self, page: &Page, control: &ElementRef<'_>, on: bool) {
        if on && kind(control) == Some(Kind::Radio) {
            for other in radio_group(page, control) {
                self.ticked.insert(other.id(), false);
            }
        }
        self.ticked.insert(control.id(), on);
    }

    /// Chooses options of a `<select>`.
    pub(super) fn choose(&mut self, select: &ElementRef<'_>, options: &[ElementRef<'_>]) {
        self.chosen.insert(select.id(), options.iter().map(|option| option.id()).collect());
    }

    /// Whether a box or a radio button is ticked.
    pub(super) fn is_ticked(&self, control: &ElementRef<'_>) -> bool {
        self.ticked.get(&control.id()).copied().unwrap_or_else(|| control.attr("checked").is_some())
    }

    /// The chosen options of a `<select>`; without `multiple` the first that may be chosen, if nobody said otherwise.
    pub(super) fn chosen<'a>(&self, select: &ElementRef<'a>) -> Vec<ElementRef<'a>> {
        if let Some(chosen) = self.chosen.get(&select.id()) {
            return options(select).filter(|option| chosen.contains(&option.id())).collect();
        }
        let marked: Vec<_> = options(select).filter(|option| option.attr("selected").is_some()).collect();
        if select.attr("multiple").is_some() {
            return marked;
        }
        let first = || options(select).find(|option| option.attr("disabled").is_none());
        marked.into_iter().next_back().or_else(first).into_iter().collect()
    }

    /// What stands in a control.
    pub(super) fn value(&self, control: &ElementRef<'_>) -> String {
        if let Some(typed) = self.values.get(&control.id()) {
            return typed.clone();
        }
        match control.value().name() {
            "textarea" => {
                let text = control.text().collect::<String>();
                text.strip_prefix('\n').unwrap_or(&text).to_owned()
            }
            "select" => self.chosen(control).first().map(option_value).unwrap_or_default(),
            _ => {
                let ticks = matches!(kind(control), Some(Kind::Checkbox | Kind::Radio));
                control.attr("value").unwrap_or(if ticks { "on" } else { "" }).to_owned()
            }
        }
    }
}

/// The radio buttons that go with one: the same name in the same form.
pub(super) fn radio_group<'a>(page: &'a Page, radio: &ElementRef<'a>) -> Vec<ElementRef<'a>> {
    let Some(name) = radio.attr("name").filter(|name| !name.is_empty()) else { return vec![*radio] };
    let owner = form_of(page, radio).map(|form| form.id());
    page.elements()
        .filter(|other| kind(other) == Some(Kind::Radio) && other.attr("name") == Some(name))
        .filter(|other| form_of(page, other).map(|form| form.id()) == owner)
        .collect()
}
