//! All that any request has, and what follows from it.

use smallvec::SmallVec;
use synapse_adapter::{Broadcast, Flags, Target, Transport};
use synapse_protocol::socket::Arguments;
use synapse_protocol::socket::msgpack::{Limits, Reader};

use super::decode::{Body, Request};
use super::{
    ALL_ROOMS, BROADCAST, REMOTE_DISCONNECT, REMOTE_FETCH, REMOTE_JOIN, REMOTE_LEAVE,
    SERVER_SIDE_EMIT, SOCKETS,
};
use crate::wire::WireError;
use crate::wire::broadcast::{decode_names, decode_opts, decode_packet};

pub(super) type Names = SmallVec<[Box<str>; 1]>;

/// All that any request has, in either form.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) uid: Option<Box<str>>,
    pub(super) request_id: Option<Box<str>>,
    pub(super) request_type: Option<f64>,
    pub(super) opts: Option<(Target, Flags)>,
    pub(super) rooms: Option<Names>,
    pub(super) data: Option<Arguments>,
    pub(super) packet: Option<Arguments>,
    pub(super) close: bool,
    pub(super) sid: Option<Box<str>>,
    pub(super) room: Option<Box<str>>,
}

impl Fields {
    /// What is wanted, if all is there that it takes.
    pub(super) fn into_request(self) -> Result<Request, WireError> {
        const TARGET: WireError = WireError::Missing("the target of a request");
        const ROOM: WireError = WireError::Missing("the room of a request");
        let number = self
            .request_type
            .ok_or(WireError::Missing("the type of a request"))?;
        // The cast saturates, and what is no small whole number is sorted out by the comparison.
        let request_type =
            Some(number as u8).filter(|request_type| f64::from(*request_type) == number);
        let rooms = self.rooms.unwrap_or_default();
        let transport = if self.close {
            Transport::Close
        } else {
            Transport::Keep
        };
        let body = match (request_type, self.opts) {
            (Some(SOCKETS), _) => Body::Sockets { rooms },
            (Some(ALL_ROOMS), _) => Body::AllRooms,
            (Some(REMOTE_JOIN), Some((target, _))) => Body::Join {
                target,
                rooms: rooms.into_vec(),
            },
            (Some(REMOTE_LEAVE), Some((target, _))) => Body::Leave {
                target,
                rooms: rooms.into_vec(),
            },
            (Some(REMOTE_DISCONNECT), Some((target, _))) => Body::Disconnect { target, transport },
            // Before version 7 these named one socket.
            (Some(REMOTE_JOIN), None) => Body::JoinOne {
                sid: self.sid.ok_or(TARGET)?,
                room: self.room.ok_or(ROOM)?,
            },
            (Some(REMOTE_LEAVE), None) => Body::LeaveOne {
                sid: self.sid.ok_or(TARGET)?,
                room: self.room.ok_or(ROOM)?,
            },
            (Some(REMOTE_DISCONNECT), None) => Body::DisconnectOne {
                sid: self.sid.ok_or(TARGET)?,
                transport,
            },
            (Some(REMOTE_FETCH), opts) => Body::Fetch {
                target: opts.ok_or(TARGET)?.0,
            },
            (Some(SERVER_SIDE_EMIT), _) => Body::ServerSideEmit {
                arguments: self
                    .data
                    .ok_or(WireError::Missing("the data of an event"))?,
            },
            (Some(BROADCAST), opts) => {
                let (target, flags) = opts.ok_or(TARGET)?;
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
            (Some(_) | None, _) => return Err(WireError::RequestType(number)),
        };
        Ok(Request {
            uid: self.uid,
            request_id: self.request_id,
            body,
        })
    }

    /// Reads the msgpack form.
    pub(super) fn from_msgpack(payload: &[u8], limits: &Limits) -> Result<Self, WireError> {
        let mut reader = Reader::new(payload);
        let mut fields = Self::default();
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
}
