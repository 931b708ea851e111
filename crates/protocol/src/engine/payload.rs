//! Payloads: several Engine.IO packets in the body of one polling request or response.

use std::borrow::Cow;

use super::base64_text;
use super::packet::{Message, Packet, PacketError, decode_packet};
use crate::websocket::{Opcode, own_frames};

/// Stands between two packets.
const SEPARATOR: u8 = 0x1e;

/// Stands before base64 in place of a packet type.
const BINARY: u8 = b'b';

/// What the body of one request may contain. Its total length is the limit of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Packets in one body. Default: 65,536, which is more than the smallest events that fit into Node's 1 MB body.
    pub packets_max: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            packets_max: 65_536,
        }
    }
}

/// Reads the packets of a body, one at a time. The first error is the last item, and packets before it are good.
pub fn decode_payload(body: &str, limits: PayloadLimits) -> PayloadPackets<'_> {
    PayloadPackets {
        rest: Some(body),
        limits,
        taken: 0,
    }
}

/// The packets of a body.
#[derive(Clone, Debug)]
pub struct PayloadPackets<'a> {
    rest: Option<&'a str>,
    limits: PayloadLimits,
    taken: usize,
}

impl<'a> PayloadPackets<'a> {
    /// What has not been read yet, for a reader that goes on later: a body with the limits that are left for it. `None` at the end.
    pub fn rest(&self) -> Option<(&'a str, PayloadLimits)> {
        let packets_max = self.limits.packets_max.saturating_sub(self.taken);
        Some((self.rest?, PayloadLimits { packets_max }))
    }
}

impl<'a> Iterator for PayloadPackets<'a> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let body = self.rest.take()?;
        let limit = self.limits.packets_max;
        if self.taken == limit {
            return Some(Err(PacketError::TooManyPackets { limit }));
        }
        self.taken += 1;
        let (record, rest) = body
            .split_once(char::from(SEPARATOR))
            .map_or((body, None), |(record, rest)| (record, Some(rest)));
        let packet = decode_record(record);
        if packet.is_ok() {
            self.rest = rest;
        }
        Some(packet)
    }
}

fn decode_record(record: &str) -> Result<Packet<'_>, PacketError> {
    match record.strip_prefix(char::from(BINARY)) {
        Some(base64) => {
            let data = base64_text::decode(base64)?;
            Ok(Packet::Message(Message::Binary(Cow::Owned(data))))
        }
        None => decode_packet(record),
    }
}

/// Turns an outbox (WebSocket frames of ours, back to back) into records of a payload and appends them to `out`, which holds nothing but the
/// payload so far. A text frame's content is a record as it is, because it starts with the packet type; a binary frame becomes base64.
pub fn put_payload(out: &mut Vec<u8>, frames: &[u8]) {
    for (opcode, payload) in own_frames(frames) {
        match opcode {
            Opcode::Text => {
                put_separator(out);
                out.extend_from_slice(payload);
            }
            Opcode::Binary => {
                put_separator(out);
                out.push(BINARY);
                base64_text::put_base64(out, payload);
            }
            // They speak about a WebSocket connection, which a polling client does not have.
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => (),
        }
    }
}

