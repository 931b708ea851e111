//! What stands before a frame's payload, and the mask over it.

use super::error::WebSocketError;

/// Longest payload of a close, ping or pong frame.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

pub(super) const MASK_BYTES: usize = 4;

/// Two bytes, a 64-bit length and a mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

pub(super) const FINAL_BIT: u8 = 0x80;
pub(super) const MASK_BIT: u8 = 0x80;

/// RSV1, RSV2 and RSV3. An extension that is negotiated takes its bit out of them.
const RESERVED_BITS: u8 = 0x70;
/// RSV1, which permessage-deflate sets on the first frame of a compressed message and nowhere else.
pub(super) const COMPRESSED_BIT: u8 = 0x40;

/// Values of the 7-bit length that stand for a longer one behind it.
pub(super) const LENGTH_IS_U16: u8 = 126;
pub(super) const LENGTH_IS_U64: u8 = 127;

/// Which end of the connection we are. It decides what the other end has to do about masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Frames come from a client and must be masked.
    Server,
    /// Frames come from a server and must not be masked.
    Client,
}

/// What a connection has to keep to besides the RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) role: Role,
    /// Whether permessage-deflate was negotiated.
    pub(super) deflate: bool,
}

impl Rules {
    /// Without extensions.
    pub(super) fn plain(role: Role) -> Self {
        Self {
            role,
            deflate: false,
        }
    }

    /// The bits that mean nothing on a frame of this kind.
    fn reserved_bits(self, opcode: u8) -> u8 {
        let begins_message = opcode == Opcode::Text as u8 || opcode == Opcode::Binary as u8;
        if self.deflate && begins_message {
            RESERVED_BITS & !COMPRESSED_BIT
        } else {
            RESERVED_BITS
        }
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that an earlier frame began.
    Continuation = 0,
    /// A message of UTF-8 text, or its first fragment.
    Text = 1,
    /// A message of bytes, or its first fragment.
    Binary = 2,
    /// The sender will send nothing more.
    Close = 8,
    /// To be answered with a pong of the same payload.
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

impl Opcode {
    /// Whether frames of this kind speak about the connection instead of carrying data.
    pub fn is_control(self) -> bool {
        match self {
            Self::Continuation | Self::Text | Self::Binary => false,
            Self::Close | Self::Ping | Self::Pong => true,
        }
    }

    fn parse(opcode: u8) -> Result<Self, WebSocketError> {
        match opcode {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            opcode => Err(WebSocketError::ReservedOpcode { opcode }),
        }
    }
}

/// A frame's header that keeps every rule a header can keep by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    /// The message that this frame begins is compressed.
    pub(super) is_compressed: bool,
    /// All zero when the frame is not masked, which changes nothing when applied.
    pub(super) mask: [u8; MASK_BYTES],
    pub(super) payload_len: usize,
}

impl Header {
    /// The header at the front of `bytes` and its length. `None` when it goes on beyond `bytes`; what is there keeps the rules.
    #[inline]
    pub(super) fn parse(
        bytes: &[u8],
        rules: Rules,
    ) -> Result<Option<(Self, usize)>, WebSocketError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & rules.reserved_bits(first & 0x0f) != 0 {
            return Err(WebSocketError::ReservedBit);
        }
        let opcode = Opcode::parse(first & 0x0f)?;
        let is_final = first & FINAL_BIT != 0;
        let is_compressed = first & COMPRESSED_BIT != 0;
        if opcode.is_control() && !is_final {
            return Err(WebSocketError::ControlFragmented);
        }

        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let is_masked = second & MASK_BIT != 0;
        match rules.role {
            Role::Server if !is_masked => return Err(WebSocketError::MaskMissing),
            Role::Client if is_masked => return Err(WebSocketError::MaskForbidden),
            Role::Server | Role::Client => (),
        }
        let short_len = second & !MASK_BIT;
        if opcode.is_control() && usize::from(short_len) > CONTROL_BYTES_MAX {
            return Err(WebSocketError::ControlTooLong);
        }

