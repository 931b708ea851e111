//! Events on the broadcast channels: a msgpack array of who sends, what, and to whom.

use std::borrow::Cow;
use std::time::Duration;

use smallvec::SmallVec;
use synapse_adapter::{Broadcast, Flags, Target};
use synapse_protocol::socket::Arguments;
use synapse_protocol::socket::msgpack::{
    EncodeError, Limits, Reader, put_arguments, put_array_len, put_bool, put_map_len, put_str,
    put_uint,
};

use super::{NAMES_MAX, WireError};

const EVENT: f64 = 2.0;
/// What an event with binary values is called on a client's wire. Node sends 2 for both; old servers did not.
const BINARY_EVENT: f64 = 5.0;

/// What a message on a broadcast channel turns out to be.
#[derive(Debug)]
pub(crate) enum Received {
    /// Our own, come back.
    Own,
    /// For a namespace whose name only begins like ours.
    Elsewhere,
    /// To be delivered.
    Broadcast(Broadcast),
}

/// The bytes that Node writes: `[uid, {type, data, nsp}, {rooms, except, flags}]`.
pub(crate) fn encode(
    uid: &str,
    namespace: &str,
    broadcast: &Broadcast,
    limits: &Limits,
) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(96 + broadcast.arguments.json().len());
    put_array_len(&mut out, 3);
    put_str(&mut out, uid);
    put_packet(&mut out, namespace, broadcast, limits)?;
    put_opts(&mut out, broadcast);
    if out.len() > limits.bytes_max {
        return Err(EncodeError::TooLarge {
            limit: limits.bytes_max,
        });
    }
    Ok(out)
}

/// Appends what is sent.
pub(crate) fn put_packet(
    out: &mut Vec<u8>,
    namespace: &str,
    broadcast: &Broadcast,
    limits: &Limits,
) -> Result<(), EncodeError> {
    put_map_len(out, 3);
    put_str(out, "type");
    put_uint(out, 2);
    put_str(out, "data");
    put_arguments(out, &broadcast.arguments, limits)?;
    put_str(out, "nsp");
    put_str(out, namespace);
    Ok(())
}

/// Appends to whom it is sent, and how.
pub(crate) fn put_opts(out: &mut Vec<u8>, broadcast: &Broadcast) {
    put_map_len(out, 3);
    put_str(out, "rooms");
    put_names(out, &broadcast.target.rooms);
    put_str(out, "except");
    put_names(out, &broadcast.target.except);
    put_str(out, "flags");
    put_flags(out, &broadcast.flags);
}

fn put_names(out: &mut Vec<u8>, names: &[Box<str>]) {
    put_array_len(out, names.len());
    for name in names {
        put_str(out, name);
    }
}

fn put_flags(out: &mut Vec<u8>, flags: &Flags) {
    put_map_len(
        out,
        usize::from(flags.volatile)
            + usize::from(flags.compress.is_some())
            + usize::from(flags.timeout.is_some()),
    );
    if flags.volatile {
        put_str(out, "volatile");
        put_bool(out, true);
    }
    if let Some(compress) = flags.compress {
        put_str(out, "compress");
        put_bool(out, compress);
    }
    if let Some(timeout) = flags.timeout {
        put_str(out, "timeout");
        put_uint(out, u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Reads what Node, an emitter or a minimal peer sends: keys in any order, unknown ones passed over, `nsp`, `except` and `flags` optional.
pub(crate) fn decode(
    payload: &[u8],
    own_uid: &str,
    namespace: &str,
    limits: &Limits,
) -> Result<Received, WireError> {
    let mut reader = Reader::new(payload);
    if reader.array_len()? < 3 {
        return Err(WireError::Missing("the third part of a broadcast"));
    }
    if reader.name()? == own_uid {
        return Ok(Received::Own);
    }
    let packet = decode_packet(&mut reader, limits)?;
    if packet.namespace != namespace {
        return Ok(Received::Elsewhere);
    }
    let (target, flags) = decode_opts(&mut reader)?;
    Ok(Received::Broadcast(Broadcast {
        target,
        flags,
        arguments: packet.arguments,
    }))
}

/// An event with the namespace it is for; none is the main one.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) arguments: Arguments,
}

pub(crate) fn decode_packet<'a>(
    reader: &mut Reader<'a>,
    limits: &Limits,
) -> Result<Packet<'a>, WireError> {
    let mut arguments = None;
    // The packet of a minimal peer has no namespace and means the main one.
    let mut namespace = Cow::Borrowed("/");
    for _ in 0..reader.map_len()? {
        match &*reader.name()? {
            "type" => {
                let packet_type = reader.number()?;
                if packet_type != EVENT && packet_type != BINARY_EVENT {
                    return Err(WireError::PacketType(packet_type));
                }
            }
            "data" => arguments = Some(reader.arguments(limits)?),
            "nsp" => namespace = reader.name()?,
            _ => reader.skip()?,
        }
    }
    Ok(Packet {
        namespace,
        arguments: arguments.ok_or(WireError::Missing("the data of a packet"))?,
    })
}

