//! Rows that name a payload were compared with Node's `engine.io`.

use proptest::prelude::*;

use super::*;
use crate::engine::{Message, Packet, PacketError, PayloadLimits};
use crate::websocket::{CloseCode, put_close, put_frame};

/// A frame, as its opcode and payload.
type Frame<'a> = (Opcode, &'a [u8]);
type Decoded<'a> = Result<Packet<'a>, PacketError>;

fn text(data: &str) -> Decoded<'_> {
    Ok(Packet::Message(Message::Text(data.into())))
}

fn binary(data: &[u8]) -> Decoded<'_> {
    Ok(Packet::Message(Message::Binary(data.into())))
}

fn decoded(body: &str) -> Vec<Decoded<'_>> {
    decode_payload(body, PayloadLimits::default()).collect()
}

fn decoded_bytes(body: &[u8]) -> Vec<Decoded<'_>> {
    decode_binary_payload(body, PayloadLimits::default()).collect()
}

/// What a server sends: text packets with their type, and binary messages.
fn frames(packets: &[Frame<'_>]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (opcode, data) in packets {
        put_frame(&mut frames, *opcode, data);
    }
    frames
}

fn payload(frames: &[u8], form: BinaryForm) -> (PayloadKind, Vec<u8>) {
    let mut version_3 = Vec::new();
    // An outbox has the form of a WebSocket; what is base64 there is base64 here.
    let is_changed = put_frames(&mut version_3, frames, BinaryForm::Bytes);
    let mut out = Vec::new();
    let kind = put_payload(&mut out, if is_changed { &version_3 } else { frames }, form);
    (kind, out)
}

