//! Text to packet: the second step of a message's way in, after Engine.IO took its type digit off.
//!
//! Follows the decoder of Node's `socket.io-parser`, so that both servers accept the same clients, and is stricter where that one lets
//! nonsense through that no client writes: an attachment count of no digits, white space for an id, an event
//! without payload, an ack without id.

use std::borrow::Cow;

use super::json::{self, Document, JsonError, Kind};
use super::literal;
use super::packet::{Limits, Packet, PacketError, PacketType, is_reserved_event};

/// The largest integer that JavaScript counts to, `Number.MAX_SAFE_INTEGER`.
pub(super) const ID_MAX: u64 = (1 << 53) - 1;

/// Takes the text of a packet apart and checks all of it. Allocates only to look at an event name that has escapes.
pub fn decode<'a>(text: &'a str, limits: &Limits) -> Result<Packet<'a>, PacketError> {
    let digit = *text.as_bytes().first().ok_or(PacketError::Empty)?;
    let packet_type = PacketType::from_digit(digit).ok_or(PacketError::UnknownType)?;
    let rest = &text[1..];
    let (attachments, rest) = if packet_type.is_binary() {
        split_attachments(rest, limits)?
    } else {
        (0, rest)
    };
    let (namespace, rest) = split_namespace(rest);
    let (namespace, query) = split_query(namespace, limits)?;
    let (id, rest) = split_id(rest)?;
    let json = check_payload(packet_type, rest, attachments, limits)?;
    if matches!(packet_type, PacketType::Ack | PacketType::BinaryAck) && id.is_none() {
        return Err(PacketError::MissingId);
    }
    Ok(Packet {
        packet_type,
        namespace,
        query,
        id,
        json,
        attachments,
    })
}

fn split_attachments<'a>(text: &'a str, limits: &Limits) -> Result<(usize, &'a str), PacketError> {
    let (count, rest) = split_digits(text);
    let rest = rest
        .strip_prefix('-')
        .filter(|_| !count.is_empty())
        .ok_or(PacketError::IllegalAttachments)?;
    // A count that no integer holds is above every limit.
    match count.parse() {
        Ok(count) if count <= limits.attachments_max => Ok((count, rest)),
        Ok(_) | Err(_) => Err(PacketError::TooManyAttachments {
            limit: limits.attachments_max,
        }),
    }
}

/// The namespace with its query string, and what is behind it.
fn split_namespace(text: &str) -> (&str, &str) {
    if text.starts_with('/') {
        text.split_once(',').unwrap_or((text, ""))
    } else {
        ("/", text)
    }
}

/// The name of a namespace and the query string that may follow it.
pub(super) fn split_query<'a>(
    namespace: &'a str,
    limits: &Limits,
) -> Result<(&'a str, Option<&'a str>), PacketError> {
    if namespace.len() > limits.namespace_bytes_max {
        return Err(PacketError::NamespaceTooLong {
            limit: limits.namespace_bytes_max,
        });
    }
    Ok(namespace
        .split_once('?')
        .map_or((namespace, None), |(path, query)| (path, Some(query))))
}

fn split_id(text: &str) -> Result<(Option<u64>, &str), PacketError> {
    let (digits, rest) = split_digits(text);
    if digits.is_empty() {
        return Ok((None, text));
    }
    let id = digits
        .parse()
        .ok()
        .filter(|id| *id <= ID_MAX)
        .ok_or(PacketError::IllegalId)?;
    Ok((Some(id), rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The payload's text, if there is one, after checking that it is JSON of the shape that the type asks for.
fn check_payload<'a>(
    packet_type: PacketType,
    text: &'a str,
    attachments: usize,
    limits: &Limits,
) -> Result<Option<&'a str>, PacketError> {
    let invalid = || PacketError::InvalidPayload(packet_type);
    if text.is_empty() {
        return match packet_type {
            PacketType::Connect | PacketType::Disconnect | PacketType::ConnectError => Ok(None),
            PacketType::Event
            | PacketType::Ack
            | PacketType::BinaryEvent
            | PacketType::BinaryAck => Err(invalid()),
        };
    }
    let document = json::scan(
        text,
        limits.json_depth_max,
        (attachments > 0).then_some(attachments),
    )
    .map_err(|error| match error {
        JsonError::IllegalPlaceholder => PacketError::IllegalAttachments,
        JsonError::Malformed { .. } | JsonError::TooDeep { .. } => PacketError::Json(error),
    })?;
    match packet_type {
        PacketType::Connect if document.kind == Kind::Object => (),
        PacketType::ConnectError if matches!(document.kind, Kind::Object | Kind::String) => (),
        PacketType::Event | PacketType::BinaryEvent => {
            check_event_name(&event_name(packet_type, &document)?, limits)?
        }
        PacketType::Ack | PacketType::BinaryAck if document.kind == Kind::Array => (),
        PacketType::Connect
        | PacketType::Disconnect
        | PacketType::Ack
        | PacketType::ConnectError
        | PacketType::BinaryAck => {
            return Err(invalid());
        }
    }
    Ok(Some(document.text))
}

fn event_name<'a>(
    packet_type: PacketType,
    document: &Document<'a>,
) -> Result<Cow<'a, str>, PacketError> {
    match document.first {
        Some((Kind::String, literal)) => Ok(literal::unescape(literal)),
        Some((Kind::Number, digits)) => Ok(Cow::Borrowed(digits)),
        Some((Kind::Null | Kind::True | Kind::False | Kind::Array | Kind::Object, _)) | None => {
            Err(PacketError::InvalidPayload(packet_type))
        }
    }
}

