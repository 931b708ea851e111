//! Socket.IO v5 packets: between an Engine.IO message and what an application says.
//!
//! [`Assembler`] turns messages into [`Incoming`] packets, [`Outgoing`] writes frames. [`Arguments`] is what both carry: text that was
//! checked once and is never rebuilt, with its binary values beside it.

mod arguments;
mod assembler;
mod binary;
mod decode;
mod encode;
mod json;
mod literal;
pub mod msgpack;
mod packet;
#[cfg(test)]
mod round_trip;
mod spread;

pub use arguments::{Arguments, DeserializeError, SerializeError};
pub use assembler::{Assembler, Incoming};
pub use binary::Binary;
pub use decode::decode;
pub use encode::Outgoing;
pub use json::JsonError;
pub use packet::{Limits, Packet, PacketError, PacketType, is_reserved_event};
