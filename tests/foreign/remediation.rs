//! From the flood to the review: a real Prometheus sees it, a real Alertmanager tells, the daemon acts, and the incident's
//! times are those of the record.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, GANGER, ganger};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;
use crate::support::redis;
use crate::support::wait::{until, within};
use crate::watchers::Watchers;

/// From what fires to what was done, and from the end of what fired to the end of the incident: several rounds of
/// three programs that look every second.
const ROUNDS: Duration = Duration::from_secs(180);

/// The default configuration with `extra`, in `folder`.
fn command(folder: &std::path::Path, extra: &str) -> Command {
    let config = folder.join("extra.toml");
    std::fs::write(&config, format!("[incidents]\nquiet_s = 3\n{extra}")).unwrap();
    let mut command = Command::new(GANGER);
    command.args(["serve", "--listen", "127.0.0.1:0", "--migrate", "--data-dir"]).arg(folder.join("data"));
    command.arg("--config").arg(config).env_remove("RUST_LOG");
    command
}

/// The latest remedy of this action, once it has ended.
async fn remedied(daemon: &Daemon, action: &str) -> Value {
    within(ROUNDS, &format!("{action} has ended"), || async {
        let audit = daemon.get("/v1/remediations").await;
        let rows = audit["remediations"].as_array().unwrap().clone();
        rows.into_iter().find(|row| {
            row["action"] == action && ["healed", "failed", "dry_run"].contains(&row["state"].as_str().unwrap())
        })
    })
    .await
}

/// The first incident, once it is over.
async fn resolved(daemon: &Daemon) -> Value {
    within(ROUNDS, "the incident is over", || async {
        let incident = daemon.get("/v1/incidents/1").await;
        (incident["state"] == "resolved").then_some(incident)
    })
    .await
}

/// When Alertmanager says that the first alert of this name began.
async fn began(watchers: &Watchers, alert: &str) -> String {
    within(ROUNDS, &format!("{alert} fires"), || async {
        let firing = watchers.firing().await;
        let begun = firing.iter().filter(|one| one["labels"]["alertname"] == alert);
        begun.filter_map(|one| one["startsAt"].as_str().map(str::to_owned)).min()
    })
    .await
}

