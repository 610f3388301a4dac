use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::answers::ErrorAnswer;
use crate::builder::BuildError;
use crate::mcp::TooManyValues;
use crate::publishers::PublisherError;
use crate::watchers::TooManyWatch;

/// An answer that says why there is no other.
#[derive(Debug)]
pub(super) struct Error {
    status: StatusCode,
    problem: String,
}

impl Error {
    pub(super) fn new(status: StatusCode, problem: impl Into<String>) -> Self {
        Self {
            status,
            problem: problem.into(),
        }
    }

    /// The request is not as it must be.
    pub(super) fn bad_request(problem: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, problem)
    }

    /// There is no room for it now.
    pub(super) fn unavailable(problem: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, problem)
    }
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        let status = match error {
            BuildError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            BuildError::Stopped => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<PublisherError> for Error {
    fn from(error: PublisherError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<TooManyValues> for Error {
    fn from(error: TooManyValues) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
    }
}

impl From<TooManyWatch> for Error {
    fn from(error: TooManyWatch) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let error = self.problem;
        let mut response = (self.status, Json(ErrorAnswer { error })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let schemes = HeaderValue::from_static(SCHEMES);
            response.headers_mut().insert(WWW_AUTHENTICATE, schemes);
        }
        response
    }
}

/// How a caller may show who it is.
const SCHEMES: &str = "Basic realm=\"tidings\", charset=\"UTF-8\", Bearer realm=\"tidings\"";
