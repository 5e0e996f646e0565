//! HTTP handlers: a POST for each run.
//!
//! The deadline arrives as the invocation's `stop`, so nothing here keeps time but the connecting.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use hmac::Mac as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::job::Failure;
use crate::policy::catalog::Secret;

use super::facts::{Facts, new_traceparent};
use super::outside::Notice;
use super::status::{Chain, class_of, retry_after_ms};
use super::{Handler, Invocation, Ran};

/// How much of an error's body goes into the message, in bytes: enough to know it again.
const EXCERPT_BYTES_MAX: usize = 1_024;
/// What we call ourselves.
const USER_AGENT: &str = concat!("ganger/", env!("CARGO_PKG_VERSION"));

/// What an HTTP handler is made from.
#[derive(Debug, Clone)]
pub struct HttpParams {
    /// Where to POST.
    pub url: String,
    /// The Standard Webhooks secret, when deliveries are to be signed.
    pub secret: Option<Secret>,
    /// From [`client`], shared by all handlers.
    pub client: Client,
}

/// Posts a job to a URL.
#[derive(Debug)]
pub struct HttpHandler {
    params: HttpParams,
    clock: Arc<dyn Clock>,
}

/// A body, as far as it was read.
struct Body {
    bytes: Vec<u8>,
    is_whole: bool,
}

/// A client for all HTTP handlers. It follows no redirects, because a payload and its signature are
/// meant for one host.
///
/// # Errors
/// TLS cannot be set up.
pub fn client(connect_timeout: Duration) -> reqwest::Result<Client> {
    // The second and later callers find it installed: that is the same provider.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .build()
}

// === impl HttpHandler ===

impl HttpHandler {
    /// A handler that posts to `params.url`.
    #[must_use]
    pub fn new(params: HttpParams) -> Self {
        Self { params, clock: Arc::new(SystemClock) }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    async fn post(&self, invocation: &Invocation) -> Ran {
        let Ok(body) = body(invocation) else {
            return Ran::failed("bad_payload", "the job's facts cannot be written as JSON");
        };
        let id = invocation.id.as_str();
        let mut request = self
            .params
            .client
            .post(&self.params.url)
            .header(CONTENT_TYPE, "application/json")
            .header("Ganger-Job-Id", id)
            .header("Ganger-Attempt", invocation.attempt)
            .header("Ganger-Fence", invocation.fence)
            .header("Idempotency-Key", id)
            .header("traceparent", new_traceparent());
        if let Some(secret) = &self.params.secret {
            request = request.headers(signed(secret, id, self.clock.now(), &body));
        }
        match request.body(body).send().await {
            Ok(response) => self.answer(response, invocation.result_bytes_max).await,
            Err(error) => unanswered(error),
        }
    }

    async fn answer(&self, response: Response, most: usize) -> Ran {
        let status = response.status();
        let retry_after_ms = retry_after(response.headers(), self.clock.now());
        let body = match read(response, most).await {
            Ok(body) => body,
            Err(error) => return unanswered(error),
        };
        if status.is_success() {
            if !body.is_whole {
                return Ran::failed("output_too_large", format!("the reply has more than {most} bytes"));
            }
            return Ran::replied(&body.bytes, None, retry_after_ms);
        }
        let failure = Failure::new(class_of(status.as_u16()), refusal(status, &body.bytes));
        // Only JSON can hold an envelope; a page of HTML is of no use as a result.
        let reply: &[u8] = if body.is_whole { &body.bytes } else { b"" };
        let ran = Ran::replied(reply, Some(failure), retry_after_ms);
        match (retry_after_ms, &ran) {
            (Some(retry_after_ms), Ran::Failed { envelope, .. })
                if status == StatusCode::TOO_MANY_REQUESTS && envelope.error.is_none() =>
            {
                Ran::Deferred { retry_after_ms, reason: refusal(status, &body.bytes) }
            }
            _ => ran,
        }
    }
}

#[async_trait]
impl Handler for HttpHandler {
    async fn run(&self, invocation: Invocation) -> Ran {
        tokio::select! {
            biased;
            () = invocation.stop.cancelled() => Ran::Stopped,
            ran = self.post(&invocation) => ran,
        }
    }
}

/// Posts a notice of remediation; done once it was answered well.
///
/// # Errors
/// The answer, or why there was none, in words.
pub async fn post(client: &Client, notice: &Notice, now: Timestamp) -> Result<String, String> {
    let id = notice.id.as_str();
    let url = String::from_utf8_lossy(&notice.url.0);
    let mut request = client
        .post(&*url)
        .header(CONTENT_TYPE, "application/json")
        .header("Idempotency-Key", id)
        .header("traceparent", new_traceparent());
    if let Some(token) = &notice.token {
        request = request.bearer_auth(String::from_utf8_lossy(&token.0));
    }
    if let Some(secret) = &notice.secret {
        request = request.headers(signed(secret, id, now, &notice.body));
    }
    let told = |error: reqwest::Error| Chain(&error.without_url()).to_string();
    let response = request.body(notice.body.clone()).send().await.map_err(told)?;
    let status = response.status();
    if status.is_success() {
        return Ok(format!("HTTP {status}"));
    }
    let body = read(response, EXCERPT_BYTES_MAX).await.map_err(told)?;
    Err(refusal(status, &body.bytes))
}

/// The headers of a signed delivery.
fn signed(secret: &Secret, id: &str, now: Timestamp, body: &[u8]) -> HeaderMap {
    let at = now.millis() / 1_000;
    let signature = signature(secret, id, at, body);
    let headers =
        [("webhook-id", id.to_owned()), ("webhook-timestamp", at.to_string()), ("webhook-signature", signature)];
    // An id is made of characters that a header takes.
    let values =
        headers.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), value.parse().ok()?)));
    values.collect()
}

/// The facts and the payload, which is JSON already and is not read again.
fn body(invocation: &Invocation) -> serde_json::Result<Bytes> {
    let facts = serde_json::to_vec(&Facts::of(invocation))?;
    let payload: &[u8] = if invocation.payload.is_empty() { b"null" } else { &invocation.payload };
    Ok([br#"{"job":"#.as_slice(), &facts, br#","payload":"#, payload, b"}"].concat().into())
}

/// Standard Webhooks: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
fn signature(secret: &Secret, id: &str, at: i64, body: &[u8]) -> String {
    let Ok(mut mac) = hmac::Hmac::<sha2::Sha256>::new_from_slice(&secret.0) else {
        unreachable!("HMAC takes keys of any length");
    };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()))
}

/// Reads at most a little more than `most` bytes.
async fn read(mut response: Response, most: usize) -> reqwest::Result<Body> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > most {
            return Ok(Body { bytes, is_whole: false });
        }
    }
    Ok(Body { bytes, is_whole: true })
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    let excerpt = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES_MAX)]).replace('\0', "\u{fffd}");
    let excerpt = excerpt.trim();
    if excerpt.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {excerpt}") }
}

/// `Retry-After`, when it can be read.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    retry_after_ms(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// No answer came, or it broke off.
fn unanswered(error: reqwest::Error) -> Ran {
    let class = if error.is_timeout() { "timeout" } else { "connection" };
    // Without its URL, which may hold a password.
    Ran::failed(class, Chain(&error.without_url()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks' reference libraries.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let key = base64::engine::general_purpose::STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&Secret(key), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
