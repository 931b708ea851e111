//! Engine.IO packets as they travel in a text frame: one digit for the type, then the data.

use std::borrow::Cow;

/// The type of an Engine.IO packet, with its digit on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// The server's handshake.
    Open = 0,
    /// The session ends.
    Close = 1,
    /// Asks whether the other side is there.
    Ping = 2,
    /// Answers a ping.
    Pong = 3,
    /// Data of the application.
    Message = 4,
    /// The client moves to the transport it probed.
    Upgrade = 5,
    /// Nothing: ends a poll that would otherwise wait.
    Noop = 6,
}

impl PacketType {
    /// The type that an ASCII digit stands for.
    pub fn from_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Open,
            b'1' => Self::Close,
            b'2' => Self::Ping,
            b'3' => Self::Pong,
            b'4' => Self::Message,
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            _ => return None,
        })
    }

    /// The ASCII digit that stands for the type.
    pub const fn digit(self) -> u8 {
        b'0' + self as u8
    }
}

/// Data of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text, without the packet type.
    Text(Cow<'a, str>),
    /// Binary data: a binary frame as it is, or decoded from base64 in a payload.
    Binary(Cow<'a, [u8]>),
}

/// One Engine.IO packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The handshake: the text of a JSON object.
    Open(&'a str),
    /// The session ends.
    Close,
    /// Carries `probe` when a new transport is tried, otherwise nothing.
    Ping(&'a str),
    /// Carries what the ping carried.
    Pong(&'a str),
    /// Data of the application.
    Message(Message<'a>),
    /// The client moves to the transport it probed.
    Upgrade,
    /// Nothing.
    Noop,
}

impl Packet<'_> {
    /// The type of the packet.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Open(_) => PacketType::Open,
            Self::Close => PacketType::Close,
            Self::Ping(_) => PacketType::Ping,
            Self::Pong(_) => PacketType::Pong,
            Self::Message(_) => PacketType::Message,
            Self::Upgrade => PacketType::Upgrade,
            Self::Noop => PacketType::Noop,
        }
    }
}

/// What is no Engine.IO packet. The session ends; Node's reason for it is `parse error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// No packet at all; what two separators in a row enclose.
    #[error("the packet is empty")]
    Empty,
    /// The first character is not a digit from 0 to 6.
    #[error("unknown packet type")]
    UnknownType,
    /// A binary record that is not base64.
    #[error("a binary record is not base64")]
    Base64,
    /// A record of version 3 whose length is no number, or not that of what follows.
    #[error("a record has no valid length")]
    RecordLength,
    /// A text record of version 3 that is not UTF-8.
    #[error("a text record is not UTF-8")]
    Utf8,
    /// One request body has too many packets.
    #[error("a payload of more than {limit} packets")]
    TooManyPackets {
        /// The limit that was passed.
        limit: usize,
    },
}

/// Reads one text packet, as in a text frame. A binary frame has no packet around it: it is a [`Message::Binary`] directly.
pub fn decode_packet(text: &str) -> Result<Packet<'_>, PacketError> {
    let digit = *text.as_bytes().first().ok_or(PacketError::Empty)?;
    let packet_type = PacketType::from_digit(digit).ok_or(PacketError::UnknownType)?;
    let data = &text[1..];
    // Data behind a type that has none is ignored, as in Node.
    Ok(match packet_type {
        PacketType::Open => Packet::Open(data),
        PacketType::Close => Packet::Close,
        PacketType::Ping => Packet::Ping(data),
        PacketType::Pong => Packet::Pong(data),
        PacketType::Message => Packet::Message(Message::Text(Cow::Borrowed(data))),
        PacketType::Upgrade => Packet::Upgrade,
        PacketType::Noop => Packet::Noop,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data: &str) -> Packet<'_> {
        Packet::Message(Message::Text(data.into()))
    }

    #[test]
    fn each_type_is_read() {
        let table = [
            ("0{\"sid\":\"x\"}", Packet::Open("{\"sid\":\"x\"}")),
            ("1", Packet::Close),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("3", Packet::Pong("")),
            ("3probe", Packet::Pong("probe")),
            ("4", text("")),
            ("42[\"a\"]", text("2[\"a\"]")),
            ("4\u{20ac}", text("\u{20ac}")),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
            ("6ignored", Packet::Noop),
        ];
        for (wire, packet) in table {
            assert_eq!(decode_packet(wire).as_ref(), Ok(&packet), "{wire}");
            assert_eq!(packet.packet_type().digit(), wire.as_bytes()[0]);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(decode_packet(""), Err(PacketError::Empty));
        for wire in [
            "7",
            "9",
            "a",
            " 4hello",
            "-1",
            "\u{660}",
            "\u{1f600}",
            "\0",
            "bAQIDBA==",
        ] {
            assert_eq!(decode_packet(wire), Err(PacketError::UnknownType), "{wire}");
        }
    }
}
