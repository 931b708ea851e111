//! What goes wrong between a client and the handlers of its events.

use synapse_protocol::socket::PacketError;

use crate::refusal::Refusal;

/// What the handlers of [`Socket::on_error`](crate::Socket::on_error) are told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SocketError {
    /// The client sent a packet that cannot be decoded. Each of its sockets is told, then its connection is closed.
    #[error("packet cannot be decoded: {0}")]
    Packet(#[from] PacketError),
    /// An event was refused: by a middleware, because its arguments did not fit, or by its handler. The client has been told if it waits
    /// for an answer.
    #[error("event refused: {0}")]
    Refused(#[from] Refusal),
}
