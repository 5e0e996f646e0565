//! What each kind of action does to a real daemon.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{alert, audit, by_hand, count, ended, resolved, tell};
use crate::mcp_server;
use crate::support::daemon::{Daemon, Footing, Site, ganger, wait_for};
use crate::support::wait::until;

on_both_footings! {
    a_deep_queue_gets_workers_until_it_is_not_deep
    what_is_paused_for_a_while_goes_on_by_itself
    what_a_breaker_holds_is_no_work_for_more_workers
    more_is_shed_for_a_while_where_more_workers_did_not_help
    a_job_is_submitted_once_for_an_occurrence
    what_handlers_are_told_otherwise_lapses
}

/// A pool that stays at two workers unless somebody asks for more.
const POOL: &str = "[pools.work-workers]\nmin = 2\nmax = 12\nscale_on = []\n[scaling]\ntick_ms = 200\n\
                    cpu_headroom = 1.0\nmemory_headroom = 1.0\n";

async fn pool(daemon: &Daemon) -> Value {
    daemon.get("/v1/pools/work-workers").await
}

async fn a_deep_queue_gets_workers_until_it_is_not_deep(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = "[remediation.actions.grow]\nkind = 'scale_pool'\nqueue_label = 'queue'\nadd = 5\n\
                 verify = 'queue_depth'\nverify_below = 30\n\
                 [remediation.alerts.HighQueueDepth]\nactions = ['grow']\n";
    let daemon = site.start(&format!("{POOL}{rules}")).await;
    let gate = site.folder().join("gate");
    daemon.submit_many(&json!({"type": "shell", "payload": wait_for(&gate)}), 60).await;
    let deep = alert("HighQueueDepth", &json!({"queue": "work"}));
    tell(&daemon, &deep).await;
    let grown = until("the pool has five more", || async {
        let pool = pool(&daemon).await;
        (pool["busy"] == 7).then_some(pool)
    })
    .await;
    assert_eq!((&grown["floor"], &grown["override"]["remedy"]["workers"]), (&json!(7), &json!(7)), "{grown}");
    assert_eq!(grown["override"]["floor"], Value::Null, "an operator's floor is another: {grown}");
    assert!(grown["override"]["remedy"]["until"].is_string(), "{grown}");
    assert_eq!(audit(&daemon, "grow").await[0]["state"], "running");
    // Repeated, and told as over and firing again: it is the same occurrence.
    tell(&daemon, &deep).await;
    std::fs::write(&gate, "").unwrap();
    let row = ended(&daemon, "grow").await;
    assert_eq!((&row["state"], &row["target"]), (&json!("healed"), &json!("pool work-workers")), "{row}");
    assert_eq!((&row["alert"]["name"], &row["kind"]), (&json!("HighQueueDepth"), &json!("scale_pool")), "{row}");
    assert!(row["incident"].is_number() && row["ended_at"].is_string(), "{row}");
    let (before, after) = (&row["before"]["pools"][0], &row["after"]["pools"][0]);
    assert_eq!((&before["nodes"][0]["desired"], &after["nodes"][0]["desired"]), (&json!(2), &json!(7)), "{row}");
    assert!(before["queue"]["waiting"].as_u64() > after["queue"]["waiting"].as_u64(), "{row}");
    tell(&daemon, &resolved(&deep)).await;
    tell(&daemon, &deep).await;
    assert_eq!(audit(&daemon, "grow").await.len(), 1);
    assert_eq!((count(&daemon, "grow", "healed").await, count(&daemon, "grow", "failed").await), (1.0, 0.0));
}

