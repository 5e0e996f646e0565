//! `POST /v1/jobs/batch`: many submits in one request, each answered for itself.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::engine::{Fate, Refusal, Submit, Submitted};
use crate::job::JobId;
use crate::telemetry::metrics;

use super::body::{self, Format};
use super::problem::Problem;
use super::{Api, BATCH_JOBS_MAX, answer, submit};

/// Larger batches are read on a blocking thread, so that they do not hold up other requests.
const READ_ASIDE_BYTES: usize = 256 << 10;

/// One item as it was read, or why it was not.
type Item = Result<Submit, Problem>;

/// Where an item stood in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its index in the answer.
    index: usize,
    /// Its line, from 1, when the batch came as lines.
    line: Option<usize>,
}

impl Place {
    fn on(self, problem: Problem) -> Problem {
        let problem = problem.with("index", self.index);
        match self.line {
            Some(line) => problem.with("line", line),
            None => problem,
        }
    }
}

/// The answer to one item.
#[derive(Serialize)]
struct ItemAnswer {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "id_text")]
    id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn id_text<S: serde::Serializer>(id: &Option<JobId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id.as_ref().map_or("", |id| id.as_str()))
}

impl ItemAnswer {
    fn of(place: Place, result: Result<Submitted, Problem>) -> Self {
        match result {
            Ok(Submitted { fate, id, .. }) => {
                let status = if fate == Fate::Created { StatusCode::CREATED } else { StatusCode::OK };
                Self { status: status.as_u16(), id: Some(id), problem: None }
            }
            Err(problem) => {
                metrics::refused(problem.code);
                Self { status: problem.status.as_u16(), id: None, problem: Some(place.on(problem)) }
            }
        }
    }
}

/// `POST /v1/jobs/batch`
pub(super) async fn submit(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let format = body::format(request.headers());
    let limit = body::Limit { bytes_max: api.body_bytes_max, code: "batch_too_large" };
    let received = body::read(&api.budget, request, &limit).await?;
    let items = read(received.bytes.clone(), format?).await?;

    let mut places = Vec::with_capacity(items.len());
    let mut submits = Vec::with_capacity(items.len());
    for (place, item) in items {
        match item {
            Ok(submit) => {
                submits.push(submit);
                places.push((place, None));
            }
            Err(problem) => places.push((place, Some(problem))),
        }
    }
    let engine = api.engine.clone();
    let results =
        if submits.is_empty() { Vec::new() } else { api.whole(async move { engine.submit(submits).await }).await? };
    let mut results = results.into_iter();
    let answers: Vec<ItemAnswer> = places
        .into_iter()
        .map(|(place, refused)| {
            let result = match refused {
                Some(problem) => Err(problem),
                None => results.next().unwrap_or(Err(Refusal::Stopping)).map_err(Problem::from),
            };
            ItemAnswer::of(place, result)
        })
        .collect();
    Ok(answer::ok(&answers))
}

async fn read(bytes: Bytes, format: Format) -> Result<Vec<(Place, Item)>, Problem> {
    if bytes.len() <= READ_ASIDE_BYTES {
        return split(&bytes, format);
    }
    let reading = tokio::task::spawn_blocking(move || split(&bytes, format));
    reading.await.unwrap_or_else(|_| Err(Problem::internal()))
}

fn split(bytes: &[u8], format: Format) -> Result<Vec<(Place, Item)>, Problem> {
    match format {
        Format::Json => array(bytes),
        Format::Ndjson => lines(bytes),
    }
}

/// An array has to be JSON as a whole; then each item stands for itself.
fn array(bytes: &[u8]) -> Result<Vec<(Place, Item)>, Problem> {
    let items: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            Problem::malformed("a batch is a JSON array of submits, or one submit a line as application/x-ndjson")
        } else {
            submit::syntax(&error)
        }
    })?;
    hold_to_limit(items.len())?;
    let read =
        |(index, item): (usize, &&RawValue)| (Place { index, line: None }, submit::object(item.get().as_bytes()));
    Ok(items.iter().enumerate().map(read).collect())
}

