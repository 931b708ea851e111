//! Synapse: a Socket.IO server that scales horizontally over Redis.
//!
//! Unmodified Socket.IO clients connect to any server of a cluster; an event emitted on one reaches the right clients on all of them. The
//! cluster may hold Node servers too: the Redis wire is that of the official adapters.
//!
//! ```no_run
//! use synapse::{Ack, Data, Server, Socket};
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let io = Server::builder().build();
//!     io.of("/").on("say", |socket: Socket, Data(text): Data<String>, ack: Ack| async move {
//!         let _ = socket.broadcast().emit("said", &text);
//!         ack.send("delivered");
//!     });
//!
//!     let listener = synapse::listen("127.0.0.1:3000".parse().expect("an address"))?;
//!     synapse::serve(listener, io.service(), synapse::Limits::default(), std::future::pending()).await
//! }
//! ```
//!
//! [`Server`] is where everything begins, [`FromEvent`] lists what a handler may take, [`IntoAck`] what it may return,
//! [`RedisAdapter`](redis::RedisAdapter) joins servers to a cluster, [`Limits`] and [`SocketLimits`] say what a client may cost. Who knows
//! Socket.IO on Node finds each of its idioms in the repository's `docs/from-node.md`.
//!
//! Examples name the crate that an item comes from: what `synapse_socket` or `synapse_engine` is there, is `synapse` here, `synapse_adapter` is
//! `synapse::adapter`, and `synapse_redis` is `synapse::redis`.

pub use synapse_adapter as adapter;
pub use synapse_redis as redis;
pub use synapse_socket::*;

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The examples for those who come from Node, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-node.md")]
struct FromNode;
