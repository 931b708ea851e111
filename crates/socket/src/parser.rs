//! How packets are written: the one place where they become frames, and where messages become packets.

use std::sync::Arc;

use synapse_engine::{Connection, Delivery, Frames};
use synapse_protocol::engine::Message;
use synapse_protocol::socket::{Assembler, Incoming, Limits, Outgoing, PacketError, msgpack};

/// How a server and its clients write packets. Both sides have to use the same; servers of a cluster may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parser {
    /// Text with JSON, binary values in messages of their own, as clients have it unless told otherwise.
    #[default]
    Json,
    /// One msgpack map, binary values in place, as the package `socket.io-msgpack-parser` has it. A date arrives as its ISO text, as it
    /// does with JSON.
    MsgPack,
}

impl Parser {
    /// Reads a message. `None`: attachments are to come.
    pub(crate) fn decode<'a>(
        self,
        message: &'a Message<'_>,
        assembler: &'a mut Assembler,
        limits: &Limits,
    ) -> Result<Option<Incoming<'a>>, PacketError> {
        match (self, message) {
            (Self::Json, Message::Text(text)) => assembler.text(text, limits),
            (Self::Json, Message::Binary(data)) => assembler.binary(data, limits),
            (Self::MsgPack, Message::Binary(data)) => {
                msgpack::decode_packet(data, limits).map(Some)
            }
            (Self::MsgPack, Message::Text(_)) => Err(PacketError::UnexpectedText),
        }
    }

    /// Sends a packet to one client. Returns whether it was taken.
    pub(crate) fn send(
        self,
        connection: &Arc<Connection>,
        delivery: Delivery,
        packet: &Outgoing<'_>,
    ) -> bool {
        match self {
            Self::Json => connection.send_with(delivery, packet.frame_bytes(), |out| {
                packet.put_frames(out);
            }),
            Self::MsgPack => msgpack_frame(packet).is_some_and(|frame| {
                connection.send_with(delivery, frame.len(), |out| out.extend_from_slice(&frame))
            }),
        }
    }

    /// A packet's frames, to be shared. `None` if it cannot be written.
    pub(crate) fn frames(self, packet: &Outgoing<'_>) -> Option<Frames> {
        match self {
            Self::Json => {
                let mut frames = Vec::with_capacity(packet.frame_bytes());
                packet.put_frames(&mut frames);
                Some(Frames::new(frames))
            }
            Self::MsgPack => msgpack_frame(packet).map(Frames::new),
        }
    }
}

/// A packet that is too deep or too long for msgpack is lost, as one is that no outbox has room for; it is the application's own.
fn msgpack_frame(packet: &Outgoing<'_>) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    match msgpack::put_packet_frame(&mut frame, packet) {
        Ok(()) => Some(frame),
        Err(error) => {
            tracing::error!(%error, "failed to encode a packet");
            None
        }
    }
}
