//! What a handler takes: each parameter says by its type where it comes from.

use serde::de::DeserializeOwned;
use synapse_protocol::socket::{Arguments, DeserializeError};

use crate::ack::Ack;
use crate::socket::Socket;

/// An event on its way to a handler.
#[derive(Debug)]
pub struct Event<'a> {
    /// The socket it came from.
    pub socket: &'a Socket,
    /// Its name and arguments.
    pub arguments: &'a Arguments,
    /// Answers it, if the client waits for an answer.
    pub ack: &'a Ack,
}

/// Why a handler was not called.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The arguments are not of the type that the handler takes.
    #[error("arguments do not fit: {0}")]
    Arguments(#[from] DeserializeError),
    /// The handshake's `auth` is not of the type that the handler takes.
    #[error("handshake auth does not fit: {0}")]
    Auth(serde_json::Error),
}

/// A handler's parameter.
pub trait FromEvent: Sized {
    /// Takes the parameter out of an event. With an error, the handler is not called and the event is dropped, which is logged.
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError>;
}

/// The event's arguments as a value: a tuple takes all of them, any other type the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<T>(pub T);

/// The handshake's `auth` as a value; the client's `null` when it sent none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<T>(pub T);

impl FromEvent for Socket {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(event.socket.clone())
    }
}

impl FromEvent for Ack {
    fn from_event(event: &Event<'_>) -> Result<Self, ExtractError> {
        Ok(event.ack.clone())
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
