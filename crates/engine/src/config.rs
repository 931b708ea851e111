//! What an engine runs on. Tuning is in [`EngineConfig`], safety in [`Limits`].

use std::time::Duration;

pub use synapse_protocol::engine::Timing;
pub use synapse_protocol::websocket::PerMessageDeflate;

use crate::cors::Cors;

/// How an engine serves its clients.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The path that is answered, without its trailing slash. Default: `/socket.io`.
    pub path: String,
    /// Heartbeat and waits.
    pub timing: Timing,
    /// What a client may cost.
    pub limits: Limits,
    /// Whether long polling is offered. Default: yes. Without it, clients behind proxies that block WebSocket cannot connect.
    pub polling: bool,
    /// Whether WebSocket is offered. Default: yes.
    pub websocket: bool,
    /// Whether a polling session may go on by WebSocket. Default: yes.
    pub allow_upgrades: bool,
    /// Which foreign pages may connect. Default: none is named, so browsers let only pages of the same origin poll.
    pub cors: Option<Cors>,
    /// Whether WebSocket messages are compressed for clients that offer it (Socket.IO's `perMessageDeflate`). Default: no. It spares traffic
    /// and costs time, not memory: see [`PerMessageDeflate`]. What a client may inflate is limited by [`Limits::message_bytes_max`].
    pub per_message_deflate: Option<PerMessageDeflate>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            path: "/socket.io".to_owned(),
            timing: Timing::default(),
            limits: Limits::default(),
            polling: true,
            websocket: true,
            allow_upgrades: true,
            cors: None,
            per_message_deflate: None,
        }
    }
}

/// What one client may cost before it is refused or closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest incoming message in bytes, on every transport (Socket.IO's `maxHttpBufferSize`). Default: 1,000,000. A larger request
    /// body is answered 413; a larger WebSocket message, inflated or not, closes the connection with code 1009. A polling body may hold several messages.
    pub message_bytes_max: usize,
    /// Most frames in one WebSocket message. Default: 1,024. More close the connection with code 1008.
    pub fragments_max: usize,
    /// Most packets in one polling body. Default: 10,000. More close the session with `parse error`.
    pub payload_packets_max: usize,
    /// Most bytes that wait for a client which does not read. Default: 16 MiB. Over it the session is closed with `transport error`;
    /// a single message is always taken when nothing else waits.
    pub outbox_bytes_max: usize,
    /// Reading from a client stops while this much waits to be written to it. Default: 1 MiB.
    pub outbox_bytes_pause: usize,
    /// Most open sessions. Default: 1,000,000. More are answered 503.
    pub sessions_max: usize,
    /// A request's head has to arrive within this time. Default: 10 s.
    pub request_head_timeout: Duration,
    /// A request's body has to arrive within this time. Default: 30 s.
    pub request_body_timeout: Duration,
    /// A connection whose peer takes nothing of what is sent to it for this long is given up, on Linux. Default: 60 s.
    pub unread_timeout: Duration,
    /// Largest request head in bytes. Default: 16 KiB. Larger ones are answered 431.
    pub request_head_bytes_max: usize,
    /// Most headers in a request. Default: 64. More are answered 431.
    pub request_headers_max: usize,
    /// How long a closed polling session waits for the poll that tells the client. Default: 30 s.
    pub close_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1_000_000,
            fragments_max: 1_024,
            payload_packets_max: 10_000,
            outbox_bytes_max: 16 * 1024 * 1024,
            outbox_bytes_pause: 1024 * 1024,
            sessions_max: 1_000_000,
            request_head_timeout: Duration::from_secs(10),
            request_body_timeout: Duration::from_secs(30),
            unread_timeout: Duration::from_secs(60),
            request_head_bytes_max: 16 * 1024,
            request_headers_max: 64,
            close_timeout: Duration::from_secs(30),
        }
    }
}
