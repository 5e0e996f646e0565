//! Reading submits: shape only. Values are the engine's to judge.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::engine::Submit;

use super::problem::Problem;

/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// The header that carries one.
const KEY_HEADER: &str = "idempotency-key";

/// Reads one submit, and takes the key from the header where it is there.
pub(super) fn single(headers: &HeaderMap, body: &[u8]) -> Result<Submit, Problem> {
    let mut submit: Submit = object(body)?;
    if let Some(key) = header_key(headers)? {
        if submit.idempotency_key.as_ref().is_some_and(|field| *field != key) {
            return Err(Problem::bad_field(
                "idempotency_key",
                "differs from the header `Idempotency-Key`; give one of them",
            ));
        }
        submit.idempotency_key = Some(key);
    }
    Ok(submit)
}

fn header_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let fits = (1..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    match value.to_str() {
        Ok(text) if fits && values.next().is_none() => Ok(Some(text.to_owned())),
        _ => Err(Problem::bad_field("Idempotency-Key", "must be given once, with 1 to 128 printable ASCII characters")),
    }
}

/// Reads a JSON object whose members must fit `T`.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Serde would take an array of the members in order as well.
    let starts_as_object = body.trim_ascii_start().first() == Some(&b'{');
    match serde_json::from_slice(body) {
        Ok(read) if starts_as_object => Ok(read),
        Ok(_) => Err(not_an_object()),
        Err(error) if !error.is_data() => Err(syntax(&error)),
        Err(_) if !starts_as_object => Err(not_an_object()),
        Err(error) => Err(blame(body, &error)),
    }
}

fn not_an_object() -> Problem {
    Problem::malformed("this is JSON, but not an object such as {\"name\": ...}")
}

/// JSON that breaks off or is none, with the place.
pub(super) fn syntax(error: &serde_json::Error) -> Problem {
    Problem::malformed(format!("the body is not JSON: {error}"))
        .with("line", error.line())
        .with("column", error.column())
}

/// Finds the member that does not fit. Serde names it only when it is unknown, missing or double;
/// otherwise each member is looked at again, which only a bad request pays for.
fn blame(body: &[u8], error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let words = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
    let quoted = words.split('`').nth(1);
    if let Some(name) = quoted {
        if words.starts_with("unknown field") {
            return Problem::bad_field(name, &format!("is not known here{}", expected(words)));
        }
        if words.starts_with("missing field") {
            return Problem::bad_field(name, "is missing");
        }
        if words.starts_with("duplicate field") {
            return Problem::bad_field(name, "is given twice");
        }
    }
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    let odd = members.iter().find(|(name, value)| !has_its_kind(name, value.get()));
    match odd {
        Some((name, value)) => {
            Problem::bad_field(name, &format!("is {}; it must be {}", kind(value.get()), wanted(name)))
        }
        None => Problem::malformed(words),
    }
}

fn expected(words: &str) -> String {
    words
        .split_once(", expected")
        .map(|(_, names)| format!("; known are{}", names.replace(" one of", "")))
        .unwrap_or_default()
}

/// Whether a member that has one kind only is of that kind.
fn has_its_kind(name: &str, json: &str) -> bool {
    match name {
        "type" => json.starts_with('"'),
        "id" | "queue" | "run_at" | "idempotency_key" | "by" | "reason" => json.starts_with('"') || json == "null",
        "labels" => serde_json::from_str::<BTreeMap<String, String>>(json).is_ok(),
        "wait_s" | "for_s" => serde_json::from_str::<Option<u64>>(json).is_ok(),
        _ => true,
    }
}

fn wanted(name: &str) -> &'static str {
    match name {
        "labels" => "an object whose values are strings",
        "wait_s" | "for_s" => "a whole number of seconds",
        _ => "a string",
    }
}

fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object of other values",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refused(body: &str) -> Value {
        serde_json::to_value(single(&HeaderMap::new(), body.as_bytes()).unwrap_err()).unwrap()
    }

    fn keyed(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(KEY_HEADER.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn a_payload_keeps_its_text() {
        let submit = single(&HeaderMap::new(), br#" {"type":"a","payload":{"b": 1.0, "a":1e400}}"#).unwrap();
        assert_eq!(submit.payload.unwrap().get(), r#"{"b": 1.0, "a":1e400}"#);
    }

    #[test]
    fn broken_json_is_named_by_line_and_column() {
        let problem = refused("{\"type\":\"a\",\n\"payload\": nope}");
        assert_eq!((&problem["code"], &problem["status"]), (&json!("malformed"), &json!(400)));
        assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(13)));
        assert_eq!(refused("")["code"], "malformed");
        assert_eq!(refused("[]")["code"], "malformed");
        assert_eq!(refused("[\"a\"]")["code"], "malformed");
        assert_eq!(refused("null")["code"], "malformed");
    }

    #[test]
    fn a_member_that_does_not_fit_is_named() {
        for (body, field) in [
            ("{}", "type"),
            (r#"{"type":7}"#, "type"),
            (r#"{"type":"a","colour":1}"#, "colour"),
            (r#"{"type":"a","labels":{"x":1}}"#, "labels"),
            (r#"{"type":"a","id":1}"#, "id"),
            (r#"{"type":"a","type":"b"}"#, "type"),
        ] {
            let problem = refused(body);
            assert_eq!((&problem["code"], &problem["field"]), (&json!("bad_field"), &json!(field)), "{body}");
        }
        assert!(refused(r#"{"type":"a","colour":1}"#)["detail"].as_str().unwrap().contains("`payload`"));
    }

    #[test]
    fn the_key_comes_from_the_header_or_the_body_and_they_must_agree() {
        let body = br#"{"type":"a","idempotency_key":"k1"}"#;
        assert_eq!(single(&keyed("k1"), body).unwrap().idempotency_key.as_deref(), Some("k1"));
        assert_eq!(single(&keyed("k2"), br#"{"type":"a"}"#).unwrap().idempotency_key.as_deref(), Some("k2"));
        assert_eq!(single(&keyed("k2"), body).unwrap_err().status.as_u16(), 422);
        assert_eq!(single(&keyed(&"k".repeat(129)), body).unwrap_err().status.as_u16(), 422);
        assert_eq!(single(&keyed("a\tb"), body).unwrap_err().status.as_u16(), 422);
    }
}