/// Lines stand for themselves from the start. Blank ones are passed over.
fn lines(bytes: &[u8]) -> Result<Vec<(Place, Item)>, Problem> {
    let mut items = Vec::new();
    for (at, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if text.trim_ascii().is_empty() {
            continue;
        }
        hold_to_limit(items.len() + 1)?;
        items.push((Place { index: items.len(), line: Some(at + 1) }, line(text)));
    }
    Ok(items)
}

fn line(text: &[u8]) -> Item {
    submit::object(text).map_err(|problem| {
        // The reader counts lines within this one; the answer says which line of the batch it is.
        if problem.code != "malformed" {
            return problem;
        }
        match serde_json::from_slice::<&RawValue>(text) {
            Err(error) => {
                let words = error.to_string();
                let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
                Problem::malformed(format!("the line is not JSON: {words} at column {}", error.column()))
                    .with("column", error.column())
            }
            Ok(_) => problem,
        }
    })
}

fn hold_to_limit(items: usize) -> Result<(), Problem> {
    if items <= BATCH_JOBS_MAX {
        return Ok(());
    }
    let detail = format!("the batch has more than {BATCH_JOBS_MAX} jobs; send it in parts");
    Err(Problem::too_large("batch_too_large", detail).with("jobs_max", BATCH_JOBS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn codes(items: Vec<(Place, Item)>) -> Vec<Option<&'static str>> {
        items.into_iter().map(|(_, item)| item.err().map(|problem| problem.code)).collect()
    }

    #[test]
    fn a_bad_item_leaves_its_neighbours_alone() {
        let items = array(br#"[{"type":"a"}, 7, {"type":"b","x":1}, {"type":"c"}]"#).unwrap();
        assert_eq!(codes(items), [None, Some("malformed"), Some("bad_field"), None]);
    }

    #[test]
    fn a_bad_line_leaves_its_neighbours_alone_and_blank_ones_do_not_count() {
        let text = b"{\"type\":\"a\"}\r\n\n  \n{\"type\": oops}\n{\"type\":\"b\"}\n\xff\n{\"type\":\"c\"}";
        let items = lines(text).unwrap();
        let places: Vec<_> = items.iter().map(|(place, _)| (place.index, place.line)).collect();
        assert_eq!(places, [(0, Some(1)), (1, Some(4)), (2, Some(5)), (3, Some(6)), (4, Some(7))]);
        assert_eq!(codes(items), [None, Some("malformed"), None, Some("malformed"), None]);
    }

    #[test]
    fn a_refused_item_says_where_it_stood() {
        let (place, item) = lines(b"\n{\"type\": oops}").unwrap().remove(0);
        let answer = serde_json::to_value(ItemAnswer::of(place, Err(item.unwrap_err()))).unwrap();
        assert_eq!((&answer["status"], &answer["problem"]["code"]), (&json!(400), &json!("malformed")));
        assert_eq!((&answer["problem"]["index"], &answer["problem"]["line"]), (&json!(0), &json!(2)));
        assert_eq!(answer.get("id"), None);
    }

    #[test]
    fn an_accepted_item_is_a_status_and_an_id() {
        let submitted = |fate| Submitted { id: JobId::stored("a"), fate, job: None };
        let place = Place { index: 0, line: None };
        let wire = |fate| -> Value { serde_json::to_value(ItemAnswer::of(place, Ok(submitted(fate)))).unwrap() };
        assert_eq!(wire(Fate::Created), json!({ "status": 201, "id": "a" }));
        assert_eq!(wire(Fate::Cached), json!({ "status": 200, "id": "a" }));
    }

    #[test]
    fn too_many_jobs_and_no_array_are_refused_as_a_whole() {
        let many = format!("[{}]", vec![r#"{"type":"a"}"#; BATCH_JOBS_MAX + 1].join(","));
        assert_eq!(array(many.as_bytes()).err().unwrap().status.as_u16(), 413);
        assert_eq!(array(b"{}").err().unwrap().status.as_u16(), 400);
        assert_eq!(array(b"[1,").err().unwrap().status.as_u16(), 400);
        assert!(array(b"[]").unwrap().is_empty());
        assert_eq!(lines("{}\n".repeat(BATCH_JOBS_MAX + 1).as_bytes()).err().unwrap().status.as_u16(), 413);
    }
}
