//! Tests of the booking site in a real browser, as examples/playwright/ganger.toml has it, which is used as it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::config::behind;
use crate::servers::{Listening, below};
use crate::support::daemon::{Daemon, Footing, GANGER, Site, repository};
use crate::support::wait::until;
use crate::{ended, result, tools};

/// A daemon with the example's configuration. The test's own says only where things are, and makes waits short.
async fn daemon(site: &Site, extra: &str) -> Daemon {
    let file = site.folder().join("browser.toml");
    std::fs::write(&file, surroundings(site) + extra).unwrap();
    // A busy machine is no reason to hold anything here.
    let mut command = site.command("inherit_defaults = true\n[shedding]\nmode = \"off\"");
    command.arg("--config").arg(repository("examples/playwright/ganger.toml")).arg("--config").arg(file);
    let program = tools::npm("playwright-mcp");
    let folder = std::path::Path::new(&program).parent().unwrap().to_str().unwrap().to_owned();
    command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
    Daemon::spawn(command).await
}

fn surroundings(site: &Site) -> String {
    // The browser's sandbox needs more rights than a test machine gives; the pages are our own.
    format!(
        "[mcp_servers.playwright.env]\nPLAYWRIGHT_MCP_EXECUTABLE_PATH = {}\nPLAYWRIGHT_MCP_SANDBOX = \"false\"\n\
         PLAYWRIGHT_MCP_OUTPUT_DIR = {}\nPLAYWRIGHT_MCP_TIMEOUT_NAVIGATION = \"3000\"\n\
         PLAYWRIGHT_MCP_TIMEOUT_ACTION = \"2000\"\n[job_types.test_execution.retry]\nbase_delay_ms = 100\n",
        json!(tools::chromium()),
        json!(site.folder().join("output")),
    )
}

/// The booking site in one of its versions.
async fn booking_site(version: &'static str) -> Listening {
    let serve = |port: u16| {
        [GANGER, "platform-tools", "--site", version, "--listen", &format!("127.0.0.1:{port}")]
            .map(str::to_owned)
            .into()
    };
    Listening::start(serve).await
}

fn step(tool: &str, arguments: Value) -> Value {
    json!({"tool": format!("browser_{tool}"), "arguments": arguments})
}

fn navigate(url: &str) -> Value {
    step("navigate", json!({"url": url}))
}

fn click(target: &str) -> Value {
    step("click", json!({"target": target}))
}

fn types(target: &str, text: &str) -> Value {
    step("type", json!({"target": target, "text": text}))
}

fn expects(text: &str) -> Value {
    step("wait_for", json!({"text": text}))
}

fn snapshot() -> Value {
    step("snapshot", json!({}))
}

/// A test of version 1: from the front page to a confirmed booking of this seat.
fn books(url: &str, seat: &str) -> Vec<Value> {
    let field =
        |target: &str, kind: &str, value: &str| json!({"target": target, "name": target, "type": kind, "value": value});
    vec![
        navigate(url),
        click("a[href='/shows/hamlet']"),
        expects("Choose your seats"),
        click(&format!("#seat-{seat}")),
        click("#continue"),
        snapshot(),
        types("#name", "Ada Lovelace"),
        types("#email", "ada@example.org"),
        step(
            "fill_form",
            json!({"fields": [field("#delivery", "combobox", "At the box office"), field("#pay-invoice", "radio", "true"),
                              field("#terms", "checkbox", "true")]}),
        ),
        snapshot(),
        click("#confirm"),
        expects("is confirmed"),
        snapshot(),
        step("take_screenshot", json!({})),
    ]
}

/// The job in docs/HANDLERS.md.
fn documented() -> String {
    let text = std::fs::read_to_string(repository("docs/HANDLERS.md")).unwrap();
    let section = text.split("### Playwright MCP").nth(1).unwrap();
    section.split("```json").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

fn test(steps: Vec<Value>) -> Value {
    json!({"type": "test_execution", "payload": {"steps": steps}})
}

/// The job that must fail at its first attempt, with this class.
async fn fails(daemon: &Daemon, steps: Vec<Value>, class: &str) -> Value {
    let job = ended(daemon, "test_execution", json!({"steps": steps})).await;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!(class)), "{job}");
    job
}

