//! What an application calls: server, namespaces, sockets, events, acks and broadcasts.
//!
//! ```no_run
//! use synapse_socket::{Ack, Data, Server, Socket};
//!
//! # async fn example() {
//! let io = Server::builder().build();
//! let chat = io.of("/");
//! chat.on_connect(|socket: Socket| async move {
//!     let _ = socket.emit("welcome", socket.id().text().as_str());
//! });
//! chat.on("say", |socket: Socket, Data(text): Data<String>, ack: Ack| async move {
//!     let _ = socket.to("lobby").emit("said", &text);
//!     ack.send("delivered");
//! });
//! # }
//! ```

#![forbid(unsafe_code)]

mod ack;
mod broadcast;
mod broadcast_ack;
mod client;
mod cluster;
mod detached;
mod extract;
mod handler;
mod handshake;
mod hooks;
#[cfg(test)]
mod leaks;
mod local;
mod middleware;
mod namespace;
mod options;
mod pace;
mod parser;
mod remote;
mod request;
mod rooms;
mod server;
mod server_event;
mod slow_policy;
mod socket;
mod time;

pub use ack::{Ack, AckError};
pub use broadcast::Broadcaster;
pub use extract::{Auth, Data, Event, ExtractError, FromEvent};
pub use handler::Handler;
pub use handshake::Handshake;
pub use middleware::{Middleware, Refusal};
pub use namespace::Namespace;
pub use parser::Parser;
pub use remote::{RemoteHandshake, RemoteSocket};
pub use request::{Missing, RequestError, RequestLimits};
pub use rooms::IntoRooms;
pub use server::{Application, Server, ServerBuilder, SocketLimits};
pub use server_event::ServerEvent;
pub use slow_policy::SlowPolicy;
pub use socket::Socket;
pub use synapse_adapter::{JoinError, RoomLimits, Tally};
pub use synapse_engine::{
    Body, BoxError, ConnectionError, Cookie, Cors, EngineConfig, EngineService, ForwardedHeader,
    HttpCompression, InvalidNetwork, Limits, Network, Origins, PeerAddr, PerMessageDeflate, Rate,
    RequestHead, SameSite, Stats, Timing, TransportKind, Transports, TrustedProxies, listen, serve,
};
pub use synapse_protocol::socket::{Arguments, Binary, DeserializeError, SerializeError};
pub use synapse_protocol::{CloseReason, SessionId, SocketId};
