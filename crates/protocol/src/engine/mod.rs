//! Engine.IO: version 4, and version 3 in [`v3`].

mod session;

pub use session::{Due, Received, Session, SessionError, State, Timestamp, Timing};

mod base64_text;
mod heartbeat;
mod jsonp;
mod packet;
mod payload;
pub mod v3;
mod version;

pub use jsonp::{Jsonp, decode_jsonp_body};
pub use packet::{Message, Packet, PacketError, PacketType, decode_packet};
pub use payload::{PayloadLimits, PayloadPackets, decode_payload, put_payload};
pub use version::Version;
