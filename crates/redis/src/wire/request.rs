//! What one server wants of all others, and their answers.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeserializeFields, Serialize};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use synapse_adapter::{Broadcast, ClusterMessage, Flags, SocketSnapshot, Target, Transport};
use synapse_protocol::socket::Arguments;
use synapse_protocol::socket::msgpack::{
    self, EncodeError, Limits, Reader, put_first, put_map_len, put_str, put_uint,
};

use super::WireError;
use super::broadcast::{decode_names, decode_opts, decode_packet, timeout};

const SOCKETS: u8 = 0;
const ALL_ROOMS: u8 = 1;
const REMOTE_JOIN: u8 = 2;
const REMOTE_LEAVE: u8 = 3;
const REMOTE_DISCONNECT: u8 = 4;
const REMOTE_FETCH: u8 = 5;
const SERVER_SIDE_EMIT: u8 = 6;
const BROADCAST: u8 = 7;
const BROADCAST_CLIENT_COUNT: u8 = 8;
const BROADCAST_ACK: u8 = 9;

type Names = SmallVec<[Box<str>; 1]>;

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
        decode_json(payload, limits)?
    } else {
        decode_msgpack(payload, limits)?
    };
    fields.into_request()
}

/// All that any request has, in either form.
#[derive(Default)]
struct Fields {
    uid: Option<Box<str>>,
    request_id: Option<Box<str>>,
    request_type: Option<f64>,
    opts: Option<(Target, Flags)>,
    rooms: Option<Names>,
    data: Option<Arguments>,
    packet: Option<Arguments>,
    close: bool,
    sid: Option<Box<str>>,
    room: Option<Box<str>>,
}

impl Fields {
    fn into_request(self) -> Result<Request, WireError> {
        let number = self
            .request_type
            .ok_or(WireError::Missing("the type of a request"))?;
        // The cast saturates, and what is no small whole number is sorted out by the comparison.
        let request_type =
            Some(number as u8).filter(|request_type| f64::from(*request_type) == number);
        let rooms = self.rooms.unwrap_or_default();
        let target = || {
            self.opts
                .clone()
                .map(|(target, _)| target)
                .ok_or(WireError::Missing("the target of a request"))
        };
        let sid = || {
            self.sid
                .clone()
                .ok_or(WireError::Missing("the target of a request"))
        };
        let room = || {
            self.room
                .clone()
                .ok_or(WireError::Missing("the room of a request"))
        };
        let transport = if self.close {
            Transport::Close
        } else {
            Transport::Keep
        };
        let body = match request_type {
            Some(SOCKETS) => Body::Sockets { rooms },
            Some(ALL_ROOMS) => Body::AllRooms,
            Some(REMOTE_JOIN) if self.opts.is_some() => Body::Join {
                target: target()?,
                rooms: rooms.into_vec(),
            },
            Some(REMOTE_LEAVE) if self.opts.is_some() => Body::Leave {
                target: target()?,
                rooms: rooms.into_vec(),
            },
            Some(REMOTE_DISCONNECT) if self.opts.is_some() => Body::Disconnect {
                target: target()?,
                transport,
            },
            // Before version 7 these named one socket.
            Some(REMOTE_JOIN) => Body::JoinOne {
                sid: sid()?,
                room: room()?,
            },
            Some(REMOTE_LEAVE) => Body::LeaveOne {
                sid: sid()?,
                room: room()?,
            },
            Some(REMOTE_DISCONNECT) => Body::DisconnectOne {
                sid: sid()?,
                transport,
            },
            Some(REMOTE_FETCH) => Body::Fetch { target: target()? },
            Some(SERVER_SIDE_EMIT) => Body::ServerSideEmit {
                arguments: self
                    .data
                    .ok_or(WireError::Missing("the data of an event"))?,
            },
            Some(BROADCAST) => {
                let (target, flags) = self
                    .opts
                    .ok_or(WireError::Missing("the target of a request"))?;
                let arguments = self
                    .packet
                    .ok_or(WireError::Missing("the packet of a request"))?;
                Body::Broadcast {
                    broadcast: Broadcast {
                        target,
                        flags,
                        arguments,
                    },
                }
            }
            Some(_) | None => return Err(WireError::RequestType(number)),
        };
        Ok(Request {
            uid: self.uid,
            request_id: self.request_id,
            body,
        })
    }
}

