//! WebSocket (RFC 6455): the first step of a packet's way in and the last one of its way out.
//!
//! [`Decoder`] turns bytes of a connection into messages and refuses whatever the RFC forbids; the `put_*` functions write
//! frames into a buffer that many connections can share. The HTTP side of the handshake is the caller's, except for the
//! answer to the client's key ([`accept_key`]). The only extension is permessage-deflate ([`PerMessageDeflate`]).

#![forbid(unsafe_code)]

mod close;
mod decoder;
mod deflate;
#[cfg(test)]
mod deflate_tests;
#[cfg(test)]
mod differential;
mod encode;
mod error;
#[cfg(test)]
mod fixture;
mod frame;
mod handshake;
mod message;
mod negotiation;
mod partial;
#[cfg(test)]
mod rules;

pub use close::{CloseCode, CloseFrame, put_close};
pub use decoder::{Decoder, Limits};
pub use deflate::{Deflate, deflate_frames};
pub use encode::{header_len, own_frames, put_frame, put_header, put_masked_frame};
pub use error::WebSocketError;
pub use frame::{Opcode, Role};
pub use handshake::{HandshakeError, accept_key};
pub use message::Message;
pub use negotiation::{Agreement, PerMessageDeflate};
