//! Frames on a WebTransport stream, which have no RFC: Engine.IO made them like those of a WebSocket.
//!
//! A frame is the length of its payload, as RFC 6455 writes it, with a first bit that says whether the payload is binary, and the payload.
//! There are no masks, no fragments and no control frames. So a frame is that of a WebSocket's server without its first byte, and everything
//! that knows WebSocket frames serves WebTransport too: [`Decoder`] turns what a client sends into frames as a WebSocket's client sends them,
//! [`Encoder`] what waits in an outbox into what the client gets. Both take their bytes in pieces of any size and keep no payload.

#![forbid(unsafe_code)]

mod decoder;
mod encoder;

pub use decoder::{Decoded, Decoder, FrameError};
pub use encoder::Encoder;

/// Set in the first byte of a frame whose payload is binary.
const BINARY_BIT: u8 = 0x80;
