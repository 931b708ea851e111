//! Requests of ours, none of which wants an answer.

use serde::Serialize;
use synapse_adapter::{ClusterMessage, Target, Transport};
use synapse_protocol::socket::msgpack::{
    self, EncodeError, Limits, put_map_len, put_str, put_uint,
};

use super::{REMOTE_DISCONNECT, REMOTE_JOIN, REMOTE_LEAVE, SERVER_SIDE_EMIT, quoted, to_json};

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

#[cfg(test)]
mod tests {
    use super::super::decode::Body;
    use super::super::decode::tests::{boxed, check, target};
    use super::*;
    use crate::wire::broadcast::tests::arguments;

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
}
