//! The browser on real pages over real HTTP: the booking site, and a server that is as odd as it has to be.

use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::http::{Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{any, get};
use serde_json::{Value, json};

use super::super::Settings;
use super::super::elements::{Broken, Elements, Healed, Known};
use super::super::observation::cache_lookup;
use super::super::page::Limits;
use super::super::reply::ToolError;
use super::super::site::Version;
use super::super::testing::{call, context, context_with, fails, impatient, passes, serve, site, with_elements};

fn booking_v1() -> Value {
    json!([
        { "action": "load", "url": "/" },
        { "action": "fill", "target": "#q", "value": "hamlet" },
        { "action": "submit", "target": "#search-button" },
        { "action": "assert_url", "contains": "q=hamlet" },
        { "action": "assert_element", "target": ".show-row", "count": 1 },
        { "action": "follow", "target": { "text": "Book Hamlet" } },
        { "name": "seats", "action": "policy", "policy": "seating_selection", "rules": { "count": 3, "max_price": 52.50 } },
        { "action": "submit" },
        { "action": "assert_text", "target": "#total", "text": "€156" },
        { "action": "fill", "target": "#name", "value": "Ada Lovelace" },
        { "action": "fill", "target": { "label": "E-mail address" }, "value": "ada@example.org" },
        { "action": "select", "target": "#delivery", "option": "By post" },
        { "action": "assert_value", "target": "#delivery", "value": "post" },
        { "action": "check", "target": { "label": "Invoice" } },
        { "action": "assert_invalid" },
        { "action": "click", "target": { "text": "I accept the terms" } },
        { "action": "click", "target": { "role": "button", "name": "Confirm booking" } },
        { "action": "assert_status", "status": 200 },
        { "action": "assert_url", "url": "/bookings/CC-00001" },
        { "action": "assert_text", "text": "Thank you, Ada Lovelace" }
    ])
}

#[tokio::test]
async fn a_booking_is_made_on_the_old_site() {
    let (site, server) = site(Version::V1).await;
    let result = passes(&context(), &server.url, booking_v1()).await;
    assert_eq!(site.bookings(), 1);
    let seats = &result["steps"][6];
    assert_eq!((&seats["seats"], &seats["total"]), (&json!(["C-1", "C-2", "C-3"]), &json!(156.0)));
    assert_eq!(seats["considered"], 8 * 14);
}

#[tokio::test]
async fn a_booking_is_made_on_the_new_site_by_other_names() {
    let (site, server) = site(Version::V2).await;
    let steps = json!([
        { "action": "load", "url": "/" },
        { "action": "select", "target": { "role": "combobox", "name": "Category" }, "option": "Theatre" },
        { "action": "submit", "target": { "text": "Find shows" } },
        { "action": "assert_element", "target": "article", "count": 2 },
        { "action": "follow", "target": "[data-show=hamlet] a" },
        { "action": "policy", "policy": "seating_selection", "rules": { "count": 2, "accessible": 1 } },
        { "action": "click", "target": { "text": "Go to checkout" } },
        { "action": "fill", "target": { "label": "Email" }, "value": "ada@example.org" },
        { "action": "fill", "target": { "label": "Your name" }, "value": "Ada <Lovelace>" },
        { "action": "check", "target": { "label": "Pay by card" } },
        { "action": "check", "target": { "label": "I agree to the terms of sale" } },
        { "action": "submit", "target": { "text": "Complete purchase" } },
        { "action": "assert_text", "target": "[data-testid=seats]", "text": "H-2, H-3" },
        { "action": "assert_text", "text": "Ada <Lovelace>" }
    ]);
    passes(&context(), &server.url, steps).await;
    assert_eq!(site.bookings(), 1);
}

#[tokio::test]
async fn what_the_old_test_says_is_not_found_after_the_redesign() {
    let (site, server) = site(Version::V1).await;
    site.redesign(Version::V2);
    let error =
        call(&context(), "execute_test", json!({ "name": "booking", "base_url": server.url, "steps": booking_v1() }))
            .await
            .unwrap_err();
    assert_eq!(error.class, "element_not_found");
    assert!(
        error.message.starts_with("booking, step 2 of 20 (without a name): no element fits \"#q\" on http://"),
        "{error}"
    );
    let evidence = error.evidence.unwrap();
    assert_eq!(evidence["selector"], "#q");
    assert_eq!(evidence["failed_step"], 2);
    assert_eq!(evidence["page"]["title"], "Curtain Call | Live on stage");
    assert!(evidence["excerpt"].as_str().unwrap().contains("What would you like to see?"), "{evidence}");
    assert_eq!(evidence["test"]["steps"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_taken_seat_is_refused_and_the_refusal_is_a_page() {
    let (site, server) = site(Version::V1).await;
    let seat = json!([
        { "action": "load", "url": "/shows/tempest" },
        { "action": "check", "target": "#seat-C-6" }
    ]);
    let (class, message) = fails(&context(), &server.url, seat).await;
    assert_eq!(class, "element_not_found");
    assert!(message.contains("disabled"), "{message}");
    let refusal = json!([
        { "action": "load", "url": "/checkout?show=tempest&seat=C-6&seat=A-1" },
        { "action": "assert_status", "status": 409 },
        { "action": "assert_text", "target": "#reason", "text": "Somebody else has C-6." },
        { "action": "load", "url": "/checkout?show=tempest" },
        { "action": "assert_status", "status": 422 },
        { "action": "load", "url": "/nowhere" },
        { "action": "assert_status", "status": 404 }
    ]);
    passes(&context(), &server.url, refusal).await;
    assert_eq!(site.bookings(), 0);
}

#[tokio::test]
async fn a_policy_that_cannot_be_obeyed_fails_and_is_measured_all_the_same() {
    let (_site, server) = site(Version::V2).await;
    let steps = json!([
        { "action": "load", "url": "/shows/hamlet" },
        { "action": "policy", "policy": "seating_selection", "rules": { "count": 15 } }
    ]);
    let error = call(&context(), "execute_test", json!({ "base_url": server.url, "steps": steps })).await.unwrap_err();
    assert_eq!(error.class, "assertion_failure");
    assert!(error.message.contains("no 15 free seats side by side"), "{error}");
    let measured = &error.ganger.observations[0];
    assert_eq!((&measured["kind"], &measured["policy"]), (&json!("policy_evaluation"), &json!("seating_selection")));
    assert!(measured["duration_ms"].as_f64().unwrap() > 0.0);
}

/// Answers with what it got.
async fn echo(method: Method, RawQuery(query): RawQuery, body: Bytes) -> Html<String> {
    let body = String::from_utf8(body.to_vec()).unwrap().replace('&', "&amp;");
    let query = query.unwrap_or_default().replace('&', "&amp;");
    Html(format!("<p id=method>{method}</p><p id=query>{query}</p><p id=body>{body}</p>"))
}

const FORM: &str = r#"<!DOCTYPE html><form id=f action="/echo?old=1" method=post>
  <input name=text value="a b"><input name=empty><input value=nameless><input type=hidden name=h value=1>
  <textarea name=area>
two
lines</textarea>
  <input type=checkbox name=box checked><input type=checkbox name=off value=x>
  <input type=radio name=r value=1 checked><input type=radio name=r value=2 id=r2>
  <select name=one><option disabled>no<option>first<option value=2>second</select>
  <select name=many multiple><option>x<option>y<option>z</select>
  <input name=gone disabled><fieldset disabled><legend><input name=legend value=l></legend><input name=inside value=no></fieldset>
  <datalist><input name=listed></datalist><input type=file name=file>
  <button name=b value=1>One</button><button name=b value=2 formaction="/echo" formmethod=get>Two</button>
  <input type=image name=pic alt=Picture><button type=button id=plain>Nothing</button>
</form><input form=f name=outside value=o><a href="?x=1#part">Part</a><a href="javascript:go()">Script</a>"#;

#[tokio::test]
async fn forms_are_sent_as_the_standard_has_it() {
    let server = serve(Router::new().route("/", get(|| async { Html(FORM) })).route("/echo", any(echo))).await;
    let all = "text=a+b&empty=&h=1&area=two%0D%0Alines&box=on&r=1&one=first&legend=l&file=&b=1&outside=o";
    let steps = json!([
        { "action": "load", "url": "/" },
        { "action": "submit" },
        { "action": "assert_text", "target": "#method", "text": "POST" },
        { "action": "assert_text", "target": "#query", "text": "old=1" },
        { "action": "assert_text", "target": "#body", "text": all },
        { "action": "load", "url": "/" },
        { "action": "check", "target": "#r2" },
        { "action": "uncheck", "target": "[name=box]" },
        { "action": "select", "target": "[name=many]", "option": ["x", "z"] },
        { "action": "select", "target": "[name=one]", "option": "second" },
        { "action": "assert_value", "target": "[name=one]", "value": "2" },
        { "action": "fill", "target": "[name=text]", "value": "é\n&" },
        { "action": "click", "target": { "text": "Two" } },
        { "action": "assert_text", "target": "#method", "text": "GET" },
        { "action": "assert_text", "target": "#query", "text":
            "text=%C3%A9%26&empty=&h=1&area=two%0D%0Alines&r=2&one=2&many=x&many=z&legend=l&file=&b=2&outside=o" },
        { "action": "load", "url": "/" },
        { "action": "click", "target": "[name=pic]" },
        { "action": "assert_text", "target": "#body", "text": "pic.x=0&pic.y=0&outside=o" },
        { "action": "load", "url": "/" },
        { "action": "follow", "target": { "text": "Part" } },
        { "action": "assert_url", "url": "/?x=1#part" }
    ]);
    passes(&context(), &server.url, steps).await;
    for (step, words) in [
        (json!({ "action": "click", "target": "#plain" }), "does nothing without scripts"),
        (json!({ "action": "follow", "target": { "text": "Script" } }), "leads to no page"),
        (json!({ "action": "select", "target": "[name=one]", "option": "third" }), "it has no, first, 2"),
        (json!({ "action": "fill", "target": "[name=box]", "value": "x" }), "nothing to type into"),
        (json!({ "action": "fill", "target": { "css": "a", "text": "b" }, "value": "x" }), "a target is one of"),
        (json!({ "action": "assert_value", "target": "[name=text]", "value": "x" }), "holds \"a b\", not \"x\""),
    ] {
        let (_, message) = fails(&context(), &server.url, json!([{ "action": "load", "url": "/" }, step])).await;
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn a_form_that_a_browser_would_not_send_is_not_sent() {
    for (field, typed, why) in [
        ("<input name=x required>", "", "required"),
        ("<textarea name=x required></textarea>", "", "required"),
        ("<input name=x type=email>", "no address", "no e-mail"),
        ("<input name=x type=url>", "no url", "no URL"),
        ("<input name=x type=number min=2>", "1", "less than 2"),
        ("<input name=x type=number max=2>", "3", "more than 2"),
        ("<input name=x type=number step=0.1>", "0.25", "steps"),
        ("<input name=x type=number>", "many", "no number"),
        ("<input name=x type=date min=2030-01-02>", "2030-01-01", "before"),
        ("<input name=x type=time max=20:00>", "20:30", "after"),
        ("<input name=x pattern='[A-Z]{2}\\d+'>", "xAB1", "match"),
        ("<input name=x minlength=3>", "ab", "fewer"),
        ("<input name=x maxlength=3>", "abcd", "more than 3"),
    ] {
        let html = format!("<form action=http://127.0.0.1:1/>{field}<button>Send</button></form>");
        let fill = json!({ "action": "fill", "target": "[name=x]", "value": typed });
        let arguments = json!({ "page": { "html": html }, "steps": [fill, { "action": "submit" }] });
        let error = call(&context(), "execute_test", arguments).await.unwrap_err();
        assert_eq!(error.class, "assertion_failure", "{field}: {error}");
        assert!(error.message.contains(why), "{field}: {error}");
        // Without checks it goes out, and nobody is there.
        let html = html.replace("<form", "<form novalidate");
        let fill = json!({ "action": "fill", "target": "[name=x]", "value": typed });
        let arguments =
            json!({ "page": { "html": html, "url": "http://127.0.0.1:1/" }, "steps": [fill, { "action": "submit" }] });
        assert_eq!(call(&context(), "execute_test", arguments).await.unwrap_err().class, "connection", "{field}");
    }
    let good = "<form><input name=x type=number step=0.1 value=0.3><input type=radio name=r required checked><input pattern='['></form>";
    let steps = json!([{ "action": "assert_invalid" }]);
    let error =
        call(&context(), "execute_test", json!({ "page": { "html": good }, "steps": steps })).await.unwrap_err();
    assert!(error.message.contains("would send the form"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_and_loops_are_not() {
    let router = Router::new()
        .route("/see", any(|| async { Redirect::to("./echo?a=1") }))
        .route("/keep", any(|| async { Redirect::temporary("/echo") }))
        .route("/loop", get(|| async { Redirect::to("/loop") }))
        .route("/echo", any(echo))
        .route("/form", get(|| async { Html("<form method=post action=/see><input name=a value=b></form><form id=k method=post action=/keep><input name=c value=d></form>") }));
    let server = serve(router).await;
    let steps = json!([
        { "action": "load", "url": "/form" },
        { "action": "submit", "target": "form" },
        { "action": "assert_text", "target": "#method", "text": "GET" },
        { "action": "assert_url", "url": "/echo?a=1" },
        { "action": "load", "url": "/form" },
        { "action": "submit", "target": "#k" },
        { "action": "assert_text", "target": "#method", "text": "POST" },
        { "action": "assert_text", "target": "#body", "text": "c=d" }
    ]);
    passes(&context(), &server.url, steps).await;
    let (class, message) = fails(&context(), &server.url, json!([{ "action": "load", "url": "/loop" }])).await;
    assert_eq!(class, "connection");
    assert!(message.contains("redirected more than"), "{message}");
}

#[tokio::test]
async fn each_way_that_a_page_fails_to_come_has_its_class() {
    let endless = || async {
        let pieces =
            futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from("<p>more</p>".repeat(1000))));
        ([(header::CONTENT_TYPE, "text/html")], Body::from_stream(pieces))
    };
    let broken = || async {
        let pieces = [Ok(Bytes::from("<p>half")), Err(std::io::Error::other("cut"))];
        ([(header::CONTENT_TYPE, "text/html")], Body::from_stream(futures_util::stream::iter(pieces)))
    };
    let status = |status: u16| {
        get(move || async move { (StatusCode::from_u16(status).unwrap(), Html("<p>no")).into_response() })
    };
    let router = Router::new()
        .route("/endless", get(endless))
        .route("/broken", get(broken))
        .route("/silent", get(std::future::pending::<()>))
        .route("/json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], "{}") }))
        .route("/words", get(|| async { Html("just words") }))
        .route("/deep", get(|| async { Html("<div>".repeat(10_000)) }))
        .route("/500", status(500))
        .route("/503", status(503))
        .route("/504", status(504))
        .route("/429", status(429));
    let server = serve(router).await;
    let patient = context();
    for (path, class) in [
        ("/endless", "page_too_large"),
        ("/broken", "connection"),
        ("/json", "not_html"),
        ("/words", "not_html"),
        ("/deep", "page_too_large"),
        ("/500", "http_5xx"),
        ("/503", "temporary_failure"),
        ("/504", "network_timeout"),
        ("/429", "rate_limit"),
    ] {
        assert_eq!(fails(&patient, &server.url, json!([{ "action": "load", "url": path }])).await.0, class, "{path}");
    }
    assert_eq!(
        fails(&impatient(), &server.url, json!([{ "action": "load", "url": "/silent" }])).await.0,
        "network_timeout"
    );
    assert_eq!(fails(&patient, "http://127.0.0.1:1/", json!([{ "action": "load", "url": "/" }])).await.0, "connection");
    let slow = json!({ "base_url": server.url, "timeout_ms": 100, "steps": [{ "action": "load", "url": "/silent" }] });
    assert_eq!(call(&patient, "execute_test", slow).await.unwrap_err().class, "timeout");
}

#[tokio::test]
async fn a_page_that_is_small_enough_and_still_takes_too_long_is_given_up() {
    // Each radio button has a group of its own, and each group is looked for in the whole page.
    let radio = |at| format!("<input type=radio name=r{at} required checked>");
    let radios = (0..40_000).map(radio).collect::<Vec<_>>().concat();
    let html = format!("<form action=http://127.0.0.1:1/>{radios}</form>");
    let limits = Limits { analysis: Duration::from_millis(500), ..Limits::default() };
    let hurried = context_with(Settings { limits, ..Settings::default() });
    let arguments = json!({ "page": { "html": html }, "steps": [{ "action": "submit" }] });
    assert_eq!(call(&hurried, "execute_test", arguments).await.unwrap_err().class, "dom_analysis_timeout");
    let planned = call(&hurried, "generate_plan", json!({ "page": { "html": html } })).await;
    assert_eq!(planned.unwrap_err().class, "dom_analysis_timeout");
}

#[tokio::test]
async fn the_innermost_element_has_the_text() {
    let html = "<main><p>No</p><div>Say <b>hello</b> <i>again</i></div><p hidden>hello again</p></main>";
    let clicks = json!([
        { "action": "assert_element", "target": { "text": "hello again" }, "count": 1 },
        { "action": "assert_text", "target": { "text": "hello again" }, "text": "Say hello again" },
        { "action": "assert_element", "target": { "text": "good bye" }, "absent": true }
    ]);
    call(&context(), "execute_test", json!({ "page": { "html": html }, "steps": clicks })).await.unwrap();
}

/// Knows one element by two selectors, and heals everything to the heading.
#[derive(Debug)]
struct Repository;

#[async_trait]
impl Elements for Repository {
    async fn locate(&self, element: &str) -> Result<Option<Known>, ToolError> {
        let selectors = vec!["#gone".to_owned(), "h1".to_owned()];
        Ok((element == "heading").then(|| Known { selectors, observations: vec![cache_lookup("l1", true)] }))
    }

    async fn heal(&self, broken: Broken) -> Result<Healed, ToolError> {
        assert!(broken.html.contains("<h1>"));
        Ok(Healed {
            selector: Some("h1".to_owned()),
            confidence: 0.9,
            strategy: "text_match".to_owned(),
            observations: vec![],
        })
    }
}

#[tokio::test]
async fn elements_come_from_the_repository_and_are_healed_where_asked() {
    let context = with_elements(context(), Repository);
    let page = json!({ "html": "<h1>Hello</h1>" });
    let known = json!([{ "action": "assert_text", "target": { "element": "heading" }, "text": "Hello" }]);
    let reply = call(&context, "execute_test", json!({ "page": page, "steps": known })).await.unwrap();
    assert_eq!(reply.ganger.observations, [cache_lookup("l1", true)]);
    let lost = json!([{ "action": "assert_text", "target": "#title", "text": "Hello" }]);
    let healed = call(&context, "execute_test", json!({ "page": page, "steps": lost, "heal": true })).await.unwrap();
    assert_eq!(
        healed.result["healed"][0],
        json!({ "from": "#title", "to": "h1", "strategy": "text_match", "confidence": 0.9 })
    );
    let plain = call(&context, "execute_test", json!({ "page": page, "steps": lost })).await.unwrap_err();
    assert_eq!(plain.class, "element_not_found");
    let unknown = json!([{ "action": "click", "target": { "element": "other" } }]);
    assert_eq!(
        call(&context, "execute_test", json!({ "page": page, "steps": unknown })).await.unwrap_err().class,
        "element_not_found"
    );
}

#[tokio::test]
async fn a_session_keeps_its_browser_until_it_is_closed() {
    let (_site, server) = site(Version::V1).await;
    let context = context();
    let act = async |step: Value, close: bool| {
        call(&context, "run_action", json!({ "session": "s", "step": step, "close": close })).await
    };
    let lost = act(json!({ "action": "assert_status" }), false).await.unwrap_err();
    assert_eq!(lost.class, "browser_crash");
    let url = format!("{}/search", server.url);
    let loaded = act(json!({ "action": "load", "url": url }), false).await.unwrap().result;
    assert_eq!((&loaded["page"]["title"], &loaded["session"]), (&json!("Shows - Curtain Call"), &json!("s")));
    let followed = act(json!({ "action": "follow", "target": { "text": "Book Requiem" } }), true).await.unwrap().result;
    assert!(followed["page"]["url"].as_str().unwrap().ends_with("/shows/requiem"), "{followed}");
    assert_eq!(act(json!({ "action": "assert_status" }), false).await.unwrap_err().class, "browser_crash");
    let alone = json!({ "page": url, "step": { "action": "assert_element", "target": "tr.show-row", "count": 6 } });
    assert_eq!(call(&context, "run_action", alone).await.unwrap().result["matches"], 6);
    let nothing = json!({ "step": { "action": "assert_status" } });
    assert_eq!(call(&context, "run_action", nothing).await.unwrap_err().class, "bad_arguments");
}

#[tokio::test]
async fn misspelt_arguments_are_refused_with_their_name() {
    for (arguments, words) in [
        (json!({ "steps": [{ "action": "lode", "url": "/" }] }), "unknown variant `lode`"),
        (json!({ "steps": [{ "action": "load", "url": "/", "ulr": "" }] }), "unknown field `ulr`"),
        (json!({ "steps": [], "page": { "html": "<p>" } }), "1 to 1000 steps"),
        (json!({ "stepps": [] }), "unknown field `stepps`"),
    ] {
        let error = call(&context(), "execute_test", arguments).await.unwrap_err();
        assert_eq!(error.class, "bad_arguments");
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn files_are_read_below_their_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages");
    std::fs::create_dir(&pages).unwrap();
    std::fs::write(pages.join("a.html"), "<a href=b.html>b</a>").unwrap();
    std::fs::write(pages.join("b.html"), "<h1>B</h1>").unwrap();
    std::fs::write(folder.path().join("secret.html"), "<h1>S</h1>").unwrap();
    let context = context_with(Settings { root: Some(pages), ..Settings::default() });
    let steps = json!([
        { "action": "load", "url": "a.html" },
        { "action": "follow", "target": "a" },
        { "action": "assert_text", "target": "h1", "text": "B" }
    ]);
    call(&context, "execute_test", json!({ "steps": steps })).await.unwrap();
    for path in ["../secret.html", "/../secret.html", "none.html"] {
        let error =
            call(&context, "run_action", json!({ "step": { "action": "load", "url": path } })).await.unwrap_err();
        assert_eq!(error.class, "bad_arguments", "{path}");
    }
    let secret = format!("file://{}", folder.path().join("secret.html").display());
    let error = call(&context, "run_action", json!({ "page": secret, "step": { "action": "assert_status" } }))
        .await
        .unwrap_err();
    assert!(error.message.contains("is not below"), "{error}");
}
