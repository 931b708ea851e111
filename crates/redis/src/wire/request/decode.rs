//! A request as it is understood.

use synapse_adapter::{Broadcast, Target, Transport};
use synapse_protocol::socket::Arguments;
use synapse_protocol::socket::msgpack::Limits;

use super::fields::{Fields, Names};
use crate::wire::WireError;

/// What another server, or an emitter, wants.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// Who asks. Emitters do not always say.
    pub(crate) uid: Option<Box<str>>,
    /// What the answers have to carry; none when no answer is wanted.
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) body: Body,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    Sockets {
        rooms: Names,
    },
    AllRooms,
    Join {
        target: Target,
        rooms: Vec<Box<str>>,
    },
    Leave {
        target: Target,
        rooms: Vec<Box<str>>,
    },
    Disconnect {
        target: Target,
        transport: Transport,
    },
    JoinOne {
        sid: Box<str>,
        room: Box<str>,
    },
    LeaveOne {
        sid: Box<str>,
        room: Box<str>,
    },
    DisconnectOne {
        sid: Box<str>,
        transport: Transport,
    },
    Fetch {
        target: Target,
    },
    ServerSideEmit {
        arguments: Arguments,
    },
    Broadcast {
        broadcast: Broadcast,
    },
}

/// Reads a request, JSON when it starts with a brace and msgpack otherwise.
pub(crate) fn decode(payload: &[u8], limits: &Limits) -> Result<Request, WireError> {
    let fields = if payload.first() == Some(&b'{') {
        Fields::from_json(payload, limits)?
    } else {
        Fields::from_msgpack(payload, limits)?
    };
    fields.into_request()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use synapse_adapter::Flags;

    use super::*;
    use crate::wire::broadcast::tests::{arguments, fixture};

    pub(crate) fn names(names: &[&str]) -> Names {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    pub(crate) fn target(rooms: &[&str]) -> Target {
        Target {
            rooms: names(rooms),
            except: Names::new(),
        }
    }

    pub(crate) fn check(payload: &[u8], uid: Option<&str>, request_id: Option<&str>, body: Body) {
        let request = decode(payload, &Limits::default())
            .unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(payload)));
        assert_eq!(
            request,
            Request {
                uid: uid.map(Into::into),
                request_id: request_id.map(Into::into),
                body
            }
        );
    }

    pub(crate) fn boxed(texts: &[&str]) -> Vec<Box<str>> {
        names(texts).into_vec()
    }

    #[test]
    fn all_that_node_and_emitters_ask_is_understood() {
        check(
            br#"{"uid":"o3b0AY","requestId":"pOtKk5","type":5,"opts":{"rooms":["roomB"],"except":[]}}"#,
            Some("o3b0AY"),
            Some("pOtKk5"),
            Body::Fetch { target: target(&["roomB"]) },
        );
        check(
            br#"{"uid":"o3b0AY","requestId":"PzgKpY","type":1}"#,
            Some("o3b0AY"),
            Some("PzgKpY"),
            Body::AllRooms,
        );
        check(
            br#"{"requestId":"PzgKpY","type":0,"rooms":["a",7]}"#,
            None,
            Some("PzgKpY"),
            Body::Sockets {
                rooms: names(&["a", "7"]),
            },
        );
        check(
            br#"{"uid":"o3b0AY","requestId":"Yn6cV8","type":6,"data":["evtAck",5]}"#,
            Some("o3b0AY"),
            Some("Yn6cV8"),
            Body::ServerSideEmit {
                arguments: arguments(r#"["evtAck",5]"#, &[]),
            },
        );
        let emitted = br#"{"type":2,"opts":{"rooms":["room1"],"except":[]},"rooms":["x"]}"#;
        check(
            emitted,
            None,
            None,
            Body::Join {
                target: target(&["room1"]),
                rooms: boxed(&["x"]),
            },
        );
        let emitted = br#"{"type":4,"opts":{"rooms":[],"except":[]},"close":false}"#;
        check(
            emitted,
            None,
            None,
            Body::Disconnect {
                target: target(&[]),
                transport: Transport::Keep,
            },
        );
        let legacy = br#"{"requestId":"r","type":2,"sid":"s","room":"x"}"#;
        check(
            legacy,
            None,
            Some("r"),
            Body::JoinOne {
                sid: "s".into(),
                room: "x".into(),
            },
        );
        let legacy = br#"{"requestId":"r","type":3,"sid":"s","room":"x"}"#;
        check(
            legacy,
            None,
            Some("r"),
            Body::LeaveOne {
                sid: "s".into(),
                room: "x".into(),
            },
        );
        let legacy = br#"{"requestId":"r","type":4,"sid":"s","close":true}"#;
        check(
            legacy,
            None,
            Some("r"),
            Body::DisconnectOne {
                sid: "s".into(),
                transport: Transport::Close,
            },
        );
        let flags = Flags {
            timeout: Some(Duration::from_millis(500)),
            ..Flags::default()
        };
        let broadcast = Broadcast {
            target: Target::default(),
            flags,
            arguments: arguments(r#"["q",7]"#, &[]),
        };
        check(
            &fixture("ack-request"),
            Some("o3b0AY"),
            Some("tYjiHR"),
            Body::Broadcast {
                broadcast: broadcast.clone(),
            },
        );
        let json = br#"{"uid":"u","requestId":"r","type":7,"packet":{"type":2,"data":["q",7],"nsp":"/"},"opts":{"rooms":[],"flags":{"timeout":500,"x":[]}},"?":{"a":[]}}"#;
        check(json, Some("u"), Some("r"), Body::Broadcast { broadcast });
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let deep = format!(
            r#"{{"type":6,"data":{}{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        let deep_unknown = format!(
            r#"{{"type":1.5,"x":{}{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        for payload in [
            b"".as_slice(),
            b"{",
            b"{}",
            b"{\"type\":\"2\"}",
            b"{\"type\":10}",
            b"{\"type\":8,\"requestId\":\"r\"}",
            b"{\"type\":2.5}",
            b"{\"type\":258}",
            b"{\"type\":2}",
            b"{\"type\":5,\"requestId\":\"r\"}",
            b"{\"type\":6,\"data\":{}}",
            b"{\"type\":6}",
            b"{\"type\":7,\"opts\":{}}",
            b"{\"type\":1,\"uid\":\"\xff\"}",
            deep.as_bytes(),
            deep_unknown.as_bytes(),
            b"garbage",
            b"\x81\xa4type\x81",
            b"\x81\xa4type\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        ] {
            assert!(
                decode(payload, &Limits::default()).is_err(),
                "{}",
                String::from_utf8_lossy(&payload[..payload.len().min(80)])
            );
        }
    }
}
