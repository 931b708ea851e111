//! Payloads that are bytes: for each packet `0` (text) or `1` (binary), the digits of its length in bytes as values from 0 to 9, `255`, and
//! the packet.

use super::packet::{decode_binary_packet, decode_packet};
use crate::engine::{Packet, PacketError, PayloadLimits};
use crate::websocket::{Opcode, own_frames};

/// Digits of a length at most, leading zeros included. No body is as long as they can tell.
const LENGTH_DIGITS_MAX: usize = 10;
const TEXT: u8 = 0;
const BINARY: u8 = 1;
/// Stands behind the digits of a length.
const LENGTH_END: u8 = 255;

/// Reads the packets of a body of bytes, one at a time. The first error is the last item, and packets before it are good.
pub fn decode_binary_payload(body: &[u8], limits: PayloadLimits) -> BinaryPackets<'_> {
    BinaryPackets {
        rest: body,
        limits,
        taken: 0,
    }
}

/// The packets of a body of bytes.
#[derive(Clone, Debug)]
pub struct BinaryPackets<'a> {
    rest: &'a [u8],
    limits: PayloadLimits,
    taken: usize,
}

impl<'a> BinaryPackets<'a> {
    /// What has not been read yet, for a reader that goes on later: a body with the limits that are left for it. `None` at the end.
    pub fn rest(&self) -> Option<(&'a [u8], PayloadLimits)> {
        let packets_max = self.limits.packets_max.saturating_sub(self.taken);
        (!self.rest.is_empty()).then_some((self.rest, PayloadLimits { packets_max }))
    }
}

impl<'a> Iterator for BinaryPackets<'a> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let body = std::mem::take(&mut self.rest);
        if body.is_empty() {
            return None;
        }
        let limit = self.limits.packets_max;
        if self.taken == limit {
            return Some(Err(PacketError::TooManyPackets { limit }));
        }
        self.taken += 1;
        Some(split_record(body).and_then(|(packet, behind)| {
            if packet.is_ok() {
                self.rest = behind;
            }
            packet
        }))
    }
}

type Record<'a> = (Result<Packet<'a>, PacketError>, &'a [u8]);

/// The first record's packet and what is behind it.
fn split_record(bytes: &[u8]) -> Result<Record<'_>, PacketError> {
    let (kind, behind) = bytes.split_first().ok_or(PacketError::Empty)?;
    let (record, behind) = split_length(behind).ok_or(PacketError::RecordLength)?;
    let packet = match *kind {
        TEXT => simdutf8::basic::from_utf8(record)
            .map_err(|_| PacketError::Utf8)
            .and_then(decode_packet),
        BINARY => decode_binary_packet(record),
        _ => Err(PacketError::UnknownType),
    };
    Ok((packet, behind))
}

/// Splits what the length tells from what is behind it.
fn split_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = bytes
        .iter()
        .take(LENGTH_DIGITS_MAX)
        .take_while(|digit| **digit < 10)
        .count();
    let length = bytes[..digits]
        .iter()
        .fold(0, |length: u64, digit| length * 10 + u64::from(*digit));
    let (end, behind) = bytes[digits..].split_first()?;
    if digits == 0 || *end != LENGTH_END {
        return None;
    }
    behind.split_at_checked(usize::try_from(length).ok()?)
}

/// Appends the frames of an outbox as records.
pub(super) fn put(out: &mut Vec<u8>, frames: &[u8]) {
    for (opcode, payload) in own_frames(frames) {
        let kind = match opcode {
            Opcode::Text => TEXT,
            Opcode::Binary => BINARY,
            // They speak about a WebSocket connection, which a polling client does not have.
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => continue,
        };
        out.push(kind);
        out.extend(payload.len().to_string().bytes().map(|digit| digit - b'0'));
        out.push(LENGTH_END);
        out.extend_from_slice(payload);
    }
}
