//! Alerts that come in, the incidents they become, and their reviews.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::support::daemon::{Daemon, Footing, Site, ganger, wait_for};
use crate::support::postgres::Postgres;
use crate::support::redis;
use crate::support::wait::until;

on_both_footings! {
    alerts_become_one_incident_whose_times_are_those_of_the_record
    webhooks_that_are_repeated_or_come_in_another_order_change_nothing
    an_alert_soon_after_the_end_takes_its_incident_back
    what_is_malformed_or_forged_does_nothing
    a_storm_is_bounded_and_loses_nothing_that_was_answered
    the_review_shows_what_happened_and_what_people_filled_in
    the_timeline_outlives_the_daemon
}

/// Short times, so that an incident is over before a test is.
const QUICK: &str = "[incidents]\nquiet_s = 1\n";

/// An alert as Alertmanager tells of it.
fn alert(name: &str, number: usize, starts_at: &str, ends_at: Option<&str>) -> Value {
    json!({
        "status": if ends_at.is_some() { "resolved" } else { "firing" },
        "labels": { "alertname": name, "severity": "warning", "number": number.to_string() },
        "annotations": { "summary": "it is so" },
        "startsAt": starts_at,
        "endsAt": ends_at.unwrap_or("0001-01-01T00:00:00Z"),
        "generatorURL": "http://prometheus/graph",
        "fingerprint": format!("{number:016x}"),
    })
}

fn webhook(alerts: Vec<Value>) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{}", "status": "firing", "truncatedAlerts": 0, "receiver": "ganger",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
        "alerts": alerts,
    })
}

