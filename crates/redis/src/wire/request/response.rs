//! Answers of other servers to requests of ours.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use synapse_adapter::{ClusterRequest, Response, SocketSnapshot};
use synapse_protocol::socket::Arguments;
use synapse_protocol::socket::msgpack::{Limits, Reader};

use super::json::depth;
use super::{BROADCAST_ACK, BROADCAST_CLIENT_COUNT};
use crate::wire::{NAMES_MAX, WireError};

/// What a request of ours wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Sockets,
    Ids,
    Rooms,
    Reply,
    /// The number of clients, and their acks.
    Acks,
}

impl Wanted {
    /// None for what Redis alone answers.
    pub(crate) fn of(request: &ClusterRequest) -> Option<Self> {
        match request {
            ClusterRequest::Servers => None,
            ClusterRequest::Sockets(_) => Some(Self::Sockets),
            ClusterRequest::Ids(_) => Some(Self::Ids),
            ClusterRequest::Rooms => Some(Self::Rooms),
            ClusterRequest::ServerSideEmit(_) => Some(Self::Reply),
            ClusterRequest::Broadcast(_) => Some(Self::Acks),
        }
    }
}

/// An answer of which only the outline has been read: on the shared channel there are those to the requests of all servers.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// Which request it answers.
    pub(crate) request_id: Cow<'a, str>,
    fields: Fields<'a>,
}

