//! What holds for every kind of handler: one suite, run on each.

use std::path::Path;

use ganger::handler::Ran;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::command::eventually;
use super::far::{Far, Kind};
use super::{PATIENCE, failure, invocation, result};

macro_rules! on_every_kind {
    ($($name:ident)+) => {
        on_every_kind!(@kind http Http $($name)+);
        on_every_kind!(@kind command Command $($name)+);
        on_every_kind!(@kind mcp_stdio McpStdio $($name)+);
        on_every_kind!(@kind mcp_http McpHttp $($name)+);
    };
    (@kind $module:ident $kind:ident $($name:ident)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Kind::$kind).await;
            })+
        }
    };
}

on_every_kind! {
    a_reply_is_the_result_to_the_last_digit
    each_failure_has_its_class
    the_envelope_is_taken_out_and_beats_all
    an_envelope_that_cannot_be_read_is_a_failure
    a_result_beyond_the_limit_is_a_failure
    a_long_run_that_shows_life_goes_on
    a_stop_ends_the_run_and_the_far_side_hears_of_it
    a_run_that_was_stopped_before_does_not_begin
    a_far_side_that_dies_is_no_result
}

async fn run(far: &Far, wish: &Value) -> Ran {
    let (handler, payload) = far.that(wish);
    tokio::time::timeout(PATIENCE, handler.run(invocation(&payload))).await.expect("the run hangs")
}

