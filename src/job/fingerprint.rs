//! What makes two submits "the same": SHA-256 over type, queue, priority, due time and payload.
//!
//! The payload is hashed with the members of every object in sorted order, so that a client whose
//! language shuffles its maps still repeats itself exactly.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Priority, QueueName, TypeName};

/// The digest of one submit.
pub type Fingerprint = [u8; 32];

/// When the caller asked the job to run: what it wrote, not what the clock made of it, so that a
/// repeated `delay_ms` is the same submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedFor {
    /// At once.
    Now,
    /// After this many milliseconds.
    DelayMs(u64),
    /// At this point, in milliseconds since the epoch.
    At(i64),
}

/// The fingerprint of a submit.
#[must_use]
pub fn fingerprint(
    job_type: &TypeName,
    queue: &QueueName,
    priority: Priority,
    asked_for: AskedFor,
    payload: &Value,
) -> Fingerprint {
    let mut hash = Sha256::new();
    let due = match asked_for {
        AskedFor::Now => "now".to_owned(),
        AskedFor::DelayMs(ms) => format!("delay {ms}"),
        AskedFor::At(ms) => format!("at {ms}"),
    };
    // Names hold no NUL, so it separates the fields without doubt.
    for field in [job_type.as_str(), queue.as_str(), priority.name(), &due] {
        hash.update(field);
        hash.update([0]);
    }
    let mut canonical = Vec::new();
    write_canonical(payload, &mut canonical);
    hash.update(&canonical);
    hash.finalize().into()
}

/// Compact JSON with the members of every object sorted by name.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            out.push(b'{');
            for (at, name) in names.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
                out.push(b':');
                write_canonical(&members[name], out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(payload: &str, asked_for: AskedFor) -> Fingerprint {
        fingerprint(
            &TypeName::stored("t"),
            &QueueName::stored("q"),
            Priority::NORMAL,
            asked_for,
            &serde_json::from_str(payload).unwrap(),
        )
    }

    #[test]
    fn the_order_of_members_does_not_matter_and_everything_else_does() {
        let one = of(r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#, AskedFor::Now);
        assert_eq!(one, of(r#"{ "b":{"d":"x","c":[1,2]}, "a":1 }"#, AskedFor::Now));
        assert_ne!(one, of(r#"{"a":1,"b":{"c":[2,1],"d":"x"}}"#, AskedFor::Now));
        assert_ne!(one, of(r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#, AskedFor::DelayMs(0)));
    }
}