async fn what_a_breaker_holds_is_no_work_for_more_workers(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = "[job_types.echo]\nqueue = 'work'\ndepends_on = ['db']\n\
                 [remediation.actions.grow]\nkind = 'scale_pool'\nqueue_label = 'queue'\nadd = 5\n\
                 verify = 'queue_depth'\nverify_below = 30\n";
    let daemon = site.start(&format!("{POOL}{rules}")).await;
    let (status, tripped) = daemon.post("/v1/breakers/db/trip", json!({"by": "ada", "reason": "works"})).await;
    assert_eq!(status, 200, "{tripped}");
    daemon.submit_many(&json!({"type": "echo", "payload": 1}), 40).await;
    let held = by_hand(&daemon, "grow", json!({"queue": "work"})).await;
    assert_eq!((&held["state"], &held["reason"]), (&json!("suppressed"), &json!("not_possible")), "{held}");
    let words = "all 40 jobs that wait in queue work are held by a pause or a breaker: more workers cannot help";
    assert!(held["words"].as_str().unwrap().contains(words), "{held}");
    assert_eq!(pool(&daemon).await["floor"], Value::Null);
    // Others wait too: for workers, and they are few.
    let gate = site.folder().join("gate");
    daemon.submit_many(&json!({"type": "shell", "payload": wait_for(&gate)}), 20).await;
    let grown = by_hand(&daemon, "grow", json!({"queue": "work"})).await;
    assert_eq!(grown["state"], "healed", "{grown}");
    assert!(grown["words"].as_str().unwrap().contains("(a pause or a breaker holds 40 more)"), "{grown}");
    let row = audit(&daemon, "grow").await.swap_remove(0);
    let queue = &row["before"]["pools"][0]["queue"];
    assert_eq!((&queue["held"], queue["waiting"].as_u64() <= Some(20)), (&json!(40), true), "{row}");
    std::fs::write(&gate, "").unwrap();
}