/// The incident has the times of the record, and its review tells them.
fn is_on_record(daemon: &Daemon, incident: &Value, alert: &str, began: &str, remedy: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{incident:#}")).to_owned();
    assert_eq!(text(&incident["name"]), alert);
    assert_eq!(text(&incident["detected_at"]), began, "{incident:#}");
    assert_eq!(incident["responded_at"], remedy["began_at"], "{incident:#}");
    let alerts = incident["alerts_shown"].as_array().unwrap();
    let last = alerts.iter().map(|alert| text(&alert["ends_at"])).max().unwrap();
    assert_eq!(text(&incident["resolved_at"]), last, "{incident:#}");
    let review = ganger(&["incidents", "review", "1", "--server", &daemon.url]);
    assert_eq!(review.status, Some(0), "{}", review.stderr);
    let seconds = |at: &Value| text(at)[..19].replace('T', " ");
    for time in [&incident["detected_at"], &incident["responded_at"], &incident["resolved_at"]] {
        let known = review.stdout.contains(&text(time)) || review.stdout.contains(&seconds(time));
        assert!(known, "{time} is not in\n{}", review.stdout);
    }
    for word in [alert, remedy["action"].as_str().unwrap()] {
        assert!(review.stdout.replace('\\', "").contains(word), "{word} is not in\n{}", review.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooded_queue_gets_five_workers_and_a_review() {
    let folder = tempfile::tempdir().unwrap();
    // Depth alone does not grow this pool: what grows it is the remedy.
    let extra = "[pools.exec-workers]\nmax = 60\nscale_on = [\"cpu\"]\n\
                 [scaling]\ntick_ms = 200\ncpu_headroom = 1.0\nmemory_headroom = 1.0\n\
                 [job_types.test_execution.handler]\nkind = \"builtin\"\nname = \"sleep\"\n";
    let daemon = Daemon::spawn(command(folder.path(), extra)).await;
    let watchers = Watchers::of(&daemon, "HighQueueDepth").await;
    daemon.submit_many(&json!({"type": "test_execution", "payload": {"ms": 1000}}), 650).await;
    let began = began(&watchers, "HighQueueDepth").await;
    let remedy = remedied(&daemon, "scale_queue_workers").await;
    assert_eq!((&remedy["state"], &remedy["target"]), (&json!("healed"), &json!("pool exec-workers")), "{remedy:#}");
    assert_eq!(remedy["alert"]["name"], "HighQueueDepth");
    let pools = daemon.get("/v1/pools").await.to_string();
    assert!(pools.contains("\"floor\""), "{pools}");
    until("ten workers have worked", || async {
        let workers = daemon.get("/v1/workers").await;
        let workers = workers["workers"].as_array().unwrap().clone();
        let count = workers.iter().filter(|worker| worker["pool"] == "exec-workers").count();
        (count >= 10).then_some(())
    })
    .await;
    let incident = resolved(&daemon).await;
    is_on_record(&daemon, &incident, "HighQueueDepth", &began, &remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn sick_workers_are_an_incident() {
    let folder = tempfile::tempdir().unwrap();
    // Each job's first run holds more than its worker may. Of 15 workers the daemon replaces three in half a minute by
    // itself; the other three are left to the remedy.
    let line = format!(
        "met={}/$GANGER_JOB_ID; test -e $met && exit 0; touch $met; \
         leak=$(head -c 48000000 /dev/zero | tr -c x x); while :; do sleep 0.1; done",
        folder.path().display()
    );
    let extra = format!(
        "[health]\ncheck_ms = 200\n[shedding]\nmode = \"off\"\n[pools.exec-workers]\nmin = 15\nworker_memory_bytes = 33554432\n\
         [job_types.test_execution.handler]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", '{line}']\n"
    );
    let daemon = Daemon::spawn(command(folder.path(), &extra)).await;
    let watchers = Watchers::of(&daemon, "WorkerUnhealthy").await;
    let ids = daemon.submit_many(&json!({"type": "test_execution", "payload": {}}), 6).await;
    let began = began(&watchers, "WorkerUnhealthy").await;
    let remedy = remedied(&daemon, "replace_unhealthy_workers").await;
    assert_eq!((&remedy["state"], &remedy["target"]), (&json!("healed"), &json!("pool exec-workers")), "{remedy:#}");
    let replaced = "ganger_worker_replacements_total{pool=\"exec-workers\",reason=\"memory\"}";
    until("all six are replaced", || async { (daemon.metric(replaced).await >= 6.0).then_some(()) }).await;
    for id in &ids {
        let job = daemon.at_rest(id).await;
        assert_eq!((&job["state"], &job["crashes"]), (&json!("succeeded"), &json!(1)), "{job}");
    }
    let incident = resolved(&daemon).await;
    is_on_record(&daemon, &incident, "WorkerUnhealthy", &began, &remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_ledger_pool_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let database = Postgres::shared().await.database().await;
    let link = Proxy::to(&database.url, 7).await;
    let extra = "[ledger]\npool_size = 2\ntimeout_ms = 30000\n\
                 [job_types.test_execution.handler]\nkind = \"builtin\"\nname = \"noop\"\n";
    let mut serve = command(folder.path(), extra);
    serve.env("GANGER__LEDGER__URL", link.url(&database.url));
    serve.env("GANGER__REDIS__URL", redis::shared_url().await);
    serve.env("GANGER__REDIS__KEY_PREFIX", redis::random_prefix());
    let daemon = Daemon::spawn(serve).await;
    let watchers = Watchers::of(&daemon, "DatabaseConnectionExhausted").await;
    // Two connections, and each answer takes its time: somebody waits at every look.
    link.delay(Duration::from_millis(250), Duration::ZERO);
    let ids = daemon.submit_many(&json!({"type": "test_execution", "payload": {}}), 200).await;
    let asking = async {
        loop {
            let asks = (0..8).map(|at| daemon.job(&ids[at * 20]));
            futures_util::future::join_all(asks).await;
        }
    };
    let began = tokio::select! {
        () = asking => unreachable!("it asks for ever"),
        began = async {
            let began = began(&watchers, "DatabaseConnectionExhausted").await;
            within(ROUNDS, "the renewal is under way", || async {
                let audit = daemon.get("/v1/remediations").await;
                audit["remediations"].as_array().unwrap().iter().any(|row| row["action"] == "renew_ledger_pool").then_some(())
            })
            .await;
            began
        } => began,
    };
    // What was slow was on the way: with new connections it is well again.
    link.calm();
    let remedy = remedied(&daemon, "renew_ledger_pool").await;
    assert_eq!(remedy["state"], "healed", "{remedy:#}");
    let incident = resolved(&daemon).await;
    is_on_record(&daemon, &incident, "DatabaseConnectionExhausted", &began, &remedy);
    // Renewed under load, and nothing of it lost.
    for id in &ids {
        let job = daemon.at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
    }
}