async fn send(daemon: &Daemon, alerts: Vec<Value>) -> Value {
    let (status, answer) = daemon.post("/v1/alerts", webhook(alerts)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn incident(daemon: &Daemon, id: &Value) -> Value {
    daemon.get(&format!("/v1/incidents/{id}")).await
}

/// The time `seconds` from now as Alertmanager writes it.
fn soon(seconds: i64) -> String {
    use ganger::clock::Clock as _;
    ganger::clock::SystemClock.now().plus_ms(seconds * 1_000).to_string()
}

fn millis(time: &Value) -> i64 {
    ganger::clock::Timestamp::parse(time.as_str().unwrap_or_else(|| panic!("{time} is a time"))).unwrap().millis()
}

async fn alerts_become_one_incident_whose_times_are_those_of_the_record(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(QUICK).await;
    let (first, second, end) = (soon(-40), soon(-20), soon(-1));
    let answer = send(&daemon, vec![alert("Deep", 1, &second, None), alert("Slow", 2, &first, None)]).await;
    assert_eq!((&answer["new"], &answer["known"]), (&json!(2), &json!(0)), "{answer}");
    let id = answer["incident"].clone();
    let opened = incident(&daemon, &id).await;
    assert_eq!((&opened["state"], &opened["name"], &opened["firing"]), (&json!("firing"), &json!("Deep"), &json!(2)));
    assert_eq!((&opened["detected_at"], &opened["responded_at"]), (&json!(first), &Value::Null));
    assert_eq!(opened["notice_ms"], millis(&opened["received_at"]) - millis(&opened["detected_at"]));

    // The first thing that anybody does is the response.
    let (status, _) = daemon.post("/v1/queues/side/pause", json!({ "by": "ada", "reason": "too much" })).await;
    assert_eq!(status, 200);
    let responded = until("the response is on record", || async {
        let shown = incident(&daemon, &id).await;
        shown["responded_at"].is_string().then_some(shown)
    })
    .await;
    let paused = responded["timeline"].as_array().unwrap().iter().find(|event| event["kind"] == "pause").unwrap();
    assert_eq!(paused["at"], responded["responded_at"]);
    assert_eq!(paused["words"], "The queue side was paused by ada: too much");
    assert_eq!(responded["response_ms"], millis(&paused["at"]) - millis(&json!(first)));

    let done = daemon.submit(json!({ "type": "echo", "payload": 1 })).await;
    daemon.at_rest(&done).await;
    let later = soon(0);
    send(&daemon, vec![alert("Deep", 1, &second, Some(&end))]).await;
    let answer = send(&daemon, vec![alert("Slow", 2, &first, Some(&later))]).await;
    assert_eq!(answer["resolved"], 1, "{answer}");
    let over = until("it is over, and what it cost is counted", || async {
        let shown = incident(&daemon, &id).await;
        (shown["state"] == "resolved").then_some(shown)
    })
    .await;
    assert_eq!(over["resolved_at"], json!(later));
    assert_eq!(over["resolution_ms"], millis(&json!(later)) - millis(&json!(first)));
    assert_eq!((&over["impact"][0]["queue"], &over["impact"][0]["accepted"]), (&json!("work"), &json!(1)), "{over}");
    assert_eq!(over["impact"][0]["finished"], json!({ "succeeded": 1 }));
    let listed = daemon.get("/v1/incidents?firing=false").await;
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(daemon.metric("ganger_alerts_received_total{status=\"firing\"}").await, 2.0);
    until("the metrics know it", || async {
        let figures = (daemon.metric("ganger_incidents_total").await, daemon.metric("ganger_incidents_open").await);
        (figures == (1.0, 0.0)).then_some(())
    })
    .await;
}

async fn webhooks_that_are_repeated_or_come_in_another_order_change_nothing(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let (began, end) = (soon(-30), soon(-3));
    let fires = || vec![alert("Deep", 1, &began, None), alert("Watchdog", 9, &began, None)];
    let first = send(&daemon, fires()).await;
    assert_eq!((&first["new"], &first["ignored"]), (&json!(1), &json!(1)), "{first}");
    // From many clients at once, as from two Alertmanagers.
    for again in join_all((0..8).map(|_| send(&daemon, fires()))).await {
        assert_eq!((&again["new"], &again["known"]), (&json!(0), &json!(1)), "{again}");
        assert_eq!(again["incident"], first["incident"]);
    }
    send(&daemon, vec![alert("Deep", 1, &began, Some(&end))]).await;
    let late = send(&daemon, fires()).await;
    assert_eq!((&late["stale"], &late["new"]), (&json!(1), &json!(0)), "{late}");
    // An end that nobody had heard the beginning of.
    let unheard = send(&daemon, vec![alert("Slow", 2, &began, Some(&end))]).await;
    assert_eq!((&unheard["resolved"], &unheard["incident"]), (&json!(1), &first["incident"]), "{unheard}");
    let shown = incident(&daemon, &first["incident"]).await;
    assert_eq!((&shown["alerts"], &shown["firing"], &shown["resolved_at"]), (&json!(2), &json!(0), &json!(end)));
    let told: Vec<_> = shown["timeline"].as_array().unwrap().iter().filter(|event| event["kind"] == "alert").collect();
    assert!(told.len() <= 3, "an alert is told once for its beginning and once for its end: {told:?}");
}

async fn an_alert_soon_after_the_end_takes_its_incident_back(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[incidents]\nquiet_s = 60\n").await;
    let first = send(&daemon, vec![alert("Deep", 1, &soon(-90), Some(&soon(-70)))]).await;
    assert_eq!(incident(&daemon, &first["incident"]).await["state"], "resolved");
    let again = send(&daemon, vec![alert("Deep", 1, &soon(-15), None)]).await;
    assert_eq!((&again["new"], &again["incident"]), (&json!(1), &first["incident"]), "{again}");
    let shown = incident(&daemon, &first["incident"]).await;
    assert_eq!((&shown["state"], &shown["resolved_at"], &shown["alerts"]), (&json!("firing"), &Value::Null, &json!(2)));
    send(&daemon, vec![alert("Deep", 1, &soon(-900), Some(&soon(-800)))]).await;
    assert_eq!(daemon.get("/v1/incidents").await["incidents"].as_array().unwrap().len(), 2);
}

async fn what_is_malformed_or_forged_does_nothing(footing: Footing) {
    let site = Site::new(footing).await;
    let token = |name: &str, role: &str| {
        format!("[auth.tokens.{name}]\nrole = \"{role}\"\ntoken = \"{name}-0123456789abcdef\"\n")
    };
    let daemon = site.start(&(token("alertmanager", "operate") + &token("ci", "submit") + &token("see", "read"))).await;
    let good = webhook(vec![alert("Deep", 1, &soon(-5), None)]);
    let call = async |token: Option<&str>, body: String| {
        let mut request = daemon.client.post(format!("{}/v1/alerts", daemon.url));
        if let Some(token) = token {
            request = request.bearer_auth(format!("{token}-0123456789abcdef"));
        }
        let response = request.header("content-type", "application/json").body(body).send().await.unwrap();
        response.status().as_u16()
    };
    for (token, status) in [(None, 401), (Some("guess"), 401), (Some("ci"), 403), (Some("see"), 403)] {
        assert_eq!(call(token, good.to_string()).await, status, "{token:?}");
    }
    let am = Some("alertmanager");
    let mut old = good.clone();
    old["version"] = "3".into();
    let mut long = good.clone();
    long["alerts"][0]["labels"]["x"] = "y".repeat(3_000).into();
    // One bad alert, and its neighbour is not taken either: Alertmanager would not send half of it again.
    let mut half = webhook(vec![alert("Deep", 1, &soon(-5), None), alert("Deep", 2, &soon(-5), None)]);
    half["alerts"][1]["fingerprint"] = Value::Null;
    for (body, status) in [
        (String::new(), 400),
        ("{\"version\":".to_owned(), 400),
        ("[]".to_owned(), 400),
        ("{}".to_owned(), 422),
        (old.to_string(), 422),
        (long.to_string(), 422),
        (half.to_string(), 422),
        (format!("{{\"version\":\"4\",\"x\":\"{}\"}}", "y".repeat(2 << 20)), 413),
    ] {
        assert_eq!(call(am, body.clone()).await, status, "{}", &body[..body.len().min(80)]);
    }
    let list = async || {
        let request = daemon.client.get(format!("{}/v1/incidents", daemon.url)).bearer_auth("see-0123456789abcdef");
        request.send().await.unwrap().json::<Value>().await.unwrap()["incidents"].as_array().unwrap().len()
    };
    assert_eq!(list().await, 0);
    assert_eq!(call(am, good.to_string()).await, 200);
    assert_eq!(list().await, 1);
}

/// A thousand webhooks, each of an alert of its own, as fast as the daemon takes them: far more than a second's worth
/// of the worst storm.
async fn a_storm_is_bounded_and_loses_nothing_that_was_answered(footing: Footing) {
    const WEBHOOKS: usize = 1_000;
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let (next, taken, refused) = (AtomicUsize::new(1), AtomicUsize::new(0), AtomicUsize::new(0));
    let (began, started) = (soon(-5), tokio::time::Instant::now());
    let client = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > WEBHOOKS {
                return;
            }
            let body = webhook(vec![alert("Storm", number, &began, None), alert("Same", 0, &began, None)]);
            let response = daemon.client.post(format!("{}/v1/alerts", daemon.url)).json(&body).send().await.unwrap();
            match response.status().as_u16() {
                200 => taken.fetch_add(1, Ordering::Relaxed),
                429 => {
                    assert!(response.headers().contains_key("retry-after"));
                    refused.fetch_add(1, Ordering::Relaxed)
                }
                other => panic!("{other}: {}", response.text().await.unwrap()),
            };
        }
    };
    // More at once than may wait.
    join_all((0..100).map(|_| client())).await;
    let (taken, refused) = (taken.into_inner(), refused.into_inner());
    println!("{taken} taken and {refused} told to come again in {:?}", started.elapsed());
    assert_eq!(taken + refused, WEBHOOKS);
    assert!(taken >= 64, "{taken}");
    let listed = daemon.get("/v1/incidents").await;
    let incidents = listed["incidents"].as_array().unwrap();
    assert_eq!(incidents.len(), 1, "{listed}");
    assert_eq!(incidents[0]["alerts"], taken + 1, "what was answered is on record, and nothing else");
    assert_eq!(daemon.metric("ganger_alerts_received_total{status=\"firing\"}").await, 2.0 * taken as f64);
    let done = daemon.submit(json!({ "type": "echo", "payload": 1 })).await;
    daemon.at_rest(&done).await;
}