async fn what_is_paused_for_a_while_goes_on_by_itself(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = "[remediation.actions.hold]\nkind = 'pause_lane'\nqueue_label = 'queue'\nttl_ms = 2000\n\
                 [remediation.alerts.Flood]\nactions = ['hold']\n";
    let daemon = site.start(rules).await;
    tell(&daemon, &alert("Flood", &json!({"queue": "side"}))).await;
    let row = ended(&daemon, "hold").await;
    assert_eq!((&row["state"], &row["target"]), (&json!("healed"), &json!("queue side")), "{row}");
    assert_eq!((&row["before"]["paused"], &row["after"]["paused"]), (&json!(false), &json!(true)), "{row}");
    let id = daemon.submit(json!({"type": "side_sleep", "payload": {"ms": 1}})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
    assert!(daemon.get("/v1/queues/side").await["paused"].is_null());
    // An operator's pause is left alone, and nobody pauses what is paused.
    assert_eq!(daemon.post("/v1/queues/work/pause", json!({"by": "ada", "reason": "mine"})).await.0, 200);
    let held = by_hand(&daemon, "hold", json!({"queue": "work"})).await;
    assert_eq!((&held["state"], &held["reason"]), (&json!("suppressed"), &json!("not_possible")), "{held}");
    assert!(held["words"].as_str().unwrap().contains("by ada"), "{held}");
    // While an alert fires, what a person asks for belongs to its incident; each row of the timeline names its action.
    until("the incident shows what was asked for by hand", || async {
        let shown = daemon.get(&format!("/v1/incidents/{}", row["incident"])).await;
        let remedies = shown["remediations"].as_array().unwrap();
        let events = shown["timeline"].as_array().unwrap();
        let actions: Vec<&Value> = events.iter().filter(|event| event["kind"] == "action").collect();
        let is_named = |event: &&Value| event["words"].as_str().unwrap().starts_with("hold ");
        assert!(actions.iter().all(is_named), "{actions:?}");
        (remedies.len() == 2 && actions.len() == 3).then_some(())
    })
    .await;
}

async fn more_is_shed_for_a_while_where_more_workers_did_not_help(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = "[shedding]\nmode = 'auto'\nqueue_depth = 1000000\nfirst = ['noop']\n\
                 cpu = 1.0\nmemory = 1.0\nmemory_critical = 1.0\nerror_rate = 1.0\n\
                 [remediation.actions.grow]\nkind = 'scale_pool'\npool = 'work-workers'\nadd = 1\n\
                 verify = 'queue_depth'\nverify_below = 1\nverify_ms = 600\n\
                 [remediation.actions.shed]\nkind = 'set_shedding'\nup = 1\nlevel_max = 1\nttl_ms = 6000\n\
                 [remediation.actions.shed_two]\nkind = 'set_shedding'\nup = 2\nlevel_max = 2\n\
                 [remediation.alerts.HighQueueDepth]\nactions = ['grow']\nif_not_healed = ['shed']\n";
    let daemon = site.start(&format!("{POOL}{rules}")).await;
    let gate = site.folder().join("gate");
    daemon.submit_many(&json!({"type": "shell", "payload": wait_for(&gate)}), 20).await;
    tell(&daemon, &alert("HighQueueDepth", &json!({"queue": "work"}))).await;
    let grown = ended(&daemon, "grow").await;
    assert_eq!(grown["state"], "failed", "{grown}");
    let words = grown["words"].as_str().unwrap().to_owned();
    let shed = ended(&daemon, "shed").await;
    let dry = daemon.post("/v1/remediations/shed_two", json!({"dry_run": true})).await.1;
    assert!(
        dry["words"].as_str().unwrap().contains("every queue sheds 2 levels more for 600 s, up to level 2"),
        "{dry}"
    );
    assert_eq!((&shed["state"], &shed["after"]["levels"]["work"]), (&json!("healed"), &json!(1)), "{words}: {shed}");
    let (status, refused) = daemon.post("/v1/jobs", json!({"type": "noop"})).await;
    assert_eq!((status, &refused["code"], &refused["rule"]), (503, &json!("shed"), &json!("manual")), "{refused}");
    assert_eq!(daemon.get("/v1/shedding").await["floor"]["level"], 1);
    let shown = ganger(&["shedding", "show", "--server", &daemon.url]);
    assert!(shown.stdout.contains("floor: level 1 at least, held by remediation shed until "), "{shown:?}");
    let raised = "Queue work sheds at level 1 (was 0): remediation shed holds level 1 at least";
    assert!(daemon.log().contains(raised), "{}", daemon.log());
    until("it lapses", || async { (daemon.post("/v1/jobs", json!({"type": "noop"})).await.0 == 201).then_some(()) })
        .await;
    let over = "Queue work sheds at level 0 (was 1): a remedy holds level 1 no longer";
    until("that is told with its reason", || async { daemon.log().contains(over).then_some(()) }).await;
    until("the timeline has both", || async {
        let told = daemon.get("/v1/timeline").await.to_string();
        (told.contains(raised) && told.contains(over)).then_some(())
    })
    .await;
    std::fs::write(&gate, "").unwrap();
}

async fn a_job_is_submitted_once_for_an_occurrence(footing: Footing) {
    let site = Site::new(footing).await;
    let rules = "[remediation.actions.warm]\nkind = 'enqueue_job'\njob_type = 'echo'\npayload = '{\"priority\": \"high\"}'\n\
                 [remediation.actions.break]\nkind = 'enqueue_job'\njob_type = 'shell'\npayload = '\"exit 3\"'\n\
                 [remediation.alerts.Misses]\nactions = ['warm', 'break']\n";
    let daemon = site.start(rules).await;
    tell(&daemon, &alert("Misses", &json!({}))).await;
    let row = ended(&daemon, "warm").await;
    assert_eq!(row["state"], "healed", "{row}");
    let number = row["number"].to_string();
    let jobs = daemon.get(&format!("/v1/jobs?label.remediation={number}")).await;
    assert_eq!(jobs["jobs"][0]["payload"], json!({"priority": "high"}), "{jobs}");
    let row = ended(&daemon, "break").await;
    assert_eq!(row["state"], "failed", "a job that fails has healed nothing: {row}");
}

async fn what_handlers_are_told_otherwise_lapses(footing: Footing) {
    let site = Site::new(footing).await;
    let rules =
        "[remediation.actions.lower]\nkind = 'override'\nname = 'healing_threshold'\nvalue = 0.7\nttl_ms = 3000\n";
    let daemon = site.start(rules).await;
    let told = async || {
        let id = daemon.submit(json!({"type": "shell", "payload": "echo $GANGER_OVERRIDES"})).await;
        daemon.at_rest(&id).await["result"].clone()
    };
    assert_eq!(told().await, Value::Null);
    let done = by_hand(&daemon, "lower", json!({})).await;
    assert_eq!(done["state"], "healed", "{done}");
    assert_eq!(told().await, json!({"healing_threshold": 0.7}));
    assert_eq!(daemon.get("/v1/remediation").await["overrides"][0]["value"], 0.7);
    until("it lapses", || async { told().await.is_null().then_some(()) }).await;
}

/// The reference platform heals by the threshold that the daemon tells it.
#[cfg(feature = "platform-tools")]
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_threshold_reaches_heal_element() {
    let site = Site::new(Footing::Embedded).await;
    let rules = "[mcp_servers.platform]\ncommand = ['ganger', 'platform-tools']\n\
                 [job_types.heal]\nqueue = 'work'\ntimeout_ms = 60000\n[job_types.heal.retry]\nmax_retries = 0\n\
                 [job_types.apply_healing]\nqueue = 'work'\n\
                 [job_types.apply_healing.handler]\nkind = 'builtin'\nname = 'noop'\n\
                 [job_types.heal.handler]\nkind = 'mcp'\nserver = 'platform'\ntool = 'heal_element'\n\
                 [remediation.actions.lower]\nkind = 'override'\nname = 'healing_threshold'\nvalue = 0.01\nttl_ms = 5000\n";
    let daemon = site.start(rules).await;
    let page = json!({"html": "<html><body><form><button id='go' name='go'>Buy now</button><a href='/x'>Help</a></form></body></html>"});
    let heal = async |more: Value| {
        let mut payload = json!({
            "page": page,
            "element": "http://shop.test/#go",
            "locator": "#gone",
            "fingerprint": {"tag": "button", "role": "button", "interactive": true, "name": "Buy now", "text": "Buy now"},
        });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let id = daemon.submit(json!({"type": "heal", "payload": payload})).await;
        daemon.at_rest(&id).await
    };
    let job = heal(json!({})).await;
    assert_eq!(job["result"]["threshold"], 0.8, "{job}");
    assert_eq!(by_hand(&daemon, "lower", json!({})).await["state"], "healed");
    let job = heal(json!({})).await;
    assert_eq!((&job["result"]["threshold"], &job["state"]), (&json!(0.01), &json!("succeeded")), "{job}");
    let job = heal(json!({"threshold": 0.9})).await;
    assert_eq!(job["result"]["threshold"], 0.9, "what a call says itself holds: {job}");
    until("it lapses", || async {
        let known = daemon.get("/v1/remediation").await;
        known["overrides"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    // On another page: of this one the repository knows both elements by now.
    let other = json!({"html": page["html"], "url": "http://shop.test/other"});
    let job = heal(json!({"page": other, "element": "http://shop.test/other#go"})).await;
    assert_eq!(job["result"]["threshold"], 0.8, "{job}");
}

/// The children of a process.
fn children(parent: u32) -> Vec<i32> {
    let parents = format!("/proc/{parent}/task");
    let tasks = std::fs::read_dir(parents).into_iter().flatten().flatten();
    let listed = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    listed.flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// A server that stands still is replaced, and a job that needs it runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_server_that_is_silent_is_restarted() {
    let site = Site::new(Footing::Embedded).await;
    let [(variable, value)] = mcp_server::environment("old");
    let rules = format!(
        "[health]\ncheck_ms = 60000\n\
         [mcp_servers.old]\ncommand = {}\nconnections = 1\n[mcp_servers.old.env]\n{variable} = \"{value}\"\n\
         [job_types.call]\nqueue = \"work\"\ntimeout_ms = 60000\n[job_types.call.retry]\nmax_retries = 0\n\
         [job_types.call.handler]\nkind = \"mcp\"\nserver = \"old\"\ntool = \"echo\"\n\
         [handlers]\nterm_grace_ms = 200\n\
         [remediation.actions.restart]\nkind = 'restart_mcp_server'\nserver_label = 'server'\n\
         [remediation.alerts.MCPServerUnresponsive]\nactions = ['restart']\n",
        json!(mcp_server::command())
    );
    let daemon = site.start(&rules).await;
    let id = daemon.submit(json!({"type": "call", "payload": {"a": 1}})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
    let before = children(daemon.pid());
    assert_eq!(before.len(), 1, "{before:?}");
    kill(Pid::from_raw(before[0]), Signal::SIGSTOP).unwrap();
    let id = daemon.submit(json!({"type": "call", "payload": {"a": 2}})).await;
    tell(&daemon, &alert("MCPServerUnresponsive", &json!({"server": "old"}))).await;
    let row = ended(&daemon, "restart").await;
    assert_eq!((&row["state"], &row["target"]), (&json!("healed"), &json!("server old")), "{row}");
    // It was at a call, so nobody could say that it did not answer; that it did not is certain.
    assert_ne!(row["before"]["answers"], true, "{row}");
    assert_eq!(row["after"]["answers"], true, "{row}");
    // The call that the dead server had ends, whatever it comes to.
    daemon.at_rest(&id).await;
    let id = daemon.submit(json!({"type": "call", "payload": {"a": 3}})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "succeeded");
    let after = children(daemon.pid());
    assert!(!after.contains(&before[0]) && after.len() == 1, "{before:?} {after:?}");
    // A server that nobody knows is nobody's to restart.
    tell(&daemon, &alert("MCPServerUnresponsive", &json!({"server": "other"}))).await;
    let row = until("it is noted", || async {
        let row = audit(&daemon, "restart").await.swap_remove(0);
        (row["state"] == "suppressed").then_some(row)
    })
    .await;
    assert_eq!(row["reason"], "no_target", "{row}");
}

/// New connections under load: every job ends once.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_connections_are_renewed_under_load() {
    let site = Site::new(Footing::Cluster).await;
    let rules = "[remediation.actions.renew]\nkind = 'renew_ledger_pool'\ncool_down_ms = 0\nper_hour = 100\n\
                 [remediation]\nactions_per_hour = 100\n";
    let nodes = [site.start(rules).await, site.start(rules).await];
    let mut ids = Vec::new();
    for _round in 0..5 {
        ids.extend(nodes[0].submit_many(&json!({"type": "echo", "payload": {"x": 1}}), 300).await);
        let done = by_hand(&nodes[1], "renew", json!({})).await;
        assert_eq!((&done["state"], &done["target"]), (&json!("healed"), &json!("ledger")), "{done}");
    }
    for id in &ids {
        let job = nodes[1].at_rest(id).await;
        let counts = (&job["attempts"], &job["deliveries"]);
        assert_eq!((&job["state"], counts), (&json!("succeeded"), (&json!(1), &json!(1))), "{job}");
    }
    // The other node was asked to do the same.
    until("the other node has renewed too", || async {
        nodes[0].log().contains("the ledger has new connections").then_some(())
    })
    .await;
    assert_eq!(count(&nodes[1], "renew", "healed").await, 5.0);
    let row = audit(&nodes[0], "renew").await.swap_remove(0);
    assert_eq!(row["after"]["answers"], true, "{row}");
    assert!(row["after"]["connections"]["most"].as_u64() > Some(0), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_no_connections_to_renew() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start("[remediation.actions.renew]\nkind = 'renew_ledger_pool'\n").await;
    let done = by_hand(&daemon, "renew", json!({})).await;
    assert_eq!((&done["state"], &done["reason"]), (&json!("suppressed"), &json!("not_possible")), "{done}");
    assert!(done["words"].as_str().unwrap().contains("file"), "{done}");
}

/// Two workers are found to hold too much. One is replaced by the pool itself, which then has to wait; the remedy does
/// not.
#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_workers_are_replaced_beyond_the_pools_own_pace() {
    let site = Site::new(Footing::Embedded).await;
    let rules = "[health]\ncheck_ms = 100\nreplace_window_ms = 600000\n\
                 [pools.work-workers]\nworker_memory_bytes = 33554432\n\
                 [remediation.actions.heal]\nkind = 'replace_unhealthy_workers'\npool_label = 'worker_pool'\n\
                 [remediation.alerts.WorkerUnhealthy]\nactions = ['heal']\n";
    let daemon = site.start(rules).await;
    let folder = site.folder().display().to_string();
    // Each leaks once, and goes well the next time.
    let line = |n: u32| {
        format!(
            "test -e {folder}/l{n} && exit 0; touch {folder}/l{n}; leak=$(head -c 48000000 /dev/zero | tr -c x x); \
             while test -d {folder}; do sleep 0.1; done"
        )
    };
    let mut ids = Vec::new();
    for n in 0..2 {
        ids.push(daemon.submit(json!({"type": "shell", "payload": line(n)})).await);
    }
    let replaced = "ganger_worker_replacements_total{pool=\"work-workers\",reason=\"memory\"}";
    until("one is replaced and one is sick", || async {
        let workers = daemon.get("/v1/workers").await;
        let sick = workers["workers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["why"].is_string() && it["state"] != "draining")
            .count();
        (daemon.metric(replaced).await == 1.0 && sick == 1).then_some(())
    })
    .await;
    tell(&daemon, &alert("WorkerUnhealthy", &json!({"worker_pool": "work-workers"}))).await;
    let row = ended(&daemon, "heal").await;
    assert_eq!(row["state"], "healed", "{row}");
    assert_eq!(
        (&row["before"]["pools"][0]["unhealthy"], &row["after"]["pools"][0]["unhealthy"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(daemon.metric(replaced).await, 2.0);
    for id in &ids {
        assert_eq!(daemon.at_rest(id).await["state"], "succeeded");
    }
    let again = by_hand(&daemon, "heal", json!({})).await;
    assert_eq!(again["state"], "suppressed", "nobody is unhealthy: {again}");
}

/// A status page hears what the fields say, signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_page_is_told_and_its_refusal_is_a_failure() {
    type Heard = Arc<Mutex<Vec<(HeaderMap, Value)>>>;
    let heard: Heard = Arc::default();
    let note = heard.clone();
    let page = move |headers: HeaderMap, body: axum::Json<Value>| {
        let note = note.clone();
        async move {
            note.lock().await.push((headers, body.0));
        }
    };
    let refusal = || async { (axum::http::StatusCode::UNPROCESSABLE_ENTITY, "no such component") };
    let router = Router::new().route("/page", post(page)).route("/no", post(refusal));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let site = Site::new(Footing::Embedded).await;
    let rules = format!(
        "[remediation.actions.page]\nkind = 'post'\nurl = 'http://u:pass-word@{address}/page'\nsecret = 'hush'\n\
         fields = {{ title = '{{alert}} on {{label.server}}', text = '{{annotation.summary}}' }}\n\
         [remediation.actions.other]\nkind = 'post'\nurl = 'http://{address}/no'\n\
         [remediation.alerts.Down]\nactions = ['page', 'other']\n"
    );
    let daemon = site.start(&rules).await;
    tell(&daemon, &alert("Down", &json!({"server": "platform"}))).await;
    let row = ended(&daemon, "page").await;
    assert_eq!((&row["state"], &row["target"]), (&json!("healed"), &json!(address.to_string())), "{row}");
    let (headers, body) = heard.lock().await.remove(0);
    assert_eq!(body, json!({"title": "Down on platform", "text": "Down fires"}));
    assert_eq!(headers["webhook-id"], format!("remediation-{}", row["number"]).as_str());
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    let row = ended(&daemon, "other").await;
    assert_eq!(row["state"], "failed", "{row}");
    assert!(row["words"].as_str().unwrap().contains("no such component"), "{row}");
    assert!(!daemon.log().contains("pass-word"));
}
