//! What a browser checks before it sends a form, by the attributes of its controls.

use regex_lite::Regex;
use scraper::ElementRef;
use url::Url;

use super::super::page::{Page, label_of};
use super::super::reply::ToolError;
use super::controls::{Edits, Kind, controls_of, input_type, is_disabled, kind, radio_group};

/// A control that keeps a form from being sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invalid {
    /// Its name, label or tag.
    pub(super) control: String,
    /// What is wrong with what stands in it.
    pub(super) why: String,
}

/// The first control that keeps a form from being sent.
pub(super) fn first_invalid(page: &Page, edits: &Edits, form: ElementRef<'_>) -> Result<Option<Invalid>, ToolError> {
    let budget = page.budget();
    for (control, _) in controls_of(page, form) {
        budget.check("checking a form")?;
        if let Some(invalid) = invalid(page, edits, &control) {
            return Ok(Some(invalid));
        }
    }
    Ok(None)
}

/// What is wrong with what stands in a control.
pub(super) fn invalid(page: &Page, edits: &Edits, control: &ElementRef<'_>) -> Option<Invalid> {
    let kind = kind(control)?;
    if is_disabled(control) || matches!(kind, Kind::Hidden | Kind::Submit | Kind::Button) {
        return None;
    }
    let why = missing(page, edits, control, kind).or_else(|| {
        let value = edits.value(control);
        (kind == Kind::Text && control.attr("readonly").is_none() && !value.is_empty())
            .then(|| misfit(control, &value))?
    })?;
    let label = label_of(page, control);
    let name = control.attr("name").unwrap_or_else(|| control.value().name());
    let control = if label.is_empty() { name.to_owned() } else { format!("{name} ({label})") };
    Some(Invalid { control, why })
}

fn missing(page: &Page, edits: &Edits, control: &ElementRef<'_>, kind: Kind) -> Option<String> {
    let required = |element: &ElementRef<'_>| element.attr("required").is_some();
    let is_missing = match kind {
        Kind::Radio => {
            let group = radio_group(page, control);
            group.iter().any(required) && !group.iter().any(|radio| edits.is_ticked(radio))
        }
        _ if !required(control) || control.attr("readonly").is_some() => false,
        Kind::Checkbox => !edits.is_ticked(control),
        Kind::File => true,
        _ => edits.value(control).is_empty(),
    };
    is_missing.then(|| "it is required and empty".to_owned())
}

/// How a text does not fit the attributes of its control.
fn misfit(control: &ElementRef<'_>, value: &str) -> Option<String> {
    let kind = input_type(control);
    by_type(control, &kind, value).or_else(|| by_length(control, value)).or_else(|| by_pattern(control, value))
}

fn by_type(control: &ElementRef<'_>, kind: &str, value: &str) -> Option<String> {
    match kind {
        "email" => (!is_email(value)).then(|| format!("{value:?} is no e-mail address")),
        "url" => Url::parse(value).is_err().then(|| format!("{value:?} is no URL")),
        "number" | "range" => match value.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => by_range(control, number),
            _ => Some(format!("{value:?} is no number")),
        },
        // These are written so that their order as texts is their order in time.
        "date" | "month" | "week" | "time" | "datetime-local" => {
            let below = control.attr("min").filter(|min| !min.is_empty() && value < *min);
            let above = control.attr("max").filter(|max| !max.is_empty() && value > *max);
            below
                .map(|min| format!("{value} is before {min}"))
                .or_else(|| above.map(|max| format!("{value} is after {max}")))
        }
        _ => None,
    }
}

fn by_range(control: &ElementRef<'_>, number: f64) -> Option<String> {
    let limit = |name: &str| control.attr(name).and_then(|limit| limit.trim().parse::<f64>().ok());
    let (min, max) = (limit("min"), limit("max"));
    if let Some(min) = min.filter(|min| number < *min) {
        return Some(format!("{number} is less than {min}"));
    }
    if let Some(max) = max.filter(|max| number > *max) {
        return Some(format!("{number} is more than {max}"));
    }
    let any = control.attr("step").is_some_and(|step| step.eq_ignore_ascii_case("any"));
    let step = limit("step").filter(|step| *step > 0.0).unwrap_or(1.0);
    let steps = (number - min.unwrap_or(0.0)) / step;
    // Fractions are not exact: 0.3 is three steps of 0.1.
    let off = (steps - steps.round()).abs() > 1e-6;
    (!any && off).then(|| format!("{number} is not a whole number of steps of {step}"))
}

fn by_length(control: &ElementRef<'_>, value: &str) -> Option<String> {
    let limit = |name: &str| control.attr(name).and_then(|limit| limit.trim().parse::<usize>().ok());
    let length = value.encode_utf16().count();
    let short = limit("minlength").filter(|min| length < *min);
    let long = limit("maxlength").filter(|max| length > *max);
    short
        .map(|min| format!("it has {length} characters, fewer than {min}"))
        .or_else(|| long.map(|max| format!("it has {length} characters, more than {max}")))
}

fn by_pattern(control: &ElementRef<'_>, value: &str) -> Option<String> {
    let pattern = control.attr("pattern")?;
    // A pattern that is none is passed over, as browsers do.
    let whole = Regex::new(&format!("^(?:{pattern})$")).ok()?;
    (!whole.is_match(value)).then(|| format!("{value:?} does not match {pattern}"))
}

/// An address as the HTML standard has it: wider than what servers take, so nothing good is refused.
fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.split_once('@') else { return false };
    let is_local = |c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !local.is_empty() && local.chars().all(is_local) && domain.split('.').all(is_label)
}
