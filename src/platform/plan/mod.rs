//! `generate_plan`: what can be tested on a page, as tests that `execute_test` runs.

mod fields;
mod flow;

use rmcp::schemars::{self, JsonSchema};
use scraper::ElementRef;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::Context;
use super::browser::{Action, Step, Target};
use super::fetch::PageSource;
use super::page::{Budget, Page, accessible_name, is_visible, label_of};
use super::reply::{Reply, ToolError, ToolResult, class};

/// Forms of one page that get plans.
const FORMS_MAX: usize = 20;

/// Plans about one missing field each, for one form.
const MISSING_MAX: usize = 5;

/// Arguments of `generate_plan`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The page.
    pub page: PageSource,
    /// The most links to follow in the plan of links.
    #[serde(default = "links_max")]
    pub links_max: usize,
    /// The most pages of a flow; 0 for no flow. Only pages that GET leads to are visited while planning.
    #[serde(default = "flow_pages_max")]
    pub flow_pages_max: usize,
    /// Hands the plans on as jobs, accepted when this one succeeds.
    #[serde(default)]
    pub enqueue: bool,
    /// The type of those jobs.
    #[serde(default = "job_type")]
    pub job_type: String,
    /// Their labels.
    #[serde(default)]
    pub labels: Option<serde_json::Map<String, Value>>,
}

fn links_max() -> usize {
    20
}

fn flow_pages_max() -> usize {
    6
}

fn job_type() -> String {
    "test_execution".to_owned()
}

/// A test that `execute_test` runs as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What it shows.
    pub name: String,
    /// `form`, `validation`, `links` or `flow`.
    pub kind: &'static str,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// `generate_plan`
pub async fn generate_plan(context: &Context, args: Args) -> ToolResult {
    let page = context.fetcher.page(&args.page).await?;
    let (url, title) = (page.url.clone(), page.title());
    let planning = tokio::task::spawn_blocking(move || of_page(&page, args.links_max).map(|plans| (page, plans))).await;
    let planned = planning.map_err(|error| ToolError::new(class::INTERNAL, format!("planning broke off: {error}")))?;
    let (page, mut plans) = planned?;
    if args.flow_pages_max > 1 && matches!(url.scheme(), "http" | "https" | "file") {
        plans.extend(flow::walk(context, page, args.flow_pages_max).await);
    }
    let counts = |kind: &str| plans.iter().filter(|plan| plan.kind == kind).count();
    let result = json!({
        "page": { "url": url.as_str(), "title": title },
        "counts": { "form": counts("form"), "validation": counts("validation"), "links": counts("links"), "flow": counts("flow") },
        "plans": plans,
    });
    let mut reply = Reply::new(result);
    if args.enqueue {
        let labels = args.labels.unwrap_or_default();
        let job = |plan: &Plan| json!({ "type": args.job_type, "payload": plan, "labels": labels });
        reply.ganger.enqueue = plans.iter().map(job).collect();
    }
    Ok(reply)
}

/// The plans that one page gives by itself.
fn of_page(page: &Page, links_max: usize) -> Result<Vec<Plan>, ToolError> {
    let mut plans = Vec::new();
    let budget = page.budget();
    let forms = page.elements().filter(|element| element.value().name() == "form").filter(is_visible).take(FORMS_MAX);
    for (at, form) in forms.enumerate() {
        let name = form_name(page, &form, at);
        let filling = fields::fill(page, form, budget)?;
        let sends = Step::new(format!("send {name}"), Action::Submit { target: Some(fields::handle(page, &form)) });
        let answered = Step::new("the site answers with success", Action::AssertStatus { status: None });
        let steps = [vec![load(page)], filling.clone(), vec![sends, answered]].concat();
        plans.push(Plan { name: format!("{name}: filled in well"), kind: "form", steps });
        for (field, steps) in fields::missing(page, form, &name, &filling).take(MISSING_MAX) {
            budget.check(fields::PLANNING)?;
            let steps = [vec![load(page)], steps].concat();
            plans.push(Plan { name: format!("{name}: without {field}"), kind: "validation", steps });
        }
    }
    let links = links(page, links_max, budget)?;
    if !links.is_empty() {
        plans.push(Plan { name: format!("links of {}", page.url.path()), kind: "links", steps: links });
    }
    Ok(plans)
}

fn load(page: &Page) -> Step {
    Step::new("open the page", Action::Load { url: page.url.to_string() })
}

/// What people call a form: its label, its heading, the button that sends it.
fn form_name(page: &Page, form: &ElementRef<'_>, at: usize) -> String {
    let own = [accessible_name_of_form(page, form), heading(form)];
    let button = || {
        let buttons =
            super::browser::controls_of(page, *form).filter(|(_, kind)| *kind == super::browser::Kind::Submit);
        buttons.map(|(button, _)| accessible_name(page, &button)).find(|name| !name.is_empty())
    };
    let named = own.into_iter().flatten().next().or_else(button).or_else(|| form.attr("id").map(str::to_owned));
    named.map_or_else(|| format!("form {}", at + 1), |name| format!("form {name:?}"))
}

fn accessible_name_of_form(page: &Page, form: &ElementRef<'_>) -> Option<String> {
    Some(label_of(page, form)).filter(|name| !name.is_empty())
}

fn heading(form: &ElementRef<'_>) -> Option<String> {
    let headings = |element: &ElementRef<'_>| matches!(element.value().name(), "h1" | "h2" | "h3" | "legend");
    form.descendent_elements()
        .find(headings)
        .map(|heading| super::page::visible_text(&heading))
        .filter(|text| !text.is_empty())
}

/// One visit for each page that is linked here and belongs to the same site.
fn links(page: &Page, most: usize, budget: Budget) -> Result<Vec<Step>, ToolError> {
    let base = page.base();
    let mut seen: Vec<Url> = Vec::new();
    let mut steps = Vec::new();
    for link in page.elements().filter(|element| element.value().name() == "a") {
        budget.check(fields::PLANNING)?;
        let Some(mut url) = link.attr("href").and_then(|href| base.join(href.trim()).ok()) else { continue };
        url.set_fragment(None);
        if url.origin() != page.url.origin()
            || url.scheme() != page.url.scheme()
            || url == page.url
            || seen.contains(&url)
            || !is_visible(&link)
        {
            continue;
        }
        if seen.len() == most {
            break;
        }
        let name = accessible_name(page, &link);
        seen.push(url);
        steps.push(load(page));
        steps.push(Step::new(
            format!("follow {name:?}"),
            Action::Follow { target: Target::Css(fields::path_to(page, &link)) },
        ));
        steps.push(Step::new(format!("{name:?} leads to a page"), Action::AssertStatus { status: None }));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests;
