//! What the tests of this folder share: frames with any first byte, and a decoder fed in reads of any size.

use super::decoder::{Decoder, Limits};
use super::encode::put_masked_frame;
use super::error::WebSocketError;
use super::frame::{Opcode, Role};
use super::message::Message;

pub(super) const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 20,
    fragments_max: 100,
};

pub(super) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A message that outlives the decoder.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(data) => Self::Binary(data.to_vec()),
            Message::Ping(data) => Self::Ping(data.to_vec()),
            Message::Pong(data) => Self::Pong(data.to_vec()),
            Message::Close(frame) => {
                Self::Close(frame.map(|frame| (frame.code.0, frame.reason.to_owned())))
            }
        }
    }
}

pub(super) fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

/// A masked frame with any bits and opcode in its first byte.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_masked_frame(&mut out, Opcode::Text, payload, MASK);
    out[0] = first;
    out
}

/// What a decoder makes of `stream` when it comes in reads of these sizes, repeated as long as needed: the messages, and the error
/// that ended it.
pub(super) fn decode_reads(
    role: Role,
    limits: &Limits,
    stream: &[u8],
    read_sizes: &[usize],
) -> (Vec<Owned>, Result<(), WebSocketError>) {
    decode_reads_by(Decoder::new(role), limits, stream, read_sizes)
}

/// The same with a decoder that is set otherwise.
pub(super) fn decode_reads_by(
    mut decoder: Decoder,
    limits: &Limits,
    stream: &[u8],
    read_sizes: &[usize],
) -> (Vec<Owned>, Result<(), WebSocketError>) {
    let mut messages = Vec::new();
    let mut rest = stream;
    let mut read_sizes = read_sizes.iter().cycle();
    while !rest.is_empty() {
        let read_size = read_sizes
            .next()
            .map_or(rest.len(), |size| rest.len().min(*size));
        let (read, behind) = rest.split_at(read_size);
        rest = behind;
        let mut read = read.to_vec();
        let mut input = &mut read[..];
        loop {
            match decoder.decode(input, limits) {
                Ok((taken, Some(message))) => {
                    messages.push(Owned::from(message));
                    input = &mut input[taken..];
                }
                Ok((taken, None)) => {
                    assert_eq!(
                        taken,
                        input.len(),
                        "without a message all of the input is taken"
                    );
                    break;
                }
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, Ok(()))
}
