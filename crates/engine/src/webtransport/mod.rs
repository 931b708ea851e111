//! WebTransport: sessions whose packets travel by one bidirectional stream of an HTTP/3 connection, over QUIC and so over UDP.
//!
//! It needs a listener of its own next to the one of HTTP, also where the service is mounted in an app, and a certificate: see [`listen`].
//! Clients look for it on the host and port that they know; a page says `transports: ["polling", "websocket", "webtransport"]` to use it.
//!
//! A client's stream is read and written as if it were a WebSocket's: `stream` translates the frames, and all that a session does between
//! them is the same code.

mod certificate;
mod h3;
mod listener;
mod session;
mod stream;

pub use certificate::Certificate;
pub use listener::{ListenError, Listener, QuicLimits, listen};
pub use quinn::rustls::pki_types;
