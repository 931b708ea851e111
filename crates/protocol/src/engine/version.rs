//! Which Engine.IO a client speaks.

/// A version of the Engine.IO protocol, the `EIO` of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Spoken by Socket.IO clients 1 and 2: the client pings, payloads have lengths, binary messages a type.
    V3,
    /// Spoken by Socket.IO clients 3 and 4.
    V4,
}
