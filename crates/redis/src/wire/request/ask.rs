//! Requests of ours that want an answer.

use serde::Serialize;
use synapse_adapter::{ClusterRequest, Target};
use synapse_protocol::socket::msgpack::{
    self, EncodeError, Limits, put_map_len, put_str, put_uint,
};

use super::{ALL_ROOMS, BROADCAST, REMOTE_FETCH, SERVER_SIDE_EMIT, SOCKETS, quoted, to_json};
use crate::wire::broadcast::{put_opts, put_packet};

/// The bytes that Node writes for a request with an answer; none for what is asked of Redis alone. An event with binary values is written in
/// msgpack, which every server reads as well and which keeps them.
pub(crate) fn encode_ask(
    uid: &str,
    request_id: &str,
    namespace: &str,
    request: &ClusterRequest,
    limits: &Limits,
) -> Result<Option<Vec<u8>>, EncodeError> {
    let header = Header { uid, request_id };
    let bytes = match request {
        ClusterRequest::Servers => return Ok(None),
        // The old request for ids knows no exceptions.
        ClusterRequest::Ids(target) if target.except.is_empty() => {
            header.json(SOCKETS, None, Some(&target.rooms))
        }
        ClusterRequest::Sockets(target) | ClusterRequest::Ids(target) => {
            header.json(REMOTE_FETCH, Some(target), None)
        }
        ClusterRequest::Rooms => header.json(ALL_ROOMS, None, None),
        ClusterRequest::ServerSideEmit(arguments) if arguments.attachments().is_empty() => format!(
            r#"{{"uid":{},"requestId":{},"type":{SERVER_SIDE_EMIT},"data":{}}}"#,
            quoted(uid),
            quoted(request_id),
            arguments.json()
        )
        .into_bytes(),
        ClusterRequest::ServerSideEmit(arguments) => {
            let mut out = header.msgpack(4, SERVER_SIDE_EMIT);
            put_str(&mut out, "data");
            msgpack::put_arguments(&mut out, arguments, limits)?;
            out
        }
        ClusterRequest::Broadcast(broadcast) => {
            let mut out = header.msgpack(5, BROADCAST);
            put_str(&mut out, "packet");
            put_packet(&mut out, namespace, broadcast, limits)?;
            put_str(&mut out, "opts");
            put_opts(&mut out, broadcast);
            out
        }
    };
    if bytes.len() > limits.bytes_max {
        return Err(EncodeError::TooLarge {
            limit: limits.bytes_max,
        });
    }
    Ok(Some(bytes))
}

/// What every request begins with.
struct Header<'a> {
    uid: &'a str,
    request_id: &'a str,
}

impl Header<'_> {
    fn json(
        &self,
        request_type: u8,
        target: Option<&Target>,
        rooms: Option<&[Box<str>]>,
    ) -> Vec<u8> {
        #[derive(Serialize)]
        struct Opts<'a> {
            rooms: &'a [Box<str>],
            except: &'a [Box<str>],
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Ask<'a> {
            uid: &'a str,
            request_id: &'a str,
            r#type: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            opts: Option<Opts<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            rooms: Option<&'a [Box<str>]>,
        }
        to_json(&Ask {
            uid: self.uid,
            request_id: self.request_id,
            r#type: request_type,
            opts: target.map(|target| Opts {
                rooms: &target.rooms,
                except: &target.except,
            }),
            rooms,
        })
    }

    fn msgpack(&self, fields: usize, request_type: u8) -> Vec<u8> {
        let mut out = Vec::new();
        put_map_len(&mut out, fields);
        put_str(&mut out, "uid");
        put_str(&mut out, self.uid);
        put_str(&mut out, "requestId");
        put_str(&mut out, self.request_id);
        put_str(&mut out, "type");
        put_uint(&mut out, u64::from(request_type));
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use synapse_adapter::{Broadcast, Flags};

    use super::super::decode::tests::target;
    use super::super::decode::{Body, decode};
    use super::*;
    use crate::wire::broadcast::tests::{arguments, fixture};

    fn ask(request_id: &str, request: &ClusterRequest) -> Vec<u8> {
        encode_ask("o3b0AY", request_id, "/", request, &Limits::default())
            .unwrap()
            .unwrap()
    }

    #[test]
    fn requests_are_node_s_to_the_byte() {
        for (request, expected) in [
            (
                ClusterRequest::Sockets(target(&["roomB"])),
                r#"{"uid":"o3b0AY","requestId":"r","type":5,"opts":{"rooms":["roomB"],"except":[]}}"#,
            ),
            (
                ClusterRequest::Ids(target(&["roomB"])),
                r#"{"uid":"o3b0AY","requestId":"r","type":0,"rooms":["roomB"]}"#,
            ),
            (
                ClusterRequest::Ids(Target {
                    except: target(&["a"]).rooms,
                    ..Target::default()
                }),
                r#"{"uid":"o3b0AY","requestId":"r","type":5,"opts":{"rooms":[],"except":["a"]}}"#,
            ),
            (
                ClusterRequest::Rooms,
                r#"{"uid":"o3b0AY","requestId":"r","type":1}"#,
            ),
            (
                ClusterRequest::ServerSideEmit(arguments(r#"["evtAck",5]"#, &[])),
                r#"{"uid":"o3b0AY","requestId":"r","type":6,"data":["evtAck",5]}"#,
            ),
        ] {
            assert_eq!(String::from_utf8(ask("r", &request)).unwrap(), expected);
        }
        let broadcast = Broadcast {
            target: Target::default(),
            flags: Flags {
                timeout: Some(Duration::from_millis(500)),
                ..Flags::default()
            },
            arguments: arguments(r#"["q",7]"#, &[]),
        };
        assert_eq!(
            ask("tYjiHR", &ClusterRequest::Broadcast(broadcast)),
            fixture("ack-request")
        );
    }

    #[test]
    fn binary_values_are_kept() {
        let event = arguments(r#"["e",{"_placeholder":true,"num":0}]"#, &[b"\x01\x02"]);
        let request = ask("r", &ClusterRequest::ServerSideEmit(event.clone()));
        let decoded = decode(&request, &Limits::default()).unwrap();
        assert_eq!(decoded.request_id.as_deref(), Some("r"));
        assert_eq!(decoded.body, Body::ServerSideEmit { arguments: event });
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let limits = Limits {
            bytes_max: 100,
            ..Limits::default()
        };
        let request = ClusterRequest::Sockets(target(&["x".repeat(100).as_str()]));
        assert!(encode_ask("u", "r", "/", &request, &limits).is_err());
        let servers = encode_ask("u", "r", "/", &ClusterRequest::Servers, &limits);
        assert_eq!(servers.unwrap(), None);
    }
}
