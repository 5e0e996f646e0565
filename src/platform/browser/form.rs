//! Sending a form, as the HTML standard has it.

use reqwest::Method;
use scraper::ElementRef;
use url::form_urlencoded;

use super::super::fetch::Request;
use super::super::page::Page;
use super::super::reply::ToolError;
use super::controls::{Edits, Kind, controls_of, input_type, is_disabled, option_value};

/// The request that a form becomes when it is sent by this button, or by Enter.
pub(super) fn request(
    page: &Page,
    edits: &Edits,
    form: ElementRef<'_>,
    button: Option<ElementRef<'_>>,
) -> Result<Request, ToolError> {
    let said = |own: &str, buttons: &str| {
        button.and_then(|button| button.attr(buttons)).or_else(|| form.attr(own)).unwrap_or("").trim().to_owned()
    };
    let action = said("action", "formaction");
    let target = if action.is_empty() { Ok(page.url.clone()) } else { page.base().join(&action) };
    let mut url = target.map_err(|error| ToolError::bad_arguments(format!("the form's action {action:?}: {error}")))?;
    let fields = encoded(&entries(page, edits, form, button)?);
    match said("method", "formmethod").to_ascii_lowercase().as_str() {
        "post" => {
            let kind = said("enctype", "formenctype");
            if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
                return Err(ToolError::bad_arguments(format!(
                    "the form is sent as {kind}, which this browser cannot do"
                )));
            }
            Ok(Request { method: Method::POST, url, form: Some(fields) })
        }
        "dialog" => Err(ToolError::bad_arguments("the form closes a dialog, which takes a script")),
        _ => {
            // A form sent by GET takes the place of whatever query its action had.
            url.set_query(Some(&fields).filter(|fields| !fields.is_empty()).map(String::as_str));
            url.set_fragment(None);
            Ok(Request::get(url))
        }
    }
}

/// The fields of a form, in the order of the page.
fn entries(
    page: &Page,
    edits: &Edits,
    form: ElementRef<'_>,
    button: Option<ElementRef<'_>>,
) -> Result<Vec<(String, String)>, ToolError> {
    let mut entries = Vec::new();
    let budget = page.budget();
    for (control, kind) in controls_of(page, form) {
        budget.check("reading a form")?;
        let pressed = button.is_some_and(|button| button.id() == control.id());
        let name = control.attr("name").unwrap_or("").to_owned();
        if is_disabled(&control) || control.ancestors().any(is_datalist) {
            continue;
        }
        if pressed && input_type(&control) == "image" {
            let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
            entries.extend([(format!("{prefix}x"), "0".to_owned()), (format!("{prefix}y"), "0".to_owned())]);
            continue;
        }
        if name.is_empty() {
            continue;
        }
        match kind {
            Kind::Submit if pressed => entries.push((name, edits.value(&control))),
            Kind::Submit | Kind::Button => {}
            Kind::Checkbox | Kind::Radio if !edits.is_ticked(&control) => {}
            Kind::Select => {
                let chosen = edits.chosen(&control).into_iter().filter(|option| option.attr("disabled").is_none());
                entries.extend(chosen.map(|option| (name.clone(), option_value(&option))));
            }
            Kind::File => entries.push((name, String::new())),
            _ => entries.push((name, edits.value(&control))),
        }
    }
    Ok(entries)
}

fn is_datalist(node: ego_tree::NodeRef<'_, scraper::Node>) -> bool {
    node.value().as_element().is_some_and(|element| element.name() == "datalist")
}

fn encoded(entries: &[(String, String)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in entries {
        form.append_pair(name, &value.replace("\r\n", "\n").replace('\n', "\r\n"));
    }
    form.finish()
}

/// The button that Enter presses: the first that submits the form.
pub(super) fn default_button<'a>(page: &'a Page, form: ElementRef<'a>) -> Option<ElementRef<'a>> {
    controls_of(page, form)
        .find(|(control, kind)| *kind == Kind::Submit && !is_disabled(control))
        .map(|(button, _)| button)
}
