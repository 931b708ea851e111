//! One packet of version 3, and the frames it travels in.

use std::borrow::Cow;

use crate::engine::base64_text::{self, put_base64};
use crate::engine::{Message, Packet, PacketError, PacketType};
use crate::websocket::{Opcode, header_len, own_frames, put_frame, put_header};

/// Stands in front of the type and the base64 of a binary packet that has to be text.
const BASE64: u8 = b'b';

/// How binary messages travel to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryForm {
    /// As they are.
    Bytes,
    /// In base64, for clients that asked for it with `b64=1`.
    Base64,
}

/// Reads a packet that came as text. `b` and the type stand before a binary message in base64.
pub fn decode_packet(text: &str) -> Result<Packet<'_>, PacketError> {
    let Some(binary) = text.strip_prefix(char::from(BASE64)) else {
        return crate::engine::decode_packet(text);
    };
    // Only messages have binary data; no client writes another type here.
    let data = binary
        .strip_prefix(char::from(PacketType::Message.digit()))
        .ok_or(PacketError::UnknownType)?;
    let data = base64_text::decode(data)?;
    Ok(Packet::Message(Message::Binary(Cow::Owned(data))))
}

/// Reads a packet that came as bytes: its type is the value of the first one, and only messages come so.
pub fn decode_binary_packet(bytes: &[u8]) -> Result<Packet<'_>, PacketError> {
    match bytes.split_first() {
        None => Err(PacketError::Empty),
        Some((packet_type, data)) if *packet_type == PacketType::Message as u8 => {
            Ok(Packet::Message(Message::Binary(Cow::Borrowed(data))))
        }
        Some(_) => Err(PacketError::UnknownType),
    }
}

/// Writes frames of ours anew for a client of version 3: what is binary gets its type. Returns whether there was anything binary; if not,
/// nothing is written, because such frames are the same in both versions.
pub fn put_frames(out: &mut Vec<u8>, frames: &[u8], form: BinaryForm) -> bool {
    let is_binary = own_frames(frames).any(|(opcode, _)| opcode == Opcode::Binary);
    if is_binary {
        for (opcode, payload) in own_frames(frames) {
            match opcode {
                Opcode::Binary => put_binary(out, payload, form),
                Opcode::Text
                | Opcode::Continuation
                | Opcode::Close
                | Opcode::Ping
                | Opcode::Pong => put_frame(out, opcode, payload),
            }
        }
    }
    is_binary
}

fn put_binary(out: &mut Vec<u8>, data: &[u8], form: BinaryForm) {
    match form {
        BinaryForm::Bytes => {
            let len = 1 + data.len();
            out.reserve(header_len(len) + len);
            put_header(out, Opcode::Binary, len);
            out.push(PacketType::Message as u8);
            out.extend_from_slice(data);
        }
        BinaryForm::Base64 => {
            put_header(out, Opcode::Text, base64_packet_len(data.len()));
            put_base64_packet(out, data);
        }
    }
}

/// Appends a binary message as text.
pub(super) fn put_base64_packet(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(&[BASE64, PacketType::Message.digit()]);
    put_base64(out, data);
}

/// How many characters [`put_base64_packet`] appends for so many bytes.
pub(super) fn base64_packet_len(data_len: usize) -> usize {
    2 + base64_text::encoded_len(data_len)
}
