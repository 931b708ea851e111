//! What a Socket.IO packet is: its types, the limits a client is held to, and what it can do wrong.

use super::json::JsonError;
use super::msgpack::DecodeError;

/// The type of a Socket.IO packet, with its digit on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Asks for, or grants, a place in a namespace.
    Connect = 0,
    /// Leaves a namespace.
    Disconnect = 1,
    /// An event, all of it in the text.
    Event = 2,
    /// The answer to an event, all of it in the text.
    Ack = 3,
    /// The server refuses a namespace.
    ConnectError = 4,
    /// An event whose binary values follow as attachments.
    BinaryEvent = 5,
    /// An answer whose binary values follow as attachments.
    BinaryAck = 6,
}

impl PacketType {
    /// The type that an ASCII digit stands for.
    pub fn from_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Connect,
            b'1' => Self::Disconnect,
            b'2' => Self::Event,
            b'3' => Self::Ack,
            b'4' => Self::ConnectError,
            b'5' => Self::BinaryEvent,
            b'6' => Self::BinaryAck,
            _ => return None,
        })
    }

    /// The ASCII digit that stands for the type.
    pub fn digit(self) -> u8 {
        b'0' + self as u8
    }

    /// Whether the packet announces attachments.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// What one packet of a client may contain. Its total length is the transport's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attachments of one packet. Default: 10, as in Node's parser since 4.2.6; Node's clients drop a connection that sends more.
    pub attachments_max: usize,
    /// Binary values of one packet of the msgpack parser, which announces none and has no limit in Node. Default: 1,024. What is sent on
    /// to clients of a JSON server should stay within `attachments_max`.
    pub msgpack_attachments_max: usize,
    /// Bytes of all attachments of one packet together: what an unfinished packet can hold in memory. Default: 10 MB, ten attachments
    /// of Node's `maxHttpBufferSize`.
    pub attachment_bytes_max: usize,
    /// Arrays and objects inside one another, the array of the arguments included; never more than 512. Default: 100, which leaves a
    /// few levels for what we wrap around it before `serde_json` refuses at 128.
    pub json_depth_max: usize,
    /// Bytes of a namespace's name with its query string. Default: 512.
    pub namespace_bytes_max: usize,
    /// Bytes of an event's name. Default: 1,024.
    pub event_name_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attachments_max: 10,
            msgpack_attachments_max: 1_024,
            attachment_bytes_max: 10_000_000,
            json_depth_max: 100,
            namespace_bytes_max: 512,
            event_name_bytes_max: 1_024,
        }
    }
}

/// The text part of a packet, checked. Borrows all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What the packet is.
    pub packet_type: PacketType,
    /// The namespace without its query string; `/` if the packet names none.
    pub namespace: &'a str,
    /// The query string behind the namespace, undecoded, if there is one. Clients of Socket.IO 2 connect with it.
    pub query: Option<&'a str>,
    /// The number that joins an event and its ack; at most 2^53 - 1, the largest integer that JavaScript counts to.
    pub id: Option<u64>,
    /// The payload, well-formed and of the shape that the type asks for, without white space around it.
    pub json: Option<&'a str>,
    /// How many attachments follow; 0 for types that are not binary.
    pub attachments: usize,
}

/// The names that Socket.IO keeps for itself. An event of such a name from a client is a parse error, and so it is for the client.
const RESERVED_EVENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// Whether an event must not have this name.
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

/// A rule of the Socket.IO protocol that the client broke. The connection ends; Node's reason for it is `parse error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// No packet at all.
    #[error("the packet is empty")]
    Empty,
    /// The first character is not a digit from 0 to 6.
    #[error("unknown packet type")]
    UnknownType,
    /// No decimal number followed by `-`, or a placeholder that names no attachment.
    #[error("illegal attachments")]
    IllegalAttachments,
    /// More attachments are announced than one packet may have.
    #[error("more than {limit} attachments")]
    TooManyAttachments {
        /// The limit that was passed.
        limit: usize,
    },
    /// The attachments of one packet are too long together.
    #[error("attachments of more than {limit} bytes")]
    AttachmentsTooLarge {
        /// The limit that was passed.
        limit: usize,
    },
    /// A binary message that no packet announced.
    #[error("a binary message that no packet announced")]
    UnexpectedAttachment,
    /// A text packet came before all attachments of the one before it.
    #[error("a text packet while attachments are awaited")]
    AttachmentsAwaited,
    /// The name of the namespace is too long.
    #[error("a namespace of more than {limit} bytes")]
    NamespaceTooLong {
        /// The limit that was passed.
        limit: usize,
    },
    /// The ack id is beyond what JavaScript can count to, or does not count at all.
    #[error("an ack id above 2^53 - 1, or no natural number")]
    IllegalId,
    /// An ack that answers nothing.
    #[error("an ack without id")]
    MissingId,
    /// The payload is not JSON, or too deep.
    #[error("invalid payload: {0}")]
    Json(#[from] JsonError),
    /// The payload is JSON of a shape that the type does not allow.
    #[error("invalid payload for a packet of type {0:?}")]
    InvalidPayload(PacketType),
    /// A packet of the msgpack parser is not msgpack, or costs more than allowed.
    #[error("invalid msgpack: {0}")]
    Msgpack(#[from] DecodeError),
    /// More than one msgpack value in one message.
    #[error("bytes behind the packet")]
    BytesBehind,
    /// The msgpack parser knows no text.
    #[error("a text message where packets are msgpack")]
    UnexpectedText,
    /// A packet of the msgpack parser names no namespace, or not by a text.
    #[error("a namespace that is no text")]
    IllegalNamespace,
    /// An event of a name that Socket.IO keeps for itself.
    #[error("an event of a reserved name")]
    ReservedEvent,
    /// The name of the event is too long.
    #[error("an event name of more than {limit} bytes")]
    EventNameTooLong {
        /// The limit that was passed.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_survives_its_digit() {
        for digit in 0..=u8::MAX {
            match PacketType::from_digit(digit) {
                Some(packet_type) => assert_eq!(packet_type.digit(), digit),
                None => assert!(!(b'0'..=b'6').contains(&digit)),
            }
        }
    }

    #[test]
    fn reserved_names_are_those_of_node() {
        for name in [
            "connect",
            "connect_error",
            "disconnect",
            "disconnecting",
            "newListener",
            "removeListener",
        ] {
            assert!(is_reserved_event(name), "{name}");
        }
        for name in ["", "error", "message", "Connect", "connection", "connect "] {
            assert!(!is_reserved_event(name), "{name}");
        }
    }
}
