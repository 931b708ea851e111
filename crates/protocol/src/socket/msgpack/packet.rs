//! A client's packet as one binary message, for servers that speak like `socket.io-msgpack-parser`.
//!
//! It is a map with `type` (0 to 4), `nsp`, and, where there are any, `data` and `id`, in any order. Clients add `options`, which says how
//! they wanted it to be sent and means nothing here. What Node's parser accepts is accepted, within the rules that hold for packets of
//! text as well: events have names and none that is reserved, ids are natural numbers, and an ack has one.

use std::borrow::Cow;

use super::decode::UNDEFINED;
use super::encode::put_text;
use super::put::{put_map_len, put_str, put_uint};
use super::reader::{Head, Number, Reader};
use super::{DecodeError, EncodeError, Limits};
use crate::socket::assembler::Incoming;
use crate::socket::decode::{ID_MAX, check_event_name, split_query};
use crate::socket::encode::Outgoing;
use crate::socket::packet::{self, PacketError, PacketType};
use crate::websocket::{Opcode, header_len, put_header};

/// As deep as any limit on what comes in, and longer than any outbox.
const OUTGOING: Limits = Limits {
    depth_max: 512,
    bytes_max: 256 << 20,
    attachments_max: usize::MAX,
};

/// Reads a packet, and checks all of it.
pub fn decode_packet<'a>(
    message: &'a [u8],
    limits: &packet::Limits,
) -> Result<Incoming<'a>, PacketError> {
    let fields = Fields::read(message)?;
    let packet_type = fields.packet_type()?;
    let (namespace, query) = fields.namespace(limits)?;
    let id = fields.id()?;
    match packet_type {
        PacketType::Connect => Ok(Incoming::Connect {
            namespace,
            query,
            auth: fields
                .data
                .map(|data| auth(data, limits).map(Cow::Owned))
                .transpose()?,
        }),
        PacketType::Disconnect if fields.data.is_none() => Ok(Incoming::Disconnect { namespace }),
        PacketType::Event => {
            let data = fields.array(packet_type)?;
            check_event_name(&event_name(data)?, limits)?;
            Ok(Incoming::Event {
                namespace,
                id,
                arguments: Reader::new(data).arguments(&incoming(limits))?,
            })
        }
        PacketType::Ack => Ok(Incoming::Ack {
            namespace,
            arguments: Reader::new(fields.array(packet_type)?).arguments(&incoming(limits))?,
            id: id.ok_or(PacketError::MissingId)?,
        }),
        PacketType::ConnectError
            if matches!(fields.head()?, Some(Head::Map(_) | Head::Text(_))) =>
        {
            Ok(Incoming::ConnectError { namespace })
        }
        PacketType::Disconnect | PacketType::ConnectError => {
            Err(PacketError::InvalidPayload(packet_type))
        }
        PacketType::BinaryEvent | PacketType::BinaryAck => Err(PacketError::UnknownType),
    }
}

/// Appends a packet as one binary WebSocket frame. After an error `out` is as before.
pub fn put_packet_frame(out: &mut Vec<u8>, packet: &Outgoing<'_>) -> Result<(), EncodeError> {
    let start = out.len();
    if let Err(error) = put_packet(out, packet) {
        out.truncate(start);
        return Err(error);
    }
    // How long the header is depends on the payload, so it is written behind that and moved to its front.
    let payload_len = out.len() - start;
    put_header(out, Opcode::Binary, payload_len);
    out[start..].rotate_right(header_len(payload_len));
    Ok(())
}

fn put_packet(out: &mut Vec<u8>, packet: &Outgoing<'_>) -> Result<(), EncodeError> {
    let parts = packet.parts();
    let packet_type = match parts.packet_type {
        PacketType::BinaryEvent => PacketType::Event,
        PacketType::BinaryAck => PacketType::Ack,
        plain @ (PacketType::Connect
        | PacketType::Disconnect
        | PacketType::Event
        | PacketType::Ack
        | PacketType::ConnectError) => plain,
    };
    let json = std::str::from_utf8(parts.json).map_err(|_| EncodeError::Malformed)?;
    let attachment_bytes: usize = parts.attachments.iter().map(|data| data.len() + 5).sum();
    out.reserve(64 + parts.namespace.len() + json.len() + attachment_bytes);
    put_map_len(
        out,
        2 + usize::from(!json.is_empty()) + usize::from(parts.id.is_some()),
    );
    put_str(out, "type");
    put_uint(out, packet_type as u64);
    put_str(out, "nsp");
    put_str(out, parts.namespace);
    if !json.is_empty() {
        put_str(out, "data");
        put_text(out, json, parts.attachments, &OUTGOING)?;
    }
    if let Some(id) = parts.id {
        put_str(out, "id");
        put_uint(out, id);
    }
    Ok(())
}