pub(crate) fn decode_opts(reader: &mut Reader<'_>) -> Result<(Target, Flags), WireError> {
    let mut target = Target::default();
    let mut flags = Flags::default();
    for _ in 0..reader.map_len()? {
        match &*reader.name()? {
            "rooms" => target.rooms = decode_names(reader)?,
            "except" => target.except = decode_names(reader)?,
            "flags" => flags = decode_flags(reader)?,
            _ => reader.skip()?,
        }
    }
    Ok((target, flags))
}

/// A list of rooms; nil is an empty one.
pub(crate) fn decode_names(reader: &mut Reader<'_>) -> Result<SmallVec<[Box<str>; 1]>, WireError> {
    if reader.skip_nil() {
        return Ok(SmallVec::new());
    }
    let count = reader.array_len()?;
    if count > NAMES_MAX {
        return Err(WireError::TooManyNames);
    }
    (0..count).map(|_| Ok(reader.name()?.into())).collect()
}

fn decode_flags(reader: &mut Reader<'_>) -> Result<Flags, WireError> {
    let mut flags = Flags::default();
    if reader.skip_nil() {
        return Ok(flags);
    }
    for _ in 0..reader.map_len()? {
        match &*reader.name()? {
            "volatile" => flags.volatile = reader.is_true()?,
            "compress" => flags.compress = Some(reader.is_true()?),
            "timeout" => {
                let mut ahead = reader.clone();
                flags.timeout = ahead.number().ok().and_then(timeout);
                reader.skip()?;
            }
            _ => reader.skip()?,
        }
    }
    Ok(flags)
}

