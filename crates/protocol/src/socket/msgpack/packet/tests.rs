//! Packets against the bytes that Node writes and reads, against each other, and against hostile ones.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::socket::msgpack::{put_array_len, put_bin};
use crate::socket::round_trip::{arguments, event, namespace};
use crate::socket::{Arguments, msgpack};
use crate::websocket::own_frames;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain(json: &'static str, attachments: &[&'static [u8]]) -> Arguments {
    let attachments = attachments.iter().map(|data| Bytes::from_static(data));
    Arguments::from_validated(Bytes::from_static(json.as_bytes()), attachments.collect())
}

fn encoded(packet: &Outgoing<'_>) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    put_packet_frame(&mut out, packet).expect("it is encoded");
    let mut frames = own_frames(&out[4..]);
    let (opcode, message) = frames.next().expect("a frame");
    assert_eq!((opcode, frames.next()), (Opcode::Binary, None));
    message.to_vec()
}

fn decoded(message: &[u8]) -> Result<Incoming<'_>, PacketError> {
    decode_packet(message, &packet::Limits::default())
}

/// A map of these keys, whose values are msgpack already.
fn map(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    put_map_len(&mut out, pairs.len());
    for (key, value) in pairs {
        put_str(&mut out, key);
        out.extend_from_slice(value);
    }
    out
}

/// A packet of the main namespace.
fn packet(packet_type: u8, data: &[u8]) -> Vec<u8> {
    map(&[("type", &[packet_type]), ("nsp", b"\xa1/"), ("data", data)])
}

#[test]
fn packets_have_the_bytes_of_node() {
    let binary = plain(
        r#"["hello",1,{"_placeholder":true,"num":0}]"#,
        &[b"\x01\x02"],
    );
    let answer = plain("[]", &[]);
    let table = [
        (
            Outgoing::Connect {
                namespace: "/",
                json: r#"{"sid":"abc"}"#,
            },
            "83a47479706500a36e7370a12fa46461746181a3736964a3616263",
        ),
        (
            Outgoing::Connect {
                namespace: "/",
                json: "",
            },
            "82a47479706500a36e7370a12f",
        ),
        (
            Outgoing::Disconnect { namespace: "/a" },
            "82a47479706501a36e7370a22f61",
        ),
        (
            Outgoing::Event {
                namespace: "/",
                id: None,
                arguments: &binary,
            },
            "83a47479706502a36e7370a12fa46461746193a568656c6c6f01c4020102",
        ),
        (
            Outgoing::Event {
                namespace: "/",
                id: Some(12),
                arguments: &binary,
            },
            "84a47479706502a36e7370a12fa46461746193a568656c6c6f01c4020102a269640c",
        ),
        (
            Outgoing::Ack {
                namespace: "/",
                id: 456,
                arguments: &answer,
            },
            "84a47479706503a36e7370a12fa46461746190a26964cd01c8",
        ),
        (
            Outgoing::ConnectError {
                namespace: "/",
                json: r#"{"message":"no"}"#,
            },
            "83a47479706504a36e7370a12fa46461746181a76d657373616765a26e6f",
        ),
    ];
    for (outgoing, expected) in table {
        assert_eq!(hex(&encoded(&outgoing)), expected, "{outgoing:?}");
    }
}

