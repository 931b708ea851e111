//! Packet to frames: complete WebSocket frames, written at once because every length is known up front.
//!
//! The frames carry Engine.IO messages: a text frame with `4` and the packet, then one binary frame for each attachment. That one form is
//! what outboxes hold for every transport.

use bytes::Bytes;

use super::arguments::Arguments;
use super::packet::PacketType;
use crate::engine;
use crate::websocket::{self, Opcode};

/// A packet on its way out.
#[derive(Clone, Copy, Debug)]
pub enum Outgoing<'a> {
    /// The client is in the namespace (or, sent by a client, wants to be).
    Connect {
        /// The namespace.
        namespace: &'a str,
        /// The text of a JSON object, or nothing.
        json: &'a str,
    },
    /// The client is refused.
    ConnectError {
        /// The namespace.
        namespace: &'a str,
        /// The text of a JSON object.
        json: &'a str,
    },
    /// The client is put out of the namespace.
    Disconnect {
        /// The namespace.
        namespace: &'a str,
    },
    /// An event, its name first.
    Event {
        /// The namespace.
        namespace: &'a str,
        /// The number of the ack that is waited for.
        id: Option<u64>,
        /// Name and arguments.
        arguments: &'a Arguments,
    },
    /// The answer to an event.
    Ack {
        /// The namespace.
        namespace: &'a str,
        /// The number that the event asked with.
        id: u64,
        /// The answer.
        arguments: &'a Arguments,
    },
}

impl<'a> Outgoing<'a> {
    /// Exact size of all frames, headers included.
    pub fn frame_bytes(&self) -> usize {
        let parts = self.parts();
        let frame = |payload_len| websocket::header_len(payload_len) + payload_len;
        frame(parts.text_bytes())
            + parts
                .attachments
                .iter()
                .map(|attachment| frame(attachment.len()))
                .sum::<usize>()
    }

    /// Appends the frames: the text frame, then one binary frame for each attachment.
    pub fn put_frames(&self, out: &mut Vec<u8>) {
        out.reserve(self.frame_bytes());
        let parts = self.parts();
        websocket::put_header(out, Opcode::Text, parts.text_bytes());
        parts.put_text(out);
        for attachment in parts.attachments {
            websocket::put_frame(out, Opcode::Binary, attachment);
        }
    }

    pub(super) fn parts(&self) -> Parts<'a> {
        match *self {
            Self::Connect { namespace, json } => Parts::plain(PacketType::Connect, namespace, json),
            Self::ConnectError { namespace, json } => {
                Parts::plain(PacketType::ConnectError, namespace, json)
            }
            Self::Disconnect { namespace } => Parts::plain(PacketType::Disconnect, namespace, ""),
            Self::Event {
                namespace,
                id,
                arguments,
            } => Parts::new(
                PacketType::Event,
                PacketType::BinaryEvent,
                namespace,
                id,
                arguments,
            ),
            Self::Ack {
                namespace,
                id,
                arguments,
            } => Parts::new(
                PacketType::Ack,
                PacketType::BinaryAck,
                namespace,
                Some(id),
                arguments,
            ),
        }
    }
}

/// What stands in a packet, the same for all types.
pub(super) struct Parts<'a> {
    pub(super) packet_type: PacketType,
    pub(super) namespace: &'a str,
    pub(super) id: Option<u64>,
    pub(super) json: &'a [u8],
    pub(super) attachments: &'a [Bytes],
}

impl<'a> Parts<'a> {
    fn plain(packet_type: PacketType, namespace: &'a str, json: &'a str) -> Self {
        Self {
            packet_type,
            namespace,
            id: None,
            json: json.as_bytes(),
            attachments: &[],
        }
    }

    fn new(
        text: PacketType,
        binary: PacketType,
        namespace: &'a str,
        id: Option<u64>,
        arguments: &'a Arguments,
    ) -> Self {
        let attachments = arguments.attachments();
        let packet_type = if attachments.is_empty() { text } else { binary };
        Self {
            packet_type,
            namespace,
            id,
            json: arguments.json_bytes(),
            attachments,
        }
    }

    fn names_namespace(&self) -> bool {
        self.namespace != "/"
    }

    /// The length of what `put_text` writes.
    fn text_bytes(&self) -> usize {
        let attachments = if self.packet_type.is_binary() {
            digits(self.attachments.len() as u64) + 1
        } else {
            0
        };
        let namespace = if self.names_namespace() {
            self.namespace.len() + 1
        } else {
            0
        };
        2 + attachments + namespace + self.id.map_or(0, digits) + self.json.len()
    }

