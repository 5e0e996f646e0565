//! A server behind a URL: the transport's settings, and answers for streams that grow beyond their bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, ErrorData, JsonRpcError, RequestId, ServerJsonRpcMessage};
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError, StreamableHttpPostResponse,
    StreamableHttpResponseLimits,
};
use sse_stream::{Error as SseError, Sse};

use super::bounded::TOO_LARGE;
use super::params::{ServerParams, Target};
use super::trouble::Trouble;
use crate::mutant::mutant;
use crate::policy::catalog::Secret;

/// How often a stream that broke off is taken up again: the server may have restarted behind its proxy, but a call
/// whose server is gone has to fail soon.
const RESUMES_MAX: usize = 2;
/// Calls in one session at a time. What bounds them is the pools; this only keeps the transport from queueing.
const POSTS_MAX: usize = 1_024;
/// What servers say of a session that they do not know, in small letters. The protocol asks for 404, but servers made after the
/// example of the official TypeScript SDK answer 400 and a JSON-RPC error.
const UNKNOWN_SESSION: [&str; 5] =
    ["no valid session", "invalid session", "session not found", "unknown session", "session expired"];
/// How much of an error page is kept, in bytes.
const ERROR_BYTES_MAX: usize = 2_048;

/// The transport's settings for one session.
pub(super) fn config(
    url: &str,
    headers: &BTreeMap<String, Secret>,
    token: Option<&Secret>,
    is_shared: bool,
    params: &ServerParams,
) -> Result<StreamableHttpClientTransportConfig, Trouble> {
    let mut custom = HashMap::new();
    for (name, value) in headers {
        let pair = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(Target::text(value)).ok());
        let Some((name, mut value)) = pair else {
            return Err(Trouble::of_session("protocol_error", format!("{name:?} cannot be sent as a header")));
        };
        value.set_sensitive(true);
        custom.insert(name, value);
    }
    let mut resume = ExponentialBackoff::default();
    resume.max_times = Some(RESUMES_MAX);
    let mut config = StreamableHttpClientTransportConfig::with_uri(url)
        .custom_headers(custom)
        .max_sse_event_size(params.message_bytes_max)
        .max_json_response_size(params.message_bytes_max)
        .max_error_response_size(ERROR_BYTES_MAX)
        .max_concurrent_requests(POSTS_MAX)
        // Steps count on what the steps before them left in the session: a new one in its place would be a lie.
        .reinit_on_expired_session(is_shared);
    config.retry_config = Arc::new(resume);
    config.auth_header = token.map(|token| Target::text(token).to_owned());
    Ok(config)
}

/// The HTTP client, with three things more. An event that is too large is answered by an error for the request whose
/// stream it came on; the SDK alone would only break the stream off. An error without an id answers the request that it is the
/// answer of; with the SDK alone its caller would wait for ever. An error about the session is an expired session.
#[derive(Debug, Clone)]
pub(super) struct BoundedClient(reqwest::Client);

type Answer<T> = Result<T, StreamableHttpError<reqwest::Error>>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

impl BoundedClient {
    pub(super) fn new(client: reqwest::Client) -> Self {
        Self(client)
    }
}

impl StreamableHttpClient for BoundedClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Answer<StreamableHttpPostResponse> {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session_id, auth_header, custom_headers, limits).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Answer<StreamableHttpPostResponse> {
        let asked = match &message {
            ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let most = limits.max_sse_event_size;
        let has_session = session_id.is_some();
        let answer = self
            .0
            .post_message_with_response_limits(uri, message, session_id, auth_header, custom_headers, limits)
            .await?;
        Ok(match (answer, asked) {
            (StreamableHttpPostResponse::Sse(events, session), Some(asked)) => {
                StreamableHttpPostResponse::Sse(answered(events, asked, most), session)
            }
            (StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(said), session), Some(asked)) => {
                if has_session && is_about_session(&said.error) && !mutant!(unknown_session_is_an_answer) {
                    return Err(StreamableHttpError::SessionExpired);
                }
                let said = JsonRpcError::new(said.id.or(Some(asked)), said.error);
                StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(said), session)
            }
            (answer, _) => answer,
        })
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Answer<()> {
        self.0.delete_session(uri, session_id, auth_header, custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Answer<Events> {
        self.0.get_stream(uri, session_id, last_event_id, auth_header, custom_headers).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        most: usize,
    ) -> Answer<Events> {
        self.0
            .get_stream_with_max_sse_event_size(uri, session_id, last_event_id, auth_header, custom_headers, most)
            .await
    }
}

/// Whether an error says that the server does not know the session. A tool's own error has another code: these are the
/// ones that such servers use.
fn is_about_session(error: &ErrorData) -> bool {
    let said = error.message.to_lowercase();
    matches!(error.code.0, -32_001 | -32_000) && UNKNOWN_SESSION.iter().any(|words| said.contains(words))
}

/// The events, with an error for `asked` in the place of one that is too large.
fn answered(events: Events, asked: RequestId, most: usize) -> Events {
    let answer = move |event: Result<Sse, SseError>| match event {
        Err(SseError::Body(error)) if error.to_string().contains("exceeded the maximum size") => {
            let refusal = serde_json::json!({
                "jsonrpc": "2.0",
                "id": asked,
                "error": {"code": TOO_LARGE, "message": format!("the answer has more than {most} bytes")},
            });
            Ok(Sse { data: Some(refusal.to_string()), ..Sse::default() })
        }
        other => other,
    };
    events.map(answer).boxed()
}