fn decode_msgpack(payload: &[u8], limits: &Limits) -> Result<Fields, WireError> {
    let mut reader = Reader::new(payload);
    let mut fields = Fields::default();
    for _ in 0..reader.map_len()? {
        match &*reader.name()? {
            // What is undefined in JavaScript may arrive as nil.
            "uid" | "requestId" | "sid" | "room" | "opts" | "data" | "packet"
                if reader.skip_nil() => {}
            "uid" => fields.uid = Some(reader.name()?.into()),
            "requestId" => fields.request_id = Some(reader.name()?.into()),
            "type" => fields.request_type = Some(reader.number()?),
            "opts" => fields.opts = Some(decode_opts(&mut reader)?),
            "rooms" => fields.rooms = Some(decode_names(&mut reader)?),
            "data" => fields.data = Some(reader.arguments(limits)?),
            "packet" => fields.packet = Some(decode_packet(&mut reader, limits)?.arguments),
            "close" => fields.close = reader.is_true()?,
            "sid" => fields.sid = Some(reader.name()?.into()),
            "room" => fields.room = Some(reader.name()?.into()),
            _ => reader.skip()?,
        }
    }
    Ok(fields)
}

#[derive(DeserializeFields)]
struct JsonFields<'a> {
    uid: Option<Name>,
    #[serde(rename = "requestId")]
    request_id: Option<Name>,
    #[serde(rename = "type")]
    request_type: Option<f64>,
    opts: Option<JsonOpts>,
    rooms: Option<Vec<Name>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<JsonPacket<'a>>,
    #[serde(default)]
    close: bool,
    sid: Option<Name>,
    room: Option<Name>,
}

#[derive(DeserializeFields)]
struct JsonOpts {
    rooms: Option<Vec<Name>>,
    except: Option<Vec<Name>>,
    flags: Option<JsonFlags>,
}

#[derive(DeserializeFields)]
struct JsonFlags {
    volatile: Option<bool>,
    compress: Option<bool>,
    timeout: Option<f64>,
}

