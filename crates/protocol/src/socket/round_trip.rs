//! Packets from end to end: what `Outgoing` writes is what `Assembler` reads, and nothing that a client may send does more than fail.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::websocket::{Opcode, own_frames};

const MAX_ATTACHMENTS: usize = 10;

/// JSON of every kind; the numbers are such that their text is one.
pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An array of arguments with placeholders at any depth, and the attachments they name.
pub(super) fn arguments(name: Option<String>) -> impl Strategy<Value = Arguments> {
    let attachments = prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..200),
        0..=MAX_ATTACHMENTS,
    );
    (
        prop::collection::vec((value(), 0..20_usize), 0..6),
        attachments,
    )
        .prop_map(move |(values, attachments)| {
            let placeholders =
                (0..attachments.len()).map(|num| json!({"_placeholder": true, "num": num}));
            let nested = placeholders.enumerate().map(|(depth, placeholder)| {
                (0..depth * 4).fold(placeholder, |inner, level| {
                    if level % 2 == 0 {
                        json!([inner])
                    } else {
                        json!({"x": inner, "y": level})
                    }
                })
            });
            let items: Vec<Value> = name
                .iter()
                .map(|name| json!(name))
                .chain(values.into_iter().map(|(value, _)| value))
                .chain(nested)
                .collect();
            let json = serde_json::to_vec(&items).expect("a value serialises");
            Arguments::from_validated(
                json.into(),
                attachments.into_iter().map(Bytes::from).collect(),
            )
        })
}

pub(super) fn event() -> impl Strategy<Value = Arguments> {
    any::<String>()
        .prop_filter("reserved", |name| !is_reserved_event(name))
        .prop_flat_map(|name| arguments(Some(name)))
}

pub(super) fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[^,?]{1,40}"]
}

/// Writes the packet and hands its frames to an assembler as a transport does.
fn send<'a>(
    outgoing: &Outgoing<'_>,
    frames: &'a mut Vec<u8>,
    assembler: &'a mut Assembler,
) -> Incoming<'a> {
    outgoing.put_frames(frames);
    assert_eq!(frames.len(), outgoing.frame_bytes());
    let limits = Limits::default();
    let mut frames = own_frames(frames).peekable();
    let (opcode, text) = frames.next().expect("a packet has a text frame");
    assert_eq!((opcode, text[0]), (Opcode::Text, b'4'));
    let text = std::str::from_utf8(&text[1..]).expect("a text frame is text");
    if let Some(incoming) = assembler
        .text(text, &limits)
        .expect("our own packets are legal")
    {
        assert_eq!(frames.next(), None);
        return incoming;
    }
    while let Some((opcode, data)) = frames.next() {
        assert_eq!(opcode, Opcode::Binary);
        if frames.peek().is_none() {
            return assembler
                .binary(data, &limits)
                .expect("announced")
                .expect("the last one");
        }
        assert_eq!(assembler.binary(data, &limits), Ok(None));
    }
    unreachable!("the packet is complete with its last attachment");
}

/// Text that is a packet often enough to leave attachments awaited.
const NEARLY_A_PACKET: &str = r#"[0-7]{0,3}-?(/[a-c]{0,3},)?[0-9]{0,2}(\["e"(,\{"_placeholder":true,"num":[0-3]\}){0,3}\]|\PC{0,9})"#;

