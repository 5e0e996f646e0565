//! Answers that are not refusals.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Problem;

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => {
            (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
        }
        Err(error) => {
            tracing::error!(error = %error, "An answer could not be written as JSON");
            Problem::internal().into_response()
        }
    }
}

/// A JSON answer with status 200.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}
