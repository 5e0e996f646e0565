//! Plans for the booking site are run, not looked at.

use serde_json::{Value, json};

use super::super::site::Version;
use super::super::testing::{call, context, site};

async fn plans(url: &str) -> Value {
    call(&context(), "generate_plan", json!({ "page": url })).await.unwrap().result
}

#[tokio::test]
async fn every_plan_of_every_page_passes_in_both_versions() {
    for version in Version::ALL {
        let (site, server) = site(version).await;
        for path in ["/", "/search", "/shows/hamlet", "/checkout?show=requiem&seat=D-1&seat=D-2", "/help"] {
            let found = plans(&format!("{}{path}", server.url)).await;
            assert_eq!(site.bookings(), 0, "planning sends nothing");
            for plan in found["plans"].as_array().unwrap() {
                let run = call(&context(), "execute_test", plan.clone()).await;
                run.unwrap_or_else(|error| panic!("{version:?} {path}: {error:#?}"));
                // Seats that one plan books are not there for the next.
                site.reset();
            }
        }
    }
}

#[tokio::test]
async fn a_flow_leads_from_the_home_page_to_a_booking() {
    for version in Version::ALL {
        let (site, server) = site(version).await;
        let found = plans(&server.url).await;
        let flow = found["plans"].as_array().unwrap().iter().find(|plan| plan["kind"] == "flow").unwrap();
        call(&context(), "execute_test", flow.clone()).await.unwrap();
        assert_eq!(site.bookings(), 1, "{version:?}: {flow:#}");
    }
}

#[tokio::test]
async fn plans_name_forms_fields_and_links() {
    let (_site, server) = site(Version::V1).await;
    let checkout = plans(&format!("{}/checkout?show=requiem&seat=D-1", server.url)).await;
    assert_eq!(checkout["counts"], json!({ "form": 1, "validation": 3, "links": 1, "flow": 0 }));
    let names: Vec<&str> =
        checkout["plans"].as_array().unwrap().iter().map(|plan| plan["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "form \"Your details\": filled in well");
    assert_eq!(names[1], "form \"Your details\": without \"Full name\"");
    assert!(names.contains(&"links of /checkout"), "{names:?}");
}

#[tokio::test]
async fn plans_become_jobs_where_asked() {
    let (_site, server) = site(Version::V2).await;
    let arguments =
        json!({ "page": server.url, "enqueue": true, "labels": { "environment": "staging" }, "flow_pages_max": 0 });
    let reply = call(&context(), "generate_plan", arguments).await.unwrap();
    let jobs = &reply.ganger.enqueue;
    assert_eq!(jobs.len(), reply.result["plans"].as_array().unwrap().len());
    assert_eq!((&jobs[0]["type"], &jobs[0]["labels"]["environment"]), (&json!("test_execution"), &json!("staging")));
    assert_eq!(jobs[0]["payload"], reply.result["plans"][0]);
}

#[tokio::test]
async fn a_page_that_is_no_page_has_no_plans() {
    for (page, class) in [
        (json!({ "html": "words" }), "not_html"),
        (json!("http://127.0.0.1:1/"), "connection"),
        (json!("ftp://a/"), "bad_arguments"),
    ] {
        assert_eq!(call(&context(), "generate_plan", json!({ "page": page })).await.unwrap_err().class, class);
    }
    let empty = call(&context(), "generate_plan", json!({ "page": { "html": "<p>nothing to do</p>" } })).await.unwrap();
    assert_eq!(empty.result["plans"], json!([]));
}