#[derive(DeserializeFields)]
struct JsonPacket<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A text, or a number where JavaScript takes one as a name.
struct Name(Box<str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.into()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Name, E> {
                Ok(Name(number.to_string().into()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Name, E> {
                Ok(Name(number.to_string().into()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Name, E> {
                Ok(Name(number.to_string().into()))
            }
        }
        deserializer.deserialize_any(NameVisitor)
    }
}

fn decode_json(payload: &[u8], limits: &Limits) -> Result<Fields, WireError> {
    let text = std::str::from_utf8(payload).map_err(|_| WireError::NotUtf8)?;
    let json: JsonFields<'_> =
        serde_json::from_str(text).map_err(|error| WireError::Json(error.column()))?;
    let names = |names: Option<Vec<Name>>| {
        names
            .unwrap_or_default()
            .into_iter()
            .map(|name| name.0)
            .collect::<Names>()
    };
    Ok(Fields {
        uid: json.uid.map(|name| name.0),
        request_id: json.request_id.map(|name| name.0),
        request_type: json.request_type,
        opts: json.opts.map(|opts| {
            let flags = opts.flags.map_or_else(Flags::default, |flags| Flags {
                volatile: flags.volatile == Some(true),
                compress: flags.compress,
                timeout: flags.timeout.and_then(timeout),
            });
            (
                Target {
                    rooms: names(opts.rooms),
                    except: names(opts.except),
                },
                flags,
            )
        }),
        rooms: json.rooms.map(|rooms| names(Some(rooms))),
        data: json
            .data
            .map(|data| json_arguments(data, limits))
            .transpose()?,
        packet: json
            .packet
            .and_then(|packet| packet.data)
            .map(|data| json_arguments(data, limits))
            .transpose()?,
        close: json.close,
        sid: json.sid.map(|name| name.0),
        room: json.room.map(|name| name.0),
    })
}

/// Arguments as they came. A Buffer in JSON is `{"type":"Buffer","data":[..]}`, plain data for Node's listeners and for ours.
fn json_arguments(raw: &RawValue, limits: &Limits) -> Result<Arguments, WireError> {
    let text = raw.get();
    if !text.starts_with('[') {
        return Err(WireError::Missing("the array of an event"));
    }
    if depth(text) > limits.depth_max {
        return Err(WireError::TooDeep(limits.depth_max));
    }
    Ok(Arguments::from_validated(
        Bytes::copy_from_slice(text.as_bytes()),
        Vec::new(),
    ))
}

/// How many arrays and objects a valid JSON text has inside each other.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The bytes that Node writes for a request without an answer. An event with binary values is written in msgpack, which every server reads
/// as well and which keeps them.
pub(crate) fn encode(
    uid: &str,
    message: &ClusterMessage,
    limits: &Limits,
) -> Result<Vec<u8>, EncodeError> {
    #[derive(Serialize)]
    struct Opts<'a> {
        rooms: &'a [Box<str>],
        except: &'a [Box<str>],
    }
    #[derive(Serialize)]
    struct Operation<'a> {
        uid: &'a str,
        r#type: u8,
        opts: Opts<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rooms: Option<&'a [Box<str>]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        close: Option<bool>,
    }
    let operation = |request_type, target: &Target, rooms, close| {
        let opts = Opts {
            rooms: &target.rooms,
            except: &target.except,
        };
        to_json(&Operation {
            uid,
            r#type: request_type,
            opts,
            rooms,
            close,
        })
    };
    let bytes = match message {
        ClusterMessage::Join { target, rooms } => operation(REMOTE_JOIN, target, Some(rooms), None),
        ClusterMessage::Leave { target, rooms } => {
            operation(REMOTE_LEAVE, target, Some(rooms), None)
        }
        ClusterMessage::Disconnect { target, transport } => operation(
            REMOTE_DISCONNECT,
            target,
            None,
            Some(*transport == Transport::Close),
        ),
        ClusterMessage::ServerSideEmit(arguments) if arguments.attachments().is_empty() => format!(
            r#"{{"uid":{},"type":{SERVER_SIDE_EMIT},"data":{}}}"#,
            quoted(uid),
            arguments.json()
        )
        .into_bytes(),
        ClusterMessage::ServerSideEmit(arguments) => {
            let mut out = Vec::new();
            put_map_len(&mut out, 3);
            put_str(&mut out, "uid");
            put_str(&mut out, uid);
            put_str(&mut out, "type");
            put_uint(&mut out, u64::from(SERVER_SIDE_EMIT));
            put_str(&mut out, "data");
            msgpack::put_arguments(&mut out, arguments, limits)?;
            out
        }
        ClusterMessage::Broadcast(_) => unreachable!("broadcasts have their own channel"),
    };
    if bytes.len() > limits.bytes_max {
        return Err(EncodeError::TooLarge {
            limit: limits.bytes_max,
        });
    }
    Ok(bytes)
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers are always JSON")
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerFields<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<u8>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_count: Option<usize>,
}

fn answer<T: Serialize>(request_id: &str) -> AnswerFields<'_, T> {
    AnswerFields {
        r#type: None,
        request_id,
        sockets: None,
        rooms: None,
        client_count: None,
    }
}

/// `{requestId, sockets: [id..]}`, for servers before version 7.
pub(crate) fn sockets_answer(request_id: &str, ids: &[String]) -> Option<Vec<u8>> {
    Some(to_json(&AnswerFields {
        sockets: Some(ids),
        ..answer(request_id)
    }))
}

/// `{requestId, rooms: [name..]}`
pub(crate) fn rooms_answer(request_id: &str, rooms: &[String]) -> Option<Vec<u8>> {
    Some(to_json(&AnswerFields {
        rooms: Some(rooms),
        ..answer::<()>(request_id)
    }))
}

/// `{requestId, sockets: [{id, handshake, rooms, data}..]}`
pub(crate) fn fetch_answer(request_id: &str, sockets: Vec<SocketSnapshot>) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Socket {
        id: String,
        handshake: Box<RawValue>,
        rooms: Vec<String>,
        data: Box<RawValue>,
    }
    // One socket whose data is no JSON must not keep the asker from hearing of the others.
    let raw =
        |json: String| RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned());
    let sockets: Vec<Socket> = sockets
        .into_iter()
        .map(|socket| Socket {
            id: socket.id,
            handshake: raw(socket.handshake),
            rooms: socket.rooms,
            data: raw(socket.data),
        })
        .collect();
    Some(to_json(&AnswerFields {
        sockets: Some(sockets),
        ..answer(request_id)
    }))
}

