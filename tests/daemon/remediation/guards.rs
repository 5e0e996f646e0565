//! What holds actions back, and what becomes of those that fail, hang, or lose their node.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{alert, audit, by_hand, count, ended, resolved, tell, webhook};
use crate::support::daemon::{Daemon, Footing, Site, ganger};
use crate::support::wait::{PATIENCE, until, within};

on_both_footings! {
    cool_downs_budgets_and_dry_runs_hold
    the_kill_switch_holds_on_all_nodes_and_over_restarts
    a_command_that_fails_or_hangs_is_a_failure_and_no_more
    an_action_whose_daemon_dies_is_abandoned
    an_action_whose_daemon_leaves_says_so
    alerts_that_a_dead_daemon_left_alone_are_acted_on
    a_storm_of_alerts_is_one_budgets_worth_of_actions
}

/// An action that leaves a line in a file with the alert that led to it.
fn noting(site: &Site, name: &str, more: &str) -> String {
    let file = site.folder().join(name);
    let line = format!("echo $GANGER_ALERT $GANGER_LABEL_QUEUE >> {}", file.display());
    format!("[remediation.actions.{name}]\nkind = 'command'\nprogram = 'sh'\nargs = {}\n{more}\n", json!(["-c", line]))
}

fn lines(site: &Site, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(site.folder().join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits until an action has as many rows, whatever their states.
async fn rows(daemon: &Daemon, action: &str, many: usize) -> Vec<Value> {
    until(&format!("the audit has {many} rows of {action}"), || async {
        let rows = audit(daemon, action).await;
        (rows.len() >= many && rows.iter().all(|row| row["state"] != "running")).then_some(rows)
    })
    .await
}

async fn cool_downs_budgets_and_dry_runs_hold(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = [
        "[remediation]\nactions_per_hour = 3\n".to_owned(),
        noting(&site, "cool", ""),
        noting(&site, "often", "cool_down_ms = 0\nper_hour = 2"),
        noting(&site, "dry", "dry_run = true"),
        "[remediation.alerts.Cool]\nactions = ['cool']\n[remediation.alerts.Often]\nactions = ['often']\n\
         [remediation.alerts.Dry]\nactions = ['dry']\n"
            .to_owned(),
    ]
    .concat();
    let daemon = site.start(&rules).await;
    let reasons = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| row["reason"].as_str().unwrap_or(row["state"].as_str().unwrap()).to_owned()).collect()
    };
    // A dry run says what it would do, and counts for no other.
    tell(&daemon, &alert("Dry", &json!({}))).await;
    let row = rows(&daemon, "dry", 1).await.swap_remove(0);
    assert_eq!((&row["state"], &row["dry_run"]), (&json!("dry_run"), &json!(true)), "{row}");
    assert!(row["words"].as_str().unwrap().contains("is run"), "{row}");
    tell(&daemon, &alert("Cool", &json!({}))).await;
    rows(&daemon, "cool", 1).await;
    tell(&daemon, &alert("Cool", &json!({}))).await;
    let cooling = rows(&daemon, "cool", 2).await;
    assert_eq!(reasons(&cooling), ["cool_down", "healed"]);
    let words = "not done: it was done on the same target less than 300 s ago; what was asked for: `sh` is run";
    assert_eq!(cooling[0]["words"], words);
    for n in 1..=2 {
        tell(&daemon, &alert("Often", &json!({}))).await;
        rows(&daemon, "often", n).await;
    }
    tell(&daemon, &alert("Often", &json!({}))).await;
    let told = rows(&daemon, "often", 3).await;
    assert!(["action_budget", "budget"].contains(&reasons(&told)[0].as_str()), "{told:?}");
    // All that an hour allows is spent.
    let over = by_hand(&daemon, "often", json!({})).await;
    assert_eq!(over["state"], "suppressed", "{over}");
    assert!(over["words"].as_str().unwrap().starts_with("not done: "), "{over}");
    assert_eq!((lines(&site, "cool").len(), lines(&site, "often").len(), lines(&site, "dry").len()), (1, 2, 0));
    assert_eq!((count(&daemon, "cool", "suppressed").await, count(&daemon, "dry", "dry_run").await), (1.0, 1.0));
    assert_eq!(count(&daemon, "cool", "failed").await, 0.0, "suppressed is no failure");
}

