//! Ganger beside programs that nobody here wrote. `scripts/test.sh --all` installs them and runs this; plain
//! `cargo test` leaves it out, and `cargo test --test foreign` runs it once they are there.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod config;
mod interruptions;
mod mcp;
mod remediation;
mod servers;
mod tools;
mod watchers;

use serde_json::{Value, json};
use support::daemon::Daemon;

/// The job of this type and payload, once it is at rest.
async fn ended(daemon: &Daemon, job_type: &str, payload: Value) -> Value {
    let id = daemon.submit(json!({"type": job_type, "payload": payload})).await;
    daemon.at_rest(&id).await
}

/// The result of a job that must succeed.
async fn result(daemon: &Daemon, job_type: &str, payload: Value) -> Value {
    let job = ended(daemon, job_type, payload).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    job["result"].clone()
}

/// Class and message of the error of a job that must fail at its first attempt.
async fn failure(daemon: &Daemon, job_type: &str, payload: Value) -> (String, String) {
    let job = ended(daemon, job_type, payload).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("failed"), &json!(1)), "{job}");
    let text = |member: &str| job["error"][member].as_str().unwrap().to_owned();
    (text("class"), text("message"))
}
