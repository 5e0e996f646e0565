//! Circuit breakers and the retry budget, with a dependency whose health the test decides.

#[path = "breakers/outage.rs"]
mod outage;
#[path = "breakers/target.rs"]
mod target;

use chrono::DateTime;
use serde_json::{Value, json};

use self::target::{Mood, Target};
use crate::support::daemon::{Daemon, Footing, Site, ganger};
use crate::support::wait::until;

on_both_footings! {
    what_is_under_way_when_it_opens_costs_nothing
    a_pause_that_the_target_asks_for_holds_all_its_jobs
    a_handler_may_name_what_failed
    an_operator_holds_it_open_through_a_restart
    retries_stay_within_their_budget
    a_reload_changes_when_it_opens
}

/// A type `web` that posts to `target`, with this many retries at once.
fn web(target: &Target, retries: u32) -> String {
    format!(
        "[job_types.web]\nqueue = \"work\"\ntimeout_ms = 30000\n\
         [job_types.web.retry]\nmax_retries = {retries}\nbackoff_strategy = \"immediate\"\nbase_delay_ms = 0\n\
         [job_types.web.handler]\nkind = \"http\"\nurl = \"{}\"\n",
        target.url
    )
}

fn time(value: &Value) -> i64 {
    DateTime::parse_from_rfc3339(value.as_str().expect("a time")).unwrap().timestamp_millis()
}

async fn breaker(daemon: &Daemon, name: &str) -> Value {
    daemon.get(&format!("/v1/breakers/{name}")).await
}

async fn is_in(daemon: &Daemon, name: &str, state: &str) -> Value {
    until(&format!("{name} is {state}"), || async {
        let found = breaker(daemon, name).await;
        (found["state"] == state).then_some(found)
    })
    .await
}

/// Four calls hang while five others fail: the breaker opens under the four, and is reset by hand. Their failures
/// come late, count for nothing, and cost their jobs no attempt; only the five have paid.
async fn what_is_under_way_when_it_opens_costs_nothing(footing: Footing) {
    let target = Target::start(Mood::Hangs).await;
    let site = Site::new(footing).await;
    let settings = "[breakers]\nopen_ms = 600000\n[pools.work-workers]\nmin = 9\nmax = 9\n";
    let patient = web(&target, 3).replace("base_delay_ms = 0", "base_delay_ms = 3600000\nmax_delay_ms = 3600000");
    let patient = patient.replace("\"immediate\"", "\"linear\"\njitter = \"none\"");
    let daemon = site.start(&format!("{settings}{patient}")).await;
    let early = daemon.submit_many(&json!({"type": "web", "payload": "early"}), 4).await;
    until("four calls hang", || async { (target.calls().len() == 4).then_some(()) }).await;
    target.set(Mood::Fails);
    let late = daemon.submit_many(&json!({"type": "web", "payload": "late"}), 5).await;
    let opened = is_in(&daemon, &target.breaker, "open").await;
    assert!(opened["why"].as_str().unwrap().contains("5 failures in a row"), "{opened}");
    daemon.submit(json!({"type": "web", "payload": "held"})).await;
    until("a job waits for it", || async { (breaker(&daemon, &target.breaker).await["held_jobs"] == 1).then_some(()) })
        .await;
    let held = format!("ganger_breaker_held_jobs{{breaker=\"{}\"}}", target.breaker);
    until("the metric says so", || async { (daemon.metric(&held).await == 1.0).then_some(()) }).await;
    assert_eq!(target.calls().len(), 9, "nobody was called after the opening");

    // Nothing new starts, so that whatever counts from now on is late.
    assert_eq!(daemon.post("/v1/types/web/pause", json!({})).await.0, 200);
    assert_eq!(daemon.post(&format!("/v1/breakers/{}/reset", target.breaker), json!({})).await.0, 200);
    target.release(Mood::Fails);
    let stale = format!("ganger_breaker_stale_results_total{{breaker=\"{}\"}}", target.breaker);
    until("four results were stale", || async { (daemon.metric(&stale).await == 4.0).then_some(()) }).await;
    let found = breaker(&daemon, &target.breaker).await;
    assert_eq!((&found["state"], &found["failures"]), (&json!("closed"), &json!(0)), "{found}");
    for (ids, paid) in [(&early, 0), (&late, 1)] {
        for id in ids {
            let job = until("the job waits", || async {
                let job = daemon.job(id).await;
                (job["state"] != "running").then_some(job)
            })
            .await;
            assert_eq!(job["attempts"], paid, "{job}");
        }
    }
    assert_eq!(target.calls().len(), 9);
}

