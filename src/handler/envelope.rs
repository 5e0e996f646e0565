//! The reply envelope: the reserved member `ganger` of a handler's JSON reply.
//!
//! It is taken out before the rest becomes the result. Output that is not JSON is a string result;
//! empty output is null. A malformed envelope is a failure `bad_envelope`, not a silent loss.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::job::Failure;

/// What a handler may say beside its result.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The run failed, whatever exit code or status say.
    #[serde(default)]
    pub error: Option<ErrorMember>,
    /// Do not try again before this many milliseconds.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// A person should look.
    #[serde(default)]
    pub review: Option<ReviewMember>,
    /// Jobs to accept together with this success, as submits.
    #[serde(default)]
    pub enqueue: Vec<Value>,
    /// Business measures.
    #[serde(default)]
    pub observations: Vec<Observation>,
}

/// `error` of the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorMember {
    /// The error class.
    pub class: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Which dependency failed, if not the handler itself: the name of a breaker of the type.
    #[serde(default)]
    pub dependency: Option<String>,
}

/// `review` of the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewMember {
    /// Why a person should look.
    pub reason: String,
    /// What would be done; a person may change it.
    #[serde(default)]
    pub proposal: Option<Value>,
    /// What the proposal rests on.
    #[serde(default)]
    pub evidence: Option<Value>,
    /// Jobs to accept once a person has approved, as submits.
    #[serde(default)]
    pub on_approve: Vec<Value>,
}

/// A measure that a handler reports; its members are checked where it is counted.
pub type Observation = Value;

/// A reply taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// JSON text without the envelope.
    pub result: Bytes,
    /// The envelope, empty where there was none.
    pub envelope: Envelope,
}

/// Takes a reply apart.
///
/// # Errors
/// A failure of class `bad_envelope` when the reserved member is not what the contract says.
pub fn read_reply(output: &[u8]) -> Result<Reply, Failure> {
    read_reply_member(output, "ganger")
}

fn read_reply_member(output: &[u8], member: &str) -> Result<Reply, Failure> {
    let text = output.trim_ascii();
    if text.is_empty() {
        return Ok(Reply { result: Bytes::from_static(b"null"), envelope: Envelope::default() });
    }
    let mut value = match serde_json::from_slice::<Value>(text) {
        Ok(value) => value,
        // What was meant as an envelope must not pass for a text: an error in it would become a success.
        Err(error) if text.starts_with(b"{") && text.windows(member.len()).any(|at| at == member.as_bytes()) => {
            return Err(Failure::new("bad_envelope", format!("the reply cannot be read: {error}")));
        }
        Err(_not_json) => {
            let string = Value::from(String::from_utf8_lossy(output));
            return Ok(Reply { result: string.to_string().into(), envelope: Envelope::default() });
        }
    };
    let envelope = match value.as_object_mut().and_then(|members| members.remove(member)) {
        None => return Ok(Reply { result: Bytes::copy_from_slice(text), envelope: Envelope::default() }),
        Some(reserved) => read_member(reserved, member)?,
    };
    Ok(Reply { result: value.to_string().into(), envelope })
}

/// Reads the reserved member itself; `place` is where it stood.
///
/// # Errors
/// As [`read_reply`].
pub fn read_member(reserved: Value, place: &str) -> Result<Envelope, Failure> {
    serde_json::from_value(reserved)
        .map_err(|error| Failure::new("bad_envelope", format!("the reply's member `{place}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_is_not_json_is_a_string_and_nothing_is_null() {
        assert_eq!(read_reply(b"abc  /x\n").unwrap().result, &b"\"abc  /x\\n\""[..]);
        assert_eq!(read_reply(b" \n").unwrap().result, &b"null"[..]);
        assert_eq!(read_reply(b" {\"a\": 1}\n").unwrap().result, &b"{\"a\": 1}"[..]);
    }

    #[test]
    fn the_envelope_is_taken_out() {
        let reply = read_reply(br#"{"a":1,"ganger":{"error":{"class":"x"},"retry_after_ms":5}}"#).unwrap();
        assert_eq!(reply.result, &b"{\"a\":1}"[..]);
        assert_eq!(reply.envelope.error.unwrap().class, "x");
        assert_eq!(reply.envelope.retry_after_ms, Some(5));
    }

    #[test]
    fn a_wish_for_a_review_needs_a_reason_and_may_say_more() {
        let review = |text: &str| read_reply(text.as_bytes()).map(|reply| reply.envelope.review.unwrap());
        let bare = review(r#"{"ganger":{"review":{"reason":"odd"}}}"#).unwrap();
        assert_eq!((bare.proposal, bare.evidence, bare.on_approve.len()), (None, None, 0));
        let full = review(
            r##"{"ganger":{"review":{"reason":"odd","proposal":"#a","evidence":{"confidence":0.4},
                "on_approve":[{"type":"warm_cache"}]}}}"##,
        );
        assert_eq!(full.unwrap().on_approve.len(), 1);
        assert!(review(r#"{"ganger":{"review":{"proposal":"a"}}}"#).unwrap_err().message.contains("reason"));
    }

    #[test]
    fn an_envelope_that_cannot_be_read_is_no_text() {
        let deep = format!(r#"{{"deep":{}{},"ganger":{{"error":{{"class":"x"}}}}}}"#, "[".repeat(150), "]".repeat(150));
        assert_eq!(read_reply(deep.as_bytes()).unwrap_err().class, "bad_envelope");
        assert!(read_reply(br#"{"n":"\ud800","ganger":{}}"#).is_err());
    }

    #[test]
    fn numbers_keep_their_digits() {
        let reply = read_reply(br#"{"n":12345678901234567890123,"ganger":{}}"#).unwrap();
        assert_eq!(reply.result, &br#"{"n":12345678901234567890123}"#[..]);
    }

    #[test]
    fn a_malformed_envelope_is_a_failure_that_says_where() {
        let failure = read_reply(br#"{"ganger":{"enqueu":[]}}"#).unwrap_err();
        assert_eq!(failure.class, "bad_envelope");
        assert!(failure.message.contains("enqueu"), "{}", failure.message);
    }
}
