//! Handlers that are part of the daemon, for smoke tests and benchmarks.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;

use crate::policy::catalog::Builtin;

use super::{Handler, Invocation, Ran};

/// Runs one of the builtins.
#[derive(Debug)]
pub struct BuiltinHandler(Builtin);

/// Payload of `sleep`.
#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

/// Payload of `fail`.
#[derive(Deserialize)]
struct Fail {
    class: String,
    /// How many runs fail; `None`: all.
    #[serde(default)]
    times: Option<u32>,
    #[serde(default)]
    message: Option<String>,
}

impl BuiltinHandler {
    /// A handler that runs `builtin`.
    #[must_use]
    pub fn new(builtin: Builtin) -> Self {
        Self(builtin)
    }
}

#[async_trait]
impl Handler for BuiltinHandler {
    async fn run(&self, invocation: Invocation) -> Ran {
        match self.0 {
            Builtin::Noop => Ran::returned(Bytes::from_static(b"null")),
            // As a reply, envelope and all, so that every part of one can be tried by hand.
            Builtin::Echo => Ran::replied(&invocation.payload, None, None),
            Builtin::Sleep => sleep(&invocation).await,
            Builtin::Fail => fail(&invocation),
        }
    }
}

async fn sleep(invocation: &Invocation) -> Ran {
    let Sleep { ms } = match serde_json::from_slice(&invocation.payload) {
        Ok(asked) => asked,
        Err(error) => return bad_payload(&error, r#"{"ms": n}"#),
    };
    tokio::select! {
        biased;
        () = invocation.stop.cancelled() => Ran::Stopped,
        () = tokio::time::sleep(Duration::from_millis(ms)) => Ran::returned(Bytes::from_static(b"null")),
    }
}

fn fail(invocation: &Invocation) -> Ran {
    let asked: Fail = match serde_json::from_slice(&invocation.payload) {
        Ok(asked) => asked,
        Err(error) => return bad_payload(&error, r#"{"class": c, "times": n}"#),
    };
    let attempt = invocation.attempt;
    if asked.times.is_none_or(|times| attempt <= times) {
        let message = asked.message.unwrap_or_else(|| format!("attempt {attempt} fails as asked"));
        return Ran::failed(asked.class, message);
    }
    Ran::returned(format!(r#"{{"attempt":{attempt}}}"#))
}

fn bad_payload(error: &serde_json::Error, expected: &str) -> Ran {
    Ran::failed("bad_payload", format!("expected a payload such as {expected}: {error}"))
}