async fn the_review_shows_what_happened_and_what_people_filled_in(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start(QUICK).await;
    let gate = site.folder().join("gate");
    // Before the alert: somebody scales, and work waits.
    let (status, _) = daemon.call("PUT", "/v1/pools/side-workers", Some(json!({ "max": 3, "by": "bob" }))).await;
    assert_eq!(status, 200);
    let held = daemon.submit(json!({ "type": "shell", "payload": wait_for(&gate) })).await;
    daemon.in_state(&held, "running").await;
    let began = soon(0);
    let id = send(&daemon, vec![alert("Deep|<b>", 1, &began, None)]).await["incident"].to_string();
    daemon
        .call("PUT", "/v1/shedding", Some(json!({ "mode": "level", "level": 5, "by": "ada", "reason": "flood" })))
        .await;
    until("jobs are refused", || async {
        let (status, _) = daemon.post("/v1/jobs", json!({ "type": "noop", "priority": "background" })).await;
        (status == 503).then_some(())
    })
    .await;
    std::fs::write(&gate, "").unwrap();
    daemon.at_rest(&held).await;
    daemon.call("PUT", "/v1/shedding", Some(json!({ "mode": "off", "by": "ada" }))).await;
    send(&daemon, vec![alert("Deep|<b>", 1, &began, Some(&soon(0)))]).await;
    let fill = ["incidents", "review", &id, "--root-cause", "a | pipe", "--by", "ada", "--server", &daemon.url];
    assert_eq!(ganger(&fill).status, Some(0));
    let text = until("everything is on record", || async {
        let text = ganger(&["incidents", "review", &id, "--server", &daemon.url]).stdout;
        text.contains("Refused for load: 1 job of queue work").then_some(text)
    })
    .await;
    for piece in [
        &format!("# Incident {id}: Deep\\|&lt;b&gt;") as &str,
        &format!("| Detected: the first alert began to fire | {began} |"),
        "Pool side-workers was given other bounds by bob",
        "Load shedding was set to 5 by ada: flood",
        "Queue work sheds at level 5",
        "before the first alert: Pool side-workers was given other bounds by bob.",
        "- Queue work was shed up to level 5; 1 job refused.",
        "a \\| pipe",
        "Filled in by ada at ",
        "## Action items\n\n*To be filled in.*",
    ] {
        assert!(text.contains(piece), "{piece}\n---\n{text}");
    }
    let row = text.lines().find(|line| line.starts_with("| work |")).unwrap_or_else(|| panic!("{text}"));
    let succeeded: u64 = row.split('|').nth(3).unwrap().trim().parse().unwrap();
    assert!(succeeded >= 1, "{row}");
    let list = ganger(&["incidents", "list", "--server", &daemon.url]).stdout;
    assert!(list.contains("Deep|<b>") && list.contains("0 of 1"), "{list}");
    let show = ganger(&["incidents", "show", &id, "--server", &daemon.url]).stdout;
    assert!(show.contains("Load shedding was set to 5 by ada: flood"), "{show}");
    let missing = ganger(&["incidents", "review", "999", "--server", &daemon.url]);
    assert_eq!(missing.status, Some(1), "{missing:?}");
    let (status, problem) = daemon.call("PUT", &format!("/v1/incidents/{id}"), Some(json!({ "mood": "x" }))).await;
    assert_eq!((status, &problem["field"]), (422, &json!("mood")));
}