fn put_separator(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(SEPARATOR);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::websocket::{CloseCode, put_close, put_frame};

    fn text(data: &str) -> Result<Packet<'_>, PacketError> {
        Ok(Packet::Message(Message::Text(data.into())))
    }

    fn binary(data: &[u8]) -> Result<Packet<'_>, PacketError> {
        Ok(Packet::Message(Message::Binary(data.into())))
    }

    fn decoded(body: &str) -> Vec<Result<Packet<'_>, PacketError>> {
        decode_payload(body, PayloadLimits::default()).collect()
    }

    #[test]
    fn a_reader_may_go_on_later_and_the_limit_counts_all_packets() {
        let limits = PayloadLimits { packets_max: 3 };
        let mut packets = decode_payload("4a\x1e4b\x1e4c\x1e4d", limits);
        assert_eq!(packets.next(), Some(text("a")));
        assert_eq!(packets.next(), Some(text("b")));
        let (rest, limits) = packets.rest().unwrap();
        assert_eq!((rest, limits.packets_max), ("4c\x1e4d", 1));
        let mut packets = decode_payload(rest, limits);
        assert_eq!(packets.next(), Some(text("c")));
        assert!(packets.rest().is_some());
        let error = PacketError::TooManyPackets { limit: 1 };
        assert_eq!(packets.next(), Some(Err(error)));
        assert!(packets.rest().is_none() && packets.next().is_none());
    }

    #[test]
    fn the_examples_of_the_protocol_are_read_and_written() {
        let body = "4hello\x1e2\x1e4world\x1ebAQIDBA==";
        assert_eq!(
            decoded(body),
            [
                text("hello"),
                Ok(Packet::Ping("")),
                text("world"),
                binary(&[1, 2, 3, 4])
            ]
        );
        let mut frames = Vec::new();
        put_frame(&mut frames, Opcode::Text, b"4hello");
        put_frame(&mut frames, Opcode::Text, b"2");
        put_frame(&mut frames, Opcode::Text, b"4world");
        put_frame(&mut frames, Opcode::Binary, &[1, 2, 3, 4]);
        let mut out = Vec::new();
        put_payload(&mut out, &frames);
        assert_eq!(out, body.as_bytes());
    }

    #[test]
    fn segments_of_an_outbox_are_joined() {
        let mut out = Vec::new();
        for data in ["4hello", "4world"] {
            let mut frames = Vec::new();
            put_frame(&mut frames, Opcode::Text, data.as_bytes());
            put_close(&mut frames, CloseCode::NORMAL, "not for polling");
            put_payload(&mut out, &frames);
            put_payload(&mut out, &[]);
        }
        assert_eq!(out, b"4hello\x1e4world");
    }

    #[test]
    fn base64_may_lack_its_padding_and_nothing_else() {
        for (body, data) in [
            ("b", &[][..]),
            ("bAQ==", &[1]),
            ("bAQ", &[1]),
            ("bAQIDBA", &[1, 2, 3, 4]),
            ("b+/8=", &[251, 255]),
        ] {
            assert_eq!(decoded(body), [binary(data)], "{body}");
        }
        for body in [
            "bA",
            "bA===",
            "bAQ==AQ==",
            "b=",
            "bAQ I",
            "b-_8=",
            "b\u{e9}",
            "bAR==",
        ] {
            assert_eq!(decoded(body), [Err(PacketError::Base64)], "{body}");
        }
    }

    #[test]
    fn the_first_error_is_the_last_item() {
        let table: [(&str, usize, PacketError); 7] = [
            ("", 0, PacketError::Empty),
            ("\x1e", 0, PacketError::Empty),
            ("4a\x1e", 1, PacketError::Empty),
            ("4a\x1e\x1e4b", 1, PacketError::Empty),
            ("4a\x1eX\x1e4b", 1, PacketError::UnknownType),
            ("4a\x1eb!\x1e4b", 1, PacketError::Base64),
            ("B\x1e4a", 0, PacketError::UnknownType),
        ];
        for (body, good, error) in table {
            let packets = decoded(body);
            assert_eq!(
                (packets.len(), packets.last()),
                (good + 1, Some(&Err(error))),
                "{body:?}"
            );
        }
    }

    #[test]
    fn cve_2020_36048_packets_of_one_body_are_counted() {
        let empty = "\x1e".repeat(1_000_000);
        assert_eq!(decoded(&empty), [Err(PacketError::Empty)]);
        let limits = PayloadLimits { packets_max: 3 };
        let count = |body: &str| decode_payload(body, limits).filter(Result::is_ok).count();
        assert_eq!(count("6\x1e6\x1e6"), 3);
        let many = "6\x1e".repeat(1_000_000);
        assert_eq!(count(&many), 3);
        assert_eq!(
            decode_payload(&many, limits).last(),
            Some(Err(PacketError::TooManyPackets { limit: 3 }))
        );
        assert_eq!(
            decoded(&many).len(),
            PayloadLimits::default().packets_max + 1
        );
    }

    proptest! {
        #[test]
        fn a_payload_survives(messages in prop::collection::vec(prop_oneof![
            "[^\u{1e}]{0,20}".prop_map(|text| (Some(text), Vec::new())),
            any::<Vec<u8>>().prop_map(|data| (None, data)),
        ], 1..10)) {
            let mut frames = Vec::new();
            for (text, data) in &messages {
                match text {
                    Some(text) => put_frame(&mut frames, Opcode::Text, format!("4{text}").as_bytes()),
                    None => put_frame(&mut frames, Opcode::Binary, data),
                }
            }
            let mut out = Vec::new();
            put_payload(&mut out, &frames);
            let body = String::from_utf8(out).expect("a payload is text");
            let expected: Vec<_> = messages.iter().map(|(message, data)| message.as_deref().map_or_else(|| binary(data), text)).collect();
            prop_assert_eq!(decoded(&body), expected);
        }

        #[test]
        fn any_body_is_survived(body in "([0-7b][a-zA-Z0-9=]{0,5}\u{1e}?|\\PC)*") {
            let packets = decoded(&body);
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
            prop_assert!(!packets.is_empty());
        }
    }
}
