//! Bytes to packets, and the rules of one connection.
//!
//! Nothing in this crate reads a clock, touches a socket or knows about tasks: bytes, time and randomness come in as
//! arguments, effects go out as values.

mod close_reason;
pub mod engine;
pub mod id;
mod query;
pub mod socket;
pub mod websocket;
pub mod webtransport;

pub use close_reason::CloseReason;
pub use id::{PrivateId, SessionId, SocketId};
pub use query::query_pairs;