/// What stands in a packet, each part as the bytes of its value. What is `undefined` is not there.
#[derive(Default)]
struct Fields<'a> {
    packet_type: Option<&'a [u8]>,
    namespace: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Of a name that comes twice the last value counts, as in JavaScript.
    fn read(message: &'a [u8]) -> Result<Self, PacketError> {
        if message.is_empty() {
            return Err(PacketError::Empty);
        }
        let mut reader = Reader::new(message);
        let mut fields = Self::default();
        for _ in 0..reader.map_len()? {
            let key = reader.clone().head()?;
            reader.skip()?;
            let before = reader.rest();
            reader.skip()?;
            let value = &before[..before.len() - reader.rest().len()];
            let value = (!value.starts_with(&UNDEFINED)).then_some(value);
            let Head::Text(key) = key else {
                continue;
            };
            match key {
                b"type" => fields.packet_type = value,
                b"nsp" => fields.namespace = value,
                b"data" => fields.data = value,
                b"id" => fields.id = value,
                _ => {}
            }
        }
        if reader.rest().is_empty() {
            Ok(fields)
        } else {
            Err(PacketError::BytesBehind)
        }
    }

    /// What the data is.
    fn head(&self) -> Result<Option<Head<'a>>, DecodeError> {
        self.data.map(|data| Reader::new(data).head()).transpose()
    }

    fn array(&self, packet_type: PacketType) -> Result<&'a [u8], PacketError> {
        match (self.data, self.head()?) {
            (Some(data), Some(Head::Array(_))) => Ok(data),
            _ => Err(PacketError::InvalidPayload(packet_type)),
        }
    }

    fn packet_type(&self) -> Result<PacketType, PacketError> {
        self.packet_type
            .and_then(natural)
            .and_then(|number| u8::try_from(number).ok())
            .and_then(|number| PacketType::from_digit(b'0'.checked_add(number)?))
            .filter(|packet_type| !packet_type.is_binary())
            .ok_or(PacketError::UnknownType)
    }

    /// The namespace and the query string behind it.
    fn namespace(
        &self,
        limits: &packet::Limits,
    ) -> Result<(&'a str, Option<&'a str>), PacketError> {
        let value = self.namespace.ok_or(PacketError::IllegalNamespace)?;
        let Head::Text(text) = Reader::new(value).head()? else {
            return Err(PacketError::IllegalNamespace);
        };
        let text = std::str::from_utf8(text).map_err(|_| PacketError::IllegalNamespace)?;
        split_query(text, limits)
    }

    fn id(&self) -> Result<Option<u64>, PacketError> {
        self.id
            .map(|id| natural(id).ok_or(PacketError::IllegalId))
            .transpose()
    }
}

/// A number that JavaScript counts to, in whatever form it is written.
fn natural(value: &[u8]) -> Option<u64> {
    let number = Reader::new(value).number().ok()?;
    let is_natural = number.trunc() == number && (0.0..=ID_MAX as f64).contains(&number);
    is_natural.then_some(number as u64)
}

/// The first item, which has to be a text or a number.
fn event_name(data: &[u8]) -> Result<Cow<'_, str>, PacketError> {
    let invalid = PacketError::InvalidPayload(PacketType::Event);
    let mut reader = Reader::new(data);
    if reader.array_len()? == 0 {
        return Err(invalid);
    }
    let is_name = match reader.clone().head()? {
        Head::Text(_) | Head::Number(Number::Unsigned(_) | Number::Signed(_)) => true,
        Head::Number(Number::Float(number)) => number.is_finite(),
        Head::Nil
        | Head::Bool(_)
        | Head::Bin(_)
        | Head::Extension(..)
        | Head::Array(_)
        | Head::Map(_) => false,
    };
    if is_name {
        Ok(reader.name()?)
    } else {
        Err(invalid)
    }
}

/// The text of a JSON object. Binary values have no place there.
fn auth(data: &[u8], limits: &packet::Limits) -> Result<String, PacketError> {
    let Head::Map(_) = Reader::new(data).head()? else {
        return Err(PacketError::InvalidPayload(PacketType::Connect));
    };
    let limits = Limits {
        attachments_max: 0,
        ..incoming(limits)
    };
    let array = Reader::new(data).value(&limits)?;
    let object = array.json();
    Ok(object[1..object.len() - 1].to_owned())
}

fn incoming(limits: &packet::Limits) -> Limits {
    Limits {
        depth_max: limits.json_depth_max.min(OUTGOING.depth_max),
        // A message is as long as the transport allows, and each of its bytes becomes twelve at most, besides placeholders.
        bytes_max: usize::MAX,
        attachments_max: limits.msgpack_attachments_max,
    }
}

#[cfg(test)]
mod tests;
