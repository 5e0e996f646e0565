//! Why a call or a session failed, and which class that is.

use std::error::Error;

use rmcp::ServiceError;
use rmcp::model::{ErrorCode, ErrorData};
use rmcp::service::ClientInitializeError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::bounded::TOO_LARGE;
use crate::clock::Timestamp;
use crate::handler::status::{self, Chain};

/// Why no result came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) class: &'static str,
    /// What was said, for people and for `classify`.
    pub(super) text: String,
    pub(super) retry_after_ms: Option<u64>,
    /// Whether the server asked for later, and nothing else was wrong.
    pub(super) is_deferral: bool,
    /// Whether the session may be broken, so that nobody should use it again.
    pub(super) breaks_session: bool,
}

impl Trouble {
    /// A failure of the call alone.
    pub(super) fn of_call(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), retry_after_ms: None, is_deferral: false, breaks_session: false }
    }

    /// A failure of the session.
    pub(super) fn of_session(class: &'static str, text: impl Into<String>) -> Self {
        Self { breaks_session: true, ..Self::of_call(class, text) }
    }

    /// A session that did not come to be.
    pub(super) fn of_handshake(error: &ClientInitializeError, now: Timestamp) -> Self {
        match error {
            ClientInitializeError::LegacyFallbackFailed { fallback, .. } => Self::of_handshake(fallback, now),
            ClientInitializeError::TransportError { error, .. } => Self::of_transport(error.error.as_ref(), now),
            ClientInitializeError::ConnectionClosed(_) => {
                Self::of_session("connection", "the connection was closed during the handshake")
            }
            other => Self::of_session("protocol_error", format!("no handshake: {}", cut(&other.to_string()))),
        }
    }

    /// What the SDK says of a request.
    pub(super) fn of_request(error: &ServiceError, now: Timestamp) -> Self {
        match error {
            ServiceError::McpError(said) => Self::of_answer(said),
            ServiceError::TransportSend(error) => Self::of_transport(error.error.as_ref(), now),
            ServiceError::TransportClosed => Self::of_session("connection", "the connection was closed"),
            ServiceError::Timeout { timeout } => {
                Self::of_call("timeout", format!("no sign of life for {} ms", timeout.as_millis()))
            }
            other => Self::of_call("protocol_error", cut(&other.to_string())),
        }
    }

    /// An error that the server sent as the answer.
    fn of_answer(said: &ErrorData) -> Self {
        let class = match said.code {
            ErrorCode::METHOD_NOT_FOUND => "method_not_found",
            ErrorCode::INVALID_PARAMS => "invalid_params",
            ErrorCode::INVALID_REQUEST | ErrorCode::PARSE_ERROR => "protocol_error",
            ErrorCode::INTERNAL_ERROR => "internal_error",
            ErrorCode(TOO_LARGE) => "output_too_large",
            _ => "rpc_error",
        };
        let data = said.data.as_ref().map(|data| format!(" {data}")).unwrap_or_default();
        Self::of_call(class, cut(&format!("{} ({}){data}", said.message, said.code.0)))
    }

    /// What stands between us and the server.
    fn of_transport(error: &(dyn Error + 'static), now: Timestamp) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
                return Self::of_http(error, now);
            }
            cause = error.source();
        }
        Self::of_session("connection", cut(&Chain(error).to_string()))
    }

    fn of_http(error: &StreamableHttpError<reqwest::Error>, now: Timestamp) -> Self {
        let text = cut(&Chain(error).to_string());
        match error {
            StreamableHttpError::HttpStatus(answered) => {
                let asked = answered.retry_after.as_deref();
                let retry_after_ms = asked.and_then(|text| status::retry_after_ms(text, now));
                let is_deferral = answered.status == 429 && retry_after_ms.is_some();
                let class = status::class_of(answered.status);
                Self { retry_after_ms, is_deferral, ..Self::of_session(class, text) }
            }
            StreamableHttpError::Client(error) => {
                let class = if error.is_timeout() { "timeout" } else { "connection" };
                // Without its URL, which may hold a password.
                let place = error.url().map(|url| format!(" for url ({url})")).unwrap_or_default();
                Self::of_session(class, cut(&Chain(error).to_string().replace(&place, "")))
            }
            StreamableHttpError::ResponseBodyTooLarge { .. } => Self::of_call("output_too_large", text),
            StreamableHttpError::AuthRequired(_) => Self::of_session("http_4xx", format!("HTTP 401: {text}")),
            StreamableHttpError::InsufficientScope(_) => Self::of_session("http_4xx", format!("HTTP 403: {text}")),
            // The SDK keeps other statuses as text only.
            StreamableHttpError::UnexpectedServerResponse(said) => {
                let digits = said.strip_prefix("HTTP ").and_then(|rest| rest.get(..3));
                let class = digits.and_then(|digits| digits.parse().ok()).map_or("protocol_error", status::class_of);
                Self::of_session(class, cut(said))
            }
            StreamableHttpError::UnexpectedContentType(_)
            | StreamableHttpError::MissingSessionIdInResponse
            | StreamableHttpError::Deserialize(_) => Self::of_session("protocol_error", text),
            _ => Self::of_session("connection", text),
        }
    }
}

/// The longest text of an SDK's error that is kept, in bytes: the SDK quotes whole messages.
const TEXT_BYTES_MAX: usize = 2_048;

/// The beginning of a text. No store takes a NUL.
pub(super) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].replace('\0', "\u{fffd}")
}
