//! Rules of RFC 6455 that a peer can break.

use super::close::CloseCode;

/// A rule of RFC 6455, or a limit of ours, that the peer broke. The connection ends with [`WebSocketError::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    /// RSV1, RSV2 or RSV3 is set, and no extension that would give it a meaning on this frame was negotiated.
    #[error("frame has a reserved bit set")]
    ReservedBit,
    /// Opcodes 3 to 7 and 11 to 15 are kept for later versions of the protocol.
    #[error("frame has the reserved opcode {opcode}")]
    ReservedOpcode {
        /// The four bits that were sent.
        opcode: u8,
    },
    /// A client has to mask every frame it sends.
    #[error("frame of a client is not masked")]
    MaskMissing,
    /// A server must not mask any frame it sends.
    #[error("frame of a server is masked")]
    MaskForbidden,
    /// Close, ping and pong are always one frame.
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// Close, ping and pong carry at most 125 bytes, so their length is never an extended one.
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// The length was written in more bytes than it needs.
    #[error("frame length is not in its shortest form")]
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set.
    #[error("frame length is 2^63 or more")]
    LengthOverflow,
    /// A continuation frame came while no message was under way.
    #[error("continuation frame has no message to continue")]
    ContinuationUnexpected,
    /// A new message began before the last fragment of the one under way.
    #[error("message begins before the previous one has ended")]
    MessageUnfinished,
    /// The message, as far as its headers tell or it is inflated, is over
    /// [`Limits::message_bytes_max`](super::Limits::message_bytes_max).
    #[error("message of at least {size} bytes is over the limit of {limit}")]
    MessageTooBig {
        /// Bytes of all fragments up to this one, as announced, or those that came out of them before inflating was given up.
        size: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The message has more frames than [`Limits::fragments_max`](super::Limits::fragments_max).
    #[error("message has more than {limit} fragments")]
    TooManyFragments {
        /// The limit in force.
        limit: usize,
    },
    /// A compressed message is not the data that permessage-deflate makes of one, or is cut off.
    #[error("compressed message is not valid deflate data")]
    DeflateDataInvalid,
    /// A text message is not UTF-8.
    #[error("text message is not valid utf-8")]
    TextNotUtf8,
    /// The payload of a close frame is a single byte, which is half a code.
    #[error("close frame has half a close code")]
    CloseCodeTruncated,
    /// The code of a close frame is one that must not be sent.
    #[error("close code {code} is not allowed in a frame")]
    CloseCodeForbidden {
        /// The code that was sent.
        code: u16,
    },
    /// The reason of a close frame is not UTF-8.
    #[error("close reason is not valid utf-8")]
    CloseReasonNotUtf8,
}

impl WebSocketError {
    /// What the peer is told. Exhaustive on purpose: a new error has to decide.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBit
            | Self::ReservedOpcode { .. }
            | Self::MaskMissing
            | Self::MaskForbidden
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthOverflow
            | Self::ContinuationUnexpected
            | Self::MessageUnfinished
            | Self::CloseCodeTruncated
            | Self::CloseCodeForbidden { .. } => CloseCode::PROTOCOL_ERROR,
            Self::DeflateDataInvalid | Self::TextNotUtf8 | Self::CloseReasonNotUtf8 => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::TooManyFragments { .. } => CloseCode::POLICY_VIOLATION,
            Self::MessageTooBig { .. } => CloseCode::TOO_BIG,
        }
    }

    /// Whether the message was refused for its size: the one error that a larger limit would avoid.
    pub fn is_size_limit(&self) -> bool {
        matches!(self, Self::MessageTooBig { .. })
    }
}