/// `{requestId}`, when a request for one socket has been carried out.
pub(crate) fn done_answer(request_id: &str) -> Option<Vec<u8>> {
    Some(to_json(&answer::<()>(request_id)))
}

/// `{type: 8, requestId, clientCount}`
pub(crate) fn count_answer(request_id: &str, count: usize) -> Option<Vec<u8>> {
    Some(to_json(&AnswerFields {
        r#type: Some(BROADCAST_CLIENT_COUNT),
        client_count: Some(count),
        ..answer::<()>(request_id)
    }))
}

/// `{type: 9, requestId, packet}` in msgpack, with the first argument of a client's ack.
pub(crate) fn ack_answer(request_id: &str, ack: &Arguments, limits: &Limits) -> Option<Vec<u8>> {
    put_answer(BROADCAST_ACK, request_id, "packet", ack, limits)
}

/// `{type: 6, requestId, data}` with the first argument that a listener answered with; null when there is none, so that nobody waits in
/// vain. In msgpack when it has binary values.
pub(crate) fn emit_answer(request_id: &str, reply: &Arguments, limits: &Limits) -> Option<Vec<u8>> {
    if !reply.attachments().is_empty() {
        return put_answer(SERVER_SIDE_EMIT, request_id, "data", reply, limits);
    }
    let values: Vec<&RawValue> = serde_json::from_str(reply.json()).unwrap_or_default();
    let first = values.first().map_or("null", |value| value.get());
    Some(
        format!(
            r#"{{"type":{SERVER_SIDE_EMIT},"requestId":{},"data":{first}}}"#,
            quoted(request_id)
        )
        .into_bytes(),
    )
}

