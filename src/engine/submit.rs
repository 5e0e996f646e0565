//! A submit as it arrives: JSON read into fields, nothing judged yet but its shape.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One submit, from the API, from a batch, or from a handler's `enqueue`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// The job type.
    #[serde(rename = "type")]
    pub job_type: String,
    /// The payload, kept as the text that was sent; absent is null.
    #[serde(default)]
    pub payload: Option<Box<RawValue>>,
    /// The caller's own id.
    #[serde(default)]
    pub id: Option<String>,
    /// Another queue than the type's. It must be the type's today.
    #[serde(default)]
    pub queue: Option<String>,
    /// A number or a name.
    #[serde(default)]
    pub priority: Option<Value>,
    /// Due after this many milliseconds.
    #[serde(default)]
    pub delay_ms: Option<Value>,
    /// Due at this point, RFC 3339.
    #[serde(default)]
    pub run_at: Option<String>,
    /// A time limit for one run, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<Value>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The caller's idempotency key.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}
