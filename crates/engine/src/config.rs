//! What an engine runs on. Tuning is in [`EngineConfig`], safety in [`Limits`].

use std::time::Duration;

pub use synapse_protocol::engine::Timing;
pub use synapse_protocol::websocket::PerMessageDeflate;

use crate::compression::HttpCompression;
use crate::cookie::Cookie;
use crate::cors::Cors;
use crate::proxies::TrustedProxies;
use crate::rate::Rate;
use crate::transports::Transports;

/// How an engine serves its clients.
///
/// ```
/// use std::time::Duration;
/// use synapse_engine::{EngineConfig, Timing, TransportKind};
///
/// let config = EngineConfig {
///     transports: [TransportKind::WebSocket].into_iter().collect(),
///     timing: Timing { ping_interval: Duration::from_secs(10), ..Timing::default() },
///     ..EngineConfig::default()
/// };
/// # drop(config);
/// ```
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The path that is answered, with everything below it. Default: `/socket.io`. A slash at its end makes no difference.
    pub path: String,
    /// Whether the path needs its slash: `/socket.io/?EIO=4`. Default: yes. Without it `/socket.io?EIO=4` is answered as well.
    pub add_trailing_slash: bool,
    /// Heartbeat and waits.
    pub timing: Timing,
    /// What a client may cost.
    pub limits: Limits,
    /// The transports that are offered. Default: polling and WebSocket. Without polling, clients behind proxies that block WebSocket cannot
    /// connect.
    pub transports: Transports,
    /// What a client may cost over QUIC, if WebTransport is among the transports.
    #[cfg(feature = "webtransport")]
    pub quic: crate::webtransport::QuicLimits,
    /// Whether a polling session may go on by WebSocket or WebTransport. Default: yes.
    pub allow_upgrades: bool,
    /// Whether clients of Engine.IO v3 are served, which Socket.IO 1 and 2 speak, and clients that poll by JSONP (Socket.IO's `allowEIO3`).
    /// Default: no. Its price: such a client knows its socket by the session's id, so whoever is told the id of its socket, by the
    /// application or by another client, can speak as this client.
    pub allow_eio3: bool,
    /// Which foreign pages may connect. Default: none is named, so browsers let only pages of the same origin poll.
    pub cors: Option<Cors>,
    /// Whether WebSocket messages are compressed for clients that offer it (Socket.IO's `perMessageDeflate`). Default: no. It spares traffic
    /// and costs time, not memory: see [`PerMessageDeflate`]. What a client may inflate is limited by [`Limits::message_bytes_max`].
    pub per_message_deflate: Option<PerMessageDeflate>,
    /// The cookie that a polling handshake sets. Default: none.
    pub cookie: Option<Cookie>,
    /// When responses to polls are compressed, for clients that take gzip or deflate. Default: from 1,024 bytes on.
    pub http_compression: Option<HttpCompression>,
    /// Proxies whose word about the client's address is taken. Default: none; the client is who has connected.
    pub trusted_proxies: Option<TrustedProxies>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            path: "/socket.io".to_owned(),
            timing: Timing::default(),
            limits: Limits::default(),
            add_trailing_slash: true,
            transports: Transports::default(),
            #[cfg(feature = "webtransport")]
            quic: crate::webtransport::QuicLimits::default(),
            allow_upgrades: true,
            allow_eio3: false,
            cors: None,
            per_message_deflate: None,
            cookie: None,
            http_compression: Some(HttpCompression::default()),
            trusted_proxies: None,
        }
    }
}

/// What one client may cost before it is refused or closed.
///
/// ```
/// use synapse_engine::{EngineConfig, Limits, Rate};
///
/// let config = EngineConfig {
///     limits: Limits {
///         connections_per_address_max: Some(100),
///         handshake_rate: Some(Rate { per_second: 500, burst: 2_000 }),
///         outbox_bytes_max: 4 << 20,
///         ..Limits::default()
///     },
///     ..EngineConfig::default()
/// };
/// # drop(config);
/// ```
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
    /// Most bytes of droppable messages that wait for a client which does not keep up, 64 for each message counted on top. Default: 64 KiB. Over
    /// it the oldest of them are dropped. More makes what a slow client gets older, and keeps its heartbeat waiting behind it.
    pub droppable_bytes_max: usize,
    /// Reading from a client stops while this much waits to be written to it. Default: 1 MiB.
    pub outbox_bytes_pause: usize,
    /// Most open sessions. Default: 1,000,000. More are answered 503.
    pub sessions_max: usize,
    /// Most open connections of one address, polling sessions included; an IPv6 address counts with its whole /64. Default: no limit, because an
    /// office, a mobile network or a proxy is one address with many people (see [`EngineConfig::trusted_proxies`]). More are answered 429 with
    /// `Retry-After`. Costs a place in a table for each address that is connected.
    pub connections_per_address_max: Option<usize>,
    /// Handshakes of one address. Default: no limit, for the same reason. Faster ones are answered 429 with `Retry-After`. Costs a place in a table
    /// until the address could have its burst again.
    pub handshake_rate_per_address: Option<Rate>,
    /// Handshakes of all clients together. Default: no limit. Faster ones are answered 503 with `Retry-After`, and clients come back by themselves: a
    /// server that starts beneath a herd of them stays quick for those it has let in.
    pub handshake_rate: Option<Rate>,
    /// Most addresses without a connection that are remembered for their rate. Default: 65,536, some 3 MB. Further ones are as good as strangers.
    pub addresses_max: usize,
    /// A decision about a handshake has to be made within this time. Default: 10 s. Later ones are answered 503.
    pub allow_request_timeout: Duration,
    /// Most handshakes that are being decided about at a time. Default: 10,000. More are answered 503.
    pub allow_requests_max: usize,
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
            droppable_bytes_max: 64 * 1024,
            outbox_bytes_pause: 1024 * 1024,
            sessions_max: 1_000_000,
            connections_per_address_max: None,
            handshake_rate_per_address: None,
            handshake_rate: None,
            addresses_max: 65_536,
            allow_request_timeout: Duration::from_secs(10),
            allow_requests_max: 10_000,
            request_head_timeout: Duration::from_secs(10),
            request_body_timeout: Duration::from_secs(30),
            unread_timeout: Duration::from_secs(60),
            request_head_bytes_max: 16 * 1024,
            request_headers_max: 64,
            close_timeout: Duration::from_secs(30),
        }
    }
}
