//! Handlers against real children and a real HTTP server: each way a run can end.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod command;
mod conformance;
mod far;
mod http;
mod mcp;
#[path = "../support/mcp_server.rs"]
mod mcp_server;
mod rogue;

use std::collections::BTreeMap;
use std::time::Duration;

use ganger::clock::Timestamp;
use ganger::handler::builtin::BuiltinHandler;
use ganger::handler::{Footprint, Handler, Invocation, Ran};
use ganger::job::{JobId, Priority, QueueName, TypeName};
use ganger::policy::catalog::Builtin;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn invocation(payload: &str) -> Invocation {
    Invocation {
        overrides: ganger::handler::Overrides::default(),
        id: JobId::stored("order-7"),
        job_type: TypeName::stored("letter"),
        queue: QueueName::stored("mail"),
        priority: Priority::from_number(2).unwrap(),
        attempt: 2,
        fence: 4_294_967_297,
        labels: BTreeMap::from([("environment".to_owned(), "staging".to_owned())]),
        deadline: Timestamp(1_767_323_045_678),
        payload: payload.to_owned().into(),
        result_bytes_max: 1_048_576,
        stop: CancellationToken::new(),
        footprint: Footprint::default(),
    }
}

async fn run(handler: &impl Handler, payload: &str) -> Ran {
    tokio::time::timeout(PATIENCE, handler.run(invocation(payload))).await.expect("the run hangs")
}

fn result(ran: &Ran) -> Value {
    match ran {
        Ran::Returned { result, .. } => serde_json::from_slice(result).unwrap(),
        other => panic!("no result: {other:?}"),
    }
}

/// Class, message and the time asked for.
fn failure(ran: &Ran) -> (&str, &str, Option<u64>) {
    match ran {
        Ran::Failed { failure, retry_after_ms, .. } => (&failure.class, &failure.message, *retry_after_ms),
        other => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn builtins_do_what_they_say() {
    let run = async |builtin, payload| run(&BuiltinHandler::new(builtin), payload).await;
    assert_eq!(run(Builtin::Noop, "{}").await, Ran::returned("null"));
    assert_eq!(run(Builtin::Echo, r#"{"a": 1}"#).await, Ran::returned(r#"{"a": 1}"#));
    assert_eq!(run(Builtin::Sleep, r#"{"ms":1}"#).await, Ran::returned("null"));
    assert_eq!(failure(&run(Builtin::Sleep, "{}").await).0, "bad_payload");
    assert_eq!(failure(&run(Builtin::Fail, r#"{"class":"x","times":2}"#).await).0, "x");
    assert_eq!(failure(&run(Builtin::Fail, r#"{"class":"x","message":"no"}"#).await), ("x", "no", None));
    assert_eq!(result(&run(Builtin::Fail, r#"{"class":"x","times":1}"#).await), json!({"attempt": 2}));
}

#[tokio::test]
async fn a_sleep_can_be_stopped() {
    let asked = invocation(r#"{"ms":3600000}"#);
    asked.stop.cancel();
    assert_eq!(BuiltinHandler::new(Builtin::Sleep).run(asked).await, Ran::Stopped);
}
