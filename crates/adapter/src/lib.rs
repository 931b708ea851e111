//! Who is in which room on which server.
//!
//! [`Adapter`] joins one namespace of this server to the same namespace on the other servers of the cluster, [`LocalNamespace`] is
//! what those may ask of us, [`Rooms`] holds the members on this server. [`Bus`] is the adapter for servers
//! of one process; with the feature `contract`, `adapter_contract!` holds any adapter to what they all promise.

#![forbid(unsafe_code)]

mod adapter;
pub mod bus;
#[cfg(feature = "contract")]
pub mod contract;
mod message;
mod request;
mod responses;
pub mod rooms;

pub use adapter::{Adapter, AdapterFactory, LocalNamespace, OnAck, OnReply, SocketSnapshot};
pub use bus::{Bus, alone};
pub use message::{Broadcast, ClusterMessage, Flags, Target, Transport};
pub use request::{ClusterRequest, Response};
pub use responses::{Respondent, Responder, Responses, Tally, WeakRespondent};
pub use rooms::{JoinError, Member, Memberships, RoomLimits, Rooms};