/// Whether a client may send an event of this name.
pub(super) fn check_event_name(name: &str, limits: &Limits) -> Result<(), PacketError> {
    if name.len() > limits.event_name_bytes_max {
        return Err(PacketError::EventNameTooLong {
            limit: limits.event_name_bytes_max,
        });
    }
    if is_reserved_event(name) {
        Err(PacketError::ReservedEvent)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<Packet<'_>, PacketError> {
        decode(text, &Limits::default())
    }

    fn check(
        text: &str,
        packet_type: PacketType,
        namespace: &str,
        id: Option<u64>,
        json: &str,
        attachments: usize,
    ) {
        let json = (!json.is_empty()).then_some(json);
        let query = decoded(text).ok().and_then(|packet| packet.query);
        assert_eq!(
            decoded(text),
            Ok(Packet {
                packet_type,
                namespace,
                query,
                id,
                json,
                attachments
            }),
            "{text}"
        );
    }

    #[test]
    fn packets_of_every_type_are_read() {
        use PacketType::{Ack, BinaryAck, BinaryEvent, Connect, ConnectError, Disconnect, Event};
        check("0", Connect, "/", None, "", 0);
        check(r#"0{"token":1}"#, Connect, "/", None, r#"{"token":1}"#, 0);
        check("0/admin,", Connect, "/admin", None, "", 0);
        check("0/admin", Connect, "/admin", None, "", 0);
        check("0/admin?x=1,{}", Connect, "/admin", None, "{}", 0);
        check("0/admin?x=1&y=?", Connect, "/admin", None, "", 0);
        check("0/?x=1,", Connect, "/", None, "", 0);
        check("0/,{}", Connect, "/", None, "{}", 0);
        check("0/\u{20ac}/b c,{}", Connect, "/\u{20ac}/b c", None, "{}", 0);
        check("1", Disconnect, "/", None, "", 0);
        check("1/chat,", Disconnect, "/chat", None, "", 0);
        check(r#"2["a"]"#, Event, "/", None, r#"["a"]"#, 0);
        check("2[\"a\"] \n", Event, "/", None, r#"["a"]"#, 0);
        check(r#"2/chat,["a"]"#, Event, "/chat", None, r#"["a"]"#, 0);
        check(r#"212["a"]"#, Event, "/", Some(12), r#"["a"]"#, 0);
        check(r#"2007["a"]"#, Event, "/", Some(7), r#"["a"]"#, 0);
        check(
            r#"2/chat,7["say","hi"]"#,
            Event,
            "/chat",
            Some(7),
            r#"["say","hi"]"#,
            0,
        );
        check(
            r#"2["a",{"b":[1,null]}]"#,
            Event,
            "/",
            None,
            r#"["a",{"b":[1,null]}]"#,
            0,
        );
        check("2[1]", Event, "/", None, "[1]", 0);
        check("2[-1.5,2]", Event, "/", None, "[-1.5,2]", 0);
        check(r#"2["","hi"]"#, Event, "/", None, r#"["","hi"]"#, 0);
        check(
            r#"2["\ud800","\udfff"]"#,
            Event,
            "/",
            None,
            r#"["\ud800","\udfff"]"#,
            0,
        );
        check("30[]", Ack, "/", Some(0), "[]", 0);
        check(r#"3/chat,5["x"]"#, Ack, "/chat", Some(5), r#"["x"]"#, 0);
        check("35[null,{}]", Ack, "/", Some(5), "[null,{}]", 0);
        check("4", ConnectError, "/", None, "", 0);
        check(r#"4"no""#, ConnectError, "/", None, r#""no""#, 0);
        check(
            r#"4/x,{"message":"no"}"#,
            ConnectError,
            "/x",
            None,
            r#"{"message":"no"}"#,
            0,
        );
        let event = r#"["e",{"_placeholder":true,"num":0}]"#;
        check(&format!("51-{event}"), BinaryEvent, "/", None, event, 1);
        check(
            &format!("510-/chat,7{event}"),
            BinaryEvent,
            "/chat",
            Some(7),
            event,
            10,
        );
        check(r#"50-["e"]"#, BinaryEvent, "/", None, r#"["e"]"#, 0);
        let ack = r#"[{"_placeholder":true,"num":0}]"#;
        check(&format!("61-7{ack}"), BinaryAck, "/", Some(7), ack, 1);
        check(
            &format!("61-/chat,7{ack}"),
            BinaryAck,
            "/chat",
            Some(7),
            ack,
            1,
        );
    }

    #[test]
    fn the_query_behind_a_namespace_is_told_apart() {
        for (text, query) in [
            ("0/admin,", None),
            ("0/admin?,", Some("")),
            ("0/admin?x=1&y=%2C,{}", Some("x=1&y=%2C")),
            ("0/admin?x=1&y=?", Some("x=1&y=?")),
            ("0/?x=1,", Some("x=1")),
            ("2[\"a?b\"]", None),
            ("2/admin?x,[\"a\"]", Some("x")),
        ] {
            assert_eq!(
                decoded(text).map(|packet| packet.query),
                Ok(query),
                "{text}"
            );
        }
    }

    #[test]
    fn other_packets_are_refused() {
        use PacketError::{Empty, IllegalAttachments, IllegalId, MissingId, UnknownType};
        use PacketType::{Ack, BinaryAck, Connect, ConnectError, Disconnect, Event};
        let malformed = |at| PacketError::Json(JsonError::Malformed { at });
        let table = [
            ("", Empty),
            ("7", UnknownType),
            ("9[\"a\"]", UnknownType),
            ("a", UnknownType),
            (" 2[\"a\"]", UnknownType),
            ("-1", UnknownType),
            ("\u{20ac}", UnknownType),
            ("0[]", PacketError::InvalidPayload(Connect)),
            ("0null", PacketError::InvalidPayload(Connect)),
            ("0\"token\"", PacketError::InvalidPayload(Connect)),
            ("0{", malformed(1)),
            ("0/admin,{]", malformed(1)),
            ("1{}", PacketError::InvalidPayload(Disconnect)),
            ("1[]", PacketError::InvalidPayload(Disconnect)),
            ("2", PacketError::InvalidPayload(Event)),
            ("2/chat", PacketError::InvalidPayload(Event)),
            ("27", PacketError::InvalidPayload(Event)),
            ("2\"a\"", PacketError::InvalidPayload(Event)),
            ("2[\"a\"", malformed(4)),
            ("2[\"a\"]x", malformed(5)),
            ("2 [\"a\"]", malformed(0)),
            ("2[NaN]", malformed(1)),
            ("2-[\"a\"]", malformed(1)),
            ("2chat,[\"a\"]", malformed(0)),
            ("29007199254740992[\"a\"]", IllegalId),
            ("3[]", MissingId),
            ("3/chat,[]", MissingId),
            ("35", PacketError::InvalidPayload(Ack)),
            ("35{}", PacketError::InvalidPayload(Ack)),
            ("35\"x\"", PacketError::InvalidPayload(Ack)),
            ("4[]", PacketError::InvalidPayload(ConnectError)),
            ("4null", PacketError::InvalidPayload(ConnectError)),
            ("5", IllegalAttachments),
            ("51", IllegalAttachments),
            ("51[\"e\"]", IllegalAttachments),
            ("51-[\"e\",{\"_placeholder\":true}]", IllegalAttachments),
            ("60-[]", MissingId),
            ("61-7{}", PacketError::InvalidPayload(BinaryAck)),
        ];
        for (text, error) in table {
            assert_eq!(decoded(text), Err(error), "{text}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let limits = Limits {
            attachments_max: 2,
            namespace_bytes_max: 4,
            event_name_bytes_max: 3,
            json_depth_max: 2,
            ..Limits::default()
        };
        assert!(decode(r#"52-/abc,["abc",[]]"#, &limits).is_ok());
        let table = [
            (
                r#"53-["abc"]"#,
                PacketError::TooManyAttachments { limit: 2 },
            ),
            ("0/abcd,", PacketError::NamespaceTooLong { limit: 4 }),
            ("0/a?bc,", PacketError::NamespaceTooLong { limit: 4 }),
            (r#"2["abcd"]"#, PacketError::EventNameTooLong { limit: 3 }),
            ("2[1234]", PacketError::EventNameTooLong { limit: 3 }),
            (
                r#"2["abc",[[]]]"#,
                PacketError::Json(JsonError::TooDeep { limit: 2 }),
            ),
        ];
        for (text, error) in table {
            assert_eq!(decode(text, &limits), Err(error), "{text}");
        }
    }

    #[test]
    fn cve_2023_32695_an_event_name_is_a_string_or_a_number() {
        for json in [
            r#"[{"toString":"x"}]"#,
            "[null]",
            "[]",
            "{}",
            "[true]",
            "[[\"a\"]]",
            "null",
        ] {
            for head in ["2/chat,7", "2/,", "50-/chat,"] {
                let packet_type =
                    PacketType::from_digit(head.as_bytes()[0]).expect("the head has a type");
                let expected = PacketError::InvalidPayload(packet_type);
                assert_eq!(
                    decoded(&format!("{head}{json}")),
                    Err(expected),
                    "{head}{json}"
                );
            }
        }
    }

    #[test]
    fn cve_2026_33151_an_attachment_count_is_small_and_decimal() {
        let too_many = PacketError::TooManyAttachments { limit: 10 };
        let table = [
            ("599999999", too_many.clone()),
            ("511", too_many.clone()),
            ("599999999999999999999999999999", too_many),
            ("5", PacketError::IllegalAttachments),
            ("51e3", PacketError::IllegalAttachments),
            ("5-1", PacketError::IllegalAttachments),
            ("5+1", PacketError::IllegalAttachments),
            ("5 1", PacketError::IllegalAttachments),
            ("51.0", PacketError::IllegalAttachments),
            ("50x1", PacketError::IllegalAttachments),
            ("5\u{661}", PacketError::IllegalAttachments),
        ];
        for (head, error) in table {
            assert_eq!(decoded(&format!("{head}-[\"e\"]")), Err(error), "{head}");
        }
        assert!(decoded("510-[\"e\"]").is_ok());
    }

    #[test]
    fn cve_2024_38355_reserved_names_are_refused_however_they_are_spelt() {
        for name in [
            "connect",
            "connect_error",
            "disconnect",
            "disconnecting",
            "newListener",
            "removeListener",
        ] {
            let escaped: String = name
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
            for name in [name, &escaped] {
                assert_eq!(
                    decoded(&format!("2[\"{name}\",1]")),
                    Err(PacketError::ReservedEvent),
                    "{name}"
                );
                assert_eq!(
                    decoded(&format!("50-[\"{name}\"]")),
                    Err(PacketError::ReservedEvent),
                    "{name}"
                );
            }
        }
        // In Node the danger was an emitter without listener for this name; to us it is one like others.
        assert!(decoded(r#"2["error","x"]"#).is_ok());
        assert!(decoded(r#"2["constructor"]"#).is_ok());
        assert!(decoded(r#"30["disconnect"]"#).is_ok());
    }

    #[test]
    fn cve_2020_36049_giant_parts_are_refused() {
        let deep = format!("2[\"a\",{}", "[".repeat(1_000_000));
        assert_eq!(
            decoded(&deep),
            Err(PacketError::Json(JsonError::TooDeep { limit: 100 }))
        );
        let namespace = format!("0/{},", "x".repeat(10_000_000));
        assert_eq!(
            decoded(&namespace),
            Err(PacketError::NamespaceTooLong { limit: 512 })
        );
        for digits in [16, 20, 400, 100_000] {
            let id = format!("2{}[\"a\"]", "9".repeat(digits));
            assert_eq!(decoded(&id), Err(PacketError::IllegalId), "{digits} digits");
        }
        assert_eq!(
            decoded("29007199254740991[\"a\"]").map(|packet| packet.id),
            Ok(Some(9_007_199_254_740_991))
        );
    }
}
