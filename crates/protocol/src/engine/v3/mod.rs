//! Engine.IO v3, the version of Socket.IO clients 1 and 2, as far as it differs from v4.
//!
//! Packets have the same types, but a binary message has a type as well, in front of its bytes; several packets travel in one body by
//! their lengths instead of a separator; and there are two ways to write such a body, of which one carries bytes as they are.

mod binary_payload;
mod packet;
mod text_payload;

pub use binary_payload::{BinaryPackets, decode_binary_payload};
pub use packet::{BinaryForm, decode_binary_packet, decode_packet, put_frames};
pub use text_payload::{TextPackets, decode_payload};

use crate::websocket::{Opcode, own_frames};

/// What the body of a request or response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// Text: `text/plain`.
    Text,
    /// Bytes: `application/octet-stream`.
    Binary,
}

/// Turns an outbox that [`put_frames`] has written into a payload and appends it to `out`, which is empty. Returns which of the two ways of
/// writing it took: the binary one only when there is something binary and the client takes it.
pub fn put_payload(out: &mut Vec<u8>, frames: &[u8], form: BinaryForm) -> PayloadKind {
    let is_binary =
        form == BinaryForm::Bytes && own_frames(frames).any(|(opcode, _)| opcode == Opcode::Binary);
    if is_binary {
        binary_payload::put(out, frames);
        PayloadKind::Binary
    } else {
        text_payload::put(out, frames);
        PayloadKind::Text
    }
}

#[cfg(test)]
mod tests;