proptest! {
    #[test]
    fn an_event_arrives_as_it_was_sent(namespace in namespace(), id in proptest::option::of(0..1_u64 << 53), arguments in event()) {
        let outgoing = Outgoing::Event { namespace: &namespace, id, arguments: &arguments };
        let (mut frames, mut assembler) = (Vec::new(), Assembler::default());
        let incoming = send(&outgoing, &mut frames, &mut assembler);
        prop_assert_eq!(incoming, Incoming::Event { namespace: &namespace, id, arguments });
    }

    #[test]
    fn an_ack_arrives_as_it_was_sent(namespace in namespace(), id in 0..1_u64 << 53, arguments in arguments(None)) {
        let outgoing = Outgoing::Ack { namespace: &namespace, id, arguments: &arguments };
        let (mut frames, mut assembler) = (Vec::new(), Assembler::default());
        let incoming = send(&outgoing, &mut frames, &mut assembler);
        prop_assert_eq!(incoming, Incoming::Ack { namespace: &namespace, id, arguments });
    }

    #[test]
    fn a_value_arrives_as_it_was_emitted(name in any::<String>(), value in value(), data in any::<Vec<u8>>()) {
        prop_assume!(!is_reserved_event(&name));
        let sent = (value, Binary::from(data));
        let arguments = Arguments::event(&name, &sent).expect("it serialises");
        let outgoing = Outgoing::Event { namespace: "/", id: None, arguments: &arguments };
        let (mut frames, mut assembler) = (Vec::new(), Assembler::default());
        let Incoming::Event { arguments, .. } = send(&outgoing, &mut frames, &mut assembler) else {
            panic!("an event arrives as an event");
        };
        prop_assert_eq!(arguments.event_name(), name);
        let received = arguments.get::<(Value, Binary)>().expect("it is of the type it was");
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn a_truncated_or_mutated_packet_does_no_harm(
        namespace in namespace(),
        arguments in event(),
        at in any::<prop::sample::Index>(),
        byte in 0..128_u8,
    ) {
        let mut frames = Vec::new();
        Outgoing::Event { namespace: &namespace, id: Some(7), arguments: &arguments }.put_frames(&mut frames);
        let (_, text) = own_frames(&frames).next().expect("a packet has a text frame");
        let limits = Limits::default();
        let cut = at.index(text.len());
        if let Ok(prefix) = std::str::from_utf8(&text[1..cut.max(1)]) {
            // A packet ends with the bracket that opened its payload, so no part of one is a packet.
            prop_assert!(Assembler::default().text(prefix, &limits).is_err());
        }
        let mut mutated = text[1..].to_vec();
        let at = at.index(mutated.len());
        mutated[at] = byte;
        if let Ok(mutated) = std::str::from_utf8(&mutated) {
            let decoded = decode(mutated, &limits);
            if let Some(json) = decoded.ok().and_then(|packet| packet.json) {
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok());
            }
        }
    }

    #[test]
    fn any_messages_do_no_harm_and_use_little(messages in prop::collection::vec((any::<bool>(), NEARLY_A_PACKET), 0..30)) {
        let limits = Limits { attachments_max: 4, attachment_bytes_max: 100, ..Limits::default() };
        let mut assembler = Assembler::default();
        for (is_text, message) in &messages {
            if *is_text {
                let _ = assembler.text(message, &limits);
            } else {
                let _ = assembler.binary(message.as_bytes(), &limits);
            }
            prop_assert!(assembler.heap_bytes() <= 100 + 100 + message.len().max(200) + 8 * size_of::<Bytes>());
        }
    }

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        let mut assembler = Assembler::default();
        let _ = assembler.text(&text, &Limits::default());
        prop_assert!(assembler.heap_bytes() <= text.len() + 200);
    }
}

#[test]
fn no_part_of_a_packet_is_a_panic() {
    let packets = [
        "0/admin?x=1,{\"token\":[1,2.5e-3,\"\\ud83d\\ude00\\ud800\"]}",
        "1/chat,",
        "2/chat,7[\"say\",\"h\u{e9}\u{1f600}\",null,true,false,{\"a\":{}}]",
        "3/chat,5[\"x\"]",
        "4{\"message\":\"no\"}",
        "51-/chat,7[\"e\",{\"_placeholder\":true,\"num\":0}]",
        "610-/chat,7[{\"_placeholder\":true,\"num\":9}]",
    ];
    for packet in packets {
        assert!(decode(packet, &Limits::default()).is_ok(), "{packet}");
        for (cut, _) in packet.char_indices() {
            let prefix = decode(&packet[..cut], &Limits::default());
            // What needs a payload needs all of it.
            assert!(
                prefix.is_err() || !packet.starts_with(['2', '3', '5', '6']),
                "{}",
                &packet[..cut]
            );
            let _ = decode(&packet[cut..], &Limits::default());
        }
    }
}