#[derive(Debug)]
enum Fields<'a> {
    Json(JsonFields<'a>),
    Msgpack(MsgpackFields<'a>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonFields<'a> {
    r#type: Option<f64>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    client_count: Option<f64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<&'a RawValue>,
}

/// Each field as a reader that stands before its value.
#[derive(Debug, Default)]
struct MsgpackFields<'a> {
    answer_type: Option<f64>,
    client_count: Option<f64>,
    sockets: Option<Reader<'a>>,
    rooms: Option<Reader<'a>>,
    data: Option<Reader<'a>>,
    packet: Option<Reader<'a>>,
}

impl<'a> Answer<'a> {
    /// Reads the outline of either form.
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, WireError> {
        const REQUEST_ID: WireError = WireError::Missing("the request of an answer");
        if payload.first() == Some(&b'{') {
            let text = std::str::from_utf8(payload).map_err(|_| WireError::NotUtf8)?;
            let mut fields: JsonFields<'_> =
                serde_json::from_str(text).map_err(|error| WireError::Json(error.column()))?;
            return Ok(Self {
                request_id: fields.request_id.take().ok_or(REQUEST_ID)?,
                fields: Fields::Json(fields),
            });
        }
        let mut reader = Reader::new(payload);
        let mut fields = MsgpackFields::default();
        let mut request_id = None;
        for _ in 0..reader.map_len()? {
            match &*reader.name()? {
                "requestId" => request_id = Some(reader.name()?),
                "type" => fields.answer_type = Some(reader.number()?),
                "clientCount" => fields.client_count = Some(reader.number()?),
                "sockets" => fields.sockets = Some(passed(&mut reader)?),
                "rooms" => fields.rooms = Some(passed(&mut reader)?),
                "data" => fields.data = Some(passed(&mut reader)?),
                "packet" => fields.packet = Some(passed(&mut reader)?),
                _ => reader.skip()?,
            }
        }
        Ok(Self {
            request_id: request_id.ok_or(REQUEST_ID)?,
            fields: Fields::Msgpack(fields),
        })
    }

    /// What it says to a request that wants this.
    pub(crate) fn into_response(
        self,
        wanted: Wanted,
        limits: &Limits,
    ) -> Result<Response, WireError> {
        Ok(match wanted {
            Wanted::Sockets => Response::Sockets(
                list::<JsonSocket>(&self.value(Field::Sockets, limits)?)?
                    .into_iter()
                    .map(JsonSocket::into_snapshot)
                    .collect(),
            ),
            Wanted::Ids => Response::Ids(
                list::<JsonId>(&self.value(Field::Sockets, limits)?)?
                    .into_iter()
                    .map(JsonId::into_id)
                    .collect(),
            ),
            Wanted::Rooms => Response::Rooms(
                list::<JsonName>(&self.value(Field::Rooms, limits)?)?
                    .into_iter()
                    .map(JsonName::into_name)
                    .collect(),
            ),
            Wanted::Reply => Response::Reply(self.value(Field::Data, limits)?),
            Wanted::Acks => {
                let (answer_type, client_count) = match &self.fields {
                    Fields::Json(fields) => (fields.r#type, fields.client_count),
                    Fields::Msgpack(fields) => (fields.answer_type, fields.client_count),
                };
                let is = |expected: u8| answer_type == Some(f64::from(expected));
                if is(BROADCAST_CLIENT_COUNT) {
                    // The cast saturates; what is no count is none.
                    Response::Clients(client_count.unwrap_or_default() as usize)
                } else if is(BROADCAST_ACK) {
                    Response::Ack(self.value(Field::Packet, limits)?)
                } else {
                    return Err(WireError::Missing("the type of an answer"));
                }
            }
        })
    }

    /// A field as arguments with that value alone. What JavaScript leaves undefined is null, but a list is never missing.
    fn value(&self, field: Field, limits: &Limits) -> Result<Arguments, WireError> {
        let value = match &self.fields {
            Fields::Json(fields) => {
                let value = match field {
                    Field::Sockets => fields.sockets,
                    Field::Rooms => fields.rooms,
                    Field::Data => fields.data,
                    Field::Packet => fields.packet,
                };
                value
                    .map(|value| json_value(value.get(), limits))
                    .transpose()?
            }
            Fields::Msgpack(fields) => {
                let value = match field {
                    Field::Sockets => &fields.sockets,
                    Field::Rooms => &fields.rooms,
                    Field::Data => &fields.data,
                    Field::Packet => &fields.packet,
                };
                let value = value.clone();
                value.map(|mut value| value.value(limits)).transpose()?
            }
        };
        match (value, field) {
            (Some(value), _) => Ok(value),
            (None, Field::Data | Field::Packet) => json_value("null", limits),
            (None, Field::Sockets | Field::Rooms) => {
                Err(WireError::Missing("the list of an answer"))
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Field {
    Sockets,
    Rooms,
    Data,
    Packet,
}

/// A reader before a value, which is passed over.
fn passed<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, WireError> {
    let before = reader.clone();
    reader.skip()?;
    Ok(before)
}

fn json_value(text: &str, limits: &Limits) -> Result<Arguments, WireError> {
    if depth(text) >= limits.depth_max {
        return Err(WireError::TooDeep(limits.depth_max));
    }
    Ok(Arguments::from_validated(
        format!("[{text}]").into(),
        Vec::new(),
    ))
}

/// The list that is the one value of these arguments.
fn list<T: for<'a> Deserialize<'a>>(arguments: &Arguments) -> Result<Vec<T>, WireError> {
    let (list,): (Vec<T>,) =
        serde_json::from_str(arguments.json()).map_err(|error| WireError::Json(error.column()))?;
    if list.len() > NAMES_MAX {
        return Err(WireError::TooManyNames);
    }
    Ok(list)
}

#[derive(Deserialize)]
struct JsonSocket {
    id: JsonName,
    #[serde(default)]
    handshake: Option<Box<RawValue>>,
    #[serde(default)]
    rooms: Vec<JsonName>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

impl JsonSocket {
    fn into_snapshot(self) -> SocketSnapshot {
        let json = |raw: Option<Box<RawValue>>| {
            raw.map_or_else(|| "null".to_owned(), |raw| raw.get().to_owned())
        };
        SocketSnapshot {
            id: self.id.into_name(),
            handshake: json(self.handshake),
            rooms: self.rooms.into_iter().map(JsonName::into_name).collect(),
            data: json(self.data),
        }
    }
}

/// A text, or a number where JavaScript takes one as a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonName {
    Text(String),
    Number(serde_json::Number),
}

impl JsonName {
    fn into_name(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// An id by itself, or the socket that has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonId {
    Id(JsonName),
    Socket { id: JsonName },
}

impl JsonId {
    fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Socket { id } => id.into_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer;
    use super::*;
    use crate::wire::broadcast::tests::{arguments, fixture};

    fn check(payload: &[u8], wanted: Wanted, request_id: &str, expected: &Response) {
        let answer = Answer::read(payload).unwrap();
        assert_eq!(answer.request_id, request_id);
        let response = answer.into_response(wanted, &Limits::default()).unwrap();
        assert_eq!(response, *expected, "{}", String::from_utf8_lossy(payload));
    }

    #[test]
    fn node_s_answers_are_understood() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        check(
            br#"{"requestId":"r","sockets":["a","b"]}"#,
            Wanted::Ids,
            "r",
            &Response::Ids(names(&["a", "b"])),
        );
        let fetched = br#"{"requestId":"pOtKk5","sockets":[{"id":"lOrW5GMJrrJWKkGqAAAB","handshake":{"url":"/"},"rooms":["lOrW5GMJrrJWKkGqAAAB",5],"data":{"u":1}},{"id":"x"}]}"#;
        check(
            fetched,
            Wanted::Ids,
            "pOtKk5",
            &Response::Ids(names(&["lOrW5GMJrrJWKkGqAAAB", "x"])),
        );
        let socket = |id: &str, handshake: &str, rooms, data: &str| SocketSnapshot {
            id: id.to_owned(),
            handshake: handshake.to_owned(),
            rooms,
            data: data.to_owned(),
        };
        let first = socket(
            "lOrW5GMJrrJWKkGqAAAB",
            r#"{"url":"/"}"#,
            names(&["lOrW5GMJrrJWKkGqAAAB", "5"]),
            r#"{"u":1}"#,
        );
        let second = socket("x", "null", vec![], "null");
        check(
            fetched,
            Wanted::Sockets,
            "pOtKk5",
            &Response::Sockets(vec![first, second]),
        );
        check(
            br#"{"requestId":"PzgKpY","rooms":["lOrW5GMJrrJWKkGqAAAB",7]}"#,
            Wanted::Rooms,
            "PzgKpY",
            &Response::Rooms(names(&["lOrW5GMJrrJWKkGqAAAB", "7"])),
        );
        check(
            br#"{"type":6,"requestId":"Yn6cV8","data":"pong5"}"#,
            Wanted::Reply,
            "Yn6cV8",
            &Response::Reply(arguments(r#"["pong5"]"#, &[])),
        );
        check(
            br#"{"type":6,"requestId":"Yn6cV8"}"#,
            Wanted::Reply,
            "Yn6cV8",
            &Response::Reply(arguments("[null]", &[])),
        );
        check(
            br#"{"type":8,"requestId":"tYjiHR","clientCount":3}"#,
            Wanted::Acks,
            "tYjiHR",
            &Response::Clients(3),
        );
        check(
            &fixture("ack-response"),
            Wanted::Acks,
            "tYjiHR",
            &Response::Ack(arguments(r#"[{"v":7}]"#, &[])),
        );
        check(
            &fixture("ack-binary-response"),
            Wanted::Acks,
            "lmITqk",
            &Response::Ack(arguments(
                r#"[{"_placeholder":true,"num":0}]"#,
                &[b"\x01\x02"],
            )),
        );
    }

    #[test]
    fn our_own_answers_are_understood_in_both_forms() {
        let limits = Limits::default();
        let binary = arguments(r#"[{"_placeholder":true,"num":0}]"#, &[b"\x01\x02"]);
        let payload = answer::emit_answer("r", &binary, &limits).unwrap();
        check(&payload, Wanted::Reply, "r", &Response::Reply(binary));
        let count = b"\x83\xa4type\x08\xa9requestId\xa1r\xabclientCount\x02";
        check(count, Wanted::Acks, "r", &Response::Clients(2));
        let rooms = b"\x82\xa9requestId\xa1r\xa5rooms\x92\xa1a\x05";
        check(
            rooms,
            Wanted::Rooms,
            "r",
            &Response::Rooms(vec!["a".into(), "5".into()]),
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = format!(
            r#"{{"type":6,"requestId":"r","data":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        for (payload, wanted) in [
            (b"".as_slice(), Wanted::Reply),
            (b"{", Wanted::Reply),
            (b"{}", Wanted::Reply),
            (b"{\"requestId\":\"\xff\"}", Wanted::Reply),
            (b"\x81\xa9requestId", Wanted::Reply),
            (b"\x81\xa4data\xc0", Wanted::Reply),
            (br#"{"requestId":"r"}"#, Wanted::Sockets),
            (br#"{"requestId":"r","sockets":{}}"#, Wanted::Ids),
            (br#"{"requestId":"r","sockets":["a"]}"#, Wanted::Sockets),
            (br#"{"requestId":"r","rooms":[{}]}"#, Wanted::Rooms),
            (br#"{"requestId":"r","clientCount":1}"#, Wanted::Acks),
            (br#"{"type":7,"requestId":"r"}"#, Wanted::Acks),
            (deep.as_bytes(), Wanted::Reply),
        ] {
            let answer = Answer::read(payload)
                .and_then(|answer| answer.into_response(wanted, &Limits::default()));
            assert!(
                answer.is_err(),
                "{}",
                String::from_utf8_lossy(&payload[..payload.len().min(80)])
            );
        }
    }
}
