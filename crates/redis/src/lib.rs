//! The adapter over Redis, wire-compatible with the classic adapter and emitter of Node.
//!
//! [`RedisAdapter`] joins the namespaces of this server to those of all servers on the same Redis and prefix, whether they are ours or Node's
//! (`createAdapter` of `@socket.io/redis-adapter`). It holds two connections: one that publishes and one that is subscribed. Both are
//! supervised: Redis may be absent at the start, die, freeze and come back; connections of clients and local deliveries never notice, and
//! [`RedisStatus`] says at any time whether delivery across servers is *proven*.
//!
//! The client speaks RESP2 itself, in `resp` and `link`. A subscribed connection is fed by strangers, and what general clients offer
//! for it is a queue without a limit that a message enters whole, however long it is. Here a message is delivered from the read
//! buffer, one after the other, and one over the limit is passed over without being held.

#![forbid(unsafe_code)]

mod adapter;
mod fault;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod namespace;
mod options;
mod outbox;
mod publisher;
mod requests;
mod resp;
mod session;
mod settings;
mod shared;
mod status;
mod subscriptions;
mod wire;

pub use adapter::RedisAdapter;
pub use options::RedisOptions;
pub use settings::{RedisParts, RedisSettings, SettingsError};
pub use status::{RedisState, RedisStatus};
