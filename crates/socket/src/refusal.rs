//! What a client is told when it does not get what it asked for.

use serde::Serialize;
use serde_json::{Value, json};
use synapse_adapter::JoinError;
use synapse_protocol::socket::{Arguments, DeserializeError, SerializeError};

use crate::ack::AckError;
use crate::extract::ExtractError;
use crate::request::RequestError;

/// Why a client may not join a namespace, or does not get the answer to an event.
///
/// At CONNECT it reaches the client as the error of its `connect_error` event. As the answer to an event it is
/// `{ "error": message, "data": data }`, without `data` if there is none.
///
/// Handlers and middlewares return it as their error. The `?` operator makes one of a text, of what [`Socket::emit`](crate::Socket::emit),
/// [`Socket::join`](crate::Socket::join) and [`Socket::emit_with_ack`](crate::Socket::emit_with_ack) return, and of any error of the
/// application that says what clients may know of it:
///
/// ```
/// use synapse_socket::{Data, Refusal, Reply};
///
/// enum ShopError {
///     SoldOut,
///     Database(std::io::Error),
/// }
///
/// impl From<ShopError> for Refusal {
///     fn from(error: ShopError) -> Self {
///         match error {
///             ShopError::SoldOut => Refusal::new("sold out"),
///             ShopError::Database(error) => Refusal::internal(error),
///         }
///     }
/// }
///
/// # fn order(_: u32) -> Result<u64, ShopError> { Err(ShopError::SoldOut) }
/// async fn buy(Data(item): Data<u32>) -> Result<Reply<u64>, Refusal> {
///     Ok(Reply(order(item)?))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    message: String,
    data: Option<Value>,
}

impl Refusal {
    /// A refusal with its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            data: None,
        }
    }

    /// A fault that is none of the client's business: it is logged as an error, and the client is told `internal error`.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "failed to handle an event");
        Self::new("internal error")
    }

    /// Adds what the client finds as the error's `data`. A value that does not fit into JSON is left out.
    #[must_use]
    pub fn with_data(mut self, data: impl Serialize) -> Self {
        self.data = serde_json::to_value(data).ok();
        self
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the client finds as the error's `data`.
    pub fn data(&self) -> Option<&Value> {
        self.data.as_ref()
    }

    /// The payload of a CONNECT_ERROR packet.
    pub(crate) fn to_json(&self) -> String {
        self.object("message").to_string()
    }

    /// The answer to an event.
    pub(crate) fn to_arguments(&self) -> Arguments {
        Arguments::ack(&self.object("error")).expect("a value of serde_json is JSON")
    }

    fn object(&self, message: &str) -> Value {
        match &self.data {
            Some(data) => json!({ message: self.message, "data": data }),
            None => json!({ message: self.message }),
        }
    }
}

impl From<&str> for Refusal {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<ExtractError> for Refusal {
    fn from(error: ExtractError) -> Self {
        match error {
            // The detail quotes what this client itself has sent.
            ExtractError::Arguments(detail) => Self::new(format!("arguments do not fit: {detail}")),
            ExtractError::Auth(_) => Self::new(error.to_string()),
            ExtractError::State { .. } | ExtractError::Absent { .. } => Self::internal(error),
            ExtractError::Refused(refusal) => refusal,
        }
    }
}

impl From<DeserializeError> for Refusal {
    fn from(error: DeserializeError) -> Self {
        ExtractError::from(error).into()
    }
}

/// The application's own value did not fit into JSON.
impl From<SerializeError> for Refusal {
    fn from(error: SerializeError) -> Self {
        Self::internal(error)
    }
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<AckError> for Refusal {
    fn from(error: AckError) -> Self {
        match error {
            AckError::Serialize(error) => error.into(),
            AckError::TimedOut
            | AckError::Disconnected
            | AckError::TooMany { .. }
            | AckError::TooManyRequests { .. }
            | AckError::Deserialize(_) => Self::new(error.to_string()),
        }
    }
}

/// Which servers there are is none of the client's business.
impl<T> From<RequestError<T>> for Refusal {
    fn from(error: RequestError<T>) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(refusal: impl Into<Refusal>, connect_error: &str, ack: &str) {
        let refusal = refusal.into();
        assert_eq!(refusal.to_json(), connect_error);
        assert_eq!(refusal.to_arguments().json(), ack);
    }

    #[test]
    fn a_refusal_has_two_forms() {
        check("no", r#"{"message":"no"}"#, r#"[{"error":"no"}]"#);
        check(
            Refusal::new("no").with_data([1, 2]),
            r#"{"data":[1,2],"message":"no"}"#,
            r#"[{"data":[1,2],"error":"no"}]"#,
        );
    }

    #[test]
    fn what_is_ours_is_not_told() {
        let reserved = Arguments::event("disconnect", &()).unwrap_err();
        check(
            reserved,
            r#"{"message":"internal error"}"#,
            r#"[{"error":"internal error"}]"#,
        );
        let state = ExtractError::State {
            wanted: "secret::Type",
        };
        check(
            state,
            r#"{"message":"internal error"}"#,
            r#"[{"error":"internal error"}]"#,
        );
    }
}
