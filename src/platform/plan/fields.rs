//! Filling in a form so that it would be sent.

use scraper::ElementRef;

use super::super::browser::{
    Action, By, Kind, OneOrMany, Policy, Step, Target, controls_of, is_disabled, kind, option_value, options,
};
use super::super::page::{Budget, Page, is_visible, label_of, selector, squeeze};
use super::super::reply::ToolError;
use super::super::seating::{Rules, Seat};

/// What takes the time when a page has too much to plan for.
pub(super) const PLANNING: &str = "planning for a page";

/// So many boxes that stand for seats make a seat map.
const SEATS_MIN: usize = 8;

/// The steps that fill in a form.
pub(super) fn fill(page: &Page, form: ElementRef<'_>, budget: Budget) -> Result<Vec<Step>, ToolError> {
    let controls: Vec<_> = usable(page, form).take_while(|_| budget.check(PLANNING).is_ok()).collect();
    let seats = controls.iter().filter(|(control, kind)| *kind == Kind::Checkbox && is_seat(page, control)).count();
    let mut steps = Vec::new();
    if seats >= SEATS_MIN {
        let policy = Action::Policy { policy: Policy::SeatingSelection, rules: Rules::default(), seats: None };
        steps.push(Step::new("choose seats", policy));
    }
    let mut groups: Vec<String> = Vec::new();
    for (control, kind) in controls {
        budget.check(PLANNING)?;
        let is_one_of_many = seats >= SEATS_MIN && kind == Kind::Checkbox && is_seat(page, &control);
        let name = control.attr("name").unwrap_or("").to_owned();
        let target = handle(page, &control);
        let shown = words(page, &control);
        match kind {
            Kind::Text if control.attr("readonly").is_none() => {
                let value = value_for(&control, &shown);
                steps.push(Step::new(format!("fill in {shown:?}"), Action::Fill { target, value }));
            }
            Kind::Select => {
                let usable = options(&control)
                    .find(|option| option.attr("disabled").is_none() && !option_value(option).is_empty());
                if let Some(option) = usable {
                    let option = OneOrMany::One(option_value(&option));
                    steps.push(Step::new(format!("choose from {shown:?}"), Action::Select { target, option }));
                }
            }
            Kind::Checkbox if control.attr("required").is_some() && !is_one_of_many => {
                steps.push(Step::new(format!("tick {shown:?}"), Action::Check { target }));
            }
            Kind::Radio if !groups.contains(&name) => {
                groups.push(name);
                steps.push(Step::new(format!("choose {shown:?}"), Action::Check { target }));
            }
            _ => {}
        }
    }
    Ok(steps)
}

/// For each required field the steps that leave it out, ending with the browser's refusal.
pub(super) fn missing<'a>(
    page: &'a Page,
    form: ElementRef<'a>,
    form_name: &'a str,
    filling: &'a [Step],
) -> impl Iterator<Item = (String, Vec<Step>)> {
    let is_checked = form.attr("novalidate").is_none();
    let required = usable(page, form).filter(move |(control, _)| is_checked && control.attr("required").is_some());
    required.filter_map(move |(control, kind)| {
        let (target, shown) = (handle(page, &control), words(page, &control));
        let empty = match kind {
            Kind::Text => Action::Fill { target: target.clone(), value: String::new() },
            Kind::Checkbox => Action::Uncheck { target: target.clone() },
            _ => return None,
        };
        let mut steps: Vec<Step> = filling.iter().filter(|step| target_of(step) != Some(&target)).cloned().collect();
        steps.push(Step::new(format!("leave {shown:?} out"), empty));
        let refusal = Action::AssertInvalid { target: Some(target) };
        steps.push(Step::new(format!("{form_name} is not sent without {shown:?}"), refusal));
        Some((format!("{shown:?}"), steps))
    })
}

fn target_of(step: &Step) -> Option<&Target> {
    match &step.action {
        Action::Fill { target, .. } | Action::Check { target } | Action::Select { target, .. } => Some(target),
        _ => None,
    }
}

fn usable<'a>(page: &'a Page, form: ElementRef<'a>) -> impl Iterator<Item = (ElementRef<'a>, Kind)> {
    controls_of(page, form).filter(|(control, _)| !is_disabled(control) && is_visible(control))
}

fn is_seat(page: &Page, control: &ElementRef<'_>) -> bool {
    Seat::read(control.attr("value").unwrap_or(""), &label_of(page, control), None, true).is_some()
}

/// What people call a control.
fn words(page: &Page, control: &ElementRef<'_>) -> String {
    let label = label_of(page, control);
    let candidates =
        [label, squeeze(control.attr("placeholder").unwrap_or("")), control.attr("name").unwrap_or("").to_owned()];
    candidates.into_iter().find(|words| !words.is_empty()).unwrap_or_else(|| control.value().name().to_owned())
}

