//! Reading request bodies within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::problem::Problem;

/// The most bytes of an operator's request, which holds a name and a reason.
pub(super) const ORDER_BYTES_MAX: usize = 64 << 10;

/// Room for a submit's other members beside its payload.
pub(super) const SUBMIT_ROOM_BYTES: usize = 64 << 10;

/// How fast a body has to come.
#[derive(Clone, Copy)]
struct Pace {
    /// All of it, however large, within this time.
    whole: Duration,
    /// The next bytes within this time: a sender that stands still is gone or hostile.
    stall: Duration,
}

/// The pace that senders are held to.
const PACE: Pace = Pace { whole: Duration::from_mins(1), stall: Duration::from_secs(10) };

/// How much of an oversized body is thrown away, so that a client which reads only after it has
/// sent everything sees the refusal and no reset.
const DRAIN_BYTES_MAX: usize = 128 << 20;

/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// All bodies being read or admitted together may hold this many KiB of memory (256 MiB).
const BUDGET_KIB: usize = 256 << 10;

/// The memory that all request bodies share. Without it, a thousand clients with a large batch each
/// would take the memory of the whole daemon.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB)))
    }
}

/// A whole body and its share of the budget.
pub(super) struct Received {
    /// The body.
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Refuses a body that is larger than allowed.
pub(super) struct Limit {
    /// The most bytes.
    pub(super) bytes_max: usize,
    /// The code of the refusal.
    pub(super) code: &'static str,
}

impl Limit {
    fn refuse(&self) -> Problem {
        let detail = format!("the request body is larger than the {} bytes allowed here", self.bytes_max);
        Problem::too_large(self.code, detail).with("bytes_max", self.bytes_max).close()
    }
}

/// Reads a whole body.
pub(super) async fn read(budget: &Budget, request: Request, limit: &Limit) -> Result<Received, Problem> {
    read_at(PACE, budget, request, limit).await
}

async fn read_at(pace: Pace, budget: &Budget, request: Request, limit: &Limit) -> Result<Received, Problem> {
    let (head, body) = request.into_parts();
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let mut stream = body.into_data_stream();
    if announced.is_some_and(|bytes| bytes > limit.bytes_max) {
        // A client that asks first has sent nothing yet and needs no drain.
        if !head.headers.contains_key(header::EXPECT) {
            drain(&mut stream).await;
        }
        return Err(limit.refuse());
    }
    let deadline = Instant::now() + pace.whole;
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(1 << 20));
    let mut share: Option<OwnedSemaphorePermit> = None;
    loop {
        let patience = deadline.min(Instant::now() + pace.stall);
        let chunk = match timeout_at(patience, stream.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(error))) => return Err(Problem::malformed(format!("the body broke off: {error}")).close()),
            Ok(None) => return Ok(Received { bytes: bytes.into(), _share: share }),
            Err(_) => return Err(too_slow(pace)),
        };
        if bytes.len() + chunk.len() > limit.bytes_max {
            drop((bytes, share));
            drain(&mut stream).await;
            return Err(limit.refuse());
        }
        bytes.extend_from_slice(&chunk);
        grow(budget, &mut share, bytes.len())?;
    }
}

/// Takes more of the budget when the body has outgrown its share.
fn grow(budget: &Budget, share: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Problem> {
    let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let wanted = bytes.div_ceil(1024).saturating_sub(held);
    if wanted == 0 {
        return Ok(());
    }
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    let more = Arc::clone(&budget.0).try_acquire_many_owned(wanted).map_err(|_| Problem::busy())?;
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
    Ok(())
}

/// Throws away what still comes, within bounds.
async fn drain(stream: &mut axum::body::BodyDataStream) {
    let swallow = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whether it was all or not makes no difference to the answer.
    timeout(DRAIN_TIME_MAX, swallow).await.ok();
}

fn too_slow(pace: Pace) -> Problem {
    let detail = format!(
        "the request body did not arrive within {} s, or stood still for {} s",
        pace.whole.as_secs(),
        pace.stall.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request was too slow", detail).close()
}

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON text.
    Json,
    /// One JSON text a line.
    Ndjson,
}

/// Reads `Content-Type`; none means JSON.
pub(super) fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Format::Json) };
    let value = value.to_str().unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Format::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Format::Ndjson),
        _ => Err(unsupported(value, "application/json (or application/x-ndjson for a batch)")),
    }
}

/// Holds a body to JSON.
pub(super) fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    match format(headers)? {
        Format::Json => Ok(()),
        Format::Ndjson => Err(unsupported("application/x-ndjson", "application/json")),
    }
}

fn unsupported(found: &str, wanted: &str) -> Problem {
    let detail = format!("the content type is {found:?}; send {wanted}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The content type is not JSON", detail)
}

/// Reads an operator's small request; an empty body is one without members.
pub(super) async fn order<T: DeserializeOwned + Default>(budget: &Budget, request: Request) -> Result<T, Problem> {
    let limit = Limit { bytes_max: ORDER_BYTES_MAX, code: "payload_too_large" };
    optional_json(budget, request, &limit).await
}

/// Reads a JSON object that may be absent.
pub(super) async fn optional_json<T>(budget: &Budget, request: Request, limit: &Limit) -> Result<T, Problem>
where
    T: DeserializeOwned + Default,
{
    let (head, body) = request.into_parts();
    let kind = json_only(&head.headers);
    let received = read(budget, Request::from_parts(head, Body::new(body)), limit).await?;
    if received.bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    kind?;
    super::submit::object(&received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { bytes_max: 2048, code: "payload_too_large" };

    fn post(bytes: usize) -> Request {
        Request::new(Body::from(vec![b'x'; bytes]))
    }

    fn headers(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_body_at_its_limit_is_read_and_one_above_is_refused() {
        let budget = Budget::default();
        assert_eq!(read(&budget, post(2048), &LIMIT).await.map(|r| r.bytes.len()).unwrap(), 2048);
        let refused = read(&budget, post(2049), &LIMIT).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.code), (413, "payload_too_large"));
    }

    #[tokio::test]
    async fn bodies_share_one_budget_and_give_it_back() {
        let budget = Budget(Arc::new(Semaphore::new(3)));
        let first = read(&budget, post(2048), &LIMIT).await.unwrap();
        assert_eq!(read(&budget, post(2048), &LIMIT).await.err().unwrap().code, "busy");
        drop(first);
        assert!(read(&budget, post(2048), &LIMIT).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_stands_still_is_given_up() {
        let stuck = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let pace = Pace { stall: Duration::from_millis(20), ..PACE };
        let refused = read_at(pace, &Budget::default(), Request::new(stuck), &LIMIT).await.err().unwrap();
        assert_eq!(refused.status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn only_json_is_taken() {
        assert_eq!(format(&HeaderMap::new()), Ok(Format::Json));
        assert_eq!(format(&headers("Application/JSON; charset=utf-8")), Ok(Format::Json));
        assert_eq!(format(&headers("application/x-ndjson")), Ok(Format::Ndjson));
        assert_eq!(format(&headers("text/plain")).unwrap_err().status.as_u16(), 415);
        assert_eq!(json_only(&headers("application/x-ndjson")).unwrap_err().status.as_u16(), 415);
    }
}
