//! Engine.IO v4.

mod session;

pub use session::{Due, Received, Session, SessionError, State, Timestamp, Timing};

mod packet;
mod payload;

pub use packet::{Message, Packet, PacketError, PacketType, decode_packet};
pub use payload::{PayloadLimits, PayloadPackets, decode_payload, put_payload};
