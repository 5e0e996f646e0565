//! Several calls in one session that nobody else sees.

use rmcp::model::JsonObject;
use serde::Deserialize;
use serde_json::Value;

use super::call::{Called, Run};
use super::session::Session;
use super::{McpHandler, too_large};
use crate::handler::envelope::{Envelope, Reply};
use crate::handler::{Invocation, Ran};
use crate::job::Failure;

/// The most steps of one run: more is a program, not a job.
const STEPS_MAX: usize = 1_000;

/// A payload. Other members are the submitter's own.
#[derive(Deserialize)]
struct Payload {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    tool: String,
    #[serde(default)]
    arguments: Option<JsonObject>,
}

impl McpHandler {
    pub(super) async fn run_steps(&self, invocation: &Invocation) -> Ran {
        let steps = match read(&invocation.payload) {
            Ok(steps) => steps,
            Err(failure) => return Ran::failed(failure.class, failure.message),
        };
        let session = tokio::select! {
            biased;
            () = invocation.stop.cancelled() => return Ran::Stopped,
            session = self.pool.exclusive() => session,
        };
        let session = match session {
            Ok(session) => session,
            Err(trouble) => return self.failed(&trouble, ""),
        };
        // The child works for this run alone, so its memory is the worker's.
        let _noted = session.group().map(|group| invocation.footprint.note(group));
        let ran = self.walk(&session, steps, invocation).await;
        if matches!(ran, Ran::Returned { .. }) {
            self.pool.keep(session);
        }
        ran
    }

    async fn walk(&self, session: &Session, steps: Vec<Step>, invocation: &Invocation) -> Ran {
        let run = Run::new(invocation, &self.pool.means, self.pool.params.idle);
        let most = invocation.result_bytes_max;
        let mut results = String::from("[");
        let mut gathered = Envelope::default();
        for (number, Step { tool, arguments }) in steps.into_iter().enumerate() {
            let place = format!("steps[{number}] ({tool}): ");
            let label = tokio::select! {
                biased;
                () = invocation.stop.cancelled() => return Ran::Stopped,
                label = self.pool.tools.label(session, &tool) => label,
            };
            let answer = match run.call(session, &tool, &label, arguments).await {
                Called::Stopped => return Ran::Stopped,
                Called::Failed(trouble) => return self.failed(&trouble, &place),
                Called::Answered(answer) => *answer,
            };
            let failure = answer.error.map(|text| self.tool_failure(&text, &place));
            match answer.envelope {
                Ok(envelope) => gathered.join(envelope, &place),
                Err(bad) => {
                    let bad = Failure::new(bad.class, format!("{place}{}", bad.message));
                    return Ran::settled(Err(bad), failure, None);
                }
            }
            if failure.is_some() || gathered.error.is_some() {
                return Ran::settled(Ok(Reply { envelope: gathered, ..Reply::default() }), failure, None);
            }
            if number > 0 {
                results.push(',');
            }
            results.push_str(&answer.result.to_string());
            if results.len() >= most {
                return too_large(results.len(), most);
            }
        }
        results.push(']');
        Ran::settled(Ok(Reply { result: results.into(), envelope: gathered }), None, None)
    }
}

impl Envelope {
    /// What a further step says is added to what was said before it.
    fn join(&mut self, step: Envelope, place: &str) {
        let Envelope { error, retry_after_ms, review, enqueue, observations } = step;
        if let Some(mut error) = error {
            error.message.insert_str(0, place);
            self.error = Some(error);
            self.retry_after_ms = retry_after_ms;
        }
        self.review = self.review.take().or(review);
        self.enqueue.extend(enqueue);
        self.observations.extend(observations);
    }
}

fn read(payload: &[u8]) -> Result<Vec<Step>, Failure> {
    let expected = r#"expected a payload such as {"steps": [{"tool": "t", "arguments": {}}]}"#;
    // By way of a value, because the texts of numbers are kept.
    let payload = serde_json::from_slice::<Value>(payload).and_then(serde_json::from_value::<Payload>);
    let steps = payload.map_err(|error| Failure::new("bad_payload", format!("{expected}: {error}")))?.steps;
    if steps.is_empty() || steps.len() > STEPS_MAX {
        let count = steps.len();
        return Err(Failure::new("bad_payload", format!("{expected}, with 1 to {STEPS_MAX} steps, not {count}")));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_strictly_and_the_rest_is_the_submitters() {
        let steps = read(br#"{"name":"x","steps":[{"tool":"a","arguments":{"n":1.50}},{"tool":"b"}]}"#).unwrap();
        assert_eq!(steps[0].arguments.as_ref().unwrap()["n"].to_string(), "1.50");
        assert!(steps[1].arguments.is_none());
        for bad in ["", "{}", r#"{"steps":[]}"#, r#"{"steps":[{"tool":"a","args":{}}]}"#, r#"{"steps":[{"name":"a"}]}"#]
        {
            assert_eq!(read(bad.as_bytes()).err().unwrap().class, "bad_payload", "{bad}");
        }
    }

    #[test]
    fn envelopes_of_steps_add_up() {
        let one = |text: &str| serde_json::from_str::<Envelope>(text).unwrap();
        let mut sum = Envelope::default();
        sum.join(one(r#"{"observations":[1],"review":{"reason":"a"},"retry_after_ms":9}"#), "");
        sum.join(one(r#"{"observations":[2],"review":{"reason":"b"}}"#), "");
        sum.join(one(r#"{"error":{"class":"x","message":"no"},"retry_after_ms":5}"#), "steps[2] (t): ");
        assert_eq!(sum.observations.len(), 2);
        assert_eq!(sum.review.unwrap().reason, "a");
        assert_eq!((sum.error.unwrap().message.as_str(), sum.retry_after_ms), ("steps[2] (t): no", Some(5)));
    }
}