#[test]
fn packets_of_node_are_read() {
    let event = |json, attachments| Incoming::Event {
        namespace: "/",
        id: None,
        arguments: plain(json, attachments),
    };
    let table = [
        (
            "83a47479706500a36e7370a12fa46461746181a3736964a3616263",
            Incoming::Connect {
                namespace: "/",
                query: None,
                auth: Some(r#"{"sid":"abc"}"#.into()),
            },
        ),
        (
            // {type: 0, data: undefined, options: {compress: true}, nsp: "/"}, as clients put it.
            "84a47479706500a464617461d40000a76f7074696f6e7381a8636f6d7072657373c3a36e7370a12f",
            Incoming::Connect {
                namespace: "/",
                query: None,
                auth: None,
            },
        ),
        (
            "82a47479706501a36e7370a22f61",
            Incoming::Disconnect { namespace: "/a" },
        ),
        (
            "83a47479706502a36e7370a12fa46461746193a568656c6c6f01c4020102",
            event(
                r#"["hello",1,{"_placeholder":true,"num":0}]"#,
                &[b"\x01\x02"],
            ),
        ),
        (
            // ["e", undefined, new Date(1700000000123), {u: undefined}, 1.5, 2 ** 53, -(2 ** 40), NaN]
            "83a47479706502a36e7370a12fa46461746198a165d40000d7000000018bcfe5687b81a175d40000cb3ff8000000000000\
             cf0020000000000000d3ffffff0000000000cb7ff8000000000000",
            event(
                r#"["e",null,"2023-11-14T22:13:20.123Z",{},1.5,9007199254740992,-1099511627776,null]"#,
                &[],
            ),
        ),
        (
            "84a47479706502a36e7370a12fa46461746191a161a26964d40000",
            event(r#"["a"]"#, &[]),
        ),
        // The type as a float, and twice: the last one counts.
        (
            "84a47479706500a474797065cb4000000000000000a36e7370a12fa46461746191a161",
            event(r#"["a"]"#, &[]),
        ),
        (
            "84a47479706503a36e7370a12fa46461746190a26964cd01c8",
            Incoming::Ack {
                namespace: "/",
                id: 456,
                arguments: plain("[]", &[]),
            },
        ),
        (
            "83a47479706504a36e7370a12fa46461746181a76d657373616765a26e6f",
            Incoming::ConnectError { namespace: "/" },
        ),
    ];
    for (message, expected) in table {
        assert_eq!(decoded(&bytes(message)), Ok(expected), "{message}");
    }
}

#[test]
fn other_packets_are_refused() {
    use PacketType::{Ack, Connect, ConnectError, Disconnect, Event};
    let invalid = PacketError::InvalidPayload;
    let with_id = |packet_type: u8, id: &[u8]| {
        let event = ("data", b"\x91\xa1a".as_slice());
        map(&[
            ("type", &[packet_type]),
            ("nsp", b"\xa1/"),
            event,
            ("id", id),
        ])
    };
    let expected_map = PacketError::Msgpack(DecodeError::Unexpected { expected: "a map" });
    let table = [
        (Vec::new(), PacketError::Empty),
        (b"2[\"a\"]".to_vec(), expected_map.clone()),
        (vec![0xc0], expected_map.clone()),
        (vec![0x92, 2, 0xa1, b'/'], expected_map),
        (
            [packet(0, &[0x80]), vec![0]].concat(),
            PacketError::BytesBehind,
        ),
        (vec![0x80], PacketError::UnknownType),
        (packet(5, b"\x91\xa1a"), PacketError::UnknownType),
        (packet(6, b"\x91\xa1a"), PacketError::UnknownType),
        (packet(0xff, b"\x91\xa1a"), PacketError::UnknownType),
        (
            map(&[("type", b"\xa12"), ("nsp", b"\xa1/")]),
            PacketError::UnknownType,
        ),
        (
            map(&[("type", b"\xcb\x3f\xf8\0\0\0\0\0\0")]),
            PacketError::UnknownType,
        ),
        (
            map(&[("type", b"\xcb\x7f\xf8\0\0\0\0\0\0")]),
            PacketError::UnknownType,
        ),
        (map(&[("type", &[0])]), PacketError::IllegalNamespace),
        (
            map(&[("type", &[0]), ("nsp", &[0xc0])]),
            PacketError::IllegalNamespace,
        ),
        (
            map(&[("type", &[0]), ("nsp", b"\xa2/\xff")]),
            PacketError::IllegalNamespace,
        ),
        (packet(0, &[0xc0]), invalid(Connect)),
        (packet(0, &[0x90]), invalid(Connect)),
        (packet(0, b"\xa5token"), invalid(Connect)),
        (packet(1, &[0xc0]), invalid(Disconnect)),
        (packet(1, &[0x80]), invalid(Disconnect)),
        (packet(2, &[0x80]), invalid(Event)),
        (packet(2, &[0xd4, 0, 0]), invalid(Event)),
        (packet(3, &[0x80]), invalid(Ack)),
        (packet(3, &[0x90]), PacketError::MissingId),
        (packet(4, &[0xc0]), invalid(ConnectError)),
        (packet(4, &[0x90]), invalid(ConnectError)),
        (with_id(2, &[0xff]), PacketError::IllegalId),
        (with_id(2, &[0xc0]), PacketError::IllegalId),
        (with_id(2, b"\xa17"), PacketError::IllegalId),
        (
            with_id(2, b"\xcb\x3f\xf8\0\0\0\0\0\0"),
            PacketError::IllegalId,
        ),
        (
            with_id(3, b"\xcf\x00\x20\0\0\0\0\0\0"),
            PacketError::IllegalId,
        ),
    ];
    for (message, error) in table {
        assert_eq!(decoded(&message), Err(error), "{message:02x?}");
    }
    let safe = with_id(3, b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff");
    assert!(matches!(
        decoded(&safe),
        Ok(Incoming::Ack { id: ID_MAX, .. })
    ));
}

#[test]
fn an_event_has_a_name_and_none_that_is_reserved() {
    for name in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ] {
        let mut data = vec![0x91];
        put_str(&mut data, name);
        assert_eq!(
            decoded(&packet(2, &data)),
            Err(PacketError::ReservedEvent),
            "{name}"
        );
    }
    let no_names: [&[u8]; 8] = [
        b"\x90",
        b"\x91\xc0",
        b"\x91\xc3",
        b"\x91\x80",
        b"\x91\x90",
        b"\x91\xc4\x00",
        b"\x91\xd7\x00\0\0\0\0\0\0\0\0",
        b"\x91\xcb\x7f\xf8\0\0\0\0\0\0",
    ];
    for data in no_names {
        let error = PacketError::InvalidPayload(PacketType::Event);
        assert_eq!(decoded(&packet(2, data)), Err(error), "{data:02x?}");
    }
    for (data, json) in [
        (b"\x91\x07".as_slice(), "[7]"),
        (b"\x91\xff", "[-1]"),
        (b"\x91\xa0", r#"[""]"#),
    ] {
        let message = packet(2, data);
        let Ok(Incoming::Event { arguments, .. }) = decoded(&message) else {
            panic!("{data:02x?} is an event");
        };
        assert_eq!(arguments.json(), json);
    }
}

#[test]
fn limits_are_exact() {
    let limits = packet::Limits {
        msgpack_attachments_max: 2,
        namespace_bytes_max: 4,
        event_name_bytes_max: 3,
        json_depth_max: 2,
        ..packet::Limits::default()
    };
    let event = |namespace: &str, name: &str, rest: &[u8]| {
        let (mut nsp, mut data) = (Vec::new(), Vec::new());
        put_str(&mut nsp, namespace);
        put_array_len(&mut data, 4);
        put_str(&mut data, name);
        data.extend_from_slice(rest);
        map(&[("type", &[2]), ("nsp", &nsp), ("data", &data)])
    };
    let bin = b"\xc4\x00".as_slice();
    let twice = [bin, bin, b"\x90"].concat();
    assert!(decode_packet(&event("/abc", "abc", &twice), &limits).is_ok());
    let query = event("/a?b", "abc", &twice);
    let Ok(Incoming::Event { namespace, .. }) = decode_packet(&query, &limits) else {
        panic!("the query is no part of the name");
    };
    assert_eq!(namespace, "/a");
    let table = [
        (
            event("/abcd", "abc", &twice),
            PacketError::NamespaceTooLong { limit: 4 },
        ),
        (
            event("/abc", "abcd", &twice),
            PacketError::EventNameTooLong { limit: 3 },
        ),
        (
            event("/abc", "abc", &bin.repeat(3)),
            DecodeError::TooManyAttachments { limit: 2 }.into(),
        ),
        (
            event("/abc", "abc", b"\x91\x90\x01\x01"),
            DecodeError::TooDeep { limit: 2 }.into(),
        ),
        (
            packet(0, b"\x81\xa1a\xc4\x00"),
            DecodeError::TooManyAttachments { limit: 0 }.into(),
        ),
    ];
    for (message, error) in table {
        assert_eq!(
            decode_packet(&message, &limits),
            Err(error),
            "{message:02x?}"
        );
    }
}

#[test]
fn hostile_lengths_and_depths_are_refused() {
    for data in [
        b"\xdd\xff\xff\xff\xff".as_slice(),
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
    ] {
        let truncated = PacketError::Msgpack(DecodeError::Truncated);
        assert_eq!(
            decoded(&packet(2, data)),
            Err(truncated.clone()),
            "{data:02x?}"
        );
        assert!(decoded(data).is_err());
        assert!(decoded(&[b"\x92".as_slice(), data].concat()).is_err());
    }
    for level in [b"\x91".as_slice(), b"\x81\xa1k"] {
        let deep = [b"\x92\xa1a".as_slice(), &level.repeat(1_000_000), b"\xc0"].concat();
        let too_deep = PacketError::Msgpack(DecodeError::TooDeep { limit: 100 });
        assert_eq!(decoded(&packet(2, &deep)), Err(too_deep));
        // What is not asked for is passed over, however deep it is.
        let options = [level.repeat(1_000_000).as_slice(), b"\xc0"].concat();
        let message = map(&[("options", &options), ("type", &[1]), ("nsp", b"\xa1/")]);
        assert_eq!(
            decoded(&message),
            Ok(Incoming::Disconnect { namespace: "/" })
        );
    }
}

#[test]
fn no_part_of_a_packet_is_one() {
    let arguments = plain(
        r#"["say",1.5,-70000,"\u00e9",[null,true],{"a":{"_placeholder":true,"num":0}}]"#,
        &[b"\x01\x02\x03"],
    );
    let message = encoded(&Outgoing::Event {
        namespace: "/chat",
        id: Some(300),
        arguments: &arguments,
    });
    assert!(decoded(&message).is_ok());
    for cut in 0..message.len() {
        assert!(decoded(&message[..cut]).is_err(), "{cut} bytes");
        let _ = decoded(&message[cut..]);
    }
}

#[test]
fn what_costs_too_much_to_send_leaves_nothing_behind() {
    let deep = format!("{}{}", "[".repeat(513), "]".repeat(513));
    let mut out = b"kept".to_vec();
    // The constructor asserts that serde_json reads the text, which does not go that deep; a payload is handed on unread.
    let packet = Outgoing::Connect {
        namespace: "/",
        json: &deep,
    };
    assert_eq!(
        put_packet_frame(&mut out, &packet),
        Err(EncodeError::TooDeep { limit: 512 })
    );
    assert_eq!(out, b"kept");
}

#[test]
fn frames_are_right_around_the_sizes_of_a_header() {
    for size in (80..140).chain(65_480..65_560) {
        let mut data = b"\x92\xa1e".to_vec();
        put_bin(&mut data, &vec![7; size]);
        let json = plain(r#"["e",{"_placeholder":true,"num":0}]"#, &[]);
        let arguments =
            Arguments::from_validated(json.json_bytes().clone(), vec![vec![7; size].into()]);
        let outgoing = Outgoing::Event {
            namespace: "/",
            id: None,
            arguments: &arguments,
        };
        assert_eq!(encoded(&outgoing), packet(2, &data), "{size}");
    }
}

/// Numbers compared as JavaScript does, where 1.0 and 1 are one value.
fn normal(json: &str) -> Value {
    fn walk(value: Value) -> Value {
        match value {
            Value::Number(number) => Value::from(number.as_f64()),
            Value::Array(items) => items.into_iter().map(walk).collect(),
            Value::Object(members) => Value::Object(
                members
                    .into_iter()
                    .map(|(key, value)| (key, walk(value)))
                    .collect(),
            ),
            other @ (Value::Null | Value::Bool(_) | Value::String(_)) => other,
        }
    }
    walk(serde_json::from_str(json).expect("JSON"))
}

proptest! {
    #[test]
    fn an_event_arrives_as_it_was_sent(namespace in namespace(), id in proptest::option::of(0..1_u64 << 53), sent in event()) {
        let message = encoded(&Outgoing::Event { namespace: &namespace, id, arguments: &sent });
        let Ok(Incoming::Event { namespace: to, id: asked, arguments }) = decoded(&message) else {
            panic!("an event arrives as an event");
        };
        prop_assert_eq!((to, asked), (&*namespace, id));
        prop_assert_eq!(normal(arguments.json()), normal(sent.json()));
        prop_assert_eq!(arguments.attachments(), sent.attachments());
    }

    #[test]
    fn an_ack_arrives_as_it_was_sent(namespace in namespace(), id in 0..1_u64 << 53, sent in arguments(None)) {
        let message = encoded(&Outgoing::Ack { namespace: &namespace, id, arguments: &sent });
        let Ok(Incoming::Ack { namespace: to, id: asked, arguments }) = decoded(&message) else {
            panic!("an ack arrives as an ack");
        };
        prop_assert_eq!((to, asked), (&*namespace, id));
        prop_assert_eq!(normal(arguments.json()), normal(sent.json()));
        prop_assert_eq!(arguments.attachments(), sent.attachments());
    }

    #[test]
    fn a_truncated_or_mutated_packet_does_no_harm(sent in event(), byte in any::<u8>(), at in any::<prop::sample::Index>()) {
        let mut message = encoded(&Outgoing::Event { namespace: "/", id: Some(7), arguments: &sent });
        let at = at.index(message.len());
        prop_assert!(decoded(&message[..at]).is_err());
        message[at] = byte;
        if let Ok(Incoming::Event { arguments, .. } | Incoming::Ack { arguments, .. }) = decoded(&message) {
            prop_assert!(serde_json::from_str::<Value>(arguments.json()).is_ok());
            let mut out = Vec::new();
            prop_assert!(msgpack::put_arguments(&mut out, &arguments, &OUTGOING).is_ok());
        }
    }

    #[test]
    fn any_message_is_survived(message in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decoded(&message);
        let _ = decoded(&packet(2, &message));
    }
}