async fn the_kill_switch_holds_on_all_nodes_and_over_restarts(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = format!(
        "{}[remediation.alerts.A]\nactions = ['note']\n",
        noting(&site, "note", "cool_down_ms = 0\nper_hour = 99")
    );
    let mut first = site.start(&rules).await;
    let other = if footing == Footing::Cluster { Some(site.start(&rules).await) } else { None };
    let off = ganger(&["remediation", "disable", "--reason", "a release", "--server", &first.url]);
    assert_eq!(off.status, Some(0), "{off:?}");
    assert!(off.stdout.contains("remediation: off (set by ") && off.stdout.contains("a release"), "{off:?}");
    // At once, and on the other node too.
    let told = other.as_ref().unwrap_or(&first);
    tell(told, &alert("A", &json!({}))).await;
    let row = rows(told, "note", 1).await.swap_remove(0);
    assert_eq!((&row["state"], &row["reason"]), (&json!("suppressed"), &json!("disabled")), "{row}");
    assert!(row["words"].as_str().unwrap().starts_with("not done: remediation is switched off"), "{row}");
    until("the metric says so", || async { (told.metric("ganger_remediation_enabled").await == 0.0).then_some(()) })
        .await;
    first.kill();
    let first = site.start(&rules).await;
    assert_eq!(first.get("/v1/remediation").await["configured"]["enabled"], true);
    let held = by_hand(&first, "note", json!({})).await;
    assert_eq!(held["reason"], "disabled", "{held}");
    assert!(lines(&site, "note").is_empty());
    // Only said, then done.
    let dry = ganger(&["remediation", "enable", "--dry-run", "--server", &first.url]);
    assert!(dry.stdout.starts_with("remediation: dry run"), "{dry:?}");
    let said = ganger(&["remediation", "run", "note", "--server", &first.url]);
    assert!(said.status == Some(0) && said.stdout.contains(": dry_run: "), "{said:?}");
    assert_eq!(by_hand(&first, "note", json!({})).await["state"], "dry_run");
    assert!(lines(&site, "note").is_empty());
    let on = ganger(&["remediation", "enable", "--server", &first.url]);
    assert!(on.stdout.starts_with("remediation: on"), "{on:?}");
    let ran = ganger(&["remediation", "run", "note", "--label", "queue=work", "--by", "ada", "--server", &first.url]);
    assert!(ran.status == Some(0) && ran.stdout.starts_with("note on sh: healed: "), "{ran:?}");
    assert_eq!(lines(&site, "note"), ["work"]);
    let listed = ganger(&["remediation", "list", "--action", "note", "--server", &first.url]);
    assert!(listed.stdout.contains("REASON") && listed.stdout.contains(" disabled "), "{listed:?}");
    assert!(listed.stdout.contains("ada") && listed.stdout.lines().count() >= 4, "{listed:?}");
    let shown = ganger(&["remediation", "show", "--server", &first.url]);
    assert!(shown.stdout.contains("note") && shown.stdout.contains("ALERT"), "{shown:?}");
}

