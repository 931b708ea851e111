//! Engine.IO on the network: handshake, polling, WebSocket, upgrade from one to the other, heartbeat and outboxes.
//!
//! An [`Engine`] opens one session for each client and hands its messages to an [`Application`]. Every session is one task; what is sent to
//! it from elsewhere goes into its outbox, which is written in bulk.

#![forbid(unsafe_code)]

mod addresses;
mod admission;
mod application;
mod batch;
mod clock;
mod compression;
mod config;
mod connection;
mod cookie;
mod core;
mod cors;
mod delivery;
mod dialect;
mod driver;
mod droppables;
mod engine;
mod flusher;
mod frames;
mod origins;
mod outbox;
mod polling;
mod proxies;
mod rate;
mod refusal;
mod request;
mod serve;
mod service;
mod state;
mod stream;
mod table;
mod transports;
mod upgrade;
mod verify;
#[cfg(feature = "webtransport")]
pub mod webtransport;
mod wheel;

pub use application::{Application, Client};
pub use batch::Batch;
pub use compression::HttpCompression;
pub use config::{EngineConfig, Limits, PerMessageDeflate, Timing};
pub use connection::{Connection, TransportKind};
pub use cookie::{Cookie, SameSite};
pub use core::Stats;
pub use cors::Cors;
pub use delivery::{Delivery, LatestKey};
pub use engine::Engine;
pub use frames::Frames;
pub use origins::Origins;
pub use proxies::{ForwardedHeader, InvalidNetwork, Network, TrustedProxies};
pub use rate::Rate;
pub use refusal::ConnectionError;
pub use request::{PeerAddr, RequestHead};
pub use serve::{listen, serve};
pub use service::EngineService;
pub use synapse_protocol::engine::Version;
pub use transports::Transports;

/// The body of every response.
pub type Body = http_body_util::Full<bytes::Bytes>;

/// Any error, as HTTP bodies have them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
