use std::time::Duration;

use url::Url;

use super::*;
use crate::platform::page::{Limits, selector};

const OLD: &str = "<title>Booking</title><main><h1>Book a seat</h1><form id=booking><p>Enter who travels</p>\
    <label for=mail>E-mail</label><input id=mail name=email type=email placeholder='you@example.org'>\
    <label for=pw>Password</label><input id=pw name=password type=password>\
    <button id=book class='btn buy'>Book now</button><a href=/cancel class=btn>Cancel</a></form></main>";

fn page(html: &str) -> Page {
    Page::parse(Url::parse("http://site.test/book").unwrap(), html, &Limits::default()).unwrap()
}

fn print(css: &str) -> Fingerprint {
    let page = page(OLD);
    let survey = Survey::of(&page);
    let element = page.select(&selector(css).unwrap()).next().unwrap();
    Fingerprint::of(&page, &survey, survey.number_of(element).unwrap())
}

/// The id or address of the element that is found, the strategy and the confidence.
fn found(html: &str, old: &Fingerprint) -> Option<(String, Strategy, f64)> {
    let page = page(html);
    let survey = Survey::of(&page);
    let deadline = Instant::now() + Duration::from_secs(60);
    let healing = heal(&page, &survey, old, &Rivals::default(), &Weights::default(), deadline).unwrap()?;
    let best = healing.best();
    let element = survey.at(best.at);
    let name = element.attribute("id").or(element.attribute("href")).unwrap_or(element.tag());
    Some((name.to_owned(), best.strongest(), healing.confidence))
}

#[test]
fn a_redesign_is_seen_through() {
    let new = "<title>Booking</title><div class=page><header><a href=/>Home</a></header><h2>Book a seat</h2>\
        <form class=sc-x1><p>Enter who travels</p><div><span>Your mail address</span>\
        <input id=f1 name=contact_email type=email placeholder='you@example.org'></div>\
        <div><input id=f2 name=secret type=password aria-label='Password'></div>\
        <div class=actions><a href=/cancel class=b2>Cancel</a><button id=f3 class='b2 b2-main'>Reserve</button></div></form></div>";
    for (css, expected) in [("#mail", "f1"), ("#pw", "f2"), ("#book", "f3"), ("a", "/cancel")] {
        let (name, strategy, confidence) = found(new, &print(css)).unwrap();
        assert_eq!(name, expected, "{css}: {strategy:?} {confidence}");
    }
}

#[test]
fn the_strongest_strategy_is_named() {
    let strategy = |html: &str, css: &str| found(html, &print(css)).unwrap().1;
    let swapped = OLD.replace("Book now", "Go").replace("btn buy", "x").replace("E-mail", "Contact");
    assert_eq!(strategy(&swapped, "#book"), Strategy::IdMatch);
    assert_eq!(strategy(&OLD.replace("id=book ", "id=q7f3a9 "), "#book"), Strategy::AttributeMatch);
    assert_eq!(strategy(&OLD.replace("id=book class='btn buy'", "class=zz type=submit"), "#book"), Strategy::TextMatch);
    assert_eq!(
        strategy(&OLD.replace("id=book class='btn buy'>Book now", "class=zz type=submit>Reserve now"), "#book"),
        Strategy::SemanticMatch
    );
}

#[test]
fn what_is_gone_or_twice_there_is_not_sure() {
    let gone = OLD.replace("<button id=book class='btn buy'>Book now</button>", "");
    let (_, _, confidence) = found(&gone, &print("#book")).unwrap();
    assert!(confidence < THRESHOLD, "{confidence}");
    let twice = OLD.replace(
        "<button id=book class='btn buy'>Book now</button>",
        "<button class='btn buy'>Book now</button><button class='btn buy'>Book now</button>",
    );
    let (_, _, confidence) = found(&twice, &print("#book")).unwrap();
    assert!(confidence < THRESHOLD, "{confidence}");
    let (_, _, unchanged) = found(OLD, &print("#book")).unwrap();
    assert!(unchanged > 0.95, "{unchanged}");
    assert!(found("<p>nothing to press</p>", &print("#book")).is_none());
}

