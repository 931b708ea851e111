//! A client written by hand, one layer above the other, so that a test can send what no client library would: HTTP by bytes, WebSocket by
//! frames, Engine.IO and Socket.IO by strings. Every wait has a deadline, and a wait that is over panics with what it waited for.

#![forbid(unsafe_code)]

mod client;
mod host;
mod http;
mod polling;
mod wait;
mod websocket;

pub use client::Client;
pub use host::{Host, quick_config};
pub use http::{Http, Response};
pub use polling::Polling;
pub use wait::{DEADLINE, eventually, within};
pub use websocket::{Frame, WebSocket, handshake_request, masked};
