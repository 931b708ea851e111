//! What a client sends, turned into frames as a WebSocket's client sends them.

use crate::websocket::Opcode;

use super::BINARY_BIT;

/// A byte and a 64-bit length.
const HEADER_BYTES_MAX: usize = 9;
/// Two bytes, a 64-bit length and a mask.
const WEBSOCKET_HEADER_BYTES_MAX: usize = 14;
/// In the first byte of a WebSocket's frame: no other one belongs to the message.
const FINAL_BIT: u8 = 0x80;
/// In its second byte: a mask follows. Ours is all zero, which changes nothing.
const MASK_BIT: u8 = 0x80;
/// Values of the 7-bit length that stand for a longer one behind it.
const LENGTH_IS_U16: u8 = 126;
const LENGTH_IS_U64: u8 = 127;

/// What is no frame. The session ends; Node's reason for it is `parse error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame has to hold a packet at least.
    #[error("a frame without payload")]
    Empty,
    /// Known from the header, before anything of the payload is taken.
    #[error("a frame of {size} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of the payload that were announced.
        size: u64,
        /// The limit that was passed.
        limit: usize,
    },
}

/// How far a call of [`Decoder::decode`] came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that were taken.
    pub taken: usize,
    /// Bytes of the output that were written.
    pub put: usize,
}

/// Turns what one client sends on its WebTransport stream into masked, final WebSocket frames. It holds a header at most.
///
/// ```
/// # use synapse_protocol::webtransport::{Decoder, FrameError};
/// let mut decoder = Decoder::new(1_000_000);
/// let mut output = [0; 16];
/// let decoded = decoder.decode(b"\x062probe", &mut output)?;
/// assert_eq!(decoded.taken, 7);
/// assert_eq!(&output[..decoded.put], b"\x81\x86\0\0\0\x002probe");
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    payload_bytes_max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Between two frames, or within the header of one.
    Header {
        bytes: [u8; HEADER_BYTES_MAX],
        len: usize,
    },
    /// The frame's new header goes out, then its payload.
    Passing {
        header: NewHeader,
        payload_left: usize,
    },
}

impl State {
    const BETWEEN: Self = Self::Header {
        bytes: [0; HEADER_BYTES_MAX],
        len: 0,
    };
}

impl Decoder {
    /// A decoder that takes payloads of so many bytes at most.
    pub fn new(payload_bytes_max: usize) -> Self {
        Self {
            payload_bytes_max,
            state: State::BETWEEN,
        }
    }

    /// Takes bytes from the front of `input` and writes WebSocket frames to the front of `output`, until one of them has come to its end.
    /// What is left of `input` belongs to the next call. Call until nothing is put, also when nothing is left in `input`: an error is told
    /// alone, after all that came before it, and the decoder is of no further use then.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Decoded, FrameError> {
        let mut at = Decoded::default();
        loop {
            match &mut self.state {
                State::Header { bytes, len } => {
                    while *len < wanted_len(bytes[0], *len) {
                        let Some(&byte) = input.get(at.taken) else {
                            return Ok(at);
                        };
                        bytes[*len] = byte;
                        *len += 1;
                        at.taken += 1;
                    }
                    let (opcode, size) = parse_header(*bytes);
                    let payload_len = match self.check(size) {
                        Ok(len) => len,
                        // The frames before it go out first; the next call finds it again.
                        Err(_) if at.put > 0 => return Ok(at),
                        Err(error) => return Err(error),
                    };
                    self.state = State::Passing {
                        header: NewHeader::new(opcode, payload_len),
                        payload_left: payload_len,
                    };
                }
                State::Passing {
                    header,
                    payload_left,
                } => {
                    let moved = copy(header.rest(), &mut output[at.put..]);
                    header.put += moved;
                    at.put += moved;
                    let payload = &input[at.taken..];
                    let payload = &payload[..payload.len().min(*payload_left)];
                    // Nothing is copied while the header has not gone out: there is no room then.
                    let moved = copy(payload, &mut output[at.put..]);
                    *payload_left -= moved;
                    at.taken += moved;
                    at.put += moved;
                    if !header.rest().is_empty() || *payload_left > 0 {
                        return Ok(at);
                    }
                    self.state = State::BETWEEN;
                }
            }
        }
    }

    fn check(&self, size: u64) -> Result<usize, FrameError> {
        let limit = self.payload_bytes_max;
        match usize::try_from(size) {
            Ok(0) => Err(FrameError::Empty),
            Ok(len) if len <= limit => Ok(len),
            Ok(_) | Err(_) => Err(FrameError::TooLong { size, limit }),
        }
    }
}

/// The header of a WebSocket's frame, on its way out.
#[derive(Debug)]
struct NewHeader {
    bytes: [u8; WEBSOCKET_HEADER_BYTES_MAX],
    len: usize,
    put: usize,
}