        let Some((payload_len, mask_at)) = parse_length(short_len, &bytes[2..])? else {
            return Ok(None);
        };
        if !is_masked {
            return Ok(Some((
                Self {
                    opcode,
                    is_final,
                    is_compressed,
                    mask: [0; MASK_BYTES],
                    payload_len,
                },
                mask_at,
            )));
        }
        let Some(&mask) = bytes[mask_at..].first_chunk() else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                opcode,
                is_final,
                is_compressed,
                mask,
                payload_len,
            },
            mask_at + mask.len(),
        )))
    }
}

/// The payload's length and the place in the header behind it.
#[inline]
fn parse_length(short_len: u8, extended: &[u8]) -> Result<Option<(usize, usize)>, WebSocketError> {
    match short_len {
        LENGTH_IS_U16 => {
            let Some(&bytes) = extended.first_chunk() else {
                return Ok(None);
            };
            let len = u16::from_be_bytes(bytes);
            if len < u16::from(LENGTH_IS_U16) {
                return Err(WebSocketError::LengthNotMinimal);
            }
            Ok(Some((usize::from(len), 4)))
        }
        LENGTH_IS_U64 => {
            let Some(&bytes) = extended.first_chunk() else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(bytes);
            if len > i64::MAX as u64 {
                return Err(WebSocketError::LengthOverflow);
            }
            if len <= u64::from(u16::MAX) {
                return Err(WebSocketError::LengthNotMinimal);
            }
            // A length beyond the address space is over every limit anyway.
            Ok(Some((usize::try_from(len).unwrap_or(usize::MAX), 10)))
        }
        len => Ok(Some((usize::from(len), 2))),
    }
}

/// Puts the mask on, or takes it off.
#[inline]
pub(super) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    // Words instead of bytes, which the compiler turns into vector instructions.
    let word = u64::from(u32::from_ne_bytes(mask));
    let word = word << 32 | word;
    let (chunks, rest) = payload.as_chunks_mut();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_is_complete_only_with_its_last_byte() {
        let cases: [(&[u8], Role, usize); 6] = [
            (&[0x81, 0x05], Role::Client, 5),
            (&[0x81, 0x85, 1, 2, 3, 4], Role::Server, 5),
            (&[0x81, 126, 0x01, 0x02], Role::Client, 0x102),
            (&[0x81, 0xfe, 0x01, 0x02, 1, 2, 3, 4], Role::Server, 0x102),
            (&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], Role::Client, 0x1_0000),
            (
                &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
                Role::Server,
                0x1_0000,
            ),
        ];
        for (bytes, role, payload_len) in cases {
            for len in 0..bytes.len() {
                assert_eq!(
                    Header::parse(&bytes[..len], Rules::plain(role)),
                    Ok(None),
                    "{len} bytes of {bytes:?}"
                );
            }
            let mask = if role == Role::Server {
                [1, 2, 3, 4]
            } else {
                [0; 4]
            };
            let header = Header {
                opcode: Opcode::Text,
                is_final: true,
                is_compressed: false,
                mask,
                payload_len,
            };
            assert_eq!(
                Header::parse(bytes, Rules::plain(role)),
                Ok(Some((header, bytes.len())))
            );
            assert!(bytes.len() <= HEADER_BYTES_MAX);
        }
    }

    #[test]
    fn every_opcode_is_known_or_refused() {
        for first in 0x80..=0x8f {
            let opcode = first & 0x0f;
            match Header::parse(&[first, 0], Rules::plain(Role::Client)) {
                Ok(Some((header, 2))) => assert_eq!(header.opcode as u8, opcode),
                Err(error) => {
                    assert_eq!(error, WebSocketError::ReservedOpcode { opcode });
                    assert!(matches!(opcode, 3..=7 | 11..=15));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn mask_is_applied_like_one_byte_at_a_time(payload: Vec<u8>, mask: [u8; 4]) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            let mut masked = payload;
            apply_mask(&mut masked, mask);
            prop_assert_eq!(masked, expected);
        }
    }
}
