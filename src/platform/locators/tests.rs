use scraper::Selector;
use url::Url;

use super::survey::Survey;
use super::{Batch, By, Locator, RankedLocator, Strategy, deadline_in, generate, resolve};
use crate::platform::page::{Limits, Page, is_interactive};

/// Everything that makes locators hard: names of programs, names of nobody, odd quotes, twins, SVG, templates.
const HARD: &str = r##"<!doctype html><title>t</title><body class="css-1q2w3e">
<nav id="top"><ul><li><a href="/">Home</a><li><a href="/help" class="nav-link help-link">Help</a></ul></nav>
<main><form id="f" action="/go"><label for="mail">E-mail *</label><input id="mail" name="email" type="email">
<label>Remember me <input type="checkbox" name="keep" value="1"></label>
<input type="radio" name="class" value="first"><input type="radio" name="class" value="second">
<input id="input_8f3a9c" placeholder="it's &quot;odd&quot;"><input TYPE="Search"><button data-testid="buy:now">Buy it's "now"</button>
<select name="n[]"><option>1</select><input type="submit" value="Go"></form>
<table><tr id="r1"><td>One<td><a href="#" class="edit">Edit</a><tr id="r2"><td>Two<td><a href="#" class="edit">Edit</a></table>
<div role="button" tabindex="0" aria-label="Close  dialog"></div><a href="/x"><svg><a href="/y"><text>Help</text></a></svg></a>
<p><a href="/dup">Same</a> <a href="/dup">Same</a></p><a id="dup" href="?a=1">1</a><a id="dup" href="?a=2">2</a>
<template><a href="/help">Help</a><input name="email"></template><x-button onclick="go()">Custom</x-button>
<a id="1a.b:c" name="a\b" href='/q?x="1"'>q</a></main></body>"##;

fn page(html: &str) -> Page {
    Page::parse(Url::parse("http://site.test/").unwrap(), html, &Limits::default()).unwrap()
}

fn all(page: &Page) -> (Survey<'_>, Batch) {
    let survey = Survey::of(page);
    let targets: Vec<usize> = (0..survey.len()).filter(|at| is_interactive(&survey.at(*at).element)).collect();
    let batch = generate(page, &survey, &targets, deadline_in(60_000));
    (survey, batch)
}

fn locators<'b>(survey: &Survey<'_>, batch: &'b Batch, is_it: impl Fn(&str, &str) -> bool) -> &'b [RankedLocator] {
    let named = |at: usize| {
        is_it(survey.at(at).tag(), survey.at(at).attribute("id").or(survey.at(at).attribute("href")).unwrap_or(""))
    };
    &batch.done.iter().find(|located| named(located.at)).unwrap().locators
}

#[test]
fn every_locator_selects_its_element_and_no_other() {
    let page = page(HARD);
    let (survey, batch) = all(&page);
    assert!(batch.missing.is_empty() && batch.done.len() >= 20, "{}", batch.done.len());
    for located in &batch.done {
        assert!(located.locators.len() >= 2, "{:?}", located.locators);
        for ranked in &located.locators {
            assert_eq!(resolve(&page, &survey, &ranked.locator()).unwrap(), [located.at], "{}", ranked.locator());
            if ranked.by == By::Css {
                // Scraper's own search knows nothing of the survey.
                let found: Vec<_> =
                    page.dom.select(&Selector::parse(&ranked.value).unwrap()).map(|found| found.id()).collect();
                let own = survey.at(located.at).element.id();
                assert!(
                    found.contains(&own)
                        && found.iter().filter(|id| survey.number_of(page.element(**id).unwrap()).is_some()).count()
                            == 1
                );
            }
        }
    }
}

