//! Pages that are huge, without an end, deep, or no pages at all, in the daemon's default configuration.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::daemon::{Daemon, Footing, Site};

/// The most memory that a child may ever have held, in bytes: what parsing a page within its bounds takes a few times over.
const CHILD_MAX: u64 = 300 << 20;
/// The most that the daemon may have held more than at rest: it sees no page, only answers.
const DAEMON_MAX: u64 = 20 << 20;

/// A site of bad pages.
async fn bad_site() -> (String, JoinSet<()>) {
    let html = || [(CONTENT_TYPE, "text/html")];
    let endless = move || async move {
        let piece = Bytes::from("<p>more</p>".repeat(4_096));
        let pieces = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        (html(), Body::from_stream(pieces)).into_response()
    };
    let router = Router::new()
        .route("/endless", get(endless))
        .route("/huge", get(|| async { Html("<p>word</p>".repeat(5_000_000)) }))
        .route("/deep", get(|| async { Html("<div>".repeat(1_000_000)) }))
        .route("/attributes", get(|| async { Html(format!("<p {}>x</p>", "a=b ".repeat(3_000_000))) }))
        .route("/text", get(|| async { Html("just words, and no tag") }))
        .route("/empty", get(|| async { Html("") }))
        .route("/picture", get(|| async { ([(CONTENT_TYPE, "image/png")], vec![0x89_u8; 100_000]) }))
        .route("/binary", get(move || async move { (html(), vec![0_u8; 100_000]) }))
        .route("/json", get(|| async { ([(CONTENT_TYPE, "application/json")], "{\"a\": [1]}") }))
        .route("/good", get(|| async { Html("<title>Good</title><form><input name=q><button>Go</button></form>") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, tasks)
}

/// What each type of the default configuration that looks at pages is given.
fn jobs(page: &str) -> [(&'static str, Value); 4] {
    [
        ("plan_generation", json!({"page": page})),
        ("test_execution", json!({"steps": [{"action": "load", "url": page}]})),
        ("batch_locator_generation", json!({"page": page})),
        ("element_healing", json!({"page": page, "locator": "#go"})),
    ]
}

/// The most memory that a process ever held, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
    line.unwrap_or(0) * 1_024
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pages_have_their_classes_and_cost_no_more_than_their_bounds() {
    let (url, _pages) = bad_site().await;
    let site = Site::new(Footing::Embedded).await;
    // Retries would only repeat what is to be seen, and a busy machine is no reason to hold anything here.
    let mut extra = "inherit_defaults = true\n[shedding]\nmode = \"off\"\n[health]\ncheck_ms = 1000\n".to_owned();
    for (job_type, _) in jobs("") {
        extra +=
            &format!("[job_types.{job_type}]\ntimeout_ms = 60000\n[job_types.{job_type}.retry]\nmax_retries = 0\n");
    }
    let daemon: Daemon = site.start(&extra).await;
    for (job_type, payload) in jobs(&format!("{url}/good")).into_iter().take(3) {
        let id = daemon.submit(json!({"type": job_type, "payload": payload})).await;
        assert_eq!(daemon.at_rest(&id).await["state"], "succeeded", "{job_type}");
    }
    let before = peak(daemon.pid());
    let mut asked = Vec::new();
    for (page, class) in [
        ("/endless", "page_too_large"),
        ("/huge", "page_too_large"),
        ("/deep", "page_too_large"),
        ("/attributes", "page_too_large"),
        ("/text", "not_html"),
        ("/empty", "not_html"),
        ("/picture", "not_html"),
        ("/binary", "not_html"),
        ("/json", "not_html"),
    ] {
        for (job_type, payload) in jobs(&format!("{url}{page}")) {
            asked.push((daemon.submit(json!({"type": job_type, "payload": payload})).await, job_type, page, class));
        }
    }
    let mut wrong = Vec::new();
    for (id, job_type, page, class) in &asked {
        let job = daemon.at_rest(id).await;
        // A healing that fails waits for a person.
        let state = if *job_type == "element_healing" { "in_review" } else { "failed" };
        let is = (&job["state"], &job["error"]["class"], &job["attempts"], &job["crashes"]);
        if is != (&json!(state), &json!(class), &json!(1), &json!(0)) {
            wrong.push(format!("{job_type} {page}: {class}, not {is:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let more = peak(daemon.pid()) - before;
    let held: Vec<u64> = children(daemon.pid()).into_iter().map(peak).collect();
    println!("the daemon held {more} bytes more, its children {held:?} at most");
    assert!(more < DAEMON_MAX && !held.is_empty() && held.iter().all(|held| *held < CHILD_MAX), "{more} {held:?}");
    // The same children go on.
    let id = daemon.submit(json!({"type": "plan_generation", "payload": {"page": format!("{url}/good")}})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
    tokio::time::timeout(Duration::from_secs(1), daemon.get("/livez")).await.expect("the daemon is well");
}
