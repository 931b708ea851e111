//! What an application calls: server, namespaces, sockets, events, acks and broadcasts.
//!
//! ```no_run
//! use synapse_socket::{CloseReason, Data, Refusal, Reply, Server, Socket, State};
//!
//! #[derive(Clone)]
//! struct Shop {
//!     open: bool,
//! }
//!
//! # async fn example() {
//! let io = Server::builder().state(Shop { open: true }).build();
//! let chat = io.of("/chat");
//!
//! // Who may come in.
//! chat.use_middleware(|State(shop): State<Shop>| async move {
//!     if shop.open { Ok(()) } else { Err(Refusal::new("closed")) }
//! });
//!
//! chat.on_connect(|socket: Socket| async move {
//!     socket.join("lobby")?;
//!     socket.emit("welcome", socket.id().text().as_str())?;
//!     Ok::<(), Refusal>(())
//! });
//!
//! // What a handler takes says by its type where it comes from; what it returns is the client's answer.
//! async fn say(socket: Socket, Data(text): Data<String>) -> Result<Reply<&'static str>, Refusal> {
//!     if text.is_empty() {
//!         return Err("there is nothing to say".into());
//!     }
//!     socket.to("lobby").emit("said", text)?;
//!     Ok(Reply("delivered"))
//! }
//! chat.on("say", say);
//!
//! chat.on_disconnect(|socket: Socket, reason: CloseReason| async move {
//!     println!("{} has gone: {reason}", socket.id());
//! });
//! # }
//! ```
//!
//! What a handler may take is listed at [`FromEvent`], what it may return at [`IntoAck`].

#![forbid(unsafe_code)]

mod ack;
mod broadcast;
mod broadcast_ack;
mod client;
mod cluster;
mod detached;
mod error;
mod event;
mod extract;
mod gate;
mod handler;
mod handshake;
mod hooks;
#[cfg(test)]
mod leaks;
mod listeners;
mod local;
mod middleware;
mod namespace;
mod namespaces;
mod options;
mod pace;
mod parent;
mod parent_broadcast;
mod parser;
mod recovery;
mod refusal;
mod remote;
mod reply;
mod request;
mod rooms;
mod server;
mod server_event;
mod slow_policy;
mod socket;
mod state;
mod time;
mod typed;
mod v2;

pub use ack::{Ack, AckError};
pub use broadcast::Broadcaster;
pub use error::SocketError;
pub use event::Event;
pub use extract::{Auth, Data, EventName, ExtractError, FromEvent};
pub use handler::Handler;
pub use handshake::Handshake;
pub use listeners::ListenerId;
pub use middleware::Middleware;
pub use namespace::Namespace;
pub use parent::{NamespaceRequest, ParentNamespace};
pub use parent_broadcast::ParentBroadcaster;
pub use parser::Parser;
pub use recovery::ConnectionStateRecovery;
pub use refusal::Refusal;
pub use remote::{RemoteHandshake, RemoteSocket};
pub use reply::{IntoAck, Reply};
pub use request::{Missing, RequestError, RequestLimits};
pub use rooms::IntoRooms;
pub use server::{Application, Server, ServerBuilder, SocketLimits};
pub use server_event::ServerEvent;
pub use slow_policy::SlowPolicy;
pub use socket::Socket;
pub use state::State;
pub use synapse_adapter::{JoinError, RoomLimits, Tally};
#[cfg(feature = "webtransport")]
pub use synapse_engine::webtransport;
pub use synapse_engine::{
    Body, BoxError, ConnectionError, Cookie, Cors, EngineConfig, EngineService, ForwardedHeader,
    HttpCompression, InvalidNetwork, Limits, Network, Origins, PeerAddr, PerMessageDeflate, Rate,
    RequestHead, SameSite, Stats, Timing, TransportKind, Transports, TrustedProxies, listen, serve,
};
pub use synapse_protocol::socket::{
    Arguments, Binary, DeserializeError, PacketError, SerializeError,
};
pub use synapse_protocol::{CloseReason, SessionId, SocketId};
pub use typed::{EventHandler, EventType};
