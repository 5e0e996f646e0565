//! Every command of docs/OPERATING.md, run in order on a daemon with the default names.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::daemon::{Daemon, Footing, GANGER, Site, repository, run};

/// The default names, with handlers that need nothing: what fails does so at once, what heals goes to a person.
const DEFAULT_NAMES: &str = r#"
inherit_defaults = true
[job_types.plan_generation.handler]
kind = "builtin"
name = "noop"
[job_types.test_execution.handler]
kind = "builtin"
name = "fail"
[job_types.element_healing.handler]
kind = "builtin"
name = "fail"
[job_types.analytics_queries.handler]
kind = "builtin"
name = "noop"
# Most runs fail here on purpose, and the machine has other work.
[shedding]
cpu = 1.0
error_rate = 1.0
"#;

/// Blocks that need a program which is not there: their marks, and who runs them instead.
const ELSEWHERE: [&str; 3] = [
    "kubernetes",   // a cluster; nobody
    "systemd",      // a service manager; nobody
    "alertmanager", // scripts/check-deploy.sh
];

/// A block of shell commands.
#[derive(Debug, PartialEq)]
struct Block {
    line: usize,
    mark: String,
    text: String,
}

/// The blocks of a Markdown text that are marked `sh`; those within lists are indented.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (open.as_mut(), fence) {
            (None, Some(mark)) => open = Some(Block { line: number + 1, mark: mark.to_owned(), text: String::new() }),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text += &format!("{}\n", line.trim_start()),
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a block has no end");
    found.retain(|block| block.mark == "sh" || block.mark.starts_with("sh "));
    found
}

#[test]
fn blocks_are_found_in_lists_too() {
    let block = |line, mark: &str, text: &str| Block { line, mark: mark.to_owned(), text: text.to_owned() };
    let text = "a\n```sh\nx\ny\n```\n- b\n\n  ```sh systemd\n  z\n  ```\n```toml\nc = 1\n```\n";
    assert_eq!(blocks(text), [block(2, "sh", "x\ny\n"), block(8, "sh systemd", "z\n")]);
}

/// What the page's variables stand for, made anew for each block: it may retry, cancel or decide on them.
async fn things(daemon: &Daemon) -> Vec<(&'static str, String)> {
    let waiting = json!({ "type": "plan_generation", "delay_ms": 3_600_000 });
    let fail = json!({ "class": "assertion_failure", "times": 9 });
    let failed = daemon.submit(json!({ "type": "test_execution", "payload": fail })).await;
    let review = daemon.submit(json!({ "type": "element_healing", "payload": fail })).await;
    assert_eq!(daemon.at_rest(&failed).await["state"], "failed");
    assert_eq!(daemon.at_rest(&review).await["state"], "in_review");
    let workers = daemon.get("/v1/workers").await;
    let of_exec = |worker: &&serde_json::Value| worker["pool"] == "exec-workers" && worker["state"] != "draining";
    let worker = workers["workers"].as_array().unwrap().iter().find(of_exec).expect("a worker");
    let worker = format!("{}:{}", worker["node"].as_str().unwrap(), worker["name"].as_str().unwrap());
    let incidents = daemon.get("/v1/incidents").await;
    let incident = incidents["incidents"][0]["id"].as_i64().expect("an incident");
    vec![
        ("JOB", daemon.submit(waiting).await),
        ("FAILED", failed),
        ("REVIEW", review),
        ("WORKER", worker),
        ("INCIDENT", incident.to_string()),
    ]
}

/// Tells the daemon of an alert, as Alertmanager does; nothing is configured to be done about it.
async fn an_incident(daemon: &Daemon) {
    let webhook = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "ganger",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://localhost:9093",
        "alerts": [{
            "status": "firing", "labels": { "alertname": "LedgerSlow", "severity": "warning" },
            "annotations": { "summary": "commits take long" }, "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://localhost:9090", "fingerprint": "0123456789abcdef",
        }],
    });
    let (status, answer) = daemon.post("/v1/alerts", webhook).await;
    assert!((200..300).contains(&status), "{status} {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_operating_page_works() {
    let text = std::fs::read_to_string(repository("docs/OPERATING.md")).unwrap();
    let blocks = blocks(&text);
    assert!(blocks.len() > 60, "{} blocks", blocks.len());
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start(DEFAULT_NAMES).await;
    an_incident(&daemon).await;
    let programs = Path::new(GANGER).parent().unwrap().to_str().unwrap();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut wrong = Vec::new();
    for Block { line, mark, text } in blocks {
        if let Some(mark) = mark.strip_prefix("sh ") {
            assert!(ELSEWHERE.contains(&mark), "docs/OPERATING.md:{line}: the mark {mark:?} is not known");
            continue;
        }
        let things = things(&daemon).await;
        let mut shell = Command::new("sh");
        shell.args(["-euc", &text]).env("PATH", &path).env("GANGER_SERVER", &daemon.url).envs(things);
        let ran = run(shell.current_dir(site.folder()));
        if ran.status != Some(0) {
            wrong.push(format!("docs/OPERATING.md:{line}\n{text}{ran:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
