//! Answers to requests. One that cannot be written is none.

use serde::Serialize;
use serde_json::value::RawValue;
use synapse_adapter::SocketSnapshot;
use synapse_protocol::socket::Arguments;
use synapse_protocol::socket::msgpack::{Limits, put_first, put_map_len, put_str, put_uint};

use super::{BROADCAST_ACK, BROADCAST_CLIENT_COUNT, SERVER_SIDE_EMIT, quoted, to_json};

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
    use super::*;
    use crate::wire::broadcast::tests::{arguments, fixture};

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
}
