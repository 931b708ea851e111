//! Requests that are refused: codes and bodies as the reference server has them.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::Body;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("Transport unknown")]
    UnknownTransport,
    #[error("Session ID unknown")]
    UnknownSession,
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    #[error("Bad request")]
    BadRequest,
    /// The application, or the list of origins, does not want this client.
    #[error("{0}")]
    Forbidden(String),
    #[error("Unsupported protocol version")]
    UnsupportedProtocolVersion,
    /// Not one of the protocol's: the server is full or closing.
    #[error("Server is not accepting connections")]
    Unavailable,
    /// All clients together open sessions faster than the server is to let them in.
    #[error("Too many handshakes")]
    TooManyHandshakes,
    /// The application has not decided in time, or decides about too many already.
    #[error("Handshake was not decided in time")]
    Undecided,
    /// An address has as many connections as one may have.
    #[error("Too many connections from this address")]
    AddressIsFull,
    /// An address opens sessions faster than one may.
    #[error("Too many handshakes from this address")]
    AddressIsTooFast,
}

/// A request that was refused, as the hook for it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// The protocol's code: 0 transport unknown, 1 session unknown, 2 handshake not by GET, 3 bad request (limits included), 4 forbidden, 5 protocol
    /// version unsupported.
    pub code: u8,
    /// What the client is told.
    pub message: String,
    /// The status of the response to an ordinary request.
    pub status: StatusCode,
}

impl Refused {
    pub(crate) fn to_error(&self) -> ConnectionError {
        ConnectionError {
            code: self.code(),
            message: self.to_string(),
            status: self.status(),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSession => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest
            | Self::Unavailable
            | Self::TooManyHandshakes
            | Self::Undecided
            | Self::AddressIsFull
            | Self::AddressIsTooFast => 3,
            Self::Forbidden(_) => 4,
            Self::UnsupportedProtocolVersion => 5,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable | Self::TooManyHandshakes | Self::Undecided => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::AddressIsFull | Self::AddressIsTooFast => StatusCode::TOO_MANY_REQUESTS,
            Self::UnknownTransport
            | Self::UnknownSession
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::UnsupportedProtocolVersion => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer to an ordinary request.
    pub(crate) fn response(&self) -> Response<Body> {
        let body =
            serde_json::json!({ "code": self.code(), "message": self.to_string() }).to_string();
        let mut response = answer(self.status(), "application/json", body);
        self.ask_to_retry(&mut response);
        response
    }

    /// Whether the same request may succeed a while later. Its status says so on every transport.
    fn is_temporary(&self) -> bool {
        matches!(
            self.status(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        )
    }

    fn ask_to_retry(&self, response: &mut Response<Body>) {
        if self.is_temporary() {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
    }

    /// The answer to a request that asked for an upgrade: the message alone, and the end of the connection.
    pub(crate) fn upgrade_response(&self) -> Response<Body> {
        let status = if self.is_temporary() {
            self.status()
        } else {
            StatusCode::BAD_REQUEST
        };
        let mut response = answer(status, "text/html", self.to_string());
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        self.ask_to_retry(&mut response);
        response
    }
}

/// A response with a body.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response without one.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}
