//! Packets with their attachments: a text packet announces binary messages, and what came in is complete when the last one is here.

use std::borrow::Cow;

use bytes::Bytes;

use super::arguments::Arguments;
use super::decode::decode;
use super::packet::{Limits, PacketError, PacketType};

/// What came in, complete with its attachments, owning only what a handler needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// The client wants into a namespace.
    Connect {
        /// The namespace.
        namespace: &'a str,
        /// The query string behind the namespace, undecoded, which clients of Socket.IO 2 prove themselves with.
        query: Option<&'a str>,
        /// What the client proves itself with: the text of a JSON object.
        auth: Option<Cow<'a, str>>,
    },
    /// The client leaves a namespace.
    Disconnect {
        /// The namespace.
        namespace: &'a str,
    },
    /// An event, its name first.
    Event {
        /// The namespace.
        namespace: &'a str,
        /// The client waits for an ack of this number.
        id: Option<u64>,
        /// Name and arguments.
        arguments: Arguments,
    },
    /// The answer to an event of ours.
    Ack {
        /// The namespace.
        namespace: &'a str,
        /// The number that our event asked with.
        id: u64,
        /// The answer.
        arguments: Arguments,
    },
    /// Only servers send this. It is decoded for the sake of clients, and for the error that names it.
    ConnectError {
        /// The namespace.
        namespace: &'a str,
    },
}

/// Joins text packets and the attachments that follow them, one packet at a time as the protocol asks. Eight bytes at rest.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: Option<Box<Pending>>,
}

/// A packet whose attachments are on their way. Once complete it is kept, emptied, until the next packet: `Incoming` borrows its
/// namespace. The main namespace needs no keeping.
#[derive(Debug)]
struct Pending {
    namespace: Box<str>,
    reply: Reply,
    json: Bytes,
    attachments: Vec<Bytes>,
    attachment_bytes: usize,
    awaited: usize,
}

/// Which of the two packets that can have attachments.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Event(Option<u64>),
    Ack(u64),
}

impl Reply {
    fn incoming(self, namespace: &str, arguments: Arguments) -> Incoming<'_> {
        match self {
            Self::Event(id) => Incoming::Event {
                namespace,
                id,
                arguments,
            },
            Self::Ack(id) => Incoming::Ack {
                namespace,
                id,
                arguments,
            },
        }
    }
}