#[test]
fn what_people_named_comes_first_and_what_programs_made_last() {
    let page = page(HARD);
    let (survey, batch) = all(&page);
    let first = |id: &str| {
        let best = &locators(&survey, &batch, |_, name| name == id)[0];
        (best.strategy, best.locator().to_string())
    };
    assert_eq!(first("mail"), (Strategy::Id, "css=#mail".to_owned()));
    assert_eq!(first("input_8f3a9c").0, Strategy::Attribute);
    let button = &locators(&survey, &batch, |tag, _| tag == "button")[0];
    assert_eq!(button.locator().to_string(), "css=[data-testid=\"buy:now\"]");
    let mail: Vec<Strategy> =
        locators(&survey, &batch, |_, name| name == "mail").iter().map(|one| one.strategy).collect();
    for strategy in [Strategy::Id, Strategy::Name, Strategy::Aria, Strategy::Label, Strategy::CssPath, Strategy::Xpath]
    {
        assert!(mail.contains(&strategy), "{strategy:?} is not in {mail:?}");
    }
    assert!(mail.len() >= 6);
}

#[test]
fn twins_are_told_apart_by_what_they_stand_in() {
    let page = page(HARD);
    let (survey, batch) = all(&page);
    let edits: Vec<_> = batch.done.iter().filter(|located| located.fingerprint.text == "Edit").collect();
    assert_eq!(edits.len(), 2);
    for (edit, row) in edits.iter().zip(["r1", "r2"]) {
        let best = &edit.locators[0];
        assert!(best.value.contains(row), "{best:?}");
        assert_eq!(resolve(&page, &survey, &best.locator()).unwrap(), [edit.at]);
    }
}

#[test]
fn a_page_of_thousands_is_done_and_a_deadline_is_kept() {
    let row = |at| format!("<li class=row><a href='/item/{at}'>Item {at}</a><button>Delete</button></li>");
    let rows = (0..4_000).map(row).collect::<Vec<_>>().concat();
    let page = page(&format!("<ul id=list>{rows}</ul>"));
    let (survey, batch) = all(&page);
    assert_eq!((batch.done.len(), batch.missing.len()), (8_000, 0));
    let last = batch.done.last().unwrap();
    assert!(last.locators.len() >= 3, "{:?}", last.locators);
    for ranked in &last.locators {
        assert_eq!(resolve(&page, &survey, &ranked.locator()).unwrap(), [last.at], "{}", ranked.locator());
    }
    let targets: Vec<usize> = batch.done.iter().map(|located| located.at).collect();
    let late = generate(&page, &survey, &targets, tokio::time::Instant::now());
    assert_eq!((late.done.len(), late.missing.len()), (0, 8_000));
}

#[test]
fn identical_and_deeply_nested_elements_still_have_a_locator() {
    let same = page(&"<button>x</button>".repeat(3_000));
    let (survey, batch) = all(&same);
    assert_eq!(batch.done.len(), 3_000);
    let last = batch.done.last().unwrap();
    assert_eq!(resolve(&same, &survey, &last.locators[0].locator()).unwrap(), [last.at]);
    let deep = page(&format!("{}<a href=/x>deep</a>", "<div>".repeat(500)));
    let (survey, batch) = all(&deep);
    assert_eq!(resolve(&deep, &survey, &batch.done[0].locators[0].locator()).unwrap(), [batch.done[0].at]);
    // One label for everything, and all labels for one id: names are asked of so many elements at most.
    let labels = page(&format!("{}{}", "<label>".repeat(250), "<input id=x><label for=x>x</label>".repeat(2_000)));
    assert_eq!(all(&labels).1.done.len(), 2_000);
}

#[test]
fn written_locators_are_read_and_nonsense_is_refused() {
    let page = page(HARD);
    let survey = Survey::of(&page);
    let count = |text: &str| resolve(&page, &survey, &Locator::written(text)).map(|found| found.len());
    assert_eq!(count("css=#top a"), Ok(2));
    assert_eq!(count("//nav//a"), Ok(2));
    assert_eq!(count("role=button[name=\"Close dialog\"]"), Ok(1));
    assert_eq!(count("#nowhere"), Ok(0));
    for nonsense in ["", "css=", "a[[", "//a[", "role=button", "xpath=concat('a','b')", &"a".repeat(5_000)] {
        assert_eq!(count(nonsense).unwrap_err().class, "bad_arguments", "{nonsense:.20}");
    }
}