    fn put_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[
            engine::PacketType::Message.digit(),
            self.packet_type.digit(),
        ]);
        if self.packet_type.is_binary() {
            put_digits(out, self.attachments.len() as u64);
            out.push(b'-');
        }
        if self.names_namespace() {
            out.extend_from_slice(self.namespace.as_bytes());
            out.push(b',');
        }
        if let Some(id) = self.id {
            put_digits(out, id);
        }
        out.extend_from_slice(self.json);
    }
}

/// How many decimal digits a number has.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn put_digits(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    out.resize(start + digits(number), b'0');
    for place in out[start..].iter_mut().rev() {
        *place += (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::own_frames;

    fn check(outgoing: Outgoing<'_>, text: &str) {
        let mut out = b"before".to_vec();
        outgoing.put_frames(&mut out);
        let frames: Vec<_> = own_frames(&out[6..]).collect();
        assert_eq!(out.len() - 6, outgoing.frame_bytes(), "{text}");
        assert_eq!(frames[0], (Opcode::Text, text.as_bytes()), "{text}");
        let attachments: Vec<_> = frames[1..]
            .iter()
            .map(|(opcode, data)| (*opcode, *data))
            .collect();
        let expected: Vec<_> = outgoing
            .parts()
            .attachments
            .iter()
            .map(|data| (Opcode::Binary, &data[..]))
            .collect();
        assert_eq!(attachments, expected, "{text}");
    }

    fn arguments(json: &'static str, attachments: usize) -> Arguments {
        let attachments = (0..attachments)
            .map(|num| vec![7; num * 70].into())
            .collect();
        Arguments::from_validated(Bytes::from_static(json.as_bytes()), attachments)
    }

    #[test]
    fn every_packet_has_its_text() {
        check(
            Outgoing::Connect {
                namespace: "/",
                json: "",
            },
            "40",
        );
        check(
            Outgoing::Connect {
                namespace: "/",
                json: r#"{"sid":"x"}"#,
            },
            r#"40{"sid":"x"}"#,
        );
        check(
            Outgoing::Connect {
                namespace: "/a",
                json: r#"{"sid":"x"}"#,
            },
            r#"40/a,{"sid":"x"}"#,
        );
        check(
            Outgoing::ConnectError {
                namespace: "/a",
                json: r#"{"message":"no"}"#,
            },
            r#"44/a,{"message":"no"}"#,
        );
        check(Outgoing::Disconnect { namespace: "/" }, "41");
        check(Outgoing::Disconnect { namespace: "/a" }, "41/a,");
        let event = arguments(r#"["say","hi"]"#, 0);
        check(
            Outgoing::Event {
                namespace: "/",
                id: None,
                arguments: &event,
            },
            r#"42["say","hi"]"#,
        );
        check(
            Outgoing::Event {
                namespace: "/",
                id: Some(0),
                arguments: &event,
            },
            r#"420["say","hi"]"#,
        );
        check(
            Outgoing::Event {
                namespace: "/chat",
                id: Some(7),
                arguments: &event,
            },
            r#"42/chat,7["say","hi"]"#,
        );
        check(
            Outgoing::Ack {
                namespace: "/",
                id: 12,
                arguments: &arguments("[]", 0),
            },
            "4312[]",
        );
        check(
            Outgoing::Ack {
                namespace: "/a",
                id: 12,
                arguments: &arguments("[1]", 0),
            },
            "43/a,12[1]",
        );
        let binary = arguments(r#"["e",{"_placeholder":true,"num":0}]"#, 1);
        let text = r#"451-["e",{"_placeholder":true,"num":0}]"#;
        check(
            Outgoing::Event {
                namespace: "/",
                id: None,
                arguments: &binary,
            },
            text,
        );
        let text = r#"451-/a,9["e",{"_placeholder":true,"num":0}]"#;
        check(
            Outgoing::Event {
                namespace: "/a",
                id: Some(9),
                arguments: &binary,
            },
            text,
        );
        let many = arguments(r#"[{"_placeholder":true,"num":11}]"#, 12);
        check(
            Outgoing::Ack {
                namespace: "/a",
                id: 9,
                arguments: &many,
            },
            r#"4612-/a,9[{"_placeholder":true,"num":11}]"#,
        );
    }

    #[test]
    fn frame_bytes_are_exact_around_the_sizes_of_a_header() {
        for size in (100..140).chain(65_500..65_540) {
            let name = "x".repeat(size);
            let arguments = Arguments::event(&name, &()).expect("it serialises");
            check(
                Outgoing::Event {
                    namespace: "/",
                    id: None,
                    arguments: &arguments,
                },
                &format!("42[\"{name}\"]"),
            );
        }
    }

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 1, 9, 10, 99, 100, 1_000_000, (1 << 53) - 1, u64::MAX] {
            let mut out = vec![b'x'];
            put_digits(&mut out, number);
            assert_eq!(out, format!("x{number}").into_bytes());
            assert_eq!(out.len(), 1 + digits(number));
        }
    }
}
