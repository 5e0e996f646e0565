//! The tools on one repository, as the daemon calls them.

use serde_json::{Value, json};

use crate::platform::testing::{call, context};

const OLD: &str = "<main><form id=booking><label for=mail>E-mail</label><input id=mail name=email type=email>\
    <button id=book class=buy>Book now</button><a href=/cancel>Cancel</a></form></main>";

/// The same form after a redesign.
const NEW: &str = "<div class=page><form class=c1><span>Your mail</span><input id=contact-mail name=contact_email type=email>\
    <a href=/cancel class=b2>Cancel</a><button id=reserve class='b2 main'>Book now</button></form></div>";

fn at_book(html: &str) -> Value {
    json!({ "html": html, "url": "http://site.test/book" })
}

#[tokio::test]
async fn an_element_goes_from_generation_to_healing() {
    let context = context();
    let made = call(&context, "generate_locators", json!({ "page": at_book(OLD) })).await.unwrap().result;
    assert_eq!((&made["complete"], &made["found"], &made["missing"]), (&json!(true), &json!(3), &json!(0)));
    let element = "http://site.test/book#book-now-button";
    let listed = made["elements"].as_array().unwrap().iter().find(|one| one["element"] == element).unwrap();
    assert_eq!(listed["locators"][0]["value"], "#book");

    let unbroken = call(&context, "heal_element", json!({ "page": at_book(OLD), "element": element })).await.unwrap();
    assert_eq!(unbroken.result, json!({ "element": element, "broken": false, "healed": false }));

    let question = json!({ "page": at_book(NEW), "element": element, "locator": "#book", "threshold": 0.5 });
    let healed = call(&context, "heal_element", question).await.unwrap();
    assert_eq!(
        (&healed.result["healed"], &healed.result["old_locator"]),
        (&json!(true), &json!("css=#book")),
        "{}",
        healed.result
    );
    let kinds: Vec<&Value> = healed.ganger.observations.iter().map(|seen| &seen["kind"]).collect();
    assert_eq!(kinds, ["cache_lookup", "healing"]);
    assert_eq!(healed.ganger.observations[1]["healed"], true);
    assert!(healed.ganger.review.is_none());
    let record = context.repository.find("book-now-button").await.unwrap().record.unwrap();
    assert_eq!((record.version, record.locators[0].value.as_str()), (2, "#reserve"));
    let known = context.elements.locate(element).await.unwrap().unwrap();
    assert_eq!(known.selectors[0], "#reserve");
}

#[tokio::test]
async fn what_is_not_sure_goes_to_a_person_and_is_applied_when_approved() {
    let context = context();
    call(&context, "generate_locators", json!({ "page": at_book(OLD) })).await.unwrap();
    let question = json!({ "page": at_book(NEW), "locator": "#mail", "threshold": 1.0 });
    let unsure = call(&context, "heal_element", question).await.unwrap();
    assert_eq!(unsure.result["healed"], false);
    let review = unsure.ganger.review.unwrap();
    assert_eq!(review["proposal"]["element"], "http://site.test/book#e-mail-field");
    assert!(!review["evidence"]["candidates"].as_array().unwrap().is_empty());
    assert!(review["evidence"]["page_excerpt"].as_str().unwrap().contains("Book now"));
    let job = &review["on_approve"][0];
    assert_eq!(job["type"], "apply_healing");
    let applied = call(&context, "apply_healing", job["payload"].clone()).await.unwrap();
    assert_eq!(applied.result["applied"], true);
    let record = context.repository.find("e-mail-field").await.unwrap().record.unwrap();
    assert_eq!((record.version, &*record.locators[0].value), (2, "#contact-mail"));
    let versions = context.repository.versions(&record).await.unwrap();
    assert_eq!(versions[0].made_by, "approved");

    // Whoever edits the proposal means what was written.
    let mut edited = job["payload"].clone();
    edited["proposal"]["locator"] = json!("//input[@type='email']");
    call(&context, "apply_healing", edited).await.unwrap();
    let record = context.repository.find("e-mail-field").await.unwrap().record.unwrap();
    assert_eq!((record.locators.len(), &*record.locators[0].value), (1, "//input[@type='email']"));

    // What nobody can read is refused, and nothing is kept of it.
    for wrong in ["///[[", "##m[[", "role=button", "(//a", "", "xpath=count(//a)"] {
        let mut odd = job["payload"].clone();
        odd["proposal"]["locator"] = json!(wrong);
        let error = call(&context, "apply_healing", odd).await.unwrap_err();
        assert_eq!(error.class, "bad_arguments", "{wrong}");
        assert!(error.message.contains("the proposal's locator") && error.message.contains(wrong), "{}", error.message);
    }
    let after = context.repository.find("e-mail-field").await.unwrap().record.unwrap();
    assert_eq!(after.version, record.version);
}

#[tokio::test]
async fn failures_have_their_classes() {
    let context = context();
    let class = async |tool: &str, arguments: Value| call(&context, tool, arguments).await.unwrap_err().class;
    let page = at_book(OLD);
    assert_eq!(
        class("heal_element", json!({ "page": at_book("<p>nothing here</p>"), "locator": "#book" })).await,
        "element_not_found"
    );
    assert_eq!(class("heal_element", json!({ "page": page, "element": "nobody" })).await, "bad_arguments");
    assert_eq!(
        class("heal_element", json!({ "page": page, "locator": "#gone", "budget_ms": 0 })).await,
        "dom_analysis_timeout"
    );
    assert_eq!(class("heal_element", json!({ "page": page, "locator": "#x", "threshold": 2 })).await, "bad_arguments");
    assert_eq!(class("heal_element", json!({ "page": at_book("{}"), "locator": "#x" })).await, "not_html");
    assert_eq!(class("generate_locators", json!({ "page": at_book(&"<div>".repeat(2_000)) })).await, "page_too_large");
    assert_eq!(
        class("generate_locators", json!({ "page": page, "elements": [{ "locator": "#no" }] })).await,
        "element_not_found"
    );
    assert_eq!(
        class("generate_locators", json!({ "page": page, "elements": [{ "locator": "main *" }] })).await,
        "bad_arguments"
    );
    assert_eq!(
        class("apply_healing", json!({ "proposal": { "element": "nobody", "locator": "#x" } })).await,
        "bad_arguments"
    );
    let many = "<a href=/x>same</a>".repeat(60_000);
    assert_eq!(
        class("generate_locators", json!({ "page": at_book(&many), "budget_ms": 1 })).await,
        "dom_analysis_timeout"
    );
}

#[tokio::test]
async fn pages_are_looked_at_again_when_the_cache_is_warmed() {
    let context = context();
    call(&context, "generate_locators", json!({ "page": at_book(OLD) })).await.unwrap();
    let changed = OLD.replace("id=book ", "id=buy ").replace("Book now", "Reserve");
    let warmed =
        call(&context, "warm_cache", json!({ "priority": "high", "pages": [at_book(&changed)], "heal": true }))
            .await
            .unwrap();
    let expected = json!(["http://site.test/book#book-now-button"]);
    assert_eq!(
        (&warmed.result["loaded"], &warmed.result["checked"], &warmed.result["broken"]),
        (&json!(3), &json!(3), &expected)
    );
    assert_eq!(warmed.ganger.enqueue[0]["type"], "element_healing");
    let found = context.repository.find("http://site.test/book#cancel-link").await.unwrap();
    assert_eq!(found.observations, [json!({ "kind": "cache_lookup", "cache_level": "l1", "hit": true })]);
}
