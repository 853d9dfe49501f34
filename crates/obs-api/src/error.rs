//! One place maps what went wrong to a status code and to the envelope that each dialect expects.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use obs_types::{ErrorKind, IngestError, SourceError};
use serde_json::json;

/// A refusal, before it is dressed for a dialect.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub kind: ErrorKind,
    pub message: String,
    /// The language refused the text itself (Prometheus tells that from other bad input).
    pub execution: bool,
}

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), execution: false }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub fn status(&self) -> StatusCode {
        match self.kind {
            ErrorKind::InvalidInput if self.execution => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::LimitExceeded => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Corrupt | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn kind_text(&self) -> &'static str {
        match self.kind {
            ErrorKind::InvalidInput => "invalid_input",
            ErrorKind::NotFound => "not_found",
            ErrorKind::LimitExceeded => "limit_exceeded",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Cancelled => "canceled",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Bug => "internal",
        }
    }

    /// `{"status":"error","errorType":…,"error":…}`, as Prometheus answers.
    pub fn prometheus(&self) -> Response {
        let error_type = match self.kind {
            ErrorKind::InvalidInput if self.execution => "execution",
            ErrorKind::InvalidInput => "bad_data",
            ErrorKind::NotFound => "not_found",
            ErrorKind::LimitExceeded => "execution",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Cancelled => "canceled",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::Bug => "internal",
        };
        let body = json!({"status": "error", "errorType": error_type, "error": self.message});
        self.finish(Json(body).into_response())
    }

    /// Plain text, as Loki and Tempo answer.
    pub fn text(&self) -> Response {
        self.finish(self.message.clone().into_response())
    }

    fn finish(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status();
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// The envelope of the native routes.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {"kind": self.kind_text(), "message": self.message}});
        self.finish(Json(body).into_response())
    }
}

impl From<SourceError> for ApiError {
    fn from(e: SourceError) -> Self {
        Self { kind: e.kind, message: e.message, execution: true }
    }
}

impl From<IngestError> for ApiError {
    fn from(e: IngestError) -> Self {
        Self::new(ErrorKind::Unavailable, e.to_string())
    }
}

impl From<obs_query::TimeError> for ApiError {
    fn from(e: obs_query::TimeError) -> Self {
        Self::invalid(e.to_string())
    }
}

impl From<obs_query::FilterError> for ApiError {
    fn from(e: obs_query::FilterError) -> Self {
        Self::invalid(e.to_string())
    }
}