/// Milliseconds as Node has them; their fraction is left out, because none is ever written.
pub(crate) fn timeout(milliseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()?;
    Some(Duration::from_millis(milliseconds as u64))
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;

    use super::*;

    pub(crate) fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Lines of a fixture: a name, then hex.
    pub(crate) fn fixture(name: &str) -> Vec<u8> {
        let line = include_str!("../../tests/fixtures/classic.txt")
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        bytes(
            line.unwrap_or_else(|| panic!("no fixture {name}"))
                .split_whitespace()
                .nth(1)
                .unwrap(),
        )
    }

    pub(crate) fn arguments(json: &str, attachments: &[&'static [u8]]) -> Arguments {
        Arguments::from_validated(
            Bytes::copy_from_slice(json.as_bytes()),
            attachments
                .iter()
                .map(|bytes| Bytes::from_static(bytes))
                .collect(),
        )
    }

    fn names(names: &[&str]) -> SmallVec<[Box<str>; 1]> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn received(payload: &[u8], namespace: &str) -> Broadcast {
        match decode(payload, "mine00", namespace, &Limits::default()).unwrap() {
            Received::Broadcast(broadcast) => broadcast,
            other @ (Received::Own | Received::Elsewhere) => panic!("{other:?}"),
        }
    }

    #[test]
    fn broadcasts_are_node_s_to_the_byte_both_ways() {
        let plain = |json: &str| Broadcast {
            target: Target::default(),
            flags: Flags::default(),
            arguments: arguments(json, &[]),
        };
        let binary = Broadcast {
            arguments: arguments(r#"["bin",{"_placeholder":true,"num":0}]"#, &[b"\x03\x04"]),
            ..plain("[]")
        };
        let room = Broadcast {
            target: Target {
                rooms: names(&["room1"]),
                except: names(&[]),
            },
            ..plain(r#"["hello"]"#)
        };
        let flags = Broadcast {
            target: Target {
                rooms: names(&["r1", "r2"]),
                except: names(&["r3"]),
            },
            flags: Flags {
                volatile: true,
                compress: Some(false),
                timeout: None,
            },
            ..plain(r#"["hello"]"#)
        };
        let except = Broadcast {
            target: Target {
                rooms: names(&[]),
                except: names(&["xcKpjEIJX4ETn6ZBAAAA"]),
            },
            ..plain(r#"["hello"]"#)
        };
        for (fixture_name, uid, namespace, broadcast) in [
            ("emit", "o3b0AY", "/", plain(r#"["hello","world",1]"#)),
            ("binary", "o3b0AY", "/", binary),
            ("room", "o3b0AY", "/", room),
            ("flags", "o3b0AY", "/", flags),
            ("except", "o3b0AY", "/", except),
            ("namespace", "5XPZ9l", "/chat", plain(r#"["hi"]"#)),
        ] {
            let expected = fixture(fixture_name);
            assert_eq!(
                encode(uid, namespace, &broadcast, &Limits::default()).unwrap(),
                expected,
                "{fixture_name}"
            );
            assert_eq!(received(&expected, namespace), broadcast, "{fixture_name}");
        }
    }

    #[test]
    fn all_kinds_of_values_come_across() {
        let broadcast = received(&fixture("types"), "/");
        assert_eq!(
            broadcast.arguments.json(),
            r#"["types",1.5,-1,null,true,{"a":[1,{"b":2}]},"1970-01-01T00:00:00.000Z",70000,-40000,null,1099511627776]"#
        );
    }

    #[test]
    fn emitters_and_minimal_peers_are_understood() {
        let broadcast = received(&fixture("emitter-room"), "/");
        assert_eq!(broadcast.arguments.json(), r#"["fromEmitter",1]"#);
        assert_eq!(
            broadcast.target,
            Target {
                rooms: names(&["room1"]),
                except: names(&[])
            }
        );
        // ["rust01", {type: 2, data: ["min", 1]}, {rooms: []}]
        let minimal = b"\x93\xa6rust01\x82\xa4type\x02\xa4data\x92\xa3min\x01\x81\xa5rooms\x90";
        assert_eq!(received(minimal, "/").arguments.json(), r#"["min",1]"#);
        assert!(matches!(
            decode(minimal, "mine00", "/chat", &Limits::default()),
            Ok(Received::Elsewhere)
        ));
        assert!(matches!(
            decode(minimal, "rust01", "/", &Limits::default()),
            Ok(Received::Own)
        ));
        // Unknown keys everywhere, a number as a room, nil for lists, more parts than three.
        let odd = b"\x94\xa1x\x83\xa1?\x81\xa1a\x91\x01\xa4data\x91\xa1e\xa4type\x05\x84\xa5rooms\x92\x07\xa1r\xa6except\xc0\xa5flags\x83\xa1?\x90\xa8compress\xc3\xa7timeout\xcd\x01\xf4\xa1?\xc0\x01";
        let broadcast = received(odd, "/");
        assert_eq!(broadcast.target.rooms, names(&["7", "r"]));
        assert_eq!(
            broadcast.flags,
            Flags {
                volatile: false,
                compress: Some(true),
                timeout: Some(Duration::from_millis(500))
            }
        );
    }

    #[test]
    fn what_is_no_broadcast_is_refused() {
        for payload in [
            b"".as_slice(),
            b"garbage",
            b"{\"json\":1}",
            b"\x92\xa1x\x80",
            b"\x93\xa1x\x80\x80",
            b"\x93\xa1x\x81\xa4data\xa1x\x80",
            b"\x93\xa1x\x82\xa4type\x00\xa4data\x90\x80",
            b"\x93\xa1x\x81\xa4data\x90\x81\xa5rooms\x80",
            b"\x93\xa1x\x81\xa4data\x90",
            b"\x93\x90\x81\xa4data\x90\x80",
        ] {
            assert!(
                decode(payload, "mine00", "/", &Limits::default()).is_err(),
                "{payload:02x?}"
            );
        }
        // A byte for each empty name, and one name too many.
        for (count, refused) in [(NAMES_MAX, false), (NAMES_MAX + 1, true)] {
            let mut payload = b"\x93\xa1x\x81\xa4data\x91\xa1e\x81\xa5rooms\xdd".to_vec();
            payload.extend((count as u32).to_be_bytes());
            payload.extend(vec![0xa0; count]);
            let decoded = decode(&payload, "mine00", "/", &Limits::default());
            assert_eq!(decoded.is_err(), refused, "{count}");
        }
        let whole = fixture("flags");
        for end in 0..whole.len() {
            assert!(
                decode(&whole[..end], "mine00", "/", &Limits::default()).is_err(),
                "cut at {end}"
            );
        }
    }
}