async fn the_timeline_outlives_the_daemon(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start("").await;
    let since = soon(-60);
    daemon.post("/v1/queues/side/pause", json!({ "by": "ada" })).await;
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(0));
    let daemon = site.start("").await;
    let kinds = until("all is on record", || async {
        let shown = daemon.get(&format!("/v1/timeline?since={since}")).await;
        let words: Vec<String> = shown["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["words"].as_str().unwrap().to_owned())
            .collect();
        (words.iter().filter(|words| words.ends_with("has started")).count() == 2).then_some(words)
    })
    .await;
    for piece in ["The queue side was paused by ada", "is stopping; 0 jobs may finish", "The broker is open"] {
        assert!(kinds.iter().any(|words| words.contains(piece)), "{piece}: {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_a_ledger_is_told_to_come_again() {
    let postgres = Postgres::start().await;
    let database = postgres.database().await;
    let site = Site::on(&redis::shared_url().await, &database.url);
    let prefix = redis::random_prefix();
    let mut command = site.command("[ledger]\ntimeout_ms = 1000\n");
    let daemon = Daemon::spawn({
        command.env("GANGER__REDIS__KEY_PREFIX", prefix);
        command
    })
    .await;
    let body = webhook(vec![alert("Deep", 1, &soon(-5), None)]);
    postgres.stop().await;
    let (status, problem) = daemon.post("/v1/alerts", body.clone()).await;
    assert_eq!((status, &problem["code"]), (503, &json!("ledger_unavailable")), "{problem}");
    postgres.restart().await;
    // Alertmanager repeats what was not answered with 200.
    let answer = until("it is taken", || async {
        let (status, answer) = daemon.post("/v1/alerts", body.clone()).await;
        (status == 200).then_some(answer)
    })
    .await;
    assert_eq!((&answer["new"], &answer["known"]), (&json!(1), &json!(0)), "{answer}");
    let stores = until("the loss is on record with its own time", || async {
        let shown = daemon.get("/v1/timeline").await;
        let stores: Vec<Value> =
            shown["events"].as_array().unwrap().iter().filter(|event| event["subject"] == "ledger").cloned().collect();
        (stores.len() >= 2).then_some(stores)
    })
    .await;
    assert_eq!((&stores[0]["detail"]["is_up"], &stores[1]["detail"]["is_up"]), (&json!(false), &json!(true)));
    assert!(millis(&stores[0]["at"]) < millis(&stores[1]["at"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_hear_the_same_webhook_open_one_incident() {
    let site = Site::new(Footing::Cluster).await;
    let nodes = Arc::new([site.start("").await, site.start("").await]);
    let began = soon(-5);
    let answers = join_all((0..20).map(|at| {
        let (nodes, began) = (nodes.clone(), began.clone());
        async move { send(&nodes[at % 2], vec![alert("Deep", 1, &began, None)]).await }
    }))
    .await;
    let new: u64 = answers.iter().map(|answer| answer["new"].as_u64().unwrap()).sum();
    assert_eq!(new, 1, "{answers:?}");
    assert_eq!(nodes[1].get("/v1/incidents").await["incidents"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_in_the_ledger_is_found_and_counted() {
    let site = Site::new(Footing::Embedded).await;
    let mut daemon = site.start("").await;
    let job = daemon.submit(json!({ "type": "echo", "payload": { "a": 1 } })).await;
    daemon.at_rest(&job).await;
    assert_eq!(daemon.metric("ganger_integrity_violations_total{kind=\"not_json\"}").await, 0.0);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.ended().await;
    let file = format!("sqlite:{}", site.folder().join("data/ganger.db").display());
    let mut hand = SqliteConnection::connect(&file).await.unwrap();
    let change = "UPDATE finished SET result = x'7b22'; \
                  INSERT INTO live (seq, id, type, queue, priority, score, waits_from, max_attempts, id_given, fingerprint, \
                                    accepted_at, payload) \
                  SELECT seq + 1, id, type, queue, priority, score, waits_from, max_attempts, id_given, fingerprint, \
                         accepted_at, payload FROM finished";
    sqlx::raw_sql(change).execute(&mut hand).await.unwrap();
    hand.close().await.unwrap();
    let daemon = site.start("").await;
    for kind in ["not_json", "live_and_at_rest"] {
        let series = format!("ganger_integrity_violations_total{{kind=\"{kind}\"}}");
        until(&series, || async { (daemon.metric(&series).await >= 1.0).then_some(()) }).await;
    }
    until("it is in the timeline", || async {
        let shown = daemon.get("/v1/timeline").await;
        let told = |event: &Value| event["kind"] == "integrity" && event["words"].as_str().unwrap().contains(&job);
        (shown["events"].as_array().unwrap().iter().filter(|event| told(event)).count() >= 2).then_some(())
    })
    .await;
}
