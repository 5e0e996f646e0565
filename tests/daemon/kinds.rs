//! Each kind of handler under the daemon: a deadline, a cancel, and a crash of the daemon in the middle of a call.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::mcp::{calls, job_type, server};
use crate::mcp_server::HttpServer;
use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::until;

const KINDS: [&str; 4] = ["http", "command", "mcp_stdio", "mcp_http"];

/// A job type of each kind, all of which note their start, wait for a gate, and note when they are told to stop.
struct Kinds {
    site: Site,
    configuration: String,
    gate: PathBuf,
    _far: (JoinSet<()>, HttpServer),
}

impl Kinds {
    async fn new() -> Self {
        let site = Site::new(Footing::Embedded).await;
        let gate = site.folder().join("gate");
        let (url, web) = web(&gate).await;
        let http = HttpServer::start("old").await;
        // The shell reads its payload's only member of this name, and ends with the test's folder.
        let line = r#"
            payload=$(cat)
            notes=$(printf '%s' "$payload" | sed 's/.*"notes":"\([^"]*\)".*/\1/')
            gate=$(printf '%s' "$payload" | sed 's/.*"gate":"\([^"]*\)".*/\1/')
            trap 'echo "cancelled $GANGER_FENCE" >> "$notes"; exit 0' TERM
            echo "started $GANGER_FENCE" >> "$notes"
            while test -d "$(dirname "$gate")" && ! test -e "$gate"; do sleep 0.02; done
            echo '"through"'"#;
        let configuration = [
            job_type("http", &format!("kind = \"http\"\nurl = \"{url}\"")),
            job_type("command", &format!("kind = \"command\"\nprogram = \"sh\"\nargs = {}", json!(["-c", line]))),
            server("child", "old", ""),
            format!("[mcp_servers.url]\nurl = \"{}\"\n", http.url),
            calls("mcp_stdio", "child", "wait"),
            calls("mcp_http", "url", "wait"),
        ]
        .concat();
        Self { site, configuration, gate, _far: (web, http) }
    }

    async fn start(&self) -> Daemon {
        self.site.start(&self.configuration).await
    }

    fn notes(&self, kind: &str) -> PathBuf {
        self.site.folder().join(format!("{kind}.notes"))
    }

    /// Submits one job of each kind with these members beside type and payload, and waits until all are under way.
    async fn under_way(&self, daemon: &Daemon, with: Value) -> Vec<String> {
        let mut ids = Vec::new();
        for kind in KINDS {
            let mut submit = with.clone();
            submit["type"] = json!(kind);
            submit["payload"] = json!({"notes": self.notes(kind), "gate": self.gate});
            ids.push(daemon.submit(submit).await);
        }
        for kind in KINDS {
            self.noted(kind, "started", 1).await;
        }
        ids
    }

    /// The fences of `count` notes of this word.
    async fn noted(&self, kind: &str, word: &str, count: usize) -> Vec<i64> {
        until(&format!("{kind} has {word} {count} times"), || async {
            let fences = fences(&self.notes(kind), word);
            (fences.len() == count).then_some(fences)
        })
        .await
    }
}

/// The fences that were noted beside this word.
fn fences(notes: &Path, word: &str) -> Vec<i64> {
    let text = std::fs::read_to_string(notes).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(word)?.split_whitespace().next()?.parse().ok()).collect()
}

/// Notes that the caller has hung up, unless it was answered.
struct Hearing {
    notes: PathBuf,
    fence: Value,
    is_answered: bool,
}

impl Hearing {
    fn note(&self, word: &str) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.notes).unwrap();
        writeln!(file, "{word} {}", self.fence).unwrap();
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        if !self.is_answered && self.notes.parent().unwrap().exists() {
            self.note("cancelled");
        }
    }
}

/// A web service that waits for the gate.
async fn web(gate: &Path) -> (String, JoinSet<()>) {
    let gate = gate.to_owned();
    let answer = move |body: axum::Json<Value>| {
        let gate = gate.clone();
        async move {
            let notes = body["payload"]["notes"].as_str().unwrap().into();
            let mut hearing = Hearing { notes, fence: body["job"]["fence"].clone(), is_answered: false };
            hearing.note("started");
            until("the gate opens", || async { gate.exists().then_some(()) }).await;
            hearing.is_answered = true;
            axum::Json("through")
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await.unwrap() });
    (url, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_call_of_any_kind() {
    let kinds = Kinds::new().await;
    let daemon = kinds.start().await;
    let ids = kinds.under_way(&daemon, json!({"timeout_ms": 8_000})).await;
    for (kind, id) in KINDS.into_iter().zip(&ids) {
        let job = daemon.at_rest(id).await;
        assert_eq!(
            (&job["state"], &job["error"]["class"], &job["attempts"], &job["crashes"]),
            (&json!("failed"), &json!("timeout"), &json!(1), &json!(0)),
            "{kind}: {job}"
        );
        assert_eq!(kinds.noted(kind, "cancelled", 1).await, fences(&kinds.notes(kind), "started"), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_a_call_of_any_kind() {
    let kinds = Kinds::new().await;
    let daemon = kinds.start().await;
    let ids = kinds.under_way(&daemon, json!({})).await;
    for (kind, id) in KINDS.into_iter().zip(&ids) {
        let (status, job) = daemon.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
        assert_eq!((status, &job["state"]), (200, &json!("cancelled")), "{kind}: {job}");
        assert_eq!(kinds.noted(kind, "cancelled", 1).await, fences(&kinds.notes(kind), "started"), "{kind}");
    }
    // What a far side says after that is nobody's result.
    std::fs::write(&kinds.gate, "").unwrap();
    for (kind, id) in KINDS.into_iter().zip(&ids) {
        assert_eq!(daemon.at_rest(id).await["state"], "cancelled", "{kind}");
        let next =
            daemon.submit(json!({"type": kind, "payload": {"notes": kinds.notes(kind), "gate": kinds.gate}})).await;
        assert_eq!(daemon.at_rest(&next).await["result"], "through", "{kind}");
    }
}

/// Each job ends once more, under a higher fence, with one outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_any_kind_survives_the_daemon() {
    let kinds = Kinds::new().await;
    let mut daemon = kinds.start().await;
    let ids = kinds.under_way(&daemon, json!({})).await;
    daemon.kill();
    let daemon = kinds.start().await;
    for kind in KINDS {
        kinds.noted(kind, "started", 2).await;
    }
    std::fs::write(&kinds.gate, "").unwrap();
    for (kind, id) in KINDS.into_iter().zip(&ids) {
        let job = daemon.at_rest(id).await;
        assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &json!("through")), "{kind}: {job}");
        assert_eq!((&job["attempts"], job["history"].as_array().unwrap().len()), (&json!(1), 1), "{kind}: {job}");
        let fences = fences(&kinds.notes(kind), "started");
        assert!(fences.len() == 2 && fences[0] < fences[1], "{kind}: {fences:?}");
        assert_eq!(job["fence"], json!(fences[1]), "{kind}");
    }
}
