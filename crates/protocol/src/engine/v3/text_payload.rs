//! Payloads that are text: `6:4hello1:2`, each packet with its length in UTF-16 code units, which is what JavaScript counts.

use super::packet::{base64_packet_len, decode_packet, put_base64_packet};
use crate::engine::{Packet, PacketError, PayloadLimits};
use crate::websocket::{Opcode, own_frames};

/// Digits of a length at most, leading zeros included. No body is as long as they can tell.
const LENGTH_DIGITS_MAX: usize = 10;

/// Reads the packets of a body of text, one at a time. The first error is the last item, and packets before it are good. Records of no
/// length are passed over, as in Node, which writes one when it has nothing to say; they count as packets.
pub fn decode_payload(body: &str, limits: PayloadLimits) -> TextPackets<'_> {
    TextPackets {
        rest: Some(body),
        limits,
        taken: 0,
    }
}

/// The packets of a body of text.
#[derive(Clone, Debug)]
pub struct TextPackets<'a> {
    rest: Option<&'a str>,
    limits: PayloadLimits,
    taken: usize,
}

impl<'a> TextPackets<'a> {
    /// What has not been read yet, for a reader that goes on later: a body with the limits that are left for it. `None` at the end.
    pub fn rest(&self) -> Option<(&'a str, PayloadLimits)> {
        let packets_max = self.limits.packets_max.saturating_sub(self.taken);
        Some((self.rest?, PayloadLimits { packets_max }))
    }
}

impl<'a> Iterator for TextPackets<'a> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let body = self.rest.take()?;
            let limit = self.limits.packets_max;
            if self.taken == limit {
                return Some(Err(PacketError::TooManyPackets { limit }));
            }
            self.taken += 1;
            let (record, behind) = match split_record(body) {
                Ok(split) => split,
                Err(error) => return Some(Err(error)),
            };
            let packet = (!record.is_empty()).then(|| decode_packet(record));
            if !matches!(packet, Some(Err(_))) {
                self.rest = (!behind.is_empty()).then_some(behind);
            }
            if packet.is_some() {
                return packet;
            }
        }
    }
}

/// The first record and what is behind it.
fn split_record(text: &str) -> Result<(&str, &str), PacketError> {
    if text.is_empty() {
        return Err(PacketError::Empty);
    }
    let digits = text
        .bytes()
        .take(LENGTH_DIGITS_MAX)
        .take_while(u8::is_ascii_digit)
        .count();
    let (length, behind) = text.split_at(digits);
    let units = length
        .parse::<u64>()
        .ok()
        .and_then(|units| usize::try_from(units).ok());
    units
        .zip(behind.strip_prefix(':'))
        .and_then(|(units, behind)| split_utf16(behind, units))
        .ok_or(PacketError::RecordLength)
}

/// Splits after so many UTF-16 code units; none if there are fewer, or if the place is inside of a character.
fn split_utf16(text: &str, units: usize) -> Option<(&str, &str)> {
    // Bytes of ASCII are code units, so a long record is mostly measured by its bytes.
    let ascii = text.bytes().take(units).take_while(u8::is_ascii).count();
    let mut left = units - ascii;
    for (at, character) in text[ascii..].char_indices() {
        if left == 0 {
            return Some(text.split_at(ascii + at));
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some((text, ""))
}

/// Appends the frames of an outbox as records.
pub(super) fn put(out: &mut Vec<u8>, frames: &[u8]) {
    for (opcode, payload) in own_frames(frames) {
        match opcode {
            Opcode::Text => {
                put_length(out, utf16_len(payload));
                out.extend_from_slice(payload);
            }
            Opcode::Binary => {
                // The type in front of it is written another way.
                let data = payload.get(1..).unwrap_or_default();
                put_length(out, base64_packet_len(data.len()));
                put_base64_packet(out, data);
            }
            // They speak about a WebSocket connection, which a polling client does not have.
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => (),
        }
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b':');
}

/// How many UTF-16 code units a text has: one for each character, two for those that take four bytes in UTF-8.
fn utf16_len(utf8: &[u8]) -> usize {
    let is_first = |byte: u8| !(0x80..0xc0).contains(&byte);
    utf8.iter()
        .map(|byte| usize::from(is_first(*byte)) + usize::from(*byte >= 0xf0))
        .sum()
}
