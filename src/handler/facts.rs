//! What every handler is told about its job, as JSON, and the trace that its call belongs to.

use serde::Serialize;

use crate::job::Labels;

use super::{Invocation, Overrides};

/// The facts of a job.
#[derive(Debug, Serialize)]
pub struct Facts<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    job_type: &'a str,
    queue: &'a str,
    priority: u8,
    attempt: u32,
    fence: i64,
    labels: &'a Labels,
    deadline: String,
    #[serde(skip_serializing_if = "Overrides::is_empty")]
    overrides: Overrides,
}

impl<'a> Facts<'a> {
    /// The facts of one run.
    #[must_use]
    pub fn of(invocation: &'a Invocation) -> Self {
        Self {
            id: invocation.id.as_str(),
            job_type: invocation.job_type.as_str(),
            queue: invocation.queue.as_str(),
            priority: invocation.priority.number(),
            attempt: invocation.attempt,
            fence: invocation.fence,
            labels: &invocation.labels,
            deadline: invocation.deadline.to_string(),
            overrides: invocation.overrides.clone(),
        }
    }
}

/// A trace of its own for one run: W3C Trace Context, sampled.
#[must_use]
pub fn new_traceparent() -> String {
    traceparent(rand::random(), rand::random())
}

/// Its ids must not be zero.
fn traceparent(trace: u128, span: u64) -> String {
    format!("00-{:032x}-{:016x}-01", trace.max(1), span.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_have_their_full_width() {
        assert_eq!(traceparent(0, 0), "00-00000000000000000000000000000001-0000000000000001-01");
    }
}