async fn a_reply_is_the_result_to_the_last_digit(kind: Kind) {
    let far = kind.start().await;
    for text in [r#"{"big":12345678901234567890123,"exact":1.50,"list":[1,"ä",null]}"#, "[]", "\"text\"", "7", "null"]
    {
        let reply: Value = serde_json::from_str(text).unwrap();
        let ran = run(&far, &json!({"do": "return", "reply": reply})).await;
        let Ran::Returned { result, .. } = &ran else { panic!("{text}: {ran:?}") };
        assert_eq!(std::str::from_utf8(result).unwrap(), text);
    }
}

async fn each_failure_has_its_class(kind: Kind) {
    let far = kind.start().await;
    for (with, class) in kind.own_failures() {
        let ran = run(&far, &json!({"do": "fail", "with": with})).await;
        assert_eq!(failure(&ran).0, class, "{with}: {ran:?}");
        assert!(!failure(&ran).1.is_empty());
    }
}

async fn the_envelope_is_taken_out_and_beats_all(kind: Kind) {
    let far = kind.start().await;
    let envelope = json!({"review": {"reason": "0.4"}, "observations": [{"kind": "x"}], "enqueue": [{"type": "t"}]});
    let ran = run(&far, &json!({"do": "envelope", "envelope": envelope})).await;
    assert_eq!(result(&ran), json!({"kept": true}));
    let Ran::Returned { envelope, .. } = ran else { unreachable!() };
    assert_eq!(envelope.review.unwrap().reason, "0.4");
    assert_eq!((envelope.observations.len(), envelope.enqueue.len()), (1, 1));

    let error = json!({"class": "rude", "message": "go away", "dependency": "db"});
    let ran = run(&far, &json!({"do": "envelope", "envelope": {"error": error, "retry_after_ms": 5}})).await;
    assert_eq!(failure(&ran), ("rude", "go away", Some(5)));
    let Ran::Failed { envelope, .. } = ran else { unreachable!() };
    assert_eq!(envelope.error.unwrap().dependency.as_deref(), Some("db"));
}

async fn an_envelope_that_cannot_be_read_is_a_failure(kind: Kind) {
    let far = kind.start().await;
    let ran = run(&far, &json!({"do": "envelope", "envelope": {"enqueu": []}})).await;
    assert!(failure(&ran).0 == "bad_envelope" && failure(&ran).1.contains("enqueu"), "{ran:?}");
}

async fn a_result_beyond_the_limit_is_a_failure(kind: Kind) {
    let far = kind.start().await;
    // A little too much, and so much that nobody should hold it.
    for bytes in [1_048_577, 50_000_000] {
        let ran = run(&far, &json!({"do": "big", "bytes": bytes})).await;
        assert_eq!(failure(&ran).0, "output_too_large", "{bytes}: {ran:?}");
    }
    let ran = run(&far, &json!({"do": "big", "bytes": 1_000_000})).await;
    assert_eq!(result(&ran).as_str().unwrap().len(), 1_000_000);
}

async fn a_long_run_that_shows_life_goes_on(kind: Kind) {
    let far = kind.start().await;
    let began = tokio::time::Instant::now();
    let ran = run(&far, &json!({"do": "work", "signs": 60, "every_ms": 50})).await;
    assert!(result(&ran).as_str().unwrap().ends_with("done"), "{ran:?}");
    assert!(began.elapsed() > super::far::IDLE, "it took no longer than silence may");
}

async fn a_stop_ends_the_run_and_the_far_side_hears_of_it(kind: Kind) {
    let far = kind.start().await;
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let (handler, payload) = far.that(&json!({"do": "wait", "notes": notes}));
    let asked = invocation(&payload);
    let stop = asked.stop.clone();
    let (ran, ()) = tokio::join!(tokio::time::timeout(PATIENCE, handler.run(asked)), async {
        noted(&notes, "started").await;
        stop.cancel();
    });
    assert_eq!(ran.expect("the run hangs"), Ran::Stopped);
    noted(&notes, "cancelled").await;
}

/// Waits for a note of the far side.
async fn noted(notes: &Path, word: &str) {
    let is_there = || std::fs::read_to_string(notes).unwrap_or_default().lines().any(|line| line.starts_with(word));
    eventually(word, || is_there().then_some(())).await;
}

async fn a_run_that_was_stopped_before_does_not_begin(kind: Kind) {
    let far = kind.start().await;
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let (handler, payload) = far.that(&json!({"do": "wait", "notes": notes}));
    let asked = invocation(&payload);
    asked.stop.cancel();
    assert_eq!(handler.run(asked).await, Ran::Stopped);
    assert!(!notes.exists());
}

async fn a_far_side_that_dies_is_no_result(kind: Kind) {
    let far = kind.start().await;
    let ran = run(&far, &json!({"do": "die", "last_words": "no memory left"})).await;
    match kind {
        Kind::Command => assert!(matches!(&ran, Ran::Crashed { .. }), "{ran:?}"),
        _ => assert_eq!(failure(&ran).0, "connection", "{ran:?}"),
    }
    if kind == Kind::McpStdio {
        let message = failure(&ran).1;
        assert!(message.contains("SIGABRT") && message.contains("no memory left"), "{message}");
    }
    // And the next run is served again.
    assert_eq!(result(&run(&far, &json!({"do": "return", "reply": 7})).await), json!(7));
}

/// Every kind that starts children takes them along.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_from_outside_ends_the_run() {
    for kind in [Kind::Command, Kind::McpStdio] {
        let far = kind.start().await;
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        let (handler, payload) = far.that(&json!({"do": "wait", "notes": notes}));
        let asked = invocation(&payload);
        let footprint = asked.footprint.clone();
        let (ran, ()) = tokio::join!(tokio::time::timeout(PATIENCE, handler.run(asked)), async {
            noted(&notes, "started").await;
            // A child that many share is no run's own: it is in nobody's footprint.
            assert_eq!(footprint.group().is_some(), kind == Kind::Command);
            let line = std::fs::read_to_string(&notes).unwrap();
            let own = || line.split_whitespace().last().unwrap().parse().unwrap();
            let group = footprint.group().unwrap_or_else(own);
            killpg(Pid::from_raw(group), Signal::SIGKILL).unwrap();
        });
        match (kind, ran.expect("the run hangs")) {
            (Kind::Command, ran) => assert!(matches!(ran, Ran::Crashed { .. }), "{ran:?}"),
            (_, ran) => {
                assert_eq!(failure(&ran).0, "connection");
                assert!(failure(&ran).1.contains("SIGKILL"), "{ran:?}");
            }
        }
    }
}
