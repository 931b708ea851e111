//! What waits in an outbox, turned into what a client gets.

use crate::websocket::Opcode;

use super::BINARY_BIT;

/// Turns the frames of a WebSocket's server, unmasked and final as all of our own are, into those of one WebTransport stream.
///
/// Control frames have no counterpart and are left out: a stream ends by being closed.
///
/// ```
/// # use synapse_protocol::{webtransport::Encoder, websocket::{Opcode, put_close, put_frame, CloseCode}};
/// let mut outbox = Vec::new();
/// put_frame(&mut outbox, Opcode::Text, b"2");
/// put_frame(&mut outbox, Opcode::Binary, b"abc");
/// put_frame(&mut outbox, Opcode::Close, b"");
/// let mut out = Vec::new();
/// Encoder::default().encode(&outbox, &mut out);
/// assert_eq!(out, b"\x012\x83abc");
/// ```
#[derive(Debug, Default)]
pub struct Encoder {
    state: State,
    kind: Kind,
}

/// What the next byte is.
#[derive(Debug, Default)]
enum State {
    /// The first one of a frame.
    #[default]
    Opcode,
    /// The second one.
    ShortLength,
    /// One of a long length.
    Length { read: u64, left: u8 },
    /// One of the payload.
    Payload { left: u64 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Text,
    Binary,
    Control,
}

impl Encoder {
    /// Takes all of `frames`, which may begin and end within a frame, and appends what the client gets for it.
    pub fn encode(&mut self, frames: &[u8], out: &mut Vec<u8>) {
        let mut rest = frames;
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                State::Opcode => {
                    self.kind = kind(byte);
                    self.state = State::ShortLength;
                    rest = after;
                }
                State::ShortLength => {
                    let bit = if self.kind == Kind::Binary {
                        BINARY_BIT
                    } else {
                        0
                    };
                    self.put(&[bit | byte], out);
                    self.state = match byte {
                        126 => State::Length { read: 0, left: 2 },
                        127 => State::Length { read: 0, left: 8 },
                        0 => State::Opcode,
                        len => State::Payload {
                            left: u64::from(len),
                        },
                    };
                    rest = after;
                }
                State::Length { read, left } => {
                    self.put(&[byte], out);
                    let read = read << 8 | u64::from(byte);
                    // A length that takes more than seven bits is never that of an empty payload.
                    self.state = match left {
                        1 => State::Payload { left: read },
                        left => State::Length {
                            read,
                            left: left - 1,
                        },
                    };
                    rest = after;
                }
                State::Payload { left } => {
                    let here =
                        usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    self.put(&rest[..here], out);
                    self.state = match left - here as u64 {
                        0 => State::Opcode,
                        left => State::Payload { left },
                    };
                    rest = &rest[here..];
                }
            }
        }
    }

    fn put(&self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.kind {
            Kind::Text | Kind::Binary => out.extend_from_slice(bytes),
            Kind::Control => (),
        }
    }
}

fn kind(first_byte: u8) -> Kind {
    match first_byte & 0x0f {
        byte if byte == Opcode::Text as u8 => Kind::Text,
        byte if byte == Opcode::Binary as u8 => Kind::Binary,
        _ => Kind::Control,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::put_frame;

    #[test]
    fn frames_of_any_length_are_the_same_but_for_their_first_byte_however_they_are_cut() {
        let mut outbox = Vec::new();
        let mut expected = Vec::new();
        for (index, len) in [1, 0, 125, 126, 300, 0xffff, 0x1_0000, 1]
            .into_iter()
            .enumerate()
        {
            let payload = vec![b'a' + u8::try_from(index).unwrap(); len];
            let mut frame = Vec::new();
            put_frame(&mut outbox, Opcode::Ping, b"left out");
            if index % 2 == 0 {
                put_frame(&mut frame, Opcode::Text, &payload);
                expected.extend_from_slice(&frame[1..]);
            } else {
                put_frame(&mut frame, Opcode::Binary, &payload);
                frame[1] |= BINARY_BIT;
                expected.extend_from_slice(&frame[1..]);
                frame[1] &= !BINARY_BIT;
            }
            outbox.extend_from_slice(&frame);
        }
        for piece in [1, 2, 3, 7, 1000, outbox.len()] {
            let mut encoder = Encoder::default();
            let mut out = Vec::new();
            for frames in outbox.chunks(piece) {
                encoder.encode(frames, &mut out);
            }
            assert!(out == expected, "{piece} at a time");
        }
    }
}