fn put_answer(
    answer_type: u8,
    request_id: &str,
    key: &str,
    arguments: &Arguments,
    limits: &Limits,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    put_map_len(&mut out, 3);
    put_str(&mut out, "type");
    put_uint(&mut out, u64::from(answer_type));
    put_str(&mut out, "requestId");
    put_str(&mut out, request_id);
    put_str(&mut out, key);
    put_first(&mut out, arguments, limits).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::broadcast::tests::{arguments, fixture};
    use super::*;

    fn names(names: &[&str]) -> Names {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn target(rooms: &[&str]) -> Target {
        Target {
            rooms: names(rooms),
            except: Names::new(),
        }
    }

    fn check(payload: &[u8], uid: Option<&str>, request_id: Option<&str>, body: Body) {
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

    fn boxed(texts: &[&str]) -> Vec<Box<str>> {
        names(texts).into_vec()
    }

    #[test]
    fn requests_are_node_s_to_the_byte_both_ways() {
        let room = || target(&["room1"]);
        for (text, message) in [
            (
                r#"{"uid":"o3b0AY","type":2,"opts":{"rooms":["room1"],"except":[]},"rooms":["room2","room3"]}"#,
                ClusterMessage::Join {
                    target: room(),
                    rooms: boxed(&["room2", "room3"]),
                },
            ),
            (
                r#"{"uid":"o3b0AY","type":3,"opts":{"rooms":[],"except":[]},"rooms":["room2"]}"#,
                ClusterMessage::Leave {
                    target: target(&[]),
                    rooms: boxed(&["room2"]),
                },
            ),
            (
                r#"{"uid":"o3b0AY","type":4,"opts":{"rooms":["roomB"],"except":[]},"close":true}"#,
                ClusterMessage::Disconnect {
                    target: target(&["roomB"]),
                    transport: Transport::Close,
                },
            ),
            (
                r#"{"uid":"o3b0AY","type":6,"data":["evt",1,"2"]}"#,
                ClusterMessage::ServerSideEmit(arguments(r#"["evt",1,"2"]"#, &[])),
            ),
        ] {
            let encoded = encode("o3b0AY", &message, &Limits::default()).unwrap();
            assert_eq!(String::from_utf8(encoded).unwrap(), text);
            let body = match message {
                ClusterMessage::Join { target, rooms } => Body::Join { target, rooms },
                ClusterMessage::Leave { target, rooms } => Body::Leave { target, rooms },
                ClusterMessage::Disconnect { target, transport } => {
                    Body::Disconnect { target, transport }
                }
                ClusterMessage::ServerSideEmit(arguments) => Body::ServerSideEmit { arguments },
                ClusterMessage::Broadcast(_) => unreachable!(),
            };
            check(text.as_bytes(), Some("o3b0AY"), None, body);
        }
    }

    #[test]
    fn events_with_binary_values_keep_them() {
        let event = arguments(r#"["evt",{"_placeholder":true,"num":0}]"#, &[b"\x01"]);
        let encoded = encode(
            "o3b0AY",
            &ClusterMessage::ServerSideEmit(event.clone()),
            &Limits::default(),
        )
        .unwrap();
        check(
            &encoded,
            Some("o3b0AY"),
            None,
            Body::ServerSideEmit { arguments: event },
        );
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
    fn answers_are_node_s_to_the_byte() {
        let text = |answer: Option<Vec<u8>>| String::from_utf8(answer.unwrap()).unwrap();
        let limits = Limits::default();
        assert_eq!(
            text(count_answer("tYjiHR", 1)),
            r#"{"type":8,"requestId":"tYjiHR","clientCount":1}"#
        );
        let rooms = ["lOrW5GMJrrJWKkGqAAAB".to_owned(), "roomB".to_owned()];
        assert_eq!(
            text(rooms_answer("PzgKpY", &rooms)),
            r#"{"requestId":"PzgKpY","rooms":["lOrW5GMJrrJWKkGqAAAB","roomB"]}"#
        );
        assert_eq!(
            text(sockets_answer("PzgKpY", &rooms[..1])),
            r#"{"requestId":"PzgKpY","sockets":["lOrW5GMJrrJWKkGqAAAB"]}"#
        );
        assert_eq!(text(done_answer("r")), r#"{"requestId":"r"}"#);
        assert_eq!(
            text(emit_answer(
                "Yn6cV8",
                &arguments(r#"["pong5",2]"#, &[]),
                &limits
            )),
            r#"{"type":6,"requestId":"Yn6cV8","data":"pong5"}"#
        );
        assert_eq!(
            text(emit_answer("r\"", &arguments("[]", &[]), &limits)),
            r#"{"type":6,"requestId":"r\"","data":null}"#
        );
        assert_eq!(
            ack_answer("tYjiHR", &arguments(r#"[{"v":7}]"#, &[]), &limits).unwrap(),
            fixture("ack-response")
        );
        let binary = arguments(r#"[{"_placeholder":true,"num":0}]"#, &[b"\x01\x02"]);
        assert_eq!(
            ack_answer("lmITqk", &binary, &limits).unwrap(),
            fixture("ack-binary-response")
        );
        assert_eq!(
            emit_answer("r", &binary, &limits).unwrap(),
            b"\x83\xa4type\x06\xa9requestId\xa1r\xa4data\xc4\x02\x01\x02"
        );
        let snapshot = SocketSnapshot {
            id: "lOrW5GMJrrJWKkGqAAAB".into(),
            handshake: r#"{"headers":{},"xdomain":false}"#.into(),
            rooms: rooms.to_vec(),
            data: r#"{"u":1}"#.into(),
        };
        let broken = SocketSnapshot {
            data: "{".into(),
            handshake: String::new(),
            ..snapshot.clone()
        };
        assert_eq!(
            text(fetch_answer("pOtKk5", vec![snapshot, broken])),
            r#"{"requestId":"pOtKk5","sockets":[{"id":"lOrW5GMJrrJWKkGqAAAB","handshake":{"headers":{},"xdomain":false},"rooms":["lOrW5GMJrrJWKkGqAAAB","roomB"],"data":{"u":1}},{"id":"lOrW5GMJrrJWKkGqAAAB","handshake":null,"rooms":["lOrW5GMJrrJWKkGqAAAB","roomB"],"data":null}]}"#
        );
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

    #[test]
    fn depth_is_counted_outside_of_texts() {
        for (json, expected) in [
            ("[]", 1),
            ("[[],[{}]]", 3),
            (r#"["[[[\"[[",{}]"#, 2),
            ("1", 0),
        ] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }
}
