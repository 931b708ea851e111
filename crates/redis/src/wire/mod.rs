//! The wire of Node's classic adapter: names of channels, and what is said on them.
//!
//! | channel | carries | form |
//! | --- | --- | --- |
//! | `<key>#<namespace>#`, `<key>#<namespace>#<room>#` | events | msgpack |
//! | `<key>-request#<namespace>#` | what one server wants of all | JSON, or msgpack |
//! | `<key>-response#<namespace>#`, `<key>-response#<namespace>#<uid>#` | answers | JSON, or msgpack |

pub(crate) mod broadcast;
pub(crate) mod channels;
pub(crate) mod request;

use bytes::Bytes;
use synapse_adapter::ClusterMessage;
use synapse_protocol::socket::msgpack::{EncodeError, Limits};

use channels::Channels;

/// Rooms in one list that a message may name. Each takes a byte on the wire and sixteen in memory, or more.
pub(crate) const NAMES_MAX: usize = 1 << 18;

/// A message as its channel and its bytes.
pub(crate) fn encode(
    uid: &str,
    channels: &Channels,
    message: &ClusterMessage,
    limits: &Limits,
) -> Result<(Bytes, Vec<u8>), EncodeError> {
    match message {
        ClusterMessage::Broadcast(broadcast) => {
            let payload = broadcast::encode(uid, &channels.namespace, broadcast, limits)?;
            let channel = match &*broadcast.target.rooms {
                [room] => channels.room(room),
                _ => channels.broadcast.clone(),
            };
            Ok((channel, payload))
        }
        ClusterMessage::Join { .. }
        | ClusterMessage::Leave { .. }
        | ClusterMessage::Disconnect { .. }
        | ClusterMessage::ServerSideEmit(_) => Ok((
            channels.request.clone(),
            request::encode(uid, message, limits)?,
        )),
    }
}

/// Why a message cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Msgpack(#[from] synapse_protocol::socket::msgpack::DecodeError),
    #[error("not JSON of the right shape, around column {0}")]
    Json(usize),
    #[error("not UTF-8")]
    NotUtf8,
    #[error("nested deeper than {0}")]
    TooDeep(usize),
    #[error("{0} is missing or of the wrong kind")]
    Missing(&'static str),
    #[error("a list names more than {NAMES_MAX} rooms")]
    TooManyNames,
    #[error("packet type {0} is no event")]
    PacketType(f64),
    #[error("request type {0} is not known")]
    RequestType(f64),
}
