//! Business measures: what is observed outside of handlers, and the figures.

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use crate::policy::measures::Measured;

use super::body::{self, Limit};
use super::problem::Problem;
use super::{Api, answer, params, submit};

type Answer = Result<Response, Problem>;

/// A request of observations: a thousand with the longest names fit in.
const LIMIT: Limit = Limit { bytes_max: 1 << 20, code: "payload_too_large" };

#[derive(Serialize)]
struct MeasureBody<'a> {
    name: &'static str,
    labels: Labels<'a>,
    /// `share`, `score` or `ms`.
    unit: &'static str,
    window_s: i64,
    /// Null without samples.
    value: Option<f64>,
    samples: u64,
}

/// The label of a series, as an object.
struct Labels<'a>(Option<(&'static str, &'a str)>);

impl Serialize for Labels<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0)
    }
}

impl<'a> From<&'a Measured> for MeasureBody<'a> {
    fn from(measured: &'a Measured) -> Self {
        Self {
            name: measured.series.name,
            labels: Labels(measured.label.as_ref().map(|(name, value)| (*name, value.as_str()))),
            unit: measured.series.unit,
            window_s: measured.window_min * 60,
            value: measured.value,
            samples: measured.samples,
        }
    }
}

/// `GET /v1/measures`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let measured = api.engine.measured();
    let bodies: Vec<MeasureBody<'_>> = measured.iter().map(MeasureBody::from).collect();
    Ok(answer::ok(&json!({ "measures": bodies, "unkept": api.engine.unkept_measures() })))
}

/// `POST /v1/observations`
pub(super) async fn observe(State(api): State<Api>, request: Request) -> Answer {
    count(&api, &items(&api, request, "observations").await?)
}

/// `POST /v1/feedback`: the same for observations of kind `feedback`, which need not say so.
pub(super) async fn feedback(State(api): State<Api>, request: Request) -> Answer {
    let mut items = items(&api, request, "feedback").await?;
    for item in &mut items {
        if let Value::Object(members) = item {
            members.entry("kind").or_insert_with(|| "feedback".into());
        }
    }
    if let Some(index) = items.iter().position(|item| item.get("kind").is_some_and(|kind| kind != "feedback")) {
        return Err(
            Problem::bad_field("kind", "is not \"feedback\"; others go to /v1/observations").with("index", index)
        );
    }
    count(&api, &items)
}

/// Counted is not yet durable, so the answer is 202.
fn count(api: &Api, items: &[Value]) -> Answer {
    let counted = api.engine.observe(items)?;
    Ok(answer::json(StatusCode::ACCEPTED, &json!({ "counted": counted })))
}

/// The items of a body: one object, an array, or an object whose only member `list` is one.
async fn items(api: &Api, request: Request, list: &'static str) -> Result<Vec<Value>, Problem> {
    let kind = body::json_only(request.headers());
    let received = body::read(&api.budget, request, &LIMIT).await?;
    kind?;
    read(&received.bytes, list)
}

fn read(body: &[u8], list: &'static str) -> Result<Vec<Value>, Problem> {
    match serde_json::from_slice(body).map_err(|error| submit::syntax(&error))? {
        Value::Array(items) => Ok(items),
        Value::Object(mut members) => match members.remove(list) {
            None => Ok(vec![Value::Object(members)]),
            Some(_) if !members.is_empty() => {
                let odd = members.keys().next().cloned().unwrap_or_default();
                Err(Problem::bad_field(&odd, &format!("is not known beside `{list}`")))
            }
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(Problem::bad_field(list, "must be an array")),
        },
        _ => Err(Problem::malformed(format!("this is JSON, but no object, array, or object with the array `{list}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(body: &str) -> Result<usize, &'static str> {
        read(body.as_bytes(), "observations").map(|items| items.len()).map_err(|problem| problem.code)
    }

    #[test]
    fn a_body_is_one_item_an_array_or_a_list() {
        for (body, items) in [
            (r#"{"kind":"healing"}"#, Ok(1)),
            (r#"[{"kind":"healing"},{}]"#, Ok(2)),
            (r#"{"observations":[{},{},{}]}"#, Ok(3)),
            ("[]", Ok(0)),
            ("{}", Ok(1)),
            (r#"{"observations":{}}"#, Err("bad_field")),
            (r#"{"observations":[],"more":1}"#, Err("bad_field")),
            ("7", Err("malformed")),
            ("{", Err("malformed")),
            ("", Err("malformed")),
        ] {
            assert_eq!(count(body), items, "{body}");
        }
    }
}