fn has(text: &Value, parts: &[&str]) {
    let text = text.as_str().unwrap();
    for part in parts {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_booked_in_a_real_browser() {
    let site = Site::new(Footing::Embedded).await;
    let shop = booking_site("v1").await;
    let url = format!("http://127.0.0.1:{}/", shop.port);
    let daemon = daemon(&site, "").await;
    let results = result(&daemon, "test_execution", json!({"steps": books(&url, "D-4")})).await;
    // The checkout before and after it was filled in.
    has(&results[5], &["Seats: D-4", "Total: €52", "textbox \"Full name\"", "option \"By e-mail\" [selected]"]);
    has(
        &results[9],
        &[
            "textbox \"Full name\" [ref=",
            ": Ada Lovelace",
            ": ada@example.org",
            "option \"At the box office\" [selected]",
        ],
    );
    has(&results[9], &["radio \"Invoice\" [checked]", "checkbox \"I accept the terms\" [checked]"]);
    has(&results[12], &["Thank you, Ada Lovelace", "Seats: D-4. Total: €52.", "Tickets go to ada@example.org"]);
    let picture = results[13].as_array().unwrap().iter().find(|part| part["type"] == "image").unwrap();
    assert!(picture["data"].as_str().unwrap().starts_with("iVBORw0KGgo"), "a picture: {picture}");
    // And the site knows of it: nobody else gets the seat.
    let map = reqwest::get(format!("{url}shows/hamlet")).await.unwrap().text().await.unwrap();
    let seat = map.split("id=\"seat-D-4\"").nth(1).unwrap().split('>').next().unwrap();
    assert!(seat.contains("disabled"), "{seat}");
    fails(&daemon, books(&url, "D-4"), "assertion_failure").await;
    // The payload that the documents show.
    let mut documented: Value = serde_json::from_str(&documented().replace("http://127.0.0.1:8080/", &url)).unwrap();
    documented["payload"]["steps"][1]["arguments"]["target"] = json!("#seat-D-5");
    documented["payload"]["steps"][4]["arguments"]["text"] = json!("Seats: D-5");
    let job = daemon.at_rest(&daemon.submit(documented).await).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    has(&job["result"][5], &["Hamlet", ": Ada"]);
    // By the references of a snapshot, as an agent would.
    let seen = result(&daemon, "test_execution", json!({"steps": [navigate(&url), snapshot()]})).await;
    let line = seen[1].as_str().unwrap().lines().find(|line| line.contains("searchbox")).unwrap();
    let reference = line.split("[ref=").nth(1).unwrap().split(']').next().unwrap();
    let search = vec![
        navigate(&url),
        snapshot(),
        step("type", json!({"target": reference, "text": "requiem", "submit": true})),
        expects("Town Hall"),
        snapshot(),
    ];
    let found = result(&daemon, "test_execution", json!({"steps": search})).await;
    has(&found[4], &["/url: /shows/requiem"]);
    assert!(!found[4].as_str().unwrap().contains("/shows/hamlet"), "{}", found[4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_page_or_a_test_is_final() {
    let site = Site::new(Footing::Embedded).await;
    let (shop, redesigned) = tokio::join!(booking_site("v1"), booking_site("v2"));
    let url = format!("http://127.0.0.1:{}/", shop.port);
    let new_url = format!("http://127.0.0.1:{}/", redesigned.port);
    let daemon = daemon(&site, "").await;
    let checkout = format!("{url}checkout?show=hamlet&seat=E-5");
    let no_mail =
        vec![navigate(&checkout), types("#name", "Ada"), click("#pay-card"), click("#confirm"), expects("Thank you")];
    for (steps, class, place) in [
        // A reference of another page, a selector of nothing, a selector of many.
        (vec![navigate(&url), snapshot(), click("e987654")], "element_not_found", "steps[2] (browser_click): "),
        (vec![navigate(&url), click("#buy-now")], "element_not_found", "steps[1] (browser_click): "),
        (vec![navigate(&url), click("a")], "element_not_found", "steps[1] (browser_click): "),
        // Yesterday's test on today's site.
        (
            vec![navigate(&new_url), click("a[href='/shows/hamlet']"), click("#seat-D-4")],
            "element_not_found",
            "steps[2] (browser_click): ",
        ),
        // A form that the browser does not send, a text that does not come, a seat that is taken.
        (no_mail, "assertion_failure", "steps[4] (browser_wait_for): "),
        (vec![navigate(&url), expects("Sold out")], "assertion_failure", "steps[1] (browser_wait_for): "),
        (
            vec![navigate(&format!("{url}shows/hamlet")), click("#seat-A-6")],
            "assertion_failure",
            "steps[1] (browser_click): ",
        ),
        // Steps that are none.
        (vec![navigate(&url), step("fly", json!({}))], "tool_error", "steps[1] (browser_fly): "),
        (vec![navigate(&url), step("click", json!({"colour": "blue"}))], "tool_error", "steps[1] (browser_click): "),
    ] {
        let job = fails(&daemon, steps, class).await;
        assert_eq!(job["attempts"], 1, "{job}");
        assert!(job["error"]["message"].as_str().unwrap().starts_with(place), "{place}: {job}");
    }
}

/// A page that asks for `/gate`, which answers once it is opened; the number of times that it was asked.
async fn gated_page() -> (String, Arc<AtomicUsize>, tokio::sync::watch::Sender<bool>, JoinSet<()>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (open, opened) = tokio::sync::watch::channel(false);
    let count = asked.clone();
    let gate = get(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let mut opened = opened.clone();
        async move {
            opened.wait_for(|is_open| *is_open).await.ok();
            "the gate is open"
        }
    });
    let page = "<!DOCTYPE html><title>Gate</title><p id=said>nothing yet</p>";
    let app = Router::new().route("/", get(async move || Html(page))).route("/gate", gate);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, asked, open, tasks)
}

/// A browser's own process below `ancestor`, once there is one.
async fn browser_of(ancestor: u32) -> i32 {
    until("there is a browser", || async move {
        let is_it = |line: &str| line.contains("--headless") && line.contains("chrom") && !line.contains("--type=");
        below(ancestor).into_iter().find(|(_, line)| is_it(line)).map(|(pid, _)| pid)
    })
    .await
}

/// Kills a process in the middle of a step, which goes well the second time.
async fn killed_in_the_middle(daemon: &Daemon, victim: impl AsyncFn() -> i32) {
    let (url, asked, open, _page) = gated_page().await;
    let script = "() => fetch('/gate').then(reply => reply.text()).then(text => document.title = text)";
    let steps = vec![navigate(&url), step("evaluate", json!({"function": script})), snapshot()];
    let id = daemon.submit(test(steps)).await;
    until("the gate is asked", || async { (asked.load(Ordering::SeqCst) == 1).then_some(()) }).await;
    kill(Pid::from_raw(victim().await), Signal::SIGKILL).unwrap();
    until("the gate is asked again", || async { (asked.load(Ordering::SeqCst) == 2).then_some(()) }).await;
    open.send_replace(true);
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(2)), "{job}");
    assert_eq!(job["history"][0]["error"]["class"], "browser_crash", "{job}");
    has(&job["result"][2], &["the gate is open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_browser_is_a_crash_and_tried_again() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = daemon(&site, "").await;
    let pid = daemon.pid();
    let of = |mark: &'static str| async move {
        below(pid).into_iter().find(|(_, line)| line.contains(mark)).map(|(pid, _)| pid).unwrap()
    };
    killed_in_the_middle(&daemon, || browser_of(pid)).await;
    // The server with its browser.
    killed_in_the_middle(&daemon, || of("playwright-mcp")).await;
}

/// The browser of a run that is over is gone, however the run ended.
#[tokio::test(flavor = "multi_thread")]
async fn no_browser_outlives_its_run() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = daemon(&site, "").await;
    let (url, _asked, _open, _page) = gated_page().await;
    let waits = || vec![navigate(&url), step("evaluate", json!({"function": "() => fetch('/gate')"}))];
    let gone = async |browser: i32| {
        until("the browser is gone", || async {
            (!std::path::Path::new(&format!("/proc/{browser}/root")).exists() || below(daemon.pid()).is_empty())
                .then_some(())
        })
        .await;
    };
    // Cancelled.
    let id = daemon.submit(test(waits())).await;
    let browser = browser_of(daemon.pid()).await;
    let (status, _) = daemon.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    assert_eq!(status, 200);
    gone(browser).await;
    // Too late.
    let late = json!({"type": "test_execution", "payload": {"steps": waits()}, "timeout_ms": 4_000});
    let id = daemon.submit(late).await;
    let browser = browser_of(daemon.pid()).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!(job["error"]["class"], "timeout", "{job}");
    gone(browser).await;
    until("nothing is left below the daemon", || async { below(daemon.pid()).is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_does_not_come_is_tried_again() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = daemon(&site, "").await;
    // Somebody who listens and never answers, and a port where nobody listens.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), closed] {
        let job = fails(&daemon, vec![navigate(&format!("http://{address}/"))], "network_timeout").await;
        assert_eq!(job["attempts"], 3, "{job}");
    }
}

/// One server behind a URL, with a browser for each session; it answers to the name `localhost` only.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_behind_a_url_does_the_same() {
    let site = Site::new(Footing::Embedded).await;
    let shop = booking_site("v1").await;
    let url = format!("http://127.0.0.1:{}/", shop.port);
    let (folder, chromium) = (site.folder().join("output"), tools::chromium());
    let serve = |port: u16| {
        let port = port.to_string();
        let program = tools::npm("playwright-mcp");
        let folder = folder.to_str().unwrap();
        [&program, "--headless", "--isolated", "--no-sandbox", "--executable-path", &chromium, "--output-dir", folder]
            .into_iter()
            .chain(["--snapshot-mode", "none", "--timeout-action", "2000", "--port", &port])
            .map(str::to_owned)
            .collect()
    };
    let mut browsers = Listening::start(serve).await;
    let extra = behind("far_browsers", &browsers.url())
        + "[job_types.test_execution.handler]\nserver = \"far_browsers\"\n"
        + &behind("wrong_name", &browsers.url().replace("localhost", "127.0.0.1"))
        + &crate::config::steps("misnamed", "wrong_name").replace("\"work\"", "\"exec\"");
    let daemon = daemon(&site, &extra).await;
    let seats = ["D-4", "D-5", "E-6"];
    let mut ids = Vec::new();
    for seat in seats {
        ids.push(daemon.submit(test(books(&url, seat))).await);
    }
    for (id, seat) in ids.iter().zip(seats) {
        let job = daemon.at_rest(id).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        has(&job["result"][12], &["Thank you, Ada Lovelace", &format!("Seats: {seat}.")]);
    }
    fails(&daemon, vec![navigate(&url), snapshot(), click("e987654")], "element_not_found").await;
    let misnamed = ended(&daemon, "misnamed", json!({"steps": [navigate(&url)]})).await;
    assert_eq!(misnamed["error"]["class"], "http_4xx", "{misnamed}");
    killed_in_the_middle(&daemon, || browser_of(browsers.pid().cast_unsigned())).await;
    // The server is started anew, and knows no session of before.
    browsers.kill();
    browsers.start_again().await;
    result(&daemon, "test_execution", json!({"steps": books(&url, "F-7")})).await;
}
