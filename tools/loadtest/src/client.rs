//! One client: what it has reached and what it keeps. A few tens of bytes while it is idle, so that a swarm is cheap to hold.

use std::io;
use std::net::TcpStream;

use synapse_protocol::engine::PacketError;
use synapse_protocol::socket;
use synapse_protocol::websocket::{Decoder, Role, WebSocketError};

use crate::handshake::HandshakeError;
use crate::target::Target;

/// A client of the swarm, by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientId(pub(crate) u32);

impl ClientId {
    /// The place, to index with. Places of clients that are gone are used again.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection and its state.
pub(crate) struct Client {
    /// `None` once the connection has ended.
    pub(crate) stream: Option<TcpStream>,
    pub(crate) state: State,
    pub(crate) decoder: Decoder,
    /// What the socket did not take yet; nearly always nothing.
    pub(crate) unsent: Option<Box<Unsent>>,
    pub(crate) target: Target,
}

/// How far a client is, in the order it gets there.
pub(crate) enum State {
    /// TCP connects.
    Connecting,
    /// The WebSocket request was sent; what came of the answer's head so far.
    Upgrading(Option<Box<Head>>),
    /// Engine.IO's handshake is awaited.
    Opening,
    /// The namespace was asked for.
    Joining,
    /// A member of the namespace.
    Joined,
    /// We said goodbye and wait for the server to hang up.
    Closing,
}

/// The part of an answer's head that has come. Boxed, it takes a third of a vector's place in every client.
#[derive(Default)]
pub(crate) struct Head(pub(crate) Vec<u8>);

/// Bytes that wait until the socket is writable.
pub(crate) struct Unsent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: usize,
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// We asked for it.
    #[error("closed by us")]
    Asked,
    #[error("closed by the server")]
    ByServer,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("broken frame: {0}")]
    WebSocket(#[from] WebSocketError),
    #[error("broken Engine.IO packet: {0}")]
    Engine(#[from] PacketError),
    #[error("broken Socket.IO packet: {0}")]
    Socket(#[from] socket::PacketError),
    #[error("the server refused the namespace: {0}")]
    Refused(String),
    #[error("unexpected packet `{0}`")]
    Unexpected(String),
}

impl Client {
    /// A client whose connection was begun.
    pub(crate) fn new(stream: TcpStream, target: Target) -> Self {
        Self {
            stream: Some(stream),
            state: State::Connecting,
            decoder: Decoder::new(Role::Client),
            unsent: None,
            target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_takes_some_tens_of_bytes() {
        assert!(size_of::<Client>() <= 56, "{} bytes", size_of::<Client>());
    }
}