#[test]
fn payloads_are_written_as_node_writes_them() {
    let seven = [7; 300];
    let table: [(&[Frame<'_>], &[u8], &[u8]); 5] = [
        (
            &[(Opcode::Text, b"4hello"), (Opcode::Text, b"2")],
            b"6:4hello1:2",
            b"6:4hello1:2",
        ),
        (
            &[(Opcode::Text, "4\u{20ac}\u{1f600}\u{e9}".as_bytes())],
            "5:4\u{20ac}\u{1f600}\u{e9}".as_bytes(),
            "5:4\u{20ac}\u{1f600}\u{e9}".as_bytes(),
        ),
        (
            &[
                (Opcode::Binary, &[1, 2, 3, 4]),
                (Opcode::Text, "4\u{20ac}\u{1f600}".as_bytes()),
            ],
            b"\x01\x05\xff\x04\x01\x02\x03\x04\x00\x08\xff4\xe2\x82\xac\xf0\x9f\x98\x80",
            "10:b4AQIDBA==4:4\u{20ac}\u{1f600}".as_bytes(),
        ),
        (&[(Opcode::Binary, &[])], b"\x01\x01\xff\x04", b"2:b4"),
        (
            &[(Opcode::Binary, &seven)],
            &[&b"\x01\x03\x00\x01\xff\x04"[..], &seven].concat(),
            &[&b"402:b4"[..], &b"BwcH".repeat(100)].concat(),
        ),
    ];
    for (packets, bytes, base64) in table {
        let frames = frames(packets);
        let has_binary = packets.iter().any(|(opcode, _)| *opcode == Opcode::Binary);
        let kind = if has_binary {
            PayloadKind::Binary
        } else {
            PayloadKind::Text
        };
        assert_eq!(payload(&frames, BinaryForm::Bytes), (kind, bytes.to_vec()));
        assert_eq!(
            payload(&frames, BinaryForm::Base64),
            (PayloadKind::Text, base64.to_vec())
        );
    }
}

#[test]
fn frames_of_a_websocket_get_the_type_of_their_packet() {
    let mut sent = frames(&[(Opcode::Text, b"451-[\"e\"]"), (Opcode::Binary, &[9, 8])]);
    put_frame(&mut sent, Opcode::Pong, b"x");
    for (form, expected) in [
        (BinaryForm::Bytes, (Opcode::Binary, &b"\x04\x09\x08"[..])),
        (BinaryForm::Base64, (Opcode::Text, &b"b4CQg="[..])),
    ] {
        let mut out = Vec::new();
        assert!(put_frames(&mut out, &sent, form));
        let own: Vec<_> = own_frames(&out).collect();
        assert_eq!(
            own,
            [
                (Opcode::Text, &b"451-[\"e\"]"[..]),
                expected,
                (Opcode::Pong, b"x")
            ]
        );
    }
    let plain = frames(&[(Opcode::Text, b"42[\"e\"]")]);
    let mut out = Vec::new();
    assert!(!put_frames(&mut out, &plain, BinaryForm::Bytes) && out.is_empty());
}

#[test]
fn what_speaks_about_a_websocket_is_no_record() {
    let mut sent = frames(&[(Opcode::Text, b"4a")]);
    put_close(&mut sent, CloseCode::NORMAL, "not for polling");
    put_frame(&mut sent, Opcode::Binary, b"b");
    let (_, out) = payload(&sent, BinaryForm::Bytes);
    assert_eq!(out, b"\x00\x02\xff4a\x01\x02\xff\x04b");
    let (_, out) = payload(&sent, BinaryForm::Base64);
    assert_eq!(out, b"2:4a6:b4Yg==");
}

#[test]
fn text_payloads_are_read_as_node_reads_them() {
    let table: [(&str, &[Decoded<'_>]); 11] = [
        ("6:4hello", &[text("hello")]),
        ("6:4hello1:2", &[text("hello"), Ok(Packet::Ping(""))]),
        (
            "6:2probe1:51:6",
            &[
                Ok(Packet::Ping("probe")),
                Ok(Packet::Upgrade),
                Ok(Packet::Noop),
            ],
        ),
        ("3:4\u{1f600}1:1", &[text("\u{1f600}"), Ok(Packet::Close)]),
        ("4:4\u{e9}\u{20ac}x", &[text("\u{e9}\u{20ac}x")]),
        ("007:4hello1", &[text("hello1")]),
        ("10:b4AQIDBA==", &[binary(&[1, 2, 3, 4])]),
        ("8:b4AQID!A1:2", &[Err(PacketError::Base64)]),
        ("2:b4", &[binary(&[])]),
        ("0:", &[]),
        ("0:1:4", &[text("")]),
    ];
    for (body, packets) in table {
        assert_eq!(decoded(body), packets, "{body}");
    }
}

#[test]
fn binary_payloads_are_read_as_node_reads_them() {
    let table: [(&[u8], &[Decoded<'_>]); 6] = [
        (b"", &[]),
        (
            b"\x00\x06\xff4hello\x00\x01\xff2",
            &[text("hello"), Ok(Packet::Ping(""))],
        ),
        (
            b"\x01\x05\xff\x04\x01\x02\x03\x04",
            &[binary(&[1, 2, 3, 4])],
        ),
        (b"\x01\x00\x00\x01\xff\x04", &[binary(&[])]),
        (
            b"\x00\x08\xff4\xe2\x82\xac\xf0\x9f\x98\x80\x00\x0a\xff",
            &[text("\u{20ac}\u{1f600}"), Err(PacketError::RecordLength)],
        ),
        (b"\x00\x06\xffb4AQ==", &[binary(&[1])]),
    ];
    for (body, packets) in table {
        assert_eq!(decoded_bytes(body), packets, "{body:?}");
    }
}

#[test]
fn socketioxide_panic_and_loop_by_a_hostile_length_of_text() {
    let huge = "9".repeat(100_000);
    let table: [(&str, usize, PacketError); 20] = [
        ("", 0, PacketError::Empty),
        (":", 0, PacketError::RecordLength),
        ("1", 0, PacketError::RecordLength),
        ("1:", 0, PacketError::RecordLength),
        ("2:4", 0, PacketError::RecordLength),
        ("a:4", 0, PacketError::RecordLength),
        ("-1:4", 0, PacketError::RecordLength),
        ("+1:4", 0, PacketError::RecordLength),
        (" 1:4", 0, PacketError::RecordLength),
        ("1e0:4", 0, PacketError::RecordLength),
        ("0x1:4", 0, PacketError::RecordLength),
        ("\u{661}:4", 0, PacketError::RecordLength),
        ("9999999999:4", 0, PacketError::RecordLength),
        ("18446744073709551617:4", 0, PacketError::RecordLength),
        (&huge, 0, PacketError::RecordLength),
        // The length ends between the two code units of one character, or counts bytes.
        ("2:4\u{1f600}", 0, PacketError::RecordLength),
        ("4:4\u{20ac}", 0, PacketError::RecordLength),
        ("1:41:9", 1, PacketError::UnknownType),
        ("4:b2AA", 0, PacketError::UnknownType),
        ("1:4\u{0}", 1, PacketError::RecordLength),
    ];
    for (body, good, error) in table {
        let packets = decoded(body);
        assert_eq!(
            (packets.len(), packets.last()),
            (good + 1, Some(&Err(error))),
            "{body:.40}"
        );
    }
}

#[test]
fn socketioxide_panic_and_loop_by_a_hostile_length_of_bytes() {
    let endless_digits = [1; 100_000];
    let table: [(&[u8], usize, PacketError); 14] = [
        (b"\x00", 0, PacketError::RecordLength),
        (b"\x01", 0, PacketError::RecordLength),
        (b"\x00\xff", 0, PacketError::RecordLength),
        (b"\x00\x01", 0, PacketError::RecordLength),
        (b"\x00\x01\xff", 0, PacketError::RecordLength),
        (b"\x00\x02\xff4", 0, PacketError::RecordLength),
        (b"\x0016:4", 0, PacketError::RecordLength),
        (
            b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4",
            0,
            PacketError::RecordLength,
        ),
        (
            b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff4",
            0,
            PacketError::RecordLength,
        ),
        (&endless_digits, 0, PacketError::RecordLength),
        (b"\x00\x00\xff\x00\x01\xff4", 0, PacketError::Empty),
        (b"\x01\x00\xff", 0, PacketError::Empty),
        (b"\x00\x02\xff4\xff", 0, PacketError::Utf8),
        (b"\x00\x01\xff4\x02\x01\xff4", 1, PacketError::UnknownType),
    ];
    for (body, good, error) in table {
        let packets = decoded_bytes(body);
        assert_eq!(
            (packets.len(), packets.last()),
            (good + 1, Some(&Err(error))),
            "{:?}",
            &body[..body.len().min(20)]
        );
    }
    // Only messages are binary.
    for packet_type in [0, 1, 2, 3, 5, 6, 7, b'4', 255] {
        assert_eq!(
            decoded_bytes(&[1, 1, 255, packet_type]),
            [Err(PacketError::UnknownType)]
        );
    }
}

#[test]
fn packets_of_one_body_are_counted_empty_records_included() {
    let limits = PayloadLimits { packets_max: 3 };
    let too_many = Some(Err(PacketError::TooManyPackets { limit: 3 }));
    assert_eq!(
        decode_payload("1:61:61:6", limits)
            .filter(Result::is_ok)
            .count(),
        3
    );
    for body in ["1:6".repeat(1_000_000), "0:".repeat(1_000_000)] {
        assert_eq!(decode_payload(&body, limits).last(), too_many);
    }
    let three = b"\x00\x01\xff6".repeat(3);
    assert_eq!(
        decode_binary_payload(&three, limits)
            .filter(Result::is_ok)
            .count(),
        3
    );
    let many = b"\x00\x01\xff6".repeat(1_000_000);
    assert_eq!(decode_binary_payload(&many, limits).count(), 4);
    assert_eq!(decode_binary_payload(&many, limits).last(), too_many);
}

/// A reader that goes on later gets what is left, of the body and of its limits.
#[test]
fn what_has_not_been_read_can_be_read_later() {
    let limits = PayloadLimits { packets_max: 3 };
    let mut text = decode_payload("0:1:61:6", limits);
    assert_eq!(text.next(), Some(Ok(Packet::Noop)));
    let left = PayloadLimits { packets_max: 1 };
    assert_eq!(text.rest(), Some(("1:6", left)));
    assert_eq!(text.next(), Some(Ok(Packet::Noop)));
    assert_eq!(text.rest(), None);

    let bytes = b"\x00\x01\xff6".repeat(2);
    let mut packets = decode_binary_payload(&bytes, limits);
    assert_eq!(packets.next(), Some(Ok(Packet::Noop)));
    let left = PayloadLimits { packets_max: 2 };
    assert_eq!(packets.rest(), Some((&bytes[4..], left)));
    assert_eq!(packets.next(), Some(Ok(Packet::Noop)));
    assert_eq!(packets.rest(), None);

    for broken in ["1:61:9", "1:6x"] {
        let mut packets = decode_payload(broken, limits);
        assert!(packets.nth(1).is_some_and(|packet| packet.is_err()));
        assert_eq!((packets.rest(), packets.next()), (None, None));
    }
}

fn messages() -> impl Strategy<Value = Vec<Result<String, Vec<u8>>>> {
    prop::collection::vec(
        prop_oneof!["\\PC{0,20}".prop_map(Ok), any::<Vec<u8>>().prop_map(Err)],
        1..10,
    )
}

proptest! {
    #[test]
    fn a_payload_survives_both_ways(messages in messages()) {
        let mut sent = Vec::new();
        for message in &messages {
            match message {
                Ok(text) => put_frame(&mut sent, Opcode::Text, format!("4{text}").as_bytes()),
                Err(data) => put_frame(&mut sent, Opcode::Binary, data),
            }
        }
        let expected: Vec<_> = messages
            .iter()
            .map(|message| match message {
                Ok(data) => text(data),
                Err(data) => binary(data),
            })
            .collect();
        for form in [BinaryForm::Bytes, BinaryForm::Base64] {
            let (kind, body) = payload(&sent, form);
            let packets = match kind {
                PayloadKind::Text => decoded(std::str::from_utf8(&body).expect("text")),
                PayloadKind::Binary => decoded_bytes(&body),
            };
            prop_assert_eq!(packets, &expected[..]);
        }
    }

    #[test]
    fn any_text_is_survived(body in "([0-9]{1,3}:[0-7b][a-zA-Z0-9=]{0,5}|\\PC)*") {
        let packets = decoded(&body);
        prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(prop_oneof![0..10u8, Just(255), Just(b'4'), any::<u8>()], 0..64)) {
        let packets = decoded_bytes(&body);
        prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        prop_assert!(packets.len() <= body.len());
        let _ = decode_binary_packet(&body);
    }
}