impl Assembler {
    /// Takes a text packet. `None`: its attachments are still to come.
    pub fn text<'a>(
        &mut self,
        text: &'a str,
        limits: &Limits,
    ) -> Result<Option<Incoming<'a>>, PacketError> {
        if self.is_pending() {
            return Err(PacketError::AttachmentsAwaited);
        }
        self.pending = None;
        let packet = decode(text, limits)?;
        let namespace = packet.namespace;
        let reply = match packet.packet_type {
            PacketType::Connect => {
                return Ok(Some(Incoming::Connect {
                    namespace,
                    query: packet.query,
                    auth: packet.json.map(Cow::Borrowed),
                }));
            }
            PacketType::Disconnect => return Ok(Some(Incoming::Disconnect { namespace })),
            PacketType::ConnectError => return Ok(Some(Incoming::ConnectError { namespace })),
            PacketType::Event | PacketType::BinaryEvent => Reply::Event(packet.id),
            PacketType::Ack | PacketType::BinaryAck => {
                Reply::Ack(packet.id.ok_or(PacketError::MissingId)?)
            }
        };
        let json = Bytes::copy_from_slice(packet.json.unwrap_or("[]").as_bytes());
        if packet.attachments == 0 {
            return Ok(Some(
                reply.incoming(namespace, Arguments::from_validated(json, Vec::new())),
            ));
        }
        self.pending = Some(Box::new(Pending {
            namespace: namespace.into(),
            reply,
            json,
            attachments: Vec::new(),
            attachment_bytes: 0,
            awaited: packet.attachments,
        }));
        Ok(None)
    }

    /// Takes a binary message: the next attachment. `None`: more of them are to come.
    pub fn binary(
        &mut self,
        data: &[u8],
        limits: &Limits,
    ) -> Result<Option<Incoming<'_>>, PacketError> {
        let mut pending = self
            .pending
            .take()
            .filter(|pending| pending.awaited > 0)
            .ok_or(PacketError::UnexpectedAttachment)?;
        pending.attachment_bytes = pending.attachment_bytes.saturating_add(data.len());
        if pending.attachment_bytes > limits.attachment_bytes_max {
            return Err(PacketError::AttachmentsTooLarge {
                limit: limits.attachment_bytes_max,
            });
        }
        pending.attachments.push(Bytes::copy_from_slice(data));
        pending.awaited -= 1;
        if pending.awaited > 0 {
            self.pending = Some(pending);
            return Ok(None);
        }
        let arguments = Arguments::from_validated(
            std::mem::take(&mut pending.json),
            std::mem::take(&mut pending.attachments),
        );
        let reply = pending.reply;
        let namespace = if &*pending.namespace == "/" {
            "/"
        } else {
            &self.pending.insert(pending).namespace
        };
        Ok(Some(reply.incoming(namespace, arguments)))
    }

    /// Whether attachments are awaited, so that nothing but a binary message may come.
    pub fn is_pending(&self) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|pending| pending.awaited > 0)
    }

    /// What it keeps for an incomplete packet; 0 at rest.
    pub fn heap_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| {
            size_of::<Pending>()
                + pending.namespace.len()
                + pending.json.len()
                + pending.attachments.capacity() * size_of::<Bytes>()
                + pending.attachments.iter().map(Bytes::len).sum::<usize>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        attachments_max: 10,
        msgpack_attachments_max: 10,
        attachment_bytes_max: 8,
        json_depth_max: 10,
        namespace_bytes_max: 100,
        event_name_bytes_max: 100,
    };

    fn arguments(json: &'static str, attachments: &[&'static [u8]]) -> Arguments {
        let attachments = attachments
            .iter()
            .map(|data| Bytes::from_static(data))
            .collect();
        Arguments::from_validated(Bytes::from_static(json.as_bytes()), attachments)
    }

    #[test]
    fn an_assembler_is_eight_bytes() {
        assert_eq!(size_of::<Assembler>(), 8);
        assert_eq!(Assembler::default().heap_bytes(), 0);
    }

    #[test]
    fn a_packet_without_attachments_is_complete_at_once() {
        let table = [
            (
                "0",
                Incoming::Connect {
                    namespace: "/",
                    query: None,
                    auth: None,
                },
            ),
            (
                r#"0/chat,{"token":1}"#,
                Incoming::Connect {
                    namespace: "/chat",
                    query: None,
                    auth: Some(r#"{"token":1}"#.into()),
                },
            ),
            ("1/chat,", Incoming::Disconnect { namespace: "/chat" }),
            (
                r#"2/chat,7["say","hi"]"#,
                Incoming::Event {
                    namespace: "/chat",
                    id: Some(7),
                    arguments: arguments(r#"["say","hi"]"#, &[]),
                },
            ),
            (
                "30[]",
                Incoming::Ack {
                    namespace: "/",
                    id: 0,
                    arguments: arguments("[]", &[]),
                },
            ),
            (r#"4"no""#, Incoming::ConnectError { namespace: "/" }),
            (
                r#"50-["e",{"_placeholder":true,"num":9}]"#,
                Incoming::Event {
                    namespace: "/",
                    id: None,
                    arguments: arguments(r#"["e",{"_placeholder":true,"num":9}]"#, &[]),
                },
            ),
        ];
        let mut assembler = Assembler::default();
        for (text, incoming) in table {
            assert_eq!(assembler.text(text, &LIMITS), Ok(Some(incoming)), "{text}");
            assert_eq!(assembler.heap_bytes(), 0);
        }
    }

    #[test]
    fn attachments_complete_a_packet() {
        let mut assembler = Assembler::default();
        let json = r#"["e",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]"#;
        for namespace in ["/", "/chat"] {
            assert_eq!(
                assembler.text(&format!("52-{namespace},7{json}"), &LIMITS),
                Ok(None)
            );
            assert!(assembler.is_pending());
            assert_eq!(assembler.binary(b"one", &LIMITS), Ok(None));
            assert!(assembler.heap_bytes() > json.len());
            let arguments = arguments(json, &[b"one", b"two"]);
            assert_eq!(
                assembler.binary(b"two", &LIMITS),
                Ok(Some(Incoming::Event {
                    namespace,
                    id: Some(7),
                    arguments
                }))
            );
            assert!(!assembler.is_pending());
            assert!(
                assembler.heap_bytes() < 160,
                "{} bytes are kept for the borrowed namespace",
                assembler.heap_bytes()
            );
            assert_eq!(
                assembler.binary(b"three", &LIMITS),
                Err(PacketError::UnexpectedAttachment)
            );
        }
        assert_eq!(
            assembler.text(r#"61-/chat,3[{"_placeholder":true,"num":0}]"#, &LIMITS),
            Ok(None)
        );
        let arguments = arguments(r#"[{"_placeholder":true,"num":0}]"#, &[b""]);
        assert_eq!(
            assembler.binary(b"", &LIMITS),
            Ok(Some(Incoming::Ack {
                namespace: "/chat",
                id: 3,
                arguments
            }))
        );
        assert!(assembler.text("0", &LIMITS).is_ok());
        assert_eq!(assembler.heap_bytes(), 0);
    }

    #[test]
    fn the_main_namespace_leaves_nothing_behind() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.text(r#"51-["e"]"#, &LIMITS), Ok(None));
        assert!(
            assembler
                .binary(b"x", &LIMITS)
                .is_ok_and(|incoming| incoming.is_some())
        );
        assert_eq!(assembler.heap_bytes(), 0);
    }

    #[test]
    fn text_while_attachments_are_awaited_is_an_error() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.text(r#"52-["e"]"#, &LIMITS), Ok(None));
        for text in [r#"2["e"]"#, r#"51-["e"]"#, "0", ""] {
            assert_eq!(
                assembler.text(text, &LIMITS),
                Err(PacketError::AttachmentsAwaited),
                "{text}"
            );
        }
    }

    #[test]
    fn an_attachment_that_nobody_announced_is_an_error() {
        let mut assembler = Assembler::default();
        assert_eq!(
            assembler.binary(b"x", &LIMITS),
            Err(PacketError::UnexpectedAttachment)
        );
        assert!(assembler.text(r#"2["e"]"#, &LIMITS).is_ok());
        assert_eq!(
            assembler.binary(b"x", &LIMITS),
            Err(PacketError::UnexpectedAttachment)
        );
    }

    #[test]
    fn attachments_are_limited_together_and_dropped_at_the_limit() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.text(r#"53-["e"]"#, &LIMITS), Ok(None));
        assert_eq!(assembler.binary(b"1234", &LIMITS), Ok(None));
        assert_eq!(assembler.binary(b"5678", &LIMITS), Ok(None));
        assert_eq!(
            assembler.binary(b"9", &LIMITS),
            Err(PacketError::AttachmentsTooLarge { limit: 8 })
        );
        assert_eq!(assembler.heap_bytes(), 0);
    }

    #[test]
    fn cve_2022_2421_a_hostile_placeholder_is_refused_before_its_attachment() {
        for num in [
            r#","num":"splice""#,
            r#","num":-1"#,
            r#","num":1.5"#,
            r#","num":1e9"#,
            r#","num":1"#,
            "",
        ] {
            let mut assembler = Assembler::default();
            let text = format!(r#"51-["e",{{"_placeholder":true{num}}}]"#);
            assert_eq!(
                assembler.text(&text, &LIMITS),
                Err(PacketError::IllegalAttachments),
                "{text}"
            );
            assert_eq!(assembler.heap_bytes(), 0);
        }
        let mut assembler = Assembler::default();
        let twice = r#"["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#;
        assert_eq!(assembler.text(&format!("51-{twice}"), &LIMITS), Ok(None));
        let arguments = arguments(twice, &[b"x"]);
        assert_eq!(
            assembler.binary(b"x", &LIMITS),
            Ok(Some(Incoming::Event {
                namespace: "/",
                id: None,
                arguments
            }))
        );
    }
}
