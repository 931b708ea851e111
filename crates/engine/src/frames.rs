//! One message for many connections: encoded once, in the form that each of them takes.

use bytes::Bytes;

/// Complete WebSocket frames of one message, to be shared by every connection that gets it.
///
/// They are written as Engine.IO v4 has them, uncompressed. A connection that takes another form gets it made from these, once for all
/// connections of its kind.
#[derive(Clone, Debug)]
pub struct Frames {
    plain: Bytes,
}

impl Frames {
    /// Frames as they go to most clients.
    pub fn new(plain: impl Into<Bytes>) -> Self {
        Self {
            plain: plain.into(),
        }
    }

    pub(crate) fn plain(&self) -> &Bytes {
        &self.plain
    }
}