async fn a_command_that_fails_or_hangs_is_a_failure_and_no_more(footing: Footing) {
    let site = Site::new(footing).await;
    let pid = site.folder().join("pid");
    let hang = format!("trap '' TERM; sleep 1000 & echo $! > {}; wait", pid.display());
    let rules = [
        "[handlers]\nterm_grace_ms = 100\n".to_owned(),
        "[remediation.actions.fail]\nkind = 'command'\nprogram = 'sh'\nargs = ['-c', 'echo no licence >&2; exit 3']\n\
         [remediation.actions.fail_by_hand]\nkind = 'command'\nprogram = 'false'\n"
            .to_owned(),
        format!(
            "[remediation.actions.hang]\nkind = 'command'\nprogram = 'sh'\ntimeout_ms = 500\nargs = {}\n",
            json!(["-c", hang])
        ),
        noting(&site, "then", ""),
        "[remediation.alerts.A]\nactions = ['fail']\nif_not_healed = ['hang', 'then']\n".to_owned(),
    ]
    .concat();
    let daemon = site.start(&rules).await;
    tell(&daemon, &alert("A", &json!({"queue": "work"}))).await;
    let row = ended(&daemon, "fail").await;
    assert_eq!(row["state"], "failed", "{row}");
    assert!(row["words"].as_str().unwrap().contains("exit code 3: no licence"), "{row}");
    let row = ended(&daemon, "hang").await;
    assert_eq!(row["state"], "failed", "{row}");
    assert!(row["words"].as_str().unwrap().contains("longer than 500 ms"), "{row}");
    let id: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    until("its group is gone", || async {
        let lives = std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        (!lives).then_some(())
    })
    .await;
    // What is left to be tried was tried.
    assert_eq!(ended(&daemon, "then").await["state"], "healed");
    assert_eq!(lines(&site, "then"), ["A work"]);
    let failed = ganger(&["remediation", "run", "fail_by_hand", "--server", &daemon.url]);
    assert!(failed.status == Some(1) && failed.stdout.contains(": failed: "), "{failed:?}");
    let ran = ganger(&["remediation", "run", "fail", "--server", &daemon.url]);
    assert!(ran.status == Some(1) && ran.stdout.contains("suppressed: not done: "), "its cool-down: {ran:?}");
    assert_eq!((count(&daemon, "fail", "failed").await, count(&daemon, "hang", "failed").await), (1.0, 1.0));
}

async fn an_action_whose_daemon_dies_is_abandoned(footing: Footing) {
    let site = Site::new(footing).await;
    let begun = site.folder().join("begun");
    let line = format!("touch {}; while test -d {}; do sleep 0.1; done", begun.display(), site.folder().display());
    let rules = format!(
        "[remediation.actions.slow]\nkind = 'command'\nprogram = 'sh'\ntimeout_ms = 600000\nargs = {}\n\
         [remediation.alerts.A]\nactions = ['slow']\n",
        json!(["-c", line])
    );
    let mut daemon = site.start(&rules).await;
    tell(&daemon, &alert("A", &json!({}))).await;
    until("it is under way", || async { begun.exists().then_some(()) }).await;
    assert_eq!(audit(&daemon, "slow").await[0]["state"], "running");
    daemon.kill();
    let daemon = site.start(&rules).await;
    let row = ended(&daemon, "slow").await;
    assert_eq!(row["state"], "failed", "{row}");
    assert!(row["words"].as_str().unwrap().contains("abandoned"), "{row}");
    assert_eq!(count(&daemon, "slow", "failed").await, 1.0);
}

async fn an_action_whose_daemon_leaves_says_so(footing: Footing) {
    let site = Site::new(footing).await;
    let begun = site.folder().join("begun");
    let line = format!("touch {}; while test -d {}; do sleep 0.1; done", begun.display(), site.folder().display());
    let rules = format!(
        "[remediation.actions.slow]\nkind = 'command'\nprogram = 'sh'\ntimeout_ms = 600000\nargs = {}\n\
         [remediation.alerts.A]\nactions = ['slow']\n",
        json!(["-c", line])
    );
    let mut daemon = site.start(&rules).await;
    tell(&daemon, &alert("A", &json!({}))).await;
    until("it is under way", || async { begun.exists().then_some(()) }).await;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(0));
    let daemon = site.start(&rules).await;
    let row = audit(&daemon, "slow").await[0].clone();
    assert_eq!(row["state"], "failed", "{row}");
    assert!(row["words"].as_str().unwrap().contains("the node left in the middle of it"), "{row}");
}

