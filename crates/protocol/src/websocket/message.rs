//! What a peer says, once it is complete.

use super::close::CloseFrame;
use super::error::WebSocketError;
use super::frame::Opcode;

/// A complete message or control frame, unmasked and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text; valid UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// The answer to a ping, or a sign of life nobody asked for.
    Pong(&'a [u8]),
    /// The last message. What comes behind it is to be ignored.
    Close(Option<CloseFrame<'a>>),
}

impl<'a> Message<'a> {
    /// A message of its complete payload. `opcode` is that of its first frame.
    pub(super) fn parse(opcode: Opcode, payload: &'a [u8]) -> Result<Self, WebSocketError> {
        match opcode {
            Opcode::Text => match simdutf8::basic::from_utf8(payload) {
                Ok(text) => Ok(Self::Text(text)),
                Err(_) => Err(WebSocketError::TextNotUtf8),
            },
            Opcode::Binary => Ok(Self::Binary(payload)),
            Opcode::Ping => Ok(Self::Ping(payload)),
            Opcode::Pong => Ok(Self::Pong(payload)),
            Opcode::Close => CloseFrame::parse(payload).map(Self::Close),
            Opcode::Continuation => Err(WebSocketError::ContinuationUnexpected),
        }
    }
}