/// One answer `429` with `Retry-After: 1` holds the jobs behind it too, and nobody pays.
async fn a_pause_that_the_target_asks_for_holds_all_its_jobs(footing: Footing) {
    let target = Target::start(Mood::Asks(2)).await;
    let site = Site::new(footing).await;
    let daemon = site.start(&format!("[pools.work-workers]\nmin = 1\nmax = 1\n{}", web(&target, 0))).await;
    let ids = daemon.submit_many(&json!({"type": "web", "payload": 1}), 5).await;
    let open = is_in(&daemon, &target.breaker, "open").await;
    assert_eq!((&open["why"], &open["openings"]), (&json!("it asked for a pause"), &json!(0)));
    assert_eq!(target.calls().len(), 1);
    target.set(Mood::Works);
    for id in &ids {
        let job = daemon.at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
    }
    let calls = target.calls();
    let pause = calls[1].at_ms - calls[0].at_ms;
    assert!(pause >= 1_700, "the target was called again after {pause} ms");
}

/// A handler that works says that its database does not.
async fn a_handler_may_name_what_failed(footing: Footing) {
    let site = Site::new(footing).await;
    let dependent = "[job_types.echo]\nqueue = \"work\"\ndepends_on = [\"db\", \"cache\"]\n\
                     [job_types.echo.retry]\nmax_retries = 0\n[breakers]\nopen_ms = 600000\n";
    let daemon = site.start(dependent).await;
    let failing = json!({"type": "echo", "payload":
        {"ganger": {"error": {"class": "unavailable", "message": "no connection", "dependency": "db"}}}});
    for _ in 0..5 {
        let id = daemon.submit(failing.clone()).await;
        assert_eq!(daemon.at_rest(&id).await["state"], "failed");
    }
    assert_eq!(breaker(&daemon, "db").await["state"], "open");
    let cache = breaker(&daemon, "cache").await;
    assert_eq!((&cache["state"], &cache["failures"], &cache["types"]), (&json!("closed"), &json!(0), &json!(["echo"])));
    let id = daemon.submit(json!({"type": "echo", "payload": 1})).await;
    let other = daemon.submit(json!({"type": "noop", "payload": 1})).await;
    daemon.at_rest(&other).await;
    assert_eq!(daemon.job(&id).await["state"], "ready", "its lane is closed, others are not");
    let (status, reset) = daemon.post("/v1/breakers/db/reset", json!({"by": "ada", "reason": "db is back"})).await;
    assert_eq!((status, &reset["state"], &reset["why"]), (200, &json!("closed"), &json!("reset by ada: db is back")));
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
}