/// More alerts than are acted on at a time, and a node that dies over the first of them: the next one takes up the rest.
async fn alerts_that_a_dead_daemon_left_alone_are_acted_on(footing: Footing) {
    let site = Site::new(footing).await;
    let (begun, gate) = (site.folder().join("begun"), site.folder().join("gate"));
    let line = format!("echo begun >> {}; while test ! -e {}; do sleep 0.1; done", begun.display(), gate.display());
    let rules = format!(
        "[remediation]\nactions_per_hour = 1000\n[remediation.actions.slow]\nkind = 'command'\nprogram = 'sh'\n\
         timeout_ms = 600000\ncool_down_ms = 0\nper_hour = 1000\nargs = {}\n[remediation.alerts.A]\nactions = ['slow']\n",
        json!(["-c", line])
    );
    let mut daemon = site.start(&rules).await;
    let alerts: Vec<Value> = (0..20).map(|n| alert("A", &json!({"n": n.to_string()}))).collect();
    let (status, answer) = daemon.post("/v1/alerts", webhook(&alerts)).await;
    assert_eq!((status, &answer["new"]), (200, &json!(20)), "{answer}");
    until("as many are under way as may be", || async { (lines(&site, "begun").len() == 16).then_some(()) }).await;
    daemon.kill();
    std::fs::write(&gate, "").unwrap();
    let daemon = site.start(&rules).await;
    let rows = within(PATIENCE * 2, "all twenty are in the audit", || async {
        let rows = audit(&daemon, "slow").await;
        (rows.len() >= 20 && rows.iter().all(|row| row["state"] != "running")).then_some(rows)
    })
    .await;
    let of: BTreeSet<&str> = rows.iter().map(|row| row["alert"]["fingerprint"].as_str().unwrap()).collect();
    assert_eq!((of.len(), rows.len()), (20, 20), "each once");
    let healed = rows.iter().filter(|row| row["state"] == "healed").count();
    assert_eq!((healed, lines(&site, "begun").len()), (4, 20), "what had begun is not done again");
}