impl NewHeader {
    fn new(opcode: Opcode, payload_len: usize) -> Self {
        let mut bytes = [0; WEBSOCKET_HEADER_BYTES_MAX];
        bytes[0] = FINAL_BIT | opcode as u8;
        let (short_len, mask_at) = if let Ok(len @ 0..LENGTH_IS_U16) = u8::try_from(payload_len) {
            (len, 2)
        } else if let Ok(len) = u16::try_from(payload_len) {
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            (LENGTH_IS_U16, 4)
        } else {
            bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            (LENGTH_IS_U64, 10)
        };
        bytes[1] = MASK_BIT | short_len;
        Self {
            bytes,
            len: mask_at + 4,
            put: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.put..self.len]
    }
}

/// How long a header is, as far as its first byte tells once it is there.
fn wanted_len(first: u8, len: usize) -> usize {
    match first & !BINARY_BIT {
        _ if len == 0 => 1,
        LENGTH_IS_U16 => 3,
        LENGTH_IS_U64 => 9,
        _ => 1,
    }
}

/// What a complete header says. Lengths need not be written as short as they could be.
fn parse_header(bytes: [u8; HEADER_BYTES_MAX]) -> (Opcode, u64) {
    let [first, length @ ..] = bytes;
    let opcode = if first & BINARY_BIT == 0 {
        Opcode::Text
    } else {
        Opcode::Binary
    };
    let size = match first & !BINARY_BIT {
        LENGTH_IS_U16 => u64::from(u16::from_be_bytes([length[0], length[1]])),
        LENGTH_IS_U64 => u64::from_be_bytes(length),
        len => u64::from(len),
    };
    (opcode, size)
}

/// Copies as much as there is and fits; returns how much.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    to[..len].copy_from_slice(&from[..len]);
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::put_masked_frame;

    const LIMIT: usize = 100_000;

    /// Everything that comes out when the input comes in pieces of one size and the output is taken in pieces of another.
    fn decode(input: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, FrameError> {
        let mut decoder = Decoder::new(LIMIT);
        let mut out = Vec::new();
        let mut output = vec![0; room];
        for mut input in input.chunks(piece) {
            loop {
                let decoded = decoder.decode(input, &mut output)?;
                out.extend_from_slice(&output[..decoded.put]);
                input = &input[decoded.taken..];
                if input.is_empty() && decoded.put == 0 {
                    break;
                }
            }
        }
        Ok(out)
    }

    fn put_client_frame(out: &mut Vec<u8>, is_binary: bool, payload: &[u8]) {
        let bit = if is_binary { BINARY_BIT } else { 0 };
        let len = payload.len();
        match len {
            0..126 => out.push(bit | u8::try_from(len).unwrap()),
            126..0x1_0000 => {
                out.push(bit | 126);
                out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            }
            _ => {
                out.push(bit | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
    }

    #[test]
    fn frames_of_any_length_come_out_the_same_however_they_are_cut() {
        let mut input = Vec::new();
        let mut expected = Vec::new();
        for (index, len) in [1, 125, 126, 127, 300, 0xffff, 0x1_0000, 1]
            .into_iter()
            .enumerate()
        {
            let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let is_binary = index % 2 == 1;
            let opcode = if is_binary {
                Opcode::Binary
            } else {
                Opcode::Text
            };
            put_client_frame(&mut input, is_binary, &payload);
            put_masked_frame(&mut expected, opcode, &payload, [0; 4]);
        }
        for piece in [1, 2, 3, 7, 1000, input.len()] {
            for room in [1, 2, 13, 14, 1000, 2 * input.len()] {
                assert_eq!(
                    decode(&input, piece, room).as_ref(),
                    Ok(&expected),
                    "{piece} {room}"
                );
            }
        }
    }

    #[test]
    fn what_came_before_a_broken_frame_is_handed_out() {
        let mut decoder = Decoder::new(LIMIT);
        let mut output = [0; 99];
        let decoded = decoder.decode(b"\x01x\x00\x01y", &mut output).unwrap();
        assert_eq!(&output[..decoded.put], b"\x81\x81\0\0\0\0x");
        assert_eq!(decoder.decode(b"", &mut output), Err(FrameError::Empty));
    }

    #[test]
    fn lengths_may_be_written_longer_than_they_are() {
        assert_eq!(decode(b"\x7e\x00\x01x", 9, 99), decode(b"\x01x", 9, 99));
        assert_eq!(
            decode(b"\xff\0\0\0\0\0\0\0\x01x", 99, 99),
            decode(b"\x81x", 9, 99)
        );
    }

    #[test]
    fn a_length_of_nothing_or_over_the_limit_is_refused_before_the_payload() {
        for (header, error) in [
            (&b"\x00"[..], FrameError::Empty),
            (b"\x80", FrameError::Empty),
            (b"\x7e\0\0", FrameError::Empty),
            (
                b"\x7f\0\0\0\0\0\x01\x86\xa1",
                FrameError::TooLong {
                    size: 100_001,
                    limit: LIMIT,
                },
            ),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                FrameError::TooLong {
                    size: u64::MAX,
                    limit: LIMIT,
                },
            ),
        ] {
            assert_eq!(decode(header, 1, 99), Err(error));
        }
        assert!(decode(b"\x7f\0\0\0\0\0\x01\x86\xa0", 1, 99).is_ok());
    }
}