/// Tripped by hand it stays open through a restart, until it is reset; unknown names are told the known ones.
async fn an_operator_holds_it_open_through_a_restart(footing: Footing) {
    let target = Target::start(Mood::Works).await;
    let site = Site::new(footing).await;
    let settings = web(&target, 0);
    let mut daemon = site.start(&settings).await;
    let path = format!("/v1/breakers/{}", target.breaker.replace(':', "%3A"));
    let (status, tripped) = daemon.post(&format!("{path}/trip"), json!({"by": "ada", "reason": "works"})).await;
    assert_eq!((status, &tripped["state"], &tripped["until"]), (200, &json!("forced_open"), &Value::Null), "{tripped}");
    let id = daemon.submit(json!({"type": "web", "payload": 1})).await;
    daemon.kill();
    let daemon = site.start(&settings).await;
    let held = until("the restarted daemon holds the job", || async {
        let found = breaker(&daemon, &target.breaker).await;
        (found["held_jobs"] == 1).then_some(found)
    })
    .await;
    assert_eq!((&held["state"], &held["why"]), (&json!("forced_open"), &json!("tripped by ada: works")));
    assert!(target.calls().is_empty(), "{:?}", target.calls());

    let listed = ganger(&["breakers", "list", "--server", &daemon.url]);
    assert!(listed.stdout.contains(&target.breaker) && listed.stdout.contains("forced_open"), "{listed:?}");
    let reset = ganger(&["breakers", "reset", &target.breaker, "--server", &daemon.url]);
    assert_eq!((reset.status, reset.stdout.trim()), (Some(0), format!("{} is closed", target.breaker).as_str()));
    assert_eq!(daemon.at_rest(&id).await["attempts"], 1);
    let tripped = ganger(&["breakers", "trip", &target.breaker, "--for", "1s", "--server", &daemon.url]);
    assert_eq!(
        (tripped.status, tripped.stdout.trim()),
        (Some(0), format!("{} is forced_open", target.breaker).as_str())
    );
    let id = daemon.submit(json!({"type": "web", "payload": 2})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded", "after a second a probe finds out");

    let (status, unknown) = daemon.post("/v1/breakers/mcp%3Anobody/trip", json!({})).await;
    assert_eq!((status, &unknown["code"]), (404, &json!("not_found")), "{unknown}");
    assert!(unknown["detail"].as_str().unwrap().contains(&target.breaker), "{unknown}");
    for bad in [json!({"for_s": 0}), json!({"for_s": 99_999_999}), json!({"for_s": "x"}), json!({"untill": 1})] {
        let (status, problem) = daemon.post(&format!("{path}/trip"), bad.clone()).await;
        let field = bad.as_object().unwrap().keys().next().unwrap();
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{problem}");
    }
    let unknown = ganger(&["breakers", "reset", "nobody", "--server", &daemon.url]);
    assert!(unknown.status == Some(1) && unknown.stderr.contains(&target.breaker), "{unknown:?}");
}

/// Forty jobs fail at once and want to retry at once: a fifth of forty and ten may.
async fn retries_stay_within_their_budget(footing: Footing) {
    let target = Target::start(Mood::Refuses).await;
    let site = Site::new(footing).await;
    let retried =
        web(&target, 5).replace("base_delay_ms = 0\n", "base_delay_ms = 0\nretry_on_errors = [\"http_4xx\"]\n");
    let daemon = site.start(&retried).await;
    daemon.submit_many(&json!({"type": "web", "payload": 1}), 40).await;
    let deferred = "ganger_deferrals_total{queue=\"work\",reason=\"budget\"}";
    until("retries wait for the budget", || async { (daemon.metric(deferred).await >= 30.0).then_some(()) }).await;
    let attempts: Vec<u64> = daemon.get("/v1/jobs?limit=100").await["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["attempts"].as_u64().unwrap())
        .collect();
    let calls = target.calls().len();
    assert!((40..=40 + 18).contains(&calls), "{calls} calls");
    assert!(attempts.iter().sum::<u64>() <= calls as u64, "what was put off has not paid: {attempts:?}");
    assert_eq!(breaker(&daemon, &target.breaker).await["state"], "closed", "a refusal shows that it lives");
    until("what was put off shows when it is due", || async {
        let jobs = daemon.get("/v1/jobs?state=retrying&limit=100").await["jobs"].as_array().unwrap().clone();
        let last_run = |job: &Value| job["history"].as_array().unwrap().last().unwrap().clone();
        let is_put_off = |job: &&Value| time(&job["run_at"]) >= time(&last_run(job)["finished_at"]) + 5_000;
        (jobs.iter().filter(is_put_off).count() >= 10).then_some(())
    })
    .await;
}

/// The rules of a running daemon change with SIGHUP; what a breaker is in stays.
async fn a_reload_changes_when_it_opens(footing: Footing) {
    let target = Target::start(Mood::Fails).await;
    let site = Site::new(footing).await;
    let settings = |failures: u32| format!("[breakers]\nopen_ms = 600000\nfailures = {failures}\n{}", web(&target, 0));
    let command = site.command(&settings(1_000));
    let file = command.get_args().filter_map(|arg| arg.to_str()).filter(|arg| arg.contains("extra-")).last();
    let file = file.expect("a file of its own").to_owned();
    let daemon = Daemon::spawn(command).await;
    for id in daemon.submit_many(&json!({"type": "web", "payload": 1}), 6).await {
        assert_eq!(daemon.at_rest(&id).await["state"], "failed");
    }
    let seen = breaker(&daemon, &target.breaker).await;
    assert_eq!((&seen["state"], &seen["failures"]), (&json!("closed"), &json!(6)));
    std::fs::write(&file, settings(7)).unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    until("the new rules are in force", || async { daemon.log().contains("Reloaded").then_some(()) }).await;
    daemon.submit(json!({"type": "web", "payload": 1})).await;
    is_in(&daemon, &target.breaker, "open").await;
}