#[test]
fn time_is_bounded() {
    let many = "<a href=/x>same</a>".repeat(20_000);
    let page = page(&many);
    let survey = Survey::of(&page);
    let error = heal(&page, &survey, &print("a"), &Rivals::default(), &Weights::default(), Instant::now()).unwrap_err();
    assert_eq!(error.class, "dom_analysis_timeout");
    let generated = crate::platform::locators::generate(&page, &survey, &[3, 4, 5], Instant::now());
    assert_eq!((generated.done.len(), generated.missing.len()), (0, 3));
}

#[test]
fn what_another_element_claims_is_not_taken() {
    let gone = page(&OLD.replace("<a href=/cancel class=btn>Cancel</a>", "").replace("Book now", "Book"));
    let with = "<a href=/cancel class=btn>Cancel</a><a href=/skip class=btn>Skip</a>";
    let old = page(&OLD.replace("<a href=/cancel class=btn>Cancel</a>", with));
    let new = page(&OLD.replace("<a href=/cancel class=btn>Cancel</a>", "<a href=/skip class=btn>Skip</a>"));
    let survey = Survey::of(&old);
    let prints: Vec<Fingerprint> =
        (0..survey.len()).map(|at| Fingerprint::of(&old, &survey, at)).filter(|print| print.interactive).collect();
    let (wanted, others): (Vec<_>, Vec<_>) = prints.into_iter().partition(|print| print.text == "Cancel");
    let deadline = Instant::now() + Duration::from_secs(60);
    let confidence = |page: &Page, rivals: &Rivals| {
        heal(page, &Survey::of(page), &wanted[0], rivals, &Weights::default(), deadline).unwrap().unwrap().confidence
    };
    let (alone, among) = (confidence(&new, &Rivals::default()), confidence(&new, &Rivals::of(others.clone())));
    assert!(among < alone && among < 0.5, "{among} and {alone}");
    assert!(confidence(&gone, &Rivals::of(others)) < THRESHOLD);
}

/// The same page of the booking site before and after its redesign, and which element became which.
#[test]
fn the_booking_site_is_found_again_after_its_redesign() {
    const PAIRS: [(&str, &str); 9] = [
        ("#name", "[name='customer[name]']"),
        ("#email", "[name='customer[email]']"),
        ("#phone", "[name='customer[phone]']"),
        ("#delivery", "select"),
        ("#notes", "textarea"),
        ("#terms", "[name=terms]"),
        ("#confirm", "[data-testid=pay]"),
        ("#pay-card", "[value=card]"),
        ("#pay-invoice", "[value=invoice]"),
    ];
    let old = page(include_str!("../../../examples/booking-site/v1/checkout.html"));
    let new = page(include_str!("../../../examples/booking-site/v2/checkout.html"));
    let (before, after) = (Survey::of(&old), Survey::of(&new));
    let only = |page: &Page, survey: &Survey<'_>, css: &str| {
        let element = page.select(&selector(css).unwrap()).next().unwrap();
        survey.number_of(element).unwrap()
    };
    let all: Vec<(usize, Fingerprint)> = (0..before.len()).map(|at| (at, Fingerprint::of(&old, &before, at))).collect();
    let mut right = 0;
    for (was, is) in PAIRS {
        let own = only(&old, &before, was);
        let rivals = Rivals::of(
            all.iter().filter(|(at, print)| *at != own && print.interactive).map(|(_, print)| print.clone()),
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        let healing = heal(&new, &after, &all[own].1, &rivals, &Weights::default(), deadline).unwrap().unwrap();
        let is_right = healing.best().at == only(&new, &after, is);
        right += usize::from(is_right);
        println!("{was}: {is_right} {:?} {:.3} {:?}", healing.best().strongest(), healing.confidence, healing.facts);
        assert!(is_right || healing.confidence < THRESHOLD, "{was} was healed to something else");
    }
    assert!(right >= 8, "{right} of {}", PAIRS.len());
}