/// A value that the control would take.
fn value_for(control: &ElementRef<'_>, shown: &str) -> String {
    let kind = control.attr("type").unwrap_or("").to_ascii_lowercase();
    let attribute = |name: &str| control.attr(name).map(str::to_owned).filter(|value| !value.is_empty());
    let hint =
        format!("{} {} {}", shown, control.attr("name").unwrap_or(""), control.attr("autocomplete").unwrap_or(""));
    let hint = hint.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| hint.contains(word));
    let value = match kind.as_str() {
        // Everything may be looked for.
        "search" => String::new(),
        "email" => "ada@example.org".to_owned(),
        "url" => "https://example.org/".to_owned(),
        "tel" => "+44 20 7946 0000".to_owned(),
        "number" | "range" => attribute("min").or_else(|| attribute("value")).unwrap_or_else(|| "1".to_owned()),
        "date" => attribute("min").unwrap_or_else(|| "2030-01-15".to_owned()),
        "month" => attribute("min").unwrap_or_else(|| "2030-01".to_owned()),
        "week" => attribute("min").unwrap_or_else(|| "2030-W03".to_owned()),
        "time" => attribute("min").unwrap_or_else(|| "19:30".to_owned()),
        "datetime-local" => attribute("min").unwrap_or_else(|| "2030-01-15T19:30".to_owned()),
        "color" => "#336699".to_owned(),
        "password" => "correct horse battery".to_owned(),
        // A text that the page proposes is a text that it takes.
        _ if attribute("value").is_some() => attribute("value").unwrap_or_default(),
        _ if has(&["mail"]) => "ada@example.org".to_owned(),
        _ if has(&["phone", "tel"]) => "+44 20 7946 0000".to_owned(),
        _ if has(&["zip", "post"]) => "10115".to_owned(),
        _ if has(&["card"]) => "4242 4242 4242 4242".to_owned(),
        _ if has(&["name"]) => "Ada Lovelace".to_owned(),
        _ => "some text".to_owned(),
    };
    fit(control, &value)
}

/// Cuts a text to what its field takes.
fn fit(control: &ElementRef<'_>, value: &str) -> String {
    let longest = control.attr("maxlength").and_then(|most| most.trim().parse::<usize>().ok()).unwrap_or(usize::MAX);
    let shortest = control.attr("minlength").and_then(|least| least.trim().parse::<usize>().ok()).unwrap_or(0);
    let padding = shortest.min(1_000).saturating_sub(value.chars().count());
    value.chars().chain(std::iter::repeat_n('x', padding)).take(longest).collect()
}

/// How a plan refers to an element: by its label, where that leads to it alone, else by a selector.
pub(super) fn handle(page: &Page, element: &ElementRef<'_>) -> Target {
    if kind(element).is_some_and(|kind| !matches!(kind, Kind::Submit | Kind::Button)) {
        let label = label_of(page, element);
        let alike = || page.elements().filter(|other| kind(other).is_some() && label_of(page, other) == label).count();
        if !label.is_empty() && alike() == 1 {
            return Target::By(By { label: Some(label), ..By::default() });
        }
    }
    Target::Css(path_to(page, element))
}

/// A selector that selects this element alone: by its id, its name, or its place.
pub(super) fn path_to(page: &Page, element: &ElementRef<'_>) -> String {
    let tag = element.value().name();
    let mut candidates = Vec::new();
    if let Some(id) = element.attr("id").filter(|id| !id.is_empty()) {
        candidates.push(format!("[id={}]", quoted(id)));
    }
    for name in ["name", "href", "action"] {
        if let Some(value) = element.attr(name) {
            candidates.push(format!("{tag}[{name}={}]", quoted(value)));
        }
    }
    let is_alone = |css: &String| {
        selector(css).is_ok_and(|css| {
            let mut found = page.select(&css);
            found.next().is_some_and(|one| one.id() == element.id()) && found.next().is_none()
        })
    };
    candidates.into_iter().find(is_alone).unwrap_or_else(|| place(element))
}

/// The way from the root, by tags and places among children.
fn place(element: &ElementRef<'_>) -> String {
    let chain: Vec<ElementRef<'_>> =
        std::iter::once(*element).chain(element.ancestors().filter_map(ElementRef::wrap)).collect();
    let step = |one: &ElementRef<'_>| {
        let before = one.prev_siblings().filter_map(ElementRef::wrap).count();
        format!("{}:nth-child({})", one.value().name(), before + 1)
    };
    chain.iter().rev().map(step).collect::<Vec<_>>().join(" > ")
}

/// A text as CSS has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(format!("\\{:x} ", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
