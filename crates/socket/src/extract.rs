//! What a handler takes: each parameter says by its type where it comes from.

use serde::de::DeserializeOwned;
use synapse_protocol::CloseReason;
use synapse_protocol::socket::{Arguments, DeserializeError};

use crate::ack::Ack;
use crate::error::SocketError;
use crate::event::{Event, Occasion};
use crate::namespace::Namespace;
use crate::refusal::Refusal;
use crate::socket::Socket;
use crate::state::State;

/// Why a handler was not called.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The arguments are not of the type that the handler takes. The detail, which is the source, quotes them: it is told to the client
    /// but not logged.
    #[error("arguments do not fit")]
    Arguments(#[from] DeserializeError),
    /// The handshake's `auth` is not of the type that the handler takes. The detail may quote a secret, so it is told to nobody.
    #[error("handshake auth does not fit")]
    Auth(#[source] serde_json::Error),
    /// The server was built without [state](crate::ServerBuilder::state) of this type.
    #[error("the server has no state of type {wanted}")]
    State {
        /// The type's name.
        wanted: &'static str,
    },
    /// The parameter is there on other occasions only.
    #[error("there is no {wanted} on this occasion")]
    Absent {
        /// What there is not.
        wanted: &'static str,
    },
    /// A parameter of the application's own refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A handler's parameter.
///
/// | parameter | what it is |
/// | --- | --- |
/// | [`Socket`] | where the event came from |
/// | [`Data<T>`](Data) | the arguments: a tuple takes all of them, any other type the first |
/// | [`Arguments`] | the event as it came, unparsed |
/// | [`Ack`] | answers the event |
/// | [`EventName`] | the event's name |
/// | [`Namespace`] | the socket's namespace |
/// | [`Auth<T>`](Auth) | what the client sent to prove itself |
/// | [`State<T>`](State) | what the server was built with |
/// | [`CloseReason`] | why the socket ends, for handlers of its end |
/// | [`SocketError`] | what went wrong, for handlers of errors |
/// | `Option<P>` | the parameter if it is there and fits |
/// | `Result<P, ExtractError>` | the parameter, or why there is none |
///
/// An application adds its own by implementing this:
///
/// ```
/// use synapse_socket::{Event, ExtractError, FromEvent, Refusal, Reply};
///
/// /// The user that a middleware has kept with the socket.
/// struct User(String);
///
/// impl FromEvent for User {
///     fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
///         match event.socket().data().get("user").and_then(|user| user.as_str()) {
///             Some(user) => Ok(Self(user.to_owned())),
///             None => Err(Refusal::new("not logged in").into()),
///         }
///     }
/// }
///
/// async fn who_am_i(User(name): User) -> Reply<String> {
///     Reply(name)
/// }
/// ```
pub trait FromEvent: Sized {
    /// Takes the parameter out of an event. With an error the handler is not called; the client is told as it is told an error that the
    /// handler returns.
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError>;
}

/// The event's arguments as a value: a tuple takes all of them, any other type the first. An argument that is missing is `null`, which an
/// `Option` takes, and one too many is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<T>(pub T);

/// The handshake's `auth` as a value; the client's `null` when it sent none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<T>(pub T);

/// The event's name: for handlers of more than one event, as those of [`Namespace::on_any`](crate::Namespace::on_any) are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(pub String);

impl FromEvent for Socket {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(event.socket.clone())
    }
}

/// The socket's namespace.
impl FromEvent for Namespace {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(Self::new(event.socket.namespace().clone()))
    }
}

impl FromEvent for Ack {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(event.ack())
    }
}

impl<T: DeserializeOwned> FromEvent for Data<T> {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(Self(event.arguments.get()?))
    }
}

/// The event as it came: its name, then its arguments, unparsed and cheap to forward.
impl FromEvent for Arguments {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(event.arguments.clone())
    }
}

impl FromEvent for EventName {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(Self(event.name.to_owned()))
    }
}

impl<T: DeserializeOwned> FromEvent for Auth<T> {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        event
            .socket
            .handshake()
            .auth()
            .map(Self)
            .map_err(ExtractError::Auth)
    }
}

impl<T: Clone + Send + Sync + 'static> FromEvent for State<T> {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        event.socket.state().map(Self).ok_or(ExtractError::State {
            wanted: std::any::type_name::<T>(),
        })
    }
}

/// Why the socket ends, in handlers of its end.
impl FromEvent for CloseReason {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        match event.occasion {
            Occasion::Disconnecting(reason) | Occasion::Disconnect(reason) => Ok(*reason),
            Occasion::Connect | Occasion::Event { .. } | Occasion::Error(_) => {
                Err(ExtractError::Absent {
                    wanted: "close reason",
                })
            }
        }
    }
}

/// What went wrong, in handlers of errors.
impl FromEvent for SocketError {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        match event.occasion {
            Occasion::Error(error) => Ok(error.clone()),
            Occasion::Connect
            | Occasion::Event { .. }
            | Occasion::Disconnecting(_)
            | Occasion::Disconnect(_) => Err(ExtractError::Absent { wanted: "error" }),
        }
    }
}

/// The parameter if it is there and fits.
impl<T: FromEvent> FromEvent for Option<T> {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(T::from_event(event).ok())
    }
}

/// The parameter, or why there is none: the handler decides what follows.
impl<T: FromEvent> FromEvent for Result<T, ExtractError> {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(T::from_event(event))
    }
}