/// A thousand webhooks, each of another alert: some are refused for their number, all others are known, and no more is
/// done than an hour allows.
async fn a_storm_of_alerts_is_one_budgets_worth_of_actions(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = [
        "[remediation]\nactions_per_hour = 4\n".to_owned(),
        noting(&site, "note", "cool_down_ms = 0\nper_hour = 1000"),
        "[remediation.alerts.Storm]\nactions = ['note']\n".to_owned(),
    ]
    .concat();
    let daemon = site.start(&rules).await;
    let mut storm = JoinSet::new();
    for n in 0..1_000 {
        let body = webhook(&[alert("Storm", &json!({"n": n.to_string()}))]);
        let request = daemon.client.post(format!("{}/v1/alerts", daemon.url)).json(&body);
        storm.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let statuses = storm.join_all().await;
    assert!(statuses.iter().all(|status| [200, 429, 503].contains(status)), "{statuses:?}");
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!(taken > 0, "{statuses:?}");
    until("the storm has passed", || async {
        let rows = daemon.get("/v1/remediations?state=running").await;
        let done = count(&daemon, "note", "healed").await + count(&daemon, "note", "suppressed").await;
        let lost = daemon.metric("ganger_remediation_overflows_total").await;
        (rows["remediations"].as_array().unwrap().is_empty() && done + lost >= taken as f64).then_some(())
    })
    .await;
    assert_eq!(count(&daemon, "note", "healed").await, 4.0);
    assert_eq!(lines(&site, "note").len(), 4);
    assert_eq!(daemon.call("GET", "/livez", None).await.0, 200);
    let id = daemon.submit(json!({"type": "noop"})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
}

/// Two nodes hear of the same occurrence at the same time, many times over: one acts.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_that_hear_of_an_occurrence_one_acts() {
    let site = Site::new(Footing::Cluster).await;
    let rules = format!(
        "[remediation]\nactions_per_hour = 100\n{}[remediation.alerts.A]\nactions = ['note']\n",
        noting(&site, "note", "cool_down_ms = 0\nper_hour = 99")
    );
    let nodes = [site.start(&rules).await, site.start(&rules).await];
    for n in 1..=10 {
        let alert = alert("A", &json!({"queue": format!("q{n}")}));
        tokio::join!(
            tell(&nodes[0], &alert),
            tell(&nodes[1], &alert),
            tell(&nodes[0], &alert),
            tell(&nodes[1], &alert)
        );
        until("it is done", || async {
            let rows = audit(&nodes[0], "note").await;
            (rows.iter().filter(|row| row["state"] == "healed").count() >= n).then_some(())
        })
        .await;
    }
    let expected: Vec<String> = (1..=10).map(|n| format!("A q{n}")).collect();
    assert_eq!(lines(&site, "note"), expected);
    let healed = count(&nodes[0], "note", "healed").await + count(&nodes[1], "note", "healed").await;
    assert_eq!(healed, 10.0);
}

/// Without a token, or with one of another role, nothing is heard and nothing is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_its_token_does_nothing() {
    let site = Site::new(Footing::Embedded).await;
    let rules = [
        "[auth.tokens.alertmanager]\nrole = 'operate'\ntoken = 'alertmanager-0123'\n\
         [auth.tokens.reader]\nrole = 'read'\ntoken = 'reader-0123456789'\n"
            .to_owned(),
        noting(&site, "note", ""),
        "[remediation.alerts.A]\nactions = ['note']\n".to_owned(),
    ]
    .concat();
    let daemon = site.start(&rules).await;
    let send = async |method: &str, path: &str, body: &Value, token: Option<&str>| {
        let request = daemon.client.request(method.parse().unwrap(), format!("{}{path}", daemon.url)).json(body);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    let body = webhook(&[alert("A", &json!({}))]);
    let off = json!({"enabled": false});
    for (token, status) in [(None, 401), (Some("wrong-0123456789"), 401), (Some("reader-0123456789"), 403)] {
        assert_eq!(send("POST", "/v1/alerts", &body, token).await, status);
        assert_eq!(send("POST", "/v1/remediations/note", &json!({}), token).await, status);
        assert_eq!(send("PUT", "/v1/remediation", &off, token).await, status);
    }
    // The good one is heard; by then the others would have been acted on.
    assert_eq!(send("POST", "/v1/alerts", &body, Some("alertmanager-0123")).await, 200);
    until("it is done", || async { (!lines(&site, "note").is_empty()).then_some(()) }).await;
    let listed = daemon.client.get(format!("{}/v1/remediations", daemon.url)).bearer_auth("reader-0123456789");
    let listed: Value = listed.send().await.unwrap().json().await.unwrap();
    assert_eq!((listed["remediations"].as_array().unwrap().len(), lines(&site, "note").len()), (1, 1), "{listed}");
}

/// A remedy may be judged by its alert alone, and what is done about alerts is taken over while running.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_rules_over_and_the_end_of_an_alert_heals() {
    let site = Site::new(Footing::Embedded).await;
    let path = site.folder().join("live.toml");
    std::fs::write(&path, "").unwrap();
    let mut command = site.command("");
    command.arg("--config").arg(&path);
    let daemon = Daemon::spawn(command).await;
    let (status, _) = daemon.post("/v1/remediations/note", json!({})).await;
    assert_eq!(status, 404);
    let rules = noting(&site, "note", "verify = 'alert_resolved'");
    std::fs::write(&path, format!("{rules}[remediation.alerts.A]\nactions = ['note']\n")).unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    until("the action is known", || async {
        let known = daemon.get("/v1/remediation").await;
        (known["actions"][0]["name"] == "note").then_some(())
    })
    .await;
    let fires = alert("A", &json!({"queue": "work"}));
    tell(&daemon, &fires).await;
    until("it is done", || async { (!lines(&site, "note").is_empty()).then_some(()) }).await;
    assert_eq!(audit(&daemon, "note").await[0]["state"], "running");
    tell(&daemon, &resolved(&fires)).await;
    let row = ended(&daemon, "note").await;
    assert_eq!(row["state"], "healed", "{row}");
    assert!(row["words"].as_str().unwrap().ends_with("the alert is resolved"), "{row}");
    // A file that names what is not there changes nothing.
    std::fs::write(&path, "[remediation.alerts.A]\nactions = ['gone']\n").unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    until("the mistake is told", || async { daemon.log().contains("there is no action").then_some(()) }).await;
    assert_eq!(daemon.get("/v1/remediation").await["actions"][0]["name"], "note");
}
