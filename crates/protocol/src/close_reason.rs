//! Why a connection or a socket ended, in Socket.IO's words.

use std::fmt;

/// Why a connection or a socket ended. An ordinary end is a value, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The connection failed: a reset, an aborted request, a broken rule of the transport, an outbox over its limit.
    TransportError,
    /// The client closed the connection.
    TransportClose,
    /// The server closed the connection, for instance after a packet that cannot be decoded.
    ForcedClose,
    /// The client did not answer a ping in time.
    PingTimeout,
    /// A packet could not be parsed.
    ParseError,
    /// The server is closing.
    ServerShuttingDown,
    /// The server closed the connection because of a packet out of state, or because no namespace was joined in time.
    ForcedServerClose,
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server made the socket leave the namespace.
    ServerNamespaceDisconnect,
}

impl CloseReason {
    /// Every reason there is.
    pub const ALL: [Self; 9] = [
        Self::TransportError,
        Self::TransportClose,
        Self::ForcedClose,
        Self::PingTimeout,
        Self::ParseError,
        Self::ServerShuttingDown,
        Self::ForcedServerClose,
        Self::ClientNamespaceDisconnect,
        Self::ServerNamespaceDisconnect,
    ];

    /// The words that applications compare with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransportError => "transport error",
            Self::TransportClose => "transport close",
            Self::ForcedClose => "forced close",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerShuttingDown => "server shutting down",
            Self::ForcedServerClose => "forced server close",
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
