//! Calls of MCP servers of others that last, are stopped, or lose their server.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::config::{behind, calls, calls_again, child};
use crate::servers::{Listening, Tap, below, everything, noted, tapped};
use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::until;
use crate::{failure, result};

/// The tool that takes as long as it is told, with a sign of life after each of its steps.
const LONG: &str = "trigger-long-running-operation";

/// Waits until a call of this job is under way at the server.
async fn under_way(id: &str, messages: impl Fn() -> Vec<Value>) -> Value {
    until("the call has been sent", || {
        let of_job = |message: &Value| message["params"]["_meta"]["ganger"]["id"] == id;
        let call = messages().into_iter().find(of_job);
        async move { call }
    })
    .await
}

/// Waits until the server has been told that this call is cancelled.
async fn cancelled(call: &Value, messages: impl Fn() -> Vec<Value>) {
    until("the cancellation has been sent", || {
        let is_it = |message: &Value| {
            message["method"] == "notifications/cancelled" && message["params"]["requestId"] == call["id"]
        };
        let told = messages().iter().any(is_it);
        async move { told.then_some(()) }
    })
    .await;
}

/// Ends the daemon in order, which takes its children along: this server goes on with what was cancelled, even when its
/// stdin has ended.
async fn leave(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_keep_a_call_alive_and_silence_ends_it() {
    let site = Site::new(Footing::Embedded).await;
    let listening = Listening::everything().await;
    let mut extra = child("child", &[&everything()]) + "idle_ms = 1500\n";
    extra += &(behind("url", &listening.url()) + "idle_ms = 1500\n");
    extra += &(calls("child", "child", LONG, "") + &calls("url", "url", LONG, ""));
    let mut daemon = site.start(&extra).await;
    for server in ["child", "url"] {
        let job = daemon.submit(json!({"type": server, "payload": {"duration": 4, "steps": 16}})).await;
        let job = daemon.at_rest(&job).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        assert!(job["run_ms"].as_u64().unwrap() >= 4_000, "{job}");
        let (class, message) = failure(&daemon, server, json!({"duration": 3_600, "steps": 1})).await;
        assert!(class == "timeout" && message.contains("no sign of life for 1500 ms"), "{class}: {message}");
    }
    leave(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_and_a_cancel_reach_the_server() {
    let site = Site::new(Footing::Embedded).await;
    let notes = site.folder().join("notes");
    let listening = Listening::everything().await;
    let tap = Tap::before(listening.port).await;
    let mut extra = child("child", &tapped(notes.to_str().unwrap(), &[&everything()])) + &behind("url", &tap.url);
    for server in ["child", "url"] {
        extra += &calls(&format!("late_{server}"), server, LONG, "timeout_ms = 1500");
        extra += &calls(&format!("long_{server}"), server, LONG, "");
        extra += &calls(&format!("echo_{server}"), server, "echo", "");
    }
    let mut daemon = site.start(&extra).await;
    for server in ["child", "url"] {
        let heard = || if server == "child" { noted(&notes) } else { tap.messages() };
        // So that the session is there, and the time limit is the call's alone.
        result(&daemon, &format!("echo_{server}"), json!({"message": "first"})).await;
        let forever = json!({"duration": 3_600, "steps": 3_600});

        let late = daemon.submit(json!({"type": format!("late_{server}"), "payload": forever})).await;
        let call = under_way(&late, heard).await;
        let job = daemon.at_rest(&late).await;
        assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!("timeout")), "{job}");
        cancelled(&call, heard).await;

        let long = daemon.submit(json!({"type": format!("long_{server}"), "payload": forever})).await;
        let call = under_way(&long, heard).await;
        let (status, answer) = daemon.post(&format!("/v1/jobs/{long}/cancel"), json!({})).await;
        assert_eq!((status, &answer["state"]), (200, &json!("cancelled")), "{answer}");
        cancelled(&call, heard).await;
        result(&daemon, &format!("echo_{server}"), json!({"message": "the session goes on"})).await;
    }
    leave(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_killed_in_the_middle_is_replaced() {
    let site = Site::new(Footing::Embedded).await;
    let extra =
        child("child", &[&everything()]) + &calls("once", "child", LONG, "") + &calls_again("again", "child", LONG);
    let daemon = site.start(&extra).await;
    let server = || async {
        let all = below(daemon.pid());
        all.into_iter().find(|(_, line)| line.contains("server-everything")).map(|(pid, _)| pid)
    };
    let payload = json!({"duration": 2, "steps": 2});
    let mut killed = Vec::new();
    for (job_type, state, attempts) in [("once", "failed", 1), ("again", "succeeded", 2)] {
        let id = daemon.submit(json!({"type": job_type, "payload": payload})).await;
        daemon.in_state(&id, "running").await;
        let pid = until("the server runs", server).await;
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let job = daemon.at_rest(&id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!(state), &json!(attempts)), "{job}");
        let error = if state == "failed" { &job["error"] } else { &job["history"][0]["error"] };
        assert_eq!(error["class"], "connection", "{job}");
        assert!(error["message"].as_str().unwrap().contains("SIGKILL"), "{job}");
        killed.push(pid);
    }
    assert_ne!(killed[0], killed[1]);
}

/// A server that was started anew knows no session of before. Some say so with 404, as the protocol has it, some with 400.
#[tokio::test(flavor = "multi_thread")]
async fn a_url_whose_server_was_restarted_gets_a_new_session() {
    let site = Site::new(Footing::Embedded).await;
    let (mut all, mut time) = (Listening::everything().await, Listening::time().await);
    let tap = Tap::before(all.port).await;
    let extra = [
        behind("all", &tap.url),
        behind("time", &time.url()) + "protocol = \"initialize\"\n",
        calls("all", "all", "get-sum", ""),
        calls("time", "time", "get_current_time", ""),
        calls_again("long", "all", LONG),
    ]
    .concat();
    let daemon = site.start(&extra).await;
    let sum = || result(&daemon, "all", json!({"a": 1, "b": 2}));
    let now = || result(&daemon, "time", json!({"timezone": "UTC"}));
    sum().await;
    now().await;
    for _ in 0..3 {
        all.kill();
        time.kill();
        all.start_again().await;
        time.start_again().await;
        // At its first attempt.
        sum().await;
        now().await;
    }
    // In the middle of a call.
    let id = daemon.submit(json!({"type": "long", "payload": {"duration": 2, "steps": 4}})).await;
    under_way(&id, || tap.messages()).await;
    all.kill();
    all.start_again().await;
    let job = daemon.at_rest(&id).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    for run in job["history"].as_array().unwrap() {
        assert!(run["error"].is_null() || run["error"]["class"] == "connection", "{job}");
    }
    sum().await;
}
