//! A flow over several pages: the way that the site itself proposes.
//!
//! While planning, only pages that GET leads to are visited. A form that is sent by POST ends the flow; it is
//! part of the plan, and nothing is sent to the site.

use scraper::ElementRef;

use super::super::Context;
use super::super::browser::{Action, Browser, Step, Target};
use super::super::page::{Page, accessible_name, is_visible};
use super::super::reply::ToolError;
use super::{Plan, fields, form_name, load};

/// Words of links that lead on, as sites for people use them.
const ONWARD: [&str; 12] = [
    "book", "buy", "choose", "select", "continue", "next", "checkout", "order", "start", "reserve", "tickets", "seats",
];

/// What leads on from a page.
struct Onward {
    steps: Vec<Step>,
    /// Whether it was sent by POST: then nobody goes there while planning.
    last: bool,
}

/// The flow that begins on this page, if it has more than one.
pub(super) async fn walk(context: &Context, page: Page, pages_max: usize) -> Option<Plan> {
    let mut browser = Browser::new(context);
    let mut steps = vec![load(&page)];
    let mut seen = vec![page.url.clone()];
    browser.show(page);
    let mut pages = 1;
    while pages < pages_max {
        let Some(Ok(Some(onward))) = browser.page().map(onward) else { break };
        pages += 1;
        if onward.last {
            steps.extend(onward.steps);
            break;
        }
        if perform(&mut browser, &onward.steps).await.is_none() {
            break;
        }
        let here = browser.page().map(|page| page.url.clone())?;
        if seen.contains(&here) {
            break;
        }
        seen.push(here);
        steps.extend(onward.steps);
    }
    let from = seen.first()?.path().to_owned();
    steps.push(Step::new("the site answers with success", Action::AssertStatus { status: None }));
    (pages > 2).then(|| Plan { name: format!("flow from {from} over {pages} pages"), kind: "flow", steps })
}

/// A site that does not let itself be walked has a shorter flow, no error.
async fn perform(browser: &mut Browser, steps: &[Step]) -> Option<()> {
    for step in steps {
        browser.perform(step).await.ok()?;
    }
    Some(())
}

/// What leads on: a form of the page's own part, or else a link whose words say so.
fn onward(page: &Page) -> Result<Option<Onward>, ToolError> {
    let budget = page.budget();
    let main = page.elements().find(|element| element.value().name() == "main");
    let inside =
        |element: &ElementRef<'_>| main.is_none_or(|main| element.ancestors().any(|above| above.id() == main.id()));
    let mut forms =
        page.elements().filter(|element| element.value().name() == "form").filter(is_visible).filter(inside);
    if let Some(form) = forms.next() {
        let mut steps = fields::fill(page, form, budget)?;
        let name = form_name(page, &form, 0);
        steps.push(Step::new(format!("send {name}"), Action::Submit { target: Some(fields::handle(page, &form)) }));
        let last = form.attr("method").is_some_and(|method| method.trim().eq_ignore_ascii_case("post"));
        return Ok(Some(Onward { steps, last }));
    }
    let mut links = page.elements().filter(|element| element.value().name() == "a").filter(inside).filter(is_visible);
    let leads = |link: &ElementRef<'_>| {
        let name = accessible_name(page, link).to_lowercase();
        link.attr("href").is_some() && name.split(|c: char| !c.is_alphanumeric()).any(|word| ONWARD.contains(&word))
    };
    Ok(links.find(leads).map(|link| {
        let name = accessible_name(page, &link);
        let follow = Action::Follow { target: Target::Css(fields::path_to(page, &link)) };
        Onward { steps: vec![Step::new(format!("follow {name:?}"), follow)], last: false }
    }))
}
